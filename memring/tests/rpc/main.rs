//! Calls: interfaces, their methods, and everything that can become of a call.

#[path = "../support/mod.rs"]
mod support;

mod basics;
mod example;
mod hostile;
mod signals;
mod streams;
