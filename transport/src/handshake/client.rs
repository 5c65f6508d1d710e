//! The connecting side of the handshake.
//!
//! It speaks first, and asks for its channel in the same breath, so that a session costs two round
//! trips. It makes nothing: both segments come from the accepting side, and what it granted is
//! checked against this side's pages and limits before anything is mapped.
//!
//! What it does not do: check the file descriptors behind a grant, or map them; the caller does, and
//! tells it with [`mapped`](ClientHandshake::mapped).

use std::fmt;

use super::{
    CapacityLimits, Carries, ChannelGeometry, FIRST_CHANNEL, GRANTED_FDS, HandshakeFault, Local,
    Mismatch, Negotiated, SettingsError, expect_channel, expect_fds,
};
use crate::control::{
    self, Control, Granted, Metadata, Open, RefuseCode, Refused, RejectCode, SealBits, Sentence,
    Signature, Welcome,
};

/// The channel the connecting side asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelWish {
    /// The protocol and types it is to carry.
    pub signature: Signature<'static>,
    /// The wished size in bytes of the lane to the accepting side: a power of two, 4 KiB to 1 GiB.
    pub capacity_to_accepting: u64,
    /// The wished size in bytes of the lane to the connecting side: likewise.
    pub capacity_to_connecting: u64,
    /// The application's own bytes about this channel.
    pub metadata: Metadata<'static>,
    /// What the messages to the accepting side carry. Not sent: it is held against what that side takes.
    pub carries: Carries,
}

/// One handshake, at the connecting side.
#[derive(Debug)]
pub struct ClientHandshake {
    local: Local,
    wish: ChannelWish,
    limits: CapacityLimits,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing was said.
    New,
    /// Hello and Open were sent; Welcome is due.
    Welcome,
    /// Granted is due.
    Granted(Negotiated),
    /// The caller maps the segments.
    Mapping(Negotiated),
    /// Sealed was sent; Ready is due.
    Ready(Negotiated),
    /// Ready came.
    Established,
    /// Rejected, refused or at fault: nothing more is due.
    Over,
}

/// What the caller does next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the handshake stands still until the step is done"]
#[non_exhaustive]
pub enum ClientStep {
    /// Wait for the next packet: Welcome came.
    Wait,
    /// The accepting side does not take what this side's messages carry: close.
    NotTaken(Carries),
    /// Check and map the two segments that came with this packet, seal C, then call
    /// [`ClientHandshake::mapped`].
    MapSegments(MapSegments),
    /// The channel is open.
    Done(Negotiated),
    /// The accepting side turned the session down: close.
    Rejected(Rejection),
    /// The accepting side turned the channel down: close.
    Refused(Refusal),
}

/// The two segments that were granted; the first file descriptor is S, the second C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSegments {
    /// The channel's number.
    pub channel: u32,
    /// Their sizes, checked against this side's pages and limits.
    pub geometry: ChannelGeometry,
    /// The seals S must show now.
    pub seals_s: SealBits,
    /// The seals C must show once this side has mapped and sealed it.
    pub seals_c: SealBits,
}

/// Why a session was turned down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// For programs.
    pub code: RejectCode,
    /// For people: the other side's words.
    pub sentence: Sentence<'static>,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the session was turned down ({}): {}", self.code, self.sentence)
    }
}

/// Why a channel was turned down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: RefuseCode,
    /// For people: the other side's words.
    pub sentence: Sentence<'static>,
    /// What each side was built with, where that is why. Boxed: it holds six names.
    pub mismatch: Option<Box<Mismatch>>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the channel was turned down ({}): ", self.code)?;
        match &self.mismatch {
            Some(mismatch) => mismatch.fmt(f),
            None => self.sentence.fmt(f),
        }
    }
}

impl ClientHandshake {
    /// Prepares to ask for one channel.
    ///
    /// `limits` bounds what this side maps if the other grants more than was wished.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if `local` or `wish` breaks a rule of the protocol.
    pub fn new(
        local: Local,
        wish: ChannelWish,
        limits: CapacityLimits,
    ) -> Result<Self, SettingsError> {
        local.check()?;
        wish.open().check().map_err(SettingsError)?;
        Ok(Self { local, wish, limits, state: State::New })
    }

    /// The packets to send first, each as one: Hello and Open.
    ///
    /// # Panics
    ///
    /// If called twice.
    #[must_use = "the packets are to be sent"]
    pub fn start(&mut self) -> [Vec<u8>; 2] {
        assert!(matches!(self.state, State::New), "start() begins a handshake, once");
        self.state = State::Welcome;
        [Control::Hello(self.local.hello()).encode(), Control::Open(self.wish.open()).encode()]
    }

    /// Takes the next packet and the number of file descriptors that came with it (`SCM_RIGHTS`
    /// only; a pidfd the kernel adds does not count).
    ///
    /// # Errors
    ///
    /// [`HandshakeFault`] names the rule the peer broke. Close; nothing more will be accepted.
    pub fn on_packet(&mut self, packet: &[u8], fds: usize) -> Result<ClientStep, HandshakeFault> {
        // What a fault leaves behind is the end.
        let state = std::mem::replace(&mut self.state, State::Over);
        let control = control::decode(packet)?;
        let due = if matches!(control, Control::Granted(_)) { GRANTED_FDS } else { 0 };
        let (next, step) = match (state, &control) {
            (State::Welcome, Control::Welcome(welcome)) => {
                let negotiated = self.on_welcome(welcome)?;
                match self.wish.carries.beyond(negotiated.peer_takes) {
                    None => (State::Granted(negotiated), ClientStep::Wait),
                    Some(more) => (State::Over, ClientStep::NotTaken(more)),
                }
            }
            (State::Welcome, Control::Reject(reject)) => {
                let sentence = reject.sentence.clone().into_owned();
                let rejection = Rejection { code: reject.code, sentence };
                (State::Over, ClientStep::Rejected(rejection))
            }
            (State::Granted(negotiated), Control::Granted(granted)) => {
                let map = self.on_granted(&negotiated, granted)?;
                (State::Mapping(negotiated), ClientStep::MapSegments(map))
            }
            (State::Ready(negotiated), Control::Ready { channel }) => {
                expect_channel(*channel)?;
                (State::Established, ClientStep::Done(negotiated))
            }
            (State::Granted(_) | State::Ready(_), Control::Refused(refused)) => {
                (State::Over, ClientStep::Refused(self.on_refused(refused)?))
            }
            (state, control) => return Err(HandshakeFault::out_of_order(control, state.due())),
        };
        expect_fds(&control, due, fds)?;
        self.state = next;
        Ok(step)
    }

    fn on_welcome(&self, welcome: &Welcome<'_>) -> Result<Negotiated, HandshakeFault> {
        let ours = &self.local;
        let broken = if !ours.versions.contains(welcome.version) {
            Some("the version chosen is one of those offered")
        } else if !welcome.features.without(ours.offered).is_empty() {
            Some("the features chosen are among those offered")
        } else if !ours.required.without(welcome.features).is_empty() {
            Some("the features chosen hold those required")
        } else if welcome.archive != ours.archive {
            Some("another archive format is a reason to Reject")
        } else if welcome.largest_message > ours.largest_message {
            Some("the largest message is not above the one offered")
        } else {
            None
        };
        if let Some(rule) = broken {
            return Err(HandshakeFault::Choice { rule });
        }
        Ok(Negotiated {
            version: welcome.version,
            features: welcome.features,
            peer_fence: welcome.fence,
            page_size: ours.page_size.max(welcome.page_size),
            largest_message: welcome.largest_message,
            takes: ours.takes,
            peer_takes: welcome.takes,
            peer_name: welcome.name.clone().into_owned(),
            peer_metadata: welcome.metadata.clone().into_owned(),
        })
    }

    fn on_granted(
        &self,
        negotiated: &Negotiated,
        granted: &Granted,
    ) -> Result<MapSegments, HandshakeFault> {
        expect_channel(granted.channel)?;
        let Granted { channel, control_bytes, capacity_s, capacity_c, seals_s, seals_c } = *granted;
        let geometry = ChannelGeometry { control_bytes, capacity_s, capacity_c };
        geometry.check(negotiated.page_size, self.limits)?;
        Ok(MapSegments { channel, geometry, seals_s, seals_c })
    }

    fn on_refused(&self, refused: &Refused<'_>) -> Result<Refusal, HandshakeFault> {
        expect_channel(refused.channel)?;
        let differ = matches!(refused.code, RefuseCode::Protocol | RefuseCode::Fingerprint);
        Ok(Refusal {
            code: refused.code,
            sentence: refused.sentence.clone().into_owned(),
            mismatch: differ.then(|| Box::new(Mismatch::of(&self.wish.signature, &refused.ours))),
        })
    }

    /// Both segments are mapped and C is sealed: the packet (Sealed) to send.
    ///
    /// # Panics
    ///
    /// If the last step was not [`ClientStep::MapSegments`].
    #[must_use = "the packet is to be sent"]
    pub fn mapped(&mut self) -> Vec<u8> {
        let State::Mapping(negotiated) = std::mem::replace(&mut self.state, State::Over) else {
            panic!("mapped() answers ClientStep::MapSegments and nothing else");
        };
        self.state = State::Ready(negotiated);
        Control::Sealed { channel: FIRST_CHANNEL }.encode()
    }

    /// Whether Ready came: from here on [`after_ready`](super::after_ready) reads packets.
    #[must_use]
    pub const fn is_established(&self) -> bool {
        matches!(self.state, State::Established)
    }
}

impl ChannelWish {
    fn open(&self) -> Open<'_> {
        Open {
            channel: FIRST_CHANNEL,
            signature: self.signature.borrow(),
            capacity_to_accepting: self.capacity_to_accepting,
            capacity_to_connecting: self.capacity_to_connecting,
            metadata: self.metadata.borrow(),
        }
    }
}

impl State {
    const fn due(&self) -> &'static str {
        match self {
            Self::New => "nothing (this side speaks first)",
            Self::Welcome => "Welcome or Reject",
            Self::Granted(_) => "Granted or Refused",
            Self::Mapping(_) => "nothing (Sealed was not sent yet)",
            Self::Ready(_) => "Ready or Refused",
            Self::Established => "Fence or FenceAck",
            Self::Over => "nothing (the handshake is over)",
        }
    }
}
