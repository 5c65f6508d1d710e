//! What a library said about a message or a value, made fit to be shown.
//!
//! Why not its error: it repeats names and texts out of the message, so the peer decides how long it is and
//! which characters a terminal gets to obey or to hide.

use std::fmt::{self, Write};

/// Bytes of it that are kept.
const MOST: usize = 240;

/// The library's words, at most so many, on one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Said(String);

impl Said {
    #[cold]
    pub(super) fn new(error: impl fmt::Display) -> Self {
        let mut short = Short(String::new());
        // An error only says that the rest was cut off.
        if write!(short, "{error}").is_err() {
            short.0.push_str(" ...");
        }
        Self(short.0)
    }
}

struct Short(String);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.0.len() >= MOST {
                return Err(fmt::Error);
            }
            // Of those beyond ASCII, `Debug` escapes what cannot be seen.
            if c.is_control() || (!c.is_ascii() && c.escape_debug().len() > 1) {
                self.0.extend(c.escape_default());
            } else {
                self.0.push(c);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_and_what_is_not_seen_is_shown() {
        let check = |words: &str, expected: &str| assert_eq!(Said::new(words).0, expected);
        check("unknown variant `Ü`", "unknown variant `Ü`");
        check("a\nb\u{1b}[2J", "a\\nb\\u{1b}[2J");
        check("\"it's\" \\\u{202e}\u{200b}\u{feff}", "\"it's\" \\\\u{202e}\\u{200b}\\u{feff}");
        check(&"x".repeat(MOST), &"x".repeat(MOST));
        check(&"x".repeat(1 << 20), &format!("{} ...", "x".repeat(MOST)));
    }
}
