// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Figures with goals as a Markdown table: what was measured, what it is compared with, and whether that reaches the goal.
//!
//! In: the best calls of cases, the ceilings of the run, what to hold them against. Out: text, and the machine's name.

use std::fmt::Write;

use attnc::machine::cpu_model;

use crate::{Best, Ceilings};

/// What a figure is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Goal {
    fn reached(self, value: f64) -> bool {
        match self {
            Goal::AtLeast(least) => value >= least,
            Goal::AtMost(most) => value <= most,
        }
    }
}

/// A ratio.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The ratio.
    pub value: f64,
    /// What it is a part or a multiple of.
    pub of: String,
    /// What it is to reach, if anything.
    pub goal: Option<Goal>,
}

/// A case, its best call, and the figures that come of it.
#[derive(Clone, Debug)]
pub struct Line {
    /// The case.
    pub what: String,
    /// Its best call.
    pub best: Best,
    /// What it is compared with.
    pub figures: Vec<Figure>,
}

/// The table of a run's lines under a title, with what must be known to read it: the best of `calls` calls each, `bits` of the vectors. After
/// one call, or where the ceilings differ too much, nothing is said to be reached or missed.
pub fn table(title: &str, bits: u32, ceilings: &Ceilings, calls: usize, lines: &[Line]) -> String {
    let claims = ceilings.steady() && calls > 1;
    let mut text = format!(
        "### {title}\n\n{}. One thread, best of {calls} calls in turns; {bits}-bit f32 ceiling {:.1} GFLOP/s before, {:.1} after, {:.1} to {:.1} meanwhile.\n",
        machine(),
        ceilings.before,
        ceilings.after,
        ceilings.least,
        ceilings.most,
    );
    if calls == 1 {
        text += "No claim: one call of each case, to see that they run.\n";
    } else if !ceilings.steady() {
        text += "No claim: the ceilings of the run differ by more than 10 %; repeat it on a quiet machine.\n";
    }
    text += "\n| case | best call | GFLOP/s issued | part of the ceiling | by formula | figure | goal | |\n|---|---|---|---|---|---|---|---|\n";
    for line in lines {
        let rate = line.best.issued_rate();
        let mut cells = format!(
            "| {} | {:.1} ms | {rate:.1} | {:.1} % | {:.1} |",
            line.what,
            line.best.time.as_secs_f64() * 1e3,
            100.0 * rate / ceilings.most,
            line.best.formula_rate(),
        );
        if line.figures.is_empty() {
            let _ = writeln!(text, "{cells} | | |");
        }
        for f in &line.figures {
            let (goal, verdict) = match f.goal {
                None => (String::new(), ""),
                Some(goal) => (said(goal), verdict(goal, f.value, claims)),
            };
            let _ = writeln!(
                text,
                "{cells} {:.2} of {} | {goal} | {verdict} |",
                f.value, f.of
            );
            // The figures that follow are of the same call.
            cells = "| | | | | |".to_string();
        }
    }
    text
}

fn said(goal: Goal) -> String {
    match goal {
        Goal::AtLeast(x) => format!("{x:.2}"),
        Goal::AtMost(x) => format!("at most {x:.2}"),
    }
}

fn verdict(goal: Goal, value: f64, claims: bool) -> &'static str {
    match (claims, goal.reached(value)) {
        (false, _) => "no claim",
        (true, true) => "reached",
        (true, false) => "missed",
    }
}

/// The processor and which of the instructions it has that matter here, as `benches/peers` names machines.
pub fn machine() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    named(&cpu_model(), &told)
}

/// The same from the text of `/proc/cpuinfo`.
fn named(model: &str, cpuinfo: &str) -> String {
    const SHOWN: [&str; 5] = ["avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16"];
    let of = |key: &str| {
        let mut lines = cpuinfo.lines().filter_map(|l| l.split_once(':'));
        let found = lines.find(|(k, _)| k.trim() == key);
        found.map_or("", |(_, value)| value.trim())
    };
    let flags: Vec<&str> = of("flags").split_whitespace().collect();
    let has: Vec<&str> = SHOWN.into_iter().filter(|f| flags.contains(f)).collect();
    let family = match of("cpu family") {
        "" => String::new(),
        family => format!(", family {family}"),
    };
    format!("{model}{family} ({})", has.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ceilings(least: f64) -> Ceilings {
        Ceilings {
            before: 100.0,
            least,
            most: 100.0,
            after: 99.0,
        }
    }

    fn line(values: &[(f64, Option<Goal>)]) -> Line {
        let figure = |(value, goal): &(f64, Option<Goal>)| Figure {
            value: *value,
            of: "one".to_string(),
            goal: *goal,
        };
        Line {
            what: "two".to_string(),
            best: Best {
                time: Duration::from_secs(1),
                issued: 40_000_000_000,
                formula: 60_000_000_000,
            },
            figures: values.iter().map(figure).collect(),
        }
    }

    fn rows(text: &str) -> Vec<&str> {
        let mut rows = text.lines().skip_while(|l| !l.starts_with("|---"));
        rows.next();
        rows.collect()
    }

    #[test]
    fn goals_are_reached_or_missed_at_their_bounds() {
        let lines = [line(&[
            (0.8, Some(Goal::AtLeast(0.8))),
            (0.79, Some(Goal::AtLeast(0.8))),
            (1.15, Some(Goal::AtMost(1.15))),
            (1.16, Some(Goal::AtMost(1.15))),
            (3.0, None),
        ])];
        let text = table("t", 256, &ceilings(95.0), 6, &lines);
        let first = "| two | 1000.0 ms | 80.0 | 80.0 % | 120.0 | 0.80 of one | 0.80 | reached |";
        assert_eq!(
            rows(&text),
            [
                first,
                "| | | | | | 0.79 of one | 0.80 | missed |",
                "| | | | | | 1.15 of one | at most 1.15 | reached |",
                "| | | | | | 1.16 of one | at most 1.15 | missed |",
                "| | | | | | 3.00 of one |  |  |",
            ]
        );
        assert!(!text.contains("No claim"), "{text}");
        assert!(text.contains("100.0 GFLOP/s before, 99.0 after"), "{text}");
    }

    #[test]
    fn nothing_is_claimed_of_an_unsteady_run_or_of_one_call() {
        let lines = [line(&[(0.8, Some(Goal::AtLeast(0.8)))]), line(&[])];
        for (least, calls, why) in [(80.0, 6, "differ by more than 10 %"), (95.0, 1, "one call")] {
            let text = table("t", 256, &ceilings(least), calls, &lines);
            assert!(text.contains(why), "{text}");
            let rows = rows(&text);
            assert!(rows[0].ends_with("| 0.80 | no claim |"), "{text}");
            assert_eq!(rows[1].matches('|').count(), rows[0].matches('|').count());
        }
    }

    #[test]
    fn a_machine_has_a_family_and_what_matters_of_its_flags() {
        let cpuinfo = "cpu family\t: 25\nflags\t\t: fpu avx2 fma avx512_bf16 amx_bf16x\n";
        assert_eq!(named("X", cpuinfo), "X, family 25 (avx2, fma, avx512_bf16)");
        assert_eq!(named("ARM", ""), "ARM ()");
    }
}
