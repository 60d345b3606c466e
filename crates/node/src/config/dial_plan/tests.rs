use std::path::Path;

use dialtone_roles::dial_plan::{Call, Called, Caller, End, decide};
use dialtone_roles::settings::Secret;

use super::*;
use crate::config::{Config, Facts};

fn facts() -> Facts<'static> {
    Facts {
        data: Path::new("/var/lib/dialtone"),
        listen: Vec::new(),
        domains: Vec::new(),
        public: false,
        open: false,
        fallback_domain: "a.test".parse().expect("a domain"),
    }
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let problems = match Config::read_and_resolve(text, "t.toml", &facts()) {
        Ok(_) => Vec::new(),
        Err(problems) => problems,
    };
    let problems: Vec<String> = problems
        .iter()
        .map(|problem| problem.to_string().replace("t.toml:", "").replace("\n  help: ", " | "))
        .collect();
    assert_eq!(problems, expected, "\n{text}");
}

const EVERYTHING: &str = r#"
trunk = [{ name = "carrier", address = ["sip:192.0.2.1"] }, { name = "other", account = "pbx" }]
[dial_plan]
zone = "Europe/Berlin"
country = "49"
national = "0"
international = "00"
unknown_user = "604"
ambiguous = "485-with-contacts"

[[domain]]
name = "a.test"
aliases = ["bee.test"]

[[rule]]
name = "to the carrier"
number = ["+*", "112"]
domain = "a.test"
from = ["users", "alice@bee.test", "trunk:other"]
days = ["mon-fri", "sun"]
hours = "00:00-24:00"
strip = 1
prepend = "00"
to = "trunk:carrier"

[[rule]]
name = "moved"
number = "8xx"
to = "redirect"
code = 301
contacts = ["sip:{number}@c.test;q=0.5", "<sip:{number}@d.test;transport=tcp>"]

[[rule]]
name = "gone"
number = "9"
to = "refuse"
code = 410
reason = "This number is out of use"
error_info = "sip:gone@ann.test"

[[rule]]
name = "desk"
number = "0"
zone = "UTC"
days = "sun"
to = "user:bob@bee.test"

[[alias]]
name = ["info", "sales"]
user = "bob"

[[alias]]
name = "sales"
domain = "bee.test"
user = "alice@a.test"
"#;

#[test]
fn what_stands_in_the_file_is_what_the_plan_does() {
    let (_, resolved) = Config::read_and_resolve(EVERYTHING, "t.toml", &facts()).expect("no problem");
    let settings = resolved.settings(0, Secret([0; 32]), 0, Vec::new());
    let end = |number: &str| {
        let call = Call {
            number,
            domain: Called::Own(&settings.domains[0]),
            caller: Caller::User { user: "alice".into(), domain: "a.test".into() },
            // A Sunday at noon.
            unix_s: 1_795_348_800,
        };
        let planned = decide(&settings, &call, |_, _| ());
        let name = planned.rule.map_or("", |rule| settings.dial_plan.rules[rule].name.as_str());
        (name.to_owned(), planned.end)
    };
    let trunk = |number: &str| End::Trunk { trunk: "carrier".into(), number: number.into() };
    assert_eq!(end("030123"), ("to the carrier".into(), trunk("004930123")));
    assert_eq!(end("112"), ("to the carrier".into(), trunk("0012")));
    let contacts = vec!["<sip:800@d.test;transport=tcp>".into(), "sip:800@c.test;q=0.5".into()];
    assert_eq!(end("800"), ("moved".into(), End::Redirect { status: Status::of(301), contacts }));
    let reason = Some("This number is out of use".into());
    let error_info = Some(UriBuf::parse("sip:gone@ann.test").expect("a URI"));
    assert_eq!(end("9"), ("gone".into(), End::Refuse { status: Status::of(410), reason, error_info }));
    let user = |user: &str| End::User { user: user.into(), domain: "a.test".into() };
    assert_eq!(end("0"), ("desk".into(), End::User { user: "bob".into(), domain: "a.test".into() }));
    assert_eq!(end("info"), (String::new(), user("bob")));
    let users =
        ["bob", "alice"].map(|name| (SmolStr::new_static(name), SmolStr::new_static("a.test"))).to_vec();
    assert_eq!(end("sales"), (String::new(), End::Ambiguous { users }));
    let plan = &settings.dial_plan;
    assert!(plan.nobody_anywhere && plan.ambiguous == Ambiguous::WithContacts);
    assert_eq!(plan.rules[0].times.as_ref().map(|times| times.zone.as_str()), Some("Europe/Berlin"));
}

#[test]
fn all_that_is_wrong_with_rules_is_told_at_once_with_its_line_and_the_way_out() {
    check(
        r#"
[dial_plan]
zone = "Europe/Bielefeld"
country = "049"
[[rule]]
number = "[1"
to = "user:bob"
[[rule]]
name = "one"
days = "monday"
hours = "8-18"
[[rule]]
name = "one"
to = "redirect"
code = 404
[[rule]]
name = "two"
from = "bob@nowhere.test"
to = "user:alice@nowhere.test"
contacts = "sip:a@b.test"
code = 403
reason = "no"
[[rule]]
name = "three"
to = "elsewhere"
contacts = ["bob", "sip:b@c.test;q=2"]
[[alias]]
name = "info"
domain = "nowhere.test"
"#,
        &[
            "3:8: `dial_plan.zone`: expected a time zone by its name in the IANA database, found `Europe/Bielefeld` | \
             write for example \"Europe/Berlin\"",
            "4:11: `dial_plan.country`: expected a country code of one to three digits, found `049` | write for \
             example \"49\"",
            "5:1: `rule`: the key `name` is missing here | add a line like `name = \"to the carrier\"`",
            "6:10: `rule.number`: `[1` is no pattern of a number: a `[` needs a `]`, and something between them | write \
             for example \"112\", \"1xx\", \"[2-9]x*\", \"+44*\" or \"alice\"",
            "8:1: `rule`: the key `to` is missing here | add a line like `to = \"user:bob\"`",
            "10:8: `rule.days`: expected a day or days of the week, found `monday` | write for example \"mon-fri\" or \
             \"sat\" (mon, tue, wed, thu, fri, sat, sun)",
            "11:9: `rule.hours`: expected hours of the day, found `8-18` | write for example \"08:00-18:00\" or \
             \"22:00-06:00\"",
            "13:8: `rule.name`: `one` is named twice | keep one of the two and remove the other",
            "14:6: `rule.to`: the key `contacts` is missing here | add a line like `contacts = \
             [\"sip:bob@example.net\"]`",
            "15:8: `rule.code`: 404 is no code for `to = \"redirect\"` | write for example 302 (300, 301, 302, 305 or \
             380)",
            "18:8: `rule.from`: `nowhere.test` is no domain of this server | name one that is there, or add it as \
             `[[domain]]`",
            "19:6: `rule.to`: `nowhere.test` is no domain of this server | name one that is there, or add it as \
             `[[domain]]`",
            "20:12: `rule.contacts`: says something only with `to = \"redirect\"` | remove it",
            "21:8: `rule.code`: says something only with `to = \"refuse\"` | remove it",
            "22:10: `rule.reason`: says something only with `to = \"refuse\"` | remove it",
            "25:6: `rule.to`: expected where it goes: user:, group:, trunk:, uri:, redirect, refuse or as-dialled, found \
             `elsewhere` | write for example \"user:bob\", \"group:sales\", \"trunk:carrier\", \
             \"uri:sip:desk@192.0.2.9\", \"redirect\", \"refuse\" or \"as-dialled\"",
            "26:13: `rule.contacts`: expected a contact: a SIP or tel URI, perhaps with q, found `bob` | write for \
             example \"sip:bob@example.net\" or \"<sip:{number}@192.0.2.9;transport=tcp>;q=0.7\"",
            "26:20: `rule.contacts`: expected a contact: a SIP or tel URI, perhaps with q, found `sip:b@c.test;q=2` | \
             write for example \"sip:bob@example.net\" or \"<sip:{number}@192.0.2.9;transport=tcp>;q=0.7\"",
            "27:1: `alias`: the key `user` is missing here | add a line like `user = \"bob\"`",
            "29:10: `alias.domain`: `nowhere.test` is no domain of this server | name one that is there, or add it as \
             `[[domain]]`",
        ],
    );
}

#[test]
fn a_public_server_has_no_rule_that_lets_everybody_out() {
    let rule = |from: &str, to: &str| {
        format!(
            "[server]\npublic = true\n[[rule]]\nname = \"out\"\ndomain = \"*\"\nfrom = \"{from}\"\nto = \"{to}\"\n\
             [[trunk]]\nname = \"carrier\"\naddress = [\"sip:192.0.2.1\"]\n"
        )
    };
    for to in ["trunk:carrier", "as-dialled"] {
        check(
            &rule("anyone", to),
            &[
                "6:8: `rule.from`: with `server.public` everybody could send calls anywhere through this server | set \
               `from = \"users\"`, or leave out `public`",
            ],
        );
        check(&rule("users", to), &[]);
    }
    check(&rule("anyone", "user:bob"), &[]);
}

#[test]
fn what_is_written_is_read_again() {
    fn check<T: Scalar<Bounds = ()> + std::fmt::Debug>(texts: &[&str]) {
        for text in texts {
            let quoted = quoted(text);
            let value = DeValue::parse(&quoted).expect("it is TOML");
            let read = T::parse(value.get_ref(), &()).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            assert_eq!(Scalar::write(&read), quoted);
        }
        let example = <T as Scalar>::example(&());
        if !example.is_empty() {
            let value = DeValue::parse(&example).expect("the example is TOML");
            assert!(T::parse(value.get_ref(), &()).is_ok(), "{example}");
        }
    }
    check::<To>(&[
        "user:bob",
        "user:{number}@a.test",
        "group:sales",
        "trunk:the carrier",
        "uri:tel:+49301",
        "redirect",
        "refuse",
        "as-dialled",
    ]);
    check::<CallerPattern>(&["anyone", "users", "alice", "alice@a.test", "trunk:x"]);
    check::<DomainPattern>(&["*", "*.a.test", "a.test", "192.0.2.1", "[2001:db8::1]"]);
    check::<Pattern>(&["1xx", "[2-9]x*", "alice"]);
    check::<Days>(&["mon-fri", "sat"]);
    check::<Hours>(&["08:00-18:00"]);
    check::<Zone>(&["UTC", "Europe/Berlin"]);
    check::<Label>(&["to the carrier"]);
    check::<Prefix>(&["", "+49", "*21*"]);
    check::<CountryCode>(&["1", "49", "353"]);
    check::<Words>(&["Niemand da, bitte später"]);
    check::<Announcement>(&["sip:why@ann.test"]);
    check::<UserAt>(&["bob", "bob@a.test"]);
    check::<ContactValue>(&["sip:bob@c.test;q=0.7"]);
    check::<UnknownUser>(&["404", "604"]);
    check::<Ambiguous>(&["485", "485-with-contacts", "404"]);
}
