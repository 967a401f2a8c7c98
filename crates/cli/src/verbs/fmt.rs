// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc fmt`: format in place, or tell what would change.

use std::path::{Path, PathBuf};

use attnc_diag::SourceMap;
use similar::TextDiff;

use crate::context::Context;
use crate::failure::Failure;
use crate::loader::read_named;
use crate::output;

/// Format in place.
#[derive(Debug, clap::Args)]
pub(crate) struct FmtArgs {
    /// Change nothing; print a diff and exit 1 if a file is not formatted.
    #[arg(long)]
    pub(crate) check: bool,
    /// The `.attn` files; `-` formats standard input to standard output.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// Formats the files. All are looked at, whatever is wrong with the ones before.
///
/// # Errors
/// [`Failure::Reported`] if one has syntax errors (it is left alone), [`Failure::NotFormatted`] under `--check`.
pub(crate) fn run(args: &FmtArgs, context: &Context) -> Result<(), Failure> {
    let mut sources = SourceMap::new();
    let mut diagnostics = Vec::new();
    let mut unreadable = Vec::new();
    let mut changed: Vec<(&Path, String, String)> = Vec::new();
    for path in &args.files {
        let loaded = match read_named(path) {
            Ok(loaded) => loaded,
            Err(error) => {
                unreadable.push(Err(error));
                continue;
            }
        };
        let id = sources.add(loaded.name, loaded.bytes);
        let Some(source) = sources.get(id) else {
            continue;
        };
        let parsed = attnc_syntax::parse(id, source);
        let formatted = attnc_syntax::format(source.text());
        match formatted {
            Some(text) if parsed.diagnostics.is_empty() => {
                let stdin = path.as_os_str() == "-";
                if text != source.text() || stdin && !args.check {
                    changed.push((path, source.text().to_owned(), text));
                }
            }
            _ => diagnostics.extend(parsed.diagnostics),
        }
    }
    let mut outcome = context.print_diagnostics(&diagnostics, &sources);
    if !unreadable.is_empty() {
        let resolution = attnc_spec::resolve(unreadable, &mut attnc_spec::NoFiles);
        outcome =
            outcome.and(context.print_diagnostics(&resolution.diagnostics, &resolution.sources));
    }
    if args.check {
        let names: Vec<String> = changed
            .iter()
            .map(|(path, ..)| path.display().to_string())
            .collect();
        let diff: String = changed
            .iter()
            .map(|(path, before, after)| diff(path, before, after))
            .collect();
        context.print(&diff)?;
        return match names.len() {
            0 => outcome,
            1 => Err(Failure::NotFormatted(format!("{} is", names[0]))),
            n => Err(Failure::NotFormatted(format!("{n} files are"))),
        };
    }
    for (path, _, text) in &changed {
        if path.as_os_str() == "-" {
            context.print(text)?;
        } else {
            output::write(path, text.as_bytes())?;
        }
    }
    outcome
}

/// What formatting would change, as a unified diff.
fn diff(path: &Path, before: &str, after: &str) -> String {
    let name = path.display().to_string();
    TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(3)
        .header(&name, &format!("{name} (formatted)"))
        .to_string()
}
