//! The bystander: a well-behaved client of the server under attack, which asks on and on and keeps the time.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use memring::{Bytes, Connector, Lanes, Wait};

use crate::support::{PATIENCE, Stage, soon};

/// What it calls itself, by which the server knows it.
pub const NAME: &str = "bystander";

/// How long it waits between two questions: it is a client, and no attack of its own.
const PAUSE: Duration = Duration::from_micros(300);

/// The role: asks until its input ends. `report N` makes it say, once it has N answers since the last report,
/// how many it had and how long the slowest hundredth of them took, in nanoseconds.
pub fn bystander(stage: &Stage) {
    let mut channel = Connector::new()
        .name(NAME)
        .wait(Wait::Park)
        .lanes(Lanes::Small, Lanes::Small)
        .timeout(PATIENCE)
        .connect::<Bytes>(stage.path())
        .expect("connects");
    let (wanted, wishes) = channel_of_wishes();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while let Some(wish) = read_line() {
                wanted.send(wish).expect("the other thread listens");
            }
            std::process::exit(0);
        });
        let mut took = Vec::new();
        let mut due: Option<usize> = None;
        for number in 0_u64.. {
            let began = Instant::now();
            channel.send_deadline(&number.to_le_bytes(), soon()).expect("a question");
            let answer = channel.recv_deadline(soon()).expect("an answer");
            assert_eq!(*answer, number.to_le_bytes(), "an answer to the question");
            took.push(began.elapsed());
            if let Some(count) = due
                && took.len() >= count
            {
                took.sort();
                stage.say(format!("{} {}", took.len(), took[took.len() * 99 / 100].as_nanos()));
                took.clear();
                due = None;
            }
            match wishes.recv_timeout(PAUSE) {
                Ok(wish) => due = wish.strip_prefix("report ").and_then(|count| count.parse().ok()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
}

fn channel_of_wishes() -> (std::sync::mpsc::Sender<String>, std::sync::mpsc::Receiver<String>) {
    channel()
}

fn read_line() -> Option<String> {
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}
