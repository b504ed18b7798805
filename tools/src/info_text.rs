//! `info` for people.

use crate::error::Failure;
use crate::info::{CopyInfo, Info, MemberInfo};
use crate::output::write_fact;
use crate::survey::{Records, Space};
use crate::text::{Age, Instant, Size};
use std::io::Write;

pub(crate) fn write_info(out: &mut dyn Write, info: &Info) -> Result<(), Failure> {
    for (n, member) in info.members.iter().enumerate() {
        if n > 0 {
            writeln!(out).map_err(Failure::Output)?;
        }
        write_member(out, member)?;
    }
    if let Some(ages) = &info.ages {
        let [oldest, median, newest] = [ages.oldest_us, ages.median_us, ages.newest_us]
            .map(|opened| Age(ages.now_us.saturating_sub(opened)));
        let ages = format!("{newest} to {oldest}, half of them over {median}");
        write_fact(out, "age of wblocks", ages)?;
    }
    if let Some(tenths) = &info.live_tenths {
        let tenths: Vec<String> = tenths.iter().map(ToString::to_string).collect();
        let counts = format!("{} (wblocks in use by tenths, emptiest first)", tenths.join(" "));
        write_fact(out, "live share", counts)?;
    }
    if let Some(records) = &info.records {
        let Records { live, expired, tombstones, superseded, lost } = records;
        let counts = format!("{live} live, {expired} expired, {tombstones} tombstones");
        write_fact(out, "keys", counts)?;
        write_fact(out, "", format_args!("{lost} lost to damage"))?;
        write_fact(out, "dead records", format_args!("{superseded} replaced by newer ones"))?;
    }
    if let Some(space) = &info.space {
        write_space(out, space)?;
    }
    write_cold_start(out, info)?;
    for oddity in &info.oddities {
        write_fact(out, "odd", oddity)?;
    }
    Ok(())
}

/// The parts of the space with their names, for people.
pub(crate) fn space_parts(space: &Space) -> [(&'static str, u64); 10] {
    let Space { live, expired, tombstones, superseded, headers, .. } = *space;
    let Space { padding, damaged, unwritten, free, unusable, .. } = *space;
    [
        ("live records", live),
        ("expired records", expired),
        ("tombstones", tombstones),
        ("replaced records", superseded),
        ("headers", headers),
        ("padding", padding),
        ("damaged places", damaged),
        ("not yet written", unwritten),
        ("free wblocks", free),
        ("unusable wblocks", unusable),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn write_space(out: &mut dyn Write, space: &Space) -> Result<(), Failure> {
    let parts = space_parts(space);
    let total: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
    for (n, (name, bytes)) in parts.iter().filter(|(_, bytes)| *bytes > 0).enumerate() {
        let share = *bytes as f64 * 100.0 / total.max(1) as f64;
        let size = Size(*bytes).to_string();
        let label = if n == 0 { "space" } else { "" };
        write_fact(out, label, format_args!("{size:>10}  {share:>5.1}%  {name}"))?;
    }
    Ok(())
}

fn write_cold_start(out: &mut dyn Write, info: &Info) -> Result<(), Failure> {
    let cold = &info.cold_start;
    write_fact(out, "cold start", &cold.outcome)?;
    let reads = format!("reads {} ({} wblocks and all headers)", Size(cold.bytes), cold.wblocks);
    match (cold.bytes_per_second, cold.seconds) {
        (Some(rate), Some(seconds)) => {
            let rate = Size(rate);
            let took =
                format!("{reads}, at most {seconds:.3} s at {rate}/s, one thread's rate here");
            write_fact(out, "", took)
        }
        _ => write_fact(out, "", reads),
    }
}

fn write_member(out: &mut dyn Write, info: &MemberInfo) -> Result<(), Failure> {
    write_fact(out, "shadow", format_args!("{}, {}", info.path, Size(info.bytes)))?;
    write_fact(out, "store", &info.store_id)?;
    write_fact(out, "format version", info.format_version)?;
    write_fact(out, "stripe", format_args!("{} of {}", info.stripe, info.stripes))?;
    write_fact(out, "data size", format_args!("{} over all stripes", info.data_size_bytes))?;
    write_fact(out, "wblock size", Size(info.wblock_bytes.into()))?;
    let wblocks = info.wblocks;
    let counts = format!("{}: {} free, {} in use", wblocks.total, wblocks.free, wblocks.in_use);
    write_fact(out, "wblocks", counts)?;
    if wblocks.struck_out > 0 {
        write_fact(out, "", format_args!("{} of the free ones struck out", wblocks.struck_out))?;
    }
    let bad = wblocks.bad();
    if !bad.is_empty() {
        write_fact(out, "", bad)?;
    }
    let state = match info {
        MemberInfo { incomplete: true, .. } => "incomplete: a store was moving here",
        MemberInfo { clean: true, .. } => "clean",
        MemberInfo { .. } => "not clean: open, or not closed in order",
    };
    write_fact(out, "state", state)?;
    write_fact(out, "created at", Instant(info.created_at_us))?;
    if info.attached_at_us > 0 {
        write_fact(out, "moved here at", Instant(info.attached_at_us))?;
    }
    write_fact(out, "clock floor", Instant(info.clock_floor_us))?;
    write_fact(out, "sequence limit", info.sequence_limit)?;
    match info.census_wblocks {
        0 => write_fact(out, "census", "none")?,
        count => write_fact(out, "census", format_args!("of {count} wblocks"))?,
    }
    write_copies(out, info)
}

fn write_copies(out: &mut dyn Write, info: &MemberInfo) -> Result<(), Failure> {
    for CopyInfo { copy, counts, error, generation, anatomy } in &info.superblock_copies {
        let check = anatomy.checks.first();
        let verdict = match (error, check) {
            (Some(error), Some(check)) if !check.good => {
                format!("{error}: {} stored, {} expected", check.stored, check.computed)
            }
            (Some(error), _) => error.clone(),
            (None, Some(check)) => format!("checksum {} is good", check.stored),
            (None, None) => "verifies".to_owned(),
        };
        let generation = generation.map_or_else(String::new, |n| format!("generation {n}, "));
        let counts = if *counts { ", counts" } else { "" };
        let name = format!("superblock {copy}");
        write_fact(out, &name, format_args!("{generation}{verdict}{counts}"))?;
    }
    for difference in &info.copies_differ {
        let (a, b) = (&difference.a, &difference.b);
        write_fact(out, "  differs in", format_args!("{}: A {a}, B {b}", difference.field))?;
    }
    Ok(())
}
