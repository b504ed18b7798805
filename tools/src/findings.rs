//! What is not as it was written: every checksum of a shadow, what the census knows, and a rule
//! that neither tells: each life of a wblock has a sequence of its own.
//!
//! Findings are of two weights. Damage was durable once, or should be there and is not. A tear was
//! never durable (a crash cut it off, or a live store is writing it): it is said, and no damage.
//! (Rot in the last flush of a wblock that was written before the last run cannot be told from a
//! tear of a crash back then, and is said as such.) The counts have the names of the engine's
//! cold-start report.

use crate::error::Failure;
use crate::line::KeyText;
use crate::progress::Progress;
use crate::shadow::{Member, Shadow, copy_name};
use crate::text::{Size, shown, shown_key};
use crate::wblock::{Reader, Walked, Wblock, counts};
use brindle::format::{Damage, DamageCause, DamageKind, RecordView, StoreId, WblockHeader};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use std::collections::HashMap;
use std::fmt;

/// Something that is not as it was written.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// The file or device.
    pub(crate) path: String,
    /// The wblock, by its number in the region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wblock: Option<u32>,
    /// The first rblock of the place, from the start of the wblock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rblock: Option<u32>,
    /// Rblocks of the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rblocks: Option<u32>,
    /// Was durable once, or should be there; else never durable, or being written.
    pub(crate) is_damage: bool,
    /// What it is, for people.
    pub(crate) what: String,
    #[serde(flatten, serialize_with = "as_key")]
    #[schemars(with = "Option<KeyText<'static>>")]
    pub(crate) key: Option<Vec<u8>>,
}

/// What was looked at and found; the names of what was rejected are those of the engine.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Counts {
    /// Files and devices.
    pub(crate) shadows: u64,
    /// Wblocks, used or not.
    pub(crate) wblocks: u64,
    /// Never written, or struck out.
    pub(crate) free_wblocks: u64,
    /// Records that verify, older copies and tombstones included.
    pub(crate) records: u64,
    /// Of those, tombstones.
    pub(crate) tombstones: u64,
    /// Bytes of those records.
    pub(crate) bytes: u64,
    /// Flushes whose ends verify.
    flushes: u64,
    /// Places that were never durable.
    pub(crate) torn: u64,
    /// Records whose value is damaged and whose key is known.
    lost_values: u64,
    /// Damaged places whose keys are not known.
    lost_places: u64,
    /// Records with a feature that this version does not know.
    unsupported: u64,
    /// Damaged places that look like paddings.
    paddings: u64,
    /// Wblocks with a damaged header.
    damaged_wblocks: u64,
    /// Wblocks of another store or place.
    foreign_wblocks: u64,
    /// Wblocks whose header is gone, though the census has one.
    missing_wblocks: u64,
    /// Wblocks older than the census.
    stale_wblocks: u64,
    /// Wblocks that the device refused to read.
    refused_wblocks: u64,
    /// Superblocks older than a wblock of their shadow.
    stale_superblocks: u64,
    /// Headers of which one copy is damaged.
    header_copies: u64,
    /// Superblocks of which one copy is damaged.
    superblock_copies: u64,
}

/// Looks at all of `shadow`, and hands each finding to `on_finding`.
pub(crate) fn check(
    shadow: &Shadow,
    progress: &Progress,
    on_finding: impl FnMut(Finding) -> Result<(), Failure>,
) -> Result<Checked, Failure> {
    let mut walk = Checker::begin(shadow, on_finding)?;
    let mut reader = Reader::default();
    for member in &shadow.members {
        for place in member.places() {
            let wblock = reader.load(member, place);
            walk.check_wblock(member, place, &wblock)?;
            progress.add(member.superblock.geometry.wblock_bytes.into());
        }
    }
    walk.end(shadow)
}

/// What a check came to.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) counts: Counts,
    /// Findings that are damage.
    pub(crate) damaged: u64,
}

/// Looks at one wblock after the other.
pub(crate) struct Checker<F> {
    checked: Checked,
    /// Which wblock has a sequence.
    lives: HashMap<u64, String>,
    /// Above every sequence that was met.
    next_sequence: u64,
    on_finding: F,
}

impl<F: FnMut(Finding) -> Result<(), Failure>> Checker<F> {
    /// Looks at `shadow` as a whole.
    pub(crate) fn begin(shadow: &Shadow, on_finding: F) -> Result<Self, Failure> {
        let (checked, lives) = (Checked::default(), HashMap::new());
        let mut begun = Self { checked, lives, on_finding, next_sequence: 0 };
        for oddity in &shadow.oddities {
            let path = oddity.path.display().to_string();
            let finding = Finding::new(path, &oddity.what);
            begun.find(Finding { is_damage: oddity.is_damage, ..finding })?;
        }
        for member in &shadow.members {
            begun.checked.counts.shadows += 1;
            begun.check_superblock(member)?;
        }
        Ok(begun)
    }

    /// What it came to, once every wblock was looked at.
    pub(crate) fn end(mut self, shadow: &Shadow) -> Result<Checked, Failure> {
        self.check_limit(shadow)?;
        Ok(self.checked)
    }

    fn check_superblock(&mut self, member: &Member) -> Result<(), Failure> {
        let Some(damaged) = member.damaged_copy else { return Ok(()) };
        self.checked.counts.superblock_copies += 1;
        let copy = copy_name(damaged.copy);
        let what = format!("superblock copy {copy}: {}; the other copy counts", damaged.error);
        let path = member.path.display().to_string();
        self.find(Finding { is_damage: true, ..Finding::new(path, &what) })
    }

    /// No header has a sequence that its superblock says was never handed out.
    fn check_limit(&mut self, shadow: &Shadow) -> Result<(), Failure> {
        let limit = |member: &Member| Some(member.superblock_now()?.sequence_limit.0);
        let limit = shadow.members.iter().filter_map(limit).max();
        let Some((limit, member)) = limit.zip(shadow.members.first()) else { return Ok(()) };
        if self.next_sequence <= limit {
            return Ok(());
        }
        self.checked.counts.stale_superblocks += 1;
        let highest = self.next_sequence - 1;
        let what = format!(
            "the superblock is stale: a wblock has the sequence {highest}, and none from {limit} \
             on was handed out"
        );
        let finding = Finding::new(member.path.display().to_string(), &what);
        self.find(Finding { is_damage: true, ..finding })
    }

    /// Looks at one wblock.
    pub(crate) fn check_wblock(
        &mut self,
        member: &Member,
        place: u32,
        wblock: &Wblock<'_>,
    ) -> Result<(), Failure> {
        let counts = &mut self.checked.counts;
        counts.wblocks += 1;
        let what = match wblock {
            Wblock::Free => {
                counts.free_wblocks += 1;
                return Ok(());
            }
            Wblock::Struck(header) => {
                counts.free_wblocks += 1;
                self.next_sequence = self.next_sequence.max(header.sequence.0 + 1);
                return Ok(());
            }
            Wblock::Missing => return Ok(()), // said once, of the whole file
            Wblock::Read(walked) => return self.check_walked(member, place, walked),
            Wblock::Damaged => {
                counts.damaged_wblocks += 1;
                "neither copy of the header verifies: its records cannot be found".to_owned()
            }
            Wblock::Foreign(header) => {
                counts.foreign_wblocks += 1;
                foreign(header, member.superblock.store_id)
            }
            Wblock::Lost => {
                counts.missing_wblocks += 1;
                "is missing: the last orderly close left records here, and now there are zeros"
                    .to_owned()
            }
            Wblock::Stale(header) => {
                counts.stale_wblocks += 1;
                format!(
                    "is stale: it holds its life {}, and the last orderly close left another",
                    header.sequence.0
                )
            }
            Wblock::Refused(error) => {
                counts.refused_wblocks += 1;
                format!("cannot be read: {error}")
            }
        };
        self.find(Finding { is_damage: true, ..Finding::of_wblock(member, place, &what) })
    }

    fn check_walked(
        &mut self,
        member: &Member,
        place: u32,
        walked: &Walked<'_>,
    ) -> Result<(), Failure> {
        let scan = &walked.scan;
        let totals = &mut self.checked.counts;
        totals.records += u64::from(scan.records);
        totals.bytes += scan.bytes;
        totals.flushes += u64::from(scan.flushes);
        let tombstones = walked.records().filter(|(_, view)| view.is_tombstone()).count();
        totals.tombstones += tombstones as u64;
        self.check_life(member, place, walked)?;
        if walked.damaged_copy {
            self.checked.counts.header_copies += 1;
            let what = "one copy of the header is damaged; the other counts";
            self.find(Finding { is_damage: true, ..Finding::of_wblock(member, place, what) })?;
        }
        for damage in &scan.damage {
            self.checked.counts.add(damage);
            let view = walked.damaged_record(damage);
            let is_damage = counts(damage) && !walked.in_flux;
            let what = describe(damage, view.as_ref(), is_damage);
            self.find(Finding {
                rblock: Some(damage.rblock),
                rblocks: Some(damage.rblocks),
                is_damage,
                key: view.map(|view| view.key().to_vec()),
                ..Finding::of_wblock(member, place, &what)
            })?;
        }
        Ok(())
    }

    /// What every writer keeps to, whatever the checksums say.
    fn check_life(
        &mut self,
        member: &Member,
        place: u32,
        walked: &Walked<'_>,
    ) -> Result<(), Failure> {
        let sequence = walked.header.sequence.0;
        self.next_sequence = self.next_sequence.max(sequence + 1);
        let here = format!("wblock {place} of {}", member.path.display());
        if let Some(other) = self.lives.insert(sequence, here) {
            let what = format!("has the sequence {sequence}, which {other} has, too");
            let finding = Finding::of_wblock(member, place, &what);
            self.find(Finding { is_damage: !walked.in_flux, ..finding })?;
        }
        Ok(())
    }

    fn find(&mut self, finding: Finding) -> Result<(), Failure> {
        self.checked.damaged += u64::from(finding.is_damage);
        (self.on_finding)(finding)
    }
}

impl Counts {
    /// As the engine's cold start counts it.
    fn add(&mut self, damage: &Damage) {
        match (damage.kind, damage.cause) {
            (_, DamageCause::Unsupported) => self.unsupported += 1,
            (DamageKind::Torn, _) => self.torn += 1,
            (DamageKind::Rot, DamageCause::BadPadding) => self.paddings += 1,
            (DamageKind::Rot, _) if damage.key.is_some() => self.lost_values += 1,
            (DamageKind::Rot, _) => self.lost_places += 1,
        }
    }

    /// One line for people.
    pub(crate) fn summary(&self) -> String {
        let Self { shadows, wblocks, free_wblocks, records, tombstones, bytes, torn, .. } = self;
        format!(
            "{shadows} shadows, {wblocks} wblocks ({free_wblocks} free), {records} records \
             ({tombstones} tombstones) of {}, {torn} torn",
            Size(*bytes)
        )
    }
}

impl Finding {
    fn new(path: String, what: &str) -> Self {
        let what = what.to_owned();
        let (wblock, rblock, rblocks) = (None, None, None);
        Self { path, wblock, rblock, rblocks, is_damage: false, what, key: None }
    }

    pub(crate) fn of_wblock(member: &Member, place: u32, what: &str) -> Self {
        let path = member.path.display().to_string();
        Self { wblock: Some(member.wblock_at(place).0), ..Self::new(path, what) }
    }

    /// Where it is, for people.
    pub(crate) fn place(&self) -> String {
        let wblock = self.wblock.map(|wblock| format!("wblock {wblock}"));
        let rblocks = self.rblock.zip(self.rblocks).map(|(rblock, rblocks)| {
            format!("rblocks {rblock}..{}", u64::from(rblock) + u64::from(rblocks))
        });
        let parts = [Some(shown(&self.path).into_owned()), wblock, rblocks];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = if self.is_damage { "damage" } else { "note  " };
        write!(out, "{weight} {}: {}", self.place(), shown(&self.what))?;
        match &self.key {
            Some(key) => write!(out, "; key {}", shown_key(key)),
            None => Ok(()),
        }
    }
}

pub(crate) fn describe(damage: &Damage, view: Option<&RecordView<'_>>, is_damage: bool) -> String {
    let Damage { kind, cause, .. } = damage;
    if !is_damage {
        return format!("{kind}, {cause}: never durable, or being written");
    }
    let Some(view) = view else { return format!("{kind}, {cause}") };
    let version = view.version();
    format!("{kind}, {cause}: version {version} of the key is lost, and hides older copies")
}

/// What a header of another place says of it.
pub(crate) fn foreign(header: &WblockHeader, store_id: StoreId) -> String {
    let home = header.home;
    if home.store_id == store_id {
        format!("holds wblock {} of stripe {}", home.wblock.0, home.stripe)
    } else {
        format!("holds a wblock of store {}", home.store_id)
    }
}

#[expect(clippy::ref_option, reason = "serde lends the field as it is")]
fn as_key<S: Serializer>(key: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    key.as_deref().map(KeyText::from).serialize(serializer)
}
