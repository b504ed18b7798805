//! redb: a transaction a put, without waiting for the disk unless asked to; what was put is made
//! durable once a second.

use super::{Engine, Key, Setup, read};
use ::redb::{Database, Durability, ReadableDatabase, TableDefinition};
use std::path::Path;

const RECORDS: TableDefinition<'_, Key, &[u8]> = TableDefinition::new("records");

pub struct Redb {
    database: Database,
    durability: Durability,
}

impl Redb {
    pub fn open(setup: &Setup, folder: &Path) -> Self {
        let database = Database::create(folder.join("redb")).expect("the database opens");
        let durability = if setup.durable { Durability::Immediate } else { Durability::None };
        let redb = Self { database, durability };
        redb.put_all(&[], &[], Durability::Immediate); // makes the table
        redb
    }

    fn put_all(&self, keys: &[Key], value: &[u8], durability: Durability) {
        let mut transaction = self.database.begin_write().expect("it begins");
        transaction.set_durability(durability).expect("no savepoint is open");
        {
            let mut table = transaction.open_table(RECORDS).expect("the table opens");
            for key in keys {
                table.insert(key, value).expect("the disk takes it");
            }
        }
        transaction.commit().expect("the disk takes it");
    }
}

impl Engine for Redb {
    fn get(&self, key: &Key) -> Option<u64> {
        let transaction = self.database.begin_read().expect("it begins");
        let table = transaction.open_table(RECORDS).expect("the table is there");
        table.get(key).expect("the disk reads").map(|value| read(value.value()))
    }

    fn put(&self, key: &Key, value: &[u8]) {
        self.put_all(std::slice::from_ref(key), value, self.durability);
    }

    fn delete(&self, key: &Key) {
        let mut transaction = self.database.begin_write().expect("it begins");
        transaction.set_durability(self.durability).expect("no savepoint is open");
        {
            let mut table = transaction.open_table(RECORDS).expect("the table opens");
            table.remove(key).expect("the disk takes it");
        }
        transaction.commit().expect("the disk takes it");
    }

    fn get_many(&self, keys: &[Key]) -> u64 {
        let transaction = self.database.begin_read().expect("it begins");
        let table = transaction.open_table(RECORDS).expect("the table is there");
        let get = |key: &Key| table.get(key).expect("the disk reads");
        let found = keys.iter().filter_map(get);
        found.map(|value| u64::from(read(value.value()) < u64::MAX)).sum()
    }

    fn put_many(&self, keys: &[Key], value: &[u8]) {
        self.put_all(keys, value, self.durability);
    }

    fn sync(&self) {
        self.put_all(&[], &[], Durability::Immediate);
    }
}
