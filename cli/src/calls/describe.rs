//! `memring describe`: the interfaces of a server, and what they consist of.

use memring::rpc::{DescribeError, DescribedMember, Description, Link, Offered, Shape};
use serde::Serialize;

use super::{connect, deadline, plain};
use crate::args;
use crate::failure::{Failure, Status};
use crate::negotiated::PeerFacts;
use crate::output;

/// Bytes that all of a server's answers may take in memory.
const MOST: usize = 64 << 20;
/// What a text takes beside its letters, about.
const EACH: usize = 128;

#[derive(Serialize)]
struct Report {
    peer: PeerFacts,
    peer_name: String,
    interfaces: Vec<Interface>,
}

/// An interface, as far as it was told.
#[derive(Serialize)]
struct Interface {
    name: String,
    version: String,
    /// Why nothing follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    untold: Option<String>,
    members: Vec<Member>,
    types: Vec<String>,
}

#[derive(Serialize)]
struct Member {
    shape: &'static str,
    name: String,
    signature: String,
    json: bool,
    denied: bool,
    /// What programs compare: the fingerprints of its arguments, its result and its error.
    fingerprints: [String; 3],
}

pub(crate) fn run(options: &args::Describe, json: bool) -> Result<(), Failure> {
    let reach = options.reach;
    let link = connect("memring describe", &options.path, reach)?;
    let mut room = MOST;
    let mut interfaces = Vec::new();
    for offered in link.offered(deadline(reach.timeout))? {
        let described = link.describe(&offered.name, &offered.version, deadline(reach.timeout));
        let interface = match described {
            Ok(description) => Interface::of(description),
            // The others are told all the same.
            Err(error @ (DescribeError::TooLong | DescribeError::Denied(_))) => {
                Interface::untold(offered, error.to_string())
            }
            Err(error) => return Err(error.into()),
        };
        room = room.checked_sub(interface.takes()).ok_or_else(|| {
            let most = output::bytes(MOST as u64);
            Failure::new(Status::Cut, format!("the server has more than {most} to tell"))
        })?;
        interfaces.push(interface);
    }
    let report = Report::of(&link, interfaces);
    if json {
        return output::print_json(&report);
    }
    output::print(&report.text(&format!("{}: {}", plain(&options.path), link.peer())))
}

impl Report {
    fn of(link: &Link, interfaces: Vec<Interface>) -> Self {
        let peer_name = link.session().negotiated().peer_name.as_str().to_owned();
        Self { peer: PeerFacts::of(link.peer()), peer_name, interfaces }
    }

    /// For people, below a line that begins so.
    fn text(&self, head: &str) -> String {
        let mut text = head.to_owned();
        if !self.peer_name.is_empty() {
            text.extend([", which calls itself ", &*plain(&self.peer_name)]);
        }
        text.push('\n');
        if self.interfaces.is_empty() {
            text.push_str("nothing is served that this user may use\n");
        }
        self.interfaces.iter().for_each(|interface| interface.write(&mut text));
        text
    }
}

impl Interface {
    fn of(description: Description) -> Self {
        let Description { offered, members, types, .. } = description;
        let members = members.into_iter().map(Member::of).collect();
        Self { name: offered.name, version: offered.version, untold: None, members, types }
    }

    fn untold(offered: Offered, why: String) -> Self {
        let Offered { name, version } = offered;
        Self { name, version, untold: Some(why), members: Vec::new(), types: Vec::new() }
    }

    /// Bytes in memory, about.
    fn takes(&self) -> usize {
        let members =
            self.members.iter().map(|one| 5 * EACH + one.name.len() + one.signature.len());
        let types = self.types.iter().map(|text| EACH + text.len());
        EACH + self.name.len() + self.version.len() + members.sum::<usize>() + types.sum::<usize>()
    }

    fn write(&self, into: &mut String) {
        into.extend(["\n", &*plain(&self.name), " ", &*plain(&self.version), "\n"]);
        if let Some(why) = &self.untold {
            into.extend(["  ", &*plain(why), "\n"]);
        }
        for member in &self.members {
            let Member { shape, name, signature, json, denied, .. } = member;
            // That it is one-way or a signal is said in front.
            let (signature, _) = signature.split_once(" #[").unwrap_or((signature, ""));
            into.push_str(&format!("  {shape:<8} {}{}", plain(name), plain(signature)));
            into.push_str(if *json { "  [json]" } else { "" });
            into.push_str(if *denied { "  [denied]" } else { "" });
            into.push('\n');
        }
        for text in &self.types {
            into.extend(["  ", &*plain(text), "\n"]);
        }
    }
}

impl Member {
    fn of(member: DescribedMember) -> Self {
        let DescribedMember { shape, name, signature, prints, json, denied } = member;
        let shape = match shape {
            Shape::Call => "call",
            Shape::Stream => "stream",
            Shape::OneWay => "one-way",
            Shape::Signal => "signal",
        };
        let fingerprints =
            [prints.arguments, prints.result, prints.error].map(|print| print.to_string());
        Self { shape, name, signature, json, denied, fingerprints }
    }
}
