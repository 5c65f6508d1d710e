//! Archives: any bytes are refused, or are a value that can be walked to its last leaf.
//!
//! The first byte says which type they are meant to be. What decodes is deserialised, which visits every
//! byte of it, and encoded again: the same value gives the same bytes.

#![allow(unsafe_code)]

#[path = "../../../codec/tests/zoo/mod.rs"]
#[allow(missing_docs)]
pub(crate) mod zoo;

use std::fmt::Debug;

use memring_codec::rkyv::rancor::Strategy;
use memring_codec::rkyv::util::AlignedVec;
use memring_codec::rkyv::{Archive, Deserialize};
use memring_codec::{
    Archivable, Encoder, Format, Message, Owner, Reason, Rkyv, Scratch, deserialize,
};

use crate::Seed;
use crate::input::Input;
use zoo::*;

/// A type of the zoo: its name, how bytes are tried as one, and archives of it.
type Animal = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

fn animals() -> Vec<Animal> {
    vec![
        ("quote", check::<Quote>, || encoded([quote(1)])),
        ("picky", check::<Picky>, || encoded([picky()])),
        ("letter", check::<Letter>, || encoded([letter(0), letter(3)])),
        ("event", check::<Event>, || {
            encoded([
                Event::Nothing,
                Event::Opened { by: "somebody with a long name".into(), at: DURATION },
                Event::Moved(-1, 1),
                Event::Failed(Err("a reason that lies out of line".into())),
                Event::Nested(Box::new(letter(1))),
            ])
        }),
        ("expression", check::<Expression>, || encoded([Expression::Number(5), expression(4)])),
        ("chain", check::<Chain>, || encoded([chain(0), chain(1), chain(20)])),
        ("tree", check::<Tree<String>>, || encoded([tree(0), tree(3)])),
        ("list", check::<List<String>>, || encoded([list(0), list(5)])),
        ("folder", check::<Folder>, || encoded([folder(0), folder(3)])),
        ("matrix", check::<Matrix<u16, 3>>, || {
            encoded([Matrix { rows: [vec![], vec![1, 2, 3], vec![u16::MAX; 9]] }])
        }),
        ("wrapped", check::<Wrapped>, || encoded([wrapped()])),
        ("odds", check::<Odds>, || encoded([odds()])),
        ("empty", check::<Empty>, || encoded([Empty])),
        #[cfg(feature = "maps")]
        ("maps", check::<maps::Maps>, || encoded([maps::Maps::default(), maps::some()])),
    ]
}

/// One archive of one type.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let animals = animals();
    let (_, check, _) = animals[usize::from(input.u8()) % animals.len()];
    check(input.rest());
}

/// Archives of every type, and the ends of some.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (which, (name, _, archives)) in animals().into_iter().enumerate() {
        for (n, archive) in archives().into_iter().enumerate() {
            let mut seed = vec![which as u8];
            seed.extend(archive);
            seeds.push((format!("{name}-{n}"), seed));
        }
    }
    seeds
}

/// What can be taken out of its archive again.
trait Owned:
    Message<Format = Rkyv>
    + Archivable
    + Archive<Archived: Deserialize<Self, Strategy<Owner, Reason>>>
    + Debug
    + Sized
{
}

impl<T> Owned for T where
    T: Message<Format = Rkyv>
        + Archivable
        + Archive<Archived: Deserialize<T, Strategy<Owner, Reason>>>
        + Debug
{
}

fn encode<T: Owned>(value: &T) -> AlignedVec<16> {
    let mut scratch = Scratch::new(1 << 26);
    Rkyv::encode(value, &mut Encoder::new(&mut scratch)).expect("a value that was decoded");
    aligned(&scratch)
}

fn encoded<T: Owned>(values: impl IntoIterator<Item = T>) -> Vec<Vec<u8>> {
    values.into_iter().map(|value| encode(&value).to_vec()).collect()
}

fn aligned(bytes: &[u8]) -> AlignedVec<16> {
    let mut copy = AlignedVec::with_capacity(bytes.len());
    copy.extend_from_slice(bytes);
    copy
}

/// Validates, looks, and takes an owned value.
fn decode<T: Owned>(bytes: &AlignedVec<16>) -> Option<T> {
    if let Err(error) = <Rkyv as Format<T>>::decode(bytes) {
        assert!(!error.to_string().is_empty());
        return None;
    }
    // SAFETY: (1) checked in the lines above, (2) borrowed for as long as the view lives.
    let view = unsafe { <Rkyv as Format<T>>::view(&(), bytes) };
    // A conversion may refuse what validation let pass: a path that is none here, say.
    deserialize::<T>(view).ok()
}

fn check<T: Owned>(bytes: &[u8]) {
    let Some(value) = decode::<T>(&aligned(bytes)) else {
        return;
    };
    let again = encode(&value);
    let second = decode::<T>(&again).expect("what we encode is valid");
    // By their texts: a NaN is not equal to itself.
    assert_eq!(format!("{value:?}"), format!("{second:?}"));
}

pub(crate) const DURATION: std::time::Duration = std::time::Duration::new(5, 6);

pub(crate) fn quote(id: u64) -> Quote {
    Quote { id, price: -5, size: 7, venue: 9, flags: u32::MAX }
}

pub(crate) fn picky() -> Picky {
    let nonzero = std::num::NonZeroU32::MIN;
    Picky { yes: true, letter: 'ß', nonzero, small: 3, ratio: 0.5, side: Side::Ask }
}

pub(crate) fn letter(size: usize) -> Letter {
    let line = "a line that is too long to lie in the string itself".to_owned();
    Letter {
        subject: line.clone(),
        bytes: vec![7; size * 10],
        quotes: vec![quote(2); size],
        lines: vec![line.clone(); size],
        boxed: vec![1, 2, 3].into(),
        text: "short".into(),
        queue: vec![(1, line)].into(),
        maybe: (size > 0).then(|| Box::new(quote(3))),
    }
}

pub(crate) fn expression(depth: usize) -> Expression {
    match depth {
        0 => Expression::Number(-1),
        _ => Expression::Sum(vec![
            expression(depth - 1),
            Expression::Negate(Box::new(expression(depth - 1))),
        ]),
    }
}

pub(crate) fn chain(depth: usize) -> Chain {
    Chain { next: (depth > 0).then(|| Box::new(chain(depth - 1))) }
}

pub(crate) fn tree(depth: usize) -> Tree<String> {
    let children = if depth == 0 { Vec::new() } else { vec![tree(depth - 1), tree(depth - 1)] };
    Tree { value: format!("a node with {depth} levels under it"), children }
}

pub(crate) fn list(len: usize) -> List<String> {
    (0..len).fold(List::Nil, |list, n| List::Cons(format!("item {n} of them"), Box::new(list)))
}

pub(crate) fn folder(depth: usize) -> Folder {
    let mut entries = vec![Entry::File { name: "a file with a long name".into(), size: 5 }];
    if depth > 0 {
        entries.push(Entry::Folder(folder(depth - 1)));
    }
    Folder { entries }
}

pub(crate) fn wrapped() -> Wrapped {
    Wrapped {
        path: "/somewhere/not/very/far".into(),
        text: Some("a text that is not there at times".into()),
        quote: quote(4),
        numbers: vec![1, 2, 3],
        map: [(1, "one".to_owned()), (2, "two".to_owned())].into(),
    }
}

pub(crate) fn odds() -> Odds {
    Odds {
        ip: std::net::Ipv6Addr::LOCALHOST.into(),
        socket: (std::net::Ipv4Addr::LOCALHOST, 80).into(),
        range: 3..9,
        unit: (),
        tuple: (1, 2, 3, 4, -5),
        array: [Some(1), None, Some(3)],
    }
}

#[cfg(feature = "maps")]
mod maps {
    //! Tables and trees as messages: attack 74.

    use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
    use std::fmt;

    /// Every kind of map and set.
    #[memring_macros::message(crate = memring_codec)]
    #[derive(Clone, Default)]
    pub struct Maps {
        pub table: HashMap<String, u32>,
        pub set: HashSet<u16>,
        pub tree: BTreeMap<u32, String>,
        pub leaves: BTreeSet<String>,
    }

    /// In order, for a table has a new one each time it is made.
    impl fmt::Debug for Maps {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let table: BTreeMap<_, _> = self.table.iter().collect();
            let set: BTreeSet<_> = self.set.iter().collect();
            write!(f, "{table:?} {set:?} {:?} {:?}", self.tree, self.leaves)
        }
    }

    /// For the same reason with no more than one element where order matters.
    pub fn some() -> Maps {
        Maps {
            table: [("the only key of this table".to_owned(), 1)].into(),
            set: [7].into(),
            tree: (0..20).map(|n| (n, format!("value number {n}"))).collect(),
            leaves: (0..20).map(|n| format!("leaf number {n}")).collect(),
        }
    }
}
