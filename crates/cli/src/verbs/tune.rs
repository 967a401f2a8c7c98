// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc tune`: search schedules by measurement, and keep what was found in a file for review.

use std::path::PathBuf;
use std::time::Duration;

use attnc::tune::{Outcome, TuneEntry, TuneFile, TuneFileError, TuneOptions, beside, tune};
use attnc::{Inputs, Signature};
use comfy_table::{Table, presets};

use crate::args::{CompileArgs, PlanArgs, TargetName, TuneFileArgs};
use crate::bar::Bar;
use crate::choices::{choices_to_run, threads};
use crate::context::Context;
use crate::count::{self, count, positive};
use crate::failure::Failure;
use crate::output;
use crate::verbs::run_table::milliseconds;

/// Search schedules by measurement.
///
/// Compiles schedules of other sizes and plans in the order in which a model of time expects them to be fast, compares their results with
/// the default's, measures them in turns with it until the budget is spent, and writes every candidate's median and spread to a TOML file
/// beside FILE: FILE.tune.toml. `attnc run`, `build`, `bench`, `emit`, `explain` and `cost` read the file that stands there. An entry
/// holds for its operator, target, machine and compiler; measuring again replaces it, and entries of other operators, targets and
/// machines stay. Only what beats the default by a hundredth and in three of four rounds is chosen.
#[derive(Debug, clap::Args)]
pub(crate) struct TuneArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Target to tune for: one that this machine runs.
    #[arg(long, value_enum, value_name = "T", default_value_t = TargetName::Native)]
    pub(crate) target: TargetName,
    /// Sequence length that is measured [default: the longest power of two up to 32k that takes at most 2^31 products].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) seq_len: Option<u64>,
    /// Batch size.
    #[arg(long, value_name = "B", value_parser = positive, default_value = "1")]
    pub(crate) batch: u64,
    /// Seed of the tensors and of the order of candidates.
    #[arg(long, value_name = "S", value_parser = count, default_value = "0")]
    pub(crate) seed: u64,
    /// Worker threads (default: all).
    #[arg(long, value_name = "T", value_parser = count::threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<u64>,
    /// Seconds that the search may take.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60")]
    pub(crate) budget: f64,
    /// Candidates at most, the default schedule among them.
    #[arg(long, value_name = "COUNT", value_parser = positive, default_value = "100")]
    pub(crate) candidates: u64,
    /// Where to write (default: FILE.tune.toml beside FILE).
    #[arg(short, long, value_name = "FILE.tune.toml")]
    pub(crate) output: Option<PathBuf>,
}

/// A positive number of seconds, a day at most.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 86400.0 => Ok(s),
        Ok(_) | Err(_) => Err("a number of seconds above 0, at most 86400".to_owned()),
    }
}

/// Searches, then writes the file whole.
pub(crate) fn run(args: &TuneArgs, context: &Context) -> Result<(), Failure> {
    let choices = choices_to_run(&CompileArgs {
        target: args.target,
        plan: PlanArgs { plan: None },
        without: Vec::new(),
        tuning: TuneFileArgs {
            tune: None,
            no_tune: true,
        },
    })?;
    let path = match &args.output {
        Some(path) => path.clone(),
        None if args.file.as_os_str() == "-" => {
            return Err(Failure::Usage(
                "standard input has no place beside it: say where to write with --output"
                    .to_owned(),
            ));
        }
        None => beside(&args.file),
    };
    // Whatever can be refused is refused before the search.
    let mut file = match path.is_file() {
        true => match TuneFile::load(&path) {
            Ok(file) => file,
            // A file of another form is replaced, anything else is not ours to lose.
            Err(TuneFileError::Form(_)) => TuneFile::default(),
            Err(e) => return Err(e.into()),
        },
        false => TuneFile::default(),
    };
    output::check_writable(&path)?;
    let op = context.operator(&args.file)?;
    let options = TuneOptions {
        seq_len: args.seq_len,
        batch: args.batch,
        seed: args.seed,
        threads: threads(args.threads),
        budget: Duration::from_secs_f64(args.budget),
        candidates: usize::try_from(args.candidates).unwrap_or(usize::MAX),
    };
    Inputs::check(&Signature::from(&*op), args.batch, options.length(&op))?;
    let bar = Bar::share(context, format!("tuning {}", op.name));
    let entry = tune(&op, &choices.target, &options, &|step| {
        bar.set(
            step.spent,
            format!(
                "{} of {} candidates, best {:.2} of the default",
                step.tried, step.all, step.best
            ),
        );
    })?;
    bar.clear();
    let text = render(&entry);
    file.put(entry);
    output::write(&path, file.text()?.as_bytes())?;
    if !context.options.quiet {
        context.print(&text)?;
        context.print(&format!("written to {}\n", path.display()))?;
    }
    Ok(())
}

/// Candidates that are shown.
const SHOWN: usize = 8;

/// What came of it, for people: the default, the fastest, and what was chosen.
fn render(e: &TuneEntry) -> String {
    let m = &e.measured;
    let mut table = Table::new();
    table.force_no_tty().load_style(presets::NOTHING);
    let head = [
        "", "plan", "mq", "nk", "panel", "chunk", "rows", "slots", "median", "spread", "runs",
    ];
    table.set_header(head);
    let right = |o: Outcome| o == Outcome::Right;
    let mut shown: Vec<usize> = (0..e.candidates.len())
        .filter(|i| right(e.candidates[*i].outcome))
        .collect();
    shown.sort_by(|a, b| {
        let key = |i: usize| e.candidates[i].median_ms;
        key(*a).total_cmp(&key(*b))
    });
    shown.truncate(SHOWN);
    if !shown.contains(&0) && e.candidates.first().is_some_and(|c| right(c.outcome)) {
        shown.push(0);
    }
    for i in shown {
        let c = &e.candidates[i];
        let chosen = c.schedule == e.schedule && c.plan == e.plan;
        let mark = match (chosen, i) {
            (true, 0) => "default, chosen",
            (true, _) => "chosen",
            (false, 0) => "default",
            (false, _) => "",
        };
        let s = c.schedule;
        let mut row = vec![mark.to_owned(), c.plan.name().to_owned()];
        row.extend([s.mq, s.nk, s.panel, s.chunk, s.rows, s.slots].map(|x| x.to_string()));
        row.extend([
            milliseconds(c.median_ms),
            milliseconds(c.spread_ms),
            c.runs.to_string(),
        ]);
        table.add_row(row);
    }
    let lines: String = table
        .lines()
        .map(|l| l.strip_prefix(' ').unwrap_or(&l).trim_end().to_owned() + "\n")
        .collect();
    let count = |o: Outcome| e.candidates.iter().filter(|c| c.outcome == o).count();
    let mut text = format!(
        "{} for {}: {} candidates in {:.1} s at N = {}, batch {}, {} threads\n",
        e.operator,
        e.target,
        e.candidates.len(),
        m.took_s,
        m.seq_len,
        m.batch,
        m.threads,
    );
    for (o, what) in [
        (Outcome::Wrong, "had a wrong result and were left out"),
        (Outcome::Refused, "were refused by the compiler"),
    ] {
        if count(o) > 0 {
            text += &format!("{} {what}\n", count(o));
        }
    }
    text += &lines;
    text += &if e
        .candidates
        .first()
        .is_some_and(|c| c.schedule == e.schedule && c.plan == e.plan)
    {
        "nothing beats the default by a hundredth and in three of four rounds\n".to_owned()
    } else {
        format!(
            "{:.2} times the speed of the default\n",
            m.default_ms / m.chosen_ms
        )
    };
    text
}
