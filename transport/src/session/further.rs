//! Further channels: either side asks for one, the other takes it or declines.
//!
//! Each is a session of its own over a socket of its own, with the handshake that every session has; so what breaks one
//! breaks no other, and its lanes, its descriptors and its end are its own. The accepting side makes the socket and sends
//! the other end, whoever asked: it is sent none itself.
//!
//! What peers ask is heard by whoever reads the control socket and filed here; nothing waits for a peer but the calls that
//! say so. Where this side accepts, the handshake of what it was asked for goes on in a thread, and the application
//! decides when it is done, as for peers of a listener.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use memring_ring::End;
use memring_ring::fork::PerProcess;
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::{Look, Notifier, Session};
use crate::closer::ForeignFd;
use crate::connection::Connection;
use crate::control::{Answer, Ask, Control, DeclineCode, Metadata, Name, Sentence, Signature};
use crate::crew::Crew;
use crate::establish::accepting::{self, Offer};
use crate::establish::{Greeting, HandshakeError, connecting};
use crate::handshake::{Carries, Role};
use crate::peer::{Origin, Peer};
use crate::quota::Quotas;
use crate::settings::Settings;
use crate::socket::{ControlSocket, SendProblem};
use crate::tally::Reason;

/// Answers that a peer's full socket has not taken, before it is one that asks and does not read.
const OWED: usize = 64;

/// What a session came of, and its further channels come of too.
pub(crate) struct Standing {
    pub role: Role,
    pub settings: Settings,
    pub quotas: Option<Quotas>,
}

/// The further channels of a session.
pub(super) struct Further {
    standing: Standing,
    /// Held while an ask is numbered and sent: they come in the order of their numbers. Before `state`.
    asking: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
    /// How often something was offered: whoever waits for several things looks whether that has grown since he last did.
    news: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The numbers of our last ask, and of the peer's.
    asked: u32,
    heard: u32,
    /// Ours that are waited for, and what became of them.
    waiting: BTreeMap<u32, Option<Answered>>,
    /// The peer's, for the application to decide.
    offered: VecDeque<Offered>,
    /// Those that it is deciding on.
    in_hand: usize,
    /// Handshakes of what it asked for.
    under_way: usize,
    /// Channels that it asked for and has.
    open: Vec<Weak<Session>>,
}

enum Answered {
    Taken(ForeignFd),
    Declined(DeclineCode, Sentence<'static>),
    Lost,
}

/// A channel that the peer asks for.
#[derive(Debug)]
#[must_use = "one that is neither taken nor declined is declined without a word"]
pub struct Asked {
    session: Arc<Session>,
    offered: Offered,
}

/// The same where it waits, which is in the session.
#[derive(Debug)]
struct Offered {
    name: Name<'static>,
    metadata: Metadata<'static>,
    what: What,
}

impl Offered {
    /// Whether the peer has left while it waited.
    fn has_gone(&self) -> bool {
        matches!(&self.what, What::Offer(offer) if offer.has_gone())
    }
}

#[derive(Debug)]
enum What {
    /// The handshake is done but for our word.
    Offer(Box<Offer>),
    /// It will go on over this.
    Socket { number: u32, socket: ForeignFd },
    /// It was decided on.
    Decided,
}

/// An answer that the peer's socket has not taken yet.
pub(super) struct Owed {
    packet: Vec<u8>,
    socket: Option<OwnedFd>,
}

/// An ask that was heard under the control lock, for when that is let go of; and the socket that came with it, if one did.
pub(super) type Said = (Ask<'static>, Option<ForeignFd>);

/// Why there is no further channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FurtherError {
    /// One of the sides does not allow any in this session.
    #[error("this session has one channel: both sides have to allow further ones when it begins")]
    NotAllowed,
    /// The peer does not want it.
    #[error("the peer declined{}", with_sentence(.0.as_str()))]
    Declined(Sentence<'static>),
    /// There are as many as the peer allows.
    #[error("the peer allows no more channels now{}", with_sentence(.0.as_str()))]
    TooMany(Sentence<'static>),
    /// The deadline passed.
    #[error("the peer did not decide before the deadline")]
    TimedOut,
    /// The session has ended.
    #[error(transparent)]
    Ended(#[from] End),
    /// The handshake of the channel failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The socket that came cannot be one of this session's.
    #[error("what the peer sent is no socket of this session's")]
    NotUsable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn with_sentence(sentence: &str) -> String {
    if sentence.is_empty() { String::new() } else { format!(": {sentence}") }
}

impl Further {
    pub(super) fn new(standing: Standing) -> Self {
        Self {
            standing,
            asking: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            news: AtomicU64::new(0),
        }
    }

    pub(super) fn role(&self) -> Role {
        self.standing.role
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever waits has to look. Once the session is over nothing is offered any more, and those who asked see it at once.
    pub(super) fn wake(&self, over: bool) {
        // Under the lock, so that nobody is between his look and his sleep.
        let mut state = self.lock();
        if over {
            state.offered.clear();
        }
        self.changed.notify_all();
    }

    /// The settings of a further channel whose messages carry this.
    fn settings(&self, carries: [Carries; 2], deadline: Instant) -> Settings {
        let timeout = deadline.saturating_duration_since(Instant::now());
        Settings {
            channels: 0,
            metadata: Metadata::default(),
            carries,
            handshake_timeout: timeout,
            ..self.standing.settings.clone()
        }
    }
}

impl State {
    /// How many the peer has of those that it asked for, or may yet have.
    fn held(&mut self) -> usize {
        self.open.retain(|session| session.strong_count() > 0);
        self.offered.retain(|offered| !offered.has_gone());
        self.open.len() + self.under_way + self.offered.len() + self.in_hand
    }
}

/// Threads for handshakes of further channels.
fn crew() -> &'static Arc<Crew> {
    static CREW: PerProcess<Arc<Crew>> = PerProcess::new();
    CREW.get_or_init(|| Arc::new(Crew::new(c"memring-hello")))
}

// What peers say.

impl Session {
    /// The peer asks for a channel, and the control lock is free.
    pub(super) fn on_said(&self, (ask, mut socket): Said) {
        let Some(further) = &self.further else { return };
        let number = ask.number;
        if let Err((code, sentence)) = self.consider(further, ask, &mut socket) {
            self.answer(number, Some(code), &sentence, None);
        }
        // After the answer, which whoever sees it close looks for.
        drop(socket);
    }

    /// Offers it to the application, now or when its handshake is done. Why not, if that is so.
    fn consider(
        &self,
        further: &Further,
        ask: Ask<'static>,
        socket: &mut Option<ForeignFd>,
    ) -> Result<(), (DeclineCode, String)> {
        let mut state = further.lock();
        let most = usize::from(further.standing.settings.channels);
        if state.held() >= most {
            let why = format!("there may be {most} of them at a time: close some");
            return Err((DeclineCode::TooMany, why));
        }
        let Ask { number, name, metadata } = ask;
        if further.role() == Role::Connecting {
            let Some(socket) = socket.take() else {
                let why = "its socket was lost: this process has too many descriptors";
                return Err((DeclineCode::Resources, why.to_owned()));
            };
            let what = What::Socket { number, socket };
            state.offered.push_back(Offered { name, metadata, what });
            drop(state);
            self.offer_news(further);
            return Ok(());
        }
        state.under_way += 1;
        drop(state);
        let begun = self.begin(further, number, name, metadata);
        begun.inspect_err(|_| further.lock().under_way -= 1)
    }

    /// Begins the handshake of a channel that the peer asks for.
    fn begin(
        &self,
        further: &Further,
        number: u32,
        name: Name<'static>,
        metadata: Metadata<'static>,
    ) -> Result<(), (DeclineCode, String)> {
        let lacks = |why: &dyn fmt::Display| (DeclineCode::Resources, why.to_string());
        let carries = further.standing.settings.carries; // what ours carry is seen when it is taken
        let deadline = accepting::deadline(&further.standing.settings);
        let settings = further.settings(carries, deadline);
        let charged = further.standing.quotas.as_ref().map(|quotas| {
            quotas
                .charge_session(self.peer.uid(), settings.takes)
                .map(|both| (quotas.clone(), both))
        });
        let charged =
            charged.transpose().map_err(|over| (DeclineCode::TooMany, over.to_string()))?;
        let (greeting, theirs) = self.socket_for(deadline).map_err(|error| lacks(&error))?;
        let session = Weak::clone(&self.me);
        let begun = crew().run(move || {
            let outcome = match charged {
                Some((quotas, (handshake, charges))) => {
                    let outcome = accepting::greet(greeting, &settings, Some((&quotas, charges)));
                    drop(handshake);
                    outcome
                }
                None => accepting::greet(greeting, &settings, None),
            };
            if let Some(session) = session.upgrade() {
                session.greeted(name, metadata, outcome);
            }
        });
        begun.map_err(|error| lacks(&error))?;
        self.answer(number, None, "", Some(theirs));
        Ok(())
    }

    /// A socket for a further channel: our end, and the peer's.
    fn socket_for(&self, deadline: Instant) -> std::io::Result<(Greeting, OwnedFd)> {
        let (ours, theirs) = ControlSocket::pair()?;
        let _unsupported_is_fine = ours.pass_rights(false)?;
        // Who made it is us, so the kernel is no help in saying who is there. Who sends the first packet is watched.
        let peer = self.peer.without_pidfd();
        Ok((Greeting::new(ours, peer, deadline), theirs.into()))
    }

    /// The handshake of a channel that the peer asked for is over.
    fn greeted(
        &self,
        name: Name<'static>,
        metadata: Metadata<'static>,
        outcome: Result<Offer, HandshakeError>,
    ) {
        let Some(further) = &self.further else { return };
        let mut state = further.lock();
        state.under_way -= 1;
        // A failure was counted, and the peer has seen it.
        if let (Ok(offer), None) = (outcome, self.life.end()) {
            let what = What::Offer(Box::new(offer));
            state.offered.push_back(Offered { name, metadata, what });
            drop(state);
            self.offer_news(further);
        }
    }

    fn offer_news(&self, further: &Further) {
        // ORDERING: Release; pairs with the Acquire in `has_news_of_channels`: who sees it finds what was offered.
        further.news.fetch_add(1, Ordering::Release);
        self.tell();
    }

    /// Answers an ask of the peer's, now or when its socket takes it.
    fn answer(
        &self,
        number: u32,
        declined: Option<DeclineCode>,
        sentence: &str,
        socket: Option<OwnedFd>,
    ) {
        let sentence = Sentence::fit(sentence);
        let packet = Control::Answer(Answer { number, declined, sentence }).encode();
        self.as_reader(None, |reader| {
            if reader.answers.len() >= OWED {
                reader.fault = Some(Reason::ChannelFlood);
                return;
            }
            reader.answers.push_back(Owed { packet, socket });
            self.settle(reader, Look::AsBefore);
        });
    }

    /// Sends the answers that the peer's socket takes now. Whether that is all.
    pub(super) fn send_answers(&self, owed: &mut VecDeque<Owed>) -> bool {
        while let Some(Owed { packet, socket }) = owed.front() {
            let fds: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
            match self.socket.send(packet, &fds) {
                Err(SendProblem::WouldBlock | SendProblem::NoMemory) => return false,
                // It was sent; or there is nobody to hear it.
                _ => owed.pop_front(),
            };
        }
        true
    }
}

impl Further {
    /// Whether an ask is due: each is numbered one more than the last.
    pub(super) fn on_ask(&self, ask: &Ask<'_>) -> bool {
        let mut state = self.lock();
        let due = state.heard.checked_add(1) == Some(ask.number);
        state.heard = ask.number;
        due
    }

    /// The peer answers an ask of ours. Whether there was one of this number.
    pub(super) fn on_answer(&self, answer: Answer<'static>, socket: Option<ForeignFd>) -> bool {
        let mut state = self.lock();
        // One that was given up, or was answered before, is not there.
        if let Some(place @ None) = state.waiting.get_mut(&answer.number) {
            *place = match (answer.declined, socket) {
                (Some(code), _) => Some(Answered::Declined(code, answer.sentence)),
                (None, Some(socket)) => Some(Answered::Taken(socket)),
                // The kernel has lost it: there are too many descriptors here.
                (None, None) => Some(Answered::Lost),
            };
            self.changed.notify_all();
        }
        answer.number <= state.asked
    }
}

// What the application does.

/// An ask of ours that is waited for, until dropped.
struct Waiting<'a> {
    further: &'a Further,
    number: u32,
}

impl Waiting<'_> {
    fn answered(&self) -> Option<Answered> {
        self.further.lock().waiting.get_mut(&self.number).and_then(Option::take)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.further.lock().waiting.remove(&self.number);
    }
}

impl Session {
    /// Which side of the session this process is, if it may have further channels.
    #[must_use]
    pub fn further_role(&self) -> Option<Role> {
        self.further.as_ref().map(Further::role)
    }

    fn further(&self) -> Result<&Further, FurtherError> {
        if !self.generation.is_current() {
            return Err(End::Forked.into());
        }
        self.further.as_ref().ok_or(FurtherError::NotAllowed)
    }

    /// Asks the peer for a further channel of this signature, and waits for it until the deadline.
    ///
    /// # Errors
    ///
    /// [`FurtherError`].
    pub fn open_further(
        self: &Arc<Self>,
        name: Name<'_>,
        metadata: Metadata<'_>,
        signature: &Signature<'_>,
        carries: [Carries; 2],
        deadline: Instant,
    ) -> Result<Connection, FurtherError> {
        let further = self.further()?;
        if let Some(end) = self.life.end() {
            return Err(end.into());
        }
        let settings = further.settings(carries, deadline);
        // As long as this lives somebody reads the control socket, whatever loops the session is in.
        let _notifier = self.task_notifier().map_err(HandshakeError::system("waiting"))?;
        match further.role() {
            Role::Connecting => {
                let waiting = self.ask(further, name, metadata, None, deadline)?;
                self.drain();
                let socket = self.await_answer(&waiting, deadline)?;
                Ok(self.greet_over(socket, &settings, signature)?)
            }
            Role::Accepting => {
                let made = self.socket_for(deadline);
                let (greeting, theirs) =
                    made.map_err(HandshakeError::system("making a socketpair"))?;
                let waiting = self.ask(further, name, metadata, Some(theirs), deadline)?;
                self.drain();
                self.greet_asked(further, greeting, &settings, signature).map_err(|error| {
                    self.drain(); // for its answer, which comes before its end closes
                    match waiting.answered() {
                        Some(Answered::Declined(code, sentence)) => declined(code, sentence),
                        _ => error,
                    }
                })
            }
        }
    }

    /// Says that we ask, with the socket if we accept.
    fn ask<'a>(
        &self,
        further: &'a Further,
        name: Name<'_>,
        metadata: Metadata<'_>,
        socket: Option<OwnedFd>,
        deadline: Instant,
    ) -> Result<Waiting<'a>, FurtherError> {
        let fds: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
        loop {
            // Not held while this waits: others have deadlines of their own.
            let in_order = further.asking.lock().unwrap_or_else(PoisonError::into_inner);
            let mut state = further.lock();
            let number = state.asked.checked_add(1).ok_or(FurtherError::NotAllowed)?;
            state.asked = number;
            state.waiting.insert(number, None);
            drop(state);
            let waiting = Waiting { further, number };
            let (name, metadata) = (name.borrow(), metadata.borrow());
            let ask = Control::Ask(Ask { number, name, metadata }).encode();
            let problem = match self.socket.send(&ask, &fds) {
                Ok(()) => return Ok(waiting),
                Err(problem) => problem,
            };
            // The peer does not know the number, and so there is none.
            further.lock().asked = number - 1;
            drop(waiting);
            drop(in_order);
            match problem {
                _ if Instant::now() >= deadline => return Err(FurtherError::TimedOut),
                SendProblem::WouldBlock => {
                    self.wait_for_socket(deadline).map_err(HandshakeError::system("waiting"))?;
                }
                problem => return Err(HandshakeError::from(problem).into()),
            }
        }
    }

    /// Our handshake, as the accepting side, of a channel that we asked for.
    fn greet_asked(
        &self,
        further: &Further,
        greeting: Greeting,
        settings: &Settings,
        signature: &Signature<'_>,
    ) -> Result<Connection, FurtherError> {
        let offer = match &further.standing.quotas {
            Some(quotas) => {
                let charged = quotas.charge_session(self.peer.uid(), settings.takes);
                let (_handshake, charges) = charged.map_err(HandshakeError::from)?;
                accepting::greet(greeting, settings, Some((quotas, charges)))
            }
            None => accepting::greet(greeting, settings, None),
        };
        Ok(offer?.accept(signature, settings.carries[1])?)
    }

    fn await_answer(
        &self,
        waiting: &Waiting<'_>,
        deadline: Instant,
    ) -> Result<ForeignFd, FurtherError> {
        let mut state = waiting.further.lock();
        loop {
            match state.waiting.get_mut(&waiting.number).and_then(Option::take) {
                Some(Answered::Taken(socket)) => return Ok(socket),
                Some(Answered::Declined(code, sentence)) => return Err(declined(code, sentence)),
                Some(Answered::Lost) => return Err(HandshakeError::DescriptorsLost.into()),
                None => {}
            }
            state = self.wait_for_news(waiting.further, state, Some(deadline))?;
        }
    }

    fn wait_for_news<'a>(
        &self,
        further: &'a Further,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> Result<MutexGuard<'a, State>, FurtherError> {
        if let Some(end) = self.life.end() {
            return Err(end.into());
        }
        let Some(deadline) = deadline else {
            return Ok(further.changed.wait(state).unwrap_or_else(PoisonError::into_inner));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(FurtherError::TimedOut);
        }
        let waited = further.changed.wait_timeout(state, left);
        Ok(waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// The handshake, as the connecting side, over a socket that the peer sent.
    fn greet_over(
        &self,
        socket: ForeignFd,
        settings: &Settings,
        signature: &Signature<'_>,
    ) -> Result<Connection, FurtherError> {
        let deadline = accepting::deadline(settings);
        let not = |why| FurtherError::NotUsable(why);
        // Asked of the socket layer, which no file system answers for: what else it may be closes where nobody waits.
        let is_socket = sockopt::socket_domain(&socket) == Ok(AddressFamily::UNIX)
            && sockopt::socket_type(&socket) == Ok(SocketType::SEQPACKET)
            // In the queue of one that listens may lie connections with anything in theirs.
            && sockopt::socket_acceptconn(&socket) == Ok(false);
        if !is_socket {
            return Err(not("it is no connected Unix seqpacket socket".into()));
        }
        let socket = ControlSocket::from_fd(socket.into_owned()).map_err(|why| not(why.into()))?;
        // The kernel names who made it: that has to be the peer's user, or it is somebody else's socket.
        let peer = Peer::of(&socket, Origin::Inherited).map_err(|why| not(why.into()))?;
        if peer.uid() != self.peer.uid() {
            return Err(not("it was made by another user".into()));
        }
        let greeting = Greeting::new(socket, peer, deadline);
        Ok(connecting::greet(greeting, settings, signature)?)
    }

    /// Whether something was offered since this was last asked for this notifier: [`next_asked`](Self::next_asked) may have it.
    #[must_use]
    pub fn has_news_of_channels(&self, notifier: &Notifier) -> bool {
        self.further.as_ref().is_some_and(|it| notifier.is_news(it.news.load(Ordering::Acquire)))
    }

    /// The next channel that the peer asks for, if it does.
    ///
    /// # Errors
    ///
    /// [`FurtherError::NotAllowed`], [`FurtherError::Ended`].
    pub fn next_asked(self: &Arc<Self>) -> Result<Option<Asked>, FurtherError> {
        let further = self.further()?;
        if let Some(asked) = self.take_asked(&mut further.lock()) {
            return Ok(Some(asked));
        }
        self.life.end().map_or(Ok(None), |end| Err(end.into()))
    }

    /// Waits until the peer asks for a channel, or until the deadline.
    ///
    /// # Errors
    ///
    /// [`FurtherError::NotAllowed`], [`FurtherError::TimedOut`], [`FurtherError::Ended`].
    pub fn await_asked(self: &Arc<Self>, deadline: Option<Instant>) -> Result<Asked, FurtherError> {
        let further = self.further()?;
        let _notifier = self.task_notifier().map_err(HandshakeError::system("waiting"))?;
        self.drain();
        let mut state = further.lock();
        loop {
            if let Some(asked) = self.take_asked(&mut state) {
                return Ok(asked);
            }
            state = self.wait_for_news(further, state, deadline)?;
        }
    }
}

impl Session {
    fn take_asked(self: &Arc<Self>, state: &mut State) -> Option<Asked> {
        let offered = state.offered.pop_front()?;
        state.in_hand += 1;
        Some(Asked { session: Arc::clone(self), offered })
    }
}

fn declined(code: DeclineCode, sentence: Sentence<'static>) -> FurtherError {
    match code {
        DeclineCode::TooMany => FurtherError::TooMany(sentence),
        _ => FurtherError::Declined(sentence),
    }
}

impl Asked {
    /// What it is to be called.
    #[must_use]
    pub fn name(&self) -> &str {
        self.offered.name.as_str()
    }

    /// The asking application's own bytes.
    #[must_use]
    pub fn metadata(&self) -> &[u8] {
        self.offered.metadata.as_bytes()
    }

    /// The session it is asked for in.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Takes it, if both sides mean this signature. Where this side connected, this waits for the peer, until the deadline; where
    /// it accepts, the peer has done its part.
    ///
    /// # Errors
    ///
    /// [`FurtherError`].
    pub fn open(
        mut self,
        signature: &Signature<'_>,
        carries: [Carries; 2],
        deadline: Instant,
    ) -> Result<Connection, FurtherError> {
        let further = self.session.further()?;
        let connection = match std::mem::replace(&mut self.offered.what, What::Decided) {
            What::Offer(offer) => offer.accept(signature, carries[1])?,
            What::Socket { socket, .. } => {
                let settings = further.settings(carries, deadline);
                self.session.greet_over(socket, &settings, signature)?
            }
            What::Decided => unreachable!("whoever decides has it no more"),
        };
        further.lock().open.push(Arc::downgrade(&connection.session));
        Ok(connection)
    }

    /// Declines it, with a sentence for the peer.
    pub fn decline(mut self, sentence: &str) {
        self.decide_against(sentence);
    }

    fn decide_against(&mut self, sentence: &str) {
        match std::mem::replace(&mut self.offered.what, What::Decided) {
            // If it cannot be told, it has gone.
            What::Offer(offer) => {
                let _ = offer.refuse(crate::control::RefuseCode::Application, sentence);
            }
            What::Socket { number, socket } => {
                let code = Some(DeclineCode::Application);
                self.session.answer(number, code, sentence, None);
                drop(socket); // after the answer, which whoever sees it close looks for
            }
            What::Decided => {}
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.session.generation.is_current() {
            self.decide_against("");
            if let Some(further) = &self.session.further {
                further.lock().in_hand -= 1;
            }
        }
    }
}

impl fmt::Debug for Further {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Further").field("role", &self.role()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
