//! What happens to registrations when the program is killed, and when what it is given to write on goes bad.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::{Client, Request};
use crate::lab::{Lab, dialtone, lab, system};
use crate::process::Process;
use crate::serve::{DOMAIN, Server};

/// REGISTER requests under way at the same time.
const WINDOW: usize = 64;
/// How long a program that can't start may take to say so.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a phone asks for, in seconds.
const EXPIRES: u64 = 600;
/// The exit code for data that can't be used.
const EXIT_DATA: i32 = 4;

/// Registers users one after the other, many at a time, until `stop` says so; gives those that were acknowledged.
fn register_until(client: &mut Client, mut stop: impl FnMut(&BTreeSet<usize>) -> bool) -> BTreeSet<usize> {
    let mut acknowledged = BTreeSet::new();
    let mut next = 0;
    while !stop(&acknowledged) {
        while next < acknowledged.len() + WINDOW {
            let text = register_text(client, next, true);
            client.send(text.as_bytes());
            next += 1;
        }
        let Some(answer) = client.receive(Duration::from_millis(200)) else { break };
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(text.starts_with("SIP/2.0 200 "), "{text}");
        let user = text.split("To: <sip:u").nth(1).and_then(|rest| rest.split('@').next()?.parse().ok());
        acknowledged.insert(user.unwrap_or_else(|| panic!("no user in\n{text}")));
    }
    acknowledged
}

fn register_text(client: &mut Client, user: usize, with_contact: bool) -> String {
    let (uri, to) = (format!("sip:{DOMAIN}"), format!("sip:u{user}@{DOMAIN}"));
    let address = client.address();
    let more = if with_contact {
        format!("Contact: <sip:u{user}@{address}>\r\nExpires: {EXPIRES}\r\n")
    } else {
        String::new()
    };
    client.text(&Request { method: "REGISTER", uri: &uri, from: &format!("u{user}"), to: &to, more })
}

/// The status that a registration gets.
fn register(client: &mut Client, user: usize) -> u16 {
    let text = register_text(client, user, true);
    client.ask_raw(text.as_bytes()).expect("an answer").status
}

/// Seconds that the registration of a user has left; `None` when there is none.
fn seconds_left(client: &mut Client, user: usize) -> Option<u64> {
    let text = register_text(client, user, false);
    let answer = client.ask_raw(text.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 200);
    let contact = answer.headers("Contact").next()?;
    contact.split_once(";expires=").and_then(|(_, rest)| rest.split(';').next()?.parse().ok())
}

/// A start that must fail: the sentence that it says on standard error.
fn refused_start(lab: &Lab) -> String {
    let mut command = Command::new(dialtone());
    command.arg("serve").arg("--data").arg(lab.path("data")).args(["--domain", DOMAIN, "--open"]);
    let mut process = Process::start(command.args(["--listen", "udp:127.0.0.1:0"]));
    let status = process.finish(PATIENCE);
    assert_eq!(status.code(), Some(EXIT_DATA), "{}", process.output());
    process.errors().join("\n")
}

#[test]
fn every_registration_that_was_acknowledged_is_there_after_kill_9() {
    lab(|lab| {
        for round in 1..=3 {
            let server = Server::start_with(lab, &["--open"]);
            let mut client = Client::new(server.address);
            let end = Instant::now() + Duration::from_millis(500 * round);
            let acknowledged = register_until(&mut client, |_| Instant::now() >= end);
            // SIGKILL, with requests under way.
            drop(server);
            assert!(acknowledged.len() > WINDOW, "only {} were acknowledged", acknowledged.len());
            let mut server = Server::start_with(lab, &["--open"]);
            let mut asking = Client::new(server.address);
            for user in &acknowledged {
                let left = seconds_left(&mut asking, *user);
                assert!(left.is_some(), "u{user} of round {round} was acknowledged and is gone");
            }
            // The phones are reachable: what is meant for them arrives where they are.
            while client.receive(Duration::from_millis(100)).is_some() {}
            let user = acknowledged.last().expect("there are some");
            let uri = format!("sip:u{user}@{DOMAIN}");
            let options =
                Request { method: "OPTIONS", uri: &uri, from: "anybody", to: &uri, more: String::new() };
            let text = asking.text(&options);
            asking.send(text.as_bytes());
            let arrived = client.receive(PATIENCE).expect("the phone is reached");
            let arrived = String::from_utf8_lossy(&arrived).into_owned();
            assert!(arrived.starts_with(&format!("OPTIONS sip:u{user}@{}", client.address())), "{arrived}");
            server.stop();
        }
    });
}

#[test]
fn a_full_disk_refuses_registrations_loses_none_and_is_said_once() {
    lab(|lab| {
        let data = lab.path("data");
        fs::create_dir(&data).expect("a folder");
        system(Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"]).arg(&data));
        let mut server = Server::start_with(lab, &["--open"]);
        let mut client = Client::new(server.address);
        assert_eq!(register(&mut client, 1), 200);
        let filler = data.join("filler");
        fs::write(&filler, vec![1; 2 * 1024 * 1024]).expect_err("it does not fit");
        let refused = (2..100).find(|user| register(&mut client, *user) == 500).expect("no room is left");
        assert_eq!(seconds_left(&mut client, refused), None, "what was refused is undone");
        for _ in 0..5 {
            assert_eq!(register(&mut client, refused), 500);
        }
        assert!(seconds_left(&mut client, 1).is_some());
        let sentence = server.process.wait_for("registrations are refused", PATIENCE);
        assert!(sentence.contains("no room is left on its disk"), "{sentence}");
        fs::remove_file(&filler).expect("room again");
        assert_eq!(register(&mut client, refused), 200);
        server.process.wait_for("registrations are accepted", PATIENCE);
        server.process.absorb();
        let said = server.process.errors().iter().filter(|line| line.contains("registrations are refused"));
        assert_eq!(said.count(), 1, "{}", server.process.output());
        drop(server);
        let mut server = Server::start_with(lab, &["--open"]);
        let mut client = Client::new(server.address);
        for user in [1, refused] {
            assert!(seconds_left(&mut client, user).is_some(), "u{user} was acknowledged");
        }
        server.stop();
    });
}

#[test]
fn a_start_on_a_full_disk_or_a_read_only_folder_says_what_to_do() {
    lab(|lab| {
        let data = lab.path("data");
        fs::create_dir(&data).expect("a folder");
        system(Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs"]).arg(&data));
        fs::write(data.join("filler"), vec![1; 2 * 1024 * 1024]).expect_err("it does not fit");
        let sentence = refused_start(lab);
        assert!(sentence.contains("make room and try again"), "{sentence}");
        fs::remove_file(data.join("filler")).expect("room again");
        Server::start_with(lab, &["--open"]).stop();
        system(Command::new("mount").args(["-o", "remount,ro"]).arg(&data));
        let sentence = refused_start(lab);
        assert!(sentence.contains("read-only"), "{sentence}");
        system(Command::new("mount").args(["-o", "remount,rw"]).arg(&data));
        Server::start_with(lab, &["--open"]).stop();
    });
}

#[test]
fn a_damaged_store_is_named_and_left_as_it_is() {
    lab(|lab| {
        let mut server = Server::start_with(lab, &["--open"]);
        let mut client = Client::new(server.address);
        register_until(&mut client, |acknowledged| acknowledged.len() >= 200);
        server.stop();
        let path = lab.path("data").join("dialtone.db");
        let whole = fs::read(&path).expect("the database");
        // A disk that gives back noise, for all but the first page and for the first one too.
        for first in [4096, 0] {
            let mut noise = whole.clone();
            noise[first..].iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 31) as u8 ^ 0x5a);
            replace(&path, &noise);
            let sentence = refused_start(lab);
            assert!(sentence.contains("dialtone.db") && sentence.contains("damaged"), "{sentence}");
            assert_eq!(fs::read(&path).expect("the database"), noise, "it is left as it is");
        }
        replace(&path, &whole);
        let mut server = Server::start_with(lab, &["--open"]);
        assert!(seconds_left(&mut Client::new(server.address), 0).is_some());
        server.stop();
    });
}

/// Puts a copy in the place of the database.
fn replace(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("the database can be written");
    for beside in ["dialtone.db-wal", "dialtone.db-shm"] {
        let _ = fs::remove_file(path.with_file_name(beside));
    }
}

/// A program for which the clock of the machine is set otherwise. Who sets a clock does not set the monotonic one.
fn at_another_time(program: impl AsRef<OsStr>, shift: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1");
    command.env("FAKETIME", shift).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

#[test]
fn a_clock_that_is_set_by_an_hour_neither_loses_a_registration_nor_lengthens_it() {
    lab(|lab| {
        let mut server = Server::start_with(lab, &["--open"]);
        assert_eq!(register(&mut Client::new(server.address), 1), 200);
        server.stop();
        for (shift, seconds) in [("-1h", -3600), ("+1h", 3600), ("+0", 0)] {
            let mut date = at_another_time("date", shift);
            let shifted: i64 = system(date.arg("+%s")).trim().parse().expect("seconds");
            let real: i64 = system(Command::new("date").arg("+%s")).trim().parse().expect("seconds");
            assert!((shifted - seconds - real).abs() < 60, "libfaketime shifts the clock by {shift}");
            let mut command = at_another_time(dialtone(), shift);
            command.arg("serve").arg("--data").arg(lab.path("data"));
            command.args(["--domain", DOMAIN, "--open", "--json", "--listen", "udp:127.0.0.1:5062"]);
            let mut process = Process::start(&mut command);
            process.wait_for("\"ready\"", PATIENCE);
            let mut client = Client::new("127.0.0.1:5062".parse().expect("an address"));
            let left = seconds_left(&mut client, 1).unwrap_or_else(|| panic!("{shift}: it is lost"));
            assert!((EXPIRES - 60..=EXPIRES).contains(&left), "{shift}: {left} s are left");
            // What is registered while the clock is wrong is as good.
            assert_eq!(register(&mut client, 2), 200);
            assert!(process.terminate(PATIENCE).success(), "{}", process.output());
        }
        let mut server = Server::start_with(lab, &["--open"]);
        let left = seconds_left(&mut Client::new(server.address), 2).expect("it is there");
        assert!((EXPIRES - 60..=EXPIRES).contains(&left), "{left} s are left");
        server.stop();
    });
}
