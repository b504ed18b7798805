//! Pins of several threads in slots, under one steward; and who waits for a barrier.
#![cfg(shuttle)]
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a refusal fails the model")]

mod common;

use brindle::shadow::{Tickets, Waited};
use brindle::sync::epoch::slot::Slot;
use brindle::sync::epoch::steward::Steward;
use brindle::sync::epoch::{Guard, pin};
use common::check;
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;

/// Things one after the other: `current` says which can be reached, and a bit is set in `gone` when
/// one is reclaimed.
#[derive(Default)]
struct Shared {
    current: AtomicU64,
    gone: AtomicU64,
}

/// Sessions, nested ones too: what was reached in one is there until it ends.
fn read(slot: &Slot, shared: &Shared) {
    for is_nested in [false, true] {
        slot.enter();
        let seen = shared.current.load(Ordering::Acquire);
        if is_nested {
            slot.enter();
            slot.leave();
        }
        for _ in 0..2 {
            let gone = shared.gone.load(Ordering::Acquire);
            assert!(gone >> seen & 1 == 0, "{seen} was reclaimed under a session");
        }
        slot.leave();
    }
}

fn retire(shared: &Arc<Shared>) {
    let guard = pin();
    let old = shared.current.fetch_add(1, Ordering::AcqRel);
    let theirs = Arc::clone(shared);
    let reclaim = move || theirs.gone.fetch_or(1 << old, Ordering::AcqRel);
    // SAFETY: (1) it cannot be reached any more.
    unsafe { guard.defer_unchecked(reclaim) };
}

fn sessions_hold_up_what_they_reach() {
    let shared = Arc::new(Shared::default());
    let slots: Vec<&'static Slot> =
        (0..3).map(|_| &*Box::leak(Box::new(Slot::new(true)))).collect();
    let mut steward: Steward<Guard> = Steward::new(pin());
    let readers: Vec<_> = slots
        .iter()
        .map(|slot| {
            let (slot, shared) = (*slot, Arc::clone(&shared));
            thread::spawn(move || read(slot, &shared))
        })
        .collect();
    let mut turn = || steward.turn(pin, || true, |look| slots.iter().for_each(|slot| look(slot)));
    for _ in 0..3 {
        retire(&shared);
        turn();
        turn();
    }
    readers.into_iter().for_each(|reader| reader.join().expect("a reader"));
    for _ in 0..2 {
        assert!(turn() || turn(), "nobody is in a session");
    }
    drop(steward);
    drop(pin());
    assert_eq!(shared.gone.load(Ordering::Acquire), 0b111, "all is reclaimed in the end");
    for slot in slots {
        // SAFETY: leaked above, and nobody has it any more: the steward is gone.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(slot).cast_mut()) });
    }
}

/// Four waiters and one flusher, which may fail: nobody sleeps for ever.
fn waiters_are_all_woken(fails: bool) {
    let tickets = Arc::new(Tickets::new());
    let committed = Arc::new(AtomicU64::new(0));
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let (tickets, committed) = (Arc::clone(&tickets), Arc::clone(&committed));
            thread::spawn(move || {
                committed.fetch_add(1, Ordering::AcqRel);
                let ticket = tickets.take();
                (ticket, tickets.wait(ticket))
            })
        })
        .collect();
    let mut durable = 0;
    for round in 0.. {
        if fails && round == 2 {
            tickets.fail();
            break;
        }
        let ticket = tickets.requested();
        let covered = committed.load(Ordering::Acquire);
        assert!(covered >= ticket, "a ticket is taken after its commit");
        tickets.complete(ticket);
        durable = ticket;
        if ticket == 4 {
            break;
        }
        thread::yield_now();
    }
    for waiter in waiters {
        let (ticket, waited) = waiter.join().expect("a waiter");
        let expected = if ticket <= durable { Waited::Durable } else { Waited::Failed };
        assert_eq!(waited, expected, "ticket {ticket}, durable up to {durable}");
    }
}

#[test]
fn sessions_of_three_threads_hold_up_what_they_reach() {
    check("sessions", sessions_hold_up_what_they_reach);
}

#[test]
fn waiters_for_barriers_are_all_woken() {
    check("barriers", || waiters_are_all_woken(false));
}

#[test]
fn waiters_for_barriers_that_fail_are_all_woken() {
    check("failed barriers", || waiters_are_all_woken(true));
}
