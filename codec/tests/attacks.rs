//! What a hostile sender can write into an archive, row by row of the list of attacks.
//!
//! Rows 73 (shared pointers) and part of 71 are compile errors: see `ui.rs` and `Schema`'s documentation.

#![allow(unsafe_code)]

#[path = "zoo/any.rs"]
mod any;
mod support;
mod zoo;

use memring_codec::{DecodeError, Format, Message, Rkyv};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use support::{Owned, aligned, chain, decode, encode, mutate, on_a_small_stack};
use zoo::*;

/// A chain of `depth` boxes as a peer would forge it: written by hand, since to build the value is to
/// overflow our own stack.
fn forged_chain(depth: usize) -> Vec<u8> {
    let link = encode(&Chain { next: None });
    let some = encode(&Chain { next: Some(Box::new(Chain { next: None })) });
    // The outer link points back by its own size; so does each further one.
    let outer = &some[link.len()..];
    let mut bytes = link.to_vec();
    for _ in 0..depth {
        bytes.extend_from_slice(outer);
    }
    bytes
}

#[test]
fn attack_70_a_deep_chain_is_an_error_on_a_small_stack() {
    on_a_small_stack(|| {
        for depth in [64, 1000, 50_000, 200_000] {
            let error = <Rkyv as Format<Chain>>::decode(&aligned(&forged_chain(depth)))
                .expect_err("deeper than allowed");
            let text = chain(&error);
            assert!(text.contains("maximum subtree depth"), "{text}");
        }
    });
}

#[test]
fn attack_70_the_deepest_allowed_chain_is_read_on_a_small_stack() {
    on_a_small_stack(|| {
        let depth = memring_codec::DEPTH.get() - 2; // The root is a level, and the limit is not reached.
        decode::<Chain>(&aligned(&forged_chain(depth))).expect("as deep as allowed");
        assert!(decode::<Chain>(&aligned(&forged_chain(depth + 1))).is_err(), "one more is not");
    });
}

#[test]
fn attack_71_a_length_that_the_bytes_do_not_hold_is_an_error() {
    let text = b"a line that does not fit into the string itself";
    let tree = Tree { value: String::from_utf8_lossy(text).into_owned(), children: vec![] };
    let bytes = encode(&tree);
    // The root ends the archive; every number in it made as large as it gets.
    let root = text.len().next_multiple_of(4);
    for at in (root..bytes.len()).step_by(4) {
        let mut forged = bytes.clone();
        forged[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode::<Tree<String>>(&forged).is_err(), "the number at {at}");
    }
}

fn mutate_some<T: Owned + std::fmt::Debug>(animals: impl Strategy<Value = T>) {
    let mut runner = TestRunner::deterministic();
    let mut total = (0, 0);
    for _ in 0..8 {
        let value = animals.new_tree(&mut runner).expect("an animal").current();
        let (accepted, rejected) = mutate::<T>(&encode(&value));
        total = (total.0 + accepted, total.1 + rejected);
    }
    assert!(total.0 > 0, "some changes are just other values: {total:?}");
}

macro_rules! mutations {
    ($($name:ident: $animal:ident)*) => {$(
        #[test]
        fn $name() {
            mutate_some(any::$animal());
        }
    )*};
}
mutations! {
    attack_72_mutated_quote: quote
    attack_72_mutated_picky: picky
    attack_72_mutated_event: event
    attack_72_mutated_expression: expression
    attack_72_mutated_tree: tree
    attack_72_mutated_list: list
    attack_72_mutated_folder: folder
    attack_72_mutated_matrix: matrix
    attack_72_mutated_wrapped: wrapped
    attack_72_mutated_odds: odds
}

proptest! {
    #[test]
    fn attack_72_noise_is_never_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..256)) {
        let bytes = aligned(&noise);
        let _ = decode::<Letter>(&bytes);
        let _ = decode::<Event>(&bytes);
        let _ = decode::<Expression>(&bytes);
        let _ = decode::<Wrapped>(&bytes);
        let _ = decode::<Odds>(&bytes);
    }
}

#[test]
fn attack_72_misaligned_bytes_are_an_error() {
    let bytes = encode(&Quote::default());
    for shift in [1, 2, 4] {
        let shifted = aligned(&[&vec![0; shift], &bytes[..]].concat());
        let error = <Rkyv as Format<Quote>>::decode(&shifted[shift..]).expect_err("misaligned");
        assert!(matches!(error, DecodeError::Invalid { .. }), "{error}");
    }
}

#[test]
fn attack_72_each_broken_rule_is_named() {
    let picky = any::picky().new_tree(&mut TestRunner::deterministic()).expect("one").current();
    let bytes = encode(&picky);
    let layout = |name: &str| match name {
        "yes" => std::mem::offset_of!(ArchivedPicky, yes),
        "letter" => std::mem::offset_of!(ArchivedPicky, letter),
        "nonzero" => std::mem::offset_of!(ArchivedPicky, nonzero),
        _ => std::mem::offset_of!(ArchivedPicky, side),
    };
    let check = |field: &str, forged: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[layout(field)..][..forged.len()].copy_from_slice(forged);
        let error = decode::<Picky>(&bytes).expect_err(field);
        let text = chain(&error);
        assert!(text.contains(field), "{text} does not name {field}");
    };
    check("yes", &[2]);
    check("letter", &[0xff, 0xff, 0xff, 0xff]);
    check("nonzero", &[0, 0, 0, 0]);
    check("side", &[2]);
}

#[test]
fn attack_73_two_strings_cannot_share_their_bytes() {
    #[memring_macros::message(crate = memring_codec)]
    #[derive(Debug)]
    struct Two {
        first: Box<str>,
        second: Box<str>,
    }
    let text = "the bytes of a text";
    let bytes = encode(&Two { first: text.into(), second: text.into() });
    let size = size_of::<ArchivedTwo>() / 2;
    let root = bytes.len() - 2 * size;
    // The second pointer is the first's, counted from where it stands.
    let mut forged = bytes.clone();
    let first = i32::from_le_bytes(bytes[root..][..4].try_into().expect("4 bytes"));
    let second = first - i32::try_from(size).expect("small");
    forged[root + size..][..4].copy_from_slice(&second.to_le_bytes());
    let error = decode::<Two>(&forged).expect_err("one text, two owners");
    assert!(chain(&error).contains("subtree pointer overran range"), "{}", chain(&error));
}

#[test]
fn attack_75_checking_is_linear_in_the_bytes() {
    // Not timed: each element is checked once, so the work is counted by a message that is all elements.
    let tree = |count| Tree {
        value: 0_u8,
        children: (0..count).map(|_| Tree { value: 0_u8, children: vec![] }).collect(),
    };
    let small = encode(&tree(100)).len();
    let large = encode(&tree(100_000));
    assert!(large.len() < small * 1001, "an archive grows with its elements and no faster");
    decode::<Tree<u8>>(&large).expect("valid");
    assert_eq!(Tree::<u8>::name(), "Tree<u8>");
}
