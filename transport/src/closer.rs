//! The closer: threads that close descriptors whose close may block.
//!
//! A descriptor that a peer sent can be anything: closing one on a FUSE file system waits for
//! whoever serves it, closing a socket that lingers waits for the network. So nothing a peer sent is
//! closed where somebody waits. It is handed in here, and a thread started on first need closes it. So is a
//! control socket in whose queue such a descriptor may lie unread, for it is closed with the socket.
//!
//! One close that never returns must not keep all later ones from happening, so a thread about
//! to close calls another if more is waiting, up to four; those beyond the first end when
//! they find nothing to do. Before a sandbox one is started, and that is all there will be. When no
//! thread can be started the descriptors wait for the next attempt, and beyond a thousand of them the
//! oldest are closed in place: a bounded number of descriptors held, at the price of a close that may
//! block. A forked child has a closer of its own; descriptors
//! waiting in the parent's stay, in the child, open until it execs or ends.
//!
//! What a session of a listener's brought is charged to its peer until it is closed. Whoever keeps all four threads in
//! closes that never return so comes to the end of its own share, and not this process to the end of its table.
//!
//! It does not look at what it closes, and promises no order.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use memring_ring::fork::PerProcess;

use crate::os;
use crate::quota::Ticket;
use crate::thread;

/// Threads that may be stuck in a close at the same time.
const MOST_THREADS: usize = 4;

/// Descriptors that wait for a thread before any is closed in place: four full packets.
const MOST_WAITING: usize = 4 * os::MAX_PACKET_FDS;

/// A descriptor that came from somebody else and has not been looked at.
///
/// Its own type, so that it cannot be closed, or asked anything, by accident: dropping it hands it
/// to the closer thread. The first system call made on one should be `F_GET_SEALS`, which never
/// blocks; once that says a memfd, [`into_owned`](Self::into_owned) is safe to use.
#[derive(Debug)]
pub struct ForeignFd {
    fd: Option<OwnedFd>,
    /// What it is charged to until it is closed, or somebody's own.
    charge: Option<Arc<Ticket>>,
}

impl ForeignFd {
    /// Marks a descriptor as somebody else's.
    #[must_use = "dropping it closes the descriptor"]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd: Some(fd), charge: None }
    }

    /// Keeps this charged until it is closed.
    pub(crate) fn charge(&mut self, ticket: &Arc<Ticket>) {
        self.charge = Some(Arc::clone(ticket));
    }

    /// The descriptor, to be closed like any other from here on.
    #[must_use = "dropping it closes the descriptor in place"]
    pub fn into_owned(mut self) -> OwnedFd {
        self.take().expect("only into_owned and drop take it, and both consume it")
    }

    /// Whether it was not taken yet.
    pub(crate) fn is_there(&self) -> bool {
        self.fd.is_some()
    }

    /// The descriptor, from a place that cannot be consumed. There is none afterwards.
    pub(crate) fn take(&mut self) -> Option<OwnedFd> {
        self.fd.take()
    }
}

impl AsFd for ForeignFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("only into_owned and drop take it, and both consume it").as_fd()
    }
}

impl AsRawFd for ForeignFd {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for ForeignFd {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            drop(closer().hand_in([Waiting { _fd: fd, _charge: self.charge.take() }]));
        }
    }
}

/// Closes `fd` on another thread, soon. Never blocks on it (but see the module's last resort).
pub fn close(fd: OwnedFd) {
    close_all(std::iter::once(fd));
}

/// [`close`] for several, under one lock.
pub fn close_all(fds: impl IntoIterator<Item = OwnedFd>) {
    drop(closer().hand_in(fds.into_iter().map(Waiting::from)));
}

/// Sees to what has waited for want of a thread.
pub(crate) fn try_again() {
    let closer = closer();
    closer.call_for_help(&mut closer.lock());
}

/// Starts a thread now, and none later, for that may be forbidden.
pub(crate) fn before_sandbox() {
    closer().settle();
}

fn closer() -> &'static Closer {
    static CLOSER: PerProcess<Closer> = PerProcess::new();
    CLOSER.get_or_init(|| Closer::new(spawn))
}

fn spawn(closer: &'static Closer) -> bool {
    thread::start_and_wait(c"memring-closer", move || closer.run()).is_ok()
}

#[derive(Debug)]
struct Closer {
    state: Mutex<State>,
    handed_in: Condvar,
    spawn: fn(&'static Closer) -> bool,
}

/// A descriptor to be closed, and then no more charged.
#[derive(Debug)]
struct Waiting {
    _fd: OwnedFd,
    _charge: Option<Arc<Ticket>>,
}

impl From<OwnedFd> for Waiting {
    fn from(fd: OwnedFd) -> Self {
        Self { _fd: fd, _charge: None }
    }
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Waiting>,
    threads: usize,
    most_threads: usize,
    /// Threads with nothing to do, and those of them that have been called already.
    idle: usize,
    called: usize,
}

impl Closer {
    fn new(spawn: fn(&'static Self) -> bool) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            threads: 0,
            most_threads: MOST_THREADS,
            idle: 0,
            called: 0,
        };
        Self { state: Mutex::new(state), handed_in: Condvar::new(), spawn }
    }

    /// One thread from here on: more, if there are any, end when they have nothing to do.
    fn settle(&'static self) {
        let mut state = self.lock();
        if state.threads == 0 {
            self.start(&mut state);
        }
        state.most_threads = state.threads.min(1);
    }

    fn start(&'static self, state: &mut State) {
        // Under the lock: the new thread waits for it, and no two callers count the same room.
        state.threads += 1;
        if !(self.spawn)(self) {
            state.threads -= 1;
        }
    }

    /// Queues `fds` and sees to it that a thread takes them. Returns those to be closed in place.
    fn hand_in(&'static self, fds: impl IntoIterator<Item = Waiting>) -> Vec<Waiting> {
        let mut state = self.lock();
        state.waiting.extend(fds);
        self.call_for_help(&mut state);
        if state.threads > 0 {
            return Vec::new(); // busy or stuck at worst; the limit on open files bounds what waits
        }
        let surplus = state.waiting.len().saturating_sub(MOST_WAITING);
        state.waiting.drain(..surplus).collect()
    }

    /// If something waits, calls a thread that is idle, or starts one.
    fn call_for_help(&'static self, state: &mut State) {
        if state.waiting.is_empty() {
        } else if state.idle > state.called {
            state.called += 1;
            self.handed_in.notify_one();
        } else if state.threads < state.most_threads {
            self.start(state);
        }
    }

    fn run(&'static self) {
        let mut state = self.lock();
        loop {
            if let Some(waiting) = state.waiting.pop_front() {
                self.call_for_help(&mut state); // the next one shall not wait for this one
                drop(state);
                drop(waiting); // this is what may take for ever
                state = self.lock();
            } else if state.threads > 1 {
                state.threads -= 1;
                return;
            } else {
                state.idle += 1;
                state = self.handed_in.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
                state.called = state.called.saturating_sub(1);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; if something did, the queue would still be a queue.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{alone, eventually};
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    fn watched() -> (OwnedFd, UnixStream) {
        let (closed, seen) = UnixStream::pair().unwrap();
        (closed.into(), seen)
    }

    #[test]
    fn what_is_handed_in_is_closed() {
        let (fd, mut seen) = watched();
        let (more, mut more_seen) = watched();
        close(fd);
        drop(ForeignFd::new(more));
        assert_eq!(seen.read(&mut [0]).unwrap(), 0); // blocks until the other end is closed
        assert_eq!(more_seen.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn what_is_taken_back_stays_open() {
        let (fd, seen) = watched();
        let fd = ForeignFd::new(fd).into_owned();
        seen.set_nonblocking(true).unwrap();
        assert_eq!((&seen).read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        drop(fd);
        assert_eq!((&seen).read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn without_a_thread_descriptors_wait_up_to_a_bound() {
        static CLOSER: OnceLock<Closer> = OnceLock::new();
        let closer = CLOSER.get_or_init(|| Closer::new(|_| false));
        let (first, mut first_seen) = watched();
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        assert!(closer.hand_in([first.into()]).is_empty());
        assert!(closer.hand_in((1..MOST_WAITING).map(|_| null().into())).is_empty());
        let surplus = closer.hand_in([null().into()]);
        assert_eq!(surplus.len(), 1);
        drop(surplus);
        assert_eq!(first_seen.read(&mut [0]).unwrap(), 0); // it was the oldest
        assert_eq!(closer.lock().waiting.len(), MOST_WAITING);
    }

    #[test]
    fn the_next_attempt_takes_what_waited_for_a_thread() {
        static REFUSALS: AtomicUsize = AtomicUsize::new(1);
        let closer: &'static Closer = Box::leak(Box::new(Closer::new(|closer| {
            REFUSALS.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err()
                && spawn(closer)
        })));
        let (fd, mut seen) = watched();
        closer.hand_in([fd.into()]);
        assert_eq!(closer.lock().threads, 0);
        closer.hand_in([]);
        assert_eq!(seen.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn what_waited_for_want_of_a_thread_is_closed_when_a_session_begins() {
        use rustix::process::{Resource::As, Rlimit, getrlimit, setrlimit};
        if !alone("closer::tests::what_waited_for_want_of_a_thread_is_closed_when_a_session_begins")
        {
            return;
        }
        let (fd, mut seen) = watched();
        let sizes = std::fs::read_to_string("/proc/self/statm").unwrap();
        let mapped: u64 = sizes.split(' ').next().unwrap().parse().unwrap();
        let was = getrlimit(As);
        // Half a stack more.
        let current = Some(mapped * rustix::param::page_size() as u64 + (1 << 20));
        setrlimit(As, Rlimit { current, maximum: was.maximum }).unwrap();
        close(fd);
        setrlimit(As, was).unwrap();
        let state = super::closer().lock();
        assert_eq!((state.threads, state.waiting.len()), (0, 1));
        drop(state);
        let _session =
            crate::pair(&crate::Settings::new(), &crate::control::Signature::default()).unwrap();
        assert_eq!(seen.read(&mut [0]).unwrap(), 0); // blocks until the other end is closed
    }

    #[test]
    fn attack_36_a_close_that_blocks_holds_up_no_other() {
        // A lingering TCP socket with unsent bytes: close waits for a minute, or until the reader
        // has read them. Skipped where there is no loopback.
        let Ok(listener) = std::net::TcpListener::bind("127.0.0.1:0") else {
            println!("skipped: no loopback interface");
            return;
        };
        let address = listener.local_addr().unwrap();
        let sender = std::net::TcpStream::connect(address).unwrap();
        let (mut reader, _) = listener.accept().unwrap();
        rustix::net::sockopt::set_socket_linger(&sender, Some(std::time::Duration::from_secs(60)))
            .unwrap();
        sender.set_nonblocking(true).unwrap();
        while std::io::Write::write(&mut (&sender), &[0; 1 << 16]).is_ok() {}

        let closer: &'static Closer = Box::leak(Box::new(Closer::new(spawn)));
        let (other, mut other_seen) = watched();
        closer.hand_in([OwnedFd::from(sender).into(), other.into()]);
        assert_eq!(other_seen.read(&mut [0]).unwrap(), 0); // while the lingering one still lingers
        while reader.read(&mut [0; 1 << 16]).unwrap() > 0 {} // lets the close return
        eventually("the stuck thread is free again", || closer.lock().idle == 1);
    }
}
