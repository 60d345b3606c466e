//! What passes through the proxy unchanged, and what it counts.

use dialtone_roles::Settings;
use dialtone_wire::Message;

use crate::peers::{Request, Server, invite, register, settings};

const ALICE: &str = "127.0.0.2:5070";

/// A server that asks nobody for a password, at which bob is registered.
fn open_server() -> Server {
    let mut server = Server::new(Settings { authenticate: false, ..settings() });
    assert_eq!(register_at(&mut server, "127.0.0.3:5080", "reg-bob"), 200);
    server
}

fn register_at(server: &mut Server, address: &str, call_id: &str) -> u16 {
    server.status(address, &register("sip:bob@sip.test", address, call_id).text())
}

/// What alice's request becomes on its way to bob: each place that it is sent to.
fn forwarded(server: &mut Server, text: &str) -> Vec<(String, Message)> {
    let mut sent = server.receive(ALICE, text);
    sent.retain(|(_, message)| message.is_request());
    sent
}

#[test]
fn what_the_proxy_need_not_change_stays_byte_for_byte() {
    let own = "From: \"Zoë 漢字\" <sip:alice@sip.test>;tag=f;x=1\r\nt:   <sip:bob@sip.test>\r\nsubject:  a  call \r\n\
               Call-Info: <http://www.example.org/Tin.html>;purpose=info\r\nX-New: one,\r\n  two\r\n\
               i: call@home\r\nCSeq: 1   INVITE\r\nm: <sip:alice@127.0.0.2:5070>\r\nc: application/sdp\r\n";
    let body = "v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=a game\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\n\
                m=application 9 UDP/chess *\r\ny=unknown\r\n";
    let text = format!(
        "INVITE sip:bob@sip.test SIP/2.0\r\nv: SIP/2.0/UDP {ALICE};branch=z9hG4bKa\r\n{own}l: {}\r\n\r\n{body}",
        body.len()
    );
    let sent = forwarded(&mut open_server(), &text);
    let [(to, message)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(to, "127.0.0.3:5080");
    let bytes = std::str::from_utf8(message.bytes()).expect("UTF-8");
    assert!(bytes.starts_with("INVITE sip:x@127.0.0.3:5080 SIP/2.0\r\n"), "{bytes}");
    assert!(bytes.contains(&format!("\r\n{own}l: {}\r\n", body.len())), "{bytes}");
    assert!(bytes.ends_with(&format!("\r\n\r\n{body}")), "{bytes}");
    // It had no Max-Forwards (RFC 3261 §16.6 step 3).
    assert_eq!(message.max_forwards(), Ok(Some(70)));
}

#[test]
fn a_request_without_hops_left_is_483_and_goes_nowhere() {
    let mut server = open_server();
    let text = invite("sip:bob@sip.test").text().replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(server.status(ALICE, &text), 483);
    let text = invite("sip:bob@sip.test").text().replace("Max-Forwards: 70", "Max-Forwards: 1");
    let sent = forwarded(&mut server, &text.replace("INVITE", "INFO"));
    assert_eq!(sent[0].1.max_forwards(), Ok(Some(0)));
}

#[test]
fn a_phone_that_moved_rings_at_its_new_address_as_soon_as_it_has_registered() {
    let mut server = open_server();
    // It takes its old binding back and registers from where it is now.
    let gone = Request { cseq: 2, ..register("sip:bob@sip.test", "127.0.0.3:5080", "reg-bob") };
    let gone = gone.text().replace("5080>\r\n\r\n", "5080>;expires=0\r\n\r\n");
    assert_eq!(server.status("127.0.0.3:5080", &gone), 200);
    assert_eq!(register_at(&mut server, "127.0.0.7:5090", "reg-there"), 200);
    let sent = forwarded(&mut server, &invite("sip:bob@sip.test").text());
    let places: Vec<&str> = sent.iter().map(|(to, _)| to.as_str()).collect();
    assert_eq!(places, ["127.0.0.7:5090"]);
}
