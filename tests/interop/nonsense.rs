//! What wrong peers say about calls to our server and to our phone, while a call of real phones is up: REFER to nonsense and from nobody, Replaces
//! of calls that are not one's own, storms of NOTIFY, UPDATE and INFO outside of dialogs. All of it is answered, costs a
//! bounded memory, shows in the counters, and the call hears nothing of it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{ADDRESS, Lab, lab, system};
use crate::manage::run_json;
use crate::pjsua2::{Foreign, Settings, Wire};
use crate::process::Process;
use crate::reliable::{CALLER, at, phone, sipp, where_it_listens};
use crate::scripts::{finish, words};
use crate::serve::{DOMAIN, PORT, Server, User};

/// How often each request of a storm is sent, and how many of them in a second.
const STORM: u32 = 400;
const PER_SECOND: &str = "1000";

/// How long a program may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a storm may leave in memory: less than 10 KiB for each of its requests.
const BYTES_MAX: u64 = 8 * STORM as u64 * 10 * 1024;

/// A request of a storm, and the answer that is due.
struct Nonsense {
    method: &'static str,
    user: &'static str,
    to_tag: &'static str,
    more: &'static str,
    status: u16,
}

const STORMS: [Nonsense; 8] = [
    // RFC 6665 §4.1.3: nobody has subscribed to that.
    Nonsense { method: "NOTIFY", user: "", to_tag: "", more: NOTIFICATION, status: 481 },
    Nonsense { method: "NOTIFY", user: "", to_tag: ";tag=gone", more: NOTIFICATION, status: 481 },
    // Who shows no password reaches nobody.
    Nonsense { method: "NOTIFY", user: "bob", to_tag: "", more: NOTIFICATION, status: 407 },
    // RFC 3311 §5.2: there is no such dialog.
    Nonsense { method: "UPDATE", user: "", to_tag: ";tag=gone", more: "", status: 481 },
    Nonsense { method: "UPDATE", user: "", to_tag: "", more: "", status: 405 },
    Nonsense { method: "INFO", user: "", to_tag: ";tag=gone", more: "Info-Package: x\n", status: 481 },
    Nonsense { method: "REFER", user: "", to_tag: "", more: "Refer-To: <sip:@>\n", status: 405 },
    Nonsense { method: "REFER", user: "bob", to_tag: "", more: "Refer-To: <http://x/%00>\n", status: 407 },
];

const NOTIFICATION: &str = "Event: refer\nSubscription-State: active;expires=60\n";

/// The same and more at a phone, where no server is between.
const STORM_AT_PHONE: u32 = 100;
const BYTES_MAX_AT_PHONE: u64 = STORMS_AT_PHONE.len() as u64 * STORM_AT_PHONE as u64 * 10 * 1024;

const STORMS_AT_PHONE: [Nonsense; 9] = [
    Nonsense { method: "NOTIFY", user: "bob", to_tag: "", more: NOTIFICATION, status: 481 },
    Nonsense { method: "NOTIFY", user: "bob", to_tag: ";tag=gone", more: NOTIFICATION, status: 481 },
    Nonsense { method: "UPDATE", user: "bob", to_tag: "", more: "", status: 481 },
    Nonsense { method: "UPDATE", user: "bob", to_tag: ";tag=gone", more: "", status: 481 },
    Nonsense { method: "REFER", user: "bob", to_tag: "", more: "Refer-To: <sip:@>\n", status: 400 },
    // Strangers transfer nobody, and a call that is named has to be theirs (RFC 4538 §3).
    Nonsense {
        method: "REFER",
        user: "bob",
        to_tag: "",
        more: "Refer-To: <sip:carol@sip.test>\n",
        status: 403,
    },
    Nonsense {
        method: "REFER",
        user: "bob",
        to_tag: "",
        more: "Refer-To: <sip:carol@sip.test>\nTarget-Dialog: nobody;local-tag=1;remote-tag=2\n",
        status: 403,
    },
    // RFC 3891 §3, RFC 3911 §4.
    Nonsense {
        method: "INVITE",
        user: "bob",
        to_tag: "",
        more: "Replaces: nobody;to-tag=1;from-tag=2\nRequire: replaces\n",
        status: 481,
    },
    Nonsense {
        method: "INVITE",
        user: "bob",
        to_tag: "",
        more: "Join: nobody;to-tag=1;from-tag=2\nRequire: join\n",
        status: 481,
    },
];

#[test]
fn storms_outside_of_dialogs_are_answered_and_a_call_through_the_proxy_goes_on() {
    lab(|lab| storms(lab, "call"));
}

#[test]
fn storms_outside_of_dialogs_are_answered_and_a_bridged_call_goes_on() {
    lab(|lab| storms(lab, "b2bua"));
}

fn storms(lab: &Lab, mode: &str) {
    let mut server = serve(lab, mode);
    let (mut alice, mut bob) = talking(&server);
    let before = server.resident_bytes();
    for (number, nonsense) in STORMS.iter().enumerate() {
        nonsense.storm(lab, server.address, number, STORM);
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < BYTES_MAX, "{grown} bytes more than before");
    let status = status(lab);
    // What is refused without a transaction leaves nothing; what has one leaves it for Timer J at most.
    let left = status["tables"]["server_transactions"].as_u64().expect("a number");
    assert!(left <= u64::from(STORM) * STORMS.len() as u64, "{status}");
    let requests = status["counters"]["engine"]["requests"].as_u64().expect("a number");
    assert!(requests >= u64::from(STORM) * STORMS.len() as u64, "{status}");
    let challenges = status["counters"]["engine"]["challenges"].as_u64().expect("a number");
    assert!(challenges >= 2 * u64::from(STORM), "{status}");
    assert_eq!(status["counters"]["sockets"]["panics"], 0, "{status}");
    undisturbed(lab, &mut alice, &mut bob);
    alice.switch_off();
    bob.switch_off();
    server.stop();
}

impl Nonsense {
    /// Sends it so often; SIPp ends with 0 only if each request got its answer.
    fn storm(&self, lab: &Lab, to: SocketAddr, number: usize, count: u32) {
        let name = format!("storm-{number}");
        let path = lab.path(&format!("{name}.xml"));
        std::fs::write(&path, self.scenario()).expect("a file of the lab can be written");
        let mut sipp = Command::new("sipp");
        sipp.arg(to.to_string()).arg("-sf").arg(&path).args(["-i", ADDRESS, "-p", "5150"]);
        sipp.args(["-m", &count.to_string(), "-r", PER_SECOND, "-l", "2000"]);
        sipp.args(["-timeout", "20s", "-timeout_error", "-nostdin", "-trace_err", "-error_file"]);
        system(sipp.arg(lab.path(&format!("{name}.log"))));
    }

    fn scenario(&self) -> String {
        let Nonsense { method, user, to_tag, more, status } = self;
        let uri = if user.is_empty() { format!("sip:{DOMAIN}") } else { format!("sip:{user}@{DOMAIN}") };
        let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<scenario name=\"nonsense\">\n".to_owned();
        let _ = writeln!(
            xml,
            "<send retrans=\"500\"><![CDATA[\n{method} {uri} SIP/2.0\n\
             Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\nMax-Forwards: 70\n\
             From: <sip:mallory@{DOMAIN}>;tag=[pid]m[call_number]\nTo: <{uri}>{to_tag}\nCall-ID: [call_id]\nCSeq: 1 {method}\n\
             Contact: <sip:mallory@[local_ip]:[local_port]>\n{more}Content-Length: 0\n\n]]></send>\n\
             <recv response=\"{status}\"/>"
        );
        if *method == "INVITE" {
            // RFC 3261 §17.1.1.3: it has the branch of the INVITE.
            let _ = writeln!(
                xml,
                "<send><![CDATA[\nACK {uri} SIP/2.0\n[last_Via:]\nMax-Forwards: 70\n[last_From:]\n[last_To:]\n\
                 Call-ID: [call_id]\nCSeq: 1 ACK\nContent-Length: 0\n\n]]></send>"
            );
        }
        xml.push_str("</scenario>\n");
        xml
    }
}

/// The phone talks meanwhile, and a SIPp that it talks to refers it to nonsense too.
#[test]
fn nonsense_at_our_phone_is_answered_and_its_call_goes_on() {
    lab(|lab| {
        let lines = "wait for incoming\nanswer\nwait for answered\nwait for incoming within 60s\nanswer\n\
                     wait for answered\nwait for ended\nselect 1\nresume\nwait for resumed\nwait for held-by-peer\n\
                     wait for ended\n";
        let mut bob = phone(lab, "bob", at(PORT), &["--transfers", "accept"], lines);
        let address = where_it_listens(&mut bob);
        let mut alice = Foreign::at(address, "alice", &Settings::new(1));
        alice.call("bob");
        alice.wait_for_call(0, "CONFIRMED");
        alice.wait_until_sent("ACK");
        let before = bob.resident_bytes();
        for (number, nonsense) in STORMS_AT_PHONE.iter().enumerate() {
            nonsense.storm(lab, address, number, STORM_AT_PHONE);
        }
        let grown = bob.resident_bytes().saturating_sub(before);
        assert!(grown < BYTES_MAX_AT_PHONE, "{grown} bytes more than before");
        let mut caller = Process::start(&mut sipp(lab, address, "refer_nonsense", CALLER, true));
        let status = caller.finish(PATIENCE);
        assert!(status.success(), "SIPp ended with {status}\n{}", caller.output());
        // The first call was held for the second, and is taken up again.
        for direction in ["sendonly", "sendrecv"] {
            assert_eq!(alice.wait_for_request("INVITE").direction(), direction, "{}", alice.told());
            alice.wait_for_request("ACK");
        }
        alice.act("hold 0");
        alice.wait_for_response(200, "INVITE");
        alice.wait_until_sent("ACK");
        let strange =
            |one: &Wire| ["REFER", "NOTIFY", "UPDATE", "INFO", "BYE"].iter().any(|method| one.asks(method));
        assert!(!alice.wire("received").iter().any(strange), "{}", alice.told());
        alice.act("hangup 0");
        alice.wait_for_response(200, "BYE");
        let mut events = finish(bob, 0);
        assert!(events.iter().all(|event| event["event"] != "transfer-asked"), "{events:?}");
        events.retain(|event| event["call"] == 1);
        let expected = ["incoming", "answered", "held", "resumed", "held-by-peer", "ended"];
        assert_eq!(words(&events), expected, "{events:?}");
        alice.switch_off();
    });
}

/// Requests that know the dialog of a call that is up, from somebody whose it is not.
#[test]
fn nobody_refers_updates_or_ends_a_bridged_call_that_is_not_his_own() {
    lab(|lab| {
        let mut server = serve(lab, "b2bua");
        assert_eq!(run_json(lab, &["user", "add", "carol", "--password", "secret"]).0, 0);
        let carol = User { name: "carol".to_owned(), password: "secret".to_owned() };
        let (mut alice, mut bob) = talking(&server);
        let is_ack = |one: &Wire| one.asks("ACK");
        let ack = alice.wire("sent").into_iter().rfind(is_ack).expect("alice has acknowledged");
        let (call_id, from, to) = (ack.header("Call-ID"), ack.header("From"), ack.header("To"));
        let target = ack.start().split(' ').nth(1).expect("a Request-URI").to_owned();
        let tag = |value: &str| value.split(";tag=").nth(1).unwrap_or_default().to_owned();
        let mut client = crate::client::Client::new(server.address);
        let address = client.address();
        // Right Call-ID, wrong tags: no dialog of ours.
        for (number, method) in ["REFER", "UPDATE", "INFO", "BYE", "NOTIFY"].into_iter().enumerate() {
            let text = format!(
                "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK-wrong-{number}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:alice@{DOMAIN}>;tag=guessed\r\nTo: <sip:bob@{DOMAIN}>;tag=guessed\r\n\
                 Call-ID: {call_id}\r\nCSeq: {} {method}\r\nContact: <sip:m@{address}>\r\nRefer-To: <sip:carol@{DOMAIN}>\r\n\
                 Event: refer\r\nSubscription-State: active\r\nContent-Length: 0\r\n\r\n",
                number + 1
            );
            let answer = client.ask_raw(text.as_bytes()).unwrap_or_else(|| panic!("no answer to\n{text}"));
            // What names a user is asked for a password first.
            assert!(matches!(answer.status, 407 | 481), "{answer:?}");
        }
        // RFC 3891 §3 and §8: who knows the dialog and has a password, but is no side of it, takes no place in it.
        let replaces = format!("Replaces: {call_id};to-tag={};from-tag={}\r\n", tag(to), tag(from));
        for more in [replaces, format!("Replaces: {call_id}x;to-tag=1;from-tag=2\r\n")] {
            let more = format!("{more}Require: replaces\r\nContact: <sip:carol@{address}>\r\n");
            let uri = format!("sip:bob@{DOMAIN}");
            let request =
                crate::client::Request { method: "INVITE", uri: &uri, from: "carol", to: &uri, more };
            let answer = client.ask_as(&carol, &request);
            assert!((400..700).contains(&answer.status), "{answer:?}");
        }
        undisturbed(lab, &mut alice, &mut bob);
        alice.switch_off();
        bob.switch_off();
        server.stop();
    });
}

fn serve(lab: &Lab, mode: &str) -> Server {
    let path = lab.path("dialtone.toml");
    let text = format!("[[domain]]\nname = \"{DOMAIN}\"\nmode = \"{mode}\"\n");
    std::fs::write(&path, text).expect("a file of the lab can be written");
    Server::start_with(lab, &["--config", &path.to_string_lossy()])
}

fn status(lab: &Lab) -> Value {
    run_json(lab, &["status"]).1
}

/// Alice and bob, whose call is up.
fn talking(server: &Server) -> (Foreign, Foreign) {
    let mut bob = Foreign::register(server, "bob", &Settings::new(2));
    let mut alice = Foreign::register(server, "alice", &Settings::new(1));
    alice.call("bob");
    bob.wait_for_call(0, "INCOMING");
    bob.act("answer 0 200");
    bob.wait_for_request("ACK");
    alice.wait_for_call(0, "CONFIRMED");
    alice.wait_until_sent("ACK");
    (alice, bob)
}

/// The call still holds, resumes and ends as its phones want, and neither has heard of anything else.
fn undisturbed(lab: &Lab, alice: &mut Foreign, bob: &mut Foreign) {
    for phone in [&mut *alice, &mut *bob] {
        let strange =
            |one: &Wire| ["REFER", "NOTIFY", "UPDATE", "INFO", "BYE"].iter().any(|method| one.asks(method));
        let heard: Vec<Wire> = phone.wire("received").into_iter().filter(strange).collect();
        assert!(heard.is_empty(), "{}", phone.told());
    }
    alice.act("hold 0");
    bob.wait_for_media(0, "remote-hold");
    bob.wait_for_request("ACK");
    alice.wait_until_sent("ACK");
    assert_eq!(run_json(lab, &["calls"]).1["now"].as_array().map(Vec::len), Some(1));
    alice.act("hangup 0");
    bob.wait_for_call(0, "DISCONNECTED");
    alice.wait_for_response(200, "BYE");
}
