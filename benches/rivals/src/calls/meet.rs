//! How a client and its server find each other: at a Unix socket in their directory.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use memring_benches::Failed;

use crate::meet::until_there;

const SOCKET: &str = "calls.sock";

/// The server's end.
pub fn listen(at: &Path) -> Result<UnixListener, Failed> {
    Ok(UnixListener::bind(at.join(SOCKET))?)
}

/// The connection of the one client there is.
pub fn accept(at: &Path) -> Result<UnixStream, Failed> {
    Ok(listen(at)?.accept()?.0)
}

/// The socket, once somebody listens: for who connects by itself, and whose server takes more than one client.
pub fn wait(at: &Path) -> Result<PathBuf, Failed> {
    connect(at)?;
    Ok(at.join(SOCKET))
}

/// The client's end.
pub fn connect(at: &Path) -> Result<UnixStream, Failed> {
    until_there(|| UnixStream::connect(at.join(SOCKET)))
}
