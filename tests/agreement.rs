// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every engine against the float64 oracle on random operators: every switch, ragged, displaced and uncovered rows, shared heads,
//! dilations beyond segments, several tiles, odd head dimensions, every dtype. Every row obeys its bound, not only the norm.

use std::cell::RefCell;
use std::collections::BTreeMap;

use attnc::Backend;
use attnc::pipeline::{self, Choices, Plan};
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::DType;
use attnc_tests::engines::Engine;
use attnc_tests::random::{Case, cases};
use attnc_tile::core::{Core, Expr, OpKind, Tile};

/// Runs `n` cases of at most `long` positions.
fn agree(engine: &Engine, n: u32, long: usize) {
    cases(n, long, |c| engine.check(c).map(|_| ()));
}

#[test]
fn machine_code_agrees_with_the_oracle_each() {
    for engine in Engine::machine_code(Some(Plan::Each), 1) {
        agree(&engine, 300, 1200);
    }
}

#[test]
fn machine_code_agrees_with_the_oracle_share() {
    for engine in Engine::machine_code(Some(Plan::Share), 2) {
        agree(&engine, 300, 1200);
    }
}

#[test]
fn tile_interpreter_agrees_with_the_oracle_each() {
    let engine = Engine::new(Backend::InterpTile, Some(Plan::Each), 3);
    agree(&engine, 150, 1200);
}

#[test]
fn tile_interpreter_agrees_with_the_oracle_share() {
    let engine = Engine::new(Backend::InterpTile, Some(Plan::Share), 3);
    agree(&engine, 150, 1200);
}

/// Tiles of 128 queries, panels of 64 keys that are packed anew by every task.
#[test]
fn the_schedule_of_sm_80_agrees_with_the_oracle() {
    for plan in [Plan::Each, Plan::Share] {
        let engine = Engine {
            target: "sm_80",
            ..Engine::new(Backend::InterpTile, Some(plan), 3)
        };
        agree(&engine, 120, 900);
    }
}

/// The meaning that the claims of 256 and 512 bits are held to: tiles of 48 queries and 64 keys.
#[test]
fn the_schedule_of_wide_kernels_agrees_with_the_oracle() {
    for plan in [Plan::Each, Plan::Share] {
        let engine = Engine {
            target: "x86_64-v4",
            ..Engine::new(Backend::InterpTile, Some(plan), 3)
        };
        agree(&engine, 60, 900);
    }
}

#[test]
fn unfused_graphs_agree_with_the_oracle() {
    agree(&Engine::new(Backend::InterpGraph, None, 1), 300, 300);
}

#[test]
fn fused_graphs_agree_with_the_oracle() {
    for plan in [Plan::Each, Plan::Share] {
        agree(&Engine::new(Backend::InterpGraph, Some(plan), 1), 200, 300);
    }
}

#[test]
fn results_stay_right_without_any_one_rule() {
    for (backend, n) in [
        (Backend::InterpGraph, 60),
        (Backend::InterpTile, 30),
        (Backend::Cpu, 30),
    ] {
        cases(n, 300, |c| {
            attnc_rewrite::rules().iter().try_for_each(|rule| {
                let engine = Engine {
                    without: vec![rule.name.to_string()],
                    ..Engine::new(backend, Some(Plan::Auto), 1)
                };
                engine.check(c).map(|_| ())
            })
        });
    }
}

/// The random cases hold what goes wrong, each kind often enough.
#[test]
fn every_difficulty_makes_up_a_tenth_of_the_random_cases() {
    let n = 300;
    let counts: RefCell<BTreeMap<&str, u32>> = RefCell::default();
    cases(n, 1200, |c| {
        for (name, holds) in c.features().list() {
            *counts.borrow_mut().entry(name).or_default() += u32::from(holds);
        }
        Ok(())
    });
    let counts = counts.into_inner();
    assert_eq!(counts.len(), 7);
    for (name, count) in counts {
        assert!(count * 10 >= n, "{name}: {count} of {n}");
    }
}

fn core(c: &Case, plan: Plan, without: &[&str]) -> Result<Core, String> {
    let choices = Choices {
        plan,
        without: without.iter().map(|s| s.to_string()).collect(),
        ..Choices::new("x86_64")
    };
    let graph = pipeline::graph(&c.op).map_err(|e| e.to_string())?;
    let fused = pipeline::fuse(&graph, &choices).map_err(|e| e.to_string())?;
    pipeline::tile(&fused.graph, &choices).map_err(|e| e.to_string())
}

/// Runs a program in the tile interpreter and judges it.
fn run_interp(c: &Case, core: &Core) -> Result<(), String> {
    let s = attnc::Signature::from(&c.op);
    let x = attnc::Inputs::generate(&s, c.batch as u64, c.seq_len as u64, c.seed)
        .map_err(|e| e.to_string())?;
    let (q, k, v) = (x.q.view(), x.k.view(), x.v.view());
    let got = attnc_interp::tile::run(core, &q, &k, &v, 3).map_err(|e| e.to_string())?;
    let got = attnc::Outcome {
        out: got.out,
        lse: got.lse,
        run_ms: Vec::new(),
        executed: attnc::Executed::default(),
    };
    Engine::new(Backend::InterpTile, None, 1)
        .judge(c, &x, &got)
        .map(|_| ())
}

/// A softmax that rewriting left whole knows its maximum before it takes an exponential: its steps may not raise it any more. Scores
/// beyond the range of exp overflow at once where a first sweep missed the largest.
#[test]
fn an_unfused_softmax_knows_its_maximum_beforehand() {
    let branches = [(16, 1), (64, 3)].map(|(w, dilation)| Branch {
        segment: Segment::Finite(w),
        dilation,
    });
    for causal in [false, true] {
        let case = Case {
            op: Operator {
                name: "steep".into(),
                heads: 2,
                kv_heads: 1,
                head_dim: 8,
                dtype: DType::F32,
                precision: Precision::Standard,
                causal,
                scale: 64.0,
                profile: Profile::PAPER,
                branches: branches.to_vec(),
            },
            batch: 1,
            seq_len: 150,
            seed: 1,
        };
        let core = core(&case, Plan::Auto, &["flash"]).expect("compiles");
        let fixed = without_raise(core);
        run_interp(&case, &fixed).unwrap_or_else(|e| panic!("{e}"));
        // The same with one sweep overflows: the test can fail.
        let online = without_raise(self::core(&case, Plan::Auto, &[]).expect("compiles"));
        assert!(run_interp(&case, &online).is_err());
    }
}

/// `step` with m2 = m.
fn without_raise(mut core: Core) -> Core {
    let step = core.fns.iter_mut().find(|f| f.name == "step");
    let step = step.expect("every program steps");
    let id = |name: &str| {
        let all = step.tiles.iter().chain(&step.temps);
        let at = all.into_iter().position(|(n, _)| n == name);
        Tile(at.expect("step has this tile") as u32)
    };
    let (m, m2) = (id("m"), id("m2"));
    for op in &mut step.body {
        if let OpKind::Map { dst, expr } = &mut op.kind
            && *dst == m2
        {
            *expr = Expr::Tile(m);
        }
    }
    core
}

/// Keys so large that f32 no longer tells neighbouring scores apart, up to the edge of overflow: the results stay finite and right.
#[test]
fn very_large_finite_scores_stay_right() {
    for large in [2e3f64, 1e5, 1e8, 1e15, 1e30] {
        for causal in [false, true] {
            let branches = [(16, 1), (64, 3), (64, 1)].map(|(w, dilation)| Branch {
                segment: Segment::Finite(w),
                dilation,
            });
            let case = Case {
                op: Operator {
                    name: "large".into(),
                    heads: 2,
                    kv_heads: 1,
                    head_dim: 8,
                    dtype: DType::F32,
                    precision: Precision::Standard,
                    causal,
                    scale: 0.35,
                    profile: Profile::PAPER,
                    branches: branches.to_vec(),
                },
                batch: 1,
                seq_len: 150,
                seed: 3,
            };
            let s = attnc::Signature::from(&case.op);
            let mut x = attnc::Inputs::generate(&s, 1, 150, case.seed).expect("small");
            // One key of each segment: two that compete would differ by less than the rounding of their scores.
            for n in (5..150).step_by(64) {
                x.k.set(n * 8 + 2, large);
            }
            for engine in Engine::all() {
                let got = engine.run(&case, &x).expect("runs");
                if let Err(e) = engine.judge(&case, &x, &got) {
                    panic!("{large:e}, causal {causal}: {e}");
                }
            }
        }
    }
}
