// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Damage to what only blocks of warps have: stages, copies in flight, barriers.
//!
//! In: the good program under the schedule of `sm_80`. Out: rows of the table of damaged programs, which change that program.

use attnc_tile::core::{BufId, Core, Elem, Inst, Lie, Space, Val, View};
use attnc_tile::verify::Rule;

use super::{Damage, buf, change, constant};

/// Changes the first block of the body, innermost first, in which `f` finds what it looks for.
fn block(code: &mut Vec<Inst>, f: &mut impl FnMut(&mut Vec<Inst>) -> bool) -> bool {
    let inner = code.iter_mut().any(|inst| {
        let blocks = inst.blocks_mut();
        blocks.into_iter().any(|b| block(b, f))
    });
    inner || f(code)
}

fn in_block(core: &mut Core, mut f: impl FnMut(&mut Vec<Inst>) -> bool) {
    assert!(block(&mut core.body, &mut f), "the change found its place");
}

/// Removes the first instruction like `like`.
fn without(core: &mut Core, like: &Inst) {
    in_block(core, |code| {
        let at = code.iter().position(|i| i == like);
        at.map(|at| code.remove(at)).is_some()
    });
}

/// Removes the first barrier of a block that has an instruction like one of `near` behind it.
fn without_barrier(core: &mut Core, near: impl Fn(&Inst) -> bool) {
    in_block(core, |code| {
        let at = code.iter().position(|i| *i == Inst::Barrier);
        let behind = at.is_some_and(|at| code[at..].iter().any(&near));
        behind && at.map(|at| code.remove(at)).is_some()
    });
}

/// The copies of the program.
fn copy(core: &mut Core, mut f: impl FnMut(&mut Inst)) {
    change(core, |inst| {
        let copies = matches!(inst, Inst::Gather { ahead: true, .. });
        if copies {
            f(inst);
        }
        copies
    });
}

fn holds(inst: &Inst, of: &Inst) -> bool {
    inst == of || inst.blocks().iter().any(|b| b.iter().any(|i| holds(i, of)))
}

fn scatters_into(core: &Core, name: &str) -> impl Fn(&Inst) -> bool + use<> {
    let b = buf(core, name);
    move |inst| matches!(inst, Inst::Scatter { dst: View::Work { buf, .. }, .. } if *buf == b)
}

fn gathers_from(inst: &Inst, b: BufId) -> bool {
    matches!(inst, Inst::Gather { src: View::Work { buf, .. }, .. } if *buf == b)
}

pub(super) const DAMAGES: &[Damage] = &[
    ("nine stages", Rule::Stages, |c| c.stages = 9),
    ("no warp at all", Rule::Stages, |c| c.warps = 0),
    ("rows that do not divide over warps", Rule::Stages, |c| {
        c.warps = 5;
    }),
    ("stages in the memory of a worker", Rule::Stages, |c| {
        let keys = buf(c, "panel_keys").0 as usize;
        c.bufs[keys].space = Space::Work;
    }),
    ("tensor elements in fragments", Rule::Stages, |c| {
        let q = buf(c, "q_tiles").0 as usize;
        c.bufs[q].elem = Elem::Data;
    }),
    ("a stage filled at once", Rule::Stages, |c| {
        copy(c, |inst| {
            if let Inst::Gather { ahead, .. } = inst {
                *ahead = false;
            }
        });
    }),
    ("a copy that looks at elements", Rule::Stages, |c| {
        let careful = buf(c, "query_careful");
        copy(c, |inst| {
            if let Inst::Gather { flag, dst, .. } = inst {
                *flag = Some(attnc_tile::core::Place {
                    buf: careful,
                    at: dst.at,
                });
            }
        });
    }),
    ("a copy that turns rows into columns", Rule::Stages, |c| {
        copy(c, |inst| {
            if let Inst::Gather { lie, .. } = inst {
                *lie = Lie::Cols { stride: 64 };
            }
        });
    }),
    ("a copy into what is not staged", Rule::Stages, |c| {
        for name in ["k_panels", "v_panels"] {
            let b = buf(c, name).0 as usize;
            c.bufs[b].staged = false;
        }
    }),
    ("stages outside a task", Rule::Section, |c| {
        c.enter.push(Inst::Commit);
    }),
    ("a barrier of the launch plan", Rule::Section, |c| {
        c.plan.push(Inst::Barrier);
    }),
    ("a look beyond the panel", Rule::MoveBounds, |c| {
        change(c, |inst| match inst {
            Inst::Inspect(_, _, width, _) => {
                *width += 1;
                true
            }
            _ => false,
        });
    }),
    ("a stage without room for its rows", Rule::MoveBounds, |c| {
        let b = buf(c, "k_panels").0 as usize;
        c.bufs[b].len -= 1;
    }),
    ("a wait that does not cover", Rule::InFlight, |c| {
        change(c, |inst| match inst {
            Inst::Wait(ahead) => {
                *ahead += 1;
                true
            }
            _ => false,
        });
    }),
    ("keys read before the wait", Rule::InFlight, |c| {
        without(c, &Inst::Wait(1));
    }),
    ("the last keys read before the wait", Rule::InFlight, |c| {
        without(c, &Inst::Wait(0));
    }),
    ("a stage that is never closed", Rule::InFlight, |c| {
        without(c, &Inst::Commit);
    }),
    ("a stage that is never given back", Rule::InFlight, |c| {
        without(c, &Inst::Release);
    }),
    ("a stage given back twice", Rule::InFlight, |c| {
        in_block(c, |code| {
            let at = code.iter().position(|i| *i == Inst::Release);
            at.map(|at| code.insert(at, Inst::Release)).is_some()
        });
    }),
    ("a stage closed twice", Rule::InFlight, |c| {
        in_block(c, |code| {
            let at = code.iter().position(|i| *i == Inst::Commit);
            at.map(|at| code.insert(at, Inst::Commit)).is_some()
        });
    }),
    ("stages left in flight", Rule::InFlight, |c| {
        let one = constant(c, 1);
        change(c, |inst| match inst {
            Inst::For { hi, body, .. } if body.iter().any(|i| matches!(i, Inst::Queued(_))) => {
                let drains = body.iter().any(|i| holds(i, &Inst::Wait(0)));
                if drains {
                    *hi = one;
                }
                drains
            }
            _ => false,
        });
    }),
    ("a stage overwritten in flight", Rule::Refill, |c| {
        c.stages = 2;
    }),
    ("a stage overwritten while it is read", Rule::Refill, |c| {
        let many = constant(c, 3);
        let mut queued = None;
        change(c, |inst| match inst {
            Inst::Queued(v) => {
                queued = Some(*v);
                false
            }
            Inst::Bin(_, attnc_tile::core::Bin::Eq, a, b) if Some(*a) == queued => {
                *b = many;
                true
            }
            _ => false,
        });
    }),
    ("keys read that another warp copies", Rule::Barrier, |c| {
        without_barrier(c, |i| *i == Inst::Commit);
    }),
    (
        "last keys read that another warp copies",
        Rule::Barrier,
        |c| {
            without_barrier(c, |i| *i == Inst::Release);
        },
    ),
    (
        "a stage filled that another warp reads",
        Rule::Barrier,
        |c| {
            in_block(c, |code| {
                let at = code.iter().position(|i| *i == Inst::Barrier);
                let to = code.iter().position(|i| *i == Inst::Commit);
                if let (Some(at), Some(to)) = (at, to) {
                    code.insert(to + 1, Inst::Barrier);
                    code.remove(at);
                    return true;
                }
                false
            });
        },
    ),
    (
        "states stored that another warp loads",
        Rule::Barrier,
        |c| {
            let stores = scatters_into(c, "chunk_m");
            in_block(c, |code| {
                let to = code.iter().position(&stores);
                let at = to.and_then(|to| code[..to].iter().rposition(|i| *i == Inst::Barrier));
                at.map(|at| code.remove(at)).is_some()
            });
        },
    ),
    (
        "states loaded that another warp stores",
        Rule::Barrier,
        |c| {
            let m = buf(c, "chunk_m");
            let at = c.body.iter().rposition(|i| *i == Inst::Barrier);
            let at = at.expect("a barrier before the rest of the rows");
            let finishes = |i: &Inst| {
                i.blocks()
                    .iter()
                    .any(|b| b.iter().any(|i| gathers_from(i, m)))
            };
            assert!(c.body[at..].iter().any(finishes));
            c.body.remove(at);
        },
    ),
    (
        "a flag read before every warp has looked",
        Rule::Barrier,
        |c| {
            let careful = buf(c, "query_careful");
            let v = Val(c.vals);
            c.vals += 1;
            in_block(c, |code| {
                let raises =
                    |i: &Inst| matches!(i, Inst::Gather { flag: Some(f), .. } if f.buf == careful);
                let Some(at) = code.iter().position(raises) else {
                    return false;
                };
                if let Inst::Gather { flag: Some(f), .. } = code[at] {
                    code.insert(at + 1, Inst::Load(v, careful, f.at));
                }
                true
            });
        },
    ),
];
