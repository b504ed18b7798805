//! A shadow that refuses writes and syncs, for a while or for good: nothing acknowledged as durable
//! is ever lost, nothing is acknowledged while it is not known what is durable, reads go on, and
//! when the faults end so does the trouble.
//!
//! A store runs on the simulated disk, with its pump and its reclaimers in the test's hands, while
//! writes and syncs fail, once, some times or for good, are cut short, interrupted or put off.
//! Every event of the disk's log is a crash point, as in `crash_sim`. Then come the stalls, on real
//! threads: what has a deadline, and what goes on.
//!
//! `BRINDLE_CRASH_STATES=N` checks about N states in each test; `BRINDLE_SEED=S` starts at run S.
//! A failure prints the run, and how to replay it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

mod common;
#[expect(dead_code, reason = "nothing expires here")]
#[path = "common/oracle.rs"]
mod oracle;

use brindle::testing::{
    Backend, BlockIo, Clock, Completion, Fault, FaultOn, FileIndex, Harness, ManualClock, Members,
    Op, OpenedIo, Prefer, Pump, Reclaimer, Round, SimConfig, SimDisk,
};
use brindle::{Config, Error, Health, PutOptions, Store, Version};
use common::{Random, config, disk};
use oracle::{Contents, Life, Log, contents};
use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Where the clock starts: microseconds since 1970.
const START_US: u64 = 1_700_000_000_000_000;
const KEYS: u64 = 12;
const WBLOCKS: u32 = 8;
/// Before the first fault, and of no consequence for a crash: so that space comes back later.
const CALLS_BEFORE: u64 = 220;
const CALLS: u64 = 60;

fn name(key: u64) -> Vec<u8> {
    format!("key-{key}").into_bytes()
}

/// What happened in the runs of a test: all of it must, or the test says nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    heals: u64,
    failures: u64,
    recoveries: u64,
    refused_puts: u64,
    freed: u64,
}

struct Run {
    config: Config,
    disk: SimDisk,
    store: Store,
    pump: Pump,
    reclaimers: Vec<Reclaimer>,
    log: Log,
    random: Random,
    time_us: u64,
    tally: Tally,
}

fn open(disk: &SimDisk, config: &Config, time_us: u64) -> (Store, Pump, Vec<Reclaimer>) {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(time_us));
    let harness = Harness { clock: Some(clock), ..Harness::default() };
    harness.open_driven(config.clone(), Arc::new(disk.clone())).expect("opens")
}

/// The store's word on its shadow.
fn has_failed(store: &Store) -> bool {
    matches!(store.health(), Health::ShadowFailed { .. })
}

impl Run {
    fn new(stripes: u32, lazy_sync: bool, seed: u64) -> Self {
        let mut random = Random(seed);
        // As many in all, about: so that space has to come back.
        let wblocks = if stripes == 1 { WBLOCKS } else { WBLOCKS / 2 };
        let blank = disk(stripes, wblocks);
        let images = (0..stripes).map(|file| blank.image(FileIndex(file))).collect();
        let order_seed = (random.below(2) == 0).then_some(seed);
        let disk = SimDisk::from_images(images, SimConfig { order_seed, ..SimConfig::default() });
        let config = config(stripes, wblocks)
            .disable_odsync(lazy_sync)
            .flush_size(4096 << random.below(5))
            .defrag_lwm_pct(60);
        let (store, pump, reclaimers) = open(&disk, &config, START_US);
        let log = Log::new((0..KEYS).map(name), &Contents::new());
        let (time_us, tally) = (START_US, Tally::default());
        Self { config, disk, store, pump, reclaimers, log, random, time_us, tally }
    }

    fn step(&mut self) {
        let stripes = u64::from(self.store.stats().stripes);
        let stripe = usize::try_from(self.random.below(stripes)).unwrap();
        let store = self.store.clone();
        let bound = store.bind_thread(stripe).ok();
        let key = name(self.random.below(KEYS));
        match self.random.below(24) {
            0..=9 => self.put(&key),
            10 => self.delete(&key),
            11..=14 => self.poll(),
            15..=17 => self.reclaimers.iter_mut().for_each(|one| {
                (0..30).for_each(|_| _ = one.poll());
            }),
            18 | 19 => self.barrier(),
            20 | 21 => self.plan_fault(),
            22 => self.disk.clear_faults(),
            _ => {
                let log = self.log.current(self.time_us);
                assert_eq!(contents(&self.store), log, "memory says what was written");
            }
        }
        drop(bound);
    }

    fn put(&mut self, key: &[u8]) {
        let bytes = usize::try_from(self.random.below(9_000)).unwrap();
        let value = self.random.bytes(bytes);
        match self.store.put(key, &value) {
            Ok(version) => {
                let life = Life { value, version, expires_us: None };
                self.log.note(key, self.disk.crash_points(), Some(life));
            }
            Err(error) => self.refused(&error),
        }
    }

    fn delete(&mut self, key: &[u8]) {
        match self.store.delete(key) {
            Ok(_) => self.log.note(key, self.disk.crash_points(), None),
            Err(error) => self.refused(&error),
        }
    }

    fn refused(&mut self, error: &Error) {
        if matches!(error, Error::ShadowFailed { .. }) {
            assert!(has_failed(&self.store), "the store is well and says {error}");
            self.tally.refused_puts += 1;
            return;
        }
        assert!(matches!(error, Error::OutOfSpace | Error::StopWrites { .. }), "{error:?}");
    }

    fn poll(&mut self) {
        let had_failed = has_failed(&self.store);
        let due = self.random.below(2) == 0;
        let polled = self.pump.poll(due);
        assert_eq!(polled.is_err(), has_failed(&self.store), "the store knows");
        self.tally.failures += u64::from(polled.is_err() && !had_failed);
        self.tally.recoveries += u64::from(polled.is_ok() && had_failed);
    }

    fn barrier(&mut self) {
        let covered = self.log.writes();
        let had_failed = has_failed(&self.store);
        if self.pump.barrier().is_ok() {
            assert!(!has_failed(&self.store));
            self.log.note_barrier(covered, self.disk.crash_points());
            self.tally.recoveries += u64::from(had_failed);
        } else {
            assert!(has_failed(&self.store));
            self.tally.failures += u64::from(!had_failed);
        }
    }

    /// All is durable, and no crash before is of interest.
    fn begin(&mut self) {
        (0..CALLS_BEFORE).for_each(|_| self.step());
        self.disk.clear_faults();
        self.barrier();
        self.disk.forget_past();
        self.log = self.log.rebased();
    }

    /// A write or a sync that goes wrong soon, a few times or for as long as it is not cleared.
    fn plan_fault(&mut self) {
        let times = [1, 1, 2, 3, 5, u64::MAX][usize::try_from(self.random.below(6)).unwrap()];
        let (on, fault) = match self.random.below(9) {
            0 => (FaultOn::Write, Fault::Errno(libc::EIO)),
            1 => (FaultOn::Write, Fault::Errno(libc::ENOSPC)),
            2 => (FaultOn::Write, Fault::Errno(libc::ENXIO)),
            3 => {
                (FaultOn::Write, Fault::Short(512 * usize::try_from(self.random.below(9)).unwrap()))
            }
            4 => (FaultOn::Sync, Fault::Errno(libc::ENOSPC)),
            5 => (FaultOn::Sync, Fault::Errno(libc::EINTR)),
            6..=7 => (FaultOn::Sync, Fault::Errno(libc::EIO)),
            _ => {
                // Tried again at once, and so not for good.
                let errno = [libc::EINTR, libc::EAGAIN, libc::EBUSY];
                let errno = errno[usize::try_from(self.random.below(3)).unwrap()];
                self.disk.inject(FaultOn::Write, self.random.below(3), 4, Fault::Errno(errno));
                return;
            }
        };
        self.disk.inject(on, self.random.below(4), times, fault);
    }

    /// The faults end, and so does the trouble.
    fn recover(&mut self) {
        self.disk.clear_faults();
        self.barrier();
        assert_eq!(self.store.health(), Health::Ok, "the faults are over");
        self.put(&name(0));
        assert_eq!(contents(&self.store), self.log.current(self.time_us));
        let stats = self.store.stats();
        self.tally.heals += stats.io.expect("a shadow").heals;
        self.tally.freed += stats.reclaim.freed_wblocks;
        let mismatches = self.store.audit().mismatches;
        assert!(mismatches.is_empty(), "{mismatches:?}");
    }

    /// Cuts the power at every event. How many states that made.
    fn check(&mut self, replay: &str) -> u64 {
        let points = self.disk.crash_points();
        for point in 0..=points {
            let seed = (self.random.below(1 << 20) << 3) + self.random.below(8);
            let crashed = self.disk.crash_at(point, seed);
            let (store, ..) = open(&crashed, &self.config, self.time_us);
            let found = contents(&store);
            let checked = self.log.check(&found, point, self.time_us);
            checked.unwrap_or_else(|wrong| panic!("{replay}, cut at {point}, {seed}: {wrong}"));
            let load = store.stats().load;
            assert_eq!(load.damaged(), 0, "{replay}, cut at {point}, {seed}: {:?}", load.rejected);
        }
        points as u64 + 1
    }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn check_faults(stripes: u32, lazy_sync: bool, states: u64) {
    let states = from_env("BRINDLE_CRASH_STATES").unwrap_or(states);
    let first = from_env("BRINDLE_SEED").unwrap_or(1);
    let (mut checked, mut seed) = (0, first);
    let mut all = Tally::default();
    while checked < states {
        let replay = format!("BRINDLE_SEED={seed} BRINDLE_CRASH_STATES=1 ({stripes} stripes)");
        println!("{replay}");
        let mut run = Run::new(stripes, lazy_sync, seed);
        run.begin();
        (0..CALLS).for_each(|_| run.step());
        run.recover();
        checked += run.check(&replay);
        all.heals += run.tally.heals;
        all.failures += run.tally.failures;
        all.recoveries += run.tally.recoveries;
        all.refused_puts += run.tally.refused_puts;
        all.freed += run.tally.freed;
        seed += 1;
    }
    println!("{checked} crash states, seeds {first} to {}: {all:?}", seed - 1);
    if from_env("BRINDLE_CRASH_STATES").is_none() {
        let least = [all.heals, all.failures, all.recoveries, all.refused_puts, all.freed];
        assert!(least.iter().all(|count| *count >= 2), "{all:?}");
    }
}

#[test]
fn nothing_durable_is_lost_whatever_write_or_sync_fails() {
    check_faults(1, false, 1_000);
}

#[test]
fn nothing_durable_is_lost_where_one_of_several_files_fails() {
    check_faults(3, false, 1_300);
}

#[test]
fn nothing_durable_is_lost_where_only_barriers_sync() {
    check_faults(1, true, 1_000);
}

/// A store of one stripe with a pump, and a record in it that is not durable.
fn with_one_record() -> (SimDisk, Store, Pump) {
    let disk = disk(1, 6);
    let (store, pump, _) = open(&disk, &config(1, 6), START_US);
    store.put("key", "value").unwrap();
    (disk, store, pump)
}

/// What a cold start finds of the record, whatever of the unsynced sectors survives.
fn survives(disk: &SimDisk) -> bool {
    (0..16).all(|seed| {
        let (store, ..) = open(&disk.crash(seed), &config(1, 6), START_US);
        store.get("key").is_some_and(|record| &*record == b"value")
    })
}

#[test]
fn after_a_failed_sync_a_good_one_alone_is_not_believed() {
    let (disk, store, mut pump) = with_one_record();
    disk.inject(FaultOn::Sync, 0, 1, Fault::Errno(libc::EIO));
    let written = disk.crash_points();
    assert_eq!(pump.poll(true).unwrap(), Round::Healing);
    assert!(!survives(&disk), "the system has dropped it");
    pump.barrier().unwrap();
    assert!(survives(&disk), "written again, and synced");
    assert!(disk.crash_points() > written);
    let io = store.stats().io.unwrap();
    assert_eq!((io.heals, io.write_errors), (1, 1));
    assert_eq!(store.health(), Health::Ok);
}

#[test]
fn a_superblock_whose_sync_fails_casts_doubt_on_the_records_of_its_file() {
    // The sync that fails is that of a superblock; it takes along what the flusher has written.
    let disk = disk(1, 6);
    let clock = Arc::new(ManualClock::new(START_US));
    let told: Arc<dyn Clock> = Arc::clone(&clock) as _;
    let harness = Harness { clock: Some(told), ..Harness::default() };
    let config = config(1, 6).disable_odsync(true);
    let opened = harness.open_driven(config, Arc::new(disk.clone()));
    let (store, mut pump, _reclaimers) = opened.unwrap();
    store.put("key", "value").unwrap();
    store.put_with("mortal", "x", &PutOptions::new().ttl(Duration::from_micros(10))).unwrap();
    clock.set(START_US + 20);
    pump.poll(true).unwrap();
    assert!(!survives(&disk), "written, and not synced");
    disk.inject(FaultOn::Sync, 0, 1, Fault::Errno(libc::EIO));
    std::thread::scope(|scope| {
        // Something has expired: the clock floor is raised.
        let flush = scope.spawn(|| store.flush());
        while !flush.is_finished() {
            pump.poll(false).unwrap();
        }
        flush.join().unwrap().unwrap();
    });
    assert!(survives(&disk));
}

#[test]
fn a_disk_that_is_full_serves_reads_and_recovers_when_it_has_space() {
    let (disk, store, mut pump) = with_one_record();
    disk.inject(FaultOn::Write, 0, u64::MAX, Fault::Errno(libc::ENOSPC));
    for _ in 0..3 {
        assert_eq!(pump.poll(true).unwrap(), Round::Healing);
        store.put("meanwhile", "memory takes it").unwrap();
    }
    pump.poll(true).unwrap_err();
    let Health::ShadowFailed { path, reason } = store.health() else { panic!("it has failed") };
    assert_eq!(path.to_str(), Some("sim/0"));
    assert!(reason.contains("space"), "{reason}");
    for refused in
        [store.put("late", "x").map(|_| ()), store.flush(), store.delete("key").map(|_| ())]
    {
        let Err(error @ Error::ShadowFailed { .. }) = refused else { panic!("{refused:?}") };
        assert!(error.is_retryable(), "space may come back");
    }
    assert_eq!(store.get("key").as_deref(), Some(&b"value"[..]));
    assert!(store.get("meanwhile").is_some());
    pump.poll(true).unwrap_err();
    disk.clear_faults();
    pump.poll(true).unwrap();
    assert_eq!(store.health(), Health::Ok);
    store.put("late", "x").unwrap();
    pump.barrier().unwrap();
    assert!(survives(&disk));
}

#[test]
fn who_waits_for_durability_is_told_that_it_failed() {
    let (disk, store, mut pump) = with_one_record();
    disk.inject(FaultOn::Sync, 0, u64::MAX, Fault::Errno(libc::EIO));
    let durable = PutOptions::new().durable(true);
    std::thread::scope(|scope| {
        let put = scope.spawn(|| store.put_with("key", "newer", &durable));
        while !put.is_finished() {
            let _ = pump.poll(false);
        }
        let put = put.join().unwrap();
        assert!(matches!(put, Err(Error::ShadowFailed { .. })), "{put:?}");
    });
    assert_eq!(store.get("key").as_deref(), Some(&b"newer"[..]), "in no promise, and in memory");
}

#[test]
fn a_write_that_makes_no_progress_twice_is_an_error_and_a_short_one_is_none() {
    let (disk, store, mut pump) = with_one_record();
    disk.inject(FaultOn::Write, 0, 2, Fault::Short(0));
    assert_eq!(pump.poll(true).unwrap(), Round::Healing);
    disk.inject(FaultOn::Write, 0, 1, Fault::Short(512));
    pump.barrier().unwrap();
    assert!(survives(&disk));
    let io = store.stats().io.unwrap();
    assert_eq!((io.short_writes, io.write_errors, io.heals), (3, 1, 1));
}

/// A disk whose first back end is lost after some operations, as a ring that the kernel lets in no
/// more.
#[derive(Debug)]
struct Losing {
    disk: SimDisk,
    opened: AtomicU32,
}

#[derive(Debug)]
struct Lost {
    inner: Box<dyn BlockIo>,
    left: u32,
}

impl BlockIo for Lost {
    fn backend(&self) -> Backend {
        self.inner.backend()
    }

    fn in_flight_max(&self) -> usize {
        self.inner.in_flight_max()
    }

    fn is_lost(&self) -> bool {
        self.left == 0
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding()
    }

    fn submit(&mut self, token: u64, op: Op) -> io::Result<()> {
        if self.left == 0 {
            return Err(io::Error::from_raw_os_error(libc::EBADR));
        }
        self.left -= 1;
        self.inner.submit(token, op)
    }

    fn complete(&mut self, wait: bool, done: &mut Vec<Completion>) -> io::Result<()> {
        self.inner.complete(wait, done)
    }
}

impl Members for Losing {
    fn count(&self) -> u32 {
        self.disk.count()
    }

    fn bytes(&self, file: FileIndex) -> io::Result<u64> {
        self.disk.bytes(file)
    }

    fn read_at(&self, file: FileIndex, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.disk.read_at(file, offset, into)
    }

    fn write_at(&self, file: FileIndex, offset: u64, from: &[u8]) -> io::Result<()> {
        self.disk.write_at(file, offset, from)
    }

    fn sync(&self, file: FileIndex) -> io::Result<()> {
        self.disk.sync(file)
    }

    fn path(&self, file: FileIndex) -> &Path {
        self.disk.path(file)
    }

    fn is_direct(&self, file: FileIndex) -> bool {
        self.disk.is_direct(file)
    }

    fn io(&self, region: Option<(NonNull<u8>, usize)>, prefer: Prefer) -> OpenedIo {
        let opened = self.disk.io(region, prefer);
        if self.opened.fetch_add(1, Ordering::Relaxed) > 0 {
            return opened;
        }
        // The headers are read, and one write goes through.
        OpenedIo { io: Box::new(Lost { inner: opened.io, left: 6 + 1 }), ..opened }
    }
}

#[test]
fn a_back_end_that_is_lost_is_replaced() {
    let losing = Losing { disk: disk(1, 6), opened: AtomicU32::new(0) };
    let (disk, members) = (losing.disk.clone(), Arc::new(losing));
    let (store, mut pump) = Harness::default().open_pumped(config(1, 6), members.clone()).unwrap();
    store.put("key", "value").unwrap();
    assert_eq!(pump.poll(true).unwrap(), Round::Healing, "the sync is refused");
    pump.barrier().unwrap();
    assert_eq!(members.opened.load(Ordering::Relaxed), 2);
    assert_eq!(store.health(), Health::Ok);
    assert!(survives(&disk));
}

/// A store with threads on a disk whose syncs hang, with one record in it.
fn stalled(config: Config) -> (SimDisk, Store) {
    let disk = disk(1, 6);
    let harness = Harness { reclaims: false, ..Harness::default() };
    let store = harness.open_on(config, Arc::new(disk.clone())).unwrap();
    disk.inject(FaultOn::Sync, 0, u64::MAX, Fault::Stall);
    store.put("key", "value").unwrap();
    (disk, store)
}

fn impatient() -> Config {
    let soon = Duration::from_millis(20);
    config(1, 6).flush_deadline(soon).close_deadline(soon).flush_max_ms(1)
}

#[test]
fn flush_and_close_have_deadlines_while_a_device_stalls() {
    let (disk, store) = stalled(impatient());
    let late = store.flush().unwrap_err();
    let Error::DeadlinePassed { key, waited_ms: 20, pending_bytes, reason, path } = &late else {
        panic!("{late:?}");
    };
    assert_eq!((*key, path.to_str()), ("flush_deadline", Some("simulated-0")));
    assert!(*pending_bytes > 0 && reason.contains("not answered"), "{late}");
    assert!(late.is_retryable());
    let durable = PutOptions::new().durable(true);
    let put = store.put_with("key", "newer", &durable);
    assert!(matches!(put, Err(Error::DeadlinePassed { .. })), "{put:?}");
    store.put("other", "memory takes it").unwrap();
    assert_eq!(store.get("key").as_deref(), Some(&b"newer"[..]));
    assert_eq!(store.health(), Health::Ok, "slow is not broken");

    let held = store.get("key").unwrap().into_owned();
    let closed = store.clone().close();
    let is_late = matches!(closed, Err(Error::DeadlinePassed { key: "close_deadline", .. }));
    assert!(is_late, "{closed:?}");
    assert!(matches!(store.put("key", "x"), Err(Error::Closed)));
    assert_eq!(&*held, b"newer");
    drop((store, held));

    // The device answers at last: what was left behind goes on to the end.
    disk.clear_faults();
    disk.release();
    let is_clean = || {
        let (store, ..) = open(&disk.crash(0), &config(1, 6), START_US);
        store.stats().load.was_clean && store.get("other").is_some()
    };
    while !is_clean() {
        std::thread::yield_now();
    }
}

#[test]
fn puts_wait_for_a_stalled_device_only_when_the_write_cache_is_full() {
    let config = impatient().max_write_cache(64 << 10).overload_wait(Duration::ZERO);
    let (disk, store) = stalled(config.stop_writes_avail_pct(0));
    let value = vec![7; 20_000];
    let mut taken = 0_u64;
    let refused = loop {
        match store.put(taken.to_le_bytes(), &value) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Overloaded), "{refused:?} after {taken}");
    assert!(taken >= 4, "{taken}");
    assert!((0..taken).all(|key| store.get(key.to_le_bytes()).is_some_and(|got| *got == value)));
    disk.clear_faults();
    disk.release();
    while store.flush().is_err() {}
    store.put("after", "x").unwrap();
    store.close().unwrap();
    let (store, ..) = open(&disk.crash(0), &common::config(1, 6), START_US);
    assert_eq!(store.len() as u64, taken + 2);
}

#[test]
fn closing_a_store_whose_shadow_has_failed_says_so_and_ends() {
    let disk = disk(1, 6);
    let harness = Harness::default();
    let store = harness.open_on(config(1, 6), Arc::new(disk.clone())).unwrap();
    store.put_with("key", "value", &PutOptions::new().durable(true)).unwrap();
    disk.inject(FaultOn::Write, 0, u64::MAX, Fault::Errno(libc::EIO));
    disk.inject(FaultOn::Sync, 0, u64::MAX, Fault::Errno(libc::EIO));
    store.put_with("key", "lost", &PutOptions::new().version(Version::from(u64::MAX))).unwrap();
    let flushed = store.flush();
    assert!(matches!(flushed, Err(Error::ShadowFailed { .. })), "{flushed:?}");
    assert!(has_failed(&store));
    let closed = store.close();
    assert!(matches!(closed, Err(Error::ShadowFailed { .. })), "{closed:?}");
    let (store, ..) = open(&disk.crash(0), &common::config(1, 6), START_US);
    assert_eq!(store.get("key").as_deref(), Some(&b"value"[..]));
}
