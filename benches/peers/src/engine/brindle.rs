//! Brindle, in memory or with its shadow on.

use super::{Engine, KEY_BYTES, Key, Setup, read};
use brindle::{Config, RECORD_HEADER_BYTES_MAX, Store};
use std::path::Path;
use std::time::Duration;

/// What records start on.
const UNIT_BYTES: usize = 16;
/// Room for the wblocks that are open.
const SPARE_BYTES: u64 = 96 << 20;
const OVERLOAD_WAIT: Duration = Duration::from_mins(1);

pub struct Brindle(Store);

impl Brindle {
    pub fn open(setup: &Setup, shadow: Option<&Path>) -> Self {
        let record = RECORD_HEADER_BYTES_MAX + KEY_BYTES + setup.value_bytes;
        let live = setup.records * record.next_multiple_of(UNIT_BYTES) as u64;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a size, rounded up to wblocks anyway"
        )]
        let bytes = (live as f64 * setup.room) as u64 + SPARE_BYTES;
        let mut config = Config::new()
            .data_size(bytes)
            .stop_writes_used_pct(0)
            .stop_writes_avail_pct(0)
            // A device that does not keep up shows as latency, as with the peers, not as an error.
            .overload_wait(OVERLOAD_WAIT)
            .direct_files(setup.direct)
            .commit_to_device(setup.durable);
        if setup.presize {
            config = config.expected_records(setup.records);
        }
        if let Some(folder) = shadow {
            config = config.shadow_dir(folder);
        }
        Self(Store::open(config).expect("there is room for the store"))
    }
}

impl Engine for Brindle {
    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        self.0.get(key).map(|record| read(record.value()))
    }

    #[inline]
    fn put(&self, key: &Key, value: &[u8]) {
        self.0.put(key, value).expect("there is room");
    }

    fn delete(&self, key: &Key) {
        self.0.delete(key).expect("a delete always passes");
    }

    fn get_pinned(&self, keys: &[Key]) -> u64 {
        let pin = self.0.pin();
        let found = |key| pin.get(key).is_some_and(|record| read(record.value()) < u64::MAX);
        keys.iter().map(|key| u64::from(found(key))).sum()
    }

    fn get_many(&self, keys: &[Key]) -> u64 {
        let records = self.0.get_many(keys);
        let found = records.iter().flatten();
        found.map(|record| u64::from(read(record.value()) < u64::MAX)).sum()
    }

    fn put_many(&self, keys: &[Key], value: &[u8]) {
        self.0.put_many(keys.iter().map(|key| (key, value))).expect("there is room");
    }

    fn settle(&self) {
        if self.0.stats().io.is_some() {
            self.0.flush().expect("the shadow takes it");
        }
    }

    fn spare_bytes(&self) -> u64 {
        let stats = self.0.stats();
        stats.free_wblocks * u64::from(stats.wblock_bytes)
    }

    fn moved_bytes(&self) -> u64 {
        self.0.stats().reclaim.moved_bytes
    }
}
