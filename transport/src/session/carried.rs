//! What goes with messages beside their bytes, at the session that they are of: what is sent ahead of them, what came,
//! and the blobs that either side has made known to the other.
//!
//! Locks: the control lock first, then that of the library or of the shelf; that of the departed by itself, for it is taken
//! wherever a blob is dropped.
//!
//! What may be sent and what is owed is [`crate::attachments`]' to say; this says it, and hears it.

use std::borrow::Cow;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use memring_ring::{End, Fault};

use super::{Drained, Look, Reader, Session};
use crate::attachments::{Fetched, Named, NotTaken, Numbered, Parcel, Room, Shelf};
use crate::blob::{Departure, SealedMemory};
use crate::control::{Attached, Attachments, Control, Forget};
use crate::drainer;
use crate::handshake::{FIRST_CHANNEL, Notice};
use crate::socket::SendProblem;
use crate::tally::Reason;

/// How often so many are read for what went ahead of one message: more than that no honest peer has sent before it, and
/// one that goes on sending is not read for ever.
const READS: usize = 64;

impl Session {
    /// Sends what goes ahead of the message whose frame is at `position`: as many descriptors as `list` has entries. They
    /// are duplicated; the caller's stay open.
    ///
    /// # Errors
    ///
    /// [`SendProblem`]; nothing was sent.
    pub fn send_ahead(
        &self,
        position: u64,
        list: &[Attached],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), SendProblem> {
        let list = Cow::Borrowed(list);
        let packet = Control::Attachments(Attachments { channel: FIRST_CHANNEL, position, list });
        // What is to be forgotten makes room for what this brings, and so must not come behind it.
        let mut reader = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        self.pay(&mut reader.owed)?;
        self.socket.send(&packet.encode(), fds)
    }

    /// The blobs that this side made known to the peer, under a lock. Nothing else is done while it is held.
    pub fn with_shelf<R>(&self, with: impl FnOnce(&mut Shelf) -> R) -> R {
        with(&mut self.shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes room on the shelf for a message that names `known` blobs and makes `new` ones known; tells the peer what it shall
    /// forget for that.
    #[must_use]
    pub fn make_room(&self, known: &[Numbered], new: &[Numbered]) -> Room {
        if !self.generation.is_current() {
            return Room::Now; // the lane will say that it is the parent's, whom the peer must go on believing
        }
        let bytes = new.iter().map(|(_, memory)| memory.len()).sum();
        let mut tell = Vec::new();
        let room = self.with_shelf(|shelf| shelf.room(known, new.len() as u64, bytes, &mut tell));
        if !tell.is_empty() {
            let mut reader = self.control.lock().unwrap_or_else(PoisonError::into_inner);
            reader.owed.extend(tell.into_iter().map(Notice::Forget));
            drop(reader);
            self.drain(); // says it, now or once the socket has room
        }
        room
    }

    /// Has the peer told, when nobody here holds the blob any more, that it is named no more.
    pub fn forget_with(self: &Arc<Self>, memory: &SealedMemory, number: u64) {
        let session: Weak<dyn Departure> =
            Arc::downgrade(&(Arc::clone(self) as Arc<dyn Departure>));
        memory.tell_departure(session, number);
    }

    /// A message names this blob of the peer's, which counts once a message. `None` if there is none of that number.
    #[must_use]
    pub fn name_blob(&self, number: u64) -> Option<Named> {
        self.library.lock().unwrap_or_else(PoisonError::into_inner).name(number)
    }

    /// Takes in the blobs that came with a message.
    fn add_blobs(&self, parcel: &mut Parcel) -> Result<(), End> {
        let mut library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        for blob in parcel.take_blobs() {
            let added = library.add(blob.number, blob.bytes, blob.fd, blob.forget_after);
            if let Err(not) = added {
                let _ = self.control_fault.set(match not {
                    NotTaken::Beyond => Reason::BlobFlood,
                    NotTaken::Number => Reason::BlobNumber,
                    NotTaken::Unfit(unfit) => Reason::from(&unfit),
                });
                return Err(End::Fault(Fault::Blob));
            }
        }
        Ok(())
    }

    /// Finds what went ahead of a message: see [`Host::fetch_fds`].
    pub(super) fn fetch(&self, reader: &mut Reader, position: u64, count: u16) -> Result<(), End> {
        // It was sent before the frame was published: it was filed, or lies in the socket.
        let mut drained = Drained::Partly;
        let mut reads = 0;
        loop {
            match reader.inbox.fetch(position, count) {
                Fetched::All(mut parcel) => {
                    let added = self.add_blobs(&mut parcel);
                    reader.inbox.fetched = Some(parcel);
                    return added;
                }
                Fetched::Nothing if drained == Drained::Partly && reads < READS => {
                    reads += 1;
                    drained = self.read(reader);
                }
                Fetched::Nothing if drained == Drained::Failed => return Err(End::HungUp),
                // What was broken first counts.
                _ if reader.fault.is_some() => return Err(End::Fault(Fault::Control)),
                _ => {
                    let faulty = |end: &End| matches!(end, End::Fault(_));
                    let end = self.life.end().filter(faulty);
                    return Err(end.unwrap_or(End::Fault(Fault::Fds)));
                }
            }
        }
    }

    /// The peer will name a blob no more, after so many times. False if there is no such blob, or that is not so.
    pub(super) fn on_forget(&self, forget: Forget, reader: &mut Reader) -> bool {
        let mut library = self.library.lock().unwrap_or_else(PoisonError::into_inner);
        match library.forget(forget.blob, forget.mentions) {
            Some(gone) => {
                reader.gone.extend(gone);
                true
            }
            None => reader.inbox.forget(forget.blob, forget.mentions),
        }
    }

    /// Owes the peer word of the blobs that nobody here holds any more.
    pub(super) fn tell_departures(&self, owed: &mut Vec<Notice>) {
        let departed = std::mem::take(&mut self.departures().numbers);
        for number in departed {
            if let Some(forget) = self.with_shelf(|shelf| shelf.forget(number)) {
                owed.push(Notice::Forget(forget));
            }
        }
    }

    fn departures(&self) -> MutexGuard<'_, Departed> {
        self.departed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`drain`](Self::drain), by the drainer, which may be asked again from here on.
    pub(crate) fn drain_as_asked(&self) {
        self.departures().submitted = false;
        let left = self.loop_left.swap(false, Ordering::AcqRel);
        self.drain_and(if left { Look::ForEverything } else { Look::AsBefore });
    }

    /// What came with the message that was received last, if anything did and nobody took it yet.
    #[must_use]
    pub fn take_parcel(&self) -> Option<Parcel> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner).inbox.fetched.take()
    }
}

/// Blobs that nobody here holds any more, of which the peer has not been told.
#[derive(Debug, Default)]
pub(super) struct Departed {
    numbers: Vec<u64>,
    /// The drainer was asked to tell it, and has not begun.
    submitted: bool,
}

impl Departure for Session {
    /// Called from anywhere, with any lock held: it takes note, and another thread does the rest.
    fn departed(self: Arc<Self>, number: u64) {
        if !self.generation.is_current() || self.life.end().is_some() {
            return;
        }
        let mut departed = self.departures();
        departed.numbers.push(number);
        let submitted = std::mem::replace(&mut departed.submitted, true); // they are told together
        drop(departed);
        if !submitted && let Err(session) = drainer::submit_elsewhere(self) {
            // Without a thread, whoever drains next tells it.
            session.departures().submitted = false;
        }
    }
}
