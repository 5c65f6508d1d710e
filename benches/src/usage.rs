//! What the kernel says that this process has used: all its threads, those that have ended too.

#![allow(unsafe_code)]

use std::time::Duration;

/// What was used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Processor time.
    pub(crate) cpu: Duration,
    /// Context switches, wanted or not.
    pub(crate) switches: u64,
}

impl Usage {
    pub(crate) fn now() -> Self {
        // SAFETY: a `rusage` is plain numbers.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: `usage` is a live local. The call fails for other addresses and other arguments only.
        unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
        let time = |time: libc::timeval| {
            Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
        };
        Self {
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            switches: (usage.ru_nvcsw + usage.ru_nivcsw) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_a_switch_and_spinning_is_time() {
        let before = Usage::now();
        std::thread::sleep(Duration::from_millis(1));
        while Usage::now().cpu < before.cpu + Duration::from_millis(1) {}
        assert!(Usage::now().switches > before.switches);
    }
}
