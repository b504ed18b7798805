//! Arguments of `export` and `import`.

use super::PathArgs;
use crate::text::Size;
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle export data | gzip > data.ndjson.gz
  brindle export data | brindle import --shadow-dir copy -

Writes {\"key\": ..., \"value\": ..., \"version\": ...} a line, in the order of the shadow. A
key that is not UTF-8 stands in \"key_hex\". A value that is compact JSON stands in \"value\",
other text in \"value_text\", other bytes in \"value_hex\"; \"expires_at_us\" is there if the
record expires, in microseconds since 1970. So an import of an export stores the same bytes.
It reads the shadow twice and holds about 40 to 70 bytes of memory for each key.")]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
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
