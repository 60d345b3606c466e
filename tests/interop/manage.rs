//! `dialtone user`, `status` and `reload` beside a running server, as an operator uses them.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{ADDRESS, Lab, dialtone, lab, system};
use crate::process::Process;
use crate::serve::{PORT, Server};
use crate::sipp::{listening, sipp};

/// Runs `dialtone` on the data folder of the lab.
pub(crate) fn run(lab: &Lab, arguments: &[&str]) -> Output {
    let mut command = Command::new(dialtone());
    command.args(arguments).arg("--data").arg(lab.path("data"));
    command.output().expect("dialtone can be run")
}

/// The same with `--json`: the exit code and the object.
pub(crate) fn run_json(lab: &Lab, arguments: &[&str]) -> (i32, Value) {
    let output = run(lab, &[arguments, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in: {output:?}"));
    assert_eq!(value["schema"], 1, "{text}");
    (output.status.code().expect("it ended by itself"), value)
}

/// Whether sipsak can register with this name and secret.
pub(crate) fn registers(name: &str, secret: &str) -> bool {
    let contact = format!("sip:{name}@{ADDRESS}:5170");
    let to = format!("sip:{name}@{ADDRESS}:{PORT}");
    let mut command = Command::new("sipsak");
    command.args(["-v", "-U", "-i", "-C", &contact, "-s", &to, "-u", name, "-a", secret, "-x", "60"]);
    command.output().expect("sipsak can be run").status.success()
}

#[test]
fn a_user_registers_as_soon_as_added_and_no_more_once_removed() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let (code, added) = run_json(lab, &["user", "add", "carol"]);
        assert_eq!((code, &added["users"][0]["domain"]), (0, &Value::from("sip.test")), "{added}");
        let secret = added["users"][0]["password"].as_str().expect("a password was made").to_owned();
        assert_eq!(secret.len(), 20);
        assert!(registers("carol", &secret));
        let (_, status) = run_json(lab, &["status"]);
        assert_eq!(
            (&status["users"], &status["registrations"]),
            (&Value::from(3), &Value::from(1)),
            "{status}"
        );
        assert_eq!(run_json(lab, &["user", "add", "carol"]).0, 1, "she is there already");
        assert_eq!(run_json(lab, &["user", "passwd", "carol", "--password", "another"]).0, 0);
        assert!(!registers("carol", &secret), "the old password");
        assert!(registers("carol", "another"));
        assert_eq!(run_json(lab, &["user", "remove", "carol"]).0, 0);
        assert!(!registers("carol", "another"), "she is removed");
        assert_eq!(run_json(lab, &["user", "remove", "carol"]).0, 1);
        server.stop();
    });
}

#[test]
fn a_thousand_users_of_a_file_are_known_at_once() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let lines: Vec<String> = (0..1000).map(|number| format!("u{number},secret{number}\n")).collect();
        let file = lab.path("users.csv");
        std::fs::write(&file, lines.concat()).expect("a file of the lab");
        let output = run(lab, &["user", "import", &file.to_string_lossy()]);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"1000 users\n".as_slice()));
        assert!(registers("u999", "secret999"));
        let (_, list) = run_json(lab, &["user", "list"]);
        assert_eq!(list["users"].as_array().map(Vec::len), Some(1002));
        server.stop();
    });
}

#[test]
fn without_a_server_users_are_changed_in_the_folder() {
    lab(|lab| {
        assert_eq!(run(lab, &["user", "list"]).status.code(), Some(4), "there is no folder");
        assert_eq!(run(lab, &["user", "add", "dora"]).status.code(), Some(2), "no domain is known");
        let added = run(lab, &["user", "add", "dora", "--password", "secret", "--domain", "sip.test"]);
        assert_eq!(added.status.code(), Some(0), "{added:?}");
        assert_eq!(run(lab, &["status"]).status.code(), Some(1), "no server runs");
        let mut server = Server::start(lab);
        assert!(registers("dora", "secret"));
        server.stop();
    });
}

#[test]
fn a_killed_server_leaves_a_socket_that_the_next_one_replaces() {
    lab(|lab| {
        let server = Server::start(lab);
        assert_eq!(run_json(lab, &["status"]).0, 0);
        // Dropping it kills the process with SIGKILL.
        drop(server);
        assert!(lab.path("data").join("dialtone.sock").exists());
        assert_eq!(run(lab, &["status"]).status.code(), Some(1));
        let mut server = Server::start(lab);
        assert_eq!(run_json(lab, &["status"]).0, 0);
        server.stop();
        assert!(!lab.path("data").join("dialtone.sock").exists());
    });
}

/// What the server says by HTTP.
fn get(path: &str) -> String {
    let url = format!("http://127.0.0.1:9090{path}");
    let output = Command::new("curl").args(["-s", "--max-time", "10", &url]).output();
    String::from_utf8(output.expect("curl can be run").stdout).expect("text")
}

#[test]
fn a_name_in_two_scripts_is_listed_unchanged_while_the_call_goes_on_and_after_it() {
    const PATIENCE: Duration = Duration::from_secs(20);
    const LINE: &str = "\"Zoë 漢字\" <sip:alice@sip.test> -> \"Bob \\\"漢\\\"\" <sip:bob@sip.test>  ";
    let named = |call: &Value| call["from_name"] == "Zoë 漢字" && call["to_name"] == "Bob \"漢\"";
    lab(|lab| {
        let file = lab.path("dialtone.toml");
        std::fs::write(&file, "[http]\nlisten = \"127.0.0.1:9090\"\n").expect("a file of the lab");
        let mut server = Server::start_with(lab, &["--open", "--config", &file.to_string_lossy()]);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        system(sipp(lab, &server, "register_open", &bob, 5160).args(["-m", "1"]));
        let mut answering = listening(sipp(lab, &server, "answer", &bob, 5160).args(["-m", "1"]));
        let mut calling =
            Process::start(sipp(lab, &server, "call_named", &alice, 5150).args(["-s", "bob", "-m", "1"]));
        let end = Instant::now() + PATIENCE;
        let now = loop {
            let (_, calls) = run_json(lab, &["calls"]);
            if calls["now"][0]["state"] == "talking" {
                break calls["now"][0].clone();
            }
            assert!(Instant::now() < end, "{calls}");
            std::thread::sleep(Duration::from_millis(100));
        };
        assert!(named(&now), "{now}");
        // Page by page; those that are answered come last.
        let mut page: Value = serde_json::from_str(&get("/calls")).expect("JSON");
        while let Some(after) = page["next"].as_str() {
            page = serde_json::from_str(&get(&format!("/calls?after={after}"))).expect("JSON");
        }
        assert!(named(&page["calls"][0]), "{page}");
        let text = run(lab, &["calls"]).stdout;
        assert_eq!(String::from_utf8_lossy(&text), format!("{LINE}talking\n"));
        for process in [&mut calling, &mut answering] {
            let status = process.finish(PATIENCE);
            assert!(status.success(), "{status}\n{}", process.output());
        }
        server.stop();
        // From the data folder alone.
        let (_, calls) = run_json(lab, &["calls"]);
        assert!(calls["now"].as_array().is_some_and(Vec::is_empty), "{calls}");
        assert!(named(&calls["ended"][0]) && calls["ended"][0]["end"] == "caller", "{calls}");
        let text = run(lab, &["calls"]).stdout;
        assert!(String::from_utf8_lossy(&text).starts_with(LINE), "{text:?}");
    });
}

#[test]
fn settings_are_read_again_by_command_and_http_tells_what_the_server_holds() {
    lab(|lab| {
        let file = lab.path("dialtone.toml");
        let http = "[http]\nlisten = \"127.0.0.1:9090\"\n";
        std::fs::write(&file, http).expect("a file of the lab");
        let mut server = Server::start_with(lab, &["--config", &file.to_string_lossy()]);
        let alice = server.user("alice");
        assert!(registers("alice", &alice.password));
        assert_eq!(get("/healthz"), "ok\n");
        assert!(get("/metrics").lines().any(|line| line == "dialtone_bindings 1"));
        let page: Value = serde_json::from_str(&get("/registrations")).expect("JSON");
        assert_eq!(page["registrations"][0]["aor"], "sip:alice@sip.test", "{page}");
        assert_eq!(page["next"], Value::Null, "{page}");
        std::fs::write(&file, format!("{http}[registrar]\nexpires_max = \"long\"\n")).expect("a file");
        let (code, report) = run_json(lab, &["reload"]);
        assert_eq!((code, report["problems"].as_array().map(Vec::len)), (1, Some(1)), "{report}");
        std::fs::write(&file, http).expect("a file of the lab");
        assert_eq!(run_json(lab, &["reload"]).0, 0);
        server.stop();
    });
}
