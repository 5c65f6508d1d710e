//! Every attack of the list that can be tried on one machine, by a real process of another making.
//!
//! `attack_NN_what` is row NN of the list of attacks, and the test's name says what is tried and what comes
//! of it. The attacker is this package's own program, which knows the protocol from `docs/PROTOCOL.md` alone; the victim is a process with nothing
//! but the test in it, once with a server of threads and once with a hub; beside it a well-behaved client of the same server goes on asking. Each test sees
//! three things: that the attack took place, that it met the reaction that is due to it, counted under its
//! reason, and that nothing is left of it afterwards. See `scene.rs`.

/// The name of the test it stands in, as the test runner knows it.
#[macro_export]
macro_rules! name {
    () => {{
        fn here() {}
        let path = std::any::type_name_of_val(&here).trim_end_matches("::here");
        path.split_once("::").map_or(path, |(_crate, path)| path)
    }};
}

mod attacker;
mod blobs;
mod bystander;
mod calls;
mod carried;
mod changes;
mod channels;
mod clean;
mod closing;
mod deaths;
mod deliveries;
mod descriptors;
mod fuse;
mod handshake;
mod hub;
mod hubs;
mod identity;
mod in_hand;
mod kernel;
mod lane;
mod life;
mod loops;
mod names;
mod observing;
mod payloads;
mod scene;
mod segments;
mod server;
mod service;
mod session;
mod sharing;
#[path = "../../../memring/tests/support/mod.rs"]
mod support;
mod terms;
mod tries;
mod victim;
mod wakes;
mod way;

#[test]
fn role() {
    support::play(&[("bystander", bystander::bystander), ("onlooker", observing::onlooker)]);
}
