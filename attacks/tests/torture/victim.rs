//! The victim: sends and receives the load until something befalls it, or all is done.

use std::sync::mpsc;
use std::thread;

use memring::{Bytes, Channel, Connector, End, Lanes, Listener};

use super::half::{Rx, Tx, split};
use super::ledger::{Ledger, Phase};
use super::load::Load;
use super::plan::Scenario;
use super::support::{PATIENCE, Stage, eventually, soon};
use super::wrong::Wrong;

/// Where the two sides meet and keep their ledgers.
pub const SURVIVOR_LISTENS: &str = "survivor/s";
pub const VICTIM_LISTENS: &str = "victim/s";
pub const VICTIM_LEDGER: &str = "victim.ledger";
pub const SURVIVOR_LEDGER: &str = "survivor.ledger";

/// How a client of these tests connects.
pub fn connector(scenario: Scenario) -> Connector {
    Connector::new().wait(scenario.wait()).lanes(Lanes::Small, Lanes::Small).timeout(PATIENCE)
}

pub fn victim(stage: &Stage) {
    let scenario = Scenario::of(stage.number("scenario") as usize);
    let (seed, messages) = (stage.number("seed"), stage.number("messages"));
    let ledger = Ledger::open(&stage.path().join(VICTIM_LEDGER));
    let channel: Channel<[u8], [u8]> = if scenario.server {
        let listener = Listener::builder()
            .wait(scenario.wait())
            .handshake_timeout(PATIENCE)
            .bind(stage.path().join(VICTIM_LISTENS))
            .expect("binds");
        listener.accept_deadline(soon()).expect("accepts").open::<Bytes>().expect("opens")
    } else {
        let path = stage.path().join(SURVIVOR_LISTENS);
        connector(scenario).connect::<Bytes>(path).expect("connects")
    };
    let ours = Load::new(seed, !scenario.server, messages);
    let theirs = Load::new(seed, scenario.server, messages);
    if scenario.sandboxed() {
        channel.session().before_sandbox();
    }
    let (tx, rx) = split(channel, scenario.loops, !seed);
    if let Err(wrong) = talk(scenario, &ours, &theirs, &ledger, tx, rx) {
        stage.say(format!("wrong {wrong}"));
        std::process::exit(1);
    }
    say_counts(stage);
}

/// Sends and receives everything, and closes in order.
fn talk(
    scenario: Scenario,
    ours: &Load,
    theirs: &Load,
    ledger: &Ledger,
    mut tx: Tx,
    mut rx: Rx,
) -> Result<(), Wrong> {
    let (earn, credits) = mpsc::channel();
    let (poured, drunk) = thread::scope(|scope| {
        let tx = &mut tx;
        let pouring = scope.spawn(move || {
            let poured = ours.pour(tx, credits, ledger);
            if poured.is_err() {
                tx.session().close(); // the receiver need not go on
            }
            poured
        });
        let until = scenario.closes.then_some(theirs.messages);
        let drunk = theirs.drink(&mut rx, until, earn, ledger);
        if drunk.is_err() {
            rx.session().close(); // the sender need not go on
        }
        (pouring.join().expect("the sender"), drunk)
    });
    match (drunk?, poured?) {
        (None, None) if scenario.closes => {}
        (Some(End::Closed), None) if !scenario.closes => {
            let life = tx.session().life();
            eventually("the session ends with its socket", || life.end().is_some());
            match tx.end() {
                Some(End::Closed) => {}
                Some(end) => return Err(Wrong::ended(&end, "of sending, after a close")),
                None => return Err(Wrong::failed("sending goes on after a close")),
            }
        }
        (Some(end), _) => return Err(Wrong::ended(&end, "of receiving")),
        (_, Some(end)) => return Err(Wrong::ended(&end, "of sending")),
        (None, None) => return Err(Wrong::failed("receiving stops before the close")),
    }
    ledger.set_phase(Phase::Closing);
    drop(tx);
    ledger.set_phase(Phase::SenderClosed);
    drop(rx);
    ledger.set_phase(Phase::Closed);
    Ok(())
}

/// How often this process came by each step, if it counts.
fn say_counts(stage: &Stage) {
    #[cfg(memring_steps)]
    {
        use memring_ring::step::{Step, count};
        let counts: Vec<String> = Step::ALL.iter().map(|step| count(*step).to_string()).collect();
        stage.say(format!("counts {}", counts.join(" ")));
    }
    #[cfg(not(memring_steps))]
    let _ = stage;
}
