// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every rewrite rule is a theorem: both sides of each of its applications mean the same.
//!
//! In: random operators, small, every switch. Out: each step of each proof, its whole graph before and after interpreted on random
//! tensors; the results agree to the rounding of f32.

use std::cell::RefCell;
use std::collections::BTreeMap;

use attnc::pipeline::{self, Choices, Plan};
use attnc::{Inputs, Signature};
use attnc_graph::OpGraph;
use attnc_tensor::DType;
use attnc_tests::random::{Case, cases};

/// out and lse of a graph.
fn meaning(g: &OpGraph, x: &Inputs) -> Result<[Vec<f64>; 2], String> {
    let (q, k, v) = (x.q.view(), x.k.view(), x.v.view());
    let y = attnc_interp::graph::run(g, &q, &k, &v).map_err(|e| e.to_string())?;
    Ok([y.out.to_f64(), y.lse.to_f64()])
}

/// Equal but for the rounding of the results: two units in the last place of f32, of the larger of the value and a thousandth of 1.
fn same(a: &[f64], b: &[f64]) -> bool {
    let near = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= 2.4e-7 * a.abs().max(1e-3);
    a.len() == b.len() && a.iter().zip(b).all(near)
}

fn steps_hold(c: &Case, counts: &RefCell<BTreeMap<String, u32>>) -> Result<(), String> {
    let mut op = c.op.clone();
    op.dtype = DType::F32;
    let s = Signature::from(&op);
    let x = Inputs::generate(&s, 1, c.seq_len as u64, c.seed).map_err(|e| e.to_string())?;
    let lowered = pipeline::graph(&op).map_err(|e| e.to_string())?;
    for plan in [Plan::Auto, Plan::Share, Plan::Each] {
        let choices = Choices {
            plan,
            proof: true,
            ..Choices::new("x86_64")
        };
        let fused = pipeline::fuse(&lowered, &choices).map_err(|e| e.to_string())?;
        let mut before = meaning(&lowered, &x)?;
        for step in &fused.proof {
            let after = meaning(&step.graph, &x)?;
            if !before.iter().zip(&after).all(|(a, b)| same(a, b)) {
                return Err(format!(
                    "{} changes the result:\n   {}\n=> {}\n{before:?}\n{after:?}",
                    step.rule, step.before, step.after
                ));
            }
            *counts.borrow_mut().entry(step.rule.clone()).or_default() += 1;
            before = after;
        }
        // The last step's graph is the fused one.
        let end = meaning(&fused.graph, &x)?;
        if !before.iter().zip(&end).all(|(a, b)| same(a, b)) {
            return Err("the proof ends elsewhere".to_string());
        }
    }
    Ok(())
}

#[test]
fn both_sides_of_every_rule_mean_the_same() {
    let counts = RefCell::default();
    cases(200, 60, |c| steps_hold(c, &counts));
    let counts = counts.into_inner();
    for rule in attnc_rewrite::rules() {
        let n = counts.get(rule.name).copied().unwrap_or(0);
        // `dense` needs a `whole` branch of dilation 1, `duplicates` two equal ones that no other rule has united.
        assert!(n >= 10, "{} was applied {n} times: {counts:?}", rule.name);
    }
}
