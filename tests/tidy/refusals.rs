//! docs/refusals.md: every code is there, and each of its situations names tests that exist.

use crate::deck::{exists, quoted};
use crate::files::{report, root, rust_files};

/// The codes that the page must speak of.
const CODES: &[u16] = &[
    300, 301, 302, 305, 380, 400, 401, 403, 404, 405, 406, 407, 408, 410, 413, 414, 415, 416, 420, 421, 422,
    423, 430, 439, 440, 480, 481, 482, 483, 484, 485, 486, 487, 488, 489, 491, 493, 500, 501, 502, 503, 504,
    505, 513, 600, 603, 604, 606,
];

#[test]
fn every_refusal_has_its_situations_and_each_of_them_a_test() {
    let text = std::fs::read_to_string(root().join("docs/refusals.md")).expect("docs/refusals.md is there");
    let sources = rust_files();
    let (mut findings, mut seen) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [codes, _, situation, _, tests] = cells[..] else { continue };
        let codes: Vec<u16> = codes.split(", ").filter_map(|code| code.parse().ok()).collect();
        if codes.is_empty() {
            continue;
        }
        seen.extend(codes);
        let place = format!("docs/refusals.md:{}", index + 1);
        let tests = quoted(tests);
        if tests.is_empty() && !situation.starts_with("not yet: ") {
            findings.push(format!("{place}: name a test, or say `not yet: …`"));
        }
        let missing = tests.iter().filter(|test| !exists(test, &sources));
        findings.extend(missing.map(|test| format!("{place}: there is no test `{test}`")));
    }
    let missing = CODES.iter().filter(|code| !seen.contains(code));
    findings.extend(missing.map(|code| format!("docs/refusals.md: {code} is missing")));
    report(&findings);
}
