use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;

const PLAIN: &str = "v=0\r\no=alice 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                     m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
                     a=fmtp:101 0-15\r\na=ptime:20\r\n";

/// Every line type that RFC 8866 knows, in both sections.
const FULL: &str = "v=0\r\no=jdoe 3724394400 3724394405 IN IP6 2001:db8::1\r\ns=Call to John Smith\r\n\
    i=SDP Offer #1\r\nu=http://www.jdoe.example.com/home.html\r\ne=Jane Doe <jane@jdoe.example.com>\r\n\
    e=x@y.example\r\np=+1 617 555-6011\r\nc=IN IP4 233.252.0.1/127/3\r\nb=CT:128\r\nb=X-YZ:9\r\n\
    t=3724394400 3724398000\r\nr=7d 1h 0 25h\r\nr=604800 3600 0 90000\r\nz=3730928400 -1h 3749680800 0\r\n\
    t=0 0\r\nk=prompt\r\na=recvonly\r\na=x-note:a:b c\r\n\
    m=audio 49170/2 RTP/AVP 0 8\r\ni=voice\r\nc=IN IP6 ff15::101/3\r\nc=IN IP6 ff15::201\r\nb=AS:64\r\n\
    k=clear:abc\r\na=sendonly\r\na=rtcp:53020 IN IP4 126.16.64.4\r\n\
    a=candidate:1 1 UDP 2130706431 192.0.2.1 4000 typ host\r\n\
    m=video 0 RTP/SAVPF 99\r\nc=IN IP4 host.example.com\r\na=rtpmap:99 H264/90000\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=ATM NSAP 47.0091.8100\r\n";

const DECK: &str = include_str!("../../../../tests/messages/deck/sdp-example.sdp");

fn parse(text: &str, mode: Mode) -> Result<Parsed, SdpError> {
    Session::parse(text.as_bytes(), mode, &Limits::default())
}

fn strict(text: &str) -> Session {
    parse(text, Mode::Strict).expect("well-formed").session
}

/// Text in, the error or the faults out, one a line.
fn judge(text: &str, mode: Mode) -> String {
    match parse(text, mode) {
        Ok(parsed) => parsed.diagnoses.iter().map(|d| d.to_string()).collect::<Vec<_>>().join("\n"),
        Err(error) => format!("refused: {error}"),
    }
}

fn body_of(message: &str) -> &str {
    message.split_once("\r\n\r\n").expect("a message has a body").1
}

#[test]
fn writes_a_well_formed_description_byte_for_byte_as_it_was_read() {
    for text in [PLAIN, FULL] {
        assert_eq!(String::from_utf8(strict(text).to_bytes()).expect("ASCII"), text);
    }
}

#[test]
fn reads_every_field_of_a_full_description() {
    let session = strict(FULL);
    assert_eq!(session.origin.version_number(), Some(3_724_394_405));
    assert_eq!(session.emails.len(), 2);
    let connection = session.connection.as_ref().expect("has c=");
    assert_eq!((connection.ttl, connection.address_count), (Some(127), Some(3)));
    assert_eq!(session.times.len(), 2);
    let time = &session.times[0];
    assert_eq!(time.repeats[0].interval.seconds(), time.repeats[1].interval.seconds());
    assert_eq!(time.zone_adjustments.len(), 2);
    assert!(time.zone_adjustments[0].negative);
    assert_eq!(session.bandwidths[0], Bandwidth { kind: Word::literal("CT"), value: 128 });
    let audio = &session.media[0];
    assert_eq!((audio.port, audio.port_count), (49_170, Some(2)));
    assert_eq!(audio.connections[0].address_count, Some(3));
    assert_eq!(audio.candidates().count(), 1);
    assert_eq!(
        audio.rtcp(),
        Some(RtcpAddress { port: 53_020, address: Some(IpAddr::V4(Ipv4Addr::new(126, 16, 64, 4))) })
    );
    assert_eq!(session.connection_of(&session.media[1]).and_then(|c| c.address.ip()), None);
    assert!(!session.media[2].is_rtp());
}

#[test]
fn media_level_direction_and_connection_beat_those_of_the_session() {
    let session = strict(FULL);
    assert_eq!(session.direction_of(&session.media[0]), Direction::SendOnly);
    assert_eq!(session.direction_of(&session.media[1]), Direction::RecvOnly);
    let plain = strict(PLAIN);
    assert_eq!(plain.direction_of(&plain.media[0]), Direction::SendRecv);
    let address = plain.connection_of(&plain.media[0]).and_then(|c| c.address.ip());
    assert_eq!(address, Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
}

#[test]
fn typed_attributes_say_what_the_lines_say() {
    let session = strict(PLAIN);
    let audio = &session.media[0];
    assert_eq!(audio.ptime_ms(), Some(20));
    assert_eq!(audio.fmtp("101"), Some("0-15"));
    assert_eq!(audio.fmtp("0"), None);
    assert_eq!(audio.payload_types().collect::<Vec<_>>(), [0, 101]);
    let event = audio.rtpmap(101).expect("mapped");
    assert_eq!((event.encoding.as_str(), event.clock_hz, event.channels), ("telephone-event", 8_000, None));
    assert_eq!(audio.rtpmap(9).expect("static").clock_hz, 8_000, "G722 runs at 8000 by history");
    assert_eq!(audio.rtpmap(96), None);
    assert_eq!(audio.rtcp(), None);
}

#[test]
fn the_decks_description_is_taken_leniently_with_each_fault_named() {
    assert_eq!(
        judge(DECK, Mode::Lenient),
        "line 2: o= has no session version\n\
         line 2: session id or version of o= is not a number\n\
         line 6: t= is missing\n\
         line 7: rtpmap of a static payload type has no clock rate\n\
         line 8: rtpmap of a static payload type has no clock rate\n\
         line 10: rtpmap of a static payload type has no clock rate"
    );
    let session = parse(DECK, Mode::Lenient).expect("taken").session;
    assert_eq!(session.media[0].rtpmap(4).expect("static").clock_hz, 8_000);
    assert_eq!(session.direction_of(&session.media[0]), Direction::SendRecv);
    assert_eq!(session.direction_of(&session.media[1]), Direction::RecvOnly);
    assert_eq!(session.times, [Time::default()]);
}

#[test]
fn the_decks_description_is_refused_strictly_at_its_first_fault() {
    let expected = "refused: line 2: expected o=<username> <sess-id> <sess-version> <nettype> <addrtype> \
                    <unicast-address>";
    assert_eq!(judge(DECK, Mode::Strict), expected);
    let right_origin = DECK.replace("Tin session_id", "Tin 1 1");
    assert_eq!(judge(&right_origin, Mode::Strict), "refused: line 6: expected a line t=");
    let with_time = right_origin.replace("b=CT:128\r\n", "b=CT:128\r\nt=0 0\r\n");
    assert_eq!(
        judge(&with_time, Mode::Strict),
        "refused: line 8: expected a=rtpmap:<payload type> <encoding>/<clock rate>"
    );
}

#[test]
fn the_bodies_of_the_decks_messages_lack_only_the_time() {
    for message in [
        include_str!("../../../../tests/messages/deck/invite-behind-nat.sip"),
        include_str!("../../../../tests/messages/deck/invite-after-alg-right.sip"),
        include_str!("../../../../tests/messages/deck/invite-after-alg-as-printed.sip"),
        include_str!("../../../../tests/messages/deck/update-adds-video.sip"),
    ] {
        assert_eq!(judge(body_of(message), Mode::Lenient), "line 5: t= is missing");
        assert_eq!(judge(body_of(message), Mode::Strict), "refused: line 5: expected a line t=");
    }
}

#[test]
fn a_description_cut_by_a_wrong_length_names_the_cut_line() {
    let message = include_str!("../../../../tests/messages/deck/invite-behind-nat.sip");
    let cut = &body_of(message)[..148];
    let error = parse(cut, Mode::Lenient).expect_err("cut");
    assert_eq!(error, SdpError { line: 8, expected: Expected::Media, cut: true });
    assert_eq!(error.to_string(), "line 8 (cut short): expected m=<media> <port> <proto> <fmt> …");
}

#[test]
fn each_leniency_is_an_error_in_strict_mode_and_a_diagnosis_in_lenient_mode() {
    let cases: &[(&str, &str, usize, Fault)] = &[
        ("s=-\r\n", "", 3, Fault::NoSessionName),
        ("t=0 0\r\n", "", 5, Fault::NoTime),
        ("s=-\r\n", "s=-\n", 3, Fault::LineFeedOnly),
        ("a=ptime:20\r\n", "a=ptime:20", 10, Fault::NoLastLineEnd),
        ("a=ptime:20\r\n", "a=ptime:20\r\n\r\n", 11, Fault::BlankLine),
        ("s=-", "s=", 3, Fault::EmptyValue),
        ("c=IN IP4 192.0.2.1\r\nt=0 0\r\n", "t=0 0\r\nc=IN IP4 192.0.2.1\r\n", 5, Fault::OutOfOrder),
        ("0 101\r\n", "0  101 \r\n", 6, Fault::ExtraBlanks),
        ("alice 1", "alice  1", 2, Fault::ExtraBlanks),
        ("a=ptime:20", "a=sendrecv ", 10, Fault::ExtraBlanks),
        ("PCMU/8000", "PCMU/8000 ", 7, Fault::ExtraBlanks),
        ("t=0 0\r\n", "t=0 0\r\ny=1\r\n", 6, Fault::UnknownType),
        ("alice 1 2 IN", "alice 1 IN", 2, Fault::NoOriginVersion),
        ("alice 1 2 IN", "alice x 2 IN", 2, Fault::OriginNotNumeric),
        ("t=0 0", "t=0 3600", 5, Fault::ShortTime),
        ("t=0 0\r\n", "t=0 0\r\nz=3730928400 1h\r\n", 6, Fault::ZoneWithoutRepeat),
        ("c=IN IP4 192.0.2.1\r\n", "", 10, Fault::NoConnection),
        ("c=IN IP4 192.0.2.1", "c=IN IP4 224.2.1.1", 4, Fault::NoMulticastTtl),
        ("PCMU/8000", "PCMU", 7, Fault::RtpMapWithoutClock),
        ("telephone-event/8000", "telephone-event", 8, Fault::BadRtpMap),
    ];
    for (from, to, line, fault) in cases {
        let text = PLAIN.replacen(from, to, 1);
        let error = parse(&text, Mode::Strict).expect_err("strict refuses");
        assert_eq!(error.line, *line, "{fault}");
        let parsed = parse(&text, Mode::Lenient).expect("lenient takes");
        assert_eq!(parsed.diagnoses, [Diagnosis { line: *line, fault: *fault }]);
    }
}

#[test]
fn refuses_in_both_modes_what_cannot_be_understood() {
    let cases: &[(&str, &str, usize, Expected)] = &[
        ("v=0", "v=1", 1, Expected::Version),
        ("v=0\r\n", "", 1, Expected::Version),
        ("o=alice 1 2 IN IP4 192.0.2.1\r\n", "", 2, Expected::Line('o')),
        ("s=-\r\n", "s=-\r\ns=-\r\n", 4, Expected::Once('s')),
        ("IP4 192.0.2.1\r\ns", "IP4 192.0.2.256\r\ns", 2, Expected::Address),
        ("IP4 192.0.2.1\r\ns", "IP6 192.0.2.1\r\ns", 2, Expected::Address),
        ("c=IN IP4 192.0.2.1", "c=IN IP4 192.0.2.1/127", 4, Expected::Connection),
        ("c=IN IP4 192.0.2.1", "c=IN IP4", 4, Expected::Connection),
        ("c=IN IP4 192.0.2.1", "c=IN IP4 224.2.1.1/300", 4, Expected::MulticastTtl),
        ("t=0 0", "t=0", 5, Expected::Time),
        ("t=0 0", "t=0 0\r\nr=7d 1h", 6, Expected::Repeat),
        ("4000", "65536", 6, Expected::Port),
        ("4000", "4000/0", 6, Expected::Number),
        ("RTP/AVP 0 101", "RTP/AVP", 6, Expected::Media),
        ("a=ptime:20", "a=pt ime:20", 10, Expected::Attribute),
        ("a=ptime:20", "a=", 10, Expected::Attribute),
        ("a=ptime:20", "t=0 0", 10, Expected::Earlier('t')),
        ("a=ptime:20", "ptime", 10, Expected::TypeAndValue),
        ("a=ptime:20", "a=x:\0", 10, Expected::Text),
        ("a=ptime:20", "?=20", 10, Expected::KnownType),
    ];
    for (from, to, line, expected) in cases {
        let text = PLAIN.replacen(from, to, 1);
        for mode in [Mode::Strict, Mode::Lenient] {
            let error = parse(&text, mode).expect_err("refused");
            assert_eq!((error.line, error.expected), (*line, *expected), "{to:?} {mode:?}");
        }
    }
    assert_eq!(judge("", Mode::Lenient), "refused: line 1: expected v=0");
}

#[test]
fn unknown_lines_keep_their_places() {
    let text = PLAIN.replace("s=-\r\n", "s=-\r\ny=one\r\n").replace("a=ptime", "h=two\r\na=ptime");
    let parsed = parse(&text, Mode::Lenient).expect("taken");
    assert_eq!(parsed.session.to_bytes(), text.as_bytes());
}

#[test]
fn limits_bound_bytes_lines_media_and_formats() {
    let limits = Limits { bytes_max: 400, lines_max: 12, media_max: 2, formats_max: 3 };
    let check = |text: &str, line| {
        let error = Session::parse(text.as_bytes(), Mode::Lenient, &limits).expect_err("over a limit");
        assert_eq!(error, SdpError { line, expected: Expected::WithinLimits, cut: false });
    };
    assert!(Session::parse(PLAIN.as_bytes(), Mode::Strict, &limits).is_ok());
    check(&format!("{PLAIN}a={}\r\n", "x".repeat(400)), 1);
    check(&format!("{PLAIN}{}", "a=b\r\n".repeat(3)), 13);
    check(&format!("{PLAIN}{}", "m=a 1 b c\r\n".repeat(2)), 12);
    check(&PLAIN.replace("0 101", "0 1 2 3"), 6);
}

#[test]
fn text_and_words_cannot_smuggle_a_line() {
    assert_eq!(Text::new("a\r\nm=audio 1 RTP/AVP 0"), None);
    assert_eq!(Word::new("a b"), None);
    assert_eq!(Word::new(""), None);
    assert_eq!(Attribute::new("x:y", None), None);
    assert_eq!(Attribute::new("x", Some("a\nb")), None);
}

/// A line that may stand somewhere in a description, in any order: mostly good, sometimes not.
fn any_line() -> impl Strategy<Value = String> {
    let lines = FULL.lines().chain(DECK.lines()).chain(["y=1", "h=", "", "a=rtpmap:96 x", "s="]);
    let known: Vec<&'static str> = lines.filter(|line| !line.starts_with(['v', 'o'])).collect();
    prop_oneof![
        20 => prop::sample::select(known).prop_map(str::to_owned),
        1 => "[a-z]=[ -~]{0,20}",
    ]
}

/// A well-formed description made of the optional lines of [`FULL`], some left out, and some made-up attributes.
fn well_formed() -> impl Strategy<Value = String> {
    let lines: Vec<&'static str> = FULL.lines().collect();
    let attributes = prop::collection::vec("[a-z][a-z0-9-]{0,8}(:[!-~][ -~]{0,20})?", 0..5);
    (prop::collection::vec(any::<bool>(), lines.len()), attributes).prop_map(move |(keep, attributes)| {
        let needed = |line: &str| "vosctrm".contains(&line[..1]);
        let kept = lines.iter().zip(&keep).filter(|(line, keep)| **keep || needed(line));
        let mut text: String = kept.map(|(line, _)| format!("{line}\r\n")).collect();
        attributes.iter().for_each(|attribute| text += &format!("a={attribute}\r\n"));
        text
    })
}

proptest! {
    #[test]
    fn writing_what_was_read_gives_the_same_bytes(text in well_formed()) {
        prop_assert_eq!(String::from_utf8(strict(&text).to_bytes()).expect("ASCII"), text);
    }

    #[test]
    fn reading_what_was_written_gives_an_equal_value(lines in prop::collection::vec(any_line(), 0..7)) {
        for end in ["\r\n", "\n"] {
            let text = format!("v=0{end}o=- 1 1 IN IP4 h{end}{}{end}", lines.join(end));
            if let Ok(parsed) = parse(&text, Mode::Lenient) {
                let written = parsed.session.to_bytes();
                let again = Session::parse(&written, Mode::Lenient, &Limits::default()).expect("own writing");
                prop_assert_eq!(&again.session, &parsed.session);
                prop_assert_eq!(again.session.to_bytes(), written);
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for mode in [Mode::Strict, Mode::Lenient] {
            let _ = Session::parse(&bytes, mode, &Limits::default());
        }
    }

    #[test]
    fn a_description_cut_anywhere_is_refused_strictly_unless_whole_lines_remain(cut in 0..FULL.len()) {
        let text = &FULL[..cut];
        if !text.ends_with("\r\n") {
            prop_assert!(parse(text, Mode::Strict).is_err());
        }
        let _ = parse(text, Mode::Lenient);
    }

    #[test]
    fn changed_bytes_never_panic(at in 0..FULL.len(), byte in any::<u8>()) {
        let mut bytes = FULL.as_bytes().to_vec();
        bytes[at] = byte;
        for mode in [Mode::Strict, Mode::Lenient] {
            if let Ok(parsed) = Session::parse(&bytes, mode, &Limits::default()) {
                for media in &parsed.session.media {
                    let _ = (media.rtcp(), media.ptime_ms(), media.rtpmap(99), media.fmtp("0"));
                }
            }
        }
    }
}
