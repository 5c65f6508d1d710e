//! ipc-channel: channels between processes over Unix sockets, as Servo uses them.
//!
//! A channel each way: of words, which it serialises, or of bytes as they are. It lends no memory. Its receiver
//! sleeps in the kernel, or asks it again and again.

use std::path::Path;

use ipc_channel::TryRecvError;
use ipc_channel::ipc::{self, IpcBytesReceiver, IpcBytesSender, IpcOneShotServer};
use ipc_channel::ipc::{IpcReceiver, IpcSender};
use memring_benches::link::{Contender, Open, Side, Terms, Waiting};
use memring_benches::payload::{self, WORD, word};
use memring_benches::{Failed, Link};
use serde::{Deserialize, Serialize};

use crate::meet::{find, leave};
use crate::words;

const VERSION: &str = "ipc-channel 0.23.1";

/// What it serialises, and what it carries as it is.
pub const ALL: &[Contender] = &[
    Contender {
        name: "ipc-channel",
        version: VERSION,
        can: crate::spins_or_sleeps,
        open: Open::Processes(|terms, side, at| {
            let (outgoing, incoming) = meet(side, &at, ipc::channel)?;
            let (words, spin) = ((terms.size / WORD) as u64, spins(terms));
            Ok(Box::new(Typed { outgoing, incoming, words, spin }))
        }),
    },
    Contender {
        name: "ipc-channel, bytes",
        version: VERSION,
        can: crate::spins_or_sleeps,
        open: Open::Processes(|terms, side, at| {
            let (outgoing, incoming) = meet(side, &at, ipc::bytes_channel)?;
            let (bytes, spin) = (vec![0; terms.size], spins(terms));
            Ok(Box::new(Bytes { outgoing, incoming, bytes, spin }))
        }),
    },
];

fn spins(terms: &Terms) -> bool {
    terms.wait == Waiting::Spin
}

/// The near end makes both channels and sends one end of each through the far end's server.
fn meet<S, R>(
    side: Side,
    at: &Path,
    channel: fn() -> std::io::Result<(S, R)>,
) -> Result<(S, R), Failed>
where
    S: Serialize + for<'de> Deserialize<'de>,
    R: Serialize + for<'de> Deserialize<'de>,
{
    let server = at.join("server");
    match side {
        Side::Near => {
            let (outgoing, there) = channel()?;
            let (back, incoming) = channel()?;
            IpcSender::connect(find(&server)?)?.send((there, back))?;
            Ok((outgoing, incoming))
        }
        Side::Far => {
            let (one_shot, name) = IpcOneShotServer::<(R, S)>::new()?;
            leave(&server, &name)?;
            let (_, (incoming, outgoing)) = one_shot.accept()?;
            Ok((outgoing, incoming))
        }
    }
}

/// Asks until there is a message.
fn spin_for<T>(ask: impl Fn() -> Result<T, TryRecvError>) -> Result<T, Failed> {
    loop {
        match ask() {
            Err(TryRecvError::Empty) => std::hint::spin_loop(),
            outcome => return Ok(outcome?),
        }
    }
}

struct Typed {
    outgoing: IpcSender<Vec<u64>>,
    incoming: IpcReceiver<Vec<u64>>,
    words: u64,
    spin: bool,
}

impl Link for Typed {
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        Ok(self.outgoing.send((0..self.words).map(|index| word(number, index)).collect())?)
    }

    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        let incoming = &self.incoming;
        let message =
            if self.spin { spin_for(|| incoming.try_recv())? } else { incoming.recv()? };
        words::read(&message, number)
    }
}

struct Bytes {
    outgoing: IpcBytesSender,
    incoming: IpcBytesReceiver,
    bytes: Vec<u8>,
    spin: bool,
}

impl Link for Bytes {
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        payload::write(&mut self.bytes, number);
        Ok(self.outgoing.send(&self.bytes)?)
    }

    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        let incoming = &self.incoming;
        let message =
            if self.spin { spin_for(|| incoming.try_recv())? } else { incoming.recv()? };
        payload::read(&message, number)
    }
}
