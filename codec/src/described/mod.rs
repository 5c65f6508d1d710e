//! The structure of types that we did not declare: the language's, the standard library's, rkyv's wrappers.
//!
//! Why spelt out and not derived: a name here is part of the protocol for ever, whatever the library calls
//! its type tomorrow.
//!
//! Not here: `Rc` and `Arc`, which only a wrapper can put into a message, and maps, whose archived form
//! needs the feature `maps`.

mod maps;
mod std_types;
mod wrappers;

pub use wrappers::Wrapped;
