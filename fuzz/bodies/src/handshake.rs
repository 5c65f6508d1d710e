//! The handshake: arbitrary packets against either machine, and the two against each other with
//! somebody in between who changes, drops, doubles and swaps what they say.
//!
//! Whatever comes, a machine panics never, accepts nothing after its end, and promises nothing outside
//! its own limits; and if nobody meddles, both sides agree on everything.

use std::collections::VecDeque;

use memring_transport::control::{
    ArchiveFormat, Endian, Features, FenceBits, MAX_CONTROL_BYTES, Metadata, Name, RefuseCode,
    SealBits, Takes, Versions, decode,
};
use memring_transport::handshake::{
    Came, CapacityLimits, Carries, ChannelGeometry, ChannelWish, ClientHandshake, ClientStep,
    GRANTED_FDS, Local, Mismatch, Negotiated, ServerHandshake, ServerStep, after_ready,
};

use crate::Seed;
use crate::control::{packets, signature};
use crate::input::{Input, Script};

const AGAINST_SERVER: u8 = 0;
const AGAINST_CLIENT: u8 = 1;
const BETWEEN: u8 = 2;

/// A packet and how many file descriptors came with it.
type Packet = (Vec<u8>, usize);

/// The first byte says who stands against whom.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.u8() % 3 {
        AGAINST_SERVER => against_server(&mut input),
        AGAINST_CLIENT => against_client(&mut input),
        _ => between(&mut input),
    }
}

/// What a side brings, and what bounds it.
struct Setting {
    local: Local,
    limits: CapacityLimits,
}

fn setting(input: &mut Input<'_>) -> Setting {
    let choice = input.u8();
    let page_size = [4096, 16384, 65536, 4096][usize::from(choice & 3)];
    let fence = FenceBits { registered: choice & 4 != 0, can_call: choice & 8 != 0 };
    let mut local = Local::new(page_size, fence, ArchiveFormat::DEFAULT);
    let choice = input.u8();
    if choice & 1 != 0 {
        local.archive = ArchiveFormat { endian: Endian::Big, ..ArchiveFormat::DEFAULT };
    }
    if choice & 2 != 0 {
        local.versions = Versions { min: 1, max: 3 };
    }
    if choice & 4 != 0 {
        local.offered = Features(0b1011);
    }
    if choice & 8 != 0 {
        local.offered = Features(0b0111);
        local.required = Features(0b0010);
    }
    local.largest_message = 1 << (choice >> 4);
    if choice & 16 != 0 {
        local.name = Name::fit("somebody");
        local.metadata = Metadata::new(vec![choice; 40]).expect("forty bytes");
    }
    let choice = input.u8();
    if choice & 128 != 0 {
        local.takes = Takes { fds: 3, blobs: 0, blob_bytes: 0 };
    }
    let (smallest, largest) = (12 + u32::from(choice & 7), 12 + u32::from(choice >> 3 & 15));
    let limits = CapacityLimits::new(1 << smallest.min(largest), 1 << largest);
    Setting { local, limits: limits.expect("from 4 KiB to 128 MiB") }
}

fn wish(input: &mut Input<'_>) -> ChannelWish {
    let choice = input.u8();
    ChannelWish {
        signature: signature("quotes", 0xa1 ^ (choice & 1), 0xc1),
        capacity_to_accepting: 1 << (12 + (choice >> 1 & 7)),
        capacity_to_connecting: 1 << (12 + (choice >> 4 & 7)),
        metadata: Metadata::default(),
        carries: Carries { fds: choice & 0x81 == 0x81, blobs: false },
    }
}

/// The accepting side and the caller who does what its steps ask for.
struct Server {
    machine: ServerHandshake,
    setting: Setting,
    over: bool,
    geometry: Option<ChannelGeometry>,
    negotiated: Option<Negotiated>,
}

impl Server {
    fn new(input: &mut Input<'_>) -> Self {
        let setting = setting(input);
        let machine = ServerHandshake::new(setting.local.clone(), setting.limits);
        Self {
            machine: machine.expect("settings within the protocol"),
            setting,
            over: false,
            geometry: None,
            negotiated: None,
        }
    }

    /// Takes a packet; what is to be sent in turn. `choice` is what this side makes of its freedom.
    fn take(&mut self, packet: &Packet, choice: u8) -> Vec<Packet> {
        let established = self.machine.is_established();
        if established {
            let _ = after_ready(&packet.0, Came::All(packet.1), self.setting.local.takes);
            return Vec::new();
        }
        let step = self.machine.on_packet(&packet.0, packet.1);
        assert!(step.is_err() || !self.over, "something was accepted after the end");
        let ours = signature("quotes", 0xa1, 0xc1);
        match step {
            Err(fault) => {
                assert!(!fault.to_string().is_empty());
                self.over = true;
                Vec::new()
            }
            Ok(ServerStep::Send(packet)) => vec![well_formed(packet, 0)],
            Ok(ServerStep::Reject { packet, code, sentence }) => {
                self.over = true;
                assert!(!format!("{code} {sentence}").is_empty());
                vec![well_formed(packet, 0)]
            }
            Ok(ServerStep::Refuse(packet)) => {
                self.over = true;
                vec![well_formed(packet, 0)]
            }
            Ok(ServerStep::Grant(geometry)) => {
                check_geometry(geometry, &self.setting, self.setting.local.page_size);
                self.geometry = Some(geometry);
                if choice & 7 == 7 {
                    self.over = true;
                    let packet = self.machine.refuse(RefuseCode::Quota, "no more", &ours);
                    return vec![well_formed(packet, 0)];
                }
                let packet = self.machine.granted(SealBits::PLAIN, SealBits::WITH_EXEC);
                vec![well_formed(packet, GRANTED_FDS)]
            }
            Ok(ServerStep::CheckSealed) => {
                if choice & 7 == 7 {
                    self.over = true;
                    let packet = self.machine.refuse(RefuseCode::Seals, "not sealed", &ours);
                    return vec![well_formed(packet, 0)];
                }
                let opened = self.machine.sealed_ok();
                assert_eq!(Some(opened.geometry), self.geometry);
                check_negotiated(&opened.negotiated, &self.setting);
                let packet = match Mismatch::between(&ours, &opened.signature) {
                    Some(mismatch) => {
                        self.over = true;
                        self.machine.refuse_mismatch(&mismatch)
                    }
                    None => {
                        self.negotiated = Some(opened.negotiated);
                        self.machine.accept()
                    }
                };
                assert_eq!(self.machine.is_established(), !self.over);
                vec![well_formed(packet, 0)]
            }
            Ok(other) => panic!("a step that no caller knows: {other:?}"),
        }
    }
}

/// The connecting side and its caller.
struct Client {
    machine: ClientHandshake,
    setting: Setting,
    over: bool,
    geometry: Option<ChannelGeometry>,
    negotiated: Option<Negotiated>,
}

impl Client {
    fn new(input: &mut Input<'_>) -> Self {
        let setting = setting(input);
        let machine = ClientHandshake::new(setting.local.clone(), wish(input), setting.limits);
        Self {
            machine: machine.expect("settings within the protocol"),
            setting,
            over: false,
            geometry: None,
            negotiated: None,
        }
    }

    fn start(&mut self) -> Vec<Packet> {
        self.machine.start().map(|packet| well_formed(packet, 0)).into()
    }

    fn take(&mut self, packet: &Packet) -> Vec<Packet> {
        if self.machine.is_established() {
            let _ = after_ready(&packet.0, Came::All(packet.1), self.setting.local.takes);
            return Vec::new();
        }
        let step = self.machine.on_packet(&packet.0, packet.1);
        assert!(step.is_err() || !self.over, "something was accepted after the end");
        match step {
            Err(fault) => {
                assert!(!fault.to_string().is_empty());
                self.over = true;
                Vec::new()
            }
            Ok(ClientStep::Wait) => Vec::new(),
            Ok(ClientStep::MapSegments(segments)) => {
                check_geometry(segments.geometry, &self.setting, self.setting.local.page_size);
                self.geometry = Some(segments.geometry);
                vec![well_formed(self.machine.mapped(), 0)]
            }
            Ok(ClientStep::Done(negotiated)) => {
                assert!(self.machine.is_established() && self.geometry.is_some());
                check_negotiated(&negotiated, &self.setting);
                self.negotiated = Some(negotiated);
                Vec::new()
            }
            Ok(ClientStep::NotTaken(what)) => {
                self.over = true;
                assert!(what != Carries::NOTHING && !what.to_string().is_empty());
                Vec::new()
            }
            Ok(ClientStep::Rejected(rejection)) => {
                self.over = true;
                assert!(!rejection.to_string().is_empty());
                Vec::new()
            }
            Ok(ClientStep::Refused(refusal)) => {
                self.over = true;
                assert!(!refusal.to_string().is_empty());
                Vec::new()
            }
            Ok(other) => panic!("a step that no caller knows: {other:?}"),
        }
    }
}

/// What a machine sends, its own decoder takes.
fn well_formed(packet: Vec<u8>, fds: usize) -> Packet {
    if let Err(malformed) = decode(&packet) {
        panic!("a machine sends what is {malformed}");
    }
    (packet, fds)
}

/// Sizes that are safe to map, whatever the other side said.
fn check_geometry(geometry: ChannelGeometry, setting: &Setting, page: u32) {
    for capacity in [geometry.capacity_s, geometry.capacity_c] {
        assert!(capacity.is_power_of_two() && capacity.is_multiple_of(page.into()));
        assert!(capacity <= setting.limits.largest(), "{capacity} is above the limit");
    }
    assert!(geometry.control_bytes.is_multiple_of(page) && geometry.control_bytes > 0);
    assert!(geometry.control_bytes <= MAX_CONTROL_BYTES);
    assert!(geometry.bytes() <= 2 * (setting.limits.largest() + u64::from(MAX_CONTROL_BYTES)));
}

fn check_negotiated(negotiated: &Negotiated, setting: &Setting) {
    let local = &setting.local;
    assert!(local.versions.contains(negotiated.version));
    assert!(negotiated.features.without(local.offered).is_empty());
    assert!(local.required.without(negotiated.features).is_empty());
    assert!((1..=local.largest_message).contains(&negotiated.largest_message));
    assert!(negotiated.page_size >= local.page_size && negotiated.page_size.is_power_of_two());
}

/// Packets from the script: well-formed ones by number, or any bytes.
fn any_packet(input: &mut Input<'_>) -> (Packet, u8) {
    let (which, fds, choice) = (input.u8(), input.u8(), input.u8());
    let fds = usize::from(fds % 4);
    if let Some((_, packet)) = packets().get(usize::from(which)) {
        return ((packet.clone(), fds), choice);
    }
    let len = usize::from(input.u16());
    ((input.bytes(len).to_vec(), fds), choice)
}

fn against_server(input: &mut Input<'_>) {
    let mut server = Server::new(input);
    while !input.is_over() {
        let (packet, choice) = any_packet(input);
        server.take(&packet, choice);
    }
}

fn against_client(input: &mut Input<'_>) {
    let mut client = Client::new(input);
    if input.u8() % 8 != 7 {
        client.start();
    }
    while !input.is_over() {
        let (packet, _) = any_packet(input);
        client.take(&packet);
    }
}

/// What the one in between does with a packet.
fn meddle(input: &mut Input<'_>, queue: &mut VecDeque<Packet>) -> bool {
    match input.u8() % 16 {
        1 => {
            queue.pop_front();
        }
        2 => {
            let first = queue[0].clone();
            queue.push_front(first);
        }
        3 => queue.rotate_left(1),
        4 => {
            let (at, bits) = (usize::from(input.u16()), input.u8());
            let packet = &mut queue[0].0;
            let len = packet.len().max(1);
            if let Some(byte) = packet.get_mut(at % len) {
                *byte ^= bits;
            }
        }
        5 => {
            let len = usize::from(input.u16());
            queue[0].0.truncate(len);
        }
        6 => queue[0].0.extend(input.bytes(8)),
        7 => queue[0].1 = usize::from(input.u8() % 4),
        8 => queue.push_front(any_packet(input).0),
        _ => return false,
    }
    true
}

fn between(input: &mut Input<'_>) {
    let (mut server, mut client) = (Server::new(input), Client::new(input));
    let (mut to_server, mut to_client) = (VecDeque::from(client.start()), VecDeque::new());
    let mut meddled = false;
    // Each packet is answered by at most one, so without meddling this ends by itself.
    for _ in 0..64 {
        if !to_server.is_empty() {
            meddled |= meddle(input, &mut to_server);
        } else if !to_client.is_empty() {
            meddled |= meddle(input, &mut to_client);
        }
        if let Some(packet) = to_server.pop_front() {
            to_client.extend(server.take(&packet, input.u8()));
        } else if let Some(packet) = to_client.pop_front() {
            to_server.extend(client.take(&packet));
        } else {
            break;
        }
    }
    let done = (server.machine.is_established(), client.machine.is_established());
    if meddled {
        return;
    }
    assert_eq!(done.0, done.1, "one side is done");
    if let (Some(ours), Some(theirs)) = (&server.negotiated, &client.negotiated) {
        assert_eq!(server.geometry, client.geometry);
        assert_eq!(
            (ours.version, ours.features, ours.page_size, ours.largest_message),
            (theirs.version, theirs.features, theirs.page_size, theirs.largest_message)
        );
        assert_eq!((ours.takes, ours.peer_takes), (theirs.peer_takes, theirs.takes));
        assert_eq!(ours.peer_takes, client.setting.local.takes);
        assert_eq!(ours.peer_name, client.setting.local.name);
        assert_eq!(theirs.peer_name, server.setting.local.name);
        assert_eq!(ours.peer_metadata, client.setting.local.metadata);
        assert_eq!(theirs.peer_metadata, server.setting.local.metadata);
        assert_eq!(ours.peer_fence, client.setting.local.fence);
        assert_eq!(theirs.peer_fence, server.setting.local.fence);
    }
}

/// Good handshakes, good ones against each machine alone, and one of each way of meddling.
pub fn seeds() -> Vec<Seed> {
    // Both sides: pages, features and sizes, limits.
    let side = |script: Script, pages, features| script.u8(pages).u8(features).u8(0x7b);
    let both = |pages, features| {
        side(side(Script::default().u8(BETWEEN), pages, features), 0, features).u8(0x24)
    };
    let mut seeds = vec![
        ("good".to_owned(), both(0x0c, 0xf0).0),
        ("larger-pages".to_owned(), both(0x0e, 0xf0).0),
        ("features".to_owned(), both(0x0c, 0xf8).0),
        ("versions".to_owned(), both(0x0c, 0xf2).0),
        (
            "not-taken".to_owned(),
            side(side(Script::default().u8(BETWEEN), 0, 0xf0), 0, 0xf0).u8(0xa5).0,
        ),
        ("other-archive".to_owned(), side(both(0, 0xf1), 0, 0).0),
    ];
    for way in 1..9_u8 {
        for at in [0, 1, 3] {
            // A meddling byte comes before each packet, and a choice after each that the server takes.
            let script = both(0, 0xf0).bytes(&[9, 0].repeat(at));
            let script = script.u8(way).u16(33).u8(0x81).u64(0);
            seeds.push((format!("meddle-{way}-{at}"), script.0));
        }
    }
    // By their numbers in `packets`, with as many file descriptors as are due.
    let order = |script: Script, packets: &[(u8, u8)]| {
        packets.iter().fold(script, |script, (which, fds)| script.u8(*which).u8(*fds).u8(0))
    };
    let server = || side(Script::default().u8(AGAINST_SERVER), 0, 0xfc);
    let client = || side(Script::default().u8(AGAINST_CLIENT), 0, 0xf0).u8(0x24).u8(0);
    let (hello, welcome, reject, open, granted) = (0, 1, 2, 3, 4);
    let (sealed, ready, refused, fence) = (5, 6, 7, 8);
    for (name, script, packets) in [
        ("server", server(), vec![(hello, 0), (open, 0), (sealed, 0), (fence, 0)]),
        ("server-fds", server(), vec![(hello, 1)]),
        ("server-order", server(), vec![(open, 0), (hello, 0)]),
        ("server-twice", server(), vec![(hello, 0), (hello, 0), (open, 0)]),
        ("client", client(), vec![(welcome, 0), (granted, 2), (ready, 0), (fence, 0)]),
        ("client-reject", client(), vec![(reject, 0), (welcome, 0)]),
        ("client-refused", client(), vec![(welcome, 0), (refused, 0), (ready, 0)]),
        ("client-late-refused", client(), vec![(welcome, 0), (granted, 2), (refused, 0)]),
        ("client-one-fd", client(), vec![(welcome, 0), (granted, 1)]),
        ("client-three-fds", client(), vec![(welcome, 0), (granted, 3)]),
    ] {
        seeds.push((name.to_owned(), order(script, &packets).0));
    }
    seeds
}
