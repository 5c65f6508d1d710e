//! CBOR, by cbor4ii: what JSON says, in fewer bytes.
//!
//! Fields and variants are written by name. Any well-formed CBOR that says the value is read, of definite length
//! or not; only a float has to be as wide as its type.

use cbor4ii::core::dec::Read;
use cbor4ii::core::enc::Write;
use cbor4ii::core::utils::SliceReader;
use cbor4ii::serde::{Deserializer, Serializer};
use serde_core::Serialize;
use serde_core::de::DeserializeSeed;

use super::stage::{Refused, Stage};
use super::{Notation, Said, Says};

/// CBOR.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cbor;

impl Notation for Cbor {
    const NAME: &'static str = "CBOR";
    const SAYS: Says = Says { not_finite: true, left_out: true };

    fn write<T: Serialize>(value: &T, out: &mut Stage<'_, '_>) -> Result<(), Said> {
        value.serialize(&mut Serializer::new(out)).map_err(Said::new)
    }

    fn read<'de, S>(seed: S, bytes: &'de [u8]) -> Result<(S::Value, usize), Said>
    where
        S: DeserializeSeed<'de>,
    {
        let mut deserializer = Deserializer::new(SliceReader::new(bytes));
        let value = seed.deserialize(&mut deserializer).map_err(Said::new)?;
        let mut rest = deserializer.into_inner();
        let left = rest.fill(usize::MAX).map_err(Said::new)?.as_ref().len();
        Ok((value, left))
    }
}

impl Write for Stage<'_, '_> {
    type Error = Refused;

    #[inline]
    fn push(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        Stage::push(self, bytes)
    }
}
