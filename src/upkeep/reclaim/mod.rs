//! Reclaim: how space comes back. One reclaimer, a pump of its own, serves the home wblocks of a
//! range of stripes.
//!
//! | module     | what                                                                     |
//! |------------|--------------------------------------------------------------------------|
//! | `choose`   | how short of space the store is, and which wblock to empty next          |
//! | `cleaner`  | moves the live records out of one wblock, a few at a time                |
//! | `evict`    | where a cache is full: what goes, what stays                             |
//! | `fate`     | what becomes of one record: moved, buried, or replaced by a tombstone    |
//! | `sweep`    | takes the bytes of expired records back                                  |
//! | `raid`     | the tomb raider: drops tombstones that nothing needs any more            |
//! | `undo`     | takes moves back, where no wblock is free to begin with                  |
//! | `room`     | where puts wait for space                                                |
//! | `service`  | the threads                                                              |
//! | `counters` | figures for statistics                                                   |
//!
//! The gate between an empty wblock and a free one is `region::gate`.
//!
//! Invariants
//! - D1  From `Used` to `Free` a wblock is touched by one reclaimer only, that of its home stripe:
//!   nothing here needs a lock, and no wblock is chosen, emptied or freed twice.
//! - D2  A record is moved as it stands: key, value, version, expiry. The entry changes by one
//!   compare-and-swap from the old place to the new; who overwrites the key at the same time wins
//!   or is seen, and the copy that lost becomes padding (S7 of `region::stripe`).
//! - D3  Each poll is bounded: some tens of records, or one walk over a wblock.
//! - D4  As long as the shadow can hold an older copy of a key, something newer about that key
//!   stays on it: a moved copy, a tombstone, or the record itself until its wblock is struck out.
#![forbid(unsafe_code)]

mod choose;
mod cleaner;
mod counters;
mod evict;
mod fate;
mod raid;
mod room;
mod service;
mod sweep;
mod undo;

pub use counters::{ReclaimCounters, ReclaimStats};
pub use room::{Room, RoomWait};
pub use service::ReclaimService;

use super::keyspace::Keyspace;
use crate::clock::Clock;
use crate::config::Settings;
use crate::region::{Barriers, Gate, State, Stripes, Waiting};
use crate::shadow::Requests;
use crate::sync::Arc;
use crate::unit::WblockId;
use choose::{Choice, Chooser, Moment};
use cleaner::{Cleaner, Step};
use evict::Plan;
use raid::Raider;
use std::ops::Range;
use std::time::{Duration, Instant};
use sweep::Sweeper;

/// What the reclaimers of a store work on.
#[derive(Debug)]
pub struct Common {
    /// Index and region.
    pub keyspace: Arc<Keyspace>,
    /// Tells what has expired.
    pub clock: Arc<dyn Clock>,
    /// What is in force.
    pub settings: Arc<Settings>,
    /// The shadow, if there is one.
    pub requests: Option<Arc<Requests>>,
    /// Where puts wait.
    pub room: Room,
    /// Figures.
    pub counters: ReclaimCounters,
}

/// What a poll did, and so when to poll again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// There is more to do.
    Now,
    /// It waits for a flush or for pins.
    Soon,
    /// There is more to do, and no hurry.
    After(Duration),
    /// There is nothing to do before the next sweep.
    Idle,
}

impl Pace {
    fn or_sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::Now, _) | (_, Self::Now) => Self::Now,
            (Self::Soon, _) | (_, Self::Soon) => Self::Soon,
            (Self::After(left), Self::After(right)) => Self::After(left.min(right)),
            (Self::After(pause), Self::Idle) | (Self::Idle, Self::After(pause)) => {
                Self::After(pause)
            }
            (Self::Idle, Self::Idle) => Self::Idle,
        }
    }
}

/// The pump of one reclaimer.
#[derive(Debug)]
pub struct Reclaimer {
    common: Arc<Common>,
    number: u32,
    gate: Gate,
    /// What of the gate, and of the pressure, the counters have.
    waiting: Waiting,
    is_pressed: bool,
    chooser: Chooser,
    cleaner: Option<Cleaner>,
    sweeper: Sweeper,
    /// The first reclaimer raids for all.
    raider: Option<Raider>,
    last_sweep: Option<Instant>,
    /// The number of the last look.
    last_look: u64,
    /// A barrier that was asked for so that sealed wblocks can be emptied.
    nudge: Option<u64>,
}

impl Common {
    fn stripes(&self) -> &Stripes {
        self.keyspace.stripes()
    }

    fn has_shadow(&self) -> bool {
        self.requests.is_some()
    }

    /// What expired before this instant is dead, in this run and in every later one.
    fn expired_before_us(&self) -> u64 {
        match &self.requests {
            Some(requests) => requests.floor_us(),
            None => self.clock.coarse_us(),
        }
    }
}

impl Reclaimer {
    /// Reclaimer `number` of a store, with nothing begun.
    pub fn new(common: Arc<Common>, number: u32) -> Self {
        let geometry = common.stripes().geometry();
        let reclaimers = common.stripes().identity().reclaimers;
        let first =
            |number: u32| number * geometry.stripes / reclaimers * geometry.wblocks_per_stripe;
        let own = first(number)..first(number + 1);
        let mut gate = Gate::default();
        for wblock in own.clone().map(WblockId) {
            // Cold start could not use it; the flusher may have struck it out already.
            let state = common.stripes().wblock(wblock).state();
            if matches!(state, State::Damaged | State::Struck) {
                gate.enter_damaged(common.stripes(), wblock);
            }
        }
        Self {
            chooser: Chooser::new(common.stripes(), own.clone()),
            sweeper: Sweeper::new(own),
            raider: (number == 0).then(Raider::default),
            common,
            number,
            gate,
            waiting: Waiting::default(),
            is_pressed: false,
            cleaner: None,
            last_sweep: None,
            // Above any other: no write had no room yet.
            last_look: u64::MAX,
            nudge: None,
        }
    }

    /// One bounded piece of work.
    pub fn poll(&mut self) -> Pace {
        let common = Arc::clone(&self.common);
        let (look, is_wanted) = common.room.begin_look(self.last_look);
        self.last_look = look;
        let has_freed = self.pass_gate(&common);
        let is_sweep_due = self.is_sweep_due(&common);
        let mut aside = self.sweeper.poll(&common, self.lane(), is_sweep_due);
        if let Some(raider) = &mut self.raider {
            aside = aside.or_sooner(raider.poll(&common, is_sweep_due));
        }
        let choice = self.next_wblock(&common, (is_sweep_due, is_wanted));
        let pace = self.clean(&common, choice);
        // Nothing to be gained: nothing under way, and no wblock worth emptying. A calm look says
        // nothing of that: by the time it is heard, others may have taken what was free.
        let is_idle = pace == Pace::Idle && self.gate.count() == 0;
        let is_hopeless = is_idle && choice.is_pressed;
        common.room.announce(common.stripes(), (self.number, look), is_hopeless);
        let gate = match (has_freed, self.gate.count()) {
            (true, _) => Pace::Now,
            (false, 0) => Pace::Idle,
            (false, _) => Pace::Soon,
        };
        pace.or_sooner(gate).or_sooner(aside)
    }

    /// The lane that this reclaimer moves records to.
    fn lane(&self) -> u32 {
        self.common.stripes().lane_of_reclaimer(self.number)
    }

    fn pass_gate(&mut self, common: &Common) -> bool {
        let barriers = common.requests.as_deref().map(|requests| requests as &dyn Barriers);
        let unlink = |wblock| cleaner::unlink_left(common, wblock);
        let freed = self.gate.advance(common.stripes(), barriers, unlink);
        counters::add(&common.counters.freed_wblocks, freed);
        let waiting = self.gate.waiting();
        common.counters.note_waiting(std::mem::replace(&mut self.waiting, waiting), waiting);
        freed > 0
    }

    fn is_sweep_due(&mut self, common: &Common) -> bool {
        let interval = common.settings.sweep_interval();
        let is_due = self.last_sweep.is_none_or(|last| last.elapsed() >= interval);
        if is_due {
            self.last_sweep = Some(Instant::now());
        }
        is_due
    }

    /// Chooses the wblock to be emptied next, unless one is being emptied.
    fn next_wblock(&mut self, common: &Common, (is_sweep_due, is_wanted): (bool, bool)) -> Choice {
        let (coming, is_busy) = (common.counters.in_gates(), self.cleaner.is_some());
        let moment = Moment { coming, is_busy, is_sweep_due, is_wanted };
        let mut emptied = Vec::new();
        let choice = self.chooser.choose(common, moment, |wblock| {
            emptied.push(wblock);
        });
        for wblock in emptied {
            self.chooser.note_end(common.stripes(), wblock);
            self.gate.enter(common.stripes(), wblock, false);
        }
        let was_pressed = std::mem::replace(&mut self.is_pressed, choice.is_pressed);
        counters::change(&common.counters.pressed, was_pressed.into(), choice.is_pressed.into());
        if let Some((wblock, mut plan)) = choice.next {
            // Nothing is left behind where it may not be durable.
            if common.stripes().wblock(wblock).is_bad() {
                plan = Plan::Move;
            }
            common.stripes().wblock(wblock).enter(State::Emptying);
            self.cleaner = Some(Cleaner::new(wblock, plan));
        }
        if self.cleaner.is_none()
            && let Some(wblock) = self.chooser.find_bad(common.stripes())
        {
            common.stripes().wblock(wblock).enter(State::Emptying);
            self.cleaner = Some(Cleaner::new(wblock, Plan::Move));
        }
        choice
    }

    /// Goes on with the wblock that is being emptied.
    fn clean(&mut self, common: &Common, choice: Choice) -> Pace {
        let lane = self.lane();
        let Some(cleaner) = &mut self.cleaner else {
            let rest = self.nudge_flusher(common, choice);
            return if choice.has_unnamed { Pace::Now } else { rest };
        };
        let wblock = cleaner.wblock();
        match cleaner.step(common, lane) {
            Step::More => Pace::Now,
            Step::Emptied { has_left } => {
                let (plan, outcome) = (cleaner.plan(), cleaner.outcome());
                self.chooser.note(common, plan, outcome);
                self.cleaner = None;
                self.chooser.note_end(common.stripes(), wblock);
                self.gate.enter(common.stripes(), wblock, has_left);
                counters::add(&common.counters.emptied_wblocks, 1);
                if choice.is_pressed || plan != Plan::Move {
                    Pace::Now
                } else {
                    Pace::After(common.settings.defrag_sleep())
                }
            }
            // Space comes back through a gate, or does not come: then the wblock is left alone.
            Step::NoRoom if self.gate.count() as u64 + common.counters.in_gates() > 0 => Pace::Soon,
            Step::Incomplete { is_stuck: false } => Pace::Soon,
            Step::NoRoom | Step::Incomplete { is_stuck: true } => {
                self.give_up(common, wblock);
                Pace::Now
            }
        }
    }

    /// Short of space, with nothing to empty but what is not flushed yet: has it flushed.
    fn nudge_flusher(&mut self, common: &Common, choice: Choice) -> Pace {
        let Some(requests) = &common.requests else { return Pace::Idle };
        if !(choice.is_pressed && choice.has_sealed) {
            return Pace::Idle;
        }
        if self.nudge.is_none_or(|ticket| requests.is_durable(ticket)) {
            self.nudge = Some(requests.barrier());
        }
        Pace::Soon
    }

    fn give_up(&mut self, common: &Common, wblock: WblockId) {
        self.cleaner = None;
        self.chooser.pass_over(wblock);
        common.stripes().wblock(wblock).enter(State::Used);
    }

    /// How long to sleep before the next sweep.
    fn until_sweep(&self) -> Duration {
        let interval = self.common.settings.sweep_interval();
        self.last_sweep.map_or(Duration::ZERO, |last| interval.saturating_sub(last.elapsed()))
    }
}

/// A range of wblocks by number.
type Own = Range<u32>;
