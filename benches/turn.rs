//! What one `turn` of the engine costs: the whole work of a server for a message, without sockets.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dialtone_benches::{ALICE, BOB, Server, call, register, request};

fn turns(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("turn");
    let mut server = Server::new();
    group.bench_function("OPTIONS", |bencher| {
        let mut n = 0;
        bencher.iter_batched(
            || {
                n += 1;
                request("OPTIONS", "sip:sip.test", ALICE, n, 1, "")
            },
            |text| server.receive(black_box(ALICE), text),
            BatchSize::SmallInput,
        );
    });
    let mut server = Server::new();
    group.bench_function("REGISTER", |bencher| {
        let mut n = 0;
        bencher.iter_batched(
            || {
                n += 1;
                register(n)
            },
            |text| server.receive(black_box(BOB), text),
            BatchSize::SmallInput,
        );
    });
    let mut server = Server::new();
    server.receive(BOB, register(0));
    group.bench_function("a call, 6 messages in, 7 out, with the phones' own writing", |bencher| {
        bencher.iter(|| call(&mut server));
    });
    group.finish();
}

criterion_group!(benches, turns);
criterion_main!(benches);
