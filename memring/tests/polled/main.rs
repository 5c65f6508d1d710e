//! Event loops: under poll, epoll with levels and with edges, and mio, no wake is lost, and none is rung for nothing.

mod channels;
mod doorbells;
mod listeners;
mod loops;
mod processes;
#[path = "../support/mod.rs"]
mod support;

use listeners::guest;
use processes::{echo_at, hidden, still};
use support::play;

#[test]
fn role() {
    play(&[("echo", echo_at), ("hidden", hidden), ("still", still), ("guest", guest)]);
}
