//! The round: those that may have something, visited in turn.
//!
//! Sessions that have had nothing for long leave it, armed: to sleep, all are armed with one fence, and looked at once more
//! ([`memring_ring::arm`]). What brings anything back, and what visits come to, is the [core's](super::core) business.

use super::Event;
use super::key::{Key, Places};
use super::place::{Place, Slot};
use super::seen::Seen;

/// Looks at the round, of a hub that never sleeps, before those who have had nothing meanwhile leave it; and how often it is gone
/// through at least.
const LOOKS: u64 = 1 << 16;
const LEAST: u64 = 16;

/// What a visit came to: an event, if any, and whether to stay in the round.
pub(super) enum Visit {
    Nothing,
    Leaves,
    Has(Event),
    Last(Event),
}

/// Keys in the order of their visits. Each place says itself whether it is among them.
#[derive(Default)]
pub(super) struct Round {
    keys: Vec<Key>,
    /// Who is visited next.
    at: usize,
    /// How often it was gone through, and when it was last cleared of those who have had nothing for long.
    turn: u64,
    cleared: u64,
}

impl Round {
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How often it was gone through.
    pub(super) fn turn(&self) -> u64 {
        self.turn
    }

    /// Has this one visited.
    pub(super) fn enter(&mut self, places: &mut Places<Slot>, key: Key) {
        if let Some(slot) = places.get_mut(key)
            && !std::mem::replace(&mut slot.in_round, true)
        {
            self.at = self.at.min(self.keys.len());
            self.keys.push(key);
        }
    }

    /// This one goes altogether.
    pub(super) fn remove(&mut self, key: Key) {
        if let Some(at) = self.keys.iter().rposition(|other| *other == key) {
            self.keys.swap_remove(at);
        }
    }

    /// Who is visited next.
    #[inline]
    pub(super) fn next(&mut self, places: &mut Places<Slot>) -> Option<Key> {
        if self.at >= self.keys.len() {
            self.at = 0;
            self.turn += 1;
            self.let_go(places);
        }
        self.keys.get(self.at).copied()
    }

    /// Who was next was visited.
    #[inline]
    pub(super) fn visited(&mut self, places: &mut Places<Slot>, visit: &Visit) {
        match visit {
            Visit::Nothing | Visit::Has(_) => self.at += 1,
            Visit::Leaves | Visit::Last(_) => {
                let key = self.keys.remove(self.at); // in their order: of timers, the first comes first
                if let Some(slot) = places.get_mut(key) {
                    slot.in_round = false;
                }
            }
        }
    }

    /// Whether none of its sessions has anything.
    #[inline]
    pub(super) fn is_quiet(&self, places: &mut Places<Slot>) -> bool {
        self.keys.iter().all(|key| seen(places, *key).is_none_or(|seen| seen.is_quiet()))
    }

    /// Arms these sessions. Whether none has anything after the fence: who waits for doorbells then will hear them.
    pub(super) fn arm(&mut self, places: &mut Places<Slot>, which: impl Fn(&Seen) -> bool) -> bool {
        for key in &self.keys {
            if let Some(seen) = seen(places, *key)
                && which(seen)
            {
                seen.arm();
            }
        }
        let mut called = false;
        for key in &self.keys {
            if let Some(seen) = seen(places, *key) {
                seen.fence_once(&mut called);
            }
        }
        self.is_quiet(places)
    }

    /// The hub does not sleep any more.
    pub(super) fn disarm(&mut self, places: &mut Places<Slot>) {
        for key in &self.keys {
            if let Some(seen) = seen(places, *key) {
                seen.disarm();
            }
        }
    }

    /// Of the sessions only these stay; the others are armed.
    pub(super) fn retain(
        &mut self,
        places: &mut Places<Slot>,
        mut stays: impl FnMut(&mut Seen) -> bool,
    ) {
        self.keys.retain(|key| {
            let Some(slot) = places.get_mut(*key) else { return false };
            let Place::Session(seen) = &mut slot.place else { return true };
            if stays(seen) {
                return true;
            }
            seen.cool();
            slot.in_round = false;
            false
        });
        self.at = 0;
    }

    /// A hub that never sleeps: what has had nothing for long leaves the round.
    fn let_go(&mut self, places: &mut Places<Slot>) {
        let since = self.turn - self.cleared;
        if since < LEAST || since.saturating_mul(self.keys.len() as u64) < LOOKS {
            return;
        }
        let (turn, long) = (self.turn, since);
        self.cleared = turn;
        let is_stale = |seen: &Seen| seen.is_stale(turn, long);
        self.arm(places, is_stale);
        self.retain(places, |seen| {
            let stays = !is_stale(seen) || !seen.is_quiet();
            if stays {
                seen.disarm();
            }
            stays
        });
    }
}

/// The session of this key, if it is one.
#[inline]
fn seen(places: &mut Places<Slot>, key: Key) -> Option<&mut Seen> {
    match &mut places.get_mut(key)?.place {
        Place::Session(seen) => Some(seen),
        _ => None,
    }
}
