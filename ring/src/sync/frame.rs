//! Frames in regions that know none: in a model, and where a fuzzer plays the peer.

use super::{Ordering, Region};

/// A frame in a region.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(super) region: &'a Region,
    pub(super) at: usize,
}

/// Of a lane that is ours to write.
pub(crate) type FrameMut<'a> = Frame<'a>;

impl Frame<'_> {
    pub(crate) fn load_header(self, order: Ordering) -> u64 {
        self.region.load64(self.at, order)
    }

    pub(crate) fn load_tag(self, order: Ordering) -> u64 {
        self.region.load64(self.at + 8, order)
    }

    pub(crate) fn store_header(self, value: u64, order: Ordering) {
        self.region.store64(self.at, value, order);
    }

    pub(crate) fn store_tag(self, value: u64, order: Ordering) {
        self.region.store64(self.at + 8, value, order);
    }

    pub(crate) fn copy_payload_out(self, into: &mut [u8]) {
        self.region.copy_out(self.at + 16, into);
    }

    pub(crate) fn copy_payload_in(self, offset: usize, bytes: &[u8]) {
        self.region.copy_in(self.at + 16 + offset, bytes);
    }

    pub(crate) fn zero(self, offset: usize, len: usize) {
        self.region.zero(self.at + 16 + offset, len);
    }

    pub(crate) fn prefetch_next_line(self) {}
}
