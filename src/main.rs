//! The `headstart` program.
fn main() {}
