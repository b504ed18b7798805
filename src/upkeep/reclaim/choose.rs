//! How short of space the store is, and which wblock to empty next.
//!
//! With plenty free, defragmentation waits: a wblock that loses records by itself costs less the
//! later it is emptied, and nothing at all if it waits to the end. Only what lies below
//! `defrag_lwm_pct` and has come to rest is taken. When free wblocks run short, the wblock with the
//! best ratio of benefit to cost is taken, whatever its live share:
//!
//! ```text
//! (dead share * age) / (1 + live share)        age in wblocks opened since
//! ```
//! Age counts because what has survived long is likely to stay: space gained among old records
//! is kept for longer.
//! Source: M. Rosenblum, J. Ousterhout, "The design and implementation of a log-structured file
//! system", 1992 (benefit over cost); S. Rumble, A. Kejriwal, J. Ousterhout, "Log-structured memory
//! for DRAM-based storage", 2014.
//!
//! ```text
//! free wblocks   0 .. kept        kept for moves and deletes, and by `stop_writes_avail_pct`
//!                kept .. low      pressed: no pauses, until `high` are free or on their way
//!                high .. all      calm
//! ```
#![forbid(unsafe_code)]

use super::{Common, Own};
use crate::region::{State, Stripes, Wblock};
use crate::unit::{WBLOCK_HEADER_RBLOCKS, WblockId};
use std::collections::VecDeque;

/// Wblocks between `kept` and `low`, and between `low` and `high`: this share of all of them.
const MARGIN_SHARE: u64 = 64;
/// The same at least, and at most: enough for the time that the gate takes.
const MARGIN_MIN: u64 = 1;
const MARGIN_MAX: u64 = 32;
/// A wblock must have at least this share dead to be worth emptying under pressure, and has come to
/// rest if it lost less between two sweeps.
const WORTH_SHARE: u32 = 64;
/// Wblocks chosen at one look, as a share of all: the choice of a moment ago is nearly as good.
const BATCH_SHARE: u32 = 64;
const BATCH_MAX: usize = 8;

/// Chooses among the wblocks of one reclaimer.
#[derive(Debug)]
pub(super) struct Chooser {
    own: Own,
    /// Chosen, in `Defrag`.
    queue: VecDeque<WblockId>,
    /// Of each own wblock: what was dead at the last sweep.
    dead_before: Box<[u32]>,
    is_pressed: bool,
    /// Not to be chosen before the next sweep: they could not be emptied.
    passed_over: Vec<WblockId>,
}

/// What a look found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// To be emptied next.
    pub(super) wblock: Option<WblockId>,
    /// Free wblocks run short.
    pub(super) is_pressed: bool,
    /// Some wblock waits for the flusher: it may be worth emptying then.
    pub(super) has_sealed: bool,
}

struct Candidate {
    wblock: WblockId,
    score: f64,
}

impl Chooser {
    pub(super) fn new(own: Own) -> Self {
        let dead_before = own.clone().map(|_| 0).collect();
        Self {
            own,
            queue: VecDeque::new(),
            dead_before,
            is_pressed: false,
            passed_over: Vec::new(),
        }
    }

    /// `wblock` could not be emptied: leave it until the next sweep.
    pub(super) fn pass_over(&mut self, wblock: WblockId) {
        self.passed_over.push(wblock);
    }

    /// Looks how short space is with `coming` wblocks on their way, and chooses a wblock unless one
    /// is being emptied. What has emptied itself is handed to `release`.
    pub(super) fn choose(
        &mut self,
        common: &Common,
        coming: u64,
        is_busy: bool,
        is_sweep_due: bool,
        mut release: impl FnMut(WblockId),
    ) -> Choice {
        let stripes = common.stripes();
        let missing = self.missing(common, coming);
        if is_sweep_due {
            self.passed_over.clear();
        }
        let mut has_sealed = false;
        let is_looking = self.queue.is_empty() && !is_busy && (missing > 0 || is_sweep_due);
        if is_looking || is_sweep_due {
            has_sealed = self.look(common, missing, is_sweep_due, &mut release);
        }
        let mut wblock = None;
        while let (None, false) = (wblock, is_busy) {
            let Some(next) = self.queue.pop_front() else { break };
            // It may have emptied itself since it was chosen.
            if stripes.live_rblocks(next) == 0 {
                release(next);
            } else {
                wblock = Some(next);
            }
        }
        Choice { wblock, is_pressed: self.is_pressed, has_sealed }
    }

    /// Wblocks that should be free and are not, nor on their way.
    fn missing(&mut self, common: &Common, coming: u64) -> u64 {
        let stripes = common.stripes();
        let all = u64::from(stripes.geometry().wblocks());
        let margin = (all / MARGIN_SHARE).clamp(MARGIN_MIN, MARGIN_MAX);
        let identity = stripes.identity();
        let by_policy = (all * u64::from(common.settings.stop_writes_avail_pct())).div_ceil(100);
        let kept = by_policy.max(identity.kept_for_deletes.into());
        let (low, high) = (kept + margin, kept + 2 * margin);
        stripes.set_watermarks(kept, low);
        let wblock_bytes = u64::from(stripes.geometry().wblock_bytes);
        stripes.set_backlog_max(common.settings.write_cache_bytes_max() / wblock_bytes);
        let free = stripes.free_wblocks() + coming;
        self.is_pressed = if self.is_pressed { free < high } else { free <= low };
        if self.is_pressed { high.saturating_sub(free) } else { 0 }
    }

    /// Looks at every own wblock; queues the best. True: some are sealed, and are for later.
    fn look(
        &mut self,
        common: &Common,
        missing: u64,
        is_sweep_due: bool,
        release: &mut impl FnMut(WblockId),
    ) -> bool {
        let mut has_sealed = false;
        let stripes = common.stripes();
        let batch = (self.own.len() as u64 / u64::from(BATCH_SHARE)).clamp(1, BATCH_MAX as u64);
        let (mut best, mut calm) = (Vec::<Candidate>::new(), Vec::new());
        let lwm = u32::from(common.settings.defrag_lwm_pct());
        for (wblock, dead_before) in self.own.clone().map(WblockId).zip(&mut self.dead_before) {
            let entry = stripes.wblock(wblock);
            let state = entry.state();
            has_sealed |= state == State::Sealed;
            if state != State::Used || stripes.is_named(wblock) {
                continue;
            }
            let sight = Sight::new(stripes, entry);
            if sight.live == 0 {
                release(wblock);
                continue;
            }
            if self.passed_over.contains(&wblock) || sight.gain < sight.worth() {
                continue;
            }
            if missing > 0 {
                let score = sight.score();
                let place = best.partition_point(|other| other.score >= score);
                if place < BATCH_MAX {
                    best.insert(place, Candidate { wblock, score });
                    best.truncate(usize::try_from(batch.min(missing)).unwrap_or(1));
                }
            } else if sight.live * 100 < lwm * sight.room {
                let is_at_rest = sight.dead - (*dead_before).min(sight.dead) < sight.worth();
                if is_at_rest {
                    calm.push(Candidate { wblock, score: f64::from(sight.dead) });
                }
            }
            if is_sweep_due {
                *dead_before = sight.dead;
            }
        }
        if self.queue.is_empty() {
            calm.sort_by(|left, right| right.score.total_cmp(&left.score));
            let leave = common.settings.defrag_queue_min() as usize;
            calm.truncate(calm.len().saturating_sub(leave));
            for Candidate { wblock, .. } in best.into_iter().chain(calm) {
                stripes.wblock(wblock).enter(State::Defrag);
                self.queue.push_back(wblock);
            }
        }
        has_sealed
    }
}

/// What a look sees of one wblock. Unit: rblocks.
struct Sight {
    room: u32,
    dead: u32,
    live: u32,
    /// What emptying it gives back for certain: not the tail, which the moved records may waste
    /// again.
    gain: u32,
    age: u64,
}

impl Sight {
    fn new(stripes: &Stripes, entry: &Wblock) -> Self {
        let room = stripes.geometry().wblock_rblocks() - WBLOCK_HEADER_RBLOCKS;
        let dead = entry.dead_rblocks().min(room);
        let gain = dead.saturating_sub(entry.tail_rblocks());
        let age = stripes.next_sequence().0.saturating_sub(entry.sequence().0);
        Self { room, dead, live: room - dead, gain, age }
    }

    fn worth(&self) -> u32 {
        (self.room / WORTH_SHARE).max(1)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rough measure")]
    fn score(&self) -> f64 {
        let (gain, live, room) = (f64::from(self.gain), f64::from(self.live), f64::from(self.room));
        gain * self.age as f64 / (room + live)
    }
}
