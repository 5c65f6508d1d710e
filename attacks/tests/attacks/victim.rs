//! The victim in a test's own hands: what several tests do with their end of a session.

use std::thread::JoinHandle;

use memring::{Bytes, End, RecvError, ServerEnd, TrySendError};

use crate::support::{eventually, soon};

/// Lanes that a few messages fill, with frames of at most [`LARGEST`] bytes of payload.
pub const SMALL: &str = "to_accepting=4096 to_connecting=4096";
pub const LARGEST: usize = 1008;

/// Sends until there is no room; how many messages that were.
pub fn fill(victim: &mut ServerEnd<Bytes>, message: &[u8]) -> u64 {
    let mut sent = 0;
    loop {
        match victim.try_send(message) {
            Ok(()) => sent += 1,
            Err(TrySendError::Full) => return sent,
            Err(other) => panic!("{other}"),
        }
    }
}

/// The messages that come before the end of the session, and that end.
pub fn drain(victim: &mut ServerEnd<Bytes>) -> (Vec<Vec<u8>>, Option<End>) {
    let mut messages = Vec::new();
    loop {
        match victim.recv_deadline(soon()) {
            Ok(message) => messages.push(message.to_vec()),
            Err(RecvError::Ended(end)) => return (messages, Some(end)),
            Err(_) => return (messages, None),
        }
    }
}

/// What a thread comes to, which must not take for ever.
#[track_caller]
pub fn in_time<T>(thread: JoinHandle<T>) -> T {
    eventually("the victim's call returns", || thread.is_finished());
    thread.join().expect("no panic")
}
