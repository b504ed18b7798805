//! Where a write waits for room: for reclaim, or for the shadow, to catch up.
#![forbid(unsafe_code)]

use super::Inner;
use crate::error::{Error, Result};
use crate::region::{NoRoom, Purpose};
use crate::upkeep::RoomWait;
use std::time::{Duration, Instant};

/// How long a delete waits for room at least, whatever `overload_wait` says.
const DELETE_WAIT_MIN: Duration = Duration::from_secs(10);

/// Until when a write waits for room; set when it first has to.
#[derive(Default)]
pub(super) struct Patience {
    until: Option<Instant>,
    /// It has nothing to wait for any more.
    is_over: bool,
}

impl Inner {
    /// Waits until there may be room, while reclaim or the shadow catches up (P5 of `write`).
    ///
    /// When there is nothing to wait for, it says so only the second time: in between the write is
    /// tried once more, for what it failed for may have been a reclaimer's wblock in passing, which
    /// made the open one look kept back.
    ///
    /// # Errors
    ///
    /// Nothing can be reclaimed, or `overload_wait` is over.
    #[cold]
    pub(super) fn wait_for_room(
        &self,
        purpose: Purpose,
        why: NoRoom,
        patience: &mut Patience,
    ) -> Result<()> {
        let reclaim = self.reclaim.common();
        let wait = match purpose {
            Purpose::Put | Purpose::Move => reclaim.settings.overload_wait(),
            // Policy does not send it away: it waits while anything can be gained.
            Purpose::Delete => reclaim.settings.overload_wait().max(DELETE_WAIT_MIN),
        };
        let until = *patience.until.get_or_insert_with(|| Instant::now() + wait);
        let stripes = self.keyspace.stripes();
        let waited = reclaim.room.wait(stripes, (purpose, why), until);
        let is_over = waited != RoomWait::Room || Instant::now() > until;
        if is_over && !std::mem::replace(&mut patience.is_over, true) {
            return Ok(());
        }
        match (why, waited) {
            (_, RoomWait::Room) if !is_over => Ok(()),
            (NoRoom::WriteCache, _) => Err(Error::Overloaded),
            _ => Err(self.no_space()),
        }
    }

    /// Why there is no wblock to be had.
    fn no_space(&self) -> Error {
        if let Some(reason) = self.reclaim.common().room.failure() {
            return Error::ReclaimFailed { reason };
        }
        if self.keyspace.stripes().is_kept_by_policy() {
            return self.upkeep.pressure().stopped_now();
        }
        Error::OutOfSpace
    }
}
