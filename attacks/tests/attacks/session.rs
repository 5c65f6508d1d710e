//! The victim in a test's own hands: what several tests do with their end of a session.

use std::thread::JoinHandle;
use std::time::Instant;

use memring::{Bytes, End, RecvError, ServerEnd, TrySendError};

use crate::in_hand::InHand;
use crate::support::{eventually, soon};

/// Lanes that a few messages fill, with frames of at most [`LARGEST`] bytes of payload.
pub const SMALL: &str = "to_accepting=4096 to_connecting=4096";
pub const LARGEST: usize = 1008;

/// Why an attack is none on a hub: the victim calls nothing but what a hub has no part in.
pub const NO_WAIT: &str = "nothing waits";

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
pub fn drain(victim: &mut InHand) -> (Vec<Vec<u8>>, Option<End>) {
    let mut messages = Vec::new();
    loop {
        match victim.recv_deadline(soon()) {
            Ok(message) => messages.push(message),
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

/// How often a value that the peer toggles was seen to differ from the time before.
pub struct Flips {
    looks: u32,
    most: u32,
    flips: u32,
    last: Option<bool>,
    give_up: Instant,
}

impl Flips {
    /// None yet, and so many looks at most.
    pub fn new(most: u32) -> Self {
        Self { looks: 0, most, flips: 0, last: None, give_up: soon() }
    }

    /// What a look saw.
    pub fn saw(&mut self, value: bool) {
        self.looks += 1;
        self.flips += u32::from(self.last.is_some_and(|last| last != value));
        self.last = Some(value);
    }

    /// Until it changed often enough that some changes fell between any two steps of ours; or looked at often
    /// enough where both take turns on one processor, which must have shown both values.
    #[track_caller]
    pub fn go_on(&self) -> bool {
        assert!(Instant::now() < self.give_up, "it changed {} times", self.flips);
        self.flips < 2 || self.flips < 5000 && self.looks < self.most
    }
}
