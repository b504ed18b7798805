//! Epochs under loom: what is retired is reclaimed as soon as every guard that was alive at its
//! retirement is gone, which is the earliest that the contract allows. A reader that reaches a
//! retired thing without a pin taken before is therefore caught as a use after free.
//!
//! The bookkeeping is invisible to loom, so that it orders nothing. What the contract orders is
//! said apart, and no more than that:
//! - what was done under guards that are gone is before what is reclaimed then;
//! - a pin is before a retirement, which then waits for it, or sees all that was before that. These
//!   two fences are crossbeam's.

use loom::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release, SeqCst},
    fence,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

loom::lazy_static! {
    static ref STATE: Mutex<State> = Mutex::new(State::default());
    static ref GONE: AtomicU64 = AtomicU64::new(0);
}

#[derive(Default)]
struct State {
    next: u64,
    alive: Vec<u64>,
    retired: Vec<(Vec<u64>, Box<dyn FnOnce()>)>,
}

// SAFETY: loom runs its threads one at a time, and what is retired here is plain memory.
unsafe impl Send for State {}

impl State {
    /// Nothing that loom sees may be done while this is locked: it could switch threads.
    fn lock() -> MutexGuard<'static, Self> {
        STATE.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what is retired from now on alive until it drops.
#[derive(Debug)]
pub struct Guard(u64);

/// Pins: see the real [`pin`](crate::sync::epoch::pin).
pub fn pin() -> Guard {
    let mut state = State::lock();
    state.next += 1;
    let id = state.next;
    state.alive.push(id);
    drop(state);
    fence(SeqCst);
    Guard(id)
}

impl Guard {
    /// Runs `reclaim` once every guard alive now is gone.
    ///
    /// # Safety
    ///
    /// 1. What `reclaim` frees can no longer be reached by a guard taken from now on.
    pub unsafe fn defer_unchecked<F: FnOnce() -> R + 'static, R>(&self, reclaim: F) {
        fence(SeqCst);
        let mut state = State::lock();
        let alive = state.alive.clone();
        state.retired.push((alive, Box::new(move || drop(reclaim()))));
    }

    /// Nothing to do: reclamation is prompt here.
    pub fn flush(&self) {}
}

impl Drop for Guard {
    fn drop(&mut self) {
        let id = self.0;
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
            // A read-modify-write, which finds the last one that went.
            GONE.fetch_add(0, Acquire);
        }
        for reclaim in ready {
            reclaim();
        }
    }
}
