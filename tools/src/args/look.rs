//! Arguments of the commands that look into a shadow.

use super::{Bytes, PathArgs, key_bytes, parse_bytes};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle info data
  brindle info --deep --json data/stripe-000.shadow

Without --deep only superblocks and the headers of wblocks are read, and a sample of the
wblocks that a cold start would read, to tell how fast that goes here. With it all is read,
and the space is told by what takes it; that holds about 40 to 70 bytes for each key.")]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// Read all of it, and count records and the space by cause
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
        key_bytes(&self.key, self.hex)
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle map data                      how much of each wblock is live
  brindle map --by age data             reads only headers
  brindle map --svg map.svg data

Above 20,000 wblocks a cell stands for several. Without colour a cell is a digit (tenths that
are live, or of the age), `.` for free, `-` for struck out; damage is `!` in every picture.")]
pub(crate) struct MapArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// What the cells show
    #[arg(long, default_value = "live")]
    pub(crate) by: Paint,
    /// Write the picture to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Cells in a line [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) width: Option<u16>,
    /// Whether cells have colour
    #[arg(long, default_value = "auto")]
    pub(crate) color: ColorChoice,
}

/// What a picture of wblocks shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Paint {
    /// The share of each wblock that live records take
    Live,
    /// Free, struck out, in use
    State,
    /// How long ago each wblock was opened
    Age,
    /// What does not verify
    Damage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal that has it, unless `NO_COLOR` is set
    Auto,
    Always,
    Never,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle wblock data 0
  brindle wblock --hex data 3 | less
  brindle wblock --json data 3 | jq '.entries[] | select(.kind == \"damage\")'

N counts wblocks over all stripes, as `verify` and `map` do. Shows both copies of the header
field by field, what the census says, and then all that lies in it, in the order of rblocks.
With --hex each entry is followed by its first 256 bytes.")]
pub(crate) struct WblockArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// Number of the wblock
    #[arg(value_name = "N")]
    pub(crate) wblock: u32,
    /// Show bytes, too
    #[arg(long)]
    pub(crate) hex: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle record data 3:120        rblock 120 of wblock 3
  brindle record data 524408       the same as a location: rblocks from the start of the region

Every field with its bytes, what it means, and for each checksum what is stored and what the
bytes say. The exit status is 1 if there is no record, or it does not verify.")]
pub(crate) struct RecordArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// WBLOCK:RBLOCK, or a location
    pub(crate) location: Spot,
}

/// A place in the region, as a person writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// A wblock, and an rblock in it.
    In(u32, u32),
    /// An rblock of the region.
    At(u64),
}

impl FromStr for Spot {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let spot = match text.split_once(':') {
            Some((wblock, rblock)) => {
                wblock.parse().ok().zip(rblock.parse().ok()).map(|(w, r)| Self::In(w, r))
            }
            None => text.parse().ok().map(Self::At),
        };
        spot.ok_or_else(|| "write WBLOCK:RBLOCK, such as 3:120, or a whole number".to_owned())
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle history data user:1
  brindle history --json data user:1 | jq '.versions[].fate'

Every version of the key that the shadow still holds, also in wblocks that were struck out
and not used again, the newest first: where it is, and whether it is alive, or what killed
it. At most 10,000 are listed; all are counted. All of the shadow is read.")]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// The key
    #[arg(value_parser = parse_bytes())]
    pub(crate) key: Bytes,
    /// KEY is written in hex digits
    #[arg(long)]
    pub(crate) hex: bool,
}

impl HistoryArgs {
    /// The bytes of the key; `None`: they were to be hex digits and are not.
    pub(crate) fn key_bytes(&self) -> Option<Vec<u8>> {
        key_bytes(&self.key, self.hex)
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle stats data
  brindle stats --top 50 --json data | jq '.most_rewritten'

Sizes and times to live are those of live records; versions are counted over all copies that
the shadow still holds, so how often a key was rewritten can be more. Reads the shadow twice
and holds about 40 to 70 bytes of memory for each key.")]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// How many of the largest and most rewritten to list
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=1_000))]
    pub(crate) top: u16,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle diff before after
  brindle diff --json primary copy

Compares what two stores would return: a line for each key that is only in one, or newer in
one. Records of one version count as the same if 20 bits of a digest of value and expiry
agree. Reads both twice, and holds about 40 to 70 bytes for each key of both. The exit status
is 1 if they differ.")]
pub(crate) struct DiffArgs {
    /// Shadow directory, file or device
    pub(crate) a: PathBuf,
    /// The other one
    pub(crate) b: PathBuf,
    /// Count, and list no keys
    #[arg(long)]
    pub(crate) count: bool,
}
