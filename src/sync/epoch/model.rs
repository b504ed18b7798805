//! Epochs under loom: what is retired is reclaimed as soon as every guard that was alive at its
//! retirement is gone, which is the earliest that the contract allows. A reader that reaches a
//! retired thing without a pin taken before is therefore caught as a use after free.

use loom::sync::Mutex;

loom::lazy_static! {
    static ref STATE: Mutex<State> = Mutex::new(State::default());
}

#[derive(Default)]
struct State {
    next: u64,
    alive: Vec<u64>,
    retired: Vec<(Vec<u64>, Box<dyn FnOnce()>)>,
}

// SAFETY: loom runs its threads one at a time, and what is retired here is plain memory.
unsafe impl Send for State {}

/// Keeps what is retired from now on alive until it drops.
#[derive(Debug)]
pub struct Guard(u64);

/// Pins: see the real [`pin`](crate::sync::epoch::pin).
pub fn pin() -> Guard {
    let mut state = crate::sync::lock(&STATE);
    state.next += 1;
    let id = state.next;
    state.alive.push(id);
    Guard(id)
}

impl Guard {
    /// Runs `reclaim` once every guard alive now is gone.
    ///
    /// # Safety
    ///
    /// 1. What `reclaim` frees can no longer be reached by a guard taken from now on.
    pub unsafe fn defer_unchecked<F: FnOnce() -> R + 'static, R>(&self, reclaim: F) {
        let mut state = crate::sync::lock(&STATE);
        let alive = state.alive.clone();
        state.retired.push((alive, Box::new(move || drop(reclaim()))));
    }

    /// Nothing to do: reclamation is prompt here.
    pub fn flush(&self) {}
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut ready = Vec::new();
        {
            let mut state = crate::sync::lock(&STATE);
            let id = self.0;
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
        for reclaim in ready {
            reclaim();
        }
    }
}
