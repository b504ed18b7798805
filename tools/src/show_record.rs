//! `record`: what lies at one location, byte by byte.

use crate::anatomy::Anatomy;
use crate::args::{RecordArgs, Spot};
use crate::error::{Failure, Outcome};
use crate::output::{write_document, write_fact};
use crate::shadow::Shadow;
use crate::wblock::Reader;
use brindle::format::{
    CommitWord, Geometry, HeaderState, Location, RBLOCK_BYTES, RecordView, Sequence, StoreKey,
    Verdict, WblockId,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::io::Write;

/// `brindle-record/1`: what lies at one location.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RecordReport {
    /// Rblocks from the start of the region.
    location: u64,
    wblock: u32,
    rblock: u32,
    path: String,
    /// The byte of the file at which it starts.
    offset: u64,
    /// What it is, and whether it counts.
    verdict: String,
    /// It verifies, and its wblock is of its life.
    good: bool,
    #[serde(flatten)]
    anatomy: Anatomy,
}

/// `brindle record`.
pub(crate) fn run(
    args: &RecordArgs,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let shadow = Shadow::open_part(&args.paths)?;
    let report = look_at(&shadow, args.location)?;
    if is_json {
        write_document(out, "brindle-record/1", &report)?;
    } else {
        let RecordReport { location, wblock, rblock, path, offset, verdict, anatomy, .. } = &report;
        let place =
            format!("{location}: rblock {rblock} of wblock {wblock}, {path}, byte {offset}");
        write_fact(out, "location", place)?;
        write_fact(out, "verdict", verdict)?;
        anatomy.write(out, 0).map_err(Failure::Output)?;
        for check in &anatomy.checks {
            write_fact(out, check.name, format_args!("covers {}", check.covers))?;
        }
    }
    Ok(if report.good { Outcome::Good } else { Outcome::Bad })
}

fn look_at(shadow: &Shadow, spot: Spot) -> Result<RecordReport, Failure> {
    let absent = || Failure::Usage("this location is not in what was named".to_owned());
    let geometry = shadow.members.first().map(|member| member.superblock.geometry);
    let geometry = geometry.ok_or_else(absent)?;
    let location = location(geometry, spot).ok_or_else(absent)?;
    let (wblock, rblock) = (geometry.wblock(location), geometry.rblock(location));
    let (member, place) = shadow.member_of(wblock).ok_or_else(absent)?;
    let failed = |source| Failure::File { op: "read", path: member.path.clone(), source };
    let offset = member.offset_of(place) + u64::from(rblock) * u64::from(RBLOCK_BYTES);
    let mut word = [0; 8];
    member.read_at(&mut word, offset).map_err(failed)?;
    let commit = CommitWord::from_raw(u64::from_le_bytes(word));
    // Not behind the end of its wblock, whatever it says.
    let room = geometry.wblock_rblocks() - rblock;
    let rblocks = commit.rblocks().map_or(1, std::num::NonZero::get).min(room);
    let mut bytes = vec![0; rblocks as usize * RBLOCK_BYTES as usize];
    let read = member.read_at(&mut bytes, offset).map_err(failed)?;
    bytes.truncate(read);
    let store_key = StoreKey::of(&member.superblock.store_id);
    let anatomy = if commit.is_padding() {
        Anatomy::of_padding(&bytes, store_key, location)
    } else {
        Anatomy::of_record(&bytes, store_key, location)
    };
    let life = match Reader::default().header(member, place).map_err(failed)? {
        HeaderState::Valid { header, .. } => Some((header.sequence, false)),
        HeaderState::Struck(header) => Some((header.sequence, true)),
        HeaderState::Free | HeaderState::Foreign(_) | HeaderState::Damaged => None,
    };
    let found = Found { commit, store_key, location, is_whole: anatomy.is_good() };
    let (verdict, good) = found.judge(&bytes, life);
    let path = member.path.display().to_string();
    let (location, wblock) = (location.0, wblock.0);
    Ok(RecordReport { location, wblock, rblock, path, offset, verdict, good, anatomy })
}

fn location(geometry: Geometry, spot: Spot) -> Option<Location> {
    let location = match spot {
        Spot::In(wblock, rblock) => (rblock < geometry.wblock_rblocks())
            .then(|| geometry.location(WblockId(wblock), rblock)),
        Spot::At(location) => Some(Location(location)),
    };
    let end = geometry.region_bytes() / u64::from(RBLOCK_BYTES);
    location.filter(|location| location.0 < end)
}

/// What was found at a location.
struct Found {
    commit: CommitWord,
    store_key: StoreKey,
    location: Location,
    is_whole: bool,
}

impl Found {
    /// In words; and whether it counts.
    fn judge(&self, bytes: &[u8], life: Option<(Sequence, bool)>) -> (String, bool) {
        let Self { commit, store_key, location, is_whole } = *self;
        let (kind, is_whole) = if commit.is_padding() {
            ("a padding", is_whole)
        } else {
            let view = RecordView::new(bytes);
            let is_tombstone = view.is_some_and(|view| view.is_tombstone());
            let verdict = view.map_or(Verdict::Bad, |view| view.verify(store_key, location));
            match verdict {
                Verdict::Good if is_tombstone => ("a tombstone", true),
                Verdict::Good => ("a record", true),
                Verdict::BadValue => ("a record of which the value is damaged", false),
                Verdict::Unsupported => ("a record with a flag that is not known", false),
                Verdict::Bad => ("nothing", false),
            }
        };
        match life {
            _ if !is_whole && kind == "nothing" => {
                ("no record or padding begins here: the head does not verify".to_owned(), false)
            }
            _ if !is_whole => (format!("{kind}: it does not verify"), false),
            Some((sequence, false)) if commit.is_of(store_key, sequence) => {
                (format!("{kind} that verifies"), true)
            }
            Some((sequence, true)) if commit.is_of(store_key, sequence) => {
                (format!("{kind} that verifies, in a wblock that is struck out"), false)
            }
            Some((sequence, _)) => (
                format!("{kind} left from another life: the wblock is in life {sequence:?}"),
                false,
            ),
            None => (format!("{kind} that verifies, in a wblock without a header"), false),
        }
    }
}
