//! The messages of the call-flow RFCs: all are accepted.

use bytes::Bytes;
use dialtone_wire::{Edits, Limits, Message};
use serde_json::Value;

use crate::verdict::{messages, read};

/// What is known to be odd in a message, by folder and file.
const ANOMALIES: &[(&str, &str, &str)] =
    &[("rfc3665", "2.5-F1-REGISTER.sip", "no Max-Forwards, as RFC 2543 had it")];

/// How many messages of each RFC there are.
const FOLDERS: &[(&str, usize)] = &[("rfc3665", 181)];

#[test]
fn each_message_of_a_call_flow_is_accepted_and_written_back() {
    for (folder, count) in FOLDERS {
        let index =
            std::fs::read(messages().join("flows").join(folder).join("index.json")).expect("an index");
        let index: Value = serde_json::from_slice(&index).expect("JSON");
        let mut seen = 0;
        for entry in index.as_array().expect("a list") {
            // Retransmissions have no file of their own.
            let Some(file) = entry["file"].as_str() else { continue };
            let start = entry["start"].as_str().expect("a start line");
            check(folder, file, start, entry["body_bytes"].as_u64().expect("a number"));
            seen += 1;
        }
        assert_eq!(seen, *count, "{folder}");
    }
}

fn check(folder: &str, file: &str, start: &str, body: u64) {
    let bytes = read(&format!("flows/{folder}/fixed"), file);
    let message = Message::parse(Bytes::from(bytes.clone()), &Limits::default())
        .unwrap_or_else(|error| panic!("{folder}/{file}: {error}"));
    message.screen().unwrap_or_else(|screened| panic!("{folder}/{file}: {screened}"));
    assert_eq!(message.body().len() as u64, body, "{folder}/{file}");
    let mut words = start.split_whitespace();
    match message.method() {
        Some(method) => {
            assert_eq!(words.next(), Some(method.as_str()), "{folder}/{file}");
            assert_eq!(words.next(), Some(message.uri_text()), "{folder}/{file}");
        }
        None => {
            let status = message.status().expect("a response").to_string();
            assert_eq!(words.nth(1), Some(&*status), "{folder}/{file}");
        }
    }
    let lacks_hops = message.is_request() && message.max_forwards() == Ok(None);
    let is_known = ANOMALIES.iter().any(|(known, name, _)| *known == folder && *name == file);
    assert_eq!(lacks_hops, is_known, "{folder}/{file}: Max-Forwards");
    let mut out = Vec::new();
    Edits::new().write(&message, &mut out);
    assert_eq!(out, bytes, "{folder}/{file}: written back unchanged");
}
