//! The shadow side as the store sees it: barriers, health, moving to another shadow, the end.
//!
//! States
//! ```text
//! healthy --[a write or sync fails]--> healing
//! healing --[all that is doubted is written again, and synced]--> healthy
//! healing --[that fails three times]--> failed --[tried once a second, it succeeds]--> healthy
//! healthy, failed --[reattached: the whole store is on another shadow]--> healthy, there
//! any of them --[stop]--> stopped: clean if healthy
//! ```
//!
//! | state   | puts       | barriers and durable puts       | who is told                        |
//! |---------|------------|---------------------------------|------------------------------------|
//! | healthy | pass       | complete after a sync           |                                    |
//! | healing | pass       | wait                            | `write_errors`, `heals` in `stats` |
//! | failed  | refused    | those that wait are told, too   | `Health::ShadowFailed`             |
//!
//! Reads pass in every state. A wblock's place on a shadow is its number, so a wblock that cannot
//! be written to its place can be written to no other on that shadow. If others can be, its records
//! go to those, and it is out of use (`places`): that is healing still. Else "elsewhere" is another
//! shadow, for the whole store (`attach`).
//!
//! Invariants
//! - V1  A barrier returns `Ok` only for its ticket, and that only after a sync that succeeded
//!   behind the last rewrite of all that was doubted (the flusher's F4).
//! - V2  No wait here is longer than the patience that its caller brings, whatever the device does.
//!   A thread that hangs in the kernel is left to itself: it keeps the region mapped and the shadow
//!   locked until the kernel lets it go, and then ends as it would have.
//!
//! Checked by: `tests/heal.rs`, `tests/reattach.rs`, `loom-tests/tests/tickets.rs`.
#![forbid(unsafe_code)]

use super::attach::{Attached, Request};
use super::pump::{Pump, Work};
use super::tickets::{Tickets, Waited};
use crate::error::{Error, Result};
use crate::region::Stripes;
use crate::sync::{
    Acquire, Arc, AtomicBool, AtomicU8, Doorbell, Mutex, Relaxed, Release, lock, thread,
};
use crate::trace::event;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The shadow side of an open store.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// What the service and its pump share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) stripes: Arc<Stripes>,
    pub(super) tickets: Arc<Tickets>,
    stop: AtomicBool,
    has_failed: AtomicBool,
    failure: Mutex<Option<Failure>>,
    busy_with: AtomicU8,
    post: Mutex<Post>,
    /// Rung when the thread has ended, and given back all that it had.
    ended: Doorbell,
}

/// A request on its way to the pump.
#[derive(Debug, Default)]
struct Post {
    request: Option<Request>,
    /// The pump is gone.
    is_closed: bool,
}

/// What keeps the pump from the end of a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Busy {
    /// Nothing: its turn has not come.
    No = 0,
    /// An operation of the device.
    Device = 1,
    /// A writer that has reserved and not committed.
    Writer = 2,
    /// What failed is being made good.
    Healing = 3,
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

/// Why something that was asked of the shadow was not done, or not in time.
#[derive(Debug)]
pub enum Unmet {
    /// The patience of the caller is over; what was in the way then.
    Late(&'static str),
    /// Anything else.
    Refused(Error),
}

impl From<Failure> for Unmet {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure.into())
    }
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
            busy_with: AtomicU8::new(Busy::No as u8),
            post: Mutex::new(Post::default()),
            ended: Doorbell::new(),
        });
        let pump = Pump::new(Arc::clone(&shared), work);
        (Self { shared, thread: Mutex::new(None) }, pump)
    }

    /// Gives the pump a thread.
    ///
    /// # Errors
    ///
    /// The system's, when no thread is to be had.
    pub fn start(&self, pump: Pump) -> io::Result<()> {
        let ended = Ended(Arc::clone(&self.shared));
        let thread = thread::Builder::new().name("brindle-shadow".into()).spawn(move || {
            let _ended = ended;
            pump.run();
        })?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// True while the shadow takes no writes.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.shared.has_failed()
    }

    /// Why, while it has failed.
    pub fn failure(&self) -> Option<Failure> {
        lock(&self.shared.failure).clone().filter(|_failure| self.has_failed())
    }

    /// Returns when all that was committed before is durable (V1), after `patience` at the latest.
    ///
    /// # Errors
    ///
    /// [`Error::ShadowFailed`]: it is not known what is durable. [`Unmet::Late`].
    pub fn barrier(&self, patience: Duration) -> Result<(), Unmet> {
        let ticket = self.shared.tickets.take();
        if self.shared.tickets.is_to_ring(ticket) {
            self.wake();
        }
        self.wait(ticket, Instant::now() + patience)
    }

    /// Has the thread look at its settings again.
    pub fn wake(&self) {
        self.shared.stripes.doorbell().ring();
    }

    fn wait(&self, ticket: u64, deadline: Instant) -> Result<(), Unmet> {
        match self.shared.tickets.wait(ticket, deadline) {
            Waited::Durable => Ok(()),
            Waited::Failed => Err(Unmet::Refused(self.error())),
            Waited::TimedOut => Err(self.late()),
        }
    }

    fn late(&self) -> Unmet {
        // ORDERING: Relaxed. A word for people.
        Unmet::Late(match self.shared.busy_with.load(Relaxed) {
            1 => "the device has not answered a write or a sync",
            2 => "a thread that writes was stopped between its reservation and its commit",
            3 => "writes to the device have failed and are being made good",
            _ => "the shadow thread has not got round to it",
        })
    }

    /// The error that a failed shadow answers with, also to who comes when it has just recovered.
    pub fn error(&self) -> Error {
        match lock(&self.shared.failure).clone() {
            Some(failure) => failure.into(),
            None => Error::Closed,
        }
    }

    /// Hands `request` to the pump; the answer comes through the request's channel.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn post(&self, request: Request) -> Result<()> {
        let mut post = lock(&self.shared.post);
        if post.is_closed {
            return Err(Error::Closed);
        }
        post.request = Some(request);
        self.wake();
        Ok(())
    }

    /// Moves the store to the shadow of `request`, and returns when it is there: in as long as it
    /// takes, if it gets on in each `patience`.
    ///
    /// # Errors
    ///
    /// The store is where it was. [`Unmet::Late`]; [`Error::Io`] of the new shadow;
    /// [`Error::Closed`].
    pub fn attach(
        &self,
        (request, answer): (Request, super::attach::Answer),
        patience: Duration,
    ) -> Result<Attached, Unmet> {
        self.post(request).map_err(Unmet::Refused)?;
        let Some(attached) = answer.wait(patience) else {
            // If the pump has not come to it, it need not.
            lock(&self.shared.post).request = None;
            return Err(self.late());
        };
        attached.map_err(Unmet::Refused)
    }

    /// Before the reclaimers end: gives the thread, if it has begun, the time to flush all that was
    /// committed, should something have to be moved for it. What comes of it `stop` tells.
    pub fn settle(&self, patience: Duration) {
        if lock(&self.thread).is_some() {
            let _ = self.barrier(patience);
        }
    }

    /// Flushes, marks the superblocks clean and ends the thread, after `patience` at the latest
    /// (V2). The second call does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::ShadowFailed`], now or earlier: the thread has ended, and the locks are free.
    /// [`Unmet::Late`]: it has not ended.
    pub fn stop(&self, patience: Duration) -> Result<(), Unmet> {
        let Some(thread) = lock(&self.thread).take() else { return Ok(()) };
        let deadline = Instant::now() + patience;
        let ticket = self.shared.tickets.take();
        // ORDERING: Release, pairs with `stops`: who sees it sees the ticket.
        self.shared.stop.store(true, Release);
        self.wake();
        let waited = self.wait(ticket, deadline);
        let left = deadline.saturating_duration_since(Instant::now());
        if !self.shared.ended.wait(Some(left)) {
            return Err(self.late());
        }
        if thread.join().is_err() {
            return Err(Unmet::Refused(Error::Closed));
        }
        waited?;
        self.failure().map_or(Ok(()), |failure| Err(failure.into()))
    }
}

/// Rings when the thread ends, however it does.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.ring();
    }
}

/// For the pump.
impl Shared {
    pub(super) fn stops(&self) -> bool {
        // ORDERING: Acquire, pairs with `stop`.
        self.stop.load(Acquire)
    }

    pub(super) fn has_failed(&self) -> bool {
        // ORDERING: Acquire, pairs with `fail`: the cause is there.
        self.has_failed.load(Acquire)
    }

    pub(super) fn fail(&self, failure: Failure) {
        if !self.has_failed() {
            event!(
                ERROR,
                path = %failure.path.display(),
                error = %failure.source,
                "the shadow takes no writes: reads go on, writes are refused"
            );
        }
        *lock(&self.failure) = Some(failure);
        // ORDERING: Release, pairs with `has_failed`.
        self.has_failed.store(true, Release);
        self.tickets.fail();
    }

    /// The shadow takes writes again, and nothing is doubted.
    pub(super) fn recover(&self) {
        self.tickets.recover();
        // ORDERING: Release, as in `fail`; who still sees the old value refuses a put too many.
        self.has_failed.store(false, Release);
    }

    pub(super) fn set_busy(&self, busy: Busy) {
        // ORDERING: Relaxed. A word for people.
        self.busy_with.store(busy as u8, Relaxed);
    }

    pub(super) fn has_request(&self) -> bool {
        lock(&self.post).request.is_some()
    }

    pub(super) fn take_request(&self) -> Option<Request> {
        lock(&self.post).request.take()
    }

    /// Nobody will take requests any more.
    pub(super) fn close_post(&self) {
        *lock(&self.post) = Post { request: None, is_closed: true };
    }
}
