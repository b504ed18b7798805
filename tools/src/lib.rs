//! The `brindle` command as a library: `main.rs` runs it, and so do tests and fuzz targets, which
//! give it their own arguments and take what it writes. No interface for anybody else.
//!
//! Principles
//! - A command that reads never writes: shadows are opened read-only, read with `pread`, not
//!   locked and not mapped. So it may run beside the store that has them open. What writes says so:
//!   `import` and `salvage` to another store, `verify --repair-superblock` under a store's lock.
//! - `top` looks at no shadow, but at a file that the host of an open store publishes.
//! - It reads with `brindle::format` alone, so that it can look at what the engine refuses.
//! - Damage is a finding and not an error: as much as possible of a damaged shadow is read, in
//!   memory and time that depend on the bytes there are and not on what they claim.
//! - What a shadow or a line says cannot move a terminal's cursor: nothing of it is shown raw but
//!   the value that `get` was asked for.
//! - Strings end in `args`: every command gets checked types and a writer.
//! - Data goes to standard output; progress and warnings go to standard error. A closed pipe is
//!   success: whoever closed it had enough.
//!
//! | exit | meaning                                                              |
//! |------|----------------------------------------------------------------------|
//! | 0    | done, and nothing is wrong                                           |
//! | 1    | something was found: damage, a difference, no such key, no such host |
//! | 2    | could not run: usage, a file that cannot be opened or is no shadow   |
#![forbid(unsafe_code)]

mod anatomy;
mod args;
mod bench;
mod compact;
mod diff;
mod error;
mod export;
mod files;
mod findings;
mod forecast;
mod get;
mod guess;
mod history;
mod import;
mod info;
mod info_text;
mod input;
mod line;
mod list;
mod live;
mod map;
mod output;
mod page;
mod picture;
mod plot;
mod progress;
mod repair;
mod report;
mod salvage;
mod schema;
mod shadow;
mod shell;
mod show_record;
mod show_wblock;
mod spread;
mod stats;
mod survey;
mod svg;
mod text;
mod top;
mod verify;
mod wblock;
mod winners;
mod workload;

use args::{Cli, Command};
use clap::Parser;
use error::{Failure, Outcome};
use std::ffi::OsString;
use std::io::Write;

/// Runs the command that `arguments` name, the program's name first, and writes its data to `out`.
/// Returns the exit status. Usage and help end the process, as `clap` does it.
pub fn run_command(arguments: impl IntoIterator<Item = OsString>, out: &mut dyn Write) -> u8 {
    run_cli(&Cli::parse_from(arguments), out)
}

/// As [`run_command`] on files that nobody else has: says nothing on standard error, and does not
/// wait before a second look, now and later on this thread.
pub fn run_silently(arguments: impl IntoIterator<Item = OsString>, out: &mut dyn Write) -> u8 {
    output::silence();
    run_command(arguments, out)
}

/// Reads a line as `import` does, writes it as `export` does, and reads that again.
///
/// # Errors
///
/// The line is a bad one: why.
///
/// # Panics
///
/// What was written does not read back as the same record: a bug, which fuzzing looks for.
pub fn check_line(text: &[u8]) -> Result<(), String> {
    line::check(text)
}

fn run_cli(cli: &Cli, out: &mut dyn Write) -> u8 {
    live::set_now(cli.now_us);
    let done =
        run(cli, out).and_then(|outcome| out.flush().map(|()| outcome).map_err(Failure::Output));
    match done {
        Ok(outcome) => outcome.status(),
        Err(failure) if failure.is_closed_pipe() => 0,
        Err(failure) => {
            output::complain(&failure);
            2
        }
    }
}

fn run(cli: &Cli, out: &mut dyn Write) -> Result<Outcome, Failure> {
    match &cli.command {
        Command::Info(args) => info::run(args, cli.json, out),
        Command::Map(args) => map::run(args, cli.json, out),
        Command::Wblock(args) => show_wblock::run(args, cli.json, out),
        Command::Record(args) => show_record::run(args, cli.json, out),
        Command::History(args) => history::run(args, cli.json, out),
        Command::Stats(args) => stats::run(args, cli.json, out),
        Command::Diff(args) => diff::run(args, cli.json, out),
        Command::Verify(args) => verify::run(args, cli.json, out),
        Command::Ls(args) => list::run(args, cli.json, out),
        Command::Get(args) => get::run(args, cli.json, out),
        Command::Salvage(args) => salvage::run(args, cli.json, out),
        Command::Report(args) => report::run(args, cli.json, out),
        Command::Export(args) => export::run(args, cli.json, out),
        Command::Import(args) => import::run(args, cli.json, out),
        Command::Bench(args) => bench::run(args, cli.json, out),
        Command::Top(args) => top::run(args, cli.json, out),
        Command::Schema(args) => schema::run(args, cli.json, out),
        Command::Completions(args) => shell::completions(args, out),
        Command::Man(args) => shell::man(args, cli.json, out),
    }
}
