//! What serves an interface: a call of the peer's comes in as a request, and is answered.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memring_codec::{DecodeError, Message};
use memring_transport::Peer;

use super::carrier::{Carries, Value};
use super::interface::{Interface, Member};
use super::link::{Link, Shared, now_nanos};
use super::table::{Packet, Running};
use super::wire::{Code, Header, Kind};
use crate::error::SendError;
use crate::receiver::full_text;
use crate::view::{Undecodable, View};

/// Serves an interface. `#[memring::interface]` makes one of whoever implements the server's trait.
pub trait Service: Send + Sync + 'static {
    /// What it serves.
    fn interface(&self) -> &'static Interface;

    /// Runs a member, whose number is its place in the interface, and answers.
    fn call(&self, member: u32, request: Request<'_>);
}

/// A call of the peer's, for as long as its handler runs: who makes it, and until when the caller waits.
pub struct Call<'a> {
    shared: &'a Arc<Shared>,
    number: u64,
    time: u64,
    interface: &'static Interface,
    member: &'static Member,
    running: Option<&'a Arc<Running>>,
}

impl Call<'_> {
    /// Who calls, as the kernel says: uid, gid, pid, pidfd, security label.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.shared.peer()
    }

    /// What the caller's application calls itself. Only a claim.
    #[must_use]
    pub fn peer_name(&self) -> &str {
        self.shared.session().negotiated().peer_name.as_str()
    }

    /// The session that it came in: to call the peer in turn.
    #[must_use]
    pub fn link(&self) -> Link {
        Link::of(self.shared)
    }

    /// The interface that is called.
    #[must_use]
    pub fn interface(&self) -> &'static Interface {
        self.interface
    }

    /// The method that is called.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.member.name
    }

    /// When the caller stops waiting, if it said so. It travelled with the call, so time in the lane counts.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.time == 0 {
            return None;
        }
        let left = Duration::from_nanos(self.time.saturating_sub(now_nanos()));
        Instant::now().checked_add(left)
    }

    /// Whether nobody waits for the answer any more: the caller cancelled it, its deadline has passed, or it has gone.
    ///
    /// It looks into the lane, so it is also seen by a handler that has the session's only thread. A handler that works for
    /// long asks now and then.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let Some(running) = self.running else { return false };
        if !running.is_cancelled() {
            self.shared.look();
        }
        running.is_cancelled() || (self.time != 0 && now_nanos() >= self.time)
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("interface", &self.interface.name)
            .field("method", &self.member.name)
            .field("number", &self.number)
            .field("peer", self.peer())
            .finish()
    }
}

/// A call that is to be answered.
pub struct Request<'a> {
    call: Call<'a>,
    packet: &'a Packet,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        shared: &'a Arc<Shared>,
        packet: &'a Packet,
        running: Option<&'a Arc<Running>>,
        interface: &'static Interface,
        member: &'static Member,
    ) -> Self {
        let Header { time, .. } = packet.header;
        let call = Call { shared, number: packet.call, time, interface, member, running };
        Self { call, packet }
    }

    /// Reads the arguments, runs the handler, and sends what it returns.
    pub fn answer<A, R, C, E, F>(
        self,
        handler: impl FnOnce(&Call<'_>, View<'_, A>) -> Result<Result<R, E>, DecodeError>,
    ) where
        A: Message,
        C: Carries<R>,
        F: Carries<E>,
    {
        let Self { call, .. } = &self;
        let Some(outcome) = self.run::<A, _>(handler) else { return };
        call.shared.table().finish(call.number);
        match outcome {
            Ok(result) => self.reply(Kind::Done, &Value::<R, C>::new(&result)),
            Err(error) => self.reply(Kind::Failed, &Value::<E, F>::new(&error)),
        }
    }

    /// Reads the arguments and runs the handler of a method that answers nothing.
    pub fn tell<A: Message>(
        self,
        handler: impl FnOnce(&Call<'_>, View<'_, A>) -> Result<(), DecodeError>,
    ) {
        let _ = self.run::<A, _>(handler);
    }

    /// What the handler returns; if it does not come to that, the caller was told why.
    fn run<A: Message, T>(
        &self,
        handler: impl FnOnce(&Call<'_>, View<'_, A>) -> Result<T, DecodeError>,
    ) -> Option<T> {
        let Self { call, packet } = self;
        if call.time != 0 && now_nanos() >= call.time {
            self.end(Code::DeadlinePassed, "");
            return None;
        }
        let view = match &packet.arrived {
            Some(arrived) if arrived.is_lost() => {
                self.end(Code::Arguments, "a descriptor or blob that goes with them could not be had");
                return None;
            }
            Some(arrived) => View::<A>::carrying(packet.body(), Arc::clone(arrived)),
            None => View::<A>::of(packet.body()),
        };
        let why = match view {
            // The handler's own state is its own to mind: it is shared with other calls, as a server's is.
            Ok(view) => match catch_unwind(AssertUnwindSafe(|| handler(call, view))) {
                Ok(Ok(value)) => return Some(value),
                Ok(Err(error)) => full_text(&error),
                Err(_) => {
                    self.end(Code::Panicked, "");
                    return None;
                }
            },
            Err(Undecodable::Invalid(error)) => full_text(&error),
            Err(Undecodable::Panicked) => "a check of the application's own panicked".into(),
        };
        self.end(Code::Arguments, &why);
        None
    }

    fn reply(&self, kind: Kind, body: &impl super::link::Body) {
        let Self { call, .. } = self;
        match call.shared.send(Header::new(kind), call.number, body, None) {
            Ok(()) | Err(SendError::Ended(_)) => {}
            Err(error) => call.shared.end_call(call.number, Code::Answer, &full_text(&error)),
        }
    }

    /// Ends it without an answer of the method's.
    pub(crate) fn end(&self, code: Code, why: &str) {
        if self.call.running.is_some() {
            self.call.shared.end_call(self.call.number, code, why);
        }
    }
}
