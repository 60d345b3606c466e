//! SIPp as caller and callee through our proxy.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::lab::{ADDRESS, Lab, lab, system, wait_until_bound, wait_until_listening};
use crate::process::Process;
use crate::serve::{DOMAIN, Server, User, tcp};

const PATIENCE: Duration = Duration::from_secs(30);

/// Calls of one run, and how many are begun a second.
const CALLS: &str = "50";
const CALLS_PER_SECOND: &str = "25";

#[test]
fn fifty_challenged_calls_pass_through_the_proxy() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        calls_from_alice_to_bob(lab, &server, ["register", "call"], &alice, &bob);
        server.stop();
    });
}

#[test]
fn an_open_server_lets_calls_through_without_authentication() {
    lab(|lab| {
        let mut server = Server::start_with(lab, &["--open"]);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        calls_from_alice_to_bob(lab, &server, ["register_open", "call_open"], &alice, &bob);
        server.stop();
    });
}

#[test]
fn a_server_that_is_not_open_answers_no_call_without_authentication() {
    lab(|lab| {
        let server = Server::start(lab);
        let alice = server.user("alice");
        let output = sipp(lab, &server, "call_open", &alice, 5150).args(["-s", "echo", "-m", "1"]).output();
        let output = output.expect("sipp can be run");
        assert_eq!(output.status.code(), Some(1), "SIPp says 1 for a call that failed: {output:?}");
    });
}

#[test]
fn sipp_calls_the_echo_robot() {
    lab(|lab| {
        let server = Server::start(lab);
        let alice = server.user("alice");
        system(sipp(lab, &server, "call", &alice, 5150).args(["-s", "echo", "-m", "5"]));
    });
}

/// RFC 4028 §10: 30 seconds before its session of 90 ends.
#[test]
fn the_robot_takes_updates_and_hangs_up_on_a_refresher_that_has_died() {
    lab(|lab| {
        let mut server = Server::start_with(lab, &["--open"]);
        let alice = server.user("alice");
        let mut call = sipp(lab, &server, "update_and_die", &alice, 5150);
        system(call.args(["-s", "echo", "-m", "1", "-timeout", "80s"]));
        server.stop();
    });
}

#[test]
fn fifty_challenged_calls_pass_over_tcp() {
    lab(|lab| over(lab, ["t1", "t1"]));
}

#[test]
fn fifty_challenged_calls_on_a_tcp_connection_each_pass_to_udp() {
    lab(|lab| over(lab, ["tn", "u1"]));
}

#[test]
fn fifty_challenged_calls_pass_from_udp_to_tcp() {
    lab(|lab| over(lab, ["u1", "t1"]));
}

/// Bob registers on another connection than the one that he answers on: SIPp ends between the two, so that calls must
/// go to his contact.
fn over(lab: &Lab, modes: [&str; 2]) {
    let mut server = Server::start_with(lab, &["--listen", &tcp()]);
    let (alice, bob) = (server.user("alice"), server.user("bob"));
    calls_over(lab, &server, modes, ["register", "call"], &alice, &bob);
    let counters = server.stop();
    assert_eq!(counters["streams"]["messages_unsent"], 0, "{counters}");
}

/// Bob registers and answers, alice calls; each SIPp ends with 0 only if each of its calls went as its scenario says.
fn calls_from_alice_to_bob(lab: &Lab, server: &Server, scenarios: [&str; 2], alice: &User, bob: &User) {
    calls_over(lab, server, ["u1", "u1"], scenarios, alice, bob);
}

/// The same with the transport modes of SIPp: `u1` is UDP, `t1` one TCP connection, `tn` one for each call.
fn calls_over(
    lab: &Lab,
    server: &Server,
    [caller, callee]: [&str; 2],
    [registration, call]: [&str; 2],
    alice: &User,
    bob: &User,
) {
    system(sipp(lab, server, registration, bob, 5160).args(["-m", "1", "-t", callee]));
    let mut answering = listening(sipp(lab, server, "answer", bob, 5160).args(["-m", CALLS, "-t", callee]));
    let mut calling = sipp(lab, server, call, alice, 5150);
    calling.args(["-t", caller, "-max_socket", "1000"]);
    let text = system(calling.args(["-s", "bob", "-m", CALLS, "-r", CALLS_PER_SECOND]));
    let status = answering.finish(PATIENCE);
    assert!(status.success(), "the callee ended with {status}\n{}\n{text}", answering.output());
}

/// SIPp with a scenario of the folder beside this file, on a port of its own.
pub(crate) fn sipp(lab: &Lab, server: &Server, scenario: &str, user: &User, port: u16) -> Command {
    sipp_to(lab, server.address, scenario, user, port)
}

/// The same with another server to talk to.
pub(crate) fn sipp_to(lab: &Lab, to: SocketAddr, scenario: &str, user: &User, port: u16) -> Command {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/sipp").join(format!("{scenario}.xml"));
    assert!(file.is_file(), "there is no {}", file.display());
    let (errors, port) = (lab.path(&format!("{scenario}.log")), port.to_string());
    let mut command = Command::new("sipp");
    command.arg(to.to_string()).arg("-sf").arg(file).args(["-i", ADDRESS, "-p", &port]);
    command.args(["-key", "domain", DOMAIN, "-key", "caller", &user.name]);
    command.args(["-au", &user.name, "-ap", &user.password, "-timeout", "30s", "-timeout_error"]);
    command.args(["-nostdin", "-trace_err", "-error_file"]).arg(errors);
    command
}

/// Starts SIPp as the one who is called, and waits until it listens: who called sooner would meet a port of nobody.
pub(crate) fn listening(command: &mut Command) -> Process {
    let arguments: Vec<String> =
        command.get_args().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let after = |name: &str| {
        let at = arguments.iter().rposition(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let port = after("-p").and_then(|port| port.parse().ok());
    let port: u16 = port.unwrap_or_else(|| panic!("no -p PORT in {command:?}"));
    let is_tcp = after("-t").is_some_and(|mode| mode.starts_with('t'));
    let process = Process::start(command);
    if is_tcp {
        wait_until_listening(port)
    } else {
        wait_until_bound(&[port])
    }
    process
}
