//! Newtypes with units, and the limits that follow from their widths.
//!
//! A location counts rblocks over the whole region; a wblock number counts wblocks over the whole
//! region. Stripe `s` owns the home wblocks `s * wblocks_per_stripe ..`, so a location says its
//! wblock, its stripe and its place on the shadow without a table.
#![forbid(unsafe_code)]

use std::fmt;

/// Records start on, and are sized in, rblocks of this many bytes.
pub const RBLOCK_BYTES: u32 = 16;
/// The unit in which flushes are padded: no durable sector is written again (invariant 6).
#[cfg(not(any(loom, shuttle)))]
pub const SECTOR_BYTES: u32 = 4096;
/// Four rblocks: in models a wblock of a few rblocks must have several sectors.
#[cfg(any(loom, shuttle))]
pub const SECTOR_BYTES: u32 = 4 * RBLOCK_BYTES;
/// Rblocks in one sector.
pub const SECTOR_RBLOCKS: u32 = SECTOR_BYTES / RBLOCK_BYTES;
/// Smallest wblock. The small sizes are for tests: the same code, 1/128 of the work.
pub const WBLOCK_BYTES_MIN: u32 = 64 << 10;
/// Largest wblock, and the default.
pub const WBLOCK_BYTES_MAX: u32 = 8 << 20;
/// Bytes at the start of each wblock that hold its header, twice.
pub const WBLOCK_HEADER_BYTES: u32 = 128;
/// Rblocks that the header takes: the first record starts here.
pub const WBLOCK_HEADER_RBLOCKS: u32 = WBLOCK_HEADER_BYTES / RBLOCK_BYTES;
/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 65_535;
/// Width of a location: 2^40 rblocks of 16 B are 16 TiB.
pub const LOCATION_BITS: u32 = 40;
/// Most wblocks in a region: their numbers leave room for positions in `region::stripe`.
pub const WBLOCKS_MAX: u32 = 1 << 24;
/// Most stripes in a store.
pub const STRIPES_MAX: usize = 1024;

const _: () = assert!(SECTOR_BYTES.is_multiple_of(RBLOCK_BYTES));
const _: () = assert!(WBLOCK_BYTES_MIN.is_multiple_of(SECTOR_BYTES));
const _: () = assert!(WBLOCK_HEADER_BYTES.is_multiple_of(RBLOCK_BYTES));
#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(WBLOCK_HEADER_BYTES < SECTOR_BYTES, "a header lies in the first sector");
const _: () = assert!(cfg!(target_endian = "little"), "the region is the shadow's image: LE");

/// Where a record starts. Unit: rblocks from the start of the region. Range: `0..2^40`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Location(pub u64);

/// Number of a wblock. Unit: wblocks from the start of the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct WblockId(pub u32);

/// One life of a wblock; unique in the store's life, never reused. Range: `1..2^43`; 0 is of none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Sequence(pub u64);

/// When a record was written, for last-writer-wins: microseconds since 1970, but always above the
/// version that it replaced. The higher version wins, whatever the order of arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Version(u64);

impl Version {
    /// That of a write at `now_us` over `current`, which it wins over. `None`: there is no higher
    /// one.
    #[inline]
    pub(crate) fn next(current: Option<Self>, now_us: u64) -> Option<Self> {
        let Some(current) = current else { return Some(Self(now_us)) };
        current.0.checked_add(1).map(|next| Self(next.max(now_us)))
    }
}

impl From<u64> for Version {
    fn from(micros: u64) -> Self {
        Self(micros)
    }
}

impl From<Version> for u64 {
    fn from(version: Version) -> Self {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The shape of a region: how its wblocks are sized and shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes in one wblock: a power of two.
    pub wblock_bytes: u32,
    /// Stripes in the store, at least one.
    pub stripes: u32,
    /// Home wblocks of each stripe.
    pub wblocks_per_stripe: u32,
}

impl Geometry {
    /// Wblocks in the whole region.
    pub const fn wblocks(self) -> u32 {
        self.stripes * self.wblocks_per_stripe
    }

    /// Rblocks in one wblock, its header included.
    pub const fn wblock_rblocks(self) -> u32 {
        self.wblock_bytes / RBLOCK_BYTES
    }

    /// Bytes of one wblock that records can have.
    pub const fn room_bytes(self) -> u32 {
        self.wblock_bytes - WBLOCK_HEADER_BYTES
    }

    /// Bytes in the whole region.
    pub const fn region_bytes(self) -> u64 {
        self.wblocks() as u64 * self.wblock_bytes as u64
    }

    /// The first rblock of `wblock`: its header's place.
    pub const fn location(self, wblock: WblockId, rblock: u32) -> Location {
        Location(wblock.0 as u64 * self.wblock_rblocks() as u64 + rblock as u64)
    }

    /// The wblock that holds `location`.
    #[expect(clippy::cast_possible_truncation, reason = "locations end at wblocks() * rblocks")]
    pub const fn wblock(self, location: Location) -> WblockId {
        WblockId((location.0 >> self.wblock_rblocks().trailing_zeros()) as u32)
    }

    /// Rblocks from the start of its wblock to `location`.
    #[expect(clippy::cast_possible_truncation, reason = "masked to one wblock")]
    pub const fn rblock(self, location: Location) -> u32 {
        (location.0 & (self.wblock_rblocks() as u64 - 1)) as u32
    }

    /// The stripe whose shadow holds `wblock`.
    pub const fn home_stripe(self, wblock: WblockId) -> u32 {
        wblock.0 / self.wblocks_per_stripe
    }

    /// Place of `wblock` among the home wblocks of its stripe, the order on the shadow.
    pub const fn place_on_shadow(self, wblock: WblockId) -> u32 {
        wblock.0 % self.wblocks_per_stripe
    }
}
