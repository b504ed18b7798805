//! `wblock`: one wblock, its header byte by byte and all that lies in it.

use crate::anatomy::{Anatomy, HEADER_COPY_BYTES, abridged, padding_text};
use crate::args::WblockArgs;
use crate::error::{Failure, Outcome};
use crate::findings::{describe, foreign};
use crate::line::KeyText;
use crate::output::{write_document, write_fact};
use crate::shadow::{Member, Shadow};
use crate::text::{Instant, Size, to_hex};
use crate::wblock::{Reader, Walked, Wblock, at, counted, counts};
use brindle::format::{
    CommitWord, Counted, Damage, Padding, RBLOCK_BYTES, SECTOR_RBLOCKS, StoreKey, WblockId,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{self, Write};

/// Bytes of an entry that `--hex` shows.
const HEX_MAX: usize = 256;

/// `brindle-wblock/1`: one wblock.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WblockReport {
    /// Its number in the region.
    wblock: u32,
    path: String,
    stripe: u32,
    /// Its number among the wblocks of its stripe.
    place: u32,
    /// The byte of the file at which it starts.
    offset: u64,
    state: String,
    census: String,
    /// Copies of the header, the one at 0 first.
    header_copies: [Anatomy; 2],
    entries: Vec<Entry>,
    /// The rblock behind the last entry.
    end_rblock: u32,
}

/// Something in a wblock.
#[derive(Debug, Serialize, JsonSchema)]
struct Entry {
    rblock: u32,
    rblocks: u32,
    kind: Kind,
    /// In words.
    what: String,
    #[serde(flatten)]
    #[schemars(with = "Option<KeyText<'static>>")]
    key: Option<KeyText<'static>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_us: Option<u64>,
    /// Its first bytes in hex digits, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Record,
    Tombstone,
    /// The end of a flush, or a filler.
    Padding,
    /// Does not verify, and was durable once.
    Damage,
    /// Does not verify, and was never durable.
    Torn,
}

/// `brindle wblock`.
pub(crate) fn run(
    args: &WblockArgs,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let shadow = Shadow::open_part(&args.paths)?;
    let absent = || Failure::Usage(format!("wblock {} is not in what was named", args.wblock));
    let (member, place) = shadow.member_of(WblockId(args.wblock)).ok_or_else(absent)?;
    let report = look_at(member, place, args.hex)?;
    if is_json {
        write_document(out, "brindle-wblock/1", &report)?;
    } else {
        write_report(out, &report)?;
    }
    Ok(Outcome::Good)
}

fn look_at(member: &Member, place: u32, has_hex: bool) -> Result<WblockReport, Failure> {
    let failed = |source| Failure::File { op: "read", path: member.path.clone(), source };
    let mut reader = Reader::default();
    let header = reader.header(member, place).map_err(failed)?;
    let census = census_text(member, place, counted(member, place, &header));
    let mut head = vec![0; 2 * HEADER_COPY_BYTES];
    let read = member.read_at(&mut head, member.offset_of(place)).map_err(failed)?;
    head.truncate(read);
    let (first, second) = head.split_at_checked(HEADER_COPY_BYTES).unwrap_or((&head, &[]));
    let header_copies = [Anatomy::of_header(first), Anatomy::of_header(second)];
    let store_id = member.superblock.store_id;
    let in_life =
        |sequence: u64, opened_at| format!("life {sequence}, opened {}", Instant(opened_at));
    let mut found = None;
    let state = match reader.load(member, place) {
        Wblock::Free => "free: never written".to_owned(),
        Wblock::Struck(header) => {
            found = Some(header);
            format!("struck out: {}", in_life(header.sequence.0, header.opened_at))
        }
        Wblock::Foreign(header) => format!("foreign: {}", foreign(&header, store_id)),
        Wblock::Damaged => "damaged: neither copy of the header verifies".to_owned(),
        Wblock::Missing => "missing: the file ends before it".to_owned(),
        Wblock::Lost => "missing: zeros".to_owned(),
        Wblock::Stale(header) => {
            found = Some(header);
            format!("stale: {}", in_life(header.sequence.0, header.opened_at))
        }
        Wblock::Refused(error) => format!("cannot be read: {error}"),
        Wblock::Read(walked) => {
            let flux = if walked.in_flux { "; being written just now" } else { "" };
            let header = walked.header;
            let state = format!("in use: {}{flux}", in_life(header.sequence.0, header.opened_at));
            let report = Report { member, place, state, census, header_copies };
            return Ok(report.with(&walked, has_hex));
        }
    };
    let report = Report { member, place, state, census, header_copies };
    let guessed = found.or_else(|| reader.guess_life(member, place));
    let Some(header) = guessed else { return Ok(report.empty()) };
    let walked = reader.load_life(member, place, header).map_err(failed)?;
    let mut report = report.with(&walked, has_hex);
    let sequence = header.sequence.0;
    report.state = format!("{}; of life {sequence} there still is what follows", report.state);
    Ok(report)
}

/// A report without its entries.
struct Report<'m> {
    member: &'m Member,
    place: u32,
    state: String,
    census: String,
    header_copies: [Anatomy; 2],
}

impl Report<'_> {
    fn empty(self) -> WblockReport {
        let Self { member, place, state, census, header_copies } = self;
        WblockReport {
            wblock: member.wblock_at(place).0,
            path: member.path.display().to_string(),
            stripe: member.superblock.stripe,
            place,
            offset: member.offset_of(place),
            state,
            census,
            header_copies,
            entries: Vec::new(),
            end_rblock: 0,
        }
    }

    fn with(self, walked: &Walked<'_>, has_hex: bool) -> WblockReport {
        let mut entries = entries(walked);
        if has_hex {
            for entry in &mut entries {
                entry.hex = Some(first_bytes(walked, entry));
            }
        }
        let end_rblock = entries.last().map_or(0, |last| last.rblock + last.rblocks);
        WblockReport { entries, end_rblock, ..self.empty() }
    }
}

fn census_text(member: &Member, place: u32, counted: Counted) -> String {
    let tag = member.census.as_ref().and_then(|census| census.tag(place));
    match (counted, tag) {
        (_, None) => "does not count this wblock".to_owned(),
        (Counted::Fine { end_rblock: Some(end) }, _) => {
            format!("as it was, written up to rblock {end}")
        }
        (Counted::Fine { end_rblock: None }, _) => "says nothing against it".to_owned(),
        (Counted::Missing, _) => "there was something here".to_owned(),
        (Counted::Stale, _) => "another life was here".to_owned(),
    }
}

/// Records, damage and paddings, in ascending order.
fn entries(walked: &Walked<'_>) -> Vec<Entry> {
    let first = walked.first_location().0;
    let records = walked.records().map(|(location, view)| {
        let kind = if view.is_tombstone() { Kind::Tombstone } else { Kind::Record };
        let rblock = u32::try_from(location.0 - first).unwrap_or(u32::MAX);
        Entry {
            key: Some(KeyText::of(view.key())),
            version: Some(view.version().into()),
            value_bytes: Some(view.value().len()),
            expires_at_us: view.expires_at(),
            ..Entry::new(rblock, view.rblocks(), kind, crate::anatomy::flags_text(view.flags()))
        }
    });
    let damage = walked.scan.damage.iter().map(|damage| entry_of(walked, damage));
    let mut known: Vec<Entry> = records.chain(damage).collect();
    known.sort_by_key(|entry| entry.rblock);
    let mut entries = Vec::with_capacity(known.len());
    let mut rblock = brindle::format::WBLOCK_HEADER_RBLOCKS;
    for entry in known {
        push_paddings(&mut entries, walked, rblock, entry.rblock);
        rblock = entry.rblock.saturating_add(entry.rblocks);
        entries.push(entry);
    }
    push_paddings(&mut entries, walked, rblock, walked.scan.end_rblock);
    entries
}

/// What lies between two entries are paddings that verify.
fn push_paddings(entries: &mut Vec<Entry>, walked: &Walked<'_>, mut rblock: u32, end: u32) {
    let store_key = StoreKey::of(&walked.header.home.store_id);
    while rblock < end {
        let bytes = bytes_from(walked, rblock);
        let Some(word) = bytes.first_chunk() else { return };
        let word = CommitWord::from_raw(u64::from_le_bytes(*word));
        let padding = Padding::decode(bytes, store_key, at(walked.first_location(), rblock));
        let (Some(rblocks), Some(padding)) = (word.rblocks(), padding) else { return };
        entries.push(Entry::new(rblock, rblocks.get(), Kind::Padding, padding_text(padding)));
        rblock = rblock.saturating_add(rblocks.get());
    }
}

fn entry_of(walked: &Walked<'_>, damage: &Damage) -> Entry {
    let is_damage = counts(damage) && !walked.in_flux;
    let view = walked.damaged_record(damage);
    let kind = if is_damage { Kind::Damage } else { Kind::Torn };
    Entry {
        key: view.map(|view| KeyText::of(view.key())),
        version: view.map(|view| view.version().into()),
        ..Entry::new(
            damage.rblock,
            damage.rblocks,
            kind,
            describe(damage, view.as_ref(), is_damage),
        )
    }
}

fn bytes_from<'r>(walked: &Walked<'r>, rblock: u32) -> &'r [u8] {
    walked.image().get(rblock as usize * RBLOCK_BYTES as usize..).unwrap_or_default()
}

fn first_bytes(walked: &Walked<'_>, entry: &Entry) -> String {
    let bytes = bytes_from(walked, entry.rblock);
    let length = (entry.rblocks as usize * RBLOCK_BYTES as usize).min(HEX_MAX);
    to_hex(bytes.get(..length).unwrap_or(bytes))
}

impl Entry {
    fn new(rblock: u32, rblocks: u32, kind: Kind, what: String) -> Self {
        let (key, version, value_bytes) = (None, None, None);
        let (expires_at_us, hex) = (None, None);
        Self { rblock, rblocks, kind, what, key, version, value_bytes, expires_at_us, hex }
    }
}

fn write_report(out: &mut dyn Write, report: &WblockReport) -> Result<(), Failure> {
    let WblockReport { wblock, path, stripe, place, offset, .. } = report;
    let home = format!("{wblock}: place {place} of stripe {stripe}, {path}, byte {offset}");
    write_fact(out, "wblock", home)?;
    write_fact(out, "state", &report.state)?;
    write_fact(out, "census", &report.census)?;
    write_rest(out, report).map_err(Failure::Output)
}

fn write_rest(out: &mut dyn Write, report: &WblockReport) -> io::Result<()> {
    let [first, second] = &report.header_copies;
    writeln!(out, "header, first copy")?;
    first.write(out, 0)?;
    let is_same =
        first.fields.iter().map(|field| &field.hex).eq(second.fields.iter().map(|f| &f.hex));
    writeln!(out, "header, second copy{}", if is_same { ": the same" } else { "" })?;
    if !is_same {
        second.write(out, 0)?;
    }
    if report.entries.is_empty() {
        return writeln!(out, "nothing in it");
    }
    writeln!(out, "{:>8} {:>8}  kind", "rblock", "rblocks")?;
    for entry in &report.entries {
        write_entry(out, entry)?;
    }
    let end = report.end_rblock;
    writeln!(
        out,
        "{end:>8}           end of what was written, sector {}",
        end.div_ceil(SECTOR_RBLOCKS)
    )
}

fn write_entry(out: &mut dyn Write, entry: &Entry) -> io::Result<()> {
    let Entry { rblock, rblocks, kind, what, key, version, value_bytes, expires_at_us, hex } =
        entry;
    let kind = format!("{kind:?}").to_lowercase();
    write!(out, "{rblock:>8} {rblocks:>8}  {kind:<9}")?;
    if let Some(key) = key {
        write!(out, "  key {}", abridged(&key.bytes()))?;
    }
    if let (Some(bytes), Some(version)) = (value_bytes, version) {
        write!(out, "  version {version}  value {}", Size(*bytes as u64))?;
    }
    if let Some(expires) = expires_at_us {
        write!(out, "  until {}", Instant(*expires))?;
    }
    writeln!(out, "  {what}")?;
    let digits = hex.as_deref().unwrap_or_default().as_bytes();
    for (at, line) in (0..).step_by(16).zip(digits.chunks(32)) {
        let line = String::from_utf8_lossy(line);
        writeln!(out, "{:>20}{at:>6}  {line}", "")?;
    }
    Ok(())
}
