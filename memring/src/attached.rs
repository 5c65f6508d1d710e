//! Messages that carry more than bytes, on their way out: file descriptors go ahead, over the control socket.

use std::any::Any;
use std::io::{self, IoSlice};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memring_codec::attached::{Attaches, NoPlace};
use memring_codec::{Encoder, Fd, Format, Message, Scratch};
use memring_ring::Unsent;
use memring_ring::producer::Producer;
use memring_transport::Session;
use memring_transport::attachments::UnderWay;
use memring_transport::control::Attached;
use memring_transport::socket::SendProblem;

use crate::carry::KEEP;
use crate::error::{SendError, TrySendError, end_of, send_error, try_send_error};

/// How long a sender looks away while the peer's control socket is full.
const SLICE: Duration = Duration::from_millis(10);

/// What a message carries, as it is encoded.
#[derive(Default)]
struct Along {
    fds: Vec<Fd>,
}

impl Attaches for Along {
    fn fd(&mut self, fd: &Fd) -> Result<u32, NoPlace> {
        // How many the peer takes is asked once all are known, and an archive has less than 2^32 of them.
        self.fds.push(fd.clone());
        Ok(self.fds.len() as u32 - 1)
    }

    fn blob(&mut self, _: &Arc<dyn Any + Send + Sync>) -> Result<u64, NoPlace> {
        Err(NoPlace::Blobs)
    }
}

/// The way out of messages that carry something.
pub(crate) struct Post<'a> {
    pub producer: &'a mut Producer,
    pub session: &'a Session,
    pub under_way: &'a mut UnderWay,
}

impl Post<'_> {
    /// Sends a message with everything it names, waiting until the deadline, if there is one.
    pub(crate) fn send<T: Message + ?Sized>(
        &mut self,
        message: &T,
        scratch: &mut Scratch,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let along = encode(message, scratch).map_err(SendError::of_encoding)?;
        let fds: Vec<_> = along.fds.iter().map(AsFd::as_fd).collect();
        let sent = self.send_with_fds(&[IoSlice::new(scratch)], &fds, deadline);
        scratch.clear_and_shrink(KEEP);
        sent
    }

    /// As [`send`](Self::send), if that can be now.
    pub(crate) fn try_send<T: Message + ?Sized>(
        &mut self,
        message: &T,
        scratch: &mut Scratch,
    ) -> Result<(), TrySendError> {
        let along = encode(message, scratch).map_err(TrySendError::of_encoding)?;
        let fds: Vec<_> = along.fds.iter().map(AsFd::as_fd).collect();
        let sent = self.try_send_with_fds(&[IoSlice::new(scratch)], &fds);
        scratch.clear_and_shrink(KEEP);
        sent
    }

    /// Sends bytes and descriptors, waiting until the deadline, if there is one.
    pub(crate) fn send_with_fds(
        &mut self,
        pieces: &[IoSlice<'_>],
        fds: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let peer = self.session.peer();
        let Some(count) = count(fds, self.under_way)
            .map_err(|(count, most)| SendError::TooManyFds { count, most })?
        else {
            let sent = self.producer.send_vectored(pieces, 0, deadline);
            return sent.map_err(|error| send_error(error, peer));
        };
        if let Some(end) = self.under_way.waits_for(count.get()) {
            let read = self.producer.wait_until_read(end, deadline);
            read.map_err(|error| send_error(error, peer))?;
            self.under_way.received(end);
        }
        let list = vec![Attached::FD; fds.len()];
        loop {
            let ahead = |position| self.session.send_ahead(position, &list, fds);
            match self.producer.send_with_fds(pieces, 0, count, deadline, ahead) {
                Ok(()) => break,
                Err(Unsent::Lane(error)) => return Err(send_error(error, peer)),
                Err(Unsent::Ahead(SendProblem::WouldBlock | SendProblem::NoMemory)) => {
                    self.wait_for_socket(deadline)?;
                }
                Err(Unsent::Ahead(problem)) => {
                    return Err(match self.problem(problem) {
                        Problem::Ended(end) => SendError::Ended(end),
                        Problem::InFlight => SendError::FdsInFlight,
                        Problem::Io(error) => SendError::Fds(error),
                    });
                }
            }
        }
        self.under_way.sent(self.producer.position(), count.get());
        Ok(())
    }

    /// As [`send_with_fds`](Self::send_with_fds), if that can be now.
    pub(crate) fn try_send_with_fds(
        &mut self,
        pieces: &[IoSlice<'_>],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), TrySendError> {
        let peer = self.session.peer();
        let Some(count) = count(fds, self.under_way)
            .map_err(|(count, most)| TrySendError::TooManyFds { count, most })?
        else {
            let sent = self.producer.try_send_vectored(pieces, 0);
            return sent.map_err(|error| try_send_error(error, peer));
        };
        if let Some(end) = self.under_way.waits_for(count.get()) {
            let read = self.producer.has_read(end);
            if !read.map_err(|end| TrySendError::Ended(end_of(end, peer)))? {
                return Err(TrySendError::Full);
            }
            self.under_way.received(end);
        }
        let list = vec![Attached::FD; fds.len()];
        let ahead = |position| self.session.send_ahead(position, &list, fds);
        match self.producer.try_send_with_fds(pieces, 0, count, ahead) {
            Ok(()) => {}
            Err(Unsent::Lane(error)) => return Err(try_send_error(error, peer)),
            Err(Unsent::Ahead(SendProblem::WouldBlock | SendProblem::NoMemory)) => {
                return Err(TrySendError::Full);
            }
            Err(Unsent::Ahead(problem)) => {
                return Err(match self.problem(problem) {
                    Problem::Ended(end) => TrySendError::Ended(end),
                    Problem::InFlight => TrySendError::FdsInFlight,
                    Problem::Io(error) => TrySendError::Fds(error),
                });
            }
        }
        self.under_way.sent(self.producer.position(), count.get());
        Ok(())
    }

    /// The peer does not read its control socket, which an honest one need not do more often than it receives: looks
    /// again in a while.
    fn wait_for_socket(&mut self, deadline: Option<Instant>) -> Result<(), SendError> {
        let now = Instant::now();
        let slice =
            deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(now).min(SLICE));
        if slice.is_zero() {
            return Err(SendError::TimedOut);
        }
        self.session.wait_for_socket(now + slice).map_err(SendError::Fds)?;
        match self.producer.end() {
            Some(end) => Err(SendError::Ended(end_of(end, self.session.peer()))),
            None => Ok(()),
        }
    }

    fn problem(&mut self, problem: SendProblem) -> Problem {
        match problem {
            SendProblem::TooManyInFlight => Problem::InFlight,
            SendProblem::System(error) => Problem::Io(error),
            SendProblem::Closed => {
                let end = self.producer.end().unwrap_or(memring_ring::End::HungUp);
                Problem::Ended(end_of(end, self.session.peer()))
            }
            other => Problem::Io(io::Error::other(other)),
        }
    }
}

enum Problem {
    Ended(crate::End),
    InFlight,
    Io(io::Error),
}

fn encode<T: Message + ?Sized>(
    message: &T,
    scratch: &mut Scratch,
) -> Result<Along, memring_codec::EncodeError> {
    let mut along = Along::default();
    scratch.clear();
    T::Format::encode_with(message, &mut Encoder::new(scratch), &mut along)?;
    Ok(along)
}

/// How many there are, if any; or how many too many, and how many the peer takes.
fn count(fds: &[BorrowedFd<'_>], under_way: &UnderWay) -> Result<Option<NonZeroU16>, (usize, u16)> {
    match u16::try_from(fds.len()) {
        Ok(count) if count <= under_way.most() => Ok(NonZeroU16::new(count)),
        _ => Err((fds.len(), under_way.most())),
    }
}
