//! The public API against a map: few keys, weighted operations, and everything compared.
//!
//! The model is a `BTreeMap` from key to record or tombstone, with the rules of the contract and
//! nothing else. It runs beside a store in memory, on the simulated disk with the pump in the
//! test's hands, and on files; the clock is the test's. A crash takes the store back to its last
//! barrier, or to what was written since: the model then takes over what the store says, once it
//! has found it allowed (`tests/crash_sim.rs` looks at that more closely).
//!
//! Without reclaim everything is compared, counts too. With it, in stores so small that each wblock
//! is used many times, what is live is compared as exactly; but of a dead key the store may
//! remember that it is dead, or have forgotten it, and what was forgotten may be remembered again
//! by the next cold start, as long as nothing was written over it. So the model keeps for each key
//! all the states that it may be in, and each answer must be that of one of them at least: the
//! others are struck off.
//!
//! A failure prints its operations, shrunk; proptest keeps the seed. The long runs print theirs,
//! and take it from `BRINDLE_SEED`.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod common;

use brindle::format::{Rank, Shape};
use brindle::testing::{
    Clock, FileIndex, Harness, ManualClock, Pace, Pump, Reclaimer, Round, SimDisk,
};
use brindle::{Condition, Config, DeleteOptions, Error, PutOptions, Store, Version};
use common::{Random, WBLOCK_BYTES, config, disk};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tempfile::TempDir;

/// Where the clock starts: microseconds since 1970.
const START_US: u64 = 1_700_000_000_000_000;
const KEYS: u8 = 6;

/// Which version a call brings, relative to what the key has.
#[derive(Clone, Copy, Debug)]
enum Which {
    None,
    Below,
    Same,
    Above(u64),
    Clock,
    Exactly(u64),
}

#[derive(Clone, Copy, Debug)]
enum When {
    Always,
    IfAbsent,
    IfPresent,
    IfThis,
    IfOther,
}

#[derive(Clone, Copy, Debug)]
enum Life {
    Default,
    Never,
    Micros(u64),
    Past,
}

#[derive(Clone, Debug)]
enum Op {
    Put {
        key: u8,
        value: (usize, u64),
    },
    PutWith {
        key: u8,
        value: (usize, u64),
        which: Which,
        when: When,
        life: Life,
    },
    Replay {
        key: u8,
    },
    Delete {
        key: u8,
    },
    DeleteWith {
        key: u8,
        which: Which,
        when: When,
    },
    Update {
        key: u8,
        value: Option<(usize, u64)>,
    },
    Get {
        key: u8,
    },
    GetMany {
        keys: Vec<u8>,
    },
    PutMany {
        keys: Vec<u8>,
        value: (usize, u64),
    },
    Scan,
    Clear,
    Flush,
    Poll {
        due: bool,
    },
    /// Writes so much that wblocks are used again.
    Churn {
        key: u8,
        value: (usize, u64),
        times: u8,
    },
    /// Gives reclaim the time to come to rest.
    Settle,
    Advance {
        micros: u64,
    },
    Reopen {
        back: u64,
    },
    Crash {
        seed: u64,
        back: u64,
    },
}

fn value() -> impl Strategy<Value = (usize, u64)> {
    let bytes = prop_oneof![1 => Just(0_usize), 6 => 1..300_usize, 3 => 300..6_000_usize];
    (bytes, any::<u64>())
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        4 => Just(Which::None),
        1 => Just(Which::Below),
        2 => Just(Which::Same),
        2 => (1..2_000_u64).prop_map(Which::Above),
        1 => Just(Which::Clock),
    ]
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        4 => Just(When::Always),
        1 => Just(When::IfAbsent),
        1 => Just(When::IfPresent),
        1 => Just(When::IfThis),
        1 => Just(When::IfOther),
    ]
}

fn life() -> impl Strategy<Value = Life> {
    prop_oneof![
        4 => Just(Life::Default),
        1 => Just(Life::Never),
        3 => (1..600_u64).prop_map(Life::Micros),
        1 => Just(Life::Past),
    ]
}

/// The same, and what makes wblocks go round.
fn recycling_op() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS;
    let large = || (4_000..14_000_usize, any::<u64>());
    let low = || prop_oneof![Just(Which::Below), (1..50_u64).prop_map(Which::Exactly)];
    prop_oneof![
        12 => op(),
        2 => (key(), large(), 2..12_u8)
            .prop_map(|(key, value, times)| Op::Churn { key, value, times }),
        1 => Just(Op::Settle),
        // Versions that lose unless the past of the key is forgotten.
        2 => (key(), value(), low()).prop_map(|(key, value, which)| {
            Op::PutWith { key, value, which, when: When::Always, life: Life::Default }
        }),
        1 => (key(), low())
            .prop_map(|(key, which)| Op::DeleteWith { key, which, when: When::Always }),
        2 => key().prop_map(|key| Op::Delete { key }),
    ]
}

/// Few keys, so that overwrites, tombstones and expiries meet.
fn op() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS;
    let keys = || prop::collection::vec(0..KEYS, 0..20);
    prop_oneof![
        8 => (key(), value()).prop_map(|(key, value)| Op::Put { key, value }),
        6 => (key(), value(), which(), when(), life()).prop_map(|(key, value, which, when, life)| {
            Op::PutWith { key, value, which, when, life }
        }),
        1 => key().prop_map(|key| Op::Replay { key }),
        3 => key().prop_map(|key| Op::Delete { key }),
        3 => (key(), which(), when())
            .prop_map(|(key, which, when)| Op::DeleteWith { key, which, when }),
        3 => (key(), prop::option::weighted(0.7, value()))
            .prop_map(|(key, value)| Op::Update { key, value }),
        4 => key().prop_map(|key| Op::Get { key }),
        1 => keys().prop_map(|keys| Op::GetMany { keys }),
        1 => (keys(), value()).prop_map(|(keys, value)| Op::PutMany { keys, value }),
        1 => Just(Op::Scan),
        1 => prop::bool::weighted(0.2).prop_map(|is| if is { Op::Clear } else { Op::Scan }),
        2 => Just(Op::Flush),
        2 => any::<bool>().prop_map(|due| Op::Poll { due }),
        3 => (0..400_u64).prop_map(|micros| Op::Advance { micros }),
        1 => (0..500_u64).prop_map(|back| Op::Reopen { back }),
        1 => (any::<u64>(), 0..500_u64).prop_map(|(seed, back)| Op::Crash { seed, back }),
    ]
}

/// What the store should have of a key; a tombstone has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    version: u64,
    value: Option<Vec<u8>>,
    expires_at: Option<u64>,
    /// The key was once deleted with a version: its end is remembered for the grace.
    grace: bool,
}

/// Nothing is known of a key, or this.
type State = Option<Entry>;

impl Entry {
    fn is_live(&self, now: u64) -> bool {
        self.value.is_some() && self.expires_at.is_none_or(|instant| now <= instant)
    }

    /// What a read gives.
    fn seen(&self) -> (u64, Option<&[u8]>, Option<u64>) {
        (self.version, self.value.as_deref(), self.expires_at)
    }

    fn rank(&self) -> Rank<'_> {
        Rank {
            version: self.version.into(),
            over: None,
            tombstone: self.value.is_none(),
            expires_at: self.expires_at,
            value: self.value.as_deref().unwrap_or_default(),
        }
    }

    fn stored_bytes(&self, key: &[u8]) -> u64 {
        let value = self.value.as_ref().map_or(0, Vec::len);
        Shape::new(key.len(), value, self.expires_at.is_some(), false).total_bytes() as u64
    }
}

/// What a write answers.
#[derive(Debug, PartialEq)]
enum Answer {
    Version(u64),
    Was(bool),
    Nothing,
    Conflict(u64),
    Failed,
    Full,
}

fn answer<T>(result: brindle::Result<T>, done: impl FnOnce(T) -> Answer) -> Answer {
    match result {
        Ok(value) => done(value),
        Err(Error::VersionConflict { current }) => Answer::Conflict(current.into()),
        Err(Error::ConditionFailed) => Answer::Failed,
        Err(Error::OutOfSpace) => Answer::Full,
        Err(other) => panic!("{other:?}"),
    }
}

/// Of what is dead, what may be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forgets {
    Nothing,
    /// All but deletes with a version.
    Plain,
    All,
}

/// The map, by the rules of the contract.
#[derive(Clone, Debug)]
struct Model {
    /// What each key may be.
    keys: BTreeMap<Vec<u8>, Vec<State>>,
    /// Each key's dead entries that may have been forgotten, and may lie on the shadow still.
    ghosts: BTreeMap<Vec<u8>, Vec<Entry>>,
    now: u64,
    has_shadow: bool,
    forgets: Forgets,
}

/// Adds `state` unless it is there.
fn add<T: PartialEq>(states: &mut Vec<T>, state: T) {
    if !states.contains(&state) {
        states.push(state);
    }
}

/// A write as the model takes it.
#[derive(Debug)]
struct Write {
    value: Option<Vec<u8>>,
    expires_at: Option<u64>,
    version: Option<u64>,
    condition: Condition,
}

impl Model {
    fn new(has_shadow: bool, forgets: Forgets) -> Self {
        let keys = (0..KEYS).map(|key| (name(key), vec![None])).collect();
        Self { keys, ghosts: BTreeMap::new(), now: START_US, has_shadow, forgets }
    }

    /// What `key` may be by now.
    fn states(&mut self, key: &[u8]) -> Vec<State> {
        let states = self.aged(key, &self.keys[key].clone());
        self.keys.insert(key.to_vec(), states.clone());
        states
    }

    /// What `states` may have become without anybody's doing.
    fn aged(&mut self, key: &[u8], states: &[State]) -> Vec<State> {
        let mut aged = states.to_vec();
        if self.forgets == Forgets::Nothing {
            return aged;
        }
        for dead in states.iter().flatten().filter(|entry| !entry.is_live(self.now)) {
            let ghosts = self.ghosts.entry(key.to_vec()).or_default();
            add(ghosts, dead.clone());
            let is_kept = dead.grace && self.forgets != Forgets::All;
            if dead.value.is_some() && (dead.grace || self.has_shadow) {
                let tombstone = Entry { value: None, expires_at: None, ..dead.clone() };
                add(ghosts, tombstone.clone());
                add(&mut aged, Some(tombstone));
            }
            if !is_kept {
                add(&mut aged, None);
            }
        }
        aged
    }

    /// What `states` may be found as by a cold start.
    fn reloaded(&self, key: &[u8], mut states: Vec<State>) -> Vec<State> {
        if states.contains(&None) {
            for ghost in self.ghosts.get(key).into_iter().flatten() {
                // What was dead for good does not come back to life, whatever the clock says.
                if !ghost.is_live(self.now) {
                    add(&mut states, Some(ghost.clone()));
                }
            }
        }
        states
    }

    /// The live record of `key`: the same in all states.
    fn live(&self, key: &[u8]) -> Option<&Entry> {
        let live = |state: &State| state.as_ref().is_some_and(|entry| entry.is_live(self.now));
        let states = &self.keys[key];
        assert!(states.iter().all(|state| live(state) == live(&states[0])), "{states:?}");
        states[0].as_ref().filter(|entry| entry.is_live(self.now))
    }

    /// The only state of `key`, where nothing is ever forgotten.
    fn only(&self, key: &[u8]) -> &State {
        let states = &self.keys[key];
        assert_eq!(states.len(), 1, "{states:?}");
        &states[0]
    }

    /// What a key that is `current` answers to `write`, and what it then is if it is written.
    fn judge(&self, current: Option<&Entry>, write: &Write) -> (Answer, Option<State>) {
        let live = current.filter(|entry| entry.is_live(self.now));
        let was_live = live.is_some();
        let holds = match write.condition {
            Condition::Always => true,
            Condition::IfAbsent => !was_live,
            Condition::IfPresent => was_live,
            Condition::IfVersion(version) => {
                live.is_some_and(|live| Version::from(live.version) == version)
            }
            other => panic!("{other:?} is new"),
        };
        if !holds {
            return (Answer::Failed, None);
        }
        let is_delete = write.value.is_none();
        let had_grace = current.is_some_and(|current| current.grace);
        let version = match write.version {
            Some(version) => version,
            None if is_delete && !was_live => return (Answer::Was(false), None),
            None if is_delete && !self.has_shadow && !had_grace => {
                return (Answer::Was(true), Some(None));
            }
            None => current.map_or(self.now, |current| self.now.max(current.version + 1)),
        };
        let (value, expires_at) = (write.value.clone(), write.expires_at);
        let grace = had_grace || (is_delete && write.version.is_some());
        let entry = Entry { version, value, expires_at, grace };
        let answer = if is_delete { Answer::Was(was_live) } else { Answer::Version(version) };
        if let (Some(_), Some(current)) = (write.version, current) {
            match entry.rank().cmp(&current.rank()) {
                Ordering::Less => return (Answer::Conflict(current.version), None),
                Ordering::Equal => return (answer, None),
                Ordering::Greater => {}
            }
        }
        (answer, Some(Some(entry)))
    }

    /// Strikes off the states of `key` that would not have given `answer` to `write`, and takes
    /// the others on. A full store may refuse whatever needs space.
    fn write(&mut self, key: &[u8], write: &Write, answer: &Answer) {
        let mut after = Vec::new();
        let states = self.states(key);
        for state in &states {
            let (expected, written) = self.judge(state.as_ref(), write);
            if *answer == Answer::Full && written.is_some() {
                add(&mut after, state.clone());
            } else if *answer == expected {
                add(&mut after, written.unwrap_or_else(|| state.clone()));
            }
        }
        let key_text = key.escape_ascii();
        assert!(!after.is_empty(), "{key_text}: {answer:?} to {write:?} of {states:?}");
        self.keys.insert(key.to_vec(), after);
    }
}

/// Where the store is.
enum Place {
    Memory,
    Pumped(SimDisk, Option<Box<Driven>>),
    Files(TempDir),
}

/// What the test drives.
struct Driven {
    pump: Pump,
    reclaimers: Vec<Reclaimer>,
}

/// How a run treats its store.
#[derive(Clone, Copy, Debug)]
struct Manner {
    forgets: Forgets,
    /// Puts may be refused for want of space.
    may_be_full: bool,
    /// Of what the pump and the reclaimers do between operations.
    seed: u64,
}

/// No reclaim: everything that was written is where it was.
const AT_REST: Manner = Manner { forgets: Forgets::Nothing, may_be_full: true, seed: 0 };

struct Bench {
    store: Option<Store>,
    place: Place,
    clock: Arc<ManualClock>,
    config: Config,
    manner: Manner,
    model: Model,
    /// What each key may have been since the last barrier, the oldest first.
    since_barrier: BTreeMap<Vec<u8>, Vec<State>>,
    random: Random,
    freed_wblocks: u64,
}

fn name(key: u8) -> Vec<u8> {
    // Of different lengths, so that records are padded differently.
    vec![b'a' + key; usize::from(key) * 3 + 1]
}

impl Bench {
    fn new(place: Place, config: Config, manner: Manner) -> Self {
        let clock = Arc::new(ManualClock::new(START_US));
        let has_shadow = !matches!(place, Place::Memory);
        let model = Model::new(has_shadow, manner.forgets);
        let config = config.stop_writes_used_pct(0).stop_writes_avail_pct(0);
        let (since_barrier, random) = (BTreeMap::new(), Random(manner.seed));
        let (store, freed_wblocks) = (None, 0);
        let mut bench = Self {
            store,
            place,
            clock,
            config,
            manner,
            model,
            since_barrier,
            random,
            freed_wblocks,
        };
        bench.open();
        bench.settled();
        bench
    }

    fn reclaims(&self) -> bool {
        self.manner.forgets != Forgets::Nothing
    }

    fn open(&mut self) {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let harness =
            Harness { clock: Some(clock), reclaims: self.reclaims(), ..Harness::default() };
        let config = self.config.clone();
        self.store = Some(match &mut self.place {
            Place::Memory => harness.open(config).expect("opens"),
            Place::Files(dir) => harness.open(config.shadow_dir(dir.path())).expect("opens"),
            Place::Pumped(disk, driven) => {
                let opened = harness.open_driven(config, Arc::new(disk.clone()));
                let (store, pump, reclaimers) = opened.expect("opens");
                *driven = Some(Box::new(Driven { pump, reclaimers }));
                store
            }
        });
        // The shadow's floor may have moved the clock on.
        self.model.now = self.clock.precise_us();
    }

    /// What the pump and the reclaimers do while nobody looks.
    fn drift(&mut self) {
        if !self.reclaims() {
            return;
        }
        let Place::Pumped(_, Some(driven)) = &mut self.place else { return };
        for _ in 0..self.random.below(8) {
            match self.random.below(6) {
                0 => {
                    let due = self.random.below(2) == 0;
                    driven.pump.poll(due).expect("no faults");
                }
                _ => driven.reclaimers.iter_mut().for_each(|reclaimer| {
                    reclaimer.poll();
                }),
            }
        }
    }

    /// Drives the pump and the reclaimers until they have nothing to do.
    fn work_off(&mut self) {
        if !self.reclaims() {
            return;
        }
        let Place::Pumped(_, Some(driven)) = &mut self.place else { return };
        // In a full store it may go on for ever, with what flushes have padded.
        let rounds = if self.manner.may_be_full { 200 } else { ROUNDS_MAX };
        for _ in 0..rounds {
            let mut is_idle = driven.pump.poll(true).expect("no faults") == Round::Idle;
            for reclaimer in &mut driven.reclaimers {
                is_idle &= reclaimer.poll() == Pace::Idle;
            }
            if is_idle {
                return;
            }
            // The pins of other tests hold up this one.
            std::thread::yield_now();
        }
        assert!(self.manner.may_be_full, "reclaim comes to no end: {:#?}", self.store().stats());
    }

    /// Calls the store; where the test drives reclaim, once more if it finds no room.
    fn call(&mut self, mut call: impl FnMut(&Store) -> Answer) -> Answer {
        let mut result = call(self.store());
        if result == Answer::Full && self.reclaims() {
            self.work_off();
            result = call(self.store());
        }
        self.check_room(&result);
        result
    }

    /// There is room for ever, unless the run is one of a full store.
    fn check_room(&self, result: &Answer) {
        let is_allowed = self.manner.may_be_full || *result != Answer::Full;
        assert!(is_allowed, "no room: {:#?}", self.store().stats());
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open")
    }

    /// All that there is is durable.
    fn settled(&mut self) {
        for key in (0..KEYS).map(name) {
            let states = self.model.states(&key);
            self.since_barrier.insert(key, states);
        }
    }

    fn flush(&mut self) {
        match &mut self.place {
            Place::Pumped(_, driven) => {
                driven.as_mut().expect("open").pump.barrier().expect("no faults");
            }
            Place::Memory | Place::Files(_) => self.store().flush().expect("no faults"),
        }
        self.settled();
    }

    fn write(&mut self, key: &[u8], write: &Write) {
        let Write { value, expires_at, version, condition } = write;
        let result = if let Some(value) = value {
            let mut options = PutOptions::new().condition(*condition);
            if let Some(version) = version {
                options = options.version((*version).into());
            }
            if let Some(instant) = expires_at {
                options = options.expires_at(UNIX_EPOCH + Duration::from_micros(*instant));
            }
            self.call(|store| {
                let put = store.put_with(key, value, &options);
                answer(put, |version| Answer::Version(version.into()))
            })
        } else {
            let mut options = DeleteOptions::new().condition(*condition);
            if let Some(version) = version {
                options = options.version((*version).into());
            }
            self.call(|store| answer(store.delete_with(key, &options), Answer::Was))
        };
        self.expect_write(key, write, &result);
    }

    /// Compares an answer with the model's.
    fn expect_write(&mut self, key: &[u8], write: &Write, result: &Answer) {
        self.model.write(key, write, result);
        let after = self.model.keys[key].clone();
        self.since_barrier.entry(key.to_vec()).or_default().extend(after);
    }

    fn put(&mut self, key: u8, value: (usize, u64)) {
        let (key, value) = (name(key), bytes(value));
        let put = self.call(|store| {
            answer(store.put(&key, &value), |version| Answer::Version(version.into()))
        });
        self.expect_write(&key, &plain(Some(value)), &put);
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Put { key, value } => self.put(*key, *value),
            Op::PutWith { key, value, which, when, life } => {
                let (key, value) = (name(*key), Some(bytes(*value)));
                let (version, condition) =
                    (self.version(&key, *which), self.condition(&key, *when));
                let expires_at = match life {
                    Life::Default | Life::Never => None,
                    Life::Micros(micros) => Some(self.model.now + micros),
                    Life::Past => Some(self.model.now - 1),
                };
                self.write(&key, &Write { value, expires_at, version, condition });
            }
            Op::Replay { key } => {
                let key = name(*key);
                if let Some(entry) = self.model.keys[&key].iter().flatten().next() {
                    let (version, condition) = (Some(entry.version), Condition::Always);
                    let (value, expires_at) = (entry.value.clone(), entry.expires_at);
                    self.write(&key, &Write { value, expires_at, version, condition });
                }
            }
            Op::Delete { key } => {
                let key = name(*key);
                let deleted = self.call(|store| answer(store.delete(&key), Answer::Was));
                self.expect_write(&key, &plain(None), &deleted);
            }
            Op::DeleteWith { key, which, when } => {
                let key = name(*key);
                let (version, condition) =
                    (self.version(&key, *which), self.condition(&key, *when));
                self.write(&key, &Write { value: None, expires_at: None, version, condition });
            }
            Op::Update { key, value } => self.update(&name(*key), value.map(bytes)),
            Op::Get { key } => self.compare(&name(*key)),
            Op::GetMany { keys } => {
                let keys: Vec<_> = keys.iter().copied().map(name).collect();
                let records = self.store().get_many(&keys);
                for (key, record) in keys.iter().zip(&records) {
                    let expected = self.model.live(key).and_then(|entry| entry.value.as_deref());
                    assert_eq!(record.as_deref(), expected);
                }
            }
            Op::PutMany { keys, value } => self.put_many(keys, *value),
            Op::Scan => self.compare_all(),
            Op::Clear => self.clear(),
            Op::Flush => self.flush(),
            Op::Poll { due } => {
                if let Place::Pumped(_, driven) = &mut self.place {
                    driven.as_mut().expect("open").pump.poll(*due).expect("no faults");
                }
            }
            Op::Churn { key, value: (count, seed), times } => {
                for turn in 0..*times {
                    self.put((key + turn) % KEYS, (*count, seed ^ u64::from(turn)));
                    self.drift();
                }
            }
            Op::Settle => {
                std::thread::sleep(SWEEP_INTERVAL * 2);
                self.work_off();
            }
            Op::Advance { micros } => self.turn_to(self.model.now + micros),
            Op::Reopen { back } => self.reopen(*back),
            Op::Crash { seed, back } => self.crash(*seed, *back),
        }
    }

    fn turn_to(&mut self, now: u64) {
        self.clock.set(now);
        self.model.now = now;
    }

    fn update(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        let expected = self.model.live(key).and_then(|entry| entry.value.clone());
        let (is_put, was_live) = (value.is_some(), expected.is_some());
        let result = self.call(|store| {
            let updated = store.update(key, |old| {
                assert_eq!(old, expected.as_deref());
                value.clone()
            });
            answer(updated, |version| match version {
                Some(version) => Answer::Version(version.into()),
                None if is_put => Answer::Nothing,
                None => Answer::Was(was_live),
            })
        });
        self.expect_write(key, &plain(value), &result);
    }

    fn put_many(&mut self, keys: &[u8], value: (usize, u64)) {
        let mut pairs: Vec<_> = keys.iter().map(|key| (name(*key), bytes(value))).collect();
        let mut is_stuck = false;
        while !pairs.is_empty() {
            let (versions, done) = match self.store().put_many(pairs.clone()) {
                Ok(versions) => (Some(versions), pairs.len()),
                Err(Error::Batch { done, source }) => {
                    assert!(matches!(*source, Error::OutOfSpace), "{source}");
                    (None, done)
                }
                Err(other) => panic!("{other}"),
            };
            for (at, (key, value)) in pairs.drain(..done).enumerate() {
                let write = plain(Some(value));
                if let Some(versions) = &versions {
                    self.expect_write(&key, &write, &Answer::Version(versions[at].into()));
                } else {
                    // A put without a version passes whatever is there.
                    let states = self.model.states(&key);
                    let mut after = Vec::new();
                    for state in &states {
                        let (_, written) = self.model.judge(state.as_ref(), &write);
                        add(&mut after, written.expect("is done"));
                    }
                    self.model.keys.insert(key.clone(), after.clone());
                    self.since_barrier.entry(key).or_default().extend(after);
                }
            }
            if !pairs.is_empty() && (is_stuck || !self.reclaims()) {
                self.check_room(&Answer::Full);
                return;
            }
            is_stuck = done == 0;
            self.work_off();
        }
    }

    fn clear(&mut self) {
        self.call(|store| answer(store.clear(), |()| Answer::Nothing));
        for key in (0..KEYS).map(name) {
            if !self.store().contains_key(&key) && self.model.live(&key).is_some() {
                self.expect_write(&key, &plain(None), &Answer::Was(true));
            }
        }
    }

    fn reopen(&mut self, back: u64) {
        self.count_freed();
        if let Place::Pumped(_, driven) = &mut self.place {
            driven.as_mut().expect("open").pump.barrier().expect("no faults");
        }
        self.store.take().expect("open").close().expect("closes");
        if let Place::Pumped(_, driven) = &mut self.place {
            driven.take().expect("open").pump.close();
        }
        if !self.model.has_shadow {
            self.model = Model { now: self.model.now, ..Model::new(false, self.manner.forgets) };
        }
        for key in (0..KEYS).map(name) {
            self.model.states(&key);
        }
        // The wall clock steps back; the floor of the shadow is where it was.
        let before = self.model.now;
        self.turn_to(before - back);
        self.open();
        assert!(!self.model.has_shadow || self.model.now >= before, "the floor does not hold");
        assert_eq!(self.store().stats().load.was_clean, self.model.has_shadow);
        for key in (0..KEYS).map(name) {
            let states = self.model.states(&key);
            let states = self.model.reloaded(&key, states);
            self.model.keys.insert(key, states);
        }
        self.settled();
        self.compare_all();
    }

    fn crash(&mut self, seed: u64, back: u64) {
        if !matches!(self.place, Place::Pumped(..)) {
            return;
        }
        self.count_freed();
        let since = std::mem::take(&mut self.since_barrier);
        let since: Vec<_> = since
            .into_iter()
            .map(|(key, was)| {
                let was = self.model.aged(&key, &was);
                (key, was)
            })
            .collect();
        let Place::Pumped(disk, driven) = &mut self.place else { return };
        *disk = disk.crash(Random(seed).below(1 << 40));
        *driven = None;
        self.store = None;
        // The floor after a crash is that of the last open at least, not of the last moment.
        let before = self.model.now;
        self.turn_to(before - back.min(before - START_US));
        self.open();
        let now = self.model.now;
        for (key, was) in since {
            let found = self.store().get(&key);
            let found = found.map(|record| (record.to_vec(), u64::from(record.version())));
            let mut stands: Vec<State> = Vec::new();
            for state in self.model.reloaded(&key, was) {
                if read_at(now, state.as_ref()) == found {
                    add(&mut stands, state);
                }
            }
            assert!(!stands.is_empty(), "{} is {found:?}", key.escape_ascii());
            self.model.keys.insert(key, stands);
        }
        if !self.reclaims() {
            self.learn_tombstones();
        }
        self.settled();
        self.compare_all();
    }

    /// After a crash: which dead entry of a dead key survived shows only in what the store counts,
    /// so each dead key is deleted at a version above all of them.
    fn learn_tombstones(&mut self) {
        let known = self.model.keys.values().flatten().flatten();
        let top = known.map(|entry| entry.version).max().unwrap_or(0) + 1;
        for key in (0..KEYS).map(name) {
            let states = &self.model.keys[&key];
            if let Some(live) = self.model.live(&key) {
                let live = live.clone();
                assert!(states.iter().flatten().all(|other| other.seen() == live.seen()));
                continue;
            }
            let (version, condition) = (Some(top), Condition::Always);
            self.write(&key, &Write { value: None, expires_at: None, version, condition });
        }
        self.flush();
    }

    fn version(&self, key: &[u8], which: Which) -> Option<u64> {
        let known = self.model.keys[key].iter().flatten().map(|entry| entry.version).max();
        let current = known.unwrap_or(self.model.now);
        match which {
            Which::None => None,
            Which::Below => Some(current.saturating_sub(1)),
            Which::Same => Some(current),
            Which::Above(more) => Some(current + more),
            Which::Clock => Some(self.model.now),
            Which::Exactly(version) => Some(version),
        }
    }

    fn condition(&self, key: &[u8], when: When) -> Condition {
        let known = self.model.keys[key].iter().flatten().map(|entry| entry.version).max();
        let current = known.unwrap_or(0);
        match when {
            When::Always => Condition::Always,
            When::IfAbsent => Condition::IfAbsent,
            When::IfPresent => Condition::IfPresent,
            When::IfThis => Condition::IfVersion(current.into()),
            When::IfOther => Condition::IfVersion((current + 1).into()),
        }
    }

    fn compare(&mut self, key: &[u8]) {
        self.model.states(key);
        let record = self.store().get(key);
        let found = record.as_ref().map(|record| {
            let since = |instant: std::time::SystemTime| {
                instant.duration_since(UNIX_EPOCH).expect("after 1970").as_micros()
            };
            let expires_at = record.expires_at().map(|at| u64::try_from(since(at)).unwrap());
            (record.version().into(), Some(record.value()), expires_at)
        });
        assert_eq!(found, self.model.live(key).map(Entry::seen), "{}", key.escape_ascii());
        assert_eq!(self.store().contains_key(key), found.is_some());
    }

    fn compare_all(&mut self) {
        let mut scanned = BTreeMap::new();
        for record in self.store().scan() {
            let before = scanned.insert(record.key().to_vec(), record.to_vec());
            assert!(before.is_none(), "scanned twice");
        }
        for key in (0..KEYS).map(name) {
            self.compare(&key);
            let live = self.model.live(&key).and_then(|entry| entry.value.clone());
            assert_eq!(scanned.remove(&key), live, "{} by scan", key.escape_ascii());
        }
        assert!(scanned.is_empty(), "never put: {scanned:?}");
        let stats = self.store().stats();
        let wblocks = stats.wblocks;
        let all = wblocks.free + wblocks.open + wblocks.sealed + wblocks.used;
        let all = all + wblocks.defrag + wblocks.emptying + wblocks.quarantined;
        assert_eq!(all * u64::from(stats.wblock_bytes), stats.data_size_bytes);
        assert_eq!(stats.load.damaged(), 0);
        let has_threads = !matches!(self.place, Place::Pumped(..));
        if !self.reclaims() {
            self.compare_counts();
        } else if !has_threads {
            self.audit();
        }
    }

    /// Where nothing happens by itself.
    fn compare_counts(&self) {
        let entries = self.model.keys.keys();
        let entries = entries.filter_map(|key| self.model.only(key).as_ref().map(|at| (key, at)));
        let (values, tombstones): (Vec<_>, Vec<_>) =
            entries.clone().partition(|(_, entry)| entry.value.is_some());
        let live_bytes: u64 = entries.map(|(key, entry)| entry.stored_bytes(key)).sum();
        // The shadow thread may be about to bury the padding of a cut.
        let mut stats = self.store().stats();
        for _ in 0..100 {
            if stats.live_bytes == live_bytes {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
            stats = self.store().stats();
        }
        let counted = (stats.records, stats.tombstones, self.store().len());
        assert_eq!(counted, (values.len() as u64, tombstones.len() as u64, values.len()));
        assert_eq!(stats.live_bytes, live_bytes, "of {values:?} and {tombstones:?}");
        assert_eq!(stats.wblocks.free, stats.free_wblocks);
    }

    /// Counts, and sees that what is counted may be.
    fn audit(&mut self) {
        let audit = self.store().audit();
        assert!(audit.mismatches.is_empty(), "{audit:?}");
        let keys: Vec<_> = (0..KEYS).map(name).collect();
        let states: Vec<_> = keys.iter().map(|key| self.model.states(key)).collect();
        let count = |may_be: &dyn Fn(&State) -> bool| {
            let all = states.iter().filter(|of_key| of_key.iter().all(may_be)).count() as u64;
            let any = states.iter().filter(|of_key| of_key.iter().any(may_be)).count() as u64;
            all..=any
        };
        let is_value = |state: &State| state.as_ref().is_some_and(|entry| entry.value.is_some());
        let is_tombstone =
            |state: &State| state.as_ref().is_some_and(|entry| entry.value.is_none());
        assert!(count(&is_value).contains(&audit.records), "{audit:?} of {states:?}");
        assert!(count(&is_tombstone).contains(&audit.tombstones), "{audit:?} of {states:?}");
    }

    fn count_freed(&mut self) {
        self.freed_wblocks += self.store().stats().reclaim.freed_wblocks;
    }

    /// Compares all that there is, and once more after a restart.
    fn finish(mut self) -> u64 {
        self.compare_all();
        self.audit();
        self.count_freed();
        if self.model.has_shadow {
            self.reopen(0);
            self.audit();
        }
        self.freed_wblocks
    }
}

/// Value and version, if a read at `now` sees it.
fn read_at(now: u64, entry: Option<&Entry>) -> Option<(Vec<u8>, u64)> {
    let entry = entry.filter(|entry| entry.is_live(now))?;
    entry.value.clone().map(|value| (value, entry.version))
}

fn plain(value: Option<Vec<u8>>) -> Write {
    Write { value, expires_at: None, version: None, condition: Condition::Always }
}

fn bytes((count, seed): (usize, u64)) -> Vec<u8> {
    Random(seed).bytes(count)
}

fn check(place: Place, config: Config, manner: Manner, ops: &[Op]) -> u64 {
    let mut bench = Bench::new(place, config, manner);
    for op in ops {
        bench.run(op);
        bench.drift();
    }
    bench.finish()
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { max_shrink_iters: 4_000, ..ProptestConfig::with_cases(count) }
}

fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..most)
}

fn recycling_ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(recycling_op(), 1..most)
}

/// What may be forgotten, and the seed of what goes on between the operations.
fn manner() -> impl Strategy<Value = Manner> {
    (any::<bool>(), any::<u64>()).prop_map(|(has_grace, seed)| {
        let forgets = if has_grace { Forgets::Plain } else { Forgets::All };
        Manner { forgets, may_be_full: false, seed }
    })
}

/// Enough for all that a run writes.
const ROOMY: u32 = 40;
/// So often that a run sees many sweeps.
const SWEEP_INTERVAL: Duration = Duration::from_millis(1);
/// Turns of the pump and the reclaimers in which they must come to rest.
const ROUNDS_MAX: u32 = 20_000;

/// A store in which reclaim is always at work.
fn recycling(stripes: u32, wblocks: u32, manner: Manner) -> Config {
    let grace = if manner.forgets == Forgets::All { 0 } else { 600 };
    config(stripes, wblocks)
        .sweep_interval(SWEEP_INTERVAL)
        .defrag_sleep(Duration::ZERO)
        .tombstone_grace(Duration::from_secs(grace))
        .overload_wait(Duration::from_secs(10))
}

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn a_store_in_memory_agrees_with_a_map(stripes in 1..=3_u32, ops in ops(150)) {
        check(Place::Memory, config(stripes, ROOMY), AT_REST, &ops);
    }

    #[test]
    fn a_store_on_a_simulated_disk_agrees_with_a_map(stripes in 1..=3_u32, ops in ops(120)) {
        let place = Place::Pumped(disk(stripes, ROOMY), None);
        check(place, config(stripes, ROOMY), AT_REST, &ops);
    }

    #[test]
    fn a_full_store_in_memory_agrees_with_a_map(ops in ops(150)) {
        check(Place::Memory, config(1, 2), AT_REST, &ops);
    }

    #[test]
    fn a_full_store_on_a_simulated_disk_agrees_with_a_map(ops in ops(60)) {
        // Crashes and reopens take a wblock each, and leave fewer than a delete needs.
        let ops: Vec<Op> = ops
            .into_iter()
            .filter(|op| !matches!(op, Op::Crash { .. } | Op::Reopen { .. }))
            .collect();
        check(Place::Pumped(disk(1, 3), None), config(1, 3), AT_REST, &ops);
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn a_store_on_files_agrees_with_a_map(stripes in 1..=3_u32, ops in ops(120)) {
        let dir = tempfile::tempdir().expect("a directory");
        check(Place::Files(dir), config(stripes, ROOMY).flush_max_ms(3), AT_REST, &ops);
    }

    #[test]
    fn a_recycled_store_on_files_agrees_with_a_map(
        wblocks in 8..=16_u32,
        manner in manner(),
        ops in recycling_ops(150),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        check(Place::Files(dir), recycling(1, wblocks, manner).flush_max_ms(3), manner, &ops);
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn a_recycled_store_in_memory_agrees_with_a_map(
        stripes in 1..=2_u32,
        wblocks in 8..=16_u32,
        manner in manner(),
        ops in recycling_ops(200),
    ) {
        check(Place::Memory, recycling(stripes, wblocks / stripes, manner), manner, &ops);
    }

    #[test]
    fn a_recycled_store_on_a_simulated_disk_agrees_with_a_map(
        stripes in 1..=2_u32,
        wblocks in 8..=16_u32,
        manner in manner(),
        ops in recycling_ops(200),
    ) {
        let wblocks = wblocks.max(6 * stripes) / stripes;
        let place = Place::Pumped(disk(stripes, wblocks), None);
        check(place, recycling(stripes, wblocks, manner), manner, &ops);
    }

    #[test]
    fn a_full_store_agrees_with_a_map_while_space_comes_back(
        is_in_memory in any::<bool>(),
        wblocks in 4..=5_u32,
        manner in manner(),
        ops in recycling_ops(100),
    ) {
        let manner = Manner { may_be_full: true, ..manner };
        let place = if is_in_memory {
            Place::Memory
        } else {
            Place::Pumped(disk(1, wblocks), None)
        };
        let config = recycling(1, wblocks, manner).overload_wait(Duration::from_millis(5));
        check(place, config, manner, &ops);
    }
}

/// `BRINDLE_SEED`, or one of the clock's.
fn seed() -> u64 {
    let given = std::env::var("BRINDLE_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| UNIX_EPOCH.elapsed().expect("after 1970").subsec_nanos().into())
}

/// Says the seed of a run that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "says how to repeat it")]
            {
                eprintln!("BRINDLE_SEED={} repeats it", self.0);
            }
        }
    }
}

/// Runs `count` operations on a store of `WBLOCKS`; each wblock is to be used several times.
fn long_run(count: usize, place: impl Fn(u32) -> Place) {
    const WBLOCKS: u32 = 10;
    let Seed(seed) = &Seed(seed());
    for forgets in [Forgets::Plain, Forgets::All] {
        let manner = Manner { forgets, may_be_full: false, seed: *seed };
        let bytes = Random(*seed).bytes(32);
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
        let mut next = || recycling_op().new_tree(&mut runner).expect("an operation").current();
        let ops: Vec<_> = (0..count).map(|_| next()).collect();
        let freed = check(place(WBLOCKS), recycling(1, WBLOCKS, manner), manner, &ops);
        assert!(freed > 5 * u64::from(WBLOCKS), "only {freed} wblocks were used again");
    }
}

#[test]
fn a_long_run_in_memory_agrees_with_a_map() {
    long_run(2_000, |_| Place::Memory);
}

#[test]
fn a_long_run_on_a_simulated_disk_agrees_with_a_map() {
    long_run(1_000, |wblocks| Place::Pumped(disk(1, wblocks), None));
}

#[test]
fn a_long_run_on_files_agrees_with_a_map() {
    long_run(1_000, |_| Place::Files(tempfile::tempdir().expect("a directory")));
}

#[test]
fn a_wblock_that_is_filled_to_the_byte_is_loaded_to_the_byte() {
    let mut bench = Bench::new(Place::Pumped(disk(1, ROOMY), None), config(1, ROOMY), AT_REST);
    let room = WBLOCK_BYTES as usize - 128;
    for (turn, cut) in [0, 16, 32, 4_096, 8_192].into_iter().enumerate() {
        let key = name(u8::try_from(turn).unwrap());
        let value =
            Random(turn as u64).bytes(room - brindle::RECORD_HEADER_BYTES_MAX - key.len() - cut);
        let put = answer(bench.store().put(&key, &value), |at| Answer::Version(at.into()));
        bench.expect_write(&key, &plain(Some(value)), &put);
        if turn % 2 == 0 {
            bench.flush();
        }
    }
    bench.reopen(0);
    if let Place::Pumped(disk, _) = &bench.place {
        assert!(disk.image(FileIndex(0)).iter().any(|byte| *byte != 0));
    }
}

#[test]
fn what_is_put_below_a_forgotten_delete_stays_whatever_the_shadow_still_holds() {
    let crash = Op::Crash { seed: 1, back: 0 };
    for (end, delete_at) in
        [(crash, None), (Op::Reopen { back: 0 }, Some(101)), (Op::Reopen { back: 0 }, None)]
    {
        let manner = Manner { forgets: Forgets::All, may_be_full: false, seed: 1 };
        let place = Place::Pumped(disk(1, 12), None);
        let mut bench = Bench::new(place, recycling(1, 12, manner), manner);
        let key = name(0);
        let write = |value: Option<&[u8]>, version| Write {
            value: value.map(<[u8]>::to_vec),
            expires_at: None,
            version,
            condition: Condition::Always,
        };
        // A wblock full of others, as often as asked.
        let fill = |bench: &mut Bench, times: u64| {
            for seed in 0..times {
                (1..KEYS).for_each(|other| bench.put(other, (12_500, seed)));
            }
        };
        bench.write(&key, &write(Some(b"old"), Some(100)));
        fill(&mut bench, 2);
        bench.write(&key, &write(None, delete_at));
        assert_eq!(bench.store().stats().tombstones, 1);
        // The first sweep frees the wblock of the old value, the next drops the tombstone.
        (0..4).for_each(|_| bench.run(&Op::Settle));
        assert_eq!(bench.store().stats().tombstones, 0, "nothing older is left");
        bench.write(&key, &write(Some(b"low"), Some(5)));
        assert_eq!(bench.store().get(&key).expect("accepted").version(), 5.into());
        bench.flush();
        bench.run(&end);
        assert_eq!(&*bench.store().get(&key).expect("stays"), b"low");
        // Moved, and replaced below what was forgotten.
        fill(&mut bench, 12);
        bench.run(&Op::Settle);
        bench.write(&key, &write(Some(b"next"), Some(6)));
        bench.flush();
        bench.run(&end);
        assert_eq!(&*bench.store().get(&key).expect("stays"), b"next");
        bench.run(&Op::Delete { key: 0 });
        bench.flush();
        bench.run(&end);
        assert!(bench.store().get(&key).is_none());
        bench.finish();
    }
}

#[test]
fn what_expired_over_an_older_copy_stays_dead_when_its_own_bytes_are_gone() {
    for end in [Op::Crash { seed: 1, back: 0 }, Op::Reopen { back: 0 }] {
        let manner = Manner { forgets: Forgets::All, may_be_full: false, seed: 1 };
        let place = Place::Pumped(disk(1, 12), None);
        let mut bench = Bench::new(place, recycling(1, 12, manner), manner);
        let (key, value) = (name(0), Some(b"v".to_vec()));
        // The older copy lies among others that nobody touches any more, the newer one among
        // others that are all overwritten.
        bench.run(&Op::Put { key: 0, value: (100, 1) });
        (1..4).for_each(|other| bench.put(other, (20_000, 1)));
        bench.put(4, (40_000, 1));
        let expires_at = Some(bench.model.now + 10);
        let write = Write { value, expires_at, version: None, condition: Condition::Always };
        bench.write(&key, &write);
        bench.flush();
        bench.run(&Op::Advance { micros: 11 });
        (0..4).for_each(|_| bench.run(&Op::Settle));
        assert_eq!(bench.store().stats().reclaim.expired, 1);
        let freed = bench.store().stats().reclaim.freed_wblocks;
        for seed in 0..6 {
            bench.put(4, (40_000, seed));
            bench.run(&Op::Settle);
        }
        assert!(bench.store().stats().reclaim.freed_wblocks > freed + 2);
        bench.flush();
        bench.run(&end);
        assert!(bench.store().get(&key).is_none());
        bench.finish();
    }
}
