//! What the tomb raider may count as gone from the shadow, case by case: a tombstone stays as long
//! as an older copy of its key could come back with a power cut.

#![expect(clippy::expect_used, reason = "helpers of tests")]

mod common;

use brindle::testing::{
    Clock, FileIndex, Harness, ManualClock, Pump, Reclaimer, SimConfig, SimDisk,
};
use brindle::{Config, DeleteOptions, PutOptions, Store};
use common::{WBLOCK_BYTES, config, disk};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const WBLOCKS: u32 = 8;
/// Where the clock starts: microseconds since 1970.
const START_US: u64 = 1_700_000_000_000_000;
/// Half a wblock, and all of it.
const HALF: usize = WBLOCK_BYTES as usize / 2 - 1024;
const WHOLE: usize = WBLOCK_BYTES as usize - 1024;

/// A store on a simulated disk, with all that drives it.
struct Driven {
    store: Store,
    pump: Pump,
    reclaimers: Vec<Reclaimer>,
    clock: Arc<ManualClock>,
}

fn small() -> Config {
    config(1, WBLOCKS)
        .sweep_interval(Duration::from_millis(1))
        .tombstone_grace(Duration::ZERO)
        .defrag_lwm_pct(1)
        .stop_writes_avail_pct(0)
}

fn poll_all(reclaimers: &mut [Reclaimer]) {
    for reclaimer in reclaimers {
        reclaimer.poll();
    }
}

impl Driven {
    fn open(disk: &SimDisk, time_us: u64) -> Self {
        let clock = Arc::new(ManualClock::new(time_us));
        let told: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let harness = Harness { clock: Some(told), ..Harness::default() };
        let opened = harness.open_driven(small(), Arc::new(disk.clone()));
        let (store, pump, reclaimers) = opened.expect("opens");
        Self { store, pump, reclaimers, clock }
    }

    /// Sweeps and raids for a while, without a flush.
    fn reclaim(&mut self) {
        for _ in 0..50 {
            thread::sleep(Duration::from_micros(200));
            poll_all(&mut self.reclaimers);
        }
    }

    /// The same, with flushes in between.
    fn settle(&mut self) {
        for _ in 0..50 {
            self.pump.poll(true).expect("no faults");
            thread::sleep(Duration::from_micros(200));
            poll_all(&mut self.reclaimers);
        }
    }

    fn tombstones(&self) -> u64 {
        self.store.stats().tombstones
    }
}

#[test]
fn a_copy_in_quarantine_keeps_its_tombstone() {
    let disk = disk(1, WBLOCKS);
    let mut driven = Driven::open(&disk, START_US);
    let store = driven.store.clone();
    // The copy has a wblock to itself. The tombstone has one out of which it is soon moved.
    store.put("dead", vec![1; WHOLE]).unwrap();
    store.put("filler", vec![2; HALF]).unwrap();
    driven.pump.barrier().unwrap();
    assert!(store.delete("dead").unwrap());
    store.put("filler", vec![3; WHOLE]).unwrap();
    driven.pump.barrier().unwrap();
    let from = disk.crash_points();
    driven.reclaim();
    assert_eq!(store.stats().wblocks.quarantined, 2, "nobody pumps: neither is struck out");
    assert_eq!(driven.tombstones(), 1, "a cut may bring either wblock back");
    driven.settle();
    assert_eq!(driven.tombstones(), 0, "once it is struck out nothing older is left");
    assert_eq!(store.stats().wblocks.quarantined, 0);
    for point in from..=disk.crash_points() {
        for seed in 0..8 {
            let again = Driven::open(&disk.crash_at(point, seed), START_US);
            assert!(!again.store.contains_key("dead"), "cut at {point}, seed {seed}");
        }
    }
}

#[test]
fn what_has_expired_keeps_its_tombstone_until_every_later_run_knows() {
    let disk = disk(1, WBLOCKS);
    let mut driven = Driven::open(&disk, START_US);
    let store = driven.store.clone();
    // The copy lies among the living, so that its wblock stays as it is.
    store.put("alive", vec![1; HALF]).unwrap();
    let ttl = PutOptions::new().ttl(Duration::from_millis(10));
    store.put_with("dead", vec![2; 1000], &ttl).unwrap();
    store.put("filler", vec![3; HALF]).unwrap();
    assert!(store.delete("dead").unwrap());
    driven.pump.barrier().unwrap();
    driven.clock.set(START_US + 20_000);
    driven.reclaim();
    assert_eq!(driven.tombstones(), 1, "the shadow does not say yet that it is so late");
    let from = disk.crash_points();
    driven.settle();
    assert_eq!(driven.tombstones(), 0, "now it does");
    // The tombstone's wblock dies, and is given back before the copy's.
    store.put("filler", vec![4; WHOLE]).unwrap();
    driven.settle();
    driven.settle();
    for point in from..=disk.crash_points() {
        for seed in 0..8 {
            let again = Driven::open(&disk.crash_at(point, seed), START_US);
            assert!(!again.store.contains_key("dead"), "cut at {point}, seed {seed}");
            assert!(again.store.contains_key("alive"), "cut at {point}, seed {seed}");
        }
    }
}

/// The first bytes of a wblock, both copies of its header.
const HEADER_BYTES: usize = 128;

#[test]
fn a_wblock_that_was_misread_once_brings_nothing_back() {
    let written = disk(1, WBLOCKS);
    let mut driven = Driven::open(&written, START_US);
    driven.store.put("lost", "with it").unwrap();
    driven.store.put("dead", vec![7; WHOLE - 100]).unwrap();
    driven.store.put("filler", vec![2; HALF]).unwrap();
    driven.pump.barrier().unwrap();
    drop(driven);
    let mut image = written.crash(0).image(FileIndex(0));
    let area = image.len() - (WBLOCKS * WBLOCK_BYTES) as usize;
    let wblocks = (area..image.len()).step_by(WBLOCK_BYTES as usize);
    let found = wblocks.into_iter().find(|start| image[start + HALF..start + HALF + 64] == [7; 64]);
    let header = found.expect("the wblock")..found.expect("the wblock") + HEADER_BYTES;
    let sound = image[header.clone()].to_vec();
    // The device reads it wrongly, and later rightly again.
    image[header.clone()].fill(0xEE);
    let disk = SimDisk::from_images(vec![image], SimConfig::default());
    let mut driven = Driven::open(&disk, START_US + 1000);
    let store = driven.store.clone();
    assert_eq!(store.stats().load.rejected.damaged_wblocks, 1);
    assert!(!store.contains_key("dead"));
    let later = DeleteOptions::new().version((START_US + 2000).into());
    store.delete_with("dead", &later).unwrap();
    driven.reclaim();
    assert_eq!(driven.tombstones(), 1, "nobody pumps: the wblock is not struck out");
    driven.pump.barrier().unwrap();
    let from = disk.crash_points();
    driven.settle();
    assert_eq!(driven.tombstones(), 0, "once it is struck out nothing older is left");
    let stats = store.stats();
    assert_eq!((stats.wblocks.damaged, stats.wblocks.quarantined), (0, 0), "and its room is back");
    assert!(store.audit().mismatches.is_empty(), "{:?}", store.audit());
    for point in from..=disk.crash_points() {
        for seed in 0..8 {
            let mut image = disk.crash_at(point, seed).image(FileIndex(0));
            if image[header.clone()] == [0xEE; HEADER_BYTES] {
                image[header.clone()].copy_from_slice(&sound);
            }
            let again = SimDisk::from_images(vec![image], SimConfig::default());
            let again = Driven::open(&again, START_US + 1000);
            for key in ["dead", "lost"] {
                assert!(!again.store.contains_key(key), "{key}: cut at {point}, seed {seed}");
            }
        }
    }
}

#[test]
fn what_has_the_highest_version_stays_with_its_key() {
    let mut driven = Driven::open(&disk(1, WBLOCKS), START_US);
    let store = driven.store.clone();
    let highest = PutOptions::new().version(u64::MAX.into()).ttl(Duration::from_millis(1));
    store.put_with("expired", "v", &highest).unwrap();
    store.delete_with("deleted", &DeleteOptions::new().version(u64::MAX.into())).unwrap();
    driven.clock.set(START_US + 20_000);
    driven.settle();
    assert_eq!((store.len(), driven.tombstones()), (0, 2), "nothing could stand over either");
    store.put("another", "v").unwrap();
    assert!(store.delete("another").unwrap());
    driven.settle();
    driven.clock.set(START_US + 40_000);
    store.put("filler", vec![1; WHOLE]).unwrap();
    store.put("filler", vec![2; WHOLE]).unwrap();
    driven.settle();
    driven.settle();
    assert_eq!(driven.tombstones(), 2, "another's is dropped");
}
