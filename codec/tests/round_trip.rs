//! Every animal of the zoo survives the trip, in a frame of exactly its size and in no smaller one.

#[path = "zoo/any.rs"]
mod any;
mod support;
mod zoo;

use memring_codec::{DecodeError, EncodeError, Encoder, Format, Message, Raw, Rkyv, Scratch};
use proptest::prelude::*;
use support::{Owned, aligned, chain, decode, encode, encode_into_frame};
use zoo::*;

fn trip<T: Owned + PartialEq + std::fmt::Debug>(value: &T) {
    let bytes = encode(value);
    assert_eq!(&decode::<T>(&bytes).expect("what we encode is valid"), value);

    if let Some(ready) = <Rkyv as Format<T>>::ready(value) {
        assert_eq!(ready, bytes.as_slice(), "what lies there is what would be written");
    }
    if let Some(usual) = <Rkyv as Format<T>>::USUAL {
        assert_eq!(bytes.len(), usual, "a type without pointers has one length");
    }

    let exact = encode_into_frame(value, bytes.len()).expect("it fits exactly");
    assert_eq!(exact, bytes.as_slice(), "the sink decides nothing");
    for room in [0, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        if room < bytes.len() {
            let short = encode_into_frame(value, room);
            assert!(matches!(short, Err(EncodeError::Full)), "{short:?} with room for {room}");
        }
    }
}

macro_rules! trips {
    ($($animal:ident)*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(64))]
            $(#[test]
            fn $animal(value in any::$animal()) {
                trip(&value);
            })*
        }
    };
}
trips!(quote side picky letter event expression tree list folder matrix wrapped odds);

#[test]
fn a_message_without_bytes_is_an_empty_one() {
    trip(&Empty);
    assert_eq!(encode(&Empty).len(), 0);
}

#[test]
fn plain_data_takes_its_own_size() {
    assert_eq!(encode(&Quote::default()).len(), 32);
}

#[test]
fn scratch_space_beyond_the_stack_is_found_elsewhere() {
    // 16 bytes a string and level: the first level alone fills the stack's share many times.
    let line = |index| format!("a line long enough to lie elsewhere, number {index}");
    let tree = Tree {
        value: line(0),
        children: (1..200)
            .map(|index| Tree {
                value: line(index),
                children: (0..40)
                    .map(|leaf| Tree { value: line(leaf), children: vec![] })
                    .collect(),
            })
            .collect(),
    };
    trip(&tree);
}

#[test]
fn a_value_larger_than_allowed_says_so_at_once() {
    let mut scratch = Scratch::new(100);
    let long = Chain { next: None };
    <Chain as Message>::Format::encode(&long, &mut Encoder::new(&mut scratch)).unwrap();
    scratch.clear();
    let tree = Tree { value: "x".repeat(101), children: vec![] };
    let error = <Tree<String> as Message>::Format::encode(&tree, &mut Encoder::new(&mut scratch));
    assert!(matches!(error, Err(EncodeError::TooLarge { max: 100 })), "{error:?}");
    assert!(scratch.is_empty(), "a piece goes in whole or not at all");
}

#[test]
fn a_value_without_an_encoding_keeps_its_reason() {
    use std::os::unix::ffi::OsStringExt;
    let value = Wrapped {
        path: std::ffi::OsString::from_vec(vec![0xff]).into(),
        text: None,
        quote: Quote::default(),
        numbers: vec![],
        map: Default::default(),
    };
    let error = encode_into_frame(&value, 1000).expect_err("not UTF-8");
    assert!(matches!(error, EncodeError::Unencodable { .. }), "{error:?}");
    assert!(chain(&error).contains("UTF-8"), "{}", chain(&error));
}

#[test]
fn a_raw_message_is_its_bytes() {
    let bytes = encode(b"any bytes".as_slice());
    assert_eq!(bytes.as_slice(), b"any bytes");
    Raw::decode(&bytes).expect("nothing was promised");
    assert!(<[u8]>::fingerprint().is_untyped());
    assert_eq!(<[u8]>::name(), "bytes");
}

#[test]
fn bytes_of_the_wrong_size_are_told_apart() {
    let whole = encode(&Quote::default());
    let check = |bytes: &[u8], expected: &str| {
        let error = decode::<Quote>(&aligned(bytes)).expect_err(expected);
        let text = chain(&error);
        assert!(text.contains(expected), "{text} does not say {expected:?}");
    };
    check(&[], "message of 0 bytes is too short: its type takes at least 32");
    check(&whole[..31], "message of 31 bytes is too short");
    check(&[&whole[..], &[0]].concat(), "not a valid encoding"); // misaligned
    check(&[&whole[..], &[0; 8]].concat(), "8 of the message's 40 bytes belong to no part of it");
    assert!(matches!(
        decode::<Empty>(&aligned(&[1, 2, 3])),
        Err(DecodeError::Surplus { surplus: 3, found: 3 })
    ));
}

#[test]
fn only_what_is_its_own_archive_is_sent_as_it_lies() {
    #[memring_macros::message(crate = memring_codec)]
    #[repr(C)]
    struct Plain {
        a: u64,
        b: [u32; 2],
    }
    /// Seven bytes of it are nobody's.
    #[memring_macros::message(crate = memring_codec)]
    #[repr(C)]
    struct Padded {
        a: u8,
        b: u64,
    }
    #[memring_macros::message(crate = memring_codec)]
    struct Pointing {
        a: String,
    }
    fn ready<T: Message<Format = Rkyv>>(value: &T) -> Option<&[u8]>
    where
        Rkyv: Format<T>,
    {
        <Rkyv as Format<T>>::ready(value)
    }
    let plain = Plain { a: 1, b: [2, 3] };
    assert_eq!(ready(&plain), Some(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0][..]));
    assert_eq!(ready(&Padded { a: 1, b: 2 }), None);
    assert_eq!(ready(&Pointing { a: "text".into() }), None);
    assert_eq!(<Rkyv as Format<Pointing>>::USUAL, None);
    assert_eq!(<Rkyv as Format<Padded>>::USUAL, Some(16));
}
