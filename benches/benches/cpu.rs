// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One thread of every target's kernels that this machine runs, against the machine's ceiling for vectors of that target's width, measured
//! in the same run. Ids: CASE/TARGET/PLAN.
//!
//! Prints, beside criterion's times: GFLOP/s on the products that were issued (padding included) and their part of the ceiling, and
//! GFLOP/s by the operator's formula, which counts a key once for every branch that shows it. Goal: 70 % for C1.

use attnc::CpuTarget;
use attnc::pipeline::Plan;
use attnc_benches::{Bench, Case, Fma};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use std::time::Duration;

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("cpu");
    group.sample_size(10);
    for case in [
        Case::c1("C1", "dtype = f32"),
        Case::c1("C1-causal", "dtype = f32, causal = true"),
        Case::c1("C1-bf16", "dtype = bf16"),
        Case::c2("C2", "dtype = f32"),
    ] {
        for target in CpuTarget::ALL.into_iter().filter(|t| t.runs_here()) {
            for (name, plan) in [("share", Plan::Share), ("each", Plan::Each)] {
                let id = format!("{}/{}/{name}", case.name, target.name());
                measure(&mut group, &id, &case, target, plan);
            }
        }
    }
    group.finish();
}

/// Calls one case under one target and plan, and prints its best call.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: &str,
    case: &Case,
    target: CpuTarget,
    plan: Plan,
) {
    let fma = Fma::of(target);
    let mut bench = None;
    let mut best = (Duration::MAX, 0);
    let mut peak: f64 = 0.0;
    group.bench_function(id, |b| {
        let bench = bench.get_or_insert_with(|| Bench::new(case, target, plan));
        peak = peak.max(fma.map_or(0.0, Fma::ceiling));
        b.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| {
                    let (time, executed) = bench.call();
                    best = best.min((time, executed.madds));
                    time
                })
                .sum()
        });
        peak = peak.max(fma.map_or(0.0, Fma::ceiling));
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

criterion_group!(all, benches);
criterion_main!(all);
