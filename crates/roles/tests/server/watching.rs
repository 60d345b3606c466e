//! Who watches a registration (RFC 3680), on servers of one and of three shards.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialtone_roles::io::{Input, Output};
use dialtone_roles::{Engine, Settings, steer, turn};
use dialtone_wire::net::Flow;
use dialtone_wire::time::Instant;
use dialtone_wire::{HeaderName, Limits, Message};

use crate::peers::{Request, SERVER, Server, register, settings};
use crate::reginfo;

const BOB: &str = "sip:bob@sip.test";
const PHONE: &str = "127.0.0.3:5080";
const WATCHER: &str = "127.0.0.4:5090";

/// A server of several shards.
struct Host {
    settings: Arc<Settings>,
    engines: Vec<Engine>,
    timers: Vec<Option<Instant>>,
    now: Instant,
    sent: Vec<(String, Message)>,
    /// The watcher answers no NOTIFY.
    is_deaf: bool,
    /// What it answers otherwise.
    answer: u16,
}

impl Host {
    fn new(shards: u16) -> Host {
        let settings = Arc::new(Settings { shards, authenticate: false, ..settings() });
        let engines = (0..shards).map(|shard| Engine::new(shard, [3; 32], settings.clone())).collect();
        let now = Instant::from_millis(1000);
        let timers = vec![None; usize::from(shards)];
        Host { settings, engines, timers, now, sent: Vec::new(), is_deaf: false, answer: 200 }
    }

    fn input(&mut self, shard: u16, input: Input) {
        let mut inputs = VecDeque::from([(shard, input)]);
        while let Some((shard, input)) = inputs.pop_front() {
            let at = usize::from(shard);
            let mut packets = Vec::new();
            let next = turn(&mut self.engines[at], self.now, input, |output| match output {
                Output::Transmit(transmit) => packets.push(transmit),
                Output::Notice { to, notice } => inputs.push_back((to, Input::Notice(notice))),
                _ => {}
            });
            self.timers[at] = next.map(|(at, _)| at);
            for transmit in packets {
                let message = Message::parse(transmit.bytes, &Limits::default()).unwrap();
                message.check().unwrap();
                if message.value(HeaderName::ContentType) == Some(b"application/reginfo+xml") {
                    reginfo::check(message.body());
                }
                if !self.is_deaf && message.is_request() {
                    let bytes = Bytes::from(answer_to(&message, self.answer));
                    let to = steer(&self.settings, &bytes);
                    inputs.push_back((to, Input::Packet { flow: transmit.flow, bytes }));
                }
                self.sent.push((transmit.flow.remote.to_string(), message));
            }
        }
    }

    fn receive(&mut self, from: &str, text: &str) -> Vec<(String, Message)> {
        let flow = Flow::udp(SERVER.parse().unwrap(), from.parse().unwrap());
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.sent.clear();
        self.input(steer(&self.settings, &bytes), Input::Packet { flow, bytes });
        std::mem::take(&mut self.sent)
    }

    fn pass(&mut self, millis: u64) -> Vec<(String, Message)> {
        let end = self.now + Duration::from_millis(millis);
        self.sent.clear();
        while let Some((shard, at)) = (0_u16..)
            .zip(&self.timers)
            .filter_map(|(shard, at)| Some((shard, (*at)?)))
            .filter(|(_, at)| *at <= end)
            .min_by_key(|(_, at)| *at)
        {
            self.now = self.now.max(at);
            self.input(shard, Input::Timeout);
        }
        self.now = end;
        std::mem::take(&mut self.sent)
    }

    /// Bob's phone registers.
    fn register(&mut self, cseq: u32, expires_s: u32) -> Vec<(String, Message)> {
        let extra = format!("Contact: <sip:x@{PHONE};a=%3C&b>\r\nExpires: {expires_s}\r\n");
        self.receive(PHONE, &Request { cseq, extra, ..register(BOB, PHONE, "reg") }.text())
    }

    /// Bob subscribes; what is answered first, and what comes then.
    fn subscribe(&mut self, call_id: &str, expires_s: u32) -> (Message, Vec<(String, Message)>) {
        let mut sent = self.receive(WATCHER, &subscribe(call_id, expires_s).text());
        (sent.remove(0).1, sent)
    }

    fn sum(&self, name: &str) -> usize {
        let tables = self.engines.iter().flat_map(|engine| engine.tables().iter().collect::<Vec<_>>());
        tables.filter(|(own, _)| *own == name).map(|(_, size)| size).sum()
    }

    fn is_at_rest(&mut self) -> bool {
        self.pass(60_000);
        ["subscriptions", "watched", "client_transactions", "server_transactions", "queries"]
            .iter()
            .all(|name| self.sum(name) == 0)
    }
}

fn subscribe(call_id: &str, expires_s: u32) -> Request<'_> {
    Request {
        method: "SUBSCRIBE",
        uri: BOB,
        from: BOB,
        to: BOB,
        via: WATCHER,
        call_id,
        cseq: 1,
        extra: format!(
            "Event: reg\r\nAccept: application/reginfo+xml\r\nContact: <sip:w@{WATCHER}>\r\nExpires: {expires_s}\r\n"
        ),
    }
}

/// A request in the dialog of a 200.
fn again(granted: &Message, expires_s: u32) -> String {
    let to = String::from_utf8(granted.value(HeaderName::To).unwrap().to_vec()).unwrap();
    let call_id = granted.call_id().unwrap().to_owned();
    let contact = granted.contacts().next().unwrap().unwrap().address().unwrap().uri_text.to_owned();
    let request = Request { uri: &contact, cseq: 2, ..subscribe(&call_id, expires_s) };
    request.text().replace(&format!("To: <{BOB}>"), &format!("To: {to}"))
}

fn answer_to(request: &Message, status: u16) -> String {
    let mut text = format!("SIP/2.0 {status} Whatever\r\n");
    for name in [HeaderName::Via, HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
        let value = String::from_utf8(request.value(name).unwrap().to_vec()).unwrap();
        text.push_str(&format!("{}: {value}\r\n", name.as_str()));
    }
    text + "Content-Length: 0\r\n\r\n"
}

fn status(message: &Message) -> u16 {
    message.status().map_or(0, |status| status.code())
}

/// What the NOTIFYs say: version, extent, state of the registration, events of the contacts, Subscription-State.
fn told(sent: &[(String, Message)]) -> Vec<String> {
    let notifies = sent.iter().filter(|(to, message)| to == WATCHER && message.is_request());
    let words = notifies.map(|(_, notify)| {
        assert_eq!(notify.method().unwrap().as_str(), "NOTIFY");
        assert_eq!(notify.value(HeaderName::Event), Some(&b"reg"[..]));
        let body = std::str::from_utf8(notify.body()).unwrap();
        let values = |name: &str| {
            let name = format!(" {name}=\"");
            let split = body.split(&name).skip(1);
            split.map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let state = std::str::from_utf8(notify.value(HeaderName::SubscriptionState).unwrap()).unwrap();
        // The version of the XML is not the one of the document.
        let version = values("version")[1..].join("");
        let states = values("state").join(" ");
        format!("{version} {states} [{}] {state}", values("event").join(" "))
    });
    words.collect()
}

#[test]
fn a_watcher_is_told_of_each_change_of_a_registration() {
    for shards in [1, 3] {
        for number in 0..6 {
            let mut host = Host::new(shards);
            // Other Call-IDs have other shards.
            let (granted, sent) = host.subscribe(&format!("watch{number}"), 3000);
            assert_eq!(status(&granted), 200);
            assert_eq!(granted.value(HeaderName::Expires), Some(&b"3000"[..]));
            assert_eq!(told(&sent), ["0 full init [] active;expires=3000"]);
            let sent = host.register(1, 300);
            assert_eq!(told(&sent), ["1 partial active active [registered] active;expires=3000"]);
            let body = sent.iter().find(|(to, _)| to == WATCHER).unwrap().1.body();
            let uri = format!("<uri>sip:x@{PHONE};a=%3C&amp;b</uri>");
            assert!(std::str::from_utf8(body).unwrap().contains(&uri), "{sent:?}");
            host.pass(100_000);
            let sent = host.register(2, 300);
            assert_eq!(told(&sent), ["2 partial active active [refreshed] active;expires=2900"]);
            let sent = host.register(3, 200);
            assert_eq!(told(&sent), ["3 partial active active [shortened] active;expires=2900"]);
            let sent = host.register(4, 0);
            assert_eq!(told(&sent), ["4 partial terminated terminated [unregistered] active;expires=2900"]);
            // He goes away himself.
            let sent = host.receive(WATCHER, &again(&granted, 0));
            assert_eq!(status(&sent[0].1), 200);
            assert_eq!(told(&sent), ["5 full init [] terminated;reason=timeout"]);
            assert!(told(&host.register(5, 60)).is_empty());
            assert!(host.is_at_rest());
        }
    }
}

#[test]
fn hostile_contacts_are_text_in_the_document() {
    let mut host = Host::new(1);
    host.subscribe("watch", 3000);
    let nasty = [
        ("\"</uri><!--]]>&lt;\\\" <\" ", "sip:x&amp;y'z@127.0.0.3:5080;a=%00%3C!;b=%22"),
        ("\"Évil\u{fffe}&'<>\" ", "sip:%3C/uri%3E&;=+$,?'@127.0.0.3:5080;c='&'"),
        ("\"\u{202e}\u{feff}<?xml?>\" ", "sip:a@127.0.0.3:5080;d=~*'!&"),
    ];
    for (number, (display, uri)) in (1..).zip(nasty) {
        let (plain, call_id) = (format!("n{number}"), format!("<&'\">{number}@]]>"));
        let request = Request {
            method: "REGISTER",
            uri: "sip:sip.test",
            from: BOB,
            to: BOB,
            via: PHONE,
            call_id: &plain,
            cseq: 1,
            extra: format!("Contact: {display}<{uri}>;expires=300;q=0.1\r\n"),
        };
        let text = request.text().replace(&format!("Call-ID: {plain}"), &format!("Call-ID: {call_id}"));
        let sent = host.receive(PHONE, &text);
        let answer = sent.iter().find(|(to, _)| to == PHONE).map(|(_, answer)| status(answer));
        assert_eq!(answer, Some(200), "{display}<{uri}>");
        let (_, notify) = sent.iter().find(|(to, _)| to == WATCHER).expect("a NOTIFY");
        assert_eq!(reginfo::contacts(notify.body()), [(uri.to_owned(), call_id)]);
    }
}

#[test]
fn an_unplugged_phone_is_told_as_expired_within_a_second() {
    for shards in [1, 3] {
        let mut host = Host::new(shards);
        host.register(1, 60);
        let (_, sent) = host.subscribe("watch", 3000);
        assert_eq!(told(&sent), ["0 full active active [registered] active;expires=3000"]);
        assert!(told(&host.pass(59_000)).is_empty(), "a second too early");
        let sent = host.pass(2_000);
        assert_eq!(told(&sent), ["1 partial terminated terminated [expired] active;expires=2940"]);
        assert_eq!(host.sum("bindings"), 0);
    }
}

#[test]
fn a_subscription_that_is_not_refreshed_ends_and_a_refresh_tells_all_again() {
    for shards in [1, 3] {
        let mut host = Host::new(shards);
        host.register(1, 7200);
        let (granted, _) = host.subscribe("watch", 100);
        host.pass(90_000);
        let sent = host.receive(WATCHER, &again(&granted, 100));
        assert_eq!(status(&sent[0].1), 200);
        assert_eq!(told(&sent), ["1 full active active [registered] active;expires=100"]);
        assert!(told(&host.pass(99_000)).is_empty());
        assert_eq!(told(&host.pass(1_000)), ["2 partial active [] terminated;reason=timeout"]);
        assert!(host.is_at_rest());
        let late = host.receive(WATCHER, &again(&granted, 100).replace("CSeq: 2", "CSeq: 3"));
        assert_eq!(status(&late[0].1), 481);
        // Nor does a server know it that has begun anew.
        let mut host = Host::new(shards);
        let late = host.receive(WATCHER, &again(&granted, 100));
        assert_eq!(status(&late[0].1), 481);
    }
}

#[test]
fn a_fetch_is_one_notify() {
    for shards in [1, 3] {
        for number in 0..6 {
            let mut host = Host::new(shards);
            host.register(1, 60);
            let (granted, sent) = host.subscribe(&format!("fetch{number}"), 0);
            assert_eq!((status(&granted), granted.value(HeaderName::Expires)), (200, Some(&b"0"[..])));
            assert_eq!(told(&sent), ["0 full active active [registered] terminated;reason=timeout"]);
            assert!(host.is_at_rest());
        }
    }
}

#[test]
fn changes_wait_for_the_answer_and_a_watcher_that_is_gone_is_forgotten() {
    for shards in [1, 3] {
        let mut host = Host::new(shards);
        host.is_deaf = true;
        let (_, sent) = host.subscribe("watch", 3000);
        assert_eq!(told(&sent).len(), 1);
        assert!(told(&host.register(1, 300)).is_empty(), "one at a time");
        assert!(told(&host.register(2, 0)).is_empty());
        let first = sent.iter().find(|(to, _)| to == WATCHER).unwrap().1.clone();
        let sent = host.receive(WATCHER, &answer_to(&first, 200));
        assert_eq!(told(&sent), ["1 partial terminated terminated [unregistered] active;expires=3000"]);
        assert_eq!(host.sum("subscriptions"), 1);
        // The second one has no answer.
        host.pass(33_000);
        assert!(host.is_at_rest());
        // Or one that says that the watcher has forgotten.
        let mut host = Host::new(shards);
        host.answer = 481;
        host.subscribe("watch", 3000);
        assert!(host.is_at_rest());
        let mut host = Host::new(shards);
        host.answer = 500;
        host.subscribe("watch", 3000);
        assert_eq!((host.sum("subscriptions"), host.sum("watched")), (1, 1));
    }
}

#[test]
fn the_subscriptions_of_a_user_who_is_removed_end() {
    for shards in [1, 3] {
        let mut host = Host::new(shards);
        host.register(1, 300);
        host.subscribe("watch", 3000);
        host.sent.clear();
        for shard in 0..shards {
            host.input(shard, Input::Forget(BOB.into()));
        }
        let last = told(&std::mem::take(&mut host.sent)).pop().unwrap_or_default();
        assert!(last.ends_with("terminated;reason=noresource"), "{last}");
        assert!(host.is_at_rest());
    }
}

#[test]
fn what_is_no_subscription_to_a_registration_is_refused() {
    let mut host = Host::new(1);
    let mut number = 0;
    let mut asked = |old: &str, new: &str| {
        number += 1;
        let call_id = format!("w{number}");
        let text = subscribe(&call_id, 3000).text().replace(old, new);
        host.receive(WATCHER, &text).remove(0).1
    };
    let refused = asked("Accept: application/reginfo+xml", "Accept: application/pidf+xml");
    assert_eq!(status(&refused), 406);
    assert_eq!(refused.value(HeaderName::Accept), Some(&b"application/reginfo+xml"[..]));
    let refused = asked("Expires: 3000", "Expires: 59");
    assert_eq!((status(&refused), refused.value(HeaderName::MinExpires)), (423, Some(&b"60"[..])));
    let refused = asked("Expires: 3000", "Require: teleport");
    assert_eq!((status(&refused), refused.value(HeaderName::Unsupported)), (420, Some(&b"teleport"[..])));
    assert_eq!(status(&asked("Contact:", "X-Contact:")), 400);
    let refused = asked("SUBSCRIBE sip:bob@sip.test", "SUBSCRIBE sip:sip.test");
    assert_eq!((status(&refused), refused.value(HeaderName::AllowEvents)), (489, Some(&b"reg"[..])));
    let granted = asked("Expires: 3000\r\n", "");
    assert_eq!((status(&granted), granted.value(HeaderName::Expires)), (200, Some(&b"3761"[..])));
    let granted = asked("Expires: 3000", "Expires: 4294967295");
    assert_eq!((status(&granted), granted.value(HeaderName::Expires)), (200, Some(&b"7200"[..])));
}

#[test]
fn there_are_only_so_many_subscriptions() {
    let mut host = Host::new(1);
    let mut settings = (*host.settings).clone();
    (settings.limits.subscriptions, settings.limits.subscriptions_per_aor) = (3, 2);
    host.input(0, Input::Configure(Arc::new(settings)));
    let statuses = ["a", "b", "c"].map(|call_id| status(&host.subscribe(call_id, 3000).0));
    assert_eq!(statuses, [200, 200, 403]);
    let mut of = |user: &str| {
        let text = subscribe(user, 3000).text().replace("sip:bob@", &format!("sip:{user}@"));
        let refused = host.receive(WATCHER, &text).remove(0).1;
        (status(&refused), refused.has(HeaderName::RetryAfter))
    };
    assert_eq!((of("alice"), of("carol")), ((200, false), (503, true)));
    host.pass(3_001_000);
    assert!(host.is_at_rest());
}

#[test]
fn only_the_user_and_registrants_watch() {
    let mut settings = settings();
    settings.domains[0].registrants = vec!["carol".into()];
    let mut server = Server::new(settings);
    let mut number = 0;
    let mut statuses = |user: &str| {
        number += 1;
        let (call_id, from) = (format!("w{number}"), format!("sip:{user}@sip.test"));
        let mut request = Request { from: &from, ..subscribe(&call_id, 3000) };
        let challenge = server.receive(WATCHER, &request.text()).remove(0).1;
        request.with_credentials(user, &format!("{user}-pw"), &challenge);
        (status(&challenge), status(&server.receive(WATCHER, &request.text())[0].1))
    };
    assert_eq!(statuses("bob"), (401, 200));
    assert_eq!(statuses("alice"), (401, 403));
    assert_eq!(statuses("carol"), (401, 200));
}

#[test]
fn a_watcher_behind_a_nat_is_told_on_its_flow() {
    let mut host = Host::new(1);
    let behind = |contact: &str| subscribe(contact, 3000).text().replace(&format!("w@{WATCHER}"), contact);
    let sent = host.receive(WATCHER, &behind("w@192.0.2.4:5060"));
    let (to, notify) = sent.last().unwrap();
    assert_eq!((to.as_str(), notify.uri_text()), (WATCHER, "sip:w@192.0.2.4:5060"));
    // Another port of the same host is where the Contact says.
    let sent = host.receive(WATCHER, &behind("w@127.0.0.4:5999"));
    assert_eq!(sent.last().unwrap().0, "127.0.0.4:5999");
}
