//! The sessions that are tried while a call fails, and the honest process at their other end.

use std::error::Error;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use memring::{AcceptError, Bytes, Channel, Connector, Lanes, Listener, RecvError, Wait};

use crate::support::strangers::chain;
use crate::support::{PATIENCE, Stage, role_command, soon};

/// A try for a session, and some words in it. An error is what the application would read.
pub type Attempt = fn(&Path) -> Result<(), String>;

type Tried = Result<(), Box<dyn Error>>;

/// How long a handshake under a fault may take: less than a case, and enough on a busy machine.
const SHORT: Duration = Duration::from_secs(6);

fn words(tried: Tried) -> Result<(), String> {
    tried.map_err(|error| chain(&*error))
}

fn connector() -> Connector {
    Connector::new().wait(Wait::Park).lanes(Lanes::Small, Lanes::Small).timeout(SHORT)
}

/// Both ends here; words one way and the other, and a sleep that nobody ends.
pub fn pair(_: &Path) -> Result<(), String> {
    let tried = || -> Tried {
        let (mut server, mut client) = connector().pair::<Bytes>()?;
        nothing_comes(&mut server)?;
        server.send_deadline(b"to the client", soon())?;
        assert_eq!(&*client.recv_deadline(soon())?, b"to the client");
        client.send_deadline(b"to the server", soon())?;
        assert_eq!(&*server.recv_deadline(soon())?, b"to the server");
        nothing_comes(&mut client)
    };
    words(tried())
}

/// A sleep for certain: the other side says nothing before we do.
fn nothing_comes(channel: &mut Channel<[u8], [u8]>) -> Tried {
    match channel.recv_deadline(Instant::now() + Duration::from_millis(2)) {
        Err(RecvError::TimedOut) => Ok(()),
        Err(other) => Err(other.into()),
        Ok(_) => Err("a word that nobody said".into()),
    }
}

/// Serves one client, or gives up as soon as the listener says that one was lost.
pub fn server(path: &Path) -> Result<(), String> {
    let tried = || -> Tried {
        let listener = Listener::builder().wait(Wait::Park).handshake_timeout(SHORT).bind(path)?;
        let give_up = Instant::now() + PATIENCE / 2;
        let incoming = loop {
            match listener.accept_deadline(Instant::now() + Duration::from_millis(20)) {
                Ok(incoming) => break incoming,
                Err(error) if !matches!(error.0, AcceptError::TimedOut) => return Err(error.into()),
                Err(error) => {
                    let turned = listener.turned();
                    let lost = turned.failed + turned.faults + turned.unfinished;
                    if lost > 0 || Instant::now() > give_up {
                        return Err(format!("{error}; {turned:?}").into());
                    }
                }
            }
        };
        let mut channel = incoming.open::<Bytes>()?;
        nothing_comes(&mut channel)?;
        channel.send_deadline(b"speak", soon())?;
        for _ in 0..WORDS {
            let word = channel.recv_deadline(soon())?.to_vec();
            channel.send_deadline(&word, soon())?;
        }
        match channel.recv_deadline(soon()) {
            Err(RecvError::Ended(memring::End::Closed)) => Ok(()),
            Err(other) => Err(other.into()),
            Ok(_) => Err("more than was agreed".into()),
        }
    };
    words(tried())
}

/// Asks a server, and closes.
pub fn client(path: &Path) -> Result<(), String> {
    words(ask(connector(), path))
}

/// Asks a child of ours, and waits for it.
pub fn spawned(_: &Path) -> Result<(), String> {
    let tried = || -> Tried {
        let mut command = role_command("child", &[]);
        command.stdout(Stdio::null());
        let (mut child, channel) = connector().spawn::<Bytes>(&mut command)?;
        let asked = talk(channel);
        if asked.is_err() {
            child.kill()?;
        }
        child.wait()?;
        asked
    };
    words(tried())
}

/// The child: serves its parent.
pub fn child(_: &Stage) {
    if let Ok(channel) = connector().inherited::<Bytes>() {
        serve(channel);
    }
}

/// Exchanged in a session.
const WORDS: u8 = 3;

fn ask(connector: Connector, path: &Path) -> Tried {
    talk(connector.connect::<Bytes>(path)?)
}

fn talk(mut channel: Channel<[u8], [u8]>) -> Tried {
    assert_eq!(&*channel.recv_deadline(soon())?, b"speak");
    nothing_comes(&mut channel)?;
    for number in 0..WORDS {
        channel.send_deadline(&[number; 100], soon())?;
        assert_eq!(*channel.recv_deadline(soon())?, [number; 100]);
    }
    Ok(())
}

/// The honest client: asks whoever serves there, again and again.
pub fn client_for_ever(stage: &Stage) {
    loop {
        // What a server under a fault does to it is an error or an end. It waits longer than any case, so
        // where it hangs the case fails.
        if ask(connector().timeout(3 * PATIENCE), stage.path()).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The honest server: one client after the other, so whoever leaves it hanging starves the next.
pub fn server_for_ever(stage: &Stage) {
    let listener = Listener::builder()
        .wait(Wait::Park)
        .handshake_timeout(PATIENCE)
        .bind(stage.path())
        .expect("binds");
    stage.say("listening");
    loop {
        if let Ok(channel) = listener.accept().expect("accepts").open::<Bytes>() {
            serve(channel);
        }
    }
}

/// Speaks first, then says what it hears.
fn serve(mut channel: Channel<[u8], [u8]>) {
    if channel.send(b"speak").is_err() {
        return;
    }
    while let Ok(word) = channel.recv_deadline(Instant::now() + 3 * PATIENCE) {
        let word = word.to_vec();
        if channel.send_deadline(&word, Instant::now() + 3 * PATIENCE).is_err() {
            return;
        }
    }
}
