//! Blobs: memory that is written once, sealed, and from then on read in place by whoever holds it.
//!
//! Why not a message: a message is copied into the lane and out of it, and has to fit. A blob is a memfd of its own,
//! and what travels is a descriptor. The kernel's seal against writing is what a lane's segment cannot have: nobody
//! can change a byte any more, its maker included, so that a reader may check it once and look at it for as long as
//! it likes, also after the maker is gone.
//!
//! It knows bytes and no types, and it does not send: that is the session's. What it makes and what it believes is
//! the same: a [`SealedMemory`].
//!
//! | file | what |
//! |---|---|
//! | `memory` | [`SealedMemory`]: a descriptor, and its bytes |
//! | `builder` | [`MemoryBuilder`]: memory being written, of a known size or growing |
//! | `copy` | from a file |
//! | `receive` | believes what a peer sent |
//! | `file` | the memfd under it, until it is sealed |
//! | `map` | mappings, and the only unsafe code |

mod builder;
mod copy;
mod error;
mod file;
mod map;
mod memory;
mod receive;

pub use builder::{GrowingMemory, MemoryBuilder, Pages, SizedMemory};
pub use copy::{CopyError, copy};
pub use error::BlobError;
pub(crate) use memory::Departure;
pub use memory::{MemoryId, SealedMemory};
pub use receive::{NotReceived, Unfit};

use rustix::fs::SealFlags;

/// What the seals of a blob are: nothing about it changes, the seals included.
const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

#[cfg(test)]
mod tests;
