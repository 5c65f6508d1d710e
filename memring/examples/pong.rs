//! Returns what `ping` plays. One thread waits for new clients, for messages of all that there are, and for a line that is typed,
//! which is a descriptor of nobody's making here: any other would do, a socket, an inotify, a device.
//!
//! A line that is typed is what clients are answered from then on. At the end of the input the program ends.
//!
//! `cargo run --example pong -- [PATH]`

mod ping_pong;
mod told;

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, stdin};
use std::os::fd::AsFd;

use memring::hub::{Event, Hub, Interest};
use memring::{End, Listener};
use ping_pong::{PingPong, Pong};
use told::Told;

fn main() -> Result<(), Told> {
    let address = std::env::args().nth(1).unwrap_or("ping-pong".to_owned());
    let listener = Listener::bind(address)?;
    let mut hub = Hub::new()?;
    hub.listen(&listener)?;
    // Not `stdin()` itself, which reads ahead: what lies in its buffer makes no descriptor ready.
    let input = File::from(stdin().as_fd().try_clone_to_owned()?);
    let mut typed = hub
        .watch(input, Interest::Read)
        .map_err(|error| format!("standard input has to be a terminal or a pipe: {error}"))?;
    let (mut begun, mut word) = (Vec::new(), "pong".to_owned());
    let mut clients = HashMap::new();
    println!("listening at {}", listener.address());

    while let Some(event) = hub.wait(None)? {
        match event {
            // What a connection asks for was compared by now; one that wants another protocol is told so.
            Event::Connected(_, incoming) => match incoming.open::<PingPong>() {
                Ok(client) => {
                    let client = hub.add(client)?;
                    clients.insert(client.key(), client);
                }
                Err(error) => eprintln!("no session: {error}"),
            },
            Event::Readable(key) => {
                let Some(client) = clients.get_mut(&key) else { continue };
                let (pongs, pings) = client.halves();
                // One message each time, so that each client has its turn; what remains is an event again.
                let Ok(ping) = pings.try_recv() else { continue };
                let pong = Pong { number: ping.number.to_native(), word: word.clone() };
                // Nobody waits here, so a client whose lane is full of answers has to go.
                if let Err(error) = pongs.try_send(&pong) {
                    eprintln!("a client that takes no answers is let go: {error}");
                    clients.remove(&key);
                }
            }
            Event::Closed(key, end) => {
                clients.remove(&key);
                if !matches!(end, End::Closed) {
                    eprintln!("a client: {end}");
                }
            }
            Event::Ready(key, _) if key == typed.key() => {
                let mut piece = [0; 64];
                let len = typed.read(&mut piece)?; // it is ready, so this does not wait
                if len == 0 {
                    break;
                }
                // What has come may be half a line, or several.
                begun.extend_from_slice(&piece[..len]);
                while let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = begun.drain(..=end).collect();
                    word = String::from_utf8_lossy(line.trim_ascii()).into_owned();
                    println!("from now on: {word}");
                }
            }
            Event::Stopped(_, error) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
