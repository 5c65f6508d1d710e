//! A process in user, pid and mount namespaces of its own, as a container runtime starts one.
//!
//! Its root is mapped to the uid that the command runs as, and to no other. It is process 1 of its pid
//! namespace, or the child of that one; it sees a `/proc` of its own and one directory of the host's,
//! bind-mounted. All mounts are private, so they go when it goes. It has no rootfs of its own.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr;

/// What a container has to itself beside users, processes and mounts, and who is process 1 in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kind {
    /// A network of its own, and so abstract names of its own.
    pub network: bool,
    /// Somebody else is process 1, and waits for the process that matters.
    pub init: bool,
}

/// Has `command`, which will run as `uid` and `gid`, start in a container where `shared` is at `inside`.
pub fn contain(
    command: &mut Command,
    (uid, gid): (u32, u32),
    kind: Kind,
    shared: &Path,
    inside: &Path,
) {
    let text = |text: &str| CString::new(text).expect("no zero in it");
    let path = |path: &Path| text(path.to_str().expect("a path in UTF-8"));
    let (shared, inside) = (path(shared), path(inside));
    let maps = [
        (text("/proc/self/setgroups"), text("deny")),
        (text("/proc/self/uid_map"), text(&format!("0 {uid} 1"))),
        (text("/proc/self/gid_map"), text(&format!("0 {gid} 1"))),
    ];
    // SAFETY: the closure runs between fork and exec. It makes system calls on memory that was allocated
    // before, takes no lock and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            // After a change of uid the process's own files in /proc belong to root until this.
            check(libc::prctl(libc::PR_SET_DUMPABLE, 1))?;
            let network = if kind.network { libc::CLONE_NEWNET } else { 0 };
            let namespaces = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
            check(libc::unshare(namespaces | network))?;
            for (file, line) in &maps {
                let fd = check(libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC))?;
                let wrote = libc::write(fd, line.as_ptr().cast(), line.count_bytes());
                check(i32::try_from(wrote).unwrap_or(-1))?;
                libc::close(fd);
            }
            let private = libc::MS_REC | libc::MS_PRIVATE;
            mount(c"none", c"/", None, private)?;
            mount(&shared, &inside, None, libc::MS_BIND)?;
            // Namespaces of processes begin with the next child.
            go_on_as_a_child()?;
            mount(c"proc", c"/proc", Some(c"proc"), 0)?;
            if kind.init {
                go_on_as_a_child()?;
            }
            Ok(())
        });
    }
}

/// Forks. The child returns, and dies with its parent; the parent stays for as long as the child does.
fn go_on_as_a_child() -> io::Result<()> {
    // SAFETY: this runs between fork and exec: one thread, system calls only, nothing allocated.
    unsafe {
        let child = check(libc::fork())?;
        if child == 0 {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            return Ok(());
        }
        // Among them the pipe on which `Command` waits for the exec.
        libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
        let mut status = 0;
        while libc::waitpid(child, &raw mut status, 0) != child {}
        libc::_exit(if status == 0 { 0 } else { 1 })
    }
}

fn mount(source: &CStr, target: &CStr, kind: Option<&CStr>, flags: u64) -> io::Result<()> {
    let kind = kind.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: the strings end in zero and are live; no type and no options are asked for by null.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, ptr::null()) })?;
    Ok(())
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
