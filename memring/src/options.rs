//! Options that both sides of a session have, and how they are kept until there is an error to return.

use std::time::Duration;

use memring_codec::FormatOptions;
use memring_ring::Wait;
use memring_transport::Settings;
use memring_transport::control::{ArchiveFormat, Metadata, Name};
use memring_transport::handshake::Carries;

use crate::error::BadText;

/// How large a channel's lanes are: memory against throughput. Latency does not depend on it.
///
/// A session takes both lanes and two pages. The server may grant less than the client wishes.
///
/// ```
/// use memring::{Bytes, Connector, Lanes};
///
/// let connector = Connector::new().lanes(Lanes::Small, Lanes::Bulk);
/// let (server, client) = connector.pair::<Bytes>()?;
/// assert_eq!(client.split().0.lane_bytes(), 16 << 10);
/// assert_eq!(server.split().0.lane_bytes(), 4 << 20);
/// # Ok::<(), memring::ConnectError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lanes {
    /// 16 KiB each, for thousands of sessions.
    Small,
    /// 256 KiB each.
    #[default]
    Normal,
    /// 4 MiB each, for bulk data: beyond the second-level cache the reader no longer disturbs the writer.
    Bulk,
    /// A power of two from 4096 to 2^30 bytes each.
    Bytes(u64),
}

impl Lanes {
    pub(crate) const fn bytes(self) -> u64 {
        match self {
            Self::Small => 16 << 10,
            Self::Normal => 256 << 10,
            Self::Bulk => 4 << 20,
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// File descriptors that may be under way to a side that connected to receive some, unless it said how many.
pub(crate) const DEFAULT_FDS: u16 = 64;

/// Blobs that it keeps likewise, and their bytes.
pub(crate) const DEFAULT_BLOBS: u16 = 64;
pub(crate) const DEFAULT_BLOB_BYTES: u64 = 16 << 30;

/// Settings under construction: the first that breaks a limit is reported when they are used.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    settings: Settings,
    /// How many descriptors this side takes was said.
    said_fds: bool,
    /// How many blobs it keeps was said.
    said_blobs: bool,
    bad: Option<BadText>,
}

impl Options {
    pub(crate) fn new() -> Self {
        let mut settings = Settings::new();
        let FormatOptions { little_endian, aligned, pointer_width } = FormatOptions::compiled();
        if let Some(archive) = ArchiveFormat::new(little_endian, aligned, pointer_width) {
            settings.archive = archive;
        }
        Self { settings, said_fds: false, said_blobs: false, bad: None }
    }

    pub(crate) fn name(&mut self, name: &str) {
        match Name::new(name.to_owned()) {
            Ok(name) => self.settings.name = name,
            Err(error) => self.bad = self.bad.take().or(Some(("application name", error))),
        }
    }

    pub(crate) fn metadata(&mut self, metadata: &[u8]) {
        match Metadata::new(metadata.to_vec()) {
            Ok(metadata) => self.settings.metadata = metadata,
            Err(error) => self.bad = self.bad.take().or(Some(("metadata", error))),
        }
    }

    pub(crate) fn wait(&mut self, wait: Wait) {
        self.settings.wait = wait;
    }

    pub(crate) fn lanes(&mut self, to_server: Lanes, to_client: Lanes) {
        self.settings.capacities = [to_server.bytes(), to_client.bytes()];
    }

    pub(crate) fn largest_message(&mut self, bytes: u64) {
        self.settings.largest_message = bytes;
    }

    pub(crate) fn handshake_timeout(&mut self, timeout: Duration) {
        self.settings.handshake_timeout = timeout;
    }

    pub(crate) fn fds(&mut self, most: u16) {
        self.settings.takes.fds = most;
        self.said_fds = true;
    }

    pub(crate) fn unix_sockets(&mut self) {
        self.settings.unix_sockets = true;
    }

    pub(crate) fn blobs(&mut self, most: u16, bytes: u64) {
        self.settings.takes.blobs = most;
        self.settings.takes.blob_bytes = bytes;
        self.said_blobs = true;
    }

    pub(crate) fn channels(&mut self, most: u16) {
        self.settings.channels = most;
    }

    pub(crate) fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// The settings of one session, with which this side `receives` what these messages carry. Whoever connects knows the
    /// other side, so it takes what it means to receive unless it said how much.
    pub(crate) fn session(
        mut self,
        carries: [Carries; 2],
        receives: impl IntoIterator<Item = Carries>,
    ) -> Result<Settings, BadText> {
        self.settings.carries = carries;
        for received in receives {
            if received.fds && !self.said_fds {
                self.settings.takes.fds = DEFAULT_FDS;
            }
            if received.blobs && !self.said_blobs {
                self.settings.takes.blobs = DEFAULT_BLOBS;
                self.settings.takes.blob_bytes = DEFAULT_BLOB_BYTES;
            }
        }
        self.finish()
    }

    /// The settings, unless one of them breaks a limit.
    pub(crate) fn finish(self) -> Result<Settings, BadText> {
        match self.bad {
            Some(bad) => Err(bad),
            None => Ok(self.settings),
        }
    }
}

/// The methods that every builder has, on its field `options`.
macro_rules! common_options {
    () => {
        /// What this application calls itself, at most 64 bytes; shown to the peer.
        pub fn name(mut self, name: &str) -> Self {
            self.options.name(name);
            self
        }

        /// Up to 4 KiB of the application's own for the peer, before the channel opens.
        pub fn metadata(mut self, metadata: &[u8]) -> Self {
            self.options.metadata(metadata);
            self
        }

        /// As [`metadata`](Self::metadata), a value of a `#[message]` type.
        ///
        /// # Errors
        ///
        /// [`EncodeError`](memring_codec::EncodeError) if it cannot be encoded in 4 KiB.
        pub fn metadata_value<T: $crate::MetadataValue>(
            self,
            value: &T,
        ) -> Result<Self, memring_codec::EncodeError> {
            Ok(self.metadata(&value.to_metadata()?))
        }

        /// How this side's blocking calls wait.
        pub fn wait(mut self, wait: $crate::Wait) -> Self {
            self.options.wait(wait);
            self
        }

        /// Lets messages bring file descriptors to this side, at most `most` at a time: sent, and not yet received with
        /// their messages. So no message brings more. At most 253.
        ///
        /// A descriptor can be anything: reading from it may block, or closing it, when a hostile process made it. None is
        /// taken unless said here, but by a [`Connector`](crate::Connector) whose messages to this side have an
        /// [`Fd`](crate::Fd): that takes 64.
        pub fn fds(mut self, most: u16) -> Self {
            self.options.fds(most);
            self
        }

        /// Lets descriptors that come with messages be Unix sockets. Otherwise one that is ends the session: other descriptors
        /// may lie unread in its queue, sockets among them, and nobody has counted those.
        pub fn unix_sockets(mut self) -> Self {
            self.options.unix_sockets();
            self
        }

        /// Lets messages bring blobs to this side: it keeps at most `most` at a time, of at most `bytes` together, for the
        /// peer to name them again without sending them. Each takes a descriptor and a map here; the memory is the
        /// peer's. What the application holds of them is beside that. At most 1024.
        ///
        /// None is taken unless said here, but by a [`Connector`](crate::Connector) whose messages to this side have a
        /// [`Blob`](crate::blob::Blob): that keeps 64, of 16 GiB together.
        pub fn blobs(mut self, most: u16, bytes: u64) -> Self {
            self.options.blobs(most, bytes);
            self
        }

        /// Lets sessions have further channels, if the other side does too: [`Channels`](crate::Channels). The peer may have `most`
        /// at a time of those that it asks for; none unless said here.
        ///
        /// Where this side connects, each that comes to be brings a socket with it, and so the server may send this process
        /// descriptors. One that is no such socket is not used.
        pub fn channels(mut self, most: u16) -> Self {
            self.options.channels(most);
            self
        }

        /// The largest message this side sends or takes, in bytes; 16 MiB by default. The smaller of both
        /// sides' counts. A receiver's memory grows with what arrives, never with what is claimed.
        pub fn largest_message(mut self, bytes: u64) -> Self {
            self.options.largest_message(bytes);
            self
        }
    };
}
pub(crate) use common_options;
