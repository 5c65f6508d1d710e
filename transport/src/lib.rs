//! placeholder

pub mod control;
pub mod handshake;
