//! Cold start: reads the shadow into the region and rebuilds the index.
//!
//! One thread keeps several reads in flight, straight into the region; the others walk the records
//! of what has been read and publish them with the same order as a put. First the headers alone
//! are read, so that free wblocks cost one sector each.
//!
//! Invariants
//! - L1  Nothing is written to a shadow. A second cold start of the same shadow ends in the same
//!   records.
//! - L2  No record is published that did not verify, or whose key is known to be lost: such a key
//!   reads as absent, and no older copy of it as if it were current.
//! - L3  Expired records and tombstones compete like any other version, so that the order in which
//!   wblocks are read does not matter.
//! - L4  A wblock that was loaded is not appended to. One whose header is damaged, missing or stale
//!   is reported, and out of use until it is struck out, durably, by this run's first flush: what
//!   was told to be lost stays lost, should the device read it rightly the next time. Its bytes
//!   behind the header stay until it is used again; `on_damage = refuse` leaves all as it is.
//! - L5  In memory, what of a loaded wblock is no record that was published becomes padding: who
//!   later walks its commit words, to empty it, meets every record and nothing else.

use super::admit::Admitted;
use super::keyspace::Keyspace;
use super::report::LoadReport;
use crate::config::{OnProgress, Progress};
use crate::format::{
    Census, CensusTag, CommitWord, Counted, Damage, DamageCause, DamageKind, Flags, HeaderState,
    WblockHeader, WblockHome, WblockPlace, scan_wblock,
};
use crate::planted::{Bug, is_planted};
use crate::region::{State, Stripes};
use crate::shadow::io::{
    BlockIo, Buffer, Direction, FileIndex, IoCounters, Transfer, TransferError, Transfers,
};
use crate::sync::{Mutex, epoch, lock, thread};
use crate::unit::{
    Location, RBLOCK_BYTES, SECTOR_BYTES, Sequence, WBLOCK_HEADER_RBLOCKS, WblockId,
};
use std::io;
use std::num::NonZeroU32;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

/// Bytes of one read, and reads in flight: 4.1 GB/s here, which more does not raise.
const READ_BYTES: usize = 1 << 20;
const IN_FLIGHT: usize = 4;
/// Bytes read before they are handed to a walker.
const BATCH_BYTES: u64 = 16 << 20;
/// Records whose buckets are asked for before the first of them is put into the index: 10 million
/// records take a third less of CPU than one by one.
const GROUP_RECORDS: usize = 32;
/// Byte of a record at which its flags lie: see `FORMAT.md`.
const FLAGS_OFFSET: usize = 26;

/// What cold start reads from.
pub struct Source<'a> {
    /// Block I/O over the members, with the region registered if it can be.
    pub io: &'a mut dyn BlockIo,
    /// Counted into.
    pub counters: &'a IoCounters,
    /// Byte of each shadow at which its first wblock starts.
    pub first_wblock_bytes: u64,
    /// Threads that walk records.
    pub walkers: usize,
    /// Whether the wblock with a sequence was durable as a whole: nothing in it is torn then.
    pub is_whole: &'a (dyn Fn(Sequence) -> bool + Sync),
    /// How the wblocks of a member stood at the last orderly close.
    pub census: &'a (dyn Fn(FileIndex) -> Option<&'a Census> + Sync),
    /// Told after each batch.
    pub on_progress: Option<OnProgress>,
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Source").field("io", &self.io).finish_non_exhaustive()
    }
}

/// Why a cold start ended early.
#[derive(Debug)]
pub enum LoadError {
    /// A shadow could not be read.
    Read(TransferError),
    /// The index can grow no more: memory ran out.
    IndexFull,
    /// The system gave no thread to walk the records.
    NoThread(io::Error),
}

impl From<TransferError> for LoadError {
    fn from(error: TransferError) -> Self {
        Self::Read(error)
    }
}

/// Loads every wblock of the shadow into `keyspace`, and puts the others on the free queues.
///
/// # Errors
///
/// See [`LoadError`]. The shadow is as it was (L1).
pub fn load(keyspace: &Keyspace, source: &mut Source<'_>) -> Result<LoadReport, LoadError> {
    let started = Instant::now();
    let mut report = LoadReport::default();
    read_headers(keyspace.stripes(), source)?;
    let found = sort_wblocks(keyspace.stripes(), source.census, &mut report);
    let is_whole = source.is_whole;
    let shared =
        Shared { keyspace, is_whole, report: Mutex::new(report), is_full: Mutex::new(false) };
    let total = found.len() as u64 * u64::from(keyspace.stripes().geometry().wblock_bytes);
    walk_found(&shared, source, &found, Clock { started, total })?;
    if shared.is_full() {
        return Err(LoadError::IndexFull);
    }
    let mut report = lock(&shared.report).clone();
    report.elapsed = started.elapsed();
    report.records = keyspace.records();
    report.tombstones = keyspace.tombstones();
    if let Some(on_progress) = &source.on_progress {
        on_progress.report(&Progress::at(report.records, total, total, report.elapsed));
    }
    Ok(report)
}

/// When it began and how much there is.
#[derive(Clone, Copy)]
struct Clock {
    started: Instant,
    total: u64,
}

/// Reads the first sector of every wblock to its place in the region.
fn read_headers(stripes: &Stripes, source: &mut Source<'_>) -> Result<(), TransferError> {
    let first = source.first_wblock_bytes;
    let mut jobs =
        stripes.wblocks().map(|(wblock, _)| read_of(stripes, first, wblock, (0, SECTOR_BYTES)));
    // What a short shadow lacks stays zero, and reads as free.
    Transfers::new(READ_BYTES, IN_FLIGHT).run(source.io, &mut jobs, source.counters).map(|_| ())
}

/// A read of `bytes` bytes of `wblock`, from byte `from` on, to their place in the region.
fn read_of(
    stripes: &Stripes,
    first_wblock_bytes: u64,
    wblock: WblockId,
    (from, bytes): (u32, u32),
) -> Transfer {
    let geometry = stripes.geometry();
    let start = stripes.region().pointer(geometry.location(wblock, from / RBLOCK_BYTES));
    let place = u64::from(geometry.place_on_shadow(wblock)) * u64::from(geometry.wblock_bytes);
    // SAFETY: (1) within the region, which outlives the load; (3) the wblock is not on a free
    // queue and not in the index yet: nobody else knows of it.
    let buffer = unsafe { Buffer::new(start, bytes as usize) };
    Transfer {
        direction: Direction::Read,
        file: FileIndex(geometry.home_stripe(wblock)),
        offset: first_wblock_bytes + place + u64::from(from),
        buffer,
    }
}

/// A wblock to be loaded, and where what it holds ends, if that is known.
#[derive(Clone, Copy, Debug)]
struct Found {
    wblock: WblockId,
    header: WblockHeader,
    end_rblock: Option<u32>,
}

/// Looks at the headers: frees what is free, returns what is to be loaded.
fn sort_wblocks<'c>(
    stripes: &Stripes,
    census: &dyn Fn(FileIndex) -> Option<&'c Census>,
    report: &mut LoadReport,
) -> Vec<Found> {
    let geometry = stripes.geometry();
    let mut found = Vec::new();
    let mut unusable = Vec::new();
    for (wblock, entry) in stripes.wblocks() {
        let home = WblockHome {
            store_id: stripes.identity().store_id,
            stripe: geometry.home_stripe(wblock),
            wblock,
            wblock_bytes: geometry.wblock_bytes,
        };
        // SAFETY: (1) read by the caller, on this thread; (2) nobody opens a wblock during a load.
        let sector = unsafe {
            stripes.region().bytes(geometry.location(wblock, 0), 0, SECTOR_BYTES as usize)
        };
        let mut state = WblockHeader::decode(sector, &home);
        if is_planted(Bug::StopAtBadWblock) && !unusable.is_empty() {
            state = HeaderState::Free;
        }
        let place = geometry.place_on_shadow(wblock);
        let census = census(FileIndex(home.stripe)).filter(|_| !is_planted(Bug::IgnoreCensus));
        entry.set_census(census.and_then(|census| census.tag(place)).unwrap_or_default());
        let counted = census.map(|census| census.judge(place, &state));
        if let HeaderState::Valid { header, .. } | HeaderState::Struck(header) = state {
            // No clock may start below the last wblock begun, also if its records do not count.
            report.clock_floor = report.clock_floor.max(header.opened_at);
            let next = Sequence(header.sequence.0 + 1);
            report.next_sequence = report.next_sequence.max(next);
        }
        let rejected = &mut report.rejected;
        match (state, counted) {
            (_, Some(Counted::Missing)) => rejected.missing_wblocks += 1,
            (_, Some(Counted::Stale)) => rejected.stale_wblocks += 1,
            (HeaderState::Free, _) => {
                // A first flush of which the header did not arrive.
                rejected.torn += u64::from(sector.iter().any(|byte| *byte != 0));
                entry.set_census(CensusTag::NONE);
                stripes.release(wblock);
                continue;
            }
            (HeaderState::Struck(_), _) => {
                entry.set_census(CensusTag::NONE);
                stripes.release(wblock);
                continue;
            }
            (HeaderState::Valid { header, damaged_copy }, counted) => {
                rejected.header_copies += u64::from(damaged_copy);
                entry.begin(header.sequence, None, State::Used);
                let end_rblock = match counted {
                    Some(Counted::Fine { end_rblock }) => end_rblock,
                    _ => None,
                };
                found.push(Found { wblock, header, end_rblock });
                continue;
            }
            (HeaderState::Foreign(_), _) => rejected.foreign_wblocks += 1,
            (HeaderState::Damaged, _) => rejected.damaged_wblocks += 1,
        }
        unusable.push(wblock);
    }
    put_aside(stripes, &unusable, report);
    found
}

/// Leaves `wblocks` out of use until they are struck out (L4), in a life that nothing on the shadow
/// is of.
fn put_aside(stripes: &Stripes, wblocks: &[WblockId], report: &LoadReport) {
    stripes.raise_sequence(report.next_sequence);
    if wblocks.is_empty() {
        return;
    }
    let sequence = stripes.take_sequence();
    for wblock in wblocks {
        let entry = stripes.wblock(*wblock);
        entry.begin(sequence, None, State::Damaged);
        entry.bury(stripes.geometry().wblock_rblocks() - WBLOCK_HEADER_RBLOCKS);
    }
}

/// Reads what was found and walks it: on threads, unless it is one batch, which they would only
/// wait for.
fn walk_found(
    shared: &Shared<'_>,
    source: &mut Source<'_>,
    found: &[Found],
    clock: Clock,
) -> Result<(), LoadError> {
    let wblock_bytes = shared.keyspace.stripes().geometry().wblock_bytes;
    let batch = usize::try_from(BATCH_BYTES / u64::from(wblock_bytes)).unwrap_or(1).max(1);
    if found.len() <= batch {
        return read_batches(shared, source, found.chunks(batch), clock, |wblocks| {
            for found in wblocks {
                shared.walk_one(found);
            }
            true
        });
    }
    // A few batches wait at most: the reader is paced by the walkers.
    let (sender, receiver) = sync_channel(source.walkers * 2);
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let mut walkers = 0;
        for _ in 0..source.walkers.max(1) {
            match thread::Builder::new().spawn_scoped(scope, || shared.walk_all(&receiver)) {
                Ok(_) => walkers += 1,
                // Fewer walkers are slower, no more.
                Err(_refused) if walkers > 0 => break,
                Err(refused) => return Err(LoadError::NoThread(refused)),
            }
        }
        // The sender goes when this returns: the walkers end.
        let hand_on = move |wblocks: &[_]| sender.send(wblocks.to_vec()).is_ok();
        read_batches(shared, source, found.chunks(batch), clock, hand_on)
    })
}

/// Reads the wblocks in batches and hands each batch on, until `hand_on` says that nobody takes it.
fn read_batches(
    shared: &Shared<'_>,
    source: &mut Source<'_>,
    batches: std::slice::Chunks<'_, Found>,
    clock: Clock,
    hand_on: impl Fn(&[Found]) -> bool,
) -> Result<(), LoadError> {
    let stripes = shared.keyspace.stripes();
    let wblock_bytes = stripes.geometry().wblock_bytes;
    let first = source.first_wblock_bytes;
    let mut bytes = 0;
    for wblocks in batches {
        let rest = (SECTOR_BYTES, wblock_bytes - SECTOR_BYTES);
        let mut jobs = wblocks.iter().map(|found| read_of(stripes, first, found.wblock, rest));
        let transfers = Transfers::new(READ_BYTES, IN_FLIGHT);
        // What is missing at the end of a short shadow stays zero, and ends the walk there.
        transfers.run(source.io, &mut jobs, source.counters)?;
        bytes += wblocks.len() as u64 * u64::from(wblock_bytes);
        if !hand_on(wblocks) || shared.is_full() {
            break;
        }
        if let Some(on_progress) = &source.on_progress {
            let records = shared.keyspace.records();
            on_progress.report(&Progress::at(records, bytes, clock.total, clock.started.elapsed()));
        }
    }
    Ok(())
}

/// What the walkers share.
struct Shared<'a> {
    keyspace: &'a Keyspace,
    is_whole: &'a (dyn Fn(Sequence) -> bool + Sync),
    report: Mutex<LoadReport>,
    is_full: Mutex<bool>,
}

type Batches = Mutex<Receiver<Vec<Found>>>;

impl Shared<'_> {
    fn walk_all(&self, batches: &Batches) {
        loop {
            let batch = lock(batches).recv();
            let Ok(batch) = batch else { return };
            for found in &batch {
                self.walk_one(found);
            }
        }
    }

    fn is_full(&self) -> bool {
        *lock(&self.is_full)
    }

    fn walk_one(&self, found: &Found) {
        // Once the index is full the rest is taken and left: the reader must not wait for a place
        // in the queue.
        if self.is_full() {
            return;
        }
        let mut report = LoadReport::default();
        let walked = self.walk(found, &mut report);
        lock(&self.report).add(&report);
        if walked.is_none() {
            *lock(&self.is_full) = true;
        }
    }

    /// Publishes the records of one wblock. `None`: the index is full.
    fn walk(&self, found: &Found, report: &mut LoadReport) -> Option<()> {
        let Found { wblock, header, end_rblock } = *found;
        let stripes = self.keyspace.stripes();
        let geometry = stripes.geometry();
        let identity = stripes.identity();
        let stripe = geometry.home_stripe(wblock);
        let first_location = geometry.location(wblock, 0);
        // SAFETY: (1) read by the reader, which handed the wblock on through the channel; (2) no
        // wblock is opened during a load.
        let image =
            unsafe { stripes.region().bytes(first_location, 0, geometry.wblock_bytes as usize) };
        let place = WblockPlace {
            store_key: identity.store_key,
            first_location,
            header_sequence: header.sequence,
        };
        let guard = epoch::pin();
        let mut admitted_rblocks = 0;
        let mut gaps = Gaps::default();
        let mut group = Group::default();
        let mut scan = scan_wblock(image, place, |rblock, view| {
            admitted_rblocks += view.rblocks();
            gaps.cover(rblock, view.rblocks());
            let hash = self.keyspace.hash(view.key());
            self.keyspace.index().start(&guard, hash).prefetch();
            group.locations.push(geometry.location(wblock, rblock));
            if group.locations.len() == GROUP_RECORDS {
                group.admit(self.keyspace, &guard, stripe);
            }
        });
        group.admit(self.keyspace, &guard, stripe);
        report.superseded += group.superseded;
        let mut is_full = group.is_full;
        gaps.cover(geometry.wblock_rblocks(), 0);
        if (self.is_whole)(header.sequence) {
            scan.judge_as_durable();
        }
        if let Some(end_rblock) = end_rblock {
            scan.demand(end_rblock);
        } else {
            // Of a run that did not end in order: from now on it is known.
            let tag = CensusTag::new(header.sequence, scan.end_rblock);
            stripes.wblock(wblock).set_census(tag);
        }
        report.wblocks += 1;
        report.bytes += scan.bytes;
        report.read += u64::from(scan.records);
        for damage in &scan.damage {
            report.count(damage);
            let was_durable =
                damage.kind == DamageKind::Rot || damage.cause == DamageCause::Unsupported;
            let is_lost = was_durable && !is_planted(Bug::FallBackToOlder);
            if let Some(rblock) = damage.key.filter(|_| is_lost) {
                let lost = geometry.location(wblock, rblock);
                let rblocks = stripes.word_of(lost).rblocks().map_or(0, NonZeroU32::get);
                admitted_rblocks += rblocks;
                gaps.carve(rblock, rblocks);
                self.mark_lost(stripes, lost, damage);
                is_full |= self.keyspace.admit(&guard, stripe, lost).is_none();
            }
        }
        for (start, end) in gaps.found {
            let (key, sequence) = (identity.store_key, header.sequence);
            let filler = CommitWord::new(key, sequence, end - start, true);
            stripes.region().commit(geometry.location(wblock, start), filler.raw());
        }
        let room = geometry.wblock_rblocks() - WBLOCK_HEADER_RBLOCKS;
        stripes.wblock(wblock).bury(room.saturating_sub(admitted_rblocks));
        (!is_full).then_some(())
    }

    /// Makes a tombstone of a record whose key verifies and whose value does not (L2).
    fn mark_lost(&self, stripes: &Stripes, lost: Location, damage: &Damage) {
        debug_assert!(damage.key.is_some(), "only a record whose key is known");
        let guard = epoch::pin();
        let flags = self.keyspace.view(&guard, lost).flags() | Flags::TOMBSTONE;
        let bytes = flags.raw().to_le_bytes();
        // SAFETY: (1) the record is not in the index yet, and its wblock is this walker's; (2)
        // `bytes` is a local. The view above is gone.
        unsafe { stripes.region().write(lost, FLAGS_OFFSET, &bytes) };
    }
}

/// Verified records on their way into the index: the misses of their buckets overlap.
#[derive(Default)]
struct Group {
    locations: Vec<Location>,
    /// Of those that came into the index or not.
    superseded: u64,
    /// The index can grow no more.
    is_full: bool,
}

impl Group {
    fn admit(&mut self, keyspace: &Keyspace, guard: &epoch::Guard, stripe: u32) {
        for location in self.locations.drain(..) {
            match keyspace.admit(guard, stripe, location) {
                Some(Admitted::New) => {}
                Some(Admitted::Replaced | Admitted::Older) => self.superseded += 1,
                None => self.is_full = true,
            }
        }
    }
}

/// The stretches of a wblock between its records (L5). Unit: rblocks.
struct Gaps {
    found: Vec<(u32, u32)>,
    covered: u32,
}

impl Default for Gaps {
    fn default() -> Self {
        Self { found: Vec::new(), covered: WBLOCK_HEADER_RBLOCKS }
    }
}

impl Gaps {
    /// A record lies at `rblock`, behind those before.
    fn cover(&mut self, rblock: u32, rblocks: u32) {
        if rblock > self.covered {
            self.found.push((self.covered, rblock));
        }
        self.covered = rblock + rblocks;
    }

    /// A record lies at `rblock`, in one of the gaps.
    fn carve(&mut self, rblock: u32, rblocks: u32) {
        let holds = |gap: &(u32, u32)| gap.0 <= rblock && rblock + rblocks <= gap.1;
        let Some(place) = self.found.iter().position(holds) else { return };
        let (start, end) = self.found.remove(place);
        for gap in [(rblock + rblocks, end), (start, rblock)] {
            if gap.0 < gap.1 {
                self.found.insert(place, gap);
            }
        }
    }
}
