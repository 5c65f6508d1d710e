//! Calls: interfaces, their methods, and everything that can become of a call.

mod acts;
mod basics;
mod both_ways;
mod carried;
mod describing;
mod ends;
mod evolution;
mod example;
mod hostile;
mod hostile_servers;
mod json;
mod panics;
mod raw;
mod servers;
mod signals;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tasks;
mod tasks_and_threads;
mod tasks_hostile;

#[test]
fn role() {
    support::play(&[("serves", ends::serves)]);
}
