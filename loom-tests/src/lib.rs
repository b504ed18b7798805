//! The models are in `tests/`, one file a protocol. Run them with
//! `RUSTFLAGS="--cfg loom" cargo test --release -p loom-tests`.
