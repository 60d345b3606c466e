//! SIP messages: read, checked, answered and forwarded.

use std::hint::black_box;
use std::net::SocketAddr;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dialtone_wire::headers::{ContentType, TypedHeader, Via};
use dialtone_wire::{Edits, HeaderName, Limits, Message, Status, Writer};

/// An INVITE as a proxy in the middle sees it: two Vias, a Record-Route, 729 bytes.
const INVITE: &str = concat!(
    "INVITE sip:bob@biloxi.example.com SIP/2.0\r\n",
    "Via: SIP/2.0/UDP 192.0.2.111:5060;branch=z9hG4bK2d4790.1;rport\r\n",
    "Via: SIP/2.0/UDP client.atlanta.example.com:5060;branch=z9hG4bK74bf9;received=192.0.2.101\r\n",
    "Max-Forwards: 69\r\n",
    "Record-Route: <sip:ss1.atlanta.example.com;lr>\r\n",
    "From: Alice <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n",
    "To: Bob <sip:bob@biloxi.example.com>\r\n",
    "Call-ID: 3848276298220188511@atlanta.example.com\r\n",
    "CSeq: 2 INVITE\r\n",
    "Contact: <sip:alice@client.atlanta.example.com>\r\n",
    "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY\r\n",
    "Content-Type: application/sdp\r\n",
    "Content-Length: 141\r\n",
    "\r\n",
    "v=0\r\n",
    "o=alice 2890844526 2890844526 IN IP4 client.atlanta.example.com\r\n",
    "s=-\r\n",
    "c=IN IP4 192.0.2.101\r\n",
    "t=0 0\r\n",
    "m=audio 49172 RTP/AVP 0\r\n",
    "a=sendrecv\r\n",
);

fn parse(bytes: &Bytes) -> Message {
    Message::parse(bytes.clone(), &Limits::default()).expect("a legal message")
}

fn messages(criterion: &mut Criterion) {
    let bytes = Bytes::from_static(INVITE.as_bytes());
    let message = parse(&bytes);
    message.screen().expect("a legal message");
    let source: SocketAddr = "192.0.2.111:5060".parse().expect("an address");
    let mut group = criterion.benchmark_group("message");
    group.throughput(Throughput::Bytes(bytes.len() as u64));

    group.bench_function("parse", |bencher| bencher.iter(|| parse(black_box(&bytes))));
    group.bench_function("parse and six typed headers", |bencher| {
        bencher.iter(|| {
            let message = parse(black_box(&bytes));
            let via = message.via().expect("legal").rfc3261_branch().map(str::len);
            let tags = (
                message.from().expect("legal").tag().is_some(),
                message.to().expect("legal").tag().is_some(),
            );
            let call_id = message.call_id().expect("legal").len();
            let cseq = message.cseq().expect("legal").number;
            let hops = message.max_forwards().expect("legal");
            black_box((via, tags, call_id, cseq, hops));
        });
    });
    group.bench_function("screen", |bencher| bencher.iter(|| black_box(&message).screen()));
    group.bench_function("typed Via", |bencher| {
        let value = message.value(HeaderName::Via).expect("it stands");
        bencher.iter(|| Via::parse(black_box(value)));
    });
    group.bench_function("typed Content-Type", |bencher| {
        bencher.iter(|| black_box(&message).header::<ContentType<'_>>());
    });
    group.bench_function("write a 200", |bencher| {
        bencher.iter(|| {
            let mut response =
                Writer::response_to(black_box(&message), Status::of(200), source, Some("8321234356"));
            response.header(HeaderName::Contact, "<sip:bob@client.biloxi.example.com>");
            response.finish()
        });
    });
    group.bench_function("forward with edits", |bencher| {
        let mut out = Vec::with_capacity(2048);
        bencher.iter(|| {
            out.clear();
            let mut edits = Edits::new();
            edits
                .set_request_uri("sip:bob@client.biloxi.example.com")
                .set_source(source)
                .push_via("SIP/2.0/UDP 192.0.2.222:5060;branch=z9hG4bK721e4.1")
                .push_record_route("<sip:ss2.biloxi.example.com;lr>")
                .set_max_forwards(68);
            edits.write(black_box(&message), &mut out);
            black_box(out.len())
        });
    });
    group.finish();
}

criterion_group!(benches, messages);
criterion_main!(benches);
