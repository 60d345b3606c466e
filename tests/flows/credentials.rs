//! Digest credentials as a client without our code computes them (RFC 7616 §3.4, with MD5 as RFC 3665 has it).

use dialtone_wire::auth::{Challenge, DigestChallenge};
use dialtone_wire::{HeaderName, Message};
use md5::{Digest as _, Md5};

/// The MD5 challenge of a response.
///
/// # Panics
/// When it has none.
pub(crate) fn challenge_of(response: &Message) -> DigestChallenge {
    let names = [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate];
    let lines = response.header_lines().filter(|header| names.contains(&header.name));
    let mut challenges = lines.filter_map(|header| match Challenge::parse(header.value) {
        Ok(Challenge::Digest(digest)) => Some(digest),
        _ => None,
    });
    let is_md5 =
        |digest: &DigestChallenge| digest.known_algorithm() == Some(dialtone_wire::auth::Algorithm::Md5);
    challenges.find(is_md5).expect("an MD5 challenge")
}

/// The value of Authorization for a request.
pub(crate) fn authorization(
    challenge: &DigestChallenge,
    user: &str,
    password: &str,
    method: &str,
    uri: &str,
    count: u32,
) -> String {
    let (realm, nonce) = (&challenge.realm, &challenge.nonce);
    let ha1 = hash(&format!("{user}:{realm}:{password}"));
    let ha2 = hash(&format!("{method}:{uri}"));
    let response = hash(&format!("{ha1}:{nonce}:{count:08x}:0a4f113b:auth:{ha2}"));
    let opaque = challenge.opaque.as_ref().map(|opaque| format!(", opaque=\"{opaque}\"")).unwrap_or_default();
    format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{response}\", algorithm=MD5, cnonce=\"0a4f113b\", qop=auth, nc={count:08x}{opaque}"
    )
}

fn hash(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
