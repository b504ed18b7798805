//! Plans: the keys and steps of each thread's next slice. One plan serves all engines.

use super::keys::{Draw, below, key, mix};
use super::list::{Kind, Work};
use crate::engine::Key;
use std::sync::Arc;

/// The calls that a plan makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A get for each key.
    Get,
    /// Gets under one pin for each so many keys.
    GetPinned(usize),
    /// One call for each so many keys.
    GetMany(usize),
    /// A put for each key.
    Put,
    /// One call for each so many keys.
    PutMany(usize),
    /// What [`Plan::steps`] says for each key.
    Steps,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// A get.
    Get,
    /// A put.
    Put,
    /// A delete.
    Delete,
    /// A get, then a put.
    Modify,
}

/// What one thread does in one slice.
pub struct Plan {
    pub form: Form,
    pub keys: Vec<Key>,
    /// One a key; empty unless `form` is [`Form::Steps`].
    pub steps: Vec<Step>,
    /// What every put puts.
    pub value: Arc<[u8]>,
    /// Keys at the start that are not timed: they bring the engine's own lines back into the cache.
    pub warm_up: usize,
}

/// Makes the plans of a workload, slice after slice.
pub struct Maker {
    work: Work,
    /// Numbers of the oldest live record, and of the next new one.
    low: u64,
    high: u64,
    seed: u64,
    slices: u64,
    value: Arc<[u8]>,
}

impl Maker {
    /// For an engine that holds the records `live`.
    pub fn new(work: Work, live: std::ops::Range<u64>, value: Arc<[u8]>, seed: u64) -> Self {
        Self { work, low: live.start, high: live.end, seed, slices: 0, value }
    }

    /// The records that are live when all that was planned is done.
    pub fn live(&self) -> std::ops::Range<u64> {
        self.low..self.high
    }

    /// The plan of the next slice or of another thread for the same one, of `operations`.
    pub fn next(&mut self, operations: usize) -> Plan {
        self.slices += 1;
        let seed = mix(self.seed ^ mix(self.slices));
        let warm_up = operations / 8;
        match self.work.kind {
            Kind::Same(form) => {
                // What overlaps or batches is far faster: as long a slice wants more of it.
                let many = matches!(form, Form::GetMany(_) | Form::PutMany(_));
                let operations = if many { 4 * operations } else { operations };
                self.plan(form, self.draw(seed, operations), Vec::new(), warm_up)
            }
            Kind::Sustained => self.plan(Form::Put, self.draw(seed, operations), vec![], warm_up),
            Kind::Load => {
                let keys = self.fresh(operations);
                self.plan(Form::Put, keys, Vec::new(), 0)
            }
            Kind::Mix { update, insert, modify } => {
                let mut keys = self.draw(seed, operations);
                let steps = dice(seed, operations, [update, insert, modify]);
                let steps: Vec<Step> = steps
                    .zip(&mut keys)
                    .map(|(part, old)| match part {
                        0 => Step::Put,
                        1 => {
                            *old = key(self.high);
                            self.high += 1;
                            Step::Put
                        }
                        2 => Step::Modify,
                        _ => Step::Get,
                    })
                    .collect();
                self.plan(Form::Steps, keys, steps, warm_up)
            }
            Kind::Churn { insert, delete, update } => {
                self.churn(seed, operations, [insert, delete, update], warm_up)
            }
            // The mix of `conc-map-bench`: 5 get, 80 insert, 5 delete, 10 update.
            Kind::Grow => self.churn(seed, operations, [80, 5, 10], 0),
        }
    }

    fn churn(&mut self, seed: u64, operations: usize, parts: [u64; 3], warm_up: usize) -> Plan {
        let mut keys = Vec::with_capacity(operations);
        let mut steps = Vec::with_capacity(operations);
        for (step, part) in dice(seed, operations, parts).enumerate() {
            // The younger half is live throughout.
            let span = (self.high - self.low).div_ceil(2);
            let number = self.high.saturating_sub(1 + below(seed ^ mix(step as u64), span.max(1)));
            let (number, step) = match part {
                0 => {
                    self.high += 1;
                    (self.high - 1, Step::Put)
                }
                1 if self.low + 1 < self.high => {
                    self.low += 1;
                    (self.low - 1, Step::Delete)
                }
                2 if self.high > 0 => (number, Step::Put),
                _ => (number, Step::Get),
            };
            keys.push(key(number));
            steps.push(step);
        }
        self.plan(Form::Steps, keys, steps, warm_up)
    }

    fn draw(&self, seed: u64, operations: usize) -> Vec<Key> {
        let live = self.high - self.low;
        let mut draw = Draw::new(self.work.pattern, live, seed);
        (0..operations).map(|_| key(self.low + draw.next())).collect()
    }

    fn fresh(&mut self, operations: usize) -> Vec<Key> {
        let first = self.high;
        self.high += operations as u64;
        (first..self.high).map(key).collect()
    }

    fn plan(&self, form: Form, keys: Vec<Key>, steps: Vec<Step>, warm_up: usize) -> Plan {
        Plan { form, keys, steps, value: self.value.clone(), warm_up }
    }
}

/// The parts, in percent, that each of `operations` falls into; the rest has the number after.
fn dice(seed: u64, operations: usize, parts: [u64; 3]) -> impl Iterator<Item = usize> {
    (0..operations as u64).map(move |step| {
        let mut at = below(seed.wrapping_add(step), 100);
        for (part, share) in parts.into_iter().enumerate() {
            if at < share {
                return part;
            }
            at -= share;
        }
        parts.len()
    })
}

/// The plans of `threads` threads that put all records of `numbers` once.
pub fn load(numbers: &std::ops::Range<u64>, threads: usize, value: &Arc<[u8]>) -> Vec<Plan> {
    let share = (numbers.end - numbers.start).div_ceil(threads as u64).max(1);
    let of_thread = |thread: u64| {
        let first = numbers.start + thread * share;
        let keys = (first..(first + share).min(numbers.end)).map(key).collect();
        Plan { form: Form::Put, keys, steps: Vec::new(), value: value.clone(), warm_up: 0 }
    };
    (0..threads as u64).map(of_thread).collect()
}

#[cfg(test)]
mod tests {
    use super::super::list::WORKS;
    use super::{Maker, dice};
    use crate::work::Pattern;

    #[test]
    fn dice_fall_as_they_should() {
        let mut counts = [0_u32; 4];
        for part in dice(1, 100_000, [50, 5, 0]) {
            counts[part] += 1;
        }
        assert!((49_000..51_000).contains(&counts[0]) && (4_500..5_500).contains(&counts[1]));
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn every_work_has_as_many_keys_as_it_should() {
        for work in WORKS {
            let mut maker = Maker::new(work, 0..1000, [0; 8].into(), 1);
            let plan = maker.next(2000);
            assert!(plan.keys.len() >= 2000, "{}", work.name);
            assert!(plan.steps.is_empty() || plan.steps.len() == plan.keys.len());
            assert!(work.pattern != Pattern::Latest || maker.live().end > 1000);
        }
    }
}
