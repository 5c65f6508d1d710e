//! The attacker.
fn main() {}
