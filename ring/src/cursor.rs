//! Where a reader is in its lane, what it has released, and what of that was published.
//!
//! The position is ours, in private memory. The peer's only part in it is what it wrote at the place the
//! position says.

use crate::counters::{RX, Traffic};
use crate::heads::{Head, TX_ASLEEP};
use crate::lane::{Side, Terms};
use crate::position::{Capacity, HEADER};
use crate::step::{self, Step};
use crate::sync::{self, Arc, Frame, Ordering, Region, mutant};

/// A position in a lane that is read.
pub(crate) struct Cursor {
    data: Region,
    capacity: Capacity,
    /// Next byte to read.
    head: u64,
    /// The head this half last asked to publish.
    published: u64,
    /// How far behind that may be: an eighth of the lane.
    behind: u64,
    /// Where a producer that sleeps for room says so.
    theirs: Region,
    shared: Arc<Head>,
    pub(crate) traffic: Traffic<RX>,
}

impl Cursor {
    pub(crate) fn new(side: &Side, terms: &Terms, shared: Arc<Head>) -> Self {
        let capacity = side.capacity_in;
        Self {
            data: side.data_in.clone(),
            capacity,
            head: terms.start,
            published: terms.start,
            behind: if mutant("eighth-kept") { u64::MAX } else { capacity.bytes() / 8 },
            theirs: side.theirs.clone(),
            shared,
            traffic: Traffic::new(side.mine.clone()),
        }
    }

    pub(crate) fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// The next byte to read.
    pub(crate) fn position(&self) -> u64 {
        self.head
    }

    /// Where the frame at the position begins, in bytes from the lane's beginning.
    #[inline(always)]
    pub(crate) fn offset(&self) -> usize {
        self.capacity.offset(self.head)
    }

    /// Where its payload begins.
    #[inline(always)]
    pub(crate) fn payload(&self) -> usize {
        self.offset() + HEADER as usize
    }

    /// The frame at the position.
    #[inline(always)]
    pub(crate) fn frame(&self) -> Frame<'_> {
        self.data.frame(self.head)
    }

    /// The frame that begins so many bytes behind the position.
    pub(crate) fn frame_behind(&self, bytes: u64) -> Frame<'_> {
        self.data.frame(self.head.wrapping_add(bytes))
    }

    /// Loads its header: C1.
    #[inline(always)]
    pub(crate) fn header(frame: Frame<'_>) -> u64 {
        step::at(Step::C1);
        // ORDERING: Acquire; pairs with P3 in `Writer::announce`. The payload and the next header are read after
        // it. It is loaded once; from there on the word is ours.
        frame.load_header(sync::order("relaxed-header", Ordering::Acquire)) // C1
    }

    /// Loads its tag, when the header was seen.
    #[inline(always)]
    pub(crate) fn tag(&self) -> u64 {
        // ORDERING: Relaxed; published by C1, as the payload is.
        self.frame().load_tag(Ordering::Relaxed)
    }

    /// Copies its payload out, from the beginning: C3.
    #[inline(always)]
    pub(crate) fn copy_payload(frame: Frame<'_>, into: &mut [u8]) {
        step::at(Step::C3);
        frame.copy_payload_out(into); // C3
    }

    /// Copies bytes of the frame's payload out, from `at` bytes into the lane on: C3 too.
    pub(crate) fn copy_out(&self, at: usize, into: &mut [u8]) {
        step::at(Step::C3);
        self.data.copy_out(at, into);
    }

    /// Bytes of the lane, in place.
    ///
    /// # Safety
    ///
    /// As for [`Region::slice`].
    #[allow(unsafe_code)]
    pub(crate) unsafe fn slice(&self, at: usize, len: usize) -> &[u8] {
        // SAFETY: passed on.
        unsafe { self.data.slice(at, len) }
    }

    /// The frame, so many bytes, has been read: C4.
    #[inline(always)]
    pub(crate) fn release(&mut self, frame: u64) {
        step::at(Step::C4);
        self.head = self.head.wrapping_add(frame);
        self.shared.release(self.head);
        let due = self.head.wrapping_sub(self.published) >= self.behind;
        if due || self.producer_needs_it() {
            self.publish();
        }
    }

    /// The two in the wrong order, as the mutant has them.
    #[cold]
    pub(crate) fn release_first(&mut self, frame: u64, into: &mut [u8]) {
        let at = self.head;
        self.release(frame);
        self.publish();
        self.data.frame(at).copy_payload_out(into);
    }

    /// Whether the producer sleeps for room and the backlog has been read to its end.
    #[inline(always)]
    fn producer_needs_it(&self) -> bool {
        // ORDERING: Relaxed, both; hints to publish sooner, and the publish looks again.
        self.theirs.load32_at::<TX_ASLEEP>(Ordering::Relaxed) != 0
            && self.frame().load_header(Ordering::Relaxed) as u32 == 0
    }

    /// Publishes what was released, if that is news, and what was counted.
    #[inline(never)]
    pub(crate) fn publish(&mut self) {
        self.traffic.show();
        if self.head != self.published {
            self.published = self.head;
            self.shared.publish();
        }
    }

    /// How often the peer was woken for room.
    pub(crate) fn wakes(&self) -> u64 {
        self.shared.wakes()
    }

    /// Publishes the consumer's last word, and what was counted.
    pub(crate) fn leave(&mut self) {
        self.traffic.show();
        self.shared.leave();
    }

    /// What is published, for those who publish the heads of all.
    pub(crate) fn shared(&self) -> &Arc<Head> {
        &self.shared
    }
}
