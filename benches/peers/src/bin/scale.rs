//! Question: how does what Brindle costs change as it grows, in records and in cores?
//!
//! In `benches/peers`: `cargo run --release --bin scale -- --plots FOLDER`. What each line means is
//! in `benches/NOTES.md`.

use brindle_peers::scale::{Arguments, run};
use clap::Parser;
use std::io;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> io::Result<()> {
    run(&Arguments::parse())
}
