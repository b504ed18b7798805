//! Writing a new shadow from records, one wblock after the other: that of a snapshot.
//!
//! States of the new shadow
//! ```text
//! blank --[superblocks that say INCOMPLETE]--> incomplete --[wblocks, synced]--> written
//! written --[superblocks: clean, with a census, without INCOMPLETE]--> whole
//! ```
//!
//! Invariants
//! - W1  A shadow of which one member is incomplete is refused (`set::survey`). It is whole only
//!   after all was synced: what a crash leaves is refused, or whole.
//! - W2  Each wblock is written once and to its end, as one flush of a life of its own: the first
//!   has sequence 1. They go round the stripes, so that each has its share.
//! - W3  The memory that it takes is one wblock; and where files are not written directly,
//!   `UNSYNCED_BYTES_MAX` of the system's, so that others who sync have not to wait for more.
//!
//! Checked by: `tests/snapshot.rs`.
#![forbid(unsafe_code)]

use super::files::{self, Created};
use super::io::{FileIndex, Members, ShadowFiles};
use super::set::{ShadowSet, newborn, read_superblock};
use crate::error::{Error, Result};
use crate::format::{
    Census, CensusTag, Checks, CommitWord, Padding, RecordHead, Seed, Shape, StoreKey, Superblock,
    WblockHeader, WblockHome, encode_head,
};
use crate::sync::Arc;
use crate::unit::{Geometry, Location, RBLOCK_BYTES, Sequence, WBLOCK_HEADER_BYTES, WblockId};
use std::path::Path;

/// So much is written at most before it is synced.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;

/// A shadow that is being written.
#[derive(Debug)]
pub struct SnapshotWriter {
    set: ShadowSet,
    store_key: StoreKey,
    /// The wblock that is being filled; empty before its first record.
    image: Vec<u8>,
    /// Wblocks written.
    written: u32,
}

impl SnapshotWriter {
    /// Begins a shadow in `dir`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::NotEmpty`]: something is there. [`Error::Io`]. What was created is gone.
    pub fn create(
        dir: &Path,
        geometry: Geometry,
        direct: bool,
        now_us: u64,
    ) -> Result<(Self, Created)> {
        let first = begun(geometry, now_us);
        let mark = Superblock { generation: first.generation + 1, ..first };
        let (files, created) = files::create_marked(dir, (geometry, direct), &mark)?;
        Ok((Self::begin(Arc::new(ShadowFiles::new(files)), first)?, created))
    }

    /// Begins a shadow on `members`, which are of the right size and blank.
    ///
    /// # Errors
    ///
    /// [`Error::NotEmpty`]: one of them is not. [`Error::Io`].
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "for simulated disks"))]
    pub fn create_on(members: Arc<dyn Members>, geometry: Geometry, now_us: u64) -> Result<Self> {
        for file in (0..members.count()).map(FileIndex) {
            if let Some(standing) = read_superblock(&*members, file)? {
                let found = format!("the shadow of store {}", standing.superblock.store_id);
                return Err(Error::NotEmpty { path: members.path(file).to_owned(), found });
            }
        }
        Self::begin(members, begun(geometry, now_us))
    }

    fn begin(members: Arc<dyn Members>, first: Superblock) -> Result<Self> {
        let mut set = ShadowSet::unwritten(members, first);
        set.rewrite(|_| {})?;
        let image = Vec::with_capacity(first.geometry.wblock_bytes as usize);
        let store_key = StoreKey::of(&first.store_id);
        Ok(Self { set, store_key, image, written: 0 })
    }

    /// True if a record of this shape goes into the wblock that is being filled.
    pub fn has_room(&self, shape: &Shape) -> bool {
        let used = self.image.len().max(WBLOCK_HEADER_BYTES as usize);
        used + shape.total_bytes() <= self.geometry().wblock_bytes as usize
    }

    /// Bytes written to the shadow, superblocks aside.
    pub fn bytes(&self) -> u64 {
        u64::from(self.written) * u64::from(self.geometry().wblock_bytes)
    }

    /// Adds a record, which is written with the others of its wblock; first those before it, where
    /// there is no room for it among them. No key may come twice: nothing here looks for an older
    /// record of the same key.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    pub fn push(
        &mut self,
        shape: &Shape,
        head: &RecordHead,
        (key, value): (&[u8], &[u8]),
    ) -> Result<()> {
        if !self.has_room(shape) {
            self.write()?;
        }
        if self.image.is_empty() {
            self.image.extend_from_slice(&self.header()?.encode());
        }
        let (word, seed) = self.here(shape.rblocks, false);
        let checks = Checks::compute(seed, head, shape, key, value);
        let head = encode_head(shape, head, checks);
        let end = self.image.len() + shape.total_bytes();
        let word = word.raw().to_le_bytes();
        let head = head.get(..shape.header_bytes - word.len()).unwrap_or(&head);
        for part in [&word, head, key, value] {
            self.image.extend_from_slice(part);
        }
        self.image.resize(end, 0);
        Ok(())
    }

    /// Writes the wblock that was begun, if one was.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn write(&mut self) -> Result<()> {
        if self.image.is_empty() {
            return Ok(());
        }
        let wblock_bytes = self.geometry().wblock_bytes as usize;
        let rblocks = (wblock_bytes - self.image.len()) / RBLOCK_BYTES as usize;
        if let Some(rblocks) = u32::try_from(rblocks).ok().filter(|rblocks| *rblocks > 0) {
            let (word, seed) = self.here(rblocks, true);
            let end = Padding::FlushEnd { number: 0, start_sector: 0 };
            self.image.extend_from_slice(&word.raw().to_le_bytes());
            self.image.extend_from_slice(&end.encode(seed));
            self.image.resize(wblock_bytes, 0);
        }
        self.set.write_wblock(self.wblock(), &self.image)?;
        self.written += 1;
        self.image.clear();
        if self.bytes().is_multiple_of(UNSYNCED_BYTES_MAX) { self.set.sync() } else { Ok(()) }
    }

    /// Writes what is left, and makes the shadow whole: durably, as after an orderly close. No
    /// clock of the new store starts below `floor_us`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: what is there is refused, as far as that can still be written.
    pub fn finish(mut self, floor_us: u64) -> Result<()> {
        self.write()?;
        self.arrive(floor_us).inspect_err(|_| self.set.disown())
    }

    fn arrive(&mut self, floor_us: u64) -> Result<()> {
        let geometry = self.geometry();
        let tag = |place, stripe| {
            let number = place * geometry.stripes + stripe;
            let is_written = number < self.written;
            let written = CensusTag::new(sequence(number), geometry.wblock_rblocks());
            if is_written { written } else { CensusTag::NONE }
        };
        let census = |stripe| {
            let tags = (0..geometry.wblocks_per_stripe).map(|place| tag(place, stripe));
            Census::new(self.set.first_sequence(), tags)
        };
        let censuses = (0..geometry.stripes).map(census).collect();
        // Syncs the wblocks along with it: until then, the superblocks say INCOMPLETE.
        self.set.mark_clean(floor_us, censuses, None)?;
        // Both copies, for one of them may rot.
        self.set.rewrite(|superblock| superblock.incomplete = false)?;
        self.set.rewrite(|_| {})
    }

    fn geometry(&self) -> Geometry {
        self.set.superblock().geometry
    }

    /// The wblock that is being filled (W2).
    fn wblock(&self) -> WblockId {
        let Geometry { stripes, wblocks_per_stripe, .. } = self.geometry();
        WblockId(self.written % stripes * wblocks_per_stripe + self.written / stripes)
    }

    /// The header of the next wblock, if there is one.
    fn header(&self) -> Result<WblockHeader> {
        let geometry = self.geometry();
        if self.written >= geometry.wblocks() {
            let reason = format!(
                "the snapshot is full, with {} bytes: give it more (`SnapshotOptions::data_size`)",
                geometry.region_bytes()
            );
            return Err(Error::config("data_size", reason));
        }
        let superblock = self.set.superblock();
        let home = WblockHome {
            store_id: superblock.store_id,
            stripe: geometry.home_stripe(self.wblock()),
            wblock: self.wblock(),
            wblock_bytes: geometry.wblock_bytes,
        };
        let opened_at = superblock.created_at;
        Ok(WblockHeader { home, sequence: sequence(self.written), opened_at })
    }

    /// The commit word of what is `rblocks` long and comes next, and the seed of its checksums.
    fn here(&self, rblocks: u32, is_padding: bool) -> (CommitWord, Seed) {
        let word = CommitWord::new(self.store_key, sequence(self.written), rblocks, is_padding);
        let first = self.geometry().location(self.wblock(), 0);
        let rblock = self.image.len() / RBLOCK_BYTES as usize;
        (word, Seed::new(self.store_key, Location(first.0 + rblock as u64), word))
    }
}

/// The life of the wblock that is written after `number` others (W2).
fn sequence(number: u32) -> Sequence {
    Sequence(u64::from(number) + 1)
}

/// What the superblocks say until the shadow is whole (W1).
fn begun(geometry: Geometry, now_us: u64) -> Superblock {
    Superblock {
        // The first two generations say that no record was ever written behind them.
        generation: 2,
        sequence_limit: sequence(geometry.wblocks()),
        clean: false,
        incomplete: true,
        ..newborn(geometry, now_us)
    }
}
