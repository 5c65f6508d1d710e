//! A file whose server answers the first questions and then no more: `fstat` on it waits for ever, and so does `close`.
//!
//! As root one can have it without anybody's program: the mount lives in a namespace of the calling thread and of
//! the processes that it starts, so nothing is left of it, whatever becomes of the test.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// The file, while this lives. Dropping it makes all who wait give up.
pub struct SilentFile {
    path: PathBuf,
    serving: Option<JoinHandle<()>>,
}

const INIT: u32 = 26;
const OPEN: u32 = 14;

impl SilentFile {
    /// Mounts one at a path of `directory`; or why that cannot be done here.
    pub fn mount(directory: &Path) -> std::io::Result<Self> {
        let path = directory.join("silent");
        File::create(&path)?;
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
        // A regular file is the root of it, which others than root may open.
        let options =
            format!("fd={},rootmode=100644,user_id=0,group_id=0,allow_other\0", device.as_raw_fd());
        let target = format!("{}\0", path.display());
        let check = |result: libc::c_int| match result {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        };
        // SAFETY: the strings end with zero and live through the calls; null and flags are good where they stand.
        unsafe {
            check(libc::unshare(libc::CLONE_NEWNS))?;
            let private = libc::MS_REC | libc::MS_PRIVATE;
            let (none, root) = (std::ptr::null(), c"/".as_ptr());
            check(libc::mount(none, root, none, private, none.cast()))?;
            let (kind, target) = (c"fuse".as_ptr(), target.as_ptr().cast());
            check(libc::mount(kind, target, kind, 0, options.as_ptr().cast()))?;
        }
        let serving = std::thread::Builder::new()
            .name("test-fuse".to_owned())
            .spawn(move || serve(device))
            .expect("a thread");
        Ok(Self { path, serving: Some(serving) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Lets the file be opened, and says nothing to any other question.
fn serve(mut device: File) {
    let mut question = vec![0; 1 << 18];
    // It fails once the file system has gone.
    while let Ok(length) = device.read(&mut question) {
        let Some(header) = question.get(..length.min(16)) else { return };
        let opcode = u32::from_ne_bytes(header[4..8].try_into().expect("4 bytes"));
        let body = match opcode {
            INIT => {
                // Protocol 7.31, with the smallest writes.
                let mut body = vec![0; 64];
                for (at, value) in [(0, 7_u32), (4, 31), (20, 4096), (24, 1)] {
                    body[at..at + 4].copy_from_slice(&value.to_ne_bytes());
                }
                body
            }
            OPEN => vec![0; 16],
            _ => continue,
        };
        let mut answer = Vec::new();
        answer.extend((16 + body.len() as u32).to_ne_bytes());
        answer.extend(0_i32.to_ne_bytes());
        answer.extend(&header[8..16]);
        answer.extend(&body);
        if device.write_all(&answer).is_err() {
            return;
        }
    }
}

impl Drop for SilentFile {
    fn drop(&mut self) {
        let path = format!("{}\0", self.path.display());
        // SAFETY: the path ends with zero and lives through the call.
        unsafe { libc::umount2(path.as_ptr().cast(), libc::MNT_FORCE | libc::MNT_DETACH) };
        if let Some(serving) = self.serving.take() {
            serving.join().ok();
        }
    }
}
