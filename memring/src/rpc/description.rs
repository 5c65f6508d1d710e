//! What a peer serves, as it tells whoever asks; and calls with JSON by names that are read at run time.
//!
//! For tools, which know nobody's types. It compares none: what is said of them is for people.

use std::sync::Arc;
use std::time::Instant;

use super::carrier::Came;
use super::client::{ended, no_answer};
use super::error::{CallError, list_of};
use super::options::{Options, Until};
use super::pending::{Pending, Question};
use super::session::{Link, not_sent, unanswered};
use super::shared::{Shared, nanos_of, now_nanos};
use super::stream::Stream;
use super::table::Expects;
use super::wire::described::{self, Asks, Described};
use super::wire::{
    self, Broken, Code, Header, Kind, MAX_NAME, MAX_VERSION, Opening, Prints, Shape, shown,
};

/// An interface that a peer serves. Both texts are the peer's, without control characters; whoever shows them minds others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What an interface consists of, and a way to call what of it takes JSON.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its name and version.
    pub offered: Offered,
    /// Its methods and signals, in the order of their declaration.
    pub members: Vec<DescribedMember>,
    /// The structs and enums of its arguments, results and errors, as they would be declared. A peer may leave some out.
    pub types: Vec<String>,
    shared: Arc<Shared>,
    number: u16,
}

/// A method or a signal as the peer tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// How it is used.
    pub shape: Shape,
    /// Its name: the peer's, without control characters.
    pub name: String,
    /// Its arguments and its result, for people, fit to be shown.
    pub signature: String,
    /// What its types are compared by.
    pub prints: Prints,
    /// Whether it takes JSON.
    pub json: bool,
    /// Whether the peer does not let this process use it.
    pub denied: bool,
}

/// A peer did not tell what an interface consists of.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescribeError {
    /// It serves none of this name.
    #[error("the peer serves no interface `{}`", shown(_0))]
    UnknownInterface(String),
    /// It serves it in other versions only.
    #[error("the peer serves `{}` in {}, and not {}", shown(&wanted.name), list_of(offered), shown(&wanted.version))]
    UnknownVersion {
        /// What was asked for.
        wanted: Offered,
        /// The versions that there are.
        offered: Vec<String>,
    },
    /// Its policy does not let this process use it.
    #[error("the peer does not let this process use `{}`", shown(_0))]
    Denied(String),
    /// The description is longer than its lane holds at once.
    #[error(
        "what the peer has to tell does not fit its lane: ask for larger lanes from the server"
    )]
    TooLong,
    /// What was asked for can be no interface: a text is empty, too long, or has control characters.
    #[error("`{}` is no name or version of an interface", shown(_0))]
    NoName(String),
    /// The peer's answer is none.
    #[error("the peer's answer is none: it does not keep to the protocol of calls")]
    Answer,
    /// Asking failed.
    #[error("asking what the peer serves")]
    Call(#[source] CallError),
}

/// A method cannot be called with JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotCallable {
    /// There is none of this name.
    #[error("there is no method `{}`", shown(_0))]
    Unknown(String),
    /// It is a signal, which its server sends.
    #[error("`{}` is a signal: its server sends it, and nobody calls it", shown(_0))]
    Signal(String),
    /// The peer's policy does not let this process use it.
    #[error("the peer does not let this process call `{}`", shown(_0))]
    Denied(String),
    /// It takes no JSON.
    #[error(
        "`{}` takes no JSON: its server can declare it so (`#[json]` on the method, or `json` on the interface), and a program \
         that is compiled from the interface can call it as it is",
        shown(_0)
    )]
    NoJson(String),
}

/// A method's own error, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(pub String);

impl Link {
    /// The interfaces that the peer serves and lets this process use, in the order in which it serves them: 65,535 at most.
    ///
    /// # Errors
    ///
    /// [`DescribeError`].
    pub fn offered(&self, deadline: Instant) -> Result<Vec<Offered>, DescribeError> {
        let mut all = Vec::new();
        let mut from = 0;
        loop {
            let (header, body) = self.ask(Asks::List(from), &[], deadline)?;
            if header.kind != Kind::Opened {
                return Err(refused(&header, &body, None));
            }
            let listed = described::decode_list(&body).map_err(wrong)?;
            all.extend(listed.iter().map(|&(name, version)| Offered::new(name, version)));
            match header.interface {
                0 => return Ok(all),
                // So it ends, and what is kept has a bound.
                next if next <= from || listed.len() > usize::from(next - from) => {
                    return Err(DescribeError::Answer);
                }
                next => from = next,
            }
        }
    }

    /// What an interface that the peer serves consists of.
    ///
    /// # Errors
    ///
    /// [`DescribeError`].
    pub fn describe(
        &self,
        name: &str,
        version: &str,
        deadline: Instant,
    ) -> Result<Description, DescribeError> {
        for (text, most) in [(name, MAX_NAME), (version, MAX_VERSION)] {
            if text.is_empty() || text.len() > most || text.contains(char::is_control) {
                return Err(DescribeError::NoName(text.to_owned()));
            }
        }
        let mut question = Vec::new();
        Opening { name, version, members: Vec::new() }.encode(&mut question);
        let (header, body) = self.ask(Asks::Describe, &question, deadline)?;
        if header.kind != Kind::Opened {
            return Err(refused(&header, &body, Some(Offered::new(name, version))));
        }
        let described = Described::decode(&body).map_err(wrong)?;
        self.shared.set_most_asked(header.number.max(1));
        let members = described.members.iter().map(|described| DescribedMember {
            shape: described.spec.shape,
            name: described.spec.name.to_owned(),
            signature: shown(described.spec.signature),
            prints: described.spec.prints,
            json: described.json,
            denied: described.denied,
        });
        Ok(Description {
            offered: Offered::new(name, version),
            members: members.collect(),
            types: described.types.iter().map(|text| shown(text)).collect(),
            shared: Arc::clone(&self.shared),
            number: header.interface,
        })
    }

    fn ask(
        &self,
        asks: Asks,
        body: &[u8],
        deadline: Instant,
    ) -> Result<(Header, Vec<u8>), DescribeError> {
        let header = asks.within(Header { time: now_nanos(), ..Header::new(Kind::Open) });
        let asked = self
            .shared
            .call(header, &body, Some(deadline), 0, |header, body, _| (header, body.to_vec()));
        asked.map_err(|why| DescribeError::Call(unanswered(why)))
    }
}

impl Offered {
    fn new(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), version: version.to_owned() }
    }
}

fn wrong(_: Broken) -> DescribeError {
    DescribeError::Answer
}

/// Why there is no description of this, or no list.
fn refused(header: &Header, body: &[u8], wanted: Option<Offered>) -> DescribeError {
    if header.kind != Kind::Refused {
        return DescribeError::Answer;
    }
    match (Code::of(header.number), wanted) {
        (Ok(Code::ShuttingDown), _) => DescribeError::Call(CallError::ShuttingDown),
        (Ok(Code::TooLong), _) => DescribeError::TooLong,
        (Ok(Code::UnknownInterface), Some(wanted)) => DescribeError::UnknownInterface(wanted.name),
        (Ok(Code::Denied), Some(wanted)) => DescribeError::Denied(wanted.name),
        (Ok(Code::UnknownVersion), Some(wanted)) => match wire::decode_versions(body) {
            Ok(offered) => DescribeError::UnknownVersion { wanted, offered },
            Err(_) => DescribeError::Answer,
        },
        _ => DescribeError::Answer,
    }
}

impl Description {
    /// A method that takes JSON.
    ///
    /// # Errors
    ///
    /// [`NotCallable`].
    pub fn json(&self, method: &str) -> Result<JsonMethod<'_>, NotCallable> {
        let place = self.members.iter().position(|member| member.name == method);
        let name = || method.to_owned();
        let place = place.ok_or_else(|| NotCallable::Unknown(name()))?;
        let member = &self.members[place];
        if member.shape == Shape::Signal {
            Err(NotCallable::Signal(name()))
        } else if member.denied {
            Err(NotCallable::Denied(name()))
        } else if !member.json {
            Err(NotCallable::NoJson(name()))
        } else {
            Ok(JsonMethod { description: self, member, number: place as u32 }) // at most 1024
        }
    }
}

/// A method that takes JSON: an object of its arguments by name, or an array of them in order. What comes back is the peer's
/// text, which is JSON if it keeps to the protocol.
#[derive(Clone, Copy, Debug)]
pub struct JsonMethod<'a> {
    description: &'a Description,
    member: &'a DescribedMember,
    number: u32,
}

impl JsonMethod<'_> {
    /// How it is called: [`call`](Self::call) for a call, [`stream`](Self::stream) for a stream, [`tell`](Self::tell) for one
    /// that answers nothing.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.member.shape
    }

    /// Calls it and waits for the result.
    ///
    /// # Errors
    ///
    /// [`CallError`]; the method's own error is JSON too.
    pub fn call(&self, arguments: &str, options: &Options) -> Result<String, CallError<JsonError>> {
        let until = options.until();
        let asked = self.ask(arguments, Expects::Answer, &until);
        Pending::new(Arc::clone(&self.description.shared), asked.map(Question::Asked), until, read)
            .wait()
    }

    /// Calls it, and gives its replies.
    ///
    /// # Errors
    ///
    /// [`CallError`], if it could not be sent.
    pub fn stream(
        &self,
        arguments: &str,
        options: &Options,
    ) -> Result<Stream<String, JsonError>, CallError> {
        let until = options.until();
        let call = self.ask(arguments, Expects::Replies, &until)?;
        Ok(Stream::new(Arc::clone(&self.description.shared), Question::Asked(call), until, read))
    }

    /// Calls it where nothing comes back.
    ///
    /// # Errors
    ///
    /// [`CallError`], if it could not be sent.
    pub fn tell(&self, arguments: &str, options: &Options) -> Result<(), CallError> {
        let until = options.until();
        until.check()?;
        let header = self.header(Kind::Tell, until.deadline);
        let sent = self.description.shared.send(header, 0, &arguments.as_bytes(), until.deadline);
        sent.map_err(|error| not_sent(error.into()))
    }

    fn ask(&self, arguments: &str, expects: Expects, until: &Until) -> Result<u64, CallError> {
        until.check()?;
        let header = self.header(Kind::Call, until.deadline);
        let shared = &self.description.shared;
        shared.ask(header, &arguments.as_bytes(), expects, until.deadline).map_err(not_sent)
    }

    fn header(&self, kind: Kind, deadline: Option<Instant>) -> Header {
        let (interface, number, time) = (self.description.number, self.number, nanos_of(deadline));
        Header { json: true, interface, number, time, ..Header::new(kind) }
    }
}

/// What an answer says.
fn read(header: Header, body: &[u8], _: Option<Came>) -> Result<String, CallError<JsonError>> {
    let text = || match str::from_utf8(body) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(CallError::Answer(no_answer())),
    };
    match header.kind {
        Kind::Done | Kind::Item => text(),
        Kind::Failed => Err(CallError::Failed(JsonError(text()?))),
        _ => Err(ended(header, body).widen()),
    }
}
