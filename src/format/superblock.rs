//! The head of a shadow: what store it belongs to, and the shape of everything behind it.
//!
//! Two copies, 32 KiB apart, each with its own checksum. They are rewritten in turn, never
//! both at once, each time with the next generation: the one that verifies and has the higher
//! generation counts, so a torn or rotten copy never refuses a store.
//!
//! Invariants
//! - S1  A superblock that decodes has values that no arithmetic of the engine overflows on.
//! - S2  Magic, format version and the place of the checksum are the same in every version of the
//!   format, so that an old engine recognises a new shadow and leaves it alone.
#![forbid(unsafe_code)]

use std::fmt;
use std::mem::{offset_of, size_of};

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::census::{CENSUS_BYTES, Census};
use super::commit::SEQUENCE_BITS;
use super::key::StoreId;
use crate::unit::{
    Geometry, LOCATION_BITS, STRIPES_MAX, Sequence, WBLOCK_BYTES_MAX, WBLOCK_BYTES_MIN, WBLOCKS_MAX,
};

/// Bytes in front of the first wblock of a shadow.
pub const SUPERBLOCK_AREA_BYTES: u64 = 64 << 10;
/// Bytes of one copy.
pub const SUPERBLOCK_BYTES: usize = 4096;
/// Where copy B starts; copy A starts at 0.
pub const SUPERBLOCK_COPY_B_OFFSET: u64 = 32 << 10;
/// The version of the format that this crate reads and writes.
pub const FORMAT_VERSION: u32 = 1;

/// After the name a byte that no text in ASCII or UTF-8 has there: what reads or rewrites the file
/// as text fails at once, as with PNG.
const MAGIC: [u8; 8] = *b"BRINDLE\x8e";
const CLEAN: u32 = 1;
const INCOMPLETE: u32 = 2;
const FOREIGN_SHOWN_BYTES: usize = 16;

/// One copy of a superblock.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct CopyBytes {
    magic: [u8; 8],
    format_version: U32,
    flags: U32,
    generation: U64,
    store_id: [u8; 16],
    stripe: U32,
    stripes: U32,
    wblock_bytes: U32,
    wblocks: U32,
    hash_seed: U64,
    clock_floor: U64,
    sequence_limit: U64,
    created_at: U64,
    whole_from: U64,
    attached_at: U64,
    census: [u8; CENSUS_BYTES],
    checksum: U64,
}

const CHECKED_BYTES: usize = offset_of!(CopyBytes, checksum);

const _: () = assert!(size_of::<CopyBytes>() == SUPERBLOCK_BYTES);
const _: () = assert!(offset_of!(CopyBytes, format_version) == 8, "S2");
const _: () = assert!(offset_of!(CopyBytes, flags) == 12);
const _: () = assert!(offset_of!(CopyBytes, generation) == 16);
const _: () = assert!(offset_of!(CopyBytes, store_id) == 24);
const _: () = assert!(offset_of!(CopyBytes, stripe) == 40);
const _: () = assert!(offset_of!(CopyBytes, stripes) == 44);
const _: () = assert!(offset_of!(CopyBytes, wblock_bytes) == 48);
const _: () = assert!(offset_of!(CopyBytes, wblocks) == 52);
const _: () = assert!(offset_of!(CopyBytes, hash_seed) == 56);
const _: () = assert!(offset_of!(CopyBytes, clock_floor) == 64);
const _: () = assert!(offset_of!(CopyBytes, sequence_limit) == 72);
const _: () = assert!(offset_of!(CopyBytes, created_at) == 80);
const _: () = assert!(offset_of!(CopyBytes, whole_from) == 88);
const _: () = assert!(offset_of!(CopyBytes, attached_at) == 96);
const _: () = assert!(offset_of!(CopyBytes, census) == 104);
const _: () = assert!(CHECKED_BYTES == SUPERBLOCK_BYTES - 8, "S2");

/// What a shadow says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Rewrites so far: of two copies the one with more counts.
    pub generation: u64,
    /// The store.
    pub store_id: StoreId,
    /// Which of the store's stripes this shadow is.
    pub stripe: u32,
    /// The shape of the store's region; this shadow holds `wblocks_per_stripe` of it.
    pub geometry: Geometry,
    /// Seed of the index's hash, so that keys cannot be chosen to collide.
    pub hash_seed: u64,
    /// No clock of this store may start below: microseconds since 1970.
    pub clock_floor: u64,
    /// No sequence at or above was ever handed out. Range: `1..=2^43`.
    pub sequence_limit: Sequence,
    /// When the store was created: microseconds since 1970.
    pub created_at: u64,
    /// Wblocks from this sequence on were written by runs of which none but the last may have
    /// ended out of order.
    pub whole_from: Sequence,
    /// When a running store moved to this shadow: microseconds since 1970. 0: it was founded here.
    pub attached_at: u64,
    /// The store was closed in order, and nothing was written since.
    pub clean: bool,
    /// A store was moving here and has not arrived, or a snapshot was written and is not whole: the
    /// shadow holds a part of it.
    pub incomplete: bool,
}

/// One of the two copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyName {
    /// The copy at offset 0.
    A,
    /// The copy at 32 KiB.
    B,
}

/// Why a copy does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyError {
    /// The file ends before the copy does.
    Short,
    /// All zero: never written.
    Zero,
    /// Without the magic at its start.
    Foreign,
    /// Of a format that this crate does not know. `whole`: its checksum verifies.
    Newer {
        /// The version of its format.
        version: u32,
        /// It was written so, and is not a damaged copy of our version.
        whole: bool,
    },
    /// The checksum does not match.
    Checksum,
    /// The checksum matches, but a field holds what no store has.
    Impossible {
        /// Name of the field.
        field: &'static str,
    },
    /// It verifies, but speaks of another store or shape than the copy that counts.
    Disagrees,
}

impl fmt::Display for CopyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => out.write_str("the file ends before it"),
            Self::Zero => out.write_str("never written"),
            Self::Foreign => out.write_str("not a superblock"),
            Self::Newer { version, .. } => write!(out, "of format {version}"),
            Self::Checksum => out.write_str("the checksum does not match"),
            Self::Impossible { field } => write!(out, "`{field}` is out of range"),
            Self::Disagrees => out.write_str("of another store or shape than the other copy"),
        }
    }
}

impl std::error::Error for CopyError {}

/// A copy that does not count although the other one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedCopy {
    /// Which one.
    pub copy: CopyName,
    /// What is wrong with it.
    pub error: CopyError,
}

/// What the two copies say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A shadow of ours.
    Superblock {
        /// The copy that counts.
        superblock: Superblock,
        /// Where it lies: the next rewrite takes the other one.
        copy: CopyName,
        /// The other copy, if it needs repair.
        damaged: Option<DamagedCopy>,
    },
    /// Both copies are zero or missing, or were torn when the shadow was created: a new file, if it
    /// is zero elsewhere too.
    AllZero,
    /// Neither copy has our magic.
    Foreign {
        /// The first bytes, escaped for print.
        first_bytes: String,
    },
    /// A shadow of a version of the format that this crate does not know.
    NewerFormat(u32),
    /// A shadow of ours, of which no copy verifies.
    Damaged {
        /// What is wrong with copy A.
        a: CopyError,
        /// What is wrong with copy B.
        b: CopyError,
    },
}

impl Superblock {
    /// One copy, ready to be written, without a census.
    pub fn encode(&self) -> Box<[u8; SUPERBLOCK_BYTES]> {
        self.encode_with(None)
    }

    /// One copy, ready to be written.
    pub fn encode_with(&self, census: Option<&Census>) -> Box<[u8; SUPERBLOCK_BYTES]> {
        let mut bytes = Box::new([0; SUPERBLOCK_BYTES]);
        let mut copy = CopyBytes::new_zeroed();
        copy.magic = MAGIC;
        copy.format_version = U32::new(FORMAT_VERSION);
        let flag = |set, flag| if set { flag } else { 0 };
        copy.flags = U32::new(flag(self.clean, CLEAN) | flag(self.incomplete, INCOMPLETE));
        copy.generation = U64::new(self.generation);
        copy.store_id = self.store_id.0;
        copy.stripe = U32::new(self.stripe);
        copy.stripes = U32::new(self.geometry.stripes);
        copy.wblock_bytes = U32::new(self.geometry.wblock_bytes);
        copy.wblocks = U32::new(self.geometry.wblocks_per_stripe);
        copy.hash_seed = U64::new(self.hash_seed);
        copy.clock_floor = U64::new(self.clock_floor);
        copy.sequence_limit = U64::new(self.sequence_limit.0);
        copy.created_at = U64::new(self.created_at);
        copy.whole_from = U64::new(self.whole_from.0);
        copy.attached_at = U64::new(self.attached_at);
        if let Some(census) = census {
            copy.census = census.encode();
        }
        copy.checksum = U64::new(copy.digest());
        bytes.copy_from_slice(copy.as_bytes());
        bytes
    }

    /// The census in `bytes`, a copy that decodes as this superblock.
    pub fn census(&self, bytes: &[u8]) -> Option<Census> {
        let bytes = bytes.get(..SUPERBLOCK_BYTES)?;
        let copy = CopyBytes::ref_from_bytes(bytes).ok()?;
        Census::decode(&copy.census, self.geometry.wblocks_per_stripe)
    }

    /// The superblock in one copy, given as the 4096 bytes where the copy lies.
    ///
    /// # Errors
    ///
    /// Why the copy does not count; see [`CopyError`].
    pub fn decode_copy(bytes: &[u8]) -> Result<Self, CopyError> {
        let bytes = bytes.get(..SUPERBLOCK_BYTES).unwrap_or(bytes);
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(if bytes.is_empty() { CopyError::Short } else { CopyError::Zero });
        }
        if !bytes.starts_with(&MAGIC) {
            return Err(CopyError::Foreign);
        }
        let copy = CopyBytes::ref_from_bytes(bytes).map_err(|_| CopyError::Short)?;
        let whole = copy.checksum.get() == copy.digest();
        let version = copy.format_version.get();
        if version > FORMAT_VERSION {
            return Err(CopyError::Newer { version, whole });
        }
        if !whole {
            return Err(CopyError::Checksum);
        }
        copy.check_fields().map_err(|field| CopyError::Impossible { field })?;
        Ok(Self {
            generation: copy.generation.get(),
            store_id: StoreId(copy.store_id),
            stripe: copy.stripe.get(),
            geometry: copy.geometry(),
            hash_seed: copy.hash_seed.get(),
            clock_floor: copy.clock_floor.get(),
            sequence_limit: Sequence(copy.sequence_limit.get()),
            created_at: copy.created_at.get(),
            whole_from: Sequence(copy.whole_from.get()),
            attached_at: copy.attached_at.get(),
            clean: copy.flags.get() & CLEAN != 0,
            incomplete: copy.flags.get() & INCOMPLETE != 0,
        })
    }

    /// True if every flush of the wblock with this sequence was durable: no run has crashed since
    /// it was opened. What does not verify in it is rot then, and never a torn write.
    pub fn is_whole(&self, sequence: Sequence) -> bool {
        // One above the limit is of a run that this superblock knows nothing of.
        self.clean && (self.whole_from..self.sequence_limit).contains(&sequence)
    }

    /// The other speaks of the same stripe of the same store.
    fn is_same_shadow(&self, other: &Self) -> bool {
        (self.store_id, self.stripe, self.geometry, self.hash_seed, self.created_at)
            == (other.store_id, other.stripe, other.geometry, other.hash_seed, other.created_at)
    }
}

impl CopyBytes {
    fn digest(&self) -> u64 {
        let bytes: &[u8] = self.as_bytes();
        xxh3_64(bytes.get(..CHECKED_BYTES).unwrap_or_default())
    }

    const fn geometry(&self) -> Geometry {
        Geometry {
            wblock_bytes: self.wblock_bytes.get(),
            stripes: self.stripes.get(),
            wblocks_per_stripe: self.wblocks.get(),
        }
    }

    /// S1. The name of the first field whose value no store has. The checksum has verified, so
    /// only a bug or malice gets here. The bytes behind `attached_at` are not looked at: a census
    /// is believed as far as it goes, and an engine without one left them alone.
    fn check_fields(&self) -> Result<(), &'static str> {
        let Geometry { wblock_bytes, stripes, wblocks_per_stripe } = self.geometry();
        let sizes = WBLOCK_BYTES_MIN..=WBLOCK_BYTES_MAX;
        let wblocks = u64::from(stripes) * u64::from(wblocks_per_stripe); // no overflow
        let rules = [
            ("format_version", self.format_version.get() == FORMAT_VERSION),
            ("flags", self.flags.get() & !(CLEAN | INCOMPLETE) == 0),
            ("stripes", stripes >= 1 && stripes as usize <= STRIPES_MAX),
            ("stripe", self.stripe.get() < stripes),
            ("wblock_bytes", wblock_bytes.is_power_of_two() && sizes.contains(&wblock_bytes)),
            ("wblocks", wblocks >= 1 && wblocks <= u64::from(WBLOCKS_MAX)),
            ("wblocks", region_fits(wblocks, wblock_bytes)),
            ("sequence_limit", (1..=1 << SEQUENCE_BITS).contains(&self.sequence_limit.get())),
            ("whole_from", self.whole_from.get() <= self.sequence_limit.get()),
        ];
        rules.iter().find(|(_, holds)| !holds).map_or(Ok(()), |(field, _)| Err(field))
    }
}

/// Every rblock of the region has a location.
fn region_fits(wblocks: u64, wblock_bytes: u32) -> bool {
    let rblocks = wblocks.checked_mul(u64::from(wblock_bytes / crate::unit::RBLOCK_BYTES));
    rblocks.is_some_and(|rblocks| rblocks <= 1 << LOCATION_BITS)
}

/// Which copy counts. `a` and `b` are the 4096 bytes where the copies lie, or as many of them as
/// the file has.
///
/// One damaged copy never refuses: if the other verifies, it counts. The exception is no damage: a
/// whole copy of a newer format means that a newer engine has begun to change this shadow.
pub fn choose(a: &[u8], b: &[u8]) -> Found {
    let copies = [Superblock::decode_copy(a), Superblock::decode_copy(b)];
    if let Some(version) = newest_format(&copies, true) {
        return Found::NewerFormat(version);
    }
    match copies {
        [Ok(a), Ok(b)] => choose_whole(a, b),
        [Ok(a), Err(error)] => found(a, CopyName::A, Some(error)),
        [Err(error), Ok(b)] => found(b, CopyName::B, Some(error)),
        [Err(error_a), Err(error_b)] => newest_format(&copies, false)
            .map_or_else(|| choose_none((a, error_a), (b, error_b)), Found::NewerFormat),
    }
}

/// The newest format that a copy claims to have, if newer than ours.
fn newest_format(copies: &[Result<Superblock, CopyError>], must_be_whole: bool) -> Option<u32> {
    let claim = |copy: &Result<Superblock, CopyError>| match *copy {
        Err(CopyError::Newer { version, whole }) if whole || !must_be_whole => Some(version),
        Ok(_) | Err(_) => None,
    };
    copies.iter().filter_map(claim).max()
}

/// What the shadow is, if neither copy counts.
fn choose_none(a: (&[u8], CopyError), b: (&[u8], CopyError)) -> Found {
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    if is_torn_creation(a.0, 1) && is_torn_creation(b.0, 2) {
        return Found::AllZero;
    }
    if a.0.starts_with(&MAGIC) || b.0.starts_with(&MAGIC) {
        return Found::Damaged { a: a.1, b: b.1 };
    }
    if is_zero(a.0) && is_zero(b.0) {
        return Found::AllZero;
    }
    let shown = if is_zero(a.0) { b.0 } else { a.0 };
    let shown = shown.get(..FOREIGN_SHOWN_BYTES).unwrap_or(shown);
    Found::Foreign { first_bytes: shown.escape_ascii().to_string() }
}

/// Whether `bytes`, a copy that does not verify, can be left of the first write to it, that of
/// `generation`: its one end, or the ends of two such writes. The power was cut during the creation
/// of the shadow, between the sectors of the device, perhaps more than once.
///
/// Copy A gets generation 1, then copy B generation 2, each durable before the next is begun, and
/// records come only after generation 3: where neither copy verifies, none was ever written.
fn is_torn_creation(bytes: &[u8], generation: u64) -> bool {
    let Ok((copy, _)) = CopyBytes::ref_from_prefix(bytes) else { return false };
    let is_ours = copy.magic == MAGIC && copy.format_version.get() == FORMAT_VERSION;
    let is_tail_alone = bytes.iter().take(CHECKED_BYTES).all(|byte| *byte == 0);
    let is_first = is_ours && copy.generation.get() == generation;
    is_tail_alone || (is_first && copy.census.iter().all(|byte| *byte == 0))
}

/// Whose copy this would have become, if neither of `a` and `b` verifies and they are what is left
/// of the first superblock of one: generation 3, INCOMPLETE, in copy A, where B is blank. Nothing
/// that counts lies behind it: a copy that has arrived has both, of higher generations.
pub fn cut_mark(a: &[u8], b: &[u8]) -> Option<StoreId> {
    let (copy, _) = CopyBytes::ref_from_prefix(a).ok()?;
    let is_ours = copy.magic == MAGIC && copy.format_version.get() == FORMAT_VERSION;
    let is_mark = copy.generation.get() == 3 && copy.flags.get() == INCOMPLETE;
    let is_blank = copy.census.iter().chain(b).all(|byte| *byte == 0);
    (is_ours && is_mark && is_blank).then_some(StoreId(copy.store_id))
}

fn choose_whole(a: Superblock, b: Superblock) -> Found {
    let error = if a.is_same_shadow(&b) { None } else { Some(CopyError::Disagrees) };
    if a.generation >= b.generation {
        found(a, CopyName::A, error)
    } else {
        found(b, CopyName::B, error)
    }
}

fn found(superblock: Superblock, copy: CopyName, error: Option<CopyError>) -> Found {
    let other = if copy == CopyName::A { CopyName::B } else { CopyName::A };
    let damaged = error.map(|error| DamagedCopy { copy: other, error });
    Found::Superblock { superblock, copy, damaged }
}
