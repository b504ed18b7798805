//! The public API against a map: few keys, weighted operations, and everything compared.
//!
//! The model is a `BTreeMap` from key to record or tombstone, with the rules of the contract and
//! nothing else. It runs beside a store in memory, on the simulated disk with the pump in the
//! test's hands, and on files; the clock is the test's. A crash takes the store back to its last
//! barrier, or to what was written since: the model then takes over what the store says, once it
//! has found it allowed (`tests/crash_sim.rs` looks at that more closely).
//!
//! A failure prints its operations, shrunk; proptest keeps the seed.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod common;

use brindle::format::{Rank, Shape};
use brindle::testing::{Clock, FileIndex, Harness, ManualClock, Pump, SimDisk};
use brindle::{Condition, Config, DeleteOptions, Error, PutOptions, Store, Version};
use common::{Random, WBLOCK_BYTES, config, disk};
use proptest::prelude::*;
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
    Put { key: u8, value: (usize, u64) },
    PutWith { key: u8, value: (usize, u64), which: Which, when: When, life: Life },
    Replay { key: u8 },
    Delete { key: u8 },
    DeleteWith { key: u8, which: Which, when: When },
    Update { key: u8, value: Option<(usize, u64)> },
    Get { key: u8 },
    GetMany { keys: Vec<u8> },
    PutMany { keys: Vec<u8>, value: (usize, u64) },
    Scan,
    Clear,
    Flush,
    Poll { due: bool },
    Advance { micros: u64 },
    Reopen { back: u64 },
    Crash { seed: u64, back: u64 },
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
}

impl Entry {
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

/// The map, by the rules of the contract.
#[derive(Clone, Debug, Default)]
struct Model {
    entries: BTreeMap<Vec<u8>, Entry>,
    now: u64,
    has_shadow: bool,
}

/// A write as the model takes it.
struct Write {
    value: Option<Vec<u8>>,
    expires_at: Option<u64>,
    version: Option<u64>,
    condition: Condition,
}

impl Model {
    fn live(&self, key: &[u8]) -> Option<&Entry> {
        let is_live = |entry: &&Entry| {
            entry.value.is_some() && entry.expires_at.is_none_or(|instant| self.now <= instant)
        };
        self.entries.get(key).filter(is_live)
    }

    fn write(&mut self, key: &[u8], write: Write) -> Answer {
        let live = self.live(key);
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
            return Answer::Failed;
        }
        let is_delete = write.value.is_none();
        let current = self.entries.get(key);
        let version = match write.version {
            Some(version) => version,
            None if is_delete && !was_live => return Answer::Was(false),
            None if is_delete && !self.has_shadow => {
                self.entries.remove(key);
                return Answer::Was(true);
            }
            None => current.map_or(self.now, |current| self.now.max(current.version + 1)),
        };
        let entry = Entry { version, value: write.value, expires_at: write.expires_at };
        if let (Some(_), Some(current)) = (write.version, current)
            && entry.rank() < current.rank()
        {
            return Answer::Conflict(current.version);
        }
        self.entries.insert(key.to_vec(), entry);
        if is_delete { Answer::Was(was_live) } else { Answer::Version(version) }
    }
}

/// Where the store is.
enum Place {
    Memory,
    Pumped(SimDisk, Option<Box<Pump>>),
    Files(TempDir),
}

struct Bench {
    store: Option<Store>,
    place: Place,
    clock: Arc<ManualClock>,
    config: Config,
    model: Model,
    /// What each key was since the last barrier, the oldest first.
    since_barrier: BTreeMap<Vec<u8>, Vec<Option<Entry>>>,
}

fn name(key: u8) -> Vec<u8> {
    // Of different lengths, so that records are padded differently.
    vec![b'a' + key; usize::from(key) * 3 + 1]
}

impl Bench {
    fn new(place: Place, config: Config) -> Self {
        let clock = Arc::new(ManualClock::new(START_US));
        let has_shadow = !matches!(place, Place::Memory);
        let model = Model { entries: BTreeMap::new(), now: START_US, has_shadow };
        let since_barrier = BTreeMap::new();
        let mut bench = Self { store: None, place, clock, config, model, since_barrier };
        bench.open();
        bench.settled();
        bench
    }

    fn open(&mut self) {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let harness = Harness { clock: Some(clock), ..Harness::default() };
        let config = self.config.clone();
        self.store = Some(match &mut self.place {
            Place::Memory => harness.open(config).expect("opens"),
            Place::Files(dir) => harness.open(config.shadow_dir(dir.path())).expect("opens"),
            Place::Pumped(disk, pump) => {
                let opened = harness.open_pumped(config, Arc::new(disk.clone()));
                let (store, new) = opened.expect("opens");
                *pump = Some(Box::new(new));
                store
            }
        });
        // The shadow's floor may have moved the clock on.
        self.model.now = self.clock.precise_us();
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open")
    }

    /// All that there is is durable.
    fn settled(&mut self) {
        for key in (0..KEYS).map(name) {
            let entry = self.model.entries.get(&key).cloned();
            self.since_barrier.insert(key, vec![entry]);
        }
    }

    fn flush(&mut self) {
        match &mut self.place {
            Place::Pumped(_, pump) => pump.as_mut().expect("open").barrier().expect("no faults"),
            Place::Memory | Place::Files(_) => self.store().flush().expect("no faults"),
        }
        self.settled();
    }

    fn write(&mut self, key: &[u8], write: Write) {
        let Write { value, expires_at, version, condition } = &write;
        let result = match (value, version) {
            (Some(value), version) => {
                let mut options = PutOptions::new().condition(*condition);
                if let Some(version) = version {
                    options = options.version((*version).into());
                }
                if let Some(instant) = expires_at {
                    options = options.expires_at(UNIX_EPOCH + Duration::from_micros(*instant));
                }
                let put = self.store().put_with(key, value, &options);
                answer(put, |version| Answer::Version(version.into()))
            }
            (None, version) => {
                let mut options = DeleteOptions::new().condition(*condition);
                if let Some(version) = version {
                    options = options.version((*version).into());
                }
                answer(self.store().delete_with(key, &options), Answer::Was)
            }
        };
        self.expect_write(key, write, &result);
    }

    /// Compares an answer with the model's; a full store may refuse whatever needs space.
    fn expect_write(&mut self, key: &[u8], write: Write, result: &Answer) {
        let before = self.model.entries.get(key).cloned();
        let expected = self.model.write(key, write);
        if *result == Answer::Full && matches!(expected, Answer::Version(_) | Answer::Was(_)) {
            self.model.entries.remove(key);
            self.model.entries.extend(before.map(|before| (key.to_vec(), before)));
            return;
        }
        assert_eq!(*result, expected, "{}", key.escape_ascii());
        let after = self.model.entries.get(key).cloned();
        self.since_barrier.entry(key.to_vec()).or_default().push(after);
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Put { key, value } => {
                let (key, value) = (name(*key), bytes(*value));
                let put = answer(self.store().put(&key, &value), |at| Answer::Version(at.into()));
                self.expect_write(&key, plain(Some(value)), &put);
            }
            Op::PutWith { key, value, which, when, life } => {
                let (key, value) = (name(*key), Some(bytes(*value)));
                let (version, condition) =
                    (self.version(&key, *which), self.condition(&key, *when));
                let expires_at = match life {
                    Life::Default | Life::Never => None,
                    Life::Micros(micros) => Some(self.model.now + micros),
                    Life::Past => Some(self.model.now - 1),
                };
                self.write(&key, Write { value, expires_at, version, condition });
            }
            Op::Replay { key } => {
                let key = name(*key);
                if let Some(Entry { version, value, expires_at }) = self.model.entries.get(&key) {
                    let (version, condition) = (Some(*version), Condition::Always);
                    let (value, expires_at) = (value.clone(), *expires_at);
                    self.write(&key, Write { value, expires_at, version, condition });
                }
            }
            Op::Delete { key } => {
                let key = name(*key);
                let deleted = answer(self.store().delete(&key), Answer::Was);
                self.expect_write(&key, plain(None), &deleted);
            }
            Op::DeleteWith { key, which, when } => {
                let key = name(*key);
                let (version, condition) =
                    (self.version(&key, *which), self.condition(&key, *when));
                self.write(&key, Write { value: None, expires_at: None, version, condition });
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
                if let Place::Pumped(_, pump) = &mut self.place {
                    pump.as_mut().expect("open").poll(*due).expect("no faults");
                }
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
        let updated = self.store().update(key, |old| {
            assert_eq!(old, expected.as_deref());
            value.clone()
        });
        let is_put = value.is_some();
        let was_live = expected.is_some();
        let result = answer(updated, |version| match version {
            Some(version) => Answer::Version(version.into()),
            None if is_put => Answer::Nothing,
            None => Answer::Was(was_live),
        });
        self.expect_write(key, plain(value), &result);
    }

    fn put_many(&mut self, keys: &[u8], value: (usize, u64)) {
        let pairs: Vec<_> = keys.iter().map(|key| (name(*key), bytes(value))).collect();
        let result = self.store().put_many(pairs.clone());
        let (versions, done) = match result {
            Ok(versions) => (Some(versions), pairs.len()),
            Err(Error::Batch { done, source }) => {
                assert!(matches!(*source, Error::OutOfSpace), "{source}");
                (None, done)
            }
            Err(other) => panic!("{other}"),
        };
        for (at, (key, value)) in pairs.into_iter().take(done).enumerate() {
            let expected = self.model.write(&key, plain(Some(value)));
            if let Some(versions) = &versions {
                assert_eq!(Answer::Version(versions[at].into()), expected);
            }
            let after = self.model.entries.get(&key).cloned();
            self.since_barrier.entry(key).or_default().push(after);
        }
    }

    fn clear(&mut self) {
        match self.store().clear() {
            Ok(()) | Err(Error::OutOfSpace) => {}
            Err(other) => panic!("{other}"),
        }
        for key in (0..KEYS).map(name) {
            if !self.store().contains_key(&key) && self.model.live(&key).is_some() {
                self.model.write(&key, plain(None));
                let after = self.model.entries.get(&key).cloned();
                self.since_barrier.entry(key).or_default().push(after);
            }
        }
    }

    fn reopen(&mut self, back: u64) {
        if let Place::Pumped(_, pump) = &mut self.place {
            pump.as_mut().expect("open").barrier().expect("no faults");
        }
        self.store.take().expect("open").close().expect("closes");
        if let Place::Pumped(_, pump) = &mut self.place {
            pump.take().expect("open").close();
        }
        if !self.model.has_shadow {
            self.model.entries.clear();
        }
        // The wall clock steps back; the floor of the shadow is where it was.
        let before = self.model.now;
        self.turn_to(before - back);
        self.open();
        assert!(!self.model.has_shadow || self.model.now >= before, "the floor does not hold");
        assert_eq!(self.store().stats().load.was_clean, self.model.has_shadow);
        self.settled();
        self.compare_all();
    }

    fn crash(&mut self, seed: u64, back: u64) {
        let Place::Pumped(disk, pump) = &mut self.place else { return };
        *disk = disk.crash(Random(seed).below(1 << 40));
        *pump = None;
        self.store = None;
        // The floor after a crash is that of the last open at least, not of the last moment.
        let before = self.model.now;
        self.turn_to(before - back.min(before - START_US));
        self.open();
        let now = self.model.now;
        for (key, was) in &self.since_barrier {
            let found = self.store().get(key);
            let found = found.map(|record| (record.to_vec(), u64::from(record.version())));
            let stands = was.iter().rev().find(|entry| read_at(now, entry.as_ref()) == found);
            let Some(stands) = stands else { panic!("{} is {found:?}", key.escape_ascii()) };
            self.model.entries.remove(key);
            self.model.entries.extend(stands.clone().map(|entry| (key.clone(), entry)));
        }
        self.learn_tombstones();
        self.settled();
        self.compare_all();
    }

    /// After a crash: which dead entry of a dead key survived shows only in what the store counts,
    /// so each dead key is deleted at a version above all of them.
    fn learn_tombstones(&mut self) {
        let top = self.model.entries.values().map(|entry| entry.version).max().unwrap_or(0);
        let versions = self.since_barrier.values().flatten().flatten().map(|entry| entry.version);
        let top = versions.max().unwrap_or(0).max(top) + 1;
        for key in (0..KEYS).map(name) {
            if self.model.live(&key).is_some() {
                continue;
            }
            let options = DeleteOptions::new().version(top.into());
            match self.store().delete_with(&key, &options) {
                Ok(_) => {
                    let entry = Entry { version: top, value: None, expires_at: None };
                    self.model.entries.insert(key, entry);
                }
                Err(other) => panic!("{other}"),
            }
        }
        self.flush();
    }

    fn version(&self, key: &[u8], which: Which) -> Option<u64> {
        let current = self.model.entries.get(key).map_or(self.model.now, |entry| entry.version);
        match which {
            Which::None => None,
            Which::Below => Some(current - 1),
            Which::Same => Some(current),
            Which::Above(more) => Some(current + more),
            Which::Clock => Some(self.model.now),
        }
    }

    fn condition(&self, key: &[u8], when: When) -> Condition {
        let current = self.model.entries.get(key).map_or(0, |entry| entry.version);
        match when {
            When::Always => Condition::Always,
            When::IfAbsent => Condition::IfAbsent,
            When::IfPresent => Condition::IfPresent,
            When::IfThis => Condition::IfVersion(current.into()),
            When::IfOther => Condition::IfVersion((current + 1).into()),
        }
    }

    fn compare(&self, key: &[u8]) {
        let record = self.store().get(key);
        let found = record.as_ref().map(|record| {
            let since = |instant: std::time::SystemTime| {
                instant.duration_since(UNIX_EPOCH).expect("after 1970").as_micros()
            };
            let expires_at = record.expires_at().map(|at| u64::try_from(since(at)).unwrap());
            Entry { version: record.version().into(), value: Some(record.to_vec()), expires_at }
        });
        assert_eq!(found.as_ref(), self.model.live(key), "{}", key.escape_ascii());
        assert_eq!(self.store().contains_key(key), found.is_some());
    }

    fn compare_all(&self) {
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
        let entries = self.model.entries.iter();
        let (values, tombstones): (Vec<_>, Vec<_>) =
            entries.clone().partition(|(_, entry)| entry.value.is_some());
        let stats = self.store().stats();
        let counted = (stats.records, stats.tombstones, self.store().len());
        assert_eq!(counted, (values.len() as u64, tombstones.len() as u64, values.len()));
        let live_bytes: u64 = entries.map(|(key, entry)| entry.stored_bytes(key)).sum();
        assert_eq!(stats.live_bytes, live_bytes, "of {values:?} and {tombstones:?}");
        let wblocks = stats.wblocks;
        let all = wblocks.free + wblocks.open + wblocks.sealed + wblocks.used;
        assert_eq!(all * u64::from(stats.wblock_bytes), stats.data_size_bytes);
        assert_eq!(wblocks.free, stats.free_wblocks);
        assert_eq!(stats.load.damaged(), 0);
    }
}

/// Value and version, if a read at `now` sees it.
fn read_at(now: u64, entry: Option<&Entry>) -> Option<(Vec<u8>, u64)> {
    let entry = entry.filter(|entry| entry.expires_at.is_none_or(|instant| now <= instant))?;
    entry.value.clone().map(|value| (value, entry.version))
}

fn plain(value: Option<Vec<u8>>) -> Write {
    Write { value, expires_at: None, version: None, condition: Condition::Always }
}

fn bytes((count, seed): (usize, u64)) -> Vec<u8> {
    Random(seed).bytes(count)
}

fn check(place: Place, config: Config, ops: &[Op]) {
    let mut bench = Bench::new(place, config);
    for op in ops {
        bench.run(op);
    }
    bench.compare_all();
    if bench.model.has_shadow {
        bench.reopen(0);
    }
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { max_shrink_iters: 4_000, ..ProptestConfig::with_cases(count) }
}

fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..most)
}

/// Enough for all that a run writes: nothing is reclaimed yet.
const ROOMY: u32 = 40;

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn a_store_in_memory_agrees_with_a_map(stripes in 1..=3_u32, ops in ops(150)) {
        check(Place::Memory, config(stripes, ROOMY), &ops);
    }

    #[test]
    fn a_store_on_a_simulated_disk_agrees_with_a_map(stripes in 1..=3_u32, ops in ops(120)) {
        check(Place::Pumped(disk(stripes, ROOMY), None), config(stripes, ROOMY), &ops);
    }

    #[test]
    fn a_full_store_in_memory_agrees_with_a_map(ops in ops(150)) {
        check(Place::Memory, config(1, 2), &ops);
    }

    #[test]
    fn a_full_store_on_a_simulated_disk_agrees_with_a_map(ops in ops(60)) {
        // Crashes and reopens take a wblock each, and leave fewer than a delete needs.
        let ops: Vec<Op> = ops
            .into_iter()
            .filter(|op| !matches!(op, Op::Crash { .. } | Op::Reopen { .. }))
            .collect();
        check(Place::Pumped(disk(1, 3), None), config(1, 3), &ops);
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn a_store_on_files_agrees_with_a_map(stripes in 1..=3_u32, ops in ops(120)) {
        let dir = tempfile::tempdir().expect("a directory");
        check(Place::Files(dir), config(stripes, ROOMY).flush_max_ms(3), &ops);
    }
}

#[test]
fn a_wblock_that_is_filled_to_the_byte_is_loaded_to_the_byte() {
    let mut bench = Bench::new(Place::Pumped(disk(1, ROOMY), None), config(1, ROOMY));
    let room = WBLOCK_BYTES as usize - 128;
    for (turn, cut) in [0, 16, 32, 4_096, 8_192].into_iter().enumerate() {
        let key = name(u8::try_from(turn).unwrap());
        let value =
            Random(turn as u64).bytes(room - brindle::RECORD_HEADER_BYTES_MAX - key.len() - cut);
        let put = answer(bench.store().put(&key, &value), |at| Answer::Version(at.into()));
        bench.expect_write(&key, plain(Some(value)), &put);
        if turn % 2 == 0 {
            bench.flush();
        }
    }
    bench.reopen(0);
    if let Place::Pumped(disk, _) = &bench.place {
        assert!(disk.image(FileIndex(0)).iter().any(|byte| *byte != 0));
    }
}
