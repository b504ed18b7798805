//! The work of the shadow side: drives the flusher, keeps the superblocks, tries again what failed,
//! and moves the store to another shadow. The thread's loop, or a test, drives it.
//!
//! It sleeps on the stripes' doorbell, which sealed wblocks, barriers, changed settings and `stop`
//! ring, and wakes by itself twice in `flush_max` to take open wblocks along: a put rings nothing.
//! An idle store wakes it only for that, some microseconds each time.
//!
//! A failure is met with three more rounds, a few milliseconds apart, each of which first writes
//! again all that is doubted. If they fail as well the shadow has failed: the store is told, and
//! the same is tried once a second, for as long as the store is open. A disk that was full has
//! space again, a cable is back in: then the store goes on where it was.
//!
//! Before the third of these rounds it is looked for a place that alone is to blame (`places`). If
//! there is one, the shadow has not failed: barriers wait until what lies there is elsewhere.
//!
//! Superblocks are rewritten the same way: what was not written and synced in all members is
//! wanted still, and the copies in force are left alone meanwhile (G2 of `set`). Their syncs are
//! those of whole files: one that fails casts doubt on the flusher's writes, too, for the system
//! tells of a lost write only once.
#![forbid(unsafe_code)]

use super::attach::{Attach, Attached};
use super::flusher::{Flusher, Round};
use super::gather::Gather;
use super::io::{FileIndex, Members, Prefer, TransferError};
use super::requests::Requests;
use super::service::{Busy, Failure, Shared};
use super::set::ShadowSet;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::format::Census;
use crate::planted::{Bug, is_planted};
use crate::region::{NowUs, Stripes};
use crate::sync::{Arc, thread};
use crate::trace::event;
use crate::unit::Sequence;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Pause when a writer holds a reservation that it has not committed.
const WRITER_PAUSE: Duration = Duration::from_micros(50);
/// Failed rounds in a row after which the shadow has failed: the first, and three that tried to
/// make it good.
const FAILURES_MAX: u32 = 4;
/// Pause after the first of them; each of the next is four times as long.
const HEAL_PAUSE: Duration = Duration::from_millis(5);
/// Failed rounds in a row after which a place is looked for that is to blame for them.
const FAILURES_OF_ALL: u32 = 2;
/// So long a barrier waits for what is moved off a bad place before the shadow has failed.
const MOVING_MAX: Duration = Duration::from_secs(5);
/// Pause between two tries of a shadow that has failed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// What the pump works on.
#[derive(Debug)]
pub struct Work {
    /// The flusher.
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

/// The work of the shadow side.
#[derive(Debug)]
pub struct Pump {
    shared: Arc<Shared>,
    work: Work,
    /// Failed rounds in a row.
    failures: u32,
    /// Since when a barrier waits for what is moved off a bad place.
    moving_since: Option<Instant>,
    /// The store is moving to another shadow.
    attach: Option<Attach>,
    gather: Gather,
}

impl Pump {
    pub(super) fn new(shared: Arc<Shared>, work: Work) -> Self {
        let gather = Gather::default();
        Self { shared, work, failures: 0, moving_since: None, attach: None, gather }
    }

    /// Until the store is closed.
    pub(super) fn run(mut self) {
        if let Some(core) = self.work.core {
            crate::sync::core::pin_thread(core);
        }
        let mut last_due = Instant::now();
        loop {
            let period = self.work.settings.flush_max().map(|flush_max| flush_max / 2);
            if !self.shared.stops() {
                self.gather.wait(&self.shared.tickets, self.shared.stripes.doorbell());
            }
            // Behind that wait, which may have been rung for the end.
            let stops = self.shared.stops();
            if stops {
                // Who waits for it is told that the store is closed.
                self.attach = None;
                self.shared.close_post();
            }
            let due = period.is_some_and(|period| last_due.elapsed() >= period);
            let begun = Instant::now();
            let round = self.poll(due);
            if matches!(round, Ok(Round::Worked)) {
                self.gather.note(begun.elapsed());
            }
            if due && matches!(round, Ok(Round::Worked | Round::Idle)) {
                last_due = Instant::now();
            }
            match round {
                Ok(Round::Worked) => {}
                Ok(Round::Waiting) => thread::sleep(WRITER_PAUSE),
                Ok(Round::Moving) => thread::sleep(HEAL_PAUSE),
                Ok(Round::Healing) => thread::sleep(HEAL_PAUSE * 4_u32.pow(self.failures - 1)),
                Ok(Round::Idle) if stops => break,
                Ok(Round::Idle) => {
                    let timeout = period.map(|period| period.saturating_sub(last_due.elapsed()));
                    self.shared.stripes.doorbell().wait(timeout);
                }
                Err(_) if stops => return,
                Err(_) => self.rest(),
            }
        }
        self.close();
    }

    /// Between two tries of a shadow that has failed: nothing but the end of the store or another
    /// shadow is worth an earlier one.
    fn rest(&self) {
        let until = Instant::now() + FAILED_PAUSE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.shared.stops() || self.shared.has_request() {
                return;
            }
            self.shared.stripes.doorbell().wait(Some(left));
        }
    }

    /// One round of the flusher, after what a failed one left to be made good; with `due` it takes
    /// the open wblocks along. While the store moves to another shadow, a part of that as well.
    ///
    /// # Errors
    ///
    /// The shadow has failed, or still fails; the store knows. The next call tries again.
    pub fn poll(&mut self, due: bool) -> Result<Round, Failure> {
        let is_moving = self.move_on();
        if is_moving && self.shared.has_failed() {
            // It leaves what has failed, which is not waited for any more.
            return Ok(Round::Worked);
        }
        self.shared.set_busy(Busy::Device);
        let round = self.round(due);
        self.shared.set_busy(match &round {
            Ok(Round::Waiting) => Busy::Writer,
            Ok(Round::Moving) | Err(_) => Busy::Healing,
            Ok(_) => Busy::No,
        });
        match round {
            Ok(Round::Idle) if is_moving => Ok(Round::Worked),
            Ok(round) => {
                self.recover();
                Ok(round)
            }
            Err(failure) => {
                self.failures = (self.failures + 1).min(FAILURES_MAX);
                if self.failures < FAILURES_MAX {
                    return Ok(Round::Healing);
                }
                self.shared.fail(failure.clone());
                Err(failure)
            }
        }
    }

    fn recover(&mut self) {
        self.failures = 0;
        if self.shared.has_failed() {
            event!(INFO, "the shadow takes writes again: all that was doubted is written");
            self.shared.recover();
        }
    }

    fn round(&mut self, due: bool) -> Result<Round, Failure> {
        // Before the superblocks: a flush asks for the clock floor first, and then for its ticket.
        let ticket = self.shared.tickets.requested();
        let kept = self.keep_superblocks();
        if kept.is_err() {
            self.work.flusher.doubt();
        }
        kept.map_err(into_failure)?;
        self.work.flusher.set_sync_finished(self.work.settings.flush_max().is_none());
        let members = Arc::clone(self.work.set.members());
        let region = self.shared.stripes.region().range();
        // A ring that the kernel takes no entries from any more; where there is no other, pwrite.
        let open = || members.io(Some(region), Prefer::Ring).io;
        self.work.flusher.replace_lost_io(open);
        if self.failures >= FAILURES_OF_ALL {
            self.look_for_bad_places();
        }
        let mut round = self.work.flusher.poll(due, ticket);
        if !matches!(round, Ok(Round::Moving)) {
            self.moving_since = None;
        } else if self.moving_since.get_or_insert_with(Instant::now).elapsed() > MOVING_MAX {
            round = Err(self.work.flusher.moving_cause());
        }
        round.map_err(|error| of_transfer(error, &*members))
    }

    /// Finds the places that refuse writes, if other places of the shadow take them.
    fn look_for_bad_places(&mut self) {
        let suspects = self.work.flusher.find_suspects();
        if !self.work.flusher.may_retire(&suspects) {
            return;
        }
        match self.work.set.rewrite(|_| {}) {
            Ok(()) => self.work.flusher.retire(&suspects),
            Err(_) => self.work.flusher.doubt(),
        }
    }

    /// Promises sequences, and raises the clock floor, if either is asked for.
    fn keep_superblocks(&mut self) -> Result<()> {
        let next = self.shared.stripes.next_sequence();
        if let Some(limit) = self.work.set.extend_sequences(next)? {
            self.shared.stripes.set_sequence_limit(limit);
        }
        if let Some(floor_us) = self.work.requests.wanted_floor() {
            if !is_planted(Bug::FloorBeforeSuperblock) {
                self.work.set.raise_floor(floor_us)?;
            }
            self.work.requests.set_floor(floor_us);
        }
        Ok(())
    }

    /// Goes on with the move to another shadow; false: there is none, or it has ended.
    fn move_on(&mut self) -> bool {
        if let Some(request) = self.shared.take_request() {
            let now_us = (self.work.now_us)();
            self.attach = Attach::begin(request, &self.work.set, now_us);
        }
        let Some(mut attach) = self.attach.take() else { return false };
        self.shared.set_busy(Busy::Device);
        match self.copy_some(&mut attach) {
            Ok(false) => {
                self.attach = Some(attach);
                return true;
            }
            Ok(true) => self.switch(attach),
            Err(error) => attach.refuse(error),
        }
        false
    }

    /// True: the new shadow holds the whole store, durably.
    fn copy_some(&mut self, attach: &mut Attach) -> Result<bool> {
        let (flusher, stripes) = (&self.work.flusher, &self.shared.stripes);
        if !attach.step(flusher, stripes)? {
            return Ok(false);
        }
        let now_us = (self.work.now_us)();
        attach.finish((flusher, stripes), &self.work.set, now_us)?;
        Ok(true)
    }

    /// Leaves the old shadow for the new.
    fn switch(&mut self, attach: Attach) {
        let (set, prefer, answer) = attach.into_parts();
        let members = Arc::clone(set.members());
        // The old back end gives back its files and the memory that it locked before the new one
        // asks for either.
        self.work.flusher.go_on_with(members.io(None, Prefer::Blocking).io);
        self.work.set = set;
        let region = self.shared.stripes.region().range();
        let opened = members.io(Some(region), prefer);
        self.work.flusher.go_on_with(opened.io);
        self.recover();
        answer.send(Ok(Attached { ring_refused: opened.ring_refused }));
    }

    /// Polls until all that was committed before is durable: a barrier for who holds the pump.
    ///
    /// # Errors
    ///
    /// Those of [`poll`](Self::poll).
    #[cfg(feature = "testing")]
    pub fn barrier(&mut self) -> Result<(), Failure> {
        let ticket = self.ticket();
        while !self.is_durable(ticket) {
            self.poll(true)?;
        }
        Ok(())
    }

    /// A ticket for all that was committed before, for who polls and looks.
    #[cfg(feature = "testing")]
    pub fn ticket(&self) -> u64 {
        self.shared.tickets.take()
    }

    /// True once all that `ticket` is for is durable.
    #[cfg(feature = "testing")]
    pub fn is_durable(&self, ticket: u64) -> bool {
        self.shared.tickets.completed() >= ticket
    }

    /// After the last round: syncs what a writer that was late has left, and marks the superblocks
    /// clean, with a census of what is durable now.
    pub fn close(mut self) {
        let now_us = (self.work.now_us)();
        let members = Arc::clone(self.work.set.members());
        let synced = self.work.flusher.sync_rest().map_err(|error| of_transfer(error, &*members));
        let closed = synced.and_then(|()| {
            let censuses = censuses(&self.shared.stripes, self.work.set.first_sequence());
            // K4 of `places`.
            let is_whole = !self.work.flusher.has_bad_places();
            let whole_from = (!is_whole).then(|| self.shared.stripes.next_sequence());
            self.work.set.mark_clean(now_us, censuses, whole_from).map_err(into_failure)
        });
        if let Err(failure) = closed {
            self.shared.fail(failure);
        }
    }
}

/// Whoever waits for something of it waits no more.
impl Drop for Pump {
    fn drop(&mut self) {
        self.shared.close_post();
        if std::thread::panicking() {
            let source = Arc::new(io::Error::other("the shadow thread has panicked"));
            self.shared.fail(Failure { path: PathBuf::new(), source });
        }
    }
}

/// How every wblock stands on the shadow, by stripe; later runs start at `next`.
fn censuses(stripes: &Stripes, next: Sequence) -> Vec<Census> {
    let wblocks: Vec<_> = stripes.wblocks().map(|(_, entry)| entry.census()).collect();
    let per_stripe = stripes.geometry().wblocks_per_stripe as usize;
    wblocks.chunks(per_stripe).map(|tags| Census::new(next, tags.iter().copied())).collect()
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
