//! What came with a message that carries more than bytes, until it is taken or goes with the message.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use memring_codec::attached::Arrivals;
use memring_transport::socket::ForeignFd;

/// Descriptors by their numbers.
pub(crate) struct Arrived {
    count: u32,
    fds: Mutex<Vec<Option<ForeignFd>>>,
}

impl Arrived {
    pub(crate) fn new(fds: Vec<ForeignFd>) -> Self {
        let count = fds.len() as u32; // a packet carries at most 253
        Self { count, fds: Mutex::new(fds.into_iter().map(Some).collect()) }
    }
}

impl Arrivals for Arrived {
    fn fds(&self) -> u32 {
        self.count
    }

    fn take_fd(&self, index: u32) -> Option<OwnedFd> {
        let mut fds = self.fds.lock().unwrap_or_else(PoisonError::into_inner);
        fds.get_mut(index as usize)?.take().map(ForeignFd::into_owned)
    }

    fn blob(&self, _: u64) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}
