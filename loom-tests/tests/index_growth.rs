//! Growth of the index: a split or a rebuild against readers and writers, and two of them at once.
//!
//! A segment has room for two entries here; the third insert splits it, or, if at most one entry
//! is live, rebuilds it.
//!
//! Seen to fail, one weakening at a time:
//! - `publish` or `successors` Relaxed (E2): nearly all models.
//! - the builder reads entries Relaxed (E1): `a_splitting_thread_passes_on_the_bytes_...`.
//! - one slot is not frozen (S5): `an_update_...` and `a_removal_survives_a_split_...`.
//! - a frozen match decides without a look for successors: `an_update_...`, `a_removal_...`.
//! - a frozen EMPTY slot does: `an_empty_slot_of_a_frozen_segment_decides_nothing`.
//! - the key of a frozen entry is compared before that look: `an_update_survives_a_split_...`.
//! - an exhausted sequence decides: `a_reader_never_meets_a_reclaimed_segment_of_a_chain`.
//! - a second replacement is published over the first: the models with two writers.
#![cfg(loom)]

#[path = "index_common/mod.rs"]
mod index_common;

use index_common::{ELSEWHERE, Store, model, pin, thread};

fn with_keys(keys: &[u64]) -> Store {
    let store = Store::new();
    for key in keys {
        store.put(*key, 0);
    }
    store
}

#[test]
fn a_reader_never_misses_a_present_key_and_never_goes_back_during_a_split() {
    model(2, || {
        let store = with_keys(&[0, 1]);
        let writer = store.clone();
        let thread = thread::spawn(move || {
            writer.put(2, 0);
            writer.put(0, 1);
        });
        let guard = pin();
        thread::yield_now(); // else loom does not let the thread come first
        let first = store.find(&guard, 0);
        let second = store.find(&guard, 0);
        assert!(first.is_some() && second >= first, "{second:?} after {first:?}");
        drop(guard);
        thread.join().unwrap();
        assert_eq!(store.growths(), (1, 0));
        assert_eq!(store.scan(), [0, 1, 2]);
        assert_eq!(store.find(&pin(), 0), Some(1));
    });
}

#[test]
fn what_one_reader_has_seen_no_later_reader_misses() {
    use loom::sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    };
    model(2, || {
        let store = with_keys(&[0, 1]);
        let seen = loom::sync::Arc::new(AtomicU64::new(0));
        let (writer, reader, told) = (store.clone(), store.clone(), seen.clone());
        let write = thread::spawn(move || {
            writer.put(2, 0);
            writer.put(2, 1);
        });
        let read = thread::spawn(move || {
            let version = reader.find(&pin(), 2);
            told.store(version.map_or(0, |version| version + 1), Release);
        });
        let before = seen.load(Acquire);
        let version = store.find(&pin(), 2).map_or(0, |version| version + 1);
        assert!(version >= before, "{version} after another saw {before}");
        write.join().unwrap();
        read.join().unwrap();
    });
}

#[test]
fn two_writers_that_split_one_segment_both_keep_their_keys() {
    model(2, || {
        let store = with_keys(&[0, 1]);
        let other = store.clone();
        let thread = thread::spawn(move || other.put(3, 0));
        assert!(store.put(2, 0));
        assert!(thread.join().unwrap());
        assert_eq!(store.growths(), (1, 0), "published once");
        assert_eq!(store.scan(), [0, 1, 2, 3]);
        assert!((0..4).all(|key| store.find(&pin(), key) == Some(0)));
    });
}

#[test]
fn an_update_survives_a_split_that_runs_beside_it() {
    model(3, || {
        let store = with_keys(&[0, 1]);
        let other = store.clone();
        let thread = thread::spawn(move || other.put(2, 0));
        assert_eq!(store.replace(0, 1), Some(0));
        assert_eq!(store.find(&pin(), 0), Some(1));
        assert!(thread.join().unwrap());
        assert_eq!(store.find(&pin(), 0), Some(1));
        assert_eq!(store.scan(), [0, 1, 2]);
    });
}

#[test]
fn a_removal_survives_a_split_that_runs_beside_it() {
    model(3, || {
        let store = with_keys(&[0, 1]);
        let other = store.clone();
        let thread = thread::spawn(move || other.put(2, 0));
        assert_eq!(store.remove(0), Some(0));
        assert!(thread.join().unwrap());
        assert_eq!(store.find(&pin(), 0), None);
        assert_eq!(store.scan(), [1, 2]);
    });
}

#[test]
fn a_rebuild_keeps_what_is_live_and_two_inserters_of_one_key_still_meet() {
    model(2, || {
        let store = with_keys(&[0, 1]);
        store.remove(1);
        let other = store.clone();
        let thread = thread::spawn(move || other.put(3, 0));
        let here = store.put(3, 1);
        assert!(here ^ thread.join().unwrap(), "new to one of them");
        assert_eq!(store.scan(), [0, 3]);
        assert_eq!(store.growths().0, 0);
    });
}

/// The bytes that an updater wrote reach a reader by way of the thread that split the segment.
#[test]
fn a_splitting_thread_passes_on_the_bytes_of_the_records() {
    model(2, || {
        let store = with_keys(&[0, 1]);
        let (updater, splitter) = (store.clone(), store.clone());
        let guard = pin();
        let update = thread::spawn(move || updater.replace(0, 1));
        let split = thread::spawn(move || splitter.put(2, 0));
        thread::yield_now(); // else loom does not let the threads come first
        assert!(store.find(&guard, 0).is_some());
        drop(guard);
        update.join().unwrap();
        split.join().unwrap();
    });
}

/// A key that is absent from the frozen segment, and present in its successor.
#[test]
fn an_empty_slot_of_a_frozen_segment_decides_nothing() {
    model(2, || {
        let store = with_keys(&[0, 1]);
        let other = store.clone();
        let thread = thread::spawn(move || other.put(2, 0));
        assert!(store.put(ELSEWHERE, 0));
        assert_eq!(store.find(&pin(), ELSEWHERE), Some(0));
        thread.join().unwrap();
        assert_eq!(store.scan(), [0, 1, 2, ELSEWHERE]);
    });
}
