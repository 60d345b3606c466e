//! What a registration opens beside the plain one of RFC 3261: a path, GRUUs, phones of others, and its end with its user.

use dialtone_roles::Settings;
use dialtone_roles::io::Input;
use dialtone_roles::settings::Domain;
use dialtone_wire::{HeaderName, Message};

use crate::peers::{Request, Server, invite, register, settings};

const INSTANCE: &str = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\"";

fn open() -> Settings {
    Settings { authenticate: false, ..settings() }
}

fn text(message: &Message, name: HeaderName) -> Vec<String> {
    message.values(name).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// Bob's phone registers with these header lines; what comes back.
fn register_with(server: &mut Server, call_id: &str, phone: &str, extra: &str) -> Message {
    let extra = extra.to_owned();
    let request = Request { extra, ..register("sip:bob@sip.test", phone, call_id) };
    server.receive(phone, &request.text()).remove(0).1
}

/// The request that reaches a phone.
fn reaches<'a>(sent: &'a [(String, Message)], phone: &str) -> &'a Message {
    let request = |(to, message): &&(String, Message)| to == phone && message.is_request();
    &sent.iter().find(request).unwrap_or_else(|| panic!("nothing for {phone}: {sent:?}")).1
}

#[test]
fn a_call_takes_the_path_that_the_registration_took() {
    let mut server = Server::new(open());
    let path = "<sip:127.0.0.8:5060;lr>, <sip:127.0.0.9:5060;lr>";
    let extra = format!("Contact: <sip:bob@192.0.2.4>\r\nSupported: path\r\nPath: {path}\r\n");
    let granted = register_with(&mut server, "r", "127.0.0.8:5060", &extra);
    let paths = ["<sip:127.0.0.8:5060;lr>", "<sip:127.0.0.9:5060;lr>"];
    assert_eq!(text(&granted, HeaderName::Path), paths);
    assert_eq!(text(&granted, HeaderName::Supported), ["path", "outbound"]);
    let sent = server.receive("127.0.0.2:5070", &invite("sip:bob@sip.test").text());
    let request = reaches(&sent, "127.0.0.8:5060");
    assert_eq!(request.uri_text(), "sip:bob@192.0.2.4");
    assert_eq!(text(request, HeaderName::Route), paths);
    // RFC 3327 §5.3.
    let unasked = format!("Contact: <sip:bob@192.0.2.4>\r\nPath: {path}\r\n");
    let refused = register_with(&mut server, "r2", "127.0.0.8:5060", &unasked);
    assert_eq!(refused.status().unwrap().code(), 420);
    assert_eq!(text(&refused, HeaderName::Unsupported), ["path"]);
}

#[test]
fn what_a_registration_requires_is_known_or_named() {
    let mut server = Server::new(open());
    let contact = "Contact: <sip:bob@127.0.0.3:5080>\r\n";
    let known = format!("{contact}Require: path, outbound\r\nRequire: GRUU\r\n");
    assert_eq!(register_with(&mut server, "r", "127.0.0.3:5080", &known).status().unwrap().code(), 200);
    let unknown = format!("{contact}Require: path, teleport, gruu\r\n");
    let refused = register_with(&mut server, "r2", "127.0.0.3:5080", &unknown);
    assert_eq!(refused.status().unwrap().code(), 420);
    assert_eq!(text(&refused, HeaderName::Unsupported), ["teleport"]);
}

#[test]
fn the_service_route_and_the_flow_timer_are_told_to_who_registers() {
    let mut settings = open();
    settings.domains[0].service_route = vec!["<sip:127.0.0.1:5060;lr>".into(), "<sip:far.test;lr>".into()];
    settings.registrar.flow_timer_s = 90;
    let mut server = Server::new(settings);
    let contact = format!("Contact: <sip:bob@127.0.0.3:5080;ob>;{INSTANCE};reg-id=1");
    let extra = format!("{contact}\r\nSupported: path, outbound\r\n");
    let granted = register_with(&mut server, "r", "127.0.0.3:5080", &extra);
    let route = ["<sip:127.0.0.1:5060;lr>", "<sip:far.test;lr>"];
    assert_eq!(text(&granted, HeaderName::ServiceRoute), route);
    assert_eq!(text(&granted, HeaderName::Require), ["outbound"]);
    assert_eq!(granted.value_by_text("Flow-Timer"), Some(&b"90"[..]));
    assert_eq!(text(&granted, HeaderName::Contact), [contact.replace("Contact: ", "") + ";expires=3600"]);
    // Who keeps no flow is told nothing of it, and who goes away no route.
    let plain = register_with(&mut server, "r2", "127.0.0.3:5080", "Contact: <sip:bob@127.0.0.3:5080>\r\n");
    assert!(!plain.has(HeaderName::Require) && plain.value_by_text("Flow-Timer").is_none());
    let gone = register_with(&mut server, "r3", "127.0.0.3:5080", "Contact: *\r\nExpires: 0\r\n");
    assert!(!gone.has(HeaderName::ServiceRoute), "{gone:?}");
}

/// The value of a Contact parameter that is a quoted string.
fn quoted(message: &Message, name: &str) -> String {
    let contacts = text(message, HeaderName::Contact).join(",");
    let (_, rest) = contacts.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("{contacts}"));
    rest.split('"').next().unwrap_or_default().to_owned()
}

#[test]
fn a_gruu_leads_to_its_device_alone() {
    let mut server = Server::new(open());
    let mine = format!("Contact: <sip:mobile@127.0.0.3:5080>;{INSTANCE}\r\nSupported: gruu\r\n");
    let granted = register_with(&mut server, "r", "127.0.0.3:5080", &mine);
    register_with(&mut server, "r2", "127.0.0.4:5080", "Contact: <sip:desk@127.0.0.4:5080>\r\n");
    let (public, temporary) = (quoted(&granted, "pub-gruu"), quoted(&granted, "temp-gruu"));
    for (at, gruu) in [&public, &temporary].into_iter().enumerate() {
        let call_id = format!("call{at}");
        let request = Request { call_id: &call_id, ..invite(gruu) };
        let sent = server.receive("127.0.0.2:5070", &request.text());
        assert_eq!(reaches(&sent, "127.0.0.3:5080").uri_text(), "sip:mobile@127.0.0.3:5080");
        assert!(sent.iter().all(|(to, _)| to != "127.0.0.4:5080"), "{sent:?}");
    }
    let mut status = |uri: &str, call_id: &str| {
        let request = Request { call_id, ..invite(uri) };
        server.receive("127.0.0.2:5070", &request.text()).last().unwrap().1.status().unwrap().code()
    };
    // RFC 5627 §6.1: an address that we never gave; one whose device is not here; one of nobody.
    assert_eq!(status("sip:tgruu.00@sip.test;gr", "a"), 404);
    assert_eq!(status("sip:bob@sip.test;gr=urn:uuid:other", "b"), 480);
    assert_eq!(status("sip:nobody@sip.test;gr=urn:uuid:other", "c"), 404);
    register_with(&mut server, "r3", "127.0.0.3:5080", "Contact: *\r\nExpires: 0\r\n");
    let mut status = |uri: &str, call_id: &str| {
        let request = Request { call_id, ..invite(uri) };
        server.receive("127.0.0.2:5070", &request.text()).last().unwrap().1.status().unwrap().code()
    };
    assert_eq!(status(&public, "d"), 480);
    assert_eq!(status(&temporary, "e"), 404);
}

#[test]
fn only_who_may_registers_the_phones_of_others() {
    let mut settings = settings();
    settings.domains[0].registrants = vec!["carol".into()];
    settings.domains.push(Domain { name: "second.test".into(), ..Domain::default() });
    let mut server = Server::new(settings);
    let mut number = 0;
    let mut status = |from: &str, to: &str, user: &str, password: &str| {
        number += 1;
        let call_id = format!("r{number}");
        let mut request = Request { from, to, ..register("", "127.0.0.3:5080", &call_id) };
        let challenge = server.receive("127.0.0.3:5080", &request.text()).remove(0).1;
        assert_eq!(challenge.status().unwrap().code(), 401);
        request.with_credentials(user, password, &challenge);
        server.status("127.0.0.3:5080", &request.text())
    };
    let (alice, bob, carol) = ("sip:alice@sip.test", "sip:bob@sip.test", "sip:carol@sip.test");
    assert_eq!(status(bob, bob, "bob", "bob-pw"), 200);
    assert_eq!(status(alice, bob, "alice", "alice-pw"), 403, "RFC 3261 §10.3 step 4");
    assert_eq!(status(bob, bob, "alice", "alice-pw"), 403);
    assert_eq!(status(alice, bob, "bob", "bob-pw"), 403, "bob acts, and says that alice does");
    assert_eq!(status(carol, bob, "carol", "carol-pw"), 200, "she registers for all");
    assert_eq!(status(bob, bob, "carol", "carol-pw"), 200, "in his name, too");
    assert_eq!(status(alice, bob, "carol", "carol-pw"), 403, "but not in the name of a third");
    assert_eq!(status(carol, bob, "alice", "alice-pw"), 403);
    // Her right ends with the domain.
    assert_eq!(status("sip:carol@second.test", "sip:bob@sip.test", "carol", "carol-pw"), 403);
    assert_eq!(status(carol, "sip:bob@second.test", "carol", "carol@second"), 403);
}

#[test]
fn without_passwords_too_nobody_registers_for_another_unasked() {
    let mut server = Server::new(open());
    let third = Request { from: "sip:alice@sip.test", ..register("sip:bob@sip.test", "127.0.0.3:5080", "r") };
    assert_eq!(server.status("127.0.0.3:5080", &third.text()), 403);
    let other_form =
        Request { from: "sip:bob@127.0.0.1", ..register("sip:bob@sip.test", "127.0.0.3:5080", "r2") };
    assert_eq!(server.status("127.0.0.3:5080", &other_form.text()), 200, "the same address in another form");
    let nobody =
        Request { from: "sip:127.0.0.3:5080", ..register("sip:bob@sip.test", "127.0.0.3:5080", "r3") };
    assert_eq!(server.status("127.0.0.3:5080", &nobody.text()), 200, "and who says nothing is taken for him");
}

#[test]
fn the_phones_of_a_user_go_with_him() {
    let mut server = Server::new(open());
    register_with(&mut server, "r", "127.0.0.3:5080", "Contact: <sip:bob@127.0.0.3:5080>\r\n");
    server.input(Input::Forget("sip:alice@sip.test".into()));
    assert_eq!(server.engine.tables().bindings, 1);
    server.input(Input::Forget("sip:bob@sip.test".into()));
    assert_eq!(server.engine.tables().bindings, 0);
}

/// The contacts that a call to somebody rings, in order.
fn rings(server: &mut Server, uri: &str, call_id: &str) -> Vec<String> {
    let sent = server.receive("127.0.0.2:5070", &Request { call_id, ..invite(uri) }.text());
    let invites = sent.iter().filter(|(_, message)| message.is_request());
    let mut rung: Vec<String> = invites.map(|(_, message)| message.uri_text().to_owned()).collect();
    rung.sort();
    rung
}

/// The contacts that are listed of him: what `GET /registrations` shows.
fn listed(server: &Server, aor: &str) -> Vec<String> {
    let mut contacts = Vec::new();
    let mut after = None;
    loop {
        let page = server.engine.bindings(server.now, after.as_deref(), 2);
        let own = page.entries.iter().filter(|entry| entry.aor == aor);
        contacts.extend(own.map(|entry| entry.binding.contact.to_string()));
        after = page.next;
        if after.is_none() {
            contacts.sort();
            return contacts;
        }
    }
}

#[test]
fn what_is_listed_is_what_rings() {
    let mut server = Server::new(open());
    let users = ["alice", "bob", "carol", "dave", "erin"];
    let mut seed = 7_u32;
    let mut next = move |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % below
    };
    for step in 0..200 {
        let user = users[next(5) as usize];
        let (aor, phone) = (format!("sip:{user}@sip.test"), format!("127.0.0.{}:5080", 3 + next(6)));
        let extra = match next(4) {
            0 => format!("Contact: <sip:{user}@{phone}>;expires=0\r\n"),
            1 if next(4) == 0 => "Contact: *\r\nExpires: 0\r\n".to_owned(),
            _ => format!("Contact: <sip:{user}@{phone}>;expires={}\r\n", 60 + next(240)),
        };
        let call_id = format!("r{step}");
        server.receive(&phone, &Request { extra, ..register(&aor, &phone, &call_id) }.text());
        server.pass(u64::from(next(30)));
        let call_id = format!("c{step}");
        assert_eq!(rings(&mut server, &aor, &call_id), listed(&server, &aor), "step {step}: {user}");
    }
    let all: usize = users.iter().map(|user| listed(&server, &format!("sip:{user}@sip.test")).len()).sum();
    assert_eq!(all, server.engine.tables().bindings, "and no others are held");
    assert!(all > 0);
}

/// What passes in the examples of RFC 3327 §5.5 and RFC 3608 §6.4, as far as the registrar sees it.
#[test]
fn the_examples_of_rfc_3327_and_rfc_3608() {
    let mut settings = open();
    settings.domains[0] = Domain {
        name: "examplehome.com".into(),
        aliases: vec!["registrar.examplehome.com".into()],
        service_route: vec!["<sip:P2.HOME.EXAMPLE.COM;lr>".into(), "<sip:HSP.HOME.EXAMPLE.COM;lr>".into()],
        ..Domain::default()
    };
    let mut server = Server::new(settings);
    // §5.5.1 F4, with the Max-Forwards that it leaves out.
    let register = "REGISTER sip:REGISTRAR.EXAMPLEHOME.COM SIP/2.0\r\n\
        Via: SIP/2.0/UDP 19.31.97.3:5060;branch=z9hG4bKp3wer654363\r\n\
        Via: SIP/2.0/UDP 178.73.76.230:5060;branch=z9hG4bKiokioukju908\r\n\
        Via: SIP/2.0/UDP 112.68.155.4:5060;branch=z9hG4bK34ghi7ab04\r\n\
        Via: SIP/2.0/UDP 192.0.2.4:5060;branch=z9hG4bKnashds7\r\n\
        To: UA1 <sip:UA1@EXAMPLEHOME.COM>\r\nFrom: UA1 <sip:UA1@EXAMPLEHOME.COM>;tag=456248\r\n\
        Call-ID: 843817637684230@998sdasdh09\r\nCSeq: 1826 REGISTER\r\nContact: <sip:UA1@192.0.2.4>\r\n\
        Supported: path\r\nMax-Forwards: 67\r\n\
        Path: <sip:P3.EXAMPLEHOME.COM;lr>,<sip:P1.EXAMPLEVISITED.COM;lr>\r\n\r\n";
    let granted = server.receive("19.31.97.3:5060", register).remove(0).1;
    // F6: "The Path header field in the response is identical to the one received in the REGISTER request."
    let path = ["<sip:P3.EXAMPLEHOME.COM;lr>", "<sip:P1.EXAMPLEVISITED.COM;lr>"];
    assert_eq!(granted.status().unwrap().code(), 200);
    assert_eq!(text(&granted, HeaderName::Path), path);
    assert_eq!(text(&granted, HeaderName::Via).len(), 4);
    assert!(text(&granted, HeaderName::Supported).contains(&"path".to_owned()));
    // RFC 3608 §6.4.1 F6.
    let service_route = ["<sip:P2.HOME.EXAMPLE.COM;lr>", "<sip:HSP.HOME.EXAMPLE.COM;lr>"];
    assert_eq!(text(&granted, HeaderName::ServiceRoute), service_route);
    // §5.5.2 F1 and F3; the RFC forgot the scheme of the Request-URI.
    let invite = "INVITE sip:UA1@EXAMPLEHOME.COM SIP/2.0\r\n\
        Via: SIP/2.0/UDP 71.91.180.10:5060;branch=z9hG4bKe2i95c5st3R\r\nMax-Forwards: 70\r\n\
        To: UA1 <sip:UA1@EXAMPLEHOME.COM>\r\nFrom: UA2 <sip:UA2@FOREIGN.ELSEWHERE.ORG>;tag=224497\r\n\
        Call-ID: 48273181116@71.91.180.10\r\nCSeq: 29 INVITE\r\nContact: <sip:UA2@71.91.180.10>\r\n\r\n";
    let sent = server.receive("71.91.180.10:5060", invite);
    let forwarded = reaches(&sent, "127.0.0.8:5060");
    assert_eq!(forwarded.uri_text(), "sip:UA1@192.0.2.4");
    assert_eq!(text(forwarded, HeaderName::Route), path);
}
