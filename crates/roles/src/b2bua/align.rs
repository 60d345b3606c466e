//! Streams of two calls that become one: RFC 3264 §8 "the number of m= lines … MUST equal or exceed the number in the
//! previous SDP", and each keeps its place. What one call offers has to be put into the order of the other's session, and
//! the answer back into that of the offer (RFC 3725 §4.3).

use std::net::IpAddr;

/// A description in pieces: what stands before the first stream, and the streams.
pub(super) fn pieces(description: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let mut starts = Vec::new();
    let mut at = 0;
    for line in description.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"m=") {
            starts.push(at);
        }
        at += line.len();
    }
    let head = &description[..starts.first().copied().unwrap_or(description.len())];
    let ends = starts.iter().skip(1).copied().chain([description.len()]);
    let streams = starts.iter().zip(ends).map(|(start, end)| &description[*start..end]).collect();
    (head, streams)
}

/// The kind of a stream: `audio`, `video` …
pub(super) fn kind(stream: &[u8]) -> &[u8] {
    let rest = stream.strip_prefix(b"m=").unwrap_or(stream);
    rest.split(|byte| *byte == b' ').next().unwrap_or_default()
}

/// An offer in the order of a session, and where its streams were before.
pub(super) struct Aligned {
    pub(super) offer: Vec<u8>,
    places: Vec<Option<usize>>,
    /// Streams of the offer that are not in it, by their places, as the answer refuses them.
    left: Vec<(usize, Vec<u8>)>,
}

impl Aligned {
    /// Puts an offer into the order of the streams that `session` has; streams that only that one has are refused.
    pub(super) fn new(offer: &[u8], session: &[u8]) -> Aligned {
        let (head, streams) = pieces(offer);
        let (_, held) = pieces(session);
        let mut left: Vec<Option<&[u8]>> = streams.into_iter().map(Some).collect();
        let (mut aligned, mut places) = (head.to_vec(), Vec::with_capacity(held.len()));
        for of_session in held {
            let place = left.iter().position(|own| own.is_some_and(|own| kind(own) == kind(of_session)));
            match place.and_then(|place| left[place].take()) {
                Some(stream) => aligned.extend_from_slice(stream),
                None => push_refused(&mut aligned, of_session),
            }
            places.push(place);
        }
        for (place, stream) in left.into_iter().enumerate() {
            if let Some(stream) = stream {
                aligned.extend_from_slice(stream);
                places.push(Some(place));
            }
        }
        Aligned { offer: aligned, places, left: Vec::new() }
    }

    /// The same with those streams only that the session has: one that is to get its own description again afterwards can't
    /// have fewer streams than before (RFC 3264 §8).
    pub(super) fn within(offer: &[u8], session: &[u8]) -> Aligned {
        let Aligned { offer: aligned, mut places, .. } = Aligned::new(offer, session);
        let held = pieces(session).1.len();
        let (head, streams) = pieces(&aligned);
        let mut within = head.to_vec();
        streams.iter().take(held).for_each(|stream| within.extend_from_slice(stream));
        let left =
            places.split_off(held.min(places.len())).into_iter().flatten().zip(streams.iter().skip(held));
        let refused = |(place, stream): (usize, &&[u8])| {
            let mut line = Vec::new();
            push_refused(&mut line, stream);
            (place, line)
        };
        let left = left.map(refused).collect();
        Aligned { offer: within, places, left }
    }

    /// Whether any of its streams is not refused.
    pub(super) fn is_live(&self) -> bool {
        let port = |stream: &&[u8]| stream.split(|byte| *byte == b' ').nth(1) != Some(b"0");
        pieces(&self.offer).1.iter().any(port)
    }

    /// Puts the answer to it back into the order of the offer.
    pub(super) fn restore(&self, answer: &[u8]) -> Vec<u8> {
        let (head, streams) = pieces(answer);
        let mut found: Vec<(usize, &[u8])> =
            self.places.iter().zip(streams).filter_map(|(place, stream)| Some(((*place)?, stream))).collect();
        found.extend(self.left.iter().map(|(place, line)| (*place, &line[..])));
        found.sort_by_key(|(place, _)| *place);
        let mut restored = head.to_vec();
        found.into_iter().for_each(|(_, stream)| restored.extend_from_slice(stream));
        restored
    }
}

/// A stream with port 0 and nothing else.
fn push_refused(out: &mut Vec<u8>, stream: &[u8]) {
    let line = stream.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let mut words = line.splitn(3, |byte| *byte == b' ');
    if let (Some(kind), Some(_), Some(rest)) = (words.next(), words.next(), words.next()) {
        out.extend_from_slice(kind);
        out.extend_from_slice(b" 0 ");
        out.extend_from_slice(rest);
        out.extend_from_slice(b"\r\n");
    }
}

/// The same session with nothing flowing in it (RFC 3264 §8.4).
pub(super) fn inactive(description: &[u8]) -> Vec<u8> {
    directed(description, |_| b"a=inactive\r\n")
}

/// The same session with nothing flowing towards who describes it: that of who plays music (RFC 7088 §2.1).
pub(super) fn sending_only(description: &[u8]) -> Vec<u8> {
    directed(description, |sends| if sends { b"a=sendonly\r\n" } else { b"a=inactive\r\n" })
}

/// The same session with each stream in another direction: which, says `direction`, told whether the stream sends now.
fn directed(description: &[u8], direction: impl Fn(bool) -> &'static [u8]) -> Vec<u8> {
    let (head, streams) = pieces(description);
    let known = |line: &[u8]| match line.trim_ascii_end() {
        b"a=sendrecv" | b"a=sendonly" => Some(true),
        b"a=recvonly" | b"a=inactive" => Some(false),
        _ => None,
    };
    let sends = |piece: &[u8]| piece.split_inclusive(|byte| *byte == b'\n').find_map(known);
    let lines = |piece: &[u8], out: &mut Vec<u8>| {
        for line in piece.split_inclusive(|byte| *byte == b'\n').filter(|line| known(line).is_none()) {
            out.extend_from_slice(line);
        }
    };
    let mut out = Vec::with_capacity(description.len() + 32);
    lines(head, &mut out);
    for stream in streams {
        lines(stream, &mut out);
        // RFC 8866 §6.7: of a session where the stream says nothing, and "sendrecv" where that does not.
        out.extend_from_slice(direction(sends(stream).or_else(|| sends(head)).unwrap_or(true)));
    }
    out
}

/// The answer of nobody to an offer: each stream is accepted and held, at a place that takes no packets (RFC 3725 §4.3
/// "black hole"). Its address is ours, since RFC 3264 §8.4 no longer wants 0.0.0.0, and its port the one that discards
/// (RFC 863).
pub(super) fn black_hole(offer: &[u8], ours: IpAddr) -> Vec<u8> {
    let family = if ours.is_ipv4() { "IP4" } else { "IP6" };
    let head = format!("v=0\r\no=- 1 1 IN {family} {ours}\r\ns=-\r\nc=IN {family} {ours}\r\nt=0 0\r\n");
    let mut out = head.into_bytes();
    for stream in pieces(offer).1 {
        for (number, line) in stream.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii_end();
            let mut words = line.splitn(3, |byte| *byte == b' ');
            if number == 0 {
                let (kind, port, rest) = (words.next(), words.next(), words.next());
                let (Some(kind), Some(port), Some(rest)) = (kind, port, rest) else { break };
                out.extend_from_slice(kind);
                out.extend_from_slice(if port == b"0" { b" 0 " } else { b" 9 " });
                out.extend_from_slice(rest);
                out.extend_from_slice(b"\r\n");
            } else if line.starts_with(b"a=rtpmap:") || line.starts_with(b"a=fmtp:") {
                out.extend_from_slice(line);
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(b"a=inactive\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n";
    const AUDIO: &str = "m=audio 4000 RTP/AVP 0 8\r\na=sendonly\r\na=rtpmap:0 PCMU/8000\r\n";
    const VIDEO: &str = "m=video 4002 RTP/AVP 31\r\n";

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).expect("text")
    }

    #[test]
    fn an_offer_takes_the_order_of_the_session_and_its_answer_that_of_the_offer() {
        let session =
            format!("{HEAD}m=video 5002 RTP/AVP 34\r\nm=audio 5000 RTP/AVP 0\r\nm=text 5004 RTP/AVP 98\r\n");
        let offer = format!("{HEAD}{AUDIO}{VIDEO}m=audio 4006 RTP/AVP 8\r\n");
        let aligned = Aligned::new(offer.as_bytes(), session.as_bytes());
        let expected = format!("{HEAD}{VIDEO}{AUDIO}m=text 0 RTP/AVP 98\r\nm=audio 4006 RTP/AVP 8\r\n");
        assert_eq!(text(&aligned.offer), expected);
        let answer = format!(
            "{HEAD}m=video 1 RTP/AVP 31\r\nm=audio 2 RTP/AVP 0\r\nm=text 0 RTP/AVP 98\r\nm=audio 0 RTP/AVP 8\r\n"
        );
        let restored =
            format!("{HEAD}m=audio 2 RTP/AVP 0\r\nm=video 1 RTP/AVP 31\r\nm=audio 0 RTP/AVP 8\r\n");
        assert_eq!(text(&aligned.restore(answer.as_bytes())), restored);
    }

    #[test]
    fn an_offer_for_a_time_adds_no_stream_to_the_session() {
        let session = format!("{HEAD}{AUDIO}");
        let offer = format!("{HEAD}{VIDEO}{AUDIO}");
        let aligned = Aligned::within(offer.as_bytes(), session.as_bytes());
        assert_eq!(text(&aligned.offer), session);
        let answer = format!("{HEAD}m=audio 2 RTP/AVP 0\r\n");
        let restored = format!("{HEAD}m=video 0 RTP/AVP 31\r\nm=audio 2 RTP/AVP 0\r\n");
        assert_eq!(text(&aligned.restore(answer.as_bytes())), restored);
        let fewer = Aligned::within(session.as_bytes(), offer.as_bytes());
        assert_eq!(text(&fewer.offer), format!("{HEAD}m=video 0 RTP/AVP 31\r\n{AUDIO}"));
        for broken in ["", "m=", "m=audio", "nonsense\r\nm=\r\n\r\n"] {
            Aligned::within(broken.as_bytes(), offer.as_bytes()).restore(broken.as_bytes());
            Aligned::within(offer.as_bytes(), broken.as_bytes()).restore(offer.as_bytes());
        }
    }

    #[test]
    fn what_has_the_same_order_stays_as_it_is() {
        let offer = format!("{HEAD}{AUDIO}");
        let aligned = Aligned::new(offer.as_bytes(), offer.as_bytes());
        assert_eq!(text(&aligned.offer), offer);
        assert_eq!(text(&aligned.restore(offer.as_bytes())), offer);
        for broken in ["", "m=", "m=audio", "nonsense\r\nm=\r\n\r\n"] {
            let aligned = Aligned::new(broken.as_bytes(), offer.as_bytes());
            aligned.restore(broken.as_bytes());
            Aligned::new(offer.as_bytes(), broken.as_bytes());
            black_hole(broken.as_bytes(), IpAddr::from([192, 0, 2, 9]));
        }
    }

    #[test]
    fn a_held_session_and_the_answer_of_nobody_let_nothing_flow() {
        let held = inactive(format!("{HEAD}{AUDIO}{VIDEO}").as_bytes());
        let expected = format!(
            "{HEAD}m=audio 4000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=inactive\r\n{VIDEO}a=inactive\r\n"
        );
        assert_eq!(text(&held), expected);
        let played = sending_only(format!("{HEAD}{AUDIO}{VIDEO}a=recvonly\r\n").as_bytes());
        let expected = format!(
            "{HEAD}m=audio 4000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=sendonly\r\n{VIDEO}a=inactive\r\n"
        );
        assert_eq!(text(&played), expected);
        let of_session = sending_only(format!("{HEAD}a=inactive\r\n{VIDEO}").as_bytes());
        assert_eq!(text(&of_session), format!("{HEAD}{VIDEO}a=inactive\r\n"));
        let offer =
            format!("{HEAD}{AUDIO}m=video 0 RTP/AVP 31\r\na=candidate:1 1 UDP 1 192.0.2.7 1 typ host\r\n");
        let answer = black_hole(offer.as_bytes(), IpAddr::from([192, 0, 2, 9]));
        assert!(text(&answer).contains("c=IN IP4 192.0.2.9\r\n"));
        assert!(text(&answer).ends_with(
            "m=audio 9 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=inactive\r\nm=video 0 RTP/AVP 31\r\na=inactive\r\n"
        ));
    }
}
