//! The flows as RFC 3665 prints them: tests/messages/flows/rfc3665.

use std::path::PathBuf;

use bytes::Bytes;
use dialtone_wire::{Limits, Message};
use serde_json::Value;

/// One message of a flow.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    /// Its number, `F1`.
    pub(crate) number: String,
    /// The name of the sender.
    pub(crate) from: String,
    /// The name of the receiver.
    pub(crate) to: String,
    /// The message.
    pub(crate) message: Message,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("messages/flows/rfc3665")
}

/// The bytes of a file.
pub(crate) fn read(file: &str) -> Vec<u8> {
    std::fs::read(folder().join("fixed").join(file)).expect("a message of RFC 3665")
}

/// The messages of a section, from F1 on without a gap.
pub(crate) fn flow(section: &str) -> Vec<Reference> {
    let index = std::fs::read(folder().join("index.json")).expect("the index of RFC 3665");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let entries = index.as_array().expect("a list").iter();
    let flow: Vec<Reference> = entries.filter(|entry| entry["section"] == section).map(reference).collect();
    for (index, reference) in flow.iter().enumerate() {
        assert_eq!(reference.number, format!("F{}", index + 1), "section {section} has no gap");
    }
    assert!(flow.len() >= 2, "section {section} is there");
    flow
}

fn reference(entry: &Value) -> Reference {
    let text = |key: &str| entry[key].as_str().expect("text").to_owned();
    let bytes = Bytes::from(read(&text("file")));
    let label = text("label");
    let (left, to) = label.split_once(" -> ").expect("a label names both sides");
    // `INVITE Alice`, `407 Proxy Authorization Required Proxy 1`: the sender's name stands last.
    let names = ["Alice", "Bob", "Proxy 1", "Proxy 2", "SIP Server"];
    let from = names.iter().find(|name| left.ends_with(*name)).expect("a sender that we know");
    Reference {
        number: text("f"),
        from: (*from).to_owned(),
        to: to.to_owned(),
        message: Message::parse(bytes, &Limits::default()).expect("a message of RFC 3665"),
    }
}
