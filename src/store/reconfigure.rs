//! Changing what may change while the store is open.
#![forbid(unsafe_code)]

use super::Store;
use crate::config::Config;
use crate::error::Result;
use crate::sync::lock;

impl Store {
    /// The configuration in force: what the store was opened with, or last
    /// [reconfigured](Self::reconfigure) to. `data_size`, `stripes`, `wblock_size`,
    /// `max_record_size` and `flush_size` stand in it as they are, also where they were left to the
    /// engine or to the shadow. Without [`on_progress`](Config::on_progress), whose time is over.
    pub fn config(&self) -> Config {
        lock(&self.inner.config).clone()
    }

    /// Puts `config` into force. These keys may differ from what is in force: `flush_max_ms`,
    /// `default_ttl`, `max_write_cache`, `overload_wait`, `flush_deadline`, `close_deadline`,
    /// `tombstone_grace`, `sweep_interval`, and all of `defrag_*`, `evict_*` and `stop_writes_*`.
    /// The others are fixed at open; of those, the ones that [`config`](Self::config) fills in may
    /// be left out.
    ///
    /// A change is in force when it returns: for puts that begin after, and for the engine's
    /// threads, which it wakes. Records that are there keep the expiry that they were put with. All
    /// or nothing, and one call at a time; nothing is written to the shadow, so the next open takes
    /// what its own configuration says. `on_progress` is ignored.
    ///
    /// ```
    /// # use brindle::{Config, Error, Store};
    /// # use std::time::Duration;
    /// # fn main() -> brindle::Result<()> {
    /// let store = Store::open(Config::new().data_size(64 << 20))?;
    /// let busy = store.config().defrag_lwm_pct(60).default_ttl(Duration::from_secs(3600));
    /// store.reconfigure(busy)?;
    ///
    /// let larger = store.config().data_size(1 << 30);
    /// let refused = store.reconfigure(larger);
    /// assert!(matches!(refused, Err(Error::Config { key, .. }) if key == "data_size"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config): a key that is fixed at open differs, or a value is
    /// one that [`open`](Self::open) would refuse. [`Error::Closed`](crate::Error::Closed),
    /// [`Error::Forked`](crate::Error::Forked). Nothing has changed.
    #[expect(clippy::needless_pass_by_value, reason = "as `open` takes it; built for the call")]
    pub fn reconfigure(&self, config: Config) -> Result<()> {
        let inner = &*self.inner;
        inner.check_open()?;
        let mut in_force = lock(&inner.config);
        let changed = in_force.changed_to(&config)?;
        let plan = changed.validate(inner.cores.len())?;
        inner.settings.apply(&plan);
        *in_force = changed;
        inner.upkeep.pressure().look();
        inner.reclaim.common().heed_settings();
        inner.keyspace.stripes().call_reclaimers();
        if let Some(shadow) = &inner.shadow {
            shadow.wake();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HugePages;
    use crate::error::Error;

    #[test]
    fn a_put_meets_a_passed_threshold_until_it_is_raised() {
        let config = Config::new().data_size(1 << 20).wblock_size(64 << 10).stripes(1);
        let config = config.huge_pages(HugePages::Off).prefault(false);
        let store = Store::open(config.stop_writes_used_pct(0)).expect("opens");
        // 16 wblocks of 64 KiB: each value is a good 6% of the store.
        for key in 0..8_u64 {
            store.put(key.to_le_bytes(), vec![0; 64_000]).expect("there is room");
        }
        let room = || store.inner.check_room_for_puts();
        room().expect("no threshold");
        store.reconfigure(store.config().stop_writes_used_pct(40)).expect("may change");
        let refused = room();
        let is_so =
            matches!(refused, Err(Error::StopWrites { used_pct: 45..=55, avail_pct: 45..=55 }));
        assert!(is_so, "{refused:?}");
        let stats = store.stats();
        assert!(stats.stop_writes && stats.runway.live_bytes > 8 * 64_000, "{stats:?}");
        store.reconfigure(store.config().stop_writes_used_pct(60)).expect("may change");
        room().expect("at once");
        assert!(!store.stats().stop_writes);
    }
}
