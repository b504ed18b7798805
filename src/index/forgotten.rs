//! What was taken out of the index while its bytes are still on the shadow.
//!
//! Happens-before edge
//! - E7  `note`, then the removal of the entry (E1 of `segment`, Release), to `bound` (a fence
//!   behind the look that found no entry): who finds a key absent because of the removal sees the
//!   version.
//!
//! Checked by: `loom-tests/tests/reclaim.rs` (E7).
#![forbid(unsafe_code)]

use crate::sync::{Acquire, AtomicU64, Relaxed, Release, fence};
use crate::unit::Version;

/// The highest version that was forgotten.
#[derive(Debug, Default)]
pub struct Forgotten(AtomicU64);

impl Forgotten {
    /// Nothing was.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Before an entry is removed whose record, of `version`, stays on the shadow for a while.
    pub fn note(&self, version: Version) {
        // ORDERING: Release, so that it holds for who reads the version itself; for edge E7 the
        // removal behind it is enough.
        self.0.fetch_max(version.into(), Release);
    }

    /// For who has found no entry of a key: nothing of it above this version was forgotten.
    #[inline]
    pub fn bound(&self) -> Option<Version> {
        // ORDERING: Acquire, edge E7. Slots of removed keys are only peeked at (`entry`); the fence
        // makes of such a look an edge from the removal.
        fence(Acquire);
        // ORDERING: Relaxed, behind the fence.
        let version = self.0.load(Relaxed);
        (version > 0).then(|| version.into())
    }
}
