//! Descriptors and files that a peer should not have sent.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;

use rustix::fs::MemfdFlags;

use super::*;

const LEN: u64 = 8192;

/// A memfd with the given length, allocation and seals.
fn memfd(len: u64, allocated: u64, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("test", flags).expect("memfd_create");
    rustix::fs::ftruncate(&fd, len).expect("ftruncate");
    if allocated > 0 {
        rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, allocated).expect("fallocate");
    }
    rustix::fs::fcntl_add_seals(&fd, seals).expect("F_ADD_SEALS");
    fd
}

fn receive(fd: OwnedFd, len: u64) -> Result<SealedMemory, Unfit> {
    SealedMemory::from_foreign(ForeignFd::new(fd), len).map_err(|error| match error {
        NotReceived::Unfit(why) => {
            assert!(!why.to_string().is_empty());
            why
        }
        other => panic!("{other}"),
    })
}

#[test]
fn attack_39_other_seals_than_due_are_refused() {
    use SealFlags as S;
    let check = |seals: S, good: bool| match receive(memfd(LEN, LEN, seals), LEN) {
        Ok(memory) => {
            assert!(good, "{seals:?} passed");
            assert_eq!(memory.bytes(), [0; LEN as usize]);
        }
        Err(why) => {
            assert!(!good, "{seals:?}: {why}");
            assert!(matches!(why, Unfit::Seals { .. }), "{why}");
        }
    };
    check(SEALS, true);
    check(S::empty(), false);
    for missing in [S::SEAL, S::SHRINK, S::GROW, S::WRITE] {
        check(SEALS - missing, false);
        check(missing, false);
    }
    // What a lane's segment bears: its writer writes on.
    check((SEALS - S::WRITE) | S::FUTURE_WRITE, false);
    check(SEALS | S::FUTURE_WRITE, false);
    check(S::FUTURE_WRITE, false);
    // Nobody can execute it either: that is how ours are made where the kernel can.
    let fd = memfd(LEN, LEN, S::empty());
    if rustix::fs::fchmod(&fd, Mode::RUSR).is_ok()
        && rustix::fs::fcntl_add_seals(&fd, S::EXEC).is_ok()
    {
        rustix::fs::fcntl_add_seals(&fd, SEALS).expect("F_ADD_SEALS");
        receive(fd, LEN).expect("a blob");
    } else {
        println!("skipped: no F_SEAL_EXEC here");
    }
}

#[test]
fn attack_40_and_42_wrong_sizes_and_holes_are_refused() {
    let check = |size: u64, allocated: u64, expected: Unfit| {
        assert_eq!(receive(memfd(size, allocated, SEALS), LEN).expect_err("refused"), expected);
    };
    for found in [0, 1, 4096, LEN - 1, LEN + 1, LEN + 4096, 2 * LEN, 1 << 60] {
        check(found, 0, Unfit::Size { found, stated: LEN });
    }
    check(LEN, 0, Unfit::Holes { allocated: 0, stated: LEN });
    check(LEN, 4096, Unfit::Holes { allocated: 4096, stated: LEN });
    // Sizes that are true, and that no machine has.
    for size in [1 << 45, 1 << 60, i64::MAX as u64] {
        let why = receive(memfd(size, 0, SEALS), size).expect_err("refused");
        assert_eq!(why, Unfit::Holes { allocated: 0, stated: size });
    }
    for stated in [u64::MAX, 1 << 63] {
        let why = receive(memfd(LEN, LEN, SEALS), stated).expect_err("refused");
        assert_eq!(why, Unfit::Size { found: LEN, stated });
    }
}

#[test]
fn attack_37_whatever_is_no_memfd_is_refused() {
    let file = |path: &str| -> io::Result<OwnedFd> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        std::fs::remove_file(path)?;
        file.set_len(LEN)?;
        Ok(file.into())
    };
    let raw = |fd: libc::c_long| -> io::Result<OwnedFd> {
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: made by the system call just now, and owned by nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    };
    let disk = std::env::temp_dir().join(format!("memring-blob-{}", std::process::id()));
    let shm = format!("/dev/shm/memring-blob-{}", std::process::id());
    let (pipe, _other_end) = io::pipe().expect("a pipe");
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    // SAFETY: system calls that make an fd and touch no memory.
    let (eventfd, secret) = unsafe {
        (
            raw(libc::eventfd(0, libc::EFD_CLOEXEC).into()),
            raw(libc::syscall(libc::SYS_memfd_secret, 0)),
        )
    };
    let memory = sized(&[0; LEN as usize]);
    let path = format!("/proc/self/fd/{}", memory.as_fd().as_raw_fd());
    let o_path = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let table: [(&str, io::Result<OwnedFd>); 9] = [
        ("disk file", file(disk.to_str().expect("a plain path"))),
        ("tmpfs file", file(&shm)),
        ("pipe", Ok(pipe.into())),
        ("socket", Ok(socket.into())),
        ("eventfd", eventfd),
        ("memfd_secret", secret),
        ("/dev/zero", File::options().read(true).write(true).open("/dev/zero").map(Into::into)),
        ("O_PATH", o_path.map_err(Into::into)),
        ("directory", File::open("/").map(Into::into)),
    ];
    for (name, fd) in table {
        let fd = match fd {
            Ok(fd) => fd,
            Err(why) => {
                println!("skipped: {name}: {why}");
                continue;
            }
        };
        let why = receive(fd, LEN).expect_err(name);
        match name {
            // Has seals, but only the one that forbids more. So has a disk, where it is tmpfs.
            "tmpfs file" | "disk file" if matches!(why, Unfit::Seals { found: 1 }) => {}
            _ => assert!(matches!(why, Unfit::NotSealable { .. }), "{name}: {why}"),
        }
    }
}

#[test]
fn attack_38_huge_pages_of_their_own_file_system_are_refused() {
    let len = 2 << 20;
    let flags = MemfdFlags::CLOEXEC
        | MemfdFlags::ALLOW_SEALING
        | MemfdFlags::HUGETLB
        | MemfdFlags::HUGE_2MB;
    let fd = match rustix::fs::memfd_create("huge", flags) {
        Ok(fd) => fd,
        Err(why) => return println!("skipped: no 2 MiB pages here: {why}"),
    };
    rustix::fs::ftruncate(&fd, len).expect("ftruncate");
    let here = rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, len).is_ok();
    rustix::fs::fcntl_add_seals(&fd, SEALS).expect("F_ADD_SEALS");
    let why = receive(fd, len).expect_err("refused");
    if here {
        assert_eq!(why, Unfit::NotTmpfs { found: 0x9584_58f6 });
    } else {
        println!("skipped: no huge page is free, so the file is refused for its holes only");
        assert!(matches!(why, Unfit::Holes { .. }), "{why}");
    }
}

#[test]
fn attack_36_what_is_no_memfd_is_asked_for_its_seals_only_and_closed_elsewhere() {
    use std::io::Read;
    let (closed, mut seen) = std::os::unix::net::UnixStream::pair().expect("a pair");
    receive(closed.into(), LEN).expect_err("refused");
    assert_eq!(seen.read(&mut [0]).expect("read"), 0); // blocks until the closer has closed it
}

#[test]
fn attack_45_the_offset_that_the_peer_shares_means_nothing() {
    let bytes = pattern(9000);
    let memory = sized(&bytes);
    let theirs = memory.as_fd().try_clone_to_owned().expect("dup");
    rustix::fs::seek(&theirs, rustix::fs::SeekFrom::Start(5000)).expect("lseek");
    assert!(received(&memory).expect("a blob").bytes() == bytes);
}
