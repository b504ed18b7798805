//! Stores real files, closes, opens again, crashes in the middle of writing, and checks every byte.
//!
//! ```sh
//! cargo run --release --example quickstart           # the sources of the crates that we depend on
//! cargo run --release --example quickstart -- DIR    # the files below DIR
//! ```
//!
//! Each file becomes a record, path -> contents. The shadow lies in a temporary folder (`TMPDIR`
//! says where) that is removed at the end; nothing else is written. The exit code is 0 only if
//! everything held.
//!
//! In `quickstart/`: `corpus` finds the files, `files` compares them, `crash` is the writer that is
//! killed, `show` prints.

#[path = "quickstart/corpus.rs"]
mod corpus;
#[path = "quickstart/crash.rs"]
mod crash;
#[path = "quickstart/files.rs"]
mod files;
#[path = "quickstart/show.rs"]
mod show;

use brindle::Error::Locked;
use brindle::{Config, Health, Store};
use corpus::{Corpus, RECORD_BYTES_MAX};
use crash::Random;
use files::Fate;
use hdrhistogram::Histogram;
use show::{Screen, bar, count, many, rate, size, time};
use std::error::Error;
use std::hint::black_box;
use std::io::{self, Write};
use std::iter::successors;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// What can go wrong here has a message, and is shown with its causes.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// Gets that are timed.
const GETS: u64 = 200_000;
/// More stripes than this would only make the store larger: each open starts a wblock in each.
const STRIPES_MAX: usize = 4;

/// How long the lock of a killed process may outlive it.
const UNLOCK_PATIENCE: Duration = Duration::from_secs(5);

const USAGE: &str = "usage: quickstart [DIR]   (DIR: store the files below it)";

fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    let causes = successors(error.source(), |cause: &&dyn Error| (*cause).source());
    // Nobody to tell, if standard error is gone too.
    let _ = writeln!(io::stderr(), "\nquickstart: {error}");
    for cause in causes {
        let _ = writeln!(io::stderr(), "  because: {cause}");
    }
    ExitCode::FAILURE
}

fn run() -> Outcome<()> {
    let mut arguments = env::args_os().skip(1);
    let folder = match (arguments.next(), arguments.next()) {
        (Some(first), Some(shadow)) if first == crash::WRITER_ARGUMENT => {
            return crash::write_until_killed(Path::new(&shadow));
        }
        (Some(_), Some(_)) => return Err(USAGE.into()),
        (Some(first), None) if first == "--help" || first == "-h" => {
            return Ok(Screen::new().write(USAGE)?);
        }
        (folder, _) => folder.map(PathBuf::from),
    };
    let scratch = tempfile::Builder::new().prefix("brindle-quickstart-").tempdir();
    let scratch = scratch.map_err(|error| format!("no temporary folder, see TMPDIR: {error}"))?;
    let told = Story::begin(folder.as_deref(), &scratch.path().join("shadow"))?.tell();
    // Also after a failure, and told: a folder that stays behind is not what was promised.
    scratch.close()?;
    told
}

/// What the sections hand on, from the first to the last.
struct Story {
    started: Instant,
    screen: Screen,
    corpus: Corpus,
    shadow: PathBuf,
    data_size: u64,
    stripes: usize,
    rows: Vec<(&'static str, String)>,
}

impl Story {
    /// Finds the files, and sizes the store by them.
    fn begin(folder: Option<&Path>, shadow: &Path) -> Outcome<Self> {
        let started = Instant::now();
        let mut screen = Screen::new();
        screen.write("Brindle quickstart: store, restart, crash, and check every byte.")?;
        screen.section("The files")?;
        let corpus = Corpus::find(folder)?;
        let files = corpus.files.len() as u64;
        screen.line(format!(
            "{} {}, {}.",
            many(files, "file"),
            corpus.origin,
            size(corpus.bytes())
        ))?;
        show_skipped(&mut screen, &corpus)?;
        // Overwriting takes new space, and every open a new wblock in each stripe: room for that.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let stripes = cores.min(STRIPES_MAX);
        let slack = crash::WRITER_BYTES_MAX + stripes as u64 * 6 * (8 << 20);
        let data_size = corpus.stored_bytes() / 2 * 5 + slack;
        let (shadow, rows) = (shadow.to_owned(), Vec::new());
        Ok(Self { started, screen, corpus, shadow, data_size, stripes, rows })
    }

    fn tell(mut self) -> Outcome<()> {
        let store = self.store_files()?;
        self.time_gets(&store)?;
        store.close()?;
        self.open_again()?;
        self.crash()?;
        self.screen.table(&self.rows)?;
        let text = format!("Everything held, in {}.", time(self.started.elapsed()));
        self.screen.write(text)?;
        Ok(())
    }

    fn config(&self) -> Config {
        Config::new()
            .data_size(self.data_size)
            .stripes(self.stripes)
            .max_record_size(RECORD_BYTES_MAX)
            .expected_records(self.corpus.files.len() as u64)
            .shadow_dir(&self.shadow)
    }

    fn store_files(&mut self) -> Outcome<Store> {
        self.screen.section("Put them all")?;
        let store = Store::open(self.config())?;
        let mut puts = histogram()?;
        let (mut bytes, mut putting) = (0, Duration::ZERO);
        let bar = bar("put", self.corpus.bytes());
        let mut unread = Vec::new();
        for (place, file) in self.corpus.files.iter().enumerate() {
            let contents = match fs::read(&file.path) {
                Ok(contents) => contents,
                Err(error) => {
                    unread.push((place, error.to_string()));
                    continue;
                }
            };
            let start = Instant::now();
            store.put(&file.key, &contents)?;
            putting += note(&mut puts, start);
            bytes += (file.key.len() + contents.len()) as u64;
            bar.inc(contents.len() as u64);
        }
        bar.finish_and_clear();
        for (place, why) in unread.into_iter().rev() {
            let file = self.corpus.files.remove(place);
            self.screen.line(format!("Left out: {}, {why}.", file.path.display()))?;
            self.corpus.skip(file.path, why);
        }
        if self.corpus.files.is_empty() {
            return Err("none of the files could be read".into());
        }
        let start = Instant::now();
        store.flush()?;
        let flushing = start.elapsed();

        let stats = store.stats();
        let records = stats.records;
        let screen = &mut self.screen;
        screen.held(format!(
            "{} with {} of keys and values: {} put them at {}.",
            many(records, "record"),
            size(bytes),
            time(putting),
            rate(bytes, putting)
        ))?;
        screen.held(format!("Flushed in {}: from here on, a crash loses none.", time(flushing)))?;
        let extra = stats.live_bytes.saturating_sub(bytes) / records.max(1);
        screen.line(format!(
            "Memory beyond them: {extra} B a record for header and padding, {} for the index.",
            size(stats.index_bytes)
        ))?;
        self.rows.push(("stored", format!("{}, {}", many(records, "record"), size(bytes))));
        let index = size(stats.index_bytes);
        let memory = format!("key and value, {extra} B more; the index: {index}");
        self.rows.push(("memory per record", memory));
        self.rows.push(("put", percentiles(&puts)));
        Ok(store)
    }

    /// Gets single records in random order.
    fn time_gets(&mut self, store: &Store) -> Outcome<()> {
        self.screen.section("Get them in random order")?;
        let mut random = Random::new();
        let files = self.corpus.files.len() as u64;
        let mut gets = histogram()?;
        let mut clock = histogram()?;
        for _ in 0..GETS {
            let place = usize::try_from(random.within(0..files))?;
            let Some(file) = self.corpus.files.get(place) else { continue };
            let start = Instant::now();
            let record = store.get(&file.key);
            note(&mut gets, start);
            if black_box(record).is_none() {
                return Err(files::missing(&file.key));
            }
            note(&mut clock, Instant::now());
        }
        self.screen.held(format!(
            "{} gets, each timed alone: {}.",
            count(gets.len()),
            percentiles(&gets)
        ))?;
        let clock = Duration::from_nanos(clock.value_at_quantile(0.5));
        self.screen.line(format!(
            "Of each, {} are the clock's. No value is copied: a get lends the record in place.",
            time(clock)
        ))?;
        self.rows.push(("get", percentiles(&gets)));
        Ok(())
    }

    /// Opens from the shadow, and compares every byte.
    fn open_again(&mut self) -> Outcome<()> {
        self.screen.section("Close, and open again from the shadow")?;
        let (store, opening) = self.reopen()?;
        let load = store.stats().load;
        if !load.was_clean {
            return Err("the store was closed, and yet the shadow is not marked clean".into());
        }
        self.screen.held(format!(
            "Opened in {}: {} verified and indexed in {}.",
            time(opening),
            many(load.records, "record"),
            time(load.elapsed)
        ))?;
        let bytes = files::compare(&store, &self.corpus, |_| Fate::Kept)?;
        self.screen.held(format!("Read all files again: {}, all the same.", size(bytes)))?;
        let row = format!("✓ in {}, every byte as in the files", time(opening));
        self.rows.push(("closed, opened", row));
        self.change(&store)?;
        Ok(store.close()?)
    }

    /// Deletes some records and overwrites others.
    fn change(&mut self, store: &Store) -> Outcome<()> {
        self.screen.section("Delete some, overwrite some")?;
        let (deleted, overwritten) = files::change(store, &self.corpus)?;
        let text = format!(
            "{} deleted, {} overwritten with their bytes in reverse.",
            count(deleted),
            count(overwritten)
        );
        self.screen.held(text)?;
        self.rows.push(("changed", format!("{deleted} deleted, {overwritten} overwritten")));
        Ok(())
    }

    /// Kills a writer, opens what it left, and checks it.
    fn crash(&mut self) -> Outcome<()> {
        self.screen.section("Kill a process in the middle of writing")?;
        let killed = crash::start_and_kill(&self.shadow)?;
        self.screen.line(format!(
            "A child wrote and flushed {} batches, one after the other, then got SIGKILL.",
            killed.flushed_batches
        ))?;
        let (store, opening) = self.reopen()?;
        let load = store.stats().load;
        if load.was_clean {
            return Err("the writer was not killed in its work: the shadow is clean".into());
        }
        if store.health() != Health::Ok {
            return Err(format!("the store is not well: {:?}", store.health()).into());
        }
        self.screen.held(format!("Opened in {} without any repair.", time(opening)))?;
        let survived = crash::check(&store, &killed)?;
        let flushed = many(survived.flushed, "record");
        self.screen.held(format!("{flushed} had been flushed, and all of them are there."))?;
        self.screen.held(format!(
            "Of those that had not been, {} made it, each of them whole.",
            count(survived.unflushed)
        ))?;
        let bytes = files::compare(&store, &self.corpus, Fate::of)?;
        self.screen.held(format!(
            "The files: {} compared; what was deleted stays deleted, what was overwritten, new.",
            size(bytes)
        ))?;
        self.screen.held(format!("While it wrote, nobody else was let in:\n     {}.", {
            let shadow = self.shadow.display().to_string();
            killed.refusal.replace(&shadow, "…")
        }))?;
        self.rows
            .push(("killed, opened", format!("✓ in {}, nothing flushed was lost", time(opening))));
        let row = format!("✓ {flushed} flushed, {} more, all whole", count(survived.unflushed));
        self.rows.push(("found of the writer", row));
        Ok(store.close()?)
    }

    fn reopen(&self) -> Outcome<(Store, Duration)> {
        let bar = bar("load", 0);
        let shown = bar.clone();
        let config = self.config().on_progress(move |progress| {
            shown.set_length(progress.bytes_total);
            shown.set_position(progress.bytes);
        });
        let dying = Instant::now();
        let (store, opening) = loop {
            let start = Instant::now();
            // The kernel takes a killed process's ring apart some 0.1 s after its death, and until
            // then its files stay locked, for a write of it might still be under way.
            match Store::open(config.clone()) {
                Err(Locked { .. }) if dying.elapsed() < UNLOCK_PATIENCE => {
                    thread::sleep(Duration::from_millis(1));
                }
                opened => break (opened?, start.elapsed()),
            }
        };
        bar.finish_and_clear();
        Ok((store, opening))
    }
}

/// Names the first few files that are left out, and says why.
fn show_skipped(screen: &mut Screen, corpus: &Corpus) -> io::Result<()> {
    const NAMED: usize = 5;
    for skipped in corpus.skipped.iter().take(NAMED) {
        screen.line(format!("Left out: {}, {}.", skipped.path.display(), skipped.why))?;
    }
    let rest = corpus.skipped.len().saturating_sub(NAMED) as u64;
    if rest > 0 {
        screen.line(format!("Left out as well: {}.", many(rest, "more file")))?;
    }
    if corpus.beyond > 0 {
        let (beyond, most) = (many(corpus.beyond, "file"), size(corpus.bytes_max));
        screen.line(format!("Left out: the last {beyond}, past the {most} that fit here."))?;
    }
    Ok(())
}

/// Of nanoseconds, with three digits, up to a minute.
fn histogram() -> Outcome<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

/// Notes the time since `start`, and returns it.
fn note(histogram: &mut Histogram<u64>, start: Instant) -> Duration {
    let elapsed = start.elapsed();
    histogram.saturating_record(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
    elapsed
}

fn percentiles(histogram: &Histogram<u64>) -> String {
    let at = |quantile| time(Duration::from_nanos(histogram.value_at_quantile(quantile)));
    format!("p50 {}, p99 {}, p99.9 {}", at(0.5), at(0.99), at(0.999))
}
