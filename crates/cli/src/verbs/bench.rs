// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc bench`: measure over sequence lengths; a row (or a JSON object) a length as soon as it is known, and a picture at the end.

use std::fmt::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use attnc::memory::readable;
use attnc::tune::Tuning;
use attnc::{
    Backend, Compiler, Facts, Inputs, Repeats, RowIds, RunReport, Signature, Source, Worker,
};
use serde::Serialize;

use crate::args::CompileArgs;
use crate::bar::Bar;
use crate::choices::{choices_to_run, tell_tuning, threads, tune_file};
use crate::context::Context;
use crate::count::{CountError, count, positive};
use crate::draw::measures::{BenchDrawing, Measured};
use crate::draw::{Form, render};
use crate::failure::Failure;
use crate::output;

/// Measure over sequence lengths.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Sequence lengths: a list (`1k,4k`), ranges that double (`1k..1M`; the end is always measured), or both.
    #[arg(long, value_name = "LENGTHS")]
    pub(crate) seq_len: Lengths,
    /// Batch size.
    #[arg(long, value_name = "B", value_parser = positive, default_value = "1")]
    pub(crate) batch: u64,
    /// Seed of the tensors.
    #[arg(long, value_name = "S", value_parser = count, default_value = "0")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
    /// Worker threads: a number, a list (`1,2,3`) or a range that doubles (`1..8`); each length is measured with each, and the speed-up
    /// over the first is shown (default: all).
    #[arg(long, value_name = "THREADS")]
    pub(crate) threads: Option<Lengths>,
    /// Timed calls a length, of which the median counts, after one that warms up [default: up to 5, fewer beyond 10 seconds].
    #[arg(long, value_name = "R", value_parser = positive)]
    pub(crate) repeat: Option<u64>,
    /// One JSON object a length instead of the table: what `run --json` prints, `ns_per_token`, `gflops_executed`, `tensor_bytes`,
    /// `speedup` over the first number of threads and `workers` with `tasks`, `madds` and `busy_ms` of each in the last call.
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw time a token, rate and memory over the length.
    #[arg(long, value_name = "OUT.svg|png")]
    pub(crate) plot: Option<PathBuf>,
}

/// Sequence lengths, or numbers of threads, in the order asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lengths(Vec<u64>);

/// Lengths of one bench at most.
const MAX_LENGTHS: usize = 256;

/// Why a text is no list of lengths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LengthsError {
    /// A count that is none.
    #[error(transparent)]
    Count(#[from] CountError),
    /// A range that starts behind its end.
    #[error("the range `{0}` ends before it starts")]
    Backward(String),
    /// Too many.
    #[error("more than {MAX_LENGTHS} of them")]
    TooMany,
}

impl FromStr for Lengths {
    type Err = LengthsError;

    fn from_str(text: &str) -> Result<Lengths, LengthsError> {
        let mut all = Vec::new();
        for item in text.split(',') {
            match item.split_once("..") {
                None => all.push(positive(item)?),
                Some((from, to)) => {
                    let (mut n, to) = (positive(from)?, positive(to)?);
                    if n > to {
                        return Err(LengthsError::Backward(item.to_owned()));
                    }
                    while n < to {
                        all.push(n);
                        n = n.saturating_mul(2);
                    }
                    all.push(to);
                }
            }
        }
        if all.len() > MAX_LENGTHS {
            return Err(LengthsError::TooMany);
        }
        Ok(Lengths(all))
    }
}

/// What is printed of a length.
#[derive(Serialize)]
struct Point {
    #[serde(flatten)]
    run: RunReport,
    /// Median nanoseconds for each of the B N tokens.
    ns_per_token: f64,
    /// 2 * madds_executed / run time / 1e9.
    gflops_executed: f64,
    /// Bytes of q, k, v, out and lse.
    tensor_bytes: u128,
    /// Median time of the first number of threads at this length, over this one's.
    speedup: f64,
    /// What each worker did in the last call.
    workers: Vec<Worker>,
}

impl Point {
    fn new(run: RunReport, s: &Signature, first_ms: f64, workers: Vec<Worker>) -> Point {
        Point {
            speedup: first_ms / run.run_ms,
            workers,
            ns_per_token: run.run_ms * 1e6 / (run.batch * run.seq_len) as f64,
            gflops_executed: 2.0 * run.madds_executed as f64 / (run.run_ms / 1e3) / 1e9,
            tensor_bytes: s.bytes(run.batch, run.seq_len),
            run,
        }
    }

    /// Part of the last call that workers were in generated code: the least and the most busy one.
    fn busy(&self) -> Option<(f64, f64)> {
        let last = *self.run.run_ms_all.last()?;
        let all = self.workers.iter().map(|w| w.busy_ms / last);
        let (least, most) = all.fold((f64::INFINITY, 0.0), |(a, b), t| {
            (f64::min(a, t), f64::max(b, t))
        });
        least.is_finite().then_some((least, most))
    }

    fn spread(&self) -> (f64, f64) {
        let all = self.run.run_ms_all.iter().copied();
        all.fold((f64::INFINITY, 0.0), |(a, b), t| (a.min(t), f64::max(b, t)))
    }

    fn measured(&self) -> Measured {
        let tokens = (self.run.batch * self.run.seq_len) as f64;
        let (least, most) = self.spread();
        let tensors = self.tensor_bytes as f64;
        Measured {
            seq_len: self.run.seq_len,
            ns: [self.ns_per_token, least * 1e6 / tokens, most * 1e6 / tokens],
            rate: self.run.gflops.unwrap_or(0.0),
            bytes: [tensors, tensors + self.run.peak_extra_bytes as f64],
        }
    }
}

/// Measures every length.
pub(crate) fn run(args: &BenchArgs, context: &Context) -> Result<(), Failure> {
    let choices = choices_to_run(&args.compile)?;
    let form = args.plot.as_deref().map(Form::of).transpose()?;
    let op = context.operator(&args.file)?;
    let signature = Signature::from(&*op);
    // Everything that can be refused is refused before the first measurement.
    for n in &args.seq_len.0 {
        Inputs::check(&signature, args.batch, *n)?;
    }
    if let Some(path) = &args.plot {
        output::check_writable(path)?;
    }
    let tune = tune_file(context, &args.compile.tuning, &args.file)?;
    let start = Instant::now();
    let mut compiler = Compiler::with(choices);
    if let Some((_, file)) = &tune {
        compiler = compiler.tune_file(file.clone());
    }
    let engine = compiler.engine(&Source::from(&*op), Backend::Cpu)?;
    let compile_ms = start.elapsed().as_secs_f64() * 1e3;
    engine.notes().iter().for_each(|note| context.note(note));
    if let Some((path, _)) = &tune {
        tell_tuning(
            context,
            &args.compile.tuning,
            path,
            &op.name,
            engine.tuning(),
        );
    }
    let counts = match &args.threads {
        Some(Lengths(counts)) => counts.iter().map(|n| Some(*n)).collect(),
        None => vec![None],
    };
    let counts: Vec<usize> = counts.into_iter().map(threads).collect();
    let repeats = Repeats {
        most: args.repeat.unwrap_or(5),
        seconds: args.repeat.map_or(10.0, |_| f64::INFINITY),
    };
    let plan = match engine.tuning() {
        Tuning::Used => "tuned",
        Tuning::Off | Tuning::Nothing | Tuning::Stale(_) | Tuning::Refused(_) => {
            args.compile.plan.plan().name()
        }
    };
    let list: Vec<String> = counts.iter().map(usize::to_string).collect();
    let what = format!(
        "{}, kernel {}, plan {plan}, {} thread{}, batch {}",
        engine.target(),
        engine.kernel(),
        list.join(", "),
        if counts == [1] { "" } else { "s" },
        args.batch,
    );
    if !args.json {
        context.print(&heading(&op, &what))?;
    }
    let mut points = Vec::new();
    for (i, n) in args.seq_len.0.iter().enumerate() {
        let inputs = Inputs::generate(&signature, args.batch, *n, args.seed)?;
        let rows = RowIds::new(inputs.batch, op.heads, inputs.seq_len).len();
        let mut first_ms = None;
        for (j, threads) in counts.iter().copied().enumerate() {
            let name = format!("N = {n} ({} of {})", i + 1, args.seq_len.0.len());
            let bar = Bar::new(context, name, rows.saturating_mul(repeats.most + 1));
            let advance = |done| bar.advance(done);
            let outcome =
                attnc::measure(&*engine, &signature, &inputs, threads, repeats, &advance)?;
            bar.clear();
            let report = RunReport::new(Facts {
                signature: &signature,
                inputs: &inputs,
                engine: &*engine,
                backend: Backend::Cpu,
                threads,
                compile_ms,
                outcome: &outcome,
                madds_formula: Some(attnc::madds_formula(&op, args.batch, *n)),
                verified: None,
            });
            let first_ms = *first_ms.get_or_insert(report.run_ms);
            let point = Point::new(report, &signature, first_ms, outcome.executed.workers);
            context.print(&if args.json {
                serde_json::to_string(&point)
                    .map_err(|error| Failure::Stdout(std::io::Error::other(error)))?
                    + "\n"
            } else {
                row(&point)
            })?;
            // The picture is of one number of threads, the last.
            if j + 1 == counts.len() {
                points.push(point.measured());
            }
        }
    }
    match (&args.plot, form) {
        (Some(path), Some(form)) => {
            let drawing = BenchDrawing {
                title: op.name.clone(),
                subtitle: format!("{}  ·  {what}", shape(&op)),
                points,
            };
            output::write(path, &render(&drawing, form)?)
        }
        (None, _) | (_, None) => Ok(()),
    }
}

fn shape(op: &attnc_spec::Operator) -> String {
    let causal = if op.causal { ", causal" } else { "" };
    format!(
        "{}, {} heads of {}{causal}",
        op.dtype.name(),
        op.heads,
        op.head_dim
    )
}

/// Widths of the columns.
const COLUMNS: [(&str, usize); 12] = [
    ("N", 9),
    ("threads", 9),
    ("time", 11),
    ("fastest", 11),
    ("slowest", 11),
    ("ns/token", 10),
    ("GFLOP/s", 9),
    ("issued", 9),
    ("speed-up", 10),
    ("busy", 11),
    ("tensors", 11),
    ("extra", 11),
];

fn line(cells: &[String; 12]) -> String {
    let mut text = String::new();
    for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
        let _ = write!(text, "{cell:>width$}");
    }
    text.push('\n');
    text
}

fn heading(op: &attnc_spec::Operator, what: &str) -> String {
    let names = COLUMNS.map(|(name, _)| name.to_owned());
    format!("{} ({}) on {what}\n{}", op.name, shape(op), line(&names))
}

fn row(p: &Point) -> String {
    let (least, most) = p.spread();
    let busy = p.busy().map_or(String::new(), |(least, most)| {
        format!("{:.0}-{:.0} %", 100.0 * least, 100.0 * most)
    });
    line(&[
        p.run.seq_len.to_string(),
        p.run.threads.to_string(),
        super::run_table::milliseconds(p.run.run_ms),
        super::run_table::milliseconds(least),
        super::run_table::milliseconds(most),
        format!("{:.0}", p.ns_per_token),
        format!("{:.1}", p.run.gflops.unwrap_or(f64::NAN)),
        format!("{:.1}", p.gflops_executed),
        format!("{:.2}", p.speedup),
        busy,
        readable(p.tensor_bytes),
        readable(u128::from(p.run.peak_extra_bytes)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_lists_and_ranges_that_double() {
        for (text, want) in [
            ("1k", vec![1024]),
            ("1k,4k", vec![1024, 4096]),
            ("1k..8k", vec![1024, 2048, 4096, 8192]),
            ("3..20", vec![3, 6, 12, 20]),
            ("7..7", vec![7]),
            ("2..4,1", vec![2, 4, 1]),
        ] {
            assert_eq!(text.parse(), Ok(Lengths(want)), "{text}");
        }
        for text in ["", "1k,", "1..", "..2", "0", "0..4", "4..2", "1K", "1...4"] {
            assert!(text.parse::<Lengths>().is_err(), "{text}");
        }
        assert_eq!(
            vec!["1"; 257].join(",").parse::<Lengths>(),
            Err(LengthsError::TooMany)
        );
    }
}
