use super::*;
use crate::settings::Secret;
use crate::settings::dial_plan::{Alias, Numbering, Template, Times, Zone};

fn settings() -> Settings {
    let mut settings = Settings::new(Secret([0; 32]));
    let domain = |name: &str, alias: &str| Domain {
        name: name.into(),
        aliases: vec![alias.into()],
        ..Domain::default()
    };
    settings.domains = vec![domain("a.test", "192.0.2.1"), domain("b.test", "bee.test")];
    settings.dial_plan.numbering =
        Numbering { country: "49".into(), national: "0".into(), international: "00".into() };
    settings
}

fn rule(name: &str, number: &str, action: Action) -> Rule {
    Rule {
        name: name.into(),
        numbers: number.split_whitespace().map(|pattern| pattern.parse().unwrap()).collect(),
        domains: Vec::new(),
        callers: Vec::new(),
        times: None,
        strip: 0,
        prepend: SmolStr::default(),
        action,
        mode: None,
    }
}

fn trunk(name: &str) -> Action {
    Action::Trunk(name.into())
}

fn refuse(code: u16) -> Action {
    Action::Refuse { status: Status::of(code), reason: None, error_info: None }
}

fn user(name: &str) -> Action {
    Action::User { user: Template::of_user(name).unwrap(), domain: None }
}

/// `NUMBER@DOMAIN < CALLER`: a caller is `alice@a.test`, `trunk:NAME` or nobody.
#[track_caller]
fn check(settings: &Settings, call: &str, expected: &str) {
    let (called, from) = call.split_once(" < ").unwrap_or((call, "alice@a.test"));
    let (number, host) = called.split_once('@').unwrap();
    let own = settings.domains.iter().find(|domain| domain.name == host);
    let caller = match (from.strip_prefix("trunk:"), from.split_once('@')) {
        (Some(trunk), _) => Caller::Trunk(trunk.into()),
        (None, Some((user, domain))) => Caller::User { user: user.into(), domain: domain.into() },
        (None, None) => Caller::Stranger,
    };
    // 2026-11-22 is a Sunday.
    let call = Call {
        number,
        domain: own.map_or(Called::Foreign(host), Called::Own),
        caller,
        unix_s: 1_795_352_400,
    };
    let mut seen = 0;
    let planned = decide(settings, &call, |index, verdict| {
        assert_eq!(index, seen, "in their order");
        seen += 1;
        let rule = &settings.dial_plan.rules[index];
        let words = Explained { rule, verdict, call: &call, plan: &settings.dial_plan }.to_string();
        assert_eq!(words.starts_with("matches"), matches!(verdict, Verdict::Matches(_)), "{words}");
    });
    let name = planned.rule.map_or("-", |index| settings.dial_plan.rules[index].name.as_str());
    let end = match &planned.end {
        End::User { user, domain } => format!("user {user}@{domain}"),
        End::Group(group) => format!("group {group}"),
        End::Trunk { trunk, number } => format!("trunk {trunk} {number}"),
        End::Uri(uri) => format!("uri {uri}"),
        End::AsDialled => "as dialled".to_owned(),
        End::Redirect { status, contacts } => format!("{} {}", status.code(), contacts.join(", ")),
        End::Refuse { status, .. } => format!("{}", status.code()),
        End::Ambiguous { users } => {
            let users: Vec<String> = users.iter().map(|(user, domain)| format!("{user}@{domain}")).collect();
            format!("485 {}", users.join(", "))
        }
    };
    let asks = if planned.asks { " password" } else { "" };
    let short = if planned.incomplete.is_some() { " short" } else { "" };
    assert_eq!(format!("{name}: {end}{asks}{short}"), expected, "{called} from {from}");
}

#[test]
fn without_rules_users_are_reached_and_foreign_domains_are_not() {
    let mut settings = settings();
    check(&settings, "bob@a.test", "-: user bob@a.test password");
    check(&settings, "bob@b.test < nobody", "-: user bob@b.test password");
    check(&settings, "bob@a.test < trunk:t", "-: user bob@a.test");
    check(&settings, "carol@other.test", "-: 403");
    settings.foreign = Foreign::Authenticated;
    check(&settings, "carol@other.test", "-: as dialled password");
    settings.foreign = Foreign::Open;
    check(&settings, "carol@other.test", "-: as dialled");
}

#[test]
fn the_first_rule_that_matches_counts() {
    let mut settings = settings();
    settings.dial_plan.rules = vec![
        rule("emergency", "112 911", Action::Group("desk".into())),
        rule("premium", "0900*", refuse(603)),
        rule("out", "0x*", trunk("carrier")),
        rule("short", "1xx", user("ext{number}")),
    ];
    check(&settings, "112@a.test", "emergency: group desk password");
    check(&settings, "09001234@a.test", "premium: 603");
    check(&settings, "0900@a.test", "premium: 603");
    check(&settings, "030123@a.test", "out: trunk carrier 030123 password");
    check(&settings, "123@a.test", "short: user ext123@a.test password");
    check(&settings, "1234@a.test", "-: user 1234@a.test password");
}

#[test]
fn a_number_that_needs_more_digits_says_so_only_where_the_other_conditions_hold() {
    let mut settings = settings();
    let mut bobs = rule("bobs", "2xx", trunk("carrier"));
    bobs.callers = vec![CallerPattern::User { user: "bob".into(), domain: None }];
    settings.dial_plan.rules = vec![rule("short", "1xx", trunk("carrier")), bobs];
    check(&settings, "12@a.test", "-: user 12@a.test password short");
    check(&settings, "22@a.test", "-: user 22@a.test password");
    check(&settings, "22@a.test < bob@a.test", "-: user 22@a.test password short");
}

#[test]
fn a_rule_that_names_no_caller_is_for_users_and_a_refusal_for_everybody() {
    let mut settings = settings();
    settings.dial_plan.rules = vec![rule("gone", "7", refuse(410)), rule("out", "0*", trunk("carrier"))];
    for from in ["alice@a.test", "nobody", "trunk:carrier"] {
        check(&settings, &format!("7@a.test < {from}"), "gone: 410");
    }
    check(&settings, "01@a.test < nobody", "-: user 01@a.test password");
    // No toll fraud: what comes in over a trunk does not go out over it.
    check(&settings, "01@a.test < trunk:carrier", "-: user 01@a.test");
}

#[test]
fn callers_are_told_apart_and_nobody_calls_in_the_name_of_a_user_without_his_password() {
    let mut settings = settings();
    let from = |name: &str, callers: Vec<CallerPattern>| {
        let mut rule = rule(name, "5", Action::Group(name.into()));
        rule.callers = callers;
        rule
    };
    let bob = CallerPattern::User { user: "bob".into(), domain: Some("b.test".into()) };
    settings.dial_plan.rules = vec![
        from("bob", vec![bob]),
        from("trunk", vec![CallerPattern::Trunk("t".into())]),
        from("all", vec![CallerPattern::Anyone]),
    ];
    check(&settings, "5@a.test < bob@b.test", "bob: group bob password");
    check(&settings, "5@a.test < bob@a.test", "all: group all password");
    check(&settings, "5@a.test < trunk:t", "trunk: group trunk");
    check(&settings, "5@a.test < trunk:u", "all: group all");
    check(&settings, "5@a.test < nobody", "all: group all");
}

#[test]
fn a_foreign_domain_is_reached_by_a_rule_that_names_it() {
    let mut settings = settings();
    let named = |name: &str, domain: DomainPattern, action: Action| {
        let mut rule = rule(name, "", action);
        rule.domains = vec![domain];
        rule
    };
    let mut rewrite = named("rewrite", DomainPattern::Name("gw.test".into()), Action::AsDialled);
    rewrite.strip = 1;
    settings.dial_plan.rules = vec![
        rule("own", "", Action::Group("own".into())),
        named("other", DomainPattern::Name("other.test".into()), Action::AsDialled),
        named("below", DomainPattern::Below("other.test".into()), refuse(403)),
        rewrite,
    ];
    check(&settings, "x@a.test", "own: group own password");
    check(&settings, "x@other.test", "other: as dialled password");
    check(&settings, "x@sub.other.test", "below: 403");
    check(&settings, "x@another.test", "-: 403");
    check(&settings, "x@other.test < nobody", "-: 403");
    check(&settings, "9a b@gw.test", "rewrite: uri sip:a%20b@gw.test password");
    settings.dial_plan.rules = vec![named("any", DomainPattern::Any, Action::AsDialled)];
    check(&settings, "x@another.test", "any: as dialled password");
    check(&settings, "x@b.test", "any: user x@b.test password");
    settings.dial_plan.rules = vec![named("alias", DomainPattern::Name("bee.test".into()), refuse(403))];
    check(&settings, "x@b.test", "alias: 403");
}

#[test]
fn numbers_are_compared_and_passed_on_in_international_form_where_the_pattern_begins_with_plus() {
    let mut settings = settings();
    let mut british = rule("british", "+44*", trunk("uk"));
    british.strip = 1;
    british.prepend = "00".into();
    settings.dial_plan.rules = vec![british, rule("world", "+*", trunk("world"))];
    for dialled in ["+441632960083", "00441632960083"] {
        check(&settings, &format!("{dialled}@a.test"), "british: trunk uk 00441632960083 password");
    }
    check(&settings, "030123@a.test", "world: trunk world +4930123 password");
    check(&settings, "123@a.test", "-: user 123@a.test password");
}

#[test]
fn strip_takes_characters_and_no_more_than_there_are() {
    let mut settings = settings();
    let mut all = rule("all", "9*", user("{number}"));
    (all.strip, all.prepend) = (2, "+".into());
    settings.dial_plan.rules = vec![all];
    check(&settings, "91é2@a.test", "all: user +é2@a.test password");
    check(&settings, "9@a.test", "all: user +@a.test password");
}

#[test]
fn hours_open_and_close_a_rule() {
    let mut settings = settings();
    let hours = |hours: &str| {
        let times = Times {
            zone: Zone::UTC,
            days: vec!["sun".parse().unwrap()],
            hours: vec![hours.parse().unwrap()],
        };
        let mut rule = rule(hours, "5", Action::Group("g".into()));
        rule.times = Some(times);
        rule
    };
    settings.dial_plan.rules = vec![hours("08:00-12:00"), hours("12:00-18:00")];
    check(&settings, "5@a.test", "12:00-18:00: group g password");
    settings.dial_plan.rules.pop();
    check(&settings, "5@a.test", "-: user 5@a.test password");
}

#[test]
fn a_redirection_ranks_its_contacts_and_puts_the_number_into_them() {
    let mut settings = settings();
    let contacts =
        ["sip:{number}@c.test;q=0.5", "<sip:d.test>;q=0.25", "sip:{number}@e.test;q=1", "sip:f.test"];
    let contacts = contacts.iter().map(|contact| Template::of_contact(contact).unwrap()).collect();
    settings.dial_plan.rules =
        vec![rule("moved", "8xx", Action::Redirect { status: Status::of(302), contacts })];
    check(
        &settings,
        "812@a.test",
        "moved: 302 sip:812@e.test;q=1, sip:f.test, sip:812@c.test;q=0.5, <sip:d.test>;q=0.25 password",
    );
}

#[test]
fn an_alias_leads_to_its_user_and_one_of_two_users_is_ambiguous() {
    let mut settings = settings();
    let mut add = |name: &str, user: &str, domain: Option<&str>| {
        let alias = Alias { domain: None, user: (user.into(), domain.map(SmolStr::new)) };
        settings.dial_plan.aliases.add(name.into(), alias);
    };
    add("info", "alice", None);
    add("sales", "alice", None);
    add("sales", "bob", Some("b.test"));
    settings.dial_plan.rules = vec![rule("short", "10", user("info"))];
    check(&settings, "info@a.test", "-: user alice@a.test password");
    check(&settings, "info@b.test", "-: user alice@b.test password");
    check(&settings, "10@a.test", "short: user alice@a.test password");
    check(&settings, "sales@a.test", "-: 485 alice@a.test, bob@b.test password");
    check(&settings, "bob@a.test", "-: user bob@a.test password");
}

#[test]
fn the_words_say_why_a_rule_does_not_match() {
    let settings = settings();
    let call = Call {
        number: "030123",
        domain: Called::Own(&settings.domains[0]),
        caller: Caller::User { user: "alice".into(), domain: "a.test".into() },
        unix_s: 1_795_352_400,
    };
    let mut rule = rule("r", "1xx +44*", refuse(403));
    rule.domains = vec![DomainPattern::Below("c.test".into()), DomainPattern::Name("d.test".into())];
    rule.callers = vec![CallerPattern::Users, CallerPattern::Trunk("t".into())];
    let (days, hours) = (vec!["mon-fri".parse().unwrap()], vec!["08:00-18:00".parse().unwrap()]);
    rule.times = Some(Times { zone: "Europe/Berlin".parse().unwrap(), days, hours });
    let words = |verdict: Verdict<'_>| {
        Explained { rule: &rule, verdict: &verdict, call: &call, plan: &settings.dial_plan }.to_string()
    };
    let pattern = &rule.numbers[0];
    assert_eq!(words(Verdict::Matches(Some(pattern))), "matches `1xx`");
    assert_eq!(words(Verdict::Number), "not matched: `030123` (`+4930123`) is not `1xx` or `+44*`");
    assert_eq!(words(Verdict::TooShort(pattern)), "not matched: `030123` has too few digits for `1xx`");
    assert_eq!(words(Verdict::Domain), "not matched: the domain a.test is not `*.c.test` or `d.test`");
    assert_eq!(words(Verdict::Caller), "not matched: the caller is alice@a.test, not `users` or `trunk:t`");
    assert_eq!(
        words(Verdict::Time),
        "not matched: it is sun 14:00 in Europe/Berlin, not `mon-fri` at `08:00-18:00`"
    );
}
