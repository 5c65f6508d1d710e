//! The socket file and its lock: claimed before the bind, removed after it.
//!
//! Removing a lock file is safe because a lock counts only if, once it is held, the name still leads
//! to the file that was locked; else the next one tries again with the new file. After a crash both
//! files stay, and the next start takes them over. `flock` belongs to the open file, which a forked
//! child shares: dropping unlocks it by name, but a child that outlives a *crashed* server without
//! an exec keeps the lock and the socket until it ends.
//!
//! Everything after the first look goes by the descriptor of the directory, for its name and the
//! working directory may change. Binding itself, and the mode of what was bound, are not done here.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use memring_ring::fork::{Generation, generation};
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, openat, statat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::geteuid;

use super::{BindError, DirectoryRisk};
use crate::address::Address;
use crate::os;

/// A path that is ours to bind: its lock is held and nothing is there.
#[derive(Debug)]
pub(super) struct Claim {
    directory: OwnedFd,
    name: OsString,
    lock: Lock,
}

impl Claim {
    /// Checks the directory, takes the lock and removes a stale socket.
    ///
    /// `shared`: a directory in which others could replace the socket will do.
    pub(super) fn take(address: &Address, path: &Path, shared: bool) -> Result<Self, BindError> {
        let directory = open_directory(path, address.is_in_runtime_directory(), shared)?;
        let name = path.file_name().unwrap_or_default().to_owned();
        let lock = Lock::take(&directory, &name, address, path)?;
        remove_stale(&directory, &name, address, path)?;
        Ok(Self { directory, name, lock })
    }

    /// Takes charge of the socket file that has just been bound.
    pub(super) fn found(self) -> Result<Files, Errno> {
        let Self { directory, name, lock } = self;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = openat(&directory, &name, flags, Mode::empty())
            .and_then(|node| fstat(&node).map(|facts| (node, facts)));
        match found {
            Ok((node, facts)) => {
                Ok(Files { directory, name, node, facts, lock, generation: generation() })
            }
            Err(error) => {
                unlinkat(&directory, &name, AtFlags::empty()).ok();
                Err(error)
            }
        }
    }
}

/// Opens the directory of `path`, and refuses one in which others could replace the socket.
fn open_directory(path: &Path, create: bool, shared: bool) -> Result<OwnedFd, BindError> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    let system = |doing| {
        move |error: Errno| BindError::System {
            doing,
            path: directory.into(),
            source: error.into(),
        }
    };
    if create {
        match rustix::fs::mkdirat(CWD, directory, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(system("creating")(error)),
        }
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match openat(CWD, directory, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Err(BindError::NoDirectory(directory.into())),
        opened => opened.map_err(system("opening"))?,
    };
    if shared {
        return Ok(opened);
    }
    let inside = fstat(&opened).map_err(system("examining"))?;
    let link = statat(CWD, directory, AtFlags::SYMLINK_NOFOLLOW).map_err(system("examining"))?;
    match directory_risk(&inside, &link, geteuid().as_raw()) {
        None => Ok(opened),
        Some(risk) => Err(BindError::SharedDirectory { directory: directory.into(), risk }),
    }
}

/// What is wrong with a directory, `link` being what its own name leads to.
pub(super) fn directory_risk(inside: &Stat, link: &Stat, euid: u32) -> Option<DirectoryRisk> {
    let trusted = |uid| uid == euid || uid == 0;
    let is_link = FileType::from_raw_mode(link.st_mode) == FileType::Symlink;
    if is_link && !trusted(link.st_uid) {
        Some(DirectoryRisk::LinkOwnedBy(link.st_uid))
    } else if !trusted(inside.st_uid) {
        Some(DirectoryRisk::OwnedBy(inside.st_uid))
    } else if inside.st_mode & 0o022 != 0 {
        // The sticky bit keeps others from removing our file, but not from being there first.
        Some(DirectoryRisk::Writable(inside.st_mode & 0o7777))
    } else {
        None
    }
}

/// What answers at an address.
pub(super) enum Probe {
    /// Somebody listens: this process, if it has a number here.
    Listening(Option<u32>),
    /// A socket file that nobody listens on.
    Stale,
    /// Nothing is there.
    Absent,
    /// The kernel does not let us know.
    Unknown(Errno),
}

impl Probe {
    pub(super) fn holder(&self) -> Option<u32> {
        match self {
            Self::Listening(pid) => *pid,
            _ => None,
        }
    }
}

/// Connects, and hangs up at once if somebody answers.
pub(super) fn probe(address: &Address) -> Probe {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connected =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).and_then(
            |socket| {
                rustix::net::connect(&socket, &address.to_socket_address()?)?;
                Ok(socket)
            },
        );
    match connected {
        Ok(socket) => {
            let who = os::peer_credentials(socket.as_fd()).ok();
            let pid = who.and_then(|who| u32::try_from(who.pid).ok()).filter(|pid| *pid != 0);
            Probe::Listening(pid)
        }
        // A full backlog, or a socket of another type: alive in either case.
        Err(Errno::AGAIN | Errno::PROTOTYPE) => Probe::Listening(None),
        Err(Errno::CONNREFUSED) => Probe::Stale,
        Err(Errno::NOENT) => Probe::Absent,
        Err(error) => Probe::Unknown(error),
    }
}

/// Removes a socket file that nobody listens on. The caller holds the lock.
///
/// A server that takes no lock and is just between its bind and its listen looks stale too. Ours
/// all take it.
fn remove_stale(
    directory: &OwnedFd,
    name: &OsStr,
    address: &Address,
    path: &Path,
) -> Result<(), BindError> {
    let system =
        |doing, error: Errno| BindError::System { doing, path: path.into(), source: error.into() };
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(system("examining", error)),
        Ok(facts) if FileType::from_raw_mode(facts.st_mode) != FileType::Socket => {
            return Err(BindError::Occupied(path.into()));
        }
        Ok(_) => {}
    }
    match probe(address) {
        Probe::Listening(holder) => Err(BindError::InUse { address: address.clone(), holder }),
        Probe::Unknown(error) => Err(system("finding out who listens on", error)),
        Probe::Absent => Ok(()),
        Probe::Stale => match unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(system("removing the stale socket", error)),
        },
    }
}

/// A lock file that is locked, and was still reached by its name when it was.
#[derive(Debug)]
struct Lock {
    file: OwnedFd,
    name: OsString,
}

impl Lock {
    fn take(
        directory: &OwnedFd,
        socket: &OsStr,
        address: &Address,
        path: &Path,
    ) -> Result<Self, BindError> {
        let mut name = socket.to_owned();
        name.push(".lock");
        let lock_path = path.with_file_name(&name);
        let system = |doing| {
            let path = lock_path.clone();
            move |error: Errno| BindError::System { doing, path, source: error.into() }
        };
        loop {
            // O_NONBLOCK: whatever has been put there, opening it does not wait.
            let flags = OFlags::RDWR
                | OFlags::CREATE
                | OFlags::CLOEXEC
                | OFlags::NOFOLLOW
                | OFlags::NONBLOCK
                | OFlags::NOCTTY;
            let file = match openat(directory, &name, flags, Mode::RUSR | Mode::WUSR) {
                // A link, a socket, a directory; or a file of another user in a sticky directory.
                Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR | Errno::ACCESS)
                    if statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok() =>
                {
                    return Err(BindError::ForeignLock(lock_path));
                }
                file => file.map_err(system("opening the lock file"))?,
            };
            let locked = fstat(&file).map_err(system("examining the lock file"))?;
            let is_file = FileType::from_raw_mode(locked.st_mode) == FileType::RegularFile;
            if !is_file || ![0, geteuid().as_raw()].contains(&locked.st_uid) {
                return Err(BindError::ForeignLock(lock_path));
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => {
                    let holder = probe(address).holder();
                    return Err(BindError::InUse { address: address.clone(), holder });
                }
                Err(error) => return Err(system("locking")(error)),
            }
            // The holder before us may have removed the name between our open and our lock; then
            // what we hold protects nothing. Each time round somebody else got further, so this ends.
            match statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(named) if same_file(&named, &locked) => return Ok(Self { file, name }),
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(system("examining the lock file")(error)),
            }
        }
    }
}

/// The socket file and its lock, until they are removed.
#[derive(Debug)]
pub(super) struct Files {
    directory: OwnedFd,
    name: OsString,
    /// Keeps the file's inode number from being used again.
    pub(super) node: OwnedFd,
    pub(super) facts: Stat,
    lock: Lock,
    generation: Generation,
}

impl Drop for Files {
    fn drop(&mut self) {
        if !self.generation.is_current() {
            return; // a forked child: the files are the parent's
        }
        let named = statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        if named.is_ok_and(|named| same_file(&named, &self.facts)) {
            unlinkat(&self.directory, &self.name, AtFlags::empty()).ok();
        }
        // Still locked, so the name is ours to remove; see `Lock::take` for who waits for it.
        unlinkat(&self.directory, &self.lock.name, AtFlags::empty()).ok();
        // Explicitly, for a forked child may hold the same open file.
        flock(&self.lock.file, FlockOperation::Unlock).ok();
    }
}

fn same_file(a: &Stat, b: &Stat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}
