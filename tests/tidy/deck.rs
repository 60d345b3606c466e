//! docs/deck.md: every row is there, and a row that is done can be seen.

use crate::files::{TextFile, report, root, rust_files};

/// The sections of the table and how many rows each has: `D1.1` to `D1.14`, and so on.
const SECTIONS: &[(&str, u32)] = &[
    ("D1", 14),
    ("D2", 8),
    ("D3", 12),
    ("D4", 13),
    ("D5", 12),
    ("D6", 14),
    ("D7", 14),
    ("D8", 6),
    ("D8b", 9),
    ("D9", 5),
    ("D10", 8),
    ("D11", 10),
    ("D12", 9),
    ("D13", 10),
    ("D14", 10),
    ("D15", 14),
    ("D16", 5),
    ("D17", 7),
    ("D18", 15),
    ("D19", 11),
];

/// The programs that a command may start with.
const PROGRAMS: &[&str] = &["cargo", "dialtone", "sipp", "sipsak", "baresip"];

/// The tasks that `cargo` may be asked for in a command.
const CARGO_TASKS: &[&str] = &["run", "test", "bench", "xtask"];

#[test]
fn every_row_of_the_deck_has_a_state_and_no_row_is_invented() {
    let rows = rows();
    let mut findings = Vec::new();
    let expected: Vec<String> = SECTIONS
        .iter()
        .flat_map(|(section, count)| (1..=*count).map(move |number| format!("{section}.{number}")))
        .collect();
    for id in &expected {
        match rows.iter().filter(|row| row.id == *id).count() {
            1 => {}
            0 => findings
                .push(format!("row {id} is missing from docs/deck.md: add it, `open` if nothing is done")),
            count => findings.push(format!("row {id} stands {count} times in docs/deck.md: keep one")),
        }
    }
    for row in &rows {
        if !expected.contains(&row.id) {
            findings
                .push(format!("docs/deck.md:{}: `{}` is no row of the deck: remove it", row.line, row.id));
        }
        if !["open", "part", "done"].contains(&row.state.as_str()) {
            findings.push(format!(
                "docs/deck.md:{}: {} has the state `{}`: write open, part or done",
                row.line, row.id, row.state
            ));
        }
    }
    report(&findings);
}

#[test]
fn a_row_that_is_done_names_a_test_and_a_command_that_exist() {
    let sources = rust_files();
    let mut findings = Vec::new();
    for row in rows() {
        findings.extend(
            faults(&row, &sources)
                .into_iter()
                .map(|fault| format!("docs/deck.md:{}: {} is `{}`: {fault}", row.line, row.id, row.state)),
        );
    }
    report(&findings);
}

#[test]
fn a_row_without_proof_is_found() {
    let source = "#[test]\nfn a_call_ends() {}\n".to_owned();
    let sources = [TextFile { path: "crates/x/src/a.rs".to_owned(), text: source }];
    let row = |state: &str, test: &str, command: &str| {
        let line = format!("| D1.1 | what | {state} | x | {test} | {command} |");
        faults(&parse(1, &line).expect("a row"), &sources).len()
    };
    assert_eq!(row("open", "–", "–"), 0);
    assert_eq!(row("part", "–", "–"), 1);
    assert_eq!(row("part", "`x::a_call_ends`", "–"), 0);
    assert_eq!(row("done", "–", "–"), 2);
    assert_eq!(row("done", "`a_call_ends`", "`cargo run --release -- demo`"), 0);
    assert_eq!(row("done", "`crates/x/src/a.rs`", "`cargo run --release -- demo`"), 0);
    assert_eq!(row("done", "`a_call_never_ends`", "`cargo run --release -- demo`"), 1);
    assert_eq!(row("done", "`a_call_ends`", "`believe me`"), 1);
    assert_eq!(row("done", "`a_call_ends`", "run it"), 1);
}

#[test]
fn each_correction_of_the_deck_names_tests_that_exist() {
    let text = std::fs::read_to_string(root().join("docs/deck-corrections.md")).expect("the page is there");
    let sources = rust_files();
    let mut findings = Vec::new();
    for number in 1..=11 {
        let start = format!("\n## D19.{number} ");
        let section = text.split(start.as_str()).nth(1).unwrap_or_default();
        let section = section.split("\n## ").next().unwrap_or_default();
        let tests = section.split_once("\nTest").map(|(_, tests)| quoted(tests)).unwrap_or_default();
        if tests.is_empty() {
            findings.push(format!("docs/deck-corrections.md: D19.{number} names no test: write `Test: …`"));
        }
        for test in tests.iter().filter(|test| !exists(test, &sources)) {
            findings.push(format!("docs/deck-corrections.md: D19.{number}: there is no test `{test}`"));
        }
    }
    report(&findings);
}

#[test]
fn each_box_of_the_map_says_where_it_is_or_why_it_is_not() {
    let text = std::fs::read_to_string(root().join("docs/map.md")).expect("docs/map.md is there");
    let rows = rows();
    let mut findings = Vec::new();
    let mut boxes = 0;
    for (number, line) in text.lines().enumerate() {
        let Some(cells) = line.strip_prefix("| ") else { continue };
        let cells: Vec<&str> = cells.trim_end_matches('|').split('|').map(str::trim).collect();
        let [_, _, state, place] = cells[..] else { panic!("docs/map.md:{}: four cells", number + 1) };
        if state == "state" {
            continue;
        }
        boxes += 1;
        let waits = state.strip_prefix("here, not yet: ");
        let wrong = match (state, waits) {
            (_, Some(id)) => match rows.iter().find(|row| row.id == id) {
                Some(row) if row.state == "done" => Some("the row is done: say where it is"),
                Some(_) => None,
                None => Some("the deck has no such row"),
            },
            ("here", None) => match quoted(place) {
                places if places.is_empty() => Some("say where it is"),
                places => {
                    let all = places.iter().all(|place| root().join(place).exists());
                    (!all).then_some("there is no such file or folder")
                }
            },
            ("by a gateway" | "out of scope", None) => (place.len() < 10).then_some("say why"),
            _ => Some("write `here`, `here, not yet: D…`, `by a gateway` or `out of scope`"),
        };
        findings.extend(wrong.map(|wrong| format!("docs/map.md:{}: {wrong}: {line}", number + 1)));
    }
    if boxes < 25 {
        findings.push(format!("docs/map.md has {boxes} boxes"));
    }
    report(&findings);
}

#[test]
fn no_source_builds_on_an_rfc_that_was_replaced() {
    let replaced = [
        ("1630", "3986"),
        ("1890", "3551"),
        ("2327", "8866"),
        ("2617", "7616"),
        ("2976", "6086"),
        ("3265", "6665"),
        ("3489", "8489"),
    ];
    let mut findings = Vec::new();
    for file in rust_files().iter().filter(|file| file.path.starts_with("crates/")) {
        for (number, line) in file.text.lines().enumerate() {
            for (old, new) in replaced {
                let beside = line.contains(&format!("RFC {new}"));
                if line.contains(&format!("RFC {old}")) && !beside {
                    findings.push(format!(
                        "{}:{}: RFC {old} was replaced: cite RFC {new}, the old one beside it at most",
                        file.path,
                        number + 1
                    ));
                }
            }
        }
    }
    report(&findings);
}

/// One row: `| id | what | state | module | test | command |`.
struct Row {
    line: usize,
    id: String,
    state: String,
    test: String,
    command: String,
}

fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join("docs/deck.md")).expect("docs/deck.md is there");
    text.lines().enumerate().filter_map(|(index, line)| parse(index + 1, line)).collect()
}

fn parse(line: usize, text: &str) -> Option<Row> {
    let cells: Vec<&str> = text.strip_prefix("| D")?.split('|').map(str::trim).collect();
    assert_eq!(
        cells.len(),
        7,
        "docs/deck.md:{line}: a row has six cells between bars; write no bar within a cell"
    );
    Some(Row {
        line,
        id: format!("D{}", cells[0]),
        state: cells[2].to_owned(),
        test: cells[4].to_owned(),
        command: cells[5].to_owned(),
    })
}

fn faults(row: &Row, sources: &[TextFile]) -> Vec<String> {
    let mut faults = Vec::new();
    let tests = quoted(&row.test);
    let commands = quoted(&row.command);
    match row.state.as_str() {
        "done" if tests.is_empty() => faults.push("name the test that proves it, in backquotes".to_owned()),
        "part" if tests.is_empty() && commands.is_empty() => {
            faults.push("name the test or the command that shows the part, in backquotes".to_owned());
        }
        _ => {}
    }
    if row.state == "done" && commands.is_empty() {
        faults.push("name the command that shows it, in backquotes".to_owned());
    }
    for test in tests.iter().filter(|test| !exists(test, sources)) {
        faults.push(format!("test `{test}` is neither a file nor a function here: mend the name"));
    }
    for command in commands.iter().filter(|command| !is_command(command)) {
        faults.push(format!(
            "command `{command}` starts with none of {PROGRAMS:?} and a task of cargo {CARGO_TASKS:?}"
        ));
    }
    faults
}

/// The texts between backquotes.
pub(crate) fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

pub(crate) fn exists(test: &str, sources: &[TextFile]) -> bool {
    if test.contains('/') {
        return sources.iter().any(|file| file.path == test) || root().join(test).is_file();
    }
    let name = test.rsplit("::").next().unwrap_or(test);
    let declaration = format!("fn {name}(");
    sources.iter().any(|file| file.text.contains(&declaration))
}

fn is_command(command: &str) -> bool {
    let mut words = command.split(' ');
    match words.next() {
        Some("cargo") => words.next().is_some_and(|task| CARGO_TASKS.contains(&task)),
        Some(program) => PROGRAMS.contains(&program),
        None => false,
    }
}
