//! Tests that need a process to themselves, or a child of it.
#![allow(unsafe_code)]

use std::env;
use std::process::Command;

const VICTIM: &str = "MEMRING_TEST_VICTIM";

/// Runs `body` in a process of its own: this test binary again, told to run only `test` (its full path
/// in the crate). For what counts fds or maps, forks, or changes limits.
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    if env::var_os(VICTIM).is_some_and(|victim| victim == test) {
        body();
        return;
    }
    let output = Command::new(env::current_exe().expect("the path of this test binary"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(VICTIM, test)
        .output()
        .expect("the test binary starts again");
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines().filter(|line| line.starts_with("skipped: ")) {
        println!("{line}");
    }
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test} alone: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
}

/// How a child comes about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// `fork`, which runs the `pthread_atfork` handlers.
    Fork,
    /// The bare system call, which does not.
    RawClone,
}

/// Whether `body` returned true in a forked child.
pub(crate) fn in_child(way: Way, body: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs `body` and leaves by `_exit`; tests keep to what works there.
    let pid = unsafe {
        match way {
            Way::Fork => libc::fork(),
            Way::RawClone => {
                libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t
            }
        }
    };
    assert_ne!(pid, -1, "{way:?}");
    if pid == 0 {
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(if passed.unwrap_or(false) { 0 } else { 1 }) };
    }
    let mut status = 0;
    loop {
        // SAFETY: `pid` is our child and `status` a place to write.
        match unsafe { libc::waitpid(pid, &mut status, 0) } {
            -1 if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
            reaped => {
                assert_eq!(reaped, pid);
                break;
            }
        }
    }
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

/// Lines of `/proc/self/maps` that show a segment.
pub(crate) fn segment_maps() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
    maps.lines().filter(|line| line.contains("/memfd:memring")).count()
}

/// Open fds, the one that counts them included.
pub(crate) fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").count()
}

/// A system call that [`deny`] refuses: its number, and which argument must be how.
pub(crate) type Denied = (libc::c_long, Argument);

/// Which calls of that number are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument {
    Any,
    /// The argument at this index has this value.
    Is(u32, u32),
    /// The argument at this index has one of these bits.
    Has(u32, u32),
}

/// What becomes of a denied call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Denial {
    /// It fails with this errno.
    Errno(i32),
    /// The process is killed.
    Kill,
}

/// Denies system calls to this thread, and to what it starts and forks, from now on.
pub(crate) fn deny(calls: &[Denied], denial: Denial) {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const ARGUMENTS: u32 = 16; // after nr, arch and the instruction pointer; 8 bytes each
    let step =
        |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let end = match denial {
        Denial::Errno(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
        Denial::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    };
    let mut program = Vec::new();
    for &(number, argument) in calls {
        let (at, test, value) = match argument {
            Argument::Any => (0, libc::BPF_JEQ, number as u32), // the number, once more
            Argument::Is(index, value) => (ARGUMENTS + 8 * index, libc::BPF_JEQ, value),
            Argument::Has(index, bits) => (ARGUMENTS + 8 * index, libc::BPF_JSET, bits),
        };
        program.push(step(LOAD, 0, 0, 0));
        program.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number as u32, 0, 3));
        program.push(step(LOAD, at, 0, 0));
        program.push(step(libc::BPF_JMP | test | libc::BPF_K, value, 0, 1));
        program.push(step(libc::BPF_RET | libc::BPF_K, end, 0, 0));
    }
    program.push(step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program is valid and outlives the call, which copies it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter), 0);
    }
}
