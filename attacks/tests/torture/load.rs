//! The load: messages that both sides can make anew, sent in every way there is, checked to the last byte.
//!
//! A message is cut from noise that both sides have, at a place and of a size that follow from the seed and
//! its number. So its number need not be in it, which an empty message has no room for: at each number only
//! one sequence of bytes is right, and bytes of any other message, older or younger, are not.

use std::io::IoSlice;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use memring::{End, Polled, RecvError, SendError, Sender, Slot, TrySendError};

use super::half::{Half, Rx, Tx, send_in_loop};
use super::ledger::Ledger;
use super::random::mix;
use super::support::soon;
use super::wrong::Wrong;

/// Whole frames of a lane of 16 KiB hold up to 4080 bytes; what is larger goes in parts.
const SIZES: [usize; 20] = [
    0, 1, 7, 8, 15, 16, 17, 40, 64, 100, 255, 256, 700, 1000, 4079, 4080, 4081, 9000, 20_000,
    40_000,
];
const NOISE: usize = 1 << 16;
/// Messages that one batch takes at most.
const BATCH: u64 = 4;

/// One direction of a round.
pub struct Load {
    seed: u64,
    noise: Vec<u8>,
    /// How many messages there are in all.
    pub messages: u64,
    /// How many messages a sender is ahead of what its own side has received, at most. One makes both
    /// sides wait for each other at every message, many fill the lanes.
    pub window: u64,
}

impl Load {
    pub fn new(seed: u64, to_server: bool, messages: u64) -> Self {
        Self {
            seed: mix(seed ^ u64::from(to_server)),
            noise: (0..NOISE as u64 / 8).flat_map(|at| mix(at).to_le_bytes()).collect(),
            messages,
            window: [1, 2, 8, 64][(seed % 4) as usize],
        }
    }

    fn message(&self, number: u64) -> &[u8] {
        let random = mix(self.seed ^ number);
        let size = SIZES[random as usize % SIZES.len()];
        let start = (random >> 32) as usize % (NOISE - size);
        &self.noise[start..start + size]
    }

    /// Whether these are the bytes of this message.
    fn check(&self, number: u64, bytes: &[u8]) -> Result<(), Wrong> {
        if bytes == self.message(number) {
            return Ok(());
        }
        match (1..=64).find(|ahead| bytes == self.message(number + ahead)) {
            Some(ahead) => Err(Wrong::lost(format!("{ahead} from number {number} on"))),
            None => Err(Wrong::torn(format!("{} bytes in place of number {number}", bytes.len()))),
        }
    }

    /// Sends all messages, one for each credit after the first window. The end of the direction if it comes
    /// first; nothing if all went, or if no more credit comes.
    pub fn pour(
        &self,
        tx: &mut Tx,
        credits: mpsc::Receiver<()>,
        ledger: &Ledger,
    ) -> Result<Option<End>, Wrong> {
        let mut next = 0;
        while next < self.messages {
            if next >= self.window && credits.recv().is_err() {
                return Ok(None);
            }
            let way = Way::of(mix(self.seed ^ !next));
            let mut after = next + 1;
            while way == Way::Batch
                && after < self.messages.min(next + BATCH)
                && (after < self.window || credits.try_recv().is_ok())
            {
                after += 1;
            }
            ledger.set_begun(after);
            let sent = match tx {
                Half::InCalls(tx) => self.send(tx, way, next, after),
                Half::InLoop(tx) => self.send_in_loop(tx, way, next, after),
            };
            match sent {
                Ok(()) => {}
                Err(SendError::Ended(end)) => return Ok(Some(end)),
                Err(other) => return Err(tx.wrong(format!("sending {next}: {other}"))),
            }
            next = after;
            ledger.set_sent(next);
        }
        Ok(None)
    }

    /// Sends messages, which are one but in a batch, and waits in calls.
    fn send(
        &self,
        tx: &mut Sender<[u8]>,
        way: Way,
        number: u64,
        after: u64,
    ) -> Result<(), SendError> {
        let message = self.message(number);
        match way {
            Way::Plain => tx.send_deadline(message, soon()),
            Way::Try => match tx.try_send(message) {
                Ok(()) => Ok(()),
                Err(TrySendError::Ended(end)) => Err(end.into()),
                Err(_) => tx.send_deadline(message, soon()),
            },
            Way::Pieces => {
                let (a, b) = message.split_at(message.len() / 3);
                tx.send_vectored_deadline(&[IoSlice::new(a), IoSlice::new(b)], soon())
            }
            Way::Claim => {
                let claimed = tx.claim_deadline(message.len(), soon());
                match claimed.map(|slot| fill(slot, message)) {
                    Err(SendError::TooLarge { .. }) => tx.send_deadline(message, soon()),
                    sent => sent,
                }
            }
            Way::Batch => {
                let mut batch = tx.batch();
                (number..after)
                    .try_for_each(|number| batch.push_deadline(self.message(number), soon()))
            }
            Way::GiveUp => match give_up(tx, message) {
                Err(SendError::TimedOut) => tx.send_deadline(message, soon()),
                sent => sent,
            },
        }
    }

    /// As [`send`](Self::send), waiting in a loop. What the lane does not hold at once goes in calls here too.
    fn send_in_loop(
        &self,
        tx: &mut Polled<Sender<[u8]>>,
        way: Way,
        number: u64,
        after: u64,
    ) -> Result<(), SendError> {
        let mut next = number;
        if way == Way::GiveUp {
            match give_up(tx, self.message(next)) {
                Err(SendError::TimedOut) => {}
                sent => return sent,
            }
        }
        let sent = send_in_loop(tx, |tx| match way {
            Way::Claim => {
                let message = self.message(next);
                tx.try_claim(message.len()).map(|slot| fill(slot, message))
            }
            Way::Batch => {
                let mut batch = tx.batch();
                while next < after {
                    batch.try_push(self.message(next))?;
                    next += 1;
                }
                Ok(())
            }
            _ => tx.try_send(self.message(next)),
        });
        match sent {
            Ok(()) => Ok(()),
            Err(TrySendError::Ended(end)) => Err(end.into()),
            Err(TrySendError::TooLarge { .. }) => self.send(tx, way, next, after),
            Err(_) => Err(SendError::TimedOut),
        }
    }

    /// Receives and checks messages, `until` so many have come or the direction has ended; gives a credit
    /// for each.
    pub fn drink(
        &self,
        rx: &mut Rx,
        until: Option<u64>,
        credits: mpsc::Sender<()>,
        ledger: &Ledger,
    ) -> Result<Option<End>, Wrong> {
        let mut next = 0;
        while until.is_none_or(|until| next < until) {
            match rx.recv(|bytes| self.check(next, bytes)) {
                Ok(checked) => checked?,
                Err(RecvError::Ended(end)) => return Ok(Some(end)),
                Err(other) => return Err(rx.wrong(format!("receiving {next}: {other}"))),
            }
            next += 1;
            ledger.set_received(next);
            // Nobody wants it any more once all is sent.
            let _ = credits.send(());
        }
        Ok(None)
    }
}

/// Writes a message into a slot, and sends it.
fn fill(mut slot: Slot<'_>, message: &[u8]) {
    let (a, b) = message.split_at(message.len() / 2);
    let written = slot.write(a).and_then(|()| slot.write(b));
    written.expect("what was claimed is there");
    slot.commit();
}

/// Sends a message, with no time for more than has room now: the rest of a large one is given up.
fn give_up(tx: &mut Sender<[u8]>, message: &[u8]) -> Result<(), SendError> {
    tx.send_deadline(message, Instant::now() + Duration::from_micros(20))
}

/// How a message is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Try,
    Pieces,
    Claim,
    Batch,
    GiveUp,
}

impl Way {
    fn of(random: u64) -> Self {
        let ways = [Self::Plain, Self::Try, Self::Pieces, Self::Claim, Self::Batch, Self::GiveUp];
        ways[random as usize % ways.len()]
    }
}
