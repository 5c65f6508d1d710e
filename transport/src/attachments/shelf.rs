//! The shelf: blobs that this side made known to the peer, and the numbers they have on this session.
//!
//! A blob is sent once; from then on messages name its number. How many the peer keeps at a time, it said, so the one that
//! was not sent for the longest time makes room: it is forgotten, and has another number when it is sent again.
//! One that nobody here holds any more is forgotten too. A forgotten one counts until the peer has received every
//! message that named it: until its head is behind the last.
//!
//! Pure: what has to be said to the peer, the caller says.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::blob::SealedMemory;
use crate::control::{Forget, Takes};
use crate::handshake::FIRST_CHANNEL;

/// A blob, and its number. Whoever names one holds it until the message is sent: dropped, the peer is told to forget it.
pub type Numbered = (u64, Arc<SealedMemory>);

#[derive(Debug)]
struct Out {
    memory: Weak<SealedMemory>,
    bytes: u64,
    mentions: u64,
    /// Where the last message ends that named it.
    end: u64,
    /// When it was last named.
    named: u64,
    forgotten: bool,
}

/// What a message has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Nothing.
    Now,
    /// That the peer has read up to there; then ask again.
    Read(u64),
    /// It names more than the peer keeps.
    Never,
}

/// Blobs that the peer knows.
#[derive(Debug)]
pub struct Shelf {
    takes: Takes,
    next: u64,
    clock: u64,
    out: BTreeMap<u64, Out>,
    /// Their numbers, by where their memory is: a place that is no other's as long as it is weakly held in `out`.
    numbers: BTreeMap<usize, u64>,
}

impl Shelf {
    /// For a peer that takes these.
    #[must_use]
    pub fn new(takes: Takes) -> Self {
        Self { takes, next: 1, clock: 0, out: BTreeMap::new(), numbers: BTreeMap::new() }
    }

    /// The number of a blob that the peer knows.
    #[must_use]
    pub fn number(&self, memory: &Arc<SealedMemory>) -> Option<u64> {
        self.numbers.get(&Arc::as_ptr(memory).addr()).copied()
    }

    /// A number that no blob had.
    pub fn new_number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// Whether a message may go that names `known` ones, and makes so many `new` ones known, of so many bytes. Those that
    /// make room are forgotten, which the peer has to be told.
    pub fn room(
        &mut self,
        known: &[Numbered],
        new: u64,
        bytes: u64,
        tell: &mut Vec<Forget>,
    ) -> Room {
        let (most, most_bytes) = (u64::from(self.takes.blobs), self.takes.blob_bytes);
        let fits =
            |count: u64, held: u64| count + new <= most && bytes <= most_bytes.saturating_sub(held);
        let kept: u64 =
            known.iter().filter_map(|(number, _)| self.out.get(number)).map(|out| out.bytes).sum();
        if new != 0 && !fits(known.len() as u64, kept) {
            return Room::Never;
        }
        loop {
            let held: u64 = self.out.values().map(|out| out.bytes).sum();
            if new == 0 || fits(self.out.len() as u64, held) {
                return Room::Now;
            }
            // One that is on its way out, or the one that was named the longest ago.
            let gone = self.out.iter().find(|(_, out)| out.forgotten);
            if let Some((_, out)) = gone {
                return Room::Read(out.end);
            }
            let named = |number: &u64| known.iter().any(|(known, _)| known == number);
            let idle = self.out.iter().filter(|(number, _)| !named(number));
            let Some(number) = idle.min_by_key(|(_, out)| out.named).map(|(number, _)| *number)
            else {
                return Room::Never;
            };
            tell.extend(self.forget(number));
        }
    }

    /// The peer has read up to there.
    pub fn read(&mut self, end: u64) {
        self.out.retain(|_, out| !(out.forgotten && out.end == end));
    }

    /// A message that ends there named these, and the peer knows the new ones from now on.
    pub fn sent(&mut self, end: u64, known: &[Numbered], new: &[Numbered]) {
        self.clock += 1;
        for (number, memory) in new {
            let out = Out {
                memory: Arc::downgrade(memory),
                bytes: memory.len(),
                mentions: 0,
                end,
                named: self.clock,
                forgotten: false,
            };
            self.numbers.insert(Arc::as_ptr(memory).addr(), *number);
            self.out.insert(*number, out);
        }
        for (number, _) in known.iter().chain(new) {
            if let Some(out) = self.out.get_mut(number) {
                out.mentions += 1;
                out.end = end;
                out.named = self.clock;
            }
        }
    }

    /// The peer shall forget it, if it knows it: what to tell it.
    pub fn forget(&mut self, number: u64) -> Option<Forget> {
        let out = self.out.get_mut(&number).filter(|out| !out.forgotten)?;
        out.forgotten = true;
        self.numbers.remove(&out.memory.as_ptr().addr());
        Some(Forget { channel: FIRST_CHANNEL, blob: number, mentions: out.mentions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::MemoryBuilder;

    fn blob(bytes: u64) -> Arc<SealedMemory> {
        Arc::new(MemoryBuilder::new().with_size(bytes).unwrap().seal().unwrap())
    }

    fn numbered(number: u64, memory: &Arc<SealedMemory>) -> Numbered {
        (number, Arc::clone(memory))
    }

    /// Sends `new` in a message that ends at `end`, and names `known` in it.
    #[track_caller]
    fn send(
        shelf: &mut Shelf,
        end: u64,
        known: &[Numbered],
        new: &[&Arc<SealedMemory>],
    ) -> Vec<u64> {
        let bytes = new.iter().map(|memory| memory.len()).sum();
        let mut tell = Vec::new();
        assert_eq!(shelf.room(known, new.len() as u64, bytes, &mut tell), Room::Now);
        assert!(tell.is_empty(), "{tell:?}");
        let new: Vec<_> =
            new.iter().map(|memory| (shelf.new_number(), Arc::clone(memory))).collect();
        shelf.sent(end, known, &new);
        new.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn a_blob_has_its_number_until_it_is_forgotten_and_another_afterwards() {
        let mut shelf = Shelf::new(Takes { fds: 0, blobs: 4, blob_bytes: 100 });
        let (one, two) = (blob(1), blob(2));
        assert_eq!(send(&mut shelf, 16, &[], &[&one, &two]), [1, 2]);
        assert_eq!((shelf.number(&one), shelf.number(&two)), (Some(1), Some(2)));
        assert!(send(&mut shelf, 32, &[numbered(1, &one), numbered(2, &two)], &[]).is_empty());
        assert!(send(&mut shelf, 48, &[numbered(1, &one)], &[]).is_empty());
        let forget = Forget { channel: 0, blob: 1, mentions: 3 };
        assert_eq!((shelf.forget(1), shelf.forget(1)), (Some(forget), None));
        assert_eq!(shelf.number(&one), None);
        assert_eq!(send(&mut shelf, 64, &[numbered(2, &two)], &[&one]), [3]);
        assert_eq!(shelf.number(&one), Some(3));
    }

    #[test]
    fn the_one_named_the_longest_ago_makes_room_once_the_peer_has_read_what_named_it() {
        let mut shelf = Shelf::new(Takes { fds: 0, blobs: 2, blob_bytes: 100 });
        let (one, two, three) = (blob(1), blob(2), blob(3));
        send(&mut shelf, 16, &[], &[&one]);
        send(&mut shelf, 32, &[], &[&two]);
        send(&mut shelf, 48, &[numbered(1, &one)], &[]);
        let mut tell = Vec::new();
        assert_eq!(shelf.room(&[], 1, 3, &mut tell), Room::Read(32));
        assert_eq!(tell, [Forget { channel: 0, blob: 2, mentions: 1 }]);
        assert_eq!(shelf.room(&[], 1, 3, &mut tell), Room::Read(32), "until it has read");
        shelf.read(32);
        assert_eq!(send(&mut shelf, 64, &[], &[&three]), [3]);
        // What the message itself names does not make room for it.
        tell.clear();
        assert_eq!(shelf.room(&[numbered(1, &one)], 1, 2, &mut tell), Room::Read(64));
        assert_eq!(tell, [Forget { channel: 0, blob: 3, mentions: 1 }]);
        assert_eq!(shelf.room(&[numbered(1, &one)], 2, 2, &mut tell), Room::Never);
    }

    #[test]
    fn bytes_make_room_as_numbers_do() {
        let mut shelf = Shelf::new(Takes { fds: 0, blobs: 10, blob_bytes: 100 });
        let (one, two, three) = (blob(60), blob(40), blob(50));
        send(&mut shelf, 16, &[], &[&one]);
        send(&mut shelf, 32, &[], &[&two]);
        let mut tell = Vec::new();
        assert_eq!(shelf.room(&[], 1, three.len(), &mut tell), Room::Read(16));
        assert_eq!(tell.len(), 1, "the first is enough");
        assert_eq!(shelf.room(&[], 1, 101, &mut tell), Room::Never);
        assert_eq!(shelf.room(&[numbered(2, &two)], 1, 61, &mut tell), Room::Never);
    }
}
