//! sled, with its defaults: it flushes by itself, every 500 ms. On Linux its flush is
//! `sync_file_range`, which does not have the device empty its cache.

use super::{Engine, Key, Setup, read};
use std::path::Path;

const CACHE_BYTES: u64 = 1 << 30;

pub struct Sled {
    database: ::sled::Db,
    durable: bool,
}

impl Sled {
    pub fn open(setup: &Setup, folder: &Path) -> Self {
        let config = ::sled::Config::new().path(folder).cache_capacity(CACHE_BYTES);
        Self { database: config.open().expect("the database opens"), durable: setup.durable }
    }

    fn settle_put(&self) {
        if self.durable {
            self.database.flush().expect("the disk takes it");
        }
    }
}

impl Engine for Sled {
    fn get(&self, key: &Key) -> Option<u64> {
        self.database.get(key).expect("the disk reads").map(|value| read(&value))
    }

    fn put(&self, key: &Key, value: &[u8]) {
        self.database.insert(key, value).expect("the disk takes it");
        self.settle_put();
    }

    fn delete(&self, key: &Key) {
        self.database.remove(key).expect("the disk takes it");
        self.settle_put();
    }
}
