//! What can be written where an address is due.

use std::path::{Path, PathBuf};

use memring_transport::{Address, AddressError};

/// Anything that names a place to listen at or connect to.
///
/// A string with a `/` is a path; without one it is a name, for a socket in the runtime directory
/// (`$RUNTIME_DIRECTORY`, else `$XDG_RUNTIME_DIR/memring`, else `/run/memring` for root and
/// `/tmp/memring-UID` for others). Abstract names have no permissions, so they are had only by
/// [`Address::abstract_name`].
pub trait ToAddress {
    /// The address.
    ///
    /// # Errors
    ///
    /// [`AddressError`] if it cannot be one.
    fn to_address(&self) -> Result<Address, AddressError>;
}

impl ToAddress for str {
    fn to_address(&self) -> Result<Address, AddressError> {
        Address::parse(self)
    }
}

impl ToAddress for String {
    fn to_address(&self) -> Result<Address, AddressError> {
        Address::parse(self)
    }
}

impl ToAddress for Path {
    fn to_address(&self) -> Result<Address, AddressError> {
        Address::path(self)
    }
}

impl ToAddress for PathBuf {
    fn to_address(&self) -> Result<Address, AddressError> {
        Address::path(self)
    }
}

impl ToAddress for Address {
    fn to_address(&self) -> Result<Address, AddressError> {
        Ok(self.clone())
    }
}

impl<T: ToAddress + ?Sized> ToAddress for &T {
    fn to_address(&self) -> Result<Address, AddressError> {
        (**self).to_address()
    }
}
