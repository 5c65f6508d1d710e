//! Sides that mean different messages, and what each is told.

mod support;

use std::io;

use memring::{Bytes, ConnectError, Protocol};
use support::strangers::mismatch;

mod old {
    #[memring::message]
    pub(crate) struct Quote {
        pub(crate) price: f64,
    }
}

mod new {
    #[memring::message]
    pub(crate) struct Quote {
        pub(crate) price: f64,
        pub(crate) currency: String,
    }
}

struct Old;
impl Protocol for Old {
    const NAME: &'static str = "quotes";
    type ToClient = old::Quote;
    type ToServer = [u8];
}

struct New;
impl Protocol for New {
    const NAME: &'static str = "quotes";
    type ToClient = new::Quote;
    type ToServer = [u8];
}

struct Backwards;
impl Protocol for Backwards {
    const NAME: &'static str = "quotes";
    type ToClient = [u8];
    type ToServer = old::Quote;
}

struct Renamed;
impl Protocol for Renamed {
    const NAME: &'static str = "prices";
    type ToClient = old::Quote;
    type ToServer = [u8];
}

struct Endless;
impl Protocol for Endless {
    const NAME: &'static str = "a name of more than one hundred and twenty-eight bytes, which no \
        protocol has any use for, and which is here to see that somebody says so to its author";
    type ToClient = [u8];
    type ToServer = [u8];
}

#[test]
fn sides_that_mean_different_messages_are_told_what_both_meant() {
    mismatch::<Old, New>(&["quotes", "Quote", "to the connecting side", "api crate"]);
    mismatch::<New, Old>(&["quotes", "Quote", "to the connecting side"]);
    mismatch::<Old, Backwards>(&["to the connecting side", "to the accepting side", "Quote"]);
    mismatch::<Old, Renamed>(&["\"quotes\"", "\"prices\""]);
    mismatch::<Bytes, Old>(&["\"bytes\"", "\"quotes\""]);
    let error = memring::pair::<Endless>().expect_err("too long");
    assert!(matches!(error, ConnectError::Text { what: "protocol name", .. }), "{error}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
}
