//! What a store promises on a disk that fails and lies, from a seed.
//!
//! - *Short, late, interrupted operations*: everything holds; they show in counters alone.
//! - *Writes and syncs that fail*: what a barrier has acknowledged is there after any crash.
//! - *One write lost or misdirected*: after an orderly close, what is not as it was put is absent
//!   or older, and the next open counts damage.
//! - *Any number of them, and lying syncs*: nothing is read that was not put under its key; no
//!   panic.
//! - *Reads that fail*: the open fails, and nothing was written.
//! - *A wblock or superblock as it was before*: found and counted; nothing of the wblock loads, and
//!   no sequence is handed out twice.
//!
//! After a crash nobody can know that a sync had lied: what it acknowledged may be lost without a
//! word, and what was deleted since may be back.
//!
//! `BRINDLE_FAULT_RUNS=N` makes N runs in each test; `BRINDLE_SEED=S` starts at run S. A failure
//! prints the run.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "helpers of tests"
)]

mod common;
#[expect(dead_code, reason = "nothing expires here")]
#[path = "common/oracle.rs"]
mod oracle;

use brindle::testing::{
    Clock, Fault, FaultOn, FileIndex, Harness, ManualClock, Pump, Reclaimer, SimConfig, SimDisk,
};
use brindle::{Config, Error, Rejected, Store, Version};
use common::{Random, WBLOCK_BYTES, config, disk};
use oracle::{Contents, Life, Log, contents};
use std::sync::Arc;
use std::time::Duration;

/// Where the clock starts: microseconds since 1970.
const START_US: u64 = 1_700_000_000_000_000;
const WBLOCKS: u32 = 10;
const KEYS: u64 = 8;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All calls were made.
    Whole,
    /// The shadow failed.
    Failed,
}

/// A store on a faulty disk, what drives it, and what was written to it.
struct Run {
    config: Config,
    disk: SimDisk,
    store: Store,
    pump: Pump,
    reclaimers: Vec<Reclaimer>,
    log: Log,
    /// Of the time before `log`: what it says can be back where the disk lies.
    past: Log,
    random: Random,
}

fn harness() -> Harness {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START_US));
    Harness { clock: Some(clock), ..Harness::default() }
}

fn open(disk: &SimDisk, config: &Config) -> brindle::Result<(Store, Pump)> {
    harness().open_bare(config.clone(), Arc::new(disk.clone()))
}

fn keys() -> impl Iterator<Item = Vec<u8>> {
    (0..KEYS).map(|key| format!("key-{key}").into_bytes())
}

impl Run {
    /// A run on a sound disk, with a past: some wblocks were reused, and it was closed once.
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let blank = disk(1, WBLOCKS);
        let order_seed = (random.below(2) == 0).then_some(seed);
        let shape = SimConfig { order_seed, ..SimConfig::default() };
        let disk = SimDisk::from_images(vec![blank.image(FileIndex(0))], shape);
        let config = config(1, WBLOCKS)
            .flush_size(4096 << random.below(4))
            .sweep_interval(Duration::from_millis(1))
            .tombstone_grace(Duration::ZERO)
            .defrag_lwm_pct(60)
            .defrag_sleep(Duration::ZERO)
            .stop_writes_used_pct(0)
            .stop_writes_avail_pct(0);
        let mut run = Self::open(disk, config, random, &Contents::new());
        assert_eq!(run.go_on(60), End::Whole, "a sound disk");
        assert!(run.barrier());
        let Self { config, disk, store, pump, reclaimers, random, log: past, .. } = run;
        let found = contents(&store);
        store.close().unwrap();
        drop(reclaimers);
        pump.close();
        disk.forget_past();
        Self { past, ..Self::open(disk, config, random, &found) }
    }

    fn open(disk: SimDisk, config: Config, random: Random, found: &Contents) -> Self {
        let opened = harness().open_driven(config.clone(), Arc::new(disk.clone()));
        let (store, pump, reclaimers) = opened.expect("a sound disk");
        let log = Log::new(keys(), found);
        Self { config, disk, store, pump, reclaimers, log, past: Log::default(), random }
    }

    fn go_on(&mut self, calls: u64) -> End {
        for _ in 0..calls {
            let key = format!("key-{}", self.random.below(KEYS)).into_bytes();
            let end = match self.random.below(12) {
                0 => self.barrier(),
                1 => self.pump.poll(self.random.below(2) == 0).is_ok(),
                2 | 3 => {
                    for _ in 0..20 {
                        self.reclaimers.iter_mut().for_each(|reclaimer| _ = reclaimer.poll());
                    }
                    true
                }
                4 | 5 => {
                    let deleted = self.store.delete(&key).map(|_| Version::default());
                    self.wrote(&key, deleted, None)
                }
                _ => {
                    let bytes = self.random.below(9_000) as usize;
                    let value = self.random.bytes(bytes);
                    let put = self.store.put(&key, &value);
                    self.wrote(&key, put, Some(value))
                }
            };
            if !end {
                return End::Failed;
            }
        }
        End::Whole
    }

    /// False: the shadow has failed.
    fn wrote(
        &mut self,
        key: &[u8],
        result: brindle::Result<Version>,
        value: Option<Vec<u8>>,
    ) -> bool {
        match result {
            Ok(version) => {
                let seen = value.map(|value| Life { value, version, expires_us: None });
                self.log.note(key, self.disk.crash_points(), seen);
                true
            }
            Err(Error::OutOfSpace) => true,
            Err(Error::ShadowFailed { .. }) => false,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn barrier(&mut self) -> bool {
        let covered = self.log.writes();
        let is_done = self.pump.barrier().is_ok();
        if is_done {
            self.log.note_barrier(covered, self.disk.crash_points());
        }
        is_done
    }

    /// Nothing but what was put under its key.
    fn check_written(&self, found: &Contents) -> Result<(), String> {
        check_written([&self.log, &self.past], found)
    }
}

fn check_written(logs: [&Log; 2], found: &Contents) -> Result<(), String> {
    for (key, life) in found {
        let is_in = |log: &&Log| log.has_key(key) && log.was_written(key, Some(life));
        if !logs.iter().any(is_in) {
            return Err(format!("{} reads as {life:?}, never put", key.escape_ascii()));
        }
    }
    Ok(())
}

/// Makes runs from seeds; what each says is added up and printed.
fn for_each_run(
    default: u64,
    what: &str,
    mut check: impl FnMut(u64) -> Result<u64, String>,
) -> u64 {
    let from_env = |name| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
    let runs: u64 = from_env("BRINDLE_FAULT_RUNS").unwrap_or(default);
    let first: u64 = from_env("BRINDLE_SEED").unwrap_or(1);
    let mut sum = 0;
    for seed in first..first + runs {
        sum += check(seed).unwrap_or_else(|wrong| {
            panic!("BRINDLE_SEED={seed} BRINDLE_FAULT_RUNS=1: {wrong}");
        });
    }
    println!("{runs} runs from seed {first}: {sum} {what}");
    sum
}

/// Opens what some crashes of the run leave, and calls `check` with what is found.
fn crash(
    run: &mut Run,
    chance: u64,
    mut check: impl FnMut(&Run, usize, &Contents) -> Result<(), String>,
) -> Result<u64, String> {
    let mut states = 0;
    let mut crashes = run.disk.crashes();
    let mut random = Random(run.random.next());
    loop {
        if random.below(chance) == 0
            && let Some(crashed) = crashes.next_state(random.next())
        {
            let point = crashes.point();
            let (store, _pump) = open(&crashed, &run.config).map_err(|error| error.to_string())?;
            check(run, point, &contents(&store)).map_err(|wrong| format!("at {point}: {wrong}"))?;
            states += 1;
        }
        if !crashes.advance() {
            return Ok(states);
        }
    }
}

#[test]
fn operations_that_are_short_late_or_interrupted_cost_nothing() {
    let surprises = for_each_run(40, "surprises", |seed| {
        let mut run = Run::new(seed);
        let short = |bytes| (FaultOn::Write, Fault::Short(bytes));
        let faults = [
            short(512),
            short(4096),
            short(5000),
            (FaultOn::Write, Fault::Errno(libc::EINTR)),
            (FaultOn::Write, Fault::Errno(libc::EAGAIN)),
            (FaultOn::Read, Fault::Short(4096)),
            (FaultOn::Read, Fault::Errno(libc::EINTR)),
        ];
        run.disk.inject_by_seed(seed, 60, &faults);
        if run.go_on(80) == End::Failed {
            // Two short counts in a row at one place are a failure, by rule; it is held to that.
            return crash(&mut run, 4, |run, point, found| run.log.check(found, point, START_US));
        }
        let io = run.store.stats().io.expect("a shadow");
        crash(&mut run, 4, |run, point, found| run.log.check(found, point, START_US))?;
        Ok(io.short_writes + io.retries)
    });
    assert!(surprises > 40, "{surprises}");
}

#[test]
fn what_a_barrier_acknowledged_outlives_failed_writes_and_syncs() {
    let failed = for_each_run(120, "runs failed", |seed| {
        let mut run = Run::new(seed);
        let errno = [libc::EIO, libc::ENOSPC][seed as usize % 2];
        let on = [FaultOn::Write, FaultOn::Sync][seed as usize / 2 % 2];
        // The nth operation of a kind fails: once, or from then on.
        let times = if seed / 4 % 2 == 0 { 1 } else { u64::MAX };
        run.disk.inject(on, run.random.below(30), times, Fault::Errno(errno));
        let end = run.go_on(80);
        crash(&mut run, 3, |run, point, found| run.log.check(found, point, START_US))?;
        Ok(u64::from(end == End::Failed))
    });
    assert!(failed > 0);
}

/// Closes the store in order and opens it anew on a sound disk.
fn close_and_reopen(run: Run) -> ([Log; 2], Contents, Rejected) {
    let Run { config, disk, store, pump, reclaimers, log, past, .. } = run;
    store.close().expect("without a thread there is nothing to fail");
    drop(reclaimers);
    pump.close();
    disk.clear_faults();
    let (store, _pump) = open(&disk, &config).expect("one fault never refuses a store");
    let (found, load) = (contents(&store), store.stats().load);
    ([log, past], found, load.rejected)
}

#[test]
fn one_write_lost_or_misdirected_is_found_after_an_orderly_close() {
    let (mut unharmed, mut stale, mut missing) = (0, 0, 0);
    let harmed = for_each_run(400, "runs lost something", |seed| {
        let mut run = Run::new(seed);
        let sectors = 1 + run.random.below(1200) as u32;
        let fault = if seed % 2 == 0 { Fault::Lost } else { Fault::Misdirected(sectors) };
        run.disk.inject(FaultOn::Write, run.random.below(40), 1, fault);
        if run.go_on(80) == End::Failed || !run.barrier() {
            return Err("a lie is no failure".to_owned());
        }
        let expected = run.log.current(START_US);
        let ([log, past], found, rejected) = close_and_reopen(run);
        if found == expected {
            unharmed += 1;
            return Ok(0);
        }
        if rejected == Rejected::default() {
            return Err(format!("{fault:?} went unnoticed"));
        }
        stale += rejected.stale_wblocks;
        missing += rejected.missing_wblocks;
        check_written([&log, &past], &found).map_err(|wrong| format!("{wrong}: {rejected:?}"))?;
        Ok(1)
    });
    println!("{unharmed} lost nothing; {stale} stale wblocks, {missing} without a header");
    assert!(harmed > 0);
}

#[test]
fn a_disk_that_lies_all_the_time_makes_nothing_up() {
    for_each_run(150, "states opened", |seed| {
        let mut run = Run::new(seed);
        let faults = [
            (FaultOn::Write, Fault::Lost),
            (FaultOn::Write, Fault::Misdirected(1 + run.random.below(1200) as u32)),
            (FaultOn::Sync, Fault::Lost),
        ];
        run.disk.inject_by_seed(seed, 100, &faults);
        run.go_on(80);
        let crashes = |run: &mut Run| -> Result<u64, String> {
            let mut states = 0;
            let mut random = Random(run.random.next());
            let mut crashes = run.disk.crashes();
            loop {
                if random.below(3) == 0
                    && let Some(crashed) = crashes.next_state(random.next())
                {
                    // Both superblock copies may be gone: then it is refused.
                    if let Ok((store, _pump)) = open(&crashed, &run.config) {
                        run.check_written(&contents(&store))?;
                        states += 1;
                    }
                }
                if !crashes.advance() {
                    return Ok(states);
                }
            }
        };
        crashes(&mut run)
    });
}

#[test]
fn an_open_that_cannot_read_fails_and_changes_nothing() {
    for_each_run(10, "reads failed", |seed| {
        let mut run = Run::new(seed);
        run.go_on(40);
        assert!(run.barrier());
        let expected = run.log.current(START_US);
        let image = run.disk.crash(0).image(FileIndex(0));
        for nth in 0.. {
            let disk = SimDisk::from_images(vec![image.clone()], SimConfig::default());
            disk.inject(FaultOn::Read, nth, u64::MAX, Fault::Errno(libc::EIO));
            match open(&disk, &run.config) {
                Ok((store, _pump)) if contents(&store) == expected => return Ok(nth),
                Ok(_) => return Err(format!("read {nth} failed, and other records were found")),
                Err(Error::Io { .. }) => assert_eq!(disk.image(FileIndex(0)), image),
                Err(other) => return Err(format!("read {nth}: {other}")),
            }
        }
        Ok(0)
    });
}

/// The sequence in the header at the start of `wblock`; 0: never written.
fn sequence_of(wblock: &[u8]) -> u64 {
    u64::from_le_bytes(wblock[24..32].try_into().expect("8 bytes"))
}

fn is_struck(wblock: &[u8]) -> bool {
    wblock[10] & 1 == 1
}

#[test]
fn an_older_life_of_a_wblock_is_stale_and_nothing_of_it_loads() {
    let stale = for_each_run(8, "older lives", |seed| {
        let mut run = Run::new(seed);
        let mut older = vec![run.disk.image(FileIndex(0))];
        for _ in 0..6 {
            assert_eq!(run.go_on(60), End::Whole, "a sound disk");
            older.push(run.disk.image(FileIndex(0)));
        }
        assert!(run.barrier());
        let (config, disk) = (run.config.clone(), run.disk.clone());
        let (logs, _, rejected) = close_and_reopen(run);
        assert_eq!(rejected, Rejected::default(), "a sound disk");
        let image = disk.image(FileIndex(0));
        let mut lives = 0;
        let starts = ((64 << 10)..image.len()).step_by(WBLOCK_BYTES as usize);
        for (older, start) in
            older.iter().flat_map(|older| starts.clone().map(move |at| (older, at)))
        {
            let place = start..start + WBLOCK_BYTES as usize;
            let (was, is) = (&older[place.clone()], &image[place.clone()]);
            let life = sequence_of(was);
            // Of the same life, it may be whole, and what it lacks is counted elsewhere. Where
            // nothing counts any more, it does not matter which life that was.
            let counts = life > 0 && !(is_struck(was) && is_struck(is));
            if life == sequence_of(is) || !counts {
                continue;
            }
            let mut damaged = image.clone();
            damaged[place.clone()].copy_from_slice(&older[place]);
            let damaged = SimDisk::from_images(vec![damaged], SimConfig::default());
            let (store, _pump) = open(&damaged, &config).map_err(|error| error.to_string())?;
            let (found, load) = (contents(&store), store.stats().load);
            if load.rejected.stale_wblocks != 1 {
                return Err(format!("wblock at {start}, life {life}: {:?}", load.rejected));
            }
            check_written(logs.each_ref(), &found)?;
            lives += 1;
        }
        Ok(lives)
    });
    assert!(stale > 50, "{stale}");
}

#[test]
fn a_lost_rewrite_of_the_superblock_hands_out_no_sequence_twice() {
    for_each_run(40, "superblocks found stale", |seed| {
        let mut run = Run::new(seed);
        run.go_on(40);
        assert!(run.barrier());
        let expected = run.log.current(START_US);
        // Both copies as they were before the run, whose wblocks are there.
        let mut image = run.disk.crash(0).image(FileIndex(0));
        let before = run.disk.crash_at(0, 0).image(FileIndex(0));
        let has_new_wblock = image[64 << 10..] != before[64 << 10..];
        image[..64 << 10].copy_from_slice(&before[..64 << 10]);
        let disk = SimDisk::from_images(vec![image], SimConfig::default());
        let (store, mut pump) = open(&disk, &run.config).map_err(|error| error.to_string())?;
        let rejected = store.stats().load.rejected;
        let found = contents(&store);
        run.check_written(&found)?;
        if !has_new_wblock {
            return Ok(0);
        }
        if found != expected && rejected == Rejected::default() {
            return Err("unnoticed".to_owned());
        }
        match store.put("key-0", "after") {
            Err(Error::OutOfSpace) => return Ok(rejected.stale_superblocks),
            put => _ = put.expect("there is room"),
        }
        pump.barrier().expect("a sound disk");
        let (store, _pump) =
            open(&disk.crash(0), &run.config).map_err(|error| error.to_string())?;
        assert_eq!(store.get("key-0").as_deref(), Some(&b"after"[..]));
        assert_eq!(store.stats().load.rejected.stale_superblocks, 0, "told once, and mended");
        Ok(rejected.stale_superblocks)
    });
}
