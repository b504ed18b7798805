//! Taking an open wblock away from its lane, so that it can be emptied though nobody has installed
//! another in its place: in a store of few wblocks most of the dead may lie in open ones.
//!
//! ```text
//! open word   (w, pos <= end) --[cross]--> (w, > end) --[unname]--> (none, > end)
//! ```
//! With a shadow the step to no name waits until the flusher has made all of `w` durable: so it has
//! seen `w`, and finds the next wblock of the lane without a link to `w` (S5 of `stripe`).

use super::open_word::OpenWord;
use super::stripe::Stripes;
use super::wblock::State;
use crate::sync::{Acquire, Relaxed, Release};
use crate::unit::WblockId;

impl Stripes {
    /// Fills up `wblock` if a lane has it open: what is not reserved becomes padding. So it is
    /// sealed as soon as that lane needs another, and can be unnamed. Only the flusher calls this.
    pub fn fill_up(&self, wblock: WblockId) {
        for lane in 0..self.lanes() {
            loop {
                // ORDERING: Acquire, edge E2: `cross` pads in the life that this names.
                let seen = OpenWord(self.open(lane).load(Acquire));
                if seen.opened() != Some(wblock) || seen.position() > self.end() {
                    break;
                }
                self.cross(lane, seen);
            }
        }
    }

    /// Takes `wblock` away from the lane that has it open, if one has: its rest becomes padding.
    /// False: the flusher has to make it durable first. Only its reclaimer calls this: nobody
    /// opens it again meanwhile.
    pub fn unname(&self, wblock: WblockId) -> bool {
        (0..self.lanes()).all(|lane| self.unname_in(lane, wblock))
    }

    fn unname_in(&self, lane: u32, wblock: WblockId) -> bool {
        let open = self.open(lane);
        loop {
            // ORDERING: Acquire, edge E2: `seal` below changes what this names.
            let seen = OpenWord(open.load(Acquire));
            if seen.opened() != Some(wblock) {
                return true;
            }
            if seen.position() <= self.end() {
                self.cross(lane, seen);
                continue;
            }
            if self.identity().has_shadow && self.wblock(wblock).state() != State::Used {
                return false;
            }
            // ORDERING: Release on success: who installs the next has the crossing before it.
            // Relaxed on failure: it is looked at again.
            if open.compare_exchange(seen.0, OpenWord::NEVER.0, Release, Relaxed).is_ok() {
                self.seal(seen);
                return true;
            }
        }
    }
}
