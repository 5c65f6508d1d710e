//! One message of every shape that rkyv archives differently: the animals that tests and fuzzers feed on.
//!
//! Included by path where it is needed; it names `memring_codec`, `memring_macros` and `serde` and nothing else. Their
//! own format is rkyv's, and serde's derives let the other formats have them too (but for the matrix, an array of any
//! length).

#![allow(dead_code)] // Each user feeds only some of them.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use memring_codec::rkyv::with::{AsBox, AsString, AsVec, Map, Niche};
use memring_macros::message;

/// Plain data of 32 bytes: the hot path.
#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quote {
    pub id: u64,
    pub price: i64,
    pub size: u64,
    pub venue: u32,
    pub flags: u32,
}

/// Bytes with invalid patterns, and padding between them.
#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub struct Picky {
    pub yes: bool,
    pub letter: char,
    pub nonzero: NonZeroU32,
    pub small: u8,
    pub ratio: f64,
    pub side: Side,
}

#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Bid = 1,
    Ask = 7,
}

/// Everything that lies out of line.
#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub struct Letter {
    pub subject: String,
    pub bytes: Vec<u8>,
    pub quotes: Vec<Quote>,
    pub lines: Vec<String>,
    pub boxed: Box<[u16]>,
    pub text: Box<str>,
    pub queue: VecDeque<(u8, String)>,
    pub maybe: Option<Box<Quote>>,
}

#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub enum Event {
    Nothing,
    Opened { by: String, at: Duration },
    Moved(i32, i32),
    Failed(Result<u32, String>),
    Nested(Box<Letter>),
}

/// Contains itself.
#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub enum Expression {
    Number(i64),
    Negate(Box<Expression>),
    Sum(Vec<Self>),
}

/// A chain as deep as its sender likes.
#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub struct Chain {
    pub next: Option<Box<Chain>>,
}

/// Contains itself and an argument.
#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub struct Tree<T> {
    pub value: T,
    pub children: Vec<Tree<T>>,
}

/// An enum that contains itself and an argument.
#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub enum List<T> {
    Nil,
    Cons(T, Box<List<T>>),
}

/// Two that contain each other: one of them has to say so.
#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub struct Folder {
    pub entries: Vec<Entry>,
}

#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub enum Entry {
    File { name: String, size: u64 },
    Folder(#[rkyv(omit_bounds)] Folder),
}

#[message(crate = memring_codec)]
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix<T, const ROWS: usize> {
    pub rows: [Vec<T>; ROWS],
}

/// Wrappers of rkyv's.
#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub struct Wrapped {
    #[rkyv(with = AsString)]
    pub path: PathBuf,
    #[rkyv(with = Niche)]
    pub text: Option<Box<str>>,
    #[rkyv(with = AsBox)]
    pub quote: Quote,
    #[rkyv(with = Map<AsBox>)]
    pub numbers: Vec<u64>,
    #[rkyv(with = AsVec)]
    pub map: std::collections::BTreeMap<u32, String>,
}

/// The standard library's odds and ends.
#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub struct Odds {
    pub ip: IpAddr,
    pub socket: SocketAddr,
    pub range: Range<u32>,
    pub unit: (),
    pub tuple: (u8, u16, u32, u64, i128),
    pub array: [Option<u16>; 3],
}

/// No bytes at all.
#[message(crate = memring_codec)]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub struct Empty;
