//! docs/refusals.md at a running server: each refusal in its situation, and each method, asked by SIPp over UDP and TCP.

use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::lab::{ADDRESS, Lab, dialtone, lab, system};
use crate::process::Process;
use crate::serve::{DOMAIN, PORT, Server, User, tcp};
use crate::sipp::{listening, sipp};

const PATIENCE: Duration = Duration::from_secs(30);

/// Limits that a request of a few lines can reach.
const SETTINGS: &str = "\
[limits]
message_bytes = \"8KiB\"
uri_bytes = 300
body_bytes = \"1KiB\"
";

/// A request, and the answer that is due.
struct Case {
    method: &'static str,
    uri: String,
    /// Lines in place of what a good request has; without any, those of [`Case::lines`].
    max_forwards: &'static str,
    from: &'static str,
    to_tag: &'static str,
    version: &'static str,
    /// More header lines.
    more: String,
    /// Type and text.
    body: Option<(&'static str, String)>,
    /// Whether a password is shown first.
    authenticated: bool,
    status: u16,
    /// A header of the answer, and an expression for its value; `msg` stands for the whole answer.
    says: Option<(&'static str, &'static str)>,
}

const AUDIO: &str =
    "v=0\r\no=- 1 1 IN IP4 10.9.0.1\r\ns=-\r\nc=IN IP4 10.9.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8";

/// To `user` of the domain, or to the domain itself.
fn case(method: &'static str, user: &str, status: u16) -> Case {
    let uri = if user.is_empty() { format!("sip:{DOMAIN}") } else { format!("sip:{user}@{DOMAIN}") };
    Case {
        method,
        uri,
        max_forwards: "70",
        from: "alice",
        to_tag: "",
        version: "SIP/2.0",
        more: String::new(),
        body: None,
        authenticated: false,
        status,
        says: None,
    }
}

/// A call of the robot by alice.
fn call(kind: &'static str, body: &str, more: &str, status: u16) -> Case {
    let body = Some((kind, body.to_owned()));
    Case { authenticated: true, body, more: more.to_owned(), ..case("INVITE", "echo", status) }
}

fn cases() -> Vec<Case> {
    let says = |header, value| Some((header, value));
    let long = format!("{AUDIO}\r\na=x:{}", "y".repeat(1_200));
    let filler = "X-Filler: 0123456789012345678901234567890123456789\r\n";
    let with = |case: Case, more: &str| Case { more: more.to_owned(), ..case };
    let gone = |case: Case| Case { to_tag: ";tag=gone", ..case };
    vec![
        case("OPTIONS", "", 200),
        Case {
            max_forwards: "many",
            says: says("msg", "Bad Request: Max-Forwards"),
            ..case("INVITE", "bob", 400)
        },
        with(case("REGISTER", "", 401), "Contact: <sip:alice@[local_ip]:[local_port]>\r\n"),
        Case { uri: "sip:bob@elsewhere.test".to_owned(), ..case("INVITE", "", 403) },
        Case { from: "bob", ..call("application/sdp", AUDIO, "", 403) },
        Case { uri: "sip:elsewhere.test".to_owned(), ..case("REGISTER", "", 404) },
        Case { authenticated: true, ..case("INVITE", "nobody", 404) },
        Case { says: says("Allow:", "OPTIONS, REGISTER"), ..case("INVITE", "", 405) },
        Case {
            says: says("Allow:", "INVITE, ACK, CANCEL, BYE, OPTIONS"),
            authenticated: true,
            ..case("MESSAGE", "echo", 405)
        },
        // Robots call nobody because others ask for it; what makes no sense is told first.
        with(Case { authenticated: true, ..case("REFER", "echo", 403) }, &format!("{CONTACT}{REFER_TO}")),
        with(
            Case {
                says: says("Warning:", "399 Dialtone"),
                authenticated: true,
                ..case("REFER", "echo", 400)
            },
            &format!("{CONTACT}{REFER_TO}{REFER_TO}"),
        ),
        Case {
            says: says("Accept:", "application/sdp"),
            ..call("application/sdp", AUDIO, "Accept: text/plain\r\n", 406)
        },
        case("INVITE", "bob", 407),
        call("application/sdp", &long, "", 413),
        Case { uri: format!("sip:{}@{DOMAIN}", "b".repeat(300)), ..case("INVITE", "", 414) },
        Case { says: says("Accept:", "application/sdp"), ..call("text/plain", "hello", "", 415) },
        Case {
            says: says("Accept-Encoding:", "identity"),
            ..call("application/sdp", AUDIO, "Content-Encoding: gzip\r\n", 415)
        },
        Case { uri: format!("mailto:bob@{DOMAIN}"), ..case("INVITE", "", 416) },
        Case { says: says("Unsupported:", "foo"), ..with(case("OPTIONS", "", 420), "Require: foo\r\n") },
        Case {
            says: says("Unsupported:", "foo"),
            ..with(case("INVITE", "bob", 420), "Proxy-Require: foo\r\n")
        },
        Case { says: says("Unsupported:", "foo"), ..call("application/sdp", AUDIO, "Require: foo\r\n", 420) },
        Case {
            authenticated: true,
            says: says("Min-Expires:", "60"),
            ..with(
                case("REGISTER", "", 423),
                "Contact: <sip:alice@[local_ip]:[local_port]>\r\nExpires: 5\r\n",
            )
        },
        Case { authenticated: true, ..case("INVITE", "bob", 480) },
        case("CANCEL", "bob", 481),
        case("BYE", "", 481),
        gone(case("INFO", "", 481)),
        gone(Case { authenticated: true, ..case("BYE", "echo", 481) }),
        Case { max_forwards: "0", ..case("INVITE", "bob", 483) },
        Case { uri: "tel:5550100".to_owned(), ..case("INVITE", "", 484) },
        Case {
            says: says("Warning:", "305 Dialtone"),
            ..call("application/sdp", &AUDIO.replace("AVP 8", "AVP 18"), "", 488)
        },
        with(
            Case { says: says("Allow-Events:", "reg"), ..case("SUBSCRIBE", "", 489) },
            "Event: presence\r\n",
        ),
        with(case("PUBLISH", "", 489), "Event: presence\r\n"),
        call("application/pkcs7-mime", "x", "", 493),
        Case { says: says("Allow:", "OPTIONS, REGISTER"), ..case("FETCH", "", 501) },
        Case { version: "SIP/3.0", ..case("INVITE", "bob", 505) },
        with(case("INVITE", "bob", 513), &filler.repeat(200)),
    ]
}

impl Case {
    /// The request with a CSeq number.
    fn request(&self, cseq: u32, credentials: &str) -> String {
        let Case { method, uri, max_forwards, from, to_tag, version, more, .. } = self;
        let to = match *method {
            "REGISTER" => format!("sip:{from}@{}", uri.trim_start_matches("sip:")),
            _ => uri.clone(),
        };
        let (kind, body) = match &self.body {
            None => ("Content-Length: 0".to_owned(), String::new()),
            Some((kind, body)) => (format!("Content-Type: {kind}\r\nContent-Length: [len]"), body.clone()),
        };
        format!(
            "{method} {uri} {version}\r\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\r\n\
             Max-Forwards: {max_forwards}\r\nFrom: <sip:{from}@{DOMAIN}>;tag=[pid]c[call_number]\r\nTo: <{to}>{to_tag}\r\n\
             Call-ID: [call_id]\r\nCSeq: {cseq} {method}\r\nContact: <sip:alice@[local_ip]:[local_port];transport=[transport]>\r\n\
             {more}{credentials}{kind}\r\n\r\n{body}"
        )
        // A REGISTER has its own Contact.
        .replacen(if *method == "REGISTER" { "Contact: <sip:alice@[local_ip]:[local_port];transport=[transport]>\r\n" } else { "\0" }, "", 1)
    }

    fn ack(&self, cseq: u32) -> String {
        format!(
            "ACK {} SIP/2.0\r\n[last_Via:]\r\nMax-Forwards: 70\r\n[last_From:]\r\n[last_To:]\r\nCall-ID: [call_id]\r\n\
             CSeq: {cseq} ACK\r\nContent-Length: 0\r\n\r\n",
            self.uri
        )
    }

    fn scenario(&self) -> String {
        let mut xml = Xml::new();
        let is_invite = self.method == "INVITE";
        let mut cseq = 1;
        xml.send(&self.request(cseq, ""));
        if self.authenticated {
            let challenge = if self.method == "REGISTER" { 401 } else { 407 };
            let _ = writeln!(xml.0, "<recv response=\"{challenge}\" auth=\"true\"/>");
            if is_invite {
                xml.send_once(&self.ack(cseq));
            }
            cseq += 1;
            xml.send(&self.request(cseq, "[authentication]\r\n"));
        }
        if is_invite {
            xml.0.push_str("<recv response=\"100\" optional=\"true\"/>\n");
        }
        xml.receive(self.status, self.says);
        if is_invite {
            xml.send_once(&self.ack(cseq));
        }
        xml.end()
    }
}

/// A scenario of SIPp.
struct Xml(String);

impl Xml {
    fn new() -> Xml {
        Xml("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<scenario name=\"refusal\">\n".to_owned())
    }

    fn send(&mut self, message: &str) {
        let _ = writeln!(
            self.0,
            "<send retrans=\"500\"><![CDATA[\n{}\n]]></send>",
            message.replace("\r\n", "\n")
        );
    }

    fn send_once(&mut self, message: &str) {
        let _ = writeln!(self.0, "<send><![CDATA[\n{}\n]]></send>", message.replace("\r\n", "\n"));
    }

    fn receive(&mut self, status: u16, says: Option<(&str, &str)>) {
        let _ = match says {
            None => writeln!(self.0, "<recv response=\"{status}\"/>"),
            Some((header, value)) => {
                let place = match header {
                    "msg" => "search_in=\"msg\"".to_owned(),
                    header => format!("search_in=\"hdr\" header=\"{header}\""),
                };
                writeln!(
                    self.0,
                    "<recv response=\"{status}\"><action><ereg regexp=\"{value}\" {place} check_it=\"true\" \
                     assign_to=\"1\"/></action></recv>\n<Reference variables=\"1\"/>"
                )
            }
        };
    }

    fn end(mut self) -> String {
        self.0.push_str("</scenario>\n");
        self.0
    }
}

/// A scenario as a file, by a name of its own.
fn file(lab: &Lab, name: &str, scenario: &str) -> PathBuf {
    let path = lab.path(&format!("{name}.xml"));
    std::fs::write(&path, scenario).expect("a file of the lab can be written");
    path
}

/// SIPp with a scenario that was written here.
fn sipp_with(lab: &Lab, remote: SocketAddr, name: &str, scenario: &str, user: &User, port: u16) -> Command {
    let mut command = Command::new("sipp");
    command.arg(remote.to_string()).arg("-sf").arg(file(lab, name, scenario));
    command.args(["-i", ADDRESS, "-p", &port.to_string(), "-au", &user.name, "-ap", &user.password]);
    command.args(["-m", "1", "-timeout", "20s", "-timeout_error", "-nostdin", "-trace_err", "-error_file"]);
    command.arg(lab.path(&format!("{name}.log")));
    command
}

#[test]
fn each_refusal_comes_in_its_situation_over_udp_and_tcp() {
    lab(|lab| {
        let settings = lab.path("dialtone.toml");
        std::fs::write(&settings, SETTINGS).expect("a file of the lab can be written");
        let mut server =
            Server::start_with(lab, &["--listen", &tcp(), "--config", &settings.to_string_lossy()]);
        let alice = server.user("alice");
        ask_all(lab, &server, &alice, &cases(), &["u1", "t1"]);
        server.stop();
    });
}

const CONTACT: &str = "Contact: <sip:alice@[local_ip]:[local_port]>\r\n";
const REFER_TO: &str = "Refer-To: <sip:bob@[remote_ip]>\r\n";

/// The methods that a user of ours can send to another one outside of a dialog; INVITE, ACK, BYE, CANCEL and REGISTER
/// have scenarios of their own.
const METHODS: [&str; 9] =
    ["OPTIONS", "PRACK", "UPDATE", "INFO", "REFER", "SUBSCRIBE", "NOTIFY", "PUBLISH", "MESSAGE"];

#[test]
fn each_method_goes_to_a_user_once_its_sender_has_shown_a_password() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        system(sipp(lab, &server, "register", &bob, 5160).args(["-m", "1"]));
        for method in METHODS {
            let mut answer = Xml::new();
            let _ = writeln!(answer.0, "<recv request=\"{method}\"/>");
            answer.send_once(
                "SIP/2.0 200 OK\r\n[last_Via:]\r\n[last_From:]\r\n[last_To:];tag=[call_number]\r\n[last_Call-ID:]\r\n\
                 [last_CSeq:]\r\nContact: <sip:bob@[local_ip]:[local_port]>\r\nContent-Length: 0\r\n\r\n",
            );
            let callee =
                sipp_with(lab, server.address, &format!("{method}-callee"), &answer.end(), &bob, 5160);
            let mut callee = listening(&mut { callee });
            let ask = Case { authenticated: true, ..case(method, "bob", 200) }.scenario();
            system(&mut sipp_with(lab, server.address, &format!("{method}-caller"), &ask, &alice, 5150));
            let status = callee.finish(PATIENCE);
            assert!(status.success(), "{method}: bob's phone ended with {status}\n{}", callee.output());
        }
        // ACK is answered by nobody; CANCEL of nothing is 481 (above), and no password is asked for either.
        let counters = server.stop();
        assert_eq!(counters["engine"]["challenges"], METHODS.len() + 1, "{counters}");
    });
}

#[test]
fn a_phone_refuses_with_each_code_of_a_user_agent() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        for (code, says) in [
            (480, None),
            (486, None),
            (488, Some(("Warning:", "399 Dialtone"))),
            (600, None),
            (603, None),
            (606, Some(("Warning:", "399 Dialtone"))),
        ] {
            let mut phone = phone(&bob, &["--refuse", &code.to_string()]);
            let ask = Case { says, ..call("application/sdp", AUDIO, "", code) };
            let ask = Case { uri: format!("sip:bob@{DOMAIN}"), ..ask };
            // It rings for a moment before it refuses.
            let scenario = ask.scenario().replace(
                "<recv response=\"100\" optional=\"true\"/>\n",
                "<recv response=\"100\" optional=\"true\"/>\n<recv response=\"180\" optional=\"true\"/>\n",
            );
            system(&mut sipp_with(lab, server.address, &format!("phone-{code}"), &scenario, &alice, 5150));
            assert!(phone.terminate(PATIENCE).success(), "{}", phone.output());
        }
        server.stop();
    });
}

/// Our phone as bob, registered.
fn phone(user: &User, arguments: &[&str]) -> Process {
    let mut command = Command::new(dialtone());
    command.args(["phone", "--user", &user.name, "--password", &user.password, "--domain", DOMAIN]);
    command.args(["--proxy", &format!("{ADDRESS}:{PORT}"), "--json"]).args(arguments);
    let mut phone = Process::start(&mut command);
    phone.wait_for("\"registered\"", PATIENCE);
    phone
}

#[test]
fn an_answer_that_nobody_can_read_becomes_502() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        system(sipp(lab, &server, "register", &bob, 5160).args(["-m", "1"]));
        let mut answer = Xml::new();
        answer.0.push_str("<recv request=\"INVITE\"/>\n");
        answer.send(
            "SIP/2.0 302 Moved Temporarily\r\n[last_Via:]\r\n[last_From:]\r\n[last_To:];tag=1\r\n[last_Call-ID:]\r\n\
             [last_CSeq:]\r\nContact: sip:a?b=c\r\nContent-Length: 0\r\n\r\n",
        );
        answer.0.push_str("<recv request=\"ACK\"/>\n");
        let callee = sipp_with(lab, server.address, "bad-callee", &answer.end(), &bob, 5160);
        let mut callee = listening(&mut { callee });
        let ask = Case { authenticated: true, ..case("INVITE", "bob", 502) }.scenario();
        system(&mut sipp_with(lab, server.address, "bad-caller", &ask, &alice, 5150));
        let status = callee.finish(PATIENCE);
        assert!(status.success(), "the refusal was not acknowledged: {status}\n{}", callee.output());
        server.stop();
    });
}

#[test]
fn a_name_server_that_is_silent_makes_504() {
    lab(|lab| {
        let resolv = lab.path("resolv.conf");
        let text = format!("nameserver {ADDRESS}\noptions timeout:30 attempts:1\n");
        std::fs::write(&resolv, text).expect("a file of the lab can be written");
        system(Command::new("mount").arg("--bind").arg(&resolv).arg("/etc/resolv.conf"));
        // It takes questions and gives no answer.
        let _silent = UdpSocket::bind((ADDRESS, 53)).expect("a port of the lab");
        let settings = lab.path("dialtone.toml");
        std::fs::write(&settings, "[proxy]\nforeign = \"authenticated\"\n").expect("a file of the lab");
        let mut server = Server::start_with(lab, &["--config", &settings.to_string_lossy()]);
        let alice = server.user("alice");
        let uri = "sip:somebody@elsewhere.test".to_owned();
        let ask = Case { uri, authenticated: true, ..case("INVITE", "", 504) }.scenario();
        system(&mut sipp_with(lab, server.address, "silent", &ask, &alice, 5150));
        server.stop();
    });
}

/// Asks them all, and tells all that went wrong.
fn ask_all(lab: &Lab, server: &Server, user: &User, cases: &[Case], transports: &[&str]) {
    let mut failed = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        for transport in transports {
            let name = format!("{number}-{}-{}-{transport}", case.status, case.method);
            let mut command = sipp_with(lab, server.address, &name, &case.scenario(), user, 5150);
            let output = command.args(["-t", transport]).output().expect("sipp can be run");
            if !output.status.success() {
                let errors = std::fs::read_to_string(lab.path(&format!("{name}.log"))).unwrap_or_default();
                failed.push(format!("{name}: {}\n{errors}", output.status));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// What a plan refuses, a registrar that insists on an extension, and times that pass sooner than usual.
const STRICT: &str = "\
[timers]
t1 = \"50ms\"
[registrar]
requires = [\"path\"]
[calls]
session_expires_min = \"2m\"
[dial_plan]
unknown_user = \"604\"
[[rule]]
name = \"gone\"
number = \"1234\"
to = \"refuse\"
code = 410
[[alias]]
name = [\"info\"]
user = \"alice\"
[[alias]]
name = [\"info\"]
user = \"bob\"
";

#[test]
fn a_plan_a_strict_registrar_and_a_silent_phone_refuse_too() {
    lab(|lab| {
        let settings = lab.path("dialtone.toml");
        std::fs::write(&settings, STRICT).expect("a file of the lab can be written");
        let mut server = Server::start_with(lab, &["--config", &settings.to_string_lossy()]);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        let with = |case: Case, more: &str| Case { more: more.to_owned(), authenticated: true, ..case };
        let contact = "Contact: <sip:alice@[local_ip]:[local_port]>";
        // Bob's phone takes everything and says nothing.
        let _silent = UdpSocket::bind((ADDRESS, 5190)).expect("a port of the lab");
        let bobs = format!("Supported: path\r\nContact: <sip:bob@{ADDRESS}:5190>\r\n");
        let registered = Case { from: "bob", ..with(case("REGISTER", "", 200), &bobs) };
        ask_all(lab, &server, &bob, &[registered], &["u1"]);
        let inner = "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKinner\r\nSupported: path, outbound\r\n";
        let instance = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\";reg-id=1";
        let cases = [
            Case { authenticated: true, ..case("INVITE", "bob", 408) },
            case("INVITE", "1234", 410),
            Case {
                says: Some(("Require:", "path")),
                ..with(case("REGISTER", "", 421), &format!("{contact}\r\n"))
            },
            Case {
                says: Some(("Min-SE:", "120")),
                ..with(case("INVITE", "bob", 422), "Supported: timer\r\nSession-Expires: 100\r\n")
            },
            with(case("REGISTER", "", 439), &format!("{inner}{contact};{instance}\r\n")),
            with(case("INVITE", "bob", 440), "Max-Breadth: 0\r\n"),
            Case { authenticated: true, ..case("INVITE", "info", 485) },
            Case { authenticated: true, ..case("INVITE", "nobody", 604) },
        ];
        ask_all(lab, &server, &alice, &cases, &["u1"]);
        server.stop();
    });
}

/// The branches of the first two requests of a dialog.
const BRANCHES: [&str; 2] = ["z9hG4bK-[call_id]-1", "z9hG4bK-[call_id]-2"];
/// The To tag that the phone has given.
const TAG: &str = "[peer_tag_param]";

/// A request to a phone itself.
fn to_phone(method: &str, cseq: u32, to_tag: &str, branch: &str, body: &str) -> String {
    let kind = match body {
        "" => "Content-Length: 0",
        _ => "Content-Type: application/sdp\r\nContent-Length: [len]",
    };
    format!(
        "{method} sip:bob@[remote_ip]:[remote_port] SIP/2.0\r\n\
         Via: SIP/2.0/[transport] [local_ip]:[local_port];branch={branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@{DOMAIN}>;tag=[pid]c[call_number]\r\nTo: <sip:bob@{DOMAIN}>{to_tag}\r\n\
         Call-ID: [call_id]\r\nCSeq: {cseq} {method}\r\nContact: <sip:alice@[local_ip]:[local_port]>\r\n\
         {kind}\r\n\r\n{body}"
    )
}

/// An INVITE that rings.
fn ringing() -> Xml {
    let mut xml = Xml::new();
    xml.send(&to_phone("INVITE", 1, "", BRANCHES[0], AUDIO));
    xml.0.push_str("<recv response=\"100\" optional=\"true\"/>\n<recv response=\"180\"/>\n");
    xml
}

/// And its end: 487 for who is cancelled.
fn cancelled(mut xml: Xml) -> String {
    xml.send(&to_phone("CANCEL", 1, "", BRANCHES[0], ""));
    xml.0.push_str("<recv response=\"200\"/>\n<recv response=\"487\"/>\n");
    xml.send_once(&to_phone("ACK", 1, TAG, BRANCHES[0], ""));
    xml.end()
}

#[test]
fn a_phone_refuses_what_comes_at_the_wrong_moment() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        // A second INVITE before the first one is answered.
        let mut hurried = ringing();
        hurried.send(&to_phone("INVITE", 2, TAG, BRANCHES[1], AUDIO));
        hurried.receive(500, Some(("Retry-After:", "[0-9]")));
        hurried.send_once(&to_phone("ACK", 2, TAG, BRANCHES[1], ""));
        // The first one once more, by another way.
        let mut merged = ringing();
        merged.send(&to_phone("INVITE", 1, "", BRANCHES[1], AUDIO));
        merged.receive(482, None);
        let mut waiting = phone(&bob, &["--answer-after", "20"]);
        let scenarios = [("cancelled", ringing()), ("hurried", hurried), ("merged", merged)];
        for (name, scenario) in scenarios {
            let scenario = cancelled(scenario);
            system(&mut sipp_with(lab, address_of(&waiting), name, &scenario, &alice, 5150));
        }
        assert!(waiting.terminate(PATIENCE).success(), "{}", waiting.output());
        // An offer while the phone's own, in the 2xx to an INVITE without one, has no answer yet.
        let mut crossed = Xml::new();
        crossed.send(&to_phone("INVITE", 1, "", BRANCHES[0], ""));
        for provisional in [100, 180] {
            let _ = writeln!(crossed.0, "<recv response=\"{provisional}\" optional=\"true\"/>");
        }
        crossed.receive(200, None);
        crossed.send(&to_phone("INVITE", 2, TAG, BRANCHES[1], AUDIO));
        crossed.receive(491, None);
        crossed.send_once(&to_phone("ACK", 2, TAG, BRANCHES[1], ""));
        crossed.send_once(&to_phone("ACK", 1, TAG, "[branch]", AUDIO));
        crossed.send(&to_phone("BYE", 3, TAG, "[branch]", ""));
        crossed.receive(200, None);
        let mut quick = phone(&bob, &["--answer"]);
        let scenario = crossed.end();
        system(&mut sipp_with(lab, address_of(&quick), "crossed", &scenario, &alice, 5150));
        assert!(quick.terminate(PATIENCE).success(), "{}", quick.output());
        server.stop();
    });
}

/// Where a phone listens.
fn address_of(phone: &Process) -> SocketAddr {
    let ready = phone.out().iter().find(|line| line.contains("\"ready\"")).expect("it runs");
    let ready: Value = serde_json::from_str(ready).expect("JSON");
    ready["address"].as_str().and_then(|address| address.parse().ok()).expect("an address")
}
