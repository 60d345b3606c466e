//! docs/torture.md is written from the tables.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::verdict::{Row, Verdict};
use crate::{deck, rfc4475, rfc5118};

const HEAD: &str = "\
<!-- Written from tests/torture by its own test. To write it anew:
     DIALTONE_BLESS=1 cargo test -p dialtone-tests --test torture -->

# Verdicts on torture messages

What a server makes of each message before any role (proxy, registrar, user agent …) sees it: the message goes on
(accepted), or is answered with a status, or is dropped. Where the RFC has a role answer it later, the reason says so. The
files are in `tests/messages`; the tests also compare the values that were read (URIs, tags, names, header counts)
with what the RFC says about the message, and write each accepted message back byte for byte.

At a running server, over UDP and TCP and with a hundred calls up, each message gets the answer that the table of
`tests/interop/torment.rs` has, and ten thousand spoilt copies over each transport cost no call:
`cargo xtask interop torment`.
";

#[test]
fn the_document_is_what_the_tables_say() {
    let mut text = HEAD.to_owned();
    section(&mut text, "RFC 4475", rfc4475::FOLDER, rfc4475::ROWS);
    section(&mut text, "RFC 5118", rfc5118::FOLDER, rfc5118::ROWS);
    section(&mut text, "The slide deck", deck::FOLDER, deck::ROWS);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/torture.md");
    if std::env::var_os("DIALTONE_BLESS").is_some() {
        std::fs::write(&path, &text).expect("docs/torture.md can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "docs/torture.md is stale: DIALTONE_BLESS=1 cargo test -p dialtone-tests --test torture"
    );
}

fn section(text: &mut String, title: &str, folder: &str, rows: &[Row]) {
    let accepted = rows.iter().filter(|row| row.verdict == Verdict::Accepted).count();
    let _ = write!(
        text,
        "\n## {title}\n\n`tests/messages/{folder}`: {} messages, {accepted} accepted.\n\n\
         | § | message | verdict | why |\n|---|---|---|---|\n",
        rows.len()
    );
    for row in rows {
        let verdict = match row.verdict {
            Verdict::Accepted => "accepted".to_owned(),
            Verdict::Refused(status, fault) => format!("**{status}** {}", code(fault)),
            Verdict::Dropped(fault) => format!("dropped: {}", code(fault)),
        };
        let (section, title, file) = (row.section, code_free(row.title), row.file);
        let reason = code_free(row.reason);
        let _ = writeln!(text, "| {section} | `{file}`<br>{title} | {verdict} | {reason} |");
    }
}

/// Text with angle brackets as Markdown shows them.
fn code_free(text: &str) -> String {
    text.replace('<', "&lt;").replace('>', "&gt;")
}

/// A fault in words, quoted without backticks.
fn code(fault: &str) -> String {
    code_free(&fault.replace('`', ""))
}
