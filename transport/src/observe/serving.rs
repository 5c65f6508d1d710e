//! The thread of an endpoint: `memring-observe`, which sleeps until somebody asks.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use memring_ring::fork::{Generation, generation};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::Endpoint;
use crate::address::Address;
use crate::listener::ListenError;
use crate::thread;

/// An endpoint that is served until this is dropped; then its file goes.
#[must_use = "nobody is answered any more once it is dropped"]
pub struct Serving {
    address: Address,
    stop: Arc<OwnedFd>,
    /// Hears that the thread has let go of the endpoint.
    ended: Receiver<()>,
    generation: Generation,
}

/// Serves an [`Endpoint`] at this address, on a thread of its own.
///
/// # Errors
///
/// Those of [`Endpoint::bind`], and what the kernel says of a thread.
pub fn serve(address: &Address) -> Result<Serving, ListenError> {
    let endpoint = Endpoint::bind(address)?;
    let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|error| ListenError::System(error.into()))?;
    let stop = Arc::new(stop);
    let (ends, ended) = channel();
    let stopped = Arc::clone(&stop);
    thread::start(c"memring-observe", move || {
        run(endpoint, stopped);
        drop(ends); // by now nothing of it is open
    })
    .map_err(ListenError::System)?;
    Ok(Serving { address: address.clone(), stop, ended, generation: generation() })
}

fn run(mut endpoint: Endpoint, stop: Arc<OwnedFd>) {
    loop {
        let left = endpoint.due().map(|due| due.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut fds = [
            PollFd::new(&*stop, PollFlags::IN),
            PollFd::from_borrowed_fd(endpoint.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        // An endpoint that fails is one that nobody reaches: its file goes, and who comes is told so.
        if !fds[0].revents().is_empty() || endpoint.turn().is_err() {
            return;
        }
    }
}

impl Serving {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if !self.generation.is_current() {
            return; // a forked child: the thread is the parent's
        }
        let told: io::Result<_> =
            rustix::io::write(&self.stop, &1_u64.to_ne_bytes()).map_err(Into::into);
        if told.is_ok() {
            let _nobody_says_anything = self.ended.recv();
        }
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("address", &self.address).finish_non_exhaustive()
    }
}
