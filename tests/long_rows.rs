// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rows that see many keys: 65,536 in f32, on every target that this machine runs. Random data, and data on which a single chain of f32
//! sums goes wrong: everything equal, scores that rise from block to block, values that nearly cancel.
//!
//! In: one head of dense attention. Out: every row of the first task within its bound against a sum in f64.

use std::ops::ControlFlow;

use attnc::pipeline::{self, Choices};
use attnc_codegen_cpu::Jit;
use attnc_runtime::{Launch, LaunchError, Workers, launch};
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::measure::{Comparison, Row};
use attnc_tensor::{Bounds, DType, Exactness, Place, Storage, Tensor, normal_tensor};
use attnc_tests::engines::targets;

const KEYS: usize = 65_536;
const DIM: usize = 4;
/// Rows that are judged, of those that the first task makes.
const ROWS: usize = 48;

fn operator() -> Operator {
    Operator {
        name: "long".into(),
        heads: 1,
        kv_heads: 1,
        head_dim: DIM as u32,
        dtype: DType::F32,
        precision: Precision::Standard,
        causal: false,
        scale: 1.0,
        profile: Profile::PAPER,
        branches: vec![Branch {
            segment: Segment::Whole,
            dilation: 1,
        }],
    }
}

/// q, k, v by (position, element).
struct Data {
    name: String,
    q: fn(usize, usize) -> f64,
    k: fn(usize, usize) -> f64,
    v: Box<dyn Fn(usize, usize) -> f64>,
}

/// Positions from 0 to 1.
fn place(n: usize) -> f64 {
    n as f64 / KEYS as f64
}

fn data() -> Vec<Data> {
    let first = |_, d| if d == 0 { 1.0 } else { 0.0 };
    let rising: fn(usize, usize) -> f64 = |n, d| if d == 0 { place(n) } else { 0.0 };
    let steep: fn(usize, usize) -> f64 = |n, d| if d == 0 { 20.0 * place(n) } else { 0.0 };
    let mut all = Vec::new();
    // What a chain of equal sums loses depends on the bits of the value.
    for c in [0.1, 1.0 / 3.0] {
        all.push(Data {
            name: format!("all values {c}, all scores equal"),
            q: first,
            k: |_, d| if d == 0 { 0.7 } else { 0.3 },
            v: Box::new(move |_, d| c * (1.0 + 0.013 * d as f64)),
        });
    }
    for (name, k) in [("rising", rising), ("steeply rising", steep)] {
        all.push(Data {
            name: format!("rising values, {name} scores"),
            q: first,
            k,
            v: Box::new(|n, d| place(n) + d as f64),
        });
    }
    all
}

fn tensor(f: impl Fn(usize, usize) -> f64) -> Tensor {
    let mut t = Tensor::zeros(Storage::F32, &[1, KEYS, 1, DIM]).expect("memory");
    for n in 0..KEYS {
        for d in 0..DIM {
            t.view_mut().set(&[0, n, 0, d], f(n, d));
        }
    }
    t
}

fn code(target: &str) -> Jit {
    let choices = Choices::new(target);
    let graph = pipeline::graph(&operator()).expect("a graph");
    let fused = pipeline::fuse(&graph, &choices).expect("rewriting ends");
    let core = pipeline::tile(&fused.graph, &choices).expect("a program");
    Jit::new(&core).expect("code")
}

/// The first task's rows by machine code.
fn run(code: &Jit, [q, k, v]: [&Tensor; 3]) -> (Tensor, Tensor) {
    let mut out = Tensor::zeros(Storage::F32, q.shape()).expect("memory");
    let mut lse = Tensor::zeros(Storage::F32, &[1, 1, KEYS]).expect("memory");
    let l = Launch {
        q: q.view(),
        k: k.view(),
        v: v.view(),
        out: out.view_mut(),
        lse: lse.view_mut(),
        workers: Workers::Threads(1),
    };
    let stopped = launch(code, l, &|_, _| ControlFlow::Break(()));
    assert!(
        matches!(stopped, Err(LaunchError::Cancelled)),
        "{stopped:?}"
    );
    (out, lse)
}

/// Judges the rows; yields the error as a part of its bound.
fn judge(x: [&Tensor; 3], (out, lse): &(Tensor, Tensor)) -> f64 {
    let [q, k, v] = x.map(Tensor::to_f64);
    let (out, lse) = (out.to_f64(), lse.to_f64());
    let mut rows = Comparison::new();
    let mut most = 0.0f64;
    for n in 0..ROWS {
        let row = n * DIM..(n + 1) * DIM;
        let scores: Vec<f64> = k
            .chunks(DIM)
            .map(|k| q[row.clone()].iter().zip(k).map(|(q, k)| q * k).sum())
            .collect();
        let m = scores.iter().copied().fold(f64::MIN, f64::max);
        most = scores.iter().fold(most, |a, s| a.max(s.abs()));
        let (mut sum, mut want) = (0.0, [0.0; DIM]);
        for (s, v) in scores.iter().zip(v.chunks(DIM)) {
            let p = (s - m).exp();
            sum += p;
            want.iter_mut().zip(v).for_each(|(w, v)| *w += p * v);
        }
        rows.push(Row {
            got: &out[row],
            want: &want.map(|w| w / sum),
            got_lse: lse[n],
            want_lse: m + sum.ln(),
            covered: true,
        });
    }
    let exactness = Exactness::Standard;
    let bounds = Bounds::new(DType::F32, exactness, Place::Host, most, KEYS as u64);
    let found = rows.finish(bounds);
    (found.error / bounds.out)
        .max(found.lse_error / bounds.lse)
        .max(found.worst.expect("rows").ratio)
}

#[test]
fn rows_of_65536_keys_obey_their_bound() {
    let codes: Vec<_> = targets()
        .iter()
        .map(|t| (t.name(), code(t.name())))
        .collect();
    let mut wrong = Vec::new();
    let mut check = |name: &str, x: [&Tensor; 3]| {
        for (target, code) in &codes {
            let ratio = judge(x, &run(code, x));
            println!("{name}, {target}: {ratio:.2} of the bound");
            if ratio.is_nan() || ratio > 1.0 {
                wrong.push(format!("{name}, {target}: {ratio}"));
            }
        }
    };
    for d in data() {
        let (q, k, v) = (tensor(d.q), tensor(d.k), tensor(d.v));
        check(&d.name, [&q, &k, &v]);
    }
    let random = |i| normal_tensor(DType::F32, &[1, KEYS, 1, DIM], 0, i).expect("memory");
    check("random", [&random(0), &random(1), &random(2)]);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
