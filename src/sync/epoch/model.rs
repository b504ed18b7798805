//! Epochs in models: what is retired is reclaimed as soon as every guard that was alive at its
//! retirement is gone, which is the earliest that the contract allows. A reader that reaches a
//! retired thing without a pin taken before is therefore caught as a use after free.
//!
//! The bookkeeping is invisible to loom and shuttle, so that it orders nothing. What the contract
//! orders is said apart, and no more than that:
//! - what was done under guards that are gone is before what is reclaimed then;
//! - a retirement waits for a pin, or is before it with all that was before. The two fences for
//!   that are crossbeam's; that of a retirement comes with the flush or the drop of its guard, as
//!   there.

use crate::sync::{Acquire, AtomicU64, Release, fence_seq_cst};
use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

crate::sync::lazy_static! {
    static ref STATE: Mutex<State> = Mutex::new(State::default());
    static ref GONE: AtomicU64 = AtomicU64::new(0);
}

#[derive(Default)]
struct State {
    next: u64,
    alive: Vec<u64>,
    retired: Vec<(Vec<u64>, Box<dyn FnOnce()>)>,
}

// SAFETY: loom and shuttle run their threads one at a time, and what is retired here is plain
// memory.
unsafe impl Send for State {}

impl State {
    /// Nothing that a model sees may be done while this is locked: it could switch threads.
    fn lock() -> MutexGuard<'static, Self> {
        STATE.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what is retired from now on alive until it drops.
pub struct Guard {
    id: u64,
    bag: RefCell<Vec<Box<dyn FnOnce()>>>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Guard({})", self.id)
    }
}

/// Pins: see the real [`pin`](crate::sync::epoch::pin).
pub fn pin() -> Guard {
    let mut state = State::lock();
    state.next += 1;
    let id = state.next;
    state.alive.push(id);
    drop(state);
    fence_seq_cst();
    Guard { id, bag: RefCell::new(Vec::new()) }
}

/// Retires what was deferred: see the real [`advance`](crate::sync::epoch::advance).
pub fn advance() {
    for _ in 0..3 {
        pin().flush();
    }
}

impl Guard {
    /// Runs `reclaim` once every guard alive now is gone.
    ///
    /// # Safety
    ///
    /// 1. What `reclaim` frees can no longer be reached by a guard taken from now on.
    pub unsafe fn defer_unchecked<F: FnOnce() -> R + 'static, R>(&self, reclaim: F) {
        self.bag.borrow_mut().push(Box::new(move || drop(reclaim())));
    }

    /// Retires what was deferred under this guard.
    pub fn flush(&self) {
        let bag = self.bag.take();
        if bag.is_empty() {
            return;
        }
        fence_seq_cst();
        let mut state = State::lock();
        for reclaim in bag {
            let alive = state.alive.clone();
            state.retired.push((alive, reclaim));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.flush();
        let id = self.id;
        // ORDERING: Release: what was done under this guard is before what follows its end.
        GONE.fetch_add(1, Release);
        let mut ready = Vec::new();
        {
            let mut state = State::lock();
            state.alive.retain(|alive| *alive != id);
            let mut waiting = Vec::new();
            for (mut blockers, reclaim) in state.retired.drain(..) {
                blockers.retain(|blocker| *blocker != id);
                if blockers.is_empty() {
                    ready.push(reclaim)
                } else {
                    waiting.push((blockers, reclaim))
                }
            }
            state.retired = waiting;
        }
        if !ready.is_empty() {
            // ORDERING: Acquire, pairs with the one above. A read-modify-write, which finds the
            // last guard that went.
            GONE.fetch_add(0, Acquire);
        }
        for reclaim in ready {
            reclaim();
        }
    }
}
