//! Invariant 4 and its like: whatever a power cut leaves of the shadow, nothing durable is lost,
//! nothing dead comes back, and nothing is read that was never put.
//!
//! A store runs on the simulated disk, its pump in the test's hands. Every event of the disk's log
//! is a crash point; for each, and for several choices of what of the unsynced sectors survives,
//! the store is opened again and held to what was written: a key may read as what it was when the
//! last barrier completed by then began, or as anything that was written since, and as nothing
//! else. In one of ten states the power is cut again at every event of that recovery, and in some
//! of those once more. Then one of the states becomes the disk of the next generation.
//!
//! A state is a disk that is opened and checked: of those that one run leaves at its crash points,
//! each is checked once. Run as `cargo test` does, there are some 20,000; `tests/crash_states.sh`
//! checks any number.
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
#[expect(dead_code, reason = "no space comes back here")]
#[path = "common/oracle.rs"]
mod oracle;

use brindle::testing::{Clock, FileIndex, Harness, ManualClock, Pump, Round, SimConfig, SimDisk};
use brindle::{Condition, Config, DeleteOptions, Error, PutOptions, Rejected, Store, Version};
use common::{Random, config, disk};
use oracle::{Contents, Life, Log, contents};
use std::fmt;
use std::sync::{Arc, Mutex};

/// Where the clock starts: microseconds since 1970.
const START_US: u64 = 1_700_000_000_000_000;

/// The shape of a run.
#[derive(Clone, Copy, Debug)]
struct Shape {
    stripes: u32,
    wblocks: u32,
    keys: u64,
    /// Calls of one generation.
    ops: u64,
    value_bytes_max: u64,
    generations: u32,
    /// Of 20 calls, how many are barriers.
    barriers: u64,
    lazy_sync: bool,
}

const SHAPE: Shape = Shape {
    stripes: 1,
    wblocks: 16,
    keys: 5,
    ops: 40,
    value_bytes_max: 4_000,
    generations: 3,
    barriers: 2,
    lazy_sync: false,
};

fn name(key: u64) -> Vec<u8> {
    format!("key-{key}").into_bytes()
}

/// A store under test, its pump and its log.
struct Run {
    shape: Shape,
    config: Config,
    disk: SimDisk,
    store: Store,
    pump: Pump,
    log: Log,
    random: Random,
    time_us: u64,
}

fn open(disk: &SimDisk, config: &Config, time_us: u64) -> (Store, Pump) {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(time_us));
    let harness = Harness { clock: Some(clock), ..Harness::default() };
    harness.open_bare(config.clone(), Arc::new(disk.clone())).expect("opens")
}

impl Run {
    fn new(shape: Shape, seed: u64) -> Self {
        let mut random = Random(seed);
        let blank = disk(shape.stripes, shape.wblocks);
        let images = (0..shape.stripes).map(|file| blank.image(FileIndex(file))).collect();
        let order_seed = (random.below(2) == 0).then_some(seed);
        let disk = SimDisk::from_images(images, SimConfig { order_seed, ..SimConfig::default() });
        let config = config(shape.stripes, shape.wblocks)
            .disable_odsync(shape.lazy_sync)
            .flush_max_ms(1000 * random.below(2))
            .flush_size(4096 << random.below(5));
        let log = Log::new((0..shape.keys).map(name), &Contents::new());
        let (store, pump) = open(&disk, &config, START_US);
        Self { shape, config, disk, store, pump, log, random, time_us: START_US }
    }

    /// One call of the store or the pump.
    fn step(&mut self) {
        let key = name(self.random.below(self.shape.keys));
        let stripe = self.random.below(self.shape.stripes.into());
        if self.random.below(20) < self.shape.barriers {
            return self.barrier();
        }
        if self.shape.stripes == 1 {
            return self.call(&key);
        }
        let store = self.store.clone();
        let bound = store.bind_thread(usize::try_from(stripe).unwrap()).unwrap();
        self.call(&key);
        drop(bound);
    }

    fn call(&mut self, key: &[u8]) {
        match self.random.below(16) {
            0..=6 => {
                let value = self.value();
                let put = self.store.put(key, &value);
                self.wrote(key, put, Some(value));
            }
            7 => {
                let value = self.value();
                let there = self.store.get(key).map(|record| record.version());
                let when = there.map_or(Condition::IfAbsent, Condition::IfVersion);
                let options = PutOptions::new().condition(when);
                let put = self.store.put_with(key, &value, &options);
                self.wrote(key, put, Some(value));
            }
            8 => {
                let (value, version) = (self.value(), self.version());
                let put = self.store.put_with(key, &value, &PutOptions::new().version(version));
                self.wrote(key, put, Some(value));
            }
            9 => {
                let (value, of_change) = (self.value(), self.random.below(4) > 0);
                let change = of_change.then_some(value);
                let updated = self.store.update(key, |_| change.clone());
                self.wrote(key, updated.map(Option::unwrap_or_default), change);
            }
            10 | 11 => {
                let deleted = self.store.delete(key);
                self.wrote(key, deleted.map(|_| Version::default()), None);
            }
            12 => {
                let options = DeleteOptions::new().version(self.version());
                let deleted = self.store.delete_with(key, &options);
                self.wrote(key, deleted.map(|_| Version::default()), None);
            }
            13 => {
                self.pump.poll(false).expect("no faults");
            }
            14 => {
                self.pump.poll(true).expect("no faults");
            }
            _ => self.reopen(),
        }
    }

    fn wrote(&mut self, key: &[u8], result: brindle::Result<Version>, value: Option<Vec<u8>>) {
        match result {
            Ok(version) => {
                let seen = value.map(|value| Life { value, version, expires_us: None });
                self.log.note(key, self.disk.crash_points(), seen);
            }
            Err(Error::VersionConflict { .. } | Error::OutOfSpace) => {}
            Err(other) => panic!("{other:?}"),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        let bytes = match self.random.below(8) {
            0 => 0,
            1 => self.shape.value_bytes_max * 5,
            _ => self.random.below(self.shape.value_bytes_max),
        };
        self.random.bytes(usize::try_from(bytes).unwrap())
    }

    /// Sometimes above what is there, and sometimes not.
    fn version(&mut self) -> Version {
        Version::from(self.time_us + self.random.below(200))
    }

    fn barrier(&mut self) {
        let covered = self.log.writes();
        self.pump.barrier().expect("no faults");
        self.log.note_barrier(covered, self.disk.crash_points());
        assert_eq!(contents(&self.store), self.log.current(self.time_us));
    }

    /// Ends the process, in order or not, and starts it anew on the same disk; no power is cut.
    fn reopen(&mut self) {
        let is_clean = self.random.below(2) == 0;
        if is_clean {
            self.barrier();
        }
        self.time_us = self.time_us + self.random.below(300) - 100;
        let Self { store, pump, .. } = self;
        store.clone().close().expect("without a thread there is nothing to fail");
        // The pump goes with a store of its own, so that this one may be opened anew.
        let (spare_store, spare_pump) = open(&disk(1, 4), &config(1, 4), START_US);
        let pump = std::mem::replace(pump, spare_pump);
        *store = spare_store;
        if is_clean {
            pump.close();
        } else {
            drop(pump);
        }
        let closed = self.disk.crash_points();
        (self.store, self.pump) = open(&self.disk, &self.config, self.time_us);
        let contents = contents(&self.store);
        assert!(!is_clean || self.store.stats().load.was_clean);
        self.log.check(&contents, closed, self.time_us).expect("ended without a power cut");
        // Opening syncs every member: what a cold start has read is durable.
        self.log.reopened(&contents, (closed, self.disk.crash_points()), self.time_us);
        assert_eq!(self.store.stats().load.damaged(), 0);
    }

    /// The next generation: `disk`, on which a store finds `contents`.
    fn rebase(&mut self, disk: SimDisk, contents: &Contents) {
        self.log = Log::new((0..self.shape.keys).map(name), contents);
        self.disk = disk;
        (self.store, self.pump) = open(&self.disk, &self.config, self.time_us);
    }
}

/// Choices of what survives, tried at each crash point: each manner of the disk.
const CHOICES: u64 = 8;
/// How often recovery is cut short in turn.
const NESTED_MAX: u32 = 3;

/// A state of a disk after a power cut, opened and looked at.
struct Crashed {
    disk: SimDisk,
    contents: Contents,
}

/// Opens `disk`, left by a crash at `point`, and holds it to the log; by the seed also after
/// crashes during that opening. Adds to `states` how many disks were opened.
fn check_crash(
    run: &Run,
    disk: SimDisk,
    point: usize,
    seed: u64,
    states: &mut u64,
) -> Result<Crashed, String> {
    let (store, pump) = open(&disk, &run.config, run.time_us);
    *states += 1;
    let found = contents(&store);
    run.log.check(&found, point, run.time_us)?;
    assert_eq!(store.len(), found.len(), "nothing here expires");
    let load = store.stats().load;
    if load.damaged() > 0 {
        return Err(format!("torn writes were taken for damage: {:?}", load.rejected));
    }
    drop((store, pump));
    let mut random = Random(seed);
    if random.below(10) == 0 {
        let nested = Nested { run, contents: &found, tombstones: load.tombstones };
        nested.check(&disk, 1, &mut random, states)?;
    }
    Ok(Crashed { disk, contents: found })
}

/// What a cold start has found, and every later one of the same disk must find.
struct Nested<'r> {
    run: &'r Run,
    contents: &'r Contents,
    tombstones: u64,
}

impl Nested<'_> {
    /// Cuts the power at every event of the opening that `disk` has seen, the `depth`th in a row.
    fn check(
        &self,
        disk: &SimDisk,
        depth: u32,
        random: &mut Random,
        states: &mut u64,
    ) -> Result<(), String> {
        let mut crashes = disk.crashes();
        while crashes.advance() {
            // One choice a point, two in the first recovery.
            for _ in 0..=u32::from(depth == 1) {
                let Some(again) = crashes.next_state(random.next()) else { continue };
                let (store, _pump) = open(&again, &self.run.config, self.run.time_us);
                *states += 1;
                let is_same = contents(&store) == *self.contents;
                if !is_same || store.stats().load.tombstones != self.tombstones {
                    let point = crashes.point();
                    return Err(format!("cold start {depth}, cut at {point}, found other records"));
                }
                drop(store);
                if depth < NESTED_MAX && random.below(16) == 0 {
                    self.check(&again, depth + 1, random, states)?;
                }
            }
        }
        Ok(())
    }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Cuts the power at every event since the run was rebased. How many states that made, and one of
/// them.
fn check_generation(run: &mut Run, replay: &str) -> (u64, Crashed) {
    let (mut states, mut chosen, mut count) = (0, None, 0);
    let mut random = Random(run.random.next());
    let mut crashes = run.disk.crashes();
    loop {
        let point = crashes.point();
        for choice in 0..CHOICES {
            let seed = (random.below(1 << 40) << 3) + choice;
            let Some(disk) = crashes.next_state(seed) else { continue };
            let checked = check_crash(run, disk, point, seed, &mut states)
                .unwrap_or_else(|wrong| panic!("{replay}, cut at {point}, seed {seed}: {wrong}"));
            count += 1;
            if random.below(count) == 0 {
                chosen = Some(checked);
            }
        }
        if !crashes.advance() {
            return (states, chosen.expect("there is the state before the first event"));
        }
    }
}

/// Runs of `shape`, until about `states` crashes have been checked.
fn check_crashes(shape: Shape, states: u64) {
    let states = from_env("BRINDLE_CRASH_STATES").unwrap_or(states);
    let first = from_env("BRINDLE_SEED").unwrap_or(1);
    let (mut checked, mut seed) = (0, first);
    while checked < states {
        let replay = format!("BRINDLE_SEED={seed} BRINDLE_CRASH_STATES=1, {shape:?}");
        let mut run = Run::new(shape, seed);
        for generation in 0..shape.generations {
            for _ in 0..shape.ops {
                run.step();
            }
            let replay = format!("{replay}: generation {generation}");
            let (states, chosen) = check_generation(&mut run, &replay);
            checked += states;
            let Crashed { disk, contents } = chosen;
            disk.forget_past();
            run.rebase(disk, &contents);
        }
        seed += 1;
    }
    println!("{checked} crash states, seeds {first} to {}, {shape:?}", seed - 1);
}

#[test]
fn a_power_cut_at_any_event_loses_nothing_durable() {
    check_crashes(SHAPE, 4_000);
}

#[test]
fn a_power_cut_loses_nothing_durable_over_several_stripes() {
    check_crashes(Shape { stripes: 3, wblocks: 10, ..SHAPE }, 4_000);
}

#[test]
fn a_power_cut_loses_nothing_durable_where_only_barriers_sync() {
    check_crashes(Shape { lazy_sync: true, ..SHAPE }, 4_000);
}

#[test]
fn a_power_cut_loses_nothing_durable_with_many_flushes_in_a_wblock() {
    check_crashes(Shape { value_bytes_max: 300, barriers: 8, ..SHAPE }, 4_000);
}

#[test]
fn a_power_cut_loses_nothing_durable_with_large_records_that_fill_wblocks() {
    let shape = Shape { value_bytes_max: 12_000, wblocks: 30, generations: 2, ..SHAPE };
    check_crashes(shape, 4_000);
}

#[test]
fn a_power_cut_while_a_store_is_founded_leaves_a_new_one() {
    let config = config(3, 4);
    let blank = disk(3, 4);
    drop(open(&blank, &config, START_US));
    let points = blank.crash_points();
    for point in 0..=points {
        for seed in 0..16 {
            let crashed = blank.crash_at(point, seed);
            let (store, mut pump) = open(&crashed, &config, START_US);
            assert!(contents(&store).is_empty(), "cut at {point} with {seed}");
            store.put("k", "v").unwrap();
            pump.barrier().unwrap();
            let (store, _pump) = open(&crashed.crash(0), &config, START_US);
            assert_eq!(store.get("k").as_deref(), Some(&b"v"[..]), "cut at {point} with {seed}");
        }
    }
}

/// A clock that stands still, and does something else the next time that it is read.
struct Stall {
    clock: ManualClock,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl fmt::Debug for Stall {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clock.fmt(out)
    }
}

impl Clock for Stall {
    fn coarse_us(&self) -> u64 {
        // Not under the lock: what is done reads the clock, too.
        let then = self.then.lock().unwrap().take();
        if let Some(then) = then {
            then();
        }
        self.clock.coarse_us()
    }

    fn precise_us(&self) -> u64 {
        self.clock.precise_us()
    }

    fn not_below(&self, floor_us: u64) {
        self.clock.not_below(floor_us);
    }
}

/// A put reads the clock after it has reserved its space and before it commits: there the writer
/// is held while the pump goes round, with the wblock still open, or filled up by other puts.
#[test]
fn what_is_flushed_beside_a_writer_that_was_stopped_is_whole_after_a_power_cut() {
    for (fillers, value_bytes) in [(0, 10), (0, 3_000), (7, 3_000), (7, 12_000), (9, 12_000)] {
        let clock = Arc::new(Stall { clock: ManualClock::new(START_US), then: Mutex::new(None) });
        let harness =
            Harness { clock: Some(Arc::clone(&clock) as Arc<dyn Clock>), ..Harness::default() };
        let (disk, config) = (disk(1, 8), config(1, 8));
        let opened = harness.open_bare(config.clone(), Arc::new(disk.clone())).expect("opens");
        let (store, pump) = (opened.0, Arc::new(Mutex::new(opened.1)));
        store.put("early", vec![1; 500]).unwrap();

        let (meanwhile, pumped) = (store.clone(), Arc::clone(&pump));
        let (answer, answered) = std::sync::mpsc::channel();
        *clock.then.lock().unwrap() = Some(Box::new(move || {
            for filler in 0..fillers {
                meanwhile.put(name(filler), vec![3; 12_000]).expect("room");
            }
            let mut pump = pumped.lock().unwrap();
            let ticket = pump.ticket();
            let rounds: Vec<_> = (0..4).map(|_| pump.poll(true).expect("no faults")).collect();
            answer.send((rounds, pump.is_durable(ticket))).unwrap();
        }));
        store.put("late", vec![2; value_bytes]).unwrap();
        let (rounds, was_durable) = answered.recv().expect("a put reads the clock");
        let waits = rounds.iter().all(|round| *round == Round::Waiting);
        assert!(waits && !was_durable, "a writer that holds space was not waited for: {rounds:?}");

        pump.lock().unwrap().barrier().expect("no faults");
        let (crashed, written) = (disk.crash(0), contents(&store));
        let (store, _pump) = open(&crashed, &config, START_US);
        assert_eq!(contents(&store), written, "{fillers} fillers, {value_bytes} bytes");
        let load = store.stats().load;
        assert_eq!(load.damaged(), 0, "{:?}", load.rejected);
    }
}

/// A run that ended with a barrier, and all that it wrote.
fn settled(seed: u64) -> (Run, SimDisk, Contents) {
    let mut run = Run::new(Shape { ops: 80, value_bytes_max: 2_000, ..SHAPE }, seed);
    for _ in 0..run.shape.ops {
        run.step();
    }
    run.barrier();
    let disk = run.disk.crash(0);
    let found = contents(&open(&disk, &run.config, run.time_us).0);
    run.log.check(&found, usize::MAX, run.time_us).expect("a barrier");
    let disk = run.disk.crash(0);
    (run, disk, found)
}

/// Flips bits where something was written, more often where it begins.
fn flip(disk: &SimDisk, random: &mut Random) -> (FileIndex, usize, u32) {
    let file = FileIndex(0);
    let image = disk.image(file);
    loop {
        let at = usize::try_from(random.below(image.len() as u64)).unwrap();
        // Sectors that are all zero hold nothing.
        let sector = at / 4096 * 4096;
        if image[sector..sector + 4096].iter().any(|byte| *byte != 0) {
            let bit = u32::try_from(random.below(8)).unwrap();
            disk.flip(file, at, bit);
            return (file, at, bit);
        }
    }
}

#[test]
fn a_flipped_bit_harms_one_record_at_most_and_is_counted() {
    let states = from_env("BRINDLE_CRASH_STATES").unwrap_or(300);
    let first = from_env("BRINDLE_SEED").unwrap_or(1);
    let (mut harmed, mut counted) = (0, 0);
    for seed in first..first + states.div_ceil(50) {
        let (run, disk, whole) = settled(seed);
        let mut random = Random(seed ^ 0xF11B);
        for _ in 0..50 {
            let flipped =
                SimDisk::from_images(vec![disk.image(FileIndex(0))], SimConfig::default());
            let place = flip(&flipped, &mut random);
            let replay = format!("BRINDLE_SEED={seed} BRINDLE_CRASH_STATES=1: {place:?}");
            let (store, _pump) = open(&flipped, &run.config, run.time_us);
            let (found, rejected) = (contents(&store), store.stats().load.rejected);
            let differs = |key: &&Vec<u8>| found.get(*key) != whole.get(*key);
            let differing: Vec<_> = run.log.keys().filter(differs).collect();
            assert!(differing.len() <= 1, "{replay}: {differing:?}, {rejected:?}");
            assert!(found.keys().all(|key| run.log.has_key(key)), "{replay}");
            counted += u32::from(rejected != Rejected::default());
            let Some(key) = differing.first() else { continue };
            harmed += 1;
            assert_ne!(rejected, Rejected::default(), "{replay}: unnoticed");
            let seen = found.get(*key).cloned();
            let was_written = run.log.was_written(key, seen.as_ref());
            assert!(was_written || seen.is_none(), "{replay}: reads as {seen:?}");
            // Rot, with the key known: absent, and nothing older in its place.
            assert!(rejected.lost_values == 0 || seen.is_none(), "{replay}: an older copy");
        }
    }
    assert!(harmed > 0 && counted > harmed, "{harmed} harmed, {counted} counted");
    println!("{states} flips from seed {first}: {counted} counted, {harmed} harmed a live record");
}

#[test]
fn any_number_of_flipped_bits_neither_panics_nor_reads_what_was_never_put() {
    let states = from_env("BRINDLE_CRASH_STATES").unwrap_or(150);
    let first = from_env("BRINDLE_SEED").unwrap_or(1);
    for seed in first..first + states.div_ceil(50) {
        let (run, disk, _) = settled(seed);
        let mut random = Random(seed ^ 0xF11C);
        for turn in 0..50 {
            let flipped =
                SimDisk::from_images(vec![disk.image(FileIndex(0))], SimConfig::default());
            for _ in 0..=random.below(1 << (turn % 10)) {
                flip(&flipped, &mut random);
            }
            let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(run.time_us));
            let harness = Harness { clock: Some(clock), ..Harness::default() };
            let opened = harness.open_pumped(run.config.clone(), Arc::new(flipped));
            // Both superblock copies can be hit: then it is refused.
            let Ok((store, _pump)) = opened else { continue };
            for (key, seen) in contents(&store) {
                let was_written = run.log.has_key(&key) && run.log.was_written(&key, Some(&seen));
                assert!(was_written, "BRINDLE_SEED={seed} BRINDLE_CRASH_STATES=1: turn {turn}");
            }
        }
    }
}
