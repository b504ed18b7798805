//! What a put or a delete may ask for beyond its key and value.
#![forbid(unsafe_code)]

use crate::unit::Version;
use std::time::{Duration, SystemTime};

/// What must hold of the key for a put or delete to happen. Absent, deleted and expired are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// The key has no live record.
    IfAbsent,
    /// The key has a live record.
    IfPresent,
    /// The key has a live record of exactly this version.
    IfVersion(Version),
}

/// When a record stops being returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// After the store's `default_ttl`, if it has one.
    #[default]
    Default,
    /// After this long; zero is never.
    After(Duration),
    /// At this instant.
    At(SystemTime),
}

/// How to put. Start from [`PutOptions::new`]: no TTL of its own, the store's version, always.
///
/// ```
/// use brindle::{Condition, PutOptions};
/// use std::time::Duration;
///
/// let options = PutOptions::new().ttl(Duration::from_secs(60)).condition(Condition::IfAbsent);
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    pub(crate) expiry: Expiry,
    pub(crate) version: Option<Version>,
    pub(crate) condition: Condition,
    pub(crate) durable: bool,
    pub(crate) never_evict: bool,
}

impl PutOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The record lives this long from now on, and through the last instant of it.
    /// `Duration::ZERO`: for ever, also where the store has a `default_ttl`.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.expiry = Expiry::After(ttl);
        self
    }

    /// The record lives through this instant. One in the past: the put happens and expires at once.
    #[must_use]
    pub fn expires_at(mut self, instant: SystemTime) -> Self {
        self.expiry = Expiry::At(instant);
        self
    }

    /// The version, for a writer that has its own order (a replica, a replay, an import). It must
    /// win over what is there, or be the very same record: see [`Store::put_with`].
    ///
    /// [`Store::put_with`]: crate::Store::put_with
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// Eviction passes this record over, until the key is put again without it.
    #[must_use]
    pub fn never_evict(mut self) -> Self {
        self.never_evict = true;
        self
    }

    /// What must hold of the key.
    #[must_use]
    pub fn condition(mut self, condition: Condition) -> Self {
        self.condition = condition;
        self
    }

    /// True: the put returns only when it is durable. One write and one sync of the shadow, shared
    /// with every other durable put that waits at the time (group commit).
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }
}

/// How to delete. Start from [`DeleteOptions::new`]: the store's version, always.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub(crate) version: Option<Version>,
    pub(crate) condition: Condition,
    pub(crate) durable: bool,
}

impl DeleteOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The version of the delete. It must win over what is there; it is then remembered, also
    /// where the key is absent, so that an older put that arrives later does not bring it back.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// What must hold of the key.
    #[must_use]
    pub fn condition(mut self, condition: Condition) -> Self {
        self.condition = condition;
        self
    }

    /// True: the delete returns only when it is durable, as for [`PutOptions::durable`].
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }
}
