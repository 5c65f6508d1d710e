//! The caller's side: an interface that was opened, and calls to it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use memring_codec::rkyv::rancor::Source;
use memring_codec::{DecodeError, Reason};

use super::carrier::{Came, Carries, Delivers, Value};
use super::error::CallError;
use super::interface::{AtPeer, Interface};
use super::options::{Options, Until};
use super::pending::{Pending, Question};
use super::sending::{Body, Number};
use super::session::{Link, not_sent, unanswered};
use super::shared::{Shared, nanos_of};
use super::signal::Subscription;
use super::stream::Stream;
use super::table::Expects;
use super::wire::{Code, Header, Kind, sentence};
use crate::view::caught;

/// A client of an interface. `#[memring::interface]` writes them.
pub trait Client: Sized {
    /// The interface, as this program knows it.
    fn interface() -> &'static Interface;

    #[doc(hidden)]
    fn bind(bound: Bound) -> Self;
}

/// What was opened, and what of it is as this program knows it.
#[derive(Debug)]
pub(crate) struct Reaching {
    pub number: u16,
    pub interface: &'static Interface,
    pub members: Box<[AtPeer]>,
}

/// An opened interface, and how calls to it are made. What a client is made of.
#[doc(hidden)]
#[derive(Clone)]
pub struct Bound {
    pub(crate) shared: Arc<Shared>,
    reaching: Arc<Reaching>,
    options: Options,
    /// It was opened in a task, and never waits in a thread.
    in_tasks: bool,
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("interface", &self.reaching.interface.to_string())
            .field("peer", self.shared.peer())
            .finish()
    }
}

impl Bound {
    pub(crate) fn new(shared: Arc<Shared>, reaching: Arc<Reaching>) -> Self {
        Self { shared, reaching, options: Options::default(), in_tasks: false }
    }

    /// The same, for tasks: what finds no room waits there.
    pub(crate) fn in_tasks(self) -> Self {
        Self { in_tasks: true, ..self }
    }

    /// The same, with other options.
    pub fn with(&self, options: Options) -> Self {
        Self { options, ..self.clone() }
    }

    /// The session.
    pub fn link(&self) -> Link {
        Link::of(&self.shared)
    }

    /// The number that the peer has for a member.
    #[inline]
    fn reach(&self, member: usize) -> Result<u32, CallError> {
        match &self.reaching.members[member] {
            AtPeer::Same(number) => Ok(*number),
            other => Err(self.out_of_reach(member, other)),
        }
    }

    #[cold]
    fn out_of_reach(&self, member: usize, reached: &AtPeer) -> CallError {
        let interface = self.reaching.interface;
        let ours = &interface.members[member];
        match reached {
            AtPeer::Changed(theirs) => CallError::MethodChanged {
                interface: interface.to_string(),
                method: ours.name,
                ours: ours.signature,
                theirs: theirs.to_string(),
            },
            AtPeer::Denied => CallError::Denied { method: ours.name },
            AtPeer::Unknown | AtPeer::Same(_) => {
                CallError::UnknownMethod { interface: interface.to_string(), method: ours.name }
            }
        }
    }

    #[inline]
    fn header(&self, kind: Kind, number: u32, deadline: Option<Instant>) -> Header {
        let time = nanos_of(deadline);
        Header { interface: self.reaching.number, number, time, ..Header::new(kind) }
    }

    /// Calls a member and waits for its answer.
    #[inline(always)]
    pub fn call<A, CA, R, CR, E, CE>(&self, member: usize, arguments: &A) -> Result<R, CallError<E>>
    where
        CA: Carries<A>,
        CR: Delivers<R>,
        CE: Delivers<E>,
    {
        let number = self.reach(member).map_err(CallError::widen)?;
        let until = self.options.until();
        until.check().map_err(CallError::widen)?;
        let header = self.header(Kind::Call, number, until.deadline);
        let arguments = Value::<A, CA>::new(arguments);
        if until.may_be_cancelled() {
            return self.start::<A, CA, R, CR, E, CE>(member, arguments.0).wait();
        }
        let usual = CR::USUAL.map_or(0, Header::packet_of);
        let read = read::<R, CR, E, CE>;
        match self.shared.call(header, &arguments, until.deadline, usual, read) {
            Ok(answer) => answer,
            Err(why) => Err(unanswered(why).widen()),
        }
    }

    /// Asks what is noted.
    #[inline]
    fn ask<B: Body>(
        &self,
        member: usize,
        arguments: &B,
        expects: Expects,
        until: &Until,
    ) -> Result<Question, CallError> {
        until.check()?;
        let header = self.header(Kind::Call, self.reach(member)?, until.deadline);
        if expects == Expects::Answer
            && let Some(call) = self.shared.ask_at_once(header, arguments)
        {
            return Ok(Question::Asked(call));
        }
        // What may be cancelled waits for room where it can be.
        let departs = self.in_tasks || until.may_be_cancelled();
        let begun = if departs && !B::CARRIES {
            self.shared.begin_in_task(header, arguments, Number::Next(expects))
        } else {
            self.shared.ask(header, arguments, expects, until.deadline).map(Question::Asked)
        };
        begun.map_err(not_sent)
    }

    /// Begins a call of a member.
    pub fn start<A, CA, R, CR, E, CE>(&self, member: usize, arguments: &A) -> Pending<R, E>
    where
        CA: Carries<A>,
        CR: Delivers<R>,
        CE: Delivers<E>,
    {
        let until = self.options.until();
        let arguments = Value::<A, CA>::new(arguments);
        let asked = self.ask(member, &arguments, Expects::Answer, &until);
        Pending::new(Arc::clone(&self.shared), asked, until, read::<R, CR, E, CE>)
    }

    /// Begins a call with many replies.
    pub fn stream<A, CA, T, CT, E, CE>(
        &self,
        member: usize,
        arguments: &A,
    ) -> Result<Stream<T, E>, CallError>
    where
        CA: Carries<A>,
        CT: Delivers<T>,
        CE: Delivers<E>,
    {
        let until = self.options.until();
        let arguments = Value::<A, CA>::new(arguments);
        let call = self.ask(member, &arguments, Expects::Replies, &until)?;
        Ok(Stream::new(Arc::clone(&self.shared), call, until, read::<T, CT, E, CE>))
    }

    /// Subscribes to a signal.
    pub fn subscribe<T>(
        &self,
        member: usize,
        read: fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Subscription<T>, CallError> {
        let number = self.reach(member)?;
        Subscription::new(self.clone(), self.reaching.number, number, read)
    }

    /// Calls a member that answers nothing.
    pub fn tell<A, CA: Carries<A>>(&self, member: usize, arguments: &A) -> Result<(), CallError> {
        let until = self.options.until();
        until.check()?;
        // What may be cancelled waits for room where it can be.
        if until.may_be_cancelled() && !CA::MORE {
            let mut told = self.begin_to_tell_in_task::<A, CA>(member, arguments, &until)?;
            return told.send(&self.shared, &until);
        }
        let header = self.header(Kind::Tell, self.reach(member)?, until.deadline);
        let sent = self.shared.send(header, 0, &Value::<A, CA>::new(arguments), until.deadline);
        sent.map_err(|error| not_sent(error.into()))
    }

    /// Begins to.
    pub fn start_telling<A, CA: Carries<A>>(&self, member: usize, arguments: &A) -> Pending<()> {
        let until = self.options.until();
        let told = self.begin_to_tell::<A, CA>(member, arguments, &until);
        Pending::new(Arc::clone(&self.shared), told, until, |_, _, _| Ok(()))
    }

    fn begin_to_tell<A, CA: Carries<A>>(
        &self,
        member: usize,
        arguments: &A,
        until: &Until,
    ) -> Result<Question, CallError> {
        if !self.in_tasks || CA::MORE {
            return self.tell::<A, CA>(member, arguments).map(|()| Question::Told);
        }
        until.check()?;
        self.begin_to_tell_in_task::<A, CA>(member, arguments, until)
    }

    fn begin_to_tell_in_task<A, CA: Carries<A>>(
        &self,
        member: usize,
        arguments: &A,
        until: &Until,
    ) -> Result<Question, CallError> {
        let header = self.header(Kind::Tell, self.reach(member)?, until.deadline);
        let value = Value::<A, CA>::new(arguments);
        self.shared.begin_in_task(header, &value, Number::Of(0)).map_err(not_sent)
    }
}

/// What an answer says.
#[inline(always)]
pub(crate) fn read<R, CR, E, CE>(
    header: Header,
    body: &[u8],
    arrived: Option<Came>,
) -> Result<R, CallError<E>>
where
    CR: Delivers<R>,
    CE: Delivers<E>,
{
    // Types may bring checks of their own, and the peer chooses what they are asked about.
    match header.kind {
        Kind::Done | Kind::Item => match caught(|| CR::decode(body, arrived)) {
            Ok(result) => Ok(result),
            Err(why) => Err(CallError::Answer(why.into())),
        },
        Kind::Failed => match caught(|| CE::decode(body, arrived)) {
            Ok(error) => Err(CallError::Failed(error)),
            Err(why) => Err(CallError::Answer(why.into())),
        },
        _ => Err(ended(header, body).widen()),
    }
}

/// What came is of no kind that an answer to this question has.
pub(crate) fn no_answer() -> DecodeError {
    #[derive(Debug, thiserror::Error)]
    #[error("what came is no answer to what was asked")]
    struct NoAnswer;
    DecodeError::Invalid { source: Reason::new(NoAnswer) }
}

/// Why there is no answer of the method's.
#[cold]
pub(crate) fn ended(header: Header, body: &[u8]) -> CallError {
    let why = || sentence(body).into();
    match Code::of(header.number) {
        Ok(Code::Panicked) => CallError::Panicked,
        Ok(Code::DeadlinePassed) => CallError::DeadlinePassed,
        Ok(Code::Cancelled) => CallError::Cancelled,
        Ok(Code::ShuttingDown) => CallError::ShuttingDown,
        Ok(Code::Arguments) => CallError::Arguments(why()),
        Ok(Code::Answer) => CallError::Unanswered(why()),
        Ok(Code::Dropped) => CallError::Dropped,
        _ => CallError::Answer(no_answer()),
    }
}
