//! The ring: block I/O over `io_uring`, with registered files and, where it is let, a registered
//! region.
//!
//! States    `open --[enter fails for good]--> lost` (refuses; what is in flight is still waited
//!           for) `--[drop]--> drained and closed`
//!
//! Invariants
//! - R1  At most `ENTRIES` operations are outstanding, and the completion queue is twice as long:
//!   no completion is ever dropped.
//! - R2  The submission queue is empty between calls, so a failed enter never submits twice. Only
//!   a lost ring may keep one entry in it, and never enters with it again.
//! - R3  A wait ends only with a completion, even if the ring is lost: the memory in flight is
//!   the kernel's until then, and closing the ring would not wait for it.
//! - R4  In a child of fork the ring is left alone: its memory is not there (`MADV_DONTFORK`), and
//!   to unregister would be to unregister the parent's.
//!
//! Plain setup flags: the ring is made on the thread that opens the store and used on the
//! shadow's, which `SINGLE_ISSUER` forbids. No links: a short write would cancel its sync.
//!
//! Checked by: `tests/io_backends.rs` (R1 to R3 as far as a healthy kernel shows them).

use super::block::{Backend, BlockIo, Buffer, Completion, Op};
use super::file::ShadowFile;
use super::members::member;
use crate::sync::{Arc, thread};
use io_uring::squeue::{self, Entry};
use io_uring::{IoUring, Probe, opcode, types};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::time::Duration;

/// More in flight than the driver wants (2 to 4) serves no device.
const ENTRIES: u32 = 8;
/// Largest buffer that can be registered: a larger region is registered in pieces.
const REGISTERED_BYTES_MAX: usize = 1 << 30;
/// Most bytes of one operation: what Linux moves at once (`MAX_RW_COUNT`), in whole pages.
const OP_BYTES_MAX: usize = 0x7FFF_F000;
/// Refusals in a row (`EAGAIN`, `EBUSY`: no memory now) after which the ring is lost: about 10 s.
const REFUSALS_MAX: u32 = 10_000;
const REFUSED_PAUSE: Duration = Duration::from_millis(1);

/// Block I/O over `io_uring`.
pub struct Ring {
    queues: IoUring,
    /// Kept open and locked.
    files: Arc<[ShadowFile]>,
    has_registered_files: bool,
    /// Address and bytes of the registered region.
    region: Option<(usize, usize)>,
    /// Operations submitted and not yet over.
    outstanding: usize,
    /// Taken off the completion queue, not yet handed out.
    ready: VecDeque<Completion>,
    /// Why the ring takes nothing more.
    lost: Option<i32>,
    /// Who made it (R4).
    process: u32,
}

impl Ring {
    /// A ring over `files`, whose locks it keeps until it is dropped.
    ///
    /// `region`, first byte and bytes, holds most buffers; it is registered, in pieces of 1 GiB,
    /// if `RLIMIT_MEMLOCK` allows, and must then stay mapped until the ring is dropped. An
    /// ordinary user's limit allows next to nothing, so a refusal is no error.
    ///
    /// # Errors
    ///
    /// The system's: `EPERM`, `ENOSYS` (seccomp, `io_uring_disabled`, an old kernel), `ENOMEM`,
    /// `EMFILE`; `Unsupported` if the kernel's ring cannot read and write.
    pub fn new(
        files: &Arc<[ShadowFile]>,
        region: Option<(NonNull<u8>, usize)>,
    ) -> io::Result<Self> {
        // The kernel opens rings close-on-exec.
        let queues = IoUring::builder().dontfork().build(ENTRIES)?;
        check_opcodes(&queues)?;
        let descriptors: Vec<RawFd> = files.iter().map(|file| file.file().as_raw_fd()).collect();
        let has_registered_files = queues.submitter().register_files(&descriptors).is_ok();
        let region = region.and_then(|(start, bytes)| register(&queues, start, bytes));
        let mut opened = Self {
            queues,
            files: Arc::clone(files),
            has_registered_files,
            region,
            outstanding: 0,
            ready: VecDeque::with_capacity(ENTRIES as usize),
            lost: None,
            process: std::process::id(),
        };
        opened.try_out()?;
        Ok(opened)
    }

    /// Whether the region is registered.
    pub fn has_registered_region(&self) -> bool {
        self.region.is_some()
    }

    /// One operation that does nothing: a filter may let a ring be made and not entered.
    fn try_out(&mut self) -> io::Result<()> {
        self.push(0, &opcode::Nop::new().build())?;
        let mut done = Vec::with_capacity(1);
        self.complete(true, &mut done)
    }

    fn entry(&self, op: &Op) -> Entry {
        let (Op::Write { file, .. } | Op::Read { file, .. } | Op::Sync { file }) = op;
        let descriptor = member(&self.files, *file).file().as_raw_fd();
        if !self.has_registered_files {
            return self.entry_for(types::Fd(descriptor), op);
        }
        // A registered file goes by its number among them, which is far below 2^31.
        let number = types::Fd(file.0.cast_signed());
        self.entry_for(number, op).flags(squeue::Flags::FIXED_FILE)
    }

    fn entry_for(&self, file: types::Fd, op: &Op) -> Entry {
        match op {
            Op::Sync { .. } => opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build(),
            Op::Write { offset, from, .. } => {
                let (start, bytes) = (from.start().as_ptr().cast_const(), op_bytes(from));
                match self.registered(from) {
                    Some(piece) => {
                        opcode::WriteFixed::new(file, start, bytes, piece).offset(*offset).build()
                    }
                    None => opcode::Write::new(file, start, bytes).offset(*offset).build(),
                }
            }
            Op::Read { offset, into, .. } => {
                let (start, bytes) = (into.start().as_ptr(), op_bytes(into));
                match self.registered(into) {
                    Some(piece) => {
                        opcode::ReadFixed::new(file, start, bytes, piece).offset(*offset).build()
                    }
                    None => opcode::Read::new(file, start, bytes).offset(*offset).build(),
                }
            }
        }
    }

    /// The registered piece of the region that holds all of `buffer`.
    fn registered(&self, buffer: &Buffer) -> Option<u16> {
        let (region, region_bytes) = self.region?;
        let first = buffer.start().addr().get().checked_sub(region)?;
        let last = first + buffer.bytes().checked_sub(1)?;
        let piece = first / REGISTERED_BYTES_MAX;
        let is_within = last < region_bytes && last / REGISTERED_BYTES_MAX == piece;
        is_within.then(|| u16::try_from(piece).ok()).flatten()
    }

    /// Submits `entry`, alone (R2).
    fn push(&mut self, token: u64, entry: &Entry) -> io::Result<()> {
        if let Some(errno) = self.lost {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let entry = entry.clone().user_data(token);
        // SAFETY: the memory that `entry` names is the kernel's until the completion, by
        // `Buffer::new`; R1 and R3 keep it so for as long as it takes.
        let pushed = unsafe { self.queues.submission().push(&entry) };
        assert!(pushed.is_ok(), "the submission queue is empty between calls (R2)");
        self.outstanding += 1;
        let mut refusals = 0;
        while !self.queues.submission().is_empty() {
            let Err(error) = self.queues.submit() else { continue };
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            refusals += 1;
            if is_passing(&error) && refusals < REFUSALS_MAX {
                self.harvest();
                thread::sleep(REFUSED_PAUSE);
                continue;
            }
            if self.queues.submission().is_empty() {
                break; // Taken, whatever the error was about.
            }
            self.outstanding -= 1;
            self.lost = Some(error.raw_os_error().unwrap_or(libc::EIO));
            return Err(error);
        }
        Ok(())
    }

    /// Takes what is there off the completion queue.
    fn harvest(&mut self) {
        let queue = self.queues.completion();
        debug_assert_eq!(queue.overflow(), 0, "a completion was dropped (R1)");
        for entry in queue {
            let result = u32::try_from(entry.result())
                .map_err(|_| io::Error::from_raw_os_error(-entry.result()));
            self.ready.push_back(Completion { token: entry.user_data(), result });
        }
    }

    /// Waits until something is ready (R3).
    fn wait(&mut self) {
        while self.ready.is_empty() && self.outstanding > 0 {
            let is_entered = self.lost.is_none()
                && match self.queues.submit_and_wait(1) {
                    Ok(_) => true,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
                    Err(_) => false,
                };
            if !is_entered {
                // Completions arrive in shared memory, with or without an enter.
                thread::sleep(REFUSED_PAUSE);
            }
            self.harvest();
        }
    }
}

impl BlockIo for Ring {
    fn backend(&self) -> Backend {
        Backend::Ring
    }

    fn in_flight_max(&self) -> usize {
        ENTRIES as usize
    }

    fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    fn outstanding(&self) -> usize {
        self.outstanding
    }

    fn submit(&mut self, token: u64, op: Op) -> io::Result<()> {
        assert!(self.outstanding < ENTRIES as usize, "more in flight than in_flight_max (B3)");
        let entry = self.entry(&op);
        self.push(token, &entry)
    }

    fn complete(&mut self, wait: bool, done: &mut Vec<Completion>) -> io::Result<()> {
        self.harvest();
        if wait {
            self.wait();
        }
        self.outstanding -= self.ready.len();
        done.extend(self.ready.drain(..));
        Ok(())
    }
}

/// Drains, then gives files and memory back by word: the kernel closes a ring some time later,
/// and until then would hold a device claimed and the locked memory charged.
impl Drop for Ring {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        while self.outstanding > 0 {
            self.wait();
            self.outstanding -= self.ready.len();
            self.ready.clear();
        }
        // Closing gives them back too, later.
        if self.has_registered_files {
            let _ = self.queues.submitter().unregister_files();
        }
        if self.region.is_some() {
            let _ = self.queues.submitter().unregister_buffers();
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Ring")
            .field("files", &self.files)
            .field("has_registered_files", &self.has_registered_files)
            .field("has_registered_region", &self.has_registered_region())
            .field("outstanding", &self.outstanding)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

/// Refuses a kernel whose ring lacks an operation (before 5.6).
fn check_opcodes(queues: &IoUring) -> io::Result<()> {
    let mut probe = Probe::new();
    queues.submitter().register_probe(&mut probe)?;
    let needed = [
        opcode::Read::CODE,
        opcode::Write::CODE,
        opcode::ReadFixed::CODE,
        opcode::WriteFixed::CODE,
        opcode::Fsync::CODE,
        opcode::Nop::CODE,
    ];
    if needed.iter().all(|code| probe.is_supported(*code)) {
        return Ok(());
    }
    Err(io::ErrorKind::Unsupported.into())
}

/// Registers the region in pieces; `None` if the kernel will not.
fn register(queues: &IoUring, start: NonNull<u8>, bytes: usize) -> Option<(usize, usize)> {
    let pieces: Vec<libc::iovec> = (0..bytes)
        .step_by(REGISTERED_BYTES_MAX)
        .map(|at| libc::iovec {
            iov_base: start.as_ptr().wrapping_add(at).cast(),
            iov_len: REGISTERED_BYTES_MAX.min(bytes - at),
        })
        .collect();
    // SAFETY: the kernel checks the addresses, and pins the pages behind them: whatever becomes of
    // the mapping, they are written only by operations, whose buffers are valid by `Buffer::new`.
    let registered = unsafe { queues.submitter().register_buffers(&pieces) };
    registered.is_ok().then_some((start.addr().get(), bytes))
}

fn op_bytes(buffer: &Buffer) -> u32 {
    u32::try_from(buffer.bytes().min(OP_BYTES_MAX)).unwrap_or(0)
}

/// Whether the kernel may take the same entry a little later.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY))
}
