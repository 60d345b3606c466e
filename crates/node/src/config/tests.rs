use std::path::Path;

use dialtone_roles::Settings;
use dialtone_roles::settings::{Foreign, Integrity, Secret};
use dialtone_wire::Method;
use proptest::prelude::*;

use super::*;

fn facts() -> Facts<'static> {
    Facts {
        data: Path::new("/var/lib/dialtone"),
        listen: Vec::new(),
        domains: Vec::new(),
        public: false,
        open: false,
        fallback_domain: "host.test".parse().expect("a domain"),
    }
}

pub(super) fn resolved(text: &str) -> Resolved {
    match Config::read_and_resolve(text, "t.toml", &facts()) {
        Ok((_, resolved)) => resolved,
        Err(problems) => panic!("{problems:#?}"),
    }
}

/// All problems of a text as an operator sees them, each on one line: `LINE:COLUMN: what | remedy`.
fn problems(text: impl AsRef<[u8]>, facts: &Facts<'_>) -> Vec<String> {
    let Err(problems) = Config::read_and_resolve(text, "t.toml", facts) else { return Vec::new() };
    let one_line = |problem: &Problem| {
        let text = problem.to_string();
        let text = text.strip_prefix("t.toml:").expect("each begins with the file");
        text.trim_start().replace("\n  help: ", " | ")
    };
    problems.iter().map(one_line).collect()
}

#[track_caller]
pub(super) fn check(text: &str, expected: &[&str]) {
    assert_eq!(problems(text, &facts()), expected, "\n{text}");
}

#[test]
fn the_printed_defaults_read_as_the_defaults() {
    let text = defaults();
    let config = Config::read(&text, "").expect("the defaults are right");
    assert_eq!(config, Config::default());
    assert_eq!(config.resolve(&facts()), Config::default().resolve(&facts()));
    assert!(text.lines().all(|line| line.chars().count() <= 101), "{text}");
    for table in tables() {
        for key in table.keys {
            assert!(text.contains(&format!("{} = ", key.name)), "{} is printed", key.path);
        }
    }
}

#[test]
fn the_printed_defaults_set_every_key_that_has_a_default_of_every_table_that_stands_once() {
    let config = Config::read(defaults(), "").expect("the defaults are right");
    let shown = format!("{config:?}");
    let once = tables().into_iter().filter(|table| !table.repeats());
    let optional = once.flat_map(|table| table.keys).filter(|key| key.optional).count();
    assert_eq!(shown.matches("place: None").count(), optional, "{shown}");
}

/// The printed entry of a table that repeats, taken out of its comments.
fn printed_entry(table: &TableInfo) -> String {
    let text = defaults();
    let start = text.find(&format!("# {}\n", table.header())).expect("it is printed");
    let lines: Vec<&str> = text[start..]
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.starts_with('[') || line.contains(" = "))
        .collect();
    lines.join("\n")
}

#[test]
fn the_printed_entry_of_a_table_that_repeats_can_be_taken_in() {
    let repeated: Vec<TableInfo> = tables().into_iter().filter(TableInfo::repeats).collect();
    assert!(!repeated.is_empty());
    for table in &repeated {
        let entry = printed_entry(table);
        assert!(entry.starts_with(&table.header()), "{entry}");
        resolved(&entry);
    }
    let domain = repeated.iter().find(|table| table.name == "domain").expect("it is there");
    assert_eq!(resolved(&printed_entry(domain)).domains[0].name, "example.com");
}

#[test]
fn an_empty_file_gives_the_defaults_of_the_engine() {
    let resolved = resolved("");
    let got = resolved.settings(7, Secret([1; 32]), 99, Vec::new());
    let mut expected = Settings::new(Secret([1; 32]));
    expected.version = 7;
    expected.unix_start_s = 99;
    expected.domains = got.domains.clone();
    expected.robots = got.robots.clone();
    assert_eq!(format!("{got:?}"), format!("{expected:?}"));
    assert_eq!(resolved.domains.len(), 1);
    assert_eq!(resolved.domains[0].name, "host.test");
    assert_eq!(resolved.robots[0].user, "echo");
    assert_eq!(resolved.control, Path::new("/var/lib/dialtone/dialtone.sock"));
    assert_eq!(resolved.http, None);
}

#[test]
fn each_value_arrives_where_it_belongs() {
    let resolved = resolved(
        r#"
        server = { listen = ["udp:[::1]:0", "TCP:127.0.0.1:5070"], shards = 4, drain = "1m" }
        digest.required = false
        digest.nonce_life = "1h"
        digest.nonces_max = 2048
        digest.bind_nonce = true
        digest.integrity = "required"
        digest.free_methods = ["OPTIONS", "MESSAGE"]
        digest.dialog_methods = ["BYE"]
        [guesses]
        failures = 3
        source_failures = 0
        window = "2m"
        hold = "4s"
        hold_max = "5m"
        entries = 600
        [registrar]
        expires_min = "30s"
        expires_default = "2m"
        expires_max = "1d"
        bindings_per_aor = 1
        requires = ["gruu", "path"]
        binding_bytes = 512
        path_unasked = true
        flow_timer = "2m"
        [proxy]
        foreign = "open"
        timer_c = "200s"
        [timers]
        t1 = "100ms"
        t2 = "2s"
        t4 = "3s"
        [limits]
        message_bytes = "4KiB"
        headers = 100
        vias = 20
        uri_bytes = 300
        body_bytes = "2KiB"
        server_transactions = 201
        client_transactions = 202
        kept_bytes = 1_073_741_824
        queries = 203
        query_time = "1500ms"
        proxy_contexts = 204
        branches = 5
        calls = 6
        bridges = 8
        bridge_requests = 9
        transfers = 10
        dials = 11
        aliases = 14
        parked = 12
        queued = 13
        bindings = 0x100
        leases_ready = 7
        [robots]
        echo = ["echo", "600"]
        [store]
        journal = false
        batch = "0s"
        keep_records = "2d"
        [calls]
        session_expires = "30m"
        session_expires_min = "2m"
        [session]
        expires = "20m"
        expires_min = "3m"
        reliable_ringing = true
        [b2bua]
        media = ["audio", "x-smell"]
        parts = ["image/*", "application/pidf+xml"]
        session_expires = "10m"
        transfers = false
        transferor_time = "7s"
        park_time = "8s"
        music = "sip:music@b.test"
        [control]
        socket = "/run/dialtone.sock"
        [http]
        listen = "[::1]:9090"
        [log]
        format = "json"
        level = "debug"
        [[domain]]
        name = "Example.COM."
        aliases = ["192.0.2.1", "[2001:DB8::0:1]"]
        service_route = ["sip:192.0.2.1", "sip:edge.test;transport=tcp;lr"]
        registrants = ["desk"]
        record_route = false
        [[domain]]
        name = "second.test"
        mode = "stateless"
        path = false
        next_hop = ["sip:10.0.0.2", "sip:b.test:5070;transport=tcp"]
        "#,
    );
    let listen: Vec<String> = resolved.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["udp:[::1]:0", "tcp:127.0.0.1:5070"]);
    rest_of_the_values(&resolved);
}

/// The rest of the values of the test above, held as text.
fn rest_of_the_values(resolved: &Resolved) {
    let settings = resolved.settings(1, Secret([0; 32]), 0, Vec::new());
    let got = format!(
        "{} {:?} {} {:?} {:?} {:?} {:?} {:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?} {} {:?} {:?} {:?}",
        settings.shards,
        resolved.drain,
        settings.authenticate,
        settings.foreign,
        settings.timer_c,
        settings.timers.t1(),
        settings.timers.t2(),
        settings.timers.t4(),
        settings.registrar,
        settings.digest,
        settings.guesses,
        settings.domains.iter().map(|d| (d.name.as_str(), d.aliases.clone())).collect::<Vec<_>>(),
        resolved.store,
        resolved.control.display(),
        resolved.http,
        resolved.log_format,
        resolved.log_level,
    );
    let expected = "4 60s false Open 200s 100ms 2s 3s\n\
        RegistrarSettings { expires_min_s: 30, expires_default_s: 120, expires_max_s: 86400, bindings_per_aor: 1, \
        binding_bytes: 512, path_unasked: true, flow_timer_s: 120 }\n\
        DigestSettings { nonce_life: 3600s, nonces_max: 2048, bind_nonce: true, integrity: Required, \
        free: Methods(8208), in_dialog: Methods(4) }\n\
        GuessSettings { failures: 3, source_failures: 0, window: 120s, hold: 4s, hold_max: 300s, entries_max: 600 }\n\
        [(\"example.com\", [\"192.0.2.1\", \"[2001:db8::1]\"]), (\"second.test\", [])]\n\
        StoreSettings { journal: false, batch: 0ns, keep_records: 172800s } /run/dialtone.sock Some([::1]:9090) Json Debug";
    assert_eq!(got, expected);
    let first = &settings.domains[0];
    assert_eq!(first.service_route, ["<sip:192.0.2.1;lr>", "<sip:edge.test;transport=tcp;lr>"]);
    assert_eq!(first.registrants, ["desk"]);
    assert!(first.leaves_path && !first.skips_path);
    let second = &settings.domains[1];
    assert!(second.skips_path && !second.leaves_path);
    let hops: Vec<&str> = second.next_hops.0.iter().map(dialtone_wire::uri::UriBuf::as_str).collect();
    assert_eq!(
        (second.mode.word(), hops),
        ("stateless", vec!["sip:10.0.0.2", "sip:b.test:5070;transport=tcp"])
    );
    assert_eq!((first.mode.word(), first.next_hops.is_empty()), ("call", true));
    assert_eq!((settings.calls.session_s, settings.calls.session_min_s), (Some(1800), 120));
    let session = settings.session;
    assert_eq!((session.timer_s, session.timer_min_s, session.reliable_ringing), (Some(1200), 180, true));
    assert_eq!(settings.register_requires, ["gruu", "path"]);
    let limits = settings.limits;
    let numbers = [
        limits.message.message_bytes,
        limits.message.headers,
        limits.message.vias,
        limits.message.uri_bytes,
        limits.body_bytes,
        limits.server_transactions,
        limits.client_transactions,
        limits.kept_bytes,
        limits.queries,
        limits.proxy_contexts,
        limits.branches,
        limits.calls,
        limits.bridges,
        limits.bridge_requests,
        limits.transfers.into(),
        limits.dials,
        limits.aliases,
        limits.parked,
        limits.queued,
        limits.bindings,
        limits.leases_ready.into(),
    ];
    assert_eq!(
        numbers,
        [4096, 100, 20, 300, 2048, 201, 202, 1 << 30, 203, 204, 5, 6, 8, 9, 10, 11, 14, 12, 13, 256, 7]
    );
    assert_eq!(settings.bridges.media, ["audio", "x-smell"]);
    assert_eq!(settings.bridges.parts, ["image/*", "application/pidf+xml"]);
    assert_eq!(settings.bridges.session_s, Some(600));
    assert!(!settings.bridges.transfers);
    assert_eq!(settings.bridges.release_after, std::time::Duration::from_secs(7));
    assert_eq!(settings.bridges.park_time, std::time::Duration::from_secs(8));
    assert_eq!(settings.bridges.music.as_ref().map(|music| music.as_str()), Some("sip:music@b.test"));
    assert_eq!(limits.query_time, std::time::Duration::from_millis(1500));
    assert_eq!(settings.robots.iter().map(|robot| robot.user.as_str()).collect::<Vec<_>>(), ["echo", "600"]);
}

#[test]
fn forwarding_and_star_codes_arrive_where_they_belong() {
    let resolved = resolved(
        r#"
        [forwarding]
        no_answer_after = "9s"
        forwards_max = 2
        history_info = false
        [star_codes]
        always = "*1"
        busy = ""
        do_not_disturb_status = "603"
        [[domain]]
        name = "a.test"
        aliases = ["alias.test"]
        [[forward]]
        user = "bob"
        busy = "201"
        no_answer_after = "7s"
        [[forward]]
        user = "carol@ALIAS.test"
        always = "sip:x@elsewhere.test"
        do_not_disturb = "480"
        "#,
    );
    let forwarding = &resolved.forwarding;
    assert_eq!((forwarding.forwards_max, forwarding.history_info, forwarding.diversion), (2, false, true));
    assert_eq!(forwarding.no_answer_after.as_secs(), 9);
    let users: Vec<String> =
        forwarding.users.iter().map(|(aor, services)| format!("{aor} {services:?}")).collect();
    assert_eq!(users.len(), 2);
    assert!(users[0].starts_with("sip:bob@a.test Services { always: None, busy: Some(\"201\")"), "{users:?}");
    assert!(
        users[1].starts_with("sip:carol@a.test Services { always: Some(\"sip:x@elsewhere.test\")"),
        "{users:?}"
    );
    let codes: Vec<&str> = resolved.star_codes.codes.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, ["*1", "*73", "*91", "*92", "*93", "*94", "*95", "*78", "*79", "*5", "*8"]);
    assert_eq!(resolved.star_codes.do_not_disturb.code(), 603);
}

#[test]
fn problems_of_forwarding_are_told_with_their_places() {
    let problems = Config::read_and_resolve(
        "[star_codes]\nbusy = \"*72\"\n[[domain]]\nname = \"a.test\"\n[[forward]]\nuser = \"bob\"\n[[forward]]\n\
         user = \"bob@a.test\"\n[[forward]]\nuser = \"x@other.test\"\n[[forward]]\nbusy = \"1\"\n",
        "t.toml",
        &facts(),
    )
    .expect_err("there are problems");
    let told: Vec<String> =
        problems.iter().map(|problem| format!("{} {}", problem.line, problem.key)).collect();
    assert_eq!(told, ["2 star_codes.busy", "8 forward.user", "10 forward.user", "11 forward"]);
}

#[test]
fn every_key_refuses_a_date_and_names_its_line_and_a_right_value() {
    for table in tables() {
        for key in &table.keys {
            let text = format!("# first line\n{}\n{} = 2026-11-22", table.header(), key.name);
            let problems = Config::read(&text, "t.toml").expect_err(key.path);
            assert_eq!(problems.len(), 1, "{problems:?}");
            let problem = &problems[0];
            assert_eq!((problem.line, problem.key.as_str()), (3, key.path));
            assert_eq!(problem.column as usize, key.name.len() + 4);
            assert!(matches!(problem.what, What::WrongType { .. }), "{problem}");
            assert!(
                matches!(problem.remedy, Remedy::Example(_) | Remedy::OneOf(_)),
                "{problem}: an example tells more"
            );
        }
    }
}

#[test]
fn every_key_with_a_range_refuses_what_lies_outside_and_names_the_limit() {
    let mut ranges = 0;
    for table in tables() {
        for key in &table.keys {
            let Some((least, most)) = key.limits.split_once(" to ") else { continue };
            ranges += 1;
            for (bound, good) in [(least, true), (most, true)] {
                let text = format!("{}\n{} = {bound}", table.header(), key.name);
                assert_eq!(Config::read(&text, "t.toml").is_ok(), good, "{text}");
            }
            let (huge, tiny) = if key.kind.contains("duration") {
                ("\"99999999d\"", "\"0ms\"")
            } else {
                ("99999999999999999999", "-1")
            };
            let text = |value| format!("{}\n{} = {value}", table.header(), key.name);
            let problem = Config::read(text(huge), "t.toml").expect_err(key.path).remove(0);
            assert_eq!(problem.remedy, Remedy::AtMost(most.into()), "{problem}");
            if least != "\"0s\"" {
                let problem = Config::read(text(tiny), "t.toml").expect_err(key.path).remove(0);
                assert_eq!(problem.remedy, Remedy::AtLeast(least.into()), "{problem}");
            }
        }
    }
    assert!(ranges > 20, "only {ranges} keys have a range");
}

#[test]
fn values_of_the_wrong_form_are_refused_with_an_example() {
    check(
        "[server]\nlisten = [\"udp:127.0.0.1:5060\", \"udp:::1:5060\",\n  \"tls:127.0.0.1:5061\", 5060]\n",
        &[
            "2:33: `server.listen`: expected udp:ADDRESS:PORT or tcp:ADDRESS:PORT, found `udp:::1:5060` | write for \
             example \"udp:192.168.1.2:5060\" or \"tcp:[::1]:5060\"",
            "3:3: `server.listen`: expected udp:ADDRESS:PORT or tcp:ADDRESS:PORT, found `tls:127.0.0.1:5061` | write \
             for example \"udp:192.168.1.2:5060\" or \"tcp:[::1]:5060\"",
            "3:25: `server.listen`: expected udp:ADDRESS:PORT or tcp:ADDRESS:PORT, found TOML type integer | write \
             for example \"udp:192.168.1.2:5060\" or \"tcp:[::1]:5060\"",
        ],
    );
    check(
        "[timers]\nt1 = \"500\"\nt2 = \"4 s\"\nt4 = \"5sec\"",
        &[
            "2:6: `timers.t1`: expected a duration, found `500` | write for example \"500ms\", \"32s\" or \"1h\" (the \
             units are ms, s, m, h and d)",
            "4:6: `timers.t4`: expected a duration, found `5sec` | write for example \"500ms\", \"32s\" or \"1h\" (the \
             units are ms, s, m, h and d)",
        ],
    );
    check(
        "[limits]\nmessage_bytes = \"64KB\"",
        &[
            "2:17: `limits.message_bytes`: expected a size in bytes, found `64KB` | write for example \"64KiB\" (the \
           units are B, KiB, MiB and GiB) or 65536",
        ],
    );
    check(
        "[log]\nlevel = \"verbose\"\nformat = \"xml\"",
        &[
            "2:9: `log.level`: expected a log level, found `verbose` | write \"error\", \"warn\", \"info\", \"debug\" \
             or \"trace\"",
            "3:10: `log.format`: expected a log format, found `xml` | write \"text\" or \"json\"",
        ],
    );
    check(
        "[http]\nlisten = \"0.0.0.0:9090\"\n[robots]\necho = [\"a@b\"]\n[control]\nsocket = \"\"",
        &[
            "2:10: `http.listen`: `0.0.0.0:9090` can be reached from other machines | write for example \
             \"127.0.0.1:9090\", \"[::1]:9090\" or \"off\"",
            "4:9: `robots.echo`: expected the user part of an address, found `a@b` | write for example \"echo\"",
            "6:10: `control.socket`: expected a path, found `` | write for example \"dialtone.sock\"",
        ],
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    check(
        "lissen = []\n[registrar]\nexpire_min = \"1m\"\ntimer_c = \"200s\"\ncolour = 1\n[regstrar]\nx = 1\n[server]\nexpires-max=1",
        &[
            "1:1: `lissen` is no key that Dialtone knows | did you mean `server.listen`?",
            "3:1: `registrar.expire_min` is no key that Dialtone knows | did you mean `expires_min`?",
            "4:1: `registrar.timer_c` is no key that Dialtone knows | it belongs into the table `[proxy]`",
            "5:1: `registrar.colour` is no key that Dialtone knows | remove it; `dialtone serve --print-defaults` \
             lists all keys",
            "6:2: `regstrar` is no table that Dialtone knows | did you mean `[registrar]`?",
            "9:1: `server.expires-max` is no key that Dialtone knows | did you mean `registrar.expires_max`?",
        ],
    );
}

#[test]
fn a_secret_in_the_file_is_refused_with_the_place_where_it_belongs() {
    check(
        "password = \"hunter2\"\n[digest]\nsecret = \"x\"",
        &[
            "1:1: `password` is no key that Dialtone knows | remove it: no secret stands in this file; passwords are \
             set with `dialtone user add`",
            "3:1: `digest.secret` is no key that Dialtone knows | remove it: no secret stands in this file; passwords \
             are set with `dialtone user add`",
        ],
    );
}

#[test]
fn ten_problems_of_one_file_are_all_reported_in_the_order_of_their_lines() {
    let text = "\
[server]
public = 1
shards = 0
drains = \"1s\"
listen = [\"5060\"]
[timers]
t1 = \"0ms\"
t2 = 4
[registrar]
expires_min = \"2h\"
expires_default = \"1h\"
[log]
level = \"loud\"
[limits]
headers = \"many\"
[[domain]]
aliases = [\"a b\"]
";
    let lines: Vec<u32> = Config::read_and_resolve(text, "t.toml", &facts())
        .expect_err("problems")
        .iter()
        .map(|p| p.line)
        .collect();
    assert_eq!(lines, [2, 3, 4, 5, 7, 8, 11, 13, 15, 16, 17]);
}

#[test]
fn what_is_no_toml_is_told_with_all_else_that_can_be_read() {
    check(
        "[server]\npublic = yes\nshards = 0\n[timers\nt1 = \"1ms\"\n",
        &[
            "2:10: string values must be quoted, expected literal string | write `key = value`, texts in double quotes, \
             tables as `[name]` (see toml.io)",
            "3:10: `server.shards`: 0 is too little | write 1 or more",
            "4:8: unclosed table, expected `]` | write `key = value`, texts in double quotes, tables as `[name]` (see \
             toml.io)",
        ],
    );
}

#[test]
fn a_table_or_key_that_stands_twice_is_refused_where_it_stands_again() {
    check(
        "[log]\nlevel = \"info\"\n[log]\nformat = \"json\"\nlevel = \"warn\"\n",
        &[
            "3:2: `log`: stands here for the second time | keep one of the two and remove the other",
            "5:1: `level`: stands here for the second time | keep one of the two and remove the other",
        ],
    );
    check(
        "[[log]]\nlevel = \"info\"\n[domain]\nname = \"a.test\"\n",
        &[
            "1:3: `log`: expected a table that stands once, found TOML type array | write for example `[name]` with \
             one bracket, and the keys below it",
            "3:2: `domain`: expected a table that may stand several times, found TOML type table | write for example \
             `[[domain]]` with two brackets",
        ],
    );
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    check(
        "[registrar]\nexpires_max = \"10m\"\nexpires_min = \"1500ms\"\n[timers]\nt2 = \"100ms\"",
        &[
            "2:15: `registrar.expires_max`: `registrar.expires_default = \"1h\"` is more than `registrar.expires_max = \
             \"10m\"` | change one of the two",
            "3:15: `registrar.expires_min`: expected whole seconds, found `1500ms` | write for example \"90s\"",
            "5:6: `timers.t2`: `timers.t1 = \"500ms\"` is more than `timers.t2 = \"100ms\"` | change one of the two",
        ],
    );
    check(
        "[[domain]]\nname = \"a.test\"\naliases = [\"b.test\", \"B.test\"]\n[[domain]]\nname = \"A.test\"\n[[domain]]\n",
        &[
            "3:22: `domain.aliases`: `b.test` is named twice | keep one of the two and remove the other",
            "5:8: `domain.name`: `a.test` is named twice | keep one of the two and remove the other",
            "6:1: `domain`: the key `name` is missing here | add a line like `name = \"example.com\"`",
        ],
    );
    check(
        "[digest]\nrequired = false\n[proxy]\nforeign = \"authenticated\"",
        &[
            "4:11: `proxy.foreign`: `authenticated` lets nobody through while `digest.required` is false | write \
           \"refuse\" or \"open\"",
        ],
    );
    let long = format!("[control]\nsocket = \"/{}\"", "x".repeat(200));
    check(
        &long,
        &[
            "2:10: `control.socket`: the path of this socket is 201 bytes long | name a path of at most 107 bytes, best \
           below /run",
        ],
    );
}

#[test]
fn what_lets_strangers_in_is_refused() {
    check(
        "[server]\npublic = true\n[digest]\nrequired = false\n[proxy]\nforeign = \"open\"",
        &[
            "4:12: `digest.required`: with `server.public` everybody could register as anybody | set `digest.required \
             = true`, or leave out `public`",
            "6:11: `proxy.foreign`: with `server.public` everybody could send calls anywhere through this server | set \
             `proxy.foreign = \"authenticated\"`, or leave out `public`",
        ],
    );
    let public = Facts { public: true, ..facts() };
    assert_eq!(problems("[digest]\nrequired = false", &public).len(), 1);
    assert_eq!(problems("", &public), [""; 0]);
    check(
        "[server]\nlisten = [\"udp:0.0.0.0:5060\", \"udp:10.0.0.1:5060\", \"tcp:[2001:db8::1]:5060\"]",
        &[
            "2:10: `server.listen`: `udp:0.0.0.0:5060` can be reached from outside | name a private address, or set \
             `server.public = true` or --public if that is what you want",
            "2:10: `server.listen`: `tcp:[2001:db8::1]:5060` can be reached from outside | name a private address, or \
             set `server.public = true` or --public if that is what you want",
        ],
    );
}

#[test]
fn the_command_line_wins_over_the_file() {
    let listen: ListenAddress = "udp:127.0.0.1:0".parse().expect("an address");
    let domain = |name: &str| name.parse::<HostName>().expect("a domain");
    let facts = Facts { listen: vec![listen], domains: vec![domain("b.test"), domain("c.test")], ..facts() };
    let text = "[server]\nlisten = [\"udp:8.8.8.8:5060\"]\n[[domain]]\nname = \"a.test\"\n[[domain]]\nname = \"b.test\"\n\
                aliases = [\"sip.b.test\"]";
    let (_, resolved) = Config::read_and_resolve(text, "t.toml", &facts).expect("no problem");
    assert_eq!(resolved.listen, [listen]);
    let names: Vec<(&str, usize)> =
        resolved.domains.iter().map(|domain| (domain.name.as_str(), domain.aliases.len())).collect();
    assert_eq!(names, [("b.test", 1), ("c.test", 0)]);
}

#[test]
fn an_open_server_asks_nobody_whatever_the_file_says_and_is_never_public() {
    let open = Facts { open: true, ..facts() };
    let text = "[digest]\nrequired = true\n[proxy]\nforeign = \"authenticated\"";
    let (_, resolved) = Config::read_and_resolve(text, "t.toml", &open).expect("no problem");
    assert_eq!((resolved.authenticate, resolved.foreign), (false, Foreign::Open));
    let expected = "`--open`: with `server.public` everybody could send calls anywhere through this server | leave out \
                    --open or public";
    assert_eq!(problems("", &Facts { public: true, ..open.clone() }), [expected]);
    assert_eq!(problems("[server]\npublic = true", &open), [expected]);
}

#[test]
fn changes_that_need_a_restart_are_named_and_others_are_not() {
    let read = |text: &str| Config::read(text, "t.toml").expect("no problem");
    let old = read("[server]\nlisten = [\"udp:127.0.0.1:5060\"]\n[log]\nlevel = \"info\"");
    let new = read(
        "\n\n[log]\nlevel = \"warn\"\n[server]\nlisten = []\n[store]\nbatch = \"9ms\"\n[[domain]]\nname='x.y'",
    );
    assert_eq!(changes_needing_restart(&old, &new), ["server.listen", "store.batch"]);
    let same = read("# moved\n[log]\nlevel = \"info\"\n[server]\nlisten = [\"UDP:127.0.0.1:5060\"]");
    assert_eq!(changes_needing_restart(&old, &same), [""; 0]);
    let repeats = tables().into_iter().filter(TableInfo::repeats);
    assert!(
        repeats.flat_map(|table| table.keys).all(|key| key.change == Change::Reload),
        "changes_needing_restart compares only tables that stand once"
    );
}

#[test]
fn every_value_of_foreign_is_written_as_it_is_read() {
    for foreign in [Foreign::Refuse, Foreign::Authenticated, Foreign::Open] {
        let written = super::value::Scalar::write(&foreign);
        assert_eq!(resolved(&format!("[proxy]\nforeign = {written}")).foreign, foreign);
    }
}

#[test]
fn every_choice_about_digest_is_written_as_it_is_read() {
    for integrity in [Integrity::Off, Integrity::Offered, Integrity::Required] {
        let written = super::value::Scalar::write(&integrity);
        assert_eq!(resolved(&format!("[digest]\nintegrity = {written}")).digest.integrity, integrity);
    }
    let methods = [
        "INVITE",
        "BYE",
        "OPTIONS",
        "PRACK",
        "UPDATE",
        "INFO",
        "REFER",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "MESSAGE",
    ];
    for method in methods {
        let asked = resolved(&format!("[digest]\nfree_methods = [\"{method}\"]")).digest.free;
        let contains = |name: &str| asked.contains(&Method::parse(name.as_bytes()).expect("a method"));
        assert!(methods.iter().all(|other| contains(other) == (*other == method)), "{method}");
    }
    for never in ["ACK", "CANCEL", "REGISTER", "FETCH"] {
        let text = format!("[digest]\nfree_methods = [\"{never}\"]");
        assert!(Config::read(&text, "t.toml").is_err(), "{never}");
    }
}

#[test]
fn a_file_that_is_no_text_is_refused_at_its_first_bad_byte() {
    let problem = Config::read(b"[log]\nlevel = \"\xff\xfe\"", "t.toml").expect_err("no UTF-8").remove(0);
    assert_eq!((problem.line, problem.column), (2, 10));
    assert_eq!((problem.what, problem.remedy), (What::NotUtf8, Remedy::SaveAsUtf8));
    assert!(Config::read(b"\0\0\0\0", "t.toml").is_err());
}

#[test]
fn columns_are_counted_in_characters() {
    let problem = Config::read("log.\"ü\" = 1\n'äöü'.x = 2", "t.toml").expect_err("unknown");
    assert_eq!(problem.iter().map(|p| (p.line, p.column)).collect::<Vec<_>>(), [(1, 5), (2, 1)]);
    assert_eq!(problem[1].key, "äöü");
}

#[test]
fn a_mebibyte_of_garbage_gives_a_bounded_list_of_problems() {
    let repeat = |text: &str| text.repeat(FILE_BYTES_MAX / text.len());
    let many_keys: String = (0..60_000).map(|number| format!("k{number} = 1\n")).collect();
    let in_table = format!("[server]\n{many_keys}");
    for text in [
        repeat("["),
        repeat("a."),
        repeat("a={"),
        repeat("[a]\n"),
        repeat("=\n"),
        repeat("\""),
        repeat("[[domain]]\n"),
        repeat("\u{feff}"),
        repeat("\r"),
        many_keys,
        in_table,
    ] {
        let problems = Config::read_and_resolve(&text, "t.toml", &facts()).expect_err("garbage");
        assert!(problems.len() <= PROBLEMS_MAX + 1 + DOMAINS, "{} problems", problems.len());
        assert!(problems.iter().all(|problem| problem.to_string().len() < 500), "a line stays short");
    }
    let problem = Config::read(" ".repeat(FILE_BYTES_MAX + 1), "t.toml").expect_err("too long").remove(0);
    assert_eq!(problem.what, What::FileTooLong(FILE_BYTES_MAX));
}

/// Domains without a name are found by the resolving, which has no other limit.
const DOMAINS: usize = super::keys::DOMAINS_MAX;

#[test]
fn problems_that_are_not_listed_are_counted() {
    let text: String = (0..150).map(|number| format!("k{number} = 1\n")).collect();
    let problems = Config::read(text, "t.toml").expect_err("unknown keys");
    assert_eq!(problems.len(), PROBLEMS_MAX + 1);
    assert_eq!(problems[PROBLEMS_MAX].what, What::More(50));
    assert_eq!(
        problems[PROBLEMS_MAX].to_string(),
        "t.toml: 50 more problems are not listed\n  help: mend those above and check again"
    );
}

#[test]
fn a_file_that_is_not_there_is_a_problem_without_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("none.toml");
    let problem = Config::load(&path).expect_err("there is none").remove(0);
    assert_eq!(
        problem.to_string(),
        format!(
            "{}: this settings file can't be read: entity not found\n  help: look whether the file is there and may be read by \
         this user",
            path.display()
        )
    );
    std::fs::write(&path, "[log]\nlevel = \"warn\"\n").expect("written");
    let (_, resolved) = Config::load_and_resolve(Some(&path), &facts()).expect("no problem");
    assert_eq!(resolved.log_level, LogLevel::Warn);
    assert!(Config::load(folder.path()).is_err(), "a folder is no file");
    assert!(Config::load_and_resolve(None, &facts()).is_ok());
}

#[test]
fn the_page_of_the_manual_is_made_from_the_table_of_keys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/configuration.md");
    let page = manual();
    if std::env::var_os("DIALTONE_BLESS").is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/manual/configuration.md is stale: DIALTONE_BLESS=1 cargo test -p dialtone-node config"
    );
}

#[test]
fn the_settings_of_the_side_by_side_benchmark_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/side-by-side");
    let description = std::fs::read_to_string(folder.join("ours.json")).expect("it is there");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(mode) = name.strip_prefix("ours-") else { continue };
        files += 1;
        assert!(description.contains(&format!("\"{mode}\": \"{mode}\"")), "ours.json offers {mode}");
        if let Err(problems) = Config::load_and_resolve(Some(&path), &facts()) {
            panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        }
    }
    assert_eq!(files, 5);
}

/// Texts that look like settings files, right and wrong.
fn toml_like() -> impl Strategy<Value = String> {
    let names: Vec<&'static str> = tables()
        .iter()
        .flat_map(|table| std::iter::once(table.name).chain(table.keys.iter().map(|key| key.name)))
        .collect();
    let word = prop_oneof![
        4 => proptest::sample::select(names).prop_map(str::to_owned),
        4 => proptest::sample::select(vec![
            "[", "]", "[[", "]]", "\n", "\n", "=", " = ", "{", "}", ",", ".", "\"", "'", "#", "-", "1", "99999999999999999999",
            "\"5s\"", "\"64KiB\"", "true", "2026-01-01", "0x", "\"\"\"", "\\", "\"udp:127.0.0.1:0\"", "ü", "\0", "\r\n",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_every_problem_has_a_place_in_the_text(text in toml_like()) {
        if let Err(problems) = Config::read_and_resolve(&text, "t.toml", &facts()) {
            prop_assert!(!problems.is_empty());
            let lines = text.split('\n').count();
            for problem in problems {
                prop_assert!(problem.line as usize <= lines, "{}", problem);
                prop_assert!(!problem.what.to_string().is_empty() && !problem.remedy.to_string().is_empty());
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Config::read_and_resolve(&bytes, "t.toml", &facts());
    }

    #[test]
    fn durations_and_sizes_are_read_as_they_are_written(ms in 10u64..60_000, bytes in 1024u64..16 * 1024 * 1024) {
        let t1 = super::value::Scalar::write(&std::time::Duration::from_millis(ms));
        let size = super::value::Scalar::write(&Size(bytes));
        let text = format!("[timers]\nt1 = {t1}\nt2 = \"1h\"\n[limits]\nmessage_bytes = {size}");
        let resolved = resolved(&text);
        prop_assert_eq!(resolved.timers.t1().as_millis(), u128::from(ms));
        prop_assert_eq!(resolved.limits.message.message_bytes as u64, bytes);
    }
}
