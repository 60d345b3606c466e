//! What it costs to pass a packet from one shard to another: when both are busy, and when the other sleeps.

use criterion::{Criterion, criterion_group, criterion_main};
use dialtone_node::measure::{hand_offs, wake_ups};

fn hop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hop");
    group.bench_function("to a busy shard", |bencher| bencher.iter_custom(hand_offs));
    group.bench_function("to a sleeping shard", |bencher| bencher.iter_custom(wake_ups));
    group.finish();
}

criterion_group!(benches, hop);
criterion_main!(benches);
