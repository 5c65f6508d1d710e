//! What happens in a round: what the victim is, and what befalls it where.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use memring::Wait;
use memring_ring::step::Step;

use super::random::Random;

/// Messages each way in a round that comes to its end.
const MESSAGES: u64 = 120;
/// More than a round ever gets to.
const ENDLESS: u64 = 1 << 40;
/// About as long as a victim takes to start, to connect and to be well under way.
const MOMENTS: Duration = Duration::from_millis(30);
/// Steps that a victim comes by no more often than this are tried each time it does: packets, for one.
const FEW: u64 = 4;

/// What the victim is, and how both sides wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub server: bool,
    pub park: bool,
    /// The victim is the one that closes, when it has sent and received everything; else the survivor is.
    pub closes: bool,
    /// Its halves wait in event loops rather than in calls.
    pub loops: bool,
    /// Those of the survivor do.
    pub survivor_loops: bool,
}

impl Scenario {
    pub const COUNT: usize = 32;

    pub fn of(number: usize) -> Self {
        let is = |bit: usize| number >> bit & 1 != 0;
        Self { server: is(0), park: is(1), closes: is(2), loops: is(3), survivor_loops: is(4) }
    }

    pub fn number(self) -> usize {
        let Self { server, park, closes, loops, survivor_loops } = self;
        let bits = [server, park, closes, loops, survivor_loops];
        bits.iter().rev().fold(0, |number, bit| number << 1 | usize::from(*bit))
    }

    /// How calls of both sides wait.
    pub fn wait(self) -> Wait {
        if self.park { Wait::Park } else { Wait::Adaptive }
    }

    /// The victim gives up membarrier once it is connected, which takes packets after the handshake.
    pub fn sandboxed(self) -> bool {
        self.park && !self.closes
    }
}

/// When something befalls the victim.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// So long after it was started.
    After(Duration),
    /// When it comes by this step for the nth time.
    At(Step, u64),
}

/// What befalls the victim.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// Nothing: it ends in order, and says which steps it came by.
    None,
    Kill(Moment),
    Stop(Moment),
}

impl Fate {
    pub fn step(self) -> Option<(Step, u64, i32)> {
        match self {
            Self::Kill(Moment::At(step, nth)) => Some((step, nth, libc::SIGKILL)),
            Self::Stop(Moment::At(step, nth)) => Some((step, nth, libc::SIGSTOP)),
            _ => None,
        }
    }

    pub fn kills(self) -> bool {
        matches!(self, Self::Kill(_))
    }
}

/// One round.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub seed: u64,
    pub scenario: Scenario,
    pub fate: Fate,
}

impl Round {
    pub fn new(random: &mut Random, scenario: usize, fate: Fate) -> Self {
        Self { seed: random.next(), scenario: Scenario::of(scenario), fate }
    }

    /// A kill or a stop at any moment.
    pub fn at_random(random: &mut Random) -> Self {
        let nanos = random.below(MOMENTS.as_nanos() as u64);
        let moment = Moment::After(Duration::from_nanos(nanos));
        let fate = if random.below(4) == 0 { Fate::Stop(moment) } else { Fate::Kill(moment) };
        let scenario = random.below(Scenario::COUNT as u64) as usize;
        Self::new(random, scenario, fate)
    }

    /// Messages each way.
    pub fn messages(&self) -> u64 {
        match self.fate {
            Fate::Kill(Moment::After(_)) => ENDLESS,
            _ => MESSAGES,
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} seed {}", self.scenario, self.fate, self.seed)
    }
}

/// How often a victim came by each step, by scenario: what a survey found.
pub struct Survey(pub Vec<Vec<u64>>);

impl Survey {
    /// Steps that nobody comes by.
    pub fn unreached(&self) -> Vec<&'static str> {
        let nobody = |step: &&Step| self.0.iter().all(|counts| counts[**step as usize] == 0);
        Step::ALL.iter().filter(nobody).map(|step| step.name()).collect()
    }

    /// Rounds in which clients and servers are killed and stopped at every step they come by.
    pub fn every_step(&self, random: &mut Random) -> VecDeque<Round> {
        let mut rounds = VecDeque::new();
        for &step in Step::ALL {
            for server in [false, true] {
                let Some(scenario) = self.scenario(random, step, server) else { continue };
                let count = self.0[scenario][step as usize];
                let few: Vec<u64> = if count <= FEW {
                    (1..=count).collect()
                } else {
                    vec![1, 2 + random.below(count - 1)]
                };
                for &nth in &few {
                    let fate = Fate::Kill(Moment::At(step, nth));
                    rounds.push_back(Round::new(random, scenario, fate));
                }
                let nth = *random.pick(&few);
                let fate = Fate::Stop(Moment::At(step, nth));
                rounds.push_back(Round::new(random, scenario, fate));
            }
        }
        rounds
    }

    /// A kill or a stop at some step of some victim.
    pub fn some_step(&self, random: &mut Random) -> Round {
        loop {
            let (step, server) = (*random.pick(Step::ALL), random.below(2) == 0);
            if let Some(scenario) = self.scenario(random, step, server) {
                let nth = 1 + random.below(self.0[scenario][step as usize]);
                let moment = Moment::At(step, nth);
                let stop = random.below(3) == 0;
                let fate = if stop { Fate::Stop(moment) } else { Fate::Kill(moment) };
                return Round::new(random, scenario, fate);
            }
        }
    }

    /// A scenario in which a client or a server comes by the step.
    fn scenario(&self, random: &mut Random, step: Step, server: bool) -> Option<usize> {
        let those: Vec<usize> = (0..Scenario::COUNT)
            .filter(|&number| Scenario::of(number).server == server)
            .filter(|&number| self.0[number][step as usize] > 0)
            .collect();
        (!those.is_empty()).then(|| *random.pick(&those))
    }
}
