//! The live records of a shadow, without an index: two readings and a compact table between them.
//!
//! The first reading notes of each key the place of its winner, by the order that the engine's
//! cold start follows; the second lends the records that won and are live. In between there is an
//! entry of 32 bytes for each key in a table that doubles: 40 to 70 bytes a key.
//!
//! Invariants
//! - L1  A key whose winner is a tombstone, has expired, or is lost (a record whose key verifies
//!   and whose value does not, and which was durable) is not lent, nor is an older copy of it.
//! - L2  Keys are told apart by 128 bits that depend on a secret of this process: no shadow can be
//!   made so that one key hides another.
//!
//! A store that is live moves records: what was noted and is not found again is counted, not
//! guessed.

use crate::error::Failure;
use crate::output::warn;
use crate::progress::Progress;
use crate::shadow::{Member, Shadow};
use crate::wblock::{Reader, Walked, Wblock, counts, read_record};
use brindle::format::{Location, Rank, RecordView, Version};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

/// The time by which records have expired: now, but never below a floor of the store.
pub(crate) fn now_us(floor_us: u64) -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX).max(floor_us)
}

/// True for a record that the store would return at `now_us`.
pub(crate) fn is_live(view: &RecordView<'_>, now_us: u64) -> bool {
    !view.is_tombstone() && view.expires_at().is_none_or(|expires| now_us <= expires)
}

/// What a reading of all wblocks met besides records.
#[derive(Debug, Default)]
pub(crate) struct Met {
    /// Places that were durable once and cannot be read.
    damaged: u64,
    /// The latest instant at which a wblock was opened.
    pub(crate) opened_at: u64,
}

/// Reads every wblock of `shadow`, and hands on each that was walked.
pub(crate) fn walk_all(
    shadow: &Shadow,
    progress: &Progress,
    mut wants: impl FnMut(&Member, u32) -> bool,
    mut on_walked: impl FnMut(&Walked<'_>) -> Result<ControlFlow<()>, Failure>,
) -> Result<Met, Failure> {
    let mut met = Met::default();
    let mut reader = Reader::default();
    for member in &shadow.members {
        for place in member.places().filter(|place| wants(member, *place)) {
            let flow = match reader.load(member, place) {
                Wblock::Free | Wblock::Struck | Wblock::Missing => ControlFlow::Continue(()),
                Wblock::Foreign(_) | Wblock::Damaged | Wblock::Refused(_) => {
                    met.damaged += 1;
                    ControlFlow::Continue(())
                }
                Wblock::Read(walked) => {
                    met.add(&walked);
                    on_walked(&walked)?
                }
            };
            if flow.is_break() {
                return Ok(met);
            }
            progress.add(member.superblock.geometry.wblock_bytes.into());
        }
    }
    Ok(met)
}

impl Met {
    fn add(&mut self, walked: &Walked<'_>) {
        let damage = walked.scan.damage.iter();
        self.damaged += damage.filter(|damage| counts(damage)).count() as u64;
        self.opened_at = self.opened_at.max(walked.header.opened_at);
    }
}

/// Tells a person that what was read is not all that was written.
pub(crate) fn warn_of(shadow: &Shadow, met: &Met) {
    for oddity in &shadow.oddities {
        warn(format_args!("{} {}", oddity.path.display(), oddity.what));
    }
    if met.damaged > 0 {
        warn(format_args!("{} damaged places: `brindle verify` lists them", met.damaged));
    }
}

/// The winner of one key.
#[derive(Clone, Copy, Debug)]
struct Winner {
    /// The first part of its rank.
    reach: Version,
    /// Its location, and `DEAD` for a tombstone or a lost record.
    place: u64,
}

/// Above every location (40 bits).
const DEAD: u64 = 1 << 63;

impl Winner {
    const fn location(self) -> Location {
        Location(self.place & !DEAD)
    }

    const fn is_dead(self) -> bool {
        self.place & DEAD != 0
    }
}

type Digest = [u64; 2];

/// The winner of each key.
struct Winners<'s> {
    shadow: &'s Shadow,
    states: [RandomState; 2],
    table: HashMap<Digest, Winner, BuildHasherDefault<FirstWord>>,
    rival: Vec<u8>,
}

impl<'s> Winners<'s> {
    fn new(shadow: &'s Shadow) -> Self {
        let states = [RandomState::new(), RandomState::new()];
        Self { shadow, states, table: HashMap::default(), rival: Vec::new() }
    }

    fn digest(&self, key: &[u8]) -> Digest {
        self.states.each_ref().map(|state| state.hash_one(key))
    }

    /// Lets the record at `location` compete. `is_lost`: as the tombstone that cold start makes of
    /// a record whose value is lost.
    fn offer(
        &mut self,
        location: Location,
        view: &RecordView<'_>,
        is_lost: bool,
    ) -> Result<(), Failure> {
        let is_dead = is_lost || view.is_tombstone();
        let place = location.0 | if is_dead { DEAD } else { 0 };
        let ours = Winner { reach: view.rank().reach(), place };
        let keys = self.table.len();
        self.table.try_reserve(1).map_err(|_| Failure::Memory { keys })?;
        match self.table.entry(self.states.each_ref().map(|state| state.hash_one(view.key()))) {
            Entry::Vacant(vacant) => {
                vacant.insert(ours);
            }
            Entry::Occupied(mut occupied) => {
                let theirs = *occupied.get();
                let wins = if theirs.reach == ours.reach {
                    let rank = Rank { tombstone: is_dead, ..view.rank() };
                    wins_tie(self.shadow, &mut self.rival, &rank, theirs)?
                } else {
                    ours.reach > theirs.reach
                };
                if wins {
                    occupied.insert(ours);
                }
            }
        }
        Ok(())
    }

    /// Which wblocks hold a winner that may be live.
    fn wblocks(&self) -> Vec<bool> {
        let geometry = self.shadow.members.first().map(|member| member.superblock.geometry);
        let Some(geometry) = geometry else { return Vec::new() };
        let mut wanted = vec![false; geometry.wblocks() as usize];
        for winner in self.table.values().filter(|winner| !winner.is_dead()) {
            let wblock = geometry.wblock(winner.location());
            if let Some(wanted) = wanted.get_mut(wblock.0 as usize) {
                *wanted = true;
            }
        }
        wanted
    }

    fn is_winner(&self, location: Location, view: &RecordView<'_>) -> bool {
        self.table
            .get(&self.digest(view.key()))
            .is_some_and(|winner| winner.place == location.0 && winner.reach == view.rank().reach())
    }
}

/// Two records of one key and reach: reads the other one, and compares all of it.
fn wins_tie(
    shadow: &Shadow,
    rival: &mut Vec<u8>,
    ours: &Rank<'_>,
    theirs: Winner,
) -> Result<bool, Failure> {
    let Some((member, offset)) = shadow.place_of(theirs.location()) else { return Ok(true) };
    let view = read_record(member, offset, rival)?;
    let rank = view.map(|view| Rank { tombstone: theirs.is_dead(), ..view.rank() });
    Ok(rank.is_none_or(|rank| *ours > rank))
}

/// Takes the first word of a digest, which is random already.
#[derive(Debug, Default)]
struct FirstWord(Option<u64>);

impl Hasher for FirstWord {
    fn finish(&self) -> u64 {
        self.0.unwrap_or_default()
    }

    fn write(&mut self, bytes: &[u8]) {
        let word = bytes.first_chunk().copied().map(u64::from_ne_bytes);
        self.0 = self.0.or(word);
    }

    fn write_usize(&mut self, _length: usize) {}

    fn write_u64(&mut self, word: u64) {
        self.0 = self.0.or(Some(word));
    }
}

/// Lends every live record whose key starts with `prefix`, in the order of the shadow, until
/// `lend` says stop.
pub(crate) fn for_each_live(
    shadow: &Shadow,
    prefix: &[u8],
    shows_data: bool,
    mut lend: impl FnMut(&RecordView<'_>) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let mut winners = Winners::new(shadow);
    let progress = Progress::new("reading", Some(shadow.wblock_bytes_total()));
    let met = walk_all(
        shadow,
        &progress,
        |_, _| true,
        |walked| {
            for (location, view) in
                walked.records().filter(|(_, view)| view.key().starts_with(prefix))
            {
                winners.offer(location, &view, false)?;
            }
            for (location, view) in walked.lost().filter(|(_, view)| view.key().starts_with(prefix))
            {
                winners.offer(location, &view, true)?;
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    drop(progress);
    warn_of(shadow, &met);
    let now_us = now_us(shadow.clock_floor().max(met.opened_at));
    let wanted = winners.wblocks();
    let wants = |member: &Member, place| {
        wanted.get(member.wblock_at(place).0 as usize).copied().unwrap_or_default()
    };
    let mut left = winners.table.values().filter(|winner| !winner.is_dead()).count();
    let mut is_stopped = false;
    let total = wanted.iter().filter(|wanted| **wanted).count() as u64;
    let wblock_bytes =
        shadow.members.first().map_or(0, |member| member.superblock.geometry.wblock_bytes);
    // Where the terminal shows the data, a bar would be drawn into it.
    let progress = if shows_data {
        Progress::none()
    } else {
        Progress::new("writing", Some(total * u64::from(wblock_bytes)))
    };
    walk_all(shadow, &progress, wants, |walked| {
        for (location, view) in walked.records() {
            if !winners.is_winner(location, &view) {
                continue;
            }
            left -= 1;
            if is_live(&view, now_us) && lend(&view)?.is_break() {
                is_stopped = true;
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if left > 0 && !is_stopped {
        warn(format_args!(
            "{left} keys were moved while they were read, by a live store: run again"
        ));
    }
    Ok(())
}

/// The live record of one key, copied.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) value: Vec<u8>,
    pub(crate) version: u64,
    over: Option<Version>,
    pub(crate) expires_at: Option<u64>,
}

/// The live record of `key`: one reading of everything, and no table.
pub(crate) fn find(shadow: &Shadow, key: &[u8]) -> Result<Option<Found>, Failure> {
    let mut best: Option<(Found, bool)> = None;
    let mut offer = |view: &RecordView<'_>, is_lost: bool| {
        let ours = Rank { tombstone: is_lost || view.is_tombstone(), ..view.rank() };
        let theirs = best.as_ref().map(|(found, is_dead)| Rank {
            version: found.version.into(),
            over: found.over,
            tombstone: *is_dead,
            expires_at: found.expires_at,
            value: &found.value,
        });
        if theirs.is_none_or(|theirs| ours > theirs) {
            let Rank { version, over, tombstone, expires_at, value } = ours;
            let (value, version) = (value.to_vec(), version.into());
            best = Some((Found { value, version, over, expires_at }, tombstone));
        }
    };
    let progress = Progress::new("reading", Some(shadow.wblock_bytes_total()));
    let met = walk_all(
        shadow,
        &progress,
        |_, _| true,
        |walked| {
            walked
                .records()
                .filter(|(_, view)| view.key() == key)
                .for_each(|(_, view)| offer(&view, false));
            walked
                .lost()
                .filter(|(_, view)| view.key() == key)
                .for_each(|(_, view)| offer(&view, true));
            Ok(ControlFlow::Continue(()))
        },
    )?;
    drop(progress);
    warn_of(shadow, &met);
    let now_us = now_us(shadow.clock_floor().max(met.opened_at));
    let is_live = |(found, is_dead): &(Found, bool)| {
        !is_dead && found.expires_at.is_none_or(|expires| now_us <= expires)
    };
    Ok(best.filter(is_live).map(|(found, _)| found))
}
