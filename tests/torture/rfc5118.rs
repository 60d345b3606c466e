//! The verdicts on the 12 messages of RFC 5118, in the order of its sections.

use std::net::IpAddr;

use dialtone_wire::{HeaderName, Message};

use crate::values::*;
use crate::verdict::{Row, Verdict::*};

/// The Content-Length of three messages is wrong in the text of the RFC; here it is corrected.
pub(crate) const FOLDER: &str = "rfc5118/fixed";

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().expect("an address"))
}

/// The addresses of the description: that of the session, then those of its media.
fn media_addresses(message: &Message) -> Vec<Option<IpAddr>> {
    let session = session(message);
    let media = session.media.iter().flat_map(|media| media.connections.iter());
    session.connection.iter().chain(media).map(|connection| connection.address.ip()).collect()
}

pub(crate) const ROWS: &[Row] = &[
    Row {
        file: "ipv6-good.dat",
        section: "4.1",
        title: "Valid SIP Message with an IPv6 Reference",
        verdict: Accepted,
        reason: "Well-formed: IPv6 references in Request-URI, Via and Contact.",
        values: |m| {
            assert_eq!(request_uri(m).host.ip(), ip("2001:db8::10"));
            assert_eq!(request_uri(m).port, None);
            assert_eq!(m.via().map(|via| via.host.ip()), Ok(ip("2001:db8::9:1")));
            assert_eq!(contacts(m)[0].display_name().as_deref(), Some("Caller"));
            assert_eq!(sip(&contacts(m)[0]).host.ip(), ip("2001:db8::1"));
        },
    },
    Row {
        file: "ipv6-bad.dat",
        section: "4.2",
        title: "Invalid SIP Message with an IPv6 Reference",
        verdict: Refused(400, "Request-URI: the port is not a number from 1 to 65535"),
        reason: "An IPv6 address without brackets: 400 is due.",
        values: |_| (),
    },
    Row {
        file: "port-ambiguous.dat",
        section: "4.3",
        title: "Port Ambiguous in a SIP URI",
        verdict: Accepted,
        reason: "Well-formed, if not what its sender meant: 5070 is the last part of the address.",
        values: |m| {
            assert_eq!(request_uri(m).host.ip(), ip("2001:db8::10:5070"));
            assert_eq!(request_uri(m).port, None);
        },
    },
    Row {
        file: "port-unambiguous.dat",
        section: "4.4",
        title: "Port Unambiguous in a SIP URI",
        verdict: Accepted,
        reason: "Well-formed: the port stands behind the bracket.",
        values: |m| {
            assert_eq!(request_uri(m).host.ip(), ip("2001:db8::10"));
            assert_eq!(request_uri(m).port, Some(5070));
        },
    },
    Row {
        file: "via-received-param-with-delim.dat",
        section: "4.5",
        title: "IPv6 Reference Delimiters in Via Header",
        verdict: Accepted,
        reason: "The grammar has no brackets in received; implementations must take both. (We write none.)",
        values: |m| {
            assert_eq!(m.via().map(|via| via.received()), Ok(ip("2001:db8::9:255")));
            assert_eq!(m.via().map(|via| via.host.ip()), Ok(ip("2001:db8::9:1")));
        },
    },
    Row {
        file: "via-received-param-no-delim.dat",
        section: "4.5",
        title: "IPv6 Reference Delimiters in Via Header",
        verdict: Accepted,
        reason: "Well-formed: received as the grammar has it.",
        values: |m| assert_eq!(m.via().map(|via| via.received()), Ok(ip("2001:db8::9:255"))),
    },
    Row {
        file: "ipv6-in-sdp.dat",
        section: "4.6",
        title: "SIP Request with IPv6 Addresses in Session Description Protocol (SDP) Body",
        verdict: Accepted,
        reason: "Well-formed: addresses in SDP have no brackets.",
        values: |m| {
            assert_eq!(media_addresses(m), [ip("2001:db8::20")]);
            assert_eq!(session(m).origin.address.ip(), ip("2001:db8::20"));
            assert_eq!(session(m).media.len(), 2);
        },
    },
    Row {
        file: "mult-ip-in-header.dat",
        section: "4.7",
        title: "Multiple IP Addresses in SIP Headers",
        verdict: Accepted,
        reason: "Well-formed: IPv4 and IPv6 mixed in the Vias.",
        values: |m| {
            assert_eq!(via_hosts(m), ["[2001:db8::9:1]", "192.0.2.1", "[2001:db8::9:255]"]);
            assert_eq!(m.via().map(|via| via.port), Ok(Some(6050)));
        },
    },
    Row {
        file: "mult-ip-in-sdp.dat",
        section: "4.8",
        title: "Multiple IP Addresses in SDP",
        verdict: Accepted,
        reason: "Well-formed: each stream has an address of its own family.",
        values: |m| assert_eq!(media_addresses(m), [ip("192.0.2.1"), ip("2001:db8::1")]),
    },
    Row {
        file: "ipv4-mapped-ipv6.dat",
        section: "4.9",
        title: "IPv4-Mapped IPv6 Addresses",
        verdict: Accepted,
        reason: "Well-formed: mapped addresses in Via, Contact and SDP.",
        values: |m| {
            assert_eq!(via_hosts(m), ["[::ffff:192.0.2.10]", "[::ffff:192.0.2.2]"]);
            assert_eq!(m.via().map(|via| via.port), Ok(Some(19823)));
            assert_eq!(sip(&contacts(m)[0]).host.ip(), ip("::ffff:192.0.2.2"));
            assert_eq!(media_addresses(m), [ip("::ffff:192.0.2.2")]);
        },
    },
    Row {
        file: "ipv6-bug-abnf-3-colons.dat",
        section: "4.10",
        title: "IPv6 Reference Bug in RFC 3261 ABNF",
        verdict: Accepted,
        reason: "The grammar of RFC 3261 allows one colon too many before an IPv4 part: it is passed over, and not \
                 written where we write the address anew.",
        values: |m| {
            assert!(m.uri_text().contains(":::"));
            assert_eq!(request_uri(m).host.ip(), ip("2001:db8::192.0.2.1"));
            assert_eq!(sip(&to(m)).host.ip(), ip("2001:db8::192.0.2.1"));
            assert!(!request_uri(m).to_string().contains(":::"));
            assert_eq!(m.value(HeaderName::To), Some(&b"sip:user@[2001:db8:::192.0.2.1]"[..]));
        },
    },
    Row {
        file: "ipv6-correct-abnf-2-colons.dat",
        section: "4.10",
        title: "IPv6 Reference Bug in RFC 3261 ABNF",
        verdict: Accepted,
        reason: "Well-formed.",
        values: |m| assert_eq!(request_uri(m).host.ip(), ip("2001:db8::192.0.2.1")),
    },
];
