// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The figures of docs/performance.md that are ratios of attnc to itself or to the machine's ceiling, with their goals: a Markdown table for
//! every target wider than `x86_64` that this machine runs.
//!
//! In: the arguments of benches. Cargo's `--bench` measures; without it, or with `--test`, every case is called once. A word picks
//! targets by a part of their name, `--list` names them. Out: tables on standard output. One thread, N = 8192, random data, f32, and bf16
//! where the target has kernels for it; all cases of a target in turns, a burst of the ceiling before each call. Needs 2 GB.
//! Pin it (`taskset -c 0`), and stop what else runs: where ceilings differ by more than 10 % nothing is claimed.

use attnc::CpuTarget;
use attnc::pipeline::Plan;
use attnc_benches::{Case, Figure, Fma, Goal, Line, Turns, table};
use attnc_codegen_cpu::Level;

/// Calls of every case; the best counts.
const ROUNDS: usize = 6;
/// The sequence length of all cases.
const N: u64 = 8192;
/// Heads, and their dimension: the same work for each, but for the last.
const HEADS: [(u32, u32); 7] = [
    (8, 16),
    (8, 32),
    (8, 48),
    (8, 64),
    (8, 96),
    (8, 128),
    (4, 256),
];

fn main() {
    let asked = Asked::of(std::env::args().skip(1));
    let wide = |t: &CpuTarget| t.runs_here() && Fma::of(*t).is_some_and(|f| f.bits() > 128);
    let mut targets = CpuTarget::ALL.into_iter().filter(wide).peekable();
    if targets.peek().is_none() {
        println!("skipped: this machine runs no target wider than 128 bits");
    }
    for target in targets.filter(|t| asked.picks(t.name())) {
        if asked.list {
            println!("{}: benchmark", target.name());
        } else {
            measure(target, asked.measures);
        }
    }
}

/// What the arguments ask for.
struct Asked {
    /// Whether to measure, or only to see that it runs.
    measures: bool,
    list: bool,
    word: Option<String>,
}

impl Asked {
    /// Options of other benches are no mistake: Cargo gives the same to all.
    fn of(args: impl Iterator<Item = String>) -> Asked {
        let (mut bench, mut test, mut list, mut word) = (false, false, false, None);
        for arg in args {
            match arg.as_str() {
                "--bench" => bench = true,
                "--test" => test = true,
                "--list" => list = true,
                option if option.starts_with('-') => {}
                _ => word = word.or(Some(arg)),
            }
        }
        Asked {
            measures: bench && !test,
            list,
            word,
        }
    }

    fn picks(&self, target: &str) -> bool {
        self.word.as_ref().is_none_or(|word| target.contains(word))
    }
}

/// All of a target's figures, printed as a table.
fn measure(target: CpuTarget, in_earnest: bool) {
    let Some(mut turns) = Turns::new(target) else {
        return;
    };
    let float = Cases::new(&mut turns, "f32");
    let half = takes_pairs(target).then(|| Cases::new(&mut turns, "bf16"));
    let calls = if in_earnest { ROUNDS } else { 1 };
    let ceilings = turns.run(calls);
    let mut lines = float.lines(&turns, ceilings.most);
    if let Some(cases) = half {
        // The goals, and the ceiling, are of f32.
        let bare = |mut line: Line| {
            line.figures.iter_mut().for_each(|f| f.goal = None);
            line
        };
        lines.extend(cases.lines(&turns, ceilings.most).into_iter().map(bare));
    }
    let title = format!("{}, N = {N}", target.name());
    println!("{}", table(&title, turns.bits(), &ceilings, calls, &lines));
}

/// Whether a target's kernels multiply pairs of bf16 here.
fn takes_pairs(target: CpuTarget) -> bool {
    match target {
        CpuTarget::X86_64V4 | CpuTarget::X86_64Amx => Level::V4Bf16.here(),
        CpuTarget::X86_64 | CpuTarget::X86_64V3 | CpuTarget::Aarch64 => false,
    }
}

/// C1 under both plans, and a branch of it alone to hold it against.
struct Shared {
    alone: usize,
    share: usize,
    each: usize,
}

/// The numbers of the cases of a dtype.
struct Cases {
    dtype: &'static str,
    /// (2048,1) by `HEADS`.
    heads: Vec<usize>,
    full: Shared,
    causal: Shared,
    twice: usize,
    small: usize,
}

impl Cases {
    fn new(turns: &mut Turns, dtype: &'static str) -> Cases {
        let fields = format!("dtype = {dtype}");
        let causal = format!("dtype = {dtype}, causal = true");
        let mut branches = |heads, fields: &str, branches: &[(u64, u64)]| {
            let case = Case::of_heads("figures", heads, fields, branches, N);
            turns.add(&case, Plan::Auto)
        };
        let heads: Vec<usize> = HEADS
            .into_iter()
            .map(|heads| branches(heads, &fields, &[(2048, 1)]))
            .collect();
        let alone = branches((8, 64), &causal, &[(2048, 1)]);
        let twice = branches((8, 64), &fields, &[(2048, 1), (2048, 1)]);
        let small = [(256, 1), (512, 2), (1024, 4), (2048, 8)];
        let small = branches((8, 64), &fields, &small);
        let mut shared = |alone, fields: &str| {
            let case = Case::c1("figures", fields);
            Shared {
                alone,
                share: turns.add(&case, Plan::Share),
                each: turns.add(&case, Plan::Each),
            }
        };
        Cases {
            dtype,
            full: shared(heads[base()], &fields),
            causal: shared(alone, &causal),
            heads,
            twice,
            small,
        }
    }

    /// What the table says of them.
    fn lines(&self, turns: &Turns, ceiling: f64) -> Vec<Line> {
        let line = |what: &str, case, figures| Line {
            what: format!("{} {what}", self.dtype),
            best: turns.best(case),
            figures,
        };
        let time = |case| turns.best(case).time.as_secs_f64();
        let issued = |case| turns.best(case).issued as f64;
        let rate = |case| turns.best(case).issued_rate();
        let formula = |case| turns.best(case).formula_rate();
        let alone = self.heads[base()];
        let mut lines = Vec::new();
        for ((heads, dim), case) in HEADS.into_iter().zip(&self.heads) {
            let figures = if *case == alone {
                let part = rate(*case) / ceiling;
                vec![figure(part, "the ceiling", Some(Goal::AtLeast(0.8)))]
            } else {
                let part = rate(*case) / rate(alone);
                vec![figure(part, "D = 64 issued", Some(Goal::AtLeast(0.85)))]
            };
            lines.push(line(
                &format!("(2048,1), {heads} heads of {dim}"),
                *case,
                figures,
            ));
        }
        for (name, c1, goal) in [
            ("C1", &self.full, Some(Goal::AtLeast(1.1))),
            ("C1, causal", &self.causal, None),
        ] {
            if c1.alone != alone {
                lines.push(line("(2048,1), causal", c1.alone, Vec::new()));
            }
            let figures = vec![
                figure(
                    formula(c1.share) / formula(c1.alone),
                    "(2048,1) by formula",
                    goal,
                ),
                figure(
                    issued(c1.share) / issued(c1.each),
                    "the products of `each`",
                    None,
                ),
                figure(time(c1.share) / time(c1.each), "the time of `each`", None),
            ];
            lines.push(line(&format!("{name}, share"), c1.share, figures));
            lines.push(line(&format!("{name}, each"), c1.each, Vec::new()));
        }
        let twice = time(self.twice) / time(alone);
        let goal = Some(Goal::AtMost(1.15));
        let figures = vec![figure(twice, "the time of once", goal)];
        lines.push(line("(2048,1) twice", self.twice, figures));
        let small = formula(self.small) / formula(alone);
        let goal = Some(Goal::AtLeast(0.7));
        let figures = vec![figure(small, "(2048,1) by formula", goal)];
        lines.push(line(
            "(256,1),(512,2),(1024,4),(2048,8)",
            self.small,
            figures,
        ));
        lines
    }
}

/// Where in `HEADS` those stand that others are held against.
fn base() -> usize {
    HEADS.iter().position(|h| *h == (8, 64)).unwrap_or(0)
}

fn figure(value: f64, of: &str, goal: Option<Goal>) -> Figure {
    Figure {
        value,
        of: of.to_string(),
        goal,
    }
}
