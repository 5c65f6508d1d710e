//! The library: blobs that the peer made known to this side, by its numbers.
//!
//! The peer says when it will name one no more: then it goes, once it was named as often as the peer says. What the
//! application holds of it stays its own. How many and how large they are together is bounded by what we said we take;
//! the peer counts them too, and counts one until we have received every message that named it.
//!
//! It sends nothing and looks into no blob.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::blob::{NotReceived, SealedMemory, Unfit};
use crate::closer::ForeignFd;
use crate::control::Takes;

/// A blob that the peer made known.
#[derive(Debug)]
pub struct KnownBlob {
    memory: Arc<SealedMemory>,
    /// What those who read it know of it.
    reading: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl KnownBlob {
    /// Its memory.
    #[must_use]
    pub fn memory(&self) -> &Arc<SealedMemory> {
        &self.memory
    }

    /// A place for what those who read it find out, kept for as long as the peer may name it.
    #[must_use]
    pub fn reading(&self) -> &OnceLock<Arc<dyn Any + Send + Sync>> {
        &self.reading
    }
}

/// Where a blob is.
#[derive(Debug)]
enum Place {
    /// Here.
    Mapped(Arc<KnownBlob>),
    /// This process had no room for it when last asked.
    Unmapped(ForeignFd),
    /// The kernel did not pass its descriptor on.
    Lost,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    bytes: u64,
    mentions: u64,
    /// As often it will have been named in all.
    forget_after: Option<u64>,
}

/// A blob that a message names.
#[derive(Debug)]
pub enum Named {
    /// It is known, and here.
    Here(Arc<KnownBlob>),
    /// It is known, and could not be had: no room, or its descriptor was lost.
    Lost,
}

/// Why a blob was not taken in: the peer's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// More of them, or more bytes, than we take.
    Beyond,
    /// Its number is not above all before.
    Number,
    /// It is no blob.
    Unfit(Unfit),
}

#[derive(Debug)]
pub(crate) struct Library {
    takes: Takes,
    known: BTreeMap<u64, Entry>,
    bytes: u64,
    latest: u64,
}

impl Library {
    pub(crate) fn new(takes: Takes) -> Self {
        Self { takes, known: BTreeMap::new(), bytes: 0, latest: 0 }
    }

    /// Takes in a blob of this number, which says that it has so many bytes.
    pub(crate) fn add(
        &mut self,
        number: u64,
        bytes: u64,
        fd: Option<ForeignFd>,
        forget_after: Option<u64>,
    ) -> Result<(), NotTaken> {
        if number <= self.latest {
            return Err(NotTaken::Number);
        }
        let left = self.takes.blob_bytes.saturating_sub(self.bytes);
        if self.known.len() >= self.takes.blobs.into() || bytes > left {
            return Err(NotTaken::Beyond);
        }
        let place = match fd {
            None => Place::Lost,
            Some(fd) => map(fd, bytes).map_err(NotTaken::Unfit)?,
        };
        self.latest = number;
        self.bytes += bytes;
        self.known.insert(number, Entry { place, bytes, mentions: 0, forget_after });
        Ok(())
    }

    /// A message names it, which counts once a message. `None` if there is none of that number.
    pub(crate) fn name(&mut self, number: u64) -> Option<Named> {
        let entry = self.known.get_mut(&number)?;
        entry.mentions += 1;
        if let Place::Unmapped(_) = entry.place
            && let Place::Unmapped(fd) = std::mem::replace(&mut entry.place, Place::Lost)
        {
            // It was found to be a blob before.
            entry.place = map(fd, entry.bytes).unwrap_or(Place::Lost);
        }
        let named = match &entry.place {
            Place::Mapped(known) => Named::Here(Arc::clone(known)),
            Place::Unmapped(_) | Place::Lost => Named::Lost,
        };
        if entry.forget_after.is_some() {
            // What goes is in `named` too, so nothing is unmapped here.
            self.settle(number);
        }
        Some(named)
    }

    /// It will not be named again after so many times. What goes for good, or `None` if there is no such blob, or it was
    /// named more often already.
    pub(crate) fn forget(&mut self, number: u64, mentions: u64) -> Option<Option<Arc<KnownBlob>>> {
        let entry = self.known.get_mut(&number).filter(|entry| entry.mentions <= mentions)?;
        entry.forget_after = Some(mentions);
        Some(self.settle(number))
    }

    fn settle(&mut self, number: u64) -> Option<Arc<KnownBlob>> {
        let entry = self.known.get(&number)?;
        if entry.forget_after.is_none_or(|after| entry.mentions < after) {
            return None;
        }
        let entry = self.known.remove(&number)?;
        self.bytes -= entry.bytes;
        match entry.place {
            Place::Mapped(known) => Some(known),
            Place::Unmapped(_) | Place::Lost => None,
        }
    }
}

fn map(fd: ForeignFd, bytes: u64) -> Result<Place, Unfit> {
    match SealedMemory::from_foreign(fd, bytes) {
        Ok(memory) => Ok(Place::Mapped(Arc::new(KnownBlob {
            memory: Arc::new(memory),
            reading: OnceLock::new(),
        }))),
        Err(NotReceived::NotMapped { fd, .. }) => Ok(Place::Unmapped(fd)),
        Err(NotReceived::Unfit(unfit)) => Err(unfit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::MemoryBuilder;
    use std::os::fd::AsFd;

    fn blob(bytes: &[u8]) -> Option<ForeignFd> {
        let mut memory = MemoryBuilder::new().with_size(bytes.len() as u64).unwrap();
        memory.bytes_mut().copy_from_slice(bytes);
        let memory = memory.seal().unwrap();
        Some(ForeignFd::new(memory.as_fd().try_clone_to_owned().unwrap()))
    }

    fn library() -> Library {
        Library::new(Takes { fds: 0, blobs: 2, blob_bytes: 10 })
    }

    fn bytes(named: Option<Named>) -> Vec<u8> {
        match named {
            Some(Named::Here(known)) => known.memory().bytes().to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_blob_stays_until_it_was_named_as_often_as_it_was_said() {
        let mut library = library();
        library.add(3, 5, blob(b"three"), None).unwrap();
        assert_eq!(bytes(library.name(3)), b"three");
        assert!(library.forget(3, 3).unwrap().is_none());
        assert_eq!(bytes(library.name(3)), b"three");
        assert_eq!(bytes(library.name(3)), b"three");
        assert!(library.name(3).is_none(), "the third was the last");
        // Said when it was named so often already, or before it came.
        library.add(4, 4, blob(b"four"), None).unwrap();
        assert_eq!(bytes(library.name(4)), b"four");
        assert_eq!(library.forget(4, 1).unwrap().unwrap().memory().bytes(), b"four");
        // And not when it was named more often.
        library.add(5, 4, blob(b"five"), None).unwrap();
        assert!(library.name(5).is_some() && library.name(5).is_some());
        assert!(library.forget(5, 1).is_none());
        assert!(library.forget(5, 2).is_some() && library.name(5).is_none());
        library.add(6, 4, blob(b"five"), Some(1)).unwrap();
        assert_eq!(bytes(library.name(6)), b"five");
        assert!(library.name(6).is_none() && library.forget(6, 1).is_none());
        assert_eq!((library.known.len(), library.bytes), (0, 0));
    }

    #[test]
    fn numbers_only_grow_and_no_more_is_taken_than_was_said() {
        let mut library = library();
        assert_eq!(library.add(0, 1, blob(b"a"), None), Err(NotTaken::Number));
        library.add(7, 5, blob(b"seven"), None).unwrap();
        assert_eq!(library.add(7, 5, blob(b"again"), None), Err(NotTaken::Number));
        assert_eq!(library.add(6, 1, blob(b"a"), None), Err(NotTaken::Number));
        assert_eq!(library.add(8, 6, blob(b"eight!"), None), Err(NotTaken::Beyond));
        library.add(8, 5, blob(b"eight"), None).unwrap();
        assert_eq!(library.add(9, 0, blob(b""), None), Err(NotTaken::Beyond));
        library.name(7).unwrap();
        library.forget(7, 1).unwrap();
        library.add(9, 0, blob(b""), None).unwrap();
        assert_eq!(bytes(library.name(9)), b"");
    }

    #[test]
    fn what_is_no_blob_is_a_fault_and_what_was_lost_is_none() {
        let mut library = library();
        let null = std::fs::File::open("/dev/null").unwrap();
        let unfit = library.add(1, 5, Some(ForeignFd::new(null.into())), None);
        assert!(matches!(unfit, Err(NotTaken::Unfit(Unfit::NotSealable { .. }))), "{unfit:?}");
        let unfit = library.add(1, 4, blob(b"three"), None);
        assert!(matches!(unfit, Err(NotTaken::Unfit(Unfit::Size { .. }))), "{unfit:?}");
        library.add(1, 5, None, None).unwrap();
        assert!(matches!(library.name(1), Some(Named::Lost)));
        assert!(library.forget(1, 1).is_some() && library.name(1).is_none());
    }
}
