// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The search: candidates are compiled, compared and measured until the time is over.
//!
//! In: an operator, a target, how long. Out: a [`TuneEntry`] with every candidate that was looked at. The default is the first candidate
//! and is measured in every round. First each candidate is called twice in the order of the time model, its result compared with the
//! default's under the tolerances of a verification; then the fastest are measured in turns, so that a machine that slows down
//! slows all of them.

use std::time::{Duration, Instant};

use attnc_spec::Operator;
use attnc_tensor::measure::{Comparison, Row};
use attnc_tensor::{Bounds, TensorError};

use super::candidates::{Candidate, candidates};
use super::file::{Measured, Outcome, Tried, TuneEntry};
use crate::engine::{Backend, Engine, EngineError};
use crate::execute::{self, ExecuteError, execute, median};
use crate::inputs::{InputError, Inputs};
use crate::pipeline::{Choices, CompileError};
use crate::signature::Signature;
use crate::source::Source;
use crate::verify::{Amount, VerifyOptions, verify};
use crate::{Compiler, madds_formula};

/// Part of the budget for looking at each candidate once; the rest is for telling the fastest apart.
const FIRST_PART: f64 = 0.6;
/// The fastest that are measured in turns, beside the default.
const FINALISTS: usize = 6;
/// Rounds of turns at most.
const ROUNDS: usize = 25;
/// How many times the default's speed is worth another schedule.
const MARGIN: f64 = 1.01;
/// Rows that the default's own result is verified by.
const ROWS: u64 = 64;
/// Multiply-adds by formula of one call where the length is not given.
const CALL: u128 = 1 << 31;
/// A length that is not given is at most this.
const LONGEST: u64 = 1 << 15;

/// What a search may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TuneOptions {
    /// N; none: the longest power of two up to 32768 whose call is short.
    pub seq_len: Option<u64>,
    /// B.
    pub batch: u64,
    /// Seed of tensors and candidates.
    pub seed: u64,
    /// Worker threads.
    pub threads: usize,
    /// Time for everything.
    pub budget: Duration,
    /// Candidates at most, the default among them.
    pub candidates: usize,
}

impl TuneOptions {
    /// The length that is measured.
    pub fn length(&self, op: &Operator) -> u64 {
        self.seq_len.unwrap_or_else(|| {
            let mut n = LONGEST;
            while n > 64 && madds_formula(op, self.batch, n) > CALL {
                n /= 2;
            }
            n
        })
    }
}

/// Why nothing was tuned.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// The candidates cannot be listed.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The default cannot be made or called.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The default failed.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// Tensors of this size cannot be had.
    #[error(transparent)]
    Input(#[from] InputError),
    /// There is nothing to measure.
    #[error("a sequence of nothing takes no time; give a length of at least 1")]
    Empty,
    /// The default's result is wrong: a bug of the compiler.
    #[error(
        "the default schedule's result differs from the oracle's; nothing can be compared with it"
    )]
    DefaultWrong,
}

impl From<TensorError> for TuneError {
    fn from(e: TensorError) -> TuneError {
        TuneError::Execute(ExecuteError::Memory(e))
    }
}

/// What a search has done so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TuneStep {
    /// Candidates looked at.
    pub tried: usize,
    /// Candidates in all.
    pub all: usize,
    /// Part of the budget that is spent, 0 to 1.
    pub spent: f64,
    /// The fastest time so far beside the default's.
    pub best: f64,
}

/// Makes the engine of a candidate.
pub type Make<'a> = &'a dyn Fn(&Choices) -> Result<Box<dyn Engine>, EngineError>;

/// Searches for a schedule of `op` for a target that this machine runs.
///
/// # Errors
/// What keeps the default from being measured.
pub fn tune(
    op: &Operator,
    target: &str,
    options: &TuneOptions,
    progress: &dyn Fn(TuneStep),
) -> Result<TuneEntry, TuneError> {
    let make =
        |choices: &Choices| Compiler::with(choices.clone()).engine(&Source::from(op), Backend::Cpu);
    tune_by(&make, op, target, options, progress)
}

/// A candidate and what is known of it.
struct Run {
    candidate: Candidate,
    engine: Option<Box<dyn Engine>>,
    outcome: Outcome,
    times: Vec<f64>,
}

impl Run {
    fn spread(&self) -> f64 {
        let middle = median(&self.times);
        let off: Vec<f64> = self.times.iter().map(|t| (t - middle).abs()).collect();
        median(&off)
    }

    fn tried(&self) -> Tried {
        Tried {
            plan: self.candidate.plan,
            schedule: self.candidate.sizes,
            outcome: self.outcome,
            median_ms: micro(median(&self.times)),
            spread_ms: micro(self.spread()),
            runs: self.times.len() as u64,
        }
    }
}

/// To the microsecond, as it is written.
fn micro(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

/// [`tune`] with engines of the caller's.
///
/// # Errors
/// The same.
pub fn tune_by(
    make: Make<'_>,
    op: &Operator,
    target: &str,
    o: &TuneOptions,
    progress: &dyn Fn(TuneStep),
) -> Result<TuneEntry, TuneError> {
    let start = Instant::now();
    let seq_len = o.length(op);
    if seq_len == 0 || o.batch == 0 {
        return Err(TuneError::Empty);
    }
    let budget = o.budget.as_secs_f64();
    let spent = || start.elapsed().as_secs_f64() / budget.max(1e-9);
    let list = candidates(op, target, seq_len, o.threads, o.seed, o.candidates)?;
    let signature = Signature::from(op);
    let inputs = Inputs::generate(&signature, o.batch, seq_len, o.seed)?;
    let call = |engine: &dyn Engine| execute(engine, &signature, &inputs, o.threads, 1, &|_| ());
    // The default, and what is right.
    let default = make(&Choices::new(target))?;
    let reference = call(&*default)?;
    let bounds = bounds(op, &inputs, &reference, &*default, o.threads)?;
    let all = list.len();
    let mut runs: Vec<Run> = Vec::with_capacity(all);
    let tell = |runs: &[Run], spent: f64| {
        let fastest = |r: &Run| r.times.iter().copied().fold(f64::INFINITY, f64::min);
        let right = runs.iter().filter(|r| r.outcome == Outcome::Right);
        let best = right.map(fastest).fold(f64::INFINITY, f64::min);
        let base = runs.first().map_or(1.0, fastest);
        progress(TuneStep {
            tried: runs.len(),
            all,
            spent: spent.min(1.0),
            best: best / base,
        });
    };
    for (i, candidate) in list.into_iter().enumerate() {
        if i > 0 && spent() >= FIRST_PART {
            break;
        }
        let mut run = Run {
            candidate,
            engine: None,
            outcome: Outcome::Refused,
            times: Vec::new(),
        };
        if let Ok(engine) = make(&run.candidate.choices(target))
            && let Ok(first) = call(&*engine)
        {
            run.outcome = Outcome::Wrong;
            if same(&first, &reference, bounds)
                && let Ok(second) = call(&*engine)
            {
                run.outcome = Outcome::Right;
                run.times.extend(second.run_ms);
                run.engine = Some(engine);
            }
        }
        runs.push(run);
        tell(&runs, spent());
    }
    drop(default);
    // The default, and the fastest of those that are right; their first times stay with them.
    let mut order: Vec<usize> = (1..runs.len())
        .filter(|i| !runs[*i].times.is_empty())
        .collect();
    order.sort_by(|a, b| runs[*a].times[0].total_cmp(&runs[*b].times[0]));
    order.truncate(FINALISTS);
    order.insert(0, 0);
    for (i, run) in runs.iter_mut().enumerate() {
        if !order.contains(&i) {
            run.engine = None;
        }
    }
    // One round is always whole: every finalist has two times.
    'rounds: for round in 0..ROUNDS {
        for i in &order {
            if round > 0 && spent() >= 1.0 {
                break 'rounds;
            }
            let Some(engine) = &runs[*i].engine else {
                continue;
            };
            let times = call(&**engine)?.run_ms;
            runs[*i].times.extend(times);
            tell(&runs, spent());
        }
    }
    let chosen = choose(&runs, &order);
    let measured = Measured {
        seq_len,
        batch: o.batch,
        threads: o.threads as u64,
        seed: o.seed,
        budget_s: budget,
        took_s: micro(start.elapsed().as_secs_f64()),
        default_ms: micro(median(&runs[0].times)),
        chosen_ms: micro(median(&runs[chosen].times)),
    };
    let mut entry = TuneEntry::new(op, target, measured, &runs[chosen].tried());
    entry.candidates = runs.iter().map(Run::tried).collect();
    Ok(entry)
}

/// The finalist that is the fastest beside the default, if one is faster: by a hundredth at least and in three of four rounds. Times of
/// one round are compared with each other, so that a machine that changes its speed between rounds decides nothing.
fn choose(runs: &[Run], finalists: &[usize]) -> usize {
    let mut best = (0, MARGIN);
    for i in finalists.iter().copied().filter(|i| *i != 0) {
        // The first time of each is from another part of the search.
        let rounds = runs[0].times.iter().zip(&runs[i].times).skip(1);
        let gains: Vec<f64> = rounds.map(|(default, own)| default / own).collect();
        let won = gains.iter().filter(|gain| **gain > 1.0).count();
        if gains.len() >= 3 && 4 * won >= 3 * gains.len() && median(&gains) > best.1 {
            best = (i, median(&gains));
        }
    }
    best.0
}

/// The tolerances of the default's result, which is verified itself.
fn bounds(
    op: &Operator,
    inputs: &Inputs,
    y: &execute::Outcome,
    engine: &dyn Engine,
    threads: usize,
) -> Result<Bounds, TuneError> {
    let options = VerifyOptions {
        amount: Amount::Rows(ROWS),
        seed: 0,
        boundaries: &engine.boundaries(inputs.seq_len as u64),
        place: Backend::Cpu.place(),
        threads,
    };
    let (out, lse) = (y.out.view(), y.lse.view());
    let verified = verify(op, inputs, &out, &lse, &options, &|_| ())?;
    if !verified.verdict.passed {
        return Err(TuneError::DefaultWrong);
    }
    Ok(verified.verdict.bounds)
}

/// Whether a result is another's within the tolerances, row by row.
fn same(got: &execute::Outcome, want: &execute::Outcome, bounds: Bounds) -> bool {
    let (out, lse) = (got.out.view(), got.lse.view());
    let (want_out, want_lse) = (want.out.view(), want.lse.view());
    let [batch, n, heads, d] = *out.shape() else {
        return false;
    };
    let mut comparison = Comparison::new();
    let (mut row, mut want_row) = (vec![0.0; d], vec![0.0; d]);
    for b in 0..batch {
        for p in 0..n {
            for h in 0..heads {
                for i in 0..d {
                    row[i] = out.get(&[b, p, h, i]);
                    want_row[i] = want_out.get(&[b, p, h, i]);
                }
                let want_lse = want_lse.get(&[b, h, p]);
                comparison.push(Row {
                    got: &row,
                    want: &want_row,
                    got_lse: lse.get(&[b, h, p]),
                    want_lse,
                    covered: want_lse != f64::NEG_INFINITY,
                });
            }
        }
    }
    comparison.finish(bounds).passed
}
