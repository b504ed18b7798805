//! Memory for segments: 16 KiB each, carved from huge pages, handed out and taken back.
//!
//! States    `unmapped -> blank (free list) <-> in use by the index`
//!
//! Invariants
//! - P1  The free list is a Treiber stack whose only hazard is a blank that is popped and pushed
//!   again while a slow pop still holds its old link. So a pop is made under a guard, and what was
//!   in use comes back only through the epoch ([`give_back`], [`retire`]): as long as that slow
//!   pop is pinned, its head cannot reappear. Fresh memory was never on the list, and is pushed
//!   at once.
//! - P2  A chunk is unmapped only with the pool, which every deferred return keeps alive.
//! - P3  A blank's link is initialised for ever; its other bytes are whatever they were (zero in
//!   fresh memory), so that whoever takes one writes all of it.
//!
//! Lock-free, the system's `mmap` aside: several threads that find the list empty map a chunk
//! each, and the list keeps what they do not use.
//!
//! Happens-before edges
//! - E3  `push` (Release) to `take` (Acquire): the link, and the end of the last use.
//!
//! Checked by: `tests.rs` (threads, bytes), `shuttle-tests/tests/index.rs` (P1). Under loom
//! nothing is reused, so that a use after reclamation is seen; E3 rests on the argument above and
//! on stress.
//!
//! [`give_back`]: Pool::give_back
//! [`retire`]: Pool::retire

use super::segment::{SEGMENT_BYTES, Segment};
use crate::sync::epoch::Guard;
use crate::sync::{Acquire, Arc, AtomicPtr, AtomicU64, Relaxed, Release};
use std::io;
use std::ptr::{self, NonNull};

#[cfg(not(any(loom, shuttle)))]
use crate::config::HugePages;
#[cfg(not(any(loom, shuttle)))]
use crate::region::{HUGE_PAGE_BYTES, Mapping};

/// See the file header.
#[derive(Debug)]
pub struct Pool {
    free: AtomicPtr<Segment>,
    chunks: AtomicPtr<Chunk>,
    bytes: AtomicU64,
    #[cfg(not(any(loom, shuttle)))]
    huge_pages: HugePages,
}

/// Memory for one segment, unused. Neither `Clone` nor `Copy`: it belongs to whoever holds it.
#[derive(Debug)]
#[must_use = "memory that is dropped is lost to the pool"]
pub struct Blank(NonNull<Segment>);

impl Blank {
    /// Its place: valid for the writes of a whole segment.
    pub fn place(&self) -> NonNull<Segment> {
        self.0
    }
}

// SAFETY: memory, not tied to a thread; it has one owner.
unsafe impl Send for Blank {}

/// Mapped memory, listed so that the pool can unmap it. Only pushed while the pool lives.
#[derive(Debug)]
struct Chunk {
    #[cfg(not(any(loom, shuttle)))]
    _mapping: Mapping,
    #[cfg(any(loom, shuttle))]
    boxed: *mut std::mem::MaybeUninit<Segment>,
    next: *mut Chunk,
}

impl Pool {
    /// A pool without memory.
    pub fn new(#[cfg(not(any(loom, shuttle)))] huge_pages: HugePages) -> Self {
        Self {
            free: AtomicPtr::new(ptr::null_mut()),
            chunks: AtomicPtr::new(ptr::null_mut()),
            bytes: AtomicU64::new(0),
            #[cfg(not(any(loom, shuttle)))]
            huge_pages,
        }
    }

    /// Mapped bytes, in use or not.
    pub fn bytes(&self) -> u64 {
        // ORDERING: Relaxed. A statistic.
        self.bytes.load(Relaxed)
    }

    /// A blank: a free one, or one of a new chunk.
    ///
    /// # Errors
    ///
    /// The system's, when it gives no memory. Nothing changed.
    pub fn take(&self, guard: &Guard) -> io::Result<Blank> {
        match self.pop(guard) {
            Some(blank) => Ok(blank),
            None => self.map(1),
        }
    }

    /// Returns a blank that was taken and not used, or used by its taker only.
    pub fn give_back(this: &Arc<Self>, guard: &Guard, blank: Blank) {
        let pool = Arc::clone(this);
        // SAFETY: (1) The memory is mapped while the pool lives (P2), and only a slow pop still
        // reads its link (P1).
        unsafe { guard.defer_unchecked(move || pool.push(blank.place())) };
    }

    /// Returns `segment`, once no guard that is alive now may still use it.
    ///
    /// # Safety
    ///
    /// 1. A guard taken from now on cannot reach it.
    /// 2. It is retired once.
    pub unsafe fn retire(this: &Arc<Self>, guard: &Guard, segment: NonNull<Segment>) {
        let (pool, blank) = (Arc::clone(this), Blank(segment));
        let reclaim = move || {
            // SAFETY: (1) of `clear`: the guards that could are gone, by (1) and the epoch.
            unsafe { Segment::clear(blank.place()) };
            pool.push(blank.place());
        };
        // SAFETY: (1), (2).
        unsafe { guard.defer_unchecked(reclaim) };
    }

    #[cfg_attr(loom, expect(clippy::unused_self, reason = "loom reuses nothing"))]
    fn pop(&self, _guard: &Guard) -> Option<Blank> {
        #[cfg(not(loom))]
        loop {
            // ORDERING: Acquire, edge E3, pairs with `push`.
            let head = NonNull::new(self.free.load(Acquire))?;
            // SAFETY: mapped while the pool lives (P2), link initialised before the push (P3).
            let link = unsafe { Segment::link(head) };
            // ORDERING: Relaxed. If `head` is still the head below, then E3 covers its link (P1).
            let next = link.load(Relaxed);
            // ORDERING: Acquire, edge E3: the head may have been pushed again since, by a thread
            // that this one has not synchronized with, though not while it was off the list
            // during this pin (P1). Relaxed on failure: read again above.
            let popped = self.free.compare_exchange_weak(head.as_ptr(), next, Acquire, Relaxed);
            if popped.is_ok() {
                return Some(Blank(head));
            }
        }
        #[cfg(loom)]
        None
    }

    fn push(&self, head: NonNull<Segment>) {
        // SAFETY: mapped (P2); initialised when its chunk was carved (P3).
        let link = unsafe { Segment::link(head) };
        // ORDERING: Relaxed. A hint for the CAS.
        let mut next = self.free.load(Relaxed);
        loop {
            // ORDERING: Relaxed. Published by the CAS; a slow pop that reads it loses (P1).
            link.store(next, Relaxed);
            // ORDERING: Release, edge E3. Later pops and pushes are RMWs and extend the sequence.
            match self.free.compare_exchange_weak(next, head.as_ptr(), Release, Relaxed) {
                Ok(_) => return,
                Err(now) => next = now,
            }
        }
    }

    fn keep(&self, chunk: Chunk, bytes: u64) {
        let chunk = Box::into_raw(Box::new(chunk));
        // ORDERING: Relaxed. A hint for the CAS.
        let mut next = self.chunks.load(Relaxed);
        loop {
            // SAFETY: from `into_raw` above; not shared before the CAS succeeds.
            unsafe { (*chunk).next = next };
            // ORDERING: Release, so that the thread that drops the pool, which has acquired the
            // last reference, walks whole chunks. Relaxed on failure: only a pointer to try.
            match self.chunks.compare_exchange_weak(next, chunk, Release, Relaxed) {
                Ok(_) => break,
                Err(now) => next = now,
            }
        }
        // ORDERING: Relaxed. A statistic.
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Maps room for at least `segments` segments (at least 1), returns the first and lists the
    /// rest. All are zero: EMPTY entries.
    ///
    /// # Errors
    ///
    /// The system's.
    #[cfg(not(any(loom, shuttle)))]
    pub fn map(&self, segments: usize) -> io::Result<Blank> {
        const _: () = assert!(HUGE_PAGE_BYTES.is_multiple_of(SEGMENT_BYTES));
        let wanted = segments.checked_mul(SEGMENT_BYTES).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = Mapping::anonymous(wanted, self.huge_pages)?;
        let (base, bytes) = (mapping.base().cast::<Segment>(), mapping.bytes());
        self.keep(Chunk { _mapping: mapping, next: ptr::null_mut() }, bytes as u64);
        for index in (0..bytes / SEGMENT_BYTES).rev() {
            // SAFETY: within the mapping.
            let place = unsafe { base.add(index) };
            // SAFETY: (1) Mapped for writing, aligned to a huge page, and still ours alone.
            unsafe { Segment::write_link(place) };
            if index > 0 {
                self.push(place);
            }
        }
        Ok(Blank(base))
    }

    /// One segment in a box of its own, kept until the pool drops.
    #[cfg(any(loom, shuttle))]
    pub fn map(&self, _segments: usize) -> io::Result<Blank> {
        let boxed = Box::into_raw(Box::new(std::mem::MaybeUninit::<Segment>::uninit()));
        let place = NonNull::new(boxed.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        self.keep(Chunk { boxed, next: ptr::null_mut() }, SEGMENT_BYTES as u64);
        // SAFETY: (1) Just made, for nobody else.
        unsafe { Segment::write_link(place) };
        Ok(Blank(place))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // ORDERING: Acquire, pairs with `keep`; the last reference is gone, nobody else is here.
        let mut next = self.chunks.load(Acquire);
        while !next.is_null() {
            // SAFETY: from `Box::into_raw` in `keep`, listed once.
            let chunk = unsafe { Box::from_raw(next) };
            next = chunk.next;
            #[cfg(any(loom, shuttle))]
            // SAFETY: from `Box::into_raw` in `map`.
            drop(unsafe { Box::from_raw(chunk.boxed) });
        }
    }
}
