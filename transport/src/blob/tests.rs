//! Blobs made, held, copied, and received from those who mean no good.

mod copying;
mod death;
mod figures;
mod hostile;
mod limits;

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::*;
use crate::socket::ForeignFd;

/// Bytes that tell where they are.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn sized(bytes: &[u8]) -> SealedMemory {
    let mut building = MemoryBuilder::new().with_size(bytes.len() as u64).expect("memory");
    building.bytes_mut().copy_from_slice(bytes);
    building.seal().expect("sealed")
}

fn grown(bytes: &[u8], step: usize) -> SealedMemory {
    let mut building = MemoryBuilder::new().growing().expect("memory");
    for part in bytes.chunks(step) {
        building.append(part).expect("room");
    }
    assert_eq!(building.len(), bytes.len() as u64);
    building.seal().expect("sealed")
}

/// What a peer holds that got it sent.
fn received(memory: &SealedMemory) -> Result<SealedMemory, NotReceived> {
    let fd = memory.as_fd().try_clone_to_owned().expect("dup");
    SealedMemory::from_foreign(ForeignFd::new(fd), memory.len())
}

#[test]
fn what_was_written_is_there_at_both_ends_whatever_its_size() {
    const STAGE: usize = 64 << 10;
    for len in [0, 1, 15, 4095, 4096, 4097, STAGE - 1, STAGE, STAGE + 1, 300_001, (2 << 20) + 5] {
        let bytes = pattern(len);
        let made = [
            sized(&bytes),
            grown(&bytes, 1 + len / 3),
            grown(&bytes, STAGE),
            grown(&bytes, 1000),
            grown(&bytes, len.max(1)),
        ];
        for memory in made {
            let received = received(&memory).expect("a blob");
            for end in [&memory, &received] {
                assert!(end.bytes() == bytes, "{len} bytes");
                assert_eq!((end.len(), end.is_empty()), (len as u64, len == 0));
                assert!(end.bytes().as_ptr().addr().is_multiple_of(4096));
                assert_eq!(end.id(), memory.id());
            }
        }
    }
}

#[test]
fn memory_of_a_known_size_is_zero_until_it_is_written() {
    let mut building = MemoryBuilder::new().with_size(10_000).expect("memory");
    building.bytes_mut()[9_999] = 7;
    let memory = building.seal().expect("sealed");
    assert!(memory.bytes()[..9_999].iter().all(|&byte| byte == 0));
    assert_eq!(memory.bytes()[9_999], 7);
    assert_ne!(memory.id(), sized(b"other").id());
}

#[test]
fn huge_pages_hold_the_same_bytes() {
    let bytes = pattern((5 << 20) + 77);
    let builder = MemoryBuilder::new().pages(Pages::Huge);
    let mut sized = builder.with_size(bytes.len() as u64).expect("memory");
    sized.bytes_mut().copy_from_slice(&bytes);
    let mut grown = builder.growing().expect("memory");
    grown.write_all(&bytes).expect("room");
    grown.flush().expect("nothing to do");
    for memory in [sized.seal().expect("sealed"), grown.seal().expect("sealed")] {
        assert!(memory.bytes() == bytes);
        assert!(received(&memory).expect("a blob").bytes() == bytes);
        assert!(memory.bytes().as_ptr().addr().is_multiple_of(2 << 20));
    }
}

#[test]
fn attack_41_and_47_every_way_to_change_a_blob_is_refused() {
    // The maker's own descriptor, as one that kept it would have it, and the one that is sent.
    let file = file::Unsealed::create().expect("a memfd");
    file.write_at(&[1; 8192], 0).expect("written");
    let kept = file.as_fd().try_clone_to_owned().expect("dup");
    let (sent, _) = file.seal(8192).expect("sealed");
    assert_eq!(rustix::io::pwrite(&kept, &[2], 0), Err(Errno::PERM));
    assert_eq!(rustix::io::pwrite(&sent, &[2], 0), Err(Errno::BADF));
    for fd in [&kept, &sent] {
        refuses_every_change(fd);
    }
    // Opened anew for writing: the mode forbids it to all but root, and the seals to root.
    let path = format!("/proc/self/fd/{}", sent.as_raw_fd());
    match rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(again) => {
            assert_eq!(rustix::io::pwrite(&again, &[2], 0), Err(Errno::PERM));
            refuses_every_change(&again);
        }
        Err(error) => assert_eq!(error, Errno::ACCESS),
    }
    let memory = SealedMemory::from_foreign(ForeignFd::new(kept), 8192).expect("a blob");
    assert_eq!(memory.bytes(), [1; 8192]);
}

fn refuses_every_change(fd: &OwnedFd) {
    use rustix::mm::{MprotectFlags, ProtFlags};
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    for (flags, len) in
        [(punch, 4096), (FallocateFlags::ZERO_RANGE, 4096), (FallocateFlags::empty(), 9000)]
    {
        assert!(rustix::fs::fallocate(fd, flags, 0, len).is_err(), "{flags:?}");
    }
    assert!(rustix::io::write(fd, &[2]).is_err());
    for len in [0, 4096, 8191, 8193, 1 << 20] {
        assert!(rustix::fs::ftruncate(fd, len).is_err(), "{len}");
    }
    for seal in [SealFlags::FUTURE_WRITE, SealFlags::WRITE, SealFlags::EXEC] {
        assert_eq!(rustix::fs::fcntl_add_seals(fd, seal), Err(Errno::PERM), "{seal:?}");
    }
    let both = ProtFlags::READ | ProtFlags::WRITE;
    let map = |protection| map::tests::map_shared(fd, 4096, protection);
    assert!(map(both).is_err());
    if let Ok(mapped) = map(ProtFlags::READ) {
        let writable = MprotectFlags::READ | MprotectFlags::WRITE;
        assert!(map::tests::protect(mapped, 4096, writable).is_err());
        map::tests::unmap(mapped, 4096);
    }
}

#[test]
fn attack_46_and_35_a_blob_can_be_read_by_its_owner_and_survives_no_exec() {
    let memory = sized(b"bytes");
    let stat = rustix::fs::fstat(memory.as_fd()).expect("fstat");
    assert_eq!(stat.st_mode & 0o7777, 0o400);
    let flags = rustix::io::fcntl_getfd(memory.as_fd()).expect("F_GETFD");
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    let mode = rustix::fs::fcntl_getfl(memory.as_fd()).expect("F_GETFL");
    assert_eq!(mode & OFlags::ACCMODE, OFlags::RDONLY);
}

#[test]
fn a_blob_is_read_by_many_threads_and_outlives_who_received_it_first() {
    let memory = Arc::new(grown(&pattern(100_000), 100_000));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let memory = Arc::clone(&memory);
            std::thread::spawn(move || memory.bytes() == pattern(100_000))
        })
        .collect();
    drop(memory);
    for reader in readers {
        assert!(reader.join().expect("no panic"));
    }
}
