//! Writes the seeds of every target below `corpus/`.
#![allow(clippy::allow_attributes, clippy::expect_used, reason = "a tool of the tests")]

use std::fs;
use std::path::Path;

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, _) in brindle_fuzz::TARGETS {
        let dir = corpus.join(name);
        fs::create_dir_all(&dir).expect("a directory");
        for (at, seed) in brindle_fuzz::seeds(name).iter().enumerate() {
            fs::write(dir.join(format!("seed-{at}")), seed).expect("room");
        }
    }
}
