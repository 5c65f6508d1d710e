//! Who may be a peer.
//!
//! A policy is asked once a connection, with what the kernel says and before any byte is read or
//! any memory set aside. The lists say who is admitted: any one of them is enough. Conditions (a
//! program, a closure) narrow that down: every one has to hold. Both sides ask: the listener about
//! who connects, the client about who listens, before it sends anything.
//!
//! It does not see messages, and it cannot follow a socket that its holder hands to somebody else.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::peer::{ExeUnknown, FileIdentity, Peer};

type Check = Arc<dyn Fn(&Peer) -> bool + Send + Sync>;

/// Who may be a peer. The default is [`Policy::same_uid`].
///
/// ```
/// use memring_transport::policy::Policy;
///
/// let ours_and_backup = Policy::same_uid().allow_uid(34);
/// let group_members_of_this_program = Policy::nobody().allow_gid(100).allow_exe("/usr/bin/app");
/// # let _ = (ours_and_backup, group_members_of_this_program);
/// ```
#[derive(Clone)]
#[must_use = "a policy does nothing until a listener or a connection is given it"]
pub struct Policy {
    same_uid: bool,
    any_uid: bool,
    unknown_uid: bool,
    uids: Vec<u32>,
    gids: Vec<u32>,
    exes: Vec<PathBuf>,
    checks: Vec<Check>,
}

/// Which rule turned a peer away.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// The kernel has no number for its uid here.
    #[error(
        "{peer}: its uid is not mapped in this user namespace, so no list can name it; \
         allow_unknown_uid() admits all such peers"
    )]
    UnknownUid {
        /// Who.
        peer: Peer,
    },
    /// No list admits it.
    #[error(
        "{peer}: neither its uid nor a group of its is admitted (this process has uid {our_uid}); \
         allow_uid or allow_gid admits others"
    )]
    NotListed {
        /// Who.
        peer: Peer,
        /// Ours, which `same_uid` compares with.
        our_uid: u32,
    },
    /// It runs another program.
    #[error("{peer}: it runs {}, which allow_exe does not name", display_or_unknown(exe.as_deref()))]
    Exe {
        /// Who.
        peer: Peer,
        /// What it runs, if that could be read.
        exe: Option<PathBuf>,
    },
    /// What it runs is not known, and the policy asks for it.
    #[error("{peer}: its program is not known, and allow_exe asks for it")]
    ExeUnknown {
        /// Who.
        peer: Peer,
        /// Why not.
        #[source]
        why: ExeUnknown,
    },
    /// A closure said no.
    #[error("{peer}: the application's own check refused it")]
    Check {
        /// Who.
        peer: Peer,
    },
}

impl Denied {
    /// Who was turned away.
    pub fn peer(&self) -> &Peer {
        match self {
            Self::UnknownUid { peer }
            | Self::NotListed { peer, .. }
            | Self::Exe { peer, .. }
            | Self::ExeUnknown { peer, .. }
            | Self::Check { peer } => peer,
        }
    }
}

impl Policy {
    /// Admits processes of our own effective uid, and no others, not even root.
    pub fn same_uid() -> Self {
        Self { same_uid: true, ..Self::nobody() }
    }

    /// Admits nobody, for policies that list everybody.
    pub fn nobody() -> Self {
        Self {
            same_uid: false,
            any_uid: false,
            unknown_uid: false,
            uids: Vec::new(),
            gids: Vec::new(),
            exes: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// Admits **every process on this machine** that can reach the socket, of whatever uid that has
    /// a number here.
    pub fn any_uid() -> Self {
        Self { any_uid: true, ..Self::nobody() }
    }

    /// Also admits processes whose effective uid is `uid`.
    pub fn allow_uid(mut self, uid: u32) -> Self {
        self.uids.push(uid);
        self
    }

    /// Also admits processes whose effective or supplementary groups have `gid`, as they were when
    /// the process connected or listened.
    pub fn allow_gid(mut self, gid: u32) -> Self {
        self.gids.push(gid);
        self
    }

    /// Also admits processes whose uid has no number in this user namespace: **any user** of another
    /// container or of the host, and whoever runs as the overflow uid (`nobody`, 65534).
    ///
    /// Without this such a process is turned away whatever its groups and whatever the lists say,
    /// even by `any_uid`, and even if we run as that uid ourselves.
    pub fn allow_unknown_uid(mut self) -> Self {
        self.unknown_uid = true;
        self
    }

    /// Of those admitted, only processes that run one of the programs named this way.
    ///
    /// **Advisory**: see [`Peer::exe_path`] for what gets past it. Files are compared, not paths, and
    /// at the time of the connection; a path that does not exist matches nothing. A peer of another
    /// uid can be looked at only with `CAP_SYS_PTRACE`.
    pub fn allow_exe(mut self, path: impl Into<PathBuf>) -> Self {
        self.exes.push(path.into());
        self
    }

    /// Of those admitted, only peers that `check` says yes to. It should not block: it runs in the
    /// handshake, and its time is the handshake's.
    pub fn check(mut self, check: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        self.checks.push(Arc::new(check));
        self
    }

    /// Whether `peer` may be one, `our_euid` being this process's effective uid.
    ///
    /// Pure but for `allow_exe`, which looks at `/proc`, and for what the closures do.
    ///
    /// # Errors
    ///
    /// [`Denied`] names the rule and the peer.
    pub fn judge(&self, peer: &Peer, our_euid: u32) -> Result<(), Denied> {
        match peer.uid() {
            None if !self.unknown_uid => return Err(Denied::UnknownUid { peer: peer.clone() }),
            None => {}
            Some(uid) if self.lists(peer, uid, our_euid) => {}
            Some(_) => {
                return Err(Denied::NotListed { peer: peer.clone(), our_uid: our_euid });
            }
        }
        self.judge_exe(peer)?;
        if self.checks.iter().all(|check| check(peer)) {
            Ok(())
        } else {
            Err(Denied::Check { peer: peer.clone() })
        }
    }

    fn lists(&self, peer: &Peer, uid: u32, our_euid: u32) -> bool {
        self.any_uid
            || (self.same_uid && uid == our_euid)
            || self.uids.contains(&uid)
            || self.gids.iter().any(|gid| peer.is_in_group(*gid))
    }

    fn judge_exe(&self, peer: &Peer) -> Result<(), Denied> {
        if self.exes.is_empty() {
            return Ok(());
        }
        let runs =
            peer.exe_identity().map_err(|why| Denied::ExeUnknown { peer: peer.clone(), why })?;
        let named = |exe: &PathBuf| FileIdentity::of(exe).is_ok_and(|named| named == runs);
        if self.exes.iter().any(named) {
            return Ok(());
        }
        Err(Denied::Exe { peer: peer.clone(), exe: peer.exe_path().ok() })
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::same_uid()
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("same_uid", &self.same_uid)
            .field("any_uid", &self.any_uid)
            .field("unknown_uid", &self.unknown_uid)
            .field("uids", &self.uids)
            .field("gids", &self.gids)
            .field("exes", &self.exes)
            .field("checks", &self.checks.len())
            .finish()
    }
}

fn display_or_unknown(path: Option<&Path>) -> String {
    path.map_or_else(|| "an unknown program".to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Origin;

    const US: u32 = 1000;
    const NOBODY: u32 = 65_534;

    fn judged(policy: &Policy, uid: u32, gid: u32, groups: &[u32]) -> &'static str {
        let peer = Peer::made_up(Origin::Connected, 7, uid, gid, groups);
        match policy.judge(&peer, US) {
            Ok(()) => "ok",
            Err(Denied::UnknownUid { .. }) => "unknown",
            Err(Denied::NotListed { .. }) => "not listed",
            Err(Denied::Exe { .. }) => "exe",
            Err(Denied::ExeUnknown { .. }) => "exe unknown",
            Err(Denied::Check { .. }) => "check",
        }
    }

    #[test]
    fn attack_05_and_14_lists_admit_and_unknown_uids_match_none() {
        let cases: [(Policy, u32, u32, &[u32], &str); 24] = [
            (Policy::default(), US, 5, &[], "ok"),
            (Policy::default(), 0, 0, &[], "not listed"),
            (Policy::default(), 1001, 5, &[US], "not listed"),
            (Policy::default(), NOBODY, NOBODY, &[], "unknown"),
            (Policy::default(), u32::MAX, u32::MAX, &[], "unknown"),
            (Policy::same_uid().allow_uid(0), 0, 0, &[], "ok"),
            (Policy::same_uid().allow_uid(0), US, 5, &[], "ok"),
            (Policy::same_uid().allow_uid(0), 1, 5, &[], "not listed"),
            (Policy::same_uid().allow_uid(NOBODY), NOBODY, 5, &[], "unknown"),
            (Policy::nobody(), US, 5, &[], "not listed"),
            (Policy::nobody().allow_uid(7).allow_uid(8), 8, 5, &[], "ok"),
            (Policy::nobody().allow_gid(5), 1, 5, &[], "ok"),
            (Policy::nobody().allow_gid(5), 1, 6, &[4, 5], "ok"),
            (Policy::nobody().allow_gid(5), 1, 6, &[4], "not listed"),
            (Policy::nobody().allow_gid(NOBODY), 1, NOBODY, &[], "not listed"),
            (Policy::nobody().allow_gid(5), NOBODY, 5, &[5], "unknown"),
            (Policy::any_uid(), 1, 1, &[], "ok"),
            (Policy::any_uid(), NOBODY, 1, &[], "unknown"),
            (Policy::any_uid().allow_unknown_uid(), NOBODY, 1, &[], "ok"),
            (Policy::same_uid().allow_unknown_uid(), NOBODY, 1, &[], "ok"),
            (Policy::same_uid().allow_unknown_uid(), 1, 1, &[], "not listed"),
            (Policy::any_uid().check(|_| false), 1, 1, &[], "check"),
            (Policy::any_uid().check(|_| true).check(|p| p.uid() == Some(2)), 1, 1, &[], "check"),
            (Policy::nobody().check(|_| true), US, 1, &[], "not listed"),
        ];
        for (policy, uid, gid, groups, verdict) in cases {
            assert_eq!(judged(&policy, uid, gid, groups), verdict, "{policy:?} {uid} {gid}");
        }
    }

    #[test]
    fn checks_are_asked_only_about_those_admitted() {
        let policy = Policy::same_uid().check(|_| unreachable!("asked about a stranger"));
        assert_eq!(judged(&policy, 1001, 5, &[]), "not listed");
    }

    #[test]
    fn attack_11_programs_are_compared_by_file() {
        let (ours, _theirs) = crate::socket::ControlSocket::pair().unwrap();
        let peer = Peer::of(&ours, Origin::Inherited).unwrap();
        let anybody = || Policy::any_uid().allow_unknown_uid();
        let policy = anybody().allow_exe("/proc/self/exe");
        assert!(matches!(policy.judge(&peer, US), Err(Denied::ExeUnknown { .. })));

        let Some(pidfd) = crate::testing::pidfd(rustix::process::getpid()) else { return };
        let peer = peer.with_pidfd(pidfd);
        policy.judge(&peer, US).unwrap();
        for other in ["/bin/sh", "/nonexistent"] {
            let denied = anybody().allow_exe(other).judge(&peer, US).unwrap_err();
            let Denied::Exe { exe, .. } = &denied else { panic!("{denied:?}") };
            assert_eq!(exe.as_deref(), std::env::current_exe().ok().as_deref());
        }
        let either = anybody().allow_exe("/bin/sh").allow_exe("/proc/self/exe");
        either.judge(&peer, US).unwrap();
    }

    #[test]
    fn denials_say_who_why_and_what_to_do() {
        let stranger = Peer::made_up(Origin::Connected, 7, 33, 33, &[]);
        let text = Policy::same_uid().judge(&stranger, US).unwrap_err().to_string();
        for part in ["pid 7 uid 33 gid 33", "uid 1000", "allow_uid"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
