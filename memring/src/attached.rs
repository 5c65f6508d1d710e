//! Messages that carry more than bytes, on their way out: file descriptors go ahead, over the control socket, and so does
//! a blob the first time; from then on it is a number.

use std::any::Any;
use std::io::{self, IoSlice};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use memring_codec::attached::{Attaches, NoPlace};
use memring_codec::{EncodeError, Encoder, Fd, Format, Message, Scratch};
use memring_ring::Unsent;
use memring_ring::producer::Producer;
use memring_transport::Session;
use memring_transport::attachments::{Numbered, Room, UnderWay};
use memring_transport::blob::SealedMemory;
use memring_transport::control::{Attached, MAX_FDS};
use memring_transport::socket::SendProblem;

use crate::carry::KEEP;
use crate::error::{End, SendError, TrySendError, end_of, send_error, try_send_error};

/// How long a sender looks away while the peer's control socket is full.
const SLICE: Duration = Duration::from_millis(10);

/// What a message carries.
struct Along<'a> {
    session: &'a Session,
    fds: Vec<Fd>,
    /// Blobs that the peer knows.
    known: Vec<Numbered>,
    /// Those that it does not, and the numbers that they will have.
    new: Vec<Numbered>,
}

impl Attaches for Along<'_> {
    fn fd(&mut self, fd: &Fd) -> Result<u32, NoPlace> {
        // How many the peer takes is asked once all are known, and an archive has less than 2^32 of them.
        self.fds.push(fd.clone());
        Ok(self.fds.len() as u32 - 1)
    }

    fn blob(&mut self, blob: &Arc<dyn Any + Send + Sync>) -> Result<u64, NoPlace> {
        let Ok(memory) = Arc::clone(blob).downcast::<SealedMemory>() else {
            return Err(NoPlace::Blobs);
        };
        if let Some((number, _)) = self.new.iter().find(|(_, new)| Arc::ptr_eq(new, &memory)) {
            return Ok(*number);
        }
        self.session.with_shelf(|shelf| match shelf.number(&memory) {
            Some(number) => {
                if !self.known.iter().any(|(known, _)| *known == number) {
                    self.known.push((number, memory));
                }
                Ok(number)
            }
            None => {
                let number = shelf.new_number();
                self.new.push((number, memory));
                Ok(number)
            }
        })
    }
}

/// When something is to be done.
#[derive(Clone, Copy)]
enum When {
    /// At once, or not.
    Now,
    /// Until then, if there is a deadline.
    By(Option<Instant>),
}

/// Why a message did not go, whichever way it was sent.
enum Failed {
    Full,
    TimedOut,
    TooLarge { len: u64, max: u64 },
    TooManyFds { count: usize, most: u16 },
    Blobs,
    InFlight,
    Fds(io::Error),
    Encode(EncodeError),
    Ended(End),
}

/// Both errors say the same, but where there was no room.
macro_rules! from_failed {
    ($error:ident, $no_room:ident) => {
        impl From<Failed> for $error {
            fn from(failed: Failed) -> Self {
                match failed {
                    Failed::Full | Failed::TimedOut => Self::$no_room,
                    Failed::TooLarge { len, max } => Self::TooLarge { len, max },
                    Failed::TooManyFds { count, most } => Self::TooManyFds { count, most },
                    Failed::Blobs => Self::Blobs,
                    Failed::InFlight => Self::FdsInFlight,
                    Failed::Fds(error) => Self::Fds(error),
                    Failed::Encode(error) => Self::of_encoding(error),
                    Failed::Ended(end) => Self::Ended(end),
                }
            }
        }
    };
}
from_failed!(SendError, TimedOut);
from_failed!(TrySendError, Full);

impl From<SendError> for Failed {
    fn from(error: SendError) -> Self {
        match error {
            SendError::TooLarge { len, max } => Self::TooLarge { len, max },
            SendError::Ended(end) => Self::Ended(end),
            _ => Self::TimedOut,
        }
    }
}

impl From<TrySendError> for Failed {
    fn from(error: TrySendError) -> Self {
        match error {
            TrySendError::TooLarge { len, max } => Self::TooLarge { len, max },
            TrySendError::Ended(end) => Self::Ended(end),
            _ => Self::Full,
        }
    }
}

/// The way out of messages that carry something.
pub(crate) struct Post<'a> {
    pub producer: &'a mut Producer,
    pub session: &'a Arc<Session>,
    pub under_way: &'a mut UnderWay,
    /// Set when the control socket had no room for what goes ahead of a message.
    pub socket_full: &'a mut bool,
    /// What travels with the message, in its header.
    pub tag: u64,
}

impl Post<'_> {
    /// Sends a message with everything it names, waiting until the deadline, if there is one.
    pub(crate) fn send<T: Message + ?Sized>(
        &mut self,
        message: &T,
        scratch: &mut Scratch,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        Ok(self.send_value(message, scratch, When::By(deadline))?)
    }

    /// As [`send`](Self::send), if that can be now.
    pub(crate) fn try_send<T: Message + ?Sized>(
        &mut self,
        message: &T,
        scratch: &mut Scratch,
    ) -> Result<(), TrySendError> {
        Ok(self.send_value(message, scratch, When::Now)?)
    }

    /// Sends bytes and descriptors, waiting until the deadline, if there is one.
    pub(crate) fn send_with_fds(
        &mut self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        Ok(self.send_bytes(bytes, fds, &[], &[], When::By(deadline))?)
    }

    /// As [`send_with_fds`](Self::send_with_fds), if that can be now.
    pub(crate) fn try_send_with_fds(
        &mut self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), TrySendError> {
        Ok(self.send_bytes(bytes, fds, &[], &[], When::Now)?)
    }

    fn send_value<T: Message + ?Sized>(
        &mut self,
        message: &T,
        scratch: &mut Scratch,
        when: When,
    ) -> Result<(), Failed> {
        // Before a lock is taken that another thread of the parent may have held at the fork.
        if self.session.life().is_forked() {
            return Err(Failed::Ended(End::Forked));
        }
        let mut along =
            Along { session: self.session, fds: Vec::new(), known: Vec::new(), new: Vec::new() };
        scratch.clear();
        T::Format::encode_with(message, &mut Encoder::new(scratch), &mut along)
            .map_err(Failed::Encode)?;
        let Along { fds, known, new, .. } = along;
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let sent = self.send_bytes(scratch, &fds, &known, &new, when);
        scratch.clear_and_shrink(KEEP);
        sent
    }

    fn send_bytes(
        &mut self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        known: &[Numbered],
        new: &[Numbered],
        when: When,
    ) -> Result<(), Failed> {
        let most = self.under_way.most();
        let own = match u16::try_from(fds.len()) {
            Ok(own) if own <= most => own,
            _ => return Err(Failed::TooManyFds { count: fds.len(), most }),
        };
        // A new blob goes as a descriptor too, though not as one that the peer counts among those.
        let count = fds.len() + new.len();
        if count > MAX_FDS.into() {
            return Err(Failed::TooManyFds { count, most: MAX_FDS });
        }
        if let Some(end) = self.under_way.waits_for(own) {
            self.until_read(end, when)?;
            self.under_way.received(end);
        }
        if !new.is_empty() {
            self.make_room(known, new, when)?;
        }
        match NonZeroU16::new(own + new.len() as u16) {
            None => self.send_alone(bytes, when)?,
            Some(count) => {
                let blob = |(number, memory): &Numbered| Attached::blob(*number, memory.len());
                let own = fds.iter().map(|_| Attached::FD);
                let list: Vec<_> = own.chain(new.iter().map(blob)).collect();
                let of_blobs = new.iter().map(|(_, memory)| memory.as_fd());
                let all: Vec<_> = fds.iter().copied().chain(of_blobs).collect();
                self.send_after(&[IoSlice::new(bytes)], count, &list, &all, when)?;
            }
        }
        let end = self.producer.position();
        if own != 0 {
            self.under_way.sent(end, own);
        }
        if !(known.is_empty() && new.is_empty()) {
            self.session.with_shelf(|shelf| shelf.sent(end, known, new));
            for (number, memory) in new {
                self.session.forget_with(memory, *number);
            }
        }
        Ok(())
    }

    /// Sends a message that was encoded before, if that can be now.
    #[cfg(feature = "rpc")]
    pub(crate) fn try_send_going(
        &mut self,
        bytes: &[u8],
        going: &Going,
    ) -> Result<(), TrySendError> {
        let fds: Vec<_> = going.fds.iter().map(AsFd::as_fd).collect();
        Ok(self.send_bytes(bytes, &fds, &going.known, &going.new, When::Now)?)
    }

    /// Sends a message with which nothing goes.
    fn send_alone(&mut self, bytes: &[u8], when: When) -> Result<(), Failed> {
        let peer = self.session.peer();
        match when {
            When::Now => {
                self.producer
                    .try_send(bytes, self.tag)
                    .map_err(|error| try_send_error(error, peer))?;
            }
            When::By(deadline) => {
                let sent = self.producer.send(bytes, self.tag, deadline);
                sent.map_err(|error| send_error(error, peer))?;
            }
        }
        Ok(())
    }

    /// Sends a message after what goes ahead of it.
    fn send_after(
        &mut self,
        pieces: &[IoSlice<'_>],
        count: NonZeroU16,
        list: &[Attached],
        fds: &[BorrowedFd<'_>],
        when: When,
    ) -> Result<(), Failed> {
        let (session, peer) = (self.session, self.session.peer());
        loop {
            let ahead = |position| session.send_ahead(position, list, fds);
            let sent = match when {
                When::Now => {
                    let sent = self.producer.try_send_with_fds(pieces, self.tag, count, ahead);
                    lane(sent, |error| try_send_error(error, peer).into())?
                }
                When::By(deadline) => {
                    let sent =
                        self.producer.send_with_fds(pieces, self.tag, count, deadline, ahead);
                    lane(sent, |error| send_error(error, peer).into())?
                }
            };
            match (sent, when) {
                (Ok(()), _) => return Ok(()),
                (Err(SendProblem::WouldBlock | SendProblem::NoMemory), When::Now) => {
                    *self.socket_full = true;
                    return Err(Failed::Full);
                }
                (Err(SendProblem::WouldBlock), When::By(deadline)) => {
                    self.wait_for_socket(deadline)?;
                }
                (Err(SendProblem::NoMemory), When::By(deadline)) => {
                    // The socket has room, so nothing is to be waited for but time.
                    thread::sleep(slice(deadline)?);
                    self.look_for_the_end()?;
                }
                (Err(problem), _) => return Err(self.failed(problem)),
            }
        }
    }

    /// Makes room for blobs that the peer does not know.
    fn make_room(
        &mut self,
        known: &[Numbered],
        new: &[Numbered],
        when: When,
    ) -> Result<(), Failed> {
        loop {
            match self.session.make_room(known, new) {
                Room::Now => return Ok(()),
                Room::Never => return Err(Failed::Blobs),
                Room::Read(end) => {
                    self.until_read(end, when)?;
                    self.session.with_shelf(|shelf| shelf.read(end));
                }
            }
        }
    }

    /// Waits until the peer has read everything before `end`.
    fn until_read(&mut self, end: u64, when: When) -> Result<(), Failed> {
        let peer = self.session.peer();
        match when {
            When::Now => match self.producer.has_read(end) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Failed::Full),
                Err(end) => Err(Failed::Ended(end_of(end, peer))),
            },
            When::By(deadline) => {
                let read = self.producer.wait_until_read(end, deadline);
                Ok(read.map_err(|error| send_error(error, peer))?)
            }
        }
    }

    /// The peer does not read its control socket, which an honest one need not do more often than it receives: looks
    /// again in a while.
    fn wait_for_socket(&mut self, deadline: Option<Instant>) -> Result<(), Failed> {
        let until = Instant::now() + slice(deadline)?;
        self.session.wait_for_socket(until).map_err(Failed::Fds)?;
        self.look_for_the_end()
    }

    fn look_for_the_end(&mut self) -> Result<(), Failed> {
        match self.producer.end() {
            Some(end) => Err(Failed::Ended(end_of(end, self.session.peer()))),
            None => Ok(()),
        }
    }

    fn failed(&mut self, problem: SendProblem) -> Failed {
        match problem {
            SendProblem::TooManyInFlight => Failed::InFlight,
            SendProblem::System(error) => Failed::Fds(error),
            SendProblem::Closed => {
                let end = self.producer.end().unwrap_or(memring_ring::End::HungUp);
                Failed::Ended(end_of(end, self.session.peer()))
            }
            other => Failed::Fds(io::Error::other(other)),
        }
    }
}

/// What goes with a message that was encoded and not sent.
#[cfg(feature = "rpc")]
pub(crate) struct Going {
    fds: Vec<Fd>,
    known: Vec<Numbered>,
    new: Vec<Numbered>,
}

#[cfg(feature = "rpc")]
impl Going {
    /// The blobs that the message names.
    pub(crate) fn blobs(&self) -> impl ExactSizeIterator<Item = u64> {
        let numbers: Vec<_> =
            self.known.iter().chain(&self.new).map(|(number, _)| *number).collect();
        numbers.into_iter()
    }
}

/// A way out that is no half of a channel any more: messages of any types, each with a tag.
#[cfg(feature = "rpc")]
pub(crate) struct Outbound {
    producer: Producer,
    session: Arc<Session>,
    under_way: UnderWay,
    socket_full: bool,
}

#[cfg(feature = "rpc")]
impl Outbound {
    pub(crate) fn of(sender: crate::sender::Sender<[u8]>) -> Self {
        let (producer, session, under_way) = sender.into_parts();
        Self { producer, session, under_way, socket_full: false }
    }

    #[inline]
    pub(crate) fn producer(&mut self) -> &mut Producer {
        &mut self.producer
    }

    /// Encodes what may carry something. It is to be sent next.
    pub(crate) fn encode(
        &self,
        scratch: &mut Scratch,
        encode: impl FnOnce(&mut Scratch, &mut dyn Attaches) -> Result<(), EncodeError>,
    ) -> Result<Going, EncodeError> {
        let mut along =
            Along { session: &self.session, fds: Vec::new(), known: Vec::new(), new: Vec::new() };
        encode(scratch, &mut along)?;
        let Along { fds, known, new, .. } = along;
        Ok(Going { fds, known, new })
    }

    /// Sends it, if that can be now.
    pub(crate) fn try_send(
        &mut self,
        bytes: &[u8],
        going: &Going,
        tag: u64,
    ) -> Result<(), TrySendError> {
        self.socket_full = false;
        let Self { producer, session, under_way, socket_full } = self;
        Post { producer, session, under_way, socket_full, tag }.try_send_going(bytes, going)
    }

    /// See [`Producer::try_send_on`].
    pub(crate) fn try_send_on(
        &mut self,
        bytes: &[u8],
        tag: u64,
        sent: &mut u64,
    ) -> Result<(), TrySendError> {
        self.socket_full = false;
        let went = self.producer.try_send_on(bytes, tag, sent);
        went.map_err(|error| try_send_error(error, self.session.peer()))
    }

    /// Waits until what had no room last may have it; the deadline at most.
    pub(crate) fn wait_for_room(&mut self, until: Instant) -> Result<(), SendError> {
        if self.socket_full {
            self.session.wait_for_socket(until).map_err(SendError::Fds)?;
        }
        let room = self.producer.wait_for_what_was_full(Some(until));
        room.map_err(|error| send_error(error, self.session.peer()))
    }
}

/// How long to look away, until the deadline at most.
fn slice(deadline: Option<Instant>) -> Result<Duration, Failed> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    match left.map_or(SLICE, |left| left.min(SLICE)) {
        Duration::ZERO => Err(Failed::TimedOut),
        slice => Ok(slice),
    }
}

/// What became of what went ahead, unless it was the lane that failed.
fn lane<L>(
    sent: Result<(), Unsent<L, SendProblem>>,
    failed: impl FnOnce(L) -> Failed,
) -> Result<Result<(), SendProblem>, Failed> {
    match sent {
        Ok(()) => Ok(Ok(())),
        Err(Unsent::Ahead(problem)) => Ok(Err(problem)),
        Err(Unsent::Lane(error)) => Err(failed(error)),
    }
}
