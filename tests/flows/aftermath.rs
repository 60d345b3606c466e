//! What the races of RFC 5407 leave to be asked: answers and ACKs that come when the call is over, and Contacts that are
//! names.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use dialtone_sim::roles::io::{Command, EndReason, Event, Play};
use dialtone_sim::{Agent, AgentContext, Habits, HostId, LeaseEvent, Packet, World, phone_settings, scene};
use dialtone_wire::uri::UriBuf;
use dialtone_wire::{HeaderName, Limits, Message, Method, Status, Writer};

use crate::fields::tag;
use crate::races::Race;
use crate::raw::PASSWORD;
use crate::reference::kind;
use crate::{ALICE, BOB};

/// 64·T1.
const TIMEOUT: Duration = Duration::from_secs(32);

fn kind_of(packet: &Packet) -> String {
    kind(&Message::parse(packet.bytes.clone(), &Limits::default()).expect("a message of ours"))
}

/// How many messages of this kind came from an address.
fn count(world: &World, from: SocketAddr, what: &str) -> usize {
    world.packets().iter().filter(|packet| packet.from == from && kind_of(packet) == what).count()
}

fn swallows_acks(bytes: &[u8]) -> bool {
    bytes.starts_with(b"ACK ")
}

/// RFC 5407 §3.2.4: "A session is not started when the ACK is received … The answer in the ACK request is just ignored."
#[test]
fn an_ack_after_the_bye_starts_nothing() {
    let mut race = Race::without_ports();
    race.world.network.swallows = Some(swallows_acks);
    race.call();
    race.after(1_000);
    race.answer();
    let gave_up = race.world.run_until(2 * TIMEOUT, |world| count(world, BOB, "BYE") == 1);
    assert!(gave_up, "Bob waits for his ACK no longer than 64·T1");
    // The ACK that was held back comes while the BYE is on its way.
    race.world.network.swallows = None;
    let acks = race.world.packets().iter().filter(|packet| kind_of(packet) == "ACK");
    let ack = acks.last().expect("Alice has sent ACKs").bytes.clone();
    race.world.send(ALICE, BOB, ack);
    let bob = race.bob;
    let (world, _) = race.rest();
    assert_eq!(ended(&world, bob), Some(EndReason::NoAck));
    let history = world.into_history();
    let began =
        history.leases.iter().any(|fact| fact.host == bob && matches!(fact.event, LeaseEvent::Applied(_)));
    assert!(!began, "no session begins at Bob's");
    assert_eq!(scene::findings(&history), [""; 0]);
}

/// RFC 5407 appendix D: "the UA needs to keep the INVITE dialog usage until the Mortal state finishes".
#[test]
fn a_2xx_to_a_re_invite_is_repeated_after_a_bye_of_either_side() {
    for alice_hangs_up in [true, false] {
        let mut race = Race::established();
        let before = count(&race.world, BOB, "200 INVITE");
        race.hold(race.alice);
        race.lose_next();
        race.after(100);
        race.hang_up(if alice_hangs_up { race.alice } else { race.bob });
        race.after(200);
        let over = [race.alice, race.bob].map(|host| race.world.calls(host).len());
        assert_eq!(over, [0, 0], "both calls are over, and the 200 has not come yet");
        race.after(300);
        assert_eq!(count(&race.world, BOB, "200 INVITE") - before, 2, "it comes after T1");
        let (world, _) = race.rest();
        assert_eq!(count(&world, BOB, "200 INVITE") - before, 2, "and its ACK ends it");
        assert_eq!(count(&world, ALICE, "ACK"), 2);
        assert_eq!(scene::findings(&world.into_history()), [""; 0]);
    }
}

#[test]
fn a_2xx_that_outlives_its_call_is_given_up_after_64_t1() {
    let mut race = Race::established();
    let before = count(&race.world, BOB, "200 INVITE");
    race.world.network.swallows = Some(swallows_acks);
    race.hold(race.alice);
    race.after(100);
    race.hang_up(race.alice);
    let began = race.world.now();
    let (world, _) = race.rest();
    // At once, and after 0.5, 1.5, 3.5, 7.5, 11.5 … 31.5 seconds.
    assert_eq!(count(&world, BOB, "200 INVITE") - before, 11);
    let last = world.packets().iter().rfind(|packet| kind_of(packet) == "200 INVITE").expect("one");
    assert!(last.sent.since(began) < TIMEOUT);
    assert_eq!(scene::findings(&world.into_history()), [""; 0]);
}

/// RFC 3261 §9.2: "The To tag of the response to the CANCEL and the To tag in the response to the original request SHOULD
/// be the same."
#[test]
fn a_cancel_is_answered_with_the_tag_of_its_invite() {
    let mut while_it_rings = Race::new();
    while_it_rings.call();
    while_it_rings.after(1_000);
    while_it_rings.hang_up(while_it_rings.alice);
    let mut after_the_refusal = Race::new();
    after_the_refusal.call();
    after_the_refusal.after(1_000);
    after_the_refusal.hang_up(after_the_refusal.alice);
    let call = after_the_refusal.call_of(after_the_refusal.bob);
    let decline = Command::Decline { call, status: Status::of(486) };
    after_the_refusal.world.command(after_the_refusal.bob, decline);
    for (race, status) in [(while_it_rings, "487 INVITE"), (after_the_refusal, "486 INVITE")] {
        let (world, _) = race.rest();
        assert_eq!([count(&world, BOB, "200 CANCEL"), count(&world, BOB, status)], [1, 1]);
        let of_bob = world.packets().iter().filter(|packet| packet.from == BOB);
        let tags: BTreeSet<_> = of_bob.filter_map(|packet| to_tag(&packet.bytes)).collect();
        assert_eq!(tags.len(), 1, "{status} and 200: {tags:?}");
    }
}

fn to_tag(bytes: &Bytes) -> Option<String> {
    tag(Message::parse(bytes.clone(), &Limits::default()).ok()?.to().ok())
}

/// RFC 3261 §12: a dialog is known by Call-ID and tags; names and even URIs in From and To may change (RFC 4916).
#[test]
fn display_names_may_change_within_a_dialog() {
    let mut race = Race::by_hand();
    race.send_as_alice("INVITE", 1);
    race.after(1_000);
    race.answer();
    race.after(20);
    for (method, cseq, name) in [("ACK", 1, "\"A. Lice\""), ("OPTIONS", 2, "\"Zoë 漢字\""), ("BYE", 3, "")]
    {
        let request = race.request_of_alice(method, cseq);
        let renamed = request.replace("From: Alice ", &format!("From: {name} ")).replace("To: Bob ", "To: ");
        assert_ne!(renamed, request);
        race.world.send(ALICE, BOB, renamed.into_bytes());
        race.after(100);
    }
    let bob = race.bob;
    let (world, _) = race.rest();
    let answers = ["200 OPTIONS", "200 BYE", "200 INVITE"].map(|what| count(&world, BOB, what));
    assert_eq!(answers, [1, 1, 1], "the ACK was known, and so were the others");
    assert_eq!(ended(&world, bob), Some(EndReason::RemoteHangup));
}

/// RFC 3261 §18.1.2: a response without its client transaction changes nothing, whatever it says of a dialog.
#[test]
fn a_stray_200_changes_no_dialog() {
    let mut race = Race::established();
    let answer = race.world.packets().iter().find(|packet| kind_of(packet) == "200 INVITE").expect("one");
    let answer = String::from_utf8(answer.bytes.to_vec()).expect("text");
    let strays = [
        answer.replace("branch=z9hG4bK", "branch=z9hG4bKstray"),
        answer.replace("branch=z9hG4bK", "branch=z9hG4bKstray").replace("CSeq: 1 INVITE", "CSeq: 2 BYE"),
        answer.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"),
    ];
    let (packets, notes) = (race.world.packets().len(), race.world.notes().len());
    for stray in strays {
        assert_ne!(stray, answer);
        race.world.send(BOB, ALICE, stray.into_bytes());
    }
    race.after(1_000);
    assert_eq!(race.world.packets().len(), packets + 3, "nothing is sent because of them");
    assert_eq!(race.world.notes().len(), notes, "nothing is told because of them");
    race.hang_up(race.alice);
    let (world, _) = race.rest();
    assert_eq!(scene::findings(&world.into_history()), [""; 0]);
}

/// RFC 3261 §8.1.2: a Contact may be a name as well as an address.
#[test]
fn ack_re_invite_and_bye_go_to_a_contact_that_is_a_name() {
    let (mut world, alice) = alice_and_named_bob(true);
    world.run_for(Duration::from_secs(1));
    assert!(world.events(alice).any(|event| matches!(event, Event::Answered { .. })));
    let call = world.calls(alice)[0];
    world.command(alice, Command::Reoffer { call, hold: true });
    world.run_for(Duration::from_secs(1));
    assert!(world.events(alice).any(|event| matches!(event, Event::SessionChanged { .. })));
    world.command(alice, Command::Hangup { call });
    assert!(world.run_to_rest(Duration::from_secs(600)));
    assert_eq!(sent_by_alice(&world), ["INVITE", "ACK", "INVITE", "ACK", "ACK", "BYE"]);
    assert_eq!(ended(&world, alice), Some(EndReason::LocalHangup));
    assert_eq!(scene::findings(&world.into_history()), [""; 0]);
}

#[test]
fn a_contact_whose_name_is_unknown_ends_the_call() {
    let (mut world, alice) = alice_and_named_bob(false);
    assert!(world.run_to_rest(Duration::from_secs(600)));
    assert_eq!(ended(&world, alice), Some(EndReason::TransportFailed));
    assert_eq!(sent_by_alice(&world), ["INVITE"]);
    assert!(world.tables(alice).iter().all(|(_, count)| count == 0));
}

fn sent_by_alice(world: &World) -> Vec<String> {
    world.packets().iter().filter(|packet| packet.from == ALICE).map(kind_of).collect()
}

fn ended(world: &World, host: HostId) -> Option<EndReason> {
    world.events(host).find_map(|event| match event {
        Event::Ended { reason, .. } => Some(*reason),
        _ => None,
    })
}

/// Alice calls Bob, whose Contact is a name.
fn alice_and_named_bob(known: bool) -> (World, HostId) {
    let mut world = World::new(3261);
    world.store.add_name("biloxi.example.com", BOB.ip());
    if known {
        world.store.add_name("client.biloxi.example.com", BOB.ip());
    }
    world.add_agent("Bob", BOB, Box::new(NamedBob::default()));
    let settings = phone_settings("sip:alice@atlanta.example.com", PASSWORD, ALICE, None);
    let alice = world.add_host("alice", settings, Some(Habits::NONE));
    world.run_for(Duration::from_secs(1));
    let to = UriBuf::parse("sip:bob@biloxi.example.com").expect("an address");
    world.command(alice, Command::Call { token: 1, to, play: Play::Silence });
    (world, alice)
}

/// Accepts everything, and says the 200 to a re-INVITE twice.
#[derive(Debug, Default)]
struct NamedBob {
    version: u32,
    again: Option<(SocketAddr, Bytes)>,
}

impl Agent for NamedBob {
    fn packet(&mut self, cx: &mut AgentContext<'_>, from: SocketAddr, bytes: &Bytes) {
        let Ok(request) = Message::parse(bytes.clone(), &Limits::default()) else { return };
        let is_invite = request.method() == Some(&Method::Invite);
        if !is_invite && request.method() != Some(&Method::Bye) {
            return;
        }
        let mut writer = Writer::response_to(&request, Status::of(200), from, Some("named"));
        writer.header(HeaderName::Contact, "<sip:bob@client.biloxi.example.com>");
        if !is_invite {
            return cx.send(from, writer.finish());
        }
        self.version += 1;
        let direction = if self.version == 1 { "sendrecv" } else { "recvonly" };
        let body = format!(
            "v=0\r\no=bob 1 {} IN IP4 192.0.2.201\r\ns=-\r\nc=IN IP4 192.0.2.201\r\nt=0 0\r\n\
             m=audio 3456 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na={direction}\r\n",
            self.version
        );
        let answer = writer.finish_with("application/sdp", body.as_bytes());
        cx.send(from, answer.clone());
        if self.version > 1 {
            self.again = Some((from, answer));
            cx.wake_after(Duration::from_millis(500));
        }
    }

    fn wake(&mut self, cx: &mut AgentContext<'_>) {
        if let Some((to, answer)) = self.again.take() {
            cx.send(to, answer);
        }
    }
}
