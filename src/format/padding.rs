//! Padding: what fills a flush up to its sector, and a wblock up to its end.
//!
//! A durable sector is never written again (invariant 6), so a flush that ends inside a sector
//! fills it up. Such a padding also says which flush it ends and where that flush began, so that a
//! cold start can tell a write that was torn from one that has rotted (see `scan.rs`).
//!
//! Invariants
//! - P1  A flush starts only when the previous flush of its wblock is durable, and starts on a
//!   sector. So a whole `FlushEnd` proves that everything in front of its `start_sector` was
//!   durable once, and anything whole behind a `FlushEnd` proves that of everything in front of it.
//! - P2  Only the head (16 bytes) counts; the rest of the padding is whatever was there.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::commit::CommitWord;
use super::key::{Seed, StoreKey};
use crate::unit::{Location, RBLOCK_BYTES};

/// Bytes of a padding that count: a padding of one rblock is all head.
pub const PADDING_HEAD_BYTES: usize = 16;
/// Most flushes of one wblock: each takes at least a sector.
pub const FLUSHES_MAX: u16 = 2048;
#[cfg(not(any(loom, shuttle)))]
const _: () =
    assert!(FLUSHES_MAX as u32 == crate::unit::WBLOCK_BYTES_MAX / crate::unit::SECTOR_BYTES);
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(super::SUPERBLOCK_BYTES == crate::unit::SECTOR_BYTES as usize);

/// The flush number that says: no flush ends here.
const FILLER: u16 = u16::MAX;

/// The head of a padding.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PaddingBytes {
    commit: U64,
    number: U16,
    start_sector: U16,
    check: U32,
}

const _: () = assert!(size_of::<PaddingBytes>() == PADDING_HEAD_BYTES);
const _: () = assert!(PADDING_HEAD_BYTES == RBLOCK_BYTES as usize, "one rblock holds a padding");
const _: () = assert!(offset_of!(PaddingBytes, number) == 8);
const _: () = assert!(offset_of!(PaddingBytes, start_sector) == 10);
const _: () = assert!(offset_of!(PaddingBytes, check) == 12);
const _: () = assert!(FLUSHES_MAX < FILLER, "no flush has the filler's number");

/// What a padding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Written by the sealer: no record fitted any more. No flush ends here.
    Filler,
    /// A flush ends with this padding.
    FlushEnd {
        /// Flushes of this life of the wblock before this one.
        number: u16,
        /// Where the flush began. Unit: sectors of 4 KiB from the start of the wblock.
        start_sector: u16,
    },
}

impl Padding {
    /// Bytes 8..16 of the padding whose `seed` is of its final place and commit word. The commit
    /// word is stored apart, like that of a record.
    pub fn encode(self, seed: Seed) -> [u8; 8] {
        let (number, start_sector) = match self {
            Self::Filler => (FILLER, 0),
            Self::FlushEnd { number, start_sector } => (number, start_sector),
        };
        debug_assert!(self == Self::Filler || number < FLUSHES_MAX, "more flushes than sectors");
        let [n0, n1] = number.to_le_bytes();
        let [s0, s1] = start_sector.to_le_bytes();
        let [c0, c1, c2, c3] = seed.check(&[n0, n1, s0, s1]).to_le_bytes();
        [n0, n1, s0, s1, c0, c1, c2, c3]
    }

    /// The padding that starts at `bytes`, at `location` of the store that has `store_key`; `None`
    /// if there is none, or if it does not verify.
    pub fn decode(bytes: &[u8], store_key: StoreKey, location: Location) -> Option<Self> {
        let (head, _) = PaddingBytes::ref_from_prefix(bytes).ok()?;
        let commit = CommitWord::from_raw(head.commit.get());
        commit.rblocks()?;
        let (number, start_sector) = (head.number.get(), head.start_sector.get());
        let fields = [head.number.to_bytes(), head.start_sector.to_bytes()];
        let check = Seed::new(store_key, location, commit).check(fields.as_flattened());
        if !commit.is_padding() || check != head.check.get() {
            return None;
        }
        match number {
            FILLER => (start_sector == 0).then_some(Self::Filler),
            _ => (number < FLUSHES_MAX).then_some(Self::FlushEnd { number, start_sector }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::StoreId;
    use crate::unit::Sequence;

    #[test]
    fn paddings_come_back_where_they_were_written_and_nowhere_else() {
        let key = StoreKey::of(&StoreId([5; 16]));
        let commit = CommitWord::new(key, Sequence(77), 3, true);
        for padding in [
            Padding::Filler,
            Padding::FlushEnd { number: 0, start_sector: 0 },
            Padding::FlushEnd { number: FLUSHES_MAX - 1, start_sector: 2047 },
        ] {
            let mut bytes = [0; PADDING_HEAD_BYTES];
            bytes[..8].copy_from_slice(&commit.raw().to_le_bytes());
            bytes[8..].copy_from_slice(&padding.encode(Seed::new(key, Location(40), commit)));
            assert_eq!(Padding::decode(&bytes, key, Location(40)), Some(padding));
            assert_eq!(Padding::decode(&bytes, key, Location(41)), None);
            assert_eq!(Padding::decode(&bytes[..15], key, Location(40)), None);
        }
    }
}
