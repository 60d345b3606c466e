//! The dial plan as an operator and foreign phones meet it.

use std::process::{Command, Output};

use serde_json::Value;

use crate::lab::{Lab, dialtone, lab};

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
