//! Several reclaimers: there is one for every eight stripes, each with wblocks of its own. What one
//! of them sees is not all there is.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod common;

use brindle::testing::{Harness, Pump, Reclaimer};
use brindle::{Config, DeleteOptions, Error, PutOptions, Store};
use common::{Random, WBLOCK_BYTES, config, disk};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// Two reclaimers: the first has stripes 0 to 3.
const STRIPES: u32 = 9;
/// Three reclaimers, with 5, 6 and 6 stripes.
const STRIPES_OF_THREE: u32 = 17;
/// Each record takes a wblock for itself.
const VALUE_BYTES: usize = WBLOCK_BYTES as usize - 1024;

/// A store that stops only when it is full.
fn to_the_brim(stripes: u32, wblocks: u32) -> Config {
    config(stripes, wblocks).stop_writes_used_pct(0).stop_writes_avail_pct(0)
}

#[test]
fn a_put_waits_for_what_any_reclaimer_has_on_its_way() {
    let store = Store::open(to_the_brim(STRIPES, 4).overload_wait(Duration::from_secs(20)));
    let store = store.unwrap();
    let value = vec![1; VALUE_BYTES];
    // The wblocks of the last stripe first: the second reclaimer's.
    let bound = store.bind_thread(8).unwrap();
    let last = (0..STRIPES * 4).find(|key| store.put(key.to_le_bytes(), &value).is_err());
    let last = last.expect("the rest is kept back");
    let (pinned, is_pinned) = channel();
    thread::scope(|scope| {
        let store = &store;
        scope.spawn(move || {
            let pin = store.pin();
            pinned.send(()).unwrap();
            thread::sleep(Duration::from_millis(500));
            drop(pin);
        });
        is_pinned.recv().unwrap();
        // Its wblock is empty now, and waits for the pin. All else is live.
        assert!(store.delete(0_u32.to_le_bytes()).unwrap());
        let put = store.put(last.to_le_bytes(), &value);
        assert!(!matches!(put, Err(Error::OutOfSpace)), "a wblock is on its way");
        put.unwrap();
    });
    drop(bound);
}

/// Two reclaimers on a simulated disk, each with a wblock in which nothing is live any more, and
/// which is durable.
fn driven() -> (Store, Pump, Vec<Reclaimer>) {
    let config = to_the_brim(STRIPES, 4)
        .sweep_interval(Duration::from_millis(1))
        .tombstone_grace(Duration::ZERO);
    let members = Arc::new(disk(STRIPES, 4));
    let (store, mut pump, reclaimers) = Harness::default().open_driven(config, members).unwrap();
    for stripe in [0, 8] {
        let _bound = store.bind_thread(stripe).unwrap();
        for put in 0..2 {
            store.put(stripe.to_le_bytes(), vec![put; VALUE_BYTES]).unwrap();
        }
    }
    pump.barrier().unwrap();
    assert_eq!(reclaimers.len(), 2);
    (store, pump, reclaimers)
}

fn poll_all(reclaimers: &mut [Reclaimer]) {
    for reclaimer in reclaimers {
        reclaimer.poll();
    }
}

#[test]
fn what_waits_in_every_gate_is_counted() {
    let (store, mut pump, mut reclaimers) = driven();
    for _ in 0..2 {
        poll_all(&mut reclaimers);
    }
    let counted = |store: &Store| store.stats().reclaim.waiting_for_barrier;
    assert_eq!(store.stats().wblocks.quarantined, 2);
    assert_eq!(counted(&store), 2);
    for _ in 0..20 {
        pump.poll(true).unwrap();
        poll_all(&mut reclaimers);
    }
    assert_eq!((counted(&store), store.stats().reclaim.waiting_for_pins), (0, 0));
    assert_eq!(store.stats().reclaim.freed_wblocks, 2);
}

#[test]
fn a_raid_does_not_wait_for_the_gate_of_another_reclaimer() {
    let (store, _pump, mut reclaimers) = driven();
    let [first, second] = &mut reclaimers[..] else { panic!("two") };
    second.poll();
    assert_eq!(store.stats().wblocks.quarantined, 1, "nobody pumps: it stays so");
    store.delete_with("absent", &DeleteOptions::new().version(7.into())).unwrap();
    assert_eq!(store.stats().tombstones, 1);
    for _ in 0..200 {
        thread::sleep(Duration::from_micros(200));
        first.poll();
    }
    assert_eq!(store.stats().tombstones, 0, "there never was an older copy");
}

/// What a key was last written as.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    /// The number of its last put; 0: deleted, or never put.
    put: u64,
    /// When it expires, at the soonest and at the latest: as if its put had happened when that was
    /// called, or when it returned, having waited for space.
    expires: Option<(Instant, Instant)>,
}

/// Threads that write, each to keys of its own; and how much.
const WRITERS: u64 = 4;
const TURNS: u64 = 60;
const CALLS_A_TURN: u64 = 250;
/// How far the clocks of test and store may be apart.
const SLACK: Duration = Duration::from_millis(100);

fn key(writer: u64, number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&writer.to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

fn value(put: u64) -> Vec<u8> {
    let bytes = 8 + usize::try_from(put % 1_000).unwrap();
    let mut value = vec![7; bytes];
    value[..8].copy_from_slice(&put.to_le_bytes());
    value
}

/// Holds what there is of a key to what it was last written as; a cache may have given it up.
fn check(store: &Store, is_cache: bool, key: [u8; 16], expected: Expected) {
    let before = Instant::now();
    let found = store.get(key).map(|record| record.to_vec());
    if let Some(found) = found {
        assert!(expected.put > 0, "{key:?} is back: {expected:?}");
        assert!(found == value(expected.put), "{key:?} is another: {expected:?}");
        let is_over = expected.expires.is_some_and(|(_, latest)| before > latest + SLACK);
        assert!(!is_over, "{key:?} has expired: {expected:?}");
    } else {
        let may_be_over =
            expected.expires.is_some_and(|(soonest, _)| soonest < Instant::now() + SLACK);
        assert!(expected.put == 0 || may_be_over || is_cache, "{key:?} is lost: {expected:?}");
    }
}

/// Overwrites, deletes and reads a writer's keys, under one stripe after another.
fn churn(store: &Store, is_cache: bool, writer: u64, keys: &mut [Expected]) {
    let mut random = Random(writer + 1);
    let count = keys.len() as u64;
    let mut put = 0;
    for turn in 0..TURNS {
        let stripe = usize::try_from(turn * 5 + writer).unwrap() % STRIPES_OF_THREE as usize;
        let _bound = store.bind_thread(stripe).unwrap();
        for _ in 0..CALLS_A_TURN {
            let number = random.below(count);
            let expected = &mut keys[usize::try_from(number).unwrap()];
            let key = key(writer, number);
            match random.below(8) {
                0 => {
                    store.delete(key).expect("deletes pass");
                    *expected = Expected::default();
                }
                1 => check(store, is_cache, key, *expected),
                kind => {
                    put += 1;
                    let ttl = Duration::from_millis(5 + random.below(500));
                    let mortal = PutOptions::new().ttl(ttl);
                    let options = if kind == 2 { mortal } else { PutOptions::new() };
                    let before = Instant::now();
                    let done = store.put_with(key, value(put), &options);
                    done.unwrap_or_else(|error| panic!("{error}: {:#?}", store.stats()));
                    let expires = (kind == 2).then(|| (before + ttl, Instant::now() + ttl));
                    *expected = Expected { put, expires };
                }
            }
        }
    }
}

/// Runs writers over three reclaimers, with `keys` for each writer, and opens the shadow again.
fn run(config: Config, is_cache: bool, keys: usize) {
    let dir = tempfile::tempdir().unwrap();
    let config = config.shadow_dir(dir.path()).sweep_interval(Duration::from_millis(20));
    let store = Store::open(config.overload_wait(Duration::from_secs(30))).unwrap();
    let mut expected: Vec<Vec<Expected>> =
        (0..WRITERS).map(|_| vec![Expected::default(); keys]).collect();
    thread::scope(|scope| {
        for (writer, keys) in (0..).zip(&mut expected) {
            let store = &store;
            scope.spawn(move || churn(store, is_cache, writer, keys));
        }
    });
    let check_all = |store: &Store| {
        for (writer, keys) in (0..).zip(&expected) {
            for (number, expected) in (0..).zip(keys) {
                check(store, is_cache, key(writer, number), *expected);
            }
        }
        // An audit that meets a sweep is made again.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !store.audit().mismatches.is_empty() {
            assert!(Instant::now() < deadline, "{:?}", store.audit());
            thread::sleep(Duration::from_millis(20));
        }
    };
    check_all(&store);
    let done = store.stats().reclaim;
    assert!(done.moved_records > 1_000 && done.expired > 100 && done.raids > 0, "{done:?}");
    assert_eq!(done.evicted > 1_000, is_cache, "{done:?}");
    store.close().unwrap();
    let store = Store::open(Config::new().shadow_dir(dir.path())).unwrap();
    assert_eq!(store.stats().load.damaged(), 0);
    check_all(&store);
}

#[test]
fn what_was_written_stands_while_three_reclaimers_move_sweep_and_raid() {
    run(config(STRIPES_OF_THREE, 6), false, 1_200);
}

#[test]
fn what_a_cache_has_is_the_newest_while_three_reclaimers_evict() {
    run(config(STRIPES_OF_THREE, 6).evict_used_pct(40), true, 3_000);
}
