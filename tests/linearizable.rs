//! Invariant 2: what threads do to one key at the same time behaves as if done one at a time.
//!
//! Threads work on a few hot keys and note when each call began and ended; the history of each key
//! must then have an order, within those times, that a plain map could have answered to. The
//! checker is Wing and Gong's with Lowe's memo: it tries the calls that may come next, and keeps
//! the sets of calls done, with the state reached, that led nowhere. Cold keys in between make
//! wblocks full and the index grow.
//!
//! Long histories look for what takes many calls. Thousands of short ones (`Plan`) each begin where
//! something is about to happen under the calls: the index to split, reclaim to move records or to
//! evict them, the store to be closed and opened again.
//!
//! `BRINDLE_HISTORIES=N` runs N histories of each kind; `BRINDLE_SEED=S` starts at seed S.
//!
//! Source: Lowe, "Testing for linearizability", 2017.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

mod common;

use brindle::testing::{Harness, SimDisk};
use brindle::{Condition, DeleteOptions, Error, PutOptions, Store, Version};
use common::{Random, config, disk};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

const STRIPES: u32 = 2;
const OPS: u64 = 150;

/// The value that a key has, with its version.
type State = Option<(u64, Version)>;

/// A call and what it answered; `done: None` is a condition that did not hold.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    Get { found: State },
    Put { value: u64, when: Condition, done: Option<Version> },
    Delete { when: Condition, done: Option<bool> },
    Add { new: u64, done: Version },
}

/// What a call leads to; `None`: a map in this state would not have answered so.
fn step(state: State, call: &Call) -> Option<State> {
    let holds = |when| match when {
        Condition::Always => true,
        Condition::IfAbsent => state.is_none(),
        Condition::IfPresent => state.is_some(),
        Condition::IfVersion(version) => state.is_some_and(|(_, at)| at == version),
        other => panic!("{other:?} is new"),
    };
    let is_above = |version| state.is_none_or(|(_, before)| version > before);
    match *call {
        Call::Get { found } => (found == state).then_some(state),
        Call::Put { when, done: None, .. } | Call::Delete { when, done: None } => {
            (!holds(when)).then_some(state)
        }
        Call::Put { value, when, done: Some(version) } => {
            (holds(when) && is_above(version)).then_some(Some((value, version)))
        }
        Call::Delete { when, done: Some(was_live) } => {
            (holds(when) && was_live == state.is_some()).then_some(None)
        }
        Call::Add { new, done } => {
            let old = state.map_or(0, |(value, _)| value);
            (new == old + 1 && is_above(done)).then_some(Some((new, done)))
        }
    }
}

/// A call on one key, from when to when.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u64,
    begun: u64,
    ended: u64,
    call: Call,
}

/// Whether the calls on one key can be put in an order that explains every answer.
fn is_linearizable(entries: &[Entry]) -> bool {
    has_order(entries, false)
}

/// The same; with `evicts` the key may be gone before any call.
fn has_order(entries: &[Entry], evicts: bool) -> bool {
    let mut entries = entries.to_vec();
    entries.sort_by_key(|entry| entry.begun);
    let mut been: HashSet<(Vec<u64>, State)> = HashSet::new();
    let mut done = vec![0_u64; entries.len().div_ceil(64)];
    let is_done = |done: &[u64], at: usize| done[at / 64] >> (at % 64) & 1 == 1;
    // The choices that were made, each with the state before it.
    let mut chosen: Vec<(usize, State)> = Vec::new();
    // `from`: twice the first call to be tried next, and one more if only after an eviction.
    let (mut state, mut from, mut first_left) = (None, 0, 0);
    while chosen.len() < entries.len() {
        while is_done(&done, first_left) {
            first_left += 1;
        }
        // A call may come next if it began before any other that is left had ended.
        let mut next = None;
        let mut first_end = u64::MAX;
        for (at, entry) in entries.iter().enumerate().skip(first_left) {
            if entry.begun > first_end {
                break;
            }
            if !is_done(&done, at) {
                first_end = first_end.min(entry.ended);
            }
        }
        for choice in from.max(2 * first_left)..2 * entries.len() {
            let (at, is_evicted) = (choice / 2, choice % 2 == 1);
            if entries[at].begun > first_end {
                break;
            }
            if is_done(&done, at) || (is_evicted && !(evicts && state.is_some())) {
                continue;
            }
            let before = if is_evicted { None } else { state };
            let Some(after) = step(before, &entries[at].call) else { continue };
            done[at / 64] |= 1 << (at % 64);
            if been.insert((done.clone(), after)) {
                next = Some((choice, after));
                break;
            }
            done[at / 64] &= !(1 << (at % 64));
        }
        if let Some((choice, after)) = next {
            chosen.push((choice, state));
            (state, from) = (after, 0);
        } else {
            let Some((choice, before)) = chosen.pop() else { return false };
            let at = choice / 2;
            done[at / 64] &= !(1 << (at % 64));
            (state, from, first_left) = (before, choice + 1, first_left.min(at));
        }
    }
    true
}

#[test]
fn the_checker_takes_what_has_an_order_and_nothing_else() {
    let version = Version::from;
    let get = |found| Call::Get { found };
    let put = |value, at| Call::Put { value, when: Condition::Always, done: Some(version(at)) };
    let (one, two) = (Some((1, version(1))), Some((2, version(2))));
    let history = |calls: &[(u64, u64, Call)]| {
        let entry = |(begun, ended, call): &(u64, u64, Call)| Entry {
            key: 0,
            begun: *begun,
            ended: *ended,
            call: *call,
        };
        is_linearizable(&calls.iter().map(entry).collect::<Vec<_>>())
    };
    assert!(history(&[(0, 1, put(1, 1)), (2, 3, get(one))]));
    assert!(history(&[(0, 9, put(1, 1)), (1, 2, get(None)), (3, 4, get(one))]));
    assert!(history(&[(0, 9, put(2, 2)), (1, 8, put(1, 1)), (2, 3, get(one)), (4, 5, get(two))]));
    assert!(!history(&[(0, 1, put(1, 1)), (2, 3, get(None))]), "a lost put");
    assert!(!history(&[(0, 9, put(1, 1)), (1, 2, get(one)), (3, 4, get(None))]), "went back");
    assert!(!history(&[(0, 1, get(one)), (2, 3, put(1, 1))]), "a read of the future");
    assert!(!history(&[(0, 1, put(2, 2)), (2, 3, put(1, 1))]), "a version went back");
    let add = |at| Call::Add { new: 1, done: version(at) };
    assert!(history(&[(0, 5, add(1))]));
    assert!(!history(&[(0, 5, add(1)), (1, 6, add(2))]), "a lost update");
    let absent = |at| Call::Put { value: at, when: Condition::IfAbsent, done: Some(version(at)) };
    assert!(!history(&[(0, 5, absent(1)), (1, 6, absent(2))]), "both were first");
    let refused = Call::Put { value: 5, when: Condition::IfAbsent, done: None };
    assert!(history(&[(0, 5, absent(1)), (1, 6, refused)]));
    assert!(!history(&[(0, 1, refused), (2, 3, absent(1))]), "refused for no reason");
    let delete = |was| Call::Delete { when: Condition::Always, done: Some(was) };
    assert!(history(&[(0, 1, put(1, 1)), (2, 9, delete(true)), (3, 8, delete(false))]));
    assert!(!history(&[(0, 1, put(1, 1)), (2, 9, delete(true)), (3, 8, delete(true))]));
}

#[test]
fn the_checker_lets_a_cache_forget_and_nothing_else() {
    let version = Version::from;
    let put = |value, when| Call::Put { value, when, done: Some(version(value)) };
    let get = |found| Call::Get { found };
    let (one, two) = (Some((1, version(1))), Some((2, version(2))));
    let history = |calls: &[Call]| {
        let entry = |(at, call): (u64, &Call)| Entry {
            key: 0,
            begun: 2 * at,
            ended: 2 * at + 1,
            call: *call,
        };
        has_order(&(0..).zip(calls).map(entry).collect::<Vec<_>>(), true)
    };
    let always = Condition::Always;
    assert!(history(&[put(1, always), get(one), get(None), put(2, Condition::IfAbsent), get(two)]));
    assert!(history(&[put(1, always), Call::Add { new: 1, done: version(2) }]), "gone before it");
    assert!(!history(&[put(1, always), get(None), get(one)]), "what is forgotten stays so");
    assert!(!history(&[put(1, always), get(two)]), "a read of what nobody put");
    assert!(!history(&[put(1, always), put(2, always), get(one)]), "an older version");
}

/// A value that says `value` over and over: a mixture of two shows. Long ones fill wblocks.
fn bytes(value: u64, random: &mut Random) -> Vec<u8> {
    let times = if random.below(8) == 0 { 2 + random.below(200) } else { 2 };
    value.to_le_bytes().repeat(usize::try_from(times).unwrap())
}

fn number(value: &[u8]) -> u64 {
    let mut words = value.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    let first = words.next().expect("a number");
    assert!(words.all(|word| word == first), "a torn value: {value:?}");
    first
}

fn hot(key: u64) -> [u8; 8] {
    key.to_le_bytes()
}

fn condition(random: &mut Random, last: Version) -> Condition {
    match random.below(8) {
        0 | 1 => Condition::IfAbsent,
        2 => Condition::IfPresent,
        3 | 4 => Condition::IfVersion(last),
        _ => Condition::Always,
    }
}

/// `None`: the condition did not hold.
fn answer<T>(result: brindle::Result<T>) -> Option<T> {
    match result {
        Ok(done) => Some(done),
        Err(Error::ConditionFailed) => None,
        Err(other) => panic!("{other:?}"),
    }
}

/// One call on a hot key; `last` is the version that the thread saw last of the key.
fn call(store: &Store, key: u64, value: u64, random: &mut Random, last: &mut Version) -> Call {
    let key = hot(key);
    match random.below(10) {
        0..=3 => {
            let found = store.get(key).map(|record| (number(&record), record.version()));
            *last = found.map_or(*last, |(_, version)| version);
            Call::Get { found }
        }
        4..=6 => {
            let when = condition(random, *last);
            let options = PutOptions::new().condition(when);
            let done = answer(store.put_with(key, bytes(value, random), &options));
            *last = done.unwrap_or(*last);
            Call::Put { value, when, done }
        }
        7 => {
            let when = condition(random, *last);
            let done = answer(store.delete_with(key, &DeleteOptions::new().condition(when)));
            Call::Delete { when, done }
        }
        _ => {
            let mut new = 0;
            let updated = store.update(key, |old| {
                new = old.map_or(0, number) + 1;
                Some(bytes(new, random))
            });
            let done = updated.expect("updates").expect("not deleted");
            *last = done;
            Call::Add { new, done }
        }
    }
}

/// One thread's part in a history.
fn work(store: &Store, clock: &AtomicU64, seed: u64, (keys, ops): (u64, u64)) -> Vec<Entry> {
    let mut random = Random(seed);
    let mut last = vec![Version::default(); usize::try_from(keys).unwrap()];
    let mut entries = Vec::new();
    for op in 0..ops {
        if random.below(4) == 0 {
            store.put((1 << 63 | seed << 32 | op).to_le_bytes(), random.bytes(100)).expect("room");
        }
        let key = random.below(keys);
        // Distinct values, far from those that updates count up to.
        let value = (seed << 16 | op) << 20;
        let last = &mut last[usize::try_from(key).unwrap()];
        let begun = clock.fetch_add(1, Ordering::AcqRel);
        let call = call(store, key, value, &mut random, last);
        let ended = clock.fetch_add(1, Ordering::AcqRel);
        entries.push(Entry { key, begun, ended, call });
    }
    entries
}

/// A store for one history, and the disk of its shadow if it has one.
fn open(has_shadow: bool, wblocks: u32) -> (Store, Option<SimDisk>) {
    let config = config(STRIPES, wblocks).flush_max_ms(2);
    if !has_shadow {
        return (Harness::default().open(config).unwrap(), None);
    }
    let disk = disk(STRIPES, wblocks);
    (Harness::default().open_on(config, Arc::new(disk.clone())).unwrap(), Some(disk))
}

/// Runs `threads` threads over one store and returns what they did.
fn record(store: &Store, seed: u64, threads: u64, keys: u64) -> Vec<Entry> {
    let clock = AtomicU64::new(0);
    record_on(store, &clock, seed, (threads, keys, OPS))
}

/// The same, by a clock that may go on from one part of a history to the next.
fn record_on(
    store: &Store,
    clock: &AtomicU64,
    seed: u64,
    (threads, keys, ops): (u64, u64, u64),
) -> Vec<Entry> {
    let start = Barrier::new(usize::try_from(threads).unwrap());
    thread::scope(|scope| {
        let spawn = |at| {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                work(store, clock, seed * 16 + at + 1, (keys, ops))
            })
        };
        let workers: Vec<_> = (0..threads).map(spawn).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    })
}

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// What is there at the end is one more read of each key.
fn read_all(store: &Store, keys: u64, entries: &mut Vec<Entry>) {
    for key in 0..keys {
        let found = store.get(hot(key)).map(|record| (number(&record), record.version()));
        let call = Call::Get { found };
        entries.push(Entry { key, begun: u64::MAX - 1, ended: u64::MAX, call });
    }
}

/// Histories from consecutive seeds; each key's must be linearizable, and end as the store ends,
/// also after a restart.
fn check_histories(has_shadow: bool, count: u64) {
    let count = from_env("BRINDLE_HISTORIES", count);
    let first = from_env("BRINDLE_SEED", 1);
    let mut calls = 0;
    for seed in first..first + count {
        let (threads, keys) = (3 + seed % 2, 4 + seed % 5);
        let replay = format!("BRINDLE_SEED={seed} BRINDLE_HISTORIES=1");
        let (store, disk) = open(has_shadow, 40);
        let mut entries = record(&store, seed, threads, keys);
        calls += entries.len();
        read_all(&store, keys, &mut entries);
        store.close().expect("closes");
        if let Some(disk) = disk {
            let again = Harness::default().open_on(config(STRIPES, 40), Arc::new(disk));
            read_all(&again.expect("opens"), keys, &mut entries);
        }
        for key in 0..keys {
            let of_key: Vec<_> = entries.iter().filter(|entry| entry.key == key).copied().collect();
            assert!(is_linearizable(&of_key), "{replay}: key {key}: {of_key:#?}");
        }
    }
    println!("{count} histories from seed {first}, {calls} calls on hot keys");
}

#[test]
fn histories_in_memory_are_linearizable() {
    check_histories(false, 150);
}

#[test]
fn histories_with_a_shadow_are_linearizable_and_survive_a_restart() {
    check_histories(true, 100);
}

/// Short histories that begin where something is about to happen.
#[derive(Clone, Copy)]
struct Plan {
    name: &'static str,
    has_shadow: bool,
    wblocks_per_stripe: u32,
    evict_used_pct: u8,
    /// Records that are there before, and the bytes of each value.
    cold: (u64, usize),
    /// Runs of the store; what is counted is of all but the last opening.
    runs: u64,
}

/// What happened under the calls.
#[derive(Debug, Default)]
struct Happened {
    calls: usize,
    /// Segments of the index that were split or rebuilt.
    grown: u64,
    moved: u64,
    evicted: u64,
    reopened: u64,
}

/// Histories after which what has not happened will not.
const MORE_MAX: u64 = 500;

impl Plan {
    fn open(&self, disk: Option<&SimDisk>) -> Store {
        let config = config(STRIPES, self.wblocks_per_stripe)
            .flush_max_ms(2)
            .sweep_interval(Duration::from_millis(1))
            .evict_used_pct(self.evict_used_pct)
            .overload_wait(Duration::from_secs(60))
            .stop_writes_avail_pct(0);
        match disk {
            None => Harness::default().open(config),
            Some(disk) => Harness::default().open_on(config, Arc::new(disk.clone())),
        }
        .expect("opens")
    }

    /// One history; each key's must have an order.
    fn check(&self, seed: u64, happened: &mut Happened) {
        let replay = format!("{}: BRINDLE_SEED={seed} BRINDLE_HISTORIES=1", self.name);
        let disk = self.has_shadow.then(|| disk(STRIPES, self.wblocks_per_stripe));
        let (threads, keys, ops) = (2 + seed % 3, 1 + seed % 4, 8 + seed % 9);
        let clock = AtomicU64::new(0);
        let mut entries = Vec::new();
        for run in 0..self.runs {
            let store = self.open(disk.as_ref());
            let mut random = Random(seed << 8 | run);
            let (count, bytes) = self.cold;
            let cold_key = |number: u64| (1 << 62 | number).to_le_bytes();
            for cold in 0..if run == 0 { count } else { 0 } {
                store.put(cold_key(cold), random.bytes(bytes)).expect("room");
            }
            let before = store.stats();
            thread::scope(|scope| {
                // What is overwritten meanwhile gives reclaim and the index work.
                scope.spawn(|| {
                    for _ in 0..count / 4 {
                        let cold = random.below(count + count / 8);
                        store.put(cold_key(cold), random.bytes(bytes)).expect("room");
                    }
                });
                let seed = seed * 8 + run;
                entries.extend(record_on(&store, &clock, seed, (threads, keys, ops)));
            });
            let after = store.stats();
            happened.grown += after.index_splits + after.index_rebuilds;
            happened.grown -= before.index_splits + before.index_rebuilds;
            happened.moved += after.reclaim.moved_records;
            happened.evicted += after.reclaim.evicted;
            happened.reopened += u64::from(run > 0);
            read_at(&store, keys, &clock, &mut entries);
            store.close().expect("closes");
        }
        happened.calls += entries.len();
        for key in 0..keys {
            let of_key: Vec<_> = entries.iter().filter(|entry| entry.key == key).copied().collect();
            let evicts = self.evict_used_pct > 0;
            assert!(has_order(&of_key, evicts), "{replay}: key {key}: {of_key:#?}");
        }
    }

    /// So many histories; and more, where a slow machine has not shown `wanted` by then.
    fn check_many(&self, count: u64, wanted: impl Fn(&Happened) -> bool) {
        let count = from_env("BRINDLE_HISTORIES", count);
        let first = from_env("BRINDLE_SEED", 1);
        let mut happened = Happened::default();
        let mut seed = first;
        while seed < first + count || seed < first + MORE_MAX && !wanted(&happened) {
            self.check(seed, &mut happened);
            seed += 1;
        }
        println!("{}: {} histories from seed {first}: {happened:?}", self.name, seed - first);
        assert!(wanted(&happened), "{}: did not happen: {happened:?}", self.name);
    }
}

/// What is there now, as one more read of each key, by a clock that goes on.
fn read_at(store: &Store, keys: u64, clock: &AtomicU64, entries: &mut Vec<Entry>) {
    for key in 0..keys {
        let begun = clock.fetch_add(1, Ordering::AcqRel);
        let found = store.get(hot(key)).map(|record| (number(&record), record.version()));
        let ended = clock.fetch_add(1, Ordering::AcqRel);
        entries.push(Entry { key, begun, ended, call: Call::Get { found } });
    }
}

const IN_MEMORY: Plan = Plan {
    name: "in memory",
    has_shadow: false,
    wblocks_per_stripe: 8,
    evict_used_pct: 0,
    cold: (8, 100),
    runs: 1,
};

#[test]
fn short_histories_in_memory_are_linearizable() {
    IN_MEMORY.check_many(150, |_| true);
}

/// The first segment has room for some 1,900 keys.
#[test]
fn short_histories_are_linearizable_while_the_index_grows() {
    let plan = Plan { name: "growth", wblocks_per_stripe: 12, cold: (1_880, 1), ..IN_MEMORY };
    plan.check_many(40, |happened| happened.grown > 0);
}

/// Some 60% full, and overwritten: reclaim moves what is live.
const MOVES: Plan = Plan { name: "moves", cold: (310, 1_800), ..IN_MEMORY };

#[test]
fn short_histories_are_linearizable_while_records_are_moved() {
    MOVES.check_many(60, |happened| happened.moved > 0);
    let on_shadow = Plan { name: "moves on a shadow", has_shadow: true, ..MOVES };
    on_shadow.check_many(20, |happened| happened.moved > 0);
}

const EVICTIONS: Plan =
    Plan { name: "evictions", evict_used_pct: 45, cold: (400, 1_800), ..IN_MEMORY };

#[test]
fn short_histories_of_a_cache_are_linearizable_but_for_what_it_forgets() {
    EVICTIONS.check_many(40, |happened| happened.evicted > 0);
    let on_shadow = Plan { name: "evictions on a shadow", has_shadow: true, ..EVICTIONS };
    on_shadow.check_many(20, |happened| happened.evicted > 0);
}

#[test]
fn short_histories_are_linearizable_across_restarts() {
    let plan =
        Plan { name: "restarts", has_shadow: true, runs: 3, cold: (200, 1_000), ..IN_MEMORY };
    plan.check_many(30, |happened| happened.reopened > 0);
    let cache = Plan { name: "restarts of a cache", has_shadow: true, runs: 2, ..EVICTIONS };
    cache.check_many(15, |happened| happened.reopened > 0);
}

#[test]
fn a_put_that_was_refused_never_comes_back() {
    let (store, disk) = open(true, 40);
    let rounds = 3_000_u64;
    let starts = Barrier::new(2);
    let race = |mine: u64| {
        let put = |key: u64| {
            starts.wait();
            let options = PutOptions::new().condition(Condition::IfAbsent);
            store.put_with(hot(key), mine.to_le_bytes(), &options).is_ok()
        };
        (0..rounds).map(put).collect::<Vec<bool>>()
    };
    let (mine, theirs) = thread::scope(|scope| {
        let theirs = scope.spawn(|| race(2));
        (race(1), theirs.join().expect("the other"))
    });
    store.close().unwrap();
    let disk = disk.expect("a shadow");
    let store = Harness::default().open_on(config(STRIPES, 40), Arc::new(disk)).unwrap();
    for (key, (mine, theirs)) in (0..).zip(mine.into_iter().zip(theirs)) {
        assert!(mine != theirs, "one is first");
        let found = number(&store.get(hot(key)).expect("one was put"));
        assert_eq!(found, if mine { 1 } else { 2 }, "key {key}: the refused put was read");
    }
}

/// Adds 1 to one counter of four, again and again.
fn count_on(store: &Store, seed: u64, adds: u64) {
    let mut random = Random(seed);
    let add = |old: Option<&[u8]>| Some((old.map_or(0, number) + 1).to_le_bytes().to_vec());
    for _ in 0..adds {
        store.update(hot(random.below(4)), add).expect("room");
    }
}

#[test]
fn counters_that_several_threads_update_add_up() {
    for has_shadow in [false, true] {
        let (store, disk) = open(has_shadow, 60);
        let (threads, adds) = (4_u64, 2_000_u64);
        thread::scope(|scope| {
            for seed in 0..threads {
                let store = &store;
                scope.spawn(move || count_on(store, seed, adds));
            }
        });
        let sum =
            |store: &Store| (0..4).map(|key| number(&store.get(hot(key)).unwrap())).sum::<u64>();
        assert_eq!(sum(&store), threads * adds);
        store.close().unwrap();
        if let Some(disk) = disk {
            let again = Harness::default().open_on(config(STRIPES, 60), Arc::new(disk)).unwrap();
            assert_eq!(sum(&again), threads * adds, "after a restart");
        }
    }
}

/// Writes that each raise the version of one of three keys.
fn write_on(store: &Store, seed: u64, has_shadow: bool) {
    let mut random = Random(seed);
    for op in 0..3_000_u64 {
        let key = hot(random.below(3));
        match random.below(8) {
            // A tombstone keeps the version; without a shadow there is none.
            0 if has_shadow => {
                store.delete(key).expect("room");
            }
            1 => {
                store.update(key, |_| Some(op.to_le_bytes().to_vec())).expect("room");
            }
            2 => {
                store.put((1 << 63 | seed << 32 | op).to_le_bytes(), [7; 30]).expect("room");
            }
            _ => {
                store.put(key, bytes(op, &mut random)).expect("room");
            }
        }
    }
}

/// Reads three keys until no writer is left.
fn read_on(store: &Store, writers_left: &AtomicU64) {
    let mut newest = [Version::default(); 3];
    while writers_left.load(Ordering::Acquire) > 0 {
        for (key, newest) in (0..).zip(&mut newest) {
            let Some(record) = store.get(hot(key)) else { continue };
            let _whole = number(&record);
            assert!(record.version() >= *newest, "a read went back");
            *newest = record.version();
        }
    }
}

#[test]
fn the_versions_that_a_reader_sees_never_go_back() {
    for has_shadow in [false, true] {
        let (store, _disk) = open(has_shadow, 60);
        let (store, writers_left) = (&store, &AtomicU64::new(2));
        let write = |seed| {
            write_on(store, seed, has_shadow);
            writers_left.fetch_sub(1, Ordering::AcqRel);
        };
        thread::scope(|scope| {
            scope.spawn(|| write(0));
            scope.spawn(|| write(1));
            scope.spawn(|| read_on(store, writers_left));
            scope.spawn(|| read_on(store, writers_left));
        });
    }
}
