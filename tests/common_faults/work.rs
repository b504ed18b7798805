//! The child's part: opens a store and writes, noting in a journal what it is about to do and
//! what is known to be durable. The journal lies on a sound disk and outlives the child.
//!
//! Lines of the journal, each appended by one system call
//! ```text
//! S number key version act bytes   about to write
//! D number                         this write returned as durable
//! A number                         the thread's writes up to this one are durable
//! F number                         refused: nothing was changed
//! E number error                   failed: it may have been done or not
//! ```

use crate::child;
use crate::rng::Rng;
use brindle::testing::{Harness, Prefer};
use brindle::{Config, DeleteOptions, Error, PutOptions, Store, Version};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

/// Threads of the child. Each owns a part of the keys; the shared ones all of them write.
pub const THREADS: u64 = 3;
const THREADS_LEN: usize = 3;
pub const KEYS: u64 = 160;
pub const SHARED_KEYS: u64 = 40;

/// Memory of a store with small wblocks.
const SMALL_BYTES: u64 = 24 << 20;

/// What one write does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Put,
    /// Through `update`.
    Update,
    /// A put whose expiry has passed: for every reader a delete.
    PutExpired,
    Delete,
}

/// One write, as the journal tells it. Its value follows from its number and length.
#[derive(Clone, Copy, Debug)]
pub struct Write1 {
    pub number: u64,
    pub key: u64,
    /// 0: the engine's own.
    pub version: u64,
    pub act: Act,
    pub bytes: usize,
}

impl Write1 {
    pub fn is_value(&self) -> bool {
        matches!(self.act, Act::Put | Act::Update)
    }

    pub fn value(&self) -> Vec<u8> {
        value(self.number, self.bytes)
    }
}

pub fn key_name(key: u64) -> String {
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

/// How the child opens its store, and how long it writes.
#[derive(Clone, Debug)]
pub struct Setup {
    /// A directory for the shadow.
    pub shadow: PathBuf,
    /// Instead of the directory: its one member, a device or a file.
    pub is_device: bool,
    pub journal: PathBuf,
    pub wblock_bytes: u64,
    pub prefer: Prefer,
    /// `O_DIRECT` on files.
    pub direct: bool,
    pub seed: u64,
    /// All writes of this run get numbers above.
    pub first_number: u64,
    /// Writes of each thread; 0: until the store is full.
    pub writes: u64,
}

impl Setup {
    /// A store of small wblocks in the directory `shadow`, until it is full.
    pub fn new(shadow: PathBuf, journal: PathBuf, seed: u64) -> Self {
        Self {
            shadow,
            is_device: false,
            journal,
            wblock_bytes: 64 << 10,
            prefer: Prefer::Ring,
            direct: false,
            seed,
            first_number: 0,
            writes: 0,
        }
    }

    /// The run number `run` on the store: its writes get numbers of their own.
    #[must_use]
    pub fn run(mut self, run: u64) -> Self {
        self.first_number = ((run + 1) << 32) / THREADS * THREADS;
        self
    }

    pub fn encode(&self) -> String {
        let Self { wblock_bytes, seed, first_number, writes, .. } = self;
        let ring = u8::from(self.prefer == Prefer::Ring);
        let (direct, device) = (u8::from(self.direct), u8::from(self.is_device));
        let (shadow, journal) = (self.shadow.display(), self.journal.display());
        format!(
            "{wblock_bytes}|{ring}|{direct}|{device}|{seed}|{first_number}|{writes}|{shadow}|\
             {journal}"
        )
    }

    pub fn decode(text: &str) -> Self {
        let mut words = text.split('|');
        let mut number =
            || words.next().and_then(|word| word.parse::<u64>().ok()).expect("a number");
        let (wblock_bytes, ring, direct, device) = (number(), number(), number(), number());
        let (seed, first_number, writes) = (number(), number(), number());
        let mut path = || words.next().expect("a path").into();
        Self {
            shadow: path(),
            is_device: device == 1,
            journal: path(),
            wblock_bytes,
            prefer: if ring == 1 { Prefer::Ring } else { Prefer::Blocking },
            direct: direct == 1,
            seed,
            first_number,
            writes,
        }
    }

    pub fn config(&self) -> Config {
        let is_large = self.wblock_bytes > 1 << 20;
        let (stripes, data_bytes) = match (is_large, self.is_device) {
            (true, _) => (1, 10 * self.wblock_bytes),
            (false, true) => (1, SMALL_BYTES),
            (false, false) => (3, SMALL_BYTES),
        };
        let config = Config::new()
            .wblock_size(self.wblock_bytes)
            .data_size(data_bytes)
            .stripes(stripes)
            .flush_max_ms(4 + self.seed % 16)
            .direct_files(self.direct)
            .prefault(false);
        if self.is_device {
            config.shadow_devices([&self.shadow])
        } else {
            config.shadow_dir(&self.shadow)
        }
    }

    pub fn open(&self) -> brindle::Result<Store> {
        Harness { prefer: self.prefer, ..Harness::default() }.open(self.config())
    }

    /// A store small enough to be filled to the brim, which flushes when it is told to.
    pub fn open_for_script(&self) -> brindle::Result<Store> {
        let config = self.config().stripes(1).data_size(4 << 20).flush_max_ms(0);
        Harness { prefer: self.prefer, ..Harness::default() }.open(config)
    }
}

/// The child: plays its part, if this process is one.
///
/// - `write`: opens, says `ready`, and writes until it is killed or the store is full.
/// - `finish`: opens, says `ready` or `refused` and why, waits for a line of input, writes, says
///   `written` once all that it knows of reads as it was put, and how `flush` and `close` ended.
///   Meanwhile it says `reads` after each time that it has read all keys.
pub fn play() {
    play_after(|| {});
}

/// As [`play`], with `change` made to the process once the store is open.
pub fn play_after(change: impl FnOnce()) {
    let Some((part, argument)) = child::part() else { return };
    let setup = Setup::decode(&argument);
    child::say("opening");
    let finishes = part == "finish";
    let store = match setup.open() {
        Err(error) if finishes => return child::say(&format!("refused {error:?}")),
        opened => opened.expect("a store that was killed opens"),
    };
    change();
    child::say("ready");
    if finishes {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("the parent listens");
    }
    let journal = OpenOptions::new().append(true).create(true).open(&setup.journal);
    let run = Run::new(&store, journal.expect("a journal"));
    let work = || {
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (run, setup) = (&run, &setup);
                scope.spawn(move || run.work(thread, setup));
            }
        });
    };
    if !finishes {
        work();
        child::say("full");
        // The parent kills in any case: a store that is full is killed while idle.
        thread::sleep(Duration::from_secs(60));
        return;
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| read_on(&store, &is_over));
        // Also when something panics.
        let _over = SetOnDrop(&is_over);
        work();
        child::say("written");
        match run.flush() {
            Ok(()) => child::say("flushed"),
            Err(error) => child::say(&format!("not flushed {error:?}")),
        }
    });
    match store.clone().close() {
        Ok(()) => {
            run.note_all();
            child::say("closed");
        }
        Err(error) => child::say(&format!("not closed {error:?}")),
    }
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads all keys again and again, whatever the shadow does.
fn read_on(store: &Store, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        for key in 0..KEYS + SHARED_KEYS {
            drop(store.get(key_name(key)));
        }
        child::say("reads");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A fixed piece of work of one thread: opens, says `ready`, waits for a line if it is to, writes
/// `setup.writes` records of some kilobytes, flushes now and then, closes, and says `closed`.
pub fn script(setup: &Setup, waits: bool) {
    child::say("opening");
    let store = setup.open_for_script().expect("a store that was killed opens");
    let journal = OpenOptions::new().append(true).create(true).open(&setup.journal);
    let run = Run::new(&store, journal.expect("a journal"));
    child::say("ready");
    if waits {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("the parent listens");
    }
    let mut number = setup.first_number;
    for turn in 0..setup.writes {
        number += THREADS;
        let act = if turn % 7 == 6 { Act::Delete } else { Act::Put };
        let bytes = usize::try_from(8_000 + turn * 64).expect("small");
        let write = Write1 { number, key: turn % 23, version: 0, act, bytes };
        run.submit(&write);
        let is_durable = turn % 16 == 5;
        run.apply(&write, is_durable).expect("a sound disk");
        if is_durable {
            run.note(&format!("D {number}\n"));
        }
        run.returned[0].store(number, Ordering::Release);
        if turn % 16 == 13 {
            run.flush().expect("a sound disk");
        }
    }
    store.clone().close().expect("a sound disk");
    run.note_all();
    child::say("closed");
}

struct Run<'a> {
    store: &'a Store,
    journal: File,
    /// For writes of shared keys, which bring their own.
    versions: AtomicU64,
    /// Per thread: the last of its writes that has returned.
    returned: [AtomicU64; THREADS_LEN],
    is_full: AtomicBool,
}

impl<'a> Run<'a> {
    fn new(store: &'a Store, journal: File) -> Self {
        Self {
            store,
            journal,
            versions: AtomicU64::new(super::now_us()),
            returned: Default::default(),
            is_full: AtomicBool::new(false),
        }
    }

    fn note(&self, line: &str) {
        // One system call for each line, appended whole.
        (&self.journal).write_all(line.as_bytes()).expect("a journal");
    }

    fn work(&self, thread: u64, setup: &Setup) {
        let mut rng = Rng::new(setup.seed ^ (thread << 56));
        let mut number = setup.first_number + thread;
        let returned = &self.returned[usize::try_from(thread).expect("few")];
        // What the thread's own keys must read as.
        let mut known = BTreeMap::new();
        let mut left = if setup.writes == 0 { u64::MAX } else { setup.writes };
        while left > 0 && !self.is_full.load(Ordering::Relaxed) {
            left -= 1;
            number += THREADS;
            let is_durable = rng.below(24) == 0;
            let write = self.choose(thread, number, &mut rng);
            self.submit(&write);
            let applied = self.apply(&write, is_durable);
            if write.key < KEYS {
                match applied {
                    Ok(()) => drop(known.insert(write.key, write)),
                    Err(_) => drop(known.remove(&write.key)),
                }
            }
            match applied {
                Ok(()) if is_durable => self.note(&format!("D {number}\n")),
                Ok(()) => {}
                Err(Error::VersionConflict { .. } | Error::StopWrites { .. }) => {
                    self.note(&format!("F {number}\n"));
                }
                Err(Error::OutOfSpace) => {
                    self.note(&format!("F {number}\n"));
                    self.is_full.store(true, Ordering::Relaxed);
                }
                // In short: who is refused a thousand times still has a small journal.
                Err(other) => {
                    let other: String = format!("{other:?}").chars().take(60).collect();
                    self.note(&format!("E {number} {other}\n"));
                }
            }
            // Release and Acquire: who sees the number flushes what it stands for.
            returned.store(number, Ordering::Release);
            if rng.below(16) == 0 {
                // That it failed is told at the end.
                let _ = self.flush();
            }
        }
        for (key, write) in known {
            let found = self.store.get(key_name(key)).map(|record| record.to_vec());
            let expected = write.is_value().then(|| write.value());
            assert!(found == expected, "{} reads wrong in a running store", key_name(key));
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
    fn flush(&self) -> brindle::Result<()> {
        let before = self.returned.each_ref().map(|number| number.load(Ordering::Acquire));
        self.store.flush()?;
        let lines = before.map(|number| format!("A {number}\n"));
        self.note(&lines.concat());
        Ok(())
    }

    /// Everything is durable.
    fn note_all(&self) {
        let all = self.returned.each_ref().map(|number| number.load(Ordering::Acquire));
        self.note(&all.map(|number| format!("A {number}\n")).concat());
    }
}
