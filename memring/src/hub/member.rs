//! Members: channels and receivers that a hub waits for.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;

use memring_codec::Message;

use super::core::Core;
use super::key::Key;
use super::place::Kind;
use super::seen::State;
use crate::channel::Channel;
use crate::polled::{Arm, Half, NotPolled};
#[cfg(doc)]
use crate::receiver::Receiver;
use crate::select::Selectable;

/// A [`Channel`] or [`Receiver`] that a hub waits for, and that is used as before: it derefs to it. Dropping it takes it out of
/// the hub, and closes it.
///
/// It stays in the hub's thread. For a sender in another thread, split the channel and add its receiver.
///
/// # Panics
///
/// [`into_inner`](Self::into_inner) and [`await_room`](Self::await_room), if another channel was put in the place of the one that joined:
/// the hub waits for that.
pub struct Member<H: Joins> {
    half: Option<H>,
    key: Key,
    state: Rc<State>,
    core: Rc<RefCell<Core>>,
}

impl<H: Joins> Member<H> {
    pub(super) fn new(core: &Rc<RefCell<Core>>, mut half: H) -> Result<Self, NotPolled<H>> {
        let lookout = half.consumer().lookout();
        let added = core.borrow_mut().add_session(half.session(), lookout);
        match added {
            Ok((key, state)) => Ok(Self { half: Some(half), key, state, core: Rc::clone(core) }),
            Err(error) => Err(NotPolled { half: Box::new(half), error }),
        }
    }

    /// What events name it by.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// Has the hub yield no [`Event::Readable`](super::Event::Readable) for it until [`resume`](Self::resume): for who has an
    /// answer that there is no room for, and takes no further question before that has gone. The peer's messages stay in its
    /// lane, and when that is full it waits; the hub does not spend time on them.
    ///
    /// An end is told when nothing lies before it, but of a peer that only stopped sending, which is told after `resume`. Room that is
    /// [awaited](Self::await_room) is told all the same.
    pub fn pause(&mut self) {
        self.state.paused.set(true);
    }

    /// Has the hub yield what there is to receive again.
    pub fn resume(&mut self) {
        if self.state.paused.take() {
            self.core.borrow_mut().touch(self.key);
        }
    }

    /// What it was made of, which no hub waits for any more.
    #[must_use]
    pub fn into_inner(mut self) -> H {
        self.check();
        let half = self.take();
        half.session().leave_loop();
        half
    }

    fn check(&self) {
        let same = self.core.borrow_mut().holds(self.key, self.session());
        assert!(same, "another channel was put in the place of the one that the hub waits for");
    }

    fn take(&mut self) -> H {
        self.core.borrow_mut().remove(self.key, Kind::Session);
        self.half.take().expect("it is taken by who takes or drops the member")
    }
}

impl<S: Message + ?Sized, R: Message + ?Sized> Member<Channel<S, R>> {
    /// Has the hub yield [`Event::Room`](super::Event::Room) when there is room for what a `try_send` refused last as
    /// [`Full`](crate::TrySendError::Full). [`Arm::Ready`]: there is by now, or an end, and no event comes.
    ///
    /// ```
    /// use memring::hub::{Event, Hub};
    /// use memring::{Arm, Bytes, Connector, Lanes, TrySendError};
    ///
    /// let small = Connector::new().lanes(Lanes::Normal, Lanes::Bytes(4096));
    /// let (server, mut client) = small.pair::<Bytes>()?;
    /// let mut hub = Hub::new()?;
    /// let mut server = hub.add(server)?;
    /// while server.try_send(&[0; 1000]).is_ok() {}
    /// assert_eq!(server.await_room(), Arm::Armed);
    /// # let reading = std::thread::spawn(move || { while client.recv_deadline(
    /// #     std::time::Instant::now() + std::time::Duration::from_millis(200)).is_ok() {} client });
    /// loop {
    ///     match hub.wait(None)? {
    ///         Some(Event::Room(key)) if key == server.key() => match server.try_send(&[0; 1000]) {
    ///             Err(TrySendError::Full) if server.await_room() == Arm::Armed => {}
    ///             Ok(()) => break,
    ///             sent => sent?,
    ///         },
    ///         _ => {}
    ///     }
    /// }
    /// # reading.join().unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn await_room(&mut self) -> Arm {
        self.check();
        self.state.room.set(true);
        let (sender, _) = self.halves();
        sender.ask_for_room();
        sender.session().fence();
        if !sender.has_room() {
            return Arm::Armed;
        }
        sender.producer_mut().take_back_doorbell();
        self.state.room.set(false);
        Arm::Ready
    }
}

impl<H: Joins> Deref for Member<H> {
    type Target = H;

    #[inline]
    fn deref(&self) -> &H {
        self.half.as_ref().expect("it is taken by who takes or drops the member")
    }
}

impl<H: Joins> DerefMut for Member<H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut H {
        if self.state.cold.get() {
            self.core.borrow_mut().touch(self.key);
        }
        self.half.as_mut().expect("it is taken by who takes or drops the member")
    }
}

impl<H: Joins> Drop for Member<H> {
    fn drop(&mut self) {
        if self.half.is_none() {
            return;
        }
        let half = self.take();
        let session = Arc::clone(half.session());
        drop(half);
        session.leave_loop(); // its other half may be elsewhere
    }
}

impl<H: Joins + fmt::Debug> fmt::Debug for Member<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("key", &self.key).field("half", &self.half).finish()
    }
}

/// What a hub can wait for: a [`Channel`], or a [`Receiver`].
pub trait Joins: Half + Selectable {}

impl<H: Half + Selectable> Joins for H {}
