// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How much the emulator's checks see: kernels with one thing changed must be caught.
//!
//! Mutants are drawn uniformly over the instructions of the entry and over the kinds of
//! change (delete, another register, another constant, the predicate, a stage count). A
//! mutant that NVIDIA's assembler or the verifier refuses does not count. The survivors are
//! printed with `--nocapture`; the README of the crate argues which are equivalent.

#[path = "../../ptx/tests/common/ptxas.rs"]
mod ptxas;

use attnc_ptx::emu::Options;
use attnc_ptx::module::{Function, Imm, Instr, Item, Module, Operand, Stmt};
use attnc_ptx_emu::{execute, read};
use std::path::{Path, PathBuf};

struct Rng(u64);
impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

fn entry(m: &mut Module) -> &mut Function {
    m.items
        .iter_mut()
        .find_map(|i| match i {
            Item::Function(f) if f.entry => Some(f),
            _ => None,
        })
        .expect("an entry")
}

fn at(f: &mut Function) -> Vec<usize> {
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
fn mutate(f: &mut Function, r: &mut Rng) -> Option<String> {
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

fn orders(i: &Instr) -> bool {
    matches!(i.opcode(), "bar" | "barrier" | "fence" | "membar")
        || (i.opcode() == "wgmma" && !i.has("mma_async"))
        || (i.opcode() == "cp"
            && (i.has("wait_group") || i.has("wait_all") || i.has("commit_group")))
}

fn refused(text: &str) -> bool {
    matches!(ptxas::assembles(text), Some(Err(_)))
}

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/ptx")
        .join(name)
}

fn caught(l: &attnc_ptx_emu::Launch, text: &str) -> bool {
    (0..2).any(|seed| {
        let o = Options {
            races: true,
            seed,
            threads: 1,
            budget: 300_000,
            ..Options::default()
        };
        execute(l, text, &o, true).is_err()
    })
}

/// Draws mutants; returns caught, counted, and the survivors.
fn suite(name: &str, count: usize) -> (usize, usize, Vec<String>) {
    let l = read(&case(name)).expect("a launch");
    let src = std::fs::read_to_string(&l.ptx).expect("a module");
    let original = attnc_ptx::parse(&src).expect("parses");
    let mut r = Rng(0x5eed ^ name.len() as u64);
    let (mut hit, mut n, mut alive) = (0, 0, Vec::new());
    let mut seen = std::collections::BTreeSet::new();
    let mut tries = 0;
    while n < count && tries < count * 40 {
        tries += 1;
        let mut m = original.clone();
        let Some(what) = mutate(entry(&mut m), &mut r) else {
            continue;
        };
        if !seen.insert(what.clone()) || !attnc_ptx::verify(&m).is_empty() {
            continue;
        }
        let text = attnc_ptx::print(&m);
        let found = caught(&l, &text);
        if !found && refused(&text) {
            continue;
        }
        n += 1;
        if found {
            hit += 1;
        } else {
            alive.push(what);
        }
    }
    (hit, n, alive)
}

/// Mutants argued to be equivalent, from `tests/ptx/equivalent.txt`: `CASE | MUTANT | REASON`.
fn argued(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(case("equivalent.txt")).expect("the list");
    text.lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| {
            let mut p = l.split(" | ");
            let (c, m) = (p.next()?, p.next()?);
            assert!(
                p.next().is_some_and(|r| !r.trim().is_empty()),
                "no reason: {l}"
            );
            (c == name).then(|| m.to_string())
        })
        .collect()
}

/// At least 90 of 100 mutants that are not equivalent must be caught.
fn report(name: &str, count: usize) {
    let (hit, n, alive) = suite(name, count);
    let known = argued(name);
    let (equal, alive): (Vec<_>, Vec<_>) = alive.into_iter().partition(|a| known.contains(a));
    for a in &alive {
        println!("{name} | {a} | ");
    }
    println!(
        "{name}: {hit} of {n} caught, {} argued to be equivalent, {} survive",
        equal.len(),
        alive.len()
    );
    assert!(n >= count, "{name}: only {n} mutants");
    let n = n - equal.len();
    assert!(
        hit * 100 >= n * 90,
        "{name}: {hit} of {n} caught:\n{}",
        alive.join("\n")
    );
}

#[test]
fn mutants_of_the_addition_are_caught() {
    report("open/add_n300_sm80.json", 200);
}

#[test]
fn mutants_of_the_softmax_are_caught() {
    report("open/softmax_c60_sm80.json", 200);
}

#[test]
fn mutants_of_the_matrix_product_are_caught() {
    report("open/gemm_f16_64x48x96_sm80.json", 200);
}

/// Deleting any barrier, wait, commit or fence is caught, but for those named here.
#[test]
fn every_dropped_ordering_instruction_is_caught() {
    let mut missed = Vec::new();
    for name in [
        "open/softmax_c60_sm80.json",
        "open/gemm_f16_64x48x96_sm80.json",
        "triton/sm90_gemm_bf16_fp32_ieee_1.json",
        "triton/sm90_attn_bf16_1.json",
    ] {
        let known = argued(name);
        let l = read(&case(name)).expect("a launch");
        let src = std::fs::read_to_string(&l.ptx).expect("a module");
        let mut original = attnc_ptx::parse(&src).expect("parses");
        let places = at(entry(&mut original));
        let mut alive = Vec::new();
        let mut n = 0;
        for k in places {
            let mut m = original.clone();
            let b = entry(&mut m).body.as_mut().expect("a body");
            let Stmt::Instr(i) = &b[k] else { continue };
            if !orders(i) {
                continue;
            }
            n += 1;
            let what = format!("line {}: delete `{i}`", i.pos.0.line);
            b.remove(k);
            if !caught(&l, &attnc_ptx::print(&m)) && !known.contains(&what) {
                alive.push(what);
            }
        }
        println!(
            "{name}: {} of {n} dropped ordering instructions caught or argued",
            n - alive.len()
        );
        missed.extend(alive.iter().map(|a| format!("{name} | {a} | ")));
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
