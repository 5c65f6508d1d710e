//! The receiving half of a typed channel.
//!
//! A message is copied once into memory of our own, validated there, and lent as a view; the peer can
//! change it no more.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use memring_codec::{Carriage, Format, Message};
use memring_ring::consumer::{self, Begun, Consumer, Item, Unready};
use memring_ring::{Stats, Wait};
use memring_transport::{Peer, Session};

use crate::arrived::Arrived;
use crate::error::{End, Fault, NotLent, RecvError, TryRecvError, end_of};
use crate::iter::Iter;
use crate::polled::waits_elsewhere;
use crate::pool::Pool;
use crate::view::{Received, Undecodable, View};

/// Messages of a batch begin at multiples of this.
const GRAIN: usize = 8;

/// Receives messages of one type. One owner: `Send`, not `Clone`.
///
/// Dropping it ends its direction: the peer's sends fail with [`End::Closed`], at the latest when they find no
/// more room.
///
/// ```
/// use memring::TryRecvError;
///
/// let (mut server, client) = memring::pair::<memring::Bytes>()?;
/// let (_, mut rx) = client.split();
/// assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
/// server.send(b"one")?;
/// server.send(b"two")?;
/// assert_eq!(&*rx.recv()?, b"one");
/// let kept = rx.recv_owned()?;
/// drop((server, rx));
/// assert_eq!(&*kept, b"two");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Receiver<T: Message + ?Sized> {
    consumer: Consumer,
    /// Set by a message that did not decode: the same for every later call.
    fault: Option<Fault>,
    pool: Arc<Pool>,
    session: Arc<Session>,
    _receives: PhantomData<fn() -> Box<T>>,
    /// Not `Sync`: a half has one owner at a time.
    _owned: PhantomData<Cell<()>>,
}

/// The next item, waited for, or a return of the error. Not a function: an item that comes as part of a `Result` with a
/// large error goes through memory, byte by byte where it shares them with that, which costs more than all the rest.
macro_rules! next {
    ($receiver:ident, $deadline:expr) => {
        match $receiver.consumer.next_ready() {
            Some(item) => item,
            None => {
                let begun = $receiver.consumer.begin_wait();
                match $receiver.consumer.next_within(&begun, $deadline) {
                    Ok(()) => $receiver.consumer.found(),
                    Err(unready) => return Err($receiver.unready(unready)),
                }
            }
        }
    };
}

/// The next item if there is one now, or a return of the error; see [`next`].
macro_rules! try_next {
    ($receiver:ident) => {
        match $receiver.consumer.next_ready() {
            Some(item) => item,
            None => $receiver.try_closely()?,
        }
    };
}

mod bytes;

impl<T: Message + ?Sized> Receiver<T> {
    pub(crate) fn new(mut consumer: Consumer, session: Arc<Session>) -> Self {
        let takes = session.negotiated().takes;
        let may = match T::Format::CARRIAGE {
            Carriage::None => false,
            Carriage::Beside => takes.fds != 0,
            Carriage::Within => takes.any(),
        };
        if may {
            consumer.take_fds();
        }
        Self {
            consumer,
            fault: None,
            pool: Arc::default(),
            session,
            _receives: PhantomData,
            _owned: PhantomData,
        }
    }

    /// Waits for the next message and lends a view of it, until the next receive.
    ///
    /// # Errors
    ///
    /// [`RecvError::Ended`], after everything sent before was received.
    #[inline]
    pub fn recv(&mut self) -> Result<View<'_, T>, RecvError> {
        self.recv_by(None)
    }

    /// As [`recv`](Self::recv), waiting until the deadline at most. A message that is there by then is
    /// received, however late the thread was woken.
    ///
    /// # Errors
    ///
    /// As `recv`, and [`RecvError::TimedOut`].
    #[inline]
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<View<'_, T>, RecvError> {
        self.recv_by(Some(deadline))
    }

    #[inline]
    fn recv_by(&mut self, deadline: Option<Instant>) -> Result<View<'_, T>, RecvError> {
        let Some(len) = T::Format::USUAL else {
            let item = next!(self, deadline);
            return Ok(self.lend(item)?);
        };
        if let Some(bytes) = self.next_usual(len) {
            return Ok(self.lend_usual(bytes)?);
        }
        if let Some(item) = self.consumer.next_other() {
            return Ok(self.lend(item)?);
        }
        self.recv_closely(deadline)
    }

    /// The next message, if it lies there and is `len` bytes long, as most are.
    #[inline(always)]
    fn next_usual(&mut self, len: usize) -> Option<*const [u8]> {
        self.consumer.next_of(len, T::Format::alignment(len) <= GRAIN).map(std::ptr::from_ref)
    }

    /// As [`recv_by`](Self::recv_by), where the message is not there yet or is not as most are.
    #[inline(never)]
    fn recv_closely(&mut self, deadline: Option<Instant>) -> Result<View<'_, T>, RecvError> {
        // Not an argument: it would be no constant here.
        let len = const { T::Format::USUAL }.unwrap_or_default();
        let mut begun = self.consumer.begin_wait();
        if let Some(bytes) = self.consumer.next_soon_of(&mut begun, len).map(std::ptr::from_ref) {
            return Ok(self.lend_usual(bytes)?);
        }
        self.recv_later(&begun, deadline)
    }

    /// As [`recv_closely`](Self::recv_closely), where the message does not come soon. By itself, so that what comes soon has
    /// little to save and restore.
    #[cold]
    #[inline(never)]
    fn recv_later(
        &mut self,
        begun: &Begun,
        deadline: Option<Instant>,
    ) -> Result<View<'_, T>, RecvError> {
        match self.consumer.next_within(begun, deadline) {
            Ok(()) => {
                let item = self.consumer.found();
                Ok(self.lend(item)?)
            }
            Err(unready) => Err(self.unready(unready)),
        }
    }

    /// Lends a view of the next message if there is one now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<View<'_, T>, TryRecvError> {
        if let Some(len) = T::Format::USUAL
            && let Some(bytes) = self.next_usual(len)
        {
            return Ok(self.lend_usual(bytes)?);
        }
        let item = try_next!(self);
        Ok(self.lend(item)?)
    }

    /// Waits for the next message, and hands out it and all that came in one frame with it: those of a batch, or one
    /// alone. How many there were, at least one.
    ///
    /// Of a batch it takes each faster than [`recv`](Self::recv) would. If `each` panics, the messages after that one are
    /// received by the next call.
    ///
    /// ```
    /// let (mut server, client) = memring::pair::<memring::Bytes>()?;
    /// let (_, mut rx) = client.split();
    /// let mut batch = server.batch();
    /// batch.push(b"one")?;
    /// batch.push(b"two")?;
    /// drop(batch);
    /// let mut words = Vec::new();
    /// assert_eq!(rx.recv_each(|word| words.push(word.to_vec()))?, 2);
    /// assert_eq!(words, [b"one", b"two"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As `recv`. If a message in the midst of a batch is none, those before it were handed out.
    pub fn recv_each(&mut self, mut each: impl FnMut(View<'_, T>)) -> Result<usize, RecvError> {
        each(self.recv()?);
        let mut count = 1;
        if let Some(len) = T::Format::USUAL
            && T::Format::alignment(len) <= GRAIN
        {
            count += self.take_alike(len, &mut each);
        }
        while self.consumer.has_more() {
            each(self.recv()?);
            count += 1;
        }
        Ok(count)
    }

    /// Hands out what is left of a batch of messages that are all `len` bytes long, if such a one is begun; up to the
    /// first that is none, or not where it lies. How many.
    #[inline]
    fn take_alike(&mut self, len: usize, each: &mut impl FnMut(View<'_, T>)) -> usize {
        /// Takes from the consumer what was handed out, even if the last one panicked.
        struct Taken<'a>(&'a mut Consumer, usize);
        impl Drop for Taken<'_> {
            fn drop(&mut self) {
                if self.1 != 0 {
                    self.0.skip_alike(self.1);
                }
            }
        }
        let alike: *const [u8] = self.consumer.alike(len);
        if alike.is_empty() {
            return 0;
        }
        // SAFETY: borrowed from the consumer, of which nothing is asked until the last one is handed out.
        let alike = unsafe { &*alike };
        if !alike.as_ptr().addr().is_multiple_of(GRAIN) {
            return 0; // a buffer is, and whoever comes next takes them one by one
        }
        let mut taken = Taken(&mut self.consumer, 0);
        for padded in alike.chunks_exact(len.next_multiple_of(GRAIN)) {
            // SAFETY: the first is aligned, as was just seen, and from one to the next it is a multiple. With this the
            // compiler has nothing left to check of plain messages.
            unsafe { std::hint::assert_unchecked(padded.as_ptr().addr().is_multiple_of(GRAIN)) };
            let Ok(view) = View::of(&padded[..len]) else { break };
            taken.1 += 1;
            each(view);
        }
        taken.1
    }

    /// As [`recv`](Self::recv), with a message to keep: it may outlive the receiver and go to other
    /// threads. Its memory is used again once it is dropped.
    ///
    /// # Errors
    ///
    /// As `recv`.
    pub fn recv_owned(&mut self) -> Result<Received<T>, RecvError> {
        let item = next!(self, None);
        Ok(self.keep(&item)?)
    }

    /// As [`recv_owned`](Self::recv_owned), waiting until the deadline at most.
    ///
    /// # Errors
    ///
    /// As [`recv_deadline`](Self::recv_deadline).
    pub fn recv_owned_deadline(&mut self, deadline: Instant) -> Result<Received<T>, RecvError> {
        let item = next!(self, Some(deadline));
        Ok(self.keep(&item)?)
    }

    /// As [`try_recv`](Self::try_recv), with a message to keep.
    ///
    /// # Errors
    ///
    /// As `try_recv`.
    pub fn try_recv_owned(&mut self) -> Result<Received<T>, TryRecvError> {
        let item = try_next!(self);
        Ok(self.keep(&item)?)
    }

    /// The messages as they come, to keep; ends when the peer closes. Any other end is its last item.
    pub fn iter(&mut self) -> Iter<'_, T> {
        Iter::new(self)
    }

    #[cold]
    fn unready(&mut self, unready: Unready) -> RecvError {
        if unready == Unready::TimedOut {
            return RecvError::TimedOut;
        }
        let end = self.consumer.ended().unwrap_or(memring_ring::End::HungUp);
        RecvError::Ended(self.end_of(end))
    }

    #[inline(never)]
    fn try_closely(&mut self) -> Result<Item, TryRecvError> {
        self.consumer.try_recv().map_err(|error| match error {
            consumer::TryRecvError::Ended(end) => TryRecvError::Ended(self.end_of(end)),
            _ => TryRecvError::Empty,
        })
    }

    #[cold]
    fn end_of(&self, end: memring_ring::End) -> End {
        match (&self.fault, end) {
            (Some(fault), memring_ring::End::Fault(rule)) if fault.rule == rule => {
                End::Fault(fault.clone())
            }
            (_, end) => end_of(end, self.session.peer()),
        }
    }

    /// Decodes the message received last, which are these bytes, and lends it.
    ///
    /// They come as a pointer: a reference would be taken for one that lasts when the message turns out to be none.
    #[inline(always)]
    fn lend_usual(&mut self, bytes: *const [u8]) -> Result<View<'_, T>, End> {
        // SAFETY: they were borrowed from `self`, as what is returned is, and nothing was done with `self` since.
        let bytes = unsafe { &*bytes };
        match View::of(bytes) {
            Ok(view) => Ok(view),
            Err(why) => {
                let item = self.consumer.item_of(bytes);
                self.lend_aligned(item, why)
            }
        }
    }

    /// Decodes the message received last and lends it.
    #[inline(always)]
    pub(crate) fn lend(&mut self, item: Item) -> Result<View<'_, T>, NotLent> {
        match T::Format::CARRIAGE {
            Carriage::None => {}
            Carriage::Beside if item.has_fds() => self.drop_fds(),
            Carriage::Beside => {}
            Carriage::Within => return self.lend_carrying(item),
        }
        // By value: one whose address is taken lives in memory.
        let item = if T::Format::alignment(item.len()) > GRAIN {
            self.consumer.align(item).unwrap_or(item)
        } else {
            item
        };
        let bytes: *const [u8] = self.consumer.bytes(&item);
        // SAFETY: the bytes are borrowed from `self`, as what is returned is, and nothing is done with `self` on the
        // way there. (A reference would be taken for one that lasts when the message turns out to be none.)
        let bytes = unsafe { &*bytes };
        match View::of(bytes) {
            Ok(view) => Ok(view),
            Err(why) => self.lend_aligned(item, why).map_err(NotLent::Ended),
        }
    }

    /// Decodes the message received last, with what came with it, and lends it.
    #[inline(never)]
    fn lend_carrying(&mut self, item: Item) -> Result<View<'_, T>, NotLent> {
        let (arrived, sent) = self.arrived(item);
        let item = self.consumer.align(item).unwrap_or(item);
        let bytes: *const [u8] = self.consumer.bytes(&item);
        // SAFETY: as in `lend`.
        let bytes = unsafe { &*bytes };
        match View::carrying(bytes, Arc::clone(&arrived)) {
            // It was decoded all the same: what it names of blobs has been named.
            Ok(_) if arrived.is_lost() => Err(NotLent::FdsLost { sent }),
            Ok(view) => Ok(view),
            Err(why) => Err(NotLent::Ended(self.undecodable(why))),
        }
    }

    /// What came with the message received last, and how many descriptors were sent.
    fn arrived(&mut self, item: Item) -> (Arc<Arrived>, usize) {
        let parcel = if item.has_fds() { self.session.take_parcel() } else { None };
        let parcel = parcel.unwrap_or_default();
        let sent = parcel.sent();
        (Arc::new(Arrived::new(Arc::clone(&self.session), parcel)), sent)
    }

    /// Nobody asked for what came with the message: it goes to the closer.
    #[cold]
    fn drop_fds(&mut self) {
        drop(self.session.take_parcel());
    }

    /// Decodes it once more, if it did not lie where every archive may expect to: an empty slice may ask for more
    /// alignment than its owner.
    #[cold]
    #[inline(never)]
    fn lend_aligned(&mut self, item: Item, why: Undecodable) -> Result<View<'_, T>, End> {
        if matches!(why, Undecodable::Invalid(_))
            && let Some(item) = self.consumer.align(item)
        {
            let bytes: *const [u8] = self.consumer.bytes(&item);
            // SAFETY: as in `lend`.
            let bytes = unsafe { &*bytes };
            return match View::of(bytes) {
                Ok(view) => Ok(view),
                Err(why) => Err(self.undecodable(why)),
            };
        }
        Err(self.undecodable(why))
    }

    /// A peer that sends what is no message of its type has broken the protocol.
    #[cold]
    fn undecodable(&mut self, why: Undecodable) -> End {
        let rule = memring_ring::Fault::Decode;
        self.consumer.fail(rule);
        let detail = match why {
            Undecodable::Invalid(error) => full_text(&error),
            Undecodable::Panicked => {
                "a check of this application's own panicked over it".to_owned()
            }
        };
        let fault = Fault { rule, detail: Some(detail.into()) };
        self.fault = Some(fault.clone());
        End::Fault(fault)
    }

    /// Takes the message out and decodes it where it will stay.
    pub(crate) fn keep(&mut self, item: &Item) -> Result<Received<T>, NotLent> {
        match T::Format::CARRIAGE {
            Carriage::None => {}
            Carriage::Beside if item.has_fds() => self.drop_fds(),
            Carriage::Beside => {}
            Carriage::Within => {
                let (arrived, sent) = self.arrived(*item);
                let buffer = self.consumer.take(item, self.pool.take());
                return match Received::carrying(buffer, &self.pool, Arc::clone(&arrived)) {
                    Ok(_) if arrived.is_lost() => Err(NotLent::FdsLost { sent }),
                    Ok(received) => Ok(received),
                    Err(why) => Err(NotLent::Ended(self.undecodable(why))),
                };
            }
        }
        let buffer = self.consumer.take(item, self.pool.take());
        Received::of(buffer, &self.pool).map_err(|why| NotLent::Ended(self.undecodable(why)))
    }

    /// The further channels of its session.
    #[must_use]
    pub fn channels(&self) -> crate::Channels {
        crate::Channels::of(&self.session)
    }

    waits_elsewhere!();

    /// The next message, not looked into yet, if there is one now.
    pub(crate) fn try_item(&mut self) -> Result<Item, TryRecvError> {
        Ok(try_next!(self))
    }

    /// What it is made of, for calls.
    #[cfg(feature = "rpc")]
    pub(crate) fn into_consumer(self) -> Consumer {
        self.consumer
    }

    pub(crate) fn consumer_mut(&mut self) -> &mut Consumer {
        &mut self.consumer
    }

    /// Publishes what was received, so that the peer can use the room, without waiting for it to be due.
    /// Only needed before this thread waits for something other than memring.
    pub fn release(&mut self) {
        self.consumer.publish();
    }

    /// Reads whole frames in place from now on, without the copy.
    ///
    /// A frame's room is given back by the next receive. Messages in batches and parts are copied still.
    ///
    /// # Safety
    ///
    /// The peer must not change a message after it was sent, by accident or on purpose: what was validated
    /// would no longer be what is read, which is undefined behaviour in this process. Only a peer that is
    /// one program with this one can be trusted so.
    #[must_use]
    pub unsafe fn trust_peer(mut self) -> Self {
        // SAFETY: the caller vouches for the peer, as it does here.
        unsafe { self.consumer.trust_peer() };
        self
    }

    /// Who sends.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.session.peer()
    }

    /// The session this half belongs to.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// What this half did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.consumer.stats()
    }

    /// Bytes that the lane holds.
    #[must_use]
    pub fn lane_bytes(&self) -> u64 {
        self.consumer.capacity().bytes()
    }

    /// How blocking calls wait.
    #[must_use]
    pub fn wait_strategy(&self) -> Wait {
        self.consumer.wait_strategy()
    }

    /// Changes how blocking calls wait.
    pub fn set_wait_strategy(&mut self, wait: Wait) {
        self.consumer.set_wait_strategy(wait);
    }
}

pub(crate) fn full_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl<T: Message + ?Sized> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("message", &T::name())
            .field("peer", self.peer())
            .finish_non_exhaustive()
    }
}
