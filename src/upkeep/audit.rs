//! The auditor: counts everything anew from the index, and compares.
#![forbid(unsafe_code)]

use super::keyspace::Keyspace;
use crate::index::{ScanCursor, SlotState};
use crate::region::State;
use crate::sync::epoch;
use crate::unit::WblockId;

/// What an audit found: see [`Store::audit`](crate::Store::audit).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Audit {
    /// Values in the index.
    pub records: u64,
    /// Tombstones in the index.
    pub tombstones: u64,
    /// Bytes of both, padding to 16 bytes included.
    pub live_bytes: u64,
    /// What does not add up, each a sentence. Empty: everything does.
    pub mismatches: Vec<String>,
}

/// Differences that are told; the rest is counted.
const TOLD_MAX: usize = 20;

impl Keyspace {
    /// Counts every wblock's live bytes from the index, and the wblocks of each state, and compares
    /// them with what is kept. Exact while nobody writes or reclaims.
    pub fn audit(&self) -> Audit {
        let stripes = self.stripes();
        let geometry = stripes.geometry();
        let mut live = vec![0_u64; geometry.wblocks() as usize];
        let mut audit = Audit::default();
        let mut cursor = Some(ScanCursor::default());
        while let Some(from) = cursor {
            let guard = epoch::pin();
            let mut slots = Vec::new();
            cursor = self.index().slots_from(&guard, from, &mut slots);
            for slot in slots {
                let (SlotState::Live(location) | SlotState::Frozen(location)) = slot.state() else {
                    continue;
                };
                let view = self.view(&guard, location);
                if view.is_tombstone() {
                    audit.tombstones += 1;
                } else {
                    audit.records += 1;
                }
                if let Some(live) = live.get_mut(geometry.wblock(location).0 as usize) {
                    *live += u64::from(view.rblocks());
                }
            }
        }
        let mut mismatches = Vec::new();
        let mut free = 0;
        for ((wblock, entry), live) in stripes.wblocks().zip(&live) {
            let (state, kept) = (entry.state(), stripes.live_rblocks(wblock));
            audit.live_bytes += live * u64::from(crate::unit::RBLOCK_BYTES);
            free += u64::from(state == State::Free);
            if kept != *live {
                let WblockId(number) = wblock;
                mismatches.push(format!(
                    "wblock {number} ({state:?}) has {live} live rblocks, and counts {kept}"
                ));
            }
        }
        let counts = [
            ("records", audit.records, self.records()),
            ("tombstones", audit.tombstones, self.tombstones()),
            ("free wblocks", free, stripes.free_wblocks()),
        ];
        for (what, found, kept) in counts {
            if found != kept {
                mismatches.push(format!("there are {found} {what}, and {kept} are counted"));
            }
        }
        if mismatches.len() > TOLD_MAX {
            let more = mismatches.len() - TOLD_MAX;
            mismatches.truncate(TOLD_MAX);
            mismatches.push(format!("{more} more"));
        }
        audit.mismatches = mismatches;
        audit
    }
}
