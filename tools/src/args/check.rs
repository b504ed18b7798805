//! Arguments of the commands that check and save.

use super::PathArgs;
use crate::text::Size;
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle verify data                       a directory with stripe-000.shadow and so on
  brindle verify /dev/vdb --member /dev/vdc a store on two devices
  brindle verify --json data | jq '.findings[].what'
  brindle verify --repair-superblock data

Holds one wblock at a time in memory. What a crash cut off (torn) was never durable and is no
damage; what was durable once and does not verify (rot) is. The two cannot always be told
apart: read the notes. After an orderly close the superblock also knows what is missing or
older than it was.

--repair-superblock writes a damaged copy of a superblock anew from the one that counts, as
the next open of the store would do; it takes the lock that a store takes, and so does not run
beside one. Then all is verified. If neither copy verifies there is nothing to write from:
`brindle salvage` saves the records without one.")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// Write damaged copies of superblocks anew
    #[arg(long)]
    pub(crate) repair_superblock: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle salvage --to saved data
  brindle salvage --to saved --older --uncertain stripe-000.shadow

Puts every live record that can be read into a new store, with its version and expiry, and
reports what could not be: damaged keys by name, places, wblocks. Needs no superblock: where
none verifies, headers of wblocks say enough. Two kinds are left behind on purpose, for they
may not be what was there last: records of wblocks whose header is damaged or which are stale
(--uncertain takes them; what was deleted may come back), and older copies of keys whose
newest record is damaged or uncertain (--older takes them). The exit status is 1 if anything
is damaged.")]
pub(crate) struct SalvageArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// Directory of the new store; must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Memory for records of the new store [default: twice what is saved plus 64 MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) data_size: Option<Size>,
    /// Of a key whose newest record is damaged, take the newest that is not
    #[arg(long)]
    pub(crate) older: bool,
    /// Take what lies in wblocks with a damaged header, and in stale ones, too
    #[arg(long)]
    pub(crate) uncertain: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle report --html report.html data
  brindle report --html - data | ssh desk 'cat > report.html'

One page that needs nothing else, neither network nor scripts: what the shadow is, a map of
its wblocks, what takes the space, how sizes and times to live are spread, and what is
damaged. It holds keys (the largest, the most rewritten, the damaged ones), and no values.
Reads the shadow three times and holds about 40 to 70 bytes of memory for each key. The exit
status is 1 if anything is damaged.")]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// Write the page to this file; `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) html: PathBuf,
}
