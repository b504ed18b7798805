//! The public contract, sentence by sentence: each test's name is the claim, and each claim holds
//! in memory, on a simulated disk and on files.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use brindle::format::RECORD_HEADER_BYTES;
use brindle::testing::{Clock, Harness, ManualClock, SimDisk};
use brindle::{
    Binding, Condition, Config, DeleteOptions, Error, Health, OwnedRecord, Pin, PutOptions,
    RECORD_HEADER_BYTES_MAX, Record, Scan, Store, Version,
};
use common::{Random, WBLOCK_BYTES, config, disk};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Where the clock starts: microseconds since 1970.
const START_US: u64 = 1_700_000_000_000_000;
const STRIPES: u32 = 2;
const WBLOCKS: u32 = 12;
/// What a wblock holds of records.
const ROOM_BYTES: usize = WBLOCK_BYTES as usize - 128;
/// What a flush pads to.
const SECTOR_BYTES: usize = 4096;
/// Wblocks that puts leave alone in a store in memory: one for deletes, one for the reclaimer.
const KEPT_BACK: u32 = 2;

/// Bytes of the value, behind a key of four bytes, of a record so much shorter than some sectors
/// that as many fit into a wblock whether it is flushed on the way or not, and that what flushes
/// pad is too little to be worth a move.
fn value_for(bytes: usize) -> usize {
    let (wblock_header, flush_marker) = (128, 16);
    bytes - wblock_header - flush_marker - RECORD_HEADER_BYTES - 4
}

/// A kind of store, with a clock that the test turns.
struct Bench {
    clock: Arc<ManualClock>,
    config: Config,
    place: Place,
}

enum Place {
    Memory,
    Disk(SimDisk),
    Files(TempDir),
}

impl Bench {
    fn each() -> [Self; 3] {
        let bench = |place| Self {
            clock: Arc::new(ManualClock::new(START_US)),
            config: config(STRIPES, WBLOCKS).flush_max_ms(20),
            place,
        };
        let files = Place::Files(tempfile::tempdir().expect("a directory"));
        [bench(Place::Memory), bench(Place::Disk(disk(STRIPES, WBLOCKS))), bench(files)]
    }

    fn open(&self) -> Store {
        self.open_as(self.config.clone())
    }

    fn open_as(&self, config: Config) -> Store {
        self.try_open(config).expect("opens")
    }

    fn try_open(&self, config: Config) -> brindle::Result<Store> {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let harness = Harness { clock: Some(clock), ..Harness::default() };
        match &self.place {
            Place::Memory => harness.open(config),
            Place::Disk(disk) => harness.open_on(config, Arc::new(disk.clone())),
            Place::Files(dir) => harness.open(config.shadow_dir(dir.path().join("data"))),
        }
    }

    /// Turns the clock on, from where the test began.
    fn at(&self, micros: u64) {
        self.clock.set(START_US + micros);
    }

    /// Wblocks that puts never get; with a shadow, one for the run after this one.
    fn kept_back(&self) -> u32 {
        KEPT_BACK + u32::from(self.has_shadow())
    }

    fn has_shadow(&self) -> bool {
        !matches!(self.place, Place::Memory)
    }

    fn name(&self) -> &'static str {
        match self.place {
            Place::Memory => "in memory",
            Place::Disk(_) => "on a simulated disk",
            Place::Files(_) => "on files",
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = self.name();
            #[expect(clippy::print_stderr, reason = "says which of the three failed")]
            {
                eprintln!("this was the store {name}");
            }
        }
    }
}

fn with_each_bench(test: impl Fn(&Bench)) {
    for bench in &Bench::each() {
        test(bench);
    }
}

/// Runs `test` on a fresh store of each kind.
fn with_each_store(test: impl Fn(&Store, &Bench)) {
    with_each_bench(|bench| {
        let store = bench.open();
        test(&store, bench);
        assert_eq!(store.health(), Health::Ok);
        let _ = store.close();
    });
}

fn version(version: u64) -> Version {
    Version::from(version)
}

fn put_at(at: u64) -> PutOptions {
    PutOptions::new().version(version(at))
}

fn delete_at(at: u64) -> DeleteOptions {
    DeleteOptions::new().version(version(at))
}

fn put_if(condition: Condition) -> PutOptions {
    PutOptions::new().condition(condition)
}

fn delete_if(condition: Condition) -> DeleteOptions {
    DeleteOptions::new().condition(condition)
}

fn instant(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(START_US + micros)
}

/// All that is there to see of a key.
type Seen = Option<(Vec<u8>, Version, Option<SystemTime>)>;

fn see(store: &Store, key: &str) -> Seen {
    store.get(key).map(|record| (record.to_vec(), record.version(), record.expires_at()))
}

fn value(store: &Store, key: &str) -> Option<Vec<u8>> {
    store.get(key).map(|record| record.to_vec())
}

fn contents(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for record in store.scan() {
        let before = contents.insert(record.key().to_vec(), record.to_vec());
        assert!(before.is_none(), "a key came twice: {record:?}");
    }
    contents
}

macro_rules! refused {
    ($call:expr, $error:pat $(if $guard:expr)?) => {{
        let result = $call;
        let is_so = matches!(&result, Err($error) $(if $guard)?);
        assert!(is_so, "{} gave {result:?}", stringify!($call));
    }};
}

/// The three ways of a key to be dead, each made on a key of its own.
fn dead_keys(store: &Store, bench: &Bench) -> [&'static str; 3] {
    store.put("deleted", "x").unwrap();
    assert!(store.delete("deleted").unwrap());
    let short = PutOptions::new().expires_at(instant(10));
    store.put_with("expired", "x", &short).unwrap();
    bench.at(11);
    ["absent", "deleted", "expired"]
}

// --- Values, keys and limits ---------------------------------------------------------------

#[test]
fn what_was_put_is_got_with_key_version_and_expiry() {
    with_each_store(|store, _| {
        let at = store.put("k", "one").unwrap();
        let record = store.get("k").expect("there");
        assert_eq!((record.key(), record.value(), &*record), (&b"k"[..], &b"one"[..], &b"one"[..]));
        assert_eq!((record.version(), record.expires_at()), (at, None));
        let owned = record.into_owned();
        assert_eq!((owned.key(), owned.value(), owned.version()), (&b"k"[..], &b"one"[..], at));
        assert_eq!((owned.expires_at(), owned.into_value()), (None, b"one".to_vec()));
        assert!(store.contains_key("k") && !store.contains_key("other"));
    });
}

#[test]
fn an_empty_value_is_a_value() {
    with_each_store(|store, _| {
        store.put("k", "").unwrap();
        assert_eq!(value(store, "k"), Some(Vec::new()));
        assert_eq!((store.len(), store.is_empty(), contents(store).len()), (1, false, 1));
        refused!(store.put_with("k", "", &put_if(Condition::IfAbsent)), Error::ConditionFailed);
        assert!(store.delete("k").unwrap(), "a live record was there");
    });
}

#[test]
fn keys_have_1_to_65535_bytes() {
    with_each_bench(|bench| {
        let store = bench.open();
        refused!(store.put("", "x"), Error::EmptyKey);
        refused!(store.delete(""), Error::EmptyKey);
        refused!(store.delete_with("", &delete_at(1)), Error::EmptyKey);
        refused!(store.update("", |_| None), Error::EmptyKey);
        assert!(store.get("").is_none());
        let too_long = vec![7; 65_536];
        refused!(store.put(&too_long, "x"), Error::KeyTooLong);
        refused!(store.delete(&too_long), Error::KeyTooLong);
        refused!(store.update(&too_long, |_| Some(Vec::new())), Error::KeyTooLong);
        assert!(store.get(&too_long).is_none() && !store.contains_key(&too_long));
        assert!(store.is_empty(), "nothing changed");
    });
    // The longest key fits into a wblock that is larger than it.
    let harness = Harness::default();
    let larger = config(1, 4).wblock_size(128 << 10).data_size(1 << 20);
    let store = harness.open(larger).unwrap();
    let longest = Random(1).bytes(65_535);
    store.put(&longest, "x").unwrap();
    assert_eq!(store.get(&longest).expect("there").key(), longest);
    assert!(store.delete(&longest).unwrap());
}

#[test]
fn a_key_that_no_wblock_could_hold_is_absent_to_every_call() {
    with_each_store(|store, _| {
        let key = vec![7; 65_535];
        assert!(store.get(&key).is_none());
        refused!(store.put(&key, ""), Error::RecordTooLarge { .. });
        assert!(!store.delete(&key).unwrap(), "a delete of an absent key is Ok(false)");
        refused!(store.delete_with(&key, &delete_if(Condition::IfPresent)), Error::ConditionFailed);
        assert_eq!(store.update(&key, |old| old.map(<[u8]>::to_vec)).unwrap(), None);
        refused!(store.delete_with(&key, &delete_at(1)), Error::RecordTooLarge { .. });
    });
}

#[test]
fn max_record_size_fits_exactly_and_one_byte_more_is_refused() {
    with_each_bench(|bench| {
        let largest = 1000 - RECORD_HEADER_BYTES_MAX - 3;
        let store = bench.open_as(bench.config.clone().max_record_size(1000));
        store.put("key", vec![1; largest]).unwrap();
        let forever = PutOptions::new().ttl(Duration::from_secs(9));
        store.put_with("key", vec![2; largest], &forever).unwrap();
        refused!(
            store.put("key", vec![3; largest + 1]),
            Error::RecordTooLarge { size: 1001, limit: 1000 }
        );
        refused!(
            store.update("key", |_| Some(vec![3; largest + 1])),
            Error::RecordTooLarge { size: 1001, limit: 1000 }
        );
        assert_eq!(value(&store, "key"), Some(vec![2; largest]), "nothing changed");
    });
}

#[test]
fn a_record_may_fill_a_wblock_to_the_byte() {
    with_each_bench(|bench| {
        let largest = ROOM_BYTES - RECORD_HEADER_BYTES_MAX - 3;
        for settings in [bench.config.clone(), bench.config.clone().max_record_size(65_408)] {
            let store = bench.open_as(settings);
            for fill in 1..=3 {
                let value = Random(fill).bytes(largest);
                let ttl = PutOptions::new().ttl(Duration::from_secs(9));
                store.put_with("key", &value, &ttl).unwrap();
                assert_eq!(&*store.get("key").expect("there"), value);
                refused!(
                    store.put("key", vec![3; largest + 1]),
                    Error::RecordTooLarge { size: 65_409, limit: 65_408 }
                );
            }
            let _ = store.close();
        }
        refused!(
            bench.try_open(bench.config.clone().max_record_size(65_409)),
            Error::Config { .. }
        );
    });
}

#[test]
fn a_record_that_was_let_in_can_be_deleted_under_a_smaller_limit() {
    with_each_bench(|bench| {
        let store = bench.open();
        let key = vec![7; 2000];
        store.put(&key, "x").unwrap();
        if bench.has_shadow() {
            store.close().unwrap();
            let store = bench.open_as(bench.config.clone().max_record_size(64));
            refused!(store.put(&key, ""), Error::RecordTooLarge { .. });
            assert!(store.delete(&key).unwrap());
        }
    });
}

// --- Conditions ----------------------------------------------------------------------------

#[test]
fn conditions_hold_of_a_live_record() {
    with_each_store(|store, _| {
        let at = store.put("k", "one").unwrap();
        let other = Condition::IfVersion(version(u64::from(at) + 1));
        for failing in [Condition::IfAbsent, other] {
            refused!(store.put_with("k", "two", &put_if(failing)), Error::ConditionFailed);
            refused!(store.delete_with("k", &delete_if(failing)), Error::ConditionFailed);
        }
        assert_eq!(see(store, "k"), Some((b"one".to_vec(), at, None)), "nothing changed");
        let second = store.put_with("k", "two", &put_if(Condition::IfPresent)).unwrap();
        let third = store.put_with("k", "three", &put_if(Condition::IfVersion(second))).unwrap();
        assert!(at < second && second < third);
        refused!(
            store.put_with("k", "four", &put_if(Condition::IfVersion(second))),
            Error::ConditionFailed
        );
        store.put_with("k", "four", &put_if(Condition::Always)).unwrap();
        assert_eq!(value(store, "k"), Some(b"four".to_vec()));
        let fourth = store.get("k").expect("there").version();
        assert!(store.delete_with("k", &delete_if(Condition::IfVersion(fourth))).unwrap());
        assert!(store.get("k").is_none());
    });
}

#[test]
fn absent_deleted_and_expired_are_one_thing() {
    with_each_store(|store, bench| {
        for key in dead_keys(store, bench) {
            assert!(store.get(key).is_none() && !store.contains_key(key), "{key}");
            assert!(store.get_with(key, |_| ()).is_none(), "{key}");
            assert!(store.pin().get(key).is_none() && !store.pin().contains_key(key), "{key}");
            assert!(store.get_many(&[key]).iter().all(Option::is_none), "{key}");
            assert!(!contents(store).contains_key(key.as_bytes()), "{key}");
            assert!(!store.delete(key).unwrap(), "{key}");
            let of_old = Condition::IfVersion(version(START_US));
            for failing in [Condition::IfPresent, of_old] {
                refused!(store.put_with(key, "y", &put_if(failing)), Error::ConditionFailed);
                refused!(store.delete_with(key, &delete_if(failing)), Error::ConditionFailed);
            }
            assert!(!store.delete_with(key, &delete_if(Condition::IfAbsent)).unwrap(), "{key}");
            let mut seen = None;
            let updated = store.update(key, |old| {
                seen = Some(old.map(<[u8]>::to_vec));
                None
            });
            assert_eq!((updated.unwrap(), seen), (None, Some(None)), "{key}");
            store.put_with(key, "y", &put_if(Condition::IfAbsent)).unwrap();
            assert_eq!(value(store, key), Some(b"y".to_vec()), "{key}");
        }
    });
}

// --- Versions ------------------------------------------------------------------------------

#[test]
fn a_put_gets_the_clock_or_one_above_what_it_replaces() {
    with_each_store(|store, bench| {
        assert_eq!(store.put("k", "1").unwrap(), version(START_US));
        assert_eq!(store.put("k", "2").unwrap(), version(START_US + 1));
        bench.at(500);
        assert_eq!(store.put("k", "3").unwrap(), version(START_US + 500));
        let future = START_US + 1_000_000_000;
        assert_eq!(store.put_with("k", "4", &put_at(future)).unwrap(), version(future));
        assert_eq!(store.put("k", "5").unwrap(), version(future + 1), "above a future-dated one");
        assert_eq!(store.update("k", |_| Some(vec![6])).unwrap(), Some(version(future + 2)));
        let if_there = put_if(Condition::IfVersion(version(future + 2)));
        assert_eq!(store.put_with("k", "7", &if_there).unwrap(), version(future + 3));
    });
}

#[test]
fn a_put_is_above_the_tombstone_that_it_replaces() {
    with_each_store(|store, _| {
        let future = START_US + 1_000_000_000;
        store.delete_with("k", &delete_at(future)).unwrap();
        assert_eq!(store.put("k", "1").unwrap(), version(future + 1));
    });
}

#[test]
fn a_version_that_loses_is_a_conflict_and_changes_nothing() {
    with_each_store(|store, _| {
        store.put_with("k", "five", &put_at(5)).unwrap();
        refused!(store.put_with("k", "four", &put_at(4)), Error::VersionConflict { current }
            if *current == version(5));
        refused!(store.delete_with("k", &delete_at(4)), Error::VersionConflict { current }
            if *current == version(5));
        assert_eq!(see(store, "k"), Some((b"five".to_vec(), version(5), None)));
        assert!(store.delete_with("k", &delete_at(6)).unwrap());
        refused!(store.put_with("k", "five", &put_at(5)), Error::VersionConflict { current }
            if *current == version(6));
        refused!(store.delete_with("k", &delete_at(5)), Error::VersionConflict { current }
            if *current == version(6));
        assert!(store.get("k").is_none());
        store.put_with("k", "seven", &put_at(7)).unwrap();
        assert_eq!(value(store, "k"), Some(b"seven".to_vec()));
    });
}

#[test]
fn at_equal_versions_a_tombstone_beats_a_value() {
    with_each_store(|store, _| {
        store.put_with("k", "v", &put_at(5)).unwrap();
        assert!(store.delete_with("k", &delete_at(5)).unwrap());
        assert!(store.get("k").is_none());
        store.delete_with("other", &delete_at(5)).unwrap();
        refused!(store.put_with("other", "v", &put_at(5)), Error::VersionConflict { .. });
        assert!(store.get("other").is_none());
    });
}

#[test]
fn at_equal_versions_the_later_expiry_wins_and_none_is_latest() {
    with_each_store(|store, _| {
        let early = put_at(5).expires_at(instant(1_000));
        let late = put_at(5).expires_at(instant(2_000));
        let never = put_at(5);
        let ascending = [("zzz", early), ("mmm", late), ("aaa", never)];
        for (value, options) in &ascending {
            store.put_with("up", value, options).unwrap();
        }
        for (value, options) in ascending.iter().rev() {
            let result = store.put_with("down", value, options);
            assert_eq!(result.is_ok(), *value == "aaa", "{value}: {result:?}");
        }
        for key in ["up", "down"] {
            assert_eq!(see(store, key), Some((b"aaa".to_vec(), version(5), None)), "{key}");
        }
    });
}

#[test]
fn at_equal_versions_and_expiries_one_value_wins_in_any_order_of_arrival() {
    with_each_store(|store, _| {
        let values: Vec<Vec<u8>> = (0..8).map(|seed| Random(seed).bytes(20)).collect();
        let digest = |value: &Vec<u8>| (xxhash_rust::xxh3::xxh3_64(value), value.clone());
        let winner = values.iter().map(digest).max().expect("eight").1;
        let place = |order: u64, value: &[u8]| order ^ u64::from(value.first().copied().unwrap());
        for order in 0..24_u64 {
            let key = format!("k{order}");
            let mut shuffled: Vec<_> = values.iter().collect();
            shuffled.sort_by_key(|value| Random(place(order, value)).next());
            let mut best: Option<&Vec<u8>> = None;
            for value in shuffled {
                let wins = best.is_none_or(|best| digest(value) > digest(best));
                let result = store.put_with(&key, value, &put_at(5));
                assert_eq!(result.is_ok(), wins, "{result:?}");
                best = best.filter(|_| !wins).or(Some(value));
            }
            assert_eq!(store.get(&key).expect("there").value(), winner);
        }
    });
}

#[test]
fn the_very_same_record_again_is_ok_and_changes_nothing() {
    with_each_store(|store, _| {
        let options = [put_at(5), put_at(5).expires_at(instant(1_000))];
        for (key, options) in ["plain", "expiring"].into_iter().zip(options) {
            store.put_with(key, "v", &options).unwrap();
            let (before, bytes) = (see(store, key), store.stats().live_bytes);
            for _ in 0..3 {
                assert_eq!(store.put_with(key, "v", &options).unwrap(), version(5));
            }
            assert_eq!((see(store, key), store.stats().live_bytes), (before, bytes));
            assert!(store.delete_with(key, &delete_at(6)).unwrap());
            let bytes = store.stats().live_bytes;
            for _ in 0..3 {
                assert!(!store.delete_with(key, &delete_at(6)).unwrap(), "dead already");
            }
            assert_eq!(store.stats().live_bytes, bytes);
        }
        assert_eq!(store.stats().tombstones, 2);
    });
}

#[test]
fn a_delete_with_a_version_is_remembered_on_an_absent_key() {
    with_each_bench(|bench| {
        let mut store = bench.open();
        assert!(!store.delete_with("k", &delete_at(50)).unwrap());
        for _ in 0..2 {
            assert_eq!((store.len(), store.stats().tombstones), (0, 1));
            for late in [49, 50] {
                let put = store.put_with("k", "late", &put_at(late));
                refused!(put, Error::VersionConflict { current } if *current == version(50));
            }
            assert!(store.get("k").is_none());
            if bench.has_shadow() {
                store.close().unwrap();
                store = bench.open();
            }
        }
        store.put_with("k", "new", &put_at(51)).unwrap();
        assert_eq!(value(&store, "k"), Some(b"new".to_vec()));
    });
}

#[test]
fn the_versions_of_a_key_only_grow() {
    with_each_bench(|bench| {
        let mut store = bench.open();
        let mut random = Random(3);
        let mut newest = version(0);
        for step in 0..200_u64 {
            // The clock runs back and forth; a shadow keeps tombstones, memory alone does not.
            bench.at(random.below(1_000));
            let next = match random.below(if bench.has_shadow() { 4 } else { 2 }) {
                0 => store.put("k", "v").unwrap(),
                1 => store.update("k", |_| Some(b"u".to_vec())).unwrap().expect("put"),
                2 => {
                    store.delete("k").unwrap();
                    continue;
                }
                _ if step % 5 == 0 => {
                    store.close().unwrap();
                    store = bench.open();
                    continue;
                }
                _ => store.put_with("k", "w", &put_if(Condition::Always)).unwrap(),
            };
            assert!(next > newest, "{next} after {newest}");
            newest = next;
        }
    });
}

#[test]
fn the_highest_version_there_is_leaves_no_room_above() {
    with_each_store(|store, _| {
        store.put_with("k", "last", &put_at(u64::MAX)).unwrap();
        refused!(store.put("k", "more"), Error::VersionConflict { .. });
        assert_eq!(value(store, "k"), Some(b"last".to_vec()));
        assert!(store.delete_with("k", &delete_at(u64::MAX)).unwrap(), "a tombstone wins a tie");
    });
}

// --- Expiry --------------------------------------------------------------------------------

#[test]
fn a_record_lives_through_its_expiry_instant() {
    with_each_store(|store, bench| {
        store.put_with("ttl", "v", &PutOptions::new().ttl(Duration::from_micros(100))).unwrap();
        store.put_with("at", "v", &PutOptions::new().expires_at(instant(100))).unwrap();
        for key in ["ttl", "at"] {
            bench.at(0);
            assert_eq!(store.get(key).expect("there").expires_at(), Some(instant(100)));
            bench.at(100);
            assert!(store.get(key).is_some(), "{key}: in its last instant");
            bench.at(101);
            assert!(store.get(key).is_none(), "{key}: after its last instant");
        }
    });
}

#[test]
fn a_put_that_expires_in_the_past_happens_and_is_dead() {
    with_each_store(|store, bench| {
        bench.at(100);
        let before = store.put("k", "v").unwrap();
        let past = PutOptions::new().expires_at(instant(50));
        assert!(store.put_with("k", "w", &past).unwrap() > before);
        assert!(store.get("k").is_none());
        store.put_with("k", "x", &PutOptions::new().expires_at(UNIX_EPOCH)).unwrap();
        assert!(store.get("k").is_none() && contents(store).is_empty());
    });
}

#[test]
fn a_ttl_of_zero_means_never_also_over_default_ttl() {
    with_each_bench(|bench| {
        let store = bench.open_as(bench.config.clone().default_ttl(Duration::from_micros(100)));
        store.put("default", "v").unwrap();
        store.put_many([("many", "v")]).unwrap();
        store.update("update", |_| Some(b"v".to_vec())).unwrap();
        let never = PutOptions::new().ttl(Duration::ZERO);
        store.put_with("never", "v", &never).unwrap();
        store.put_with("longer", "v", &PutOptions::new().ttl(Duration::from_micros(101))).unwrap();
        for key in ["default", "many", "update"] {
            assert_eq!(store.get(key).expect("there").expires_at(), Some(instant(100)), "{key}");
        }
        assert_eq!(store.get("never").expect("there").expires_at(), None);
        bench.at(101);
        for (key, lives) in [
            ("default", false),
            ("many", false),
            ("update", false),
            ("never", true),
            ("longer", true),
        ] {
            assert_eq!(store.get(key).is_some(), lives, "{key}");
        }
    });
}

#[test]
fn a_put_without_a_ttl_ends_the_expiry_of_the_record_before() {
    with_each_store(|store, bench| {
        store.put_with("k", "v", &PutOptions::new().ttl(Duration::from_micros(10))).unwrap();
        store.put("k", "w").unwrap();
        bench.at(1_000);
        assert_eq!(value(store, "k"), Some(b"w".to_vec()));
    });
}

#[test]
fn a_ttl_too_long_for_the_clock_is_for_as_long_as_there_is() {
    with_each_store(|store, bench| {
        store.put_with("k", "v", &PutOptions::new().ttl(Duration::MAX)).unwrap();
        bench.at(1 << 50);
        assert!(store.get("k").is_some());
    });
}

#[test]
fn what_expired_stays_dead_when_the_wall_clock_steps_back_between_runs() {
    with_each_bench(|bench| {
        if !bench.has_shadow() {
            return;
        }
        let store = bench.open();
        store.put_with("k", "v", &PutOptions::new().ttl(Duration::from_micros(100))).unwrap();
        bench.at(101);
        assert!(store.get("k").is_none());
        store.close().unwrap();
        bench.at(0);
        assert!(bench.open().get("k").is_none(), "the shadow's clock floor is above its life");
    });
}

#[test]
fn expiry_is_kept_across_a_restart() {
    with_each_bench(|bench| {
        if !bench.has_shadow() {
            return;
        }
        let store = bench.open();
        store.put_with("k", "v", &PutOptions::new().ttl(Duration::from_micros(100))).unwrap();
        store.close().unwrap();
        bench.at(100);
        let store = bench.open();
        assert_eq!(store.get("k").expect("in its last instant").expires_at(), Some(instant(100)));
        bench.at(101);
        assert!(store.get("k").is_none());
        store.put("k", "w").unwrap();
        store.close().unwrap();
        assert_eq!(value(&bench.open(), "k"), Some(b"w".to_vec()));
    });
}

// --- Deletes, updates, batches -------------------------------------------------------------

#[test]
fn delete_says_whether_a_live_record_was_there() {
    with_each_store(|store, _| {
        store.put("k", "v").unwrap();
        assert!(store.delete("k").unwrap());
        assert!(!store.delete("k").unwrap());
        assert!(!store.delete("never there").unwrap());
        store.put("k", "w").unwrap();
        assert!(store.delete("k").unwrap());
        assert!(store.is_empty() && contents(store).is_empty());
    });
}

#[test]
fn update_reads_and_writes_as_one_and_none_deletes() {
    with_each_store(|store, _| {
        let add = |old: Option<&[u8]>| Some([old.unwrap_or_default(), b"+"].concat());
        let first = store.update("k", add).unwrap().expect("put");
        let second = store.update("k", add).unwrap().expect("put");
        assert!(second > first);
        assert_eq!(see(store, "k"), Some((b"++".to_vec(), second, None)));
        assert_eq!(store.update("k", |_| None).unwrap(), None);
        assert!(store.get("k").is_none());
        assert_eq!(store.update("k", |_| None).unwrap(), None);
        store.update("k", add).unwrap();
        assert_eq!(value(store, "k"), Some(b"+".to_vec()), "nothing of the old value is left");
    });
}

#[test]
fn a_panic_in_the_closure_of_update_changes_nothing() {
    with_each_store(|store, _| {
        store.put("k", "v").unwrap();
        let before = (see(store, "k"), store.stats().live_bytes);
        for key in ["k", "absent"] {
            let update = || store.update(key, |_| panic!("as planned"));
            assert!(catch_unwind(AssertUnwindSafe(update)).is_err());
        }
        assert_eq!((see(store, "k"), store.stats().live_bytes), before);
        store.put("k", "w").unwrap();
        store.update("absent", |old| old.map_or(Some(vec![1]), |_| None)).unwrap();
        assert_eq!((value(store, "k"), store.len()), (Some(b"w".to_vec()), 2));
        store.flush().unwrap();
    });
}

#[test]
fn put_many_stops_at_the_first_error_and_keeps_what_was_before() {
    with_each_store(|store, _| {
        let versions = store.put_many([("a", "1"), ("b", "2"), ("a", "3")]).unwrap();
        assert_eq!(versions.len(), 3);
        assert_eq!(store.get("a").expect("there").version(), *versions.last().unwrap());
        assert!(store.put_many(Vec::<(&str, &str)>::new()).unwrap().is_empty());
        let result = store.put_many([("c", "4"), ("d", "5"), ("", "6"), ("e", "7")]);
        let Err(Error::Batch { done, source }) = result else { panic!("{result:?}") };
        assert!(done == 2 && matches!(*source, Error::EmptyKey));
        let keys: Vec<_> = contents(store).into_keys().collect();
        assert_eq!(keys, [b"a", b"b", b"c", b"d"]);
    });
}

#[test]
fn get_many_answers_in_the_order_of_the_keys_and_takes_duplicates() {
    with_each_store(|store, _| {
        for number in 0..40 {
            store.put(format!("k{number}"), format!("v{number}")).unwrap();
        }
        // More than a group of prefetches, duplicates and absent keys among them.
        let numbers: Vec<u64> = (0..100).map(|at| (at * 7) % 50).chain([3, 3, 3]).collect();
        let keys: Vec<String> = numbers.iter().map(|number| format!("k{number}")).collect();
        let records = store.get_many(&keys);
        assert_eq!(records.len(), keys.len());
        for (number, record) in numbers.iter().zip(&records) {
            let expected = (*number < 40).then(|| format!("v{number}").into_bytes());
            assert_eq!(record.as_ref().map(Record::to_vec), expected);
        }
        assert!(store.get_many(&[""; 0]).is_empty());
    });
}

#[test]
fn the_other_ways_to_read_agree_with_get() {
    with_each_store(|store, _| {
        store.put("k", "v").unwrap();
        store.prefetch("k");
        store.prefetch("absent");
        store.prefetch("");
        assert_eq!(store.get_with("k", |record| record.value().to_vec()), Some(b"v".to_vec()));
        let pin = store.pin();
        assert_eq!(pin.get("k").as_deref(), Some(&b"v"[..]));
        let held = pin.get("k");
        store.put("k", "w").unwrap();
        assert_eq!(held.as_deref(), Some(&b"v"[..]), "a record does not change while it is held");
        assert_eq!(pin.get("k").as_deref(), Some(&b"w"[..]), "a pin is no snapshot");
        assert!(pin.contains_key("k") && !pin.contains_key("absent"));
    });
}

#[test]
fn scan_returns_each_record_exactly_once() {
    with_each_bench(|bench| {
        let config = bench.config.clone().data_size(96 * u64::from(WBLOCK_BYTES));
        let place = Place::Memory;
        let place = if bench.has_shadow() { Place::Disk(disk(STRIPES, 48)) } else { place };
        let bench = Bench { clock: Arc::clone(&bench.clock), config, place };
        let store = bench.open();
        let mut expected = BTreeMap::new();
        for number in 0..6_000_u32 {
            let (key, value) = (number.to_le_bytes(), (!number).to_le_bytes());
            store.put(key, value).unwrap();
            expected.insert(key.to_vec(), value.to_vec());
        }
        for number in (0..6_000_u32).step_by(3) {
            assert!(store.delete(number.to_le_bytes()).unwrap());
            expected.remove(&number.to_le_bytes()[..]);
        }
        assert_eq!(contents(&store), expected);
        assert_eq!(store.len(), expected.len());
        // Those that are there throughout are seen once, although the index grows meanwhile.
        let mut seen: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for (at, record) in (6_000_u32..).zip(store.scan()) {
            *seen.entry(record.key().to_vec()).or_default() += 1;
            if at < 12_000 {
                store.put(at.to_le_bytes(), "new").unwrap();
            }
        }
        for key in expected.keys() {
            assert_eq!(seen.get(key), Some(&1), "{key:?}");
        }
    });
}

#[test]
fn clear_deletes_every_record_and_leaves_the_store_usable() {
    with_each_bench(|bench| {
        let store = bench.open();
        for number in 0..500_u32 {
            store.put(number.to_le_bytes(), "v").unwrap();
        }
        store.clear().unwrap();
        assert_eq!((store.len(), store.is_empty(), contents(&store).len()), (0, true, 0));
        store.put("k", "v").unwrap();
        let _ = store.close();
        if bench.has_shadow() {
            assert_eq!(contents(&bench.open()).len(), 1);
        }
    });
}

#[test]
fn len_counts_the_records() {
    with_each_store(|store, _| {
        assert!(store.is_empty());
        for number in 0..100_u32 {
            store.put(number.to_le_bytes(), "v").unwrap();
            store.put(number.to_le_bytes(), "w").unwrap();
            assert_eq!(store.len(), number as usize + 1);
        }
        for number in 0..100_u32 {
            store.delete(number.to_le_bytes()).unwrap();
            store.delete(number.to_le_bytes()).unwrap();
        }
        assert_eq!((store.len(), store.is_empty()), (0, true));
    });
}

// --- Open, close, durability ---------------------------------------------------------------

#[test]
fn after_close_writes_are_refused_reads_are_empty_and_held_records_stay() {
    with_each_bench(|bench| {
        let store = bench.open();
        store.put("k", "v").unwrap();
        let (clone, other) = (store.clone(), store.clone());
        let held = clone.get("k").expect("there");
        let pin = clone.pin();
        let mut scan = clone.scan();
        store.close().unwrap();
        assert_eq!((held.key(), held.value()), (&b"k"[..], &b"v"[..]));
        refused!(other.close(), Error::Closed);
        refused!(clone.put("k", "w"), Error::Closed);
        refused!(clone.put_with("k", "w", &put_at(u64::MAX)), Error::Closed);
        refused!(clone.delete("k"), Error::Closed);
        refused!(clone.delete("absent"), Error::Closed);
        refused!(clone.update("k", |_| Some(Vec::new())), Error::Closed);
        refused!(clone.put_many([("k", "w")]), Error::Batch { done: 0, source }
            if matches!(**source, Error::Closed));
        refused!(clone.flush(), Error::Closed);
        refused!(clone.clear(), Error::Closed);
        refused!(clone.bind_thread(0), Error::Closed);
        assert!(clone.get("k").is_none() && !clone.contains_key("k"));
        assert!(pin.get("k").is_none() && !pin.contains_key("k"));
        assert!(clone.get_many(&["k", "k"]).iter().all(Option::is_none));
        assert!(scan.next().is_none() && clone.scan().next().is_none());
        assert_eq!(held.into_owned().value(), b"v");
    });
}

#[test]
fn close_then_open_in_the_same_process_works() {
    with_each_bench(|bench| {
        for turn in 0..8_u32 {
            let store = bench.open();
            assert_eq!(store.len(), if bench.has_shadow() { turn as usize } else { 0 });
            assert_eq!(store.stats().load.was_clean, bench.has_shadow());
            store.put(turn.to_le_bytes(), "v").unwrap();
            store.close().unwrap();
        }
    });
}

#[test]
fn dropping_the_last_clone_is_as_durable_as_close() {
    with_each_bench(|bench| {
        if !bench.has_shadow() {
            return;
        }
        let store = bench.open();
        let clone = store.clone();
        store.put("k", "v").unwrap();
        drop(store);
        clone.put("l", "w").unwrap();
        drop(clone);
        let place = match &bench.place {
            Place::Disk(disk) => Place::Disk(disk.crash(0)),
            Place::Files(_) | Place::Memory => return,
        };
        let after = Bench { clock: Arc::clone(&bench.clock), config: bench.config.clone(), place };
        let store = after.open();
        assert_eq!((value(&store, "k"), value(&store, "l")), (Some(vec![b'v']), Some(vec![b'w'])));
        assert!(store.stats().load.was_clean);
    });
}

#[test]
fn a_second_open_of_an_open_shadow_is_refused() {
    with_each_bench(|bench| {
        if let Place::Files(_) = &bench.place {
            let store = bench.open();
            refused!(bench.try_open(bench.config.clone()), Error::Locked { .. });
            store.put("k", "v").unwrap();
            store.close().unwrap();
            assert_eq!(value(&bench.open(), "k"), Some(vec![b'v']));
        }
    });
}

#[test]
fn flush_is_a_barrier() {
    with_each_bench(|bench| {
        let store = bench.open_as(bench.config.clone().flush_max_ms(0));
        store.put("k", "v").unwrap();
        store.delete_with("dead", &delete_at(9)).unwrap();
        store.flush().unwrap();
        store.flush().unwrap();
        if let Place::Disk(disk) = &bench.place {
            let place = Place::Disk(disk.crash(0));
            let clock = Arc::clone(&bench.clock);
            let after = Bench { clock, config: bench.config.clone(), place };
            let store = after.open();
            assert_eq!(value(&store, "k"), Some(vec![b'v']));
            assert_eq!((store.stats().tombstones, store.stats().load.was_clean), (1, false));
        }
    });
}

#[test]
fn a_durable_write_is_there_after_a_power_cut_the_moment_it_returned() {
    with_each_bench(|bench| {
        let Place::Disk(disk) = &bench.place else { return };
        let (put, delete) = (PutOptions::new().durable(true), DeleteOptions::new().durable(true));
        for settings in
            [bench.config.clone().flush_max_ms(0), bench.config.clone().commit_to_device(true)]
        {
            let store = bench.open_as(settings);
            for turn in 0..10_u32 {
                let value = turn.to_le_bytes();
                store.put_with("k", value, &put).unwrap();
                store.put_with("gone", value, &put).unwrap();
                assert!(store.delete_with("gone", &delete).unwrap());
                let place = Place::Disk(disk.crash(u64::from(turn)));
                let clock = Arc::clone(&bench.clock);
                let after = Bench { clock, config: bench.config.clone(), place };
                let crashed = after.open();
                assert_eq!(crashed.get("k").expect("durable").value(), value);
                assert!(crashed.get("gone").is_none());
            }
            store.close().unwrap();
        }
    });
}

#[test]
fn durable_without_a_shadow_is_an_error_and_changes_nothing() {
    let bench = &Bench::each()[0];
    let store = bench.open();
    refused!(store.put_with("k", "v", &PutOptions::new().durable(true)), Error::Config { key, .. }
        if key == "durable");
    refused!(store.delete_with("k", &DeleteOptions::new().durable(true)), Error::Config { .. });
    assert!(store.is_empty());
    refused!(bench.try_open(bench.config.clone().commit_to_device(true)), Error::Config { .. });
    store.flush().expect("nothing to do");
}

#[test]
fn an_option_set_to_not_durable_still_waits_under_commit_to_device() {
    let benches = Bench::each();
    let Place::Disk(disk) = &benches[1].place else { panic!("the second is simulated") };
    let settings = benches[1].config.clone().commit_to_device(true).flush_max_ms(0);
    let store = benches[1].open_as(settings);
    store.put("a", "v").unwrap();
    store.put_many([("b", "v"), ("c", "v")]).unwrap();
    store.update("d", |_| Some(Vec::new())).unwrap();
    store.put_with("e", "v", &PutOptions::new().durable(false)).unwrap();
    let place = Place::Disk(disk.crash(0));
    let clock = Arc::clone(&benches[1].clock);
    let after = Bench { clock, config: benches[1].config.clone(), place };
    assert_eq!(contents(&after.open()).len(), 5);
}

// --- Threads -------------------------------------------------------------------------------

#[test]
fn bind_thread_takes_the_stripes_there_are() {
    with_each_store(|store, _| {
        refused!(store.bind_thread(STRIPES as usize), Error::Config { key, .. } if key == "stripe");
        refused!(store.bind_thread(usize::MAX), Error::Config { .. });
        for stripe in 0..STRIPES as usize {
            let outer = store.bind_thread(stripe).unwrap();
            let inner = store.bind_thread(0).unwrap();
            store.put(stripe.to_le_bytes(), "v").unwrap();
            drop(inner);
            store.put(stripe.to_le_bytes(), "w").unwrap();
            drop(outer);
        }
        assert_eq!(store.len(), STRIPES as usize);
    });
}

#[test]
fn a_busy_stripe_takes_the_wblocks_of_its_siblings() {
    with_each_bench(|bench| {
        let store =
            bench.open_as(bench.config.clone().stop_writes_used_pct(0).stop_writes_avail_pct(0));
        let _bound = store.bind_thread(1).unwrap();
        let value = vec![7; value_for(5 * SECTOR_BYTES)];
        let fits = (STRIPES * WBLOCKS - bench.kept_back()) * 3;
        for number in 0..fits {
            store.put(number.to_le_bytes(), &value).unwrap();
        }
        refused!(store.put("one more", &value), Error::OutOfSpace);
        assert_eq!(store.len(), fits as usize);
        assert_eq!(store.stats().free_wblocks, u64::from(bench.kept_back()));
        assert_eq!(store.health(), Health::Ok);
    });
}

#[test]
fn a_full_store_reads_on_and_takes_deletes() {
    with_each_bench(|bench| {
        let store =
            bench.open_as(bench.config.clone().stop_writes_used_pct(0).stop_writes_avail_pct(0));
        let mut random = Random(5);
        let mut expected = BTreeMap::new();
        // The other stripe may have room for a record: a thread on its way from core to core
        // would find it.
        let bound = store.bind_thread(0).unwrap();
        loop {
            let key = random.next().to_le_bytes();
            let value = random.bytes(value_for(2 * SECTOR_BYTES) - 4);
            match store.put(key, &value) {
                Ok(_) => expected.insert(key.to_vec(), value),
                Err(Error::OutOfSpace) => break,
                Err(other) => panic!("{other}"),
            };
        }
        assert_eq!(contents(&store), expected);
        assert_eq!(expected.len(), (STRIPES * WBLOCKS - bench.kept_back()) as usize * 8);
        let first = expected.keys().next().unwrap().clone();
        let newer = vec![8; expected[&first].len()];
        refused!(store.put(&first, &newer), Error::OutOfSpace);
        refused!(store.update(&first, |_| Some(newer.clone())), Error::OutOfSpace);
        assert_eq!(contents(&store), expected, "a refused put changes nothing");
        drop(bound);
        // Small puts between the deletes must not eat what is kept back for deletes.
        for (at, key) in (0_u32..).zip(expected.clone().into_keys()) {
            for small in [!at, !at ^ 1 << 16, !at ^ 1 << 17] {
                let _ = store.put(small.to_le_bytes(), vec![9; 500]).map(|_| {
                    expected.insert(small.to_le_bytes().to_vec(), vec![9; 500]);
                });
            }
            assert!(store.delete(&key).expect("deletes pass"), "delete {at}");
            expected.remove(&key);
        }
        assert_eq!(contents(&store), expected);
        let _ = store.close();
        if bench.has_shadow() {
            assert_eq!(contents(&bench.open()), expected);
        }
    });
}

/// `item` is ambiguous, and so does not compile, for a type that implements the trait asked for.
macro_rules! assert_not {
    ($kind:ty, $trait:path) => {{
        trait AmbiguousIf<A> {
            fn item() {}
        }
        struct Implements;
        impl<T: ?Sized> AmbiguousIf<()> for T {}
        impl<T: ?Sized + $trait> AmbiguousIf<Implements> for T {}
        <$kind as AmbiguousIf<_>>::item();
    }};
}

#[test]
fn what_holds_a_pin_stays_on_its_thread_and_what_owns_its_bytes_may_leave() {
    fn crosses<T: Send + Sync + 'static>() {}
    fn clones<T: Clone>() {}
    assert_not!(Record<'static>, Send);
    assert_not!(Pin<'static>, Send);
    assert_not!(Scan<'static>, Send);
    assert_not!(Binding, Send);
    crosses::<OwnedRecord>();
    crosses::<Store>();
    crosses::<Config>();
    crosses::<Error>();
    clones::<Store>();
}

#[test]
fn what_expired_before_a_crash_stays_dead_by_what_was_written_after() {
    let benches = Bench::each();
    let Place::Disk(disk) = &benches[1].place else { panic!("the second is simulated") };
    let store = benches[1].open();
    store.put_with("k", "v", &PutOptions::new().ttl(Duration::from_micros(100))).unwrap();
    store.flush().unwrap();
    benches[1].at(101);
    assert!(store.get("k").is_none());
    for number in 0..2 * STRIPES {
        store.put(number.to_le_bytes(), vec![7; 40_000]).unwrap();
    }
    store.flush().unwrap();
    let place = Place::Disk(disk.crash(0));
    let clock = Arc::new(ManualClock::new(START_US));
    let after = Bench { clock, config: benches[1].config.clone(), place };
    assert!(after.open().get("k").is_none());
}
