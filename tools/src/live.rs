//! The live records of a shadow, without an index: two readings and a compact table between them.
//!
//! The first reading notes of each key the place of its winner (`winners.rs`); the second lends the
//! records that won and are live.
//!
//! Invariants
//! - L1  A key whose winner is a tombstone, has expired, or is lost (a record whose key verifies
//!   and whose value does not, and which was durable) is not lent, nor is an older copy of it.
//!
//! A store that is live moves records: what was noted and is not found again is counted, not
//! guessed.

use crate::error::Failure;
use crate::output::{warn, warn_of_oddities};
use crate::progress::Progress;
use crate::shadow::{Member, Shadow};
use crate::wblock::{Reader, Walked, Wblock, counts};
use crate::winners::{Note, Winner, Winners};
use brindle::format::{Rank, RecordView, Version};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    static NOW_US: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Takes `now_us` for the present, on this thread.
pub(crate) fn set_now(now_us: Option<u64>) {
    NOW_US.set(now_us);
}

/// The time by which records have expired: now, but never below a floor of the store.
pub(crate) fn now_us(floor_us: u64) -> u64 {
    if let Some(now_us) = NOW_US.get() {
        return now_us.max(floor_us);
    }
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
    pub(crate) damaged: u64,
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
                Wblock::Free | Wblock::Struck(_) | Wblock::Missing => ControlFlow::Continue(()),
                Wblock::Foreign(_)
                | Wblock::Damaged
                | Wblock::Lost
                | Wblock::Stale(_)
                | Wblock::Refused(_) => {
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
    pub(crate) fn add(&mut self, walked: &Walked<'_>) {
        let damage = walked.scan.damage.iter();
        self.damaged += damage.filter(|damage| counts(damage)).count() as u64;
        self.opened_at = self.opened_at.max(walked.header.opened_at);
    }
}

/// Tells a person that what was read is not all that was written.
pub(crate) fn warn_of(shadow: &Shadow, met: &Met) {
    warn_of_oddities(shadow);
    if met.damaged > 0 {
        warn(format_args!("{} damaged places: `brindle verify` lists them", met.damaged));
    }
}

/// What is asked for of the live records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    /// Only keys that start with this.
    pub(crate) prefix: &'a [u8],
    /// What is noted of each key.
    pub(crate) note: Note,
    /// The terminal shows the data: a bar would be drawn into it.
    pub(crate) shows_data: bool,
}

/// Lends every live record that `wish` asks for, in the order of the shadow, until `lend` says
/// stop.
pub(crate) fn for_each_live(
    shadow: &Shadow,
    wish: Wish<'_>,
    lend: impl FnMut(&RecordView<'_>, Winner) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let mut winners = Winners::new(shadow, wish.note);
    let progress = Progress::new("reading", Some(shadow.wblock_bytes_total()));
    let met = winners.gather(shadow, wish.prefix, &progress)?;
    drop(progress);
    warn_of(shadow, &met);
    lend_winners(shadow, &winners, &met, wish.shows_data, lend)
}

/// The second reading: lends those of `winners` that are live.
pub(crate) fn lend_winners(
    shadow: &Shadow,
    winners: &Winners<'_>,
    met: &Met,
    shows_data: bool,
    mut lend: impl FnMut(&RecordView<'_>, Winner) -> Result<ControlFlow<()>, Failure>,
) -> Result<(), Failure> {
    let now_us = now_us(shadow.clock_floor().max(met.opened_at));
    let wanted = winners.wblocks();
    let wants = |member: &Member, place| {
        wanted.get(member.wblock_at(place).0 as usize).copied().unwrap_or_default()
    };
    let mut left = winners.alive().count();
    let mut is_stopped = false;
    let total = wanted.iter().filter(|wanted| **wanted).count() as u64;
    let wblock_bytes =
        shadow.members.first().map_or(0, |member| member.superblock.geometry.wblock_bytes);
    let progress = if shows_data {
        Progress::none()
    } else {
        Progress::new("reading again", Some(total * u64::from(wblock_bytes)))
    };
    walk_all(shadow, &progress, wants, |walked| {
        for (location, view) in walked.records() {
            let Some(winner) = winners.winner_at(location, &view) else { continue };
            left -= 1;
            if is_live(&view, now_us) && lend(&view, winner)?.is_break() {
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
