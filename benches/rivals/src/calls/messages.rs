//! memring's typed messages, one type there and back, with nothing of calls about them.
//!
//! Lanes are of the default size. Waiting is by default adaptive, which spins before it sleeps; everybody else here
//! sleeps in the kernel, and so it is beside them asleep too.

use std::path::Path;
use std::time::Duration;

use memring::{Channel, Connector, Listener, Protocol, Receiver, RecvError, Sender, Wait};
use memring_benches::Failed;

use super::batches::{self, Caller, Carrier};
use super::{Client, Contender, Words};

const VERSION: &str = memring_benches::ours::ALL[0].version;

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

const SOCKET: &str = "memring.sock";
/// How long the client waits for its server.
const PATIENCE: Duration = Duration::from_secs(10);

fn serve(at: &Path, wait: Wait) -> Result<(), Failed> {
    let listener = Listener::builder().wait(wait).bind(at.join(SOCKET))?;
    batches::serve(End::of(listener.accept()?.open::<Messages>()?))
}

fn connect(at: &Path, wait: Wait) -> Result<Client, Failed> {
    let connector = Connector::new().wait_for_service().timeout(PATIENCE).wait(wait);
    Ok(Box::new(Caller::over(End::of(connector.connect::<Messages>(at.join(SOCKET))?))))
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
