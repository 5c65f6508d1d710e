//! The variable parts of control messages: short text, and bytes of the application's own.
//!
//! A value of these types has passed its limit, so encoding cannot fail and printing what a peer
//! sent cannot upset a terminal. What it does not do: compare or interpret what it holds.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

/// The longest application name in bytes.
pub const MAX_NAME: usize = 64;
/// The longest protocol or type name in bytes.
pub const MAX_TYPE_NAME: usize = 128;
/// The longest explanation in a Reject or Refused, in bytes.
pub const MAX_SENTENCE: usize = 512;
/// The most bytes of metadata in one message.
pub const MAX_METADATA: usize = 4096;

/// UTF-8 text of at most `MAX` bytes without control characters.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text<'a, const MAX: usize>(Cow<'a, str>);

/// An application's name, for people to read.
pub type Name<'a> = Text<'a, MAX_NAME>;
/// The name of a protocol or of a message type.
pub type TypeName<'a> = Text<'a, MAX_TYPE_NAME>;
/// Why something was turned down, for people to read.
pub type Sentence<'a> = Text<'a, MAX_SENTENCE>;

/// Why a string cannot be sent as it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TextError {
    /// Longer than the protocol carries.
    #[error("{len} bytes, at most {limit} fit: shorten it")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The most that fits, in bytes.
        limit: usize,
    },
    /// Holds a control character.
    #[error("a control character at byte {at}: leave it out")]
    ControlCharacter {
        /// Where, in bytes.
        at: usize,
    },
}

impl<'a, const MAX: usize> Text<'a, MAX> {
    /// Takes `text` if it keeps the limits.
    ///
    /// # Errors
    ///
    /// [`TextError`] says which limit it breaks.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, TextError> {
        let text = text.into();
        if text.len() > MAX {
            return Err(TextError::TooLong { len: text.len(), limit: MAX });
        }
        if let Some(at) = text.find(char::is_control) {
            return Err(TextError::ControlCharacter { at });
        }
        Ok(Self(text))
    }

    /// Makes `text` fit: control characters become U+FFFD, and what is too long is cut.
    ///
    /// For text that people read. A name that is compared must come through [`Text::new`].
    #[must_use]
    pub fn fit(text: &str) -> Text<'static, MAX> {
        let mut fitted = String::with_capacity(text.len().min(MAX));
        for c in text.chars() {
            let c = if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
            if fitted.len() + c.len_utf8() > MAX {
                break;
            }
            fitted.push(c);
        }
        Text(Cow::Owned(fitted))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Text<'static, MAX> {
        Text(Cow::Owned(self.0.into_owned()))
    }

    /// The same text, borrowed from this one.
    #[must_use]
    pub fn borrow(&self) -> Text<'_, MAX> {
        Text(Cow::Borrowed(&self.0))
    }
}

impl<const MAX: usize> fmt::Display for Text<'_, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for Text<'_, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// At most [`MAX_METADATA`] bytes of the application's own; memring never looks inside.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Metadata<'a>(Cow<'a, [u8]>);

impl<'a> Metadata<'a> {
    /// Takes `bytes` if they fit.
    ///
    /// # Errors
    ///
    /// [`TextError::TooLong`] beyond [`MAX_METADATA`] bytes.
    pub fn new(bytes: impl Into<Cow<'a, [u8]>>) -> Result<Self, TextError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_METADATA {
            return Err(TextError::TooLong { len: bytes.len(), limit: MAX_METADATA });
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same bytes, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Metadata<'static> {
        Metadata(Cow::Owned(self.0.into_owned()))
    }

    /// The same bytes, borrowed from these.
    #[must_use]
    pub fn borrow(&self) -> Metadata<'_> {
        Metadata(Cow::Borrowed(&self.0))
    }
}

impl fmt::Debug for Metadata<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of metadata", self.0.len())
    }
}
