//! The `brindle` command.
fn main() {}
