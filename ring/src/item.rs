//! Where a received message lies.

/// Where a received message lies, until the next receive: see
/// [`Consumer::bytes`](crate::consumer::Consumer::bytes).
#[derive(Clone, Copy, Debug)]
#[must_use = "the message is lost unless its bytes are looked at"]
pub struct Item {
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// What travelled with the message.
    pub tag: u64,
    /// A word like the others, so that an item goes from hand to hand in registers.
    pub(crate) place: usize,
}

/// In the lane, until the next receive.
pub(crate) const IN_PLACE: usize = 0;
/// In the buffer, which holds nothing else.
pub(crate) const ALONE: usize = 1;
/// In the buffer, with others.
pub(crate) const IN_PACK: usize = 2;
/// In the buffer, which holds nothing else; and file descriptors came with it.
pub(crate) const WITH_FDS: usize = 3;

impl Item {
    /// No message.
    pub(crate) const NOTHING: Self = Self { start: 0, len: 0, tag: 0, place: IN_PACK };

    /// Bytes of the message.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether file descriptors came with the message. Whoever owns the control socket has them.
    #[inline(always)]
    #[must_use]
    pub fn has_fds(&self) -> bool {
        self.place == WITH_FDS
    }

    /// Whether the message has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
