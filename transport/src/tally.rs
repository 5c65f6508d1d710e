//! The tally: how often this process turned a peer away or ended its session, by reason.
//!
//! One count a reason, for the whole process, for as long as it runs: whoever watches a service sees what
//! is being tried on it, and a test sees that it was this very check that spoke. A forked child goes on
//! counting from its parent's numbers.
//!
//! Counting happens where a peer is turned away or its session ends, never on the way of a message. It
//! knows no peers: who it was stands in the errors and in [`Peer`](crate::Peer).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use memring_ring::Fault;
use memring_ring::segment::SegmentFault;

use crate::blob::Unfit;
use crate::control::{Malformed, RejectCode};
use crate::establish::HandshakeError;
use crate::handshake::HandshakeFault;
use crate::quota::{OverQuota, Resource};

/// Declares [`Reason`], its names and its list from one table.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal,)*) => {
        /// Why a peer was turned away, or its session ended by us.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $reason,)* }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)*];

            /// Its name, for logs and metrics. Names stay.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$reason => $name,)* }
            }
        }
    };
}

reasons! {
    /// The policy does not admit it.
    Denied = "denied",
    /// Too many handshakes under way.
    QuotaHandshakes = "quota.handshakes",
    /// Too many sessions.
    QuotaSessions = "quota.sessions",
    /// Too many channels that wait for the application's decision.
    QuotaPending = "quota.pending",
    /// Too many bytes of segments.
    QuotaBytes = "quota.bytes",
    /// Too many descriptors.
    QuotaDescriptors = "quota.descriptors",
    /// Too many bytes of blobs.
    QuotaBlobs = "quota.blobs",
    /// It did not finish the handshake in time.
    TimedOut = "handshake.timeout",
    /// It closed or died during the handshake.
    Gone = "handshake.gone",
    /// No protocol version in common.
    Version = "handshake.version",
    /// A feature that one side requires is missing.
    Feature = "handshake.feature",
    /// Another archive format.
    Archive = "handshake.archive",
    /// Another protocol or other message types.
    Mismatch = "handshake.mismatch",
    /// Messages carry what the other side does not take.
    NotTaken = "handshake.not_taken",
    /// The application did not want it, or did not decide in time.
    Refused = "handshake.refused",
    /// A good message at the wrong time, or twice.
    Order = "handshake.order",
    /// Another number of descriptors than due.
    Descriptors = "handshake.descriptors",
    /// Descriptors that it sent were lost on the way.
    DescriptorsLost = "handshake.descriptors_lost",
    /// More descriptors with messages than are taken.
    DescriptorsFlood = "packet.descriptors_flood",
    /// A Unix socket with a message, which was not allowed.
    UnixSocket = "packet.unix_socket",
    /// Another channel than the one being opened.
    Channel = "handshake.channel",
    /// Welcome chose what was not offered.
    Choice = "handshake.choice",
    /// Granted states sizes that cannot be taken.
    Grant = "handshake.grant",
    /// A packet of no bytes.
    PacketEmpty = "packet.empty",
    /// A packet longer than any.
    PacketOversized = "packet.oversized",
    /// A packet, or a part of it, that ends too early.
    PacketTruncated = "packet.truncated",
    /// Not memring's.
    PacketMagic = "packet.magic",
    /// A control message that does not exist.
    PacketKind = "packet.kind",
    /// Reserved bytes that are not zero.
    PacketReserved = "packet.reserved",
    /// A length that is not the packet's, or bytes behind its end.
    PacketLength = "packet.length",
    /// A name, sentence or metadata beyond its limit.
    PacketTooLong = "packet.too_long",
    /// Text that is none.
    PacketText = "packet.text",
    /// A number out of range.
    PacketValue = "packet.value",
    /// A segment that is no memfd.
    SegmentForeign = "segment.foreign",
    /// A segment with other seals than due.
    SegmentSeals = "segment.seals",
    /// A segment of another size.
    SegmentSize = "segment.size",
    /// A segment with holes.
    SegmentHoles = "segment.holes",
    /// The same segment twice.
    SegmentDuplicate = "segment.duplicate",
    /// A segment of huge pages.
    SegmentNotTmpfs = "segment.not_tmpfs",
    /// A segment to write that was sent read-only.
    SegmentNotWritable = "segment.not_writable",
    /// A segment that will not be looked at.
    SegmentUnreadable = "segment.unreadable",
    /// A blob that is no memfd.
    BlobForeign = "blob.foreign",
    /// A blob with other seals than due.
    BlobSeals = "blob.seals",
    /// A blob of another size than said.
    BlobSize = "blob.size",
    /// A blob with holes.
    BlobHoles = "blob.holes",
    /// A blob of huge pages.
    BlobNotTmpfs = "blob.not_tmpfs",
    /// A blob that will not be looked at.
    BlobUnreadable = "blob.unreadable",
    /// A blob under a number that is not new.
    BlobNumber = "blob.number",
    /// More blobs, or more bytes of them, than are taken.
    BlobFlood = "blob.flood",
    /// A blob to forget that is not known, or that was named more often than its peer says.
    BlobUnknown = "blob.unknown",
    /// More doorbells than were asked for.
    DoorbellFlood = "doorbell.flood",
    /// An ask for a further channel, or an answer to one, that is not due by its number.
    ChannelUnasked = "channel.unasked",
    /// More asks for further channels than their answers are read.
    ChannelFlood = "channel.flood",
    /// A release position outside what was sent.
    LaneHead = "lane.head",
    /// A frame of unknown kind.
    LaneKind = "lane.kind",
    /// Reserved bits in a frame header.
    LaneReserved = "lane.reserved",
    /// A frame of a length that its kind or the lane does not allow.
    LaneLength = "lane.length",
    /// Descriptors claimed by a frame.
    LaneDescriptors = "lane.descriptors",
    /// A message beyond the negotiated largest.
    LaneTooLarge = "lane.too_large",
    /// A message in parts that does not add up.
    LaneParts = "lane.parts",
    /// A malformed pack.
    LanePack = "lane.pack",
    /// Bytes that are no message of the agreed type.
    LaneDecode = "lane.decode",
    /// See [`Fault::Calls`].
    LaneCalls = "lane.calls",
    /// Another rule of a lane or segment, of a later day.
    Other = "other",
    /// Not the peer's doing: descriptors, memory or threads are wanting here.
    Ours = "ours",
}

static COUNTS: [AtomicU64; Reason::ALL.len()] = [const { AtomicU64::new(0) }; Reason::ALL.len()];

/// Counts one.
pub(crate) fn count(reason: Reason) {
    // ORDERING: Relaxed; a number for people.
    COUNTS[reason as usize].fetch_add(1, Ordering::Relaxed);
}

/// Counts what ended a handshake, unless nobody was turned away by us: the peer said no, or we misused it.
pub(crate) fn count_error(error: &HandshakeError) {
    if let Some(reason) = Reason::of(error) {
        count(reason);
    }
}

/// The counts of this moment.
#[must_use]
pub fn tally() -> Tally {
    // ORDERING: Relaxed; as in `count`.
    Tally { counts: std::array::from_fn(|at| COUNTS[at].load(Ordering::Relaxed)) }
}

/// How often each [`Reason`] came up in this process, up to one moment.
///
/// ```
/// # use memring_transport::{Reason, tally};
/// let before = tally();
/// // ... peers come and go ...
/// for (reason, times) in tally().since(&before).iter() {
///     println!("{reason} {times}");
/// }
/// # assert_eq!(before.of(Reason::Denied), 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    counts: [u64; Reason::ALL.len()],
}

impl Tally {
    /// How often it was this.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.counts[reason as usize]
    }

    /// Every reason that came up, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().map(|reason| (*reason, self.of(*reason))).filter(|(_, times)| *times > 0)
    }

    /// What came up since an earlier tally of this process.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            counts: std::array::from_fn(|at| self.counts[at].saturating_sub(earlier.counts[at])),
        }
    }
}

/// `lane.head 2, denied 1`; `nothing` if nothing came up.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (reason, times) in self.iter() {
            write!(f, "{separator}{reason} {times}")?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Reason {
    fn of(error: &HandshakeError) -> Option<Self> {
        Some(match error {
            HandshakeError::TimedOut => Self::TimedOut,
            HandshakeError::PeerGone => Self::Gone,
            HandshakeError::Denied(_) => Self::Denied,
            HandshakeError::OverQuota(over) => over.into(),
            HandshakeError::Fault(fault) => fault.into(),
            HandshakeError::Segment(fault) => fault.into(),
            HandshakeError::DescriptorsLost => Self::DescriptorsLost,
            HandshakeError::NotTaken(_) => Self::NotTaken,
            HandshakeError::PageTooLarge => Self::PacketValue,
            HandshakeError::Rejected(_)
            | HandshakeError::Refused(_)
            | HandshakeError::Settings(_)
            | HandshakeError::Forked => return None,
            HandshakeError::Memory(_)
            | HandshakeError::Geometry(_)
            | HandshakeError::System { .. } => Self::Ours,
        })
    }
}

impl From<&OverQuota> for Reason {
    fn from(over: &OverQuota) -> Self {
        match over.resource() {
            Resource::Handshakes => Self::QuotaHandshakes,
            Resource::Sessions => Self::QuotaSessions,
            Resource::Pending => Self::QuotaPending,
            Resource::Bytes => Self::QuotaBytes,
            Resource::Descriptors => Self::QuotaDescriptors,
            Resource::BlobBytes => Self::QuotaBlobs,
        }
    }
}

impl From<&HandshakeFault> for Reason {
    fn from(fault: &HandshakeFault) -> Self {
        match fault {
            HandshakeFault::Malformed(malformed) => malformed.into(),
            HandshakeFault::OutOfOrder { .. } => Self::Order,
            HandshakeFault::FdCount { .. } => Self::Descriptors,
            HandshakeFault::Channel { .. } => Self::Channel,
            HandshakeFault::Choice { .. } => Self::Choice,
            HandshakeFault::Grant { .. } => Self::Grant,
        }
    }
}

impl From<&Malformed> for Reason {
    fn from(malformed: &Malformed) -> Self {
        match malformed {
            Malformed::Empty => Self::PacketEmpty,
            Malformed::Oversized => Self::PacketOversized,
            Malformed::Truncated { .. } | Malformed::TailTruncated { .. } => Self::PacketTruncated,
            Malformed::Magic(_) => Self::PacketMagic,
            Malformed::Kind(_) => Self::PacketKind,
            Malformed::Reserved { .. } => Self::PacketReserved,
            Malformed::Length { .. } | Malformed::Trailing(_) => Self::PacketLength,
            Malformed::TooLong { .. } => Self::PacketTooLong,
            Malformed::NotUtf8 { .. } | Malformed::ControlCharacter { .. } => Self::PacketText,
            Malformed::Value { .. } => Self::PacketValue,
        }
    }
}

impl From<&SegmentFault> for Reason {
    fn from(fault: &SegmentFault) -> Self {
        match fault {
            SegmentFault::NotSealable { .. } => Self::SegmentForeign,
            SegmentFault::Seals { .. } => Self::SegmentSeals,
            SegmentFault::Size { .. } => Self::SegmentSize,
            SegmentFault::Holes { .. } => Self::SegmentHoles,
            SegmentFault::Duplicate => Self::SegmentDuplicate,
            SegmentFault::NotTmpfs { .. } => Self::SegmentNotTmpfs,
            SegmentFault::NotWritable => Self::SegmentNotWritable,
            SegmentFault::Unreadable { .. } => Self::SegmentUnreadable,
            _ => Self::Other,
        }
    }
}

impl From<&Unfit> for Reason {
    fn from(unfit: &Unfit) -> Self {
        match unfit {
            Unfit::NotSealable { .. } => Self::BlobForeign,
            Unfit::Seals { .. } => Self::BlobSeals,
            Unfit::Size { .. } => Self::BlobSize,
            Unfit::Holes { .. } => Self::BlobHoles,
            Unfit::NotTmpfs { .. } => Self::BlobNotTmpfs,
            Unfit::Unreadable { .. } => Self::BlobUnreadable,
        }
    }
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Head => Self::LaneHead,
            Fault::Kind(_) => Self::LaneKind,
            Fault::Reserved => Self::LaneReserved,
            Fault::Length(_) => Self::LaneLength,
            Fault::Fds => Self::LaneDescriptors,
            Fault::Blob => Self::BlobFlood,
            Fault::TooLarge(_) => Self::LaneTooLarge,
            Fault::Parts => Self::LaneParts,
            Fault::Pack => Self::LanePack,
            Fault::Decode => Self::LaneDecode,
            Fault::Calls => Self::LaneCalls,
            _ => Self::Other,
        }
    }
}

impl From<RejectCode> for Reason {
    /// Why we rejected a session.
    fn from(code: RejectCode) -> Self {
        match code {
            RejectCode::Version => Self::Version,
            RejectCode::Feature => Self::Feature,
            RejectCode::ArchiveFormat => Self::Archive,
            RejectCode::Denied => Self::Denied,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_a_name_of_its_own_and_its_own_count() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for (at, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at);
        }
        // No other test of this process comes to this one.
        let before = tally();
        count(Reason::Other);
        let now = tally().since(&before);
        assert_eq!(now.of(Reason::Other), 1);
        assert!(now.to_string().contains("other 1"), "{now}");
        assert_eq!(before.since(&before).to_string(), "nothing");
    }
}
