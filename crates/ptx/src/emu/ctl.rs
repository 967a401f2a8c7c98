// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Control flow, barriers and fences as decoded. In: form and operands. Out: [`Ctl`] for the
//! interpreter's loop, and fences for the race checker.

use super::code::*;
use super::decode::{D, Dec, Formal, Sym, refuse};
use super::fault::FaultKind;
use super::state::{CODE_WINDOW, Machine, Warp};
use crate::module::{Instr, Operand};
use crate::ty::Type;

/// bra, brx, call, ret, exit, trap and hints.
pub(crate) fn flow(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let name = |o: &Operand| match o {
        Operand::Name(n) => Ok(n.clone()),
        _ => refuse(format!("`{o}` as a label")),
    };
    Ok(Op::Ctl(match i.opcode() {
        "bra" => {
            let l = d.label(&name(&i.args[0])?)?;
            d.jump(vec![l]);
            Ctl::Bra(0)
        }
        "brx" => {
            let index = d.src(&i.args[0], Type::U32)?;
            let Some(Sym::Targets(list)) = d.lookup(&name(&i.args[1])?) else {
                return refuse("brx without .branchtargets");
            };
            let labels = list.iter().map(|n| d.label(n)).collect::<D<Vec<_>>>()?;
            d.jump(labels);
            Ctl::BrxIdx {
                index,
                targets: Vec::new(),
            }
        }
        "call" => return call(d, i),
        "ret" => Ctl::Ret,
        "exit" => Ctl::Exit,
        "trap" => Ctl::Trap,
        _ => return Ok(Op::Nop),
    }))
}

fn call(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let (Operand::List(rets), Operand::Name(target), Operand::List(args)) =
        (&i.args[0], &i.args[1], &i.args[2])
    else {
        return refuse("this form of call");
    };
    match d.lookup(target) {
        Some(Sym::Func(k)) if d.fns[k].decl.body.is_some() => {
            let (copy_in, copy_out) = copies(d, k, rets, args)?;
            d.calls(vec![k]);
            Ok(Op::Ctl(Ctl::Call {
                entry: 0,
                copy_in,
                copy_out,
            }))
        }
        Some(Sym::Func(k)) => match &*d.fns[k].decl.name {
            "__assertfail" | "__assert_fail" => {
                Ok(Op::Exec(Box::new(|_: &mut Machine<'_>, _: u32| {
                    Err(FaultKind::Trap("a device assertion failed".into()))
                })))
            }
            // The text goes nowhere; the number of arguments printed is returned as 0.
            "vprintf" => {
                let out = rets.first().map(|r| storage(d, r)).transpose()?;
                Ok(Op::Exec(Box::new(move |m: &mut Machine<'_>, mask: u32| {
                    match out {
                        Some(Formal::Reg(s)) => m.set(s, &[0; 32], mask, mask),
                        Some(Formal::Local(o, n)) => {
                            let size = m.g.code.local as usize;
                            for l in Warp::lanes(mask) {
                                m.w.local[l * size + o as usize..][..n as usize].fill(0);
                            }
                        }
                        None => {}
                    }
                    Ok(())
                })))
            }
            other => refuse(format!("external function `{other}`")),
        },
        Some(Sym::Reg(s, _)) => {
            let fit: Vec<usize> = (0..d.fns.len())
                .filter(|k| {
                    let f = d.fns[*k].decl;
                    !f.entry
                        && f.body.is_some()
                        && f.params.len() == args.len()
                        && f.returns.len() == rets.len()
                })
                .collect();
            let mut candidates = Vec::new();
            for k in &fit {
                let (copy_in, copy_out) = copies(d, *k, rets, args)?;
                candidates.push(IndirectCall {
                    id: CODE_WINDOW + 16 * *k as u64,
                    entry: 0,
                    copy_in,
                    copy_out,
                });
            }
            d.calls(fit);
            Ok(Op::Ctl(Ctl::CallIndirect {
                target: s,
                candidates,
            }))
        }
        Some(_) | None => refuse(format!("call of `{target}`")),
    }
}

fn storage(d: &mut Dec<'_>, o: &Operand) -> D<Formal> {
    if let Operand::Name(n) = o
        && let Some(Sym::ParamLocal(off, len)) = d.lookup(n)
    {
        return Ok(Formal::Local(off, len));
    }
    Ok(Formal::Reg(d.src(o, Type::B64)?))
}

fn copies(
    d: &mut Dec<'_>,
    k: usize,
    rets: &[Operand],
    args: &[Operand],
) -> D<(Vec<Copy>, Vec<Copy>)> {
    let (fr, fp) = d.formals(k);
    if fr.len() != rets.len() || fp.len() != args.len() {
        return refuse("a call with another number of arguments");
    }
    let make = |from: Formal, to: Formal| match (from, to) {
        (Formal::Reg(from), Formal::Reg(to)) => Ok(Copy::Reg { from, to }),
        (Formal::Local(from, a), Formal::Local(to, b)) => Ok(Copy::Bytes {
            from,
            to,
            len: a.min(b),
        }),
        (Formal::Reg(_), Formal::Local(..)) | (Formal::Local(..), Formal::Reg(_)) => {
            refuse("a call that mixes registers and .param")
        }
    };
    let mut i = Vec::new();
    for (a, f) in args.iter().zip(fp) {
        let s = storage(d, a)?;
        i.push(make(s, f)?);
    }
    let mut o = Vec::new();
    for (a, f) in rets.iter().zip(fr) {
        let s = storage(d, a)?;
        o.push(make(f, s)?);
    }
    Ok((i, o))
}

/// bar and barrier.
pub(crate) fn barrier(d: &mut Dec<'_>, i: &Instr) -> D<(Op, Meet, Class)> {
    if i.has("warp") {
        let s = d.src(&i.args[0], Type::U32)?;
        return Ok((Op::Nop, Meet::Mask(s), Class::Barrier));
    }
    if i.has("cluster") {
        // A cluster of one block: a barrier over all its threads, at the wait.
        if i.has("arrive") {
            return Ok((Op::Nop, Meet::None, Class::Barrier));
        }
        let op = Ctl::Bar(Bar {
            id: d.value(16),
            count: NONE,
            wait: true,
            aligned: false,
            red: None,
            cluster: true,
        });
        return Ok((Op::Ctl(op), Meet::None, Class::Barrier));
    }
    let aligned = i.opcode() == "bar" || i.has("aligned");
    let mut a = &i.args[..];
    let mut red = None;
    if i.has("red") {
        let dst = d.dst(&a[0])?;
        // The predicate comes last; a thread count may stand before it.
        let (pred, negated) = d.pred(&a[a.len() - 1])?;
        let op = if i.has("popc") {
            RedOp::Popc
        } else if i.has("and") {
            RedOp::And
        } else {
            RedOp::Or
        };
        red = Some(BarRed {
            op,
            dst,
            pred,
            negated,
        });
        a = &a[1..a.len() - 1];
    }
    let id = d.src(&a[0], Type::U32)?;
    let count = if a.len() > 1 {
        d.src(&a[1], Type::U32)?
    } else {
        NONE
    };
    let bar = Bar {
        id,
        count,
        wait: !i.has("arrive"),
        aligned,
        red,
        cluster: false,
    };
    Ok((
        Op::Ctl(Ctl::Bar(bar)),
        if aligned { Meet::Aligned } else { Meet::None },
        Class::Barrier,
    ))
}

/// fence, membar, griddepcontrol.
pub(crate) fn fence(d: &mut Dec<'_>, i: &Instr) -> D<(Op, Meet, Class)> {
    if i.opcode() == "griddepcontrol" || i.has("mbarrier_init") || i.has("alias") {
        return Ok((Op::Nop, Meet::None, Class::Barrier));
    }
    if i.has("async") || i.has("async::generic") {
        let run = |m: &mut Machine<'_>, mask: u32| {
            let w = m.w.id;
            if let Some(r) = m.c.race.as_mut() {
                r.proxy_fence(w, mask);
            }
            Ok(())
        };
        return Ok((Op::Exec(Box::new(run)), Meet::None, Class::Barrier));
    }
    if i.has("tensormap::generic") && i.has("acquire") {
        let a = d.addr(&i.args[0])?;
        let run = move |m: &mut Machine<'_>, mask: u32| {
            m.need_addr(a, mask)?;
            for l in Warp::lanes(mask) {
                m.map_acquired(m.address(a, l));
            }
            Ok(())
        };
        return Ok((Op::Exec(Box::new(run)), Meet::None, Class::Barrier));
    }
    if i.has("proxy") {
        return Ok((Op::Nop, Meet::None, Class::Barrier));
    }
    let cta = i.slot("SC") == Some("cta") || i.slot("L") == Some("cta");
    if !cta {
        d.code.cross_block = true;
    }
    let (rel, acq) = match i.slot("S") {
        Some("acquire") => (false, true),
        Some("release") => (true, false),
        Some(_) | None => (true, true),
    };
    let run = move |m: &mut Machine<'_>, mask: u32| {
        let w = m.w.id;
        if let Some(r) = m.c.race.as_mut() {
            for l in Warp::lanes(mask) {
                r.fence(w * 32 + l as u32, rel, acq, cta);
            }
        }
        Ok(())
    };
    Ok((Op::Exec(Box::new(run)), Meet::None, Class::Barrier))
}
