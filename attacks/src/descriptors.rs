//! Descriptors of every kind that a peer might pass off as a segment.
//!
//! One function makes all; what a kind needs beside itself (the other end of a pipe) is kept beside
//! it.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::answer::Failure;
use crate::deadline::Deadline;
use crate::line::Line;
use crate::socket::{self, Ancillary};
use crate::sys::{check, descriptor, duplicate, fcntl};

/// The kinds, as `help` shows them.
pub const KINDS: &str = "memfd hugetlb secret file tmpfs pipe socket listening tcp linger eventfd epoll pidfd \
                         userfaultfd devzero devnull opath dir open readonly readwrite dup inflight";

/// A descriptor, and the other end that keeps it what it is.
pub type Made = (OwnedFd, Option<OwnedFd>);

/// Makes one of `kind`; `of` is the descriptor named by `of=`.
pub fn make(
    kind: &str,
    line: &Line,
    of: Option<&OwnedFd>,
    deadline: Deadline,
) -> Result<Made, Failure> {
    let of = || of.ok_or_else(|| Failure::usage("of= is missing"));
    let alone = |fd: OwnedFd| Ok((fd, None));
    match kind {
        "memfd" => alone(memfd(line)?),
        "hugetlb" => alone(hugetlb(line)?),
        "secret" => alone(secret(line)?),
        "file" => alone(Shape::told(line)?.give(unnamed(line.get("at").unwrap_or("."))?)?),
        "tmpfs" => alone(Shape::told(line)?.give(unnamed("/dev/shm")?)?),
        "pipe" => pipe(),
        "socket" => socket::pair(libc::SOCK_SEQPACKET).map(|(a, b)| (a, Some(b))),
        "listening" => alone(socket::listen(line.get("at").unwrap_or("listening"), 1)?),
        "linger" => linger(line.number_or("seconds", 5)?),
        "tcp" | "eventfd" | "epoll" | "pidfd" | "userfaultfd" => {
            // SAFETY: each makes a descriptor.
            alone(unsafe { descriptor(by_number(kind)) }?)
        }
        "devzero" => alone(open("/dev/zero", 0)?),
        "devnull" => alone(open("/dev/null", 0)?),
        "opath" => alone(path_only(line.get("of").map(|_| of()).transpose()?)?),
        "dir" => alone(File::open("/")?.into()),
        "open" => alone(File::open(line.get("at").unwrap_or("/"))?.into()),
        "readonly" => alone(reopen(of()?, false)?),
        "readwrite" => alone(reopen(of()?, true)?),
        "dup" => alone(duplicate(of()?)?),
        "inflight" => inflight(deadline),
        _ => Err(Failure::usage(format!("kinds are {KINDS}"))),
    }
}

/// From `linux/userfaultfd.h`; the libc crate lacks it.
const UFFD_USER_MODE_ONLY: libc::c_int = 1;

/// The kinds that one call with numbers makes.
fn by_number(kind: &str) -> i64 {
    // SAFETY: numbers only.
    unsafe {
        match kind {
            "tcp" => libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0).into(),
            "eventfd" => libc::eventfd(0, libc::EFD_CLOEXEC).into(),
            "epoll" => libc::epoll_create1(libc::EPOLL_CLOEXEC).into(),
            "pidfd" => libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0),
            "secret" => libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC),
            // For faults in user mode only, which anybody may have.
            _ => libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | UFFD_USER_MODE_ONLY),
        }
    }
}

fn open(path: &str, flags: libc::c_int) -> Result<OwnedFd, Failure> {
    Ok(OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?.into())
}

/// A file without a name in a directory.
fn unnamed(directory: &str) -> Result<OwnedFd, Failure> {
    open(directory, libc::O_TMPFILE)
}

/// What a new file gets.
struct Shape {
    size: u64,
    allocated: bool,
    mode: libc::mode_t,
    seals: u64,
}

impl Shape {
    fn told(line: &Line) -> Result<Self, Failure> {
        Ok(Self {
            size: line.number_or("size", 0)?,
            allocated: line.yes("alloc", true)?,
            mode: line.number_or("mode", 0o600)? as libc::mode_t,
            seals: line.number_or("seals", 0)?,
        })
    }

    fn give(&self, file: OwnedFd) -> Result<OwnedFd, Failure> {
        set_size(&file, self.size)?;
        if self.allocated && self.size > 0 {
            allocate(&file, 0, 0, self.size)?;
        }
        // SAFETY: numbers only.
        check(unsafe { libc::fchmod(file.as_raw_fd(), self.mode) }.into())?;
        if self.seals != 0 {
            fcntl(&file, libc::F_ADD_SEALS, self.seals)?;
        }
        Ok(file)
    }
}

/// A memory file as segments are before anybody has mapped them.
pub fn segment(size: u64) -> Result<OwnedFd, Failure> {
    let seals = (libc::F_SEAL_SHRINK | libc::F_SEAL_GROW).unsigned_abs().into();
    Shape { size, allocated: true, mode: 0o600, seals }.give(memory(c"attacker", false)?)
}

fn memfd(line: &Line) -> Result<OwnedFd, Failure> {
    let name = CString::new(line.get("label").unwrap_or("attacker")).map_err(Failure::usage)?;
    Shape::told(line)?.give(memory(&name, line.yes("exec", false)?)?)
}

fn memory(name: &CStr, executable: bool) -> Result<OwnedFd, Failure> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let kind = if executable { libc::MFD_EXEC } else { libc::MFD_NOEXEC_SEAL };
    memfd_create(name, flags | kind).or_else(|_| memfd_create(name, flags))
}

fn hugetlb(line: &Line) -> Result<OwnedFd, Failure> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | libc::MFD_HUGETLB;
    let mut shape = Shape::told(line)?;
    shape.allocated = line.yes("alloc", false)?;
    shape.size = line.number_or("size", 2 << 20)?;
    shape.give(memfd_create(c"attacker", flags)?)
}

/// It gets its memory when it is touched, and takes no seals.
fn secret(line: &Line) -> Result<OwnedFd, Failure> {
    // SAFETY: it makes a descriptor.
    let file = unsafe { descriptor(by_number("secret")) }?;
    set_size(&file, line.number_or("size", 4096)?)?;
    Ok(file)
}

fn memfd_create(name: &CStr, flags: libc::c_uint) -> Result<OwnedFd, Failure> {
    // SAFETY: the name lives through the call, which makes a descriptor.
    unsafe { descriptor(libc::memfd_create(name.as_ptr(), flags).into()) }
}

/// Sets the size of a file.
pub fn set_size(file: &OwnedFd, size: u64) -> Result<(), Failure> {
    let size = libc::off_t::try_from(size).map_err(Failure::usage)?;
    // SAFETY: numbers only.
    check(unsafe { libc::ftruncate(file.as_raw_fd(), size) }.into()).map(|_| ())
}

/// `fallocate`, to get blocks or to punch holes.
pub fn allocate(file: &OwnedFd, mode: libc::c_int, from: u64, length: u64) -> Result<(), Failure> {
    let (from, length) = (from.cast_signed(), length.cast_signed());
    // SAFETY: numbers only.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, from, length) }.into()).map(|_| ())
}

/// Opens the same file once more, with rights of its own.
pub fn reopen(file: &OwnedFd, writable: bool) -> Result<OwnedFd, Failure> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(OpenOptions::new().read(true).write(writable).open(Path::new(&path))?.into())
}

/// Names a file, `/` unless told, and can do nothing else.
fn path_only(of: Option<&OwnedFd>) -> Result<OwnedFd, Failure> {
    let path = of.map_or("/".to_owned(), |file| format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok(OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?.into())
}

fn pipe() -> Result<Made, Failure> {
    let (reader, writer) = std::io::pipe()?;
    Ok((reader.into(), Some(writer.into())))
}

/// A TCP socket whose last close waits so many seconds: the other end never reads what was sent.
fn linger(seconds: u64) -> Result<Made, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (receiver, _) = listener.accept()?;
    sender.set_nonblocking(true)?;
    while sender.write(&[0; 1 << 16]).is_ok() {}
    sender.set_nonblocking(false)?;
    let seconds = libc::c_int::try_from(seconds).map_err(Failure::usage)?;
    let linger = libc::linger { l_onoff: 1, l_linger: seconds };
    let size = size_of_val(&linger) as libc::socklen_t;
    // SAFETY: the option lives through the call and has the size told.
    let set = unsafe {
        libc::setsockopt(
            sender.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size,
        )
    };
    check(set.into())?;
    Ok((sender.into(), Some(receiver.into())))
}

/// A Unix socket that lies in its own queue: once all others are closed, only the collector frees
/// it.
fn inflight(deadline: Deadline) -> Result<Made, Failure> {
    let (near, far) = socket::pair(libc::SOCK_DGRAM)?;
    let mut itself = Ancillary::default();
    itself.rights(&[far.as_raw_fd()]);
    socket::send(near.as_fd(), b"me", &itself, deadline)?;
    Ok((far, Some(near)))
}

/// What `fstat` and `fstatfs` say: size, blocks, mode, device, inode, kind of file system.
pub fn stat(file: &OwnedFd) -> Result<[(&'static str, u64); 6], Failure> {
    // SAFETY: all zero is a good value of both.
    let (mut stat, mut system): (libc::stat, libc::statfs) = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes into what lives here.
    check(unsafe { libc::fstat(file.as_raw_fd(), &raw mut stat) }.into())?;
    // SAFETY: likewise.
    check(unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut system) }.into())?;
    Ok([
        ("size", stat.st_size as u64),
        ("blocks", stat.st_blocks as u64),
        ("mode", stat.st_mode.into()),
        ("dev", stat.st_dev),
        ("ino", stat.st_ino),
        ("type", system.f_type as u64),
    ])
}

/// Hangs one extended attribute on a file.
pub fn attribute(file: &OwnedFd, name: &str, value: &[u8]) -> Result<(), Failure> {
    let name = CString::new(name).map_err(Failure::usage)?;
    // SAFETY: name and value live through the call.
    let set = unsafe {
        libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    check(set.into()).map(|_| ())
}

/// Writes bytes at an offset.
pub fn write_at(file: &OwnedFd, at: u64, bytes: &[u8]) -> Result<i64, Failure> {
    // SAFETY: the bytes live through the call.
    check(unsafe {
        libc::pwrite(file.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), at.cast_signed())
    } as i64)
}

/// Moves the offset that all who share this open file share.
pub fn seek(file: &OwnedFd, at: u64) -> Result<i64, Failure> {
    // SAFETY: numbers only.
    check(unsafe { libc::lseek(file.as_raw_fd(), at.cast_signed(), libc::SEEK_SET) })
}

/// Locks the open file against others, without waiting.
pub fn lock(file: &OwnedFd) -> Result<(), Failure> {
    // SAFETY: numbers only.
    check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }.into())
        .map(|_| ())
}
