//! Who is at the other end, in the kernel's words.
//!
//! Everything here comes from `SO_PEERCRED` and its relatives, nothing from bytes that the peer sent.
//! Each fact says whom it is about, for that is not always the process that reads our messages: the
//! credentials are of whoever called `connect` or `listen`, a socketpair names its creator for ever,
//! and a connected socket can be handed on. What dies is therefore watched on the process that
//! *sent* Hello or Welcome, once that is known ([`Peer::with_pidfd`]).
//!
//! It judges nobody; that is [`policy`](crate::policy)'s.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use memring_ring::fork::PerProcess;
use rustix::event::PollFlags;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};

use crate::os::{self, RawCredentials};
use crate::socket::{ControlSocket, wait_fd};

/// How the connection came about, and so whom the credentials name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// We accepted it: they are of the process that called `connect`, at that time.
    Connected,
    /// We connected: they are of the process that called `listen`, which may have handed the socket
    /// on to the one that serves (a service manager, a forked worker).
    Listening,
    /// We were given a connected socket: they name whoever created it, often this very process.
    /// Nothing about the other end is verified.
    Inherited,
    /// We made a socketpair and started the process at the other end: they name us, and the process
    /// is known by the pidfd it was started with.
    Spawned,
}

/// How the death of the peer's process is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeathDetection {
    /// By its pidfd: at once, even if a child of it keeps the socket open.
    Pidfd,
    /// By the socket hanging up: once the last holder of the other end is gone. Deadlines for the
    /// rest. The kernel has no `SCM_PIDFD` (before 6.5), or the peer has not spoken yet.
    HangUp,
}

/// The process at the other end of a session. Cheap to clone.
#[derive(Clone)]
pub struct Peer {
    facts: Arc<Facts>,
}

#[derive(Clone)]
struct Facts {
    origin: Origin,
    uid: Option<u32>,
    gid: Option<u32>,
    groups: Vec<u32>,
    label: Option<Vec<u8>>,
    pid: Option<u32>,
    pidfd: Option<Arc<OwnedFd>>,
    detection: DeathDetection,
}

/// Why the executable of a peer is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExeUnknown {
    /// There is no pidfd, or no number in our pid namespace, to tie a path to the process.
    #[error("the kernel does not say which process the peer is (needs Linux 6.5 and /proc)")]
    NoProcess,
    /// It has ended.
    #[error("the peer's process has ended")]
    Gone,
    /// `/proc/PID/exe` could not be read: another uid's, without `CAP_SYS_PTRACE`.
    #[error("reading the link to the peer's executable")]
    Unreadable(#[source] io::Error),
}

/// A file, told apart from every other by device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: (u32, u32),
    inode: u64,
}

impl Peer {
    /// Asks the kernel who is at the other end of `socket`.
    ///
    /// # Errors
    ///
    /// What the kernel says; a fact that it merely does not have is absent from the answer.
    pub fn of(socket: &ControlSocket, origin: Origin) -> io::Result<Self> {
        let fd = socket.as_fd();
        let raw = os::peer_credentials(fd)?;
        // Of a socket made by socketpair both would name its creator, and so nobody that matters.
        let pidfd = match origin {
            Origin::Connected | Origin::Listening => os::peer_pidfd(fd)?.map(Arc::new),
            Origin::Inherited | Origin::Spawned => None,
        };
        // A listener may live on after the process that called listen() is gone.
        let detection = match origin {
            Origin::Connected if pidfd.is_some() => DeathDetection::Pidfd,
            _ => DeathDetection::HangUp,
        };
        let mut facts = Facts::from_raw(origin, raw);
        facts.groups = os::peer_groups(fd)?;
        facts.groups.retain(|group| known_gid(*group).is_some());
        facts.label = os::peer_label(fd)?;
        facts.pidfd = pidfd;
        facts.detection = detection;
        Ok(Self { facts: Arc::new(facts) })
    }

    /// The same peer, known from here on by the process behind `pidfd`: the one that sent Hello or
    /// Welcome (`SCM_PIDFD`), or the one we spawned. Its death is what will be reported.
    ///
    /// Uid, gid, groups and label stay those of the connection. The pid becomes the one that
    /// `/proc/self/fdinfo` tells for `pidfd`, or unknown. A sender with `CAP_SYS_ADMIN` over its pid
    /// namespace chooses which of the processes there an `SCM_PIDFD` is of.
    #[must_use]
    pub fn with_pidfd(&self, pidfd: OwnedFd) -> Self {
        let mut facts = Facts::clone(&self.facts);
        facts.pid = pid_behind(pidfd.as_fd());
        facts.pidfd = Some(Arc::new(pidfd));
        facts.detection = DeathDetection::Pidfd;
        Self { facts: Arc::new(facts) }
    }

    /// The same peer at another socket, where its pidfd is not known yet.
    pub(crate) fn without_pidfd(&self) -> Self {
        let mut facts = Facts::clone(&self.facts);
        facts.pidfd = None;
        facts.detection = DeathDetection::HangUp;
        Self { facts: Arc::new(facts) }
    }

    /// The same peer, by the number of the child that we spawned. The socketpair names us, who made it.
    pub(crate) fn with_child(&self, pid: u32) -> Self {
        let mut facts = Facts::clone(&self.facts);
        facts.pid = Some(pid);
        Self { facts: Arc::new(facts) }
    }

    /// How the connection came about, and so whom [`uid`](Self::uid) and the rest are about.
    pub fn origin(&self) -> Origin {
        self.facts.origin
    }

    /// Effective uid, or `None` if it has no number in our user namespace.
    pub fn uid(&self) -> Option<u32> {
        self.facts.uid
    }

    /// Effective gid, or `None` if it has no number in our user namespace.
    pub fn gid(&self) -> Option<u32> {
        self.facts.gid
    }

    /// Whether `gid` is its effective or (Linux 4.13) one of its supplementary groups.
    pub fn is_in_group(&self, gid: u32) -> bool {
        self.facts.gid == Some(gid) || self.facts.groups.contains(&gid)
    }

    /// Process number, or `None` if it has none in our pid namespace. For people to read: numbers are
    /// used again, only a pidfd is not.
    pub fn pid(&self) -> Option<u32> {
        self.facts.pid
    }

    /// A pidfd of the process that [`pid`](Self::pid) names, if the kernel gave one.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.facts.pidfd.as_ref().map(|fd| fd.as_fd())
    }

    /// The pidfd to watch for the peer's death, exactly if [`death_detection`](Self::death_detection)
    /// says so. Shared: it stays open as long as the watcher needs it.
    pub fn watched_pidfd(&self) -> Option<Arc<OwnedFd>> {
        match self.facts.detection {
            DeathDetection::Pidfd => self.facts.pidfd.clone(),
            DeathDetection::HangUp => None,
        }
    }

    /// How the death of its process is noticed.
    pub fn death_detection(&self) -> DeathDetection {
        self.facts.detection
    }

    /// The label that a security module (SELinux, AppArmor, Smack) put on the peer, as it is.
    pub fn security_label(&self) -> Option<&[u8]> {
        self.facts.label.as_deref()
    }

    /// Whether the process behind the pidfd still runs; `None` if there is no pidfd to ask.
    ///
    /// It may end right after a `Some(true)`; `Some(false)` is for ever.
    pub fn is_running(&self) -> Option<bool> {
        let exited = wait_fd(self.pidfd()?, PollFlags::IN, Some(Instant::now()));
        exited.ok().map(|exited| !exited)
    }

    /// The path of the program that the peer's process runs, at this moment.
    ///
    /// **Advisory.** The process is checked, by its pidfd, to be running before and after the look,
    /// so the path is of the right process. But that process can exec another program right after, or
    /// have connected and then exec'd the one that is expected; whoever may trace it can run any code
    /// inside the right program; and a file can be replaced under its path. It keeps honest programs
    /// from meeting by mistake, and no attacker out: that is for uids, gids and labels.
    ///
    /// A program that was deleted or replaced ends in `" (deleted)"`, as the kernel has it.
    ///
    /// # Errors
    ///
    /// [`ExeUnknown`]; without `CAP_SYS_PTRACE` only processes of our uid can be looked at.
    pub fn exe_path(&self) -> Result<PathBuf, ExeUnknown> {
        self.look_at_exe(|link| std::fs::read_link(link))
    }

    /// Which file the peer's process runs. Advisory as [`exe_path`](Self::exe_path) is.
    pub(crate) fn exe_identity(&self) -> Result<FileIdentity, ExeUnknown> {
        self.look_at_exe(FileIdentity::of)
    }

    fn look_at_exe<T>(&self, look: impl FnOnce(&Path) -> io::Result<T>) -> Result<T, ExeUnknown> {
        let (Some(pidfd), Some(running)) = (self.pidfd(), self.is_running()) else {
            return Err(ExeUnknown::NoProcess);
        };
        if !running {
            return Err(ExeUnknown::Gone);
        }
        let pid = pid_behind(pidfd).ok_or(ExeUnknown::NoProcess)?;
        let seen = look(&PathBuf::from(format!("/proc/{pid}/exe")));
        // Running now means running then, so the number was not used again in between.
        match (self.is_running(), seen) {
            (Some(true), Ok(seen)) => Ok(seen),
            (Some(true), Err(error)) => Err(ExeUnknown::Unreadable(error)),
            _ => Err(ExeUnknown::Gone),
        }
    }

    /// A peer made up of numbers, for tables that test judgement.
    #[cfg(test)]
    pub(crate) fn made_up(origin: Origin, pid: i32, uid: u32, gid: u32, groups: &[u32]) -> Self {
        let mut facts = Facts::from_raw(origin, RawCredentials { pid, uid, gid });
        facts.groups = groups.to_vec();
        Self { facts: Arc::new(facts) }
    }
}

impl Facts {
    fn from_raw(origin: Origin, raw: RawCredentials) -> Self {
        Self {
            origin,
            uid: known_uid(raw.uid),
            gid: known_gid(raw.gid),
            groups: Vec::new(),
            label: None,
            pid: u32::try_from(raw.pid).ok().filter(|pid| *pid != 0),
            pidfd: None,
            detection: DeathDetection::HangUp,
        }
    }
}

/// `pid 123 uid 1000 gid 1000`, with `unknown` for what the kernel cannot say.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |f: &mut fmt::Formatter<'_>, what: &str, id: Option<u32>| match id {
            Some(id) => write!(f, "{what} {id}"),
            None => write!(f, "{what} unknown"),
        };
        number(f, "pid", self.pid())?;
        number(f, " uid", self.uid())?;
        number(f, " gid", self.gid())?;
        match self.origin() {
            Origin::Inherited => f.write_str(" (creator of the socket, unverified)"),
            Origin::Spawned => f.write_str(" (spawned)"),
            Origin::Connected | Origin::Listening => Ok(()),
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("pid", &self.facts.pid)
            .field("uid", &self.facts.uid)
            .field("gid", &self.facts.gid)
            .field("origin", &self.facts.origin)
            .field("death_detection", &self.facts.detection)
            .finish_non_exhaustive()
    }
}

impl FileIdentity {
    /// Never asks a file system that might not answer: a peer's program can lie on one of its own
    /// (FUSE), where a plain `stat` waits for as long as the peer likes.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let facts = rustix::fs::statx(&file, "", flags, StatxFlags::INO)?;
        Ok(Self { device: (facts.stx_dev_major, facts.stx_dev_minor), inode: facts.stx_ino })
    }
}

/// The number of the process behind a pidfd, as `/proc/self/fdinfo` has it.
fn pid_behind(pidfd: BorrowedFd<'_>) -> Option<u32> {
    use std::os::fd::AsRawFd;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    pid.trim().parse().ok().filter(|pid| *pid != 0) // -1: it has ended; 0: not in our namespace
}

/// The uid, unless the kernel has no number for it here.
pub(crate) fn known_uid(uid: u32) -> Option<u32> {
    static OVERFLOW: PerProcess<u32> = PerProcess::new();
    let overflow = OVERFLOW.get_or_init(|| overflow_id("/proc/sys/kernel/overflowuid"));
    (uid != *overflow && uid != u32::MAX).then_some(uid)
}

fn known_gid(gid: u32) -> Option<u32> {
    static OVERFLOW: PerProcess<u32> = PerProcess::new();
    let overflow = OVERFLOW.get_or_init(|| overflow_id("/proc/sys/kernel/overflowgid"));
    (gid != *overflow && gid != u32::MAX).then_some(gid)
}

/// What the kernel says for an id without a mapping. Changing it takes root and nobody does.
fn overflow_id(path: &str) -> u32 {
    std::fs::read_to_string(path).ok().and_then(|id| id.trim().parse().ok()).unwrap_or(65_534)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{Incoming, WhenAbsent};
    use crate::testing::Scratch;
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    fn table(pid: i32, uid: u32, gid: u32) -> String {
        Peer::made_up(Origin::Connected, pid, uid, gid, &[]).to_string()
    }

    #[test]
    fn attack_14_what_the_kernel_cannot_say_is_unknown() {
        assert_eq!(table(123, 1000, 100), "pid 123 uid 1000 gid 100");
        assert_eq!(table(0, 1000, 100), "pid unknown uid 1000 gid 100"); // another pid namespace
        assert_eq!(table(7, 65_534, 65_534), "pid 7 uid unknown gid unknown");
        assert_eq!(table(0, u32::MAX, u32::MAX), "pid unknown uid unknown gid unknown");
        assert_eq!(table(-1, 0, 0), "pid unknown uid 0 gid 0");
    }

    #[test]
    fn attack_17_a_socketpair_names_its_creator_and_is_not_watched() {
        let (ours, _theirs) = ControlSocket::pair().unwrap();
        for origin in [Origin::Inherited, Origin::Spawned] {
            let peer = Peer::of(&ours, origin).unwrap();
            assert_eq!(peer.pid(), Some(std::process::id()));
            assert_eq!(peer.death_detection(), DeathDetection::HangUp);
            assert!(peer.pidfd().is_none() && peer.watched_pidfd().is_none());
            assert!(matches!(peer.exe_path(), Err(ExeUnknown::NoProcess)));
        }
    }

    /// The client's socket, the server's, and the listening one.
    fn connected() -> (ControlSocket, ControlSocket) {
        let scratch = Scratch::new();
        let address = crate::address::Address::path(scratch.join("s")).unwrap();
        let flags = SocketFlags::CLOEXEC;
        let listening =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .unwrap();
        rustix::net::bind(&listening, &address.to_socket_address().unwrap()).unwrap();
        rustix::net::listen(&listening, 1).unwrap();
        let client = ControlSocket::connect(&address, None, WhenAbsent::Fail).unwrap();
        let server = rustix::net::accept(&listening).unwrap();
        (client, ControlSocket::accepted(server, true).unwrap())
    }

    #[test]
    fn attack_16_the_listener_is_identified_but_not_watched() {
        let (client, server) = connected();
        let me = std::process::id();
        let who = Peer::of(&server, Origin::Connected).unwrap();
        assert_eq!(who.uid(), known_uid(rustix::process::geteuid().as_raw()));
        assert_eq!(who.pid(), Some(me));
        let has_pidfds = who.pidfd().is_some();
        assert_eq!(who.death_detection() == DeathDetection::Pidfd, has_pidfds);

        let who = Peer::of(&client, Origin::Listening).unwrap();
        assert_eq!(who.pid(), Some(me));
        assert_eq!(who.death_detection(), DeathDetection::HangUp);
        assert!(who.watched_pidfd().is_none());

        server.send(b"welcome", &[]).unwrap();
        let Incoming::Packet(packet) = client.receive(&mut [0; 8]).unwrap() else { panic!() };
        let Some(pidfd) = packet.pidfd else {
            println!("skipped: SCM_PIDFD needs Linux 6.5");
            return;
        };
        let who = who.with_pidfd(pidfd);
        assert_eq!(who.pid(), Some(me));
        assert_eq!(who.death_detection(), DeathDetection::Pidfd);
        assert_eq!(who.is_running(), Some(true));
        assert!(who.watched_pidfd().is_some());
    }

    /// A child, if there can be a pidfd of it.
    fn spawned(program: &str) -> Option<(std::process::Child, Peer)> {
        let mut child = std::process::Command::new(program)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let Some(pidfd) = crate::testing::pidfd(rustix::process::Pid::from_child(&child)) else {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        };
        let (ours, _theirs) = ControlSocket::pair().unwrap();
        Some((child, Peer::of(&ours, Origin::Spawned).unwrap().with_pidfd(pidfd)))
    }

    #[test]
    fn attack_13_a_process_is_its_pidfd_and_not_its_number() {
        let Some((mut child, peer)) = spawned("cat") else { return };
        assert_eq!(peer.pid(), Some(child.id()));
        assert_eq!(peer.is_running(), Some(true));
        assert!(peer.to_string().ends_with("(spawned)"));
        drop(child.stdin.take());
        child.wait().unwrap(); // the number is free for others now
        assert_eq!(peer.is_running(), Some(false));
        assert!(matches!(peer.exe_path(), Err(ExeUnknown::Gone)));
    }

    #[test]
    fn attack_11_the_program_is_looked_up_while_the_process_runs() {
        let Some((mut child, peer)) = spawned("cat") else { return };
        // Between fork and exec the child is still us; `cat` has begun when it echoes.
        crate::testing::eventually("cat runs", || {
            peer.exe_path().unwrap() != std::env::current_exe().unwrap()
        });
        let path = peer.exe_path().unwrap();
        assert_eq!(peer.exe_identity().unwrap(), FileIdentity::of(&path).unwrap());
        let me = std::env::current_exe().unwrap();
        assert_ne!(peer.exe_identity().unwrap(), FileIdentity::of(&me).unwrap());
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn attack_80_a_kernel_without_pidfds_of_peers_leaves_hang_up() {
        if !crate::testing::alone(
            "peer::tests::attack_80_a_kernel_without_pidfds_of_peers_leaves_hang_up",
        ) {
            return;
        }
        for option in [76, 77, 83, libc::SO_PEERGROUPS, libc::SO_PEERSEC] {
            crate::testing::refuse(libc::SYS_setsockopt, Some(option), libc::ENOPROTOOPT);
            crate::testing::refuse(libc::SYS_getsockopt, Some(option), libc::ENOPROTOOPT);
        }
        let (client, server) = connected();
        assert_eq!(server.pass_pidfd(true).unwrap(), os::Support::Absent);
        assert_eq!(server.pass_rights(false).unwrap(), os::Support::Absent);
        let peer = Peer::of(&server, Origin::Connected).unwrap();
        assert_eq!(peer.pid(), Some(std::process::id()));
        assert_eq!(peer.death_detection(), DeathDetection::HangUp);
        assert!(peer.pidfd().is_none() && peer.security_label().is_none());
        assert!(peer.is_running().is_none());
        client.send(b"x", &[]).unwrap();
        let Incoming::Packet(packet) = server.receive(&mut [0; 8]).unwrap() else { panic!() };
        assert!(packet.pidfd.is_none());
    }
}
