use proptest::prelude::*;

use super::*;

fn challenge(value: &str) -> DigestChallenge {
    match Challenge::parse(value.as_bytes()).expect("a challenge") {
        Challenge::Digest(challenge) => challenge,
        Challenge::Other { scheme } => panic!("scheme {scheme}"),
    }
}

fn credentials(value: &str) -> DigestCredentials {
    match Credentials::parse(value.as_bytes()).expect("credentials") {
        Credentials::Digest(credentials) => *credentials,
        Credentials::Other { scheme } => panic!("scheme {scheme}"),
    }
}

#[test]
fn reads_the_decks_challenge_with_the_blank_in_its_nonce() {
    let challenge = challenge(
        "Digest realm=\"orange.com\", qop=\"auth\", nonce=\"f84f1cec41e6cbe5aea9c8e88d359 \", opaque=\"\", \
         stale=FALSE, algorithm=MD5",
    );
    assert_eq!(challenge.nonce, "f84f1cec41e6cbe5aea9c8e88d359 ");
    assert_eq!(challenge.opaque.as_deref(), Some(""));
    assert!(!challenge.stale);
    assert_eq!(challenge.known_algorithm(), Some(Algorithm::Md5));
    assert!(challenge.offers(Qop::Auth) && !challenge.offers(Qop::AuthInt));
}

#[test]
fn reads_the_decks_credentials_whose_response_is_no_digest() {
    let credentials = credentials(
        "Digest username=\"tin@orange.com\", realm=\"orange.com\", nonce=\"f84f1cec41e6cbe5aea9c8e88d359\", \
         opaque=\"\", uri=\"sip:orange.com\", response=\"d91jstdy65867dydq32dsdzv628\"",
    );
    assert_eq!(credentials.username, "tin@orange.com");
    assert_eq!(credentials.response, "d91jstdy65867dydq32dsdzv628");
    assert_eq!((credentials.qop, credentials.nonce_count), (None, None));
}

#[test]
fn writes_what_rfc_7616_quotes_with_quotes_and_the_rest_without() {
    let text = "Digest realm=\"a\\\"b\\\\c\", nonce=\"n\", domain=\"sip:x\", opaque=\"o\", stale=true, \
                algorithm=SHA-256, qop=\"auth,auth-int\", userhash=true, charset=UTF-8, x=\"y\"";
    let parsed = challenge(text);
    assert_eq!(parsed.realm, "a\"b\\c");
    assert_eq!(parsed.to_string(), text);
    let text = "Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"sip:x\", response=\"00\", algorithm=MD5, \
                cnonce=\"c\", opaque=\"\", qop=auth, nc=0000000A, a=b";
    let parsed = credentials(text);
    assert_eq!(parsed.nonce_count.as_ref().map(NonceCount::get), Some(10));
    assert_eq!(parsed.to_string(), text);
}

#[test]
fn takes_tokens_and_quoted_strings_alike_in_any_case_with_folding() {
    let parsed = challenge(
        "  dIGEST\r\n REALM = \"a\r\n\t b\" ,,Nonce=n/1==, stale=\"TRUE\" , algorithm=\"sha-512-256\", qop=auth",
    );
    assert_eq!(parsed.realm, "a b");
    assert_eq!(parsed.nonce, "n/1==");
    assert!(parsed.stale && parsed.offers(Qop::Auth));
    assert_eq!(parsed.known_algorithm(), Some(Algorithm::Sha512_256));
    let parsed = credentials(
        "Digest username=\"u\",realm=\"r\",nonce=\"\",uri=sip:a@b,response=\"\",qop=\"auth\",nc=\"00000001\"",
    );
    assert_eq!((parsed.uri.as_str(), parsed.qop.as_deref()), ("sip:a@b", Some("auth")));
}

#[test]
fn other_schemes_are_recognised_and_passed_over() {
    let other = |scheme: &str| scheme.to_owned();
    for value in ["Basic YWxhZGRpbjpvcGVuc2VzYW1l", "Bearer realm=\"x\"", "Negotiate"] {
        let scheme = other(value.split(' ').next().expect("first word")).into();
        assert_eq!(Challenge::parse(value.as_bytes()), Ok(Challenge::Other { scheme }));
    }
    assert_eq!(Credentials::parse(b"Basic abc="), Ok(Credentials::Other { scheme: "Basic".into() }));
}

#[test]
fn unknown_algorithms_are_kept_and_not_known() {
    let parsed = challenge("Digest realm=\"r\", nonce=\"n\", algorithm=SHA-1");
    assert_eq!(parsed.algorithm.as_deref(), Some("SHA-1"));
    assert_eq!(parsed.known_algorithm(), None);
    assert_eq!(challenge("Digest realm=\"r\", nonce=\"n\"").known_algorithm(), Some(Algorithm::Md5));
}

#[test]
fn reads_the_extended_user_name() {
    let common = "realm=\"r\", nonce=\"n\", uri=\"u\", response=\"\"";
    let parsed = credentials(&format!("Digest username*=UTF-8''J%C3%A4s%C3%B8n%20Doe, {common}"));
    assert_eq!(parsed.username, "Jäsøn Doe");
    let both = format!("Digest username*=UTF-8''a, username=\"a\", {common}");
    assert_eq!(Credentials::parse(both.as_bytes()), Err(AuthError::Repeated("username")));
    for bad in ["ISO-8859-1''a", "UTF-8'a", "UTF-8''%C3", "UTF-8''%zz", "UTF-8''%4"] {
        let value = format!("Digest username*={bad}, {common}");
        assert_eq!(Credentials::parse(value.as_bytes()), Err(AuthError::Value("username*")));
    }
}

#[test]
fn names_what_is_wrong() {
    let cases: &[(&str, AuthError)] = &[
        ("", AuthError::Scheme),
        ("\"x\"", AuthError::Scheme),
        ("Digest", AuthError::Missing("realm")),
        ("Digest realm=\"r\"", AuthError::Missing("nonce")),
        ("Digest realm=\"r\", realm=\"r\", nonce=\"n\"", AuthError::Repeated("realm")),
        ("Digest realm=\"r, nonce=\"n\"", AuthError::Parameter),
        ("Digest realm=\"r", AuthError::Unclosed),
        ("Digest realm=\"r\\", AuthError::Unclosed),
        ("Digest realm", AuthError::Parameter),
        ("Digest realm=\"r\" nonce=\"n\"", AuthError::Parameter),
        ("Digest realm=\"r\", nonce=\"n\", algorithm=\"a b\"", AuthError::Value("algorithm")),
        ("Digest realm=\"r\", nonce=\"n\", qop=\"a b\"", AuthError::Value("qop")),
    ];
    for (value, error) in cases {
        assert_eq!(Challenge::parse(value.as_bytes()), Err(*error), "{value}");
    }
    assert_eq!(Challenge::parse(b"Digest realm=\"\xff\""), Err(AuthError::NotUtf8));
    let many = format!("Digest {}", "a=b,".repeat(PARAMETERS_MAX + 1));
    assert_eq!(Challenge::parse(many.as_bytes()), Err(AuthError::TooLong));
    assert_eq!(Challenge::parse(&vec![b'a'; VALUE_BYTES_MAX + 1]), Err(AuthError::TooLong));
    let bad_count = "Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"u\", response=\"\", nc=1";
    assert_eq!(Credentials::parse(bad_count.as_bytes()), Err(AuthError::Value("nc")));
}

#[test]
fn a_value_with_line_ends_cannot_smuggle_a_header() {
    let mut parsed = challenge("Digest realm=\"r\", nonce=\"n\"");
    parsed.realm = "a\r\nX: y".into();
    assert!(!parsed.to_string().contains(['\r', '\n']));
}

proptest! {
    #[test]
    fn reading_what_was_written_gives_an_equal_challenge(
        realm in "[^\r\n]{0,20}", nonce in "[^\r\n]{0,20}", opaque in prop::option::of("[^\r\n]{0,9}"),
        stale: bool, algorithm in prop::option::of("[A-Z0-9-]{1,9}"), value in "[^\r\n]{0,9}",
    ) {
        let challenge = DigestChallenge {
            realm: realm.into(), domain: None, nonce: nonce.into(), opaque: opaque.map(Into::into), stale,
            algorithm: algorithm.map(Into::into), qop: Some(smallvec::smallvec!["auth".into()]), userhash: stale,
            others: vec![Parameter { name: "x".into(), value: value.into(), quoted: true }],
        };
        let read = Challenge::parse(challenge.to_string().as_bytes());
        prop_assert_eq!(read, Ok(Challenge::Digest(challenge)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[ -~]{0,80}") {
        for value in [bytes, format!("Digest {text}").into_bytes()] {
            let _ = (Challenge::parse(&value), Credentials::parse(&value));
        }
    }
}
