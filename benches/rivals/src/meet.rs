//! How two ends find each other: by looking again until the other one is there.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use memring_benches::Failed;

/// How long the two ends wait for each other.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks again and again, for as long as patience lasts.
pub fn until<T>(mut look: impl FnMut() -> Result<Option<T>, Failed>) -> Result<T, Failed> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > give_up {
            return Err("the other end did not come".into());
        }
        sleep(Duration::from_millis(1));
    }
}

/// As [`until`], where what is not there yet is an error of the system's.
pub fn until_there<T>(mut look: impl FnMut() -> std::io::Result<T>) -> Result<T, Failed> {
    until(|| match look() {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    })
}

/// Leaves a note for the other end.
pub fn leave(note: &Path, text: &str) -> Result<(), Failed> {
    // Moved into place: the other end sees all of it or nothing.
    let draft = note.with_extension("draft");
    fs::write(&draft, text)?;
    Ok(fs::rename(draft, note)?)
}

/// Waits for a note from the other end.
pub fn find(note: &Path) -> Result<String, Failed> {
    until_there(|| fs::read_to_string(note))
}
