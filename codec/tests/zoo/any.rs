//! How to breed the zoo: a proptest strategy for each animal.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::zoo::*;

pub fn quote() -> impl Strategy<Value = Quote> {
    any::<(u64, i64, u64, u32, u32)>().prop_map(|(id, price, size, venue, flags)| Quote {
        id,
        price,
        size,
        venue,
        flags,
    })
}

pub fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Bid), Just(Side::Ask)]
}

pub fn picky() -> impl Strategy<Value = Picky> {
    // A NaN is not equal to itself, so none is bred.
    (any::<bool>(), any::<char>(), 1..=u32::MAX, any::<u8>(), -1e9..1e9, side()).prop_map(
        |(yes, letter, nonzero, small, ratio, side)| Picky {
            yes,
            letter,
            nonzero: NonZeroU32::new(nonzero).expect("from 1 on"),
            small,
            ratio,
            side,
        },
    )
}

pub fn letter() -> impl Strategy<Value = Letter> {
    (
        ".{0,40}",
        vec(any::<u8>(), 0..100),
        vec(quote(), 0..20),
        vec(".{0,20}", 0..80),
        vec(any::<u16>(), 0..9),
        ".{0,12}",
        vec((any::<u8>(), ".{0,20}"), 0..9),
        proptest::option::of(quote()),
    )
        .prop_map(|(subject, bytes, quotes, lines, boxed, text, queue, maybe)| Letter {
            subject,
            bytes,
            quotes,
            lines,
            boxed: boxed.into(),
            text: text.into(),
            queue: queue.into(),
            maybe: maybe.map(Box::new),
        })
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Nothing),
        (".{0,20}", any::<Duration>()).prop_map(|(by, at)| Event::Opened { by, at }),
        any::<(i32, i32)>().prop_map(|(x, y)| Event::Moved(x, y)),
        any::<u32>().prop_map(|code| Event::Failed(Ok(code))),
        ".{0,20}".prop_map(|text| Event::Failed(Err(text))),
        letter().prop_map(|letter| Event::Nested(Box::new(letter))),
    ]
}

pub fn expression() -> impl Strategy<Value = Expression> {
    any::<i64>().prop_map(Expression::Number).prop_recursive(8, 60, 5, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Expression::Negate(Box::new(inner))),
            vec(inner, 0..5).prop_map(Expression::Sum),
        ]
    })
}

pub fn tree() -> impl Strategy<Value = Tree<String>> {
    ".{0,20}".prop_map(|value| Tree { value, children: Vec::new() }).prop_recursive(
        8,
        60,
        5,
        |inner| {
            (".{0,20}", vec(inner, 0..5)).prop_map(|(value, children)| Tree { value, children })
        },
    )
}

pub fn list() -> impl Strategy<Value = List<String>> {
    vec(".{0,20}", 0..20).prop_map(|items| {
        items.into_iter().fold(List::Nil, |list, item| List::Cons(item, Box::new(list)))
    })
}

pub fn folder() -> impl Strategy<Value = Folder> {
    let file = (".{0,20}", any::<u64>()).prop_map(|(name, size)| Entry::File { name, size });
    let entry = file.prop_recursive(6, 40, 5, |inner| {
        vec(inner, 0..5).prop_map(|entries| Entry::Folder(Folder { entries }))
    });
    vec(entry, 0..5).prop_map(|entries| Folder { entries })
}

#[allow(dead_code)] // serde does not know it.
pub fn matrix() -> impl Strategy<Value = Matrix<u16, 3>> {
    [vec(any::<u16>(), 0..9), vec(any::<u16>(), 0..9), vec(any::<u16>(), 0..9)]
        .prop_map(|rows| Matrix { rows })
}

pub fn wrapped() -> impl Strategy<Value = Wrapped> {
    (
        ".{0,20}",
        proptest::option::of(".{0,20}"),
        quote(),
        vec(any::<u64>(), 0..9),
        btree_map(any::<u32>(), ".{0,12}", 0..9),
    )
        .prop_map(|(path, text, quote, numbers, map)| Wrapped {
            path: path.into(),
            text: text.map(Into::into),
            quote,
            numbers,
            map,
        })
}

pub fn odds() -> impl Strategy<Value = Odds> {
    (
        any::<IpAddr>(),
        any::<SocketAddr>(),
        any::<Range<u32>>(),
        any::<(u8, u16, u32, u64, i128)>(),
        any::<[Option<u16>; 3]>(),
    )
        .prop_map(|(ip, socket, range, tuple, array)| Odds {
            ip,
            socket,
            range,
            unit: (),
            tuple,
            array,
        })
}
