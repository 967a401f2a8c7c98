// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The whole surface of the command line. Each verb's own arguments stand in its file under `verbs/`.

use std::path::PathBuf;

use attnc::pipeline::Plan;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::count::count;
use crate::verbs::{
    bench, build, cache, check, completions, cost, emit, explain, explain_code, fmt, hash, lsp,
    man, plot, run, targets, tune,
};

/// Version, commit and features of this build, for `--version`; `-V` prints the first line.
pub(crate) const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("ATTNC_COMMIT"),
    "\nfeatures: default"
);

/// A compiler for long-sequence attention operators.
#[derive(Debug, Parser)]
#[command(name = "attnc", version = env!("CARGO_PKG_VERSION"), long_version = VERSION, color = clap::ColorChoice::Never, term_width = 100)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = false
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs, in the order of the compiler's stages.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Parse and check; print diagnostics.
    Check(check::CheckArgs),
    /// Format in place.
    Fmt(fmt::FmtArgs),
    /// Print one stage of the compiler.
    Emit(emit::EmitArgs),
    /// Show the rewrites that were applied, as a checked proof, and what each saved.
    Explain(explain::ExplainArgs),
    /// Compile and run on real or generated tensors.
    Run(run::RunArgs),
    /// Compile ahead of time to objects, headers and manifests.
    Build(build::BuildArgs),
    /// Search schedules by measurement.
    Tune(tune::TuneArgs),
    /// List the targets this build knows and which of them this machine runs.
    Targets(targets::TargetsArgs),
    /// The kernel cache.
    Cache(cache::CacheArgs),
    /// Print the page about a diagnostic.
    ExplainCode(explain_code::ExplainCodeArgs),
    /// Measure over sequence lengths.
    Bench(bench::BenchArgs),
    /// Draw the pattern of visible keys.
    Plot(plot::PlotArgs),
    /// Predict products, bytes and time.
    Cost(cost::CostArgs),
    /// Speak the language server protocol.
    Lsp(lsp::LspArgs),
    /// Print a script that completes commands in a shell.
    Completions(completions::CompletionsArgs),
    /// Write manual pages.
    Man(man::ManArgs),
    /// Print the content hash.
    Hash(hash::HashArgs),
}

/// Options that every verb takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The attention meant (default: the file's first).
    #[arg(
        long,
        global = true,
        value_name = "OP",
        help_heading = "Common options"
    )]
    pub(crate) name: Option<String>,
    /// How diagnostics are printed on standard error; json: one object a line.
    #[arg(long, global = true, value_enum, default_value_t = ErrorFormat::Text, help_heading = "Common options")]
    pub(crate) error_format: ErrorFormat,
    /// Treat warnings as failures.
    #[arg(long, global = true, help_heading = "Common options")]
    pub(crate) deny_warnings: bool,
    /// Colour in diagnostics (auto: when standard error is a terminal and NO_COLOR is not set).
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, help_heading = "Common options")]
    pub(crate) color: Color,
    /// Say more (-vv, -vvv: still more). ATTNC_LOG sets a filter instead.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Common options")]
    pub(crate) verbose: u8,
    /// Say nothing but errors.
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Common options"
    )]
    pub(crate) quiet: bool,
}

/// Form of diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ErrorFormat {
    /// For people.
    Text,
    /// For tools.
    Json,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// If standard error is a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Targets by name. What a build can do with each is the business of `targets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum TargetName {
    /// The best target that this build has and this machine runs.
    Native,
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "x86_64-v3")]
    X86_64V3,
    #[value(name = "x86_64-v4")]
    X86_64V4,
    #[value(name = "x86_64-amx")]
    X86_64Amx,
    #[value(name = "aarch64")]
    Aarch64,
    #[value(name = "sm_80")]
    Sm80,
    #[value(name = "sm_86")]
    Sm86,
    #[value(name = "sm_89")]
    Sm89,
    #[value(name = "sm_90")]
    Sm90,
    #[value(name = "sm_90a")]
    Sm90a,
    #[value(name = "sm_100")]
    Sm100,
    #[value(name = "sm_120")]
    Sm120,
}

impl TargetName {
    /// The name as written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            TargetName::Native => "native",
            TargetName::X86_64 => "x86_64",
            TargetName::X86_64V3 => "x86_64-v3",
            TargetName::X86_64V4 => "x86_64-v4",
            TargetName::X86_64Amx => "x86_64-amx",
            TargetName::Aarch64 => "aarch64",
            TargetName::Sm80 => "sm_80",
            TargetName::Sm86 => "sm_86",
            TargetName::Sm89 => "sm_89",
            TargetName::Sm90 => "sm_90",
            TargetName::Sm90a => "sm_90a",
            TargetName::Sm100 => "sm_100",
            TargetName::Sm120 => "sm_120",
        }
    }
}

/// How branches share work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanChoice {
    /// By padded work at the target's tile sizes.
    Auto,
    /// Score keys that several branches see once.
    Share,
    /// Every branch on its own.
    Each,
}

/// The strategy asked for.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct PlanArgs {
    /// Force a strategy (default auto); what cannot be shared runs as `each`, with a note.
    #[arg(long, value_enum, conflicts_with = "tune")]
    pub(crate) plan: Option<PlanChoice>,
}

impl PlanArgs {
    /// As the library names it.
    pub(crate) fn plan(self) -> Plan {
        match self.plan {
            None | Some(PlanChoice::Auto) => Plan::Auto,
            Some(PlanChoice::Share) => Plan::Share,
            Some(PlanChoice::Each) => Plan::Each,
        }
    }
}

/// Options of the verbs that compile: which target, which strategy, which rules to leave out.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompileArgs {
    /// Target to compile for.
    #[arg(long, value_enum, value_name = "T", default_value_t = TargetName::Native)]
    pub(crate) target: TargetName,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Leave a rewrite rule out (repeatable). Results stay right.
    #[arg(long, value_name = "RULE", conflicts_with = "tune")]
    pub(crate) without: Vec<String>,
    #[command(flatten)]
    pub(crate) tuning: TuneFileArgs,
}

/// Which tune file the verbs that compile read.
#[derive(Clone, Debug, Args)]
pub(crate) struct TuneFileArgs {
    /// Take plan and sizes of the schedule from this file of `attnc tune`, instead of the one that stands beside FILE.attn as
    /// FILE.tune.toml. What was measured for another operator, target, machine or compiler is not used, with a warning. With --plan or
    /// --without no tune file is read.
    #[arg(long, value_name = "FILE.tune.toml")]
    pub(crate) tune: Option<PathBuf>,
    /// Read no tune file: the default schedule.
    #[arg(long, conflicts_with = "tune")]
    pub(crate) no_tune: bool,
}

/// Where the tensors of `run` come from.
#[derive(Clone, Debug, Args)]
pub(crate) struct TensorArgs {
    /// Sequence length of generated tensors. Counts accept suffixes: 32k is 32768.
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true, required_unless_present = "input")]
    pub(crate) seq_len: Option<u64>,
    /// Batch size of generated tensors (default 1).
    #[arg(long, value_name = "B", value_parser = count, allow_negative_numbers = true)]
    pub(crate) batch: Option<u64>,
    /// Seed of generated tensors (default 0).
    #[arg(long, value_name = "S", value_parser = count, allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
    /// Tensors `q` [B,N,H,D], `k` and `v` [B,N,H_kv,D] to read.
    #[arg(long, value_name = "FILE.safetensors", conflicts_with_all = ["seq_len", "batch", "seed"])]
    pub(crate) input: Option<PathBuf>,
}
