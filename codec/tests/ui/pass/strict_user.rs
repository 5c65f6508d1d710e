// A crate that forbids unsafe code and takes warnings for errors can declare messages, anywhere.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs)]
//! Strict.

use memring_codec as renamed;

/// A message.
#[memring_macros::message(crate = renamed)]
#[derive(Debug, Clone)]
pub struct Quote<T> {
    /// A keyword.
    pub r#type: T,
    /// With a wrapper, and a type that has no fingerprint of its own.
    #[rkyv(with = renamed::rkyv::with::Skip)]
    #[memring(foreign = "skipped")]
    pub seen: Option<std::time::Instant>,
    next: Option<Box<Quote<T>>>,
}

/// An enum.
#[memring_macros::message(crate = ::memring_codec)]
pub enum Event {
    /// Nothing.
    Nothing,
    /// Something.
    Something(Quote<u8>),
}

macro_rules! declare {
    ($(#[$meta:meta])* $name:ident $field:ident $ty:ty) => {
        $(#[$meta])*
        #[memring_macros::message(crate = memring_codec)]
        pub struct $name {
            /// A field.
            pub $field: $ty,
        }
    };
}
declare!(
    /// From a macro.
    Made by Vec<Event>
);

fn main() {
    fn message<T: renamed::Message>() -> String {
        // In a function, next to a shadow of every name that one would think of.
        struct Message;
        struct Option;
        struct String;
        struct Result;
        let _ = (Message, Option, String, Result);
        #[memring_macros::message(crate = memring_codec)]
        struct Local(u8, u16);
        assert_eq!(<Local as renamed::Message>::name(), "Local");
        T::name()
    }
    assert_eq!(message::<Quote<u8>>(), "Quote<u8>");
    assert_eq!(message::<Event>(), "Event");
    assert_eq!(message::<Made>(), "Made");
    let _ = Quote { r#type: 1, seen: None, next: None };
}
