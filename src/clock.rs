//! Time: wall-clock microseconds that never step within a run.
//!
//! A store reads the wall clock once, at open, never below the shadow's clock floor, and from then
//! on follows the boot-time clock. So a step of the wall clock neither kills a record nor revives
//! one, and versions made from this clock do not run backwards; suspended time counts as passed.
//!
//! Cost here: the precise reading 25 to 56 ns, the coarse one 7 ns, at a resolution of 1 to 4 ms
//! and always behind the precise one. Puts and the expiry check of a get take the coarse one, and
//! a put with a TTL the precise one: an expiry is never early, and late by one tick at most.

use crate::sync::{AtomicU64, Relaxed};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where a store gets the time. Microseconds since 1970.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Cheap, and behind [`precise_us`](Self::precise_us) by a few milliseconds at most.
    fn coarse_us(&self) -> u64;
    /// The time now.
    fn precise_us(&self) -> u64;
    /// Moves the clock on to `floor_us` if it is behind it. Called at open, before the clock is
    /// told to anybody.
    fn not_below(&self, floor_us: u64);

    /// Called now and then by a background thread, to make up for time spent suspended.
    fn refresh(&self) {}
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    /// Wall time less boot time, at open.
    wall_less_boot_us: AtomicU64,
    /// Wall time less monotonic time, which stands still while the machine is suspended.
    wall_less_monotonic_us: AtomicU64,
}

impl SystemClock {
    /// Starts at the wall clock, or at `floor_us` if that is later.
    pub fn new(floor_us: u64) -> Self {
        let wall_less_boot_us = wall_us().max(floor_us).wrapping_sub(read_us(libc::CLOCK_BOOTTIME));
        let wall_less_boot_us = AtomicU64::new(wall_less_boot_us);
        let clock = Self { wall_less_boot_us, wall_less_monotonic_us: AtomicU64::new(0) };
        clock.refresh();
        clock
    }
}

impl Clock for SystemClock {
    #[inline]
    fn coarse_us(&self) -> u64 {
        // ORDERING: Relaxed. An offset, changed only after the machine was suspended.
        let offset = self.wall_less_monotonic_us.load(Relaxed);
        offset.wrapping_add(read_us(libc::CLOCK_MONOTONIC_COARSE))
    }

    fn precise_us(&self) -> u64 {
        // ORDERING: Relaxed. An offset, changed only during open.
        let offset = self.wall_less_boot_us.load(Relaxed);
        offset.wrapping_add(read_us(libc::CLOCK_BOOTTIME))
    }

    fn not_below(&self, floor_us: u64) {
        let behind = floor_us.saturating_sub(self.precise_us());
        // ORDERING: Relaxed. The opening thread alone has the clock.
        self.wall_less_boot_us.fetch_add(behind, Relaxed);
        self.refresh();
    }

    fn refresh(&self) {
        let suspended = read_us(libc::CLOCK_BOOTTIME).wrapping_sub(read_us(libc::CLOCK_MONOTONIC));
        // ORDERING: Relaxed, as in `precise_us`.
        let offset = self.wall_less_boot_us.load(Relaxed).wrapping_add(suspended);
        // ORDERING: Relaxed, as above.
        let before = self.wall_less_monotonic_us.load(Relaxed);
        // The two readings are a moment apart: only a real suspension moves the offset.
        if offset.wrapping_sub(before) > 1_000 {
            // ORDERING: Relaxed, as above.
            self.wall_less_monotonic_us.store(offset, Relaxed);
        }
    }
}

/// The system's wall clock. Unit: microseconds since 1970; 0 before that.
pub fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[inline]
fn read_us(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid, writable timespec.
    let done = unsafe { libc::clock_gettime(clock, &raw mut now) };
    assert_eq!(done, 0, "the clocks used exist since Linux 2.6.39");
    // Neither is negative: these clocks start at 0, or are long past 1970.
    now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1_000
}

/// A clock that tests turn, forwards and backwards.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    /// Stands at `micros` since 1970.
    pub fn new(micros: u64) -> Self {
        Self(AtomicU64::new(micros))
    }

    /// Turns it to `micros` since 1970.
    pub fn set(&self, micros: u64) {
        // ORDERING: Relaxed. Tests order their steps by other means.
        self.0.store(micros, Relaxed);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for ManualClock {
    fn coarse_us(&self) -> u64 {
        // ORDERING: Relaxed, as above.
        self.0.load(Relaxed)
    }

    fn precise_us(&self) -> u64 {
        self.coarse_us()
    }

    fn not_below(&self, floor_us: u64) {
        // ORDERING: Relaxed, as above.
        self.0.fetch_max(floor_us, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_is_never_ahead_of_precise() {
        let clock = SystemClock::new(0);
        for _ in 0..1_000 {
            let coarse = clock.coarse_us();
            let precise = clock.precise_us();
            assert!(coarse <= precise + 1_000, "{coarse} > {precise}");
            assert!(precise - coarse.min(precise) < 1_000_000, "more than a second behind");
        }
    }

    #[test]
    fn starts_at_the_floor_when_the_wall_clock_is_behind_it() {
        let floor = wall_us() + 3_600_000_000;
        assert!(SystemClock::new(floor).precise_us() >= floor);
        let clock = SystemClock::new(0);
        clock.not_below(floor);
        assert!(clock.precise_us() >= floor && clock.coarse_us() + 1_000_000 >= floor);
        clock.not_below(0);
        assert!(clock.precise_us() < floor + 60_000_000, "never moved back, nor on again");
    }
}
