//! The clock: timers, and the one descriptor that is readable when the next is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::key::Key;

pub(super) struct Clock {
    descriptor: OwnedFd,
    /// When it will be readable.
    set: Option<Instant>,
    /// Timers by when they are due, those that were removed too.
    due: BinaryHeap<Reverse<(Instant, Key)>>,
}

/// A timer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    pub due: Instant,
    pub every: Option<Duration>,
}

impl Timer {
    /// When it is due again, if it is one that is: at a multiple of its period, in the future.
    pub(super) fn next(self, now: Instant) -> Option<Self> {
        let every = self.every?;
        let late = now.saturating_duration_since(self.due);
        let missed = late.as_nanos() / every.as_nanos().max(1);
        let steps = u32::try_from(missed + 1).unwrap_or(u32::MAX);
        let due = every.checked_mul(steps).and_then(|steps| self.due.checked_add(steps))?;
        Some(Self { due, ..self })
    }
}

impl Clock {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { descriptor, set: None, due: BinaryHeap::new() })
    }

    /// A timer of this key is due then.
    pub(super) fn add(&mut self, key: Key, due: Instant) {
        self.due.push(Reverse((due, key)));
    }

    /// Forgets those that were removed, once they are many; `live` are not.
    pub(super) fn tidy(&mut self, live: usize, mut is_live: impl FnMut(Key, Instant) -> bool) {
        if self.due.len() > 2 * live + 64 {
            self.due.retain(|Reverse((due, key))| is_live(*key, *due));
        }
    }

    /// The next that is due by now; and when.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(Instant, Key)> {
        let Reverse((due, _)) = self.due.peek()?;
        if *due > now {
            return None;
        }
        self.due.pop().map(|Reverse(entry)| entry)
    }

    /// The deadline, or when the next timer is due, whichever comes first.
    pub(super) fn next(&self, deadline: Option<Instant>) -> Option<Instant> {
        let next = self.due.peek().map(|Reverse((due, _))| *due);
        [deadline, next].into_iter().flatten().min()
    }

    /// The descriptor is readable at the deadline, or when the next timer is due.
    pub(super) fn set(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let until = self.next(deadline);
        if until == self.set {
            return Ok(());
        }
        // Zero stops it; what has passed by now is due in the shortest of times.
        let left = until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1))
        });
        let after = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let once = Itimerspec { it_interval: zero, it_value: after };
        timerfd_settime(&self.descriptor, TimerfdTimerFlags::empty(), &once)?;
        self.set = until;
        Ok(())
    }

    /// The descriptor is readable: it has to be set anew.
    pub(super) fn rang(&mut self) {
        let _ = rustix::io::read(&self.descriptor, &mut [0; 8]);
        self.set = None;
    }
}

impl AsFd for Clock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_keeps_its_beat_and_skips_what_was_missed() {
        let began = Instant::now();
        let ms = Duration::from_millis;
        let timer = Timer { due: began + ms(10), every: Some(ms(10)) };
        for (now, next) in [(10, 20), (19, 20), (20, 30), (45, 50)] {
            let again = timer.next(began + ms(now)).expect("a period");
            assert_eq!(again.due, began + ms(next), "at {now} ms");
        }
        assert!(Timer { every: None, ..timer }.next(began).is_none());
        let hasty = Timer { due: began, every: Some(Duration::ZERO) };
        assert!(hasty.next(began + ms(1)).is_some_and(|next| next.due >= began));
    }
}
