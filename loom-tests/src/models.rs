//! The models, as data, and the few words they are written in.

mod ahead;
mod batch;
mod doorbell;
mod end;
mod fence;
mod frames;
mod halves;
mod parts;
mod room;
mod select;
mod sessions;
mod sleep;
mod trip;

use loom::thread;
use memring_ring::consumer::{Consumer, RecvError};
use memring_ring::heads::Heads;
use memring_ring::model::{self, ModelEnd};
use memring_ring::producer::Producer;

/// One property, and a program that has it.
pub struct Model {
    pub name: &'static str,
    /// In one sentence.
    pub property: &'static str,
    pub body: fn(),
    pub mutants: &'static [Mutant],
}

/// The ring with one line broken.
pub struct Mutant {
    /// As in `crate::sync::mutant("name")` in the ring.
    pub name: &'static str,
    /// What the failure must say.
    pub fails: &'static str,
}

const fn mutant(name: &'static str, fails: &'static str) -> Mutant {
    Mutant { name, fails }
}

/// Every thread sleeps and nobody is left to wake one: a lost wake.
const LOST_WAKE: &str = "deadlock";
/// A payload was read while it could be written: loom's own words.
const RACE: &str = "Causality violation";
/// The failures of [`expect`].
const NOT_SENT: &str = "received what was not sent, or not in order";

/// Every model.
pub fn all() -> impl Iterator<Item = &'static Model> {
    [
        frames::MODELS,
        sleep::MODELS,
        room::MODELS,
        end::MODELS,
        batch::MODELS,
        parts::MODELS,
        sessions::MODELS,
        trip::MODELS,
        ahead::MODELS,
        doorbell::MODELS,
        select::MODELS,
        fence::MODELS,
        halves::MODELS,
    ]
    .into_iter()
    .flatten()
}

/// The smallest lane: it holds one frame of 32 bytes, or three of 16.
const SMALLEST: u64 = 64;
/// Lanes begin here, so that the second frame of 32 bytes begins at 0: positions wrap at 2^64 and the
/// smallest lane at its end.
const START: u64 = 0_u64.wrapping_sub(32);

/// A channel between two processes that have nothing else.
fn channel(capacity: u64) -> [ModelEnd; 2] {
    channel_of(capacity, [&model::heads(), &model::heads()])
}

/// A channel between the two processes that these heads belong to.
fn channel_of(capacity: u64, heads: [&loom::sync::Arc<Heads>; 2]) -> [ModelEnd; 2] {
    model::channel(capacity, START, 128, heads)
}

/// A message of 16 bytes, in a frame of 32. Whoever took one of its words for a header would find a good
/// one: an empty message.
fn message(number: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0] = 1;
    bytes[8] = 1;
    bytes[15] = number as u8;
    bytes
}

/// Sends it, waiting for room.
fn send(producer: &mut Producer, number: u64) {
    producer.send(&message(number), number, None).expect("sent");
}

/// Fills a lane to the last header: first an empty message, in the least of frames, then the largest.
fn fill(producer: &mut Producer) {
    producer.try_send(&[], 0).expect("room");
    let mut len = producer.largest_frame();
    loop {
        match producer.try_send(&vec![1; len], 0) {
            Ok(()) => {}
            Err(_) if len > 0 => len -= 16,
            Err(_) => return,
        }
    }
}

/// Receives, and fails unless it is this message.
fn expect(consumer: &mut Consumer, number: u64) {
    expect_bytes(consumer, number, &message(number));
}

/// As [`expect`], in the way of one who knows how long the message is.
fn expect_of_known_length(consumer: &mut Consumer, number: u64) {
    let due = message(number);
    let is_due = |bytes: &[u8]| assert!(bytes == due, "{NOT_SENT}: {bytes:?} and not {due:?}");
    if let Some(bytes) = consumer.next_of(due.len(), true) {
        return is_due(bytes);
    }
    let begun = consumer.begin_wait();
    match consumer.next_within(&begun, None) {
        Ok(()) => is_due(consumer.bytes(&consumer.found())),
        Err(_) => panic!("{NOT_SENT}: {:?} and not message {number}", consumer.ended()),
    }
}

fn expect_bytes(consumer: &mut Consumer, tag: u64, bytes: &[u8]) {
    match consumer.recv(None) {
        Ok(item) => assert!(
            item.tag == tag && consumer.bytes(&item) == bytes,
            "{NOT_SENT}: {:?} with tag {} and not {bytes:?} with tag {tag}",
            consumer.bytes(&item),
            item.tag,
        ),
        Err(RecvError::Ended(end)) => panic!("{NOT_SENT}: {end} and not message {tag}"),
        Err(error) => panic!("{NOT_SENT}: {error} and not message {tag}"),
    }
}

/// Runs both, each in its thread, and gives back what they return. A half is dropped by whoever comes after both,
/// so that the marks that a drop leaves are explored only where a model wants them to be.
fn both<A, B>(one: impl FnOnce() -> A + 'static, other: impl FnOnce() -> B + 'static) -> (A, B)
where
    A: 'static,
    B: 'static,
{
    let one = thread::spawn(one);
    let other = other();
    match one.join() {
        Ok(one) => (one, other),
        Err(_) => unreachable!("a panic ends the exploration"),
    }
}
