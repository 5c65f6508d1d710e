//! What goes with messages beside their bytes: file descriptors.
//!
//! They come over the control socket ahead of the message, and are filed under the position of its frame until the
//! message is received: see [`Inbox`]. At the other end, [`UnderWay`] counts those that were sent and not received,
//! for the peer said how many it takes. Both are pure but for the descriptors that they own.

mod inbox;
mod under_way;

pub use inbox::Parcel;
pub(crate) use inbox::{Fetched, Inbox};
pub use under_way::UnderWay;
