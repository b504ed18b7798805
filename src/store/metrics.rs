//! The figures of a store for the `metrics` facade, and the latencies of some of its calls.
//!
//! What a store counts anyway is handed over when the host asks, at each scrape for instance: it
//! costs the callers of the store nothing. Latencies are measured of one call in so many: `sample`
//! says at what price.
#![forbid(unsafe_code)]

use super::sample::{self, Call};
use super::{Health, Stats, Store};
use metrics::{Counter, Histogram, Unit, counter, gauge, histogram};
use std::sync::{Once, OnceLock};
use std::time::Duration;

/// A figure that [`Store::publish_metrics`] hands over. Names, units and meanings are stable.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// A sentence for an operator.
    pub help: &'static str,
    /// The field of [`Stats`] that it is, as a path; empty: a figure of its own.
    pub field: &'static str,
    /// It only grows while the store is open. Else it goes up and down.
    pub is_counter: bool,
    /// None: there is none just now.
    read: fn(&Stats) -> Option<f64>,
}

/// Builds the table from lines of kind, name, unit, path and help.
macro_rules! table {
    ($($kind:ident $name:literal $unit:ident $($path:ident).+: $help:literal;)*) => {
        &[$(Metric {
            name: $name,
            unit: Unit::$unit,
            help: $help,
            field: table!(@path $($path).+),
            is_counter: table!(@is $kind),
            read: |stats| table!(@read stats, $($path).+),
        },)*]
    };
    (@is counter) => { true };
    (@is gauge) => { false };
    (@path io.$field:ident) => { concat!("io.", stringify!($field)) };
    (@path $first:ident) => { stringify!($first) };
    (@path $first:ident.$second:ident) => {
        concat!(stringify!($first), ".", stringify!($second))
    };
    (@read $stats:ident, io.$field:ident) => { $stats.io.as_ref().map(|io| io.$field.figure()) };
    (@read $stats:ident, runway.seconds_left) => { $stats.runway.seconds_left.map(Figure::figure) };
    (@read $stats:ident, $($path:ident).+) => { Some($stats.$($path).+.figure()) };
}

/// What a gauge takes.
trait Figure {
    fn figure(self) -> f64;
}

impl Figure for u64 {
    #[expect(clippy::cast_precision_loss, reason = "gauges are floats; 53 bits will do")]
    fn figure(self) -> f64 {
        self as f64
    }
}

impl Figure for u32 {
    fn figure(self) -> f64 {
        f64::from(self)
    }
}

impl Figure for bool {
    fn figure(self) -> f64 {
        f64::from(u8::from(self))
    }
}

/// Every figure that [`Store::publish_metrics`] hands over, those of [`Stats`] in its order.
pub const METRICS: &[Metric] = table! {
    gauge "brindle_records" Count records: "Live records, expired ones included until swept.";
    gauge "brindle_tombstones" Count tombstones: "Tombstones.";
    gauge "brindle_live_bytes" Bytes live_bytes: "Records and tombstones that count, padded.";
    gauge "brindle_data_size_bytes" Bytes data_size_bytes: "The region: room for records.";
    gauge "brindle_index_bytes" Bytes index_bytes: "The index, spare segments included.";
    gauge "brindle_ghost_bytes" Bytes ghost_bytes: "What a cache remembers of evicted keys.";
    gauge "brindle_index_segments" Count index_segments: "Segments of the index, 16 KiB each.";
    counter "brindle_index_splits_total" Count index_splits: "Segments split because full.";
    counter "brindle_index_rebuilds_total" Count index_rebuilds: "Segments rebuilt in place.";
    gauge "brindle_wblocks_free" Count wblocks.free: "Wblocks never opened, or given back.";
    gauge "brindle_wblocks_open" Count wblocks.open: "Wblocks being filled.";
    gauge "brindle_wblocks_sealed" Count wblocks.sealed: "Wblocks full and not yet on the shadow.";
    gauge "brindle_wblocks_used" Count wblocks.used: "Wblocks full, and on the shadow if any.";
    gauge "brindle_wblocks_defrag" Count wblocks.defrag: "Wblocks chosen to be emptied.";
    gauge "brindle_wblocks_emptying" Count wblocks.emptying: "Wblocks being emptied.";
    gauge "brindle_wblocks_quarantined" Count wblocks.quarantined: "Wblocks empty and waiting.";
    gauge "brindle_wblocks_damaged" Count wblocks.damaged: "Wblocks out of use for this run.";
    gauge "brindle_wblocks_bad" Count wblocks.bad: "Wblocks whose places on the shadow are bad.";
    gauge "brindle_stripes" Count stripes: "Stripes.";
    gauge "brindle_wblock_bytes" Bytes wblock_bytes: "Bytes in one wblock.";
    gauge "brindle_oldest_pin_milliseconds" Milliseconds oldest_pin_ms: "Age of the oldest pin.";
    gauge "brindle_unflushed_bytes" Bytes unflushed_bytes: "Reserved and not known to be durable.";
    counter "brindle_reclaim_emptied_wblocks_total" Count reclaim.emptied_wblocks:
        "Wblocks out of which the live records were moved.";
    counter "brindle_reclaim_freed_wblocks_total" Count reclaim.freed_wblocks:
        "Wblocks given back.";
    counter "brindle_reclaim_moved_records_total" Count reclaim.moved_records:
        "Records and tombstones moved by defragmentation.";
    counter "brindle_reclaim_moved_bytes_total" Bytes reclaim.moved_bytes: "Their bytes.";
    counter "brindle_expired_total" Count reclaim.expired:
        "Expired records whose bytes were given back.";
    counter "brindle_evicted_total" Count reclaim.evicted: "Records evicted.";
    counter "brindle_tombstones_dropped_total" Count reclaim.tombstones_dropped:
        "Tombstones dropped, because nothing older than them is left.";
    gauge "brindle_tombstones_pinned" Count reclaim.tombstones_pinned:
        "Tombstones that an older copy of their key holds.";
    counter "brindle_tomb_raids_total" Count reclaim.raids: "Rounds of the tomb raider.";
    gauge "brindle_wblocks_waiting_for_pins" Count reclaim.waiting_for_pins:
        "Wblocks that only wait for pins to end.";
    gauge "brindle_wblocks_waiting_for_barrier" Count reclaim.waiting_for_barrier:
        "Wblocks that wait for a flush.";
    gauge "brindle_reclaim_is_pressed" Count reclaim.is_pressed:
        "1 while free wblocks run short and defragmentation does not pause.";
    gauge "brindle_stop_writes" Count stop_writes: "1 while puts are refused for want of space.";
    gauge "brindle_runway_free_wblocks" Count runway.free_wblocks:
        "Free wblocks, those kept back for deletes included.";
    gauge "brindle_runway_seconds" Seconds runway.seconds_left:
        "How long they last at the rate of late; absent while none are used up.";
    gauge "brindle_runway_live_bytes" Bytes runway.live_bytes: "Held by live records.";
    gauge "brindle_runway_dead_bytes" Bytes runway.dead_bytes:
        "Held by what defragmentation gives back.";
    gauge "brindle_runway_pin_wait_bytes" Bytes runway.pin_wait_bytes: "Held by pins.";
    gauge "brindle_runway_barrier_wait_bytes" Bytes runway.barrier_wait_bytes:
        "Held until what superseded it is durable.";
    gauge "brindle_runway_tombstones" Count runway.tombstones: "Tombstones in the live bytes.";
    counter "brindle_io_short_writes_total" Count io.short_writes: "Short writes, resumed.";
    counter "brindle_io_retries_total" Count io.retries: "Operations retried after EINTR, EAGAIN.";
    counter "brindle_io_written_bytes_total" Bytes io.bytes_written: "Bytes that the system took.";
    counter "brindle_io_read_bytes_total" Bytes io.bytes_read: "Bytes that the system gave.";
    counter "brindle_io_syncs_total" Count io.syncs: "Syncs that succeeded.";
    counter "brindle_io_write_errors_total" Count io.write_errors: "Writes and syncs that failed.";
    counter "brindle_io_heals_total" Count io.heals: "Times that what was doubted was rewritten.";
    gauge "brindle_load_records" Count load.records: "Records that the cold start found.";
};

/// A figure of [`Health`], beside the table.
const HEALTH: &str = "brindle_health";
/// Sampled: calls of each kind, in the order of [`Call`], and their durations.
const CALLS: [(&str, &str); sample::CALLS] = [
    ("brindle_gets_total", "brindle_get_seconds"),
    ("brindle_puts_total", "brindle_put_seconds"),
    ("brindle_deletes_total", "brindle_delete_seconds"),
];

fn describe() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for metric in METRICS {
            if metric.is_counter {
                metrics::describe_counter!(metric.name, metric.unit, metric.help);
            } else {
                metrics::describe_gauge!(metric.name, metric.unit, metric.help);
            }
        }
        let health = "0 ok, 1 data was lost, 2 the shadow takes no writes, 3 reclaim ended";
        metrics::describe_gauge!(HEALTH, Unit::Count, health);
        for (calls, seconds) in CALLS {
            metrics::describe_counter!(calls, Unit::Count, "Calls, estimated from a sample.");
            metrics::describe_histogram!(seconds, Unit::Seconds, "Duration of a sampled call.");
        }
    });
}

impl Store {
    /// Hands every figure of [`stats`](Self::stats) to the recorder of the `metrics` facade, under
    /// the names of [`METRICS`], with the label `store`.
    ///
    /// Call it when the figures are asked for, or every few seconds. Cost: that of `stats`, and a
    /// look-up of each figure; nothing without a recorder.
    ///
    /// ```
    /// # use brindle::{Config, Store};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
    /// let store = Store::open(Config::new().data_size(64 << 20))?;
    /// store.put("user:1", "Ada")?;
    /// store.publish_metrics("users");
    /// assert!(recorder.render().contains("brindle_records{store=\"users\"} 1"));
    /// # Ok(())
    /// # }
    /// ```
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter's figure was an integer"
    )]
    pub fn publish_metrics(&self, store: &str) {
        describe();
        let stats = self.stats();
        let name = || store.to_owned();
        for metric in METRICS {
            let Some(figure) = (metric.read)(&stats) else { continue };
            if metric.is_counter {
                counter!(metric.name, "store" => name()).absolute(figure as u64);
            } else {
                gauge!(metric.name, "store" => name()).set(figure);
            }
        }
        let health = match self.health() {
            Health::Ok => 0.0,
            Health::DataLoss { .. } => 1.0,
            Health::ShadowFailed { .. } => 2.0,
            Health::ReclaimFailed { .. } => 3.0,
        };
        gauge!(HEALTH, "store" => name()).set(health);
    }
}

/// Where measured calls go, once there is a recorder to go to.
#[derive(Debug, Default)]
pub(super) struct Sinks(OnceLock<[Sink; CALLS.len()]>);

struct Sink {
    calls: Counter,
    seconds: Histogram,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Sink").finish_non_exhaustive()
    }
}

impl Sinks {
    pub(super) fn start(&self, store: &str) {
        describe();
        self.0.get_or_init(|| {
            CALLS.map(|(calls, seconds)| {
                let name = || store.to_owned();
                Sink {
                    calls: counter!(calls, "store" => name()),
                    seconds: histogram!(seconds, "store" => name()),
                }
            })
        });
    }

    /// One call, which stands for `one_of`.
    pub(super) fn record(&self, call: Call, elapsed: Duration, one_of: u32) {
        let Some(sink) = self.0.get().and_then(|sinks| sinks.get(call as usize)) else { return };
        sink.seconds.record(elapsed.as_secs_f64());
        sink.calls.increment(u64::from(one_of));
    }
}
