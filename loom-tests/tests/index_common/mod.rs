//! What the models of the index share: a store of numbered keys, whose records are loom cells.
#![expect(clippy::unwrap_used, reason = "a refusal fails the model")]

use brindle::index::{Hash, Index, Place, Records, ScanCursor, SlotState};
use brindle::unit::Location;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use std::ops::Deref;

pub use brindle::sync::epoch::{Guard, pin};
pub use loom::thread;

/// Keys in a model. A segment has room for two of the first six.
pub const KEYS: u64 = 7;
/// A key with another home bucket, which is EMPTY when the others' are full.
pub const ELSEWHERE: u64 = 6;
const VERSIONS: u64 = 4;

/// Runs `body` under loom with `preemptions`.
pub fn model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

fn location(key: u64, version: u64) -> Location {
    Location(1 + key * VERSIONS + version)
}

fn key_of(location: Location) -> u64 {
    (location.0 - 1) / VERSIONS
}

fn version_of(location: Location) -> u64 {
    (location.0 - 1) % VERSIONS
}

/// Keys 0, 2 and 4 go to the lower half of a first split, the others to the upper half; of these
/// halves 2 and 3 go to the upper part of the next one. All tags differ.
fn hash(key: u64) -> Hash {
    let home = if key == ELSEWHERE { u64::from(u32::MAX) } else { 0 };
    Hash((key % 2) << 63 | (key / 2 % 2) << 62 | (key / 4) << 61 | (key + 1) << 44 | home)
}

struct Keys;

impl Records for Keys {
    fn hash_at(&self, location: Location) -> Hash {
        hash(key_of(location))
    }
}

/// An index and the bytes of its records.
pub struct Inner {
    index: Index,
    bytes: Arc<Bytes>,
}

/// One cell for the bytes of each record; 0 once they may be reused.
struct Bytes(Vec<UnsafeCell<u64>>);

// SAFETY: what the model checks: loom reports an unordered access to a cell.
unsafe impl Sync for Bytes {}
// SAFETY: as above.
unsafe impl Send for Bytes {}

#[derive(Clone)]
pub struct Store(Arc<Inner>);

impl Deref for Store {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Store {
    pub fn new() -> Self {
        let bytes = (0..KEYS * VERSIONS).map(|_| UnsafeCell::new(0)).collect();
        let bytes = Arc::new(Bytes(bytes));
        Self(Arc::new(Inner { index: Index::new(0).unwrap(), bytes }))
    }
}

impl Bytes {
    fn cell(&self, at: Location) -> &UnsafeCell<u64> {
        self.0.get(usize::try_from(at.0 - 1).unwrap()).unwrap()
    }
}

impl Inner {
    /// Lets the bytes of a replaced record be reused, after every guard that may read them.
    fn retire(&self, guard: &Guard, at: Location) {
        let bytes = Arc::clone(&self.bytes);
        // SAFETY: the index does not name it any more: the property under test.
        let reuse = move || bytes.cell(at).with_mut(|bytes| unsafe { *bytes = 0 });
        // SAFETY: as above.
        unsafe { guard.defer_unchecked(reuse) };
    }

    /// Writes the record; each version of each key is written once in a model.
    fn write(&self, key: u64, version: u64) -> Location {
        let at = location(key, version);
        // SAFETY: the property under test; loom fails the model if it does not hold.
        self.bytes.cell(at).with_mut(|bytes| unsafe { *bytes = at.0 });
        at
    }

    /// Reads the record's bytes, and returns whether it is one of `key`.
    fn is_key(&self, key: u64, at: Location) -> bool {
        // SAFETY: the property under test; loom fails the model if it does not hold.
        let bytes = self.bytes.cell(at).with(|bytes| unsafe { *bytes });
        assert_eq!(bytes, at.0, "the record was written before it was found");
        key_of(at) == key
    }

    /// True if the key was new.
    pub fn put(&self, key: u64, version: u64) -> bool {
        let guard = pin();
        let new = self.write(key, version);
        loop {
            let place =
                self.index.search(&guard, &Keys, self.index.start(&guard, hash(key)), |at| {
                    self.is_key(key, at)
                });
            let (done, is_new) = match place.unwrap() {
                Place::Occupied(place) => (place.replace(new), false),
                Place::Vacant(place) => (place.insert(new), true),
            };
            if done.is_ok() {
                return is_new;
            }
        }
    }

    /// Updates a key that is there; the version that it replaced.
    pub fn replace(&self, key: u64, version: u64) -> Option<u64> {
        let guard = pin();
        let new = self.write(key, version);
        loop {
            let is_key = |at| self.is_key(key, at);
            let place = self.index.search_occupied(&guard, &Keys, hash(key), is_key).unwrap()?;
            if place.replace(new).is_ok() {
                self.retire(&guard, place.location());
                return Some(version_of(place.location()));
            }
        }
    }

    /// The version that was removed.
    pub fn remove(&self, key: u64) -> Option<u64> {
        let guard = pin();
        loop {
            let is_key = |at| self.is_key(key, at);
            let place = self.index.search_occupied(&guard, &Keys, hash(key), is_key).unwrap()?;
            if place.remove().is_ok() {
                return Some(version_of(place.location()));
            }
        }
    }

    /// The version that is found.
    pub fn find(&self, guard: &Guard, key: u64) -> Option<u64> {
        let found = self.index.find(guard, hash(key), |at| self.is_key(key, at));
        found.map(version_of)
    }

    /// The keys of all entries.
    pub fn scan(&self) -> Vec<u64> {
        let guard = pin();
        let mut slots = Vec::new();
        let mut cursor = Some(ScanCursor::default());
        while let Some(at) = cursor {
            cursor = self.index.slots_from(&guard, at, &mut slots);
        }
        let key = |state| match state {
            SlotState::Live(at) | SlotState::Frozen(at) => Some(key_of(at)),
            SlotState::Deleted => None,
        };
        let mut keys: Vec<u64> = slots.iter().filter_map(|slot| key(slot.state())).collect();
        keys.sort_unstable();
        keys
    }

    /// Segments split, rebuilt.
    pub fn growths(&self) -> (u64, u64) {
        (self.index.splits(), self.index.rebuilds())
    }
}
