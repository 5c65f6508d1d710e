//! Which values of a table were checked: a bit each, there once it is needed.
//!
//! Whoever sends a table decides how many values it says it has, and whoever opens one may ask for three. So no memory
//! is taken before a value is asked for, and then for 65,536 of them at a time: 8 KiB, beside 24 bytes for each 65,536
//! that the table has. A value has 8 bytes in the index of the table, so all of this is a sixtieth of what was sent.
//!
//! It keeps no count, and a bit is never taken back.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Values of one block.
const BLOCK: u64 = 1 << 16;

type Block = OnceLock<Box<[AtomicU64]>>;

pub(super) struct Seen {
    count: u64,
    blocks: OnceLock<Box<[Block]>>,
}

impl Seen {
    /// Nothing of `count` values, which are in memory.
    pub(super) fn new(count: u64) -> Self {
        Self { count, blocks: OnceLock::new() }
    }

    /// Whether `place` was put in.
    #[inline]
    pub(super) fn contains(&self, place: u64) -> bool {
        let block = self.blocks.get().and_then(|blocks| blocks.get(block_of(place))?.get());
        // ORDERING: Relaxed; the bit says that a look at bytes which never change found them valid, and guards no
        // other memory. Whoever does not see it yet looks again.
        let word = block.and_then(|words| words.get(word_of(place)));
        word.is_some_and(|word| word.load(Ordering::Relaxed) & bit_of(place) != 0)
    }

    /// Puts `place` in.
    pub(super) fn insert(&self, place: u64) {
        let blocks = self.blocks.get_or_init(|| {
            let blocks = self.count.div_ceil(BLOCK) as usize;
            std::iter::repeat_with(Block::new).take(blocks).collect()
        });
        let Some(block) = blocks.get(block_of(place)) else {
            return; // beyond the table, where nobody asks
        };
        let words = block.get_or_init(|| {
            let values = (self.count - place / BLOCK * BLOCK).min(BLOCK);
            std::iter::repeat_with(AtomicU64::default).take(values.div_ceil(64) as usize).collect()
        });
        if let Some(word) = words.get(word_of(place)) {
            // ORDERING: Relaxed; as in `contains`.
            word.fetch_or(bit_of(place), Ordering::Relaxed);
        }
    }
}

fn block_of(place: u64) -> usize {
    (place / BLOCK) as usize
}

fn word_of(place: u64) -> usize {
    (place % BLOCK / 64) as usize
}

fn bit_of(place: u64) -> u64 {
    1 << (place % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_in_and_nothing_else_is() {
        let places = [0, 1, 63, 64, BLOCK - 1, BLOCK, 3 * BLOCK + 7];
        let seen = Seen::new(3 * BLOCK + 8);
        for (n, &place) in places.iter().enumerate() {
            assert!(!seen.contains(place));
            seen.insert(place);
            for (m, &other) in places.iter().enumerate() {
                assert_eq!(seen.contains(other), m <= n, "{other} after {place}");
            }
        }
        assert!(!seen.contains(2 * BLOCK));
        assert!(!seen.contains(u64::MAX));
        seen.insert(u64::MAX); // nothing happens
    }

    #[test]
    fn memory_is_there_for_the_blocks_that_were_asked_for() {
        let seen = Seen::new(100 * BLOCK);
        assert!(seen.blocks.get().is_none());
        seen.insert(50 * BLOCK);
        let blocks = seen.blocks.get().expect("asked for");
        assert_eq!(blocks.len(), 100);
        assert_eq!(blocks.iter().filter(|block| block.get().is_some()).count(), 1);
        let small = Seen::new(65);
        small.insert(64);
        assert_eq!(small.blocks.get().expect("asked for")[0].get().expect("asked for").len(), 2);
    }
}
