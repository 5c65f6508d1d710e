//! One connection: its socket, the good messages that went and came, the descriptors, and the
//! lanes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::answer::Failure;
use crate::deadline::Deadline;
use crate::lane::Lanes;
use crate::segment::Map;
use crate::socket::{self, Ancillary, Packet};
use crate::wire::{self, Message};

/// A control socket and what is known of its session.
pub struct Connection {
    socket: OwnedFd,
    sent: Vec<Message>,
    received: Vec<Message>,
    /// The descriptors that came last: `fd0` and so on.
    pub fds: Vec<OwnedFd>,
    /// As a server: S, mapped before its last seals.
    pub own: Option<Arc<Map>>,
    /// The channel, once it stands.
    pub lanes: Option<Lanes>,
}

/// What can be kept of a session that has ended: mappings and descriptors.
pub struct Remains {
    _maps: (Option<Arc<Map>>, Option<Lanes>),
    _fds: Vec<OwnedFd>,
}

/// What a packet was.
pub struct Arrival {
    /// The message, or the first rule that it breaks.
    pub message: Result<Message, &'static str>,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// How many descriptors came with it.
    pub fds: usize,
    /// Bytes or descriptors were cut off.
    pub cut: bool,
}

impl Connection {
    /// A connection on which nothing was said.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            sent: Vec::new(),
            received: Vec::new(),
            fds: Vec::new(),
            own: None,
            lanes: None,
        }
    }

    /// Closes the socket and keeps the rest.
    pub fn without_socket(self) -> Remains {
        Remains { _maps: (self.own, self.lanes), _fds: self.fds }
    }

    /// Its socket.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends a packet and remembers it if it was a good message.
    pub fn send(
        &mut self,
        bytes: &[u8],
        with: &Ancillary,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        socket::send(self.socket(), bytes, with, deadline)?;
        self.sent.extend(wire::parse(bytes));
        Ok(())
    }

    /// Reads a packet: `None` is the end. Its descriptors take the place of those that came before.
    pub fn recv(&mut self, deadline: Deadline) -> Result<Option<Arrival>, Failure> {
        let Some(Packet { bytes, fds, cut }) = socket::recv(self.socket(), deadline)? else {
            return Ok(None);
        };
        let message = wire::parse(&bytes);
        let arrival = Arrival { message: message.clone(), bytes, fds: fds.len(), cut };
        self.received.extend(message);
        if !fds.is_empty() {
            self.fds = fds;
        }
        Ok(Some(arrival))
    }

    /// The last good message of that name that we sent.
    pub fn sent(&self, name: &str) -> Option<&Message> {
        self.sent.iter().rev().find(|m| m.name == name)
    }

    /// The last good message of that name that came.
    pub fn received(&self, name: &str) -> Option<&Message> {
        self.received.iter().rev().find(|m| m.name == name)
    }

    /// The last good message of that name, whoever sent it.
    pub fn either(&self, name: &str) -> Option<&Message> {
        self.sent(name).or_else(|| self.received(name))
    }

    /// The lanes and the socket, if the channel stands.
    pub fn channel(&mut self) -> Result<(&mut Lanes, BorrowedFd<'_>), Failure> {
        let lanes = self.lanes.as_mut().ok_or_else(|| Failure::usage("no channel stands"))?;
        Ok((lanes, self.socket.as_fd()))
    }
}
