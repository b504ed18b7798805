//! The bytes of the region, and who may touch which of them.
//!
//! Every byte belongs to one wblock, and within a life of that wblock to at most one reservation.
//!
//! Invariants
//! - M1  A byte is written only by the holder of the reservation that covers it, before the commit
//!   word of that reservation is stored; the header of a wblock only by who opens it, before the
//!   open word names it.
//! - M2  After its commit word is stored, a record does not change until its wblock is opened
//!   again, which waits for every pin that could have seen it.
//! - M3  A commit word is only ever accessed as an atomic.
//!
//! The edge that M2 rests on, E1, is that of `commit`.
//!
//! Checked by: `loom-tests/tests/stripe.rs` (M1), through the model of this file beside it.

use super::mapping::Mapping;
use crate::config::HugePages;
use crate::sync::{AtomicU64, thread};
use crate::unit::{Geometry, Location, RBLOCK_BYTES};
use std::io;
use std::ptr::NonNull;

/// All wblocks, in one mapping.
#[derive(Debug)]
pub struct Region {
    mapping: Mapping,
    geometry: Geometry,
}

impl Region {
    /// Maps a region of this shape. No page is touched yet: see [`prefault`](Self::prefault).
    ///
    /// # Errors
    ///
    /// The system's, usually `ENOMEM`.
    pub fn map(geometry: Geometry, huge_pages: HugePages) -> io::Result<Self> {
        let bytes = usize::try_from(geometry.region_bytes())
            .map_err(|_too_large| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { mapping: Mapping::anonymous(bytes, huge_pages)?, geometry })
    }

    /// The shape.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// What kind of pages was granted.
    pub fn huge_pages(&self) -> HugePages {
        self.mapping.huge_pages()
    }

    /// The whole range, for registering with the kernel.
    pub fn range(&self) -> (NonNull<u8>, usize) {
        (self.mapping.base(), self.mapping.bytes())
    }

    /// Touches every page, in parallel, so that no put pays for a page fault.
    pub fn prefault(&self, threads: usize) {
        let chunk = self.mapping.bytes().div_ceil(threads.max(1)).next_multiple_of(2 << 20);
        thread::scope(|scope| {
            for start in (0..self.mapping.bytes()).step_by(chunk) {
                let bytes = chunk.min(self.mapping.bytes() - start);
                let populate = move || self.mapping.populate(start, bytes);
                // Without a thread (a limit of the system) this one does it.
                if thread::Builder::new().spawn_scoped(scope, populate).is_err() {
                    self.mapping.populate(start, bytes);
                }
            }
        });
    }

    /// Keeps the region in memory (`mlock`).
    ///
    /// # Errors
    ///
    /// The system's: `ENOMEM` or `EPERM` where `RLIMIT_MEMLOCK` is lower than the region.
    pub fn lock(&self) -> io::Result<()> {
        self.mapping.lock()
    }

    /// The first byte of `location`.
    #[inline]
    pub fn pointer(&self, location: Location) -> NonNull<u8> {
        debug_assert!(location.0 * u64::from(RBLOCK_BYTES) < self.geometry.region_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "the region fits the address space")]
        let offset = location.0 as usize * RBLOCK_BYTES as usize;
        // SAFETY: a location lies within the region, which is mapped as a whole.
        unsafe { self.mapping.base().add(offset) }
    }

    /// The location of a record of which [`bytes`](Self::bytes) lent what is behind its word.
    pub fn location_of(&self, body: &[u8]) -> Location {
        let offset = body.as_ptr().addr() - self.mapping.base().addr().get();
        debug_assert!(offset < self.mapping.bytes(), "not a record of this region");
        Location(offset as u64 / u64::from(RBLOCK_BYTES))
    }

    /// The commit word of the record at `location`.
    #[inline]
    pub(super) fn commit_word(&self, location: Location) -> &AtomicU64 {
        let word = self.pointer(location).cast::<AtomicU64>();
        // SAFETY: aligned (rblocks are 16 B), within the mapping, initialised (mappings start
        // zeroed), and only accessed as an atomic (M3).
        unsafe { word.as_ref() }
    }

    /// Copies `bytes` to `offset` bytes behind `location`.
    ///
    /// # Safety
    ///
    /// 1. The range is covered by a reservation (or a wblock being opened) that the caller holds,
    ///    and is not committed yet (M1).
    /// 2. `bytes` does not overlap it.
    #[inline]
    pub unsafe fn write(&self, location: Location, offset: usize, bytes: &[u8]) {
        // SAFETY: by (1) the range lies in the region.
        let target = unsafe { self.pointer(location).add(offset) };
        // SAFETY: writable by (1), unshared by M1, disjoint by (2).
        unsafe { target.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    }

    /// The `bytes` bytes from byte `offset` of `location` on.
    ///
    /// # Safety
    ///
    /// 1. They are shown, committed or read from the shadow, and the caller has seen that by E1 or
    ///    by the index's edge.
    /// 2. For as long as the slice lives the wblock is not opened again: the caller is pinned
    ///    since before it learnt the location, or owns the wblock.
    /// 3. No commit word that may still change is among them (M3).
    #[inline]
    pub unsafe fn bytes(&self, location: Location, offset: usize, bytes: usize) -> &[u8] {
        // SAFETY: within the region: a record does not cross its wblock.
        let start = unsafe { self.pointer(location).add(offset) };
        // SAFETY: initialised and unchanging by (1), (2), (3) and M2; within the region as above.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), bytes) }
    }
}
