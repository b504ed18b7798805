//! Workloads: what each thread does to an engine, made before the clock starts.

mod keys;
mod list;
mod plan;

pub use keys::{Pattern, below, key};
pub use list::{Kind, Work, matching};
pub use plan::{Form, Maker, Plan, Step, load};

use crate::engine::Engine;
use std::hint::black_box;
use std::time::Instant;

/// What came of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// When the part that is timed began.
    pub start: Instant,
    /// When it ended.
    pub end: Instant,
    /// Keys that were looked up and there, the untimed ones included.
    pub found: u64,
    /// Operations that were timed; a batch counts its keys.
    pub operations: u64,
}

/// Does all that `plan` says: first its untimed part, then the rest with the clock on.
pub fn run<E: Engine>(engine: &E, plan: &Plan) -> Tally {
    let warm_up = plan.warm_up.min(plan.keys.len());
    let mut found = span(engine, plan, 0, warm_up);
    let start = Instant::now();
    found += span(engine, plan, warm_up, plan.keys.len());
    let end = Instant::now();
    Tally { start, end, found, operations: (plan.keys.len() - warm_up) as u64 }
}

/// Does the part of `plan` from key `from` to key `to`.
fn span<E: Engine>(engine: &E, plan: &Plan, from: usize, to: usize) -> u64 {
    let (keys, value) = (&plan.keys[from..to], &plan.value[..]);
    let mut found = 0;
    match plan.form {
        Form::Get => {
            for key in keys {
                found += u64::from(black_box(engine.get(key)).is_some());
            }
        }
        Form::GetPinned(many) => {
            for keys in keys.chunks(many) {
                found += engine.get_pinned(keys);
            }
        }
        Form::GetMany(many) => {
            for keys in keys.chunks(many) {
                found += engine.get_many(keys);
            }
        }
        Form::Put => keys.iter().for_each(|key| engine.put(key, value)),
        Form::PutMany(many) => {
            keys.chunks(many).for_each(|keys| engine.put_many(keys, value));
        }
        Form::Steps => {
            for (key, step) in keys.iter().zip(&plan.steps[from..to]) {
                match step {
                    Step::Get => found += u64::from(black_box(engine.get(key)).is_some()),
                    Step::Put => engine.put(key, value),
                    Step::Delete => engine.delete(key),
                    Step::Modify => {
                        found += u64::from(black_box(engine.get(key)).is_some());
                        engine.put(key, value);
                    }
                }
            }
        }
    }
    found
}
