//! What the peer asked for: heard, offered to the application, which decides, and answered.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use memring_ring::fork::PerProcess;

use super::{Further, FurtherError, State};
use crate::closer::ForeignFd;
use crate::connection::Connection;
use crate::control::{
    Answer, Ask, Control, DeclineCode, Metadata, Name, RefuseCode, Sentence, Signature,
};
use crate::crew::Crew;
use crate::establish::HandshakeError;
use crate::establish::accepting::{self, Offer};
use crate::handshake::{Carries, Role};
use crate::session::{Look, Notifier, Session};
use crate::socket::SendProblem;
use crate::tally::Reason;

/// Answers that a peer's full socket has not taken, before it is one that asks and does not read.
const OWED: usize = 64;

/// A channel that the peer asks for.
#[derive(Debug)]
#[must_use = "one that is neither taken nor declined is declined without a word"]
pub struct Asked {
    session: Arc<Session>,
    offered: Offered,
}

/// The same where it waits, which is in the session.
#[derive(Debug)]
pub(super) struct Offered {
    name: Name<'static>,
    metadata: Metadata<'static>,
    what: What,
}

impl Offered {
    /// Whether the peer has left while it waited.
    pub(super) fn has_gone(&self) -> bool {
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
pub(crate) struct Owed {
    packet: Vec<u8>,
    socket: Option<OwnedFd>,
}

/// An ask that was heard under the control lock, for when that is let go of; and the socket that came with it, if one did.
pub(crate) type Said = (Ask<'static>, Option<ForeignFd>);

impl Further {
    /// Whether an ask is due: each is numbered one more than the last.
    pub(crate) fn on_ask(&self, ask: &Ask<'_>) -> bool {
        let mut state = self.lock();
        let due = state.heard.checked_add(1) == Some(ask.number);
        state.heard = ask.number;
        due
    }
}

// What the peer says.

impl Session {
    /// The peer asks for a channel, and the control lock is free.
    pub(crate) fn on_said(&self, (ask, mut socket): Said) {
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
    pub(crate) fn send_answers(&self, owed: &mut VecDeque<Owed>) -> bool {
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

// What the application does.

impl Session {
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

    fn take_asked(self: &Arc<Self>, state: &mut State) -> Option<Asked> {
        let offered = state.offered.pop_front()?;
        state.in_hand += 1;
        Some(Asked { session: Arc::clone(self), offered })
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
                let _ = offer.refuse(RefuseCode::Application, sentence);
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

/// Threads for handshakes of further channels.
fn crew() -> &'static Arc<Crew> {
    static CREW: PerProcess<Arc<Crew>> = PerProcess::new();
    CREW.get_or_init(|| Arc::new(Crew::new(c"memring-hello")))
}
