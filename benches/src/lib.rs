//! What is measured, written once, over whatever is measured.
//!
//! What the command needs too (the links' trait, the raw cache line, pinning) lives there and is compiled into
//! both: the command is published, and this crate, which it would otherwise depend on, is not.
//!
//! Each bench is a binary: `cargo run --release -p memring-benches --bin rtt`.

#[path = "../../cli/src/measure/mod.rs"]
pub mod measure;
pub mod stream;
pub mod tick;
pub mod turns;
