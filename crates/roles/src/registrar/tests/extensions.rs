//! Path (RFC 3327), flows (RFC 5626), GRUUs (RFC 5627).

use super::*;
use crate::gruu::Key;

const INSTANCE: &str = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";

fn with(fixture: &mut Fixture, call_id: &str, cseq: u32, vias: usize, headers: &str) -> Registered {
    fixture.cseq = fixture.cseq.max(cseq);
    let via = |at| format!("Via: SIP/2.0/UDP 192.0.2.{};branch=z9hG4bK{cseq}{at}\r\n", 4 + at);
    let vias: String = (0..vias).map(via).collect();
    let text = format!(
        "REGISTER sip:biloxi.com SIP/2.0\r\n{vias}From: <{AOR}>;tag=1\r\nTo: <{AOR}>\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq} REGISTER\r\n{headers}\r\n"
    );
    let request = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
    fixture.take(&request, Flow::udp("192.0.2.1:5060".parse().unwrap(), "192.0.2.4:5060".parse().unwrap()))
}

fn granted(outcome: Registered) -> Granted {
    match outcome {
        Registered::Granted { granted, .. } => granted,
        other => panic!("{other:?}"),
    }
}

fn held(fixture: &Fixture) -> Vec<Binding> {
    fixture.location.of(fixture.now, AOR).cloned().collect()
}

#[test]
fn the_parameters_of_a_contact_come_back_as_they_were() {
    let mut fixture = Fixture::new();
    let said = ";audio;methods=\"INVITE,BYE\" ; expires=600;+sip.extra=\"a;b\";q=0.5;pub-gruu=\"sip:x\"";
    fixture.register(&format!("Contact: <sip:bob@192.0.2.4>{said}\r\n"));
    assert_eq!(
        fixture.contacts(),
        ["<sip:bob@192.0.2.4>;audio;methods=\"INVITE,BYE\";+sip.extra=\"a;b\";expires=600;q=0.500"]
    );
    fixture.register("Contact: <sip:bob@192.0.2.4>\r\n");
    assert_eq!(held(&fixture)[0].details, None, "the last word counts");
}

#[test]
fn a_path_is_kept_in_its_order_where_the_phone_knows_of_it() {
    let mut fixture = Fixture::new();
    let path = "Path: <sip:P3.EXAMPLEHOME.COM;lr>,<sip:P1.EXAMPLEVISITED.COM;lr>\r\n";
    let contact = "Contact: <sip:UA1@192.0.2.4>\r\n";
    let unasked = fixture.register(&format!("{contact}{path}"));
    assert_eq!(unasked, Registered::Unsupported { option: "path" });
    assert!(fixture.contacts().is_empty(), "nothing of it was done");
    fixture.register(&format!("{contact}{path}Supported: timer, path\r\n"));
    assert_eq!(held(&fixture)[0].path(), ["<sip:P3.EXAMPLEHOME.COM;lr>", "<sip:P1.EXAMPLEVISITED.COM;lr>"]);
    let malformed = fixture.register(&format!("{contact}Path: <P1\r\nSupported: path\r\n"));
    assert_eq!(status_of(&malformed), 400);
    let long = format!("{contact}Path: <sip:{}@a;lr>\r\nSupported: path\r\n", "p".repeat(2048));
    assert_eq!(status_of(&fixture.register(&long)), 403);
    assert_eq!(held(&fixture)[0].path().len(), 2);
}

#[test]
fn a_flow_takes_the_place_of_the_same_flow_whatever_its_contact() {
    let mut fixture = Fixture::new();
    let contact = |host: &str, reg_id: &str| {
        format!("Supported: path, outbound\r\nContact: <sip:bob@{host};ob>;{INSTANCE};reg-id={reg_id}\r\n")
    };
    assert!(granted(fixture.register(&contact("192.0.2.4", "1"))).outbound);
    assert!(granted(fixture.register(&contact("192.0.2.4", "2"))).outbound);
    assert_eq!(held(&fixture).len(), 2, "equal contacts, two flows");
    fixture.register(&contact("192.0.2.9", "1"));
    let held = held(&fixture);
    assert_eq!(held.len(), 2);
    assert_eq!(held[0].contact.as_str(), "sip:bob@192.0.2.9;ob");
    let flow = held[0].reg_id().map(std::num::NonZeroU32::get);
    assert_eq!(
        (flow, held[0].is_of_instance("urn:uuid:00000000-0000-1000-8000-000a95a0e128")),
        (Some(1), true)
    );
    for bad in ["0", "x", "4294967296"] {
        assert_eq!(status_of(&fixture.register(&contact("192.0.2.4", bad))), 400, "{bad}");
    }
    // RFC 5626 §6: one instance over one flow; another contact may be taken away by the same request.
    let two = format!("{}Contact: <sip:x@192.0.2.4>\r\n", contact("192.0.2.4", "1"));
    assert_eq!(status_of(&fixture.register(&two)), 400);
    let one_goes = format!("{}Contact: <sip:x@192.0.2.4>;expires=0\r\n", contact("192.0.2.4", "1"));
    assert_eq!(status_of(&fixture.register(&one_goes)), 200);
    fixture.register(&format!("Contact: <sip:bob@192.0.2.4;ob>;{INSTANCE};reg-id=2;expires=0\r\n"));
    assert_eq!(fixture.contacts().len(), 1);
}

#[test]
fn a_flow_counts_only_where_the_first_hop_keeps_it() {
    let contact = format!("Contact: <sip:bob@192.0.2.4>;{INSTANCE};reg-id=1\r\n");
    let supported = "Supported: path, outbound\r\n";
    let edge = "Path: <sip:inner.example;lr>, <sip:token@edge.example;lr;ob>\r\n";
    let plain = "Path: <sip:token@inner.example;lr;ob>, <sip:edge.example;lr>\r\n";
    for (vias, headers, expected) in [
        (1, supported.to_owned(), Some((true, true))),
        // Not asked for, but understood.
        (1, String::new(), Some((true, false))),
        (2, format!("{supported}{edge}"), Some((true, true))),
        (2, format!("{supported}{plain}"), None),
        (2, supported.to_owned(), None),
        (2, String::new(), Some((false, false))),
    ] {
        let mut fixture = Fixture::new();
        let outcome = with(&mut fixture, "a", 1, vias, &format!("{contact}{headers}"));
        match expected {
            None => {
                let Registered::Refused { status, .. } = outcome else { panic!("{outcome:?}") };
                assert_eq!(status.code(), 439, "{headers}");
                assert!(held(&fixture).is_empty());
            }
            Some((flow, outbound)) => {
                assert_eq!(granted(outcome).outbound, outbound, "{headers}");
                assert_eq!(held(&fixture)[0].reg_id().is_some(), flow, "{headers}");
            }
        }
    }
    // RFC 5626 §6: without an instance it is ignored.
    let mut fixture = Fixture::new();
    let outcome =
        with(&mut fixture, "a", 1, 1, "Supported: outbound\r\nContact: <sip:b@192.0.2.4>;reg-id=1\r\n");
    assert!(!granted(outcome).outbound);
}

#[test]
fn a_device_that_has_moved_keeps_one_binding() {
    let mut fixture = Fixture::new();
    let contact = |host: &str| format!("Contact: <sip:bob@{host}>;{INSTANCE}\r\n");
    fixture.register_as("home", 1, &contact("192.0.2.4"));
    fixture.register_as("other", 1, "Contact: <sip:desk@192.0.2.5>\r\n");
    fixture.register_as("away", 1, &contact("198.51.100.9"));
    let contacts: Vec<String> = held(&fixture).iter().map(|binding| binding.contact.to_string()).collect();
    assert_eq!(contacts, ["sip:desk@192.0.2.5", "sip:bob@198.51.100.9"]);
    // Two contacts of one registration are meant to be two.
    let two = format!("Contact: <sip:a@192.0.2.4>;{INSTANCE}, <sip:b@192.0.2.4>;{INSTANCE}\r\n");
    fixture.register_as("both", 1, &two);
    assert_eq!(fixture.contacts().len(), 3);
}

/// The GRUUs of the device.
fn gruus(contacts: &[String]) -> (String, String) {
    let value = |name: &str| {
        let rest = contacts.iter().find_map(|contact| Some(contact.split_once(&format!(";{name}=\""))?.1));
        rest.and_then(|rest| rest.split_once('"')).map_or(String::new(), |(value, _)| value.to_owned())
    };
    (value("pub-gruu"), value("temp-gruu"))
}

/// How many bindings a GRUU leads to; `None` when it is none of ours.
fn found(fixture: &Fixture, gruu: &str) -> Option<usize> {
    let uri = UriBuf::parse(gruu).unwrap();
    let uri = uri.uri();
    let read = GruuKeys::new(&Secret([1; 32])).read(uri.as_sip().unwrap()).unwrap()?;
    let key = read.key(AOR);
    assert!(matches!(Key::read(&key), Key::Device { .. } | Key::Series { .. }));
    Some(fixture.location.found(fixture.now, &key).count())
}

#[test]
fn a_device_is_given_gruus_that_lead_to_it_and_to_no_other() {
    let mut fixture = Fixture::new();
    let supported = "Supported: gruu\r\n";
    let contact = format!("Contact: <sip:bob@192.0.2.4>;{INSTANCE};expires=600\r\n");
    let asked = |fixture: &mut Fixture, call_id: &str, cseq: u32| {
        gruus(&granted(fixture.register_as(call_id, cseq, &format!("{contact}{supported}"))).contacts)
    };
    assert_eq!(gruus(&granted(fixture.register_as("a", 1, &contact)).contacts), Default::default());
    let (public, first) = asked(&mut fixture, "a", 2);
    assert_eq!(public, "sip:bob@biloxi.com;gr=urn:uuid:00000000-0000-1000-8000-000A95A0E128");
    let (again, second) = asked(&mut fixture, "a", 3);
    assert_eq!(again, public);
    assert_ne!(first, second, "one with each REGISTER");
    assert!(first.starts_with("sip:tgruu.") && first.ends_with("@biloxi.com;gr"), "{first}");
    fixture.register_as("b", 1, "Contact: <sip:desk@192.0.2.5>\r\n");
    for gruu in [&public, &first, &second] {
        assert_eq!(found(&fixture, gruu), Some(1), "{gruu}");
    }
    assert_eq!(found(&fixture, "sip:bob@biloxi.com;gr=urn:uuid:other"), Some(0));
    assert_eq!(found(&fixture, "sip:tgruu.0123@biloxi.com;gr"), None);
    // RFC 5627 §5.1: another Call-ID ends all that there were.
    let (public, third) = asked(&mut fixture, "c", 1);
    let all = [&public, &first, &second, &third].map(|gruu| found(&fixture, gruu));
    assert_eq!(all, [Some(1), Some(0), Some(0), Some(1)]);
    // And so does the end of the registration (§5.3).
    fixture.pass(600);
    assert_eq!([&public, &third].map(|gruu| found(&fixture, gruu)), [Some(0), Some(0)]);
    let (_, fourth) = asked(&mut fixture, "c", 9);
    assert_eq!([&third, &fourth].map(|gruu| found(&fixture, gruu)), [Some(0), Some(1)]);
}

#[test]
fn nobody_registers_his_own_address_as_the_place_where_he_is() {
    let mut fixture = Fixture::new();
    let supported = "Supported: gruu\r\n";
    let register = |fixture: &mut Fixture, uri: &str| {
        status_of(&fixture.register(&format!("Contact: <{uri}>;{INSTANCE}\r\n{supported}")))
    };
    assert_eq!(register(&mut fixture, AOR), 403);
    assert_eq!(register(&mut fixture, "sip:bob@biloxi.com;gr=urn:uuid:1"), 403);
    assert_eq!(register(&mut fixture, "tel:+123"), 403);
    assert_eq!(register(&mut fixture, "sip:bob@192.0.2.4"), 200);
    let (_, temporary) = gruus(&fixture_contacts(&mut fixture));
    assert_eq!(register(&mut fixture, &temporary), 403);
    assert_eq!(register(&mut fixture, "sip:bob@elsewhere.com;gr=1"), 200);
}

fn fixture_contacts(fixture: &mut Fixture) -> Vec<String> {
    granted(fixture.register("Supported: gruu\r\n")).contacts
}

#[test]
fn a_binding_of_which_nothing_more_was_said_costs_one_word_more() {
    // 152 before any of this was kept, beside the texts themselves.
    assert_eq!(size_of::<Binding>(), 160);
}
