//! The inbox: descriptors that came ahead of their messages.
//!
//! The peer can send any, so what waits is bounded by what we said we take. It has to keep to that: it counts a
//! descriptor until our published head is behind the message, and here it is counted until the message is about to be
//! released, which is before.
//!
//! It reads no socket and knows no lane. What it drops goes to the closer.

use std::collections::VecDeque;

use crate::closer::ForeignFd;
use crate::control::{Attached, Attachments, Takes};

/// What came ahead of one message.
#[derive(Debug, Default)]
pub struct Parcel {
    position: u64,
    list: Vec<Attached>,
    fds: Vec<ForeignFd>,
    lost: bool,
    /// Blobs among them that are named no more, and after how many times.
    forget: Vec<(u64, u64)>,
}

/// A blob that came with a message, or its descriptor was lost.
pub(crate) struct Arrival {
    pub number: u64,
    pub bytes: u64,
    pub fd: Option<ForeignFd>,
    pub forget_after: Option<u64>,
}

impl Parcel {
    pub(crate) fn new(attachments: &Attachments<'_>, fds: Vec<ForeignFd>) -> Self {
        let list = attachments.list.to_vec();
        let lost = fds.len() != list.len();
        Self { position: attachments.position, list, fds, lost, forget: Vec::new() }
    }

    /// The descriptors that are the message's own; fewer than were sent if [`is_lost`](Self::is_lost).
    #[must_use]
    pub fn into_fds(self) -> Vec<ForeignFd> {
        self.fds
    }

    /// Whether the kernel could not give us all that were sent.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// How many descriptors were sent, those of blobs among them.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.list.len()
    }

    /// How many of them were the message's own.
    #[must_use]
    pub fn sent_fds(&self) -> usize {
        count(&self.list).0
    }

    /// Takes out the blobs, and leaves the descriptors that are the message's own.
    pub(crate) fn take_blobs(&mut self) -> Vec<Arrival> {
        if self.list.iter().all(|one| one.as_blob().is_none()) {
            return Vec::new();
        }
        // Of those that the kernel lost, the last are lost.
        let mut came = std::mem::take(&mut self.fds).into_iter();
        let mut blobs = Vec::new();
        for one in &self.list {
            let fd = came.next();
            match one.as_blob() {
                None => self.fds.extend(fd),
                Some((number, bytes)) => {
                    let forget = self.forget.iter().find(|(forgotten, _)| *forgotten == number);
                    let forget_after = forget.map(|(_, after)| *after);
                    blobs.push(Arrival { number, bytes, fd, forget_after });
                }
            }
        }
        blobs
    }
}

/// What a look into the inbox brought.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// All that belongs to the message.
    All(Parcel),
    /// Nothing was filed.
    Nothing,
    /// What was filed is another's, or another number.
    Other,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    takes: Takes,
    /// In the order in which their messages come.
    filed: VecDeque<Parcel>,
    /// Descriptors among them, of messages and of blobs.
    fds: usize,
    blobs: usize,
    /// What belongs to the message that is being received.
    pub(crate) fetched: Option<Parcel>,
}

impl Inbox {
    pub(crate) fn new(takes: Takes) -> Self {
        Self { takes, filed: VecDeque::new(), fds: 0, blobs: 0, fetched: None }
    }

    /// Files what came. False if it is more than we take.
    #[must_use]
    pub(crate) fn file(&mut self, parcel: Parcel) -> bool {
        let (fds, blobs) = count(&parcel.list);
        if self.fds + fds > self.takes.fds.into() || self.blobs + blobs > self.takes.blobs.into() {
            return false;
        }
        self.fds += fds;
        self.blobs += blobs;
        self.filed.push_back(parcel);
        true
    }

    /// A blob is named no more after so many times. False if none of this number waits here.
    #[must_use]
    pub(crate) fn forget(&mut self, number: u64, mentions: u64) -> bool {
        let is_it = |one: &Attached| one.as_blob().is_some_and(|(waiting, _)| waiting == number);
        let parcel = self.filed.iter_mut().find(|parcel| parcel.list.iter().any(is_it));
        match parcel {
            // Said once, or the first time counts.
            Some(parcel) if parcel.forget.len() < parcel.list.len() => {
                parcel.forget.push((number, mentions));
                true
            }
            _ => false,
        }
    }

    /// Takes what belongs to the message at `position`, which says that it is so many descriptors.
    pub(crate) fn fetch(&mut self, position: u64, count_due: u16) -> Fetched {
        match self.filed.front() {
            None => Fetched::Nothing,
            // The messages come in the order in which they were sent, so what is first here is the next one's.
            Some(parcel)
                if parcel.position == position && parcel.list.len() == count_due.into() =>
            {
                let Some(parcel) = self.filed.pop_front() else { return Fetched::Nothing };
                let (fds, blobs) = count(&parcel.list);
                self.fds -= fds;
                self.blobs -= blobs;
                Fetched::All(parcel)
            }
            Some(_) => Fetched::Other,
        }
    }
}

/// The descriptors of a list: of messages, and of blobs.
fn count(list: &[Attached]) -> (usize, usize) {
    let blobs = list.iter().filter(|one| one.as_blob().is_some()).count();
    (list.len() - blobs, blobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;
    use std::fs::File;
    use std::os::fd::OwnedFd;

    fn parcel(position: u64, list: &[Attached], came: usize) -> Parcel {
        let null = || ForeignFd::new(OwnedFd::from(File::open("/dev/null").unwrap()));
        let attachments = Attachments { channel: 0, position, list: Cow::Borrowed(list) };
        Parcel::new(&attachments, (0..came).map(|_| null()).collect())
    }

    fn inbox() -> Inbox {
        Inbox::new(Takes { fds: 3, blobs: 1, blob_bytes: 10 })
    }

    #[test]
    fn what_was_filed_is_fetched_by_its_message_only() {
        for (position, count, found) in
            [(16, 2, true), (16, 1, false), (16, 3, false), (0, 2, false), (32, 1, false)]
        {
            let mut inbox = inbox();
            assert!(inbox.file(parcel(16, &[Attached::FD; 2], 2)));
            assert!(inbox.file(parcel(32, &[Attached::FD], 1)));
            let fetched = inbox.fetch(position, count);
            assert_eq!(matches!(fetched, Fetched::All(_)), found, "{position} {count}");
            assert_eq!(matches!(fetched, Fetched::Other), !found, "{position} {count}");
        }
        assert!(matches!(inbox().fetch(0, 1), Fetched::Nothing));
    }

    #[test]
    fn no_more_is_filed_than_is_taken_and_what_is_fetched_makes_room() {
        let mut inbox = inbox();
        assert!(inbox.file(parcel(0, &[Attached::FD; 3], 3)));
        assert!(!inbox.file(parcel(16, &[Attached::FD], 1)));
        assert!(inbox.file(parcel(16, &[Attached::blob(1, 10)], 1)), "blobs are counted apart");
        assert!(!inbox.file(parcel(32, &[Attached::blob(2, 10)], 1)));
        assert!(matches!(inbox.fetch(0, 3), Fetched::All(_)));
        assert!(inbox.file(parcel(32, &[Attached::FD; 3], 3)));
    }

    #[test]
    fn attack_30_descriptors_that_the_kernel_lost_are_never_silently_fewer() {
        let mut inbox = inbox();
        assert!(inbox.file(parcel(0, &[Attached::FD; 3], 2)));
        let Fetched::All(parcel) = inbox.fetch(0, 3) else { panic!("it was filed") };
        assert_eq!(parcel.sent(), 3);
        assert!(parcel.is_lost());
        assert_eq!((parcel.sent_fds(), parcel.into_fds().len()), (3, 2));
    }
}
