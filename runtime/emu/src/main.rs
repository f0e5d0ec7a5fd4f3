//! The `emu` binary.
fn main() {}
