//! How short of space the store is, and which wblock to empty next.
//!
//! With plenty free, defragmentation waits: a wblock that loses records by itself costs less the
//! later it is emptied, and nothing at all if it waits to the end. Only what lies below
//! `defrag_lwm_pct` and has come to rest is taken. When free wblocks run short, the wblock with the
//! best ratio of benefit to cost is taken, whatever its live share:
//!
//! ```text
//! dead^2 * age / live        age in wblocks opened since
//! ```
//! Age counts because what has survived long is likely to stay: space gained among old records
//! is kept for longer. The square is because a wblock that gives back little costs little less
//! to empty next time: beside `dead * age / (1 + live)`, measured in a model of 512 wblocks, it
//! moves 2 to 8% less under Zipf's law and the same under uniform overwrites.
//! Source: M. Rosenblum, J. Ousterhout, "The design and implementation of a log-structured file
//! system", 1992 (benefit over cost); Q. Gu et al., "Efficiently reclaiming space in a log
//! structured store", ICDE 2021 (the declining cost, from which the square comes).
//!
//! ```text
//! free wblocks   0 .. kept        kept for moves and deletes, and by `stop_writes_avail_pct`
//!                kept .. low      pressed: no pauses, until `high` are free or on their way
//!                high .. all      calm
//! ```
//!
//! A wblock that is named by an open word is emptied only if a write has no room, and nothing else
//! is left to gain: it is taken from its lane then (`region::unname`). In a store of few wblocks
//! that is where most of the dead may lie.
//!
//! While space is not short, wblocks are also emptied for the tombstones that they pin (`raid`):
//! those with the most pins for what is live, and only if half of them is dead. So the log is as
//! long as the space allows, unless tombstones abound: then it is cut where they hang on it.
//!
//! Measured, write amplification of a store of 4 GiB with 512 wblocks (`benches/reclaim.rs`)
//! - A put is hot if it follows within 1 / 2.5 of the average life of hot wblocks, not all of it.
//!   Zipf's law, 50% live: 1.16 -> 1.15; in a model, with a share of 1, 1/2, 1/3, 1/4 of it: 1.18,
//!   1.15, 1.15, 1.14, and 75% live: 1.63, 1.63, 1.64, 1.76. Uniform overwrites: no change.
//! - Rest is judged within one life of a wblock. What the life before had dead once counted, so
//!   that young wblocks passed for being at rest: uniform, 50% live 1.33 -> 1.28.
//! - In the model, smaller margins (one wblock each) gain 0.01 at 50%, no more; another power of
//!   the age gains under Zipf's law at 1 MiB a wblock and loses at 8 MiB.
#![forbid(unsafe_code)]

use super::evict::{Evictor, Outcome, Plan};
use super::{Common, Own};
use crate::region::{Filling, State, Stripes, Wblock};
use crate::sync::Relaxed;
use crate::unit::{Sequence, WBLOCK_HEADER_RBLOCKS, WblockId};
use std::collections::VecDeque;

/// Wblocks between `kept` and `low`, and between `low` and `high`: this share of all of them.
const MARGIN_SHARE: u64 = 128;
/// The same at least, and at most: enough for the time that the gate takes.
const MARGIN_MIN: u64 = 1;
const MARGIN_MAX: u64 = 32;
/// A wblock must have at least this share dead to be worth emptying under pressure, and has come to
/// rest if it lost less between two sweeps.
const WORTH_SHARE: u32 = 64;
/// Padding of up to this share of a wblock of moved records is no gain.
const PADDING_SHARE: u32 = 8;
/// Wblocks chosen at one look, as a share of all: the choice of a moment ago is nearly as good.
const BATCH_SHARE: u32 = 64;
const BATCH_MAX: usize = 8;

/// For the tombstones that it pins a wblock is emptied if this share of it is live at most.
const PINNING_LIVE_SHARE: u32 = 2;

/// Of so many hot wblocks the life is averaged.
const HOT_LIVES: f64 = 16.0;
/// Below this share of it a record that is overwritten is hot.
const HOT_LIFE_SHARE: f64 = 2.5;
/// Fewer wblocks a stripe than this have no hot lane: it would take more space than it saves.
const HOT_WBLOCKS_MIN: u32 = 48;

/// Chooses among the wblocks of one reclaimer.
#[derive(Debug)]
pub(super) struct Chooser {
    own: Own,
    /// Chosen, in `Defrag`.
    queue: VecDeque<WblockId>,
    /// Of each own wblock: in which life it was at the last sweep, and what was dead.
    dead_before: Box<[(Sequence, u32)]>,
    is_pressed: bool,
    /// Not to be chosen before the next sweep: they could not be emptied.
    passed_over: Vec<WblockId>,
    /// Since the last sweep no look was in vain for a wblock that pins tombstones.
    has_pins: bool,
    evictor: Evictor,
    /// The last wblock was emptied to evict from it.
    has_evicted: bool,
    /// How long hot wblocks live, on average. Unit: wblocks opened meanwhile.
    hot_life: Option<f64>,
}

/// How things stand when a wblock is to be chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Wblocks on their way to a free queue.
    pub(super) coming: u64,
    /// One is being emptied.
    pub(super) is_busy: bool,
    pub(super) is_sweep_due: bool,
    /// A write had no room.
    pub(super) is_wanted: bool,
}

/// What a look found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// To be emptied next, and how.
    pub(super) next: Option<(WblockId, Plan)>,
    /// Free wblocks run short, or a cache is above its limit.
    pub(super) is_pressed: bool,
    /// Some wblock waits for the flusher: it may be worth emptying then.
    pub(super) has_sealed: bool,
    /// An open wblock was taken from its lane: it can be chosen now.
    pub(super) has_unnamed: bool,
}

/// What a look adds up over all own wblocks that are in use. Unit: rblocks.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Wblocks, and the rblocks of them all.
    pub(super) wblocks: u64,
    pub(super) all: u64,
    /// Rblocks of one that records can have.
    pub(super) room: u64,
    /// Live ones, and those of them that were moved once.
    pub(super) live: u64,
    pub(super) old_live: u64,
    /// What the best candidate gives back.
    pub(super) best_gain: u64,
    /// Of those that can be emptied, the ones that were opened first.
    pub(super) oldest_fresh: Option<WblockId>,
    pub(super) oldest_old: Option<WblockId>,
    has_sealed: bool,
    /// Of those that are named by an open word, the one most worth emptying.
    best_open: Option<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    wblock: WblockId,
    score: f64,
}

impl Chooser {
    pub(super) fn new(stripes: &Stripes, own: Own) -> Self {
        if stripes.geometry().wblocks_per_stripe >= HOT_WBLOCKS_MIN {
            stripes.set_hot_age(u64::MAX);
        }
        let dead_before = own.clone().map(|_| (Sequence(0), 0)).collect();
        Self {
            own,
            queue: VecDeque::new(),
            dead_before,
            is_pressed: false,
            passed_over: Vec::new(),
            has_pins: true,
            evictor: Evictor::default(),
            has_evicted: false,
            hot_life: None,
        }
    }

    /// A wblock to be emptied before any other: its place on the shadow is bad, and barriers wait
    /// until what it holds is elsewhere.
    pub(super) fn find_bad(&self, stripes: &Stripes) -> Option<WblockId> {
        if stripes.bad_wblocks() == 0 {
            return None;
        }
        self.own.clone().map(WblockId).find(|wblock| {
            let entry = stripes.wblock(*wblock);
            let is_ready = entry.is_bad() && entry.state() == State::Used;
            is_ready && !self.passed_over.contains(wblock) && stripes.unname(*wblock)
        })
    }

    /// `wblock` could not be emptied: leave it until the next sweep.
    pub(super) fn pass_over(&mut self, wblock: WblockId) {
        self.passed_over.push(wblock);
    }

    /// Looks how short space is, and chooses a wblock unless one is being emptied. What has emptied
    /// itself is handed to `release`.
    pub(super) fn choose(
        &mut self,
        common: &Common,
        Moment { coming, is_busy, is_sweep_due, is_wanted }: Moment,
        mut release: impl FnMut(WblockId),
    ) -> Choice {
        let stripes = common.stripes();
        let missing = self.missing(common, coming);
        if is_sweep_due {
            self.passed_over.clear();
            self.has_pins = true;
            self.evictor.forgive();
        }
        let evict = common.settings.evict();
        common.keyspace.set_notes_reads(evict.is_some());
        if evict.is_none() {
            stripes.set_credit(None);
        }
        let unpins = self.unpins(common);
        let wants = self.queue.is_empty() && !is_busy;
        let wants = wants && (missing > 0 || evict.is_some() || unpins);
        let (mut has_sealed, mut has_unnamed) = (false, false);
        let mut next = None;
        if wants || is_sweep_due {
            let sums = self.look(common, missing, is_sweep_due, &mut release);
            has_sealed = sums.has_sealed;
            let is_stuck = wants && missing > 0 && coming == 0 && self.queue.is_empty();
            if let Some(open) = sums.best_open.filter(|_| is_stuck && is_wanted && !has_sealed) {
                has_unnamed = stripes.unname(open.wblock);
                has_sealed = !has_unnamed;
            }
            if let Some(evict) = evict.filter(|_| !is_busy) {
                // What is to be emptied for tombstones takes turns with eviction.
                let is_turn = !unpins || self.queue.is_empty() || !self.has_evicted;
                if is_turn {
                    next = self.evictor.choose(evict, &sums, missing > 0);
                }
                self.has_evicted = next.is_some();
                let stop_writes_pct = common.settings.stop_writes_used_pct();
                let credit = self.evictor.credit(evict, &sums, stop_writes_pct);
                // Of each reclaimer's wblocks a like share is filled.
                let reclaimers = u64::from(stripes.identity().reclaimers);
                stripes.set_credit(credit.map(|credit| credit * reclaimers));
            }
        }
        if next.is_some() {
            // What was chosen to be moved is given back: much of it may go.
            for wblock in self.queue.drain(..) {
                stripes.wblock(wblock).enter(State::Used);
            }
        }
        while let (None, false) = (next, is_busy) {
            let Some(wblock) = self.queue.pop_front() else { break };
            // It may have emptied itself since it was chosen.
            if stripes.live_rblocks(wblock) == 0 {
                release(wblock);
            } else {
                next = Some((wblock, Plan::Move));
            }
        }
        if let Some((wblock, _)) = next {
            let pins = u64::from(stripes.wblock(wblock).pins());
            let less = |surplus: u64| Some(surplus.saturating_sub(pins));
            // ORDERING: Relaxed, all. A hint.
            let _ = common.counters.tombstones_surplus.fetch_update(Relaxed, Relaxed, less);
        }
        let is_evicting = evict.is_some() && self.evictor.is_evicting();
        let is_pressed = self.is_pressed || is_evicting;
        Choice { next, is_pressed, has_sealed, has_unnamed }
    }

    /// True if wblocks are to be emptied for the tombstones that they pin.
    fn unpins(&self, common: &Common) -> bool {
        // ORDERING: Relaxed. A hint.
        self.has_pins && common.counters.tombstones_surplus.load(Relaxed) > 0
    }

    /// A wblock has come to its end: `SepBIT` takes the average life of hot ones for the age below
    /// which a record that is overwritten is hot. Before the first one every overwrite is.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an average"
    )]
    pub(super) fn note_end(&mut self, stripes: &Stripes, wblock: WblockId) {
        let entry = stripes.wblock(wblock);
        if entry.filling() == Filling::HotPuts {
            let life = stripes.next_sequence().0.saturating_sub(entry.sequence().0) as f64;
            let before = self.hot_life.unwrap_or(life);
            let average = before + (life - before) / HOT_LIVES;
            self.hot_life = Some(average);
            stripes.set_hot_age((average / HOT_LIFE_SHARE) as u64 + 1);
        }
    }

    /// After a wblock was emptied.
    pub(super) fn note(&mut self, common: &Common, plan: Plan, outcome: Outcome) {
        if plan != Plan::Move {
            let geometry = common.stripes().geometry();
            self.evictor.note(plan, outcome, u64::from(geometry.wblock_rblocks()));
        }
    }

    /// Wblocks that should be free and are not, nor on their way.
    fn missing(&mut self, common: &Common, coming: u64) -> u64 {
        let (low, high) = common.heed_settings();
        let free = common.stripes().free_wblocks() + coming;
        self.is_pressed = if self.is_pressed { free < high } else { free <= low };
        if self.is_pressed { high.saturating_sub(free) } else { 0 }
    }

    /// Looks at every own wblock; queues the best.
    fn look(
        &mut self,
        common: &Common,
        missing: u64,
        is_sweep_due: bool,
        release: &mut impl FnMut(WblockId),
    ) -> Sums {
        let stripes = common.stripes();
        let batch = (self.own.len() as u64 / u64::from(BATCH_SHARE)).clamp(1, BATCH_MAX as u64);
        // For space, else for tombstones.
        let (mut best, mut calm) = (Vec::<Candidate>::new(), Vec::new());
        let (frees, unpins) = (missing > 0, self.unpins(common));
        // What is moved to the last wblock must fit: then what is dead counts alone.
        let is_tight = frees && stripes.free_wblocks() <= 1;
        let batch = usize::try_from(if frees { batch.min(missing) } else { batch }).unwrap_or(1);
        let lwm = u32::from(common.settings.defrag_lwm_pct());
        let mut tally = Tally::new(stripes, self.own.len() as u64);
        for (wblock, before) in self.own.clone().map(WblockId).zip(&mut self.dead_before) {
            let entry = stripes.wblock(wblock);
            let state = entry.state();
            tally.count(stripes, wblock, entry, state);
            let sight = Sight::new(stripes, entry);
            if state != State::Used || stripes.is_named(wblock) {
                if matches!(state, State::Used | State::Open) {
                    tally.offer_open(wblock, &sight);
                }
                continue;
            }
            if sight.live == 0 {
                release(wblock);
                continue;
            }
            tally.offer(wblock, entry, &sight);
            let is_at_rest = sight.is_at_rest(entry.sequence(), *before);
            if is_sweep_due {
                *before = (entry.sequence(), sight.dead);
            }
            if self.passed_over.contains(&wblock) || sight.gain < sight.worth() {
                continue;
            }
            let pins = if unpins && sight.is_cheap() { entry.pins() } else { 0 };
            if frees || pins > 0 {
                let score = match () {
                    () if is_tight => f64::from(sight.dead),
                    () if frees => sight.score(),
                    () => sight.score_of_pins(pins),
                };
                let place = best.partition_point(|other| other.score >= score);
                if place < batch {
                    best.insert(place, Candidate { wblock, score });
                    best.truncate(batch);
                }
            } else if is_at_rest && sight.live * 100 < lwm * sight.room {
                calm.push(Candidate { wblock, score: f64::from(sight.dead) });
            }
        }
        self.has_pins &= frees || !unpins || !best.is_empty();
        if self.queue.is_empty() {
            calm.sort_by(|left, right| right.score.total_cmp(&left.score));
            let leave = common.settings.defrag_queue_min() as usize;
            calm.truncate(calm.len().saturating_sub(leave));
            for Candidate { wblock, .. } in best.into_iter().chain(calm) {
                stripes.wblock(wblock).enter(State::Defrag);
                self.queue.push_back(wblock);
            }
        }
        tally.sums
    }
}

impl Common {
    /// Holds puts back as the settings say, from now on: what waits and need not looks again.
    /// Returns below how many free wblocks reclaim is pressed, and from how many on it is not.
    pub fn heed_settings(&self) -> (u64, u64) {
        // One at a time: the last one has the last settings.
        self.room.change_rules(|| {
            let (stripes, settings) = (self.stripes(), &self.settings);
            let all = u64::from(stripes.geometry().wblocks());
            let margin = (all / MARGIN_SHARE).clamp(MARGIN_MIN, MARGIN_MAX);
            let percents = all * u64::from(settings.stop_writes_avail_pct());
            // Rounded up, but not for what a store of few wblocks needs to be written at all.
            let spare = all - u64::from(stripes.geometry().stripes) - 1;
            let by_policy = percents.div_ceil(100).min(spare.max(percents / 100));
            let kept = by_policy.max(stripes.identity().kept_for_deletes.into());
            let (low, high) = (kept + margin, kept + 2 * margin);
            // A cache looks at each wblock that is opened: it may have to give up another for it.
            let called_below = if settings.evict().is_some() { all } else { low };
            let wblock_bytes = u64::from(stripes.geometry().wblock_bytes);
            let has_changed = stripes.set_watermarks(kept, called_below)
                | stripes.set_backlog_max(settings.write_cache_bytes_max() / wblock_bytes);
            (has_changed, (low, high))
        })
    }
}

/// Adds up what a look sees.
struct Tally {
    sums: Sums,
    /// Sequences of the oldest ones so far.
    fresh: u64,
    old: u64,
}

impl Tally {
    fn new(stripes: &Stripes, wblocks: u64) -> Self {
        let rblocks = u64::from(stripes.geometry().wblock_rblocks());
        let room = rblocks - u64::from(WBLOCK_HEADER_RBLOCKS);
        let sums = Sums { wblocks, all: wblocks * rblocks, room, ..Sums::default() };
        Self { sums, fresh: u64::MAX, old: u64::MAX }
    }

    fn count(&mut self, stripes: &Stripes, wblock: WblockId, entry: &Wblock, state: State) {
        self.sums.has_sealed |= state == State::Sealed;
        // What is in the gate and still live is leaving.
        if !matches!(state, State::Quarantined | State::Struck) {
            let live = stripes.live_rblocks(wblock);
            self.sums.live += live;
            self.sums.old_live += if entry.filling() == Filling::Moves { live } else { 0 };
        }
    }

    /// What is not reserved counts as live.
    fn offer_open(&mut self, wblock: WblockId, sight: &Sight) {
        let score = f64::from(sight.gain);
        let is_best = self.sums.best_open.is_none_or(|best| score > best.score);
        if is_best && sight.gain >= sight.worth() {
            self.sums.best_open = Some(Candidate { wblock, score });
        }
    }

    fn offer(&mut self, wblock: WblockId, entry: &Wblock, sight: &Sight) {
        self.sums.best_gain = self.sums.best_gain.max(sight.gain.into());
        let sequence = entry.sequence().0;
        let (oldest, place) = if entry.filling() == Filling::Moves {
            (&mut self.old, &mut self.sums.oldest_old)
        } else {
            (&mut self.fresh, &mut self.sums.oldest_fresh)
        };
        if sequence < *oldest {
            (*oldest, *place) = (sequence, Some(wblock));
        }
    }
}

/// What a look sees of one wblock. Unit: rblocks.
struct Sight {
    room: u32,
    dead: u32,
    live: u32,
    /// What emptying it gives back for certain: not what the moved records may waste again.
    gain: u32,
    age: u64,
}

impl Sight {
    fn new(stripes: &Stripes, entry: &Wblock) -> Self {
        let room = stripes.geometry().wblock_rblocks() - WBLOCK_HEADER_RBLOCKS;
        let dead = entry.dead_rblocks().min(room);
        let waste = if entry.filling() == Filling::Moves {
            // What is moved again is padded again, at the barriers of the moving itself.
            entry.padding_rblocks().min(room / PADDING_SHARE)
        } else {
            entry.tail_rblocks()
        };
        let gain = dead.saturating_sub(waste);
        let age = stripes.next_sequence().0.saturating_sub(entry.sequence().0);
        Self { room, dead, live: room - dead, gain, age }
    }

    /// True if it has lost little since `before`, if that is of the same life.
    fn is_at_rest(&self, sequence: Sequence, (life, dead): (Sequence, u32)) -> bool {
        life == sequence && self.dead.saturating_sub(dead) < self.worth()
    }

    /// True if it may be emptied although space is not short.
    fn is_cheap(&self) -> bool {
        self.live <= self.room / PINNING_LIVE_SHARE
    }

    fn score_of_pins(&self, pins: u32) -> f64 {
        f64::from(pins) / f64::from(self.live + self.worth())
    }

    fn worth(&self) -> u32 {
        (self.room / WORTH_SHARE).max(1)
    }

    #[expect(clippy::cast_precision_loss, reason = "a rough measure")]
    fn score(&self) -> f64 {
        let (gain, live) = (f64::from(self.gain), f64::from(self.live));
        gain * gain * self.age as f64 / (live + 1.0)
    }
}
