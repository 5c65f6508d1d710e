//! Sockets that a service manager opened and handed over: `LISTEN_FDS`, as systemd's sd_listen_fds(3) describes.
//!
//! They begin at descriptor 3, so many as the environment says, and are for the process whose number it says. Each is taken once.

use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::FdFlags;

use crate::os;

/// The first one.
const FIRST: RawFd = 3;
/// More than any unit has, and few enough to look at.
const MOST: usize = 253;

/// Why no socket could be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotActivated {
    /// Nothing was handed over to this process.
    #[error("no socket was handed over to this process: start it by its socket unit")]
    Nothing,
    /// The environment says what cannot be.
    #[error("{variable} is {value:?}, which says nothing")]
    Malformed {
        /// Which variable.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// None of that name is left.
    #[error(
        "no socket of the name {name:?} is left: {left} (FileDescriptorName= in the socket unit)"
    )]
    Name {
        /// The name that was asked for.
        name: String,
        /// Which are left.
        left: Names,
    },
    /// There are several, or none any more.
    #[error("which one? {left}: say its name")]
    Several {
        /// Which are left.
        left: Names,
    },
    /// There is no such descriptor.
    #[error("descriptor {fd} was to be handed over, and is not open")]
    NotOpen {
        /// Its number.
        fd: RawFd,
    },
}

/// Names of sockets that were handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("there is none"),
            names => write!(f, "there are {}", names.join(", ")),
        }
    }
}

/// What the environment of a process says.
#[derive(Clone, Copy, Debug, Default)]
struct Said<'a> {
    pid: Option<&'a str>,
    fds: Option<&'a str>,
    names: Option<&'a str>,
}

impl Said<'_> {
    /// The names of all descriptors, in order. Pure.
    fn names(self, pid: u32) -> Result<Vec<String>, NotActivated> {
        let number = |variable, value: Option<&str>| {
            let value = value.ok_or(NotActivated::Nothing)?;
            let malformed = || NotActivated::Malformed { variable, value: value.to_owned() };
            value.parse::<u32>().map_err(|_| malformed())
        };
        if number("LISTEN_PID", self.pid)? != pid {
            return Err(NotActivated::Nothing); // it was for a process that started us
        }
        let count = number("LISTEN_FDS", self.fds)? as usize;
        if count == 0 {
            return Err(NotActivated::Nothing);
        }
        if count > MOST {
            let value = count.to_string();
            return Err(NotActivated::Malformed { variable: "LISTEN_FDS", value });
        }
        let mut names: Vec<String> =
            self.names.into_iter().flat_map(|names| names.split(':')).map(str::to_owned).collect();
        // Where the manager says none, sd_listen_fds_with_names(3) says this.
        names.resize(count, "unknown".to_owned());
        Ok(names)
    }
}

/// Those that nobody has taken, with their names; `None` before the first look.
static LEFT: Mutex<Option<Vec<(String, RawFd)>>> = Mutex::new(None);

/// Takes the socket of this name; without a name, the only one.
///
/// # Errors
///
/// [`NotActivated`].
pub fn take(name: Option<&str>) -> Result<OwnedFd, NotActivated> {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    let left = match &mut *left {
        Some(left) => left,
        none => {
            let [pid, fds, names] =
                ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(|name| std::env::var(name).ok());
            let said = Said { pid: pid.as_deref(), fds: fds.as_deref(), names: names.as_deref() };
            none.insert(said.names(std::process::id())?.into_iter().zip(FIRST..).collect())
        }
    };
    let names =
        |left: &[(String, RawFd)]| Names(left.iter().map(|(name, _)| name.clone()).collect());
    let place = match name {
        Some(name) => left
            .iter()
            .position(|(other, _)| other == name)
            .ok_or_else(|| NotActivated::Name { name: name.to_owned(), left: names(left) })?,
        None if left.len() == 1 => 0,
        None => return Err(NotActivated::Several { left: names(left) }),
    };
    let (_, number) = left.remove(place);
    let not_open = NotActivated::NotOpen { fd: number };
    let fd = os::take_inherited(number).map_err(|_| not_open.clone())?;
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC).map_err(|_| not_open)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_for_the_process_that_it_names() {
        let said = |pid, fds, names| Said { pid, fds, names }.names(7);
        assert_eq!(said(None, Some("1"), None), Err(NotActivated::Nothing));
        assert_eq!(said(Some("8"), Some("1"), None), Err(NotActivated::Nothing));
        assert_eq!(said(Some("7"), Some("0"), None), Err(NotActivated::Nothing));
        assert_eq!(said(Some("7"), Some("1"), Some("quotes")), Ok(vec!["quotes".to_owned()]));
        assert_eq!(
            said(Some("7"), Some("3"), Some("a:b")),
            Ok(["a", "b", "unknown"].map(str::to_owned).to_vec())
        );
        for (pid, fds) in [("x", "1"), ("7", "-1"), ("7", "254"), ("7", "99999999999")] {
            let refused = said(Some(pid), Some(fds), None);
            assert!(matches!(refused, Err(NotActivated::Malformed { .. })), "{pid} {fds}");
        }
    }
}
