//! Notifiers: what an event loop, or a task, waits for instead of a futex.
//!
//! A notifier is told of everything that may end such a wait: a doorbell that somebody else read from the control
//! socket, and an end that does not show there. The loop's descriptor is an epoll of ours that holds the control
//! socket and an eventfd that never leaves this process; a task has a waker.
//!
//! Who arms ([`Session::begin_to_arm`], then the halves) reads the control socket himself, to its end. From then on
//! the watcher looks for hang-ups only, so that a doorbell wakes the loop and no thread of ours beside it. A thread that
//! goes to wait in a futex finds that it has to look, reads, and has the watcher look for everything again.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::io::Errno;

use memring_ring::Host;

use super::{Drained, Look, Session};
use crate::drainer;

/// One event loop, or one task, that waits for things of one session.
#[derive(Debug)]
pub struct Notifier {
    who: Who,
    told: Mutex<Told>,
    /// The news of further channels that it has had.
    channels: AtomicU64,
}

/// Who waits, and how he is told.
#[derive(Debug)]
enum Who {
    /// A loop of one session, by this, which is in its epoll.
    Loop(OwnedFd),
    /// A loop of many, which has a list of those to look at.
    Hub(Waker),
    /// A task, by its waker; and how many of the session there are.
    Task(Arc<AtomicUsize>),
}

impl Drop for Notifier {
    fn drop(&mut self) {
        if let Who::Task(tasks) = &self.who {
            tasks.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[derive(Debug, Default)]
struct Told {
    /// It was told, and has not begun to look; if it has an eventfd, that is readable.
    rung: bool,
    waker: Option<Waker>,
}

/// Everybody who is to be told.
#[derive(Debug, Default)]
pub(super) struct Notifiers {
    list: Mutex<Vec<Weak<Notifier>>>,
    tasks: Arc<AtomicUsize>,
}

/// What becomes readable when one has to look: the eventfd and the control socket. The peer's pidfd is the watcher's: it says
/// that the peer has died before it tells, while here it would wake a loop that finds nothing yet.
fn epoll_of(event: &OwnedFd, session: &Session) -> io::Result<OwnedFd> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64(0); // nobody asks which it was
    epoll::add(&epoll, event, data, epoll::EventFlags::IN)?;
    epoll::add(&epoll, session.fd(), data, ENDS_TOO)?;
    Ok(epoll)
}

const ENDS_TOO: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::RDHUP);

/// Waits until one of these is readable, or the deadline has passed.
///
/// # Errors
///
/// What the kernel says.
pub fn wait_readable(fds: &[BorrowedFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    let mut fds: Vec<_> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = deadline.map(|deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Notifier {
    /// Whether it was told to look since it last was about to; if not, this task is woken then.
    pub fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let known =
            |told: &Told| told.waker.as_ref().is_some_and(|it| it.will_wake(context.waker()));
        let told = self.lock();
        if told.rung {
            return Poll::Ready(());
        }
        if known(&told) {
            return Poll::Pending;
        }
        drop(told); // to copy a waker, and to drop one, may do anything
        let waker = context.waker().clone();
        let mut told = self.lock();
        let other = told.waker.replace(waker);
        let rung = told.rung;
        drop(told);
        drop(other);
        if rung { Poll::Ready(()) } else { Poll::Pending }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this count is another than it was.
    pub(super) fn is_news(&self, count: u64) -> bool {
        // ORDERING: Relaxed; one notifier is one waiter's.
        self.channels.swap(count, Ordering::Relaxed) != count
    }

    /// The loop has to look.
    fn tell(&self) {
        let mut told = self.lock();
        let knew = std::mem::replace(&mut told.rung, true);
        if let Who::Loop(event) = &self.who
            && !knew
        {
            // It holds one number, far from its largest, so it takes another.
            told.rung = rustix::io::write(event, &1_u64.to_ne_bytes()).is_ok();
        }
        let waker = told.waker.take();
        drop(told); // a waker may do anything
        match (&self.who, waker) {
            (Who::Hub(hub), _) if !knew => hub.wake_by_ref(),
            (_, Some(waker)) => waker.wake(),
            _ => {}
        }
    }

    /// The loop is about to look.
    fn hush(&self) {
        let mut told = self.lock();
        if told.rung {
            told.rung = match &self.who {
                Who::Loop(event) => rustix::io::read(event, &mut [0; 8]).is_err(),
                Who::Hub(_) | Who::Task(_) => false,
            };
        }
    }
}

impl Notifiers {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Notifier>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, notifier: &Arc<Notifier>) {
        let mut list = self.lock();
        list.retain(|other| other.strong_count() != 0);
        list.push(Arc::downgrade(notifier));
    }

    fn has_tasks(&self) -> bool {
        // ORDERING: Relaxed; one that comes now arms before it waits, and has the watcher look for everything.
        self.tasks.load(Ordering::Relaxed) != 0
    }

    /// Tells all but one, who knows.
    pub(super) fn tell(&self, but: Option<&Notifier>) {
        let knows = |notifier: &Notifier| but.is_some_and(|but| std::ptr::eq(but, notifier));
        let list = self.lock();
        // Most often there is nobody else, and then this allocates nothing.
        let others = list.iter().filter_map(Weak::upgrade).filter(|notifier| !knows(notifier));
        let others: Vec<_> = others.collect();
        drop(list);
        others.iter().for_each(|notifier| notifier.tell());
    }
}

impl Session {
    /// For an event loop: the descriptor becomes readable when it has to look.
    ///
    /// # Errors
    ///
    /// What the kernel says of two more descriptors.
    pub fn notifier(&self) -> io::Result<(OwnedFd, Arc<Notifier>)> {
        self.check_process()?;
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let epoll = epoll_of(&event, self)?;
        Ok((epoll, self.add_notifier(Who::Loop(event))))
    }

    /// For a loop of many sessions: its epoll reports this one's control socket under `data`, by levels, until
    /// [`leave_hub`](Self::leave_hub); `told` is woken when it has to look without that.
    ///
    /// # Errors
    ///
    /// In a forked child; what the kernel says of one more in that epoll.
    pub fn join_hub(
        &self,
        epoll: BorrowedFd<'_>,
        data: u64,
        told: Waker,
    ) -> io::Result<Arc<Notifier>> {
        self.check_process()?;
        let notifier = self.add_notifier(Who::Hub(told));
        epoll::add(epoll, self.fd(), epoll::EventData::new_u64(data), ENDS_TOO)?;
        Ok(notifier)
    }

    /// The epoll reports it no more. Whatever else waits for it is woken as before, see [`leave_loop`](Self::leave_loop).
    pub fn leave_hub(&self, epoll: BorrowedFd<'_>) {
        if self.generation.is_current() {
            let _it_may_have_left_before = epoll::delete(epoll, self.fd());
        }
    }

    /// For a task: it has a waker. The watcher and the drainer see to the control socket.
    ///
    /// # Errors
    ///
    /// In a forked child.
    pub fn task_notifier(&self) -> io::Result<Arc<Notifier>> {
        self.check_process()?;
        let tasks = Arc::clone(&self.notifiers.tasks);
        tasks.fetch_add(1, Ordering::Relaxed);
        Ok(self.add_notifier(Who::Task(tasks)))
    }

    fn check_process(&self) -> io::Result<()> {
        if self.generation.is_current() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::Unsupported, memring_ring::End::Forked))
    }

    /// An event loop waits no more for things of this session: whoever else does is woken as before.
    pub fn leave_loop(self: &Arc<Self>) {
        // Whoever is last takes the session with it.
        if self.generation.is_current() && Arc::strong_count(self) > 1 {
            self.loop_left.store(true, Ordering::Release);
            drainer::submit(Arc::clone(self));
        }
    }

    fn add_notifier(&self, who: Who) -> Arc<Notifier> {
        let notifier =
            Arc::new(Notifier { who, told: Mutex::default(), channels: AtomicU64::new(0) });
        self.notifiers.add(&notifier);
        // A loop sleeps often, and each call of membarrier interrupts every process that runs and has registered.
        if self.life.fences().prefer_full() {
            self.heavy_fence_failed();
        }
        notifier
    }

    /// What comes before halves ask for doorbells: reads the control socket. False if there is more to read than in one
    /// go, or an end to report: then nobody is to wait.
    #[must_use]
    pub fn begin_to_arm(&self, notifier: &Notifier) -> bool {
        if !self.generation.is_current() {
            return false;
        }
        notifier.hush();
        let drained = self.as_reader(Some(notifier), |reader| {
            self.life.take_attention();
            let drained = self.read(reader);
            let go_on = !matches!(drained, Drained::Ended | Drained::Failed);
            if go_on {
                // Who finds more than it reads at once does not wait, and perhaps never again. Tasks, and threads that wait in futexes, need the watcher. A thread that comes later looks for itself.
                let others = drained == Drained::Partly
                    || self.notifiers.has_tasks()
                    || self.life.leave_attention();
                self.settle(reader, if others { Look::ForEverything } else { Look::ForHangUps });
            }
            drained
        });
        drained == Drained::Empty
    }

    /// The heavy fence between asking for doorbells and looking. Where it fails, the notifier is told every now and then.
    pub fn fence(self: &Arc<Self>) {
        self.fence_once(&mut false);
    }

    /// As [`fence`](Self::fence), for one of several armings: a call of the kernel's is made once for all, `called` says
    /// whether it was.
    pub fn fence_once(self: &Arc<Self>, called: &mut bool) {
        if !self.life.fence_once(called) && !self.nudged.swap(true, Ordering::AcqRel) {
            drainer::nudge(self);
        }
    }

    /// Tells everybody once the control socket takes packets again.
    pub fn await_socket_room(&self) {
        if self.generation.is_current() {
            self.as_reader(None, |reader| {
                reader.awaits_room = true;
                self.settle(reader, Look::AsBefore);
            });
        }
    }

    /// Whether the control socket takes packets.
    #[must_use]
    pub fn has_socket_room(&self) -> bool {
        self.socket.has_room()
    }

    /// The time of a nudge has come.
    pub(crate) fn tell_nudged(&self) {
        self.nudged.store(false, Ordering::Release);
        self.tell();
    }

    /// Tells everybody who waits outside of futexes to look.
    pub(crate) fn tell(&self) {
        self.notifiers.tell(None);
        if let Some(further) = &self.further {
            further.wake(self.life.end().is_some());
        }
    }
}
