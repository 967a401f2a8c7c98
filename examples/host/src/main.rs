// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A host program: builds an operator in code, compiles it, calls it, and compares with a plain loop over the definition.
//!
//! In: nothing, or a folder to keep kernels in. Out: what differs, and exit code 1 if it is more than rounding.

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use attnc::{Attention, Cache, Call, Compiler, Operator, Order, Target, View, ViewMut};

const HEADS: usize = 4;
const DIM: usize = 32;
/// Segment and dilation of each branch.
const BRANCHES: [(usize, usize); 2] = [(256, 1), (1024, 4)];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut operator = Operator::builder("example", HEADS as u32, DIM as u32).causal(true);
    for (segment, dilation) in BRANCHES {
        operator = operator.branch(segment as u64, dilation as u64);
    }
    let attention = Attention::new(operator.build()?)?;
    let mut compiler = Compiler::new(&Target::native()?);
    if let Some(folder) = std::env::args_os().nth(1) {
        compiler = compiler.cache(Cache::at(folder));
    }
    let start = Instant::now();
    let kernel = compiler.compile(&attention)?;
    println!(
        "{} for {}: {:.1} ms, cache {}",
        kernel.signature().name,
        kernel.target(),
        start.elapsed().as_secs_f64() * 1e3,
        kernel.cache().name()
    );
    if let Some(trouble) = kernel.cache_trouble() {
        eprintln!("warning: the kernel cache: {trouble}");
    }

    // Tensors of the host's, [B, H, N, D] in memory; their shape is [B, N, H, D] all the same.
    let (batch, n) = (2, 1500);
    let shape = [batch, n, HEADS, DIM];
    let strides = Order::HeadsFirst.strides(shape);
    let count = shape.iter().product();
    let (q, k, v) = (values(count, 1), values(count, 2), values(count, 3));
    let (mut out, mut lse) = (vec![0f32; count], vec![0f32; batch * HEADS * n]);
    let start = Instant::now();
    kernel.forward(
        Call::new(
            View::strided(&q, &shape, &strides)?,
            View::strided(&k, &shape, &strides)?,
            View::strided(&v, &shape, &strides)?,
            ViewMut::strided(&mut out, &shape, &strides)?,
        )
        .lse(ViewMut::dense(&mut lse, &[batch, HEADS, n])?),
    )?;
    println!("a call: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);

    let (mut worst, mut worst_lse) = (0f64, 0f64);
    for row in 0..batch * HEADS * n {
        let (want, want_lse) = plain(&q, &k, &v, row, n);
        for (got, want) in out[row * DIM..].iter().zip(&want) {
            worst = worst.max((f64::from(*got) - want).abs());
        }
        let got = f64::from(lse[row]);
        if got != want_lse {
            worst_lse = worst_lse.max((got - want_lse).abs());
        }
    }
    println!("largest difference from the definition: out {worst:.1e}, lse {worst_lse:.1e}");
    Ok(if worst < 1e-5 && worst_lse < 1e-5 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Numbers between -1 and 1, the same every time.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Row `row` (batch, head and position in one) by the definition: a softmax over the multiset of keys that the branches show.
fn plain(q: &[f32], k: &[f32], v: &[f32], row: usize, n: usize) -> (Vec<f64>, f64) {
    let (position, head, first) = (row % n, row / n % HEADS, row / n * n);
    let at = |x: &[f32], row: usize, d: usize| f64::from(x[row * DIM + d]);
    let (mut sum, mut out) = (0.0, vec![0.0; DIM]);
    for (segment, dilation) in BRANCHES {
        // LongNet, equations 13 to 15: a head sees, and is seen at, the positions with its own offset in the segment.
        let sees = |p: usize| p % segment % dilation == head % dilation;
        if !sees(position) {
            continue;
        }
        let start = position / segment * segment;
        for m in (start..=position).filter(|m| sees(*m)) {
            let dot: f64 = (0..DIM).map(|d| at(q, row, d) * at(k, first + m, d)).sum();
            let weight = (dot / (DIM as f64).sqrt()).exp();
            sum += weight;
            for (d, o) in out.iter_mut().enumerate() {
                *o += weight * at(v, first + m, d);
            }
        }
    }
    if sum > 0.0 {
        out.iter_mut().for_each(|o| *o /= sum);
    }
    (out, sum.ln())
}
