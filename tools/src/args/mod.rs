//! The command line: strings end here. One file for each kind of command.

mod check;
mod lines;
mod look;
mod measure;
mod shell;
mod top;

pub(crate) use check::{ReportArgs, SalvageArgs, VerifyArgs};
pub(crate) use lines::{ExportArgs, ImportArgs};
pub(crate) use look::{
    ColorChoice, DiffArgs, GetArgs, HistoryArgs, InfoArgs, ListArgs, MapArgs, Paint, RecordArgs,
    Spot, StatsArgs, WblockArgs,
};
pub(crate) use measure::{BenchArgs, Distribution, WorkloadName};
pub(crate) use shell::{CompletionsArgs, ManArgs, SchemaArgs};
pub(crate) use top::{TopArgs, View};

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Looks into shadows, checks them, exports and imports, measures, watches.
#[derive(Debug, Parser)]
#[command(name = "brindle", version, arg_required_else_help = true)]
#[command(after_help = "Examples:
  brindle info data
  brindle map data
  brindle verify --json data | jq .damaged

Every command but `import` and `verify --repair-superblock` only reads a shadow: it opens it \
read-only, takes no lock and maps nothing, so it may run beside the store that has it open, and on \
damaged ones.

Exit status: 0 done, and nothing is wrong; 1 something was found: damage by `verify` and `report`, \
a difference by `diff`, a loss by `salvage`, no such key or record by `get`, `history` and \
`record`, a host that has ended by `top`; 2 could not run.")]
pub(crate) struct Cli {
    /// Write JSON with a schema (see `brindle schema`): one document, or one line a record
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Take this for the present: microseconds since 1970, for tests
    #[arg(long, global = true, hide = true, value_name = "MICROS")]
    pub(crate) now_us: Option<u64>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a shadow is: its store, shape, state, wblocks, and what a cold start would do
    Info(InfoArgs),
    /// Draw every wblock as a cell: how much of it is live, its state, age or damage
    Map(MapArgs),
    /// Show one wblock: its header byte by byte, and all that lies in it
    Wblock(WblockArgs),
    /// Show one record byte by byte, with its checksums
    Record(RecordArgs),
    /// List the keys of live records
    Ls(ListArgs),
    /// Write the value of a key
    Get(GetArgs),
    /// Show every version of a key that the shadow still holds, and what became of it
    History(HistoryArgs),
    /// Show how sizes, times to live and versions are spread, and the largest records
    Stats(StatsArgs),
    /// Compare what two stores would return
    Diff(DiffArgs),
    /// Check every checksum, and list what is damaged
    Verify(VerifyArgs),
    /// Save what can be read of a damaged shadow into a new store
    Salvage(SalvageArgs),
    /// Write all there is to see into one page for a browser
    Report(ReportArgs),
    /// Write all live records as lines of JSON
    Export(ExportArgs),
    /// Put lines of JSON into a store
    Import(ImportArgs),
    /// Measure a store on this machine, with workloads like those of YCSB
    Bench(BenchArgs),
    /// Watch a store that another process has open: rates, latencies, space, health
    Top(TopArgs),
    /// Print the JSON Schema of what `--json` writes
    Schema(SchemaArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Write manual pages, one for each command
    Man(ManArgs),
}

/// What is read.
#[derive(Args, Clone, Debug)]
pub(crate) struct PathArgs {
    /// Shadow directory, file or device
    pub(crate) path: PathBuf,
    /// A further file or device of the same store; may be repeated
    #[arg(long = "member", value_name = "PATH")]
    pub(crate) members: Vec<PathBuf>,
}

/// Bytes that need not be UTF-8.
#[derive(Clone, Debug)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

/// Takes an argument as its bytes.
fn parse_bytes() -> impl clap::builder::TypedValueParser<Value = Bytes> {
    use clap::builder::TypedValueParser;
    clap::builder::OsStringValueParser::new().map(|text: OsString| Bytes(text.into_vec()))
}

/// The bytes of `key`, which is written in hex digits if `is_hex`; `None`: it is not.
fn key_bytes(key: &Bytes, is_hex: bool) -> Option<Vec<u8>> {
    if !is_hex {
        return Some(key.0.clone());
    }
    std::str::from_utf8(&key.0).ok().and_then(crate::text::from_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        use clap::CommandFactory;
        let command = Cli::command();
        for one in std::iter::once(&command).chain(command.get_subcommands()) {
            let help = one.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = one.get_name();
            assert!(help.starts_with("Examples:\n  brindle "), "{name}: {help}");
            assert!(help.lines().all(|line| name == "brindle" || line.len() <= 96), "{name}");
        }
    }
}
