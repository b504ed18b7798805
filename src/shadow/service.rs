//! The shadow thread: drives the flusher, keeps the superblocks, sleeps when there is nothing.
//!
//! It sleeps on the stripes' doorbell, which sealed wblocks, barriers, changed settings and `stop`
//! ring, and wakes by itself twice in `flush_max` to take open wblocks along: a put rings nothing.
//! An idle store wakes it only for that, some microseconds each time.
//!
//! States    `running --[stop]--> stopped clean`, `running --[a write or sync fails]--> failed`
#![forbid(unsafe_code)]

use super::flusher::{Flusher, Round};
use super::io::{FileIndex, Members, TransferError};
use super::requests::Requests;
use super::set::ShadowSet;
use super::tickets::{Tickets, Waited};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::region::{NowUs, Stripes};
use crate::sync::{Acquire, Arc, AtomicBool, Mutex, Release, lock, thread};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a barrier may take: a device that stalls for longer is given up.
const BARRIER_PATIENCE: Duration = Duration::from_secs(60);
/// Pause when a writer holds a reservation that it has not committed.
const WRITER_PAUSE: Duration = Duration::from_micros(50);

/// The shadow side of an open store.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    stripes: Arc<Stripes>,
    tickets: Arc<Tickets>,
    stop: AtomicBool,
    has_failed: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

/// Why the shadow takes no more writes.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The member that failed.
    pub path: PathBuf,
    /// The cause.
    pub source: Arc<io::Error>,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::ShadowFailed { path: failure.path, source: failure.source }
    }
}

/// What the shadow thread works on.
#[derive(Debug)]
pub struct Work {
    /// The pump.
    pub flusher: Flusher,
    /// The superblocks.
    pub set: ShadowSet,
    /// What reclaim asks for.
    pub requests: Arc<Requests>,
    /// Open wblocks are flushed twice in `flush_max`; without one only on demand.
    pub settings: Arc<Settings>,
    /// The core to run on.
    pub core: Option<usize>,
    /// The clock floor to be written when the store is closed.
    pub now_us: NowUs,
}

impl Service {
    /// The shadow side, and the pump that does its work.
    pub fn new(stripes: Arc<Stripes>, tickets: Arc<Tickets>, work: Work) -> (Self, Pump) {
        let shared = Arc::new(Shared {
            stripes,
            tickets,
            stop: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            failure: Mutex::new(None),
        });
        let pump = Pump { shared: Arc::clone(&shared), work };
        (Self { shared, thread: Mutex::new(None) }, pump)
    }

    /// Gives the pump a thread.
    ///
    /// # Errors
    ///
    /// The system's, when no thread is to be had.
    pub fn start(&self, pump: Pump) -> io::Result<()> {
        let thread = thread::Builder::new().name("brindle-shadow".into()).spawn(move || {
            if let Some(core) = pump.work.core {
                crate::sync::core::pin_thread(core);
            }
            pump.run();
        })?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// True once the shadow takes no more writes.
    #[inline]
    pub fn has_failed(&self) -> bool {
        // ORDERING: Acquire, pairs with `fail`: the cause is there.
        self.shared.has_failed.load(Acquire)
    }

    /// Why, if it has failed.
    pub fn failure(&self) -> Option<Failure> {
        lock(&self.shared.failure).clone()
    }

    /// Returns when all that was committed before is durable.
    ///
    /// # Errors
    ///
    /// [`Error::ShadowFailed`]: it is not known what is durable; after a minute without an answer
    /// of the device with the cause `TimedOut`, and the store goes on.
    pub fn barrier(&self) -> Result<()> {
        self.wait(self.request())
    }

    /// Has the thread look at its settings again.
    pub fn wake(&self) {
        self.shared.stripes.doorbell().ring();
    }

    fn request(&self) -> u64 {
        let ticket = self.shared.tickets.take();
        self.shared.stripes.doorbell().ring();
        ticket
    }

    fn wait(&self, ticket: u64) -> Result<()> {
        match self.shared.tickets.wait(ticket, Instant::now() + BARRIER_PATIENCE) {
            Waited::Durable => Ok(()),
            Waited::Failed => Err(self.error()),
            Waited::TimedOut => {
                let source = io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the device did not answer for 60 s, or a writer thread is stopped",
                );
                Err(Failure { path: PathBuf::from("(any)"), source: Arc::new(source) }.into())
            }
        }
    }

    /// The error that a failed shadow answers with.
    pub fn error(&self) -> Error {
        match self.failure() {
            Some(failure) => failure.into(),
            None => Error::Closed,
        }
    }

    /// Flushes, marks the superblocks clean and ends the thread. The second call does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::ShadowFailed`], now or earlier. The thread has ended, and the locks are free.
    pub fn stop(&self) -> Result<()> {
        let Some(thread) = lock(&self.thread).take() else { return Ok(()) };
        let ticket = self.shared.tickets.take();
        // ORDERING: Release, pairs with `run`: who sees it sees the ticket.
        self.shared.stop.store(true, Release);
        self.shared.stripes.doorbell().ring();
        let waited = self.wait(ticket);
        if thread.join().is_err() {
            return Err(Error::Closed);
        }
        waited?;
        self.failure().map_or(Ok(()), |failure| Err(failure.into()))
    }
}

/// The work of the shadow side: the thread's loop, or a test, drives it.
#[derive(Debug)]
pub struct Pump {
    shared: Arc<Shared>,
    work: Work,
}

impl Pump {
    fn run(mut self) {
        let mut last_due = Instant::now();
        loop {
            let period = self.work.settings.flush_max().map(|flush_max| flush_max / 2);
            // ORDERING: Acquire, pairs with `stop`.
            let stops = self.shared.stop.load(Acquire);
            let due = period.is_some_and(|period| last_due.elapsed() >= period);
            let Ok(round) = self.poll(due) else { return };
            if due && round != Round::Waiting {
                last_due = Instant::now();
            }
            match round {
                Round::Worked => {}
                Round::Waiting => thread::sleep(WRITER_PAUSE),
                Round::Idle if stops => break,
                Round::Idle => {
                    let timeout = period.map(|period| period.saturating_sub(last_due.elapsed()));
                    self.shared.stripes.doorbell().wait(timeout);
                }
            }
        }
        self.close();
    }

    /// One round of the flusher; with `due` it takes the open wblocks along.
    ///
    /// # Errors
    ///
    /// The shadow has failed; the store knows, and the pump must not be asked again.
    pub fn poll(&mut self, due: bool) -> std::result::Result<Round, Failure> {
        let round = self.round(due);
        if let Err(failure) = &round {
            self.shared.fail(failure.clone());
        }
        round
    }

    fn round(&mut self, due: bool) -> std::result::Result<Round, Failure> {
        let next = self.shared.stripes.next_sequence();
        if let Some(limit) = self.work.set.extend_sequences(next).map_err(into_failure)? {
            self.shared.stripes.set_sequence_limit(limit);
        }
        if let Some(floor_us) = self.work.requests.wanted_floor() {
            self.work.set.raise_floor(floor_us).map_err(into_failure)?;
            self.work.requests.set_floor(floor_us);
        }
        self.work.flusher.set_sync_finished(self.work.settings.flush_max().is_none());
        let members = Arc::clone(self.work.set.members());
        self.work.flusher.poll(due).map_err(|error| of_transfer(error, &*members))
    }

    /// Polls until all that was committed before is durable: a barrier for who holds the pump.
    ///
    /// # Errors
    ///
    /// Those of [`poll`](Self::poll).
    pub fn barrier(&mut self) -> std::result::Result<(), Failure> {
        let ticket = self.shared.tickets.take();
        while self.shared.tickets.completed() < ticket {
            self.poll(true)?;
        }
        Ok(())
    }

    /// After the last round: marks the superblocks clean.
    pub fn close(mut self) {
        let now_us = (self.work.now_us)();
        if let Err(failure) = self.work.set.mark_clean(now_us).map_err(into_failure) {
            self.shared.fail(failure);
        }
    }
}

impl Shared {
    fn fail(&self, failure: Failure) {
        *lock(&self.failure) = Some(failure);
        // ORDERING: Release, pairs with `has_failed`.
        self.has_failed.store(true, Release);
        self.tickets.fail();
    }
}

fn of_transfer(error: TransferError, members: &dyn Members) -> Failure {
    let path = members.path(FileIndex(error.file.0)).to_owned();
    Failure { path, source: Arc::new(error.source) }
}

/// A failed rewrite of a superblock, as the failure of its member.
fn into_failure(error: Error) -> Failure {
    if let Error::Io { path, source, .. } = error {
        return Failure { path, source: Arc::new(source) };
    }
    Failure { path: PathBuf::new(), source: Arc::new(io::Error::other(error)) }
}
