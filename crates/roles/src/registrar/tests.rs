mod extensions;

use bytes::Bytes;
use dialtone_wire::Limits;

use super::*;
use crate::settings::Secret;

const AOR: &str = "sip:bob@biloxi.com";

struct Fixture {
    location: Location,
    now: Instant,
    cseq: u32,
    taken: u64,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { location: Location::new(1), now: Instant::from_millis(10_000), cseq: 0, taken: 0 }
    }

    /// Sends a REGISTER with these header lines and the next CSeq.
    fn register(&mut self, headers: &str) -> Registered {
        self.cseq += 1;
        let cseq = self.cseq;
        self.register_as("one", cseq, headers)
    }

    fn register_as(&mut self, call_id: &str, cseq: u32, headers: &str) -> Registered {
        let text = format!(
            "REGISTER sip:biloxi.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK{cseq}\r\n\
             From: <{AOR}>;tag=1\r\nTo: <{AOR}>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n{headers}\r\n"
        );
        let request = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
        let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), "192.0.2.4:5060".parse().unwrap());
        self.take(&request, flow)
    }

    fn take(&mut self, request: &Message, flow: Flow) -> Registered {
        self.taken += 1;
        let settings = RegistrarSettings { bindings_per_aor: 3, ..RegistrarSettings::default() };
        let registration = Registration {
            now: self.now,
            settings: &settings,
            bindings_max: 100,
            request,
            flow,
            aor: &SmolStr::new(AOR),
            gruus: &GruuKeys::new(&Secret([1; 32])),
            random: self.taken << 32,
        };
        register(&mut self.location, &registration)
    }

    /// The contacts that a query without changes returns.
    fn contacts(&mut self) -> Vec<String> {
        match self.register("") {
            Registered::Granted { granted, change: None } => granted.contacts,
            other => panic!("a query was answered with {other:?}"),
        }
    }

    fn pass(&mut self, seconds: u64) -> Vec<(SmolStr, usize)> {
        self.now = self.now + Duration::from_secs(seconds);
        std::iter::from_fn(|| self.location.expire(self.now)).collect()
    }
}

fn status_of(outcome: &Registered) -> u16 {
    match outcome {
        Registered::Granted { .. } => 200,
        Registered::TooBrief { .. } => 423,
        Registered::Unsupported { .. } => 420,
        Registered::Refused { status, .. } => status.code(),
    }
}

#[test]
fn grants_several_contacts_and_returns_all_of_them() {
    let mut fixture = Fixture::new();
    fixture
        .register("Contact: <sip:bob@192.0.2.4>;q=0.5, <sip:bob@192.0.2.5>;expires=90\r\nExpires: 600\r\n");
    fixture.register("Contact: \"Bob\" <sip:bob@192.0.2.6>\r\n");
    assert_eq!(
        fixture.contacts(),
        [
            "<sip:bob@192.0.2.4>;expires=600;q=0.500",
            "<sip:bob@192.0.2.5>;expires=90",
            "<sip:bob@192.0.2.6>;expires=3600"
        ]
    );
    let order: Vec<_> =
        targets(&fixture.location, fixture.now, AOR).iter().map(|b| b.contact.to_string()).collect();
    assert_eq!(order, ["sip:bob@192.0.2.6", "sip:bob@192.0.2.5", "sip:bob@192.0.2.4"]);
}

#[test]
fn a_parameter_beats_the_header_and_malformed_times_are_an_hour() {
    let mut fixture = Fixture::new();
    fixture.register("Contact: <sip:a@192.0.2.4>;expires=100\r\nExpires: 200\r\n");
    fixture.register("Contact: <sip:b@192.0.2.4>;expires=soon\r\nExpires: 200\r\n");
    fixture.register("Contact: <sip:c@192.0.2.4>\r\nExpires: later\r\n");
    let contacts = fixture.contacts();
    assert!(contacts[0].ends_with("expires=100"));
    assert!(contacts[1].ends_with("expires=3600"));
    assert!(contacts[2].ends_with("expires=3600"));
}

#[test]
fn a_brief_time_is_refused_with_423_and_a_long_one_is_cut() {
    let mut fixture = Fixture::new();
    assert_eq!(
        fixture.register("Contact: <sip:b@192.0.2.4>;expires=59\r\n"),
        Registered::TooBrief { min_s: 60 }
    );
    assert!(fixture.contacts().is_empty());
    fixture.register("Contact: <sip:b@192.0.2.4>;expires=99999\r\n");
    assert_eq!(fixture.contacts(), ["<sip:b@192.0.2.4>;expires=7200"]);
}

#[test]
fn an_equivalent_contact_is_refreshed_not_added() {
    let mut fixture = Fixture::new();
    fixture.register("Contact: <sip:%62ob@EXAMPLE.com:5070>\r\n");
    fixture.register("Contact: <sip:bob@example.COM:5070>;expires=120\r\n");
    assert_eq!(fixture.contacts(), ["<sip:bob@example.COM:5070>;expires=120"]);
}

#[test]
fn expires_zero_removes_one_and_the_star_removes_all() {
    let mut fixture = Fixture::new();
    fixture.register("Contact: <sip:a@192.0.2.4>, <sip:b@192.0.2.4>, <sip:c@192.0.2.4>\r\n");
    fixture.register("Contact: <sip:a@192.0.2.4>\r\nExpires: 0\r\n");
    assert_eq!(fixture.contacts().len(), 2);
    for bad in [
        "Contact: *\r\n",
        "Contact: *\r\nExpires: 60\r\n",
        "Contact: *, <sip:b@192.0.2.4>\r\nExpires: 0\r\n",
        "Contact: *\r\nContact: *\r\nExpires: 0\r\n",
    ] {
        assert_eq!(status_of(&fixture.register(bad)), 400, "{bad}");
        assert_eq!(fixture.contacts().len(), 2);
    }
    assert_eq!(status_of(&fixture.register("Contact: *\r\nExpires: 0\r\n")), 200);
    assert!(fixture.contacts().is_empty());
    assert_eq!(fixture.location.len(), 0);
}

#[test]
fn an_older_request_changes_nothing() {
    let mut fixture = Fixture::new();
    fixture.register_as("x", 5, "Contact: <sip:a@192.0.2.4>\r\n");
    for (cseq, headers) in [
        (5, "Contact: <sip:a@192.0.2.4>;expires=0\r\n"),
        (5, "Contact: <sip:new@192.0.2.4>, <sip:a@192.0.2.4>\r\n"),
        (4, "Contact: <sip:a@192.0.2.4>\r\n"),
        (4, "Contact: <sip:a@192.0.2.4>;expires=0\r\n"),
        (4, "Contact: *\r\nExpires: 0\r\n"),
        // All or nothing: the new contact is not added either.
        (4, "Contact: <sip:new@192.0.2.4>, <sip:a@192.0.2.4>\r\n"),
    ] {
        assert_eq!(status_of(&fixture.register_as("x", cseq, headers)), 500);
        assert_eq!(fixture.contacts(), ["<sip:a@192.0.2.4>;expires=3600"]);
    }
    // Another Call-ID begins anew: the phone has restarted.
    fixture.register_as("y", 1, "Contact: <sip:a@192.0.2.4>;expires=120\r\n");
    assert_eq!(fixture.contacts(), ["<sip:a@192.0.2.4>;expires=120"]);
}

#[test]
fn the_same_request_once_more_is_granted_and_changes_nothing() {
    let mut fixture = Fixture::new();
    fixture.register_as("x", 5, "Contact: <sip:a@192.0.2.4>, <sip:b@192.0.2.4>\r\n");
    fixture.pass(100);
    let again = fixture.register_as("x", 5, "Contact: <sip:a@192.0.2.4>, <sip:b@192.0.2.4>\r\n");
    assert!(matches!(again, Registered::Granted { change: None, .. }), "{again:?}");
    let left = ["<sip:a@192.0.2.4>;expires=3500", "<sip:b@192.0.2.4>;expires=3500"];
    assert_eq!(fixture.contacts(), left);
}

#[test]
fn a_binding_ends_to_the_second() {
    let mut fixture = Fixture::new();
    fixture.register("Contact: <sip:a@192.0.2.4>;expires=60, <sip:b@192.0.2.4>;expires=120\r\n");
    assert_eq!(fixture.pass(59), []);
    assert_eq!(fixture.contacts().len(), 2);
    assert_eq!(fixture.pass(1), [(SmolStr::new(AOR), 1)]);
    assert_eq!(fixture.contacts(), ["<sip:b@192.0.2.4>;expires=60"]);
    fixture.register("Contact: <sip:b@192.0.2.4>;expires=120\r\n");
    assert_eq!(fixture.pass(60), []);
    assert_eq!(fixture.pass(60), [(SmolStr::new(AOR), 0)]);
    assert_eq!((fixture.location.len(), fixture.location.poll_timeout()), (0, None));
}

#[test]
fn limits_hold_and_refreshes_do_not_pile_up() {
    let mut fixture = Fixture::new();
    fixture.register("Contact: <sip:a@192.0.2.4>, <sip:b@192.0.2.4>, <sip:c@192.0.2.4>\r\n");
    assert_eq!(status_of(&fixture.register("Contact: <sip:d@192.0.2.4>\r\n")), 403);
    assert_eq!(status_of(&fixture.register("Contact: <sip:d@192.0.2.4\r\n")), 400);
    for _ in 0..1000 {
        fixture.now = fixture.now + Duration::from_secs(1);
        assert_eq!(status_of(&fixture.register("Contact: <sip:a@192.0.2.4>\r\n")), 200);
    }
    assert_eq!(fixture.location.len(), 3);
}

#[test]
fn contacts_behind_a_nat_are_known_by_their_via() {
    let mut fixture = Fixture::new();
    fixture.register("Contact: <sip:a@192.0.2.4>, <sip:b@10.0.0.9>\r\n");
    assert!(targets(&fixture.location, fixture.now, AOR).iter().all(|binding| !binding.behind_nat));
    let text = format!(
        "REGISTER sip:biloxi.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2;branch=z9hG4bKn\r\nFrom: <{AOR}>;tag=1\r\n\
         To: <{AOR}>\r\nCall-ID: nat\r\nCSeq: 1 REGISTER\r\nContact: <sip:n@10.0.0.2>\r\n\r\n"
    );
    let request = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
    let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), "80.0.0.1:7000".parse().unwrap());
    fixture.take(&request, flow);
    let nat = targets(&fixture.location, fixture.now, AOR).remove(0);
    assert_eq!((nat.behind_nat, nat.flow.remote.port()), (true, 7000));
}

#[test]
fn canonical_addresses_drop_what_does_not_name_the_user() {
    let uri = dialtone_wire::uri::Uri::parse("sips:%62ob:pw@alias.example:5070;transport=tcp?x=y").unwrap();
    assert_eq!(canonical_aor(uri.as_sip().unwrap(), "biloxi.com"), "sip:bob@biloxi.com");
}

#[test]
fn all_ways_to_write_a_number_are_one_address() {
    for text in [
        "sip:+33296053017@host;user=phone",
        "sip:+33-2-96.05(30)17@host;user=Phone",
        "sip:+33296053017;isub=1@host;user=phone",
    ] {
        let uri = dialtone_wire::uri::Uri::parse(text).unwrap();
        assert_eq!(
            canonical_aor(uri.as_sip().unwrap(), "biloxi.com"),
            "sip:+33296053017@biloxi.com",
            "{text}"
        );
    }
    // Without user=phone it is a name like others, and a name that is no number stays one.
    for (text, user) in [
        ("sip:+33-2@host", "+33-2"),
        ("sip:bob-by@host;user=phone", "bob-by"),
        ("sip:face-bead@host;user=phone", "face-bead"),
    ] {
        let uri = dialtone_wire::uri::Uri::parse(text).unwrap();
        let own = format!("sip:{user}@biloxi.com");
        assert_eq!(canonical_aor(uri.as_sip().unwrap(), "biloxi.com"), own, "{text}");
    }
}

#[test]
fn a_contact_that_stands_twice_in_one_request_is_taken_once() {
    let mut fixture = Fixture::new();
    let twice =
        "Contact: <sip:bob@192.0.2.4>;expires=90\r\nContact: <sip:bob@192.0.2.4:5060>;expires=120\r\n";
    assert_eq!(status_of(&fixture.register(twice)), 200);
    assert_eq!(
        fixture.contacts().len(),
        2,
        "RFC 3261 §19.1.4: the default port does not match an omitted one"
    );
    let twice = "Contact: <sip:bob@192.0.2.5>;expires=90\r\nContact: <sip:bob@192.0.2.5>;expires=120\r\n";
    assert_eq!(status_of(&fixture.register(twice)), 200);
    assert_eq!(fixture.contacts()[2], "<sip:bob@192.0.2.5>;expires=120");
}

#[test]
fn more_contacts_than_could_be_changed_are_refused_before_they_are_compared() {
    let mut fixture = Fixture::new();
    let removals = |count: usize| {
        (0..count).map(|at| format!("m: <sip:{at}@192.0.2.4>;expires=0\r\n")).collect::<String>()
    };
    assert_eq!(status_of(&fixture.register(&removals(6))), 200);
    assert_eq!(status_of(&fixture.register(&removals(7))), 403);
}
