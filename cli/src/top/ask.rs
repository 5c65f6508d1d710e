//! Asking a server for its snapshot: one connection, one line, one JSON object.

use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use memring::{Address, ToAddress};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::view::Seen;
use crate::failure::{Failure, Status};
use crate::output;

/// Bytes of an answer: a hundred thousand sessions have 600 each.
const MOST: usize = 64 << 20;
/// Characters of a sentence that stands for an answer.
const MOST_SAID: usize = 512;

/// Where a server says how its sessions are.
pub(super) struct Server {
    address: Address,
    path: PathBuf,
}

fn no(line: impl AsRef<str>) -> Failure {
    Failure::new(Status::NoSession, line)
}

impl Server {
    pub(super) fn at(path: &str) -> Result<Self, Failure> {
        let address =
            path.to_address().map_err(|error| Failure::because(Status::NoSession, &error))?;
        // What is shown of a path address is the path.
        Ok(Self { path: address.to_string().into(), address })
    }

    /// Asks, and has an answer within this time: what there is to see, and the JSON object as it came.
    pub(super) fn ask(&self, timeout: Duration) -> Result<(Seen, String), Failure> {
        let until = Instant::now() + timeout;
        let mut stream = self.connect(timeout)?;
        let answer = exchange(&mut stream, until).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                no(format!("no answer at {} within {}", self.address, output::duration(timeout)))
            }
            _ => Failure::io(&format!("asking at {}", self.address), &error),
        })?;
        if let Some(sentence) = answer.strip_prefix(b"memring: ") {
            return Err(no(format!("{}: {}", self.address, first_line(sentence))));
        }
        if answer.is_empty() {
            return Err(no(format!("{} closed without an answer: it has ended", self.address)));
        }
        let stranger = || no(format!("what answers at {} is no server of memring's", self.address));
        let object = String::from_utf8(answer).map_err(|_| stranger())?;
        let seen = Seen::of(&object).map_err(|_| stranger())?;
        Ok((seen, object))
    }

    fn connect(&self, timeout: Duration) -> Result<UnixStream, Failure> {
        let connected = SocketAddrUnix::new(&self.path).and_then(|address| {
            let kind = (AddressFamily::UNIX, SocketType::STREAM);
            let socket = rustix::net::socket_with(kind.0, kind.1, SocketFlags::CLOEXEC, None)?;
            // Where the queue is full, connecting waits.
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(timeout))?;
            rustix::net::connect(&socket, &address)?;
            Ok(UnixStream::from(socket))
        });
        connected.map_err(|error| self.not_connected(error))
    }

    /// Why there is no connection, and what to do.
    fn not_connected(&self, error: Errno) -> Failure {
        let at = &self.address;
        no(match error {
            Errno::NOENT => {
                format!("nothing at {at}: the server has to call memring::observe::serve")
            }
            // So the kernel says of any file.
            Errno::CONNREFUSED if !self.is_socket() => {
                format!("{at} is no socket: give that of the server's memring::observe::serve")
            }
            Errno::CONNREFUSED => format!("nobody listens at {at}: its server has ended"),
            Errno::PROTOTYPE => format!(
                "{at} is where a service meets its clients: give the socket of its memring::observe::serve"
            ),
            Errno::AGAIN => format!("others are looking at {at}: try again"),
            Errno::ACCESS | Errno::PERM => match std::fs::metadata(&self.path) {
                Ok(facts) => {
                    format!("{at} is of uid {}: only that user and root may look", facts.uid())
                }
                Err(_) => format!("no permission to reach {at}"),
            },
            error => return Failure::io(&format!("connecting to {at}"), &error.into()),
        })
    }

    /// Or one that has gone meanwhile.
    fn is_socket(&self) -> bool {
        std::fs::metadata(&self.path).map_or(true, |facts| facts.file_type().is_socket())
    }
}

/// The first line of what a stranger said, and not all of a long one.
fn first_line(said: &[u8]) -> String {
    let line = said.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = &line[..line.len().min(4 * MOST_SAID)]; // a character has four bytes at most
    String::from_utf8_lossy(line).chars().take(MOST_SAID).collect()
}

fn exchange(stream: &mut UnixStream, until: Instant) -> io::Result<Vec<u8>> {
    stream.write_all(b"json\n").or_else(|error| match error.kind() {
        // Whoever is not admitted is told so at once.
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Ok(()),
        _ => Err(error),
    })?;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(answer),
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // It closed before it had read what we said.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(answer),
            Err(error) => return Err(error),
        }
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if answer.len() > MOST {
            return Err(io::Error::other(format!(
                "the answer has more than {}",
                output::bytes(MOST as u64)
            )));
        }
    }
}
