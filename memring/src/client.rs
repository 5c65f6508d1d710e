//! The client's side: connecting, and sessions that begin without a listener.

use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::Duration;

use memring_transport::control::Signature;
use memring_transport::{Address, Policy, Role, Settings, WhenAbsent};

use crate::address::ToAddress;
use crate::channel::{Channel, ClientEnd, ServerEnd};
use crate::error::ConnectError;
use crate::options::{Lanes, Options, common_options};
use crate::protocol::{Protocol, carries, signature};
use crate::supervised::Supervised;

/// How long connecting takes at most, unless said otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to the listener at `address` with the defaults: it has to run under our own uid.
///
/// Waits at most 5 s, of which the server's decision is a part; not at all if nobody listens.
///
/// ```no_run
/// let mut channel = memring::connect::<memring::Bytes>("/run/app/bytes.sock")?;
/// channel.send(b"hello")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`ConnectError`] says what stands in the way and what to do.
pub fn connect<P: Protocol>(address: impl ToAddress) -> Result<ClientEnd<P>, ConnectError> {
    Connector::new().connect::<P>(address)
}

/// As [`connect`], with a bound on the time it takes in all; waits for a service that is not there yet.
///
/// ```
/// use memring::Bytes;
/// use std::time::Duration;
///
/// let nobody = memring::connect_timeout::<Bytes>("/no/such/service", Duration::from_millis(10));
/// assert_eq!(std::io::Error::from(nobody.unwrap_err()).kind(), std::io::ErrorKind::TimedOut);
/// ```
///
/// # Errors
///
/// As `connect`.
pub fn connect_timeout<P: Protocol>(
    address: impl ToAddress,
    timeout: Duration,
) -> Result<ClientEnd<P>, ConnectError> {
    Connector::new().timeout(timeout).wait_for_service().connect::<P>(address)
}

/// Both ends of a session in this process: the server's first.
///
/// ```
/// let (mut server, mut client) = memring::pair::<memring::Bytes>()?;
/// client.send(b"to the server")?;
/// assert_eq!(&*server.recv()?, b"to the server");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`ConnectError`], if descriptors, memory or threads cannot be had, or the protocol's name breaks a limit.
pub fn pair<P: Protocol>() -> Result<(ServerEnd<P>, ClientEnd<P>), ConnectError> {
    Connector::new().pair::<P>()
}

/// Starts a child that is connected from its first instruction; it calls [`inherited`]. The parent is the
/// server.
///
/// Returns once the child has taken its end, for which it has one second; [`Connector::timeout`] gives it more.
/// Dropping the channel does not end the child, and the [`Child`] is the caller's to wait for.
///
/// ```no_run
/// use std::process::Command;
///
/// let mut command = Command::new("/usr/libexec/worker");
/// let (mut child, mut channel) = memring::spawn::<memring::Bytes>(&mut command)?;
/// channel.send(b"work")?;
/// drop(channel); // the child's receive says that it is closed
/// child.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`ConnectError`]; the child was killed and reaped then.
pub fn spawn<P: Protocol>(command: &mut Command) -> Result<(Child, ServerEnd<P>), ConnectError> {
    Connector::new().spawn::<P>(command)
}

/// In a child that [`spawn`] started: the session with its parent. The first call takes it.
///
/// Call it early in `main`: the parent waits for it.
///
/// ```no_run
/// let mut channel = memring::inherited::<memring::Bytes>()?;
/// while let Ok(job) = channel.recv() {
///     println!("{} bytes to work on", job.len());
/// }
/// # Ok::<(), memring::ConnectError>(())
/// ```
///
/// # Errors
///
/// [`ConnectError`] if this process was not started so.
pub fn inherited<P: Protocol>() -> Result<ClientEnd<P>, ConnectError> {
    Connector::new().inherited::<P>()
}

/// A session under construction, for whoever does not listen.
///
/// ```no_run
/// use memring::{Bytes, Connector, Policy, Wait};
/// use std::time::Duration;
///
/// let channel = Connector::new()
///     .policy(Policy::same_uid().allow_uid(0))   // a server that runs as root
///     .wait(Wait::Spin)
///     .timeout(Duration::from_secs(10))
///     .wait_for_service()
///     .connect::<Bytes>("/run/app/quotes.sock")?;
/// # Ok::<(), memring::ConnectError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a connector does nothing until it connects"]
pub struct Connector {
    options: Options,
    policy: Policy,
    timeout: Duration,
    absent: WhenAbsent,
}

/// Where to connect, and how: checked, so that what fails from here on is the connecting.
#[derive(Debug)]
pub(crate) struct Target {
    address: Address,
    pub(crate) timeout: Duration,
    policy: Policy,
    settings: Settings,
    signature: Signature<'static>,
}

impl Target {
    /// Connects. `P` is the protocol that the target was made for.
    pub(crate) fn reach<P: Protocol>(
        &self,
        timeout: Duration,
        absent: WhenAbsent,
    ) -> Result<ClientEnd<P>, ConnectError> {
        let Self { address, policy, settings, signature, .. } = self;
        let connection =
            memring_transport::connect(address, timeout, absent, policy, settings, signature)?;
        Ok(Channel::new(connection))
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }
}

impl Default for Connector {
    fn default() -> Self {
        Self::new()
    }
}

impl Connector {
    /// The defaults: a server of our own uid, 5 s to connect, 256 KiB a lane.
    pub fn new() -> Self {
        Self {
            options: Options::new(),
            policy: Policy::same_uid(),
            timeout: TIMEOUT,
            absent: WhenAbsent::Fail,
        }
    }

    common_options!();

    /// Whom to accept as the server. Checked before anything is sent. Default: our own effective uid.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// How long to take in all, the handshake and the server's decision included. 5 s by default for
    /// [`connect`](Self::connect), 1 s for everything else. `Duration::MAX` is no bound.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.options.handshake_timeout(timeout);
        self
    }

    /// Keeps trying, until the timeout, while nobody listens at the address.
    pub fn wait_for_service(mut self) -> Self {
        self.absent = WhenAbsent::Wait;
        self
    }

    /// How large the lanes shall be: to the server, and to us. The server grants what its limits allow.
    /// [`Sender::lane_bytes`](crate::Sender::lane_bytes) says what it was.
    pub fn lanes(mut self, to_server: Lanes, to_client: Lanes) -> Self {
        self.options.lanes(to_server, to_client);
        self
    }

    /// Connects to the listener at `address`: a path, or a bare name in the runtime directory.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says what stands in the way and what to do.
    pub fn connect<P: Protocol>(
        self,
        address: impl ToAddress,
    ) -> Result<ClientEnd<P>, ConnectError> {
        let absent = self.absent;
        let target = self.target::<P>(address)?;
        target.reach::<P>(target.timeout, absent)
    }

    /// A client of the listener at `address` that connects when it is first used, and anew whenever its session was lost:
    /// see [`Supervised`].
    ///
    /// The timeout is that of one attempt. It waits for the service whether or not that was
    /// [asked for](Self::wait_for_service).
    ///
    /// # Errors
    ///
    /// [`ConnectError`], if the address or a setting breaks a limit. Nobody was asked yet.
    pub fn supervised<P: Protocol>(
        self,
        address: impl ToAddress,
    ) -> Result<Supervised<P>, ConnectError> {
        Ok(Supervised::new(self.target::<P>(address)?))
    }

    fn target<P: Protocol>(self, address: impl ToAddress) -> Result<Target, ConnectError> {
        let address = address.to_address()?;
        let signature = signature::<P>().map_err(|error| ("protocol name", error))?;
        let [to_server, to_client] = carries::<P>();
        let settings = self.options.session([to_server, to_client], [to_client])?;
        Ok(Target { address, timeout: self.timeout, policy: self.policy, settings, signature })
    }

    /// Both ends of a session in this process: the server's first.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn pair<P: Protocol>(self) -> Result<(ServerEnd<P>, ClientEnd<P>), ConnectError> {
        let signature = signature::<P>().map_err(|error| ("protocol name", error))?;
        let settings = self.options.session(carries::<P>(), carries::<P>())?;
        let (server, client) = memring_transport::pair(&settings, &signature)?;
        Ok((Channel::new(server), Channel::new(client)))
    }

    /// A session over a connected Unix seqpacket socket from elsewhere, as its client.
    ///
    /// The socket belongs to the session from here on, and is closed if there is none.
    ///
    /// The kernel names only who created such a socket. Whoever handed it over is trusted to have
    /// connected it to the right process; [`Peer::origin`](crate::Peer::origin) says that it is inherited.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn from_fd<P: Protocol>(self, fd: OwnedFd) -> Result<ClientEnd<P>, ConnectError> {
        let signature = signature::<P>().map_err(|error| ("protocol name", error))?;
        let [to_server, to_client] = carries::<P>();
        let settings = self.options.session([to_server, to_client], [to_client])?;
        Ok(Channel::new(memring_transport::from_fd(fd, Role::Connecting, &settings, &signature)?))
    }

    /// As [`from_fd`](Self::from_fd), as the server: exactly one side is.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub fn from_fd_as_server<P: Protocol>(self, fd: OwnedFd) -> Result<ServerEnd<P>, ConnectError> {
        let signature = signature::<P>().map_err(|error| ("protocol name", error))?;
        let [to_server, to_client] = carries::<P>();
        let settings = self.options.session([to_server, to_client], [to_server])?;
        Ok(Channel::new(memring_transport::from_fd(fd, Role::Accepting, &settings, &signature)?))
    }

    /// Starts a child that is connected from its first instruction; it calls [`inherited`](fn@inherited).
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; the child is gone then.
    pub fn spawn<P: Protocol>(
        self,
        command: &mut Command,
    ) -> Result<(Child, ServerEnd<P>), ConnectError> {
        let signature = signature::<P>().map_err(|error| ("protocol name", error))?;
        let [to_server, to_client] = carries::<P>();
        let settings = self.options.session([to_server, to_client], [to_server])?;
        let (child, connection) = memring_transport::spawn(command, &settings, &signature)?;
        Ok((child, Channel::new(connection)))
    }

    /// In a child that [`spawn`](Self::spawn) started: the session with its parent.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if this process was not started so.
    pub fn inherited<P: Protocol>(self) -> Result<ClientEnd<P>, ConnectError> {
        let signature = signature::<P>().map_err(|error| ("protocol name", error))?;
        let [to_server, to_client] = carries::<P>();
        let settings = self.options.session([to_server, to_client], [to_client])?;
        Ok(Channel::new(memring_transport::inherited(&settings, &signature)?))
    }
}
