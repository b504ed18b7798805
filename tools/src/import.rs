//! `import`: lines of JSON into a store. The one command that writes.
//!
//! A line that is no record is reported, skipped and counted; what the store or the input refuses
//! ends the import, and what was put before is stored. Everything is durable when it returns.

use crate::args::{ImportArgs, PathArgs};
use crate::error::{Failure, Outcome};
use crate::input::{Came, Input};
use crate::line::{Life, Wanted};
use crate::output::{warn, write_document};
use crate::progress::Progress;
use crate::shadow::Shadow;
use crate::text::Size;
use brindle::format::{Superblock, Version, WBLOCK_BYTES_MAX, WBLOCK_HEADER_BYTES};
use brindle::{Config, Error, Health, PutOptions, Store};
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// A new store for standard input, of which nobody knows the length.
const DATA_BYTES_UNKNOWN: u64 = 1 << 30;
/// Sizes that are chosen are multiples of this, and leave at least as much to spare.
const DATA_BYTES_STEP: u64 = 64 << 20;
/// Skipped lines that a JSON document lists; all are counted.
const LISTED_MAX: usize = 1_000;
/// A store that cannot take a put just now is asked again for so long.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// What became of the lines.
#[derive(Debug, Default, Serialize)]
struct Imported {
    lines: u64,
    /// Stored, or stored already.
    put: u64,
    /// Lost to a higher version that was there.
    older: u64,
    skipped: u64,
    /// Of text, unpacked.
    bytes: u64,
    seconds: f64,
    /// Size of the store.
    data_size_bytes: Option<Size>,
    skipped_lines: Vec<Skipped>,
}

#[derive(Debug, Serialize)]
struct Skipped {
    line: u64,
    reason: String,
}

/// `brindle import`.
pub(crate) fn run(
    args: &ImportArgs,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let mut input = Input::open(&args.file)?;
    let store = open(args, &input)?;
    let mut imported = Imported {
        data_size_bytes: Some(Size(store.stats().data_size_bytes)),
        ..Imported::default()
    };
    let done = put_all(&store, &mut input, &mut imported);
    let closed = store.close().map_err(failed("make durable what was put"));
    (imported.lines, imported.bytes) = (input.lines, input.bytes);
    imported.seconds = started.elapsed().as_secs_f64();
    if is_json {
        write_document(out, "brindle-import/1", &imported)?;
    } else {
        write_imported(out, &imported)?;
    }
    done.and(closed).map(|()| Outcome::Good)
}

/// Opens the store: an existing one as it is, a new one as large as the input asks for.
fn open(args: &ImportArgs, input: &Input) -> Result<Store, Failure> {
    let existing = existing(&args.shadow_dir);
    let wblock_bytes =
        existing.map_or(WBLOCK_BYTES_MAX, |superblock| superblock.geometry.wblock_bytes);
    let room = u64::from(wblock_bytes - WBLOCK_HEADER_BYTES);
    let mut config = Config::new().shadow_dir(&args.shadow_dir).max_record_size(room);
    let data_size = match (args.data_size, existing) {
        (Some(Size(bytes)), _) => Some(bytes),
        // Created and never opened: what it was to become.
        (None, Some(superblock)) if superblock.generation <= 1 => {
            Some(superblock.geometry.region_bytes())
        }
        (None, Some(_)) => None,
        (None, None) => Some(chosen_bytes(input)),
    };
    if let Some(bytes) = data_size {
        config = config.data_size(bytes);
    }
    let store = Store::open(config).map_err(failed("open the store"))?;
    if let Health::DataLoss { damaged, .. } = store.health() {
        warn(format_args!("the store has {damaged} damaged places: `brindle verify` lists them"));
    }
    Ok(store)
}

/// What the first member of a shadow in `dir` says. What is wrong there is for the engine to say.
fn existing(dir: &Path) -> Option<Superblock> {
    let args = PathArgs { path: dir.to_owned(), members: Vec::new() };
    Shadow::open(&args).ok()?.members.first().map(|member| member.superblock)
}

/// The shortest line, of 22 bytes, makes a record of 32: twice the text is always enough.
fn chosen_bytes(input: &Input) -> u64 {
    let twice = |text: u64| text.saturating_mul(2).saturating_add(DATA_BYTES_STEP);
    let chosen = input.text_bytes_expected.map_or(DATA_BYTES_UNKNOWN, twice);
    chosen.div_ceil(DATA_BYTES_STEP).saturating_mul(DATA_BYTES_STEP)
}

fn put_all(store: &Store, input: &mut Input, imported: &mut Imported) -> Result<(), Failure> {
    let progress = Progress::new("importing", input.file_bytes);
    let mut line = Vec::new();
    while let Some(came) = input.next(&mut line)? {
        progress.set(input.taken());
        let text = if input.lines == 1 { without_mark(&line) } else { &line };
        if came == Came::Whole && text.trim_ascii().is_empty() {
            continue;
        }
        let put = match came {
            Came::Whole => Wanted::parse(text).map(|wanted| put(store, &wanted)),
            Came::TooLong => Err("longer than any record".to_owned()),
        };
        let skipped = match put {
            Ok(Ok(())) => {
                imported.put += 1;
                continue;
            }
            Ok(Err(Error::VersionConflict { .. })) => {
                imported.older += 1;
                continue;
            }
            Ok(Err(error)) if is_of_record(&error) => error.to_string(),
            Ok(Err(error)) => return Err(stopped(store, error, input.lines, imported.put)),
            Err(reason) => reason,
        };
        imported.skip(input.lines, skipped, &progress);
    }
    Ok(())
}

/// Puts a record, and again while the store only asks for a little patience.
fn put(store: &Store, wanted: &Wanted) -> Result<(), Error> {
    let mut options = match wanted.life {
        Life::Endless => PutOptions::new().ttl(Duration::ZERO),
        Life::Ms(ms) => PutOptions::new().ttl(Duration::from_millis(ms)),
        Life::Until(us) => PutOptions::new().expires_at(UNIX_EPOCH + Duration::from_micros(us)),
    };
    if let Some(version) = wanted.version {
        options = options.version(Version::from(version));
    }
    let started = Instant::now();
    loop {
        match store.put_with(&wanted.key, &wanted.value, &options) {
            Err(Error::Overloaded) if started.elapsed() < PATIENCE => thread::sleep(PAUSE),
            // Reclaim may be behind: it needs less time than a shadow that does not keep up.
            Err(Error::OutOfSpace | Error::StopWrites { .. })
                if started.elapsed() < PATIENCE / 10 =>
            {
                thread::sleep(PAUSE);
            }
            done => return done.map(|_| ()),
        }
    }
}

/// The error speaks of this record alone: the next one may be put.
fn is_of_record(error: &Error) -> bool {
    matches!(error, Error::EmptyKey | Error::KeyTooLong | Error::RecordTooLarge { .. })
}

fn stopped(store: &Store, error: Error, line: u64, put: u64) -> Failure {
    if matches!(error, Error::OutOfSpace | Error::StopWrites { .. }) {
        let data_size = Size(store.stats().data_size_bytes).to_string();
        return Failure::Full { data_size, line, put, source: Box::new(error) };
    }
    failed("put a record")(error)
}

fn failed(op: &'static str) -> impl Fn(Error) -> Failure {
    move |error| Failure::Engine { op, source: Box::new(error) }
}

/// Some editors put a byte order mark in front of the first line.
fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line)
}

impl Imported {
    fn skip(&mut self, line: u64, reason: String, progress: &Progress) {
        self.skipped += 1;
        progress.suspend(|| warn(format_args!("line {line} is skipped: {reason}")));
        if self.skipped_lines.len() < LISTED_MAX {
            self.skipped_lines.push(Skipped { line, reason });
        }
    }
}

fn write_imported(out: &mut dyn Write, imported: &Imported) -> Result<(), Failure> {
    let Imported { lines, put, older, skipped, bytes, seconds, .. } = imported;
    let bytes = Size(*bytes);
    writeln!(
        out,
        "{lines} lines read ({bytes}): {put} put, {older} older, {skipped} skipped, in \
         {seconds:.2} s"
    )
    .map_err(Failure::Output)
}
