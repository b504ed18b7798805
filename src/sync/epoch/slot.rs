//! The pins of one thread, in one word that only this thread writes.
//!
//! The word holds a depth, the guards that the thread has now, and a session, which counts how
//! often the depth came back to 0. What a steward waits for is the end of a session.
//!
//! Happens-before edges
//! - L1  `enter` to `session`: a steward that does not see a session after its barrier is before
//!   all that the session reads. That is a Dekker pair, store then load on both sides: the
//!   steward pays for both with a barrier in every thread (`membarrier`), and the reader only
//!   keeps its compiler in order. Where the system has no such call, a fence of the reader's does
//!   it.
//! - L2  `leave` (Release) to `session` (Acquire): what was done in a session is before what
//!   follows a look that no longer sees it. Every store of the word is a Release, so that a look
//!   at a later session carries the edge, too.
//!
//! Checked by: `loom-tests/tests/epoch.rs`, with the fence.
#![forbid(unsafe_code)]

use crate::sync::{Acquire, AtomicBool, AtomicU64, Relaxed, Release, fence_seq_cst};

/// One session, in units of the word; below it the depth.
const SESSION: u64 = 1 << 32;

/// See the file header. Alone on its lines, which its owner writes twice a pin.
#[derive(Debug)]
#[repr(align(128))]
pub struct Slot {
    word: AtomicU64,
    /// A thread has it.
    is_taken: AtomicBool,
    /// Its thread has ended, and it goes with its last guard.
    is_last: AtomicBool,
    needs_fence: bool,
}

/// A session of a slot that has not ended when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session(u32);

fn depth(word: u64) -> u64 {
    word % SESSION
}

impl Slot {
    /// A slot of the calling thread, without a pin.
    pub fn new(needs_fence: bool) -> Self {
        Self {
            word: AtomicU64::new(0),
            is_taken: AtomicBool::new(true),
            is_last: AtomicBool::new(false),
            needs_fence,
        }
    }

    /// One guard more. Only its own thread calls it.
    #[inline]
    pub fn enter(&self) {
        // ORDERING: Relaxed. Nobody else writes the word.
        let word = self.word.load(Relaxed);
        assert!(depth(word) < SESSION - 1, "a thread holds, or has forgotten, 2^32 guards");
        // ORDERING: Release, edge L2.
        self.word.store(word + 1, Release);
        // ORDERING: edge L1: the store is before every load of the session, to the compiler or to
        // the processor as well.
        #[cfg(not(any(loom, shuttle)))]
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
        if self.needs_fence && depth(word) == 0 {
            fence_seq_cst();
        }
    }

    /// One guard less. Only its own thread calls it.
    #[inline]
    pub fn leave(&self) {
        // ORDERING: Relaxed. Nobody else writes the word.
        let word = self.word.load(Relaxed);
        let is_end = depth(word) == 1;
        let step = if is_end { SESSION - 1 } else { u64::MAX };
        // ORDERING: Release, edge L2.
        self.word.store(word.wrapping_add(step), Release);
        // ORDERING: Relaxed. Only its own thread writes it.
        if is_end && self.is_last.load(Relaxed) {
            self.give_back();
        }
    }

    /// Ends the session and begins another, if there is but one guard. Only its own thread calls
    /// it.
    #[cfg(not(any(loom, shuttle)))]
    pub fn renew(&self) {
        // ORDERING: Relaxed. Only its own thread writes both.
        if depth(self.word.load(Relaxed)) == 1 && !self.is_last.load(Relaxed) {
            self.leave();
            self.enter();
        }
    }

    /// The session that goes on, if one does.
    pub fn session(&self) -> Option<Session> {
        // ORDERING: Acquire, edge L2.
        let word = self.word.load(Acquire);
        (depth(word) > 0).then_some(Session((word / SESSION) as u32))
    }

    /// Takes a slot that no thread has.
    pub fn take(&self) -> bool {
        // ORDERING: Acquire, pairs with `give_back`. Relaxed on failure: nothing is read.
        self.is_taken.compare_exchange(false, true, Acquire, Relaxed).is_ok()
    }

    /// The end of its thread: gives it back, now or with the last guard.
    pub fn end(&self) {
        // ORDERING: Relaxed. Only its own thread writes both.
        if depth(self.word.load(Relaxed)) == 0 {
            self.give_back();
        } else {
            // ORDERING: Relaxed, as above.
            self.is_last.store(true, Relaxed);
        }
    }

    /// For a thread that is ending already: the slot goes with its next session.
    #[cfg(not(any(loom, shuttle)))]
    pub fn end_with_session(&self) {
        // ORDERING: Relaxed. Only its own thread writes it.
        self.is_last.store(true, Relaxed);
    }

    #[cold]
    fn give_back(&self) {
        // ORDERING: Relaxed, published by the next store.
        self.is_last.store(false, Relaxed);
        // ORDERING: Release, pairs with `take`: the word goes along.
        self.is_taken.store(false, Release);
    }
}
