//! Which keys may change while a store is open, and what is said to who changes another.
//!
//! The configuration in force is complete: what was left to the engine at open stands in it as the
//! engine chose it. So a change is a comparison, key by key, and a key that is new in `Config` does
//! not compile until it is told here what becomes of it.
#![forbid(unsafe_code)]

use super::size::Size;
use super::{Config, Plan};
use crate::error::{Error, Result};
use std::fmt;

impl Config {
    /// The configuration with what `plan`, which was made of it, chose where it left a choice. The
    /// callback for the cold start is let go.
    pub(crate) fn resolved(self, plan: &Plan) -> Self {
        let geometry = plan.geometry;
        Self {
            data_size: Some(geometry.region_bytes()),
            stripes: usize::try_from(geometry.stripes).ok(),
            wblock_size: Some(geometry.wblock_bytes.into()),
            max_record_size: Some(plan.record_bytes_max.into()),
            flush_size: Some(plan.flush_bytes.into()),
            on_progress: None,
            ..self
        }
    }

    /// This configuration, which is in force and resolved, with the values of `asked` for the keys
    /// that may change.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for the first key that differs and is fixed at open.
    pub(crate) fn changed_to(&self, asked: &Self) -> Result<Self> {
        let differs = self.fixed(asked).into_iter().find(|(_, is, asked)| is != asked);
        if let Some((key, is, asked)) = differs {
            let reason = format!(
                "is fixed at open: it is {is}, and {asked} takes effect only with another open; \
                 leave it as it is to change other keys"
            );
            return Err(Error::config(key, reason));
        }
        Ok(Self {
            flush_max_ms: asked.flush_max_ms,
            max_write_cache: asked.max_write_cache,
            overload_wait: asked.overload_wait,
            flush_deadline: asked.flush_deadline,
            close_deadline: asked.close_deadline,
            defrag_lwm_pct: asked.defrag_lwm_pct,
            defrag_queue_min: asked.defrag_queue_min,
            defrag_sleep: asked.defrag_sleep,
            evict_used_pct: asked.evict_used_pct,
            evict_target_pct: asked.evict_target_pct,
            stop_writes_used_pct: asked.stop_writes_used_pct,
            stop_writes_avail_pct: asked.stop_writes_avail_pct,
            default_ttl: asked.default_ttl,
            tombstone_grace: asked.tombstone_grace,
            sweep_interval: asked.sweep_interval,
            ..self.clone()
        })
    }

    /// The keys that are fixed at open: each with its value in force and the one asked for. What
    /// the engine could choose, and `asked` leaves out, is as it is.
    fn fixed(&self, asked: &Self) -> [(&'static str, String, String); 16] {
        // Every key is named, so that a new one does not compile until it is fixed or live.
        let Self {
            data_size,
            stripes,
            wblock_size,
            max_record_size,
            flush_size,
            shadow_dir,
            shadow_devices,
            pin_cores,
            huge_pages,
            prefault,
            lock_memory,
            commit_to_device,
            direct_files,
            disable_odsync,
            on_damage,
            expected_records,
            // Live:
            flush_max_ms: _,
            max_write_cache: _,
            overload_wait: _,
            flush_deadline: _,
            close_deadline: _,
            defrag_lwm_pct: _,
            defrag_queue_min: _,
            defrag_sleep: _,
            evict_used_pct: _,
            evict_target_pct: _,
            stop_writes_used_pct: _,
            stop_writes_avail_pct: _,
            default_ttl: _,
            tombstone_grace: _,
            sweep_interval: _,
            // Over with the cold start:
            on_progress: _,
        } = asked;
        let data_size = data_size.map(|bytes| self.as_rounded(bytes));
        [
            ("shadow_dir", shown(self.shadow_dir.as_ref()), shown(shadow_dir.as_ref())),
            ("shadow_devices", shown(self.shadow_devices.as_ref()), shown(shadow_devices.as_ref())),
            chosen("stripes", self.stripes, *stripes, |count| count.to_string()),
            chosen("wblock_size", self.wblock_size, *wblock_size, size),
            chosen("data_size", self.data_size, data_size, size),
            chosen("max_record_size", self.max_record_size, *max_record_size, size),
            chosen("flush_size", self.flush_size, *flush_size, size),
            plain("pin_cores", &self.pin_cores, pin_cores),
            plain("huge_pages", &self.huge_pages, huge_pages),
            plain("prefault", &self.prefault, prefault),
            plain("lock_memory", &self.lock_memory, lock_memory),
            plain("commit_to_device", &self.commit_to_device, commit_to_device),
            plain("direct_files", &self.direct_files, direct_files),
            plain("disable_odsync", &self.disable_odsync, disable_odsync),
            plain("on_damage", &self.on_damage, on_damage),
            plain("expected_records", &self.expected_records, expected_records),
        ]
    }

    /// The `data_size` in force, where `bytes` would be rounded up to it; else `bytes`.
    fn as_rounded(&self, bytes: u64) -> u64 {
        let step = self.wblock_bytes() * self.stripes.map_or(1, |stripes| stripes as u64);
        let is_same = bytes.div_ceil(step) == self.data_bytes() / step;
        if is_same { self.data_bytes() } else { bytes }
    }
}

/// A key that the engine chooses where it is left out.
fn chosen<T: Copy>(
    key: &'static str,
    is: Option<T>,
    asked: Option<T>,
    show: impl Fn(T) -> String,
) -> (&'static str, String, String) {
    let shown = |value: Option<T>| value.map_or_else(String::new, &show);
    (key, shown(is), shown(asked.or(is)))
}

/// A key that always has a value.
fn plain(
    key: &'static str,
    is: &impl fmt::Debug,
    asked: &impl fmt::Debug,
) -> (&'static str, String, String) {
    let shown = |value: String| value.to_lowercase();
    (key, shown(format!("{is:?}")), shown(format!("{asked:?}")))
}

fn size(bytes: u64) -> String {
    Size(bytes).to_string()
}

fn shown(value: Option<&impl fmt::Debug>) -> String {
    value.map_or_else(|| "left out".to_owned(), |value| format!("{value:?}"))
}
