//! Which record of each key wins, by the order that the engine's cold start follows.
//!
//! An entry of 32 bytes for each key, in a table that doubles: 40 to 70 bytes a key.
//!
//! Invariants
//! - K1  Keys are told apart by 128 bits that depend on a secret of this process: no shadow can be
//!   made so that one key hides another.

use crate::error::Failure;
use crate::live::{Met, is_live, walk_all};
use crate::progress::Progress;
use crate::shadow::Shadow;
use crate::wblock::{Walked, read_record};
use brindle::format::{Location, Rank, RecordView, Version};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::ops::ControlFlow;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What is noted of each key, in 20 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// Rblocks of the winner.
    Rblocks,
    /// Copies that were met, the winner included.
    Copies,
    /// Bits of a digest of value and expiry.
    Digest,
}

/// The winner of one key.
///
/// | bits   | of `word`                                   |
/// |--------|---------------------------------------------|
/// | 39..0  | its location                                |
/// | 59..40 | what is noted                               |
/// | 60     | `TOMBSTONE`                                 |
/// | 61     | `LOST`: its value does not verify           |
/// | 62     | `EXPIRED`: by the clock of the first reading |
#[derive(Clone, Copy, Debug)]
pub(crate) struct Winner {
    /// The first part of its rank.
    pub(crate) reach: Version,
    word: u64,
}

const LOCATION_BITS: u32 = 40;
const NOTE_MAX: u64 = (1 << 20) - 1;
const TOMBSTONE: u64 = 1 << 60;
const LOST: u64 = 1 << 61;
const EXPIRED: u64 = 1 << 62;

impl Winner {
    pub(crate) const fn location(self) -> Location {
        Location(self.word & ((1 << LOCATION_BITS) - 1))
    }

    /// What was noted, as [`Note`] says.
    pub(crate) const fn noted(self) -> u64 {
        (self.word >> LOCATION_BITS) & NOTE_MAX
    }

    pub(crate) const fn is_tombstone(self) -> bool {
        self.word & TOMBSTONE != 0
    }

    /// Its value is damaged: the key reads as absent.
    pub(crate) const fn is_lost(self) -> bool {
        self.word & LOST != 0
    }

    pub(crate) const fn is_expired(self) -> bool {
        self.word & EXPIRED != 0
    }

    /// Nothing of the key is read.
    const fn is_dead(self) -> bool {
        self.word & (TOMBSTONE | LOST) != 0
    }
}

pub(crate) type Digest = [u64; 2];

/// The secret of a table.
pub(crate) type Secret = [RandomState; 2];

/// The winner of each key.
pub(crate) struct Winners<'s> {
    shadow: &'s Shadow,
    secret: Secret,
    note: Note,
    now_us: u64,
    table: HashMap<Digest, Winner, BuildHasherDefault<FirstWord>>,
    rival: Vec<u8>,
}

impl<'s> Winners<'s> {
    pub(crate) fn new(shadow: &'s Shadow, note: Note) -> Self {
        Self::with_secret(shadow, note, [RandomState::new(), RandomState::new()])
    }

    /// With the secret of another table, so that their digests can be compared.
    pub(crate) fn with_secret(shadow: &'s Shadow, note: Note, secret: Secret) -> Self {
        let now_us = crate::live::now_us(shadow.clock_floor());
        Self { shadow, secret, note, now_us, table: HashMap::default(), rival: Vec::new() }
    }

    pub(crate) fn secret(&self) -> Secret {
        self.secret.clone()
    }

    /// Reads all of `shadow`, and lets each record compete whose key starts with `prefix`.
    pub(crate) fn gather(
        &mut self,
        shadow: &Shadow,
        prefix: &[u8],
        progress: &Progress,
    ) -> Result<Met, Failure> {
        let is_wanted = |view: &RecordView<'_>| view.key().starts_with(prefix);
        walk_all(
            shadow,
            progress,
            |_, _| true,
            |walked| {
                for (location, view) in walked.records().filter(|(_, view)| is_wanted(view)) {
                    self.offer(location, &view, false)?;
                }
                for (location, view) in walked.lost().filter(|(_, view)| is_wanted(view)) {
                    self.offer(location, &view, true)?;
                }
                Ok(ControlFlow::Continue(()))
            },
        )
    }

    /// Lets every record of a wblock compete.
    pub(crate) fn take(&mut self, walked: &Walked<'_>) -> Result<(), Failure> {
        walked.records().try_for_each(|(location, view)| self.offer(location, &view, false))?;
        walked.lost().try_for_each(|(location, view)| self.offer(location, &view, true))
    }

    /// Lets every record of a wblock compete as one whose key is lost, should it win.
    pub(crate) fn take_as_lost(&mut self, walked: &Walked<'_>) -> Result<(), Failure> {
        walked.records().try_for_each(|(location, view)| self.offer(location, &view, true))
    }

    /// Lets every record of a wblock compete that is whole: of a lost one an older copy counts.
    pub(crate) fn take_whole(&mut self, walked: &Walked<'_>) -> Result<(), Failure> {
        walked.records().try_for_each(|(location, view)| self.offer(location, &view, false))
    }

    pub(crate) fn digest(&self, key: &[u8]) -> Digest {
        self.secret.each_ref().map(|state| state.hash_one(key))
    }

    /// Lets the record at `location` compete. `is_lost`: as the tombstone that cold start makes of
    /// a record whose value is lost.
    fn offer(
        &mut self,
        location: Location,
        view: &RecordView<'_>,
        is_lost: bool,
    ) -> Result<(), Failure> {
        let ours = self.winner_of(location, view, is_lost);
        let keys = self.table.len();
        self.table.try_reserve(1).map_err(|_| Failure::Memory { keys })?;
        match self.table.entry(self.secret.each_ref().map(|state| state.hash_one(view.key()))) {
            Entry::Vacant(vacant) => {
                vacant.insert(ours);
            }
            Entry::Occupied(mut occupied) => {
                let theirs = *occupied.get();
                let wins = if theirs.reach == ours.reach {
                    let rank = Rank { tombstone: ours.is_dead(), ..view.rank() };
                    wins_tie(self.shadow, &mut self.rival, &rank, theirs)?
                } else {
                    ours.reach > theirs.reach
                };
                let mut kept = if wins { ours } else { theirs };
                if self.note == Note::Copies {
                    let copies = (theirs.noted() + 1).min(NOTE_MAX);
                    kept.word = kept.word & !(NOTE_MAX << LOCATION_BITS) | copies << LOCATION_BITS;
                }
                occupied.insert(kept);
            }
        }
        Ok(())
    }

    fn winner_of(&self, location: Location, view: &RecordView<'_>, is_lost: bool) -> Winner {
        let noted = match self.note {
            Note::Rblocks => view.rblocks().into(),
            Note::Copies => 1,
            Note::Digest => xxh3_64_with_seed(view.value(), view.expires_at().unwrap_or_default()),
        };
        let flag = |is_set: bool, flag| if is_set { flag } else { 0 };
        let is_expired = !view.is_tombstone() && !is_live(view, self.now_us);
        let word = location.0
            | (noted & NOTE_MAX) << LOCATION_BITS
            | flag(view.is_tombstone(), TOMBSTONE)
            | flag(is_lost, LOST)
            | flag(is_expired, EXPIRED);
        Winner { reach: view.rank().reach(), word }
    }

    /// Which wblocks hold a winner that may be live.
    pub(crate) fn wblocks(&self) -> Vec<bool> {
        let geometry = self.shadow.members.first().map(|member| member.superblock.geometry);
        let Some(geometry) = geometry else { return Vec::new() };
        let mut wanted = vec![false; geometry.wblocks() as usize];
        for winner in self.alive() {
            let wblock = geometry.wblock(winner.location());
            if let Some(wanted) = wanted.get_mut(wblock.0 as usize) {
                *wanted = true;
            }
        }
        wanted
    }

    /// All winners.
    pub(crate) fn all(&self) -> impl Iterator<Item = Winner> {
        self.table.values().copied()
    }

    /// Those that may be live.
    pub(crate) fn alive(&self) -> impl Iterator<Item = Winner> {
        self.all().filter(|winner| !winner.is_dead())
    }

    /// The winner of the key with this digest.
    pub(crate) fn winner(&self, digest: Digest) -> Option<Winner> {
        self.table.get(&digest).copied()
    }

    /// The record at `location` is the winner of its key, and counts as lost.
    pub(crate) fn is_lost_at(&self, location: Location, view: &RecordView<'_>) -> bool {
        let winner = self.winner(self.digest(view.key()));
        winner.is_some_and(|winner| winner.is_lost() && winner.location() == location)
    }

    /// The winner that lies at `location`, if that is the one of its key, and may be live.
    pub(crate) fn winner_at(&self, location: Location, view: &RecordView<'_>) -> Option<Winner> {
        let winner = self.winner(self.digest(view.key()))?;
        let is_it = winner.location() == location && winner.reach == view.rank().reach();
        (is_it && !winner.is_dead()).then_some(winner)
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
