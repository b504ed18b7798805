//! The word that a stripe reserves by: which wblock is open, and how far it is handed out.

use crate::unit::WblockId;

/// (wblock, position) of a stripe. Most significant field first.
///
/// | bits   | field      | unit, range                                            |
/// |--------|------------|--------------------------------------------------------|
/// | 63..39 | `wblock`   | number in the region; all ones: none was opened yet    |
/// | 38..0  | `position` | rblocks from the wblock's start; past the end: crossed |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct OpenWord(pub(super) u64);

const POSITION_BITS: u32 = 39;
const POSITION_MASK: u64 = (1 << POSITION_BITS) - 1;
const NO_WBLOCK: u32 = (1 << (u64::BITS - POSITION_BITS)) - 1;
const _: () = assert!(NO_WBLOCK >= crate::unit::WBLOCKS_MAX, "no wblock has the number of none");

impl OpenWord {
    pub(super) const NEVER: Self = Self::new(WblockId(NO_WBLOCK), POSITION_MASK >> 1);

    pub(super) const fn new(wblock: WblockId, position: u64) -> Self {
        Self((wblock.0 as u64) << POSITION_BITS | position)
    }

    pub(super) const fn wblock(self) -> WblockId {
        WblockId((self.0 >> POSITION_BITS) as u32)
    }

    pub(super) const fn position(self) -> u64 {
        self.0 & POSITION_MASK
    }

    pub(super) fn opened(self) -> Option<WblockId> {
        (self.wblock().0 != NO_WBLOCK).then_some(self.wblock())
    }
}
