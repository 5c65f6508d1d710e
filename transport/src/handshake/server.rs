//! The accepting side of the handshake.
//!
//! It answers Hello, decides sizes, and waits for the connecting side to seal; then the application
//! sees the channel and takes it or not. Segments are exchanged before that, so that a slow client
//! never stands between the application and the next one.
//!
//! What it does not do: make segments, check seals, know credentials or quotas. The caller does, and
//! tells it with [`granted`](ServerHandshake::granted), [`sealed_ok`](ServerHandshake::sealed_ok),
//! [`accept`](ServerHandshake::accept) or [`refuse`](ServerHandshake::refuse).

use super::{
    CapacityLimits, ChannelGeometry, FIRST_CHANNEL, HandshakeFault, Local, Mismatch, Negotiated,
    SettingsError, expect_fds,
};
use crate::control::{
    self, Control, Granted, Hello, Metadata, Open, RefuseCode, Refused, Reject, RejectCode,
    SealBits, Sentence, Signature, Welcome,
};

/// One handshake, at the accepting side.
#[derive(Debug)]
pub struct ServerHandshake {
    local: Local,
    limits: CapacityLimits,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Hello is due.
    Hello,
    /// Welcome was sent; Open is due.
    Open(Negotiated),
    /// The caller makes segments.
    Granting(Opened),
    /// Granted was sent; Sealed is due.
    Sealed(Opened),
    /// The caller checks the seals.
    Checking(Opened),
    /// The application decides.
    Offered(Opened),
    /// Ready was sent.
    Established,
    /// Rejected, refused or at fault: nothing more is due.
    Over,
}

/// What the caller does next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the handshake stands still until the step is done"]
#[non_exhaustive]
pub enum ServerStep {
    /// Send this packet (Welcome), then wait for the next.
    Send(Vec<u8>),
    /// Send this packet (Reject) and close.
    Reject {
        /// What to send.
        packet: Vec<u8>,
        /// Why, for programs.
        code: RejectCode,
        /// Why, for people: what the packet says.
        sentence: Sentence<'static>,
    },
    /// Make both segments of these sizes, then call [`ServerHandshake::granted`]; or, without the
    /// means, [`ServerHandshake::refuse`].
    Grant(ChannelGeometry),
    /// Send this packet (Refused) and close: our own limits cannot hold the peer's pages.
    Refuse(Vec<u8>),
    /// Check that C is sealed and map it, then call [`ServerHandshake::sealed_ok`]; or
    /// [`ServerHandshake::refuse`] with [`RefuseCode::Seals`].
    CheckSealed,
}

/// A channel as asked for, ready to be shown to the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The channel's number.
    pub channel: u32,
    /// What the connecting side means to speak.
    pub signature: Signature<'static>,
    /// The connecting application's own bytes about this channel.
    pub metadata: Metadata<'static>,
    /// The sizes granted.
    pub geometry: ChannelGeometry,
    /// What the session agreed on.
    pub negotiated: Negotiated,
}

impl ServerHandshake {
    /// Begins; Hello is due.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if `local` breaks a rule of the protocol.
    pub fn new(local: Local, limits: CapacityLimits) -> Result<Self, SettingsError> {
        local.check()?;
        Ok(Self { local, limits, state: State::Hello })
    }

    /// A Reject that any accepting side may send before Hello or instead of Welcome.
    #[must_use]
    pub fn reject(code: RejectCode, sentence: &str) -> Vec<u8> {
        Control::Reject(Reject { code, sentence: Sentence::fit(sentence) }).encode()
    }

    /// Takes the next packet and the number of file descriptors that came with it (`SCM_RIGHTS`
    /// only; a pidfd the kernel adds does not count).
    ///
    /// # Errors
    ///
    /// [`HandshakeFault`] names the rule the peer broke. Close; nothing more will be accepted.
    pub fn on_packet(&mut self, packet: &[u8], fds: usize) -> Result<ServerStep, HandshakeFault> {
        // What a fault leaves behind is the end.
        let state = std::mem::replace(&mut self.state, State::Over);
        let control = control::decode(packet)?;
        let (next, step) = match (state, &control) {
            (State::Hello, Control::Hello(hello)) => self.on_hello(hello),
            (State::Open(negotiated), Control::Open(open)) => self.on_open(negotiated, open)?,
            (State::Sealed(opened), Control::Sealed { channel }) => {
                if *channel != opened.channel {
                    return Err(HandshakeFault::Channel { due: opened.channel, got: *channel });
                }
                (State::Checking(opened), ServerStep::CheckSealed)
            }
            (state, control) => return Err(HandshakeFault::out_of_order(control, state.due())),
        };
        // No message of the connecting side carries any.
        expect_fds(&control, 0, fds)?;
        self.state = next;
        Ok(step)
    }

    fn on_hello(&self, hello: &Hello<'_>) -> (State, ServerStep) {
        let ours = &self.local;
        let Some(version) = ours.versions.common(hello.versions) else {
            let older = if hello.versions.max < ours.versions.min { "client" } else { "server" };
            return rejected(
                RejectCode::Version,
                &format!(
                    "server speaks protocol versions {}, this client {}: upgrade the {older}",
                    ours.versions, hello.versions,
                ),
            );
        };
        let lacking = hello.required.without(ours.offered);
        if !lacking.is_empty() {
            return rejected(
                RejectCode::Feature,
                &format!(
                    "this client requires features {lacking}, which the server lacks: upgrade the server"
                ),
            );
        }
        let lacking = ours.required.without(hello.offered);
        if !lacking.is_empty() {
            return rejected(
                RejectCode::Feature,
                &format!(
                    "server requires features {lacking}, which this client lacks: upgrade the client"
                ),
            );
        }
        if ours.archive != hello.archive {
            return rejected(
                RejectCode::ArchiveFormat,
                &format!(
                    "server archives {}; this client {}: build both with the same features of rkyv",
                    ours.archive, hello.archive,
                ),
            );
        }
        let negotiated = Negotiated {
            version,
            features: ours.offered.and(hello.offered),
            peer_fence: hello.fence,
            page_size: ours.page_size.max(hello.page_size),
            largest_message: ours.largest_message.min(hello.largest_message),
            takes: ours.takes,
            peer_takes: hello.takes,
            peer_name: hello.name.clone().into_owned(),
            peer_metadata: hello.metadata.clone().into_owned(),
        };
        let welcome = Welcome {
            version,
            features: negotiated.features,
            fence: ours.fence,
            archive: ours.archive,
            page_size: ours.page_size,
            largest_message: negotiated.largest_message,
            name: ours.name.borrow(),
            metadata: ours.metadata.borrow(),
            takes: ours.takes,
        };
        let packet = Control::Welcome(welcome).encode();
        (State::Open(negotiated), ServerStep::Send(packet))
    }

    fn on_open(
        &self,
        negotiated: Negotiated,
        open: &Open<'_>,
    ) -> Result<(State, ServerStep), HandshakeFault> {
        if open.channel != FIRST_CHANNEL {
            return Err(HandshakeFault::Channel { due: FIRST_CHANNEL, got: open.channel });
        }
        let Some(geometry) = ChannelGeometry::grant(
            open.capacity_to_accepting,
            open.capacity_to_connecting,
            negotiated.page_size,
            self.limits,
        ) else {
            let sentence = format!(
                "pages of {} bytes do not fit this server's limit of {} bytes a lane",
                negotiated.page_size, self.limits.largest,
            );
            let packet =
                refused(open.channel, RefuseCode::Resources, &sentence, &Signature::default());
            return Ok((State::Over, ServerStep::Refuse(packet)));
        };
        let opened = Opened {
            channel: open.channel,
            signature: open.signature.clone().into_owned(),
            metadata: open.metadata.clone().into_owned(),
            geometry,
            negotiated,
        };
        Ok((State::Granting(opened), ServerStep::Grant(geometry)))
    }

    /// What the peer asked for and was granted, from [`ServerStep::Grant`] until the decision.
    #[must_use]
    pub const fn opened(&self) -> Option<&Opened> {
        match &self.state {
            State::Granting(opened)
            | State::Sealed(opened)
            | State::Checking(opened)
            | State::Offered(opened) => Some(opened),
            _ => None,
        }
    }

    /// What the session agreed on, from Welcome until the decision on the channel.
    #[must_use]
    pub const fn negotiated(&self) -> Option<&Negotiated> {
        match &self.state {
            State::Open(negotiated) => Some(negotiated),
            _ => match self.opened() {
                Some(opened) => Some(&opened.negotiated),
                None => None,
            },
        }
    }

    /// Both segments are made: the packet to send with S (read-only) and C (writable), in this order.
    ///
    /// # Panics
    ///
    /// If the last step was not [`ServerStep::Grant`].
    #[must_use = "the packet is to be sent, with two file descriptors"]
    pub fn granted(&mut self, seals_s: SealBits, seals_c: SealBits) -> Vec<u8> {
        let State::Granting(opened) = std::mem::replace(&mut self.state, State::Over) else {
            panic!("granted() answers ServerStep::Grant and nothing else");
        };
        let ChannelGeometry { control_bytes, capacity_s, capacity_c } = opened.geometry;
        let channel = opened.channel;
        self.state = State::Sealed(opened);
        let granted = Granted { channel, control_bytes, capacity_s, capacity_c, seals_s, seals_c };
        Control::Granted(granted).encode()
    }

    /// C is sealed and mapped: what to show the application, which then decides by
    /// [`accept`](Self::accept) or [`refuse`](Self::refuse).
    ///
    /// # Panics
    ///
    /// If the last step was not [`ServerStep::CheckSealed`].
    #[must_use = "the application is to decide about it"]
    pub fn sealed_ok(&mut self) -> Opened {
        let State::Checking(opened) = std::mem::replace(&mut self.state, State::Over) else {
            panic!("sealed_ok() answers ServerStep::CheckSealed and nothing else");
        };
        self.state = State::Offered(opened.clone());
        opened
    }

    /// The application takes the channel: the packet (Ready) to send.
    ///
    /// # Panics
    ///
    /// If the channel is not offered: [`sealed_ok`](Self::sealed_ok) comes before, once.
    #[must_use = "the packet is to be sent"]
    pub fn accept(&mut self) -> Vec<u8> {
        let State::Offered(opened) = std::mem::replace(&mut self.state, State::Over) else {
            panic!("accept() takes a channel that sealed_ok() gave out, once");
        };
        self.state = State::Established;
        Control::Ready { channel: opened.channel }.encode()
    }

    /// Turns the channel down: the packet (Refused) to send before closing.
    ///
    /// `ours` is what this side would have taken, or the default where that is not why.
    ///
    /// # Panics
    ///
    /// If no decision is due: only after [`ServerStep::Grant`], [`ServerStep::CheckSealed`] or
    /// [`sealed_ok`](Self::sealed_ok).
    #[must_use = "the packet is to be sent"]
    pub fn refuse(&mut self, code: RefuseCode, sentence: &str, ours: &Signature<'_>) -> Vec<u8> {
        let state = std::mem::replace(&mut self.state, State::Over);
        let (State::Granting(opened) | State::Checking(opened) | State::Offered(opened)) = state
        else {
            panic!("refuse() answers Grant, CheckSealed or sealed_ok(), once");
        };
        refused(opened.channel, code, sentence, ours)
    }

    /// Turns the channel down because the two sides mean different messages.
    ///
    /// # Panics
    ///
    /// As [`refuse`](Self::refuse).
    #[must_use = "the packet is to be sent"]
    pub fn refuse_mismatch(&mut self, mismatch: &Mismatch) -> Vec<u8> {
        // The sentence is written for this side's log; the peer makes its own from the signatures.
        self.refuse(mismatch.code(), "the two sides mean different messages", &mismatch.ours)
    }

    /// Whether Ready was sent: from here on [`after_ready`](super::after_ready) reads packets.
    #[must_use]
    pub const fn is_established(&self) -> bool {
        matches!(self.state, State::Established)
    }
}

impl State {
    const fn due(&self) -> &'static str {
        match self {
            Self::Hello => "Hello",
            Self::Open(_) => "Open",
            Self::Sealed(_) => "Sealed",
            Self::Granting(_) | Self::Checking(_) | Self::Offered(_) => {
                "nothing (this side's answer is under way)"
            }
            Self::Established => "Fence or FenceAck",
            Self::Over => "nothing (the handshake is over)",
        }
    }
}

fn rejected(code: RejectCode, sentence: &str) -> (State, ServerStep) {
    let sentence = Sentence::fit(sentence);
    let packet = Control::Reject(Reject { code, sentence: sentence.borrow() }).encode();
    (State::Over, ServerStep::Reject { packet, code, sentence })
}

fn refused(channel: u32, code: RefuseCode, sentence: &str, ours: &Signature<'_>) -> Vec<u8> {
    let sentence = Sentence::fit(sentence);
    Control::Refused(Refused { channel, code, sentence, ours: ours.borrow() }).encode()
}
