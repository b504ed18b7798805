//! The commit word: stored last, and so the proof that everything before it is in place.
//!
//! Happens-before edge
//! - E1  `commit` (Release store of the commit word) to `committed` (Acquire load): who sees the
//!   commit word of this life sees every byte of the record. Readers of the index do not need it:
//!   they get the location through an edge of the index that starts after the commit.
//!
//! Checked by: `loom-tests/tests/stripe.rs` (E1).
#![forbid(unsafe_code)]

use super::memory::Region;
use crate::sync::{Acquire, Release};
use crate::unit::Location;

impl Region {
    /// The commit word as it stands; what it covers may be read if it is of this life (E1).
    #[inline]
    pub fn committed(&self, location: Location) -> u64 {
        // ORDERING: Acquire, edge E1, pairs with `commit`.
        self.commit_word(location).load(Acquire)
    }

    /// Declares the record at `location` whole.
    #[inline]
    pub fn commit(&self, location: Location, word: u64) {
        // ORDERING: Release, edge E1: every byte of the record is before it.
        self.commit_word(location).store(word, Release);
    }
}
