//! The models are in `tests/`, one file a protocol. Run them with
//! `RUSTFLAGS="--cfg shuttle" cargo test --release -p shuttle-tests`.
