//! Zeros ahead of the flushes that barriers ask for.
//!
//! The space of a shadow file is reserved, not written. The sync after a first write into it has
//! the file system commit its journal, for the blocks count as written from then on: a second wait
//! for the device, as long as the first. So zeros follow a small flush for a barrier, once that is
//! durable and told to be, as many as one write holds, and the flushes behind it fall into blocks
//! that were written before. `benches/NOTES.md` has the figures.
//!
//! Invariants
//! - H1  Zeros are written only behind the last flush of a wblock that is open, at the end of its
//!   round: no byte of this life is there, and none is written before they are.
//! - H2  Nothing depends on them, and nothing undurable is in flight beside them: where they fail,
//!   as on a bad place, nothing else is doubted. They are not written again.
//!
//! Checked by: `tests/crash_sim.rs`, `tests/power_cut.rs`.
#![forbid(unsafe_code)]

use super::jobs::{Job, Then};
use crate::unit::{RBLOCK_BYTES, SECTOR_BYTES, WblockId};

/// A flush of more than this share of the zeros does without: then they would only be more to
/// write.
const FLUSHES_MIN: u32 = 8;

/// A stretch of zeros in a wblock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) wblock: WblockId,
    pub(super) from_rblock: u32,
    pub(super) until_rblock: u32,
}

/// How far the place of each wblock on the shadow was written, and zeros to go on with.
#[derive(Debug)]
pub(super) struct Ahead {
    /// By wblock: so much from its start was written since the store was opened, in whatever life.
    /// Unit: rblocks.
    written: Vec<u32>,
    wblock_rblocks: u32,
    /// At most so many at once.
    rblocks_max: u32,
    /// To be written at the end of the round.
    planned: Vec<Stretch>,
    /// As many zeros and a sector, to start on a sector's boundary; empty until first asked for.
    zeros: Vec<u8>,
}

impl Ahead {
    /// Of a shadow of `wblocks` wblocks of which nothing is known; writes are of `write_bytes`.
    pub(super) fn new(wblocks: usize, wblock_bytes: u32, write_bytes: u32) -> Self {
        let rblocks_max = write_bytes.min(wblock_bytes) / RBLOCK_BYTES;
        let wblock_rblocks = wblock_bytes / RBLOCK_BYTES;
        let (planned, zeros) = (Vec::new(), Vec::new());
        Self { written: vec![0; wblocks], wblock_rblocks, rblocks_max, planned, zeros }
    }

    /// Another shadow, of which nothing is known.
    pub(super) fn forget(&mut self) {
        self.written.fill(0);
    }

    /// Takes note of a round's jobs, and for a barrier of the zeros that are to follow them.
    pub(super) fn follow(&mut self, jobs: &[Job], is_barrier: bool) {
        self.planned.clear();
        for job in jobs {
            let stretch = self.plan(job, is_barrier);
            self.planned.extend(stretch);
        }
    }

    /// The zeros that are to be written now.
    pub(super) fn take_planned(&mut self) -> Vec<Stretch> {
        std::mem::take(&mut self.planned)
    }

    fn plan(&mut self, job: &Job, is_barrier: bool) -> Option<Stretch> {
        let written = self.written.get_mut(job.wblock.0 as usize)?;
        if job.from_rblock <= *written {
            *written = job.until_rblock.max(*written);
        }
        let from_rblock = job.until_rblock;
        // Who asks for one barrier may not ask for another.
        let is_first = job.from_rblock == 0;
        let is_small = (from_rblock - job.from_rblock) * FLUSHES_MIN <= self.rblocks_max;
        let is_ahead = *written > from_rblock;
        if !is_barrier || job.then != Then::Open || is_first || !is_small || is_ahead {
            return None;
        }
        let until_rblock = (from_rblock + self.rblocks_max).min(self.wblock_rblocks);
        *written = until_rblock;
        (until_rblock > from_rblock).then_some(Stretch {
            wblock: job.wblock,
            from_rblock,
            until_rblock,
        })
    }

    /// The zeros of `stretch`, for a write: they stay where they are, and never change.
    pub(super) fn zeros(&mut self, stretch: &Stretch) -> &[u8] {
        let bytes = ((stretch.until_rblock - stretch.from_rblock) * RBLOCK_BYTES) as usize;
        let sector = SECTOR_BYTES as usize;
        if self.zeros.is_empty() {
            self.zeros = vec![0; (self.rblocks_max * RBLOCK_BYTES) as usize + sector];
        }
        let start = self.zeros.as_ptr().align_offset(sector);
        self.zeros.get(start..start + bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Ahead, Job, Then, WblockId};

    const SECTOR: u32 = super::SECTOR_BYTES / super::RBLOCK_BYTES;
    const WBLOCK: u32 = 64 * SECTOR;

    fn ahead() -> Ahead {
        Ahead::new(1, WBLOCK * super::RBLOCK_BYTES, 16 * super::SECTOR_BYTES)
    }

    fn follow(ahead: &mut Ahead, sectors: [u32; 2], is_barrier: bool) -> Option<[u32; 2]> {
        let [from_rblock, until_rblock] = sectors.map(|sector| sector * SECTOR);
        let job = Job { wblock: WblockId(0), from_rblock, until_rblock, then: Then::Open };
        ahead.follow(&[job], is_barrier);
        let stretch = ahead.take_planned().pop()?;
        let bytes = (stretch.until_rblock - stretch.from_rblock) * super::RBLOCK_BYTES;
        assert_eq!(ahead.zeros(&stretch).len(), bytes as usize);
        Some([stretch.from_rblock / SECTOR, stretch.until_rblock / SECTOR])
    }

    #[test]
    fn zeros_lie_behind_the_second_flush_and_again_when_they_are_used_up() {
        let mut ahead = ahead();
        assert_eq!(follow(&mut ahead, [0, 1], true), None, "nobody may come again");
        assert_eq!(follow(&mut ahead, [1, 2], true), Some([2, 18]));
        assert_eq!(follow(&mut ahead, [2, 4], true), None, "there are some left");
        assert_eq!(follow(&mut ahead, [17, 18], true), Some([18, 34]));
        assert_eq!(follow(&mut ahead, [34, 60], true), None, "a large flush");
        assert_eq!(follow(&mut ahead, [60, 61], true), Some([61, 64]), "to the end, no further");
    }

    #[test]
    fn a_place_that_was_written_takes_no_zeros_until_it_is_another_shadow_s() {
        let mut ahead = ahead();
        assert_eq!(follow(&mut ahead, [0, 64], false), None);
        assert_eq!(follow(&mut ahead, [1, 2], true), None);
        ahead.forget();
        assert_eq!(follow(&mut ahead, [0, 1], true), None);
        assert_eq!(follow(&mut ahead, [1, 2], false), None, "only for a barrier");
        assert_eq!(follow(&mut ahead, [2, 3], true), Some([3, 19]));
    }
}
