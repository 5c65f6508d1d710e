//! What a side serves: its interfaces, and who may use which part of them.

mod describing;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use memring_transport::{Peer, Policy};

use super::async_service::AsyncService;
use super::interface::{Interface, Member};
use super::service::Service;
use super::signal::{Signals, Subscribers};
use super::wire::{self, Code, Header, Kind, MemberSpec, Opening, Prints, Standing};

/// An interface that is served, and who may use it: what a declaration's `serve` makes.
///
/// ```
/// use memring::Policy;
/// use memring::rpc::{Call, Server};
///
/// #[memring::interface(name = "counter", version = "1")]
/// trait Counter {
///     fn next() -> u64;
///     fn reset();
/// }
///
/// #[derive(Default)]
/// struct Counting(std::sync::atomic::AtomicU64);
/// impl CounterServer for Counting {
///     fn next(&self, _: &Call<'_>) -> u64 {
///         self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
///     }
///     fn reset(&self, _: &Call<'_>) {
///         self.0.store(0, std::sync::atomic::Ordering::Relaxed);
///     }
/// }
///
/// // Everybody who is admitted counts, and root resets.
/// let root = Policy::nobody().allow_uid(0);
/// let server = Server::new().serve(Counter::serve(Counting::default()).method("reset", root));
/// # let _ = server;
/// ```
pub struct Serve {
    handler: Handler,
    policy: Option<Policy>,
    members: BTreeMap<&'static str, Policy>,
    /// The types of its members, computed once.
    prints: OnceLock<Box<[Prints]>>,
    /// And how these are written.
    types: OnceLock<Box<[String]>>,
    subscribers: Option<Arc<Subscribers>>,
}

/// What runs its calls.
pub(crate) enum Handler {
    Thread(Arc<dyn Service>),
    Task(Arc<dyn AsyncService>),
}

impl Handler {
    #[inline]
    pub(crate) fn interface(&self) -> &'static Interface {
        match self {
            Self::Thread(service) => service.interface(),
            Self::Task(service) => service.interface(),
        }
    }
}

impl Serve {
    /// For whoever has a session.
    #[must_use]
    pub fn new(service: impl Service) -> Self {
        Self::of(Handler::Thread(Arc::new(service)))
    }

    /// The same, by tasks.
    #[must_use]
    pub fn new_async(service: impl AsyncService) -> Self {
        Self::of(Handler::Task(Arc::new(service)))
    }

    fn of(handler: Handler) -> Self {
        Self {
            handler,
            policy: None,
            members: BTreeMap::new(),
            prints: OnceLock::new(),
            types: OnceLock::new(),
            subscribers: None,
        }
    }

    /// Whoever subscribes to a signal gets those that are sent with this.
    ///
    /// # Panics
    ///
    /// If they are another interface's.
    #[must_use]
    pub fn signals(mut self, signals: &impl AsRef<Signals>) -> Self {
        let subscribers = signals.as_ref().subscribers();
        let (ours, theirs) = (self.interface(), subscribers.interface);
        let same = (ours.name, ours.version) == (theirs.name, theirs.version);
        assert!(same, "the signals of {theirs} are none of {ours}");
        self.subscribers = Some(Arc::clone(subscribers));
        self
    }

    /// Lets only these peers open it.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Lets only these peers call one method, or subscribe to one signal.
    ///
    /// # Panics
    ///
    /// If the interface has none of this name.
    #[must_use]
    pub fn method(mut self, name: &str, policy: Policy) -> Self {
        let interface = self.handler.interface();
        let Some(member) = interface.members.iter().find(|member| member.name == name) else {
            panic!("{interface} has no method and no signal `{name}`");
        };
        self.members.insert(member.name, policy);
        self
    }

    fn interface(&self) -> &'static Interface {
        self.handler.interface()
    }

    fn prints(&self) -> &[Prints] {
        self.prints.get_or_init(|| {
            self.interface().members.iter().map(|member| (member.prints)()).collect()
        })
    }

    /// Whether this peer may open it.
    fn admits(&self, peer: &Peer) -> bool {
        self.policy.as_ref().is_none_or(|policy| may(policy, peer))
    }

    /// What of it this peer may use, or `None` if nothing.
    fn judge(&self, peer: &Peer) -> Option<Opened> {
        if !self.admits(peer) {
            return None;
        }
        if self.members.is_empty() {
            return Some(Opened { denied: None });
        }
        let denied = |member: &Member| {
            self.members.get(member.name).is_some_and(|policy| !may(policy, peer))
        };
        Some(Opened { denied: Some(self.interface().members.iter().map(denied).collect()) })
    }

    /// How our members stand to those that are asked for, in the order of these.
    fn compare(&self, asked: &[MemberSpec<'_>], opened: &Opened) -> Vec<Standing<'static>> {
        let members = self.interface().members;
        let one = |asked: &MemberSpec<'_>| {
            let same_name = |member: &Member| member.name == asked.name;
            let Some(place) = members.iter().position(same_name) else {
                return Standing::Unknown;
            };
            let ours = &members[place];
            if ours.shape != asked.shape || self.prints()[place] != asked.prints {
                Standing::Changed(ours.signature)
            } else if opened.allows(place) {
                Standing::Same(place as u32)
            } else {
                Standing::Denied
            }
        };
        asked.iter().map(one).collect()
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("interface", &self.interface().to_string()).finish()
    }
}

/// What a peer opened of an interface.
pub(crate) struct Opened {
    /// Members that it may not use, if there are any.
    denied: Option<Box<[bool]>>,
}

impl Opened {
    #[inline]
    pub(crate) fn allows(&self, member: usize) -> bool {
        self.denied.as_ref().is_none_or(|denied| !denied.get(member).copied().unwrap_or(true))
    }
}

/// All that a side serves.
#[derive(Debug, Default)]
pub(crate) struct Services {
    list: Vec<Serve>,
}

impl Services {
    /// Adds one.
    ///
    /// # Panics
    ///
    /// If the same version of the same interface is there already, or there are 65,535.
    pub(crate) fn add(&mut self, serve: Serve) {
        let added = serve.interface();
        let twice = |one: &Serve| {
            one.interface().name == added.name && one.interface().version == added.version
        };
        assert!(!self.list.iter().any(twice), "{added} is served already");
        assert!(self.list.len() < usize::from(u16::MAX), "65,535 interfaces are enough");
        self.list.push(serve);
    }

    #[inline]
    pub(crate) fn get(&self, place: usize) -> Option<&Handler> {
        self.list.get(place).map(|serve| &serve.handler)
    }

    /// Who subscribed to signals of this one, if all of them are signalled at once.
    pub(crate) fn subscribers(&self, place: usize) -> Option<&Arc<Subscribers>> {
        self.list.get(place)?.subscribers.as_ref()
    }

    /// The number of an interface.
    pub(crate) fn place_of(&self, interface: &Interface) -> Option<u16> {
        let is = |serve: &Serve| {
            let ours = serve.interface();
            (ours.name, ours.version) == (interface.name, interface.version)
        };
        self.list.iter().position(is).map(|place| place as u16)
    }

    #[inline]
    pub(crate) fn members(&self, place: usize) -> &'static [Member] {
        self.list.get(place).map_or(&[], |serve| serve.interface().members)
    }

    /// Where the interface is that is asked for, and what this peer may use of it; or the packet that says why not.
    fn find(&self, asked: &Opening<'_>, peer: &Peer) -> Result<(usize, Opened), Vec<u8>> {
        let named = |serve: &&Serve| serve.interface().name == asked.name;
        let found = self.list.iter().position(|serve| {
            serve.interface().name == asked.name && serve.interface().version == asked.version
        });
        let Some(place) = found else {
            let mut versions = self.list.iter().filter(named).peekable();
            if versions.peek().is_none() {
                return Err(Self::none());
            }
            let mut body = Vec::new();
            wire::encode_versions(versions.map(|serve| serve.interface().version), &mut body);
            return Err(refusal(Code::UnknownVersion, &body));
        };
        match self.list[place].judge(peer) {
            Some(opened) => Ok((place, opened)),
            None => Err(refusal(Code::Denied, &[])),
        }
    }

    /// Answers an opening: the packet, and what was opened where.
    pub(crate) fn answer(
        &self,
        asked: &Opening<'_>,
        peer: &Peer,
        most: u32,
    ) -> (Vec<u8>, Option<(usize, Opened)>) {
        match self.find(asked, peer) {
            Ok((place, opening)) => {
                let mut body = Vec::new();
                let standings = self.list[place].compare(&asked.members, &opening);
                wire::encode_standings(&standings, &mut body);
                (wire::packet(opened(place as u16, most), &body), Some((place, opening)))
            }
            Err(refused) => (refused, None),
        }
    }

    /// Answers an opening where nothing is served.
    pub(crate) fn none() -> Vec<u8> {
        refusal(Code::UnknownInterface, &[])
    }
}

/// Says that an answer is too long for the lane.
pub(crate) fn too_long() -> Vec<u8> {
    refusal(Code::TooLong, &[])
}

/// The header of an answer that is none of those.
fn opened(interface: u16, most: u32) -> Header {
    let time = super::shared::now_nanos();
    Header { interface, number: most, time, ..Header::new(Kind::Opened) }
}

fn may(policy: &Policy, peer: &Peer) -> bool {
    policy.judge(peer, rustix::process::geteuid().as_raw()).is_ok()
}

fn refusal(code: Code, body: &[u8]) -> Vec<u8> {
    wire::packet(Header { number: code as u32, ..Header::new(Kind::Refused) }, body)
}
