//! memring's typed messages, one type there and back, with nothing of calls about them.
//!
//! Lanes are of the default size. Waiting is by default adaptive, which spins before it sleeps; everybody else here
//! sleeps in the kernel, and so it is beside them asleep too.

use std::path::Path;

use memring::{Channel, Protocol, Receiver, RecvError, Sender, Wait};
use memring_benches::Failed;

use super::batches::{self, Caller, Carrier};
use super::ours::{self, VERSION};
use super::{Client, Contender, Words};

/// As it is by default, and asleep.
pub const ALL: &[Contender] = &[
    Contender {
        name: "memring, messages",
        version: VERSION,
        serve: |_, at| serve(at, Wait::Adaptive),
        connect: |_, at| connect(at, Wait::Adaptive),
    },
    Contender {
        name: "memring, messages, park",
        version: VERSION,
        serve: |_, at| serve(at, Wait::Park),
        connect: |_, at| connect(at, Wait::Park),
    },
];

/// An argument, or an answer.
#[memring::message]
#[derive(Clone, Copy)]
pub struct Message {
    words: Words,
}

struct Messages;

impl Protocol for Messages {
    const NAME: &'static str = "calls";
    type ToClient = Message;
    type ToServer = Message;
}

fn serve(at: &Path, wait: Wait) -> Result<(), Failed> {
    batches::serve(End::of(ours::accept::<Messages>(at, wait)?))
}

fn connect(at: &Path, wait: Wait) -> Result<Client, Failed> {
    Ok(Box::new(Caller::over(End::of(ours::connect::<Messages>(at, wait)?))))
}

struct End {
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    outgoing: Vec<Message>,
}

impl End {
    fn of(channel: Channel<Message, Message>) -> Self {
        let (sender, receiver) = channel.split();
        Self { sender, receiver, outgoing: Vec::new() }
    }
}

impl Carrier for End {
    fn send(&mut self, words: &[Words]) -> Result<(), Failed> {
        match *words {
            [words] => self.sender.send(&Message { words })?,
            _ => {
                self.outgoing.clear();
                self.outgoing.extend(words.iter().map(|words| Message { words: *words }));
                self.sender.send_all(&self.outgoing)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, into: &mut Vec<Words>) -> Result<bool, Failed> {
        let each = |message: memring::View<'_, Message>| {
            into.push(message.words.map(|word| word.to_native()));
        };
        match self.receiver.recv_each(each) {
            Ok(_) => Ok(true),
            Err(RecvError::Ended(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
