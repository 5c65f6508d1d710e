//! Lock-free SPSC lanes over sealed shared memory, for peers that need not trust each other.
//!
//! A *segment* is a memfd that only one side can write. A *lane* is a one-way ring: its bytes lie in the
//! producer's segment, its release position in the consumer's. A *channel* is two lanes, one each way;
//! [`channel`] makes the two halves of one side. Frames publish themselves, a sleeper is woken by a
//! futex, and every word that the peer can write is loaded once and checked.
//!
//! This crate knows no sockets, no handshakes and no message types. Where to start reading:
//!
//! | module | what |
//! |---|---|
//! | [`position`] | arithmetic of positions: pure |
//! | [`frame`] | frame headers: pure |
//! | [`producer`], [`consumer`] | the two halves |
//! | `writer`, `reader` | their numbered protocols, without the waiting |
//! | [`batch`], [`grant`] | many messages in one frame; writing in place |
//! | [`wait`] | spin, sleep, and no lost wake |
//! | [`arm`] | the same for event loops, with a doorbell |
//! | [`select`] | the same for several consumers at once |
//! | [`fence`] | the asymmetric fence pair |
//! | [`heads`] | publishing release positions before any wait |
//! | [`life`] | what a session shares with its halves in private memory |
//! | [`observer`] | what can be seen of a channel beside its halves |
//! | [`segment`], [`memory`] | memfds, seals and checks; mappings and the only code that touches them |
//! | [`fork`] | noticing a forked child |

#[cfg(not(target_os = "linux"))]
compile_error!("memring runs on Linux only: it is built on sealed memfds, futexes and pidfds.");
#[cfg(not(target_endian = "little"))]
compile_error!("memring's wire format is little-endian, and so must the machine be.");
#[cfg(not(target_has_atomic = "64"))]
compile_error!("memring needs 64-bit atomics.");

mod ahead;
pub mod arm;
mod asleep;
pub mod batch;
pub mod buffer;
pub mod consumer;
mod counters;
mod cursor;
mod delivery;
pub mod fault;
pub mod fence;
pub mod frame;
pub mod grant;
pub mod halves;
pub mod heads;
mod item;
pub mod lane;
pub mod life;
pub mod lookout;
mod pack;
mod parts;
pub mod position;
pub mod producer;
mod pulse;
mod reader;
pub mod select;
mod spin;
mod stage;
#[doc(hidden)]
pub mod step;
mod sync;
mod trace;
pub mod wait;
mod writer;

#[cfg(not(memring_loom))]
pub mod fork;
#[cfg(not(memring_loom))]
mod futex;
#[cfg(not(memring_loom))]
pub mod memory;
#[cfg(not(memring_loom))]
pub mod observer;
#[cfg(not(memring_loom))]
pub mod segment;

#[cfg(memring_loom)]
pub use sync::model;
#[cfg(memring_scripted)]
pub use sync::scripted;

pub use ahead::Unsent;
pub use counters::Stats;
pub use delivery::Delivery;
pub use fault::Fault;
#[cfg(not(memring_loom))]
pub use futex::waitv_works;
pub use lane::Terms;
#[cfg(not(memring_loom))]
pub use lane::channel;
pub use life::{End, Host, Life};
pub use pulse::Pulse;
pub use wait::{Patience, Wait};
