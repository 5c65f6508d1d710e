//! A lookout: what an event loop keeps of each of thousands of consumers, to see which has something.
//!
//! The consumer itself is somebody else's, who receives in the same thread. The lookout looks at the header that the consumer
//! will read next, and no further; what that is, the consumer judges. It arms in its place, by the steps of [`crate::arm`],
//! and takes its head out of [`Heads`] while nothing is received: there every head is looked at before every wait of the
//! process.

use crate::consumer::Consumer;
use crate::frame::{Header, Kind};
use crate::heads::{Head, Heads, Left, RX_ASLEEP};
use crate::life::{End, Life};
use crate::step::{self, Step};
use crate::sync::{Arc, Ordering, Region, mutant};
use crate::wait::Place;

/// What is to be seen of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// There is nothing to receive now.
    Nothing,
    /// A receive would find something: a message, part of one, a fault.
    Something,
    /// Nothing is left to receive, and nothing will come.
    Ended(End),
}

/// Sees whether one consumer has something. To be used where that is: by the thread that receives, between its receives.
pub struct Lookout {
    head: Arc<Head>,
    heads: Arc<Heads>,
    data: Region,
    mine: Region,
    life: Arc<Life>,
}

impl Consumer {
    /// A lookout for this one. Of several, one arms.
    #[must_use]
    pub fn lookout(&self) -> Lookout {
        Lookout {
            head: Arc::clone(self.reader.cursor.shared()),
            heads: Arc::clone(&self.heads),
            data: self.post.shared.clone(),
            mine: self.post.mine.clone(),
            life: Arc::clone(&self.post.life),
        }
    }
}

impl Lookout {
    /// Looks: E3, between asking for a doorbell and waiting. What is lent in place was received
    /// already.
    #[inline]
    #[must_use]
    pub fn sight(&self) -> Sight {
        step::at(Step::E3);
        if mutant("lookout-without-look") {
            return Sight::Nothing;
        }
        // Before the lane: what the peer published before its end is seen then.
        let open = self.life.is_open();
        if !open && (self.life.is_over() || self.life.is_forked()) {
            return self.ended();
        }
        // What the consumer has said that it ended is not looked at any more, whatever the peer still writes there.
        if self.head.has_left(Left::End) {
            return Sight::Ended(End::Closed);
        }
        if self.head.has_left(Left::Over) {
            return self.ended();
        }
        if self.head.has_left(Left::Messages) {
            return Sight::Something;
        }
        // ORDERING: Relaxed; the consumer loads it again, to read what lies behind it.
        let word = self.data.frame(self.head.next()).load_header(Ordering::Relaxed);
        if word as u32 != 0 {
            let end = word == Header::new(Kind::End, 0).word();
            return if end { Sight::Ended(End::Closed) } else { Sight::Something };
        }
        if open { Sight::Nothing } else { self.ended() }
    }

    #[cold]
    fn ended(&self) -> Sight {
        Sight::Ended(self.life.end().unwrap_or(End::HungUp))
    }

    /// Wants a doorbell for the next message: E1. What was received is published before.
    pub fn ask_doorbell(&self) {
        if !self.life.is_forked() {
            self.head.publish();
            self.place().ask_doorbell(self.head.next_bell());
        }
    }

    /// Wants no doorbell any more.
    pub fn take_back_doorbell(&self) {
        if !self.life.is_forked() {
            self.place().take_back();
        }
    }

    fn place(&self) -> Place<'_> {
        let Self { heads, data, mine, life, .. } = self;
        Place { life, heads, shared: data, mine, asleep: RX_ASLEEP }
    }

    /// Nothing is received for now: waits of this process need not look at its head. It is published.
    pub fn rest(&self) {
        if !self.life.is_forked() {
            self.head.publish();
            self.heads.remove(&self.head);
        }
    }

    /// Something may be received again: called before it is.
    pub fn resume(&self) {
        if !self.life.is_forked() {
            self.heads.add(&self.head);
        }
    }

    /// What the consumer shares with its session.
    #[must_use]
    pub fn life(&self) -> &Life {
        &self.life
    }
}

impl std::fmt::Debug for Lookout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookout").field("sight", &self.sight()).finish_non_exhaustive()
    }
}
