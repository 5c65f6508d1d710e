//! The producer: messages into frames, frames into the lane, and sleep while there is no room.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use super::*;
use crate::sys;

/// What the producer remembers, beside the tail.
#[derive(Default)]
pub struct Sending {
    /// The last good head that was seen.
    their_head: u64,
    /// The sleep word it is done with.
    woken: u32,
    /// A message in parts was given up.
    unfinished: bool,
    /// End was sent.
    pub ended: bool,
}

impl Lanes {
    /// Sends a message, in parts if it is long, and what goes `ahead` of it.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        message: &Message,
        ahead: Option<&Ahead>,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let total = message.bytes.len() as u64;
        if total > self.largest {
            return Err(Failure::usage(format!("the largest message has {} bytes", self.largest)));
        }
        self.begin(socket, deadline)?;
        if total <= self.most() {
            return self.frame_after(socket, DATA, message.tag, &message.bytes, ahead, deadline);
        }
        let mut first = total.to_le_bytes().to_vec();
        let (begin, mut rest) = message.bytes.split_at((self.most() - 8) as usize);
        first.extend(begin);
        self.frame(socket, FIRST, message.tag, &first, deadline)?;
        self.sending.unfinished = true;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(self.most() as usize));
            let (kind, ahead) = if after.is_empty() { (LAST, ahead) } else { (NEXT, None) };
            self.frame_after(socket, kind, message.tag, part, ahead, deadline)?;
            rest = after;
        }
        self.sending.unfinished = false;
        Ok(())
    }

    /// Sends several messages in one frame.
    pub fn pack(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: &[Message],
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let mut payload = Vec::new();
        for message in messages {
            payload
                .extend(u32::try_from(message.bytes.len()).map_err(Failure::usage)?.to_le_bytes());
            payload.extend([0; 4]);
            payload.extend(message.tag.to_le_bytes());
            payload.extend(&message.bytes);
            payload.resize(payload.len().next_multiple_of(8), 0);
        }
        if messages.is_empty() || payload.len() as u64 > self.most() {
            return Err(Failure::usage("no pack of that size"));
        }
        self.begin(socket, deadline)?;
        self.frame(socket, PACK, 0, &payload, deadline)
    }

    fn begin(&mut self, socket: BorrowedFd<'_>, deadline: Deadline) -> Result<(), Failure> {
        self.drain(socket)?;
        if self.sending.ended {
            return Err(Failure::usage("we have closed"));
        }
        if self.sending.unfinished {
            self.frame(socket, ABORT, 0, &[], deadline)?;
            self.sending.unfinished = false;
        }
        if self.socket_ended {
            self.look_at_head()?;
            return Err(Failure::word("died"));
        }
        Ok(())
    }

    fn frame(
        &mut self,
        socket: BorrowedFd<'_>,
        kind: u8,
        tag: u64,
        bytes: &[u8],
        deadline: Deadline,
    ) -> Result<(), Failure> {
        self.frame_after(socket, kind, tag, bytes, None, deadline)
    }

    /// Room first, then what goes ahead, then the frame.
    fn frame_after(
        &mut self,
        socket: BorrowedFd<'_>,
        kind: u8,
        tag: u64,
        bytes: &[u8],
        ahead: Option<&Ahead>,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let size = HEADER + (bytes.len() as u64).next_multiple_of(HEADER);
        if self.theirs.map.word32(RX_ASLEEP)?.load(Ordering::Relaxed) & 3 == CONSUMER_GONE {
            self.look_at_head()?;
        }
        self.make_room(socket, size, deadline)?;
        let tail = self.tail();
        if let Some(ahead) = ahead {
            let layout = wire::layout("attachments").ok_or_else(|| Failure::usage("layout"))?;
            let values = [("position", tail.to_string()), ("entries", ahead.entries.clone())];
            let packet =
                wire::build(layout, &values.map(|(name, value)| (name.to_owned(), value)))?;
            socket::send(socket, &packet, &ahead.fds, deadline)?;
        }
        let fds = ahead.map_or(0, |ahead| u64::from(ahead.count));
        let mut payload = bytes.to_vec();
        payload.resize(bytes.len().next_multiple_of(HEADER as usize), 0);
        self.mine.write(tail.wrapping_add(HEADER), &payload)?;
        self.mine.word64(tail.wrapping_add(8))?.store(tag, Ordering::Relaxed);
        self.mine.word64(tail.wrapping_add(size))?.store(0, Ordering::Relaxed);
        let header = u64::from(kind) | fds << 16 | (bytes.len() as u64) << 32;
        self.mine.word64(tail)?.store(header, Ordering::Release); // L1
        self.tail.store(tail.wrapping_add(size), Ordering::Relaxed);
        self.wake_consumer(socket, tail)
    }

    /// After a frame was published at `position`: wakes the consumer if it sleeps.
    pub fn wake_consumer(&mut self, socket: BorrowedFd<'_>, position: u64) -> Result<(), Failure> {
        self.light();
        let asleep = self.theirs.map.word32(RX_ASLEEP)?.load(Ordering::Relaxed);
        if asleep != self.sending.woken && wake(socket, asleep, self.mine.word32(position)?)? {
            self.sending.woken = asleep;
        }
        Ok(())
    }

    /// Loads the other side's head and checks it; says the raw word.
    fn look_at_head(&mut self) -> Result<u64, Failure> {
        let raw = self.theirs.map.word64(HEAD)?.load(Ordering::Acquire); // L4
        let head = raw & !GONE;
        let moved = head.wrapping_sub(self.sending.their_head);
        if !head.is_multiple_of(HEADER) || moved > self.tail().wrapping_sub(self.sending.their_head)
        {
            return Err(Failure::fault(format!("head {raw:#x}")));
        }
        self.sending.their_head = head;
        if raw & GONE != 0 { Err(Failure::word("closed")) } else { Ok(raw) }
    }

    fn fits(&self, size: u64) -> bool {
        let used = self.tail().wrapping_sub(self.sending.their_head);
        size + HEADER <= self.mine.capacity.saturating_sub(used)
    }

    fn make_room(
        &mut self,
        socket: BorrowedFd<'_>,
        size: u64,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        while !self.fits(size) {
            self.look_at_head()?;
            if self.fits(size) {
                break;
            }
            self.publish_head(socket)?;
            let sleep = self.next_epoch();
            self.mine.map.word32(TX_ASLEEP)?.store(sleep, Ordering::Relaxed);
            self.heavy(socket);
            let seen = self.look_at_head();
            if let (Ok(seen), false) = (&seen, self.fits(size)) {
                let low = *seen as u32;
                sys::futex_wait(self.theirs.map.word32(HEAD)?, low, self.slice(deadline));
            }
            self.mine.map.word32(TX_ASLEEP)?.store(0, Ordering::Relaxed);
            seen?;
            self.drain(socket)?;
            let out_of_time = deadline.passed();
            self.look_at_head()?;
            if self.fits(size) {
                break;
            }
            if self.socket_ended {
                return Err(Failure::word("died"));
            }
            if out_of_time {
                return Err(Failure::word("timeout"));
            }
        }
        Ok(())
    }
}
