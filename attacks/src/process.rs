//! What a process can do to itself: other credentials, a child that keeps everything open, another
//! program.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::AsRawFd;

use crate::answer::Failure;
use crate::sys::{check, fcntl};

/// Dies with the thread that started this process.
pub fn die_with_parent() {
    // SAFETY: numbers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
}

/// Becomes another user and group, without a way back. What is open stays open.
pub fn become_user(id: u64) -> Result<(), Failure> {
    let id = libc::uid_t::try_from(id).map_err(Failure::usage)?;
    // SAFETY: numbers only; no group is read.
    check(unsafe { libc::setgroups(0, std::ptr::null()) }.into())?;
    // SAFETY: numbers only.
    check(unsafe { libc::setresgid(id, id, id) }.into())?;
    // SAFETY: numbers only.
    check(unsafe { libc::setresuid(id, id, id) }.into())?;
    // The change cleared both. Without the first /proc/self/fd would belong to root.
    // SAFETY: numbers only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    die_with_parent();
    Ok(())
}

/// Forks a child that sleeps with everything open but the three standard streams, and outlives us:
/// for a minute at most. Says its process id.
pub fn fork_hold() -> Result<i64, Failure> {
    // SAFETY: the child makes only calls that are allowed after a fork, and allocates nothing.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above. Whoever reads our streams must not wait for the child.
        unsafe {
            for stream in 0..3 {
                libc::close(stream);
            }
            libc::alarm(60);
            loop {
                libc::pause();
            }
        }
    }
    check(child.into())
}

/// Lets a descriptor live through `exec`.
pub fn keep_through_exec(fd: &impl AsRawFd) -> Result<(), Failure> {
    fcntl(fd, libc::F_SETFD, 0).map(|_| ())
}

/// Becomes another program. Returns only if that failed.
pub fn exec(words: &[String]) -> Failure {
    let Ok(words) =
        words.iter().map(|word| CString::new(word.as_str())).collect::<Result<Vec<_>, _>>()
    else {
        return Failure::usage("a zero byte");
    };
    let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: the words live through the call, and the list of them ends with null.
    unsafe { libc::execv(pointers[0], pointers.as_ptr()) };
    Failure::last()
}

/// Whether a program is there to be run.
pub fn is_program(path: &str) -> Result<(), Failure> {
    let path = CString::new(path).map_err(Failure::usage)?;
    // SAFETY: the path lives through the call.
    check(unsafe { libc::access(path.as_ptr(), libc::X_OK) }.into()).map(|_| ())
}

/// Where a process has mapped a file for writing, for the first time.
pub fn mapped_at(pid: u64, file: &impl AsRawFd) -> Result<u64, Failure> {
    let kept = std::fs::metadata(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let inode = std::os::unix::fs::MetadataExt::ino(&kept).to_string();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    // "start-end permissions offset device inode path"
    let place = maps.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [range, "rw-s", _, _, number, ..] = words[..] else { return None };
        (number == inode).then(|| u64::from_str_radix(range.split('-').next()?, 16).ok())?
    });
    place.ok_or_else(|| Failure::usage("it has not mapped that"))
}

/// The number of a signal, with or without `SIG`.
pub fn signal(name: &str) -> Result<libc::c_int, Failure> {
    Ok(match name.strip_prefix("SIG").unwrap_or(name) {
        "KILL" => libc::SIGKILL,
        "STOP" => libc::SIGSTOP,
        "ABRT" => libc::SIGABRT,
        "SEGV" => libc::SIGSEGV,
        "TERM" => libc::SIGTERM,
        "HUP" => libc::SIGHUP,
        "INT" => libc::SIGINT,
        number => number.parse().map_err(|_| Failure::usage("no such signal"))?,
    })
}

/// Sends ourselves a signal.
pub fn raise(signal: libc::c_int) {
    // SAFETY: numbers only.
    unsafe { libc::raise(signal) };
}

/// Sets how many descriptors this process may have.
pub fn limit_files(most: u64) -> Result<(), Failure> {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: the limit lives through the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }.into()).map(|_| ())
}

/// Ends the process at once: nothing is closed in order.
pub fn exit(code: i32) {
    // SAFETY: numbers only; nothing runs after it.
    unsafe { libc::_exit(code) };
}
