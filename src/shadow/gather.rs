//! Waiting a little before a barrier, for those that the last one has served.
//!
//! Writers of durable puts come back as soon as they are woken, but not all at one instant: a round
//! that begins with the first of them leaves the others to the next, and from then on two halves
//! take turns, each of which waits for the other's sync. So a round waits until as many tickets
//! are taken as there were writers at the end of the last, or for half the time of that round.
//!
//! Where writers do not come back (they do something else in between) the wait is in vain: then the
//! next rounds do without, twice as many each time. A writer alone never waits.
//!
//! Invariant
//! - A1  A ticket that is taken without a ring is seen by the round that follows the wait (edge E4
//!   of `tickets`).
//!
//! Checked by: `loom-tests/tests/tickets.rs` (A1).
#![forbid(unsafe_code)]

use super::tickets::Tickets;
use crate::sync::Doorbell;
use std::time::{Duration, Instant};

/// Longest wait, however slow the device.
const PATIENCE_MAX: Duration = Duration::from_millis(1);
/// Waits in vain in a row after which their number counts no more: up to 64 rounds do without.
const VAIN_MAX: u32 = 6;

/// What is known of the writers that wait for barriers.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// The last ticket that was served when it last waited.
    served: u64,
    /// How long the last round took.
    round: Duration,
    /// Waits in vain, in a row.
    vain: u32,
    /// Rounds to come that do not wait.
    skip: u32,
}

impl Gather {
    /// A round took so long.
    pub(super) fn note(&mut self, round: Duration) {
        self.round = round;
    }

    /// Before a round: waits for the writers that the last one has served, if it was for some.
    pub(super) fn wait(&mut self, tickets: &Tickets, doorbell: &Doorbell) {
        let (served, crowd) = tickets.served();
        if served == self.served || crowd < 2 {
            return;
        }
        self.served = served;
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        let quorum = served + crowd;
        let deadline = Instant::now() + (self.round / 2).min(PATIENCE_MAX);
        tickets.expect(quorum);
        while tickets.requested() < quorum {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            doorbell.wait(Some(left));
        }
        tickets.expect(0);
        let has_come = tickets.requested().saturating_sub(served);
        let is_vain = has_come < crowd - crowd / 4;
        self.vain = if is_vain { (self.vain + 1).min(VAIN_MAX) } else { 0 };
        self.skip = if is_vain { 1 << self.vain } else { 0 };
    }
}
