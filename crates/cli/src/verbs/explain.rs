// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc explain`: show the rewrites that were applied, as a checked proof.

use std::fmt::Write;
use std::path::PathBuf;

use attnc::pipeline;
use attnc::pipeline::{Cost, Optimized};

use crate::args::CompileArgs;
use crate::choices::{choices, tuned};
use crate::context::Context;
use crate::failure::Failure;

/// Show the rewrites that were applied, as a checked proof.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
}

/// Prints the unfused graph, the steps of egg's checked proof, the fused graph, and what each rule saved.
pub(crate) fn run(args: &ExplainArgs, context: &Context) -> Result<(), Failure> {
    let choices = choices(&args.compile)?;
    let operator = context.operator(&args.file)?;
    let mut choices = tuned(context, &args.compile, &args.file, &operator, choices)?;
    choices.proof = true;
    let graph = pipeline::graph(&operator)?;
    let fused = pipeline::fuse(&graph, &choices)?;
    let bytes = operator.dtype.bytes() as u64;
    let mut text = attnc_graph::print(&graph);
    let count = fused.proof.len();
    let _ = writeln!(
        text,
        "\n{count} steps, checked by egg, each with what it saves of the whole:"
    );
    for (i, step) in fused.proof.iter().enumerate() {
        let saved = Saving::of(step.cost_before, step.cost_after, bytes);
        let back = if step.backward {
            " (from right to left)"
        } else {
            ""
        };
        let _ = write!(
            text,
            "\n{}. {}{back}: {saved}\n   {}\n=> {}\n",
            i + 1,
            step.rule,
            step.before,
            step.after
        );
    }
    text.push('\n');
    text.push_str(&attnc_graph::print(&fused.graph));
    text.push_str(&summary(&fused, bytes));
    context.print(&text)
}

/// A line for each rule that was applied, and their sum: the difference between the ends.
fn summary(fused: &Optimized, bytes: u64) -> String {
    let mut text = format!(
        "\nsaved by rule, estimated for one head at N = {}:\n",
        pipeline::NOMINAL_N
    );
    for rule in pipeline::rules() {
        let steps: Vec<_> = fused.proof.iter().filter(|s| s.rule == rule.name).collect();
        if !steps.is_empty() {
            let sum = steps.iter().fold(Saving::default(), |sum, s| {
                sum.and(Saving::of(s.cost_before, s.cost_after, bytes))
            });
            let _ = writeln!(
                text,
                "  {:<14} {:>3} x  {sum}   {}",
                rule.name,
                steps.len(),
                rule.theorem
            );
        }
    }
    let (before, after) = (fused.cost_before, fused.cost_after);
    let _ = writeln!(
        text,
        "  {:<14}        {}\nproducts {} -> {}, bytes {} -> {}",
        "together",
        Saving::of(before, after, bytes),
        before.products,
        after.products,
        before.elements.saturating_mul(bytes),
        after.elements.saturating_mul(bytes),
    );
    text
}

/// What a step saves; negative where it costs.
#[derive(Clone, Copy, Debug, Default)]
struct Saving {
    products: i128,
    bytes: i128,
}

impl Saving {
    fn of(before: Cost, after: Cost, bytes: u64) -> Saving {
        let less = |a: u64, b: u64| i128::from(a) - i128::from(b);
        Saving {
            products: less(before.products, after.products),
            bytes: less(before.elements, after.elements) * i128::from(bytes),
        }
    }
    fn and(self, other: Saving) -> Saving {
        Saving {
            products: self.products + other.products,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl std::fmt::Display for Saving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} products, {} bytes", self.products, self.bytes)
    }
}
