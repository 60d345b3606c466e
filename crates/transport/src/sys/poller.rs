//! Waiting for many sockets at once, and being woken by another thread.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Events that one call reports at most; the others come with the next one.
const EVENTS_MAX: usize = 64;
/// The token of the waker, which no caller uses.
const WAKER: u64 = u64::MAX;

/// What a socket is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Something can be received.
    pub read: bool,
    /// There is room for something to be sent; told only to those who asked for it.
    pub write: bool,
    /// There is an error to be taken.
    pub error: bool,
}

/// Waits for any of many sockets (epoll, level-triggered).
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
}

/// Wakes the thread that waits in a [`Poller`], from any other thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Poller {
    /// A poller without sockets.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn new() -> io::Result<Poller> {
        // SAFETY: the call takes no memory.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the call takes no memory.
        let wake = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        let poller = Poller { epoll, wake: Arc::new(wake) };
        poller.control(libc::EPOLL_CTL_ADD, poller.wake.as_raw_fd(), WAKER, false)?;
        Ok(poller)
    }

    /// Whoever holds it may wake the waiting thread.
    pub fn waker(&self) -> Waker {
        Waker(self.wake.clone())
    }

    /// Adds a socket under a token of the caller's choice (not `u64::MAX`). It is gone from the poller when it is
    /// closed.
    ///
    /// # Errors
    /// When the socket is in the poller already, or the system has no memory for it.
    pub fn add(&self, socket: &impl AsFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket.as_fd().as_raw_fd(), token, false)
    }

    /// As [`Poller::add`], and asks for room to send too.
    ///
    /// # Errors
    /// As [`Poller::add`].
    pub fn add_for_writing(&self, socket: &impl AsFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket.as_fd().as_raw_fd(), token, true)
    }

    /// Asks for room to send, or no longer: as long as there is room, each wait ends at once.
    ///
    /// # Errors
    /// When the socket is not in the poller.
    pub fn ask_for_room(&self, socket: &impl AsFd, token: u64, asked: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket.as_fd().as_raw_fd(), token, asked)
    }

    fn control(
        &self,
        operation: libc::c_int,
        descriptor: libc::c_int,
        token: u64,
        write: bool,
    ) -> io::Result<()> {
        let events = libc::EPOLLIN | if write { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: events as u32, u64: token };
        // SAFETY: the event is on this stack, and both descriptors are open: their owners are borrowed.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, descriptor, &mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until a socket is ready, somebody calls [`Waker::wake`], or `timeout` is over (`None`: for ever). Each
    /// ready socket is given to `ready`. A signal ends the wait early, like a wake-up.
    ///
    /// # Errors
    /// Only when the descriptor of the poller is broken.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut ready: impl FnMut(u64, Readiness),
    ) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
        // In whole milliseconds, rounded up: a deadline is over when the wait for it ends.
        let millis = timeout.map_or(-1, |timeout| {
            let nanos = timeout.as_nanos().min(u128::from(u32::MAX) * 1000);
            i32::try_from(nanos.div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        // SAFETY: the events are on this stack, and as many as is said.
        let count = unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), EVENTS_MAX as libc::c_int, millis)
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        for event in &events[..count as usize] {
            let (bits, token) = (event.events, event.u64);
            if token == WAKER {
                self.rest();
                continue;
            }
            let has = |flags: libc::c_int| bits & flags as u32 != 0;
            ready(
                token,
                Readiness {
                    read: has(libc::EPOLLIN),
                    write: has(libc::EPOLLOUT),
                    error: has(libc::EPOLLERR | libc::EPOLLHUP),
                },
            );
        }
        Ok(())
    }

    /// Forgets the wake-ups so far.
    fn rest(&self) {
        let mut count = 0_u64;
        // SAFETY: an eventfd gives eight bytes, for which there is room. Without a wake-up it fails, which is as good.
        unsafe {
            libc::read(self.wake.as_raw_fd(), std::ptr::from_mut(&mut count).cast(), size_of_val(&count))
        };
    }
}

impl Waker {
    /// Ends the present or the next wait of the poller.
    pub fn wake(&self) {
        let one = 1_u64;
        // SAFETY: an eventfd takes eight bytes. It fails only when its count is full, and then the poller wakes anyway.
        unsafe { libc::write(self.0.as_raw_fd(), std::ptr::from_ref(&one).cast(), size_of_val(&one)) };
    }
}

/// Takes possession of a descriptor that the system has just made and that nobody else owns.
fn owned(descriptor: libc::c_int) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, new, and given away by the only caller there is for it: the two calls in `new`.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_ends_the_next_wait_once() {
        let mut poller = Poller::new().expect("an epoll");
        let waker = poller.waker();
        waker.wake();
        waker.wake();
        poller.wait(None, |_, _| panic!("no socket is there")).expect("waiting");
        // Would end at once if the wake-up were still there; it ends by its time instead.
        poller.wait(Some(Duration::from_millis(1)), |_, _| panic!("no socket is there")).expect("waiting");
    }

    #[test]
    fn another_thread_wakes_a_wait_without_end() {
        let mut poller = Poller::new().expect("an epoll");
        let waker = poller.waker();
        let thread = std::thread::spawn(move || waker.wake());
        poller.wait(None, |_, _| {}).expect("waiting");
        thread.join().expect("the thread ends");
    }
}
