//! Answers to openings that ask what there is: which interfaces, and what one of them consists of.
//!
//! What a policy hides from a peer it does not see here either. An answer takes no more work than that to an opening of as much:
//! a list looks at so many interfaces and says where to go on.

use memring_codec::Outlines;
use memring_transport::Peer;

use super::{Opened, Serve, Services, opened};
use crate::rpc::interface::Interface;
use crate::rpc::wire::described::{self, Described, DescribedSpec, MAX_LISTED};
use crate::rpc::wire::{self, Opening};

/// What an answer's header takes of its packet at the most.
const HEAD: usize = wire::HEADER + wire::MOST_PADDING;

impl Services {
    /// Lists the interfaces that this peer may open, from this place on.
    pub(crate) fn list(&self, from: u16, peer: &Peer, most: u32) -> Vec<u8> {
        let looked_at = self.list.iter().skip(from.into()).take(MAX_LISTED);
        let behind = usize::from(from) + MAX_LISTED;
        let next = if behind < self.list.len() { behind } else { 0 }; // that was all
        let seen: Vec<&Interface> =
            looked_at.filter(|serve| serve.admits(peer)).map(Serve::interface).collect();
        let mut body = Vec::new();
        described::encode_list(seen.iter().map(|seen| (seen.name, seen.version)), &mut body);
        wire::packet(opened(next as u16, most), &body)
    }

    /// Describes an interface, in a packet of `room` bytes at the most if its types are all that would make it longer. It is
    /// opened, with all of its members.
    pub(crate) fn describe(
        &self,
        asked: &Opening<'_>,
        peer: &Peer,
        most: u32,
        room: usize,
    ) -> (Vec<u8>, Option<(usize, Opened)>) {
        let (place, opening) = match self.find(asked, peer) {
            Ok(found) => found,
            Err(refused) => return (refused, None),
        };
        let serve = &self.list[place];
        let specs = serve.interface().members.iter().zip(serve.prints()).enumerate();
        let members = specs
            .map(|(place, (member, prints))| DescribedSpec {
                spec: member.spec(*prints),
                json: member.json,
                denied: !opening.allows(place),
            })
            .collect();
        let types = serve.types().iter().map(|text| &**text).collect();
        let mut body = Vec::new();
        Described { members, types }.encode(&mut body, room.saturating_sub(HEAD));
        (wire::packet(opened(place as u16, most), &body), Some((place, opening)))
    }

    /// Lists nothing, where nothing is served.
    pub(crate) fn nothing(most: u32) -> Vec<u8> {
        let mut body = Vec::new();
        described::encode_list(std::iter::empty(), &mut body);
        wire::packet(opened(0, most), &body)
    }
}

impl Serve {
    /// The types that its members have, written once.
    fn types(&self) -> &[String] {
        self.types.get_or_init(|| {
            let mut outlines = Outlines::new();
            self.interface().members.iter().for_each(|member| (member.types)(&mut outlines));
            outlines.finish().iter().map(|outline| described::told(outline)).collect()
        })
    }
}
