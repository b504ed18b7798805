//! `salvage`: what can be read of a damaged shadow, into a new store; and what could not be.
//!
//! Two readings: the first finds the winners and all damage, the second puts the winners. A wblock
//! whose header is damaged is walked as of the life that its first commit word names.

use crate::args::SalvageArgs;
use crate::error::{Failure, Outcome};
use crate::findings::{Checked, Checker, Counts, Finding};
use crate::guess::adopt_headless;
use crate::import::{Put, Target};
use crate::line::{Life, Wanted};
use crate::live::{is_live, now_us};
use crate::output::{warn, write_document};
use crate::progress::Progress;
use crate::shadow::{Member, Shadow};
use crate::text::Size;
use crate::wblock::{Reader, Walked, Wblock};
use crate::winners::{Note, Winner, Winners};
use brindle::format::{RBLOCK_BYTES, RecordView, WblockHeader};
use schemars::JsonSchema;
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Losses that a JSON document lists; all are counted.
const LISTED_MAX: usize = 10_000;
/// The new store has at least as much to spare.
const SPARE_BYTES: u64 = 64 << 20;

/// `brindle-salvage/1`: what was saved, and what was not.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Salvaged {
    /// Nothing is damaged, and every live record was saved.
    complete: bool,
    /// Records in the new store.
    saved: u64,
    /// Bytes of their keys and values.
    saved_bytes: u64,
    /// Live records that had expired by now.
    expired: u64,
    /// Live records that the new store refused.
    refused: u64,
    /// Files of which the shape was told by headers of wblocks.
    guessed_shadows: usize,
    /// Keys whose newest record is damaged; `--older` saves an older one.
    lost_keys: u64,
    /// Records in wblocks without a header, or stale; `--uncertain` takes them.
    uncertain: u64,
    /// Findings that are damage.
    damaged: u64,
    counts: Counts,
    /// At most 10,000 of them.
    findings: Vec<Finding>,
    findings_left_out: u64,
}

/// `brindle salvage`.
pub(crate) fn run(
    args: &SalvageArgs,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    require_empty(&args.to)?;
    let (mut shadow, _) = Shadow::open_any(&args.paths)?;
    let guessed_shadows = adopt_headless(&mut shadow);
    shadow.check_set(args.paths.path.is_dir() || !args.paths.members.is_empty());
    shadow.keep_first_store();
    let shadow = shadow.require_member(&args.paths)?;
    if guessed_shadows > 0 {
        warn(format_args!("{guessed_shadows} files without a superblock: read by their wblocks"));
    }
    let mut salvage = Salvage::new(args, is_json, out);
    let mut winners = Winners::new(&shadow, Note::Rblocks);
    let opened_at = salvage.search(&shadow, &mut winners)?;
    let lost_keys =
        winners.all().filter(|winner| winner.is_lost() && !winner.is_tombstone()).count() as u64;
    let rblocks: u64 = winners.alive().map(Winner::noted).sum();
    let needed = rblocks * u64::from(RBLOCK_BYTES) * 2 + SPARE_BYTES;
    let data_bytes = args.data_size.map_or(needed.next_multiple_of(SPARE_BYTES), |size| size.0);
    let mut target = Target::create(&args.to, data_bytes)?;
    let now_us = now_us(shadow.clock_floor().max(opened_at));
    let done = salvage.save(&shadow, &winners, &mut target, now_us);
    done.and(target.close())?;
    let Salvage { checked, losses, saved, .. } = salvage;
    let Losses { out, findings, left_out: findings_left_out, .. } = losses;
    let Checked { counts, damaged } = checked;
    let salvaged = Salvaged {
        complete: damaged == 0 && saved.refused == 0,
        saved: saved.records,
        saved_bytes: saved.bytes,
        expired: saved.expired,
        refused: saved.refused,
        guessed_shadows,
        lost_keys,
        uncertain: saved.uncertain,
        damaged,
        counts,
        findings,
        findings_left_out,
    };
    if is_json {
        write_document(out, "brindle-salvage/1", &salvaged)?;
    } else {
        write_salvaged(out, &salvaged, &args.to)?;
    }
    Ok(if salvaged.complete { Outcome::Good } else { Outcome::Bad })
}

/// A new store begins in an empty directory.
fn require_empty(dir: &Path) -> Result<(), Failure> {
    let failed = |source| Failure::File { op: "list", path: dir.to_owned(), source };
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Failure::Usage(format!(
                "{} is not empty: name a directory that is new",
                dir.display()
            ))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

#[derive(Default)]
struct Saved {
    records: u64,
    bytes: u64,
    expired: u64,
    refused: u64,
    uncertain: u64,
}

/// Where findings go: to the reader at once, or into the document.
struct Losses<'a> {
    is_json: bool,
    out: &'a mut dyn Write,
    findings: Vec<Finding>,
    left_out: u64,
}

impl Losses<'_> {
    fn tell(&mut self, finding: Finding, progress: &Progress) -> Result<(), Failure> {
        if !self.is_json {
            let mut written = Ok(());
            progress.suspend(|| written = writeln!(self.out, "{finding}"));
            return written.map_err(Failure::Output);
        }
        if self.findings.len() < LISTED_MAX {
            self.findings.push(finding);
        } else {
            self.left_out += 1;
        }
        Ok(())
    }
}

struct Salvage<'a> {
    args: &'a SalvageArgs,
    losses: Losses<'a>,
    checked: Checked,
    saved: Saved,
}

impl<'a> Salvage<'a> {
    fn new(args: &'a SalvageArgs, is_json: bool, out: &'a mut dyn Write) -> Self {
        let (checked, saved) = (Checked::default(), Saved::default());
        let losses = Losses { is_json, out, findings: Vec::new(), left_out: 0 };
        Self { args, losses, checked, saved }
    }

    /// The first reading: when the last wblock was opened.
    fn search(&mut self, shadow: &Shadow, winners: &mut Winners<'_>) -> Result<u64, Failure> {
        let progress = Progress::new("searching", Some(shadow.wblock_bytes_total()));
        let args = self.args;
        let mut uncertain_records = 0;
        let losses = &mut self.losses;
        let mut checker = Checker::begin(shadow, |finding| losses.tell(finding, &progress))?;
        let mut opened_at = 0;
        let mut reader = Reader::default();
        for member in &shadow.members {
            for place in member.places() {
                progress.add(member.superblock.geometry.wblock_bytes.into());
                let wblock = reader.load(member, place);
                checker.check_wblock(member, place, &wblock)?;
                if let Wblock::Read(walked) = &wblock {
                    opened_at = opened_at.max(walked.header.opened_at);
                    take(winners, walked, args.older)?;
                    continue;
                }
                let doubt = Doubt::of(&wblock);
                let Some(walked) = doubt.walk(member, place, &mut reader) else { continue };
                uncertain_records += u64::from(walked.scan.records);
                match (args.uncertain, args.older) {
                    (true, takes_older) => take(winners, &walked, takes_older)?,
                    (false, true) => {}
                    // What is older must not come back as if it were current.
                    (false, false) => winners.take_as_lost(&walked)?,
                }
            }
        }
        self.checked = checker.end(shadow)?;
        self.saved.uncertain = uncertain_records;
        Ok(opened_at)
    }

    /// The second reading.
    fn save(
        &mut self,
        shadow: &Shadow,
        winners: &Winners<'_>,
        target: &mut Target,
        now_us: u64,
    ) -> Result<(), Failure> {
        let progress = Progress::new("saving", Some(shadow.wblock_bytes_total()));
        let mut reader = Reader::default();
        for member in &shadow.members {
            for place in member.places() {
                let wblock = reader.load(member, place);
                if let Wblock::Read(walked) = &wblock {
                    self.put_all(walked, winners, target, now_us)?;
                } else if let Some(walked) = Doubt::of(&wblock).walk(member, place, &mut reader) {
                    if self.args.uncertain {
                        self.put_all(&walked, winners, target, now_us)?;
                    } else {
                        self.tell_lost((member, place), &walked, winners, &progress)?;
                    }
                }
                progress.add(member.superblock.geometry.wblock_bytes.into());
            }
        }
        Ok(())
    }

    /// Names the keys whose newest record lies in a wblock that is uncertain.
    fn tell_lost(
        &mut self,
        (member, place): (&Member, u32),
        walked: &Walked<'_>,
        winners: &Winners<'_>,
        progress: &Progress,
    ) -> Result<(), Failure> {
        for (location, view) in walked.records() {
            if view.is_tombstone() || !winners.is_lost_at(location, &view) {
                continue;
            }
            let version = view.version();
            let what = format!("version {version} of the key is uncertain, and hides older copies");
            self.checked.damaged += 1;
            let rblock = u32::try_from(location.0 - walked.first_location().0).ok();
            let finding = Finding {
                rblock,
                rblocks: Some(view.rblocks()),
                is_damage: true,
                key: Some(view.key().to_vec()),
                ..Finding::of_wblock(member, place, &what)
            };
            self.losses.tell(finding, progress)?;
        }
        Ok(())
    }

    fn put_all(
        &mut self,
        walked: &Walked<'_>,
        winners: &Winners<'_>,
        target: &mut Target,
        now_us: u64,
    ) -> Result<(), Failure> {
        for (location, view) in walked.records() {
            if winners.winner_at(location, &view).is_none() {
                continue;
            }
            if !is_live(&view, now_us) {
                self.saved.expired += 1;
                continue;
            }
            match target.put(&wanted(&view)) {
                Put::Done | Put::Older => {
                    self.saved.records += 1;
                    self.saved.bytes += (view.key().len() + view.value().len()) as u64;
                }
                Put::Refused(reason) => {
                    self.saved.refused += 1;
                    let key = crate::text::shown_key(view.key());
                    warn(format_args!("{key} is refused by the new store: {reason}"));
                }
                Put::Stopped(error) => return Err(target.stopped(error, target.put)),
            }
        }
        Ok(())
    }
}

fn wanted(view: &RecordView<'_>) -> Wanted {
    Wanted {
        key: view.key().to_vec(),
        value: view.value().to_vec(),
        life: view.expires_at().map_or(Life::Endless, Life::Until),
        version: Some(view.version().into()),
    }
}

fn take(winners: &mut Winners<'_>, walked: &Walked<'_>, takes_older: bool) -> Result<(), Failure> {
    if takes_older { winners.take_whole(walked) } else { winners.take(walked) }
}

/// Whether records of a wblock that verify may yet not be what was there last.
#[derive(Clone, Copy)]
enum Doubt {
    None,
    /// It is stale, and this is its header.
    Stale(WblockHeader),
    /// It has no header: its first commit word names its life.
    Headless,
}

impl Doubt {
    const fn of(wblock: &Wblock<'_>) -> Self {
        match wblock {
            Wblock::Stale(header) => Self::Stale(*header),
            Wblock::Damaged => Self::Headless,
            Wblock::Free
            | Wblock::Struck(_)
            | Wblock::Foreign(_)
            | Wblock::Missing
            | Wblock::Lost
            | Wblock::Refused(_)
            | Wblock::Read(_) => Self::None,
        }
    }

    /// Walks a wblock that is in doubt.
    fn walk<'r>(self, member: &Member, place: u32, reader: &'r mut Reader) -> Option<Walked<'r>> {
        let header = match self {
            Self::None => return None,
            Self::Stale(header) => header,
            Self::Headless => reader.guess_life(member, place)?,
        };
        reader.load_life(member, place, header).ok()
    }
}

fn write_salvaged(out: &mut dyn Write, salvaged: &Salvaged, to: &Path) -> Result<(), Failure> {
    let Salvaged { saved, saved_bytes, expired, refused, lost_keys, uncertain, damaged, .. } =
        salvaged;
    let to = crate::text::shown(&to.display().to_string()).into_owned();
    let size = Size(*saved_bytes);
    writeln!(
        out,
        "saved {saved} records ({size} of keys and values) to {to}; {expired} had expired, \
         {refused} were refused\n\
         {damaged} damaged: {lost_keys} keys lost by name, {uncertain} records in wblocks that are \
         uncertain"
    )
    .map_err(Failure::Output)
}
