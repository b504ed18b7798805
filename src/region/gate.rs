//! Quarantine: the one gate between a wblock in which nothing counts any more and a free one.
//!
//! States of a wblock in it
//! ```text
//! emptied --[nothing live]--> barrier --[durable]--> striking --[struck out]--> leaving
//! emptied --[nothing live, no shadow]--> leaving --[pins gone]--> free
//! damaged at cold start --[struck out]--> leaving
//! leaving, its place on the shadow bad --[pins gone]--> retired
//! striking, which the shadow refuses --[nothing left]--> retired; or used, to be emptied anew
//! retired --[the store is on another shadow]--> leaving, or striking
//! ```
//!
//! Invariants
//! - B1  No record of the wblock can be reached through the index when `leaving` begins, and every
//!   pin taken before is gone when it ends: nobody reads what the next life overwrites.
//! - B2  The barrier is asked for when everything in the wblock is superseded or moved, and the
//!   record that did it reserved: so it covers it. The header is struck out only behind that
//!   barrier. A crash before finds the old copies and perhaps the new ones, which win; a crash
//!   after finds the new ones.
//! - B3  A wblock enters once and leaves once: its one reclaimer owns the gate (`wblock`).
//! - B4  What eviction leaves behind stays readable until its header is struck out, and then leaves
//!   the index: what was once absent does not come back with a crash. If the header cannot be
//!   struck out they stay, and are moved.
//! - B5  A wblock whose place on the shadow is bad is not released. If its header is not struck
//!   out it stays `Quarantined`, and keeps the tombstones of what it holds, like any other.
//!
//! Happens-before edges
//! - `bury` (Release) to `dead_rblocks` (Acquire): whoever superseded a record had reserved the new
//!   one before; the ticket, which is taken after, covers it (E3 of `shadow::tickets`).
//! - the passage: all that readers did under their pins is before the wblock's next life.
//!
//! Checked by: `loom-tests/tests/reclaim.rs` (B1, B2).
#![forbid(unsafe_code)]

use super::stripe::Stripes;
use super::wblock::State;
use crate::planted::{Bug, is_planted};
use crate::sync::epoch::{self, Passage};
use crate::unit::WblockId;
use std::collections::VecDeque;

/// The shadow as quarantine needs it. Nothing here waits.
pub trait Barriers {
    /// A ticket for all that is reserved now.
    fn barrier(&self) -> u64;
    /// True once all of that is durable, on every stripe.
    fn is_durable(&self, ticket: u64) -> bool;
    /// Asks for the headers to be struck out; each wblock is then `Struck`.
    fn strike(&self, wblocks: &[WblockId]);
}

/// The wblocks of one reclaimer that are on their way to a free queue.
#[derive(Debug, Default)]
pub struct Gate {
    inside: VecDeque<Inside>,
    /// Out of use, for their places on the shadow are bad (B5).
    retired: Vec<WblockId>,
}

#[derive(Debug)]
struct Inside {
    wblock: WblockId,
    has_left: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Until nothing in it is live; with records left behind, until every writer is through.
    Emptied(Option<Passage>),
    Barrier(u64),
    Striking,
    Leaving(Passage),
}

/// What is in the gate, by what it waits for. Unit: wblocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// For writers to finish, a flush, or a header to be struck out.
    pub barrier: u64,
    /// For pins alone.
    pub pins: u64,
}

impl Gate {
    /// Takes in `wblock`, out of which nothing needs to be moved any more. `has_left`: records of
    /// it are still in the index and are to go with it (B4).
    pub fn enter(&mut self, stripes: &Stripes, wblock: WblockId, has_left: bool) {
        stripes.wblock(wblock).enter(State::Quarantined);
        stripes.note_gated();
        let stage = Stage::Emptied(has_left.then(Passage::begin));
        self.inside.push_back(Inside { wblock, has_left, stage });
    }

    /// Takes in `wblock`, which cold start found damaged and has asked to be struck out: nothing
    /// of it was ever in the index.
    pub fn enter_damaged(&mut self, stripes: &Stripes, wblock: WblockId) {
        stripes.note_gated();
        self.inside.push_back(Inside { wblock, has_left: false, stage: Stage::Striking });
    }

    /// Wblocks inside.
    pub fn count(&self) -> usize {
        self.inside.len()
    }

    /// What is inside, by what it waits for.
    pub fn waiting(&self) -> Waiting {
        let pins = |inside: &&Inside| matches!(inside.stage, Stage::Leaving(_));
        let pins = self.inside.iter().filter(pins).count() as u64;
        Waiting { barrier: self.inside.len() as u64 - pins, pins }
    }

    /// The barriers that an epoch costs are paid only while somebody waits for one.
    fn waits_for_pins(&self) -> bool {
        let waits =
            |inside: &Inside| matches!(inside.stage, Stage::Leaving(_) | Stage::Emptied(Some(_)));
        self.inside.iter().any(waits)
    }

    /// Moves on what can move on; `unlink` takes out of the index what was left in a wblock, and
    /// says whether all of it is out. Returns how many wblocks are free now that were not.
    pub fn advance(
        &mut self,
        stripes: &Stripes,
        barriers: Option<&dyn Barriers>,
        mut unlink: impl FnMut(WblockId) -> bool,
    ) -> u64 {
        self.take_back(stripes);
        if self.inside.is_empty() {
            return 0;
        }
        match barriers {
            Some(barriers) => self.advance_barriers(stripes, barriers),
            None => self.settle(stripes, || leave(stripes)),
        }
        for inside in &mut self.inside {
            let is_struck = stripes.wblock(inside.wblock).state() == State::Struck;
            let is_through = matches!(inside.stage, Stage::Striking) && is_struck;
            if is_through && (!inside.has_left || unlink(inside.wblock)) {
                inside.stage = leave(stripes);
            }
        }
        self.give_up_stuck(stripes);
        if self.waits_for_pins() {
            epoch::advance();
        }
        self.let_out(stripes)
    }

    /// Takes those in which nothing is live, or nothing but what was left, to the next stage.
    fn settle(&mut self, stripes: &Stripes, mut next: impl FnMut() -> Stage) {
        for inside in &mut self.inside {
            let is_settled = match &inside.stage {
                Stage::Emptied(Some(passage)) => passage.is_over(),
                Stage::Emptied(None) => stripes.live_rblocks(inside.wblock) == 0,
                Stage::Barrier(_) | Stage::Striking | Stage::Leaving(_) => false,
            };
            if is_settled {
                inside.stage = next();
            }
        }
    }

    /// One barrier at a time, for all that have come since the last one (B2).
    fn advance_barriers(&mut self, stripes: &Stripes, barriers: &dyn Barriers) {
        let mut through = Vec::new();
        let mut is_asked = false;
        for inside in &mut self.inside {
            if let Stage::Barrier(ticket) = inside.stage {
                if barriers.is_durable(ticket) || is_planted(Bug::FreeBeforeBarrier) {
                    inside.stage = Stage::Striking;
                    through.push(inside.wblock);
                } else {
                    is_asked = true;
                }
            }
        }
        if !through.is_empty() {
            barriers.strike(&through);
        }
        if !is_asked {
            let mut ticket = None;
            self.settle(stripes, || {
                Stage::Barrier(*ticket.get_or_insert_with(|| barriers.barrier()))
            });
        }
    }

    /// Those whose places are good again, on another shadow, which is asked to strike out the
    /// headers that the old one could not.
    fn take_back(&mut self, stripes: &Stripes) {
        for wblock in self.retired.extract_if(.., |wblock| !stripes.wblock(*wblock).is_bad()) {
            stripes.note_gated();
            let is_struck = stripes.wblock(wblock).state() == State::Retired;
            let stage = if is_struck { leave(stripes) } else { Stage::Striking };
            self.inside.push_back(Inside { wblock, has_left: false, stage });
        }
    }

    /// Those whose headers cannot be struck out (B4, B5).
    fn give_up_stuck(&mut self, stripes: &Stripes) {
        self.inside.retain(|inside| {
            let entry = stripes.wblock(inside.wblock);
            let is_asked = matches!(inside.stage, Stage::Striking);
            let is_given_up = is_asked && entry.is_stuck() && entry.state() != State::Struck;
            if is_given_up {
                stripes.note_leaving();
                stripes.note_left();
                if inside.has_left {
                    entry.enter(State::Used);
                } else {
                    self.retired.push(inside.wblock);
                }
            }
            !is_given_up
        });
    }

    fn let_out(&mut self, stripes: &Stripes) -> u64 {
        let mut released = 0;
        self.inside.retain(|inside| {
            let is_hasty =
                is_planted(Bug::ReuseBeforeEpoch) && matches!(inside.stage, Stage::Leaving(_));
            let is_out = matches!(&inside.stage, Stage::Leaving(passage) if passage.is_over());
            let stays = !(is_out || is_hasty);
            if !stays {
                stripes.note_left();
                if stripes.wblock(inside.wblock).is_bad() {
                    stripes.wblock(inside.wblock).enter(State::Retired);
                    self.retired.push(inside.wblock);
                } else {
                    stripes.release(inside.wblock);
                    released += 1;
                }
            }
            stays
        });
        released
    }
}

/// From here on only pins hold it up.
fn leave(stripes: &Stripes) -> Stage {
    stripes.note_leaving();
    Stage::Leaving(Passage::begin())
}
