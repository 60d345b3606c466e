//! The dial plan as an operator and foreign phones meet it.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{ADDRESS, Lab, Network, dialtone, lab, system};
use crate::phone::{Phone, Setup};
use crate::serve::{DOMAIN, PORT, Server};
use crate::sipp::{listening, sipp};

const PATIENCE: Duration = Duration::from_secs(30);

const PLAN: &str = r#"
[dial_plan]
zone = "Europe/Berlin"

[[rule]]
name = "premium numbers"
number = "0900*"
to = "refuse"
code = 603
reason = "Premium numbers are barred"

[[rule]]
name = "office at night"
number = "100"
days = "mon-fri"
hours = "18:00-08:00"
to = "user:bob"

[[rule]]
name = "office"
number = "1xx"
to = "user:alice"
"#;

fn settings(lab: &Lab, text: &str) -> String {
    let path = lab.path("dialtone.toml");
    std::fs::write(&path, text).expect("a file of the lab can be written");
    path.display().to_string()
}

fn explain(file: &str, arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(dialtone());
    command.args(["explain", "--config", file, "--domain", "sip.test"]).args(arguments);
    let output = command.output().expect("the program runs");
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, text)
}

#[test]
fn explain_says_which_rule_matches_which_not_and_why() {
    lab(|lab| {
        let file = settings(lab, PLAN);
        let (output, text) = explain(&file, &["100", "--from", "alice", "--at", "2026-11-20T10:00"]);
        assert_eq!(output.status.code(), Some(0), "{text}");
        for part in [
            "premium numbers  line 6     not matched: `100` is not `0900*`",
            "office at night  line 13    not matched: it is fri 10:00 in Europe/Berlin, not `mon-fri` at `18:00-08:00`",
            "office           line 20    matches `1xx`",
            "It goes to the phones of alice@sip.test, after the caller has shown a password.",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        let (_, text) = explain(&file, &["100", "--at", "2026-11-20T20:00"]);
        assert!(text.contains("It goes to the phones of bob@sip.test"), "{text}");
        let (output, text) = explain(&file, &["09001", "--json"]);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            (&report["status"], &report["rule"]),
            (&Value::from(603), &Value::from("premium numbers"))
        );
        let (output, text) = explain(&file, &["1", "--at", "soon"]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let (output, text) = explain(&settings(lab, "[[rule]]\n"), &["1"]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("the key `name` is missing here"), "{text}");
    });
}

/// Bob has two phones; SIPp is told of both in the order of their q, and no INVITE reaches them.
#[test]
fn a_redirect_server_ranks_the_phones_of_a_user_and_calls_none() {
    lab(|lab| {
        let file = settings(lab, &format!("[[domain]]\nname = \"{DOMAIN}\"\nmode = \"redirect\"\n"));
        let mut server = Server::start_with(lab, &["--open", "--config", &file]);
        let (alice, bob) = (server.user("alice"), server.user("bob"));
        for (port, q) in [(5161, "0.3"), (5162, "0.8")] {
            system(sipp(lab, &server, "register_q", &bob, port).args(["-key", "q", q, "-m", "1"]));
        }
        let contact = |port: u16, q: &str| format!("<sip:bob@{ADDRESS}:{port};transport=UDP>;q={q}");
        let mut caller = sipp(lab, &server, "redirected", &alice, 5150);
        caller.args(["-s", "bob", "-m", "10", "-r", "10"]);
        system(caller.args([
            "-key",
            "first",
            &contact(5162, "0.800"),
            "-key",
            "second",
            &contact(5161, "0.300"),
        ]));
        let counters = server.stop();
        let engine = &counters["engine"];
        assert_eq!((&engine["redirected"], &engine["forwarded"]), (&json!(10), &json!(0)), "{counters}");
    });
}

/// SIPp sends the caller to a busy phone and, with less q, to our echo robot.
#[test]
fn a_call_follows_the_contacts_of_a_302_and_says_so() {
    lab(|lab| {
        let server = Server::start_with(lab, &["--open"]);
        let bob = server.user("bob");
        let (busy, echo) = (format!("sip:bob@{ADDRESS}:5161"), format!("sip:echo@{ADDRESS}:{PORT}"));
        let mut moved = listening(
            sipp(lab, &server, "moved", &bob, 5160)
                .args(["-m", "1", "-key", "first", &busy, "-key", "second", &echo]),
        );
        let mut engaged = listening(sipp(lab, &server, "busy", &bob, 5161).args(["-m", "1"]));
        let to = format!("sip:bob@{ADDRESS}:5160");
        let mut call = Command::new(dialtone());
        call.args(["call", &to, "--tone", "440", "--expect-tone", "440", "--duration", "3", "--json"]);
        let output = call.output().expect("the program runs");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(output.status.code(), Some(0), "{report}");
        assert_eq!(report["redirected"], json!([busy, echo]), "{report}");
        for answering in [&mut moved, &mut engaged] {
            let status = answering.finish(PATIENCE);
            assert!(status.success(), "{status}\n{}", answering.output());
        }
    });
}

/// Alice's baresip dials a number that a rule sends elsewhere, and goes there by itself.
#[test]
fn a_phone_follows_the_redirection_of_a_rule() {
    lab(|lab| {
        let rule = format!(
            "[[rule]]\nname = \"moved\"\nnumber = \"100\"\nto = \"redirect\"\ncontacts = \"sip:echo@{DOMAIN}\"\n"
        );
        let file = settings(lab, &rule);
        let mut server = Server::start_with(lab, &["--config", &file]);
        let alice = server.user("alice");
        let network = Network::home();
        let (hertz, transport, codec) = (440.0, "udp", "PCMU");
        let setup =
            Setup { number: 1, network: &network, user: &alice, hertz, answers: false, transport, codec };
        let mut phone = Phone::register(lab, &setup);
        phone.call(&format!("sip:100@{DOMAIN}"));
        phone.talk(Duration::from_secs(3));
        phone.hang_up();
        let heard = phone.recording().find(440.0);
        assert!(heard.is_heard(), "alice does not hear her echo: {heard:?}");
        let counters = server.stop();
        assert_eq!(counters["engine"]["redirected"], 1, "{counters}");
    });
}

/// A number that is barred, one that has gone, one that is too short, and an ambiguous name, as a phone is told.
#[test]
fn a_phone_is_told_by_code_why_a_call_goes_nowhere() {
    lab(|lab| {
        let rules = "[[rule]]\nname = \"gone\"\nnumber = \"9\"\nto = \"refuse\"\ncode = 410\n\
                     error_info = \"sip:gone@ann.test\"\n\
                     [[rule]]\nname = \"barred\"\nnumber = \"0900*\"\nto = \"refuse\"\ncode = 603\n\
                     [[rule]]\nname = \"office\"\nnumber = \"21xx\"\nto = \"user:bob\"\n\
                     [[alias]]\nname = \"sales\"\nuser = [\"alice\", \"bob\"]\n";
        let file = settings(lab, rules);
        let mut server = Server::start_with(lab, &["--config", &file]);
        let alice = server.user("alice");
        let network = Network::home();
        let (hertz, transport, codec) = (440.0, "udp", "PCMU");
        let setup =
            Setup { number: 1, network: &network, user: &alice, hertz, answers: false, transport, codec };
        let mut phone = Phone::register(lab, &setup);
        for (number, code) in
            [("9", "410"), ("09001", "603"), ("21", "484"), ("2", "484"), ("sales", "485"), ("nobody", "404")]
        {
            let reason = phone.call_in_vain(&format!("sip:{number}@{DOMAIN}"));
            assert!(reason.contains(code), "{number}: {reason}");
        }
        let reason = phone.call_in_vain("sip:carol@elsewhere.test");
        assert!(reason.contains("403"), "{reason}");
        // Our own phone says besides who tells more.
        let password = lab.path("alice.txt");
        std::fs::write(&password, &alice.password).expect("a file of the lab can be written");
        let mut call = Command::new(dialtone());
        call.args(["call", "9", "--user", "alice", "--domain", DOMAIN, "--json", "--proxy"]);
        call.arg(format!("{ADDRESS}:{PORT}")).arg("--password-file").arg(&password);
        let output = call.output().expect("the program runs");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            (&report["status"], &report["error_info"]),
            (&json!(410), &json!("sip:gone@ann.test")),
            "{report}"
        );
        server.stop();
    });
}
