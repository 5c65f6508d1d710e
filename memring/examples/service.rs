//! A service as systemd starts one: on a socket that was open before, and by hand on one of its own.
//!
//! `cargo run --example service` serves at `memring-clock` in the runtime directory until nobody asked for ten seconds;
//! `cargo run --example service ask [ADDRESS]` asks it for the time. Units are in `memring/examples/systemd`.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use memring::cause::{self, NotActivated};
use memring::{AcceptError, BindError, Listener, Protocol, ServerEnd};

/// The time, as the server had it.
#[memring::message]
struct Time {
    seconds: u64,
    nanos: u32,
}

struct Clock;

impl Protocol for Clock {
    const NAME: &'static str = "clock";
    type ToClient = Time;
    type ToServer = [u8];
}

/// Where it is found when it was started by hand.
const NAME: &str = "memring-clock";
/// A service that systemd starts on demand ends when it is idle; the socket stays.
const IDLE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ask"] => ask(NAME),
        ["ask", address] => ask(address),
        _ => serve(),
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let listener = match Listener::builder().activated() {
        Err(BindError::Listen(cause::ListenError::Bind(cause::BindError::NotActivated(
            NotActivated::Nothing,
        )))) => Listener::bind(NAME)?,
        activated => activated?,
    };
    eprintln!("at {}", listener.address());
    #[cfg(feature = "systemd")]
    memring::service::ready()?;
    loop {
        let incoming = match listener.accept_deadline(Instant::now() + IDLE) {
            Err(memring::AcceptFailed(AcceptError::TimedOut)) => return Ok(()),
            incoming => incoming?,
        };
        let channel = match incoming.open::<Clock>() {
            Ok(channel) => channel,
            Err(error) => {
                eprintln!("a client: {error}");
                continue;
            }
        };
        thread::spawn(move || answer(channel));
    }
}

fn answer(mut channel: ServerEnd<Clock>) {
    while channel.recv().is_ok() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = Time { seconds: now.as_secs(), nanos: now.subsec_nanos() };
        if channel.send(&time).is_err() {
            return;
        }
    }
}

fn ask(address: &str) -> Result<(), Box<dyn Error>> {
    let mut channel = memring::connect::<Clock>(address)?;
    channel.send(b"what time is it?")?;
    let time = channel.recv()?;
    println!("{}.{:09}", time.seconds, time.nanos);
    Ok(())
}
