//! `dialtone serve` as a black box: what it prints, and the users it made.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{ADDRESS, Lab, dialtone};
use crate::process::Process;

/// The domain of all tests.
pub(crate) const DOMAIN: &str = "sip.test";

/// Where the server of a test listens unless the test says otherwise.
pub(crate) const PORT: u16 = 5060;

/// How long it may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// `--listen` for TCP, on the address and port of UDP.
pub(crate) fn tcp() -> String {
    format!("tcp:{ADDRESS}:{PORT}")
}

/// A program on whose clock `speed` seconds pass in one.
pub(crate) fn at_speed(program: impl AsRef<OsStr>, speed: u32) -> Command {
    let mut command = Command::new(program);
    command
        .env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1")
        .env("FAKETIME", format!("+0 x{speed}"));
    command
}

/// A running server.
pub(crate) struct Server {
    pub(crate) process: Process,
    /// Its first line.
    pub(crate) ready: Value,
    /// The address that clients talk to.
    pub(crate) address: SocketAddr,
}

/// A user of the domain, with the secret that was shown at the first start.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl Server {
    /// Starts it on an empty folder, listening on the address of the lab.
    pub(crate) fn start(lab: &Lab) -> Server {
        Server::start_with(lab, &[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(lab: &Lab, arguments: &[&str]) -> Server {
        let listen = format!("udp:{ADDRESS}:{PORT}");
        let mut all = vec!["--listen", listen.as_str()];
        all.extend_from_slice(arguments);
        Server::start_bare(lab, &all)
    }

    /// Starts it with these arguments and nothing else but the folder, the domain and `--json`.
    pub(crate) fn start_bare(lab: &Lab, arguments: &[&str]) -> Server {
        let mut command = Command::new(dialtone());
        command.arg("serve").arg("--data").arg(lab.path("data")).args(["--domain", DOMAIN, "--json"]);
        command.args(arguments);
        let mut process = Process::start(&mut command);
        let line = process.wait_for("\"ready\"", PATIENCE);
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in: {line}"));
        assert_eq!(ready["schema"], 1, "{line}");
        let first = ready["listen"][0].as_str().unwrap_or_default();
        let address = first.strip_prefix("udp:").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("`listen` starts with no udp:ADDRESS:PORT in {line}"));
        Server { process, ready, address }
    }

    /// The secret of a user, from the first start's line.
    pub(crate) fn user(&self, name: &str) -> User {
        let users = self.ready["users"].as_array().unwrap_or_else(|| panic!("no users in {}", self.ready));
        let user = users.iter().find(|user| user["name"] == name);
        let password = user.and_then(|user| user["password"].as_str());
        let password = password.unwrap_or_else(|| panic!("no password of {name} in {}", self.ready));
        User { name: name.to_owned(), password: password.to_owned() }
    }

    /// Stops it as a service manager does; returns the counters of its last line.
    pub(crate) fn stop(&mut self) -> Value {
        let status = self.process.terminate(PATIENCE);
        assert!(status.success(), "serve ended with {status}\n{}", self.process.output());
        let last = self.process.out().last().cloned().unwrap_or_default();
        let stopped: Value = serde_json::from_str(&last).unwrap_or_else(|error| panic!("{error} in: {last}"));
        assert_eq!(stopped["event"], "stopped", "{last}");
        let counters = stopped["counters"].clone();
        assert!(counters.as_object().is_some_and(|counters| !counters.is_empty()), "no counters in {last}");
        counters
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes()
    }
}
