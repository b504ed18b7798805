//! The head of a wblock: 64 bytes, stored twice in its first sector.
//!
//! States: both copies all zero (`Free`: never written), a header of this place (`Valid`), the same
//! with the flag `STRUCK` (`Struck`: nothing in the wblock counts any more), a header of another
//! place or store (`Foreign`), anything else (`Damaged`).
//!
//! Two copies, because a header that cannot be read hides every record of its wblock: one rotten
//! bit must not cost 8 MiB.
//!
//! Invariants
//! - H1  Both copies lie in the first 512 bytes, which any device writes whole or not at all. So
//!   where they are zero, nothing of the wblock was ever durable, and whatever a power cut has left
//!   behind them does not count. No rot makes zeros of 128 bytes.
//! - H2  A wblock is struck out only once all in it is superseded durably. So until its next life
//!   begins, the header of before and the struck one say nothing different: with either, or with a
//!   copy of each, a cold start ends in the same records.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};

use xxhash_rust::xxh3::xxh3_64_with_seed;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::commit::SEQUENCE_BITS;
use super::key::{StoreId, StoreKey};
use crate::planted::{Bug, is_planted};
use crate::unit::{SECTOR_BYTES, Sequence, WBLOCK_HEADER_BYTES, WblockId};

const MAGIC: [u8; 8] = *b"BRWBLK\x1a\n";
const VERSION: u16 = 1;
/// The only flag: nothing in this wblock counts any more.
const STRUCK: u16 = 1;
const COPY_BYTES: usize = WBLOCK_HEADER_BYTES as usize / 2;

/// One copy of a header.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderBytes {
    magic: [u8; 8],
    version: U16,
    flags: U16,
    stripe: U32,
    wblock: U32,
    wblock_bytes: U32,
    sequence: U64,
    opened_at: U64,
    store_id: [u8; 16],
    checksum: U64,
}

const CHECKED_BYTES: usize = offset_of!(HeaderBytes, checksum);

const _: () = assert!(size_of::<HeaderBytes>() == COPY_BYTES && COPY_BYTES == 64);
const _: () = assert!(offset_of!(HeaderBytes, version) == 8);
const _: () = assert!(offset_of!(HeaderBytes, flags) == 10);
const _: () = assert!(offset_of!(HeaderBytes, stripe) == 12);
const _: () = assert!(offset_of!(HeaderBytes, wblock) == 16);
const _: () = assert!(offset_of!(HeaderBytes, wblock_bytes) == 20);
const _: () = assert!(offset_of!(HeaderBytes, sequence) == 24);
const _: () = assert!(offset_of!(HeaderBytes, opened_at) == 32);
const _: () = assert!(offset_of!(HeaderBytes, store_id) == 40);
const _: () = assert!(CHECKED_BYTES == 56, "the checksum is last, and covers all before it");

/// Where a wblock belongs: what its header must say whatever its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WblockHome {
    /// The store.
    pub store_id: StoreId,
    /// The stripe whose shadow holds it.
    pub stripe: u32,
    /// Its number in the whole region.
    pub wblock: WblockId,
    /// Bytes in each wblock of the store.
    pub wblock_bytes: u32,
}

/// The head of a wblock in one life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WblockHeader {
    /// Where it belongs.
    pub home: WblockHome,
    /// Its life. Range: `1..2^43`.
    pub sequence: Sequence,
    /// When it was opened: microseconds since 1970. No clock of this store may start below.
    pub opened_at: u64,
}

/// What the first sector of a wblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderState {
    /// All zero: never written.
    Free,
    /// Struck out in this life of the wblock: free, and nothing in it counts any more.
    Struck(WblockHeader),
    /// The header of this wblock; one of the copies may be damaged.
    Valid {
        /// The header.
        header: WblockHeader,
        /// The other copy does not say the same.
        damaged_copy: bool,
    },
    /// A whole header of another place or store: the block was written to the wrong place, or
    /// copied here.
    Foreign(WblockHeader),
    /// Neither copy verifies.
    Damaged,
}

impl WblockHeader {
    /// The first bytes of the wblock.
    pub fn encode(&self) -> [u8; WBLOCK_HEADER_BYTES as usize] {
        self.encode_with(0)
    }

    /// The same once nothing in the wblock counts any more, until its next life (H2).
    pub fn encode_struck(&self) -> [u8; WBLOCK_HEADER_BYTES as usize] {
        self.encode_with(STRUCK)
    }

    fn encode_with(&self, flags: u16) -> [u8; WBLOCK_HEADER_BYTES as usize] {
        let mut copy = HeaderBytes {
            magic: MAGIC,
            version: U16::new(VERSION),
            flags: U16::new(flags),
            stripe: U32::new(self.home.stripe),
            wblock: U32::new(self.home.wblock.0),
            wblock_bytes: U32::new(self.home.wblock_bytes),
            sequence: U64::new(self.sequence.0),
            opened_at: U64::new(self.opened_at),
            store_id: self.home.store_id.0,
            checksum: U64::ZERO,
        };
        copy.checksum = U64::new(copy.digest());
        let mut bytes = [0; WBLOCK_HEADER_BYTES as usize];
        bytes[..COPY_BYTES].copy_from_slice(copy.as_bytes());
        bytes[COPY_BYTES..].copy_from_slice(copy.as_bytes());
        bytes
    }

    /// What the first sector of the wblock at `home` says. `bytes` starts where the wblock does;
    /// what lies behind its first sector is not looked at.
    ///
    /// Of two copies that verify but differ, which only a torn write could leave behind (where a
    /// device breaks H1), the one of the later life counts. Of one life, the struck one: both are
    /// right (H2), and it spares reading the wblock.
    pub fn decode(bytes: &[u8], home: &WblockHome) -> HeaderState {
        let sector = bytes.get(..SECTOR_BYTES as usize).unwrap_or(bytes);
        let header = sector.get(..WBLOCK_HEADER_BYTES as usize).unwrap_or(sector);
        if !header.is_empty() && header.iter().all(|byte| *byte == 0) {
            return HeaderState::Free;
        }
        let first = Self::decode_copy(sector);
        let second = Self::decode_copy(sector.get(COPY_BYTES..).unwrap_or_default());
        let damaged_copy = first != second;
        let copies = [first, second].into_iter().flatten();
        let is_at_home = |header: &Self| header.home == *home || is_planted(Bug::TakeForeignWblock);
        let at_home = copies.clone().filter(|(header, _)| is_at_home(header));
        match at_home.max_by_key(|(header, is_struck)| (header.sequence, *is_struck)) {
            Some((header, true)) => return HeaderState::Struck(header),
            Some((header, false)) => return HeaderState::Valid { header, damaged_copy },
            None => {}
        }
        copies
            .map(|(header, _)| header)
            .max_by_key(|header| header.sequence)
            .map_or(HeaderState::Damaged, HeaderState::Foreign)
    }

    /// The copy at the start of `bytes`, if it verifies under the store that it names; and whether
    /// it is struck out.
    fn decode_copy(bytes: &[u8]) -> Option<(Self, bool)> {
        let (copy, _) = HeaderBytes::ref_from_prefix(bytes).ok()?;
        let (flags, sequence) = (copy.flags.get(), copy.sequence.get());
        let is_whole = copy.magic == MAGIC
            && copy.version.get() == VERSION
            && matches!(flags, 0 | STRUCK)
            && (1..1 << SEQUENCE_BITS).contains(&sequence)
            && copy.checksum.get() == copy.digest();
        let home = WblockHome {
            store_id: StoreId(copy.store_id),
            stripe: copy.stripe.get(),
            wblock: WblockId(copy.wblock.get()),
            wblock_bytes: copy.wblock_bytes.get(),
        };
        let (sequence, opened_at) = (Sequence(sequence), copy.opened_at.get());
        is_whole.then_some((Self { home, sequence, opened_at }, flags == STRUCK))
    }
}

impl HeaderBytes {
    fn digest(&self) -> u64 {
        let seed = StoreKey::of(&StoreId(self.store_id)).raw();
        let bytes: &[u8] = self.as_bytes();
        xxh3_64_with_seed(bytes.get(..CHECKED_BYTES).unwrap_or_default(), seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> WblockHeader {
        WblockHeader {
            home: WblockHome {
                store_id: StoreId([9; 16]),
                stripe: 2,
                wblock: WblockId(17),
                wblock_bytes: 1 << 16,
            },
            sequence: Sequence(5),
            opened_at: 1_700_000_000_000_000,
        }
    }

    #[test]
    fn one_copy_is_enough() {
        let header = header();
        let whole = header.encode();
        let state = |bytes: &[u8]| WblockHeader::decode(bytes, &header.home);
        assert_eq!(state(&whole), HeaderState::Valid { header, damaged_copy: false });
        for hurt in [0, COPY_BYTES] {
            let mut bytes = whole;
            bytes[hurt..hurt + COPY_BYTES].fill(0);
            assert_eq!(state(&bytes), HeaderState::Valid { header, damaged_copy: true });
        }
        assert_eq!(state(&[0; 128]), HeaderState::Free);
        assert_eq!(state(&[]), HeaderState::Damaged);
        assert_eq!(state(&[1; 128]), HeaderState::Damaged);
    }

    #[test]
    fn one_struck_copy_of_the_latest_life_is_enough() {
        let header = header();
        let (plain, struck) = (header.encode(), header.encode_struck());
        let next = WblockHeader { sequence: Sequence(6), ..header };
        let state = |first: &[u8; 128], second: &[u8; 128]| {
            let bytes = [&first[..COPY_BYTES], &second[COPY_BYTES..]].concat();
            WblockHeader::decode(&bytes, &header.home)
        };
        for other in [struck, plain, [0; 128], [1; 128]] {
            assert_eq!(state(&struck, &other), HeaderState::Struck(header));
            assert_eq!(state(&other, &struck), HeaderState::Struck(header));
        }
        let begun = HeaderState::Valid { header: next, damaged_copy: true };
        assert_eq!(state(&next.encode(), &struck), begun, "the next life, torn");
        assert_eq!(state(&struck, &next.encode()), begun);
    }

    #[test]
    fn a_flag_that_is_not_known_is_damage() {
        let header = header();
        for flags in [STRUCK | 2, 2, 1 << 15] {
            let bytes = header.encode_with(flags);
            assert_eq!(WblockHeader::decode(&bytes, &header.home), HeaderState::Damaged);
        }
    }

    #[test]
    fn a_header_of_another_place_is_foreign() {
        let header = header();
        let (bytes, struck) = (header.encode(), header.encode_struck());
        for home in [
            WblockHome { wblock: WblockId(18), ..header.home },
            WblockHome { stripe: 1, ..header.home },
            WblockHome { wblock_bytes: 1 << 17, ..header.home },
            WblockHome { store_id: StoreId([8; 16]), ..header.home },
        ] {
            assert_eq!(WblockHeader::decode(&bytes, &home), HeaderState::Foreign(header));
            assert_eq!(WblockHeader::decode(&struck, &home), HeaderState::Foreign(header));
        }
    }

    #[test]
    fn zeros_are_free_whatever_is_left_behind_them() {
        let mut sector = [0; SECTOR_BYTES as usize];
        sector[4095] = 1;
        assert_eq!(WblockHeader::decode(&sector, &header().home), HeaderState::Free);
        sector[127] = 1;
        assert_eq!(WblockHeader::decode(&sector, &header().home), HeaderState::Damaged);
    }
}
