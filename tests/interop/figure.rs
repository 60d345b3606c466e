//! `dialtone demo --figure` runs the deck's reference architecture, and what it says of it is so: counters of the
//! kernel count beside it.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, dialtone, lab};
use crate::process::Process;

/// The addresses of the boxes: `--address` and the next five.
const P1: &str = "127.0.0.2";
const REDIRECT: &str = "127.0.0.3";
const P2: &str = "127.0.0.4";
const ROB: &str = "127.0.0.6";

#[test]
fn the_figure_is_told_live_beside_the_steps_of_the_deck_and_leaves_nothing_behind() {
    lab(|lab| {
        let folder = lab.path("empty");
        std::fs::create_dir(&folder).expect("a folder of the lab");
        let mut figure = Process::start(
            Command::new(dialtone()).args(["demo", "--figure", "--seconds", "3"]).current_dir(&folder),
        );
        let patience = Duration::from_secs(20);
        for (message, step) in [
            ("REGISTER", "Registration"),
            ("401 Unauthorized", "Registration"),
            ("302 Moved Temporarily", "Redirect server"),
            ("INVITE", "Dialog stateful 1/5"),
            ("302 Moved Temporarily", "Registrar"),
            ("180 Ringing", "Dialog stateful 2/5"),
            ("200 OK", "Dialog stateful 3/5"),
            ("ACK", "Dialog stateful 4/5"),
        ] {
            // The next line of this step with this message.
            loop {
                let line = figure.wait_for(message, patience);
                if line.contains(step) {
                    break;
                }
            }
        }
        // They talk now, and the ladder up to here has been told already.
        let told = Instant::now();
        figure.wait_for("BYE", patience);
        assert!(told.elapsed() >= Duration::from_secs(2), "the ladder was not live\n{}", figure.output());
        let status = figure.finish(patience);
        assert!(status.success(), "{status}\n{}", figure.output());
        let out = figure.out();
        assert_eq!(
            out.last().map(String::as_str),
            Some("TWO-WAY AUDIO OK, AND EVERY STEP AS IN THE DECK"),
            "{}",
            figure.output()
        );
        // Through P1, with his Route, to Tin; from Rob, past all that stands between them.
        let bye = out.iter().find(|line| line.contains("BYE")).expect("it was waited for");
        assert!(bye.contains("|<------------------------------|"), "{bye}");
        assert!(bye.contains("Dialog stateful 5/5") && bye.ends_with("Via Rob, Route P1"), "{bye}");
        assert!(out.iter().any(|line| line.contains("gateway") && line.contains("not here yet")));
        let left: Vec<_> = std::fs::read_dir(&folder).expect("it is there").collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn the_bye_of_the_figure_passes_p1_and_not_p2() {
    lab(|lab| {
        // The first four bytes of SIP requests, counted by the kernel.
        let mut counters = String::new();
        let mut rules = String::new();
        for (method, word) in [("invite", "0x494e5649"), ("ack", "0x41434b20"), ("bye", "0x42594520")] {
            for (name, ip) in [("p1", P1), ("p2", P2)] {
                counters += &format!("counter {method}_{name} {{ }}\n");
                rules += &format!(
                    "ip daddr {ip} meta l4proto udp @th,64,32 {word} counter name {method}_{name}\n"
                );
            }
        }
        lab.nft(&format!(
            "table inet lab {{\n{counters}chain input {{\ntype filter hook input priority 0; policy accept;\n{rules}}}\n}}\n"
        ));
        let (output, report) = figure();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(report["schema"], 1);
        assert_eq!(report["ok"], true);
        assert!(counted("invite_p1") >= 2, "Tin calls twice through P1");
        assert!(counted("invite_p2") >= 1 && counted("ack_p1") >= 1 && counted("bye_p1") >= 1);
        // Of the ACKs P2 gets none for the call: that of the 302 is its own.
        assert_eq!((counted("ack_p2"), counted("bye_p2")), (0, 0));
        let ladder = report["ladder"].as_array().expect("a ladder");
        let of = |message: &str| -> Vec<(&str, &str)> {
            let steps = ladder.iter().filter(|step| step["message"] == message);
            steps.filter_map(|step| Some((step["from"].as_str()?, step["to"].as_str()?))).collect()
        };
        assert_eq!(of("BYE"), [("Rob", "P1"), ("P1", "Tin")]);
        let answer = ladder.iter().find(|step| {
            step["from"] == "Rob" && step["message"] == "200 OK" && step["deck"] == "Dialog stateful 3/5"
        });
        let answer = answer.unwrap_or_else(|| panic!("no answer in {report}"));
        assert_eq!(answer["via"], serde_json::json!(["P2", "P1", "Tin"]));
        assert_eq!(answer["record_route"], serde_json::json!(["P1"]));
        for direction in report["directions"].as_array().expect("two directions") {
            assert!(
                direction["packets_received"].as_f64().is_some_and(|packets| packets >= 20.0),
                "{direction}"
            );
        }
        let steps = report["steps"].as_array().expect("steps");
        assert!(steps.len() == 9 && steps.iter().all(|step| step["seen"] == true), "{report}");
    });
}

#[test]
fn the_figure_names_the_direction_that_fails() {
    lab(|lab| {
        // RTP: version 2, no padding, no extension.
        drop(lab, &format!("ip daddr {ROB} meta l4proto udp @th,64,8 0x80 drop"));
        let (output, report) = figure();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(report["ok"], false);
        let verdict = report["verdict"].as_str().unwrap_or_default();
        assert!(verdict.starts_with("AUDIO IN ONE DIRECTION ONLY: Tin to Rob is missing"), "{verdict}");
    });
}

#[test]
fn the_figure_says_where_a_call_got_stuck() {
    lab(|lab| {
        drop(lab, &format!("ip daddr {REDIRECT} meta l4proto udp drop"));
        let output = Command::new(dialtone())
            .args(["demo", "--figure", "--seconds", "1"])
            .output()
            .expect("it can be run");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("NO CALL: Rob waited in vain for the call"), "{text}");
        assert!(text.contains("INVITE from P1 to Redirect never arrived"), "{text}");
        assert!(text.contains("ok Registration"), "{text}");
    });
}

fn drop(lab: &Lab, rule: &str) {
    lab.nft(&format!(
        "table inet lab {{\nchain input {{\ntype filter hook input priority 0; policy accept;\n{rule}\n}}\n}}\n"
    ));
}

/// How many packets a counter of the table has seen.
fn counted(name: &str) -> u64 {
    let output =
        Command::new("nft").args(["list", "counter", "inet", "lab", name]).output().expect("nft runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets").skip(1);
    words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no packets in {text:?}"))
}

fn figure() -> (Output, Value) {
    let output = Command::new(dialtone())
        .args(["demo", "--figure", "--json", "--seconds", "2"])
        .output()
        .expect("it can be run");
    let report =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output:?}"));
    (output, report)
}
