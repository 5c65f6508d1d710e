//! Tables: any bytes are refused, or every value of them lies where it should and is refused or can be walked.
//!
//! The first byte says what they are meant to be: a table as it stands, or one whose index the script writes, with a
//! footer that fits, so that the fuzzer need not find one; of raw bytes, or of notes.

use memring_codec::rkyv::util::AlignedVec;
use memring_codec::{Message, Scratch, Table, TableError, TableWriter, View, deserialize};

use crate::Seed;
use crate::input::{Input, Script};

/// Bytes of a footer, which are the least that a table has.
const FOOTER: usize = 32;

/// Values looked at of one table. A table of empty ones has many for its bytes.
const MOST: u64 = 512;

/// What is archived in place and out of line.
#[memring_macros::message(crate = memring_codec)]
struct Note {
    number: u32,
    text: String,
    more: Vec<u16>,
}

/// One table.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8();
    let bytes = if kind & 1 == 0 { input.rest().to_vec() } else { with_index(&mut input) };
    let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(&bytes);
    if kind & 2 == 0 {
        check::<[u8]>(&aligned, |_| {});
        write_again(&aligned);
    } else {
        check::<Note>(&aligned, |note| {
            let note = deserialize::<Note>(note).expect("any note that is valid");
            assert!(note.text.len() + 2 * note.more.len() <= aligned.len());
        });
    }
}

/// A table whose index is the script's.
fn with_index(input: &mut Input<'_>) -> Vec<u8> {
    let ends: Vec<u64> = (0..input.u8() % 32)
        .map(|_| match input.u16() {
            end @ 0..=0xfeff => end.into(),
            _ => input.u64(),
        })
        .collect();
    let mut bytes = input.rest().to_vec();
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    let index = bytes.len() as u64;
    bytes.extend(ends.iter().flat_map(|end| end.to_le_bytes()));
    bytes.extend(b"MRNGTABL");
    bytes.extend([1, ends.len() as u64, index].map(u64::to_le_bytes).concat());
    bytes
}

/// Asks for every value twice, out of order, and holds what comes against the index as it is written.
fn check<T: Message + ?Sized>(bytes: &AlignedVec<16>, walk: impl Fn(&View<T>)) {
    let table = match Table::<T, _>::open(bytes.as_slice()) {
        Ok(table) => table,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(FOOTER as u64 + 8 * table.len() <= bytes.len() as u64);
    let index = bytes.len() - FOOTER - 8 * table.len() as usize;
    let end = |place: usize| {
        let at = index + 8 * place;
        u128::from(u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight")))
    };
    for place in (0..table.len().min(MOST)).rev() {
        let at = place as usize;
        let begin = if at == 0 { 0 } else { end(at - 1).next_multiple_of(16) };
        let fits = begin <= end(at) && end(at) <= index as u128;
        for _ in 0..2 {
            match table.get(place) {
                Ok(Some(value)) => {
                    assert!(fits);
                    assert_eq!(value.bytes(), &bytes[begin as usize..end(at) as usize]);
                    walk(&value);
                }
                Ok(None) => panic!("place {place} of {}", table.len()),
                Err(TableError::Place { place: said }) => assert!(said == place && !fits),
                Err(TableError::Value { place: said, .. }) => assert!(said == place && fits),
                Err(other) => panic!("{other} of a table that was opened"),
            }
        }
    }
    for beyond in [table.len(), u64::MAX] {
        assert!(table.get(beyond).expect("no error").is_none());
    }
}

/// A table all of whose values are there is the table of these values, but for what lies between them.
fn write_again(bytes: &AlignedVec<16>) {
    let Ok(table) = Table::<[u8], _>::open(bytes.as_slice()) else { return };
    if table.len() > MOST {
        return;
    }
    let mut writer = TableWriter::<[u8], _>::new(Scratch::new(1 << 24));
    for place in 0..table.len() {
        match table.get(place) {
            Ok(Some(value)) => writer.push(&value).expect("room"),
            _ => return,
        };
    }
    writer.finish().expect("room");
    let again = writer.into_sink();
    let footer_and_index = FOOTER + 8 * table.len() as usize;
    // More may lie behind the last value than padding.
    assert!(again.len() <= bytes.len());
    let tail = |bytes: &[u8]| bytes[bytes.len() - footer_and_index..bytes.len() - 8].to_vec();
    assert_eq!(tail(&again), tail(bytes));
}

fn note(n: u32) -> Note {
    let text = "a text that is too long to lie in the string".repeat(n as usize % 3);
    Note { number: n, text, more: vec![7; n as usize] }
}

fn table<T: Message>(values: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut writer = TableWriter::<T, _>::new(Scratch::new(1 << 24));
    for value in values {
        writer.push(&value).expect("room");
    }
    writer.finish().expect("room");
    writer.into_sink().to_vec()
}

fn raw_table(values: &[&[u8]]) -> Vec<u8> {
    let mut writer = TableWriter::<[u8], _>::new(Scratch::new(1 << 24));
    for value in values {
        writer.push(value).expect("room");
    }
    writer.finish().expect("room");
    writer.into_sink().to_vec()
}

/// Tables of both kinds, and indexes of every kind.
pub fn seeds() -> Vec<Seed> {
    let whole = |kind: u8, table: Vec<u8>| Script::default().u8(kind).bytes(&table).0;
    let mut seeds: Vec<Seed> = vec![
        ("raw-empty".into(), whole(0, raw_table(&[]))),
        ("raw-one".into(), whole(0, raw_table(&[b"one"]))),
        ("raw-some".into(), whole(0, raw_table(&[b"one", b"", b"sixteen bytes it", &[7; 40]]))),
        ("raw-of-nothing".into(), whole(0, raw_table(&[b"".as_slice(); 70]))),
        ("notes-none".into(), whole(2, table((0..0).map(note)))),
        ("notes-one".into(), whole(2, table([note(4)]))),
        ("notes-some".into(), whole(2, table((0..6).map(note)))),
        ("notes-as-raw".into(), whole(0, table((0..3).map(note)))),
        ("raw-as-notes".into(), whole(2, raw_table(&[b"one", &[0xff; 40]]))),
        ("short".into(), whole(0, raw_table(&[])[1..].to_vec())),
    ];
    let indexes: [(&str, &[u64]); 10] = [
        ("none", &[]),
        ("good", &[5, 20, 64]),
        ("empty-values", &[0, 0, 0, 0]),
        ("backwards", &[48, 16, 64]),
        ("beyond", &[5, 65, 64]),
        ("wraps", &[u64::MAX, 5, 16]),
        ("almost-wraps", &[u64::MAX - 15, u64::MAX]),
        ("high", &[1 << 63, 1 << 62, 1 << 32]),
        ("all-of-one", &[64, 64, 64]),
        ("on-the-edge", &[16, 32, 48, 64, 65]),
    ];
    for (name, ends) in indexes {
        for kind in [1, 3] {
            let script = Script::default().u8(kind).u8(ends.len() as u8);
            let script = ends.iter().fold(script, |script, &end| match u16::try_from(end) {
                Ok(end @ 0..=0xfeff) => script.u16(end),
                _ => script.u16(0xff00).u64(end),
            });
            seeds.push((format!("index-{name}-{kind}"), script.bytes(&[3; 64]).0));
        }
    }
    seeds
}
