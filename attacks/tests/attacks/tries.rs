//! One way to try many things on a handshake: how to get to a step, what is said there, what must come of it.

use memring::{HandshakeError, Reason};

use crate::attacker::{Answer, Attacker};
use crate::scene::{PROTOCOL, Scene};
use crate::victim::serve;

/// Connects once more and comes as far as `step` of a clean handshake.
#[track_caller]
pub fn come(attacker: &mut Attacker, scene: &Scene, step: &str) {
    attacker.run(format!("connect {}", scene.path()));
    attacker.run(format!("client until={step} {PROTOCOL}"));
}

/// At each step says what must not be said there; that is counted, and hung up on.
#[track_caller]
pub fn at_a_server(scene: &mut Scene, attacker: &mut Attacker, cases: &[(&str, &str, Reason)]) {
    for (step, command, reason) in cases {
        come(attacker, scene, step);
        println!("after {step}: {command}: {reason} is due"); // for whoever reads of a failure
        attacker.run(command);
        scene.counted(*reason);
        attacker.hung_up_on();
    }
}

/// The same as the server of a client of ours, whose error is a fault.
#[track_caller]
pub fn at_a_client(scene: &mut Scene, cases: &[(&str, &str, Reason)]) {
    let mut attacker = scene.attacker();
    let path = scene.attackers_directory().join("s").display().to_string();
    attacker.run(format!("bind {path}"));
    for (step, command, reason) in cases {
        println!("to a client, after {step}: {command}: {reason} is due");
        let victim = serve(&mut attacker, &path, step);
        attacker.run(command);
        let error = victim.handshake_error();
        assert!(matches!(error, HandshakeError::Fault(_)), "{step}, {command}: {error}");
        scene.counted(*reason);
        attacker.run("close");
    }
}

/// Says it after Ready, to a session that must end by it.
#[track_caller]
pub fn poisons(scene: &mut Scene, attacker: &mut Attacker, command: &str, reason: Reason) {
    come(attacker, scene, "ready");
    println!("after ready: {command}: {reason} is due");
    attacker.run(command);
    scene.poisoned(reason);
    attacker.hung_up_on();
}

/// Says it at a step, and is turned away by a message of this kind and code.
#[track_caller]
pub fn turned_away(
    scene: &mut Scene,
    attacker: &mut Attacker,
    step: &str,
    command: &str,
    (kind, code, reason): (&str, &str, Reason),
) -> Answer {
    come(attacker, scene, step);
    attacker.run(command);
    let told = attacker.hung_up_on().expect("a word");
    assert_eq!((told.get("kind"), told.get("code")), (kind, code), "{step}, {command}");
    scene.counted(reason);
    told
}
