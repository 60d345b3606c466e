//! Registrations with Path, flows and GRUUs, by SIPp, Kamailio and baresip.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::kamailio::Kamailio;
use crate::lab::{ADDRESS, Lab, Network, dialtone, lab, system};
use crate::phone::{Phone, Setup};
use crate::process::Process;
use crate::serve::{DOMAIN, PORT, Server, tcp};
use crate::sipp::{listening, sipp, sipp_to};

const PATIENCE: Duration = Duration::from_secs(30);
const CALLS: &str = "10";
/// The device of the SIPp scenarios.
const INSTANCE: &str = "urn:uuid:00000000-0000-1000-8000-000A95A0E128";

/// A server that tells its registrations over HTTP.
fn server(lab: &Lab, more: &[&str]) -> Server {
    let file = lab.path("dialtone.toml");
    std::fs::write(&file, "[http]\nlisten = \"127.0.0.1:9090\"\n").expect("a file of the lab");
    let file = file.to_string_lossy().into_owned();
    Server::start_with(lab, &[&["--config", &file], more].concat())
}

/// All registrations, as HTTP tells them.
fn registrations() -> Vec<Value> {
    let mut command = Command::new("curl");
    let text = system(command.args(["-s", "--max-time", "10", "http://127.0.0.1:9090/registrations"]));
    let page: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    page["registrations"].as_array().expect("a list").clone()
}

#[test]
fn calls_come_back_through_the_kamailio_that_put_itself_into_the_path() {
    lab(|lab| {
        let mut server = server(lab, &[]);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        let edge = format!("{ADDRESS}:5070").parse().expect("an address");
        let edge = Kamailio::edge_with_path(lab, edge, server.address);
        system(sipp_to(lab, edge.address, "register_path", &bob, 5160).args(["-m", "1"]));
        let registered = registrations();
        assert_eq!(registered.len(), 1, "{registered:?}");
        let path = registered[0]["path"][0].as_str().unwrap_or_default();
        assert!(path.contains(&format!("{ADDRESS}:5070")), "{registered:?}");
        let mut answering = sipp_to(lab, edge.address, "answer_behind_edge", &bob, 5160);
        let mut answering = listening(answering.args(["-m", CALLS]));
        // The caller talks to our server, which sends each call to the phone by way of the edge.
        let text =
            system(sipp(lab, &server, "call", &alice, 5150).args(["-s", "bob", "-m", CALLS, "-r", "10"]));
        let status = answering.finish(PATIENCE);
        assert!(status.success(), "the callee ended with {status}\n{}\n{text}", answering.output());
        server.stop();
    });
}

#[test]
fn a_watcher_is_told_of_the_phone_that_registers() {
    lab(|lab| {
        let mut server = server(lab, &[]);
        let bob = server.user("bob");
        let mut watching = Process::start(sipp(lab, &server, "watch", &bob, 5170).args(["-m", "1"]));
        wait_until("the watcher has subscribed", || metric("dialtone_subscriptions") == 1);
        system(sipp(lab, &server, "register", &bob, 5160).args(["-m", "1"]));
        let status = watching.finish(PATIENCE);
        assert!(status.success(), "the watcher ended with {status}\n{}", watching.output());
        server.stop();
    });
}

#[test]
fn sipp_registers_a_flow_and_its_gruu_rings_it() {
    lab(|lab| {
        let mut server = server(lab, &[]);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        system(sipp(lab, &server, "register_flow", &bob, 5160).args(["-m", "1"]));
        let registered = registrations();
        let told = (&registered[0]["instance"], &registered[0]["reg_id"]);
        assert_eq!(told, (&Value::from(format!("<{INSTANCE}>")), &Value::from(1)), "{registered:?}");
        let call = |uri: &str| {
            let mut command = Command::new(dialtone());
            command.args(["call", uri, "--proxy", &format!("{ADDRESS}:{PORT}"), "--user", &alice.name]);
            command.args([
                "--password",
                &alice.password,
                "--domain",
                DOMAIN,
                "--no-media",
                "--duration",
                "1",
            ]);
            command.output().expect("the program under test can be run").status.code()
        };
        let mut answering = listening(sipp(lab, &server, "answer", &bob, 5160).args(["-m", "1"]));
        let device = format!("sip:bob@{DOMAIN};gr={INSTANCE}");
        assert_eq!(call(&device), Some(0));
        assert!(answering.finish(PATIENCE).success(), "{}", answering.output());
        // Another device of bob is not there, and an address that was never given leads nowhere.
        assert_eq!(call(&format!("sip:bob@{DOMAIN};gr=urn:uuid:other")), Some(14));
        assert_eq!(call(&format!("sip:tgruu.0123@{DOMAIN};gr")), Some(14));
        server.stop();
    });
}

#[test]
fn baresip_keeps_a_flow_with_us_and_is_called_over_it() {
    lab(|lab| {
        let mut server = server(lab, &["--listen", &tcp()]);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        let home = Network::home();
        let setup = |user, number, hertz, answers| Setup {
            number,
            network: &home,
            user,
            hertz,
            answers,
            transport: "tcp",
            codec: "PCMU",
        };
        let account = format!(
            "<sip:bob@{DOMAIN}>;auth_user=bob;auth_pass={};outbound=\"sip:{ADDRESS}:{PORT};transport=tcp\";\
             sipnat=outbound;regint=600;audio_codecs=PCMU;answermode=auto\n",
            bob.password
        );
        let mut called = Phone::register_as(lab, &setup(&bob, 2, 1000.0, true), &account);
        let registered = registrations();
        assert_eq!(registered.len(), 1, "{registered:?}");
        assert_eq!(registered[0]["reg_id"], 1, "{registered:?}");
        assert!(
            registered[0]["instance"].as_str().is_some_and(|text| text.starts_with("<urn:uuid:")),
            "{registered:?}"
        );
        let mut caller = Phone::register(lab, &setup(&alice, 1, 440.0, false));
        caller.call("sip:bob@sip.test");
        called.wait_until_established();
        caller.talk(Duration::from_secs(3));
        caller.hang_up();
        called.wait_for_the_end();
        assert!(caller.recording().find(1000.0).is_heard());
        assert!(called.recording().find(440.0).is_heard());
        server.stop();
    });
}

#[test]
fn a_phone_behind_a_nat_is_called_calls_and_hears_the_end_of_both_calls() {
    lab(|lab| {
        let nat = lab.add_nat(1);
        let near = format!("udp:{}:{PORT}", nat.ours);
        let mut server = server(lab, &["--listen", &near]);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        let home = Network::home();
        let setup = |user, network, number, hertz| Setup {
            number,
            network,
            user,
            hertz,
            answers: true,
            transport: "udp",
            codec: "PCMU",
        };
        let mut behind = Phone::register(lab, &setup(&bob, &nat, 2, 1000.0));
        let registered = registrations();
        assert_eq!(registered[0]["behind_nat"], true, "{registered:?}");
        let mut open = Phone::register(lab, &setup(&alice, &home, 1, 440.0));
        // The ACK reaches it, or it would repeat its 200 and give up; and so does the BYE.
        open.call("sip:bob@sip.test");
        behind.wait_until_established();
        open.talk(Duration::from_secs(2));
        open.hang_up();
        behind.wait_for_the_end();
        // The other way round: the BYE comes to whom the INVITE came from.
        behind.call("sip:alice@sip.test");
        open.wait_until_established();
        behind.talk(Duration::from_secs(2));
        open.hang_up();
        behind.wait_for_the_end();
        server.stop();
    });
}

#[test]
fn a_phone_behind_a_nat_that_forgets_after_three_seconds_still_rings() {
    lab(|lab| forgetful_nat(lab, "nat"));
}

/// What the test above would see without the server's OPTIONS.
#[test]
fn a_nat_forgets_a_phone_that_nobody_asks() {
    lab(|lab| forgetful_nat(lab, "off"));
}

/// A NAT that forgets what was silent for three seconds, and then gives another port.
fn forgetful_nat(lab: &Lab, contacts: &str) {
    let nat = lab.add_nat(1);
    for timeout in ["udp_timeout", "udp_timeout_stream"] {
        let timeout = format!("net.netfilter.nf_conntrack_{timeout}=3");
        system(nat.command("sysctl").args(["-w", &timeout]));
    }
    let file = lab.path("dialtone.toml");
    let settings = format!(
        "[http]\nlisten = \"127.0.0.1:9090\"\n[keep_alive]\ncontacts = \"{contacts}\"\ninterval = \"1s\"\n"
    );
    std::fs::write(&file, settings).expect("a file of the lab");
    let near = format!("udp:{}:{PORT}", nat.ours);
    let file = file.to_string_lossy().into_owned();
    let mut server = Server::start_with(lab, &["--config", &file, "--listen", &near]);
    let (alice, bob) = (server.user("alice"), server.user("bob"));
    let home = Network::home();
    let setup = |user, network, number, hertz| Setup {
        number,
        network,
        user,
        hertz,
        answers: true,
        transport: "udp",
        codec: "PCMU",
    };
    let mut behind = Phone::register(lab, &setup(&bob, &nat, 2, 1000.0));
    let is_open = || {
        let table = system(nat.command("cat").arg("/proc/net/nf_conntrack"));
        table.lines().any(|line| line.contains("udp") && line.contains(&format!("dport={PORT}")))
    };
    assert!(is_open());
    if contacts == "off" {
        wait_until("the NAT forgets the phone", || !is_open());
        assert_eq!(registrations()[0]["reachable"], Value::Null);
    } else {
        wait_until("the phone has answered eight times", || {
            let asked = metric("dialtone_engine_keep_alives_total");
            asked >= 8 && registrations()[0]["reachable"] == true
        });
        assert!(is_open());
        assert!(registrations()[0]["round_trip_ms"].as_f64().is_some_and(|time| time < 1000.0));
        let mut caller = Phone::register(lab, &setup(&alice, &home, 1, 440.0));
        caller.call("sip:bob@sip.test");
        behind.wait_until_established();
        caller.hang_up();
        behind.wait_for_the_end();
    }
    server.stop();
}

/// A number of the server.
fn metric(name: &str) -> u64 {
    let mut command = Command::new("curl");
    let text = system(command.args(["-s", "--max-time", "10", "http://127.0.0.1:9090/metrics"]));
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// Looks until it is so.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Its Contact leads nowhere, and the server is the one that hangs up: the BYE takes the way that the INVITE came.
#[test]
fn a_phone_behind_a_nat_hears_the_robot_hang_up() {
    lab(|lab| {
        let nat = lab.add_nat(1);
        let near = format!("udp:{}:{PORT}", nat.ours);
        let mut server = server(lab, &["--listen", &near]);
        robot_hangs_up(lab, &mut server, &nat, "udp");
    });
}

/// The port of its Contact is closed: only its connection leads there.
#[test]
fn a_phone_on_tcp_behind_a_nat_hears_the_robot_hang_up() {
    lab(|lab| {
        let nat = lab.add_nat(1);
        lab.nft("table ip closed {\n chain out {\n  type filter hook output priority 0;\n  ip daddr 192.168.1.0/24 tcp dport 5120 tcp flags & (syn | ack) == syn drop\n }\n}\n");
        let near = [format!("udp:{}:{PORT}", nat.ours), format!("tcp:{}:{PORT}", nat.ours)];
        let mut server = server(lab, &["--listen", &near[0], "--listen", &near[1]]);
        robot_hangs_up(lab, &mut server, &nat, "tcp");
    });
}

fn robot_hangs_up(lab: &Lab, server: &mut Server, network: &Network, transport: &str) {
    let bob = server.user("bob");
    let setup =
        Setup { number: 2, network, user: &bob, hertz: 1000.0, answers: true, transport, codec: "PCMU" };
    let mut behind = Phone::register(lab, &setup);
    behind.call("sip:echo@sip.test");
    behind.talk(Duration::from_secs(1));
    // A server that ends hangs up its own calls.
    server.stop();
    behind.wait_for_the_end();
}
