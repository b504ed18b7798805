//! Caches: moka, `quick_cache`, and the in-memory part of foyer. Each has twice the room that
//! the records take, so that none evicts.

use super::{Engine, Key, Setup, read};
use foldhash::fast::RandomState;
use foyer_memory::CacheBuilder;
use std::sync::Arc;

type Shared = Arc<[u8]>;

/// Records that a cache may hold.
fn room(setup: &Setup) -> usize {
    usize::try_from(setup.records).unwrap_or(0).max(1024) * 2
}

pub struct Moka(moka::sync::Cache<Key, Shared, RandomState>);

impl Moka {
    pub fn open(setup: &Setup) -> Self {
        let builder = moka::sync::Cache::builder()
            .max_capacity(room(setup) as u64)
            .initial_capacity(setup.capacity());
        Self(builder.build_with_hasher(RandomState::default()))
    }
}

impl Engine for Moka {
    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        self.0.get(key).map(|value| read(&value))
    }

    #[inline]
    fn put(&self, key: &Key, value: &[u8]) {
        self.0.insert(*key, value.into());
    }

    fn delete(&self, key: &Key) {
        self.0.invalidate(key);
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}

type QuickCache = quick_cache::sync::Cache<Key, Shared, quick_cache::UnitWeighter, RandomState>;

pub struct Quick(QuickCache);

impl Quick {
    pub fn open(setup: &Setup) -> Self {
        let options = quick_cache::OptionsBuilder::new()
            .estimated_items_capacity(setup.capacity().max(1))
            .weight_capacity(room(setup) as u64)
            .build()
            .expect("both capacities are set");
        Self(QuickCache::with_options(
            options,
            quick_cache::UnitWeighter,
            RandomState::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        ))
    }
}

impl Engine for Quick {
    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        self.0.get(key).map(|value| read(&value))
    }

    #[inline]
    fn put(&self, key: &Key, value: &[u8]) {
        self.0.insert(*key, value.into());
    }

    fn delete(&self, key: &Key) {
        self.0.remove(key);
    }
}

pub struct Foyer(foyer_memory::Cache<Key, Box<[u8]>, RandomState>);

impl Foyer {
    const SHARDS: usize = 64;

    pub fn open(setup: &Setup) -> Self {
        let builder = CacheBuilder::new(room(setup)).with_shards(Self::SHARDS);
        Self(builder.with_hash_builder(RandomState::default()).build())
    }
}

impl Engine for Foyer {
    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        self.0.get(key).map(|entry| read(entry.value()))
    }

    #[inline]
    fn put(&self, key: &Key, value: &[u8]) {
        self.0.insert(*key, value.into());
    }

    fn delete(&self, key: &Key) {
        self.0.remove(key);
    }
}
