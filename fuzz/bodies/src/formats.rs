//! The formats beside rkyv's: any bytes are refused, or are a value that encodes, and decodes to the same.
//!
//! The first byte says which format they are meant to be in, the second which type.

#![allow(unsafe_code)]

use std::fmt::Debug;

use memring_codec::rkyv::util::AlignedVec;
use memring_codec::{Cbor, DecodeError, Encoder, Format, Json, Parsed, Plain, Postcard, Scratch};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

use crate::Seed;
use crate::archive::zoo::*;
use crate::archive::{
    DURATION, chain, expression, folder, letter, list, odds, picky, quote, tree, wrapped,
};
use crate::input::Input;

/// The notations of serde's formats, by name; plain data comes after them.
const NOTATIONS: [&str; 3] = ["json", "cbor", "postcard"];

/// A type: its name, how bytes are tried as one in a notation, and encodings of it.
type Animal = (&'static str, fn(usize, &[u8]), fn(usize) -> Vec<Vec<u8>>);

/// Contains itself through nothing that takes a byte, but in postcard.
#[derive(Debug, Serialize, Deserialize)]
struct Layers(Option<Box<Layers>>);

/// Elements that take no byte in postcard.
#[derive(Debug, Serialize, Deserialize)]
struct Holes {
    holes: Vec<()>,
    #[allow(clippy::vec_box)] // it takes memory and no byte
    boxes: Vec<Box<()>>,
}

/// What serde can be told to do with names.
#[derive(Debug, Serialize, Deserialize)]
struct Shaped {
    tagged: Tagged,
    #[serde(default)]
    maybe: Option<u8>,
    #[serde(flatten)]
    rest: std::collections::BTreeMap<String, Untagged>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Nothing,
    Something { inner: Untagged },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i32),
    Text(String),
    Many(Vec<f32>),
}

fn animals() -> Vec<Animal> {
    vec![
        ("quote", check::<Quote>, |way| encoded(way, [quote(1)])),
        ("picky", check::<Picky>, |way| encoded(way, [picky()])),
        ("letter", check::<Letter>, |way| encoded(way, [letter(0), letter(2)])),
        ("event", check::<Event>, |way| {
            let by = "somebody".into();
            encoded(
                way,
                [
                    Event::Nothing,
                    Event::Opened { by, at: DURATION },
                    Event::Moved(-1, 1),
                    Event::Failed(Err("a reason".into())),
                ],
            )
        }),
        ("expression", check::<Expression>, |way| encoded(way, [expression(3)])),
        ("chain", check::<Chain>, |way| encoded(way, [chain(0), chain(20)])),
        ("tree", check::<Tree<String>>, |way| encoded(way, [tree(2)])),
        ("list", check::<List<String>>, |way| encoded(way, [list(5)])),
        ("folder", check::<Folder>, |way| encoded(way, [folder(2)])),
        ("wrapped", check::<Wrapped>, |way| encoded(way, [wrapped()])),
        ("odds", check::<Odds>, |way| encoded(way, [odds()])),
        ("layers", check::<Layers>, |way| {
            encoded(way, [Layers(None), Layers(Some(Box::new(Layers(None))))])
        }),
        ("holes", check::<Holes>, |way| {
            encoded(way, [Holes { holes: vec![()], boxes: vec![Box::new(())] }])
        }),
        ("shaped", check::<Shaped>, |way| {
            let rest = || [("more".to_owned(), Untagged::Number(3))].into();
            let inner = Untagged::Many(vec![0.5]);
            let tagged = Tagged::Something { inner };
            let shaped = [
                Shaped { tagged: Tagged::Nothing, maybe: Some(1), rest: rest() },
                Shaped { tagged, maybe: None, rest: rest() },
            ];
            if NOTATIONS[way] == "postcard" { Vec::new() } else { encoded(way, shaped) }
        }),
    ]
}

/// Any bytes are one, if there are enough.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Tick {
    price: u64,
    size: [u16; 4],
}

/// Not all bytes are one.
#[derive(Debug, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Order {
    letter: char,
    quantity: u16,
    side: PlainSide,
    firm: bool,
}

#[derive(Debug, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u8)]
enum PlainSide {
    Bid = 1,
    Ask = 7,
}

/// One encoding of one type.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let way = usize::from(input.u8()) % (NOTATIONS.len() + 1);
    let which = usize::from(input.u8());
    let bytes = input.rest();
    if way < NOTATIONS.len() {
        let animals = animals();
        let (_, check, _) = animals[which % animals.len()];
        check(way, bytes);
    } else if which.is_multiple_of(2) {
        plain::<Tick>(bytes);
    } else {
        plain::<Order>(bytes);
    }
}

/// Encodings of every type in every format.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (way, notation) in NOTATIONS.into_iter().enumerate() {
        for (which, (name, _, encodings)) in animals().into_iter().enumerate() {
            for (n, encoding) in encodings(way).into_iter().enumerate() {
                let mut seed = vec![way as u8, which as u8];
                seed.extend(encoding);
                seeds.push((format!("{notation}-{name}-{n}"), seed));
            }
        }
    }
    let plain = NOTATIONS.len() as u8;
    let tick = Tick { price: 1, size: [1, 2, 3, 4] };
    let order = |side| Order { letter: 'ß', quantity: 9, side, firm: true };
    seeds.push(("plain-tick".into(), [&[plain, 0], tick.as_bytes()].concat()));
    for (name, side) in [("bid", PlainSide::Bid), ("ask", PlainSide::Ask)] {
        seeds.push((format!("plain-{name}"), [&[plain, 1], order(side).as_bytes()].concat()));
    }
    seeds
}

/// What serde knows.
trait Known: Serialize + DeserializeOwned + Debug + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + Debug + Send + Sync + 'static> Known for T {}

fn encoded<T: Known>(way: usize, values: impl IntoIterator<Item = T>) -> Vec<Vec<u8>> {
    let encode = match NOTATIONS[way] {
        "json" => encode::<T, Parsed<Json>>,
        "cbor" => encode::<T, Parsed<Cbor>>,
        _ => encode::<T, Parsed<Postcard>>,
    };
    values.into_iter().map(|value| encode(&value).to_vec()).collect()
}

fn encode<T, F: Format<T>>(value: &T) -> AlignedVec<16> {
    let mut scratch = Scratch::new(1 << 26);
    F::encode(value, &mut Encoder::new(&mut scratch)).expect("a value that was decoded");
    aligned(&scratch)
}

fn aligned(bytes: &[u8]) -> AlignedVec<16> {
    let mut copy = AlignedVec::with_capacity(bytes.len());
    copy.extend_from_slice(bytes);
    copy
}

fn refused<T>(decoded: Result<T, DecodeError>) -> Option<T> {
    decoded.map_err(|error| assert!(!error.to_string().is_empty())).ok()
}

fn check<T: Known>(way: usize, bytes: &[u8]) {
    match NOTATIONS[way] {
        "json" => again::<T, Parsed<Json>>(bytes),
        "cbor" => again::<T, Parsed<Cbor>>(bytes),
        _ => again::<T, Parsed<Postcard>>(bytes),
    }
}

fn again<T: Debug, F: Format<T, Checked = T>>(bytes: &[u8]) {
    let Some(value) = refused(F::decode(bytes)) else { return };
    let second = F::decode(&encode::<T, F>(&value)).expect("what we encode is valid");
    // By their texts: a NaN is not equal to itself.
    assert_eq!(format!("{value:?}"), format!("{second:?}"));
}

fn plain<T: Debug>(bytes: &[u8])
where
    Plain: Format<T, View = T, Checked = ()>,
{
    let bytes = aligned(bytes);
    if refused(Plain::decode(&bytes)).is_some() {
        // SAFETY: (1) checked in the line above, (2) borrowed for as long as the view lives.
        let value = unsafe { Plain::view(&(), &bytes) };
        assert!(!format!("{value:?}").is_empty());
        assert_eq!(encode::<T, Plain>(value).as_slice(), bytes.as_slice());
    }
}
