//! What the messages of one direction carry beside bytes, and whether that is taken at the other end.

use std::fmt;

use crate::control::Takes;

/// What messages of a type may carry beside their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Carries {
    /// File descriptors.
    pub fds: bool,
    /// Blobs.
    pub blobs: bool,
}

impl Carries {
    /// Bytes and nothing else.
    pub const NOTHING: Self = Self { fds: false, blobs: false };

    /// What of it a side that takes these does not take.
    #[must_use]
    pub fn beyond(self, takes: Takes) -> Option<Self> {
        let more = Self {
            fds: self.fds && takes.fds == 0,
            blobs: self.blobs && (takes.blobs == 0 || takes.blob_bytes == 0),
        };
        (more != Self::NOTHING).then_some(more)
    }
}

impl fmt::Display for Carries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.fds, self.blobs) {
            (false, false) => "nothing beside bytes",
            (true, false) => "file descriptors",
            (false, true) => "blobs",
            (true, true) => "file descriptors and blobs",
        })
    }
}
