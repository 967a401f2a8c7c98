// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Half panels: keys and values packed in the operator's dtype, weights rounded to it. The tile interpreter and the portable machine code,
//! which is where every claim on such a program goes on when it meets a case that it does not take, against the float64 oracle.
//!
//! In: operators in bf16 (and f16, which the same code takes) under the schedule of half panels, compiled at every level of this machine:
//! levels that would choose that schedule need not be here. Out: every row within its bound.

use std::ops::ControlFlow;

use attnc::pipeline::{self, Choices, Plan};
use attnc::{Backend, Executed, Inputs, Outcome, Signature};
use attnc_codegen_cpu::{Detect, Jit, Level, Part, compile_parts};
use attnc_runtime::{Launch, Workers, launch};
use attnc_schedule::{Schedule, lower};
use attnc_spec::{Operator, Segment};
use attnc_tensor::{DType, Tensor};
use attnc_tests::engines::{Engine, targets};
use attnc_tests::operators::odd_segments;
use attnc_tests::random::{Case, cases};
use attnc_tile::core::{Core, Layout};
use attnc_tile::step::{Panels, recognise};
use attnc_tile::{parse, print, verify};

/// The operator's program under half panels, `without` some rules.
fn core(op: &Operator, plan: Plan, without: &[&str]) -> Result<Core, String> {
    let choices = Choices {
        plan,
        without: without.iter().map(ToString::to_string).collect(),
        ..Choices::new("x86_64-v4")
    };
    let graph = pipeline::graph(op).map_err(|e| e.to_string())?;
    let fused = pipeline::fuse(&graph, &choices).map_err(|e| e.to_string())?;
    let nest = attnc_schedule::nest(&fused.graph).map_err(|e| e.to_string())?;
    let branches = nest.groups.iter().map(|g| g.terms.len()).sum();
    let sched = Schedule::half("x86_64", nest.head_dim, branches);
    let core = lower(&nest, &sched).map_err(|e| e.to_string())?;
    verify::core(&core).map_err(|e| format!("{e:?}"))?;
    Ok(core)
}

/// The program at every level that this machine has; a target is whose instructions may be used, whatever the program was made for.
fn compiled(core: &Core) -> Vec<(Level, Jit)> {
    let mut all: Vec<(Level, Jit)> = Vec::new();
    for target in targets() {
        for level in target.levels().iter().filter(|l| l.here()) {
            let part = Part {
                core,
                target,
                levels: &[*level],
            };
            let program = compile_parts(&[part], Detect::Trusted).expect("code");
            all.push((*level, Jit::link(&program).expect("memory")));
        }
    }
    all
}

fn run(jit: &Jit, op: &Operator, x: &Inputs) -> Outcome {
    let s = Signature::from(op);
    let mut out = Tensor::zeros(op.dtype, &s.query_shape(x.batch, x.seq_len)).expect("small");
    let mut lse = Tensor::zeros(DType::F32, &s.lse_shape(x.batch, x.seq_len)).expect("small");
    let l = Launch {
        q: x.q.view(),
        k: x.k.view(),
        v: x.v.view(),
        out: out.view_mut(),
        lse: lse.view_mut(),
        workers: Workers::Threads(2),
    };
    launch(jit, l, &|_, _| ControlFlow::Continue(())).expect("runs");
    outcome(out, lse)
}

fn outcome(out: Tensor, lse: Tensor) -> Outcome {
    Outcome {
        out,
        lse,
        run_ms: Vec::new(),
        executed: Executed::default(),
    }
}

fn interpreted(core: &Core, x: &Inputs) -> Result<Outcome, String> {
    let (q, k, v) = (x.q.view(), x.k.view(), x.v.view());
    let got = attnc_interp::tile::run(core, &q, &k, &v, 2).map_err(|e| e.to_string())?;
    Ok(outcome(got.out, got.lse))
}

fn judge(backend: Backend, c: &Case, x: &Inputs, got: &Outcome, what: &str) -> Result<(), String> {
    let engine = Engine::new(backend, Some(Plan::Auto), 1);
    let judged = engine.judge(c, x, got);
    judged.map(|_| ()).map_err(|e| format!("{what}: {e}"))
}

fn inputs(c: &Case) -> Result<Inputs, String> {
    let s = Signature::from(&c.op);
    Inputs::generate(&s, c.batch as u64, c.seq_len as u64, c.seed).map_err(|e| e.to_string())
}

/// bf16 mostly, and every other case of another dtype in f16.
fn halved(c: &Case) -> Case {
    let mut c = c.clone();
    if c.op.dtype != DType::F16 {
        c.op.dtype = DType::Bf16;
    }
    c
}

fn check(c: &Case, plan: Plan, interp: bool, x: &Inputs) -> Result<(), String> {
    let core = core(&c.op, plan, &[])?;
    if interp {
        let got = interpreted(&core, x)?;
        judge(Backend::InterpTile, c, x, &got, "interpreter")?;
    }
    compiled(&core).iter().try_for_each(|(level, jit)| {
        let got = run(jit, &c.op, x);
        judge(Backend::Cpu, c, x, &got, level.name())
    })
}

#[test]
fn random_operators_agree_with_the_oracle() {
    cases(40, 900, |c| {
        let c = halved(c);
        let x = inputs(&c)?;
        check(&c, Plan::Each, true, &x)?;
        check(&c, Plan::Share, true, &x)
    });
}

/// Every tail of a row in groups of eight, one and several panels, blocks of one and two tiles of queries.
#[test]
fn every_head_dimension_agrees_with_the_oracle() {
    for head_dim in 1..=256 {
        let case = Case {
            op: odd_segments(head_dim, DType::Bf16, head_dim % 2 == 0),
            batch: 1,
            seq_len: 68 + head_dim as usize % 67,
            seed: u64::from(head_dim),
        };
        let x = inputs(&case).expect("small");
        let interp = head_dim % 16 < 2;
        check(&case, Plan::Share, interp, &x)
            .unwrap_or_else(|e| panic!("head_dim {head_dim}: {e}"));
    }
}

/// Several panels of 256 keys, the last of them short, in one run.
#[test]
fn long_runs_of_keys_agree_with_the_oracle() {
    for (n, causal) in [(511, false), (512, true), (801, true)] {
        let mut op = odd_segments(16, DType::Bf16, causal);
        op.branches.truncate(1);
        op.branches[0].segment = Segment::Whole;
        let case = Case {
            op,
            batch: 1,
            seq_len: n,
            seed: 5,
        };
        let x = inputs(&case).expect("small");
        check(&case, Plan::Auto, true, &x).unwrap_or_else(|e| panic!("{n}: {e}"));
    }
}

/// A softmax that rewriting left whole goes over the packed keys twice.
#[test]
fn an_unfused_softmax_agrees_with_the_oracle() {
    for causal in [false, true] {
        let case = Case {
            op: odd_segments(24, DType::Bf16, causal),
            batch: 1,
            seq_len: 150,
            seed: 9,
        };
        let x = inputs(&case).expect("small");
        let core = core(&case.op, Plan::Each, &["flash"]).expect("a program");
        assert!(core.fns.iter().any(|f| f.name == "peak"));
        let got = interpreted(&core, &x).expect("runs");
        judge(Backend::InterpTile, &case, &x, &got, "interpreter").expect("within bounds");
        for (level, jit) in compiled(&core) {
            let got = run(&jit, &case.op, &x);
            judge(Backend::Cpu, &case, &x, &got, level.name()).expect("within bounds");
        }
    }
}

/// Sums are over rounded weights: log-sum-exps of machine code and interpreter are as close as sums in f32, and farther from those of
/// weights in f32 than these are from each other.
#[test]
fn weights_are_rounded_before_they_are_summed() {
    let case = Case {
        op: odd_segments(16, DType::Bf16, false),
        batch: 1,
        seq_len: 134,
        seed: 4,
    };
    let x = inputs(&case).expect("small");
    let half = core(&case.op, Plan::Share, &[]).expect("a program");
    let want = interpreted(&half, &x).expect("runs");
    let most = |a: &Outcome, b: &Outcome| {
        let (a, b) = (a.lse.to_f64(), b.lse.to_f64());
        let far = a.iter().zip(b.iter()).map(|(a, b)| (a - b).abs());
        far.fold(0.0, f64::max)
    };
    for (level, jit) in compiled(&half) {
        // Claims on half panels take exponentials that are as precise as what is rounded: other weights are rounded up.
        if level >= Level::V4Bf16 {
            continue;
        }
        let far = most(&run(&jit, &case.op, &x), &want);
        assert!(far < 1e-5, "{}: {far}", level.name());
    }
    let graph = pipeline::graph(&case.op).expect("a graph");
    let choices = Choices::new("x86_64");
    let fused = pipeline::fuse(&graph, &choices).expect("fused");
    let float = pipeline::tile(&fused.graph, &choices).expect("a program");
    let far = most(&interpreted(&float, &x).expect("runs"), &want);
    assert!(far > 1e-4, "{far}");
}

/// Puts `what` into every element of some token.
fn damage(t: &mut Tensor, token: usize, what: f32) {
    let shape = t.shape().to_vec();
    let mut view = t.view_mut();
    for b in 0..shape[0] {
        for h in 0..shape[2] {
            for d in 0..shape[3] {
                view.set(&[b, token, h, d], f64::from(what));
            }
        }
    }
}

#[test]
fn hidden_nan_and_infinity_never_reach_a_row_and_visible_ones_do() {
    cases(12, 150, |c| {
        let c = halved(c);
        let token = c.seed as usize * 7 % c.seq_len;
        for what in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for value in [false, true] {
                let mut x = inputs(&c)?;
                damage(if value { &mut x.v } else { &mut x.k }, token, what);
                check(&c, Plan::Share, true, &x)
                    .map_err(|e| format!("{what} at {token}, value {value}: {e}"))?;
            }
        }
        Ok(())
    });
}

/// Scores beyond 2^24, which only the careful path keeps apart.
#[test]
fn very_large_elements_stay_right() {
    let case = Case {
        op: odd_segments(20, DType::Bf16, true),
        batch: 1,
        seq_len: 100,
        seed: 2,
    };
    let mut x = inputs(&case).expect("small");
    damage(&mut x.k, 40, 30_000.0);
    check(&case, Plan::Share, true, &x).expect("within bounds");
}

#[test]
fn a_half_step_is_known_by_its_parameters_and_an_edited_one_is_not() {
    for (head_dim, causal) in [(64, true), (80, false), (3, true)] {
        let op = odd_segments(head_dim, DType::Bf16, causal);
        let mut core = core(&op, Plan::Share, &[]).expect("a program");
        let step = core.fns.iter_mut().find(|f| f.name == "step");
        let step = step.expect("a step");
        let p = recognise(step).expect("known");
        assert_eq!((p.extents.panels, p.causal), (Panels::Half, causal));
        assert_eq!(
            (p.extents.mq, p.extents.head_dim, p.extents.nk % 32),
            (96, head_dim, 0)
        );
        let pitch = head_dim.next_multiple_of(32);
        assert_eq!(p.extents.keys(), Layout::Padded { pitch });
        let stride = p.extents.nk;
        assert_eq!(p.extents.values(), Layout::Transposed { stride });
        let k = step.tiles.iter_mut().find(|(name, _)| name == "k");
        k.expect("keys").1.layout = Layout::Padded { pitch: pitch + 32 };
        assert_eq!(recognise(step), None);
    }
}

/// The schedule of half panels for some head dimensions: (D, keys of a panel, bytes of one of keys and one of values).
#[test]
fn panels_take_about_64_kib() {
    for (head_dim, panel, bytes) in [
        (3, 256, 17_920),
        (64, 256, 65_536),
        (80, 160, 56_320),
        (128, 128, 65_536),
        (256, 64, 65_536),
        (1000, 32, 129_536),
    ] {
        let s = Schedule::half("x86_64-amx", head_dim, 3);
        assert_eq!((s.nk, s.panel, s.key_step), (panel, panel, 32));
        let pitch = head_dim.next_multiple_of(32);
        assert_eq!(2 * panel * (pitch + head_dim), bytes, "{head_dim}");
    }
}

/// Tensor rows 7 to 43 as packed keys and values, looked at element by element, with what fills them up, over what was there before: other
/// keys, and behind each row the keys of a gather that began a row's width later.
#[test]
fn panels_are_laid_out_as_their_layout_says() {
    for head_dim in [5u32, 8, 12, 40] {
        let (d, nk, live) = (u64::from(head_dim), 64, 37);
        let pitch = d.next_multiple_of(32);
        let mq = d.next_multiple_of(8);
        // Tiles of D keys by D queries, of which query i is the unit vector i, from several offsets: those behind the row show what
        // fills it up.
        let (mut looks, mut row) = (String::new(), 0);
        let mut places = Vec::new();
        for (panel, offsets) in [("k", pitch / d), ("v", 1)] {
            for offset in 0..offsets {
                let at = offset * d;
                looks += &format!("look_{panel}(s[0], {panel}[{at}], q[0]; {d}, {nk})\n");
                for key in (0..nk - d + 1).step_by(head_dim as usize) {
                    let from = key * mq;
                    looks += &format!(
                        "scatter out(0, 0) at list[{row}] live {d} = s[{from}] cols {mq}\n"
                    );
                    places.push((panel, offset, key));
                    row += d;
                }
            }
        }
        let n = row;
        let (k, v) = (2 * nk * pitch, d * nk);
        let text = format!(
            "tile 2 look target x86_64
            heads 1, kv_heads 1, head_dim {d}, dtype bf16, causal false, key_step 32, careful_above 1000.0
            alloc work i64 row: list[{n}] in 0..=N-1, care[1] in 0..=1
            alloc work data padded {pitch}: k[{k}]
            alloc work data transposed {nk}: v[{v}]
            alloc work f32 st: q[{}], s[{}]
            fn look_k(s[k,q], data k[k,d] padded {pitch}, q[d,q]; live_q, live_k) mq {mq} nk {nk} {{
              s = dot_keys k, q
            }}
            fn look_v(s[k,q], data v[k,d] transposed {nk}, q[d,q]; live_q, live_k) mq {mq} nk {nk} {{
              s = dot_keys v, q
            }}
            plan {{ tasks 1 }}
            enter {{ }}
            body {{
              for %0 in 0..{n} {{ list[%0] = %0 }}
              gather q[0] cols {mq} = q(0, 0) at list[0] live {d}
              gather k[0] rows = k(0, 0) at list[0] live {nk}
              gather k[{}] rows = k(0, 0) at list[0] live {nk}
              gather k[{d}] rows = k(0, 0) at list[0] live {nk}
              gather v[0] rows = v(0, 0) at list[0] live {nk}
              gather k[0] rows = k(0, 0) at list[7] live {live} flag care[0]
              gather v[0] rows = v(0, 0) at list[7] live {live} flag care[0]
              {looks}
              fill lse(0, 0) at list[0] live {n} = 0.0
            }}",
            d * mq,
            nk * mq,
            nk * pitch,
        );
        let core = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(parse(&print(&core)).as_ref(), Ok(&core));
        let op = odd_segments(head_dim, DType::Bf16, false);
        let s = Signature::from(&op);
        let mut x = Inputs::generate(&s, 1, n, 3).expect("small");
        for i in 0..d as usize {
            damage(&mut x.q, i, 0.0);
            x.q.view_mut().set(&[0, i, 0, i], 1.0);
        }
        let want = |panel: &str, offset: u64, key: u64, e: u64| match (panel, offset) {
            ("k", 0) if key < live => x.k.view().get(&[0, 7 + key as usize, 0, e as usize]),
            ("v", _) if key < live => x.v.view().get(&[0, 7 + key as usize, 0, e as usize]),
            _ => 0.0,
        };
        let mut results = vec![("interpreter", interpreted(&core, &x).expect("runs"))];
        for (level, jit) in compiled(&core) {
            results.push((level.name(), run(&jit, &op, &x)));
        }
        for (what, got) in results {
            let got = got.out.view();
            for (i, (panel, offset, key)) in places.iter().enumerate() {
                for query in 0..d {
                    for j in 0..d {
                        let at = [0, i * d as usize + query as usize, 0, j as usize];
                        assert_eq!(
                            got.get(&at),
                            want(panel, *offset, key + j, query),
                            "{what}: D {d}, {panel} + {offset} D, key {}, element {query}",
                            key + j
                        );
                    }
                }
            }
        }
    }
}
