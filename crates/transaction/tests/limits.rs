//! What the layer does when a limit is reached, and that nothing is left when all is over.

mod common;

use common::{
    Request, at, events, layer, parse_bytes, request, response, sent, sent_lines, status, tcp, udp,
    with_limits,
};
use dialtone_transaction::{
    ClientId, EdgeCounts, Matched, Received, SendError, ServerId, TransactionLimits, Transactions,
};
use dialtone_wire::Method;

fn via(number: u64) -> String {
    format!("SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK{number}")
}

#[test]
fn the_table_of_servers_is_full_at_its_limit_and_still_answers_retransmissions_and_acks() {
    let mut layer = with_limits(TransactionLimits { servers_max: 2, ..TransactionLimits::default() });
    let requests: Vec<_> = (0..3).map(|n| request("INVITE", &via(n)).message()).collect();
    let received: Vec<Received> =
        requests.iter().map(|request| layer.receive_request(at(0), udp(), request)).collect();
    assert!(matches!(received[..], [Received::New(_), Received::New(_), Received::Full]));
    assert_eq!(layer.receive_request(at(0), udp(), &requests[0]), Received::Absorbed);
    let ack = request("ACK", &via(9)).message();
    assert_eq!(layer.receive_request(at(0), udp(), &ack), Received::Ack(None));
    assert_eq!((layer.servers_len(), layer.counters().refused_by_limit), (2, 1));
    let Received::New(first) = received[0] else { unreachable!() };
    layer.abandon_server(first);
    assert!(matches!(layer.receive_request(at(0), udp(), &requests[2]), Received::New(_)));
}

#[test]
fn the_table_of_clients_is_full_at_its_limit() {
    let mut layer = with_limits(TransactionLimits { clients_max: 1, ..TransactionLimits::default() });
    let bytes = request("OPTIONS", &via(1)).bytes();
    let id = layer.send_request(at(0), udp(), &Method::Options, "z9hG4bK1", bytes.clone()).unwrap();
    let second = layer.send_request(at(0), udp(), &Method::Options, "z9hG4bK2", bytes.clone());
    assert_eq!(second, Err(SendError::TooMany { limit: 1 }));
    assert_eq!(sent(&mut layer).len(), 1, "a refused request is not sent");
    layer.abandon_client(id);
    assert!(layer.send_request(at(0), udp(), &Method::Options, "z9hG4bK2", bytes).is_ok());
}

#[test]
fn kept_bytes_are_limited_for_requests_of_both_sides() {
    let message = request("OPTIONS", &via(1)).message();
    let limit = message.bytes().len() + 200;
    let limits = TransactionLimits { kept_bytes_max: limit, ..TransactionLimits::default() };
    let mut layer = with_limits(limits);
    assert!(matches!(layer.receive_request(at(0), udp(), &message), Received::New(_)));
    let other_via = via(2);
    let other = request("OPTIONS", &other_via);
    assert_eq!(layer.receive_request(at(0), udp(), &other.message()), Received::Full);
    let sent = layer.send_request(at(0), udp(), &Method::Options, "z9hG4bK2", other.bytes());
    assert_eq!(sent, Err(SendError::TooManyBytes { limit }));
    assert!(layer.kept_bytes() <= limit);
}

#[test]
fn a_response_beyond_the_byte_limit_is_sent_and_not_kept() {
    let message = request("OPTIONS", &via(1)).message();
    let limits =
        TransactionLimits { kept_bytes_max: message.bytes().len() + 60, ..TransactionLimits::default() };
    let mut layer = with_limits(limits);
    let Received::New(id) = layer.receive_request(at(0), udp(), &message) else { panic!("not new") };
    let long =
        Request { extra: &format!("Subject: {}\r\n", "x".repeat(2_000)), ..request("OPTIONS", &via(1)) }
            .bytes();
    layer.respond(at(0), id, status(200), long).unwrap();
    assert_eq!(sent(&mut layer).len(), 1);
    assert_eq!(layer.counters().responses_not_kept, 1);
    assert_eq!(layer.receive_request(at(1), udp(), &message), Received::Absorbed);
    assert_eq!(sent_lines(&mut layer), [""; 0]);
    assert!(layer.kept_bytes() <= limits.kept_bytes_max);
}

#[test]
fn an_ack_beyond_the_byte_limit_is_sent_once_and_not_kept() {
    let text = via(1);
    let invite = request("INVITE", &text);
    let limits =
        TransactionLimits { kept_bytes_max: invite.text().len() + 60, ..TransactionLimits::default() };
    let mut layer = with_limits(limits);
    layer.send_request(at(0), udp(), &Method::Invite, "z9hG4bK1", invite.bytes()).unwrap();
    let busy = parse_bytes(&response(&invite.message(), 486, &"x".repeat(2_000)));
    assert!(matches!(layer.receive_response(at(1), &busy), Some(Matched::PassUp(_))));
    assert!(matches!(layer.receive_response(at(2), &busy), Some(Matched::Absorbed(_))));
    assert_eq!(sent_lines(&mut layer).len(), 2, "the INVITE and one ACK");
    assert_eq!((layer.counters().acks_not_kept, layer.counters().acks_sent), (1, 1));
    assert!(layer.kept_bytes() <= limits.kept_bytes_max);
}

#[test]
fn deadlines_of_transactions_that_are_gone_do_not_pile_up() {
    let mut layer = layer();
    for number in 0..20_000 {
        let text = via(number);
        let options = request("OPTIONS", &text).message();
        let Received::New(id) = layer.receive_request(at(number), tcp(), &options) else { panic!("not new") };
        layer.respond(at(number), id, status(200), response(&options, 200, "b")).unwrap();
        layer.handle_timeout(at(number));
        assert!(layer.deadlines_len() <= 65, "{} deadlines", layer.deadlines_len());
    }
    assert_eq!(sent(&mut layer).len(), 20_000);
    assert_eq!(events(&mut layer).len(), 20_000);
    assert!(layer.is_at_rest());
}

/// A small generator of numbers, so that a run depends on its seed alone (xorshift, period 2^64-1).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

const METHODS: [&str; 5] = ["INVITE", "OPTIONS", "CANCEL", "ACK", "BYE"];
const CODES: [u16; 8] = [100, 180, 200, 202, 302, 408, 486, 603];

#[derive(Default)]
struct Ids {
    clients: Vec<ClientId>,
    servers: Vec<ServerId>,
}

/// One random step: a message from the network, something the user does, an error, or time passing.
fn step(layer: &mut Transactions, numbers: &mut Numbers, now: u64, ids: &mut Ids) -> String {
    let via = via(numbers.below(12));
    let method = METHODS[numbers.below(5) as usize];
    let code = CODES[numbers.below(8) as usize];
    let flow = if numbers.below(3) == 0 { tcp() } else { udp() };
    let one = Request { cseq: numbers.below(3) as u32, ..request(method, &via) };
    let server = ids.servers.get(numbers.below(ids.servers.len().max(1) as u64) as usize).copied();
    match (numbers.below(8), server) {
        (0 | 1, _) => {
            let received = layer.receive_request(at(now), flow, &one.message());
            if let Received::New(id) = received {
                ids.servers.push(id);
            }
            format!("{received:?}")
        }
        (2, _) => {
            let branch = via.rsplit('=').next().unwrap();
            let method = Method::parse(method.as_bytes()).unwrap();
            let sent = layer.send_request(at(now), flow, &method, branch, one.bytes());
            if let Ok(id) = sent {
                ids.clients.push(id);
                if numbers.below(6) == 0 {
                    layer.client_transport_error(at(now), id);
                }
            }
            format!("{sent:?}")
        }
        (3 | 4, _) => {
            let matched = layer.receive_response(at(now), &parse_bytes(&response(&one.message(), code, "b")));
            if let Some(Matched::PassUp(id)) = matched
                && numbers.below(6) == 0
            {
                layer.client_transport_error(at(now), id);
            }
            format!("{matched:?}")
        }
        (5 | 6, Some(id)) => {
            if numbers.below(9) == 0 {
                layer.server_transport_error(at(now), id);
            }
            format!("{:?}", layer.respond(at(now), id, status(code), response(&one.message(), code, "b")))
        }
        (5..=7, _) => {
            layer.handle_timeout(at(now));
            String::new()
        }
        _ => unreachable!("numbers below 8"),
    }
}

/// Everything that could be seen of a random run, and how the layer was left.
fn random_run(seed: u64) -> (Vec<String>, EdgeCounts) {
    let limits = TransactionLimits { clients_max: 9, servers_max: 9, kept_bytes_max: 7_000 };
    let (mut layer, mut numbers) = (with_limits(limits), Numbers(seed));
    let (mut now, mut ids, mut seen) = (0, Ids::default(), Vec::new());
    for _ in 0..2_000 {
        now += numbers.below(700);
        seen.push(step(&mut layer, &mut numbers, now, &mut ids));
        ids.clients.retain(|id| layer.has_client(*id));
        ids.servers.retain(|id| layer.has_server(*id));
        assert_eq!((ids.clients.len(), ids.servers.len()), (layer.clients_len(), layer.servers_len()));
        assert!(
            layer.clients_len() <= 9 && layer.servers_len() <= 9 && layer.kept_bytes() <= 7_000,
            "seed {seed}"
        );
        assert!(layer.deadlines_len() <= 65, "seed {seed}");
        seen.extend(events(&mut layer).iter().map(|event| format!("{event:?}")));
        seen.extend(sent_lines(&mut layer));
        seen.push(format!("{:?}", layer.poll_timeout()));
    }
    while let Some((next, _)) = layer.poll_timeout() {
        layer.handle_timeout(next);
    }
    // What rings for ever is the user's to end; all else has ended by itself.
    ids.clients.iter().for_each(|id| _ = layer.abandon_client(*id));
    for id in ids.servers {
        if layer.awaits_answer(id) {
            layer.abandon_server(id);
        }
    }
    seen.extend(sent_lines(&mut layer));
    seen.extend(events(&mut layer).iter().map(|event| format!("{event:?}")));
    assert!(layer.is_at_rest(), "seed {seed}");
    seen.push(format!("{:?}", layer.counters()));
    (seen, layer.edges().clone())
}

#[test]
fn random_events_stay_within_the_limits_and_the_same_seed_gives_the_same_run() {
    let mut taken = EdgeCounts::default();
    for seed in 1..=20 {
        let run = random_run(seed);
        assert_eq!(run, random_run(seed), "seed {seed}");
        taken.add(&run.1);
    }
    let never: Vec<&str> =
        taken.iter().filter(|(_, count)| *count == 0).map(|(edge, _)| edge.label()).collect();
    assert_eq!(never, [""; 0], "arrows that no run took");
}
