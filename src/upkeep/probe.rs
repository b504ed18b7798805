//! The upkeep thread: clock, epochs, the age of the oldest pin, and how full the store is.
//!
//! Every tick it refreshes the clock, helps the epoch on, and looks after its probe: a passage of
//! the epoch, over when every pin taken before it is gone. While the probe of some earlier tick is
//! not over, some pin is at least that old. So readers need not note when they
//! pinned, and what they pay for being observed is nothing.
#![forbid(unsafe_code)]

use super::pressure::Pressure;
use crate::clock::Clock;
use crate::sync::epoch::{self, Passage};
use crate::sync::{Arc, AtomicBool, AtomicU64, Doorbell, Mutex, Relaxed, lock, thread};
use std::io;
use std::time::{Duration, Instant};

/// Between two looks. A thread that wakes ten times a second costs some 0.02% of a core.
const TICK: Duration = Duration::from_millis(100);

/// The upkeep thread of one store.
#[derive(Debug)]
pub struct Upkeep {
    shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    bell: Doorbell,
    oldest_pin_ms: AtomicU64,
    pressure: Pressure,
}

impl Upkeep {
    /// Starts the thread, on `core` if one is given.
    ///
    /// # Errors
    ///
    /// The system's, when no thread is to be had.
    pub fn start(
        clock: Arc<dyn Clock>,
        pressure: Pressure,
        core: Option<usize>,
    ) -> io::Result<Self> {
        let idle = Self::idle(pressure);
        let theirs = Arc::clone(&idle.shared);
        let thread = thread::Builder::new().name("brindle-upkeep".into()).spawn(move || {
            if let Some(core) = core {
                crate::sync::core::pin_thread(core);
            }
            theirs.run(&*clock);
        })?;
        *lock(&idle.thread) = Some(thread);
        Ok(idle)
    }

    /// Without a thread: nothing is looked after, in a test that opens thousands of stores.
    pub fn idle(pressure: Pressure) -> Self {
        let shared = Shared {
            stop: AtomicBool::new(false),
            bell: Doorbell::new(),
            oldest_pin_ms: AtomicU64::new(0),
            pressure,
        };
        Self { shared: Arc::new(shared), thread: Mutex::new(None) }
    }

    /// Age of the oldest pin of the process. Unit: milliseconds; resolution two ticks (200 ms), 0
    /// below that.
    pub fn oldest_pin_ms(&self) -> u64 {
        // ORDERING: Relaxed. A figure for statistics.
        self.shared.oldest_pin_ms.load(Relaxed)
    }

    /// How full the store is.
    #[inline]
    pub fn pressure(&self) -> &Pressure {
        &self.shared.pressure
    }

    /// Ends the thread and waits for it.
    pub fn stop(&self) {
        // ORDERING: Relaxed. The bell's lock orders it before the thread's next look.
        self.shared.stop.store(true, Relaxed);
        self.shared.bell.ring();
        if let Some(thread) = lock(&self.thread).take() {
            // A panic of the thread was reported by its own hook; there is nothing to undo.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, clock: &dyn Clock) {
        let mut probe: Option<(Instant, Passage)> = None;
        // ORDERING: Relaxed, pairs with `stop` through the bell's lock.
        while !self.stop.load(Relaxed) {
            clock.refresh();
            self.pressure.tick();
            if probe.as_ref().is_none_or(|(_, probe)| probe.is_over()) {
                probe = Some((Instant::now(), Passage::begin()));
            }
            let age = probe.as_ref().map_or(Duration::ZERO, |(sent, _)| sent.elapsed());
            let age = if age > TICK * 2 { age.as_millis() } else { 0 };
            // ORDERING: Relaxed. A figure for statistics.
            self.oldest_pin_ms.store(u64::try_from(age).unwrap_or(u64::MAX), Relaxed);
            epoch::advance();
            self.bell.wait(Some(TICK));
        }
    }
}

/// Waits until every pin that is held now is gone, for at most `patience`. True: they are.
pub fn pins_are_gone(patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let passage = Passage::begin();
    loop {
        epoch::advance();
        if passage.is_over() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::yield_now();
    }
}
