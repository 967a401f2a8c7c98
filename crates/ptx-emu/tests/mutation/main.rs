// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How much the emulator's checks see: kernels with one thing changed must be caught.
//!
//! For each kernel, mutants are drawn (see `mutants`) and run with `--check --races` on all of
//! the kernel's launches. A mutant that the verifier or NVIDIA's assembler refuses does not
//! count, neither as caught nor as missed. Those that survive are argued one by one in
//! `tests/ptx/equivalent.txt` or stand there as missed; the rest fails the test. By default a
//! sample is drawn; `ATTNC_MUTANTS=200` draws 200 a kernel. `--nocapture` prints the figures.

mod mutants;
#[path = "../../../ptx/tests/common/ptxas.rs"]
mod ptxas;

use attnc_ptx::emu::Options;
use attnc_ptx::module::Stmt;
use attnc_ptx_emu::{Launch, execute, read};
use mutants::{Rng, at, entry, mutate, orders};
use std::path::{Path, PathBuf};

/// Mutants a kernel where the environment says nothing.
const SAMPLE: usize = 40;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/ptx")
        .join(name)
}

/// A kernel with its launches: `FOLDER/NAME.json`, then `more/NAME.1.json` and so on.
fn kernel(name: &str) -> (Vec<Launch>, String) {
    let first = read(&file(&format!("{name}.json"))).expect("a launch");
    let text = std::fs::read_to_string(&first.ptx).expect("a module");
    let short = name.rsplit('/').next().expect("a name");
    let more = (1..)
        .map(|n| file(&format!("more/{short}.{n}.json")))
        .take_while(|p| p.exists())
        .map(|p| read(&p).expect("a launch"));
    (std::iter::once(first).chain(more).collect(), text)
}

fn caught(all: &[Launch], text: &str) -> bool {
    (0..8).any(|seed| {
        all.iter().any(|l| {
            let o = Options {
                races: true,
                seed,
                threads: 1,
                budget: 300_000,
                ..Options::default()
            };
            execute(l, text, &o, true).is_err()
        })
    })
}

fn refused(text: &str) -> bool {
    matches!(ptxas::assembles(text), Some(Err(_)))
}

/// Draws mutants; returns caught, counted, and the survivors.
fn suite(name: &str, count: usize) -> (usize, usize, Vec<String>) {
    let (all, src) = kernel(name);
    let original = attnc_ptx::parse(&src).expect("parses");
    assert!(
        !caught(&all, &attnc_ptx::print(&original)),
        "{name}: the kernel itself fails"
    );
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
        if refused(&text) {
            continue;
        }
        n += 1;
        if caught(&all, &text) {
            hit += 1;
        } else {
            alive.push(what);
        }
    }
    assert!(n >= count, "{name}: only {n} mutants");
    (hit, n, alive)
}

/// Mutants argued to be equivalent: `CASE | MUTANT | REASON`.
fn argued(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file("equivalent.txt")).expect("the list");
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

/// Of 100 mutants at least 90 are caught as they are, and all of those that are not argued
/// to be equivalent but for one in a hundred.
fn report(name: &str) {
    let count = std::env::var("ATTNC_MUTANTS").map_or(SAMPLE, |n| n.parse().expect("a number"));
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
    if n >= 200 {
        assert!(hit * 100 >= n * 90, "{name}: {hit} of {n} caught");
    }
    assert!(
        alive.len() * 100 <= n,
        "{name}: {hit} of {n} caught:\n{}",
        alive.join("\n")
    );
}

macro_rules! suites {
    ($($test:ident: $name:literal,)*) => {
        $(#[test] fn $test() { report($name); })*
        const KERNELS: &[&str] = &[$($name),*];
    };
}

suites! {
    mutants_of_the_addition: "open/add_n300_sm80",
    mutants_of_the_softmax: "open/softmax_c60_sm80",
    mutants_of_the_matrix_product: "open/gemm_f16_64x48x96_sm80",
    mutants_of_warp_functions: "hand/warp",
    mutants_of_atomics: "hand/atomics",
    mutants_of_asynchronous_copies: "hand/async",
    mutants_of_mma: "hand/mma",
    mutants_of_bulk_copies: "hand/bulk",
    mutants_of_wgmma: "hand/wgmma",
    mutants_of_integer_instructions: "hand/integer",
    mutants_of_conversions: "hand/convert",
    mutants_of_control_flow: "hand/control",
}

/// Deleting any barrier, wait, commit or fence is caught, but for those argued.
fn ordering(name: &str) {
    let known = argued(name);
    let (all, src) = kernel(name);
    let mut original = attnc_ptx::parse(&src).expect("parses");
    let places = at(entry(&mut original));
    let (mut n, mut direct, mut missed) = (0, 0, Vec::new());
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
        if known.contains(&what) {
            continue;
        }
        if caught(&all, &attnc_ptx::print(&m)) {
            direct += 1;
        } else {
            missed.push(format!("{name} | {what} | "));
        }
    }
    println!(
        "{name}: of {n} dropped ordering instructions {direct} caught, {} argued, {} missed",
        n - direct - missed.len(),
        missed.len()
    );
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn dropped_ordering_instructions_of_small_kernels() {
    for name in KERNELS {
        ordering(name);
    }
}

#[test]
fn dropped_ordering_instructions_of_an_attention() {
    ordering("triton/sm80_attn_bf16_1");
}

#[test]
fn dropped_ordering_instructions_of_wgmma_kernels() {
    ordering("triton/sm90_gemm_bf16_fp32_ieee_1");
    ordering("triton/sm90_attn_bf16_1");
}

#[test]
fn dropped_ordering_instructions_of_tensor_maps() {
    ordering("triton/sm90_tma");
}
