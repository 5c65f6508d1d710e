//! A hostile peer: it writes into its own memory whatever it likes, and nothing else happens than one fault.
//!
//! The test holds the peer's memory and plays the peer by hand. Each table says what was written, which
//! whole messages are still delivered, and which rule is named. After each the same must hold: the fault
//! stays, on both halves of this side; nothing panics or hangs; another channel goes on as if nothing were.
//!
//! The bytes of the control socket and of archives are not here: see `transport` and `codec`.

#[path = "../support/mod.rs"]
mod support;

mod asleep;
mod frames;
mod heads;
mod racing;
mod target;
