//! A file that always holds a whole snapshot: for Prometheus's textfile collector, say.
//!
//! Written beside its place, under a name that no collector takes, and then renamed over it: whoever reads sees the old one or the
//! new one. It is readable as the umask has it, for its readers are mostly somebody else's processes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::snapshot;

/// Writes a snapshot to this file, in the text format of Prometheus, all at once.
///
/// # Errors
///
/// What the kernel says; then what was there before is there still.
pub fn write_file(path: impl AsRef<Path>) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let path = path.as_ref();
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
    };
    let (beside, mut file) = loop {
        let mut beside = OsString::from(".");
        beside.push(name);
        // ORDERING: Relaxed; two threads only must not have the same.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        beside.push(format!(".{}-{number}.new", std::process::id()));
        let beside = path.with_file_name(beside);
        // O_EXCL: no link is followed, and what is there is left alone. One of this process's number that was killed may have
        // left it: in a container the number is always the same.
        match File::create_new(&beside) {
            Ok(file) => break (beside, file),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    };
    let written = file
        .write_all(snapshot().to_prometheus().as_bytes())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}
