//! Signals that come through a descriptor, to the thread that waits for it.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// Takes signals out of the hands of their handlers while it lives: they are blocked in the thread that made it, and in those
/// that this one starts meanwhile. A thread where they are not blocked is interrupted by them as ever.
#[derive(Debug)]
pub struct Signals {
    descriptor: OwnedFd,
    signals: Vec<i32>,
    /// What this has blocked, and was not before.
    newly: Vec<i32>,
    /// The mask is a thread's.
    _here: PhantomData<*const ()>,
}

thread_local! {
    /// Those that are taken: were one taken twice, who leaves first would let it through to its handler.
    static HELD: RefCell<Vec<i32>> = const { RefCell::new(Vec::new()) };
}

impl Signals {
    /// Blocks these and makes the descriptor, which is readable while one is pending.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a number that is no signal's, or that of one which cannot be blocked; `AlreadyExists` for one that another
    /// of this thread takes; what the kernel says of one more
    /// descriptor.
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        let set = set_of(signals)?;
        if let Some(taken) =
            signals.iter().find(|signal| HELD.with_borrow(|held| held.contains(signal)))
        {
            let why = format!("signal {taken} is taken in this thread already");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        // SAFETY: a set that is alive, and -1 for a new descriptor.
        let made =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if made < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, and nobody else knows it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(made) };
        // SAFETY: plain data, which the next call fills in.
        let mut before: libc::sigset_t = unsafe { mem::zeroed() };
        change_mask(libc::SIG_BLOCK, &set, Some(&mut before))?;
        // SAFETY: a set that is alive, and numbers that `set_of` found to be signals'.
        let was_blocked =
            |signal: i32| unsafe { libc::sigismember(&raw const before, signal) == 1 };
        let newly = signals.iter().copied().filter(|signal| !was_blocked(*signal)).collect();
        HELD.with_borrow_mut(|held| held.extend(signals));
        Ok(Self { descriptor, signals: signals.to_vec(), newly, _here: PhantomData })
    }

    /// The next that is pending, if any is.
    ///
    /// # Errors
    ///
    /// What the kernel says of reading.
    pub fn take(&self) -> io::Result<Option<i32>> {
        let mut told = [0; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.descriptor, &mut told) {
            Ok(len) if len == told.len() => {
                // Its first field is the number.
                let number = told.first_chunk().map_or(0, |first| i32::from_ne_bytes(*first));
                Ok(Some(number))
            }
            Ok(_) => Ok(None),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _a_thread_that_ends_has_none =
            HELD.try_with(|held| held.borrow_mut().retain(|signal| !self.signals.contains(signal)));
        if let Ok(set) = set_of(&self.newly) {
            let _nothing_left_to_do_if_not = change_mask(libc::SIG_UNBLOCK, &set, None);
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }
}

fn set_of(signals: &[i32]) -> io::Result<libc::sigset_t> {
    // SAFETY: plain data; `sigemptyset` makes it a set.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: a live local.
    unsafe { libc::sigemptyset(&raw mut set) };
    for signal in signals {
        let never = matches!(*signal, libc::SIGKILL | libc::SIGSTOP);
        // SAFETY: a live set; a number that is no signal's is refused.
        if never || unsafe { libc::sigaddset(&raw mut set, *signal) } != 0 {
            let why = format!("{signal} is no signal that a process may take");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
    }
    Ok(set)
}

/// `before` is told the mask there was.
fn change_mask(
    how: libc::c_int,
    set: &libc::sigset_t,
    before: Option<&mut libc::sigset_t>,
) -> io::Result<()> {
    let before = before.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: both are live, or null.
    match unsafe { libc::pthread_sigmask(how, set, before) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// The numbers of signals that servers take, which some machines number otherwise.
pub mod number {
    pub use libc::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
}
