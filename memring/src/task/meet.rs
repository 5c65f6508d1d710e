//! Meeting in tasks of tokio's: listeners and connecting.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use memring_transport::AcceptError;

use super::{Async, Tokio};
use crate::address::ToAddress;
use crate::channel::ClientEnd;
use crate::client::Connector;
use crate::error::{AcceptFailed, ConnectError};
use crate::polled::PolledListener;
use crate::protocol::Protocol;
use crate::server::Incoming;

/// A place at a listener in a task of tokio's; see [`Listener::tokio`](crate::Listener::tokio).
pub struct TokioListener {
    polled: AsyncFd<PolledListener>,
}

impl TokioListener {
    pub(crate) fn new(polled: PolledListener) -> io::Result<Self> {
        #[allow(
            deprecated,
            reason = "its successor is unsafe, which a descriptor of ours has no need of"
        )]
        let polled = AsyncFd::with_interest(polled, Interest::READABLE)?;
        Ok(Self { polled })
    }

    /// Waits for the next peer that asks for a channel. Dropping the future loses none.
    ///
    /// ```
    /// # use memring::{Bytes, Connector, Listener};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = std::env::temp_dir().join(format!("memring-tokio-{}", std::process::id()));
    /// # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
    /// # let path = directory.join("sock");
    /// let listener = Listener::bind(&path)?;
    /// let mut waiting = listener.tokio()?;
    /// let serve = async {
    ///     let mut channel = waiting.accept().await?.open::<Bytes>()?.into_tokio()?;
    ///     channel.send(b"welcome").await?;
    ///     Ok::<_, Box<dyn std::error::Error>>(channel)
    /// };
    /// let client = async {
    ///     let mut channel = Connector::new().connect_tokio::<Bytes>(&path).await?;
    ///     assert_eq!(&*channel.recv().await?, b"welcome");
    ///     Ok(())
    /// };
    /// tokio::try_join!(serve, client)?;
    /// # drop((listener, waiting));
    /// # std::fs::remove_dir(&directory)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`AcceptFailed`] after [`shut_down`](crate::Listener::shut_down), after a fork, or if the kernel refuses.
    pub async fn accept(&mut self) -> Result<Incoming, AcceptFailed> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    /// The next peer, or the task is woken when it is worth another try.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Incoming, AcceptFailed>> {
        loop {
            if let Some(incoming) = self.polled.get_mut().try_accept()? {
                return Poll::Ready(Ok(incoming));
            }
            match ready!(self.polled.poll_read_ready_mut(context)) {
                Ok(mut guard) => guard.clear_ready(),
                Err(error) => return Poll::Ready(Err(AcceptError::System(error).into())),
            }
        }
    }
}

impl fmt::Debug for TokioListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioListener").finish_non_exhaustive()
    }
}

impl Connector {
    /// As [`connect`](Self::connect), in a task of tokio's. The handshake, which is some milliseconds of waiting for the server, goes
    /// on in a thread that tokio keeps for such things; it goes on there, and then closes, if the future is dropped.
    ///
    /// # Errors
    ///
    /// As `connect`, and [`ConnectError::Runtime`].
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio's, or in one without its I/O.
    pub async fn connect_tokio<P: Protocol + 'static>(
        &self,
        address: impl ToAddress,
    ) -> Result<Async<ClientEnd<P>, Tokio>, ConnectError> {
        let (connector, address) = (self.clone(), address.to_address()?);
        let connect = move || connector.connect::<P>(&address);
        match tokio::task::spawn_blocking(connect).await {
            Ok(connected) => connected?.into_tokio().map_err(ConnectError::Runtime),
            Err(failed) => Err(ConnectError::Runtime(failed.into())),
        }
    }
}
