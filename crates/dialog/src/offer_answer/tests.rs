use std::net::SocketAddr;

use dialtone_wire::sdp::{Direction, Limits, Mode, Session};
use proptest::prelude::*;

use super::*;

const ALL: [Direction; 4] =
    [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn capabilities(payload_types: &[u8], event: u8) -> Capabilities {
    Capabilities {
        codecs: payload_types.iter().map(|pt| Codec::of_static(*pt).expect("static")).collect(),
        video: Vec::new(),
        telephone_event: Some(Codec::telephone_event(event)),
        ptime_ms: Some(20),
    }
}

fn party(host: &str, payload_types: &[u8], event: u8) -> OfferAnswer {
    let origin = LocalOrigin { session_id: 77, first_version: 1, address: host.parse().expect("an address") };
    OfferAnswer::new(origin, capabilities(payload_types, event))
}

fn ours() -> OfferAnswer {
    party("192.0.2.1", &[0, 8], 101)
}

fn stream(direction: Direction) -> LocalStream {
    LocalStream { kind: StreamKind::Audio, address: address("192.0.2.1:4000"), direction }
}

fn sendrecv() -> Option<LocalStream> {
    Some(stream(Direction::SendRecv))
}

/// A description of the other side: its lines after `t=`.
fn theirs(lines: &str) -> Session {
    let text = format!("v=0\r\no=- 5 5 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n{lines}");
    Session::parse(text.as_bytes(), Mode::Strict, &Limits::default()).expect("well-formed").session
}

fn media_text(session: &Session) -> String {
    let text = String::from_utf8(session.to_bytes()).expect("ASCII");
    let media = text.find("m=").map_or("", |start| &text[start..]);
    media.replace("\r\n", "\n")
}

fn answer(offer: &str) -> Result<(OfferAnswer, Session), OfferAnswerError> {
    let mut party = ours();
    party.handle_offer(theirs(offer))?;
    let answer = party.make_answer(|_| sendrecv())?;
    Ok((party, answer))
}

/// A party that takes video too.
fn with_video() -> OfferAnswer {
    let mut capabilities = capabilities(&[0], 101);
    capabilities.video = [34, 31].into_iter().filter_map(Codec::of_static).collect();
    let origin = LocalOrigin { session_id: 77, first_version: 1, address: "192.0.2.1".parse().expect("one") };
    OfferAnswer::new(origin, capabilities)
}

/// Our end of a video stream.
fn video(direction: Direction) -> Option<LocalStream> {
    Some(LocalStream { kind: StreamKind::Video, address: address("192.0.2.1:4010"), direction })
}

#[test]
fn video_is_accepted_in_its_line_by_who_takes_it_and_goes_with_port_0() {
    let mut party = with_video();
    party.handle_offer(theirs("m=audio 6000 RTP/AVP 0\r\n")).expect("stable");
    party.make_answer(|_| sendrecv()).expect("PCMU");
    let offer = "m=audio 6000 RTP/AVP 0\r\nm=video 6002 RTP/AVP 31\r\n";
    party.handle_offer(theirs(offer)).expect("stable");
    assert_eq!(party.lines_wanted(), [(0, StreamKind::Audio), (1, StreamKind::Video)]);
    let ends = [sendrecv(), video(Direction::RecvOnly)];
    let answer = party.make_answer(|line| ends[line]).expect("both");
    assert_eq!(
        media_text(&answer),
        "m=audio 4000 RTP/AVP 0\na=rtpmap:0 PCMU/8000\na=ptime:20\na=sendrecv\n\
         m=video 4010 RTP/AVP 31\na=rtpmap:31 H261/90000\na=recvonly\n"
    );
    let stream = party.stream(StreamKind::Video).expect("it was agreed on");
    assert_eq!((stream.direction, stream.remote_rtp), (Direction::RecvOnly, Some(address("192.0.2.9:6002"))));
    assert!(!party.is_held());
    // Who holds the sound holds the call, whatever its pictures do.
    party.handle_offer(theirs(&offer.replacen("\r\n", "\r\na=sendonly\r\n", 1))).expect("stable");
    party.make_answer(|line| ends[line]).expect("both");
    assert!(party.is_held());
    // RFC 3264 §8.2: the line stays.
    party.handle_offer(theirs(&offer.replace("6002", "0"))).expect("stable");
    let answer = party.make_answer(|line| ends[line]).expect("sound");
    assert!(media_text(&answer).ends_with("\nm=video 0 RTP/AVP 31\n"), "{}", media_text(&answer));
    assert_eq!((party.stream(StreamKind::Video), party.place_of(StreamKind::Video)), (None, 1));
}

#[test]
fn an_offer_adds_video_behind_what_is_there_removes_it_and_takes_its_line_again() {
    let mut party = with_video();
    assert_eq!(party.place_of(StreamKind::Audio), 0);
    party.make_offer(&[sendrecv()]).expect("stable");
    party.handle_answer(&theirs("m=audio 6000 RTP/AVP 0\r\n")).expect("fits");
    let both = [sendrecv(), video(Direction::RecvOnly)];
    let lines = "m=video 4010 RTP/AVP 34 31\na=rtpmap:34 H263/90000\na=rtpmap:31 H261/90000\na=recvonly\n";
    for (version_now, answer, agreed) in [(2, "6002", true), (4, "0", false)] {
        assert_eq!(party.place_of(StreamKind::Video), 1);
        let offer = party.make_offer(&both).expect("stable");
        assert!(media_text(&offer).ends_with(lines), "{}", media_text(&offer));
        assert_eq!(version(&offer), version_now);
        let answer = format!("m=audio 6000 RTP/AVP 0\r\nm=video {answer} RTP/AVP 31\r\na=sendonly\r\n");
        party.handle_answer(&theirs(&answer)).expect("fits");
        assert_eq!(party.stream(StreamKind::Video).is_some(), agreed);
        let offer = party.make_offer(&[sendrecv()]).expect("stable");
        assert!(media_text(&offer).ends_with("\nm=video 0 RTP/AVP 34\n"), "{}", media_text(&offer));
        party.handle_answer(&theirs("m=audio 6000 RTP/AVP 0\r\nm=video 0 RTP/AVP 34\r\n")).expect("fits");
        assert_eq!(party.stream(StreamKind::Video), None);
    }
    // An answer can't make sound of pictures.
    party.make_offer(&both).expect("stable");
    let wrong = theirs("m=audio 6000 RTP/AVP 0\r\nm=audio 6002 RTP/AVP 0\r\n");
    let fault = AnswerFault::NotOffered;
    assert_eq!(
        party.handle_answer(&wrong).map(<[_]>::to_vec),
        Err(OfferAnswerError::BadAnswer { line: 1, fault })
    );
}

#[test]
fn video_that_was_refused_is_offered_again_in_its_line_and_by_no_refresh() {
    let mut party = with_video();
    party.make_offer(&[sendrecv()]).expect("stable");
    party.handle_answer(&theirs("m=audio 6000 RTP/AVP 0\r\n")).expect("fits");
    for round in 0..3 {
        assert_eq!(party.place_of(StreamKind::Video), 1);
        let offer = party.make_offer(&[sendrecv(), video(Direction::RecvOnly)]).expect("stable");
        assert_eq!((offer.media.len(), offer.media[1].port), (2, 4010));
        let refused = "m=audio 6000 RTP/AVP 0\r\nm=video 0 RTP/AVP 34\r\n";
        party.handle_answer(&theirs(refused)).expect("fits");
        if round == 1 {
            let refresh = party.repeat_offer().expect("stable");
            assert_eq!((refresh.media.len(), refresh.media[1].port), (2, 0), "its port is not ours any more");
            party.handle_answer(&theirs(refused)).expect("fits");
        }
    }
}

fn version(session: &Session) -> u64 {
    session.origin.version_number().expect("a number")
}

fn first(party: &OfferAnswer) -> &Negotiated {
    party.streams()[0].as_ref().expect("an audio stream")
}

#[test]
fn an_offer_has_all_capabilities_in_order_and_reads_back_strictly() {
    let offer = ours().make_offer(&[sendrecv()]).expect("stable");
    let expected = "v=0\r\no=- 77 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";
    assert_eq!(String::from_utf8(offer.to_bytes()).expect("ASCII"), expected);
    let read = Session::parse(expected.as_bytes(), Mode::Strict, &Limits::default()).expect("well-formed");
    assert_eq!(read.session, offer);
}

#[test]
fn streams_at_other_addresses_get_a_connection_of_their_own() {
    let second = LocalStream {
        kind: StreamKind::Audio,
        address: address("198.51.100.7:5000"),
        direction: Direction::SendRecv,
    };
    let offer = ours().make_offer(&[sendrecv(), Some(second)]).expect("stable");
    let reached = |index: usize| {
        let media = &offer.media[index];
        (offer.connection_of(media).and_then(|c| c.address.ip()), media.port)
    };
    assert_eq!(reached(0), (Some(address("192.0.2.1:4000").ip()), 4000));
    assert_eq!(reached(1), (Some(second.address.ip()), 5000));
    let mut sixth = party("2001:db8::1", &[0], 101);
    let stream = LocalStream {
        kind: StreamKind::Audio,
        address: address("[2001:db8::1]:4000"),
        direction: Direction::SendRecv,
    };
    let offer = sixth.make_offer(&[Some(stream)]).expect("stable").to_bytes();
    let offer = String::from_utf8(offer).expect("ASCII");
    assert!(offer.contains("o=- 77 1 IN IP6 2001:db8::1\r\n") && offer.contains("c=IN IP6 2001:db8::1\r\n"));
}

#[test]
fn an_answer_keeps_the_lines_in_place_and_rejects_what_is_not_audio() {
    let (party, answer) = answer(
        "m=video 6000 RTP/AVP 31 34\r\nm=audio 6002 RTP/AVP 9 8 0 99\r\na=rtpmap:99 telephone-event/8000\r\n\
         m=audio 6004 RTP/SAVP 0\r\nm=application 6006 UDP/BFCP *\r\nm=audio 0 RTP/AVP 0\r\n",
    )
    .expect("one stream is good");
    assert_eq!(
        media_text(&answer),
        "m=video 0 RTP/AVP 31\n\
         m=audio 4000 RTP/AVP 8 0 99\na=rtpmap:8 PCMA/8000\na=rtpmap:0 PCMU/8000\n\
         a=rtpmap:99 telephone-event/8000\na=fmtp:99 0-15\na=ptime:20\na=sendrecv\n\
         m=audio 0 RTP/SAVP 0\nm=application 0 UDP/BFCP *\nm=audio 0 RTP/AVP 0\n"
    );
    let accepted: Vec<bool> = party.streams().iter().map(Option::is_some).collect();
    assert_eq!(accepted, [false, true, false, false, false]);
}

#[test]
fn the_decks_update_that_adds_video_keeps_the_audio_and_rejects_the_video() {
    let message = include_str!("../../../../tests/messages/deck/update-adds-video.sip");
    let body = message.split_once("\r\n\r\n").expect("has a body").1;
    let offer = Session::parse(body.as_bytes(), Mode::Lenient, &Limits::default()).expect("lenient").session;
    let mut party = party("192.0.2.1", &[4, 0], 101);
    party.handle_offer(theirs("m=audio 4710 RTP/AVP 4\r\n")).expect("stable");
    let before = party.make_answer(|_| sendrecv()).expect("G723");
    party.handle_offer(offer).expect("stable");
    assert_eq!(party.lines_wanted(), [(0, StreamKind::Audio)]);
    let after = party.make_answer(|_| sendrecv()).expect("G723");
    assert_eq!(after.media[0], before.media[0]);
    assert_eq!((after.media[1].kind.as_str(), after.media[1].port), ("video", 0));
    assert_eq!(version(&after), version(&before) + 1);
}

/// RFC 3264 §6.1: rows are what is offered, columns what the answerer would like.
#[test]
fn the_direction_of_an_answer_follows_the_table() {
    use Direction::{Inactive as N, RecvOnly as R, SendOnly as S, SendRecv as B};
    let table = [(B, [B, S, R, N]), (S, [R, N, R, N]), (R, [S, S, N, N]), (N, [N, N, N, N])];
    for (offered, row) in table {
        for (wish, expected) in [B, S, R, N].into_iter().zip(row) {
            let mut party = ours();
            party
                .handle_offer(theirs(&format!("m=audio 6000 RTP/AVP 0\r\na={}\r\n", offered.as_str())))
                .expect("stable");
            let answer = party.make_answer(|_| Some(stream(wish))).expect("PCMU");
            assert_eq!(answer.direction_of(&answer.media[0]), expected, "{offered:?} {wish:?}");
            assert_eq!(first(&party).direction, expected, "{offered:?} {wish:?}");
        }
    }
}

#[test]
fn an_answer_is_cut_down_to_the_direction_that_was_offered() {
    for offered in ALL {
        for answered in ALL {
            let mut party = ours();
            party.make_offer(&[Some(stream(offered))]).expect("stable");
            let answer = theirs(&format!("m=audio 6000 RTP/AVP 0\r\na={}\r\n", answered.as_str()));
            party.handle_answer(&answer).expect("fits");
            let direction = first(&party).direction;
            assert_eq!(direction.sends(), offered.sends() && answered.receives());
            assert_eq!(direction.receives(), offered.receives() && answered.sends());
        }
    }
}

#[test]
fn both_forms_of_hold_stop_what_we_send_and_resume_brings_it_back() {
    let (mut party, _) = answer("m=audio 6000 RTP/AVP 0\r\n").expect("PCMU");
    let reoffers = [
        ("m=audio 6000 RTP/AVP 0\r\na=sendonly\r\n", Direction::RecvOnly, true),
        ("m=audio 6000 RTP/AVP 0\r\na=inactive\r\n", Direction::Inactive, true),
        ("m=audio 6000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n", Direction::RecvOnly, false),
        ("m=audio 6000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n", Direction::Inactive, false),
        ("m=audio 6000 RTP/AVP 0\r\n", Direction::SendRecv, true),
    ];
    for (offer, direction, has_address) in reoffers {
        party.handle_offer(theirs(offer)).expect("stable");
        party.make_answer(|_| sendrecv()).expect("PCMU");
        let stream = first(&party);
        assert_eq!((stream.direction, stream.remote_rtp.is_some()), (direction, has_address), "{offer}");
        assert_eq!(stream.remote_rtcp.is_some(), has_address);
    }
    assert_eq!(
        ALL.map(held),
        [Direction::SendOnly, Direction::SendOnly, Direction::Inactive, Direction::Inactive]
    );
}

#[test]
fn the_old_hold_writes_zeros_for_our_address_and_is_seen_by_the_other_side() {
    let (mut alice, mut bob) = (ours(), party("192.0.2.9", &[0], 101));
    let mut exchange = |alice: &mut OfferAnswer, zeros, direction| {
        alice.set_zero_address(zeros);
        let offer = alice.make_offer(&[Some(stream(direction))]).expect("an offer");
        bob.handle_offer(offer.clone()).expect("it is read");
        let own = LocalStream {
            kind: StreamKind::Audio,
            address: address("192.0.2.9:6000"),
            direction: Direction::SendRecv,
        };
        let answer = bob.make_answer(|_| Some(own)).expect("an answer");
        alice.handle_answer(&answer).expect("it fits");
        assert!(!alice.is_held());
        (offer, bob.is_held(), first(&bob).direction)
    };
    assert!(!exchange(&mut alice, false, Direction::SendRecv).1);
    let (offer, is_held, direction) = exchange(&mut alice, true, Direction::SendOnly);
    let text = String::from_utf8(offer.to_bytes()).expect("ASCII");
    assert!(
        text.contains("c=IN IP4 0.0.0.0\r\n") && text.contains("o=- 77 2 IN IP4 192.0.2.1\r\n"),
        "{text}"
    );
    assert_eq!((is_held, direction), (true, Direction::RecvOnly));
    assert_eq!(first(&alice).local, address("192.0.2.1:4000"), "media stay where they were");
    let (_, is_held, direction) = exchange(&mut alice, false, Direction::SendRecv);
    assert_eq!((is_held, direction), (false, Direction::SendRecv));
}

#[test]
fn a_session_is_offered_again_as_it_is_without_a_new_version() {
    let offer = "m=audio 6000 RTP/AVP 8\r\na=sendonly\r\nm=video 5643 RTP/AVP 31\r\n";
    let (mut party, sent) = answer(offer).expect("an answer");
    let again = party.repeat_offer().expect("an offer");
    assert_eq!(again, sent, "the answer is the session in force");
    assert_eq!(party.repeat_offer(), Err(OfferAnswerError::Glare));
    party.reject().expect("an open offer");
    // An offer that was refused has used up a version.
    party.make_offer(&[sendrecv()]).expect("an offer");
    party.reject().expect("an open offer");
    let later = party.repeat_offer().expect("an offer");
    assert_eq!(version(&later), version(&sent) + 2);
    assert_eq!(media_text(&later), media_text(&sent));
}

#[test]
fn rtcp_goes_to_the_next_port_or_where_rfc_3605_says() {
    let cases = [
        ("m=audio 6000 RTP/AVP 0\r\n", Some("192.0.2.9:6001")),
        // The deck's own video port is odd.
        ("m=audio 5643 RTP/AVP 0\r\n", Some("192.0.2.9:5644")),
        ("m=audio 6000 RTP/AVP 0\r\na=rtcp:7000\r\n", Some("192.0.2.9:7000")),
        ("m=audio 6000 RTP/AVP 0\r\na=rtcp:7000 IN IP4 192.0.2.8\r\n", Some("192.0.2.8:7000")),
        ("m=audio 6000 RTP/AVP 0\r\na=rtcp:7000 IN IP4 224.2.1.1\r\n", Some("192.0.2.9:7000")),
        ("m=audio 65535 RTP/AVP 0\r\n", None),
    ];
    for (offer, rtcp) in cases {
        let (party, _) = answer(offer).expect("PCMU");
        assert_eq!(first(&party).remote_rtcp, rtcp.map(address), "{offer}");
        assert_eq!(first(&party).local, address("192.0.2.1:4000"));
    }
}

#[test]
fn each_direction_uses_the_payload_types_of_its_receiver() {
    let mut party = ours();
    party.make_offer(&[sendrecv()]).expect("stable");
    let answer = "m=audio 6000 RTP/AVP 97 98 9\r\na=rtpmap:97 pcma/8000/1\r\na=rtpmap:98 telephone-event/8000\r\n\
                  a=fmtp:98 0-11\r\na=ptime:30\r\n";
    party.handle_answer(&theirs(answer)).expect("PCMA");
    let stream = first(&party);
    let types = |codec: &NegotiatedCodec| (codec.send_payload_type, codec.receive_payload_type);
    assert_eq!(stream.codecs.iter().map(types).collect::<Vec<_>>(), [(97, 8)]);
    let event = stream.telephone_event.as_ref().expect("both know it");
    assert_eq!(types(event), (98, 101));
    assert_eq!(event.remote_fmtp.as_ref().and_then(|fmtp| fmtp.as_str()), Some("0-11"));
    assert_eq!(stream.ptime_ms, Some(30));
    assert_eq!(stream.remote_rtp, Some(address("192.0.2.9:6000")));
}

#[test]
fn a_payload_type_never_changes_its_meaning_within_a_session() {
    let mut party = ours();
    party.make_offer(&[sendrecv()]).expect("stable");
    party.handle_answer(&theirs("m=audio 6000 RTP/AVP 0\r\n")).expect("PCMU");
    // They now want PCMA under 101, which we said means telephone events to us.
    party.handle_offer(theirs("m=audio 6000 RTP/AVP 101\r\na=rtpmap:101 PCMA/8000\r\n")).expect("stable");
    party.make_answer(|_| sendrecv()).expect("PCMA");
    let codec = &first(&party).codecs[0];
    assert_eq!((codec.send_payload_type, codec.receive_payload_type), (101, 8));
    // And an offer of ours keeps what an answer of ours said.
    let (mut party, _) =
        answer("m=audio 6000 RTP/AVP 0 99\r\na=rtpmap:99 telephone-event/8000\r\n").expect("PCMU");
    let offer = party.make_offer(&[sendrecv()]).expect("stable");
    assert!(media_text(&offer).starts_with("m=audio 4000 RTP/AVP 0 8 99\n"));
}

#[test]
fn the_version_grows_by_one_on_change_only_and_the_session_id_stays() {
    let mut party = ours();
    let mut last = party.make_offer(&[sendrecv()]).expect("stable");
    assert_eq!(version(&last), 1);
    party
        .handle_answer(&theirs("m=audio 6000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"))
        .expect("fits");
    let wishes = [Direction::SendRecv, Direction::SendOnly, Direction::SendOnly, Direction::SendRecv];
    for (wish, expected) in wishes.into_iter().zip([1, 2, 2, 3]) {
        let next = party.make_offer(&[Some(stream(wish))]).expect("stable");
        assert_eq!(version(&next), expected);
        assert_eq!(next.origin.session_id, last.origin.session_id);
        party.reject().expect("open");
        last = next;
    }
}

#[test]
fn a_refused_or_failed_offer_leaves_the_session_as_it_was() {
    let (mut party, _) = answer("m=audio 6000 RTP/AVP 0\r\n").expect("PCMU");
    let before = (party.streams().to_vec(), party.local().cloned(), party.remote().cloned());
    let check = |party: &OfferAnswer| {
        assert_eq!(party.state(), OfferAnswerState::Stable);
        assert_eq!((party.streams().to_vec(), party.local().cloned(), party.remote().cloned()), before);
    };
    party.make_offer(&[Some(stream(Direction::Inactive))]).expect("stable");
    party.reject().expect("488 came");
    check(&party);
    party.make_offer(&[Some(stream(Direction::Inactive))]).expect("stable");
    let bad = party.handle_answer(&theirs("m=audio 6000 RTP/AVP 3\r\n")).map(<[_]>::to_vec);
    let fault = AnswerFault::NoCommonFormat;
    assert_eq!(bad, Err(OfferAnswerError::BadAnswer { line: 0, fault }));
    check(&party);
    party.handle_offer(theirs("m=audio 6000 RTP/AVP 3\r\n")).expect("stable");
    assert_eq!(party.make_answer(|_| sendrecv()), Err(OfferAnswerError::NotAcceptable));
    check(&party);
    party.handle_offer(theirs("m=audio 6000 RTP/AVP 8\r\n")).expect("stable");
    party.reject().expect("the user says no");
    check(&party);
    assert_eq!(party.handle_offer(theirs("")), Err(OfferAnswerError::LinesRemoved));
    check(&party);
}

#[test]
fn offers_that_cross_are_told_apart() {
    let mut party = ours();
    party.make_offer(&[sendrecv()]).expect("stable");
    let offer = || theirs("m=audio 6000 RTP/AVP 0\r\n");
    assert_eq!(party.handle_offer(offer()), Err(OfferAnswerError::Glare));
    assert_eq!(party.make_offer(&[sendrecv()]), Err(OfferAnswerError::Glare));
    assert_eq!(party.make_answer(|_| sendrecv()), Err(OfferAnswerError::NoOffer));
    party.handle_answer(&offer()).expect("still open");
    assert!(
        matches!(party.handle_answer(&offer()), Err(OfferAnswerError::NoOffer)),
        "a later description is ignored"
    );
    party.handle_offer(offer()).expect("stable");
    assert_eq!(party.handle_offer(offer()), Err(OfferAnswerError::OfferPending));
    assert_eq!(party.make_offer(&[sendrecv()]), Err(OfferAnswerError::OfferPending));
    party.make_answer(|_| sendrecv()).expect("owed");
    assert_eq!(party.reject(), Err(OfferAnswerError::NoOffer));
}

#[test]
fn an_answer_that_does_not_fit_the_offer_is_refused_with_its_line() {
    let cases = [
        ("", OfferAnswerError::LineCount),
        ("m=video 6000 RTP/AVP 31\r\nm=audio 0 RTP/AVP 0\r\n", bad(0, AnswerFault::NotOffered)),
        ("m=audio 6000 RTP/SAVP 0\r\nm=audio 0 RTP/AVP 0\r\n", bad(0, AnswerFault::NotOffered)),
        ("m=audio 6000 RTP/AVP 0\r\nm=audio 6002 RTP/AVP 0\r\n", bad(1, AnswerFault::NotOffered)),
        ("m=audio 6000 RTP/AVP 101\r\nm=audio 0 RTP/AVP 0\r\n", bad(0, AnswerFault::NoCommonFormat)),
        (
            "m=audio 6000 RTP/AVP 0\r\nc=IN IP4 a.example\r\nm=audio 0 RTP/AVP 0\r\n",
            bad(0, AnswerFault::Address),
        ),
        ("m=audio 6000 RTP/AVP 0\r\nc=IN IP6 ::1\r\nm=audio 0 RTP/AVP 0\r\n", bad(0, AnswerFault::Address)),
        (
            "m=audio 6000 RTP/AVP 0\r\nc=IN IP4 224.2.1.1/9\r\nm=audio 0 RTP/AVP 0\r\n",
            bad(0, AnswerFault::Address),
        ),
    ];
    fn bad(line: usize, fault: AnswerFault) -> OfferAnswerError {
        OfferAnswerError::BadAnswer { line, fault }
    }
    for (answer, error) in cases {
        let mut party = ours();
        party.make_offer(&[sendrecv(), None]).expect("stable");
        assert_eq!(party.handle_answer(&theirs(answer)).map(<[_]>::to_vec), Err(error), "{answer}");
        assert_eq!(party.state(), OfferAnswerState::Stable);
    }
}

#[test]
fn only_telephone_events_in_common_is_not_enough() {
    let offer = "m=audio 6000 RTP/AVP 18 101\r\na=rtpmap:101 telephone-event/8000\r\n";
    assert_eq!(answer(offer).map(|_| ()), Err(OfferAnswerError::NotAcceptable));
    let mut party = ours();
    party.handle_offer(theirs(offer)).expect("stable");
    assert!(party.lines_wanted().is_empty(), "no port is leased for it");
}

#[test]
fn an_offer_without_streams_is_answered_without_streams_and_with_its_times() {
    let (party, empty) = answer("").expect("nothing to reject");
    assert!(empty.media.is_empty() && party.streams().is_empty());
    let mut party = ours();
    let mut offer = theirs("m=audio 6000 RTP/AVP 0\r\n");
    offer.times[0].start = 3_724_394_400;
    party.handle_offer(offer.clone()).expect("stable");
    assert_eq!(party.make_answer(|_| sendrecv()).expect("PCMU").times, offer.times);
}

#[test]
fn a_line_once_there_stays_and_may_be_used_again() {
    let (mut party, _) = answer("m=audio 6000 RTP/AVP 0\r\nm=video 6002 RTP/AVP 31\r\n").expect("PCMU");
    let offer = party.make_offer(&[]).expect("stable");
    assert_eq!(media_text(&offer), "m=audio 0 RTP/AVP 0\nm=video 0 RTP/AVP 31\n");
    party.handle_answer(&theirs("m=audio 0 RTP/AVP 0\r\nm=video 0 RTP/AVP 31\r\n")).expect("fits");
    assert_eq!(party.streams(), [None, None]);
    let offer = party.make_offer(&[None, sendrecv(), sendrecv()]).expect("stable");
    let ports: Vec<_> = offer.media.iter().map(|media| (media.kind.as_str(), media.port)).collect();
    assert_eq!(ports, [("audio", 0), ("audio", 4000), ("audio", 4000)]);
}

#[test]
fn a_late_offer_is_made_by_the_called_party_and_answered_by_the_caller() {
    let (mut caller, mut callee) = (party("192.0.2.1", &[8], 101), party("192.0.2.9", &[0, 8], 96));
    let theirs = LocalStream {
        kind: StreamKind::Audio,
        address: address("192.0.2.9:6000"),
        direction: Direction::SendRecv,
    };
    caller.handle_offer(callee.make_offer(&[Some(theirs)]).expect("in the 200")).expect("stable");
    let answer = caller.make_answer(|_| sendrecv()).expect("in the ACK");
    callee.handle_answer(&answer).expect("fits");
    assert_eq!(first(&caller).remote_rtp, Some(theirs.address));
    assert_eq!(first(&callee).remote_rtp, Some(address("192.0.2.1:4000")));
    assert_eq!(first(&callee).codecs[0].send_payload_type, 8);
    assert_eq!(first(&caller).telephone_event.as_ref().map(|event| event.send_payload_type), Some(96));
}

// ---- random orders against a small model ----

#[derive(Clone, Copy, Debug)]
enum Step {
    MakeOffer(Direction),
    HandleAnswer(u8),
    HandleOffer(u8),
    MakeAnswer(bool),
    Reject,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::sample::select(&ALL[..]).prop_map(Step::MakeOffer),
        (0u8..4).prop_map(Step::HandleAnswer),
        (0u8..4).prop_map(Step::HandleOffer),
        any::<bool>().prop_map(Step::MakeAnswer),
        Just(Step::Reject),
    ]
}

/// Their line: usable, on hold, rejected, or without a common format.
fn their_line(kind: u8) -> Session {
    theirs(match kind {
        0 => "m=audio 6000 RTP/AVP 0\r\n",
        1 => "m=audio 6000 RTP/AVP 8\r\na=sendonly\r\n",
        2 => "m=audio 0 RTP/AVP 0\r\n",
        _ => "m=audio 6000 RTP/AVP 3\r\n",
    })
}

/// What the model knows: who waits, the kind of the open offer of theirs, and how often the session changed.
struct Model {
    state: OfferAnswerState,
    offered: u8,
    changes: u32,
}

impl Model {
    /// Whether the step is allowed, by RFC 3264 §4 alone.
    fn take(&mut self, step: Step) -> bool {
        use OfferAnswerState::{LocalOffer, RemoteOffer, Stable};
        let (next, good, changes) = match (self.state, step) {
            (Stable, Step::MakeOffer(_)) => (LocalOffer, true, false),
            (Stable, Step::HandleOffer(kind)) => {
                self.offered = kind;
                (RemoteOffer, true, false)
            }
            (LocalOffer, Step::HandleAnswer(kind)) => (Stable, kind != 3, kind != 3),
            (RemoteOffer, Step::MakeAnswer(willing)) => {
                let good = self.offered == 2 || willing && self.offered != 3;
                (Stable, good, good)
            }
            (LocalOffer | RemoteOffer, Step::Reject) => (Stable, true, false),
            (state, _) => (state, false, false),
        };
        self.state = next;
        self.changes += u32::from(changes);
        good
    }
}

proptest! {
    #[test]
    fn any_order_of_events_agrees_with_the_model(steps in prop::collection::vec(step(), 1..60)) {
        let mut party = ours();
        let mut model = Model { state: OfferAnswerState::Stable, offered: 0, changes: 0 };
        let mut last: Option<Session> = None;
        for step in steps {
            let before = (party.streams().to_vec(), party.local().cloned(), model.changes);
            let written = match step {
                Step::MakeOffer(direction) => party.make_offer(&[Some(stream(direction))]).map(Some),
                Step::HandleAnswer(kind) => party.handle_answer(&their_line(kind)).map(|_| None),
                Step::HandleOffer(kind) => party.handle_offer(their_line(kind)).map(|()| None),
                Step::MakeAnswer(willing) => party.make_answer(|_| sendrecv().filter(|_| willing)).map(Some),
                Step::Reject => party.reject().map(|()| None),
            };
            prop_assert_eq!(written.is_ok(), model.take(step), "{:?}", step);
            prop_assert_eq!(party.state(), model.state);
            if model.changes == before.2 {
                prop_assert_eq!((party.streams(), party.local()), (&before.0[..], before.1.as_ref()));
            }
            if let Ok(Some(next)) = written {
                prop_assert_eq!(next.media.len(), 1);
                if let Some(last) = &last {
                    let changed = Session { origin: last.origin.clone(), ..next.clone() } != *last;
                    prop_assert_eq!(version(&next), version(last) + u64::from(changed));
                }
                last = Some(next);
            }
        }
    }

    #[test]
    fn two_parties_always_agree(
        rounds in prop::collection::vec((any::<bool>(), 0usize..4, 0usize..4, any::<bool>()), 1..20),
        left in prop::sample::subsequence(vec![0u8, 3, 8, 9], 1..4), event in 96u8..100,
    ) {
        let hosts = [("192.0.2.1", "192.0.2.1:4000"), ("192.0.2.9", "192.0.2.9:6000")];
        let mut parties = [party(hosts[0].0, &left, 101), party(hosts[1].0, &[8, 0, 9, 3], event)];
        for (by_left, offered, wished, refused) in rounds {
            let (from, to) = if by_left { (0, 1) } else { (1, 0) };
            let end = |side: usize, direction: usize| LocalStream {
                kind: StreamKind::Audio, address: address(hosts[side].1), direction: ALL[direction],
            };
            let before: Vec<_> = parties.iter().map(|party| party.streams().to_vec()).collect();
            let offer = parties[from].make_offer(&[Some(end(from, offered))]).expect("stable");
            parties[to].handle_offer(offer).expect("stable");
            if refused {
                parties.iter_mut().for_each(|party| party.reject().expect("open"));
                let after: Vec<_> = parties.iter().map(|party| party.streams().to_vec()).collect();
                prop_assert_eq!(before, after);
                continue;
            }
            let answer = parties[to].make_answer(|_| Some(end(to, wished))).expect("a codec in common");
            parties[from].handle_answer(&answer).expect("fits");
            let (a, b) = (first(&parties[0]), first(&parties[1]));
            prop_assert_eq!((a.direction.sends(), a.direction.receives()), (b.direction.receives(), b.direction.sends()));
            prop_assert_eq!((a.remote_rtp, b.remote_rtp), (Some(b.local), Some(a.local)));
            let types = |stream: &Negotiated, crossed: bool| {
                let all = stream.codecs.iter().chain(&stream.telephone_event);
                all.map(|codec| {
                    let (send, receive) = (codec.send_payload_type, codec.receive_payload_type);
                    (codec.encoding.clone(), if crossed { (receive, send) } else { (send, receive) })
                }).collect::<Vec<_>>()
            };
            prop_assert_eq!(types(a, false), types(b, true));
        }
    }
}
