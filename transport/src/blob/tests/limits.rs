//! Limits of the process, what is left behind, and forks.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::file::Unsealed;
use super::*;
use crate::testing::{Forked, alone, open_fds, refuse};

/// What `open` is, and may be.
#[cfg(target_arch = "x86_64")]
const OPENS: [libc::c_long; 2] = [libc::SYS_open, libc::SYS_openat];
#[cfg(not(target_arch = "x86_64"))]
const OPENS: [libc::c_long; 1] = [libc::SYS_openat];

fn maps() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .expect("/proc is mounted for tests")
        .lines()
        .filter(|line| line.contains("memring-blob"))
        .count()
}

/// Runs `f` while `resource` is limited to `limit`.
fn limited<T>(resource: Resource, limit: u64, f: impl FnOnce() -> T) -> T {
    let was = getrlimit(resource);
    setrlimit(resource, Rlimit { current: Some(limit), maximum: was.maximum }).expect("lowered");
    let result = f();
    setrlimit(resource, was).expect("raised to what it was");
    result
}

#[test]
fn attack_79_a_file_size_limit_is_an_error_and_not_a_signal() {
    if !alone("blob::tests::limits::attack_79_a_file_size_limit_is_an_error_and_not_a_signal") {
        return;
    }
    let refused = |error: BlobError| {
        assert!(matches!(error, BlobError::FileSizeLimit { limit: 100_000, .. }), "{error}");
    };
    limited(Resource::Fsize, 100_000, || {
        let allowed = MemoryBuilder::new().with_size(100_000).expect("as much as is allowed");
        assert_eq!(allowed.seal().expect("sealed").len(), 100_000);
        refused(MemoryBuilder::new().with_size(100_001).expect_err("one more"));
        let mut growing = MemoryBuilder::new().growing().expect("nothing yet");
        growing.append(&[1; 100_000]).expect("as much as is allowed");
        // Gathered first, so it is the next call or the seal that says so; what was written stays.
        growing.append(&[2]).expect("gathered");
        refused(growing.append(&[3; 70_000]).expect_err("too much"));
        refused(growing.seal().expect_err("too much"));
        let file = std::fs::File::open("/proc/self/exe").expect("a file");
        let error = copy(&file, MemoryBuilder::new(), |_, _| std::ops::ControlFlow::Continue(()));
        assert!(matches!(error, Err(CopyError::Memory(BlobError::FileSizeLimit { .. }))));
    });
}

#[test]
fn attack_79_whatever_is_wanting_is_an_error_and_nothing_is_left_behind() {
    if !alone(
        "blob::tests::limits::attack_79_whatever_is_wanting_is_an_error_and_nothing_is_left_behind",
    ) {
        return;
    }
    let blob = sized(&pattern(1 << 20));
    // No number is free below the highest, so that a limit on numbers is one on how many there are.
    let highest = |fds: &[i32]| fds.last().copied().expect("some");
    let above = highest(&open_fds());
    let mut gaps = Vec::new();
    while gaps.last().is_none_or(|fd: &OwnedFd| fd.as_raw_fd() < above) {
        gaps.push(blob.as_fd().try_clone_to_owned().expect("dup"));
    }
    let (fds, before) = (open_fds(), maps());
    let highest = highest(&fds).unsigned_abs();
    for spare in 1..5 {
        limited(Resource::Nofile, u64::from(highest) + spare, || {
            for made in [
                MemoryBuilder::new().with_size(5).and_then(SizedMemory::seal),
                MemoryBuilder::new().growing().and_then(GrowingMemory::seal),
            ] {
                match made {
                    Ok(_) => assert!(spare > 2),
                    Err(error) => {
                        assert!(matches!(error, BlobError::NoDescriptors { .. }), "{error}");
                    }
                }
            }
        });
    }
    let sizes = std::fs::read_to_string("/proc/self/statm").expect("/proc");
    let mapped: u64 = sizes.split(' ').next().expect("one").parse().expect("a number");
    let mapped = mapped * rustix::param::page_size() as u64;
    let fd = blob.as_fd().try_clone_to_owned().expect("dup");
    let fd = limited(Resource::As, mapped + (1 << 19), || {
        let error = MemoryBuilder::new().with_size(1 << 20).expect_err("no address space");
        assert!(matches!(error, BlobError::NoMemory { .. }), "{error}");
        match SealedMemory::from_foreign(ForeignFd::new(fd), 1 << 20) {
            Err(NotReceived::NotMapped { fd, source: BlobError::NoMemory { .. } }) => fd,
            other => panic!("{other:?}"),
        }
    });
    // The condition gave the descriptor back, and with room it is a blob.
    assert!(SealedMemory::from_foreign(fd, 1 << 20).expect("a blob").bytes() == blob.bytes());
    for needed in [1 << 63, u64::MAX] {
        let error = MemoryBuilder::new().with_size(needed).expect_err("too large");
        assert!(matches!(error, BlobError::TooLarge { .. }), "{error}");
    }
    assert_eq!((open_fds(), maps()), (fds, before));
}

#[test]
fn attack_79_whichever_call_fails_nothing_is_left_behind() {
    // Each refusal lasts for the rest of its thread.
    if !alone("blob::tests::limits::attack_79_whichever_call_fails_nothing_is_left_behind") {
        return;
    }
    let (fds, before) = (open_fds(), maps());
    let calls = [
        ("memfd_create", libc::SYS_memfd_create),
        ("fchmod", libc::SYS_fchmod),
        ("ftruncate", libc::SYS_ftruncate),
        ("fallocate", libc::SYS_fallocate),
        ("mmap", libc::SYS_mmap),
        ("madvise", libc::SYS_madvise),
        ("fcntl", libc::SYS_fcntl),
        ("pwrite", libc::SYS_pwrite64),
        ("open", OPENS[0]),
    ];
    for (name, call) in calls {
        let made = std::thread::spawn(move || {
            refuse(call, None, libc::EIO);
            let sized = MemoryBuilder::new().with_size(100_000).and_then(SizedMemory::seal);
            let grown = MemoryBuilder::new().growing().and_then(|mut growing| {
                growing.append(&[1; 100_000])?;
                growing.seal()
            });
            for made in [sized, grown] {
                if let Err(error) = &made {
                    let BlobError::System { operation, .. } = error else { panic!("{error}") };
                    assert!(operation.contains(name), "{operation}: {name}");
                }
            }
        });
        made.join().unwrap_or_else(|_| panic!("{name}"));
        assert_eq!((open_fds(), maps()), (fds.clone(), before), "{name}");
    }
}

#[test]
fn attack_80_where_nothing_can_be_opened_the_seals_alone_protect_a_blob() {
    if !alone(
        "blob::tests::limits::attack_80_where_nothing_can_be_opened_the_seals_alone_protect_a_blob",
    ) {
        return;
    }
    let bytes = pattern(70_000);
    for call in OPENS {
        refuse(call, None, libc::EACCES);
    }
    let memory = sized(&bytes);
    let mode = rustix::fs::fcntl_getfl(memory.as_fd()).expect("F_GETFL");
    assert_eq!(mode & OFlags::ACCMODE, OFlags::RDWR);
    assert!(received(&memory).expect("protected by its seals").bytes() == bytes);
}

#[test]
fn fds_and_maps_go_with_the_blob_and_come_with_nothing_else() {
    if !alone("blob::tests::limits::fds_and_maps_go_with_the_blob_and_come_with_nothing_else") {
        return;
    }
    let (fds, before) = (open_fds(), maps());
    {
        let memory = sized(&pattern(5000));
        assert_eq!((open_fds().len(), maps()), (fds.len() + 1, before + 1));
        let _received = received(&memory).expect("a blob");
        assert_eq!((open_fds().len(), maps()), (fds.len() + 2, before + 2));
        let _empty = sized(&[]);
        assert_eq!((open_fds().len(), maps()), (fds.len() + 3, before + 2));
        let _begun = MemoryBuilder::new().with_size(5000).expect("memory");
        let _begun = MemoryBuilder::new().growing().expect("memory");
    }
    assert_eq!((open_fds(), maps()), (fds, before));
}

#[test]
fn attack_78_a_forked_child_reads_blobs_and_builds_none_of_its_parents() {
    if !alone(
        "blob::tests::limits::attack_78_a_forked_child_reads_blobs_and_builds_none_of_its_parents",
    ) {
        return;
    }
    let memory = sized(&pattern(10_000));
    let mut sized_one = MemoryBuilder::new().with_size(10_000).expect("memory");
    let mut growing = MemoryBuilder::new().growing().expect("memory");
    growing.append(b"the parent's").expect("room");
    sized_one.bytes_mut().fill(1);
    // What the child takes out is still there in the parent.
    let (mut memory, mut sized_one, mut growing) = (Some(memory), Some(sized_one), Some(growing));
    let child = Forked::start(|| {
        assert!(memory.take().expect("a copy").bytes() == pattern(10_000));
        let (mut sized_one, mut growing) =
            (sized_one.take().expect("a copy"), growing.take().expect("a copy"));
        assert!(matches!(growing.append(b"the child's"), Err(BlobError::Forked)));
        assert!(matches!(growing.seal(), Err(BlobError::Forked)));
        std::panic::set_hook(Box::new(|_| {}));
        let touched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            sized_one.bytes_mut().fill(2);
        }));
        assert!(touched.is_err());
        assert!(matches!(sized_one.seal(), Err(BlobError::Forked)));
        assert!(sized(b"its own").bytes() == b"its own");
    });
    assert!(child.wait());
    // A child that lives on has the file open. It has no map of it, so the file can be sealed.
    let (mut told, tell) = std::io::pipe().expect("a pipe");
    let idle = Forked::start(|| {
        let _ = std::io::Read::read(&mut told, &mut [0]);
    });
    assert!(memory.expect("still there").bytes() == pattern(10_000));
    let (sized_one, growing) = (sized_one.expect("still there"), growing.expect("still there"));
    assert!(sized_one.seal().expect("sealed").bytes() == [1; 10_000]);
    assert!(growing.seal().expect("sealed").bytes() == b"the parent's");
    std::io::Write::write_all(&mut &tell, &[0]).expect("told");
    assert!(idle.wait());
}

/// A file of one page, which a pipe has too. The kernel seals nothing against writing that others may have a hand on.
fn spliced() -> (Unsealed, std::io::PipeReader) {
    let file = Unsealed::create().expect("a memfd");
    file.write_at(&[1; 4096], 0).expect("room");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let moved = rustix::fs::sendfile(&writer, &file, Some(&mut 0), 4096).expect("spliced");
    assert_eq!(moved, 4096);
    (file, reader)
}

#[test]
fn a_page_that_is_let_go_of_late_is_waited_for_and_one_that_never_is_an_error() {
    let (file, mut reader) = spliced();
    let same = file.as_fd().try_clone_to_owned().expect("dup");
    let letting_go = std::thread::spawn(move || {
        // As long as the kernel looks for itself.
        assert_eq!(rustix::fs::fcntl_add_seals(&same, SEALS), Err(Errno::BUSY));
        let mut page = [0; 4096];
        std::io::Read::read_exact(&mut reader, &mut page).expect("the page");
        page
    });
    file.seal(4096).expect("sealed, once nobody else has the page");
    assert_eq!(letting_go.join().expect("no panic"), [1; 4096]);

    let (file, _held) = spliced();
    let error = file.seal(4096).map(drop).expect_err("somebody could write the page");
    assert!(
        matches!(&error, BlobError::System { source, .. }
        if source.raw_os_error() == Some(Errno::BUSY.raw_os_error())),
        "{error}"
    );
}
