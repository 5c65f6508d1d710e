//! A session: a control socket, the peer behind it, and the life its halves share.
//!
//! The session reads the control socket, and one reader at a time: [`Session::drain`] holds the control
//! lock over receiving packets and filing what they brought. Who calls it is decided elsewhere: a thread
//! that waits and was tripped, or the drainer. The end of the socket or of the peer's process ends the
//! session's life as a hang-up; the lanes say whether that was a close or a death.
//!
//! When the last half drops its session, the socket is shut down, for a forked child may hold it open.
//!
//! Not here: messages, of which only what goes with them touches the control socket.

mod carried;
mod further;
mod notifier;

pub(crate) use further::Standing;
pub use further::{Asked, FurtherError};
pub use notifier::{Notifier, wait_readable};

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use memring_ring::fork::Generation;
use memring_ring::observer::Observer;
use memring_ring::step::{self, Step};
use memring_ring::{End, Fault, Host, Life};
use rustix::io::Errno;
use rustix::net::{AddressFamily, sockopt};

use crate::attachments::{Inbox, KnownBlob, Library, Parcel, Shelf};
use crate::control::{Attachments, Features, MAX_PACKET, TypeName};
use crate::handshake::{Came, Heard, Hears, Negotiated, Notice, after_ready};
use crate::ledger::Entry;
use crate::observe::{self, Record};
use crate::peer::Peer;
use crate::quota::Ticket;
use crate::socket::{ControlSocket, ForeignFd, Incoming, Packet, SendProblem};
use crate::tally::{self, Reason};
use crate::watcher::Watch;
use crate::{closer, drainer, trace, watcher};

/// Packets read in one go.
const PACKETS: usize = 64;

/// What a server charged for a session, given back when it ends; its memory may take longer.
#[derive(Debug)]
pub(crate) struct Charges {
    pub _session: Ticket,
    pub descriptors: Arc<Ticket>,
    pub _blobs: Ticket,
    pub _segments: Option<[Entry; 2]>,
}

/// What a session begins with, beside its socket and its peer.
pub(crate) struct Beginning {
    pub negotiated: Negotiated,
    /// The protocol that its channel speaks.
    pub protocol: TypeName<'static>,
    pub life: Arc<Life>,
    pub observer: Observer,
    pub generation: Generation,
    pub charges: Option<Charges>,
    pub standing: Standing,
}

/// One session with one peer.
pub struct Session {
    me: Weak<Self>,
    socket: ControlSocket,
    peer: Peer,
    negotiated: Negotiated,
    life: Arc<Life>,
    generation: Generation,
    control: Mutex<Reader>,
    /// Taken after `control`, where both are.
    library: Mutex<Library>,
    shelf: Mutex<Shelf>,
    /// Blobs that nobody here holds any more, and the peer does not know it.
    departed: Mutex<carried::Departed>,
    watch: OnceLock<Watch>,
    notifiers: notifier::Notifiers,
    /// The kernel had no memory for a doorbell.
    owes_doorbell: AtomicBool,
    /// The notifiers will be told, for they may miss a doorbell.
    nudged: AtomicBool,
    /// An event loop has left, and the watcher is to look for everything again.
    loop_left: AtomicBool,
    /// Which rule of the control protocol the peer broke.
    control_fault: OnceLock<Reason>,
    counted: AtomicBool,
    charges: Option<Charges>,
    /// Descriptors of messages may be Unix sockets.
    unix_sockets: bool,
    /// Where both sides allow them.
    further: Option<further::Further>,
    record: Record,
}

/// The control lock: whoever holds it is the one reader.
struct Reader {
    buffer: Box<[u8; MAX_PACKET]>,
    /// Notices that the peer's full queue did not take yet.
    owed: Vec<Notice>,
    /// What came ahead of messages.
    inbox: Inbox,
    /// Blobs that are named no more. They go when the lock is let go of: that takes the longer the larger they are, and
    /// what their readers keep with them may call anybody.
    gone: Vec<Arc<KnownBlob>>,
    /// Doorbells that came.
    doorbells: u64,
    /// Whether what was read may end a wait outside of futexes; and which rule the peer broke. Both are passed on when the
    /// lock is let go of: they call anybody.
    tell: bool,
    fault: Option<Reason>,
    /// Somebody waits for room in the socket, outside of futexes.
    awaits_room: bool,
    /// The watcher leaves what comes to an event loop.
    hang_ups_only: bool,
    /// Further channels that were asked for; and what is to be said to that, when the peer's socket takes it.
    said: Vec<further::Said>,
    answers: VecDeque<further::Owed>,
}

/// What the watcher looks for on the control socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Whatever comes: nobody else reads.
    ForEverything,
    /// Its end: an event loop hears of the rest.
    ForHangUps,
    /// What it looked for before; it may have found it.
    AsBefore,
}

/// Where reading the control socket came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Drained {
    /// Nothing is left.
    Empty,
    /// There may be more.
    Partly,
    /// The socket has ended, or the session.
    Ended,
    /// The kernel refuses to read it.
    Failed,
}

impl Session {
    /// Takes over an established connection and has it watched.
    pub(crate) fn start(
        socket: ControlSocket,
        peer: Peer,
        beginning: Beginning,
    ) -> std::io::Result<Arc<Self>> {
        let Beginning { negotiated, protocol, life, observer, .. } = beginning;
        let Beginning { generation, charges, standing, .. } = beginning;
        // Who is there is known by now; each packet would bring a descriptor to close.
        let _it_may_go_on_doing_so = socket.pass_pidfd(false);
        let unix_sockets = standing.settings.unix_sockets;
        let further = !negotiated.features.and(Features::CHANNELS).is_empty();
        let further = further.then(|| further::Further::new(standing));
        let inbox = Inbox::new(negotiated.takes);
        let library = Mutex::new(Library::new(negotiated.takes));
        let shelf = Mutex::new(Shelf::new(negotiated.peer_takes));
        let session = Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            socket,
            peer,
            negotiated,
            life,
            generation,
            control: Mutex::new(Reader {
                buffer: Box::new([0; MAX_PACKET]),
                owed: Vec::new(),
                inbox,
                gone: Vec::new(),
                doorbells: 0,
                tell: false,
                fault: None,
                awaits_room: false,
                hang_ups_only: false,
                said: Vec::new(),
                answers: VecDeque::new(),
            }),
            library,
            shelf,
            departed: Mutex::default(),
            watch: OnceLock::new(),
            notifiers: notifier::Notifiers::default(),
            owes_doorbell: AtomicBool::new(false),
            nudged: AtomicBool::new(false),
            loop_left: AtomicBool::new(false),
            control_fault: OnceLock::new(),
            counted: AtomicBool::new(false),
            charges,
            unix_sockets,
            further,
            record: Record::new(protocol, observer),
        });
        let host: Weak<dyn Host> = Arc::downgrade(&(Arc::clone(&session) as Arc<dyn Host>));
        session.life.set_host(host);
        closer::try_again();
        trace::opened(&session);
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

    /// What is to be seen of this session at this moment: see [`observe`](crate::observe).
    #[must_use]
    pub fn observe(&self) -> observe::SessionSnapshot {
        observe::SessionSnapshot::of(self)
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Which rule the peer broke, as the tally has it.
    pub(crate) fn reason(&self, fault: Fault) -> Reason {
        // A fault of the lanes may have come first.
        let said = self.control_fault.get();
        let said = said.filter(|_| matches!(fault, Fault::Control | Fault::Blob));
        said.copied().unwrap_or_else(|| fault.into())
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
        self.tell();
        trace::ended(self, false);
    }

    /// Does this as the one reader of the control socket; and then, when others may read again, what it left to do. Who
    /// knows already need not be told.
    fn as_reader<R>(&self, knows: Option<&Notifier>, read: impl FnOnce(&mut Reader) -> R) -> R {
        let mut reader = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let done = read(&mut reader);
        let gone = std::mem::take(&mut reader.gone);
        let tell = std::mem::take(&mut reader.tell);
        let said = std::mem::take(&mut reader.said);
        let fault = reader.fault.filter(|_| self.control_fault.get().is_none());
        drop(reader);
        drop(gone);
        if let Some(reason) = fault {
            let _ = self.control_fault.set(reason);
            self.life.fail(Fault::Control);
        } else if tell {
            self.notifiers.tell(knows);
            trace::ended(self, false);
        }
        if let Some(further) = self.further.as_ref().filter(|_| tell) {
            further.wake(self.life.end().is_some());
        }
        said.into_iter().for_each(|said| self.on_said(said));
        done
    }

    /// Reads the control socket until it is empty, or for long enough, and files what came. The watcher looks for what
    /// comes next.
    ///
    /// Whoever drains may have a deadline, and a peer may send for ever: what is left is readable still, so
    /// arming the watch again brings somebody back for it.
    pub(crate) fn drain(&self) {
        self.drain_and(Look::ForEverything);
    }

    fn drain_and(&self, look: Look) {
        self.as_reader(None, |reader| {
            // Whoever tripped us before this point is answered by what follows.
            self.life.take_attention();
            if !matches!(self.read(reader), Drained::Ended | Drained::Failed) {
                self.settle(reader, look);
            }
        });
    }

    /// After reading: says what is owed, and has the watcher look for what comes next.
    fn settle(&self, reader: &mut Reader, look: Look) {
        self.tell_departures(&mut reader.owed);
        if self.owes_doorbell.swap(false, Ordering::AcqRel) {
            owe(&mut reader.owed, Notice::Doorbell);
        }
        let _what_is_left_waits_for_room = self.pay(&mut reader.owed);
        let answered = self.send_answers(&mut reader.answers);
        if reader.awaits_room && self.socket.has_room() {
            reader.awaits_room = false;
            reader.tell = true;
        }
        let Some(watch) = self.watch.get() else { return };
        let owed = !reader.owed.is_empty() || reader.awaits_room || !answered;
        let was = reader.hang_ups_only;
        reader.hang_ups_only = !owed
            && match look {
                Look::ForEverything => false,
                Look::AsBefore => was,
                Look::ForHangUps => true,
            };
        if !reader.hang_ups_only {
            watch.rearm(self.socket.as_fd(), owed);
        } else if look == Look::AsBefore || !was {
            watch.rearm_for_hang_ups(self.socket.as_fd());
        }
    }

    /// Reads some packets.
    fn read(&self, reader: &mut Reader) -> Drained {
        for _ in 0..PACKETS {
            if reader.fault.is_some() {
                return Drained::Ended;
            }
            let packet = match self.socket.receive(reader.buffer.as_mut_slice()) {
                Ok(Incoming::WouldBlock) => return Drained::Empty,
                Ok(Incoming::Packet(packet)) => packet,
                ended => {
                    self.life.hang_up();
                    reader.tell = true;
                    return if ended.is_ok() { Drained::Ended } else { Drained::Failed };
                }
            };
            // What it says may be a doorbell that others wait for. And if it says something else: a doorbell that found the queue
            // full counts as rung, for there was this to read.
            reader.tell = true;
            reader.fault = self.on_packet(packet, reader).err();
        }
        Drained::Partly
    }

    /// Files what a packet after Ready brought, or says which rule it breaks.
    fn on_packet(&self, mut packet: Packet, reader: &mut Reader) -> Result<(), Reason> {
        if let Some(Charges { descriptors, .. }) = &self.charges {
            packet.fds.iter_mut().for_each(|fd| fd.charge(descriptors));
        }
        if packet.truncated {
            return Err(Reason::PacketOversized);
        }
        let bytes = reader.buffer.get(..packet.len).unwrap_or(&[]);
        let got = packet.fds.len();
        let came = if packet.control_truncated { Came::Fewer(got) } else { Came::All(got) };
        let hears = Hears { takes: self.negotiated.takes, further: self.further_role() };
        match after_ready(bytes, came, hears) {
            Ok(Heard::Notice(Notice::Forget(forget))) => {
                if !self.on_forget(forget, reader) {
                    return Err(Reason::BlobUnknown);
                }
            }
            Ok(Heard::Notice(Notice::Doorbell)) => {
                reader.doorbells += 1;
                if reader.doorbells > self.life.doorbells() {
                    return Err(Reason::DoorbellFlood);
                }
            }
            Ok(Heard::Notice(notice)) => self.on_notice(notice, &mut reader.owed),
            Ok(Heard::Attachments(attachments)) => {
                if !self.unix_sockets && brings_unix_socket(&attachments, &packet.fds) {
                    return Err(Reason::UnixSocket);
                }
                if !reader.inbox.file(Parcel::new(&attachments, packet.fds)) {
                    return Err(Reason::DescriptorsFlood);
                }
            }
            Ok(Heard::Ask(ask)) => {
                if !self.further.as_ref().is_some_and(|further| further.on_ask(&ask)) {
                    return Err(Reason::ChannelUnasked);
                }
                reader.said.push((ask.into_owned(), packet.fds.pop()));
            }
            Ok(Heard::Answer(answer)) => {
                let (answer, socket) = (answer.into_owned(), packet.fds.pop());
                if !self.further.as_ref().is_some_and(|it| it.on_answer(answer, socket)) {
                    return Err(Reason::ChannelUnasked);
                }
            }
            Err(_) if packet.control_truncated => return Err(Reason::DescriptorsLost),
            Err(fault) => return Err(Reason::from(&fault)),
        }
        Ok(())
    }

    /// Waits until the control socket takes packets, until the deadline at most; reads what comes meanwhile.
    ///
    /// # Errors
    ///
    /// What the kernel says of waiting.
    pub fn wait_for_socket(&self, deadline: Instant) -> std::io::Result<()> {
        self.socket.wait_for_room(deadline)?;
        self.attend();
        Ok(())
    }

    fn on_notice(&self, notice: Notice, owed: &mut Vec<Notice>) {
        match notice {
            Notice::Fence => {
                if self.life.fences().publish_full() {
                    owe(owed, Notice::FenceAck);
                }
            }
            Notice::FenceAck => self.life.fences().peer_publishes_full(),
            Notice::Forget(_) | Notice::Doorbell => {} // see `on_packet`
        }
    }

    /// Sends what is owed; what the peer's queue or the kernel's memory does not take stays owed, for that reason.
    fn pay(&self, owed: &mut Vec<Notice>) -> Result<(), SendProblem> {
        while let Some(notice) = owed.first() {
            match self.socket.send(&notice.encode(), &[]) {
                Ok(()) => {
                    owed.remove(0);
                }
                Err(problem @ (SendProblem::WouldBlock | SendProblem::NoMemory)) => {
                    return Err(problem);
                }
                // The socket has ended, which its reader will find.
                Err(_) => owed.clear(),
            }
        }
        Ok(())
    }
}

/// Whether a message's own descriptors have one among them. It is the socket that is asked, and no file system, so that
/// never blocks; where the kernel will not answer it may be one. What should be a blob is asked for its seals.
fn brings_unix_socket(attachments: &Attachments<'_>, fds: &[ForeignFd]) -> bool {
    let own = attachments.list.iter().zip(fds).filter(|(what, _)| what.as_blob().is_none());
    own.map(|(_, fd)| sockopt::socket_domain(fd)).any(|domain| match domain {
        Ok(domain) => domain == AddressFamily::UNIX,
        // No socket, or a mere place of a file (O_PATH).
        Err(Errno::NOTSOCK | Errno::BADF) => false,
        Err(_) => true,
    })
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

    fn fetch_fds(&self, position: u64, count: u16) -> Result<(), End> {
        let (fetched, owes) = self.as_reader(None, |reader| {
            let fetched = self.fetch(reader, position, count);
            (fetched, !reader.owed.is_empty())
        });
        if owes {
            self.drain(); // what was read has left nothing for others to be woken by
        }
        fetched
    }

    fn over(&self) {
        // Both halves may find a fault, and the session has one end.
        if let Some(End::Fault(fault)) = self.life.end()
            && !self.counted.swap(true, Ordering::Relaxed)
        {
            tally::count(self.reason(fault));
        }
        self.socket.shutdown();
        self.tell();
        trace::ended(self, false);
    }

    fn ring_doorbell(self: Arc<Self>) -> bool {
        if !self.generation.is_current() {
            return true;
        }
        // This one says what one that is owed would.
        self.owes_doorbell.swap(false, Ordering::AcqRel);
        match self.socket.send(&Notice::Doorbell.encode(), &[]) {
            // Full of packets that were not read: whoever reads one looks.
            Ok(()) | Err(SendProblem::WouldBlock) => true,
            // In another thread, for here may be any lock.
            Err(SendProblem::NoMemory) => {
                if self.owes_doorbell.swap(true, Ordering::AcqRel) {
                    return true;
                }
                match drainer::submit_elsewhere(self) {
                    Ok(()) => true,
                    // Unless somebody has taken it meanwhile, the next publish tries again.
                    Err(session) => !session.owes_doorbell.swap(false, Ordering::AcqRel),
                }
            }
            // There is nobody to hear it.
            Err(_) => true,
        }
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
        trace::ended(self, true);
        if let Some(Charges { descriptors, .. }) = &self.charges {
            self.socket.charge(descriptors);
        }
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
