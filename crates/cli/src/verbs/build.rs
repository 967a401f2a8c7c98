// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc build`: compile ahead of time.

use std::path::PathBuf;

use attnc::{BuildOptions, CpuTarget, writing};

use crate::args::{PlanArgs, TargetName, TuneFileArgs};
use crate::choices::{native, tell_tuning, tune_file};
use crate::context::Context;
use crate::failure::Failure;

/// Compile ahead of time: an object file, a C header and a JSON manifest for each attention of the file.
///
/// One target makes DIR/OP.TARGET.o, several make one DIR/OP.o that takes the best of them on the machine where it runs; DIR/OP.h and
/// DIR/OP.json stand beside. The objects need no library. What was written is listed on standard output.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The `.attn` file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Targets (repeatable; default: native). Those of one processor family share an object.
    #[arg(long, value_enum, value_name = "T", default_values_t = [TargetName::Native])]
    pub(crate) target: Vec<TargetName>,
    /// Folder for objects, headers and manifests; made if it is not there.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// All operators in one object, one header and one manifest of that name.
    #[arg(long, value_name = "NAME")]
    pub(crate) bundle: Option<String>,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) tuning: TuneFileArgs,
}

/// Compiles, then writes everything or nothing.
pub(crate) fn run(args: &BuildArgs, context: &Context) -> Result<(), Failure> {
    let targets: Vec<CpuTarget> = (args.target.iter())
        .map(|t| cpu_target(*t))
        .collect::<Result<_, _>>()?;
    // Before long work.
    writing::check_folder(&args.output)?;
    let attentions = context.attentions(&args.file)?;
    let tune = tune_file(context, &args.tuning, &args.file)?;
    let options = BuildOptions {
        bundle: args.bundle.as_deref(),
        plan: args.plan.plan(),
        tune: tune.as_ref().map(|(_, file)| file),
    };
    let built = attnc::build(&attentions, &targets, &options)?;
    if let Some((path, _)) = &tune {
        for b in built.tuning() {
            let what = format!("{} for {}", b.operator, b.target.name());
            tell_tuning(context, &args.tuning, path, &what, &b.tuning);
        }
    }
    for n in built.notes() {
        context.note(&format!("`{}`: {}", n.operator, n.note));
    }
    let written = built.write(&args.output)?;
    if context.options.quiet {
        return Ok(());
    }
    let list = written.iter().map(|path| format!("{}\n", path.display()));
    context.print(&list.collect::<String>())
}

fn cpu_target(name: TargetName) -> Result<CpuTarget, Failure> {
    let name = match name {
        TargetName::Native => native(),
        other => other,
    };
    CpuTarget::of_name(name.name())
        .ok_or_else(|| Failure::NotBuiltYet(format!("attnc build for target `{}`", name.name())))
}
