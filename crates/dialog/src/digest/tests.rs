use std::time::Duration;

use dialtone_wire::auth::{
    Algorithm, Challenge, Credentials, DigestChallenge, DigestCredentials, NonceCount, Qop,
};
use dialtone_wire::time::Instant;
use serde_json::Value;

use super::*;

const REALM: &str = "orange.com";
const KEY: [u8; 32] = [7; 32];
const REGISTER: PresentedRequest<'_> = PresentedRequest { method: "REGISTER", body: b"", source: b"" };
const OUTGOING: OutgoingRequest<'_> =
    OutgoingRequest { method: "REGISTER", uri: "sip:orange.com", body: b"", call_id: "1", at_home: true };

fn vectors(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("the vectors are JSON")
}

fn text<'a>(vector: &'a Value, key: &str) -> &'a str {
    vector[key].as_str().unwrap_or_else(|| panic!("{key} is a string"))
}

#[test]
fn md5_agrees_with_the_test_suite_of_rfc_1321() {
    let vectors = vectors(include_str!("../../../../tests/vectors/digest/md5-rfc1321.json"));
    assert_eq!(vectors.len(), 7);
    for vector in &vectors {
        let digest = hash::hash(HashFunction::Md5, &[text(vector, "input").as_bytes()]);
        assert_eq!(hash::hex(&digest), text(vector, "md5"));
    }
}

#[test]
fn responses_agree_with_the_worked_examples_of_the_rfcs() {
    let vectors = vectors(include_str!("../../../../tests/vectors/digest/digest.json"));
    let examples: Vec<&Value> =
        vectors.iter().filter(|vector| vector.get("response_computed").is_some()).collect();
    assert_eq!(examples.len(), 4);
    for vector in examples {
        let algorithm = Algorithm::from_token(text(vector, "algorithm")).expect("known");
        let function = HashFunction::of(algorithm);
        let ha1 =
            Ha1::new(function, text(vector, "username"), text(vector, "realm"), text(vector, "password"));
        let input = ResponseInput {
            algorithm,
            method: text(vector, "method"),
            uri: text(vector, "uri"),
            nonce: text(vector, "nonce"),
            cnonce: text(vector, "cnonce"),
            qop: Some((Qop::Auth, text(vector, "qop"), text(vector, "nc"))),
            body: b"",
        };
        assert_eq!(hash::hex(&response(&ha1, &input)), text(vector, "response_computed"));
    }
}

#[test]
fn sha_512_256_is_that_of_fips_180_4_and_not_sha_512_cut_short() {
    let vectors = vectors(include_str!("../../../../tests/vectors/digest/digest.json"));
    let vector = vectors.last().expect("the user hash");
    // RFC 7616 §3.4.4: H(username ":" realm).
    let computed = hash::hash(HashFunction::Sha512_256, &["Jäsøn Doe:api@example.org".as_bytes()]);
    assert_eq!(hash::hex(&computed), text(vector, "computed"));
    assert_ne!(hash::hex(&computed), text(vector, "value_in_text"), "RFC 7616 erratum 4897");
}

#[test]
fn the_hash_of_no_body_is_the_one_that_rfc_8760_prints() {
    let empty = hash::hash(HashFunction::Sha256, &[b""]);
    assert_eq!(hash::hex(&empty), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(hash::hex(&hash::hash(HashFunction::Md5, &[b""])), "d41d8cd98f00b204e9800998ecf8427e");
}

#[test]
fn no_debug_output_shows_a_secret() {
    let stored = stored();
    let secret = Secret::Password { username: "tin".into(), password: "hunter2".into() };
    let server = server(ServerSettings::default());
    let mut client = Phone::new();
    client.answer(&server.challenges(at(0), REALM, b"", false, 1)).expect("answered");
    let shown = format!("{stored:?} {secret:?} {server:?} {:?}", client.client);
    for hidden in ["hunter2", "Ha1(", &hash::hex(stored.ha1(UserForm::Bare, HashFunction::Md5).as_bytes())] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}

// ---- server and client against each other ----

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1_000)
}

fn stored() -> StoredCredential {
    StoredCredential::from_password("tin", REALM, REALM, "hunter2")
}

fn server(settings: ServerSettings) -> DigestServer {
    DigestServer::new(settings, &KEY)
}

fn only(function: HashFunction, qop: Qop) -> ServerSettings {
    ServerSettings {
        functions: [function].as_slice().into(),
        qops: [qop].as_slice().into(),
        ..Default::default()
    }
}

/// A client with a user's name and password, and one request in hand.
struct Phone {
    client: DigestClient,
    attempt: Attempt,
    username: &'static str,
    password: &'static str,
    random: u64,
}

impl Phone {
    fn new() -> Phone {
        Phone {
            client: DigestClient::new(false),
            attempt: Attempt::default(),
            username: "tin",
            password: "hunter2",
            random: 0,
        }
    }

    fn answer(&mut self, challenges: &[DigestChallenge]) -> Result<(), ClientError> {
        let challenges: Vec<_> =
            challenges.iter().map(|c| (Side::Proxy, Challenge::Digest(c.clone()))).collect();
        self.answer_all(&challenges)
    }

    fn answer_all(&mut self, challenges: &[(Side, Challenge)]) -> Result<(), ClientError> {
        let (username, password) = (self.username, self.password);
        let mut secret_of = |realm: &str| {
            let secret = Secret::Password { username: username.into(), password: password.into() };
            realm.ends_with("orange.com").then_some(secret)
        };
        let random = &mut self.random;
        let mut random = || {
            *random += 1;
            *random
        };
        self.client.handle_challenges(&mut self.attempt, challenges, &mut secret_of, &mut random)
    }

    /// The credentials for one request, after a trip through their written form.
    fn credentials(&mut self) -> DigestCredentials {
        let all = self.client.authorize(&mut self.attempt, &OUTGOING);
        assert_eq!(all.len(), 1);
        match Credentials::parse(all[0].1.to_string().as_bytes()) {
            Ok(Credentials::Digest(credentials)) => *credentials,
            other => panic!("{other:?}"),
        }
    }

    fn new_request(&mut self) {
        self.attempt = Attempt::default();
    }
}

fn verify(server: &mut DigestServer, seconds: u64, credentials: &DigestCredentials) -> Verdict {
    server.verify(at(seconds), &REGISTER, REALM, credentials, Some(&stored()))
}

fn accepted() -> Verdict {
    Verdict::Accept { user: "tin".into() }
}

#[test]
fn every_function_and_quality_of_protection_goes_through() {
    for function in HashFunction::BEST_FIRST {
        for qop in [Qop::Auth, Qop::AuthInt] {
            for username in ["tin", "tin@orange.com"] {
                let mut server = server(only(function, qop));
                let mut phone = Phone { username, ..Phone::new() };
                phone.answer(&server.challenges(at(0), REALM, b"", false, 1)).expect("answered");
                let credentials = phone.credentials();
                assert_eq!(credentials.qop.as_deref(), Some(qop.token()));
                assert_eq!(credentials.known_algorithm(), Some(function.algorithm()));
                assert_eq!(DigestServer::user_of(&credentials, REALM), "tin");
                assert_eq!(
                    verify(&mut server, 1, &credentials),
                    accepted(),
                    "{function:?} {qop:?} {username}"
                );
            }
        }
    }
}

#[test]
fn challenges_come_best_first_and_the_client_takes_the_topmost_it_knows() {
    let server = server(ServerSettings::default());
    let mut challenges = server.challenges(at(0), REALM, b"", false, 1).to_vec();
    let tokens: Vec<_> = challenges.iter().map(|c| c.algorithm.as_deref().expect("written")).collect();
    assert_eq!(tokens, ["SHA-512-256", "SHA-256", "MD5"]);
    assert!(challenges.iter().all(|c| c.offers(Qop::Auth) && c.offers(Qop::AuthInt) && !c.stale));
    challenges[0].algorithm = Some("SHA3-1024".into());
    let mut phone = Phone::new();
    phone.answer(&challenges).expect("answered");
    assert_eq!(phone.credentials().algorithm.as_deref(), Some("SHA-256"));
}

#[test]
fn a_changed_body_method_or_uri_makes_the_digest_wrong() {
    let mut server = server(only(HashFunction::Sha256, Qop::AuthInt));
    let mut phone = Phone::new();
    phone.answer(&server.challenges(at(0), REALM, b"", false, 1)).expect("answered");
    let credentials = phone.credentials();
    for request in [
        PresentedRequest { method: "REGISTER", body: b"x", source: b"" },
        PresentedRequest { method: "INVITE", body: b"", source: b"" },
    ] {
        let verdict = server.verify(at(1), &request, REALM, &credentials, Some(&stored()));
        assert_eq!(verdict, Verdict::WrongPassword);
    }
    let other_uri = DigestCredentials { uri: "sip:elsewhere".into(), ..credentials.clone() };
    assert_eq!(verify(&mut server, 1, &other_uri), Verdict::WrongPassword);
    assert_eq!(verify(&mut server, 1, &credentials), accepted());
}

#[test]
fn with_auth_a_changed_body_passes() {
    let mut server = server(only(HashFunction::Sha256, Qop::Auth));
    let mut phone = Phone::new();
    phone.answer(&server.challenges(at(0), REALM, b"", false, 1)).expect("answered");
    let request = PresentedRequest { body: b"x", ..REGISTER };
    let verdict = server.verify(at(1), &request, REALM, &phone.credentials(), Some(&stored()));
    assert_eq!(verdict, accepted());
}

#[test]
fn wrong_password_and_unknown_user_are_told_apart_for_us_only() {
    let mut server = server(ServerSettings::default());
    let mut phone = Phone { password: "hunter3", ..Phone::new() };
    phone.answer(&server.challenges(at(0), REALM, b"", false, 1)).expect("answered");
    let credentials = phone.credentials();
    assert_eq!(verify(&mut server, 1, &credentials), Verdict::WrongPassword);
    assert_eq!(server.verify(at(1), &REGISTER, REALM, &credentials, None), Verdict::UnknownUser);
    let of_another = DigestCredentials { username: "rob".into(), ..credentials };
    assert_eq!(verify(&mut server, 1, &of_another), Verdict::UnknownUser);
}

#[test]
fn an_unknown_user_is_never_let_in_by_the_digest_that_stands_in() {
    let mut server = server(ServerSettings::default());
    let mut phone = Phone { username: "", password: "", ..Phone::new() };
    phone.answer(&server.challenges(at(0), REALM, b"", false, 1)).expect("answered");
    assert_eq!(server.verify(at(1), &REGISTER, REALM, &phone.credentials(), None), Verdict::UnknownUser);
}

#[test]
fn a_nonce_count_used_before_is_a_replay_in_any_order() {
    let mut server = server(ServerSettings::default());
    let mut phone = Phone::new();
    phone.answer(&server.challenges(at(0), REALM, b"", false, 1)).expect("answered");
    let used: Vec<_> = (0..300).map(|_| phone.credentials()).collect();
    for index in [0, 2, 1, 120, 60] {
        assert_eq!(verify(&mut server, 1, &used[index]), accepted(), "{index}");
        assert_eq!(verify(&mut server, 2, &used[index]), Verdict::Replay, "{index}");
    }
    assert_eq!(verify(&mut server, 3, &used[299]), accepted());
    assert_eq!(verify(&mut server, 3, &used[100]), Verdict::Replay, "too far behind to know");
    assert_eq!(verify(&mut server, 3, &used[298]), accepted());
}

#[test]
fn an_old_nonce_is_stale_and_the_client_retries_once_without_asking() {
    let mut server = server(ServerSettings::default());
    let mut phone = Phone::new();
    phone.answer(&server.challenges(at(0), REALM, b"", false, 1)).expect("answered");
    let late = phone.credentials();
    assert_eq!(verify(&mut server, 599, &late), accepted());
    let too_late = phone.credentials();
    assert_eq!(verify(&mut server, 600, &too_late), Verdict::Stale);
    phone.answer(&server.challenges(at(600), REALM, b"", true, 2)).expect("one silent retry");
    assert_eq!(verify(&mut server, 600, &phone.credentials()), accepted());
    let again = phone.answer(&server.challenges(at(600), REALM, b"", true, 3));
    assert_eq!(again, Err(ClientError::WrongPassword { realm: REALM.into() }), "no loop");
}

#[test]
fn a_nonce_of_another_run_or_key_or_realm_is_stale_when_the_password_is_right() {
    let settings = |epoch| ServerSettings {
        nonces: NonceSettings { epoch, ..Default::default() },
        ..Default::default()
    };
    let before = server(settings(1));
    let mut phone = Phone::new();
    phone.answer(&before.challenges(at(0), REALM, b"", false, 1)).expect("answered");
    let credentials = phone.credentials();
    for mut after in [server(settings(2)), DigestServer::new(settings(1), &[8; 32])] {
        assert_eq!(verify(&mut after, 1, &credentials), Verdict::Stale);
        let wrong = DigestCredentials { nonce: "f84f1cec".into(), ..credentials.clone() };
        assert_eq!(verify(&mut after, 1, &wrong), Verdict::WrongPassword);
    }
    let of_realm = before.challenges(at(0), "other", b"", false, 1).remove(0);
    let mut phone = Phone::new();
    phone.answer(&[DigestChallenge { realm: REALM.into(), ..of_realm }]).expect("answered");
    assert_eq!(verify(&mut server(settings(1)), 1, &phone.credentials()), Verdict::Stale);
}

#[test]
fn the_shard_that_issued_the_nonce_is_asked() {
    let settings = |shard| ServerSettings {
        nonces: NonceSettings { shard, ..Default::default() },
        ..Default::default()
    };
    let (mut home, mut other) = (server(settings(3)), server(settings(4)));
    let mut phone = Phone::new();
    phone.answer(&home.challenges(at(0), REALM, b"", false, 1)).expect("answered");
    let credentials = phone.credentials();
    let Verdict::AskShard { shard: 3, nonce } = verify(&mut other, 1, &credentials) else {
        panic!("the other shard does not know the counts");
    };
    assert_eq!(Verdict::of_use(home.judge_use(at(1), nonce), "tin"), accepted());
    assert_eq!(home.judge_use(at(1), nonce), NonceVerdict::Replay);
    assert_eq!(verify(&mut home, 1, &credentials), Verdict::Replay);
    let wrong = DigestCredentials { uri: "sip:x".into(), ..credentials };
    assert_eq!(verify(&mut other, 1, &wrong), Verdict::WrongPassword, "no question for a wrong digest");
}

#[test]
fn the_memory_of_nonces_is_bounded_and_what_was_dropped_is_stale() {
    let nonces = NonceSettings { remembered_max: 3, ..Default::default() };
    let mut server = server(ServerSettings { nonces, ..Default::default() });
    let phones: Vec<_> = (0..5u64)
        .map(|index| {
            let mut phone = Phone::new();
            phone.answer(&server.challenges(at(index), REALM, b"", false, index)).expect("answered");
            (phone.credentials(), phone.credentials())
        })
        .collect();
    for (first, _) in &phones {
        assert_eq!(verify(&mut server, 5, first), accepted());
    }
    for (index, (first, second)) in phones.iter().enumerate() {
        let (replayed, next) =
            if index < 2 { (Verdict::Stale, Verdict::Stale) } else { (Verdict::Replay, accepted()) };
        assert_eq!(verify(&mut server, 6, first), replayed, "{index}");
        assert_eq!(verify(&mut server, 6, second), next, "{index}");
    }
    let mut nonces = Nonces::new(nonces, &KEY);
    assert_eq!(nonces.remembered(), 0);
    let (nonce, later) = (nonces.issue(at(0), REALM, b"", 1), nonces.issue(at(900), REALM, b"", 2));
    for (seconds, text) in [(1, nonce), (901, later)] {
        let nonce::Reading::Issued { nonce, .. } = nonces.read(&text, REALM, b"") else { panic!("ours") };
        assert_eq!(nonces.judge_use(at(seconds), nonce.with_count(Some(1))), NonceVerdict::Fresh);
        assert_eq!(nonces.remembered(), 1, "what has expired is forgotten");
    }
}

#[test]
fn any_changed_character_makes_a_nonce_foreign() {
    let nonces = Nonces::new(NonceSettings::default(), &KEY);
    let text = nonces.issue(at(1), REALM, b"", 99);
    assert_eq!(text.len(), 48);
    assert!(matches!(nonces.read(&text, REALM, b""), nonce::Reading::Issued { shard: 0, .. }));
    for at in 0..text.len() {
        let mut changed = text.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        assert_eq!(nonces.read(&changed, REALM, b""), nonce::Reading::Foreign);
    }
    for garbage in ["", "A", &"é".repeat(24), &"=".repeat(48)] {
        assert_eq!(nonces.read(garbage, REALM, b""), nonce::Reading::Foreign);
    }
}

#[test]
fn an_old_client_without_qop_may_use_each_nonce_once() {
    let mut server = server(ServerSettings::default());
    let mut challenge = server.challenges(at(0), REALM, b"", false, 1).pop().expect("MD5");
    challenge.qop = None;
    let mut phone = Phone::new();
    phone.answer(&[challenge]).expect("answered");
    let credentials = phone.credentials();
    assert_eq!((credentials.qop.as_ref(), credentials.cnonce.as_ref()), (None, None));
    assert_eq!(verify(&mut server, 1, &credentials), accepted());
    assert_eq!(verify(&mut server, 1, &credentials), Verdict::Stale);
    let mut strict = DigestServer::new(ServerSettings { without_qop: false, ..Default::default() }, &KEY);
    assert_eq!(verify(&mut strict, 1, &credentials), Verdict::Malformed(MalformedReason::Qop));
}

#[test]
fn credentials_that_break_the_rules_or_are_not_for_us_are_named() {
    let mut server = server(only(HashFunction::Md5, Qop::Auth));
    let mut phone = Phone::new();
    phone.answer(&server.challenges(at(0), REALM, b"", false, 1)).expect("answered");
    let good = phone.credentials();
    let mut check = |credentials: DigestCredentials, verdict: Verdict| {
        assert_eq!(verify(&mut server, 1, &credentials), verdict);
    };
    let with = |change: fn(&mut DigestCredentials)| {
        let mut credentials = good.clone();
        change(&mut credentials);
        credentials
    };
    let malformed = Verdict::Malformed;
    check(with(|c| c.algorithm = Some("SHA-1".into())), Verdict::NotForUs);
    check(with(|c| c.algorithm = Some("SHA-256".into())), Verdict::NotForUs);
    check(with(|c| c.algorithm = Some("MD5-sess".into())), Verdict::NotForUs);
    check(with(|c| c.realm = "elsewhere".into()), Verdict::NotForUs);
    check(with(|c| c.response = "d91jstdy65867dydq32dsdzv628".into()), malformed(MalformedReason::Response));
    check(with(|c| c.response = "".into()), malformed(MalformedReason::Response));
    check(with(|c| c.response = "00".repeat(32).into()), malformed(MalformedReason::Response));
    check(with(|c| c.qop = Some("auth-int".into())), malformed(MalformedReason::Qop));
    check(with(|c| c.cnonce = None), malformed(MalformedReason::NoCnonce));
    check(with(|c| c.nonce_count = None), malformed(MalformedReason::NonceCount));
    check(with(|c| c.nonce_count = Some(NonceCount::new(0))), malformed(MalformedReason::NonceCount));
    check(with(|c| c.algorithm = None), accepted());
}

#[test]
fn the_session_algorithms_bind_ha1_to_both_nonces() {
    let server = server(only(HashFunction::Sha256, Qop::Auth));
    let mut challenge = server.challenges(at(0), REALM, b"", false, 1).remove(0);
    challenge.algorithm = Some("SHA-256-sess".into());
    let mut phone = Phone::new();
    phone.answer(&[challenge]).expect("answered");
    let (first, second) = (phone.credentials(), phone.credentials());
    assert_eq!(first.cnonce, second.cnonce);
    // Computed here step by step from RFC 7616 §3.4.1 and §3.4.2.
    let h = |text: String| hash::hex(&hash::hash(HashFunction::Sha256, &[text.as_bytes()]));
    let (nonce, cnonce) = (&first.nonce, first.cnonce.as_deref().expect("sent"));
    let ha1 = h(format!("{}:{nonce}:{cnonce}", h(format!("tin:{REALM}:hunter2"))));
    let ha2 = h("REGISTER:sip:orange.com".to_owned());
    assert_eq!(first.response, h(format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}")));
    assert_eq!(second.response, h(format!("{ha1}:{nonce}:00000002:{cnonce}:auth:{ha2}")));
}

#[test]
fn a_second_refusal_means_a_wrong_password_and_ends_the_attempt() {
    let server = server(ServerSettings::default());
    let mut phone = Phone { password: "hunter3", ..Phone::new() };
    phone.answer(&server.challenges(at(0), REALM, b"", false, 1)).expect("answered");
    phone.credentials();
    let refused = phone.answer(&server.challenges(at(1), REALM, b"", false, 2));
    assert_eq!(refused, Err(ClientError::WrongPassword { realm: REALM.into() }));
    phone.new_request();
    assert!(phone.client.authorize(&mut phone.attempt, &OUTGOING).is_empty(), "not sent again unasked");
}

#[test]
fn a_nonce_from_before_is_used_unasked_and_counted_on() {
    let mut server = server(ServerSettings::default());
    let mut phone = Phone::new();
    phone.answer(&server.challenges(at(0), REALM, b"", false, 1)).expect("answered");
    let first = phone.credentials();
    phone.new_request();
    let second = phone.credentials();
    assert_eq!(second.nonce, first.nonce);
    assert_eq!(second.nonce_count.as_ref().map(NonceCount::get), Some(2));
    assert_eq!(verify(&mut server, 1, &first), accepted());
    assert_eq!(verify(&mut server, 1, &second), accepted());
    // A server that lost its memory may refuse it without saying stale: that is not yet a wrong password.
    phone.new_request();
    phone.credentials();
    phone.answer(&server.challenges(at(1), REALM, b"", false, 2)).expect("answered");
    assert_eq!(verify(&mut server, 1, &phone.credentials()), accepted());
    let refused = phone.answer(&server.challenges(at(1), REALM, b"", false, 3));
    assert!(matches!(refused, Err(ClientError::WrongPassword { .. })));
}

#[test]
fn credentials_that_a_401_asked_for_go_to_that_host_alone() {
    let server = server(ServerSettings::default());
    let challenges = server.challenges(at(0), "orange.com", b"", false, 1);
    let challenges: Vec<_> =
        challenges.into_iter().map(|challenge| (Side::UserAgent, Challenge::Digest(challenge))).collect();
    let mut phone = Phone::new();
    let register =
        OutgoingRequest { method: "REGISTER", uri: "sip:orange.com", body: b"", call_id: "1", at_home: true };
    assert!(phone.client.authorize(&mut phone.attempt, &register).is_empty());
    phone.answer_all(&challenges).expect("answered");
    assert_eq!(phone.client.authorize(&mut phone.attempt, &register).len(), 1);
    for (uri, expected) in [
        ("sip:rob@ORANGE.com:5060;transport=tcp", 1),
        ("sip:rob@10.0.0.4", 0),
        ("sip:orange.com@10.0.0.4", 0),
        ("sip:rob@my.orange.com", 0),
        ("tel:+33", 0),
    ] {
        let request = OutgoingRequest { method: "BYE", uri, body: b"", call_id: "1", at_home: true };
        assert_eq!(phone.client.authorize(&mut Attempt::default(), &request).len(), expected, "{uri}");
    }
}

#[test]
fn credentials_for_a_proxy_stay_within_the_call_unless_it_is_known_to_be_the_own_one() {
    let server = server(ServerSettings::default());
    let mut phone = Phone::new();
    let request = |call_id, at_home| OutgoingRequest { call_id, at_home, ..OUTGOING };
    for (realm, asked_at_home, expected) in [
        // In the same call, in another one of our own server, in another one of somebody else.
        ("orange.com", true, [1, 1, 0]),
        ("orange.com", false, [1, 0, 0]),
        ("my.orange.com", true, [1, 0, 0]),
        ("my.orange.com", false, [1, 0, 0]),
    ] {
        phone.client = DigestClient::abroad(false);
        phone.client.know_realm("ORANGE.com");
        phone.new_request();
        assert!(phone.client.authorize(&mut phone.attempt, &request("a", asked_at_home)).is_empty());
        phone.answer(&server.challenges(at(0), realm, b"", false, 1)).expect("answered");
        let requests = [request("a", false), request("b", true), request("b", false)];
        let sent = requests.map(|request| phone.client.authorize(&mut Attempt::default(), &request).len());
        assert_eq!(sent, expected, "{realm}, asked at home: {asked_at_home}");
    }
}

#[test]
fn the_challenges_that_are_kept_are_limited_and_the_one_used_longest_ago_goes() {
    let server = server(ServerSettings::default());
    let mut phone = Phone { client: DigestClient::abroad(false), ..Phone::new() };
    let of_call = |phone: &mut Phone, call: u64| {
        let call_id = call.to_string();
        let request = OutgoingRequest { call_id: &call_id, at_home: false, ..OUTGOING };
        phone.client.authorize(&mut phone.attempt, &request).len()
    };
    for call in 0..200 {
        phone.new_request();
        assert_eq!(of_call(&mut phone, call), 0);
        phone.answer(&server.challenges(at(0), "orange.com", b"", false, 1)).expect("answered");
        assert_eq!(of_call(&mut phone, 0), 1, "the first call is used all the time");
    }
    let kept = (0..200).filter(|call| of_call(&mut phone, *call) == 1).count();
    assert_eq!(kept, 64);
}

#[test]
fn several_realms_on_both_sides_are_answered_in_one_request() {
    let server = server(ServerSettings::default());
    let of = |side, realm: &str| {
        let challenges = server.challenges(at(0), realm, b"", false, 1);
        challenges.into_iter().map(move |challenge| (side, Challenge::Digest(challenge)))
    };
    let mut challenges: Vec<_> = of(Side::Proxy, "orange.com").collect();
    challenges.push((Side::Proxy, Challenge::Other { scheme: "Basic".into() }));
    challenges.extend(of(Side::Proxy, "edge.orange.com"));
    challenges.extend(of(Side::UserAgent, "orange.com"));
    challenges.extend(of(Side::Proxy, "stranger"));
    let mut phone = Phone::new();
    phone.answer_all(&challenges).expect("answered");
    let all = phone.client.authorize(&mut phone.attempt, &OUTGOING);
    let realms: Vec<_> = all.iter().map(|(side, c)| (*side, c.realm.as_str())).collect();
    let expected =
        [(Side::Proxy, "orange.com"), (Side::Proxy, "edge.orange.com"), (Side::UserAgent, "orange.com")];
    assert_eq!(realms, expected);
    assert!(all.iter().all(|(_, c)| c.algorithm.as_deref() == Some("SHA-512-256")));
}

#[test]
fn says_why_no_challenge_can_be_answered() {
    let server = server(ServerSettings::default());
    let mut phone = Phone::new();
    let stranger = server.challenges(at(0), "stranger", b"", false, 1);
    assert_eq!(phone.answer(&stranger), Err(ClientError::NoCredentials { realm: "stranger".into() }));
    let basic = [(Side::UserAgent, Challenge::Other { scheme: "Basic".into() })];
    assert_eq!(phone.answer_all(&basic), Err(ClientError::NotSupported));
    let mut odd = server.challenges(at(0), REALM, b"", false, 1).remove(0);
    odd.qop = Some(["auth-conf".into()].as_slice().into());
    assert_eq!(phone.answer(&[odd]), Err(ClientError::NotSupported));
    assert_eq!(phone.answer(&[]), Err(ClientError::NotSupported));
}

#[test]
fn a_challenge_with_sha_1_is_passed_over() {
    let server = server(only(HashFunction::Md5, Qop::Auth));
    let md5 = server.challenges(at(0), REALM, b"", false, 1).remove(0);
    let mut sha_1 = md5.clone();
    sha_1.algorithm = Some("SHA-1".into());
    assert_eq!(Phone::new().answer(&[sha_1.clone()]), Err(ClientError::NotSupported));
    let mut phone = Phone::new();
    phone.answer(&[sha_1, md5]).expect("there is one with MD5");
    assert_eq!(phone.credentials().algorithm.as_deref(), Some("MD5"));
}

#[test]
fn an_endless_chain_of_realms_ends() {
    let server = server(ServerSettings::default());
    let mut phone = Phone::new();
    let rounds = (0..100).take_while(|round| {
        let challenges = server.challenges(at(0), &format!("{round}.orange.com"), b"", false, 1);
        phone.answer(&challenges).is_ok()
    });
    assert_eq!(rounds.count(), 16);
}

#[test]
fn a_stored_digest_answers_challenges_of_its_function_only() {
    let server = server(ServerSettings::default());
    let challenges = server.challenges(at(0), REALM, b"", false, 1);
    let challenges: Vec<_> =
        challenges.into_iter().map(|c| (Side::UserAgent, Challenge::Digest(c))).collect();
    let ha1 = Ha1::new(HashFunction::Md5, "tin", REALM, "hunter2");
    let secret = Secret::Ha1 { username: "tin".into(), function: HashFunction::Md5, ha1 };
    let (mut client, mut attempt) = (DigestClient::new(true), Attempt::default());
    client
        .handle_challenges(&mut attempt, &challenges, &mut |_| Some(secret.clone()), &mut || 5)
        .expect("the third challenge is MD5");
    let all = client.authorize(&mut attempt, &OUTGOING);
    assert_eq!(all[0].1.algorithm.as_deref(), Some("MD5"));
    assert_eq!(all[0].1.qop.as_deref(), Some("auth-int"), "the client was asked to protect bodies");
}

#[test]
fn what_is_stored_comes_back_equal() {
    let stored = stored();
    let all = |form| {
        HashFunction::BEST_FIRST.map(|function| {
            Ha1::from_bytes(function, stored.ha1(form, function).as_bytes()).expect("right length")
        })
    };
    let back = StoredCredential::from_stored(
        stored.user(),
        stored.domain(),
        stored.realm(),
        all(UserForm::Bare),
        all(UserForm::Qualified),
    );
    assert!(back == stored);
    assert!(Ha1::from_bytes(HashFunction::Md5, &[0; 32]).is_none());
}

#[test]
fn a_nonce_is_refused_before_it_was_issued() {
    let mut nonces = Nonces::new(NonceSettings { life: Duration::from_secs(9), ..Default::default() }, &KEY);
    let text = nonces.issue(at(100), REALM, b"", 1);
    let nonce::Reading::Issued { nonce, .. } = nonces.read(&text, REALM, b"") else { panic!("ours") };
    assert_eq!(nonces.judge_use(at(99), nonce.with_count(Some(1))), NonceVerdict::Stale);
}
