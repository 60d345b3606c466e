//! docs/flows is written from what passed on the wire.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::compare::in_order;
use crate::{FLOWS, Flow, reference};

const HEAD: &str = "\
<!-- Written from a run by tests/flows. To write it anew:
     DIALTONE_BLESS=1 cargo test -p dialtone-tests --test flows -->
";

const INTRODUCTION: &str = "
# Call flows

The flows of RFC 3665 as the engines of this program play them in the simulator, over UDP and sip: URIs where the
RFC has TLS and sips:. Each run is compared with the messages that the RFC prints (`tests/messages/flows`): who sends
what to whom, from F1 to Fn; Request-URI, number of Via values, Max-Forwards, Record-Route and Route in order, From,
To, tags, CSeq, Contact, challenges and credentials, body. What is meant to differ is named with its reason. Messages
that nothing orders (a proxy answers 100 and forwards in the same instant) may come in another order than in the RFC;
they are drawn in the RFC's, and named.

| § | flow |
|---|---|
";

/// Compares the documents, or writes them.
pub(crate) fn check() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/flows");
    let mut overview = format!("{HEAD}{INTRODUCTION}");
    let mut stale = Vec::new();
    for flow in FLOWS {
        let file = format!("rfc3665-{}.md", flow.section);
        let _ = writeln!(overview, "| {} | [{}]({file}) |", flow.section, flow.title);
        stale.extend(settle(&folder, &file, &text_of(flow)));
    }
    stale.extend(settle(&folder, "README.md", &overview));
    assert!(stale.is_empty(), "stale: {stale:?}: DIALTONE_BLESS=1 cargo test -p dialtone-tests --test flows");
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
    let compared = in_order(flow, &reference::flow(flow.section));
    let mut text = HEAD.to_owned();
    let _ = write!(text, "\n# {} (RFC 3665 §{})\n\n{}\n", flow.title, flow.section, wrapped(flow.text));
    let _ = write!(text, "\n```text\n{}```\n", compared.ladder.draw());
    if !compared.swapped.is_empty() {
        let pairs: Vec<String> =
            compared.swapped.iter().map(|(one, other)| format!("{other} before {one}")).collect();
        let sentence = format!("The RFC leaves the order of these open; in the run: {}.", pairs.join(", "));
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
