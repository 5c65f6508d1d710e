//! A client that comes back: it connects anew when its session was lost, and says what became of what it had sent.
//!
//! A server restarts, and its clients are to go on without a supervisor of their own around each. What a library can do for
//! that is to connect, with pauses, and to report; what was lost is worth only the application knows. So nothing is ever
//! sent a second time here, and no session begins before the end of the last one was told.
//!
//! Not here: what the other side acted upon (only an answer says that), and greetings (the application sends them, when it
//! was told).

mod pause;
mod retry;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use memring_ring::Delivery;
use memring_ring::fork::{Generation, generation};
use memring_ring::heads::Heads;
use memring_transport::WhenAbsent;

use crate::channel::ClientEnd;
use crate::client::Target;
use crate::error::{ConnectError, End, RecvError, SendError, TryRecvError, TrySendError};
use crate::protocol::Protocol;
use crate::receiver::Receiver;
use crate::sender::Sender;
use crate::view::{Received, View};

use self::pause::Pauses;

/// A client's end that outlives its server.
///
/// It is used as a [`Channel`](crate::Channel) is, and connects when it is first used. When the session ends, be it that the
/// server died, closed or broke a rule, the one call that finds out says so, with a [report](Lost); the next one
/// connects anew, and so on for ever. Dropping it ends the session in order.
///
/// **Nothing is repeated.** A send that failed has sent nothing, and what became of the messages before it says
/// [`Delivery`]: they travel in order, so the first of them were received, the next are in doubt. Whether to send
/// those again is the application's to decide. So is saying hello again: [`connect`](Self::connect) gives the number of
/// the session that stands, and another number is another session.
///
/// ```
/// # use std::error::Error;
/// use memring::supervised::Failed;
/// use memring::{Bytes, Connector};
///
/// # fn ask(path: &std::path::Path, mut told: impl FnMut()) -> Result<(), Box<dyn Error>> {
/// let mut client = Connector::new().supervised::<Bytes>(path)?;
/// let mut greeted = 0;
/// loop {
///     let session = client.connect()?;
///     if session != greeted {
///         match client.send(b"subscribe") {
///             Err(Failed::Lost(_)) => continue, // it was sent to nobody
///             sent => sent?,
///         }
///         greeted = session;
///     }
///     match client.recv() {
///         Ok(news) if &*news == b"goodbye" => return Ok(()),
///         Ok(news) => println!("{} bytes of news", news.len()),
///         Err(Failed::Lost(lost)) => {
///             println!("{lost}"); // and on, when the server is back
///             # told();
///         }
///         Err(error) => return Err(error.into()),
///     }
/// }
/// # }
/// # let directory = std::env::temp_dir().join(format!("memring-supervised-{}", std::process::id()));
/// # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
/// # let path = directory.join("sock");
/// # let at = path.clone();
/// # let client = std::thread::spawn(move || {
/// #     let mut losses = 0;
/// #     ask(&at, || losses += 1).map_err(|error| error.to_string()).map(|()| losses)
/// # });
/// # for word in [b"news", b"goodbye".as_slice()] {
/// #     let listener = memring::Listener::bind(&path)?;
/// #     let mut server = listener.accept()?.open::<Bytes>()?;
/// #     assert_eq!(&*server.recv()?, b"subscribe");
/// #     server.send(word)?;
/// # }
/// # assert_eq!(client.join().unwrap(), Ok(1));
/// # std::fs::remove_dir(&directory)?;
/// # Ok::<(), Box<dyn Error>>(())
/// ```
///
/// # While there is no session
///
/// Calls that wait connect first, until their deadline, if they have one. Between two attempts they pause: some
/// milliseconds at first, at most 200, each by chance between half and all of it, so that thousands of clients do not come
/// at once. The first attempt after a loss comes after such a pause too. One that a server holds up takes as long as
/// [`Connector::timeout`](crate::Connector::timeout) lets it, or the deadline.
///
/// The `try_` calls never connect and never wait: they say [`Failed::Away`]. Whoever uses nothing else, in an event loop say,
/// connects by [`try_connect`](Self::try_connect) when [`next_attempt`](Self::next_attempt) has come.
///
/// What an attempt may meet, and what comes of it:
///
/// | met | then |
/// |---|---|
/// | nothing at the address, nobody listens, the backlog is full | tried again |
/// | the server is too busy, over a quota, out of resources, or shutting down | tried again |
/// | it does not answer in time, or goes away meanwhile | tried again |
/// | the kernel has no descriptors or memory for this process now | tried again |
/// | the server's policy or its application turns this client away | [`Failed::Refused`] |
/// | it means another protocol, other types, version or format, or takes no descriptors | [`Failed::Refused`] |
/// | our policy does not admit it, or the socket's file us; what listens is no memring | [`Failed::Refused`] |
/// | it breaks the protocol | [`Failed::Refused`] |
/// | anything else | [`Failed::Refused`] |
///
/// A refusal is no state: the next call tries again, after a pause.
///
/// # Fork
///
/// In a forked child each call says [`Failed::Forked`]. Make another one there.
pub struct Supervised<P: Protocol> {
    target: Target,
    /// Also when it is lost, until the next one: what it had brought may be received still.
    channel: Option<ClientEnd<P>>,
    course: Course,
    generation: Generation,
}

/// How it went so far: apart from the channel, for a message that is lent borrows that.
struct Course {
    stage: Stage,
    /// The number of the last session.
    session: u64,
    pauses: Pauses,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Away,
    /// As far as is known.
    Standing,
    /// It ended, and that was told.
    Lost,
    /// The caller has it.
    Taken,
}

/// A session was lost, and this is what became of what it had carried. It is said once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lost {
    /// Which one: the first is 1.
    pub session: u64,
    /// How it ended.
    pub end: End,
    /// What became of the messages that were sent over it. If it was a send that found out, its message is not among them:
    /// nobody has seen it.
    pub delivery: Delivery,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, end, delivery: Delivery { sent, received, in_doubt, .. } } = self;
        write!(
            f,
            "session {session} was lost: {end}; of {sent} messages {received} were received and {in_doubt} may have been"
        )
    }
}

impl std::error::Error for Lost {}

/// A call of a [`Supervised`] failed. `E` is how it fails on a [`Channel`](crate::Channel).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failed<E> {
    /// The session was lost, which is said once. The next call that waits connects anew.
    #[error(transparent)]
    Lost(Box<Lost>),
    /// There is no session, by the deadline or for a call that does not wait. It is worth going on. With what the last
    /// attempt of this call met, if it made one.
    #[error("there is no session with the server yet")]
    Away(#[source] Option<Box<ConnectError>>),
    /// There is no session, and waiting will not help.
    #[error("no session came about")]
    Refused(#[source] Box<ConnectError>),
    /// This process was forked from the one that has the session. Make another one.
    #[error("the session belongs to the parent process: a forked child has to connect anew")]
    Forked,
    /// The call failed, and the session goes on.
    #[error(transparent)]
    Call(E),
}

impl<E: Ends> From<Failed<E>> for io::Error {
    fn from(failed: Failed<E>) -> Self {
        match failed {
            Failed::Lost(lost) => {
                let kind = Self::from(lost.end.clone()).kind();
                Self::new(kind, *lost)
            }
            Failed::Away(Some(error)) | Failed::Refused(error) => (*error).into(),
            Failed::Away(None) => Self::new(io::ErrorKind::NotConnected, "no session yet"),
            Failed::Forked => End::Forked.into(),
            Failed::Call(error) => error.into_io(),
        }
    }
}

/// Errors of calls that may say the end of a session.
#[doc(hidden)]
pub trait Ends: Sized {
    /// The end, if it is that.
    fn into_end(self) -> Result<End, Self>;
    fn into_io(self) -> io::Error;
}

macro_rules! ends {
    ($($error:ident),*) => {$(
        impl Ends for $error {
            fn into_end(self) -> Result<End, Self> {
                match self {
                    Self::Ended(end) => Ok(end),
                    other => Err(other),
                }
            }

            fn into_io(self) -> io::Error {
                self.into()
            }
        }
    )*};
}
ends!(SendError, TrySendError, RecvError, TryRecvError);

impl Ends for Infallible {
    fn into_end(self) -> Result<End, Self> {
        Err(self)
    }

    fn into_io(self) -> io::Error {
        match self {}
    }
}

/// How long a call may take to connect.
#[derive(Clone, Copy)]
enum Until {
    /// As long as it takes.
    Done,
    /// Until then.
    Deadline(Instant),
    /// One attempt, if it is due.
    Attempt,
    /// Not at all.
    Now,
}

impl From<Option<Instant>> for Until {
    fn from(deadline: Option<Instant>) -> Self {
        deadline.map_or(Self::Done, Self::Deadline)
    }
}

/// The halves of the session that stands, and where an end is noted.
type Halves<'a, P> = (
    &'a mut Sender<<P as Protocol>::ToServer>,
    &'a mut Receiver<<P as Protocol>::ToClient>,
    &'a mut Course,
);

impl Course {
    /// What a call failed with. An end is reported, with what the sender knows.
    #[cold]
    fn failed<E: Ends, S: memring_codec::Message + ?Sized>(
        &mut self,
        error: E,
        sender: &Sender<S>,
    ) -> Failed<E> {
        match error.into_end() {
            Err(other) => Failed::Call(other),
            Ok(End::Forked) => Failed::Forked,
            Ok(end) => {
                self.stage = Stage::Lost;
                self.pauses.lost(Instant::now());
                let (session, delivery) = (self.session, sender.delivery());
                Failed::Lost(Box::new(Lost { session, end, delivery }))
            }
        }
    }
}

impl<P: Protocol> Supervised<P> {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            target,
            channel: None,
            course: Course { stage: Stage::Away, session: 0, pauses: Pauses::new(Instant::now()) },
            generation: generation(),
        }
    }

    /// Connects, if there is no session, as long as it takes. The number of the session that stands, of which the first is 1.
    ///
    /// A session's number never changes, and no other session gets it: whoever has greeted this one has no need to do so
    /// again.
    ///
    /// # Errors
    ///
    /// [`Failed::Refused`] and [`Failed::Forked`].
    pub fn connect(&mut self) -> Result<u64, Failed<Infallible>> {
        self.connect_until(Until::Done)
    }

    /// As [`connect`](Self::connect), until the deadline at most.
    ///
    /// # Errors
    ///
    /// As there, and [`Failed::Away`].
    pub fn connect_deadline(&mut self, deadline: Instant) -> Result<u64, Failed<Infallible>> {
        self.connect_until(Until::Deadline(deadline))
    }

    /// Connects, if there is no session and an attempt is due: one, which does not wait for a server that is not there.
    ///
    /// One that is there answers within a millisecond if it can, and has [`Connector::timeout`](crate::Connector::timeout)
    /// for it: so long this may take.
    ///
    /// # Errors
    ///
    /// As of [`connect_deadline`](Self::connect_deadline).
    pub fn try_connect(&mut self) -> Result<u64, Failed<Infallible>> {
        self.connect_until(Until::Attempt)
    }

    fn connect_until(&mut self, until: Until) -> Result<u64, Failed<Infallible>> {
        if !self.generation.is_current() {
            return Err(Failed::Forked);
        }
        self.halves(until)?;
        Ok(self.course.session)
    }

    /// When the next attempt to connect is due; `None` if there is a session.
    #[must_use]
    pub fn next_attempt(&self) -> Option<Instant> {
        (self.course.stage != Stage::Standing).then(|| self.course.pauses.due())
    }

    /// The number of the session that stands, as far as is known; `None` if there is none.
    #[must_use]
    pub fn session(&self) -> Option<u64> {
        (self.course.stage == Stage::Standing).then_some(self.course.session)
    }

    /// The session that stands: for what is not offered here. What it says of its end, the next call here reports.
    pub fn channel(&mut self) -> Option<&mut ClientEnd<P>> {
        let stands = self.course.stage == Stage::Standing;
        self.channel.as_mut().filter(|_| stands)
    }

    /// Hands out the session that stands, for a [`Hub`](crate::Hub), an event loop, or two threads. Its end is for who has it
    /// to see, and [`Channel::delivery`](crate::Channel::delivery) has the numbers of a report. The next call here that
    /// waits connects another.
    ///
    /// ```
    /// # use std::error::Error;
    /// use memring::hub::{Event, Hub};
    /// use memring::{Bytes, Connector};
    ///
    /// # fn serve(path: &std::path::Path) -> Result<(), Box<dyn Error>> {
    /// let mut client = Connector::new().supervised::<Bytes>(path)?;
    /// let mut hub = Hub::new()?;
    /// let mut member = None;
    /// let mut attempt = hub.after(std::time::Duration::ZERO)?;
    /// loop {
    ///     match hub.wait(None)? {
    ///         Some(Event::Timer(key)) if key == attempt => match client.try_connect() {
    ///             Ok(_) => member = client.take().map(|channel| hub.add(channel)).transpose()?,
    ///             Err(_) => attempt = hub.at(client.next_attempt().expect("there is no session"))?,
    ///         },
    ///         Some(Event::Readable(_)) => {
    ///             let Some(member) = &mut member else { continue };
    ///             if let Ok(message) = member.halves().1.try_recv()
    ///                 && &*message == b"goodbye"
    ///             {
    ///                 return Ok(());
    ///             }
    ///         }
    ///         Some(Event::Closed(_, end)) => {
    ///             if let Some(member) = member.take() {
    ///                 println!("{end}: {:?}", member.delivery());
    ///             }
    ///             attempt = hub.at(client.next_attempt().expect("there is no session"))?;
    ///         }
    ///         _ => {}
    ///     }
    /// }
    /// # }
    /// # let directory = std::env::temp_dir().join(format!("memring-taken-{}", std::process::id()));
    /// # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
    /// # let path = directory.join("sock");
    /// # let at = path.clone();
    /// # let client = std::thread::spawn(move || serve(&at).map_err(|error| error.to_string()));
    /// # for word in [b"news", b"goodbye".as_slice()] {
    /// #     let listener = memring::Listener::bind(&path)?;
    /// #     listener.accept()?.open::<Bytes>()?.send(word)?;
    /// # }
    /// # assert_eq!(client.join().unwrap(), Ok(()));
    /// # std::fs::remove_dir(&directory)?;
    /// # Ok::<(), Box<dyn Error>>(())
    /// ```
    pub fn take(&mut self) -> Option<ClientEnd<P>> {
        self.channel()?;
        self.course.stage = Stage::Taken;
        self.channel.take()
    }

    /// What the session that was lost last had brought, and nobody has received: where a send finds out, there may be
    /// messages left. It is there until the next call connects.
    ///
    /// A receive that finds out has received everything.
    pub fn rest(&mut self) -> Option<&mut Receiver<P::ToClient>> {
        let lost = self.course.stage == Stage::Lost;
        self.channel.as_mut().filter(|_| lost).map(|channel| channel.halves().1)
    }

    /// See [`Sender::send`]. A message whose send failed was not sent, and is not sent later.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    #[inline]
    pub fn send(&mut self, message: &P::ToServer) -> Result<(), Failed<SendError>> {
        let (sender, _, course) = self.halves(Until::Done)?;
        sender.send(message).map_err(|error| course.failed(error, sender))
    }

    /// See [`Sender::send_deadline`]. The deadline is that of connecting too.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    pub fn send_deadline(
        &mut self,
        message: &P::ToServer,
        deadline: Instant,
    ) -> Result<(), Failed<SendError>> {
        let (sender, _, course) = self.halves(Until::Deadline(deadline))?;
        sender.send_deadline(message, deadline).map_err(|error| course.failed(error, sender))
    }

    /// See [`Sender::send_owned`].
    ///
    /// # Errors
    ///
    /// [`Failed`], with the message.
    pub fn send_owned(
        &mut self,
        message: P::ToServer,
    ) -> Result<(), (Failed<SendError>, P::ToServer)>
    where
        P::ToServer: Sized,
    {
        self.send(&message).map_err(|error| (error, message))
    }

    /// See [`Sender::send_all`]. If the session is lost meanwhile, its report tells how many of them were sent.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    pub fn send_all(&mut self, messages: &[P::ToServer]) -> Result<(), Failed<SendError>>
    where
        P::ToServer: Sized,
    {
        let (sender, _, course) = self.halves(Until::Done)?;
        sender.send_all(messages).map_err(|error| course.failed(error, sender))
    }

    /// See [`Sender::try_send`]. It does not connect.
    ///
    /// # Errors
    ///
    /// [`Failed`].
    #[inline]
    pub fn try_send(&mut self, message: &P::ToServer) -> Result<(), Failed<TrySendError>> {
        let (sender, _, course) = self.halves(Until::Now)?;
        sender.try_send(message).map_err(|error| course.failed(error, sender))
    }

    /// See [`Receiver::recv`].
    ///
    /// # Errors
    ///
    /// [`Failed`]; a loss after everything that had come before it.
    #[inline]
    pub fn recv(&mut self) -> Result<View<'_, P::ToClient>, Failed<RecvError>> {
        let (sender, receiver, course) = self.halves(Until::Done)?;
        receiver.recv().map_err(|error| course.failed(error, sender))
    }

    /// See [`Receiver::recv_deadline`]. The deadline is that of connecting too.
    ///
    /// # Errors
    ///
    /// As of [`recv`](Self::recv).
    #[inline]
    pub fn recv_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<View<'_, P::ToClient>, Failed<RecvError>> {
        let (sender, receiver, course) = self.halves(Until::Deadline(deadline))?;
        receiver.recv_deadline(deadline).map_err(|error| course.failed(error, sender))
    }

    /// See [`Receiver::try_recv`]. It does not connect.
    ///
    /// # Errors
    ///
    /// As of [`recv`](Self::recv).
    #[inline]
    pub fn try_recv(&mut self) -> Result<View<'_, P::ToClient>, Failed<TryRecvError>> {
        let (sender, receiver, course) = self.halves(Until::Now)?;
        receiver.try_recv().map_err(|error| course.failed(error, sender))
    }

    /// See [`Receiver::recv_each`].
    ///
    /// # Errors
    ///
    /// As of [`recv`](Self::recv).
    pub fn recv_each(
        &mut self,
        each: impl FnMut(View<'_, P::ToClient>),
    ) -> Result<usize, Failed<RecvError>> {
        let (sender, receiver, course) = self.halves(Until::Done)?;
        receiver.recv_each(each).map_err(|error| course.failed(error, sender))
    }

    /// See [`Receiver::recv_owned`].
    ///
    /// # Errors
    ///
    /// As of [`recv`](Self::recv).
    pub fn recv_owned(&mut self) -> Result<Received<P::ToClient>, Failed<RecvError>> {
        let (sender, receiver, course) = self.halves(Until::Done)?;
        receiver.recv_owned().map_err(|error| course.failed(error, sender))
    }

    /// See [`Receiver::recv_owned_deadline`]. The deadline is that of connecting too.
    ///
    /// # Errors
    ///
    /// As of [`recv`](Self::recv).
    pub fn recv_owned_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<Received<P::ToClient>, Failed<RecvError>> {
        let (sender, receiver, course) = self.halves(Until::Deadline(deadline))?;
        receiver.recv_owned_deadline(deadline).map_err(|error| course.failed(error, sender))
    }

    /// See [`Receiver::try_recv_owned`]. It does not connect.
    ///
    /// # Errors
    ///
    /// As of [`recv`](Self::recv).
    pub fn try_recv_owned(&mut self) -> Result<Received<P::ToClient>, Failed<TryRecvError>> {
        let (sender, receiver, course) = self.halves(Until::Now)?;
        receiver.try_recv_owned().map_err(|error| course.failed(error, sender))
    }

    /// The halves of the session that stands; connects if there is none and there is time for it.
    #[inline]
    fn halves<E>(&mut self, until: Until) -> Result<Halves<'_, P>, Failed<E>> {
        if self.course.stage != Stage::Standing {
            self.connect_anew(until)?;
        }
        let Some(channel) = &mut self.channel else { return Err(Failed::Away(None)) };
        let (sender, receiver) = channel.halves();
        Ok((sender, receiver, &mut self.course))
    }

    #[cold]
    fn connect_anew<E>(&mut self, until: Until) -> Result<(), Failed<E>> {
        if !self.generation.is_current() {
            return Err(Failed::Forked);
        }
        if self.course.stage == Stage::Taken {
            // Whatever became of that one: a server that loses each at once is not asked at once again.
            self.course.stage = Stage::Away;
            self.course.pauses.lost(Instant::now());
        }
        let mut last = None;
        loop {
            let due = self.course.pauses.due();
            let timeout = match until {
                Until::Now => return Err(Failed::Away(None)),
                Until::Attempt if Instant::now() < due => return Err(Failed::Away(last)),
                Until::Attempt => self.target.timeout,
                Until::Done => {
                    sleep_until(due);
                    self.target.timeout
                }
                Until::Deadline(deadline) => {
                    sleep_until(due.min(deadline));
                    match deadline.saturating_duration_since(Instant::now()) {
                        Duration::ZERO => return Err(Failed::Away(last)),
                        left => left.min(self.target.timeout),
                    }
                }
            };
            self.course.stage = Stage::Away;
            self.channel = None; // before the server counts another one
            match self.target.reach::<P>(timeout, WhenAbsent::Once) {
                Ok(channel) => {
                    self.channel = Some(channel);
                    self.course.stage = Stage::Standing;
                    self.course.session += 1;
                    self.course.pauses.stands(Instant::now());
                    return Ok(());
                }
                Err(error) => {
                    self.course.pauses.failed(Instant::now());
                    if !retry::may_pass(&error) {
                        return Err(Failed::Refused(Box::new(error)));
                    }
                    last = Some(Box::new(error));
                }
            }
        }
    }
}

/// Sleeps, as a wait does: peers of other sessions may use the room that was made for them.
fn sleep_until(then: Instant) {
    let left = then.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        Heads::of_process().publish_all();
        thread::sleep(left);
    }
}

impl<P: Protocol> fmt::Debug for Supervised<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised")
            .field("address", self.target.address())
            .field("session", &self.session())
            .finish_non_exhaustive()
    }
}
