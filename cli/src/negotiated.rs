//! What two sides agreed on, as facts that can be shown: who the peer is, and what is in use.

use memring::{DeathDetection, Message, Peer, Receiver, Sender, Wait, system};
use serde::Serialize;

use crate::output;

/// Who is at the other end, as the kernel says.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PeerFacts {
    pid: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    death_detection: &'static str,
}

impl PeerFacts {
    pub(crate) fn of(peer: &Peer) -> Self {
        Self {
            pid: peer.pid(),
            uid: peer.uid(),
            gid: peer.gid(),
            death_detection: match peer.death_detection() {
                DeathDetection::Pidfd => "pidfd",
                _ => "hang-up",
            },
        }
    }
}

/// What is in use on a channel.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Negotiated {
    peer: PeerFacts,
    peer_name: String,
    protocol_version: u16,
    publish_fence: &'static str,
    sleep_fence: &'static str,
    futex_waitv: bool,
    wait: &'static str,
    lane_bytes_out: u64,
    lane_bytes_in: u64,
    largest_message: u64,
    page_size: u32,
}

impl Negotiated {
    /// Of both halves of a channel.
    pub(crate) fn of<S, R>(sender: &Sender<S>, receiver: &Receiver<R>) -> Self
    where
        S: Message + ?Sized,
        R: Message + ?Sized,
    {
        let session = sender.session();
        let agreed = session.negotiated();
        let (full, calls) = session.life().fences().chosen();
        Self {
            peer: PeerFacts::of(sender.peer()),
            peer_name: agreed.peer_name.as_str().to_owned(),
            protocol_version: agreed.version,
            publish_fence: if full { "full" } else { "none" },
            sleep_fence: if calls { "membarrier" } else { "full" },
            futex_waitv: system::waitv_works(),
            wait: match receiver.wait_strategy() {
                Wait::Spin => "spin",
                Wait::Park => "park",
                _ => "adaptive",
            },
            lane_bytes_out: sender.lane_bytes(),
            lane_bytes_in: receiver.lane_bytes(),
            largest_message: agreed.largest_message,
            page_size: agreed.page_size,
        }
    }

    /// As rows of what and how.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let number = |id: Option<u32>| id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
        let peer = &self.peer;
        vec![
            (
                "peer",
                format!(
                    "pid {} uid {} gid {}, checked with the kernel",
                    number(peer.pid),
                    number(peer.uid),
                    number(peer.gid)
                ),
            ),
            (
                "its death is seen",
                match peer.death_detection {
                    "pidfd" => "by its pidfd, at once".to_owned(),
                    _ => "by the socket hanging up, once its last holder is gone".to_owned(),
                },
            ),
            ("protocol version", self.protocol_version.to_string()),
            (
                "fence a publish",
                match self.publish_fence {
                    "none" => "none: whoever goes to sleep calls membarrier".to_owned(),
                    _ => "full, for the peer cannot call membarrier".to_owned(),
                },
            ),
            (
                "fence a sleep",
                match self.sleep_fence {
                    "membarrier" => "membarrier".to_owned(),
                    _ => "full, for the peer publishes with full ones".to_owned(),
                },
            ),
            (
                "sleep",
                match self.futex_waitv {
                    true => "futex_waitv, on the shared and a private word at once".to_owned(),
                    false => "futex, in slices: futex_waitv is not there".to_owned(),
                },
            ),
            ("waiting by", self.wait.to_owned()),
            (
                "lanes",
                format!(
                    "{} out, {} in, sealed",
                    output::bytes(self.lane_bytes_out),
                    output::bytes(self.lane_bytes_in)
                ),
            ),
            ("largest message", output::bytes(self.largest_message)),
        ]
    }
}
