//! What `dialtone serve` gives to somebody with an empty folder, and what it keeps from everybody else.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::lab::{ADDRESS, PUBLIC_ADDRESS, lab};
use crate::serve::Server;

#[test]
fn an_empty_folder_is_a_working_domain_in_under_a_second() {
    lab(|lab| {
        let start = Instant::now();
        let server = Server::start(lab);
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(1), "it took {elapsed:?}");
        assert_eq!(server.ready["domain"], "sip.test");
        let secrets = ["alice", "bob"].map(|name| server.user(name).password);
        for secret in &secrets {
            assert_eq!(secret.chars().count(), 20, "{secret}");
            assert!(secret.chars().all(|character| character.is_ascii_alphanumeric()), "{secret}");
        }
        assert_ne!(secrets[0], secrets[1]);
        assert!(Client::new(server.address).is_answered());
    });
}

#[test]
fn two_folders_have_different_secrets() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let first = server.user("alice").password;
        server.stop();
        std::fs::remove_dir_all(lab.path("data")).expect("the data folder is where it was asked to be");
        let server = Server::start(lab);
        assert_ne!(server.user("alice").password, first);
    });
}

#[test]
fn secrets_are_shown_once_and_hold_after_a_restart() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let alice = server.user("alice");
        server.stop();
        let mut server = Server::start(lab);
        let again = server.ready.to_string();
        assert!(again.contains("alice") && !again.contains("password"), "{again}");
        let response = Client::new(server.address).register(&alice, Some(60));
        assert_eq!(response.status, 200, "{response:?}");
        server.stop();
    });
}

#[test]
fn no_secret_is_logged_or_kept_in_clear() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let alice = server.user("alice");
        assert_eq!(Client::new(server.address).register(&alice, Some(60)).status, 200);
        server.stop();
        let logs = server.process.errors().join("\n");
        assert!(!logs.contains(&alice.password), "the log holds the secret:\n{logs}");
        let mut files = 0;
        each_file(&lab.path("data"), &mut |path, bytes| {
            files += 1;
            let found = bytes.windows(20).any(|window| window == alice.password.as_bytes());
            assert!(!found, "{} holds the secret", path.display());
        });
        assert!(files > 0, "the data folder is empty though users outlive a restart");
    });
}

#[test]
fn only_loopback_and_private_addresses_are_bound_until_told_otherwise() {
    lab(|lab| {
        let answered = |address: &str| {
            let address = format!("{address}:5060").parse().expect("an address");
            let mut client = Client::new(address);
            let probe = crate::client::options_to_itself(&mut client);
            client.ask_raw(probe.as_bytes()).is_some()
        };
        let mut server = Server::start_bare(lab, &[]);
        assert!(answered("127.0.0.1"), "{}", server.ready);
        assert!(answered(ADDRESS), "{}", server.ready);
        assert!(!answered(PUBLIC_ADDRESS), "{}", server.ready);
        server.stop();
        let mut server = Server::start_bare(lab, &["--public"]);
        assert!(answered(PUBLIC_ADDRESS), "{}", server.ready);
        server.stop();
    });
}

#[test]
fn port_zero_gives_a_port_that_is_told() {
    lab(|lab| {
        let server = Server::start_bare(lab, &["--listen", "udp:127.0.0.1:0"]);
        assert_ne!(server.address.port(), 0);
        assert!(Client::new(server.address).is_answered());
    });
}

fn each_file(folder: &Path, look: &mut dyn FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(folder).expect("a folder of the lab") {
        let path = entry.expect("a folder of the lab").path();
        if path.is_dir() {
            each_file(&path, look);
        } else if path.is_file() {
            look(&path, &std::fs::read(&path).expect("a file of the lab"));
        }
    }
}
