//! An endpoint: a Unix stream socket that answers each connection with one snapshot, and closes.
//!
//! It waits for nothing, so it runs in a thread of its own ([`serve`](super::serve)) or in an event loop of the application's: wait
//! for its descriptor, until [`due`](Endpoint::due) at most, and then [`turn`](Endpoint::turn). Whoever connects is asked for by
//! the kernel's word: this process's uid, and root. Each connection has a few kilobytes for its request and two seconds in
//! all, and there are eight at most; more wait in the kernel's queue. One turn takes sixteen from there, whoever they are.
//!
//! It knows no snapshot but how to ask for one, and no thread.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::request::{Heard, MOST_REQUEST_BYTES, not_admitted};
use super::snapshot;
use crate::address::Address;
use crate::bind::{Accepted, BindOptions, Bound};
use crate::listener::ListenError;
use crate::os;
use crate::peer::known_uid;

/// Connections at a time.
pub const CONNECTIONS: usize = 8;
/// How long a connection may take in all.
pub const ANSWER_IN: Duration = Duration::from_secs(2);
/// Connections that one turn takes from the queue: those that are over at once count among no others, and who makes them
/// could keep it there. Epoll tells of the rest again.
const A_TURN: usize = 16;

/// A socket that says how this process's sessions are.
pub struct Endpoint {
    bound: Bound,
    /// Holds the listening socket, unless there are enough connections, and all of those.
    epoll: OwnedFd,
    clients: Vec<Client>,
    /// The process lacks descriptors or memory: nobody is accepted until then.
    paused: Option<Instant>,
    listens: bool,
}

/// One connection.
struct Client {
    socket: OwnedFd,
    request: Vec<u8>,
    /// Once the request is there.
    answer: Option<Answer>,
    until: Instant,
}

struct Answer {
    bytes: Vec<u8>,
    sent: usize,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// When it can be read.
    Read,
    /// When it can be written.
    Write,
    Close,
}

impl Endpoint {
    /// Binds and listens: mode 0600, in a directory where nobody else can put files, as a [`Listener`](crate::Listener)
    /// would.
    ///
    /// # Errors
    ///
    /// [`ListenError`], which says what stands in the way.
    pub fn bind(address: &Address) -> Result<Self, ListenError> {
        let system = |error: Errno| ListenError::System(error.into());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system)?;
        let bound = BindOptions::new().stream().bind(address)?;
        let mut endpoint = Self { bound, epoll, clients: Vec::new(), paused: None, listens: false };
        endpoint.listen(true).map_err(ListenError::System)?;
        Ok(endpoint)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.bound.address()
    }

    /// When it wants its [`turn`](Self::turn), whether or not its descriptor is readable.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.clients.iter().map(|client| client.until).chain(self.paused).min()
    }

    /// Does what can be done now, and blocks on nothing. Taking a snapshot is part of it.
    ///
    /// # Errors
    ///
    /// What the kernel says of the endpoint itself; connections that fail are closed. In a forked child always.
    pub fn turn(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let mut clients = std::mem::take(&mut self.clients);
        clients.retain_mut(|client| self.step(client, now));
        self.clients = clients;
        self.paused = self.paused.filter(|until| now < *until);
        for _ in 0..A_TURN {
            if !self.has_room() {
                break;
            }
            match self.bound.accept_plain() {
                Ok(Accepted::Connection(socket)) => {
                    if let Ok(who) = os::peer_credentials(socket.as_fd()) {
                        self.welcome(socket, known_uid(who.uid), now);
                    }
                }
                Ok(Accepted::WouldBlock) => break,
                Ok(Accepted::Pause { pause, .. }) => self.paused = Some(now + pause),
                Ok(Accepted::Forked) => {
                    return Err(io::Error::other("the endpoint belongs to the parent process"));
                }
                Err(error) => return Err(error),
            }
        }
        self.listen(self.has_room())
    }

    fn has_room(&self) -> bool {
        self.paused.is_none() && self.clients.len() < CONNECTIONS
    }

    /// Has the descriptor tell of connections, or not.
    fn listen(&mut self, listens: bool) -> io::Result<()> {
        match (self.listens, listens) {
            (false, true) => {
                epoll::add(&self.epoll, &self.bound, EventData::new_u64(0), EventFlags::IN)?;
            }
            (true, false) => epoll::delete(&self.epoll, &self.bound)?,
            _ => {}
        }
        self.listens = listens;
        Ok(())
    }

    /// Takes somebody of this uid in, if it may look.
    fn welcome(&mut self, socket: OwnedFd, uid: Option<u32>, now: Instant) {
        let ours = rustix::process::geteuid().as_raw();
        if !may_look(uid, ours) {
            // As much as it takes at once.
            let _ = send(&socket, &not_admitted(ours), SendFlags::NOSIGNAL);
            return;
        }
        let mut client =
            Client { socket, request: Vec::new(), answer: None, until: now + ANSWER_IN };
        let added = epoll::add(&self.epoll, &client.socket, EventData::new_u64(0), EventFlags::IN);
        if added.is_ok() && self.step(&mut client, now) {
            self.clients.push(client);
        }
    }

    /// Goes on with a connection that epoll holds; whether there is more to do for it.
    fn step(&self, client: &mut Client, now: Instant) -> bool {
        let next = if now < client.until { client.step() } else { Next::Close };
        let watch = |flags| {
            epoll::modify(&self.epoll, &client.socket, EventData::new_u64(0), flags).is_ok()
        };
        let goes_on = match next {
            Next::Read => watch(EventFlags::IN),
            Next::Write => watch(EventFlags::OUT),
            Next::Close => false,
        };
        if !goes_on {
            // A forked child may hold the descriptor open, and epoll would go on watching that.
            let _ = epoll::delete(&self.epoll, &client.socket);
        }
        goes_on
    }
}

/// Who may look: this very uid, and root. Not somebody whom the kernel has no number for.
fn may_look(uid: Option<u32>, ours: u32) -> bool {
    uid.is_some_and(|uid| uid == ours || uid == 0)
}

impl Client {
    fn step(&mut self) -> Next {
        if self.answer.is_none()
            && let Err(next) = self.read()
        {
            return next;
        }
        let Some(Answer { bytes, sent }) = &mut self.answer else { return Next::Read };
        while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            match send(&self.socket, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(more) => *sent += more,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Next::Write,
                Err(_) => break,
            }
        }
        Next::Close
    }

    /// Reads the request, and makes the answer once it is whole.
    fn read(&mut self) -> Result<(), Next> {
        let mut buffer = [0; 1024];
        loop {
            let room = buffer.len().min(MOST_REQUEST_BYTES - self.request.len());
            let all = match rustix::io::read(&self.socket, &mut buffer[..room]) {
                Ok(0) => true,
                Ok(read) => {
                    self.request.extend_from_slice(&buffer[..read]);
                    false
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Err(Next::Read),
                Err(_) => return Err(Next::Close),
            };
            if let Heard::Request(request) = Heard::of(&self.request, all) {
                self.answer = Some(Answer { bytes: request.answer(snapshot), sent: 0 });
                return Ok(());
            }
        }
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("address", self.address()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;
    use crate::address::AddressKind;
    use crate::testing::{Forked, Scratch, alone};

    #[test]
    fn its_own_uid_and_root_may_look_and_nobody_else() {
        for (uid, ours, may) in [
            (Some(1000), 1000, true),
            (Some(0), 1000, true),
            (Some(0), 0, true),
            (Some(1001), 1000, false),
            (Some(1000), 0, false),
            (None, 65_534, false), // unknown to this namespace
        ] {
            assert_eq!(may_look(uid, ours), may, "{uid:?} at {ours}");
        }
    }

    fn endpoint(scratch: &Scratch) -> Endpoint {
        Endpoint::bind(&Address::path(scratch.join("o")).unwrap()).unwrap()
    }

    fn connect(endpoint: &Endpoint) -> UnixStream {
        let AddressKind::Path(path) = endpoint.address().kind() else { panic!("{endpoint:?}") };
        UnixStream::connect(path).unwrap()
    }

    /// Whether whoever waits for its descriptor would be woken.
    fn rings(endpoint: &Endpoint) -> bool {
        let mut fds = [PollFd::new(endpoint, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
    }

    #[test]
    fn attack_05_a_stranger_hears_that_it_may_not_look_whatever_it_asked() {
        let scratch = Scratch::new();
        let mut endpoint = endpoint(&scratch);
        let ours = rustix::process::geteuid().as_raw();
        for uid in [Some(ours + 1), None] {
            let (mut stranger, socket) = UnixStream::pair().unwrap();
            socket.set_nonblocking(true).unwrap();
            stranger.write_all(b"json\n").unwrap();
            endpoint.welcome(socket.into(), uid, Instant::now());
            let mut heard = vec![0; 1 << 16];
            let read = stranger.read(&mut heard).unwrap();
            let sentence = format!("memring: only processes of uid {ours} and root may look\n");
            assert_eq!(String::from_utf8_lossy(&heard[..read]), sentence, "{uid:?}");
            assert!(endpoint.clients.is_empty(), "{uid:?}");
        }
    }

    #[test]
    fn attack_09_a_turn_ends_however_many_come() {
        let scratch = Scratch::new();
        let mut endpoint = endpoint(&scratch);
        // Each is over at once.
        let mut clients: Vec<_> = (0..2 * A_TURN + 1).map(|_| connect(&endpoint)).collect();
        for client in &mut clients {
            client.write_all(b"what\n").unwrap();
            client.set_nonblocking(true).unwrap();
        }
        let heard = |mut client: &UnixStream| client.read(&mut [0; 64]).is_ok();
        let answered = || clients.iter().filter(|client| heard(client)).count();
        endpoint.turn().unwrap();
        assert_eq!((answered(), rings(&endpoint)), (A_TURN, true));
        endpoint.turn().unwrap();
        endpoint.turn().unwrap();
        assert_eq!((answered(), rings(&endpoint)), (2 * A_TURN + 1, false));
    }

    #[test]
    fn a_client_whose_time_is_up_rings_no_more_though_a_forked_child_holds_it() {
        if !alone(concat!(
            "observe::endpoint::tests::",
            "a_client_whose_time_is_up_rings_no_more_though_a_forked_child_holds_it"
        )) {
            return;
        }
        let scratch = Scratch::new();
        let mut endpoint = endpoint(&scratch);
        let client = connect(&endpoint);
        endpoint.turn().unwrap();
        assert_eq!(endpoint.clients.len(), 1);
        let (release, mut until) = UnixStream::pair().unwrap();
        let mut release = Some(release);
        let child = Forked::start(|| {
            drop(release.take()); // its copy
            assert_eq!(until.read(&mut [0]).unwrap(), 0);
        });
        endpoint.clients[0].until = Instant::now();
        endpoint.turn().unwrap();
        assert!(endpoint.clients.is_empty());
        // What would be read there, if it were still watched.
        let _it_may_have_closed = (&client).write_all(b"json\n");
        drop(client);
        assert!(!rings(&endpoint));
        drop(release);
        assert!(child.wait());
    }
}
