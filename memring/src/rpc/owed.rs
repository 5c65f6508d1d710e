//! Short packets that found no room, or the sending half in other hands: they are sent by whoever gives that back, or reads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memring_ring::halves::Which;

use super::sending::Sending;
use super::shared::{HeldHalves, Shared};
use super::table::FIRST_ASKED;
use super::wire::{Broken, Header};

/// Bytes of answers that the peer makes no room for, beyond which its openings are too many: an answer can be much longer than
/// the opening.
const MOST_BYTES: usize = 16 << 20;

/// The same in packets, of those that are no answers to openings: there are fewer calls and streams under way than that.
const MOST: usize = 1 << 16;

/// What is owed.
#[derive(Default)]
pub(crate) struct Owed {
    packets: Mutex<Vec<(Vec<u8>, u64)>>,
    any: AtomicBool,
}

impl Owed {
    fn lock(&self) -> MutexGuard<'_, Vec<(Vec<u8>, u64)>> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Whether something is owed.
    pub(super) fn owes(&self) -> bool {
        // ORDERING: Relaxed; a hint. Who must not miss it finds that the half is wanted.
        self.owed.any.load(Ordering::Relaxed)
    }

    /// Owes this answer to an opening from now on, among as many as the peer may have asked for.
    pub(super) fn owe_opening(&self, packet: Vec<u8>, call: u64) -> Result<(), Broken> {
        let most = self.most_running.max(FIRST_ASKED) as usize;
        let mut owed = self.owed.lock();
        // Not what this side says by itself, as that nobody waits for an answer.
        let answers = owed.iter().filter(|(packet, _)| Header::is_of_opening(packet));
        let (count, bytes) =
            answers.fold((0, 0), |(count, bytes), (packet, _)| (count + 1, bytes + packet.len()));
        if count >= most || bytes >= MOST_BYTES {
            return Err(Broken::Overrun);
        }
        owed.push((packet, call));
        self.owed.any.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Sends this as soon as can be, and does not wait for that. It ends the session of a peer that has let far too much come
    /// together, as one can that has many replies taken and reads no credit.
    pub(super) fn send_sometime(&self, packet: Vec<u8>, call: u64) {
        if self.is_forked() {
            return;
        }
        {
            let mut owed = self.owed.lock();
            if owed.len() >= MOST {
                drop(owed);
                return self.close();
            }
            owed.push((packet, call));
            self.owed.any.store(true, Ordering::Relaxed);
        }
        loop {
            if let Some(mut held) = self.try_take(Which::SENDING) {
                self.pay(&mut held);
                drop(held);
                return self.have_it_paid();
            }
            // Whoever has the half finds out when giving it back, and pays.
            if self.halves.want(Which::SENDING) {
                return;
            }
        }
    }

    /// What could not be paid, nothing rings for: the driver, if there is one, looks again and again.
    pub(super) fn have_it_paid(&self) {
        if self.owes() {
            self.tasks.wake_driver();
        }
    }

    /// Sends what is owed, as far as there is room.
    #[inline]
    pub(super) fn pay(&self, held: &mut HeldHalves<'_>) {
        if !self.owes() {
            return;
        }
        if held.has().any_of(Which::SENDING) {
            self.pay_all(held.sending());
        } else if let Some(mut other) = self.try_take(Which::SENDING) {
            self.pay_all(other.sending());
        }
    }

    /// In the order in which it came to be owed: a peer that is told that a signal is wanted, and then that it is not, knows
    /// what is so.
    fn pay_all(&self, sending: &mut Sending) {
        let mut owed = self.owed.lock();
        let paid = owed.iter().take_while(|(packet, call)| sending.try_put(packet, *call)).count();
        owed.drain(..paid);
        self.owed.any.store(!owed.is_empty(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::session::Calls;
    use super::super::wire::{Kind, packet};
    use super::*;

    #[test]
    fn answers_to_openings_have_a_bound_by_number_and_by_length_and_nothing_else_counts() {
        for (most_running, len, fit) in
            [(1, 16, FIRST_ASKED as usize), (100, 16, 100), (100, 1 << 20, 16), (100, 9 << 20, 2)]
        {
            let (channel, _peer) = crate::pair::<Calls>().expect("a pair");
            let shared = Shared::new(channel, most_running);
            let cancels = (0..1000).map(|call| (packet(Header::new(Kind::Cancel), &[]), call));
            shared.owed.lock().extend(cancels);
            for kind in [Kind::Opened, Kind::Refused].iter().cycle().take(fit) {
                let mut answer = packet(Header::new(*kind), &[]);
                answer.resize(len, 0);
                assert_eq!(shared.owe_opening(answer, 1), Ok(()));
            }
            let answer = packet(Header::new(Kind::Opened), &[]);
            assert_eq!(shared.owe_opening(answer, 1), Err(Broken::Overrun), "{len}");
        }
    }
}
