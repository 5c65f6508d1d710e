//! The consumer: frames out of the lane, checked, into messages, and sleep while there is none.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use super::*;
use crate::sys;

/// What the consumer remembers, beside the head.
#[derive(Default)]
pub struct Receiving {
    /// The head as the other side knows it.
    pub published: u64,
    /// The sleep word it is done with.
    woken: u32,
    parts: Option<Parts>,
    /// What came in one frame with a message that was taken.
    waiting: VecDeque<Message>,
    /// End was read.
    closed: bool,
}

/// A message in parts that has not come whole.
struct Parts {
    total: u64,
    message: Message,
}

/// The header of a frame, loaded once.
#[derive(Clone, Copy)]
struct Header {
    kind: u8,
    fds: usize,
    length: u64,
}

/// What a look at the lane found.
enum Look {
    Empty,
    Message(Message),
    End,
}

impl Lanes {
    /// Takes the next message.
    pub fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        deadline: Deadline,
    ) -> Result<Message, Failure> {
        loop {
            if let Some(found) = self.found(socket)? {
                return found;
            }
            let sleep = self.next_epoch();
            self.mine.map.word32(RX_ASLEEP)?.store(sleep, Ordering::Relaxed);
            self.heavy(socket);
            let word = self.theirs.word32(self.head)?;
            if word.load(Ordering::Acquire) == 0 {
                sys::futex_wait(word, 0, self.slice(deadline));
            }
            self.mine.map.word32(RX_ASLEEP)?.store(0, Ordering::Relaxed);
            self.drain(socket)?;
            let out_of_time = deadline.passed();
            if let Some(found) = self.found(socket)? {
                return found;
            }
            if self.socket_ended {
                return Err(Failure::word("died"));
            }
            if out_of_time {
                return Err(Failure::word("timeout"));
            }
        }
    }

    fn found(
        &mut self,
        socket: BorrowedFd<'_>,
    ) -> Result<Option<Result<Message, Failure>>, Failure> {
        Ok(match self.look(socket)? {
            Look::Empty => None,
            Look::Message(message) => Some(Ok(message)),
            Look::End => Some(Err(Failure::word("closed"))),
        })
    }

    fn look(&mut self, socket: BorrowedFd<'_>) -> Result<Look, Failure> {
        self.with_last = None;
        loop {
            if let Some(message) = self.receiving.waiting.pop_front() {
                return Ok(Look::Message(message));
            }
            if self.receiving.closed {
                return Ok(Look::End);
            }
            let word = self.theirs.word64(self.head)?.load(Ordering::Acquire); // L2
            if word as u32 == 0 {
                self.publish_head(socket)?;
                return Ok(Look::Empty);
            }
            let header = self.check(word)?;
            if header.fds != 0 {
                self.with_last = Some(self.came_ahead(socket, header.fds)?);
            }
            let tag = self.theirs.word64(self.head.wrapping_add(8))?.load(Ordering::Relaxed);
            let mut bytes = vec![0; header.length as usize];
            self.theirs.read(self.head.wrapping_add(HEADER), &mut bytes)?;
            self.head = self.head.wrapping_add(HEADER + header.length.next_multiple_of(HEADER));
            self.take(header.kind, tag, bytes)?;
            let behind = self.head.wrapping_sub(self.receiving.published);
            let sleeps = self.theirs.map.word32(TX_ASLEEP)?.load(Ordering::Relaxed) != 0;
            if behind >= self.theirs.capacity / 8 || sleeps {
                self.publish_head(socket)?;
            }
        }
    }

    fn check(&self, word: u64) -> Result<Header, Failure> {
        let header =
            Header { kind: word as u8, fds: usize::from((word >> 16) as u16), length: word >> 32 };
        let least = match header.kind {
            DATA => 0,
            PACK => 16,
            FIRST => 9,
            NEXT | LAST => 1,
            ABORT | END => 0,
            _ => return Err(Failure::fault(format!("header {word:#x}"))),
        };
        let most =
            if matches!(header.kind, ABORT | END) { 0 } else { self.theirs.capacity / 4 - HEADER };
        if word & 0xff00 != 0
            || header.fds != 0 && !matches!(header.kind, DATA | LAST)
            || !(least..=most).contains(&header.length)
        {
            return Err(Failure::fault(format!("header {word:#x}")));
        }
        Ok(header)
    }

    /// What went ahead of the frame at our head: it has come, or lies in the socket.
    fn came_ahead(&mut self, socket: BorrowedFd<'_>, fds: usize) -> Result<Came, Failure> {
        if self.came.is_empty() {
            self.drain(socket)?;
        }
        match self.came.pop_front() {
            Some(came) if came.position == self.head && came.fds.len() == fds => Ok(came),
            _ => Err(Failure::fault("no Attachments of this frame")),
        }
    }

    fn take(&mut self, kind: u8, tag: u64, bytes: Vec<u8>) -> Result<(), Failure> {
        let in_parts = self.receiving.parts.is_some();
        if in_parts != matches!(kind, NEXT | LAST | ABORT) && kind != END {
            return Err(Failure::fault(format!("a frame of kind {kind} here")));
        }
        match kind {
            DATA => self.deliver(Message { tag, bytes })?,
            PACK if tag == 0 => self.unpack(&bytes)?,
            PACK => self.unpack_alike(tag, &bytes)?,
            FIRST => {
                let (total, begin) = bytes.split_at(8);
                let total = number(total);
                if begin.len() as u64 >= total || total > self.largest {
                    return Err(Failure::fault(format!("a total of {total}")));
                }
                self.receiving.parts =
                    Some(Parts { total, message: Message { tag, bytes: begin.to_vec() } });
            }
            NEXT | LAST => {
                let mut parts =
                    self.receiving.parts.take().ok_or_else(|| Failure::fault("parts"))?;
                parts.message.bytes.extend(&bytes);
                let have = parts.message.bytes.len() as u64;
                if parts.message.tag != tag
                    || (kind == LAST) != (have == parts.total)
                    || have > parts.total
                {
                    return Err(Failure::fault(format!("{have} of {} bytes", parts.total)));
                }
                match kind {
                    LAST => self.deliver(parts.message)?,
                    _ => self.receiving.parts = Some(parts),
                }
            }
            ABORT => self.receiving.parts = None,
            _ => self.receiving.closed = true,
        }
        Ok(())
    }

    fn unpack(&mut self, mut rest: &[u8]) -> Result<(), Failure> {
        let bad = || Failure::fault("an entry of a pack");
        while !rest.is_empty() {
            let (entry, after) = rest.split_at_checked(16).ok_or_else(bad)?;
            let (length, tag) = (number(&entry[..8]), number(&entry[8..]));
            // The u32 after the length has to be zero, so both are one number.
            let length =
                usize::try_from(length).ok().filter(|l| *l <= after.len()).ok_or_else(bad)?;
            let (bytes, _) = after.split_at(length);
            rest = after.get(length.next_multiple_of(8)..).ok_or_else(bad)?;
            self.deliver(Message { tag, bytes: bytes.to_vec() })?;
        }
        Ok(())
    }

    /// Messages of `each` bytes, one behind the other.
    fn unpack_alike(&mut self, each: u64, bytes: &[u8]) -> Result<(), Failure> {
        let stride = each.checked_next_multiple_of(8).filter(|_| each <= self.largest);
        let stride = stride.and_then(|stride| usize::try_from(stride).ok());
        let stride = stride
            .filter(|stride| bytes.len().is_multiple_of(*stride))
            .ok_or_else(|| Failure::fault("a pack of messages that are alike"))?;
        for bytes in bytes.chunks(stride) {
            self.deliver(Message { tag: 0, bytes: bytes[..each as usize].to_vec() })?;
        }
        Ok(())
    }

    fn deliver(&mut self, message: Message) -> Result<(), Failure> {
        if message.bytes.len() as u64 > self.largest {
            return Err(Failure::fault("a message above the largest"));
        }
        self.receiving.waiting.push_back(message);
        Ok(())
    }

    /// Tells the producer how far we have read, if it does not know.
    pub fn publish_head(&mut self, socket: BorrowedFd<'_>) -> Result<(), Failure> {
        if self.receiving.published == self.head {
            return Ok(());
        }
        self.receiving.published = self.head;
        self.mine.map.word64(HEAD)?.store(self.head, Ordering::Release); // L3
        self.wake_producer(socket)
    }

    /// After a head was published: wakes the producer if it sleeps.
    pub fn wake_producer(&mut self, socket: BorrowedFd<'_>) -> Result<(), Failure> {
        self.light();
        let asleep = self.theirs.map.word32(TX_ASLEEP)?.load(Ordering::Relaxed);
        if asleep != self.receiving.woken && wake(socket, asleep, self.mine.map.word32(HEAD)?)? {
            self.receiving.woken = asleep;
        }
        Ok(())
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte))
}
