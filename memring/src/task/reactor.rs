//! Tasks that tokio's reactor wakes.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use memring_transport::{Notifier, Session};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Driver, sealed};

/// A task that tokio's reactor wakes: it takes two descriptors.
///
/// ```
/// use memring::Bytes;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (server, client) = memring::pair::<Bytes>()?;
/// let (mut server, mut client) = (server.into_tokio()?, client.into_tokio()?);
/// let echo = async {
///     let question = server.recv().await?.to_vec();
///     server.send(&question).await?;
///     Ok::<(), Box<dyn std::error::Error>>(())
/// };
/// let ask = async {
///     client.send(b"question").await?;
///     assert_eq!(&*client.recv().await?, b"question");
///     Ok::<(), Box<dyn std::error::Error>>(())
/// };
/// tokio::try_join!(echo, ask)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Tokio {
    session: Arc<Session>,
    notifier: Arc<Notifier>,
    epoll: AsyncFd<OwnedFd>,
}

impl Driver for Tokio {}

impl sealed::Sealed for Tokio {
    fn of(session: &Arc<Session>) -> io::Result<Self> {
        let (epoll, notifier) = session.notifier()?;
        #[allow(deprecated, reason = "its successor is unsafe, which an OwnedFd has no need of")]
        let epoll = AsyncFd::with_interest(epoll, Interest::READABLE)?;
        Ok(Self { session: Arc::clone(session), notifier, epoll })
    }

    fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match ready!(self.epoll.poll_read_ready(context)) {
            Ok(mut guard) => {
                guard.clear_ready();
                Poll::Ready(())
            }
            // The runtime has gone, and another executor is here: our own threads wake it, as without a runtime.
            Err(_) => {
                self.session.leave_loop();
                self.notifier.poll(context)
            }
        }
    }
}
