//! docs/flows is written from what passed on the wire.

use std::fmt::Write as _;
use std::path::PathBuf;

use dialtone_sim::Ladder;
use dialtone_wire::{Limits, Message};

use crate::compare::in_order;
use crate::{FLOWS, Flow, Source, reference};

const HEAD: &str = "\
<!-- Written from a run by tests/flows. To write it anew:
     DIALTONE_BLESS=1 cargo test -p dialtone-tests --test flows -->
";

const INTRODUCTION: &str = "
# Call flows

Call flows of RFCs, and the figures of the deck, as the engines of this program play them in the simulator, over UDP and
sip: URIs where the RFC has TLS, TCP and sips:. Each run is compared with the messages that the RFC prints
(`tests/messages/flows`) or draws: who sends what to whom, from F1 to Fn, what is lost and what passes another message on
the wire; Request-URI, number of Via values, Max-Forwards, Record-Route and Route in order, From, To, tags, CSeq, Contact,
challenges and credentials, body. What is meant to differ is named with its reason. Messages that nothing orders (a proxy
answers 100 and forwards in the same instant) may come in another order than in the RFC; they are drawn in the RFC's, and
named. Of RFC 5359 all flows are here but those of §2.15 to §2.17 (park, pickup, automatic redial), which need the dialog event
package (RFC 4235) and wait for it; `b2bua-park`, `b2bua-pickup` and `b2bua-queue` are how the same is done here by codes.

Not there of the transfers: the MESSAGE of RFC 5359 §2.6, which gets 405 until our phones take messages (the call that it asks
for is there); of RFC 5589 Figure 13, which keeps a call that was answered in spite of its CANCEL and is not recommended, and the
signed bodies of §8.

| flow | |
|---|---|
";

/// Compares the documents, or writes them.
pub(crate) fn check() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/flows");
    let mut overview = format!("{HEAD}{INTRODUCTION}");
    let mut stale = Vec::new();
    let mut flows: Vec<&Flow> = FLOWS.iter().collect();
    flows.sort_by_key(|flow| {
        (
            flow.source,
            if matches!(flow.source, Source::Deck | Source::Own) {
                Vec::new()
            } else {
                numbers(flow.section)
            },
        )
    });
    for flow in flows {
        let section = flow.section;
        let (file, origin) = match flow.source {
            Source::Rfc(number) => {
                let figure = flow.drawn_as.replace(' ', "-").to_lowercase();
                let dash = if figure.is_empty() { "" } else { "-" };
                (format!("rfc{number}-{section}{dash}{figure}.md"), of_rfc(flow, number))
            }
            Source::Deck => (format!("deck-{section}.md"), "the deck".to_owned()),
            Source::Own => (format!("{section}.md"), "our own".to_owned()),
        };
        let _ = writeln!(overview, "| {origin} | [{}]({file}) |", flow.title);
        stale.extend(settle(&folder, &file, &text_of(flow)));
    }
    stale.extend(settle(&folder, "README.md", &overview));
    assert!(stale.is_empty(), "stale: {stale:?}: DIALTONE_BLESS=1 cargo test -p dialtone-tests --test flows");
}

fn of_rfc(flow: &Flow, number: u16) -> String {
    let comma = if flow.drawn_as.is_empty() { "" } else { ", " };
    format!("RFC {number} §{}{comma}{}", flow.section, flow.drawn_as)
}

/// `3.10` comes after `3.9`, an appendix after all sections.
fn numbers(section: &str) -> Vec<u16> {
    let place = |part: &str| {
        part.parse().ok().or_else(|| part.bytes().next().map(|letter| 1_000 + u16::from(letter)))
    };
    section.split('.').filter_map(place).collect()
}

fn settle(folder: &std::path::Path, file: &str, text: &str) -> Option<String> {
    let path = folder.join(file);
    if std::env::var_os("DIALTONE_BLESS").is_some() {
        std::fs::create_dir_all(folder).expect("docs/flows can be made");
        std::fs::write(&path, text).expect("docs/flows can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    (found != text).then(|| file.to_owned())
}

fn text_of(flow: &Flow) -> String {
    let mut compared = in_order(flow, &reference::flow(flow));
    if !flow.figure.is_empty() {
        name_methods(&mut compared.ladder);
    }
    let mut text = HEAD.to_owned();
    let origin = match flow.source {
        Source::Rfc(number) => of_rfc(flow, number),
        Source::Deck => "a figure of the deck".to_owned(),
        Source::Own => "a figure of our own".to_owned(),
    };
    let _ = write!(text, "\n# {} ({origin})\n\n{}\n", flow.title, wrapped(flow.text));
    let _ = write!(text, "\n```text\n{}```\n", compared.ladder.draw());
    if !flow.crossing.is_empty() {
        let pairs: Vec<String> =
            flow.crossing.iter().map(|(one, other)| format!("{one} and {other}")).collect();
        let sentence = format!("These pass each other on the wire: {}.", pairs.join("; "));
        let _ = write!(text, "\n{}\n", wrapped(&sentence));
    }
    if !flow.afterwards.is_empty() {
        let _ = write!(text, "\n{}\n", wrapped(flow.afterwards));
    }
    let crosses = |(one, other): &&(String, String)| {
        flow.crossing.iter().any(|(first, second)| one == first && other == second)
    };
    let swapped: Vec<_> = compared.swapped.iter().filter(|pair| !crosses(pair)).collect();
    if !swapped.is_empty() {
        let pairs: Vec<String> = swapped.iter().map(|(one, other)| format!("{other} before {one}")).collect();
        let drawn = if matches!(flow.source, Source::Rfc(_)) { "RFC" } else { "figure" };
        let sentence =
            format!("The {drawn} leaves the order of these open; in the run: {}.", pairs.join(", "));
        let _ = write!(text, "\n{}\n", wrapped(&sentence));
    }
    if !flow.shows.is_empty() {
        let _ =
            write!(text, "\nTo be seen in single messages:\n\n| message | what | value |\n|---|---|---|\n");
        for (number, field, value) in flow.shows {
            // What stands in brackets would be read as a tag.
            let value = if value.contains('<') { format!("`{value}`") } else { (*value).to_owned() };
            let _ = writeln!(text, "| {number} | {field:?} | {value} |");
        }
    }
    for (kind, why) in flow.adds {
        let _ =
            write!(text, "\n{}\n", wrapped(&format!("Ours sends {kind} too, which is not drawn: {why}.")));
    }
    if !flow.steps.is_empty() {
        let steps = flow.steps.join(" and ");
        let sentence = format!(
            "The RFC counts what happens within a server too, as {steps}: its later messages have higher numbers."
        );
        let _ = write!(text, "\n{}\n", wrapped(&sentence));
    }
    if !flow.omits.is_empty() {
        let omits: Vec<String> = flow.omits.iter().map(|field| format!("{field:?}")).collect();
        let sentence =
            format!("The RFC leaves out or leaves open, and not compared is: {}.", omits.join(", "));
        let _ = write!(text, "\n{}\n", wrapped(&sentence));
    }
    if !flow.differences.is_empty() {
        let _ = write!(text, "\n| message | header | why it is not as in the RFC |\n|---|---|---|\n");
        for (number, field, why) in flow.differences {
            let _ = writeln!(text, "| {number} | {field:?} | {why} |");
        }
    }
    text
}

/// Says of each response which method it answers: in a race that is not plain to see.
fn name_methods(ladder: &mut Ladder) {
    for step in &mut ladder.steps {
        let message = Message::parse(step.bytes.clone(), &Limits::default()).expect("a message of ours");
        if let (false, Ok(cseq)) = (message.is_request(), message.cseq()) {
            let _ = write!(step.title, " ({})", cseq.method.as_str());
        }
    }
}

/// Lines of at most 110 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + word.chars().count() < 110 {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}
