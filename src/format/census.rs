//! The census: how each wblock stood on the shadow when its store was last closed in order.
//!
//! It lies in the superblock, which knows better than the wblock itself whether something of it has
//! gone: a header or a last flush that reads as zeros looks as if it had never been written, and an
//! older image of a wblock verifies. A run that does not end in order leaves the census of before
//! in force: what that run wrote has sequences the census says nothing about, all else is as it was
//! or struck out.
//!
//! Invariants
//! - C1  Of a wblock with a sequence below `below`, the shadow holds what its tag says, or the same
//!   with the header struck out; of a wblock without a tag, nothing that counts; where the tag ends
//!   at 0, that or what was refused. All else is the work of the device.
//!
//! Only the first `CENSUS_WBLOCKS` wblocks of a stripe are in it.
#![forbid(unsafe_code)]

use super::header::HeaderState;
use crate::unit::{SECTOR_RBLOCKS, Sequence};

/// Wblocks of a stripe that a census counts.
pub const CENSUS_WBLOCKS: usize = 994;
/// Bytes that it takes in a superblock.
pub(super) const CENSUS_BYTES: usize = 8 + 4 * CENSUS_WBLOCKS;

/// How one wblock stands on the shadow; 0: nothing in it counts.
///
/// | bits   | field      | unit, range                                        |
/// |--------|------------|----------------------------------------------------|
/// | 31     | `COUNTS`   | 1                                                  |
/// | 30..12 | `sequence` | the low bits of its sequence                       |
/// | 11..0  | `end`      | sectors that were written whole: `0..=2048`        |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct CensusTag(u32);

const COUNTS: u32 = 1 << 31;
const END_BITS: u32 = 12;
const SEQUENCE_MASK: u64 = (1 << (31 - END_BITS)) - 1;

#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(
    1 << END_BITS > crate::unit::WBLOCK_BYTES_MAX / crate::unit::SECTOR_BYTES,
    "each sector of the largest wblock can be its last"
);

impl CensusTag {
    /// Nothing in the wblock counts: it was never written, or is struck out.
    pub const NONE: Self = Self(0);

    /// The wblock was written in the life `sequence`, up to `until_rblock`: the end of a sector, or
    /// what verified of one that was torn. Up to 0: what was written of that life, if anything, was
    /// refused, and the header of the one before is struck out.
    pub const fn new(sequence: Sequence, until_rblock: u32) -> Self {
        let end = (until_rblock / SECTOR_RBLOCKS) & ((1 << END_BITS) - 1);
        Self(COUNTS | ((sequence.0 & SEQUENCE_MASK) as u32) << END_BITS | end)
    }

    /// As it is kept.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The tag that was kept as `raw`.
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    const fn is_of(self, sequence: Sequence) -> bool {
        self.0 & COUNTS != 0 && (self.0 ^ Self::new(sequence, 0).0) >> END_BITS == 0
    }

    /// Something is there, and does not go but with its header struck out.
    const fn has_some(self) -> bool {
        self.end_rblock() > 0
    }

    /// Where what was written ends. Unit: rblocks from the start of the wblock.
    const fn end_rblock(self) -> u32 {
        (self.0 & ((1 << END_BITS) - 1)) * SECTOR_RBLOCKS
    }
}

/// What a census says of a header that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It may be so. With an rblock: what the wblock holds goes as far.
    Fine {
        /// Where what was written ends, if that is known.
        end_rblock: Option<u32>,
    },
    /// There was one, and it is gone.
    Missing,
    /// It is that of an older life, or of one that was struck out.
    Stale,
}

/// The census of one stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// Sequences from here on were handed out after it was taken.
    pub below: Sequence,
    /// By place on the shadow; behind the last, none is known.
    tags: Vec<CensusTag>,
}

impl Census {
    /// The census of wblocks with `tags`, in the order of their places.
    pub fn new(below: Sequence, tags: impl IntoIterator<Item = CensusTag>) -> Self {
        Self { below, tags: tags.into_iter().take(CENSUS_WBLOCKS).collect() }
    }

    /// The census in a superblock that verifies, of a stripe of `wblocks`; `None`: it has none.
    pub(super) fn decode(bytes: &[u8; CENSUS_BYTES], wblocks: u32) -> Option<Self> {
        let (below, tags) = bytes.split_first_chunk()?;
        let below = Sequence(u64::from_le_bytes(*below));
        let (tags, _) = tags.as_chunks();
        let tags = tags.iter().map(|tag| CensusTag(u32::from_le_bytes(*tag)));
        (below != Sequence(0)).then(|| Self::new(below, tags.take(wblocks as usize)))
    }

    pub(super) fn encode(&self) -> [u8; CENSUS_BYTES] {
        let mut bytes = [0; CENSUS_BYTES];
        let tags = self.tags.iter().flat_map(|tag| tag.0.to_le_bytes());
        let all = self.below.0.to_le_bytes().into_iter().chain(tags);
        for (byte, source) in bytes.iter_mut().zip(all) {
            *byte = source;
        }
        bytes
    }

    /// The tag of the wblock at `place`, if the census counts that and nothing came after.
    pub fn tag(&self, place: u32) -> Option<CensusTag> {
        self.tags.get(place as usize).copied()
    }

    /// Judges the header found at `place` (C1).
    pub fn judge(&self, place: u32, found: &HeaderState) -> Counted {
        let unknown = Counted::Fine { end_rblock: None };
        let Some(tag) = self.tag(place) else { return unknown };
        let (header, is_struck) = match found {
            HeaderState::Free if tag.has_some() => return Counted::Missing,
            HeaderState::Struck(header) => (header, true),
            HeaderState::Valid { header, .. } => (header, false),
            // The others are counted for what they are.
            HeaderState::Free | HeaderState::Foreign(_) | HeaderState::Damaged => return unknown,
        };
        match header.sequence {
            sequence if sequence >= self.below => unknown,
            _ if is_struck && !tag.has_some() => unknown,
            sequence if !tag.is_of(sequence) => Counted::Stale,
            _ if is_struck => unknown,
            _ => Counted::Fine { end_rblock: Some(tag.end_rblock()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{StoreId, WblockHeader, WblockHome};
    use crate::unit::WblockId;

    fn header(sequence: u64) -> WblockHeader {
        let store_id = StoreId([1; 16]);
        let home = WblockHome { store_id, stripe: 0, wblock: WblockId(0), wblock_bytes: 1 << 16 };
        WblockHeader { home, sequence: Sequence(sequence), opened_at: 0 }
    }

    fn valid(sequence: u64) -> HeaderState {
        HeaderState::Valid { header: header(sequence), damaged_copy: false }
    }

    #[test]
    fn what_it_knows_is_held_to_it() {
        let refused = CensusTag::new(Sequence(7), 0);
        let tags = [CensusTag::new(Sequence(5), 512), CensusTag::NONE, refused];
        let census = Census::new(Sequence(9), tags);
        assert_eq!(Census::decode(&census.encode(), 3), Some(census.clone()));
        assert_eq!(Census::decode(&[0; CENSUS_BYTES], 2), None);
        let fine = Counted::Fine { end_rblock: None };
        let struck = |sequence| HeaderState::Struck(header(sequence));
        for (place, found, counted) in [
            (0, valid(5), Counted::Fine { end_rblock: Some(512) }),
            (0, valid(4), Counted::Stale),
            (0, valid(9), fine),
            (0, struck(5), fine),
            (0, struck(9), fine),
            (0, struck(4), Counted::Stale),
            (0, HeaderState::Free, Counted::Missing),
            (0, HeaderState::Damaged, fine),
            (1, HeaderState::Free, fine),
            (1, struck(4), fine),
            (1, valid(4), Counted::Stale),
            (1, valid(10), fine),
            (2, HeaderState::Free, fine),
            (2, struck(4), fine),
            (2, struck(7), fine),
            (2, valid(7), Counted::Fine { end_rblock: Some(0) }),
            (2, valid(4), Counted::Stale),
            (3, valid(4), fine),
        ] {
            assert_eq!(census.judge(place, &found), counted, "{place}: {found:?}");
        }
    }

    #[test]
    fn a_tag_tells_every_end_and_half_a_million_lives_apart() {
        for end in [0, 255, 256, 257, 2047 * 256, 2048 * 256] {
            let tag = CensusTag::new(Sequence(77), end);
            assert_eq!(tag.end_rblock(), end / 256 * 256);
            assert!(tag.is_of(Sequence(77)) && !tag.is_of(Sequence(78)));
            assert!(!tag.is_of(Sequence(77 + (1 << 18))));
        }
        assert!(!CensusTag::NONE.is_of(Sequence(0)));
    }
}
