//! Where puts wait for room: throttled while reclaim or the shadow catches up, sent away when there
//! is nothing to be gained.
//!
//! Who waits holds no pin: it would wait for itself.
//!
//! Invariants
//! - N1  A wait that begins after a failed reservation ends by looks of the reclaimers that began
//!   after it: so it misses neither a wblock that was freed, nor that there is nothing to free. The
//!   latter takes the word of every reclaimer: each sees its own wblocks only.
#![forbid(unsafe_code)]

use crate::region::{NoRoom, Purpose, Stripes};
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
    /// Looks of reclaimers that were begun.
    begun: u64,
    waiting: u64,
    /// The look that was the last one begun when a write last had no room.
    wanted: u64,
    /// What each thread that looks has seen last. Without any, as in a test that polls by itself, a
    /// wait would be in vain.
    lookers: Vec<Look>,
    /// Why one of them has ended before its time.
    failure: Option<String>,
}

/// A look of a reclaimer, by the number that it began with.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    number: u64,
    is_hopeless: bool,
}

impl Seen {
    /// Every reclaimer has looked since, and none has seen anything to be gained.
    fn is_hopeless(&self, since: u64) -> bool {
        self.lookers.iter().all(|look| look.number > since && look.is_hopeless)
    }
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
    /// Waits until there may be room for a write of `purpose` that had none, and `why`; until there
    /// is nothing to be gained; or until `deadline`.
    pub fn wait(
        &self,
        stripes: &Stripes,
        (purpose, why): (Purpose, NoRoom),
        deadline: Instant,
    ) -> RoomWait {
        let mut seen = lock(&self.state);
        let since = seen.begun;
        seen.wanted = since;
        seen.waiting += 1;
        stripes.call_reclaimers();
        let ended = loop {
            if has_room(stripes, purpose, why) {
                break RoomWait::Room;
            }
            if seen.is_hopeless(since) {
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

    /// Changes by what puts are held back. `change` says whether it did; then who waits looks
    /// again.
    pub(super) fn change_rules<T>(&self, change: impl FnOnce() -> (bool, T)) -> T {
        let seen = lock(&self.state);
        let (has_changed, result) = change();
        if has_changed && seen.waiting > 0 {
            self.changed.notify_all();
        }
        result
    }

    /// So many reclaimers look from now on.
    pub(super) fn set_lookers(&self, lookers: u32) {
        let mut seen = lock(&self.state);
        seen.lookers = (0..lookers).map(|_| Look::default()).collect();
        // One that fell at its first step was faster than this.
        if seen.failure.is_some() {
            seen.lookers.fill(Look { number: u64::MAX, is_hopeless: true });
        }
        self.changed.notify_all();
    }

    /// `reclaimer` has panicked with `reason`: of its wblocks nothing more comes back.
    pub(super) fn fail(&self, reclaimer: u32, reason: String) {
        let mut seen = lock(&self.state);
        if let Some(look) = seen.lookers.get_mut(reclaimer as usize) {
            *look = Look { number: u64::MAX, is_hopeless: true };
        }
        seen.failure.get_or_insert(reason);
        self.changed.notify_all();
    }

    /// Why a reclaimer has ended before its time, if one has.
    pub fn failure(&self) -> Option<String> {
        lock(&self.state).failure.clone()
    }

    /// A look of a reclaimer begins, whose last one was `last`; its number is for
    /// [`announce`](Self::announce). True with it: since then a write had no room.
    pub(super) fn begin_look(&self, last: u64) -> (u64, bool) {
        let mut seen = lock(&self.state);
        seen.begun += 1;
        (seen.begun, seen.waiting > 0 || seen.wanted >= last)
    }

    /// The look `number` of `reclaimer` has ended: `is_hopeless` if nothing is to be gained, nor on
    /// its way.
    pub(super) fn announce(
        &self,
        stripes: &Stripes,
        (reclaimer, number): (u32, u64),
        is_hopeless: bool,
    ) {
        let mut seen = lock(&self.state);
        if let Some(look) = seen.lookers.get_mut(reclaimer as usize) {
            *look = Look { number, is_hopeless };
        }
        if seen.waiting > 0 && (is_hopeless || has_room(stripes, Purpose::Delete, NoRoom::Space)) {
            self.changed.notify_all();
        }
    }
}

/// What is room for a put is room for a delete, too.
fn has_room(stripes: &Stripes, purpose: Purpose, why: NoRoom) -> bool {
    match why {
        NoRoom::KeptBack => !stripes.is_kept_back(purpose),
        NoRoom::Space | NoRoom::WriteCache => {
            stripes.may_take(purpose) && (purpose != Purpose::Put || !stripes.is_backlogged())
        }
    }
}
