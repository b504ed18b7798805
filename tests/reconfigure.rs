//! Changing the configuration of an open store: what may change does at once, what may not is
//! refused by name, and nothing is changed by halves. In memory, on a simulated disk, on files.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use brindle::testing::{Clock, Harness, ManualClock, SimDisk};
use brindle::{Config, Error, PutOptions, Store};
use common::{WBLOCK_BYTES, config, disk};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};
use tempfile::TempDir;

/// Where the clock starts: microseconds since 1970.
const START_US: u64 = 1_700_000_000_000_000;
const STRIPES: u32 = 2;
const WBLOCKS: u32 = 12;
/// A flush that no test waits for: one day.
const NEVER_MS: u64 = 86_400_000;

/// A place for a store.
enum Place {
    Memory,
    Disk(SimDisk),
    Files(TempDir),
}

impl Place {
    fn each() -> [Self; 3] {
        [
            Self::Memory,
            Self::Disk(disk(STRIPES, WBLOCKS)),
            Self::Files(tempfile::tempdir().unwrap()),
        ]
    }

    /// Those with a shadow.
    fn mirrored() -> [Self; 2] {
        [Self::Disk(disk(STRIPES, WBLOCKS)), Self::Files(tempfile::tempdir().unwrap())]
    }

    fn open(&self, config: Config) -> Store {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START_US));
        let harness = Harness { clock: Some(clock), ..Harness::default() };
        match self {
            Self::Memory => harness.open(config),
            Self::Disk(disk) => harness.open_on(config, Arc::new(disk.clone())),
            Self::Files(dir) => harness.open(config.shadow_dir(dir.path().join("data"))),
        }
        .expect("opens")
    }
}

fn small() -> Config {
    config(STRIPES, WBLOCKS)
}

fn shown(store: &Store) -> String {
    format!("{:?}", store.config())
}

/// The key that a refusal names, after which all is as it was.
fn refused(store: &Store, config: Config) -> (String, String) {
    let before = shown(store);
    let result = store.reconfigure(config);
    let Err(Error::Config { key, reason }) = result else { panic!("not refused: {result:?}") };
    assert_eq!(shown(store), before, "nothing has changed");
    (key, reason)
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
fn what_is_in_force_is_what_was_asked_for_and_what_the_engine_chose() {
    for place in Place::each() {
        let store = place.open(small().defrag_lwm_pct(42).on_progress(|_| ()));
        let in_force = shown(&store);
        for part in [
            "data_size: Some(1572864)",
            "stripes: Some(2)",
            "wblock_size: Some(65536)",
            "max_record_size: Some(65408)",
            "flush_size: Some(65536)",
            "defrag_lwm_pct: 42",
            "on_progress: None",
        ] {
            assert!(in_force.contains(part), "`{part}` is missing in {in_force}");
        }
        store.reconfigure(store.config()).unwrap();
        assert_eq!(shown(&store), in_force, "the same again is no change");
        store.reconfigure(store.config().defrag_lwm_pct(60).evict_used_pct(80)).unwrap();
        let changed = in_force.replace("defrag_lwm_pct: 42", "defrag_lwm_pct: 60");
        assert_eq!(shown(&store), changed.replace("evict_used_pct: 0", "evict_used_pct: 80"));
    }
}

#[test]
fn a_key_that_is_fixed_at_open_is_refused_and_nothing_changes() {
    for place in Place::each() {
        let store = place.open(small());
        let live = || store.config().defrag_lwm_pct(7).default_ttl(Duration::from_secs(9));
        let cases = [
            (live().stripes(1), "stripes"),
            (live().data_size(64 << 20), "data_size"),
            (live().wblock_size(128 << 10), "wblock_size"),
            (live().max_record_size(100), "max_record_size"),
            (live().shadow_dir("elsewhere"), "shadow_dir"),
            (live().prefault(true), "prefault"),
            (live().commit_to_device(true), "commit_to_device"),
        ];
        for (config, key) in cases {
            let (named, reason) = refused(&store, config);
            assert_eq!(named, key, "{reason}");
            assert!(reason.contains("fixed at open"), "{reason}");
        }
        store.put("k", "v").unwrap();
        assert_eq!(store.get("k").expect("there").expires_at(), None, "the TTL is not in force");
    }
}

#[test]
fn a_value_that_open_refuses_is_refused_as_there() {
    for place in Place::each() {
        let store = place.open(small());
        let cases = [
            (store.config().defrag_lwm_pct(100), "defrag_lwm_pct"),
            (store.config().evict_used_pct(50).evict_target_pct(50), "evict_target_pct"),
            (store.config().flush_max_ms(NEVER_MS + 1), "flush_max_ms"),
            (store.config().stop_writes_used_pct(101), "stop_writes_used_pct"),
            (store.config().max_write_cache(1), "max_write_cache"),
            (store.config().sweep_interval(Duration::ZERO), "sweep_interval"),
            (store.config().default_ttl(Duration::MAX), "default_ttl"),
        ];
        for (config, key) in cases {
            assert_eq!(refused(&store, config.tombstone_grace(Duration::ZERO)).0, key);
        }
    }
}

#[test]
fn what_a_shadow_told_the_open_may_be_left_out_or_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let new = || {
        let bare = Config::new().prefault(false).pin_cores(false);
        bare.huge_pages(brindle::HugePages::Off).shadow_dir(dir.path().join("data"))
    };
    let shaped = new().data_size(24 * 65_536).wblock_size(65_536).stripes(2);
    Store::open(shaped.clone()).unwrap().close().unwrap();
    let store = Store::open(new()).unwrap();
    store.reconfigure(new().defrag_lwm_pct(60)).unwrap();
    store.reconfigure(shaped.defrag_lwm_pct(61)).unwrap();
    store.reconfigure(store.config().defrag_lwm_pct(62)).unwrap();
    assert!(shown(&store).contains("defrag_lwm_pct: 62"));
    assert_eq!(refused(&store, new().stripes(3)).0, "stripes");
}

#[test]
fn a_changed_ttl_meets_the_puts_that_follow_and_no_record_that_is_there() {
    let at = |secs: u64| UNIX_EPOCH + Duration::from_micros(START_US) + Duration::from_secs(secs);
    for place in Place::each() {
        let store = place.open(small().default_ttl(Duration::from_secs(5)));
        let expiry = |key: &str| store.get(key).expect("there").expires_at();
        store.put("before", "v").unwrap();
        store.reconfigure(store.config().default_ttl(Duration::from_secs(50))).unwrap();
        store.put("put", "v").unwrap();
        store.update("update", |_| Some(Vec::new())).unwrap();
        store.put_many([("many", "v")]).unwrap();
        store.reconfigure(store.config().default_ttl(Duration::ZERO)).unwrap();
        store.put("after", "v").unwrap();
        assert_eq!(expiry("before"), Some(at(5)));
        for key in ["put", "update", "many"] {
            assert_eq!(expiry(key), Some(at(50)), "{key}");
        }
        assert_eq!(expiry("after"), None);
    }
}

#[test]
fn a_shorter_flush_max_reaches_what_was_put_before_it() {
    // The thread sleeps for half a day, or until it is rung.
    for before in [NEVER_MS, 0] {
        for place in Place::mirrored() {
            let store = place.open(small().flush_max_ms(before));
            store.put("k", "v").unwrap();
            std::thread::sleep(Duration::from_millis(50));
            assert!(store.stats().unflushed_bytes > 0, "nothing asks for a flush yet");
            store.reconfigure(store.config().flush_max_ms(2)).unwrap();
            assert!(soon(|| store.stats().unflushed_bytes == 0), "it is not flushed");
            if let Place::Disk(disk) = &place {
                let crashed = Place::Disk(disk.crash(0)).open(small());
                assert_eq!(crashed.get("k").expect("durable").value(), b"v");
            }
        }
    }
}

#[test]
fn a_longer_flush_max_lets_puts_wait() {
    for after in [NEVER_MS, 0] {
        for place in Place::mirrored() {
            let store = place.open(small().flush_max_ms(2));
            store.reconfigure(store.config().flush_max_ms(after)).unwrap();
            // A flush that had begun before may take the first put along.
            let waits = soon(|| {
                store.put("k", "v").unwrap();
                std::thread::sleep(Duration::from_millis(50));
                store.stats().unflushed_bytes > 0
            });
            assert!(waits, "it is flushed every 2 ms still");
            store.flush().unwrap();
            assert_eq!(store.stats().unflushed_bytes, 0);
        }
    }
}

#[test]
fn a_store_that_is_no_cache_any_more_is_not_pressed_for_what_it_would_evict() {
    for place in Place::each() {
        let store = place.open(small());
        let keep = PutOptions::new().never_evict();
        for key in 0..8_u8 {
            store.put_with([key], vec![key; WBLOCK_BYTES as usize - 1024], &keep).unwrap();
        }
        store.reconfigure(store.config().evict_used_pct(10)).unwrap();
        assert!(soon(|| store.stats().reclaim.is_pressed), "a third is live");
        store.reconfigure(store.config().evict_used_pct(0)).unwrap();
        assert!(soon(|| !store.stats().reclaim.is_pressed), "two thirds are free");
    }
}

#[test]
fn a_closed_store_is_not_reconfigured_and_still_says_what_was_in_force() {
    for place in Place::each() {
        let store = place.open(small().defrag_lwm_pct(33));
        store.clone().close().unwrap();
        let result = store.reconfigure(store.config());
        assert!(matches!(result, Err(Error::Closed)), "{result:?}");
        assert!(shown(&store).contains("defrag_lwm_pct: 33"));
    }
}

#[test]
fn concurrent_changes_follow_one_another_whole() {
    let store = Place::Memory.open(small());
    std::thread::scope(|scope| {
        for thread in 1..3_u8 {
            let store = store.clone();
            scope.spawn(move || {
                for turn in 0..200 {
                    let pct = thread * 40 + turn % 20;
                    let pair = store.config().evict_used_pct(pct).defrag_lwm_pct(pct);
                    store.reconfigure(pair).unwrap();
                    let seen = format!("{:?}", store.config());
                    let of = |key: &str| {
                        let value = seen.split(key).nth(1).and_then(|rest| rest.split(',').next());
                        value.map(str::to_owned)
                    };
                    assert_eq!(of(" evict_used_pct: "), of(" defrag_lwm_pct: "), "{seen}");
                }
            });
        }
    });
}

/// Nobody looks: no reclaimer, no flusher, no upkeep.
#[test]
fn what_holds_puts_back_counts_at_once() {
    let members = Arc::new(disk(STRIPES, WBLOCKS));
    let config = small().overload_wait(Duration::ZERO).stop_writes_used_pct(0);
    let (store, _pump, _reclaimers) = Harness::default().open_driven(config, members).unwrap();
    let value = vec![1; WBLOCK_BYTES as usize - 1024];
    let put = || store.put("k", &value);
    let bound = store.bind_thread(0).unwrap();
    put().unwrap();
    // 24 wblocks, of which one is taken.
    store.reconfigure(store.config().stop_writes_avail_pct(99)).unwrap();
    let refused = put();
    assert!(matches!(refused, Err(Error::StopWrites { avail_pct: 95, .. })), "{refused:?}");
    store.reconfigure(store.config().stop_writes_avail_pct(90)).unwrap();
    put().unwrap();
    store.reconfigure(store.config().stop_writes_avail_pct(0)).unwrap();
    put().unwrap();
    // Two are sealed, and nobody flushes.
    let cache = |wblocks: u64| store.config().max_write_cache(wblocks * u64::from(WBLOCK_BYTES));
    store.reconfigure(cache(1)).unwrap();
    let refused = put();
    assert!(matches!(refused, Err(Error::Overloaded)), "{refused:?}");
    store.reconfigure(cache(2)).unwrap();
    put().unwrap();
    assert!(matches!(put(), Err(Error::Overloaded)));
    drop(bound);
}

/// A put that waits goes on when it need not wait any more.
#[test]
fn a_put_that_waits_is_let_in_by_a_change() {
    let members = Arc::new(disk(STRIPES, WBLOCKS));
    let config = small().overload_wait(Duration::from_secs(600)).stop_writes_used_pct(0);
    let harness = Harness { reclaims: true, ..Harness::default() };
    let store = harness.open_on(config.stop_writes_avail_pct(0), members).unwrap();
    let value = vec![1; WBLOCK_BYTES as usize - 1024];
    let pin = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let (store, pin) = (&store, &pin);
        scope.spawn(move || {
            let held = store.pin();
            pin.wait();
            pin.wait();
            drop(held);
        });
        pin.wait();
        let _bound = store.bind_thread(0).unwrap();
        // What is overwritten waits for the pin, so that there is something to wait for.
        for _ in 0..6 {
            store.put("k", &value).unwrap();
        }
        assert!(soon(|| store.stats().reclaim.waiting_for_pins > 0), "{:?}", store.stats());
        store.reconfigure(store.config().stop_writes_avail_pct(99)).unwrap();
        let put = scope.spawn(|| store.put("waits", &value));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!put.is_finished(), "fewer are free");
        store.reconfigure(store.config().stop_writes_avail_pct(0)).unwrap();
        assert!(soon(|| put.is_finished()), "nothing holds it back any more");
        put.join().unwrap().unwrap();
        pin.wait();
    });
}
