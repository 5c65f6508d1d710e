//! Torture: two processes under load, of which one is killed, or stopped and continued.
//!
//! At any moment, and, when built with `--cfg memring_steps`, at every step of the ring and the handshake
//! that `ring/src/step.rs` names. Each round has a new *victim*; the *survivor* is one process throughout, so
//! that what a round leaves behind shows. `MEMRING_ROUNDS` says how many, `MEMRING_SEED` which.
//!
//! | file | what |
//! |---|---|
//! | `plan.rs` | what befalls whom, and where |
//! | `half.rs` | how they wait, in calls or in event loops |
//! | `load.rs`, `ledger.rs` | what both sides send and check, and what they note of it |
//! | `victim.rs`, `survivor.rs` | the two processes |
//! | `verdict.rs`, `wrong.rs`, `tally.rs` | what is right, what is wrong, and how much there was of each |
//!
//! Not here: peers that lie. A victim is an honest program until it is struck.

#![allow(unsafe_code)] // kill(2) in `survivor.rs`

mod half;
mod ledger;
mod load;
mod plan;
mod random;
#[path = "../../../memring/tests/support/mod.rs"]
mod support;
mod survivor;
mod tally;
mod verdict;
mod victim;
mod wrong;

use std::os::unix::fs::DirBuilderExt;
use std::time::{SystemTime, UNIX_EPOCH};

use plan::{Fate, Moment, Round, Scenario, Survey};
use random::Random;
use support::{Helper, Scratch, Stage, play};
use survivor::Survivor;
use tally::Tally;
use verdict::Outcome;

/// Whether steps are named, counted and obeyed in this build.
const STEPS: bool = cfg!(memring_steps);
/// Rounds of a plain `cargo test`.
const ROUNDS: u64 = 64;
/// Of so many rounds, one is at any moment and the others at steps.
const SHARE: u64 = 4;
/// How often a step that was not come by in time is tried again with each kind of victim.
const TRIES: usize = 2;
/// Rounds from one word of progress to the next.
const PROGRESS: u64 = 500;
/// Wrongs after which there is no more to learn.
const ENOUGH: usize = 5;

#[test]
fn role() {
    play(&[("survivor", survive), ("victim", victim::victim)]);
}

#[test]
fn peers_killed_or_stopped_anywhere_lose_nothing_tear_nothing_and_leave_nothing() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("MEMRING_ROUNDS").unwrap_or(ROUNDS);
    let seed = number("MEMRING_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos())
    });
    let scratch = Scratch::new();
    for folder in ["survivor", "victim"] {
        let path = scratch.path().join(folder);
        std::fs::DirBuilder::new().mode(0o700).create(path).expect("a folder");
    }
    let root = scratch.path().display();
    let mut survivor =
        Helper::start("survivor", &[("path", &root), ("rounds", &rounds), ("seed", &seed)]);
    let mut wrong = Vec::new();
    let mut done = None;
    for line in survivor.rest() {
        match line.split_once(": ") {
            Some(("wrong", what)) => wrong.push(what.to_owned()),
            Some(("done", tally)) => done = Some(tally.to_owned()),
            _ => println!("torture, {line}"),
        }
    }
    survivor.finish();
    if !STEPS {
        println!("skipped: built without cfg memring_steps");
    }
    let done = done.expect("the survivor comes to its end");
    println!("torture: {done}");
    assert!(wrong.is_empty(), "with MEMRING_SEED={seed}: {wrong:#?}\n{done}");
}

/// The survivor's process: all rounds, and a line on each that went wrong.
fn survive(stage: &Stage) {
    let rounds = stage.number("rounds");
    let random = &mut Random::new(stage.number("seed"));
    let mut survivor = Survivor::new(stage);
    let mut tally = Tally::default();
    let survey = survey(stage, &mut survivor, &mut tally, random);
    let mut sweep = match &survey {
        Some(survey) => survey.every_step(random),
        None => Default::default(),
    };
    let mut next = PROGRESS;
    while tally.wrongs() < ENOUGH && (tally.rounds < rounds || !sweep.is_empty()) {
        let round = match &survey {
            Some(survey) if tally.rounds % SHARE != 0 => {
                sweep.pop_front().unwrap_or_else(|| survey.some_step(random))
            }
            _ => Round::at_random(random),
        };
        round_of(stage, &mut survivor, &mut tally, &round);
        if tally.rounds >= next {
            stage.say(&tally);
            next += PROGRESS;
        }
    }
    if STEPS && tally.wrongs() == 0 {
        visit_missing(stage, &mut survivor, &mut tally, random);
    }
    stage.say(format!("done: {tally}"));
}

/// Plays a round and files what came of it.
fn round_of(
    stage: &Stage,
    survivor: &mut Survivor,
    tally: &mut Tally,
    round: &Round,
) -> Option<Outcome> {
    let outcome = survivor.play(round);
    tally.add(round, &outcome);
    match outcome {
        Ok(outcome) => Some(outcome),
        Err(wrong) => {
            stage.say(format!("wrong: round {}, {round}: {wrong}", tally.rounds));
            None
        }
    }
}

/// Lets a victim of each kind come to its end; which steps they came by, if this build counts them.
fn survey(
    stage: &Stage,
    survivor: &mut Survivor,
    tally: &mut Tally,
    random: &mut Random,
) -> Option<Survey> {
    let mut counts = Vec::new();
    for scenario in 0..Scenario::COUNT {
        let round = Round::new(random, scenario, Fate::None);
        counts.push(round_of(stage, survivor, tally, &round)?.counts);
    }
    if !STEPS {
        return None;
    }
    let survey = Survey(counts);
    let unreached = survey.unreached();
    if !unreached.is_empty() {
        stage.say(format!("wrong: no victim comes by {unreached:?}"));
    }
    Some(survey)
}

/// Whether a victim comes by a step often depends on who is faster: tries again those missed so far.
fn visit_missing(stage: &Stage, survivor: &mut Survivor, tally: &mut Tally, random: &mut Random) {
    for at in 0..TRIES * Scenario::COUNT {
        for step in tally.missing() {
            let fate = Fate::Kill(Moment::At(step, 1));
            let round = Round::new(random, at % Scenario::COUNT, fate);
            round_of(stage, survivor, tally, &round);
        }
    }
    let missing: Vec<&str> = tally.missing().iter().map(|step| step.name()).collect();
    if !missing.is_empty() {
        stage.say(format!("wrong: nobody was killed or stopped at {missing:?}"));
    }
}
