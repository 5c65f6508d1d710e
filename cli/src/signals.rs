//! Signals: Ctrl-C and SIGTERM as a message to a thread, instead of a handler that may do next to nothing.
//!
//! Both are blocked before any other thread starts, and one thread waits for them: it makes no system
//! call until one comes. A second signal ends the process at once.

#![allow(unsafe_code)]

use std::io;
use std::sync::mpsc;
use std::thread;

use crate::failure::Status;

/// A file that grows past `RLIMIT_FSIZE` shall be an error with a line, and not the end of the process.
pub(crate) fn ignore_file_size() {
    // SAFETY: to ignore a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Runs `on_first` at the first SIGINT or SIGTERM, on a thread of its own.
///
/// Call it before other threads start: those that are there already would still be killed by the signal.
pub(crate) fn on_interrupt(on_first: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // SAFETY: `sigset_t` is plain data; `sigemptyset` then makes it a set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a live local, and both signals exist. A null old mask is allowed.
    let blocked = unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())
    };
    if blocked != 0 {
        return Err(io::Error::from_raw_os_error(blocked));
    }
    let wait = move || {
        let mut signal = 0;
        // SAFETY: both are live; the set was made above.
        unsafe { libc::sigwait(&raw const set, &raw mut signal) }
    };
    thread::Builder::new().name("interrupt".into()).spawn(move || {
        wait();
        on_first();
        wait();
        std::process::exit(Status::Interrupted as i32)
    })?;
    Ok(())
}

/// A receiver that gets one message at the first SIGINT or SIGTERM.
pub(crate) fn interrupts() -> io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    on_interrupt(move || {
        let _ = sender.try_send(());
    })?;
    Ok(receiver)
}
