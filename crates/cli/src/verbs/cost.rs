// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc cost`: predict products, bytes and time under each plan, and say which plan is in force and why.

use std::path::PathBuf;

use attnc::cost::{CostReport, PlanCost, estimate};
use attnc::memory::readable;
use attnc::pipeline::{Choices, Plan};
use attnc::{Backend, Compiler, Inputs, Repeats, RowIds, Signature, Source, madds_formula, median};
use attnc_spec::Operator;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::args::CompileArgs;
use crate::bar::Bar;
use crate::choices::{choices, choices_to_run, threads, tuned};
use crate::context::Context;
use crate::count::{count, positive};
use crate::failure::Failure;
use crate::verbs::run_table::milliseconds;

/// Predict products, bytes and time.
#[derive(Debug, clap::Args)]
pub(crate) struct CostArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Sequence length.
    #[arg(long, value_name = "N", value_parser = count)]
    pub(crate) seq_len: u64,
    /// Batch size.
    #[arg(long, value_name = "B", value_parser = positive, default_value = "1")]
    pub(crate) batch: u64,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
    /// Worker threads (default: all).
    #[arg(long, value_name = "T", value_parser = positive)]
    pub(crate) threads: Option<u64>,
    /// Run each plan at this length and show what it took beside what was predicted.
    #[arg(long)]
    pub(crate) measure: bool,
    /// Leave times out: nothing runs, and the output is the same on every machine.
    #[arg(long, conflicts_with = "measure")]
    pub(crate) no_time: bool,
    /// One JSON object on standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Multiply-adds by formula of the short run that predictions are scaled from.
const SHORT_RUN: u128 = 1 << 32;

/// Times of one plan on this machine.
#[derive(Clone, Debug, Default, Serialize)]
struct Timed {
    plan: String,
    /// The length of the short run.
    short_seq_len: u64,
    /// Its rate: multiply-adds as issued, two operations each.
    short_gflops_executed: f64,
    /// Its time, scaled by the estimated multiply-adds of both lengths.
    predicted_ms: f64,
    #[serde(flatten)]
    measured: Option<MeasuredRun>,
}

#[derive(Clone, Debug, Serialize)]
struct MeasuredRun {
    measured_ms: f64,
    madds_executed: u128,
    peak_extra_bytes: u64,
}

#[derive(Serialize)]
struct Full {
    #[serde(flatten)]
    report: CostReport,
    threads: u64,
    times: Vec<Timed>,
}

/// Reports what a length costs.
pub(crate) fn run(args: &CostArgs, context: &Context) -> Result<(), Failure> {
    let choices = choices(&args.compile)?;
    let op = context.operator(&args.file)?;
    let choices = tuned(context, &args.compile, &args.file, &op, choices)?;
    // A machine that lacks the target has no times to tell; asked to measure there, it says what is missing.
    let here = choices_to_run(&args.compile);
    let runs = match (args.measure, here) {
        (true, here) => {
            here?;
            Inputs::check(&Signature::from(&*op), args.batch, args.seq_len)?;
            true
        }
        (false, here) => here.is_ok() && !args.no_time && args.seq_len > 0,
    };
    let report = estimate(&op, &choices, args.batch, args.seq_len)?;
    let threads = threads(args.threads);
    let mut times = Vec::new();
    if runs {
        for plan in plans(&report) {
            times.push(timed(args, context, &op, &choices, plan, threads)?);
        }
    }
    let full = Full {
        report,
        threads: threads as u64,
        times,
    };
    if args.json {
        let line = serde_json::to_string(&full)
            .map_err(|error| Failure::Stdout(std::io::Error::other(error)))?;
        context.print(&(line + "\n"))
    } else {
        context.print(&render(&op, &full))
    }
}

/// The plan in force and those beside it, each once.
fn plans(r: &CostReport) -> Vec<&PlanCost> {
    let mut all = vec![&r.chosen];
    for other in [&r.share, &r.each] {
        if all.iter().all(|p| p.groups != other.groups) {
            all.push(other);
        }
    }
    all
}

/// The longest power of two up to `seq_len` (or that itself) whose run is short.
fn short_length(op: &Operator, seq_len: u64) -> u64 {
    let mut n = seq_len.max(1);
    while n > 64 && madds_formula(op, 1, n) > SHORT_RUN {
        n = n.next_power_of_two() / 2;
    }
    n
}

fn timed(
    args: &CostArgs,
    context: &Context,
    op: &Operator,
    choices: &Choices,
    plan: &PlanCost,
    threads: usize,
) -> Result<Timed, Failure> {
    let choices = Choices {
        plan: match plan.plan.as_str() {
            "share" => Plan::Share,
            "each" => Plan::Each,
            _ => Plan::Auto,
        },
        ..choices.clone()
    };
    let signature = Signature::from(op);
    let engine = Compiler::with(choices.clone()).engine(&Source::from(op), Backend::Cpu)?;
    let measure = |batch, n, seconds| {
        let inputs = Inputs::generate(&signature, batch, n, 0)?;
        let repeats = Repeats { most: 3, seconds };
        let rows = RowIds::new(inputs.batch, op.heads, inputs.seq_len).len();
        let bar = Bar::new(
            context,
            plan.plan.clone(),
            rows.saturating_mul(1 + repeats.most),
        );
        let advance = |done| bar.advance(done);
        let y = attnc::measure(&*engine, &signature, &inputs, threads, repeats, &advance)?;
        Ok::<_, Failure>((median(&y.run_ms), y.executed))
    };
    let n = short_length(op, args.seq_len);
    let (ms, executed) = measure(1, n, 1.0)?;
    // The count's own ratio between the lengths.
    let short = estimate(op, &choices, 1, n)?.chosen.madds;
    let measured = if args.measure {
        let (measured_ms, executed) = measure(args.batch, args.seq_len, 10.0)?;
        Some(MeasuredRun {
            measured_ms,
            madds_executed: executed.madds,
            peak_extra_bytes: executed.peak_extra_bytes,
        })
    } else {
        None
    };
    Ok(Timed {
        plan: plan.plan.clone(),
        short_seq_len: n,
        short_gflops_executed: 2.0 * executed.madds as f64 / ms.max(1e-6) / 1e6,
        predicted_ms: ms * plan.madds as f64 / short.max(1) as f64,
        measured,
    })
}

fn table() -> Table {
    let mut table = Table::new();
    table.force_no_tty().load_style(presets::NOTHING);
    table
}

fn text(table: &Table) -> String {
    table
        .lines()
        .map(|l| l.strip_prefix(' ').unwrap_or(&l).trim_end().to_owned() + "\n")
        .collect()
}

/// `1234567 (1.23e6, 0.87 of the formula)`, shortened.
fn products(madds: u128, formula: u128) -> String {
    if formula == 0 {
        return format!("{:.3e}", madds as f64);
    }
    format!(
        "{:.3e}  ({:.2} x formula)",
        madds as f64,
        madds as f64 / formula as f64
    )
}

fn render(op: &Operator, full: &Full) -> String {
    let r = &full.report;
    let causal = if op.causal { ", causal" } else { "" };
    let about = if r.pairs_exact {
        ""
    } else {
        ", from a sample of rows"
    };
    let mut head = table();
    for (key, value) in [
        (
            "operator",
            format!(
                "{} ({}, {} heads of {}{causal}) for {}",
                op.name,
                op.dtype.name(),
                op.heads,
                op.head_dim,
                r.target
            ),
        ),
        ("seq_len", format!("{}, batch {}", r.seq_len, r.batch)),
        (
            "tensors",
            format!("{} (q, k, v, out, lse)", readable(r.tensor_bytes)),
        ),
        ("by formula", format!("{} multiply-adds", r.madds_formula)),
        (
            "shown",
            format!(
                "{} (every branch by itself{about})",
                products(r.madds_shown, r.madds_formula)
            ),
        ),
        (
            "distinct",
            format!(
                "{} (every pair once{about})",
                products(r.madds_distinct, r.madds_formula)
            ),
        ),
        ("plan", format!("{}: {}", r.chosen.plan, r.why)),
    ] {
        head.add_row([key.to_owned(), value]);
    }
    let plans = plans(r);
    let mut body = table();
    let row = |name: &str, of: &dyn Fn(&PlanCost) -> String| {
        let mut cells = vec![name.to_owned()];
        cells.extend(plans.iter().map(|p| of(p)));
        cells
    };
    body.set_header(row("", &|p| {
        let mark = if p.groups == r.chosen.groups {
            " (in force)"
        } else {
            ""
        };
        format!("{}{mark}", p.plan)
    }));
    body.add_row(row("groups", &groups));
    body.add_row(row("products issued", &|p| {
        products(p.madds, r.madds_formula)
    }));
    body.add_row(row("bytes moved", &|p| readable(p.bytes_moved)));
    body.add_row(row("workspace", &|p| {
        format!("{} a thread", readable(u128::from(p.workspace_bytes)))
    }));
    let time = |p: &PlanCost| full.times.iter().find(|t| t.plan == p.plan);
    let of = |p: &PlanCost, say: &dyn Fn(&Timed) -> String| time(p).map(say).unwrap_or_default();
    if !full.times.is_empty() {
        body.add_row(row("time predicted", &|p| {
            of(p, &|t| milliseconds(t.predicted_ms))
        }));
    }
    let measured = |p: &PlanCost, say: &dyn Fn(&MeasuredRun) -> String| {
        time(p)
            .and_then(|t| t.measured.as_ref())
            .map(say)
            .unwrap_or_default()
    };
    if full.times.iter().any(|t| t.measured.is_some()) {
        body.add_row(row("time measured", &|p| {
            measured(p, &|m| milliseconds(m.measured_ms))
        }));
        body.add_row(row("products measured", &|p| {
            measured(p, &|m| products(m.madds_executed, r.madds_formula))
        }));
        body.add_row(row("workspace measured", &|p| {
            measured(p, &|m| {
                format!(
                    "{} for {} threads",
                    readable(u128::from(m.peak_extra_bytes)),
                    full.threads
                )
            })
        }));
    }
    let mut out = text(&head) + "\n" + &text(&body);
    out.push_str("\nProducts issued are counted along the schedule, bytes moved are the cost model's estimate");
    out.push_str(match full.times.first() {
        None => ".\n",
        Some(_) => "; predicted times scale a short run on this machine:\n",
    });
    for t in &full.times {
        out.push_str(&format!(
            "  {}: {:.1} GFLOP/s issued at N = {}\n",
            t.plan, t.short_gflops_executed, t.short_seq_len
        ));
    }
    out
}

/// Groups of branches, shortened.
fn groups(p: &PlanCost) -> String {
    const SHOWN: usize = 6;
    let count = match p.groups.len() {
        1 => "1 group".to_owned(),
        n => format!("{n} groups"),
    };
    let shown: Vec<String> = p.groups.iter().take(SHOWN).map(|g| g.join(" ")).collect();
    let more = if p.groups.len() > SHOWN { "\n..." } else { "" };
    format!("{count}:\n{}{more}", shown.join("\n"))
}
