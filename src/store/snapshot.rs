//! Snapshots: a copy of the store, written while traffic goes on, that opens as a store.
//!
//! The walk goes through the keys in the order of their hashes, a segment of the index at a time.
//! Under one pin it notes the segment and copies records until the wblock of the copy is full; then
//! it lets go of the pin, writes the wblock, and notes the segment anew from where it was.
//!
//! Invariants
//! - N1  Each key is copied once at most: its hash is passed once, for segments lie in the order
//!   of hashes. So a copied record is the only one of its key in the new store: it needs no `HEIR`
//!   and no `over`, and of tombstones only those that are remembered (`GRACE`) come along.
//! - N2  Each record that is copied was current at some moment after the call began (N2 of
//!   `index::scan`), and one that is there throughout is met (N1 there).
//! - N3  No pin is held while the device is written to; but for two keys of the very same hash.
//!
//! Checked by: `tests/snapshot.rs`.
#![forbid(unsafe_code)]

use super::{Inner, Store};
use crate::config::{OnProgress, Progress};
use crate::error::{Error, Result};
use crate::format::{Flags, RecordHead, RecordView, Shape};
use crate::index::{Hash, ScanCursor, SlotState};
use crate::shadow::SnapshotWriter;
use crate::sync::{epoch, lock};
use crate::unit::Geometry;
use crate::upkeep::is_live;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How to write a snapshot. Start from [`SnapshotOptions::new`]: of the store's own size, silent.
#[derive(Clone, Debug, Default)]
pub struct SnapshotOptions {
    data_size: Option<u64>,
    on_progress: Option<OnProgress>,
}

impl SnapshotOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The `data_size` of the copy, which is fixed with it: larger, for a store that has become too
    /// small, or smaller. Default: that of the store. Unit: bytes.
    #[must_use]
    pub fn data_size(mut self, bytes: u64) -> Self {
        self.data_size = Some(bytes);
        self
    }

    /// Calls `callback` after each wblock that was written, and once at the end, on the thread that
    /// takes the snapshot. `bytes_total` is an estimate until then, for records come and go.
    #[must_use]
    pub fn on_progress(mut self, callback: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(OnProgress::new(callback));
        self
    }
}

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotReport {
    /// Records.
    pub records: u64,
    /// Deletes that carried a version, and are remembered for `tombstone_grace`.
    pub tombstones: u64,
    /// Bytes that both take, headers and padding included.
    pub bytes: u64,
    /// Bytes that were written for them: whole wblocks.
    pub bytes_written: u64,
    /// How long it took, syncs included.
    pub elapsed: Duration,
}

impl Store {
    /// Writes a copy of the store to the directory `dir`, which is made if it is not there, while
    /// reads and writes go on. The copy is a store of its own: durable when this returns, in the
    /// state of one that was closed in order. Open it with a `Config` that names it, of the same
    /// `data_size` or of none. A store in memory only can be copied as well, and one whose shadow
    /// has failed.
    ///
    /// What it holds, of writes that go on meanwhile:
    /// - Of each key that was put before the call began, that record, or what was written to the
    ///   key since. A key that was deleted, or had expired, before the call and was not put since
    ///   is not in it.
    /// - Each record is whole, with its version, its expiry and whether it is evicted. Nothing is
    ///   older than it was when the call began.
    /// - The keys are not all of the same moment: of two writes during the call, to two keys, the
    ///   later may be in it and the earlier not.
    /// - Deletes that carried a version are remembered in the copy for another `tombstone_grace`.
    ///   What was read lately, which eviction asks for, is not.
    ///
    /// Until it is whole, `dir` is refused by `open`: [`Error::Locked`] while it is written, and
    /// [`Error::NotAShadow`] if the process has died over it. Remove it then, and begin again.
    ///
    /// Cost: each live record is copied, digested and written once, on the calling thread; the disk
    /// space of the whole `data_size` is reserved first. Memory, whatever the store's size: one
    /// wblock, some 2 MiB beside it, and 4 bytes for each wblock. The thread is pinned for as long
    /// as it copies one wblock at most, not while it writes, so that reclaim goes on; unless the
    /// caller holds a record or pin of its own.
    ///
    /// ```
    /// # use brindle::{Config, Store};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # let backup = scratch.path().join("backup");
    /// let store = Store::open(Config::new().data_size(64 << 20))?;
    /// store.put("greeting", "hello")?;
    /// let report = store.snapshot(&backup)?;
    /// assert_eq!(report.records, 1);
    /// store.put("greeting", "good day")?;
    ///
    /// let copy = Store::open(Config::new().shadow_dir(&backup))?;
    /// assert_eq!(&*copy.get("greeting").expect("it was copied"), b"hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The store is as it was, and what was created is gone. [`Error::NotEmpty`]: something is
    /// there, the store's own shadow perhaps. [`Error::Io`], of a full disk for instance.
    /// [`Error::Config`] with key `data_size`: the records do not fit into the copy.
    /// [`Error::Closed`]: also if the store is closed meanwhile. [`Error::Forked`].
    pub fn snapshot(&self, dir: impl AsRef<Path>) -> Result<SnapshotReport> {
        self.snapshot_with(dir, &SnapshotOptions::new())
    }

    /// As [`snapshot`](Self::snapshot), with another size or with a look at its progress.
    ///
    /// ```
    /// # use brindle::{Config, SnapshotOptions, Store};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # let larger = scratch.path().join("larger");
    /// let store = Store::open(Config::new().data_size(64 << 20))?;
    /// store.put("greeting", "hello")?;
    /// let options = SnapshotOptions::new()
    ///     .data_size(128 << 20)
    ///     .on_progress(|progress| println!("{} of {}", progress.bytes, progress.bytes_total));
    /// store.snapshot_with(&larger, &options)?;
    /// let copy = Store::open(Config::new().data_size(128 << 20).shadow_dir(&larger))?;
    /// assert_eq!(copy.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`snapshot`](Self::snapshot); [`Error::Config`] for a `data_size` that no store can
    /// have.
    pub fn snapshot_with(
        &self,
        dir: impl AsRef<Path>,
        options: &SnapshotOptions,
    ) -> Result<SnapshotReport> {
        self.inner.snapshot(dir.as_ref(), options)
    }
}

impl Inner {
    fn snapshot(&self, dir: &Path, options: &SnapshotOptions) -> Result<SnapshotReport> {
        let started = Instant::now();
        self.check_open()?;
        self.check_not_own(dir)?;
        let geometry = self.snapshot_geometry(options)?;
        let direct = lock(&self.config).direct_files;
        let now_us = self.clock.precise_us();
        let (writer, created) = SnapshotWriter::create(dir, geometry, direct, now_us)?;
        let report = self.write_snapshot(writer, options, started)?;
        created.keep();
        Ok(report)
    }

    /// Names the one place where something is that it would be worst to move away.
    fn check_not_own(&self, dir: &Path) -> Result<()> {
        let own = lock(&self.config).shadow_dir.clone();
        let is_own = own.is_some_and(|own| match (fs::canonicalize(own), fs::canonicalize(dir)) {
            (Ok(own), Ok(dir)) => own == dir,
            _ => false,
        });
        if is_own {
            let found = "the shadow of this very store".to_owned();
            return Err(Error::NotEmpty { path: dir.to_owned(), found });
        }
        Ok(())
    }

    /// The shape of the copy.
    pub(super) fn snapshot_geometry(&self, options: &SnapshotOptions) -> Result<Geometry> {
        let Some(bytes) = options.data_size else {
            return Ok(self.keyspace.stripes().geometry());
        };
        let config = lock(&self.config).clone().data_size(bytes);
        Ok(config.validate(self.cores.len())?.geometry)
    }

    /// Copies all records to `writer`, and makes the shadow whole.
    pub(super) fn write_snapshot(
        &self,
        writer: SnapshotWriter,
        options: &SnapshotOptions,
        started: Instant,
    ) -> Result<SnapshotReport> {
        let report = SnapshotReport::default();
        let mut copying = Copying { inner: self, writer, report, passed: None };
        let expected = self.keyspace.live_bytes();
        let progress = |copying: &Copying<'_>, expected: u64| {
            let SnapshotReport { records, bytes, .. } = copying.report;
            if let Some(on_progress) = &options.on_progress {
                let at = Progress::at(records, bytes, expected.max(bytes), started.elapsed());
                on_progress.report(&at);
            }
        };
        let mut cursor = Some(ScanCursor::default());
        while let Some(from) = cursor {
            self.check_open()?;
            match copying.copy_from(from)? {
                Copied::All(next) => cursor = next,
                Copied::UntilFull => {
                    copying.writer.write()?;
                    progress(&copying, expected);
                }
            }
        }
        copying.writer.write()?;
        copying.report.bytes_written = copying.writer.bytes();
        progress(&copying, 0);
        let Copying { writer, mut report, .. } = copying;
        writer.finish(self.clock.precise_us())?;
        report.elapsed = started.elapsed();
        Ok(report)
    }
}

/// A snapshot under way.
struct Copying<'s> {
    inner: &'s Inner,
    writer: SnapshotWriter,
    report: SnapshotReport,
    /// Keys of this hash and below are done (N1).
    passed: Option<u64>,
}

/// How far a segment was copied.
enum Copied {
    /// To its end, and so the scan goes on there.
    All(Option<ScanCursor>),
    /// Until the wblock was full.
    UntilFull,
}

impl Copying<'_> {
    /// Copies the records of the segment at `cursor` that are not yet passed, under one pin.
    fn copy_from(&mut self, cursor: ScanCursor) -> Result<Copied> {
        let guard = epoch::pin();
        let keyspace = &self.inner.keyspace;
        // At most 2,040 of each.
        let mut slots = Vec::new();
        let next = keyspace.index().slots_from(&guard, cursor, &mut slots);
        let mut noted: Vec<(Hash, RecordView<'_>)> = Vec::with_capacity(slots.len());
        for slot in slots {
            let (SlotState::Live(at) | SlotState::Frozen(at)) = slot.state() else { continue };
            let view = keyspace.view(&guard, at);
            noted.push((keyspace.hash(view.key()), view));
        }
        noted.retain(|(hash, _)| self.passed.is_none_or(|passed| hash.0 > passed));
        noted.sort_unstable_by_key(|(hash, _)| hash.0);
        for alike in noted.chunk_by(|one, other| one.0 == other.0) {
            if !self.copy_alike(alike)? {
                return Ok(Copied::UntilFull);
            }
        }
        Ok(Copied::All(next))
    }

    /// Copies records of one hash, nearly always one. False: nothing was done, for there is no room
    /// in the wblock.
    fn copy_alike(&mut self, alike: &[(Hash, RecordView<'_>)]) -> Result<bool> {
        let mut done = Vec::new();
        for (_, view) in alike {
            // Removed and put again while the segment was noted.
            if done.contains(&view.key()) {
                continue;
            }
            let Some((head, value)) = self.inner.copied(view) else { continue };
            let shape = Shape::of(view.key().len(), value.len(), &head);
            if done.is_empty() && !self.writer.has_room(&shape) {
                return Ok(false);
            }
            self.writer.push(&shape, &head, (view.key(), value))?;
            done.push(view.key());
            self.count(&head, &shape);
        }
        self.passed = alike.last().map(|(hash, _)| hash.0);
        Ok(true)
    }

    fn count(&mut self, head: &RecordHead, shape: &Shape) {
        let is_tombstone = head.flags.contains(Flags::TOMBSTONE);
        self.report.tombstones += u64::from(is_tombstone);
        self.report.records += u64::from(!is_tombstone);
        self.report.bytes += shape.total_bytes() as u64;
    }
}

impl Inner {
    /// What a new store needs to know of the record; `None`: nothing.
    fn copied<'g>(&self, view: &RecordView<'g>) -> Option<(RecordHead, &'g [u8])> {
        let version = view.version();
        if is_live(view, || self.clock.coarse_us()) {
            let flags = view.flags() & (Flags::NEVER_EVICT | Flags::GRACE);
            let expires_at = view.expires_at();
            return Some((RecordHead { version, expires_at, over: None, flags }, view.value()));
        }
        let flags = Flags::TOMBSTONE | Flags::GRACE;
        let head = RecordHead { version, expires_at: None, over: None, flags };
        view.flags().contains(Flags::GRACE).then_some((head, &[]))
    }
}
