//! Latency in an open loop: operations begin when they are due, not when the last one has ended,
//! and their latency counts from then on.
//!
//! Half gets, half puts, uniform, on an engine whose spare room was used up before, so that flushes
//! and defragmentation go on. Many short runs, each with one of an empty store beside it: the host
//! stops such machines for milliseconds at a time, and only the least over many runs of each
//! percentile says something of the engine. What the empty store shows is the machine's own.

use crate::engine::{NULL, Setup, Target, forget, open};
use crate::machine::pin;
use crate::work::{Maker, Plan, Step, Work, matching};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

/// Percentiles of the tables.
pub const PERCENTILES: [f64; 6] = [50.0, 90.0, 99.0, 99.9, 99.99, 100.0];
/// Points of a curve for each power of ten of what is slower.
const POINTS_A_DECADE: u32 = 8;
const DECADES: u32 = 5;

/// What is measured.
pub struct Measure {
    pub setup: Setup,
    pub engines: Vec<String>,
    pub threads: usize,
    /// Operations a second, of all threads.
    pub rate: u64,
    /// Length of one run.
    pub length: Duration,
    pub runs: usize,
}

/// One engine, gets or puts.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the engine.
    pub engine: String,
    /// `get` or `put`.
    pub operation: &'static str,
    /// Records in it.
    pub records: u64,
    /// Operations a second, of all threads.
    pub rate: u64,
    /// The least over all runs of each of [`PERCENTILES`]. Unit: microseconds.
    pub least_us: [f64; 6],
    /// The median over all runs.
    pub median_us: [f64; 6],
    /// Of the empty store's runs in between: the least.
    pub null_us: [f64; 6],
    /// Percentile and the least latency over all runs, in microseconds: for the plot.
    pub curve: Vec<(f64, f64)>,
}

type Histograms = [Histogram<u64>; 2];

impl Measure {
    /// Measures all engines, one after the other.
    pub fn run(&self, mut tell: impl FnMut(&Row)) -> Vec<Row> {
        let null: Arc<dyn Target> = open(NULL, &self.setup).into();
        let mut rows = Vec::new();
        for name in &self.engines {
            forget(name, &self.setup.dir);
            let engine: Arc<dyn Target> = open(name, &self.setup).into();
            let mut maker = Maker::new(Self::half(), 0..self.setup.records, self.value(), 3);
            self.prepare(&engine);
            let (mut own, mut beside) = (Vec::new(), Vec::new());
            for _ in 0..self.runs {
                let plans = self.plans(&mut maker);
                beside.push(self.once(&null, &plans));
                own.push(self.once(&engine, &plans));
            }
            drop(engine);
            forget(name, &self.setup.dir);
            for (at, operation) in ["get", "put"].into_iter().enumerate() {
                let row = self.row(name, operation, at, [&own, &beside]);
                tell(&row);
                rows.push(row);
            }
        }
        rows
    }

    fn half() -> Work {
        matching(&["half-uniform".into()])[0]
    }

    fn value(&self) -> Arc<[u8]> {
        (0..=u8::MAX).cycle().take(self.setup.value_bytes).collect()
    }

    /// Fills the engine, and overwrites as much as it has room for.
    fn prepare(&self, engine: &Arc<dyn Target>) {
        let value = self.value();
        for plan in crate::work::load(&(0..self.setup.records), 1, &value) {
            engine.run(&plan);
        }
        let mut maker = Maker::new(Self::half(), 0..self.setup.records, value, 4);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some more or less do not matter"
        )]
        let operations = (self.setup.records as f64 * self.setup.room * 2.0) as usize;
        for _ in 0..operations.div_ceil(200_000) {
            engine.run(&maker.next(200_000));
        }
        engine.settle();
    }

    /// The plans of one run.
    fn plans(&self, maker: &mut Maker) -> Vec<Plan> {
        let operations = self.rate * u64::try_from(self.length.as_millis()).unwrap_or(0) / 1000;
        let share = usize::try_from(operations).unwrap_or(0) / self.threads;
        (0..self.threads).map(|_| maker.next(share)).collect()
    }

    fn once(&self, engine: &Arc<dyn Target>, plans: &[Plan]) -> Histograms {
        let start = Barrier::new(plans.len());
        let interval = 1_000_000_000 * plans.len() as u64 / self.rate.max(1);
        let (start, engine) = (&start, &**engine);
        let drive = |(number, plan)| {
            move || {
                pin(number);
                start.wait();
                drive(engine, plan, interval)
            }
        };
        let all = thread::scope(|scope| {
            let jobs = plans.iter().enumerate().map(drive);
            let threads: Vec<_> = jobs.map(|job| scope.spawn(job)).collect();
            let done = threads.into_iter().map(thread::ScopedJoinHandle::join);
            done.collect::<Vec<_>>()
        });
        let mut sum = [histogram(), histogram()];
        for one in all {
            for (sum, one) in sum.iter_mut().zip(one.expect("the thread ended well")) {
                sum.add(one).expect("they have the same bounds");
            }
        }
        engine.settle();
        sum
    }

    fn row(
        &self,
        engine: &str,
        operation: &'static str,
        at: usize,
        [own, beside]: [&[Histograms]; 2],
    ) -> Row {
        let runs = |runs: &[Histograms], percentile: f64| -> Vec<f64> {
            let value = |run: &Histograms| microseconds(run[at].value_at_percentile(percentile));
            runs.iter().map(value).collect()
        };
        let least = |of: &[Histograms], percentile| {
            runs(of, percentile).into_iter().fold(f64::INFINITY, f64::min)
        };
        let points = (0..=POINTS_A_DECADE * DECADES).map(|point| {
            100.0 - 100.0 * 10_f64.powf(-f64::from(point) / f64::from(POINTS_A_DECADE))
        });
        Row {
            engine: engine.into(),
            operation,
            records: self.setup.records,
            rate: self.rate,
            least_us: PERCENTILES.map(|percentile| least(own, percentile)),
            median_us: PERCENTILES.map(|one| crate::stats::median(&runs(own, one))),
            null_us: PERCENTILES.map(|percentile| least(beside, percentile)),
            curve: points.map(|percentile| (percentile, least(own, percentile))).collect(),
        }
    }
}

/// Does the steps of `plan`, one each `interval` nanoseconds; latencies of gets and of puts.
fn drive(engine: &dyn Target, plan: &Plan, interval: u64) -> Histograms {
    let [mut gets, mut puts] = [histogram(), histogram()];
    let start = Instant::now();
    let now = || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut due = 0;
    for (key, step) in plan.keys.iter().zip(&plan.steps) {
        while now() < due {
            std::hint::spin_loop();
        }
        let latencies = if *step == Step::Get {
            black_box(engine.get(key));
            &mut gets
        } else {
            engine.put(key, &plan.value);
            &mut puts
        };
        latencies.saturating_record(now().saturating_sub(due).max(1));
        due += interval;
    }
    [gets, puts]
}

/// From 1 ns to 10 min, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("the bounds are good")
}

/// Nanoseconds as microseconds.
#[expect(clippy::cast_precision_loss, reason = "latencies to three digits")]
pub fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}
