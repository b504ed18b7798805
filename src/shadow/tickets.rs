//! Barriers: who wants everything up to now durable takes a ticket and waits for its completion.
//!
//! One flush serves all tickets taken before it began: that is the group commit.
//!
//! Invariants
//! - T1  A ticket completes only after a flush, begun after it was taken, has made durable all
//!   that was committed before it was taken.
//! - T2  Tickets complete in order. A failure is told to who waits then, or comes while it stands;
//!   it completes nothing, and neither does recovery: T1 holds for who waits through both.
//!
//! Happens-before edge
//! - E3  `take` (Release increment) to `requested` (Acquire load): the flusher that serves a ticket
//!   sees, when it then reads the open words, every reservation made before the ticket was taken.
//!   The lock orders `complete` before the waiter's return.
//! - E4  `take`, fence, load of the quorum (`is_to_ring`) against store of the quorum, fence, load
//!   of `requested` (`expect`): of a ticket for which nobody rang, the flusher sees that it was
//!   taken once it expects nobody any more.
//!
//! Checked by: `loom-tests/tests/tickets.rs` (T1, E3, E4).
#![forbid(unsafe_code)]

use crate::sync::{AcqRel, Acquire, AtomicU64, Condvar, Mutex, Relaxed, fence_seq_cst, lock};

/// The counter of barriers, and who waits for them.
#[derive(Debug, Default)]
pub struct Tickets {
    requested: AtomicU64,
    /// While the flusher waits for more: the first ticket that it is to be rung for; else 0.
    quorum: AtomicU64,
    completed: Mutex<Completed>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Completed {
    ticket: u64,
    /// Tickets taken and not served, just before the last were.
    crowd: u64,
    failed: bool,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Everything that was committed before the ticket was taken is durable.
    Durable,
    /// The shadow failed: it is not known what is durable.
    Failed,
    /// The deadline passed.
    TimedOut,
}

impl Tickets {
    /// No ticket was taken yet.
    pub fn new() -> Self {
        Self {
            requested: AtomicU64::new(0),
            quorum: AtomicU64::new(0),
            completed: Mutex::new(Completed::default()),
            changed: Condvar::new(),
        }
    }

    /// A ticket for all that the caller has committed or has seen committed.
    pub fn take(&self) -> u64 {
        // ORDERING: AcqRel. Release is edge E3; Acquire extends it to those who took before.
        self.requested.fetch_add(1, AcqRel) + 1
    }

    /// The newest ticket. A flush that reads it before it cuts serves it.
    pub fn requested(&self) -> u64 {
        // ORDERING: Acquire, edge E3, pairs with `take`.
        self.requested.load(Acquire)
    }

    /// From here on who takes an earlier ticket than `quorum` does not ring; 0: everybody rings.
    pub fn expect(&self, quorum: u64) {
        // ORDERING: Relaxed, edge E4: the fence orders it before the flusher's next `requested`.
        self.quorum.store(quorum, Relaxed);
        fence_seq_cst(); // edge E4
    }

    /// Whether who took `ticket` is to wake the flusher.
    pub fn is_to_ring(&self, ticket: u64) -> bool {
        fence_seq_cst(); // edge E4
        // ORDERING: Relaxed, edge E4: the fence orders it after `take`.
        ticket >= self.quorum.load(Relaxed)
    }

    /// Every ticket up to `ticket` is durable.
    pub fn complete(&self, ticket: u64) {
        let mut completed = lock(&self.completed);
        completed.crowd = self.requested().saturating_sub(completed.ticket);
        completed.ticket = completed.ticket.max(ticket);
        // Who is woken wants the lock.
        drop(completed);
        self.changed.notify_all();
    }

    /// No ticket is served until `recover`.
    pub fn fail(&self) {
        lock(&self.completed).failed = true;
        self.changed.notify_all();
    }

    /// Tickets are served again, those taken meanwhile included.
    pub fn recover(&self) {
        lock(&self.completed).failed = false;
    }

    /// The newest ticket that is durable, and how many were waited for just before it was.
    pub fn served(&self) -> (u64, u64) {
        let completed = lock(&self.completed);
        (completed.ticket, completed.crowd)
    }

    /// The newest ticket that is durable.
    pub fn completed(&self) -> u64 {
        lock(&self.completed).ticket
    }

    /// Sleeps until `ticket` is durable, the shadow has failed, or `deadline`.
    #[cfg(not(any(loom, shuttle)))]
    pub fn wait(&self, ticket: u64, deadline: std::time::Instant) -> Waited {
        let mut completed = lock(&self.completed);
        loop {
            if completed.ticket >= ticket {
                return Waited::Durable;
            }
            if completed.failed {
                return Waited::Failed;
            }
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Waited::TimedOut;
            }
            completed = self
                .changed
                .wait_timeout(completed, left)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
    }

    /// Sleeps until `ticket` is durable or the shadow has failed.
    #[cfg(any(loom, shuttle))]
    pub fn wait(&self, ticket: u64) -> Waited {
        let mut completed = lock(&self.completed);
        while completed.ticket < ticket && !completed.failed {
            completed = self.changed.wait(completed).expect("no model panics with the lock held");
        }
        if completed.ticket >= ticket { Waited::Durable } else { Waited::Failed }
    }
}
