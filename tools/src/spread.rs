//! How numbers are spread: percentiles, and counts by powers of two.

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{self, Write};

const BAR: usize = 40;

/// Counts what passes.
#[derive(Debug)]
pub(crate) struct Tally {
    /// To two digits; absent if there was no memory for it.
    histogram: Option<Histogram<u64>>,
    buckets: [u64; 65],
    sum: u128,
    min: u64,
    max: u64,
}

impl Default for Tally {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, u64::MAX / 2, 2).ok();
        Self { histogram, buckets: [0; 65], sum: 0, min: u64::MAX, max: 0 }
    }
}

/// How numbers are spread.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) min: u64,
    /// Percentiles are right to two digits.
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
    pub(crate) mean: f64,
    /// Powers of two that occur, in ascending order.
    pub(crate) buckets: Vec<Bucket>,
}

/// Numbers above half of `up_to`, and up to it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Bucket {
    pub(crate) up_to: u64,
    pub(crate) count: u64,
}

impl Tally {
    pub(crate) fn note(&mut self, number: u64) {
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(number);
        }
        let power = number.checked_next_power_of_two().map_or(64, u64::trailing_zeros);
        let place = if number == 0 { 0 } else { power as usize };
        if let Some(count) = self.buckets.get_mut(place) {
            *count += 1;
        }
        self.sum += u128::from(number);
        self.min = self.min.min(number);
        self.max = self.max.max(number);
    }

    pub(crate) fn spread(&self) -> Spread {
        let count: u64 = self.buckets.iter().sum();
        let Some(histogram) = self.histogram.as_ref().filter(|_| count > 0) else {
            return Spread::default();
        };
        let at = |quantile| histogram.value_at_quantile(quantile).clamp(self.min, self.max);
        let named = (0..).zip(&self.buckets).filter(|(_, count)| **count > 0);
        #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
        let mean = self.sum as f64 / count as f64;
        Spread {
            count,
            min: self.min,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: self.max,
            mean: (mean * 10.0).round() / 10.0,
            buckets: named
                .map(|(power, count): (u32, _)| {
                    let up_to = 1_u64.checked_shl(power).unwrap_or(u64::MAX);
                    Bucket { up_to, count: *count }
                })
                .collect(),
        }
    }
}

impl Spread {
    /// Writes it with a bar for each power of two; `unit` shows a number.
    pub(crate) fn write(
        &self,
        out: &mut dyn Write,
        name: &str,
        unit: fn(u64) -> String,
    ) -> io::Result<()> {
        if self.count == 0 {
            return writeln!(out, "{name:<18}none");
        }
        let [min, p50, p90, p99, max] =
            [self.min, self.p50, self.p90, self.p99, self.max].map(unit);
        writeln!(out, "{name:<18}min {min}, p50 {p50}, p90 {p90}, p99 {p99}, max {max}")?;
        let most = self.buckets.iter().map(|bucket| bucket.count).max().unwrap_or(1);
        for Bucket { up_to, count } in &self.buckets {
            let length = u128::from(*count) * BAR as u128 / u128::from(most.max(1));
            let bar = "#".repeat(usize::try_from(length).unwrap_or(BAR).max(1));
            writeln!(out, "{:>16}  {bar:<BAR$}  {count}", format!("<= {}", unit(*up_to)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_have_their_numbers() {
        let mut tally = Tally::default();
        for number in [0, 1, 2, 3, 4, 5, u64::MAX] {
            tally.note(number);
        }
        let spread = tally.spread();
        let buckets: Vec<_> = spread.buckets.iter().map(|b| (b.up_to, b.count)).collect();
        assert_eq!(buckets, [(1, 2), (2, 1), (4, 2), (8, 1), (u64::MAX, 1)]);
        assert_eq!((spread.count, spread.min, spread.p50), (7, 0, 3));
        assert_eq!(Tally::default().spread().count, 0);
    }
}
