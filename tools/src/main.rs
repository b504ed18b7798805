//! The `brindle` command: looks into shadows, checks them, exports and imports, measures. See
//! `lib.rs`.
#![forbid(unsafe_code)]

use std::io::{self, BufWriter};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    ExitCode::from(brindle_tools::run_command(std::env::args_os(), &mut out))
}
