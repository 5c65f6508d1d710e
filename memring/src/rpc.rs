//! Calls: interfaces with versions, methods and signals, over a channel.
//!
//! An interface is declared as a trait, usually in a crate of its own, and `#[memring::interface]` makes clients and
//! servers of it.

mod carrier;
mod client;
mod error;
mod interface;
mod link;
mod server;
mod service;
mod services;
mod session;
mod table;
mod wire;

pub use carrier::{Attaching, Carries, Delivers, NoError, Plainly};
pub use client::{Bound, Cancel, Client, Options};
pub use error::{CallError, Never, OpenError};
pub use interface::{Interface, Member};
pub use link::Link;
pub use server::{Server, Serving};
pub use service::{Call, Request, Service};
pub use services::Serve;
pub use session::{Calls, connect, connect_to};
pub use wire::{Prints, Shape};
