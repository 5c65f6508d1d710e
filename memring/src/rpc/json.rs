//! Calls whose arguments come as JSON: they are made into the archive that the same call has otherwise, and the same handler reads
//! that. Results, replies and the method's error go back as JSON.
//!
//! What may be called so is what a declaration says; the rest answers that it is not. Who calls so needs none of the types: see
//! [`Description`](super::Description).

#[cfg(feature = "json")]
use memring_codec::attached::Attaches;
#[cfg(feature = "json")]
use memring_codec::{DecodeError, EncodeError, Encoder, JsonArguments, LARGEST_VALUE, Scratch};

use super::async_service::{TaskRequest, Work};
#[cfg(feature = "json")]
use super::carrier::Carries;
use super::service::Request;
use super::wire::Code;

const NO_JSON: &str = "the method is not declared `json`";

impl Request<'_> {
    /// Says that this method takes no JSON.
    pub fn no_json(self) {
        self.end(Code::Arguments, NO_JSON);
    }
}

/// Values that go out as JSON, though their types be messages in another format.
#[cfg(feature = "json")]
#[derive(Debug)]
pub struct Json;

#[cfg(feature = "json")]
impl<T: serde_core::Serialize> Carries<T> for Json {
    const MORE: bool = false;

    fn encode(
        value: &T,
        into: &mut Scratch,
        _: Option<&mut dyn Attaches>,
    ) -> Result<(), EncodeError> {
        memring_codec::to_json(value, &mut Encoder::new(into))
    }
}

#[cfg(feature = "json")]
impl Request<'_> {
    /// The same request with the archive of its arguments, which are JSON.
    pub fn with_json<A: JsonArguments>(self, run: impl FnOnce(Request<'_>)) {
        match archive_of::<A>(self.body(), self.largest_message()) {
            Ok(archive) => self.with_body(&archive, run),
            Err(why) => self.end(Code::Arguments, &why),
        }
    }
}

impl TaskRequest {
    /// Says that this method takes no JSON.
    pub fn no_json(self) -> Work {
        self.end(Code::Arguments, NO_JSON);
        Box::pin(async {})
    }
}

#[cfg(feature = "json")]
impl TaskRequest {
    /// The same request with the archive of its arguments, which are JSON; `None` if they are none, which is answered.
    #[must_use]
    pub fn with_json<A: JsonArguments>(mut self) -> Option<Self> {
        match archive_of::<A>(self.body(), self.largest_message()) {
            Ok(archive) => {
                self.set_body(&archive);
                Some(self)
            }
            Err(why) => {
                self.end(Code::Arguments, &why);
                None
            }
        }
    }
}

/// The archive of arguments that are JSON, or why they are none.
#[cfg(feature = "json")]
fn archive_of<A: JsonArguments>(json: &[u8], largest: u64) -> Result<Scratch, String> {
    let largest = largest.min(LARGEST_VALUE as u64);
    let mut archive = Scratch::new(usize::try_from(largest).unwrap_or(usize::MAX));
    // Types may bring code of their own, and the peer chooses what it is asked about.
    let read = crate::view::caught(|| {
        memring_codec::archive_json::<A>(json, &mut Encoder::new(&mut archive))
    });
    match read {
        Ok(()) => Ok(archive),
        Err(why) => Err(crate::receiver::full_text(&DecodeError::from(why))),
    }
}
