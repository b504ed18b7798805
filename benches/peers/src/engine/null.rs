//! A store that does nothing: what a run on it takes is the machine's and the harness's own.

use super::{Engine, Key};

pub struct Null;

impl Engine for Null {
    fn get(&self, key: &Key) -> Option<u64> {
        Some(u64::from(key[0]))
    }

    fn put(&self, _key: &Key, _value: &[u8]) {}

    fn delete(&self, _key: &Key) {}
}
