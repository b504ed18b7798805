//! Reads and writes of whole sectors without a back end: superblocks, a few at open and close.
//!
//! They go through an aligned buffer of their own, as `O_DIRECT` demands, so the caller's memory
//! may lie anywhere; offsets and lengths must be whole sectors on every kind of file, so that what
//! works in a test works on a device.
//!
//! Checked by: `tests/io_files.rs`, `tests/io_sim.rs`.
#![forbid(unsafe_code)]

use crate::unit::SECTOR_BYTES;
use std::io;

const SECTOR: usize = SECTOR_BYTES as usize;
/// Bytes moved at once; more are moved in turns.
const BOUNCE_BYTES_MAX: usize = 1 << 20;

/// A zeroed buffer on the heap that starts on a sector's boundary.
#[derive(Debug)]
struct Bounce {
    memory: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl Bounce {
    fn new(bytes: usize) -> Self {
        let bytes = bytes.min(BOUNCE_BYTES_MAX);
        let memory = vec![0; bytes + SECTOR];
        let start = memory.as_ptr().align_offset(SECTOR);
        Self { memory, start, bytes }
    }

    fn first(&mut self, bytes: usize) -> &mut [u8] {
        let bytes = bytes.min(self.bytes);
        self.memory.get_mut(self.start..self.start + bytes).unwrap_or_default()
    }
}

/// Refuses what is not whole sectors.
///
/// # Errors
///
/// `InvalidInput`.
pub(super) fn check_whole(offset: u64, bytes: usize) -> io::Result<()> {
    if offset.is_multiple_of(u64::from(SECTOR_BYTES)) && bytes.is_multiple_of(SECTOR) {
        return Ok(());
    }
    Err(io::ErrorKind::InvalidInput.into())
}

/// Fills `into` from byte `offset` on by calls of `read`; fewer bytes only at the end of the file.
///
/// # Errors
///
/// `InvalidInput` if not whole sectors, or what `read` said; `into` is filled in part.
pub(super) fn read_whole(
    offset: u64,
    into: &mut [u8],
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    check_whole(offset, into.len())?;
    let mut bounce = Bounce::new(into.len());
    let mut filled = 0;
    while filled < into.len() {
        // A file may end, and so a read stop, in mid-sector: the resumed read starts a sector.
        let at = filled - filled % SECTOR;
        let room = bounce.first(into.len() - at);
        let bytes = retried(|| read(room, offset + at as u64))?.min(room.len());
        if at + bytes <= filled {
            break;
        }
        for (target, source) in into.iter_mut().skip(at).zip(room.iter().take(bytes)) {
            *target = *source;
        }
        filled = at + bytes;
    }
    Ok(filled)
}

/// Writes all of `from` at byte `offset` by calls of `write`.
///
/// # Errors
///
/// `InvalidInput` if not whole sectors, `WriteZero` if twice in a row nothing more was taken, or
/// what `write` said; `from` is written in part.
pub(super) fn write_whole(
    offset: u64,
    from: &[u8],
    mut write: impl FnMut(&[u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    check_whole(offset, from.len())?;
    let mut bounce = Bounce::new(from.len());
    let mut written = 0;
    let mut stalls = 0;
    while written < from.len() {
        let at = written - written % SECTOR;
        let rest = from.get(at..).unwrap_or_default();
        let part = bounce.first(rest.len());
        for (target, source) in part.iter_mut().zip(rest) {
            *target = *source;
        }
        let reached = at + retried(|| write(part, offset + at as u64))?.min(part.len());
        stalls = if reached > written { 0 } else { stalls + 1 };
        written = written.max(reached);
        if stalls == 2 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// Calls `call` until no signal interrupts it.
fn retried(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
