// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Damaged programs: one change to a good program each, rejected by the rule that the change breaks.

mod blocks;
mod packed;

use attnc_schedule::{Combine, Group, Nest, Schedule, Term, WHOLE, lower};
use attnc_tensor::DType;
use attnc_tile::core::{
    Arg, Axis, Bin, Bound, BufId, Core, Guard, Inst, Lie, OpKind, Place, PlanId, Port, Scalar,
    TileFn, Val, View,
};
use attnc_tile::verify::{self, Rule};

/// The name under which the table asks for the schedule of half panels.
const HALF: &str = "half panels";

/// A program with every part: two shared groups that are joined, causal, zero keys, grouped heads.
fn good(target: &str) -> Core {
    let term = |segment, dilation| Term {
        segment,
        dilation,
        weight: 1,
    };
    let nest = Nest {
        name: "good".to_string(),
        heads: 6,
        kv_heads: 2,
        head_dim: 8,
        dtype: if target == HALF {
            DType::Bf16
        } else {
            DType::F32
        },
        causal: true,
        blocked: false,
        zero_keys: true,
        displaced: false,
        base2: true,
        scale: 0.5,
        fast: false,
        panels: true,
        two_sweeps: false,
        combine: Combine::Join,
        groups: vec![
            Group {
                terms: vec![term(16, 1), term(32, 2)],
            },
            Group {
                terms: vec![term(WHOLE, 4)],
            },
        ],
    };
    let sched = match target {
        HALF => Schedule::half("x86_64-v4", nest.head_dim, 3),
        target => Schedule::of(target, &nest),
    };
    lower(&nest, &sched).expect("the good program is within the limits")
}

/// Visits every instruction of the body in order until `f` says that it has made its change.
fn first(code: &mut [Inst], f: &mut impl FnMut(&mut Inst) -> bool) -> bool {
    code.iter_mut().any(|inst| {
        f(inst)
            || match inst {
                Inst::For { body, .. } | Inst::Walk { body, .. } => first(body, f),
                Inst::If { then, els, .. } => first(then, f) || first(els, f),
                _ => false,
            }
    })
}

fn change(core: &mut Core, mut f: impl FnMut(&mut Inst) -> bool) {
    assert!(
        first(&mut core.body, &mut f),
        "the change has found its place"
    );
}

/// A constant at the start of the body.
fn constant(core: &mut Core, x: i64) -> Val {
    define(core, |v| Inst::Const(v, x))
}

fn define(core: &mut Core, inst: impl FnOnce(Val) -> Inst) -> Val {
    let v = Val(core.vals);
    core.vals += 1;
    core.body.insert(0, inst(v));
    v
}

fn buf(core: &Core, name: &str) -> BufId {
    let i = core.bufs.iter().position(|b| b.name == name);
    BufId(i.unwrap_or_else(|| panic!("there is a buffer {name}")) as u32)
}

fn function<'a>(core: &'a mut Core, name: &str) -> &'a mut TileFn {
    let f = core.fns.iter_mut().find(|f| f.name == name);
    f.unwrap_or_else(|| panic!("there is a function {name}"))
}

/// Removes the first operation of `step` that `which` picks.
fn without(core: &mut Core, which: impl Fn(&OpKind, Option<Guard>) -> bool) {
    let body = &mut function(core, "step").body;
    let i = body.iter().position(|op| which(&op.kind, op.guard));
    body.remove(i.expect("step has such an operation"));
}

/// Turns the `min` or `max` that bounds the first value stored in a buffer into its opposite.
fn unclamp(core: &mut Core, name: &str) {
    let b = buf(core, name);
    let mut value = None;
    change(core, |inst| {
        if let Inst::Store(to, _, x) = inst
            && *to == b
        {
            value = Some(*x);
        }
        value.is_some()
    });
    change(core, |inst| match inst {
        Inst::Bin(v, op, ..) if Some(*v) == value => {
            *op = match op {
                Bin::Min => Bin::Max,
                Bin::Max => Bin::Min,
                other => panic!("{other:?} is no clamp"),
            };
            true
        }
        _ => false,
    });
}

fn range_from(core: &mut Core, name: &str, lo: i64) {
    let b = buf(core, name).0 as usize;
    let range = core.bufs[b].range.as_mut();
    range.expect("the buffer has a range").lo = lo;
}

/// Changes the first gather of a port.
fn gather(core: &mut Core, of: Port, mut f: impl FnMut(&mut Val, &mut Val, &mut Val)) {
    change(core, |inst| match inst {
        Inst::Gather {
            src: View::Tensor { port, batch, head },
            live,
            ..
        } if *port == of => {
            f(batch, head, live);
            true
        }
        _ => false,
    });
}

fn is_port(view: &View, wanted: Port) -> bool {
    matches!(view, View::Tensor { port, .. } if *port == wanted)
}

/// Changes the first scatter to a port.
fn scatter(core: &mut Core, to: Port, mut f: impl FnMut(&mut View, &mut Place, &mut Lie)) {
    change(core, |inst| match inst {
        Inst::Scatter { dst, idx, lie, .. } if is_port(dst, to) => {
            f(dst, idx, lie);
            true
        }
        _ => false,
    });
}

/// Changes the arguments of the first call of a function.
fn call(core: &mut Core, name: &str, mut f: impl FnMut(&mut Vec<Place>, &mut Vec<Val>)) {
    let at = core.fns.iter().position(|f| f.name == name);
    let at = at.expect("there is such a function") as u32;
    change(core, |inst| match inst {
        Inst::Call {
            f: id,
            tiles,
            scalars,
        } if id.0 == at => {
            f(tiles, scalars);
            true
        }
        _ => false,
    });
}

type Damage = (&'static str, Rule, fn(&mut Core));

const DAMAGES: &[Damage] = &[
    ("tasks from nowhere", Rule::Scope, |c| {
        c.tasks = Val(c.vals - 1);
    }),
    ("a value defined twice", Rule::Scope, |c| {
        let again = constant(c, 1);
        c.body.push(Inst::Const(again, 2));
    }),
    ("a value used outside its loop", Rule::Scope, |c| {
        let mut inner = None;
        change(c, |inst| {
            if let Inst::For { iv, .. } = inst {
                inner = Some(*iv);
            }
            inner.is_some()
        });
        let v = Val(c.vals);
        c.vals += 1;
        let x = inner.expect("found above");
        c.body.push(Inst::Bin(v, Bin::Add, x, x));
    }),
    ("a buffer that is not there", Rule::Exists, |c| {
        change(c, |inst| match inst {
            Inst::Load(_, b, _) => {
                *b = BufId(999);
                true
            }
            _ => false,
        });
    }),
    ("an integer load of floats", Rule::ElementType, |c| {
        let k = buf(c, "k_panels");
        change(c, |inst| match inst {
            Inst::Load(_, b, _) => {
                *b = k;
                true
            }
            _ => false,
        });
    }),
    ("keys where positions belong", Rule::ElementType, |c| {
        call(c, "step", |tiles, _| tiles.swap(4, 7));
    }),
    (
        "bound: a buffer too short for its index",
        Rule::Index,
        |c| {
            let b = buf(c, "class_count").0 as usize;
            c.bufs[b].len = 32;
        },
    ),
    ("bound: a table too short for its index", Rule::Index, |c| {
        let t = c.tables.iter_mut().find(|t| t.name == "dilation");
        t.expect("there is a table of dilations").data.pop();
    }),
    ("an index that wraps around", Rule::Index, |c| {
        let b = buf(c, "covered");
        let most = constant(c, i64::MAX);
        let n = define(c, |v| Inst::Arg(v, Arg::SeqLen));
        let shift = constant(c, 62);
        let next = c.vals;
        c.vals += 3;
        let [sum, high, load] = [next, next + 1, next + 2].map(Val);
        c.body.push(Inst::Bin(sum, Bin::Add, n, most));
        // At least 2^63 - 1 without wrapping, so 1; negative with it.
        c.body.push(Inst::Bin(high, Bin::Shr, sum, shift));
        c.body.push(Inst::Load(load, b, high));
    }),
    (
        "a loop whose last step leaves 64 bits",
        Rule::LoopStep,
        |c| {
            let [lo, hi, step] = [0, i64::MAX, i64::MAX - 1].map(|x| constant(c, x));
            let iv = Val(c.vals);
            c.vals += 1;
            let body = Vec::new();
            c.body.push(Inst::For {
                iv,
                lo,
                hi,
                step,
                body,
            });
        },
    ),
    (
        "a plan that leaves its tables as they are",
        Rule::ReadFirst,
        |c| {
            c.plan.retain(|inst| !matches!(inst, Inst::For { .. }));
        },
    ),
    ("a plan whose loop is too short", Rule::ReadFirst, |c| {
        c.plan_tables[0].len += 1;
    }),
    (
        "a buffer whose fresh memory is outside its range",
        Rule::StoredRange,
        |c| {
            range_from(c, "panel_careful", 1);
        },
    ),
    ("missing clamp of a row", Rule::StoredRange, |c| {
        unclamp(c, "row_position");
    }),
    ("missing clamp of a count", Rule::StoredRange, |c| {
        unclamp(c, "row_zeros");
    }),
    ("a divisor that may be 0", Rule::Division, |c| {
        let range = c.plan_tables[0].range.as_mut();
        range.expect("segment lengths have a range").lo = 0;
    }),
    ("a negative dividend", Rule::Division, |c| {
        let minus = constant(c, -1);
        change(c, |inst| match inst {
            Inst::Bin(_, Bin::Rem, a, _) => {
                *a = minus;
                true
            }
            _ => false,
        });
    }),
    ("a negative divisor", Rule::Division, |c| {
        let minus = constant(c, -3);
        change(c, |inst| match inst {
            Inst::Bin(_, Bin::Div, _, b) => {
                *b = minus;
                true
            }
            _ => false,
        });
    }),
    ("a shift by 64", Rule::Shift, |c| {
        let far = constant(c, 64);
        change(c, |inst| match inst {
            Inst::Bin(_, Bin::Shl, _, b) => {
                *b = far;
                true
            }
            _ => false,
        });
    }),
    ("a loop that steps by 0", Rule::LoopStep, |c| {
        let zero = constant(c, 0);
        change(c, |inst| match inst {
            Inst::For { step, .. } => {
                *step = zero;
                true
            }
            _ => false,
        });
    }),
    ("a walk that stands still", Rule::LoopStep, |c| {
        change(c, |inst| match inst {
            Inst::Walk { cur, next, .. } => {
                *next = *cur;
                true
            }
            _ => false,
        });
    }),
    ("the task number in the plan", Rule::Section, |c| {
        let v = Val(c.vals);
        c.vals += 1;
        c.plan.push(Inst::Arg(v, Arg::Task));
    }),
    ("a task that changes the plan", Rule::Section, |c| {
        let zero = constant(c, 0);
        let one = constant(c, 1);
        c.body.insert(2, Inst::PlanStore(PlanId(0), zero, one));
    }),
    ("a gather beyond its buffer", Rule::MoveBounds, |c| {
        let b = buf(c, "q_tiles").0 as usize;
        c.bufs[b].len -= 1;
    }),
    ("more lanes than the stride holds", Rule::MoveBounds, |c| {
        scatter(c, Port::Out, |_, _, lie| *lie = Lie::Cols { stride: 8 });
    }),
    ("a negative count of rows", Rule::MoveBounds, |c| {
        let minus = constant(c, -1);
        gather(c, Port::Q, |_, _, live| *live = minus);
    }),
    ("row numbers that promise nothing", Rule::Rows, |c| {
        let b = buf(c, "row_source").0 as usize;
        c.bufs[b].range = None;
    }),
    ("row N", Rule::Rows, |c| {
        let b = buf(c, "row_position").0 as usize;
        let range = c.bufs[b].range.as_mut();
        range.expect("rows have a range").hi = Bound::SeqLen(0);
    }),
    ("row -1 of the keys", Rule::Rows, |c| {
        range_from(c, "panel_positions", -1);
    }),
    ("a query head for keys", Rule::Head, |c| {
        let mut head_of_q = None;
        gather(c, Port::Q, |_, head, _| head_of_q = Some(*head));
        gather(c, Port::K, |_, head, _| {
            *head = head_of_q.expect("found above");
        });
    }),
    ("batch entry B", Rule::Head, |c| {
        let all = define(c, |v| Inst::Arg(v, Arg::Batch));
        gather(c, Port::V, |batch, _, _| *batch = all);
    }),
    ("a result scattered to the queries", Rule::Port, |c| {
        scatter(c, Port::Out, |dst, _, _| {
            if let View::Tensor { port, .. } = dst {
                *port = Port::Q;
            }
        });
    }),
    ("columns of an odd stride", Rule::Port, |c| {
        scatter(c, Port::Out, |_, _, lie| *lie = Lie::Cols { stride: 33 });
    }),
    ("a call without its last scalar", Rule::CallPlaces, |c| {
        call(c, "step", |_, scalars| {
            scalars.pop();
        });
    }),
    (
        "a tile without room for its extent",
        Rule::CallPlaces,
        |c| {
            let b = buf(c, "weights").0 as usize;
            c.bufs[b].len -= 1;
        },
    ),
    (
        "wrong extent: more lanes than the tile has",
        Rule::Live,
        |c| {
            let many = constant(c, 33);
            call(c, "step", |_, scalars| scalars[0] = many);
        },
    ),
    ("a step over no keys", Rule::Live, |c| {
        let none = constant(c, 0);
        call(c, "step", |_, scalars| scalars[1] = none);
    }),
    ("two tiles of a state in one place", Rule::Alias, |c| {
        call(c, "step", |tiles, _| tiles[1] = tiles[0]);
    }),
    ("panels that nothing has reset", Rule::ReadFirst, |c| {
        c.enter.clear();
    }),
    ("uninitialised weights", Rule::ReadFirst, |c| {
        let weights = buf(c, "weights");
        let lse = buf(c, "lse");
        change(c, |inst| match inst {
            Inst::Floats { dst, .. } if dst.buf == weights => {
                dst.buf = lse;
                true
            }
            _ => false,
        });
    }),
    ("race: rows that every task writes", Rule::Race, |c| {
        let iota = buf(c, "iota");
        scatter(c, Port::Out, |_, idx, _| idx.buf = iota);
    }),
    ("race: more tasks than chunks", Rule::Race, |c| {
        let two = Val(c.vals);
        c.vals += 2;
        c.plan.push(Inst::Const(two, 2));
        let tasks = Val(two.0 + 1);
        c.plan.push(Inst::Bin(tasks, Bin::Mul, c.tasks, two));
        c.tasks = tasks;
    }),
    ("race: chunks that overlap", Rule::Race, |c| {
        let less = constant(c, 1000);
        change(c, |inst| match inst {
            Inst::Bin(_, Bin::Mul, _, size) => {
                *size = less;
                true
            }
            _ => false,
        });
    }),
    ("race: heads that take turns", Rule::Race, |c| {
        let less = constant(c, 3);
        let mut head = None;
        scatter(c, Port::Out, |dst, _, _| {
            if let View::Tensor { head: h, .. } = dst {
                head = Some(*h);
            }
        });
        change(c, |inst| match inst {
            Inst::Bin(v, Bin::Rem, _, heads) if Some(*v) == head => {
                *heads = less;
                true
            }
            _ => false,
        });
    }),
    (
        "race: rows up to the end of the sequence",
        Rule::Race,
        |c| {
            let rows = buf(c, "row_position");
            let (n, less) = (define(c, |v| Inst::Arg(v, Arg::SeqLen)), constant(c, -1));
            let last = Val(c.vals);
            c.vals += 1;
            c.body.insert(2, Inst::Bin(last, Bin::Add, n, less));
            let mut row = None;
            change(c, |inst| {
                if let Inst::Store(to, _, x) = inst
                    && *to == rows
                {
                    row = Some(*x);
                }
                row.is_some()
            });
            change(c, |inst| match inst {
                Inst::Bin(v, Bin::Min, _, most) if Some(*v) == row => {
                    *most = last;
                    true
                }
                _ => false,
            });
        },
    ),
    ("race: flags among the rows", Rule::Race, |c| {
        let rows = buf(c, "row_position");
        change(c, |inst| match inst {
            Inst::Gather { flag: Some(f), .. } => {
                f.buf = rows;
                true
            }
            _ => false,
        });
    }),
    ("race: every task in batch entry 0", Rule::Race, |c| {
        let zero = constant(c, 0);
        scatter(c, Port::Lse, |dst, _, _| {
            if let View::Tensor { batch, .. } = dst {
                *batch = zero;
            }
        });
    }),
    ("a key extent between steps", Rule::Extents, |c| {
        function(c, "step").nk += 1;
    }),
    ("a function of another head dimension", Rule::Extents, |c| {
        function(c, "finish").head_dim += 1;
    }),
    ("operands of a product swapped", Rule::Operand, |c| {
        for op in &mut function(c, "step").body {
            if let OpKind::DotKeys { a, b, .. } = &mut op.kind {
                std::mem::swap(a, b);
            }
        }
    }),
    (
        "order tag: values packed in another order",
        Rule::Order,
        |c| {
            let tiles = &mut function(c, "step").tiles;
            let v = tiles.iter_mut().find(|(name, _)| name == "v");
            v.expect("step has values").1.rows = Axis::Key { order: 1 };
        },
    ),
    ("order tag: positions in another order", Rule::Order, |c| {
        let tiles = &mut function(c, "step").tiles;
        let v = tiles.iter_mut().find(|(name, _)| name == "kpos");
        v.expect("step has positions").1.rows = Axis::Key { order: 2 };
    }),
    ("uninitialised scores", Rule::Unwritten, |c| {
        without(c, |op, _| matches!(op, OpKind::DotKeys { .. }));
    }),
    ("visibility that nothing computes", Rule::Unwritten, |c| {
        without(c, |op, _| matches!(op, OpKind::Visible { .. }));
    }),
    ("no product when not careful", Rule::Unwritten, |c| {
        without(c, |op, guard| {
            matches!(op, OpKind::DotValues { .. }) && guard.is_some_and(|g| !g.when)
        });
    }),
    ("mask removed", Rule::Unmasked, |c| {
        without(c, |op, guard| {
            matches!(op, OpKind::Mask { .. }) && guard.is_some_and(|g| !g.when)
        });
    }),
    ("a guard on a live count", Rule::Guard, |c| {
        function(c, "step").body[0].guard = Some(Guard {
            scalar: Scalar(1),
            when: true,
        });
    }),
    ("a buffer called as a keyword", Rule::Name, |c| {
        c.bufs[0].name = "in".to_string();
    }),
    ("two functions of one name", Rule::Name, |c| {
        let name = c.fns[0].name.clone();
        c.fns[1].name = name;
    }),
    ("panels that persist in shared memory", Rule::Space, |c| {
        let k = buf(c, "k_panels");
        c.bufs[k.0 as usize].space = attnc_tile::core::Space::Shared;
    }),
    ("states of a chunk in fragments", Rule::Space, |c| {
        let m = buf(c, "chunk_m");
        c.bufs[m.0 as usize].space = attnc_tile::core::Space::Frag;
    }),
    ("queries swizzled in work memory", Rule::Space, |c| {
        let q = buf(c, "q_tiles");
        c.bufs[q.0 as usize].layout = attnc_tile::core::Layout::Swz128;
    }),
    ("more shared memory than a block has", Rule::Space, |c| {
        let q = buf(c, "q_tiles");
        c.bufs[q.0 as usize].space = attnc_tile::core::Space::Shared;
        c.bufs[q.0 as usize].len = 50_000;
    }),
    ("no heads", Rule::Limits, |c| c.heads = 0),
    ("heads that key heads do not divide", Rule::Limits, |c| {
        c.kv_heads = 4;
    }),
    ("a buffer beyond all memory", Rule::Limits, |c| {
        c.bufs[0].len = u64::MAX;
    }),
    ("a plan beyond all memory", Rule::Limits, |c| {
        c.plan_tables[0].len = u64::MAX;
    }),
    ("temporaries beyond all memory", Rule::Limits, |c| {
        let f = function(c, "step");
        (f.mq, f.nk) = (1 << 31, 5 << 28);
    }),
    (
        "causal scores that nothing compares",
        Rule::Positions,
        |c| {
            for op in &mut function(c, "step").body {
                if let OpKind::Mask { causal, .. } = &mut op.kind {
                    *causal = None;
                }
            }
        },
    ),
    (
        "causal visibility without positions",
        Rule::Positions,
        |c| {
            for op in &mut function(c, "step").body {
                if let OpKind::Visible { causal, .. } = &mut op.kind {
                    *causal = None;
                }
            }
        },
    ),
    ("positions where nothing is causal", Rule::Positions, |c| {
        c.causal = false;
    }),
    ("counts that may be negative", Rule::Count, |c| {
        range_from(c, "lane_count", -1);
    }),
];

/// The whole table: the target whose program a row changes, and the row.
fn table() -> impl Iterator<Item = (&'static str, Damage)> {
    let of = |target, rows: &'static [Damage]| rows.iter().map(move |row| (target, *row));
    of("x86_64", DAMAGES)
        .chain(of("sm_80", blocks::DAMAGES))
        .chain(of(HALF, packed::DAMAGES))
}

#[test]
fn the_good_programs_verify() {
    for target in ["x86_64", "sm_80", HALF] {
        assert_eq!(verify::core(&good(target)), Ok(()), "{target}");
    }
}

#[test]
fn every_damage_breaks_its_rule() {
    let mut wrong = Vec::new();
    for (target, (name, rule, damage)) in table() {
        let mut core = good(target);
        damage(&mut core);
        match verify::core(&core) {
            Ok(()) => wrong.push(format!("`{name}` is accepted")),
            Err(errors) if errors.iter().all(|e| e.rule != rule) => {
                wrong.push(format!("`{name}` breaks {errors:?}, not {rule:?}"));
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_a_damage() {
    for number in 1..=34 {
        let covered = table().any(|(_, (_, rule, _))| rule.number() == number);
        assert!(covered, "no damaged program breaks rule {number}");
    }
}
