//! Segments made, handed over, and known to be gone.

mod hostile;
mod limits;

use std::sync::atomic::Ordering;

use rustix::fs::MemfdFlags;

use super::*;
use crate::fork::testing::alone;

const CONTROL: u32 = 1 << 16;
const CAPACITY: u64 = 1 << 16;

fn geometry() -> Geometry {
    Geometry::new(CONTROL, CAPACITY).expect("valid sizes")
}

fn segment() -> Segment {
    Segment::create(geometry()).expect("a segment")
}

fn expect(stage: Stage, mask: SealMask) -> Expect<'static> {
    Expect { stage, geometry: geometry(), mask, others: &[] }
}

/// The mask of segments made on this kernel.
fn mask() -> SealMask {
    segment().seal_mask()
}

#[test]
fn both_segments_of_a_channel_come_about_and_carry_bytes() {
    // S: the creator writes.
    let s = segment();
    let (mask, identity) = (s.seal_mask(), s.identity());
    let (writer, send, same) = s.into_writer().expect("mapped and sealed");
    assert_eq!(same, identity);
    let checked = Candidate::new(send).check(expect(Stage::Sealed, mask)).expect("as granted");
    assert_eq!(checked.identity(), identity);
    let reader = checked.map_reader().expect("mapped");
    writer.control().store64(0, 16, Ordering::Release);
    assert_eq!(reader.control().load64(0, Ordering::Acquire), 16);
    assert!(!reader.is_writable());

    // C: the other side writes.
    let c = segment();
    assert_ne!(c.identity(), identity);
    let offered = c.offer_writer().expect("a writable fd");
    let others = [identity];
    let checked = Candidate::new(offered)
        .check(Expect { others: &others, ..expect(Stage::Open, c.seal_mask()) })
        .expect("as granted");
    let writer = checked.map_writer_and_seal().expect("mapped and sealed");
    let reader = c.into_reader().expect("sealed by its writer");
    writer.data().copy_in(CAPACITY as usize - 2, b"seam");
    let mut seen = [0; 4];
    reader.data().copy_out(CAPACITY as usize - 2, &mut seen);
    assert_eq!(&seen, b"seam");
}

#[test]
fn masks_are_the_two_there_are_and_no_other() {
    use SealFlags as S;
    let full = S::SHRINK | S::GROW | S::FUTURE_WRITE | S::SEAL;
    for good in [full, full | S::EXEC] {
        assert_eq!(SealMask::from_bits(good.bits()).map(SealMask::bits), Some(good.bits()));
    }
    for bad in [
        S::empty(),
        S::SHRINK | S::GROW,
        full - S::SEAL,
        full - S::GROW,
        full - S::SHRINK,
        full - S::FUTURE_WRITE,
        full | S::WRITE,
        full | S::from_bits_retain(1 << 6),
        S::all(),
    ] {
        assert_eq!(SealMask::from_bits(bad.bits()), None, "{bad:?}");
    }
}

#[test]
fn attack_46_other_uids_cannot_open_a_segment_and_nobody_executes_it() {
    let segment = segment();
    let stat = rustix::fs::fstat(segment.memfd.as_file()).expect("fstat");
    assert_eq!(stat.st_mode & 0o7777, 0o600);
    // Where the kernel knows the flag, EXEC was sealed at creation.
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL;
    let knows = rustix::fs::memfd_create("probe", flags).is_ok();
    assert_eq!(segment.seal_mask().exec, knows);
}

#[test]
fn attack_35_no_fd_of_a_segment_survives_exec() {
    let segment = segment();
    let fds = [
        segment.offer_writer().expect("a writable fd"),
        segment.reopen(OFlags::RDONLY).expect("reopened").expect("/proc"),
        segment.memfd.as_file().as_fd().try_clone_to_owned().expect("dup"),
        segment.into_writer().expect("mapped").1,
    ];
    for fd in fds {
        let flags = rustix::io::fcntl_getfd(&fd).expect("F_GETFD");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
}

#[test]
fn the_readers_fd_is_read_only_and_the_seals_hold_for_every_fd() {
    let segment = segment();
    let writable = segment.offer_writer().expect("a writable fd");
    let (_writer, readable, _) = segment.into_writer().expect("mapped and sealed");
    let map = |fd: &OwnedFd| Mapping::map(fd.as_fd(), geometry(), Access::ReadWrite).is_ok();
    assert!(!map(&readable));
    assert!(!map(&writable));
    assert_eq!(rustix::io::pwrite(&readable, &[1], 0), Err(Errno::BADF));
    assert_eq!(rustix::io::pwrite(&writable, &[1], 0), Err(Errno::PERM));
    for fd in [&readable, &writable] {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert!(rustix::fs::fallocate(fd, punch, 0, 4096).is_err());
        assert!(rustix::fs::ftruncate(fd, 0).is_err());
        assert!(rustix::fs::ftruncate(fd, 1 << 20).is_err());
        assert!(rustix::fs::fcntl_add_seals(fd, SealFlags::WRITE).is_err());
    }
    // Opened anew, through the read-only fd, for writing: the mode lets the owner, the seals do not.
    let path = format!("/proc/self/fd/{}", readable.as_raw_fd());
    if let Ok(again) = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        assert!(!map(&again));
        assert_eq!(rustix::io::pwrite(&again, &[1], 0), Err(Errno::PERM));
    }
}

#[test]
fn attack_48_the_end_of_a_segment_is_reported_once_nothing_refers_to_it() {
    // Alone: a child that another test starts has copies of our fds until it execs.
    alone(
        "segment::tests::attack_48_the_end_of_a_segment_is_reported_once_nothing_refers_to_it",
        || {
            let releases = Releases::new().expect("an inotify fd");
            let gone = || {
                let mut gone = Vec::new();
                assert_eq!(
                    releases.drain(|watched| gone.push(watched)).expect("drained"),
                    Drained::All
                );
                gone
            };
            let path_only = |fd: &OwnedFd| {
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                    .expect("O_PATH")
            };
            let (first, second) = (segment(), segment());
            let mask = first.seal_mask();
            let watched = releases.watch(&first).expect("watched");
            let watched_too = releases.watch(&second).expect("watched");
            assert_ne!(watched, watched_too);
            let left = || releases.left().expect("/proc");
            assert_eq!(left(), [watched, watched_too].into());
            let (writer, send, _) = first.into_writer().expect("mapped");
            let path = path_only(&send);
            let checked =
                Candidate::new(send).check(expect(Stage::Sealed, mask)).expect("as granted");
            let reader = checked.map_reader().expect("mapped");
            drop(writer);
            assert_eq!(gone(), [], "a mapping is left");
            drop(reader);
            assert_eq!(gone(), [], "an O_PATH fd is left, which no lease sees");
            drop(path);
            assert_eq!(left(), [watched_too].into(), "whether or not it was reported");
            assert_eq!(gone(), [watched]);
            assert_eq!(gone(), []);
            drop(second);
            assert_eq!(gone(), [watched_too]);
        },
    );
}
