use std::path::Path;

use super::*;
use crate::config::Facts;

const FILE: &str = r#"
[dial_plan]
zone = "Europe/Berlin"
country = "49"

[[domain]]
name = "a.test"

[[rule]]
name = "emergency"
number = ["112", "110"]
to = "trunk:carrier"

[[rule]]
name = "bob's line"
number = "0*"
from = "bob"
to = "trunk:carrier"

[[rule]]
name = "office at night"
number = "100"
from = "anyone"
days = "mon-fri"
hours = "18:00-08:00"
to = "redirect"
contacts = ["sip:night@b.test;q=0.5", "sip:guard@c.test"]

[[rule]]
name = "office"
number = "1xx"
from = "anyone"
to = "user:alice"

[[rule]]
name = "gone"
number = "9"
to = "refuse"
code = 410
reason = "Out of use"

[[alias]]
name = "sales"
user = ["alice", "bob"]

[[trunk]]
name = "carrier"
address = ["sip:192.0.2.1"]
"#;

#[track_caller]
fn check(number: &str, from: Option<&str>, at: &str, expected: &str) {
    check_in(FILE, number, from, at, expected);
}

#[track_caller]
fn check_in(file: &str, number: &str, from: Option<&str>, at: &str, expected: &str) {
    let facts = Facts {
        data: Path::new(""),
        listen: Vec::new(),
        domains: Vec::new(),
        public: false,
        open: false,
        fallback_domain: "a.test".parse().expect("a domain"),
    };
    let (file, resolved) = Config::read_and_resolve(file, "t.toml", &facts).expect("no problem");
    let settings = resolved.settings(0, Secret([0; 32]), 0, Vec::new());
    let question = Question { number: number.into(), from: from.map(Into::into), at: Some(at.into()) };
    let said = match explain_with(&settings, &file, &question, || 0) {
        Ok(explanation) => explanation.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(said, expected, "\n{said}");
}

#[test]
fn each_rule_says_why_it_does_not_match_up_to_the_one_that_does() {
    check(
        "100",
        Some("anyone"),
        "2026-11-20T09:30",
        "100 in a.test, called by nobody of ours, fri 2026-11-20 09:30 (Europe/Berlin)\n\n  \
         emergency        line 10    not matched: `100` is not `112` or `110`\n  \
         bob's line       line 15    not matched: `100` is not `0*`\n  \
         office at night  line 21    not matched: it is fri 09:30 in Europe/Berlin, not `mon-fri` at `18:00-08:00`\n  \
         office           line 30    matches `1xx`\n  \
         1 more rule comes after it\n\n\
         It goes to the phones of alice@a.test.\n",
    );
}

#[test]
fn a_star_code_goes_before_the_rules() {
    check(
        "*72201",
        Some("bob"),
        "2026-11-20T09:30",
        "*72201 in a.test, called by bob@a.test, fri 2026-11-20 09:30 (Europe/Berlin)\n\n  no rule is asked\n\n\
         A star code: the server changes what is done with the caller's own calls: all calls go to 201, after the \
         caller has shown a password.\n",
    );
}

#[test]
fn the_time_and_the_caller_that_are_asked_about_count() {
    check(
        "100",
        None,
        "2026-11-20T18:00",
        "100 in a.test, called by a user of a.test, fri 2026-11-20 18:00 (Europe/Berlin)\n\n  \
         emergency        line 10    not matched: `100` is not `112` or `110`\n  \
         bob's line       line 15    not matched: `100` is not `0*`\n  \
         office at night  line 21    matches `100`\n  \
         2 more rules come after it\n\n\
         302: the caller is sent to sip:guard@c.test, sip:night@b.test;q=0.5, after the caller has shown a password.\n",
    );
    check(
        "tel:0-30-123;phone-context=+49",
        Some("bob@a.test"),
        "2026-11-20T18:00Z",
        "030123 in a.test, called by bob@a.test, fri 2026-11-20 19:00 (Europe/Berlin)\n\n  \
         emergency   line 10    not matched: `030123` (`+4930123`) is not `112` or `110`\n  \
         bob's line  line 15    matches `0*`\n  \
         3 more rules come after it\n\n\
         It goes to 030123 over the trunk carrier, after the caller has shown a password.\n",
    );
}

#[test]
fn what_no_rule_matches_is_told_too() {
    let rules = |number: &str| {
        format!(
            "  emergency        line 10    not matched: `{number}` is not `112` or `110`\n  \
             bob's line       line 15    not matched: `{number}` is not `0*`\n  \
             office at night  line 21    not matched: `{number}` is not `100`\n  \
             office           line 30    not matched: `{number}` is not `1xx`\n  \
             gone             line 36    not matched: `{number}` is not `9`\n  \
             no rule matches\n\n"
        )
    };
    let head = |number: &str| {
        format!("{number} in a.test, called by alice@a.test, fri 2026-11-20 12:00 (Europe/Berlin)\n\n")
    };
    for (number, end) in [
        ("bob", "It goes to the phones of bob@a.test, after the caller has shown a password.\n"),
        ("echo", "The server answers itself, as echo@a.test, after the caller has shown a password.\n"),
        (
            "sales",
            "485: it is refused: sales is an alias of alice@a.test and bob@a.test, after the caller has shown a password.\n",
        ),
    ] {
        check(number, Some("alice"), "2026-11-20T12:00", &format!("{}{}{end}", head(number), rules(number)));
    }
}

#[test]
fn a_number_that_is_too_short_and_one_that_has_gone_say_so() {
    check(
        "1",
        Some("alice"),
        "2026-11-20T12:00",
        "1 in a.test, called by alice@a.test, fri 2026-11-20 12:00 (Europe/Berlin)\n\n  \
         emergency        line 10    not matched: `1` has too few digits for `112`\n  \
         bob's line       line 15    not matched: `1` is not `0*`\n  \
         office at night  line 21    not matched: it is fri 12:00 in Europe/Berlin, not `mon-fri` at `18:00-08:00`\n  \
         office           line 30    not matched: `1` has too few digits for `1xx`\n  \
         gone             line 36    not matched: `1` is not `9`\n  \
         no rule matches\n\n\
         It goes to the phones of 1@a.test, after the caller has shown a password.\n\
         If nobody has this number, it is refused with 484: the rule emergency needs more digits.\n",
    );
}

#[test]
fn a_refusal_names_its_announcement() {
    check_in(
        "[[domain]]\nname = \"a.test\"\n\n[[rule]]\nname = \"gone\"\nnumber = \"9\"\nto = \"refuse\"\ncode = 410\n\
         error_info = \"sip:gone@ann.test\"\n",
        "9",
        Some("alice"),
        "2026-11-20T12:00",
        "9 in a.test, called by alice@a.test, fri 2026-11-20 12:00 (UTC)\n\n  gone  line 5     matches `9`\n\n\
         410: it is refused, and told more by sip:gone@ann.test.\n",
    );
}

#[test]
fn a_foreign_domain_is_refused_and_says_why() {
    check(
        "sip:carol@Other.test.",
        Some("alice"),
        "2026-11-20T12:00",
        "carol in other.test, which is not of this server, called by alice@a.test, fri 2026-11-20 12:00 \
         (Europe/Berlin)\n\n  \
         emergency        line 10    not matched: without `domain` a rule is not for foreign domains, as other.test is\n  \
         bob's line       line 15    not matched: without `domain` a rule is not for foreign domains, as other.test is\n  \
         office at night  line 21    not matched: without `domain` a rule is not for foreign domains, as other.test is\n  \
         office           line 30    not matched: without `domain` a rule is not for foreign domains, as other.test is\n  \
         gone             line 36    not matched: without `domain` a rule is not for foreign domains, as other.test is\n  \
         no rule matches\n\n\
         403: it is refused: no rule allows calls to this domain.\n",
    );
}

#[test]
fn a_question_without_meaning_says_what_is_expected() {
    check(
        "a b",
        None,
        "2026-11-20T12:00",
        "\"a b\" is nothing that can be called: expected a number, a name, name@domain, or a SIP or tel URI",
    );
    check(
        "1",
        Some("trunk:"),
        "2026-11-20T12:00",
        "\"trunk:\" is nobody who calls: expected a user, user@domain, trunk:NAME or anyone",
    );
    check(
        "1",
        None,
        "noon",
        "\"noon\" is no time: expected something like 2026-11-22T21:30 or 2026-11-22T20:30:00Z",
    );
}

const OFFICE: &str = r#"
[[domain]]
name = "a.test"
mode = "b2bua"

[[domain]]
name = "b.test"
mode = "redirect"

[star_codes]
park = "*6"

[[rule]]
name = "a code of ours"
number = "*69"
to = "refuse"
code = 403

[[rule]]
name = "one call"
number = "*67"
mode = "call"
to = "user:*67"

[[group]]
name = "sales"
members = ["bob"]
queue = "5m"
otherwise = "dave"

[[group]]
name = "*68"
members = ["bob"]
queue = "90s"
"#;

#[track_caller]
fn check_office(number: &str, rules: &str, expected: &str) {
    let head = format!("{number} in a.test, called by bob@a.test, fri 2026-11-20 09:30 (UTC)\n\n{rules}");
    check_in(OFFICE, number, Some("bob"), "2026-11-20T09:30", &format!("{head}\n\n{expected}\n"));
}

const UNMATCHED: fn(&str) -> String = |number| {
    format!(
        "  a code of ours  line 14    not matched: `{number}` is not `*69`\n  \
         one call        line 20    not matched: `{number}` is not `*67`\n  no rule matches"
    )
};

#[test]
fn codes_to_park_and_to_pick_up_are_what_the_server_makes_of_them() {
    check_office(
        "*61",
        &UNMATCHED("*61"),
        "It takes the call that is parked in slot 1; who transfers a call there parks it, after the caller has shown a \
         password.",
    );
    check_office(
        "*8201",
        &UNMATCHED("*8201"),
        "It takes the call that rings at 201@a.test, after the caller has shown a password.",
    );
    // A slot has one to four digits, and its code is another one here.
    for number in ["*612345", "*51"] {
        let expected =
            format!("It goes to the phones of {number}@a.test, after the caller has shown a password.");
        check_office(number, &UNMATCHED(number), &expected);
    }
    let first = "  a code of ours  line 14    ";
    check_office(
        "*69",
        &format!("{first}matches `*69`\n  1 more rule comes after it"),
        "403: it is refused.",
    );
    // A code for calls of which the server is both ends.
    check_office(
        "*67",
        &format!("{first}not matched: `*67` is not `*69`\n  one call        line 20    matches `*67`"),
        "It goes to the phones of *67@a.test, after the caller has shown a password.",
    );
    check_office(
        "*68",
        &UNMATCHED("*68"),
        "403: it is refused: a rule leads this code elsewhere, after the caller has shown a password.",
    );
}

#[test]
fn a_queue_says_for_how_long_and_what_comes_then() {
    check_office(
        "sales",
        &UNMATCHED("sales"),
        "It goes to the group sales, where callers wait while all are busy, for 5m; then it goes to dave@a.test, after the \
         caller has shown a password.",
    );
}

#[test]
fn a_star_code_says_what_it_changes_or_why_it_is_refused() {
    let none = "  no rule is asked";
    let star = "A star code: the server changes what is done with the caller's own calls: ";
    for (number, what) in [
        ("*90201", "calls while he is busy go to 201"),
        ("*92201*30", "calls that he does not answer go to 201"),
        ("*95", "calls while he has no phone are no longer forwarded"),
        ("*78", "he is not disturbed"),
        ("*79", "he may be disturbed again"),
    ] {
        check_office(number, none, &format!("{star}{what}, after the caller has shown a password."));
    }
    for (number, why) in [
        ("*72", "Dial the number to forward to behind the code"),
        ("*785", "Nothing is dialled behind this code"),
        ("*92201*500", "The time without an answer is 1 to 180 seconds"),
    ] {
        check_office(
            number,
            none,
            &format!("484: it is refused: {why}, after the caller has shown a password."),
        );
    }
    // A domain whose server only redirects takes none.
    check_in(
        OFFICE,
        "sip:*72201@b.test",
        Some("bob@b.test"),
        "2026-11-20T09:30",
        &format!(
            "*72201 in b.test, called by bob@b.test, fri 2026-11-20 09:30 (UTC)\n\n{}\n\n\
             It goes to the phones of *72201@b.test, after the caller has shown a password.\n",
            UNMATCHED("*72201")
        ),
    );
}
