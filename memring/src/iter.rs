//! The messages of a receiver as an iterator.

use std::fmt;

use memring_codec::Message;

use crate::error::{End, RecvError};
use crate::receiver::Receiver;
use crate::view::Received;

/// The messages of a receiver as they come; see [`Receiver::iter`].
pub struct Iter<'a, T: Message + ?Sized> {
    receiver: &'a mut Receiver<T>,
    over: bool,
}

impl<'a, T: Message + ?Sized> Iter<'a, T> {
    pub(crate) fn new(receiver: &'a mut Receiver<T>) -> Self {
        Self { receiver, over: false }
    }
}

/// The messages of a receiver as they come, owning it.
pub struct IntoIter<T: Message + ?Sized> {
    receiver: Receiver<T>,
    over: bool,
}

fn step<T: Message + ?Sized>(
    receiver: &mut Receiver<T>,
    over: &mut bool,
) -> Option<Result<Received<T>, RecvError>> {
    if *over {
        return None;
    }
    match receiver.recv_owned() {
        Ok(received) => Some(Ok(received)),
        Err(error) => {
            // What lost its descriptors is one message; all else is the end.
            *over = !matches!(error, RecvError::FdsLost { .. });
            (!matches!(error, RecvError::Ended(End::Closed))).then_some(Err(error))
        }
    }
}

impl<T: Message + ?Sized> Iterator for Iter<'_, T> {
    type Item = Result<Received<T>, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        step(self.receiver, &mut self.over)
    }
}

impl<T: Message + ?Sized> Iterator for IntoIter<T> {
    type Item = Result<Received<T>, RecvError>;

    fn next(&mut self) -> Option<Self::Item> {
        step(&mut self.receiver, &mut self.over)
    }
}

impl<'a, T: Message + ?Sized> IntoIterator for &'a mut Receiver<T> {
    type Item = Result<Received<T>, RecvError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: Message + ?Sized> IntoIterator for Receiver<T> {
    type Item = Result<Received<T>, RecvError>;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self, over: false }
    }
}

impl<T: Message + ?Sized> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Iter").field(&self.receiver).finish()
    }
}

impl<T: Message + ?Sized> fmt::Debug for IntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IntoIter").field(&self.receiver).finish()
    }
}
