//! What an opening may ask beside an interface: what there is, and what one of it consists of. Pure.

use super::{
    Broken, Fields, Header, MAX_MEMBERS, MAX_NAME, MAX_SIGNATURE, MAX_VERSION, MemberSpec, Prints,
    Shape, fit, put_text, put_u16, shown,
};

/// Interfaces of which one answer tells.
pub(crate) const MAX_LISTED: usize = 64;
/// Types of which one answer tells.
pub(crate) const MAX_TYPES: usize = 1024;

/// Of a described member's first byte, what says that it also answers JSON, and that this peer may not use it.
const JSON: u8 = 0x80;
const DENIED: u8 = 0x40;

/// What an opening is for: the number in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Whether an interface is there as the asker knows it.
    Open,
    /// Which interfaces there are, from this one on.
    List(u16),
    /// What an interface consists of.
    Describe,
}

impl Asks {
    pub(crate) fn of(header: &Header) -> Result<Self, Broken> {
        match (header.number, header.interface) {
            (0, 0) => Ok(Self::Open),
            (1, from) => Ok(Self::List(from)),
            (2, 0) => Ok(Self::Describe),
            (0 | 2, _) => Err(Broken::Reserved),
            (other, _) => Err(Broken::Asks(other)),
        }
    }

    /// Puts it into a header.
    pub(crate) fn within(self, header: Header) -> Header {
        match self {
            Self::Open => header,
            Self::List(from) => Header { number: 1, interface: from, ..header },
            Self::Describe => Header { number: 2, ..header },
        }
    }
}

/// The body of the answer that lists interfaces: names and versions.
pub(crate) fn encode_list<'a>(
    listed: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
    into: &mut Vec<u8>,
) {
    put_u16(into, listed.len() as u16);
    for (name, version) in listed {
        put_text(into, name);
        put_text(into, version);
    }
}

/// Reads such a body.
pub(crate) fn decode_list(body: &[u8]) -> Result<Vec<(&str, &str)>, Broken> {
    let mut from = Fields(body);
    let count = from.count(MAX_LISTED)?;
    let one = |_| Ok((from.text(MAX_NAME)?, from.text(MAX_VERSION)?));
    let listed = (0..count).map(one).collect::<Result<_, _>>()?;
    from.end()?;
    Ok(listed)
}

/// A member as an answer describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DescribedSpec<'a> {
    pub spec: MemberSpec<'a>,
    pub json: bool,
    pub denied: bool,
}

/// The body of the answer that describes an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described<'a> {
    pub members: Vec<DescribedSpec<'a>>,
    pub types: Vec<&'a str>,
}

impl<'a> Described<'a> {
    /// Types that would make it longer than `most` bytes are left out.
    pub(crate) fn encode(&self, into: &mut Vec<u8>, most: usize) {
        put_u16(into, self.members.len() as u16);
        for DescribedSpec { spec, json, denied } in &self.members {
            let flags = if *json { JSON } else { 0 } | if *denied { DENIED } else { 0 };
            put_member(into, spec, flags);
        }
        let mut room = most.saturating_sub(into.len() + 2);
        let fits = |text: &&str| {
            let left = room.checked_sub(2 + fit(text).len());
            room = left.unwrap_or(0);
            left.is_some()
        };
        let types: Vec<_> = self.types.iter().copied().take(MAX_TYPES).take_while(fits).collect();
        put_u16(into, types.len() as u16);
        types.iter().for_each(|text| put_text(into, fit(text)));
    }

    pub(crate) fn decode(body: &'a [u8]) -> Result<Self, Broken> {
        let mut from = Fields(body);
        let count = from.count(MAX_MEMBERS)?;
        let mut members = Vec::new(); // grows by what is there, not by what is claimed
        for _ in 0..count {
            let (spec, flags) = take_member(&mut from, JSON | DENIED)?;
            let (json, denied) = (flags & JSON != 0, flags & DENIED != 0);
            members.push(DescribedSpec { spec, json, denied });
        }
        let count = from.count(MAX_TYPES)?;
        let types = (0..count).map(|_| from.text(MAX_SIGNATURE)).collect::<Result<_, _>>()?;
        from.end()?;
        Ok(Self { members, types })
    }
}

/// Writes a member, with these in its first byte beside its shape.
pub(super) fn put_member(into: &mut Vec<u8>, spec: &MemberSpec<'_>, flags: u8) {
    let MemberSpec { shape, name, signature, prints } = spec;
    into.push(*shape as u8 | flags);
    put_text(into, name);
    put_text(into, fit(signature));
    for print in [prints.arguments, prints.result, prints.error] {
        into.extend_from_slice(&print.to_le_bytes());
    }
}

/// Reads a member, and which of these flags its first byte has.
pub(super) fn take_member<'a>(
    from: &mut Fields<'a>,
    flags: u8,
) -> Result<(MemberSpec<'a>, u8), Broken> {
    let first = from.byte()?;
    let shape = Shape::of(first & !flags)?;
    let name = from.text(MAX_NAME)?;
    let signature = from.text(MAX_SIGNATURE)?;
    let prints = Prints { arguments: from.print()?, result: from.print()?, error: from.print()? };
    Ok((MemberSpec { shape, name, signature, prints }, first & flags))
}

/// A type as it is told: what could not be in a text, or would be none, is not.
pub(crate) fn told(outline: &str) -> String {
    shown(fit(outline))
}
