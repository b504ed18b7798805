//! Writing: judge, reserve, fill, commit, publish.
//!
//! One loop serves put, delete and update. Each turn looks the key up and judges what is there: the
//! condition, then the version. The record is written before it is published, so a lost race for
//! the index entry costs a look-up, and a second copy of the record only if its version does not
//! win over the new rival (K-order below).
//!
//! Invariants
//! - P1  The version published is above that of the record it replaces, or wins by the total order
//!   of `format::precedence` where the caller chose the version: reads of a key never go back.
//! - P2  A judgement holds at the moment of publication: the compare-and-swap succeeds only if the
//!   entry is the one that was judged. (A location cannot have been reused in between: the writer
//!   is pinned since before it read it.)
//! - P3  A committed record that was not published is buried, once.
//!
//! An unconditional put whose rival turns out newer is done: it took effect just before its rival
//! and was overwritten. Both overlap in time, so that order is a linearization.

use super::options::{Condition, Expiry};
use super::{Inner, Store};
use crate::error::{Error, Result};
use crate::format::{Checks, Flags, Rank, RecordHead, RecordView, Seed, Shape, encode_head};
use crate::index::Place;
use crate::region::{Purpose, Reservation};
use crate::sync::epoch::{self, Guard};
use crate::unit::{KEY_BYTES_MAX, Location, RBLOCK_BYTES, Version};
use crate::upkeep::{Kind, is_live};
use crate::{DeleteOptions, PutOptions, RECORD_HEADER_BYTES_MAX};
use std::time::{SystemTime, UNIX_EPOCH};

/// What a writer wants of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intent<'a> {
    key: &'a [u8],
    /// None: a tombstone.
    value: Option<&'a [u8]>,
    expires_at: Option<u64>,
    version: Option<Version>,
    condition: Condition,
    /// The key must still be this very record: for `update`, which has read it.
    exactly: Option<Location>,
}

/// What the judgement of one turn says.
enum Verdict {
    /// Write the record with this version and publish it.
    Write(Version),
    /// Take the entry out of the index: a delete that nothing needs to remember.
    Remove,
    /// Nothing to do; this is the version that stands.
    Done(Option<Version>),
}

/// What a write did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// The version that the key has by this write; none if nothing was written.
    version: Option<Version>,
    /// A live record was there before.
    was_live: bool,
}

/// What pads a record to whole rblocks.
const ZEROS: [u8; RBLOCK_BYTES as usize] = [0; RBLOCK_BYTES as usize];

/// A record that is committed and waits for its publication (P3).
struct Pending {
    location: Location,
    rblocks: u32,
    version: Version,
}

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
    /// [`Error::OutOfSpace`], [`Error::ShadowFailed`], [`Error::Closed`], [`Error::Forked`]. In
    /// each case nothing has changed.
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
        };
        self.put_intent(&intent, options.durable || self.inner.limits.commit_to_device)
    }

    #[inline]
    fn put_intent(&self, intent: &Intent<'_>, durable: bool) -> Result<Version> {
        self.inner.check_durable(durable)?;
        let written = self.inner.write(intent)?;
        self.inner.settle(durable)?;
        // A put always leaves a version: `Done` of a put carries one.
        Ok(written.version.unwrap_or_default())
    }

    /// Puts each pair, in order, and returns their versions. Each record is atomic, the batch is
    /// not. With `commit_to_device` the batch waits once, for all.
    ///
    /// # Errors
    ///
    /// [`Error::Batch`] with what `put` said and how many were put before: those are in.
    pub fn put_many<K, V>(&self, pairs: impl IntoIterator<Item = (K, V)>) -> Result<Vec<Version>>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut versions = Vec::new();
        let batch = |done: usize, source| Error::Batch { done, source: Box::new(source) };
        for (key, value) in pairs {
            let intent = Intent {
                key: key.as_ref(),
                value: Some(value.as_ref()),
                expires_at: self.inner.expiry(Expiry::Default),
                version: None,
                condition: Condition::Always,
                exactly: None,
            };
            match self.put_intent(&intent, false) {
                Ok(version) => versions.push(version),
                Err(source) => return Err(batch(versions.len(), source)),
            }
        }
        let durable = self.inner.limits.commit_to_device && !versions.is_empty();
        self.inner.settle(durable).map_err(|source| batch(versions.len(), source))?;
        Ok(versions)
    }

    /// Deletes `key`. True: a live record was there.
    ///
    /// With a shadow a tombstone is written, so that no older copy comes back at cold start; it
    /// takes as much space as a record with an empty value. Deletes may use space that is kept
    /// back from puts: a full store can be emptied.
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
        let intent = Intent {
            key: key.as_ref(),
            value: None,
            expires_at: None,
            version: options.version,
            condition: options.condition,
            exactly: None,
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
        loop {
            // Under one pin from the reading to the publication: the entry that was read cannot
            // come to mean another record (P2).
            let guard = epoch::pin();
            let old = self.inner.live(&guard, key);
            let value = change(old.map(|view| view.value()));
            let condition = if old.is_some() { Condition::IfPresent } else { Condition::IfAbsent };
            let exactly =
                old.map(|view| self.inner.keyspace.stripes().region().location_of(view.bytes()));
            let value = value.as_deref();
            let intent = Intent { key, value, expires_at, version: None, condition, exactly };
            match self.inner.write(&intent) {
                Err(Error::ConditionFailed) => {}
                Err(other) => return Err(other),
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
    /// The expiry in microseconds since 1970, by the precise clock, so that it is never early.
    #[inline]
    fn expiry(&self, expiry: Expiry) -> Option<u64> {
        let ttl = match expiry {
            Expiry::Default => self.limits.default_ttl?,
            Expiry::After(ttl) if ttl.is_zero() => return None,
            Expiry::After(ttl) => ttl,
            Expiry::At(instant) => return Some(micros(instant)),
        };
        let ttl = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
        Some(self.clock.precise_us().saturating_add(ttl))
    }

    /// Checks what can be told without looking the key up.
    #[inline]
    fn check(&self, intent: &Intent<'_>) -> Result<()> {
        if intent.key.is_empty() {
            return Err(Error::EmptyKey);
        }
        if intent.key.len() > KEY_BYTES_MAX {
            return Err(Error::KeyTooLong);
        }
        let value_bytes = intent.value.map_or(0, <[u8]>::len);
        let size = (RECORD_HEADER_BYTES_MAX + intent.key.len() + value_bytes) as u64;
        let limit = match intent.value {
            Some(_) => self.limits.max_record_bytes,
            // A record that was let in can be deleted, whatever the limit is today.
            None => u64::from(self.keyspace.stripes().geometry().room_bytes()),
        };
        if size > limit {
            return Err(Error::RecordTooLarge { size, limit });
        }
        Ok(())
    }

    /// Writes `intent`: the loop of this file's header.
    pub(super) fn write(&self, intent: &Intent<'_>) -> Result<Written> {
        self.check(intent)?;
        let hash = self.keyspace.hash(intent.key);
        let stripe = self.stripe();
        let guard = epoch::pin();
        self.check_writable()?;
        let mut pending: Option<Pending> = None;
        let result = loop {
            let Some(place) = self.keyspace.search(&guard, hash, intent.key) else {
                break Err(Error::OutOfSpace);
            };
            let current = match &place {
                Place::Occupied(occupied) => Some(self.keyspace.view(&guard, occupied.location())),
                Place::Vacant(_) => None,
            };
            let was_live = current.is_some_and(|view| is_live(&view, || self.clock.coarse_us()));
            if let (Some(pending), Some(current)) = (&pending, &current)
                && intent.is_plain_put()
                && current.version() > pending.version
            {
                break Ok(Written { version: Some(pending.version), was_live });
            }
            if intent.exactly.is_some() && intent.exactly != current_location(&place) {
                break Err(Error::ConditionFailed);
            }
            let version = match self.judge(intent, current.as_ref(), was_live) {
                Err(refused) => break Err(refused),
                Ok(Verdict::Done(version)) => break Ok(Written { version, was_live }),
                Ok(Verdict::Remove) => {
                    if self.remove(place, stripe, current.as_ref()) {
                        break Ok(Written { version: None, was_live });
                    }
                    continue;
                }
                Ok(Verdict::Write(version)) => version,
            };
            let ready = match pending.take() {
                Some(ready) if ready.serves(intent, version, current.as_ref()) => ready,
                outdated => {
                    self.bury(outdated);
                    match self.append(&guard, stripe, intent, version) {
                        Some(ready) => ready,
                        None => break Err(Error::OutOfSpace),
                    }
                }
            };
            if self.publish(place, stripe, &ready, intent, current.as_ref()) {
                return Ok(Written { version: Some(ready.version), was_live });
            }
            pending = Some(ready);
        };
        self.bury(pending);
        result
    }

    /// What is to be done, given what is there.
    fn judge(
        &self,
        intent: &Intent<'_>,
        current: Option<&RecordView<'_>>,
        is_live: bool,
    ) -> Result<Verdict> {
        let holds = match intent.condition {
            Condition::Always => true,
            Condition::IfAbsent => !is_live,
            Condition::IfPresent => is_live,
            Condition::IfVersion(version) => {
                is_live && current.is_some_and(|current| current.version() == version)
            }
        };
        if !holds {
            return Err(Error::ConditionFailed);
        }
        if let Some(version) = intent.version {
            return Self::judge_version(intent, version, current);
        }
        if intent.value.is_none() && !is_live {
            // Absent, deleted or expired: what there is of the key is dead already.
            return Ok(Verdict::Done(None));
        }
        if intent.value.is_none() && !self.keyspace.stripes().identity().has_shadow {
            return Ok(Verdict::Remove);
        }
        let now = self.clock.coarse_us();
        let Some(current) = current else { return Ok(Verdict::Write(now.into())) };
        match u64::from(current.version()).checked_add(1) {
            Some(next) => Ok(Verdict::Write(now.max(next).into())),
            None => Err(Error::VersionConflict { current: current.version() }),
        }
    }

    /// A version of the caller's: it wins, stands already, or loses.
    fn judge_version(
        intent: &Intent<'_>,
        version: Version,
        current: Option<&RecordView<'_>>,
    ) -> Result<Verdict> {
        let Some(current) = current else { return Ok(Verdict::Write(version)) };
        let ours = Rank {
            version,
            tombstone: intent.value.is_none(),
            expires_at: intent.expires_at,
            value: intent.value.unwrap_or_default(),
        };
        match ours.cmp(&current.rank()) {
            std::cmp::Ordering::Greater => Ok(Verdict::Write(version)),
            std::cmp::Ordering::Equal => Ok(Verdict::Done(Some(version))),
            std::cmp::Ordering::Less => Err(Error::VersionConflict { current: current.version() }),
        }
    }

    /// Reserves, fills and commits a record. `None`: no space.
    fn append(
        &self,
        guard: &Guard,
        stripe: u32,
        intent: &Intent<'_>,
        version: Version,
    ) -> Option<Pending> {
        let value = intent.value.unwrap_or_default();
        let shape = Shape::new(intent.key.len(), value.len(), intent.expires_at.is_some());
        let purpose = if intent.value.is_some() { Purpose::Put } else { Purpose::Delete };
        let stripes = self.keyspace.stripes();
        let mut space = stripes.reserve(guard, stripe, shape.rblocks, purpose)?;
        let tombstone = if intent.value.is_some() { Flags::NONE } else { Flags::TOMBSTONE };
        let head = RecordHead { version, expires_at: intent.expires_at, flags: tombstone };
        self.fill(&mut space, &shape, &head, (intent.key, value));
        let location = space.commit();
        Some(Pending { location, rblocks: shape.rblocks, version })
    }

    #[inline]
    fn fill(
        &self,
        space: &mut Reservation<'_>,
        shape: &Shape,
        head: &RecordHead,
        (key, value): (&[u8], &[u8]),
    ) {
        let identity = self.keyspace.stripes().identity();
        let checks = if identity.has_shadow {
            let seed = Seed::new(identity.store_key, space.location(), space.word());
            Checks::compute(seed, head, shape, key, value)
        } else {
            Checks::NONE
        };
        let (bytes, used) = encode_head(shape, head, checks);
        let value_at = shape.header_bytes + key.len();
        space.fill(8, bytes.get(8..used).unwrap_or_default());
        space.fill(shape.header_bytes, key);
        space.fill(value_at, value);
        space.fill(value_at + value.len(), ZEROS.get(..shape.pad).unwrap_or_default());
    }

    /// Swaps the committed record in. False: the entry has changed since it was judged (P2).
    fn publish(
        &self,
        place: Place<'_>,
        stripe: u32,
        ready: &Pending,
        intent: &Intent<'_>,
        current: Option<&RecordView<'_>>,
    ) -> bool {
        let published = match place {
            Place::Vacant(vacant) => vacant.insert(ready.location).is_ok(),
            Place::Occupied(occupied) => {
                let old = occupied.location();
                let replaced = occupied.replace(ready.location).is_ok();
                if replaced && let Some(current) = current {
                    self.keyspace.bury(old, current.rblocks());
                }
                replaced
            }
        };
        if published {
            let after = if intent.value.is_some() { Kind::Value } else { Kind::Tombstone };
            self.keyspace.count(stripe, Kind::of(current), after);
        }
        published
    }

    /// Takes the entry out of the index. False: it has changed since it was judged (P2).
    fn remove(&self, place: Place<'_>, stripe: u32, current: Option<&RecordView<'_>>) -> bool {
        let Place::Occupied(occupied) = place else { return true };
        let old = occupied.location();
        let removed = occupied.remove().is_ok();
        if removed && let Some(current) = current {
            self.keyspace.bury(old, current.rblocks());
            self.keyspace.count(stripe, Kind::of(Some(current)), Kind::Absent);
        }
        removed
    }

    /// Gives up a record that was committed and will not be published (P3).
    fn bury(&self, pending: Option<Pending>) {
        if let Some(pending) = pending {
            self.keyspace.bury(pending.location, pending.rblocks);
        }
    }
}

impl Intent<'_> {
    fn is_plain_put(&self) -> bool {
        self.value.is_some() && self.version.is_none() && self.condition == Condition::Always
    }
}

impl Pending {
    /// True if this record may still be published: P1 holds over `current`.
    fn serves(
        &self,
        intent: &Intent<'_>,
        version: Version,
        current: Option<&RecordView<'_>>,
    ) -> bool {
        match intent.version {
            Some(_) => self.version == version,
            None => current.is_none_or(|current| self.version > current.version()),
        }
    }
}

fn current_location(place: &Place<'_>) -> Option<Location> {
    match place {
        Place::Occupied(occupied) => Some(occupied.location()),
        Place::Vacant(_) => None,
    }
}

/// Microseconds since 1970; an instant before that is 0, one too far is the last there is.
fn micros(instant: SystemTime) -> u64 {
    let since = instant.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
