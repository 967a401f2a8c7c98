// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mutants of a module: one thing changed, drawn uniformly over the instructions of the entry
//! and over the kinds of change (delete, another register, another constant, the predicate, a
//! stage count). In: a module and a generator. Out: the changed module and what was changed.

#![allow(unreachable_pub)]

use attnc_ptx::module::{Function, Imm, Instr, Item, Module, Operand, Stmt};

/// A linear congruential generator: the same mutants on every machine.
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// The first entry.
pub fn entry(m: &mut Module) -> &mut Function {
    m.items
        .iter_mut()
        .find_map(|i| match i {
            Item::Function(f) if f.entry => Some(f),
            _ => None,
        })
        .expect("an entry")
}

/// Where the entry's instructions stand.
pub fn at(f: &mut Function) -> Vec<usize> {
    let b = f.body.as_ref().expect("a body");
    (0..b.len())
        .filter(|k| matches!(b[*k], Stmt::Instr(_)))
        .collect()
}

/// Register names by the letters of their family.
fn registers(f: &Function) -> Vec<String> {
    fn walk(o: &Operand, out: &mut Vec<String>) {
        match o {
            Operand::Name(n) if n.starts_with('%') && !n.contains('.') => out.push(n.to_string()),
            Operand::Vector(v) => v.iter().for_each(|x| walk(x, out)),
            Operand::Address(a) => {
                if let Some(n) = &a.base {
                    walk(&Operand::Name(n.clone()), out);
                }
            }
            _ => {}
        }
    }
    let mut v = Vec::new();
    for s in f.body.iter().flatten() {
        if let Stmt::Instr(i) = s {
            i.args.iter().for_each(|a| walk(a, &mut v));
        }
    }
    v.sort();
    v.dedup();
    v
}

fn family(n: &str) -> &str {
    n.trim_end_matches(|c: char| c.is_ascii_digit())
}

fn swap(o: &mut Operand, regs: &[String], r: &mut Rng) -> bool {
    match o {
        Operand::Name(n) if n.starts_with('%') && !n.contains('.') => {
            let peers: Vec<&String> = regs
                .iter()
                .filter(|x| family(x) == family(n) && x.as_str() != &**n)
                .collect();
            if peers.is_empty() {
                return false;
            }
            *n = peers[r.below(peers.len())].as_str().into();
            true
        }
        Operand::Vector(v) => {
            let k = r.below(v.len());
            swap(&mut v[k], regs, r)
        }
        Operand::Address(a) => {
            let Some(n) = &a.base else { return false };
            let mut x = Operand::Name(n.clone());
            if !swap(&mut x, regs, r) {
                return false;
            }
            if let Operand::Name(n) = x {
                a.base = Some(n);
            }
            true
        }
        _ => false,
    }
}

fn constant(o: &mut Operand, r: &mut Rng) -> bool {
    match o {
        Operand::Imm(Imm::Int(v)) => {
            *v = match r.below(3) {
                0 => *v + 1,
                1 => *v - 1,
                _ => *v ^ 4,
            };
            true
        }
        Operand::Imm(Imm::F32(b)) => {
            *b ^= 0x0040_0000;
            true
        }
        Operand::Address(a) => {
            a.offset += [4, -4, 16][r.below(3)];
            true
        }
        _ => false,
    }
}

/// One change; what it was, or `None` if it does not apply there.
pub fn mutate(f: &mut Function, r: &mut Rng) -> Option<String> {
    let regs = registers(f);
    let places = at(f);
    let k = places[r.below(places.len())];
    let body = f.body.as_mut()?;
    let Stmt::Instr(i) = &mut body[k] else {
        return None;
    };
    let old = i.to_string();
    let line = i.pos.0.line;
    let ok = match r.below(5) {
        0 => {
            body.remove(k);
            return Some(format!("line {line}: delete `{old}`"));
        }
        1 => {
            let n = i.args.len();
            n > 0 && {
                let a = r.below(n);
                swap(&mut i.args[a], &regs, r)
            }
        }
        2 => {
            let n = i.args.len();
            n > 0 && {
                let a = r.below(n);
                constant(&mut i.args[a], r)
            }
        }
        3 => match &mut i.guard {
            Some(g) => {
                if r.below(2) == 0 {
                    g.negated = !g.negated;
                } else {
                    i.guard = None;
                }
                true
            }
            None => false,
        },
        _ => {
            i.has("wait_group") && {
                if let Some(Operand::Imm(Imm::Int(v))) = i.args.first_mut() {
                    *v += 1;
                }
                true
            }
        }
    };
    ok.then(|| format!("line {line}: `{old}` -> `{}`", text(&body[k])))
}

fn text(s: &Stmt) -> String {
    match s {
        Stmt::Instr(i) => i.to_string(),
        _ => String::new(),
    }
}

/// Whether an instruction does nothing but order others.
pub fn orders(i: &Instr) -> bool {
    matches!(
        i.opcode(),
        "bar" | "barrier" | "fence" | "membar" | "mbarrier"
    ) || (i.opcode() == "wgmma" && !i.has("mma_async"))
        || (i.opcode() == "cp"
            && (i.has("wait_group") || i.has("wait_all") || i.has("commit_group")))
}
