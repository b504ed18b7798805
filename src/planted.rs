//! Planted bugs: known mistakes that are put back in, one at a time, to see the test fail that is
//! to catch it. A suite that lets one live shows nothing.
//!
//! Behind the feature `planted-bugs`, which is for that alone: with it the environment variable
//! `BRINDLE_PLANT` names the bug of a process, so that one build serves all. Without it
//! [`is_planted`] is the constant `false`, and nothing is left in the build.
//!
//! `tests/planted.sh` says which test catches which. A publication that is `Relaxed`, a passage
//! that is not waited for and their like show on few machines: weakened orderings are planted in
//! the loom models instead, by `loom-tests/weaken.sh`.
#![forbid(unsafe_code)]

macro_rules! bugs {
    ($($(#[doc = $about:literal])* $bug:ident = $name:literal,)*) => {
        /// A mistake that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $about])* $bug,)*
        }

        #[cfg(feature = "planted-bugs")]
        const BUGS: &[(&str, Bug)] = &[$(($name, Bug::$bug),)*];
    };
}

bugs! {
    /// A barrier writes and does not sync.
    SkipSync = "skip-sync",
    /// A barrier is acknowledged when it is written; the sync comes with a later round.
    AckBeforeSync = "ack-before-sync",
    /// A barrier is acknowledged before its writes complete: they come with a later round.
    AckBeforeCompletion = "ack-before-completion",
    /// A write that moved fewer bytes than it was to is taken for whole.
    IgnoreShortWrite = "ignore-short-write",
    /// A failed sync is tried again, and believed.
    TrustRetriedSync = "trust-retried-sync",
    /// What is reserved is written without a look at its commit words.
    SealWithoutCompletion = "seal-without-completion",
    /// A header is struck out before what superseded its wblock is durable.
    FreeBeforeBarrier = "free-before-barrier",
    /// A wblock is free again while its header on the shadow still counts.
    FreeWithoutStrike = "free-without-strike",
    /// A wblock is opened again while a pin may hold a record of it.
    ReuseBeforeEpoch = "reuse-before-epoch",
    /// The checksum of a head covers its key alone.
    ChecksumWithoutHead = "checksum-without-head",
    /// A barrier is acknowledged although what a bad place was to hold is not elsewhere yet.
    AckBeforeMove = "ack-before-move",
    /// A value is taken unverified.
    TrustValue = "trust-value",
    /// The scan of a wblock ends at the first record that does not verify.
    StopAtBadRecord = "stop-at-bad-record",
    /// Cold start ends at the first wblock whose header does not verify.
    StopAtBadWblock = "stop-at-bad-wblock",
    /// A whole header is taken whatever wblock it names.
    TakeForeignWblock = "take-foreign-wblock",
    /// What the last orderly close knew of a wblock is not looked at.
    IgnoreCensus = "ignore-census",
    /// A key whose newest value has rotted falls back to an older one.
    FallBackToOlder = "fall-back-to-older",
    /// Of two records of a key cold start takes the one that it meets last.
    TakeLastMet = "take-last-met",
    /// The raider drops a tombstone although it met an older value.
    DropTombstoneEarly = "drop-tombstone-early",
    /// The raider counts a quarantined wblock as gone from the shadow.
    RaidPastQuarantine = "raid-past-quarantine",
    /// The raider counts a damaged wblock as gone from the shadow.
    RaidPastDamage = "raid-past-damage",
    /// The raider takes for dead what has expired by its clock, not by the durable floor.
    RaidByClock = "raid-by-clock",
    /// The clock floor counts as durable before a superblock says it.
    FloorBeforeSuperblock = "floor-before-superblock",
    /// A record ends without a tombstone although an older copy may be left.
    EndWithoutTombstone = "end-without-tombstone",
    /// What was forgotten is not noted, and may win over a later put with a lower version.
    ForgetTheForgotten = "forget-the-forgotten",
    /// The superblock says "closed in order" while the store is open.
    StayClean = "stay-clean",
    /// Each run hands out the sequences of the first one again.
    ReuseSequences = "reuse-sequences",
    /// Another process is not kept away from the shadow.
    NoLock = "no-lock",
}

/// True if this process is to make the mistake.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
pub const fn is_planted(_bug: Bug) -> bool {
    false
}

/// True if this process is to make the mistake.
///
/// # Panics
///
/// If the environment names a bug that there is not.
#[cfg(feature = "planted-bugs")]
pub fn is_planted(bug: Bug) -> bool {
    use std::sync::OnceLock;

    static PLANTED: OnceLock<Option<Bug>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| {
        let name = std::env::var("BRINDLE_PLANT").ok()?;
        let known = BUGS.iter().find(|(known, _)| *known == name);
        assert!(known.is_some(), "BRINDLE_PLANT names no bug: {name}");
        known.map(|(_, bug)| *bug)
    });
    *planted == Some(bug)
}
