//! `info`: what a shadow says about itself.

use crate::args::InfoArgs;
use crate::error::{Failure, Outcome};
use crate::live::{is_live, now_us};
use crate::output::{write_document, write_fact};
use crate::progress::Progress;
use crate::shadow::{Member, Oddity, Shadow, copy_name};
use crate::text::{Instant, Size};
use crate::wblock::{Reader, Walked, Wblock};
use brindle::format::{FORMAT_VERSION, HeaderState};
use serde::Serialize;
use std::io::Write;

/// What is known of one shadow.
#[derive(Debug, Serialize)]
struct MemberInfo {
    path: String,
    bytes: u64,
    format_version: u32,
    store_id: String,
    stripe: u32,
    stripes: u32,
    wblock_bytes: u32,
    /// Over all stripes.
    data_size_bytes: Size,
    clean: bool,
    /// A store was moving here and has not arrived.
    incomplete: bool,
    /// 0: the store was founded here.
    attached_at_us: u64,
    generation: u64,
    created_at_us: u64,
    clock_floor_us: u64,
    sequence_limit: u64,
    damaged_superblock_copy: Option<&'static str>,
    wblocks: WblockInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<RecordInfo>,
}

/// Wblocks by what their headers say.
#[derive(Debug, Default, Serialize)]
struct WblockInfo {
    total: u32,
    /// Those that are struck out included.
    free: u32,
    struck_out: u32,
    in_use: u32,
    damaged: u32,
    foreign: u32,
    missing: u32,
}

/// What lies in the wblocks, older copies included.
#[derive(Debug, Default, Serialize)]
struct RecordInfo {
    /// Values that have not expired.
    values: u64,
    expired: u64,
    tombstones: u64,
    bytes: u64,
    flushes: u64,
}

#[derive(Debug, Serialize)]
struct Info {
    members: Vec<MemberInfo>,
    oddities: Vec<String>,
}

/// `brindle info`.
pub(crate) fn run(args: &InfoArgs, is_json: bool, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let shadow = Shadow::open(&args.paths)?;
    let total = args.deep.then(|| shadow.wblock_bytes_total());
    let progress = if args.deep { Progress::new("reading", total) } else { Progress::none() };
    let now_us = now_us(shadow.clock_floor());
    let look = |member| look_at(member, args.deep.then_some(now_us), &progress);
    let members = shadow.members.iter().map(look).collect();
    let said = |oddity: &Oddity| format!("{} {}", oddity.path.display(), oddity.what);
    let info = Info { members, oddities: shadow.oddities.iter().map(said).collect() };
    drop(progress);
    if is_json {
        write_document(out, "brindle-info/1", &info)?;
    } else {
        write_info(out, &info)?;
    }
    Ok(Outcome::Good)
}

/// `deep_us`: the time by which records have expired, if they are to be counted.
fn look_at(member: &Member, deep_us: Option<u64>, progress: &Progress) -> MemberInfo {
    let superblock = member.superblock;
    let geometry = superblock.geometry;
    let mut info = MemberInfo {
        path: member.path.display().to_string(),
        bytes: member.bytes,
        format_version: FORMAT_VERSION,
        store_id: superblock.store_id.to_string(),
        stripe: superblock.stripe,
        stripes: geometry.stripes,
        wblock_bytes: geometry.wblock_bytes,
        data_size_bytes: Size(geometry.region_bytes()),
        clean: superblock.clean,
        incomplete: superblock.incomplete,
        attached_at_us: superblock.attached_at,
        generation: superblock.generation,
        created_at_us: superblock.created_at,
        clock_floor_us: superblock.clock_floor,
        sequence_limit: superblock.sequence_limit.0,
        damaged_superblock_copy: member.damaged_copy.map(|damaged| copy_name(damaged.copy)),
        wblocks: WblockInfo { total: geometry.wblocks_per_stripe, ..WblockInfo::default() },
        records: None,
    };
    let mut reader = Reader::default();
    let Some(now_us) = deep_us else {
        count_headers(member, &mut reader, &mut info.wblocks);
        return info;
    };
    let mut records = RecordInfo::default();
    for place in member.places() {
        let wblocks = &mut info.wblocks;
        match reader.load(member, place) {
            Wblock::Free => wblocks.free += 1,
            Wblock::Struck => wblocks.add_struck(),
            Wblock::Foreign(_) => wblocks.foreign += 1,
            Wblock::Damaged | Wblock::Refused(_) => wblocks.damaged += 1,
            Wblock::Missing => wblocks.missing += 1,
            Wblock::Read(walked) => {
                wblocks.in_use += 1;
                records.add(&walked, now_us);
            }
        }
        progress.add(geometry.wblock_bytes.into());
    }
    info.records = Some(records);
    info
}

fn count_headers(member: &Member, reader: &mut Reader, wblocks: &mut WblockInfo) {
    for place in member.places() {
        if member.offset_of(place) >= member.bytes {
            wblocks.missing += 1;
            continue;
        }
        match reader.header(member, place) {
            Ok(HeaderState::Free) => wblocks.free += 1,
            Ok(HeaderState::Struck(_)) => wblocks.add_struck(),
            Ok(HeaderState::Valid { .. }) => wblocks.in_use += 1,
            Ok(HeaderState::Foreign(_)) => wblocks.foreign += 1,
            Ok(HeaderState::Damaged) | Err(_) => wblocks.damaged += 1,
        }
    }
}

impl WblockInfo {
    fn add_struck(&mut self) {
        self.free += 1;
        self.struck_out += 1;
    }
}

impl RecordInfo {
    fn add(&mut self, walked: &Walked<'_>, now_us: u64) {
        for (_, view) in walked.records() {
            match () {
                () if view.is_tombstone() => self.tombstones += 1,
                () if is_live(&view, now_us) => self.values += 1,
                () => self.expired += 1,
            }
        }
        self.bytes += walked.scan.bytes;
        self.flushes += u64::from(walked.scan.flushes);
    }
}

fn write_info(out: &mut dyn Write, info: &Info) -> Result<(), Failure> {
    for (n, member) in info.members.iter().enumerate() {
        if n > 0 {
            writeln!(out).map_err(Failure::Output)?;
        }
        write_member(out, member)?;
    }
    for oddity in &info.oddities {
        write_fact(out, "odd", oddity)?;
    }
    Ok(())
}

fn write_member(out: &mut dyn Write, info: &MemberInfo) -> Result<(), Failure> {
    write_fact(out, "shadow", format_args!("{}, {}", info.path, Size(info.bytes)))?;
    write_fact(out, "store", &info.store_id)?;
    write_fact(out, "format version", info.format_version)?;
    write_fact(out, "stripe", format_args!("{} of {}", info.stripe, info.stripes))?;
    write_fact(out, "data size", format_args!("{} over all stripes", info.data_size_bytes))?;
    write_fact(out, "wblock size", Size(info.wblock_bytes.into()))?;
    let WblockInfo { total, free, struck_out, in_use, damaged, foreign, missing } = info.wblocks;
    write_fact(out, "wblocks", format_args!("{total}: {free} free, {in_use} in use"))?;
    if struck_out > 0 {
        write_fact(out, "", format_args!("{struck_out} of the free ones struck out"))?;
    }
    if damaged + foreign + missing > 0 {
        let counts = format!("{damaged} damaged, {foreign} foreign, {missing} missing");
        write_fact(out, "", counts)?;
    }
    if let Some(records) = &info.records {
        let RecordInfo { values, expired, tombstones, bytes, flushes } = records;
        let counts = format!(
            "{values} values, {tombstones} tombstones, {expired} expired, older copies included"
        );
        write_fact(out, "records", counts)?;
        write_fact(out, "", format_args!("{} in {flushes} flushes", Size(*bytes)))?;
    }
    let state = match info {
        MemberInfo { incomplete: true, .. } => "incomplete: a store was moving here",
        MemberInfo { clean: true, .. } => "clean",
        MemberInfo { .. } => "not clean: open, or not closed in order",
    };
    write_fact(out, "state", state)?;
    if let Some(copy) = info.damaged_superblock_copy {
        write_fact(out, "", format_args!("superblock copy {copy} is damaged; the other counts"))?;
    }
    write_fact(out, "created at", Instant(info.created_at_us))?;
    if info.attached_at_us > 0 {
        write_fact(out, "moved here at", Instant(info.attached_at_us))?;
    }
    write_fact(out, "clock floor", Instant(info.clock_floor_us))?;
    write_fact(out, "sequence limit", info.sequence_limit)?;
    write_fact(out, "generation", info.generation)
}
