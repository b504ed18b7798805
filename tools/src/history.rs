//! `history`: every version of a key that the shadow still holds, and what became of each.
//!
//! Also those that no cold start looks at: in wblocks that were struck out, or are stale, or have
//! lost their header, and were not used again.

use crate::anatomy::flags_text;
use crate::args::HistoryArgs;
use crate::error::{Failure, Outcome};
use crate::line::KeyText;
use crate::live::{Met, now_us, warn_of};
use crate::output::{warn, write_document};
use crate::progress::Progress;
use crate::shadow::{Member, Shadow};
use crate::text::{Instant, Size, shown_key};
use crate::wblock::{Reader, Walked, Wblock};
use brindle::format::{Geometry, Location, RecordView, WblockHeader};
use schemars::JsonSchema;
use serde::Serialize;
use std::cmp::Reverse;
use std::io::{self, Write};
use xxhash_rust::xxh3::xxh3_64;

/// Versions that are listed.
const LISTED_MAX: usize = 10_000;

/// `brindle-history/1`: the versions of a key.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct History {
    #[serde(flatten)]
    key: KeyText<'static>,
    /// All that were found.
    found: u64,
    /// The one that counts first, then by version, the newest first; at most 10,000.
    versions: Vec<KeyVersion>,
}

/// One version of the key.
#[derive(Debug, Serialize, JsonSchema)]
struct KeyVersion {
    version: u64,
    /// Whatever has a version up to this one was forgotten before it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    over: Option<u64>,
    wblock: u32,
    rblock: u32,
    tombstone: bool,
    value_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_us: Option<u64>,
    flags: String,
    fate: Fate,
    /// The version that it lost to.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<u64>,
    #[serde(skip)]
    value_digest: u64,
    #[serde(skip)]
    reach: u64,
}

/// What became of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Fate {
    /// The store would return it.
    Alive,
    /// The newest, and its time is over.
    Expired,
    /// The newest: the key is deleted, evicted or expired.
    Deleted,
    /// Its value is damaged: the key reads as absent, if it is the newest.
    Lost,
    /// A newer one counts.
    Replaced,
    /// The same record again, left where it was moved from.
    Copy,
    /// Its wblock is struck out.
    StruckOut,
    /// Its wblock is stale: older than the last orderly close.
    Stale,
    /// Its wblock has no header any more.
    Headless,
}

impl Fate {
    /// A cold start looks at it.
    const fn competes(self) -> bool {
        match self {
            Self::Alive | Self::Expired | Self::Deleted | Self::Lost => true,
            Self::Replaced | Self::Copy | Self::StruckOut | Self::Stale | Self::Headless => false,
        }
    }
}

impl KeyVersion {
    /// The order that cold start follows.
    fn rank(&self) -> impl Ord + use<> {
        let expiry = (self.expires_at_us.is_none(), self.expires_at_us);
        let is_dead = self.tombstone || self.fate == Fate::Lost;
        (self.reach, self.over, self.version, is_dead, expiry, self.value_digest)
    }
}

/// `brindle history`.
pub(crate) fn run(
    args: &HistoryArgs,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let Some(key) = args.key_bytes() else {
        return Err(Failure::Usage("the key is not written in pairs of hex digits".to_owned()));
    };
    let shadow = Shadow::open_store(&args.paths)?;
    let Some(geometry) = shadow.members.first().map(|member| member.superblock.geometry) else {
        return Ok(Outcome::Bad);
    };
    let mut search = Search { key: &key, geometry, found: 0, versions: Vec::new() };
    let met = search.all(&shadow)?;
    warn_of(&shadow, &met);
    let now_us = now_us(shadow.clock_floor().max(met.opened_at));
    let Search { found, mut versions, .. } = search;
    judge(&mut versions, now_us);
    versions.truncate(LISTED_MAX);
    if versions.is_empty() {
        warn(format_args!("no version of {}", shown_key(&key)));
        return Ok(Outcome::Bad);
    }
    let history = History { key: KeyText::of(&key), found, versions };
    if is_json {
        write_document(out, "brindle-history/1", &history)?;
    } else {
        write_history(out, &history).map_err(Failure::Output)?;
    }
    Ok(Outcome::Good)
}

struct Search<'k> {
    key: &'k [u8],
    geometry: Geometry,
    found: u64,
    versions: Vec<KeyVersion>,
}

impl Search<'_> {
    fn all(&mut self, shadow: &Shadow) -> Result<Met, Failure> {
        let progress = Progress::new("reading", Some(shadow.wblock_bytes_total()));
        let mut met = Met::default();
        let mut reader = Reader::default();
        for member in &shadow.members {
            for place in member.places() {
                self.one(member, place, &mut reader, &mut met)?;
                progress.add(member.superblock.geometry.wblock_bytes.into());
            }
        }
        Ok(met)
    }

    fn one(
        &mut self,
        member: &Member,
        place: u32,
        reader: &mut Reader,
        met: &mut Met,
    ) -> Result<(), Failure> {
        let failed = |source| Failure::File { op: "read", path: member.path.clone(), source };
        let life: (WblockHeader, Fate) = match reader.load(member, place) {
            Wblock::Read(walked) => {
                met.add(&walked);
                self.take(&walked, Fate::Replaced);
                let key = self.key;
                let lost = walked.lost().filter(|(_, view)| view.key() == key);
                lost.for_each(|(location, view)| self.note(location, &view, Fate::Lost));
                return Ok(());
            }
            Wblock::Struck(header) => (header, Fate::StruckOut),
            Wblock::Stale(header) => {
                met.damaged += 1;
                (header, Fate::Stale)
            }
            Wblock::Damaged => {
                met.damaged += 1;
                let Some(header) = reader.guess_life(member, place) else { return Ok(()) };
                (header, Fate::Headless)
            }
            Wblock::Foreign(_) | Wblock::Lost | Wblock::Refused(_) => {
                met.damaged += 1;
                return Ok(());
            }
            Wblock::Free | Wblock::Missing => return Ok(()),
        };
        self.take(&reader.load_life(member, place, life.0).map_err(failed)?, life.1);
        Ok(())
    }

    fn take(&mut self, walked: &Walked<'_>, fate: Fate) {
        let key = self.key;
        let ours = walked.records().filter(|(_, view)| view.key() == key);
        ours.for_each(|(location, view)| self.note(location, &view, fate));
    }

    fn note(&mut self, location: Location, view: &RecordView<'_>, fate: Fate) {
        // The one that counts is known at the end.
        let fate = if fate == Fate::Replaced { Fate::Alive } else { fate };
        self.found += 1;
        self.versions.push(KeyVersion {
            version: view.version().into(),
            over: view.over().map(u64::from),
            wblock: self.geometry.wblock(location).0,
            rblock: self.geometry.rblock(location),
            tombstone: view.is_tombstone(),
            value_bytes: view.value().len(),
            expires_at_us: view.expires_at(),
            flags: flags_text(view.flags()),
            fate,
            replaced_by: None,
            value_digest: xxh3_64(view.value()),
            reach: view.rank().reach().into(),
        });
        if self.versions.len() >= 2 * LISTED_MAX {
            sort(&mut self.versions);
            self.versions.truncate(LISTED_MAX);
        }
    }
}

/// Those that compete first, and the newest of them first of all.
fn sort(versions: &mut [KeyVersion]) {
    versions.sort_by_cached_key(|version| {
        let place = (version.wblock, version.rblock);
        (Reverse(version.fate.competes()), Reverse(version.rank()), place)
    });
}

/// Tells the one that counts from those that lost to it.
fn judge(versions: &mut [KeyVersion], now_us: u64) {
    sort(versions);
    let Some((winner, others)) = versions.split_first_mut() else { return };
    if !winner.fate.competes() {
        return;
    }
    for other in others.iter_mut().filter(|other| other.fate == Fate::Alive) {
        let is_same = other.rank() == winner.rank();
        other.fate = if is_same { Fate::Copy } else { Fate::Replaced };
        other.replaced_by = (!is_same).then_some(winner.version);
    }
    winner.fate = match winner {
        KeyVersion { fate: Fate::Lost, .. } => Fate::Lost,
        KeyVersion { tombstone: true, .. } => Fate::Deleted,
        KeyVersion { expires_at_us: Some(expires), .. } if now_us > *expires => Fate::Expired,
        KeyVersion { .. } => Fate::Alive,
    };
}

fn write_history(out: &mut dyn Write, history: &History) -> io::Result<()> {
    let History { key, found, versions } = history;
    writeln!(out, "{found} versions of {}", shown_key(&key.bytes()))?;
    for one in versions {
        let place = format!("{}:{}", one.wblock, one.rblock);
        let KeyVersion { version, flags, fate, .. } = one;
        let fate = match (fate, one.replaced_by) {
            (Fate::Replaced, Some(by)) => format!("dead: replaced by {by}"),
            (fate, _) => fate_text(*fate).to_owned(),
        };
        let what = if one.tombstone {
            "tombstone".into()
        } else {
            Size(one.value_bytes as u64).to_string()
        };
        let written = Instant(*version);
        write!(out, "{version:>20}  {written}  {place:>12}  {what:>10}  {fate}")?;
        if let Some(expires) = one.expires_at_us {
            write!(out, ", until {}", Instant(expires))?;
        }
        writeln!(out, "  ({flags})")?;
    }
    let left_out = found.saturating_sub(versions.len() as u64);
    if left_out > 0 {
        writeln!(out, "{left_out} more are not listed")?;
    }
    Ok(())
}

const fn fate_text(fate: Fate) -> &'static str {
    match fate {
        Fate::Alive => "alive",
        Fate::Expired => "dead: expired",
        Fate::Deleted => "dead: the key is deleted",
        Fate::Lost => "lost: its value is damaged",
        Fate::Replaced => "dead: replaced",
        Fate::Copy => "dead: a copy of the first",
        Fate::StruckOut => "dead: its wblock is struck out",
        Fate::Stale => "dead: its wblock is stale",
        Fate::Headless => "unreachable: the header of its wblock is damaged",
    }
}
