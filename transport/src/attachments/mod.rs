//! What goes with messages beside their bytes: file descriptors, and blobs.
//!
//! They come over the control socket ahead of the message, and are filed under the position of its frame until the
//! message is received: see `inbox.rs`. At the other end, [`UnderWay`] counts those that were sent and not received,
//! for the peer said how many it takes. A blob is sent once, and has a number from then on: the [`Shelf`] has those
//! that we sent, the library those that the peer did. All of them read and send nothing.

mod inbox;
mod library;
mod shelf;
mod under_way;

pub use inbox::Parcel;
pub(crate) use inbox::{Fetched, Inbox};
pub use library::{KnownBlob, Named};
pub(crate) use library::{Library, NotTaken};
pub use shelf::{Numbered, Room, Shelf};
pub use under_way::UnderWay;

#[cfg(test)]
mod agreement;
