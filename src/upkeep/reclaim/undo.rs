//! Takes moves back where a run ended with no wblock free: the next one must have somewhere to move
//! records to, and does not append to what was open.
//!
//! Moves alone may open the last wblock that there is (`region::supply`). While none is free,
//! neither a tombstone nor anything else that is new goes to it (`Common::is_at_last`): each of its
//! records is a copy, and the original stands in a wblock that is not struck out, for that would be
//! one on its way to a free queue. So after a crash there is a wblock free, or one in which all
//! that is live is copies: the index is led back to the originals, and the copies' wblock is empty
//! and passes the gate as any other. However often a run ends before it comes to anything.
//!
//! The copies count on the shadow until their wblock is struck out, and an original may not know
//! of them, if it is no heir. A delete or an overwrite leaves something newer, and what expires is
//! dead for good when it leaves the index. Eviction would go by that flag: a cache, which can give
//! up records instead of moving them, is left as it is.
#![forbid(unsafe_code)]

use super::Common;
use super::cleaner::Records;
use crate::format::{Flags, precedence};
use crate::index::Place;
use crate::region::State;
use crate::sync::epoch::{self, Guard};
use crate::unit::{Location, WBLOCK_HEADER_RBLOCKS, WblockId};
use std::collections::BTreeMap;

/// The places of originals by those of their copies.
type Originals = BTreeMap<Location, Location>;

impl Common {
    /// True if no wblock is free, nor would be after a crash, but what moves have opened last.
    pub(super) fn is_at_last(&self) -> bool {
        self.has_shadow() && !self.stripes().has_any_left()
    }

    /// Frees a wblock of copies if there is none free. Before anybody reads, writes or reclaims.
    pub(super) fn undo_moves(&self) {
        if !self.is_at_last() || self.settings.evict().is_some() {
            return;
        }
        let guard = epoch::pin();
        let mut by_wblock = BTreeMap::<u32, Originals>::new();
        for (wblock, entry) in self.stripes().wblocks() {
            if entry.state() == State::Used {
                self.find_originals(&guard, wblock, &mut by_wblock);
            }
        }
        for (wblock, originals) in by_wblock {
            let rblocks = |copy: &Location| u64::from(self.keyspace.view(&guard, *copy).rblocks());
            let covered: u64 = originals.keys().map(rblocks).sum();
            if self.stripes().live_rblocks(WblockId(wblock)) == covered {
                self.lead_back(&guard, &originals);
                return;
            }
        }
    }

    /// Notes the records of `wblock` of which the index has a moved copy in another one.
    fn find_originals(
        &self,
        guard: &Guard,
        wblock: WblockId,
        found: &mut BTreeMap<u32, Originals>,
    ) {
        let geometry = self.stripes().geometry();
        let end = geometry.wblock_rblocks();
        let mut records = Records::new(self, wblock, WBLOCK_HEADER_RBLOCKS, end);
        while let Some(met) = records.next(guard) {
            let original = self.keyspace.view(guard, met.location);
            let present = self.keyspace.search_present(guard, met.hash, original.key());
            let Ok(Some((Place::Occupied(entry), Some(copy)))) = present else { continue };
            let at = entry.location();
            let is_copy = geometry.wblock(at) != wblock
                && copy.flags().contains(Flags::MOVED)
                && precedence(&copy, &original).is_eq();
            if is_copy {
                found.entry(geometry.wblock(at).0).or_default().insert(at, met.location);
            }
        }
    }

    /// Lets the index name the originals again.
    fn lead_back(&self, guard: &Guard, originals: &Originals) {
        for (copy, original) in originals {
            let view = self.keyspace.view(guard, *copy);
            let hash = self.keyspace.hash(view.key());
            let Ok(Some(entry)) = self.keyspace.search_at(guard, hash, *copy) else { continue };
            if entry.replace(*original).is_ok() {
                self.keyspace.bury(*copy, view.rblocks());
                let rblocks = self.keyspace.view(guard, *original).rblocks();
                let stripes = self.stripes();
                stripes.wblock(stripes.geometry().wblock(*original)).unbury(rblocks);
            }
        }
    }
}
