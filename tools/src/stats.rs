//! `stats`: how sizes, times to live and versions are spread, and who leads the lists.

use crate::anatomy::abridged;
use crate::args::StatsArgs;
use crate::error::{Failure, Outcome};
use crate::line::KeyText;
use crate::live::{lend_winners, now_us, warn_of};
use crate::output::write_document;
use crate::progress::Progress;
use crate::shadow::Shadow;
use crate::spread::{Spread, Tally};
use crate::text::{Age, Size};
use crate::winners::{Note, Winner, Winners};
use brindle::format::RecordView;
use schemars::JsonSchema;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::ops::ControlFlow;

/// `brindle-stats/1`: how the records of a store are spread.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Stats {
    pub(crate) live_records: u64,
    /// Of those, without an expiry.
    pub(crate) without_expiry: u64,
    /// Bytes of keys.
    pub(crate) key_bytes: Spread,
    /// Bytes of values.
    pub(crate) value_bytes: Spread,
    /// Time left of those that expire: milliseconds.
    pub(crate) time_left_ms: Spread,
    /// Copies of each key that the shadow still holds, dead keys included.
    pub(crate) copies: Spread,
    /// Live records with the most bytes of key and value.
    pub(crate) largest: Vec<Leader>,
    /// Live keys of which the most copies are there.
    pub(crate) most_rewritten: Vec<Leader>,
}

/// A key at the head of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Leader {
    /// Bytes, or copies.
    pub(crate) count: u64,
    #[serde(flatten)]
    pub(crate) key: KeyText<'static>,
}

/// `brindle stats`.
pub(crate) fn run(
    args: &StatsArgs,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let shadow = Shadow::open_store(&args.paths)?;
    let stats = Stats::of(&shadow, args.top.into())?;
    if is_json {
        write_document(out, "brindle-stats/1", &stats)?;
    } else {
        write_stats(out, &stats).map_err(Failure::Output)?;
    }
    Ok(Outcome::Good)
}

impl Stats {
    /// Reads `shadow` twice.
    pub(crate) fn of(shadow: &Shadow, top: usize) -> Result<Self, Failure> {
        let mut winners = Winners::new(shadow, Note::Copies);
        let progress = Progress::new("reading", Some(shadow.wblock_bytes_total()));
        let met = winners.gather(shadow, b"", &progress)?;
        drop(progress);
        warn_of(shadow, &met);
        let mut counter = Counter::new(top, now_us(shadow.clock_floor().max(met.opened_at)));
        winners.all().for_each(|winner| counter.copies.note(winner.noted()));
        lend_winners(shadow, &winners, &met, false, |view, winner| {
            counter.note(view, winner);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(counter.stats())
    }
}

struct Counter {
    now_us: u64,
    without_expiry: u64,
    keys: Tally,
    values: Tally,
    left: Tally,
    copies: Tally,
    largest: Top,
    most_rewritten: Top,
}

impl Counter {
    fn new(top: usize, now_us: u64) -> Self {
        Self {
            now_us,
            without_expiry: 0,
            keys: Tally::default(),
            values: Tally::default(),
            left: Tally::default(),
            copies: Tally::default(),
            largest: Top::new(top),
            most_rewritten: Top::new(top),
        }
    }

    fn note(&mut self, view: &RecordView<'_>, winner: Winner) {
        let [key, value] = [view.key().len() as u64, view.value().len() as u64];
        self.keys.note(key);
        self.values.note(value);
        match view.expires_at() {
            Some(expires) => self.left.note(expires.saturating_sub(self.now_us) / 1_000),
            None => self.without_expiry += 1,
        }
        self.largest.offer(key + value, view.key());
        if winner.noted() > 1 {
            self.most_rewritten.offer(winner.noted(), view.key());
        }
    }

    fn stats(self) -> Stats {
        let key_bytes = self.keys.spread();
        Stats {
            live_records: key_bytes.count,
            without_expiry: self.without_expiry,
            key_bytes,
            value_bytes: self.values.spread(),
            time_left_ms: self.left.spread(),
            copies: self.copies.spread(),
            largest: self.largest.leaders(),
            most_rewritten: self.most_rewritten.leaders(),
        }
    }
}

/// The keys with the highest counts; of equal ones those that come first in the order of bytes.
struct Top {
    most: usize,
    heap: BinaryHeap<Reverse<(u64, Reverse<Vec<u8>>)>>,
}

impl Top {
    const fn new(most: usize) -> Self {
        Self { most, heap: BinaryHeap::new() }
    }

    fn offer(&mut self, count: u64, key: &[u8]) {
        let is_full = self.heap.len() >= self.most;
        if is_full && self.heap.peek().is_none_or(|Reverse((least, _))| count < *least) {
            return;
        }
        self.heap.push(Reverse((count, Reverse(key.to_vec()))));
        if is_full {
            self.heap.pop();
        }
    }

    fn leaders(self) -> Vec<Leader> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        sorted
            .map(|Reverse((count, Reverse(key)))| Leader { count, key: KeyText::of(&key) })
            .collect()
    }
}

fn write_stats(out: &mut dyn Write, stats: &Stats) -> io::Result<()> {
    let Stats { live_records, without_expiry, .. } = stats;
    writeln!(out, "{:<18}{live_records}, {without_expiry} of them without expiry", "live records")?;
    let bytes = |number| Size(number).to_string();
    stats.key_bytes.write(out, "key size", bytes)?;
    stats.value_bytes.write(out, "value size", bytes)?;
    stats.time_left_ms.write(out, "time left", |ms| Age(ms.saturating_mul(1_000)).to_string())?;
    stats.copies.write(out, "copies of a key", |number| number.to_string())?;
    write_leaders(out, "largest", &stats.largest, bytes)?;
    write_leaders(out, "most rewritten", &stats.most_rewritten, |number| format!("{number} copies"))
}

fn write_leaders(
    out: &mut dyn Write,
    name: &str,
    leaders: &[Leader],
    unit: fn(u64) -> String,
) -> io::Result<()> {
    for (n, Leader { count, key }) in leaders.iter().enumerate() {
        let name = if n == 0 { name } else { "" };
        writeln!(out, "{name:<18}{:>10}  {}", unit(*count), abridged(&key.bytes()))?;
    }
    Ok(())
}
