//! Measures one call in so many, for whoever listens: the `metrics` facade, and `publish_top`.
//!
//! A call that is not measured pays for a count in its thread, below 1 ns; a measured one for two
//! readings of the clock and an entry in each histogram, some 150 ns. Without
//! [`Store::sample_latencies`] each call pays for one load.
#![forbid(unsafe_code)]

use super::Store;
#[cfg(feature = "metrics")]
use super::metrics::Sinks;
#[cfg(feature = "top")]
use super::top::Calls;
use crate::sync::{AtomicU32, Relaxed};
use std::cell::Cell;
use std::time::Instant;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Get = 0,
    Put = 1,
    Delete = 2,
}

/// Kinds of calls.
pub(super) const CALLS: usize = 3;

impl Store {
    /// From now on measures one `get`, one `put` and one `delete` in `one_of` of each thread, and
    /// estimates how many there are. 0 ends it.
    ///
    /// With the feature `metrics` they go to the recorder installed by now, as the histograms
    /// `brindle_get_seconds`, `brindle_put_seconds` and `brindle_delete_seconds` and the counters
    /// `brindle_gets_total`, `brindle_puts_total` and `brindle_deletes_total`; the label `store` is
    /// that of the first call. With the feature `top`, `publish_top` shows them. Their forms with
    /// options count as well; `pin`, `get_many`, `put_many` and `update` do not.
    ///
    /// Cost: a measured call takes some 150 ns longer, so at 1,000 the mean one does not notice.
    pub fn sample_latencies(&self, store: &str, one_of: u32) {
        self.inner.sampler.start(store, one_of);
    }
}

/// Chooses the calls to measure.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// 0: none.
    one_of: AtomicU32,
    #[cfg(feature = "metrics")]
    sinks: Sinks,
    #[cfg(feature = "top")]
    calls: [Calls; CALLS],
}

thread_local! {
    /// Calls of this thread until the next one is measured, for each kind.
    static LEFT: [Cell<u32>; CALLS] = const { [Cell::new(0), Cell::new(0), Cell::new(0)] };
}

impl Sampler {
    fn start(&self, store: &str, one_of: u32) {
        #[cfg(feature = "metrics")]
        self.sinks.start(store);
        #[cfg(not(feature = "metrics"))]
        let _ = store;
        // ORDERING: Relaxed. That it is heeded a moment later harms nobody; `sinks` has its own.
        self.one_of.store(one_of, Relaxed);
    }

    /// One call in so many is measured; 0: none.
    #[cfg(feature = "top")]
    pub(super) fn one_of(&self) -> u32 {
        // ORDERING: Relaxed, as in `start`.
        self.one_of.load(Relaxed)
    }

    /// What was measured, by kind.
    #[cfg(feature = "top")]
    pub(super) fn calls(&self) -> &[Calls; CALLS] {
        &self.calls
    }

    /// Measures what is done until the result drops, if it is this call's turn.
    #[inline]
    pub(super) fn measure(&self, call: Call) -> Option<Sample<'_>> {
        // ORDERING: Relaxed, as in `start`.
        let one_of = self.one_of.load(Relaxed);
        if one_of == 0 {
            return None;
        }
        LEFT.with(|left| {
            let left = left.get(call as usize)?;
            let now = left.get();
            left.set(if now == 0 { one_of - 1 } else { now - 1 });
            (now == 0).then(|| self.sample(call, one_of))
        })
    }

    #[cold]
    fn sample(&self, call: Call, one_of: u32) -> Sample<'_> {
        Sample { sampler: self, call, one_of, start: Instant::now() }
    }
}

/// One measured call.
pub(super) struct Sample<'s> {
    sampler: &'s Sampler,
    call: Call,
    one_of: u32,
    start: Instant,
}

impl Drop for Sample<'_> {
    fn drop(&mut self) {
        let elapsed = self.start.elapsed();
        #[cfg(feature = "metrics")]
        self.sampler.sinks.record(self.call, elapsed, self.one_of);
        #[cfg(feature = "top")]
        if let Some(calls) = self.sampler.calls.get(self.call as usize) {
            calls.record(elapsed, self.one_of);
        }
    }
}
