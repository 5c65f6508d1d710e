//! Sealed memory: a descriptor, and bytes that nobody can change.
//!
//! What makes it is `builder`, `copy` or `receive`; from then on there is no difference. It lives in an `Arc`, is read
//! by any number of threads, and goes on being readable whatever becomes of the process that made it: the descriptor
//! and the map hold the memory, and the kernel holds the seals. A forked child has both as well.
//!
//! The bytes are only as valid as whoever wrote them: they are validated above.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::Stat;

use super::BlobError;
use super::map::ReadMap;

/// The bytes of what has none: they begin at a page too.
static EMPTY: Page = Page([]);

#[repr(align(4096))]
struct Page([u8; 0]);

/// Which memory it is: equal exactly for those that are one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemoryId {
    device: u64,
    inode: u64,
}

impl MemoryId {
    pub(super) fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// Memory that nobody can change any more, mapped. Begins at a page.
///
/// ```
/// use memring_transport::blob::MemoryBuilder;
///
/// let mut building = MemoryBuilder::new().with_size(5)?;
/// building.bytes_mut().copy_from_slice(b"hello");
/// assert_eq!(building.seal()?.bytes(), b"hello");
/// # Ok::<(), memring_transport::blob::BlobError>(())
/// ```
pub struct SealedMemory {
    fd: OwnedFd,
    /// None of an empty one: the kernel maps no zero bytes.
    map: Option<ReadMap>,
    id: MemoryId,
    /// Who is told when it goes, by where each lies: a place that is no other's as long as it is weakly held here.
    told: Mutex<HashMap<usize, Told>>,
}

/// Who is told, and as what.
type Told = (Weak<dyn Departure>, u64);

/// Who wants to know when a piece of memory is held by nobody in this process any more.
pub(crate) trait Departure: Send + Sync {
    /// It is so for the one that it knows by this number. Called wherever the last holder dropped it.
    fn departed(self: Arc<Self>, number: u64);
}

impl SealedMemory {
    /// Maps a sealed file.
    ///
    /// # Safety
    ///
    /// 1. The file has `len` bytes.
    /// 2. It bears [`SEALS`](super::SEALS).
    pub(super) unsafe fn map(
        fd: OwnedFd,
        len: u64,
        id: MemoryId,
    ) -> Result<Self, (OwnedFd, BlobError)> {
        let Ok(in_memory) = isize::try_from(len) else {
            return Err((fd, BlobError::TooLarge { needed: len }));
        };
        let map = match in_memory.unsigned_abs() {
            0 => None,
            // SAFETY: (1) the first point of the contract, and the seals SHRINK and SEAL of the second; (2) WRITE and SEAL.
            len => match unsafe { ReadMap::new(fd.as_fd(), len) } {
                Ok(map) => Some(map),
                Err(error) => return Err((fd, error)),
            },
        };
        Ok(Self { fd, map, id, told: Mutex::default() })
    }

    /// The bytes, as they were when it was sealed and as they stay.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.map.as_ref().map_or(&EMPTY.0, ReadMap::bytes)
    }

    /// How many.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_none()
    }

    /// Which memory it is.
    #[inline]
    #[must_use]
    pub fn id(&self) -> MemoryId {
        self.id
    }

    /// Has `who` told when it goes, under the number by which it knows it now.
    pub(crate) fn tell_departure(&self, who: Weak<dyn Departure>, number: u64) {
        let place = who.as_ptr().addr();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that went before it are swept out as their number doubles.
        if told.len() >= 16 && told.len().is_power_of_two() && !told.contains_key(&place) {
            told.retain(|_, (who, _)| who.strong_count() > 0);
        }
        told.insert(place, (who, number));
    }

    pub(super) fn gather_into_huge_pages(&self) {
        if let Some(map) = &self.map {
            map.gather_into_huge_pages();
        }
    }
}

impl Drop for SealedMemory {
    fn drop(&mut self) {
        let told = self.told.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (_, (who, number)) in told.drain() {
            if let Some(who) = who.upgrade() {
                who.departed(number);
            }
        }
    }
}

impl AsFd for SealedMemory {
    /// The descriptor to send.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for SealedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedMemory")
            .field("len", &self.len())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::MemoryBuilder;

    /// Numbers that departed.
    #[derive(Default)]
    struct Heard(Mutex<Vec<u64>>);

    impl Departure for Heard {
        fn departed(self: Arc<Self>, number: u64) {
            self.0.lock().unwrap().push(number);
        }
    }

    #[test]
    fn whoever_sent_it_is_told_once_however_often_it_was_sent() {
        let memory = MemoryBuilder::new().with_size(1).unwrap().seal().unwrap();
        let heard = [Arc::new(Heard::default()), Arc::new(Heard::default())];
        let [first, second]: [Weak<dyn Departure>; 2] = heard
            .each_ref()
            .map(|heard| Arc::downgrade(&(Arc::clone(heard) as Arc<dyn Departure>)));
        for number in 1..=100 {
            memory.tell_departure(Weak::clone(&first), number);
            // Others come and go.
            let gone: Weak<dyn Departure> = Arc::downgrade(&(Arc::new(Heard::default()) as _));
            memory.tell_departure(gone, number);
        }
        memory.tell_departure(second, 7);
        assert!(memory.told.lock().unwrap().len() <= 16 + 1);
        drop(memory);
        assert_eq!(heard.map(|heard| heard.0.lock().unwrap().clone()), [vec![100], vec![7]]);
    }
}
