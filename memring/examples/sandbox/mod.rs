//! What a process locks itself in with that runs somebody else's code, or reads somebody else's files: limits, and a filter of
//! system calls.

#![allow(unsafe_code)] // Three system calls that no crate here wraps.

use std::io;

/// The system calls that are left: what memring makes once a session stands, and memory, and the end.
const ALLOWED: &[libc::c_long] = &[
    // Sleeping, and waking the peer.
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_clock_gettime, // where the vDSO has no clock
    // The control socket: the watcher's wait, the drainer's read, the end.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_getpid, // where the kernel wipes no page in a forked child
    // Calls: types are compared when an interface is opened, over a hash map, for which std wants a seed.
    libc::SYS_getrandom,
    // Memory, for large messages too.
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // What a program of Rust does on its way out. (`abort` wants to signal, and ends by SIGSYS instead.)
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// From here on this process computes, and talks on the sockets it has; whatever else it tries kills it.
///
/// Call `Session::before_sandbox` before, on each session there is.
///
/// # Errors
///
/// What the kernel says. Half of it may hold then: end the process.
pub fn lock_in() -> io::Result<()> {
    for (resource, most) in [
        (libc::RLIMIT_AS, 1 << 30),
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_FSIZE, 0),
        (libc::RLIMIT_NOFILE, 0), // no more than there are
    ] {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: `limit` is live and whole.
        check(i64::from(unsafe { libc::setrlimit(resource, &raw const limit) }))?;
    }
    let step =
        |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
    let equal = |value, jt, jf| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, jt, jf);
    let verdict = |what| step(libc::BPF_RET | libc::BPF_K, what, 0, 0);
    // The architecture is at 4 of what a filter sees, the number of the call at 0.
    let mut program = vec![load(4), equal(ARCHITECTURE, 1, 0)];
    program.extend([verdict(libc::SECCOMP_RET_KILL_PROCESS), load(0)]);
    for call in ALLOWED {
        program.extend([equal(*call as u32, 0, 1), verdict(libc::SECCOMP_RET_ALLOW)]);
    }
    program.push(verdict(libc::SECCOMP_RET_KILL_PROCESS));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let (strict, all) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_TSYNC);
    // SAFETY: the filter describes live instructions, which the kernel checks and copies. All threads get
    // it, those of memring too.
    unsafe {
        check(i64::from(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))?;
        check(libc::syscall(libc::SYS_seccomp, strict, all, &raw const filter))
    }
}

fn check(result: i64) -> io::Result<()> {
    match result {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        thread => Err(io::Error::other(format!("thread {thread} could not be confined"))),
    }
}
