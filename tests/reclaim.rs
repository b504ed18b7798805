//! Space comes back: overwrites for ever at every fill, expiry, tombstones, stalled readers, and
//! what is durable stays so through it all.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

mod common;

use brindle::testing::{Harness, Pump, Reclaimer};
use brindle::{Config, DeleteOptions, Error, PutOptions, Store};
use common::Random;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WBLOCK: u64 = common::WBLOCK_BYTES as u64;

/// A store of `wblocks` small wblocks, in memory.
fn memory(wblocks: u32) -> Config {
    common::config(1, wblocks)
}

fn on_files(wblocks: u32, dir: &std::path::Path) -> Config {
    memory(wblocks).shadow_dir(dir)
}

fn key(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

/// `BRINDLE_SEED`, or one of the clock's; printed, so that a failure can be run again.
fn seed() -> u64 {
    let given = std::env::var("BRINDLE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        now.as_secs() << 20 | u64::from(now.subsec_micros())
    });
    println!("BRINDLE_SEED={seed}");
    seed
}

/// Waits until `holds`, for at most `patience`.
fn eventually(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Overwrites `times` times the store's size, with `live_pct` of it live, and checks every key.
fn overwrite(config: Config, live_pct: u64, times: u64) {
    let seed = seed();
    let mut random = Random(seed);
    // Patient: what other tests of the process hold on to holds up this store, too.
    let config = config.stop_writes_used_pct(0).overload_wait(Duration::from_secs(30));
    let store = Store::open(config).unwrap();
    let value_bytes = 500;
    let record = 544;
    let size = store.stats().data_size_bytes;
    let keys = size * live_pct / 100 / record;
    let mut expected = vec![0_u64; keys as usize];
    let mut value = vec![0_u8; value_bytes];
    let puts = keys + size * times / record;
    for put in 0..puts {
        let number = if put < keys { put } else { random.below(keys) };
        value[..8].copy_from_slice(&put.to_le_bytes());
        if let Err(error) = store.put(key(number), &value) {
            panic!("seed {seed}, put {put} of {puts}: {error}\n{:#?}", store.stats());
        }
        expected[number as usize] = put;
    }
    for (number, put) in expected.iter().enumerate() {
        let record =
            store.get(key(number as u64)).unwrap_or_else(|| panic!("key {number} is gone"));
        assert_eq!(record[..8], put.to_le_bytes(), "seed {seed}, key {number}");
    }
    let stats = store.stats();
    let audit = store.audit();
    assert!(audit.mismatches.is_empty(), "seed {seed}: {audit:?}");
    let moved = stats.reclaim.moved_bytes as f64 / (puts * record) as f64;
    println!("{live_pct}% live: {puts} puts, write amplification {:.2}", 1.0 + moved);
    store.close().unwrap();
}

#[test]
fn a_store_in_memory_is_overwritten_for_ever() {
    for live_pct in [10, 50, 75, 85] {
        overwrite(memory(128), live_pct, 10);
    }
}

#[test]
fn a_store_on_files_is_overwritten_for_ever() {
    for live_pct in [50, 75] {
        let dir = tempfile::tempdir().unwrap();
        overwrite(on_files(128, dir.path()), live_pct, 10);
        // What was durable is all there.
        let store = Store::open(Config::new().shadow_dir(dir.path())).unwrap();
        assert_eq!(store.stats().load.damaged(), 0, "{:?}", store.stats().load);
        assert_eq!(store.len() as u64, 128 * WBLOCK * live_pct / 100 / 544);
        let audit = store.audit();
        assert!(audit.mismatches.is_empty(), "{audit:?}");
    }
}

#[test]
fn a_full_store_refuses_puts_takes_deletes_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    for config in [memory(32), on_files(32, dir.path())] {
        let store =
            Store::open(config.stop_writes_used_pct(0).overload_wait(Duration::ZERO)).unwrap();
        let value = vec![7; 1000];
        let mut keys = 0;
        let refused = loop {
            match store.put(key(keys), &value) {
                Ok(_) => keys += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, Error::OutOfSpace | Error::StopWrites { .. }), "{refused}");
        assert!(keys > 1500, "{keys}");
        for number in 0..keys {
            if number % 3 != 0 {
                assert!(store.delete(key(number)).unwrap());
            }
        }
        eventually("room", Duration::from_secs(10), || store.put(key(keys), &value).is_ok());
        for number in (0..keys).step_by(3) {
            assert!(store.contains_key(key(number)));
        }
        assert!(store.audit().mismatches.is_empty(), "{:?}", store.audit());
    }
}

#[test]
fn expired_records_give_their_bytes_back_untouched() {
    let dir = tempfile::tempdir().unwrap();
    for config in [memory(64), on_files(64, dir.path())] {
        let store = Store::open(config.sweep_interval(Duration::from_millis(20))).unwrap();
        let ttl = PutOptions::new().ttl(Duration::from_secs(1));
        for number in 0..1000 {
            store.put_with(key(number), [1; 500], &ttl).unwrap();
            store.put(key(1_000_000 + number), [2; 500]).unwrap();
        }
        assert_eq!(store.len(), 2000);
        eventually("the sweep", Duration::from_secs(5), || store.len() == 1000);
        eventually("tombstones", Duration::from_secs(5), || store.stats().tombstones == 0);
        let audit = store.audit();
        assert!(audit.mismatches.is_empty(), "{audit:?}");
        assert_eq!(audit.records, 1000);
    }
}

#[test]
fn tombstones_go_when_nothing_older_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let config = || on_files(64, dir.path()).sweep_interval(Duration::from_millis(10));
    let store = Store::open(config()).unwrap();
    let mut random = Random(seed());
    // A window of keys that moves on: each is put once and deleted later.
    for number in 0..40_000 {
        store.put(key(number), vec![3; 300]).unwrap();
        if number >= 2000 {
            assert!(store.delete(key(number - 2000)).unwrap());
        }
        if random.below(100) == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let stats = store.stats();
    println!(
        "{} tombstones beside {} records: {:?}",
        stats.tombstones, stats.records, stats.reclaim
    );
    eventually("few tombstones", Duration::from_secs(5), || {
        store.flush().unwrap();
        store.stats().tombstones < 2000
    });
    store.close().unwrap();
    let store = Store::open(config()).unwrap();
    assert_eq!(store.len(), 2000);
    for number in 0..40_000 {
        assert_eq!(store.contains_key(key(number)), number >= 38_000, "{number}");
    }
}

#[test]
fn a_stalled_reader_costs_space_only() {
    let store = Store::open(memory(64).overload_wait(Duration::from_millis(20))).unwrap();
    for number in 0..1000 {
        store.put(key(number), vec![0; 1000]).unwrap();
    }
    let held = store.get(key(1)).unwrap();
    let refused = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (0..1_000_000_u64).find_map(|put| store.put(key(put % 1000), vec![1; 1000]).err())
        });
        writer.join().unwrap().expect("the store is full of what the reader may see")
    });
    assert!(matches!(refused, Error::OutOfSpace | Error::StopWrites { .. }), "{refused}");
    assert_eq!(*held, [0; 1000]);
    assert!(store.get(key(2)).is_some());
    drop(held);
    eventually("room", Duration::from_secs(5), || store.put(key(5), vec![2; 1000]).is_ok());
}

#[test]
fn a_delete_with_a_version_is_remembered_for_the_grace() {
    let config = memory(64).tombstone_grace(Duration::from_secs(3));
    let store = Store::open(config.sweep_interval(Duration::from_millis(10))).unwrap();
    store.put_with("k", "v", &PutOptions::new().version(100.into())).unwrap();
    store.delete_with("k", &DeleteOptions::new().version(200.into())).unwrap();
    let late = PutOptions::new().version(150.into());
    std::thread::sleep(Duration::from_millis(100));
    assert!(matches!(store.put_with("k", "late", &late), Err(Error::VersionConflict { .. })));
    // Also by way of a put and a plain delete.
    store.put_with("k", "new", &PutOptions::new().version(300.into())).unwrap();
    assert!(store.delete("k").unwrap());
    assert!(matches!(store.put_with("k", "late", &late), Err(Error::VersionConflict { .. })));
    eventually("the end of the grace", Duration::from_secs(20), || store.stats().tombstones == 0);
    store.put_with("k", "late", &late).unwrap();
}

#[test]
fn a_cache_runs_at_its_limit_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    for config in [memory(128), on_files(128, dir.path())] {
        // As patient as in `overwrite`.
        let config = config.overload_wait(Duration::from_secs(30));
        let store = Store::open(config.evict_used_pct(80)).unwrap();
        let size = store.stats().data_size_bytes;
        let mut random = Random(seed());
        let keep = PutOptions::new().never_evict();
        for number in 0..100 {
            store.put_with(key(u64::MAX - number), vec![9; 500], &keep).unwrap();
        }
        // Three times the store's size of keys, one in ten of them wanted again and again.
        let keys = 3 * size / 544;
        let mut hits = 0;
        for get in 0..4 * keys {
            let number =
                if random.below(2) == 0 { random.below(keys / 10) } else { random.below(keys) };
            if let Some(record) = store.get(key(number)) {
                assert_eq!(record[..8], key(number));
                hits += u64::from(get > keys);
                continue;
            }
            let mut value = vec![0; 500];
            value[..8].copy_from_slice(&key(number));
            store
                .put(key(number), value)
                .unwrap_or_else(|error| panic!("get {get}: {error}\n{:#?}", store.stats()));
        }
        let stats = store.stats();
        println!("{:.1}% hits, {:?}", 100.0 * hits as f64 / (3 * keys) as f64, stats.reclaim);
        assert!(stats.live_bytes <= size * 95 / 100, "{}% live", stats.live_bytes * 100 / size);
        assert!(stats.reclaim.evicted > 10_000);
        for number in 0..100 {
            assert!(store.contains_key(key(u64::MAX - number)), "{number} is not to be evicted");
        }
        assert!(store.audit().mismatches.is_empty(), "{:?}", store.audit());
    }
}

/// Polls reclaim and the shadow by turns.
fn drive(pump: &mut Pump, reclaimers: &mut [Reclaimer], rounds: u32) {
    for _ in 0..rounds {
        for reclaimer in &mut *reclaimers {
            reclaimer.poll();
        }
        pump.poll(true).expect("no faults");
    }
}

/// Reclaim gets as far as it can, in the test's hands, before each put.
#[test]
fn what_a_reader_holds_is_not_written_over_however_long_reclaim_goes_on() {
    let config = memory(8).stop_writes_used_pct(0).stop_writes_avail_pct(0);
    let members = Arc::new(common::disk(1, 8));
    let harness = Harness { reclaims: false, ..Harness::default() };
    let (store, mut pump, mut reclaimers) = harness.open_driven(config, members).expect("opens");
    // Each takes a wblock.
    let value = |put: u8| vec![put; WBLOCK as usize - 1024];
    store.put("key", value(0)).unwrap();
    let held = store.get("key").unwrap();
    let mut put = |number| {
        drive(&mut pump, &mut reclaimers, 20);
        store.put("key", value(number))
    };
    let refused = (1..100).find_map(|number| put(number).err());
    assert!(matches!(refused, Some(Error::OutOfSpace)), "all of it waits: {refused:?}");
    assert_eq!(*held, value(0));
    drop(held);
    eventually("room", Duration::from_secs(10), || put(100).is_ok());
    assert_eq!(*store.get("key").unwrap(), value(100));
}

/// What was open when a run ended is not appended to in the next: that must not take the last
/// place from which a full store is emptied.
#[test]
fn a_full_store_takes_deletes_whenever_it_was_ended() {
    let disk = common::disk(1, 12);
    let config = memory(12).stop_writes_used_pct(0).stop_writes_avail_pct(0);
    let open = |disk: &brindle::testing::SimDisk| {
        Harness::default().open_driven(config.clone(), Arc::new(disk.clone())).expect("opens")
    };
    let (store, mut pump, mut reclaimers) = open(&disk);
    let fill = |from: u64, bytes: usize| {
        let mut numbers = from..from + 10_000;
        numbers.find(|number| store.put(key(*number), vec![1; bytes]).is_err()).unwrap()
    };
    let keys = fill(0, 1000);
    fill(20_000, 0);
    // A tombstone takes a wblock that puts may not have.
    for number in (0..keys).step_by(8) {
        assert!(store.delete(key(number)).unwrap());
    }
    let last = keys - 1 - u64::from(keys % 8 == 1);
    let mut fewest = u64::MAX;
    for step in 0..600 {
        drive(&mut pump, &mut reclaimers, 1);
        let wblocks = store.stats().wblocks;
        let left = wblocks.free + wblocks.quarantined;
        if left > fewest && step % 50 > 0 {
            continue;
        }
        fewest = fewest.min(left);
        let ended = disk.crash_at(disk.crash_points(), step);
        let (again, mut pump, mut reclaimers) = open(&ended);
        let what = format!("a delete, ended after {step} with {wblocks:?}");
        eventually(&what, Duration::from_secs(10), || {
            drive(&mut pump, &mut reclaimers, 5);
            again.delete(key(last)).is_ok()
        });
    }
}

/// As [`drive`], with a flush where somebody waits for one: each pads what is open to a sector, and
/// a sixteenth of a wblock here is what a few moved records take.
fn drive_calmly(pump: &mut Pump, reclaimers: &mut [Reclaimer], rounds: u32) {
    for _ in 0..rounds {
        for reclaimer in &mut *reclaimers {
            reclaimer.poll();
        }
        pump.poll(false).expect("no faults");
    }
}

/// A store that was ended again and again before it came to anything, each time where the fewest
/// wblocks were left: deletes pass after all, and what was not deleted is there.
#[test]
fn a_full_store_that_is_ended_again_and_again_takes_deletes() {
    let seed = seed();
    for (run, wblocks) in [(0, 12), (1, 5), (2, 8), (3, 12), (4, 24)] {
        let mut random = Random(seed + run);
        let disk = common::disk(1, wblocks);
        let config = memory(wblocks)
            .stop_writes_used_pct(0)
            .stop_writes_avail_pct(0)
            .sweep_interval(Duration::from_millis(1))
            .flush_size(4096);
        let open = |disk: &brindle::testing::SimDisk| {
            Harness::default().open_driven(config.clone(), Arc::new(disk.clone())).expect("opens")
        };
        let (store, mut pump, mut reclaimers) = open(&disk);
        let bytes = 200 + random.below(1_500) as usize;
        let keys = (0..100_000).find(|number| store.put(key(*number), vec![1; bytes]).is_err());
        let keys = keys.expect("it is full");
        let mut deleted = vec![false; keys as usize];
        drive_calmly(&mut pump, &mut reclaimers, 50);
        for _ in 0..keys / (1 + random.below(6)) {
            let number = random.below(keys);
            deleted[number as usize] |= store.delete(key(number)).is_ok();
        }
        pump.barrier().expect("no faults");
        let (mut at, mut lives) = (disk, (store, pump, reclaimers));
        for ending in 0..12 {
            let (store, pump, reclaimers) = &mut lives;
            let mut worst = None;
            // Where to end it: the fewest wblocks free, of some moments.
            for step in 0..30 {
                drive(pump, reclaimers, 1);
                let free = store.stats().free_wblocks;
                let left = free * 64 + store.stats().wblocks.quarantined;
                if worst.as_ref().is_none_or(|(fewest, _)| left <= *fewest) {
                    worst = Some((left, at.crash_at(at.crash_points(), random.below(1 << 20))));
                }
                // Some deletes come in between, and open wblocks of theirs.
                if random.below(8) == 0 {
                    let number = random.below(keys);
                    if store.delete(key(number)).is_ok() {
                        deleted[number as usize] = true;
                        pump.barrier().expect("no faults");
                        worst = None;
                    }
                }
                if step > random.below(30) && worst.is_some() {
                    break;
                }
            }
            if let Some((_, ended)) = worst {
                at = ended;
            }
            lives = open(&at);
            let what = format!("seed {seed}, {wblocks} wblocks, ending {ending}");
            let (store, ..) = &lives;
            for (number, is_deleted) in deleted.iter().enumerate() {
                let is_there = store.contains_key(key(number as u64));
                assert_eq!(is_there, !is_deleted, "{what}, key {number}");
            }
            // The same life, elsewhere.
            let (store, mut pump, mut reclaimers) = open(&at.crash_at(at.crash_points(), 0));
            let what = format!("{what}: {:?} at first", store.stats().wblocks);
            let first = deleted.iter().position(|is_deleted| !is_deleted).expect("one") as u64;
            for number in std::iter::once(first).chain((0..10).map(|_| random.below(keys))) {
                eventually_in(&what, &store, || {
                    drive_calmly(&mut pump, &mut reclaimers, 10);
                    store.delete(key(number)).is_ok()
                });
            }
        }
    }
}

/// As [`eventually`], and says how the store stands.
fn eventually_in(what: &str, store: &Store, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: {:#?}", store.stats());
    }
}
