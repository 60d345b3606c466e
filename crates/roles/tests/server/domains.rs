//! Two domains on one server with equal user parts: nothing of the one is to be had in the other.

use dialtone_roles::settings::{Domain, Mode};
use dialtone_wire::{HeaderName, Message};

use crate::peers::{Request, Server, credentials, invite, register, settings};

const PHONES: [(&str, &str, &str); 2] =
    [("sip.test", "127.0.0.3:5080", "alice-pw"), ("second.test", "127.0.0.4:5080", "alice@second")];

/// A server of both domains. Each has an alice with a password of her own.
fn server() -> Server {
    let mut settings = settings();
    settings.domains.push(Domain {
        name: "second.test".into(),
        aliases: vec!["zwei.test".into()],
        ..Domain::default()
    });
    Server::new(settings)
}

/// Registers the phones of both.
fn register_both(server: &mut Server) {
    for (domain, phone, password) in PHONES {
        let (aor, uri) = (format!("sip:alice@{domain}"), format!("sip:{domain}"));
        let mut request = Request { uri: &uri, ..register(&aor, phone, domain) };
        let challenge = server.receive(phone, &request.text()).remove(0).1;
        request.with_credentials("alice", password, &challenge);
        assert_eq!(server.status(phone, &request.text()), 200);
    }
}

/// Sends a request, answers the challenge as this user, and gives all that follows.
fn authorized(
    server: &mut Server,
    mut request: Request<'_>,
    user: &str,
    password: &str,
) -> Vec<(String, Message)> {
    let challenge = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
    request.with_credentials(user, password, &challenge);
    server.receive("127.0.0.2:5070", &request.text())
}

fn realm(challenge: &Message, name: HeaderName) -> String {
    let text = String::from_utf8_lossy(challenge.value(name).unwrap()).into_owned();
    text.split("realm=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned()
}

#[test]
fn a_call_rings_the_user_of_its_domain_alone() {
    let mut server = server();
    register_both(&mut server);
    assert_eq!(server.engine.tables().bindings, 2);
    for (at, (uri, phone, other)) in [
        ("sip:alice@sip.test", "127.0.0.3:5080", "127.0.0.4:5080"),
        ("sip:alice@second.test", "127.0.0.4:5080", "127.0.0.3:5080"),
        ("sip:alice@ZWEI.test", "127.0.0.4:5080", "127.0.0.3:5080"),
    ]
    .into_iter()
    .enumerate()
    {
        let call_id = format!("call{at}");
        let request = Request { from: "sip:bob@sip.test", call_id: &call_id, ..invite(uri) };
        let sent = authorized(&mut server, request, "bob", "bob-pw");
        assert!(sent.iter().any(|(to, message)| to == phone && message.is_request()), "{uri}: {sent:?}");
        assert!(sent.iter().all(|(to, _)| to != other), "{uri}: {sent:?}");
    }
}

#[test]
fn the_list_shows_each_with_its_domain() {
    let mut server = server();
    register_both(&mut server);
    let page = server.engine.bindings(server.now, None, 10);
    let aors: Vec<&str> = page.entries.iter().map(|entry| entry.aor.as_str()).collect();
    assert_eq!(aors, ["sip:alice@second.test", "sip:alice@sip.test"]);
}

#[test]
fn a_password_opens_its_own_domain_only() {
    let mut server = server();
    for (domain, _, password) in PHONES {
        let other = PHONES.iter().find(|(other, ..)| *other != domain).unwrap();
        let (aor, uri) = (format!("sip:alice@{domain}"), format!("sip:{domain}"));
        let wrong = Request { uri: &uri, ..register(&aor, "127.0.0.2:5070", domain) };
        let sent = authorized(&mut server, wrong, "alice", other.2);
        assert_eq!(sent[0].1.status().unwrap().code(), 401);
        assert_eq!(realm(&sent[0].1, HeaderName::WwwAuthenticate), domain);
        let call_id = format!("right-{domain}");
        let right = Request { uri: &uri, ..register(&aor, "127.0.0.2:5070", &call_id) };
        assert_eq!(authorized(&mut server, right, "alice", password)[0].1.status().unwrap().code(), 200);
    }
    // A user name with the other domain in it is no user of this one.
    let request = register("sip:alice@sip.test", "127.0.0.2:5070", "qualified");
    let sent = authorized(&mut server, request, "alice@second.test", "alice@second");
    assert_eq!(sent[0].1.status().unwrap().code(), 401);
    let request = register("sip:alice@sip.test", "127.0.0.2:5070", "qualified-2");
    let sent = authorized(&mut server, request, "alice@sip.test", "alice-pw");
    assert_eq!(sent[0].1.status().unwrap().code(), 200, "with its own domain it is the same user");
}

#[test]
fn credentials_and_nonces_of_one_domain_are_strangers_in_the_other() {
    let mut server = server();
    let in_second =
        Request { uri: "sip:second.test", ..register("sip:alice@second.test", "127.0.0.2:5070", "a") };
    let challenge = server.receive("127.0.0.2:5070", &in_second.text()).remove(0).1;
    let made = credentials("REGISTER", "sip:sip.test", "alice", "alice@second", &challenge);
    let nonce_of_second = credentials("REGISTER", "sip:sip.test", "alice", "alice-pw", &challenge)
        .replace("realm=\"second.test\"", "realm=\"sip.test\"");
    for (at, lines) in [made, nonce_of_second].into_iter().enumerate() {
        let call_id = format!("crossed{at}");
        let mut request = register("sip:alice@sip.test", "127.0.0.2:5070", &call_id);
        request.extra.push_str(&lines);
        let answer = server.receive("127.0.0.2:5070", &request.text()).remove(0).1;
        assert_eq!(answer.status().unwrap().code(), 401, "{lines}");
        assert_eq!(realm(&answer, HeaderName::WwwAuthenticate), "sip.test");
    }
    assert_eq!(server.engine.tables().bindings, 0);
}

#[test]
fn nobody_calls_in_the_name_of_his_namesake() {
    let mut server = server();
    register_both(&mut server);
    // Who says that he is of a domain is asked for the password of that domain.
    let as_first = Request { from: "sip:alice@sip.test", ..invite("sip:alice@second.test") };
    let sent = authorized(&mut server, as_first, "alice", "alice@second");
    assert_eq!(sent.last().unwrap().1.status().unwrap().code(), 407);
    assert_eq!(realm(&sent.last().unwrap().1, HeaderName::ProxyAuthenticate), "sip.test");
    let as_second = Request { from: "sip:alice@second.test", call_id: "b", ..invite("sip:alice@sip.test") };
    let sent = authorized(&mut server, as_second, "alice", "alice@second");
    assert!(sent.iter().any(|(to, message)| to == "127.0.0.3:5080" && message.is_request()), "{sent:?}");
    // A user of the one domain is none of the other.
    let unknown = Request { from: "sip:bob@sip.test", call_id: "c", ..invite("sip:carol@second.test") };
    assert_eq!(
        authorized(&mut server, unknown, "bob", "bob-pw").last().unwrap().1.status().unwrap().code(),
        480
    );
}

#[test]
fn a_gruu_of_one_domain_is_none_of_the_other() {
    let mut server = server();
    let extra = "Contact: <sip:alice@127.0.0.3:5080>;+sip.instance=\"<urn:uuid:1>\"\r\nSupported: gruu\r\n";
    let request = Request { extra: extra.into(), ..register("sip:alice@sip.test", "127.0.0.2:5070", "r") };
    let granted = authorized(&mut server, request, "alice", "alice-pw").remove(0).1;
    let contact = String::from_utf8_lossy(granted.value(HeaderName::Contact).unwrap()).into_owned();
    let temporary = contact.split("temp-gruu=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let mut status = |uri: &str, call_id: &str| {
        let request = Request { from: "sip:bob@sip.test", call_id, ..invite(uri) };
        let sent = authorized(&mut server, request, "bob", "bob-pw");
        sent.iter()
            .find(|(_, message)| message.is_request())
            .map_or_else(|| sent.last().unwrap().1.status().unwrap().code(), |_| 0)
    };
    assert_eq!(status(temporary, "a"), 0, "it rings");
    assert_eq!(status(&temporary.replace("@sip.test", "@second.test"), "b"), 404);
    assert_eq!(status("sip:alice@second.test;gr=urn:uuid:1", "c"), 480);
    assert_eq!(status("sip:alice@sip.test;gr=urn:uuid:1", "d"), 0);
}

#[test]
fn a_call_that_rings_in_one_domain_is_not_to_be_had_from_the_other() {
    let mut settings = settings();
    settings.domains[0].mode = Mode::B2bua;
    settings.domains.push(Domain { name: "second.test".into(), mode: Mode::B2bua, ..Domain::default() });
    let mut server = Server::new(settings);
    register_both(&mut server);
    let status_at_caller = |sent: &[(String, Message)]| {
        let mut at_caller = sent.iter().filter(|(to, _)| to == "127.0.0.2:5070");
        at_caller.next_back().and_then(|(_, message)| message.status()).map(|status| status.code())
    };
    let offer = |extra: &str, call_id: &'static str, uri: &'static str, from: &'static str| {
        let sdp = crate::b2bua::OFFER;
        let extra = format!(
            "Contact: <sip:x@127.0.0.2:5070>\r\n{extra}Content-Type: application/sdp\r\nContent-Length: {}\r\n",
            sdp.len()
        );
        Request { from, call_id, extra, ..invite(uri) }
    };
    let call = |server: &mut Server, mut request: Request<'_>, user: &str, password: &str| {
        let text = |request: &Request<'_>| format!("{}{}", request.text(), crate::b2bua::OFFER);
        let challenge = server.receive("127.0.0.2:5070", &text(&request)).remove(0).1;
        request.with_credentials(user, password, &challenge);
        server.receive("127.0.0.2:5070", &text(&request))
    };
    let first = offer("", "rings", "sip:alice@sip.test", "sip:bob@sip.test");
    let sent = call(&mut server, first, "bob", "bob-pw");
    let at_alice = sent.iter().find(|(to, _)| to == "127.0.0.3:5080").expect("alice is called").1.clone();
    let ringing = crate::b2bua::response(&at_alice, "180 Ringing", "t", "127.0.0.3:5080", "", "");
    server.receive("127.0.0.3:5080", &ringing);
    let phone = crate::b2bua::Phone::callee("127.0.0.3:5080", &at_alice, "t");
    let [id, own, servers] = phone.dialog();
    let replaces = format!("Require: replaces\r\nReplaces: {id};to-tag={servers};from-tag={own}\r\n");
    let by_other = "sip:alice@second.test";
    for (call_id, uri, extra) in [
        ("code", "sip:*8alice@sip.test", ""),
        ("slot", "sip:*51@sip.test", ""),
        ("named", "sip:alice@sip.test", replaces.as_str()),
    ] {
        let request = offer(extra, call_id, uri, by_other);
        let sent = call(&mut server, request, "alice", "alice@second");
        assert_eq!(status_at_caller(&sent), Some(403), "{call_id}: {sent:?}");
        assert!(sent.iter().all(|(to, _)| to != "127.0.0.3:5080"), "it rings on: {sent:?}");
    }
    let own = offer("", "own", "sip:*8alice@sip.test", "sip:carol@sip.test");
    let sent = call(&mut server, own, "carol", "carol-pw");
    assert_eq!(status_at_caller(&sent), Some(200), "{sent:?}");
}
