//! One suite of claims about block I/O, run over the ring, the blocking fall-back and the
//! simulated disk, past the page cache and through it.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test stops at a surprise")]
#![expect(clippy::cast_possible_truncation, reason = "small numbers, and patterns")]
#![expect(clippy::print_stderr, reason = "what was skipped is said")]

use brindle::testing::{
    Backend, BlockIo, Buffer, Completion, Direction, Fault, FaultOn, FileIndex, IoCounters,
    Members, Missing, Op, OpenedIo, Prefer, Ring, ShadowFile, ShadowFiles, SimConfig, SimDisk,
    Transfer, Transfers,
};
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::ptr::NonNull;
use std::sync::Arc;

const SECTOR: usize = 4096;
const FILE_SECTORS: usize = 256;
const FILES: u32 = 2;
const A: FileIndex = FileIndex(0);
const B: FileIndex = FileIndex(1);

#[derive(Clone)]
#[repr(align(4096))]
struct Sector([u8; SECTOR]);

/// Memory as the region is: aligned, and used by the test only while nothing is in flight.
struct Memory(Vec<Sector>);

impl Memory {
    fn new(sectors: usize, seed: u8) -> Self {
        let sector = |at: usize| {
            let mut sector = Sector([0; SECTOR]);
            for (byte, place) in sector.0.iter_mut().enumerate() {
                *place = (byte as u8) ^ (at as u8).wrapping_mul(31).wrapping_add(seed);
            }
            sector
        };
        Self((0..sectors).map(sector).collect())
    }

    fn zeros(sectors: usize) -> Self {
        Self(vec![Sector([0; SECTOR]); sectors])
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|sector| sector.0).collect()
    }

    fn region(&mut self) -> (NonNull<u8>, usize) {
        (NonNull::from(self.0.as_mut_slice()).cast(), self.0.len() * SECTOR)
    }

    /// Lends sectors; the tests touch them again when nothing is in flight.
    fn lend(&mut self, first: usize, sectors: usize) -> Buffer {
        assert!(first + sectors <= self.0.len());
        let start = NonNull::from(&mut self.0[first..]).cast::<u8>();
        // SAFETY: (1) the vector is not touched, and so (2), (3) nobody's, until all is over.
        unsafe { Buffer::new(start, sectors * SECTOR) }
    }

    fn transfer(
        &mut self,
        direction: Direction,
        file: FileIndex,
        first: usize,
        sectors: usize,
    ) -> Transfer {
        let offset = (first * SECTOR) as u64;
        Transfer { direction, file, offset, buffer: self.lend(first, sectors) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Ring { direct: bool },
    Blocking { direct: bool },
    Simulated { order_seed: Option<u64> },
}

const KINDS: [Kind; 6] = [
    Kind::Ring { direct: true },
    Kind::Ring { direct: false },
    Kind::Blocking { direct: true },
    Kind::Blocking { direct: false },
    Kind::Simulated { order_seed: None },
    Kind::Simulated { order_seed: Some(7) },
];

fn create(directory: &Path, direct: bool) -> ShadowFiles {
    let files = (0..FILES).map(|file| {
        let path = directory.join(format!("shadow-{file}"));
        ShadowFile::create(&path, (FILE_SECTORS * SECTOR) as u64, direct).expect("created")
    });
    ShadowFiles::new(files.collect())
}

fn sim(order_seed: Option<u64>) -> SimDisk {
    let file_bytes = FILE_SECTORS * SECTOR;
    SimDisk::new(SimConfig { files: FILES, file_bytes, order_seed, ..SimConfig::default() })
}

/// Runs `claim` over every kind of back end that there is here.
fn each(claim: impl Fn(Kind, &dyn Members, Box<dyn BlockIo>)) {
    for kind in KINDS {
        let directory = tempfile::tempdir().expect("a directory");
        let (members, prefer): (Box<dyn Members>, _) = match kind {
            Kind::Ring { direct } => (Box::new(create(directory.path(), direct)), Prefer::Ring),
            Kind::Blocking { direct } => {
                (Box::new(create(directory.path(), direct)), Prefer::Blocking)
            }
            Kind::Simulated { order_seed } => (Box::new(sim(order_seed)), Prefer::Ring),
        };
        let OpenedIo { io, ring_refused } = members.io(None, prefer);
        if let Some(error) = ring_refused {
            eprintln!("skipped {kind:?}: no io_uring: {error}");
            continue;
        }
        eprintln!("over {kind:?}");
        claim(kind, members.as_ref(), io);
    }
}

fn drain(io: &mut dyn BlockIo) -> Vec<Completion> {
    let mut done = Vec::new();
    while io.outstanding() > 0 {
        io.complete(true, &mut done).expect("waited");
    }
    done
}

fn contents(members: &dyn Members, file: FileIndex) -> Vec<u8> {
    let mut bytes = vec![0; FILE_SECTORS * SECTOR];
    let read = members.read_at(file, 0, &mut bytes).expect("read");
    bytes.truncate(read);
    bytes
}

#[test]
fn back_end_is_the_one_asked_for() {
    each(|kind, _, io| {
        let expected = match kind {
            Kind::Ring { .. } => Backend::Ring,
            Kind::Blocking { .. } => Backend::Blocking,
            Kind::Simulated { .. } => Backend::Simulated,
        };
        assert_eq!(io.backend(), expected);
        assert!(!expected.to_string().is_empty());
    });
}

#[test]
fn each_token_comes_back_once() {
    each(|_, members, mut io| {
        let places = io.in_flight_max();
        let mut memory = Memory::new(places, 1);
        for round in 0..5 {
            for at in 0..places {
                let offset = (at * SECTOR) as u64;
                let from = memory.lend(at, 1);
                io.submit((round * 100 + at) as u64, Op::Write { file: A, offset, from })
                    .expect("taken");
            }
            assert_eq!(io.outstanding(), places);
            let mut tokens: Vec<u64> = drain(io.as_mut())
                .into_iter()
                .map(|done| {
                    assert_eq!(done.result.expect("written"), SECTOR as u32);
                    done.token
                })
                .collect();
            tokens.sort_unstable();
            let expected: Vec<u64> = (0..places).map(|at| (round * 100 + at) as u64).collect();
            assert_eq!(tokens, expected);
            let mut none = Vec::new();
            io.complete(true, &mut none).expect("nothing to wait for");
            assert!(none.is_empty());
        }
        io.submit(9, Op::Sync { file: A }).expect("taken");
        let synced = drain(io.as_mut());
        assert_eq!((synced.len(), synced[0].token), (1, 9));
        assert_eq!(*synced[0].result.as_ref().expect("synced"), 0);
        assert_eq!(contents(members, A)[..places * SECTOR], memory.bytes());
    });
}

#[test]
fn one_too_many_is_a_bug() {
    each(|_, _, mut io| {
        let places = io.in_flight_max();
        let mut memory = Memory::new(places + 1, 1);
        let mut submit = |at: usize| {
            let op = Op::Write { file: A, offset: 0, from: memory.lend(at, 1) };
            catch_unwind(AssertUnwindSafe(|| io.submit(at as u64, op)))
        };
        assert!((0..places).all(|at| submit(at).is_ok()));
        assert!(submit(places).is_err(), "more in flight than in_flight_max was let in");
        assert_eq!(drain(io.as_mut()).len(), places);
    });
}

#[test]
fn what_was_written_reads_back() {
    each(|_, members, mut io| {
        for (piece_sectors, in_flight) in [(1, 1), (3, 2), (16, 4), (1024, 64)] {
            let transfers = Transfers::new(piece_sectors * SECTOR, in_flight);
            let counters = IoCounters::default();
            let mut memory = Memory::new(64, piece_sectors as u8);
            let before = memory.bytes();
            let mut jobs = vec![
                memory.transfer(Direction::Write, A, 0, 20),
                memory.transfer(Direction::Write, B, 20, 1),
                memory.transfer(Direction::Write, A, 21, 0),
                memory.transfer(Direction::Write, B, 22, 42),
            ]
            .into_iter();
            let missing = transfers.run(io.as_mut(), &mut jobs, &counters).expect("written");
            assert!(missing.is_empty());
            transfers.sync(io.as_mut(), &mut [A, B].into_iter(), &counters).expect("synced");

            let mut back = Memory::zeros(64);
            let mut jobs = vec![
                back.transfer(Direction::Read, A, 0, 20),
                back.transfer(Direction::Read, B, 20, 1),
                back.transfer(Direction::Read, B, 22, 42),
            ]
            .into_iter();
            let missing = transfers.run(io.as_mut(), &mut jobs, &counters).expect("read");
            assert!(missing.is_empty());
            let back = back.bytes();
            assert_eq!(back[..21 * SECTOR], before[..21 * SECTOR]);
            assert_eq!(back[22 * SECTOR..], before[22 * SECTOR..]);
            let counts = counters.counts();
            assert_eq!(counts.bytes_written, 63 * SECTOR as u64);
            assert_eq!((counts.bytes_read, counts.syncs), (63 * SECTOR as u64, 2));
            assert_eq!((counts.short_writes, counts.retries, counts.write_errors), (0, 0, 0));
        }
        assert_eq!(contents(members, B).len(), FILE_SECTORS * SECTOR);
    });
}

/// What a wrapper does to the back end under it.
#[derive(Debug)]
enum Trouble {
    /// Moves at most so many bytes at once.
    Short(usize),
    /// `EINTR` or `EAGAIN`, in turns, instead of every second operation: refused by `submit`, as
    /// a completion, and from `complete`.
    Interrupt,
    /// This errno instead of the operations of this number and above.
    Errno(u64, i32),
    /// Acknowledges 0 bytes.
    NoProgress,
}

/// A back end in trouble; takes notes.
#[derive(Debug)]
struct Troubled {
    inner: Box<dyn BlockIo>,
    trouble: Trouble,
    made_up: VecDeque<Completion>,
    submitted: u64,
    offsets: Vec<u64>,
    outstanding_most: usize,
}

impl Troubled {
    fn new(inner: Box<dyn BlockIo>, trouble: Trouble) -> Self {
        let made_up = VecDeque::new();
        Self { inner, trouble, made_up, submitted: 0, offsets: Vec::new(), outstanding_most: 0 }
    }

    fn make_up(&mut self, token: u64, result: io::Result<u32>) {
        self.made_up.push_back(Completion { token, result });
    }
}

impl BlockIo for Troubled {
    fn backend(&self) -> Backend {
        self.inner.backend()
    }

    fn in_flight_max(&self) -> usize {
        self.inner.in_flight_max()
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding() + self.made_up.len()
    }

    fn submit(&mut self, token: u64, op: Op) -> io::Result<()> {
        self.submitted += 1;
        self.outstanding_most = self.outstanding_most.max(self.outstanding() + 1);
        if let Op::Write { offset, .. } | Op::Read { offset, .. } = op {
            self.offsets.push(offset);
        }
        let errno = io::Error::from_raw_os_error;
        match self.trouble {
            Trouble::NoProgress => {
                self.make_up(token, Ok(0));
                Ok(())
            }
            Trouble::Errno(from, number) if self.submitted >= from => {
                self.make_up(token, Err(errno(number)));
                Ok(())
            }
            Trouble::Interrupt if self.submitted.is_multiple_of(4) => Err(errno(libc::EAGAIN)),
            Trouble::Interrupt if self.submitted % 4 == 2 => {
                self.make_up(token, Err(errno(libc::EINTR)));
                Ok(())
            }
            Trouble::Interrupt | Trouble::Errno(..) => self.inner.submit(token, op),
            Trouble::Short(bytes) => {
                let op = match op {
                    Op::Write { file, offset, from } => {
                        Op::Write { file, offset, from: from.shortened(bytes) }
                    }
                    Op::Read { file, offset, into } => {
                        Op::Read { file, offset, into: into.shortened(bytes) }
                    }
                    Op::Sync { file } => Op::Sync { file },
                };
                self.inner.submit(token, op)
            }
        }
    }

    fn complete(&mut self, wait: bool, done: &mut Vec<Completion>) -> io::Result<()> {
        if matches!(self.trouble, Trouble::Interrupt) && self.submitted % 3 == 1 {
            self.submitted += 4;
            return Err(io::Error::from_raw_os_error(libc::EINTR));
        }
        let wait = wait && self.made_up.is_empty();
        done.extend(self.made_up.drain(..));
        self.inner.complete(wait, done)
    }
}

#[test]
fn short_counts_are_resumed_at_a_sector() {
    each(|kind, members, io| {
        // A direct file refuses what is not whole sectors of 512 bytes.
        let is_direct = members.is_direct(A) || matches!(kind, Kind::Simulated { .. });
        let short = if is_direct { 10 * 512 } else { 9_999 };
        let mut io = Troubled::new(io, Trouble::Short(short));
        let transfers = Transfers::new(16 * SECTOR, 3);
        let counters = IoCounters::default();
        let mut memory = Memory::new(40, 3);
        let mut jobs = std::iter::once(memory.transfer(Direction::Write, A, 0, 40));
        transfers.run(&mut io, &mut jobs, &counters).expect("written");
        assert_eq!(contents(members, A)[..40 * SECTOR], memory.bytes());
        let written = counters.counts();
        assert!(written.short_writes > 10, "{written:?}");
        assert!(written.bytes_written >= 40 * SECTOR as u64);

        let mut back = Memory::zeros(40);
        let mut jobs = std::iter::once(back.transfer(Direction::Read, A, 0, 40));
        let missing = transfers.run(&mut io, &mut jobs, &counters).expect("read");
        assert!(missing.is_empty());
        assert_eq!(back.bytes(), memory.bytes());
        assert!(io.offsets.iter().all(|offset| offset.is_multiple_of(SECTOR as u64)));
        assert_eq!(io.outstanding_most, 3);
    });
}

#[test]
fn interruptions_are_retried() {
    each(|_, members, io| {
        let mut io = Troubled::new(io, Trouble::Interrupt);
        let counters = IoCounters::default();
        let mut memory = Memory::new(50, 4);
        let mut jobs = std::iter::once(memory.transfer(Direction::Write, B, 0, 50));
        Transfers::new(SECTOR, 4).run(&mut io, &mut jobs, &counters).expect("written");
        assert_eq!(contents(members, B)[..50 * SECTOR], memory.bytes());
        let counts = counters.counts();
        assert!(counts.retries >= 50, "{counts:?}");
        assert_eq!((counts.bytes_written, counts.write_errors), (50 * SECTOR as u64, 0));
    });
}

#[test]
fn endless_interruption_and_no_progress_end() {
    each(|kind, _, io| {
        if kind != KINDS[2] {
            return; // The wrapper lets nothing through.
        }
        let counters = IoCounters::default();
        let mut memory = Memory::new(4, 5);
        let transfers = Transfers::new(SECTOR, 2);
        let mut io = Troubled::new(io, Trouble::NoProgress);
        let mut jobs = std::iter::once(memory.transfer(Direction::Write, A, 0, 4));
        let error = transfers.run(&mut io, &mut jobs, &counters).expect_err("no progress");
        assert_eq!(error.source.kind(), io::ErrorKind::WriteZero);
        assert_eq!(error.op, "write");
        assert!(error.to_string().contains("write failed in file 0"), "{error}");

        for errno in [libc::EINTR, libc::EAGAIN] {
            io.trouble = Trouble::Errno(0, errno);
            let mut jobs = std::iter::once(memory.transfer(Direction::Read, A, 1, 1));
            let error = transfers.run(&mut io, &mut jobs, &counters).expect_err("endless");
            assert_eq!(error.source.raw_os_error(), Some(errno));
            assert_eq!((error.op, error.offset), ("read", SECTOR as u64));
        }
        assert_eq!(counters.counts().retries, 200);
        assert_eq!(counters.counts().write_errors, 2, "those in flight are not told, but counted");
    });
}

#[test]
fn errors_drain_and_stop_the_jobs() {
    each(|_, _, io| {
        let mut io = Troubled::new(io, Trouble::Errno(6, libc::EIO));
        let counters = IoCounters::default();
        let mut memory = Memory::new(40, 6);
        let transfers: Vec<Transfer> =
            (0..40).map(|at| memory.transfer(Direction::Write, A, at, 1)).collect();
        let mut jobs = transfers.into_iter();
        let error = Transfers::new(SECTOR, 4)
            .run(&mut io, &mut jobs, &counters)
            .expect_err("an error that stays");
        assert_eq!(error.source.raw_os_error(), Some(libc::EIO));
        assert_eq!(error.file, A);
        assert_eq!(io.outstanding(), 0, "T1");
        assert!(jobs.len() >= 40 - 9, "{} jobs left", jobs.len());
        assert!(counters.counts().write_errors >= 1);
    });
}

#[test]
fn panic_of_the_jobs_drains() {
    each(|_, _, mut io| {
        let mut memory = Memory::new(8, 6);
        let mut jobs = (0..8).map(|at| {
            assert!(at < 3, "planned");
            memory.transfer(Direction::Write, A, at, 1)
        });
        let ran = catch_unwind(AssertUnwindSafe(|| {
            Transfers::new(SECTOR, 4).run(io.as_mut(), &mut jobs, &IoCounters::default())
        }));
        assert!(ran.is_err());
        assert_eq!(io.outstanding(), 0, "T1");
    });
}

#[test]
fn dropping_waits_for_what_is_in_flight() {
    each(|_, members, mut io| {
        let mut memory = Memory::new(64, 8);
        for at in 0..4 {
            let from = memory.lend(at * 16, 16);
            let offset = (at * 16 * SECTOR) as u64;
            io.submit(at as u64, Op::Write { file: A, offset, from }).expect("taken");
        }
        drop(io);
        assert_eq!(contents(members, A)[..64 * SECTOR], memory.bytes());
    });
}

#[test]
fn failed_sync_is_not_tried_again_and_harms_no_other() {
    let disk = sim(None);
    let mut io = disk.io(None, Prefer::Ring).io;
    let counters = IoCounters::default();
    for errno in [libc::EIO, libc::EINTR] {
        disk.inject(FaultOn::Sync, 0, 1, Fault::Errno(errno));
        let failed = Transfers::new(SECTOR, 2)
            .sync(io.as_mut(), &mut [A, B].into_iter(), &counters)
            .expect_err("planned");
        assert_eq!(failed.len(), 1);
        assert_eq!((failed[0].file, failed[0].op, failed[0].offset), (A, "sync", 0));
        assert_eq!(failed[0].source.raw_os_error(), Some(errno));
    }
    let counts = counters.counts();
    assert_eq!((counts.syncs, counts.write_errors, counts.retries), (2, 2, 0));
}

#[test]
fn reads_say_what_a_truncated_file_lacks() {
    each(|kind, members, mut io| {
        if matches!(kind, Kind::Simulated { .. }) {
            return; // In `io_sim`.
        }
        let path = members.path(A).to_owned();
        for bytes in [0_usize, 1, 4095, 4096, 10_000, 5 * SECTOR, 8 * SECTOR] {
            fs::write(&path, vec![0xAB; bytes]).expect("shortened behind our back");
            let counters = IoCounters::default();
            let mut memory = Memory::zeros(8);
            let mut jobs = std::iter::once(memory.transfer(Direction::Read, A, 0, 8));
            let missing = Transfers::new(4 * SECTOR, 2)
                .run(io.as_mut(), &mut jobs, &counters)
                .expect("a short file is no error");
            let lacking: usize = missing.iter().map(|stretch| stretch.bytes).sum();
            assert_eq!(lacking, 8 * SECTOR - bytes, "{bytes}: {missing:?}");
            if bytes == 10_000 {
                let first = Missing { file: A, offset: 10_000, bytes: 4 * SECTOR - 10_000 };
                assert!(missing.contains(&first), "{missing:?}");
            }
            let read = memory.bytes();
            assert!(read[..bytes].iter().all(|byte| *byte == 0xAB));
            assert!(read[bytes..].iter().all(|byte| *byte == 0));
            assert_eq!(members.bytes(A).expect("a size"), bytes as u64);
        }
    });
}

fn ring_or_skip(files: Vec<ShadowFile>, region: Option<(NonNull<u8>, usize)>) -> Option<Ring> {
    let files: Arc<[ShadowFile]> = files.into();
    Ring::new(&files, region).inspect_err(|error| eprintln!("skipped: no io_uring: {error}")).ok()
}

fn one_file(directory: &Path) -> Vec<ShadowFile> {
    let path = directory.join("shadow");
    if path.exists() {
        return vec![ShadowFile::open(&path, true).expect("free again")];
    }
    vec![ShadowFile::create(&path, (FILE_SECTORS * SECTOR) as u64, true).expect("created")]
}

#[test]
fn region_is_registered_or_silently_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut memory = Memory::new(16, 9);
    let unmapped = (NonNull::without_provenance(16.try_into().expect("not 0")), 1 << 20);
    for region in [Some(memory.region()), Some(unmapped), None] {
        let Some(mut ring) = ring_or_skip(one_file(directory.path()), region) else { return };
        let is_registered = ring.has_registered_region();
        eprintln!("registered: {is_registered}");
        assert!(region == Some(memory.region()) || !is_registered);
        let mut elsewhere = Memory::zeros(16);
        let mut jobs = [
            memory.transfer(Direction::Write, A, 0, 16),
            // Not within the region: goes the plain way.
            elsewhere.transfer(Direction::Write, A, 0, 0),
        ]
        .into_iter();
        let transfers = Transfers::new(5 * SECTOR, 3);
        transfers.run(&mut ring, &mut jobs, &IoCounters::default()).expect("written");
        let mut jobs = std::iter::once(elsewhere.transfer(Direction::Read, A, 0, 16));
        transfers.run(&mut ring, &mut jobs, &IoCounters::default()).expect("read");
        assert_eq!(elsewhere.bytes(), memory.bytes());
        let mut jobs = std::iter::once(memory.transfer(Direction::Read, A, 0, 16));
        transfers.run(&mut ring, &mut jobs, &IoCounters::default()).expect("read in place");
        assert_eq!(elsewhere.bytes(), memory.bytes());
    }
}

#[test]
fn ring_works_on_another_thread_and_is_closed_on_exec() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(mut ring) = ring_or_skip(one_file(directory.path()), None) else { return };
    let rings = fs::read_dir("/proc/self/fd").expect("proc").filter_map(|entry| {
        let path = entry.ok()?.path();
        let is_ring = fs::read_link(&path).ok()?.to_string_lossy().contains("io_uring");
        is_ring.then(|| path.file_name().map(ToOwned::to_owned)).flatten()
    });
    let mut count = 0;
    for number in rings {
        // A ring of another test may be gone by now.
        let Ok(info) = fs::read_to_string(Path::new("/proc/self/fdinfo").join(number)) else {
            continue;
        };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).expect("flags");
        let flags = i32::from_str_radix(flags.trim(), 8).expect("octal");
        assert_ne!(flags & libc::O_CLOEXEC, 0);
        count += 1;
    }
    assert!(count >= 1, "no ring among the descriptors");
    let worker = std::thread::spawn(move || {
        let mut memory = Memory::new(8, 10);
        let mut jobs = std::iter::once(memory.transfer(Direction::Write, A, 0, 8));
        Transfers::new(SECTOR, 4).run(&mut ring, &mut jobs, &IoCounters::default())
    });
    worker.join().expect("no panic").expect("written");
}

#[test]
fn closing_a_ring_frees_its_files_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    for _ in 0..50 {
        let files = ShadowFiles::new(one_file(directory.path()));
        let mut io = files.io(None, Prefer::Ring).io;
        drop(files);
        let path = directory.path().join("shadow");
        assert!(ShadowFile::open(&path, true).is_err(), "the back end keeps the lock");
        let mut memory = Memory::new(8, 10);
        let from = memory.lend(0, 8);
        io.submit(0, Op::Write { file: A, offset: 0, from }).expect("taken");
        drop(io);
    }
}

/// Runs one ignored test of this binary in a process of its own.
fn run_alone(name: &str) {
    let program = std::env::current_exe().expect("a path");
    let output = Command::new(program)
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    eprintln!("{said}");
}

#[test]
fn without_a_ring_there_is_the_fall_back() {
    run_alone("alone_without_descriptors");
}

#[test]
#[ignore = "takes all descriptors of its process: run by without_a_ring_there_is_the_fall_back"]
fn alone_without_descriptors() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = create(directory.path(), true);
    let mut hoard = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        hoard.push(file);
        assert!(hoard.len() < 2_000_000);
    }
    let OpenedIo { mut io, ring_refused } = files.io(None, Prefer::Ring);
    drop(hoard);
    assert_eq!(io.backend(), Backend::Blocking);
    let why = ring_refused.expect("a reason");
    eprintln!("refused: {why}");
    let mut memory = Memory::new(8, 11);
    let mut jobs = std::iter::once(memory.transfer(Direction::Write, B, 0, 8));
    Transfers::new(SECTOR, 4)
        .run(io.as_mut(), &mut jobs, &IoCounters::default())
        .expect("written the slow way");
    assert_eq!(contents(&files, B)[..8 * SECTOR], memory.bytes());
}
