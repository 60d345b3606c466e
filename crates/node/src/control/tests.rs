//! A server on real loopback sockets, asked over its control socket and over HTTP.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{AskError, Control, NamedUser, Put, SOCKET_NAME};
use crate::server::{Data, Server, ServerConfig};

fn start(folder: &Path, settings: &str) -> Server {
    let file = folder.join("dialtone.toml");
    fs::write(&file, settings).expect("a file in a folder of our own");
    let listen = "udp:127.0.0.1:0".parse().expect("an address");
    let config = ServerConfig {
        domains: vec!["sip.test".to_owned()],
        listen: vec![listen],
        file: Some(file),
        ..ServerConfig::new(Data::Folder(folder.join("data")))
    };
    Server::start(config).expect("a server starts")
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    (folder, data)
}

fn user(name: &str, domain: Option<&str>) -> NamedUser {
    NamedUser { name: name.into(), domain: domain.map(Into::into), password: "secret".into() }
}

fn names(control: &mut Control) -> Vec<String> {
    let users = control.users().expect("a list");
    users.into_iter().map(|(name, domain)| format!("{name}@{domain}")).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T, AskError>) -> String {
    match result {
        Err(AskError::Refused { code, .. }) => code,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// One line to the socket, and all that comes back until it is closed.
fn raw(data: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(data.join(SOCKET_NAME)).expect("the socket is there");
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn http(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("HTTP is there");
    stream.write_all(request.as_bytes()).expect("a request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer until the end");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a header and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn get(address: SocketAddr, target: &str) -> (u16, String) {
    http(address, &format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n"))
}

#[test]
fn users_are_added_changed_listed_and_removed_while_the_server_runs_and_without_it() {
    let (folder, data) = folder();
    let change = |running: bool| {
        let mut control = Control::connect_or_open(&data, false).expect("somebody answers");
        assert_eq!(control.is_running(), running);
        assert_eq!(
            control.put_users(&[user("carol", None)], Put::New).expect("a new user"),
            [("carol".to_owned(), "sip.test".to_owned())]
        );
        assert_eq!(code(control.put_users(&[user("dan", None), user("carol", None)], Put::New)), "exists");
        assert_eq!(code(control.put_users(&[user("dan", None)], Put::Existing)), "no-such-user");
        assert_eq!(code(control.put_users(&[user("d n", None)], Put::New)), "bad-request");
        control.put_users(&[user("carol", None)], Put::Existing).expect("a new password");
        assert_eq!(names(&mut control), ["alice@sip.test", "bob@sip.test", "carol@sip.test"]);
        assert_eq!(control.remove_user("carol", None).expect("she was there"), "sip.test");
        assert_eq!(code(control.remove_user("carol", None)), "no-such-user");
    };
    let server = start(folder.path(), "");
    change(true);
    server.stop();
    change(false);
}

#[test]
fn a_running_server_takes_users_of_its_own_domains_only() {
    let (folder, data) = folder();
    let server = start(folder.path(), "");
    let mut control = Control::connect(&data).expect("it runs");
    assert_eq!(code(control.put_users(&[user("carol", Some("b.test"))], Put::New)), "no-such-domain");
    control.put_users(&[user("carol", Some("SIP.test."))], Put::New).expect("that is its domain");
    // The domain may stand behind the name.
    let named = |name: &str, domain| NamedUser::new(name, domain, "secret");
    assert_eq!(code(control.put_users(&[named("dan@b.test", None)], Put::New)), "no-such-domain");
    assert_eq!(code(control.put_users(&[named("dan@sip.test", Some("b.test"))], Put::New)), "bad-request");
    let done = control.put_users(&[named("dan@sip.test", Some("sip.TEST"))], Put::New).expect("said twice");
    assert_eq!(done, [("dan".to_owned(), "sip.test".to_owned())]);
    assert_eq!(control.remove_user("dan@sip.test", None).expect("he was there"), "sip.test");
    server.stop();
}

#[test]
fn a_thousand_users_come_in_few_steps() {
    let (folder, data) = folder();
    let server = start(folder.path(), "");
    let mut control = Control::connect(&data).expect("it runs");
    let users: Vec<NamedUser> = (0..1000).map(|number| user(&format!("u{number}"), None)).collect();
    assert_eq!(control.put_users(&users, Put::Any).expect("they are taken").len(), 1000);
    assert_eq!(control.users().expect("a list").len(), 1002);
    assert_eq!(control.status().expect("a status")["users"], 1002);
    server.stop();
}

#[test]
fn the_status_has_its_fields() {
    let (folder, data) = folder();
    let server = start(folder.path(), "");
    let status = Control::connect(&data).and_then(|mut control| control.status()).expect("a status");
    assert_eq!(status["schema"], 1);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["domains"], json!(["sip.test"]));
    assert_eq!(status["pid"], std::process::id());
    assert_eq!((&status["shards"], &status["shards_silent"]), (&json!(1), &json!(0)));
    assert_eq!((&status["registrations"], &status["calls"]), (&json!(0), &json!(0)));
    assert!(
        status["started"].as_str().is_some_and(|text| text.len() == 20 && text.ends_with('Z')),
        "{status}"
    );
    assert!(status["counters"]["sockets"]["datagrams"].is_u64(), "{status}");
    assert!(status["tables"]["bindings"].is_u64(), "{status}");
    server.stop();
}

#[test]
fn the_settings_are_read_again_by_request() {
    let (folder, data) = folder();
    let server = start(folder.path(), "");
    let mut control = Control::connect(&data).expect("it runs");
    let file = folder.path().join("dialtone.toml");
    fs::write(&file, "[http]\nlisten = \"127.0.0.1:0\"\n").expect("a file");
    let report = control.reload().expect("a report");
    assert_eq!(report["needs_restart"], json!(["http.listen"]), "{report}");
    fs::write(&file, "[nonsense]\n").expect("a file");
    let report = control.reload().expect("a report");
    assert_eq!(report["problems"].as_array().map(Vec::len), Some(1), "{report}");
    server.stop();
}

#[test]
fn an_address_is_blocked_in_all_shards_listed_once_and_freed() {
    let (folder, data) = folder();
    let server = start(folder.path(), "[server]\nshards = 3\n");
    let mut control = Control::connect(&data).expect("it runs");
    let answer = control.block("2001:db8::7", None).expect("blocked");
    assert_eq!(answer["source"], "2001:db8::/64");
    control.block("192.0.2.7", Some(60)).expect("blocked");
    let status = control.status().expect("a status");
    let held_off = status["held_off"].as_array().expect("a list");
    let seen: Vec<_> =
        held_off.iter().map(|entry| (&entry["source"], &entry["user"], &entry["blocked"])).collect();
    let (first, second) = (json!("192.0.2.7"), json!("2001:db8::/64"));
    assert_eq!(seen, [(&first, &Value::Null, &json!(true)), (&second, &Value::Null, &json!(true))]);
    assert_eq!((&held_off[0]["left_s"], &held_off[1]["left_s"]), (&json!(60), &Value::Null));
    let answer = control.unblock(Some("2001:db8::/64")).expect("freed");
    assert_eq!(answer["freed"], json!([{"source": "2001:db8::/64", "user": null}]));
    assert_eq!(control.unblock(Some("alice")).expect("nobody")["freed"], json!([]));
    assert_eq!(control.unblock(None).expect("everybody")["freed"].as_array().map(Vec::len), Some(1));
    assert_eq!(control.status().expect("a status")["held_off"], json!([]));
    assert_eq!(code(control.block("nowhere", None)), "bad-request");
    assert_eq!(code(control.block("192.0.2.7", Some(0))), "bad-request");
    server.stop();
}

#[test]
fn garbage_on_the_socket_is_refused_and_others_are_served() {
    let (folder, data) = folder();
    let server = start(folder.path(), "");
    let long = vec![b'x'; 300 * 1024];
    let deep = [b"[".repeat(100_000).as_slice(), b"\n"].concat();
    for garbage in [b"nonsense\n".as_slice(), b"\xff\0\n", b"{\"schema\":1,\"op\":\"status\"", &long, &deep] {
        let answer = raw(&data, garbage);
        let answer: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
        // A peer that is cut off in the middle of a long line may lose the answer with the connection.
        assert!(answer["code"] == "bad-request" || garbage.len() > 1000, "{answer}");
    }
    for (request, code) in [
        (r#"{}"#, "bad-request"),
        (r#"[]"#, "bad-request"),
        (r#"{"schema":2,"op":"status"}"#, "bad-request"),
        (r#"{"schema":1,"op":"explode"}"#, "bad-request"),
        (r#"{"schema":1,"op":"user.put","if":"new","users":[{"name":1}]}"#, "bad-request"),
        (r#"{"schema":1,"op":"user.put","if":"new","users":[]}"#, "bad-request"),
        (r#"{"schema":1,"op":"unblock"}"#, "bad-request"),
        (r#"{"schema":1,"op":"registrations","limit":501}"#, "bad-request"),
        (r#"{"schema":1,"op":"registrations","after":"9:"}"#, "bad-request"),
    ] {
        let answer: Value =
            serde_json::from_str(&raw(&data, format!("{request}\n").as_bytes())).expect("JSON");
        assert_eq!((&answer["ok"], &answer["code"]), (&json!(false), &json!(code)), "{request}");
    }
    assert!(Control::connect(&data).and_then(|mut control| control.status()).is_ok());
    server.stop();
}

#[test]
fn the_socket_is_the_owners_alone_replaces_a_dead_one_and_goes_with_the_server() {
    let (folder, data) = folder();
    fs::create_dir(&data).expect("a folder");
    // What a killed process leaves: a socket file that nobody listens on.
    drop(UnixListener::bind(data.join(SOCKET_NAME)).expect("a socket"));
    assert!(matches!(Control::connect(&data), Err(AskError::NotRunning(_))));
    let server = start(folder.path(), "");
    let mode = fs::metadata(data.join(SOCKET_NAME)).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(Control::connect(&data).is_ok());
    server.stop();
    assert!(!data.join(SOCKET_NAME).exists());
}

#[test]
fn a_socket_elsewhere_is_found_by_the_data_folder() {
    let (folder, data) = folder();
    let elsewhere = folder.path().join("elsewhere.sock");
    let server = start(folder.path(), &format!("[control]\nsocket = \"{}\"\n", elsewhere.display()));
    assert!(elsewhere.exists());
    assert!(Control::connect(&data).and_then(|mut control| control.status()).is_ok());
    server.stop();
}

#[test]
fn a_deep_folder_has_a_socket_too() {
    let (folder, _) = folder();
    let deep = folder.path().join("d".repeat(120));
    fs::create_dir(&deep).expect("a folder");
    let stream = super::socket::connect(&deep.join("s"));
    assert_eq!(stream.err().map(|error| error.kind()), Some(std::io::ErrorKind::NotFound));
}

#[test]
fn http_answers_on_the_loopback_and_to_its_own_name_only() {
    let (folder, _) = folder();
    let server = start(folder.path(), "[http]\nlisten = \"127.0.0.1:0\"\n");
    let address = server.http().expect("HTTP is asked for");
    assert_eq!(get(address, "/healthz"), (200, "ok\n".to_owned()));
    for (target, list) in [("/registrations", "registrations"), ("/calls?limit=5", "calls")] {
        let (status, body) = get(address, target);
        let mut body: Value = serde_json::from_str(&body).expect("JSON");
        while let Some(next) = body["next"].as_str().map(str::to_owned) {
            assert_eq!(body[list], json!([]));
            body = serde_json::from_str(&get(address, &format!("/{list}?after={next}")).1).expect("JSON");
        }
        assert_eq!((status, &body["schema"], &body[list]), (200, &json!(1), &json!([])));
    }
    let ask = |head: &str| http(address, &format!("{head}\r\n\r\n")).0;
    assert_eq!(ask("GET /healthz HTTP/1.1\r\nHost: evil.test"), 403);
    assert_eq!(ask("GET /healthz HTTP/1.1"), 403);
    assert_eq!(ask("POST /healthz HTTP/1.1\r\nHost: localhost"), 405);
    assert_eq!(ask("GET /other HTTP/1.1\r\nHost: localhost"), 404);
    assert_eq!(ask("GET /calls?limit=0 HTTP/1.1\r\nHost: localhost"), 400);
    assert_eq!(ask("nonsense"), 400);
    assert_eq!(http(address, "HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"), (200, String::new()));
    server.stop();
}

#[test]
fn every_metric_stands_in_the_manual() {
    let (folder, _) = folder();
    let server = start(folder.path(), "[http]\nlisten = \"127.0.0.1:0\"\n");
    let (status, body) = get(server.http().expect("HTTP is asked for"), "/metrics");
    assert_eq!(status, 200);
    let manual = include_str!("../../../../docs/manual/metrics.md");
    let names = body.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = names.filter_map(|line| line.split([' ', '{']).next()).collect();
    assert!(names.len() > 30, "{body}");
    let missing: Vec<&&str> =
        names.iter().filter(|name| !manual.contains(&format!("| `{name}` |"))).collect();
    assert!(missing.is_empty(), "write these into docs/manual/metrics.md: {missing:?}");
    server.stop();
}

#[test]
fn services_are_shown_and_changed_and_survive_a_restart_and_go_with_their_user() {
    let (folder, data) = folder();
    let settings = "[server]\nshards = 2\n[[forward]]\nuser = \"bob\"\nbusy = \"alice\"\n";
    let server = start(folder.path(), settings);
    let mut control = Control::connect(&data).expect("it runs");
    let answer = control.services("bob", None).expect("what holds");
    assert_eq!((&answer["services"]["busy"], &answer["chosen"]), (&json!("alice"), &json!({})));
    let changes = json!({"busy": false, "no_answer": "echo", "no_answer_after_s": 7, "do_not_disturb": 603});
    let answer = control.change_services("bob", Some("SIP.test."), &changes).expect("it is changed");
    assert_eq!(answer["aor"], "sip:bob@sip.test");
    assert_eq!(answer["services"]["busy"], Value::Null);
    assert_eq!(answer["chosen"], changes);
    let alice = json!({"always": "sip:bob@sip.test"});
    control.change_services("alice", None, &alice).expect("it is changed");
    for (user, changes) in [
        ("bob", json!({})),
        ("bob", json!({"always": ""})),
        ("bob", json!({"always": 7})),
        ("bob", json!({"sometimes": "alice"})),
        ("bob", json!({"no_answer_after_s": 0})),
        ("bob", json!({"do_not_disturb": 404, "always": "alice"})),
    ] {
        assert_eq!(code(control.change_services(user, None, &changes)), "bad-request", "{changes}");
    }
    assert_eq!(code(control.services("nobody", None)), "no-such-user");
    let all = |control: &mut Control| {
        let mut all = control.services_of_all().expect("a list");
        all.sort_by_key(|user| user["aor"].to_string());
        all
    };
    let chosen = [
        json!({"aor": "sip:alice@sip.test", "chosen": alice}),
        json!({"aor": "sip:bob@sip.test", "chosen": answer["chosen"]}),
    ];
    assert_eq!(all(&mut control), chosen);
    server.stop();
    assert!(matches!(Control::connect(&data), Err(AskError::NotRunning(_))));
    let server = start(folder.path(), settings);
    let mut control = Control::connect(&data).expect("it runs again");
    assert_eq!(all(&mut control), chosen);
    control.remove_user("bob", None).expect("he was there");
    assert_eq!(all(&mut control), chosen[..1]);
    server.stop();
}

#[test]
fn a_call_is_asked_for_and_its_end_is_told() {
    let (folder, data) = folder();
    {
        let mut control = Control::connect_or_open(&data, true).expect("a store");
        control.put_users(&[user("bob", Some("sip.test"))], Put::New).expect("bob");
        // Without a server nobody calls.
        assert_eq!(code(control.dial("bob", "201", None)), "not-running");
        assert_eq!(code(control.dialled(0)), "not-running");
    }
    let server = start(folder.path(), "");
    let mut control = Control::connect(&data).expect("the server");
    assert_eq!(code(control.dial("nobody", "201", None)), "no-such-user");
    assert_eq!(code(control.dial("bob@elsewhere.test", "201", None)), "no-such-user");
    assert_eq!(code(control.dial("bob", "201", Some("nobody"))), "no-such-user");
    assert_eq!(code(control.dial("bob", "sip:x?Subject=y", None)), "bad-request");
    assert_eq!(code(control.dialled(77)), "no-such-call");
    // He has no phone.
    let id = control.dial("bob@sip.test", "201", Some("bob")).expect("a call");
    let state = control.dialled(id).expect("its state");
    let expected = json!({"schema": 1, "ok": true, "state": "refused", "who": "first", "status": 480, "reason": "Temporarily Unavailable"});
    assert_eq!(state, expected);
    server.stop();
}
