//! The scene of an attack: a server in this process, a bystander in another, and what both have to lose.
//!
//! A test begins with [`Scene::set`] (in a process of its own), lets an [`Attacker`] loose, names the reason
//! that must have been counted ([`Scene::counted`]) and ends with [`Scene::finish`], which sees that nothing
//! else was counted, that the bystander was answered all along, and that descriptors, mappings, threads and
//! quotas are as they were before.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{Builder, JoinHandle};

use memring::hub::Hub;
use memring::rpc::{Calls, Link, Serve};
use memring::{
    Bytes, End, Incoming, Listener, ListenerBuilder, Policy, Protocol, Reason, Resource, ServerEnd,
    Tally, Wait, tally,
};

use crate::attacker::{Attacker, is_stranger, uid};
use crate::bystander;
use crate::hub::House;
use crate::in_hand::{Desk, InHand};
use crate::service::{ECHO, Service};
use crate::support::{Held, Helper, Scratch, eventually, soon};
use crate::victim::Victim;
use crate::way::Way;

/// Answers of the bystander before an attack, and at least during it.
const ANSWERS: usize = 200;

/// How the attacker's sessions ended, the latest last.
pub type Ends = Arc<Mutex<Vec<End>>>;

/// A server under attack, and who else depends on it.
pub struct Scene {
    name: &'static str,
    way: Way,
    scratch: Scratch,
    server: Server,
    bystander: Helper,
    p99_before: u64,
    held: Held,
    quotas: Vec<u64>,
    tally: Tally,
    /// What was counted so far and seen by the test.
    counted: Vec<Reason>,
}

/// A listener, and the thread that accepts, or does everything.
struct Server {
    listener: Arc<Listener>,
    serving: Option<JoinHandle<()>>,
    ends: Ends,
}

impl Scene {
    /// A server that sends back what comes, in a process with nothing but the test `name` (see
    /// [`name`](crate::name!)) in it; `None` in the process that started it, where the test is over.
    #[track_caller]
    #[must_use = "the rest of the test belongs to the other process"]
    pub fn set(name: &'static str) -> Option<Self> {
        Self::with(name, |builder| builder, ECHO)
    }

    /// The same with a server of these settings, which serves attackers like this.
    #[track_caller]
    #[must_use = "the rest of the test belongs to the other process"]
    pub fn with<P: Protocol<ToClient = [u8]>>(
        name: &'static str,
        settings: impl FnOnce(ListenerBuilder) -> ListenerBuilder,
        service: Service<P>,
    ) -> Option<Self> {
        Self::staged(name, None, settings, |way, listener| match way {
            Way::Threads => {
                Server::of_threads::<P>(listener, move |channel| service.serve(channel))
            }
            Way::Hub => Server::of_hub(listener, move |house, incoming, ends, _| {
                if let Ok(channel) = incoming.open::<P>() {
                    house.seat(channel, service, Some(Arc::clone(ends)));
                }
            }),
        })
    }

    /// A server of calls, with these settings, which serves attackers this.
    #[track_caller]
    #[must_use = "the rest of the test belongs to the other process"]
    pub fn of_calls(
        name: &'static str,
        settings: impl FnOnce(ListenerBuilder) -> ListenerBuilder,
        serve: fn() -> Vec<Serve>,
    ) -> Option<Self> {
        Self::staged(name, Some("calls are served by threads"), settings, move |_, listener| {
            Server::of_threads::<Calls>(listener, move |channel| {
                Link::serving(channel, serve()).run()
            })
        })
    }

    /// A server that sends back what comes; where its sessions have threads, those go through `own`.
    #[track_caller]
    #[must_use = "the rest of the test belongs to the other process"]
    pub fn with_loops(name: &'static str, own: fn(ServerEnd<Bytes>) -> End) -> Option<Self> {
        Self::staged(
            name,
            None,
            |builder| builder,
            |way, listener| match way {
                Way::Threads => Server::of_threads::<Bytes>(listener, own),
                Way::Hub => Server::of_hub(listener, |house, incoming, ends, _| {
                    if let Ok(channel) = incoming.open::<Bytes>() {
                        house.seat(channel, ECHO, Some(Arc::clone(ends)));
                    }
                }),
            },
        )
    }

    /// As [`set`](Self::set), never with a hub, for this reason.
    #[track_caller]
    #[must_use = "the rest of the test belongs to the other process"]
    pub fn without_hub(name: &'static str, why: &str) -> Option<Self> {
        Self::staged(
            name,
            Some(why),
            |builder| builder,
            |_, listener| Server::of_threads::<Bytes>(listener, |channel| ECHO.serve(channel)),
        )
    }

    /// For victims that are clients of an attacker's. The server is there for the bystander.
    #[track_caller]
    #[must_use = "the rest of the test belongs to the other process"]
    pub fn of_clients(name: &'static str) -> Option<Self> {
        Self::without_hub(name, "no server is attacked")
    }

    /// A server that leaves the sessions of attackers to the test: see [`Scene::session`]. Its calls sleep, or the hub does.
    #[track_caller]
    #[must_use = "the rest of the test belongs to the other process"]
    pub fn in_hand(name: &'static str) -> Option<Self> {
        Self::in_hand_with(name, |builder| builder)
    }

    /// The same with a server of these settings.
    #[track_caller]
    #[must_use = "the rest of the test belongs to the other process"]
    pub fn in_hand_with(
        name: &'static str,
        settings: impl FnOnce(ListenerBuilder) -> ListenerBuilder,
    ) -> Option<Self> {
        Self::handing_over(name, None, settings)
    }

    /// The same, never with a hub, for this reason.
    #[track_caller]
    #[must_use = "the rest of the test belongs to the other process"]
    pub fn in_hand_without_hub(
        name: &'static str,
        why: &str,
        settings: impl FnOnce(ListenerBuilder) -> ListenerBuilder,
    ) -> Option<Self> {
        Self::handing_over(name, Some(why), settings)
    }

    #[track_caller]
    fn handing_over(
        name: &'static str,
        no_hub: Option<&str>,
        settings: impl FnOnce(ListenerBuilder) -> ListenerBuilder,
    ) -> Option<Self> {
        let settings = |builder: ListenerBuilder| settings(builder.wait(Wait::Park));
        Self::staged(name, no_hub, settings, |way, listener| match way {
            Way::Threads => {
                Server::of_threads::<Bytes>(listener, |channel| hand_over(channel, None))
            }
            Way::Hub => Server::of_hub(listener, |_, incoming, _, desk| {
                if let Ok(channel) = incoming.open::<Bytes>() {
                    hand_over(channel, Some(desk.clone()));
                }
            }),
        })
    }

    #[track_caller]
    fn staged(
        name: &'static str,
        no_hub: Option<&str>,
        settings: impl FnOnce(ListenerBuilder) -> ListenerBuilder,
        start: impl FnOnce(Way, Listener) -> Server,
    ) -> Option<Self> {
        let way = Way::alone(name, no_hub)?;
        let scratch = Scratch::new();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(scratch.path(), open).expect("others may get there");
        let policy = Policy::same_uid().allow_uid(uid());
        let builder = settings(Listener::builder().mode(0o666).policy(policy));
        let server = start(way, builder.bind(scratch.socket()).expect("binds"));
        let bystander = Helper::start("bystander", &[("path", &scratch.socket().display())]);
        let mut scene = Self {
            name,
            way,
            scratch,
            server,
            bystander,
            p99_before: 0,
            held: Held::now(),
            quotas: Vec::new(),
            tally: tally(),
            counted: Vec::new(),
        };
        // Once for whatever a process needs once, and then for the record.
        scene.p99(ANSWERS / 2);
        scene.p99_before = scene.p99(ANSWERS);
        scene.held = Held::settled();
        scene.quotas = scene.quotas_held();
        scene.tally = tally();
        Some(scene)
    }

    /// Another session of this attacker's, who asks for it like this, with a server that is in hand.
    #[track_caller]
    pub fn session(&self, attacker: &mut Attacker, asking: &str) -> InHand {
        attacker.run(format!("connect {}", self.path()));
        attacker.run(format!("client until=ready {PROTOCOL} {asking}"));
        let mut session = None;
        eventually("the session is handed over", || {
            session = HANDED_OVER.lock().unwrap().pop();
            session.is_some()
        });
        session.expect("it is there")
    }

    /// The thread that accepts.
    pub fn accepts(&self) -> &'static str {
        match self.way {
            Way::Threads => ACCEPTS,
            Way::Hub => HUB,
        }
    }

    /// The server.
    pub fn listener(&self) -> &Listener {
        &self.server.listener
    }

    /// A command to an attacker's word of where the server is.
    pub fn path(&self) -> String {
        self.scratch.socket().display().to_string()
    }

    /// A directory that the attacker may write, and this process may look into.
    pub fn attackers_directory(&self) -> PathBuf {
        let path = self.scratch.path().join("attackers");
        if !path.exists() {
            std::fs::create_dir(&path).expect("a directory");
            let owner = Some(uid());
            if is_stranger() {
                std::os::unix::fs::chown(&path, owner, owner).expect("given away");
            }
        }
        path
    }

    /// An attacker that does nothing yet.
    pub fn attacker(&self) -> Attacker {
        Attacker::start(self.scratch.path())
    }

    /// An attacker of this uid, which takes root.
    pub fn attacker_as(&self, uid: u32) -> Attacker {
        Attacker::start_as(uid, self.scratch.path())
    }

    /// A directory that others may look into.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// A new directory of this mode in it.
    pub fn new_directory(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.scratch.path().join(name);
        std::fs::create_dir(&path).expect("a directory");
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, mode).expect("its mode");
        path
    }

    /// Sees that a client of our own uid is served, whatever the attacker does.
    #[track_caller]
    pub fn serves_us(&self) {
        let mut channel = Victim::connect(&self.path()).session();
        channel.send_deadline(b"us too?", soon()).expect("a question");
        assert_eq!(&*channel.recv_deadline(soon()).expect("an answer"), b"us too?");
        drop(channel);
        assert!(matches!(self.ended(), End::Closed), "closed in order");
    }

    /// An attacker of our own uid: root, where we are.
    pub fn accomplice(&self) -> Attacker {
        self.attacker_as(rustix::process::geteuid().as_raw())
    }

    /// An attacker that has connected and come as far as `step` of a clean handshake (`connect`, `hello`,
    /// `open`, `granted`, `sealed`, `ready`).
    #[track_caller]
    pub fn attacker_at(&self, step: &str) -> Attacker {
        let mut attacker = self.attacker();
        attacker.run(format!("connect {}", self.path()));
        attacker.run(format!("client until={step} {PROTOCOL}"));
        attacker
    }

    /// Waits until this was counted once more than so far.
    #[track_caller]
    pub fn counted(&mut self, reason: Reason) {
        self.counted_times(reason, 1);
    }

    /// Waits until this was counted so many times more than so far.
    #[track_caller]
    pub fn counted_times(&mut self, reason: Reason, times: u64) {
        self.counted.extend((0..times).map(|_| reason));
        let due = self.due(reason);
        eventually(&format!("{reason} counted {due} times, not {}", self.news()), || {
            self.news().of(reason) >= due
        });
        assert_eq!(self.news().of(reason), due, "how often {reason} was counted");
    }

    fn due(&self, reason: Reason) -> u64 {
        self.counted.iter().filter(|counted| **counted == reason).count() as u64
    }

    /// What was counted since the scene was set.
    pub fn news(&self) -> Tally {
        tally().since(&self.tally)
    }

    /// Waits until another session of the attacker's has ended, and says how.
    #[track_caller]
    pub fn ended(&self) -> End {
        let mut end = None;
        eventually("the attacker's session ends", || {
            let mut ends = self.server.ends.lock().unwrap();
            if !ends.is_empty() {
                end = Some(ends.remove(0));
            }
            end.is_some()
        });
        end.expect("it has ended")
    }

    /// Waits until another session of the attacker's has ended, by its fault of this rule, which was counted.
    #[track_caller]
    pub fn poisoned(&mut self, reason: Reason) {
        self.counted(reason);
        match self.ended() {
            End::Fault(_) => {}
            other => panic!("a fault was due, and not: {other}"),
        }
    }

    /// Sees that the bystander is answered while the attack goes on.
    #[track_caller]
    pub fn answers_others(&mut self) {
        self.p99(ANSWERS);
    }

    /// The attacker has gone by now: sees that everything else is as it was.
    #[track_caller]
    pub fn finish(mut self) {
        let p99_during = self.p99(ANSWERS);
        // How a session ended names the peer, and so holds a descriptor of it.
        eventually("the attacker's sessions have ended", || {
            let over = Held::now().threads == self.held.threads;
            self.server.ends.lock().unwrap().clear();
            over
        });
        self.held.eventually_again();
        let quotas = self.quotas.clone();
        eventually(&format!("quotas {quotas:?} again"), || self.quotas_held() == quotas);
        for (reason, times) in self.news().iter() {
            assert_eq!(times, self.due(reason), "{reason} was counted; in all: {}", self.news());
        }
        self.bystander.finish();
        println!(
            "recorded: {}: by {}: p99 of the bystander before {} us, during {} us",
            self.name,
            self.way,
            self.p99_before / 1000,
            p99_during / 1000
        );
    }

    /// The bystander's p99 over the next `count` answers at least, in nanoseconds.
    #[track_caller]
    fn p99(&mut self, count: usize) -> u64 {
        self.bystander.tell(&format!("report {count}"));
        let said = self.bystander.hear();
        let (_, p99) = said.split_once(' ').expect("how many, and how long");
        p99.parse().expect("a number")
    }

    fn quotas_held(&self) -> Vec<u64> {
        use Resource::{Bytes, Descriptors, Handshakes, Pending, Sessions};
        let quotas = self.listener().quotas();
        [Handshakes, Pending, Sessions, Bytes, Descriptors]
            .map(|resource| quotas.held(resource, None))
            .into()
    }
}

/// What a clean client of the attacker's asks for: untyped bytes in small lanes.
pub const PROTOCOL: &str = "protocol=bytes";

const ACCEPTS: &str = "test-accept";
const HUB: &str = "test-hub";

impl Server {
    /// Each session has a thread, which serves it to its end.
    fn of_threads<P: Protocol<ToClient = [u8]>>(
        listener: Listener,
        serve: impl Fn(ServerEnd<P>) -> End + Copy + Send + 'static,
    ) -> Self {
        let listener = Arc::new(listener);
        let ends = Ends::default();
        let (accepting, told) = (Arc::clone(&listener), Arc::clone(&ends));
        let accepting = move || {
            for incoming in accepting.incoming() {
                let incoming = incoming.expect("accepts");
                let told = Arc::clone(&told);
                if incoming.name() == bystander::NAME {
                    let bystander = incoming.open::<Bytes>().expect("the bystander speaks bytes");
                    named("test-bystander", move || drop(ECHO.serve(bystander)));
                    continue;
                }
                named("test-service", move || {
                    if let Ok(channel) = incoming.open::<P>() {
                        let end = serve(channel);
                        told.lock().unwrap().push(end);
                    }
                });
            }
        };
        Self { listener, serving: Some(named(ACCEPTS, accepting)), ends }
    }

    /// Everything is in one hub, where attackers are welcomed so.
    fn of_hub(
        listener: Listener,
        welcome: impl Fn(&mut House, Incoming, &Ends, &Desk) + Send + 'static,
    ) -> Self {
        let listener = Arc::new(listener);
        let ends = Ends::default();
        let (at, told) = (Arc::clone(&listener), Arc::clone(&ends));
        let serving = named(HUB, move || {
            let hub = Hub::new().expect("a hub");
            let (jobs, waits) = mpsc::channel();
            let desk = Desk { jobs, remote: hub.remote() };
            let welcome = |house: &mut House, incoming| welcome(house, incoming, &told, &desk);
            House::new(hub).serve(&at, welcome, &waits);
        });
        Self { listener, serving: Some(serving), ends }
    }
}

/// A thread with little stack, for nothing that a peer sends may take more.
fn named(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let builder = Builder::new().name(name.to_owned()).stack_size(256 << 10);
    builder.spawn(body).expect("a thread")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.listener.shut_down();
        // A test that has failed ends, and its process with it, whatever holds the server up.
        if let Some(serving) = self.serving.take().filter(|_| !std::thread::panicking()) {
            serving.join().ok();
        }
    }
}

/// Sessions on their way to the test.
static HANDED_OVER: Mutex<Vec<InHand>> = Mutex::new(Vec::new());

/// Leaves the session to the test.
fn hand_over(channel: ServerEnd<Bytes>, desk: Option<Desk>) -> End {
    HANDED_OVER.lock().unwrap().push(InHand::new(channel, desk));
    End::Local
}
