//! Messages made to torment a parser, and a written verdict on each.

mod corrections;
mod deck;
mod document;
mod flows;
mod rfc4475;
mod rfc5118;
mod values;
mod verdict;

use std::collections::BTreeSet;

use serde_json::Value;

use verdict::{Row, check, messages, read};

#[test]
fn each_message_of_rfc_4475_gets_its_verdict() {
    assert_eq!(rfc4475::ROWS.len(), 49);
    judge(rfc4475::FOLDER, rfc4475::ROWS);
}

#[test]
fn each_message_of_rfc_5118_gets_its_verdict() {
    assert_eq!(rfc5118::ROWS.len(), 12);
    judge(rfc5118::FOLDER, rfc5118::ROWS);
}

#[test]
fn each_message_of_the_deck_gets_its_verdict() {
    judge(deck::FOLDER, deck::ROWS);
}

#[test]
fn the_tables_name_each_message_with_its_section() {
    for (rows, index) in [(rfc4475::ROWS, "rfc4475/index.json"), (rfc5118::ROWS, "rfc5118/index.json")] {
        let index = std::fs::read(messages().join(index)).expect("an index");
        let index: Value = serde_json::from_slice(&index).expect("JSON");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let expected: Vec<_> = index
            .as_array()
            .expect("a list")
            .iter()
            .map(|entry| (text(&entry["file"]), text(&entry["section"])))
            .collect();
        let found: Vec<_> = rows.iter().map(|row| (row.file.to_owned(), row.section.to_owned())).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn baddn_is_refused_for_its_display_name_when_its_header_ends() {
    let mut bytes = read(rfc4475::FOLDER, "baddn.dat");
    bytes.extend_from_slice(b"\r\n");
    assert_eq!(
        verdict::verdict(&bytes, |_| ()),
        "400: From: expected a display name of tokens or one closed quoted string"
    );
}

/// Checks each row, and that each message of the folder has one.
fn judge(folder: &str, rows: &[Row]) {
    for row in rows {
        check(folder, row);
    }
    let listed: BTreeSet<_> = rows.iter().map(|row| row.file.to_owned()).collect();
    assert_eq!(listed.len(), rows.len(), "each file has one row");
    let files = std::fs::read_dir(messages().join(folder)).expect("a folder");
    let found: BTreeSet<_> = files
        .map(|file| file.expect("a file").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.ends_with(".dat") || name.ends_with(".sip"))
        .collect();
    assert_eq!(found, listed);
}
