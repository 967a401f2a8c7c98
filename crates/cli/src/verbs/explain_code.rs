// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc explain-code`: a page about a diagnostic.

use attnc_diag::Code;

use crate::context::Context;
use crate::failure::Failure;

/// Print the page about a diagnostic.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainCodeArgs {
    /// The code, as printed with the diagnostic.
    #[arg(value_name = "CODE")]
    pub(crate) code: String,
}

/// Prints the page.
///
/// # Errors
/// [`Failure::Usage`] for a code that does not exist.
pub(crate) fn run(args: &ExplainCodeArgs, context: &Context) -> Result<(), Failure> {
    let Some(code) = Code::from_id(&args.code) else {
        let (first, last) = (Code::ALL.first(), Code::ALL.last());
        let known = first
            .zip(last)
            .map(|(a, b)| format!(" (codes go from {} to {})", a.id(), b.id()))
            .unwrap_or_default();
        return Err(Failure::Usage(format!(
            "no diagnostic has the code `{}`{known}",
            args.code
        )));
    };
    context.print(&format!(
        "{}: {}\n\n{}\n",
        code.id(),
        code.title(),
        code.page().trim_end()
    ))
}
