//! The verdict on a round: whether what came, and how it ended, is as it has to be with such a victim.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use memring::End;

use super::ledger::{Ledger, Phase};
use super::plan::Round;
use super::wrong::Wrong;

/// How the two directions ended for the survivor, and when it knew, in nanoseconds of the monotonic clock.
/// Nothing where the survivor closed, or no session stood.
#[derive(Default)]
pub struct Ends {
    pub sending: Option<(End, u64)>,
    pub receiving: Option<(End, u64)>,
}

/// What is known of a round when it is over.
pub struct Evidence<'a> {
    pub round: &'a Round,
    /// The victim's.
    pub pid: u32,
    pub status: ExitStatus,
    pub said: &'a [String],
    /// When the victim was struck, if from outside.
    pub struck: Option<u64>,
    pub ends: Ends,
    /// The survivor's ledger.
    pub ours: &'a Ledger,
    /// The victim's.
    pub theirs: &'a Ledger,
}

/// What became of a round in which nothing was wrong.
pub struct Outcome {
    /// What was meant for the victim befell it.
    pub struck: bool,
    /// From the kill until both halves had reported the death, if a session stood.
    pub reported: Option<Duration>,
    /// How often the victim came by each step, if it ended in order and counts them.
    pub counts: Vec<u64>,
}

impl Evidence<'_> {
    pub fn judge(&self) -> Result<Outcome, Wrong> {
        let at_step = self.said("step ").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        let struck = self.struck.or(at_step);
        let killed = struck.filter(|_| self.round.fate.kills());
        match self.status.signal() {
            Some(libc::SIGKILL) if killed.is_some() => {}
            None if killed.is_none() && self.status.success() => {}
            _ => return Err(Wrong::failed(format!("the victim ended with {}", self.status))),
        }
        self.judge_messages(killed.is_some())?;
        self.judge_ends(killed.is_some())?;
        let counts = self.said("counts ").unwrap_or_default();
        Ok(Outcome {
            struck: struck.is_some(),
            reported: killed.and_then(|killed| self.reported(killed)),
            counts: counts.split(' ').filter_map(|count| count.parse().ok()).collect(),
        })
    }

    /// Order and content were checked on arrival; this is about how many there are.
    fn judge_messages(&self, killed: bool) -> Result<(), Wrong> {
        let all = self.round.messages();
        let (came, went) = (self.ours.received(), self.theirs.received());
        let due = match (killed, &self.ends.receiving) {
            (false, _) => all,
            (true, Some(_)) => self.theirs.sent(),
            (true, None) => 0, // nobody listened to the end
        };
        if came < due {
            return Err(Wrong::lost(format!("{came} came of {due} that were sent")));
        }
        if !killed && went < all {
            return Err(Wrong::lost(format!("{went} came to the victim, of {all}")));
        }
        if came > self.theirs.begun() || went > self.ours.begun() {
            return Err(Wrong::torn(format!("{came} came and {went} went, more than were begun")));
        }
        Ok(())
    }

    /// A death is a death until the victim has begun to close that direction, and a close once it has closed
    /// it. In between it may be either.
    fn judge_ends(&self, killed: bool) -> Result<(), Wrong> {
        let phase = self.theirs.phase();
        let Ends { sending, receiving } = &self.ends;
        for (name, end, begun, done) in [
            ("receiving", receiving, phase >= Phase::Closing, phase >= Phase::SenderClosed),
            ("sending", sending, phase >= Phase::SenderClosed, phase >= Phase::Closed),
        ] {
            match end {
                None => {}
                Some((End::Closed, _)) if begun => {}
                Some((End::PeerDied(peer), _))
                    if killed && !done && peer.pid() == Some(self.pid) => {}
                Some((end, _)) => {
                    let what = format!("of {name}, the victim being {phase:?}, killed: {killed}");
                    return Err(Wrong::ended(end, what));
                }
            }
        }
        Ok(())
    }

    /// How long after the kill the later half knew.
    fn reported(&self, killed: u64) -> Option<Duration> {
        let ends = [&self.ends.sending, &self.ends.receiving].into_iter().flatten();
        let deaths = ends.filter(|(end, _)| matches!(end, End::PeerDied(_)));
        let last = deaths.map(|(_, at)| *at).max()?;
        Some(Duration::from_nanos(last.saturating_sub(killed)))
    }

    /// The rest of the line that begins so.
    fn said(&self, beginning: &str) -> Option<&str> {
        self.said.iter().find_map(|line| line.strip_prefix(beginning))
    }
}
