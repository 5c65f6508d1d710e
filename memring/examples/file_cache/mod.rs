//! What `file_cache_server` and `file_cache_client` are both compiled from. In real programs this is a crate of its own.

use std::fmt;
use std::io;

use memring::Fd;
use memring::blob::Blob;

/// What is known of a file without its contents.
#[memring::message]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its bytes.
    pub bytes: u64,
    /// When it was changed last, in nanoseconds since 1970.
    pub changed: i128,
    /// Whether the cache holds it as it is now.
    pub cached: bool,
}

/// A file cannot be had.
#[memring::message]
#[derive(Debug)]
pub enum FileError {
    /// There is none of this name.
    NotFound,
    /// The name leads out of what is served.
    Outside,
    /// It is a directory, or something else that has no contents.
    NoFile,
    /// The cache holds no contents as large as this.
    TooLarge,
    /// What the system says.
    System(String),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such file"),
            Self::Outside => f.write_str("the name leads out of the directory that is served"),
            Self::NoFile => f.write_str("it is not a file"),
            Self::TooLarge => f.write_str("it is too large for the cache: open it"),
            Self::System(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for FileError {}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::CrossesDevices => Self::Outside,
            _ => Self::System(error.to_string()),
        }
    }
}

/// Files of one directory.
#[memring::interface(name = "file-cache", version = "1")]
pub trait FileCache {
    /// What is in it, as memory that nobody can change: read where it lies, by as many as like.
    fn contents(path: &str) -> Result<Blob<[u8]>, FileError>;

    /// The file itself, to be read and not written: for those that are too large for the cache.
    fn open(path: &str) -> Result<Fd, FileError>;

    /// What is known of it.
    fn stat(path: &str) -> Result<Stat, FileError>;

    /// What is known of it now, and again whenever it has changed, until it cannot be had any more.
    fn watch(path: String) -> Result<Stream<Stat>, FileError>;
}
