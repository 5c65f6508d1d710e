//! Settings: what this side brings to a session, whichever way it came about.

use std::time::Duration;

use memring_ring::{Wait, fence};

use crate::control::{ArchiveFormat, Features, FenceBits, Metadata, Name, Takes};
use crate::handshake::{CapacityLimits, Carries, DEFAULT_LARGEST_MESSAGE, Local};

/// Bytes of a lane unless the application says otherwise.
pub const DEFAULT_CAPACITY: u64 = 256 << 10;

/// How long a handshake may take in all, unless the application says otherwise.
pub const DEFAULT_HANDSHAKE: Duration = Duration::from_secs(1);

/// What this side brings to a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// What the application calls itself; shown to the peer.
    pub name: Name<'static>,
    /// The application's own bytes for the peer.
    pub metadata: Metadata<'static>,
    /// The largest message in bytes; the smaller of both sides' counts.
    pub largest_message: u64,
    /// The size in bytes wished for each lane, by the connecting side: to the accepting side and to us.
    pub capacities: [u64; 2],
    /// The sizes of lanes that this side grants or takes.
    pub capacity_limits: CapacityLimits,
    /// How blocking calls wait.
    pub wait: Wait,
    /// How long the whole handshake may take.
    pub handshake_timeout: Duration,
    /// How this side's messages are archived.
    pub archive: ArchiveFormat,
    /// What this side takes beside the bytes of messages.
    pub takes: Takes,
    /// Whether descriptors that come with messages may be Unix sockets, in whose queues others may lie.
    pub unix_sockets: bool,
    /// How many further channels the peer may have in the session, of those that it asks for. Zero: the session has one channel.
    pub channels: u16,
    /// What messages carry, to the accepting side and to the connecting. What the other side does not take is seen before a
    /// channel opens.
    pub carries: [Carries; 2],
}

impl Settings {
    /// The defaults: 256 KiB a lane, messages of up to 16 MiB, one second for the handshake.
    #[must_use]
    pub fn new() -> Self {
        Self {
            name: Name::default(),
            metadata: Metadata::default(),
            largest_message: DEFAULT_LARGEST_MESSAGE,
            capacities: [DEFAULT_CAPACITY; 2],
            capacity_limits: CapacityLimits::PROTOCOL,
            wait: Wait::default(),
            handshake_timeout: DEFAULT_HANDSHAKE,
            archive: ArchiveFormat::DEFAULT,
            takes: Takes::NOTHING,
            unix_sockets: false,
            channels: 0,
            carries: [Carries::NOTHING; 2],
        }
    }

    /// What the handshake says about this side and this process.
    pub(crate) fn local(&self) -> Local {
        let fence::FenceBits { registered, can_call } = fence::ours();
        let bits = FenceBits { registered, can_call };
        let page = u32::try_from(rustix::param::page_size()).unwrap_or(u32::MAX);
        Local {
            largest_message: self.largest_message,
            takes: self.takes,
            offered: if self.channels > 0 { Features::CHANNELS } else { Features::NONE },
            name: self.name.clone(),
            metadata: self.metadata.clone(),
            ..Local::new(page, bits, self.archive)
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}
