//! SIGKILL of a process in the middle of its work, again and again, on real files.
//!
//! The child writes to a journal what it is about to do, and afterwards what is known to be
//! durable; the journal outlives it. The parent opens the store and holds it against the journal:
//! each key is at the last state known to be durable or at one submitted after that (invariant 4),
//! what was deleted or has expired stays dead (invariant 5), and nothing else is there.
//!
//! A killed process leaves behind exactly what its system calls did, at any point between or in
//! them; power cuts are the simulated disk's part.
//!
//! `BRINDLE_KILLS` sets the number of cycles, `BRINDLE_SEED` repeats a run.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed step of a test is the test's failure"
)]

#[path = "common_files/child.rs"]
mod child;
#[path = "common_files/rng.rs"]
mod rng;

use brindle::testing::{Harness, Prefer};
use brindle::{Config, DeleteOptions, Error, Health, PutOptions, Store, Version};
use rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Threads of the child. Each owns a part of the keys; the shared ones all of them write.
const THREADS: u64 = 3;
const THREADS_LEN: usize = 3;
const KEYS: u64 = 160;
const SHARED_KEYS: u64 = 40;
/// Cycles that one store lives through.
const CYCLES_A_STORE: u64 = 6;
/// Threads of this test that each kill children of their own.
const LANES: u64 = 2;

/// What one write does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Put,
    /// Through `update`.
    Update,
    /// A put whose expiry has passed: for every reader a delete.
    PutExpired,
    Delete,
}

/// One write, as the journal tells it. Its value follows from its number and length.
#[derive(Clone, Copy, Debug)]
struct Write1 {
    number: u64,
    key: u64,
    /// 0: the engine's own.
    version: u64,
    act: Act,
    bytes: usize,
}

impl Write1 {
    fn is_value(&self) -> bool {
        matches!(self.act, Act::Put | Act::Update)
    }

    fn value(&self) -> Vec<u8> {
        value(self.number, self.bytes)
    }
}

fn key_name(key: u64) -> String {
    // Lengths differ, so that records do not all start alike in their rblocks.
    format!("key-{key:0width$}", width = 3 + usize::try_from(key % 29).unwrap_or_default())
}

/// Differs from that of every other number in each part of 8 bytes.
fn value(number: u64, bytes: usize) -> Vec<u8> {
    let mut rng = Rng::new(number);
    let mut value = Vec::with_capacity(bytes + 8);
    while value.len() < bytes {
        value.extend_from_slice(&rng.next().to_le_bytes());
    }
    value.truncate(bytes);
    value
}

/// How the child opens its store.
#[derive(Clone, Debug)]
struct Setup {
    dir: PathBuf,
    wblock_bytes: u64,
    prefer: Prefer,
    seed: u64,
    /// All writes of this run get numbers above.
    first_number: u64,
}

impl Setup {
    fn encode(&self) -> String {
        let Self { dir, wblock_bytes, prefer, seed, first_number } = self;
        let ring = u8::from(*prefer == Prefer::Ring);
        format!("{wblock_bytes} {ring} {seed} {first_number} {}", dir.display())
    }

    fn decode(text: &str) -> Self {
        let mut words = text.splitn(5, ' ');
        let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
        let (wblock_bytes, ring, seed, first_number) = (number(), number(), number(), number());
        let prefer = if ring == 1 { Prefer::Ring } else { Prefer::Blocking };
        let dir = words.next().expect("a directory").into();
        Self { dir, wblock_bytes, prefer, seed, first_number }
    }

    fn open(&self) -> brindle::Result<Store> {
        let is_large = self.wblock_bytes > 1 << 20;
        let (stripes, data_bytes) =
            if is_large { (1, 10 * self.wblock_bytes) } else { (3, 24 << 20) };
        let config = Config::new()
            .shadow_dir(self.dir.join("shadow"))
            .wblock_size(self.wblock_bytes)
            .data_size(data_bytes)
            .stripes(stripes)
            .flush_max_ms(4 + self.seed % 16)
            .prefault(false);
        Harness { prefer: self.prefer, ..Harness::default() }.open(config)
    }

    fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }
}

/// The child's part: opens the store and writes until it is killed or the store is full.
#[test]
fn child_entry() {
    let Some((_, argument)) = child::part() else { return };
    let setup = Setup::decode(&argument);
    let journal = OpenOptions::new().append(true).create(true).open(setup.journal());
    let journal = journal.expect("a journal");
    child::say("opening");
    let store = setup.open().expect("a store that was killed opens");
    child::say("ready");
    let run = Run {
        store: &store,
        journal: &journal,
        versions: AtomicU64::new(now_us()),
        returned: Default::default(),
        is_full: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (run, setup) = (&run, &setup);
            scope.spawn(move || run.work(thread, setup));
        }
    });
    child::say("full");
    // The parent kills in any case: a store that is full is killed while idle.
    thread::sleep(Duration::from_secs(60));
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    u64::try_from(since.as_micros()).expect("and earlier than the year 500000")
}

struct Run<'a> {
    store: &'a Store,
    journal: &'a File,
    /// For writes of shared keys, which bring their own.
    versions: AtomicU64,
    /// Per thread: the last of its writes that has returned.
    returned: [AtomicU64; THREADS_LEN],
    is_full: AtomicBool,
}

impl Run<'_> {
    fn note(&self, line: &str) {
        // One system call for each line, appended whole.
        let mut journal = self.journal;
        journal.write_all(line.as_bytes()).expect("a journal");
    }

    fn work(&self, thread: u64, setup: &Setup) {
        let mut rng = Rng::new(setup.seed ^ (thread << 56));
        let mut number = setup.first_number + thread;
        let returned = &self.returned[usize::try_from(thread).expect("few")];
        while !self.is_full.load(Ordering::Relaxed) {
            number += THREADS;
            let is_durable = rng.below(24) == 0;
            let write = self.choose(thread, number, &mut rng);
            self.submit(&write);
            match self.apply(&write, is_durable) {
                Ok(()) if is_durable => self.note(&format!("D {number}\n")),
                Ok(()) => {}
                Err(Error::VersionConflict { .. }) => self.note(&format!("F {number}\n")),
                Err(Error::OutOfSpace) => {
                    self.note(&format!("F {number}\n"));
                    self.is_full.store(true, Ordering::Relaxed);
                }
                Err(other) => self.note(&format!("E {number} {other}\n")),
            }
            // Release and Acquire: who sees the number flushes what it stands for.
            returned.store(number, Ordering::Release);
            if rng.below(16) == 0 {
                self.flush();
            }
        }
    }

    fn choose(&self, thread: u64, number: u64, rng: &mut Rng) -> Write1 {
        let is_shared = rng.below(4) == 0;
        let key = if is_shared {
            KEYS + rng.below(SHARED_KEYS)
        } else {
            rng.below(KEYS / THREADS) * THREADS + thread
        };
        let act = match rng.below(12) {
            0 | 1 => Act::Delete,
            2 => Act::PutExpired,
            3 | 4 if !is_shared => Act::Update,
            _ => Act::Put,
        };
        let bytes = match rng.below(32) {
            0 => rng.below(30_000),
            1..4 => 0,
            _ => rng.below(700),
        };
        let version = if is_shared { self.versions.fetch_add(1, Ordering::Relaxed) } else { 0 };
        Write1 { number, key, version, act, bytes: usize::try_from(bytes).unwrap_or_default() }
    }

    fn submit(&self, write: &Write1) {
        let act = match write.act {
            Act::Put => 'P',
            Act::Update => 'U',
            Act::PutExpired => 'X',
            Act::Delete => 'K',
        };
        let Write1 { number, key, version, bytes, .. } = write;
        self.note(&format!("S {number} {key} {version} {act} {bytes}\n"));
    }

    fn apply(&self, write: &Write1, is_durable: bool) -> brindle::Result<()> {
        let key = key_name(write.key);
        let mut options = PutOptions::new().durable(is_durable);
        let mut deletion = DeleteOptions::new().durable(is_durable);
        if write.version != 0 {
            options = options.version(Version::from(write.version));
            deletion = deletion.version(Version::from(write.version));
        }
        match write.act {
            Act::Put => self.store.put_with(key, write.value(), &options).map(|_| ()),
            Act::PutExpired => {
                let passed = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
                self.store.put_with(key, write.value(), &options.expires_at(passed)).map(|_| ())
            }
            Act::Delete => self.store.delete_with(key, &deletion).map(|_| ()),
            Act::Update => {
                self.store.update(key, |_| Some(write.value()))?;
                if is_durable { self.store.flush() } else { Ok(()) }
            }
        }
    }

    /// A flush covers what every thread had acknowledged before it began.
    fn flush(&self) {
        let before = self.returned.each_ref().map(|number| number.load(Ordering::Acquire));
        if self.store.flush().is_ok() {
            let lines = before.map(|number| format!("A {number}\n"));
            self.note(&lines.concat());
        }
    }
}

/// What the journals say of one store, by key in the order of the writes.
#[derive(Debug, Default)]
struct Oracle {
    /// What a key may be, the oldest first; the first is known to be durable. No entry: absent.
    keys: BTreeMap<u64, Vec<Write1>>,
    /// Bytes of the journal that were read.
    read: usize,
    kills: u64,
    writes: u64,
    acknowledged: u64,
}

impl Oracle {
    /// Reads what the last child has added to its journal.
    fn read(&mut self, journal: &Path) {
        let text = fs::read_to_string(journal).unwrap_or_default();
        // A line that was cut short announces a write that was never begun.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let new = &text[self.read.min(whole)..whole];
        self.read = whole;
        let mut submitted: BTreeMap<u64, Write1> = BTreeMap::new();
        let mut durable = BTreeSet::new();
        for line in new.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().expect("a number");
            match words[0] {
                "S" => {
                    let act = match words[4] {
                        "P" => Act::Put,
                        "U" => Act::Update,
                        "X" => Act::PutExpired,
                        _ => Act::Delete,
                    };
                    let bytes = usize::try_from(number(5)).expect("a length");
                    let (key, version) = (number(2), number(3));
                    let write = Write1 { number: number(1), key, version, act, bytes };
                    submitted.insert(write.number, write);
                    self.writes += 1;
                }
                "D" => {
                    durable.insert(number(1));
                }
                "A" => {
                    let thread = number(1) % THREADS;
                    let upto = submitted.range(..=number(1)).map(|(number, _)| *number);
                    durable.extend(upto.filter(|number| number % THREADS == thread));
                }
                "F" => {
                    submitted.remove(&number(1));
                }
                other => panic!("the child met an error: {other} {line}"),
            }
        }
        self.acknowledged += durable.len() as u64;
        let mut by_key: BTreeMap<u64, Vec<Write1>> = BTreeMap::new();
        for write in submitted.into_values() {
            by_key.entry(write.key).or_default().push(write);
        }
        for (key, mut writes) in by_key {
            // One thread's writes come in the order of their numbers, shared ones in that of
            // their versions.
            writes.sort_by_key(|write| (write.version, write.number));
            let candidates = self.keys.entry(key).or_insert_with(|| vec![absent(key)]);
            let last = writes.iter().rposition(|write| durable.contains(&write.number));
            if last.is_some() {
                candidates.clear();
            }
            candidates.extend(writes.into_iter().skip(last.unwrap_or(0)));
        }
    }

    /// Holds the store against what was journalled; what it says is the base of the next cycle.
    fn check(&mut self, store: &Store, context: &str) {
        assert_eq!(store.health(), Health::Ok, "{context}: {:?}", store.stats().load);
        let mut present = BTreeSet::new();
        for key in 0..KEYS + SHARED_KEYS {
            let found = store.get(key_name(key));
            let candidates = self.keys.entry(key).or_insert_with(|| vec![absent(key)]);
            // Several may look alike: absent is absent, and values may be empty.
            let is_match = |write: &&Write1| match &found {
                Some(record) => {
                    let version = u64::from(record.version());
                    let is_version = write.version == 0 || write.version == version;
                    write.is_value() && is_version && record.value() == write.value()
                }
                None => !write.is_value(),
            };
            let matching: Vec<Write1> = candidates.iter().filter(is_match).copied().collect();
            if matching.is_empty() {
                let found = found.map(|record| (record.version(), record.len()));
                panic!(
                    "{context}: {} is {found:?}, but may only be one of {candidates:?}; {:?}",
                    key_name(key),
                    store.stats().load
                );
            }
            if found.is_some() {
                present.insert(key_name(key));
            }
            *candidates = matching;
        }
        let scanned: Vec<String> =
            store.scan().map(|record| String::from_utf8_lossy(record.key()).into()).collect();
        assert_eq!(scanned.len(), present.len(), "{context}: a scan sees each once");
        assert_eq!(scanned.into_iter().collect::<BTreeSet<_>>(), present, "{context}");
    }
}

/// The state of a key that was never written.
fn absent(key: u64) -> Write1 {
    Write1 { number: 0, key, version: 0, act: Act::Delete, bytes: 0 }
}

/// A running child, killed and waited for when dropped.
struct Victim {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Victim {
    fn start(setup: &Setup) -> Self {
        let mut command = child::command(&[], "child_entry", "write", &setup.encode());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a child");
        let lines = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, lines }
    }

    /// Waits until the child says `word`, and says everything it said before if it ends instead.
    fn wait_for(&mut self, word: &str) {
        let mut said = String::new();
        loop {
            let before = said.len();
            let read = self.lines.read_line(&mut said).expect("a pipe");
            assert!(read > 0, "the child ended before it was {word}: {said}");
            if said[before..].trim_end() == format!("@{word}") {
                return;
            }
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `cycles` kills of children on stores of `wblock_bytes`, by one thread.
fn lane(seed: u64, cycles: u64, wblock_bytes: u64) -> Oracle {
    let mut rng = Rng::new(seed);
    let mut total = Oracle::default();
    let mut done = 0;
    while done < cycles {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut oracle = Oracle::default();
        for cycle in 0..CYCLES_A_STORE.min(cycles - done) {
            let setup = Setup {
                dir: scratch.path().to_owned(),
                wblock_bytes,
                prefer: if rng.below(2) == 0 { Prefer::Ring } else { Prefer::Blocking },
                seed: rng.next() >> 8,
                first_number: ((done + 1) << 32) / THREADS * THREADS,
            };
            let context = format!("seed {seed:#x}, cycle {done}, {setup:?}");
            kill_one(&setup, &mut rng);
            oracle.read(&setup.journal());
            done += 1;
            oracle.kills += 1;
            // Sometimes the next child finds what the last one left, unseen by anyone between.
            if cycle + 1 < CYCLES_A_STORE && rng.below(4) == 0 {
                continue;
            }
            check(&setup, &mut oracle, &mut rng, &context);
        }
        let context = format!("seed {seed:#x}, the end of a store");
        let dir = scratch.path().to_owned();
        let setup = Setup { dir, wblock_bytes, prefer: Prefer::Ring, seed: 0, first_number: 0 };
        check(&setup, &mut oracle, &mut rng, &context);
        total.kills += oracle.kills;
        total.writes += oracle.writes;
        total.acknowledged += oracle.acknowledged;
    }
    total
}

/// Starts a child, and kills it while it opens its store or while it writes.
fn kill_one(setup: &Setup, rng: &mut Rng) {
    let mut victim = Victim::start(setup);
    let is_early = rng.below(4) == 0;
    victim.wait_for(if is_early { "opening" } else { "ready" });
    let micros = if is_early { rng.below(12_000) } else { rng.below(120_000) };
    thread::sleep(Duration::from_micros(micros));
}

/// Opens the store that was killed, by either back end, and closes it in order.
fn check(setup: &Setup, oracle: &mut Oracle, rng: &mut Rng, context: &str) {
    let prefer = if rng.below(2) == 0 { Prefer::Ring } else { Prefer::Blocking };
    let setup = Setup { prefer, ..setup.clone() };
    let store = setup.open().unwrap_or_else(|error| panic!("{context}: {error}"));
    oracle.check(&store, context);
    store.close().unwrap_or_else(|error| panic!("{context}: {error}"));
}

fn kill_all(cycles: u64, wblock_bytes: u64) {
    let seed = std::env::var("BRINDLE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(now_us);
    say(&format!("BRINDLE_SEED={seed} repeats it"));
    let lanes: Vec<_> = (0..LANES)
        .map(|lane_number| {
            let seed = seed.wrapping_add(lane_number << 60);
            thread::spawn(move || lane(seed, cycles.div_ceil(LANES), wblock_bytes))
        })
        .collect();
    for lane in lanes {
        match lane.join() {
            Ok(total) => say(&format!(
                "{} kills, {} writes, {} of them acknowledged as durable",
                total.kills, total.writes, total.acknowledged
            )),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Shown by the harness only when the test fails, or under `--nocapture`.
fn say(line: &str) {
    // Nobody may listen.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn kills(default: u64) -> u64 {
    std::env::var("BRINDLE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(default)
}

#[test]
fn a_killed_store_has_all_that_was_durable() {
    kill_all(kills(72), 64 << 10);
}

#[test]
fn a_killed_store_of_full_sized_wblocks_has_all_that_was_durable() {
    kill_all(kills(72).div_ceil(10), 8 << 20);
}
