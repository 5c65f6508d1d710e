//! For tests of this project and its fuzzer: the other end of a session of calls, packet by packet, and the decoders.
//!
//! Nothing here is for people, and nothing of it stays the same.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use memring_ring::consumer::Consumer;
use memring_transport::Session;

use super::session::Link;
use super::wire::described::{self, Asks, Described};
use super::wire::{self, HEADER, Header, Opening};
use crate::attached::Outbound;
use crate::channel::Channel;
use crate::error::{RecvError, SendError, TrySendError, end_of};

/// A peer that sends what it is told to.
pub struct Raw {
    out: Outbound,
    consumer: Consumer,
    session: Arc<Session>,
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw").finish_non_exhaustive()
    }
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawPacket {
    /// The call that it is about.
    pub tag: u64,
    /// Header and body.
    pub bytes: Vec<u8>,
}

impl Raw {
    /// The peer at this end.
    #[must_use]
    pub fn over(channel: Channel<[u8], [u8]>) -> Self {
        let (sender, receiver) = channel.split();
        let session = Arc::clone(sender.session());
        let mut consumer = receiver.into_consumer();
        if session.negotiated().takes.any() {
            consumer.take_fds();
        }
        Self { out: Outbound::of(sender), consumer, session }
    }

    /// Sends any bytes with any tag.
    ///
    /// # Errors
    ///
    /// As [`Sender::send_deadline`](crate::Sender::send_deadline).
    pub fn send(&mut self, packet: &[u8], tag: u64, deadline: Instant) -> Result<(), SendError> {
        let mut sent = 0;
        loop {
            match self.out.try_send_on(packet, tag, &mut sent) {
                Err(TrySendError::Full) => self.out.wait_for_room(deadline)?,
                other => return other.map_err(TrySendError::waited),
            }
            if Instant::now() >= deadline {
                return Err(SendError::TimedOut);
            }
        }
    }

    /// The next packet.
    ///
    /// # Errors
    ///
    /// As [`Receiver::recv_deadline`](crate::Receiver::recv_deadline).
    pub fn recv(&mut self, deadline: Instant) -> Result<RawPacket, RecvError> {
        use memring_ring::consumer::RecvError as Lane;
        match self.consumer.recv(Some(deadline)) {
            Ok(item) => {
                if item.has_fds() {
                    drop(self.session.take_parcel());
                }
                Ok(RawPacket { tag: item.tag, bytes: self.consumer.bytes(&item).to_vec() })
            }
            Err(Lane::Ended(end)) => Err(RecvError::Ended(end_of(end, self.session.peer()))),
            Err(_) => Err(RecvError::TimedOut),
        }
    }
}

/// Reads any bytes as all that they may be. What is read is what would be written, but for what is for people.
///
/// # Panics
///
/// If a decoder broke a rule.
pub fn decode(bytes: &[u8]) {
    if let Ok(header) = Header::decode(bytes) {
        if let Ok(asks) = Asks::of(&header) {
            assert_eq!(asks.within(Header { interface: 0, number: 0, ..header }), header);
        }
        assert_eq!(header.encode(), bytes[..HEADER]);
        assert_eq!(header.blobs_of(bytes).count(), usize::from(header.blobs));
        assert!(header.blobs == 0 || header.body_at() <= bytes.len());
        assert_eq!(header.body_at() % 16, 0);
    }
    let mut again = Vec::new();
    if let Ok(opening) = Opening::decode(bytes) {
        opening.encode(&mut again);
        assert_eq!(again, bytes);
    }
    again.clear();
    if let Ok(standings) = wire::decode_standings(bytes) {
        wire::encode_standings(&standings, &mut again);
        assert_eq!(again, bytes);
    }
    again.clear();
    if let Ok(listed) = described::decode_list(bytes) {
        described::encode_list(listed.iter().copied(), &mut again);
        assert_eq!(again, bytes);
    }
    again.clear();
    if let Ok(described) = Described::decode(bytes) {
        described.encode(&mut again, usize::MAX);
        assert_eq!(again, bytes);
    }
    if let Ok(versions) = wire::decode_versions(bytes) {
        assert!(versions.len() <= wire::MAX_VERSIONS);
    }
    let sentence = wire::sentence(bytes);
    assert!(!sentence.contains(crate::observe::is_unseen));
}

/// How much of a session is under way here: calls of this side's that have no answer that was taken, whether some of the
/// peer's run or wait to, and whether packets wait for room.
#[must_use]
pub fn left(link: &Link) -> usize {
    let shared = &link.shared;
    shared.noted.count() as usize + usize::from(!shared.is_quiet()) + usize::from(shared.owes())
}
