//! `memring call`: one call with JSON, and what comes back.

use std::io::{self, Read};
use std::time::Duration;

use memring::rpc::{CallError, Description, JsonError, Link, NotCallable, Options, Shape};
use serde::de::IgnoredAny;

use super::target::newest;
use super::{connect, deadline, plain};
use crate::args;
use crate::failure::{Failure, Status};
use crate::output;

/// Names that are listed where another was given.
const MOST_NAMES: usize = 16;

pub(crate) fn run(options: &args::Call) -> Result<(), Failure> {
    let arguments = arguments(&options.arguments)?;
    let reach = options.reach();
    let timeout = reach.timeout;
    let link = connect("memring call", &options.path, reach)?;
    let description = description(&link, options, timeout)?;
    let method = description.json(&options.target.method);
    let method = method.map_err(|error| not_callable(&error, &description))?;
    if options.count.is_some() && method.shape() != Shape::Stream {
        return Err(usage("--count is for streams, and the method is none"));
    }
    let limited = |timeout| Options::new().timeout(timeout);
    match method.shape() {
        Shape::OneWay => method.tell(&arguments, &limited(timeout)).map_err(|error| cut(&error)),
        Shape::Stream => {
            let unlimited = Options::new();
            let of_stream = options.timeout.map_or(unlimited, limited);
            let replies = method.stream(&arguments, &of_stream).map_err(|error| cut(&error))?;
            let most = options.count.unwrap_or(u64::MAX);
            // What is not wanted any more is cancelled.
            (1..=most).zip(replies).try_for_each(|(_, reply)| print(&reply.map_err(method_failed)?))
        }
        Shape::Call | Shape::Signal => {
            print(&method.call(&arguments, &limited(timeout)).map_err(method_failed)?)
        }
    }
}

fn usage(line: impl AsRef<str>) -> Failure {
    Failure::new(Status::Usage, line)
}

/// The arguments as they are sent.
fn arguments(given: &str) -> Result<String, Failure> {
    let mut text = given.to_owned();
    if given == "-" {
        text.clear();
        let read = io::stdin().lock().read_to_string(&mut text);
        read.map_err(|error| Failure::io("reading standard input", &error))?;
    }
    if !text.trim_start().starts_with(['{', '[']) {
        return Err(usage(
            "the arguments are one JSON object, as {\"a\": 1}, or an array in order, as [1]",
        ));
    }
    match serde_json::from_str::<IgnoredAny>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(usage(format!("the arguments are no JSON: {error}"))),
    }
}

/// What the interface consists of whose method is called.
fn description(
    link: &Link,
    options: &args::Call,
    timeout: Duration,
) -> Result<Description, Failure> {
    let name = &options.target.interface;
    if let Some(version) = options.version.as_ref().or(options.target.version.as_ref()) {
        return Ok(link.describe(name, version, deadline(timeout))?);
    }
    let offered = link.offered(deadline(timeout))?;
    let named = offered.iter().filter(|offered| offered.name == *name);
    let Some(version) = newest(named.map(|offered| &*offered.version)) else {
        let all = offered.iter().map(|offered| format!("{} {}", offered.name, offered.version));
        return Err(usage(format!(
            "the server serves no interface `{name}` that this user may use: it serves {}",
            some(all)
        )));
    };
    Ok(link.describe(name, version, deadline(timeout))?)
}

/// A list for people, of which the rest is left out.
fn some(names: impl Iterator<Item = String>) -> String {
    let mut names = names.map(|name| plain(&name));
    let listed: Vec<_> = names.by_ref().take(MOST_NAMES).collect();
    match (listed.is_empty(), names.count()) {
        (true, _) => "none".into(),
        (false, 0) => listed.join(", "),
        (false, more) => format!("{}, and {more} more", listed.join(", ")),
    }
}

fn not_callable(error: &NotCallable, description: &Description) -> Failure {
    let of = format!("{} {}", description.offered.name, description.offered.version);
    let status = match error {
        NotCallable::Denied(_) => Status::NoSession,
        _ => Status::Usage,
    };
    let line = match error {
        NotCallable::Unknown(_) => {
            let callable = description.members.iter().filter(|one| one.shape != Shape::Signal);
            format!("{error}: there are {}", some(callable.map(|one| one.name.clone())))
        }
        _ => error.to_string(),
    };
    Failure::new(status, line).within(&plain(&of))
}

/// Prints a result, or a reply, on a line.
fn print(json: &str) -> Result<(), Failure> {
    if serde_json::from_str::<IgnoredAny>(json).is_err() {
        return Err(Failure::new(Status::Corrupt, "what the server answered is no JSON"));
    }
    output::print(&output::fit_json(json))
}

/// The method's own error, or why there is no result.
fn method_failed(error: CallError<JsonError>) -> Failure {
    match error {
        CallError::Failed(JsonError(json)) => {
            Failure::with_json(Status::Local, "the method failed", &json)
        }
        error => cut(&error),
    }
}

/// Why there is neither.
fn cut<E: std::error::Error + 'static>(error: &CallError<E>) -> Failure {
    let status = match error {
        CallError::Arguments(_) => Status::Usage,
        CallError::Panicked | CallError::Dropped | CallError::Unanswered(_) => Status::Local,
        CallError::Denied { .. } | CallError::ShuttingDown | CallError::DeadlinePassed => {
            Status::NoSession
        }
        CallError::Send(_) => Status::Local,
        CallError::Answer(_) => Status::Corrupt,
        _ => Status::Cut,
    };
    Failure::because(status, error)
}
