//! The dial plan in a running engine: who is asked, where requests go, what is answered and why.

use dialtone_roles::Settings;
use dialtone_roles::settings::dial_plan::{
    Action, Alias, Ambiguous, CallerPattern, DomainPattern, Rule, Template, Times, Zone,
};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message, Status};

use crate::peers::{Request, Server, authorized_invite, invite, register_bob, settings};

fn rule(name: &str, number: &str, action: Action) -> Rule {
    Rule {
        name: name.into(),
        numbers: vec![number.parse().unwrap()],
        domains: Vec::new(),
        callers: Vec::new(),
        times: None,
        strip: 0,
        prepend: "".into(),
        action,
        mode: None,
    }
}

fn user(name: &str) -> Action {
    Action::User { user: Template::of_user(name).unwrap(), domain: None }
}

fn refuse(code: u16, reason: Option<&str>) -> Action {
    Action::Refuse { status: Status::of(code), reason: reason.map(Into::into), error_info: None }
}

fn redirect(code: u16, contacts: &[&str]) -> Action {
    let contacts = contacts.iter().map(|contact| Template::of_contact(contact).unwrap()).collect();
    Action::Redirect { status: Status::of(code), contacts }
}

fn with(rules: Vec<Rule>) -> Settings {
    let mut settings = settings();
    settings.dial_plan.rules = rules;
    settings
}

fn anyone(rule: Rule) -> Rule {
    Rule { callers: vec![CallerPattern::Anyone], ..rule }
}

fn code(message: &Message) -> u16 {
    message.status().map_or(0, Status::code)
}

fn values(message: &Message, name: HeaderName) -> Vec<String> {
    message.values(name).map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
}

#[test]
fn a_number_leads_to_a_user_and_so_does_a_tel_uri() {
    for called in [
        "sip:123@sip.test",
        "sip:1-2.3@sip.test;user=phone",
        "tel:123;phone-context=sip.test",
        "tel:12-3;phone-context=+49",
    ] {
        let mut server = Server::new(with(vec![rule("ext", "1xx", user("bob"))]));
        register_bob(&mut server);
        let sent = authorized_invite(&mut server, called);
        let (to, forwarded) = sent.last().unwrap();
        assert_eq!(
            (to.as_str(), forwarded.uri_text()),
            ("127.0.0.3:5080", "sip:x@127.0.0.3:5080"),
            "{called}"
        );
    }
}

#[test]
fn a_number_in_a_sip_uri_is_routed_as_the_tel_uri_of_it() {
    for called in [
        "sip:+49-30-123@sip.test;user=phone",
        "sip:+49(30)1.23;isub=7@sip.test;user=PHONE",
        "tel:+49-30-123",
        "sip:+4930123@sip.test",
    ] {
        let mut server = Server::new(with(vec![rule("berlin", "+4930*", user("bob"))]));
        register_bob(&mut server);
        assert_eq!(authorized_invite(&mut server, called).last().unwrap().0, "127.0.0.3:5080", "{called}");
    }
    // A name is no number, whatever the phone says of it.
    let mut server = Server::new(settings());
    register_bob(&mut server);
    let sent = authorized_invite(&mut server, "sip:bob@sip.test;user=phone");
    assert_eq!(sent.last().unwrap().0, "127.0.0.3:5080");
}

#[test]
fn a_rule_leads_to_any_uri_with_the_number_in_it() {
    let gateway = Action::Uri(Template::of_uri("sip:{number}@127.0.0.8:5060").unwrap());
    let mut server =
        Server::new(with(vec![Rule { strip: 1, prepend: "+49".into(), ..rule("out", "0*", gateway) }]));
    let sent = authorized_invite(&mut server, "sip:030123@sip.test");
    let (to, forwarded) = sent.last().unwrap();
    assert_eq!((to.as_str(), forwarded.uri_text()), ("127.0.0.8:5060", "sip:+4930123@127.0.0.8:5060"));
}

#[test]
fn a_method_without_password_still_needs_one_to_leave_the_domain() {
    let gateway = Action::Uri(Template::of_uri("sip:{number}@127.0.0.8:5060").unwrap());
    let mut settings = with(vec![rule("out", "0*", gateway)]);
    settings.digest.free = [dialtone_wire::Method::Invite].into_iter().collect();
    let mut server = Server::new(settings);
    let stranger = server.receive("127.0.0.2:5070", &invite("sip:030123@sip.test").text()).remove(0).1;
    assert_eq!(code(&stranger), 407);
    let to_bob = server.receive("127.0.0.2:5070", &invite("sip:bob@sip.test").text()).remove(0).1;
    assert_eq!(code(&to_bob), 480, "he has no phone");
}

#[test]
fn what_is_refused_to_all_is_refused_at_once_and_a_stranger_is_not_told_the_rule() {
    let mut gone = rule("gone", "9", refuse(410, Some("This number is out of use")));
    let mut server = Server::new(with(vec![gone.clone()]));
    let refused = server.receive("127.0.0.2:5070", &invite("sip:9@sip.test").text()).remove(0).1;
    assert_eq!(code(&refused), 410);
    assert_eq!(values(&refused, HeaderName::Warning), ["399 sip.test \"This number is out of use\""]);
    assert_eq!(server.engine.counters().ruled_out, 1);
    assert!(server.engine.tables().iter().all(|(_, size)| size == 0), "nothing is kept of it");
    // For users only: the password comes first, and then there is no secret about the rule.
    gone.callers = vec![CallerPattern::Users];
    let mut server = Server::new(with(vec![gone]));
    let sent = authorized_invite(&mut server, "sip:9@sip.test");
    assert_eq!(code(&sent[0].1), 410);
    let warning = "399 sip.test \"rule gone: This number is out of use\"";
    assert_eq!(values(&sent[0].1, HeaderName::Warning), [warning]);
}

#[test]
fn who_is_refused_is_told_where_to_hear_why() {
    let action = Action::Refuse {
        status: Status::of(403),
        reason: None,
        error_info: Some(UriBuf::parse("sip:why@ann.test").unwrap()),
    };
    let screened = rule("screening", "9", action);
    let mut server = Server::new(with(vec![screened.clone()]));
    let refused = server.receive("127.0.0.2:5070", &invite("sip:9@sip.test").text()).remove(0).1;
    assert_eq!(code(&refused), 403);
    assert_eq!(values(&refused, HeaderName::ErrorInfo), ["<sip:why@ann.test>"]);
    // Behind the password too.
    let mut server = Server::new(with(vec![Rule { callers: vec![CallerPattern::Users], ..screened }]));
    let sent = authorized_invite(&mut server, "sip:9@sip.test");
    assert_eq!(values(&sent[0].1, HeaderName::ErrorInfo), ["<sip:why@ann.test>"]);
}

#[test]
fn every_code_that_a_rule_names_is_answered() {
    for status in [403, 404, 410, 480, 486, 488, 503, 600, 603, 604, 606] {
        let mut server = Server::new(with(vec![rule("r", "9", refuse(status, None))]));
        let refused = server.receive("127.0.0.2:5070", &invite("sip:9@sip.test").text()).remove(0).1;
        assert_eq!((code(&refused), refused.has(HeaderName::Warning)), (status, false));
    }
}

#[test]
fn a_redirection_ranks_its_contacts_sends_no_branch_and_forgets_the_request_after_its_ack() {
    for status in [300, 301, 302, 305, 380] {
        let contacts = ["<sip:bob@c.test>;q=0.2", "<sip:{number}@b.test>;q=0.9"];
        let mut server = Server::new(with(vec![rule("moved", "8xx", redirect(status, &contacts))]));
        let sent = authorized_invite(&mut server, "sip:800@sip.test");
        assert_eq!(sent.len(), 1, "no branch, no 100: {sent:?}");
        assert_eq!(code(&sent[0].1), status);
        let expected = ["<sip:800@b.test>;q=0.9", "<sip:bob@c.test>;q=0.2"];
        assert_eq!(values(&sent[0].1, HeaderName::Contact), expected);
        assert_eq!(server.engine.counters().redirected, 1);
        assert_eq!(server.engine.tables().proxy_contexts, 0);
        server.pass(40);
        assert!(server.engine.tables().iter().all(|(_, size)| size == 0), "{:?}", server.engine.tables());
    }
}

#[test]
fn a_stranger_is_redirected_without_a_transaction_where_anyone_may_call() {
    let moved = redirect(302, &["sip:bob@b.test"]);
    let mut server = Server::new(with(vec![anyone(rule("moved", "8xx", moved))]));
    let request = Request { from: "sip:dave@far.test", ..invite("sip:800@sip.test") };
    assert_eq!(server.status("127.0.0.9:1", &request.text()), 302);
    assert!(server.engine.tables().iter().all(|(_, size)| size == 0));
    // The same request once more gets the same answer, with the same tag.
    let tags: Vec<_> = (0..2)
        .map(|_| server.receive("127.0.0.9:1", &request.text())[0].1.to_tag().unwrap().map(str::to_owned))
        .collect();
    assert_eq!(tags[0], tags[1]);
}

#[test]
fn where_anyone_may_call_a_stranger_is_not_asked_and_a_user_still_has_to_prove_who_he_is() {
    let mut server = Server::new(with(vec![anyone(rule("reception", "100", user("bob")))]));
    register_bob(&mut server);
    let stranger = Request { from: "sip:dave@far.test", call_id: "s", ..invite("sip:100@sip.test") };
    let sent = server.receive("127.0.0.9:1", &stranger.text());
    assert_eq!(sent.last().unwrap().0, "127.0.0.3:5080");
    let liar = Request { call_id: "l", ..invite("sip:100@sip.test") };
    assert_eq!(server.status("127.0.0.9:1", &liar.text()), 407);
    // The robot too.
    let mut server = Server::new(with(vec![anyone(rule("echo", "100", user("echo")))]));
    let sent = server.receive("127.0.0.9:1", &stranger.text());
    assert_ne!(code(&sent[0].1), 407);
}

#[test]
fn a_foreign_domain_is_refused_in_words_and_reached_where_a_rule_allows_it() {
    let mut server = Server::new(settings());
    let refused = server.receive("127.0.0.2:5070", &invite("sip:dave@127.0.0.8").text()).remove(0).1;
    assert_eq!(code(&refused), 403);
    let warning = "399 sip.test \"no rule allows calls to this domain\"";
    assert_eq!(values(&refused, HeaderName::Warning), [warning]);
    assert_eq!(server.engine.counters().foreign, 1);
    let mut far = rule("far", "*", Action::AsDialled);
    far.domains = vec![DomainPattern::Name("127.0.0.8".into())];
    let mut server = Server::new(with(vec![far]));
    let sent = authorized_invite(&mut server, "sip:dave@127.0.0.8");
    let (to, forwarded) = sent.last().unwrap();
    assert_eq!((to.as_str(), forwarded.uri_text()), ("127.0.0.8:5060", "sip:dave@127.0.0.8"));
    let other = Request { call_id: "o", ..invite("sip:dave@127.0.0.9") };
    assert_eq!(server.status("127.0.0.2:5070", &other.text()), 403);
    let stranger = Request { call_id: "s", from: "sip:eve@far.test", ..invite("sip:dave@127.0.0.8") };
    assert_eq!(server.status("127.0.0.9:1", &stranger.text()), 403);
}

#[test]
fn an_incomplete_number_is_484_and_a_user_whose_name_is_its_beginning_is_still_reached() {
    let rules = vec![rule("ext", "21xx", user("bob")), rule("carols", "carol", user("bob"))];
    let mut server = Server::new(with(rules.clone()));
    let sent = authorized_invite(&mut server, "sip:21@sip.test");
    assert_eq!(code(&sent[0].1), 484);
    let mut server = Server::new(with(rules.clone()));
    assert_eq!(code(&authorized_invite(&mut server, "sip:22@sip.test")[0].1), 404);
    let mut server = Server::new(with(rules));
    assert_eq!(code(&authorized_invite(&mut server, "sip:car@sip.test")[0].1), 404, "a name is no number");
}

#[test]
fn who_exists_nowhere_is_604_where_the_plan_says_so_and_who_has_no_phone_is_still_480() {
    let mut settings = settings();
    settings.dial_plan.nobody_anywhere = true;
    let mut server = Server::new(settings.clone());
    assert_eq!(code(&authorized_invite(&mut server, "sip:nobody@sip.test")[0].1), 604);
    let mut server = Server::new(settings);
    assert_eq!(code(&authorized_invite(&mut server, "sip:carol@sip.test")[0].1), 480);
}

#[test]
fn an_alias_rings_its_user_and_one_of_two_users_is_485() {
    let mut settings = settings();
    for (name, user) in [("info", "bob"), ("sales", "bob"), ("sales", "carol")] {
        let alias = Alias { domain: None, user: (user.into(), None) };
        settings.dial_plan.aliases.add(name.into(), alias);
    }
    let mut server = Server::new(settings.clone());
    register_bob(&mut server);
    assert_eq!(authorized_invite(&mut server, "sip:info@sip.test").last().unwrap().0, "127.0.0.3:5080");
    let named = vec!["<sip:bob@sip.test>".to_owned(), "<sip:carol@sip.test>".to_owned()];
    for (ambiguous, expected) in [
        (Ambiguous::Bare, (485, Vec::new())),
        (Ambiguous::WithContacts, (485, named)),
        (Ambiguous::NotFound, (404, Vec::new())),
    ] {
        settings.dial_plan.ambiguous = ambiguous;
        let mut server = Server::new(settings.clone());
        let sent = authorized_invite(&mut server, "sip:sales@sip.test");
        assert_eq!((code(&sent[0].1), values(&sent[0].1, HeaderName::Contact)), expected);
    }
}

#[test]
fn the_hours_of_a_rule_are_those_of_the_clock() {
    let times = Times { zone: Zone::UTC, days: Vec::new(), hours: vec!["00:00-12:00".parse().unwrap()] };
    let morning = Rule { times: Some(times), ..rule("morning", "5", refuse(480, None)) };
    for (unix_start_s, expected) in [(0, 480), (43_190, 480), (43_200, 407)] {
        let settings = Settings { unix_start_s, ..with(vec![morning.clone()]) };
        assert_eq!(
            Server::new(settings).status("127.0.0.2:5070", &invite("sip:5@sip.test").text()),
            expected
        );
    }
}

#[test]
fn what_follows_in_a_dialog_is_not_asked_of_the_plan_again() {
    let mut server = Server::new(with(vec![rule("ext", "1xx", user("bob"))]));
    register_bob(&mut server);
    let forwarded = authorized_invite(&mut server, "sip:123@sip.test").pop().unwrap().1;
    let route = values(&forwarded, HeaderName::RecordRoute).remove(0);
    let everything = Rule { numbers: Vec::new(), ..rule("shut", "1", refuse(603, None)) };
    let settings = with(vec![everything]);
    server.input(dialtone_roles::io::Input::Configure(std::sync::Arc::new(settings)));
    let bye = Request {
        method: "BYE",
        uri: "sip:x@127.0.0.3:5080",
        to: "sip:123@sip.test>;tag=t;x=<",
        cseq: 3,
        extra: format!("Route: {route}\r\n"),
        ..invite("sip:123@sip.test")
    };
    let sent = server.receive("127.0.0.2:5070", &bye.text().replace(";x=<>", ""));
    assert_eq!(sent.last().unwrap().0, "127.0.0.3:5080");
    let next = Request { call_id: "next", ..invite("sip:123@sip.test") };
    assert_eq!(server.status("127.0.0.2:5070", &next.text()), 603);
}

/// A server whose domain only says where its users are.
fn redirect_server() -> Server {
    let mut settings = settings();
    settings.domains[0].mode = dialtone_roles::settings::Mode::Redirect;
    Server::new(settings)
}

#[test]
fn a_redirect_server_says_where_the_phones_of_a_user_are_and_forwards_nothing() {
    let mut server = redirect_server();
    for (index, contact) in
        ["<sip:low@127.0.0.3:5080>;q=0.2", "<sip:high@127.0.0.4>", "<sip:mid@127.0.0.5>;q=0.5"]
            .iter()
            .enumerate()
    {
        let call_id = format!("reg{index}");
        let mut request = crate::peers::register("sip:bob@sip.test", "127.0.0.3:5080", &call_id);
        request.extra = format!("Contact: {contact}\r\n");
        let challenge = server.receive("127.0.0.3:5080", &request.text()).remove(0).1;
        request.with_credentials("bob", "bob-pw", &challenge);
        assert_eq!(server.status("127.0.0.3:5080", &request.text()), 200);
    }
    server.pass(40);
    let sent = authorized_invite(&mut server, "sip:bob@sip.test");
    assert_eq!(sent.len(), 1, "no branch and no 100: {sent:?}");
    assert_eq!(code(&sent[0].1), 302);
    let expected =
        ["<sip:high@127.0.0.4>", "<sip:mid@127.0.0.5>;q=0.500", "<sip:low@127.0.0.3:5080>;q=0.200"];
    assert_eq!(values(&sent[0].1, HeaderName::Contact), expected);
    assert_eq!((server.engine.counters().redirected, server.engine.counters().forwarded), (1, 0));
    // The ACK ends it.
    let to = String::from_utf8(sent[0].1.value(HeaderName::To).unwrap().to_vec()).unwrap();
    let ack = Request { method: "ACK", cseq: 2, ..invite("sip:bob@sip.test") };
    let ack = ack.text().replace("z9hG4bKcall2ACK", "z9hG4bKcall2INVITE").replace("<sip:bob@sip.test>", &to);
    assert!(server.receive("127.0.0.2:5070", &ack).is_empty());
    server.pass(6);
    let tables = server.engine.tables();
    assert_eq!((tables.proxy_contexts, tables.server_transactions, tables.kept_bytes), (0, 0, 0));
}

#[test]
fn a_redirect_server_asks_for_passwords_and_knows_who_is_not_there() {
    let mut server = redirect_server();
    register_bob(&mut server);
    assert_eq!(server.status("127.0.0.9:1", &invite("sip:bob@sip.test").text()), 407);
    let mut server = redirect_server();
    assert_eq!(code(&authorized_invite(&mut server, "sip:carol@sip.test")[0].1), 480);
    let mut server = redirect_server();
    assert_eq!(code(&authorized_invite(&mut server, "sip:nobody@sip.test")[0].1), 404);
    // Other methods are redirected as well (RFC 3261 §8.3).
    let mut server = redirect_server();
    register_bob(&mut server);
    let mut options = Request { method: "OPTIONS", ..invite("sip:bob@sip.test") };
    let challenge = server.receive("127.0.0.2:5070", &options.text()).remove(0).1;
    options.with_credentials("alice", "alice-pw", &challenge);
    let sent = server.receive("127.0.0.2:5070", &options.text());
    assert_eq!((sent.len(), code(&sent[0].1)), (1, 302));
    server.pass(40);
    assert_eq!(server.engine.tables().proxy_contexts, 0);
}
