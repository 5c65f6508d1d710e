//! A half of a channel, and how its owner waits: in calls, or in an event loop.
//!
//! A loop keeps the contract of [`Polled`]: it tries, arms, and waits for the descriptor only if armed. It gives up,
//! so a wake that is lost, or a descriptor that calls for nothing without end, shows as a wait in vain. It does so
//! before calls do: of two that wait for each other, the one that was not woken says so.
//!
//! Not here: what is sent and received.

use std::fmt::Display;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use memring::{Arm, Channel, Polled, Receiver, RecvError, Sender, TryRecvError, TrySendError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::random::mix;
use super::support::{PATIENCE, soon};
use super::wrong::Wrong;

/// How long a loop waits.
const LOOP: Duration = Duration::from_secs(PATIENCE.as_secs() / 2);

pub enum Half<H> {
    InCalls(H),
    InLoop(Polled<H>),
}

pub type Tx = Half<Sender<[u8]>>;
pub type Rx = Half<Receiver<[u8]>>;

/// The halves of a side. In one that loops each has a loop of its own, but for one in four.
pub fn split(channel: Channel<[u8], [u8]>, loops: bool, seed: u64) -> (Tx, Rx) {
    let random = mix(seed);
    let (tx, rx) = channel.split();
    let tx = match random % 4 {
        1.. if loops => Half::InLoop(tx.polled().expect("two descriptors")),
        _ => Half::InCalls(tx),
    };
    let rx = match random / 4 % 4 {
        1.. if loops => Half::InLoop(rx.polled().expect("two descriptors")),
        _ => Half::InCalls(rx),
    };
    (tx, rx)
}

impl Rx {
    /// What is wrong when it waited in vain, and whether what it waited for is there all the same.
    pub fn wrong(&mut self, what: impl Display) -> Wrong {
        match self {
            Self::InCalls(_) => Wrong::failed(what),
            Self::InLoop(rx) => wrong_in_loop(rx.arm(), what),
        }
    }

    /// Hands the next message to `look`, once there is one.
    pub fn recv<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Result<T, RecvError> {
        let give_up = Instant::now() + LOOP;
        loop {
            match self.try_recv() {
                Ok(bytes) => return Ok(look(&bytes)),
                Err(TryRecvError::Ended(end)) => return Err(end.into()),
                Err(_) => {} // there is none
            }
            match self {
                Self::InCalls(rx) => return rx.recv_deadline(soon()).map(|bytes| look(&bytes)),
                Self::InLoop(rx) => {
                    if !turn(rx.arm(), rx, give_up) {
                        return Err(RecvError::TimedOut);
                    }
                }
            }
        }
    }
}

impl Tx {
    /// As of the other half.
    pub fn wrong(&mut self, what: impl Display) -> Wrong {
        match self {
            Self::InCalls(_) => Wrong::failed(what),
            Self::InLoop(tx) => wrong_in_loop(tx.arm_for_room(), what),
        }
    }
}

fn wrong_in_loop(arm: Arm, what: impl Display) -> Wrong {
    let lost = if arm == Arm::Ready { ", a wake was lost" } else { "" };
    Wrong::failed(format!("in a loop{lost}: {what}"))
}

/// Sends by `attempt`, once there is room for it. [`TrySendError::Full`] if there never is.
pub fn send_in_loop(
    tx: &mut Polled<Sender<[u8]>>,
    mut attempt: impl FnMut(&mut Sender<[u8]>) -> Result<(), TrySendError>,
) -> Result<(), TrySendError> {
    let give_up = Instant::now() + LOOP;
    loop {
        match attempt(tx) {
            Err(TrySendError::Full) if turn(tx.arm_for_room(), tx, give_up) => {}
            done => return done,
        }
    }
}

/// One turn of a loop: whether to try again. Not if the descriptor is not readable in time.
fn turn(arm: Arm, fd: &impl AsFd, give_up: Instant) -> bool {
    let left = give_up.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).expect("seconds");
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    !left.is_zero() && (arm == Arm::Ready || poll(&mut fds, Some(&timeout)).expect("polled") == 1)
}

impl<H> Deref for Half<H> {
    type Target = H;

    fn deref(&self) -> &H {
        match self {
            Self::InCalls(half) => half,
            Self::InLoop(half) => half,
        }
    }
}

impl<H> DerefMut for Half<H> {
    fn deref_mut(&mut self) -> &mut H {
        match self {
            Self::InCalls(half) => half,
            Self::InLoop(half) => half,
        }
    }
}
