//! How much of this process each user may hold: handshakes under way, channels that wait for a decision,
//! sessions, descriptors, bytes of segments and of blobs.
//!
//! Two limits for each kind: one for a single uid, one for all together. A uid that reaches its share
//! is refused its own newest request; what others hold is never taken away for it. Since a share is
//! below the total, one uid alone cannot shut the others out.
//!
//! What is held is a ticket, and dropping it gives back. Tickets for bytes are kept apart from the
//! session's, in `ledger.rs`, for a peer can keep a segment mapped after its session
//! ended, and they stay charged until the kernel shows them free. Pure accounting: it allocates nothing
//! for the peer and closes nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memring_ring::fork::{Generation, generation};
use rustix::process::getrlimit;

use crate::control::Takes;
use crate::session::Charges;

/// The limits, each for one uid and for all together.
///
/// Peers whose uid is unknown count as one uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Handshakes that one uid may have under way.
    pub handshakes_per_uid: u64,
    /// Handshakes under way in all.
    pub handshakes: u64,
    /// Channels of one uid that wait for the application's decision.
    pub pending_per_uid: u64,
    /// Channels that wait for the application's decision, in all.
    pub pending: u64,
    /// Sessions that one uid may hold.
    pub sessions_per_uid: u64,
    /// Sessions in all.
    pub sessions: u64,
    /// Bytes of segments charged to one uid.
    pub bytes_per_uid: u64,
    /// Bytes of segments in all.
    pub bytes: u64,
    /// Descriptors held for the peers of one uid: [`HANDSHAKE_DESCRIPTORS`] while a handshake is under way,
    /// [`SESSION_DESCRIPTORS`] for a session, and as many as it takes with messages.
    pub descriptors_per_uid: u64,
    /// Descriptors held for all peers.
    pub descriptors: u64,
    /// Bytes of blobs that the sessions of one uid may keep known, by what each was said to take.
    pub blob_bytes_per_uid: u64,
    /// Bytes of blobs that all sessions may keep known.
    pub blob_bytes: u64,
}

/// Descriptors that a session takes: its socket, and the pidfd of its peer.
pub const SESSION_DESCRIPTORS: u64 = 2;

/// Descriptors that a handshake takes at most beside those of the session it leads to: both segments, as
/// made and as reopened for sending, and a second pidfd.
pub const HANDSHAKE_DESCRIPTORS: u64 = 5;

impl Default for Limits {
    /// 64 handshakes, 256 channels to be decided on and 1024 sessions a uid, 1 GiB of segments; four times
    /// that in all. A TiB of blobs a uid, whose memory is the peer's and whose addresses are ours, and four in all. Of the descriptors that `RLIMIT_NOFILE` allows now, three quarters are for peers, and of
    /// those three quarters for one uid.
    fn default() -> Self {
        let open_files = getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20);
        let descriptors = open_files / 4 * 3;
        Self {
            handshakes_per_uid: 64,
            handshakes: 256,
            pending_per_uid: 256,
            pending: 1024,
            sessions_per_uid: 1024,
            sessions: 4096,
            bytes_per_uid: 1 << 30,
            bytes: 4 << 30,
            descriptors_per_uid: descriptors / 4 * 3,
            descriptors,
            blob_bytes_per_uid: 1 << 40,
            blob_bytes: 4 << 40,
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Handshakes under way.
    Handshakes,
    /// Channels that wait for the application's decision.
    Pending,
    /// Sessions.
    Sessions,
    /// Bytes of segments.
    Bytes,
    /// Descriptors.
    Descriptors,
    /// Bytes of blobs.
    BlobBytes,
}

/// A limit was reached; nothing was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverQuota {
    /// The share of one uid.
    #[error(
        "uid {uid} holds {held} of at most {limit} {} here: close some, or raise the limit per uid",
        resource.noun()
    )]
    Uid {
        /// Of what.
        resource: Resource,
        /// Whose.
        uid: u32,
        /// What it held already.
        held: u64,
        /// Its share.
        limit: u64,
    },
    /// The total.
    #[error(
        "all users together hold {held} of at most {limit} {} here: try later, or raise the limit",
        resource.noun()
    )]
    Total {
        /// Of what.
        resource: Resource,
        /// What was held already.
        held: u64,
        /// The limit for all.
        limit: u64,
    },
}

/// The accounts. Clones are one and the same.
#[derive(Clone, Debug)]
pub struct Quotas {
    books: Arc<Books>,
}

#[derive(Debug)]
struct Books {
    limits: Limits,
    accounts: Mutex<Accounts>,
    /// A forked child's copy may be locked for good, and is an account of nobody's.
    generation: Generation,
}

#[derive(Debug, Default)]
struct Accounts {
    total: Usage,
    /// Only uids that hold something: as many entries as things held, at most.
    by_uid: HashMap<u32, Usage>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    handshakes: u64,
    pending: u64,
    sessions: u64,
    bytes: u64,
    descriptors: u64,
    blob_bytes: u64,
}

/// So much of a resource, charged until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it gives back what was charged"]
pub struct Ticket {
    books: Arc<Books>,
    resource: Resource,
    uid: u32,
    amount: u64,
}

impl Quotas {
    /// What a handshake takes, and what the session takes that comes of it, if it takes this with messages.
    pub(crate) fn charge_session(
        &self,
        uid: Option<u32>,
        takes: Takes,
    ) -> Result<([Ticket; 2], Charges), OverQuota> {
        let charge = |resource, amount| self.charge(resource, uid, amount);
        let Takes { fds, blobs, blob_bytes } = takes;
        let coming = u64::from(fds) + u64::from(blobs);
        let handshake = [
            charge(Resource::Handshakes, 1)?,
            charge(Resource::Descriptors, HANDSHAKE_DESCRIPTORS)?,
        ];
        let charges = Charges {
            _session: charge(Resource::Sessions, 1)?,
            descriptors: charge(Resource::Descriptors, SESSION_DESCRIPTORS + coming)?.into(),
            _blobs: charge(Resource::BlobBytes, blob_bytes)?,
            _segments: None,
        };
        Ok((handshake, charges))
    }

    /// Empty accounts.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let accounts = Mutex::default();
        Self { books: Arc::new(Books { limits, accounts, generation: generation() }) }
    }

    /// The limits that hold.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.books.limits
    }

    /// What is held of `resource` by `uid`, or in all for `None`. True of the past only; nothing in a forked
    /// child.
    #[must_use]
    pub fn held(&self, resource: Resource, uid: Option<u32>) -> u64 {
        if !self.books.generation.is_current() {
            return 0;
        }
        let mut accounts = self.books.lock();
        let usage = match uid {
            None => &mut accounts.total,
            Some(uid) => match accounts.by_uid.get_mut(&uid) {
                Some(usage) => usage,
                None => return 0,
            },
        };
        *usage.of(resource)
    }

    /// Charges `amount` of `resource` to a peer of `uid`.
    ///
    /// # Errors
    ///
    /// [`OverQuota`] says which limit, and its value; nothing was charged.
    pub fn charge(
        &self,
        resource: Resource,
        uid: Option<u32>,
        amount: u64,
    ) -> Result<Ticket, OverQuota> {
        let uid = uid.unwrap_or(UNKNOWN);
        let (share, limit) = self.books.limits.of(resource);
        let mut accounts = self.books.lock();
        // Both are looked at before either changes; neither sum can overflow where it is made.
        let held = accounts.by_uid.get_mut(&uid).map_or(0, |usage| *usage.of(resource));
        if !fits(held, amount, share) {
            return Err(OverQuota::Uid { resource, uid, held, limit: share });
        }
        let held = *accounts.total.of(resource);
        if !fits(held, amount, limit) {
            return Err(OverQuota::Total { resource, held, limit });
        }
        *accounts.by_uid.entry(uid).or_default().of(resource) += amount;
        *accounts.total.of(resource) += amount;
        drop(accounts);
        Ok(Ticket { books: Arc::clone(&self.books), resource, uid, amount })
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl OverQuota {
    /// What there is too much of.
    #[must_use]
    pub fn resource(&self) -> Resource {
        match *self {
            Self::Uid { resource, .. } | Self::Total { resource, .. } => resource,
        }
    }
}

/// What peers of unknown uid are charged to; no process can have it as a uid.
const UNKNOWN: u32 = u32::MAX;

fn fits(held: u64, amount: u64, limit: u64) -> bool {
    held.checked_add(amount).is_some_and(|sum| sum <= limit)
}

impl Books {
    fn lock(&self) -> MutexGuard<'_, Accounts> {
        // Nothing panics while it is held, so there is nothing half done behind a poisoned lock.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limits {
    /// For one uid, and in all.
    fn of(&self, resource: Resource) -> (u64, u64) {
        match resource {
            Resource::Handshakes => (self.handshakes_per_uid, self.handshakes),
            Resource::Pending => (self.pending_per_uid, self.pending),
            Resource::Sessions => (self.sessions_per_uid, self.sessions),
            Resource::Bytes => (self.bytes_per_uid, self.bytes),
            Resource::Descriptors => (self.descriptors_per_uid, self.descriptors),
            Resource::BlobBytes => (self.blob_bytes_per_uid, self.blob_bytes),
        }
    }
}

impl Usage {
    fn of(&mut self, resource: Resource) -> &mut u64 {
        match resource {
            Resource::Handshakes => &mut self.handshakes,
            Resource::Pending => &mut self.pending,
            Resource::Sessions => &mut self.sessions,
            Resource::Bytes => &mut self.bytes,
            Resource::Descriptors => &mut self.descriptors,
            Resource::BlobBytes => &mut self.blob_bytes,
        }
    }
}

impl Resource {
    fn noun(self) -> &'static str {
        match self {
            Self::Handshakes => "handshakes",
            Self::Pending => "channels to be decided on",
            Self::Sessions => "sessions",
            Self::Bytes => "bytes of segments",
            Self::Descriptors => "descriptors",
            Self::BlobBytes => "bytes of blobs",
        }
    }
}

impl Ticket {
    /// Whose it is; those whose uid is unknown share one number.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.books.generation.is_current() {
            return;
        }
        let mut accounts = self.books.lock();
        *accounts.total.of(self.resource) -= self.amount;
        if let Some(usage) = accounts.by_uid.get_mut(&self.uid) {
            *usage.of(self.resource) -= self.amount;
            if *usage == Usage::default() {
                accounts.by_uid.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits {
        handshakes_per_uid: 2,
        handshakes: 5,
        pending_per_uid: 1,
        pending: 3,
        sessions_per_uid: 1,
        sessions: 2,
        bytes_per_uid: 100,
        bytes: 150,
        descriptors_per_uid: 7,
        descriptors: 10,
        blob_bytes_per_uid: 10,
        blob_bytes: 15,
    };

    /// Asks for each amount in turn, keeping what is granted: `u` refused for the uid, `t` in all.
    fn asked(resource: Resource, requests: &[(u32, u64)]) -> String {
        let quotas = Quotas::new(SMALL);
        let mut kept = Vec::new();
        let mut said = String::new();
        for &(uid, amount) in requests {
            said.push(match quotas.charge(resource, Some(uid), amount) {
                Ok(ticket) => {
                    kept.push(ticket);
                    '.'
                }
                Err(OverQuota::Uid { .. }) => 'u',
                Err(OverQuota::Total { .. }) => 't',
            });
        }
        drop(kept);
        assert_eq!(quotas.books.lock().total, Usage::default());
        assert!(quotas.books.lock().by_uid.is_empty(), "an account without holdings is kept");
        said
    }

    type Case = (Resource, &'static [(u32, u64)], &'static str);

    #[test]
    fn attack_06_and_09_a_uid_beyond_its_share_is_refused_and_others_are_not() {
        use Resource::{BlobBytes, Bytes, Descriptors, Handshakes, Pending, Sessions};
        let cases: [Case; 11] = [
            (Handshakes, &[(1, 1), (1, 1), (1, 1), (2, 1), (2, 1), (3, 1), (4, 1)], "..u...t"),
            (Pending, &[(1, 1), (1, 1), (2, 1), (3, 1), (4, 1)], ".u..t"),
            (Sessions, &[(1, 1), (1, 1), (2, 1), (3, 1)], ".u.t"),
            (Descriptors, &[(1, 2), (1, 5), (1, 2), (2, 2), (2, 5), (3, 1)], "..u.t."),
            (BlobBytes, &[(1, 10), (1, 1), (2, 5), (2, 1), (3, 0)], ".u.t."),
            (Bytes, &[(1, 100), (1, 1), (2, 50), (2, 1), (3, 1)], ".u.tt"),
            (Bytes, &[(1, 101), (1, 100)], "u."),
            (Bytes, &[(1, 0), (1, 100), (1, 0)], "..."),
            (Bytes, &[(1, u64::MAX), (1, 1), (1, u64::MAX)], "u.u"),
            (Bytes, &[(1, 60), (1, 41), (1, 40)], ".u."),
            (Bytes, &[(1, 90), (2, 90), (2, 60)], ".t."),
        ];
        for (resource, requests, said) in cases {
            assert_eq!(asked(resource, requests), said, "{resource:?} {requests:?}");
        }
    }

    #[test]
    fn tickets_give_back_what_they_hold_and_bytes_outlive_the_session() {
        let quotas = Quotas::new(SMALL);
        let handshake = quotas.charge(Resource::Handshakes, Some(1), 1).unwrap();
        let session = quotas.charge(Resource::Sessions, Some(1), 1).unwrap();
        let bytes = quotas.charge(Resource::Bytes, Some(1), 80).unwrap();
        let held = |resource| (quotas.held(resource, Some(1)), quotas.held(resource, None));
        drop(handshake);
        drop(session);
        assert_eq!(held(Resource::Handshakes), (0, 0));
        assert_eq!(held(Resource::Sessions), (0, 0));
        assert_eq!(held(Resource::Bytes), (80, 80));
        drop(quotas.charge(Resource::Sessions, Some(1), 1).unwrap()); // the place was given back
        let refused = quotas.charge(Resource::Bytes, Some(1), 21).unwrap_err();
        let said = OverQuota::Uid { resource: Resource::Bytes, uid: 1, held: 80, limit: 100 };
        assert_eq!(refused, said);
        drop(bytes);
        assert_eq!(held(Resource::Bytes), (0, 0));
    }

    #[test]
    fn unknown_uids_share_one_account() {
        let quotas = Quotas::new(SMALL);
        let _one = quotas.charge(Resource::Sessions, None, 1).unwrap();
        let two = quotas.charge(Resource::Sessions, None, 1);
        assert!(matches!(two, Err(OverQuota::Uid { .. })));
    }

    #[test]
    fn refusals_name_the_limit_and_its_value() {
        let quotas = Quotas::new(SMALL);
        let _one = quotas.charge(Resource::Sessions, Some(33), 1).unwrap();
        let text = quotas.charge(Resource::Sessions, Some(33), 1).unwrap_err().to_string();
        assert!(text.contains("uid 33") && text.contains("at most 1 sessions"), "{text}");
    }
}
