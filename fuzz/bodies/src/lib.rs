//! The bodies of the fuzz targets: plain functions that take bytes and panic if a rule is broken.
//!
//! A target is `fn run(data: &[u8])`. What the bytes mean is the target's business; any bytes mean
//! something. The fuzzer calls them, and so does `tests/replay.rs`, on every toolchain and without a
//! fuzzer, with all that lies in `fuzz/seeds`.
//!
//! This crate does not mutate, measure coverage or keep a corpus: that is libFuzzer's.

#[cfg(feature = "values")]
pub mod archive;
#[cfg(feature = "values")]
pub mod attachments;
#[cfg(feature = "values")]
pub mod calls;
#[cfg(feature = "values")]
pub mod control;
#[cfg(feature = "values")]
pub mod formats;
#[cfg(feature = "values")]
pub mod handshake;
mod input;
pub mod lane;
#[cfg(memring_scripted)]
pub mod loads;
mod memory;
mod received;
pub mod segment;
#[cfg(feature = "values")]
pub mod table;
mod witness;

/// One target: what it is called, what it does, and inputs that lead it to interesting places.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the name of its folder of seeds.
    pub name: &'static str,
    /// Panics if a rule is broken.
    pub run: fn(&[u8]),
    /// Seeds by name, made the same way each time.
    pub seeds: fn() -> Vec<Seed>,
}

/// One input and what it shows.
pub type Seed = (String, Vec<u8>);

/// All targets.
#[cfg(all(feature = "values", not(memring_scripted)))]
pub const TARGETS: [Target; 9] = [
    Target { name: "control", run: control::run, seeds: control::seeds },
    Target { name: "handshake", run: handshake::run, seeds: handshake::seeds },
    Target { name: "lane", run: lane::run, seeds: lane::seeds },
    Target { name: "segment", run: segment::run, seeds: segment::seeds },
    Target { name: "archive", run: archive::run, seeds: archive::seeds },
    Target { name: "attachments", run: attachments::run, seeds: attachments::seeds },
    Target { name: "calls", run: calls::run, seeds: calls::seeds },
    Target { name: "table", run: table::run, seeds: table::seeds },
    Target { name: "formats", run: formats::run, seeds: formats::seeds },
];

/// The one target of a ring whose loads are scripted; the others want memory that is memory.
#[cfg(memring_scripted)]
pub const TARGETS: [Target; 1] = [Target { name: "loads", run: loads::run, seeds: loads::seeds }];
