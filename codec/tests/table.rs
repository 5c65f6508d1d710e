//! Tables: written, opened, asked, and made up by those who mean no good.

#![allow(unsafe_code)]

#[path = "zoo/any.rs"]
#[allow(dead_code)] // of all its strategies one is needed here
mod any;
mod support;
mod zoo;

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use memring_codec::rkyv::util::AlignedVec;
use memring_codec::{
    DecodeError, EncodeError, Encoder, Fingerprint, Format, LARGEST_VALUE, Message, Scratch, Sink,
    SinkFull, Table, TableError, TableWriteError, TableWriter,
};
use proptest::prelude::*;
use support::{aligned, chain, encode};
use zoo::*;

const FOOTER: usize = 32;

fn table<T: Message>(values: &[T]) -> AlignedVec<16> {
    let mut table = TableWriter::<T, _>::new(Scratch::new(1 << 24));
    for (place, value) in values.iter().enumerate() {
        assert_eq!(table.push(value).expect("room"), place as u64);
    }
    assert_eq!(table.len(), values.len() as u64);
    table.finish().expect("room");
    aligned(&table.into_sink())
}

/// A table of raw bytes whose index says that the values end there.
fn made_up(values: &[u8], ends: &[u64], count: u64, index: u64) -> AlignedVec<16> {
    let ends: Vec<u8> = ends.iter().flat_map(|end| end.to_le_bytes()).collect();
    let numbers = [1, count, index].map(u64::to_le_bytes).concat();
    aligned(&[values, &ends, b"MRNGTABL", &numbers].concat())
}

fn open<T: Message + ?Sized>(bytes: &AlignedVec<16>) -> Result<Table<T, &[u8]>, TableError> {
    Table::open(bytes.as_slice())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_value_is_at_its_place(letters in proptest::collection::vec(any::letter(), 0..9)) {
        let bytes = table(&letters);
        let table = open::<Letter>(&bytes).expect("a table");
        prop_assert_eq!(table.len(), letters.len() as u64);
        for (place, letter) in letters.iter().enumerate().rev() {
            for _ in 0..2 {
                let entry = table.get(place as u64).expect("valid").expect("there");
                let alone = encode(letter);
                prop_assert_eq!(entry.bytes(), alone.as_slice());
                prop_assert_eq!(entry.bytes().as_ptr().addr() % 16, 0);
                let kept = entry.into_view();
                prop_assert_eq!(kept.subject.as_str(), letter.subject.as_str());
            }
        }
        prop_assert!(table.get(letters.len() as u64).expect("no error").is_none());
        prop_assert!(table.get(u64::MAX).expect("no error").is_none());
    }
}

#[test]
fn the_bytes_are_those_of_the_protocol() {
    let mut writer = TableWriter::<[u8], _>::new(Scratch::new(1024));
    for value in [&b"one"[..], b"", b"sixteen bytes it"] {
        writer.push(value).expect("room");
    }
    writer.finish().expect("room");
    let expected = [
        &b"one\0\0\0\0\0\0\0\0\0\0\0\0\0sixteen bytes it"[..],
        &[3, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0],
        b"MRNGTABL",
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        &[32, 0, 0, 0, 0, 0, 0, 0],
    ];
    assert_eq!(writer.into_sink().as_slice(), expected.concat());
    assert_eq!(table::<Quote>(&[]).len(), FOOTER);
}

#[test]
fn values_without_bytes_are_as_good_as_others() {
    let bytes = table(&[Empty, Empty, Empty]);
    assert_eq!(bytes.len(), 3 * 8 + FOOTER);
    let table = open::<Empty>(&bytes).expect("a table");
    assert!((0..3).all(|place| table.get(place).expect("valid").is_some()));
}

#[test]
fn attack_72_a_footer_is_believed_only_if_its_numbers_fit() {
    let refuse = |bytes: &[u8], like: &str| {
        let error = Table::<[u8], _>::open(aligned(bytes).as_slice()).map(|_| ()).expect_err(like);
        assert!(error.to_string().contains(like), "{error} is not {like}");
    };
    let good = made_up(&[0; 32], &[5, 32], 2, 32);
    open::<[u8]>(&good).expect("a table");
    for len in 0..FOOTER {
        refuse(&good[good.len() - len..], "too short");
    }
    for len in FOOTER..good.len() {
        // The footer of a shorter one puts the index elsewhere.
        refuse(&good[good.len() - len..], "no room for an index");
        refuse(&good[..len], "do not end as a table does");
    }
    refuse(&[&good[..], &[0]].concat(), "do not end as a table does");
    for (count, index) in [
        (0, 32),
        (1, 32),
        (3, 32),
        (2, 16),
        (2, 31),
        (2, 48),
        (1, 40),
        (3, 24),
        (6, 0),
        (4, 16),
        (u64::MAX, 32),
        (1 << 61, 32),
        ((1 << 61) + 2, 32),
        (2, u64::MAX),
        (2, u64::MAX - 15),
        (u64::MAX, u64::MAX),
        (1 << 60, 1 << 63),
    ] {
        let made_up = made_up(&[0; 32], &[5, 32], count, index);
        match (count, index) {
            // An index that begins elsewhere and ends there: what lies in it are values then.
            (4, 16) | (6, 0) => assert!(open::<[u8]>(&made_up).is_ok()),
            _ => refuse(&made_up, "no room for an index"),
        }
    }
    for (at, like) in [
        (0, "do not end"),
        (7, "do not end"),
        (8, "version"),
        (11, "version"),
        (12, "version"),
        (15, "version"),
    ] {
        let mut changed = good.to_vec();
        changed[good.len() - FOOTER + at] ^= 0x40;
        refuse(&changed, like);
    }
}

#[test]
fn attack_72_an_entry_is_believed_only_if_its_value_lies_between_its_neighbours() {
    let places = |ends: &[u64]| -> Vec<Option<usize>> {
        let bytes = made_up(&[7; 64], ends, ends.len() as u64, 64);
        let table = open::<[u8]>(&bytes).expect("the footer fits");
        (0..ends.len() as u64)
            .map(|place| match table.get(place) {
                Ok(value) => Some(value.expect("there").len()),
                Err(TableError::Place { place: said }) => {
                    assert_eq!(said, place);
                    None
                }
                Err(other) => panic!("{other}"),
            })
            .collect()
    };
    assert_eq!(places(&[5, 32, 64]), [Some(5), Some(16), Some(32)]);
    assert_eq!(places(&[0, 0, 64]), [Some(0), Some(0), Some(64)]);
    // Beyond the index, and what comes after it.
    assert_eq!(places(&[5, 65, 64]), [Some(5), None, None]);
    assert_eq!(places(&[u64::MAX, 5, 16]), [None, None, Some(0)]);
    assert_eq!(places(&[u64::MAX - 14, 5, 16]), [None, None, Some(0)]);
    assert_eq!(places(&[1 << 63, 1 << 63, 16]), [None, None, None]);
    // Backwards: no byte is in two values that both can be had.
    assert_eq!(places(&[48, 16, 64]), [Some(48), None, Some(48)]);
    assert_eq!(places(&[48, 47, 46]), [Some(48), None, None]);
}

#[test]
fn attack_72_one_bad_value_is_an_error_of_its_own_place() {
    let mut quotes = vec![Picky {
        yes: true,
        letter: 'ß',
        nonzero: std::num::NonZeroU32::MIN,
        small: 3,
        ratio: 0.5,
        side: Side::Ask,
    }];
    quotes.extend(vec![quotes[0].clone(); 3]);
    let mut bytes = table(&quotes);
    let size = encode(&quotes[0]).len().next_multiple_of(16);
    bytes[size..2 * size].fill(0xff);
    let table = open::<Picky>(&bytes).expect("the footer is good");
    for _ in 0..2 {
        for place in 0..4 {
            match table.get(place) {
                Ok(value) => assert!(place != 1 && value.expect("there").yes),
                Err(TableError::Value { place: said, source: DecodeError::Invalid { .. } }) => {
                    assert_eq!((place, said), (1, 1));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn whatever_is_changed_in_a_table_is_found_or_harmless() {
    let letter = Letter {
        subject: "a subject that is too long to lie inside".into(),
        bytes: vec![1; 9],
        quotes: vec![Quote::default()],
        lines: vec!["line".into()],
        boxed: vec![1, 2].into(),
        text: "text".into(),
        queue: Default::default(),
        maybe: None,
    };
    let good = table(&[letter.clone(), letter]);
    for at in 0..good.len() {
        for mask in [0x01, 0x10, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= mask;
            let Ok(table) = open::<Letter>(&bytes) else { continue };
            for place in 0..table.len().min(4) {
                if let Ok(Some(letter)) = table.get(place) {
                    let _ =
                        format!("{:?}", letter.lines.iter().map(|line| line.len()).sum::<usize>());
                }
            }
        }
    }
}

static CHECKS: AtomicU32 = AtomicU32::new(0);

/// Bytes that count how often they are checked, and are read in place or made into text.
struct Counted<const OWNED: bool>;
/// Its two formats.
struct InPlace;
struct Owned;

impl Message for Counted<false> {
    type Format = InPlace;
    fn fingerprint() -> Fingerprint {
        Fingerprint::UNTYPED
    }
    fn name() -> String {
        "in place".into()
    }
}

impl Message for Counted<true> {
    type Format = Owned;
    fn fingerprint() -> Fingerprint {
        Fingerprint::UNTYPED
    }
    fn name() -> String {
        "owned".into()
    }
}

impl Format<Counted<false>> for InPlace {
    type View = [u8];
    type Checked = ();
    fn encode(_: &Counted<false>, out: &mut Encoder<'_>) -> Result<(), EncodeError> {
        Ok(out.write(b"value")?)
    }
    fn decode(_: &[u8]) -> Result<(), DecodeError> {
        CHECKS.fetch_add(1, Relaxed);
        Ok(())
    }
    unsafe fn view<'a>(_: &'a (), bytes: &'a [u8]) -> &'a [u8] {
        bytes
    }
}

impl Format<Counted<true>> for Owned {
    type View = String;
    type Checked = String;
    fn encode(_: &Counted<true>, out: &mut Encoder<'_>) -> Result<(), EncodeError> {
        Ok(out.write(b"value")?)
    }
    fn decode(bytes: &[u8]) -> Result<String, DecodeError> {
        match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Ok(text),
            Err(_) => Err(DecodeError::Short { needed: 0, found: 0 }),
        }
    }
    unsafe fn view<'a>(checked: &'a String, _: &'a [u8]) -> &'a String {
        checked
    }
}

#[test]
fn a_value_is_checked_when_it_is_first_asked_for_and_not_again() {
    let bytes = table(&[Counted::<false>, Counted::<false>, Counted::<false>]);
    let table = open::<Counted<false>>(&bytes).expect("a table");
    let asked = |place, checks| {
        assert_eq!(&*table.get(place).expect("valid").expect("there"), b"value");
        assert_eq!(CHECKS.load(Relaxed), checks);
    };
    assert_eq!(CHECKS.load(Relaxed), 0);
    asked(2, 1);
    asked(2, 1);
    asked(0, 2);
    asked(1, 3);
    asked(0, 3);
}

#[test]
fn formats_that_make_a_value_of_their_own_are_read_too() {
    let mut bytes = table(&[Counted::<true>, Counted::<true>]);
    bytes[16] = 0xff;
    let table = open::<Counted<true>>(&bytes).expect("a table");
    for _ in 0..2 {
        assert_eq!(table.get(0).expect("valid").expect("there").as_str(), "value");
        assert!(matches!(table.get(1), Err(TableError::Value { place: 1, .. })));
    }
}

#[test]
fn a_table_that_refused_a_value_is_over() {
    let quote = Quote::default();
    let mut writer = TableWriter::<Quote, _>::new(Scratch::new(100));
    for _ in 0..3 {
        writer.push(&quote).expect("room");
    }
    assert!(matches!(writer.push(&quote), Err(TableWriteError::Full)));
    assert!(matches!(writer.push(&quote), Err(TableWriteError::Broken)));
    assert!(matches!(writer.finish(), Err(TableWriteError::Broken)));
    // Full of values, and the index has no room.
    let mut writer = TableWriter::<Quote, _>::new(Scratch::new(64));
    writer.push(&quote).expect("room");
    writer.push(&quote).expect("room");
    assert!(matches!(writer.finish(), Err(TableWriteError::Full)));
    assert!(open::<Quote>(&aligned(&writer.into_sink())).is_err());
}

#[test]
fn a_value_beyond_2_gib_is_refused_with_what_to_do_and_before_it_is_written() {
    #[memring_macros::message(crate = memring_codec)]
    struct Large {
        bytes: Vec<u8>,
    }
    /// Fails if it is written to.
    struct Nowhere;
    impl Sink for Nowhere {
        fn write(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
            panic!("{} bytes", bytes.len());
        }
    }
    /// Looks at nothing.
    struct Counting(usize);
    impl Sink for Counting {
        fn write(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
            self.0 += bytes.len();
            Ok(())
        }
    }
    // Zeros that the kernel has not made yet, and nobody looks at.
    let bytes = vec![0; LARGEST_VALUE + 1];
    let mut raw = TableWriter::<[u8], _>::new(Nowhere);
    let error = raw.push(&bytes).expect_err("too large");
    assert!(matches!(error, TableWriteError::ValueTooLarge));
    assert!(chain(&error).contains("2130706432 bytes: push its parts"), "{error}");
    let mut typed = TableWriter::<Large, _>::new(Nowhere);
    let error = typed.push(&Large { bytes }).expect_err("too large");
    assert!(matches!(error, TableWriteError::ValueTooLarge));
    // So much fits that rkyv comes to write a pointer to its beginning, and the rest does not.
    let bytes = vec![0; LARGEST_VALUE];
    let mut typed = TableWriter::<Large, _>::new(Counting(0));
    let error = typed.push(&Large { bytes }).expect_err("too large");
    assert!(matches!(error, TableWriteError::ValueTooLarge));
    assert_eq!(typed.sink().0, LARGEST_VALUE);
}

/// Zeros, as far as long writes go: those are only counted, so that no page of them comes about.
struct Sparse {
    bytes: Vec<u8>,
    len: usize,
}

impl Sink for Sparse {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        let end = self.len + bytes.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(SinkFull::Room)?;
        if bytes.len() < 1 << 20 {
            room.copy_from_slice(bytes);
        }
        self.len = end;
        Ok(())
    }
}

#[test]
fn a_table_passes_2_gib_where_one_archive_cannot() {
    const PART: usize = 500 << 20;
    let zeros = vec![0; PART + 1];
    let room = vec![0; 6 * PART];
    let mut writer = TableWriter::<[u8], _>::new(Sparse { bytes: room, len: 0 });
    for part in 0..5 {
        writer.push(&zeros[..PART + part % 2]).expect("room");
        writer.push(format!("after part {part}").as_bytes()).expect("room");
    }
    writer.finish().expect("room");
    let Sparse { bytes, len } = writer.into_sink();
    assert!(len > LARGEST_VALUE);
    let table = Table::<[u8], _>::open(&bytes[..len]).expect("a table");
    for part in 0..5 {
        let large = table.get(2 * part).expect("valid").expect("there");
        assert_eq!(large.len(), PART + part as usize % 2);
        let small = table.get(2 * part + 1).expect("valid").expect("there");
        assert_eq!(&*small, format!("after part {part}").as_bytes());
    }
}
