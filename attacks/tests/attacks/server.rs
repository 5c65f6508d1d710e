//! A server of the attacker's making, and clients of this process that connect to it.
//!
//! Here the victim is the client: it believes nothing of what it is granted, and its caller gets an error in
//! time. A session that comes about is the test's to use.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread::Builder;

use memring::{Bytes, ClientEnd, ConnectError, Connector, HandshakeError, Lanes, Policy, cause};

use crate::attacker::Attacker;
use crate::scene::Scene;
use crate::support::PATIENCE;

/// An attacker that listens.
pub struct HostileServer {
    pub attacker: Attacker,
    path: PathBuf,
}

/// A client whose handshake is under way, on a thread of its own.
pub struct Lured(Receiver<Result<ClientEnd<Bytes>, ConnectError>>);

impl HostileServer {
    pub fn start(scene: &Scene) -> Self {
        let path = scene.attackers_directory().join("s");
        let mut attacker = scene.attacker();
        attacker.run(format!("bind {}", path.display()));
        Self { attacker, path }
    }

    /// A client connects, and the attacker keeps to the protocol up to `step` (`accept`, `hello`, `welcome`,
    /// `open`, `granted`, `sealed`, `ready`).
    #[track_caller]
    pub fn lure(&mut self, step: &str) -> Lured {
        let path = self.path.clone();
        let (done, outcome) = channel();
        let connect = move || {
            let connected = Connector::new()
                .policy(Policy::any_uid())
                .lanes(Lanes::Small, Lanes::Small)
                .timeout(PATIENCE)
                .connect::<Bytes>(&path);
            // A test that has failed listens no more.
            done.send(connected).ok();
        };
        Builder::new().name("test-client".to_owned()).spawn(connect).expect("a thread");
        self.attacker.run("accept");
        self.attacker.run(format!("server until={step}"));
        Lured(outcome)
    }

    /// A client that was granted what the attacker made of good segments: it gives up, for this. `prepare` are
    /// commands, in which `SIZE` stands for the bytes of a segment; `fds` go with Granted.
    #[track_caller]
    pub fn grant(&mut self, prepare: &[&str], fds: &str) -> HandshakeError {
        let client = self.lure("open");
        self.prepare(prepare);
        self.attacker.run(format!("granted fds={fds}"));
        let error = client.refuses();
        self.over();
        error
    }

    /// Makes good segments (`s_sent` and `c_sent` are what would be sent), then does as `prepare` says.
    #[track_caller]
    pub fn prepare(&mut self, prepare: &[&str]) {
        self.attacker.run("segments");
        let size = self.attacker.run("stat s").number("size").to_string();
        for command in prepare {
            self.attacker.run(command.replace("SIZE", &size));
        }
    }

    /// The client has hung up, and so does the attacker.
    #[track_caller]
    pub fn over(&mut self) {
        assert_eq!(self.attacker.fails("recv"), "end");
        self.attacker.run("close");
    }
}

impl Lured {
    /// How it went. The deadline of the client is met, whatever the attacker does.
    #[track_caller]
    pub fn outcome(self) -> Result<ClientEnd<Bytes>, ConnectError> {
        self.0.recv_timeout(2 * PATIENCE).expect("the client comes back")
    }

    /// It came to nothing, for this.
    #[track_caller]
    pub fn refuses(self) -> HandshakeError {
        match self.outcome() {
            Err(ConnectError::Connect(cause::ConnectError::Handshake(error))) => error,
            Err(other) => panic!("not by the handshake: {other}"),
            Ok(_) => panic!("a session came about"),
        }
    }

    /// It came to a session.
    #[track_caller]
    pub fn connects(self) -> ClientEnd<Bytes> {
        self.outcome().unwrap_or_else(|error| panic!("{error:?}"))
    }
}

/// One message each way between a client and the attacker whose session is in use.
#[track_caller]
pub fn exchange(client: &mut ClientEnd<Bytes>, attacker: &mut Attacker) {
    client.send(b"to the attacker").expect("sends");
    assert_eq!(attacker.run("recvmsg").get("hex"), "746f207468652061747461636b6572");
    attacker.run("send 746f207468652076696374696d");
    let answer = client.recv_deadline(crate::support::soon()).expect("an answer");
    assert_eq!(&*answer, b"to the victim");
}
