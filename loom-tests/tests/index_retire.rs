//! Retirement of segments and of the directory's array, against readers that are pinned.
//!
//! The memory is marked when it is reclaimed, and every access asserts that it is not marked.
//!
//! Seen to fail, one weakening at a time:
//! - a segment, or the array, is reclaimed at once, not through the guard: the first model.
//! - a segment is retired before its slots are moved: the first two.
//! - a slot is stored, or loaded, Relaxed (E4): `a_slot_passes_on_...`.
//! - the root is stored, or loaded, Relaxed (E5): the first model.
//! - announcing, `swap`, or giving up the right, Relaxed (E6): `an_installer_sees_...`.
//! - the right is given up with a plain store (D5): the models with two writers.
//! - a slot is moved whatever its generation (D2): `segments_may_be_installed_in_any_order`.
#![cfg(loom)]

#[path = "index_common/mod.rs"]
mod index_common;

use index_common::{Store, model, pin, thread};

#[test]
fn a_reader_never_meets_a_reclaimed_segment_or_array() {
    model(3, || {
        let store = Store::new();
        store.put(0, 0);
        store.put(1, 0);
        let writer = store.clone();
        let thread = thread::spawn(move || writer.put(2, 0));
        assert_eq!(store.find(&pin(), 1), Some(0));
        assert_eq!(store.find(&pin(), 1), Some(0));
        thread.join().unwrap();
    });
}

/// Rebuilds, one after the other: a chain of segments, each reclaimed before the next.
#[test]
fn a_reader_never_meets_a_reclaimed_segment_of_a_chain() {
    model(2, || {
        let store = Store::new();
        store.put(0, 0);
        let writer = store.clone();
        let thread = thread::spawn(move || {
            for version in 0..2 {
                writer.put(1, 2 * version);
                writer.remove(1);
                writer.put(3, version);
                writer.remove(3);
            }
        });
        assert_eq!(store.find(&pin(), 0), Some(0));
        thread.join().unwrap();
        assert!(store.growths().1 >= 2);
    });
}

/// One of them announces while the other has the right to install.
#[test]
fn two_installers_neither_lose_nor_retire_twice() {
    model(2, || {
        let store = Store::new();
        for key in 0..3 {
            store.put(key, 0); // lower half: 0 and 2; upper half: 1
        }
        store.put(3, 0); // upper half full too
        store.remove(1);
        store.remove(2);
        let other = store.clone();
        let thread = thread::spawn(move || other.put(1, 1));
        store.put(2, 1);
        assert_eq!(store.replace(2, 2), Some(1));
        thread.join().unwrap();
        assert_eq!(store.scan(), [0, 1, 2, 3]);
        assert_eq!(store.growths(), (1, 2));
    });
}

/// A rebuild leaves the array as it is: the slot alone says where the new segment is.
#[test]
fn a_slot_passes_on_the_contents_of_its_segment() {
    model(3, || {
        let store = Store::new();
        store.put(0, 0);
        store.put(1, 0);
        store.remove(1);
        let writer = store.clone();
        let guard = pin();
        let thread = thread::spawn(move || writer.put(3, 0));
        thread::yield_now(); // else loom does not let the thread come first
        assert_eq!(store.find(&guard, 0), Some(0));
        drop(guard);
        thread.join().unwrap();
        assert_eq!(store.growths(), (0, 1));
    });
}

/// Key 4 needs two splits in a row; whoever helps with the first may install it after the second.
#[test]
fn segments_may_be_installed_in_any_order() {
    model(1, || {
        let store = Store::new();
        store.put(0, 0);
        store.put(2, 0);
        let other = store.clone();
        let thread = thread::spawn(move || other.replace(0, 1));
        store.put(4, 0);
        thread.join().unwrap();
        assert_eq!(store.scan(), [0, 2, 4]);
        assert_eq!(store.find(&pin(), 0), Some(1));
        assert_eq!(store.find(&pin(), 4), Some(0));
    });
}

/// Both double the array, or one does for both.
#[test]
fn an_installer_sees_what_the_last_one_did() {
    model(2, || {
        let store = Store::new();
        for key in 0..4 {
            store.put(key, 0);
        }
        let other = store.clone();
        let thread = thread::spawn(move || other.put(4, 0));
        store.put(5, 0);
        thread.join().unwrap();
        assert_eq!(store.scan(), [0, 1, 2, 3, 4, 5]);
        assert!((0..6).all(|key| store.find(&pin(), key) == Some(0)));
    });
}
