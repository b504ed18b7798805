//! Last writer wins, the same everywhere (invariant 3): the total order of the records of a key.
//!
//! Higher version; then a tombstone over a value; then the later expiry, none being the latest;
//! then the greater pair of (digest of the value, value). The digest stands in front of the bytes
//! so that a replica can settle a tie by exchanging 8 bytes; the bytes stand behind it so that the
//! order is total whatever collides. Nothing of the place takes part: wherever two copies lie, and
//! in whatever order they are met, the same one wins.
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
    /// It says that the key is dead.
    pub tombstone: bool,
    /// The last instant of its life: microseconds since 1970. `None`: it lives for ever.
    pub expires_at: Option<u64>,
    /// The value.
    pub value: &'a [u8],
}

impl Ord for Rank<'_> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.version.cmp(&other.version).then_with(|| compare_equal_versions(self, other))
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
fn compare_equal_versions(left: &Rank<'_>, right: &Rank<'_>) -> Ordering {
    let expiry = |rank: &Rank<'_>| (rank.expires_at.is_none(), rank.expires_at);
    left.tombstone
        .cmp(&right.tombstone)
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

    #[test]
    fn each_rule_decides_only_what_the_ones_before_leave_open() {
        let rank = |version: u64, tombstone, expires_at, value| Rank {
            version: Version::from(version),
            tombstone,
            expires_at,
            value,
        };
        let ascending = [
            rank(1, true, None, &b"z"[..]),
            rank(2, false, Some(5), b""),
            rank(2, false, Some(6), b""),
            rank(2, false, Some(u64::MAX), b""),
            rank(2, false, None, b""),
            rank(2, true, Some(1), b""),
            rank(2, true, None, b""),
            rank(3, false, Some(1), b""),
        ];
        for (i, left) in ascending.iter().enumerate() {
            for (j, right) in ascending.iter().enumerate() {
                assert_eq!(left.cmp(right), i.cmp(&j), "{left:?} against {right:?}");
            }
        }
    }

    #[test]
    fn values_break_ties_by_digest_first() {
        let (left, right) = (&b"left"[..], &b"right"[..]);
        assert_eq!(compare_values(left, right), xxh3_64(left).cmp(&xxh3_64(right)));
        assert_eq!(compare_values(left, right), compare_values(right, left).reverse());
        assert_eq!(compare_values(left, left), Ordering::Equal);
    }
}
