//! A session: a control socket, the peer behind it, and the life its halves share.
//!
//! The session reads the control socket, and one reader at a time: [`Session::drain`] holds the control
//! lock over receiving packets and filing what they brought. Who calls it is decided elsewhere: a thread
//! that waits and was tripped, or the drainer. The end of the socket or of the peer's process ends the
//! session's life as a hang-up; the lanes say whether that was a close or a death.
//!
//! When the last half drops its session, the socket is shut down, for a forked child may hold it open.
//!
//! Not here: messages, which never touch the control socket.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use memring_ring::fork::Generation;
use memring_ring::step::{self, Step};
use memring_ring::{End, Fault, Host, Life};

use crate::control::MAX_PACKET;
use crate::handshake::{Negotiated, Notice, after_ready};
use crate::ledger::Entry;
use crate::peer::Peer;
use crate::quota::Ticket;
use crate::socket::{ControlSocket, Incoming, Packet, SendProblem};
use crate::tally::{self, Reason};
use crate::watcher::Watch;
use crate::{closer, drainer, watcher};

/// Packets read in one go.
const PACKETS: usize = 64;

/// What a server charged for a session, given back when it ends; its memory may take longer.
#[derive(Debug)]
pub(crate) struct Charges {
    pub _session: Ticket,
    pub _descriptors: Ticket,
    pub _segments: Option<[Entry; 2]>,
}

/// One session with one peer.
pub struct Session {
    socket: ControlSocket,
    peer: Peer,
    negotiated: Negotiated,
    life: Arc<Life>,
    generation: Generation,
    control: Mutex<Reader>,
    watch: OnceLock<Watch>,
    /// Which rule of the control protocol the peer broke.
    control_fault: OnceLock<Reason>,
    counted: AtomicBool,
    _charges: Option<Charges>,
}

/// The control lock: whoever holds it is the one reader.
struct Reader {
    buffer: Box<[u8; MAX_PACKET]>,
    /// Notices that the peer's full queue did not take yet.
    owed: Vec<Notice>,
}

impl Session {
    /// Takes over an established connection and has it watched.
    pub(crate) fn start(
        socket: ControlSocket,
        peer: Peer,
        negotiated: Negotiated,
        life: Arc<Life>,
        generation: Generation,
        charges: Option<Charges>,
    ) -> std::io::Result<Arc<Self>> {
        let session = Arc::new(Self {
            socket,
            peer,
            negotiated,
            life,
            generation,
            control: Mutex::new(Reader { buffer: Box::new([0; MAX_PACKET]), owed: Vec::new() }),
            watch: OnceLock::new(),
            control_fault: OnceLock::new(),
            counted: AtomicBool::new(false),
            _charges: charges,
        });
        let host: Weak<dyn Host> = Arc::downgrade(&(Arc::clone(&session) as Arc<dyn Host>));
        session.life.set_host(host);
        closer::try_again();
        step::at(Step::Lanes);
        let watch = watcher::watch(&session)?;
        let _ = session.watch.set(watch);
        step::at(Step::Watched);
        // What came before the watch began raises no edge; look once.
        session.drain();
        Ok(session)
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What both sides agreed on.
    #[must_use]
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// What the session shares with its halves.
    #[must_use]
    pub fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// Ends the session for both halves and the peer, at once, from any thread.
    ///
    /// The halves are not asked, so there is no word of theirs for the peer: it sees what it sees of a process
    /// that dies. To end in order, drop the halves.
    pub fn close(&self) {
        if self.generation.is_current() {
            self.life.close();
        }
    }

    /// Stops using system calls that a sandbox may forbid: from here on sleeps need no membarrier, and no
    /// thread is started, for those that may be needed run already.
    ///
    /// Until the peer has answered, sleeps are cut into slices of at most 10 ms; where both are in sandboxes, for
    /// good. Say it on every session, while no other thread waits on it: one that was about to call goes on. A
    /// filter that is to hold for the library's threads too has to be put on all threads.
    pub fn before_sandbox(&self) {
        if !self.generation.is_current() {
            return;
        }
        drainer::before_sandbox();
        closer::before_sandbox();
        // Under the lock: a Fence that is being answered is answered before this returns.
        let reader = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let tell = self.life.fences().stop_calling();
        drop(reader);
        if tell {
            self.heavy_fence_failed();
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The control socket has something to read, or has ended: finds somebody to see to it.
    pub(crate) fn on_control(self: &Arc<Self>) {
        if !self.life.trip() {
            drainer::submit(Arc::clone(self));
        }
    }

    /// The peer's process has ended.
    pub(crate) fn on_death(&self) {
        self.life.hang_up();
    }

    /// Reads the control socket until it is empty, or for long enough, and files what came.
    ///
    /// Whoever drains may have a deadline, and a peer may send for ever: what is left is readable still, so
    /// arming the watch again brings somebody back for it.
    pub(crate) fn drain(&self) {
        let mut reader = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever tripped us before this point is answered by what follows.
        self.life.take_attention();
        let reader = &mut *reader;
        for _ in 0..PACKETS {
            match self.socket.receive(reader.buffer.as_mut_slice()) {
                Ok(Incoming::WouldBlock) => break,
                Ok(Incoming::Ended) | Err(_) => return self.life.hang_up(),
                Ok(Incoming::Packet(packet)) => {
                    match read_notice(&packet, reader.buffer.as_slice()) {
                        Ok(notice) => self.on_notice(notice, &mut reader.owed),
                        Err(reason) => {
                            let _ = self.control_fault.set(reason);
                            self.life.fail(Fault::Control);
                            return;
                        }
                    }
                }
            }
        }
        self.pay(&mut reader.owed);
        if let Some(watch) = self.watch.get() {
            watch.rearm(self.socket.as_fd(), !reader.owed.is_empty());
        }
    }

    fn on_notice(&self, notice: Notice, owed: &mut Vec<Notice>) {
        match notice {
            Notice::Fence => {
                if self.life.fences().publish_full() {
                    owe(owed, Notice::FenceAck);
                }
            }
            Notice::FenceAck => self.life.fences().peer_publishes_full(),
        }
    }

    /// Sends what is owed; what the peer's queue does not take stays owed until there is room.
    fn pay(&self, owed: &mut Vec<Notice>) {
        while let Some(notice) = owed.first() {
            match self.socket.send(&notice.encode(), &[]) {
                Ok(()) => {
                    owed.remove(0);
                }
                Err(SendProblem::WouldBlock | SendProblem::NoMemory) => return,
                // The socket has ended, which its reader will find.
                Err(_) => owed.clear(),
            }
        }
    }
}

/// What a packet after Ready says, or the rule that it breaks.
fn read_notice(packet: &Packet, buffer: &[u8]) -> Result<Notice, Reason> {
    if packet.truncated {
        return Err(Reason::PacketOversized);
    }
    if packet.control_truncated {
        return Err(Reason::DescriptorsLost);
    }
    let bytes = buffer.get(..packet.len).unwrap_or(&[]);
    after_ready(bytes, packet.fds.len()).map_err(|fault| Reason::from(&fault))
}

/// A notice says all there is to say however often it is sent, so one of a kind is owed at a time.
fn owe(owed: &mut Vec<Notice>, notice: Notice) {
    if !owed.contains(&notice) {
        owed.push(notice);
    }
}

impl Host for Session {
    fn attend(&self) {
        if self.generation.is_current() {
            self.drain();
        }
    }

    fn heavy_fence_failed(&self) {
        {
            let mut reader = self.control.lock().unwrap_or_else(PoisonError::into_inner);
            owe(&mut reader.owed, Notice::Fence);
        }
        self.drain();
    }

    fn over(&self) {
        // Both halves may find a fault, and the session has one end.
        if let Some(End::Fault(fault)) = self.life.end()
            && !self.counted.swap(true, Ordering::Relaxed)
        {
            // A fault of the lanes may have come first.
            let said = self.control_fault.get().filter(|_| fault == Fault::Control);
            tally::count(said.copied().unwrap_or_else(|| fault.into()));
        }
        self.socket.shutdown();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.generation.is_current() {
            return; // the parent's; our copies of its descriptors close, and that is all
        }
        if let Some(watch) = self.watch.take() {
            step::at(Step::Unwatch);
            watch.end(&self.socket, &self.peer);
        }
        self.socket.shutdown();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("peer", &self.peer)
            .field("end", &self.life.end())
            .finish_non_exhaustive()
    }
}
