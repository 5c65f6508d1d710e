//! postcard: the fewest bytes, for two programs that have the same type.
//!
//! Nothing is written by name: fields follow each other, variants are numbers, numbers are as long as they
//! need. So a type must not ask what it is looking at (`untagged`, `flatten`), and no field may be left out.

use postcard::ser_flavors::Flavor;
use postcard::{Deserializer, Error, Serializer};
use serde_core::Serialize;
use serde_core::de::DeserializeSeed;

use super::stage::Stage;
use super::{Notation, Said, Says};

/// postcard.
#[derive(Debug, Clone, Copy, Default)]
pub struct Postcard;

impl Notation for Postcard {
    const NAME: &'static str = "postcard";
    const SAYS: Says = Says { not_finite: true, left_out: false };

    fn write<T: Serialize>(value: &T, out: &mut Stage<'_, '_>) -> Result<(), Said> {
        let mut serializer = Serializer { output: Staged(out) };
        value.serialize(&mut serializer).map_err(Said::new)
    }

    fn read<'de, S>(seed: S, bytes: &'de [u8]) -> Result<(S::Value, usize), Said>
    where
        S: DeserializeSeed<'de>,
    {
        let mut deserializer = Deserializer::from_bytes(bytes);
        let value = seed.deserialize(&mut deserializer).map_err(Said::new)?;
        let rest = deserializer.finalize().map_err(Said::new)?;
        Ok((value, rest.len()))
    }
}

/// The stage as the library wants it: by value.
struct Staged<'s, 'a, 'e>(&'s mut Stage<'a, 'e>);

impl Flavor for Staged<'_, '_, '_> {
    type Output = ();

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.0.push(bytes).map_err(|_| Error::SerializeBufferFull)
    }

    #[inline]
    fn try_push(&mut self, byte: u8) -> Result<(), Error> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> Result<(), Error> {
        Ok(())
    }
}
