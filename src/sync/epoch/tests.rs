//! Pins in real threads, with the real barrier. The orderings are loom's (`loom-tests`).

use super::pin::slots;
use super::{Passage, advance, pin};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Other tests of the process pin, too: so "soon", not "at once".
fn comes_true(mut what: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !what() {
        if Instant::now() > deadline {
            return false;
        }
        advance();
        std::thread::yield_now();
    }
    true
}

#[test]
fn a_passage_waits_for_a_pin_of_another_thread() {
    let (pinned, is_pinned) = mpsc::channel();
    let (unpin, may_unpin) = mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let outer = pin();
        let inner = pin();
        drop(outer);
        pinned.send(()).expect("the test listens");
        may_unpin.recv().expect("the test says so");
        drop(inner);
    });
    is_pinned.recv().expect("the reader says so");
    let passage = Passage::begin();
    for _ in 0..100 {
        advance();
    }
    assert!(!passage.is_over(), "the inner guard still stands");
    unpin.send(()).expect("the reader listens");
    reader.join().expect("reader");
    assert!(comes_true(|| passage.is_over()));
}

#[test]
fn a_pin_that_is_renewed_lets_a_passage_by() {
    let mut guard = pin();
    let passage = Passage::begin();
    for _ in 0..10 {
        advance();
    }
    assert!(!passage.is_over(), "it is still the same pin");
    // The guard that covers a session is older than the session: it takes more than one.
    let is_over = comes_true(|| {
        guard.repin();
        passage.is_over()
    });
    assert!(is_over, "renewed pins hold nothing up");
    let nested = pin();
    let passage = Passage::begin();
    guard.repin();
    for _ in 0..10 {
        advance();
    }
    assert!(!passage.is_over(), "the nested guard is as old as before");
    drop(nested);
}

#[test]
fn what_readers_reach_is_not_reclaimed_under_them() {
    const ALIVE: u64 = 0x5eed_cafe;
    let current = AtomicPtr::new(Box::into_raw(Box::new(AtomicU64::new(ALIVE))));
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    let guard = pin();
                    // SAFETY: reachable when the pin began; the test is that it stays.
                    let seen = unsafe { &*current.load(SeqCst) };
                    for _ in 0..50 {
                        assert_eq!(seen.load(SeqCst), ALIVE, "reclaimed under a pin");
                    }
                    drop(guard);
                    reads.fetch_add(1, SeqCst);
                }
            });
        }
        let mut rounds = 0;
        while rounds < 20_000 || reads.load(SeqCst) < 20_000 {
            rounds += 1;
            let guard = pin();
            let next = Box::into_raw(Box::new(AtomicU64::new(ALIVE)));
            let old = current.swap(next, SeqCst);
            let reclaim = move || {
                // SAFETY: from `into_raw`, unlinked by the swap, retired once.
                let old = unsafe { Box::from_raw(old) };
                old.store(0, SeqCst);
            };
            // SAFETY: (1) unlinked above.
            unsafe { guard.defer_unchecked(reclaim) };
            guard.flush();
            drop(guard);
            if rounds % 64 == 0 {
                advance();
            }
        }
        stop.store(true, SeqCst);
    });
    // SAFETY: the threads are gone.
    drop(unsafe { Box::from_raw(current.into_inner()) });
}

thread_local! {
    static LATE: RefCell<Option<super::Guard>> = const { RefCell::new(None) };
    static LAST: Last = const { Last };
}

/// Pins while its thread ends.
struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        drop(pin());
    }
}

#[test]
fn slots_are_used_again_however_their_threads_end() {
    let run = |number: u32| {
        std::thread::spawn(move || {
            // Destructors of thread-locals run in no order that is promised: try both.
            if number.is_multiple_of(2) {
                LAST.with(|_last| ());
                LATE.set(Some(pin()));
            } else {
                LATE.set(Some(pin()));
                LAST.with(|_last| ());
            }
            let passage = Passage::begin();
            advance();
            assert!(!passage.is_over(), "the thread is pinned");
            passage
        })
        .join()
        .expect("thread")
    };
    let before = slots();
    let passages: Vec<Passage> = (0..64).map(run).collect();
    assert!(slots() < before + 32, "{before} slots have become {}", slots());
    assert!(comes_true(|| passages.iter().all(Passage::is_over)), "a pin of a dead thread stands");
}
