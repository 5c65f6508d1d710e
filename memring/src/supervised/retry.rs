//! What an attempt to connect may meet, and whether that may pass. Pure.

use std::error::Error;
use std::io;

use memring_transport::control::{RefuseCode, RejectCode};
use memring_transport::{ConnectError as Transport, ConnectProblem, HandshakeError};
use rustix::io::Errno;

use crate::error::ConnectError;

/// Whether it is worth trying again. What is not known is not: it would be tried for ever, and nobody told.
pub(super) fn may_pass(error: &ConnectError) -> bool {
    match error {
        ConnectError::Connect(Transport::Unreachable(problem)) => match problem {
            ConnectProblem::NotThere(_)
            | ConnectProblem::NobodyListens(_)
            | ConnectProblem::BacklogFull(_)
            | ConnectProblem::TimedOut { .. } => true,
            other => is_want(other),
        },
        ConnectError::Connect(Transport::Handshake(handshake))
        | ConnectError::Handshake(handshake) => match handshake {
            HandshakeError::TimedOut
            | HandshakeError::PeerGone
            | HandshakeError::OverQuota(_)
            | HandshakeError::DescriptorsLost => true,
            HandshakeError::Rejected(rejection) => {
                matches!(rejection.code, RejectCode::Busy | RejectCode::ShuttingDown)
            }
            HandshakeError::Refused(refusal) => matches!(
                refusal.code,
                RefuseCode::Quota | RefuseCode::Resources | RefuseCode::ShuttingDown
            ),
            other => is_want(other),
        },
        _ => false,
    }
}

/// Whether the kernel lacked something for this process, or the peer had gone when it was asked.
fn is_want(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(
                Errno::from_io_error(error),
                Some(
                    Errno::MFILE
                        | Errno::NFILE
                        | Errno::NOMEM
                        | Errno::NOBUFS
                        | Errno::AGAIN
                        | Errno::CONNRESET
                        | Errno::NOTCONN
                        | Errno::PIPE
                        | Errno::SRCH
                )
            );
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use memring_transport::Address;
    use memring_transport::control::Sentence;
    use memring_transport::handshake::{Refusal, Rejection};

    use super::*;

    fn address() -> Address {
        Address::path("/run/app/sock").expect("a path")
    }

    #[track_caller]
    fn check(error: impl Into<Transport>, passes: bool) {
        let error = ConnectError::Connect(error.into());
        assert_eq!(may_pass(&error), passes, "{error:?}");
    }

    #[test]
    fn what_time_can_heal_is_tried_again() {
        check(ConnectProblem::NotThere(address()), true);
        check(ConnectProblem::NobodyListens(address()), true);
        check(ConnectProblem::BacklogFull(address()), true);
        check(ConnectProblem::NotAllowed(address()), false);
        check(ConnectProblem::NotOurKind(address()), false);
        check(HandshakeError::TimedOut, true);
        check(HandshakeError::PeerGone, true);
        check(HandshakeError::DescriptorsLost, true);
        check(HandshakeError::PageTooLarge, false);
        for (errno, passes) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOMEM, true),
            (Errno::NOTDIR, false),
            (Errno::LOOP, false),
            (Errno::INVAL, false),
        ] {
            check(ConnectProblem::System { address: address(), source: errno.into() }, passes);
            check(HandshakeError::System { doing: "trying", source: errno.into() }, passes);
        }
        for (code, passes) in [
            (RejectCode::Busy, true),
            (RejectCode::ShuttingDown, true),
            (RejectCode::Version, false),
            (RejectCode::Feature, false),
            (RejectCode::ArchiveFormat, false),
            (RejectCode::Denied, false),
            (RejectCode::Other(77), false),
        ] {
            let sentence = Sentence::default();
            check(HandshakeError::Rejected(Rejection { code, sentence }), passes);
        }
        for (code, passes) in [
            (RefuseCode::Quota, true),
            (RefuseCode::Resources, true),
            (RefuseCode::ShuttingDown, true),
            (RefuseCode::Protocol, false),
            (RefuseCode::Fingerprint, false),
            (RefuseCode::Application, false),
            (RefuseCode::Seals, false),
            (RefuseCode::NotTaken, false),
            (RefuseCode::Other(77), false),
        ] {
            let sentence = Sentence::default();
            let refusal = Refusal { code, sentence, mismatch: None };
            check(HandshakeError::Refused(refusal), passes);
        }
    }
}
