//! Arguments of `export` and `import`.

use super::measure::up_to;
use super::{Bytes, PathArgs, parse_bytes};
use crate::text::Size;
use clap::Args;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle export data | gzip > data.ndjson.gz
  brindle export data | brindle import --shadow-dir copy -
  brindle export data --to dump --rotate-bytes 256MiB
  brindle export data --since 2026-11-01T00:00:00Z --prefix user:

Writes {\"key\": ..., \"value\": ..., \"version\": ...} a line, in the order of the shadow. A
key that is not UTF-8 stands in \"key_hex\". A value that is compact JSON stands in \"value\",
other text in \"value_text\", other bytes in \"value_hex\"; \"expires_at_us\" is there if the
record expires, in microseconds since 1970. So an import of an export stores the same bytes.
It reads the shadow twice and holds about 40 to 70 bytes of memory for each key.

With --to the lines go to DIR/export-000001.ndjson and so on; no line is split. A file has
its name only once it is whole and durable. --since compares versions, which are the time of
the write unless the writer chose them; what was deleted since is not told.")]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// Write files into this directory, which must have no export in it
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    /// Begin a new file before one would be larger
    #[arg(long, value_name = "SIZE", requires = "to")]
    pub(crate) rotate_bytes: Option<Size>,
    /// Begin a new file after so many records
    #[arg(long, value_name = "N", requires = "to", value_parser = up_to(u64::MAX))]
    pub(crate) rotate_records: Option<u64>,
    /// Only keys that start with this
    #[arg(long, value_parser = parse_bytes(), default_value = "", hide_default_value = true)]
    pub(crate) prefix: Bytes,
    /// Only records of this version and above: microseconds since 1970, or a time such as
    /// 2026-11-01T12:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<Since>,
}

/// A version, or the time that it stands for: microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since(pub(crate) u64);

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(micros) = text.parse() {
            return Ok(Self(micros));
        }
        let time: Result<jiff::Timestamp, _> = text.parse();
        let micros = time.ok().and_then(|time| u64::try_from(time.as_microsecond()).ok());
        micros.map(Self).ok_or_else(|| {
            "write microseconds since 1970, or a time such as 2026-11-01T12:00:00Z".to_owned()
        })
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle import --shadow-dir data packages.ndjson.gz
  brindle import --shadow-dir data exported/*.ndjson
  zstdcat backup.zst | brindle import --shadow-dir data --data-size 4GiB -

A line is {\"key\": \"...\", \"value\": <any JSON>} with, if wanted, \"ttl_ms\",
\"expires_at_ms\" or \"expires_at_us\", and \"version\". Stored is the text of the value as
compact JSON: no space between tokens, strings in their shortest form, numbers and the order
of members as they are. Instead of \"value\", \"value_text\" gives a string whose bytes are
stored as they are, and \"value_hex\" bytes in hex digits; instead of \"key\" there may be
\"key_hex\".

A bad line is reported with its number, skipped and counted; the exit status stays 0. Of a
repeated key the last line wins; with versions the highest one, and a line that loses is
counted as older; so the newest version of a key wins, whatever the order of the files. A
last line that ends in the middle, as a crash may leave it, is said and left out.")]
pub(crate) struct ImportArgs {
    /// Directory of the shadow, created if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) shadow_dir: PathBuf,
    /// Memory for records, of a new store [default: twice the text of all FILEs plus 64 MiB;
    /// of gzipped text as much as its last 4 bytes say, at least 8 times FILE; 1 GiB for `-`]. An
    /// existing shadow keeps its size
    #[arg(long, value_name = "SIZE")]
    pub(crate) data_size: Option<Size>,
    /// Lines of JSON, gzipped or not; `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_version_or_a_time() {
        assert_eq!("1700000000000000".parse(), Ok(Since(1_700_000_000_000_000)));
        assert_eq!("2023-11-14T22:13:20Z".parse(), Ok(Since(1_700_000_000_000_000)));
        assert_eq!("2023-11-14T23:13:20+01:00".parse(), Ok(Since(1_700_000_000_000_000)));
        for text in ["", "yesterday", "-1", "1969-01-01T00:00:00Z", "2023-11-14"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
