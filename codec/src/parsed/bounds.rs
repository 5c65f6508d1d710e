//! How much of a message a parser may be made to do: levels, and elements.
//!
//! Why not the libraries' own limits: serde_json counts no wrapper structs and no options, postcard counts
//! nothing, so that a type which contains itself through one of these recurses without consuming a byte. And
//! postcard's elements may take no bytes, of which ten bytes claim 2^64.
//!
//! **Levels.** Each option that is there, wrapper struct, sequence, tuple, struct, map and enum is one.
//! **Elements.** Those of sequences and maps, however deep. One that takes bytes has a first byte to itself, so
//! there are never more than bytes. A claimed length counts when it is claimed, before it is allocated for.
//!
//! It knows no format, and it does not bound what a type's own code does, nor what serde keeps to read it again
//! (`untagged`, `tag`, `flatten`).

use std::cell::Cell;
use std::fmt;

use rkyv::rancor::Source;
use serde_core::{de, ser};

use super::said::Said;
use crate::{DEPTH, Reason};

/// What is left to one message, and which bound it broke.
pub struct Bounds {
    /// Elements that may still come; for a writer, those that came, from the other end.
    elements: Cell<usize>,
    broken: Cell<Option<Broken>>,
}

/// The bound that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("more than {DEPTH} levels of options, wrappers, sequences, structs, maps and enums")]
    Deep,
    #[error("more elements than the message has bytes")]
    Elements,
    #[error("a number that is not finite, which this format cannot say")]
    NotFinite,
    #[error("a field that is left out, which this format cannot say")]
    LeftOut,
}

impl Bounds {
    pub(super) fn of_reading(len: usize) -> Self {
        Self { elements: Cell::new(len), broken: Cell::new(None) }
    }

    /// A writer finds out at the end how many elements it might have had; see [`settle`](Self::settle).
    pub(super) fn of_writing() -> Self {
        Self::of_reading(usize::MAX)
    }

    /// One level deeper than `level`.
    #[inline]
    pub(super) fn deeper(&self, level: usize) -> Result<usize, Broken> {
        if level < DEPTH.get() { Ok(level + 1) } else { Err(self.break_by(Broken::Deep)) }
    }

    /// Takes `count` elements.
    #[inline]
    pub(super) fn take(&self, count: usize) -> Result<(), Broken> {
        match self.elements.get().checked_sub(count) {
            Some(left) => {
                self.elements.set(left);
                Ok(())
            }
            None => Err(self.break_by(Broken::Elements)),
        }
    }

    /// Takes down why what follows will be refused: a library may forget the words that it is given.
    #[cold]
    pub(super) fn break_by(&self, broken: Broken) -> Broken {
        self.broken.set(Some(broken));
        broken
    }

    /// What was written has `len` bytes.
    pub(super) fn settle(&self, len: usize) -> Result<(), Reason> {
        let elements = usize::MAX - self.elements.get();
        if elements <= len { Ok(()) } else { Err(Reason::new(Broken::Elements)) }
    }

    /// Why the library gave up: a bound if one was broken, else its own words.
    #[cold]
    pub(super) fn reason(&self, said: Said) -> Reason {
        match self.broken.get() {
            Some(broken) => Reason::new(broken),
            None => Reason::new(said),
        }
    }
}

impl Broken {
    #[cold]
    pub(super) fn reading<E: de::Error>(self) -> E {
        E::custom(self)
    }

    #[cold]
    pub(super) fn writing<E: ser::Error>(self) -> E {
        E::custom(self)
    }
}

impl fmt::Debug for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounds").field("elements", &self.elements.get()).finish_non_exhaustive()
    }
}
