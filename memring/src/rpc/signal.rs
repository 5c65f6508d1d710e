//! Signals: sent by whoever serves an interface to those who subscribed; encoded once, and copied into each one's lane.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use memring_codec::{DecodeError, EncodeError, Message, Scratch};

use super::carrier::{Carries, Value};
use super::client::Bound;
use super::error::CallError;
use super::interface::Interface;
use super::sending::{Body, Outgoing};
use super::service::Call;
use super::shared::Shared;
#[cfg(feature = "tokio")]
use super::stream::Streamed;
use super::table::{Packet, Table};
use super::waiter::Waiter;
use super::wire::{Header, Kind};
use crate::error::{End, SendError};
use crate::fanout::Slow;
use crate::view::View;

/// Signals that a subscriber has read and not taken, beyond which the oldest are dropped.
pub(crate) const MOST_SIGNALS: usize = 1024;
/// The same in bytes.
pub(crate) const MOST_SIGNAL_BYTES: usize = 16 << 20;

/// Who subscribed to the signals of an interface, in all sessions. What the senders that `#[memring::interface]` writes are
/// made of.
#[doc(hidden)]
#[derive(Clone)]
pub struct Signals {
    inner: Arc<Subscribers>,
}

pub(crate) struct Subscribers {
    pub interface: &'static Interface,
    slow: Slow,
    /// The lock is held for no send: threads that read take it while they have a session's halves.
    all: Mutex<Vec<Arc<Subscriber>>>,
}

struct Subscriber {
    shared: Weak<Shared>,
    /// The number that the interface has in its session.
    place: u16,
    member: u32,
    /// The last signal, if it waits for room. Those who signal at once take turns at each subscriber.
    kept: Mutex<Option<Vec<u8>>>,
}

/// Whom a signal reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Subscribers that it was sent to, or will be as soon as they make room.
    pub reached: usize,
    /// Subscribers that miss it, for they make no room.
    pub missed: usize,
    /// Subscribers whose sessions were ended for that.
    pub ended: usize,
}

impl Subscribers {
    pub(crate) fn add(&self, shared: &Arc<Shared>, place: u16, member: u32) {
        let mut all = self.lock();
        all.retain(|one| one.shared.strong_count() != 0);
        if !all.iter().any(|one| one.is(shared, member)) {
            let shared = Arc::downgrade(shared);
            all.push(Arc::new(Subscriber { shared, place, member, kept: Mutex::default() }));
        }
    }

    pub(crate) fn remove(&self, shared: &Arc<Shared>, member: u32) {
        self.lock().retain(|one| !one.is(shared, member));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Subscriber>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who subscribed to this member, or to any.
    fn of(&self, member: Option<u32>) -> Vec<Arc<Subscriber>> {
        let wants = |one: &&Arc<Subscriber>| member.is_none_or(|member| one.member == member);
        self.lock().iter().filter(wants).cloned().collect()
    }
}

impl Subscriber {
    fn is(&self, shared: &Arc<Shared>, member: u32) -> bool {
        self.member == member && std::ptr::eq(self.shared.as_ptr(), Arc::as_ptr(shared))
    }

    fn kept(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a signal for one subscriber.
enum Went {
    Sent,
    Full,
    Over,
}

impl Signals {
    /// Nobody subscribed yet. `slow` says what becomes of a signal for which a subscriber has no room.
    #[must_use]
    pub fn new(interface: &'static Interface, slow: Slow) -> Self {
        Self { inner: Arc::new(Subscribers { interface, slow, all: Mutex::default() }) }
    }

    pub(crate) fn subscribers(&self) -> &Arc<Subscribers> {
        &self.inner
    }

    /// Sends a signal to all who subscribed to it.
    pub fn send<A, CA: Carries<A>>(
        &self,
        member: usize,
        arguments: &A,
    ) -> Result<Reached, EncodeError> {
        let member = member as u32; // at most 1024
        let mut packet = encode::<A, CA>(member, arguments)?;
        let mut outcome = Reached::default();
        let mut waiting = Vec::new();
        for one in self.inner.of(Some(member)) {
            let Some(shared) = one.shared.upgrade() else { continue };
            packet[2..4].copy_from_slice(&one.place.to_le_bytes());
            let mut kept = one.kept();
            match (send_after(&mut kept, &shared, &packet), self.inner.slow) {
                (Went::Sent, _) => outcome.reached += 1,
                (Went::Over, _) => {}
                (Went::Full, Slow::Wait(patience)) => {
                    waiting.push((Arc::clone(&shared), one.place, Instant::now() + patience));
                }
                (Went::Full, Slow::KeepLatest) => {
                    *kept = Some(packet.clone());
                    outcome.reached += 1;
                }
                (Went::Full, Slow::Disconnect) => {
                    shared.close();
                    outcome.ended += 1;
                }
                (Went::Full, _) => outcome.missed += 1,
            }
        }
        for (shared, place, until) in waiting {
            packet[2..4].copy_from_slice(&place.to_le_bytes());
            match shared.send_packet(Outgoing::Whole(&packet), 0, Some(until)) {
                Ok(()) => outcome.reached += 1,
                Err(SendError::Ended(_)) => {}
                Err(_) => {
                    shared.close();
                    outcome.ended += 1;
                }
            }
        }
        Ok(outcome)
    }

    /// Sends what waits for room, where there is some now.
    pub fn flush(&self) {
        for one in self.inner.of(None) {
            if let Some(shared) = one.shared.upgrade() {
                let mut kept = one.kept();
                if let Some(packet) = kept.take()
                    && let Went::Full = try_to_send(&shared, &packet)
                {
                    *kept = Some(packet);
                }
            }
        }
    }

    /// How many subscribed to this member.
    #[must_use]
    pub fn count(&self, member: usize) -> usize {
        let wants = |one: &&Arc<Subscriber>| {
            one.member as usize == member && one.shared.strong_count() != 0
        };
        self.inner.lock().iter().filter(wants).count()
    }
}

/// Sends this, if there is room now.
fn try_to_send(shared: &Shared, packet: &[u8]) -> Went {
    match shared.try_send_whole(packet, 0) {
        Ok(true) => Went::Sent,
        Ok(false) => Went::Full,
        Err(_) => Went::Over,
    }
}

/// The same, after what was kept.
fn send_after(kept: &mut Option<Vec<u8>>, shared: &Shared, packet: &[u8]) -> Went {
    if let Some(before) = kept {
        match try_to_send(shared, before) {
            Went::Sent => *kept = None,
            other => return other,
        }
    }
    try_to_send(shared, packet)
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals")
            .field("interface", &self.inner.interface.to_string())
            .field("subscribers", &self.inner.lock().len())
            .finish()
    }
}

/// Sends a signal to one caller, if it subscribed, waiting for room. Whether it did.
#[doc(hidden)]
pub fn signal_to<A, CA: Carries<A>>(
    call: &Call<'_>,
    interface: &'static Interface,
    member: usize,
    arguments: &A,
) -> Result<bool, CallError> {
    let shared = call.shared();
    let Some(place) = shared.subscribed(interface, member as u32) else { return Ok(false) };
    let header = Header { interface: place, number: member as u32, ..Header::new(Kind::Signal) };
    let sent = shared.send(header, 0, &Value::<A, CA>::new(arguments), None);
    sent.map(|()| true).map_err(|error| super::session::not_sent(error.into()))
}

/// Reads a signal's arguments. For code that a macro writes.
#[doc(hidden)]
pub fn read_signal<A: Message, T>(
    body: &[u8],
    read: impl FnOnce(View<'_, A>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    read(View::<A>::of(body)?)
}

/// A whole packet, whose interface is filled in for each subscriber.
fn encode<A, CA: Carries<A>>(member: u32, arguments: &A) -> Result<Vec<u8>, EncodeError> {
    let header = Header { number: member, ..Header::new(Kind::Signal) };
    let value = Value::<A, CA>::new(arguments);
    let mut scratch = Scratch::new(memring_codec::LARGEST_VALUE);
    let body = match value.ready() {
        Some(ready) => ready,
        None => {
            value.encode(&mut scratch, None)?;
            &scratch
        }
    };
    Ok(super::wire::packet(header, body))
}

/// The signals of one kind that come in a session, from when it was made. Dropping it ends the subscription.
///
/// They are kept until they are taken, the last 1024; [`missed`](Self::missed) says how many were lost here.
///
/// A signal's arguments are what comes: one by itself, several as a tuple.
///
/// ```
/// use memring::fanout::Slow;
/// # use memring::rpc::{Call, Calls, Link};
///
/// #[memring::interface(name = "news", version = "1")]
/// trait News {
///     fn readers() -> u64;
///     #[signal]
///     fn important(headline: &str, pages: u32);
/// }
/// # struct Newsroom;
/// # impl NewsServer for Newsroom {
/// #     fn readers(&self, _: &Call<'_>) -> u64 { 1 }
/// # }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (server, client) = memring::pair::<Calls>()?;
/// // The server. What it sends goes to all who subscribed.
/// let signals = NewsSignals::new(Slow::DropNewest);
/// let serve = News::serve(Newsroom).signals(&signals);
/// # let server = Link::serving(server, [serve]);
/// # std::thread::spawn(move || server.run());
/// # let client: NewsClient = Link::over(client).open()?;
///
/// // A client.
/// let mut news = client.important()?;
/// # client.readers()?; // it has been read by then
///
/// // The server again.
/// let reached = signals.important("Rain", 3)?;
/// assert_eq!(reached.reached, 1);
///
/// // The client again. As an iterator it goes on until the session ends.
/// let (headline, pages): (String, u32) = news.recv()?;
/// assert_eq!((headline.as_str(), pages), ("Rain", 3));
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it ends the subscription"]
pub struct Subscription<T> {
    bound: Bound,
    number: u64,
    place: u16,
    member: u32,
    read: fn(&[u8]) -> Result<T, DecodeError>,
}

/// What came of a signal and was not taken by one subscription.
pub(crate) struct Queue {
    pub number: u64,
    pub place: u16,
    pub member: u32,
    pub packets: VecDeque<Arc<Packet>>,
    pub bytes: usize,
    pub missed: u64,
    pub waiter: Option<Waiter>,
}

impl Queue {
    /// Keeps a signal; the oldest go if there are too many.
    pub(crate) fn push(&mut self, packet: Arc<Packet>) {
        self.bytes += packet.memory.len();
        self.packets.push_back(packet);
        while self.packets.len() > MOST_SIGNALS
            || (self.bytes > MOST_SIGNAL_BYTES && self.packets.len() > 1)
        {
            self.missed += 1;
            self.pop();
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Arc<Packet>> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.memory.len();
        Some(packet)
    }
}

impl<T> Subscription<T> {
    pub(crate) fn new(
        bound: Bound,
        place: u16,
        member: u32,
        read: fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Self, CallError> {
        let shared = &bound.shared;
        if shared.is_forked() {
            return Err(CallError::Ended(End::Forked));
        }
        let (number, first) = {
            let mut table = shared.table();
            if let Some(end) = table.end() {
                return Err(CallError::Ended(end.clone()));
            }
            table.subscribe(place, member)
        };
        let this = Self { bound, number, place, member, read };
        if first {
            this.tell(Kind::Subscribe);
        }
        Ok(this)
    }

    fn tell(&self, kind: Kind) {
        let header = Header { interface: self.place, number: self.member, ..Header::new(kind) };
        self.bound.shared.send_sometime(super::wire::packet(header, &[]), 0);
    }

    /// Waits for the next signal.
    ///
    /// # Errors
    ///
    /// [`CallError::Ended`] with the session; [`CallError::Answer`] if it is none, and the next may be one.
    pub fn recv(&mut self) -> Result<T, CallError> {
        self.recv_by(None)
    }

    /// As [`recv`](Self::recv), waiting until the deadline at most.
    ///
    /// # Errors
    ///
    /// As `recv`, and [`CallError::DeadlinePassed`].
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, CallError> {
        self.recv_by(Some(deadline))
    }

    fn recv_by(&mut self, deadline: Option<Instant>) -> Result<T, CallError> {
        let number = self.number;
        let ready = |table: &mut Table| table.subscription(number)?.pop();
        let waiter = |table: &mut Table, waiter| table.set_subscriber(number, waiter);
        let packet = self.bound.shared.wait_filed(deadline, ready, waiter)?;
        (self.read)(packet.body()).map_err(CallError::Answer)
    }

    /// As [`recv`](Self::recv), in a task.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn recv_async(&mut self) -> Result<T, CallError> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The next signal, or the task is woken when there is one.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<T, CallError>> {
        let number = self.number;
        let found = self.bound.shared.poll_filed(
            context,
            false,
            |table| table.subscription(number)?.pop(),
            |table, waiter| table.set_subscriber(number, waiter),
        );
        let packet = ready!(found)?.ok_or(CallError::Cancelled)?; // it is waited for
        Poll::Ready((self.read)(packet.body()).map_err(CallError::Answer))
    }

    /// As a stream of the crate `futures`.
    #[cfg(feature = "tokio")]
    pub fn into_stream(self) -> Streamed<Self> {
        Streamed(self)
    }

    /// Takes the next signal, if one lies there.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<T>, CallError> {
        match self.recv_by(Some(Instant::now())) {
            Ok(signal) => Ok(Some(signal)),
            Err(CallError::DeadlinePassed) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many signals were lost here because they were not taken in time. What the sender lost it knows itself.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.bound.shared.table().subscription(self.number).map_or(0, |queue| queue.missed)
    }
}

impl<T> Drop for Subscription<T> {
    fn drop(&mut self) {
        let ended = self.bound.shared.table().unsubscribe(self.number);
        if let Some((_, true)) = ended {
            self.tell(Kind::Unsubscribe);
        }
    }
}

#[cfg(feature = "tokio")]
impl<T> futures_core::Stream for Streamed<Subscription<T>> {
    type Item = Result<T, CallError>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll_recv(context).map(until_the_end)
    }
}

/// Signals as they come, until the session ends.
impl<T> Iterator for Subscription<T> {
    type Item = Result<T, CallError>;

    fn next(&mut self) -> Option<Self::Item> {
        until_the_end(self.recv())
    }
}

fn until_the_end<T>(signal: Result<T, CallError>) -> Option<Result<T, CallError>> {
    match signal {
        Err(CallError::Ended(End::Closed | End::Local)) => None,
        other => Some(other),
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("bound", &self.bound).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use memring_ring::halves::Which;

    use super::super::carrier::Plainly;
    use super::super::session::Calls;
    use super::*;

    static INTERFACE: Interface = Interface { name: "news", version: "1", members: &[] };

    #[test]
    fn who_reads_a_subscription_waits_for_no_signal_that_waits_for_the_reader() {
        let (channel, _peer) = crate::pair::<Calls>().expect("a pair");
        let shared = Shared::new(channel, 8);
        let signals = Signals::new(&INTERFACE, Slow::DropNewest);
        signals.subscribers().add(&shared, 0, 0);
        // It reads with both halves, as a thread does that has just answered.
        let reads = shared.try_take(Which::BOTH).expect("nobody has them");
        let sends = signals.clone();
        // It waits for the half for a while, and again if this thread did not see it.
        let sends = move || sends.send::<u32, Plainly>(0, &7).expect("it can be encoded");
        let sending = thread::spawn(move || while sends().missed != 0 {});
        while !shared.halves.is_wanted(Which::SENDING) {
            thread::yield_now();
        }
        // What it reads now is that another signal is wanted.
        assert!(signals.inner.all.try_lock().is_ok(), "the reader would wait for the signal");
        signals.subscribers().add(&shared, 0, 1);
        drop(reads);
        sending.join().expect("no panic");
        assert_eq!(signals.count(1), 1);
    }

    #[test]
    fn signals_that_are_not_taken_have_a_bound_by_length_but_the_last_is_kept() {
        let packets_of = super::super::table::tests::packets;
        let mut queue = Queue {
            number: 1,
            place: 0,
            member: 0,
            packets: VecDeque::new(),
            bytes: 0,
            missed: 0,
            waiter: None,
        };
        packets_of(1 << 20, 20).into_iter().for_each(|packet| queue.push(Arc::new(packet)));
        assert_eq!((queue.packets.len(), queue.bytes, queue.missed), (16, MOST_SIGNAL_BYTES, 4));
        let large = MOST_SIGNAL_BYTES + 1;
        packets_of(large, 1).into_iter().for_each(|packet| queue.push(Arc::new(packet)));
        assert_eq!((queue.packets.len(), queue.bytes, queue.missed), (1, large, 20));
    }

    #[test]
    fn a_signal_is_not_held_up_by_who_has_the_sending_half_and_does_not_go_on() {
        let (channel, _peer) = crate::pair::<Calls>().expect("a pair");
        let shared = Shared::new(channel, 8);
        let signals = Signals::new(&INTERFACE, Slow::DropNewest);
        signals.subscribers().add(&shared, 0, 0);
        let sends = shared.try_take(Which::SENDING).expect("nobody has it");
        let (told, tell) = mpsc::channel();
        let signalling = signals.clone();
        thread::spawn(move || told.send(signalling.send::<u32, Plainly>(0, &7)));
        let reached = tell.recv_timeout(Duration::from_secs(10)).expect("it comes back");
        assert_eq!(reached.expect("it can be encoded").missed, 1);
        drop(sends);
    }
}
