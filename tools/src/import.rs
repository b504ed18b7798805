//! `import`: lines of JSON into a store; and the store that `salvage` writes to.
//!
//! A line that is no record is reported, skipped and counted; what the store or the input refuses
//! ends the import, and what was put before is stored. Everything is durable when it returns. A
//! last line that ends in the middle, as after a crash of who wrote it, is said and left out.

use crate::args::{ImportArgs, PathArgs};
use crate::error::{Failure, Outcome};
use crate::input::{Came, Input, InputSizes};
use crate::line::{Life, Wanted};
use crate::output::{warn, write_document};
use crate::progress::Progress;
use crate::shadow::Shadow;
use crate::text::Size;
use brindle::format::{Superblock, Version, WBLOCK_BYTES_MAX, WBLOCK_HEADER_BYTES};
use brindle::{Config, Error, Health, PutOptions, Store};
use schemars::JsonSchema;
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

/// `brindle-import/1`: what became of the lines.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Imported {
    /// Lines read, blank ones included.
    lines: u64,
    /// Stored, or stored already.
    put: u64,
    /// Lost to a higher version that was there.
    older: u64,
    /// Bad lines.
    skipped: u64,
    /// Last lines of files that end in the middle of a document.
    torn: u64,
    /// Of text, unpacked.
    bytes: u64,
    seconds: f64,
    /// Size of the store.
    #[schemars(with = "Option<u64>")]
    data_size_bytes: Option<Size>,
    /// At most 1,000 of them.
    skipped_lines: Vec<Skipped>,
}

/// A line that was not stored.
#[derive(Debug, Serialize, JsonSchema)]
struct Skipped {
    /// Its file, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
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
    // All of them are there before the first line is stored.
    let sizes = args.files.iter().map(|file| Input::sizes(file)).collect::<Result<Vec<_>, _>>()?;
    let mut target = open(args, &sizes)?;
    let mut imported =
        Imported { data_size_bytes: Some(target.data_size()), ..Imported::default() };
    let progress = Progress::new("importing", sizes.iter().map(|size| size.file_bytes).sum());
    let mut done = Ok(());
    for path in &args.files {
        let file = (args.files.len() > 1).then(|| path.display().to_string());
        done = Input::open(path).and_then(|input| {
            Lines { input, file, progress: &progress }.put_all(&mut target, &mut imported)
        });
        if done.is_err() {
            break;
        }
    }
    drop(progress);
    imported.put = target.put;
    let closed = target.close();
    imported.seconds = started.elapsed().as_secs_f64();
    if is_json {
        write_document(out, "brindle-import/1", &imported)?;
    } else {
        write_imported(out, &imported)?;
    }
    done.and(closed).map(|()| Outcome::Good)
}

/// Opens the store: an existing one as it is, a new one as large as the input asks for.
fn open(args: &ImportArgs, sizes: &[InputSizes]) -> Result<Target, Failure> {
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
        (None, None) => Some(chosen_bytes(sizes)),
    };
    if let Some(bytes) = data_size {
        config = config.data_size(bytes);
    }
    let target = Target::open(config)?;
    if let Health::DataLoss { damaged, .. } = target.store.health() {
        warn(format_args!("the store has {damaged} damaged places: `brindle verify` lists them"));
    }
    Ok(target)
}

/// What the first member of a shadow in `dir` says. What is wrong there is for the engine to say.
fn existing(dir: &Path) -> Option<Superblock> {
    let args = PathArgs { path: dir.to_owned(), members: Vec::new() };
    Shadow::open(&args).ok()?.members.first().map(|member| member.superblock)
}

/// The shortest line, of 22 bytes, makes a record of 32: twice the text is always enough.
fn chosen_bytes(sizes: &[InputSizes]) -> u64 {
    let twice = |text: u64| text.saturating_mul(2).saturating_add(DATA_BYTES_STEP);
    let expected: Option<u64> = sizes.iter().map(|sizes| sizes.text_bytes_expected).sum();
    let chosen = expected.map_or(DATA_BYTES_UNKNOWN, twice);
    chosen.div_ceil(DATA_BYTES_STEP).saturating_mul(DATA_BYTES_STEP)
}

/// One of the inputs.
struct Lines<'i> {
    input: Input,
    /// Its name, if there are several.
    file: Option<String>,
    progress: &'i Progress,
}

impl Lines<'_> {
    fn put_all(mut self, target: &mut Target, imported: &mut Imported) -> Result<(), Failure> {
        let done = self.put_lines(target, imported);
        imported.lines += self.input.lines;
        imported.bytes += self.input.bytes;
        done
    }

    fn put_lines(&mut self, target: &mut Target, imported: &mut Imported) -> Result<(), Failure> {
        let mut line = Vec::new();
        let mut before = 0;
        while let Some(came) = self.input.next(&mut line)? {
            self.progress.add(self.input.taken() - before);
            before = self.input.taken();
            let text = if self.input.lines == 1 { without_mark(&line) } else { &line };
            if came != Came::TooLong && text.trim_ascii().is_empty() {
                continue;
            }
            let wanted = match came {
                Came::Whole => Wanted::parse(text),
                Came::Last => match Wanted::parse(text) {
                    Err(_) if is_torn(text) => {
                        self.tell_torn(text.len(), imported);
                        continue;
                    }
                    parsed => parsed,
                },
                Came::TooLong => Err("longer than any record".to_owned()),
            };
            let reason = match wanted.map(|wanted| target.put(&wanted)) {
                Ok(Put::Done) => continue,
                Ok(Put::Older) => {
                    imported.older += 1;
                    continue;
                }
                Ok(Put::Refused(reason)) | Err(reason) => reason,
                Ok(Put::Stopped(error)) => return Err(target.stopped(error, self.input.lines)),
            };
            self.skip(reason, imported);
        }
        Ok(())
    }

    fn skip(&self, reason: String, imported: &mut Imported) {
        let (file, line) = (self.file.clone(), self.input.lines);
        let of = file.as_ref().map_or_else(String::new, |file| format!(" of {file}"));
        self.progress.suspend(|| warn(format_args!("line {line}{of} is skipped: {reason}")));
        imported.skipped += 1;
        if imported.skipped_lines.len() < LISTED_MAX {
            imported.skipped_lines.push(Skipped { file, line, reason });
        }
    }

    fn tell_torn(&self, bytes: usize, imported: &mut Imported) {
        imported.torn += 1;
        let line = self.input.lines;
        let of = self.file.as_ref().map_or_else(String::new, |file| format!(" of {file}"));
        self.progress.suspend(|| {
            warn(format_args!(
                "line {line}{of}, the last one, is torn: {bytes} bytes are left out"
            ));
        });
    }
}

/// Ends in the middle of a document, as what a crash or a full disk has cut off does.
fn is_torn(text: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(text).is_err_and(|error| error.is_eof())
}

/// A store that takes records.
pub(crate) struct Target {
    store: Store,
    pub(crate) put: u64,
}

/// What became of a record.
#[derive(Debug)]
pub(crate) enum Put {
    /// Stored, or stored already.
    Done,
    /// Lost to a higher version that was there.
    Older,
    /// This record alone is refused: why.
    Refused(String),
    /// The store has no room, or worse.
    Stopped(Error),
}

impl Target {
    /// A new store in `dir`, with room for `data_bytes` and records of any size.
    pub(crate) fn create(dir: &Path, data_bytes: u64) -> Result<Self, Failure> {
        let room = u64::from(WBLOCK_BYTES_MAX - WBLOCK_HEADER_BYTES);
        let config = Config::new().shadow_dir(dir).max_record_size(room).data_size(data_bytes);
        Self::open(config)
    }

    fn open(config: Config) -> Result<Self, Failure> {
        let store = Store::open(config).map_err(failed("open the store"))?;
        Ok(Self { store, put: 0 })
    }

    /// Bytes of the store.
    pub(crate) fn data_size(&self) -> Size {
        Size(self.store.stats().data_size_bytes)
    }

    /// Puts a record, and again while the store only asks for a little patience.
    pub(crate) fn put(&mut self, wanted: &Wanted) -> Put {
        match self.put_patiently(wanted) {
            Ok(()) => {
                self.put += 1;
                Put::Done
            }
            Err(Error::VersionConflict { .. }) => Put::Older,
            Err(error) if is_of_record(&error) => Put::Refused(error.to_string()),
            Err(error) => Put::Stopped(error),
        }
    }

    fn put_patiently(&self, wanted: &Wanted) -> Result<(), Error> {
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
            match self.store.put_with(&wanted.key, &wanted.value, &options) {
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

    /// Why no more can be put; `line` is where the input was.
    pub(crate) fn stopped(&self, error: Error, line: u64) -> Failure {
        if matches!(error, Error::OutOfSpace | Error::StopWrites { .. }) {
            let data_size = self.data_size().to_string();
            return Failure::Full { data_size, line, put: self.put, source: Box::new(error) };
        }
        failed("put a record")(error)
    }

    /// Makes all that was put durable.
    pub(crate) fn close(self) -> Result<(), Failure> {
        self.store.close().map_err(failed("make durable what was put"))
    }
}

/// The error speaks of this record alone: the next one may be put.
fn is_of_record(error: &Error) -> bool {
    matches!(error, Error::EmptyKey | Error::KeyTooLong | Error::RecordTooLarge { .. })
}

fn failed(op: &'static str) -> impl Fn(Error) -> Failure {
    move |error| Failure::Engine { op, source: Box::new(error) }
}

/// Some editors put a byte order mark in front of the first line.
fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line)
}

fn write_imported(out: &mut dyn Write, imported: &Imported) -> Result<(), Failure> {
    let Imported { lines, put, older, skipped, torn, bytes, seconds, .. } = imported;
    let bytes = Size(*bytes);
    let torn = if *torn > 0 { format!(", {torn} torn") } else { String::new() };
    writeln!(
        out,
        "{lines} lines read ({bytes}): {put} put, {older} older, {skipped} skipped{torn}, in \
         {seconds:.2} s"
    )
    .map_err(Failure::Output)
}
