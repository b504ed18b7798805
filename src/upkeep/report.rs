//! What a cold start found.
#![forbid(unsafe_code)]

use crate::format::{Damage, DamageCause, DamageKind};
use crate::unit::Sequence;
use std::time::Duration;

/// What a cold start found: part of [`Stats`](crate::Stats).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LoadReport {
    /// True if the last run had closed the store in order.
    pub was_clean: bool,
    /// Records that are in the store now, expired ones included.
    pub records: u64,
    /// Tombstones that are in the store now.
    pub tombstones: u64,
    /// Records and tombstones that were read and verified.
    pub read: u64,
    /// Of those, copies that lost to a newer one of their key.
    pub superseded: u64,
    /// Wblocks that were read.
    pub wblocks: u64,
    /// Bytes of the records that were read.
    pub bytes: u64,
    /// How long it took.
    #[cfg_attr(feature = "serde", serde(rename = "elapsed_seconds", serialize_with = "seconds"))]
    pub elapsed: Duration,
    /// Shadows that end before their last wblock.
    pub truncated_shadows: u64,
    /// What was not taken, by cause.
    pub rejected: Rejected,
    /// The latest time found in a wblock's header: no clock may start below.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) clock_floor: u64,
    /// Above every sequence found.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) next_sequence: Sequence,
}

/// What a cold start did not take, by cause.
///
/// A torn write was never durable, and is no loss. The rest was durable once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Rejected {
    /// Places in the last flush of a wblock that were not written whole.
    pub torn: u64,
    /// Records whose value is damaged and whose key is known: they read as absent.
    pub lost_values: u64,
    /// Damaged places whose keys are not known.
    pub lost_places: u64,
    /// Records with a feature that this version does not know.
    pub unsupported: u64,
    /// Damaged places that look like paddings. No record is lost by a damaged padding, but one
    /// flipped bit makes a record look like one: so they count as damage.
    pub paddings: u64,
    /// Wblocks with a damaged header.
    pub damaged_wblocks: u64,
    /// Wblocks of another store or place.
    pub foreign_wblocks: u64,
    /// Wblocks whose header is gone, though the last orderly close says that there was one.
    pub missing_wblocks: u64,
    /// Wblocks with an older content than they had at the last orderly close: a write was lost, or
    /// an older image put in their place. Nothing of them is taken.
    pub stale_wblocks: u64,
    /// Superblocks that are older than a wblock of their shadow: a rewrite was lost.
    pub stale_superblocks: u64,
    /// Headers of which one of two copies was damaged; nothing is lost by one.
    pub header_copies: u64,
    /// Superblocks of which one of two copies was damaged; repaired.
    pub superblock_copies: u64,
}

#[cfg(feature = "serde")]
fn seconds<S: serde::Serializer>(elapsed: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_f64(elapsed.as_secs_f64())
}

impl LoadReport {
    /// Places that were durable once and cannot be read.
    pub fn damaged(&self) -> u64 {
        let Rejected { lost_values, lost_places, unsupported, paddings, .. } = self.rejected;
        let Rejected { damaged_wblocks, foreign_wblocks, missing_wblocks, .. } = self.rejected;
        let Rejected { stale_wblocks, stale_superblocks, .. } = self.rejected;
        lost_values
            + lost_places
            + unsupported
            + paddings
            + damaged_wblocks
            + foreign_wblocks
            + missing_wblocks
            + stale_wblocks
            + stale_superblocks
            + self.truncated_shadows
    }

    /// Counts one damaged span.
    pub(super) fn count(&mut self, damage: &Damage) {
        let rejected = &mut self.rejected;
        match (damage.kind, damage.cause) {
            (_, DamageCause::Unsupported) => rejected.unsupported += 1,
            (DamageKind::Torn, _) => rejected.torn += 1,
            (DamageKind::Rot, DamageCause::BadPadding) => rejected.paddings += 1,
            (DamageKind::Rot, _) if damage.key.is_some() => rejected.lost_values += 1,
            (DamageKind::Rot, _) => rejected.lost_places += 1,
        }
    }

    /// Adds what one wblock's walk found.
    pub(super) fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.superseded += other.superseded;
        self.wblocks += other.wblocks;
        self.bytes += other.bytes;
        self.rejected.torn += other.rejected.torn;
        self.rejected.lost_values += other.rejected.lost_values;
        self.rejected.lost_places += other.rejected.lost_places;
        self.rejected.unsupported += other.rejected.unsupported;
        self.rejected.paddings += other.rejected.paddings;
    }
}
