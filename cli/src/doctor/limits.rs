//! Limits that memring can run into, and where it puts sockets.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use memring::ToAddress;
use memring_benches::pin;
use rustix::process::{Resource, getrlimit};

use super::Check;
use crate::output;

/// Bytes of the file of a default segment, with its control area.
const SEGMENT: u64 = (256 << 10) + (8 << 10);
/// Address space that a session with default lanes maps: two segments, each with its lane twice.
const SESSION_SPACE: u64 = 2 * ((512 << 10) + (8 << 10));
/// Descriptors that a session keeps: its socket and the peer's pidfd; a few more while it opens.
const SESSION_FDS: u64 = 8;
/// Sessions that should be possible without a limit being in the way.
const SESSIONS: u64 = 16;

pub(super) fn checks() -> Vec<Check> {
    vec![
        one_processor(),
        limit(
            "RLIMIT_NOFILE",
            Resource::Nofile,
            |count| format!("{count} descriptors"),
            SESSION_FDS,
            "only a few sessions fit: raise it with `ulimit -n`",
        ),
        limit(
            "RLIMIT_FSIZE",
            Resource::Fsize,
            output::bytes,
            SEGMENT / SESSIONS,
            "a segment is a file: lanes have to be smaller than this",
        ),
        limit(
            "RLIMIT_AS",
            Resource::As,
            output::bytes,
            SESSION_SPACE,
            "only a few sessions fit into this address space",
        ),
        memlock(),
        overcommit(),
        maps(),
        runtime_directory(),
    ]
}

/// How many processors this process may use.
pub(super) fn processors() -> usize {
    pin::allowed().map_or(1, |processors| processors.len())
}

fn one_processor() -> Check {
    const LOST: &str =
        "spinning is pointless on one: every message needs a switch between processes";
    match processors() {
        1 => Check::lost("processors", "1", LOST),
        count => Check::ok("processors", count.to_string()),
    }
}

/// A limit that has to leave room for [`SESSIONS`] times `each`.
fn limit(
    name: &'static str,
    resource: Resource,
    show: impl Fn(u64) -> String,
    each: u64,
    lost: &'static str,
) -> Check {
    match getrlimit(resource).current {
        None => Check::ok(name, "unlimited"),
        Some(limit) if limit >= each * SESSIONS => Check::ok(name, show(limit)),
        Some(limit) => Check::lost(name, show(limit), lost),
    }
}

/// Lanes are not locked, so this only says what a program that wants no page of its own swapped can do.
fn memlock() -> Check {
    let found = getrlimit(Resource::Memlock).current.map_or_else(
        || "unlimited".to_owned(),
        |limit| format!("{}, not needed", output::bytes(limit)),
    );
    Check::ok("RLIMIT_MEMLOCK", found)
}

fn number(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn overcommit() -> Check {
    let found = match number("/proc/sys/vm/overcommit_memory") {
        Some(2) => "2: strict, which shared memory does not count towards until it is there",
        Some(1) => "1: always",
        Some(_) => "0: heuristic",
        None => "not known",
    };
    Check::ok("vm.overcommit_memory", found)
}

fn maps() -> Check {
    const NAME: &str = "vm.max_map_count";
    const LOST: &str = "a session takes four mappings: only a few fit";
    match number("/proc/sys/vm/max_map_count") {
        Some(count) if count < 4 * SESSIONS + 200 => Check::lost(NAME, count.to_string(), LOST),
        Some(count) => Check::ok(NAME, format!("{count}, room for {} sessions", count / 4)),
        None => Check::ok(NAME, "not known"),
    }
}

fn runtime_directory() -> Check {
    const NAME: &str = "runtime directory";
    const LOST: &str = "bare names cannot be listened at; paths can";
    let Ok(address) = "doctor".to_address() else {
        return Check::lost(NAME, "its path is too long for a socket", LOST);
    };
    let path = address.to_string();
    let directory = Path::new(&path).parent().unwrap_or(Path::new("/"));
    let shown = directory.display();
    match std::fs::metadata(directory) {
        Ok(facts) => {
            let mode = facts.permissions().mode() & 0o7777;
            let ours = facts.uid() == rustix::process::geteuid().as_raw();
            let found = format!("{shown}, mode {mode:04o}");
            match facts.is_dir() && ours && mode & 0o022 == 0 {
                true => Check::ok(NAME, found),
                false => Check::lost(NAME, format!("{found}, not ours alone to write"), LOST),
            }
        }
        Err(_) => {
            let above = directory.parent().unwrap_or(Path::new("/"));
            let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            match rustix::fs::access(above, access) {
                Ok(()) => Check::ok(NAME, format!("{shown}, made when first needed")),
                Err(_) => Check::lost(NAME, format!("{shown} cannot be made"), LOST),
            }
        }
    }
}
