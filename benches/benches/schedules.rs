// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How well the time model orders schedules: Spearman's rank correlation of predictions with measurements, for each case over candidates
//! spread over all that a search may look at.
//!
//! One thread, every candidate in each of several rounds, its fastest round counts. `ATTNC_SCHEDULES=all` prints every candidate with
//! what it does. No times are judged here: `attnc tune` measures for itself, the model only says where to begin.

use std::time::Instant;

use attnc::pipeline::{self, Choices};
use attnc::tune::{candidates, predict};
use attnc::{Backend, Call, Compiler, CpuTarget, Inputs, Signature, Source};
use attnc_benches::Case;
use attnc_tensor::{Storage, Tensor};

/// Candidates of a case.
const CANDIDATES: usize = 40;
/// Rounds of measurements.
const ROUNDS: usize = 4;

fn main() {
    let Some(target) = CpuTarget::here() else {
        println!("skipped: no code for this machine");
        return;
    };
    let all = std::env::var("ATTNC_SCHEDULES").is_ok_and(|v| v == "all");
    let mut pooled = Vec::new();
    for case in [
        Case::small(
            "middle",
            "dtype = f32",
            &[(512, 1), (1024, 2), (2048, 4)],
            2048,
        ),
        Case::small(
            "middle-causal",
            "dtype = f32, causal = true",
            &[(512, 1), (1024, 2), (2048, 4)],
            2048,
        ),
        Case::small("local", "dtype = f32", &[(1024, 1)], 4096),
        Case::small("short", "dtype = f32", &[(64, 1), (128, 2), (256, 4)], 4096),
    ] {
        let points = measure(&case, target, all);
        let rho = spearman(&points);
        println!(
            "{} on {}: {} candidates, slowest over fastest {:.1}, rank correlation {rho:.2}",
            case.name,
            target.name(),
            points.len(),
            spread(&points),
        );
        pooled.push(rho);
    }
    let mean = pooled.iter().sum::<f64>() / pooled.len() as f64;
    println!("mean rank correlation {mean:.2}");
}

/// Predictions and times, in milliseconds.
fn measure(case: &Case, target: CpuTarget, all: bool) -> Vec<(f64, f64)> {
    let op = case.operator();
    let n = case.seq_len;
    let list = candidates(&op, target.name(), n, 1, 0, usize::MAX).expect("candidates");
    let step = (list.len() / CANDIDATES).max(1);
    let list: Vec<_> = list.into_iter().step_by(step).take(CANDIDATES).collect();
    let s = Signature::from(&*op);
    let x = Inputs::generate(&s, 1, n, 0).expect("memory");
    let mut out = Tensor::zeros(s.dtype, &s.query_shape(1, n as usize)).expect("memory");
    let mut lse = Tensor::zeros(Storage::F32, &s.lse_shape(1, n as usize)).expect("memory");
    let engines: Vec<_> = list
        .iter()
        .map(|c| {
            Compiler::with(c.choices(target.name()))
                .engine(&Source::from(&*op), Backend::Cpu)
                .expect("a candidate compiles")
        })
        .collect();
    let mut times = vec![f64::INFINITY; list.len()];
    for _ in 0..ROUNDS {
        for (engine, time) in engines.iter().zip(&mut times) {
            let start = Instant::now();
            let call = Call::new(x.q.view(), x.k.view(), x.v.view(), out.view_mut())
                .lse(lse.view_mut())
                .threads(1);
            engine.forward(call).expect("a launch");
            *time = time.min(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    let graph = pipeline::graph(&op).expect("checked");
    let mut points = Vec::new();
    for (c, time) in list.iter().zip(times) {
        let choices: Choices = c.choices(target.name());
        let fused = pipeline::fuse(&graph, &choices).expect("fuses").graph;
        let work = pipeline::work(&fused, &choices, n, 1 << 20).expect("counted");
        let (_, sched) = pipeline::schedule(&fused, &choices).expect("scheduled");
        let predicted = predict(&work, &sched, op.head_dim, 1) / 1e6;
        if all {
            println!("{time:.3} ms, predicted {predicted:.3}: {c:?} {work:?}");
        }
        points.push((predicted, time));
    }
    points
}

fn spread(points: &[(f64, f64)]) -> f64 {
    let times = points.iter().map(|p| p.1);
    times.clone().fold(0.0, f64::max) / times.fold(f64::INFINITY, f64::min)
}

/// Ranks from 1; ties share theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |x: &f64| {
        let below = values.iter().filter(|y| *y < x).count() as f64;
        let equal = values.iter().filter(|y| *y == x).count() as f64;
        below + (equal + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

/// Spearman's rank correlation.
fn spearman(points: &[(f64, f64)]) -> f64 {
    let a = ranks(&points.iter().map(|p| p.0).collect::<Vec<_>>());
    let b = ranks(&points.iter().map(|p| p.1).collect::<Vec<_>>());
    let mean = (points.len() as f64 + 1.0) / 2.0;
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(&b) {
        ab += (x - mean) * (y - mean);
        aa += (x - mean) * (x - mean);
        bb += (y - mean) * (y - mean);
    }
    ab / (aa * bb).sqrt()
}
