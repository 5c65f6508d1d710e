//! The server's side: listeners, and peers that ask for a channel.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memring_transport::handshake::CapacityLimits;
use memring_transport::{
    AcceptError, BindOptions, DEFAULT_DECISION, Limits, ListenOptions, Peer, Policy, Quotas, Turned,
};

use crate::address::ToAddress;
use crate::channel::{Channel, ServerEnd};
use crate::error::{AcceptFailed, BindError, ConnectError};
use crate::options::{Lanes, Options, common_options};
use crate::polled::PolledListener;
use crate::protocol::{Protocol, carries, signature};

/// Listens at an address and accepts sessions.
///
/// ```no_run
/// let listener = memring::Listener::bind("/run/app/quotes.sock")?;
/// loop {
///     let incoming = listener.accept()?;
///     println!("{} asks for {}", incoming.peer(), incoming.protocol());
///     let mut channel = incoming.open::<memring::Bytes>()?;
///     channel.send(b"welcome")?;
/// }
/// # #[allow(unreachable_code)] Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Listener {
    inner: Arc<memring_transport::Listener>,
}

impl Listener {
    /// Listens with the defaults: mode 0600, processes of our own uid only.
    ///
    /// `address` is a path, or a bare name for a socket in the runtime directory.
    ///
    /// # Errors
    ///
    /// [`BindError`] says what stands in the way and what to do.
    pub fn bind(address: impl ToAddress) -> Result<Self, BindError> {
        Self::builder().bind(address)
    }

    /// Prepares a listener with other settings.
    pub fn builder() -> ListenerBuilder {
        ListenerBuilder::new()
    }

    /// Waits for the next peer that asks for a channel.
    ///
    /// Handshakes run beside each other on threads of their own, so a slow or hostile client delays nobody;
    /// new connections are taken while some thread is in this call. Peers that fail are counted in
    /// [`turned`](Self::turned).
    ///
    /// # Errors
    ///
    /// [`AcceptFailed`] after [`shut_down`](Self::shut_down), after a fork, or if the kernel refuses.
    pub fn accept(&self) -> Result<Incoming, AcceptFailed> {
        Ok(Incoming::of(self.inner.accept(None)?))
    }

    /// As [`accept`](Self::accept), waiting until the deadline at most.
    ///
    /// # Errors
    ///
    /// As `accept`, and [`AcceptError::TimedOut`].
    pub fn accept_deadline(&self, deadline: Instant) -> Result<Incoming, AcceptFailed> {
        Ok(Incoming::of(self.inner.accept(Some(deadline))?))
    }

    /// A place at this listener in an event loop of yours: see [`PolledListener`].
    ///
    /// # Errors
    ///
    /// What the kernel says of two more descriptors.
    pub fn polled(&self) -> io::Result<PolledListener> {
        PolledListener::new(Arc::clone(&self.inner))
    }

    /// A place at this listener in a task of tokio's.
    ///
    /// # Errors
    ///
    /// What the kernel says of two more descriptors.
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio's, or in one without its I/O.
    #[cfg(feature = "tokio")]
    pub fn tokio(&self) -> io::Result<crate::task::TokioListener> {
        crate::task::TokioListener::new(self.polled()?)
    }

    /// The peers that ask for channels, as they come; ends after [`shut_down`](Self::shut_down).
    pub fn incoming(&self) -> impl Iterator<Item = Result<Incoming, AcceptFailed>> + '_ {
        std::iter::from_fn(|| match self.accept() {
            Err(AcceptFailed(AcceptError::ShutDown)) => None,
            accepted => Some(accepted),
        })
    }

    /// Ends every `accept`, now and later, from any thread. Sessions go on. The address stays taken until the
    /// listener is dropped.
    pub fn shut_down(&self) {
        self.inner.shut_down();
    }

    /// How many connections were turned away so far, and why.
    #[must_use]
    pub fn turned(&self) -> Turned {
        self.inner.turned()
    }

    /// What each uid, and all together, hold by now against the [limits](ListenerBuilder::limits).
    #[must_use]
    pub fn quotas(&self) -> &Quotas {
        self.inner.quotas()
    }

    /// The address it listens at.
    #[must_use]
    pub fn address(&self) -> &memring_transport::Address {
        self.inner.address()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", self.address()).finish_non_exhaustive()
    }
}

/// A listener under construction.
///
/// ```no_run
/// use memring::{Listener, Policy};
/// let listener = Listener::builder()
///     .mode(0o660)
///     .policy(Policy::same_uid().allow_gid(1000))
///     .name("quotes")
///     .bind("/run/app/quotes.sock")?;
/// # Ok::<(), memring::BindError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `bind`"]
pub struct ListenerBuilder {
    options: Options,
    bind: BindOptions,
    policy: Policy,
    limits: Limits,
    decision_timeout: Duration,
}

impl ListenerBuilder {
    fn new() -> Self {
        Self {
            options: Options::new(),
            bind: BindOptions::new(),
            policy: Policy::same_uid(),
            limits: Limits::default(),
            decision_timeout: DEFAULT_DECISION,
        }
    }

    common_options!();

    /// Who may connect. Default: processes of our own effective uid.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Permission bits of the socket file, whatever the umask; 0600 by default. To connect takes leave to
    /// write. Whoever has that must still pass the [`policy`](Self::policy).
    pub fn mode(mut self, mode: u32) -> Self {
        self.bind = self.bind.mode(mode);
        self
    }

    /// Gives the socket file to another user (root only).
    pub fn owner(mut self, uid: u32) -> Self {
        self.bind = self.bind.owner(uid);
        self
    }

    /// Gives the socket file to another group.
    pub fn group(mut self, gid: u32) -> Self {
        self.bind = self.bind.group(gid);
        self
    }

    /// How many clients may wait to be accepted; 128 by default.
    pub fn backlog(mut self, clients: u32) -> Self {
        self.bind = self.bind.backlog(clients);
        self
    }

    /// Binds even in a directory where others could put another socket in its place, `/tmp` say. Clients
    /// then have only their check of the server's uid.
    pub fn allow_shared_directory(mut self) -> Self {
        self.bind = self.bind.allow_shared_directory();
        self
    }

    /// How much each uid, and all together, may hold; see [`Limits`] for the defaults.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The smallest and largest lanes that clients are granted. Default: 4 KiB to 1 GiB, as they wish and
    /// the limits on bytes allow.
    ///
    /// # Panics
    ///
    /// If they are no powers of two from 4096 to 2^30 in order.
    pub fn lanes_between(mut self, smallest: Lanes, largest: Lanes) -> Self {
        self.options.settings_mut().capacity_limits =
            CapacityLimits::new(smallest.bytes(), largest.bytes())
                .expect("lanes are powers of two from 4096 to 2^30 bytes, the smallest first");
        self
    }

    /// How long a handshake may take in all; one second by default.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.options.handshake_timeout(timeout);
        self
    }

    /// How long a peer may wait to be accepted once its handshake is done; 30 seconds by default. It is told
    /// then, and counted in [`Turned::unfinished`].
    pub fn decision_timeout(mut self, timeout: Duration) -> Self {
        self.decision_timeout = timeout;
        self
    }

    /// Binds and listens.
    ///
    /// # Errors
    ///
    /// [`BindError`] says what stands in the way and what to do.
    pub fn bind(self, address: impl ToAddress) -> Result<Listener, BindError> {
        let address = address.to_address()?;
        Ok(Listener { inner: Arc::new(self.finish()?.listen(&address)?) })
    }

    /// Listens on the socket that a service manager opened and handed over (systemd's `LISTEN_FDS`), if it is the only one.
    /// Whoever connected before this process started is served too, and those that it leaves behind are the next one's.
    ///
    /// Clients check the uid of whoever opened the socket, which is the manager's: that of root for a system service, so theirs
    /// is a policy that allows uid 0 beside this process's.
    ///
    /// Mode, owner and backlog are said in the socket unit, which needs `ListenSequentialPacket=`;
    /// `memring/examples/systemd` has one.
    ///
    /// # Errors
    ///
    /// [`BindError`]; if none was handed over, the process was started by hand, and may [`bind`](Self::bind).
    pub fn activated(self) -> Result<Listener, BindError> {
        Ok(Listener { inner: Arc::new(self.finish()?.listen_activated(None)?) })
    }

    /// As [`activated`](Self::activated), by the name that `FileDescriptorName=` gives it: for a process with several.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn activated_as(self, name: &str) -> Result<Listener, BindError> {
        Ok(Listener { inner: Arc::new(self.finish()?.listen_activated(Some(name))?) })
    }

    fn finish(self) -> Result<ListenOptions, BindError> {
        let mut options = ListenOptions::default();
        options.bind = self.bind;
        options.policy = self.policy;
        options.limits = self.limits;
        options.settings = self.options.finish()?;
        options.decision_timeout = self.decision_timeout;
        Ok(options)
    }
}

/// A peer that asks for a channel. Dropping it closes the connection.
///
/// The peer waits for what is decided, as long as its own deadline lets it.
///
/// ```no_run
/// # let listener = memring::Listener::bind("/run/app/quotes.sock")?;
/// let incoming = listener.accept()?;
/// if incoming.metadata().starts_with(b"v2 ") {
///     incoming.open::<memring::Bytes>()?.send(b"welcome")?;
/// } else {
///     incoming.refuse("this service needs clients of version 2: update yours");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a peer that is neither opened nor refused sees the connection close"]
pub struct Incoming {
    inner: memring_transport::Incoming,
}

impl Incoming {
    pub(crate) fn of(inner: memring_transport::Incoming) -> Self {
        Self { inner }
    }

    /// Who asks, as the kernel says.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.inner.peer()
    }

    /// What the peer's application calls itself. Only a claim.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.peer_name()
    }

    /// The peer application's own bytes.
    #[must_use]
    pub fn metadata(&self) -> &[u8] {
        self.inner.metadata().as_bytes()
    }

    /// The peer application's own bytes as a value of a `#[message]` type.
    ///
    /// # Errors
    ///
    /// [`DecodeError`](crate::DecodeError) if they are none.
    pub fn metadata_value<T: crate::MetadataValue>(&self) -> Result<T, crate::DecodeError> {
        T::from_metadata(self.metadata())
    }

    /// The name of the protocol it means to speak.
    #[must_use]
    pub fn protocol(&self) -> &str {
        self.inner.signature().protocol.as_str()
    }

    /// Whether it means protocol `P`, with the same types.
    #[must_use]
    pub fn speaks<P: Protocol>(&self) -> bool {
        signature::<P>().is_ok_and(|ours| {
            memring_transport::handshake::Mismatch::between(&ours, self.inner.signature()).is_none()
        })
    }

    /// Opens the channel. Blocks on nothing: the peer has done its part already.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if the two sides mean different messages, naming both, which the peer is told too;
    /// or if the peer has gone.
    pub fn open<P: Protocol>(self) -> Result<ServerEnd<P>, ConnectError> {
        let ours = signature::<P>().map_err(|error| ("protocol name", error))?;
        Ok(Channel::new(self.inner.accept(&ours, carries::<P>()[1])?))
    }

    /// Turns the peer away, with a sentence of at most 512 bytes for its error.
    pub fn refuse(self, why: &str) {
        // A peer that cannot be told has gone, and is as turned away as can be.
        let _ = self.inner.refuse(why);
    }
}
