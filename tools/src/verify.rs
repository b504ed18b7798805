//! `verify`: every checksum of a shadow, and what does not match; and a rule that no checksum
//! tells: each life of a wblock has a sequence of its own.
//!
//! Findings are of two weights. Damage was durable once, or should be there and is not: the exit
//! status is 1. A tear was never durable (a crash cut it off, or a live store is writing it): it is
//! said, and no damage. (Rot in the last flush of a wblock that was written before the last run
//! cannot be told from a tear of a crash back then, and is said as such.) The counts have the names
//! of the engine's cold-start report.

use crate::args::PathArgs;
use crate::error::{Failure, Outcome};
use crate::line::KeyText;
use crate::output::write_document;
use crate::progress::Progress;
use crate::shadow::{Member, Shadow, copy_name};
use crate::text::{Size, shown, shown_key};
use crate::wblock::{Reader, Walked, Wblock, counts};
use brindle::format::{Damage, DamageCause, DamageKind, RecordView, StoreId, WblockHeader};
use serde::{Serialize, Serializer};
use std::collections::HashMap;
use std::io::Write;

/// Findings that a JSON document lists; all are counted.
const LISTED_MAX: usize = 10_000;

/// Something that is not as it was written.
#[derive(Debug, Serialize)]
struct Finding {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    wblock: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rblock: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rblocks: Option<u32>,
    is_damage: bool,
    what: String,
    #[serde(flatten, serialize_with = "as_key")]
    key: Option<Vec<u8>>,
}

/// What was looked at and found; the names of what was rejected are those of the engine.
#[derive(Debug, Default, Serialize)]
struct Counts {
    shadows: u64,
    wblocks: u64,
    free_wblocks: u64,
    records: u64,
    tombstones: u64,
    bytes: u64,
    flushes: u64,
    torn: u64,
    lost_values: u64,
    lost_places: u64,
    unsupported: u64,
    paddings: u64,
    damaged_wblocks: u64,
    foreign_wblocks: u64,
    refused_wblocks: u64,
    header_copies: u64,
    superblock_copies: u64,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    clean: bool,
    damaged: u64,
    counts: &'a Counts,
    findings: &'a [Finding],
    findings_left_out: u64,
}

/// `brindle verify`.
pub(crate) fn run(args: &PathArgs, is_json: bool, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let shadow = Shadow::open(args)?;
    let progress = Progress::new("verifying", Some(shadow.wblock_bytes_total()));
    let sink = if is_json { Sink::List(Vec::new()) } else { Sink::Text(out) };
    let (counts, lives) = (Counts::default(), HashMap::new());
    let mut verifier = Verifier { sink, progress, counts, lives, damaged: 0, left_out: 0 };
    verifier.check(&shadow)?;
    let Verifier { sink, progress, counts, damaged, left_out, .. } = verifier;
    drop(progress);
    match sink {
        Sink::Text(out) => write_summary(out, &counts, damaged)?,
        Sink::List(findings) => {
            let clean = damaged == 0;
            let (findings, counts) = (&findings[..], &counts);
            let report = Report { clean, damaged, counts, findings, findings_left_out: left_out };
            write_document(out, "brindle-verify/1", &report)?;
        }
    }
    Ok(if damaged == 0 { Outcome::Good } else { Outcome::Bad })
}

/// Where findings go.
enum Sink<'o> {
    Text(&'o mut dyn Write),
    List(Vec<Finding>),
}

struct Verifier<'o> {
    sink: Sink<'o>,
    progress: Progress,
    counts: Counts,
    /// Which wblock has a sequence.
    lives: HashMap<u64, String>,
    damaged: u64,
    left_out: u64,
}

impl Verifier<'_> {
    fn check(&mut self, shadow: &Shadow) -> Result<(), Failure> {
        for oddity in &shadow.oddities {
            let path = oddity.path.display().to_string();
            self.find(Finding { is_damage: oddity.is_damage, ..Finding::new(path, &oddity.what) })?;
        }
        let mut reader = Reader::default();
        for member in &shadow.members {
            self.counts.shadows += 1;
            let path = member.path.display().to_string();
            if let Some(damaged) = member.damaged_copy {
                self.counts.superblock_copies += 1;
                let copy = copy_name(damaged.copy);
                let what =
                    format!("superblock copy {copy}: {}; the other copy counts", damaged.error);
                self.find(Finding { is_damage: true, ..Finding::new(path, &what) })?;
            }
            for place in member.places() {
                let wblock = reader.load(member, place);
                self.check_wblock(member, place, &wblock)?;
                self.progress.add(member.superblock.geometry.wblock_bytes.into());
            }
        }
        Ok(())
    }

    fn check_wblock(
        &mut self,
        member: &Member,
        place: u32,
        wblock: &Wblock<'_>,
    ) -> Result<(), Failure> {
        self.counts.wblocks += 1;
        let what = match wblock {
            Wblock::Free | Wblock::Struck => {
                self.counts.free_wblocks += 1;
                return Ok(());
            }
            Wblock::Missing => return Ok(()), // said once, of the whole file
            Wblock::Read(walked) => return self.check_walked(member, place, walked),
            Wblock::Damaged => {
                self.counts.damaged_wblocks += 1;
                "neither copy of the header verifies: its records cannot be found".to_owned()
            }
            Wblock::Foreign(header) => {
                self.counts.foreign_wblocks += 1;
                foreign(header, member.superblock.store_id)
            }
            Wblock::Refused(error) => {
                self.counts.refused_wblocks += 1;
                format!("cannot be read: {error}")
            }
        };
        self.find(Finding { is_damage: true, ..Finding::of_wblock(member, place, &what) })
    }

    fn check_walked(
        &mut self,
        member: &Member,
        place: u32,
        walked: &Walked<'_>,
    ) -> Result<(), Failure> {
        let scan = &walked.scan;
        self.counts.records += u64::from(scan.records);
        self.counts.bytes += scan.bytes;
        self.counts.flushes += u64::from(scan.flushes);
        self.check_rules(member, place, walked)?;
        let tombstones = walked.records().filter(|(_, view)| view.is_tombstone()).count();
        self.counts.tombstones += tombstones as u64;
        if walked.damaged_copy {
            self.counts.header_copies += 1;
            let what = "one copy of the header is damaged; the other counts";
            self.find(Finding { is_damage: true, ..Finding::of_wblock(member, place, what) })?;
        }
        for damage in &scan.damage {
            self.count(damage);
            let view = walked.damaged_record(damage);
            let is_damage = counts(damage) && !walked.in_flux;
            let what = describe(damage, view.as_ref(), is_damage);
            self.find(Finding {
                rblock: Some(damage.rblock),
                rblocks: Some(damage.rblocks),
                is_damage,
                key: view.map(|view| view.key().to_vec()),
                ..Finding::of_wblock(member, place, &what)
            })?;
        }
        Ok(())
    }

    /// What every writer keeps to, whatever the checksums say.
    fn check_rules(
        &mut self,
        member: &Member,
        place: u32,
        walked: &Walked<'_>,
    ) -> Result<(), Failure> {
        let sequence = walked.header.sequence.0;
        let here = format!("wblock {place} of {}", member.path.display());
        if let Some(other) = self.lives.insert(sequence, here) {
            let what = format!("has the sequence {sequence}, which {other} has, too");
            let finding = Finding::of_wblock(member, place, &what);
            self.find(Finding { is_damage: !walked.in_flux, ..finding })?;
        }
        Ok(())
    }

    /// As the engine's cold start counts it.
    fn count(&mut self, damage: &Damage) {
        let counts = &mut self.counts;
        match (damage.kind, damage.cause) {
            (_, DamageCause::Unsupported) => counts.unsupported += 1,
            (DamageKind::Torn, _) => counts.torn += 1,
            (DamageKind::Rot, DamageCause::BadPadding) => counts.paddings += 1,
            (DamageKind::Rot, _) if damage.key.is_some() => counts.lost_values += 1,
            (DamageKind::Rot, _) => counts.lost_places += 1,
        }
    }

    fn find(&mut self, finding: Finding) -> Result<(), Failure> {
        self.damaged += u64::from(finding.is_damage);
        match &mut self.sink {
            Sink::List(findings) if findings.len() < LISTED_MAX => findings.push(finding),
            Sink::List(_) => self.left_out += 1,
            Sink::Text(out) => {
                let mut written = Ok(());
                self.progress.suspend(|| written = write_finding(&mut **out, &finding));
                written.map_err(Failure::Output)?;
            }
        }
        Ok(())
    }
}

impl Finding {
    fn new(path: String, what: &str) -> Self {
        let what = what.to_owned();
        let (wblock, rblock, rblocks) = (None, None, None);
        Self { path, wblock, rblock, rblocks, is_damage: false, what, key: None }
    }

    fn of_wblock(member: &Member, place: u32, what: &str) -> Self {
        let path = member.path.display().to_string();
        Self { wblock: Some(member.wblock_at(place).0), ..Self::new(path, what) }
    }
}

fn describe(damage: &Damage, view: Option<&RecordView<'_>>, is_damage: bool) -> String {
    let Damage { kind, cause, .. } = damage;
    if !is_damage {
        return format!("{kind}, {cause}: never durable, or being written");
    }
    let Some(view) = view else { return format!("{kind}, {cause}") };
    let version = view.version();
    format!("{kind}, {cause}: version {version} of the key is lost, and hides older copies")
}

fn foreign(header: &WblockHeader, store_id: StoreId) -> String {
    let home = header.home;
    if home.store_id == store_id {
        format!("holds wblock {} of stripe {}", home.wblock.0, home.stripe)
    } else {
        format!("holds a wblock of store {}", home.store_id)
    }
}

fn write_finding(out: &mut dyn Write, finding: &Finding) -> std::io::Result<()> {
    let Finding { path, wblock, rblock, rblocks, is_damage, what, key } = finding;
    write!(out, "{} {}", if *is_damage { "damage" } else { "note  " }, shown(path))?;
    if let Some(wblock) = wblock {
        write!(out, ", wblock {wblock}")?;
    }
    if let (Some(rblock), Some(rblocks)) = (rblock, rblocks) {
        write!(out, ", rblocks {rblock}..{}", u64::from(*rblock) + u64::from(*rblocks))?;
    }
    write!(out, ": {}", shown(what))?;
    if let Some(key) = key {
        write!(out, "; key {}", shown_key(key))?;
    }
    writeln!(out)
}

fn write_summary(out: &mut dyn Write, counts: &Counts, damaged: u64) -> Result<(), Failure> {
    let verdict = if damaged == 0 { "clean".to_owned() } else { format!("{damaged} damaged") };
    let Counts { shadows, wblocks, free_wblocks, records, tombstones, bytes, torn, .. } = counts;
    writeln!(
        out,
        "{verdict}: {shadows} shadows, {wblocks} wblocks ({free_wblocks} free), {records} records \
         ({tombstones} tombstones) of {}, {torn} torn",
        Size(*bytes)
    )
    .map_err(Failure::Output)
}

#[expect(clippy::ref_option, reason = "serde lends the field as it is")]
fn as_key<S: Serializer>(key: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    key.as_deref().map(KeyText::from).serialize(serializer)
}
