// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One thread of the portable kernels against the machine's ceiling, measured in the same run.
//!
//! Prints, beside criterion's times: GFLOP/s on the products that were issued (padding included) and their part of the ceiling, and
//! GFLOP/s by the operator's formula, which counts a key once for every branch that shows it. Goal: 70 % for C1.

use attnc::pipeline::Plan;
use attnc_benches::{Bench, Case, Fma, ceiling};
use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

fn benches(c: &mut Criterion) {
    let fma = Fma::here();
    let mut group = c.benchmark_group("cpu");
    group.sample_size(10);
    for case in [
        Case::c1("C1", "dtype = f32"),
        Case::c1("C1-causal", "dtype = f32, causal = true"),
        Case::c1("C1-bf16", "dtype = bf16"),
        Case::c2("C2", "dtype = f32"),
    ] {
        for (name, plan) in [("share", Plan::Share), ("each", Plan::Each)] {
            let mut bench = None;
            let mut best = (Duration::MAX, 0);
            let mut peak: f64 = 0.0;
            let id = format!("{}/{name}", case.name);
            group.bench_function(&id, |b| {
                let bench = bench.get_or_insert_with(|| Bench::new(&case, plan));
                peak = peak.max(fma.map_or(0.0, ceiling));
                b.iter_custom(|rounds| {
                    (0..rounds)
                        .map(|_| {
                            let (time, executed) = bench.call();
                            best = best.min((time, executed.madds));
                            time
                        })
                        .sum()
                });
                peak = peak.max(fma.map_or(0.0, ceiling));
            });
            let (time, madds) = best;
            if madds > 0 {
                let issued = 2.0 * madds as f64 / time.as_secs_f64() / 1e9;
                let formula = attnc::madds_formula(&case.operator(), 1, case.seq_len);
                let formula = 2.0 * formula as f64 / time.as_secs_f64() / 1e9;
                println!(
                    "{id}: best {:.0} ms, {issued:.1} GFLOP/s issued, {:.0} % of the ceiling of {peak:.1}; {formula:.1} by formula",
                    time.as_secs_f64() * 1e3,
                    100.0 * issued / peak,
                );
            }
        }
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
