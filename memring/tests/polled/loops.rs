//! What waits: loops of every kind, and a channel in one.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use memring::{Arm, Bytes, Channel, End, Polled, ServerEnd, TryRecvError, TrySendError};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use crate::support::PATIENCE;

/// What waits for a descriptor.
pub enum Loop {
    Poll,
    Epoll(OwnedFd),
    Mio(mio::Poll),
}

/// The kinds of them.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Poll,
    Level,
    Edge,
    Mio,
}

pub const KINDS: [Kind; 4] = [Kind::Poll, Kind::Level, Kind::Edge, Kind::Mio];

fn patience() -> Timespec {
    Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 }
}

impl Loop {
    pub fn of(kind: Kind, fd: &impl AsFd) -> Self {
        match kind {
            Kind::Poll => Self::Poll,
            Kind::Level | Kind::Edge => {
                let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
                let edge = matches!(kind, Kind::Edge);
                let edge = if edge { epoll::EventFlags::ET } else { epoll::EventFlags::empty() };
                let data = epoll::EventData::new_u64(0);
                epoll::add(&epoll, fd, data, epoll::EventFlags::IN | edge).expect("added");
                Self::Epoll(epoll)
            }
            Kind::Mio => {
                let poll = mio::Poll::new().expect("mio");
                let interest = mio::Interest::READABLE;
                let fd = fd.as_fd().as_raw_fd();
                let mut source = mio::unix::SourceFd(&fd);
                poll.registry().register(&mut source, mio::Token(0), interest).expect("registered");
                Self::Mio(poll)
            }
        }
    }

    /// Whether the descriptor became readable in time.
    pub fn wait(&mut self, fd: &impl AsFd) -> bool {
        match self {
            Self::Poll => {
                poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&patience())).expect("polled") == 1
            }
            Self::Epoll(epoll) => {
                let mut events = Vec::with_capacity(1);
                let events_of = rustix::buffer::spare_capacity(&mut events);
                epoll::wait(&*epoll, events_of, Some(&patience())).expect("waited") == 1
            }
            Self::Mio(poll) => {
                let mut events = mio::Events::with_capacity(1);
                poll.poll(&mut events, Some(PATIENCE)).expect("polled");
                !events.is_empty()
            }
        }
    }
}

pub fn is_readable(fd: &impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&now)).expect("polled") == 1
}

/// A polled channel of bytes, and its loop.
pub struct Looped {
    pub channel: Polled<Channel<[u8], [u8]>>,
    wait: Loop,
    /// Waits so far.
    pub waits: u64,
}

impl Looped {
    pub fn new(kind: Kind, channel: Channel<[u8], [u8]>) -> Self {
        let channel = channel.polled().expect("two more descriptors");
        let wait = Loop::of(kind, &channel);
        Self { channel, wait, waits: 0 }
    }

    fn wait(&mut self, arm: impl Fn(&mut Polled<Channel<[u8], [u8]>>) -> Arm, what: &str) {
        if arm(&mut self.channel) == Arm::Armed {
            self.waits += 1;
            assert!(self.wait.wait(&self.channel), "a lost wake: {what}");
        }
    }

    /// Hands the next message to `each`; how it ended otherwise.
    pub fn recv<T>(&mut self, each: impl Fn(&[u8]) -> T) -> Result<T, End> {
        loop {
            match self.channel.try_recv() {
                Ok(message) => return Ok(each(&message)),
                Err(TryRecvError::Empty) => self.wait(Polled::<Channel<_, _>>::arm, "a message"),
                Err(TryRecvError::Ended(end)) => return Err(end),
                Err(other) => panic!("{other}"),
            }
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        loop {
            match self.channel.try_send(bytes) {
                Ok(()) => return,
                Err(TrySendError::Full) => {
                    self.wait(Polled::<Channel<_, _>>::arm_for_room, "room");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

pub fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// Sends back what comes, until the peer closes; how often it waited.
pub fn echo(kind: Kind, channel: ServerEnd<Bytes>) -> u64 {
    let mut here = Looped::new(kind, channel);
    loop {
        match here.recv(<[u8]>::to_vec) {
            Ok(bytes) => here.send(&bytes),
            Err(End::Closed) => return here.waits,
            Err(other) => panic!("{other}"),
        }
    }
}
