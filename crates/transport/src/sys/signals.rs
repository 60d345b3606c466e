//! Process signals as something that one thread waits for.
#![allow(unsafe_code)]

use std::io;
use std::time::Duration;

/// What the process is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// SIGTERM or SIGINT: end.
    Stop,
    /// SIGHUP: read the settings again.
    Reload,
}

/// The signals SIGTERM, SIGINT and SIGHUP, which do nothing by themselves while this is held.
#[derive(Debug)]
pub struct Signals {
    set: libc::sigset_t,
}

impl Signals {
    /// Blocks the signals for this thread and for all threads that it starts from now on.
    ///
    /// # Errors
    /// Those of the system.
    pub fn block() -> io::Result<Signals> {
        // SAFETY: sigset_t is plain numbers, and sigemptyset makes it valid before use.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is on this stack; the signal numbers are valid.
        let code = unsafe {
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGTERM);
            libc::sigaddset(&mut set, libc::SIGINT);
            libc::sigaddset(&mut set, libc::SIGHUP);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut())
        };
        if code == 0 { Ok(Signals { set }) } else { Err(io::Error::from_raw_os_error(code)) }
    }

    /// Waits for the next signal, but no longer than this; `None` when none came.
    pub fn wait_for(&self, longest: Duration) -> Option<Signal> {
        let time = libc::timespec {
            tv_sec: longest.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: longest.subsec_nanos().into(),
        };
        // SAFETY: the set is valid since `block`, the time is on this stack, and nothing more is asked of the signal.
        match unsafe { libc::sigtimedwait(&self.set, std::ptr::null_mut(), &time) } {
            libc::SIGTERM | libc::SIGINT => Some(Signal::Stop),
            libc::SIGHUP => Some(Signal::Reload),
            // EAGAIN: time is up. EINTR: a signal of others; the caller comes back.
            _ => None,
        }
    }

    /// Waits for the next signal.
    pub fn wait(&self) -> Signal {
        loop {
            let mut number = 0;
            // SAFETY: the set is valid since `block`, and the number is on this stack.
            let code = unsafe { libc::sigwait(&self.set, &mut number) };
            match number {
                libc::SIGTERM | libc::SIGINT if code == 0 => return Signal::Stop,
                libc::SIGHUP if code == 0 => return Signal::Reload,
                _ => {}
            }
        }
    }
}
