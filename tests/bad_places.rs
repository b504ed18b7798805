//! One place of a shadow is bad for good, and the others are not: what lies there is written
//! elsewhere before anything is acknowledged, the store does not fail, and the place is not used
//! again. Whatever of the place can be read after a crash, no older version comes back.
//!
//! A store runs on the simulated disk, with its pump and its reclaimers in the test's hands, while
//! a wblock's place, its header, or a part of it refuses writes. Every event of the disk's log is
//! a crash point, as in `crash_sim`.
//!
//! `BRINDLE_CRASH_STATES=N` checks about N states in each test; `BRINDLE_SEED=S` starts at run S.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;
#[expect(dead_code, reason = "nothing expires here")]
#[path = "common/oracle.rs"]
mod oracle;

use brindle::testing::{
    Clock, FaultOn, FileIndex, Harness, ManualClock, Pump, Reclaimer, Round, SimDisk, begin_move,
};
use brindle::{Config, Error, Health, Store};
use common::{Random, WBLOCK_BYTES, config, disk};
use oracle::{Contents, Life, Log, contents};
use std::ops::Range;
use std::sync::Arc;

/// Where the clock starts: microseconds since 1970.
const START_US: u64 = 1_700_000_000_000_000;
const KEYS: u64 = 14;
/// The fewest of which one may be bad.
const WBLOCKS: u32 = 16;
/// Bytes of a shadow in front of its first wblock.
const FIRST_BYTES: u64 = 64 << 10;
const CALLS_BEFORE: u64 = 150;
const CALLS: u64 = 150;
/// Rounds of the pump and of the reclaimers in which a barrier must complete.
const ROUNDS_MAX: u32 = 2_000;

fn name(key: u64) -> Vec<u8> {
    format!("key-{key}").into_bytes()
}

fn open(disk: &SimDisk, config: &Config) -> (Store, Pump, Vec<Reclaimer>) {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START_US));
    let harness = Harness { clock: Some(clock), ..Harness::default() };
    harness.open_driven(config.clone(), Arc::new(disk.clone())).expect("opens")
}

/// Bytes of the shadow at which the place of wblock `place` lies.
fn place(place: u64) -> Range<u64> {
    let start = FIRST_BYTES + place * u64::from(WBLOCK_BYTES);
    start..start + u64::from(WBLOCK_BYTES)
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    bad: u64,
    moved_rounds: u64,
    moves: u64,
}

struct Run {
    config: Config,
    disk: SimDisk,
    store: Store,
    pump: Pump,
    reclaimers: Vec<Reclaimer>,
    log: Log,
    random: Random,
    tally: Tally,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let disk = disk(1, WBLOCKS);
        let config = config(1, WBLOCKS)
            .flush_size(4096 << random.below(5))
            .disable_odsync(random.below(2) == 0)
            .defrag_lwm_pct(60);
        let (store, pump, reclaimers) = open(&disk, &config);
        let log = Log::new((0..KEYS).map(name), &Contents::new());
        Self { config, disk, store, pump, reclaimers, log, random, tally: Tally::default() }
    }

    fn step(&mut self) {
        let key = name(self.random.below(KEYS));
        match self.random.below(20) {
            0..=9 => self.put(&key),
            10 => self.delete(&key),
            11..=13 => _ = self.poll_pump(),
            14..=16 => self.reclaim(),
            17 | 18 => self.barrier(),
            _ => {
                let found = contents(&self.store);
                assert_eq!(found, self.log.current(START_US), "memory says what was written");
            }
        }
        assert_eq!(self.store.health(), Health::Ok);
    }

    fn put(&mut self, key: &[u8]) {
        let bytes = usize::try_from(self.random.below(14_000)).unwrap();
        let value = self.random.bytes(bytes);
        match self.store.put(key, &value) {
            Ok(version) => {
                let life = Life { value, version, expires_us: None };
                self.log.note(key, self.disk.crash_points(), Some(life));
            }
            Err(error) => Self::refused(&error),
        }
    }

    fn delete(&mut self, key: &[u8]) {
        match self.store.delete(key) {
            Ok(_) => self.log.note(key, self.disk.crash_points(), None),
            Err(error) => Self::refused(&error),
        }
    }

    fn refused(error: &Error) {
        assert!(matches!(error, Error::OutOfSpace | Error::StopWrites { .. }), "{error:?}");
    }

    fn poll_pump(&mut self) -> Round {
        let due = self.random.below(2) == 0;
        let round = self.pump.poll(due).expect("one bad place is no failure");
        self.tally.moved_rounds += u64::from(round == Round::Moving);
        round
    }

    fn reclaim(&mut self) {
        for reclaimer in &mut self.reclaimers {
            (0..30).for_each(|_| _ = reclaimer.poll());
        }
    }

    /// Until all that was written is durable.
    fn barrier(&mut self) {
        let covered = self.log.writes();
        let ticket = self.pump.ticket();
        let mut rounds = 0;
        while !self.pump.is_durable(ticket) {
            self.poll_pump();
            self.reclaim();
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "no end: {:?}", self.store.stats().wblocks);
        }
        self.log.note_barrier(covered, self.disk.crash_points());
    }

    /// All is durable, and no crash before is of interest.
    fn begin(&mut self) {
        (0..CALLS_BEFORE).for_each(|_| self.step());
        self.barrier();
        self.disk.forget_past();
        self.log = self.log.rebased();
    }

    /// A place, the first sector of one, or some sectors within, take no writes any more.
    fn spoil(&mut self) {
        let Range { start, end } = place(self.random.below(WBLOCKS.into()));
        let range = match self.random.below(3) {
            0 => start..end,
            1 => start..start + 4096,
            _ => start + 20_480..start + 24_576,
        };
        self.disk.spoil(FaultOn::Write, FileIndex(0), range);
    }

    /// What a crash at each event leaves.
    fn check(&mut self, replay: &str) -> u64 {
        let points = self.disk.crash_points();
        for point in 0..=points {
            let seed = (self.random.below(1 << 20) << 3) + self.random.below(8);
            let crashed = self.disk.crash_at(point, seed);
            let (store, ..) = open(&crashed, &self.config);
            let checked = self.log.check(&contents(&store), point, START_US);
            checked.unwrap_or_else(|wrong| panic!("{replay}, cut at {point}, {seed}: {wrong}"));
            let load = store.stats().load;
            assert_eq!(load.damaged(), 0, "{replay}, cut at {point}, {seed}: {:?}", load.rejected);
        }
        points as u64 + 1
    }

    /// An orderly end, and another life on the same disk, which is as bad as before.
    fn close_and_go_on(self) -> Self {
        let Self { config, disk, store, pump, reclaimers, mut log, random, tally } = self;
        pump.close();
        let written = log.current(START_US);
        assert_eq!(contents(&store), written);
        drop((store, reclaimers));
        let (store, pump, reclaimers) = open(&disk, &config);
        assert_eq!(contents(&store), written, "after an orderly end");
        let load = store.stats().load;
        assert_eq!(load.damaged(), 0, "{:?}", load.rejected);
        disk.forget_past();
        log = log.rebased();
        Self { config, disk, store, pump, reclaimers, log, random, tally }
    }

    /// To a disk of which every place is good: what was out of use can be used again.
    fn move_away(&mut self) {
        let to = disk(1, WBLOCKS);
        let moving = begin_move(&self.store, Arc::new(to.clone())).expect("begins");
        let mut rounds = 0;
        let outcome = loop {
            self.poll_pump();
            if let Some(outcome) = moving.outcome() {
                break outcome;
            }
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "no end");
        };
        outcome.expect("moves");
        // What was durable at that moment is so there.
        to.forget_past();
        self.disk = to;
        self.tally.moves += 1;
        self.barrier();
        self.disk.forget_past();
        self.log = self.log.rebased();
        (0..10).for_each(|_| self.barrier());
        assert_eq!(self.store.stats().wblocks.bad, 0, "every place is good");
        assert_eq!(contents(&self.store), self.log.current(START_US));
    }

    fn audit(&self) {
        let mismatches = self.store.audit().mismatches;
        assert!(mismatches.is_empty(), "{mismatches:?}");
    }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

#[test]
fn what_lies_in_a_bad_place_is_durable_elsewhere_before_it_is_acknowledged() {
    let states = from_env("BRINDLE_CRASH_STATES").unwrap_or(2_500);
    let first = from_env("BRINDLE_SEED").unwrap_or(1);
    let (mut checked, mut seed, mut all) = (0, first, Tally::default());
    while checked < states {
        let replay = format!("BRINDLE_SEED={seed} BRINDLE_CRASH_STATES=1");
        println!("{replay}");
        let mut run = Run::new(seed);
        run.begin();
        run.spoil();
        (0..CALLS).for_each(|_| run.step());
        run.barrier();
        run.audit();
        all.bad += run.store.stats().wblocks.bad;
        checked += run.check(&replay);
        if seed % 3 == 0 {
            run.move_away();
        } else {
            run = run.close_and_go_on();
        }
        (0..CALLS / 2).for_each(|_| run.step());
        run.barrier();
        run.audit();
        checked += run.check(&replay);
        // What was moved away from, or given up twice, is no damage to a third life either.
        run = run.close_and_go_on();
        run.audit();
        all.moved_rounds += run.tally.moved_rounds;
        all.moves += run.tally.moves;
        seed += 1;
    }
    println!("{checked} crash states, seeds {first} to {}: {all:?}", seed - 1);
    if from_env("BRINDLE_CRASH_STATES").is_none() {
        assert!(all.bad >= 3 && all.moved_rounds >= 3 && all.moves >= 2, "{all:?}");
    }
}

/// A wblock that was open at an orderly end holds less than a whole one, also when its place turns
/// out bad only as its header is to be struck out.
#[test]
fn a_place_that_goes_bad_once_it_is_empty_is_no_damage() {
    let mut run = Run::new(1);
    run.put(&name(0));
    run.barrier();
    run = run.close_and_go_on();
    run.disk.spoil(FaultOn::Write, FileIndex(0), place(0));
    run.put(&name(0));
    (0..10).for_each(|_| run.barrier());
    assert_eq!(run.store.stats().wblocks.bad, 1);
    run = run.close_and_go_on();
    run.audit();
}
