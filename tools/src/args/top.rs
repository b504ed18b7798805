//! Arguments of `top`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  brindle top data                     data/top.json, as the example `service` publishes it
  brindle top --view wblocks /run/users/top.json
  brindle top --once data              one picture as text; with --json all figures

Shows a store that another process has open: the host calls `Store::publish_top` with a path
(feature `top`), and `Store::sample_latencies` for rates and latencies of calls. No port is
opened, and nothing is asked of the host. Rates are those of the last second, latencies those
of the last ten; --once looks for a second, --json too. Keys: q, Esc or Ctrl-C end it; 1 to 4,
Tab and the arrows switch; p pauses; m paints the map by state; ? explains. With --once and
--json the exit status is 1 if the host has ended or does not write any more.")]
pub(crate) struct TopArgs {
    /// File that the host publishes, or a directory with a `top.json`
    pub(crate) path: PathBuf,
    /// Print one picture as text, and end
    #[arg(long)]
    pub(crate) once: bool,
    /// What to show first
    #[arg(long, default_value = "overview")]
    pub(crate) view: View,
    /// Panic at this picture, for tests
    #[arg(long, hide = true, value_name = "N")]
    pub(crate) panic_at: Option<u64>,
}

/// One of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum View {
    /// Rates, latencies, space, what is wrong
    Overview,
    /// Every wblock as a cell, and the stripes
    Wblocks,
    /// What defragmentation, expiry and eviction do, and what holds the space
    Reclaim,
    /// Its shape, its limits, its shadow, its cold start
    Store,
}

impl View {
    pub(crate) const ALL: [Self; 4] = [Self::Overview, Self::Wblocks, Self::Reclaim, Self::Store];

    /// The page so many further, around the end.
    pub(crate) fn turned(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|view| *view == self).unwrap_or_default();
        Self::ALL.into_iter().cycle().nth(at + by).unwrap_or(self)
    }
}
