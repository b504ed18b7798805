//! Maps that threads share: dashmap, papaya, scc, and std's map in shards behind locks.

use super::{Engine, Key, Setup, read};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{PoisonError, RwLock};

type Value = Box<[u8]>;

/// Overwrites `old` if it may be and `new` is as long; else false.
#[inline]
fn overwrite(old: &mut Value, new: &[u8]) {
    if old.len() == new.len() {
        old.copy_from_slice(new);
    } else {
        *old = new.into();
    }
}

pub struct Dash {
    map: dashmap::DashMap<Key, Value, RandomState>,
    in_place: bool,
}

impl Dash {
    pub fn open(setup: &Setup) -> Self {
        let hasher = RandomState::default();
        let map = dashmap::DashMap::with_capacity_and_hasher(setup.capacity(), hasher);
        Self { map, in_place: setup.in_place }
    }
}

impl Engine for Dash {
    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        self.map.get(key).map(|value| read(&value))
    }

    #[inline]
    fn put(&self, key: &Key, value: &[u8]) {
        if self.in_place
            && let Some(mut old) = self.map.get_mut(key)
        {
            return overwrite(&mut old, value);
        }
        self.map.insert(*key, value.into());
    }

    fn delete(&self, key: &Key) {
        self.map.remove(key);
    }
}

pub struct Papaya(papaya::HashMap<Key, Value, RandomState>);

impl Papaya {
    pub fn open(setup: &Setup) -> Self {
        let hasher = RandomState::default();
        Self(papaya::HashMap::with_capacity_and_hasher(setup.capacity(), hasher))
    }
}

impl Engine for Papaya {
    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        self.0.pin().get(key).map(|value| read(value))
    }

    #[inline]
    fn put(&self, key: &Key, value: &[u8]) {
        self.0.pin().insert(*key, value.into());
    }

    fn delete(&self, key: &Key) {
        self.0.pin().remove(key);
    }

    fn get_pinned(&self, keys: &[Key]) -> u64 {
        let map = self.0.pin();
        let found = |key| map.get(key).is_some_and(|value| read(value) < u64::MAX);
        keys.iter().map(|key| u64::from(found(key))).sum()
    }

    fn put_many(&self, keys: &[Key], value: &[u8]) {
        let map = self.0.pin();
        for key in keys {
            map.insert(*key, value.into());
        }
    }
}

pub struct Scc {
    map: scc::HashMap<Key, Value, RandomState>,
    in_place: bool,
}

impl Scc {
    pub fn open(setup: &Setup) -> Self {
        let hasher = RandomState::default();
        let map = scc::HashMap::with_capacity_and_hasher(setup.capacity(), hasher);
        Self { map, in_place: setup.in_place }
    }
}

impl Engine for Scc {
    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        self.map.read_sync(key, |_, value| read(value))
    }

    #[inline]
    fn put(&self, key: &Key, value: &[u8]) {
        if self.in_place && self.map.update_sync(key, |_, old| overwrite(old, value)).is_some() {
            return;
        }
        self.map.upsert_sync(*key, value.into());
    }

    fn delete(&self, key: &Key) {
        self.map.remove_sync(key);
    }
}

/// On a line of its own, so that neighbours do not share one.
#[repr(align(128))]
struct Shard(RwLock<HashMap<Key, Value, RandomState>>);

pub struct Sharded {
    shards: Vec<Shard>,
    hasher: RandomState,
    in_place: bool,
}

impl Sharded {
    const SHARDS: usize = 256;

    pub fn open(setup: &Setup) -> Self {
        let hasher = RandomState::default();
        // The fullest shard has some more than its share.
        let share = setup.capacity() / Self::SHARDS;
        let capacity = share + share / 20;
        let map = || HashMap::with_capacity_and_hasher(capacity, RandomState::default());
        let shards = (0..Self::SHARDS).map(|_| Shard(RwLock::new(map()))).collect();
        Self { shards, hasher, in_place: setup.in_place }
    }

    #[inline]
    fn shard(&self, key: &Key) -> &RwLock<HashMap<Key, Value, RandomState>> {
        // The key's bytes are as good as random, but a host's are not: a shard costs a hash.
        let hash = self.hasher.hash_one(key);
        let at = (hash >> 48) as usize % Self::SHARDS;
        &self.shards[at].0
    }
}

impl Engine for Sharded {
    #[inline]
    fn get(&self, key: &Key) -> Option<u64> {
        let map = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        map.get(key).map(|value| read(value))
    }

    #[inline]
    fn put(&self, key: &Key, value: &[u8]) {
        let shard = self.shard(key);
        if self.in_place {
            let mut map = shard.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(old) = map.get_mut(key) {
                return overwrite(old, value);
            }
        }
        let value: Value = value.into();
        let old = shard.write().unwrap_or_else(PoisonError::into_inner).insert(*key, value);
        drop(old); // outside of the lock
    }

    fn delete(&self, key: &Key) {
        let old = self.shard(key).write().unwrap_or_else(PoisonError::into_inner).remove(key);
        drop(old);
    }
}
