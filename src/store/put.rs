//! Writing, as callers see it: put, delete, update and their options. The work is in `write`.
#![forbid(unsafe_code)]

use super::get::GROUP;
use super::options::{Condition, Expiry};
use super::wait::Patience;
use super::write::{Intent, Refused};
use super::{DeleteOptions, PutOptions};
use super::{Inner, Store};
use crate::error::{Error, Result};
use crate::sync::epoch;
use crate::unit::Version;
use std::time::{SystemTime, UNIX_EPOCH};

/// Versions that [`Store::put_many`] makes room for at once: an iterator may promise anything.
const VERSIONS_MAX: usize = 4096;

impl Store {
    /// Puts `value` under `key` and returns the record's version.
    ///
    /// Visible to every `get` that begins after it returns. Durable at the latest `flush_max_ms`
    /// later, or when a [`flush`](Self::flush) that begins after it returns; a crash before that
    /// loses it as a whole, never in part, and leaves the last durable version.
    ///
    /// - `key`: 1 to 65,535 bytes. `value`: may be empty, which is not a delete; key, value and
    ///   [`RECORD_HEADER_BYTES_MAX`] together at most `max_record_size`.
    /// - Cost: one copy, one addition on the stripe's open word, one compare-and-swap in the index;
    ///   no lock, no allocation, no system call, except when a wblock is full or the index grows.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyKey`], [`Error::KeyTooLong`], [`Error::RecordTooLarge`]: final.
    /// [`Error::StopWrites`], [`Error::OutOfSpace`], [`Error::Overloaded`]: after a wait of up to
    /// `overload_wait`, while space is on its way back; a thread that holds a [`Record`] or a
    /// [`Pin`] may wait for itself. [`Error::ShadowFailed`], [`Error::Closed`], [`Error::Forked`].
    /// In each case nothing has changed.
    ///
    /// [`Record`]: crate::Record
    /// [`Pin`]: crate::Pin
    ///
    /// [`RECORD_HEADER_BYTES_MAX`]: crate::RECORD_HEADER_BYTES_MAX
    #[inline]
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Version> {
        let durable = self.inner.limits.commit_to_device;
        let expires_at = self.inner.expiry(Expiry::Default);
        let intent = Intent {
            key: key.as_ref(),
            value: Some(value.as_ref()),
            expires_at,
            version: None,
            condition: Condition::Always,
            exactly: None,
            never_evict: false,
        };
        self.put_intent(&intent, durable)
    }

    /// Puts with a TTL, a version, a condition, or waiting until it is durable: see
    /// [`PutOptions`].
    ///
    /// With a version of the caller's the put wins or loses by the order that all copies of a store
    /// share: higher version; then a tombstone over a value; then the later expiry, none being the
    /// latest; then the greater value. The very same record again is `Ok`.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put); [`Error::ConditionFailed`]; [`Error::VersionConflict`]: the
    /// version loses to what is there. In each case nothing has changed. If the shadow fails while
    /// a durable put waits, [`Error::ShadowFailed`]: the put stands in memory.
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: &PutOptions,
    ) -> Result<Version> {
        let intent = Intent {
            key: key.as_ref(),
            value: Some(value.as_ref()),
            expires_at: self.inner.expiry(options.expiry),
            version: options.version,
            condition: options.condition,
            exactly: None,
            never_evict: options.never_evict,
        };
        self.put_intent(&intent, options.durable || self.inner.limits.commit_to_device)
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "makes a plain put of it: most of an intent is known")]
    fn put_intent(&self, intent: &Intent<'_>, durable: bool) -> Result<Version> {
        #[cfg(any(feature = "metrics", feature = "top"))]
        let _sample = self.inner.sampler.measure(super::sample::Call::Put);
        self.inner.check_durable(durable)?;
        let version = match self.inner.put_directly(intent) {
            Some(version) => version,
            None => self.put_by_the_loop(*intent)?,
        };
        self.inner.settle(durable)?;
        Ok(version)
    }

    /// Takes a copy, so that the intent of a put that goes the direct way need not be in memory.
    #[cold]
    fn put_by_the_loop(&self, intent: Intent<'_>) -> Result<Version> {
        // A put always leaves a version: `Done` of a put carries one.
        Ok(self.inner.write(&intent)?.version.unwrap_or_default())
    }

    /// Puts each pair, in order, and returns their versions. Each record is atomic, the batch is
    /// not. With `commit_to_device` the batch waits once, for all.
    ///
    /// Pairs are taken in groups of 32, whose cache misses overlap: several times the rate of
    /// single puts on a store larger than the cache. If `pairs` panics, its last group is not put.
    ///
    /// # Errors
    ///
    /// [`Error::Batch`] with what `put` said and how many were put before: those are in.
    pub fn put_many<K, V>(&self, pairs: impl IntoIterator<Item = (K, V)>) -> Result<Vec<Version>>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut pairs = pairs.into_iter().fuse();
        let mut versions = Vec::with_capacity(pairs.size_hint().0.min(VERSIONS_MAX));
        let batch = |done: usize, source| Error::Batch { done, source: Box::new(source) };
        loop {
            let group: [Option<(K, V)>; GROUP] = std::array::from_fn(|_| pairs.next());
            self.inner.ask_for(group.iter().flatten().map(|(key, _value)| key));
            for (key, value) in group.iter().flatten() {
                let intent = Intent {
                    key: key.as_ref(),
                    value: Some(value.as_ref()),
                    expires_at: self.inner.expiry(Expiry::Default),
                    version: None,
                    condition: Condition::Always,
                    exactly: None,
                    never_evict: false,
                };
                match self.put_intent(&intent, false) {
                    Ok(version) => versions.push(version),
                    Err(source) => return Err(batch(versions.len(), source)),
                }
            }
            if group.last().is_none_or(Option::is_none) {
                break;
            }
        }
        let durable = self.inner.limits.commit_to_device && !versions.is_empty();
        self.inner.settle(durable).map_err(|source| batch(versions.len(), source))?;
        Ok(versions)
    }

    /// Deletes `key`. True: a live record was there.
    ///
    /// With a shadow a tombstone is written, so that no older copy comes back at cold start; it
    /// takes as much space as a record with an empty value, until nothing older than it is left.
    /// Deletes may use space that is kept back from puts, so that they pass on a full store.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), [`Error::RecordTooLarge`] aside. Nothing has changed.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.delete_with(key, &DeleteOptions::new())
    }

    /// Deletes with a version, a condition, or waiting until it is durable: see [`DeleteOptions`].
    ///
    /// # Errors
    ///
    /// Those of [`delete`](Self::delete) and of [`put_with`](Self::put_with).
    pub fn delete_with(&self, key: impl AsRef<[u8]>, options: &DeleteOptions) -> Result<bool> {
        #[cfg(any(feature = "metrics", feature = "top"))]
        let _sample = self.inner.sampler.measure(super::sample::Call::Delete);
        let intent = Intent {
            key: key.as_ref(),
            value: None,
            expires_at: None,
            version: options.version,
            condition: options.condition,
            exactly: None,
            never_evict: false,
        };
        let durable = options.durable || self.inner.limits.commit_to_device;
        self.inner.check_durable(durable)?;
        let written = self.inner.write(&intent)?;
        self.inner.settle(durable)?;
        Ok(written.was_live)
    }

    /// Replaces the value of `key` by what `change` makes of it, atomically: no other write of the
    /// key comes between. `change` gets `None` where the key is absent, deleted or expired; if it
    /// returns `None`, the key is deleted. Returns the new version, `None` after a delete. The
    /// store's `default_ttl` applies.
    ///
    /// `change` may run more than once, must not call the store, and may panic: nothing changes.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put).
    pub fn update(
        &self,
        key: impl AsRef<[u8]>,
        mut change: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Option<Version>> {
        let key = key.as_ref();
        let expires_at = self.inner.expiry(Expiry::Default);
        let mut patience = Patience::default();
        loop {
            // Under one pin from the reading to the publication: the entry that was read cannot
            // come to mean another record (P2).
            let guard = epoch::pin();
            let old = self.inner.live(&guard, key);
            let value = change(old.map(|view| view.value()));
            let condition = if old.is_some() { Condition::IfPresent } else { Condition::IfAbsent };
            let exactly =
                old.map(|view| self.inner.keyspace.stripes().region().location_of(view.body()));
            let value = value.as_deref();
            let (version, never_evict) = (None, false);
            let intent =
                Intent { key, value, expires_at, version, condition, exactly, never_evict };
            match self.inner.try_write(&intent) {
                Err(Refused::Because(Error::ConditionFailed)) => {}
                Err(Refused::Because(other)) => return Err(other),
                Err(Refused::NoRoom(why)) => {
                    drop(guard);
                    self.inner.wait_for_room(intent.purpose(), why, &mut patience)?;
                }
                Ok(written) => {
                    let is_put = value.is_some();
                    drop(guard);
                    self.inner.settle(self.inner.limits.commit_to_device)?;
                    return Ok(written.version.filter(|_| is_put));
                }
            }
        }
    }
}

impl Inner {
    /// Asks the processor for what puts of `keys`, a group at most, will wait for. No pin is held
    /// when it returns: a put may have to wait for room.
    #[inline]
    fn ask_for(&self, keys: impl Iterator<Item = impl AsRef<[u8]>>) {
        // A forked child does not have the memory.
        if self.check_open().is_err() {
            return;
        }
        let guard = epoch::pin();
        for (_hash, start) in self.starts(&guard, keys).iter().flatten() {
            let _likely = self.keyspace.likely_to_replace(&guard, start);
        }
    }

    /// The expiry in microseconds since 1970, by the precise clock, so that it is never early.
    #[inline]
    fn expiry(&self, expiry: Expiry) -> Option<u64> {
        let ttl = match expiry {
            Expiry::Default => self.settings.default_ttl()?,
            Expiry::After(ttl) if ttl.is_zero() => return None,
            Expiry::After(ttl) => ttl,
            Expiry::At(instant) => return Some(micros(instant)),
        };
        let ttl = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
        Some(self.clock.precise_us().saturating_add(ttl))
    }
}

/// Microseconds since 1970; an instant before that is 0, one too far is the last there is.
fn micros(instant: SystemTime) -> u64 {
    let since = instant.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
