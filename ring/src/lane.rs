//! Making the two halves of a channel from two control areas and two data areas.

use crate::consumer::Consumer;
use crate::heads::Heads;
use crate::life::Life;
use crate::position::Capacity;
use crate::producer::Producer;
#[cfg(not(memring_loom))]
use crate::sync;
use crate::sync::{Arc, Region, WritableRegion};
use crate::wait::Wait;

/// What both sides agreed on, and how this side waits.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Terms {
    /// The negotiated largest message, in bytes.
    pub max_message: u64,
    /// How blocking calls wait.
    pub wait: Wait,
    /// Where both lanes begin. Zero, except in tests that want to see positions wrap.
    #[doc(hidden)]
    pub start: u64,
}

impl Terms {
    /// Messages of up to this many bytes, waiting adaptively.
    #[must_use]
    pub const fn new(max_message: u64) -> Self {
        Self { max_message, wait: Wait::Adaptive, start: 0 }
    }

    /// Waits this way.
    #[must_use]
    pub const fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Begins both lanes at this position, a multiple of 16.
    #[doc(hidden)]
    #[must_use]
    pub const fn start(mut self, start: u64) -> Self {
        self.start = start;
        self
    }
}

/// One side's view of a channel's memory.
pub(crate) struct Side {
    /// Our control area, which we write.
    pub mine: Region,
    /// The peer's control area, which it writes.
    pub theirs: Region,
    /// The lane we write.
    pub data_out: WritableRegion,
    /// The lane we read.
    pub data_in: Region,
    pub capacity_out: Capacity,
    pub capacity_in: Capacity,
    pub life: Arc<Life>,
}

/// The two halves of this side of a channel.
pub(crate) fn halves(side: &Side, terms: &Terms, heads: &Arc<Heads>) -> (Producer, Consumer) {
    (Producer::new(side, terms, Arc::clone(heads)), Consumer::new(side, terms, Arc::clone(heads)))
}

/// The two halves of this side of a channel: `mine` is the segment this side writes, `theirs` the peer's.
///
/// # Panics
///
/// If `mine` is not writable: the two were mixed up.
#[cfg(not(memring_loom))]
#[must_use]
pub fn channel(
    mine: &Arc<crate::memory::Mapping>,
    theirs: &Arc<crate::memory::Mapping>,
    life: &Arc<Life>,
    terms: &Terms,
) -> (Producer, Consumer) {
    let capacity = |mapping: &crate::memory::Mapping| {
        // A mapping was made from a checked geometry.
        Capacity::new(mapping.capacity()).expect("a mapped lane has a lane's capacity")
    };
    let side = Side {
        mine: sync::region(mine.control()),
        theirs: sync::region(theirs.control()),
        data_out: sync::writable_region(mine.data()),
        data_in: sync::region(theirs.data()),
        capacity_out: capacity(mine),
        capacity_in: capacity(theirs),
        life: Arc::clone(life),
    };
    halves(&side, terms, &Heads::of_process())
}
