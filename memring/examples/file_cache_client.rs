//! Asks `file_cache_server` for files.
//!
//! `cargo run --example file_cache_client -- WHAT NAME [PATH]` does one of these with a file:
//! `lines` counts its lines where they lie, `copy` writes it to standard output, `stat` shows what is known of it, and
//! `watch` that again whenever it has changed.

mod file_cache;
mod told;

use std::error::Error;
use std::fs::File;
use std::io;

use file_cache::{FileCacheClient, FileError, Stat};
use memring::rpc::CallError;
use told::Told;

type Done = Result<(), Box<dyn Error>>;

fn main() -> Result<(), Told> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (what, name, address) = match arguments[..] {
        [what, name] => (what, name, "file-cache"),
        [what, name, address] => (what, name, address),
        _ => return Err("file_cache_client lines|copy|stat|watch NAME [PATH]".into()),
    };
    // It takes descriptors and blobs, because results of this interface carry some.
    let files = FileCacheClient::connect(address)?;
    let done = match what {
        "lines" => lines(&files, name),
        "copy" => copy(&files, name),
        "stat" => files.stat(name).map(|stat| show(&stat)).map_err(Into::into),
        "watch" => watch(&files, name),
        _ => return Err(format!("nobody knows how to `{what}`").into()),
    };
    done.map_err(|error| format!("{name}: {error}").into())
}

fn lines(files: &FileCacheClient, name: &str) -> Done {
    let contents = match files.contents(name) {
        Err(CallError::Failed(FileError::TooLarge)) => {
            return Err("it is too large for the cache: copy it, and count that".into());
        }
        contents => contents?,
    };
    // The memory is the server's cache, which nobody can change; nothing is copied.
    println!("{}", contents.iter().filter(|byte| **byte == b'\n').count());
    Ok(())
}

fn copy(files: &FileCacheClient, name: &str) -> Done {
    let mut file = File::from(files.open(name)?.into_owned()?);
    io::copy(&mut file, &mut io::stdout())?;
    Ok(())
}

fn watch(files: &FileCacheClient, name: &str) -> Done {
    // It ends with the error that says why there is nothing to be seen any more.
    for stat in files.watch(name.to_owned())? {
        show(&stat?);
    }
    Ok(())
}

fn show(Stat { bytes, cached, .. }: &Stat) {
    println!("{bytes} bytes, {}", if *cached { "cached" } else { "not cached" });
}
