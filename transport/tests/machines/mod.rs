//! What the tests of the pure protocol share: one good value of everything, and the way to any state.
//!
//! It does not judge anything.

#![allow(dead_code, reason = "each test binary uses its own part")]

use memring_transport::control::{
    Answer, ArchiveFormat, Ask, Attached, Attachments, Control, DeclineCode, FenceBits,
    Fingerprint, Forget, Granted, Hello, Metadata, Name, Open, RefuseCode, Refused, Reject,
    RejectCode, SealBits, Sentence, Signature, TypeId, TypeName, Versions, Welcome,
};
use memring_transport::handshake::{
    CapacityLimits, Carries, ChannelWish, ClientHandshake, ClientStep, Local, ServerHandshake,
    ServerStep,
};

pub const KIB: u64 = 1 << 10;

pub fn client_local() -> Local {
    Local {
        largest_message: 1 << 20,
        name: Name::new("ticker").unwrap(),
        metadata: Metadata::new(&b"\x01\x02\x03"[..]).unwrap(),
        ..Local::new(4096, FenceBits { registered: true, can_call: true }, ArchiveFormat::DEFAULT)
    }
}

pub fn server_local() -> Local {
    Local {
        name: Name::new("quotes-server").unwrap(),
        ..Local::new(4096, FenceBits { registered: true, can_call: false }, ArchiveFormat::DEFAULT)
    }
}

pub fn signature() -> Signature<'static> {
    Signature {
        protocol: TypeName::new("quotes").unwrap(),
        to_accepting: TypeId {
            fingerprint: Fingerprint([0xa1; 16]),
            name: TypeName::new("Order").unwrap(),
        },
        to_connecting: TypeId {
            fingerprint: Fingerprint([0xc1; 16]),
            name: TypeName::new("Quote").unwrap(),
        },
    }
}

pub fn wish() -> ChannelWish {
    ChannelWish {
        signature: signature(),
        capacity_to_accepting: 64 * KIB,
        capacity_to_connecting: 256 * KIB,
        metadata: Metadata::default(),
        carries: Carries::NOTHING,
    }
}

pub fn server() -> ServerHandshake {
    ServerHandshake::new(server_local(), CapacityLimits::PROTOCOL).unwrap()
}

pub fn client() -> ClientHandshake {
    ClientHandshake::new(client_local(), wish(), CapacityLimits::PROTOCOL).unwrap()
}

pub fn hello() -> Hello<'static> {
    let local = client_local();
    Hello {
        versions: Versions::OURS,
        offered: local.offered,
        required: local.required,
        fence: local.fence,
        archive: local.archive,
        page_size: local.page_size,
        largest_message: local.largest_message,
        name: local.name,
        metadata: local.metadata,
        takes: local.takes,
    }
}

pub fn welcome() -> Welcome<'static> {
    let local = server_local();
    Welcome {
        version: 1,
        features: local.offered,
        fence: local.fence,
        archive: local.archive,
        page_size: local.page_size,
        largest_message: 1 << 20,
        name: local.name,
        metadata: Metadata::new(vec![7; 9]).unwrap(),
        takes: local.takes,
    }
}

pub fn open() -> Open<'static> {
    Open {
        channel: 0,
        signature: signature(),
        capacity_to_accepting: 64 * KIB,
        capacity_to_connecting: 256 * KIB,
        metadata: Metadata::new(vec![9; 5]).unwrap(),
    }
}

pub fn granted() -> Granted {
    Granted {
        channel: 0,
        control_bytes: 4096,
        capacity_s: 256 * KIB,
        capacity_c: 64 * KIB,
        seals_s: SealBits::WITH_EXEC,
        seals_c: SealBits::PLAIN,
    }
}

pub fn refused() -> Refused<'static> {
    Refused {
        channel: 0,
        code: RefuseCode::Application,
        sentence: Sentence::new("not on Sundays").unwrap(),
        ours: signature(),
    }
}

pub fn reject() -> Reject<'static> {
    Reject { code: RejectCode::Busy, sentence: Sentence::new("64 sessions already").unwrap() }
}

/// One good message of each kind.
pub fn attachments() -> Attachments<'static> {
    let list = vec![Attached::FD, Attached::blob(1, 4096)];
    Attachments { channel: 0, position: 16, list: list.into() }
}

pub fn ask() -> Ask<'static> {
    Ask { number: 1, name: Name::fit("logs"), metadata: Metadata::new(&b"\x07"[..]).unwrap() }
}

pub fn answer() -> Answer<'static> {
    let declined = Some(DeclineCode::Application);
    Answer { number: 1, declined, sentence: Sentence::fit("not now") }
}

pub fn every_message() -> [Control<'static>; 15] {
    [
        Control::Hello(hello()),
        Control::Welcome(welcome()),
        Control::Reject(reject()),
        Control::Open(open()),
        Control::Granted(granted()),
        Control::Sealed { channel: 0 },
        Control::Ready { channel: 0 },
        Control::Refused(refused()),
        Control::Fence,
        Control::FenceAck,
        Control::Doorbell,
        Control::Attachments(attachments()),
        Control::Forget(Forget { channel: 0, blob: 1, mentions: 1 }),
        Control::Ask(ask()),
        Control::Answer(answer()),
    ]
}

/// How far a server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerAt {
    Hello,
    Open,
    Granting,
    Sealed,
    Checking,
    Offered,
    Established,
    Over,
}

pub const SERVER_STATES: [ServerAt; 8] = [
    ServerAt::Hello,
    ServerAt::Open,
    ServerAt::Granting,
    ServerAt::Sealed,
    ServerAt::Checking,
    ServerAt::Offered,
    ServerAt::Established,
    ServerAt::Over,
];

pub fn server_at(at: ServerAt) -> ServerHandshake {
    let mut server = server();
    if at == ServerAt::Hello {
        return server;
    }
    let step = server.on_packet(&Control::Hello(hello()).encode(), 0);
    assert!(matches!(step, Ok(ServerStep::Send(_))), "{step:?}");
    if at == ServerAt::Open {
        return server;
    }
    let step = server.on_packet(&Control::Open(open()).encode(), 0);
    assert!(matches!(step, Ok(ServerStep::Grant(_))), "{step:?}");
    if at == ServerAt::Granting {
        return server;
    }
    let _packet = server.granted(SealBits::PLAIN, SealBits::PLAIN);
    if at == ServerAt::Sealed {
        return server;
    }
    let step = server.on_packet(&Control::Sealed { channel: 0 }.encode(), 0);
    assert_eq!(step, Ok(ServerStep::CheckSealed));
    if at == ServerAt::Checking {
        return server;
    }
    let _opened = server.sealed_ok();
    match at {
        ServerAt::Established => drop(server.accept()),
        ServerAt::Over => drop(server.refuse(RefuseCode::Application, "", &signature())),
        _ => {}
    }
    server
}

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAt {
    New,
    Welcome,
    Granted,
    Mapping,
    Ready,
    Established,
    Over,
}

pub const CLIENT_STATES: [ClientAt; 7] = [
    ClientAt::New,
    ClientAt::Welcome,
    ClientAt::Granted,
    ClientAt::Mapping,
    ClientAt::Ready,
    ClientAt::Established,
    ClientAt::Over,
];

pub fn client_at(at: ClientAt) -> ClientHandshake {
    let mut client = client();
    if at == ClientAt::New {
        return client;
    }
    let _packets = client.start();
    if at == ClientAt::Welcome {
        return client;
    }
    if at == ClientAt::Over {
        let step = client.on_packet(&Control::Reject(reject()).encode(), 0);
        assert!(matches!(step, Ok(ClientStep::Rejected(_))), "{step:?}");
        return client;
    }
    let step = client.on_packet(&Control::Welcome(welcome()).encode(), 0);
    assert_eq!(step, Ok(ClientStep::Wait));
    if at == ClientAt::Granted {
        return client;
    }
    let step = client.on_packet(&Control::Granted(granted()).encode(), 2);
    assert!(matches!(step, Ok(ClientStep::MapSegments(_))), "{step:?}");
    if at == ClientAt::Mapping {
        return client;
    }
    let _packet = client.mapped();
    if at == ClientAt::Established {
        let step = client.on_packet(&Control::Ready { channel: 0 }.encode(), 0);
        assert!(matches!(step, Ok(ClientStep::Done(_))), "{step:?}");
    }
    client
}
