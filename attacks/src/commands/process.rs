//! The process itself.

use super::{Attacker, Command, command};
use crate::answer::{Answer, Failure, Fields};
use crate::line::Line;
use crate::process;

pub const COMMANDS: &[Command] = &[
    command("pid", "", pid),
    command("setuid", "N", setuid),
    command("nofile", "N", nofile),
    command("fork-hold", "", fork_hold),
    command("exec", "PROGRAM [ARGUMENT ...]", exec),
    command("raise", "SIGNAL", raise),
    command("exit", "N", exit),
];

fn pid(_: &mut Attacker, _: &Line) -> Answer {
    Ok(Fields::new().with("pid", std::process::id()))
}

fn setuid(_: &mut Attacker, line: &Line) -> Answer {
    process::become_user(line.number_at(0)?)?;
    Ok(Fields::new())
}

fn nofile(_: &mut Attacker, line: &Line) -> Answer {
    process::limit_files(line.number_at(0)?)?;
    Ok(Fields::new())
}

fn fork_hold(_: &mut Attacker, _: &Line) -> Answer {
    Ok(Fields::new().with("pid", process::fork_hold()?))
}

/// Becomes another program that keeps the control socket. The answer comes before.
fn exec(attacker: &mut Attacker, line: &Line) -> Answer {
    process::is_program(line.word(0)?)?;
    process::keep_through_exec(&attacker.connection()?.socket())?;
    let words = line.words().to_vec();
    attacker.after = Some(Box::new(move || {
        let failure = process::exec(&words);
        eprintln!("exec: {failure}");
        std::process::exit(127);
    }));
    Ok(Fields::new())
}

/// The answer comes before the signal.
fn raise(attacker: &mut Attacker, line: &Line) -> Answer {
    let signal = process::signal(line.word(0)?)?;
    attacker.after = Some(Box::new(move || process::raise(signal)));
    Ok(Fields::new())
}

/// The answer comes before the end.
fn exit(attacker: &mut Attacker, line: &Line) -> Answer {
    let code = i32::try_from(line.number_at(0)?).map_err(Failure::usage)?;
    attacker.after = Some(Box::new(move || process::exit(code)));
    Ok(Fields::new())
}
