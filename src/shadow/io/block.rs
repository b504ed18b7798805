//! The trait of submit and complete, and the raw memory that it moves.
//!
//! States of an operation    `submitted --[done by the system]--> done --[complete]--> over`
//!
//! Invariants
//! - B1  From `submit` until it is over, an operation's memory belongs to the back end: the system
//!   may read it (a write) or write it (a read) at any time, whatever else fails meanwhile.
//! - B2  Each operation that `submit` took is handed out by `complete` exactly once; one that
//!   `submit` refused never is, and its memory was not kept.
//! - B3  At most `in_flight_max` operations are outstanding, so no completion can be dropped.
//! - B4  Completions are raw: short counts, `EINTR` and `EAGAIN` are seen, nothing is resumed.
//!   [`Transfers`](super::Transfers) does that, the same for every back end.
//! - B5  A sync covers the writes that were over before it was submitted, and no others. Nothing
//!   else orders operations: no link chains, which break on a short write.
//!
//! Checked by: `tests/io_backends.rs`, the same suite over each back end.

use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::slice;

/// Number of a file among the members of one store's shadow: its stripe. Range: `0..1024`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct FileIndex(pub u32);

impl FileIndex {
    /// As an index into a slice of members.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What serves the operations.
#[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "for tests"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `io_uring`.
    Ring,
    /// pread, pwrite and fdatasync, one at a time.
    Blocking,
    /// A simulated disk.
    Simulated,
}

impl fmt::Display for Backend {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ring => "io_uring",
            Self::Blocking => "pwrite",
            Self::Simulated => "simulated",
        })
    }
}

/// Raw memory that one operation reads or fills: usually a part of the region.
#[derive(Debug)]
pub struct Buffer {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a buffer is an address. Whoever made it promised, by `new`, that the memory may be used
// until the operation is over, on whatever thread that ends.
unsafe impl Send for Buffer {}

impl Buffer {
    /// Lends `bytes` bytes from `start` on to one operation.
    ///
    /// # Safety
    ///
    /// From here until the operation is over (its completion was handed out, `submit` refused it,
    /// `Transfers::run` returned, or the buffer was dropped unused):
    ///
    /// 1. the memory is mapped and initialised, and lies within one allocation;
    /// 2. for a write: no byte of it changes;
    /// 3. for a read: nobody else reads or writes a byte of it.
    pub unsafe fn new(start: NonNull<u8>, bytes: usize) -> Self {
        Self { start, bytes }
    }

    /// The first byte.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes lent.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first `bytes` bytes alone; all of them if there are fewer.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn shortened(self, bytes: usize) -> Self {
        Self { start: self.start, bytes: self.bytes.min(bytes) }
    }

    /// `bytes` bytes from byte `at` on, for one operation of the job that was lent `self`: the
    /// part's operation is over before the job is, so the promises of `new` hold for it too.
    ///
    /// # Panics
    ///
    /// If the part is not within the buffer.
    pub(super) fn part(&self, at: usize, bytes: usize) -> Self {
        assert!(at <= self.bytes && bytes <= self.bytes - at, "a part outside its buffer");
        // SAFETY: within the buffer, by the assert, and so within one allocation, by `new` (1).
        let start = unsafe { self.start.add(at) };
        Self { start, bytes }
    }

    /// The bytes of a write.
    ///
    /// # Safety
    ///
    /// 1. The buffer was lent to a write, which is not over while the slice lives.
    pub(super) unsafe fn to_write<'b>(&self) -> &'b [u8] {
        // SAFETY: valid and initialised by `new` (1), unchanged by `new` (2), and both until the
        // write is over, which outlives the slice by (1).
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// The bytes of a read.
    ///
    /// # Safety
    ///
    /// 1. The buffer was lent to a read, which is not over while the slice lives.
    /// 2. No other slice of this buffer, or of a part of it, lives.
    pub(super) unsafe fn to_read<'b>(&self) -> &'b mut [u8] {
        // SAFETY: valid and initialised by `new` (1), nobody else's by `new` (3) and (2), and both
        // until the read is over, which outlives the slice by (1).
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

/// One operation.
#[derive(Debug)]
pub enum Op {
    /// Write `from` at byte `offset` of `file`.
    Write {
        /// Where to.
        file: FileIndex,
        /// Bytes from the start of the file.
        offset: u64,
        /// What to write.
        from: Buffer,
    },
    /// Fill `into` from byte `offset` of `file` on.
    Read {
        /// Where from.
        file: FileIndex,
        /// Bytes from the start of the file.
        offset: u64,
        /// What to fill.
        into: Buffer,
    },
    /// Make what was written to `file` durable (B5).
    Sync {
        /// Which file.
        file: FileIndex,
    },
}

/// An operation that is over.
#[derive(Debug)]
pub struct Completion {
    /// What `submit` was given.
    pub token: u64,
    /// Bytes moved, 0 for a sync; fewer than asked for is no error here (B4).
    pub result: io::Result<u32>,
}

/// Operations in flight on the members of one store's shadow.
///
/// An implementation keeps B1 to B5 (see the file header); dropping one first waits for what is
/// outstanding.
pub trait BlockIo: Send + fmt::Debug {
    /// What serves the operations.
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "for tests"))]
    fn backend(&self) -> Backend;

    /// Most operations outstanding at once; at least 1.
    fn in_flight_max(&self) -> usize;

    /// True once it takes nothing more, for good and whatever the device: another is needed.
    fn is_lost(&self) -> bool {
        false
    }

    /// Operations submitted and not yet over.
    fn outstanding(&self) -> usize;

    /// Starts `op`; its completion will carry `token`.
    ///
    /// # Errors
    ///
    /// The system took nothing: `op` is over, and nothing of it will be handed out.
    ///
    /// # Panics
    ///
    /// With `in_flight_max` operations outstanding, or a file that is not a member.
    fn submit(&mut self, token: u64, op: Op) -> io::Result<()>;

    /// Appends what is over to `done`; with `wait`, at least one, if any is outstanding.
    ///
    /// # Errors
    ///
    /// The wait failed. It says nothing about the operations: those outstanding still are.
    fn complete(&mut self, wait: bool, done: &mut Vec<Completion>) -> io::Result<()>;
}
