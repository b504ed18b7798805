//! What several snapshots tell together: rates over a second, latencies over ten, and how the rates
//! went.

use super::snapshot::{Call, Calls, Snapshot};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// Rates are those of so long. Unit: milliseconds.
const RATE_MS: u64 = 1_000;
/// Latencies are those of so long.
const LATENCY_MS: u64 = 10_000;
/// Rates that are kept: a column each, four times a second.
const KEPT: usize = 512;

/// So many a second.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(crate) struct Rates {
    /// Over so long.
    pub(crate) seconds: f64,
    /// Null where calls are not measured.
    pub(crate) get: Option<f64>,
    pub(crate) put: Option<f64>,
    pub(crate) delete: Option<f64>,
    /// Bytes that were reserved: puts, deletes and moves with their headers and padding.
    pub(crate) appended_bytes: f64,
    /// Those of them that defragmentation moved.
    pub(crate) moved_bytes: f64,
    /// Bytes that the system took for the shadow; null without one.
    pub(crate) written_bytes: Option<f64>,
    pub(crate) syncs: Option<f64>,
    pub(crate) freed_wblocks: f64,
    pub(crate) expired: f64,
    pub(crate) evicted: f64,
    /// How the number of records changes.
    pub(crate) records: f64,
}

/// How fast calls of one kind are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Speed {
    /// Calls that were measured.
    pub(crate) measured: u64,
    /// The time that half of the calls stayed below, up to an eighth more. Unit: nanoseconds.
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p99_9_ns: u64,
    pub(crate) max_ns: u64,
}

/// The snapshots of one run of a host, the newest last.
#[derive(Debug, Default)]
pub(crate) struct History {
    snapshots: VecDeque<Snapshot>,
    rates: VecDeque<Rates>,
}

impl History {
    /// Takes in a later snapshot; one of another run begins anew.
    pub(crate) fn add(&mut self, snapshot: Snapshot) {
        if self.last().is_some_and(|last| !is_later(last, &snapshot)) {
            *self = Self::default();
        }
        let oldest_ms = snapshot.publishing_ms.saturating_sub(LATENCY_MS);
        self.snapshots.push_back(snapshot);
        // One from before that time stays, to count from.
        while self.snapshots.get(1).is_some_and(|second| second.publishing_ms <= oldest_ms) {
            self.snapshots.pop_front();
        }
        if let Some(rates) = self.rates_over(RATE_MS) {
            self.rates.push_back(rates);
        }
        if self.rates.len() > KEPT {
            self.rates.pop_front();
        }
    }

    pub(crate) fn last(&self) -> Option<&Snapshot> {
        self.snapshots.back()
    }

    /// None before the second snapshot.
    pub(crate) fn rates(&self) -> Option<&Rates> {
        self.rates.back()
    }

    /// How `rate` went: the last `columns` of it, the newest last.
    pub(crate) fn course(&self, columns: usize, rate: impl Fn(&Rates) -> Option<f64>) -> Vec<f64> {
        let skipped = self.rates.len().saturating_sub(columns);
        self.rates.iter().skip(skipped).map(|rates| rate(rates).unwrap_or(0.0)).collect()
    }

    /// Latencies of the last ten seconds, as far as they are known.
    pub(crate) fn speed(&self, call: impl Fn(&Calls) -> &Call) -> Option<Speed> {
        let now = call(self.last()?.calls.as_ref()?);
        let before = self.snapshots.front().filter(|_| self.snapshots.len() > 1);
        Speed::between(before.and_then(|before| before.calls.as_ref()).map(call), now)
    }

    fn rates_over(&self, span_ms: u64) -> Option<Rates> {
        let last = self.last()?;
        let from_ms = last.publishing_ms.checked_sub(span_ms);
        // The newest that is old enough, or the oldest there is.
        let mut earlier = self.snapshots.iter().rev().skip(1);
        let old_enough = |one: &&Snapshot| from_ms.is_some_and(|from| one.publishing_ms <= from);
        let first = earlier.find(old_enough).or_else(|| self.snapshots.front())?;
        Rates::between(first, last)
    }
}

/// `after` is of the same run of the same host as `before`, and later.
fn is_later(before: &Snapshot, after: &Snapshot) -> bool {
    (before.pid, before.pid_started) == (after.pid, after.pid_started)
        && before.number < after.number
        && before.publishing_ms < after.publishing_ms
}

impl Rates {
    #[expect(clippy::cast_precision_loss, reason = "rates")]
    fn between(before: &Snapshot, after: &Snapshot) -> Option<Self> {
        let millis = after.publishing_ms.checked_sub(before.publishing_ms).filter(|ms| *ms > 0)?;
        let seconds = millis as f64 / 1_000.0;
        // What is counted while others count may seem to shrink.
        let rate = |from: u64, to: u64| to.saturating_sub(from) as f64 / seconds;
        let calls = |call: fn(&Calls) -> &Call| {
            let (before, after) = (before.calls.as_ref()?, after.calls.as_ref()?);
            Some(rate(call(before).count, call(after).count))
        };
        let io = before.stats.io.zip(after.stats.io);
        let (was, is) = (&before.stats.reclaim, &after.stats.reclaim);
        let records = after.stats.records as f64 - before.stats.records as f64;
        Some(Self {
            seconds,
            get: calls(|calls| &calls.get),
            put: calls(|calls| &calls.put),
            delete: calls(|calls| &calls.delete),
            appended_bytes: rate(before.appended_bytes, after.appended_bytes),
            moved_bytes: rate(was.moved_bytes, is.moved_bytes),
            written_bytes: io.map(|(was, is)| rate(was.bytes_written, is.bytes_written)),
            syncs: io.map(|(was, is)| rate(was.syncs, is.syncs)),
            freed_wblocks: rate(was.freed_wblocks, is.freed_wblocks),
            expired: rate(was.expired, is.expired),
            evicted: rate(was.evicted, is.evicted),
            records: records / seconds,
        })
    }
}

impl Speed {
    /// Of the calls after `before`, or of all; `None`: there were none.
    pub(crate) fn between(before: Option<&Call>, after: &Call) -> Option<Self> {
        let earlier: BTreeMap<u64, u64> =
            before.map(|call| call.latency_ns.iter().copied().collect()).unwrap_or_default();
        let since = |(nanos, count): &(u64, u64)| {
            let count = count.saturating_sub(earlier.get(nanos).copied().unwrap_or(0));
            (count > 0).then_some((*nanos, count))
        };
        let buckets: Vec<(u64, u64)> = after.latency_ns.iter().filter_map(since).collect();
        let measured = buckets.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        let longest = buckets.last()?.0;
        let below = |per_mille: u64| {
            let rank = u128::from(measured) * u128::from(per_mille);
            let mut passed = 0_u128;
            let found = buckets.iter().find(|(_, count)| {
                passed += u128::from(*count) * 1_000;
                passed >= rank
            });
            found.map_or(longest, |(nanos, _)| *nanos)
        };
        Some(Self {
            measured,
            p50_ns: below(500),
            p99_ns: below(990),
            p99_9_ns: below(999),
            max_ns: longest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(latency_ns: &[(u64, u64)]) -> Call {
        Call { count: 0, latency_ns: latency_ns.to_vec() }
    }

    #[test]
    fn percentiles_are_those_of_the_calls_in_between() {
        let before = call(&[(100, 1_000_000), (200, 5)]);
        let after = call(&[(100, 1_000_900), (200, 100), (3_000, 4), (9_000, 1)]);
        let speed = Speed::between(Some(&before), &after);
        let expected =
            Speed { measured: 1_000, p50_ns: 100, p99_ns: 200, p99_9_ns: 3_000, max_ns: 9_000 };
        assert_eq!(speed, Some(expected));
        assert_eq!(Speed::between(Some(&after), &after), None);
        assert_eq!(Speed::between(None, &call(&[])), None);
        let one = Speed::between(None, &call(&[(7, 1)])).unwrap();
        assert_eq!((one.p50_ns, one.max_ns), (7, 7));
        let many = Speed::between(None, &call(&[(7, u64::MAX), (8, u64::MAX)])).unwrap();
        assert_eq!((many.measured, many.p50_ns), (u64::MAX, 7), "a file may claim anything");
    }
}
