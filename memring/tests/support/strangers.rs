//! A client that anybody can start, and what to do with one: for tests of how processes meet.

use std::error::Error;
use std::io;
use std::path::Path;

use memring::{Bytes, Connector, Lanes, Listener, Policy, Protocol};

use super::{Helper, PATIENCE, Scratch, Stage, soon};

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

/// Two who meet with different protocols: both are told what both meant.
pub fn mismatch<Server: Protocol, Client: Protocol>(said: &[&str]) {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let listener = Listener::bind(&path).expect("binds");
    let connecting =
        std::thread::spawn(move || memring::connect::<Client>(&path).expect_err("not the same"));
    let incoming = listener.accept_deadline(soon()).expect("accepts");
    assert!(!incoming.speaks::<Server>());
    assert!(incoming.speaks::<Client>());
    let here = incoming.open::<Server>().expect_err("not the same");
    let there = connecting.join().unwrap();
    for error in [here, there] {
        let text = chain(&error);
        for part in said {
            assert!(text.contains(part), "{part:?} in {text:?}");
        }
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionRefused);
    }
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
