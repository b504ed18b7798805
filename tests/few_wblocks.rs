//! Stores of few wblocks: as many lanes may have one open as there are others. What is live is well
//! below what the store holds, so nothing may be refused for want of space. And the space that is
//! kept for deletes is theirs, also while a pin is held for ever.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

mod common;

use brindle::{Config, Error, Store};
use common::{Random, WBLOCK_BYTES, config};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Held by each test: a pin holds up every store of the process.
static ALONE: Mutex<()> = Mutex::new(());

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

fn patient(stripes: u32, wblocks: u32) -> Config {
    config(stripes, wblocks).stop_writes_used_pct(0).overload_wait(Duration::from_secs(20))
}

/// What a store holds for certain, whatever the shape: all but what is kept back, one wblock that
/// is written and one that is emptied. Unit: bytes.
fn usable_bytes(stripes: u32, wblocks: u32, has_shadow: bool) -> u64 {
    let kept = 2 + u32::from(has_shadow);
    let all = stripes * wblocks;
    u64::from(all.saturating_sub(kept + 2)) * u64::from(WBLOCK_BYTES)
}

/// Puts `live_bytes` first, and then overwrites some of them under one stripe after another: what
/// is dead lies in open wblocks, for the most part.
fn overwrite(store: &Store, live_bytes: u64, seed: u64) {
    let mut random = Random(seed);
    let stripes = u64::from(store.stats().stripes);
    let mut lens = Vec::new();
    while lens.iter().map(|len| len + 64).sum::<u64>() < live_bytes {
        lens.push(100 + random.below(3_000));
    }
    let keys = lens.len() as u64;
    let put = |number: u64, turn: u64| {
        let mut value = vec![turn as u8; lens[number as usize] as usize];
        value[..8].copy_from_slice(&number.to_le_bytes());
        store.put(key(number), &value).unwrap_or_else(|error| {
            panic!("seed {seed}, key {number}, turn {turn}: {error}\n{:#?}", store.stats())
        });
    };
    (0..keys).for_each(|number| put(number, 0));
    let hot = 1 + keys / 8;
    for turn in 0..6 * store.stats().data_size_bytes / 1_600 {
        let bound = store.bind_thread((turn / 40 % stripes) as usize).unwrap();
        let number = if random.below(50) == 0 { random.below(keys) } else { random.below(hot) };
        put(number, turn);
        drop(bound);
    }
    for number in 0..keys {
        let record = store.get(key(number)).unwrap_or_else(|| panic!("key {number} is gone"));
        assert_eq!(record[..8], number.to_le_bytes());
    }
}

#[test]
fn a_store_of_few_wblocks_is_overwritten_for_ever() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = seed();
    for (stripes, wblocks) in [(1, 2), (1, 3), (1, 4), (1, 6), (2, 3), (2, 5), (3, 3), (9, 3)] {
        for share in [10, 70] {
            let dir = tempfile::tempdir().unwrap();
            let memory = patient(stripes, wblocks);
            let on_files = patient(stripes, wblocks.max(3)).shadow_dir(dir.path());
            for (is_on_files, config) in [(false, memory), (true, on_files)] {
                let usable = usable_bytes(stripes, wblocks, is_on_files);
                let live = (usable * share / 100).max(u64::from(WBLOCK_BYTES) / 8);
                println!("{stripes} x {wblocks}, {share}%, on files: {is_on_files}");
                let store = Store::open(config).unwrap();
                overwrite(&store, live, seed);
                store.close().unwrap();
            }
        }
    }
}

/// Every delete passes that the wblocks kept for them have room for, and the room comes back.
#[test]
fn deletes_pass_under_a_pin_that_is_held_for_ever() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = seed();
    for (stripes, wblocks) in [(1, 8), (1, 32), (2, 6), (2, 24)] {
        println!("{stripes} x {wblocks}");
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(patient(stripes, wblocks).shadow_dir(dir.path())).unwrap();
        let mut random = Random(seed);
        let usable = usable_bytes(stripes, wblocks, true);
        let keys = usable * 8 / 10 / 1_064;
        for put in 0..2 * keys {
            let number = if put < keys { put } else { random.below(keys) };
            store.put(key(number), [1; 1_000]).unwrap();
        }
        let hasty = store.config().overload_wait(Duration::from_millis(50));
        let patient = store.config();
        store.reconfigure(hasty).unwrap();
        let (pinned, is_pinned) = channel();
        let (done, is_done) = channel::<()>();
        thread::scope(|scope| {
            let (store, done) = (&store, done);
            scope.spawn(move || {
                let pin = store.pin();
                pinned.send(()).unwrap();
                let _ = is_done.recv();
                drop(pin);
            });
            is_pinned.recv().unwrap();
            let refused =
                (0..1_000_000).find_map(|_| store.put(key(random.below(keys)), [2; 1_000]).err());
            let is_full = matches!(refused, Some(Error::OutOfSpace | Error::StopWrites { .. }));
            assert!(is_full, "seed {seed}: {refused:?}");
            // Reclaim has all the time it wants to take what it can.
            thread::sleep(Duration::from_millis(300));
            for number in 0..keys.min(500) {
                store.delete(key(number)).unwrap_or_else(|error| {
                    panic!("seed {seed}, delete {number}: {error}\n{:#?}", store.stats())
                });
            }
            drop(done);
        });
        store.reconfigure(patient).unwrap();
        for number in 0..keys {
            store.put(key(number), [3; 1_000]).unwrap_or_else(|error| {
                panic!("seed {seed}, {stripes} x {wblocks}: {error}\n{:#?}", store.stats())
            });
        }
    }
}
