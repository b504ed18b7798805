//! What to open: the configuration, and what the shadow knows better.
#![forbid(unsafe_code)]

use crate::config::{Config, Plan, Shadow};
use crate::error::{Error, Result};
use crate::shadow::Standing;
use crate::unit::WBLOCK_BYTES_MIN;
use std::path::PathBuf;

/// The plan for looking at the shadow. With an error: the configuration cannot be used as it
/// stands, but leaves to the shadow what may make it usable, should the shadow exist.
pub(super) fn first_plan(config: &Config, cores: usize) -> Result<(Plan, Option<Error>)> {
    let error = match config.validate(cores) {
        Ok(plan) => return Ok((plan, None)),
        Err(error) => error,
    };
    let has_shadow = config.shadow_dir.is_some() || config.shadow_devices.is_some();
    if !has_shadow || (config.stripes.is_some() && config.wblock_size.is_some()) {
        return Err(error);
    }
    let bare = Config {
        shadow_dir: config.shadow_dir.clone(),
        shadow_devices: config.shadow_devices.clone(),
        direct_files: config.direct_files,
        wblock_size: Some(WBLOCK_BYTES_MIN.into()),
        ..Config::new()
    };
    match bare.validate(cores) {
        Ok(plan) => Ok((plan, Some(error))),
        Err(_also) => Err(error),
    }
}

/// Fills in what the shadow knows better than a default, and refuses what contradicts it.
pub(super) fn adopt(mut config: Config, shadow: &Shadow, standings: &[Standing]) -> Result<Config> {
    let Some(first) = standings.first() else { return Ok(config) };
    let geometry = first.superblock.geometry;
    let path = match shadow {
        Shadow::Dir(dir) => dir.clone(),
        Shadow::Devices(paths) => paths.first().cloned().unwrap_or_default(),
        Shadow::None => PathBuf::new(),
    };
    let mismatch = |what, expected: u64, found: u64| {
        let (expected, found) = (expected.to_string(), found.to_string());
        Err(Error::ShadowMismatch { path: path.clone(), what, expected, found })
    };
    let stripes = u64::from(geometry.stripes);
    let wblock_bytes = u64::from(geometry.wblock_bytes);
    if let Some(asked) = config.stripes.filter(|asked| *asked as u64 != stripes) {
        return mismatch("stripes", asked as u64, stripes);
    }
    if let Some(asked) = config.wblock_size.filter(|asked| *asked != wblock_bytes) {
        return mismatch("wblock_size", asked, wblock_bytes);
    }
    let bytes = geometry.region_bytes();
    let rounded = |asked: u64| asked.div_ceil(stripes * wblock_bytes) * stripes * wblock_bytes;
    if let Some(asked) = config.data_size.filter(|asked| rounded(*asked) != bytes) {
        return mismatch("data_size", asked, bytes);
    }
    config.stripes = usize::try_from(stripes).ok();
    config.wblock_size = Some(wblock_bytes);
    config.data_size = Some(bytes);
    Ok(config)
}
