//! What the tests of the two halves share: a channel within one process, and bytes that tell their story.
//!
//! Both sides live here, each on its own mappings of the same memory, so that a test can be either
//! side or stand beside them and write what no honest side would.

#![allow(dead_code)] // Each test binary uses its own share of it.

use std::sync::Arc;

use memring_ring::consumer::Consumer;
use memring_ring::fence::{self, FenceBits, Fences};
use memring_ring::memory::{Mapping, Region};
use memring_ring::producer::Producer;
use memring_ring::{Life, Terms, channel, fork};

/// Bytes of a control area: one page here, and on any machine with pages of up to 64 KiB.
pub const CONTROL: u32 = 65536;

/// Offsets in a control area, as the protocol lays them down.
pub const HEAD: usize = 0;
pub const RX_ASLEEP: usize = 128;
pub const TX_ASLEEP: usize = 256;

/// Where lanes begin, so that positions pass 2^32 and 2^64 within a few frames.
pub const STARTS: [u64; 5] =
    [0, (1 << 32) - 64, 0_u64.wrapping_sub(64), (1 << 63) - 1008, 0_u64.wrapping_sub(4096)];

/// One side of a channel.
pub struct Side {
    pub producer: Producer,
    pub consumer: Consumer,
    pub life: Arc<Life>,
}

/// The memory of one segment: as its writer and as its reader see it.
pub struct Memory {
    pub writer: Arc<Mapping>,
    pub reader: Arc<Mapping>,
}

impl Memory {
    pub fn new(capacity: u64) -> Self {
        let (writer, reader) =
            Mapping::anonymous_pair(CONTROL, capacity).expect("memory for a segment");
        Self { writer, reader }
    }
}

/// How the two sides fence: as this machine can, or in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencing {
    Ours,
    Full,
}

pub fn life(fencing: Fencing) -> Arc<Life> {
    let bits = match fencing {
        Fencing::Ours => fence::ours(),
        Fencing::Full => FenceBits::default(),
    };
    Life::new(Fences::negotiate(bits, bits), fork::generation())
}

/// The side that writes `mine` and reads `theirs`.
pub fn side(mine: &Memory, theirs: &Memory, terms: &Terms, fencing: Fencing) -> Side {
    let life = life(fencing);
    let (producer, consumer) = channel(&mine.writer, &theirs.reader, &life, terms);
    Side { producer, consumer, life }
}

/// Both sides of a channel whose lanes hold `capacity` bytes each.
pub fn sides(capacity: u64, terms: &Terms, fencing: Fencing) -> (Side, Side) {
    let (s, c) = (Memory::new(capacity), Memory::new(capacity));
    (side(&s, &c, terms, fencing), side(&c, &s, terms, fencing))
}

/// Bytes that no two seeds share, and no two offsets of one seed in a way that a shift would hide.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Writes `byte` all over a region of `len` bytes.
pub fn fill(region: &Region, len: usize, byte: u8) {
    region.copy_in(0, &vec![byte; len]);
}
