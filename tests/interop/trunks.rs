//! Trunks to foreign programs: SIPp as a provider known by its address, Kamailio as one that we register with.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::kamailio::{Kamailio, PASSWORD};
use crate::lab::{ADDRESS, Lab, dialtone, lab, system};
use crate::process::Process;
use crate::serve::{DOMAIN, Server, User};
use crate::sipp::{listening, sipp, sipp_to};

const PATIENCE: Duration = Duration::from_secs(30);
/// Where the provider is: not where the phones of the office are.
const PROVIDER: &str = "10.9.0.7";

fn user(name: &str) -> User {
    User { name: name.to_owned(), password: String::new() }
}

/// A server with this settings file, beside an address for the provider.
fn server(lab: &Lab, settings: &str, more: &[&str]) -> Server {
    let device = system(Command::new("ip").args(["-o", "addr", "show", "to", ADDRESS]));
    let device = device.split_whitespace().nth(1).expect("the lab has a device").to_owned();
    system(Command::new("ip").args(["addr", "add", &format!("{PROVIDER}/24"), "dev", &device]));
    let file = lab.path("dialtone.toml");
    std::fs::write(&file, settings).expect("a file of the lab can be written");
    let file = file.display().to_string();
    Server::start_with(lab, &[&["--config", file.as_str()], more].concat())
}

/// What the running server answers to a command.
fn ask(lab: &Lab, command: &str) -> serde_json::Value {
    let mut ask = Command::new(dialtone());
    let text = system(ask.args([command, "--json", "--data"]).arg(lab.path("data")));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in: {text}"))
}

/// What the running server says of its trunks.
fn trunks(lab: &Lab) -> serde_json::Value {
    ask(lab, "status")["trunks"].take()
}

/// Waits until the server says this of its trunks.
fn wait_for(lab: &Lab, what: impl Fn(&serde_json::Value) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !what(&trunks(lab)) {
        assert!(Instant::now() < end, "{}", trunks(lab));
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Nobody is at the first address; SIPp is at the second, as the one that is called and the one that calls.
#[test]
fn calls_go_to_the_address_of_a_trunk_that_is_there_and_come_from_it_to_the_user_of_a_number() {
    lab(|lab| {
        let settings = format!(
            "[[trunk]]\nname = \"carrier\"\naddress = [\"sip:{PROVIDER}:5169\", \"sip:{PROVIDER}:5170\"]\nprobe = \"0s\"\n\
             numbers = {{ \"+49301\" = \"user:bob\" }}\n[[rule]]\nname = \"out\"\nnumber = \"+1*\"\nto = \"trunk:carrier\"\n"
        );
        let mut server = server(lab, &settings, &["--open"]);
        // Out: the first address refuses the datagrams (ICMP), and the call goes on to the second.
        let there: SocketAddr = server.address;
        let mut provider = sipp_to(lab, there, "answer", &user("carrier"), 5170);
        let mut provider = listening(provider.args(["-i", PROVIDER, "-m", "3"]));
        system(sipp(lab, &server, "call_open", &user("alice"), 5150).args(["-s", "+12125550100", "-m", "3"]));
        let status = provider.finish(PATIENCE);
        assert!(status.success(), "the provider ended with {status}\n{}", provider.output());
        // In: no password, and only to the user of the number.
        system(sipp(lab, &server, "register_q", &user("bob"), 5160).args(["-key", "q", "1.0", "-m", "1"]));
        let mut bob = listening(sipp(lab, &server, "answer", &user("bob"), 5160).args(["-m", "3"]));
        let mut call = sipp_to(lab, there, "call_open", &user("+4989"), 5171);
        system(call.args(["-i", PROVIDER, "-s", "+49301", "-m", "3"]));
        let status = bob.finish(PATIENCE);
        assert!(status.success(), "bob ended with {status}\n{}", bob.output());
        let counters = server.stop();
        assert_eq!(counters["engine"]["trunk_calls"], 3, "{counters}");
        assert_eq!(counters["engine"]["trunk_failovers"], 3, "{counters}");
        assert_eq!(counters["engine"]["trunk_incoming"], 3, "{counters}");
    });
}

/// Calls in each direction.
const CALLS_EACH_WAY: usize = 100;

/// One socket of ours; the provider calls from one of its own and is called at another.
#[test]
fn a_trunk_by_address_has_a_hundred_calls_at_once_in_each_direction_over_one_socket() {
    lab(|lab| {
        let settings = format!(
            "[[trunk]]\nname = \"carrier\"\naddress = [\"sip:{PROVIDER}:5170\"]\nprobe = \"0s\"\nuser_phone = false\n\
             numbers = {{ \"+49301\" = \"user:bob\" }}\n[[rule]]\nname = \"out\"\nnumber = \"+1*\"\nto = \"trunk:carrier\"\n"
        );
        let mut server = server(lab, &settings, &["--open"]);
        let there: SocketAddr = server.address;
        system(sipp(lab, &server, "register_q", &user("bob"), 5160).args(["-key", "q", "1.0", "-m", "1"]));
        let many = CALLS_EACH_WAY.to_string();
        let all = |mut command: Command| {
            listening(command.args(["-t", "u1", "-m", &many, "-l", "200", "-r", "50"]))
        };
        let at_provider = |scenario: &str, name: &str, port: u16| {
            let mut command = sipp_to(lab, there, scenario, &user(name), port);
            command.args(["-i", PROVIDER]);
            command
        };
        let mut provider = all(at_provider("answer", "carrier", 5170));
        let mut bob = all(sipp(lab, &server, "answer", &user("bob"), 5160));
        let mut out = sipp(lab, &server, "trunk_call", &user("alice"), 5150);
        out.args(["-s", "+12125550100"]);
        let mut out = all(out);
        let mut into = at_provider("trunk_call", "+4989", 5171);
        into.args(["-s", "+49301"]);
        let mut into = all(into);
        // All of them are up at the same moment, and counted.
        wait_for(lab, |trunks| trunks[0]["calls"] == 2 * CALLS_EACH_WAY);
        let calls = ask(lab, "calls");
        let now = calls["now"].as_array().expect("a list");
        let to = |uri: &str| {
            let is = |call: &&serde_json::Value| {
                call["state"] == "talking" && call["to"].as_str().is_some_and(|to| to.contains(uri))
            };
            now.iter().filter(is).count()
        };
        assert_eq!((to("+12125550100"), to("+49301")), (CALLS_EACH_WAY, CALLS_EACH_WAY), "{calls}");
        let mut command = Command::new(dialtone());
        let status = system(command.args(["status", "--data"]).arg(lab.path("data")));
        assert!(status.contains("carrier 200 calls of "), "{status}");
        let sides = [("out", &mut out), ("in", &mut into), ("provider", &mut provider), ("bob", &mut bob)];
        for (side, process) in sides {
            let status = process.finish(PATIENCE);
            assert!(status.success(), "{side} ended with {status}\n{}", process.output());
        }
        let left = ask(lab, "calls");
        assert!(left["now"].as_array().is_some_and(Vec::is_empty), "{left}");
        assert_eq!(trunks(lab)[0]["calls"], 0);
        let counters = server.stop();
        assert_eq!(counters["engine"]["trunk_calls"], CALLS_EACH_WAY, "{counters}");
        assert_eq!(counters["engine"]["trunk_incoming"], CALLS_EACH_WAY, "{counters}");
        assert_eq!(counters["engine"]["trunk_failovers"], 0, "{counters}");
    });
}

/// Stops a program where it stands, or lets it go on: its socket stays open, and nothing answers.
fn signal(process: &Process, name: &str) {
    let kill = format!("kill -{name} {}", process.id());
    system(Command::new("sh").args(["-c", &kill]));
}

#[test]
fn a_gateway_that_answers_no_options_is_down_until_it_does_and_calls_go_to_the_other() {
    lab(|lab| {
        let settings = format!(
            "[[trunk]]\nname = \"carrier\"\naddress = [\"sip:{PROVIDER}:5170\", \"sip:{PROVIDER}:5172\"]\nprobe = \"500ms\"\n\
             [[rule]]\nname = \"out\"\nnumber = \"+1*\"\nto = \"trunk:carrier\"\n"
        );
        let mut server = server(lab, &settings, &["--open"]);
        let there: SocketAddr = server.address;
        let gateway = |port: u16| {
            let mut command = sipp_to(lab, there, "gateway", &user("carrier"), port);
            // All probes of an address have one Call-ID, which SIPp would ignore for half a minute after the first.
            listening(command.args(["-i", PROVIDER, "-timeout", "150s", "-deadcall_wait", "0"]))
        };
        let gateways = [gateway(5170), gateway(5172)];
        let states = |wanted: [&str; 2]| {
            wait_for(lab, |trunks| {
                let state = |hop: usize| trunks[0]["addresses"][hop]["state"].as_str().unwrap_or_default();
                [state(0), state(1)] == wanted
            });
        };
        // Each call is answered by the only one that can, at once.
        let call = || {
            let begun = Instant::now();
            system(sipp(lab, &server, "call_open", &user("alice"), 5150).args([
                "-s",
                "+12125550100",
                "-m",
                "3",
            ]));
            assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        };
        states(["up", "up"]);
        signal(&gateways[0], "STOP");
        states(["down", "up"]);
        call();
        signal(&gateways[0], "CONT");
        states(["up", "up"]);
        signal(&gateways[1], "STOP");
        states(["up", "down"]);
        call();
        let counters = server.stop();
        assert_eq!(counters["engine"]["trunk_calls"], 6, "{counters}");
        assert_eq!(counters["engine"]["trunk_failovers"], 0, "{counters}");
    });
}

#[test]
fn sipp_registers_for_many_numbers_and_is_called_by_each() {
    lab(|lab| {
        let settings = "[[trunk]]\nname = \"branch\"\naccount = \"bob\"\n\
                        [[rule]]\nname = \"branch\"\nnumber = \"+49307*\"\nto = \"trunk:branch\"\n";
        let mut server = server(lab, settings, &[]);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        system(sipp(lab, &server, "register_gin", &bob, 5160).args(["-m", "1"]));
        let mut branch = listening(sipp(lab, &server, "answer_number", &bob, 5160).args(["-m", "3"]));
        let text = system(sipp(lab, &server, "call", &alice, 5150).args(["-s", "+4930712", "-m", "3"]));
        let status = branch.finish(PATIENCE);
        assert!(status.success(), "the branch ended with {status}\n{}\n{text}", branch.output());
        let counters = server.stop();
        assert_eq!(counters["engine"]["trunk_calls"], 3, "{counters}");
    });
}

/// A program of ours on the side of the provider, or of the office.
fn softphone(arguments: &[&str]) -> Command {
    let mut command = Command::new(dialtone());
    command.args(arguments).stdin(Stdio::null());
    command
}

#[test]
fn kamailio_registers_us_by_digest_and_calls_go_both_ways_over_it() {
    lab(|lab| {
        let settings = format!(
            "[[trunk]]\nname = \"provider\"\nregistrar = \"sip:provider.test\"\nproxy = \"sip:{PROVIDER}:5070\"\n\
             user = \"4930987\"\npassword_file = \"provider.password\"\nfrom = \"account\"\n\
             numbers = {{ \"4930987\" = \"user:bob\" }}\n[[rule]]\nname = \"out\"\nnumber = \"+1*\"\nto = \"trunk:provider\"\n"
        );
        std::fs::create_dir(lab.path("data")).expect("a folder of the lab");
        std::fs::write(lab.path("data/provider.password"), format!("{PASSWORD}\n"))
            .expect("a file of the lab");
        let mut server = server(lab, &settings, &[]);
        let kamailio = Kamailio::registrar(
            lab,
            format!("{PROVIDER}:5070").parse().expect("an address"),
            "provider.test",
        );
        wait_for(lab, |trunks| trunks[0]["registered"] == true);

        let at_provider =
            ["--domain", "provider.test", "--proxy", &kamailio.address.to_string(), "--password", PASSWORD]
                .map(str::to_owned);
        let office = server.address.to_string();
        let phone = |name: &str, more: &[String], hertz: &str| {
            let mut command = softphone(&["phone", "--answer", "--user", name, "--tone", hertz]);
            let mut phone = Process::start(command.args(more));
            phone.wait_for("registered for", PATIENCE);
            phone
        };
        let bob = server.user("bob");
        let at_office =
            ["--domain", DOMAIN, "--proxy", &office, "--password", &bob.password].map(str::to_owned);
        let _far = phone("+12125550100", &at_provider, "1000");
        let _near = phone("bob", &at_office, "700");

        // Out: Kamailio asks for the password of the account with each call, and alice knows nothing of it.
        let alice = server.user("alice");
        let to = format!("sip:+12125550100@{DOMAIN}");
        let call = ["call", &to, "--proxy", &office, "--user", "alice", "--password", &alice.password];
        system(softphone(&call).args(["--tone", "440", "--duration", "2", "--expect-tone", "1000"]));
        // In: to the Contact that we registered.
        let call = ["call", "sip:4930987@provider.test", "--user", "carol"];
        let proxy = kamailio.address.to_string();
        let call = [&call[..], &["--proxy", &proxy, "--password", PASSWORD]].concat();
        system(softphone(&call).args(["--tone", "440", "--duration", "2", "--expect-tone", "700"]));
        let counters = server.stop();
        assert_eq!(counters["engine"]["trunk_calls"], 1, "{counters}");
        assert_eq!(counters["engine"]["trunk_incoming"], 1, "{counters}");
        assert_eq!(counters["engine"]["trunk_refused"], 0, "{counters}");
    });
}
