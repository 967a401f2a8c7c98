// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The claims of `step` over packed bf16 panels, by themselves in Bochs' CPU: products of pairs by vectors (AVX512-BF16) and by matrix
//! tiles (AMX).
//!
//! In: states, queries, panels, counts, positions, with poison wherever nothing may be read or nothing may come of it. Out: agreement with
//! the softmax in float64, guards untouched, and the portable body where that is asked for.

use attnc::pipeline::{self, Choices, Plan};
use attnc::{Backend, Inputs, Outcome, Signature};
use attnc_codegen_cpu::{CpuTarget, Detect, Level, Part, Program, compile_parts};
use attnc_schedule::Schedule;
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::DType;
use attnc_tests::bochs::{
    Processor, SAPPHIRE_RAPIDS, SAPPHIRE_RAPIDS_AMX, SAPPHIRE_RAPIDS_DENIED, SAPPHIRE_RAPIDS_TILES,
    SKYLAKE_X, forward, there, tile_function,
};
use attnc_tests::engines::Engine;
use attnc_tests::random::Case as Whole;
use attnc_tile::core::Core;
use attnc_tile::step::{PAIRS, recognise};
use half::bf16;
use iced_x86::{CpuidFeature as C, Decoder, DecoderOptions, FlowControl, Mnemonic};

const SCALE: f64 = 0.25;

const ENGINES: [(Level, CpuTarget, Processor); 2] = [
    (Level::V4Bf16, CpuTarget::X86_64V4, SAPPHIRE_RAPIDS),
    (Level::Amx, CpuTarget::X86_64Amx, SAPPHIRE_RAPIDS_TILES),
];

fn operator(head_dim: u32, causal: bool, branches: &[(u64, u64)]) -> Operator {
    let branch = |(w, dilation): &(u64, u64)| Branch {
        segment: Segment::Finite(*w),
        dilation: *dilation,
    };
    Operator {
        name: "op".into(),
        heads: 2,
        kv_heads: 1,
        head_dim,
        dtype: DType::Bf16,
        precision: Precision::Standard,
        causal,
        scale: SCALE,
        profile: Profile::PAPER,
        branches: branches.iter().map(branch).collect(),
    }
}

/// A program over half panels, and its core.
fn program(head_dim: u32, causal: bool, engine: (Level, CpuTarget)) -> (Core, Program) {
    program_without(&[], Precision::Standard, head_dim, causal, engine)
}

/// The same, rewritten without some rules, at a precision.
fn program_without(
    rules: &[&str],
    precision: Precision,
    head_dim: u32,
    causal: bool,
    (level, target): (Level, CpuTarget),
) -> (Core, Program) {
    let op = Operator {
        precision,
        ..operator(head_dim, causal, &[(512, 1)])
    };
    let choices = Choices {
        without: rules.iter().map(ToString::to_string).collect(),
        ..Choices::new(target.name())
    };
    let graph = pipeline::graph(&op).expect("a graph");
    let fused = pipeline::fuse(&graph, &choices).expect("rewriting ends");
    let nest = attnc_schedule::nest(&fused.graph).expect("a nest");
    let sched = Schedule::half(target.name(), head_dim, 1);
    let core = attnc_schedule::lower(&nest, &sched).expect("a program");
    let part = Part {
        core: &core,
        target,
        levels: &[level],
    };
    let program = compile_parts(&[part], Detect::Trusted).expect("code");
    (core, program)
}

/// A program over panels of f32.
fn of_floats(head_dim: u32, dtype: DType, (level, target): (Level, CpuTarget)) -> Program {
    let op = Operator {
        dtype,
        ..operator(head_dim, head_dim % 2 == 1, &[(512, 1)])
    };
    let choices = Choices::new(target.name());
    let graph = pipeline::graph(&op).expect("a graph");
    let fused = pipeline::fuse(&graph, &choices).expect("rewriting ends");
    let core = pipeline::tile(&fused.graph, &choices).expect("a program");
    let part = Part {
        core: &core,
        target,
        levels: &[level],
    };
    compile_parts(&[part], Detect::Trusted).expect("code")
}

/// Numbers of a fixed sequence.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.0 >> 33
    }
    /// Between -`most` and `most`, in bf16.
    fn signed(&mut self, most: f32) -> bf16 {
        let x = self.next() as f32 / (1u64 << 31) as f32;
        bf16::from_f32((2.0 * x - 1.0) * most)
    }
}

/// What a claim is called with, besides the state.
struct Block {
    q: Vec<u8>,
    k: Vec<u8>,
    v: Vec<u8>,
    t: Vec<u8>,
    kpos: Vec<u8>,
    qpos: Vec<u8>,
    /// Weighted scores as powers of two by key and lane, and values.
    scores: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
}

fn bytes<const N: usize>(x: impl IntoIterator<Item = [u8; N]>) -> Vec<u8> {
    x.into_iter().flatten().collect()
}

/// How much of a block lives, whether it is `mixed`, how large its keys are, and how many of the first ones are behind every query.
#[derive(Clone, Copy, Debug)]
struct Case {
    live_q: usize,
    live_k: usize,
    mixed: bool,
    large: f32,
    behind: usize,
}

/// Powers of two in one of the exponent's own units.
fn unit(core: &Core) -> f64 {
    let step = core.fns.iter().find(|f| f.name == "step").expect("a step");
    match recognise(step).expect("known").softmax.base2 {
        true => 1.0,
        false => std::f64::consts::LOG2_E,
    }
}

fn block(core: &Core, causal: bool, c: Case, q: &[Vec<bf16>], n: &mut Numbers) -> Block {
    let step = core.fns.iter().find(|f| f.name == "step").expect("a step");
    let (mq, nk, d) = (step.mq as usize, step.nk as usize, step.head_dim as usize);
    let pitch = d.next_multiple_of(PAIRS as usize);
    let padded = c.live_k.next_multiple_of(PAIRS as usize);
    // What is behind the padded keys, and the lanes behind the live ones, is never to be seen.
    let mut keys = vec![bf16::NAN; nk * pitch];
    let mut columns = vec![bf16::NAN; d * nk];
    keys[..padded * pitch].fill(bf16::ZERO);
    let (mut k, mut v) = (Vec::new(), Vec::new());
    for key in 0..c.live_k {
        k.push((0..d).map(|_| n.signed(c.large)).collect::<Vec<_>>());
        v.push((0..d).map(|_| n.signed(1.0)).collect::<Vec<_>>());
        keys[key * pitch..][..d].copy_from_slice(&k[key]);
    }
    for (i, column) in columns.chunks_mut(nk).enumerate() {
        column[..padded].fill(bf16::ZERO);
        for (x, v) in column.iter_mut().zip(&v) {
            *x = v[i];
        }
    }
    let t: Vec<f32> = (0..mq)
        .map(|_| match n.next() % 8 {
            0 => f32::NEG_INFINITY,
            x => (x % 3) as f32,
        })
        .collect();
    let mut kpos: Vec<i64> = (0..nk).map(|_| (n.next() % 400) as i64).collect();
    kpos[..c.behind].fill(1000);
    let qpos: Vec<i64> = (0..mq as i64).map(|i| 3 * i + 50).collect();
    let unit = unit(core);
    let scores = (0..c.live_k).map(|key| {
        let of = |lane: usize| {
            if causal && c.mixed && kpos[key] > qpos[lane] {
                return f64::NEG_INFINITY;
            }
            let dot = |x: &[bf16], y: &[bf16]| -> f64 {
                x.iter().zip(y).map(|(x, y)| x.to_f64() * y.to_f64()).sum()
            };
            // As powers of two, whatever t counts.
            let score = dot(&k[key], &q[lane]) * SCALE * std::f64::consts::LOG2_E;
            score + f64::from(t[lane]) * unit
        };
        (0..c.live_q).map(of).collect()
    });
    let scores = scores.collect();
    let mut rows = vec![f32::NAN; d * mq];
    for (lane, q) in q.iter().enumerate().take(c.live_q) {
        for (i, x) in q.iter().enumerate() {
            rows[i * mq + lane] = x.to_f32();
        }
    }
    Block {
        q: bytes(rows.iter().map(|x| x.to_le_bytes())),
        k: bytes(keys.iter().map(|x| x.to_le_bytes())),
        v: bytes(columns.iter().map(|x| x.to_le_bytes())),
        t: bytes(t.iter().map(|x| x.to_le_bytes())),
        kpos: bytes(kpos.iter().map(|x| x.to_le_bytes())),
        qpos: bytes(qpos.iter().map(|x| x.to_le_bytes())),
        scores,
        values: v
            .iter()
            .map(|v| v.iter().map(|x| x.to_f64()).collect())
            .collect(),
    }
}

fn floats(bytes: &[u8]) -> Vec<f64> {
    let words = bytes.chunks_exact(4);
    let floats = words.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    floats.map(f64::from).collect()
}

/// Runs `cases` one behind the other on one state by the function `name`; yields m, l and o as they are then, and the blocks.
fn steps(
    (core, program): &(Core, Program),
    (name, p): (&str, &Processor),
    causal: bool,
    careful: bool,
    cases: &[Case],
) -> (Vec<Vec<u8>>, Vec<Block>) {
    let step = core.fns.iter().find(|f| f.name == "step").expect("a step");
    let (mq, d) = (step.mq as usize, step.head_dim as usize);
    let mut n = Numbers(u64::from(step.head_dim));
    let q: Vec<Vec<bf16>> = (0..mq)
        .map(|_| (0..d).map(|_| n.signed(2.0)).collect())
        .collect();
    let mut state = vec![
        bytes(vec![f32::MIN.to_le_bytes(); mq]),
        vec![0; mq * 4],
        vec![0; d * mq * 4],
    ];
    let mut blocks = Vec::new();
    for c in cases {
        let b = block(core, causal, *c, &q, &mut n);
        let inputs = [&b.q, &b.k, &b.v, &b.t, &b.kpos, &b.qpos];
        let tiles: Vec<Vec<u8>> = state.iter().chain(inputs).cloned().collect();
        let scalars = [
            c.live_q as i64,
            c.live_k as i64,
            i64::from(c.mixed),
            i64::from(careful),
        ];
        let after = tile_function(program, name, &tiles, &scalars, p);
        let mut after = after.unwrap_or_else(|e| panic!("{name} {d} {c:?}: {e}"));
        assert!(after[3..] == tiles[3..], "{name} {d} {c:?} wrote an input");
        after.truncate(3);
        state = after;
        blocks.push(b);
    }
    (state, blocks)
}

/// Compares what a state says with the softmax in float64.
fn judge(what: &str, live_q: usize, core: &Core, state: &[Vec<u8>], blocks: &[Block]) {
    let [m, l, o] = [0, 1, 2].map(|i| floats(&state[i]));
    let mq = m.len();
    let d = o.len() / mq;
    let unit = unit(core);
    for lane in 0..live_q {
        let all = blocks
            .iter()
            .flat_map(|b| b.scores.iter().zip(&b.values))
            .map(|(s, v)| (s[lane], v));
        let most = all.clone().map(|x| x.0).fold(f64::NEG_INFINITY, f64::max);
        if most == f64::NEG_INFINITY {
            let empty = l[lane] == 0.0 && (0..d).all(|i| o[i * mq + lane] == 0.0);
            assert!(empty, "{what}: lane {lane} sees nothing");
            continue;
        }
        let weights: Vec<_> = all.map(|(s, v)| ((s - most).exp2(), v)).collect();
        let sum: f64 = weights.iter().map(|x| x.0).sum();
        let lse = m[lane] * unit + l[lane].log2();
        let off = (lse - most - sum.log2()).abs();
        // Weights are rounded to 8 bits: half a unit of 2^-7 in the logarithm, and what the accumulators lose.
        assert!(
            off < 2f64.powi(-8) * 1.5,
            "{what}: lane {lane}, lse off by {off}"
        );
        let mut bound = 0.0f64;
        let mut worst = 0.0f64;
        for i in 0..d {
            let want: f64 = weights.iter().map(|(w, v)| w * v[i]).sum::<f64>() / sum;
            let size: f64 = weights.iter().map(|(w, v)| w * v[i].abs()).sum::<f64>() / sum;
            worst = worst.max((o[i * mq + lane] / l[lane] - want).abs());
            bound = bound.max(size * 2f64.powi(-8));
        }
        assert!(worst <= bound, "{what}: lane {lane}, {worst} > {bound}");
    }
}

/// Every shape of the tails: of the head, of lanes, of keys.
#[test]
fn claims_of_half_panels_agree_with_the_softmax() {
    if !there() {
        return;
    }
    let heads = [
        1, 2, 15, 16, 17, 31, 32, 33, 48, 64, 80, 100, 128, 160, 255, 256,
    ];
    for (level, target, processor) in ENGINES {
        for (i, head_dim) in heads.into_iter().enumerate() {
            let causal = i % 2 == 1;
            let made = program(head_dim, causal, (level, target));
            let step = made
                .0
                .fns
                .iter()
                .find(|f| f.name == "step")
                .expect("a step");
            let nk = step.nk as usize;
            let live_q = [96, 64, 49, 33, 32, 17, 16, 1][i % 8];
            let keys = [nk, 64, 33, 97, 1, 32, 65, 63][i / 2 % 8].min(nk);
            let case = |live_k, large| Case {
                live_q,
                live_k,
                mixed: i % 4 == 1,
                large,
                behind: 0,
            };
            // The second block has larger scores: the reference exponent rises.
            let cases = [case(keys, 1.0), case(nk - keys / 2, 4.0)];
            let name = format!("attnc_op.{}.step.claim", level.name());
            let (state, blocks) = steps(&made, (&name, &processor), causal, false, &cases);
            judge(
                &format!("{} {head_dim}", level.name()),
                live_q,
                &made.0,
                &state,
                &blocks,
            );
        }
    }
}

/// Scores of thousands, which fall and rise from block to block and from call to call, and keys that come into sight late: the reference
/// is hundreds of powers of two above some weights, and thousands below others when it meets them.
#[test]
fn steep_scores_come_out_right() {
    if !there() {
        return;
    }
    for (level, target, processor) in ENGINES {
        // In base 2, and with natural exponents; with weights that are coarser.
        for (head_dim, live_q, rules, precision) in [
            (16, 96, &[][..], Precision::Standard),
            (32, 40, &["base-2"], Precision::Fast),
            (64, 32, &[], Precision::Fast),
            (80, 17, &[], Precision::Standard),
            (96, 64, &["base-2"], Precision::Standard),
        ] {
            let made = program_without(rules, precision, head_dim, true, (level, target));
            assert_eq!(unit(&made.0) == 1.0, rules.is_empty());
            let step = made.0.fns.iter().find(|f| f.name == "step");
            let nk = step.expect("a step").nk as usize;
            let case = |large, behind| Case {
                live_q,
                live_k: nk,
                mixed: behind > 0,
                large,
                behind,
            };
            for (i, larges) in [[900.0, 1.0, 900.0], [0.5, 900.0, 4.0], [20.0, 60.0, 200.0]]
                .into_iter()
                .enumerate()
            {
                let behind = [64, 70, 130][i];
                let cases = larges.map(|large| case(large, behind));
                let name = format!("attnc_op.{}.step.claim", level.name());
                let (state, blocks) = steps(&made, (&name, &processor), true, false, &cases);
                let what = format!("{} {head_dim} {larges:?}", level.name());
                judge(&what, live_q, &made.0, &state, &blocks);
            }
        }
    }
}

/// Decodes every claim: no instruction of a level is beyond what the level asks the processor for.
#[test]
fn no_claim_has_an_instruction_beyond_its_level() {
    let baseline = [C::X64, C::INTEL8086, C::INTEL386, C::CMOV, C::SSE, C::SSE2];
    let vectors = [C::AVX, C::AVX2, C::FMA, C::F16C];
    let wide = [C::AVX512F, C::AVX512BW, C::AVX512DQ, C::AVX512VL];
    let v3 = [&baseline[..], &vectors].concat();
    let v4 = [&v3[..], &wide].concat();
    let pairs = [&v4[..], &[C::AVX512_BF16]].concat();
    let own = [C::AVX512_VBMI, C::AMX_TILE, C::AMX_BF16];
    let tiles = [&pairs[..], &own].concat();
    let heads = [1, 8, 24, 31, 33, 48, 64, 65, 96, 128, 200, 256];
    let all_of = |level, target, dtype| heads.map(|d| of_floats(d, dtype, (level, target)));
    let halves = |level, target| heads.map(|d| program(d, d % 2 == 0, (level, target)).1);
    for (level, programs, allowed, used) in [
        (
            Level::V3,
            [DType::F16, DType::Bf16].map(|t| all_of(Level::V3, CpuTarget::X86_64V3, t)),
            v3,
            &[C::F16C][..],
        ),
        (
            Level::V4,
            [DType::F16, DType::F32].map(|t| all_of(Level::V4, CpuTarget::X86_64V4, t)),
            v4,
            &[C::AVX512F],
        ),
        (
            Level::V4Bf16,
            [
                halves(Level::V4Bf16, CpuTarget::X86_64V4),
                all_of(Level::V4Bf16, CpuTarget::X86_64V4, DType::F16),
            ],
            pairs,
            &[C::AVX512_BF16],
        ),
        (
            Level::Amx,
            [
                halves(Level::Amx, CpuTarget::X86_64Amx),
                all_of(Level::Amx, CpuTarget::X86_64Amx, DType::F16),
            ],
            tiles,
            &own,
        ),
    ] {
        let mut seen = std::collections::BTreeSet::new();
        for program in programs.as_flattened() {
            let claims = || program.functions().filter(|f| f.0.ends_with(".claim"));
            assert!(claims().any(|f| f.0.ends_with(".step.claim")));
            for (name, bytes) in claims() {
                for i in &mut Decoder::new(64, bytes, DecoderOptions::NONE) {
                    assert!(!i.is_invalid(), "{name}: {:#x}", i.ip());
                    for f in i.cpuid_features() {
                        assert!(allowed.contains(f), "{name}: {:?} {f:?}", i.mnemonic());
                        seen.insert(format!("{f:?}"));
                    }
                }
            }
        }
        // What a level is there for is used.
        for f in used {
            assert!(seen.contains(&format!("{f:?}")), "{} {f:?}", level.name());
        }
    }
}

/// Follows every path of an AMX claim: tiles are configured on some, and wherever control leaves the function, none is any more.
#[test]
fn every_way_out_of_a_claim_leaves_no_tiles() {
    for head_dim in [1, 16, 24, 64, 65, 128] {
        let (_, program) = program(
            head_dim,
            head_dim % 2 == 0,
            (Level::Amx, CpuTarget::X86_64Amx),
        );
        let claimed = |(name, _): &(&str, &[u8])| name.ends_with(".step.claim");
        let (_, bytes) = program.functions().find(claimed).expect("a claim");
        // By address and whether tiles are configured there.
        let (mut seen, mut to_do) = (std::collections::BTreeSet::new(), vec![(0u64, false)]);
        let (mut ways_out, mut configured) = (0, 0);
        while let Some((at, live)) = to_do.pop() {
            if at >= bytes.len() as u64 {
                assert!(!live, "{head_dim}: tiles when control goes elsewhere");
                ways_out += 1;
                continue;
            }
            if !seen.insert((at, live)) {
                continue;
            }
            let rest = &bytes[at as usize..];
            let i = Decoder::with_ip(64, rest, at, DecoderOptions::NONE).decode();
            assert!(!i.is_invalid(), "{head_dim}: {at:#x}");
            let tile = i.cpuid_features().contains(&C::AMX_TILE)
                || i.cpuid_features().contains(&C::AMX_BF16);
            let live = match i.mnemonic() {
                Mnemonic::Ldtilecfg => {
                    configured += 1;
                    true
                }
                Mnemonic::Tilerelease => false,
                _ => {
                    assert!(
                        live || !tile,
                        "{head_dim}: {at:#x}: no tiles are configured"
                    );
                    live
                }
            };
            match i.flow_control() {
                FlowControl::Next => to_do.push((i.next_ip(), live)),
                FlowControl::ConditionalBranch => {
                    to_do.extend([(i.next_ip(), live), (i.near_branch_target(), live)]);
                }
                // The distance to the portable body is still 0 there: the next instruction; it counts as that way, too.
                FlowControl::UnconditionalBranch => to_do.push((i.near_branch_target(), live)),
                FlowControl::Return => {
                    assert!(!live, "{head_dim}: {at:#x} returns with tiles");
                    ways_out += 1;
                }
                other => panic!("{head_dim}: {at:#x}: {other:?}"),
            }
        }
        assert!(ways_out > 0 && configured > 0);
    }
}

/// What a claim leaves to the portable body is that body's result to the bit.
#[test]
fn careful_blocks_go_to_the_portable_body() {
    if !there() {
        return;
    }
    for (level, target, processor) in ENGINES {
        let made = program(24, true, (level, target));
        let case = Case {
            live_q: 40,
            live_k: 70,
            mixed: true,
            large: 1.0,
            behind: 0,
        };
        let run = |what: &str, careful| {
            let name = format!("attnc_op.{}.{what}", level.name());
            steps(&made, (&name, &processor), true, careful, &[case]).0
        };
        let portable = run("step", true);
        assert!(run("step.claim", true) == portable);
        assert!(run("step.claim", false) != portable);
    }
}

/// One object for all targets: every processor gets the body of its own, tiles only where Linux grants them, and each agrees with the
/// oracle.
#[test]
fn whole_programs_in_bf16_agree_with_the_oracle_on_every_processor() {
    if !there() {
        return;
    }
    let of_level = [
        (SKYLAKE_X, Level::V4),
        (SAPPHIRE_RAPIDS, Level::V4Bf16),
        (SAPPHIRE_RAPIDS_DENIED, Level::V4Bf16),
        (SAPPHIRE_RAPIDS_AMX, Level::Amx),
    ];
    for (head_dim, causal, precision) in [
        (32, false, Precision::Standard),
        (20, true, Precision::Standard),
        (64, true, Precision::Standard),
        (32, false, Precision::Fast),
    ] {
        let op = Operator {
            precision,
            ..operator(head_dim, causal, &[(100, 1), (200, 2)])
        };
        let mut cores = Vec::new();
        for target in [CpuTarget::X86_64V4, CpuTarget::X86_64Amx] {
            let choices = Choices::new(target.name());
            let fused = pipeline::fuse(&pipeline::graph(&op).expect("a graph"), &choices);
            let fused = fused.expect("rewriting ends").graph;
            let all = pipeline::tiles(&fused, &choices).expect("programs");
            cores.extend(all.into_iter().map(|core| (core, target)));
        }
        let parts: Vec<Part<'_>> = cores.iter().map(|(c, t)| Part::of(c, *t)).collect();
        let joined = compile_parts(&parts, Detect::Machine).expect("code");
        let case = Whole {
            op: op.clone(),
            batch: 1,
            seq_len: 230,
            seed: 5,
        };
        let x = Inputs::generate(&Signature::from(&op), 1, 230, 5).expect("small");
        let mut seen = Vec::new();
        for (p, level) in of_level {
            let done = forward(&joined, &op, &x, &p).unwrap_or_else(|e| panic!("{level:?}: {e}"));
            assert_eq!(done.level, Some(level));
            let got = done.outcome;
            let part = parts.iter().find(|part| part.levels.contains(&level));
            let alone = [*part.expect("a part of that level")];
            let alone = compile_parts(&alone, Detect::Trusted).expect("code");
            // By itself: on a processor that has it.
            let has = match level {
                Level::Amx => SAPPHIRE_RAPIDS_TILES,
                _ => SAPPHIRE_RAPIDS,
            };
            let same = forward(&alone, &op, &x, &has).unwrap_or_else(|e| panic!("{level:?}: {e}"));
            let bits = |o: &Outcome| [o.out.bytes(), o.lse.bytes()].concat();
            let same = same.outcome;
            assert!(bits(&got) == bits(&same), "{level:?} is another body");
            let engine = Engine::new(Backend::Cpu, Some(Plan::Auto), 1);
            let judged = engine.judge(&case, &x, &got);
            let judged = judged.unwrap_or_else(|e| panic!("{head_dim} {level:?}: {e}"));
            // Rounding `out` and rounding weights are 1.7e-3 each; weights by table, 1.9e-3; coarser ones, 2.1e-3.
            let error = judged.verdict.error;
            println!(
                "{head_dim} {precision:?} {level:?}: {error:.2e}, lse {:.1e}",
                judged.verdict.lse_error
            );
            assert!(
                error <= 2.6e-3,
                "{head_dim} {precision:?} {level:?}: {error:e}"
            );
            seen.push(bits(&got));
        }
        // Were all bodies one, none of this would tell them apart.
        assert!(seen[0] != seen[1] && seen[1] == seen[2] && seen[2] != seen[3]);
    }
}
