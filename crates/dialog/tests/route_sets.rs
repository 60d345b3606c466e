//! Route sets: loose and strict routers in every order, and the examples of RFC 3261.

mod common;

use common::*;
use dialtone_dialog::{Dialog, Draft, ROUTES_MAX, RouteSet, State};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{Fault, HeaderName, Method};

const VIA: &str = "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx";

/// What RFC 3261 §12.2.1.1 makes of a target and a route set, written down a second time.
fn expected(target: &str, routes: &[&str]) -> (String, Vec<String>) {
    let own = |text: &&str| (*text).to_owned();
    match routes {
        [first, rest @ ..] if !first.contains(";lr") => {
            (own(first), rest.iter().map(own).chain([target.to_owned()]).collect())
        }
        routes => (target.to_owned(), routes.iter().map(own).collect()),
    }
}

#[test]
fn every_mix_of_up_to_three_loose_and_strict_proxies_routes_as_the_rfc_says() {
    for count in 0..=3u32 {
        for mix in 0..1u32 << count {
            let proxies: Vec<String> = (0..count)
                .map(|at| format!("sip:p{at}.example.com{}", if mix >> at & 1 == 1 { ";lr" } else { "" }))
                .collect();
            let proxies: Vec<&str> = proxies.iter().map(String::as_str).collect();
            let reversed: Vec<&str> = proxies.iter().rev().copied().collect();
            let lines = record_route(&proxies);

            let answer = response(200, "b", &format!("{BOB}\n{lines}"));
            let mut uac = Dialog::uac(&invite(ALICE), &answer).unwrap();
            let draft = uac.request(Method::Bye);
            let written = read(draft.write(VIA, None));
            assert_eq!(routing(&written), expected("sip:bob@192.0.2.4", &reversed), "UAC, {proxies:?}");
            let hop = reversed.first().copied().unwrap_or("sip:bob@192.0.2.4");
            assert_eq!(draft.next_hop().as_str(), hop);

            let request = invite(&format!("{ALICE}\n{lines}"));
            let mut uas = Dialog::uas(&request, "b", State::Confirmed).unwrap();
            let draft = uas.request(Method::Bye);
            let written = read(draft.write(VIA, None));
            assert_eq!(
                routing(&written),
                expected("sip:alice@pc33.atlanta.com", &proxies),
                "UAS, {proxies:?}"
            );
            let hop = proxies.first().copied().unwrap_or("sip:alice@pc33.atlanta.com");
            assert_eq!(draft.next_hop().as_str(), hop);
        }
    }
}

#[test]
fn the_example_of_section_12_2_1_1_gives_its_request() {
    let routes =
        RouteSet::preloaded(["<sip:proxy1>", "<sip:proxy2>", "<sip:proxy3;lr>", "<sip:proxy4>"]).unwrap();
    let target = UriBuf::parse("sip:user@remoteua").unwrap();
    let draft = Draft::new(Method::Options, target, "<sip:a@b>;tag=1", "<sip:user@remoteua>", "c", 1)
        .with_routes(&routes);
    assert_eq!(draft.uri(), "sip:proxy1");
    assert_eq!(draft.routes(), ["<sip:proxy2>", "<sip:proxy3;lr>", "<sip:proxy4>", "<sip:user@remoteua>"]);
    assert_eq!(draft.next_hop().as_str(), "sip:proxy1");
}

#[test]
fn the_caller_of_the_basic_trapezoid_sends_the_bye_of_section_16_12_1_1() {
    let request = completed("16.12.1.1-X02-INVITE.sip", "1", "", "1 INVITE");
    let answer = completed("16.12.1.1-X04-200.sip", "1", "2", "1 INVITE");
    let mut caller = Dialog::uac(&request, &answer).unwrap();
    let bye = read(caller.request(Method::Bye).write(VIA, None));
    assert_eq!(routing(&bye), routing(&printed("16.12.1.1-X05-BYE.sip")));
}

#[test]
fn the_callee_behind_a_strict_router_sends_the_bye_of_section_16_12_1_2() {
    let request = completed("16.12.1.2-X08-INVITE.sip", "1", "", "1 INVITE");
    let mut callee = Dialog::uas(&request, "2", State::Confirmed).unwrap();
    let draft = callee.request(Method::Bye);
    let bye = read(draft.write(VIA, None));
    assert_eq!(routing(&bye), routing(&printed("16.12.1.2-X09-BYE.sip")));
    assert_eq!(draft.next_hop().as_str(), "sip:p4.domain.com;lr");
}

#[test]
fn a_strict_router_in_front_gets_the_form_that_section_16_12_1_2_shows_behind_p4() {
    let routes =
        RouteSet::of(&printed("16.12.1.2-X09-BYE.sip"), HeaderName::Route).unwrap().values()[1..].to_vec();
    let routes = RouteSet::preloaded(routes.iter().map(|route| route.as_str())).unwrap();
    let target = UriBuf::parse("sip:caller@u1.example.com").unwrap();
    let draft = Draft::new(Method::Bye, target, "<sip:b@b>;tag=2", "<sip:a@a>;tag=1", "c", 2);
    let bye = read(draft.with_routes(&routes).write(VIA, None));
    assert_eq!(routing(&bye), routing(&printed("16.12.1.2-X10-BYE.sip")));
}

#[test]
fn the_caller_sees_the_rewritten_record_route_of_section_16_12_1_3() {
    let request = completed("16.12.1.3-X15-INVITE.sip", "1", "", "1 INVITE");
    let answer = completed("16.12.1.3-X17-200.sip", "1", "2", "1 INVITE");
    let mut caller = Dialog::uac(&request, &answer).unwrap();
    let bye = read(caller.request(Method::Bye).write(VIA, None));
    assert_eq!(routing(&bye), routing(&printed("16.12.1.3-X18-BYE.sip")));
}

#[test]
fn a_list_in_one_line_and_several_lines_are_the_same_route_set() {
    let one = invite("Record-Route: <sip:p1;lr>, \"x, y\" <sip:p2;lr>;z=1\nRecord-Route: <sip:p3;lr>");
    let set = RouteSet::of(&one, HeaderName::RecordRoute).unwrap();
    assert_eq!(set.values(), ["<sip:p1;lr>", "\"x, y\" <sip:p2;lr>;z=1", "<sip:p3;lr>"]);
    assert_eq!(set.reversed().values(), ["<sip:p3;lr>", "\"x, y\" <sip:p2;lr>;z=1", "<sip:p1;lr>"]);
}

#[test]
fn a_folded_record_route_is_written_on_one_line() {
    let folded = invite(&format!("{ALICE}\nRecord-Route:\n <sip:p1;lr>\n\t;ftag=x"));
    let mut dialog = Dialog::uas(&folded, "b", State::Confirmed).unwrap();
    assert_eq!(dialog.request(Method::Bye).routes(), ["<sip:p1;lr> ;ftag=x"]);
}

#[test]
fn a_route_without_brackets_gets_them_so_that_lr_belongs_to_its_uri() {
    let set = RouteSet::preloaded(["sip:proxy.example.com;lr"]).unwrap();
    assert_eq!(set.values(), ["<sip:proxy.example.com;lr>"]);
}

#[test]
fn lr_counts_with_any_value_and_in_any_case() {
    for lr in ["lr", "LR", "lr=on", "lr=true"] {
        let set = RouteSet::preloaded([format!("<sip:p1;{lr}>").as_str()]).unwrap();
        let target = UriBuf::parse("sip:bob@biloxi.com").unwrap();
        let draft = Draft::new(Method::Options, target, "<sip:a@b>;tag=1", "<sip:b@b>", "c", 1);
        assert_eq!(draft.with_routes(&set).uri(), "sip:bob@biloxi.com", "{lr}");
    }
    // A header parameter is none of the URI.
    let set = RouteSet::preloaded(["<sip:p1>;lr"]).unwrap();
    let target = UriBuf::parse("sip:bob@biloxi.com").unwrap();
    let draft = Draft::new(Method::Options, target, "<sip:a@b>;tag=1", "<sip:b@b>", "c", 1);
    assert_eq!(draft.with_routes(&set).uri(), "sip:p1");
}

#[test]
fn method_and_headers_are_stripped_from_a_request_uri() {
    let strict = "<sip:p1.example.com;method=INVITE;maddr=10.0.0.1?Subject=x>";
    let set = RouteSet::preloaded([strict]).unwrap();
    let target = UriBuf::parse("sip:bob@192.0.2.4;Method=BYE;ob?Route=%3Csip:evil%3E").unwrap();
    let draft = Draft::new(Method::Bye, target, "<sip:a@b>;tag=1", "<sip:b@b>;tag=2", "c", 1);
    assert_eq!(draft.uri(), "sip:bob@192.0.2.4;ob");
    let draft = draft.with_routes(&set);
    assert_eq!(draft.uri(), "sip:p1.example.com;maddr=10.0.0.1");
    assert_eq!(draft.routes(), ["<sip:bob@192.0.2.4;ob>"]);
}

#[test]
fn a_sips_request_uri_makes_the_next_hop_sips() {
    let set = RouteSet::preloaded(["<sip:p1.example.com;lr>"]).unwrap();
    let target = UriBuf::parse("sips:bob@biloxi.com").unwrap();
    let draft = Draft::new(Method::Invite, target, "<sip:a@b>;tag=1", "<sips:bob@biloxi.com>", "c", 1);
    let draft = draft.with_routes(&set);
    assert_eq!(draft.next_hop().as_str(), "sips:p1.example.com;lr");
    assert_eq!(draft.routes(), ["<sip:p1.example.com;lr>"]);
}

#[test]
fn a_route_that_is_no_sip_uri_or_one_too_many_is_refused() {
    for bad in ["<tel:+123>", "<http://p1>", "<sip:p1", "<sip:>", "", "<sip:p1> x"] {
        assert!(RouteSet::preloaded([bad]).is_err(), "{bad}");
    }
    let full = vec!["<sip:p1;lr>"; ROUTES_MAX];
    assert_eq!(RouteSet::preloaded(full.iter().copied()).unwrap().values().len(), ROUTES_MAX);
    let error = RouteSet::preloaded(full.iter().copied().chain(["<sip:p1;lr>"])).unwrap_err();
    assert_eq!(error.fault, Fault::Expected("at most 70 routes"));
}
