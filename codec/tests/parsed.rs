//! Messages that serde writes and parses: what goes in comes out, and what a hostile sender can write, in all three
//! notations.
//!
//! The animals are the zoo's, whose own format is rkyv's: the formats take any type that has serde's derives.

#[path = "zoo/any.rs"]
mod any;
mod support;
mod zoo;

use std::collections::BTreeMap;
use std::fmt::Debug;

use memring_codec::{
    Cbor, DEPTH, DecodeError, EncodeError, Encoder, Format, Json, Parsed, Postcard, Scratch,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use support::{Frame, chain, on_a_small_stack};
use zoo::*;

/// A type that serde knows.
trait Known: Serialize + DeserializeOwned + Debug + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + Debug + Send + Sync + 'static> Known for T {}

/// A format, as values: tables have rows of them.
struct Way<T> {
    name: &'static str,
    encode: fn(&T, &mut Encoder<'_>) -> Result<(), EncodeError>,
    decode: fn(&[u8]) -> Result<T, DecodeError>,
}

fn ways<T: Known>() -> [Way<T>; 3] {
    fn way<T, F: Format<T, Checked = T>>() -> Way<T> {
        Way { name: F::NAME, encode: F::encode, decode: F::decode }
    }
    [way::<T, Parsed<Json>>(), way::<T, Parsed<Cbor>>(), way::<T, Parsed<Postcard>>()]
}

fn way<T: Known>(name: &str) -> Way<T> {
    ways().into_iter().find(|way| way.name == name).expect("a format")
}

impl<T: Known> Way<T> {
    fn bytes(&self, value: &T) -> Result<Vec<u8>, EncodeError> {
        let mut scratch = Scratch::new(1 << 24);
        (self.encode)(value, &mut Encoder::new(&mut scratch))?;
        Ok(scratch.to_vec())
    }

    /// The text of the error that `bytes` are.
    fn refuses(&self, bytes: &[u8]) -> String {
        match (self.decode)(bytes) {
            Ok(value) => panic!("{}: {value:?}", self.name),
            Err(error) => chain(&error),
        }
    }

    /// The text of the error that this value is to its sender.
    fn rejects(&self, value: &T) -> String {
        let error = self.bytes(value).expect_err(self.name);
        assert!(matches!(error, EncodeError::Unencodable { .. }), "{}: {error:?}", self.name);
        chain(&error)
    }
}

fn trip<T: Known + PartialEq>(value: &T) {
    for way in ways::<T>() {
        let bytes = way.bytes(value).expect("a value of the zoo encodes");
        assert_eq!(&(way.decode)(&bytes).expect("what we encode is valid"), value, "{}", way.name);
        let into_frame = |room| {
            let mut frame = Frame { bytes: Vec::new(), room };
            let mut encoder = Encoder::new(&mut frame);
            (way.encode)(value, &mut encoder)?;
            assert_eq!(encoder.position(), frame.bytes.len());
            Ok::<_, EncodeError>(frame.bytes)
        };
        assert_eq!(into_frame(bytes.len()).expect("it fits exactly"), bytes);
        for room in [0, bytes.len() / 2, bytes.len().saturating_sub(1)] {
            if room < bytes.len() {
                let short = into_frame(room);
                assert!(matches!(short, Err(EncodeError::Full)), "{short:?} with room for {room}");
            }
        }
    }
}

macro_rules! trips {
    ($($animal:ident)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(32))]
            $(#[test]
            fn $animal(value in any::$animal()) {
                trip(&value);
            })*
        }
    };
}
trips!(quote side picky letter event expression tree list folder wrapped);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn odds(mut value in any::odds()) {
        // serde keeps of such an address what it has in common with one of IPv4.
        if let std::net::SocketAddr::V6(socket) = &mut value.socket {
            socket.set_flowinfo(0);
            socket.set_scope_id(0);
        }
        trip(&value);
    }
}

#[test]
fn numbers_come_back_as_they_went() {
    trip(&Empty);
    trip(&[
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        0.1 + 0.2,
        1.0 / 3.0,
        -0.0,
        2e22,
        123456789.123456,
    ]);
    trip(&[f32::MAX, f32::MIN_POSITIVE, 1e-45, 0.1, 16_777_217.0]);
    trip(&(u128::MAX, i128::MIN, u64::MAX, i64::MIN, i8::MIN));
    for way in [way::<f64>("CBOR"), way("postcard")] {
        let bytes = way.bytes(&f64::NAN).expect("it has words for it");
        assert!((way.decode)(&bytes).expect("valid").is_nan());
    }
}

proptest! {
    #[test]
    fn every_finite_float_comes_back_bit_by_bit(bits: u64, half: u32) {
        let (long, short) = (f64::from_bits(bits), f32::from_bits(half));
        prop_assume!(long.is_finite() && short.is_finite());
        for way in ways::<(f64, f32)>() {
            let (a, b) = (way.decode)(&way.bytes(&(long, short)).expect("finite")).expect("valid");
            prop_assert_eq!((a.to_bits(), b.to_bits()), (bits, half), "{}", way.name);
        }
    }
}

#[test]
fn serde_s_own_ways_to_shape_a_type_work_where_the_notation_has_names() {
    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    #[serde(tag = "kind", rename_all = "kebab-case")]
    enum Tagged {
        OneThing { inner: Untagged },
        Nothing,
    }
    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    #[serde(untagged)]
    enum Untagged {
        Number(u32),
        Text(String),
        Many(Vec<Untagged>),
    }
    #[derive(Debug, Serialize, Deserialize, PartialEq)]
    struct Flat {
        tagged: Tagged,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        maybe: Option<u8>,
        #[serde(flatten)]
        rest: BTreeMap<String, Untagged>,
    }
    let inner = Untagged::Many(vec![Untagged::Number(1), Untagged::Text("two".into())]);
    let rest = [("more".to_owned(), Untagged::Number(3))].into();
    let flat = Flat { tagged: Tagged::OneThing { inner }, maybe: None, rest };
    for name in ["JSON", "CBOR"] {
        let way = way::<Flat>(name);
        let bytes = way.bytes(&flat).expect("named");
        assert_eq!((way.decode)(&bytes).expect("valid"), flat);
    }
    let json = way::<Flat>("JSON").bytes(&flat).expect("text");
    assert_eq!(
        String::from_utf8_lossy(&json),
        r#"{"tagged":{"kind":"one-thing","inner":[1,"two"]},"more":3}"#
    );
    assert!(!way::<Flat>("postcard").rejects(&flat).is_empty());
    assert_eq!((way::<Tagged>("JSON").decode)(br#"{"kind":"nothing"}"#).unwrap(), Tagged::Nothing);
}

#[test]
fn what_a_notation_has_no_words_for_is_refused_at_the_sender() {
    let check = |said: String, expected: &str| assert!(said.contains(expected), "{said}");
    for not_finite in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        check(way("JSON").rejects(&not_finite), "not finite");
        check(way("JSON").rejects(&vec![Some(not_finite as f32)]), "not finite");
    }
    check(way("JSON").rejects(&BTreeMap::from([((1, 2), 3)])), "key must be a string");

    #[derive(Debug, Serialize, Deserialize)]
    struct Leaky {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        maybe: Option<u8>,
    }
    check(way("postcard").rejects(&Leaky { maybe: None }), "left out");
    way("postcard").bytes(&Leaky { maybe: Some(1) }).expect("whole");

    use std::os::unix::ffi::OsStringExt;
    let path: std::path::PathBuf = std::ffi::OsString::from_vec(vec![0xff]).into();
    for way in ways() {
        assert!(!way.rejects(&path).is_empty());
    }
}

#[test]
fn a_value_larger_than_allowed_says_so_and_a_large_one_passes_in_pieces() {
    let text = vec!["a line".repeat(100); 20];
    trip(&text);
    for way in ways() {
        let mut scratch = Scratch::new(1000);
        let error = (way.encode)(&text, &mut Encoder::new(&mut scratch));
        assert!(matches!(error, Err(EncodeError::TooLarge { max: 1000 })), "{error:?}");
    }
}

#[test]
fn attack_72_bytes_after_the_value_are_an_error() {
    let quote = Quote::default();
    for way in ways() {
        let bytes = way.bytes(&quote).expect("plain");
        for more in [&b"\0"[..], b"1", &bytes] {
            let longer = [&bytes[..], more].concat();
            match (way.decode)(&longer) {
                Err(DecodeError::Surplus { surplus, found }) => {
                    assert_eq!((surplus, found), (more.len(), longer.len()));
                }
                Err(DecodeError::Invalid { source }) => {
                    assert!(source.to_string().contains("trailing characters"), "{source}");
                }
                other => panic!("{}: {other:?}", way.name),
            }
        }
    }
}

/// Changes every byte in several ways, and cuts the bytes anywhere. What is accepted is encoded and decoded again.
fn mutate<T: Known>(animals: impl proptest::strategy::Strategy<Value = T>) {
    let mut runner = TestRunner::deterministic();
    for way in ways::<T>() {
        for _ in 0..4 {
            let value = animals.new_tree(&mut runner).expect("an animal").current();
            let mut bytes = way.bytes(&value).expect("it encodes");
            for at in 0..bytes.len() {
                let _ = (way.decode)(&bytes[..at]);
                for mask in [0x01, 0x80, 0xff, 0x10, 0x20, bytes[at]] {
                    bytes[at] ^= mask;
                    again(&way, &bytes);
                    bytes[at] ^= mask;
                }
            }
        }
    }
}

/// What decodes encodes, and decodes to the same.
fn again<T: Known>(way: &Way<T>, bytes: &[u8]) {
    let Ok(value) = (way.decode)(bytes) else { return };
    let bytes = way.bytes(&value).expect("a value that was decoded");
    let second = (way.decode)(&bytes).expect("what we encode is valid");
    // By their texts: a NaN is not equal to itself.
    assert_eq!(format!("{value:?}"), format!("{second:?}"), "{}", way.name);
}

macro_rules! mutations {
    ($($name:ident: $animal:ident)*) => {$(
        #[test]
        fn $name() {
            mutate(any::$animal());
        }
    )*};
}
mutations! {
    attack_72_mutated_quote: quote
    attack_72_mutated_picky: picky
    attack_72_mutated_event: event
    attack_72_mutated_expression: expression
    attack_72_mutated_tree: tree
    attack_72_mutated_folder: folder
    attack_72_mutated_odds: odds
}

proptest! {
    #[test]
    fn attack_72_noise_is_never_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..256)) {
        fn check<T: Known>(noise: &[u8]) {
            ways::<T>().iter().for_each(|way| again(way, noise));
        }
        check::<Letter>(&noise);
        check::<Event>(&noise);
        check::<Expression>(&noise);
        check::<Wrapped>(&noise);
        check::<Odds>(&noise);
        check::<Box<str>>(&noise);
    }
}

#[test]
fn attack_72_the_peer_s_words_are_cut_and_shown_without_control_characters() {
    let name = format!("\u{1b}[2J{}", "x".repeat(1 << 20));
    let said = way::<Side>("JSON").refuses(&serde_json::to_vec(&name).expect("text"));
    assert!(said.contains("unknown variant `\\u{1b}[2Jxxx") && said.ends_with(" ..."), "{said}");
    assert!(said.len() < 400, "{said}");
}

/// Contains itself through nothing that takes a byte, but in postcard.
#[derive(Debug, Serialize, Deserialize)]
struct Layers(Option<Box<Layers>>);

/// Contains itself and takes no byte at all.
#[derive(Debug, Serialize, Deserialize)]
struct Endless(Box<Endless>);

/// Anything.
#[derive(Debug, Serialize, Deserialize)]
struct Anything {
    anything: serde_json::Value,
}

/// Skips what it does not know.
#[derive(Debug, Serialize, Deserialize)]
struct Choosy {
    known: Option<u8>,
}

const FAR: usize = 100_000;

#[test]
fn attack_70_deep_messages_are_an_error_on_a_small_stack() {
    fn check<T: Known>(name: &str, bytes: &[u8], expected: &str) {
        let said = way::<T>(name).refuses(bytes);
        assert!(said.contains(expected), "{name}: {said}");
    }
    let nested = |open: &[u8], end: &[u8]| [open.repeat(FAR), end.to_vec()].concat();
    let within = |begin: &[u8], open: &[u8]| [begin.to_vec(), open.repeat(FAR)].concat();
    let levels = "more than 64 levels";
    on_a_small_stack(move || {
        check::<Chain>("JSON", &nested(br#"{"next":"#, b"null"), levels);
        check::<Chain>("CBOR", &nested(b"\xa1\x64next", b"\xf6"), levels);
        check::<Chain>("postcard", &nested(b"\x01", b"\x00"), levels);
        check::<Tree<u8>>("postcard", &nested(b"\x00\x01", b"\x00\x00"), levels);
        check::<Expression>("JSON", &nested(br#"{"Negate":"#, b"1"), levels);
        check::<Expression>("CBOR", &nested(b"\xa1\x66Negate", b"\x01"), levels);
        check::<Expression>("postcard", &nested(b"\x01", b"\x00\x00"), levels);

        check::<Layers>("JSON", b"5", levels);
        check::<Layers>("CBOR", b"\x05", levels);
        check::<Layers>("postcard", &nested(b"\x01", b"\x00"), levels);
        for name in ["JSON", "CBOR", "postcard"] {
            check::<Endless>(name, b"null", levels);
        }

        check::<Anything>("JSON", &within(br#"{"anything":"#, b"["), levels);
        check::<Anything>("JSON", &within(br#"{"anything":"#, br#"{"a":"#), levels);
        check::<Anything>("CBOR", &within(b"\xa1\x68anything", b"\x81"), levels);
        check::<Anything>("CBOR", &within(b"\xa1\x68anything", b"\xa1\x61a"), levels);
        check::<Anything>("CBOR", &within(b"\xa1\x68anything", b"\x9f"), levels);
        check::<Anything>("CBOR", &within(b"\xa1\x68anything", b"\xc2"), "");

        check::<Choosy>("JSON", &within(br#"{"strange":"#, b"["), levels);
        check::<Choosy>("CBOR", &within(b"\xa1\x67strange", b"\x81"), levels);
        check::<Choosy>("CBOR", &within(b"\xa1\x67strange", b"\xc2"), "");
    });
}

#[test]
fn attack_70_the_deepest_allowed_value_is_sent_and_read_on_a_small_stack() {
    fn chain(depth: usize) -> Chain {
        (0..depth).fold(Chain { next: None }, |chain, _| Chain { next: Some(Box::new(chain)) })
    }
    // A struct and an option are two levels; the innermost struct is one more.
    let depth = (DEPTH.get() - 1) / 2;
    on_a_small_stack(move || {
        for way in ways() {
            trip(&chain(depth));
            let said = way.rejects(&chain(depth + 1));
            assert!(said.contains("more than 64 levels"), "{said}");
        }
    });
}

/// Elements without a byte, which only a name given by hand lets through the compiler.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Holes {
    holes: Vec<()>,
    #[allow(clippy::vec_box)] // it takes memory and no byte
    boxes: Vec<Box<()>>,
    skipped: Vec<Skipped>,
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Skipped {
    #[serde(skip)]
    large: [u64; 16],
}

#[test]
fn attack_71_a_length_that_the_bytes_do_not_hold_is_an_error_at_once() {
    let elements = "more elements than the message has bytes";
    let check = |said: String, expected: &str| assert!(said.contains(expected), "{said}");
    // 2^60 elements, of which a value would take a while.
    let claimed = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
    for (before, after) in [(&b""[..], &b"\0\0"[..]), (b"\0", b"\0"), (b"\0\0", b"")] {
        let bytes = [before, &claimed, after].concat();
        check(way::<Holes>("postcard").refuses(&bytes), elements);
    }
    check(way::<Vec<u64>>("postcard").refuses(&claimed), "");
    check(way::<BTreeMap<(), ()>>("postcard").refuses(&claimed), elements);
    check(way::<Vec<u64>>("CBOR").refuses(b"\x9b\x10\0\0\0\0\0\0\0\x01"), elements);
    check(way::<BTreeMap<u8, u8>>("CBOR").refuses(b"\xbb\x10\0\0\0\0\0\0\0\x01\x01"), elements);
    check(way::<String>("CBOR").refuses(b"\x7b\x10\0\0\0\0\0\0\0a"), "");
    check(way::<String>("postcard").refuses(&claimed), "");
    // Each claim is good for itself, and together they are too many.
    let many = [&[5_u8][..], &[5; 5]].concat();
    check(way::<Vec<Vec<()>>>("postcard").refuses(&many), elements);
}

#[test]
fn elements_without_bytes_are_refused_at_the_sender_unless_others_pay_for_them() {
    let holes = |count| Holes { holes: vec![(); count], boxes: Vec::new(), skipped: Vec::new() };
    let way = way("postcard");
    assert!(way.rejects(&holes(4)).contains("more elements than the message has bytes"));
    let bytes = way.bytes(&holes(3)).expect("as many as bytes");
    assert_eq!((way.decode)(&bytes).expect("valid"), holes(3));
    for named in [self::way("JSON"), self::way("CBOR")] {
        let bytes = named.bytes(&holes(1000)).expect("each takes bytes");
        assert_eq!((named.decode)(&bytes).expect("valid"), holes(1000));
    }
}

#[test]
fn numbers_out_of_range_are_an_error() {
    let check = |said: String| assert!(!said.is_empty());
    check(way::<u8>("JSON").refuses(b"256"));
    check(way::<u8>("JSON").refuses(b"-1"));
    check(way::<f64>("JSON").refuses(b"1e999"));
    check(way::<f64>("JSON").refuses(b"null"));
    check(way::<u8>("CBOR").refuses(b"\x19\x01\x00"));
    check(way::<i8>("CBOR").refuses(b"\x38\x80"));
    check(way::<u16>("postcard").refuses(b"\xff\xff\x7f"));
    check(way::<char>("JSON").refuses(br#""ab""#));
    check(way::<std::num::NonZeroU32>("postcard").refuses(b"\0"));
    check(way::<Side>("postcard").refuses(b"\x02"));
    check(way::<bool>("postcard").refuses(b"\x02"));
}
