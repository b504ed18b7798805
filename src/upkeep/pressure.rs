//! How full the store is: whether puts are stopped for it, and how long it will last.
//!
//! Looked at by the upkeep thread each tick, and by whoever changes the settings; puts read one
//! flag. To add up what is live is to look at every wblock, 5 to 7 ns each: the next look waits a
//! hundred times as long as the last one took, so that it never takes more than 1% of a core. Up to
//! 1 TiB that is each tick, at 16 TiB each 1.5 s or so.
//!
//! Invariants
//! - U1  The flag follows from one look at the live bytes and the settings after it: looks are one
//!   at a time, and who changes the settings looks after. So the last change is the one that
//!   stands, at once; what is put or deleted shows at the next look.
#![forbid(unsafe_code)]

use super::reclaim::ReclaimStats;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::region::{State, Stripes};
use crate::sync::{Arc, AtomicU8, Mutex, Relaxed, lock};
use crate::trace::event;
use crate::unit::{RBLOCK_BYTES, Sequence};
use std::time::{Duration, Instant};

/// Of the time, at most one part in so many goes into looks.
const LOOK_SHARE: u32 = 100;
/// Looks that must agree before puts are stopped.
const LOOKS: u32 = 3;
/// What is older than this counts little for the rate of writing.
const RATE_MEMORY_S: f64 = 15.0;
/// Slower than one wblock an hour is not writing.
const RATE_MIN_PER_S: f64 = 1.0 / 3600.0;

/// How full one store is.
#[derive(Debug)]
pub struct Pressure {
    stripes: Arc<Stripes>,
    settings: Arc<Settings>,
    /// The used share that puts are stopped for; 0: they pass. Unit: percent, rounded up.
    stopped_at_pct: AtomicU8,
    watch: Mutex<Watch>,
}

/// What is kept from one tick to the next.
#[derive(Debug)]
struct Watch {
    /// When the live bytes are to be looked at again.
    next_look: Instant,
    rate: Rate,
}

impl Pressure {
    /// Looks at once: a store may be full when it is opened.
    pub fn new(stripes: Arc<Stripes>, settings: Arc<Settings>) -> Self {
        let now = Instant::now();
        let rate = Rate { per_s: 0.0, sequence: stripes.next_sequence(), at: now };
        let watch = Mutex::new(Watch { next_look: now, rate });
        let pressure = Self { stripes, settings, stopped_at_pct: AtomicU8::new(0), watch };
        pressure.look();
        pressure
    }

    /// `Ok` unless puts are stopped. One load.
    ///
    /// # Errors
    ///
    /// [`Error::StopWrites`].
    #[inline]
    pub fn check_room(&self) -> Result<()> {
        // ORDERING: Relaxed. The flag carries nothing but itself, and is late by a tick anyway.
        match self.stopped_at_pct.load(Relaxed) {
            0 => Ok(()),
            used_pct => Err(self.stopped(used_pct)),
        }
    }

    #[cold]
    fn stopped(&self, used_pct: u8) -> Error {
        let wblocks = u64::from(self.stripes.geometry().wblocks());
        let avail = self.stripes.free_wblocks() * 100 / wblocks;
        Error::StopWrites { used_pct, avail_pct: u8::try_from(avail).unwrap_or(100) }
    }

    /// What a put is told for which there is no wblock but those that `stop_writes_avail_pct`
    /// keeps.
    #[cold]
    pub fn stopped_now(&self) -> Error {
        let data_size = self.stripes.geometry().region_bytes();
        let used = (used_bytes(&self.stripes) * 100).div_ceil(data_size);
        self.stopped(u8::try_from(used).unwrap_or(100))
    }

    /// A turn of the upkeep thread: samples the rate, and looks if it is time to.
    pub(super) fn tick(&self) {
        let mut watch = lock(&self.watch);
        let now = Instant::now();
        watch.rate.sample(self.stripes.next_sequence(), now);
        if now >= watch.next_look {
            self.look_now(&mut watch);
        }
    }

    /// Looks now, whenever the last look was: the settings have changed.
    pub fn look(&self) {
        self.look_now(&mut lock(&self.watch));
    }

    #[cfg_attr(
        not(feature = "tracing"),
        expect(clippy::if_same_then_else, reason = "without that feature an event is nothing")
    )]
    fn look_now(&self, watch: &mut Watch) {
        let before = Instant::now();
        let data_size = self.stripes.geometry().region_bytes();
        let limit_pct = self.settings.stop_writes_used_pct();
        // A look that is interrupted sees records twice, where they were and where they were moved
        // to: what is passed must be passed every time.
        let look = |_| judge(used_bytes(&self.stripes), data_size, limit_pct);
        let stopped_at_pct = (0..LOOKS).map(look).find(|pct| *pct == 0).unwrap_or_else(|| look(0));
        // ORDERING: Relaxed, as in `check_room`; U1 by the lock of `watch`.
        let before_pct = self.stopped_at_pct.swap(stopped_at_pct, Relaxed);
        if before_pct == 0 && stopped_at_pct > 0 {
            event!(WARN, used_pct = stopped_at_pct, "puts are refused: too much is live");
        } else if before_pct > 0 && stopped_at_pct == 0 {
            event!(INFO, "puts are taken again");
        }
        let after = Instant::now();
        watch.next_look = after + after.duration_since(before) * LOOK_SHARE;
    }

    /// What there is and how long it lasts. `tombstones` is for the index to say.
    pub fn runway(&self, tombstones: u64, reclaim: &ReclaimStats) -> Runway {
        let free_wblocks = self.stripes.free_wblocks();
        let wblock_bytes = u64::from(self.stripes.geometry().wblock_bytes);
        Runway {
            free_wblocks,
            seconds_left: lock(&self.watch).rate.seconds_for(free_wblocks),
            live_bytes: used_bytes(&self.stripes),
            dead_bytes: dead_bytes(&self.stripes),
            pin_wait_bytes: reclaim.waiting_for_pins * wblock_bytes,
            barrier_wait_bytes: reclaim.waiting_for_barrier * wblock_bytes,
            tombstones,
        }
    }
}

/// The share of `data_size` that `live` bytes are, in percent and rounded up, if it is above
/// `limit_pct`, where 0 is no limit; else 0.
fn judge(live: u64, data_size: u64, limit_pct: u8) -> u8 {
    // At most 16 TiB times 100.
    if limit_pct == 0 || live * 100 <= data_size * u64::from(limit_pct) {
        return 0;
    }
    u8::try_from((live * 100).div_ceil(data_size)).unwrap_or(100)
}

/// Bytes of records that count, padding to rblocks included. Looks at every wblock.
pub(super) fn live_bytes(stripes: &Stripes) -> u64 {
    let live: u64 = stripes.wblocks().map(|(id, _)| stripes.live_rblocks(id)).sum();
    debug_assert!(live * u64::from(RBLOCK_BYTES) <= stripes.geometry().region_bytes());
    live * u64::from(RBLOCK_BYTES)
}

/// The same without what is on its way out: records that were evicted, and can be read until their
/// wblock is struck out.
fn used_bytes(stripes: &Stripes) -> u64 {
    let is_leaving = |state| matches!(state, State::Quarantined | State::Struck);
    let used = stripes.wblocks().filter(|(_, wblock)| !is_leaving(wblock.state()));
    let live: u64 = used.map(|(id, _)| stripes.live_rblocks(id)).sum();
    live * u64::from(RBLOCK_BYTES)
}

/// Bytes in wblocks that are not free and are nobody's any more: superseded records and padding.
fn dead_bytes(stripes: &Stripes) -> u64 {
    let is_taken = |state| {
        matches!(state, State::Open | State::Sealed | State::Used | State::Defrag | State::Emptying)
    };
    let taken = stripes.wblocks().filter(|(_, wblock)| is_taken(wblock.state()));
    let dead: u64 = taken.map(|(_, wblock)| u64::from(wblock.dead_rblocks())).sum();
    dead * u64::from(RBLOCK_BYTES)
}

/// Wblocks opened per second, smoothed: what was `t` seconds ago counts `e^(-t/memory)`.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_s: f64,
    sequence: Sequence,
    at: Instant,
}

impl Rate {
    /// Takes in that the wblocks up to `sequence` had been opened by `now`.
    fn sample(&mut self, sequence: Sequence, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at);
        if elapsed < Duration::from_millis(1) {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let opened = sequence.0.saturating_sub(self.sequence.0) as f64;
        let elapsed_s = elapsed.as_secs_f64();
        let kept = (-elapsed_s / RATE_MEMORY_S).exp();
        self.per_s = self.per_s * kept + opened / elapsed_s * (1.0 - kept);
        (self.sequence, self.at) = (sequence, now);
    }

    /// How long `wblocks` last at this rate; `None`: nothing to speak of is being written.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate, of two numbers that are not negative"
    )]
    fn seconds_for(&self, wblocks: u64) -> Option<u64> {
        (self.per_s >= RATE_MIN_PER_S).then(|| (wblocks as f64 / self.per_s) as u64)
    }
}

/// How long the space lasts, and what holds the rest: part of [`Stats`](crate::Stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Runway {
    /// Wblocks that are free, those kept back for deletes included. Unit: wblocks.
    pub free_wblocks: u64,
    /// How long they last at the rate at which wblocks were opened lately, some 15 seconds back;
    /// what is freed meanwhile comes on top. `None`: not one an hour is opened. Unit: seconds.
    pub seconds_left: Option<u64>,
    /// Records and tombstones that count, padding to 16 bytes included: what only deletes, expiry
    /// and eviction give back. Unit: bytes.
    pub live_bytes: u64,
    /// Superseded, deleted and padded, in wblocks that also hold what is live or are being written:
    /// what defragmentation gives back. Unit: bytes.
    pub dead_bytes: u64,
    /// Wblocks that are empty and wait until the pins that could see them are gone: see
    /// `oldest_pin_ms`. Unit: bytes.
    pub pin_wait_bytes: u64,
    /// Wblocks that are empty and wait until what superseded their records is durable: see
    /// `unflushed_bytes`. Unit: bytes.
    pub barrier_wait_bytes: u64,
    /// Tombstones, whose bytes are among the live ones. Unit: records.
    pub tombstones: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_stop_above_the_limit_and_not_at_it() {
        assert_eq!(judge(900, 1000, 90), 0);
        assert_eq!(judge(901, 1000, 90), 91, "rounded up: above the limit in the message, too");
        assert_eq!(judge(1000, 1000, 99), 100);
        assert_eq!(judge(1000, 1000, 100), 0, "there is nothing above 100");
        assert_eq!(judge(1000, 1000, 0), 0, "never");
        assert_eq!(judge(0, 1000, 1), 0);
        assert_eq!(judge(16 << 40, 16 << 40, 99), 100, "the largest store");
    }

    /// The rate after `ticks` of 100 ms with `opened` wblocks each.
    fn run(rate: &mut Rate, ticks: u32, opened: u64) {
        for _ in 0..ticks {
            rate.sample(Sequence(rate.sequence.0 + opened), rate.at + Duration::from_millis(100));
        }
    }

    #[test]
    fn the_rate_follows_what_is_written_and_forgets() {
        let mut rate = Rate { per_s: 0.0, sequence: Sequence(7), at: Instant::now() };
        assert_eq!(rate.seconds_for(100), None, "nothing was written");
        run(&mut rate, 900, 2);
        let left = rate.seconds_for(1000).expect("20 a second for 90 s");
        assert!((50..=51).contains(&left), "{left}");
        assert_eq!(rate.seconds_for(0), Some(0));
        run(&mut rate, 150, 0);
        let left = rate.seconds_for(1000).expect("15 s of quiet: a third of it");
        assert!((130..=140).contains(&left), "{left}");
        run(&mut rate, 3000, 0);
        assert_eq!(rate.seconds_for(1000), None, "five minutes of quiet");
    }

    #[test]
    fn one_wblock_a_minute_is_writing_all_the_time() {
        let mut rate = Rate { per_s: 0.0, sequence: Sequence(1), at: Instant::now() };
        for _ in 0..10 {
            run(&mut rate, 1, 1);
            run(&mut rate, 599, 0);
            assert!(rate.seconds_for(60).is_some());
        }
    }

    #[test]
    fn samples_in_one_instant_are_one() {
        let mut rate = Rate { per_s: 0.0, sequence: Sequence(1), at: Instant::now() };
        rate.sample(Sequence(9), rate.at);
        assert_eq!((rate.per_s.to_bits(), rate.sequence), (0, Sequence(1)));
    }
}
