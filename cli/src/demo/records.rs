//! What the demo's processes say to each other, and how a file becomes records.

use memring::{ClientEnd, Protocol, ServerEnd};
use sha2::{Digest as _, Sha256};

/// The longest record cut from a file, in bytes.
pub(super) const LONGEST: usize = 64 << 10;

/// To the child.
#[memring::message]
#[derive(Clone, Debug)]
pub(super) enum ToChild {
    /// A line of the file, with its newline.
    Line {
        /// From zero.
        number: u64,
        /// Its bytes.
        text: Vec<u8>,
    },
    /// There are no more for now: tell what came.
    Enough,
}

/// From the child.
#[memring::message]
#[derive(Clone, Debug)]
pub(super) enum FromChild {
    /// The answer to a line.
    Answer {
        /// The line's.
        number: u64,
        /// How many words it has.
        words: u32,
        /// The line in capitals.
        capitals: Vec<u8>,
    },
    /// What came since the last time.
    Received {
        /// How many lines.
        lines: u64,
        /// How many bytes of text.
        bytes: u64,
        /// Their SHA-256; zeroes while times are taken.
        digest: [u8; 32],
    },
}

/// The demo's protocol: the parent is the server.
#[derive(Debug)]
pub(super) struct Demo;

impl Protocol for Demo {
    const NAME: &'static str = "memring-demo";
    type ToClient = ToChild;
    type ToServer = FromChild;
}

/// The parent's end.
pub(super) type Parent = ServerEnd<Demo>;
/// The child's end.
pub(super) type Child = ClientEnd<Demo>;

/// A SHA-256 digest.
pub(super) type Digest = [u8; 32];

/// The digest of bytes that come in pieces.
#[derive(Default)]
pub(super) struct Digester(Sha256);

impl Digester {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

/// As people write digests.
pub(super) fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Cuts a file into lines, newlines included, and lines that are too long into pieces. Joined, they are the file.
pub(super) fn cut(file: &[u8]) -> Vec<ToChild> {
    file.split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| line.chunks(LONGEST))
        .zip(0..)
        .map(|(text, number)| ToChild::Line { number, text: text.to_vec() })
        .collect()
}

/// What the child answers to a line.
pub(super) fn answer(number: u64, text: &[u8]) -> FromChild {
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
    FromChild::Answer {
        number,
        words: u32::try_from(words).unwrap_or(u32::MAX),
        capitals: text.to_ascii_uppercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_into_records_that_join_to_it() {
        let long = vec![b'x'; 2 * LONGEST + 1];
        for (file, records) in [
            (&b""[..], 0),
            (b"\n", 1),
            (b"one", 1),
            (b"one\ntwo", 2),
            (b"one\n\ntwo\n", 3),
            (&long, 3),
            (b"\xff\xfe\x00\n", 1),
        ] {
            let cut = cut(file);
            assert_eq!(cut.len(), records);
            let mut joined = Vec::new();
            for (record, due) in cut.iter().zip(0..) {
                let ToChild::Line { number, text } = record else { panic!("a line is due") };
                assert_eq!(*number, due);
                joined.extend_from_slice(text);
            }
            assert_eq!(joined, file);
        }
    }

    #[test]
    fn answers_count_words_and_shout() {
        for (text, count, shout) in
            [(&b""[..], 0, &b""[..]), (b"one  two\n", 2, b"ONE  TWO\n"), (b"\xffz", 1, b"\xffZ")]
        {
            let FromChild::Answer { number: 7, words, capitals } = answer(7, text) else {
                panic!("an answer is due")
            };
            assert_eq!((words, &capitals[..]), (count, shout));
        }
    }

    #[test]
    fn digests_are_those_that_everybody_computes() {
        let mut digester = Digester::default();
        digester.add(b"a");
        digester.add(b"bc");
        assert!(hex(&digester.finish()).starts_with("ba7816bf8f01cfea414140de5dae2223"));
    }
}
