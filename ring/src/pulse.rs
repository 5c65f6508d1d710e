//! The pulse: a word that a side counts up when it likes, for its peer to tell a stuck process from an idle one.
//!
//! It costs a store a beat, and a load to whoever looks. Nothing depends on it: a peer may count as it pleases.

use crate::asleep::{Asleep, How};
use crate::heads::RX_ASLEEP;
use crate::producer::Producer;
use crate::sync::Ordering;

/// Offset of the word in a control area.
const BEATS: usize = 384;

/// What is to be seen of a peer's life at one moment. It is only what the peer says.
///
/// ```
/// use memring_ring::Pulse;
///
/// let before = Pulse { beats: 7, waits: false };
/// assert!(Pulse { beats: 7, waits: false }.is_stuck_since(before));
/// assert!(!Pulse { beats: 8, waits: false }.is_stuck_since(before), "it goes on");
/// assert!(!Pulse { beats: 7, waits: true }.is_stuck_since(before), "it has nothing to do");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// How often the peer has beaten; 0 is a peer that does not.
    pub beats: u64,
    /// It waits for a message, asleep.
    pub waits: bool,
}

impl Pulse {
    /// Whether a peer that beats has not beaten since, though it does not wait for anything of ours.
    #[must_use]
    pub const fn is_stuck_since(self, before: Self) -> bool {
        !self.waits && self.beats == before.beats && self.beats != 0
    }
}

impl Producer {
    /// Beats once.
    pub fn beat(&self) {
        if !self.writer.is_forked() {
            // ORDERING: Relaxed, both; a number that is looked at for its changing.
            let beats = self.beats.fetch_add(1, Ordering::Relaxed) + 1;
            self.post.mine.store64(BEATS, beats, Ordering::Relaxed);
        }
    }

    /// The peer's pulse.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        if self.writer.is_forked() {
            return Pulse::default();
        }
        // ORDERING: Relaxed, both; as above.
        let asleep = Asleep(self.post.shared.load32_at::<RX_ASLEEP>(Ordering::Relaxed));
        let waits = matches!(asleep.how(), Some(How::Futex | How::Doorbell));
        Pulse { beats: self.post.shared.load64(BEATS, Ordering::Relaxed), waits }
    }
}
