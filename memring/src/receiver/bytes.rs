//! Receiving bytes with the file descriptors that came beside them.

use std::os::fd::OwnedFd;
use std::time::Instant;

use memring_ring::consumer::Item;
use memring_transport::socket::ForeignFd;

use super::Receiver;
use crate::error::{NotLent, RecvError, TryRecvError};
use crate::view::View;

/// Byte strings may have file descriptors beside them.
impl Receiver<[u8]> {
    /// As [`recv`](Self::recv), with the file descriptors that came with the message; that closes them.
    ///
    /// They are whatever the peer sent: using one may block, and closing it too.
    ///
    /// # Errors
    ///
    /// As `recv`, and [`RecvError::FdsLost`].
    pub fn recv_with_fds(&mut self) -> Result<(View<'_, [u8]>, Vec<OwnedFd>), RecvError> {
        let item = next!(self, None);
        Ok(self.lend_with_fds(item)?)
    }

    /// As [`recv_with_fds`](Self::recv_with_fds), waiting until the deadline at most.
    ///
    /// # Errors
    ///
    /// As there, and [`RecvError::TimedOut`].
    pub fn recv_with_fds_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<(View<'_, [u8]>, Vec<OwnedFd>), RecvError> {
        let item = next!(self, Some(deadline));
        Ok(self.lend_with_fds(item)?)
    }

    /// As [`recv_with_fds`](Self::recv_with_fds), if a message is there now.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv), and [`TryRecvError::FdsLost`].
    pub fn try_recv_with_fds(&mut self) -> Result<(View<'_, [u8]>, Vec<OwnedFd>), TryRecvError> {
        let item = try_next!(self);
        Ok(self.lend_with_fds(item)?)
    }

    fn lend_with_fds(&mut self, item: Item) -> Result<(View<'_, [u8]>, Vec<OwnedFd>), NotLent> {
        let fds = if item.has_fds() {
            let parcel = self.session.take_parcel().unwrap_or_default();
            if parcel.is_lost() {
                return Err(NotLent::FdsLost { sent: parcel.sent() });
            }
            parcel.into_fds().into_iter().map(ForeignFd::into_owned).collect()
        } else {
            Vec::new()
        };
        Ok((self.lend(item)?, fds))
    }
}
