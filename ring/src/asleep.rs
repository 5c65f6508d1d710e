//! The sleep word: how a sleeper says that it sleeps, and how a waker knows whether it has acted on it.
//!
//! Pure. Zero is awake; otherwise 30 bits of epoch and two of how to wake. Each sleep is a new epoch, and
//! a waker is done with an epoch once its wake has woken somebody, or its doorbell is on its way, so a sleeper that
//! is slow to rise costs one system call and not one a message.
//!
//! A wake that woke nobody settles nothing: the look that follows the publish of one frame may already
//! find the sleep on the *next* one. Were that epoch ticked off, the next publish would wake nobody (the
//! model `sleep-and-wake` finds this: mutant `epoch-settled-by-any-wake`).

/// How the sleeper wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It sleeps in a futex call on the word that will change.
    Futex = 1,
    /// Its owner waits in an event loop, for a doorbell over the control socket.
    Doorbell = 2,
    /// Never again: the consumer has gone. A hint to look at its head, which says so for good.
    Gone = 3,
}

/// A loaded sleep word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asleep(pub u32);

impl Asleep {
    /// Nobody sleeps.
    pub(crate) const AWAKE: u32 = 0;

    /// The word of the sleep numbered `epoch`.
    pub(crate) const fn futex(epoch: u32) -> u32 {
        epoch << 2 | How::Futex as u32
    }

    /// The word of the arming numbered `epoch`.
    pub(crate) const fn doorbell(epoch: u32) -> u32 {
        epoch << 2 | How::Doorbell as u32
    }

    /// The word of a consumer that has gone: its last.
    pub(crate) const GONE: u32 = How::Gone as u32;

    /// Whether somebody sleeps whom this waker has not woken yet; `woken` is the last word it acted on.
    #[inline]
    pub(crate) const fn is_new(self, woken: u32) -> bool {
        self.0 != Self::AWAKE && self.0 != woken
    }

    /// How to wake, if this version knows how. Other values come from a peer that lies, or from a later
    /// version without having agreed on it; either loses only its own wakes.
    pub(crate) const fn how(self) -> Option<How> {
        match self.0 & 3 {
            1 => Some(How::Futex),
            2 => Some(How::Doorbell),
            3 => Some(How::Gone),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_is_news_once() {
        for (word, woken, news) in [
            (0, 0, false),
            (Asleep::futex(0), 0, true),
            (Asleep::futex(1), Asleep::futex(0), true),
            (Asleep::futex(1), Asleep::futex(1), false),
            (Asleep::futex((1 << 30) - 1), Asleep::futex(0), true),
            (0, Asleep::futex(1), false),
        ] {
            assert_eq!(Asleep(word).is_new(woken), news, "{word:#x} after {woken:#x}");
        }
        assert_eq!(Asleep::futex(1 << 30), Asleep::futex(0), "epochs wrap at 30 bits");
        for (word, how) in [
            (Asleep::futex(7), Some(How::Futex)),
            (Asleep::doorbell(7), Some(How::Doorbell)),
            (Asleep::GONE, Some(How::Gone)),
            (7 << 2, None),
        ] {
            assert_eq!(Asleep(word).how(), how, "{word:#x}");
        }
    }
}
