//! Last writer wins, the same everywhere (invariant 3): the total order of the records of a key.
//!
//! Higher reach, which is the greater of version and `over`; then the higher `over`, none being the
//! lowest; then the higher version; then a tombstone over a value; then the later expiry, none
//! being the latest; then the greater pair of (digest of the value, value). The digest stands in
//! front of the bytes so that a replica can settle a tie by exchanging 8 bytes; the bytes stand
//! behind it so that the order is total whatever collides. Nothing of the place takes part:
//! wherever two copies lie, and in whatever order they are met, the same one wins.
//!
//! Why `over`: once no older copy of a key is left, its tombstone may be taken out of the index,
//! and the key is forgotten. The tombstone's bytes stay on the shadow until they are overwritten. A
//! put that then comes with a lower version of its caller's must win over them at the next cold
//! start, and says so: `over` is the highest version that was forgotten.
//!
//! Invariants
//! - O1  The order is total. It is that of the tuple above, each part of which is of a total order,
//!   compared part by part; and the tuple holds every field of a [`Rank`], so that only equal ranks
//!   compare as equal.
//! - O2  A record `p` with `over` wins over each `q` whose version and `over` are both up to `over`
//!   of `p`, the latter being another or none. For `q` then reaches up to `over` of `p`, which `p`
//!   reaches at least; and if both reach exactly that far, the higher `over` decides, which is that
//!   of `p`.
//! - O3  Among records without `over`, or with the same one, the version decides before all else.
//!
//! Checked by: the tests below and `tests/format_props.rs`.
#![forbid(unsafe_code)]

use std::cmp::Ordering;

use xxhash_rust::xxh3::xxh3_64;

use super::view::RecordView;
use crate::unit::Version;

/// All of a record that decides whether it wins. The greater one does; equal ones are replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank<'a> {
    /// When it was written.
    pub version: Version,
    /// Up to which version the past of the key does not count.
    pub over: Option<Version>,
    /// It says that the key is dead.
    pub tombstone: bool,
    /// The last instant of its life: microseconds since 1970. `None`: it lives for ever.
    pub expires_at: Option<u64>,
    /// The value.
    pub value: &'a [u8],
}

impl Rank<'_> {
    /// The first part of the order, which nearly always decides: the greater of version and `over`.
    #[inline]
    pub fn reach(&self) -> Version {
        self.over.map_or(self.version, |over| over.max(self.version))
    }
}

impl Ord for Rank<'_> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.reach().cmp(&other.reach()).then_with(|| compare_equal_reaches(self, other))
    }
}

impl PartialOrd for Rank<'_> {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Which of two records of one key wins: the greater.
#[inline]
pub fn precedence(left: &RecordView<'_>, right: &RecordView<'_>) -> Ordering {
    left.rank().cmp(&right.rank())
}

#[cold]
fn compare_equal_reaches(left: &Rank<'_>, right: &Rank<'_>) -> Ordering {
    let expiry = |rank: &Rank<'_>| (rank.expires_at.is_none(), rank.expires_at);
    left.over
        .cmp(&right.over) // none is the lowest
        .then_with(|| left.version.cmp(&right.version))
        .then_with(|| left.tombstone.cmp(&right.tombstone))
        .then_with(|| expiry(left).cmp(&expiry(right)))
        .then_with(|| compare_values(left.value, right.value))
}

fn compare_values(left: &[u8], right: &[u8]) -> Ordering {
    if left == right {
        return Ordering::Equal;
    }
    xxh3_64(left).cmp(&xxh3_64(right)).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(version: u64, tombstone: bool, expires_at: Option<u64>, value: &[u8]) -> Rank<'_> {
        Rank { version: Version::from(version), over: None, tombstone, expires_at, value }
    }

    fn over(over: u64, rank: Rank<'_>) -> Rank<'_> {
        Rank { over: Some(Version::from(over)), ..rank }
    }

    fn assert_ascending(ascending: &[Rank<'_>]) {
        for (i, left) in ascending.iter().enumerate() {
            for (j, right) in ascending.iter().enumerate() {
                assert_eq!(left.cmp(right), i.cmp(&j), "{left:?} against {right:?}");
            }
        }
    }

    #[test]
    fn each_rule_decides_only_what_the_ones_before_leave_open() {
        assert_ascending(&[
            rank(1, true, None, &b"z"[..]),
            rank(2, false, Some(5), b""),
            rank(2, false, Some(6), b""),
            rank(2, false, Some(u64::MAX), b""),
            rank(2, false, None, b""),
            rank(2, true, Some(1), b""),
            rank(2, true, None, b""),
            rank(3, false, Some(1), b""),
        ]);
    }

    #[test]
    fn what_was_forgotten_does_not_count() {
        assert_ascending(&[
            over(80, rank(5, false, None, b"")), // written over a past that was forgotten in turn
            rank(99, false, None, b""),
            rank(100, false, None, b""),
            rank(100, true, None, b""), // forgotten at last
            over(80, rank(100, true, None, b"")),
            over(100, rank(5, false, None, b"z")), // written then
            over(100, rank(7, true, None, b"")),   // its successor
            over(100, rank(100, false, None, b"")),
            rank(101, false, None, b""),
            over(0, rank(101, false, None, b"")),
            over(100, rank(101, false, None, b"")),
            over(101, rank(0, false, None, b"")),
        ]);
        let lowest = [rank(0, true, None, b""), over(0, rank(0, false, None, b""))];
        assert_ascending(&lowest);
    }

    #[test]
    fn values_break_ties_by_digest_first() {
        let (left, right) = (&b"left"[..], &b"right"[..]);
        assert_eq!(compare_values(left, right), xxh3_64(left).cmp(&xxh3_64(right)));
        assert_eq!(compare_values(left, right), compare_values(right, left).reverse());
        assert_eq!(compare_values(left, left), Ordering::Equal);
    }
}
