//! Our side of a channel, the peer's memory in the test's hands, and a bystander.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use memring_ring::consumer::{RecvError, TryRecvError};
use memring_ring::frame::{Header, Kind};
use memring_ring::memory::Region;
use memring_ring::position::frame_size;
use memring_ring::producer::{SendError, TrySendError};
use memring_ring::{End, Fault, Terms, Wait};

use crate::support::{Fencing, HEAD, Memory, Side, side, sides};

pub const CAPACITY: u64 = 4096;
/// The largest payload of a frame in a lane of `CAPACITY`.
pub const LARGEST: u64 = CAPACITY / 4 - 16;
pub const MAX_MESSAGE: u64 = 10_000;
/// So long that only what hangs takes longer.
pub const NEVER: Duration = Duration::from_secs(60);

/// Our side, and the peer's memory.
pub struct Target {
    pub us: Side,
    pub peer: Peer,
    bystander: (Side, Side),
}

/// What the peer can write, and where it has come to.
#[derive(Clone)]
pub struct Peer {
    pub control: Region,
    pub data: Region,
    /// Ours, which it can only read.
    pub our_control: Region,
    pub our_data: Region,
    pub start: u64,
    tail: u64,
}

impl Target {
    pub fn new(start: u64) -> Self {
        Self::with(Terms::new(MAX_MESSAGE).wait(Wait::Park).start(start))
    }

    pub fn with(terms: Terms) -> Self {
        let (mine, theirs) = (Memory::new(CAPACITY), Memory::new(CAPACITY));
        let peer = Peer {
            control: theirs.writer.control(),
            data: theirs.writer.data(),
            our_control: mine.reader.control(),
            our_data: mine.reader.data(),
            start: terms.start,
            tail: terms.start,
        };
        // The peer's consumer has read nothing, which in a lane that begins elsewhere than at 0 must be said.
        peer.control.store64(HEAD, terms.start, Ordering::Release);
        let us = side(&mine, &theirs, &terms, Fencing::Ours);
        let bystander = sides(CAPACITY, &terms, Fencing::Ours);
        Self { us, peer, bystander }
    }

    /// The rules of every fault: it stays, both halves know it, and nobody else does.
    pub fn assert_faulted(mut self, fault: Fault, case: &str) {
        let end = End::Fault(fault);
        let late = Some(Instant::now());
        assert_eq!(self.us.life.end(), Some(end), "{case}: life");
        // What the peer does afterwards changes nothing.
        self.peer.control.store64(HEAD, self.peer.start, Ordering::Release);
        self.peer.data.zero(0, CAPACITY as usize);
        for _ in 0..2 {
            let consumer = &mut self.us.consumer;
            assert_eq!(consumer.try_recv().err(), Some(TryRecvError::Ended(end)), "{case}");
            assert_eq!(consumer.recv(None).err(), Some(RecvError::Ended(end)), "{case}");
            let producer = &mut self.us.producer;
            let ended = SendError::Ended(end);
            let try_ended = TrySendError::Ended(end);
            assert_eq!(producer.end(), Some(end), "{case}");
            assert_eq!(producer.try_send(b"x", 0), Err(try_ended), "{case}");
            assert_eq!(producer.send(b"x", 0, None), Err(ended), "{case}");
            assert_eq!(producer.send(&[0; 5000], 0, late), Err(ended), "{case}");
            assert_eq!(producer.send_vectored(&[], 0, None), Err(ended), "{case}");
            assert_eq!(producer.try_send_vectored(&[], 0), Err(try_ended), "{case}");
            assert_eq!(producer.try_claim(1).err(), Some(try_ended), "{case}");
            assert_eq!(producer.claim(1, None).err(), Some(ended), "{case}");
            assert_eq!(producer.wait_for_room(1, None), Err(ended), "{case}");
            let mut batch = producer.batch();
            assert_eq!(batch.try_push(b"x", 0), Err(try_ended), "{case}");
            assert_eq!(batch.push(b"x", 0, None), Err(ended), "{case}");
            assert_eq!(batch.try_claim(1).err(), Some(try_ended), "{case}");
        }
        self.assert_isolated(case);
    }

    /// Another channel of this process works both ways.
    pub fn assert_isolated(&mut self, case: &str) {
        let (here, there) = &mut self.bystander;
        let said = &case.as_bytes()[..case.len().min(50)];
        for (producer, consumer) in
            [(&mut here.producer, &mut there.consumer), (&mut there.producer, &mut here.consumer)]
        {
            producer.try_send(said, 3).expect("a bystander sends");
            let item = consumer.try_recv().expect("a bystander receives");
            assert_eq!(consumer.bytes(&item), said, "{case}");
        }
        assert_eq!(here.life.end(), None, "{case}");
    }

    /// Receives until there is an error: the messages, and how it ended.
    pub fn receive_all(&mut self) -> (Vec<(u64, Vec<u8>)>, TryRecvError) {
        let mut messages = Vec::new();
        loop {
            match self.us.consumer.try_recv() {
                Ok(item) => messages.push((item.tag, self.us.consumer.bytes(&item).to_vec())),
                Err(error) => return (messages, error),
            }
        }
    }
}

impl Peer {
    fn offset(position: u64) -> usize {
        (position % CAPACITY) as usize
    }

    /// Writes a payload and a header word of any value at the peer's tail, which moves on as if the frame
    /// were honest.
    pub fn frame(&mut self, word: u64, tag: u64, payload: &[u8]) {
        let at = Self::offset(self.tail);
        self.data.copy_in(at + 16, payload);
        self.data.store64(at + 8, tag, Ordering::Relaxed);
        self.tail = self.tail.wrapping_add(frame_size(payload.len() as u64));
        self.data.store64(Self::offset(self.tail), 0, Ordering::Relaxed);
        self.data.store64(at, word, Ordering::Release);
    }

    /// Writes a frame as an honest peer would.
    pub fn honest(&mut self, kind: Kind, tag: u64, payload: &[u8]) {
        let len = payload.len() as u32;
        self.frame(Header::new(kind, len).word(), tag, payload);
    }

    /// Writes the header word `offset` bytes behind where the next frame begins.
    pub fn word_at(&self, offset: u64, word: u64) {
        let at = Self::offset(self.tail.wrapping_add(offset));
        self.data.store64(at, word, Ordering::Release);
    }

    /// Says how far its consumer has read.
    pub fn head(&self, word: u64) {
        self.control.store64(HEAD, word, Ordering::Release);
    }
}
