// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Cases in turns: every case once, then every case again, with a burst of the ceiling before each call, so that what slows the machine for
//! a while slows all of them.
//!
//! In: cases, all for one target. Out: the best call of each, and the ceilings of the run.

use std::time::Duration;

use attnc::CpuTarget;
use attnc::pipeline::Plan;

use crate::{Bench, Case, Fma};

/// How far the highest ceiling of a run may lie above the lowest before the run says nothing.
const STEADY: f64 = 1.1;

/// The best of a case's calls, by one thread.
#[derive(Clone, Copy, Debug)]
pub struct Best {
    /// Of the whole call, packing included.
    pub time: Duration,
    /// Multiply-adds of both products that were executed, padding included.
    pub issued: u128,
    /// The same by the operator's formula, which counts a key once for every branch that shows it.
    pub formula: u128,
}

impl Best {
    /// GFLOP/s issued, a multiply-add counted as two.
    pub fn issued_rate(&self) -> f64 {
        self.rate(self.issued)
    }

    /// GFLOP/s by formula.
    pub fn formula_rate(&self) -> f64 {
        self.rate(self.formula)
    }

    fn rate(&self, madds: u128) -> f64 {
        2.0 * madds as f64 / self.time.as_secs_f64() / 1e9
    }
}

/// f32 ceilings of a target's vectors during a run, in GFLOP/s of one thread.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Before the first call.
    pub before: f64,
    /// The lowest of all, those between calls among them.
    pub least: f64,
    /// The highest of all: what parts of the ceiling are parts of.
    pub most: f64,
    /// After the last call.
    pub after: f64,
}

impl Ceilings {
    /// From every burst of a run, in order.
    fn of(bursts: &[f64]) -> Ceilings {
        Ceilings {
            before: bursts.first().copied().unwrap_or(0.0),
            least: bursts.iter().copied().fold(f64::INFINITY, f64::min),
            most: bursts.iter().copied().fold(0.0, f64::max),
            after: bursts.last().copied().unwrap_or(0.0),
        }
    }

    /// Whether the machine was quiet: no two ceilings of the run differ by more than 10 %.
    pub fn steady(&self) -> bool {
        self.most <= STEADY * self.least
    }
}

/// Compiled cases of one target, to be called in turns.
#[derive(Debug)]
pub struct Turns {
    target: CpuTarget,
    fma: Fma,
    benches: Vec<(Bench, Option<Best>)>,
}

impl Turns {
    /// No cases yet; none where the target's ceiling cannot be measured here.
    pub fn new(target: CpuTarget) -> Option<Turns> {
        Some(Turns {
            target,
            fma: Fma::of(target)?,
            benches: Vec::new(),
        })
    }

    /// Bits of the target's vectors.
    pub fn bits(&self) -> u32 {
        self.fma.bits()
    }

    /// Compiles a case and makes its tensors (random, in the case's dtype). Out: its number for [`Turns::best`].
    ///
    /// # Panics
    /// When the compiler refuses, or there is no memory.
    pub fn add(&mut self, case: &Case, plan: Plan) -> usize {
        let bench = Bench::new(case, self.target, plan);
        self.benches.push((bench, None));
        self.benches.len() - 1
    }

    /// Calls every case `rounds` times, in turns.
    ///
    /// # Panics
    /// When a launch is refused.
    pub fn run(&mut self, rounds: usize) -> Ceilings {
        let mut bursts = Vec::new();
        for _ in 0..rounds {
            for (bench, best) in &mut self.benches {
                bursts.push(self.fma.ceiling());
                let (time, executed) = bench.call();
                if best.is_none_or(|b| time < b.time) {
                    *best = Some(Best {
                        time,
                        issued: executed.madds,
                        formula: bench.formula(),
                    });
                }
            }
        }
        bursts.push(self.fma.ceiling());
        Ceilings::of(&bursts)
    }

    /// The best call of a case.
    ///
    /// # Panics
    /// Before [`Turns::run`].
    pub fn best(&self, case: usize) -> Best {
        self.benches[case].1.expect("a run")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_steady_while_no_burst_lies_ten_percent_below_another() {
        for (bursts, steady) in [
            (&[100.0][..], true),
            (&[100.0, 109.0, 104.0], true),
            (&[109.0, 100.0], true),
            (&[100.0, 112.0], false),
            (&[112.0, 100.0], false),
            (&[100.0, 88.0, 100.0], false),
        ] {
            assert_eq!(Ceilings::of(bursts).steady(), steady, "{bursts:?}");
        }
        let c = Ceilings::of(&[3.0, 1.0, 4.0, 2.0]);
        assert_eq!((c.before, c.least, c.most, c.after), (3.0, 1.0, 4.0, 2.0));
    }

    #[test]
    fn a_multiply_add_counts_as_two() {
        let best = Best {
            time: Duration::from_millis(500),
            issued: 1_000_000_000,
            formula: 3_000_000_000,
        };
        assert_eq!((best.issued_rate(), best.formula_rate()), (4.0, 12.0));
    }
}
