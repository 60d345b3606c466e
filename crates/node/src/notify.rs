//! Word to the service manager (sd_notify(3)): one datagram a word, to the socket that the environment names. Without
//! such a socket nobody asked, and nothing is said.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// What `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` ask for.
    ///
    /// # Errors
    /// When the socket is named and can't be used.
    pub fn from_environment() -> io::Result<Notify> {
        let pid = std::env::var("WATCHDOG_PID").ok();
        let is_for_us = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let period = std::env::var("WATCHDOG_USEC").ok().filter(|_| is_for_us);
        let period = period.and_then(|period| period.parse().ok()).map(Duration::from_micros);
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(socket) => Notify::new(&socket, period),
            None => Ok(Notify::default()),
        }
    }

    /// The socket by its path, or by its abstract name after an `@`; the watchdog wants word within the period.
    ///
    /// # Errors
    /// When the name is none, or the system has no socket left.
    pub fn new(socket: &OsStr, watchdog: Option<Duration>) -> io::Result<Notify> {
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(socket)?,
        };
        let own = UnixDatagram::unbound()?;
        // A manager that does not read must not stop us.
        own.set_nonblocking(true)?;
        Ok(Notify { to: Some((own, address)), watchdog: watchdog.filter(|period| !period.is_zero()) })
    }

    /// How often [`Notify::alive`] is to be said: twice in the period that the manager allows; `None` when it does not
    /// ask.
    pub fn alive_every(&self) -> Option<Duration> {
        self.watchdog.map(|period| period / 2)
    }

    /// The server takes calls; the status is for people.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")));
    }

    /// The settings are being read again; [`Notify::ready`] says that it is done.
    pub fn reloading(&self) {
        self.say("RELOADING=1");
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=draining");
    }

    /// It lives.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, word: &str) {
        if let Some((own, to)) = &self.to
            && let Err(error) = own.send_to_addr(word.as_bytes(), to)
        {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut room = [0; 200];
        let length = socket.recv(&mut room).expect("a word");
        String::from_utf8_lossy(&room[..length]).into_owned()
    }

    #[test]
    fn each_word_is_one_datagram() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let notify = Notify::new(path.as_os_str(), Some(Duration::from_secs(10))).expect("a way");
        assert_eq!(notify.alive_every(), Some(Duration::from_secs(5)));
        notify.ready("two\nlines");
        notify.reloading();
        notify.stopping();
        notify.alive();
        assert_eq!(received(&manager), "READY=1\nSTATUS=two lines");
        assert_eq!(received(&manager), "RELOADING=1");
        assert_eq!(received(&manager), "STOPPING=1\nSTATUS=draining");
        assert_eq!(received(&manager), "WATCHDOG=1");
    }

    #[test]
    fn an_abstract_socket_is_reached_too() {
        let name = format!("dialtone-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let manager = UnixDatagram::bind_addr(&address).expect("a socket");
        Notify::new(OsStr::new(&format!("@{name}")), None).expect("a way").reloading();
        assert_eq!(received(&manager), "RELOADING=1");
    }

    #[test]
    fn nobody_is_told_when_nobody_asked_or_nobody_is_there() {
        let nobody = Notify::default();
        nobody.ready("");
        assert_eq!(nobody.alive_every(), None);
        let folder = tempfile::tempdir().expect("a folder");
        let gone = Notify::new(folder.path().join("gone").as_os_str(), Some(Duration::ZERO)).expect("a name");
        gone.ready("");
        assert_eq!(gone.alive_every(), None);
    }
}
