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

Holds one wblock at a time in memory. What a crash cut off (torn) was never durable and is no
damage; what was durable once and does not verify (rot) is. The two cannot always be told
apart: read the notes. After an orderly close the superblock also knows what is missing or
older than it was.")]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
}

#[derive(Args, Debug)]
pub(crate) struct SalvageArgs {
    #[command(flatten)]
    pub(crate) paths: PathArgs,
    /// Directory of the new store; must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Memory for records of the new store
    #[arg(long, value_name = "SIZE")]
    pub(crate) data_size: Option<Size>,
}
