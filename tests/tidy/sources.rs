//! What may stand in which source file.

use crate::files::{TextFile, report, root, rust_files, text_files};

/// Folders whose code takes `now` and bytes, and returns values (invariant 1).
const PURE: &[&str] = &[
    "crates/wire/src/",
    "crates/transport/src/",
    "crates/transaction/src/",
    "crates/dialog/src/",
    "crates/support/src/",
    "crates/roles/src/",
    "crates/media/src/",
    "crates/sim/src/",
];

/// The places within them that touch the machine: sockets, and the command that runs the simulator.
const MACHINE: &[&str] = &["crates/transport/src/sys", "crates/media/src/sys", "crates/sim/src/bin/"];

/// What pure code does not name, each with the way out.
const BANNED: &[(&str, &str)] = &[
    ("tokio", "only node runs tasks; return an Output"),
    ("UdpSocket", "sockets live in transport::sys; return a Transmit"),
    ("TcpStream", "sockets live in transport::sys; return a Transmit"),
    ("TcpListener", "sockets live in transport::sys"),
    ("std::thread", "threads live in node"),
    ("thread::spawn", "threads live in node"),
    ("Mutex", "state has one owner: no lock"),
    ("RwLock", "state has one owner: no lock"),
    ("async fn", "waiting is data: return a deadline or a Query"),
    ("async move", "waiting is data: return a deadline or a Query"),
    (".await", "waiting is data: return a deadline or a Query"),
    ("Instant::now", "take `now` as an argument"),
    ("SystemTime::now", "take `now` as an argument"),
    ("rand::rng", "take randomness as an argument"),
    ("thread_rng", "take randomness as an argument"),
    ("OsRng", "take randomness as an argument"),
    ("SysRng", "take randomness as an argument"),
    ("getrandom", "take randomness as an argument"),
    ("std::fs", "files belong to node; take bytes as an argument"),
    ("File::open", "files belong to node; take bytes as an argument"),
];

/// Where `unsafe` may stand, each block under a SAFETY comment.
const UNSAFE: &[&str] = &["crates/transport/src/sys", "crates/media/src/sys"];

/// A crate's lib.rs is its door.
const DOOR_LINES: usize = 150;
/// A file is one idea.
const FILE_LINES: usize = 1_000;
/// ARCHITECTURE.md is a bird's eye view.
const ARCHITECTURE_LINES: usize = 300;

#[test]
fn protocol_code_names_no_clock_socket_thread_lock_file_or_randomness() {
    let mut findings = Vec::new();
    for file in rust_files() {
        let pure = PURE.iter().any(|folder| file.path.starts_with(folder));
        if !pure
            || MACHINE.iter().any(|folder| file.path.starts_with(folder))
            || file.path.ends_with("tests.rs")
        {
            continue;
        }
        for (number, line) in code_lines(without_tests(&file.text)) {
            for (word, way_out) in BANNED.iter().filter(|(word, _)| names(line, word)) {
                findings.push(format!("{}:{number}: `{word}` in protocol code: {way_out}", file.path));
            }
        }
    }
    report(&findings);
}

#[test]
fn unsafe_stands_only_in_named_places_and_says_why() {
    let mut findings = Vec::new();
    for file in rust_files() {
        let lines: Vec<&str> = file.text.lines().collect();
        for (number, line) in code_lines(&file.text) {
            if !names(line, "unsafe") || line.contains('"') {
                continue;
            }
            if !UNSAFE.iter().any(|place| file.path.starts_with(place)) {
                findings.push(format!(
                    "{}:{number}: `unsafe` outside {UNSAFE:?}: use a safe way, or move it there",
                    file.path
                ));
            } else if !lines[number.saturating_sub(6)..number].iter().any(|line| line.contains("SAFETY:")) {
                findings.push(format!("{}:{number}: write `// SAFETY: …` above this `unsafe`", file.path));
            }
        }
    }
    report(&findings);
}

#[test]
fn doors_are_small_and_files_are_one_idea() {
    let mut findings = Vec::new();
    for file in rust_files() {
        let lines = file.text.lines().count();
        if file.path.starts_with("crates/") && file.path.ends_with("/src/lib.rs") && lines >= DOOR_LINES {
            findings.push(format!(
                "{}: {lines} lines; a door has less than {DOOR_LINES}: move code to modules",
                file.path
            ));
        }
        if lines > FILE_LINES {
            findings.push(format!("{}: {lines} lines; split it by ideas, at most {FILE_LINES}", file.path));
        }
    }
    report(&findings);
}

#[test]
fn architecture_fits_on_three_hundred_lines() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let lines = text.lines().count();
    assert!(
        lines <= ARCHITECTURE_LINES,
        "ARCHITECTURE.md has {lines} lines: shorten it to {ARCHITECTURE_LINES}"
    );
}

#[test]
fn no_file_names_a_place_outside_the_repository() {
    // In two parts, so that this file does not name them itself.
    let outside = [concat!("..", "/shared"), concat!("/", "work/"), concat!("/", "root/")];
    let mut findings = Vec::new();
    for TextFile { path, text } in text_files() {
        for (number, line) in text.lines().enumerate() {
            for place in outside.iter().filter(|place| names_path(line, place)) {
                findings.push(format!(
                    "{path}:{}: `{place}` exists on one machine only: copy what is needed into tests/ and name that",
                    number + 1
                ));
            }
        }
    }
    report(&findings);
}

#[test]
fn banned_words_are_found_where_they_stand_alone() {
    assert!(names("use tokio::net;", "tokio"));
    assert!(names("let now = Instant::now();", "Instant::now"));
    assert!(names("    task.await?;", ".await"));
    assert!(!names("fn stokio_x() {}", "tokio"));
    assert!(!names("let unsafe_code = 1;", "unsafe"));
    assert!(names_path(concat!("see /", "work/x"), concat!("/", "work/")));
    assert!(!names_path(concat!("a path/", "work/x"), concat!("/", "work/")));
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\nb\n}\n"), "a\n");
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests;\nb\n"), "a\n#[cfg(test)]\nmod tests;\nb\n");
    assert_eq!(code_lines("a // b\n// c\nd").collect::<Vec<_>>(), [(1, "a "), (2, ""), (3, "d")]);
}

/// Numbered lines, without what follows `//`.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

/// What stands above the tests of a file (tests come last).
fn without_tests(text: &str) -> &str {
    let mut from = 0;
    while let Some(at) = text[from..].find("#[cfg(test)]\nmod ").map(|at| from + at) {
        let declaration = text[at..].lines().nth(1).unwrap_or_default();
        if declaration.ends_with('{') {
            return &text[..at];
        }
        from = at + 1;
    }
    text
}

/// Whether `line` holds `word` with no letter, digit or underscore next to its ends.
fn names(line: &str, word: &str) -> bool {
    let part_of_word = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let before_joins =
            word.starts_with(char::is_alphanumeric) && part_of_word(line[..at].chars().next_back());
        !before_joins && !part_of_word(line[at + word.len()..].chars().next())
    })
}

/// Whether `line` holds `place` other than as the end of a longer path.
fn names_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        !line[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'))
    })
}
