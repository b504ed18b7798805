//! SIGKILL at every system call of creation, open, seals, flushes and close, one after the other.
//!
//! A child does a fixed piece of work under `strace`. A first run counts its system calls; then
//! comes one run for each, which ends in front of that call. Since the shadow is never mapped, what
//! a killed process leaves behind changes only there, and so these points are all there are,
//! completions of the ring's writes in flight aside: those are for `kill`, at random.
//!
//! `strace` counts the calls of each thread for itself, and kills at whichever comes to the number
//! first. So creation and open, which one thread does, are one piece, with `strace` around it; and
//! what the shadow thread does from then on is another, with `strace` on that thread alone.
//!
//! `BRINDLE_KILL_POINTS` limits the points for each back end and piece.
#![expect(clippy::expect_used, reason = "a failed step of a test is the test's failure")]

#[path = "common_files/child.rs"]
mod child;
#[path = "common_faults/mod.rs"]
mod faults;
#[path = "common_files/rng.rs"]
mod rng;
#[path = "common_files/skip.rs"]
mod skip;

use brindle::testing::Prefer;
use faults::disks::text;
use faults::oracle::Oracle;
use faults::victim::Victim;
use faults::work::Setup;
use faults::{amount, in_lanes, say};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Points for each back end and piece of work: all there are, on the machines seen so far.
const POINTS: u64 = 400;
const LANES: usize = 2;

/// Calls that touch files, or the memory that they are read to.
const CALLS: &str = "openat,mkdir,unlink,ftruncate,fallocate,fsync,fdatasync,flock,fcntl,mmap,\
                     madvise,getdents64,pread64,pwrite64,io_uring_setup,io_uring_register,\
                     io_uring_enter";

/// A piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// From the first look at an empty directory until the store is open.
    Creation,
    /// Of a shadow that was killed in the midst of its work.
    Open,
    /// Of the shadow thread: some 32 seals, flushes, durable puts, close.
    Work,
}

/// The child's part.
#[test]
fn child_entry() {
    let Some((part, argument)) = child::part() else { return };
    faults::work::script(&Setup::decode(&argument), part == "waits");
}

/// Calls between the marks `opening` and `ready`, or of a thread alone: name and number, by that
/// thread's own count.
fn points(trace: &str, has_marks: bool) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut points = Vec::new();
    let mut is_within = !has_marks;
    for line in trace.lines() {
        let (thread, call) = match line.split_once(char::is_whitespace) {
            Some((thread, call)) if has_marks => (thread, call.trim_start()),
            _ => ("", line),
        };
        if call.starts_with("write(1, \"\\n@opening") {
            is_within = true;
        } else if call.starts_with("write(1, \"\\n@ready") {
            return points;
        }
        let Some((name, _)) = call.split_once('(') else { continue };
        if !CALLS.split(',').any(|known| known == name) {
            continue;
        }
        let count = counts.entry((thread.to_owned(), name.to_owned())).or_default();
        *count += 1;
        let point = (name.to_owned(), *count);
        if is_within && !points.contains(&point) {
            points.push(point);
        }
    }
    points
}

struct Bench {
    piece: Piece,
    prefer: Prefer,
    /// The shadow and journal that a run starts from.
    start: Option<(tempfile::TempDir, Oracle)>,
}

impl Bench {
    fn new(piece: Piece, prefer: Prefer) -> Self {
        Self { piece, prefer, start: None }
    }

    /// A run in `scratch`, under or with strace and its `options`. True: it came to its end.
    fn run(&self, scratch: &Path, options: &[&str]) -> (bool, Setup, Oracle) {
        let shadow = scratch.join("shadow");
        let journal = scratch.join("journal");
        let mut oracle = Oracle::default();
        if let Some((start, before)) = &self.start {
            fs::create_dir(&shadow).expect("a directory");
            for entry in fs::read_dir(start.path().join("shadow")).expect("a directory") {
                let entry = entry.expect("an entry");
                fs::copy(entry.path(), shadow.join(entry.file_name())).expect("a copy");
            }
            fs::copy(start.path().join("journal"), &journal).expect("a copy");
            oracle = before.clone();
        }
        let is_work = self.piece == Piece::Work;
        let setup = Setup {
            prefer: self.prefer,
            writes: if is_work { 160 } else { 8 },
            ..Setup::new(shadow, journal, 7).run(u64::from(self.start.is_some()))
        };
        let (mut victim, tracer) = if is_work {
            let mut victim = Victim::start(&[], "waits", &setup);
            victim.wait_for("ready");
            let tracer = Tracer::attach(&shadow_thread(victim.id()), options);
            victim.go_on();
            (victim, Some(tracer))
        } else {
            let strace = [&["strace", "-f"], options].concat();
            (Victim::start(&strace, "goes on", &setup), None)
        };
        let is_whole = victim.hears("closed").is_some();
        let (_, complaints) = victim.finish();
        drop(tracer);
        assert!(!complaints.contains("panicked"), "{options:?}: {complaints}");
        oracle.read(&setup.journal);
        (is_whole, setup, oracle)
    }

    fn points(&self) -> Vec<(String, u64)> {
        let scratch = tempfile::tempdir().expect("a directory");
        let log = scratch.path().join("trace");
        let trace = format!("trace={CALLS},write");
        let (is_whole, ..) = self.run(scratch.path(), &["-e", &trace, "-o", text(&log)]);
        assert!(is_whole, "the run that counts is not killed");
        points(&fs::read_to_string(&log).expect("a trace"), self.piece != Piece::Work)
    }

    /// True: the point was reached.
    fn kill_at(&self, name: &str, number: u64) -> bool {
        let scratch = tempfile::tempdir().expect("a directory");
        let (is_whole, setup, mut oracle) = self.kill_in(scratch.path(), name, number);
        let context = format!("{:?}, {:?}, {name} {number}", self.prefer, self.piece);
        let store = setup.open_for_script().unwrap_or_else(|error| panic!("{context}: {error}"));
        oracle.check(&store, &context);
        store.close().unwrap_or_else(|error| panic!("{context}: {error}"));
        !is_whole
    }

    fn kill_in(&self, scratch: &Path, name: &str, number: u64) -> (bool, Setup, Oracle) {
        let trace = format!("trace={name}");
        let inject = format!("inject={name}:signal=KILL:when={number}");
        self.run(scratch, &["-e", &trace, "-e", &inject, "-o", "/dev/null"])
    }
}

/// The thread of the engine that writes, once it has named itself.
fn shadow_thread(process: u32) -> String {
    let is_it = |task: &fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        name.trim() == "brindle-shadow"
    };
    let find = || {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
        let task = tasks.flatten().find(is_it);
        thread::sleep(Duration::from_millis(1));
        task.map(|task| task.file_name().to_string_lossy().into_owned())
    };
    (0..10_000).find_map(|_| find()).expect("a shadow thread")
}

/// A `strace` on one thread, which ends with the thread or when it drops.
struct Tracer(Child);

impl Tracer {
    fn attach(thread: &str, options: &[&str]) -> Self {
        let mut command = Command::new("strace");
        command.args(options).args(["-p", thread]).stderr(Stdio::piped());
        let mut tracer = Self(command.spawn().expect("strace"));
        let mut said = String::new();
        let errors = tracer.0.stderr.take().expect("what it says");
        BufReader::new(errors).read_line(&mut said).expect("a pipe");
        assert!(said.contains("attached"), "{said}");
        tracer
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether programs can be traced here: started under `strace`, and joined later.
fn can_trace() -> bool {
    let mut under = Command::new("strace");
    let under = under.args(["-f", "-o", "/dev/null", "true"]).output();
    if !under.is_ok_and(|output| output.status.success()) {
        return false;
    }
    let Ok(mut sleeper) = Command::new("sleep").arg("5").spawn() else { return false };
    let process = sleeper.id().to_string();
    let mut joined = Command::new("timeout");
    let joined = joined.args(["0.5", "strace", "-o", "/dev/null", "-p", &process]).output();
    let _ = sleeper.kill();
    let _ = sleeper.wait();
    joined.is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains("attached"))
}

/// Kills at each point of the piece of work, by both back ends.
fn kill_all(piece: Piece) {
    if !can_trace() {
        let about = match piece {
            Piece::Creation => 200,
            Piece::Open => 220,
            Piece::Work => 280,
        };
        let reason = "no program can be traced here (strace)";
        skip::skip_cases(about.min(2 * limit()), reason);
        return;
    }
    for prefer in [Prefer::Ring, Prefer::Blocking] {
        let mut bench = Bench::new(piece, prefer);
        if piece == Piece::Open {
            let scratch = tempfile::tempdir().expect("a directory");
            // The last one of its flushes, or near it.
            let name = if prefer == Prefer::Ring { "io_uring_enter" } else { "pwrite64" };
            let first = Bench::new(Piece::Work, prefer);
            let (is_whole, _, oracle) = first.kill_in(scratch.path(), name, 60);
            assert!(!is_whole, "it is killed");
            bench.start = Some((scratch, oracle));
        }
        let points = bench.points();
        let step = points.len().div_ceil(usize::try_from(limit()).expect("few")).max(1);
        let chosen: Vec<_> = points.iter().step_by(step).collect();
        let killed = AtomicU64::new(0);
        in_lanes(LANES, &chosen, |(name, number)| {
            killed.fetch_add(u64::from(bench.kill_at(name, *number)), Ordering::Relaxed);
        });
        let killed = killed.into_inner();
        say(&format!("{prefer:?}, {piece:?}: {} points, {killed} killed", chosen.len()));
        // Some calls more or less are a matter of timing.
        assert!(killed * 3 > chosen.len() as u64 * 2, "only {killed} of {}", chosen.len());
    }
}

/// The path that `call` names: quoted (of `mkdir`), or of its descriptor (of `fsync`).
fn path_in<'l>(line: &'l str, call: &str, marks: (char, char)) -> Option<&'l str> {
    let rest = line.split_once(&format!("{call}("))?.1;
    let rest = rest.split_once(marks.0)?.1;
    rest.split_once(marks.1).map(|(path, _)| path)
}

#[test]
fn each_directory_that_open_creates_is_synced_in_the_one_above() {
    if !can_trace() {
        return skip::skip_cases(1, "no program can be traced here (strace)");
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let log = scratch.path().join("trace");
    let journal = scratch.path().join("journal");
    let shadow = scratch.path().join("one/two/three");
    let setup = Setup { writes: 8, ..Setup::new(shadow.clone(), journal, 7) };
    let strace = ["strace", "-f", "-y", "-e", "trace=mkdir,fsync", "-o", text(&log)];
    let mut victim = Victim::start(&strace, "goes on", &setup);
    assert!(victim.hears("closed").is_some(), "{:?}", victim.said);
    let _ = victim.finish();
    let trace = fs::read_to_string(&log).expect("a trace");
    for dir in shadow.ancestors().take_while(|dir| *dir != scratch.path()) {
        let above = dir.parent().expect("below the scratch directory");
        let made = |line: &&str| path_in(line, "mkdir", ('"', '"')) == Some(text(dir));
        let synced = |line: &str| path_in(line, "fsync", ('<', '>')) == Some(text(above));
        let mut rest = trace.lines().skip_while(|line| !made(line));
        assert!(rest.next().is_some(), "{dir:?} is made: {trace}");
        assert!(rest.any(synced), "{above:?} is synced after: {trace}");
    }
}

fn limit() -> u64 {
    amount("BRINDLE_KILL_POINTS", POINTS).max(1)
}

#[test]
fn killed_at_each_call_of_its_creation_a_store_opens() {
    kill_all(Piece::Creation);
}

#[test]
fn killed_at_each_call_of_open_a_store_has_all_that_was_durable() {
    kill_all(Piece::Open);
}

#[test]
fn killed_at_each_call_of_seals_flushes_and_close_a_store_has_all_that_was_durable() {
    kill_all(Piece::Work);
}
