//! `memring describe` and `memring call`: what a server of calls serves, and calls to it by hand.
//!
//! They know nobody's types: all that they have is what the server says of itself, which is believed in nothing, and JSON.

pub(crate) mod call;
pub(crate) mod describe;
pub(crate) mod target;

use std::time::{Duration, Instant};

use memring::observe::is_unseen;
use memring::rpc::{CallError, Calls, DescribeError, Link};

use crate::args;
use crate::failure::{Failure, Status};

/// Connects to a server of calls.
fn connect(name: &str, path: &str, reach: args::Reach) -> Result<Link, Failure> {
    Ok(Link::over(reach.connector(name).connect::<Calls>(path)?))
}

fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout // a year at the most
}

/// A text of the server's on a line of ours.
fn plain(text: &str) -> String {
    text.chars().map(|c| if is_unseen(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

impl From<DescribeError> for Failure {
    fn from(error: DescribeError) -> Self {
        let status = match &error {
            DescribeError::UnknownInterface(_)
            | DescribeError::UnknownVersion { .. }
            | DescribeError::NoName(_) => Status::Usage,
            DescribeError::Denied(_) | DescribeError::TooLong => Status::NoSession,
            DescribeError::Call(CallError::DeadlinePassed | CallError::ShuttingDown) => {
                Status::NoSession
            }
            _ => Status::Cut,
        };
        Self::because(status, &error)
    }
}
