//! A private, growing buffer for encodings that cannot go straight into a frame.
//!
//! Why: a message of unknown size that may have to travel in parts is encoded here first. It begins at a
//! multiple of 16, keeps its memory for the next message, and has a limit, so that a value too large to be
//! sent costs no more than the largest that can be.
//!
//! It does not shrink by itself: [`clear`](Scratch::clear) keeps the memory.

use rkyv::util::AlignedVec;

use crate::{Sink, SinkFull};

/// A reusable buffer that begins at a multiple of 16 and holds at most a fixed number of bytes.
pub struct Scratch {
    bytes: AlignedVec<16>,
    max: usize,
}

impl Scratch {
    /// An empty buffer for at most `max` bytes. Allocates nothing yet.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { bytes: AlignedVec::new(), max }
    }

    /// Forgets the contents; from now on it holds at most `max` bytes.
    pub fn set_max(&mut self, max: usize) {
        self.bytes.clear();
        self.max = max;
    }

    /// Forgets the contents and keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Forgets the contents, and gives memory beyond `keep` bytes back.
    pub fn clear_and_shrink(&mut self, keep: usize) {
        self.bytes.clear();
        if self.bytes.capacity() > keep {
            self.bytes = AlignedVec::new();
        }
    }

    /// Bytes it holds without growing.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Writes over what was written before, at `at`.
    ///
    /// # Panics
    ///
    /// If that is not within it.
    pub fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// What was written since the last clear.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

impl std::ops::Deref for Scratch {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Sink for Scratch {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        if bytes.len() > self.max - self.bytes.len() {
            return Err(SinkFull::Limit { max: self.max });
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").field("len", &self.len()).field("max", &self.max).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_exactly_its_limit_and_says_so_beyond() {
        let mut scratch = Scratch::new(5);
        assert_eq!(scratch.write(b"abc"), Ok(()));
        assert_eq!(scratch.write(b"def"), Err(SinkFull::Limit { max: 5 }));
        assert_eq!(scratch.write(b"de"), Ok(()));
        assert_eq!(&*scratch, b"abcde");
        scratch.clear();
        assert_eq!(scratch.write(b"fghij"), Ok(()));
        assert_eq!(scratch.as_ptr().align_offset(16), 0);
        scratch.set_max(2);
        assert_eq!(scratch.write(b"abc"), Err(SinkFull::Limit { max: 2 }));
        scratch.clear_and_shrink(0);
        assert!(scratch.is_empty());
    }
}
