// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Operators compiled for AVX-512, run by Bochs' CPU: on machines that lack it the only place where they run, on others a second judge.
//!
//! In: random operators, claims of many shapes, cases of the corpus and golden files. Out: agreement with the oracle, with the tile
//! interpreter, with the portable body, and bit for bit with this machine where it has AVX-512. Few cases of each: compiling takes most
//! of the time.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use attnc::pipeline::{self, Choices, Plan};
use attnc::{Backend, Inputs, Signature};
use attnc_codegen_cpu::{CpuTarget, Detect, Family, Jit, Level, Program, compile};
use attnc_runtime::{Launch, Workers};
use attnc_schedule::Schedule;
use attnc_spec::{Operator, Precision};
use attnc_tensor::measure::frobenius;
use attnc_tensor::{DType, Tensor};
use attnc_tests::bochs::{self, Done, SKYLAKE_X, there, tile_function};
use attnc_tests::engines::Engine;
use attnc_tests::operators::odd_segments;
use attnc_tests::precision::weights_are_coarser;
use attnc_tests::random::{Case, cases};
use attnc_tile::core::{Axis, Core, Elem, TileFn, TileTy};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const V4: CpuTarget = CpuTarget::X86_64V4;
const AMX: CpuTarget = CpuTarget::X86_64Amx;

/// Runs a case on one of the processors of a target, the next one for the next seed; judges it by the oracle and, where this machine has
/// the body that ran, by this machine bit for bit.
fn check(target: CpuTarget, plan: Plan, c: &Case) -> Result<Done, String> {
    let engines = Engine::emulated(target, Some(plan));
    let engine = &engines[c.seed as usize % engines.len()];
    let processor = engine.guest.ok_or("no guest")?;
    let s = Signature::from(&c.op);
    let x = Inputs::generate(&s, c.batch as u64, c.seq_len as u64, c.seed);
    let x = x.map_err(|e| e.to_string())?;
    let program = engine.program(c, Detect::Machine)?;
    let done = bochs::forward(&program, &c.op, &x, processor);
    let done = done.map_err(|e| format!("{engine:?}: {e}"))?;
    engine.judge(c, &x, &done.outcome)?;
    let level = done.level.ok_or("no body")?;
    let (issued, counted) = (
        done.outcome.executed.madds,
        counted(target, plan, c, level)?,
    );
    if issued as f64 != counted {
        return Err(format!(
            "{engine:?}: {level:?} issues {issued}, {counted} are counted"
        ));
    }
    if level.here() {
        let program = engine.program(c, Detect::Told(level.needs()))?;
        let want = native(&program, &c.op, &x)?;
        let got = [done.outcome.out.bytes(), done.outcome.lse.bytes()].concat();
        if got != want {
            return Err(format!(
                "{engine:?}: {level:?} gives other bits on this machine"
            ));
        }
    }
    Ok(done)
}

/// The multiply-adds that the schedule of this level says will be issued.
fn counted(target: CpuTarget, plan: Plan, c: &Case, level: Level) -> Result<f64, String> {
    let choices = Choices {
        plan,
        ..Choices::new(target.name())
    };
    let graph = pipeline::graph(&c.op).map_err(|e| e.to_string())?;
    let fused = pipeline::fuse(&graph, &choices).map_err(|e| e.to_string())?;
    let (nest, all) = pipeline::schedules(&fused.graph, &choices).map_err(|e| e.to_string())?;
    let of_level = |s: &&Schedule| target.levels_of(s.panels).contains(&level);
    let sched = all.iter().rfind(of_level).ok_or("no schedule")?;
    let work = attnc_schedule::work(&nest, sched, c.seq_len as u64, u64::MAX);
    Ok(work.products * c.batch as f64)
}

/// `out` and `lse` of a program in this process.
fn native(program: &Program, op: &Operator, x: &Inputs) -> Result<Vec<u8>, String> {
    let s = Signature::from(op);
    let mut out = Tensor::zeros(op.dtype, &s.query_shape(x.batch, x.seq_len)).expect("small");
    let mut lse = Tensor::zeros(DType::F32, &s.lse_shape(x.batch, x.seq_len)).expect("small");
    let launch = Launch {
        q: x.q.view(),
        k: x.k.view(),
        v: x.v.view(),
        out: out.view_mut(),
        lse: lse.view_mut(),
        workers: Workers::Threads(1),
    };
    let jit = Jit::link(program).map_err(|e| e.to_string())?;
    let ran = attnc_runtime::launch(&jit, launch, &|_, _| ControlFlow::Continue(()));
    ran.map_err(|e| e.to_string())?;
    Ok([out.bytes(), lse.bytes()].concat())
}

/// What this machine runs as well comes out bit for bit the same.
#[test]
fn the_emulator_and_this_machine_agree() {
    if there() {
        for target in CpuTarget::ALL
            .into_iter()
            .filter(|t| t.family() == Family::X86_64)
        {
            cases(4, 150, |c| check(target, Plan::Share, c).map(|_| ()));
        }
    }
}

#[test]
fn random_operators_agree_with_the_oracle_share() {
    if there() {
        cases(30, 400, |c| check(V4, Plan::Share, c).map(|_| ()));
    }
}

#[test]
fn random_operators_agree_with_the_oracle_each() {
    if there() {
        cases(20, 200, |c| check(V4, Plan::Each, c).map(|_| ()));
    }
}

fn program(op: &Operator) -> (Core, Program) {
    let choices = Choices::new(V4.name());
    let graph = pipeline::graph(op).expect("a graph");
    let fused = pipeline::fuse(&graph, &choices).expect("rewriting ends");
    let core = pipeline::tile(&fused.graph, &choices).expect("a program");
    let program = compile(&core, V4).expect("code");
    (core, program)
}

/// Every rest of the unrolling, every dtype; tails of one to three vectors and of one to eight keys come with the lengths.
#[test]
fn claims_agree_with_the_tile_interpreter_and_the_oracle() {
    if !there() {
        return;
    }
    let dims = [1, 2, 3, 4, 7, 16, 29, 32, 48, 64, 66, 80, 96, 128, 201, 256];
    for (i, head_dim) in dims.into_iter().enumerate() {
        let dtype = [DType::F32, DType::Bf16, DType::F16][i % 3];
        let c = Case {
            op: odd_segments(head_dim, dtype, i % 2 == 0),
            batch: 1,
            seq_len: 68 + head_dim as usize % 67,
            // Even: the processor without bf16, whose body the interpreter's program is.
            seed: 2 * u64::from(head_dim),
        };
        let named = |e: String| panic!("head_dim {head_dim} {dtype}: {e}");
        let got = check(V4, Plan::Share, &c)
            .map(|d| d.outcome)
            .unwrap_or_else(named);
        let s = Signature::from(&c.op);
        let x = Inputs::generate(&s, 1, c.seq_len as u64, c.seed).expect("small");
        let interpreter = Engine {
            target: V4.name(),
            ..Engine::new(Backend::InterpTile, Some(Plan::Share), 1)
        };
        let want = interpreter.run(&c, &x).unwrap_or_else(named);
        // The same sums in the same order, fused or not; where `out` is narrow, a few elements are rounded to their other neighbour.
        let lse = frobenius(got.lse.to_f64(), want.lse.to_f64());
        assert!(lse < 2e-7, "head_dim {head_dim} {dtype}: lse {lse:e}");
        let (got, want) = (got.out.to_f64(), want.out.to_f64());
        let ulp = match dtype {
            DType::F32 => {
                let out = frobenius(got, want);
                assert!(out < 3e-7, "head_dim {head_dim}: {out:e}");
                continue;
            }
            DType::Bf16 => 2f64.powi(-7),
            DType::F16 => 2f64.powi(-10),
        };
        let pairs = || got.iter().zip(&want).filter(|(a, b)| a != b);
        assert!(pairs().all(|(a, b)| (a - b).abs() <= ulp * b.abs().max(1e-3)));
        assert!(pairs().count() * 100 <= got.len(), "head_dim {head_dim}");
    }
}

/// Operators in bf16 on processors with products of bf16: whole tiles and their parts, several of each.
#[test]
fn operators_in_bf16_agree_with_the_oracle() {
    if !there() {
        return;
    }
    for target in [V4, AMX] {
        let mut levels = Vec::new();
        for (i, head_dim) in [1, 16, 32, 40, 64, 96, 128, 250].into_iter().enumerate() {
            // Odd seeds: of the processors of a target, the one with more extensions.
            let c = Case {
                op: Operator {
                    precision: [Precision::Standard, Precision::Fast][i / 4],
                    ..odd_segments(head_dim, DType::Bf16, i % 2 == 1)
                },
                batch: 1,
                seq_len: [140, 64, 97, 33, 200, 20, 130, 66][i],
                seed: 2 * i as u64 + 1,
            };
            let plan = [Plan::Share, Plan::Each][i / 2 % 2];
            match check(target, plan, &c) {
                Ok(done) => levels.extend(done.level),
                Err(e) => panic!("head_dim {head_dim} {}: {e}", target.name()),
            }
        }
        let highest = [Level::V4Bf16, Level::Amx][usize::from(target == AMX)];
        assert_eq!(levels, [highest; 8], "{}", target.name());
    }
}

/// On every processor of every target.
#[test]
fn fast_operators_have_coarser_weights() {
    if !there() {
        return;
    }
    for target in [V4, AMX] {
        for engine in Engine::emulated(target, Some(Plan::Share)) {
            weights_are_coarser(&engine);
        }
    }
}

/// Extent of an axis.
fn extent(f: &TileFn, a: Axis) -> usize {
    (match a {
        Axis::One => 1,
        Axis::Query => f.mq,
        Axis::Key { .. } => f.nk,
        Axis::Dim => f.head_dim,
    }) as usize
}

/// The bytes of a tile of `step`: random where something lives and 0 beyond; queries stand at 20 and later, keys at 0 and later.
fn tile(f: &TileFn, name: &str, t: TileTy, live: [usize; 2], random: &mut ChaCha8Rng) -> Vec<u8> {
    let (rows, columns) = (extent(f, t.rows), extent(f, t.cols));
    let lives = |a: Axis, i: usize| match a {
        Axis::One | Axis::Dim => true,
        Axis::Query => i < live[0],
        Axis::Key { .. } => i < live[1],
    };
    let element = |i: usize| match (t.elem, name) {
        (Elem::I64, "qpos") => (i as i64 + 20).to_le_bytes().to_vec(),
        (Elem::I64, _) => (i as i64).to_le_bytes().to_vec(),
        _ => {
            let there = lives(t.rows, i / columns) && lives(t.cols, i % columns);
            let drawn = random.random_range(-2.0..2.0f32);
            let x = if name == "l" { drawn + 3.0 } else { drawn };
            if there { x } else { 0.0 }.to_le_bytes().to_vec()
        }
    };
    (0..rows * columns).flat_map(element).collect()
}

/// The claim itself beside the portable body that it replaces, tile by tile: what lives agrees, and what does not is left alone where the
/// portable body does so.
#[test]
fn a_claim_gives_the_tiles_of_the_portable_body() {
    if !there() {
        return;
    }
    let mut random = ChaCha8Rng::seed_from_u64(5);
    for causal in [false, true] {
        let (core, program) = program(&odd_segments(19, DType::F32, causal));
        let f = core.fns.iter().find(|f| f.name == "step").expect("a step");
        for live in [[48, 64], [1, 1], [17, 9], [33, 63], [47, 8]] {
            let all = f.tiles.iter();
            let before: Vec<Vec<u8>> = all
                .map(|(name, t)| tile(f, name, *t, live, &mut random))
                .collect();
            let scalar = |name: &String| match name.as_str() {
                "live_q" => live[0] as i64,
                "live_k" => live[1] as i64,
                "mixed" => i64::from(causal),
                _ => 0,
            };
            let scalars: Vec<i64> = f.scalars.iter().map(scalar).collect();
            let run = |name: &str| {
                let got = tile_function(&program, name, &before, &scalars, &SKYLAKE_X);
                got.unwrap_or_else(|e| panic!("{name} {live:?}: {e}"))
            };
            let (got, want) = (
                run("attnc_odd_segments.v4.step.claim"),
                run("attnc_odd_segments.v4.step"),
            );
            for (((name, t), got), (want, before)) in
                f.tiles.iter().zip(&got).zip(want.iter().zip(&before))
            {
                if !["m", "l", "o"].contains(&name.as_str()) {
                    assert!(got == before, "{name} is an input");
                    continue;
                }
                let columns = extent(f, t.cols);
                let single = |b: &[u8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                let living = |tile: &[u8]| -> Vec<f64> {
                    let rows = tile.chunks(4 * columns);
                    let rows = rows.flat_map(|r| r.chunks(4).take(live[0]));
                    rows.map(single).collect()
                };
                let error = frobenius(living(got), living(want));
                assert!(error < 5e-7, "{name} {live:?} causal {causal}: {error:e}");
                assert!(name != "o" || living(want) != living(before), "{live:?}");
            }
        }
    }
}

/// The operators of a folder of the corpus, each file's first at the longest of its lengths that an emulator is asked for.
fn corpus(folder: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(folder).expect("a folder");
    let mut files: Vec<PathBuf> = files.map(|e| e.expect("readable").path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "attn"));
    files.sort();
    let engine = Engine::emulated(V4, None).swap_remove(0);
    let longest = |path: &PathBuf| {
        let all = attnc_tests::corpus::cases(path);
        let name = all[0].op.name.clone();
        let small = |c: &Case| c.op.name == name && engine.skips(c).is_none();
        all.into_iter().filter(small).max_by_key(|c| c.seq_len)
    };
    files.iter().filter_map(longest).collect()
}

#[test]
fn the_corpus_agrees_with_the_oracle() {
    if !there() {
        return;
    }
    let all = [corpus("../dsl/examples"), corpus("cases")].concat();
    assert!(all.len() > 20);
    for c in all {
        check(V4, Plan::Auto, &c)
            .unwrap_or_else(|e| panic!("{} at N = {}: {e}", c.op.name, c.seq_len));
    }
}

#[test]
fn golden_data_come_out_right() {
    if !there() {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let files = std::fs::read_dir(folder).expect("a folder");
    let files = files.map(|e| e.expect("readable").path());
    let files = files.filter(|p| p.extension().is_some_and(|e| e == "safetensors"));
    let mut count = 0;
    for path in files {
        let g = attnc_tests::corpus::golden(&path).swap_remove(0);
        let engine = Engine::emulated(V4, Some(Plan::Auto)).swap_remove(0);
        let got = engine
            .run(&g.case, &g.x)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let found = engine
            .judge(&g.case, &g.x, &got)
            .unwrap_or_else(|e| panic!("{e}"));
        let error = frobenius(got.out.to_f64(), g.out.to_f64());
        assert!(
            error < found.verdict.bounds.out,
            "{}: {error:e}",
            path.display()
        );
        count += 1;
    }
    assert_eq!(count, 26);
}
