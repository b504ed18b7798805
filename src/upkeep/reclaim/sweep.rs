//! The expiry sweep: gives back the bytes of expired records that nobody touches.
//!
//! Each wblock knows a bound below the expiry of its records (`region::wblock`, W4): only those in
//! which something is due are walked. With a shadow, what is due is told by the clock floor that
//! the superblocks durably say: what the sweep takes for dead is then dead in every later run too,
//! whatever its clock says. So a sweep asks for the floor first, and walks when it is there.
//!
//! A walk costs some milliseconds for 8 MiB. Where many wblocks always hold something due, the
//! sweep pauses so long after each walk that it takes an eighth of a core at most, and is late.
#![forbid(unsafe_code)]

use super::cleaner::Records;
use super::fate::{Ended, Met, Site};
use super::{Common, Own, Pace, counters};
use crate::region::State;
use crate::sync::epoch;
use crate::unit::{WBLOCK_HEADER_RBLOCKS, WblockId};
use std::time::{Duration, Instant};

/// A walk is followed by a pause of this many times its length.
const PAUSE_TIMES: u32 = 7;

/// Sweeps the wblocks of one reclaimer.
#[derive(Debug)]
pub(super) struct Sweeper {
    own: Own,
    /// A round begins when what expired before this instant is dead for good.
    wanted_us: Option<u64>,
    /// The next wblock of the round that is under way.
    next: Option<u32>,
    not_before: Option<Instant>,
}

impl Sweeper {
    pub(super) fn new(own: Own) -> Self {
        Self { own, wanted_us: None, next: None, not_before: None }
    }

    /// Begins a round when one is due, or walks the next wblock of it.
    pub(super) fn poll(&mut self, common: &Common, lane: u32, is_due: bool) -> Pace {
        let now_us = common.clock.coarse_us();
        let is_resting = self.next.is_none() && self.wanted_us.is_none();
        if is_due && is_resting && self.has_due(common, now_us) {
            self.wanted_us = Some(now_us);
            if let Some(requests) = &common.requests {
                requests.raise_floor(now_us);
            }
        }
        let before = common.expired_before_us();
        if self.wanted_us.is_some_and(|wanted| before >= wanted) {
            (self.wanted_us, self.next) = (None, Some(self.own.start));
        }
        let left = self.not_before.map(|until| until.duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| !left.is_zero() && self.next.is_some()) {
            return Pace::After(left);
        }
        while let Some(number) = self.next {
            self.next = Some(number + 1).filter(|next| self.own.contains(next));
            let wblock = WblockId(number);
            if is_walkable(common, wblock, before) {
                let began = Instant::now();
                walk(common, lane, wblock, before);
                self.pause(began.elapsed());
                return if self.next.is_some() { Pace::Now } else { Pace::Idle };
            }
        }
        Pace::Idle
    }

    fn pause(&mut self, walked: Duration) {
        // A short walk is free: a small store is swept at once.
        let pause = if walked < Duration::from_micros(200) { Duration::ZERO } else { walked };
        self.not_before = Some(Instant::now() + pause * PAUSE_TIMES);
    }

    fn has_due(&self, common: &Common, now_us: u64) -> bool {
        self.own.clone().any(|number| is_walkable(common, WblockId(number), now_us))
    }
}

impl Common {
    /// Before a barrier that a caller asks for: what has expired by now is to stay dead in every
    /// later run, so the clock floor goes to the shadow with it.
    pub fn raise_floor_if_due(&self) {
        let Some(requests) = &self.requests else { return };
        let now_us = self.clock.precise_us();
        if self.stripes().wblocks().any(|(_, entry)| entry.soonest_expiry() < now_us) {
            requests.raise_floor(now_us);
        }
    }
}

/// True if something in `wblock` expired before `before`. What is being emptied is left to that.
fn is_walkable(common: &Common, wblock: WblockId, before: u64) -> bool {
    let entry = common.stripes().wblock(wblock);
    let is_settled = matches!(entry.state(), State::Open | State::Sealed | State::Used);
    is_settled && entry.soonest_expiry() < before
}

/// Ends every record of `wblock` that expired before `before`.
fn walk(common: &Common, lane: u32, wblock: WblockId, before: u64) {
    let end = common.stripes().geometry().wblock_rblocks();
    let mut records = Records::new(common, wblock, WBLOCK_HEADER_RBLOCKS, end);
    let mut soonest = u64::MAX;
    loop {
        let guard = epoch::pin();
        let Some(met) = records.next(&guard) else { break };
        let view = common.keyspace.view(&guard, met.location);
        let Some(expires_at) = view.expires_at() else { continue };
        if expires_at >= before {
            soonest = soonest.min(expires_at);
        } else if end_expired(common, Site { guard: &guard, lane }, met) == Ended::NoRoom {
            // Once there is room again.
            soonest = soonest.min(expires_at);
        }
    }
    // An incomplete one, still open for instance, is walked again as long as something is due.
    if !records.is_incomplete {
        common.stripes().wblock(wblock).raise_expiry(soonest);
    }
}

fn end_expired(common: &Common, site: Site<'_>, met: Met) -> Ended {
    loop {
        let entry = match common.entry(site.guard, met) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Ended::Gone,
            Err(ended) => return ended,
        };
        let ended = common.end(site, met, &entry);
        if ended == Ended::Gone {
            counters::add(&common.counters.expired, 1);
        }
        if ended != Ended::Changed {
            return ended;
        }
    }
}
