//! Reserve, commit, seal, walk; and the install of a fresh wblock (`region::stripe`).
//!
//! Seen to fail when weakened: the commit word stored Relaxed (E1); the install's CAS Relaxed (E2);
//! the reservation's `fetch_add` Relaxed (E2); `previous` left unset (S5); a filler not committed.
#![cfg(loom)]
#![expect(missing_docs, reason = "a test crate")]

use brindle::format::{StoreId, StoreKey};
use brindle::region::{Cut, Identity, NowUs, Purpose, Region, State, Stripes};
use brindle::sync::epoch;
use brindle::unit::{Geometry, Location, RBLOCK_BYTES, Sequence, WBLOCK_HEADER_RBLOCKS, WblockId};
use loom::sync::Arc;
use loom::thread;

/// Wblocks with room for eight rblocks behind the header, in one stripe.
fn stripes(wblocks: u32) -> Arc<Stripes> {
    stripes_of(wblocks, true)
}

fn stripes_of(wblocks: u32, has_shadow: bool) -> Arc<Stripes> {
    let geometry = Geometry { wblock_bytes: 256, stripes: 1, wblocks_per_stripe: wblocks };
    let store_id = StoreId([7; 16]);
    let store_key = StoreKey::of(&store_id);
    let identity = Identity {
        store_id,
        store_key,
        kept_for_moves: 0,
        kept_for_deletes: 0,
        reclaimers: 0,
        has_shadow,
    };
    let now_us = NowUs(Box::new(|| 0));
    let stripes = Stripes::new(Region::model(geometry), identity, Sequence(1), now_us);
    for wblock in 0..wblocks {
        stripes.release(WblockId(wblock));
    }
    Arc::new(stripes)
}

/// Puts a record of `rblocks` rblocks, each filled with `mark`.
fn put(stripes: &Stripes, rblocks: u32, mark: u8) -> Option<Location> {
    let guard = epoch::pin();
    let mut space = stripes.reserve(&guard, 0, rblocks, Purpose::Put).ok()?;
    space.fill(8, &vec![mark; (rblocks * RBLOCK_BYTES - 8) as usize]);
    // Readers may be led to it from here on; the flusher waits for the commit (S7).
    space.show();
    Some(space.commit())
}

/// Walks the wblocks of the stripe as the flusher does, from the newest back, and reads all that
/// the walk says is complete: loom reports bytes that no edge orders before it.
fn walk(stripes: &Stripes) -> u32 {
    let mut walked = 0;
    let mut next = stripes.newest(0);
    while let Some(wblock) = next {
        let end = stripes.geometry().wblock_rblocks();
        let walk = stripes.walk(wblock, WBLOCK_HEADER_RBLOCKS, end);
        let start = stripes.geometry().location(wblock, 0);
        let _ = stripes.region().read(start, walk.data_end);
        walked += walk.complete - WBLOCK_HEADER_RBLOCKS;
        next = stripes.wblock(wblock).previous();
    }
    walked
}

/// The walker is the thread that is spawned: loom remembers one last access of each atomic, and so
/// finds the race of the commit with the walk from the walk's side only.
#[test]
fn the_flusher_sees_every_byte_of_what_it_walks() {
    loom::model(|| {
        let stripes = stripes(2);
        let walker = {
            let stripes = Arc::clone(&stripes);
            thread::spawn(move || walk(&stripes))
        };
        put(&stripes, 5, 1).expect("room");
        let walked = walker.join().expect("walker");
        assert!(walked == 0 || walked == 5, "a part of a record was walked: {walked}");
        assert_eq!(walk(&stripes), 5);
    });
}

#[test]
fn two_writers_that_cross_the_end_get_disjoint_ranges_and_one_new_wblock() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let stripes = stripes(3);
        let spawn = |mark: u8| {
            let stripes = Arc::clone(&stripes);
            thread::spawn(move || put(&stripes, 5, mark).expect("room"))
        };
        let (first, second) = (spawn(1), spawn(2));
        let (first, second) = (first.join().expect("first"), second.join().expect("second"));
        assert_eq!(stripes.region().read(first, 5), [1; 5]);
        assert_eq!(stripes.region().read(second, 5), [2; 5]);
        // Five and five do not fit in eight: the wblock of one is padded to its end.
        assert_ne!(stripes.geometry().wblock(first), stripes.geometry().wblock(second));
        assert_eq!(walk(&stripes), 8 + 5);
        assert_eq!(stripes.free_wblocks(), 1, "a wblock was lost in the race to install");
    });
}

#[test]
fn a_cut_covers_what_was_committed_before_and_the_walk_completes() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let stripes = stripes(2);
        let first = put(&stripes, 2, 1).expect("room");
        let wblock = stripes.geometry().wblock(first);
        let writer = {
            let stripes = Arc::clone(&stripes);
            thread::spawn(move || put(&stripes, 1, 2).expect("room"))
        };
        let Cut::Until(until) = stripes.cut(0, wblock, 0, 1) else {
            panic!("two records at most do not fill the wblock");
        };
        writer.join().expect("writer");
        let walk = stripes.walk(wblock, WBLOCK_HEADER_RBLOCKS, until);
        assert_eq!(walk.complete, until, "the marker closes what was reserved before");
        let start = stripes.geometry().location(wblock, 0);
        let _ = stripes.region().read(start, walk.data_end);
    });
}

/// A wblock that has room left is taken from its lane while another writer is at it.
#[test]
fn a_wblock_that_is_taken_from_its_lane_is_closed_once_and_none_is_lost() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let stripes = stripes_of(3, false);
        let first = put(&stripes, 2, 1).expect("room");
        let wblock = stripes.geometry().wblock(first);
        let writer = {
            let stripes = Arc::clone(&stripes);
            thread::spawn(move || put(&stripes, 5, 2).expect("room"))
        };
        assert!(stripes.unname(wblock), "there is nobody to wait for");
        assert!(!stripes.is_named(wblock));
        let second = writer.join().expect("writer");
        // By whoever took it from its lane: the writer installs another where it is crossed.
        assert_eq!(stripes.wblock(wblock).state(), State::Used);
        assert_eq!(stripes.region().read(second, 5), [2; 5]);
        let end = stripes.geometry().wblock_rblocks();
        let walk = stripes.walk(wblock, WBLOCK_HEADER_RBLOCKS, end);
        assert_eq!(walk.complete, end, "padded to its end");
        let is_same = stripes.geometry().wblock(second) == wblock;
        assert_eq!(stripes.free_wblocks(), if is_same { 2 } else { 1 });
        assert_eq!(stripes.newest(0).is_some(), !is_same);
        let dead = if is_same { end - WBLOCK_HEADER_RBLOCKS - 7 } else { 6 };
        assert_eq!(stripes.wblock(wblock).dead_rblocks(), dead);
    });
}

/// With a shadow, only what the flusher has made durable loses its name; the lane may open it
/// again, and the flusher then knows it for another life.
#[test]
fn a_wblock_is_not_taken_from_its_lane_before_it_is_durable() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let stripes = stripes(2);
        let first = put(&stripes, 8, 1).expect("room");
        let wblock = stripes.geometry().wblock(first);
        let flusher = {
            let stripes = Arc::clone(&stripes);
            thread::spawn(move || {
                assert_eq!(stripes.cut(0, wblock, 0, 1), Cut::Sealed);
                stripes.flushed(wblock);
            })
        };
        let was_early = stripes.unname(wblock);
        assert!(!was_early || stripes.wblock(wblock).state() == State::Used, "and not flushed");
        flusher.join().expect("flusher");
        assert!(stripes.unname(wblock), "it is durable now");
        assert_eq!(stripes.wblock(wblock).state(), State::Used);
        let sequence = stripes.wblock(wblock).sequence();
        stripes.release(wblock);
        put(&stripes, 8, 2).expect("room");
        let second = put(&stripes, 8, 3).expect("room");
        let newest = stripes.newest(0).expect("two were opened");
        assert_eq!(newest, stripes.geometry().wblock(second));
        let before = stripes.wblock(newest).previous().expect("the one before");
        assert!(stripes.wblock(before).sequence() > sequence);
        assert_eq!(stripes.wblock(before).previous(), None, "there is no link to what was taken");
    });
}
