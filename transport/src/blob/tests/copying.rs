//! Blobs from files: of disks, of memory, of no size, and of sizes that change.

use std::fs::File;
use std::ops::ControlFlow;

use rustix::fs::{MemfdFlags, SeekFrom};

use super::*;
use crate::testing::{Scratch, alone, refuse};

fn go_on(_: u64, _: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn file_of(scratch: &Scratch, bytes: &[u8]) -> File {
    let path = scratch.join("file");
    std::fs::write(&path, bytes).expect("a file");
    File::options().read(true).write(true).open(path).expect("the file")
}

#[test]
fn a_copy_has_the_bytes_of_the_file_and_leaves_its_position_alone() {
    let scratch = Scratch::new();
    for len in [0, 1, 4096, 70_001] {
        let bytes = pattern(len);
        let disk = file_of(&scratch, &bytes);
        rustix::fs::seek(&disk, SeekFrom::Start(1)).expect("lseek");
        let memfd = rustix::fs::memfd_create("file", MemfdFlags::CLOEXEC).expect("a memfd");
        rustix::io::pwrite(&memfd, &bytes, 0).expect("written");
        for file in [disk.as_fd(), memfd.as_fd(), sized(&bytes).as_fd()] {
            let mut told = Vec::new();
            let memory = copy(file, MemoryBuilder::new(), |done, total| {
                told.push((done, total));
                ControlFlow::Continue(())
            })
            .expect("copied");
            assert!(memory.bytes() == bytes, "{len} bytes");
            assert_eq!(told.last(), Some(&(len as u64, len as u64)));
        }
        if len > 0 {
            assert_eq!(rustix::fs::tell(&disk), Ok(1));
        }
    }
}

#[test]
fn whichever_call_the_kernel_refuses_another_copies() {
    if !alone("blob::tests::copying::whichever_call_the_kernel_refuses_another_copies") {
        return;
    }
    let scratch = Scratch::new();
    let bytes = pattern(600_000);
    let file = file_of(&scratch, &bytes);
    for (call, errno) in [
        (libc::SYS_copy_file_range, libc::ENOSYS),
        (libc::SYS_sendfile, libc::EINVAL), // and the one before
    ] {
        refuse(call, None, errno);
        let copied = copy(&file, MemoryBuilder::new(), go_on).expect("copied");
        assert!(copied.bytes() == bytes);
    }
    refuse(libc::SYS_pread64, None, libc::EIO);
    let error = copy(&file, MemoryBuilder::new(), go_on).expect_err("nothing is left to try");
    assert!(matches!(error, CopyError::Source { operation: "read", .. }), "{error}");
}

#[test]
fn what_states_no_size_is_read_to_its_end() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let bytes = pattern(300_000);
    let sent = bytes.clone();
    let writing = std::thread::spawn(move || writer.write_all(&sent).expect("read"));
    let memory = copy(&reader, MemoryBuilder::new(), go_on).expect("copied");
    writing.join().expect("no panic");
    assert!(memory.bytes() == bytes);

    let status = copy(File::open("/proc/self/status").expect("/proc"), MemoryBuilder::new(), go_on);
    assert!(status.expect("copied").bytes().starts_with(b"Name:"));
    let folder = copy(File::open("/").expect("a folder"), MemoryBuilder::new(), go_on);
    assert!(matches!(folder, Err(CopyError::Source { .. })));
}

#[test]
fn a_file_that_changes_its_size_meanwhile_is_cut_at_what_it_said_or_refused() {
    const CHUNK: u64 = 16 << 20;
    let file = File::from(rustix::fs::memfd_create("file", MemfdFlags::CLOEXEC).expect("a memfd"));
    file.set_len(2 * CHUNK).expect("resized");
    let resized_to = |len: u64| {
        copy(&file, MemoryBuilder::new(), |done, total| {
            if done == CHUNK {
                assert_eq!(total, 2 * CHUNK);
                file.set_len(len).expect("resized");
            }
            ControlFlow::Continue(())
        })
    };
    assert_eq!(resized_to(3 * CHUNK).expect("copied").len(), 2 * CHUNK);
    file.set_len(2 * CHUNK).expect("resized");
    let error = resized_to(CHUNK + 5).expect_err("cut short");
    let CopyError::Shrunk { stated, found } = error else { panic!("{error}") };
    assert_eq!((stated, found), (2 * CHUNK, CHUNK + 5));
}

#[test]
fn progress_can_stop_a_copy_and_what_was_appended_before_stays() {
    let scratch = Scratch::new();
    let file = file_of(&scratch, &pattern(5000));
    let stopped = copy(&file, MemoryBuilder::new(), |_, _| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(CopyError::Stopped { done: 5000 })));

    let mut growing = MemoryBuilder::new().growing().expect("memory");
    growing.append(b"before ").expect("room");
    assert_eq!(growing.append_file(&file, go_on).expect("copied"), 5000);
    growing.append(b" after").expect("room");
    let expected = [b"before ", &pattern(5000)[..], b" after"].concat();
    assert!(growing.seal().expect("sealed").bytes() == expected);
}
