//! What a cold start would do with a shadow, and how long it would take on this machine.
//!
//! The rate is measured: of a deep survey by all that it read, else on a sample of the wblocks that
//! a cold start would read. One thread reads and walks here; a cold start has a walker per core
//! and reads ahead, so it is faster.

use crate::shadow::{Member, Shadow};
use crate::survey::{State, Survey};
use crate::wblock::{Reader, Wblock};
use brindle::format::SECTOR_BYTES;
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Instant;

/// Bytes of the sample.
const SAMPLE_BYTES_MAX: u64 = 64 << 20;

/// What a cold start would do.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ColdStart {
    /// The store opens; with `on_damage = refuse` only if nothing is damaged.
    pub(crate) opens: bool,
    /// In words.
    pub(crate) outcome: String,
    /// Damaged wblocks and places, as far as this look sees them.
    pub(crate) damaged: u64,
    /// Wblocks of which it reads more than the header.
    pub(crate) wblocks: u64,
    pub(crate) bytes: u64,
    /// Measured here, with one thread; nothing is in use: absent.
    pub(crate) bytes_per_second: Option<u64>,
    /// At most, at that rate.
    pub(crate) seconds: Option<f64>,
}

impl ColdStart {
    pub(crate) fn of(shadow: &Shadow, survey: &Survey, has_strangers: bool) -> Self {
        let facts = || survey.facts.iter().flatten();
        let wblocks = facts().filter(|fact| fact.state == State::InUse).count() as u64;
        let (mut bytes, mut absent) = (0, 0);
        for (member, facts) in shadow.members.iter().zip(&survey.facts) {
            let geometry = member.superblock.geometry;
            let used = facts.iter().filter(|fact| fact.state == State::InUse).count() as u64;
            bytes += used * u64::from(geometry.wblock_bytes);
            bytes += u64::from(geometry.wblocks_per_stripe) * u64::from(SECTOR_BYTES);
            absent += u64::from(geometry.wblocks_per_stripe).saturating_sub(facts.len() as u64);
        }
        let places: u64 = facts().map(|fact| u64::from(fact.damaged)).sum();
        let damaged = places + facts().filter(|fact| fact.state.is_bad()).count() as u64;
        let (opens, outcome) = outcome(shadow, has_strangers, (damaged, absent));
        let bytes_per_second = measured(shadow, survey);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = bytes_per_second.map(|rate| bytes as f64 / rate.max(1) as f64);
        Self { opens, outcome, damaged, wblocks, bytes, bytes_per_second, seconds }
    }
}

fn outcome(shadow: &Shadow, has_strangers: bool, (damaged, absent): (u64, u64)) -> (bool, String) {
    let Some(first) = shadow.members.first() else {
        return (false, "refused: no superblock can be read".to_owned());
    };
    let stripes = first.superblock.geometry.stripes as usize;
    if has_strangers {
        return (false, "refused: the members do not belong together".to_owned());
    }
    if shadow.members.iter().any(|member| member.superblock.incomplete) {
        return (false, "refused: a store was moving here and has not arrived".to_owned());
    }
    if shadow.members.len() < stripes {
        let here = shadow.members.len();
        return (false, format!("refused with these alone: {here} of {stripes} stripes"));
    }
    let is_clean = shadow.members.iter().all(|member| member.superblock.clean);
    let opens = if is_clean {
        "opens, after an orderly close"
    } else {
        "opens, as after a crash (or it is open now): what is torn is left out"
    };
    let given_up = (damaged > 0).then(|| {
        format!("{damaged} damaged places are given up, or with `on_damage = refuse` it stays shut")
    });
    let absent =
        (absent > 0).then(|| format!("{absent} wblocks behind the end of a file read as free"));
    let parts = [Some(opens.to_owned()), given_up, absent];
    (true, parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

/// Bytes read and walked in a second.
fn measured(shadow: &Shadow, survey: &Survey) -> Option<u64> {
    let started = Instant::now();
    let mut reader = Reader::default();
    let mut bytes = 0;
    'all: for (member, facts) in shadow.members.iter().zip(&survey.facts) {
        let used = (0..).zip(facts).filter(|(_, fact)| fact.state == State::InUse);
        for (place, _) in used {
            if bytes >= SAMPLE_BYTES_MAX {
                break 'all;
            }
            bytes += walked_bytes(&mut reader, member, place);
        }
    }
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
    (bytes > 0).then(|| bytes.saturating_mul(1_000_000) / micros)
}

fn walked_bytes(reader: &mut Reader, member: &Member, place: u32) -> u64 {
    let is_read = matches!(reader.load(member, place), Wblock::Read(_));
    if is_read { member.superblock.geometry.wblock_bytes.into() } else { 0 }
}
