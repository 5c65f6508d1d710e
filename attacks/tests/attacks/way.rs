//! Ways for a server to wait: a thread for each session, or one hub for everything. Each test of a scene goes through both, each
//! time in a process of its own; with `MEMRING_SCENE=threads` or `hub` through that one only.

use std::fmt;

use crate::support::{is_alone, start_alone};

const VARIABLE: &str = "MEMRING_SCENE";

/// How a server waits for its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// One thread accepts, and each session has one that blocks.
    Threads,
    /// The listener and all sessions are in one hub, in one thread.
    Hub,
}

impl Way {
    const ALL: [Self; 2] = [Self::Threads, Self::Hub];

    /// How this process is to serve, in which nothing but the test `name` is. `None` in the one that was asked for the test: it
    /// has gone through all ways there, but a hub where something speaks against that.
    #[track_caller]
    pub fn alone(name: &str, no_hub: Option<&str>) -> Option<Self> {
        let asked = std::env::var(VARIABLE).ok();
        let asked = asked.map(|asked| Self::named(&asked));
        if is_alone(name) {
            return Some(asked.expect("whoever started this process has said it"));
        }
        // Beside each other, for most of what they do is to wait.
        std::thread::scope(|scope| {
            for way in Self::ALL.into_iter().filter(|way| asked.is_none_or(|asked| asked == *way)) {
                scope.spawn(move || match no_hub.filter(|_| way == Self::Hub) {
                    Some(why) => println!("skipped: not with a hub: {why}"),
                    None => start_alone(name, Some((VARIABLE, way.name()))),
                });
            }
        });
        None
    }

    fn named(name: &str) -> Self {
        let way = Self::ALL.into_iter().find(|way| way.name() == name);
        way.unwrap_or_else(|| panic!("{VARIABLE} is `threads` or `hub`, not `{name}`"))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Hub => "hub",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
