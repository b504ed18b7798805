//! `RocksDB`, with its defaults: a put is in the log's file when it returns, and not synced.

use super::{Engine, Key, Setup, read};
use rocksdb::{DB, Options, WriteBatch, WriteOptions};
use std::path::Path;

pub struct Rocks {
    database: DB,
    writes: WriteOptions,
}

impl Rocks {
    pub fn open(setup: &Setup, folder: &Path) -> Self {
        let mut options = Options::default();
        options.create_if_missing(true);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        options.increase_parallelism(i32::try_from(cores).unwrap_or(1));
        let mut writes = WriteOptions::default();
        writes.set_sync(setup.durable);
        Self { database: DB::open(&options, folder).expect("the database opens"), writes }
    }
}

impl Engine for Rocks {
    fn get(&self, key: &Key) -> Option<u64> {
        self.database.get_pinned(key).expect("the disk reads").map(|value| read(&value))
    }

    fn put(&self, key: &Key, value: &[u8]) {
        self.database.put_opt(key, value, &self.writes).expect("the disk takes it");
    }

    fn delete(&self, key: &Key) {
        self.database.delete_opt(key, &self.writes).expect("the disk takes it");
    }

    fn put_many(&self, keys: &[Key], value: &[u8]) {
        let mut batch = WriteBatch::default();
        for key in keys {
            batch.put(key, value);
        }
        self.database.write_opt(batch, &self.writes).expect("the disk takes it");
    }
}
