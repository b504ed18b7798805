//! Load threads: pinned, kept from slice to slice, and started together.

use crate::engine::Target;
use crate::machine::{pin, process_cpu, thread_cpu};
use crate::work::{Plan, Tally};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

type Job = Box<dyn FnOnce() -> Tally + Send>;

/// The threads.
pub struct Crew {
    jobs: Vec<Sender<Job>>,
    done: Receiver<(Tally, Duration)>,
}

/// What came of one slice.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// From the first thread's start to the last one's end.
    pub elapsed: Duration,
    /// Timed operations of all threads.
    pub operations: u64,
    /// Keys that were found.
    pub found: u64,
    /// CPU time of the process over that of the load threads, the settling included.
    pub background: Duration,
}

impl Slice {
    /// Unit: million operations a second.
    pub fn rate(&self) -> f64 {
        per(self.operations, self.elapsed.as_secs_f64() * 1e6)
    }

    /// Unit: nanoseconds of background CPU time an operation.
    pub fn background_ns(&self) -> f64 {
        self.background.as_secs_f64() * 1e9 / per(self.operations, 1.0).max(1.0)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn per(count: u64, of: f64) -> f64 {
    count as f64 / of
}

impl Crew {
    /// So many threads, each on a core of its own as far as there are so many.
    pub fn new(threads: usize) -> Self {
        let (done, results) = channel();
        let jobs = (0..threads).map(|number| worker(number, done.clone())).collect();
        Self { jobs, done: results }
    }

    /// Has the first threads do one of `plans` each, together.
    ///
    /// # Panics
    ///
    /// If a thread panicked, or there are more plans than threads.
    pub fn run(&self, engine: &Arc<dyn Target>, plans: &[Arc<Plan>]) -> Slice {
        assert!(plans.len() <= self.jobs.len(), "a thread for each plan");
        let waiting = Arc::new(AtomicUsize::new(plans.len()));
        let before = process_cpu();
        for (job, plan) in self.jobs.iter().zip(plans) {
            let (engine, plan, waiting) = (engine.clone(), plan.clone(), waiting.clone());
            let work = move || {
                start_together(&waiting);
                engine.run(&plan)
            };
            job.send(Box::new(work)).expect("the thread waits for jobs");
        }
        let results: Vec<_> = plans.iter().map(|_| self.done.recv()).collect();
        let results: Vec<_> = results.into_iter().map(|one| one.expect("it ran")).collect();
        engine.settle();
        let load: Duration = results.iter().map(|(_, cpu)| *cpu).sum();
        let start = results.iter().map(|(tally, _)| tally.start).min();
        let end = results.iter().map(|(tally, _)| tally.end).max();
        let elapsed = start.zip(end).map(|(start, end)| end - start);
        Slice {
            elapsed: elapsed.unwrap_or_default(),
            operations: results.iter().map(|(tally, _)| tally.operations).sum(),
            found: results.iter().map(|(tally, _)| tally.found).sum(),
            background: process_cpu().saturating_sub(before).saturating_sub(load),
        }
    }
}

fn worker(number: usize, done: Sender<(Tally, Duration)>) -> Sender<Job> {
    let (send, jobs) = channel::<Job>();
    thread::spawn(move || {
        pin(number);
        for job in jobs {
            let before = thread_cpu();
            let tally = job(); // lets go of the engine, too
            if done.send((tally, thread_cpu().saturating_sub(before))).is_err() {
                return;
            }
        }
    });
    send
}

/// Waits, awake, until all that `waiting` counts are here.
fn start_together(waiting: &AtomicUsize) {
    // ORDERING: Relaxed. Only the start is agreed on; what threads share came by the channel.
    waiting.fetch_sub(1, Ordering::Relaxed);
    while waiting.load(Ordering::Relaxed) > 0 {
        thread::yield_now(); // there may be fewer cores than threads
    }
}
