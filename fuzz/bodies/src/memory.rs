//! The memory of a channel whose two sides are this process, kept from run to run: mapping it takes longer
//! than a run.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use memring_ring::fence::{FenceBits, Fences};
use memring_ring::memory::Mapping;
use memring_ring::{Life, Terms, Wait, fork};

pub const CAPACITY: u64 = 4096;
/// The largest payload of a frame.
pub const LARGEST: u64 = CAPACITY / 4 - 16;
/// A page of any machine's size.
pub const CONTROL: u32 = 65536;
/// Where the last word of a control area ends.
pub const WORDS: usize = 768;

pub const HEAD: usize = 0;
pub const RX_ASLEEP: usize = 128;
pub const TX_ASLEEP: usize = 256;

/// One segment, as its writer and as its reader see it.
pub struct Segment {
    pub writer: Arc<Mapping>,
    pub reader: Arc<Mapping>,
}

/// Both segments.
pub struct Memory {
    pub ours: Segment,
    pub peers: Segment,
}

thread_local! {
    static MEMORY: Memory = {
        let segment = || {
            let (writer, reader) =
                Mapping::anonymous_pair(CONTROL, CAPACITY).expect("memory for a segment");
            Segment { writer, reader }
        };
        Memory { ours: segment(), peers: segment() }
    };
}

impl Memory {
    /// Two segments in which nothing was ever said, whose lanes begin at `start`.
    pub fn with(start: u64, run: impl FnOnce(&Self)) {
        MEMORY.with(|memory| {
            for segment in [&memory.ours, &memory.peers] {
                segment.writer.control().zero(0, WORDS);
                // The peer's consumer has read nothing, and so it says.
                segment.writer.control().store64(HEAD, start, Ordering::Relaxed);
            }
            memory.peers.writer.data().zero(0, CAPACITY as usize);
            // Not one byte of this may travel.
            let ours = memory.ours.writer.data();
            ours.copy_in(0, &[0xaa; CAPACITY as usize]);
            ours.store64(offset(start), 0, Ordering::Relaxed);
            run(memory);
        });
    }
}

/// Where in a data area `position` lies.
pub fn offset(position: u64) -> usize {
    (position % CAPACITY) as usize
}

/// What a channel is like, by a choice of the script: positions that wrap, and the largest message.
pub fn terms(choice: u8) -> Terms {
    let start = [0, (1 << 32) - 64, 0_u64.wrapping_sub(64), 1 << 63][usize::from(choice & 3)];
    let max_message = [0, 100, 3000, 20_000][usize::from(choice >> 2 & 3)];
    // Spinning would only cost time: there is nobody to wait for.
    Terms::new(max_message).start(start).wait(Wait::Park)
}

/// A session of this process with nobody.
pub fn life() -> Arc<Life> {
    let bits = FenceBits::default();
    Life::new(Fences::negotiate(bits, bits), fork::generation())
}
