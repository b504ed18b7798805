//! A writer that is killed in the middle of its work, and what must be left of it.
//!
//! The writer is this very program, started again with a hidden argument. It puts batches of
//! records, flushes after each, and reports a batch on its standard output once `flush` has
//! returned. A second thread of it puts records that nobody ever flushes. Then it gets SIGKILL, at
//! a random time: no handler runs, nothing is closed.
//!
//! Every value follows from its key, so that whoever reads it can tell whether it is whole. The
//! keys start with a zero byte, which no path holds: they never meet those of the files.

use crate::Outcome;
use brindle::{Config, Error, Store};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// The hidden argument; the folder of the shadow follows.
pub const WRITER_ARGUMENT: &str = "--be-the-writer-that-is-killed";

/// Bytes that the writer may take, generously: the room to leave for it.
pub const WRITER_BYTES_MAX: u64 = 64 << 20;

const BATCH_RECORDS: u32 = 100;
/// The writer ends by itself here, long after it should have been killed.
const BATCHES_MAX: u32 = 400;
/// It is killed after so many batches, and up to 5 ms.
const BATCHES_BEFORE_KILL: std::ops::Range<u64> = 5..40;
const MICROS_BEFORE_KILL: std::ops::Range<u64> = 0..5_000;
/// Records that are put and never flushed, in bursts, so that they last for some seconds.
const LOOSE_RECORDS_MAX: u32 = 20_000;
const LOOSE_BURST: u32 = 16;
const VALUE_BYTES: std::ops::Range<u64> = 100..900;
/// A writer that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const BATCH_PREFIX: &[u8] = b"\0batch/";
const LOOSE_PREFIX: &[u8] = b"\0loose/";

/// What is known of a writer that was killed.
pub struct Killed {
    /// Batches whose flush it reported.
    pub flushed_batches: u32,
    /// What another store was told that wanted the shadow meanwhile.
    pub refusal: String,
}

/// What was found of it.
#[derive(Default)]
pub struct Survived {
    /// Records of reported batches: all that there were.
    pub flushed: u64,
    /// Others that are there, each of them whole.
    pub unflushed: u64,
}

/// The writer's part: writes until it is killed.
pub fn write_until_killed(shadow: &Path) -> Outcome<()> {
    let store = Store::open(Config::new().shadow_dir(shadow))?;
    thread::scope(|scope| {
        scope.spawn(|| put_loose(&store));
        put_batches(&store)
    })
}

fn put_batches(store: &Store) -> Outcome<()> {
    let mut out = io::stdout();
    for batch in 0..BATCHES_MAX {
        for record in 0..BATCH_RECORDS {
            let key = batch_key(batch, record);
            store.put(&key, value_of(&key))?;
        }
        store.flush()?;
        // Only now: what is reported is durable. One write, so that a line is whole or absent.
        out.write_all(format!("{batch}\n").as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

fn put_loose(store: &Store) {
    for number in 0..LOOSE_RECORDS_MAX {
        let key = [LOOSE_PREFIX, format!("{number:06}").as_bytes()].concat();
        if store.put(&key, value_of(&key)).is_err() {
            return;
        }
        if number % LOOSE_BURST == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Starts a writer on `shadow` and kills it at a random time.
pub fn start_and_kill(shadow: &Path) -> Outcome<Killed> {
    let mut random = Random::new();
    let batches = u32::try_from(random.within(BATCHES_BEFORE_KILL))?;
    let delay = Duration::from_micros(random.within(MICROS_BEFORE_KILL));
    let (mut writer, reports) = Writer::start(shadow)?;
    let mut flushed_batches = 0;
    while flushed_batches < batches {
        let report = reports.recv_timeout(PATIENCE);
        let report = report.map_err(|_| "the writer has ended or hangs: see its message above")?;
        flushed_batches = check_report(&report, flushed_batches)?;
    }
    let refusal = match Store::open(Config::new().shadow_dir(shadow)) {
        Err(error @ Error::Locked { .. }) => error.to_string(),
        Err(other) => return Err(other.into()),
        Ok(_) => return Err("a second store was let in while the writer had the shadow".into()),
    };
    thread::sleep(delay);
    writer.kill()?;
    // What it had reported before it died is still in the pipe.
    for report in reports {
        flushed_batches = check_report(&report, flushed_batches)?;
    }
    if flushed_batches == BATCHES_MAX {
        return Err("the writer was done before it was killed: start again".into());
    }
    Ok(Killed { flushed_batches, refusal })
}

/// Batches are reported in order: how many, with this one.
fn check_report(report: &str, before: u32) -> Outcome<u32> {
    if report != before.to_string() {
        return Err(format!("the writer reported batch `{report}` after {before} batches").into());
    }
    Ok(before + 1)
}

/// What `store` has of the writer's: every record of the reported batches, and all of it whole.
pub fn check(store: &Store, killed: &Killed) -> Outcome<Survived> {
    for batch in 0..killed.flushed_batches {
        for record in 0..BATCH_RECORDS {
            let key = batch_key(batch, record);
            if !store.contains_key(&key) {
                return Err(format!("record {record} of batch {batch} was flushed and lost").into());
            }
        }
    }
    let flushed = u64::from(killed.flushed_batches) * u64::from(BATCH_RECORDS);
    let mut present = 0;
    for record in store.scan().filter(|record| is_writers(record.key())) {
        if *record != *value_of(record.key()) {
            let key = record.key().escape_ascii();
            return Err(format!("the record {key} is there, and not as it was written").into());
        }
        present += 1;
    }
    Ok(Survived { flushed, unflushed: present - flushed })
}

/// Is it a key of the writer?
pub fn is_writers(key: &[u8]) -> bool {
    key.starts_with(BATCH_PREFIX) || key.starts_with(LOOSE_PREFIX)
}

fn batch_key(batch: u32, record: u32) -> Vec<u8> {
    [BATCH_PREFIX, format!("{batch:06}/{record:03}").as_bytes()].concat()
}

/// The value that belongs to `key`: bytes that look random, as many as the key says.
fn value_of(key: &[u8]) -> Vec<u8> {
    let seed = |seed: u64, byte: &u8| (seed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let mut random = Random(key.iter().fold(0xcbf2_9ce4_8422_2325, seed));
    let words = random.within(VALUE_BYTES) / 8;
    (0..words).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// The running writer; dropped, it is killed, whatever went wrong here.
struct Writer(Child);

impl Writer {
    /// Starts it; each of its reports is one string.
    fn start(shadow: &Path) -> Outcome<(Self, Receiver<String>)> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(WRITER_ARGUMENT)
            .arg(shadow)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take();
        let writer = Self(child);
        Ok((writer, lines(out.ok_or("the writer has no standard output")?)))
    }

    /// SIGKILL, and waits until it is dead.
    fn kill(&mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // It is dead already if all went well.
        let _ = self.kill();
    }
}

/// The lines of `out`, read by a thread, so that one can wait for them with a time limit.
fn lines(out: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A small generator of random numbers (`SplitMix64`): good enough to shuffle with.
pub struct Random(u64);

impl Random {
    /// Another one each time.
    pub fn new() -> Self {
        Self(RandomState::new().hash_one(0))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    pub fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }
}
