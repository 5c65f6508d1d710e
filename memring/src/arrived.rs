//! What came with a message that carries more than bytes, until it is taken or goes with the message.

use std::any::Any;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memring_codec::attached::Arrivals;
use memring_transport::Session;
use memring_transport::attachments::{KnownBlob, Named, Parcel};
use memring_transport::socket::ForeignFd;

/// Descriptors by their numbers, and the blobs that the message names.
pub(crate) struct Arrived {
    session: Arc<Session>,
    fds: u32,
    /// The blobs that the message names were listed beside it, and no others count.
    listed: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    fds: Vec<Option<ForeignFd>>,
    /// Named so far; each counts once, however often the message names it. It may do so without end, so they are not
    /// looked through one by one.
    blobs: BTreeMap<u64, Option<Arc<KnownBlob>>>,
    lost: bool,
}

impl Arrived {
    pub(crate) fn new(session: Arc<Session>, parcel: Parcel) -> Self {
        let fds = parcel.sent_fds() as u32; // a packet carries at most 253
        let lost = parcel.is_lost();
        let came = parcel.into_fds().into_iter().map(Some).collect();
        let inner = Mutex::new(Inner { fds: came, blobs: BTreeMap::new(), lost });
        Self { session, fds, listed: false, inner }
    }

    /// As [`new`](Self::new), of a message that is looked into later, if ever: the blobs that it names are listed, and
    /// have been named with this. `None` if one is not known.
    #[cfg(feature = "rpc")]
    pub(crate) fn listing(
        session: Arc<Session>,
        parcel: Parcel,
        blobs: impl Iterator<Item = u64>,
    ) -> Option<Self> {
        let mut this = Self::new(session, parcel);
        for number in blobs {
            if !this.claim_blob(number) {
                return None;
            }
        }
        this.listed = true;
        Some(this)
    }

    /// Whether something that the message names could not be had here.
    pub(crate) fn is_lost(&self) -> bool {
        self.lock().lost
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrivals for Arrived {
    fn fds(&self) -> u32 {
        self.fds
    }

    fn take_fd(&self, index: u32) -> Option<OwnedFd> {
        self.lock().fds.get_mut(index as usize)?.take().map(ForeignFd::into_owned)
    }

    fn claim_blob(&self, number: u64) -> bool {
        let mut inner = self.lock();
        if inner.blobs.contains_key(&number) || self.listed {
            return inner.blobs.contains_key(&number);
        }
        let known = match self.session.name_blob(number) {
            None => return false,
            Some(Named::Here(known)) => Some(known),
            Some(Named::Lost) => {
                inner.lost = true;
                None
            }
        };
        inner.blobs.insert(number, known);
        true
    }

    fn blob(&self, number: u64) -> Option<Arc<dyn Any + Send + Sync>> {
        let inner = self.lock();
        Some(Arc::clone(inner.blobs.get(&number)?.as_ref()?) as Arc<dyn Any + Send + Sync>)
    }
}
