// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Time a token from 16k to 512k tokens of the geometric schedule (w = 1024 * 2^i up to N, r = 2^i, 2 heads of 64, f32), one thread.
//! Goal: flat within 15 %. Needs 1.1 GB.

use attnc::CpuTarget;
use attnc::pipeline::Plan;
use attnc_benches::{Bench, Case};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("scale");
    group.sample_size(10).warm_up_time(Duration::from_millis(1));
    let mut times = Vec::new();
    for last in 4..=9 {
        let case = Case::geometric(last);
        let mut bench = None;
        let mut best = Duration::MAX;
        group.throughput(Throughput::Elements(case.seq_len));
        group.bench_function(format!("{}/auto", case.name), |b| {
            let bench =
                bench.get_or_insert_with(|| Bench::new(&case, CpuTarget::X86_64, Plan::Auto));
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
            println!("{} tokens: {token:.2} us a token", case.seq_len);
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
