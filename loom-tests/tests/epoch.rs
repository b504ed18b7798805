//! A thread's slot against the steward that pins for it, with the fence that stands in for
//! `membarrier`.
//!
//! Seen to fail when weakened: the fence of `enter` (L1); `enter` and `leave` Relaxed, `session`
//! Relaxed (L2); `take` Relaxed; a steward that does not wait for the sessions (W1). The steward's
//! barrier is not seen: the guard that it takes before has a fence of its own, and what a barrier
//! does to other threads is nothing that loom knows.
#![cfg(loom)]

use brindle::sync::epoch::slot::Slot;
use brindle::sync::epoch::steward::Steward;
use brindle::sync::epoch::{Guard, pin};
use brindle::sync::fence_seq_cst;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

/// Something that readers reach, until it is retired.
struct Shared {
    is_reachable: AtomicBool,
    bytes: UnsafeCell<u32>,
}

// SAFETY: loom checks every access to the cell: that is the model.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

fn shared() -> Arc<Shared> {
    Arc::new(Shared { is_reachable: AtomicBool::new(true), bytes: UnsafeCell::new(1) })
}

/// One session, which reads what it can reach.
fn read(slot: &Slot, shared: &Shared) {
    slot.enter();
    // Relaxed: that the bytes are there was ordered before the threads began.
    if shared.is_reachable.load(Relaxed) {
        // SAFETY: the property under test: nobody reclaims under a session.
        assert_eq!(shared.bytes.with(|bytes| unsafe { *bytes }), 1);
    }
    slot.leave();
}

/// Makes it unreachable and retires it, as a writer under a guard of the collector does.
fn retire(shared: &Arc<Shared>) {
    let guard = pin();
    shared.is_reachable.store(false, Relaxed);
    let theirs = Arc::clone(shared);
    let reclaim = move || {
        // SAFETY: the property under test: every reader is through.
        theirs.bytes.with_mut(|bytes| unsafe { *bytes = 0 });
    };
    // SAFETY: (1) it cannot be reached any more.
    unsafe { guard.defer_unchecked(reclaim) };
}

fn turn(steward: &mut Steward<Guard>, slot: &'static Slot) -> bool {
    let barrier = || {
        fence_seq_cst();
        true
    };
    steward.turn(pin, barrier, |look| look(slot))
}

#[test]
fn nothing_is_reclaimed_under_a_session() {
    loom::model(|| {
        let shared = shared();
        let slot: &'static Slot = Box::leak(Box::new(Slot::new(true)));
        let mut steward = Steward::new(pin());
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || read(slot, &shared))
        };
        retire(&shared);
        turn(&mut steward, slot);
        turn(&mut steward, slot);
        reader.join().expect("reader");
    });
}

#[test]
fn a_session_is_awaited_though_another_has_begun() {
    loom::model(|| {
        let shared = shared();
        let slot: &'static Slot = Box::leak(Box::new(Slot::new(true)));
        let mut steward = Steward::new(pin());
        let reader = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                read(slot, &shared);
                slot.enter();
                thread::yield_now();
                slot.leave();
            })
        };
        retire(&shared);
        turn(&mut steward, slot);
        turn(&mut steward, slot);
        reader.join().expect("reader");
    });
}

#[test]
fn a_slot_serves_one_thread_after_the_other() {
    loom::model(|| {
        let shared = shared();
        let slot: &'static Slot = Box::leak(Box::new(Slot::new(true)));
        slot.end();
        let mut steward = Steward::new(pin());
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    if slot.take() {
                        read(slot, &shared);
                        slot.end();
                    }
                })
            })
            .collect();
        retire(&shared);
        turn(&mut steward, slot);
        for reader in readers {
            reader.join().expect("reader");
        }
    });
}
