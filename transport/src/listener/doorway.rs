//! A listener in an event loop: its descriptor, and accepting without waiting.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::{AcceptError, BURST, Incoming, Listener};
use crate::bind::{Accepted, LONGEST_PAUSE};
use crate::trace;

/// One who waits for peers at a descriptor, and not in [`Listener::accept`].
pub struct Doorway {
    listener: Arc<Listener>,
    /// Holds the listening socket, unless connections are paused; the bell; and the timer.
    epoll: OwnedFd,
    /// Rings when the pause is over.
    timer: OwnedFd,
    paused: Option<Instant>,
    /// Why, and whether that was said.
    why: Option<(Paused, bool)>,
}

/// A listener takes no connections for a while: the process or the system lacks what they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{}", self.sentence())]
pub struct Paused {
    /// What the kernel said.
    pub errno: i32,
}

impl Paused {
    fn sentence(self) -> String {
        let what = match Errno::from_raw_os_error(self.errno) {
            Errno::MFILE => {
                "this process has as many descriptors as it may: raise its limit (ulimit -n)"
            }
            Errno::NFILE => "the system has as many open files as it may: raise fs.file-max",
            _ => "the system has no memory for them",
        };
        format!("no connections are taken until some have ended: {what}")
    }
}

impl Doorway {
    /// Makes the descriptors.
    ///
    /// # Errors
    ///
    /// What the kernel says of two more descriptors.
    pub fn new(listener: Arc<Listener>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let doorway = Self { listener, epoll, timer, paused: None, why: None };
        doorway.add(&doorway.listener.shared.bell)?;
        doorway.add(&doorway.timer)?;
        doorway.add(&doorway.listener.bound.as_fd())?;
        Ok(doorway)
    }

    fn add(&self, fd: &impl AsFd) -> io::Result<()> {
        let data = epoll::EventData::new_u64(0); // nobody asks which it was
        Ok(epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)?)
    }

    /// The next peer whose handshake has come as far as asking for a channel, if there is one by now. `None` means that
    /// the descriptor becomes readable when it is worth another try.
    ///
    /// # Errors
    ///
    /// As [`Listener::accept`], but for the deadline.
    pub fn try_accept(&mut self) -> Result<Option<Incoming>, AcceptError> {
        let Self { listener, .. } = self;
        if !listener.generation.is_current() {
            return Err(AcceptError::Forked);
        }
        if let Some(offer) = listener.shared.take() {
            self.why = None;
            return Ok(Some(Incoming { offer }));
        }
        if listener.shared.is_stopped() {
            return Err(AcceptError::ShutDown);
        }
        if let Some(until) = self.paused {
            if Instant::now() < until {
                return Ok(None);
            }
            // It was there before, and is watched as it was; or when there is memory for that.
            match self.add(&self.listener.bound.as_fd()) {
                Err(error) if error.raw_os_error() != Some(Errno::EXIST.raw_os_error()) => {
                    self.paused = Some(Instant::now() + LONGEST_PAUSE);
                    self.set_timer(LONGEST_PAUSE).map_err(AcceptError::System)?;
                    return Ok(None);
                }
                _ => {}
            }
            self.set_timer(Duration::ZERO).map_err(AcceptError::System)?;
            self.paused = None;
        }
        if let Some(shortage) = self.listener.shared.shortage()
            && let Some(pause) = shortage.until.checked_duration_since(Instant::now())
        {
            self.why.get_or_insert((Paused { errno: shortage.errno }, false));
            self.pause(pause).map_err(AcceptError::System)?;
            return Ok(None);
        }
        for _ in 0..BURST {
            match self.listener.bound.accept() {
                Ok(Accepted::Connection(socket)) => self.listener.shared.receive(socket),
                Ok(Accepted::WouldBlock) => return Ok(None),
                Ok(Accepted::Forked) => return Err(AcceptError::Forked),
                Ok(Accepted::Pause { pause, why }) => {
                    trace::paused(&why);
                    let errno = why.raw_os_error().unwrap_or_default();
                    self.why.get_or_insert((Paused { errno }, false));
                    self.listener.shared.failed();
                    self.pause(pause).map_err(AcceptError::System)?;
                    return Ok(None);
                }
                Err(_) if self.listener.shared.is_stopped() => return Err(AcceptError::ShutDown),
                Err(error) => return Err(AcceptError::System(error)),
            }
        }
        // There are more, and a loop that goes by edges hears of none of them again.
        self.listener.shared.ring();
        Ok(None)
    }

    /// Why no connections are taken for a while, said once: until one is again.
    pub fn take_paused(&mut self) -> Option<Paused> {
        let (why, said) = self.why.as_mut()?;
        (!std::mem::replace(said, true)).then_some(*why)
    }

    /// Leaves the socket alone for so long: the process lacks descriptors or memory.
    fn pause(&mut self, pause: Duration) -> io::Result<()> {
        epoll::delete(&self.epoll, self.listener.bound.as_fd())?;
        self.paused = Some(Instant::now() + pause);
        self.set_timer(pause)
    }

    /// Zero stops it, and makes it unreadable.
    fn set_timer(&self, after: Duration) -> io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: after.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

impl AsFd for Doorway {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl fmt::Debug for Doorway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorway").field("listener", &self.listener).finish_non_exhaustive()
    }
}
