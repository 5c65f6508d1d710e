//! The listener: accepts, asks who it is, and runs handshakes beside each other.
//!
//! Accepting and shaking hands are apart. Whoever calls [`Listener::accept`] takes connections from the
//! kernel, asks it for the credentials, judges them and the quotas, and only then gives the connection a
//! thread of its own for its handshake; it never reads a socket itself. Finished handshakes queue up and
//! are handed out in the order in which they finished, so a client that stalls delays nobody, and the
//! application's decision is one packet that blocks on nothing.
//!
//! Not here: what the application decides.

mod doorway;

pub use doorway::{Doorway, Paused};

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memring_ring::fork::{Generation, generation};
use memring_ring::step::{self, Step};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::activation;
use crate::address::Address;
use crate::bind::{self, Accepted, BindError, BindOptions, Bound};
use crate::connection::Connection;
use crate::control::{Metadata, RefuseCode, RejectCode, Signature};
use crate::crew::Crew;
use crate::establish::accepting::{self, Offer};
use crate::establish::{Greeting, HandshakeError, after};
use crate::handshake::{Carries, ServerHandshake, SettingsError};
use crate::ledger;
use crate::peer::{Origin, Peer};
use crate::policy::Policy;
use crate::quota::{Limits, OverQuota, Quotas, Resource, Ticket};
use crate::session::Charges;
use crate::settings::Settings;
use crate::socket::ControlSocket;
use crate::tally::{self, Reason};
use crate::trace;

/// Connections taken from the kernel before the finished ones are looked at again.
const BURST: usize = 16;

/// How long a peer waits for the application's decision unless told otherwise.
pub const DEFAULT_DECISION: Duration = Duration::from_secs(30);

/// How a listener is set up.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until `bind` is called"]
pub struct ListenOptions {
    /// The socket: mode, owner, backlog.
    pub bind: BindOptions,
    /// Who may connect; by default processes of our own uid.
    pub policy: Policy,
    /// How much each uid, and all together, may hold.
    pub limits: Limits,
    /// What this side brings to each session.
    pub settings: Settings,
    /// How long a peer that asks for a channel may wait to be accepted.
    pub decision_timeout: Duration,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            bind: BindOptions::default(),
            policy: Policy::default(),
            limits: Limits::default(),
            settings: Settings::default(),
            decision_timeout: DEFAULT_DECISION,
        }
    }
}

/// Why nothing was accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The deadline passed.
    #[error("nobody connected before the deadline")]
    TimedOut,
    /// The listener was shut down.
    #[error("the listener was shut down")]
    ShutDown,
    /// This process was forked from the one that listens.
    #[error("the listener belongs to the parent process")]
    Forked,
    /// The kernel refused.
    #[error("accepting connections")]
    System(#[source] io::Error),
}

/// What became of the connections that a listener did not hand out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turned {
    /// Turned away by the policy.
    pub denied: u64,
    /// Turned away by a quota.
    pub over_quota: u64,
    /// Gave up, died or ran out of time in the handshake, or was not decided on in time.
    pub unfinished: u64,
    /// Broke a rule of the handshake.
    pub faults: u64,
    /// Failed for reasons of our own: descriptors, memory, threads.
    pub failed: u64,
}

/// A socket that accepts sessions.
pub struct Listener {
    bound: Bound,
    shared: Arc<Shared>,
    generation: Generation,
}

/// What the listener shares with the threads of its handshakes.
struct Shared {
    policy: Policy,
    settings: Settings,
    quotas: Quotas,
    finished: Mutex<VecDeque<Undecided>>,
    decision_timeout: Duration,
    /// Readable while something has finished, or the listener was shut down.
    bell: OwnedFd,
    turned: [AtomicU64; 5],
    stopped: std::sync::atomic::AtomicBool,
    crew: Crew,
    shortage: Mutex<Option<Shortage>>,
}

/// Handshakes have failed for want of descriptors or memory: it does not help to begin more of them.
#[derive(Clone, Copy)]
struct Shortage {
    errno: i32,
    failures: u32,
    until: Instant,
}

/// A peer that waits for the application.
struct Undecided {
    offer: Offer,
    until: Instant,
    _place: Ticket,
}

#[derive(Clone, Copy)]
enum Turn {
    Denied,
    OverQuota,
    Unfinished,
    Fault,
    Failed,
}

impl ListenOptions {
    /// Binds and listens.
    ///
    /// # Errors
    ///
    /// [`BindError`], which says what stands in the way.
    pub fn listen(self, address: &Address) -> Result<Listener, ListenError> {
        let bind = self.bind.clone();
        self.listen_by(|| bind.bind(address))
    }

    /// Listens on the socket of this name that a service manager handed over; without a name, on the only one.
    ///
    /// # Errors
    ///
    /// [`BindError`]. A socket that was taken and could not be used is closed.
    pub fn listen_activated(self, name: Option<&str>) -> Result<Listener, ListenError> {
        let bind = self.bind.clone();
        self.listen_by(|| bind.take_over(activation::take(name)?))
    }

    fn listen_by(
        self,
        bind: impl FnOnce() -> Result<Bound, BindError>,
    ) -> Result<Listener, ListenError> {
        ServerHandshake::new(self.settings.local(), self.settings.capacity_limits)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| ListenError::System(error.into()))?;
        let bound = bind()?;
        Ok(Listener {
            bound,
            shared: Arc::new(Shared {
                policy: self.policy,
                settings: self.settings,
                quotas: Quotas::new(self.limits),
                finished: Mutex::default(),
                decision_timeout: self.decision_timeout,
                bell,
                turned: Default::default(),
                stopped: false.into(),
                crew: Crew::new(c"memring-hello"),
                shortage: Mutex::default(),
            }),
            generation: generation(),
        })
    }
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A name, metadata or size of ours breaks a limit.
    #[error("the settings of this listener")]
    Settings(#[from] SettingsError),
    /// The kernel refused.
    #[error("setting up the listener")]
    System(#[source] io::Error),
}

impl Listener {
    /// The address it listens at.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.bound.address()
    }

    /// Waits for the next peer whose handshake has come as far as asking for a channel.
    ///
    /// Connections are taken only while some thread is in this call. May be called by several threads.
    ///
    /// # Errors
    ///
    /// [`AcceptError`]; a peer that fails is counted ([`turned`](Self::turned)) and is no error.
    pub fn accept(&self, deadline: Option<Instant>) -> Result<Incoming, AcceptError> {
        // While the process lacks descriptors or memory, the socket is left alone until then.
        let mut paused: Option<Instant> = None;
        loop {
            if !self.generation.is_current() {
                return Err(AcceptError::Forked);
            }
            if let Some(offer) = self.shared.take() {
                return Ok(Incoming { offer });
            }
            if self.shared.is_stopped() {
                return Err(AcceptError::ShutDown);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Err(AcceptError::TimedOut);
            }
            paused = paused.or_else(|| self.shared.shortage().map(|shortage| shortage.until));
            paused = paused.filter(|until| now < *until);
            self.wait(paused.is_none(), [deadline, paused].into_iter().flatten().min())?;
            if paused.is_some() {
                continue;
            }
            for _ in 0..BURST {
                match self.bound.accept() {
                    Ok(Accepted::Connection(socket)) => self.shared.receive(socket),
                    Ok(Accepted::WouldBlock) => break,
                    Ok(Accepted::Forked) => return Err(AcceptError::Forked),
                    Ok(Accepted::Pause { pause, why }) => {
                        trace::paused(&why);
                        self.shared.failed();
                        paused = Some(Instant::now() + pause);
                        break;
                    }
                    Err(_) if self.shared.is_stopped() => break,
                    Err(error) => return Err(AcceptError::System(error)),
                }
            }
        }
    }

    /// Waits for a connection, unless they are paused, or for a handshake to finish.
    fn wait(&self, connections: bool, until: Option<Instant>) -> Result<(), AcceptError> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut fds = [
            PollFd::new(&self.shared.bell, PollFlags::IN),
            PollFd::new(&self.bound, PollFlags::IN),
        ];
        let fds = if connections { &mut fds[..] } else { &mut fds[..1] };
        match poll(fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(AcceptError::System(error.into())),
        }
    }

    /// Ends every [`accept`](Self::accept), now and later. Sessions go on.
    pub fn shut_down(&self) {
        if self.generation.is_current() {
            self.shared.stopped.store(true, Ordering::Relaxed);
            self.bound.shutdown();
            self.shared.ring();
        }
    }

    /// How many connections were turned away so far, and why.
    #[must_use]
    pub fn turned(&self) -> Turned {
        let [denied, over_quota, unfinished, faults, failed] =
            [0, 1, 2, 3, 4].map(|at: usize| self.shared.turned[at].load(Ordering::Relaxed));
        Turned { denied, over_quota, unfinished, faults, failed }
    }

    /// What is held against the quotas by now.
    #[must_use]
    pub fn quotas(&self) -> &Quotas {
        ledger::settle();
        &self.shared.quotas
    }
}

impl Shared {
    /// A connection has come: judges it, and gives its handshake a thread.
    fn receive(self: &Arc<Self>, socket: ControlSocket) {
        step::at(Step::Accepted);
        let Ok(peer) = Peer::of(&socket, Origin::Connected) else {
            return self.failed();
        };
        if self.policy.judge(&peer, rustix::process::geteuid().as_raw()).is_err() {
            self.count(Turn::Denied);
            tally::count(Reason::Denied);
            trace::turned_away(&peer, &"the policy does not admit it");
            // Not which rule: that is for whoever wrote the policy.
            let why =
                "this server does not admit your process: whoever runs it decides whom it does";
            return turn_away(&socket, RejectCode::Denied, why);
        }
        let charged = self.quotas.charge_session(peer.uid(), self.settings.takes);
        let (handshake, charges) = match charged {
            Ok(tickets) => tickets,
            Err(over) => {
                self.over_quota(&over);
                trace::turned_away(&peer, &over);
                return turn_away(&socket, RejectCode::Busy, &over.to_string());
            }
        };
        let greeting = Greeting::new(socket, peer, accepting::deadline(&self.settings));
        let shared = Arc::clone(self);
        let started = self.crew.run(move || {
            shared.greet(greeting, charges);
            drop(handshake);
        });
        if started.is_err() {
            self.failed(); // the connection went with the closure
        }
    }

    fn greet(&self, greeting: Greeting, charges: Charges) {
        match accepting::greet(greeting, &self.settings, Some((&self.quotas, charges))) {
            Ok(offer) => {
                self.has_enough();
                self.queue(offer);
            }
            Err(error) => {
                if let Some(errno) = lacks(&error) {
                    self.lacks(errno);
                }
                self.count(match error {
                    HandshakeError::TimedOut
                    | HandshakeError::PeerGone
                    | HandshakeError::Rejected(_) => Turn::Unfinished,
                    HandshakeError::OverQuota(_) => Turn::OverQuota,
                    HandshakeError::Fault(_) | HandshakeError::Segment(_) => Turn::Fault,
                    _ => Turn::Failed,
                });
            }
        }
    }

    /// A handshake has failed for want of this: begins no others for a while, longer each time.
    fn lacks(&self, errno: i32) {
        let mut shortage = self.shortage.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = shortage.map_or(0, |before| before.failures.saturating_add(1));
        let until = Instant::now() + bind::pause_after(failures);
        *shortage = Some(Shortage { errno, failures, until });
        drop(shortage);
        self.ring(); // who accepts is to know
    }

    fn shortage(&self) -> Option<Shortage> {
        *self.shortage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One has succeeded.
    fn has_enough(&self) {
        *self.shortage.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Has the peer wait for the application, if it may.
    fn queue(&self, offer: Offer) {
        let uid = offer.peer().uid();
        let place = || self.quotas.charge(Resource::Pending, uid, 1);
        let place = place().or_else(|_| {
            self.sweep();
            place()
        });
        match place {
            Ok(place) => {
                let until = after(self.decision_timeout);
                self.finished().push_back(Undecided { offer, until, _place: place });
                self.ring();
            }
            Err(over) => {
                self.over_quota(&over);
                trace::turned_away(offer.peer(), &over);
                // If it cannot be told, it has gone.
                let _ = offer.refuse(RefuseCode::Quota, &over.to_string());
            }
        }
    }

    /// Lets go of peers that have left while they waited, or waited too long.
    fn sweep(&self) {
        let mut gone = Vec::new();
        let mut finished = self.finished();
        for waiting in std::mem::take(&mut *finished) {
            if waiting.is_over() {
                gone.push(waiting);
            } else {
                finished.push_back(waiting);
            }
        }
        drop(finished);
        gone.into_iter().for_each(|waiting| self.give_up(waiting));
    }

    /// Says no to a peer that nobody decided on in time, if it is still there.
    fn give_up(&self, waiting: Undecided) {
        self.count(Turn::Unfinished);
        tally::count(if waiting.offer.has_gone() { Reason::Gone } else { Reason::Refused });
        let why = "this server took too long to decide: try again later";
        trace::turned_away(waiting.offer.peer(), &why);
        let _ = waiting.offer.refuse(RefuseCode::Resources, why);
    }

    fn take(&self) -> Option<Offer> {
        loop {
            let mut finished = self.finished();
            let waiting = finished.pop_front();
            if finished.is_empty() && !self.is_stopped() {
                let _ = rustix::io::read(&self.bell, &mut [0; 8]);
                if self.is_stopped() {
                    self.ring(); // that was for all
                }
            }
            drop(finished);
            match waiting? {
                waiting if Instant::now() < waiting.until => return Some(waiting.offer),
                late => self.give_up(late),
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn failed(&self) {
        self.count(Turn::Failed);
        tally::count(Reason::Ours);
    }

    fn over_quota(&self, over: &OverQuota) {
        self.count(Turn::OverQuota);
        tally::count(over.into());
    }

    fn finished(&self) -> MutexGuard<'_, VecDeque<Undecided>> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // Full only after 2^64 - 2 rings that nobody heard: readable all the same.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn count(&self, turn: Turn) {
        self.turned[turn as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Undecided {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until || self.offer.has_gone()
    }
}

/// What the process or the system lacks, if that is why.
fn lacks(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut source = Some(error);
    while let Some(error) = source {
        let errno = match (error.downcast_ref::<io::Error>(), error.downcast_ref::<Errno>()) {
            (Some(error), _) => error.raw_os_error(),
            (None, Some(errno)) => Some(errno.raw_os_error()),
            (None, None) => None,
        };
        if let Some(errno) = errno.filter(|errno| bind::is_shortage(*errno)) {
            return Some(errno);
        }
        source = error.source();
    }
    None
}

/// Says why, without waiting to be heard, and closes.
fn turn_away(socket: &ControlSocket, code: RejectCode, sentence: &str) {
    let _ = socket.send(&ServerHandshake::reject(code, sentence), &[]);
}

/// A peer that asked for a channel. Dropping it closes the connection.
#[derive(Debug)]
#[must_use = "a peer that is neither accepted nor refused sees the connection close"]
pub struct Incoming {
    offer: Offer,
}

impl Incoming {
    /// Who asks, as the kernel says.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.offer.peer()
    }

    /// What the peer's application calls itself. Only a claim.
    #[must_use]
    pub fn peer_name(&self) -> &str {
        self.offer.opened.negotiated.peer_name.as_str()
    }

    /// The peer application's own bytes.
    #[must_use]
    pub fn metadata(&self) -> &Metadata<'static> {
        &self.offer.opened.negotiated.peer_metadata
    }

    /// The protocol and message types it means to speak.
    #[must_use]
    pub fn signature(&self) -> &Signature<'static> {
        &self.offer.opened.signature
    }

    /// Takes the channel, if both sides mean the same messages, and the peer takes what ours carry.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Refused`] with the mismatch, or [`HandshakeError::NotTaken`], which the peer is told too.
    pub fn accept(
        self,
        ours: &Signature<'_>,
        carries: Carries,
    ) -> Result<Connection, HandshakeError> {
        self.offer.accept(ours, carries)
    }

    /// Turns the peer away with a sentence for its error.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`] if it could not be told; it is turned away all the same.
    pub fn refuse(self, sentence: &str) -> Result<(), HandshakeError> {
        tally::count(Reason::Refused);
        trace::turned_away(self.peer(), &sentence);
        self.offer.refuse(RefuseCode::Application, sentence)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", self.address()).finish_non_exhaustive()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.bound.as_fd()
    }
}
