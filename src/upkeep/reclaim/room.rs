//! Where puts wait for room: throttled while reclaim or the shadow catches up, sent away when there
//! is nothing to be gained.
//!
//! Who waits holds no pin: it would wait for itself.
//!
//! Invariants
//! - N1  A wait that begins after a failed reservation ends by a look of the reclaimer that began
//!   after it: so it misses neither a wblock that was freed, nor that there is nothing to free.
#![forbid(unsafe_code)]

use crate::region::{Purpose, Stripes};
use crate::sync::{Condvar, Mutex, lock};
use std::sync::PoisonError;
use std::time::Instant;

/// Puts that wait, and what the reclaimers last saw.
#[derive(Debug, Default)]
pub struct Room {
    state: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    /// Looks of reclaimers that were begun, and that one of them which ended last.
    begun: u64,
    ended: u64,
    is_hopeless: bool,
    waiting: u64,
    /// Threads that look. Without any, as in a test that polls by itself, a wait would be in vain.
    lookers: u32,
}

/// How a wait for room ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomWait {
    /// There is room, or was: try again.
    Room,
    /// Nothing can be reclaimed: everything is live.
    Hopeless,
    /// The deadline passed.
    TimedOut,
}

impl Room {
    /// Waits until there may be room for `purpose`, until there is nothing to be gained, or until
    /// `deadline`.
    pub fn wait(&self, stripes: &Stripes, purpose: Purpose, deadline: Instant) -> RoomWait {
        let mut seen = lock(&self.state);
        if seen.lookers == 0 {
            return RoomWait::Hopeless;
        }
        let since = seen.begun;
        seen.waiting += 1;
        stripes.call_reclaimers();
        let ended = loop {
            if has_room(stripes, purpose) {
                break RoomWait::Room;
            }
            if seen.lookers == 0 || (seen.ended > since && seen.is_hopeless) {
                break RoomWait::Hopeless;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break RoomWait::TimedOut;
            }
            seen = self.changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        seen.waiting -= 1;
        ended
    }

    /// A thread begins to look, or ends.
    pub(super) fn set_lookers(&self, lookers: u32) {
        let mut seen = lock(&self.state);
        seen.lookers = lookers;
        self.changed.notify_all();
    }

    /// A look of a reclaimer begins; the number is for [`announce`](Self::announce).
    pub(super) fn begin_look(&self) -> u64 {
        let mut seen = lock(&self.state);
        seen.begun += 1;
        seen.begun
    }

    /// The look has ended: `is_hopeless` if nothing is to be gained, nor on its way.
    pub(super) fn announce(&self, stripes: &Stripes, look: u64, is_hopeless: bool) {
        let mut seen = lock(&self.state);
        seen.ended = look;
        seen.is_hopeless = is_hopeless;
        if seen.waiting > 0 && (is_hopeless || has_room(stripes, Purpose::Delete)) {
            self.changed.notify_all();
        }
    }
}

/// What is room for a put is room for a delete, too.
fn has_room(stripes: &Stripes, purpose: Purpose) -> bool {
    stripes.may_take(purpose) && (purpose != Purpose::Put || !stripes.is_backlogged())
}
