//! `top`: how a store is that another process has open, from the file that its host publishes.
//!
//! - `snapshot`: what is in the file. `source`: reads it, and tells whether its host lives.
//! - `history`: rates and latencies, from several snapshots.
//! - `screen`: the terminal and its keys. `page`: what is on it, as lines; `overview`, `wblocks`,
//!   `reclaim` and `about` are the pages, `paint` is what they draw with.
//!
//! What is shown was written by somebody else: nothing of it goes to the terminal unescaped.

mod about;
mod history;
mod overview;
mod page;
mod paint;
mod reclaim;
mod screen;
mod snapshot;
mod source;
#[cfg(test)]
mod tests;
mod wblocks;

use crate::args::TopArgs;
use crate::error::{Failure, Outcome};
use crate::output::write_document;
use history::{History, Rates, Speed};
use page::Page;
use paint::Paint;
use schemars::JsonSchema;
use serde::Serialize;
use snapshot::Snapshot;
use source::{Host, Look, Source};
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

/// How long `--once` looks, to see rates.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at the file.
const PAUSE: Duration = Duration::from_millis(50);
/// Where there is no terminal to ask.
const SIZE: (u16, u16) = (80, 24);

/// `brindle-top/1`: a store that another process has open.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TopReport {
    /// The file.
    file: String,
    /// How its host is.
    host: Host,
    /// Since it was written. Unit: milliseconds.
    age_ms: u64,
    /// Null: the host has written nothing within the second of the look.
    rates: Option<Rates>,
    /// Of the calls since the store was opened; null: the host has none measured.
    latencies: Option<Latencies>,
    /// What the host has written.
    snapshot: Snapshot,
}

/// Latencies of the measured calls.
#[derive(Debug, Serialize, JsonSchema)]
struct Latencies {
    get: Option<Speed>,
    put: Option<Speed>,
    delete: Option<Speed>,
}

/// `brindle top`.
pub(crate) fn run(args: &TopArgs, is_json: bool, out: &mut dyn Write) -> Result<Outcome, Failure> {
    let mut source = Source::new(&args.path);
    if !is_json && !args.once {
        return screen::run(source, args);
    }
    let (look, history) = look(&mut source)?;
    let outcome = match look.host {
        Host::Running | Host::Closing => Outcome::Good,
        Host::Silent | Host::Ended | Host::Closed => Outcome::Bad,
    };
    if is_json {
        write_document(out, "brindle-top/1", report(&source, look, &history))?;
        return Ok(outcome);
    }
    let size = io::stdout().is_terminal().then(ratatui::crossterm::terminal::size);
    let (width, height) = size.and_then(Result::ok).unwrap_or(SIZE);
    let mut page = Page::new(&source, args.view, Paint { has_color: false });
    page.take(&look);
    // One line is for the prompt that follows.
    let text = page.write_text(&history, width, height.saturating_sub(1));
    out.write_all(text.as_bytes()).map_err(Failure::Output)?;
    Ok(outcome)
}

/// Looks for a second, as long as the host writes.
fn look(source: &mut Source) -> Result<(Look, History), Failure> {
    let mut history = History::default();
    let end = Instant::now() + LOOK;
    loop {
        let look = source.look()?;
        if look.is_new {
            history.add(look.snapshot.clone());
        }
        if look.host != Host::Running || Instant::now() >= end {
            return Ok((look, history));
        }
        thread::sleep(PAUSE);
    }
}

fn report(source: &Source, look: Look, history: &History) -> TopReport {
    let latencies = look.snapshot.calls.as_ref().map(|calls| Latencies {
        get: Speed::between(None, &calls.get),
        put: Speed::between(None, &calls.put),
        delete: Speed::between(None, &calls.delete),
    });
    TopReport {
        file: source.path().display().to_string(),
        host: look.host,
        age_ms: look.age_ms,
        rates: history.rates().copied(),
        latencies,
        snapshot: look.snapshot,
    }
}
