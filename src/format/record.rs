//! A record as it is written: shape, flags, head and checks. The bytes stand in `FORMAT.md`.
//!
//! Writing takes four steps, none of which allocates: a [`Shape`] sizes the reservation; the
//! [`Checks`] are computed once the location is known; [`encode_head`] gives the bytes in front of
//! the key; the caller copies head, key, value and zeros up to the rblock, and stores the commit
//! word last. A memory-only store takes [`Checks::NONE`] and pays for no digest.
//!
//! Invariants
//! - R1  `header_bytes + key_len + value_len + pad == rblocks * 16`, and `pad < 16`: the value's
//!   length follows from the commit word and the flags, and is stored nowhere else.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};
use std::ops::{BitAnd, BitOr};

use xxhash_rust::xxh3::Xxh3;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::commit::CommitWord;
use super::key::{Seed, low};
use crate::planted::{Bug, is_planted};
use crate::unit::{KEY_BYTES_MAX, RBLOCK_BYTES, Version};

/// Bytes in front of the key of a record without optional fields.
pub const RECORD_HEADER_BYTES: usize = 28;
/// Bytes in front of the key of a record with every optional field: `expires_at` and `over`.
pub const RECORD_HEADER_BYTES_MAX: usize = RECORD_HEADER_BYTES + 2 * OPTIONAL_BYTES;
/// Bytes of an optional field.
pub(super) const OPTIONAL_BYTES: usize = size_of::<u64>();
/// Bytes of the commit word, which is stored apart and last.
pub(super) const WORD_BYTES: usize = size_of::<CommitWord>();
/// The head check covers the bytes behind the commit word from here (the value check) to the end of
/// the key.
pub(super) const HEAD_CHECKED_FROM: usize = offset_of!(HeadBytes, value_check);

/// The first bytes of each record behind its commit word.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HeadBytes {
    pub(super) version: U64,
    pub(super) head_check: U32,
    pub(super) value_check: U32,
    pub(super) key_len: U16,
    pub(super) flags: U16,
}

/// The same with the optional fields that there are, one behind the other, and zeros.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct LongHeadBytes {
    fixed: HeadBytes,
    optional: [U64; 2],
}

const _: () = assert!(WORD_BYTES + size_of::<HeadBytes>() == RECORD_HEADER_BYTES);
const _: () = assert!(WORD_BYTES + offset_of!(HeadBytes, version) == 8);
const _: () = assert!(WORD_BYTES + offset_of!(HeadBytes, head_check) == 16);
const _: () = assert!(WORD_BYTES + offset_of!(HeadBytes, value_check) == 20);
const _: () = assert!(WORD_BYTES + offset_of!(HeadBytes, key_len) == 24);
const _: () = assert!(WORD_BYTES + offset_of!(HeadBytes, flags) == 26);
const _: () = assert!(KEY_BYTES_MAX == u16::MAX as usize, "key_len holds every key length");

/// What a record is. Bits of a little-endian `u16`.
///
/// | bits   | flag         | meaning                                                       |
/// |--------|--------------|---------------------------------------------------------------|
/// | 3..0   | pad          | zero bytes behind the value, 0..=15                           |
/// | 4      | `TOMBSTONE`  | the key was deleted, evicted or expired at this version       |
/// | 5      | `EXPIRES`    | the head holds an instant of expiry                           |
/// | 6      | `COMPRESSED` | reserved for a later version: not accepted                    |
/// | 7      | `ENCRYPTED`  | reserved for a later version: not accepted                    |
/// | 8      | `MOVED`      | written by defrag, not by a put                               |
/// | 9      | `FEED`       | reserved for a later version: not accepted                    |
/// | 10     | `NEVER_EVICT`| eviction passes it over                                       |
/// | 11     | `HEIR`       | an older copy, or a tombstone, of this key may be there       |
/// | 12     | `OVER`       | the head holds the version up to which the past is forgotten  |
/// | 13     | `GRACE`      | its end leaves a tombstone that is remembered for a while     |
/// | 15..14 |              | reserved: not accepted                                        |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Flags(u16);

impl Flags {
    /// No flag at all: a plain value.
    pub const NONE: Self = Self(0);
    /// The key was deleted, evicted or expired at this version.
    pub const TOMBSTONE: Self = Self(1 << 4);
    /// The head holds an instant of expiry. Set by [`encode_head`].
    pub const EXPIRES: Self = Self(1 << 5);
    /// The value is compressed: not known to this version.
    pub const COMPRESSED: Self = Self(1 << 6);
    /// The value is encrypted: not known to this version.
    pub const ENCRYPTED: Self = Self(1 << 7);
    /// Written by defrag, not by a put.
    pub const MOVED: Self = Self(1 << 8);
    /// Part of a feed of changes: not known to this version.
    pub const FEED: Self = Self(1 << 9);
    /// Eviction passes the record over.
    pub const NEVER_EVICT: Self = Self(1 << 10);
    /// There may be an older copy, or a tombstone, of this key: the end of this record (delete,
    /// expiry, eviction) must leave a tombstone. A record without it was written when the key had
    /// no entry at all.
    pub const HEIR: Self = Self(1 << 11);
    /// The head holds the version up to which the past is forgotten. Set by [`encode_head`].
    pub const OVER: Self = Self(1 << 12);
    /// A delete with a version, or a record of a key that was once deleted so: its end leaves a
    /// tombstone that is remembered for `tombstone_grace`.
    pub const GRACE: Self = Self(1 << 13);

    const PAD_MASK: u16 = 0xf;
    /// The flags of optional fields, which follow from the fields.
    const OPTIONAL: u16 = Self::EXPIRES.0 | Self::OVER.0;
    const SUPPORTED: u16 = Self::PAD_MASK
        | Self::OPTIONAL
        | Self::TOMBSTONE.0
        | Self::MOVED.0
        | Self::NEVER_EVICT.0
        | Self::HEIR.0
        | Self::GRACE.0;

    /// The flags that were read as `raw`: any number.
    #[inline]
    pub const fn from_raw(raw: u16) -> Self {
        Self(raw)
    }

    /// The flags as they are stored, the pad included.
    #[inline]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// Every bit of `other` is set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What stays true of a record when it is moved, and does not follow from its shape.
    #[inline]
    #[must_use]
    pub const fn lasting(self) -> Self {
        Self(self.0 & (Self::TOMBSTONE.0 | Self::NEVER_EVICT.0 | Self::HEIR.0 | Self::GRACE.0))
    }

    /// Zero bytes behind the value.
    #[inline]
    pub const fn pad(self) -> usize {
        (self.0 & Self::PAD_MASK) as usize
    }

    /// Bytes in front of the key.
    #[inline]
    pub(super) const fn header_bytes(self) -> usize {
        header_bytes(self.contains(Self::EXPIRES), self.contains(Self::OVER))
    }

    /// This version of the engine knows what every bit that is set means.
    #[inline]
    pub const fn is_supported(self) -> bool {
        self.0 & !Self::SUPPORTED == 0
    }
}

impl BitAnd for Flags {
    type Output = Self;

    #[inline]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Bytes in front of the key of a record with these optional fields.
#[inline]
const fn header_bytes(expires: bool, over: bool) -> usize {
    RECORD_HEADER_BYTES + (expires as usize + over as usize) * OPTIONAL_BYTES
}

/// How a record lies in its rblocks (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes in front of the key.
    pub header_bytes: usize,
    /// Bytes of the key.
    pub key_len: usize,
    /// Bytes of the value.
    pub value_len: usize,
    /// Rblocks to reserve.
    pub rblocks: u32,
    /// Zero bytes behind the value.
    pub pad: usize,
}

impl Shape {
    /// The shape of a record of this key and value; `expires` and `over` say which of the optional
    /// fields its head has. The caller has checked the limits: a key of at most 65,535 bytes, and a
    /// whole that fits into a wblock.
    #[inline]
    pub const fn new(key_len: usize, value_len: usize, expires: bool, over: bool) -> Self {
        debug_assert!(key_len <= KEY_BYTES_MAX, "key too long");
        let header_bytes = header_bytes(expires, over);
        let stored_bytes = header_bytes + key_len + value_len;
        let rblocks = stored_bytes.div_ceil(RBLOCK_BYTES as usize);
        let pad = rblocks * RBLOCK_BYTES as usize - stored_bytes;
        debug_assert!(rblocks <= super::commit::RECORD_RBLOCKS_MAX as usize, "record too large");
        #[expect(clippy::cast_possible_truncation, reason = "a record fits into a wblock")]
        Self { header_bytes, key_len, value_len, rblocks: rblocks as u32, pad }
    }

    /// The shape of a record with this head.
    #[inline]
    pub const fn of(key_len: usize, value_len: usize, head: &RecordHead) -> Self {
        Self::new(key_len, value_len, head.expires_at.is_some(), head.over.is_some())
    }

    /// Bytes that the record takes, padding included.
    #[inline]
    pub const fn total_bytes(&self) -> usize {
        self.rblocks as usize * RBLOCK_BYTES as usize
    }
}

/// What a record says besides key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// When it was written; the higher one wins.
    pub version: Version,
    /// The last instant of its life: microseconds since 1970. Present iff the shape says so.
    pub expires_at: Option<u64>,
    /// Whatever of this key is found with a version up to this one, and without this `over`, was
    /// forgotten before this record was written, and does not count. Present iff the shape says so.
    pub over: Option<Version>,
    /// What it is; the pad comes from the shape, `EXPIRES` and `OVER` from the fields above.
    pub flags: Flags,
}

impl RecordHead {
    /// The flags as stored.
    #[inline]
    fn flags_stored(&self, shape: &Shape) -> u16 {
        debug_assert!(self.flags.pad() == 0, "the shape gives the pad");
        debug_assert!(
            shape.header_bytes == header_bytes(self.expires_at.is_some(), self.over.is_some()),
            "shape and head differ on the optional fields"
        );
        #[expect(clippy::cast_possible_truncation, reason = "pad < 16")]
        let pad = shape.pad as u16;
        let expires = if self.expires_at.is_some() { Flags::EXPIRES.0 } else { 0 };
        let over = if self.over.is_some() { Flags::OVER.0 } else { 0 };
        (self.flags.0 & !Flags::OPTIONAL) | expires | over | pad
    }
}

/// The two checksums of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Covers everything up to the end of the key; the commit word and version as its seed.
    pub head: u32,
    /// Covers the value.
    pub value: u32,
}

/// Heads that are at most this long are put in one piece for the digest: a copy of a short key
/// costs less than the state of a digest fed in parts.
const ONE_PIECE_BYTES: usize = 128;

impl Checks {
    /// What a memory-only store writes: nobody ever verifies it.
    pub const NONE: Self = Self { head: 0, value: 0 };

    /// The checks of a record whose `seed` is of its final place and commit word.
    ///
    /// Cost: one pass over key and value; no allocation.
    #[inline]
    pub fn compute(seed: Seed, head: &RecordHead, shape: &Shape, key: &[u8], value: &[u8]) -> Self {
        Self::with_value(seed, head, shape, key, Self::of_value(seed, value))
    }

    /// The check of a value, which needs no head: it can be computed before the others.
    #[inline]
    pub fn of_value(seed: Seed, value: &[u8]) -> u32 {
        seed.check(value)
    }

    /// The same as [`compute`](Self::compute), with the value's check at hand.
    #[inline]
    pub fn with_value(
        seed: Seed,
        head: &RecordHead,
        shape: &Shape,
        key: &[u8],
        value: u32,
    ) -> Self {
        let bytes = encode_head(shape, head, Self { head: 0, value });
        let end = shape.header_bytes - WORD_BYTES;
        let from = if is_planted(Bug::ChecksumWithoutHead) { end } else { HEAD_CHECKED_FROM };
        let front = bytes.get(from..end).unwrap_or_default();
        Self { head: check_in_parts(seed.with(head.version.into()), front, key), value }
    }
}

/// The check of `front` followed by `key`, as [`Seed::check`] finds it where they lie together.
#[inline]
fn check_in_parts(seed: Seed, front: &[u8], key: &[u8]) -> u32 {
    let mut joined = [0; ONE_PIECE_BYTES];
    let len = front.len() + key.len();
    if let Some((left, right)) =
        joined.get_mut(..len).and_then(|joined| joined.split_at_mut_checked(front.len()))
    {
        left.copy_from_slice(front);
        right.copy_from_slice(key);
        return seed.check(joined.get(..len).unwrap_or_default());
    }
    check_long(seed, front, key)
}

#[cold]
fn check_long(seed: Seed, front: &[u8], key: &[u8]) -> u32 {
    let mut digest = Xxh3::with_seed(seed.raw());
    digest.update(front);
    digest.update(key);
    low(digest.digest())
}

/// The bytes between the commit word and the key: the first `shape.header_bytes - 8` (20, 28 or
/// 36), and zeros behind them. The commit word is stored apart, atomically, when everything else is
/// in place.
#[inline]
pub fn encode_head(
    shape: &Shape,
    head: &RecordHead,
    checks: Checks,
) -> [u8; RECORD_HEADER_BYTES_MAX - WORD_BYTES] {
    #[expect(clippy::cast_possible_truncation, reason = "a key has at most 65,535 bytes")]
    let fixed = HeadBytes {
        version: U64::new(head.version.into()),
        head_check: U32::new(checks.head),
        value_check: U32::new(checks.value),
        key_len: U16::new(shape.key_len as u16),
        flags: U16::new(head.flags_stored(shape)),
    };
    let over = head.over.map_or(0, u64::from);
    let optional = match head.expires_at {
        Some(expires_at) => [expires_at, over],
        None => [over, 0],
    };
    // Put together as a value, so that it can stay in registers until it is stored.
    zerocopy::transmute!(LongHeadBytes { fixed, optional: optional.map(U64::new) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_fills_its_rblocks() {
        for (key_len, value_len, (expires, over), rblocks, pad) in [
            (1, 0, (false, false), 2, 3),
            (4, 0, (false, false), 2, 0),
            (4, 0, (true, false), 3, 8),
            (4, 0, (false, true), 3, 8),
            (4, 0, (true, true), 3, 0),
            (4, 1, (false, false), 3, 15),
            (KEY_BYTES_MAX, 0, (false, false), 4098, 5),
        ] {
            let shape = Shape::new(key_len, value_len, expires, over);
            assert_eq!((shape.rblocks, shape.pad), (rblocks, pad));
            assert_eq!(
                shape.total_bytes(),
                shape.header_bytes + shape.key_len + shape.value_len + shape.pad
            );
        }
    }

    #[test]
    fn short_and_long_keys_are_checked_alike() {
        let seed = Seed::new(
            super::super::StoreKey::of(&super::super::StoreId([1; 16])),
            crate::unit::Location(9),
            super::super::CommitWord::from_raw(3),
        );
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for len in [8, 16, 100, 127, 128, 129, 240, 241, 1000] {
            let whole = &bytes[..len];
            let (front, key) = whole.split_at(8);
            assert_eq!(check_in_parts(seed, front, key), seed.check(whole), "{len} bytes");
        }
    }
}
