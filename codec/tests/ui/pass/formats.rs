// A crate that forbids unsafe code and takes warnings for errors can declare messages in every format.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs)]
//! Strict.

use memring_codec as renamed;
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Contains itself and an argument.
#[memring_macros::message(crate = renamed, format = json)]
#[derive(Serialize, Deserialize, Debug)]
pub struct Tree<T> {
    /// A keyword.
    pub r#type: T,
    /// Of a type that has no fingerprint of its own.
    #[memring(foreign = "std::time::SystemTime 1")]
    #[serde(default)]
    pub seen: Option<std::time::SystemTime>,
    #[cfg(any())]
    gone: NoSuchType,
    children: Vec<Tree<T>>,
}

/// An enum, in two formats by turns.
#[memring_macros::message(format = postcard, crate = ::memring_codec,)]
#[derive(Serialize, Deserialize)]
pub enum Event {
    /// Nothing.
    #[serde(rename = "nil")]
    Nothing,
    /// Something.
    Something(Tree<u8>),
    /// More of it.
    More {
        /// Each contains the other, and neither has to say so.
        events: Vec<Event>,
    },
}

/// No bytes.
#[memring_macros::message(format = cbor, crate = memring_codec)]
#[derive(Serialize, Deserialize)]
pub struct Unit;

/// Plain, with an argument and a constant.
#[memring_macros::message(crate = memring_codec, format = plain)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C)]
pub struct Grid<T, const N: usize> {
    cells: [T; N],
}

fn main() {
    fn name<T: renamed::Message>() -> (String, &'static str) {
        use renamed::Format;
        (T::name(), T::Format::NAME)
    }
    assert_eq!(name::<Tree<u8>>(), ("Tree<u8>".into(), "JSON"));
    assert_eq!(name::<Event>(), ("Event".into(), "postcard"));
    assert_eq!(name::<Unit>(), ("Unit".into(), "CBOR"));
    assert_eq!(name::<Grid<u16, 4>>(), ("Grid<u16, 4>".into(), "plain data"));
    let _ = (Tree { r#type: 1, seen: None, children: vec![] }, Grid { cells: [1; 4] });
}
