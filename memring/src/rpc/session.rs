//! Sessions of calls, as people have them: to open interfaces in, and to serve some.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memring_transport::{Peer, Session};

use super::asking::Unanswered;
use super::background;
use super::client::{Bound, Client, Reaching, no_answer};
use super::error::{CallError, Never, OpenError};
use super::interface::Interface;
use super::options::Options;
use super::pending::Pending;
use super::sending::{NotSent, Number};
use super::services::{Serve, Services};
use super::shared::{Shared, now_nanos};
use super::table::Expects;
use super::waiting::Stopped;
use super::wire::{self, Code, Header, Kind, MAX_MEMBERS, MAX_NAME, MAX_VERSION};
use super::worker;
use crate::address::ToAddress;
use crate::channel::Channel;
use crate::client::Connector;
use crate::error::{ConnectError, End, SendError};
use crate::options::{DEFAULT_BLOB_BYTES, DEFAULT_BLOBS, DEFAULT_FDS};
use crate::protocol::Protocol;

/// Calls of the peer's that run or wait at once, unless said otherwise.
pub(crate) const MOST_RUNNING: u32 = 1024;

/// The protocol of calls. A channel of it becomes a [`Link`].
#[derive(Clone, Copy, Debug)]
pub struct Calls;

impl Protocol for Calls {
    const NAME: &'static str = "memring.calls.1";
    type ToClient = [u8];
    type ToServer = [u8];
}

/// How long opening an interface may take, unless said otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a server of calls, with the settings that [`Connector`] has by default.
///
/// # Errors
///
/// As [`Connector::connect`].
pub fn connect(address: impl ToAddress) -> Result<Link, ConnectError> {
    Ok(Link::over(Connector::new().connect::<Calls>(address)?))
}

/// Connects to a server of calls and opens one interface. What its results may carry is taken.
///
/// # Errors
///
/// [`OpenError`].
pub fn connect_to<C: Client>(address: impl ToAddress) -> Result<C, OpenError> {
    Link::over(connector_for(C::interface()).connect::<Calls>(address)?).open()
}

/// The same, in a task; the handshake goes on in a thread of its own.
///
/// # Errors
///
/// [`OpenError`].
pub async fn connect_to_async<C: Client>(address: impl ToAddress) -> Result<C, OpenError> {
    let address = address.to_address().map_err(ConnectError::from)?;
    let connect = move || connector_for(C::interface()).connect::<Calls>(&address);
    let channel = background::elsewhere(connect).await.map_err(ConnectError::Runtime)??;
    Link::over(channel).open_async().await
}

fn connector_for(interface: &Interface) -> Connector {
    let connector = Connector::new();
    if interface.members.iter().any(|member| member.carries[1]) {
        return connector.fds(DEFAULT_FDS).blobs(DEFAULT_BLOBS, DEFAULT_BLOB_BYTES);
    }
    connector
}

/// A session in which calls are made and served. Clones are the same session; it ends with the last of them, and of what was
/// opened in it.
#[derive(Clone)]
pub struct Link {
    pub(crate) shared: Arc<Shared>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl Link {
    /// Makes calls over this channel, which was opened as [`Calls`] with whatever settings. It serves nothing.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use memring::Connector;
    /// use memring::rpc::{Calls, Link};
    ///
    /// let connector = Connector::new().name("accounts").timeout(Duration::from_secs(30));
    /// let link = Link::over(connector.wait_for_service().connect::<Calls>("calculator")?);
    /// # Ok::<(), memring::ConnectError>(())
    /// ```
    #[must_use]
    pub fn over(channel: Channel<[u8], [u8]>) -> Self {
        Self { shared: Shared::new(channel, MOST_RUNNING) }
    }

    /// The same, and serves these: a peer may call this side too. They are run by whichever threads [`run`](Self::run).
    ///
    /// ```
    /// use memring::rpc::{Call, Calls, Link};
    ///
    /// #[memring::interface(name = "host", version = "1")]
    /// trait Host { fn user() -> String; }
    ///
    /// #[memring::interface(name = "plugin", version = "1")]
    /// trait Plugin { fn greet() -> Result<String, String>; }
    ///
    /// struct Ada;
    /// impl HostServer for Ada {
    ///     fn user(&self, _: &Call<'_>) -> String { "Ada".into() }
    /// }
    ///
    /// struct Greeter;
    /// impl PluginServer for Greeter {
    ///     fn greet(&self, call: &Call<'_>) -> Result<String, String> {
    ///         // Its caller is called, in the midst of the call.
    ///         let host: HostClient = call.link().open().map_err(|error| error.to_string())?;
    ///         Ok(format!("Hello, {}!", host.user().map_err(|error| error.to_string())?))
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (to_plugin, to_host) = memring::pair::<Calls>()?;
    /// // One process:
    /// let plugin = Link::serving(to_host, [Plugin::serve(Greeter)]);
    /// # std::thread::spawn(move || {
    /// plugin.run();
    /// # });
    ///
    /// // The other one, where a thread answers while this one waits:
    /// let host = Link::serving(to_plugin, [Host::serve(Ada)]);
    /// let serving = host.clone();
    /// std::thread::spawn(move || serving.run());
    /// let plugin: PluginClient = host.open()?;
    /// assert_eq!(plugin.greet().ok().as_deref(), Some("Hello, Ada!"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If two of them are the same version of one interface, or there are more than 65,535.
    #[must_use]
    pub fn serving(
        channel: Channel<[u8], [u8]>,
        services: impl IntoIterator<Item = Serve>,
    ) -> Self {
        let this = Self::over(channel);
        let mut all = Services::default();
        services.into_iter().for_each(|serve| all.add(serve));
        this.shared.services.get_or_init(|| Arc::new(all));
        this
    }

    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    /// Opens an interface at the peer, as this program knows it.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open<C: Client>(&self) -> Result<C, OpenError> {
        self.open_deadline(Instant::now() + TIMEOUT)
    }

    /// As [`open`](Self::open), waiting until the deadline at most.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open_deadline<C: Client>(&self, deadline: Instant) -> Result<C, OpenError> {
        let (header, body) = question(C::interface())?;
        let asked = self
            .shared
            .call(header, &&body[..], Some(deadline), 0, |header, body, _| (header, body.to_vec()));
        let (header, body) = asked.map_err(|why| OpenError::Call(unanswered(why)))?;
        Ok(C::bind(self.opened(C::interface(), header, &body)?))
    }

    /// As [`open`](Self::open), in a task. What is begun with the client waits for room in tasks too, and never in the thread; but
    /// for calls whose arguments carry descriptors or blobs.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn open_async<C: Client>(&self) -> Result<C, OpenError> {
        self.open_deadline_async(Instant::now() + TIMEOUT).await
    }

    /// As [`open_async`](Self::open_async), waiting until the deadline at most.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open_deadline_async<C: Client>(&self, deadline: Instant) -> Result<C, OpenError> {
        let (header, body) = question(C::interface())?;
        let asked = Number::Next(Expects::Answer);
        let begun = self.shared.begin_in_task(header, &&body[..], asked).map_err(not_sent);
        let until = Options::new().deadline(deadline).until();
        let answer =
            Pending::<_, Never>::new(Arc::clone(&self.shared), begun, until, |header, body, _| {
                Ok((header, body.to_vec()))
            });
        let (header, body) = answer.await.map_err(OpenError::Call)?;
        Ok(C::bind(self.opened(C::interface(), header, &body)?.in_tasks()))
    }

    /// What the peer says of an interface.
    fn opened(
        &self,
        interface: &'static Interface,
        header: Header,
        body: &[u8],
    ) -> Result<Bound, OpenError> {
        let wrong = |_| OpenError::Answer(no_answer());
        match header.kind {
            Kind::Opened => {
                let standings = wire::decode_standings(body).map_err(wrong)?;
                if standings.len() != interface.members.len() {
                    return Err(wrong(wire::Broken::Body));
                }
                self.shared.set_most_asked(header.number.max(1));
                let reaching = Reaching {
                    number: header.interface,
                    interface,
                    members: standings.into_iter().map(Into::into).collect(),
                };
                Ok(Bound::new(Arc::clone(&self.shared), Arc::new(reaching)))
            }
            Kind::Refused => Err(match Code::of(header.number).map_err(wrong)? {
                Code::UnknownVersion => OpenError::UnknownVersion {
                    name: interface.name,
                    wanted: interface.version,
                    offered: wire::decode_versions(body).map_err(wrong)?,
                },
                Code::UnknownInterface => OpenError::UnknownInterface { name: interface.name },
                Code::Denied => OpenError::denied(interface),
                Code::TooLong => OpenError::TooLong { name: interface.name },
                Code::ShuttingDown => OpenError::Call(CallError::ShuttingDown),
                _ => OpenError::Answer(no_answer()),
            }),
            _ => Err(wrong(wire::Broken::Answer)),
        }
    }

    /// Serves the peer's calls in this thread, one after the other, until the session ends; and how it did. Several threads
    /// may do so at once: then as many calls run beside each other.
    ///
    /// # Panics
    ///
    /// If nothing is served: see [`serving`](Self::serving).
    pub fn run(&self) -> End {
        assert!(self.shared.services.get().is_some(), "nothing is served here");
        worker::run(&self.shared)
    }

    /// Who is at the other end, as the kernel says.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.shared.peer()
    }

    /// The session: what was negotiated.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        self.shared.session()
    }

    /// Ends the session for both directions. Calls under way end with [`CallError::Ended`].
    pub fn close(&self) {
        self.shared.close();
    }
}

/// What asks for an interface.
fn question(interface: &'static Interface) -> Result<(Header, Vec<u8>), OpenError> {
    let too_long = |text: &str, most| text.is_empty() || text.len() > most;
    if too_long(interface.name, MAX_NAME)
        || too_long(interface.version, MAX_VERSION)
        || interface.members.len() > MAX_MEMBERS
        || interface.members.iter().any(|member| too_long(member.name, MAX_NAME))
    {
        return Err(OpenError::Declaration(interface.name));
    }
    let mut body = Vec::new();
    interface.opening().encode(&mut body);
    Ok((Header { time: now_nanos(), ..Header::new(Kind::Open) }, body))
}

/// Why a call was not sent.
pub(crate) fn not_sent(error: NotSent) -> CallError {
    match error {
        NotSent::TooMany(most) => CallError::TooManyCalls { most },
        NotSent::Send(SendError::TimedOut) => CallError::DeadlinePassed,
        NotSent::Send(SendError::Ended(end)) => CallError::Ended(end),
        NotSent::Send(error) => CallError::Send(error),
    }
}

/// Why a call has no answer.
pub(crate) fn unanswered(why: Unanswered) -> CallError {
    match why {
        Unanswered::NotSent(why) => not_sent(why),
        Unanswered::Stopped(stopped) => stopped.into(),
    }
}

impl From<Stopped> for CallError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::TimedOut => Self::DeadlinePassed,
            Stopped::Ended(end) => Self::Ended(end),
        }
    }
}
