// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The verbs: one file each, with its arguments (`...Args`) and `run`.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod cost;
pub(crate) mod emit;
pub(crate) mod explain;
pub(crate) mod explain_code;
pub(crate) mod fmt;
pub(crate) mod hash;
pub(crate) mod lsp;
pub(crate) mod man;
pub(crate) mod plot;
pub(crate) mod run;
mod run_table;
pub(crate) mod targets;
pub(crate) mod tune;

use crate::args::Verb;
use crate::context::Context;
use crate::failure::Failure;

/// Runs the verb.
pub(crate) fn run(verb: Verb, context: &Context) -> Result<(), Failure> {
    match verb {
        Verb::Check(args) => check::run(&args, context),
        Verb::Fmt(args) => fmt::run(&args, context),
        Verb::Emit(args) => emit::run(&args, context),
        Verb::Explain(args) => explain::run(&args, context),
        Verb::Run(args) => run::run(&args, context),
        Verb::Build(args) => build::run(&args, context),
        Verb::Tune(args) => tune::run(&args, context),
        Verb::Targets(args) => targets::run(&args, context),
        Verb::Cache(args) => cache::run(&args, context),
        Verb::ExplainCode(args) => explain_code::run(&args, context),
        Verb::Bench(args) => bench::run(&args, context),
        Verb::Plot(args) => plot::run(&args, context),
        Verb::Cost(args) => cost::run(&args, context),
        Verb::Completions(args) => completions::run(&args, context),
        Verb::Man(args) => man::run(&args, context),
        Verb::Lsp(args) => lsp::run(&args, context),
        Verb::Hash(args) => hash::run(&args, context),
    }
}
