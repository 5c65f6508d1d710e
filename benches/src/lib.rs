//! What is measured, written once, over whatever is measured.
//!
//! The bodies are the command's, so that `memring demo` and the benches cannot disagree. The command is
//! published and this crate is not, so the files live there and are compiled into both.
//!
//! Each bench is a binary: `cargo run --release -p memring-benches --bin rtt`.

#[path = "../../cli/src/measure/mod.rs"]
pub mod measure;
