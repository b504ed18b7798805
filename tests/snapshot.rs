//! Snapshots: a copy of a store under traffic opens as a store, holds all that was there before the
//! call or what was written since, and nothing older; a half one is never taken for a store; and
//! what goes wrong leaves nothing behind.
//!
//! `BRINDLE_SEED=S` starts the random runs at S.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod common;

use brindle::testing::{
    Clock, Fault, FaultOn, FileIndex, Harness, ManualClock, SimDisk, snapshot_on,
};
use brindle::{
    Config, DeleteOptions, Error, Health, Progress, PutOptions, SnapshotOptions, SnapshotReport,
    Store, Version,
};
use common::{Random, WBLOCK_BYTES, config, disk};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the clock of a test that turns it starts: microseconds since 1970.
const START_US: u64 = 1_700_000_000_000_000;

/// Value, version and expiry of each key.
type Contents = BTreeMap<Vec<u8>, (Vec<u8>, Version, Option<SystemTime>)>;

fn contents(store: &Store) -> Contents {
    let all = store.scan().map(|record| {
        let read = (record.to_vec(), record.version(), record.expires_at());
        (record.key().to_vec(), read)
    });
    all.collect()
}

/// Opens a snapshot: nothing was rejected, no key is there twice, and all is as was reported.
fn open_copy(config: Config, report: &SnapshotReport) -> Store {
    let store = Store::open(config).unwrap();
    check_load(&store, report);
    store
}

fn check_load(store: &Store, report: &SnapshotReport) {
    let load = store.stats().load;
    assert_eq!(load.rejected, brindle::Rejected::default());
    assert_eq!((load.damaged(), load.superseded), (0, 0));
    assert!(load.was_clean);
    assert_eq!((load.records, load.tombstones), (report.records, report.tombstones));
    assert_eq!(load.read, report.records + report.tombstones);
    assert_eq!(load.bytes, report.bytes);
    let wblock_bytes = u64::from(store.stats().wblock_bytes);
    assert_eq!(load.wblocks * wblock_bytes, report.bytes_written);
}

fn first_seed() -> u64 {
    std::env::var("BRINDLE_SEED").map_or(1, |seed| seed.parse().unwrap())
}

/// What the writers do to one key: its operations are numbered from 1 on.
#[derive(Default)]
struct Track {
    /// Operations that have begun.
    begun: AtomicU64,
    /// Operations that have returned.
    returned: AtomicU64,
}

const KEYS: u64 = 600;

fn name(key: u64) -> Vec<u8> {
    format!("key-{key}").into_bytes()
}

fn mixed(key: u64, turn: u64) -> u64 {
    Random(key << 32 | turn).next()
}

/// Whether operation `turn` deletes the key; 0 is what was before the first.
fn deletes(key: u64, turn: u64) -> bool {
    turn == 0 || mixed(key, turn).is_multiple_of(6)
}

/// Operations on these keys bring a version along: their number.
fn is_versioned(key: u64) -> bool {
    key.is_multiple_of(3)
}

/// The value of operation `turn`, which it tells.
fn value(key: u64, turn: u64) -> Vec<u8> {
    let bytes = usize::try_from(mixed(key, turn) % 2_000).unwrap();
    let mut value = turn.to_le_bytes().to_vec();
    value.extend(Random(turn).bytes(bytes));
    value
}

/// Does operation `turn` to `key`.
fn operate(store: &Store, key: u64, turn: u64) -> brindle::Result<()> {
    match (deletes(key, turn), is_versioned(key)) {
        (false, false) => store.put(name(key), value(key, turn)).map(|_| ()),
        (true, false) => store.delete(name(key)).map(|_| ()),
        (false, true) => {
            let options = PutOptions::new().version(Version::from(turn));
            store.put_with(name(key), value(key, turn), &options).map(|_| ())
        }
        (true, true) => {
            let options = DeleteOptions::new().version(Version::from(turn));
            store.delete_with(name(key), &options).map(|_| ())
        }
    }
}

/// Writes to the keys that are `own` of `of`, until told to stop.
fn write(store: &Store, tracks: &[Track], (own, of): (u64, u64), stop: &AtomicBool) {
    let mut random = Random(first_seed() + own);
    while !stop.load(Ordering::Relaxed) {
        let key = random.below(KEYS / of) * of + own;
        let track = &tracks[usize::try_from(key).unwrap()];
        let turn = track.begun.load(Ordering::Relaxed) + 1;
        track.begun.store(turn, Ordering::Release);
        while let Err(error) = operate(store, key, turn) {
            assert!(
                matches!(error, Error::OutOfSpace | Error::StopWrites { .. } | Error::Overloaded),
                "{error:?}"
            );
        }
        track.returned.store(turn, Ordering::Release);
    }
}

/// Each key of the copy is as one of the operations from `first` to `last` left it.
fn check_keys(copy: &Store, (first, last): (&[u64], &[u64]), may_be_evicted: bool) -> u64 {
    let mut present = 0;
    for (key, (first, last)) in (0..KEYS).zip(first.iter().zip(last)) {
        let Some(record) = copy.get(name(key)) else {
            let is_deleted = (*first..=*last).any(|turn| deletes(key, turn));
            assert!(is_deleted || may_be_evicted, "{key} is gone, {first} to {last}");
            continue;
        };
        let turn = u64::from_le_bytes(record[..8].try_into().unwrap());
        assert!((*first..=*last).contains(&turn), "{key}: {turn}, not {first} to {last}");
        assert!(!deletes(key, turn) && *record == value(key, turn), "{key}: {turn}");
        if is_versioned(key) {
            assert_eq!(record.version(), Version::from(turn), "{key}");
        }
        present += 1;
    }
    present
}

fn snapshots_under_traffic(config: &Config, count: u64, may_be_evicted: bool) {
    let dir = tempfile::tempdir().unwrap();
    let with_shadow = config.clone().shadow_dir(dir.path().join("store"));
    for (kind, config) in [("shadow", with_shadow), ("memory", config.clone())] {
        let store = Store::open(config.clone()).unwrap();
        let tracks: Vec<Track> = (0..KEYS).map(|_| Track::default()).collect();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for own in 0..2 {
                let (store, tracks, stop) = (&store, &tracks, &stop);
                scope.spawn(move || write(store, tracks, (own, 2), stop));
            }
            let read = |of: fn(&Track) -> &AtomicU64| -> Vec<u64> {
                tracks.iter().map(|track| of(track).load(Ordering::Acquire)).collect()
            };
            for number in 0..count {
                std::thread::sleep(Duration::from_millis(100));
                let place = dir.path().join(format!("{kind}-{number}"));
                let first = read(|track| &track.returned);
                let report = store.snapshot(&place);
                let last = read(|track| &track.begun);
                if report.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
                let report = report.unwrap();
                let copy = open_copy(config.clone().shadow_dir(&place), &report);
                let present = check_keys(&copy, (&first, &last), may_be_evicted);
                assert_eq!(present, report.records);
                // It is a store like any other.
                copy.put("later", "more").unwrap();
                copy.close().unwrap();
                assert!(
                    Store::open(config.clone().shadow_dir(&place)).unwrap().get("later").is_some()
                );
            }
            stop.store(true, Ordering::Relaxed);
        });
        let stats = store.stats();
        assert!(stats.reclaim.moved_records > 0, "nothing was moved: {:?}", stats.reclaim);
        assert_eq!(stats.reclaim.evicted > 0, may_be_evicted, "{:?}", stats.reclaim);
    }
}

#[test]
fn a_copy_under_traffic_has_all_that_was_there_before_and_nothing_older() {
    let grace = Duration::from_millis(100);
    let config = config(2, 24).defrag_lwm_pct(70).tombstone_grace(grace);
    snapshots_under_traffic(&config, 4, false);
}

#[test]
fn so_has_the_copy_of_a_cache_while_it_evicts() {
    let config = config(1, 12).evict_used_pct(50).tombstone_grace(Duration::from_millis(100));
    snapshots_under_traffic(&config, 3, true);
}

/// The index grows while it is walked; the keys that were there before are met all the same.
#[test]
fn no_key_is_missed_or_met_twice_while_the_index_grows() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(2, 160);
    let store = Store::open(config.clone()).unwrap();
    let put = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for key in 0..120_000_u64 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                store.put(key.to_le_bytes(), [7; 40]).unwrap();
                put.store(key + 1, Ordering::Release);
                if key % 5 == 0 {
                    // Removed and put again: it may move to another place of its segment.
                    let again = key / 2;
                    store.delete(again.to_le_bytes()).unwrap();
                    store.put(again.to_le_bytes(), [8; 40]).unwrap();
                }
            }
        });
        for number in 0..4 {
            std::thread::sleep(Duration::from_millis(30));
            let there = put.load(Ordering::Acquire);
            let place = dir.path().join(number.to_string());
            let report = store.snapshot(&place).unwrap();
            let copy = open_copy(config.clone().shadow_dir(&place), &report);
            let mut missing = (0..there).filter(|key| !copy.contains_key(key.to_le_bytes()));
            // One may have been between its delete and its put when it was to be met.
            let changed = there.saturating_sub(1) / 2..=put.load(Ordering::Acquire) / 2;
            assert!(missing.all(|key| changed.contains(&key)), "{there} were there, {changed:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_store_in_memory_is_copied_with_versions_expiry_and_remembered_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(START_US));
    let harness = Harness { clock: Some(Arc::<ManualClock>::clone(&clock)), ..Harness::default() };
    let config = config(2, 8);
    let store = harness.open(config.clone()).unwrap();
    let seconds = Duration::from_secs;
    for key in 0..50_u64 {
        let options = PutOptions::new().ttl(seconds(key)).version(Version::from(1_000 + key));
        store.put_with(key.to_le_bytes(), vec![1; 40], &options).unwrap();
    }
    store.put("plain", "").unwrap();
    store.delete("plain").unwrap();
    let remembered = DeleteOptions::new().version(Version::from(70));
    store.delete_with("remembered", &remembered).unwrap();
    let largest = vec![3; WBLOCK_BYTES as usize - 300];
    store.put("largest", &largest).unwrap();
    clock.set(START_US + 20_500_000);
    let before = contents(&store);
    assert_eq!(before.len(), 50 - 20 + 1, "0 is for ever");

    let place = dir.path().join("a/b");
    let report = store.snapshot(&place).unwrap();
    assert_eq!((report.records, report.tombstones), (31, 1));
    assert!(contents(&store) == before, "the source has changed");
    let config = config.shadow_dir(&place);
    let copy = harness.open(config.clone()).unwrap();
    check_load(&copy, &report);
    assert!(contents(&copy) == before);
    let record = copy.get(30_u64.to_le_bytes()).unwrap();
    let expires_at = UNIX_EPOCH + Duration::from_micros(START_US) + seconds(30);
    assert_eq!((record.version(), record.expires_at()), (1_030.into(), Some(expires_at)));
    drop(record);
    let late = PutOptions::new().version(Version::from(69));
    let lost = copy.put_with("remembered", "x", &late);
    assert!(matches!(lost, Err(Error::VersionConflict { .. })), "{lost:?}");
    assert!(copy.put("plain", "again").is_ok());
    copy.delete("plain").unwrap();

    // A copy of the copy, by way of a copy that was changed and closed.
    copy.delete("largest").unwrap();
    copy.close().unwrap();
    let copy = harness.open(config.clone()).unwrap();
    assert!(copy.get("plain").is_none() && copy.get("largest").is_none());
    let place = dir.path().join("second");
    let second_report = copy.snapshot(&place).unwrap();
    let second = harness.open(config.shadow_dir(&place)).unwrap();
    check_load(&second, &second_report);
    assert!(contents(&second) == contents(&copy));
    assert_eq!(second_report.tombstones, 1, "the one that is remembered");
    let (seed_and_id, other) = (place.join("stripe-000.shadow"), dir.path().join("a/b"));
    let other = fs::read(other.join("stripe-000.shadow")).unwrap();
    assert_ne!(fs::read(seed_and_id).unwrap()[24..40], other[24..40], "an id of its own");
    // What has expired stays dead, whatever the clock of the next run says.
    clock.set(START_US);
    second.close().unwrap();
    let early = Arc::new(ManualClock::new(START_US));
    let clock: Option<Arc<dyn Clock>> = Some(early);
    let harness = Harness { clock, ..Harness::default() };
    let second = harness.open(common::config(2, 8).shadow_dir(&place)).unwrap();
    assert!(second.get(20_u64.to_le_bytes()).is_none());
}

#[test]
fn a_store_whose_disk_is_gone_is_copied_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let gone = disk(2, 6);
    let store = Harness::default().open_on(config(2, 6), Arc::new(gone.clone())).unwrap();
    store.put("durable", "1").unwrap();
    store.flush().unwrap();
    for on in [FaultOn::Write, FaultOn::Read, FaultOn::Sync] {
        gone.inject(on, 0, u64::MAX, Fault::Errno(libc::ENODEV));
    }
    store.put("in memory", "2").unwrap();
    assert!(store.flush().is_err());
    assert!(matches!(store.health(), Health::ShadowFailed { .. }));
    let place = dir.path().join("copy");
    let report = store.snapshot(&place).unwrap();
    let copy = open_copy(config(2, 6).shadow_dir(place), &report);
    assert!(contents(&copy) == contents(&store));
    assert_eq!(copy.len(), 2);
}

#[test]
fn a_record_that_is_never_evicted_is_not_in_the_copy_either() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(1, 12)).unwrap();
    let kept = PutOptions::new().never_evict();
    for key in 0..10_u64 {
        store.put_with(key.to_le_bytes(), [1; 100], &kept).unwrap();
    }
    store.snapshot(dir.path().join("copy")).unwrap();
    let config = config(1, 12).evict_used_pct(50).shadow_dir(dir.path().join("copy"));
    let copy = Store::open(config).unwrap();
    for key in 100..5_000_u64 {
        while copy.put(key.to_le_bytes(), [2; 1_000]).is_err() {}
    }
    assert!(copy.stats().reclaim.evicted > 0);
    assert!((0..10_u64).all(|key| copy.contains_key(key.to_le_bytes())));
}

/// Fills half of a store of `wblocks` wblocks; returns the keys.
fn fill(store: &Store, wblocks: u64) -> u64 {
    let keys = wblocks * u64::from(WBLOCK_BYTES) / 2 / 1_100;
    for key in 0..keys {
        store.put(key.to_le_bytes(), vec![5; 1_000]).unwrap();
    }
    keys
}

#[test]
fn space_comes_back_while_a_wblock_is_written_and_the_target_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("copy");
    let config = config(1, 16);
    let store = Store::open(config.clone()).unwrap();
    let keys = fill(&store, 16);
    let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let (writer, target, noted) = (store.clone(), place.clone(), Arc::clone(&seen));
    let options = SnapshotOptions::new().on_progress(move |progress| {
        noted.lock().unwrap().push(*progress);
        // Were the caller pinned, this would run out of space.
        let writer = &writer;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 0..3 * keys {
                    writer.put((turn % keys).to_le_bytes(), vec![6; 1_000]).unwrap();
                }
            });
        });
        let opened = Store::open(common::config(1, 16).shadow_dir(&target));
        assert!(matches!(opened, Err(Error::Locked { .. })), "{opened:?}");
    });
    let report = store.snapshot_with(&place, &options).unwrap();
    drop(options);
    let seen = seen.lock().unwrap();
    assert!(seen.len() as u64 >= report.bytes_written / u64::from(WBLOCK_BYTES), "{seen:?}");
    assert!(seen.is_sorted_by_key(|progress| progress.bytes), "{seen:?}");
    let last = seen.last().unwrap();
    assert_eq!((last.records, last.bytes, last.bytes_total), (keys, report.bytes, report.bytes));
    assert_eq!(open_copy(config.shadow_dir(&place), &report).len() as u64, keys);
}

#[test]
fn a_copy_may_be_larger_and_is_refused_if_it_is_too_small() {
    let dir = tempfile::tempdir().unwrap();
    let (place, bytes) = (dir.path().join("copy"), u64::from(WBLOCK_BYTES));
    let store = Store::open(config(2, 8)).unwrap();
    let keys = fill(&store, 16);
    let before = contents(&store);
    let small = SnapshotOptions::new().data_size(6 * bytes);
    let refused = store.snapshot_with(&place, &small);
    let Err(Error::Config { key, reason }) = &refused else { panic!("{refused:?}") };
    assert!(key == "data_size" && reason.contains("full"), "{reason}");
    assert!(!place.exists(), "what was created is gone");
    let none = store.snapshot_with(&place, &SnapshotOptions::new().data_size(1));
    assert!(matches!(&none, Err(Error::Config { key, .. }) if key == "data_size"), "{none:?}");
    let large = SnapshotOptions::new().data_size(64 * bytes);
    let report = store.snapshot_with(&place, &large).unwrap();
    let copy = open_copy(Config::new().prefault(false).shadow_dir(&place), &report);
    assert_eq!(copy.stats().data_size_bytes, 64 * bytes);
    assert!(contents(&copy) == before);
    for key in keys..4 * keys {
        copy.put(key.to_le_bytes(), vec![9; 1_000]).unwrap();
    }
    assert_eq!(copy.len() as u64, 4 * keys);
}

/// What lies in `dir`, by name.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let read = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    entries.map(read).collect()
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own");
    let store = Store::open(config(2, 8).flush_max_ms(0).shadow_dir(&own)).unwrap();
    fill(&store, 16);
    store.flush().unwrap();
    let before = files(&own);
    let refused = |place: &Path, words: &str| {
        let refused = store.snapshot(place);
        let Err(error @ Error::NotEmpty { .. }) = &refused else { panic!("{refused:?}") };
        let message = error.to_string();
        assert!(message.contains(words) && message.contains(place.to_str().unwrap()), "{message}");
    };
    refused(&own, "this very store");
    refused(&dir.path().join("own/../own"), "this very store");
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter"), "to my aunt").unwrap();
    refused(&other, "`letter`");
    refused(&other.join("letter"), "no directory");
    assert_eq!(files(&other).len(), 1);
    // No place for a directory.
    let failed = store.snapshot(other.join("letter/below"));
    assert!(matches!(failed, Err(Error::Io { .. } | Error::NotEmpty { .. })), "{failed:?}");
    assert!(files(&own) == before, "the source was touched");

    // An empty directory will do, and the second copy is refused there.
    let place = dir.path().join("empty");
    fs::create_dir(&place).unwrap();
    let report = store.snapshot(&place).unwrap();
    let copied = files(&place);
    refused(&place, "stripe-00");
    assert!(files(&place) == copied && files(&own) == before);
    assert_eq!(open_copy(config(2, 8).shadow_dir(&place), &report).len(), store.len());
    store.clone().close().unwrap();
    let closed = store.snapshot(dir.path().join("late"));
    assert!(matches!(closed, Err(Error::Closed)) && !dir.path().join("late").exists());
}

#[test]
fn a_store_that_is_closed_meanwhile_leaves_no_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(config(1, 16)).unwrap();
    fill(&store, 16);
    let closing = store.clone();
    let options = SnapshotOptions::new().on_progress(move |_| _ = closing.clone().close());
    let place = dir.path().join("copy");
    let cut = store.snapshot_with(&place, &options);
    assert!(matches!(cut, Err(Error::Closed)), "{cut:?}");
    assert!(!place.exists());
}

/// A store in memory of 2 stripes, with so many keys that a copy takes several wblocks.
fn small_store() -> Store {
    let store = Store::open(config(2, 6)).unwrap();
    for key in 0..150_u64 {
        store.put(key.to_le_bytes(), key.to_le_bytes().repeat(190)).unwrap();
    }
    store
}

fn open_on(disk: &SimDisk) -> brindle::Result<Store> {
    Harness::default().open_on(config(2, 6), Arc::new(disk.clone()))
}

#[test]
fn wherever_the_power_is_cut_the_copy_is_refused_or_whole() {
    let store = small_store();
    let before = contents(&store);
    let disk = disk(2, 6);
    let report = snapshot_on(&store, Arc::new(disk.clone()), &SnapshotOptions::new()).unwrap();
    let [mut blank, mut refused, mut whole] = [0; 3];
    for point in 0..=disk.crash_points() {
        for seed in first_seed()..first_seed() + 24 {
            match open_on(&disk.crash_at(point, seed)) {
                Err(Error::NotAShadow { found, .. }) => {
                    assert!(found.contains("unfinished") || found.contains("damaged"), "{found}");
                    refused += 1;
                }
                Err(other) => panic!("{point}, {seed}: {other:?}"),
                Ok(copy) if copy.is_empty() => {
                    assert_eq!(whole, 0, "{point}, {seed}");
                    blank += 1;
                }
                Ok(copy) => {
                    assert!(contents(&copy) == before, "{point}, {seed}");
                    assert_eq!(copy.stats().load.damaged(), 0, "{point}, {seed}");
                    whole += 1;
                }
            }
        }
    }
    // Before the first superblock is durable there is nothing there, as before the call.
    assert!(refused > 100 && whole >= 24, "{blank} blank, {refused} refused, {whole} whole");
    let copy = open_on(&disk).unwrap();
    check_load(&copy, &report);
}

#[test]
fn a_disk_that_is_full_or_fails_at_any_moment_is_told_and_leaves_no_half_copy() {
    let store = small_store();
    let before = contents(&store);
    let faults = [(FaultOn::Write, libc::ENOSPC), (FaultOn::Sync, libc::EIO)];
    for (on, errno) in faults {
        let (mut failed, mut whole) = (0, 0);
        for skip in 0.. {
            let disk = disk(2, 6);
            disk.inject(on, skip, u64::MAX, Fault::Errno(errno));
            let copied = snapshot_on(&store, Arc::new(disk.clone()), &SnapshotOptions::new());
            let Err(error) = copied else { break };
            let Error::Io { source, .. } = &error else { panic!("{error:?}") };
            assert_eq!(source.raw_os_error(), Some(errno));
            disk.clear_faults();
            let is_blank = (0..2).all(|file| disk.image(FileIndex(file)).iter().all(|at| *at == 0));
            match open_on(&disk) {
                Err(Error::NotAShadow { .. }) => assert!(!is_blank),
                Ok(copy) if is_blank => assert!(copy.is_empty()),
                // Only the second superblocks are missing. Of files, none would be left.
                Ok(copy) => {
                    assert!(contents(&copy) == before, "{on:?} {skip}");
                    whole += 1;
                }
                Err(other) => panic!("{on:?} {skip}: {other:?}"),
            }
            failed += 1;
        }
        assert!(failed > 4 && whole <= 2, "{on:?}: {failed} failed, {whole} whole");
    }
    assert!(contents(&store) == before);
    let used = disk(2, 6);
    snapshot_on(&store, Arc::new(used.clone()), &SnapshotOptions::new()).unwrap();
    let again = snapshot_on(&store, Arc::new(used), &SnapshotOptions::new());
    assert!(matches!(again, Err(Error::NotEmpty { .. })), "{again:?}");
}
