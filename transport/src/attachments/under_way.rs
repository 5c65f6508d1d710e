//! Descriptors under way: sent, and not yet received as far as we know.
//!
//! A message is received when the peer's head is behind it. The peer said how many it takes; who sends more has broken
//! a rule, so whoever sends asks here first.

use std::collections::VecDeque;

/// How many descriptors are under way, and behind which positions they no longer are.
#[derive(Debug)]
pub struct UnderWay {
    most: u16,
    total: u16,
    /// Where each message ends, and how many went with it. In order.
    messages: VecDeque<(u64, u16)>,
}

impl UnderWay {
    /// At most so many.
    #[must_use]
    pub fn new(most: u16) -> Self {
        Self { most, total: 0, messages: VecDeque::new() }
    }

    /// The most that can be under way, and so go with one message.
    #[must_use]
    pub fn most(&self) -> u16 {
        self.most
    }

    /// Where the message ends that has to be received before `more` can be sent, which are no more than the most; `None`
    /// if they can be sent now.
    #[must_use]
    pub fn waits_for(&self, more: u16) -> Option<u64> {
        let mut left = self.total;
        let mut waits_for = None;
        for &(end, fds) in &self.messages {
            if left.saturating_add(more) <= self.most {
                break;
            }
            left -= fds;
            waits_for = Some(end);
        }
        waits_for
    }

    /// Everything up to there was received.
    pub fn received(&mut self, end: u64) {
        // Positions wrap, so it is looked up and not compared.
        if let Some(at) = self.messages.iter().position(|&(message, _)| message == end) {
            let received = self.messages.drain(..=at);
            self.total -= received.map(|(_, fds)| fds).sum::<u16>();
        }
    }

    /// So many were sent with a message that ends there.
    pub fn sent(&mut self, end: u64, fds: u16) {
        self.total += fds;
        self.messages.push_back((end, fds));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_waits_for_the_first_message_whose_receipt_makes_room() {
        let mut under_way = UnderWay::new(4);
        assert_eq!(under_way.waits_for(4), None);
        under_way.sent(u64::MAX - 15, 1);
        under_way.sent(16, 2);
        under_way.sent(48, 1);
        for (more, waits_for) in
            [(0, None), (1, Some(u64::MAX - 15)), (2, Some(16)), (3, Some(16)), (4, Some(48))]
        {
            assert_eq!(under_way.waits_for(more), waits_for, "{more}");
        }
        under_way.received(16);
        assert_eq!(under_way.waits_for(3), None);
        assert_eq!(under_way.waits_for(4), Some(48));
        under_way.received(48);
        assert_eq!(under_way.waits_for(4), None);
    }
}
