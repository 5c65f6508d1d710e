//! What a command answers: `ok` with fields, or `err` with a word.
//!
//! One line each, so a value holds no blank: text shows it as `_`.

use std::fmt::{self, Display, Write as _};
use std::io;

/// What one command answers.
pub type Answer = Result<Fields, Failure>;

/// The fields of a success, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Fields(String);

impl Fields {
    /// A success with nothing to say.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds ` key=value`.
    pub fn with(mut self, key: impl Display, value: impl Display) -> Self {
        let _ = write!(self.0, " {key}={value}");
        self
    }
}

impl Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The kernel refused.
    Errno(i32),
    /// One word, and more about it.
    Word(&'static str, Fields),
}

impl Failure {
    /// A failure of which there is no more to say.
    pub fn word(word: &'static str) -> Self {
        Self::Word(word, Fields::new())
    }

    /// A failure with one field, `why`.
    pub fn because(word: &'static str, why: impl Display) -> Self {
        Self::Word(word, Fields::new().with("why", text(&why.to_string())))
    }

    /// The command cannot be understood, or not now.
    pub fn usage(why: impl Display) -> Self {
        Self::because("usage", why)
    }

    /// The other side broke a rule of the protocol.
    pub fn fault(why: impl Display) -> Self {
        Self::because("fault", why)
    }

    /// The last error of this thread.
    pub fn last() -> Self {
        Self::from(io::Error::last_os_error())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::Errno(errno),
            None => Self::because("usage", error),
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => f.write_str(&symbol(*errno)),
            Self::Word(word, fields) => write!(f, "{word}{fields}"),
        }
    }
}

/// Text as one word: what would part or end the line is `_`.
pub fn text(text: &str) -> String {
    text.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }).collect()
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut all, byte| {
        let _ = write!(all, "{byte:02x}");
        all
    })
}

macro_rules! symbols {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name))),*] };
}

const SYMBOLS: &[(i32, &str)] = symbols! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST EXDEV
    ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE ERANGE
    EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENODATA EPROTO EOVERFLOW EUSERS ENOTSOCK EDESTADDRREQ
    EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT EOPNOTSUPP EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL
    ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EALREADY
    EINPROGRESS EDQUOT
};

/// The symbol of an error number.
pub fn symbol(errno: i32) -> String {
    let known = SYMBOLS.iter().find(|(number, _)| *number == errno);
    known.map_or_else(|| format!("E{errno}"), |(_, name)| (*name).to_owned())
}
