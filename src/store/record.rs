//! A record in the caller's hands: a view into the region, and the pin that keeps it there.
#![forbid(unsafe_code)]

use super::Store;
use crate::sync::epoch::Guard;
use crate::unit::Version;
use crate::upkeep::Held;
use std::fmt;
use std::ops::Deref;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A record, read in place: no copy was made.
///
/// As long as it lives its thread is pinned: the wblock that it lies in is not reused, and no
/// wblock freed since can be. Keep it for microseconds, or take [`into_owned`](Self::into_owned).
/// It is `!Send`, so that no pin is ever held across an `await`.
pub struct Record<'s>(Held<'s>);

impl<'s> Record<'s> {
    #[inline]
    pub(super) fn new(held: Held<'s>) -> Self {
        Self(held)
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &[u8] {
        self.0.view().value()
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.0.view().key()
    }

    /// When it was written, for last-writer-wins.
    pub fn version(&self) -> Version {
        self.0.view().version()
    }

    /// The last instant of its life; `None`: it does not expire.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0.view().expires_at().and_then(instant)
    }

    /// A copy of the value.
    pub fn to_vec(&self) -> Vec<u8> {
        self.value().to_vec()
    }

    /// A copy that holds no pin and may go to another thread.
    pub fn into_owned(self) -> OwnedRecord {
        OwnedRecord {
            key: self.key().into(),
            value: self.value().into(),
            version: self.version(),
            expires_at: self.expires_at(),
        }
    }
}

impl Deref for Record<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.value()
    }
}

impl AsRef<[u8]> for Record<'_> {
    fn as_ref(&self) -> &[u8] {
        self.value()
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Record")
            .field("key", &self.key().escape_ascii().to_string())
            .field("value_bytes", &self.value().len())
            .field("version", &self.version())
            .field("expires_at", &self.expires_at())
            .finish()
    }
}

/// A copy of a record: key, value, version and expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    key: Box<[u8]>,
    value: Box<[u8]>,
    version: Version,
    expires_at: Option<SystemTime>,
}

impl OwnedRecord {
    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// When it was written, for last-writer-wins.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The last instant of its life; `None`: it does not expire.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// The value alone, without another copy.
    pub fn into_value(self) -> Vec<u8> {
        self.value.into_vec()
    }
}

impl Deref for OwnedRecord {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.value
    }
}

/// Keeps the calling thread pinned, for many reads of one moment: a get under it saves the two
/// stores of a pin. The same warning as for [`Record`] holds.
pub struct Pin<'s> {
    store: &'s Store,
    guard: Guard,
}

impl<'s> Pin<'s> {
    pub(super) fn new(store: &'s Store, guard: Guard) -> Self {
        Self { store, guard }
    }

    /// The live record of `key`: see [`Store::get`].
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Record<'_>> {
        let view = self.store.inner.live(&self.guard, key.as_ref())?;
        Some(Record::new(Held::borrowed(view)))
    }

    /// True if `key` has a live record.
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> bool {
        self.store.inner.live(&self.guard, key.as_ref()).is_some()
    }
}

impl fmt::Debug for Pin<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pin").finish_non_exhaustive()
    }
}

fn instant(micros: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_micros(micros))
}
