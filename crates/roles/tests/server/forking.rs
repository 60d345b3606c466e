//! Which of a user's phones ring when, and what ends their ringing (RFC 3261 §16.6, §16.7, RFC 5393 §5).

use std::collections::BTreeMap;

use dialtone_roles::Settings;
use dialtone_roles::settings::{Domain, Foreign, NextHops, ProxySettings};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Message};

use crate::peers::{Request, Server, invite, register, settings};
use crate::proxying::response;

const ALICE: &str = "127.0.0.2:5070";

/// A server and the phones around it: phone `3` is at 127.0.0.3:5080, and `a` is alice, who calls.
pub(crate) struct Room {
    pub(crate) server: Server,
    /// The last INVITE that each phone got.
    invites: BTreeMap<u8, Message>,
    /// The last response that alice got.
    pub(crate) to_alice: Option<Message>,
}

impl Room {
    pub(crate) fn new(settings: Settings) -> Room {
        let server = Server::new(Settings { authenticate: false, ..settings });
        Room { server, invites: BTreeMap::new(), to_alice: None }
    }

    /// Registers a phone for a user; `params` stand behind its contact.
    pub(crate) fn phone(&mut self, phone: u8, user: &str, params: &str) -> &mut Room {
        let (uri, via, call_id) =
            (format!("sip:{user}@sip.test"), address(phone), format!("reg-{phone}-{user}"));
        let mut request = register(&uri, &via, &call_id);
        request.extra = format!("Contact: <sip:x@{via}>{params}\r\n");
        assert_eq!(self.server.status(&via, &request.text()), 200);
        self
    }

    /// Alice calls; what goes out, as in [`Room::told`].
    pub(crate) fn call(&mut self, user: &str, extra: &str) -> String {
        let to = format!("sip:{user}@sip.test");
        let mut request = invite(&to);
        request.extra.push_str(extra);
        let sent = self.server.receive(ALICE, &request.text());
        self.told(sent)
    }

    /// A phone answers its INVITE; what that causes.
    pub(crate) fn answer(&mut self, phone: u8, status: &str) -> String {
        self.answer_with(phone, status, "")
    }

    pub(crate) fn answer_with(&mut self, phone: u8, status: &str, extra: &str) -> String {
        let text = response(&self.invites[&phone], status, &format!("t{phone}"), extra);
        let sent = self.server.receive(&address(phone), &text);
        self.told(sent)
    }

    /// Phones ring: 180 goes to alice, and their INVITEs are not repeated.
    pub(crate) fn ring(&mut self, phones: &[u8]) {
        for phone in phones {
            assert_eq!(self.answer(*phone, "180 Ringing"), "a:180");
        }
    }

    /// Phones take note of their CANCEL: 200 to it, 487 to the INVITE.
    pub(crate) fn hush(&mut self, phones: &[u8]) -> String {
        let mut told = Vec::new();
        for phone in phones {
            let invite = self.invites[phone].clone();
            let ok = response(&invite, "200 OK", "c", "").replace("INVITE\r\n", "CANCEL\r\n");
            let sent = self.server.receive(&address(*phone), &ok);
            assert!(sent.is_empty(), "{sent:?}");
            told.push(self.answer(*phone, "487 Request Terminated"));
        }
        told.retain(|told| !told.is_empty());
        told.join(" ")
    }

    pub(crate) fn pass(&mut self, seconds: u64) -> String {
        let sent = self.server.pass(seconds);
        self.told(sent)
    }

    /// Who got what, without the ACKs and 100s: `a:180 3:INVITE 4:CANCEL`.
    fn told(&mut self, sent: Vec<(String, Message)>) -> String {
        let mut told = Vec::new();
        for (to, message) in sent {
            let name = if to == ALICE {
                "a".to_owned()
            } else {
                to.rsplit_once(':').unwrap().0.rsplit_once('.').unwrap().1.to_owned()
            };
            match (message.method().map(|method| method.as_str().to_owned()), message.status()) {
                (Some(method), _) if method == "ACK" => {}
                (Some(method), _) => {
                    told.push(format!("{name}:{method}"));
                    if method == "INVITE" {
                        self.invites.insert(name.parse().unwrap(), message);
                    }
                }
                (None, status) => {
                    let code = status.unwrap().code();
                    if code != 100 {
                        told.push(format!("{name}:{code}"));
                        self.to_alice = Some(message);
                    }
                }
            }
        }
        told.join(" ")
    }

    pub(crate) fn invite_of(&self, phone: u8) -> &Message {
        &self.invites[&phone]
    }

    /// Everything has ended, and nothing is kept of it.
    pub(crate) fn at_rest(&mut self) {
        self.server.pass(300);
        let tables = self.server.engine.tables();
        assert_eq!((tables.proxy_contexts, tables.client_transactions, tables.queries), (0, 0, 0));
        assert_eq!((tables.server_transactions, tables.kept_bytes), (0, 0));
        assert_eq!(self.server.next.filter(|(_, name)| *name != "binding"), None);
    }
}

fn address(phone: u8) -> String {
    format!("127.0.0.{phone}:5080")
}

fn room() -> Room {
    Room::new(settings())
}

fn text_of(message: &Message, name: HeaderName) -> String {
    String::from_utf8(message.value(name).unwrap_or_default().to_vec()).unwrap()
}

#[test]
fn phones_of_equal_q_ring_together_and_those_of_lower_q_after_them() {
    let mut room = room();
    room.phone(3, "bob", ";q=0.8").phone(4, "bob", ";q=0.8").phone(5, "bob", ";q=0.3").phone(6, "bob", "");
    assert_eq!(room.call("bob", ""), "6:INVITE", "no q is the highest");
    assert_eq!(room.answer(6, "486 Busy Here"), "4:INVITE 3:INVITE");
    assert_eq!(room.answer(3, "486 Busy Here"), "");
    assert_eq!(room.answer(4, "480 Temporarily Unavailable"), "5:INVITE");
    assert_eq!(room.answer(5, "404 Not Found"), "a:486", "the first of the best class");
    room.at_rest();
}

#[test]
fn phones_of_lower_q_get_their_turn_when_the_others_have_rung_long_enough() {
    let mut room = room();
    room.phone(3, "bob", ";q=0.8").phone(4, "bob", ";q=0.5");
    assert_eq!(room.call("bob", ""), "3:INVITE");
    room.ring(&[3]);
    assert_eq!(room.pass(14), "");
    assert_eq!(room.pass(1), "3:CANCEL 4:INVITE");
    assert_eq!(room.hush(&[3]), "");
    room.ring(&[4]);
    // The last stage rings until Timer C.
    assert_eq!(room.pass(100), "");
    assert_eq!(room.answer(4, "200 OK"), "a:200");
    room.at_rest();
}

#[test]
fn a_phone_that_answers_while_its_cancel_is_on_the_way_has_the_call() {
    let mut room = room();
    room.phone(3, "bob", ";q=0.8").phone(4, "bob", ";q=0.5");
    room.call("bob", "");
    room.ring(&[3]);
    assert_eq!(room.pass(15), "3:CANCEL 4:INVITE");
    room.ring(&[4]);
    assert_eq!(room.answer(3, "200 OK"), "a:200 4:CANCEL");
    assert_eq!(room.hush(&[4]), "");
    room.at_rest();
}

#[test]
fn the_first_answer_silences_the_other_phones_with_the_reason() {
    let mut room = room();
    room.phone(3, "bob", "").phone(4, "bob", "").phone(5, "bob", ";q=0.1");
    assert_eq!(room.call("bob", ""), "4:INVITE 3:INVITE");
    room.ring(&[3, 4]);
    let sent = {
        let text = response(room.invite_of(3), "200 OK", "t3", "");
        room.server.receive(&address(3), &text)
    };
    let cancel = sent.iter().find(|(to, _)| *to == address(4)).expect("a CANCEL");
    assert_eq!(text_of(&cancel.1, HeaderName::Reason), "SIP ;cause=200 ;text=\"Call completed elsewhere\"");
    assert_eq!(room.hush(&[4]), "");
    room.at_rest();
}

#[test]
fn two_phones_that_answer_at_once_are_both_told_to_the_caller() {
    let mut room = room();
    room.phone(3, "bob", "").phone(4, "bob", "");
    room.call("bob", "");
    room.ring(&[3, 4]);
    assert_eq!(room.answer(3, "200 OK"), "a:200 4:CANCEL");
    // RFC 3261 §16.7 step 5: each 2xx goes back; the caller ends the dialog that it does not want.
    assert_eq!(room.answer(4, "200 OK"), "a:200");
    room.at_rest();
}

#[test]
fn a_6xx_ends_the_stages_that_have_not_begun() {
    let mut room = room();
    room.phone(3, "bob", ";q=0.8").phone(4, "bob", ";q=0.5");
    assert_eq!(room.call("bob", ""), "3:INVITE");
    assert_eq!(room.answer(3, "603 Decline"), "a:603");
    room.at_rest();
}

#[test]
fn a_caller_who_gives_up_ends_all_stages_and_his_reason_reaches_the_phones() {
    let mut room = room();
    room.phone(3, "bob", ";q=0.8").phone(4, "bob", ";q=0.5");
    room.call("bob", "");
    room.ring(&[3]);
    let cancel = Request {
        method: "CANCEL",
        extra: "Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n".into(),
        ..invite("sip:bob@sip.test")
    };
    let text = cancel.text().replace("1CANCEL\r\n", "1INVITE\r\n");
    let sent = room.server.receive(ALICE, &text);
    let (to, cancel) = sent.iter().find(|(_, message)| message.is_request()).expect("a CANCEL");
    assert_eq!(*to, address(3));
    assert_eq!(text_of(cancel, HeaderName::Reason), "SIP;cause=200;text=\"Call completed elsewhere\"");
    assert_eq!(room.hush(&[3]), "a:487");
    room.at_rest();
}

#[test]
fn other_requests_than_invite_go_to_all_phones_at_once() {
    let mut room = room();
    room.phone(3, "bob", ";q=0.8").phone(4, "bob", ";q=0.5");
    let info = Request { method: "INFO", ..invite("sip:bob@sip.test") };
    let sent = room.server.receive(ALICE, &info.text());
    assert_eq!(room.told(sent), "3:INFO 4:INFO");
}

#[test]
fn a_request_that_is_no_invite_and_that_nobody_answers_gets_no_408() {
    let mut room = room();
    room.phone(3, "bob", "");
    let info = Request { method: "INFO", ..invite("sip:bob@sip.test") };
    room.server.receive(ALICE, &info.text());
    let sent = room.server.pass(60);
    // RFC 4320 §4.2. The 100 of its §4.1 may go back.
    let to_alice: Vec<u16> =
        sent.iter().filter_map(|(_, message)| message.status()).map(|status| status.code()).collect();
    assert!(to_alice.iter().all(|code| *code == 100), "{to_alice:?}");
    room.at_rest();
}

#[test]
fn a_provisional_response_to_another_request_than_invite_goes_no_further() {
    let mut room = room();
    room.phone(3, "bob", "");
    let info = Request { method: "INFO", ..invite("sip:bob@sip.test") };
    let sent = room.server.receive(ALICE, &info.text());
    let text = response(&sent[0].1, "183 Session Progress", "t", "");
    assert!(room.server.receive(&address(3), &text).is_empty(), "RFC 4320 §4.1");
    let text = response(&sent[0].1, "200 OK", "t", "");
    let sent = room.server.receive(&address(3), &text);
    assert_eq!(room.told(sent), "a:200");
}

#[test]
fn a_503_of_one_server_is_a_500_for_the_caller() {
    let mut room = room();
    room.phone(3, "bob", "").phone(4, "bob", "");
    room.call("bob", "");
    assert_eq!(room.answer(3, "503 Service Unavailable"), "");
    assert_eq!(room.answer(4, "503 Service Unavailable"), "a:500", "RFC 3261 §16.7 step 6");
}

#[test]
fn max_breadth_is_divided_between_branches() {
    let mut room = room();
    room.phone(3, "bob", "").phone(4, "bob", "");
    let breadth = |room: &Room, phone| text_of(room.invite_of(phone), HeaderName::MaxBreadth);
    // RFC 5393 §5.3.3: 60 is added where there is none, and more than that is cut to it.
    for (asked, each) in [("", "30"), ("Max-Breadth: 500\r\n", "30"), ("Max-Breadth: 9\r\n", "4")] {
        assert_eq!(room.call("bob", asked), "4:INVITE 3:INVITE");
        assert_eq!((breadth(&room, 3).as_str(), breadth(&room, 4).as_str()), (each, each), "{asked}");
        room.answer(3, "404 Not Found");
        room.answer(4, "404 Not Found");
        room.at_rest();
    }
}

#[test]
fn one_branch_gets_all_of_max_breadth() {
    let mut room = room();
    room.phone(3, "bob", "");
    room.call("bob", "Max-Breadth: 7\r\n");
    assert_eq!(text_of(room.invite_of(3), HeaderName::MaxBreadth), "7");
    assert_eq!(room.invite_of(3).values(HeaderName::MaxBreadth).count(), 1);
}

#[test]
fn where_max_breadth_does_not_suffice_phones_ring_one_after_the_other() {
    let mut room = room();
    room.phone(3, "bob", "").phone(4, "bob", "").phone(5, "bob", "");
    assert_eq!(room.call("bob", "Max-Breadth: 1\r\n"), "5:INVITE");
    assert_eq!(room.answer(5, "486 Busy Here"), "4:INVITE");
    room.ring(&[4]);
    // It is cancelled, but its part is not free before its final response (RFC 5393 §5.3.3.1).
    assert_eq!(room.pass(15), "4:CANCEL");
    assert_eq!(room.hush(&[4]), "3:INVITE");
    assert_eq!(room.answer(3, "486 Busy Here"), "a:486");
    room.at_rest();
}

#[test]
fn a_max_breadth_of_zero_is_440() {
    let mut room = room();
    room.phone(3, "bob", "");
    assert_eq!(room.call("bob", "Max-Breadth: 0\r\n"), "a:440");
    room.at_rest();
}

#[test]
fn a_302_to_another_user_is_followed_in_the_order_of_q() {
    let mut room = room();
    room.phone(3, "bob", "").phone(4, "carol", "").phone(5, "dave", "").phone(6, "bob", "");
    assert_eq!(room.call("bob", ""), "6:INVITE 3:INVITE");
    let contacts = "Contact: <sip:carol@sip.test>;q=0.2, <sip:dave@sip.test>;q=0.7\r\n";
    assert_eq!(room.answer_with(3, "302 Moved Temporarily", contacts), "5:INVITE");
    assert_eq!(room.answer(5, "486 Busy Here"), "", "bob's other phone still rings");
    assert_eq!(room.answer(6, "480 Temporarily Unavailable"), "4:INVITE");
    assert_eq!(room.answer(4, "200 OK"), "a:200");
    room.at_rest();
}

#[test]
fn a_302_that_leads_in_a_circle_ends() {
    let mut room = room();
    room.phone(3, "bob", "").phone(4, "carol", "");
    room.call("bob", "");
    assert_eq!(room.answer_with(3, "302 Moved Temporarily", "Contact: <sip:carol@sip.test>\r\n"), "4:INVITE");
    let back = "Contact: <sip:bob@sip.test>\r\n";
    assert_eq!(room.answer_with(4, "302 Moved Temporarily", back), "a:302", "bob was tried already");
    room.at_rest();
}

#[test]
fn a_302_to_a_foreign_domain_is_the_callers_to_follow_unless_the_policy_allows_it() {
    let contact = "Contact: <sip:bob@127.0.0.9:5080>\r\n";
    for (foreign, expected) in
        [(Foreign::Refuse, "a:302"), (Foreign::Authenticated, "9:INVITE"), (Foreign::Open, "9:INVITE")]
    {
        let mut room = Room::new(Settings { foreign, ..settings() });
        room.phone(3, "bob", "");
        room.call("bob", "");
        assert_eq!(room.answer_with(3, "302 Moved Temporarily", contact), expected, "{foreign:?}");
    }
}

#[test]
fn a_302_to_a_domain_that_another_server_has_is_followed_to_it() {
    let domain = |(name, hop): (&str, &str)| Domain {
        name: name.into(),
        next_hops: NextHops(vec![UriBuf::parse(hop).unwrap()]),
        ..Domain::default()
    };
    let domains = [("sip.test", "sip:127.0.0.7:5080"), ("new.test", "sip:127.0.0.8:5080")].map(domain);
    let mut room = Room::new(Settings { domains: domains.into(), ..settings() });
    assert_eq!(room.call("bob", ""), "7:INVITE");
    let contact = "Contact: <sip:bob@new.test>\r\n";
    assert_eq!(room.answer_with(7, "302 Moved Temporarily", contact), "8:INVITE");
    assert_eq!(room.invite_of(8).uri_text(), "sip:bob@new.test");
    assert_eq!(room.answer(8, "200 OK"), "a:200");
    room.at_rest();
}

#[test]
fn what_is_followed_of_a_302_is_not_told_to_the_caller() {
    let mut room = room();
    room.phone(3, "bob", "").phone(4, "carol", "");
    room.call("bob", "");
    let contacts = "Contact: <sip:carol@sip.test>, <sip:bob@elsewhere.test>\r\n";
    assert_eq!(room.answer_with(3, "302 Moved Temporarily", contacts), "4:INVITE");
    assert_eq!(room.answer(4, "486 Busy Here"), "a:302");
    let back = room.to_alice.clone().unwrap();
    // RFC 3261 §16.7 step 4.
    assert_eq!(text_of(&back, HeaderName::Contact), "<sip:bob@elsewhere.test>");
    assert_eq!(back.values(HeaderName::Contact).count(), 1);
    room.at_rest();
}

#[test]
fn a_302_goes_back_where_the_settings_say_so() {
    let proxy = ProxySettings { recurse: false, ..ProxySettings::default() };
    let mut room = Room::new(Settings { proxy, ..settings() });
    room.phone(3, "bob", "").phone(4, "carol", "");
    room.call("bob", "");
    assert_eq!(room.answer_with(3, "302 Moved Temporarily", "Contact: <sip:carol@sip.test>\r\n"), "a:302");
    room.at_rest();
}

#[test]
fn a_caller_who_asks_for_video_gets_the_phones_that_have_it_first_or_only() {
    for (extra, first, second) in [
        ("", "5:INVITE 4:INVITE 3:INVITE", ""),
        ("Accept-Contact: *;video\r\n", "4:INVITE 3:INVITE", "5:INVITE"),
        ("Accept-Contact: *;video;require;explicit\r\n", "4:INVITE 3:INVITE", "a:486"),
        ("Reject-Contact: *;video\r\n", "5:INVITE 3:INVITE", "a:486"),
    ] {
        let mut room = room();
        // Phone 3 says nothing of itself: it is immune (RFC 3841 §7.2.3).
        room.phone(3, "bob", "").phone(4, "bob", ";audio;video").phone(5, "bob", ";audio;methods=\"INVITE\"");
        let called = room.call("bob", extra);
        let mut sorted: Vec<&str> = called.split(' ').collect();
        sorted.sort_unstable_by(|one, two| two.cmp(one));
        assert_eq!(sorted.join(" "), first, "{extra}");
        if second.is_empty() {
            continue;
        }
        let ringing: Vec<u8> = sorted.iter().map(|told| told[..1].parse().unwrap()).collect();
        let mut after = String::new();
        for phone in ringing {
            after = room.answer(phone, "486 Busy Here");
        }
        assert_eq!(after, second, "{extra}");
    }
}

#[test]
fn a_caller_whom_no_phone_suits_is_told_480() {
    let mut room = room();
    room.phone(3, "bob", ";audio;automata");
    assert_eq!(room.call("bob", "Reject-Contact: *;automata\r\n"), "a:480");
    room.at_rest();
}

#[test]
fn a_caller_may_ask_for_one_phone_for_all_at_once_or_for_one_after_the_other() {
    for (wish, first, after) in [
        ("no-fork", "4:INVITE", "a:486"),
        ("sequential", "4:INVITE", "3:INVITE"),
        ("parallel", "4:INVITE 3:INVITE 5:INVITE", ""),
    ] {
        let mut room = room();
        room.phone(3, "bob", "").phone(4, "bob", "").phone(5, "bob", ";q=0.1");
        assert_eq!(room.call("bob", &format!("Request-Disposition: {wish}\r\n")), first);
        assert_eq!(room.answer(4, "486 Busy Here"), after);
    }
}

#[test]
fn a_caller_may_ask_that_nothing_is_cancelled_when_one_phone_has_answered() {
    let mut room = room();
    room.phone(3, "bob", "").phone(4, "bob", "");
    room.call("bob", "Request-Disposition: no-cancel\r\n");
    room.ring(&[3, 4]);
    assert_eq!(room.answer(3, "200 OK"), "a:200");
    assert_eq!(room.answer(4, "200 OK"), "a:200");
    room.at_rest();
}

#[test]
fn a_302_goes_where_the_dial_plan_lets_the_user_call_whose_phone_says_so() {
    use dialtone_roles::settings::dial_plan::{Action, CallerPattern, DialPlan, DomainPattern, Rule};
    let only = |user: &str| Rule {
        name: "partner".into(),
        numbers: Vec::new(),
        domains: vec![DomainPattern::Any],
        callers: vec![CallerPattern::User { user: user.into(), domain: None }],
        times: None,
        strip: 0,
        prepend: Default::default(),
        action: Action::AsDialled,
        mode: None,
    };
    for (may, expected) in [("bob", "9:INVITE"), ("carol", "a:302")] {
        let dial_plan = DialPlan { rules: vec![only(may)], ..DialPlan::default() };
        let mut room = Room::new(Settings { dial_plan, ..settings() });
        room.phone(3, "bob", "");
        room.call("bob", "");
        let contact = "Contact: <sip:bob@127.0.0.9:5080>\r\n";
        assert_eq!(room.answer_with(3, "302 Moved Temporarily", contact), expected, "{may}");
    }
}
