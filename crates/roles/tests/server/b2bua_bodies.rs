//! Bodies of several parts, and encoded ones, through a call of which the server is both ends (RFC 5621).

use dialtone_roles::Settings;
use dialtone_roles::settings::BridgeSettings;
use dialtone_wire::headers::ContentType;
use dialtone_wire::{HeaderName, Message, multipart};

use crate::b2bua::{
    ALICE, ANSWER, BOB, Call, OFFER, Phone, alices_invite, at_rest, body, code, method, only, response,
    server, server_with, talking, talking_on, to, value,
};
use crate::peers::settings;

const LISTS: &str = "application/resource-lists+xml";
const MULTIPART: &str = "Content-Type: multipart/mixed;boundary=\"outer.inner.example\"\r\n";
const ALLOW: &str = "Allow: INVITE, ACK, CANCEL, BYE, UPDATE, PRACK, INFO, MESSAGE\r\n";

/// A part with header lines.
fn part(boundary: &str, header: &str, content: &str) -> String {
    format!("--{boundary}\r\n{header}\r\n{content}\r\n")
}

/// A body with a description and a list, as the other side of a hidden network writes it.
fn mixed(description: &str) -> String {
    let boundary = "outer.inner.example";
    format!(
        "made by gw.inner.example\r\n{}{}--{boundary}--\r\nbye from gw.inner.example",
        part(
            boundary,
            "Content-Type: application/sdp\r\nContent-Location: http://gw.inner.example/\r\n",
            description
        ),
        part(
            boundary,
            &format!("Content-Type: {LISTS}\r\nContent-ID: <1@x>\r\nX-Own: 10.9.9.9\r\n"),
            "<list/>"
        ),
    )
}

/// The same text with another type of its body in place of `application/sdp`.
fn typed(text: &str, kind: &str) -> String {
    let at = text
        .rfind(
            "Content-Type: application/sdp\r\n\
                         Content-Length",
        )
        .expect("a description");
    let (head, rest) = text.split_at(at);
    format!("{head}{kind}{}", rest.replacen("Content-Type: application/sdp\r\n", "", 1))
}

/// The parts of a body: type and content.
fn parts_of(message: &Message) -> Vec<(String, String)> {
    let kind = message.header::<ContentType<'_>>().expect("a type").expect("a legal one");
    let boundary = multipart::boundary(&kind).expect("a boundary");
    let parts = multipart::parts(message.body(), boundary).expect("parts");
    let seen = parts.iter().map(|part| {
        let kind = part.kind().expect("a type");
        (format!("{}/{}", kind.kind, kind.subtype), String::from_utf8_lossy(part.content).into_owned())
    });
    seen.collect()
}

fn origin(description: &str) -> &str {
    description.lines().find(|line| line.starts_with("o=")).expect("an origin")
}

fn shows_nothing(message: &Message, user: &str) {
    let text = String::from_utf8_lossy(message.bytes()).into_owned();
    for secret in ["inner.example", "10.9.9.9", user] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn a_description_among_other_parts_is_rewritten_in_both_directions_and_its_version_rises_by_one() {
    let mut server = server();
    let sent = server.receive(ALICE, &typed(&alices_invite(ALLOW, &mixed(OFFER)), MULTIPART));
    let at_bob = only(&sent, BOB).clone();
    let parts = parts_of(&at_bob);
    assert_eq!(parts.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), ["application/sdp", LISTS]);
    assert!(parts[0].1.contains("m=audio 4000") && parts[1].1 == "<list/>", "{parts:?}");
    assert!(origin(&parts[0].1).starts_with("o=- ") && origin(&parts[0].1).ends_with(" 1 IN IP4 127.0.0.1"));
    assert!(body(&at_bob).contains("Content-ID: <1@x>\r\n"));
    shows_nothing(&at_bob, "o=alice");
    let ok = typed(&response(&at_bob, "200 OK", "t", BOB, ALLOW, &mixed(ANSWER)), MULTIPART);
    let sent = server.receive(BOB, &ok);
    assert_eq!(method(only(&sent, BOB)), "ACK", "it has the answer to the offer");
    assert!(only(&sent, BOB).body().is_empty());
    let answer = only(&sent, ALICE).clone();
    assert!(parts_of(&answer)[0].1.contains("m=audio 6000"));
    shows_nothing(&answer, "o=bob");
    let mut alice = Phone::caller(ALICE, &answer);
    let ack = alice.request("ACK", "", "");
    assert!(server.receive(ALICE, &ack).is_empty());
    let bob = Phone::callee(BOB, &at_bob, "t");
    let mut call = Call { server, alice, bob, bobs_invite: at_bob, alices_answer: answer };

    // A re-INVITE and an UPDATE from either side; what answers counts too.
    for (near, far, asked, version) in
        [(BOB, ALICE, "INVITE", 2), (ALICE, BOB, "UPDATE", 2), (BOB, ALICE, "UPDATE", 4)]
    {
        let (phone, changed) = match near {
            ALICE => (&mut call.alice, format!("{OFFER}a=sendonly\r\n")),
            _ => (&mut call.bob, format!("{ANSWER}a=ptime:{version}0\r\n")),
        };
        let request = typed(&phone.request(asked, "", &mixed(&changed)), MULTIPART);
        let sent = call.server.receive(near, &request);
        let at_far = only(&sent, far).clone();
        let description = &parts_of(&at_far)[0].1;
        assert!(origin(description).contains(&format!(" {version} IN ")), "{description}");
        shows_nothing(&at_far, "o=bob");
        shows_nothing(&at_far, "o=alice");
        let answered = if far == ALICE { OFFER } else { ANSWER };
        let sent = call
            .server
            .receive(far, &typed(&response(&at_far, "200 OK", "", far, "", &mixed(answered)), MULTIPART));
        let ok = only(&sent, near);
        assert_eq!(code(ok), 200);
        shows_nothing(ok, "o=alice");
        shows_nothing(ok, "o=bob");
        if asked == "INVITE" {
            let ack = call.bob.request("ACK", "", "");
            call.server.receive(near, &ack);
        }
    }
    call.end();
}

#[test]
fn a_refresh_sends_the_description_alone_and_one_that_changes_nothing_is_still_answered_here() {
    let mut server = server();
    let sent = server.receive(ALICE, &typed(&alices_invite("", &mixed(OFFER)), MULTIPART));
    let at_bob = only(&sent, BOB).clone();
    let sent = server.receive(BOB, &response(&at_bob, "200 OK", "t", BOB, "", ANSWER));
    let ok = only(&sent, ALICE).clone();
    let mut alice = Phone::caller(ALICE, &ok);
    server.receive(ALICE, &alice.request("ACK", "", ""));
    let again = typed(&alice.request("INVITE", "", &mixed(OFFER)), MULTIPART);
    let sent = server.receive(ALICE, &again);
    assert_eq!((sent.len(), code(only(&sent, ALICE)), body(only(&sent, ALICE))), (1, 200, body(&ok)));
    server.receive(ALICE, &alice.request("ACK", "", ""));
    let sent = server.pass(900);
    let refresh = only(&sent, BOB);
    assert_eq!(value(refresh, HeaderName::ContentType), "application/sdp");
    assert_eq!(body(refresh), parts_of(&at_bob)[0].1);
}

#[test]
fn an_offer_among_other_parts_of_a_2xx_is_answered_in_the_ack() {
    let mut server = server();
    let sent = server.receive(ALICE, &alices_invite("", ""));
    let at_bob = only(&sent, BOB).clone();
    let sent =
        server.receive(BOB, &typed(&response(&at_bob, "200 OK", "t", BOB, "", &mixed(OFFER)), MULTIPART));
    assert!(to(&sent, BOB).is_empty(), "its ACK waits for alice's");
    let ok = only(&sent, ALICE).clone();
    let mut alice = Phone::caller(ALICE, &ok);
    let ack = typed(&alice.request("ACK", "", &mixed(ANSWER)), MULTIPART);
    let sent = server.receive(ALICE, &ack);
    let ack = only(&sent, BOB);
    assert_eq!((method(ack), value(ack, HeaderName::ContentType).as_str()), ("ACK", "application/sdp"));
    assert!(body(ack).contains("m=audio 6000") && origin(&body(ack)).starts_with("o=- "));
    let bob = Phone::callee(BOB, &at_bob, "t");
    Call { server, alice, bob, bobs_invite: at_bob, alices_answer: ok }.end();
}

#[test]
fn nested_parts_are_read_and_an_early_session_has_a_description_of_ours_too() {
    let early = part(
        "in",
        "Content-Type: application/sdp\r\nContent-Disposition: early-session; handling=optional\r\n",
        &OFFER.replace("o=alice", "o=early"),
    );
    let inner = format!("{}{early}--in--\r\n", part("in", "Content-Type: application/sdp\r\n", OFFER));
    let outer = format!(
        "{}{}--out--",
        part("out", "Content-Type: multipart/related;boundary=in;start=\"<a@x>\"\r\n", &inner),
        part("out", "Content-Type: text/plain\r\n", "tea"),
    );
    let mut server = server();
    let kind = "Content-Type: multipart/mixed;boundary=out\r\n";
    let sent = server.receive(ALICE, &typed(&alices_invite("", &outer), kind));
    let at_bob = only(&sent, BOB).clone();
    let text = body(&at_bob);
    let origins: Vec<&str> = text.lines().filter(|line| line.starts_with("o=")).collect();
    assert!(origins.len() == 2 && origins.iter().all(|line| line.starts_with("o=- ")), "{origins:?}");
    assert_ne!(origins[0], origins[1], "two sessions");
    assert!(text.contains("multipart/related;boundary=part0000;start=\"<a@x>\"\r\n"), "{text}");
    assert!(value(&at_bob, HeaderName::ContentType).contains("boundary=part0001"), "{at_bob:?}");
    shows_nothing(&at_bob, "o=early");
}

/// What alice gets for an INVITE with this body, whose type and other headers are given.
fn refused(settings: Settings, head: &str, content: &str) -> Message {
    let mut server = server_with(settings, &[BOB]);
    let sent = server.receive(ALICE, &typed(&alices_invite("", content), head));
    assert!(to(&sent, BOB).is_empty(), "{sent:?}");
    let refusal = only(&sent, ALICE).clone();
    at_rest(&mut server);
    refusal
}

#[test]
fn what_can_not_be_read_through_is_refused_with_the_fault_in_words() {
    let kind = "Content-Type: multipart/mixed;boundary=b\r\n";
    let sdp = part("b", "Content-Type: application/sdp\r\n", OFFER);
    let nested = (0..6).fold("x".to_owned(), |inner, depth| {
        let boundary = format!("n{depth}");
        let head = format!("Content-Type: multipart/mixed;boundary=n{}\r\n", depth.max(1) - 1);
        format!("{}--{boundary}--", part(&boundary, if depth == 0 { "" } else { &head }, &inner))
    });
    for (head, content, code_of, words, header) in [
        (kind, sdp.clone(), 400, "two hyphens after the last part", None),
        (kind, format!("{}--b--", sdp.replace("--b\r\n", "--bb\r\n")), 400, "a line of its own", None),
        ("Content-Type: multipart/mixed\r\n", format!("{sdp}--b--"), 400, "one boundary", None),
        ("Content-Type: nonsense\r\n", OFFER.to_owned(), 400, "type/subtype", None),
        (kind, format!("{}--b--", part("b", "no colon\r\n", "x")), 400, "in the header of part 1", None),
        (kind, format!("{sdp}{sdp}--b--"), 400, "one session description", None),
        (kind, format!("{}--b--", part("b", "", "x").repeat(17)), 413, "at most 16 parts", None),
        ("Content-Type: multipart/mixed;boundary=n5\r\n", nested, 413, "within each other", None),
        (
            "Content-Encoding: gzip\r\nContent-Type: application/sdp\r\n",
            "\u{1f}".into(),
            415,
            "without Content-Encoding",
            Some((HeaderName::AcceptEncoding, "identity")),
        ),
        (
            kind,
            format!("{}--b--", part("b", "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n", "x")),
            415,
            "without Content-Encoding",
            Some((HeaderName::AcceptEncoding, "identity")),
        ),
        (
            kind,
            format!(
                "{}--b--",
                part("b", "Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n", "dj0w")
            ),
            415,
            "Content-Transfer-Encoding",
            Some((HeaderName::Accept, "application/sdp")),
        ),
        (
            "Content-Type: multipart/signed;boundary=b\r\n",
            format!("{sdp}--b--"),
            415,
            "without signature",
            Some((HeaderName::Accept, "application/sdp")),
        ),
    ] {
        let refusal = refused(settings(), head, &content);
        assert_eq!(code(&refusal), code_of, "{head}{content}");
        let warning = value(&refusal, HeaderName::Warning);
        assert!(warning.starts_with("399 Dialtone \"") && warning.contains(words), "{warning}");
        if let Some((name, expected)) = header {
            assert_eq!(value(&refusal, name), expected);
        }
    }
}

#[test]
fn the_same_within_a_call_is_refused_and_the_call_goes_on() {
    let mut call = talking_on(server(), ALLOW, ALLOW);
    for asked in ["INVITE", "UPDATE", "INFO", "MESSAGE"] {
        let request =
            typed(&call.alice.request(asked, "", &mixed(OFFER).replace("example--", "example")), MULTIPART);
        let sent = call.server.receive(ALICE, &request);
        assert_eq!((sent.len(), code(only(&sent, ALICE))), (1, 400), "{asked}");
        if asked == "INVITE" {
            call.server.receive(ALICE, &call.alice.clone().request("ACK", "", ""));
        }
    }
    // One from the far end, in an answer, shows nothing either: the answer has no description.
    let update = call.alice.request("UPDATE", "", &format!("{OFFER}a=sendonly\r\n"));
    let at_bob = only(&call.server.receive(ALICE, &update), BOB).clone();
    let broken = mixed(ANSWER).replace("example--", "example");
    let sent =
        call.server.receive(BOB, &typed(&response(&at_bob, "200 OK", "", BOB, "", &broken), MULTIPART));
    assert!(only(&sent, ALICE).body().is_empty());
    call.end();
}

#[test]
fn parts_pass_as_the_settings_say() {
    let sdp = part("b", "Content-Type: application/sdp\r\n", OFFER);
    let other = |kind: &str, handling: &str| {
        part("b", &format!("Content-Type: {kind}\r\nContent-Disposition: render{handling}\r\n"), "<x/>")
    };
    let kind = "Content-Type: multipart/mixed;boundary=b\r\n";
    let optional = ";handling=optional";
    for (parts, other, expected) in [
        (vec!["*/*"], other("image/png", ""), Ok(2)),
        (vec!["image/*"], other("IMAGE/png", ""), Ok(2)),
        (vec!["image/png"], other("image/gif", optional), Ok(1)),
        (vec!["image/png"], other("image/gif", ""), Err(415)),
        (vec![], other("text/plain", optional), Ok(1)),
        // A whole message of the other side, with all its Vias.
        (vec!["*/*"], other("message/sip", optional), Ok(1)),
        (vec!["*/*"], other("message/sip", ""), Err(415)),
        (vec!["message/sip"], other("message/sip", ""), Ok(2)),
    ] {
        let what = format!("{parts:?}: {other}");
        let bridges =
            BridgeSettings { parts: parts.into_iter().map(Into::into).collect(), ..Default::default() };
        let settings = Settings { bridges, ..settings() };
        let content = format!("{sdp}{other}--b--");
        match expected {
            Err(status) => assert_eq!(code(&refused(settings, kind, &content)), status, "{what}"),
            Ok(count) => {
                let mut server = server_with(settings, &[BOB]);
                let sent = server.receive(ALICE, &typed(&alices_invite("", &content), kind));
                let at_bob = only(&sent, BOB);
                if count == 1 {
                    assert_eq!(value(at_bob, HeaderName::ContentType), "application/sdp", "{what}");
                    assert!(body(at_bob).starts_with("v=0\r\no=- "), "{what}");
                } else {
                    assert_eq!(parts_of(at_bob).len(), count, "{what}");
                }
            }
        }
    }
}

#[test]
fn what_is_described_beside_the_session_does_not_become_the_session() {
    let mut call = talking();
    let info = call.alice.request("INFO", "", &format!("{OFFER}a=inactive\r\n"));
    let at_bob = only(&call.server.receive(ALICE, &info), BOB).clone();
    assert!(origin(&body(&at_bob)).starts_with("o=- "));
    call.server.receive(BOB, &response(&at_bob, "200 OK", "", BOB, "", ""));
    let sent = call.server.pass(900);
    assert_eq!(body(only(&sent, BOB)), body(&call.bobs_invite), "what is refreshed is what holds");
}
