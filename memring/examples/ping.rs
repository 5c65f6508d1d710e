//! Plays with `pong`. One thread waits for the beat of a timerfd and for answers, whichever comes first.
//!
//! A hub has timers of its own; this one stands for any descriptor that a program brings along.
//!
//! `cargo run --example ping -- [PATH [COUNT]]`

mod ping_pong;
mod told;

use std::time::{Duration, Instant};

use memring::hub::{Event, Hub, Interest};
use ping_pong::{Ping, PingPong};
use rustix::io::{Errno, read};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use told::Told;

/// Between two pings.
const BEAT: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

fn main() -> Result<(), Told> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("ping-pong".to_owned());
    let count = arguments.next().unwrap_or("5".to_owned());
    let count: u64 = count.parse().map_err(|error| format!("{count} is no number: {error}"))?;

    let mut hub = Hub::new()?;
    let channel = memring::connect_timeout::<PingPong>(address, Duration::from_secs(5))?;
    let mut server = hub.add(channel)?;
    // A descriptor in a hub must not block: the hub says that it is ready, and by then it may have changed its mind.
    let timer =
        timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let beat = Itimerspec { it_interval: BEAT, it_value: BEAT };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &beat)?;
    let timer = hub.watch(timer, Interest::Read)?;

    let mut played = 0;
    let mut sent = Instant::now();
    while let Some(event) = hub.wait(None)? {
        match event {
            Event::Ready(key, _) if key == timer.key() => {
                // Reading it is what makes it ready no more.
                match read(&*timer, &mut [0_u8; 8]) {
                    Ok(_) => {}
                    Err(Errno::AGAIN | Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                }
                if played < count {
                    played += 1;
                    sent = Instant::now();
                    server.try_send(&Ping { number: played })?;
                }
            }
            Event::Readable(key) if key == server.key() => {
                let Ok(pong) = server.try_recv() else { continue };
                println!("{} {} after {:?}", pong.word, pong.number, sent.elapsed());
                if pong.number == count {
                    break;
                }
            }
            Event::Closed(_, end) => return Err(format!("the server: {end}").into()),
            _ => {}
        }
    }
    Ok(())
}
