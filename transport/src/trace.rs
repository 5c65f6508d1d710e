//! What is told to `tracing`, with that feature: sessions that open and end, peers that are turned away, listeners that pause.
//!
//! Without the feature nothing is left of this. No event is on the way of a message, and none is told under a lock of ours:
//! a subscriber may do anything. The targets are `memring::session` and `memring::listener`; sleeps are the ring's,
//! `memring::wait`. What a peer broke is a warning, that one died or was turned away is for information, the rest is for debugging.

use std::fmt::Display;
use std::io;

use crate::establish::HandshakeError;
#[cfg(feature = "tracing")]
use crate::establish::accepting::in_full;
use crate::peer::Peer;
use crate::session::Session;

/// What a session remembers of what was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    #[cfg(feature = "tracing")]
    ended: std::sync::atomic::AtomicBool,
}

/// Who is in a handshake, for what is told if that fails. It keeps no descriptor: the handshake's own may go meanwhile.
pub(crate) struct Stranger {
    #[cfg(feature = "tracing")]
    peer: Peer,
}

impl Stranger {
    pub(crate) fn of(peer: &Peer) -> Self {
        let _ = peer;
        Self {
            #[cfg(feature = "tracing")]
            peer: peer.without_pidfd(),
        }
    }
}

/// A session stands.
pub(crate) fn opened(session: &Session) {
    #[cfg(feature = "tracing")]
    tracing::debug!(
        target: "memring::session",
        session = session.record().number(),
        protocol = session.record().protocol(),
        peer = %session.peer(),
        name = session.negotiated().peer_name.as_str(),
        "opened"
    );
    let _ = session;
}

/// A session may have ended: told once, when it first has, or is let go of.
pub(crate) fn ended(session: &Session, last: bool) {
    #[cfg(feature = "tracing")]
    told::ended(session, last);
    let _ = (session, last);
}

/// No session came about with one who wanted it of us.
pub(crate) fn turned_away(peer: &Peer, why: &dyn Display) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "memring::listener", %peer, %why, "turned away");
    let _ = (peer, why);
}

/// A handshake of somebody who wanted a session of us failed.
pub(crate) fn not_greeted(stranger: &Stranger, error: &HandshakeError) {
    #[cfg(feature = "tracing")]
    match (&stranger.peer, error, in_full(error)) {
        (peer, HandshakeError::Fault(_) | HandshakeError::Segment(_), how) => {
            tracing::warn!(target: "memring::listener", %peer, how, "broke the handshake");
        }
        (peer, _, why) => turned_away(peer, &why),
    }
    let _ = (stranger, error);
}

/// No session came about with one whom we wanted it of.
pub(crate) fn not_connected(stranger: &Stranger, error: &HandshakeError) {
    #[cfg(feature = "tracing")]
    tracing::info!(
        target: "memring::session",
        peer = %stranger.peer,
        why = in_full(error),
        "not connected"
    );
    let _ = (stranger, error);
}

/// A listener takes no connections for a while.
pub(crate) fn paused(why: &io::Error) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "memring::listener", %why, "paused");
    let _ = why;
}

#[cfg(feature = "tracing")]
mod told {
    use std::sync::atomic::Ordering;

    use super::Session;
    use crate::observe::State;

    pub(super) fn ended(session: &Session, last: bool) {
        let state = State::of(session);
        if state == State::Open && !last {
            return;
        }
        // ORDERING: Relaxed; one of two who come at once tells.
        if session.record().told().ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let (number, peer) = (session.record().number(), session.peer());
        match state {
            State::Fault(rule) => {
                let rule = rule.name();
                tracing::warn!(target: "memring::session", session = number, %peer, rule, "ended by a fault");
            }
            State::Died => {
                tracing::info!(target: "memring::session", session = number, %peer, "ended: the peer died");
            }
            // One that is let go of while it stands ends by that.
            State::Open | State::Local => {
                tracing::debug!(target: "memring::session", session = number, %peer, "ended by this side");
            }
            _ => {
                tracing::debug!(target: "memring::session", session = number, %peer, "ended by the peer");
            }
        }
    }
}
