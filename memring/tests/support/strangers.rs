//! A client that anybody can start, and what to do with one: for tests of how processes meet.

use std::error::Error;
use std::path::Path;

use memring::{Bytes, Connector, Lanes, Listener, Policy};

use super::{Helper, PATIENCE, Stage, soon};

/// An error and everything behind it.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Connects, says how that went, and exchanges one message.
pub fn client(stage: &Stage) {
    let connected = Connector::new()
        .lanes(Lanes::Small, Lanes::Small)
        .policy(Policy::any_uid())
        .timeout(PATIENCE)
        .connect::<Bytes>(stage.path());
    match connected {
        Ok(mut channel) => {
            channel.send(b"hello").expect("sends");
            assert_eq!(&*channel.recv_deadline(soon()).expect("an answer"), b"hello");
            stage.say("answered");
        }
        Err(error) => stage.say(chain(&error)),
    }
}

pub fn start_client(path: &Path) -> Helper {
    Helper::start("client", &[("path", &path.display())])
}

/// Answers one client.
pub fn answer(listener: &Listener) {
    let incoming = listener.accept_deadline(soon()).expect("accepts");
    let mut channel = incoming.open::<Bytes>().expect("opens");
    let message = channel.recv_deadline(soon()).expect("a message").to_vec();
    channel.send(&message).expect("sends");
}
