// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From the options of the verbs that compile to what the library is asked for, and what tune files say.

use std::path::{Path, PathBuf};

use attnc::machine::{Cpu, Machine};
use attnc::pipeline::{Choices, rules};
use attnc::tune::{TuneFile, Tuning, beside};
use attnc::{Compiler, CpuTarget};

use attnc_spec::Operator;

use crate::args::{CompileArgs, TargetName, TuneFileArgs};
use crate::context::Context;
use crate::failure::Failure;

/// The target that `native` becomes: the best that this build has and this machine runs.
pub(crate) fn native() -> TargetName {
    match CpuTarget::here() {
        Some(CpuTarget::Aarch64) => TargetName::Aarch64,
        Some(CpuTarget::X86_64V3) => TargetName::X86_64V3,
        Some(CpuTarget::X86_64V4) => TargetName::X86_64V4,
        Some(CpuTarget::X86_64Amx) => TargetName::X86_64Amx,
        Some(CpuTarget::X86_64) | None => TargetName::X86_64,
    }
}

/// The choices for printing stages, for any target that this build compiles for.
///
/// # Errors
/// A target of a later stage of the project.
pub(crate) fn choices(args: &CompileArgs) -> Result<Choices, Failure> {
    let target = match args.target {
        TargetName::Native => native(),
        t @ (TargetName::X86_64
        | TargetName::X86_64V3
        | TargetName::X86_64V4
        | TargetName::X86_64Amx
        | TargetName::Aarch64
        | TargetName::Sm80) => t,
        t @ (TargetName::Sm86
        | TargetName::Sm89
        | TargetName::Sm90
        | TargetName::Sm90a
        | TargetName::Sm100
        | TargetName::Sm120) => {
            return Err(Failure::NotBuiltYet(format!("target `{}`", t.name())));
        }
    };
    if let Some(name) = args
        .without
        .iter()
        .find(|w| !rules().iter().any(|r| r.name == **w))
    {
        let known: Vec<&str> = rules().iter().map(|r| r.name).collect();
        return Err(Failure::Usage(format!(
            "there is no rewrite rule `{name}`; the rules are {}",
            known.join(", ")
        )));
    }
    Ok(Choices {
        plan: args.plan.plan(),
        without: args.without.clone(),
        ..Choices::new(target.name())
    })
}

/// The choices for running here.
///
/// # Errors
/// Also a target that this machine lacks.
pub(crate) fn choices_to_run(args: &CompileArgs) -> Result<Choices, Failure> {
    if args.target == TargetName::Sm80 {
        return Err(Failure::NotBuiltYet(format!(
            "running on target `{}`",
            args.target.name()
        )));
    }
    let choices = choices(args)?;
    let cpu = match choices.target.as_str() {
        "aarch64" => Cpu::Aarch64,
        "x86_64-v3" => Cpu::X86_64V3,
        "x86_64-v4" => Cpu::X86_64V4,
        "x86_64-amx" => Cpu::X86_64Amx,
        _ => Cpu::X86_64,
    };
    let missing = Machine::here().missing(cpu);
    if missing.is_empty() {
        Ok(choices)
    } else {
        Err(Failure::Lacking {
            target: choices.target,
            missing: missing.join(", "),
            here: native().name(),
        })
    }
}

/// The tune file of a verb that compiles `file`, and where it stands: the one named, else the one beside, if there is one. One beside
/// that cannot be read is no reason to fail.
///
/// # Errors
/// A named file that cannot be read.
pub(crate) fn tune_file(
    context: &Context,
    args: &TuneFileArgs,
    file: &Path,
) -> Result<Option<(PathBuf, TuneFile)>, Failure> {
    if let Some(path) = &args.tune {
        return Ok(Some((path.clone(), TuneFile::load(path)?)));
    }
    let path = beside(file);
    if args.no_tune || file.as_os_str() == "-" || !path.is_file() {
        return Ok(None);
    }
    match TuneFile::load(&path) {
        Ok(found) => Ok(Some((path, found))),
        Err(e) => {
            context.warn(&format!("{e}; the default schedule is used"));
            Ok(None)
        }
    }
}

/// Tells where a tune file was not used as it should.
pub(crate) fn tell_tuning(
    context: &Context,
    args: &TuneFileArgs,
    path: &Path,
    operator: &str,
    tuning: &Tuning,
) {
    let path = path.display();
    if let Some(trouble) = tuning.trouble() {
        context.warn(&format!("{path}, `{operator}`: {trouble}"));
    }
    match tuning {
        Tuning::Nothing if args.tune.is_some() => {
            context.warn(&format!("{path} holds nothing for `{operator}`"));
        }
        Tuning::Used => tracing::info!(file = %path, operator, "tuned"),
        Tuning::Off | Tuning::Nothing | Tuning::Stale(_) | Tuning::Refused(_) => {}
    }
}

/// The choices with what the tune file says of the operator, for verbs that print what would run.
///
/// # Errors
/// A named file that cannot be read; what the compiler refuses of the default.
pub(crate) fn tuned(
    context: &Context,
    args: &CompileArgs,
    file: &Path,
    op: &Operator,
    choices: Choices,
) -> Result<Choices, Failure> {
    let Some((path, found)) = tune_file(context, &args.tuning, file)? else {
        return Ok(choices);
    };
    let compiler = Compiler::with(choices).tune_file(found);
    let (choices, tuning) = compiler.choices(op)?;
    tell_tuning(context, &args.tuning, &path, &op.name, &tuning);
    Ok(choices)
}

/// Worker threads: those asked for, else one for each core.
pub(crate) fn threads(asked: Option<u64>) -> usize {
    let all = || std::thread::available_parallelism().map_or(1, |n| n.get());
    asked.map_or_else(all, |t| usize::try_from(t).unwrap_or(usize::MAX))
}
