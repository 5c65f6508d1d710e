//! Descriptors of the application's own, in a hub.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::event::epoll::{self, EventFlags};

use super::Readiness;
use super::core::Core;
use super::key::Key;
use super::place::{Kind, Place};

/// What a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// To be readable.
    Read,
    /// To be writable.
    Write,
    /// Either.
    Both,
}

impl Interest {
    fn flags(self) -> EventFlags {
        let (read, write) = (EventFlags::IN | EventFlags::RDHUP, EventFlags::OUT);
        match self {
            Self::Read => read,
            Self::Write => write,
            Self::Both => read | write,
        }
    }
}

/// Something with a descriptor that a hub waits for: it derefs to it. Dropping it takes it out of the hub. Its descriptor has to stay
/// the one that it was made with: the hub waits for that.
///
/// ```
/// use std::io::Read;
/// use std::os::unix::net::UnixStream;
/// use memring::hub::{Event, Hub, Interest};
///
/// let (mut other, stream) = UnixStream::pair()?;
/// let mut hub = Hub::new()?;
/// let mut stream = hub.watch(stream, Interest::Read)?;
/// std::io::Write::write_all(&mut other, b"news")?;
/// match hub.wait(None)? {
///     Some(Event::Ready(key, readiness)) => {
///         assert!(key == stream.key() && readiness.readable);
///         let mut news = [0; 4];
///         stream.read_exact(&mut news)?;
///     }
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Watched<F: AsFd> {
    descriptor: Option<F>,
    key: Key,
    core: Rc<RefCell<Core>>,
}

impl<F: AsFd> Watched<F> {
    pub(super) fn new(
        core: &Rc<RefCell<Core>>,
        descriptor: F,
        interest: Interest,
    ) -> io::Result<Self> {
        let place = Place::Descriptor(Readiness::default());
        let wanted = (descriptor.as_fd(), interest.flags());
        let key = core.borrow_mut().add(place, Some(wanted))?;
        Ok(Self { descriptor: Some(descriptor), key, core: Rc::clone(core) })
    }

    /// What events name it by.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// Waits for this from now on.
    ///
    /// # Errors
    ///
    /// In a forked child; what the kernel says.
    pub fn set_interest(&mut self, interest: Interest) -> io::Result<()> {
        let core = self.core.borrow();
        core.check_process()?;
        let data = epoll::EventData::new_u64(self.key.to_bits());
        Ok(epoll::modify(&core.epoll, (**self).as_fd(), data, interest.flags())?)
    }

    /// What it was made of, which the hub waits for no more.
    #[must_use]
    pub fn into_inner(mut self) -> F {
        self.leave();
        self.descriptor.take().expect("it is taken by who takes or drops what holds it")
    }

    fn leave(&self) {
        let Some(descriptor) = &self.descriptor else { return };
        let descriptor = descriptor.as_fd();
        let mut core = self.core.borrow_mut();
        // In a forked child the epoll is its parent's too.
        if core.remove(self.key, Kind::Watched) && core.check_process().is_ok() {
            let _nothing_left_to_do_if_not = epoll::delete(&core.epoll, descriptor);
        }
    }
}

impl<F: AsFd> Deref for Watched<F> {
    type Target = F;

    fn deref(&self) -> &F {
        self.descriptor.as_ref().expect("it is taken by who takes or drops what holds it")
    }
}

impl<F: AsFd> DerefMut for Watched<F> {
    fn deref_mut(&mut self) -> &mut F {
        self.descriptor.as_mut().expect("it is taken by who takes or drops what holds it")
    }
}

impl<F: AsFd> Drop for Watched<F> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl<F: AsFd + fmt::Debug> fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("key", &self.key).field("of", &self.descriptor).finish()
    }
}
