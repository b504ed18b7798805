//! A whole index, from its first segment to the fourth and on: put, find, remove and scan, while
//! segments are split, rebuilt, retired, and their memory used again.
//!
//! A location is a key and a version. `retire` notes that a location may be used anew, once no
//! guard is left that could know of it; whoever is asked about one afterwards fails the model.
#![cfg(shuttle)]
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a refusal fails the model")]

mod common;

use brindle::index::{Hash, Index, Place, Records, ScanCursor, SlotState};
use brindle::sync::epoch::{Guard, pin};
use brindle::unit::Location;
use common::{check, hash};
use shuttle::sync::Arc;
use shuttle::thread;
use std::collections::BTreeSet;
use std::sync::Mutex;

const VERSIONS: u64 = 64;
/// A version that each of them has to itself.
const BY_THREAD: u64 = 16;

fn location(key: u8, version: u64) -> Location {
    Location((u64::from(key) + 1) * VERSIONS + version)
}

fn key_of(at: Location) -> u8 {
    u8::try_from(at.0 / VERSIONS - 1).expect("a key")
}

struct Keys;

impl Records for Keys {
    fn hash_at(&self, at: Location) -> Hash {
        hash(key_of(at))
    }
}

struct Store {
    index: Index,
    /// Invisible to shuttle: it orders nothing, and no thread is switched under its lock.
    gone: Arc<Mutex<BTreeSet<u64>>>,
}

impl Store {
    fn new() -> Arc<Self> {
        let gone = Arc::new(Mutex::new(BTreeSet::new()));
        Arc::new(Self { index: Index::new(0).expect("memory"), gone })
    }

    fn is_key(&self, key: u8, at: Location) -> bool {
        let gone = self.gone.lock().expect("no model panics with it");
        assert!(!gone.contains(&at.0), "asked about a record that is gone: {at:?}");
        key_of(at) == key
    }

    fn retire(&self, guard: &Guard, at: Location) {
        let gone = Arc::clone(&self.gone);
        let reuse = move || gone.lock().expect("no model panics with it").insert(at.0);
        // SAFETY: (1) the index does not name it any more: the property under test.
        unsafe { guard.defer_unchecked(reuse) };
    }

    /// The version that it replaced.
    fn put(&self, key: u8, version: u64) -> Option<u64> {
        let guard = pin();
        let new = location(key, version);
        loop {
            let place =
                self.index.search(&guard, &Keys, self.index.start(&guard, hash(key)), |at| {
                    self.is_key(key, at)
                });
            match place.expect("the index can grow") {
                Place::Occupied(entry) => {
                    if entry.replace(new).is_ok() {
                        self.retire(&guard, entry.location());
                        return Some(entry.location().0 % VERSIONS);
                    }
                }
                Place::Vacant(vacant) => {
                    if vacant.insert(new).is_ok() {
                        return None;
                    }
                }
            }
        }
    }

    /// The version that was removed.
    fn remove(&self, key: u8) -> Option<u64> {
        let guard = pin();
        loop {
            let is_key = |at| self.is_key(key, at);
            let entry = self.index.search_occupied(&guard, &Keys, hash(key), is_key);
            let entry = entry.expect("memory")?;
            if entry.remove().is_ok() {
                self.retire(&guard, entry.location());
                return Some(entry.location().0 % VERSIONS);
            }
        }
    }

    fn find(&self, key: u8) -> Option<u64> {
        let guard = pin();
        let found = self.index.find(&guard, hash(key), |at| self.is_key(key, at));
        found.map(|at| at.0 % VERSIONS)
    }

    fn scan(&self) -> Vec<u8> {
        let mut keys = Vec::new();
        let mut cursor = Some(ScanCursor::default());
        while let Some(at) = cursor {
            let guard = pin();
            let mut slots = Vec::new();
            cursor = self.index.slots_from(&guard, at, &mut slots);
            keys.extend(slots.into_iter().filter_map(|slot| match slot.state() {
                SlotState::Live(at) | SlotState::Frozen(at) => Some(key_of(at)),
                SlotState::Deleted => None,
            }));
        }
        keys.sort_unstable();
        keys
    }
}

/// Each thread has keys of its own, and knows what is under them; all share segments.
fn threads_see_their_own_writes() {
    let store = Store::new();
    let work = |thread: u8| {
        let store = Arc::clone(&store);
        thread::spawn(move || {
            let keys = [thread, thread + 3];
            for (at, key) in (1..).zip(keys) {
                assert_eq!(store.put(key, at), None, "{key} is new");
                assert_eq!(store.find(key), Some(at));
            }
            assert_eq!(store.remove(thread), Some(1));
            assert_eq!(store.find(thread), None);
            assert_eq!(store.put(thread + 3, 3), Some(2));
            assert_eq!(store.put(thread, 4), None);
            assert_eq!((store.find(thread), store.find(thread + 3)), (Some(4), Some(3)));
        })
    };
    let threads: Vec<_> = (0..3).map(work).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    assert_eq!(store.scan(), [0, 1, 2, 3, 4, 5], "each key once");
}

/// What a call on a key did.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Find(Option<u64>),
    Put { new: u64, old: Option<u64> },
    Remove(Option<u64>),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    begun: u64,
    ended: u64,
    call: Call,
}

/// Whether the calls `left` can be put in an order, within their times, that explains each answer.
fn has_order(state: Option<u64>, left: &[Entry]) -> bool {
    let Some(first_end) = left.iter().map(|entry| entry.ended).min() else { return true };
    left.iter().enumerate().any(|(at, entry)| {
        let after = match entry.call {
            Call::Find(found) if found == state => state,
            Call::Put { new, old } if old == state => Some(new),
            Call::Remove(old) if old == state => None,
            _ => return false,
        };
        let rest = || [left.get(..at), left.get(at + 1..)].into_iter().flatten().flatten().copied();
        entry.begun <= first_end && has_order(after, &rest().collect::<Vec<_>>())
    })
}

/// All threads work on the same two keys, and on others that make segments full.
fn calls_on_one_key_have_an_order() {
    let store = Store::new();
    let clock = Arc::new(Mutex::new(0));
    // Six of the ten slots: the next keys make it grow.
    for key in 2..6 {
        store.put(key, 0);
    }
    let work = |thread: u8| {
        let (store, clock) = (Arc::clone(&store), Arc::clone(&clock));
        thread::spawn(move || {
            let tick = || {
                let mut clock = clock.lock().expect("no model panics with it");
                *clock += 1;
                *clock
            };
            let mut entries = Vec::new();
            let mut version = u64::from(thread) * BY_THREAD;
            for step in 0..4_u8 {
                let key = (thread + step) % 2;
                let begun = tick();
                let call = match (thread + 2 * step) % 4 {
                    0 | 3 => {
                        version += 1;
                        Call::Put { new: version, old: store.put(key, version) }
                    }
                    1 => Call::Remove(store.remove(key)),
                    _ => Call::Find(store.find(key)),
                };
                entries.push((key, Entry { begun, ended: tick(), call }));
                if step == 1 {
                    store.put(6 + thread % 2, version);
                }
            }
            entries
        })
    };
    let threads: Vec<_> = (0..3).map(work).collect();
    let entries: Vec<_> =
        threads.into_iter().flat_map(|thread| thread.join().expect("a thread")).collect();
    for key in 0..2 {
        let mut of_key: Vec<Entry> =
            entries.iter().filter(|(of, _)| *of == key).map(|(_, entry)| *entry).collect();
        let end = Entry { begun: u64::MAX - 1, ended: u64::MAX, call: Call::Find(store.find(key)) };
        of_key.push(end);
        assert!(has_order(None, &of_key), "key {key}: {of_key:?}");
    }
}

/// What stays is seen once, whatever splits meanwhile.
fn a_scan_sees_what_stays_once() {
    let store = Store::new();
    for key in 0..3 {
        store.put(key, 0);
    }
    let grow = |thread: u8| {
        let store = Arc::clone(&store);
        thread::spawn(move || {
            for key in [3 + thread, 5 + thread] {
                store.put(key, 1);
                store.put(thread, u64::from(key));
                if key > 4 {
                    store.remove(key);
                }
            }
        })
    };
    let threads: Vec<_> = (0..2).map(grow).collect();
    for _ in 0..2 {
        let seen = store.scan();
        for key in 0..3 {
            assert_eq!(seen.iter().filter(|seen| **seen == key).count(), 1, "{key} in {seen:?}");
        }
    }
    threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    assert_eq!(store.scan(), [0, 1, 2, 3, 4]);
}

#[test]
fn threads_see_their_own_writes_while_segments_come_and_go() {
    check("own writes", threads_see_their_own_writes);
}

#[test]
fn calls_on_one_key_have_an_order_while_segments_come_and_go() {
    check("one key", calls_on_one_key_have_an_order);
}

#[test]
fn a_scan_beside_growth_sees_what_stays_once() {
    check("scan", a_scan_sees_what_stays_once);
}
