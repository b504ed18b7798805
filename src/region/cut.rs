//! What the flusher asks of a stripe: how far it is handed out, how far it is complete, and to be
//! cut there.
//!
//! A cut pads the open wblock to the end of the sector, so that what was reserved can be written
//! once and for all while writers go on behind it (F2 of `shadow::flusher`).

use super::open_word::OpenWord;
use super::stripe::Stripes;
use super::wblock::State;
use crate::format::{CommitWord, Padding};
use crate::sync::{Acquire, Relaxed};
use crate::unit::{Location, SECTOR_RBLOCKS, WBLOCK_HEADER_RBLOCKS, WblockId};

/// How much of a stripe's open wblock a flush is to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing was reserved since `flushed_rblock`.
    Nothing,
    /// Everything before this rblock, a sector's start; a marker of the flush ends there.
    Until(u32),
    /// The wblock is sealed: all of it.
    Sealed,
}

/// What [`Stripes::walk`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Every record before this rblock is committed.
    pub complete: u32,
    /// Where the last record, or the head of the last padding, ends.
    pub data_end: u32,
}

impl Stripes {
    /// Cuts the open wblock of `lane` at a sector, so that what was reserved up to now can be
    /// written and never again. Only the flusher calls this.
    ///
    /// `flushed_rblock` is where the last flush of `wblock` ended; the marker says `number`.
    #[expect(clippy::cast_possible_truncation, reason = "positions are within the wblock")]
    pub fn cut(&self, lane: u32, wblock: WblockId, flushed_rblock: u32, number: u16) -> Cut {
        let end = self.end();
        let open = self.open(lane);
        loop {
            // ORDERING: Acquire, edge E2: the wblock's sequence is read below.
            let seen = OpenWord(open.load(Acquire));
            if seen.wblock() != wblock || seen.position() > end {
                return Cut::Sealed;
            }
            let position = seen.position() as u32;
            if position <= flushed_rblock.max(WBLOCK_HEADER_RBLOCKS) {
                return Cut::Nothing;
            }
            if u64::from(position) == end {
                if self.cross(lane, seen) {
                    return Cut::Sealed;
                }
                continue;
            }
            let padded = (position / SECTOR_RBLOCKS + 1) * SECTOR_RBLOCKS;
            let word = OpenWord::new(wblock, u64::from(padded));
            // ORDERING: Relaxed. The range is the flusher's by S1; what others commit before it is
            // seen through E1. As an RMW it keeps the release sequence of E2 going.
            if open.compare_exchange(seen.0, word.0, Relaxed, Relaxed).is_ok() {
                let start_sector = (flushed_rblock / SECTOR_RBLOCKS) as u16;
                let marker = Padding::FlushEnd { number, start_sector };
                self.pad(wblock, position, padded - position, marker);
                return Cut::Until(padded);
            }
        }
    }

    /// The word of the record at `location`, which is shown or committed.
    #[inline]
    pub fn word_of(&self, location: Location) -> CommitWord {
        CommitWord::from_raw(self.region().committed(location))
    }

    /// Live rblocks of `wblock` (W3), as far as they are reserved.
    pub fn live_rblocks(&self, wblock: WblockId) -> u64 {
        let entry = self.wblock(wblock);
        let reserved = match entry.state() {
            State::Free | State::Damaged => return 0,
            // A wblock that is opened next to its release is not any lane's newest yet.
            State::Open => (0..self.lanes())
                .find_map(|lane| self.open_rblocks(lane).filter(|(open, _)| *open == wblock))
                .map_or(WBLOCK_HEADER_RBLOCKS, |(_, position)| position),
            State::Sealed
            | State::Used
            | State::Defrag
            | State::Emptying
            | State::Quarantined
            | State::Struck
            | State::Retired => self.geometry().wblock_rblocks(),
        };
        u64::from(reserved.saturating_sub(WBLOCK_HEADER_RBLOCKS + entry.dead_rblocks()))
    }

    /// The wblock that `lane` has open, or had last.
    pub fn newest(&self, lane: u32) -> Option<WblockId> {
        // ORDERING: Acquire, edge E2: `previous` of what this names is read by the caller.
        OpenWord(self.open(lane).load(Acquire)).opened()
    }

    /// Rblocks that `lane` has handed out in its open wblock, header included.
    pub fn open_rblocks(&self, lane: u32) -> Option<(WblockId, u32)> {
        // ORDERING: Acquire, edge E2: a walk up to there reads the wblock's sequence.
        let seen = OpenWord(self.open(lane).load(Acquire));
        let position = seen.position().min(self.end());
        seen.opened().zip(u32::try_from(position).ok())
    }

    /// True if the open wblock of `lane` has room for `rblocks` more.
    pub fn has_rest(&self, lane: u32, rblocks: u32) -> bool {
        let end = self.geometry().wblock_rblocks();
        self.open_rblocks(lane).is_some_and(|(_, position)| position + rblocks <= end)
    }

    /// Walks commit words from `from` to at most `until`, as far as the wblock is complete.
    pub fn walk(&self, wblock: WblockId, from: u32, until: u32) -> Walk {
        let geometry = self.geometry();
        let sequence = self.wblock(wblock).sequence();
        let mut walk = Walk { complete: from, data_end: from };
        while walk.complete < until {
            let word = self.region().committed(geometry.location(wblock, walk.complete));
            let word = CommitWord::from_raw(word);
            if !word.is_of(self.identity().store_key, sequence) {
                break;
            }
            let Some(rblocks) = word.rblocks() else { break };
            // Of a padding only the head matters.
            let matters = if word.is_padding() { 1 } else { rblocks.get() };
            walk.data_end = walk.complete + matters;
            walk.complete += rblocks.get();
        }
        walk
    }
}
