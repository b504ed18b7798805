//! The caches that are compared, each behind one call.
//!
//! All get the same capacity, in records. Peers run in one shard: with more, each shard would have
//! a capacity of its own, and the hit ratio would be of several small caches.

use brindle::{Config, Store};
use foyer_memory::{CacheBuilder, EvictionConfig, LfuConfig, S3FifoConfig};
use std::num::NonZero;

/// A cache that is read through: what is missing is put.
pub trait Cache {
    /// True: it was there.
    fn access(&mut self, key: u32) -> bool;
    /// Records now.
    fn records(&self) -> u64;
}

/// The peers, by name.
pub const PEERS: [&str; 5] = ["lru", "moka", "quick_cache", "foyer s3fifo", "foyer lfu"];

/// The value that every cache stores.
pub type Value = [u8; 8];

/// The peer `name` with room for `capacity` records; `None` if there is none of that name.
pub fn peer(name: &str, capacity: u32) -> Option<Box<dyn Cache>> {
    let room = NonZero::new(capacity as usize)?;
    Some(match name {
        "lru" => Box::new(Lru(lru::LruCache::new(room))),
        "moka" => Box::new(Moka::new(capacity)),
        "quick_cache" => Box::new(Quick::new(room.get())),
        "foyer s3fifo" => Box::new(Foyer::new(room.get(), S3FifoConfig::default().into())),
        "foyer lfu" => Box::new(Foyer::new(room.get(), LfuConfig::default().into())),
        _ => return None,
    })
}

struct Lru(lru::LruCache<u32, Value>);

impl Cache for Lru {
    fn access(&mut self, key: u32) -> bool {
        let hit = self.0.get(&key).is_some();
        if !hit {
            self.0.put(key, Value::default());
        }
        hit
    }

    fn records(&self) -> u64 {
        self.0.len() as u64
    }
}

struct Moka {
    cache: moka::sync::Cache<u32, Value>,
    accesses: u32,
}

impl Moka {
    /// Accesses between two runs of its upkeep, which otherwise comes by time or by count, and
    /// holds the capacity only then.
    const UPKEEP: u32 = 64;

    fn new(capacity: u32) -> Self {
        Self { cache: moka::sync::Cache::new(capacity.into()), accesses: 0 }
    }
}

impl Cache for Moka {
    fn access(&mut self, key: u32) -> bool {
        self.accesses += 1;
        if self.accesses.is_multiple_of(Self::UPKEEP) {
            self.cache.run_pending_tasks();
        }
        let hit = self.cache.get(&key).is_some();
        if !hit {
            self.cache.insert(key, Value::default());
        }
        hit
    }

    fn records(&self) -> u64 {
        self.cache.entry_count()
    }
}

type QuickCache = quick_cache::sync::Cache<u32, Value>;

struct Quick(QuickCache);

impl Quick {
    #[expect(clippy::expect_used, reason = "all that the options ask for is set")]
    fn new(capacity: usize) -> Self {
        let options = quick_cache::OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(capacity)
            .weight_capacity(capacity as u64)
            .build()
            .expect("both capacities are set");
        Self(QuickCache::with_options(
            options,
            quick_cache::UnitWeighter,
            quick_cache::DefaultHashBuilder::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        ))
    }
}

impl Cache for Quick {
    fn access(&mut self, key: u32) -> bool {
        let hit = self.0.get(&key).is_some();
        if !hit {
            self.0.insert(key, Value::default());
        }
        hit
    }

    fn records(&self) -> u64 {
        self.0.len() as u64
    }
}

struct Foyer(foyer_memory::Cache<u32, Value>);

impl Foyer {
    fn new(capacity: usize, eviction: EvictionConfig) -> Self {
        Self(CacheBuilder::new(capacity).with_shards(1).with_eviction_config(eviction).build())
    }
}

impl Cache for Foyer {
    fn access(&mut self, key: u32) -> bool {
        let hit = self.0.get(&key).is_some();
        if !hit {
            self.0.insert(key, Value::default());
        }
        hit
    }

    fn records(&self) -> u64 {
        self.0.entries() as u64
    }
}

/// Brindle, in memory, one stripe, evicting.
///
/// Its capacity is in bytes: as many wblocks as make the records asked for take `USED_PCT` of
/// them. Values are padded, so that a small capacity, too, is one of many wblocks. What counts as
/// its capacity in a comparison is the most records that it held.
#[derive(Debug)]
pub struct Engine {
    store: Store,
    value: Vec<u8>,
    failed: Option<brindle::Error>,
}

impl Engine {
    const WBLOCK_BYTES: u64 = 64 << 10;
    const WBLOCKS_MIN: u64 = 128;
    const USED_PCT: u8 = 85;
    /// Of a record over its value: header and key.
    const RECORD_OVERHEAD_BYTES: u64 = 32;

    /// With room for about `capacity` records.
    ///
    /// # Errors
    ///
    /// What `Store::open` says.
    pub fn open(capacity: u32) -> brindle::Result<Self> {
        let capacity = u64::from(capacity.max(1));
        let rblocks = Self::WBLOCKS_MIN * Self::WBLOCK_BYTES / 16 / capacity;
        let record_bytes = 16 * rblocks.clamp(3, 64);
        let config = Config::new()
            .data_size(capacity * record_bytes * 100 / u64::from(Self::USED_PCT))
            .wblock_size(Self::WBLOCK_BYTES)
            .max_record_size(2 << 10)
            .stripes(1)
            .evict_used_pct(Self::USED_PCT)
            .evict_target_pct(Self::USED_PCT - 1)
            .expected_records(capacity);
        let value = (Self::RECORD_OVERHEAD_BYTES..record_bytes).map(|_| 0).collect();
        Ok(Self { store: Store::open(config)?, value, failed: None })
    }

    /// Closes the store.
    ///
    /// # Errors
    ///
    /// The first that a put met, if any: the run counts for nothing then.
    pub fn finish(self) -> brindle::Result<()> {
        self.failed.map_or(Ok(()), Err)?;
        self.store.close()
    }
}

impl Cache for Engine {
    fn access(&mut self, key: u32) -> bool {
        if self.failed.is_some() {
            return false;
        }
        let key = key.to_le_bytes();
        if self.store.get(key).is_some() {
            return true;
        }
        self.failed = self.store.put(key, &self.value).err();
        false
    }

    fn records(&self) -> u64 {
        self.store.len() as u64
    }
}
