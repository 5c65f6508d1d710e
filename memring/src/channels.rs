//! Further channels in a session that stands, at either side's asking.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memring_transport::control::{Metadata, Name, Signature};
use memring_transport::handshake::Carries;
use memring_transport::{FurtherError, Peer, Role, Session};

use crate::channel::{Channel, ClientEnd, ServerEnd};
use crate::error::ChannelError;
use crate::protocol::{Protocol, carries, signature};

/// How long opening a channel takes at most, the other side's decision included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The further channels of a session: either side opens more of them at any time, and the other takes or declines each.
///
/// Each has lanes, back-pressure and an end of its own, whatever its protocol, so closing one disturbs no other; nor does a fault
/// in one. Whoever asks is the client of its protocol, whichever side connected.
///
/// Both sides have to allow them, before the session begins: [`Connector::channels`](crate::Connector::channels),
/// [`ListenerBuilder::channels`](crate::ListenerBuilder::channels). Each takes two descriptors on either side.
///
/// ```
/// use memring::{Bytes, Connector};
///
/// let (server, client) = Connector::new().channels(16).pair::<Bytes>()?;
/// let (serves, asks) = (server.channels(), client.channels());
/// let asking = std::thread::spawn(move || asks.open::<Bytes>("logs"));
/// let asked = serves.accept()?;
/// assert_eq!(asked.name(), "logs");
/// let mut logs = asked.open::<Bytes>()?;
/// let mut sends_logs = asking.join().unwrap()?;
/// sends_logs.send(b"a line")?;
/// assert_eq!(&*logs.recv()?, b"a line");
/// # drop(client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Channels {
    session: Arc<Session>,
}

impl Channels {
    pub(crate) fn of(session: &Arc<Session>) -> Self {
        Self { session: Arc::clone(session) }
    }

    /// Opens a channel of this name, at most 64 bytes, and waits up to 5 s for the other side to take it. It may be in several
    /// threads at a time.
    ///
    /// # Errors
    ///
    /// [`ChannelError`].
    pub fn open<P: Protocol>(&self, name: &str) -> Result<ClientEnd<P>, ChannelError> {
        self.open_with::<P>(name, &[], Instant::now() + TIMEOUT)
    }

    /// As [`open`](Self::open), with up to 4 KiB of the application's own for the other side, waiting until the deadline.
    ///
    /// # Errors
    ///
    /// As `open`.
    pub fn open_with<P: Protocol>(
        &self,
        name: &str,
        metadata: &[u8],
        deadline: Instant,
    ) -> Result<ClientEnd<P>, ChannelError> {
        let name = Name::new(name).map_err(|error| ("name of the channel", error))?;
        let metadata = Metadata::new(metadata).map_err(|error| ("metadata", error))?;
        let (signature, carries) = meant::<P>(&self.session, Role::Connecting)?;
        let opened = self.session.open_further(name, metadata, &signature, carries, deadline);
        Ok(Channel::new(opened.map_err(|error| self.error(error))?))
    }

    /// Waits until the other side asks for a channel.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Ended`] when the session has ended, and with it what was asked for and not decided on;
    /// [`ChannelError::NotAllowed`].
    pub fn accept(&self) -> Result<Asked, ChannelError> {
        let asked = self.session.await_asked(None);
        Ok(Asked { inner: asked.map_err(|error| self.error(error))? })
    }

    /// As [`accept`](Self::accept), waiting until the deadline.
    ///
    /// # Errors
    ///
    /// As `accept`, and [`ChannelError::TimedOut`].
    pub fn accept_deadline(&self, deadline: Instant) -> Result<Asked, ChannelError> {
        let asked = self.session.await_asked(Some(deadline));
        Ok(Asked { inner: asked.map_err(|error| self.error(error))? })
    }

    /// The next channel that the other side has asked for, if it has. In a hub, after
    /// [`Event::Asked`](crate::hub::Event::Asked) until this says `None`; in an event loop of another kind, when the descriptor of
    /// something [polled](crate::Polled) of the session was readable, or its `arm` said [`Ready`](crate::Arm::Ready).
    ///
    /// # Errors
    ///
    /// As `accept`.
    pub fn try_accept(&self) -> Result<Option<Asked>, ChannelError> {
        let asked = self.session.next_asked().map_err(|error| self.error(error))?;
        Ok(asked.map(|inner| Asked { inner }))
    }

    fn error(&self, error: FurtherError) -> ChannelError {
        ChannelError::of(error, self.session.peer())
    }
}

/// The signature and what messages carry as the handshake has them, to the accepting side of the session and to the connecting;
/// for a side that is, if its role were this, as the protocol is written.
fn meant<P: Protocol>(
    session: &Session,
    as_written: Role,
) -> Result<(Signature<'static>, [Carries; 2]), ChannelError> {
    let role = session.further_role().ok_or(ChannelError::NotAllowed)?;
    let Signature { protocol, to_accepting, to_connecting } =
        signature::<P>().map_err(|error| ("protocol name", error))?;
    let [to_server, to_client] = carries::<P>();
    Ok(if role == as_written {
        (Signature { protocol, to_accepting, to_connecting }, [to_server, to_client])
    } else {
        let swapped =
            Signature { protocol, to_accepting: to_connecting, to_connecting: to_accepting };
        (swapped, [to_client, to_server])
    })
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").field("session", &self.session).finish()
    }
}

/// A channel that the other side asks for. Dropping it declines.
#[derive(Debug)]
#[must_use = "a channel that is neither opened nor declined is declined without a word"]
pub struct Asked {
    inner: memring_transport::Asked,
}

impl Asked {
    /// What it is to be called, for the application to tell its channels apart.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.name()
    }

    /// The asking application's own bytes.
    #[must_use]
    pub fn metadata(&self) -> &[u8] {
        self.inner.metadata()
    }

    /// Who asks.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.inner.session().peer()
    }

    /// Takes it, as the server of its protocol. Where this side connected, this waits for the other's part of the handshake, 5 s
    /// at most; where it listens, that is done, and this blocks on nothing.
    ///
    /// # Errors
    ///
    /// [`ChannelError`] if both sides mean different messages, which the other is told too, or it has gone.
    pub fn open<P: Protocol>(self) -> Result<ServerEnd<P>, ChannelError> {
        let (signature, carries) = meant::<P>(self.inner.session(), Role::Accepting)?;
        let peer = self.peer().clone();
        let opened = self.inner.open(&signature, carries, Instant::now() + TIMEOUT);
        Ok(Channel::new(opened.map_err(|error| ChannelError::of(error, &peer))?))
    }

    /// Declines it, with a sentence of at most 512 bytes for the other side's error.
    pub fn decline(self, why: &str) {
        self.inner.decline(why);
    }
}
