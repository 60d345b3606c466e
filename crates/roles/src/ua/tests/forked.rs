//! Several early dialogs of one call: what the caller hears until one of them answers (RFC 3960 §3.2, RFC 6337 §2.2).

use super::bench::{Bench, sdp};
use crate::io::Event;

/// A provisional response: its status, the branch, and the description, by the direction of its sound.
type Response = (u16, &'static str, Option<&'static str>);

/// What is heard after each response: ringback that we make, the far end at this address, or nothing.
fn heard(responses: &[Response], reliable: bool) -> Vec<String> {
    let mut bench = Bench::phone();
    let (_, invite) = bench.call_bob();
    let mut rings = false;
    let mut out = Vec::new();
    for (status, tag, direction) in responses {
        let port = if *tag == "a" { 4000 } else { 4002 };
        let body = direction.map(|direction| sdp(port, direction)).unwrap_or_default();
        let rseq = if reliable { "\nRequire: 100rel\nRSeq: 1" } else { "" };
        bench.respond(&invite, *status, tag, &format!("Contact: <sip:{tag}@192.0.2.9>{rseq}"), &body);
        bench.take_all();
        for event in bench.events.drain(..) {
            if let Event::Progress { status, has_media, .. } = event {
                rings = !has_media && (rings || status.code() == 180);
            }
        }
        let media = bench.media_of_call().last().cloned().unwrap_or_default();
        let is_heard = media.ends_with("sendrecv") || media.ends_with("recvonly");
        assert!(!(rings && is_heard), "never both: {responses:?}");
        out.push(match rings {
            true => "ringback".to_owned(),
            false if is_heard => media.split(' ').next().unwrap_or_default().to_owned(),
            false => "nothing".to_owned(),
        });
    }
    // The branch that answers is the call, whichever was heard.
    bench.respond(&invite, 200, "b", "Contact: <sip:b@192.0.2.9>", &sdp(4002, "sendrecv"));
    assert_eq!(bench.take_all(), "ACK");
    assert_eq!(bench.media_of_call().last().map(String::as_str), Some("192.0.2.9:4002 sendrecv"));
    out
}

#[test]
fn one_branch_is_heard_or_we_ring_ourselves_and_never_both() {
    const A: &str = "192.0.2.9:4000";
    let sound = Some("sendrecv");
    for reliable in [false, true] {
        for (responses, expected) in [
            (&[(180, "a", None), (180, "b", None)][..], &["ringback", "ringback"][..]),
            (&[(183, "a", sound), (180, "b", None)], &[A, A]),
            (&[(180, "a", None), (183, "b", sound)], &["ringback", "192.0.2.9:4002"]),
            (&[(183, "a", sound), (183, "b", sound)], &[A, A]),
            (&[(183, "a", Some("inactive")), (180, "b", None)], &["nothing", "ringback"]),
            (&[(183, "a", None), (180, "b", None)], &["nothing", "ringback"]),
        ] {
            assert_eq!(heard(responses, reliable), expected, "{responses:?}, reliable: {reliable}");
        }
    }
}

#[test]
fn each_branch_of_an_invite_without_offer_makes_its_own() {
    let mut bench = Bench::with_ports(super::bench::settings("alice", "192.0.2.1:5060"), false);
    bench.has_ports = true;
    let (_, invite) = bench.call_bob();
    assert!(invite.body().is_empty());
    let early = "Contact: <sip:a@192.0.2.9>\nRequire: 100rel\nRSeq: 1";
    bench.respond(&invite, 183, "a", early, &sdp(4000, "sendrecv"));
    assert!(String::from_utf8_lossy(bench.take().body()).contains("m=audio"), "the answer in the PRACK");
    assert_eq!(bench.media_of_call(), ["192.0.2.9:4000 sendrecv"]);
    bench.respond(&invite, 200, "b", "Contact: <sip:b@192.0.2.9>", &sdp(4002, "sendrecv"));
    let ack = bench.take();
    assert!(String::from_utf8_lossy(ack.body()).contains("m=audio"), "the answer in the ACK");
    assert_eq!(bench.take_all(), "", "no BYE");
    assert_eq!(bench.media_of_call().last().map(String::as_str), Some("192.0.2.9:4002 sendrecv"));
}
