//! The threads of memring's own. They run none of the application's signal handlers, and a forked child can
//! start them.
//!
//! They are the C library's and not std's. A std thread enters itself into a list as it starts and leaves it
//! as it ends, both under one lock that nothing makes good after a fork: where any thread of the parent was
//! doing so at that moment, no std thread starts in the child ever after. glibc and musl make their own
//! locks good there.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::thread::Result as Outcome;

/// What std gives a thread, whatever limit the process has for its first.
const STACK: usize = 2 << 20;

/// Starts a thread named `name`, of which the kernel shows 15 bytes.
///
/// # Errors
///
/// `EAGAIN` where the kernel, a limit or a sandbox gives no thread.
pub fn start(name: &'static CStr, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // SAFETY: what it runs borrows nothing.
    let thread = unsafe { create(name, Box::new(body)) }?;
    // SAFETY: the thread just made, which nobody joins.
    unsafe { libc::pthread_detach(thread) };
    Ok(())
}

/// [`start`], returning once the thread runs `body`: what it takes to start one is behind it, and nothing that
/// a sandbox forbids from here on.
///
/// # Errors
///
/// Those of [`start`].
pub(crate) fn start_and_wait(
    name: &'static CStr,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let (begins, begun) = std::sync::mpsc::channel::<()>();
    start(name, move || {
        drop(begins);
        body();
    })?;
    let _it_has = begun.recv();
    Ok(())
}

/// Runs `there` on a thread of its own and `here` on this one, and returns when both have ended.
///
/// # Errors
///
/// Those of [`start`]; neither has run then.
///
/// # Panics
///
/// If `here` or `there` does, with the same payload.
pub(crate) fn both<T: Send, H>(
    name: &'static CStr,
    there: impl FnOnce() -> T + Send,
    here: impl FnOnce() -> H,
) -> io::Result<(T, H)> {
    let mut outcome: Option<Outcome<T>> = None;
    let slot = &mut outcome;
    let body = || *slot = Some(catch_unwind(AssertUnwindSafe(there)));
    // SAFETY: the thread is joined below before what `body` borrows ends; `here` cannot unwind past that.
    let thread = unsafe { create(name, Box::new(body)) }?;
    let here = catch_unwind(AssertUnwindSafe(here));
    // SAFETY: the thread just made, joined once.
    let joined = unsafe { libc::pthread_join(thread, ptr::null_mut()) };
    if joined != 0 {
        // It may still run, on borrows of this frame.
        std::process::abort();
    }
    match (outcome, here) {
        (Some(Ok(there)), Ok(here)) => Ok((there, here)),
        (_, Err(panic)) | (Some(Err(panic)), _) => std::panic::resume_unwind(panic),
        (None, _) => unreachable!("a thread that was joined has run"),
    }
}

/// What a new thread is handed.
struct Start<'a> {
    name: &'static CStr,
    body: Box<dyn FnOnce() + Send + 'a>,
}

/// # Safety
///
/// The thread must be joined, or `'a` be `'static`: it may use `body` until it has ended.
unsafe fn create<'a>(
    name: &'static CStr,
    body: Box<dyn FnOnce() + Send + 'a>,
) -> io::Result<libc::pthread_t> {
    let start = Box::into_raw(Box::new(Start { name, body }));
    let made = with_all_signals_blocked(|| {
        let mut attributes = mem::MaybeUninit::uninit();
        let mut thread = mem::MaybeUninit::uninit();
        // SAFETY: the attributes are made by the first call, used by the two after it and by none after
        // the last. `run` frees what it is given, once; the caller answers for how long that is good.
        unsafe {
            check(libc::pthread_attr_init(attributes.as_mut_ptr()))?;
            libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
            let made = libc::pthread_create(
                thread.as_mut_ptr(),
                attributes.as_ptr(),
                run,
                start.cast::<c_void>(),
            );
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
            check(made)?;
            Ok(thread.assume_init())
        }
    });
    if made.is_err() {
        // SAFETY: made above, and no thread was given it.
        drop(unsafe { Box::from_raw(start) });
    }
    made
}

extern "C" fn run(start: *mut c_void) -> *mut c_void {
    // SAFETY: `create` gave it to this thread alone. The lifetime is not 'static, and nothing here outlives
    // this function, which ends before the join that `create` demands.
    let Start { name, body } = *unsafe { Box::from_raw(start.cast::<Start<'_>>()) };
    // SAFETY: a string with its zero; the kernel copies 15 bytes of it.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    // A panic has been reported by its hook, and has nowhere to go from here. The destructor of what it carries
    // is the application's, and may panic once more.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(body))
        && let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
    {
        mem::forget(another);
    }
    ptr::null_mut()
}

/// A thread inherits the mask of the one that starts it, so one started in `f` takes no signal from its first
/// instruction on.
fn with_all_signals_blocked<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: `sigset_t` is plain data; `sigfillset` then makes it a set.
    let mut all: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: as above, for the mask that `pthread_sigmask` fills in.
    let mut before: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: both sets are live locals.
    let blocked = unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before)
    };
    let result = f();
    if blocked == 0 {
        // SAFETY: `before` was filled in by the call that succeeded above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    }
    result
}

fn check(error: libc::c_int) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_thread_has_its_name_and_takes_no_signal() {
        let (says, said) = mpsc::channel();
        start_and_wait(c"memring-tested", move || {
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("/proc");
            says.send(status).expect("the test waits");
        })
        .expect("a thread");
        let status = said.recv().expect("the thread says");
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        assert_eq!(field("Name:"), Some("memring-tested"));
        let blocked = u64::from_str_radix(field("SigBlk:").unwrap(), 16).unwrap();
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGCHLD] {
            assert_ne!(blocked & 1 << (signal - 1), 0, "{signal}");
        }
    }

    #[test]
    fn a_panic_ends_its_thread_alone() {
        let (dropped, seen) = mpsc::channel::<()>();
        start(c"memring-tested", move || {
            let _dropped_on_the_way = dropped;
            panic!("of a test");
        })
        .expect("a thread");
        assert!(seen.recv().is_err());
    }

    #[test]
    fn both_run_at_once_and_their_results_come_back() {
        let (there_begins, there) = mpsc::sync_channel(0);
        let (here_begins, here) = mpsc::sync_channel(0);
        let (mut seen, mine) = (0, std::thread::current().id());
        let borrowed = &mut seen;
        let results = both(
            c"memring-tested",
            move || {
                there_begins.send(()).expect("the other runs");
                here.recv().expect("the other runs");
                *borrowed += 1;
                std::thread::current().id()
            },
            move || {
                there.recv().expect("the other runs");
                here_begins.send(()).expect("the other runs");
                std::thread::current().id()
            },
        );
        let (there, here) = results.expect("a thread");
        assert_ne!(there, here);
        assert_eq!(here, mine);
        assert_eq!(seen, 1);
    }

    #[test]
    fn a_panic_on_either_side_comes_out_when_both_have_ended() {
        for panics_there in [true, false] {
            let mut ran = (false, false);
            let (there, here) = (&mut ran.0, &mut ran.1);
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                both(
                    c"memring-tested",
                    || {
                        *there = true;
                        assert!(!panics_there, "there");
                    },
                    || {
                        *here = true;
                        assert!(panics_there, "here");
                    },
                )
            }));
            let payload = unwound.expect_err("one panics");
            let wanted = if panics_there { "there" } else { "here" };
            assert_eq!(payload.downcast_ref::<&str>(), Some(&wanted));
            assert_eq!(ran, (true, true));
        }
    }
}
