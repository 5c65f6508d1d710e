//! Memory of owned messages, used again once they are dropped.

use std::sync::{Mutex, PoisonError};

use memring_ring::buffer::Buffer;

/// Buffers kept for owned messages, and the largest one kept.
const POOLED: usize = 16;
const POOLED_BYTES: usize = 1 << 20;

/// Buffers of owned messages that were dropped. Bounded, in number and size.
#[derive(Default)]
pub(crate) struct Pool {
    buffers: Mutex<Vec<Buffer>>,
}

impl Pool {
    pub(crate) fn take(&self) -> Buffer {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(crate) fn give(&self, mut buffer: Buffer) {
        // Somebody else is giving or taking: not worth a wait, which would be for ever in a forked child.
        let Ok(mut buffers) = self.buffers.try_lock() else { return };
        if buffers.len() < POOLED && buffer.capacity() <= POOLED_BYTES {
            buffer.clear();
            buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer that came from a message of `len` bytes.
    fn of(len: usize) -> Buffer {
        let (mut server, client) = crate::pair::<crate::Bytes>().expect("a pair");
        let (_, mut receiver) = client.split();
        server.send(&vec![7; len]).expect("room, or parts");
        receiver.recv_owned().expect("what was sent").into_buffer()
    }

    #[test]
    fn a_pool_keeps_so_many_buffers_and_no_large_ones() {
        let pool = Pool::default();
        let kept = |pool: &Pool| pool.buffers.lock().expect("nobody panicked").len();
        for _ in 0..POOLED + 3 {
            pool.give(of(100));
        }
        assert_eq!(kept(&pool), POOLED);
        assert!(pool.take().capacity() >= 100, "its memory is used again");
        assert_eq!(kept(&pool), POOLED - 1);
        // Parts need a reader beside the writer, so a larger lane instead.
        let (mut server, client) = crate::Connector::new()
            .lanes(crate::Lanes::Normal, crate::Lanes::Bytes(16 << 20))
            .pair::<crate::Bytes>()
            .expect("a pair");
        let (_, mut receiver) = client.split();
        server.send(&vec![7; POOLED_BYTES + 16]).expect("room");
        pool.give(receiver.recv_owned().expect("what was sent").into_buffer());
        assert_eq!(kept(&pool), POOLED - 1, "too large to keep");
    }
}
