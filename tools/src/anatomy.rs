//! Bytes with their meaning: superblock copies, headers, records and paddings, field by field, as
//! `FORMAT.md` tells them; and each checksum as it is stored and as the bytes say it should be.
//!
//! Nothing here trusts a length: what does not fit is not shown.

use crate::text::{Instant, Size, shown_key, to_hex};
use brindle::format::{
    CommitWord, Flags, Location, PADDING_HEAD_BYTES, Padding, RBLOCK_BYTES, RECORD_HEADER_BYTES,
    SUPERBLOCK_BYTES, Seed, StoreId, StoreKey,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{self, Write};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes of a key or value that are shown.
const SHOWN_MAX: usize = 48;
/// Bytes that a line shows.
const LINE_BYTES: usize = 16;

/// Some bytes and what they say.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Field {
    /// From the start of what is shown.
    pub(crate) offset: usize,
    /// How many bytes it has.
    pub(crate) length: usize,
    pub(crate) name: &'static str,
    /// Its bytes in hex digits, at most the first 48.
    pub(crate) hex: String,
    pub(crate) meaning: String,
}

/// A checksum.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    /// What it covers.
    pub(crate) covers: &'static str,
    /// In hex digits.
    pub(crate) stored: String,
    /// In hex digits: what the bytes say.
    pub(crate) computed: String,
    pub(crate) good: bool,
}

/// Fields and their checksums.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Anatomy {
    pub(crate) fields: Vec<Field>,
    pub(crate) checks: Vec<Check>,
}

/// How the bytes of a field are read.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Hex,
    Number,
    Time,
    Bytes,
    Flags(&'static [&'static str]),
}

type Layout = [(usize, usize, &'static str, Kind)];

const SUPERBLOCK: &Layout = &[
    (0, 8, "magic", Kind::Text),
    (8, 4, "format version", Kind::Number),
    (12, 4, "flags", Kind::Flags(&["CLEAN", "INCOMPLETE"])),
    (16, 8, "generation", Kind::Number),
    (24, 16, "store id", Kind::Hex),
    (40, 4, "stripe", Kind::Number),
    (44, 4, "stripes", Kind::Number),
    (48, 4, "wblock bytes", Kind::Bytes),
    (52, 4, "wblocks", Kind::Number),
    (56, 8, "hash seed", Kind::Hex),
    (64, 8, "clock floor", Kind::Time),
    (72, 8, "sequence limit", Kind::Number),
    (80, 8, "created at", Kind::Time),
    (88, 8, "whole from", Kind::Number),
    (96, 8, "attached at", Kind::Time),
    (104, 8, "census below", Kind::Number),
];

const HEADER: &Layout = &[
    (0, 8, "magic", Kind::Text),
    (8, 2, "version", Kind::Number),
    (10, 2, "flags", Kind::Flags(&["STRUCK"])),
    (12, 4, "stripe", Kind::Number),
    (16, 4, "wblock", Kind::Number),
    (20, 4, "wblock bytes", Kind::Bytes),
    (24, 8, "sequence", Kind::Number),
    (32, 8, "opened at", Kind::Time),
    (40, 16, "store id", Kind::Hex),
];

/// Bytes of one copy of a wblock's header.
pub(crate) const HEADER_COPY_BYTES: usize = 64;

const RECORD_FLAGS: [(Flags, &str); 10] = [
    (Flags::TOMBSTONE, "TOMBSTONE"),
    (Flags::EXPIRES, "EXPIRES"),
    (Flags::COMPRESSED, "COMPRESSED"),
    (Flags::ENCRYPTED, "ENCRYPTED"),
    (Flags::MOVED, "MOVED"),
    (Flags::FEED, "FEED"),
    (Flags::NEVER_EVICT, "NEVER_EVICT"),
    (Flags::HEIR, "HEIR"),
    (Flags::OVER, "OVER"),
    (Flags::GRACE, "GRACE"),
];

impl Anatomy {
    /// One copy of a superblock.
    pub(crate) fn of_superblock(bytes: &[u8]) -> Self {
        let mut anatomy = Self::of_layout(bytes, SUPERBLOCK);
        let end = SUPERBLOCK_BYTES - 8;
        let covered = bytes.get(..end).unwrap_or_default();
        anatomy.check_64(bytes, end, "all before it", xxh3_64(covered));
        anatomy
    }

    /// One copy of a wblock's header.
    pub(crate) fn of_header(bytes: &[u8]) -> Self {
        let mut anatomy = Self::of_layout(bytes, HEADER);
        let id = bytes.get(40..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        let covered = bytes.get(..56).unwrap_or_default();
        let seed = StoreKey::of(&StoreId(id)).raw();
        anatomy.check_64(bytes, 56, "all before it", xxh3_64_with_seed(covered, seed));
        anatomy
    }

    /// A record, or what looks like one, at `location`: all that fits into `bytes`.
    pub(crate) fn of_record(bytes: &[u8], store_key: StoreKey, location: Location) -> Self {
        let mut anatomy = Self::default();
        let Some(commit) = anatomy.commit_word(bytes, store_key) else { return anatomy };
        let Some((fixed, _)) = bytes.split_first_chunk::<RECORD_HEADER_BYTES>() else {
            return anatomy;
        };
        let version = number(fixed, 8, 8);
        let meaning = format!("{version} ({})", Instant(version));
        anatomy.push(bytes, (8, 8), "version", meaning);
        anatomy.push(bytes, (16, 4), "head check", String::new());
        anatomy.push(bytes, (20, 4), "value check", String::new());
        let key_len = usize::try_from(number(fixed, 24, 2)).unwrap_or_default();
        anatomy.push(bytes, (24, 2), "key length", Size(key_len as u64).to_string());
        let flags = Flags::from_raw(u16::try_from(number(fixed, 26, 2)).unwrap_or_default());
        let meaning = format!("{}; pad {}", flags_text(flags), flags.pad());
        anatomy.push(bytes, (26, 2), "flags", meaning);
        let mut at = RECORD_HEADER_BYTES;
        for (flag, name) in [(Flags::EXPIRES, "expires at"), (Flags::OVER, "over")] {
            if flags.contains(flag) {
                let instant = number(bytes, at, 8);
                let meaning = format!("{instant} ({})", Instant(instant));
                anatomy.push(bytes, (at, 8), name, meaning);
                at += 8;
            }
        }
        let key_end = at.saturating_add(key_len);
        let end = bytes.len().saturating_sub(flags.pad());
        if key_end > end {
            return anatomy;
        }
        let key = bytes.get(at..key_end).unwrap_or_default();
        let value = bytes.get(key_end..end).unwrap_or_default();
        anatomy.push(bytes, (at, key_len), "key", abridged(key));
        let meaning = format!("{}: {}", Size(value.len() as u64), abridged(value));
        anatomy.push(bytes, (key_end, end - key_end), "value", meaning);
        anatomy.push(bytes, (end, flags.pad()), "pad", String::new());
        let seed = Seed::new(store_key, location, commit);
        let head = bytes.get(20..key_end).unwrap_or_default();
        let covers = "value check to the end of the key, commit word, version and place";
        anatomy.check_32(bytes, (16, "head check", covers), seed.with(version).check(head));
        let covers = "value, commit word and place";
        anatomy.check_32(bytes, (20, "value check", covers), seed.check(value));
        anatomy
    }

    /// A padding, or what looks like one.
    pub(crate) fn of_padding(bytes: &[u8], store_key: StoreKey, location: Location) -> Self {
        let mut anatomy = Self::default();
        let Some(commit) = anatomy.commit_word(bytes, store_key) else { return anatomy };
        let Some(head) = bytes.get(..PADDING_HEAD_BYTES) else { return anatomy };
        let is_filler = head.get(8..10) == Some(&[0xff, 0xff]);
        let flush = if is_filler { "filler".to_owned() } else { number(head, 8, 2).to_string() };
        anatomy.push(bytes, (8, 2), "flush number", flush);
        anatomy.push(bytes, (10, 2), "start sector", number(head, 10, 2).to_string());
        anatomy.push(bytes, (12, 4), "check", String::new());
        let seed = Seed::new(store_key, location, commit);
        let covered = head.get(8..12).unwrap_or_default();
        anatomy.check_32(
            bytes,
            (12, "check", "flush number, start sector, commit word and place"),
            seed.check(covered),
        );
        anatomy
    }

    /// Every checksum matches, and there is one.
    pub(crate) fn is_good(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.good)
    }

    fn of_layout(bytes: &[u8], layout: &Layout) -> Self {
        let mut anatomy = Self::default();
        for (offset, length, name, kind) in layout {
            let part = bytes.get(*offset..offset + length).unwrap_or_default();
            let value = number(bytes, *offset, (*length).min(8));
            let meaning = match kind {
                Kind::Text => format!("\"{}\"", part.escape_ascii()),
                Kind::Hex => to_hex(part),
                Kind::Number => value.to_string(),
                Kind::Time if value == 0 => "never".to_owned(),
                Kind::Time => Instant(value).to_string(),
                Kind::Bytes => Size(value).to_string(),
                Kind::Flags(names) => set_names(value, names),
            };
            anatomy.push(bytes, (*offset, *length), name, meaning);
        }
        anatomy
    }

    /// The commit word that `bytes` start with.
    fn commit_word(&mut self, bytes: &[u8], store_key: StoreKey) -> Option<CommitWord> {
        let word = CommitWord::from_raw(u64::from_le_bytes(*bytes.first_chunk()?));
        let kind = if word.is_padding() { "PADDING, " } else { "" };
        let length = word.rblocks().map_or(0, std::num::NonZero::get);
        let bytes_said = Size(u64::from(length) * u64::from(RBLOCK_BYTES));
        let sequence = word.sequence(store_key).0;
        let meaning = format!("{kind}sequence {sequence}, {length} rblocks ({bytes_said})");
        self.push(bytes, (0, 8), "commit word", meaning);
        Some(word)
    }

    /// A field, if it is there.
    fn push(
        &mut self,
        bytes: &[u8],
        (offset, length): (usize, usize),
        name: &'static str,
        meaning: String,
    ) {
        let Some(part) = bytes.get(offset..offset + length).filter(|part| !part.is_empty()) else {
            return;
        };
        let hex = to_hex(part.get(..SHOWN_MAX).unwrap_or(part));
        self.fields.push(Field { offset, length, name, hex, meaning });
    }

    fn check_64(&mut self, bytes: &[u8], at: usize, covers: &'static str, computed: u64) {
        let Some(stored) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) else { return };
        let stored = u64::from_le_bytes(*stored);
        self.push(bytes, (at, 8), "checksum", String::new());
        let (good, name) = (stored == computed, "checksum");
        let [stored, computed] = [stored, computed].map(|digest| format!("{digest:016x}"));
        self.checks.push(Check { name, covers, stored, computed, good });
    }

    fn check_32(
        &mut self,
        bytes: &[u8],
        (at, name, covers): (usize, &'static str, &'static str),
        computed: u32,
    ) {
        let Some(stored) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) else { return };
        let stored = u32::from_le_bytes(*stored);
        let good = stored == computed;
        let [stored, computed] = [stored, computed].map(|digest| format!("{digest:08x}"));
        self.checks.push(Check { name, covers, stored, computed, good });
    }

    /// Offset, bytes, name and meaning a line; `indent` spaces in front.
    pub(crate) fn write(&self, out: &mut dyn Write, indent: usize) -> io::Result<()> {
        for field in &self.fields {
            let check = self.checks.iter().find(|check| check.name == field.name);
            let meaning = check.map_or_else(|| field.meaning.clone(), Check::verdict);
            let shown: String = field.hex.chars().take(2 * LINE_BYTES).collect();
            let more = if field.length > LINE_BYTES { ".." } else { "" };
            let Field { offset, name, .. } = field;
            let hex = format!("{shown}{more}");
            writeln!(out, "{:indent$}{offset:>6}  {hex:<34}  {name:<14}  {meaning}", "")?;
        }
        Ok(())
    }
}

impl Check {
    fn verdict(&self) -> String {
        let Self { stored, computed, good, .. } = self;
        if *good {
            format!("{stored}, good")
        } else {
            format!("{stored} stored, {computed} expected: DOES NOT MATCH")
        }
    }
}

/// What a padding is, in words.
pub(crate) fn padding_text(padding: Padding) -> String {
    match padding {
        Padding::Filler => "filler".to_owned(),
        Padding::FlushEnd { number, start_sector } => {
            format!("end of flush {number}, which began at sector {start_sector}")
        }
    }
}

/// The names of the flags of a record that are set.
pub(crate) fn flags_text(flags: Flags) -> String {
    let set = RECORD_FLAGS.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name);
    let mut text: Vec<String> = set.map(str::to_owned).collect();
    if !flags.is_supported() {
        text.push("UNKNOWN".to_owned());
    }
    if text.is_empty() { "no flags".to_owned() } else { text.join(", ") }
}

fn set_names(value: u64, names: &[&str]) -> String {
    let set = (0..).zip(names).filter(|(bit, _): &(u32, _)| value >> bit & 1 == 1);
    let mut text: Vec<&str> = set.map(|(_, name)| *name).collect();
    if value >> names.len() != 0 {
        text.push("UNKNOWN");
    }
    if text.is_empty() { "none".to_owned() } else { text.join(", ") }
}

/// The first bytes of a key or value, for people.
pub(crate) fn abridged(bytes: &[u8]) -> String {
    let first = bytes.get(..SHOWN_MAX).unwrap_or(bytes);
    let more = if bytes.len() > SHOWN_MAX { " .." } else { "" };
    format!("{}{more}", shown_key(first))
}

/// The little-endian number of `length` bytes at `at`; what is missing is zero.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let part = bytes.get(at..).unwrap_or_default();
    let digits = part.iter().take(length.min(8)).enumerate();
    digits.map(|(place, byte)| u64::from(*byte) << (8 * place)).sum()
}
