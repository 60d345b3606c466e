//! SDP: what one mode accepts is written in the canonical form, which the strict mode reads as an equal value.

#![no_main]

use dialtone_wire::sdp::{Limits, Mode, Session};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits::default();
    let strict = Session::parse(data, Mode::Strict, &limits);
    let lenient = Session::parse(data, Mode::Lenient, &limits);
    if let Ok(parsed) = &strict {
        assert!(parsed.diagnoses.is_empty(), "strict mode lets nothing pass");
        assert_eq!(lenient.as_ref(), Ok(parsed), "lenient mode takes all that strict mode takes");
    }
    for (parsed, mode) in [(strict, Mode::Strict), (lenient, Mode::Lenient)] {
        let Ok(parsed) = parsed else { continue };
        look_at(&parsed.session);
        let written = parsed.session.to_bytes();
        let again = Session::parse(&written, mode, &limits);
        let again = again.unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&written)));
        assert_eq!(again.session, parsed.session);
        assert_eq!(again.session.to_bytes(), written, "writing twice gives the same");
    }
});

/// Asks for all the typed views.
fn look_at(session: &Session) {
    let _ = session.attribute("group");
    let _ = session.origin.version_number();
    for media in &session.media {
        let _ = (session.direction_of(media), session.connection_of(media));
        let _ = (media.ptime_ms(), media.maxptime_ms(), media.rtcp(), media.is_rtp());
        let _ = media.candidates().count();
        for payload_type in media.payload_types() {
            let _ = (media.rtpmap(payload_type), media.fmtp(&payload_type.to_string()));
        }
    }
}
