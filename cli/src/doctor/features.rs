//! Kernel features that memring uses, each tried.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use memring::{Bytes, Connector, Listener, system};
use memring_benches::scratch::Scratch;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, inotify};
use rustix::mm::Advice;
use rustix::process::PidfdFlags;

use super::Check;
use super::probe::{self, SocketOption};
use crate::failure::Failure;
use crate::output;

pub(super) fn checks() -> Vec<Check> {
    vec![
        session(),
        seals(),
        noexec(),
        proc(),
        inotify_works(),
        membarrier(),
        waitv(),
        option(
            "SO_PASSPIDFD",
            SocketOption::PassPidfd,
            "6.5",
            "a peer's death is seen when the last holder of its socket is gone, not at once",
        ),
        option(
            "SO_PEERPIDFD",
            SocketOption::PeerPidfd,
            "6.5",
            "a peer is known by its number only, which may be used again: no check of its program",
        ),
        option(
            "SO_PASSRIGHTS",
            SocketOption::PassRights,
            "6.16",
            "descriptors that nobody asked for arrive, and a thread has to close them",
        ),
        tried(
            "pidfd_open",
            "the death of a spawned child is seen when its socket hangs up",
            "Linux 5.3",
            rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
                .map(drop)
                .map_err(Into::into),
        ),
        tried(
            "MADV_WIPEONFORK",
            "a forked child is noticed by asking for its process number, which is slower",
            "Linux 4.14",
            probe::advice(Advice::LinuxWipeOnFork),
        ),
        tried(
            "MADV_POPULATE",
            "opening a session touches its pages one by one",
            "Linux 5.14",
            probe::advice(Advice::LinuxPopulateWrite),
        ),
        clock(),
    ]
}

/// `Ok` or what is lost.
fn tried(name: &'static str, lost: &'static str, since: &str, outcome: io::Result<()>) -> Check {
    match outcome {
        Ok(()) => Check::ok(name, "works"),
        Err(error) => Check::lost(name, format!("{}, since {since}", short(&error)), lost),
    }
}

fn short(error: &io::Error) -> String {
    Failure::io("refused", error).line().unwrap_or_default().to_owned()
}

fn option(name: &'static str, option: SocketOption, since: &str, lost: &'static str) -> Check {
    tried(name, lost, &format!("Linux {since}"), probe::socket_option(option))
}

/// The whole thing, once: a listener, a client, a message there and back.
fn session() -> Check {
    const NAME: &str = "a session";
    const LOST: &str = "nothing works until this does";
    let outcome = (|| -> Result<(), Failure> {
        let directory =
            Scratch::new().map_err(|error| Failure::io("making a directory", &error))?;
        let path = directory.path().join("doctor.sock");
        let listener = Listener::bind(&path)?;
        let deadline = Instant::now() + Duration::from_secs(5);
        std::thread::scope(|scope| {
            let client = scope.spawn(|| -> Result<(), Failure> {
                let mut channel = Connector::new().connect::<Bytes>(&path)?;
                channel.send_deadline(b"there", deadline)?;
                channel.recv_deadline(deadline)?;
                Ok(())
            });
            let served = (|| -> Result<(), Failure> {
                let mut channel = listener.accept_deadline(deadline)?.open::<Bytes>()?;
                channel.recv_deadline(deadline)?;
                channel.send_deadline(b"back", deadline)?;
                // Whoever ends first must not cut what the other is still to receive.
                let _ = channel.recv_deadline(deadline);
                Ok(())
            })();
            // What the client says is closer to the cause: it waits for less.
            client.join().unwrap_or(Ok(())).and(served)
        })
    })();
    match outcome {
        Ok(()) => Check::ok(NAME, "a message went there and back"),
        Err(failure) => Check::fatal(NAME, failure.line().unwrap_or_default(), LOST),
    }
}

fn memfd(flags: MemfdFlags) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("memring-doctor", MemfdFlags::CLOEXEC | flags)?;
    rustix::fs::ftruncate(&fd, 4096)?;
    Ok(fd)
}

fn seals() -> Check {
    const NAME: &str = "memfd seals";
    const LOST: &str = "memory cannot be shared so that a peer cannot take it away or write it";
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    let sealed = memfd(MemfdFlags::ALLOW_SEALING).and_then(|fd| {
        rustix::fs::fcntl_add_seals(&fd, seals)?;
        Ok(rustix::fs::fcntl_get_seals(&fd)?.contains(seals))
    });
    match sealed {
        Ok(true) => Check::ok(NAME, "SHRINK, GROW, FUTURE_WRITE, SEAL"),
        Ok(false) => Check::fatal(NAME, "added, and not there afterwards", LOST),
        Err(error) => Check::fatal(NAME, format!("{}, since Linux 5.1", short(&error)), LOST),
    }
}

fn noexec() -> Check {
    tried(
        "MFD_NOEXEC_SEAL",
        "segments could be executed as files; nothing of memring's rests on that they cannot",
        "Linux 6.3",
        memfd(MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL).map(drop),
    )
}

fn proc() -> Check {
    const NAME: &str = "/proc/self/fd";
    const LOST: &str = "segments are protected by their seals alone, and no longer by a descriptor that cannot write";
    let reopened = memfd(MemfdFlags::ALLOW_SEALING).and_then(|fd| {
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(path.as_str(), flags, Mode::empty())?)
    });
    match reopened {
        Ok(_) => Check::ok(NAME, "memfds reopen read-only"),
        Err(error) => Check::lost(NAME, short(&error), LOST),
    }
}

fn inotify_works() -> Check {
    const NAME: &str = "inotify on memfds";
    const LOST: &str =
        "what a peer keeps of its segments is given back to its quota after a minute";
    let watched = memfd(MemfdFlags::ALLOW_SEALING).and_then(|fd| {
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        Ok(inotify::add_watch(&inotify, path, inotify::WatchFlags::DELETE_SELF)?)
    });
    match watched {
        Ok(_) => Check::ok(NAME, "works"),
        Err(error) => Check::lost(NAME, short(&error), LOST),
    }
}

fn membarrier() -> Check {
    const NAME: &str = "membarrier";
    const LOST: &str = "every send carries a full fence: two to four times less throughput";
    let bits = system::fence_bits();
    match (bits.registered, bits.can_call) {
        (true, true) => {
            Check::ok(NAME, format!("works, {} a call", output::duration(system::heavy_cost())))
        }
        (false, true) => {
            Check::lost(NAME, "works, and is not used: nohz_full names a processor", LOST)
        }
        _ => Check::lost(NAME, "refused, since Linux 4.16", LOST),
    }
}

fn waitv() -> Check {
    const NAME: &str = "futex_waitv";
    const LOST: &str = "sleepers look every 50 ms, so an idle process makes system calls";
    match system::waitv_works() {
        true => Check::ok(NAME, "works"),
        false => Check::lost(NAME, "refused, since Linux 5.16", LOST),
    }
}

/// Whether reading the clock is a system call.
fn clock() -> Check {
    const NAME: &str = "clock";
    const LOST: &str = "reading it is a system call, as waits with a deadline and adaptive ones do";
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    match std::fs::read_to_string(path) {
        Ok(name) => match name.trim() {
            name @ ("tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page" | "arch_sys_counter") => {
                Check::ok(NAME, format!("{name}, read without a system call"))
            }
            name => Check::lost(NAME, name, LOST),
        },
        Err(error) => Check::ok(NAME, format!("not known: {}", short(&error))),
    }
}
