//! The sending half of a typed channel.

use std::cell::Cell;
use std::io::IoSlice;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use memring_codec::{Carriage, Encoder, Format, LARGEST_VALUE, Message, Scratch};
use memring_ring::Pulse;
use memring_ring::producer::Producer;
use memring_ring::{Delivery, Stats, Wait};
use memring_transport::attachments::UnderWay;
use memring_transport::{Peer, Session};

use crate::attached::Post;
use crate::batch::Batch;
use crate::carry::{Waiting, carry};
use crate::error::{End, SendError, TrySendError, end_of, send_error, try_send_error};
use crate::polled::waits_elsewhere;
use crate::slot::Slot;

/// Sends messages of one type. One owner: `Send`, not `Clone`.
///
/// Dropping it ends its direction: the peer receives everything sent, then [`End::Closed`].
///
/// ```
/// let (mut server, mut client) = memring::pair::<memring::Bytes>()?;
/// server.send(b"hello")?;
/// assert_eq!(&*client.recv()?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It goes to another thread, but is not shared between two:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: T) {}
/// let (server, _client) = memring::pair::<memring::Bytes>().unwrap();
/// shared(server.split().0);
/// ```
pub struct Sender<T: Message + ?Sized> {
    producer: Producer,
    /// What the last message took: how much to claim for the next.
    hint: usize,
    scratch: Scratch,
    session: Arc<Session>,
    /// File descriptors that the peer has not received.
    under_way: UnderWay,
    /// What had no room last was a packet ahead of a message, in the control socket.
    socket_full: bool,
    _sends: PhantomData<fn(&T)>,
    /// Not `Sync`: a half has one owner at a time.
    _owned: PhantomData<Cell<()>>,
}

impl<T: Message + ?Sized> Sender<T> {
    pub(crate) fn new(producer: Producer, session: Arc<Session>) -> Self {
        let max = producer.largest_message().min(LARGEST_VALUE as u64) as usize;
        Self {
            producer,
            hint: 0,
            scratch: Scratch::new(max),
            under_way: UnderWay::new(session.negotiated().peer_takes.fds),
            session,
            socket_full: false,
            _sends: PhantomData,
            _owned: PhantomData,
        }
    }

    /// Sends a message, waiting for room as long as it takes.
    ///
    /// # Errors
    ///
    /// [`SendError`]; the peer sees nothing of the message then.
    #[inline]
    pub fn send(&mut self, message: &T) -> Result<(), SendError> {
        self.send_by(message, None)
    }

    /// As [`send`](Self::send), waiting until the deadline at most.
    ///
    /// # Errors
    ///
    /// As `send`, and [`SendError::TimedOut`].
    pub fn send_deadline(&mut self, message: &T, deadline: Instant) -> Result<(), SendError> {
        self.send_by(message, Some(deadline))
    }

    #[inline]
    fn send_by(&mut self, message: &T, deadline: Option<Instant>) -> Result<(), SendError> {
        if const { matches!(T::Format::CARRIAGE, Carriage::Within) } {
            let (mut post, scratch) = self.post();
            return post.send(message, scratch, deadline);
        }
        let mut way = Waiting { producer: &mut self.producer, deadline };
        let sent = carry(&mut way, message, &mut self.hint, &mut self.scratch)
            .map_err(SendError::of_encoding)?;
        sent.map_err(|error| send_error(error, self.session.peer()))
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was sent.
    #[inline]
    pub fn try_send(&mut self, message: &T) -> Result<(), TrySendError> {
        if const { matches!(T::Format::CARRIAGE, Carriage::Within) } {
            let (mut post, scratch) = self.post();
            return post.try_send(message, scratch);
        }
        let way = &mut self.producer;
        let sent = carry(way, message, &mut self.hint, &mut self.scratch)
            .map_err(TrySendError::of_encoding)?;
        sent.map_err(|error| {
            self.socket_full = false; // now it is the lane
            try_send_error(error, self.session.peer())
        })
    }

    /// Sends a message and drops it: file descriptors in it are closed here once they are on their way.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), with the message.
    pub fn send_owned(&mut self, message: T) -> Result<(), (SendError, T)>
    where
        T: Sized,
    {
        self.send(&message).map_err(|error| (error, message))
    }

    /// Counts up this side's pulse, by which a peer that looks tells a stuck process from an idle one: a store, and no call. From
    /// a loop that would be stuck, at its turns; one that waits for messages is seen to be idle without that.
    pub fn beat(&self) {
        self.producer.beat();
    }

    /// The peer's pulse now, as far as it says; [`Pulse::is_stuck_since`](crate::Pulse::is_stuck_since) tells from two of them.
    ///
    /// ```
    /// let (server, client) = memring::pair::<memring::Bytes>()?;
    /// client.beat();
    /// let before = server.pulse();
    /// client.beat();
    /// assert!(!server.pulse().is_stuck_since(before));
    /// // A supervisor would look again after as long as a turn of the client's takes at most.
    /// assert!(server.pulse().is_stuck_since(server.pulse()));
    /// # Ok::<(), memring::ConnectError>(())
    /// ```
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.producer.pulse()
    }

    /// The further channels of its session.
    #[must_use]
    pub fn channels(&self) -> crate::Channels {
        crate::Channels::of(&self.session)
    }

    waits_elsewhere!();

    /// What it is made of, for calls.
    #[cfg(feature = "rpc")]
    pub(crate) fn into_parts(self) -> (Producer, Arc<Session>, UnderWay) {
        (self.producer, self.session, self.under_way)
    }

    pub(crate) fn producer_mut(&mut self) -> &mut Producer {
        &mut self.producer
    }

    /// Has whoever waits outside of futexes told when there is room for what had none.
    pub(crate) fn ask_for_room(&mut self) {
        if self.socket_full {
            self.session.await_socket_room();
        }
        self.producer.ask_doorbell();
    }

    /// Whether what had no room last would have it now, or there is an end.
    pub(crate) fn has_room(&mut self) -> bool {
        self.socket_full &= self.session.life().end().is_none() && !self.session.has_socket_room();
        !self.socket_full && self.producer.has_room()
    }

    /// Whether messages may go in parts as room comes free.
    pub(crate) fn sends_in_parts(&self) -> bool {
        !matches!(T::Format::CARRIAGE, Carriage::Within)
    }

    /// The bytes of a message that will go in parts.
    pub(crate) fn encode(&mut self, message: &T) -> Result<Vec<u8>, SendError> {
        let max = self.producer.largest_message().min(LARGEST_VALUE as u64) as usize;
        let mut bytes = Scratch::new(max);
        T::Format::encode(message, &mut Encoder::new(&mut bytes))
            .map_err(SendError::of_encoding)?;
        Ok(bytes.to_vec())
    }

    /// The largest message that the lane holds at once.
    pub(crate) fn largest_at_once(&self) -> u64 {
        self.producer.capacity().largest_at_once().min(self.producer.largest_message())
    }

    /// Sends what is encoded already, if there is room for it now.
    pub(crate) fn try_send_bytes(&mut self, bytes: &[u8]) -> Result<(), TrySendError> {
        let sent = self.producer.try_send(bytes, 0);
        sent.map_err(|error| try_send_error(error, self.session.peer()))
    }

    /// The same, waiting until the deadline at most.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), SendError> {
        let sent = self.producer.send(bytes, 0, Some(deadline));
        sent.map_err(|error| send_error(error, self.session.peer()))
    }

    /// See [`Producer::try_send_on`].
    pub(crate) fn try_send_on(&mut self, bytes: &[u8], sent: &mut u64) -> Result<(), TrySendError> {
        let went = self.producer.try_send_on(bytes, 0, sent);
        went.map_err(|error| try_send_error(error, self.session.peer()))
    }

    /// The way out of messages that carry something, and where they are encoded.
    fn post(&mut self) -> (Post<'_>, &mut Scratch) {
        self.socket_full = false;
        let Self { producer, session, under_way, socket_full, scratch, .. } = self;
        (Post { producer, session, under_way, socket_full, tag: 0 }, scratch)
    }

    /// Sends messages that are there already as one batch: they share frames, and those of a frame, up to a quarter of the
    /// lane, are seen together. Plain ones, whose bytes are their archive's and a multiple of 8, go as they are, at the speed of
    /// a copy.
    ///
    /// ```
    /// #[memring::message]
    /// #[derive(Clone, Copy)]
    /// struct Tick { price: u64, size: u64 }
    ///
    /// struct Ticks;
    /// impl memring::Protocol for Ticks {
    ///     const NAME: &'static str = "ticks";
    ///     type ToClient = Tick;
    ///     type ToServer = [u8];
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (mut server, mut client) = memring::pair::<Ticks>()?;
    /// server.send_all(&[Tick { price: 3, size: 1 }, Tick { price: 4, size: 2 }])?;
    /// let mut sum = 0;
    /// assert_eq!(client.recv_each(|tick| sum += tick.price.to_native())?, 2);
    /// assert_eq!(sum, 7);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). Some of the messages may have been sent; how many, [`stats`](Self::stats) says.
    pub fn send_all(&mut self, messages: &[T]) -> Result<(), SendError>
    where
        T: Sized,
    {
        if let Some(bytes) = T::Format::ready_all(messages) {
            return self
                .producer
                .send_alike(bytes, size_of::<T>(), None)
                .map_err(|error| send_error(error, self.session.peer()));
        }
        let mut batch = self.batch();
        messages.iter().try_for_each(|message| batch.push(message))
    }

    /// Begins a batch: small messages share a frame and are seen together, when the batch is flushed or
    /// dropped. It trades latency for throughput.
    ///
    /// ```
    /// # let (mut server, mut client) = memring::pair::<memring::Bytes>()?;
    /// let mut batch = server.batch();
    /// for line in ["one", "two", "three"] {
    ///     batch.push(line.as_bytes())?;
    /// }
    /// drop(batch);
    /// assert_eq!(&*client.recv()?, b"one");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batch(&mut self) -> Batch<'_, T> {
        Batch {
            hint: &mut self.hint,
            scratch: &mut self.scratch,
            session: &self.session,
            under_way: &mut self.under_way,
            socket_full: &mut self.socket_full,
            batch: self.producer.batch(),
            _sends: PhantomData,
        }
    }

    /// Who receives.
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
        self.producer.stats()
    }

    /// What became of the messages sent so far: how many the peer has taken, and how many are in doubt. Looks; never waits.
    /// Once the session has ended it is the last that can be known.
    ///
    /// ```
    /// let (mut server, client) = memring::pair::<memring::Bytes>()?;
    /// let (mut tx, _rx) = client.split();
    /// for word in ["one", "two", "three"] {
    ///     tx.send(word.as_bytes())?;
    /// }
    /// server.recv()?;
    /// drop(server); // says what it has read
    /// let delivery = tx.delivery();
    /// assert_eq!((delivery.sent, delivery.received, delivery.in_doubt), (3, 1, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.producer.delivery()
    }

    /// The negotiated largest message, in bytes.
    #[must_use]
    pub fn largest_message(&self) -> u64 {
        self.producer.largest_message()
    }

    /// Bytes that the lane holds.
    #[must_use]
    pub fn lane_bytes(&self) -> u64 {
        self.producer.capacity().bytes()
    }

    /// How blocking calls wait.
    #[must_use]
    pub fn wait_strategy(&self) -> Wait {
        self.producer.wait_strategy()
    }

    /// Changes how blocking calls wait.
    pub fn set_wait_strategy(&mut self, wait: Wait) {
        self.producer.set_wait_strategy(wait);
    }

    /// How this direction ended, if it has. Looks; never waits.
    pub fn end(&mut self) -> Option<End> {
        self.producer.end().map(|end| end_of(end, self.session.peer()))
    }
}

/// Byte strings can also be sent in pieces, or written in place.
impl Sender<[u8]> {
    /// Sends the pieces, one after the other, as one message.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) -> Result<(), SendError> {
        self.producer
            .send_vectored(pieces, 0, None)
            .map_err(|error| send_error(error, self.session.peer()))
    }

    /// As [`send_vectored`](Self::send_vectored), waiting until the deadline at most.
    ///
    /// # Errors
    ///
    /// As [`send_deadline`](Self::send_deadline).
    pub fn send_vectored_deadline(
        &mut self,
        pieces: &[IoSlice<'_>],
        deadline: Instant,
    ) -> Result<(), SendError> {
        self.producer
            .send_vectored(pieces, 0, Some(deadline))
            .map_err(|error| send_error(error, self.session.peer()))
    }

    /// Sends bytes and file descriptors as one message, waiting for room as long as it takes. The descriptors are
    /// duplicated; the caller's stay open.
    ///
    /// ```
    /// use std::io::{Read, Write, pipe};
    /// use std::os::fd::AsFd;
    ///
    /// let (mut server, client) = memring::Connector::new().fds(4).pair::<memring::Bytes>()?;
    /// let (_, mut rx) = client.split();
    /// let (reader, mut writer) = pipe()?;
    /// server.send_with_fds(b"read this", &[reader.as_fd()])?;
    /// let (message, fds) = rx.recv_with_fds()?;
    /// assert_eq!(&*message, b"read this");
    /// writer.write_all(b"hello")?;
    /// drop(writer);
    /// let mut text = String::new();
    /// std::fs::File::from(fds.into_iter().next().unwrap()).read_to_string(&mut text)?;
    /// assert_eq!(text, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); [`SendError::TooManyFds`] beyond what the peer takes.
    pub fn send_with_fds(
        &mut self,
        message: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), SendError> {
        self.post().0.send_with_fds(message, fds, None)
    }

    /// As [`send_with_fds`](Self::send_with_fds), waiting until the deadline at most.
    ///
    /// # Errors
    ///
    /// As there, and [`SendError::TimedOut`].
    pub fn send_with_fds_deadline(
        &mut self,
        message: &[u8],
        fds: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<(), SendError> {
        self.post().0.send_with_fds(message, fds, Some(deadline))
    }

    /// As [`send_with_fds`](Self::send_with_fds), if there is room now.
    ///
    /// # Errors
    ///
    /// [`TrySendError`]; nothing was sent.
    pub fn try_send_with_fds(
        &mut self,
        message: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), TrySendError> {
        self.post().0.try_send_with_fds(message, fds)
    }

    /// Waits for room for a message of up to `len` bytes, at most a quarter of the lane, and lends it to
    /// be written in place.
    ///
    /// # Errors
    ///
    /// [`SendError::TooLarge`] beyond [`Slot`]'s largest, [`SendError::Ended`].
    pub fn claim(&mut self, len: usize) -> Result<Slot<'_>, SendError> {
        match self.producer.claim(len, None) {
            Ok(grant) => Ok(Slot { grant }),
            Err(error) => Err(send_error(error, self.session.peer())),
        }
    }

    /// As [`claim`](Self::claim), waiting until the deadline at most.
    ///
    /// # Errors
    ///
    /// As `claim`, and [`SendError::TimedOut`].
    pub fn claim_deadline(&mut self, len: usize, deadline: Instant) -> Result<Slot<'_>, SendError> {
        match self.producer.claim(len, Some(deadline)) {
            Ok(grant) => Ok(Slot { grant }),
            Err(error) => Err(send_error(error, self.session.peer())),
        }
    }

    /// As [`claim`](Self::claim), if there is room now.
    ///
    /// # Errors
    ///
    /// [`TrySendError`].
    pub fn try_claim(&mut self, len: usize) -> Result<Slot<'_>, TrySendError> {
        match self.producer.try_claim(len) {
            Ok(grant) => Ok(Slot { grant }),
            Err(error) => Err(try_send_error(error, self.session.peer())),
        }
    }
}

impl<T: Message + ?Sized> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("message", &T::name())
            .field("peer", self.peer())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_beyond_2_gib_is_refused_and_a_large_one_leaves_little_memory_behind() {
        /// The language's own vector of bytes, as a message.
        #[memring_macros::message(crate = memring_codec)]
        struct Bulk {
            bytes: Vec<u8>,
        }
        struct Bulks;
        impl crate::Protocol for Bulks {
            const NAME: &'static str = "bulks";
            type ToClient = Bulk;
            type ToServer = Bulk;
        }
        let connector = crate::Connector::new().largest_message(1 << 40);
        let (server, client) = connector.pair::<Bulks>().expect("a pair");
        let (mut sender, _receiver) = server.split();
        // Zeroed pages that nobody touches: it is refused by its length. The second is one whose pointer would not reach.
        for len in [1 << 31, (1 << 31) - 8] {
            match sender.send(&Bulk { bytes: vec![0; len] }) {
                Err(SendError::TooLarge { max, .. }) => assert_eq!(max, LARGEST_VALUE as u64),
                other => panic!("{other:?}"),
            }
        }
        let reading = std::thread::spawn(move || {
            let (_sender, mut receiver) = client.split();
            receiver.recv().map(|bulk| bulk.bytes.len()).expect("what was sent")
        });
        sender.send(&Bulk { bytes: vec![1; 4 * crate::carry::KEEP] }).expect("a reader");
        assert_eq!(reading.join().expect("no panic"), 4 * crate::carry::KEEP);
        assert!(sender.scratch.capacity() <= crate::carry::KEEP, "{}", sender.scratch.capacity());
    }
}
