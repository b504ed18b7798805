//! A store's shadow as a whole: its members, and whether they belong together.
//!
//! States    `new --[found]--> closed --[mark open]--> open --[mark clean]--> closed`
//!
//! Invariants
//! - G1  Nothing is written before every member was opened, locked, read and found to belong: a
//!   refusal leaves all of them byte for byte as they were, and removes what it created.
//! - G2  A superblock has two copies; a rewrite goes to the one that is not in force, and is synced
//!   before the next. A crash leaves at least one whole copy, and the higher generation counts.
//! - G3  Members are created with generation 1, all of them, before the first gets generation 2.
//!   So a set in which no member is past generation 1 was never opened, and counts as new; a
//!   member without superblock beside one past generation 1 is missing.
//! - G4  The limit of sequences is raised, durably, before a sequence at or above the old one is
//!   handed out, and each open starts at the old limit: no sequence is ever used twice, also
//!   where a crash left records behind and no header.
#![forbid(unsafe_code)]

use super::files;
use super::io::{FileIndex, Members, ShadowFile, ShadowFiles};
use crate::config::Shadow;
use crate::error::{Error, Result};
use crate::format::{
    Census, CopyName, Found, SUPERBLOCK_AREA_BYTES, SUPERBLOCK_BYTES, SUPERBLOCK_COPY_B_OFFSET,
    StoreId, Superblock, choose, cut_mark,
};
use crate::planted::{Bug, is_planted};
use crate::sync::Arc;
use crate::unit::{Geometry, Sequence, WblockId};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;

/// Sequences promised by one rewrite of the superblocks.
const SEQUENCE_BATCH: u64 = 1 << 20;

/// What the members say, before anything was written.
#[derive(Debug)]
pub enum Survey {
    /// No member was ever opened: files may be missing, empty, or all zero in front.
    New,
    /// The superblock of each member, in the order of the stripes; all belong together.
    Existing(Vec<Standing>),
}

/// The superblock in force of one member.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What it says.
    pub superblock: Superblock,
    /// How its wblocks stood when it was last closed in order.
    pub census: Option<Census>,
    pub(super) copy: CopyName,
    /// The other copy was damaged: the next rewrite repairs it.
    pub is_repaired: bool,
}

/// A set of members, opened, locked and found to belong together.
#[derive(Debug)]
pub struct ShadowSet {
    members: Arc<dyn Members>,
    standings: Vec<Standing>,
}

impl ShadowSet {
    /// The members.
    pub fn members(&self) -> &Arc<dyn Members> {
        &self.members
    }

    /// What stripe 0 says; the facts of the store are the same in all.
    pub fn superblock(&self) -> &Superblock {
        #[expect(clippy::expect_used, reason = "a set has at least one member")]
        &self.standings.first().expect("at least one member").superblock
    }

    /// True if every member was closed in order.
    pub fn was_clean(&self) -> bool {
        self.standings.iter().all(|standing| standing.superblock.clean)
    }

    /// True if the wblock with this sequence was durable as a whole, by what all members say.
    pub fn is_whole(&self, sequence: Sequence) -> bool {
        self.standings.iter().all(|standing| standing.superblock.is_whole(sequence))
    }

    /// Superblock copies that were found damaged.
    pub fn damaged_copies(&self) -> u64 {
        self.standings.iter().filter(|standing| standing.is_repaired).count() as u64
    }

    /// Members that end before their last wblock does, whether or not that one is in use: what
    /// was cut off may have held anything.
    ///
    /// # Errors
    ///
    /// The system's, as [`Error::Io`].
    pub fn truncated(&self) -> Result<u64> {
        let mut truncated = 0;
        for (file, standing) in (0..).map(FileIndex).zip(&self.standings) {
            let bytes = self.members.bytes(file).map_err(|source| {
                let path = self.members.path(file).to_owned();
                Error::Io { op: "size", path, source }
            })?;
            truncated += u64::from(bytes < member_bytes(standing.superblock.geometry));
        }
        Ok(truncated)
    }

    /// The first sequence of this run (G4).
    pub fn first_sequence(&self) -> Sequence {
        if is_planted(Bug::ReuseSequences) {
            return Sequence(1);
        }
        let limit = |standing: &Standing| standing.superblock.sequence_limit;
        self.standings.iter().map(limit).max().unwrap_or(Sequence(1))
    }

    /// No clock may start below: microseconds since 1970.
    pub fn clock_floor(&self) -> u64 {
        self.standings.iter().map(|standing| standing.superblock.clock_floor).max().unwrap_or(0)
    }

    /// How the wblocks of `file` stood at the last orderly close.
    pub fn census(&self, file: FileIndex) -> Option<&Census> {
        self.standings.get(file.index())?.census.as_ref()
    }

    /// A header has a sequence above the limit: a superblock was lost after it was acknowledged.
    /// This run starts above that one, and is not taken to follow an orderly end.
    pub fn outgrow(&mut self, next: Sequence) {
        for Standing { superblock, .. } in &mut self.standings {
            superblock.clean = false;
            superblock.sequence_limit = superblock.sequence_limit.max(next);
        }
    }

    /// Takes a set whose survey was `Existing`.
    pub fn existing(members: Arc<dyn Members>, standings: Vec<Standing>) -> Self {
        Self { members, standings }
    }

    /// Founds a store on members of the right size that are zero in front (G3).
    ///
    /// # Errors
    ///
    /// The system's, as [`Error::Io`].
    pub fn found(members: Arc<dyn Members>, geometry: Geometry, now_us: u64) -> Result<Self> {
        let mut set = Self::unwritten(members, newborn(geometry, now_us));
        set.rewrite(|_| {})?;
        set.rewrite(|_| {})?;
        Ok(set)
    }

    /// Members of which none has a superblock yet: the first rewrite writes `first`, with the next
    /// generation, to copy A.
    pub(super) fn unwritten(members: Arc<dyn Members>, first: Superblock) -> Self {
        let standing = |stripe| Standing {
            superblock: Superblock { stripe, ..first },
            census: None,
            copy: CopyName::B,
            is_repaired: false,
        };
        let standings = (0..first.geometry.stripes).map(standing).collect();
        Self { members, standings }
    }

    /// Writes `bytes` at the start of `wblock`, past the flusher. Not durable until
    /// [`sync`](Self::sync).
    pub(super) fn write_wblock(&self, wblock: WblockId, bytes: &[u8]) -> Result<()> {
        let geometry = self.superblock().geometry;
        let place = u64::from(geometry.place_on_shadow(wblock)) * u64::from(geometry.wblock_bytes);
        let file = FileIndex(geometry.home_stripe(wblock));
        self.members.write_at(file, SUPERBLOCK_AREA_BYTES + place, bytes).map_err(|source| {
            let path = self.members.path(file).to_owned();
            Error::Io { op: "write", path, source }
        })
    }

    /// Makes what was written to the members durable.
    pub(super) fn sync(&self) -> Result<()> {
        for file in (0..self.members.count()).map(FileIndex) {
            self.members.sync(file).map_err(|source| {
                let path = self.members.path(file).to_owned();
                Error::Io { op: "sync", path, source }
            })?;
        }
        Ok(())
    }

    /// These members are not to be taken for a store, if that can be helped, whichever copy is
    /// read.
    pub(super) fn disown(&mut self) {
        for _copy in [CopyName::A, CopyName::B] {
            let _ = self.rewrite(|superblock| superblock.incomplete = true);
        }
    }

    /// Before the first write of a run: not clean, and sequences promised (G4). Returns the limit.
    ///
    /// # Errors
    ///
    /// The system's, as [`Error::Io`].
    pub fn mark_open(&mut self, clock_floor: u64) -> Result<Sequence> {
        let first = self.first_sequence();
        let limit = Sequence(first.0 + SEQUENCE_BATCH);
        let was_clean = self.was_clean();
        self.rewrite(|superblock| {
            // After a crash some wblock may end in a torn write, and will for good.
            if !was_clean {
                superblock.whole_from = first;
            }
            superblock.clean = is_planted(Bug::StayClean);
            superblock.clock_floor = clock_floor.max(superblock.clock_floor);
            superblock.sequence_limit = limit;
        })?;
        Ok(limit)
    }

    /// Promises more sequences when less than half a batch is left above `next` (G4).
    ///
    /// # Errors
    ///
    /// The system's, as [`Error::Io`].
    pub fn extend_sequences(&mut self, next: Sequence) -> Result<Option<Sequence>> {
        // By all members: one that failed to be rewritten promises less than the others.
        let limits = self.standings.iter().map(|standing| standing.superblock.sequence_limit);
        let promised = limits.min().unwrap_or(Sequence(1));
        if promised.0.saturating_sub(next.0) > SEQUENCE_BATCH / 2 {
            return Ok(None);
        }
        let limit = Sequence(promised.0 + SEQUENCE_BATCH).max(self.first_sequence());
        self.rewrite(|superblock| superblock.sequence_limit = limit)?;
        Ok(Some(limit))
    }

    /// What expired before `clock_floor` is dead from now on in every run.
    ///
    /// # Errors
    ///
    /// The system's, as [`Error::Io`].
    pub fn raise_floor(&mut self, clock_floor: u64) -> Result<()> {
        self.rewrite(|superblock| {
            superblock.clock_floor = clock_floor.max(superblock.clock_floor);
        })
    }

    /// After the last write of a run, with the census of each member; `whole_from`: wblocks of
    /// earlier sequences may have been written in part.
    ///
    /// # Errors
    ///
    /// The system's, as [`Error::Io`].
    pub fn mark_clean(
        &mut self,
        clock_floor: u64,
        censuses: Vec<Census>,
        whole_from: Option<Sequence>,
    ) -> Result<()> {
        for (standing, census) in self.standings.iter_mut().zip(censuses) {
            standing.census = Some(census);
        }
        self.rewrite(|superblock| {
            superblock.clean = true;
            superblock.whole_from = whole_from.unwrap_or(superblock.whole_from);
            superblock.clock_floor = clock_floor.max(superblock.clock_floor);
        })
    }

    /// Rewrites every member's superblock, each to the copy that is not in force (G2).
    pub(super) fn rewrite(&mut self, change: impl Fn(&mut Superblock)) -> Result<()> {
        for (file, standing) in (0..).map(FileIndex).zip(&mut self.standings) {
            let mut superblock = standing.superblock;
            change(&mut superblock);
            superblock.generation += 1;
            let (copy, offset) = match standing.copy {
                CopyName::A => (CopyName::B, SUPERBLOCK_COPY_B_OFFSET),
                CopyName::B => (CopyName::A, 0),
            };
            self.members
                .write_at(file, offset, superblock.encode_with(standing.census.as_ref()).as_slice())
                .and_then(|()| self.members.sync(file))
                .map_err(|source| {
                    let path = self.members.path(file).to_owned();
                    Error::Io { op: "write the superblock of", path, source }
                })?;
            (standing.superblock, standing.copy) = (superblock, copy);
            standing.is_repaired = false;
        }
        Ok(())
    }
}

/// Opens the files or devices of `shadow` that there are, and surveys them. Writes nothing.
///
/// # Errors
///
/// Those of opening ([`Error::Locked`], [`Error::NotAShadow`], [`Error::Io`]) and those of
/// [`survey`].
pub fn open(shadow: &Shadow, direct: bool) -> Result<(Vec<ShadowFile>, Survey)> {
    let files = files::open_existing(shadow, direct)?;
    let survey = survey(&ShadowFiles::new(files.clone()))?;
    Ok((files, survey))
}

/// Reads every superblock and finds out whether the members belong together.
///
/// # Errors
///
/// [`Error::NotAShadow`], [`Error::UnsupportedFormat`], [`Error::ShadowMismatch`], [`Error::Io`].
pub fn survey(members: &dyn Members) -> Result<Survey> {
    let mut standings = Vec::new();
    let mut blank = None;
    for file in (0..members.count()).map(FileIndex) {
        match read_superblock(members, file)? {
            Some(standing) => standings.push((file, standing)),
            None => blank = blank.or(Some(file)),
        }
    }
    // N1 of `attach`, whatever the others say.
    if let Some((file, _)) = standings.iter().find(|(_, standing)| standing.superblock.incomplete) {
        let found = "the unfinished copy of one, which `Store::reattach_shadow` or \
                     `Store::snapshot` began to write: the store is whole where it was before";
        return Err(Error::NotAShadow {
            path: members.path(*file).to_owned(),
            found: found.to_owned(),
        });
    }
    if standings.iter().all(|(_, standing)| standing.superblock.generation <= 1) {
        return Ok(Survey::New);
    }
    if let Some(file) = blank {
        return Err(mismatch(members, file, "content", "a member of its store", "no superblock"));
    }
    let Some((_, first)) = standings.first() else { return Ok(Survey::New) };
    let first = first.superblock;
    for (file, standing) in &standings {
        check_member(members, *file, &standing.superblock, &first)?;
    }
    let count = members.count();
    if count != first.geometry.stripes {
        let (expected, found) = (first.geometry.stripes.to_string(), count.to_string());
        let path = members.path(FileIndex(count - 1)).to_owned();
        return Err(Error::ShadowMismatch { path, what: "number of members", expected, found });
    }
    Ok(Survey::Existing(standings.into_iter().map(|(_, standing)| standing).collect()))
}

fn check_member(
    members: &dyn Members,
    file: FileIndex,
    superblock: &Superblock,
    first: &Superblock,
) -> Result<()> {
    if superblock.store_id != first.store_id {
        let (expected, found) = (first.store_id.to_string(), superblock.store_id.to_string());
        return Err(mismatch(members, file, "store id", expected, found));
    }
    if superblock.stripe != file.0 {
        let (expected, found) = (file.0.to_string(), superblock.stripe.to_string());
        return Err(mismatch(members, file, "stripe number", expected, found));
    }
    if superblock.attached_at != first.attached_at {
        let when = |attached_at: u64| match attached_at {
            0 => "where the store was founded".to_owned(),
            micros => format!("where the store moved to at {micros} us since 1970"),
        };
        let (expected, found) = (when(first.attached_at), when(superblock.attached_at));
        return Err(mismatch(members, file, "place in the store's history", expected, found));
    }
    if superblock.geometry != first.geometry {
        let (expected, found) = (shape(first.geometry), shape(superblock.geometry));
        return Err(mismatch(members, file, "shape", expected, found));
    }
    Ok(())
}

/// The superblock in force; `None`: blank.
pub(super) fn read_superblock(members: &dyn Members, file: FileIndex) -> Result<Option<Standing>> {
    let path = || members.path(file).to_owned();
    let (bytes, [a, b]) = &read_copies(members, file)?;
    let bytes = *bytes;
    match choose(a, b) {
        Found::Superblock { superblock, copy, damaged } => {
            let bytes = if copy == CopyName::A { a } else { b };
            let census = superblock.census(bytes);
            Ok(Some(Standing { superblock, census, copy, is_repaired: damaged.is_some() }))
        }
        Found::AllZero if bytes == 0 || bytes >= SUPERBLOCK_AREA_BYTES => Ok(None),
        Found::AllZero => {
            let found = format!("{bytes} zero bytes, fewer than a superblock takes");
            Err(Error::NotAShadow { path: path(), found })
        }
        Found::Foreign { first_bytes } => {
            let found = format!("a file that starts with \"{first_bytes}\"");
            Err(Error::NotAShadow { path: path(), found })
        }
        Found::NewerFormat(version) => Err(Error::UnsupportedFormat { path: path(), version }),
        Found::Damaged { a: why_a, b: why_b } => {
            let found = match cut_mark(a, b) {
                Some(store_id) => format!(
                    "an unfinished copy of store {store_id}, cut short when it was begun: the \
                     store is whole where it was before; move it here again, or remove this"
                ),
                None => {
                    format!("a shadow with both superblock copies damaged ({why_a}; {why_b})")
                }
            };
            Err(Error::NotAShadow { path: path(), found })
        }
    }
}

/// The size of a member, and its two superblock copies, as far as it has them.
fn read_copies(members: &dyn Members, file: FileIndex) -> Result<(u64, [Vec<u8>; 2])> {
    let failed = |source: io::Error| {
        let path = members.path(file).to_owned();
        Error::Io { op: "read the superblock of", path, source }
    };
    let bytes = members.bytes(file).map_err(failed)?;
    let mut copies = [vec![0; SUPERBLOCK_BYTES], vec![0; SUPERBLOCK_BYTES]];
    for (copy, offset) in copies.iter_mut().zip([0, SUPERBLOCK_COPY_B_OFFSET]) {
        let read = members.read_at(file, offset, copy).map_err(failed)?;
        copy.truncate(read);
    }
    Ok((bytes, copies))
}

/// True if a member is what is left of the first superblock of a copy of store `store_id`, and
/// neither of its superblock copies verifies: as good as blank to that store.
pub(super) fn is_cut_mark(
    members: &dyn Members,
    file: FileIndex,
    store_id: StoreId,
) -> Result<bool> {
    let (_, [a, b]) = read_copies(members, file)?;
    let is_damaged = matches!(choose(&a, &b), Found::Damaged { .. });
    Ok(is_damaged && cut_mark(&a, &b) == Some(store_id))
}

/// What the superblocks of a new store say before the first is written.
pub(super) fn newborn(geometry: Geometry, now_us: u64) -> Superblock {
    let (low, high) = (random(), random());
    Superblock {
        generation: 0,
        store_id: StoreId((u128::from(low) | u128::from(high) << 64).to_le_bytes()),
        stripe: 0,
        geometry,
        hash_seed: random(),
        clock_floor: now_us,
        sequence_limit: Sequence(1),
        created_at: now_us,
        whole_from: Sequence(1),
        attached_at: 0,
        clean: true,
        incomplete: false,
    }
}

/// Bytes that a member of this shape has.
pub fn member_bytes(geometry: Geometry) -> u64 {
    let wblocks = u64::from(geometry.wblocks_per_stripe) * u64::from(geometry.wblock_bytes);
    SUPERBLOCK_AREA_BYTES + wblocks
}

/// A shape in words.
pub fn shape(geometry: Geometry) -> String {
    let Geometry { wblock_bytes, stripes, wblocks_per_stripe } = geometry;
    format!("{stripes} stripes of {wblocks_per_stripe} wblocks of {wblock_bytes} bytes")
}

pub(super) fn mismatch(
    members: &dyn Members,
    file: FileIndex,
    what: &'static str,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> Error {
    let path = members.path(file).to_owned();
    Error::ShadowMismatch { path, what, expected: expected.into(), found: found.into() }
}

/// 64 bits that nobody outside the process can guess: the standard library keys its hash tables
/// from the system's random source.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
