//! Messages in every format: over a channel, kept, in batches and in parts; what each side is told where the other
//! means another format; and what a peer may send that is none.

#![cfg(all(feature = "json", feature = "cbor", feature = "postcard", feature = "zerocopy"))]

mod support;

use std::collections::BTreeMap;
use std::fmt::Debug;

use memring::{End, Protocol, RecvError, Rule, SendError};
use serde::{Deserialize, Serialize};
use support::liar::liar;
use support::soon;
use support::strangers::{chain, mismatch};

/// One declaration in each format, and a protocol for each that carries it both ways.
macro_rules! in_each_format {
    ($($module:ident $protocol:ident $format:tt)*) => {$(
        mod $module {
            use super::*;

            #[memring::message $format]
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            pub struct Letter {
                pub subject: String,
                pub lines: Vec<Option<String>>,
                pub kind: Kind,
                #[memring(foreign = "text to numbers")]
                pub marks: BTreeMap<String, f64>,
            }

            #[memring::message $format]
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            pub enum Kind {
                Note,
                Reply { to: u64 },
                Copy(Box<Letter>),
            }

            pub fn letter(lines: usize) -> Letter {
                let marks = [("a".to_owned(), 0.1 + 0.2), ("ß".to_owned(), -0.0)].into();
                let note = Letter {
                    subject: "a note".into(),
                    lines: vec![None],
                    kind: Kind::Reply { to: u64::MAX },
                    marks,
                };
                Letter {
                    subject: "a letter".into(),
                    lines: (0..lines).map(|n| Some(format!("line {n}"))).collect(),
                    kind: Kind::Copy(Box::new(note)),
                    marks: BTreeMap::new(),
                }
            }
        }

        struct $protocol;
        impl Protocol for $protocol {
            const NAME: &'static str = "letters";
            type ToClient = $module::Letter;
            type ToServer = $module::Letter;
        }
    )*};
}
in_each_format! {
    json InJson (format = json)
    cbor InCbor (format = cbor)
    postcard InPostcard (format = postcard)
}

mod archived {
    #[memring::message]
    pub struct Letter {
        pub subject: String,
    }
}

struct Archived;
impl Protocol for Archived {
    const NAME: &'static str = "letters";
    type ToClient = archived::Letter;
    type ToServer = archived::Letter;
}

/// Plain data, not every pattern of which is a value.
#[memring::message(format = plain)]
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    zerocopy::TryFromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(C)]
struct Tick {
    price: f64,
    size: u32,
    side: Side,
    firm: bool,
    venue: u16,
}

#[memring::message(format = plain)]
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    zerocopy::TryFromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(u8)]
enum Side {
    Bid = 1,
    Ask,
}

struct Ticks;
impl Protocol for Ticks {
    const NAME: &'static str = "letters";
    type ToClient = Tick;
    type ToServer = Tick;
}

fn tick(size: u32) -> Tick {
    let side = if size.is_multiple_of(2) { Side::Bid } else { Side::Ask };
    Tick { price: 0.5, size, side, firm: true, venue: 7 }
}

/// Over a channel and back, with each kind of receiving.
macro_rules! talk {
    ($protocol:ident $letter:expr) => {{
        let letter = $letter;
        let (mut server, mut client) = memring::pair::<$protocol>().expect("a pair");
        server.send(&letter(3)).expect("sends");
        let view = client.recv_deadline(soon()).expect("a letter");
        assert_eq!(*view, letter(3));
        let (len, value) = (view.bytes().len(), view.into_value());
        assert!(len > 20);
        client.send(&value).expect("sends");
        assert_eq!(*server.recv_deadline(soon()).expect("a letter"), value);

        let (mut tx, _rx) = server.split();
        let (_tx, mut rx) = client.split();
        tx.send_all(&[letter(0), letter(1), letter(2)]).expect("sends");
        let mut count = 0;
        while count < 3 {
            count += rx.recv_each(|view| assert!(view.into_value().lines.len() < 3)).expect("more");
        }

        // Larger than the lane: in parts, while the other side receives.
        let sending = std::thread::spawn(move || {
            tx.send(&letter(50_000)).expect("sends");
            tx
        });
        let kept = rx.recv_owned_deadline(soon()).expect("a large letter");
        sending.join().unwrap();
        assert!(kept.bytes().len() > 300_000);
        let read = std::thread::spawn(move || kept.into_value()).join().unwrap();
        assert_eq!(read, letter(50_000));
    }};
}

#[test]
fn letters_in_every_format_come_as_values() {
    talk!(InJson json::letter);
    talk!(InCbor cbor::letter);
    talk!(InPostcard postcard::letter);
}

#[test]
fn plain_data_is_read_in_place_alone_in_batches_and_kept() {
    let (mut server, client) = memring::pair::<Ticks>().expect("a pair");
    let (_, mut rx) = client.split();
    server.send(&tick(1)).expect("sends");
    assert_eq!(*rx.recv_deadline(soon()).expect("a tick"), tick(1));
    server.send(&tick(2)).expect("sends");
    let kept = rx.recv_owned_deadline(soon()).expect("a tick");
    let many: Vec<Tick> = (0..1000).map(tick).collect();
    server.send_all(&many).expect("sends");
    let mut received = Vec::new();
    while received.len() < many.len() {
        rx.recv_each(|view| received.push(*view)).expect("more");
    }
    assert_eq!(received, many);
    assert_eq!(*kept, tick(2));
    assert_eq!(kept.bytes().len(), size_of::<Tick>());
}

#[test]
fn a_value_that_the_format_cannot_say_is_an_error_and_the_channel_goes_on() {
    let (mut server, mut client) = memring::pair::<InJson>().expect("a pair");
    let mut odd = json::letter(1);
    odd.marks.insert("none".into(), f64::NAN);
    match server.send(&odd) {
        Err(SendError::Encode(error)) => assert!(chain(&error).contains("not finite"), "{error}"),
        other => panic!("{other:?}"),
    }
    // Also one of which much was written before.
    odd.lines = vec![Some("x".repeat(100_000))];
    assert!(matches!(server.send(&odd), Err(SendError::Encode(_))));
    server.send(&json::letter(1)).expect("sends");
    assert_eq!(*client.recv_deadline(soon()).expect("a letter"), json::letter(1));
}

#[test]
fn sides_that_mean_different_formats_are_told_both() {
    let [json, cbor, postcard] = ["Letter as JSON", "Letter as CBOR", "Letter as postcard"];
    mismatch::<InJson, InCbor>(&[json, cbor]);
    mismatch::<InCbor, InPostcard>(&[cbor, postcard]);
    mismatch::<InPostcard, InJson>(&[postcard, json]);
    mismatch::<Archived, InJson>(&["Letter as rkyv", json]);
    mismatch::<InPostcard, Archived>(&[postcard, "Letter as rkyv"]);
    mismatch::<Ticks, InJson>(&["Tick as plain data", json]);
}

/// What is sent ends the session, and says why; what came before was received.
fn attack<P: Protocol>(good: &[u8], bad: &[(&[u8], &str)]) {
    for (bytes, expected) in bad {
        let (mut server, mut client) = liar::<P>();
        client.producer.send(good, 0, None).expect("sends");
        client.producer.send(bytes, 0, None).expect("sends");
        server.recv_deadline(soon()).map(drop).expect("a message");
        for _ in 0..2 {
            match server.recv_deadline(soon()).map(drop) {
                Err(RecvError::Ended(End::Fault(fault))) => {
                    assert_eq!(fault.rule, Rule::Decode);
                    let text = fault.to_string();
                    assert!(text.contains(expected), "{expected:?} in {text:?}");
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
}

fn bytes_of<P: Protocol<ToClient: Sized>>(value: &P::ToClient) -> Vec<u8> {
    let (mut server, mut client) = memring::pair::<P>().expect("a pair");
    server.send(value).expect("sends");
    client.recv_deadline(soon()).expect("a message").bytes().to_vec()
}

#[test]
fn attack_72_what_is_no_message_of_its_format_ends_the_session() {
    let good = bytes_of::<InJson>(&json::letter(1));
    let bad: [(&[u8], &str); 4] = [
        (&good[..good.len() - 1], "EOF"),
        (&[&good[..], b"x"].concat(), "trailing characters"),
        (br#"{"subject":1}"#, "expected a string"),
        (&br#"{"lines":"#.repeat(1000), "expected a sequence"),
    ];
    attack::<InJson>(&good, &bad);

    let good = bytes_of::<InCbor>(&cbor::letter(1));
    let bad: [(&[u8], &str); 3] = [
        (&good[..good.len() - 1], "not a valid encoding"),
        (&[&good[..], b"x"].concat(), "1 of the message's"),
        (b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff", "not a valid encoding"),
    ];
    attack::<InCbor>(&good, &bad);

    let good = bytes_of::<InPostcard>(&postcard::letter(1));
    let bad: [(&[u8], &str); 3] = [
        (&good[..good.len() - 1], "end of buffer"),
        (&[&good[..], b"x"].concat(), "1 of the message's"),
        (b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\x01", "not a valid encoding"),
    ];
    attack::<InPostcard>(&good, &bad);

    let good = bytes_of::<Ticks>(&tick(1));
    let mut unfirm = good.clone();
    unfirm[13] = 2;
    let bad: [(&[u8], &str); 4] = [
        (&good[..15], "too short"),
        (&[&good[..], b"x"].concat(), "1 of the message's 17 bytes"),
        (&unfirm, "no value of the type"),
        (&[0xff; 16], "no value of the type"),
    ];
    attack::<Ticks>(&good, &bad);
}
