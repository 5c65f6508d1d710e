//! A session in the hands of its test: what does not wait is done with the channel itself, and what waits is a call that blocks,
//! or is left to the hub of the server, which has the channel meanwhile.

use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Sender};
use std::time::Instant;

use memring::hub::{Member, Remote};
use memring::{Arm, Bytes, RecvError, SendError, ServerEnd, TryRecvError, TrySendError, View};

use crate::support::soon;

/// The victim's end of a session.
pub struct InHand {
    channel: Option<ServerEnd<Bytes>>,
    desk: Option<Desk>,
}

/// Where a hub takes channels to wait with.
#[derive(Clone)]
pub struct Desk {
    pub jobs: Sender<Job>,
    pub remote: Remote,
}

/// A wait that is left to a hub.
pub struct Job {
    pub channel: ServerEnd<Bytes>,
    pub deadline: Option<Instant>,
    /// Whether it begins with a try; otherwise the hub says when there may be something.
    pub at_once: bool,
    pub attempt: Attempt,
    /// Takes the channel back then.
    pub back: Sender<ServerEnd<Bytes>>,
}

/// One try, perhaps when the deadline has passed. Whether the wait is over.
pub type Attempt = Box<dyn FnMut(&mut Member<ServerEnd<Bytes>>, bool) -> bool + Send>;

impl InHand {
    pub fn new(channel: ServerEnd<Bytes>, desk: Option<Desk>) -> Self {
        Self { channel: Some(channel), desk }
    }

    /// The channel alone.
    pub fn into_channel(mut self) -> ServerEnd<Bytes> {
        self.channel.take().expect(HERE)
    }

    pub fn recv(&mut self) -> Result<Vec<u8>, RecvError> {
        match self.desk {
            Some(_) => self.message(None),
            None => Ok((**self).recv()?.to_vec()),
        }
    }

    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Vec<u8>, RecvError> {
        match self.desk {
            Some(_) => self.message(Some(deadline)),
            None => Ok((**self).recv_deadline(deadline)?.to_vec()),
        }
    }

    fn message(&mut self, deadline: Option<Instant>) -> Result<Vec<u8>, RecvError> {
        self.wait(deadline, false, |channel, late| {
            came(channel.try_recv().map(|message| message.to_vec()), late)
        })
    }

    /// Looks at so many messages, where each lies.
    pub fn look_at<S: Send + 'static>(
        &mut self,
        count: usize,
        mut state: S,
        look: fn(&mut S, View<'_, [u8]>),
    ) -> S {
        if self.desk.is_none() {
            for _ in 0..count {
                look(&mut state, (**self).recv_deadline(soon()).expect("a message"));
            }
            return state;
        }
        let (mut state, mut seen) = (Some(state), 0);
        self.wait(Some(soon()), false, move |channel, late| {
            assert!(!late, "{seen} messages came");
            if let Ok(message) = channel.try_recv() {
                look(state.as_mut()?, message);
                seen += 1;
            }
            if seen < count { None } else { state.take() }
        })
    }

    pub fn recv_with_fds_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<(Vec<u8>, Vec<OwnedFd>), RecvError> {
        if self.desk.is_none() {
            let (message, fds) = self.halves().1.recv_with_fds_deadline(deadline)?;
            return Ok((message.to_vec(), fds));
        }
        self.wait(Some(deadline), false, |channel, late| {
            let received = channel.halves().1.try_recv_with_fds();
            came(received.map(|(message, fds)| (message.to_vec(), fds)), late)
        })
    }

    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        match self.desk {
            Some(_) => self.room(message, None),
            None => (**self).send(message),
        }
    }

    pub fn send_deadline(&mut self, message: &[u8], deadline: Instant) -> Result<(), SendError> {
        match self.desk {
            Some(_) => self.room(message, Some(deadline)),
            None => (**self).send_deadline(message, deadline),
        }
    }

    fn room(&mut self, message: &[u8], deadline: Option<Instant>) -> Result<(), SendError> {
        let message = message.to_vec();
        self.wait(deadline, true, move |channel, late| {
            loop {
                match channel.try_send(&message) {
                    Ok(()) => return Some(Ok(())),
                    Err(TrySendError::Full) if late => return Some(Err(SendError::TimedOut)),
                    Err(TrySendError::Full) if channel.await_room() == Arm::Armed => {
                        channel.pause();
                        return None;
                    }
                    Err(TrySendError::Full) => {}
                    Err(TrySendError::Ended(end)) => return Some(Err(SendError::Ended(end))),
                    Err(other) => panic!("{other}"),
                }
            }
        })
    }

    /// Leaves it to the hub to try this whenever it may come to something.
    fn wait<T: Send + 'static>(
        &mut self,
        deadline: Option<Instant>,
        at_once: bool,
        mut attempt: impl FnMut(&mut Member<ServerEnd<Bytes>>, bool) -> Option<T> + Send + 'static,
    ) -> T {
        let desk = self.desk.as_ref().expect("there is a hub");
        let (back, again) = mpsc::channel();
        let (done, outcome) = mpsc::channel();
        let attempt = Box::new(move |channel: &mut Member<_>, late| {
            attempt(channel, late).is_some_and(|outcome| done.send(outcome).is_ok())
        });
        let channel = self.channel.take().expect(HERE);
        let job = Job { channel, deadline, at_once, attempt, back };
        // If there is no hub any more, nothing comes back.
        desk.jobs.send(job).ok();
        desk.remote.wake();
        self.channel = Some(again.recv().expect("the hub gives it back"));
        outcome.recv().expect("there is one by then")
    }
}

/// What a try came to, unless it is to be made again.
fn came<T>(received: Result<T, TryRecvError>, late: bool) -> Option<Result<T, RecvError>> {
    match received {
        Ok(message) => Some(Ok(message)),
        Err(TryRecvError::Empty) => late.then_some(Err(RecvError::TimedOut)),
        Err(TryRecvError::Ended(end)) => Some(Err(RecvError::Ended(end))),
        Err(other) => panic!("{other}"),
    }
}

const HERE: &str = "it is here while nobody waits with it";

impl Deref for InHand {
    type Target = ServerEnd<Bytes>;

    fn deref(&self) -> &ServerEnd<Bytes> {
        self.channel.as_ref().expect(HERE)
    }
}

impl DerefMut for InHand {
    fn deref_mut(&mut self) -> &mut ServerEnd<Bytes> {
        self.channel.as_mut().expect(HERE)
    }
}
