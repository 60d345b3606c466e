//! The registration of the phone, and its OPTIONS, at a scripted server.

use std::time::Duration;

use dialtone_wire::HeaderName;

use super::bench::{Bench, header, settings, uri};
use crate::io::{Command, Play};

const CHALLENGE: &str = "WWW-Authenticate: Digest realm=\"example.com\", nonce=\"n1\", qop=\"auth\"";
const BOUND: &str =
    "Contact: <sip:alice@192.0.2.77>;expires=7\nContact: <sip:alice@192.0.2.1:5060>;expires=600";

fn registered() -> Bench {
    let mut bench = Bench::phone();
    bench.command(Command::Register);
    let first = bench.take();
    assert_eq!(first.uri_text(), "sip:192.0.2.9");
    assert_eq!(header(&first, HeaderName::Expires), "3600");
    assert_eq!(header(&first, HeaderName::Contact), "<sip:alice@192.0.2.1:5060>");
    bench.respond(&first, 401, "r", CHALLENGE, "");
    let second = bench.take();
    assert_eq!(second.call_id().unwrap(), first.call_id().unwrap());
    assert_eq!(second.cseq().unwrap().number, first.cseq().unwrap().number + 1);
    assert!(header(&second, HeaderName::Authorization).contains("uri=\"sip:192.0.2.9\""));
    bench.respond(&second, 200, "r", BOUND, "");
    assert_eq!(bench.events(), ["Registered { expires_s: 600 }"]);
    bench
}

#[test]
fn a_registration_is_refreshed_before_it_ends_and_taken_away_when_asked() {
    let mut bench = registered();
    bench.wait(Duration::from_millis(539_900));
    assert_eq!(bench.take_all(), "");
    bench.wait(Duration::from_millis(200));
    let refresh = bench.take();
    assert_eq!(refresh.cseq().unwrap().number, 3);
    assert!(header(&refresh, HeaderName::Authorization).contains("nc=00000002"));
    // While it is under way no other REGISTER goes out (RFC 3261 §10.2).
    bench.command(Command::Unregister);
    assert_eq!(bench.take_all(), "");
    bench.respond(&refresh, 200, "r", BOUND, "");
    let removal = bench.take();
    assert_eq!(header(&removal, HeaderName::Expires), "0");
    assert_eq!(removal.cseq().unwrap().number, 4);
    bench.respond(&removal, 200, "r", "", "");
    assert_eq!(bench.events(), ["Registered { expires_s: 600 }", "Unregistered"]);
    bench.assert_at_rest();
}

#[test]
fn calls_take_the_service_route_of_the_last_registration() {
    let mut settings = settings("alice", "192.0.2.1:5060");
    settings.account.as_mut().unwrap().proxy = Some(uri("sip:192.0.2.9"));
    let mut bench = Bench::new(settings);
    let routes_of = |bench: &mut Bench, answer: &str, command| {
        bench.command(command);
        let register = bench.take();
        assert_eq!(header(&register, HeaderName::Supported), "path");
        bench.respond(&register, 200, "r", answer, "");
        let call = Command::Call { token: 1, to: uri("sip:bob@192.0.2.200"), play: Play::Silence };
        bench.command(call);
        let invite = bench.take();
        let routes: Vec<&[u8]> = invite.values(HeaderName::Route).collect();
        String::from_utf8(routes.join(&b" "[..])).unwrap()
    };
    let own = "<sip:192.0.2.9;lr>";
    for (service, routes) in [
        ("X: y", own.to_owned()),
        (
            "Service-Route: <sip:192.0.2.40;lr>, <sip:192.0.2.41:5070;lr;x=1>",
            format!("{own} <sip:192.0.2.40;lr> <sip:192.0.2.41:5070;lr;x=1>"),
        ),
        // It begins with the proxy that the phone is set up with.
        (
            "Service-Route: <sip:192.0.2.9:5060;lr;y>\nService-Route: <sip:192.0.2.41;lr>",
            "<sip:192.0.2.9:5060;lr;y> <sip:192.0.2.41;lr>".to_owned(),
        ),
        ("Service-Route: <sip:", own.to_owned()),
        ("Service-Route: <sip:192.0.2.40;lr>, <tel:+49301>", own.to_owned()),
        ("Service-Route: <sip:192.0.2.40;lr>", format!("{own} <sip:192.0.2.40;lr>")),
    ] {
        assert_eq!(routes_of(&mut bench, &format!("{BOUND}\n{service}"), Command::Register), routes);
    }
    assert_eq!(routes_of(&mut bench, "Service-Route: <sip:192.0.2.40;lr>", Command::Unregister), own);
}

#[test]
fn the_date_of_the_registrar_tells_how_far_its_clock_is_from_ours() {
    // The clock of these tests begins at 22:13:20.
    for (date, told) in [
        ("Tue, 14 Nov 2023 22:13:25 GMT", None),
        ("Tue, 14 Nov 2023 23:13:21 GMT", Some("ClockDiffers { ahead_s: 3600 }")),
        ("Tue, 14 Nov 2023 22:12:21 GMT", Some("ClockDiffers { ahead_s: -60 }")),
        ("soon", None),
    ] {
        let mut bench = Bench::phone();
        bench.command(Command::Register);
        let register = bench.take();
        bench.respond(&register, 200, "r", &format!("{BOUND}\nDate: {date}"), "");
        let expected: Vec<&str> = std::iter::once("Registered { expires_s: 600 }").chain(told).collect();
        assert_eq!(bench.events(), expected, "{date}");
    }
}

#[test]
fn a_wrong_password_is_tried_once() {
    let mut bench = Bench::phone();
    bench.command(Command::Register);
    let first = bench.take();
    bench.respond(&first, 401, "r", CHALLENGE, "");
    let second = bench.take();
    bench.respond(&second, 401, "r", &CHALLENGE.replace("n1", "n2"), "");
    let events = bench.events();
    assert_eq!(events, ["RegistrationFailed { status: Some(401 Unauthorized), wrong_password: true }"]);
    bench.assert_at_rest();
}

#[test]
fn a_stale_nonce_is_replaced_silently() {
    let mut bench = Bench::phone();
    bench.command(Command::Register);
    let first = bench.take();
    bench.respond(&first, 401, "r", CHALLENGE, "");
    let second = bench.take();
    bench.respond(&second, 401, "r", &CHALLENGE.replace("n1\"", "n2\", stale=true"), "");
    let third = bench.take();
    assert!(header(&third, HeaderName::Authorization).contains("nonce=\"n2\""));
    bench.respond(&third, 200, "r", BOUND, "");
    assert_eq!(bench.events(), ["Registered { expires_s: 600 }"]);
}

#[test]
fn a_longer_time_is_asked_for_when_the_registrar_says_so() {
    let mut bench = Bench::phone();
    bench.command(Command::Register);
    let first = bench.take();
    bench.respond(&first, 423, "r", "Min-Expires: 7200", "");
    let second = bench.take();
    assert_eq!(header(&second, HeaderName::Expires), "7200");
    // A registrar that never has enough counts as a failure.
    bench.respond(&second, 423, "r", "Min-Expires: 7300", "");
    let third = bench.take();
    bench.respond(&third, 423, "r", "Min-Expires: 7400", "");
    assert_eq!(bench.take_all(), "");
    assert_eq!(bench.events().len(), 1);
}

#[test]
fn failures_are_tried_again_with_growing_pauses() {
    let mut bench = Bench::phone();
    bench.command(Command::Register);
    let mut request = bench.take();
    for most_s in [30, 60, 120, 240, 480, 960, 1800, 1800] {
        bench.respond(&request, 500, "r", "", "");
        assert_eq!(
            bench.events(),
            ["RegistrationFailed { status: Some(500 Server Internal Error), wrong_password: false }"]
        );
        bench.wait(Duration::from_millis(most_s * 500 - 1));
        assert_eq!(bench.take_all(), "");
        let cseq = request.cseq().unwrap().number;
        let last = bench.now + Duration::from_secs(most_s);
        while bench.transmits.is_empty() && bench.now < last {
            bench.wait(Duration::from_secs(1));
        }
        request = bench.take();
        bench.transmits.clear();
        assert_eq!(request.cseq().unwrap().number, cseq + 1);
    }
    bench.respond(&request, 503, "r", "Retry-After: 1799", "");
    bench.command(Command::Unregister);
    assert_eq!(bench.events().last().unwrap(), "Unregistered");
    bench.assert_at_rest();
}

#[test]
fn a_server_that_does_not_answer_is_tried_again() {
    let mut bench = Bench::phone();
    bench.command(Command::Register);
    bench.wait(Duration::from_secs(33));
    assert_eq!(bench.events(), ["RegistrationFailed { status: None, wrong_password: false }"]);
    bench.transmits.clear();
    bench.wait(Duration::from_secs(30));
    assert_eq!(bench.take().cseq().unwrap().number, 2);
}

#[test]
fn the_backup_proxy_is_registered_with_when_the_first_is_silent() {
    let mut settings = settings("alice", "192.0.2.1:5060");
    let account = settings.account.as_mut().unwrap();
    account.proxy = Some(uri("sip:192.0.2.9:5070"));
    account.backup_proxy = Some(uri("sip:192.0.2.9:5071"));
    let mut bench = Bench::new(settings);
    bench.command(Command::Register);
    bench.wait(Duration::from_secs(90));
    let mut routes = Vec::new();
    while !bench.transmits.is_empty() {
        routes.push(header(&bench.take(), HeaderName::Route));
    }
    routes.dedup();
    assert_eq!(routes, ["<sip:192.0.2.9:5070;lr>", "<sip:192.0.2.9:5071;lr>"]);
    bench.command(Command::Unregister);
    bench.assert_at_rest();
}

#[test]
fn options_ask_and_tell_what_came_back() {
    let mut bench = Bench::phone();
    bench.command(Command::Options { token: 5, to: uri("sip:192.0.2.9") });
    let options = bench.take();
    assert_eq!(header(&options, HeaderName::Accept), "application/sdp");
    bench.respond(&options, 407, "o", &CHALLENGE.replace("WWW", "Proxy"), "");
    let again = bench.take();
    assert_eq!(again.cseq().unwrap().number, 2);
    bench.respond(&again, 200, "o", "Allow: INVITE", "");
    let events = bench.events();
    assert!(events[0].starts_with("OptionsAnswered { token: 5, status: Some(200 OK)"), "{events:?}");
    bench.command(Command::Options { token: 6, to: uri("sip:192.0.2.9") });
    bench.wait(Duration::from_secs(33));
    assert!(bench.events()[0].starts_with("OptionsAnswered { token: 6, status: None"));
    bench.assert_at_rest();
}
