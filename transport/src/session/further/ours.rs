//! What this side asked the peer for: numbered, sent, waited for, and greeted over once it is answered.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::{Further, FurtherError};
use crate::closer::ForeignFd;
use crate::connection::Connection;
use crate::control::{Answer, Ask, Control, DeclineCode, Metadata, Name, Sentence, Signature};
use crate::establish::{Greeting, HandshakeError, accepting, connecting};
use crate::handshake::{Carries, Role};
use crate::peer::{Origin, Peer};
use crate::session::Session;
use crate::settings::Settings;
use crate::socket::{ControlSocket, SendProblem};

/// What became of an ask of ours.
pub(super) enum Answered {
    Taken(ForeignFd),
    Declined(DeclineCode, Sentence<'static>),
    Lost,
}

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

impl Further {
    /// The peer answers an ask of ours. Whether there was one of this number.
    pub(crate) fn on_answer(&self, answer: Answer<'static>, socket: Option<ForeignFd>) -> bool {
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

impl Session {
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

    /// The handshake, as the connecting side, over a socket that the peer sent.
    pub(super) fn greet_over(
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
}

fn declined(code: DeclineCode, sentence: Sentence<'static>) -> FurtherError {
    match code {
        DeclineCode::TooMany => FurtherError::TooMany(sentence),
        _ => FurtherError::Declined(sentence),
    }
}
