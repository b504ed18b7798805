//! The flusher: takes what is committed to the shadow, as a pump that a thread or a test drives.
//!
//! A round looks at every lane: sealed wblocks are written whole, and when a barrier waits or
//! `flush_max` is near, the open wblock is cut at a sector and written up to there; the headers
//! that reclaim wants struck out go along. Then come the syncs, and then the tickets.
//!
//! States of a flush of one wblock
//! ```text
//! nothing --[cut, or sealed]--> targeted --[walk: all committed]--> taken --[write]--> unsynced
//! unsynced --[sync]--> durable
//! unsynced --[a write or a sync fails]--> doubted --[all written again, and synced]--> durable
//! ```
//!
//! Invariants
//! - F1  A round serves the tickets that it read before it cut the first stripe: all that was
//!   committed before they were taken lies in a wblock that this round targets (edge E3 of
//!   `tickets`, S5 of `stripe`).
//! - F2  Bytes are written only below what the walk found complete, and never change from then on:
//!   the next flush of the wblock starts at the sector after (invariant 6 of the store).
//! - F3  A flush of a wblock starts only when its last one is durable. So verified data of a later
//!   flush proves that the one before had been durable: cold start tells rot from a torn write by
//!   it.
//! - F4  Nothing is acknowledged while it is not known what is durable: see below.
//! - F5  A header is struck out by a write of the wblock's first sector, which the next flush of
//!   the wblock, in its next life, follows only after a sync: the wblock is freed by who sees it
//!   `Struck`. A torn one leaves the old header or the new: at that moment both are right.
//!
//! Healing. After a write or a sync has failed, all that is `unsynced` is doubted, whatever the
//! system says of it later: it may have dropped what it could not write, and would report success
//! next time. The memory is still there (F2: a wblock is not reused before it is durable), so the
//! next round begins by writing all of it again, to its own place, and syncing that; only a sync
//! that succeeds after that rewrite is believed. Until then nothing new is taken, no ticket
//! completes, no wblock becomes `Used` or `Struck`; and what was taken and not begun (a second
//! flush of a doubted wblock) waits, for F3. Of several files whose syncs fail apart, those that
//! were synced are durable. How often to try, and when to say so, is for the pump; where one place
//! fails and others do not, `places`.
//!
//! A writer stopped between its reservation and its commit holds up its own wblock, and with it
//! the barriers, not the other stripes' wblocks.
//!
//! Checked by: `tests/crash_sim.rs`, `tests/heal.rs`, on the simulated disk.

use super::ahead::{Ahead, Stretch};
use super::io::Transfers;
use super::io::{BlockIo, Buffer, Direction, FileIndex, IoCounters, Transfer, TransferError};
use super::jobs::{Job, LaneProgress, Layout, Target, Then};
use super::places::Places;
use super::requests::Requests;
use super::tickets::Tickets;
use crate::format::CensusTag;
use crate::planted::{Bug, is_planted};
use crate::region::{Cut, State, Stripes};
use crate::sync::{Arc, AtomicU64, Relaxed};
use crate::unit::{RBLOCK_BYTES, SECTOR_BYTES, SECTOR_RBLOCKS, WblockId};
use std::collections::{BTreeMap, BTreeSet};
use std::ptr::NonNull;

/// Writes in flight. Two to four keep a drive busy; more only make a barrier wait longer.
const IN_FLIGHT: usize = 4;

/// Looks at a commit word before the flusher gives way to its writer, and goes on next round.
const WALKS_MAX: u32 = 64;

/// What a round did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// There was nothing to do.
    Idle,
    /// Something was written or synced.
    Worked,
    /// A write or sync failed, and will be made good: try again soon.
    Healing,
    /// A writer holds a reservation that it has not committed: try again soon.
    Waiting,
    /// What lay in a bad place is being moved off it: try again soon.
    Moving,
}

/// Takes the wblocks of all stripes to the shadow.
#[derive(Debug)]
pub struct Flusher {
    pub(super) stripes: Arc<Stripes>,
    pub(super) io: Box<dyn BlockIo>,
    pub(super) transfers: Transfers,
    tickets: Arc<Tickets>,
    requests: Arc<Requests>,
    pub(super) counters: Arc<IoCounters>,
    /// Byte of each shadow at which its first wblock starts.
    first_wblock_bytes: u64,
    /// Syncs only for barriers (`disable_odsync`), and where F3 asks for one.
    lazy_sync: bool,
    /// Syncs as soon as a wblock is finished: there are no timed flushes to do it.
    sync_finished: bool,
    pub(super) progress: Vec<LaneProgress>,
    /// To be written next: one job a wblock at most.
    pub(super) taken: Vec<Job>,
    /// Written, at least in part, and not synced since: by F3 one job a wblock at most.
    pub(super) unsynced: BTreeMap<WblockId, Job>,
    /// What is unsynced is to be written again before anything else.
    pub(super) is_doubted: bool,
    pub(super) places: Places,
    pub(super) ahead: Ahead,
    completed: u64,
    /// Per lane: the oldest wblock not wholly durable (high half), and its durable rblocks.
    durable: Arc<[AtomicU64]>,
}

impl Flusher {
    /// A flusher for `stripes`, whose wblocks start at byte `first_wblock_bytes` of each shadow.
    pub fn new(
        stripes: Arc<Stripes>,
        io: Box<dyn BlockIo>,
        (tickets, requests): (Arc<Tickets>, Arc<Requests>),
        counters: Arc<IoCounters>,
        layout: Layout,
    ) -> Self {
        let count = stripes.lanes();
        let wblock_bytes = stripes.geometry().wblock_bytes;
        let ahead = Ahead::new(stripes.wblocks().count(), wblock_bytes, layout.flush_bytes);
        Self {
            progress: (0..count).map(|_| LaneProgress::default()).collect(),
            durable: (0..count).map(|_| AtomicU64::new(u64::MAX)).collect(),
            stripes,
            io,
            transfers: Transfers::new(layout.flush_bytes as usize, IN_FLIGHT),
            tickets,
            requests,
            counters,
            first_wblock_bytes: layout.first_wblock_bytes,
            lazy_sync: layout.lazy_sync,
            sync_finished: false,
            taken: Vec::new(),
            unsynced: BTreeMap::new(),
            is_doubted: false,
            places: Places::default(),
            ahead,
            completed: 0,
        }
    }

    /// Whether to sync as soon as a wblock is finished: for a time without timed flushes.
    pub fn set_sync_finished(&mut self, sync: bool) {
        self.sync_finished = sync;
    }

    /// How far each lane is durable, for statistics: the number of its oldest wblock that is not
    /// wholly so in the high half, that wblock's durable rblocks in the low half.
    pub fn durable(&self) -> Arc<[AtomicU64]> {
        Arc::clone(&self.durable)
    }

    /// One round. With `due` it takes the open wblocks along, as a waiting barrier does; `ticket`
    /// is the last barrier that was asked for when the round began.
    ///
    /// # Errors
    ///
    /// A write or sync failed: nothing was acknowledged since, and the next round heals.
    pub fn poll(&mut self, due: bool, ticket: u64) -> Result<Round, TransferError> {
        self.heal()?;
        // Before the first cut: what was moved off a bad place lies in what this round targets.
        let is_moving = self.is_moving_off();
        let is_barrier = ticket > self.completed;
        if is_barrier && is_planted(Bug::AckBeforeCompletion) {
            self.completed = ticket;
            self.tickets.complete(ticket);
            return Ok(Round::Worked);
        }
        let mut is_waiting = false;
        for lane in 0..self.stripes.lanes() {
            self.look_back(lane);
            let cut = due || is_barrier;
            while let Some(job) = self.next_job(lane, cut, &mut is_waiting) {
                self.take(job);
                // F3: one flush of a wblock a round, and a cut wblock is the lane's newest.
                if job.then != Then::Used {
                    break;
                }
            }
        }
        self.take_strikes();
        let has_written = !self.taken.is_empty();
        self.write_taken(is_barrier)?;
        let has = |then| self.unsynced.values().any(|job| job.then == then);
        // Where puts wait for wblocks to be durable, or would soon, a sync is not put off.
        let finished = (self.sync_finished || self.stripes.is_backlogged()) && has(Then::Used);
        let is_acked_early = is_barrier && is_planted(Bug::AckBeforeSync);
        let sync = is_barrier || has(Then::Struck) || (!self.lazy_sync && due) || finished;
        let has_synced = sync && !self.unsynced.is_empty();
        if sync && !is_acked_early {
            self.sync()?;
        }
        if has_synced || is_barrier {
            self.stripes.call_reclaimers();
        }
        if is_waiting {
            return Ok(Round::Waiting);
        }
        if is_barrier && is_moving {
            return Ok(Round::Moving);
        }
        if is_barrier {
            self.completed = ticket;
            self.tickets.complete(ticket);
            self.write_ahead();
        }
        Ok(if has_written || has_synced || is_barrier { Round::Worked } else { Round::Idle })
    }

    /// Makes durable what was written and not synced.
    ///
    /// # Errors
    ///
    /// As for [`poll`](Self::poll).
    pub fn sync_rest(&mut self) -> Result<(), TransferError> {
        self.heal()?;
        if self.unsynced.is_empty() { Ok(()) } else { self.sync() }
    }

    /// What is unsynced is not to be believed, for somebody else's sync of its file has failed.
    pub fn doubt(&mut self) {
        self.is_doubted = true;
    }

    /// Goes on with another back end over the same members, if the one it has is lost.
    pub fn replace_lost_io(&mut self, open: impl FnOnce() -> Box<dyn BlockIo>) {
        if self.io.is_lost() {
            self.io = open();
        }
    }

    /// Writes all again that is doubted, and then what was taken before the doubt arose.
    fn heal(&mut self) -> Result<(), TransferError> {
        if self.is_doubted {
            let again: Vec<Job> = self.unsynced.values().copied().collect();
            self.write(&again)?;
            self.sync()?;
            self.is_doubted = false;
            self.counters.count_heal();
        }
        self.write_taken(false)
    }

    #[expect(clippy::indexing_slicing, reason = "one progress a lane")]
    fn progress(&mut self, lane: u32) -> &mut LaneProgress {
        &mut self.progress[lane as usize]
    }

    /// Finds the wblocks that the lane has opened since the last look (S5).
    fn look_back(&mut self, lane: u32) {
        let stripes = Arc::clone(&self.stripes);
        let progress = self.progress(lane);
        let mut found = Vec::new();
        // What a link names is not struck out, and so not opened again, before the lane was seen
        // to name another: its sequence is of the life that the link means.
        let life = |wblock| (wblock, stripes.wblock(wblock).sequence());
        let mut next = stripes.newest(lane).map(life);
        while let Some((wblock, sequence)) = next.filter(|_| next != progress.newest) {
            found.push((wblock, sequence));
            next = stripes.wblock(wblock).previous().map(life);
        }
        progress.newest = found.first().copied().or(progress.newest);
        progress.backlog.extend(found.into_iter().map(|(wblock, _)| wblock).rev());
    }

    /// What of `lane` can be written now, and was not taken in this round.
    fn next_job(&mut self, lane: u32, cut: bool, is_waiting: &mut bool) -> Option<Job> {
        let stripes = Arc::clone(&self.stripes);
        let end = stripes.geometry().wblock_rblocks();
        let progress = self.progress(lane);
        let wblock = *progress.backlog.front()?;
        // A cut of an earlier round does not cover the tickets of this one (F1): go round again.
        let is_stale = matches!(progress.target, Target::Until(_));
        if progress.target == Target::None {
            progress.target = if progress.backlog.len() > 1 {
                Target::End
            } else if cut {
                let flushed = progress.flushed_rblock;
                match stripes.cut(lane, wblock, flushed, progress.flushes) {
                    Cut::Nothing => Target::None,
                    Cut::Until(rblock) => Target::Until(rblock),
                    Cut::Sealed => Target::End,
                }
            } else {
                Target::None
            };
        }
        let (until, is_last) = match progress.target {
            Target::None => return None,
            Target::Until(rblock) => (rblock, false),
            Target::End => (end, true),
        };
        let from_rblock = progress.flushed_rblock;
        let walk_from = from_rblock.max(crate::unit::WBLOCK_HEADER_RBLOCKS);
        let Some(data_end) = complete(&stripes, wblock, walk_from, until) else {
            *is_waiting = true;
            return None;
        };
        *is_waiting |= is_stale;
        let until_rblock = data_end.next_multiple_of(SECTOR_RBLOCKS);
        progress.target = Target::None;
        if is_last {
            progress.backlog.pop_front();
            (progress.flushed_rblock, progress.flushes) = (0, 0);
        } else {
            progress.flushed_rblock = until_rblock;
            progress.flushes += 1;
        }
        let then = if is_last { Then::Used } else { Then::Open };
        Some(Job { wblock, from_rblock, until_rblock, then })
    }

    /// Takes the headers that are to be struck out (F5).
    fn take_strikes(&mut self) {
        for wblock in self.requests.take_strikes() {
            if is_planted(Bug::FreeWithoutStrike) {
                self.stripes.wblock(wblock).enter(State::Struck);
                self.stripes.call_reclaimers();
                continue;
            }
            let job = self.strike(wblock);
            if self.stripes.wblock(wblock).is_bad() {
                self.strike_bad(&job);
            } else {
                self.take(job);
            }
        }
    }

    /// Strikes out the header of `wblock` in memory, and says what is to be written of it.
    pub(super) fn strike(&self, wblock: WblockId) -> Job {
        self.stripes.write_struck_header(wblock);
        let until_rblock = SECTOR_BYTES / RBLOCK_BYTES;
        Job { wblock, from_rblock: 0, until_rblock, then: Then::Struck }
    }

    /// Takes `job`, and notes how its wblock stands after it, for the census of an orderly close,
    /// before which all that was taken is durable. A header that is to be struck out stands until
    /// it is: if its place turns out bad, what the census says of it holds.
    fn take(&mut self, job: Job) {
        let wblock = self.stripes.wblock(job.wblock);
        if wblock.is_bad() {
            return self.pass_over(job);
        }
        let written = |until| CensusTag::new(wblock.sequence(), until);
        match job.then {
            Then::Open => wblock.set_census(written(job.until_rblock)),
            // It ends with a padding that reaches to the end.
            Then::Used => wblock.set_census(written(self.stripes.geometry().wblock_rblocks())),
            Then::Struck => {}
        }
        self.taken.push(job);
    }

    /// Writes what was taken; for a barrier zeros ahead of it are to follow (`ahead`).
    fn write_taken(&mut self, is_barrier: bool) -> Result<(), TransferError> {
        // F3: a wblock's last flush is synced before its next one is written.
        if self.taken.iter().any(|job| self.unsynced.contains_key(&job.wblock)) {
            self.sync()?;
        }
        let taken = std::mem::take(&mut self.taken);
        self.unsynced.extend(taken.iter().map(|job| (job.wblock, *job)));
        self.ahead.follow(&taken, is_barrier);
        self.write(&taken)
    }

    /// Writes the zeros that are to follow, behind what is durable. Whether they come to anything
    /// is nobody's concern (H2 of `ahead`): where writes fail, the next flush will tell.
    fn write_ahead(&mut self) {
        let planned = self.ahead.take_planned();
        let to_transfer = |stretch: Stretch| {
            let zeros = self.ahead.zeros(&stretch);
            // SAFETY: (1) (2) they stay where they are and as they are, and outlive the run.
            let zeros = unsafe { Buffer::new(NonNull::from(zeros).cast(), zeros.len()) };
            self.transfer_to(stretch.wblock, stretch.from_rblock, zeros)
        };
        let mut transfers: Vec<Transfer> = planned.into_iter().map(to_transfer).collect();
        let mut transfers = transfers.drain(..);
        let _ = self.transfers.run(&mut *self.io, &mut transfers, &self.counters);
    }

    /// Writes `jobs`, which are among the unsynced.
    fn write(&mut self, jobs: &[Job]) -> Result<(), TransferError> {
        let written = jobs.iter().filter(|job| job.until_rblock > job.from_rblock);
        let transfers: Vec<Transfer> = written.map(|job| self.transfer(job)).collect();
        let mut transfers = transfers.into_iter();
        let written = self.transfers.run(&mut *self.io, &mut transfers, &self.counters);
        self.is_doubted |= written.is_err();
        written.map(|_| ())
    }

    pub(super) fn transfer(&self, job: &Job) -> Transfer {
        let geometry = self.stripes.geometry();
        let start = self.stripes.region().pointer(geometry.location(job.wblock, job.from_rblock));
        let bytes = (job.until_rblock - job.from_rblock) * RBLOCK_BYTES;
        // SAFETY: (1) within the region, which `self` keeps mapped. (2) F2: the range is committed
        // or padding, and cut off from further reservations; the wblock is not opened again before
        // it is used, which follows the sync, and then struck out, which follows another.
        let buffer = unsafe { Buffer::new(start, bytes as usize) };
        self.transfer_to(job.wblock, job.from_rblock, buffer)
    }

    fn transfer_to(&self, wblock: WblockId, from_rblock: u32, buffer: Buffer) -> Transfer {
        let geometry = self.stripes.geometry();
        let place = u64::from(geometry.place_on_shadow(wblock)) * u64::from(geometry.wblock_bytes);
        let at = u64::from(from_rblock * RBLOCK_BYTES);
        let offset = self.first_wblock_bytes + place + at;
        Transfer { direction: Direction::Write, file: self.file(wblock), offset, buffer }
    }

    pub(super) fn file(&self, wblock: WblockId) -> FileIndex {
        FileIndex(self.stripes.geometry().home_stripe(wblock))
    }

    /// Syncs every file that was written to; what was written to it is durable from now on.
    fn sync(&mut self) -> Result<(), TransferError> {
        if is_planted(Bug::SkipSync) {
            return Ok(());
        }
        let files: BTreeSet<FileIndex> =
            self.unsynced.keys().map(|wblock| self.file(*wblock)).collect();
        let synced = self.transfers.sync(&mut *self.io, &mut files.into_iter(), &self.counters);
        let errors = synced.err().unwrap_or_default();
        let is_doubted = |file| errors.iter().any(|error| error.file == file);
        let (doubted, durable) = std::mem::take(&mut self.unsynced)
            .into_iter()
            .partition(|(wblock, _)| is_doubted(self.file(*wblock)));
        self.unsynced = doubted;
        self.settle(&durable);
        match errors.into_iter().next() {
            None => Ok(()),
            Some(error) => {
                self.is_doubted = true;
                Err(error)
            }
        }
    }

    /// What `jobs` wrote is durable.
    pub(super) fn settle(&mut self, jobs: &BTreeMap<WblockId, Job>) {
        for (wblock, job) in jobs {
            match job.then {
                Then::Open => {}
                Then::Used => self.stripes.flushed(*wblock),
                Then::Struck => {
                    let entry = self.stripes.wblock(*wblock);
                    entry.set_census(CensusTag::NONE);
                    entry.enter(State::Struck);
                }
            }
        }
        if !self.unsynced.is_empty() {
            return;
        }
        for (progress, durable) in self.progress.iter().zip(self.durable.iter()) {
            let oldest = progress.backlog.front().map_or(u32::MAX, |wblock| wblock.0);
            let packed = u64::from(oldest) << 32 | u64::from(progress.flushed_rblock);
            // ORDERING: Relaxed. A figure for statistics.
            durable.store(packed, Relaxed);
        }
    }

    /// Copies as much of `wblock` to the start of `image` as [`extent`](Self::extent) says; the
    /// rest of the image is zero.
    pub(super) fn copy_to(&self, wblock: WblockId, image: &mut [u8]) {
        let bytes = self.extent(wblock) as usize * RBLOCK_BYTES as usize;
        let location = self.stripes.geometry().location(wblock, 0);
        // SAFETY: (1) complete, as the flusher has seen, or loaded; (2) a wblock that is not empty
        // by `extent` is opened again only after it was struck out, which the caller, who has the
        // flusher, does not do meanwhile; (3) so all its commit words stay as they are.
        let source = unsafe { self.stripes.region().bytes(location, 0, bytes) };
        let (front, rest) = image.split_at_mut(bytes.min(image.len()));
        front.copy_from_slice(source);
        rest.fill(0);
    }
}

/// Where the data of `wblock` between `from` and `until` ends, once all of it is committed.
fn complete(stripes: &Stripes, wblock: WblockId, from: u32, until: u32) -> Option<u32> {
    let mut at = from;
    for _ in 0..WALKS_MAX {
        let walk = stripes.walk(wblock, at, until);
        if walk.complete >= until || is_planted(Bug::SealWithoutCompletion) {
            // Nothing new was walked: a wblock that was full to the byte at its last cut.
            return Some(walk.data_end.max(from).min(until));
        }
        at = walk.complete;
        crate::sync::spin_loop();
    }
    None
}
