//! A typed message of 32 bytes over memring: what the round-trip measurements send.

use memring::{Channel, Protocol};

use crate::measure::{Failed, Link};

/// Thirty-two bytes, as small and as typed as a market tick.
#[memring::message]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Which call this belongs to.
    pub number: u64,
    /// A price, in millionths.
    pub price: i64,
    /// How many.
    pub quantity: u64,
    /// When, in nanoseconds.
    pub at: u64,
}

impl Tick {
    /// The tick of call `number`.
    #[inline]
    #[must_use]
    pub const fn of(number: u64) -> Self {
        Self { number, price: 1_000_000, quantity: 100, at: number }
    }
}

/// Ticks both ways.
#[derive(Clone, Copy, Debug)]
pub struct Ticks;

impl Protocol for Ticks {
    const NAME: &'static str = "memring-ticks";
    type ToClient = Tick;
    type ToServer = Tick;
}

// Either end: both send what both receive.
impl Link for Channel<Tick, Tick> {
    #[inline]
    fn call(&mut self, number: u64) -> Result<(), Failed> {
        self.send(&Tick::of(number))?;
        expect(self.recv()?.number.to_native(), number)
    }

    #[inline]
    fn answer(&mut self, number: u64) -> Result<(), Failed> {
        expect(self.recv()?.number.to_native(), number)?;
        self.send(&Tick::of(number))?;
        Ok(())
    }
}

/// Whether the message is the one that is due.
#[inline]
pub(crate) fn expect(got: u64, due: u64) -> Result<(), Failed> {
    if got == due { Ok(()) } else { Err(format!("message {got} came where {due} was due").into()) }
}
