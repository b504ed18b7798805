//! Places of a shadow that are bad: writes to one wblock's place fail, time and again, and to other
//! places of the same file they do not. What lay there is written elsewhere, and the place is not
//! used again while the store is on this shadow.
//!
//! States of a wblock whose writes fail
//! ```text
//! doubted --[written and synced alone]--> durable
//! doubted --[refused alone, the superblocks are not]--> bad --[sealed, complete]--> Used, bad
//! Used, bad --[emptied by its reclaimer, before any other]--> Quarantined: moved off
//! moved off --[its header is struck out]--> Struck --[pins gone]--> Retired
//! moved off --[its header cannot be struck out]--> stuck: Quarantined for good
//! ```
//!
//! Invariants
//! - K1  No ticket completes in a round that began before all that was in a bad place was
//!   superseded or moved off: the round that completes it targets what took its place (F1 of
//!   `flusher`), and the burier's Release, which the look for live rblocks acquires, has it
//!   reserved before.
//! - K2  Nothing is written to a bad place but its header, once, when nothing in it counts.
//! - K3  What a bad place still holds is not newer than what the other places hold, and counts as
//!   an older copy until its header is struck out: tombstones stay for it (D4 of `reclaim`).
//! - K4  A refused write may be there in part. So in a run that met a bad place an orderly end does
//!   not say that wblocks are whole, and of that one the census knows what was durable before: what
//!   a later run finds there of this life, or does not, is all the same to it.
//! - K5  A device of which more than a small share is bad has failed as a whole.
//! - K6  What cold start could not use must be struck out, for nobody knows what it holds: a place
//!   that refuses even that is not given up, and the shadow has failed.
//!
//! Checked by: `tests/bad_places.rs`, on the simulated disk.
#![forbid(unsafe_code)]

use super::flusher::Flusher;
use super::io::{FileIndex, TransferError};
use super::jobs::{Job, Then};
use crate::format::CensusTag;
use crate::planted::{Bug, is_planted};
use crate::region::State;
use crate::trace::event;
use crate::unit::WblockId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Tries of a write alone before its place counts as bad.
const ALONE_TRIES: u32 = 3;
/// Of the wblocks of a store this share may have bad places; in a store of fewer, none.
const BAD_SHARE: u32 = 16;

/// What is known of bad places.
#[derive(Debug, Default)]
pub(super) struct Places {
    bad: BTreeSet<WblockId>,
    /// The last failure that made a place bad: the file, and the number of the error.
    cause: Option<(FileIndex, i32)>,
}

/// A wblock whose place may be bad.
#[derive(Debug)]
pub(super) struct Suspect {
    wblock: WblockId,
    file: FileIndex,
    errno: i32,
}

impl Flusher {
    /// Writes and syncs each doubted job alone; what succeeds is durable. Returns those that do not
    /// although the error is of a kind that may be of their place; none if one fails otherwise.
    pub(super) fn find_suspects(&mut self) -> Vec<Suspect> {
        let mut suspects = Vec::new();
        if !self.is_doubted {
            return suspects;
        }
        let jobs: Vec<Job> = self.unsynced.values().copied().collect();
        for job in jobs {
            match self.write_alone(&job) {
                Ok(()) => {
                    self.unsynced.remove(&job.wblock);
                    self.settle(&BTreeMap::from([(job.wblock, job)]));
                }
                Err(error) => match errno_of_place(&error.source) {
                    Some(errno) if self.may_be_left(job.wblock) => {
                        suspects.push(Suspect { wblock: job.wblock, file: error.file, errno });
                    }
                    _ => return Vec::new(),
                },
            }
        }
        suspects
    }

    /// K6.
    fn may_be_left(&self, wblock: WblockId) -> bool {
        self.stripes.wblock(wblock).state() != State::Damaged
    }

    /// True if so many more bad places are no sign that the device as a whole fails (K5).
    pub(super) fn may_retire(&self, suspects: &[Suspect]) -> bool {
        let wblocks = u64::from(self.stripes.geometry().wblocks());
        let bad = self.stripes.bad_wblocks() + suspects.len() as u64;
        !suspects.is_empty() && bad * u64::from(BAD_SHARE) <= wblocks
    }

    /// The places of `suspects` are bad: other places of the same files have just been written.
    pub(super) fn retire(&mut self, suspects: &[Suspect]) {
        for Suspect { wblock, file, errno } in suspects {
            event!(
                WARN,
                wblock = wblock.0,
                file = file.0,
                errno,
                "a place of the shadow takes no writes: what lies there is written elsewhere"
            );
            let refused = self.unsynced.remove(wblock);
            let waiting = self.taken.extract_if(.., |job| job.wblock == *wblock);
            let jobs: Vec<Job> = refused.into_iter().chain(waiting).collect();
            let entry = self.stripes.wblock(*wblock);
            // K4: what was durable there is there still.
            if let Some(job) = jobs.first().filter(|job| job.then != Then::Struck) {
                entry.set_census(CensusTag::new(entry.sequence(), job.from_rblock));
            }
            entry.set_bad(false);
            self.places.bad.insert(*wblock);
            self.places.cause = Some((*file, *errno));
            self.stripes.set_bad_wblocks(self.places.bad.len() as u64);
            self.stripes.fill_up(*wblock);
            for job in jobs {
                self.pass_over(job);
            }
        }
        self.stripes.call_reclaimers();
    }

    /// Takes note of `job`, of a bad place, without writing anything (K2).
    pub(super) fn pass_over(&self, job: Job) {
        let entry = self.stripes.wblock(job.wblock);
        match job.then {
            Then::Open => {}
            Then::Used => {
                self.stripes.flushed(job.wblock);
                self.stripes.call_reclaimers();
            }
            Then::Struck => entry.set_bad(true),
        }
    }

    /// Strikes out the header in a bad place, if that can be done.
    pub(super) fn strike_bad(&mut self, job: &Job) {
        if self.write_alone(job).is_ok() {
            let entry = self.stripes.wblock(job.wblock);
            entry.set_census(CensusTag::NONE);
            entry.enter(State::Struck);
        } else {
            self.pass_over(*job);
        }
        self.stripes.call_reclaimers();
    }

    /// True if something may be in a bad place and nowhere else on the shadow (K1).
    pub(super) fn is_moving_off(&self) -> bool {
        if is_planted(Bug::AckBeforeMove) {
            return false;
        }
        self.places.bad.iter().any(|wblock| {
            let is_left = matches!(
                self.stripes.wblock(*wblock).state(),
                State::Quarantined | State::Struck | State::Retired
            );
            !is_left || self.stripes.live_rblocks(*wblock) > 0
        })
    }

    /// Why something is being moved off.
    pub(super) fn moving_cause(&self) -> TransferError {
        let (file, errno) = self.places.cause.unwrap_or((FileIndex(0), libc::EIO));
        TransferError { op: "write", file, offset: 0, source: io::Error::from_raw_os_error(errno) }
    }

    /// True if a place of this shadow is bad.
    pub(super) fn has_bad_places(&self) -> bool {
        !self.places.bad.is_empty()
    }

    /// The store is on another shadow, where all places are good; headers that could not be struck
    /// out are to be struck out there.
    pub(super) fn leave_bad_places(&mut self) {
        for wblock in std::mem::take(&mut self.places.bad) {
            let entry = self.stripes.wblock(wblock);
            let held = self.extent(wblock);
            if held > 0 {
                entry.set_census(CensusTag::new(entry.sequence(), held));
            }
            if entry.is_stuck() {
                entry.set_census(CensusTag::NONE);
                let job = self.strike(wblock);
                self.taken.push(job);
            }
            self.stripes.wblock(wblock).set_good();
        }
        self.stripes.set_bad_wblocks(0);
    }

    fn write_alone(&mut self, job: &Job) -> Result<(), TransferError> {
        let mut tries = 1;
        loop {
            let written = self.try_alone(job);
            if written.is_ok() || tries == ALONE_TRIES {
                return written;
            }
            tries += 1;
        }
    }

    fn try_alone(&mut self, job: &Job) -> Result<(), TransferError> {
        let mut transfers = std::iter::once(self.transfer(job));
        self.transfers.run(&mut *self.io, &mut transfers, &self.counters)?;
        let mut files = std::iter::once(self.file(job.wblock));
        let synced = self.transfers.sync(&mut *self.io, &mut files, &self.counters);
        synced.map_err(|errors| {
            // What others have written to the file is not to be believed either.
            self.is_doubted = true;
            errors.into_iter().next().unwrap_or_else(|| self.moving_cause())
        })
    }
}

/// The number of `error`, if it may be of one place: not those of a device that is gone or full.
fn errno_of_place(error: &io::Error) -> Option<i32> {
    let is_of_place = [libc::EIO, libc::ENODATA, libc::EREMOTEIO, libc::EILSEQ];
    error.raw_os_error().filter(|errno| is_of_place.contains(errno))
}
