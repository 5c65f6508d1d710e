//! Where a listener is found: a path, a name in the runtime directory, or an abstract name.
//!
//! Parsing happens here, once, and ends in an [`Address`] that fits a `sockaddr_un`; whether a
//! directory is safe to bind in is for [`BindOptions`](crate::BindOptions) to check. Abstract names
//! are never guessed from a string: anybody may take one first, there is no permission check (the
//! kernel says `EADDRINUSE` to root too), so they are for callers who asked for one by its
//! constructor.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

/// Bytes of a path that fit a `sockaddr_un` with the zero that ends it.
pub const MOST_PATH_BYTES: usize = 107;

/// Bytes of an abstract name that fit a `sockaddr_un` after the zero that begins it.
pub const MOST_ABSTRACT_BYTES: usize = 107;

/// Where to listen or connect. It fits a Unix socket address: that was checked when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Path(PathBuf),
    /// A path whose directory is the runtime directory, which binding may create.
    Runtime(PathBuf),
    Abstract(Vec<u8>),
}

/// What an [`Address`] says, for those who have to tell the kinds apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressKind<'a> {
    /// A socket in the file system.
    Path(&'a Path),
    /// A name in the abstract namespace of this network namespace.
    Abstract(&'a [u8]),
}

/// Why a string is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing, or nothing after the last slash.
    #[error("{given:?} names no file: give a path such as /run/app/name.sock, or a bare name")]
    Empty {
        /// What was given.
        given: String,
    },
    /// It begins with `@`.
    #[error(
        "{given:?} looks like an abstract name, which any local process may take first; \
         use Address::abstract_name to ask for one, or ./{given} for a file of that name"
    )]
    AbstractNotAskedFor {
        /// What was given.
        given: String,
    },
    /// A zero byte inside.
    #[error("{given:?} has a zero byte in it, and a path cannot")]
    ZeroByte {
        /// What was given.
        given: String,
    },
    /// A `sockaddr_un` has room for 107 bytes.
    #[error(
        "{given:?} is {bytes} bytes long and a Unix socket address holds {MOST_PATH_BYTES}: \
         use a shorter directory, or a path relative to the working directory"
    )]
    TooLong {
        /// What was given, or what it became in the runtime directory.
        given: String,
        /// Its length in bytes.
        bytes: usize,
    },
}

impl Address {
    /// Where this socket is bound; an empty abstract name if nowhere.
    pub(crate) fn of_socket(socket: impl AsFd) -> Result<Self, Errno> {
        let bound = SocketAddrUnix::try_from(rustix::net::getsockname(socket)?)?;
        let path = bound.path().map(|path| PathBuf::from(OsStr::from_bytes(path.to_bytes())));
        let name = || bound.abstract_name().unwrap_or_default().to_vec();
        Ok(Self(path.map_or_else(|| Place::Abstract(name()), Place::Path)))
    }

    /// A string with a slash in it is a path; one without is a name in [`runtime_directory`].
    ///
    /// A bare name so means different files to processes of different users, and to a service whose
    /// `RUNTIME_DIRECTORY` its client does not share: those agree on a path.
    ///
    /// # Errors
    ///
    /// [`AddressError`]: empty, too long, a zero byte, or `@name`, which is refused rather than
    /// taken for an abstract name or for a file.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let given = || text.to_owned();
        if text.starts_with('@') {
            return Err(AddressError::AbstractNotAskedFor { given: given() });
        }
        if text.contains('/') {
            return Self::path(text);
        }
        if text.is_empty() || text == "." || text == ".." {
            return Err(AddressError::Empty { given: given() });
        }
        check_path(&runtime_directory().join(text)).map(|path| Self(Place::Runtime(path)))
    }

    /// A path as it is, relative ones to the working directory at the time of binding or connecting.
    ///
    /// # Errors
    ///
    /// [`AddressError`]: it does not end in a file name, is too long or holds a zero byte.
    pub fn path(path: impl AsRef<Path>) -> Result<Self, AddressError> {
        check_path(path.as_ref()).map(|path| Self(Place::Path(path)))
    }

    /// A name in the abstract namespace, without the zero byte that the kernel puts before it.
    ///
    /// No file, nothing to clean up, and nothing that keeps another process from taking the name
    /// first or any process from connecting: only the policy does. Private to a network namespace.
    ///
    /// # Errors
    ///
    /// [`AddressError`]: empty (the kernel would choose a name) or too long.
    pub fn abstract_name(name: impl AsRef<[u8]>) -> Result<Self, AddressError> {
        let name = name.as_ref();
        let given = || String::from_utf8_lossy(name).into_owned();
        if name.is_empty() {
            return Err(AddressError::Empty { given: given() });
        }
        if name.len() > MOST_ABSTRACT_BYTES {
            return Err(AddressError::TooLong { given: given(), bytes: name.len() });
        }
        Ok(Self(Place::Abstract(name.to_vec())))
    }

    /// Which kind of address this is.
    pub fn kind(&self) -> AddressKind<'_> {
        match &self.0 {
            Place::Path(path) | Place::Runtime(path) => AddressKind::Path(path),
            Place::Abstract(name) => AddressKind::Abstract(name),
        }
    }

    /// Whether this came from a bare name, so that binding may create the directory.
    pub(crate) fn is_in_runtime_directory(&self) -> bool {
        matches!(self.0, Place::Runtime(_))
    }

    /// As the kernel wants it.
    pub(crate) fn to_socket_address(&self) -> rustix::io::Result<SocketAddrUnix> {
        match self.kind() {
            AddressKind::Path(path) => SocketAddrUnix::new(path),
            AddressKind::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
        }
    }
}

/// A path as it is; an abstract name as `@name`, its odd bytes escaped.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            AddressKind::Path(path) => write!(f, "{}", path.display()),
            AddressKind::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

impl std::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

/// The directory that bare names live in.
///
/// The first of `$RUNTIME_DIRECTORY` (systemd makes it for a service; its first entry),
/// `$XDG_RUNTIME_DIR/memring`, `/run/memring` for root, `/tmp/memring-UID`. Variables that are not
/// absolute paths do not count. Binding creates it with mode 0700, and checks its owner and mode
/// whoever made it.
#[must_use]
pub fn runtime_directory() -> PathBuf {
    choose_directory(
        env::var_os("RUNTIME_DIRECTORY"),
        env::var_os("XDG_RUNTIME_DIR"),
        rustix::process::geteuid().as_raw(),
    )
}

fn choose_directory(service: Option<OsString>, login: Option<OsString>, euid: u32) -> PathBuf {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let first = |list: OsString| env::split_paths(&list).next();
    if let Some(directory) = service.and_then(first).and_then(absolute) {
        return directory;
    }
    if let Some(directory) = login.map(PathBuf::from).and_then(absolute) {
        return directory.join("memring");
    }
    if euid == 0 {
        return PathBuf::from("/run/memring");
    }
    PathBuf::from(format!("/tmp/memring-{euid}"))
}

fn check_path(path: &Path) -> Result<PathBuf, AddressError> {
    let bytes = path.as_os_str().as_bytes();
    let given = || path.display().to_string();
    if bytes.contains(&0) {
        return Err(AddressError::ZeroByte { given: given() });
    }
    // `file_name` would take "dir/" and "dir/." for "dir", and bind would not.
    let last = bytes.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    if last.is_empty() || last == b"." || last == b".." {
        return Err(AddressError::Empty { given: given() });
    }
    if bytes.len() > MOST_PATH_BYTES {
        return Err(AddressError::TooLong { given: given(), bytes: bytes.len() });
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn err(text: &str) -> &'static str {
        match Address::parse(text).expect_err(text) {
            AddressError::Empty { .. } => "empty",
            AddressError::AbstractNotAskedFor { .. } => "abstract",
            AddressError::ZeroByte { .. } => "zero",
            AddressError::TooLong { .. } => "long",
        }
    }

    #[test]
    fn strings_are_paths_names_or_errors() {
        for path in ["/run/app/x.sock", "./x", "a/b", "/x", "a b/c"] {
            assert_eq!(Address::parse(path).unwrap().kind(), AddressKind::Path(Path::new(path)));
        }
        let cases = [
            ("", "empty"),
            ("/", "empty"),
            ("/run/", "empty"),
            ("/run/.", "empty"),
            ("..", "empty"),
            ("/run/..", "empty"),
            ("@app", "abstract"),
            ("@", "abstract"),
            ("@a/b", "abstract"),
            ("/a\0b", "zero"),
            ("a\0b", "zero"),
        ];
        for (text, why) in cases {
            assert_eq!(err(text), why, "{text:?}");
        }
    }

    #[test]
    fn bare_names_live_in_the_runtime_directory() {
        let address = Address::parse("quotes").unwrap();
        assert!(address.is_in_runtime_directory());
        let path = runtime_directory().join("quotes");
        assert_eq!(address.kind(), AddressKind::Path(&path));
        assert!(!Address::path(&path).unwrap().is_in_runtime_directory());
    }

    #[test]
    fn lengths_are_checked_to_the_byte_and_fit_the_kernel() {
        let longest = format!("/{}", "p".repeat(MOST_PATH_BYTES - 1));
        Address::parse(&longest).unwrap().to_socket_address().unwrap();
        assert_eq!(err(&format!("{longest}p")), "long");
        let longest = vec![b'n'; MOST_ABSTRACT_BYTES];
        Address::abstract_name(&longest).unwrap().to_socket_address().unwrap();
        Address::abstract_name([0, 255]).unwrap().to_socket_address().unwrap();
        assert!(Address::abstract_name([&longest[..], b"n"].concat()).is_err());
        assert!(Address::abstract_name("").is_err());
    }

    #[test]
    fn the_directory_follows_the_environment() {
        let some = |text: &str| Some(OsString::from(text));
        let cases = [
            (some("/run/svc"), some("/run/user/7"), 7, "/run/svc"),
            (some("/run/svc:/run/other"), None, 0, "/run/svc"),
            (None, some("/run/user/7"), 7, "/run/user/7/memring"),
            (some(""), some("/run/user/7"), 7, "/run/user/7/memring"),
            (some("relative"), some("also/relative"), 7, "/tmp/memring-7"),
            (None, None, 0, "/run/memring"),
            (None, None, 1000, "/tmp/memring-1000"),
        ];
        for (service, login, euid, directory) in cases {
            assert_eq!(choose_directory(service, login, euid), Path::new(directory));
        }
    }

    #[test]
    fn addresses_print_as_people_write_them() {
        assert_eq!(Address::path("/run/x").unwrap().to_string(), "/run/x");
        assert_eq!(Address::abstract_name(b"a\x01b").unwrap().to_string(), r"@a\x01b");
    }
}
