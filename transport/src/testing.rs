//! What this crate's unit tests share: waiting for a condition, and being alone in a process.
//!
//! A test that counts descriptors, changes its umask, limits or uid, or forks would disturb the
//! tests beside it, so it runs again in a child of its own. It holds nothing that ships.

#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const CHILD: &str = "MEMRING_TEST_CHILD";

/// Waits until `condition` holds; fails the test, naming `what`, if it never does.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < give_up, "never happened: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether this is a process with only the calling test in it: call it first, and return if not.
///
/// `test` is the path of the calling test as libtest prints it. In the parent this runs the test
/// binary again with only that test and checks that it passed; it is `true` in that child.
#[track_caller]
#[must_use = "the rest of the test belongs to the child"]
pub(crate) fn alone(test: &str) -> bool {
    alone_with(test, &[])
}

/// [`alone`], with changes to the child's environment.
#[track_caller]
#[must_use = "the rest of the test belongs to the child"]
pub(crate) fn alone_with(test: &str, environment: &[(&str, &OsStr)]) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().expect("the test binary has a path"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .envs(environment.iter().copied())
        .env(CHILD, "1")
        .output()
        .expect("the test binary can be started again");
    let said = String::from_utf8_lossy(&output.stdout);
    if let Some(why) = said.lines().find_map(|line| line.split("skipped: ").nth(1)) {
        println!("skipped: {why}");
    }
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test} in a process of its own: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
    false
}

/// Descriptors of this process that are open, by number, without the one used to look.
pub(crate) fn open_fds() -> Vec<i32> {
    let listing = std::fs::read_dir("/proc/self/fd").expect("/proc is mounted for tests");
    let mut fds: Vec<i32> =
        listing.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    // The listing itself is closed by now.
    fds.retain(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
    fds.sort_unstable();
    fds
}

/// A pidfd of a process, or `None`, and a word about it, where the kernel makes none.
pub(crate) fn pidfd(process: rustix::process::Pid) -> Option<OwnedFd> {
    match rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()) {
        Ok(pidfd) => Some(pidfd),
        Err(error) => {
            println!("skipped: no pidfd_open: {error}");
            None
        }
    }
}

/// A directory of mode 0700 that is removed with everything in it.
pub(crate) struct Scratch(std::path::PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        use std::os::unix::fs::DirBuilderExt;
        use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("memring-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path).expect("a scratch directory");
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Makes the kernel answer `errno` to a system call from now on, on this thread and those it starts.
///
/// `third`: only if that is the call's third argument, an option's name say. As an older kernel or a
/// sandbox would; for tests that are [`alone`].
pub(crate) fn refuse(call: libc::c_long, third: Option<libc::c_int>, errno: libc::c_int) {
    let load = |offset| libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: offset };
    let equal = |k: u32, jf| libc::sock_filter { code: 0x15, jt: 0, jf, k };
    let answer = |k| libc::sock_filter { code: 0x06, jt: 0, jf: 0, k };
    let call = u32::try_from(call).expect("a system call number");
    let mut program = match third {
        // `struct seccomp_data`: the number at 0, the arguments from 16 on, 8 bytes each.
        Some(third) => vec![load(0), equal(call, 3), load(32), equal(third.cast_unsigned(), 1)],
        None => vec![load(0), equal(call, 1)],
    };
    program.push(answer(libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()));
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let length = libc::c_ushort::try_from(program.len()).expect("six instructions");
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: `program` describes live instructions, which the kernel checks and copies.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    };
    assert!(done, "seccomp: {}", std::io::Error::last_os_error());
}

/// A child made by `fork` without an exec.
pub(crate) struct Forked(libc::pid_t);

impl Forked {
    /// Runs `body` in a forked child, which ends after it, with success unless `body` panics.
    ///
    /// `body` works on the child's copy of everything, so what it takes is still there in the parent.
    pub(crate) fn start(body: impl FnOnce()) -> Self {
        // SAFETY: the child runs `body` on its copy of this thread's stack and ends by `_exit`. Tests
        // fork only when they are alone in their process, so no other thread holds a lock.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
                // SAFETY: ends the process, without the parent's destructors and output buffers.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
            child => Self(child),
        }
    }

    /// Waits for its end; whether it succeeded.
    pub(crate) fn wait(self) -> bool {
        let mut status = 0;
        // SAFETY: `status` is a live int.
        let reaped = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        reaped == self.0 && status == 0
    }
}
