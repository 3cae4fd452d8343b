//! Podway.
fn main() {}
