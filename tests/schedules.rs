// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Schedules of any sizes: programs stay right, and what they do is what the counter of the schedule says.
//!
//! Data: random operators with every switch, random sizes within the limits, every CPU target that this machine runs.

use std::cell::Cell;

use attnc::pipeline::{self, Choices, Plan, Sizes};
use attnc::{Backend, Compiler, CpuTarget, Inputs, Signature, Source, VerifyOptions};
use attnc_tensor::DType;
use attnc_tests::random::{Case, cases};
use rand::{RngExt, SeedableRng};

/// Sizes within the limits, from small to beyond what pays. Kernels of pairs take a panel a step.
fn sizes(seed: u64, target: CpuTarget, dtype: DType) -> Sizes {
    let pairs = target == CpuTarget::X86_64Amx && dtype == DType::Bf16;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let step = match target {
        _ if pairs => 32,
        CpuTarget::X86_64V3 | CpuTarget::X86_64V4 | CpuTarget::X86_64Amx => 8,
        CpuTarget::X86_64 | CpuTarget::Aarch64 => 5,
    };
    let mq = 8 * rng.random_range(1..=12u32);
    let nk = step * rng.random_range(1..=24u32);
    let panel = nk * rng.random_range(1..=5u32);
    Sizes {
        mq,
        nk,
        panel: if pairs { nk } else { panel },
        chunk: rng.random_range(1..=3000u32),
        rows: mq * rng.random_range(1..=12u32),
        slots: rng.random_range(1..=70u32),
    }
}

fn check(c: &Case, target: CpuTarget, choices: &Choices) -> Result<(), String> {
    let told = |e: &dyn std::fmt::Display| format!("{target:?} {choices:?}: {e}");
    let s = Signature::from(&c.op);
    let (batch, n) = (c.batch as u64, c.seq_len as u64);
    let x = Inputs::generate(&s, batch, n, c.seed).map_err(|e| told(&e))?;
    let compiler = Compiler::with(choices.clone());
    let engine = compiler.engine(&Source::from(&c.op), Backend::Cpu);
    let engine = engine.map_err(|e| told(&e))?;
    let y = attnc::execute(&*engine, &s, &x, 1, 1, &|_| ()).map_err(|e| told(&e))?;
    let options = VerifyOptions {
        amount: attnc::Amount::Rows(64),
        seed: 0,
        boundaries: &engine.boundaries(n),
        place: Backend::Cpu.place(),
        threads: 1,
    };
    let (out, lse) = (y.out.view(), y.lse.view());
    let v = attnc::verify(&c.op, &x, &out, &lse, &options, &|_| ()).map_err(|e| told(&e))?;
    if !v.verdict.passed {
        return Err(told(&format!("{v:?}")));
    }
    let graph = pipeline::graph(&c.op).map_err(|e| told(&e))?;
    let fused = pipeline::fuse(&graph, choices).map_err(|e| told(&e))?;
    let (nest, all) = pipeline::schedules(&fused.graph, choices).map_err(|e| told(&e))?;
    let sched = pipeline::running(target.name(), all);
    let work = attnc_schedule::work(&nest, &sched, n, u64::MAX);
    let counted = work.products * batch as f64;
    if counted != y.executed.madds as f64 {
        let found = y.executed.madds;
        return Err(told(&format!("{counted} counted, {found} issued")));
    }
    Ok(())
}

#[test]
fn every_schedule_is_right_and_issues_what_is_counted() {
    let run = Cell::new(0);
    cases(60, 2500, |c| {
        for target in CpuTarget::ALL.into_iter().filter(|t| t.runs_here()) {
            for plan in [Plan::Share, Plan::Each] {
                for sizes in [None, Some(sizes(c.seed, target, c.op.dtype))] {
                    let choices = Choices {
                        plan,
                        sizes,
                        ..Choices::new(target.name())
                    };
                    check(c, target, &choices)?;
                    run.set(run.get() + 1);
                }
            }
        }
        Ok(())
    });
    assert!(run.get() > 400 || !CpuTarget::ALL.iter().any(|t| t.runs_here()));
}

#[test]
fn a_softmax_left_whole_is_counted_too() {
    cases(20, 600, |c| {
        for target in CpuTarget::ALL.into_iter().filter(|t| t.runs_here()) {
            let choices = Choices {
                without: vec!["flash".to_owned()],
                sizes: Some(sizes(c.seed, target, c.op.dtype)),
                ..Choices::new(target.name())
            };
            check(c, target, &choices)?;
        }
        Ok(())
    });
}
