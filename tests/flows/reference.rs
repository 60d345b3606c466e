//! The flows as the RFCs print them: tests/messages/flows.
//!
//! Where an RFC draws a figure and prints few of its messages, the figure is written down as lines:
//!
//! ```text
//! F3 200 INVITE: Bob -> Alice
//! F4 ACK: Alice -> Bob, lost
//! F5 200 INVITE: Bob -> Alice, as F3
//! ```
//!
//! Responses name the method that they answer; `lost` never arrives; `as F3` repeats F3; `printed F2` says which number it
//! has among those that are printed, where the RFC numbers no others.
//!
//! Where nothing of that is needed, a line has a whole transaction, as RFC 5589 draws it, and the numbers follow from the
//! place: requests go from left to right, their responses back; `=F2` is the number among those that are printed.
//!
//! ```text
//! Alice -> Bob: INVITE=F1 180 200=F2 ACK
//! ```

use std::path::PathBuf;

use dialtone_wire::{Limits, Message};
use serde_json::Value;

use crate::{Flow, Source};

/// One message of a flow.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    /// Its number, `F1`.
    pub(crate) number: String,
    /// The name of the sender.
    pub(crate) from: String,
    /// The name of the receiver.
    pub(crate) to: String,
    /// What it is: `INVITE`, `200 INVITE`.
    pub(crate) kind: String,
    /// Whether it never arrives.
    pub(crate) lost: bool,
    /// The number of the message that it repeats.
    pub(crate) repeats: Option<String>,
    /// Its number among those that are printed, where that is another one.
    pub(crate) printed: Option<String>,
    /// The message, where it is printed.
    pub(crate) message: Option<Message>,
}

fn folder(source: Source) -> PathBuf {
    let folder = match source {
        Source::Rfc(number) => format!("messages/flows/rfc{number}"),
        Source::Deck => "messages/deck".to_owned(),
        Source::Own => "messages/own".to_owned(),
    };
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// The bytes of a file.
pub(crate) fn read(source: Source, file: &str) -> Vec<u8> {
    std::fs::read(folder(source).join("fixed").join(file)).expect("a message of the RFC")
}

/// The messages of a flow, from F1 on without a gap.
pub(crate) fn flow(flow: &Flow) -> Vec<Reference> {
    let mut printed = printed(flow);
    if !flow.figure.is_empty() {
        let mut drawn: Vec<Reference> = Vec::new();
        for line in flow.begins.lines().chain(flow.figure.lines()) {
            let messages = match line.starts_with('F') {
                true => vec![self::drawn(line)],
                false => transaction(line, drawn.len()),
            };
            drawn.extend(messages);
        }
        let by_print = drawn.iter().any(|drawn| drawn.printed.is_some());
        for message in printed {
            let of_figure = drawn.iter_mut().find(|drawn| match by_print {
                true => drawn.printed.as_ref() == Some(&message.number),
                false => drawn.number == message.number,
            });
            let of_figure = of_figure.expect("a printed message is in the figure");
            assert_eq!(of_figure.kind, message.kind, "{} {}", flow.section, message.number);
            of_figure.message = message.message;
        }
        printed = drawn;
    }
    for step in flow.steps.iter().rev() {
        assert!(printed.iter().all(|reference| reference.number != *step), "{step} is a message");
        let number = |text: &str| text[1..].parse::<usize>().expect("a number");
        for reference in printed.iter_mut().filter(|reference| number(&reference.number) > number(step)) {
            reference.number = format!("F{}", number(&reference.number) - 1);
        }
    }
    for (index, reference) in printed.iter().enumerate() {
        assert_eq!(reference.number, format!("F{}", index + 1), "section {} has no gap", flow.section);
    }
    assert!(printed.len() >= 2, "section {} is there", flow.section);
    printed
}

/// The messages of a flow that are printed, in the order of their numbers.
fn printed(flow: &Flow) -> Vec<Reference> {
    let Ok(index) = std::fs::read(folder(flow.source).join("index.json")) else {
        assert!(!flow.figure.is_empty(), "{:?} has an index", flow.source);
        return Vec::new();
    };
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    // Where a section has several figures, its messages say to which one they belong.
    let is_of_flow = |entry: &&Value| {
        entry["section"] == flow.section && (entry["figure"].is_null() || entry["figure"] == flow.drawn_as)
    };
    let entries: Vec<&Value> = index.as_array().expect("a list").iter().filter(is_of_flow).collect();
    let mut printed: Vec<Reference> =
        entries.iter().map(|entry| reference(flow.source, entry, &entries)).collect();
    printed.sort_by_key(|reference| reference.number[1..].parse::<usize>().expect("a number"));
    printed
}

fn reference(source: Source, entry: &Value, all: &[&Value]) -> Reference {
    let text = |entry: &Value, key: &str| entry[key].as_str().map(str::to_owned);
    let repeats = text(entry, "same_as");
    let file = match &repeats {
        Some(first) => {
            let first = all.iter().find(|entry| entry["f"] == first.as_str()).expect("what is repeated");
            text(first, "file")
        }
        None => text(entry, "file"),
    };
    let message = Message::parse(read(source, &file.expect("a file")).into(), &Limits::default());
    let message = message.expect("a message of the RFC");
    let label = text(entry, "label").expect("a label");
    let (left, to) = label.split_once(" -> ").expect("a label names both sides");
    // `INVITE Alice`, `407 Proxy Authorization Required Proxy 1`: the sender's name stands last.
    let names = [
        "Alice",
        "Bob",
        "Proxy 1",
        "Proxy 2",
        "Proxy 3",
        "SIP Server",
        "SIP ALG",
        "Redirect Server",
        "Redirect Proxy",
        "Proxy",
        "Gateway",
        "Transferor",
        "Transferee",
        "Transfer Target",
        "Carol",
        "B1",
        "B2",
        "B3",
        "B4",
        "UA1",
        "UA2",
        "P1",
        "P2",
        "P3",
        "HSP",
        "PC",
        "Announcement Server",
        "Music Server",
        "REGISTRAR",
        "R",
    ];
    let from = names.iter().find(|name| left.ends_with(*name)).expect("a sender that we know");
    // RFC 3665 §3.6 has two names for each of its servers.
    let from = match *from {
        "Redirect Proxy" => "Redirect Server",
        "Proxy" if entry["section"] == "3.6" => "Proxy 3",
        other => other,
    };
    // RFC 5359 §2.13 draws F10 and F11 between Alice and the announcement server, and heads them with the proxy.
    let to = match (entry["section"].as_str(), entry["f"].as_str()) {
        (Some("2.13"), Some("F10")) if source == Source::Rfc(5359) => "Announcement Server",
        (Some("2.13"), Some("F11")) if source == Source::Rfc(5359) => "Alice",
        _ => to,
    };
    Reference {
        number: text(entry, "f").expect("a number"),
        from: from.to_owned(),
        to: to.to_owned(),
        kind: kind(&message),
        lost: false,
        repeats,
        printed: None,
        message: Some(message),
    }
}

/// One line of a figure.
fn drawn(line: &str) -> Reference {
    let (head, rest) = line.split_once(": ").expect("`F1 INVITE: Alice -> Bob`");
    let (number, kind) = head.split_once(' ').expect("a number and a method or status");
    let mut parts = rest.split(", ");
    let (from, to) = parts.next().and_then(|sides| sides.split_once(" -> ")).expect("both sides");
    let (mut lost, mut repeats, mut printed) = (false, None, None);
    for word in parts {
        match (word.strip_prefix("as "), word.strip_prefix("printed ")) {
            (Some(first), _) => repeats = Some(first.to_owned()),
            (None, Some(number)) => printed = Some(number.to_owned()),
            (None, None) if word == "lost" => lost = true,
            (None, None) => panic!("`{word}` says nothing in `{line}`"),
        }
    }
    Reference {
        number: number.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        kind: kind.to_owned(),
        lost,
        repeats,
        printed,
        message: None,
    }
}

/// One line of a figure that is a transaction, or a part of one, after so many messages.
fn transaction(line: &str, before: usize) -> Vec<Reference> {
    let (sides, words) = line.split_once(": ").expect("`Alice -> Bob: INVITE 200 ACK`");
    let (caller, callee) = sides.split_once(" -> ").expect("both sides");
    // What begins with responses goes on with an INVITE.
    let mut method = "INVITE";
    let mut messages = Vec::new();
    for (at, word) in words.split(' ').enumerate() {
        let (kind, printed) =
            word.split_once('=').map_or((word, None), |(kind, number)| (kind, Some(number)));
        let is_request = kind.starts_with(|first: char| first.is_ascii_alphabetic());
        if is_request && kind != "ACK" {
            method = kind;
        }
        let (from, to) = if is_request { (caller, callee) } else { (callee, caller) };
        messages.push(Reference {
            number: format!("F{}", before + at + 1),
            from: from.to_owned(),
            to: to.to_owned(),
            kind: if is_request { kind.to_owned() } else { format!("{kind} {method}") },
            lost: false,
            repeats: None,
            printed: printed.map(str::to_owned),
            message: None,
        });
    }
    messages
}

/// What a message is: `INVITE`, `200 INVITE`.
pub(crate) fn kind(message: &Message) -> String {
    match (message.method(), message.status()) {
        (Some(method), _) => method.as_str().to_owned(),
        (None, status) => {
            let method = message.cseq().map(|cseq| cseq.method.as_str().to_owned()).unwrap_or_default();
            format!("{} {method}", status.map_or(0, |status| status.code()))
        }
    }
}
