//! The system calls of a session, from its listener to its end, and what may be answered to each.
//!
//! Taken from a trace of servers, clients and pairs. Not here: what cannot fail but by a mistake of ours
//! (`close`, `shutdown`, `F_GETFD`, changing or leaving an epoll), and what the standard library and libc do
//! for themselves (their own mappings, private futexes, signal stacks): some of that ends a process.

use crate::inject::Call;

/// What has to become of a session while a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// A typed error, or a session that needed less.
    Whatever,
    /// A session: there is another way (the README's table of kernels), or it is tried again.
    Session,
}

pub struct Row {
    pub name: &'static str,
    pub call: Call,
    /// `EINTR` is answered once, the others also for ever.
    pub errnos: &'static [i32],
    pub then: Then,
    /// Who makes it: `p`air, `s`erver, `c`lient, and who spawns a child (`x`).
    pub by: &'static str,
}

use Then::{Session, Whatever};
use libc::{
    EACCES, EAGAIN, EINTR, EINVAL, EMFILE, ENOBUFS, ENOENT, ENOLCK, ENOMEM, ENOPROTOOPT, ENOSPC,
    ENOSYS, EPERM, ESRCH,
};

/// The number of `futex_waitv`, the same on every architecture.
const WAITV: libc::c_long = 449;

const fn row(
    name: &'static str,
    call: Call,
    errnos: &'static [i32],
    then: Then,
    by: &'static str,
) -> Row {
    Row { name, call, errnos, then, by }
}

const fn every(number: libc::c_long) -> Call {
    Call { number, only: None }
}

/// Where the argument `at` is `value`, in its low half.
const fn with(number: libc::c_long, at: usize, value: u64) -> Call {
    Call { number, only: Some((at, 0xffff_ffff, value)) }
}

/// Where the argument `at` has these bits.
const fn having(number: libc::c_long, at: usize, bits: u64) -> Call {
    Call { number, only: Some((at, bits, bits)) }
}

/// Where the argument `at` is the number of this option, advice or command.
const fn option(number: libc::c_long, value: u64) -> Call {
    with(number, 2, value)
}

impl Row {
    /// Whether a session may do without: this kernel, or the sandbox that the test itself runs in, lacks the
    /// call, it is made by a thread that may come to it too late, or a quick peer leaves nothing to wait for.
    pub fn may_be_missing(&self) -> bool {
        let refused = |done: libc::c_long, by: &[i32]| {
            let errno = std::io::Error::last_os_error().raw_os_error();
            done < 0 && errno.is_some_and(|errno| by.contains(&errno))
        };
        let unknown: &[i32] = &[ENOSYS, EPERM, ENOPROTOOPT];
        match self.call {
            Call { number: WAITV, .. } => {
                // SAFETY: no waiters, no memory: a kernel that knows the call answers EINVAL.
                refused(unsafe { libc::syscall(WAITV, 0, 0, 0, 0, 0) }, unknown)
            }
            Call { number: libc::SYS_membarrier, .. } => {
                // SAFETY: a query takes no memory.
                refused(unsafe { libc::syscall(libc::SYS_membarrier, 0, 0, 0) }, unknown)
            }
            Call {
                number: number @ (libc::SYS_getsockopt | libc::SYS_setsockopt),
                only: Some((2, _, option)),
            } => {
                let (socket, _) = std::os::unix::net::UnixDatagram::pair().expect("a socketpair");
                let mut none: u32 = 0;
                let mut length: libc::socklen_t = 4;
                let given = if number == libc::SYS_setsockopt {
                    length as usize
                } else {
                    (&raw mut length).addr()
                };
                let socket = std::os::fd::AsRawFd::as_raw_fd(&socket);
                // SAFETY: `none` and `length` are live, and what is written fits into four bytes.
                let done = unsafe {
                    libc::syscall(
                        number,
                        socket,
                        libc::SOL_SOCKET,
                        option,
                        (&raw mut none).addr(),
                        given,
                    )
                };
                refused(done, unknown)
            }
            Call { number: libc::SYS_pidfd_open, .. } => {
                // SAFETY: the kernel is asked for a process that cannot be, and makes nothing.
                refused(unsafe { libc::syscall(libc::SYS_pidfd_open, -1, 0) }, unknown)
            }
            Call { number: libc::SYS_madvise, only: Some((2, _, advice)) } => {
                // SAFETY: no bytes are advised; only the advice is looked at.
                refused(unsafe { libc::syscall(libc::SYS_madvise, 0, 0, advice) }, &[EINVAL, EPERM])
            }
            Call { number: libc::SYS_memfd_create, only: Some((1, _, flags)) } => {
                // SAFETY: the name is a string with its zero.
                let file =
                    unsafe { libc::syscall(libc::SYS_memfd_create, c"asked".as_ptr(), flags) };
                // SAFETY: the descriptor just made, if there is one, is this function's.
                unsafe { libc::close(file as libc::c_int) };
                file < 0
            }
            Call { number, .. } => [libc::SYS_epoll_pwait, libc::SYS_ppoll].contains(&number),
        }
    }
}

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    // Reaching each other.
    row("socket", every(libc::SYS_socket), &[EMFILE, ENOBUFS], Whatever, "sc"),
    row("socketpair", every(libc::SYS_socketpair), &[EMFILE], Whatever, "px"),
    row("bind", every(libc::SYS_bind), &[EACCES], Whatever, "s"),
    row("listen", every(libc::SYS_listen), &[EPERM], Whatever, "s"),
    row("connect", every(libc::SYS_connect), &[EACCES], Whatever, "c"),
    row("connect, interrupted", every(libc::SYS_connect), &[EINTR, EAGAIN], Whatever, "c"),
    row("accept4", every(libc::SYS_accept4), &[EMFILE, ENOMEM, ENOSYS], Whatever, "s"),
    row("accept4, interrupted", every(libc::SYS_accept4), &[EINTR], Session, "s"),
    row("eventfd2", every(libc::SYS_eventfd2), &[EMFILE], Whatever, "s"),
    row("flock", every(libc::SYS_flock), &[ENOLCK], Whatever, "s"),
    row("openat", every(libc::SYS_openat), &[EMFILE, ENOENT], Whatever, "sc"),
    row("open", every(libc::SYS_open), &[EMFILE, ENOENT], Whatever, "ps"),
    row("unlinkat", every(libc::SYS_unlinkat), &[EACCES], Whatever, "s"),
    row("fchmod", every(libc::SYS_fchmod), &[EPERM], Whatever, "ps"),
    row("newfstatat", every(libc::SYS_newfstatat), &[EACCES], Whatever, "s"),
    // Asking who is there.
    row("SO_PEERCRED", option(libc::SYS_getsockopt, 17), &[EPERM], Whatever, "psc"),
    row("SO_PEERPIDFD", option(libc::SYS_getsockopt, 77), &[EMFILE, EPERM], Whatever, "sc"),
    row("no SO_PEERPIDFD", option(libc::SYS_getsockopt, 77), &[ENOPROTOOPT, ESRCH], Session, "sc"),
    row("no SO_PEERGROUPS", option(libc::SYS_getsockopt, 59), &[ENOPROTOOPT], Session, "psc"),
    row("SO_PEERGROUPS", option(libc::SYS_getsockopt, 59), &[ENOMEM], Whatever, "psc"),
    row("no SO_PASSPIDFD", option(libc::SYS_setsockopt, 76), &[ENOPROTOOPT], Session, "psc"),
    row("SO_PASSPIDFD", option(libc::SYS_setsockopt, 76), &[EPERM], Whatever, "psc"),
    row("no SO_PASSRIGHTS", option(libc::SYS_setsockopt, 83), &[ENOPROTOOPT], Session, "psc"),
    row("SO_PASSRIGHTS", option(libc::SYS_setsockopt, 83), &[EPERM], Whatever, "psc"),
    // Packets.
    row("sendmsg", every(libc::SYS_sendmsg), &[ENOMEM, EPERM], Whatever, "pscx"),
    row("sendmsg, interrupted", every(libc::SYS_sendmsg), &[EINTR], Session, "psc"),
    row("recvmsg", every(libc::SYS_recvmsg), &[ENOMEM], Whatever, "pscx"),
    row("recvmsg, interrupted", every(libc::SYS_recvmsg), &[EINTR], Session, "psc"),
    row("ppoll", every(libc::SYS_ppoll), &[ENOMEM], Whatever, "psc"),
    row("ppoll, interrupted", every(libc::SYS_ppoll), &[EINTR], Session, "psc"),
    // Starting a child.
    row("pidfd_open", every(libc::SYS_pidfd_open), &[EMFILE, ENOSYS], Session, "x"),
    row("clone", every(libc::SYS_clone), &[EAGAIN, ENOMEM], Whatever, "x"),
    // Segments.
    row("memfd_create", every(libc::SYS_memfd_create), &[EMFILE, ENOMEM, EPERM], Whatever, "ps"),
    row("memfd_create, an older kernel", having(libc::SYS_memfd_create, 1, 8), &[EINVAL], Session, "ps"),
    row("ftruncate", every(libc::SYS_ftruncate), &[ENOSPC], Whatever, "ps"),
    row("fallocate", every(libc::SYS_fallocate), &[ENOSPC], Whatever, "ps"),
    row("F_ADD_SEALS", with(libc::SYS_fcntl, 1, 1033), &[EPERM], Whatever, "psc"),
    row("F_GET_SEALS", with(libc::SYS_fcntl, 1, 1034), &[EPERM], Whatever, "psc"),
    row("F_GETFL", with(libc::SYS_fcntl, 1, 3), &[EPERM], Whatever, "pc"),
    row("fstat", every(libc::SYS_fstat), &[ENOMEM], Whatever, "psc"),
    row("fstatfs", every(libc::SYS_fstatfs), &[ENOSYS], Whatever, "pc"),
    row("mmap of a segment", having(libc::SYS_mmap, 3, 1), &[ENOMEM], Whatever, "psc"),
    row("mremap", every(libc::SYS_mremap), &[ENOMEM], Whatever, "psc"),
    row("MADV_DONTFORK", option(libc::SYS_madvise, 10), &[EINVAL, ENOMEM], Whatever, "psc"),
    row("no MADV_WIPEONFORK", option(libc::SYS_madvise, 18), &[EINVAL, EPERM], Session, "psc"),
    row("no MADV_POPULATE_READ", option(libc::SYS_madvise, 22), &[EINVAL], Session, "psc"),
    row("no MADV_POPULATE_WRITE", option(libc::SYS_madvise, 23), &[EINVAL], Session, "psc"),
    row("MADV_POPULATE_WRITE", option(libc::SYS_madvise, 23), &[ENOMEM], Whatever, "psc"),
    // Threads and the watcher.
    row("mmap of a stack", Call { number: libc::SYS_mmap, only: Some((2, 7, 0)) }, &[ENOMEM], Whatever, "psc"),
    row("clone3", every(libc::SYS_clone3), &[EAGAIN], Whatever, "psc"),
    row("epoll_create1", every(libc::SYS_epoll_create1), &[EMFILE], Whatever, "psc"),
    row("EPOLL_CTL_ADD", with(libc::SYS_epoll_ctl, 1, 1), &[ENOSPC], Whatever, "psc"),
    row("epoll_pwait, interrupted", every(libc::SYS_epoll_pwait), &[EINTR], Session, "psc"),
    // Sleep and wake.
    row("membarrier", every(libc::SYS_membarrier), &[ENOSYS, EPERM], Session, "psc"),
    row("futex_waitv", every(WAITV), &[ENOSYS, EPERM], Session, "psc"),
    row("futex_waitv, interrupted", every(WAITV), &[EINTR], Session, "psc"),
];
