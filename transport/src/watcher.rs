//! The watcher: one thread that hears of every session's control socket and every peer's death.
//!
//! One epoll holds the control sockets (edge-triggered, one-shot: armed again by whoever drained it) and
//! the pidfds of the processes behind them. An event names a slot and the generation of the slot, so that
//! one that was on its way when a session ended meets nobody. The thread starts with the first session
//! of a process, makes no system call while nothing happens, and never reads a socket: a receive can
//! block on a descriptor that it discards.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use memring_ring::fork::PerProcess;
use rustix::event::epoll;
use rustix::io::Errno;

use crate::peer::Peer;
use crate::session::Session;
use crate::socket::ControlSocket;
use crate::thread;

/// Events taken at a time.
const BATCH: usize = 64;

/// The bit of an event's data that tells a death from the control socket.
const DEATH: u64 = 1 << 63;
/// Generations of a slot are counted modulo this.
const GENERATIONS: u32 = 1 << 31;

struct Watcher {
    epoll: OwnedFd,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    list: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    session: Weak<Session>,
}

/// A session's place in the watcher. It has to be ended before the session's descriptors close.
#[derive(Debug)]
pub(crate) struct Watch {
    watcher: &'static Watcher,
    slot: u32,
    generation: u32,
}

static WATCHER: PerProcess<Arc<Watcher>> = PerProcess::new();

/// The watcher of this process, started on first need. What it lacked may be there for the next session.
fn watcher() -> io::Result<&'static Watcher> {
    WATCHER.get_or_try_init(start).map(|watcher| &**watcher)
}

fn start() -> io::Result<Arc<Watcher>> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let watcher = Arc::new(Watcher { epoll, slots: Mutex::default() });
    let body = Arc::clone(&watcher);
    thread::start_and_wait(c"memring-watcher", move || body.run())?;
    Ok(watcher)
}

/// Watches the session's control socket and, where there is a pidfd, its peer's process.
pub(crate) fn watch(session: &Arc<Session>) -> io::Result<Watch> {
    let watcher = watcher()?;
    let watch = watcher.claim(session);
    let control = epoll::EventData::new_u64(watch.data());
    let added = epoll::add(&watcher.epoll, session.fd(), control, CONTROL).and_then(|()| {
        let Some(pidfd) = session.peer().watched_pidfd() else {
            return Ok(());
        };
        let death = epoll::EventData::new_u64(watch.data() | DEATH);
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        let added = epoll::add(&watcher.epoll, &pidfd, death, flags);
        added.inspect_err(|_| {
            let _ = epoll::delete(&watcher.epoll, session.fd());
        })
    });
    if let Err(error) = added {
        watcher.give_back(&watch);
        return Err(error.into());
    }
    Ok(watch)
}

/// The sessions of this process. None is kept: whoever looks at one holds it for no longer than that, for its end is that
/// of its last holder.
pub(crate) fn sessions() -> Vec<Weak<Session>> {
    WATCHER.get().map_or_else(Vec::new, |watcher| {
        let slots = watcher.slots();
        let sessions = slots.list.iter().map(|slot| &slot.session);
        sessions.filter(|session| session.strong_count() > 0).cloned().collect()
    })
}

const CONTROL: epoll::EventFlags = epoll::EventFlags::IN.union(HANG_UPS);

const HANG_UPS: epoll::EventFlags =
    epoll::EventFlags::RDHUP.union(epoll::EventFlags::ET).union(epoll::EventFlags::ONESHOT);

impl Watch {
    fn data(&self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// Listens for the next thing on the control socket, and for room in it if something is owed.
    pub(crate) fn rearm(&self, socket: BorrowedFd<'_>, owed: bool) {
        let room = if owed { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
        self.listen_for(socket, CONTROL | room);
    }

    /// Listens for the end of the control socket: an event loop hears of everything else.
    pub(crate) fn rearm_for_hang_ups(&self, socket: BorrowedFd<'_>) {
        self.listen_for(socket, HANG_UPS);
    }

    fn listen_for(&self, socket: BorrowedFd<'_>, events: epoll::EventFlags) {
        let data = epoll::EventData::new_u64(self.data());
        // The registration exists as long as the session does, and changing it needs no memory.
        let _ = epoll::modify(&self.watcher.epoll, socket, data, events);
    }

    /// Stops watching. After this no event meets the session.
    pub(crate) fn end(self, socket: &ControlSocket, peer: &Peer) {
        // A forked child may hold the descriptors open, and epoll would go on watching those.
        let _ = epoll::delete(&self.watcher.epoll, socket.as_fd());
        if let Some(pidfd) = peer.watched_pidfd() {
            let _ = epoll::delete(&self.watcher.epoll, &pidfd);
        }
        self.watcher.give_back(&self);
    }
}

impl Watcher {
    fn claim(&'static self, session: &Arc<Session>) -> Watch {
        let mut slots = self.slots();
        let session = Arc::downgrade(session);
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.list.push(Slot { generation: 0, session: Weak::new() });
            (slots.list.len() - 1) as u32
        });
        let held = &mut slots.list[slot as usize];
        held.session = session;
        Watch { watcher: self, slot, generation: held.generation }
    }

    fn give_back(&self, watch: &Watch) {
        let mut slots = self.slots();
        if let Some(held) = slots.list.get_mut(watch.slot as usize) {
            held.generation = (held.generation + 1) % GENERATIONS;
            held.session = Weak::new();
            slots.free.push(watch.slot);
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, data: u64) -> Option<Arc<Session>> {
        let slots = self.slots();
        let held = slots.list.get((data & u64::from(u32::MAX)) as usize)?;
        let generation = ((data & !DEATH) >> 32) as u32;
        if held.generation == generation { held.session.upgrade() } else { None }
    }

    fn run(&self) {
        let mut events = [MaybeUninit::uninit(); BATCH];
        loop {
            let happened = match epoll::wait(&self.epoll, &mut events, None) {
                Ok((happened, _)) => happened,
                Err(Errno::INTR) => continue,
                // The epoll is ours and open as long as the process lives.
                Err(_) => return,
            };
            for event in happened.iter() {
                let data = event.data.u64();
                let Some(session) = self.find(data) else {
                    continue;
                };
                if data & DEATH == 0 {
                    session.on_control();
                } else {
                    session.on_death();
                }
            }
        }
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("epoll", &self.epoll.as_fd()).finish_non_exhaustive()
    }
}
