//! Entries of the index: inserts, removals and updates of one key against each other and against
//! a reader, within one segment.
//!
//! One loom cell stands for the bytes of each record, so that a reader that learns a location
//! before the bytes are its to see is reported as a race.
//!
//! Seen to fail, one weakening at a time:
//! - `Slot::change` Relaxed, or `Slot::read` Relaxed (E1): all four models.
//! - `remove` leaves EMPTY, not DELETED (S1): the last model.
#![cfg(loom)]

#[path = "index_common/mod.rs"]
mod index_common;

use index_common::{Store, model, pin, thread};

#[test]
fn two_inserters_of_a_new_key_make_one_entry() {
    model(2, || {
        let store = Store::new();
        let other = store.clone();
        let thread = thread::spawn(move || other.put(0, 1));
        let here = store.put(0, 2);
        let there = thread.join().unwrap();
        assert!(here ^ there, "new to one of them");
        assert_eq!(store.scan(), [0], "one entry");
        assert_eq!(store.growths(), (0, 0));
        assert!(store.find(&pin(), 0).is_some());
    });
}

#[test]
fn a_reader_sees_the_bytes_of_what_it_finds_and_never_goes_back() {
    model(3, || {
        let store = Store::new();
        let writer = store.clone();
        let thread = thread::spawn(move || {
            writer.put(0, 1);
            writer.put(0, 2);
        });
        let guard = pin();
        thread::yield_now(); // else loom does not let the thread come first
        let first = store.find(&guard, 0);
        let second = store.find(&guard, 0);
        assert!(second >= first, "{second:?} after {first:?}");
        drop(guard);
        thread.join().unwrap();
        assert_eq!(store.find(&pin(), 0), Some(2));
    });
}

#[test]
fn of_two_updates_both_count_and_the_later_one_stays() {
    model(3, || {
        let store = Store::new();
        store.put(0, 0);
        let other = store.clone();
        let thread = thread::spawn(move || other.replace(0, 1));
        let here = store.replace(0, 2);
        let there = thread.join().unwrap();
        let end = store.find(&pin(), 0);
        assert!(
            (here, there, end) == (Some(0), Some(2), Some(1))
                || (here, there, end) == (Some(1), Some(0), Some(2)),
            "{here:?} {there:?} {end:?}: one replaced the other's"
        );
    });
}

#[test]
fn an_insert_and_a_removal_of_one_key_happen_in_some_order() {
    model(3, || {
        let store = Store::new();
        store.put(0, 0);
        let other = store.clone();
        let thread = thread::spawn(move || other.remove(0));
        let was_new = store.put(0, 1);
        let removed = thread.join().unwrap();
        let end = store.find(&pin(), 0);
        match (was_new, removed) {
            (true, Some(0)) => assert_eq!(end, Some(1), "removed, then inserted again"),
            (false, Some(1)) => assert_eq!(end, None, "replaced, then removed"),
            other => panic!("{other:?} {end:?}"),
        }
        assert_eq!(store.scan().len(), usize::from(end.is_some()));
    });
}
