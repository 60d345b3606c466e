//! `dialtone demo` measures: it says yes when sound went both ways, and which way failed when not.

use std::process::{Command, Output};

use serde_json::Value;

use crate::lab::{dialtone, lab};

/// Drops RTP (version 2, no padding, no extension: first byte 0x80) to the address that the demo gives to bob. SIP
/// starts with a letter and passes.
const DROP_RTP_TO_BOB: &str = "
table inet lab {
    chain input {
        type filter hook input priority 0; policy accept;
        ip daddr 127.0.0.3 meta l4proto udp @th,64,8 0x80 counter drop
    }
}
";

#[test]
fn the_demo_measures_audio_both_ways() {
    lab(|_| {
        let (output, report) = demo();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(report["schema"], 1);
        assert_eq!(report["ok"], true);
        assert_eq!(report["verdict"], "TWO-WAY AUDIO OK");
        for (from, to) in [("alice", "bob"), ("bob", "alice")] {
            let direction = direction(&report, from, to);
            assert!(number(direction, "packets_received") >= 20.0, "{direction}");
            assert!(
                number(direction, "packets_received") <= number(direction, "packets_sent"),
                "{direction}"
            );
            assert!(number(direction, "loss_percent") < 5.0, "{direction}");
            assert!(number(direction, "jitter_ms") < 100.0, "{direction}");
            assert!(number(direction, "level_dbfs") > -40.0, "{direction}");
            assert!((0.0..=96.0).contains(&number(direction, "snr_db")), "{direction}");
        }
        let tones = ["alice", "bob"].map(|from| {
            let to = if from == "alice" { "bob" } else { "alice" };
            number(direction(&report, from, to), "tone_hz")
        });
        assert!((tones[0] - tones[1]).abs() > 50.0, "each way has a tone of its own: {tones:?}");
        for message in ["REGISTER", "401", "INVITE", "407", "180", "200", "ACK", "BYE"] {
            let ladder = report["ladder"].as_array().expect("a ladder");
            let found =
                ladder.iter().any(|step| step["message"].as_str().is_some_and(|text| text.contains(message)));
            assert!(found, "no {message} in {ladder:?}");
        }
    });
}

#[test]
fn the_demo_names_the_direction_that_fails() {
    lab(|lab| {
        lab.nft(DROP_RTP_TO_BOB);
        let (output, report) = demo();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(report["ok"], false);
        let verdict = report["verdict"].as_str().unwrap_or_default();
        let (alice, bob) = (verdict.find("alice"), verdict.find("bob"));
        assert!(alice.is_some() && alice < bob, "the verdict names alice to bob: {verdict}");
        assert_eq!(number(direction(&report, "alice", "bob"), "packets_received"), 0.0, "{report}");
        assert!(number(direction(&report, "bob", "alice"), "packets_received") >= 20.0, "{report}");
    });
}

#[test]
fn the_demo_tells_people_the_same() {
    lab(|lab| {
        let run =
            || Command::new(dialtone()).args(["demo", "--seconds", "2"]).output().expect("it can be run");
        let output = run();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("TWO-WAY AUDIO OK"), "{output:?}");
        assert!(text.contains("INVITE") && text.contains("407"), "no ladder in\n{text}");
        lab.nft(DROP_RTP_TO_BOB);
        let output = run();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(!text.contains("TWO-WAY AUDIO OK"), "{text}");
    });
}

fn demo() -> (Output, Value) {
    let output =
        Command::new(dialtone()).args(["demo", "--json", "--seconds", "2"]).output().expect("it can be run");
    let report =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output:?}"));
    (output, report)
}

fn direction<'a>(report: &'a Value, from: &str, to: &str) -> &'a Value {
    let directions = report["directions"].as_array().unwrap_or_else(|| panic!("no directions in {report}"));
    let found = directions.iter().find(|direction| direction["from"] == from && direction["to"] == to);
    found.unwrap_or_else(|| panic!("no direction from {from} to {to} in {report}"))
}

fn number(direction: &Value, name: &str) -> f64 {
    direction[name].as_f64().unwrap_or_else(|| panic!("no number `{name}` in {direction}"))
}
