//! What is refused, and how what is left open is resolved: the one way from `Config` to [`Plan`].
//!
//! Every refusal names its key, the value, what would be accepted, and the other key where two
//! contradict each other.
#![forbid(unsafe_code)]

use super::size::Size;
use super::{Config, Evict, Plan, Reclaim, Shadow};
use crate::error::{Error, Result};
use crate::unit::{
    Geometry, LOCATION_BITS, RBLOCK_BYTES, SECTOR_BYTES, STRIPES_MAX, WBLOCK_BYTES_MAX,
    WBLOCK_BYTES_MIN, WBLOCK_HEADER_BYTES, WBLOCKS_MAX,
};
use std::path::Path;
use std::time::Duration;

/// Smallest `max_record_size`: a header, a key and a few bytes of value.
const RECORD_BYTES_MIN: u64 = 64;
/// Largest record where the configuration names none.
const RECORD_BYTES_DEFAULT: u64 = 1 << 20;
/// One write to the shadow where the configuration names none.
const FLUSH_BYTES_DEFAULT: u64 = 1 << 20;
/// Wblocks that a stripe needs: one is written while another is emptied.
const STRIPE_WBLOCKS_MIN: u64 = 2;
/// The same with a shadow: one more is kept for deletes.
const STRIPE_WBLOCKS_MIN_SHADOW: u64 = 3;
/// Wblocks that a stripe gets at least where the engine chooses the number of stripes.
const STRIPE_WBLOCKS_CHOSEN: u64 = 4;
/// Most bytes that locations, and this machine's addresses, can tell apart.
const REGION_BYTES_MAX: u64 = {
    let located = (RBLOCK_BYTES as u64) << LOCATION_BITS;
    let addressed = (usize::MAX >> 1) as u64;
    if located < addressed { located } else { addressed }
};
/// Longest time between a put and its flush: one day.
const FLUSH_MS_MAX: u64 = 86_400_000;
/// Longest of all other durations, 100 years: no sum with a clock can overflow.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);
/// A deadline that is over before anything could be done is a slip of the hand.
const DEADLINE_MIN: Duration = Duration::from_millis(1);
/// A sweep more often than this would be a busy loop.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(1);
/// Bytes of the index for each record, at least.
const INDEX_RECORD_BYTES: u64 = 16;
/// How far below `evict_used_pct` eviction stops where the configuration does not say.
const EVICT_BAND_PCT: u8 = 5;

const _: () = assert!(WBLOCK_BYTES_MIN as u64 >= RECORD_BYTES_MIN + WBLOCK_HEADER_BYTES as u64);
const _: () = assert!(WBLOCKS_MAX as u64 * WBLOCK_BYTES_MAX as u64 <= 1 << 47, "no overflow here");

impl Config {
    /// Checks every key and resolves what is left open, for a machine with `cores` cores.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for the first key that cannot be used.
    pub(crate) fn validate(&self, cores: usize) -> Result<Plan> {
        let shadow = shadow(self)?;
        let geometry = geometry(self, cores, &shadow)?;
        check_durability(self, &shadow)?;
        Ok(Plan {
            geometry,
            shadow,
            record_bytes_max: record_bytes_max(self, geometry)?,
            flush_bytes: flush_bytes(self, geometry)?,
            flush_max: flush_max(self.flush_max_ms)?,
            flush_deadline: deadline("flush_deadline", self.flush_deadline)?,
            close_deadline: deadline("close_deadline", self.close_deadline)?,
            commit_to_device: self.commit_to_device,
            direct_files: self.direct_files,
            disable_odsync: self.disable_odsync,
            pin_cores: self.pin_cores,
            huge_pages: self.huge_pages,
            prefault: self.prefault,
            lock_memory: self.lock_memory,
            default_ttl: Some(duration("default_ttl", self.default_ttl)?)
                .filter(|ttl| !ttl.is_zero()),
            on_damage: self.on_damage,
            expected_records: expected_records(self.expected_records, geometry)?,
            on_progress: self.on_progress.clone(),
            reclaim: reclaim(self, geometry)?,
        })
    }
}

/// `Err` that names `key`.
fn refuse<T>(key: &str, reason: impl Into<String>) -> Result<T> {
    Err(Error::config(key, reason))
}

/// Where the region is to be mirrored.
fn shadow(config: &Config) -> Result<Shadow> {
    match (&config.shadow_dir, &config.shadow_devices) {
        (Some(_), Some(_)) => refuse(
            "shadow_dir",
            "contradicts `shadow_devices`: the shadow is a directory or devices, set one of them",
        ),
        (Some(dir), None) => {
            check_path("shadow_dir", dir)?;
            Ok(Shadow::Dir(dir.clone()))
        }
        (None, Some(devices)) => {
            if devices.is_empty() || devices.len() > STRIPES_MAX {
                let reason = format!(
                    "names {} devices: name 1 to {STRIPES_MAX}, one for each stripe, or leave the \
                     key out for a store in memory only",
                    devices.len()
                );
                return refuse("shadow_devices", reason);
            }
            for (place, device) in devices.iter().enumerate() {
                check_path("shadow_devices", device)?;
                if devices.iter().take(place).any(|earlier| earlier == device) {
                    let reason =
                        format!("names {} twice: each stripe has its own", device.display());
                    return refuse("shadow_devices", reason);
                }
            }
            Ok(Shadow::Devices(devices.clone()))
        }
        (None, None) => Ok(Shadow::None),
    }
}

fn check_path(key: &str, path: &Path) -> Result<()> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        return refuse(key, "holds an empty path: name one, or leave the key out");
    }
    if bytes.contains(&0) {
        return refuse(key, format!("holds a path with a NUL byte: {}", path.display()));
    }
    Ok(())
}

fn geometry(config: &Config, cores: usize, shadow: &Shadow) -> Result<Geometry> {
    let wblock_bytes = wblock_bytes(config.wblock_bytes())?;
    let most = u64::from(WBLOCKS_MAX).min(REGION_BYTES_MAX / u64::from(wblock_bytes));
    let wblocks = config.data_bytes().div_ceil(u64::from(wblock_bytes));
    let stripes = stripes(config, cores, shadow, wblocks)?;
    let least = match shadow {
        Shadow::None => STRIPE_WBLOCKS_MIN,
        Shadow::Dir(_) | Shadow::Devices(_) => STRIPE_WBLOCKS_MIN_SHADOW,
    };
    let per_stripe = wblocks.div_ceil(u64::from(stripes));
    if per_stripe < least {
        let reason = format!(
            "is {}, too small for {stripes} `stripes` of at least {least} wblocks of {}: set at \
             least {}, or fewer `stripes`, or a smaller `wblock_size`",
            Size(config.data_bytes()),
            Size(wblock_bytes.into()),
            Size(least * u64::from(stripes) * u64::from(wblock_bytes)),
        );
        return refuse("data_size", reason);
    }
    match u32::try_from(per_stripe) {
        Ok(wblocks_per_stripe) if per_stripe * u64::from(stripes) <= most => {
            Ok(Geometry { wblock_bytes, stripes, wblocks_per_stripe })
        }
        _ => {
            let largest = most / u64::from(stripes) * u64::from(stripes) * u64::from(wblock_bytes);
            let reason = format!(
                "is {}, too large for {stripes} `stripes` and a `wblock_size` of {}: set at most \
                 {}",
                Size(config.data_bytes()),
                Size(wblock_bytes.into()),
                Size(largest),
            );
            refuse("data_size", reason)
        }
    }
}

fn wblock_bytes(bytes: u64) -> Result<u32> {
    let range = u64::from(WBLOCK_BYTES_MIN)..=u64::from(WBLOCK_BYTES_MAX);
    if !bytes.is_power_of_two() || !range.contains(&bytes) {
        let reason = format!(
            "is {}: set a power of two from {} to {}",
            Size(bytes),
            Size(*range.start()),
            Size(*range.end())
        );
        return refuse("wblock_size", reason);
    }
    narrow("wblock_size", bytes)
}

/// The number of stripes, given or chosen, for a region of `wblocks`. Range: `1..=STRIPES_MAX`.
fn stripes(config: &Config, cores: usize, shadow: &Shadow, wblocks: u64) -> Result<u32> {
    let devices = match shadow {
        Shadow::Devices(devices) => Some(devices.len()),
        Shadow::None | Shadow::Dir(_) => None,
    };
    let count = match (config.stripes, devices) {
        (Some(count), Some(devices)) if count != devices => {
            let reason = format!(
                "names {devices} devices, but `stripes` is {count}: name one device for each \
                 stripe, or leave `stripes` out"
            );
            return refuse("shadow_devices", reason);
        }
        (Some(count), _) | (None, Some(count)) => count,
        (None, None) => {
            let room = usize::try_from(wblocks / STRIPE_WBLOCKS_CHOSEN).unwrap_or(usize::MAX);
            cores.min(room).clamp(1, STRIPES_MAX)
        }
    };
    match u32::try_from(count) {
        Ok(stripes) if (1..=STRIPES_MAX).contains(&count) => Ok(stripes),
        _ => {
            let reason = format!(
                "is {count}: set 1 to {STRIPES_MAX}, or leave the key out for one per core"
            );
            refuse("stripes", reason)
        }
    }
}

fn record_bytes_max(config: &Config, geometry: Geometry) -> Result<u32> {
    let room = geometry.wblock_bytes - WBLOCK_HEADER_BYTES;
    let Some(bytes) = config.max_record_size else {
        return narrow("max_record_size", RECORD_BYTES_DEFAULT.min(room.into()));
    };
    if !(RECORD_BYTES_MIN..=u64::from(room)).contains(&bytes) {
        let reason = format!(
            "is {}: set {RECORD_BYTES_MIN} to {room} bytes, what a wblock has room for with a \
             `wblock_size` of {}",
            Size(bytes),
            Size(geometry.wblock_bytes.into())
        );
        return refuse("max_record_size", reason);
    }
    narrow("max_record_size", bytes)
}

fn flush_bytes(config: &Config, geometry: Geometry) -> Result<u32> {
    let most = u64::from(geometry.wblock_bytes);
    let bytes = config.flush_size.unwrap_or(FLUSH_BYTES_DEFAULT.min(most));
    if !bytes.is_power_of_two() || !(u64::from(SECTOR_BYTES)..=most).contains(&bytes) {
        let reason = format!(
            "is {}: set a power of two from {} to the `wblock_size`, {}",
            Size(bytes),
            Size(SECTOR_BYTES.into()),
            Size(most)
        );
        return refuse("flush_size", reason);
    }
    narrow("flush_size", bytes)
}

/// `bytes` of at most one wblock, in its width.
fn narrow(key: &str, bytes: u64) -> Result<u32> {
    u32::try_from(bytes).or_else(|_| refuse(key, format!("is {}: too large", Size(bytes))))
}

fn flush_max(ms: u64) -> Result<Option<Duration>> {
    if ms > FLUSH_MS_MAX {
        let reason = format!(
            "is {ms}: set at most {FLUSH_MS_MAX} (one day), or 0 to write only full wblocks and \
             on `flush`"
        );
        return refuse("flush_max_ms", reason);
    }
    Ok((ms > 0).then_some(Duration::from_millis(ms)))
}

fn check_durability(config: &Config, shadow: &Shadow) -> Result<()> {
    let needing = [
        ("commit_to_device", config.commit_to_device),
        ("disable_odsync", config.disable_odsync),
        ("direct_files", config.direct_files),
    ];
    if let (Shadow::None, Some((key, _))) = (shadow, needing.iter().find(|(_, set)| *set)) {
        let reason =
            "needs a shadow: set `shadow_dir` or `shadow_devices` too, or leave this key out";
        return refuse(key, reason);
    }
    if config.commit_to_device && config.disable_odsync {
        let reason = "contradicts `disable_odsync`: puts that wait until they are durable need \
                      their syncs, set one of the two";
        return refuse("commit_to_device", reason);
    }
    Ok(())
}

/// More than one record for each rblock cannot be stored, and so is not prepared for.
fn expected_records(records: u64, geometry: Geometry) -> Result<u64> {
    let most = REGION_BYTES_MAX / INDEX_RECORD_BYTES;
    if records > most {
        let reason = format!("is {records}: an index holds at most {most} records, set fewer");
        return refuse("expected_records", reason);
    }
    Ok(records.min(geometry.region_bytes() / u64::from(RBLOCK_BYTES)))
}

fn reclaim(config: &Config, geometry: Geometry) -> Result<Reclaim> {
    if config.max_write_cache < u64::from(geometry.wblock_bytes) {
        let reason = format!(
            "is {}: set at least the `wblock_size`, {}",
            Size(config.max_write_cache),
            Size(geometry.wblock_bytes.into())
        );
        return refuse("max_write_cache", reason);
    }
    if !(1..=99).contains(&config.defrag_lwm_pct) {
        let reason = format!("is {}: set 1 to 99", config.defrag_lwm_pct);
        return refuse("defrag_lwm_pct", reason);
    }
    if config.sweep_interval < SWEEP_INTERVAL_MIN {
        let reason = format!("is {:?}: set at least {SWEEP_INTERVAL_MIN:?}", config.sweep_interval);
        return refuse("sweep_interval", reason);
    }
    Ok(Reclaim {
        write_cache_bytes_max: config.max_write_cache,
        overload_wait: duration("overload_wait", config.overload_wait)?,
        defrag_lwm_pct: config.defrag_lwm_pct,
        defrag_queue_min: config.defrag_queue_min,
        defrag_sleep: duration("defrag_sleep", config.defrag_sleep)?,
        evict: evict(config)?,
        stop_writes_used_pct: percent("stop_writes_used_pct", config.stop_writes_used_pct)?,
        stop_writes_avail_pct: percent("stop_writes_avail_pct", config.stop_writes_avail_pct)?,
        tombstone_grace: duration("tombstone_grace", config.tombstone_grace)?,
        sweep_interval: duration("sweep_interval", config.sweep_interval)?,
    })
}

fn evict(config: &Config) -> Result<Option<Evict>> {
    let used_pct = percent("evict_used_pct", config.evict_used_pct)?;
    match config.evict_target_pct {
        Some(_) if used_pct == 0 => refuse(
            "evict_target_pct",
            "is set, but `evict_used_pct` is 0 and so nothing is evicted: set both or neither",
        ),
        Some(target_pct) if target_pct >= used_pct => {
            let reason =
                format!("is {target_pct}: set it below `evict_used_pct`, which is {used_pct}");
            refuse("evict_target_pct", reason)
        }
        Some(target_pct) => Ok(Some(Evict { used_pct, target_pct })),
        None if used_pct == 0 => Ok(None),
        None => Ok(Some(Evict { used_pct, target_pct: used_pct.saturating_sub(EVICT_BAND_PCT) })),
    }
}

fn percent(key: &str, pct: u8) -> Result<u8> {
    if pct > 100 {
        return refuse(key, format!("is {pct}: set 0 to 100"));
    }
    Ok(pct)
}

fn deadline(key: &str, after: Duration) -> Result<Duration> {
    if after < DEADLINE_MIN {
        return refuse(key, format!("is {after:?}: set at least {DEADLINE_MIN:?}"));
    }
    duration(key, after)
}

fn duration(key: &str, duration: Duration) -> Result<Duration> {
    if duration > DURATION_MAX {
        let days = DURATION_MAX.as_secs() / 86_400;
        return refuse(key, format!("is {duration:?}: set at most 100 years ({days}d)"));
    }
    Ok(duration)
}
