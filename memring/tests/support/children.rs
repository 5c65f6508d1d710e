//! A child that [`memring::spawn`] starts, and its part.

use std::process::Stdio;

use memring::{Bytes, ConnectError, Connector, Origin, ServerEnd};

use super::{Helper, PATIENCE, Stage, role_command};

/// A child that answers its parent until that closes.
pub fn child(stage: &Stage) {
    let mut channel = memring::inherited::<Bytes>().expect("a parent");
    assert_eq!(channel.peer().origin(), Origin::Inherited);
    assert!(memring::inherited::<Bytes>().is_err(), "once");
    loop {
        match channel.recv() {
            Ok(message) => {
                let message = message.to_vec();
                channel.send(&message).expect("sends");
            }
            Err(error) => return stage.say(error),
        }
    }
}

/// Starts `role` as a child of this process.
pub fn spawn(role: &str) -> Result<(Helper, ServerEnd<Bytes>), ConnectError> {
    let mut command = role_command(role, &[]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let (child, channel) = Connector::new().timeout(PATIENCE).spawn::<Bytes>(&mut command)?;
    Ok((Helper::of(child), channel))
}
