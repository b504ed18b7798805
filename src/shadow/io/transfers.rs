//! Whole jobs over raw block I/O: pieces in flight, short counts resumed, faults retried.
//!
//! States of a piece    `in flight --[all moved]--> finished`
//!                      `in flight --[short, EINTR, EAGAIN]--> in flight` (submitted again)
//!                      `in flight --[zero progress twice, other errors]--> given up`
//!
//! Invariants
//! - T1  Nothing is outstanding when `run` or `sync` returns, or unwinds: memory lent to a job is
//!   the caller's again (B1 of `block`).
//! - T2  A resumed transfer starts a whole number of sectors into its piece, as `O_DIRECT`
//!   demands, even if the system stopped in mid-sector (seen: 1,048,575 bytes).
//! - T3  A count that reaches no further than the last one is no progress; twice in a row is the
//!   end: `WriteZero` for a write, the end of the file for a read. Retries are bounded too.
//! - T4  A failed sync is never tried again, not even after `EINTR`: the system may have dropped
//!   what it could not write, and would report success next time. The caller writes it all again.
//!
//! Checked by: `tests/io_backends.rs` (T1 to T4, over each back end), `tests/io_sim.rs`.
#![forbid(unsafe_code)]

use super::block::{BlockIo, Buffer, Completion, FileIndex, Op};
use super::counters::IoCounters;
use crate::planted::{Bug, is_planted};
use crate::sync::thread;
use crate::unit::SECTOR_BYTES;
use std::io;
use std::time::Duration;

/// Bytes of a sector, as buffers count them.
const SECTOR: usize = SECTOR_BYTES as usize;
/// Largest piece: a completion counts its bytes in 32 bits, and Linux moves less than 2 GiB.
const PIECE_BYTES_MAX: usize = 1 << 30;
/// Completions in a row without progress that end a piece.
const STALLS_MAX: u32 = 2;
/// Retries in a row, after `EINTR` or `EAGAIN`, that end a piece: about 100 ms.
const RETRIES_MAX: u32 = 100;
/// Retries in a row that are made at once; a millisecond lies before each later one.
const RETRIES_AT_ONCE: u32 = 8;
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From memory to the file.
    Write,
    /// From the file to memory.
    Read,
}

/// One job: a stretch of a file, of any length, and its memory.
#[derive(Debug)]
pub struct Transfer {
    /// Which way.
    pub direction: Direction,
    /// Which file.
    pub file: FileIndex,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// The memory, lent until the run returns.
    pub buffer: Buffer,
}

/// A stretch that a read did not fill, because the file ends before or in it. Its memory is as it
/// was, except that up to a sector before `offset` may have been filled more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Which file.
    pub file: FileIndex,
    /// Where the missing bytes start. Bytes from the start of the file.
    pub offset: u64,
    /// How many are missing.
    pub bytes: usize,
}

/// Where and why a job failed.
#[derive(Debug, thiserror::Error)]
#[error("{op} failed in file {} at byte {offset}", file.0)]
pub struct TransferError {
    /// `write`, `read` or `sync`.
    pub op: &'static str,
    /// Which file.
    pub file: FileIndex,
    /// The first byte not known to be moved; 0 for a sync.
    pub offset: u64,
    /// What the system said.
    pub source: io::Error,
}

/// How jobs are run: in pieces of so many bytes, so many in flight.
#[derive(Clone, Copy, Debug)]
pub struct Transfers {
    piece_bytes: usize,
    in_flight: usize,
}

impl Transfers {
    /// Runs in pieces of `piece_bytes` (whole sectors, at most 1 GiB), up to `in_flight` at once
    /// or as many as the back end allows.
    ///
    /// # Panics
    ///
    /// If `piece_bytes` is not whole sectors or too large, or `in_flight` is 0.
    pub const fn new(piece_bytes: usize, in_flight: usize) -> Self {
        assert!(piece_bytes > 0 && piece_bytes.is_multiple_of(SECTOR), "pieces are whole sectors");
        assert!(piece_bytes <= PIECE_BYTES_MAX, "a piece is counted in 32 bits");
        assert!(in_flight > 0, "at least one in flight");
        Self { piece_bytes, in_flight }
    }

    /// Runs `jobs` to their ends, in no particular order, and says what the reads did not find.
    ///
    /// Jobs are taken one at a time, as places in flight become free.
    ///
    /// # Errors
    ///
    /// The first failure. No further job was taken, jobs in flight were stopped half-way, and
    /// nothing is outstanding (T1).
    ///
    /// # Panics
    ///
    /// If something was outstanding on `io` already.
    pub fn run(
        &self,
        io: &mut dyn BlockIo,
        jobs: &mut dyn Iterator<Item = Transfer>,
        counters: &IoCounters,
    ) -> Result<Vec<Missing>, TransferError> {
        let mut run = Run::new(io, self.in_flight, counters);
        let mut pieces = Pieces { jobs, current: None, piece_bytes: self.piece_bytes };
        loop {
            while run.failed.is_empty()
                && let Some(place) = run.free_place()
                && let Some(piece) = pieces.next()
            {
                run.submit(place, piece);
            }
            if !run.complete_some() {
                break;
            }
        }
        match run.failed.pop() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut run.missing)),
        }
    }

    /// Syncs `files`, several at once. Covers the writes that were over before (B5).
    ///
    /// # Errors
    ///
    /// One for each file whose sync failed; the others are synced. None is tried again (T4).
    ///
    /// # Panics
    ///
    /// If something was outstanding on `io` already.
    pub fn sync(
        &self,
        io: &mut dyn BlockIo,
        files: &mut dyn Iterator<Item = FileIndex>,
        counters: &IoCounters,
    ) -> Result<(), Vec<TransferError>> {
        let mut run = Run::new(io, self.in_flight, counters);
        loop {
            while let Some(place) = run.free_place()
                && let Some(file) = files.next()
            {
                run.submit(place, Piece::new(Task::Sync, file, 0));
            }
            if !run.complete_some() {
                break;
            }
        }
        let failed = std::mem::take(&mut run.failed);
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }
}

/// Cuts jobs into pieces.
struct Pieces<'p> {
    jobs: &'p mut dyn Iterator<Item = Transfer>,
    /// The job being cut, and how much of it was.
    current: Option<(Transfer, usize)>,
    piece_bytes: usize,
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        loop {
            let (job, cut) = match self.current.take() {
                Some(current) => current,
                None => (self.jobs.next()?, 0),
            };
            let bytes = self.piece_bytes.min(job.buffer.bytes() - cut);
            if bytes == 0 {
                continue;
            }
            let buffer = job.buffer.part(cut, bytes);
            let piece =
                Piece::new(Task::Move(job.direction, buffer), job.file, job.offset + cut as u64);
            self.current = Some((job, cut + bytes));
            return Some(piece);
        }
    }
}

#[derive(Debug)]
enum Task {
    Move(Direction, Buffer),
    Sync,
}

/// One operation, from its first submission until it is finished or given up.
#[derive(Debug)]
struct Piece {
    task: Task,
    file: FileIndex,
    offset: u64,
    /// Bytes moved, from the start of the piece.
    moved: usize,
    stalls: u32,
    retries: u32,
}

/// What becomes of a piece after a completion.
enum Next {
    Again,
    Finished,
    EndOfFile,
    Failed(io::Error),
}

impl Piece {
    fn new(task: Task, file: FileIndex, offset: u64) -> Self {
        Self { task, file, offset, moved: 0, stalls: 0, retries: 0 }
    }

    /// Where the next operation starts: T2.
    fn resume_at(&self) -> usize {
        self.moved - self.moved % SECTOR
    }

    fn op(&self) -> Op {
        let file = self.file;
        let at = self.resume_at();
        let offset = self.offset + at as u64;
        match &self.task {
            Task::Sync => Op::Sync { file },
            Task::Move(direction, buffer) => {
                let part = buffer.part(at, buffer.bytes() - at);
                match direction {
                    Direction::Write => Op::Write { file, offset, from: part },
                    Direction::Read => Op::Read { file, offset, into: part },
                }
            }
        }
    }

    fn op_name(&self) -> &'static str {
        match self.task {
            Task::Sync => "sync",
            Task::Move(Direction::Write, _) => "write",
            Task::Move(Direction::Read, _) => "read",
        }
    }

    /// Takes note of one result.
    fn settle(&mut self, result: io::Result<u32>, counters: &IoCounters) -> Next {
        match result {
            Ok(bytes) => self.advance(bytes, counters),
            Err(error) if self.is_to_retry(&error) => {
                counters.count_retry();
                Next::Again
            }
            Err(error) => Next::Failed(error),
        }
    }

    fn is_to_retry(&mut self, error: &io::Error) -> bool {
        let is_trusted = matches!(self.task, Task::Sync)
            && self.retries == 0
            && is_planted(Bug::TrustRetriedSync);
        (is_transient(error) || is_trusted) && self.may_retry()
    }

    fn may_retry(&mut self) -> bool {
        let is_sync = matches!(self.task, Task::Sync) && !is_planted(Bug::TrustRetriedSync);
        if is_sync || self.retries == RETRIES_MAX {
            return false;
        }
        self.retries += 1;
        if self.retries > RETRIES_AT_ONCE {
            thread::sleep(RETRY_PAUSE);
        }
        true
    }

    fn advance(&mut self, bytes: u32, counters: &IoCounters) -> Next {
        let at = self.resume_at();
        let Task::Move(direction, buffer) = &self.task else {
            counters.count_sync();
            return Next::Finished;
        };
        assert!(bytes as usize <= buffer.bytes() - at, "more bytes moved than asked for");
        let reached = at + bytes as usize;
        let is_blind = *direction == Direction::Write && is_planted(Bug::IgnoreShortWrite);
        let is_whole = reached == buffer.bytes() || is_blind;
        match direction {
            Direction::Read => counters.count_read(bytes),
            Direction::Write => counters.count_written(bytes),
        }
        if !is_whole && *direction == Direction::Write {
            counters.count_short_write();
        }
        self.retries = 0;
        self.stalls = if reached > self.moved { 0 } else { self.stalls + 1 };
        self.moved = self.moved.max(reached);
        match direction {
            _ if is_whole => Next::Finished,
            _ if self.stalls < STALLS_MAX => Next::Again,
            Direction::Read => Next::EndOfFile,
            Direction::Write => Next::Failed(io::ErrorKind::WriteZero.into()),
        }
    }

    fn missing(&self) -> Missing {
        let bytes = match &self.task {
            Task::Move(_, buffer) => buffer.bytes() - self.moved,
            Task::Sync => 0,
        };
        Missing { file: self.file, offset: self.offset + self.moved as u64, bytes }
    }

    fn error(&self, source: io::Error) -> TransferError {
        let offset = self.offset + self.moved as u64;
        TransferError { op: self.op_name(), file: self.file, offset, source }
    }
}

/// Pieces in flight on one back end; their places are the tokens.
struct Run<'r> {
    io: &'r mut dyn BlockIo,
    counters: &'r IoCounters,
    places: Vec<Option<Piece>>,
    done: Vec<Completion>,
    missing: Vec<Missing>,
    failed: Vec<TransferError>,
}

impl<'r> Run<'r> {
    fn new(io: &'r mut dyn BlockIo, in_flight: usize, counters: &'r IoCounters) -> Self {
        assert_eq!(io.outstanding(), 0, "operations of somebody else are in flight");
        let places = in_flight.min(io.in_flight_max());
        Self {
            io,
            counters,
            places: std::iter::repeat_with(|| None).take(places).collect(),
            done: Vec::with_capacity(places),
            missing: Vec::new(),
            failed: Vec::new(),
        }
    }

    fn free_place(&self) -> Option<usize> {
        self.places.iter().position(Option::is_none)
    }

    /// Starts, or starts again, `piece` at `place`, which is free.
    fn submit(&mut self, place: usize, mut piece: Piece) {
        loop {
            let refused = match self.io.submit(place as u64, piece.op()) {
                Ok(()) => break,
                Err(error) => piece.settle(Err(error), self.counters),
            };
            if let Next::Failed(error) = refused {
                return self.fail(&piece, error);
            }
        }
        if let Some(free) = self.places.get_mut(place) {
            *free = Some(piece);
        }
    }

    fn fail(&mut self, piece: &Piece, error: io::Error) {
        if !matches!(piece.task, Task::Move(Direction::Read, _)) {
            self.counters.count_write_error();
        }
        // Of a run, only the first failure is told.
        if self.failed.is_empty() || matches!(piece.task, Task::Sync) {
            self.failed.push(piece.error(error));
        }
    }

    /// Waits for completions and acts on them; false if none was outstanding.
    fn complete_some(&mut self) -> bool {
        if self.io.outstanding() == 0 {
            return false;
        }
        let mut done = std::mem::take(&mut self.done);
        if self.io.complete(true, &mut done).is_err() {
            // Says nothing about the operations, which must still be waited for (T1).
            self.counters.count_retry();
            thread::sleep(RETRY_PAUSE);
        }
        for completion in done.drain(..) {
            self.settle(completion);
        }
        self.done = done;
        true
    }

    #[expect(clippy::cast_possible_truncation, reason = "tokens are places")]
    fn settle(&mut self, completion: Completion) {
        let place = completion.token as usize;
        let piece = self.places.get_mut(place).and_then(Option::take);
        let Some(mut piece) = piece else { panic!("completion of an unknown operation (B2)") };
        match piece.settle(completion.result, self.counters) {
            // After a failure, a job in flight stops half-way.
            Next::Again if self.failed.is_empty() => self.submit(place, piece),
            Next::Again | Next::Finished => {}
            Next::EndOfFile => self.missing.push(piece.missing()),
            Next::Failed(error) => self.fail(&piece, error),
        }
    }
}

/// Drains (T1), should a job panic; after a plain return nothing is outstanding.
impl Drop for Run<'_> {
    fn drop(&mut self) {
        while self.io.outstanding() > 0 {
            if self.io.complete(true, &mut self.done).is_err() {
                thread::sleep(RETRY_PAUSE);
            }
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy
    )
}
