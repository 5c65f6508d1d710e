//! The machine, but for what the peer wrote: a fuzzer answers every load of that, each time anew.
//!
//! Where memory stays as it is between two loads, code that loads a word twice cannot be told from code that
//! loads it once. Here every load is an event: whoever plays the peer sees where it was, says what it
//! found, and says something else the next time. Our own memory, which nothing reads back, is the machine's.
//!
//! A thread without a peer has the machine alone.

pub(crate) use super::frame::{Frame, FrameMut};
pub(crate) use super::native::*;

use std::cell::RefCell;

use super::Bed;
use super::native::{self, Region as Real};

/// Plays the peer of everything that this thread maps read-only.
pub trait Peer {
    /// A word of 8 bytes is loaded.
    fn load64(&mut self, place: Place) -> u64;

    /// A word of 4 bytes is loaded.
    fn load32(&mut self, place: Place) -> u32;

    /// Bytes are copied.
    fn copy_out(&mut self, place: Place, into: &mut [u8]);

    /// A half sleeps. It will be woken for no reason.
    fn sleep(&mut self);
}

/// Where in the peer's segment a load is: so many bytes into one of its areas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The control area.
    Control(usize),
    /// The data area.
    Data(usize),
}

thread_local! {
    static PEER: RefCell<Option<Box<dyn Peer>>> = const { RefCell::new(None) };
}

/// Lets `peer` answer the loads of this thread; `None` for the machine.
pub fn choose_peer(peer: Option<Box<dyn Peer>>) {
    PEER.set(peer);
}

/// Asks the peer, if there is one.
fn ask<T>(ask: impl FnOnce(&mut dyn Peer) -> T) -> Option<T> {
    PEER.with_borrow_mut(|peer| peer.as_mut().map(|peer| ask(&mut **peer)))
}

/// The machine's region, whose loads are the peer's to answer if the peer writes it.
#[derive(Clone)]
pub(crate) struct Region {
    real: Real,
    /// What makes a place of an offset; `None` in our own memory.
    place: Option<fn(usize) -> Place>,
}

pub(crate) fn region(real: Real) -> Region {
    let mapping = real.mapping();
    let is_control = mapping.control().futex_word(0) == real.futex_word(0);
    let place = if is_control { Place::Control } else { Place::Data };
    Region { place: (!mapping.is_writable()).then_some(place), real: native::region(real) }
}

/// A lane that this side writes is the machine's.
pub(crate) type WritableRegion = Region;

pub(crate) fn writable_region(real: Real) -> WritableRegion {
    region(real)
}

impl Region {
    fn ask<T>(&self, offset: usize, answer: impl FnOnce(&mut dyn Peer, Place) -> T) -> Option<T> {
        let place = self.place?(offset);
        ask(|peer| answer(peer, place))
    }

    pub(crate) fn load64(&self, offset: usize, order: Ordering) -> u64 {
        // Loaded all the same, for its checks.
        let real = self.real.load64(offset, order);
        self.ask(offset, |peer, place| peer.load64(place)).unwrap_or(real)
    }

    pub(crate) fn load32(&self, offset: usize, order: Ordering) -> u32 {
        let real = self.real.load32(offset, order);
        self.ask(offset, |peer, place| peer.load32(place)).unwrap_or(real)
    }

    pub(crate) fn copy_out(&self, offset: usize, into: &mut [u8]) {
        self.real.copy_out(offset, into);
        self.ask(offset, |peer, place| peer.copy_out(place, into));
    }

    pub(crate) fn store64(&self, offset: usize, value: u64, order: Ordering) {
        self.real.store64(offset, value, order);
    }

    pub(crate) fn store32(&self, offset: usize, value: u32, order: Ordering) {
        self.real.store32(offset, value, order);
    }

    pub(crate) fn copy_in(&self, offset: usize, bytes: &[u8]) {
        self.real.copy_in(offset, bytes);
    }

    pub(crate) fn load32_at<const OFFSET: usize>(&self, order: Ordering) -> u32 {
        self.load32(OFFSET, order)
    }

    pub(crate) fn store64_at<const OFFSET: usize>(&self, value: u64, order: Ordering) {
        self.real.store64_at::<OFFSET>(value, order);
    }

    pub(crate) fn frame(&self, position: u64) -> Frame<'_> {
        Frame { region: self, at: (position % self.real.mapping().capacity()) as usize }
    }

    pub(crate) fn frame_mut(&self, position: u64) -> Frame<'_> {
        self.frame(position)
    }

    pub(crate) fn zero(&self, offset: usize, len: usize) {
        self.real.zero(offset, len);
    }

    #[allow(unsafe_code)]
    pub(crate) unsafe fn slice(&self, _offset: usize, _len: usize) -> &[u8] {
        unreachable!("a peer that is played is not trusted")
    }

    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub(crate) unsafe fn slice_mut(&self, _offset: usize, _len: usize) -> &mut [u8] {
        unreachable!("nor is it where this half writes in place")
    }
}

pub(crate) fn sleep(
    region: &Region,
    offset: usize,
    seen: u32,
    private: &AtomicU32,
    private_seen: u32,
    how: Sleep,
) -> bool {
    if region.place.is_some() && ask(|peer| peer.sleep()).is_some() {
        return true;
    }
    native::sleep(&region.real, offset, seen, private, private_seen, how)
}

pub(crate) fn sleep_any(beds: &[Bed<'_, Region>], until: Option<Instant>) -> Option<usize> {
    fn real<'a>(bed: &Bed<'a, Region>) -> Bed<'a, Real> {
        let &Bed { region, offset, seen, shared, private, private_seen } = bed;
        Bed { region: &region.real, offset, seen, shared, private, private_seen }
    }
    native::sleep_any(&beds.iter().map(real).collect::<Vec<_>>(), until)
}

pub(crate) fn wake(region: &Region, offset: usize) -> bool {
    native::wake(&region.real, offset)
}
