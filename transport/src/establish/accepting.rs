//! The accepting side: makes the segments, checks the seal, and holds the offer until it is decided.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use memring_ring::fork::{Generation, generation};
use memring_ring::memory::Mapping;
use memring_ring::observer::Observer;
use memring_ring::segment::{Geometry, Segment, SegmentError};
use memring_ring::{Life, Terms, channel};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Greeting, HandshakeError, fences};
use crate::connection::Connection;
use crate::control::{RefuseCode, SealBits, Signature};
use crate::handshake::{
    Carries, ChannelGeometry, Mismatch, Opened, Role, ServerHandshake, ServerStep,
};
use crate::peer::Peer;
use crate::quota::{OverQuota, Quotas, Resource, Ticket};
use crate::session::{Beginning, Charges, Session, Standing};
use crate::settings::Settings;
use crate::tally::Reason;
use crate::{ledger, tally, trace};

/// A channel that a peer asked for, with everything ready; the application has to decide.
pub(crate) struct Offer {
    greeting: Greeting,
    handshake: ServerHandshake,
    pub opened: Opened,
    /// S, which we write.
    mine: Arc<Mapping>,
    /// C, which the peer writes.
    theirs: Arc<Mapping>,
    charges: Option<Charges>,
    quotas: Option<Quotas>,
    generation: Generation,
    settings: Settings,
}

/// Runs the handshake up to the offer. Quotas are those of a listener; a socketpair has none.
pub(crate) fn greet(
    greeting: Greeting,
    settings: &Settings,
    quotas: Option<(&Quotas, Charges)>,
) -> Result<Offer, HandshakeError> {
    let stranger = trace::Stranger::of(&greeting.peer);
    let outcome = shake(greeting, settings, quotas);
    if let Err(error) = &outcome {
        trace::not_greeted(&stranger, error);
    }
    match &outcome {
        Err(HandshakeError::Rejected(ours)) => tally::count(ours.code.into()),
        Err(error) => tally::count_error(error),
        Ok(_) => {}
    }
    outcome
}

fn shake(
    mut greeting: Greeting,
    settings: &Settings,
    mut quotas: Option<(&Quotas, Charges)>,
) -> Result<Offer, HandshakeError> {
    let mut handshake = ServerHandshake::new(settings.local(), settings.capacity_limits)?;
    let mut segments = None;
    loop {
        let (packet, fds) = greeting.receive()?;
        let step = handshake.on_packet(packet, fds.len());
        drop(fds); // none is ever due here; they close on the closer's thread
        match step? {
            ServerStep::Send(packet) => greeting.send(&packet)?,
            ServerStep::Reject { packet, code, sentence } => {
                let _ = greeting.send(&packet); // whether or not it stays to hear it
                return Err(HandshakeError::Rejected(crate::handshake::Rejection {
                    code,
                    sentence,
                }));
            }
            ServerStep::Refuse(packet) => {
                let _ = greeting.send(&packet); // whether or not it stays to hear it
                return Err(HandshakeError::PageTooLarge);
            }
            ServerStep::Grant(geometry) => {
                let uid = greeting.peer.uid();
                let made = match &mut quotas {
                    Some((quotas, charges)) => charge(quotas, uid, geometry)
                        .map_err(HandshakeError::from)
                        .and_then(|[for_s, for_c]| {
                            let pair = Pair::make(geometry)?;
                            let enter = |segment, ticket| {
                                ledger::enter(segment, ticket)
                                    .map_err(HandshakeError::system("watching a segment"))
                            };
                            charges._segments =
                                Some([enter(&pair.s, for_s)?, enter(&pair.c, for_c)?]);
                            Ok(pair)
                        }),
                    None => Pair::make(geometry),
                };
                match made {
                    Ok(pair) => segments = Some(pair.send(&greeting, &mut handshake)?),
                    Err(error) => {
                        let code = match error {
                            HandshakeError::OverQuota(_) => RefuseCode::Quota,
                            _ => RefuseCode::Resources,
                        };
                        let sentence = in_full(&error);
                        let packet = handshake.refuse(code, &sentence, &Signature::default());
                        let _ = greeting.send(&packet);
                        return Err(error);
                    }
                }
            }
            ServerStep::CheckSealed => {
                let Some((mine, c)) = segments.take() else {
                    return Err(HandshakeError::PeerGone);
                };
                let theirs = match c.into_reader() {
                    Ok(theirs) => theirs,
                    Err(error) => {
                        let none = Signature::default();
                        let sentence = error.to_string();
                        let code = match error {
                            SegmentError::Refused(_) => RefuseCode::Seals,
                            _ => RefuseCode::Resources, // ours
                        };
                        let packet = handshake.refuse(code, &sentence, &none);
                        let _ = greeting.send(&packet);
                        return Err(error.into());
                    }
                };
                let opened = handshake.sealed_ok();
                let (quotas, charges) = match quotas {
                    Some((quotas, charges)) => (Some(quotas.clone()), Some(charges)),
                    None => (None, None),
                };
                return Ok(Offer {
                    greeting,
                    handshake,
                    opened,
                    mine,
                    theirs,
                    charges,
                    quotas,
                    generation: generation(),
                    settings: settings.clone(),
                });
            }
        }
    }
}

/// Charges the segments of a channel, S and C, one by one as they may end.
fn charge(
    quotas: &Quotas,
    uid: Option<u32>,
    geometry: ChannelGeometry,
) -> Result<[Ticket; 2], OverQuota> {
    ledger::settle();
    let ticket = |capacity| {
        quotas.charge(Resource::Bytes, uid, u64::from(geometry.control_bytes) + capacity)
    };
    Ok([ticket(geometry.capacity_s)?, ticket(geometry.capacity_c)?])
}

/// Both segments of a channel, just made.
struct Pair {
    s: Segment,
    c: Segment,
}

impl Pair {
    fn make(geometry: ChannelGeometry) -> Result<Self, HandshakeError> {
        let segment = |capacity| -> Result<Segment, HandshakeError> {
            Ok(Segment::create(Geometry::new(geometry.control_bytes, capacity)?)?)
        };
        Ok(Self { s: segment(geometry.capacity_s)?, c: segment(geometry.capacity_c)? })
    }

    /// Maps and seals S, and sends both. What is left is C, to be mapped once the peer has sealed it.
    fn send(
        self,
        greeting: &Greeting,
        handshake: &mut ServerHandshake,
    ) -> Result<(Arc<Mapping>, Segment), HandshakeError> {
        let seals = |segment: &Segment| {
            SealBits::new(segment.seal_mask().bits()).unwrap_or(SealBits::PLAIN)
        };
        let packet = handshake.granted(seals(&self.s), seals(&self.c));
        let (mine, s, _) = self.s.into_writer()?;
        let c = self.c.offer_writer()?;
        let fds = [s.as_fd(), c.as_fd()];
        greeting.socket.send_deadline(&packet, &fds, Some(greeting.deadline))?;
        Ok((mine, self.c))
    }
}

impl Offer {
    pub(crate) fn peer(&self) -> &Peer {
        &self.greeting.peer
    }

    /// Takes the channel, if it is the one that `ours` describes.
    pub(crate) fn accept(
        mut self,
        ours: &Signature<'_>,
        carries: Carries,
    ) -> Result<Connection, HandshakeError> {
        self.check_process()?;
        if let Some(mismatch) = Mismatch::between(ours, &self.opened.signature) {
            tally::count(Reason::Mismatch);
            trace::turned_away(self.peer(), &mismatch);
            let packet = self.handshake.refuse_mismatch(&mismatch);
            let sent = self.answer(&packet);
            return Err(HandshakeError::Refused(crate::handshake::Refusal {
                code: mismatch.code(),
                sentence: crate::control::Sentence::default(),
                mismatch: Some(Box::new(mismatch)),
            }))
            .or_else(|error| sent.and(Err(error)));
        }
        if let Some(more) = carries.beyond(self.opened.negotiated.peer_takes) {
            let sentence = format!(
                "messages to the client carry {more}, and it takes none: let it say how many it takes"
            );
            tally::count(Reason::NotTaken);
            trace::turned_away(self.peer(), &sentence);
            let none = Signature::default();
            let packet = self.handshake.refuse(RefuseCode::NotTaken, &sentence, &none);
            return self.answer(&packet).and(Err(HandshakeError::NotTaken(more)));
        }
        if self.settings.takes.any() {
            // From now on there may be some in its queue, whether or not a session comes about.
            if let Some(charges) = &self.charges {
                self.greeting.socket.charge(&charges.descriptors);
            }
            let _where_there_is_no_such_option_they_pass =
                self.greeting
                    .socket
                    .pass_rights(true)
                    .map_err(HandshakeError::system("letting descriptors in"))?;
        }
        let packet = self.handshake.accept();
        self.answer(&packet)?;
        let negotiated = self.opened.negotiated;
        let life = Life::new(fences(negotiated.peer_fence), self.generation);
        let terms = Terms::new(negotiated.largest_message).wait(self.settings.wait);
        let (producer, consumer) = channel(&self.mine, &self.theirs, &life, &terms);
        let observer = Observer::new(&self.mine, &self.theirs);
        let Greeting { socket, peer, .. } = self.greeting;
        let beginning = Beginning {
            negotiated,
            protocol: ours.protocol.clone().into_owned(),
            life,
            observer,
            generation: self.generation,
            charges: self.charges,
            standing: Standing {
                role: Role::Accepting,
                settings: self.settings,
                quotas: self.quotas,
            },
        };
        let session = Session::start(socket, peer, beginning)
            .map_err(HandshakeError::system("watching the session"))?;
        Ok(Connection { producer, consumer, session })
    }

    /// Turns the channel down, with words for the peer's error.
    pub(crate) fn refuse(mut self, code: RefuseCode, sentence: &str) -> Result<(), HandshakeError> {
        self.check_process()?;
        let none = Signature::default();
        let packet = self.handshake.refuse(code, sentence, &none);
        self.answer(&packet)
    }

    /// Whether the peer has left meanwhile.
    pub(crate) fn has_gone(&self) -> bool {
        let mut now = [PollFd::new(&self.greeting.socket, PollFlags::empty())];
        poll(&mut now, Some(&Timespec::default())).is_ok_and(|found| found > 0)
    }

    /// The last packet: by now the peer has at most one of ours unread, so there is room.
    fn answer(&self, packet: &[u8]) -> Result<(), HandshakeError> {
        Ok(self.greeting.socket.send(packet, &[])?)
    }

    fn check_process(&self) -> Result<(), HandshakeError> {
        if self.generation.is_current() { Ok(()) } else { Err(HandshakeError::Forked) }
    }
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offer").field("opened", &self.opened).finish_non_exhaustive()
    }
}

/// An error and its causes, in one line.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The moment by which a handshake that begins now has to be over.
pub(crate) fn deadline(settings: &Settings) -> Instant {
    super::after(settings.handshake_timeout)
}
