// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Time a token from 16k to 1M tokens of the geometric schedule (w = 1024 * 2^i up to N, r = 2^i, 2 heads of 64, f32), one thread, the
//! widest target of this machine; and the bytes of keys and values that are packed for a token. Goal: flat within 10 %. Needs 2.2 GB.

use attnc::CpuTarget;
use attnc::pipeline::{self, Choices, Plan};
use attnc_benches::{Bench, Case};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;

/// Bytes of packed keys and values a token; tasks of long sequences are sampled.
fn packed(case: &Case, target: CpuTarget) -> f64 {
    const MEETINGS: u64 = 1 << 20;
    let op = case.operator();
    let choices = Choices::new(target.name());
    let graph = pipeline::graph(&op).expect("a graph");
    let fused = pipeline::fuse(&graph, &choices).expect("a plan");
    let work = pipeline::work(&fused.graph, &choices, case.seq_len, MEETINGS).expect("a schedule");
    work.packed * 2.0 * f64::from(op.head_dim) * 4.0 / case.seq_len as f64
}

fn benches(c: &mut Criterion) {
    let Some(target) = CpuTarget::here() else {
        println!("skipped: no code for this machine");
        return;
    };
    let mut group = c.benchmark_group("scale");
    group.sample_size(10).warm_up_time(Duration::from_millis(1));
    let mut times = Vec::new();
    for last in 4..=10 {
        let case = Case::geometric(last);
        let mut bench = None;
        let mut best = Duration::MAX;
        group.throughput(Throughput::Elements(case.seq_len));
        group.bench_function(format!("{}/auto", case.name), |b| {
            let bench = bench.get_or_insert_with(|| Bench::new(&case, target, Plan::Auto));
            b.iter_custom(|rounds| {
                (0..rounds)
                    .map(|_| {
                        let (time, _) = bench.call();
                        best = best.min(time);
                        time
                    })
                    .sum()
            });
        });
        if best < Duration::MAX {
            let token = best.as_secs_f64() * 1e6 / case.seq_len as f64;
            println!(
                "{} tokens on {}: {token:.2} us and {:.0} packed bytes a token",
                case.seq_len,
                target.name(),
                packed(&case, target)
            );
            times.push(token);
        }
    }
    let most = times.iter().copied().fold(0.0, f64::max);
    let least = times.iter().copied().fold(f64::MAX, f64::min);
    if times.len() > 1 {
        println!(
            "from {least:.2} to {most:.2} us: {:.0} %",
            100.0 * (most / least - 1.0)
        );
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
