//! A client of ours whose server is the attacker, and what becomes of it.

use std::thread::{Builder, JoinHandle};

use memring::{
    Bytes, ClientEnd, ConnectError, Connector, HandshakeError, Lanes, Policy, ToAddress, cause,
};

use crate::attacker::Attacker;
use crate::scene::Scene;
use crate::support::PATIENCE;

/// A client that connects, on a thread of its own.
pub struct Victim {
    connecting: JoinHandle<Result<ClientEnd<Bytes>, ConnectError>>,
}

impl Victim {
    /// A client that takes any server.
    pub fn connect(path: &str) -> Self {
        Self::with(trusting(), path.to_owned())
    }

    /// A client of these settings.
    pub fn with(connector: Connector, address: impl ToAddress + Send + 'static) -> Self {
        let connecting = Builder::new()
            .name("test-victim".to_owned())
            .spawn(move || connector.connect::<Bytes>(address))
            .expect("a thread");
        Self { connecting }
    }

    /// Its session, which must come about.
    #[track_caller]
    pub fn session(self) -> ClientEnd<Bytes> {
        self.connecting.join().expect("no panic").expect("a session")
    }

    /// Its error, for there must be no session.
    #[track_caller]
    pub fn error(self) -> ConnectError {
        self.connecting.join().expect("no panic").expect_err("no session")
    }

    /// What ended its handshake.
    #[track_caller]
    pub fn handshake_error(self) -> HandshakeError {
        match self.error() {
            ConnectError::Connect(cause::ConnectError::Handshake(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}

/// Settings of a client that takes any server, and has patience.
pub fn trusting() -> Connector {
    Connector::new().policy(Policy::any_uid()).timeout(PATIENCE).lanes(Lanes::Small, Lanes::Small)
}

/// An attacker that listens, with a client of ours that it has taken as far as `step` of a clean handshake
/// (`accept`, `hello`, `welcome`, `open`, `granted`, `sealed`, `ready`).
#[track_caller]
pub fn served_up_to(step: &str, scene: &Scene) -> (Attacker, Victim) {
    let mut attacker = scene.attacker();
    let path = scene.attackers_directory().join("s").display().to_string();
    attacker.run(format!("bind {path}"));
    let victim = serve(&mut attacker, &path, step);
    (attacker, victim)
}

/// The next client of an attacker that listens at `path`, taken as far as `step`.
#[track_caller]
pub fn serve(attacker: &mut Attacker, path: &str, step: &str) -> Victim {
    let victim = Victim::connect(path);
    attacker.run("accept");
    attacker.run(format!("server until={step}"));
    victim
}
