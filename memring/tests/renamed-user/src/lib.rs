//! A crate that has memring under another name and takes every warning for an error, those of clippy that few ask for too.
//!
//! Its interfaces have what an expansion could stumble over. That they compile is the test, and those in `tests` call them.

#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

/// A type that is called as what is written for a method might be.
#[other::message(crate = other)]
#[derive(Clone, Debug, PartialEq)]
pub struct NamesArguments {
    /// Its field.
    pub text: String,
}

/// And one that is called as a parameter might be.
#[other::message(crate = other)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct S(pub u8);

/// What a method fails with.
#[other::message(crate = other)]
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// It is not liked.
    Disliked,
}

/// Names that what is written could have for itself.
#[other::interface(crate = other, name = "names", version = "1")]
pub trait Names {
    /// In calls.
    fn names(self_: u8, bound: u8, arguments: u8, replies: u8, request: u8, member: u8) -> u32;
    /// In calls, the others.
    fn more(place: u8, server: S, header: u8, into: u8, resolver: u8, out: u8) -> u32;
    /// A keyword.
    fn r#type(r#fn: NamesArguments) -> NamesArguments;
    /// Two of one name, were they written in another way.
    fn ab();
    /// The other.
    fn _ab();
    /// In streams.
    fn streamed(arguments: u8, request: u8, link: u8) -> Stream<u8>;
    /// In signals.
    #[signal]
    fn signalled(interface: u8, arguments: &str, signals: u8, slow: u8, body: u8);
    /// Of a keyword.
    #[signal]
    fn r#match();
}

/// Shapes of arguments and results.
#[other::interface(crate = other, name = "shapes", version = "1")]
pub trait Shapes {
    /// Twelve arguments.
    fn twelve(
        a: u8,
        b: u16,
        c: u32,
        d: u64,
        e: i8,
        f: i16,
        g: i32,
        h: i64,
        i: bool,
        j: char,
        k: String,
        l: &str,
    ) -> String;
    /// What may be there.
    fn optional(one: Option<u8>, other: &Option<String>) -> Option<Option<u8>>;
    /// Some together.
    fn tuples(pair: (u8, String), alone: (u8,), nothing: ()) -> (String, u8);
    /// As many as there are.
    fn arrays(one: [u8; 3], other: &[u8; 3], many: &[[u8; 2]], boxed: Box<[u8]>) -> [String; 2];
    /// Nothing.
    fn unit(nothing: ()) -> ();
    /// Nothing, or an error.
    fn checked(like: bool) -> Result<(), Refusal>;
    /// Lent.
    fn lent(whole: &NamesArguments, many: &[String], wrapped: &Vec<u8>) -> u32;
    /// Nothing comes back.
    #[oneway]
    fn told();
    /// One alone.
    #[signal]
    fn one(word: String);
    /// Twelve together.
    #[signal]
    fn many(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: &[u8]);
}

/// It has nothing.
#[other::interface(crate = other, name = "empty", version = "1")]
pub trait Empty {}

mod hidden {
    #[derive(Clone, Copy)]
    #[other::message(crate = other)]
    struct Own(u8);

    /// Nobody uses it, and its types are as private.
    #[other::interface(crate = other, name = "private", version = "1")]
    trait Private {
        fn own(own: Own) -> Own;
        fn read(own: &Own) -> Stream<Own>;
        #[oneway]
        fn told(own: Own);
        #[signal]
        fn happened(own: Own);
    }

    #[other::interface(crate = ::other, name = "crate", version = "1")]
    pub(crate) trait OfTheCrate {
        fn own(text: &str) -> Result<Stream<u8>, super::Refusal>;
        #[signal]
        fn happened();
    }

    #[other::interface(crate = other, name = "above", version = "1")]
    pub(super) trait Above {
        fn own(text: &str);
    }

    mod deeper {
        use super::Own;

        #[other::interface(crate = other, name = "path", version = "1")]
        pub(in crate::hidden) trait InPath {
            fn own(own: Own);
        }
    }
}

/// A macro that declares.
macro_rules! declare {
    ($(#[$meta:meta])* $vis:vis $name:ident: $method:ident($argument:ident: $given:ty, $lent:ty) -> $result:ty) => {
        $(#[$meta])*
        #[other::interface(crate = other, name = "made", version = "1")]
        $vis trait $name {
            /// A method.
            fn $method($argument: $given, lent: &$lent) -> $result;
        }
    };
}
declare!(
    /// From a macro.
    pub Made: method(argument: Vec<u8>, str) -> Result<Stream<u8>, Refusal>
);

/// In a function, next to a shadow of every name that one would think of.
#[must_use]
pub fn local() -> &'static str {
    struct Option;
    struct String;
    struct Result;
    struct Vec;
    struct Send;
    struct Call;
    let _ = (Option, String, Result, Vec, Send, Call);
    #[other::interface(crate = other, name = "local", version = "1")]
    trait Local {
        fn method(text: &str) -> u8;
        fn fails() -> ::core::result::Result<u8, Refusal>;
        #[signal]
        fn signal(text: &str);
    }
    Local::INTERFACE.name
}
