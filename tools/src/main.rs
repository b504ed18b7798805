//! The `brindle` command: looks into shadows, checks them, exports and imports, measures.
//!
//! Principles
//! - A command that reads never writes: shadows are opened read-only, read with `pread`, not
//!   locked and not mapped. So it may run beside the store that has them open.
//! - It reads with `brindle::format` alone, so that it can look at what the engine refuses.
//! - Damage is a finding and not an error: as much as possible of a damaged shadow is read.
//! - Strings end in `args`: every command gets checked types and a writer.
//! - Data goes to standard output; progress and warnings go to standard error. A closed pipe is
//!   success: whoever closed it had enough.
//!
//! | exit | meaning                                                              |
//! |------|----------------------------------------------------------------------|
//! | 0    | done; `verify`: no damage                                            |
//! | 1    | `verify`: damage was found; `get`: no such key                       |
//! | 2    | could not run: usage, a file that cannot be opened or is no shadow   |
#![forbid(unsafe_code)]

mod args;
mod bench;
mod compact;
mod error;
mod get;
mod import;
mod info;
mod input;
mod line;
mod list;
mod live;
mod output;
mod progress;
mod shadow;
mod text;
mod verify;
mod wblock;
mod workload;

use args::{Cli, Command};
use clap::Parser;
use error::{Failure, Outcome};
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let done = run(&cli, &mut out)
        .and_then(|outcome| out.flush().map(|()| outcome).map_err(Failure::Output));
    match done {
        Ok(outcome) => outcome.into(),
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli, out: &mut dyn Write) -> Result<Outcome, Failure> {
    match &cli.command {
        Command::Info(args) => info::run(args, cli.json, out),
        Command::Verify(args) => verify::run(args, cli.json, out),
        Command::Ls(args) => list::run_ls(args, cli.json, out),
        Command::Get(args) => get::run(args, cli.json, out),
        Command::Export(args) => list::run_export(args, out),
        Command::Import(args) => import::run(args, cli.json, out),
        Command::Bench(args) => bench::run(args, cli.json, out),
    }
}
