//! sipsak, the tool with which an operator asks whether a server is there.

use std::process::Command;

use crate::lab::{ADDRESS, lab, system};
use crate::serve::{DOMAIN, PORT, Server};

#[test]
fn sipsak_gets_an_answer_to_options() {
    lab(|lab| {
        let _server = Server::start(lab);
        // It resolves the host part, so that the address stands for the domain.
        let text = system(Command::new("sipsak").args(["-vv", "-s", &format!("sip:{ADDRESS}:{PORT}")]));
        assert!(text.contains("SIP/2.0 200"), "{text}");
    });
}

#[test]
fn sipsak_registers_with_digest() {
    lab(|lab| {
        let server = Server::start(lab);
        let alice = server.user("alice");
        let to = format!("sip:alice@{ADDRESS}:{PORT}");
        let contact = format!("sip:alice@{ADDRESS}:5170");
        let register = |secret: &str| {
            let mut command = Command::new("sipsak");
            command
                .args(["-v", "-U", "-i", "-C", &contact, "-s", &to, "-u", "alice", "-a", secret, "-x", "60"]);
            command.output().expect("sipsak can be run")
        };
        let right = register(&alice.password);
        assert!(right.status.success(), "the domain is {DOMAIN}: {right:?}");
        let wrong = register("guessed");
        assert!(!wrong.status.success(), "{wrong:?}");
    });
}
