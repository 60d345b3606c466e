//! Ring groups: every phone of every member.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dialtone_roles::io::Input;
use dialtone_roles::settings::{Destination, Domain, Group, Member, NextHops, Strategy};
use dialtone_roles::{Engine, Settings, shard_of_aor};
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::uri::UriBuf;

use crate::forking::Room;
use crate::guessing::shards_take;
use crate::peers::{Request, invite, register, settings};

fn user(name: &str) -> Destination {
    Destination::User(format!("sip:{name}@sip.test").into())
}

fn member(destination: Destination, delay: u64, ring: Option<u64>) -> Member {
    Member { destination, delay: Duration::from_secs(delay), ring: ring.map(Duration::from_secs) }
}

fn group(name: &str, strategy: Strategy, members: Vec<Member>) -> Group {
    Group {
        name: name.into(),
        domain: "sip.test".into(),
        numbers: vec![name.into()],
        members,
        strategy,
        otherwise: None,
    }
}

fn room(groups: Vec<Group>) -> Room {
    Room::new(Settings { groups, ..settings() })
}

fn all(names: &[&str]) -> Vec<Member> {
    names.iter().map(|name| member(user(name), 0, None)).collect()
}

#[test]
fn every_phone_of_every_member_rings_and_an_unregistered_member_stops_nothing() {
    let mut room = room(vec![group("sales", Strategy::All, all(&["bob", "nobody", "carol"]))]);
    room.phone(3, "bob", "").phone(4, "bob", "").phone(5, "carol", "");
    assert_eq!(room.call("sales", ""), "4:INVITE 3:INVITE 5:INVITE");
    room.ring(&[3, 4, 5]);
    assert_eq!(room.answer(3, "486 Busy Here"), "");
    assert_eq!(room.answer(5, "200 OK"), "a:200 4:CANCEL");
    assert_eq!(room.hush(&[4]), "");
    room.at_rest();
}

#[test]
fn members_in_a_domain_that_another_server_has_ring_there() {
    let far = |name: &str, hop| Domain {
        name: name.into(),
        next_hops: NextHops(vec![UriBuf::parse(hop).unwrap()]),
        ..Domain::default()
    };
    let members = vec![
        member(user("dave"), 0, None),
        member(Destination::User("sip:bob@far.test".into()), 0, None),
        // Its name leads here, and not to that server.
        member(Destination::Uri(UriBuf::parse("sip:carol@other.test;x=1").unwrap()), 0, None),
    ];
    let mut settings = Settings { groups: vec![group("sales", Strategy::All, members)], ..settings() };
    settings.domains.push(far("far.test", "sip:127.0.0.8:5080"));
    settings.domains.push(far("other.test", "sip:127.0.0.9:5080"));
    let mut room = Room::new(settings);
    room.phone(3, "dave", "");
    assert_eq!(room.call("sales", ""), "3:INVITE 8:INVITE 9:INVITE");
    assert_eq!(room.invite_of(8).uri_text(), "sip:bob@far.test");
    assert_eq!(room.invite_of(9).uri_text(), "sip:carol@other.test;x=1");
    room.ring(&[3, 8, 9]);
    assert_eq!(room.answer(8, "200 OK"), "a:200 3:CANCEL 9:CANCEL");
    assert_eq!(room.hush(&[3, 9]), "");
    room.at_rest();
}

#[test]
fn a_group_without_any_phone_is_480() {
    let mut room = room(vec![group("sales", Strategy::All, all(&["bob", "carol"]))]);
    assert_eq!(room.call("sales", ""), "a:480");
    room.at_rest();
}

#[test]
fn members_in_turn_ring_for_their_time_each() {
    let members = vec![
        member(user("bob"), 0, Some(10)),
        member(user("nobody"), 0, Some(10)),
        member(user("carol"), 0, Some(20)),
    ];
    let mut room = room(vec![group("sales", Strategy::InTurn, members)]);
    room.phone(3, "bob", "").phone(4, "carol", "");
    assert_eq!(room.call("sales", ""), "3:INVITE");
    room.ring(&[3]);
    assert_eq!(room.pass(9), "");
    assert_eq!(room.pass(1), "3:CANCEL 4:INVITE");
    assert_eq!(room.hush(&[3]), "");
    room.ring(&[4]);
    assert_eq!(room.pass(20), "4:CANCEL");
    assert_eq!(room.hush(&[4]), "a:480");
    room.at_rest();
}

#[test]
fn a_member_with_a_delay_rings_later_and_not_at_all_once_somebody_has_answered() {
    for answered in [false, true] {
        let members = vec![member(user("bob"), 0, None), member(user("carol"), 5, None)];
        let mut room = room(vec![group("sales", Strategy::All, members)]);
        room.phone(3, "bob", "").phone(4, "carol", "");
        assert_eq!(room.call("sales", ""), "3:INVITE");
        room.ring(&[3]);
        assert_eq!(room.pass(4), "");
        if answered {
            assert_eq!(room.answer(3, "200 OK"), "a:200");
            assert_eq!(room.pass(4), "");
        } else {
            assert_eq!(room.pass(1), "4:INVITE");
            assert_eq!(room.answer(4, "200 OK"), "a:200 3:CANCEL");
            assert_eq!(room.hush(&[3]), "");
        }
        room.at_rest();
    }
}

#[test]
fn a_phone_that_ignores_its_cancel_does_not_keep_the_caller_waiting() {
    for rings in [true, false] {
        let members = vec![member(user("bob"), 0, Some(10)), member(user("carol"), 0, Some(10))];
        let mut room = room(vec![group("sales", Strategy::InTurn, members)]);
        room.phone(3, "bob", "").phone(4, "carol", "");
        room.call("sales", "");
        if rings {
            room.ring(&[3]);
        }
        room.pass(10);
        let sent = room.answer(4, "486 Busy Here");
        assert_eq!(sent, "", "bob's 200 may be on its way");
        let sent = room.pass(2);
        assert!(sent.ends_with("a:486"), "{sent}");
        room.at_rest();
    }
}

#[test]
fn a_caller_knows_at_once_that_a_group_is_at_work_though_nobody_rings_yet() {
    let members = vec![member(user("bob"), 5, None)];
    let mut room = room(vec![group("sales", Strategy::All, members)]);
    room.phone(3, "bob", "");
    let sent = room.server.receive("127.0.0.2:5070", &crate::peers::invite("sip:sales@sip.test").text());
    let codes: Vec<u16> = sent.iter().filter_map(|(_, message)| Some(message.status()?.code())).collect();
    assert_eq!(codes, [100]);
    assert_eq!(room.pass(5), "3:INVITE");
}

#[test]
fn groups_in_groups_ring_and_a_group_in_itself_does_no_harm() {
    let sales = member(Destination::Group("sales".into()), 0, None);
    let night = member(Destination::Group("night".into()), 0, Some(10));
    let mut members = all(&["bob"]);
    members.push(night);
    let groups = vec![
        group("sales", Strategy::All, members),
        group(
            "night",
            Strategy::InTurn,
            vec![sales, member(user("bob"), 0, None), member(user("carol"), 0, None)],
        ),
    ];
    let mut room = room(groups);
    room.phone(3, "bob", "").phone(4, "carol", "");
    assert_eq!(room.call("sales", ""), "3:INVITE 4:INVITE", "bob rings once");
    room.ring(&[3, 4]);
    assert_eq!(room.pass(10), "4:CANCEL", "the time of the inner group");
    assert_eq!(room.hush(&[4]), "");
    assert_eq!(room.answer(3, "486 Busy Here"), "a:486");
    room.at_rest();
}

#[test]
fn a_call_that_nobody_takes_goes_where_the_group_says() {
    let otherwise = Some(user("dave"));
    let mut room = room(vec![Group { otherwise, ..group("sales", Strategy::All, all(&["bob"])) }]);
    room.phone(3, "bob", "").phone(5, "dave", "");
    assert_eq!(room.call("sales", ""), "3:INVITE");
    assert_eq!(room.answer(3, "486 Busy Here"), "5:INVITE");
    assert_eq!(room.answer(5, "200 OK"), "a:200");
    room.at_rest();
}

#[test]
fn the_members_that_are_tried_have_a_limit() {
    let names: Vec<String> = (0..100).map(|number| format!("user{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut settings = settings();
    settings.groups = vec![group("sales", Strategy::All, all(&names))];
    settings.limits.legs = 3;
    let mut room = Room::new(settings);
    room.phone(3, "user0", "").phone(4, "user1", "").phone(5, "user2", "");
    assert_eq!(room.call("sales", ""), "3:INVITE 4:INVITE", "the group is one of the three");
}

#[test]
fn members_ring_whichever_shard_has_their_phones() {
    let now = Instant::from_millis(1000);
    let names = ["bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "nobody"];
    let groups = vec![group("sales", Strategy::All, all(&names))];
    let settings = Arc::new(Settings { shards: 3, authenticate: false, groups, ..settings() });
    let mut shards: Vec<Engine> =
        (0..3_u8).map(|number| Engine::new(number.into(), [number + 1; 32], settings.clone())).collect();
    let packet = |request: &Request<'_>, from: &str| {
        let flow = Flow::udp("127.0.0.1:5060".parse().unwrap(), from.parse().unwrap());
        Input::Packet { flow, bytes: request.text().into() }
    };
    let mut owners = BTreeSet::new();
    for name in &names[..8] {
        let aor = format!("sip:{name}@sip.test");
        let owner = usize::from(shard_of_aor(&settings, &aor));
        owners.insert(owner);
        let request = register(&aor, "127.0.0.3:5080", name);
        let answer = shards_take(&mut shards, now, owner, packet(&request, "127.0.0.3:5080")).remove(0);
        assert_eq!(answer.status().map(|status| status.code()), Some(200));
    }
    assert!(owners.len() > 1, "the users are spread: {owners:?}");
    for shard in 0..3 {
        let call_id = format!("call-{shard}");
        let request = Request { call_id: &call_id, ..invite("sip:sales@sip.test") };
        let sent = shards_take(&mut shards, now, shard, packet(&request, "127.0.0.2:5070"));
        let rings = sent.iter().filter(|message| message.is_request()).count();
        assert_eq!(rings, 8, "{shard}");
    }
}
