//! Plain data: what is sent as it lies in memory, and what of a peer's bytes is a value.

#![allow(unsafe_code)]

mod support;

use memring_codec::{DecodeError, Encoder, Format, Message, Plain, Scratch, View};
use support::{aligned, chain};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Any bytes are one.
#[memring_macros::message(crate = memring_codec, format = plain)]
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Tick {
    price: f64,
    size: u32,
    venue: [u16; 2],
}

/// Not all bytes are one.
#[memring_macros::message(crate = memring_codec, format = plain)]
#[derive(Debug, Clone, Copy, PartialEq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Order {
    side: Side,
    firm: bool,
    letter: [u8; 2],
    quantity: u32,
}

#[memring_macros::message(crate = memring_codec, format = plain)]
#[derive(Debug, Clone, Copy, PartialEq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u8)]
enum Side {
    Bid = 1,
    Ask = 7,
}

#[memring_macros::message(crate = memring_codec, format = plain)]
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Grid<T, const N: usize> {
    cells: [T; N],
}

#[memring_macros::message(crate = memring_codec, format = plain)]
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(16))]
struct Wide([u64; 2]);

#[memring_macros::message(crate = memring_codec, format = plain)]
#[derive(Debug, Clone, Copy, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Nothing;

fn trip<T>(value: T)
where
    T: Message<Format = Plain> + Copy + PartialEq + std::fmt::Debug,
    Plain: Format<T, View = T, Checked = ()>,
{
    let mut scratch = Scratch::new(1 << 10);
    Plain::encode(&value, &mut Encoder::new(&mut scratch)).expect("it fits");
    assert_eq!(Plain::ready(&value), Some(scratch.as_slice()));
    assert_eq!(Plain::USUAL, Some(size_of::<T>()));
    assert_eq!(Plain::alignment(scratch.len()), align_of::<T>());
    let bytes = aligned(&scratch);
    Plain::decode(&bytes).expect("what we encode is valid");
    // SAFETY: (1) decoded in the line above, (2) borrowed until the view is looked at.
    let view: &View<T> = unsafe { Plain::view(&(), &bytes) };
    assert_eq!(*view, value);
    assert_eq!(view as *const T as usize, bytes.as_ptr() as usize, "it is read in place");

    let pair = [value; 2];
    let whole_words = size_of::<T>() != 0 && size_of::<T>().is_multiple_of(8);
    match Plain::ready_all(&pair) {
        Some(both) => assert_eq!(both, [bytes.as_slice(), &bytes].concat()),
        None => assert!(!whole_words),
    }
    for len in 0..bytes.len() {
        let error = Plain::decode(&bytes[..len]).expect_err("too short");
        assert!(matches!(error, DecodeError::Short { found, .. } if found == len), "{error}");
    }
    let longer = aligned(&[&bytes[..], &[0; 3]].concat());
    let error = Plain::decode(&longer).expect_err("too long");
    assert!(matches!(error, DecodeError::Surplus { surplus: 3, .. }), "{error}");
}

#[test]
fn plain_data_is_its_own_encoding_and_is_read_in_place() {
    trip(Tick { price: -0.5, size: 7, venue: [1, u16::MAX] });
    trip(Order { side: Side::Ask, firm: true, letter: *b"ab", quantity: 9 });
    trip(Side::Bid);
    trip(Grid { cells: [[1_u8, 2], [3, 4], [5, 6]] });
    trip(Wide([1, 2]));
    trip(Nothing);
}

#[test]
fn attack_72_bytes_that_are_no_value_are_an_error() {
    let check = |bytes: &[u8], valid: bool| {
        let decoded = <Plain as Format<Order>>::decode(&aligned(bytes));
        assert_eq!(decoded.is_ok(), valid, "{bytes:?}");
        if let Err(error) = decoded {
            assert!(chain(&error).contains("no value of the type"), "{}", chain(&error));
        }
    };
    for byte in 0..=u8::MAX {
        check(&[byte, 1, 0, 0, 0, 0, 0, 0], byte == 1 || byte == 7);
        check(&[7, byte, 0, 0, 0, 0, 0, 0], byte < 2);
        check(&[7, 1, byte, byte, byte, byte, byte, byte], true);
    }
    for byte in 0..=u8::MAX {
        <Plain as Format<Tick>>::decode(&aligned(&[byte; 16])).expect("any bytes are one");
    }
}

#[test]
fn attack_72_misplaced_bytes_are_an_error() {
    let bytes = aligned(&[0; 32]);
    for shift in 1..8 {
        let error = <Plain as Format<Tick>>::decode(&bytes[shift..][..16]).expect_err("misplaced");
        assert!(chain(&error).contains("a multiple of 8"), "{}", chain(&error));
    }
    <Plain as Format<Tick>>::decode(&bytes[8..24]).expect("in place");
    assert!(<Plain as Format<Wide>>::decode(&bytes[8..24]).is_err());
}
