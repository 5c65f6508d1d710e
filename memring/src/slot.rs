//! Room in the lane, lent by a sender of bytes to be written in place.

use memring_ring::grant::{Grant, GrantFull};

/// Room in the lane for one message, written in place. Dropping it sends nothing.
///
/// ```
/// let (mut server, mut client) = memring::pair::<memring::Bytes>()?;
/// let mut slot = server.claim(16)?;
/// slot.write(b"in ")?;
/// slot.write(b"place")?;
/// slot.commit();
/// assert_eq!(&*client.recv()?, b"in place");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a slot that is dropped sends nothing"]
pub struct Slot<'a> {
    pub(crate) grant: Grant<'a>,
}

impl Slot<'_> {
    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// [`GrantFull`] if they do not fit; nothing of them was written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), GrantFull> {
        self.grant.write(bytes)
    }

    /// Appends `len` bytes and lends them, to be written without a copy. What they held is anything.
    ///
    /// ```
    /// # let (mut server, mut client) = memring::pair::<memring::Bytes>()?;
    /// let mut slot = server.claim(4)?;
    /// // SAFETY: the peer is this very program, which writes into no lane but its own.
    /// unsafe { slot.lend(4)? }.copy_from_slice(b"abcd");
    /// slot.commit();
    /// assert_eq!(&*client.recv()?, b"abcd");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    ///
    /// # Safety
    ///
    /// The peer must not write into this lane. The kernel refuses it that, unless it kept a mapping from before the
    /// lane was sealed: as with [`Receiver::trust_peer`](crate::Receiver::trust_peer), only a peer that is one program
    /// with this one can be trusted so. And the bytes must not be touched in a forked child, where the lane is not mapped.
    #[allow(unsafe_code)]
    pub unsafe fn lend(&mut self, len: usize) -> Result<&mut [u8], GrantFull> {
        // SAFETY: passed on.
        unsafe { self.grant.lend(len) }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.grant.written()
    }

    /// Bytes the slot holds in all, at least what was asked for.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.grant.limit()
    }

    /// Sends what was written as one message.
    pub fn commit(self) {
        self.grant.commit(0);
    }
}
