//! memring itself: typed messages and byte strings, copied or read in place.

#![allow(unsafe_code)]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memring::{Bytes, Channel, Connector, Lanes, Listener, Protocol, Receiver, Sender, Wait};

use crate::link::{Contender, Failed, Link, Measure, Open, OpenEnd, Room, Side, Terms, Waiting};
use crate::payload;

/// What memring is measured as.
pub const ALL: &[Contender] = &[
    ours(
        "memring",
        |_| true,
        |terms, side, at| match terms.measure {
            Measure::SetUp => Ok(Box::new(SetUp::meet(side, &at, terms)?)),
            _ => typed(terms, side, &at, Reading::Copied, Batching::Together),
        },
    ),
    ours(
        "memring, pushed",
        |terms| terms.batch > 1,
        |terms, side, at| typed(terms, side, &at, Reading::Copied, Batching::Pushed),
    ),
    ours("memring, trust_peer", in_place, |terms, side, at| {
        typed(terms, side, &at, Reading::InPlace, Batching::Pushed)
    }),
    ours("memring, bytes", bytes, |terms, side, at| {
        Ok(Box::new(Raw::meet(terms, side, &at, Reading::Copied)?))
    }),
    ours("memring, bytes, trust_peer", in_place, |terms, side, at| {
        Ok(Box::new(Raw::meet(terms, side, &at, Reading::InPlace)?))
    }),
];

const fn ours(name: &'static str, can: fn(&Terms) -> bool, open: OpenEnd) -> Contender {
    Contender { name, version: env!("CARGO_PKG_VERSION"), can, open: Open::Processes(open) }
}

fn bytes(terms: &Terms) -> bool {
    matches!(terms.measure, Measure::RoundTrip | Measure::OneWay)
}

/// Messages in a batch are copied anyway.
fn in_place(terms: &Terms) -> bool {
    bytes(terms) && terms.batch == 1 && terms.wait == Waiting::Spin
}

/// How received messages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Copied out of the lane and validated: the peer may be anybody.
    Copied,
    /// In the lane: the peer is one program with us.
    InPlace,
}

/// How messages are batched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batching {
    /// They are there together, sent as one, and taken as they came.
    Together,
    /// One after the other is added to the batch, and received.
    Pushed,
}

fn wait(waiting: Waiting) -> Wait {
    match waiting {
        Waiting::Spin => Wait::Spin,
        Waiting::Adaptive => Wait::Adaptive,
        Waiting::Park => Wait::Park,
    }
}

fn lanes(room: Room) -> Lanes {
    Lanes::Bytes(room.bytes() as u64)
}

fn listener(at: &Path, terms: &Terms) -> Result<Listener, Failed> {
    Ok(Listener::builder()
        .lanes_between(Lanes::Small, lanes(Room::Large))
        .wait(wait(terms.wait))
        .bind(at.join("memring.sock"))?)
}

fn connector(terms: &Terms) -> Connector {
    Connector::new()
        .wait_for_service()
        .timeout(Duration::from_secs(10))
        .wait(wait(terms.wait))
        .lanes(lanes(terms.room), lanes(terms.room))
}

/// One end of a channel whose messages are `M` both ways.
fn meet<P, M>(
    terms: &Terms,
    side: Side,
    at: &Path,
    reading: Reading,
) -> Result<(Sender<M>, Receiver<M>), Failed>
where
    M: memring::Message + ?Sized,
    P: Protocol<ToClient = M, ToServer = M>,
{
    let channel: Channel<M, M> = match side {
        Side::Near => connector(terms).connect::<P>(at.join("memring.sock"))?,
        Side::Far => listener(at, terms)?.accept()?.open::<P>()?,
    };
    let (sender, receiver) = channel.split();
    let receiver = match reading {
        Reading::Copied => receiver,
        // SAFETY: the other end is this very program, which never writes a message it has sent.
        Reading::InPlace => unsafe { receiver.trust_peer() },
    };
    Ok((sender, receiver))
}

/// Sends messages in batches. A batch is a guard that borrows its sender, so this is a loop of its own.
#[inline]
fn in_batches<M: memring::Message + ?Sized>(
    sender: &mut Sender<M>,
    numbers: Range<u64>,
    batch: u64,
    mut push: impl FnMut(&mut memring::Batch<'_, M>, u64) -> Result<(), memring::SendError>,
) -> Result<(), Failed> {
    let mut open = sender.batch();
    let mut until_flush = batch;
    for number in numbers {
        push(&mut open, number)?;
        until_flush -= 1;
        if until_flush == 0 {
            open.flush();
            until_flush = batch;
        }
    }
    Ok(())
}

/// Sends each by itself.
#[inline]
fn one_by_one(link: &mut impl Link, numbers: Range<u64>) -> Result<(), Failed> {
    for number in numbers {
        link.send(number)?;
    }
    Ok(())
}

/// Makes a type with words a payload; `new` makes one for so many bytes.
macro_rules! payload {
    ($name:ident, $new:expr) => {
        impl Payload for $name {
            fn new(size: usize) -> Self {
                $new(size)
            }

            #[inline]
            fn words(&mut self) -> &mut [u64] {
                &mut self.words
            }

            #[inline]
            fn read(view: &memring::View<'_, Self>, number: u64) -> Result<(), Failed> {
                check(&view.words, number)
            }
        }
    };
}

/// Messages of so many words, as plain as market ticks.
macro_rules! words {
    ($($name:ident: $words:literal,)+) => {$(
        /// A message of so many words.
        #[memring::message]
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            words: [u64; $words],
        }

        payload!($name, |_| Self { words: [0; $words] });
    )+};
}

words! {
    Words1: 1,
    Words4: 4,
    Words8: 8,
    Words32: 32,
    Words128: 128,
    Words512: 512,
}

/// A message whose size is its own business.
#[memring::message]
#[derive(Clone, Debug)]
pub struct Table {
    words: Vec<u64>,
}

/// A message type that the payload fits in.
trait Payload: memring::Message {
    /// A message of `size` bytes of payload.
    fn new(size: usize) -> Self;
    /// Its words, to be written.
    fn words(&mut self) -> &mut [u64];
    /// Reads all of a received one.
    fn read(view: &memring::View<'_, Self>, number: u64) -> Result<(), Failed>
    where
        Self: Sized;
}

/// The sum of words as they lie in an archive, against what it has to be.
#[inline]
fn check(words: &[memring::rkyv::rend::u64_le], number: u64) -> Result<(), Failed> {
    let total = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(word.to_native()));
    crate::link::expect(total, payload::sum(number, words.len() as u64))
}

payload!(Table, |size| Self { words: vec![0; size / payload::WORD] });

/// Messages of one type both ways.
struct Both<M>(std::marker::PhantomData<M>);

impl<M: memring::Message> Protocol for Both<M> {
    const NAME: &'static str = "bench";
    type ToClient = M;
    type ToServer = M;
}

/// A typed link: plain arrays up to 4 KiB, a vector beyond.
fn typed(
    terms: &Terms,
    side: Side,
    at: &Path,
    reading: Reading,
    batching: Batching,
) -> Result<Box<dyn Link>, Failed> {
    match terms.size {
        8 => Typed::<Words1>::meet(terms, side, at, reading, batching),
        32 => Typed::<Words4>::meet(terms, side, at, reading, batching),
        64 => Typed::<Words8>::meet(terms, side, at, reading, batching),
        256 => Typed::<Words32>::meet(terms, side, at, reading, batching),
        1024 => Typed::<Words128>::meet(terms, side, at, reading, batching),
        4096 => Typed::<Words512>::meet(terms, side, at, reading, batching),
        _ => Typed::<Table>::meet(terms, side, at, reading, batching),
    }
}

struct Typed<M: Payload> {
    sender: Sender<M>,
    receiver: Receiver<M>,
    message: M,
    batching: Batching,
    /// As many messages as are sent together.
    batch: Vec<M>,
}

impl<M: Payload + 'static> Typed<M> {
    fn meet(
        terms: &Terms,
        side: Side,
        at: &Path,
        reading: Reading,
        batching: Batching,
    ) -> Result<Box<dyn Link>, Failed> {
        let (sender, receiver) = meet::<Both<M>, M>(terms, side, at, reading)?;
        let message = M::new(terms.size);
        let together = if batching == Batching::Together { terms.batch } else { 1 };
        let batch = (0..together).map(|_| M::new(terms.size)).collect();
        let batching = if terms.batch == 1 { Batching::Pushed } else { batching };
        Ok(Box::new(Self { sender, receiver, message, batching, batch }))
    }

    #[inline]
    fn fill(message: &mut M, number: u64) {
        for (index, word) in message.words().iter_mut().enumerate() {
            *word = payload::word(number, index as u64);
        }
    }

    /// Sends batch after batch.
    fn together(&mut self, numbers: Range<u64>) -> Result<(), Failed> {
        let Self { sender, batch, .. } = self;
        let mut next = numbers.start;
        while next < numbers.end {
            let some = batch.len().min((numbers.end - next) as usize);
            for (message, number) in batch[..some].iter_mut().zip(next..) {
                Self::fill(message, number);
            }
            sender.send_all(&batch[..some])?;
            next += some as u64;
        }
        Ok(())
    }
}

impl<M: Payload + 'static> Link for Typed<M> {
    #[inline]
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        Self::fill(&mut self.message, number);
        Ok(self.sender.send(&self.message)?)
    }

    #[inline]
    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        M::read(&self.receiver.recv()?, number)
    }

    fn send_each(&mut self, numbers: Range<u64>, batch: u64) -> Result<(), Failed> {
        if batch == 1 {
            return one_by_one(self, numbers);
        }
        if self.batching == Batching::Together {
            return self.together(numbers);
        }
        let Self { sender, message, .. } = self;
        in_batches(sender, numbers, batch, |open, number| {
            Self::fill(message, number);
            open.push(message)
        })
    }

    /// Batches are sent for one such range at a time, and end where it ends.
    fn receive_each(&mut self, mut numbers: Range<u64>) -> Result<(), Failed> {
        if self.batching == Batching::Pushed {
            return numbers.try_for_each(|number| self.receive(number));
        }
        while numbers.start < numbers.end {
            let mut read = Ok(());
            let took = self.receiver.recv_each(|message| {
                let one = M::read(&message, numbers.start);
                numbers.start += 1;
                if one.is_err() {
                    read = one;
                }
            });
            took?;
            read?;
        }
        Ok(())
    }
}

/// Byte strings: large ones made piece by piece and written into the lane as they are made, or made there and read
/// there too; others sent from memory of our own.
struct Raw {
    sender: Sender<[u8]>,
    receiver: Receiver<[u8]>,
    reading: Reading,
    size: usize,
    /// A small message, or a piece of a large one.
    message: Vec<u8>,
}

/// Bytes from which a message is worth making in the lane, and those of a piece.
const LARGE: usize = 4096;

impl Raw {
    fn meet(terms: &Terms, side: Side, at: &Path, reading: Reading) -> Result<Self, Failed> {
        let (sender, receiver) = meet::<Bytes, [u8]>(terms, side, at, reading)?;
        let message = vec![0; terms.size.min(LARGE)];
        Ok(Self { sender, receiver, reading, size: terms.size, message })
    }

    /// Writes the message into the lane.
    fn send_large(&mut self, number: u64) -> Result<(), Failed> {
        let Self { sender, reading, size, message, .. } = self;
        let mut slot = sender.claim(*size)?;
        if *reading == Reading::InPlace {
            // SAFETY: the other end is this very program, which writes into no lane but its own.
            payload::write(unsafe { slot.lend(*size)? }, number);
        } else {
            for at in (0..*size).step_by(LARGE) {
                // The words of a message count on from its number.
                let piece = &mut message[..LARGE.min(*size - at)];
                payload::write(piece, payload::word(number, (at / payload::WORD) as u64));
                slot.write(piece)?;
            }
        }
        slot.commit();
        Ok(())
    }
}

impl Link for Raw {
    #[inline]
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        if self.size >= LARGE {
            return self.send_large(number);
        }
        payload::write(&mut self.message, number);
        Ok(self.sender.send(&self.message)?)
    }

    #[inline]
    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        payload::read(&self.receiver.recv()?, number)
    }

    fn send_each(&mut self, numbers: Range<u64>, batch: u64) -> Result<(), Failed> {
        if batch == 1 {
            return one_by_one(self, numbers);
        }
        let Self { sender, message, .. } = self;
        in_batches(sender, numbers, batch, |open, number| {
            payload::write(message, number);
            open.push(message)
        })
    }
}

/// A session and its first channel, set up and closed for each call.
enum SetUp {
    Near(Terms, PathBuf),
    Far(Box<Listener>),
}

impl SetUp {
    fn meet(side: Side, at: &Path, terms: &Terms) -> Result<Self, Failed> {
        Ok(match side {
            Side::Near => Self::Near(terms.clone(), at.join("memring.sock")),
            Side::Far => Self::Far(Box::new(listener(at, terms)?)),
        })
    }
}

impl Link for SetUp {
    fn send(&mut self, _: u64) -> Result<(), Failed> {
        let Self::Near(terms, path) = self else { return Ok(()) };
        drop(connector(terms).connect::<Both<Words8>>(path.as_path())?);
        Ok(())
    }

    fn receive(&mut self, _: u64) -> Result<(), Failed> {
        let Self::Far(listener) = self else { return Ok(()) };
        drop(listener.accept()?.open::<Both<Words8>>()?);
        Ok(())
    }
}
