//! The receiver's own memory: aligned, reused, and grown only by what arrived.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// 16 bytes, so aligned: what every archive may rely on.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(16))]
struct Block([u8; 16]);

/// Copies bytes that were written by words just now, or will be read so at once: a load of two words waits until both are in
/// the cache, and with them whatever was stored before.
///
/// # Panics
///
/// If they are not as many.
#[inline(always)]
pub fn copy_fresh(to: &mut [u8], from: &[u8]) {
    crate::sync::copy_fresh(to, from);
}

/// Bytes aligned to 16, in memory of our own that no peer can reach.
///
/// It keeps its memory when it is used again.
#[derive(Default)]
pub struct Buffer {
    blocks: Vec<Block>,
    len: usize,
}

impl Buffer {
    /// Empty, with no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { blocks: Vec::new(), len: 0 }
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.blocks.as_bytes()[..self.len]
    }

    /// How many bytes there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes it holds without growing.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }

    /// Forgets the bytes and keeps the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// A piece of the bytes; nothing if there are not so many.
    #[inline]
    pub(crate) fn piece(&self, start: usize, len: usize) -> &[u8] {
        self.bytes().get(start..start.saturating_add(len)).unwrap_or(&[])
    }

    /// A piece of all the memory that there is: what it holds beyond the bytes is anything.
    #[inline(always)]
    pub(crate) fn within(&self, start: usize, len: usize) -> Option<&[u8]> {
        self.blocks.as_bytes().get(start..start + len)
    }

    /// Makes the buffer `start + len` bytes long and lends the last `len`, to be written in full.
    #[inline]
    pub(crate) fn extend(&mut self, start: usize, len: usize) -> &mut [u8] {
        let end = start + len;
        if end > self.capacity() {
            return self.extend_grown(start, end);
        }
        self.len = end;
        &mut self.blocks.as_mut_bytes()[start..end]
    }

    #[cold]
    #[inline(never)]
    fn extend_grown(&mut self, start: usize, end: usize) -> &mut [u8] {
        // Vec grows by doubling: at most twice what arrived, never what was only claimed.
        self.blocks.resize(end.div_ceil(size_of::<Block>()), Block([0; 16]));
        self.len = end;
        &mut self.blocks.as_mut_bytes()[start..end]
    }

    /// Replaces the bytes by these.
    pub(crate) fn copy_from(&mut self, bytes: &[u8]) {
        self.extend(0, bytes.len()).copy_from_slice(bytes);
    }

    /// Moves `len` bytes at `from`, a multiple of 8, down to the grain below, and says where they are now. Nothing is
    /// moved if there are not so many.
    #[inline]
    pub(crate) fn move_down(&mut self, from: usize, len: usize) -> usize {
        const FEW: usize = 64;
        let to = from & !15;
        let bytes = self.blocks.as_mut_bytes();
        if len > FEW {
            if from + len <= bytes.len() {
                bytes.copy_within(from..from + len, to);
            }
            return to;
        }
        // A few words by hand: a call to the library costs more.
        let words = <[u64]>::mut_from_bytes(bytes).unwrap_or_default();
        let words = words.get_mut(to / 8..(from + len).div_ceil(8)).unwrap_or_default();
        for at in 1..words.len() {
            words[at - 1] = words[at];
        }
        to
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer")
            .field("len", &self.len)
            .field("capacity", &self.capacity())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_what_arrives_to_twice_as_much_at_most() {
        for part in [1, 100, 1008, 65_520] {
            let mut buffer = Buffer::new();
            let mut arrived = 0;
            while arrived < 3_000_000 {
                buffer.extend(arrived, part).fill(7);
                arrived += part;
                // A vector's first allocation is four blocks.
                let most = (2 * arrived).max(4 * size_of::<Block>()) + size_of::<Block>();
                assert!(
                    buffer.blocks.capacity() * size_of::<Block>() <= most,
                    "{arrived} by {part}"
                );
                if part == 1 && arrived > 10_000 {
                    break;
                }
            }
            assert_eq!(buffer.bytes().len(), arrived);
        }
    }
}
