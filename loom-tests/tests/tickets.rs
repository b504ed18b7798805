//! A commit ticket against its waiter (`shadow::tickets`).
//!
//! Seen to fail when weakened: `take` Relaxed (E3); `requested` Relaxed (E3); the flusher reading
//! the data before the ticket; `recover` that completes what is requested; `expect` and
//! `is_to_ring` without their fences (E4).
#![cfg(loom)]
#![expect(missing_docs, reason = "a test crate")]

use brindle::shadow::{Tickets, Waited};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// What was committed before the ticket, and what the flusher copied of it.
struct Shared {
    tickets: Tickets,
    committed: UnsafeCell<u32>,
    durable: UnsafeCell<u32>,
}

// SAFETY: loom checks every access to the cells: that is the model.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

#[test]
fn a_completed_ticket_covers_what_was_committed_before_it_was_taken() {
    loom::model(|| {
        let shared = Arc::new(Shared {
            tickets: Tickets::new(),
            committed: UnsafeCell::new(0),
            durable: UnsafeCell::new(0),
        });
        let flusher = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                // The pump looks twice; the second time the ticket is there, or it gives up.
                for _ in 0..2 {
                    let ticket = shared.tickets.requested();
                    if ticket > 0 {
                        // SAFETY: E3, the property under test.
                        let seen = shared.committed.with(|cell| unsafe { *cell });
                        // SAFETY: only the flusher writes it, before it completes the ticket.
                        shared.durable.with_mut(|cell| unsafe { *cell = seen });
                        shared.tickets.complete(ticket);
                        return;
                    }
                    thread::yield_now();
                }
                shared.tickets.fail();
            })
        };
        // SAFETY: the flusher reads it only after it has seen the ticket.
        shared.committed.with_mut(|cell| unsafe { *cell = 1 });
        let ticket = shared.tickets.take();
        if shared.tickets.wait(ticket) == Waited::Durable {
            // SAFETY: the flusher wrote it before it completed the ticket.
            assert_eq!(shared.durable.with(|cell| unsafe { *cell }), 1);
        }
        flusher.join().expect("flusher");
    });
}

#[test]
fn who_waits_through_a_failure_and_a_recovery_is_told_the_truth() {
    loom::model(|| {
        let shared = Arc::new(Shared {
            tickets: Tickets::new(),
            committed: UnsafeCell::new(0),
            durable: UnsafeCell::new(0),
        });
        let ticket = shared.tickets.take();
        let flusher = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.tickets.fail();
                shared.tickets.recover();
                // SAFETY: only the flusher writes it, before it completes the ticket.
                shared.durable.with_mut(|cell| unsafe { *cell = 1 });
                shared.tickets.complete(ticket);
            })
        };
        if shared.tickets.wait(ticket) == Waited::Durable {
            // SAFETY: the flusher wrote it before it completed the ticket.
            assert_eq!(shared.durable.with(|cell| unsafe { *cell }), 1);
        }
        flusher.join().expect("flusher");
        assert_eq!(shared.tickets.wait(ticket), Waited::Durable);
    });
}

#[test]
fn a_ticket_that_nobody_rings_for_is_seen_by_who_expects_nobody_any_more() {
    loom::model(|| {
        let tickets = Arc::new(Tickets::new());
        // Two were served, and are expected again.
        tickets.expect(2);
        let writer = {
            let tickets = Arc::clone(&tickets);
            thread::spawn(move || {
                let ticket = tickets.take();
                tickets.is_to_ring(ticket)
            })
        };
        // The wait is over before they have come.
        tickets.expect(0);
        let seen = tickets.requested();
        let has_rung = writer.join().expect("writer");
        assert!(has_rung || seen == 1, "a writer waits, and nobody knows");
    });
}
