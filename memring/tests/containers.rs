//! Processes in containers: who each looks like to the other, who is let in, and that deaths are seen.

mod support;

use std::fmt::Display;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use memring::{
    AcceptError, Address, Bytes, Channel, Connector, End, Lanes, Listener, Peer, Policy, RecvError,
    ToAddress,
};
use support::container::{Kind, contain};
use support::strangers::chain;
use support::{Helper, PATIENCE, Scratch, Stage, play, soon};

/// Another uid than that of the tests.
const OTHER: u32 = 1_054_320;

const CONTAINER: Kind = Kind { network: false, init: false };

#[test]
fn role() {
    play(&[("serve", serve), ("call", call)]);
}

fn address(stage: &Stage) -> Address {
    match stage.get("name") {
        "" => stage.path().to_address().expect("an address"),
        name => Address::abstract_name(name).expect("an address"),
    }
}

fn policy(stage: &Stage) -> Policy {
    match stage.get("policy") {
        "default" => Policy::default(),
        "unknown" => Policy::same_uid().allow_unknown_uid(),
        uid => Policy::nobody().allow_uid(uid.parse().expect("a uid")),
    }
}

/// Listens until somebody is let in, or turned away.
fn serve(stage: &Stage) {
    // Anybody gets as far as being judged.
    let listener =
        Listener::builder().policy(policy(stage)).mode(0o666).bind(address(stage)).expect("binds");
    stage.say("listening");
    loop {
        match listener.accept_deadline(Instant::now() + Duration::from_millis(10)) {
            Ok(incoming) => return talk(stage, incoming.open::<Bytes>().expect("opens")),
            Err(error) => assert!(matches!(error.0, AcceptError::TimedOut), "{error}"),
        }
        if listener.turned().denied > 0 {
            return stage.say("denied");
        }
    }
}

fn call(stage: &Stage) {
    let connected = Connector::new()
        .policy(policy(stage))
        .timeout(PATIENCE)
        .lanes(Lanes::Small, Lanes::Small)
        .connect::<Bytes>(address(stage));
    match connected {
        Ok(channel) => talk(stage, channel),
        Err(error) => stage.say(chain(&error)),
    }
}

/// Says who is there, what it says, and how it ends.
fn talk(stage: &Stage, mut channel: Channel<[u8], [u8]>) {
    stage.say(shown(channel.peer()));
    channel.send(b"hello").expect("sends");
    assert_eq!(&*channel.recv_deadline(soon()).expect("a message"), b"hello");
    stage.say("talked");
    match channel.recv().map(|_| ()) {
        Err(RecvError::Ended(End::PeerDied(_))) => stage.say("died"),
        other => stage.say(format!("{other:?}")),
    }
}

/// What a peer looks like.
fn shown(peer: &Peer) -> String {
    format!("uid {:?} pid {:?} by {:?}", peer.uid(), peer.pid(), peer.death_detection())
}

/// Where a process of a test is.
#[derive(Clone, Copy)]
enum Place {
    Host,
    /// A container whose root is this uid of the host's.
    Container(u32, Kind),
}

fn our_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Starts a role there; `None` if this machine has no such place.
fn start(place: Place, scratch: &Scratch, role: &str, name: &str, policy: &str) -> Option<Helper> {
    let shared = scratch.path().join("shared");
    std::fs::create_dir_all(&shared).expect("a directory for the socket");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&shared, open).expect("others may get there");
    let inside = match place {
        Place::Host => shared.clone(),
        Place::Container(..) => {
            let inside = scratch.path().join(format!("of-{role}"));
            std::fs::create_dir(&inside).expect("a place to mount it");
            inside
        }
    };
    let socket = inside.join("s");
    let shown = socket.display();
    let arguments: [(&str, &dyn Display); 3] =
        [("path", &shown), ("name", &name), ("policy", &policy)];
    let mut command = match place {
        Place::Container(uid, _) if uid != our_uid() => {
            if our_uid() != 0 {
                println!("skipped: running as another user takes root");
                return None;
            }
            support::role_command_as(uid, scratch, role, &arguments)
        }
        _ => support::role_command(role, &arguments),
    };
    if let Place::Container(uid, kind) = place {
        let gid = if uid == our_uid() { rustix::process::getegid().as_raw() } else { uid };
        contain(&mut command, (uid, gid), kind, &shared, &inside);
    }
    match Helper::try_run(&mut command) {
        Ok(helper) => Some(helper),
        Err(error) if matches!(place, Place::Container(..)) => {
            println!("skipped: a container cannot be had: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Both processes, the server listening.
fn both(
    scratch: &Scratch,
    (server, admits): (Place, &str),
    (client, trusts): (Place, &str),
    name: &str,
) -> Option<(Helper, Helper)> {
    let server = start(server, scratch, "serve", name, admits)?;
    server.expect("listening");
    let client = start(client, scratch, "call", name, trusts)?;
    Some((server, client))
}

/// The process that plays the part, in the host's numbers: the last of the chain that `helper` began.
fn innermost(helper: &Helper) -> u32 {
    let mut pid = helper.pid();
    while let Ok(children) = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
        match children.split_whitespace().next() {
            Some(child) => pid = child.parse().expect("a number"),
            None => break,
        }
    }
    pid
}

/// The death of either is seen by the other, whatever of its container is killed.
fn meets_and_sees_deaths(server: Place, client: Place) {
    let contained = |place| matches!(place, Place::Container(..));
    for dies in ["server", "client"] {
        for whole in [true, false] {
            let scratch = Scratch::new();
            let ends = both(&scratch, (server, "default"), (client, "default"), "");
            let Some((server_is, client_is)) = ends else { return };
            // What each knows of the other is in its own numbers: root is 0 in a container, and who is
            // outside of a pid namespace has no number in it.
            let sees = |looking: Place, at: &Helper| {
                let (uid, pid) = match looking {
                    Place::Host => (our_uid(), Some(innermost(at))),
                    Place::Container(..) => (0, None),
                };
                format!("uid {:?} pid {pid:?} by Pidfd", Some(uid))
            };
            assert_eq!(server_is.hear(), sees(server, &client_is), "what the server sees");
            assert_eq!(client_is.hear(), sees(client, &server_is), "what the client sees");
            server_is.expect("talked");
            client_is.expect("talked");
            let (dying, place, left) = match dies {
                "server" => (&server_is, server, &client_is),
                _ => (&client_is, client, &server_is),
            };
            if whole || !contained(place) {
                dying.kill();
            } else {
                let pid = i32::try_from(innermost(dying)).expect("a pid");
                let pid = rustix::process::Pid::from_raw(pid).expect("not zero");
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kills");
            }
            left.expect("died");
        }
    }
}

#[test]
fn attack_14_a_container_and_its_host_meet_by_uid_and_see_each_other_die() {
    if support::no_pidfds() {
        return;
    }
    for init in [false, true] {
        let container = Place::Container(our_uid(), Kind { init, network: false });
        meets_and_sees_deaths(Place::Host, container);
        meets_and_sees_deaths(container, Place::Host);
    }
}

#[test]
fn attack_14_sibling_containers_of_one_uid_meet_without_numbers_and_see_each_other_die() {
    if support::no_pidfds() {
        return;
    }
    for init in [false, true] {
        let container = Place::Container(our_uid(), Kind { init, network: false });
        meets_and_sees_deaths(container, container);
    }
}

#[test]
fn attack_14_siblings_of_different_uids_are_unknown_to_each_other_and_match_no_list() {
    if support::no_pidfds() {
        return;
    }
    let (one, other) = (Place::Container(our_uid(), CONTAINER), Place::Container(OTHER, CONTAINER));
    // The client does not speak to a server that it does not know.
    for trusts in ["default", "65534", "0"] {
        let scratch = Scratch::new();
        let ends = both(&scratch, (one, "unknown"), (other, trusts), "");
        let Some((_server, client)) = ends else { return };
        let said = client.hear();
        assert!(said.contains("its uid is not mapped"), "{trusts}: {said}");
    }
    // The server does not let in a client that it does not know, whatever number a list has.
    for admits in ["default", "65534", "0"] {
        let scratch = Scratch::new();
        let ends = both(&scratch, (one, admits), (other, "unknown"), "");
        let Some((server, client)) = ends else { return };
        server.expect("denied");
        let said = client.hear();
        assert!(said.contains("does not admit your process"), "{admits}: {said}");
    }
    // Unless both say so.
    let scratch = Scratch::new();
    let ends = both(&scratch, (one, "unknown"), (other, "unknown"), "");
    let Some((server, client)) = ends else { return };
    server.expect("uid None pid None by Pidfd");
    client.expect("uid None pid None by Pidfd");
    client.expect("talked");
    server.expect("talked");
    client.kill();
    server.expect("died");
}

#[test]
fn attack_14_a_container_mapped_to_another_uid_is_judged_by_that_uid() {
    if support::no_pidfds() {
        return;
    }
    let container = Place::Container(OTHER, CONTAINER);
    // Root in there is no root out here.
    let scratch = Scratch::new();
    let ends = both(&scratch, (Place::Host, "default"), (container, "unknown"), "");
    let Some((server, client)) = ends else { return };
    server.expect("denied");
    assert!(client.hear().contains("does not admit your process"));

    let scratch = Scratch::new();
    let other = OTHER.to_string();
    let ends = both(&scratch, (Place::Host, &other), (container, "unknown"), "");
    let Some((server, client)) = ends else { return };
    server.expect(&format!("uid Some({OTHER}) pid Some({}) by Pidfd", innermost(&client)));
    client.expect("uid None pid None by Pidfd");
    server.expect("talked");
    client.expect("talked");
    server.kill();
    client.expect("died");
}

#[test]
fn attack_80_a_path_leads_into_another_network_and_an_abstract_name_does_not() {
    if support::no_pidfds() {
        return;
    }
    let apart = Place::Container(our_uid(), Kind { network: true, init: false });
    let beside = Place::Container(our_uid(), CONTAINER);
    let name = format!("memring-containers-{}", std::process::id());
    for (client, name, refused) in
        [(apart, "", false), (apart, &*name, true), (beside, &*name, false)]
    {
        let scratch = Scratch::new();
        let ends = both(&scratch, (Place::Host, "default"), (client, "default"), name);
        let Some((server, client)) = ends else { return };
        if refused {
            let said = client.hear();
            assert!(said.contains("nobody listens"), "{said}");
        } else {
            client.expect("uid Some(0) pid None by Pidfd");
            client.expect("talked");
            server.kill();
            client.expect("died");
        }
    }
}

#[test]
fn what_a_container_mounts_is_gone_with_it() {
    if support::no_pidfds() {
        return;
    }
    let mounts = || std::fs::read_to_string("/proc/self/mounts").expect("the mounts");
    let scratch = Scratch::new();
    let place = Place::Container(our_uid(), CONTAINER);
    let Some(server) = start(place, &scratch, "serve", "", "default") else { return };
    server.expect("listening");
    let inside = scratch.path().join("of-serve");
    assert!(!mounts().contains(inside.to_str().expect("UTF-8")), "private");
    assert_eq!(std::fs::read_dir(&inside).expect("the place").count(), 0, "seen inside only");
    assert!(scratch.path().join("shared/s").exists(), "the socket, out here");
}
