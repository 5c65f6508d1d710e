//! Learning when the memory of a segment is really gone.
//!
//! A peer may keep a segment long after it has left: an fd, a mapping, even an `O_PATH` fd keeps every
//! page, and the seals forbid us to take them back. Whoever charges memory to a user has to go on
//! charging it until the file itself goes. The kernel says so by inotify: `IN_IGNORED` comes when the last
//! reference of any kind is dropped, and the watch itself is none. One inotify fd serves any number
//! of segments.
//!
//! It does not say who holds the segment.

use std::collections::HashSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::{Errno, retry_on_intr};

use super::Segment;

/// Names a segment for [`Releases::drain`]. Unique among those of one [`Releases`] not yet reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watched(i32);

/// Segments whose end is awaited.
#[derive(Debug)]
pub struct Releases {
    inotify: OwnedFd,
}

/// Whether [`Releases::drain`] saw everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "after a loss some segments are never reported"]
pub enum Drained {
    /// Everything that has ended by now was reported.
    All,
    /// The kernel's queue (`fs.inotify.max_queued_events`, two a segment) ran over between two drains.
    /// Some of the ended segments will never be reported: ask [`Releases::left`].
    SomeLost,
}

impl Releases {
    /// Awaits nothing yet.
    ///
    /// # Errors
    ///
    /// EMFILE when the user has `fs.inotify.max_user_instances` of them, or no fd is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)? })
    }

    /// Awaits the end of `segment`. Call it before the segment is mapped or sent.
    ///
    /// # Errors
    ///
    /// ENOSPC beyond `fs.inotify.max_user_watches`; ENOENT without `/proc`, through which the kernel finds
    /// the file.
    pub fn watch(&self, segment: &Segment) -> io::Result<Watched> {
        // The calling thread's table: one that has left its process's has another under this number.
        let path = format!("/proc/thread-self/fd/{}", segment.memfd.as_raw_fd());
        Ok(Watched(inotify::add_watch(&self.inotify, path, WatchFlags::DELETE_SELF)?))
    }

    /// Reports each segment whose pages were freed since the last call. Never blocks.
    ///
    /// # Errors
    ///
    /// Only if reading an inotify fd fails for another reason than that it is empty.
    pub fn drain(&self, mut gone: impl FnMut(Watched)) -> io::Result<Drained> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut drained = Drained::All;
        loop {
            match retry_on_intr(|| reader.next().map(|event| (event.wd(), event.events()))) {
                Ok((_, events)) if events.contains(ReadFlags::QUEUE_OVERFLOW) => {
                    drained = Drained::SomeLost;
                }
                // The last event of a watch, after which the kernel has forgotten it.
                Ok((watch, events)) if events.contains(ReadFlags::IGNORED) => gone(Watched(watch)),
                Ok(_) => {}
                Err(Errno::AGAIN) => return Ok(drained),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Releases {
    /// Which segments are still awaited, as `/proc/self/fdinfo` lists them: what was reported or lost is not
    /// among them. True of the past only.
    ///
    /// # Errors
    ///
    /// Without `/proc`.
    pub fn left(&self) -> io::Result<HashSet<Watched>> {
        let path = format!("/proc/thread-self/fdinfo/{}", self.inotify.as_raw_fd());
        let info = std::fs::read_to_string(path)?;
        let watches = info.lines().filter_map(|line| {
            let number = line.strip_prefix("inotify wd:")?.split(' ').next()?;
            i32::from_str_radix(number, 16).ok().map(Watched)
        });
        Ok(watches.collect())
    }
}

/// Readable when [`Releases::drain`] has something to report: for an event loop.
impl AsFd for Releases {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
