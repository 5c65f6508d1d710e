//! What a receive came to: one that waits and one that does not say it in the same words.

use memring_ring::consumer::{RecvError, TryRecvError};

/// Nothing came in a time that was over at once, or never will.
pub fn not_in_time(error: RecvError) -> TryRecvError {
    match error {
        RecvError::TimedOut => TryRecvError::Empty,
        RecvError::Ended(end) => TryRecvError::Ended(end),
        other => panic!("{other}"),
    }
}
