//! A crowd: many sessions that stand at once between two workers, to see what one of them takes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use memring::{Bytes, Channel, Connector, Listener};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::link::{Failed, Side};
use crate::outcome::Footprint;
use crate::scratch::Scratch;
use crate::worker::{COMMAND, Job, Reply, orders, say};
use crate::workers::{Workers, unexpected};

/// Sessions that are measured. One stands before: the first starts threads.
const SESSIONS: usize = 200;

/// Which side of the crowd a worker is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Crowd {
    /// Near connects, far accepts.
    pub side: Side,
    /// Where they meet.
    pub directory: PathBuf,
}

/// What a crowd's worker is told.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Order {
    /// Have so many sessions.
    Have(usize),
    /// Say what all of it takes.
    Weigh,
}

/// What a process takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Open descriptors.
    pub fds: u64,
    /// Bytes of memory; of what is shared its part (the kernel's PSS).
    pub memory: u64,
}

/// Measures what a session takes.
///
/// # Errors
///
/// If the sessions did not come about.
pub fn measure(program: &Path) -> Result<Footprint, Failed> {
    let directory = Scratch::new()?;
    let job = |side| Job::Crowd(Crowd { side, directory: directory.path().to_owned() });
    let mut workers = Workers::start(program, COMMAND, &[job(Side::Near), job(Side::Far)])?;
    let mut weigh_with = |sessions| -> Result<[Weight; 2], Failed> {
        workers.tell(&Order::Have(sessions))?;
        workers.done()?;
        workers.tell(&Order::Weigh)?;
        match workers.replies()?[..] {
            [Reply::Weighs(near), Reply::Weighs(far)] => Ok([near, far]),
            _ => Err(unexpected()),
        }
    };
    let before = weigh_with(1)?;
    let after = weigh_with(1 + SESSIONS)?;
    let each =
        |of: fn(&[Weight; 2]) -> u64| (of(&after) as f64 - of(&before) as f64) / SESSIONS as f64;
    Ok(Footprint {
        sessions: SESSIONS,
        memory: each(|both| both.iter().map(|it| it.memory).sum()),
        near_fds: each(|[near, _]| near.fds),
        far_fds: each(|[_, far]| far.fds),
    })
}

/// The worker's part.
pub(crate) fn work(crowd: &Crowd) -> Result<(), Failed> {
    raise_fd_limit()?;
    let path = crowd.directory.join("memring.sock");
    let listener = match crowd.side {
        Side::Near => None,
        Side::Far => Some(Listener::bind(&path)?),
    };
    let mut channels: Vec<Channel<[u8], [u8]>> = Vec::new();
    orders(|order| match order {
        Order::Have(sessions) => {
            while channels.len() < sessions {
                channels.push(match &listener {
                    Some(listener) => listener.accept()?.open::<Bytes>()?,
                    None => connector().connect::<Bytes>(&path)?,
                });
            }
            say(&Reply::Done)
        }
        Order::Weigh => say(&Reply::Weighs(weigh()?)),
    })
}

fn connector() -> Connector {
    Connector::new().wait_for_service().timeout(Duration::from_secs(10))
}

/// Quotas of the listener go by it too.
fn raise_fd_limit() -> Result<(), Failed> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn weigh() -> Result<Weight, Failed> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let pss = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse::<u64>().ok())
        .ok_or("/proc/self/smaps_rollup has no Pss")?;
    // Without the one that lists them.
    let fds = std::fs::read_dir("/proc/self/fd")?.count() as u64 - 1;
    Ok(Weight { fds, memory: pss << 10 })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Other tests run beside it, and take and free things of their own.
    #[test]
    fn descriptors_and_memory_weigh_what_they_are() {
        let before = weigh().unwrap();
        let files: Vec<_> = (0..100).map(|_| std::fs::File::open("/").unwrap()).collect();
        let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = weigh().unwrap();
        assert!(after.fds >= before.fds + 50, "{before:?} {after:?}");
        assert!(after.memory >= before.memory + (32 << 20), "{before:?} {after:?}");
        drop((files, memory));
    }
}
