//! Chains of proxies: Kamailio before and behind our nodes, a strict router, and a trunk with a hundred calls at once.
//! The callee's scenario counts the hops: each request of a dialog must pass all three proxies, whichever side sends it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kamailio::{Kamailio, PASSWORD};
use crate::lab::{ADDRESS, Lab, Network, dialtone, lab, system};
use crate::phone::{Phone, Setup};
use crate::process::Process;
use crate::serve::{DOMAIN, PORT, Server, User, tcp};
use crate::sipp::{listening, sipp_to};

const PATIENCE: Duration = Duration::from_secs(30);
/// Calls of one run of a chain.
const CALLS: u32 = 20;
/// Calls of the trunk.
const TRUNK_CALLS: u32 = 100;
/// The port of the callee.
const CALLEE: u16 = 5160;
/// That of the caller.
const CALLER: u16 = 5150;

/// A node of ours that is no registrar.
pub(crate) struct Node {
    process: Process,
    data: std::path::PathBuf,
    address: SocketAddr,
}

impl Node {
    /// Sends all requests for the domain on to `next`.
    fn start(lab: &Lab, port: u16, mode: &str, next: SocketAddr) -> Node {
        Node::start_on(lab, &[&format!("udp:{ADDRESS}:{port}")], port, mode, next)
    }

    /// The same with these listeners.
    pub(crate) fn start_on(lab: &Lab, listen: &[&str], port: u16, mode: &str, next: SocketAddr) -> Node {
        let settings = lab.path(&format!("node-{port}.toml"));
        let text =
            format!("[[domain]]\nname = \"{DOMAIN}\"\nmode = \"{mode}\"\nnext_hop = [\"sip:{next}\"]\n");
        std::fs::write(&settings, text).expect("a file of the lab can be written");
        let data = lab.path(&format!("data-{port}"));
        let mut command = Command::new(dialtone());
        command.arg("serve").arg("--json").arg("--config").arg(settings).arg("--data").arg(&data);
        command.args(listen.iter().flat_map(|listen| ["--listen", *listen]));
        let mut process = Process::start(&mut command);
        process.wait_for("\"ready\"", PATIENCE);
        Node { process, data, address: at(port) }
    }

    /// The answer of a command that speaks with it.
    fn ask(&self, command: &str) -> Value {
        let mut ask = Command::new(dialtone());
        let text = system(ask.arg(command).arg("--json").arg("--data").arg(&self.data));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in: {text}"))
    }

    pub(crate) fn number(&self, group: &str, name: &str) -> u64 {
        let status = self.ask("status");
        let number =
            if group == "tables" { &status["tables"][name] } else { &status["counters"][group][name] };
        number.as_u64().unwrap_or_else(|| panic!("no {group}.{name} in {status}"))
    }

    /// What it has left: nothing but what a transaction keeps for half a minute, and that nothing without state.
    fn stop(mut self, mode: &str, calls: u64) {
        // INVITE, ACK and BYE of each call; more where something was sent again.
        let forwarded = self.number("engine", "forwarded");
        assert!(forwarded >= 3 * calls, "{forwarded} requests of {calls} calls");
        assert_eq!(self.number("tables", "calls_talking"), 0);
        if mode == "stateless" {
            let status = self.ask("status");
            let tables = status["tables"].as_object().expect("tables");
            // Connections are no state of calls.
            let left = tables.iter().filter(|(name, number)| !name.contains("connection") && **number != 0);
            assert_eq!(left.count(), 0, "{tables:?}");
        }
        let recorded = self.ask("calls")["ended"].as_array().map_or(0, Vec::len);
        assert_eq!(recorded, if mode == "call" { usize::try_from(calls).expect("few").min(50) } else { 0 });
        assert!(self.process.terminate(PATIENCE).success(), "{}", self.process.output());
    }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::new(ADDRESS.parse().expect("an address"), port)
}

/// SIPp with a scenario of the folder beside this file.
fn sipp(lab: &Lab, to: SocketAddr, scenario: &str, port: u16, calls: u32) -> Command {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("interop/sipp/{scenario}.xml"));
    assert!(file.is_file(), "there is no {}", file.display());
    let mut command = Command::new("sipp");
    command.arg(to.to_string()).arg("-sf").arg(file).args(["-i", ADDRESS, "-p", &port.to_string()]);
    command.args(["-key", "domain", DOMAIN, "-key", "caller", "alice", "-s", "bob", "-t", "u1"]);
    command.args(["-m", &calls.to_string(), "-l", "200", "-r", "50", "-timeout", "60s", "-timeout_error"]);
    command.args(["-nostdin", "-trace_err", "-error_file"]).arg(lab.path(&format!("{scenario}.log")));
    command
}

/// Calls through `first`; each SIPp ends with 0 only if each of its calls went as its scenario says.
fn calls(lab: &Lab, first: SocketAddr, [caller, callee]: [&str; 2], count: u32) {
    let mut answering = listening(&mut sipp(lab, at(CALLER), callee, CALLEE, count));
    let text = system(&mut sipp(lab, first, caller, CALLER, count));
    let status = answering.finish(PATIENCE);
    assert!(status.success(), "the callee ended with {status}\n{}\n{text}", answering.output());
}

/// Both sides hang up once.
const SIDES: [[&str; 2]; 2] =
    [["call_open", "chain_answer"], ["chain_call_until_bye", "chain_answer_and_end"]];

#[test]
fn calls_pass_kamailio_our_stateless_node_and_kamailio() {
    lab(|lab| between_two_kamailios(lab, "stateless"));
}

#[test]
fn calls_pass_kamailio_our_stateful_node_and_kamailio() {
    lab(|lab| between_two_kamailios(lab, "transaction"));
}

#[test]
fn calls_pass_kamailio_our_call_stateful_node_and_kamailio() {
    lab(|lab| between_two_kamailios(lab, "call"));
}

fn between_two_kamailios(lab: &Lab, mode: &str) {
    let behind = Kamailio::edge(lab, at(5080), at(CALLEE));
    let node = Node::start(lab, 5060, mode, behind.address);
    let before = Kamailio::edge(lab, at(5070), node.address);
    for side in SIDES {
        calls(lab, before.address, side, CALLS);
    }
    node.stop(mode, u64::from(2 * CALLS));
}

#[test]
fn calls_pass_our_stateless_node_kamailio_and_our_stateless_node() {
    lab(|lab| around_kamailio(lab, ["stateless", "stateless"]));
}

#[test]
fn calls_pass_our_stateful_node_kamailio_and_another_of_ours() {
    lab(|lab| around_kamailio(lab, ["call", "transaction"]));
}

fn around_kamailio(lab: &Lab, modes: [&str; 2]) {
    let behind = Node::start(lab, 5080, modes[1], at(CALLEE));
    let between = Kamailio::edge(lab, at(5070), behind.address);
    let before = Node::start(lab, 5060, modes[0], between.address);
    for side in SIDES {
        calls(lab, before.address, side, CALLS);
    }
    before.stop(modes[0], u64::from(2 * CALLS));
    behind.stop(modes[1], u64::from(2 * CALLS));
}

/// RFC 3261 §16.4 and §16.6 step 6: the strict router finds its own URI in the request line and the phone's last in the
/// Route; what it sends has our Record-Route in the request line.
#[test]
fn a_strict_router_behind_us_gets_and_sends_what_it_understands() {
    lab(|lab| {
        for (port, mode) in [(5060, "stateless"), (5062, "call")] {
            let node = Node::start(lab, port, mode, at(CALLEE));
            calls(lab, node.address, ["call_open", "strict_router"], CALLS);
            calls(lab, node.address, ["call_until_bye", "strict_router_ends"], CALLS);
            node.stop(mode, u64::from(2 * CALLS));
        }
    });
}

#[test]
fn a_hundred_calls_at_once_pass_over_one_socket_on_each_side() {
    lab(|lab| {
        for (port, mode) in [(5060, "call"), (5062, "stateless")] {
            let node = Node::start(lab, port, mode, at(CALLEE));
            let mut answering = listening(&mut sipp(lab, at(CALLER), "answer", CALLEE, TRUNK_CALLS));
            let mut calling = Process::start(&mut sipp(lab, node.address, "trunk_call", CALLER, TRUNK_CALLS));
            if mode == "call" {
                // All of them are up at the same time, and listed.
                let end = Instant::now() + PATIENCE;
                while node.number("tables", "calls_talking") < u64::from(TRUNK_CALLS) {
                    assert!(Instant::now() < end, "{} calls", node.number("tables", "calls_talking"));
                    std::thread::sleep(Duration::from_millis(100));
                }
                let calls = node.ask("calls");
                let now = calls["now"].as_array().expect("a list");
                assert_eq!(now.len(), TRUNK_CALLS as usize);
                assert!(
                    now.iter().all(|call| call["state"] == "talking" && call["to"] == "sip:bob@sip.test")
                );
            }
            for (side, process) in [("caller", &mut calling), ("callee", &mut answering)] {
                let status = process.finish(PATIENCE);
                assert!(status.success(), "the {side} ended with {status}\n{}", process.output());
            }
            if mode == "call" {
                let calls = node.ask("calls");
                assert!(calls["now"].as_array().is_some_and(Vec::is_empty), "{calls}");
                let ended = calls["ended"].as_array().expect("a list");
                let whole = |call: &Value| call["end"] == "caller" && call["talked_s"].as_u64() >= Some(6);
                assert!(ended.len() == 50 && ended.iter().all(whole), "{calls}");
            }
            node.stop(mode, u64::from(TRUNK_CALLS));
        }
    });
}

/// Kamailio has the users; our edge has put itself into the Path of their registrations, and keeps nothing.
#[test]
fn kamailio_calls_the_phones_behind_our_stateless_edge_by_their_path() {
    lab(|lab| {
        let kamailio = Kamailio::registrar(lab, at(5080), DOMAIN);
        let edge = Node::start(lab, 5070, "stateless", kamailio.address);
        let user = |name: &str| User { name: name.to_owned(), password: PASSWORD.to_owned() };
        let (alice, bob) = (user("alice"), user("bob"));
        system(sipp_to(lab, edge.address, "register_path", &bob, CALLEE).args(["-m", "1"]));
        let count = CALLS.to_string();
        let mut bob = sipp_to(lab, edge.address, "answer_behind_edge", &bob, CALLEE);
        let mut bob = listening(bob.args(["-m", &count]));
        let mut call = sipp_to(lab, edge.address, "call", &alice, CALLER);
        let text = system(call.args(["-s", "bob", "-m", &count, "-r", "10"]));
        let status = bob.finish(PATIENCE);
        assert!(status.success(), "the callee ended with {status}\n{}\n{text}", bob.output());
        // Each INVITE, ACK and BYE passes it twice: on its way to Kamailio, and from there to the phone.
        edge.stop("stateless", u64::from(2 * CALLS));
    });
}

/// The phones know the edge alone, and each has one connection to it: all that is for them has to come over that.
#[test]
fn baresips_on_tcp_call_each_other_through_our_stateless_edge_and_either_hangs_up() {
    lab(|lab| {
        let file = lab.path("registrar.toml");
        std::fs::write(&file, "[registrar]\npath_unasked = true\n")
            .expect("a file of the lab can be written");
        // The Path of a phone on TCP asks the registrar for TCP.
        let (udp, stream) = (format!("udp:{ADDRESS}:5080"), format!("tcp:{ADDRESS}:5080"));
        let file = file.display().to_string();
        let mut server = Server::start_bare(lab, &["--listen", &udp, "--listen", &stream, "--config", &file]);
        let edge = Node::start_on(
            lab,
            &[&format!("udp:{ADDRESS}:{PORT}"), &tcp()],
            PORT,
            "stateless",
            server.address,
        );
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        let home = Network::home();
        let phone = |number, user, hertz| {
            let (network, transport, codec) = (&home, "tcp", "PCMU");
            Phone::register(lab, &Setup { number, network, user, hertz, answers: true, transport, codec })
        };
        let (mut alice, mut bob) = (phone(1, &alice, 440.0), phone(2, &bob, 1000.0));
        for caller_ends in [true, false] {
            for alice_calls in [true, false] {
                let (caller, callee, to) = match alice_calls {
                    true => (&mut alice, &mut bob, "sip:bob@sip.test"),
                    false => (&mut bob, &mut alice, "sip:alice@sip.test"),
                };
                caller.call(to);
                callee.wait_until_established();
                caller.talk(Duration::from_secs(1));
                let (first, second) = if caller_ends { (caller, callee) } else { (callee, caller) };
                first.hang_up();
                second.wait_for_the_end();
            }
        }
        edge.stop("stateless", 4);
        server.stop();
    });
}
