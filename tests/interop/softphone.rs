//! `dialtone call`, `phone` and `options` as black boxes, against real phones and a real proxy.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::kamailio::{Kamailio, PASSWORD};
use crate::lab::{ADDRESS, Lab, Network, dialtone, lab};
use crate::phone::{Phone, Setup, sip_port};
use crate::process::Process;
use crate::serve::{DOMAIN, PORT, Server, User, tcp};
use crate::sipp::{listening, sipp_to};
use crate::wav::Recording;

/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a baresip talks to us.
const TALK: Duration = Duration::from_secs(4);

/// The verdicts' exit codes, as docs/manual/exit-codes.md has them.
const OK: i32 = 0;
const BUSY: i32 = 10;
const NO_ANSWER: i32 = 11;
const DECLINED: i32 = 12;
const WRONG_PASSWORD: i32 = 13;
const NOBODY_THERE: i32 = 14;
const UNREACHABLE: i32 = 15;
const NO_AUDIO: i32 = 17;
const ONE_WAY_AUDIO: i32 = 18;
const TONE_NOT_HEARD: i32 = 19;

/// A port of the lab that nothing listens on.
const DEAD: &str = "10.9.0.1:5999";

/// Who calls, and by which server.
struct Caller {
    user: User,
    domain: &'static str,
    proxy: SocketAddr,
    /// `udp` or `tcp`.
    transport: &'static str,
}

impl Caller {
    fn new(user: User, proxy: SocketAddr) -> Caller {
        Caller { user, domain: DOMAIN, proxy, transport: "udp" }
    }

    fn over(self, transport: &'static str) -> Caller {
        Caller { transport, ..self }
    }

    fn arguments(&self, command: &str) -> Vec<String> {
        let proxy = format!("sip:{};transport={}", self.proxy, self.transport);
        let all = [
            command,
            "--user",
            &self.user.name,
            "--password",
            &self.user.password,
            "--domain",
            self.domain,
            "--proxy",
            &proxy,
            "--json",
        ];
        all.map(str::to_owned).to_vec()
    }

    /// Calls and checks the exit code; returns the report.
    fn call(&self, to: &str, arguments: &[&str], expected: i32) -> Value {
        let mut command = Command::new(dialtone());
        command.args(self.arguments("call")).arg(to).args(arguments);
        let output = command.output().expect("the program under test can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        let report: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{errors}"));
        assert_eq!(output.status.code(), Some(expected), "{command:?}\n{text}{errors}");
        assert_eq!(report["schema"], 1, "{text}");
        assert_eq!(report["exit_code"], expected, "{text}");
        assert_eq!(report["ok"], expected == OK, "{text}");
        assert_eq!(text.lines().count(), 1, "nothing but the result when it is no terminal: {text}");
        report
    }

    /// Starts `dialtone phone`, which answers at once unless it is told something else, and waits until it is registered.
    fn phone(&self, arguments: &[&str]) -> Process {
        let mut command = Command::new(dialtone());
        command.args(self.arguments("phone")).args(arguments);
        let is_told = |argument: &&str| {
            ["--answer-after", "--busy", "--decline"].iter().any(|told| argument.starts_with(told))
        };
        if !arguments.iter().any(is_told) {
            command.arg("--answer");
        }
        let mut phone = Process::start(&mut command);
        phone.wait_for("\"registered\"", PATIENCE);
        phone
    }
}

/// Ends a phone in good order.
fn switch_off(mut phone: Process) {
    let status = phone.terminate(PATIENCE);
    assert!(status.success(), "the phone ended with {status}\n{}", phone.output());
    assert!(phone.out().iter().any(|line| line.contains("\"unregistered\"")), "{}", phone.output());
}

fn is_near(tone: &Value, hertz: f64) -> bool {
    tone.as_f64().is_some_and(|hz| (hz - hertz).abs() < 5.0)
}

fn setup<'a>(user: &'a User, home: &'a Network, answers: bool) -> Setup<'a> {
    let (number, hertz) = if answers { (2, 1000.0) } else { (1, 440.0) };
    Setup { number, network: home, user, hertz, answers, transport: "udp", codec: "PCMA" }
}

fn setup_over<'a>(transport: &'static str, user: &'a User, home: &'a Network, answers: bool) -> Setup<'a> {
    Setup { transport, ..setup(user, home, answers) }
}

fn user(name: &str) -> User {
    User { name: name.to_owned(), password: PASSWORD.to_owned() }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::new(ADDRESS.parse().expect("an address"), port)
}

#[test]
fn a_call_to_a_real_phone_is_heard_both_ways() {
    lab(|lab| a_real_phone_is_called(lab, "udp"));
}

#[test]
fn a_call_to_a_real_phone_is_heard_both_ways_over_tcp() {
    lab(|lab| a_real_phone_is_called(lab, "tcp"));
}

#[test]
fn a_real_phone_is_called_by_its_address_and_nobody_stands_between() {
    lab(|lab| {
        let server = Server::start(lab);
        let (home, bob) = (Network::home(), server.user("bob"));
        let setup = setup(&bob, &home, true);
        let mut callee = Phone::register(lab, &setup);
        let to = SocketAddr::new(home.theirs, sip_port(setup.number));
        let mut command = Command::new(dialtone());
        command.args(["call", &format!("sip:bob@{to}"), "--tone", "440", "--expect-tone", "1000"]);
        command.args(["--duration", "4", "--codec", "PCMA", "--json"]);
        let output = command.output().expect("the program under test can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(OK), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_str(&text).expect("the result is JSON");
        assert!(is_near(&report["audio"]["received"]["tone_hz"], 1000.0), "{report}");
        callee.wait_for_the_end();
        let heard = callee.recording().find(440.0);
        assert!(heard.is_heard(), "the phone does not hear us: {heard:?}");
    });
}

fn a_real_phone_is_called(lab: &Lab, transport: &'static str) {
    let server = Server::start_with(lab, &["--listen", &tcp()]);
    let (home, bob) = (Network::home(), server.user("bob"));
    let mut callee = Phone::register(lab, &setup_over(transport, &bob, &home, true));
    let file = lab.path("heard.wav");
    let path = file.display().to_string();
    let arguments =
        ["--tone", "440", "--expect-tone", "1000", "--duration", "4", "--codec", "PCMA", "--record", &path];
    let alice = Caller::new(server.user("alice"), server.address).over(transport);
    let report = alice.call("bob", &arguments, OK);
    assert!(is_near(&report["audio"]["received"]["tone_hz"], 1000.0), "{report}");
    assert_eq!(report["audio"]["codec"], "PCMA", "{report}");
    assert!(Recording::read(&file).find(1000.0).is_heard(), "{:?}", Recording::read(&file).find(1000.0));
    callee.wait_for_the_end();
    let heard = callee.recording().find(440.0);
    assert!(heard.is_heard(), "the phone does not hear us: {heard:?}");
}

#[test]
fn ringback_is_heard_until_the_answer_and_then_the_called_phone_alone() {
    /// Anything above is heard, and what is below half of it is not there.
    const HEARD: f64 = 0.02;
    lab(|lab| {
        let server = Server::start(lab);
        let bob = Caller::new(server.user("bob"), server.address);
        let callee = bob.phone(&["--answer-after", "3", "--tone", "1000"]);
        let file = lab.path("heard.wav");
        let path = file.display().to_string();
        let alice = Caller::new(server.user("alice"), server.address);
        let report = alice.call("bob", &["--tone", "440", "--duration", "3", "--record", &path], OK);
        let rang = report["ringback_s"].as_f64().expect("a time");
        assert!((2.8..3.6).contains(&rang), "{report}");
        let recording = Recording::read(&file);
        let (ringback, callee_tone) = (recording.levels(425.0), recording.levels(1000.0));
        // One second of the tone, then nothing, then bob.
        assert!(ringback[..10].iter().all(|level| *level > 0.08), "{ringback:?}");
        assert!(ringback[10..].iter().all(|level| *level < HEARD / 2.0), "{ringback:?}");
        let answer = callee_tone.iter().position(|level| *level > HEARD).expect("bob is heard");
        assert!((28..37).contains(&answer), "{callee_tone:?}");
        assert!(callee_tone[..answer].iter().all(|level| *level < HEARD / 2.0), "{callee_tone:?}");
        // Three seconds were sent; a machine that stood still in between has less of them in the recording.
        assert!(callee_tone[answer + 1..answer + 11].iter().all(|level| *level > 0.08), "{callee_tone:?}");
        switch_off(callee);
    });
}

#[test]
fn early_media_take_the_place_of_ringback() {
    lab(|lab| {
        let port = 5160;
        let scenario = "ring_then_early_media";
        let mut ringing =
            listening(sipp_to(lab, address(PORT), scenario, &user("bob"), port).args(["-m", "1"]));
        let file = lab.path("heard.wav");
        let path = file.display().to_string();
        let alice = Caller::new(user("alice"), address(port));
        let arguments =
            ["--no-media", "--tone", "1000", "--duration", "1", "--ringback", "us", "--record", &path];
        let report = alice.call("bob", &arguments, OK);
        // It rings for a second before the 183 with SDP; the 180 after that changes nothing.
        let rang = report["ringback_s"].as_f64().expect("a time");
        assert!((0.9..1.6).contains(&rang) && report["answered_after_s"].as_f64() > Some(2.9), "{report}");
        // The session began with the 183, two seconds before the answer: so much more was sent than in the talk.
        assert!(report["audio"]["sent"]["packets"].as_u64() > Some(130), "{report}");
        // SIPp sends no sound, so that nothing comes after the ringback.
        let levels = Recording::read(&file).levels(440.0);
        assert!((9..17).contains(&levels.len()) && levels.iter().all(|level| *level > 0.05), "{levels:?}");
        let status = ringing.finish(PATIENCE);
        assert!(status.success(), "{status}\n{}", ringing.output());
    });
}

#[test]
fn a_real_phone_calls_ours_and_both_hear_each_other() {
    lab(|lab| {
        let server = Server::start(lab);
        our_phone_is_called(lab, server.user("alice"), server.user("bob"), server.address, "udp");
    });
}

#[test]
fn a_real_phone_calls_ours_over_tcp_and_both_hear_each_other() {
    lab(|lab| {
        let server = Server::start_with(lab, &["--listen", &tcp()]);
        our_phone_is_called(lab, server.user("alice"), server.user("bob"), server.address, "tcp");
    });
}

/// A baresip of `caller` calls our phone of `callee`; both are users of the server at `proxy`.
fn our_phone_is_called(lab: &Lab, caller: User, callee: User, proxy: SocketAddr, transport: &'static str) {
    let home = Network::home();
    let folder = lab.path("recordings");
    let path = folder.display().to_string();
    let called = format!("sip:{}@{DOMAIN}", callee.name);
    let mut ours = Caller::new(callee, proxy).over(transport).phone(&["--tone", "1000", "--record", &path]);
    let mut theirs = Phone::register(lab, &setup_over(transport, &caller, &home, false));
    theirs.call(&called);
    theirs.talk(TALK);
    theirs.hang_up();
    let line = ours.wait_for("\"ended\"", PATIENCE);
    let ended: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
    assert_eq!(ended["reason"], "remote-hangup", "{line}");
    assert!(is_near(&ended["audio"]["received"]["tone_hz"], 440.0), "{line}");
    let recorded = Recording::read(&folder.join("call-1.wav")).find(440.0);
    assert!(recorded.is_heard(), "{recorded:?}");
    switch_off(ours);
    let heard = theirs.recording().find(1000.0);
    assert!(heard.is_heard(), "the phone does not hear ours: {heard:?}");
}

#[test]
fn the_echo_of_our_server_is_measured() {
    lab(|lab| {
        let server = Server::start(lab);
        let alice = Caller::new(server.user("alice"), server.address);
        let report = alice.call("echo", &["--tone", "700", "--expect-tone", "700", "--duration", "2"], OK);
        assert!(is_near(&report["audio"]["received"]["tone_hz"], 700.0), "{report}");
        let level = report["audio"]["received"]["level_dbfs"].as_f64().unwrap_or_default();
        assert!((-20.0..-12.0).contains(&level), "{report}");
        alice.call("echo", &["--tone", "700", "--expect-tone", "900", "--duration", "2"], TONE_NOT_HEARD);
    });
}

#[test]
fn where_bodies_are_protected_too_our_phone_registers_and_calls() {
    lab(|lab| {
        let settings = lab.path("dialtone.toml");
        std::fs::write(&settings, "[digest]\nintegrity = \"required\"\n").expect("a file of the lab");
        let mut server = Server::start_with(lab, &["--config", &settings.to_string_lossy()]);
        let bob = Caller::new(server.user("bob"), server.address);
        let phone = bob.phone(&["--echo"]);
        let alice = Caller::new(server.user("alice"), server.address);
        alice.call("bob", &["--tone", "700", "--expect-tone", "700", "--duration", "2"], OK);
        switch_off(phone);
        let counters = server.stop();
        assert_eq!(counters["engine"]["wrong_password"], 0, "{counters}");
    });
}

#[test]
fn each_way_in_which_a_call_fails_has_its_exit_code() {
    lab(|lab| {
        let server = Server::start(lab);
        let bob = Caller::new(server.user("bob"), server.address);
        let alice = Caller::new(server.user("alice"), server.address);
        alice.call("nobody", &[], NOBODY_THERE);
        alice.call("bob", &[], NOBODY_THERE);
        let guessed = User { name: "alice".to_owned(), password: "guessed".to_owned() };
        Caller::new(guessed, server.address).call("echo", &[], WRONG_PASSWORD);
        Caller::new(server.user("alice"), DEAD.parse().expect("an address")).call("echo", &[], UNREACHABLE);
        for (way, arguments, expected) in [
            ("--busy", &[][..], BUSY),
            ("--decline", &[], DECLINED),
            ("--answer-after=60", &["--ring", "1"], NO_ANSWER),
            ("--codec=PCMU", &["--duration", "1.5"], NO_AUDIO),
            ("--codec=PCMA", &["--duration", "1", "--no-media"], OK),
        ] {
            let phone = bob.phone(&[way]);
            alice.call("bob", arguments, expected);
            switch_off(phone);
        }
    });
}

#[test]
fn our_phone_with_a_wrong_password_ends_and_says_so() {
    lab(|lab| {
        let server = Server::start(lab);
        let guessed = User { name: "bob".to_owned(), password: "guessed".to_owned() };
        let arguments = Caller::new(guessed, server.address).arguments("phone");
        let mut phone = Process::start(Command::new(dialtone()).args(arguments).arg("--answer"));
        assert_eq!(phone.finish(PATIENCE).code(), Some(WRONG_PASSWORD), "{}", phone.output());
        assert!(phone.output().contains("\"wrong_password\":true"), "{}", phone.output());
    });
}

/// baresip receives RTP on even ports from 20200 and RTCP on the odd ones; what is dropped decides what it can report.
#[test]
fn audio_in_one_direction_is_told_from_none() {
    const EVEN: &str = "20200,20202,20204,20206,20208,20210,20212,20214,20216,20218,20220,20222,20224,20226,20228,\
                        20230,20232,20234,20236,20238,20240,20242,20244,20246,20248,20250,20252,20254,20256,20258,\
                        20260,20262,20264,20266,20268,20270,20272,20274,20276,20278,20280,20282,20284,20286,20288,20290";
    lab(|lab| {
        let server = Server::start(lab);
        let (home, bob) = (Network::home(), server.user("bob"));
        let mut callee = Phone::register(lab, &setup(&bob, &home, true));
        let alice = Caller::new(server.user("alice"), server.address);
        for (rule, seconds, expected, word) in [
            (format!("udp sport {{ {EVEN} }} drop"), "8", ONE_WAY_AUDIO, "the far end hears us"),
            (format!("udp dport {{ {EVEN} }} drop"), "14", ONE_WAY_AUDIO, "we hear the far end"),
            ("udp dport 16384-32766 drop".to_owned(), "3", NO_AUDIO, "no audio"),
        ] {
            lab.nft(&format!(
                "table inet lab\ndelete table inet lab\ntable inet lab {{\nchain in {{\ntype filter hook input \
                 priority 0;\n{rule}\n}}\n}}\n"
            ));
            let report = alice.call("bob", &["--tone", "440", "--duration", seconds], expected);
            assert!(report["verdict"].as_str().is_some_and(|verdict| verdict.contains(word)), "{report}");
            callee.wait_for_the_end();
        }
    });
}

#[test]
fn options_tells_what_the_far_end_can_do_and_who_is_not_there() {
    lab(|lab| {
        let server = Server::start(lab);
        let ask = |to: &str| {
            let output = Command::new(dialtone()).args(["options", to, "--wait", "2", "--json"]).output();
            let output = output.expect("the program under test can be run");
            let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
            (output.status.code(), report)
        };
        let (code, report) = ask(&format!("sip:{}", server.address));
        assert_eq!(code, Some(OK), "{report}");
        assert_eq!(report["status"], 200, "{report}");
        assert!(report["round_trip_ms"].as_f64().is_some_and(|ms| ms > 0.0 && ms < 1000.0), "{report}");
        assert!(report["allow"].as_array().is_some_and(|allow| allow.iter().any(|one| one == "INVITE")));
        let (code, report) = ask(&format!("sip:{DEAD}"));
        assert_eq!((code, report["status"].is_null()), (Some(UNREACHABLE), true), "{report}");
    });
}

#[test]
fn our_phone_registers_at_kamailio_and_is_called_through_it() {
    lab(|lab| {
        let kamailio = Kamailio::registrar(lab, address(PORT), DOMAIN);
        our_phone_is_called(lab, user("alice"), user("bob"), kamailio.address, "udp");
        let alice = Caller::new(user("alice"), kamailio.address);
        let phone = Caller::new(user("bob"), kamailio.address).phone(&["--echo"]);
        alice.call("bob", &["--tone", "440", "--expect-tone", "440", "--duration", "2"], OK);
        switch_off(phone);
        alice.call("bob", &[], NOBODY_THERE);
        let guessed = User { name: "alice".to_owned(), password: "guessed".to_owned() };
        Caller::new(guessed, kamailio.address).call("bob", &[], WRONG_PASSWORD);
    });
}

#[test]
fn our_phone_registers_at_kamailio_over_tcp_and_is_called_through_it() {
    lab(|lab| {
        let kamailio = Kamailio::registrar(lab, address(PORT), DOMAIN);
        our_phone_is_called(lab, user("alice"), user("bob"), kamailio.address, "tcp");
        let phone = Caller::new(user("bob"), kamailio.address).over("tcp").phone(&["--echo"]);
        let alice = Caller::new(user("alice"), kamailio.address).over("tcp");
        alice.call("bob", &["--tone", "440", "--expect-tone", "440", "--duration", "2"], OK);
        switch_off(phone);
    });
}

#[test]
fn our_server_stands_behind_kamailio() {
    lab(|lab| {
        let server = Server::start_with(lab, &["--listen", &tcp()]);
        let edge = Kamailio::edge(lab, address(5070), server.address);
        for transport in ["udp", "tcp"] {
            let bob = Caller::new(server.user("bob"), edge.address).over(transport);
            let phone = bob.phone(&["--tone", "1000"]);
            let alice = Caller::new(server.user("alice"), edge.address).over(transport);
            alice.call("bob", &["--tone", "440", "--expect-tone", "1000", "--duration", "2"], OK);
            alice.call("echo", &["--tone", "440", "--expect-tone", "440", "--duration", "2"], OK);
            alice.call("nobody", &[], NOBODY_THERE);
            switch_off(phone);
        }
    });
}

/// Our server forwards to any domain and asks for no password; Kamailio's challenge and its answer pass through it.
#[test]
fn our_server_stands_in_front_of_kamailio() {
    const THEIR_DOMAIN: &str = "kamailio.test";
    lab(|lab| {
        let server = Server::start_with(lab, &["--open", "--listen", &tcp()]);
        let kamailio = Kamailio::registrar(lab, address(5070), THEIR_DOMAIN);
        let caller =
            |user: User, proxy: SocketAddr| Caller { user, domain: THEIR_DOMAIN, proxy, transport: "udp" };
        let phone = caller(user("carol"), kamailio.address).phone(&["--tone", "1000"]);
        let alice = caller(user("alice"), server.address);
        let carol = format!("sip:carol@{}", kamailio.address);
        alice.call(&carol, &["--tone", "440", "--expect-tone", "1000", "--duration", "2"], OK);
        let over_tcp = caller(user("alice"), server.address).over("tcp");
        let carol_over_tcp = format!("{carol};transport=tcp");
        over_tcp.call(&carol_over_tcp, &["--tone", "440", "--expect-tone", "1000", "--duration", "2"], OK);
        alice.call(&format!("sip:nobody@{}", kamailio.address), &[], NOBODY_THERE);
        let guessed = User { name: "alice".to_owned(), password: "guessed".to_owned() };
        caller(guessed, server.address).call(&carol, &[], WRONG_PASSWORD);
        switch_off(phone);
    });
}
