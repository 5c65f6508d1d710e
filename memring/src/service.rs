//! Telling a service manager how this process is doing: systemd's sd_notify(3), by the crate of that name.
//!
//! Without a manager that wants to know (`NOTIFY_SOCKET`), each call does nothing and succeeds. How its sockets are taken over:
//! [`ListenerBuilder::activated`](crate::ListenerBuilder::activated).
//!
//! ```
//! // After the last listener stands:
//! memring::service::ready()?;
//! # Ok::<(), std::io::Error>(())
//! ```

use std::io;

use sd_notify::{NotifyState, notify};

/// It serves: what waits for this unit may start.
///
/// # Errors
///
/// What the kernel says of the manager's socket.
pub fn ready() -> io::Result<()> {
    notify(&[NotifyState::Ready])
}

/// It ends, in order.
///
/// # Errors
///
/// As [`ready`].
pub fn stopping() -> io::Result<()> {
    notify(&[NotifyState::Stopping])
}

/// A line for `systemctl status`.
///
/// # Errors
///
/// As [`ready`].
pub fn status(line: &str) -> io::Result<()> {
    notify(&[NotifyState::Status(line)])
}

/// It is alive: for units with `WatchdogSec=`, more often than that.
///
/// # Errors
///
/// As [`ready`].
pub fn watchdog() -> io::Result<()> {
    notify(&[NotifyState::Watchdog])
}
