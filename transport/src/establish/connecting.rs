//! The connecting side: speaks first, checks and maps what it is granted, seals what it will write.

use memring_ring::fork::generation;
use memring_ring::observer::Observer;
use memring_ring::segment::{
    Candidate, Expect, Geometry, Identity, Rejected, SealMask, SegmentFault, Stage,
};
use memring_ring::{Life, Terms, channel};

use super::{Greeting, HandshakeError, fences};
use crate::closer::{self, ForeignFd};
use crate::connection::Connection;
use crate::control::{Metadata, Signature};
use crate::handshake::{
    ChannelWish, ClientHandshake, ClientStep, GRANTED_FDS, HandshakeFault, MapSegments, Role,
};
use crate::session::{Beginning, Session, Standing};
use crate::settings::Settings;
use crate::{tally, trace};

/// Runs the whole handshake for one channel of this signature.
pub(crate) fn greet(
    greeting: Greeting,
    settings: &Settings,
    signature: &Signature<'_>,
) -> Result<Connection, HandshakeError> {
    let stranger = trace::Stranger::of(&greeting.peer);
    shake(greeting, settings, signature).inspect_err(|error| {
        tally::count_error(error);
        trace::not_connected(&stranger, error);
    })
}

fn shake(
    mut greeting: Greeting,
    settings: &Settings,
    signature: &Signature<'_>,
) -> Result<Connection, HandshakeError> {
    let wish = ChannelWish {
        signature: signature.clone().into_owned(),
        capacity_to_accepting: settings.capacities[0],
        capacity_to_connecting: settings.capacities[1],
        metadata: Metadata::default(),
        carries: settings.carries[0],
    };
    let mut handshake = ClientHandshake::new(settings.local(), wish, settings.capacity_limits)?;
    let generation = generation();
    // A peer that has turned us away already is still heard out below.
    for packet in handshake.start() {
        match greeting.send(&packet) {
            Err(HandshakeError::PeerGone) => break,
            sent => sent?,
        }
    }
    let mut mapped = None;
    loop {
        let (packet, fds) = greeting.receive()?;
        match handshake.on_packet(packet, fds.len())? {
            ClientStep::Wait => {}
            ClientStep::NotTaken(what) => return Err(HandshakeError::NotTaken(what)),
            ClientStep::Rejected(rejection) => return Err(HandshakeError::Rejected(rejection)),
            ClientStep::Refused(refusal) => return Err(HandshakeError::Refused(refusal)),
            ClientStep::MapSegments(segments) => {
                mapped = Some(map(&segments, fds)?);
                // Unless messages may, or further channels, no packet brings descriptors from here on. Where the kernel cannot refuse them
                // for us, the session's reader does.
                if !settings.takes.any() && settings.channels == 0 {
                    let _ = greeting
                        .socket
                        .pass_rights(false)
                        .map_err(HandshakeError::system("refusing further descriptors"))?;
                }
                greeting.send(&handshake.mapped())?;
            }
            ClientStep::Done(negotiated) => {
                let Some((theirs, mine)) = mapped else {
                    return Err(HandshakeError::PeerGone);
                };
                let life = Life::new(fences(negotiated.peer_fence), generation);
                let terms = Terms::new(negotiated.largest_message).wait(settings.wait);
                let (producer, consumer) = channel(&mine, &theirs, &life, &terms);
                let observer = Observer::new(&mine, &theirs);
                let Greeting { socket, peer, .. } = greeting;
                let beginning = Beginning {
                    negotiated,
                    protocol: signature.protocol.clone().into_owned(),
                    life,
                    observer,
                    generation,
                    charges: None,
                    standing: Standing {
                        role: Role::Connecting,
                        settings: settings.clone(),
                        quotas: None,
                    },
                };
                let session = Session::start(socket, peer, beginning)
                    .map_err(HandshakeError::system("watching the session"))?;
                return Ok(Connection { producer, consumer, session });
            }
        }
    }
}

type Mapped = std::sync::Arc<memring_ring::memory::Mapping>;

/// Checks both segments, maps S for reading, maps and seals C for writing.
fn map(segments: &MapSegments, fds: Vec<ForeignFd>) -> Result<(Mapped, Mapped), HandshakeError> {
    let Ok([s, c]) = <[ForeignFd; GRANTED_FDS]>::try_from(fds) else {
        return Err(HandshakeError::PeerGone); // the handshake counted them already
    };
    let geometry = segments.geometry;
    let s = check(
        s,
        Stage::Sealed,
        geometry.capacity_s,
        geometry.control_bytes,
        segments.seals_s.mask(),
        &[],
    )?;
    let others = [s.identity()];
    let c = check(
        c,
        Stage::Open,
        geometry.capacity_c,
        geometry.control_bytes,
        segments.seals_c.mask(),
        &others,
    )?;
    let theirs = s.map_reader()?;
    let mine = c.map_writer_and_seal()?;
    Ok((theirs, mine))
}

fn check(
    fd: ForeignFd,
    stage: Stage,
    capacity: u64,
    control: u32,
    mask: u32,
    others: &[Identity],
) -> Result<memring_ring::segment::Checked, HandshakeError> {
    let geometry = Geometry::new(control, capacity)?;
    let Some(mask) = SealMask::from_bits(mask) else {
        return Err(
            HandshakeFault::Choice { rule: "the seals stated are one of the two masks" }.into()
        );
    };
    let expect = Expect { stage, geometry, mask, others };
    Candidate::new(fd.into_owned()).check(expect).map_err(|Rejected { fd, why }| {
        // It may be anything, so it closes where a close may block.
        closer::close(fd);
        let why: SegmentFault = why;
        why.into()
    })
}
