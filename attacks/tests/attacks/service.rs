//! What a server does with a session of the attacker's, whichever way it waits for it; and how it does that with a thread that
//! blocks. How it does that in a hub is in `hub.rs`.

use std::fmt::Display;
use std::os::fd::OwnedFd;

use memring::{Bytes, End, Protocol, RecvError, SendError, ServerEnd, TryRecvError, View};

use crate::support::soon;

/// What is said in a session of this protocol.
pub struct Service<P: Protocol<ToClient = [u8]>> {
    /// Messages before the first is received.
    pub begin: fn(&mut ServerEnd<P>) -> Vec<Vec<u8>>,
    /// Receives one message, if one is there, and says what is answered, if anything is.
    pub answer: Answer<P>,
}

pub type Answer<P> = fn(&mut ServerEnd<P>, How) -> Result<Option<Vec<u8>>, End>;

/// How a message is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// When it comes.
    Waiting,
    /// If it is there.
    Now,
}

impl<P: Protocol<ToClient = [u8]>> Service<P> {
    /// One that says nothing by itself.
    pub const fn of(answer: Answer<P>) -> Self {
        Self { begin: |_| Vec::new(), answer }
    }

    /// Serves a session in this thread, to its end.
    pub fn serve(&self, mut channel: ServerEnd<P>) -> End {
        self.serve_on(&mut channel).expect_err("it goes on until the end")
    }

    fn serve_on(&self, channel: &mut ServerEnd<P>) -> Result<(), End> {
        for message in (self.begin)(channel) {
            send::<P>(channel, &message)?;
        }
        loop {
            if let Some(answer) = (self.answer)(channel, How::Waiting)? {
                send::<P>(channel, &answer)?;
            }
        }
    }
}

impl<P: Protocol<ToClient = [u8]>> Clone for Service<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Protocol<ToClient = [u8]>> Copy for Service<P> {}

/// Sends back what comes.
pub const ECHO: Service<Bytes> =
    Service::of(|channel, how| Ok(receive::<Bytes>(channel, how)?.map(|message| message.to_vec())));

/// The next message.
pub fn receive<P: Protocol>(
    channel: &mut ServerEnd<P>,
    how: How,
) -> Result<Option<View<'_, P::ToServer>>, End> {
    match how {
        How::Waiting => came(channel.recv()),
        How::Now => came_now(channel.try_recv()),
    }
}

/// A message, and the descriptors that came with it.
pub type WithFds<'a> = (View<'a, [u8]>, Vec<OwnedFd>);

/// The next message with its descriptors.
pub fn receive_with_fds(
    channel: &mut ServerEnd<Bytes>,
    how: How,
) -> Result<Option<WithFds<'_>>, End> {
    match how {
        How::Waiting => came(channel.recv_with_fds()),
        How::Now => came_now(channel.halves().1.try_recv_with_fds()),
    }
}

fn came<T>(received: Result<T, RecvError>) -> Result<Option<T>, End> {
    match received {
        Ok(message) => Ok(Some(message)),
        Err(RecvError::Ended(end)) => Err(end),
        Err(other) => never(other),
    }
}

fn came_now<T>(received: Result<T, TryRecvError>) -> Result<Option<T>, End> {
    match received {
        Ok(message) => Ok(Some(message)),
        Err(TryRecvError::Empty) => Ok(None),
        Err(TryRecvError::Ended(end)) => Err(end),
        Err(other) => never(other),
    }
}

fn send<P: Protocol<ToClient = [u8]>>(
    channel: &mut ServerEnd<P>,
    message: &[u8],
) -> Result<(), End> {
    match channel.send_deadline(message, soon()) {
        Ok(()) => Ok(()),
        Err(SendError::Ended(end)) => Err(end),
        Err(other) => never(other),
    }
}

fn never<T>(other: impl Display) -> T {
    panic!("{other}")
}
