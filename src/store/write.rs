//! The one loop behind put, delete and update: look up, judge, append, publish.
//!
//! Each turn looks the key up and judges what is there: the condition, then the version. The record
//! is written before it is published, so a lost race for the index entry costs a look-up, and a
//! second copy of the record only if its version does not win over the new rival.
//!
//! Invariants
//! - P1  The version published is above that of the record it replaces, or wins by the total order
//!   of `format::precedence` where the caller chose the version: reads of a key never go back.
//! - P2  A judgement holds at the moment of publication: the compare-and-swap succeeds only if the
//!   entry is the one that was judged. (A location cannot have been reused in between: the writer
//!   is pinned since before it read it.)
//! - P3  A record is filled and shown, then published, then committed: what is not published, an
//!   update that must be judged anew for instance, becomes padding, and cannot win at the next cold
//!   start over what stood.
//! - P4  A record that is published over an entry says so (`HEIR`), and so does one whose key was
//!   deleted with a version (`GRACE`): its end leaves a tombstone. One that is published where
//!   there is no entry, with a version that a dropped tombstone may have had, says up to where
//!   older copies do not count (`over`). What was written for another entry is written anew.
//! - P5  Who waits for room holds no pin.
//!
//! An unconditional put whose rival turns out newer is not done, although it could be said to have
//! taken effect just before its rival: a third write in between may bear the very version that it
//! would answer, and no two writes of a key may (invariant 2 of the store).
#![forbid(unsafe_code)]

use super::Inner;
use super::options::Condition;
use super::wait::Patience;
use crate::error::{Error, Result};
use crate::format::{Flags, RECORD_HEADER_BYTES_MAX, Rank, RecordHead, RecordView, Shape};
use crate::index::{Hash, Place};
use crate::region::{NoRoom, Purpose, Reservation};
use crate::sync::epoch::{self, Guard};
use crate::unit::{KEY_BYTES_MAX, Location, Version};
use crate::upkeep::{Kind, is_live};

/// What a writer wants of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intent<'a> {
    pub(super) key: &'a [u8],
    /// None: a tombstone.
    pub(super) value: Option<&'a [u8]>,
    pub(super) expires_at: Option<u64>,
    pub(super) version: Option<Version>,
    pub(super) condition: Condition,
    /// The key must still be this very record: for `update`, which has read it.
    pub(super) exactly: Option<Location>,
    /// Eviction passes the record over.
    pub(super) never_evict: bool,
}

/// Why a write has not been done.
pub(super) enum Refused {
    /// For good.
    Because(Error),
    /// There was no room: wait, without a pin (P5), and try again.
    NoRoom(NoRoom),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Because(error)
    }
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
    pub(super) version: Option<Version>,
    /// A live record was there before.
    pub(super) was_live: bool,
}

/// A record that is shown and waits for its publication (P3).
struct Pending<'g> {
    space: Reservation<'g>,
    head: RecordHead,
}

/// What one turn of the loop found.
struct Found<'g> {
    place: Place<'g>,
    current: Option<RecordView<'g>>,
    is_live: bool,
}

/// Where a writer is: its pin and the stripe that it writes to.
struct Site<'g> {
    guard: &'g Guard,
    stripe: u32,
    hash: Hash,
}

/// How one turn of the loop ended.
enum Turn {
    Over(Written),
    /// The entry has changed since it was judged: look again.
    Again,
}

impl Inner {
    /// Checks what can be told without looking the key up.
    #[inline]
    fn check(&self, intent: &Intent<'_>) -> Result<()> {
        if intent.key.is_empty() {
            return Err(Error::EmptyKey);
        }
        if intent.key.len() > KEY_BYTES_MAX {
            return Err(Error::KeyTooLong);
        }
        // A record that was let in can be deleted, whatever the limit is today.
        intent.value.map_or(Ok(()), |_| fits(intent, self.limits.max_record_bytes))
    }

    /// Writes `intent`; waits for room if need be.
    #[inline]
    pub(super) fn write(&self, intent: &Intent<'_>) -> Result<Written> {
        match self.try_write(intent) {
            Ok(written) => Ok(written),
            Err(Refused::Because(error)) => Err(error),
            Err(Refused::NoRoom(why)) => self.write_patiently(intent, why),
        }
    }

    #[cold]
    fn write_patiently(&self, intent: &Intent<'_>, mut why: NoRoom) -> Result<Written> {
        let mut patience = Patience::default();
        loop {
            self.wait_for_room(intent.purpose(), why, &mut patience)?;
            match self.try_write(intent) {
                Ok(written) => return Ok(written),
                Err(Refused::Because(error)) => return Err(error),
                Err(Refused::NoRoom(again)) => why = again,
            }
        }
    }

    /// One attempt: the loop of this file's header.
    pub(super) fn try_write(&self, intent: &Intent<'_>) -> Result<Written, Refused> {
        self.check(intent)?;
        let guard = epoch::pin();
        self.check_writable()?;
        if intent.value.is_some() {
            self.check_room_for_puts()?;
        }
        let hash = self.keyspace.hash(intent.key);
        let site = Site { guard: &guard, stripe: self.stripe(), hash };
        let mut pending = None;
        let result = loop {
            let found = if intent.is_plain_delete() {
                match self.keyspace.search_present(&guard, hash, intent.key) {
                    // An absent key needs no entry: its delete must not make the index grow.
                    Ok(None) => {
                        let judged = self.judge(intent, None, false);
                        break judged.map(|_nothing| Written::NOTHING).map_err(Refused::from);
                    }
                    found => found.ok().flatten(),
                }
            } else {
                self.keyspace.search(&guard, hash, intent.key)
            };
            let Some((place, current)) = found else { break Err(Error::OutOfSpace.into()) };
            let is_live = current.is_some_and(|view| is_live(&view, || self.clock.coarse_us()));
            match self.turn(&site, intent, &Found { place, current, is_live }, &mut pending) {
                Ok(Turn::Over(written)) => break Ok(written),
                Ok(Turn::Again) => {}
                Err(refused) => break Err(refused),
            }
        };
        // P3: what was published is no longer pending.
        drop(pending);
        result
    }

    /// One turn: judges what was found, and publishes.
    #[inline]
    fn turn<'g>(
        &'g self,
        site: &Site<'g>,
        intent: &Intent<'_>,
        found: &Found<'_>,
        pending: &mut Option<Pending<'g>>,
    ) -> Result<Turn, Refused> {
        let was_live = found.is_live;
        if intent.exactly.is_some() && intent.exactly != location(&found.place) {
            return Err(Error::ConditionFailed.into());
        }
        let version = match self.judge(intent, found.current.as_ref(), was_live)? {
            Verdict::Done(version) => return Ok(Turn::Over(Written { version, was_live })),
            Verdict::Remove if self.remove(site, found) => {
                return Ok(Turn::Over(Written { version: None, was_live }));
            }
            Verdict::Remove => return Ok(Turn::Again),
            Verdict::Write(version) => version,
        };
        let ready = match pending.take() {
            Some(ready) if self.serves(&ready, intent, version, found.current.as_ref()) => ready,
            outdated => {
                drop(outdated);
                let head = self.head(intent, version, found.current.as_ref());
                self.append(site, intent, head, location(&found.place)).map_err(Refused::NoRoom)?
            }
        };
        if self.publish(site, &ready, intent, found) {
            let Pending { space, head } = ready;
            let location = space.commit();
            if let Some(expires_at) = head.expires_at {
                self.keyspace.expires(location, expires_at);
            }
            return Ok(Turn::Over(Written { version: Some(head.version), was_live }));
        }
        *pending = Some(ready);
        Ok(Turn::Again)
    }

    /// What is to be done, given what is there.
    fn judge(
        &self,
        intent: &Intent<'_>,
        current: Option<&RecordView<'_>>,
        is_live: bool,
    ) -> Result<Verdict> {
        let verdict = self.judge_condition(intent, current, is_live)?;
        if intent.value.is_none() && matches!(verdict, Verdict::Write(_)) {
            // Only a version makes a delete write where no wblock could ever have held the key.
            fits(intent, u64::from(self.keyspace.stripes().geometry().room_bytes()))?;
        }
        Ok(verdict)
    }

    fn judge_condition(
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
        let must_remember = current.is_some_and(|current| current.flags().contains(Flags::GRACE));
        if intent.value.is_none() && !self.has_shadow() && !must_remember {
            return Ok(Verdict::Remove);
        }
        let current = current.map(RecordView::version);
        let next = Version::next(current, self.clock.coarse_us());
        let conflict = || Error::VersionConflict { current: current.unwrap_or_default() };
        next.map(Verdict::Write).ok_or_else(conflict)
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
            over: current.over().filter(|over| version <= *over),
            tombstone: intent.value.is_none(),
            expires_at: intent.expires_at,
            value: intent.value.unwrap_or_default(),
        };
        match ours.cmp(&current.rank()) {
            std::cmp::Ordering::Greater => Ok(Verdict::Write(version)),
            // A tombstone that nobody asked to be remembered, and now somebody does.
            std::cmp::Ordering::Equal
                if intent.value.is_none() && !current.flags().contains(Flags::GRACE) =>
            {
                Ok(Verdict::Write(version))
            }
            std::cmp::Ordering::Equal => Ok(Verdict::Done(Some(version))),
            std::cmp::Ordering::Less => Err(Error::VersionConflict { current: current.version() }),
        }
    }

    /// What the record says besides key and value, given what it replaces (P4).
    #[inline]
    pub(super) fn head(
        &self,
        intent: &Intent<'_>,
        version: Version,
        current: Option<&RecordView<'_>>,
    ) -> RecordHead {
        let mut flags = if intent.value.is_some() { Flags::NONE } else { Flags::TOMBSTONE };
        if intent.never_evict {
            flags = flags | Flags::NEVER_EVICT;
        }
        if intent.value.is_none() && intent.version.is_some() {
            flags = flags | Flags::GRACE;
        }
        let over = match current {
            Some(current) => {
                let heir = if self.has_shadow() { Flags::HEIR } else { Flags::NONE };
                flags = flags | heir | (current.flags() & Flags::GRACE);
                current.over().filter(|over| version <= *over)
            }
            None if self.has_shadow() => {
                self.keyspace.forgotten().filter(|forgotten| version <= *forgotten)
            }
            None => None,
        };
        RecordHead { version, expires_at: intent.expires_at, over, flags }
    }

    /// True if the record that is ready may still be published: P1 and P4 hold over `current`.
    fn serves(
        &self,
        ready: &Pending<'_>,
        intent: &Intent<'_>,
        version: Version,
        current: Option<&RecordView<'_>>,
    ) -> bool {
        let wins = match intent.version {
            Some(_) => ready.head.version == version,
            None => current.is_none_or(|current| ready.head.version > current.version()),
        };
        wins && ready.head == self.head(intent, ready.head.version, current)
    }

    /// Reserves, fills and shows a record.
    #[inline]
    fn append<'g>(
        &'g self,
        site: &Site<'g>,
        intent: &Intent<'_>,
        head: RecordHead,
        old: Option<Location>,
    ) -> Result<Pending<'g>, NoRoom> {
        let value = intent.value.unwrap_or_default();
        let shape = Shape::of(intent.key.len(), value.len(), &head);
        let stripes = self.keyspace.stripes();
        let mut space = if intent.value.is_some() {
            let lane = stripes.lane_for_put(site.stripe, old);
            match stripes.reserve(site.guard, lane, shape.rblocks, Purpose::Put) {
                Ok(space) => space,
                Err(why) => self.reserve_elsewhere(site, shape.rblocks, (lane, why))?,
            }
        } else {
            self.reserve_for_delete(site, shape.rblocks)?
        };
        self.keyspace.fill(&mut space, &shape, &head, (intent.key, value));
        space.show();
        Ok(Pending { space, head })
    }

    /// A put that found no room in `full`, its lane, goes to the normal one of its stripe if that
    /// has room in what it has open; and if no wblock is to be had, to any.
    #[cold]
    fn reserve_elsewhere<'g>(
        &'g self,
        site: &Site<'g>,
        rblocks: u32,
        (full, why): (u32, NoRoom),
    ) -> Result<Reservation<'g>, NoRoom> {
        let stripes = self.keyspace.stripes();
        let others = if why == NoRoom::Space { stripes.lanes() } else { 0 };
        std::iter::once(site.stripe)
            .chain(0..others)
            .filter(|lane| *lane != full && stripes.has_rest(*lane, rblocks))
            .find_map(|lane| stripes.reserve(site.guard, lane, rblocks, Purpose::Put).ok())
            .ok_or(why)
    }

    /// A delete takes the room that there is, of whatever stripe: few wblocks are kept for deletes.
    /// If there is none, also behind what was moved, as long as moves have all that is kept for
    /// them.
    fn reserve_for_delete<'g>(
        &'g self,
        site: &Site<'g>,
        rblocks: u32,
    ) -> Result<Reservation<'g>, NoRoom> {
        let stripes = self.keyspace.stripes();
        let count = stripes.geometry().stripes;
        let mut last = NoRoom::Space;
        let own = (0..count).map(|step| (site.stripe + step) % count);
        let others = (count..stripes.lanes())
            .filter(|lane| stripes.has_all_for_moves() && stripes.has_rest(*lane, rblocks));
        for lane in own.chain(others) {
            match stripes.reserve(site.guard, lane, rblocks, Purpose::Delete) {
                Ok(space) => return Ok(space),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    /// Swaps the committed record in. False: the entry has changed since it was judged (P2).
    #[inline]
    fn publish(
        &self,
        site: &Site<'_>,
        ready: &Pending<'_>,
        intent: &Intent<'_>,
        found: &Found<'_>,
    ) -> bool {
        let published = match &found.place {
            Place::Vacant(vacant) => {
                self.keyspace.insert(vacant, site.hash, ready.space.location())
            }
            Place::Occupied(occupied) => occupied.replace(ready.space.location()),
        };
        if published.is_err() {
            return false;
        }
        let after = if intent.value.is_some() { Kind::Value } else { Kind::Tombstone };
        self.succeed(site, found, after);
        true
    }

    /// Takes the entry out of the index. False: it has changed since it was judged (P2).
    fn remove(&self, site: &Site<'_>, found: &Found<'_>) -> bool {
        let Place::Occupied(occupied) = &found.place else { return true };
        let removed = occupied.remove().is_ok();
        if removed {
            self.succeed(site, found, Kind::Absent);
        }
        removed
    }

    /// After a publication: buries the record that was replaced, and counts.
    #[inline]
    fn succeed(&self, site: &Site<'_>, found: &Found<'_>, after: Kind) {
        if let (Some(old), Some(current)) = (location(&found.place), &found.current) {
            self.keyspace.bury(old, current.rblocks());
        }
        self.keyspace.count(site.stripe, Kind::of(found.current.as_ref()), after);
    }
}

impl Written {
    const NOTHING: Self = Self { version: None, was_live: false };
}

impl Intent<'_> {
    /// What it asks space for.
    pub(super) fn purpose(&self) -> Purpose {
        if self.value.is_some() { Purpose::Put } else { Purpose::Delete }
    }

    /// A put that nothing but a want of room can refuse.
    #[inline]
    pub(super) fn is_certain(&self) -> bool {
        self.value.is_some()
            && self.version.is_none()
            && self.exactly.is_none()
            && self.condition == Condition::Always
    }

    fn is_plain_delete(&self) -> bool {
        self.value.is_none() && self.version.is_none()
    }
}

/// Whether the record would be within `limit` bytes.
#[inline]
pub(super) fn fits(intent: &Intent<'_>, limit: u64) -> Result<()> {
    let value_bytes = intent.value.map_or(0, <[u8]>::len);
    let size = (RECORD_HEADER_BYTES_MAX + intent.key.len() + value_bytes) as u64;
    if size > limit { Err(Error::RecordTooLarge { size, limit }) } else { Ok(()) }
}

fn location(place: &Place<'_>) -> Option<Location> {
    match place {
        Place::Occupied(occupied) => Some(occupied.location()),
        Place::Vacant(_) => None,
    }
}
