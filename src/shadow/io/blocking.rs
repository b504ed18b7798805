//! The fall-back of pread, pwrite and fdatasync, and the choice between it and the ring.
//!
//! `submit` does the work and `complete` hands out the results, so B1 of `block` holds trivially.
//!
//! Checked by: `tests/io_backends.rs`.

use super::block::{Backend, BlockIo, Completion, FileIndex, Op};
use super::file::ShadowFile;
use super::members::member;
use super::ring::Ring;
use crate::sync::Arc;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

/// As many as the ring's, so that the two differ in nothing but speed.
const IN_FLIGHT_MAX: usize = 8;

/// Which back end to try first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// The ring, and where it is refused the blocking one.
    #[default]
    Ring,
    /// The blocking one, and the ring is not tried.
    Blocking,
}

/// A back end, and what stood in the way of a better one.
#[derive(Debug)]
pub struct OpenedIo {
    /// The back end; it says which it is.
    pub io: Box<dyn BlockIo>,
    /// Why there is no ring, if one was wanted: to be said once.
    pub ring_refused: Option<io::Error>,
}

/// Opens a back end over `files`: the ring, or without one (seccomp, an old kernel, no memory to
/// lock) the blocking one. See [`Ring::new`] for `region`.
pub fn open_backend(
    files: &Arc<[ShadowFile]>,
    region: Option<(NonNull<u8>, usize)>,
    prefer: Prefer,
) -> OpenedIo {
    let ring_refused = match prefer {
        Prefer::Blocking => None,
        Prefer::Ring => match Ring::new(files, region) {
            Ok(ring) => return OpenedIo { io: Box::new(ring), ring_refused: None },
            Err(error) => Some(error),
        },
    };
    OpenedIo { io: Box::new(Blocking::new(files)), ring_refused }
}

/// One operation at a time, on the thread that submits it.
#[derive(Debug)]
pub struct Blocking {
    files: Arc<[ShadowFile]>,
    done: VecDeque<Completion>,
}

impl Blocking {
    /// Over `files`, whose locks it keeps until it is dropped.
    pub fn new(files: &Arc<[ShadowFile]>) -> Self {
        Self { files: Arc::clone(files), done: VecDeque::with_capacity(IN_FLIGHT_MAX) }
    }

    fn file(&self, file: FileIndex) -> &File {
        member(&self.files, file).file()
    }
}

impl BlockIo for Blocking {
    fn backend(&self) -> Backend {
        Backend::Blocking
    }

    fn in_flight_max(&self) -> usize {
        IN_FLIGHT_MAX
    }

    fn outstanding(&self) -> usize {
        self.done.len()
    }

    fn submit(&mut self, token: u64, op: Op) -> io::Result<()> {
        assert!(self.done.len() < IN_FLIGHT_MAX, "more in flight than in_flight_max (B3)");
        let moved = match op {
            Op::Write { file, offset, from } => {
                // SAFETY: (1) `from` came with a write, which is over when `complete` says so.
                let bytes = unsafe { from.to_write() };
                self.file(file).write_at(bytes, offset)
            }
            Op::Read { file, offset, into } => {
                // SAFETY: (1) as above, with a read. (2) The only slice made of `into`.
                let bytes = unsafe { into.to_read() };
                self.file(file).read_at(bytes, offset)
            }
            Op::Sync { file } => self.file(file).sync_data().map(|()| 0),
        };
        // Linux moves less than 2 GiB at once.
        let result = moved.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
        self.done.push_back(Completion { token, result });
        Ok(())
    }

    fn complete(&mut self, _wait: bool, done: &mut Vec<Completion>) -> io::Result<()> {
        done.extend(self.done.drain(..));
        Ok(())
    }
}
