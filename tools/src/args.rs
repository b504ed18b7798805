//! The command line: strings end here.

use crate::text::{Size, from_hex};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Looks into shadows, checks them, exports and imports, measures.
#[derive(Debug, Parser)]
#[command(name = "brindle", version, arg_required_else_help = true)]
#[command(
    after_help = "Every command but `import` only reads: it opens shadows read-only, takes no \
lock and maps nothing, so it may run beside the store that has them open, and on damaged ones.

Exit status: 0 done, and `verify` found no damage; 1 `verify` found damage, or `get` no such key; \
2 could not run."
)]
pub(crate) struct Cli {
    /// Write JSON: one document, or for `ls` one line a record
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what a shadow is: its store, shape, state and wblocks
    Info(InfoArgs),
    /// Check every checksum, and list what is damaged
    Verify(PathArgs),
    /// List the keys of live records
    Ls(ListArgs),
    /// Write the value of a key
    Get(GetArgs),
    /// Write all live records as lines of JSON
    Export(PathArgs),
    /// Put lines of JSON into a store
    Import(ImportArgs),
    /// Measure a store on this machine, with workloads like those of YCSB
    Bench(BenchArgs),
}

/// What is read.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle verify data                       a directory with stripe-000.shadow and so on
  brindle verify /dev/vdb --member /dev/vdc a store on two devices
  brindle export data | gzip > data.ndjson.gz
  brindle export data | brindle import --shadow-dir copy -

`verify` holds one wblock at a time in memory. What a crash cut off (torn) was never durable
and is no damage; what was durable once and does not verify (rot) is. The two cannot always be
told apart: read the notes.

`export` writes {\"key\": ..., \"value\": ..., \"version\": ...} a line, in the order of the
shadow. A key that is not UTF-8 stands in \"key_hex\". A value that is compact JSON stands
in \"value\", other text in \"value_text\", other bytes in \"value_hex\"; \"expires_at_us\"
is there if the record expires, in microseconds since 1970. So an import of an export stores
the same bytes. It reads the shadow twice and holds about 40 to 70 bytes of memory for each
key.")]
pub(crate) struct PathArgs {
    /// Shadow directory, file or device
    pub(crate) path: PathBuf,
    /// A further file or device of the same store; may be repeated
    #[arg(long = "member", value_name = "PATH")]
    pub(crate) members: Vec<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle info data
  brindle info --deep --json data/stripe-000.shadow

Without --deep only superblocks and the headers of wblocks are read.")]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// Read all of it, and count records
    #[arg(long)]
    pub(crate) deep: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle ls data --prefix user: --limit 20
  brindle ls data --json | jq -r .key

Keys come in the order of the shadow, with version, bytes of the value and expiry. `ls`
reads the shadow twice and holds about 40 to 70 bytes of memory for each key with the
prefix.")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// Only keys that start with this
    #[arg(long, value_parser = parse_bytes(), default_value = "")]
    pub(crate) prefix: Bytes,
    /// Stop after so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle get data user:1
  brindle get data --hex 75736572
  brindle get --json data user:1

Writes the bytes of the value as they are, or to a terminal escaped where they could not be
shown. There is no index on a shadow: all of it is read.")]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// The key
    #[arg(value_parser = parse_bytes())]
    pub(crate) key: Bytes,
    /// KEY is written in hex digits
    #[arg(long)]
    pub(crate) hex: bool,
}

impl GetArgs {
    /// The bytes of the key; `None`: they were to be hex digits and are not.
    pub(crate) fn key_bytes(&self) -> Option<Vec<u8>> {
        if !self.hex {
            return Some(self.key.0.clone());
        }
        std::str::from_utf8(&self.key.0).ok().and_then(from_hex)
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle import --shadow-dir data packages.ndjson.gz
  zstdcat backup.zst | brindle import --shadow-dir data --data-size 4GiB -

A line is {\"key\": \"...\", \"value\": <any JSON>} with, if wanted, \"ttl_ms\",
\"expires_at_ms\" or \"expires_at_us\", and \"version\". Stored is the text of the value as
compact JSON: no space between tokens, strings in their shortest form, numbers and the order
of members as they are. Instead of \"value\", \"value_text\" gives a string whose bytes are
stored as they are, and \"value_hex\" bytes in hex digits; instead of \"key\" there may be
\"key_hex\".

A bad line is reported with its number, skipped and counted; the exit status stays 0. Of a
repeated key the last line wins; with versions the highest one, and a line that loses is
counted as older.")]
pub(crate) struct ImportArgs {
    /// Directory of the shadow, created if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) shadow_dir: PathBuf,
    /// Memory for records, of a new store [default: twice the text of FILE plus 64 MiB; of
    /// gzipped text as much as its last 4 bytes say, at least 8 times FILE; 1 GiB for `-`]. An
    /// existing shadow keeps its size
    #[arg(long, value_name = "SIZE")]
    pub(crate) data_size: Option<Size>,
    /// Lines of JSON, gzipped or not; `-` for standard input
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle bench
  brindle bench --workloads a,c --records 1000000 --value-size 1KiB --threads 4
  brindle bench --shadow-dir scratch --seconds 30 --json

Each workload gets a new store, loads it, and runs: A half gets, half puts; B 95% gets, 5%
puts; C gets; D 95% gets of the latest, 5% puts of new keys; F half gets, half updates. With
--shadow-dir each has a directory of its own in there, which is removed afterwards.")]
pub(crate) struct BenchArgs {
    /// Which workloads, in this order
    #[arg(long, value_delimiter = ',', default_value = "a,b,c,d,f")]
    pub(crate) workloads: Vec<WorkloadName>,
    /// Records that are loaded
    #[arg(long, default_value_t = 100_000, value_parser = up_to(1 << 32))]
    pub(crate) records: u64,
    /// Bytes of a value
    #[arg(long, default_value = "100B")]
    pub(crate) value_size: Size,
    /// Threads [default: one per core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// How long each workload runs
    #[arg(long, default_value_t = 5, value_parser = up_to(86_400))]
    pub(crate) seconds: u64,
    /// Which keys are asked for
    #[arg(long, default_value = "zipf")]
    pub(crate) distribution: Distribution,
    /// Memory for records [default: four times what is loaded, at least 1 GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) data_size: Option<Size>,
    /// Directory for shadows; none: memory only
    #[arg(long, value_name = "DIR")]
    pub(crate) shadow_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkloadName {
    A,
    B,
    C,
    D,
    F,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    /// Each key as often as any other
    Uniform,
    /// A few keys very often (exponent 0.99)
    Zipf,
}

/// Bytes that need not be UTF-8.
#[derive(Clone, Debug)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

/// Takes a whole number from 1 to `most`.
fn up_to(most: u64) -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..=most)
}

/// Takes an argument as its bytes.
fn parse_bytes() -> impl clap::builder::TypedValueParser<Value = Bytes> {
    use clap::builder::TypedValueParser;
    clap::builder::OsStringValueParser::new().map(|text: OsString| Bytes(text.into_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
