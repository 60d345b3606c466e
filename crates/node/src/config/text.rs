//! The texts that are made from the table of keys: the commented defaults and the page of the manual.

use super::keys::{Change, KeyInfo, TableInfo, tables};

/// Columns of a comment.
const COLUMNS: usize = 100;

/// All keys with their defaults and comments, as TOML that reads as the defaults: `dialtone serve --print-defaults`.
pub fn defaults() -> String {
    let mut text = String::new();
    comment(
        &mut text,
        "Settings of Dialtone. Every key may be left out: then it has the value that stands here. Durations are \
         texts with a unit (ms, s, m, h, d); sizes are numbers of bytes or texts with a unit (KiB, MiB, GiB). No \
         password stands in this file.",
    );
    for table in tables() {
        text.push('\n');
        comment(&mut text, &table.doc);
        let before = if table.repeats() { "# " } else { "" };
        text.push_str(&format!("{before}{}\n", table.header()));
        for key in &table.keys {
            comment(&mut text, &format!("{} {}", key.doc, remarks(key)));
            // What may be left out stays a comment in an entry that is taken in.
            let before = if key.optional { "# # " } else { before };
            text.push_str(&format!("{before}{} = {}\n", key.name, shown_default(key)));
        }
    }
    text
}

/// Adds a comment in lines of [`COLUMNS`].
fn comment(text: &mut String, words: &str) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count() + 1;
        if column == 0 || column + length > COLUMNS {
            if column > 0 {
                text.push('\n');
            }
            text.push('#');
            column = 1;
        }
        text.push(' ');
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

/// Limits and what a reload does, as sentences.
fn remarks(key: &KeyInfo) -> String {
    let mut remarks = String::new();
    if !key.limits.is_empty() && !key.kind.starts_with("list") {
        remarks.push_str(&format!("Values: {}. ", key.limits));
    }
    if key.change == Change::Restart {
        remarks.push_str("A change needs a restart.");
    }
    remarks
}

fn has_no_default(key: &KeyInfo) -> bool {
    key.default == "\"\""
}

fn shown_default(key: &KeyInfo) -> &str {
    if has_no_default(key) { &key.example } else { &key.default }
}

/// The page `docs/manual/configuration.md`.
pub fn manual() -> String {
    let mut text = String::from(HEAD);
    for table in tables() {
        section(&mut text, &table);
    }
    text
}

const HEAD: &str = "\
<!-- Made from the table of keys in crates/node/src/config/keys.rs:
     DIALTONE_BLESS=1 cargo test -p dialtone-node config -->
# Settings

One TOML file, named with `--config`; every key may be left out, and the file too. `dialtone serve --print-defaults`
prints all keys with their defaults as a file to begin with. `dialtone check` tells all problems of a file at once, each
with its line and what to do about it. A key that is not known is a problem: a slip never goes unseen.

- **Durations** are texts with a unit: `\"500ms\"`, `\"32s\"`, `\"5m\"`, `\"1h\"`, `\"7d\"`.
- **Sizes** are numbers of bytes, `65535`, or texts with a unit: `\"64KiB\"`, `\"256MiB\"`, `\"1GiB\"`.
- **Change** says what SIGHUP and `dialtone reload` do: *reload* means that the new value counts at once, *restart* that it
  counts from the next start on, which the reload says. A file with a problem changes nothing: the old settings go on.
- Passwords and other secrets never stand in this file. `dialtone user add` stores what is made from a password in the data
  folder.
- The command line wins over the file: `--listen` and `--domain` replace its lists, `--public` and `--open` count as if the
  file said so.
- With `public`, settings that let strangers in are refused: `digest.required = false` and `proxy.foreign = \"open\"`.
";

fn section(text: &mut String, table: &TableInfo) {
    text.push_str(&format!("\n## `{}`\n\n{}\n\n", table.header(), table.doc));
    text.push_str("| key | type | default | values | change | meaning |\n|---|---|---|---|---|---|\n");
    for key in &table.keys {
        let default = if has_no_default(key) { "none".to_owned() } else { format!("`{}`", key.default) };
        let change = match key.change {
            Change::Reload => "reload",
            Change::Restart => "restart",
        };
        let cells = [&format!("`{}`", key.name), &key.kind, &default, &key.limits, change, &key.doc];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
}
