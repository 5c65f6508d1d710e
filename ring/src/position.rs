//! Positions in a lane: pure arithmetic on numbers that only grow.
//!
//! A position counts bytes since the lane began and wraps at 2^64. Everything here takes values and
//! returns values, and is right across that wrap; nothing here touches memory.

use crate::fault::Fault;

/// Bytes of a frame's header, and the grain of every position.
pub const HEADER: u64 = 16;

/// The bit of a published `head` that says: the consumer has gone, and this is its last word.
pub const GONE: u64 = 1;

/// How many bytes a lane holds: a power of two from 64 to 2^30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity(u64);

impl Capacity {
    /// The smallest lane: four headers. (A real segment's is at least a page.)
    pub const MIN: u64 = 64;
    /// The largest lane. Up to here the low half of a position never comes round to the same value
    /// within one lane, so a sleeper may wait on it.
    pub const MAX: u64 = 1 << 30;

    /// A capacity of `bytes`, if that is a power of two in range.
    #[must_use]
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= Self::MIN && bytes <= Self::MAX {
            Some(Self(bytes))
        } else {
            None
        }
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Where in the data area `position` lies.
    #[inline]
    #[must_use]
    pub const fn offset(self, position: u64) -> usize {
        (position & (self.0 - 1)) as usize
    }

    /// The largest payload of one frame: with its header a quarter of the lane, or in the smallest
    /// lane, which only models use, half of it.
    #[inline]
    #[must_use]
    pub const fn largest_payload(self) -> u64 {
        let frame = self.0 / 4;
        (if frame > 2 * HEADER { frame } else { 2 * HEADER }) - HEADER
    }

    /// The largest message that an empty lane holds whole, in parts if need be.
    #[must_use]
    pub const fn largest_at_once(self) -> u64 {
        let largest = self.largest_payload();
        let room = self.0 - HEADER;
        // As many full parts as there is room for and one that takes the rest, less the total that the
        // first one carries.
        let parts = room / (HEADER + largest);
        let rest = (room % (HEADER + largest)).saturating_sub(HEADER);
        let in_parts = parts * largest + rest - 8;
        if in_parts > largest { in_parts } else { largest }
    }

    /// Whether a frame of `frame` bytes fits while `used` bytes are unread.
    ///
    /// Besides the frame itself there must be room for the header that will follow it, which is zeroed
    /// before the frame is published: so a consumer always finds an end, and the end-of-stream mark,
    /// a header alone, always fits.
    #[inline]
    #[must_use]
    pub const fn fits(self, frame: u64, used: u64) -> bool {
        // `used <= capacity` holds for every head that passed `check_head`.
        frame + HEADER <= self.0.saturating_sub(used)
    }

    /// Whether a frame of `frame` bytes can lie behind `used` unread ones: what lies in a lane is no longer than it.
    ///
    /// Behind the last there need be no header: it may be the end-of-stream mark.
    #[inline]
    #[must_use]
    pub const fn holds(self, frame: u64, used: u64) -> bool {
        frame <= self.0.saturating_sub(used)
    }

    /// The largest payload that fits in one frame while `used` bytes are unread; `None` if not even an
    /// empty one does.
    #[inline]
    #[must_use]
    pub const fn room(self, used: u64) -> Option<u64> {
        let free = self.0.saturating_sub(used);
        if free < 2 * HEADER {
            return None;
        }
        let room = free - 2 * HEADER;
        let largest = self.largest_payload();
        Some(if room < largest { room } else { largest })
    }
}

/// The bytes a frame with this payload takes: header and payload, up to the grain.
#[inline]
#[must_use]
pub const fn frame_size(payload: u64) -> u64 {
    HEADER + ((payload + (HEADER - 1)) & !(HEADER - 1))
}

/// Believes a published `head`, or not.
///
/// `loaded` is what the consumer's word held (without [`GONE`]), `last` the last head that was good,
/// `tail` our own position. A consumer may only move from `last` towards `tail`, by whole grains.
///
/// # Errors
///
/// [`Fault::Head`] if it lies outside, or between two grains.
#[inline]
pub const fn check_head(loaded: u64, last: u64, tail: u64) -> Result<u64, Fault> {
    if loaded.wrapping_sub(last) <= tail.wrapping_sub(last) && loaded.is_multiple_of(HEADER) {
        Ok(loaded)
    } else {
        Err(Fault::Head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_a_power_of_two_in_range() {
        for (bytes, good) in [
            (0, false),
            (1, false),
            (32, false),
            (64, true),
            (65, false),
            (4096, true),
            (1 << 30, true),
            (1 << 31, false),
            (1 << 63, false),
            (u64::MAX, false),
        ] {
            assert_eq!(Capacity::new(bytes).is_some(), good, "{bytes}");
        }
    }

    #[test]
    fn frames_are_whole_grains() {
        for (payload, frame) in [(0, 16), (1, 32), (15, 32), (16, 32), (17, 48), (32, 48)] {
            assert_eq!(frame_size(payload), frame, "{payload}");
        }
    }

    #[test]
    fn a_frame_fits_only_with_the_header_after_it() {
        let lane = Capacity::new(256).unwrap();
        for (frame, used, fits, holds) in [
            (16, 0, true, true),
            (240, 0, true, true),
            (256, 0, false, true),
            (272, 0, false, false),
            (16, 224, true, true),
            (16, 240, false, true),
            (32, 208, true, true),
            (32, 224, false, true),
            (32, 240, false, false),
            (16, 256, false, false),
            (16, 1 << 40, false, false),
        ] {
            assert_eq!(lane.fits(frame, used), fits, "frame {frame}, used {used}");
            assert_eq!(lane.holds(frame, used), holds, "frame {frame}, used {used}");
        }
        assert_eq!(lane.room(0), Some(48));
        assert_eq!(lane.room(256 - 64), Some(32));
        assert_eq!(lane.room(256 - 32), Some(0));
        assert_eq!(lane.room(256 - 16), None);
    }

    #[test]
    fn the_largest_at_once_fills_an_empty_lane_to_the_next_header() {
        for (bytes, largest) in [(64, 16), (256, 3 * 48 + 32 - 8), (4096, 3 * 1008 + 992 - 8)] {
            let lane = Capacity::new(bytes).unwrap();
            assert_eq!(lane.largest_at_once(), largest, "{bytes}");
        }
    }

    #[test]
    fn attack_51_a_head_is_believed_only_between_the_last_and_our_tail() {
        let check = |loaded, last, tail, good| {
            assert_eq!(
                check_head(loaded, last, tail).is_ok(),
                good,
                "loaded {loaded:#x}, last {last:#x}, tail {tail:#x}"
            );
        };
        for base in [0_u64, 16, (1 << 32) - 32, 0_u64.wrapping_sub(32), 0_u64.wrapping_sub(16)] {
            let at = |n: u64| base.wrapping_add(n);
            check(at(0), at(0), at(64), true);
            check(at(64), at(0), at(64), true);
            check(at(32), at(16), at(64), true);
            check(at(80), at(0), at(64), false); // past our tail
            check(at(0), at(16), at(64), false); // backwards
            check(at(33), at(16), at(64), false); // between grains
            check(at(32).wrapping_add(1 << 63), at(16), at(64), false);
            check(u64::MAX, at(16), at(64), false);
        }
        check(0, 16, 64, false);
    }
}
