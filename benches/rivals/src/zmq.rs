//! ZeroMQ: a pair of sockets over a Unix socket, with a thread for input and output at each end.
//!
//! A message is written in memory the library allocates, and read where it lies. The library's queues, one at
//! each end, have half the room each; it gathers small messages by itself.

use std::path::Path;

use memring_benches::link::{Contender, Open, Side, Terms, Waiting};
use memring_benches::{Failed, Link, payload};
use zmq::{Context, DONTWAIT, Error, Message, Socket};

use crate::helpers;

/// Asleep, or asking again and again.
pub const ALL: &[Contender] = &[Contender {
    name: "ZeroMQ",
    version: "zmq 0.10.0, libzmq 4.3.4",
    can: crate::spins_or_sleeps,
    open: Open::Processes(|terms, side, at| {
        Ok(Box::new(helpers::start(terms, || End::meet(terms, side, &at))?))
    }),
}];

struct End {
    socket: Socket,
    incoming: Message,
    size: usize,
    flags: i32,
}

impl End {
    /// How long a socket may take to send what was left to it, when it is closed.
    const LINGER_MS: i32 = 1000;

    fn meet(terms: &Terms, side: Side, at: &Path) -> Result<Self, Failed> {
        let socket = Context::new().socket(zmq::PAIR)?;
        let room = terms.room.messages(terms.size).div_ceil(2) as i32;
        socket.set_sndhwm(room)?;
        socket.set_rcvhwm(room)?;
        socket.set_linger(Self::LINGER_MS)?;
        let address = format!("ipc://{}/socket", at.display());
        match side {
            Side::Near => socket.connect(&address)?,
            Side::Far => socket.bind(&address)?,
        }
        let flags = if terms.wait == Waiting::Spin { DONTWAIT } else { 0 };
        Ok(Self { socket, incoming: Message::new(), size: terms.size, flags })
    }
}

impl Link for End {
    // Sleeps while the queue is full, whatever the terms: a message that is refused is lost, and would have to be
    // written again.
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        let mut message = Message::with_size(self.size);
        payload::write(&mut message, number);
        Ok(self.socket.send(message, 0)?)
    }

    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        loop {
            match self.socket.recv(&mut self.incoming, self.flags) {
                Ok(()) => return payload::read(&self.incoming, number),
                Err(Error::EAGAIN) => std::hint::spin_loop(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
