//! fjall, with its defaults: a put is in the journal's file when it returns, and not synced.

use super::{Engine, Key, Setup, read};
use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;

/// Its block cache, so that what it reads is mostly in memory.
const CACHE_BYTES: u64 = 1 << 30;

pub struct Fjall {
    database: Database,
    keyspace: Keyspace,
    durable: bool,
}

impl Fjall {
    pub fn open(setup: &Setup, folder: &Path) -> Self {
        let database = Database::builder(folder).cache_size(CACHE_BYTES).open();
        let database = database.expect("the database opens");
        let keyspace = database.keyspace("records", KeyspaceCreateOptions::default);
        let keyspace = keyspace.expect("the keyspace opens");
        Self { database, keyspace, durable: setup.durable }
    }

    fn settle_put(&self) {
        if self.durable {
            self.database.persist(PersistMode::SyncData).expect("the disk takes it");
        }
    }
}

impl Engine for Fjall {
    fn get(&self, key: &Key) -> Option<u64> {
        self.keyspace.get(key).expect("the disk reads").map(|value| read(&value))
    }

    fn put(&self, key: &Key, value: &[u8]) {
        self.keyspace.insert(key, value).expect("the disk takes it");
        self.settle_put();
    }

    fn delete(&self, key: &Key) {
        self.keyspace.remove(key).expect("the disk takes it");
        self.settle_put();
    }

    fn put_many(&self, keys: &[Key], value: &[u8]) {
        let mut batch = self.database.batch();
        for key in keys {
            batch.insert(&self.keyspace, key, value);
        }
        batch.commit().expect("the disk takes it");
        self.settle_put();
    }
}
