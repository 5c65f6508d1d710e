//! rtrb: a ring between two threads, wait-free, for one producer and one consumer.
//!
//! It never waits: both ends look again. Items are arrays of words, written and read in place through chunks of
//! one, which for small items is as fast as `push` and `pop` and for large ones saves two copies.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ops::Range;

use memring_benches::link::{Contender, Ends, Measure, Open, Terms};
use memring_benches::{Failed, Link};
use rtrb::chunks::ChunkError;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::words::{self, by_size, has_size};

/// With and without a hint to the processor, and many at once.
pub const ALL: &[Contender] = &[
    contender("rtrb", one_by_one, |terms| by_size!(terms.size, N => ends::<N, false>(terms))),
    contender("rtrb, pause", one_by_one, |terms| by_size!(terms.size, N => ends::<N, true>(terms))),
    contender("rtrb, chunks", batched, |terms| by_size!(terms.size, N => ends::<N, false>(terms))),
];

const fn contender(
    name: &'static str,
    can: fn(&Terms) -> bool,
    open: fn(&Terms) -> Result<Ends, Failed>,
) -> Contender {
    Contender { name, version: "rtrb 0.4.1", can, open: Open::Threads(open) }
}

fn one_by_one(terms: &Terms) -> bool {
    crate::spins(terms) && has_size(terms.size) && terms.batch == 1
}

fn batched(terms: &Terms) -> bool {
    crate::spins(terms)
        && has_size(terms.size)
        && terms.measure == Measure::OneWay
        && terms.batch > 1
}

fn ends<const N: usize, const PAUSE: bool>(terms: &Terms) -> Result<Ends, Failed> {
    let room = terms.room.messages(terms.size);
    let (near, there) = RingBuffer::new(room);
    let (far, back) = RingBuffer::new(room);
    let end = |outgoing, incoming| End::<N, PAUSE> { outgoing, incoming, batch: terms.batch };
    Ok((Box::new(end(near, back)), Box::new(end(far, there))))
}

struct End<const N: usize, const PAUSE: bool> {
    outgoing: Producer<[u64; N]>,
    incoming: Consumer<[u64; N]>,
    batch: u64,
}

impl<const N: usize, const PAUSE: bool> End<N, PAUSE> {
    /// Sends up to `most` messages from `first` on, as many as there is room for, at least one.
    #[inline]
    fn send_some(&mut self, first: u64, most: usize) -> u64 {
        let mut chunk = loop {
            match self.outgoing.write_chunk_uninit(most) {
                Ok(chunk) => break chunk,
                Err(ChunkError::TooFewSlots(0)) => pause::<PAUSE>(),
                Err(ChunkError::TooFewSlots(free)) => {
                    break self.outgoing.write_chunk_uninit(free).expect("room does not shrink");
                }
            }
        };
        let count = chunk.len() as u64;
        let (one, two) = chunk.as_mut_slices();
        for (message, number) in one.iter_mut().chain(two).zip(first..) {
            words::write(places(message), number);
        }
        // SAFETY: all of them were written by the loop above.
        unsafe { chunk.commit_all() };
        count
    }

    /// Receives up to `most` messages from `first` on, as many as there are, at least one.
    #[inline]
    fn receive_some(&mut self, first: u64, most: usize) -> Result<u64, Failed> {
        let chunk = loop {
            match self.incoming.read_chunk(most) {
                Ok(chunk) => break chunk,
                Err(ChunkError::TooFewSlots(0)) => pause::<PAUSE>(),
                Err(ChunkError::TooFewSlots(there)) => {
                    break self.incoming.read_chunk(there).expect("messages do not vanish");
                }
            }
        };
        let count = chunk.len() as u64;
        let (one, two) = chunk.as_slices();
        for (message, number) in one.iter().chain(two).zip(first..) {
            words::read(message, number)?;
        }
        chunk.commit_all();
        Ok(count)
    }
}

impl<const N: usize, const PAUSE: bool> Link for End<N, PAUSE> {
    #[inline]
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        self.send_some(number, 1);
        Ok(())
    }

    #[inline]
    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        self.receive_some(number, 1)?;
        Ok(())
    }

    fn send_each(&mut self, mut numbers: Range<u64>, batch: u64) -> Result<(), Failed> {
        while !numbers.is_empty() {
            let most = batch.min(numbers.end - numbers.start);
            numbers.start += self.send_some(numbers.start, most as usize);
        }
        Ok(())
    }

    fn receive_each(&mut self, mut numbers: Range<u64>) -> Result<(), Failed> {
        while !numbers.is_empty() {
            let most = self.batch.min(numbers.end - numbers.start);
            numbers.start += self.receive_some(numbers.start, most as usize)?;
        }
        Ok(())
    }
}

/// The words of a message that is not there yet.
#[inline]
fn places<const N: usize>(message: &mut MaybeUninit<[u64; N]>) -> &mut [MaybeUninit<u64>] {
    message.as_mut()
}

#[inline]
fn pause<const PAUSE: bool>() {
    if PAUSE {
        std::hint::spin_loop();
    }
}
