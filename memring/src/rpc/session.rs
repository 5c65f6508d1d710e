//! Sessions of calls, as people have them: to open interfaces in, and to serve some.

use std::sync::Arc;
use std::time::{Duration, Instant};

use memring_ring::buffer::Buffer;
use memring_transport::{Peer, Session};

use super::client::{Bound, Client, Reaching};
use super::error::{CallError, OpenError};
use super::link::{Got, Link, MOST_RUNNING, NotSent, Shared, Stopped, now_nanos};
use super::service::Request;
use super::services::{Serve, Services};
use super::table::{Asked, Packet, Running};
use super::wire::{self, Code, Header, Kind, MAX_MEMBERS, MAX_NAME, MAX_VERSION};
use crate::address::ToAddress;
use crate::channel::Channel;
use crate::client::Connector;
use crate::error::{ConnectError, End};
use crate::options::{DEFAULT_BLOB_BYTES, DEFAULT_BLOBS, DEFAULT_FDS};
use crate::protocol::Protocol;

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
    let mut connector = Connector::new();
    if C::interface().members.iter().any(|member| member.carries[1]) {
        connector = connector.fds(DEFAULT_FDS).blobs(DEFAULT_BLOBS, DEFAULT_BLOB_BYTES);
    }
    Link::over(connector.connect::<Calls>(address)?).open()
}

impl Link {
    /// Makes calls over this channel, which was opened as [`Calls`]. It serves nothing.
    #[must_use]
    pub fn over(channel: Channel<[u8], [u8]>) -> Self {
        Self { shared: Shared::new(channel, MOST_RUNNING) }
    }

    /// The same, and serves these: a peer may call this side too. They are run by whichever threads [`run`](Self::run).
    ///
    /// # Panics
    ///
    /// If two of them are the same version of one interface.
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
        let interface = C::interface();
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
        let header = Header { time: now_nanos(), ..Header::new(Kind::Open) };
        let asked = Asked::Waiting(None);
        let call = self
            .shared
            .ask(header, &&body[..], asked, Some(deadline))
            .map_err(|error| OpenError::Call(not_sent(error)))?;
        let packet = answer(&self.shared, call, Some(deadline))
            .map_err(|stopped| OpenError::Call(stopped_call(&self.shared, call, stopped)))?;
        let body = packet.body();
        let wrong = |_| OpenError::Call(CallError::Unanswered("the peer's answer is none".into()));
        match packet.header.kind {
            Kind::Opened => {
                let standings = wire::decode_standings(body).map_err(wrong)?;
                if standings.len() != interface.members.len() {
                    return Err(wrong(wire::Broken::Body));
                }
                self.shared.table().most_asked = packet.header.number.max(1);
                let reaching = Reaching {
                    number: packet.header.interface,
                    interface,
                    members: standings.into_iter().map(Into::into).collect(),
                };
                Ok(C::bind(Bound::new(Arc::clone(&self.shared), Arc::new(reaching))))
            }
            Kind::Refused => Err(match Code::of(packet.header.number).map_err(wrong)? {
                Code::UnknownVersion => OpenError::UnknownVersion {
                    name: interface.name,
                    wanted: interface.version,
                    offered: wire::decode_versions(body).map_err(wrong)?,
                },
                Code::UnknownInterface => OpenError::UnknownInterface { name: interface.name },
                Code::Denied => OpenError::denied(interface),
                _ => OpenError::Call(CallError::ShuttingDown),
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
        let mut spare = Buffer::new();
        loop {
            let (packet, running) = match next_call(&self.shared, std::mem::take(&mut spare)) {
                Ok(job) => job,
                Err(end) => return end,
            };
            serve(&self.shared, &packet, running.as_ref());
            spare = packet.memory;
            if spare.capacity() > crate::carry::KEEP {
                spare = Buffer::new();
            }
            spare.clear();
        }
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

/// Waits for the next call of the peer's.
fn next_call(
    shared: &Arc<Shared>,
    spare: Buffer,
) -> Result<(Packet, Option<Arc<Running>>), End> {
    let job = |table: &mut super::table::Table| shared.next_job(table);
    let mine = |header: &Header, _| matches!(header.kind, Kind::Call | Kind::Tell);
    match shared.wait(true, None, job, mine, |_, _| {}) {
        Ok(Got::Ready(job)) => Ok(job),
        Ok(Got::Here(here)) => Ok(here.take(spare)),
        Err(Stopped::Ended(end)) => Err(end),
        Err(Stopped::TimedOut) => Err(End::Local), // it waits for ever
    }
}

/// Runs a call of the peer's.
fn serve(shared: &Arc<Shared>, packet: &Packet, running: Option<&Arc<Running>>) {
    let place = usize::from(packet.header.interface);
    let member = packet.header.number;
    let service = shared.services.get().and_then(|services| services.get(place));
    // Both were looked at when it was read.
    let Some(service) = service else { return };
    let interface = service.interface();
    let Some(about) = interface.members.get(member as usize) else { return };
    let request = Request::new(shared, packet, running, interface, about);
    if shared.is_stopping() {
        return request.end(Code::ShuttingDown, "");
    }
    if running.is_some_and(|running| running.is_cancelled()) {
        return request.end(Code::Cancelled, "");
    }
    service.call(member, request);
}

/// Waits for the answer of a question.
pub(crate) fn answer(
    shared: &Shared,
    call: u64,
    deadline: Option<Instant>,
) -> Result<Packet, Stopped> {
    let ready = |table: &mut super::table::Table| table.take_answer(call);
    let mine = |header: &Header, of: u64| of == call && header.kind != Kind::Item;
    match shared.wait(false, deadline, ready, mine, |table, waiter| {
        if let Some(Asked::Waiting(slot)) = table.asked(call) {
            *slot = Some(waiter);
        }
    })? {
        Got::Ready(packet) => Ok(packet),
        Got::Here(here) => {
            let (packet, _) = here.take(Buffer::new());
            shared.table().forget(call);
            Ok(packet)
        }
    }
}

pub(crate) fn not_sent(error: NotSent) -> CallError {
    match error {
        NotSent::TooMany(most) => CallError::TooManyCalls { most },
        NotSent::Send(crate::SendError::TimedOut) => CallError::DeadlinePassed,
        NotSent::Send(crate::SendError::Ended(end)) => CallError::Ended(end),
        NotSent::Send(error) => CallError::Send(error),
    }
}

/// Why a question has no answer; the peer is told that nobody waits for it.
pub(crate) fn stopped_call(shared: &Shared, call: u64, stopped: Stopped) -> CallError {
    shared.cancel(call);
    match stopped {
        Stopped::TimedOut => CallError::DeadlinePassed,
        Stopped::Ended(end) => CallError::Ended(end),
    }
}
