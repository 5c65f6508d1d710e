//! placeholder

pub mod control;
pub mod handshake;

pub mod address;
pub mod bind;
pub mod closer;
mod os;
pub mod peer;
pub mod policy;
pub mod quota;
pub mod socket;
#[cfg(test)]
mod testing;

pub use os::Support;
