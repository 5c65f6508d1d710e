//! One command as it was written: its name, its words, and what it names with `=`.

use std::time::Duration;

use crate::answer::Failure;
use crate::deadline::Deadline;

/// A command line, parted.
pub struct Line {
    /// The first word.
    pub name: String,
    /// The other words, in their order.
    words: Vec<String>,
    /// `key=value`, in their order.
    named: Vec<(String, String)>,
}

impl Line {
    /// Parts a line. `None` if it is empty.
    pub fn parse(line: &str) -> Option<Self> {
        let mut all = line.split_whitespace();
        let name = all.next()?.to_owned();
        let (mut words, mut named) = (Vec::new(), Vec::new());
        for word in all {
            match word.split_once('=') {
                Some((key, value)) if is_key(key) => named.push((key.to_owned(), value.to_owned())),
                _ if word == "\"\"" => words.push(String::new()),
                _ => words.push(word.to_owned()),
            }
        }
        Some(Self { name, words, named })
    }

    /// The words that have no key.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// All that was named.
    pub fn named(&self) -> &[(String, String)] {
        &self.named
    }

    /// The word at `index`, which has to be there.
    pub fn word(&self, index: usize) -> Result<&str, Failure> {
        self.words
            .get(index)
            .map(String::as_str)
            .ok_or_else(|| Failure::usage(format!("word {} is missing", index + 1)))
    }

    /// The word at `index`, as a number.
    pub fn number_at(&self, index: usize) -> Result<u64, Failure> {
        number(self.word(index)?)
    }

    /// Whether the bare word is among them.
    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|w| w == word)
    }

    /// What was named `key`; the last one counts.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.named.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// The number named `key`, if it was.
    pub fn number(&self, key: &str) -> Result<Option<u64>, Failure> {
        self.get(key).map(number).transpose()
    }

    /// The number named `key`, or `default`.
    pub fn number_or(&self, key: &str, default: u64) -> Result<u64, Failure> {
        Ok(self.number(key)?.unwrap_or(default))
    }

    /// `key=yes` or `key=no`.
    pub fn yes(&self, key: &str, default: bool) -> Result<bool, Failure> {
        match self.get(key) {
            None => Ok(default),
            Some("yes") => Ok(true),
            Some("no") => Ok(false),
            Some(_) => Err(Failure::usage(format!("{key} is yes or no"))),
        }
    }

    /// When this command gives up: `timeout=MS`, 10 s unless told.
    pub fn deadline(&self) -> Result<Deadline, Failure> {
        Ok(Deadline::after(Duration::from_millis(self.number_or("timeout", 10_000)?)))
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// A number in decimal or, with `0x`, hexadecimal digits; negative ones count back from 2^64.
pub fn number(text: &str) -> Result<u64, Failure> {
    let (minus, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let value = match digits.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => digits.parse(),
    }
    .map_err(|_| Failure::usage(format!("{text} is no number")))?;
    Ok(if minus { value.wrapping_neg() } else { value })
}

/// Bytes from hexadecimal digits, two each.
pub fn bytes(digits: &str) -> Result<Vec<u8>, Failure> {
    let bad = || Failure::usage(format!("{digits} are no hexadecimal bytes"));
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return Err(bad());
    }
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    digits
        .chunks(2)
        .map(|pair| Some(digit(&pair[0])? << 4 | digit(&pair[1])?))
        .collect::<Option<_>>()
        .ok_or_else(bad)
}
