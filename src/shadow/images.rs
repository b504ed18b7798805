//! What the shadow holds of each wblock, for those who write all of it elsewhere: a move to another
//! shadow, a snapshot. They have the flusher, which does not go on meanwhile.
#![forbid(unsafe_code)]

use super::flusher::Flusher;
use super::io::BlockIo;
use super::jobs::{LaneProgress, Then};
use crate::region::State;
use crate::unit::WblockId;

impl Flusher {
    /// How much of `wblock` the shadow holds, or will once what was taken is durable: so much of it
    /// is complete, and does not change while the flusher does not go on. Unit: rblocks.
    pub(super) fn extent(&self, wblock: WblockId) -> u32 {
        let job = self.taken.iter().find(|job| job.wblock == wblock);
        let then = job.or_else(|| self.unsynced.get(&wblock)).map(|job| job.then);
        let is_oldest = |progress: &&LaneProgress| progress.backlog.front() == Some(&wblock);
        if then == Some(Then::Struck) {
            return 0;
        }
        match (self.stripes.wblock(wblock).state(), then) {
            (State::Used | State::Defrag | State::Emptying | State::Quarantined, _)
            | (State::Open | State::Sealed, Some(Then::Used)) => {
                self.stripes.geometry().wblock_rblocks()
            }
            (State::Open | State::Sealed, _) => {
                self.progress.iter().find(is_oldest).map_or(0, |progress| progress.flushed_rblock)
            }
            (State::Free | State::Struck | State::Damaged | State::Retired, _) => 0,
        }
    }

    /// Goes on with `io`, whose members hold, durably, what [`extent`](Self::extent) says of every
    /// wblock: nothing is doubted any more.
    pub(super) fn go_on_with(&mut self, io: Box<dyn BlockIo>) {
        self.io = io;
        self.ahead.forget();
        let mut durable = std::mem::take(&mut self.unsynced);
        durable.extend(self.taken.drain(..).map(|job| (job.wblock, job)));
        self.is_doubted = false;
        self.settle(&durable);
        self.leave_bad_places();
        self.stripes.call_reclaimers();
    }
}
