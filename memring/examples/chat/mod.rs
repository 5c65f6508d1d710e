//! What `chat_server` and `chat_client` are both compiled from. In real programs this is a crate of its own.

use std::fmt;

/// Something that was said.
#[memring::message]
#[derive(Clone)]
pub struct Line {
    /// Lines are counted from one on.
    pub number: u64,
    /// Who said it.
    pub who: Speaker,
    /// What.
    pub text: String,
}

/// Bytes of a line. The server keeps them and sends them to all, so it says how many.
pub const LONGEST: usize = 4096;

/// That was not said.
#[memring::message]
#[derive(Debug)]
pub enum NotSaid {
    /// It has more than [`LONGEST`] bytes.
    TooLong,
}

impl fmt::Display for NotSaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "a line has at most {LONGEST} bytes: make two of it"),
        }
    }
}

impl std::error::Error for NotSaid {}

/// Who speaks.
#[memring::message]
#[derive(Clone)]
pub struct Speaker {
    /// What he calls himself: anybody may call himself anything.
    pub name: String,
    /// His process, which the server has from the kernel, as the next. No client can choose these.
    pub pid: Option<u32>,
    /// The user, if he has a number where the server is.
    pub uid: Option<u32>,
}

/// Everybody hears what everybody says.
#[memring::interface(name = "chat", version = "1")]
pub trait Chat {
    /// The last lines that were said.
    fn history() -> Vec<Line>;

    /// Says something. The server may let some users listen only.
    fn say(text: &str) -> Result<(), NotSaid>;

    /// Something was said.
    #[signal]
    fn said(line: &Line);
}
