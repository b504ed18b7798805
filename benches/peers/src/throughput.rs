//! Throughput: Brindle and its peers on the same work in one run, slice by slice in turns.
//!
//! Every peer's slice has one of Brindle's right before it, with the same keys: the ratio of these
//! neighbours sees the same machine. What is told is the median of the ratios, and of the rates.

use crate::crew::{Crew, Slice};
use crate::engine::{Setup, Target, forget, open};
use crate::machine;
use crate::stats::{median, quartiles};
use crate::work::{Kind, Maker, Pattern, Plan, Work, load};
use serde::Serialize;
use std::sync::Arc;

/// What is measured.
pub struct Measure<'a> {
    pub setup: Setup,
    pub subject: String,
    pub peers: Vec<String>,
    pub works: Vec<Work>,
    pub threads: usize,
    /// Slices of each peer.
    pub rounds: usize,
    /// Timed operations of a thread in a slice, or a quarter in a batch.
    pub operations: usize,
    /// Runs of what starts empty.
    pub load_runs: usize,
    /// Peers that are in memory at the same time; `None`: as many as fit.
    pub together: Option<usize>,
    pub crew: &'a Crew,
}

/// One engine on one work.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the work.
    pub work: &'static str,
    /// Name of the engine.
    pub engine: String,
    /// Records in it.
    pub records: u64,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Load threads.
    pub threads: usize,
    /// Million operations a second, of all threads: median slice, and quartiles.
    pub mops: f64,
    /// See `mops`.
    pub mops_quartiles: [f64; 2],
    /// Brindle's rate over this engine's: the median over neighbouring slices.
    pub ratio: Option<f64>,
    /// Quartiles of these ratios.
    pub ratio_quartiles: Option<[f64; 2]>,
    /// CPU time of others than the load threads. Unit: nanoseconds an operation.
    pub background_ns: f64,
    /// Keys found, of the gets of the last slice.
    pub found: u64,
}

/// Slices of one engine, and of the subject right before each.
#[derive(Default)]
struct Series {
    slices: Vec<Slice>,
    before: Vec<f64>,
}

type Engines = Vec<(String, Arc<dyn Target>)>;

impl Measure<'_> {
    /// Measures all works; `tell` gets each as it is done.
    pub fn run(&self, mut tell: impl FnMut(&[Row])) -> Vec<Row> {
        let (empty, filled): (Vec<Work>, Vec<Work>) =
            self.works.iter().partition(|work| work.is_from_empty());
        let mut rows = Vec::new();
        let groups: Vec<&[String]> = self.peers.chunks(self.together().max(1)).collect();
        if !filled.is_empty() {
            let mut all: Vec<Vec<(String, Series)>> = filled.iter().map(|_| Vec::new()).collect();
            for group in groups {
                for (series, more) in all.iter_mut().zip(self.filled(&filled, group)) {
                    merge(series, more);
                }
            }
            for (work, series) in filled.iter().zip(all) {
                let more = self.rows(work, &series);
                tell(&more);
                rows.extend(more);
            }
        }
        for work in &empty {
            let more = self.rows(work, &self.loads(work));
            tell(&more);
            rows.extend(more);
        }
        rows
    }

    /// Peers that fit into memory beside the subject.
    fn together(&self) -> usize {
        let record = self.setup.value_bytes as u64 + 216;
        let peer = (self.setup.records * record).max(1);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate"
        )]
        let subject = (peer as f64 * self.setup.room) as u64;
        let fit = (machine::available() / 10 * 8).saturating_sub(subject) / peer;
        self.together.unwrap_or(usize::try_from(fit).unwrap_or(1)).max(1)
    }

    /// All works, one after the other, on the subject and one group of peers.
    fn filled(&self, works: &[Work], peers: &[String]) -> Vec<Vec<(String, Series)>> {
        let planned = (self.rounds + 1) * self.threads * self.operations;
        let inserts: u64 = works.iter().map(|work| work.inserts(planned as u64)).sum();
        let setup = Setup { records: self.setup.records + inserts, ..self.setup.clone() };
        let mut engines: Engines = Vec::new();
        for name in [&self.subject].into_iter().chain(peers) {
            forget(name, &setup.dir);
            let engine: Arc<dyn Target> = open(name, &setup).into();
            let plans = arcs(load(&(0..self.setup.records), self.threads, &self.value()));
            self.crew.run(&engine, &plans);
            engines.push((name.clone(), engine));
        }
        let mut live = 0..self.setup.records;
        let mut all = Vec::new();
        for work in works {
            if work.kind == Kind::Sustained {
                for (_, engine) in &engines {
                    self.use_up_room(engine);
                }
            }
            let mut maker = Maker::new(*work, live.clone(), self.value(), 1);
            all.push(self.rounds(*work, &mut maker, &engines));
            live = maker.live();
        }
        for (name, engine) in engines {
            drop(engine);
            forget(&name, &setup.dir);
        }
        all
    }

    /// Slices of all `engines` in turns.
    fn rounds(&self, work: Work, maker: &mut Maker, engines: &Engines) -> Vec<(String, Series)> {
        let mut series: Vec<(String, Series)> =
            engines.iter().map(|(name, _)| (name.clone(), Series::default())).collect();
        let Some((subject, peers)) = engines.split_first() else { return series };
        for round in 0..=self.rounds {
            let plans: Vec<Plan> = (0..self.threads).map(|_| maker.next(self.operations)).collect();
            let plans = arcs(plans);
            let mut before = self.crew.run(&subject.1, &plans);
            for (at, (_, engine)) in peers.iter().enumerate() {
                if at > 0 && !work.changes_records() {
                    before = self.crew.run(&subject.1, &plans);
                }
                let slice = self.crew.run(engine, &plans);
                if slice.found != before.found && !work.changes_records() {
                    let found = (slice.found, before.found);
                    eprintln!("{}: {} found {found:?} keys", work.name, peers[at].0);
                }
                if round > 0 {
                    series[0].1.slices.push(before);
                    series[at + 1].1.slices.push(slice);
                    series[at + 1].1.before.push(before.rate());
                }
            }
            if round > 0 && peers.is_empty() {
                series[0].1.slices.push(before);
            }
        }
        series
    }

    /// Runs of a work that starts empty, each engine in turns, alone in memory.
    fn loads(&self, work: &Work) -> Vec<(String, Series)> {
        let names: Vec<&String> = [&self.subject].into_iter().chain(&self.peers).collect();
        let mut series: Vec<(String, Series)> =
            names.iter().map(|name| ((*name).clone(), Series::default())).collect();
        let record = (self.setup.value_bytes + 64) as u64;
        let mut before = 0.0;
        for _ in 0..self.load_runs {
            for (at, name) in names.iter().enumerate() {
                let mut maker = Maker::new(*work, 0..0, self.value(), 1);
                let share = usize::try_from(self.setup.records).unwrap_or(0) / self.threads;
                let plans = arcs((0..self.threads).map(|_| maker.next(share)).collect());
                machine::warm((self.setup.records * record).min(machine::available() / 2));
                let presize = **name != self.subject;
                let engine: Arc<dyn Target> =
                    open(name, &Setup { presize, ..self.setup.clone() }).into();
                let slice = self.crew.run(&engine, &plans);
                drop(engine);
                forget(name, &self.setup.dir);
                if at == 0 {
                    before = slice.rate();
                } else {
                    series[at].1.before.push(before);
                }
                series[at].1.slices.push(slice);
            }
        }
        series
    }

    /// Updates, untimed, until what was free at first is not any more.
    fn use_up_room(&self, engine: &Arc<dyn Target>) {
        let work = Work { name: "", kind: Kind::Sustained, pattern: Pattern::Uniform };
        let mut maker = Maker::new(work, 0..self.setup.records, self.value(), 2);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some more or less do not matter"
        )]
        let updates = (self.setup.records as f64 * self.setup.room) as usize;
        for _ in 0..updates.div_ceil(self.operations * self.threads) {
            let plans = (0..self.threads).map(|_| maker.next(self.operations)).collect();
            self.crew.run(engine, &arcs(plans));
        }
    }

    fn value(&self) -> Arc<[u8]> {
        (0..=u8::MAX).cycle().take(self.setup.value_bytes).collect()
    }

    fn rows(&self, work: &Work, series: &[(String, Series)]) -> Vec<Row> {
        let row = |(engine, series): &(String, Series)| {
            let rates: Vec<f64> = series.slices.iter().map(Slice::rate).collect();
            let background: Vec<f64> = series.slices.iter().map(Slice::background_ns).collect();
            let pairs = series.before.iter().zip(&rates);
            let ratios: Vec<f64> = pairs.map(|(before, rate)| before / rate).collect();
            Row {
                work: work.name,
                engine: engine.clone(),
                records: self.setup.records,
                value_bytes: self.setup.value_bytes,
                threads: self.threads,
                mops: median(&rates),
                mops_quartiles: quartiles(&rates),
                ratio: (!ratios.is_empty()).then(|| median(&ratios)),
                ratio_quartiles: (!ratios.is_empty()).then(|| quartiles(&ratios)),
                background_ns: background.iter().sum::<f64>() / len(&background),
                found: series.slices.last().map_or(0, |slice| slice.found),
            }
        };
        series.iter().map(row).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "some slices")]
fn len(values: &[f64]) -> f64 {
    values.len().max(1) as f64
}

fn arcs(plans: Vec<Plan>) -> Vec<Arc<Plan>> {
    plans.into_iter().map(Arc::new).collect()
}

/// Adds the series of another group: the subject is in each.
fn merge(all: &mut Vec<(String, Series)>, more: Vec<(String, Series)>) {
    for (name, series) in more {
        match all.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => {
                old.slices.extend(series.slices);
                old.before.extend(series.before);
            }
            None => all.push((name, series)),
        }
    }
}
