//! Both ends of what goes with messages, against each other: whatever is sent, forgotten, read and received in
//! whatever order, an honest peer never finds another at fault, and every name is known.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Fetched, Inbox, Library, Named, Parcel, Room, Shelf, UnderWay};
use crate::blob::{MemoryBuilder, SealedMemory};
use crate::closer::ForeignFd;
use crate::control::{Attached, Attachments, Forget, Takes};

const TAKES: Takes = Takes { fds: 3, blobs: 3, blob_bytes: 9 };
/// Blobs that the application holds, at most.
const HELD: usize = 5;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A message with so many descriptors, that names these blobs.
    Send(u16, Vec<usize>),
    /// The application lets go of a blob, and makes another in its place.
    Drop(usize),
    /// The receiver's control socket is read: one packet.
    Read,
    /// A message is received.
    Receive,
    /// The receiver publishes its head.
    Publish,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..=3_u16, prop::collection::vec(0..HELD, 0..3)).prop_map(|(fds, blobs)| Event::Send(fds, blobs)),
        2 => (0..HELD).prop_map(Event::Drop),
        2 => Just(Event::Read),
        4 => Just(Event::Receive),
        3 => Just(Event::Publish),
    ]
}

enum Packet {
    Attachments(u64, Vec<Attached>, Vec<ForeignFd>),
    Forget(Forget),
}

/// A message in the lane: where it begins, how many descriptors went ahead, and the blobs that it names, with their bytes.
struct Message {
    position: u64,
    fds: u16,
    names: Vec<(u64, u8)>,
}

struct World {
    held: Vec<Arc<SealedMemory>>,
    made: u8,
    shelf: Shelf,
    under_way: UnderWay,
    tail: u64,
    socket: VecDeque<Packet>,
    lane: VecDeque<Message>,
    inbox: Inbox,
    library: Library,
    /// Read, and known to the sender to be.
    read: u64,
    published: u64,
}

/// A blob of one to four bytes, all alike.
fn blob(made: &mut u8) -> Arc<SealedMemory> {
    *made = made.wrapping_add(1);
    let mut memory = MemoryBuilder::new().with_size(u64::from(*made % 4) + 1).unwrap();
    memory.bytes_mut().fill(*made);
    Arc::new(memory.seal().unwrap())
}

impl World {
    fn new() -> Self {
        let mut made = 0;
        Self {
            held: (0..HELD).map(|_| blob(&mut made)).collect(),
            made,
            shelf: Shelf::new(TAKES),
            under_way: UnderWay::new(TAKES.fds),
            // Positions wrap.
            tail: 0_u64.wrapping_sub(64),
            socket: VecDeque::new(),
            lane: VecDeque::new(),
            inbox: Inbox::new(TAKES),
            library: Library::new(TAKES),
            read: 0_u64.wrapping_sub(64),
            published: 0_u64.wrapping_sub(64),
        }
    }

    fn has_read(&self, end: u64) -> bool {
        self.tail.wrapping_sub(self.published) <= self.tail.wrapping_sub(end)
    }

    /// Sends, if that needs no waiting.
    fn send(&mut self, fds: u16, blobs: &[usize]) {
        if let Some(end) = self.under_way.waits_for(fds) {
            if !self.has_read(end) {
                return;
            }
            self.under_way.received(end);
        }
        let (mut known, mut new) = (Vec::new(), Vec::new());
        let mut names = Vec::new();
        for memory in blobs.iter().map(|at| &self.held[*at]) {
            let found = new.iter().find(|(_, other)| Arc::ptr_eq(other, memory));
            let number = match (found, self.shelf.number(memory)) {
                (Some((number, _)), _) => *number,
                (None, Some(number)) => {
                    if !known.iter().any(|(known, _)| *known == number) {
                        known.push((number, Arc::clone(memory)));
                    }
                    number
                }
                (None, None) => {
                    let number = self.shelf.new_number();
                    new.push((number, Arc::clone(memory)));
                    number
                }
            };
            names.push((number, memory.bytes()[0]));
        }
        let bytes = new.iter().map(|(_, memory)| memory.len()).sum();
        loop {
            let mut tell = Vec::new();
            let room = self.shelf.room(&known, new.len() as u64, bytes, &mut tell);
            self.socket.extend(tell.into_iter().map(Packet::Forget));
            match room {
                Room::Now => break,
                Room::Never => return,
                Room::Read(end) if self.has_read(end) => self.shelf.read(end),
                Room::Read(_) => return,
            }
        }
        let own = (0..fds).map(|_| Attached::FD);
        let list: Vec<_> = own
            .chain(new.iter().map(|(number, memory)| Attached::blob(*number, memory.len())))
            .collect();
        if !list.is_empty() {
            let any = self.held[0].as_fd();
            let some = (0..fds).map(|_| any).chain(new.iter().map(|(_, memory)| memory.as_fd()));
            let came = some.map(|fd| ForeignFd::new(fd.try_clone_to_owned().unwrap())).collect();
            self.socket.push_back(Packet::Attachments(self.tail, list.clone(), came));
        }
        self.lane.push_back(Message { position: self.tail, fds: list.len() as u16, names });
        self.tail = self.tail.wrapping_add(16);
        if fds != 0 {
            self.under_way.sent(self.tail, fds);
        }
        self.shelf.sent(self.tail, &known, &new);
    }

    fn drop_blob(&mut self, at: usize) {
        if let Some(number) = self.shelf.number(&self.held[at]) {
            self.socket.extend(self.shelf.forget(number).map(Packet::Forget));
        }
        self.held[at] = blob(&mut self.made);
    }

    fn read_packet(&mut self) -> bool {
        match self.socket.pop_front() {
            None => return false,
            Some(Packet::Attachments(position, list, came)) => {
                let list = Cow::Owned(list);
                let attachments = Attachments { channel: 0, position, list };
                assert!(self.inbox.file(Parcel::new(&attachments, came)), "too many under way");
            }
            Some(Packet::Forget(Forget { blob, mentions, .. })) => {
                let known = self.library.forget(blob, mentions).is_some();
                assert!(known || self.inbox.forget(blob, mentions), "nobody knows blob {blob}");
            }
        }
        true
    }

    fn receive(&mut self) {
        let Some(message) = self.lane.pop_front() else { return };
        let mut due = message.fds != 0;
        while due {
            match self.inbox.fetch(message.position, message.fds) {
                Fetched::All(mut parcel) => {
                    for blob in parcel.take_blobs() {
                        let added =
                            self.library.add(blob.number, blob.bytes, blob.fd, blob.forget_after);
                        assert_eq!(added, Ok(()), "blob {}", blob.number);
                    }
                    due = false;
                }
                Fetched::Nothing => assert!(self.read_packet(), "nothing went ahead"),
                Fetched::Other => panic!("another message's went ahead"),
            }
        }
        self.read = message.position.wrapping_add(16);
        let mut named = Vec::new();
        for (number, byte) in message.names {
            if named.contains(&number) {
                continue;
            }
            named.push(number);
            match self.library.name(number) {
                Some(Named::Here(known)) => assert_eq!(known.memory().bytes()[0], byte),
                other => panic!("blob {number}: {other:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn honest_ends_never_find_each_other_at_fault(
        events in prop::collection::vec(event(), 0..120),
    ) {
        let mut world = World::new();
        for event in events {
            match event {
                Event::Send(fds, blobs) => world.send(fds, &blobs),
                Event::Drop(at) => world.drop_blob(at),
                Event::Read => drop(world.read_packet()),
                Event::Receive => world.receive(),
                Event::Publish => world.published = world.read,
            }
        }
        while !world.lane.is_empty() {
            world.receive();
        }
        while world.read_packet() {}
    }
}
