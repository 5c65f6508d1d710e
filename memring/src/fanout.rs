//! One to many: each message encoded once, and copied into every subscriber's lane.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use memring_codec::{Carriage, Encoder, Format, LARGEST_VALUE, Message, Scratch};

use crate::carry::KEEP;
use crate::error::{End, SendError, TrySendError};
use crate::sender::Sender;

/// What becomes of a message for which a subscriber has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Slow {
    /// It is waited for, so long, for everybody's sake; whoever still has no room then is disconnected.
    Wait(Duration),
    /// The subscriber misses it.
    DropNewest,
    /// The subscriber misses those before: the latest is kept here, and goes with the next [`publish`](Fanout::publish) or
    /// [`flush`](Fanout::flush) that finds room.
    KeepLatest,
    /// The subscriber is disconnected.
    Disconnect,
}

/// Names a subscriber of one [`Fanout`]; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subscriber(u64);

/// Sends each message to all of many subscribers, without calls: encoded once, and copied into each lane. None of them holds up
/// the others, unless [`Slow::Wait`] says so.
///
/// ```
/// use memring::{Bytes, Fanout, fanout::Slow};
///
/// let mut news = Fanout::new();
/// let (server, mut anna) = memring::pair::<Bytes>()?;
/// news.add(server.split().0, Slow::DropNewest);
/// let (server, mut ben) = memring::pair::<Bytes>()?;
/// let ben_is = news.add(server.split().0, Slow::KeepLatest);
///
/// news.publish(b"first")?;
/// assert_eq!(&*anna.recv()?, b"first");
/// assert_eq!(&*ben.recv()?, b"first");
/// assert_eq!(news.missed(ben_is), Some(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Fanout<T: Message + ?Sized> {
    subscribers: BTreeMap<u64, Subscription<T>>,
    next: u64,
    scratch: Scratch,
}

struct Subscription<T: Message + ?Sized> {
    sender: Sender<T>,
    slow: Slow,
    missed: u64,
    /// The latest message, if it had no room.
    kept: Option<Vec<u8>>,
}

/// A subscriber that is one no more, and why.
#[derive(Debug)]
pub struct Lost {
    /// Who it was.
    pub subscriber: Subscriber,
    /// How it ended; `None` if it was too slow.
    pub end: Option<End>,
    /// How many messages it had missed.
    pub missed: u64,
}

impl<T: Message + ?Sized> Default for Fanout<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Message + ?Sized> Fanout<T> {
    /// Without subscribers.
    ///
    /// Messages that carry file descriptors or blobs are not the same bytes for everybody: this does not compile for them.
    ///
    /// ```compile_fail,E0080
    /// #[memring::message(attachments)]
    /// struct File { file: memring::Fd }
    /// let nobody = memring::Fanout::<File>::new();
    /// ```
    #[must_use]
    pub fn new() -> Self {
        const { assert!(!matches!(T::Format::CARRIAGE, Carriage::Within), "carries more than bytes") };
        Self { subscribers: BTreeMap::new(), next: 0, scratch: Scratch::new(0) }
    }

    /// From now on this one gets every message, or what `slow` leaves of them.
    pub fn add(&mut self, sender: Sender<T>, slow: Slow) -> Subscriber {
        let subscriber = self.next;
        self.next += 1;
        let subscription = Subscription { sender, slow, missed: 0, kept: None };
        self.subscribers.insert(subscriber, subscription);
        Subscriber(subscriber)
    }

    /// Takes one out. What was kept for it is missed.
    pub fn remove(&mut self, subscriber: Subscriber) -> Option<Sender<T>> {
        self.subscribers.remove(&subscriber.0).map(|subscription| subscription.sender)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subscribers.len()
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// How many messages this one has missed so far.
    #[must_use]
    pub fn missed(&self, subscriber: Subscriber) -> Option<u64> {
        self.subscribers.get(&subscriber.0).map(|subscription| subscription.missed)
    }

    /// Its sender.
    #[must_use]
    pub fn sender(&self, subscriber: Subscriber) -> Option<&Sender<T>> {
        self.subscribers.get(&subscriber.0).map(|subscription| &subscription.sender)
    }

    /// Sends a message to all. Those whom it did not reach, and nothing ever will, are taken out.
    ///
    /// # Errors
    ///
    /// [`SendError::Encode`] if the value cannot be encoded, [`SendError::TooLarge`] if it is too large for some: more
    /// than the least that was negotiated with any, or than its lane holds at once. Nobody has got it then.
    pub fn publish(&mut self, message: &T) -> Result<Vec<Lost>, SendError> {
        let most = |subscription: &Subscription<T>| subscription.sender.largest_at_once();
        let max = self.subscribers.values().map(most).min().unwrap_or(u64::MAX);
        let max = max.min(LARGEST_VALUE as u64) as usize;
        let Self { subscribers, scratch, .. } = self;
        scratch.set_max(max);
        T::Format::encode(message, &mut Encoder::new(scratch)).map_err(SendError::of_encoding)?;
        // Each that has room first, so that nobody waits for the slow.
        let mut waiting = Vec::new();
        let mut lost = Vec::new();
        for (&number, subscription) in &mut *subscribers {
            match subscription.offer(scratch) {
                Offered::Done => {}
                Offered::Wait(long) => waiting.push((number, long)),
                Offered::Lost(end) => lost.push((number, end)),
            }
        }
        let began = Instant::now();
        for (number, long) in waiting {
            let Some(subscription) = subscribers.get_mut(&number) else { continue };
            match subscription.sender.send_bytes(scratch, began + long) {
                Ok(()) => {}
                Err(SendError::Ended(end)) => lost.push((number, Some(end))),
                Err(_) => {
                    subscription.missed += 1;
                    lost.push((number, None));
                }
            }
        }
        scratch.clear_and_shrink(KEEP);
        Ok(self.take_out(lost))
    }

    /// Sends what was kept for the slow, where there is room now. Those whom nothing reaches any more are taken out.
    pub fn flush(&mut self) -> Vec<Lost> {
        let mut lost = Vec::new();
        for (&number, subscription) in &mut self.subscribers {
            if let Err(end) = subscription.send_kept() {
                lost.push((number, Some(end)));
            }
        }
        self.take_out(lost)
    }

    fn take_out(&mut self, lost: Vec<(u64, Option<End>)>) -> Vec<Lost> {
        let one = |(number, end)| {
            let missed = self.subscribers.remove(&number)?.missed;
            Some(Lost { subscriber: Subscriber(number), end, missed })
        };
        lost.into_iter().filter_map(one).collect()
    }
}

/// What came of offering a message.
enum Offered {
    Done,
    Wait(Duration),
    Lost(Option<End>),
}

impl<T: Message + ?Sized> Subscription<T> {
    fn offer(&mut self, bytes: &[u8]) -> Offered {
        if self.kept.take().is_some() {
            self.missed += 1; // this one is newer
        }
        match self.sender.try_send_bytes(bytes) {
            Ok(()) => return Offered::Done,
            Err(TrySendError::Ended(end)) => return Offered::Lost(Some(end)),
            Err(_) => {}
        }
        match self.slow {
            Slow::Wait(long) => return Offered::Wait(long),
            Slow::DropNewest => self.missed += 1,
            Slow::KeepLatest => self.kept = Some(bytes.to_vec()),
            Slow::Disconnect => {
                self.missed += 1;
                return Offered::Lost(None);
            }
        }
        Offered::Done
    }

    fn send_kept(&mut self) -> Result<(), End> {
        let Some(kept) = self.kept.take() else { return Ok(()) };
        match self.sender.try_send_bytes(&kept) {
            Ok(()) => Ok(()),
            Err(TrySendError::Ended(end)) => Err(end),
            Err(_) => {
                self.kept = Some(kept);
                Ok(())
            }
        }
    }
}

impl<T: Message + ?Sized> fmt::Debug for Fanout<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fanout")
            .field("subscribers", &self.subscribers.len())
            .finish_non_exhaustive()
    }
}
