//! A listener in an event loop.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use memring_transport::{Doorway, Paused};

use crate::error::AcceptFailed;
use crate::server::Incoming;

/// A listener in an event loop of yours. When its descriptor is readable, [`try_accept`](Self::try_accept) until that says
/// `None`; by levels or by edges.
///
/// Handshakes go on beside each other on threads of their own, and a peer is handed out when it has done its part.
///
/// ```
/// use memring::{Bytes, Listener};
/// use rustix::event::{PollFd, PollFlags, poll};
///
/// # let directory = std::env::temp_dir().join(format!("memring-polled-{}", std::process::id()));
/// # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
/// # let path = directory.join("sock");
/// let listener = Listener::bind(&path)?;
/// let mut waiting = listener.polled()?;
/// # let client = std::thread::spawn(move || {
/// #     let mut client = memring::connect::<Bytes>(&path).expect("the listener is there");
/// #     client.recv().map(|welcome| welcome.to_vec())
/// # });
/// let mut channel = loop {
///     if let Some(incoming) = waiting.try_accept()? {
///         break incoming.open::<Bytes>()?;
///     }
///     // Beside whatever else the loop waits for.
///     poll(&mut [PollFd::new(&waiting, PollFlags::IN)], None)?;
/// };
/// channel.send(b"welcome")?;
/// # assert_eq!(client.join().unwrap()?, b"welcome");
/// # drop((listener, waiting));
/// # std::fs::remove_dir(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PolledListener {
    inner: Doorway,
}

impl PolledListener {
    pub(crate) fn new(listener: Arc<memring_transport::Listener>) -> io::Result<Self> {
        Ok(Self { inner: Doorway::new(listener)? })
    }

    /// The next peer that asks for a channel, if there is one by now. Otherwise the descriptor becomes readable when it is
    /// worth another try.
    ///
    /// # Errors
    ///
    /// [`AcceptFailed`] after [`shut_down`](crate::Listener::shut_down), after a fork, or if the kernel refuses.
    pub fn try_accept(&mut self) -> Result<Option<Incoming>, AcceptFailed> {
        Ok(self.inner.try_accept()?.map(Incoming::of))
    }

    /// Why no connections are taken for a while, said once: until one is again.
    pub fn take_paused(&mut self) -> Option<Paused> {
        self.inner.take_paused()
    }
}

impl AsFd for PolledListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for PolledListener {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for PolledListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolledListener").finish_non_exhaustive()
    }
}
