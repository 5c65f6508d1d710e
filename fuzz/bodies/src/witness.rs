//! A witness of a lane: reads what an honest producer publishes, as its consumer would, and frees no room.
//!
//! It panics at whatever no honest producer publishes: a header that breaks a rule, padding that is not
//! zero, a message in parts that is mixed up or too large, anything behind the end mark.

use std::sync::atomic::Ordering;

use memring_ring::frame::{Entry, Header, Kind};
use memring_ring::memory::Region;
use memring_ring::position::frame_size;

use crate::memory::{LARGEST, offset};

pub struct Witness {
    data: Region,
    /// Where the next frame begins.
    at: u64,
    max_message: u64,
    parts: Option<Parts>,
    ended: bool,
}

struct Parts {
    total: u64,
    tag: u64,
    bytes: Vec<u8>,
}

impl Witness {
    pub fn new(data: Region, start: u64, max_message: u64) -> Self {
        Self { data, at: start, max_message, parts: None, ended: false }
    }

    /// Up to where it has read.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Whether the end mark was read.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Reads up to so many frames; hands over the messages that end in them, tag and bytes.
    pub fn read(&mut self, frames: usize, mut message: impl FnMut(u64, &[u8])) {
        for _ in 0..frames {
            let at = offset(self.at);
            let word = self.data.load64(at, Ordering::Acquire);
            if self.ended || word as u32 == 0 {
                return;
            }
            let header = Header::decode(word, LARGEST).expect("we keep the rules");
            let frame = frame_size(header.len.into());
            let mut payload = vec![0; frame as usize - 16];
            self.data.copy_out(at + 16, &mut payload);
            let padding = payload.split_off(header.len as usize);
            assert!(padding.iter().all(|byte| *byte == 0), "{header:?}");
            let tag = self.data.load64(at + 8, Ordering::Relaxed);
            self.frame(header.kind, tag, payload, &mut message);
            self.at = self.at.wrapping_add(frame);
        }
    }

    fn frame(
        &mut self,
        kind: Kind,
        tag: u64,
        payload: Vec<u8>,
        message: &mut impl FnMut(u64, &[u8]),
    ) {
        match (kind, self.parts.take()) {
            (Kind::Data, None) => {
                assert!(payload.len() as u64 <= self.max_message);
                message(tag, &payload);
            }
            (Kind::Pack, None) if tag != 0 => {
                assert!(tag <= self.max_message);
                let (each, stride) = (tag as usize, tag.next_multiple_of(8) as usize);
                assert!(payload.len() >= 2 * stride, "one alone goes without a pack");
                assert!(payload.len().is_multiple_of(stride));
                for this in payload.chunks(stride) {
                    let (bytes, padding) = this.split_at(each);
                    assert!(padding.iter().all(|byte| *byte == 0), "of {each} bytes each");
                    message(0, bytes);
                }
            }
            (Kind::Pack, None) => {
                let mut rest = &payload[..];
                while !rest.is_empty() {
                    let entry = Entry::decode(rest).expect("we keep the rules");
                    let (this, more) = rest.split_at(Entry::size(entry.len.into()) as usize);
                    let (bytes, padding) = this[16..].split_at(entry.len as usize);
                    assert!(padding.iter().all(|byte| *byte == 0), "{entry:?}");
                    assert!(bytes.len() as u64 <= self.max_message);
                    message(entry.tag, bytes);
                    rest = more;
                }
            }
            (Kind::First, None) => {
                let (total, bytes) = payload.split_first_chunk().expect("nine bytes at least");
                let total = u64::from_le_bytes(*total);
                assert!(total <= self.max_message && total > bytes.len() as u64);
                self.parts = Some(Parts { total, tag, bytes: bytes.to_vec() });
            }
            (Kind::Next | Kind::Last, Some(mut parts)) => {
                parts.bytes.extend(payload);
                let arrived = parts.bytes.len() as u64;
                assert!(tag == parts.tag && arrived <= parts.total);
                assert_eq!(kind == Kind::Last, arrived == parts.total);
                if kind == Kind::Last {
                    message(tag, &parts.bytes);
                } else {
                    self.parts = Some(parts);
                }
            }
            (Kind::Abort, Some(_)) => {}
            (Kind::End, _) => self.ended = true,
            (kind, parts) => panic!("{kind:?}, in the middle of a message: {}", parts.is_some()),
        }
    }
}
