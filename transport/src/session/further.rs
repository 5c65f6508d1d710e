//! Further channels: either side asks for one, the other takes it or declines.
//!
//! Each is a session of its own over a socket of its own, with the handshake that every session has; so what breaks one
//! breaks no other, and its lanes, its descriptors and its end are its own. The accepting side makes the socket and sends
//! the other end, whoever asked: it is sent none itself.
//!
//! What peers ask is heard by whoever reads the control socket and filed here; nothing waits for a peer but the calls that
//! say so. Where this side accepts, the handshake of what it was asked for goes on in a thread, and the application
//! decides when it is done, as for peers of a listener.

mod ours;
#[cfg(test)]
mod tests;
mod theirs;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use memring_ring::End;

use super::Session;
use crate::control::{Metadata, Sentence};
use crate::establish::{Greeting, HandshakeError};
use crate::handshake::{Carries, Role};
use crate::quota::Quotas;
use crate::settings::Settings;
use crate::socket::ControlSocket;

use ours::Answered;
pub use theirs::Asked;
use theirs::Offered;
pub(super) use theirs::{Owed, Said};

/// What a session came of, and its further channels come of too.
pub(crate) struct Standing {
    pub role: Role,
    pub settings: Settings,
    pub quotas: Option<Quotas>,
}

/// The further channels of a session.
pub(super) struct Further {
    standing: Standing,
    /// Held while an ask is numbered and sent: they come in the order of their numbers. Before `state`.
    asking: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
    /// How often something was offered: whoever waits for several things looks whether that has grown since he last did.
    news: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The numbers of our last ask, and of the peer's.
    asked: u32,
    heard: u32,
    /// Ours that are waited for, and what became of them.
    waiting: BTreeMap<u32, Option<Answered>>,
    /// The peer's, for the application to decide.
    offered: VecDeque<Offered>,
    /// Those that it is deciding on.
    in_hand: usize,
    /// Handshakes of what it asked for.
    under_way: usize,
    /// Channels that it asked for and has.
    open: Vec<Weak<Session>>,
}

/// Why there is no further channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FurtherError {
    /// One of the sides does not allow any in this session.
    #[error("this session has one channel: both sides have to allow further ones when it begins")]
    NotAllowed,
    /// The peer does not want it.
    #[error("the peer declined{}", with_sentence(.0.as_str()))]
    Declined(Sentence<'static>),
    /// There are as many as the peer allows.
    #[error("the peer allows no more channels now{}", with_sentence(.0.as_str()))]
    TooMany(Sentence<'static>),
    /// The deadline passed.
    #[error("the peer did not decide before the deadline")]
    TimedOut,
    /// The session has ended.
    #[error(transparent)]
    Ended(#[from] End),
    /// The handshake of the channel failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The socket that came cannot be one of this session's.
    #[error("what the peer sent is no socket of this session's")]
    NotUsable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn with_sentence(sentence: &str) -> String {
    if sentence.is_empty() { String::new() } else { format!(": {sentence}") }
}

impl Further {
    pub(super) fn new(standing: Standing) -> Self {
        Self {
            standing,
            asking: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            news: AtomicU64::new(0),
        }
    }

    pub(super) fn role(&self) -> Role {
        self.standing.role
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever waits has to look. Once the session is over nothing is offered any more, and those who asked see it at once.
    pub(super) fn wake(&self, over: bool) {
        // Under the lock, so that nobody is between his look and his sleep.
        let mut state = self.lock();
        if over {
            state.offered.clear();
        }
        self.changed.notify_all();
    }

    /// The settings of a further channel whose messages carry this.
    fn settings(&self, carries: [Carries; 2], deadline: Instant) -> Settings {
        let timeout = deadline.saturating_duration_since(Instant::now());
        Settings {
            channels: 0,
            metadata: Metadata::default(),
            carries,
            handshake_timeout: timeout,
            ..self.standing.settings.clone()
        }
    }
}

impl State {
    /// How many the peer has of those that it asked for, or may yet have.
    fn held(&mut self) -> usize {
        self.open.retain(|session| session.strong_count() > 0);
        self.offered.retain(|offered| !offered.has_gone());
        self.open.len() + self.under_way + self.offered.len() + self.in_hand
    }
}

impl Session {
    /// Which side of the session this process is, if it may have further channels.
    #[must_use]
    pub fn further_role(&self) -> Option<Role> {
        self.further.as_ref().map(Further::role)
    }

    fn further(&self) -> Result<&Further, FurtherError> {
        if !self.generation.is_current() {
            return Err(End::Forked.into());
        }
        self.further.as_ref().ok_or(FurtherError::NotAllowed)
    }

    /// A socket for a further channel: our end, and the peer's.
    fn socket_for(&self, deadline: Instant) -> std::io::Result<(Greeting, OwnedFd)> {
        let (ours, theirs) = ControlSocket::pair()?;
        let _unsupported_is_fine = ours.pass_rights(false)?;
        // Who made it is us, so the kernel is no help in saying who is there. Who sends the first packet is watched.
        let peer = self.peer.without_pidfd();
        Ok((Greeting::new(ours, peer, deadline), theirs.into()))
    }

    fn wait_for_news<'a>(
        &self,
        further: &'a Further,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> Result<MutexGuard<'a, State>, FurtherError> {
        if let Some(end) = self.life.end() {
            return Err(end.into());
        }
        let Some(deadline) = deadline else {
            return Ok(further.changed.wait(state).unwrap_or_else(PoisonError::into_inner));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(FurtherError::TimedOut);
        }
        let waited = further.changed.wait_timeout(state, left);
        Ok(waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

impl fmt::Debug for Further {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Further").field("role", &self.role()).finish_non_exhaustive()
    }
}
