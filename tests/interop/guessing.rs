//! Somebody guesses passwords behind the same address as real users; the operator sees it, frees and blocks.

use std::time::Duration;

use crate::client::Client;
use crate::lab::{ADDRESS, lab, system};
use crate::manage::{registers, run, run_json};
use crate::serve::{PORT, Server};
use crate::sipp::sipp;

#[test]
fn a_guesser_is_slowed_while_the_real_user_behind_the_same_address_registers() {
    lab(|lab| {
        let mut server = Server::start(lab);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        // SIPp is the phone of alice, sipsak the guesser, from another port of the same address.
        system(sipp(lab, &server, "register", &alice, 5160).args(["-m", "1"]));
        for guess in ["1234", "alice", "password", "secret", "qwerty", "letmein"] {
            assert!(!registers("alice", guess), "{guess}");
        }
        assert!(!registers("alice", &alice.password), "held off, his password is not looked at");
        system(sipp(lab, &server, "register", &alice, 5160).args(["-m", "3"]));
        assert!(registers("bob", &bob.password), "nobody has guessed for bob");

        let (_, status) = run_json(lab, &["status"]);
        let held_off = &status["held_off"][0];
        assert_eq!(held_off["user"], "alice@sip.test", "{status}");
        assert_eq!((&held_off["source"], &held_off["blocked"]), (&ADDRESS.into(), &false.into()), "{status}");
        assert!(held_off["left_s"].as_u64().is_some_and(|left| (1..=30).contains(&left)), "{status}");
        let text = String::from_utf8_lossy(&run(lab, &["status"]).stdout).into_owned();
        assert!(text.contains(&format!("alice@sip.test at {ADDRESS} held off for ")), "{text}");

        let freed = run(lab, &["unblock", "alice"]);
        let text = String::from_utf8_lossy(&freed.stdout).into_owned();
        assert_eq!(
            (freed.status.code(), text.as_str()),
            (Some(0), &*format!("alice@sip.test at {ADDRESS} is free\n"))
        );
        assert!(registers("alice", &alice.password));
        assert_eq!(run(lab, &["unblock", "alice"]).status.code(), Some(1), "she is free already");
        let counters = server.stop();
        assert_eq!(counters["engine"]["wrong_password"], 5, "{counters}");
        assert_eq!((&counters["engine"]["holds"], &counters["engine"]["held_off"]), (&1.into(), &2.into()));
        let log = server.process.errors().join("\n");
        assert!(log.contains("held off") && !log.contains("alice") && !log.contains(ADDRESS), "{log}");
    });
}

#[test]
fn an_operator_blocks_an_address_and_frees_it() {
    lab(|lab| {
        let network = lab.add_network(7, false);
        let listen = format!("udp:{}:{PORT}", network.ours);
        let mut server = Server::start_with(lab, &["--listen", &listen]);
        let address = network.theirs.to_string();
        let answered = || {
            let mut probe = network.command("sipsak");
            // With a tenth of the usual T1 it gives up after some seconds.
            probe.args(["-Z", "50", "-s", &format!("sip:{}:{PORT}", network.ours)]).status()
        };
        let answered = || answered().expect("sipsak can be run").success();
        assert!(answered());
        let (code, blocked) = run_json(lab, &["block", &address]);
        assert_eq!((code, &blocked["source"]), (0, &address.as_str().into()));
        assert!(!answered());
        assert!(Client::new(server.address).is_answered(), "others are");
        let (_, status) = run_json(lab, &["status"]);
        assert_eq!(
            (&status["held_off"][0]["blocked"], &status["held_off"][0]["left_s"]),
            (&true.into(), &().into())
        );
        assert_eq!(run(lab, &["unblock", &address]).status.code(), Some(0));
        assert!(answered());
        assert_eq!(run(lab, &["block", "somebody"]).status.code(), Some(2), "that is no address");
        assert_eq!(run(lab, &["block", &address, "--seconds", "1"]).status.code(), Some(0));
        std::thread::sleep(Duration::from_millis(1_100));
        assert!(answered(), "its time is over");
        server.stop();
    });
}
