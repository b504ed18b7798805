//! A record as it is read, from bytes that nobody vouches for.
//!
//! Invariants
//! - V1  A view exists only if every length in its head fits its bytes: no accessor can fail.
//! - V2  A view says nothing about checksums; only [`RecordView::verify`] does.
#![forbid(unsafe_code)]

use std::mem::{offset_of, size_of};
use std::num::NonZeroU32;

use zerocopy::{FromBytes, FromZeros};

use super::commit::CommitWord;
use super::key::{Seed, StoreKey};
use super::precedence::Rank;
use super::record::{Flags, HEAD_CHECKED_FROM, HeadBytes, OPTIONAL_BYTES, WORD_BYTES};
use crate::planted::{Bug, is_planted};
use crate::unit::{Location, RBLOCK_BYTES, Version};

/// What the checksums say of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Whole, as it was written, and where it was written.
    Good,
    /// Head and key are as they were written; the value, or the zeros behind it, are not.
    BadValue,
    /// Not even the key can be trusted, nor the length.
    Bad,
    /// Whole, but with a flag that this version of the engine does not know.
    Unsupported,
}

/// A record in place: its bytes, and what tells where key and value lie in them (V1).
///
/// No more than that: a view is made for each entry that a search looks at, and what is not asked
/// for is not read. The ends below are offsets into `body`.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// All but the commit word.
    body: &'a [u8],
    commit: CommitWord,
    key_start: u32,
    key_end: u32,
    value_end: u32,
    flags: Flags,
}

impl<'a> RecordView<'a> {
    /// The view of the record that spans exactly `bytes`.
    ///
    /// `None` if the commit word is of a padding or of another length, if the key is empty, or if
    /// a length points out of `bytes`. Cost: a dozen instructions; no digest.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let (word, body) = bytes.split_first_chunk()?;
        Self::with_word(CommitWord::from_raw(u64::from_le_bytes(*word)), body)
    }

    /// The view of the record with the commit word `commit` and the bytes `body` behind it. In
    /// memory the word may change just now, from one word of this record to another, and only an
    /// atomic may look at it.
    #[inline]
    pub fn with_word(commit: CommitWord, body: &'a [u8]) -> Option<Self> {
        let is_whole = |rblocks: NonZeroU32| {
            body.len() + WORD_BYTES == rblocks.get() as usize * RBLOCK_BYTES as usize
        };
        if commit.is_padding() || !commit.rblocks().is_some_and(is_whole) {
            return None;
        }
        HeadBytes::ref_from_prefix(body).ok()?;
        let view = Self::of_committed(commit, body);
        let has_key = view.key_start < view.key_end;
        let fits = view.value_end as usize <= body.len();
        (has_key && view.key_end <= view.value_end && fits).then_some(view)
    }

    /// The same of a record that this process has written or verified, so that V1 is known to hold.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "V1: a record has at most 2^19 rblocks")]
    pub fn of_committed(commit: CommitWord, body: &'a [u8]) -> Self {
        let head = head(body);
        let flags = Flags::from_raw(head.flags.get());
        let key_start = (flags.header_bytes() - WORD_BYTES) as u32;
        let key_end = key_start + u32::from(head.key_len.get());
        let value_end = (body.len() as u32).wrapping_sub(flags.pad() as u32);
        Self { body, commit, key_start, key_end, value_end, flags }
    }

    /// The bytes from one of the ends to another (V1).
    #[inline]
    fn between(&self, start: u32, end: u32) -> &'a [u8] {
        self.body.get(start as usize..end as usize).unwrap_or_default()
    }

    /// The key: never empty.
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        self.between(self.key_start, self.key_end)
    }

    /// The value; of a tombstone, empty.
    #[inline]
    pub fn value(&self) -> &'a [u8] {
        self.between(self.key_end, self.value_end)
    }

    /// When it was written.
    #[inline]
    pub fn version(&self) -> Version {
        Version::from(head(self.body).version.get())
    }

    /// What it is; the pad included.
    #[inline]
    pub const fn flags(&self) -> Flags {
        self.flags
    }

    /// The last instant of its life: microseconds since 1970. `None`: it lives for ever.
    #[inline]
    pub fn expires_at(&self) -> Option<u64> {
        if !self.flags.contains(Flags::EXPIRES) {
            return None;
        }
        let bytes = self.body.get(size_of::<HeadBytes>()..)?.first_chunk()?; // V1: it is there
        Some(u64::from_le_bytes(*bytes))
    }

    /// Whatever of this key has a version up to this one, and not this `over`, does not count.
    #[inline]
    pub fn over(&self) -> Option<Version> {
        // Few records have it and few ask: it is not worth a field of every view.
        if self.flags.contains(Flags::OVER) { self.over_stored() } else { None }
    }

    /// The last optional field, which is `over` where there is one.
    #[cold]
    fn over_stored(&self) -> Option<Version> {
        let from = self.flags.header_bytes() - OPTIONAL_BYTES - WORD_BYTES;
        let bytes = self.body.get(from..)?.first_chunk()?; // V1: it is there
        Some(Version::from(u64::from_le_bytes(*bytes)))
    }

    /// The end of this record must leave a tombstone: something older of its key may be there.
    #[inline]
    pub const fn is_heir(&self) -> bool {
        self.flags.contains(Flags::HEIR)
    }

    /// The key was deleted, evicted or expired.
    #[inline]
    pub const fn is_tombstone(&self) -> bool {
        self.flags.contains(Flags::TOMBSTONE)
    }

    /// Rblocks that it takes.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "V1: at most 2^19 rblocks")]
    pub const fn rblocks(&self) -> u32 {
        ((self.body.len() + WORD_BYTES) / RBLOCK_BYTES as usize) as u32
    }

    /// Its first word.
    #[inline]
    pub const fn commit(&self) -> CommitWord {
        self.commit
    }

    /// The checksum of everything up to the end of the key, as stored.
    #[inline]
    pub fn head_check(&self) -> u32 {
        head(self.body).head_check.get()
    }

    /// The checksum of the value, as stored.
    #[inline]
    pub fn value_check(&self) -> u32 {
        head(self.body).value_check.get()
    }

    /// All its bytes behind the commit word, padding included.
    #[inline]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Its place in the total order of the records of its key.
    #[inline]
    pub fn rank(&self) -> Rank<'a> {
        Rank {
            version: self.version(),
            over: self.over(),
            tombstone: self.is_tombstone(),
            expires_at: self.expires_at(),
            value: self.value(),
        }
    }

    /// Judges the record as one of the store that has `store_key`, at `location`.
    ///
    /// The head is judged first: only where it verifies is the value read at all. A record that is
    /// both damaged and unknown is damaged. Cost: one pass over the bytes.
    pub fn verify(&self, store_key: StoreKey, location: Location) -> Verdict {
        let seed = Seed::new(store_key, location, self.commit);
        let head_seed = seed.with(head(self.body).version.get());
        if head_seed.check(self.head_checked()) != self.head_check() {
            return Verdict::Bad;
        }
        let is_value_good = seed.check(self.value()) == self.value_check() && self.is_pad_zero();
        if !is_value_good && !is_planted(Bug::TrustValue) {
            return Verdict::BadValue;
        }
        if self.flags.is_supported() { Verdict::Good } else { Verdict::Unsupported }
    }

    /// Bytes that the head check covers.
    pub(super) fn head_checked(&self) -> &'a [u8] {
        let is_key_alone = is_planted(Bug::ChecksumWithoutHead);
        let start = if is_key_alone { self.key_start as usize } else { HEAD_CHECKED_FROM };
        self.body.get(start..self.key_end as usize).unwrap_or_default()
    }

    fn is_pad_zero(&self) -> bool {
        self.body
            .get(self.value_end as usize..)
            .is_some_and(|pad| pad.iter().all(|byte| *byte == 0))
    }
}

/// The fixed part of the head (V1: it is there).
#[inline]
fn head(body: &[u8]) -> HeadBytes {
    HeadBytes::read_from_prefix(body).map_or_else(|_| HeadBytes::new_zeroed(), |(head, _)| head)
}

const _: () = assert!(offset_of!(HeadBytes, head_check) < HEAD_CHECKED_FROM, "not its own check");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::StoreId;
    use crate::unit::Sequence;

    #[test]
    fn lengths_that_do_not_fit_give_no_view() {
        let key = StoreKey::of(&StoreId([3; 16]));
        let mut bytes = [0_u8; 48];
        bytes[..8]
            .copy_from_slice(&CommitWord::new(key, Sequence(1), 3, false).raw().to_le_bytes());
        for (key_len, flags, fits) in [
            (0_u16, 0_u16, false), // an empty key
            (20, 0, true),
            (21, 0, false),
            (20, 1, false), // the pad would lie in the key
            (12, Flags::EXPIRES.raw(), true),
            (13, Flags::EXPIRES.raw(), false),
            (12, Flags::OVER.raw(), true),
            (13, Flags::OVER.raw(), false),
            (4, Flags::EXPIRES.raw() | Flags::OVER.raw(), true),
            (5, Flags::EXPIRES.raw() | Flags::OVER.raw(), false),
            (u16::MAX, u16::MAX, false),
        ] {
            bytes[24..26].copy_from_slice(&key_len.to_le_bytes());
            bytes[26..28].copy_from_slice(&flags.to_le_bytes());
            assert_eq!(RecordView::new(&bytes).is_some(), fits, "key {key_len}, flags {flags}");
            assert!(RecordView::new(&bytes[..32]).is_none(), "another length than it says");
        }
    }
}
