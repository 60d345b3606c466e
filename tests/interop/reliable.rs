//! Reliable provisional responses (RFC 3262) with a SIPp that loses, repeats and leaves out: as callee and as caller, of our
//! phone alone and through our B2BUA.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::{ADDRESS, Lab, dialtone, lab, wait_until_bound};
use crate::process::Process;
use crate::scripts::{finish, words};
use crate::serve::{DOMAIN, PORT, Server};

const PATIENCE: Duration = Duration::from_secs(20);
/// The ports of SIPp as callee and as caller.
pub(crate) const CALLEE: u16 = 5160;
pub(crate) const CALLER: u16 = 5150;
/// With this SIPp sees again what comes again.
const SEES_AGAIN: &str = "-nr";
/// What passed the socket of SIPp.
pub(crate) const MESSAGES: &str = "sipp.messages";
/// The lines of a scenario that are too many where nobody stands between.
const OF_BETWEEN: [&str; 2] = ["Via:[$via2]\n", "Record-Route:[$route]\n"];

pub(crate) fn at(port: u16) -> SocketAddr {
    SocketAddr::new(ADDRESS.parse().expect("an address"), port)
}

/// Our B2BUA, which sends all calls on to `next`.
pub(crate) fn bridge(lab: &Lab, next: SocketAddr) -> Server {
    let path = lab.path("dialtone.toml");
    let text = format!("[[domain]]\nname = \"{DOMAIN}\"\nmode = \"b2bua\"\nnext_hop = [\"sip:{next}\"]\n");
    std::fs::write(&path, text).expect("a file of the lab can be written");
    Server::start_with(lab, &["--config", &path.to_string_lossy()])
}

/// SIPp with one call of bob.
pub(crate) fn sipp(lab: &Lab, to: SocketAddr, scenario: &str, port: u16, is_direct: bool) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/sipp");
    let mut text = std::fs::read_to_string(folder.join(format!("{scenario}.xml"))).expect("it is there");
    if is_direct {
        text = OF_BETWEEN.into_iter().fold(text, |text, line| text.replace(line, ""));
    }
    let path = lab.path(&format!("{scenario}.xml"));
    std::fs::write(&path, text).expect("a file of the lab can be written");
    let mut command = Command::new("sipp");
    command.arg(to.to_string()).arg("-sf").arg(path).args(["-i", ADDRESS, "-p", &port.to_string()]);
    command.args(["-key", "domain", DOMAIN, "-s", "bob", "-m", "1", "-timeout", "20s"]);
    command.args(["-timeout_error", "-nostdin", "-trace_err", "-error_file"]);
    command.arg(lab.path(&format!("{scenario}.log")));
    command.args(["-trace_msg", "-message_file"]).arg(lab.path(MESSAGES));
    command
}

/// Our phone of this user, which registers nowhere.
pub(crate) fn phone(lab: &Lab, user: &str, proxy: SocketAddr, more: &[&str], lines: &str) -> Process {
    let path = lab.path(&format!("{user}.script"));
    std::fs::write(&path, lines).expect("a file of the lab");
    let mut command = Command::new(dialtone());
    command.args(["phone", "--user", user, "--domain", DOMAIN, "--no-register", "--proxy"]);
    command.arg(proxy.to_string()).args(more).arg("--json").arg("--script").arg(&path);
    Process::start(&mut command)
}

/// The address of a phone that has just begun.
pub(crate) fn where_it_listens(phone: &mut Process) -> SocketAddr {
    let ready = phone.wait_for("\"ready\"", PATIENCE);
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("an object");
    let address = ready["address"].as_str().and_then(|address| address.parse().ok());
    address.unwrap_or_else(|| panic!("no address in {ready}"))
}

#[test]
fn our_phone_acknowledges_each_reliable_response_once_whatever_is_lost_comes_twice_or_is_missing() {
    lab(|lab| unreliable_callee(lab, at(CALLEE), true));
}

#[test]
fn our_b2bua_acknowledges_each_reliable_response_once_whatever_is_lost_comes_twice_or_is_missing() {
    lab(|lab| {
        let mut server = bridge(lab, at(CALLEE));
        unreliable_callee(lab, server.address, false);
        server.stop();
    });
}

/// Alice's phone calls the SIPp, by `proxy`.
fn unreliable_callee(lab: &Lab, proxy: SocketAddr, is_direct: bool) {
    let mut callee =
        Process::start(sipp(lab, at(PORT), "reliable_answer", CALLEE, is_direct).arg(SEES_AGAIN));
    wait_until_bound(&[CALLEE]);
    let lines =
        "call bob\nwait for ringing\nwait for early-media\nwait for answered\nhangup\nwait for ended\n";
    let alice = phone(lab, "alice", proxy, &[], lines);
    let status = callee.finish(PATIENCE);
    assert!(status.success(), "SIPp ended with {status}\n{}", callee.output());
    assert_eq!(words(&finish(alice, 0)), ["calling", "ringing", "early-media", "answered", "ended"]);
}

#[test]
fn our_phone_repeats_a_reliable_response_until_its_prack_comes_and_then_goes_on() {
    lab(|lab| late_caller(lab, |phone, call| call(phone)));
}

#[test]
fn our_b2bua_repeats_a_reliable_response_until_its_prack_comes_and_then_goes_on() {
    lab(|lab| {
        late_caller(lab, |phone, call| {
            let mut server = bridge(lab, phone);
            call(server.address);
            server.stop();
        });
    });
}

/// SIPp calls bob's phone; `between` is told where that is, and chooses whom SIPp talks to.
fn late_caller(lab: &Lab, between: impl FnOnce(SocketAddr, &mut dyn FnMut(SocketAddr))) {
    let mut command = Command::new(dialtone());
    command.args(["phone", "--user", "bob", "--domain", DOMAIN, "--no-register", "--proxy"]);
    let mut bob =
        Process::start_with_input(command.arg(at(PORT).to_string()).args(["--json", "--script", "-"]));
    between(where_it_listens(&mut bob), &mut |to| {
        let mut caller = Process::start(sipp(lab, to, "late_prack_call", CALLER, true).arg(SEES_AGAIN));
        bob.say("wait for incoming\nprogress");
        // Whether it answers is asked for once the last of its responses is acknowledged.
        let end = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(lab.path(MESSAGES)).is_ok_and(|text| text.contains("CSeq: 4 PRACK")) {
            caller.absorb();
            assert!(Instant::now() < end, "{}", caller.output());
            std::thread::sleep(Duration::from_millis(20));
        }
        bob.say("answer\nwait for answered\nwait for ended");
        bob.say_no_more();
        // It ends with 0 only if each message came as its scenario says.
        let status = caller.finish(PATIENCE);
        assert!(status.success(), "SIPp ended with {status}\n{}", caller.output());
    });
    assert_eq!(words(&finish(bob, 0)), ["incoming", "answered", "ended"]);
}
