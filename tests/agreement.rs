// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every engine against the float64 oracle: random operators with every switch, ragged, displaced and uncovered rows, shared heads,
//! dilations beyond segments, several tiles, odd head dimensions. Every row obeys its bound, not only the norm.

use attnc::pipeline::{self, Choices, Plan};
use attnc_oracle::{Inputs, forward};
use attnc_spec::{
    Branch, Gradient, Offsets, Operator, Precision, Profile, Ragged, Rows, Segment, ZeroLse,
};
use attnc_tensor::{DType, Tensor, normal_tensor};
use attnc_tile::core::{Core, Expr, OpKind, Tile};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[derive(Clone, Debug)]
struct Case {
    op: Operator,
    batch: usize,
    seq_len: usize,
    seed: u64,
}

fn branch() -> impl Strategy<Value = Branch> {
    let segment = prop_oneof![
        4 => (1u64..40).prop_map(Segment::Finite),
        2 => (1u64..400).prop_map(Segment::Finite),
        1 => Just(Segment::Whole),
    ];
    (segment, prop_oneof![4 => 1u64..5, 1 => 5u64..70])
        .prop_map(|(segment, dilation)| Branch { segment, dilation })
}

fn profile() -> impl Strategy<Value = Profile> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(a, b, c, d)| Profile {
        offsets: if a { Offsets::Modulo } else { Offsets::Blocked },
        ragged: if b { Ragged::Masked } else { Ragged::ZeroKeys },
        rows: if c { Rows::Aligned } else { Rows::Displaced },
        gradient: Gradient::Exact,
        zero_lse: if d {
            ZeroLse::Covered
        } else {
            ZeroLse::Uncovered
        },
    })
}

fn case() -> impl Strategy<Value = Case> {
    let heads = prop_oneof![
        Just((1, 1)),
        Just((2, 1)),
        Just((4, 2)),
        Just((3, 3)),
        Just((6, 2))
    ];
    let dim = prop_oneof![Just(1u32), Just(3), Just(8), Just(7), Just(16)];
    let size = prop_oneof![6 => 1usize..120, 1 => 1000usize..1200];
    (
        proptest::collection::vec(branch(), 1..5),
        profile(),
        heads,
        dim,
        size,
        any::<bool>(),
        0u64..1000,
    )
        .prop_map(
            |(mut branches, profile, (heads, kv_heads), head_dim, seq_len, causal, seed)| {
                if seed % 5 == 0 {
                    branches.push(branches[0]);
                }
                let op = Operator {
                    name: "random".into(),
                    heads,
                    kv_heads,
                    head_dim,
                    dtype: DType::F32,
                    precision: Precision::Standard,
                    causal,
                    scale: 1.0 / f64::from(head_dim).sqrt(),
                    profile,
                    branches,
                };
                Case {
                    op,
                    batch: if seq_len < 100 { 2 } else { 1 },
                    seq_len,
                    seed,
                }
            },
        )
}

fn inputs(c: &Case) -> [Tensor; 3] {
    let d = c.op.head_dim as usize;
    let shape = |h: u32| [c.batch, c.seq_len, h as usize, d];
    [(c.op.heads, 0), (c.op.kv_heads, 1), (c.op.kv_heads, 2)].map(|(h, stream)| {
        normal_tensor(c.op.dtype, &shape(h), c.seed, stream).expect("small tensors fit")
    })
}

/// The worst row of `out` against the oracle, as a multiple of its bound; lse likewise.
fn check(c: &Case, out: &Tensor, lse: &Tensor, x: &[Tensor; 3]) -> Result<(), String> {
    let views = x.each_ref().map(Tensor::view);
    let inputs = Inputs::new(&c.op, &views[0], &views[1], &views[2]).map_err(|e| e.to_string())?;
    let want = forward(&c.op, &inputs, &|_| {}).map_err(|e| e.to_string())?;
    let (want_out, want_lse) = (want.out.to_f64(), want.lse.to_f64());
    let (got_out, got_lse) = (out.to_f64(), lse.to_f64());
    let d = c.op.head_dim as usize;
    let norm = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
    let rows = want_out.len() / d;
    let floor = norm(&want_out) / (rows as f64).sqrt();
    let bound = 1e-6 * (want.max_abs_score / 4.0).clamp(1.0, 50.0);
    for (i, (g, w)) in got_out.chunks(d).zip(want_out.chunks(d)).enumerate() {
        let diff: Vec<f64> = g.iter().zip(w).map(|(a, b)| a - b).collect();
        let error = norm(&diff);
        if error.is_nan() || error > 10.0 * bound * norm(w).max(floor) {
            return Err(format!("row {i}: error {error:e}, got {g:?}, want {w:?}"));
        }
    }
    for (i, (g, w)) in got_lse.iter().zip(&want_lse).enumerate() {
        let same = g == w;
        let near = (g - w).abs() <= 1e-5 * w.abs().max(1.0);
        if !(same || near) {
            return Err(format!("lse {i}: got {g}, want {w}"));
        }
    }
    Ok(())
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

fn run_interp(c: &Case, core: &Core) -> Result<(), String> {
    let x = inputs(c);
    let views = x.each_ref().map(Tensor::view);
    let got = attnc_interp::tile::run(core, &views[0], &views[1], &views[2], 3)
        .map_err(|e| e.to_string())?;
    check(c, &got.out, &got.lse, &x)
}

fn interp(c: &Case, plan: Plan, without: &[&str]) -> Result<(), String> {
    run_interp(c, &core(c, plan, without)?).map_err(|e| format!("{e} ({plan:?})"))
}

fn jit(c: &Case, plan: Plan, threads: usize) -> Result<(Tensor, Tensor), String> {
    let core = core(c, plan, &[])?;
    let code = attnc_codegen_cpu::Jit::new(&core).map_err(|e| e.to_string())?;
    let x = inputs(c);
    let [q, k, v] = x.each_ref().map(Tensor::view);
    let mut out = Tensor::zeros(c.op.dtype, q.shape()).map_err(|e| e.to_string())?;
    let mut lse = Tensor::zeros(DType::F32, &[c.batch, c.op.heads as usize, c.seq_len])
        .map_err(|e| e.to_string())?;
    let launch = attnc_runtime::Launch {
        q,
        k,
        v,
        out: out.view_mut(),
        lse: lse.view_mut(),
        threads,
    };
    attnc_runtime::launch(&code, &core, launch, &|_, _| true).map_err(|e| e.to_string())?;
    check(c, &out, &lse, &x).map_err(|e| format!("{e} ({plan:?})"))?;
    Ok((out, lse))
}

#[test]
fn machine_code_agrees_with_the_oracle_each() {
    cases(300, |c| jit(&c, Plan::Each, 1).map(|_| ()));
}

#[test]
fn machine_code_agrees_with_the_oracle_share() {
    cases(300, |c| jit(&c, Plan::Share, 2).map(|_| ()));
}

fn cases(n: u32, test: impl Fn(Case) -> Result<(), String>) {
    let config = Config {
        cases: n,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(Default::default()),
    );
    runner
        .run(&case(), |c| test(c).map_err(TestCaseError::fail))
        .unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn tile_interpreter_agrees_with_the_oracle_each() {
    cases(150, |c| interp(&c, Plan::Each, &[]));
}

#[test]
fn tile_interpreter_agrees_with_the_oracle_share() {
    cases(150, |c| interp(&c, Plan::Share, &[]));
}

#[test]
fn results_stay_right_without_any_one_rule() {
    cases(40, |c| {
        attnc_rewrite::rules().iter().try_for_each(|rule| {
            interp(&c, Plan::Auto, &[rule.name]).map_err(|e| format!("without {}: {e}", rule.name))
        })
    });
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
