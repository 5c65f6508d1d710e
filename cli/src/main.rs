//! The `memring` command: try it, measure it, pipe through it, and find out what this machine offers.
//!
//! Each command is one module that returns what it found or a [`Failure`]; only this file exits. What is
//! found goes to standard output, as text or as one JSON object; everything else, progress included, goes to
//! standard error.
//!
//! It holds no messaging of its own: all of that is the `memring` library's public interface.

mod args;
mod bench;
mod calls;
mod demo;
mod doctor;
mod echo;
mod failure;
mod latency;
mod negotiated;
mod output;
mod ping;
mod pipe;
mod signals;
mod top;

use std::process::ExitCode;

use args::{Command, Parsed};
use failure::Failure;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map_or_else(String::new, |at| format!(" at {at}"));
        output::complain(&format!("this is a fault of memring's{at}: please report it"));
    }));
    signals::ignore_file_size();
    let options = match args::parse() {
        Ok(Parsed::Options(options)) => options,
        Ok(Parsed::Text(text)) => return end(output::print(&text), false),
        Err(failure) => return end(Err(failure), false),
    };
    let json = options.json;
    let outcome = match options.command {
        Command::Bench(bench) => bench::run(&bench, json),
        Command::BenchWorker(worker) => return end(bench::work(&worker), false),
        Command::Demo(demo) => demo::run(&demo, json),
        Command::DemoChild(child) => return end(demo::child::run(&child), false),
        Command::DemoCacheServer(cache) => return end(demo::cache::server::run(&cache), false),
        Command::Echo(echo) => echo::run(&echo, json),
        Command::Ping(ping) => ping::run(&ping, json),
        Command::Send(send) => pipe::send(&send, json),
        Command::Recv(recv) => return end(pipe::recv(&recv, json), false),
        Command::Describe(describe) => calls::describe::run(&describe, json),
        Command::Call(call) => calls::call::run(&call),
        Command::Top(top) => top::run(&top, json),
        Command::Doctor(doctor) => doctor::run(&doctor, json),
    };
    end(outcome, json)
}

/// Says what went wrong, if something did, and turns it into an exit status.
fn end(outcome: Result<(), Failure>, json: bool) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    if let Some(line) = failure.line() {
        output::complain(line);
        if json {
            // Whoever asked for an object gets one. There is nobody left to tell if that fails too.
            let _ = output::print_json(&failure.as_json());
        }
    }
    failure.status().into()
}
