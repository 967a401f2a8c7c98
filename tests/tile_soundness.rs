// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tile verifier against the tile interpreter: whatever single change a program suffers, either the verifier rejects it or the
//! interpreter finds no index out of bounds, no value out of its range, no forbidden arithmetic and no row of two tasks in it.

use attnc_interp::tile::{self, FaultKind};
use attnc_schedule::{Combine, Group, Nest, Panels, Schedule, Term, WHOLE, lower};
use attnc_tensor::{DType, Tensor, normal_tensor};
use attnc_tile::core::{Bin, Bound, Core, Inst, Val};
use attnc_tile::verify;

/// Small tiles, so that short sequences reach every limit.
fn schedule() -> Schedule {
    Schedule {
        target: "x86_64".to_string(),
        mq: 8,
        nk: 5,
        panel: 10,
        chunk: 16,
        rows: 16,
        slots: 2,
        keep_panels: true,
        key_step: 5,
        settle: 2,
        stages: 1,
        warps: 1,
        panels: Panels::Float,
        spaces: attnc_schedule::Spaces::CPU,
    }
}

/// Small tiles of half panels.
fn halves() -> Schedule {
    Schedule {
        nk: 32,
        panel: 32,
        key_step: 32,
        panels: Panels::Half,
        ..schedule()
    }
}

/// Small tiles of a block of two warps, three stages of panels.
fn blocks() -> Schedule {
    Schedule {
        target: "sm_80".to_string(),
        mq: 32,
        nk: 8,
        panel: 8,
        chunk: 32,
        rows: 32,
        slots: 1,
        keep_panels: false,
        key_step: 8,
        stages: 3,
        settle: 0,
        warps: 2,
        panels: Panels::Float,
        spaces: attnc_schedule::Spaces::GPU,
    }
}

fn nest(combine: Combine, causal: bool, switches: bool, displaced: bool) -> Nest {
    let term = |segment, dilation| Term {
        segment,
        dilation,
        weight: 1,
    };
    let groups = if displaced {
        vec![
            Group {
                terms: vec![term(7, 3)],
            },
            Group {
                terms: vec![term(WHOLE, 2)],
            },
        ]
    } else {
        vec![
            Group {
                terms: vec![term(6, 1), term(12, 2)],
            },
            Group {
                terms: vec![term(WHOLE, 4)],
            },
        ]
    };
    Nest {
        name: "small".to_string(),
        heads: 2,
        kv_heads: 1,
        head_dim: 3,
        dtype: DType::F32,
        causal,
        blocked: switches,
        zero_keys: switches,
        displaced,
        base2: true,
        scale: 0.5,
        fast: false,
        panels: true,
        two_sweeps: false,
        combine,
        groups,
    }
}

/// The n-th instruction of a block and those nested in it, if `n` is not beyond them.
fn nth<'a>(code: &'a mut [Inst], n: &mut usize) -> Option<&'a mut Inst> {
    for inst in code {
        if *n == 0 {
            return Some(inst);
        }
        *n -= 1;
        let nested: Vec<&mut Vec<Inst>> = match inst {
            Inst::For { body, .. } | Inst::Walk { body, .. } => vec![body],
            Inst::If { then, els, .. } => vec![then, els],
            _ => Vec::new(),
        };
        for block in nested {
            if let Some(found) = nth(block, n) {
                return Some(found);
            }
        }
    }
    None
}

/// Changes that leave loops about as long as they were: constants by one, comparisons, operands of a selection.
fn changes(inst: &Inst) -> Vec<Inst> {
    match inst {
        Inst::Const(v, x) => vec![Inst::Const(*v, x - 1), Inst::Const(*v, x + 1)],
        Inst::Bin(v, Bin::Lt, a, b) => vec![Inst::Bin(*v, Bin::Le, *a, *b)],
        Inst::Bin(v, Bin::Le, a, b) => vec![Inst::Bin(*v, Bin::Lt, *a, *b)],
        Inst::Bin(v, Bin::Sub, a, b) => vec![Inst::Bin(*v, Bin::Sub, *b, *a)],
        Inst::Bin(v, Bin::Rem, a, b) => vec![Inst::Bin(*v, Bin::Div, *a, *b)],
        Inst::Bin(v, Bin::Div, a, b) => vec![Inst::Bin(*v, Bin::Rem, *a, *b)],
        Inst::Select(v, c, a, b) => vec![Inst::Select(*v, *c, *b, *a)],
        _ => Vec::new(),
    }
}

/// Every program that differs from `good` by one change, with the change's name.
fn damaged(good: &Core) -> Vec<(String, Core)> {
    let mut out = Vec::new();
    for (i, buf) in good.bufs.iter().enumerate() {
        let mut shorter = good.clone();
        shorter.bufs[i].len -= 1;
        out.push((format!("{} is shorter", buf.name), shorter));
        if buf.range.is_some() {
            let mut narrow = good.clone();
            if let Some(r) = &mut narrow.bufs[i].range {
                r.hi = match r.hi {
                    Bound::Const(c) => Bound::Const(c - 1),
                    Bound::SeqLen(c) => Bound::SeqLen(c - 1),
                    Bound::Batch(c) => Bound::Batch(c - 1),
                };
            }
            out.push((format!("{} promises less", buf.name), narrow));
            let mut wide = good.clone();
            if let Some(r) = &mut wide.bufs[i].range {
                r.lo -= 1;
            }
            out.push((format!("{} promises more", buf.name), wide));
        }
    }
    for n in 0.. {
        let mut source = good.clone();
        let Some(inst) = nth(&mut source.body, &mut n.clone()) else {
            break;
        };
        for change in changes(inst) {
            let name = format!("instruction {n} becomes {change:?}");
            let mut core = good.clone();
            if let Some(place) = nth(&mut core.body, &mut n.clone()) {
                *place = change;
            }
            out.push((name, core));
        }
    }
    out
}

fn tensor(seq_len: usize, heads: usize, stream: u64) -> Tensor {
    normal_tensor(DType::F32, &[2, seq_len, heads, 3], 7, stream).expect("a small tensor")
}

#[test]
fn what_the_verifier_accepts_stays_within_bounds() {
    let nests = [
        (nest(Combine::Stream, true, false, false), schedule()),
        (nest(Combine::Join, false, true, false), schedule()),
        (
            nest(Combine::Mix { branches: 2 }, true, true, true),
            schedule(),
        ),
        (nest(Combine::Stream, true, false, false), blocks()),
        (nest(Combine::Join, true, false, false), halves()),
    ];
    let (mut rejected, mut accepted, mut wrong) = (0, 0, Vec::new());
    for (nest, sched) in &nests {
        let good = lower(nest, sched).expect("within the limits");
        assert_eq!(verify::core(&good), Ok(()));
        for (name, core) in damaged(&good) {
            if verify::core(&core).is_err() {
                rejected += 1;
                continue;
            }
            accepted += 1;
            for n in [1, 17, 37] {
                let (q, k, v) = (tensor(n, 2, 0), tensor(n, 1, 1), tensor(n, 1, 2));
                match tile::run(&core, &q.view(), &k.view(), &v.view(), 2) {
                    Err(fault)
                        if !matches!(
                            fault.kind,
                            FaultKind::Uninitialised { .. }
                                | FaultKind::Twice { .. }
                                | FaultKind::Missing { .. }
                                | FaultKind::Acausal
                        ) =>
                    {
                        wrong.push(format!("{name}: {fault}, N = {n}"));
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rejected > 100 && accepted > 100, "{rejected}, {accepted}");
}

/// Changes the scalar arguments of every call of `step`.
fn steps(code: &mut [Inst], step: u32, f: &mut impl FnMut(&mut Vec<attnc_tile::core::Val>)) {
    for inst in code {
        match inst {
            Inst::For { body, .. } | Inst::Walk { body, .. } => steps(body, step, f),
            Inst::If { then, els, .. } => {
                steps(then, step, f);
                steps(els, step, f);
            }
            Inst::Call { f: id, scalars, .. } if id.0 == step => f(scalars),
            _ => {}
        }
    }
}

#[test]
fn positions_that_are_not_compared_where_they_must_be_are_a_fault() {
    let good = lower(&nest(Combine::Stream, true, false, false), &schedule()).expect("limits");
    let run = |core: &Core| {
        let (q, k, v) = (tensor(37, 2, 0), tensor(37, 1, 1), tensor(37, 1, 2));
        tile::run(core, &q.view(), &k.view(), &v.view(), 1).map_err(|fault| fault.kind)
    };
    assert!(run(&good).is_ok());
    let mut core = good;
    let step = core
        .fns
        .iter()
        .position(|f| f.name == "step")
        .expect("there is one") as u32;
    let never = attnc_tile::core::Val(core.vals);
    core.vals += 1;
    core.body.insert(0, Inst::Const(never, 0));
    let mixed = core.fns[step as usize]
        .scalars
        .iter()
        .position(|s| s == "mixed");
    let mixed = mixed.expect("step compares where tiles are mixed");
    steps(&mut core.body, step, &mut |scalars| scalars[mixed] = never);
    assert_eq!(
        verify::core(&core),
        Ok(()),
        "which queries see which keys is not the verifier's"
    );
    assert_eq!(run(&core).err(), Some(FaultKind::Acausal));
}

/// Every program that differs from `good` by one instruction of stages or barriers.
fn disordered(good: &Core) -> Vec<(String, Core)> {
    let mut out = Vec::new();
    for n in 0.. {
        let mut source = good.clone();
        let Some(inst) = nth(&mut source.body, &mut n.clone()) else {
            break;
        };
        let nothing = Inst::Const(Val(good.vals), 0);
        let others = match inst {
            Inst::Commit | Inst::Release | Inst::Barrier => vec![nothing],
            Inst::Wait(ahead) => vec![nothing, Inst::Wait(*ahead + 1)],
            _ => continue,
        };
        for other in others {
            let mut core = good.clone();
            core.vals += 1;
            if let Some(place) = nth(&mut core.body, &mut n.clone()) {
                *place = other.clone();
            }
            out.push((
                format!("instruction {n}, {inst:?}, becomes {other:?}"),
                core,
            ));
        }
    }
    out
}

/// The verifier and the interpreter know order independently of each other: one by all ways at once, the other by what happens.
#[test]
fn what_is_out_of_order_is_refused_before_and_found_while_it_runs() {
    let nests = [
        nest(Combine::Stream, true, false, false),
        nest(Combine::Join, false, true, false),
        nest(Combine::Mix { branches: 2 }, true, true, true),
    ];
    let (mut found, mut unseen) = (0, Vec::new());
    for nest in &nests {
        let good = lower(nest, &blocks()).expect("within the limits");
        assert_eq!(verify::core(&good), Ok(()));
        for (name, core) in disordered(&good) {
            let run = [1, 17, 37, 90].map(|n| {
                let (q, k, v) = (tensor(n, 2, 0), tensor(n, 1, 1), tensor(n, 1, 2));
                tile::run(&core, &q.view(), &k.view(), &v.view(), 2).err()
            });
            let faults = run
                .iter()
                .flatten()
                .any(|f| matches!(f.kind, FaultKind::Stage(_) | FaultKind::Unordered { .. }));
            let refused = verify::core(&core).is_err();
            assert!(refused, "{name} is accepted: {run:?}");
            if faults {
                found += 1;
            } else {
                // The verifier takes buffers whole, and ways that no run takes.
                unseen.push(name);
            }
        }
    }
    assert!(found > 30 && unseen.len() < 6, "{found}, {unseen:#?}");
}

#[test]
fn faults_tell_where_they_happen() {
    let mut core = lower(&nest(Combine::Stream, true, false, false), &schedule()).expect("limits");
    core.enter.clear();
    let (q, k, v) = (tensor(9, 2, 0), tensor(9, 1, 1), tensor(9, 1, 2));
    let fault = tile::run(&core, &q.view(), &k.view(), &v.view(), 1).expect_err("tags unset");
    assert!(matches!(&fault.kind, FaultKind::Uninitialised { what, .. } if what == "panel_tags"));
    let errors = verify::core(&core).expect_err("the verifier sees it too");
    assert_eq!(fault.path, errors[0].path);
}
