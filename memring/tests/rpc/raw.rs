//! Packets of calls, made and sent one by one: for the other end of whoever is tested.

use memring::rpc::Client;
use memring::rpc::fuzzing::{Raw, RawPacket};

use super::support::soon;

pub fn packet(kind: u8, interface: u16, number: u32, time: u64, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind, 0];
    packet.extend(interface.to_le_bytes());
    packet.extend(number.to_le_bytes());
    packet.extend(time.to_le_bytes());
    packet.extend(body);
    packet
}

/// An opening of an interface of which nothing is known.
pub fn open(name: &str) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
    packet(1, 0, 0, 0, &[text(name), text("1"), vec![0, 0]].concat())
}

pub fn call(number: u32, body: &[u8]) -> Vec<u8> {
    packet(4, 0, number, 0, body)
}

/// Beside the padding.
pub fn kind(packet: &RawPacket) -> u8 {
    packet.bytes[0] & 15
}

#[track_caller]
pub fn send(raw: &mut Raw, packet: &[u8], tag: u64) {
    raw.send(packet, tag, soon()).expect("room");
}

#[track_caller]
pub fn recv(raw: &mut Raw) -> RawPacket {
    raw.recv(soon()).expect("a packet")
}

/// Answers the opening of an interface, the first question of all, as if it were served as the client knows it.
#[track_caller]
pub fn opened<C: Client>(raw: &mut Raw) {
    let asked = recv(raw);
    assert_eq!((kind(&asked), asked.tag), (1, 1));
    let count = C::interface().members.len() as u16;
    let mut standings = count.to_le_bytes().to_vec();
    (0..u32::from(count)).for_each(|member| {
        standings.push(0);
        standings.extend(member.to_le_bytes());
    });
    send(raw, &packet(2, 0, 16, 0, &standings), 1);
}
