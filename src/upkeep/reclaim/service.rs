//! The threads of the reclaimers.
//!
//! Each sleeps on the call for space, which installs ring when free wblocks run short, and wakes by
//! itself for the next sweep. An idle store wakes it once in `sweep_interval`, for some
//! microseconds.
//!
//! One that panics is a bug, and its wblocks are not emptied any more: `Store::health` tells, and
//! so do the puts that find no room then. What it was about is as after a crash: its moved copies
//! win or lose in the index by themselves.
#![forbid(unsafe_code)]

use super::{Common, Pace, Reclaimer};
use crate::sync::{Arc, AtomicBool, Mutex, Relaxed, lock, thread};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Between two looks at what flushes and pins have let go.
const SOON: Duration = Duration::from_micros(200);
/// Looks at short intervals before they get longer: a pin that is held is not waited for busily.
const SOON_LOOKS: u32 = 50;
const LATER: Duration = Duration::from_millis(5);

/// The threads of one store's reclaimers.
#[derive(Debug)]
pub struct ReclaimService {
    common: Arc<Common>,
    stop: Arc<AtomicBool>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl ReclaimService {
    /// No thread yet.
    pub fn new(common: Arc<Common>) -> Self {
        Self { common, stop: Arc::new(AtomicBool::new(false)), threads: Mutex::new(Vec::new()) }
    }

    /// Figures, settings, and where puts wait.
    pub fn common(&self) -> &Common {
        &self.common
    }

    /// The pumps of all reclaimers, for who drives them; before the store is used.
    pub fn reclaimers(&self) -> Vec<Reclaimer> {
        self.common.undo_moves();
        let reclaimers = self.common.stripes().identity().reclaimers;
        (0..reclaimers).map(|number| Reclaimer::new(Arc::clone(&self.common), number)).collect()
    }

    /// Starts a thread for each reclaimer, on the core that `core` gives it, if any.
    ///
    /// # Errors
    ///
    /// The system's, when no thread is to be had.
    pub fn start(&self, core: impl Fn(u32) -> Option<usize>) -> io::Result<()> {
        for mut reclaimer in self.reclaimers() {
            let stop = Arc::clone(&self.stop);
            let name = format!("brindle-reclaim{}", reclaimer.number);
            let core = core(reclaimer.number);
            let thread = thread::Builder::new().name(name).spawn(move || {
                if let Some(core) = core {
                    crate::sync::core::pin_thread(core);
                }
                let run = AssertUnwindSafe(|| reclaimer.run(&stop));
                if let Err(panic) = catch_unwind(run) {
                    let name = thread::current().name().unwrap_or_default().to_owned();
                    let reason = format!("{name} panicked: {}", message(&*panic));
                    reclaimer.common.room.fail(reclaimer.number, reason);
                }
            })?;
            lock(&self.threads).push(thread);
        }
        self.common.room.set_lookers(self.common.stripes().identity().reclaimers);
        Ok(())
    }

    /// Ends the threads and waits for them.
    pub fn stop(&self) {
        // ORDERING: Relaxed. The bell's lock orders it before the thread's next look.
        self.stop.store(true, Relaxed);
        self.common.room.set_lookers(0);
        self.common.stripes().call_reclaimers();
        for thread in lock(&self.threads).drain(..) {
            // It catches its panic.
            let _ = thread.join();
        }
    }
}

/// Of a store that could not be opened after all, too.
impl Drop for ReclaimService {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Reclaimer {
    fn run(&mut self, stop: &AtomicBool) {
        let mut looks = 0;
        // ORDERING: Relaxed, pairs with `stop` through the bell's lock.
        while !stop.load(Relaxed) {
            let pace = self.poll();
            let rest = match pace {
                Pace::Now => Duration::ZERO,
                Pace::Soon if looks < SOON_LOOKS => SOON,
                Pace::Soon => LATER,
                Pace::After(pause) => pause,
                Pace::Idle => self.until_sweep(),
            };
            looks = if pace == Pace::Soon { looks + 1 } else { 0 };
            let bell = self.common.stripes().doorbell_of_reclaimer(self.number);
            if let Some(bell) = bell.filter(|_| !rest.is_zero()) {
                bell.wait(Some(rest));
            }
        }
    }
}

/// What a panic says, as far as it is text.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
