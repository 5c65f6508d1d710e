//! Arming: waiting in an event loop, and never missing what was published meanwhile.
//!
//! A half that is armed sleeps in no futex. Its owner waits for a descriptor to become readable, and the peer, after its
//! next publish, rings a doorbell over the control socket, which makes it so. As in [`crate::wait`] the owner says that
//! it waits, passes a heavy fence and looks; and the peer publishes, passes a light one and looks.
//!
//! | step | who | what |
//! |---|---|---|
//! | E1 | owner | publishes what it holds back, and stores the sleep word: a new epoch, and that a doorbell is wanted |
//! | E2 | owner | heavy fence ([`Life::fence`](crate::Life::fence)), one for any number of halves |
//! | E3 | owner | looks at each half: what was published before the fence is seen here |
//! | E4 | owner | waits, if no look has found anything; otherwise it takes E1 back |
//! | E5 | peer | after its publish finds the word, and rings, once an epoch |
//!
//! A doorbell is a hint: what it is about, the lane says. One that comes after its epoch costs a turn of the loop.
//!
//! Not here: the descriptor, and reading the control socket before E1.

use std::time::Duration;

use crate::consumer::Consumer;
use crate::producer::Producer;
use crate::step::{self, Step};
use crate::sync::mutant;
use crate::wait::Look;

impl Consumer {
    /// Wants a doorbell for the next message: E1. What was received is published before.
    pub fn ask_doorbell(&mut self) {
        if self.reader.life().is_forked() {
            return;
        }
        self.reader.release_lent();
        self.reader.cursor.publish();
        self.heads.publish_all();
        self.post.place(&self.heads).ask_doorbell(self.reader.cursor.shared().next_bell());
    }

    /// Whether a receive would find something, a message, part of one or an end: E3.
    #[must_use]
    pub fn has_something(&self) -> bool {
        step::at(Step::E3);
        !mutant("arm-without-look") && self.reader.has_something()
    }

    /// Spins as the waits of this half do before they sleep, but not longer than `most`. Whether something came.
    pub fn spin(&mut self, most: Duration) -> bool {
        let Self { sleeper, reader, .. } = self;
        !reader.life().is_forked() && sleeper.spin(most, || reader.has_something())
    }

    /// Wants no doorbell any more.
    pub fn take_back_doorbell(&self) {
        if !self.reader.life().is_forked() {
            self.post.place(&self.heads).take_back();
        }
    }
}

impl Producer {
    /// Wants a doorbell when room comes free: E1. An open pack is published before.
    pub fn ask_doorbell(&mut self) {
        if self.writer.is_forked() {
            return;
        }
        self.writer.close_pack();
        self.heads.publish_all();
        self.post.place(&self.heads).ask_doorbell(self.sleeper.next_epoch());
    }

    /// Whether what had no room last would have it now, or there is an end: E3. True if nothing was refused yet.
    pub fn has_room(&mut self) -> bool {
        step::at(Step::E3);
        if mutant("arm-without-look") {
            return false;
        }
        let writer = &mut self.writer;
        match writer.alive() {
            Ok(()) => matches!(writer.room(writer.wanted), Ok(Look::Ready(())) | Err(_)),
            Err(_) => true,
        }
    }

    /// Wants no doorbell any more.
    pub fn take_back_doorbell(&self) {
        if !self.writer.is_forked() {
            self.post.place(&self.heads).take_back();
        }
    }
}
