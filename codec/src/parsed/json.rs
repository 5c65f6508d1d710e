//! JSON, by serde_json: text that people and every other language can read.
//!
//! Numbers come back as they went (`float_roundtrip`). What JSON has no words for (NaN, infinities, maps whose
//! keys are neither text nor numbers) is refused at the sender, where the library would write `null`.

use std::io;

use serde_core::Serialize;
use serde_core::de::DeserializeSeed;

use super::stage::Stage;
use super::{Notation, Said, Says};

/// JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl Notation for Json {
    const NAME: &'static str = "JSON";
    const SAYS: Says = Says { not_finite: false, left_out: true };

    fn write<T: Serialize>(value: &T, out: &mut Stage<'_, '_>) -> Result<(), Said> {
        let mut serializer = serde_json::Serializer::new(out);
        value.serialize(&mut serializer).map_err(Said::new)
    }

    fn read<'de, S>(seed: S, bytes: &'de [u8]) -> Result<(S::Value, usize), Said>
    where
        S: DeserializeSeed<'de>,
    {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let value = seed.deserialize(&mut deserializer).map_err(Said::new)?;
        // Only white space belongs to no value.
        deserializer.end().map_err(Said::new)?;
        Ok((value, 0))
    }
}

impl io::Write for Stage<'_, '_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.push(bytes).map_err(|_| io::ErrorKind::WriteZero.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
