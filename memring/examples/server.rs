//! The smallest server: greets whoever says hello. Its other half is `client`.
//!
//! `cargo run --example server -- [PATH]`

mod greetings;

use std::sync::atomic::{AtomicU64, Ordering};

use greetings::{Greeting, Greetings};
use memring::{End, Listener, RecvError, ServerEnd};

static GREETED: AtomicU64 = AtomicU64::new(0);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A bare name is a socket in the runtime directory; a path with a slash is a path.
    let address = std::env::args().nth(1).unwrap_or("greetings".to_owned());
    let listener = Listener::bind(address)?;
    println!("listening at {}", listener.address());
    for incoming in listener.incoming() {
        let incoming = incoming?;
        println!("{} asks for {}", incoming.peer(), incoming.protocol());
        match incoming.open::<Greetings>() {
            // A thread for each client: nobody waits for anybody else.
            Ok(channel) => drop(std::thread::spawn(move || greet(channel))),
            // The client was told the same.
            Err(error) => eprintln!("no session: {error}"),
        }
    }
    Ok(())
}

fn greet(mut channel: ServerEnd<Greetings>) {
    let end = loop {
        let text = match channel.recv() {
            // `hello` is a view of the message; it lasts until the next call.
            Ok(hello) => format!("Hello, {}!", hello.name),
            Err(error) => break error,
        };
        let before = GREETED.fetch_add(1, Ordering::Relaxed);
        if channel.send(&Greeting { text, before }).is_err() {
            return; // it left without waiting for its answer
        }
    };
    if !matches!(end, RecvError::Ended(End::Closed)) {
        eprintln!("{end}");
    }
}
