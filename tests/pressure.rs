//! What a store says of its space: when puts stop and go on, how long it lasts, what holds it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use brindle::testing::{Harness, SimDisk};
use brindle::{Config, Error, PutOptions, Store};
use common::{WBLOCK_BYTES, config, disk};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const STRIPES: u32 = 1;
const WBLOCKS: u32 = 16;
/// Each record takes a wblock for itself, a good 6% of the store.
const VALUE_BYTES: usize = WBLOCK_BYTES as usize - 1024;

/// A place for a store.
enum Place {
    Memory,
    Disk(SimDisk),
    Files(TempDir),
}

impl Place {
    fn each() -> [Self; 3] {
        let files = Self::Files(tempfile::tempdir().unwrap());
        [Self::Memory, Self::Disk(disk(STRIPES, WBLOCKS)), files]
    }

    fn open(&self, config: Config) -> Store {
        let harness = Harness::default();
        match self {
            Self::Memory => harness.open(config),
            Self::Disk(disk) => harness.open_on(config, Arc::new(disk.clone())),
            Self::Files(dir) => harness.open(config.shadow_dir(dir.path().join("data"))),
        }
        .expect("opens")
    }

    /// A store with `records` of a wblock each.
    fn filled(&self, config: Config, records: u8) -> Store {
        let store = self.open(config);
        for key in 0..records {
            store.put([key], vec![key; VALUE_BYTES]).unwrap();
        }
        store
    }
}

fn small() -> Config {
    config(STRIPES, WBLOCKS)
}

/// Waits until `holds`; false if it does not within some seconds.
fn soon(holds: impl Fn() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

#[test]
fn writes_stop_above_the_used_share_and_go_on_below_it_by_themselves() {
    for place in Place::each() {
        let store = place.filled(small().stop_writes_used_pct(40), 6);
        assert!(!store.stats().stop_writes, "36% is below 40%");
        store.put("one", vec![0; VALUE_BYTES]).unwrap();
        assert!(soon(|| store.stats().stop_writes), "43% is above 40%");
        assert!(store.delete([0]).unwrap(), "a delete passes");
        assert!(soon(|| !store.stats().stop_writes), "what is deleted is used no longer");
    }
}

#[test]
fn every_kind_of_put_is_refused_and_every_kind_of_delete_passes() {
    for place in Place::each() {
        let store = place.filled(small().stop_writes_used_pct(0), 6);
        store.reconfigure(store.config().stop_writes_used_pct(20)).unwrap();
        let is_refused = |result: Result<(), Error>| match result {
            Err(Error::StopWrites { used_pct: 36..=38, avail_pct }) => avail_pct > 50,
            Err(Error::Batch { done: 0, source }) => matches!(*source, Error::StopWrites { .. }),
            _ => false,
        };
        assert!(is_refused(store.put("new", "v").map(drop)));
        assert!(is_refused(store.put([0], "an overwrite").map(drop)));
        assert!(is_refused(store.put_with([0], "v", &PutOptions::new()).map(drop)));
        assert!(is_refused(store.put_many([([0], "v")]).map(drop)));
        assert!(is_refused(store.update([0], |_| Some(Vec::new())).map(drop)));
        assert_eq!(store.get([0]).expect("as it was").len(), VALUE_BYTES);
        assert!(store.delete([0]).unwrap());
        assert_eq!(store.update([1], |_| None).unwrap(), None);
        assert!(!store.contains_key([1]));
        store.clear().unwrap();
        assert!(soon(|| store.put("new", "v").is_ok()), "there is room again");
    }
}

#[test]
fn a_wblock_that_is_full_is_synced_once_there_are_no_timed_flushes() {
    for place in Place::each() {
        let store = place.open(small().flush_max_ms(3));
        if store.stats().io.is_none() {
            continue;
        }
        store.reconfigure(store.config().flush_max_ms(0)).unwrap();
        for key in 0..4_u8 {
            store.put([key], vec![key; VALUE_BYTES]).unwrap();
        }
        let synced = soon(|| store.stats().wblocks.sealed == 0 && store.stats().wblocks.used == 3);
        assert!(synced, "{:?}", store.stats().wblocks);
    }
}

#[test]
fn a_changed_threshold_counts_at_once() {
    for place in Place::each() {
        let store = place.filled(small().stop_writes_used_pct(0), 6);
        for (pct, stops) in [(30, true), (50, false), (1, true), (0, false)] {
            store.reconfigure(store.config().stop_writes_used_pct(pct)).unwrap();
            assert_eq!(store.stats().stop_writes, stops, "{pct}");
        }
    }
}

#[test]
fn a_store_that_is_opened_full_stops_writes_from_the_start() {
    for place in Place::each() {
        if matches!(place, Place::Memory) {
            continue;
        }
        place.filled(small().stop_writes_used_pct(0), 6).close().unwrap();
        assert!(place.open(small().stop_writes_used_pct(30)).stats().stop_writes);
    }
}

#[test]
fn the_runway_says_what_holds_the_space() {
    for place in Place::each() {
        let store = place.filled(small(), 4);
        let record_bytes = VALUE_BYTES as u64 + 28;
        let before = store.stats().runway;
        assert_eq!(before.free_wblocks, u64::from(WBLOCKS) - 4);
        assert!((4 * record_bytes..4 * record_bytes + 1024).contains(&before.live_bytes));
        assert!(before.dead_bytes < u64::from(WBLOCK_BYTES), "paddings at most: {before:?}");
        assert_eq!(
            (before.pin_wait_bytes, before.barrier_wait_bytes, before.tombstones),
            (0, 0, 0)
        );

        store.put([0], vec![9; VALUE_BYTES]).unwrap();
        store.delete([1]).unwrap();
        let after = store.stats();
        let (is_mirrored, after) = (after.io.is_some(), after.runway);
        assert!(after.dead_bytes >= before.dead_bytes + 2 * record_bytes, "{before:?} {after:?}");
        assert_eq!(after.tombstones, u64::from(is_mirrored));
        assert_eq!(after.live_bytes, store.stats().live_bytes);
    }
}

#[test]
fn the_runway_shortens_while_wblocks_are_opened() {
    let store = Place::Memory.open(small());
    assert_eq!(store.stats().runway.seconds_left, None, "nothing is written");
    for key in 0..8_u8 {
        store.put([key], vec![key; VALUE_BYTES]).unwrap();
    }
    assert!(soon(|| store.stats().runway.seconds_left.is_some()), "eight within a tick or two");
    let left = store.stats().runway.seconds_left.expect("for a minute or more");
    assert!((1..100).contains(&left), "8 wblocks at about a half each second: {left}");
}

#[test]
fn puts_wait_for_the_write_cache_and_are_let_in_again() {
    let members = Arc::new(disk(1, WBLOCKS));
    let config = small().max_write_cache(2 * u64::from(WBLOCK_BYTES)).stop_writes_avail_pct(0);
    let (store, mut pump) = Harness::default().open_pumped(config, members).unwrap();
    let value = vec![1; VALUE_BYTES];
    // Nobody pumps: what is sealed stays so, and there is nothing to wait for.
    let refused =
        (0..u64::from(WBLOCKS)).find_map(|key| store.put(key.to_le_bytes(), &value).err());
    assert!(matches!(refused, Some(Error::Overloaded)), "{refused:?}");
    assert!(store.stats().wblocks.sealed > 2, "{:?}", store.stats().wblocks);
    assert!(store.delete(0_u64.to_le_bytes()).unwrap(), "a delete passes");
    pump.barrier().unwrap();
    store.put("again", &value).unwrap();
}

#[test]
fn a_put_goes_through_where_its_open_wblock_has_room() {
    let config = small().stop_writes_used_pct(0).overload_wait(Duration::from_secs(30));
    let store = Harness::default().open(config).unwrap();
    for key in 0..3_u8 {
        store.put([key], vec![key; VALUE_BYTES]).unwrap();
    }
    store.put("small", [4; 2000]).unwrap();
    assert_eq!(store.stats().free_wblocks, 12);
    let keep = |pct| store.reconfigure(store.config().stop_writes_avail_pct(pct)).unwrap();
    let (pinned, is_pinned) = channel();
    let (done, is_done) = channel();
    std::thread::scope(|scope| {
        // Dropped with a failure, too: it lets the pin go.
        let (store, done) = (&store, done);
        scope.spawn(move || {
            let pin = store.pin();
            pinned.send(()).unwrap();
            let _ = is_done.recv();
            drop(pin);
        });
        is_pinned.recv().unwrap();
        // Something is on its way as long as the pin is held: there is something to wait for.
        assert!(store.delete([0]).unwrap());
        keep(80); // 13 of 16
        assert!(soon(|| store.stats().wblocks.quarantined == 1), "reclaim has looked since");
        let put = scope.spawn(move || store.put("small", [5; 2000]));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!put.is_finished(), "what is kept back is in use");
        keep(75); // exactly what is free
        let went = soon(|| put.is_finished());
        done.send(()).unwrap();
        assert!(went, "the open wblock has room");
        put.join().unwrap().unwrap();
    });
}

/// Keys that are put again and again have a lane of their own in a store of many wblocks.
#[test]
fn a_put_over_a_young_record_takes_room_of_its_stripe_s_other_lane() {
    const MANY: u32 = 48;
    let value = vec![1; VALUE_BYTES];
    // The shadow does not keep up, or no wblock is to be had; nobody pumps and nobody reclaims.
    let slow = config(STRIPES, MANY).max_write_cache(2 * u64::from(WBLOCK_BYTES));
    let full = config(STRIPES, MANY).stop_writes_used_pct(0).stop_writes_avail_pct(0);
    for config in [slow, full] {
        let members = Arc::new(disk(STRIPES, MANY));
        let (store, _pump, _reclaimers) = Harness::default().open_driven(config, members).unwrap();
        // The first one is nobody's heir: it goes to the normal lane, and leaves room there.
        store.put("cold", [0; 1000]).unwrap();
        store.put("hot", &value[..1000]).unwrap();
        let is_refused = |_: &u32| store.put("hot", &value).is_err();
        let puts = (0..2 * MANY).find(is_refused).expect("it comes to that");
        assert!(puts > 2, "{puts}");
        for number in 0..10 {
            store.put("hot", vec![number; 2000]).unwrap();
        }
        let refused = store.put("hot", &value);
        let is_so = matches!(refused, Err(Error::Overloaded | Error::OutOfSpace));
        assert!(is_so, "{refused:?}");
        assert_eq!(*store.get("hot").unwrap(), [9; 2000]);
    }
}
