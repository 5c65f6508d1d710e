//! A connection: a session and the two halves of its channel, on bytes.

use std::fmt;
use std::sync::Arc;

use memring_ring::consumer::Consumer;
use memring_ring::producer::Producer;

use crate::session::Session;

/// An open channel and the session it belongs to.
///
/// The halves are to be dropped before the session, so that the peer finds their end marks.
pub struct Connection {
    /// The sending half.
    pub producer: Producer,
    /// The receiving half.
    pub consumer: Consumer,
    /// What both belong to. It closes when its last reference is dropped.
    pub session: Arc<Session>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("session", &self.session).finish_non_exhaustive()
    }
}
