//! Question: how does Brindle do beside its peers: throughput, latency, growth, memory, durability?
//!
//! In `benches/peers`: `cargo run --release -- --quick`; `--help` lists what there is. What each
//! line means is in `benches/NOTES.md`.

use brindle_peers::peers::{Arguments, run};
use clap::Parser;
use std::io;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> io::Result<()> {
    run(&Arguments::parse())
}
