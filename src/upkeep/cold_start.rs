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
//! - L4  A wblock that was loaded is not appended to; one with a damaged header is kept as it is,
//!   out of use, and reported.
//! - L5  In memory, what of a loaded wblock is no record that was published becomes padding: who
//!   later walks its commit words, to empty it, meets every record and nothing else.

use super::keyspace::{Admitted, Keyspace};
use super::report::LoadReport;
use crate::config::{OnProgress, Progress};
use crate::format::{
    CommitWord, Damage, DamageCause, DamageKind, Flags, HeaderState, WblockHeader, WblockHome,
    WblockPlace, scan_wblock,
};
use crate::region::{State, Stripes};
use crate::shadow::io::{
    BlockIo, Buffer, Direction, FileIndex, IoCounters, Transfer, TransferError, Transfers,
};
use crate::sync::{Mutex, epoch, lock, thread};
use crate::unit::{RBLOCK_BYTES, SECTOR_BYTES, Sequence, WBLOCK_HEADER_RBLOCKS, WblockId};
use std::io;
use std::num::NonZeroU32;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

/// Bytes of one read, and reads in flight: 4.1 GB/s here, which more does not raise.
const READ_BYTES: usize = 1 << 20;
const IN_FLIGHT: usize = 4;
/// Bytes read before they are handed to a walker.
const BATCH_BYTES: u64 = 16 << 20;
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
    let found = sort_wblocks(keyspace.stripes(), &mut report);
    let is_whole = source.is_whole;
    let shared =
        Shared { keyspace, is_whole, report: Mutex::new(report), is_full: Mutex::new(false) };
    let total = found.len() as u64 * u64::from(keyspace.stripes().geometry().wblock_bytes);
    // A few batches wait at most: the reader is paced by the walkers.
    let (sender, receiver) = sync_channel(source.walkers * 2);
    let receiver = Mutex::new(receiver);
    let read = thread::scope(|scope| {
        let mut walkers = 0;
        for _ in 0..source.walkers.max(1) {
            match thread::Builder::new().spawn_scoped(scope, || shared.walk_all(&receiver)) {
                Ok(_) => walkers += 1,
                // Fewer walkers are slower, no more.
                Err(_refused) if walkers > 0 => break,
                Err(refused) => return Err(LoadError::NoThread(refused)),
            }
        }
        read_wblocks(&shared, source, &found, &sender, Clock { started, total })
            .inspect(|()| {
                drop(sender);
            })
            .map_err(LoadError::Read)
    });
    read?;
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

/// Looks at the headers: frees what is free, returns what is to be loaded.
fn sort_wblocks(stripes: &Stripes, report: &mut LoadReport) -> Vec<(WblockId, WblockHeader)> {
    let geometry = stripes.geometry();
    let mut found = Vec::new();
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
        match WblockHeader::decode(sector, &home) {
            HeaderState::Free => {
                // A first flush of which the header did not arrive.
                report.rejected.torn += u64::from(sector.iter().any(|byte| *byte != 0));
                stripes.release(wblock);
            }
            HeaderState::Struck(header) => {
                // Its records do not count, but no clock may start below the last wblock begun.
                report.clock_floor = report.clock_floor.max(header.opened_at);
                stripes.release(wblock);
            }
            HeaderState::Valid { header, damaged_copy } => {
                report.rejected.header_copies += u64::from(damaged_copy);
                report.clock_floor = report.clock_floor.max(header.opened_at);
                entry.begin(header.sequence, None, State::Used);
                found.push((wblock, header));
            }
            state @ (HeaderState::Foreign(_) | HeaderState::Damaged) => {
                let is_foreign = matches!(state, HeaderState::Foreign(_));
                report.rejected.foreign_wblocks += u64::from(is_foreign);
                report.rejected.damaged_wblocks += u64::from(!is_foreign);
                entry.begin(Sequence(0), None, State::Damaged);
                entry.bury(geometry.wblock_rblocks() - WBLOCK_HEADER_RBLOCKS);
            }
        }
    }
    found
}

/// Reads the wblocks in batches and hands each batch to the walkers.
fn read_wblocks(
    shared: &Shared<'_>,
    source: &mut Source<'_>,
    found: &[(WblockId, WblockHeader)],
    sender: &SyncSender<Vec<(WblockId, WblockHeader)>>,
    clock: Clock,
) -> Result<(), TransferError> {
    let stripes = shared.keyspace.stripes();
    let wblock_bytes = stripes.geometry().wblock_bytes;
    let batch = usize::try_from(BATCH_BYTES / u64::from(wblock_bytes)).unwrap_or(1).max(1);
    let first = source.first_wblock_bytes;
    let mut bytes = 0;
    for wblocks in found.chunks(batch) {
        let rest = (SECTOR_BYTES, wblock_bytes - SECTOR_BYTES);
        let mut jobs = wblocks.iter().map(|(wblock, _)| read_of(stripes, first, *wblock, rest));
        let transfers = Transfers::new(READ_BYTES, IN_FLIGHT);
        // What is missing at the end of a short shadow stays zero, and ends the walk there.
        transfers.run(source.io, &mut jobs, source.counters)?;
        bytes += wblocks.len() as u64 * u64::from(wblock_bytes);
        if sender.send(wblocks.to_vec()).is_err() || shared.is_full() {
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

type Batches = Mutex<Receiver<Vec<(WblockId, WblockHeader)>>>;

impl Shared<'_> {
    fn walk_all(&self, batches: &Batches) {
        loop {
            let batch = lock(batches).recv();
            let Ok(batch) = batch else { return };
            for (wblock, header) in batch {
                self.walk_one(wblock, &header);
            }
        }
    }

    fn is_full(&self) -> bool {
        *lock(&self.is_full)
    }

    fn walk_one(&self, wblock: WblockId, header: &WblockHeader) {
        // Once the index is full the rest is taken and left: the reader must not wait for a place
        // in the queue.
        if self.is_full() {
            return;
        }
        let mut report = LoadReport::default();
        let walked = self.walk(wblock, header, &mut report);
        lock(&self.report).add(&report);
        if walked.is_none() {
            *lock(&self.is_full) = true;
        }
    }

    /// Publishes the records of one wblock. `None`: the index is full.
    fn walk(&self, wblock: WblockId, header: &WblockHeader, report: &mut LoadReport) -> Option<()> {
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
        let mut is_full = false;
        let mut gaps = Gaps::default();
        let mut scan = scan_wblock(image, place, |rblock, view| {
            admitted_rblocks += view.rblocks();
            gaps.cover(rblock, view.rblocks());
            let location = geometry.location(wblock, rblock);
            match self.keyspace.admit(&guard, stripe, location) {
                Some(Admitted::New) => {}
                Some(Admitted::Replaced | Admitted::Older) => report.superseded += 1,
                None => is_full = true,
            }
        });
        gaps.cover(geometry.wblock_rblocks(), 0);
        if (self.is_whole)(header.sequence) {
            scan.judge_as_durable();
        }
        report.wblocks += 1;
        report.bytes += scan.bytes;
        report.read += u64::from(scan.records);
        for damage in &scan.damage {
            report.count(damage);
            let was_durable =
                damage.kind == DamageKind::Rot || damage.cause == DamageCause::Unsupported;
            if let Some(rblock) = damage.key.filter(|_| was_durable) {
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
    fn mark_lost(&self, stripes: &Stripes, lost: crate::unit::Location, damage: &Damage) {
        debug_assert!(damage.key.is_some(), "only a record whose key is known");
        let guard = epoch::pin();
        let flags = self.keyspace.view(&guard, lost).flags() | Flags::TOMBSTONE;
        let bytes = flags.raw().to_le_bytes();
        // SAFETY: (1) the record is not in the index yet, and its wblock is this walker's; (2)
        // `bytes` is a local. The view above is gone.
        unsafe { stripes.region().write(lost, FLAGS_OFFSET, &bytes) };
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
