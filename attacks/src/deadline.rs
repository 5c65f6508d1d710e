//! The time at which a command gives up.

use std::time::{Duration, Instant};

/// A moment to come. One too far to be counted never comes.
#[derive(Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// The moment `time` from now.
    pub fn after(time: Duration) -> Self {
        Self(Instant::now().checked_add(time))
    }

    /// What is left; zero when it has come.
    pub fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// Whether it has come.
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }
}
