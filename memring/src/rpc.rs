//! Calls: interfaces with versions, methods and signals, over a channel.
//!
//! An interface is declared as a trait, usually in a crate of its own, and `#[memring::interface]` makes clients and
//! servers of it.

mod carrier;
mod client;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod interface;
mod pending;
mod receiving;
mod running;
mod sending;
mod server;
mod service;
mod services;
mod serving;
mod session;
mod shared;
mod signal;
mod stream;
mod table;
mod wire;

pub use carrier::{Attaching, Carries, Delivers, NoError, Plainly};
pub use client::{Bound, Cancel, Client, Options};
pub use error::{CallError, Never, OpenError, ReplyError};
pub use interface::{Interface, Member};
pub use pending::Pending;
pub use server::{Server, Serving};
pub use service::{Call, Request, Service};
pub use services::Serve;
pub use session::{Calls, Link, connect, connect_to};
pub use signal::{Reached, Signals, Subscription};
#[doc(hidden)]
pub use signal::{read_signal, signal_to};
pub use stream::{Replies, Stream};
pub use wire::{Prints, Shape};
