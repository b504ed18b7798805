//! Moving a store, while it runs, to another shadow: off one that has failed, or for any reason.
//!
//! States of the new shadow
//! ```text
//! blank --[superblocks that say INCOMPLETE]--> incomplete --[all wblocks, synced]--> copied
//! copied --[superblocks without INCOMPLETE]--> whole: the flusher goes on with it
//! ```
//! The pump copies between its rounds, a wblock at a time, those that do not change; the old shadow
//! is written as ever meanwhile, if it can be. What was recycled since is copied again. When little
//! is left, the last of it, with the open wblocks as far as they were flushed, or taken to be, is
//! copied without a round between: at that moment the new shadow holds what the flusher takes the
//! old one to hold, and all that was doubted there besides.
//!
//! Invariants
//! - N1  A shadow of which one member is incomplete is refused (`set::survey`). It is whole only
//!   after all was synced: a crash leaves the old one as it was, or one that is refused, or both
//!   whole.
//! - N2  The bytes on the new shadow are those in memory, mended: the same sequences, so a cold
//!   start of the one finds what a cold start of the other would. A wblock that holds nothing gets
//!   a header of zeros, for there may be an old one; so does one that cold start could not read.
//! - N3  Nothing is written to what is neither blank nor an incomplete copy of this very store,
//!   or what a crash has left of the first superblock of one.
//! - N4  The memory that it takes is one wblock, and 8 bytes for each.
//! - N5  Who asked may give the move up for as long as the new shadow is not being made whole, and
//!   the pump makes it whole only if that has not happened: both go by one lock. From then on who
//!   asked waits for as long as it takes: nobody else knows whose the store is.
//!
//! Checked by: `tests/reattach.rs`.
#![forbid(unsafe_code)]

use super::files;
use super::flusher::Flusher;
use super::io::{FileIndex, Members, Prefer, ShadowFile, ShadowFiles};
use super::set::{ShadowSet, Standing, is_cut_mark, mismatch, read_superblock};
use crate::config::Shadow;
use crate::error::{Error, Result};
use crate::format::{CopyName, StoreId, Superblock, WblockPlace, mend};
use crate::region::Stripes;
use crate::sync::{Arc, Mutex, lock};
use crate::unit::{Geometry, SECTOR_BYTES, WblockId};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// So few wblocks left, and the rest is copied at once. Rounds wait for it.
const LEFT_MAX: usize = 8;
/// So many passes over the wblocks, and the rest is copied at once, however much it is.
const PASSES_MAX: u32 = 8;
/// Held by the new shadow in part, or it is not known what it holds.
const UNKNOWN: u64 = u64::MAX;
/// Held: nothing.
const NOTHING: u64 = 0;

/// Where a store is to move.
#[derive(Debug)]
pub struct Request {
    members: Arc<dyn Members>,
    targets: Vec<Option<Standing>>,
    prefer: Prefer,
    answer: Reply,
}

/// How far a move is, between who asked for it and who carries it out.
#[derive(Debug, Default)]
struct Course {
    /// Wblocks copied, and looks whether more are left.
    steps: u64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    UnderWay,
    /// The new shadow is being made whole.
    Arriving,
    /// Nobody waits for it any more.
    GivenUp,
}

/// What the pump answers.
#[derive(Debug)]
pub struct Answer {
    answer: Receiver<Result<Attached>>,
    course: Arc<Mutex<Course>>,
}

/// Who asked.
#[derive(Debug)]
pub(super) struct Reply {
    answer: SyncSender<Result<Attached>>,
    course: Arc<Mutex<Course>>,
}

/// What is to be known of the new shadow.
#[derive(Debug)]
pub struct Attached {
    /// Why `io_uring` is not used for it.
    pub ring_refused: Option<io::Error>,
}

impl Answer {
    /// Waits for it, while the move gets on in each `patience`. `None`: it does not, and is given
    /// up.
    pub(super) fn wait(&self, patience: Duration) -> Option<Result<Attached>> {
        let mut steps = 0;
        loop {
            match self.answer.recv_timeout(patience) {
                Ok(attached) => return Some(attached),
                Err(RecvTimeoutError::Disconnected) => return Some(Err(Error::Closed)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let mut course = lock(&self.course);
            if course.stage == Stage::UnderWay && course.steps == steps {
                course.stage = Stage::GivenUp;
                return None;
            }
            steps = course.steps;
        }
    }

    /// What has come; `None`: nothing yet.
    #[cfg(feature = "testing")]
    pub fn look(&self) -> Option<Result<Attached>> {
        match self.answer.try_recv() {
            Ok(attached) => Some(attached),
            Err(std::sync::mpsc::TryRecvError::Empty) => None,
            Err(std::sync::mpsc::TryRecvError::Disconnected) => Some(Err(Error::Closed)),
        }
    }
}

impl Reply {
    pub(super) fn send(self, answer: Result<Attached>) {
        // Who does not wait any more does not want to know.
        let _ = self.answer.try_send(answer);
    }

    /// Another step, unless nobody waits for it.
    fn step(&self) -> Result<()> {
        let mut course = lock(&self.course);
        course.steps += 1;
        if course.stage == Stage::GivenUp { Err(Error::Closed) } else { Ok(()) }
    }

    /// From now on the new shadow may be whole (N5), unless nobody waits for it.
    fn arrive(&self) -> Result<()> {
        let mut course = lock(&self.course);
        if course.stage == Stage::GivenUp {
            return Err(Error::Closed);
        }
        course.stage = Stage::Arriving;
        Ok(())
    }
}

impl Request {
    /// A move to `members`, which are locked, of the right size, and surveyed as `targets`.
    pub fn new(
        members: Arc<dyn Members>,
        targets: Vec<Option<Standing>>,
        prefer: Prefer,
    ) -> (Self, Answer) {
        let (sender, answer) = sync_channel(1);
        let course = Arc::new(Mutex::new(Course::default()));
        let reply = Reply { answer: sender, course: Arc::clone(&course) };
        (Self { members, targets, prefer, answer: reply }, Answer { answer, course })
    }
}

/// Opens what there is of `target`, and looks whether the store may move to it (N3).
///
/// # Errors
///
/// Those of opening ([`Error::Locked`], [`Error::NotAShadow`], [`Error::Io`]) and of
/// [`survey_targets`]. Nothing was written.
pub fn open_target(
    target: &Shadow,
    store_id: StoreId,
    geometry: Geometry,
    direct: bool,
) -> Result<Vec<ShadowFile>> {
    let existing = files::open_existing(target, direct)?;
    survey_targets(&ShadowFiles::new(existing.clone()), store_id, geometry)?;
    Ok(existing)
}

/// Whether a store may move to `members`: what stands in each, `None` for a blank one (N3).
///
/// # Errors
///
/// [`Error::NotAShadow`], [`Error::UnsupportedFormat`], [`Error::Io`].
pub fn survey_targets(
    members: &dyn Members,
    store_id: StoreId,
    geometry: Geometry,
) -> Result<Vec<Option<Standing>>> {
    let target = |file| {
        // The first write of a move that a crash has cut within: nothing was written behind it.
        if is_cut_mark(members, file, store_id)? {
            return Ok(None);
        }
        let Some(standing) = read_superblock(members, file)? else { return Ok(None) };
        let found = &standing.superblock;
        let is_ours = found.incomplete
            && (found.store_id, found.stripe, found.geometry) == (store_id, file.0, geometry);
        if is_ours {
            return Ok(Some(standing));
        }
        let whole = if found.incomplete { "an unfinished copy" } else { "the shadow" };
        let found = format!("{whole} of store {}", found.store_id);
        Err(Error::NotAShadow { path: members.path(file).to_owned(), found })
    };
    if members.count() > geometry.stripes {
        let (expected, found) = (geometry.stripes.to_string(), members.count().to_string());
        let extra = FileIndex(geometry.stripes);
        return Err(mismatch(members, extra, "number of members", expected, found));
    }
    (0..members.count()).map(FileIndex).map(target).collect()
}

/// A move under way.
#[derive(Debug)]
pub(super) struct Attach {
    set: ShadowSet,
    prefer: Prefer,
    answer: Reply,
    /// What the new shadow holds of each wblock: the sequence of the life that it has all of.
    held: Vec<u64>,
    next: usize,
    passes: u32,
    image: Vec<u8>,
}

impl Attach {
    /// Marks the new shadow incomplete. `None`: it could not be written, which is answered.
    pub(super) fn begin(request: Request, from: &ShadowSet, now_us: u64) -> Option<Self> {
        let Request { members, targets, prefer, answer } = request;
        match from.moved_to(members, &targets, now_us) {
            Ok(set) => {
                let geometry = set.superblock().geometry;
                let held = vec![UNKNOWN; geometry.wblocks() as usize];
                let image = vec![0; geometry.wblock_bytes as usize];
                Some(Self { set, prefer, answer, held, next: 0, passes: 0, image })
            }
            Err(error) => {
                answer.send(Err(error));
                None
            }
        }
    }

    /// The move has failed, and the store stays.
    pub(super) fn refuse(self, error: Error) {
        let Self { mut set, answer, .. } = self;
        // Some member may have arrived: it must not be taken for the store's.
        set.disown();
        // Unlocked before it is told.
        drop(set);
        answer.send(Err(error));
    }

    pub(super) fn into_parts(self) -> (ShadowSet, Prefer, Reply) {
        (self.set, self.prefer, self.answer)
    }

    /// Copies one wblock. True: so little is left that the rest can be copied at once.
    pub(super) fn step(&mut self, flusher: &Flusher, stripes: &Stripes) -> Result<bool> {
        self.answer.step()?;
        while let Some(held) = self.held.get(self.next).copied() {
            let wblock = wblock_at(self.next);
            self.next += 1;
            // What is held in part grows on: it comes last.
            if !matches!(wanted(flusher, stripes, wblock), want if want == UNKNOWN || want == held)
            {
                return self.copy(flusher, stripes, wblock).map(|()| false);
            }
        }
        self.next = 0;
        self.passes += 1;
        let left = self.left(flusher, stripes).len();
        Ok(left <= LEFT_MAX + stripes.lanes() as usize || self.passes >= PASSES_MAX)
    }

    /// Copies what is left, and makes the new shadow whole. No round of the flusher may come
    /// between this and its going on with it.
    pub(super) fn finish(
        &mut self,
        (flusher, stripes): (&Flusher, &Stripes),
        from: &ShadowSet,
        now_us: u64,
    ) -> Result<()> {
        for wblock in self.left(flusher, stripes) {
            self.answer.step()?;
            self.copy(flusher, stripes, wblock)?;
        }
        self.set.sync()?;
        self.answer.arrive()?;
        self.set.arrive(from, now_us)
    }

    /// The wblocks of which the new shadow does not hold what it is to hold.
    fn left(&self, flusher: &Flusher, stripes: &Stripes) -> Vec<WblockId> {
        let differs = |(at, held): (usize, &u64)| {
            let want = wanted(flusher, stripes, wblock_at(at));
            (want == UNKNOWN || want != *held).then(|| wblock_at(at))
        };
        self.held.iter().enumerate().filter_map(differs).collect()
    }

    fn copy(&mut self, flusher: &Flusher, stripes: &Stripes, wblock: WblockId) -> Result<()> {
        let want = wanted(flusher, stripes, wblock);
        let bytes = if want == NOTHING {
            let sector = self.image.get_mut(..SECTOR_BYTES as usize).unwrap_or_default();
            sector.fill(0);
            sector
        } else {
            flusher.copy_to(wblock, &mut self.image);
            let place = WblockPlace {
                store_key: stripes.identity().store_key,
                first_location: stripes.geometry().location(wblock, 0),
                header_sequence: stripes.wblock(wblock).sequence(),
            };
            mend(&mut self.image, place);
            &mut self.image
        };
        self.set.write_wblock(wblock, bytes)?;
        if let Some(held) = self.held.get_mut(wblock.0 as usize) {
            *held = want;
        }
        Ok(())
    }
}

/// What the new shadow is to hold of `wblock`, in the terms of `held`.
fn wanted(flusher: &Flusher, stripes: &Stripes, wblock: WblockId) -> u64 {
    match flusher.extent(wblock) {
        0 => NOTHING,
        all if all == stripes.geometry().wblock_rblocks() => stripes.wblock(wblock).sequence().0,
        _ => UNKNOWN,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "wblocks are counted in 32 bits")]
fn wblock_at(index: usize) -> WblockId {
    WblockId(index as u32)
}

impl ShadowSet {
    /// The superblocks of this store on `members`, incomplete; written and synced.
    fn moved_to(
        &self,
        members: Arc<dyn Members>,
        targets: &[Option<Standing>],
        now_us: u64,
    ) -> Result<Self> {
        let first = Superblock {
            attached_at: now_us,
            sequence_limit: self.first_sequence(),
            clean: false,
            incomplete: true,
            ..*self.superblock()
        };
        let standing = |(stripe, target): (u32, &Option<Standing>)| {
            let (generation, copy) = match target {
                Some(standing) => (standing.superblock.generation, standing.copy),
                // The first two generations say that no record was ever written behind them.
                None => (2, CopyName::B),
            };
            let superblock = Superblock { generation, stripe, ..first };
            // No census before the next orderly close.
            Standing { superblock, census: None, copy, is_repaired: false }
        };
        let mut set = Self::existing(members, (0..).zip(targets).map(standing).collect());
        set.rewrite(|_| {})?;
        Ok(set)
    }

    /// All that `from` holds is here, durably: whole from now on. Both copies say so, for one of
    /// them may rot.
    fn arrive(&mut self, from: &Self, now_us: u64) -> Result<()> {
        let (limit, floor_us) = (from.first_sequence(), from.clock_floor().max(now_us));
        for _copy in [CopyName::A, CopyName::B] {
            self.rewrite(|superblock| {
                superblock.sequence_limit = limit;
                superblock.clock_floor = floor_us;
                superblock.incomplete = false;
            })?;
        }
        Ok(())
    }
}
