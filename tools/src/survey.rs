//! Every wblock of a shadow in a few words: its state, age, what it holds, how much of that is
//! live; and the space of the whole by what takes it.
//!
//! 32 bytes for each wblock that the files have room for, whatever the superblock claims; a deep
//! survey also holds the table of winners.

use crate::error::Failure;
use crate::live::now_us;
use crate::progress::Progress;
use crate::shadow::{Member, Shadow};
use crate::wblock::{Reader, Wblock, counted, counts};
use crate::winners::{Note, Winners};
use brindle::format::{Counted, HeaderState, RBLOCK_BYTES, WBLOCK_HEADER_RBLOCKS};
use schemars::JsonSchema;
use serde::Serialize;

/// What a wblock is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Never written.
    #[default]
    Free,
    /// Written once, and nothing in it counts any more.
    StruckOut,
    /// Holds records.
    InUse,
    /// Neither copy of the header verifies.
    Damaged,
    /// Holds a wblock of another store or place.
    Foreign,
    /// The file ends before it, or zeros where the census has records.
    Missing,
    /// Older than the census.
    Stale,
    /// The device does not read it.
    Refused,
}

impl State {
    /// Its records are not where they should be.
    pub(crate) const fn is_bad(self) -> bool {
        match self {
            Self::Free | Self::StruckOut | Self::InUse => false,
            Self::Damaged | Self::Foreign | Self::Missing | Self::Stale | Self::Refused => true,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::StruckOut => "struck out",
            Self::InUse => "in use",
            Self::Damaged => "damaged",
            Self::Foreign => "foreign",
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::Refused => "refused",
        }
    }
}

/// One wblock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fact {
    /// 0: it has no header.
    pub(crate) opened_at: u64,
    /// Rblocks up to the end of what was written.
    pub(crate) written: u32,
    /// Rblocks of records that verify.
    pub(crate) records: u32,
    /// Rblocks of records that the store would return.
    pub(crate) live: u32,
    /// Rblocks of places that do not verify.
    broken: u32,
    /// Damaged places.
    pub(crate) damaged: u16,
    /// Places that were never durable.
    pub(crate) torn: u16,
    pub(crate) state: State,
}

impl Fact {
    /// Something in it, or all of it, does not verify, and was durable once.
    pub(crate) const fn is_bad(&self) -> bool {
        self.damaged > 0 || self.state.is_bad()
    }

    fn of(wblock: &Wblock<'_>) -> Self {
        let bare = |state| Self { state, ..Self::default() };
        match wblock {
            Wblock::Free => bare(State::Free),
            Wblock::Struck(header) => {
                Self { opened_at: header.opened_at, ..bare(State::StruckOut) }
            }
            Wblock::Foreign(_) => bare(State::Foreign),
            Wblock::Damaged => bare(State::Damaged),
            Wblock::Missing | Wblock::Lost => bare(State::Missing),
            Wblock::Stale(_) => bare(State::Stale),
            Wblock::Refused(_) => bare(State::Refused),
            Wblock::Read(walked) => {
                let scan = &walked.scan;
                let is_damage = |damage| counts(damage) && !walked.in_flux;
                let damaged = scan.damage.iter().filter(|damage| is_damage(damage)).count();
                let few = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
                let broken_end = scan.damage.last().map_or(0, |last| last.rblock + last.rblocks);
                let records = scan.bytes / u64::from(RBLOCK_BYTES);
                Self {
                    opened_at: walked.header.opened_at,
                    written: scan.end_rblock.max(broken_end),
                    records: u32::try_from(records).unwrap_or(u32::MAX),
                    broken: scan.damage.iter().map(|damage| damage.rblocks).sum(),
                    damaged: few(damaged),
                    torn: few(scan.damage.len() - damaged),
                    ..bare(State::InUse)
                }
            }
        }
    }

    fn of_header(member: &Member, place: u32, reader: &mut Reader) -> Self {
        let Ok(state) = reader.header(member, place) else {
            return Self { state: State::Refused, ..Self::default() };
        };
        let (opened_at, kind) = match (counted(member, place, &state), state) {
            (Counted::Missing, _) => (0, State::Missing),
            (Counted::Stale, _) => (0, State::Stale),
            (_, HeaderState::Free) => (0, State::Free),
            (_, HeaderState::Struck(header)) => (header.opened_at, State::StruckOut),
            (_, HeaderState::Valid { header, .. }) => (header.opened_at, State::InUse),
            (_, HeaderState::Foreign(_)) => (0, State::Foreign),
            (_, HeaderState::Damaged) => (0, State::Damaged),
        };
        Self { opened_at, state: kind, ..Self::default() }
    }
}

/// Keys and records, by what became of them.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Records {
    /// Records that the store would return.
    pub(crate) live: u64,
    /// Keys whose newest record has expired.
    pub(crate) expired: u64,
    /// Keys whose newest record is a tombstone.
    pub(crate) tombstones: u64,
    /// Records and tombstones that a newer one of their key replaces.
    pub(crate) superseded: u64,
    /// Keys whose newest record is damaged.
    pub(crate) lost: u64,
}

/// Bytes of all wblocks by what takes them; together they are the size of the store, as far as its
/// members are here.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Space {
    /// Records that the store would return: header, key, value, and up to whole 16 bytes.
    pub(crate) live: u64,
    /// Newest records of their keys that have expired.
    pub(crate) expired: u64,
    /// Newest records of their keys that are tombstones.
    pub(crate) tombstones: u64,
    /// Records that newer ones replace.
    pub(crate) superseded: u64,
    /// Headers of wblocks.
    pub(crate) headers: u64,
    /// What fills flushes up to a sector, and the ends of wblocks.
    pub(crate) padding: u64,
    /// Places that do not verify, torn ones included.
    pub(crate) damaged: u64,
    /// Not yet written in wblocks that are in use.
    pub(crate) unwritten: u64,
    /// Free wblocks, those struck out included.
    pub(crate) free: u64,
    /// Wblocks that cannot be used: damaged, foreign, stale or missing.
    pub(crate) unusable: u64,
}

/// All of a shadow.
#[derive(Debug)]
pub(crate) struct Survey {
    /// By member, in order, and by place; those behind the end of the file are left out.
    pub(crate) facts: Vec<Vec<Fact>>,
    /// Only of a deep one.
    pub(crate) totals: Option<(Records, Space)>,
    pub(crate) now_us: u64,
    /// Records that verify.
    records_read: u64,
}

impl Survey {
    /// From headers alone.
    pub(crate) fn of_headers(shadow: &Shadow) -> Result<Self, Failure> {
        let mut survey = Self::empty(shadow)?;
        let mut reader = Reader::default();
        for (member, facts) in shadow.members.iter().zip(&mut survey.facts) {
            for (place, fact) in (0..).zip(facts) {
                *fact = Fact::of_header(member, place, &mut reader);
            }
        }
        survey.tick();
        Ok(survey)
    }

    /// From all that there is. The members are of one store.
    pub(crate) fn deep(shadow: &Shadow, progress: &Progress) -> Result<Self, Failure> {
        Self::deep_with(shadow, progress, |_, _, _| Ok(()))
    }

    /// The same, and lends each wblock to `look`.
    pub(crate) fn deep_with(
        shadow: &Shadow,
        progress: &Progress,
        mut look: impl FnMut(&Member, u32, &Wblock<'_>) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let mut survey = Self::empty(shadow)?;
        let mut winners = Winners::new(shadow, Note::Rblocks);
        let mut reader = Reader::default();
        for (member, facts) in shadow.members.iter().zip(&mut survey.facts) {
            for (place, fact) in (0..).zip(facts) {
                let wblock = reader.load(member, place);
                *fact = Fact::of(&wblock);
                look(member, place, &wblock)?;
                if let Wblock::Read(walked) = &wblock {
                    survey.records_read += u64::from(walked.scan.records);
                    winners.take(walked)?;
                }
                progress.add(member.superblock.geometry.wblock_bytes.into());
            }
        }
        survey.tick();
        survey.settle(shadow, &winners);
        Ok(survey)
    }

    fn empty(shadow: &Shadow) -> Result<Self, Failure> {
        let facts = shadow.members.iter().map(|member| {
            let mut facts = Vec::new();
            let count = member.places_present() as usize;
            facts.try_reserve_exact(count).map_err(|_| Failure::Memory { keys: 0 })?;
            facts.resize(count, Fact::default());
            Ok(facts)
        });
        let facts = facts.collect::<Result<_, Failure>>()?;
        let now_us = now_us(shadow.clock_floor());
        Ok(Self { facts, totals: None, now_us, records_read: 0 })
    }

    /// No clock may be below the last wblock that was opened.
    fn tick(&mut self) {
        let opened = self.facts.iter().flatten().map(|fact| fact.opened_at).max();
        self.now_us = self.now_us.max(opened.unwrap_or_default());
    }

    /// Counts what the winners say.
    fn settle(&mut self, shadow: &Shadow, winners: &Winners<'_>) {
        let (mut records, mut space) = (Records::default(), Space::default());
        let Some(geometry) = shadow.members.first().map(|member| member.superblock.geometry) else {
            return;
        };
        let mut won = 0;
        for winner in winners.all() {
            let bytes = winner.noted() * u64::from(RBLOCK_BYTES);
            if winner.is_lost() {
                records.lost += 1;
                continue;
            }
            won += 1;
            if winner.is_tombstone() {
                records.tombstones += 1;
                space.tombstones += bytes;
            } else if winner.is_expired() {
                records.expired += 1;
                space.expired += bytes;
            } else {
                records.live += 1;
                space.live += bytes;
                let wblock = geometry.wblock(winner.location());
                let stripe = geometry.home_stripe(wblock);
                let at = shadow.members.iter().position(|one| one.superblock.stripe == stripe);
                let place = geometry.place_on_shadow(wblock) as usize;
                let facts = at.and_then(|at| self.facts.get_mut(at)?.get_mut(place));
                if let Some(fact) = facts {
                    fact.live += u32::try_from(winner.noted()).unwrap_or_default();
                }
            }
        }
        records.superseded = self.records_read.saturating_sub(won);
        self.add_space(shadow, &mut space);
        self.totals = Some((records, space));
    }

    fn add_space(&self, shadow: &Shadow, space: &mut Space) {
        let mut records = 0;
        for (member, facts) in shadow.members.iter().zip(&self.facts) {
            let wblock = u64::from(member.superblock.geometry.wblock_bytes);
            let absent = u64::from(member.superblock.geometry.wblocks_per_stripe)
                .saturating_sub(facts.len() as u64);
            space.unusable += absent * wblock;
            for fact in facts {
                match fact.state {
                    State::Free | State::StruckOut => space.free += wblock,
                    State::InUse => {
                        records += bytes(fact.records);
                        let header = WBLOCK_HEADER_RBLOCKS;
                        let known = header.saturating_add(fact.records).saturating_add(fact.broken);
                        space.headers += bytes(header);
                        space.damaged += bytes(fact.broken);
                        space.padding += bytes(fact.written.saturating_sub(known));
                        space.unwritten += wblock.saturating_sub(bytes(fact.written));
                    }
                    State::Damaged
                    | State::Foreign
                    | State::Missing
                    | State::Stale
                    | State::Refused => space.unusable += wblock,
                }
            }
        }
        let won = space.live + space.expired + space.tombstones;
        space.superseded = u64::saturating_sub(records, won);
    }
}

fn bytes(rblocks: u32) -> u64 {
    u64::from(rblocks) * u64::from(RBLOCK_BYTES)
}
