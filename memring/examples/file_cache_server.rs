//! Holds the files of a directory in memory, once for all who read them. Its other half is `file_cache_client`.
//!
//! `cargo run --example file_cache_server -- DIRECTORY [PATH]`

mod file_cache;
mod told;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use file_cache::{FileCache, FileCacheServer, FileError, Stat};
use memring::Fd;
use memring::blob::{Blob, BlobBuilder};
use memring::rpc::{Call, Replies, Server};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use told::Told;

/// What is held of all files together.
const MOST_BYTES: u64 = 256 << 20;
/// Between two looks at a file that is watched. (A real cache has the kernel tell it, by inotify.)
const LOOK: Duration = Duration::from_millis(20);

fn main() -> Result<(), Told> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("what is to be served? file_cache_server DIRECTORY")?;
    let address = arguments.next().unwrap_or("file-cache".to_owned());
    let root = File::open(&directory).map_err(|error| format!("{directory}: {error}"))?;
    // Results carry descriptors and blobs to clients, who take them: whoever connects chose his server. Arguments carry none,
    // so this side takes none either.
    let cache = Cache(Arc::new(Files { root, held: Mutex::default() }));
    let server = Server::new().serve(FileCache::serve(cache)).bind(address)?;
    println!("listening at {}", server.listener().address());
    server.run()?;
    Ok(())
}

struct Cache(Arc<Files>);

struct Files {
    root: File,
    held: Mutex<HashMap<Id, Held>>,
}

/// A file by its device and inode: it has many names, and clients choose them.
type Id = (u64, u64);

/// What a file was when it was read, and what was in it.
struct Held {
    stat: Stat,
    contents: Blob<[u8]>,
}

impl Files {
    fn held(&self) -> MutexGuard<'_, HashMap<Id, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of this name, if it is one and lies below the root. The kernel follows the name, so that no `..` and no
    /// link leads out of it, whoever changes them meanwhile.
    fn open(&self, path: &str) -> Result<File, FileError> {
        // A named pipe would wait for somebody to write into it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(&self.root, path, flags, Mode::empty(), resolve);
        let file = File::from(file.map_err(io::Error::from)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(FileError::NoFile) }
    }

    fn stat(&self, file: &File) -> Result<(Id, Stat), FileError> {
        let now = file.metadata()?;
        let id = (now.dev(), now.ino());
        let changed = i128::from(now.mtime()) * 1_000_000_000 + i128::from(now.mtime_nsec());
        let stat = Stat { bytes: now.len(), changed, cached: true };
        let cached = self.held().get(&id).is_some_and(|held| held.stat == stat);
        Ok((id, Stat { cached, ..stat }))
    }

    fn contents(&self, path: &str) -> Result<Blob<[u8]>, FileError> {
        let file = self.open(path)?;
        let (id, stat) = self.stat(&file)?;
        if stat.bytes > MOST_BYTES {
            return Err(FileError::TooLarge);
        }
        if stat.cached
            && let Some(held) = self.held().get(&id)
        {
            return Ok(held.contents.clone());
        }
        // Without the lock: nobody waits for the disk but who asked. If the file changes meanwhile, it is no more what `stat`
        // says, and is read again the next time.
        let contents = BlobBuilder::new()
            .copy_of(&file, |read, _| {
                if read <= MOST_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .map_err(|error| FileError::System(error.to_string()))?;
        let mut held = self.held();
        let bytes: u64 = held.values().map(|held| held.contents.len() as u64).sum();
        if bytes + contents.len() as u64 > MOST_BYTES {
            held.clear(); // the simplest way to make room; who has a blob of these keeps it
        }
        let stat = Stat { cached: true, ..stat };
        held.insert(id, Held { stat, contents: contents.clone() });
        Ok(contents)
    }
}

impl FileCacheServer for Cache {
    fn contents(&self, _: &Call<'_>, path: &str) -> Result<Blob<[u8]>, FileError> {
        // To a client that has it already a blob is a number.
        self.0.contents(path)
    }

    fn open(&self, _: &Call<'_>, path: &str) -> Result<Fd, FileError> {
        Ok(self.0.open(path)?.into())
    }

    fn stat(&self, _: &Call<'_>, path: &str) -> Result<Stat, FileError> {
        Ok(self.0.stat(&self.0.open(path)?)?.1)
    }

    fn watch(&self, _: &Call<'_>, path: String, mut replies: Replies<Stat, FileError>) {
        let files = Arc::clone(&self.0);
        // A thread of its own, with which the replies go: the client's other calls need not wait for this one.
        thread::spawn(move || {
            let mut last = None;
            // Nobody may read any more while nothing changes, so it asks.
            while !replies.is_cancelled() {
                match files.open(&path).and_then(|file| files.stat(&file)) {
                    Ok((id, stat)) if last != Some((id, stat.changed)) => {
                        last = Some((id, stat.changed));
                        if replies.send(&stat).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(error) => return replies.end(Err(error)),
                }
                thread::sleep(LOOK);
            }
        });
    }
}
