//! Fds and files that a peer should not have sent, and changes it should not have made.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;

use super::*;
use crate::fork::testing::{Argument, Denial, Way, deny, in_child};

fn refusal(fd: OwnedFd, expect: Expect<'_>) -> SegmentFault {
    Candidate::new(fd).check(expect).expect_err("must be refused").why
}

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

/// Seals of a plain memfd on this kernel, where `vm.memfd_noexec` may add EXEC on its own.
pub(super) fn plain_mask() -> SealMask {
    let found = rustix::fs::fcntl_get_seals(memfd(0, 0, SealFlags::empty())).expect("a memfd");
    SealMask { exec: found.contains(SealFlags::EXEC) }
}

#[test]
fn attack_39_other_seals_than_due_are_refused() {
    use SealFlags as S;
    let len = geometry().file_len();
    let mask = plain_mask();
    let first = S::SHRINK | S::GROW;
    let last = first | S::FUTURE_WRITE | S::SEAL;
    let check = |seals: SealFlags, stage: Stage, good: bool| {
        let checked = Candidate::new(memfd(len, len, seals)).check(expect(stage, mask));
        match checked {
            Ok(_) => assert!(good, "{stage:?} with {seals:?} passed"),
            Err(refused) => {
                assert!(!good, "{stage:?} with {seals:?}: {refused}");
                assert!(matches!(refused.why, SegmentFault::Seals { .. }), "{refused}");
            }
        }
    };
    check(last, Stage::Sealed, true);
    check(S::empty(), Stage::Sealed, false);
    check(S::GROW, Stage::Sealed, false);
    check(first, Stage::Sealed, false);
    check(last - S::SHRINK, Stage::Sealed, false);
    check(last - S::GROW, Stage::Sealed, false);
    check(last - S::FUTURE_WRITE, Stage::Sealed, false);
    check(last - S::SEAL, Stage::Sealed, false);
    check(last | S::WRITE, Stage::Sealed, false);
    check((last - S::FUTURE_WRITE) | S::WRITE, Stage::Sealed, false);

    check(first, Stage::Open, true);
    check(S::empty(), Stage::Open, false);
    check(S::GROW, Stage::Open, false);
    check(S::SHRINK, Stage::Open, false);
    check(first | S::SEAL, Stage::Open, false);
    check(first | S::WRITE, Stage::Open, false);
    check(first | S::FUTURE_WRITE, Stage::Open, false);
    check(last, Stage::Open, false);
    // The right seals, but for EXEC.
    let other = SealMask { exec: !mask.exec };
    let why = refusal(memfd(len, len, last), expect(Stage::Sealed, other));
    assert!(matches!(why, SegmentFault::Seals { .. }), "{why}");
}

#[test]
fn attack_40_and_42_wrong_sizes_and_holes_are_refused() {
    let len = geometry().file_len();
    let mask = plain_mask();
    let last = SealMask::LAST;
    let check = |size: u64, allocated: u64, expected: SegmentFault| {
        assert_eq!(refusal(memfd(size, allocated, last), expect(Stage::Sealed, mask)), expected);
    };
    for found in [0, 1, 4096, len - 4096, len - 1, len + 1, len + 4096, 2 * len, 1 << 60] {
        check(found, 0, SegmentFault::Size { found, expected: len });
    }
    check(len, 0, SegmentFault::Holes { allocated: 0, expected: len });
    let allocated = len - 4096;
    check(len, allocated, SegmentFault::Holes { allocated, expected: len });
}

#[test]
fn attack_44_the_same_file_twice_is_refused() {
    let (ours, theirs) = (segment(), segment());
    let mask = ours.seal_mask();
    let others = [ours.identity(), theirs.identity()];
    let (_, sealed, _) = ours.into_writer().expect("mapped");
    let open = theirs.offer_writer().expect("a writable fd");
    for (fd, stage) in [(sealed, Stage::Sealed), (open, Stage::Open)] {
        let expect = Expect { others: &others, ..expect(stage, mask) };
        assert_eq!(refusal(fd, expect), SegmentFault::Duplicate);
    }
}

#[test]
fn attack_37_whatever_is_no_memfd_is_refused() {
    let len = geometry().file_len();
    let mask = mask();
    let file = |path: &str| -> io::Result<OwnedFd> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        std::fs::remove_file(path)?;
        file.set_len(len)?;
        Ok(file.into())
    };
    let raw = |fd: libc::c_long| -> io::Result<OwnedFd> {
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: made by the system call just now, and owned by nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
    };
    let disk = std::env::temp_dir().join(format!("memring-{}", std::process::id()));
    let shm = format!("/dev/shm/memring-{}", std::process::id());
    let (pipe, _other_end) = io::pipe().expect("a pipe");
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    // SAFETY: system calls that make an fd and touch no memory.
    let (eventfd, epoll, pidfd, userfaultfd, secret) = unsafe {
        (
            raw(libc::eventfd(0, libc::EFD_CLOEXEC).into()),
            raw(libc::epoll_create1(libc::EPOLL_CLOEXEC).into()),
            raw(libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0)),
            raw(libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC)),
            raw(libc::syscall(libc::SYS_memfd_secret, 0)),
        )
    };
    let memfd = segment();
    let path = format!("/proc/self/fd/{}", memfd.memfd.as_raw_fd());
    let o_path = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let table: [(&str, io::Result<OwnedFd>); 13] = [
        ("disk file", file(disk.to_str().expect("a plain path"))),
        ("tmpfs file", file(&shm)),
        ("pipe", Ok(pipe.into())),
        ("socket", Ok(socket.into())),
        ("eventfd", eventfd),
        ("epoll", epoll),
        ("pidfd", pidfd),
        ("userfaultfd", userfaultfd),
        ("memfd_secret", secret),
        ("/dev/zero", File::options().read(true).write(true).open("/dev/zero").map(Into::into)),
        ("O_PATH", o_path.map_err(Into::into)),
        ("directory", File::open("/").map(Into::into)),
        ("tty-like", File::open("/dev/null").map(Into::into)),
    ];
    for (name, fd) in table {
        let fd = match fd {
            Ok(fd) => fd,
            Err(why) => {
                println!("skipped: {name}: {why}");
                continue;
            }
        };
        for stage in [Stage::Sealed, Stage::Open] {
            let why = refusal(fd.try_clone().expect("dup"), expect(stage, mask));
            match name {
                // Has seals, but only the one that forbids more.
                "tmpfs file" => {
                    assert!(matches!(why, SegmentFault::Seals { found: 1, .. }), "{name}: {why}");
                }
                _ => assert!(matches!(why, SegmentFault::NotSealable { .. }), "{name}: {why}"),
            }
        }
    }
}

#[test]
fn attack_38_huge_pages_are_refused() {
    let geometry = Geometry::new(1 << 20, 1 << 20).expect("valid sizes");
    let flags = MemfdFlags::CLOEXEC
        | MemfdFlags::ALLOW_SEALING
        | MemfdFlags::HUGETLB
        | MemfdFlags::HUGE_2MB;
    let fd = match rustix::fs::memfd_create("huge", flags) {
        Ok(fd) => fd,
        Err(why) => return println!("skipped: no 2 MiB pages here: {why}"),
    };
    rustix::fs::ftruncate(&fd, geometry.file_len()).expect("ftruncate");
    let here = rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, geometry.file_len()).is_ok();
    let found = rustix::fs::fcntl_get_seals(&fd).expect("a memfd");
    rustix::fs::fcntl_add_seals(&fd, SealMask::LAST).expect("F_ADD_SEALS");
    let mask = SealMask { exec: found.contains(SealFlags::EXEC) };
    let why = refusal(fd, Expect { geometry, ..expect(Stage::Sealed, mask) });
    if here {
        assert_eq!(why, SegmentFault::NotTmpfs { found: 0x9584_58f6 });
    } else {
        println!("skipped: no huge page is free, so the file is refused for its holes only");
        assert!(matches!(why, SegmentFault::Holes { .. }), "{why}");
    }
}

#[test]
fn the_segment_we_are_to_write_must_be_writable() {
    let segment = segment();
    let read_only = segment.reopen(OFlags::RDONLY).expect("reopened").expect("/proc");
    assert_eq!(
        refusal(read_only, expect(Stage::Open, segment.seal_mask())),
        SegmentFault::NotWritable
    );
}

#[test]
fn a_rejected_fd_comes_back_open() {
    let fd = segment().offer_writer().expect("a writable fd");
    let number = fd.as_raw_fd();
    let rejected = Candidate::new(fd).check(expect(Stage::Sealed, mask())).expect_err("not sealed");
    assert_eq!(rejected.fd.as_raw_fd(), number);
    assert!(rustix::io::fcntl_getfd(&rejected.fd).is_ok());
    assert_eq!(Candidate::new(rejected.fd).reject().as_raw_fd(), number);
}

/// What the creator of C does behind the back of the side that maps it, between check and map.
#[test]
fn attack_47_a_file_changed_after_its_check_is_refused() {
    use SealFlags as S;
    let punch = |segment: &Segment| {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(segment.memfd.as_file(), mode, 4096, 4096).expect("punched");
    };
    let add = |segment: &Segment, seals| {
        rustix::fs::fcntl_add_seals(segment.memfd.as_file(), seals).expect("F_ADD_SEALS");
    };
    let check = |meddle: &dyn Fn(&Segment), refused: fn(&SegmentFault) -> bool| {
        let segment = segment();
        let offered = segment.offer_writer().expect("a writable fd");
        let checked = Candidate::new(offered)
            .check(expect(Stage::Open, segment.seal_mask()))
            .expect("fine so far");
        meddle(&segment);
        match checked.map_writer_and_seal() {
            Err(SegmentError::Refused(why)) => assert!(refused(&why), "{why}"),
            other => panic!("not refused: {other:?}"),
        }
    };
    let seals: fn(&SegmentFault) -> bool = |why| matches!(why, SegmentFault::Seals { .. });
    check(&|segment| add(segment, S::WRITE), seals);
    check(&|segment| add(segment, S::FUTURE_WRITE), seals);
    check(&|segment| add(segment, S::SEAL), seals);
    check(&|segment| add(segment, S::WRITE | S::SEAL), seals);
    check(&punch, |why| matches!(why, SegmentFault::Holes { .. }));
}

/// What the writer of C may have done instead of sealing it.
#[test]
fn a_segment_not_sealed_by_its_writer_is_not_read() {
    use SealFlags as S;
    let last = SealMask::LAST;
    let check = |seals: SealFlags, punched: bool, refused: fn(&SegmentFault) -> bool| {
        let segment = segment();
        let peer = segment.offer_writer().expect("a writable fd");
        if punched {
            let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&peer, mode, 0, 4096).expect("punched");
        }
        rustix::fs::fcntl_add_seals(&peer, seals).expect("F_ADD_SEALS");
        match segment.into_reader() {
            Err(SegmentError::Refused(why)) => assert!(refused(&why), "{why}"),
            other => panic!("not refused: {other:?}"),
        }
    };
    let wrong: fn(&SegmentFault) -> bool = |why| matches!(why, SegmentFault::Seals { .. });
    check(S::empty(), false, wrong);
    check(S::FUTURE_WRITE, false, wrong);
    check(S::SEAL, false, wrong);
    check(S::WRITE, false, wrong);
    check(S::WRITE | S::SEAL, false, wrong);
    check(last | S::WRITE, false, wrong);
    check(last, true, |why| matches!(why, SegmentFault::Holes { .. }));
}

#[test]
fn attack_36_a_stranger_is_asked_for_its_seals_and_for_nothing_else() {
    alone(
        "segment::tests::hostile::attack_36_a_stranger_is_asked_for_its_seals_and_for_nothing_else",
        || {
            let mask = mask();
            let (pipe, _other_end) = io::pipe().expect("a pipe");
            let pipe = OwnedFd::from(pipe);
            // Each of these can hang on a file of the peer's making; here each is deadly.
            let calls = [
                libc::SYS_fstat,
                libc::SYS_newfstatat,
                libc::SYS_statx,
                libc::SYS_fstatfs,
                libc::SYS_lseek,
                libc::SYS_read,
                libc::SYS_mmap,
                libc::SYS_close,
                libc::SYS_dup,
                libc::SYS_ioctl,
            ]
            .map(|number| (number, Argument::Any));
            assert!(in_child(Way::Fork, move || {
                deny(&calls, Denial::Kill);
                let rejected = Candidate::new(pipe).check(expect(Stage::Sealed, mask));
                let refused = matches!(
                    rejected,
                    Err(Rejected { why: SegmentFault::NotSealable { errno: libc::EINVAL }, .. })
                );
                std::mem::forget(rejected); // closing is the closer's business
                refused
            }));
            // And the trap works.
            assert!(!in_child(Way::Fork, || {
                deny(&calls, Denial::Kill);
                _ = rustix::fs::fstat(io::stdout());
                true
            }));
        },
    );
}
