//! A server that is started, told to read its settings again, and ended, as service managers do it.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Client, Request};
use crate::lab::{ADDRESS, Lab, dialtone, lab, system};
use crate::process::Process;
use crate::serve::{DOMAIN, Server};
use crate::sipp::sipp;

const PATIENCE: Duration = Duration::from_secs(15);

fn settings(lab: &Lab, text: &str) -> String {
    let path = lab.path("dialtone.toml");
    std::fs::write(&path, text).expect("a file of the lab can be written");
    path.display().to_string()
}

fn signal(server: &Server, name: &str) {
    system(Command::new("sh").args(["-c", &format!("kill -{name} {}", server.process.id())]));
}

fn run(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(dialtone()).args(arguments).output().expect("the program runs");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, text)
}

/// The longest registration that the server grants, in seconds.
fn longest_registration(server: &Server) -> String {
    let mut client = Client::new(server.address);
    let response = client.register(&server.user("alice"), Some(1_000_000));
    assert_eq!(response.status, 200, "{response:?}");
    let own = client.address().to_string();
    let mut contacts = response.headers("Contact").flat_map(|line| line.split(','));
    let contact = contacts.find(|contact| contact.contains(&own)).expect("our contact");
    let (_, expires) = contact.split_once("expires=").expect("its time");
    expires.split(';').next().unwrap_or_default().to_owned()
}

#[test]
fn check_tells_all_problems_with_line_and_remedy() {
    lab(|lab| {
        let good = settings(lab, "[registrar]\nexpires_max = \"3h\"\n");
        assert_eq!(run(&["check", "--config", &good]).0.status.code(), Some(0));
        let bad = settings(lab, "[registrar]\nexpire_max = \"3h\"\n\n[server]\nshards = 100\n");
        let (output, text) = run(&["check", "--config", &bad]);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for part in [":2:1: ", "did you mean `expires_max`?", ":5:10: ", "write 64 or less", "2 problems"] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        let (output, _) = run(&["check", "--json", "--config", &bad]);
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((&report["schema"], &report["ok"]), (&Value::from(1), &Value::from(false)));
        assert_eq!(report["problems"][0]["line"], 2);
        assert_eq!(report["problems"][1]["key"], "server.shards");
        let (output, text) = run(&["serve", "--config", &bad]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("did you mean") && text.contains("64 or less"), "{text}");
    });
}

#[test]
fn the_printed_defaults_are_good_settings() {
    lab(|lab| {
        let output = Command::new(dialtone()).args(["serve", "--print-defaults"]).output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let file = settings(lab, &text);
        let (output, text) = run(&["check", "--config", &file]);
        assert!(output.status.success(), "{text}");
    });
}

#[test]
fn a_hangup_signal_reads_the_settings_again_and_a_bad_file_changes_nothing() {
    lab(|lab| {
        let file = settings(lab, "[registrar]\nexpires_max = \"90m\"\n[log]\nformat = \"json\"\n");
        let mut server = Server::start_with(lab, &["--config", &file]);
        assert_eq!(longest_registration(&server), "5400");
        settings(lab, "[registrar]\nexpires_max = \"80m\"\n[log]\nformat = \"json\"\n[server]\nshards = 2\n");
        signal(&server, "HUP");
        let line = server.process.wait_for("the settings were read again", PATIENCE);
        let line: Value = serde_json::from_str(&line).expect("a log of JSON lines");
        assert_eq!((&line["level"], &line["changed"]), (&"INFO".into(), &"registrar.expires_max".into()));
        assert_eq!(line["needs_restart"], "server.shards");
        let time = line["timestamp"].as_str().expect("a time");
        assert!(time.len() == "2026-01-01T00:00:00.000000Z".len() && time.ends_with('Z'), "{time}");
        settings(lab, "[registrar]\nexpires_max = \"70m\"\nfoo = 1\n");
        signal(&server, "HUP");
        let line = server.process.wait_for("those of before go on", PATIENCE);
        assert!(line.contains("dialtone.toml:3:1"), "{line}");
        assert_eq!(longest_registration(&server), "4800");
        server.stop();
    });
}

#[test]
fn the_end_says_bye_in_a_call_that_is_up() {
    lab(|lab| {
        let mut server = Server::start_with(lab, &["--open"]);
        let alice = server.user("alice");
        let mut call = sipp(lab, &server, "call_until_bye", &alice, 5150);
        let mut caller = Process::start(call.args(["-s", "echo", "-m", "1"]));
        server.process.wait_for("a robot answered", PATIENCE);
        server.stop();
        let status = caller.finish(PATIENCE);
        assert!(status.success(), "SIPp got no BYE: {status}\n{}", caller.output());
    });
}

/// Bob is registered and lets his phone ring.
fn ringing(server: &Server) -> (Client, Client) {
    let mut bob = Client::new(server.address);
    let (domain, uri) = (format!("sip:{DOMAIN}"), format!("sip:bob@{DOMAIN}"));
    let more = format!("Contact: <sip:bob@{}>\r\nExpires: 600\r\n", bob.address());
    let register = Request { method: "REGISTER", uri: &domain, from: "bob", to: &uri, more };
    assert_eq!(bob.ask(&register).status, 200);
    let mut alice = Client::new(server.address);
    let invite = invite(&mut alice);
    alice.send(invite.as_bytes());
    let came = bob.receive(PATIENCE).expect("the call comes to bob");
    assert!(came.starts_with(b"INVITE "), "{}", String::from_utf8_lossy(&came));
    (alice, bob)
}

fn invite(alice: &mut Client) -> String {
    let uri = format!("sip:bob@{DOMAIN}");
    let more = format!("Contact: <sip:alice@{}>\r\n", alice.address());
    alice.text(&Request { method: "INVITE", uri: &uri, from: "alice", to: &uri, more })
}

#[test]
fn new_calls_are_refused_while_one_rings_and_a_second_signal_ends_at_once() {
    lab(|lab| {
        let mut server = Server::start_with(lab, &["--open"]);
        let (_alice, _bob) = ringing(&server);
        signal(&server, "TERM");
        let mut carol = Client::new(server.address);
        // The signal may take its time to be seen: the call that is refused is the first that comes after.
        let end = Instant::now() + PATIENCE;
        let refused = loop {
            let call = invite(&mut carol);
            let response = carol.ask_raw(call.as_bytes());
            if let Some(response) = response {
                break response;
            }
            assert!(Instant::now() < end, "no call is refused");
        };
        assert_eq!(refused.status, 503, "{refused:?}");
        assert_eq!(refused.headers("Retry-After").next(), Some("10"));
        let start = Instant::now();
        server.stop();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        let errors = server.process.errors().join("\n");
        assert!(errors.contains("asked a second time to stop"), "{errors}");
    });
}

#[test]
fn what_rings_for_ever_is_left_when_the_time_to_drain_is_over() {
    lab(|lab| {
        let file = settings(lab, "[server]\ndrain = \"300ms\"\n");
        let mut server = Server::start_with(lab, &["--open", "--config", &file]);
        let (_alice, _bob) = ringing(&server);
        server.stop();
        let errors = server.process.errors().join("\n");
        assert!(errors.contains("the time to drain is over"), "{errors}");
    });
}

#[test]
fn a_port_in_use_is_told_in_one_sentence() {
    lab(|lab| {
        let server = Server::start(lab);
        let (listen, data) = (format!("udp:{}", server.address), lab.path("other").display().to_string());
        let (output, text) = run(&["serve", "--data", &data, "--listen", &listen]);
        assert_eq!(output.status.code(), Some(3), "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("dialtone: ")).collect();
        assert_eq!(lines.len(), 1, "{text}");
        assert!(lines[0].contains(ADDRESS) && lines[0].contains("another program has the port"), "{text}");
    });
}

#[test]
fn a_service_manager_is_told_of_each_turn() {
    lab(|lab| {
        let path = lab.path("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket of the lab");
        manager.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let next = |wanted: &str| loop {
            let mut room = [0; 300];
            let length = manager.recv(&mut room).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            let word = String::from_utf8_lossy(&room[..length]).into_owned();
            // It lives in between.
            if word != "WATCHDOG=1" || wanted == word {
                assert!(word.starts_with(wanted), "{word} instead of {wanted}");
                return;
            }
        };
        let mut command = Command::new(dialtone());
        command.args(["serve", "--json", "--domain", DOMAIN, "--listen", "udp:127.0.0.1:0", "--data"]);
        command.arg(lab.path("data")).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
        let mut process = Process::start(&mut command);
        next("READY=1");
        next("WATCHDOG=1");
        system(Command::new("sh").args(["-c", &format!("kill -HUP {}", process.id())]));
        next("RELOADING=1");
        next("READY=1");
        let status = process.terminate(PATIENCE);
        assert!(status.success(), "{status}\n{}", process.output());
        next("STOPPING=1");
    });
}

#[test]
fn the_unit_is_right_and_hardened() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    let folder = tempfile::tempdir().expect("a folder");
    // The program need not be installed for its unit to be looked at.
    let unit: PathBuf = folder.path().join("dialtone.service");
    let text = std::fs::read_to_string(packaging.join("dialtone.service")).expect("the unit");
    std::fs::write(&unit, text.replace("/usr/bin/dialtone", "/bin/true")).expect("a file");
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let output = command.args(arguments).arg(&unit).output().expect("systemd-analyze (Debian: systemd)");
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {}\n{text}", output.status);
        text
    };
    let found = analyze(&["verify", "--man=no", "--generators=no"]);
    assert!(!found.contains("dialtone.service"), "{found}");
    // The threshold is in tenths: exposure 2.0 of 10.
    analyze(&["security", "--offline=yes", "--threshold=20", "--no-pager"]);
}
