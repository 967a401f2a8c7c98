// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc run`: compile and run on real or generated tensors, verify against the oracle, report.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use attnc::{
    Amount, Compiler, Facts, Inputs, RowIds, RunReport, Source, StageName, Verified, VerifyOptions,
    madds_formula,
};
use attnc_syntax::MAX_FILE_BYTES;
use attnc_tensor::write_safetensors;

use crate::args::{CompileArgs, TensorArgs};
use crate::bar::Bar;
use crate::choices::{choices_to_run, tell_tuning, threads, tune_file};
use crate::context::Context;
use crate::count::{self, CountError, count, positive};
use crate::failure::Failure;
use crate::loader::read_up_to;
use crate::output;
use crate::verbs::cache;
use crate::verbs::run_table::{self, worst_row};

/// Compile and run on real or generated tensors.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The `.attn` file or the text of a `graph`, `fused` or `tile` stage; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) tensors: TensorArgs,
    #[command(flatten)]
    pub(crate) compile: CompileArgs,
    /// Run the backward pass too (needs `dout`, writes `dq dk dv`).
    #[arg(long)]
    pub(crate) grad: bool,
    /// Where to write `out` (in the operator's dtype) and `lse` (f32).
    #[arg(long, value_name = "FILE.safetensors")]
    pub(crate) output: Option<PathBuf>,
    /// What runs the operator.
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    pub(crate) backend: Backend,
    /// Worker threads (default: all).
    #[arg(long, value_name = "T", value_parser = count::threads, allow_negative_numbers = true)]
    pub(crate) threads: Option<u64>,
    /// Timed repeats.
    #[arg(long, value_name = "R", value_parser = positive, allow_negative_numbers = true, default_value = "1")]
    pub(crate) repeat: u64,
    /// Compare with the oracle: all rows if that takes at most 2^30 products, else ROWS (256) seeded rows.
    #[arg(long, value_name = "all|ROWS", num_args = 0..=1, require_equals = true, default_missing_value = "256")]
    pub(crate) verify: Option<Verify>,
    /// Neither read nor write the kernel cache.
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// One JSON object on standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What runs the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Backend {
    /// Machine code for the CPU.
    Cpu,
    /// The interpreter of the graph.
    InterpGraph,
    /// The interpreter of the tile program.
    #[value(alias = "interp")]
    InterpTile,
    /// The definition, in float64.
    Oracle,
    /// PTX in the emulator.
    PtxEmulator,
    /// PTX on a GPU.
    Cuda,
}

impl From<Backend> for attnc::Backend {
    fn from(backend: Backend) -> attnc::Backend {
        match backend {
            Backend::Cpu => attnc::Backend::Cpu,
            Backend::InterpGraph => attnc::Backend::InterpGraph,
            Backend::InterpTile => attnc::Backend::InterpTile,
            Backend::Oracle => attnc::Backend::Oracle,
            Backend::PtxEmulator => attnc::Backend::PtxEmulator,
            Backend::Cuda => attnc::Backend::Cuda,
        }
    }
}

/// How many rows `--verify` compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    /// Every row, whatever it takes.
    All,
    /// Every row if that takes at most 2^30 products, else so many seeded rows.
    Rows(u64),
}

impl From<Verify> for Amount {
    fn from(verify: Verify) -> Amount {
        match verify {
            Verify::All => Amount::All,
            Verify::Rows(rows) => Amount::Rows(rows),
        }
    }
}

impl FromStr for Verify {
    type Err = CountError;
    fn from_str(text: &str) -> Result<Verify, CountError> {
        if text == "all" {
            Ok(Verify::All)
        } else {
            count(text).and_then(|n| {
                if n == 0 {
                    Err(CountError::Zero)
                } else {
                    Ok(Verify::Rows(n))
                }
            })
        }
    }
}

/// Does what the verb says: operator, engine, tensors, run, verification, output, report.
pub(crate) fn run(args: &RunArgs, context: &Context) -> Result<(), Failure> {
    let source = source(args, context)?;
    if args.grad {
        return Err(Failure::NotBuiltYet("attnc run --grad".to_owned()));
    }
    let backend = attnc::Backend::from(args.backend);
    let start = Instant::now();
    let mut compiler = Compiler::with(choices_to_run(&args.compile)?);
    if let Some(cache) = cache::place().filter(|_| !args.no_cache) {
        compiler = compiler.cache(cache);
    }
    // The text of a stage has its schedule in it.
    let tune = match &source {
        Source::Operator(_) => tune_file(context, &args.compile.tuning, &args.file)?,
        Source::Graph(_) | Source::Tile(_) => None,
    };
    if let Some((_, file)) = &tune {
        compiler = compiler.tune_file(file.clone());
    }
    let engine = compiler.engine(&source, backend)?;
    let compile_ms = start.elapsed().as_secs_f64() * 1e3;
    if let Some((path, _)) = &tune {
        let name = source.signature().name;
        tell_tuning(context, &args.compile.tuning, path, &name, engine.tuning());
    }
    if let Some(trouble) = engine.cache_trouble() {
        context.warn(&format!("the kernel cache: {trouble}"));
    }
    engine.notes().iter().for_each(|note| context.note(note));
    if let Some(path) = &args.output {
        output::check_writable(path)?;
    }
    let signature = source.signature();
    let operator = match &source {
        Source::Operator(op) => Some(&**op),
        Source::Graph(_) | Source::Tile(_) => None,
    };
    let seed = args.tensors.seed.unwrap_or(0);
    let inputs = match (&args.tensors.input, args.tensors.seq_len) {
        (Some(path), _) => Inputs::load(&signature, path)?,
        (None, Some(n)) => Inputs::generate(&signature, args.tensors.batch.unwrap_or(1), n, seed)?,
        (None, None) => {
            return Err(Failure::Usage("--seq-len or --input is needed".to_owned()));
        }
    };
    let threads = threads(args.threads);
    let rows = RowIds::new(inputs.batch, signature.heads, inputs.seq_len).len();
    let bar = Bar::new(context, "running", rows.saturating_mul(args.repeat));
    let outcome = attnc::execute(
        &*engine,
        &signature,
        &inputs,
        threads,
        args.repeat,
        &|done| bar.advance(done),
    )?;
    bar.clear();
    let verified = match (args.verify, operator) {
        (Some(amount), Some(op)) => {
            let boundaries = engine.boundaries(inputs.seq_len as u64);
            let options = VerifyOptions {
                amount: amount.into(),
                seed,
                boundaries: &boundaries,
                place: backend.place(),
                threads,
            };
            let rows = attnc::rows_to_check(op, &inputs, &options);
            let bar = Bar::new(context, "verifying", rows);
            let (out, lse) = (outcome.out.view(), outcome.lse.view());
            let advance = |done| bar.advance(done);
            let v = attnc::verify(op, &inputs, &out, &lse, &options, &advance)?;
            bar.clear();
            Some(v)
        }
        (None, _) | (_, None) => None,
    };
    if let Some(path) = &args.output {
        let tensors = [("out", &outcome.out), ("lse", &outcome.lse)];
        output::write_with(path, |file| write_safetensors(file, &tensors, &[]))?;
    }
    let batch = inputs.batch as u64;
    let report = RunReport::new(Facts {
        signature: &signature,
        inputs: &inputs,
        engine: &*engine,
        backend,
        threads,
        compile_ms,
        outcome: &outcome,
        madds_formula: operator.map(|op| madds_formula(op, batch, inputs.seq_len as u64)),
        verified: verified.as_ref(),
    });
    let printed = print(args, context, &report, verified.as_ref());
    match verified {
        Some(v) if !v.verdict.passed => Err(Failure::Unverified {
            bad_rows: v.verdict.bad_rows,
            rows: v.verdict.rows,
            worst: worst_row(&v),
        }),
        Some(_) | None => printed,
    }
}

/// Bytes that the text of a stage may have.
const MAX_STAGE_BYTES: usize = 64 << 20;

/// The operator of the file, or the stage whose text it is.
fn source(args: &RunArgs, context: &Context) -> Result<Source, Failure> {
    let mut read = read_up_to(&args.file, MAX_STAGE_BYTES);
    let stage = match &read {
        // The first line tells; an `.attn` file is short, so its end may be cut off here.
        Ok(loaded) => StageName::of(&String::from_utf8_lossy(
            &loaded.bytes[..loaded.bytes.len().min(MAX_FILE_BYTES)],
        )),
        Err(_) => None,
    };
    let (Some(stage), Ok(loaded)) = (stage, &mut read) else {
        if let Ok(loaded) = &mut read {
            loaded.bytes.truncate(MAX_FILE_BYTES + 1);
        }
        let op = context.operator_of(read)?;
        return Ok(Source::from(&*op));
    };
    let file = loaded.name.clone();
    let carried = |what: &str| {
        Failure::Usage(format!(
            "{file} is the text of the stage {}, which carries no operator: {what} does not go with it",
            stage.name()
        ))
    };
    if args.verify.is_some() {
        return Err(carried("--verify"));
    }
    if args.compile.plan.plan.is_some() {
        return Err(carried("--plan"));
    }
    if !args.compile.without.is_empty() {
        return Err(carried("--without"));
    }
    if args.compile.tuning.tune.is_some() {
        return Err(carried("--tune"));
    }
    if context.options.name.is_some() {
        return Err(carried("--name"));
    }
    let earlier = match args.backend {
        Backend::Oracle => true,
        Backend::InterpGraph => stage == StageName::Tile,
        Backend::Cpu | Backend::InterpTile | Backend::PtxEmulator | Backend::Cuda => false,
    };
    if earlier {
        let backend = attnc::Backend::from(args.backend);
        return Err(carried(&format!("--backend {backend}")));
    }
    let text = std::mem::take(&mut loaded.bytes);
    let text = match String::from_utf8(text) {
        Ok(text) if text.len() <= MAX_STAGE_BYTES => text,
        Ok(_) | Err(_) => {
            let limit = MAX_STAGE_BYTES;
            return Err(Failure::StageText { file, limit });
        }
    };
    Source::parse(stage, &text).map_err(|source| Failure::Stage { file, source })
}

fn print(
    args: &RunArgs,
    context: &Context,
    report: &RunReport,
    verified: Option<&Verified>,
) -> Result<(), Failure> {
    if args.json {
        if let Some(v) = verified.filter(|v| v.verdict.passed && v.worst.is_some()) {
            context.note(&worst_row(v));
        }
        let line = serde_json::to_string(report)
            .map_err(|error| Failure::Stdout(std::io::Error::other(error)))?;
        context.print(&(line + "\n"))
    } else {
        context.print(&run_table::render(report, verified))
    }
}
