//! LMDB, through heed: a transaction a put, without waiting for the disk unless asked to; what was
//! put is made durable once a second.
#![expect(unsafe_code, reason = "heed leaves to its user that files are not changed by others")]

use super::{Engine, KEY_BYTES, Key, Setup, read};
use heed::types::Bytes;
use heed::{Database, Env, EnvFlags, EnvOpenOptions};
use std::path::Path;

/// Of address space: the file grows as it must.
const MAP_BYTES: usize = 1 << 38;
/// 16 writers, 40 readers, and then some.
const READERS_MAX: u32 = 256;

pub struct Lmdb {
    env: Env,
    records: Database<Bytes, Bytes>,
}

impl Lmdb {
    pub fn open(setup: &Setup, folder: &Path) -> Self {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES).max_readers(READERS_MAX);
        if !setup.durable {
            // SAFETY: a crash may damage the file; it is a bench's.
            unsafe { options.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: the folder is this process's own, and open once.
        let env = unsafe { options.open(folder) }.expect("the environment opens");
        let mut transaction = env.write_txn().expect("it begins");
        let records = env.create_database(&mut transaction, None).expect("the database opens");
        transaction.commit().expect("the disk takes it");
        Self { env, records }
    }
}

impl Engine for Lmdb {
    fn get(&self, key: &Key) -> Option<u64> {
        let transaction = self.env.read_txn().expect("it begins");
        self.records.get(&transaction, &key[..KEY_BYTES]).expect("the disk reads").map(read)
    }

    fn put(&self, key: &Key, value: &[u8]) {
        self.put_many(std::slice::from_ref(key), value);
    }

    fn delete(&self, key: &Key) {
        let mut transaction = self.env.write_txn().expect("it begins");
        self.records.delete(&mut transaction, &key[..]).expect("the disk takes it");
        transaction.commit().expect("the disk takes it");
    }

    fn get_many(&self, keys: &[Key]) -> u64 {
        let transaction = self.env.read_txn().expect("it begins");
        let get = |key: &Key| self.records.get(&transaction, &key[..]).expect("the disk reads");
        let found = |key| get(key).is_some_and(|value| read(value) < u64::MAX);
        keys.iter().map(|key| u64::from(found(key))).sum()
    }

    fn put_many(&self, keys: &[Key], value: &[u8]) {
        let mut transaction = self.env.write_txn().expect("it begins");
        for key in keys {
            self.records.put(&mut transaction, &key[..], value).expect("the disk takes it");
        }
        transaction.commit().expect("the disk takes it");
    }

    fn sync(&self) {
        self.env.force_sync().expect("the disk takes it");
    }
}
