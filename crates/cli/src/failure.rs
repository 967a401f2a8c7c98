// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ways in which a verb fails, each with one clear message. Mistakes in `.attn` files are diagnostics and were printed before.

use std::io;

use thiserror::Error;

/// Why a verb did not do its work.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// Diagnostics were printed; there is nothing to add.
    #[error("diagnostics were printed")]
    Reported,
    /// A later stage of the project.
    #[error("{0}: not built yet")]
    NotBuiltYet(String),
    /// A target that this machine does not run.
    #[error("this machine does not run {target}: it lacks {missing}; `--target {here}` runs here")]
    Lacking {
        /// What was asked for.
        target: String,
        /// What it needs and this machine has not.
        missing: String,
        /// What runs here.
        here: &'static str,
    },
    /// A stage of the compiler refused.
    #[error(transparent)]
    Compile(#[from] attnc::pipeline::CompileError),
    /// The code generator refused.
    #[error(transparent)]
    Codegen(#[from] attnc::CodegenError),
    /// A graph that has no JSON form: none has.
    #[error(transparent)]
    Json(#[from] attnc_graph::JsonError),
    /// Compiling ahead of time was refused.
    #[error(transparent)]
    Build(#[from] attnc::BuildError),
    /// A tune file that was named and cannot be read.
    #[error(transparent)]
    TuneFile(#[from] attnc::tune::TuneFileError),
    /// Nothing could be tuned.
    #[error(transparent)]
    Tune(#[from] attnc::tune::TuneError),
    /// Arguments that do not go together and that clap cannot tell.
    #[error("{0}")]
    Usage(String),
    /// Standard output was closed by its reader: not a failure of ours.
    #[error("standard output was closed")]
    ClosedPipe,
    /// Standard output could not be written.
    #[error("cannot write to standard output: {0}")]
    Stdout(#[source] io::Error),
    /// A file could not be written.
    #[error(transparent)]
    Write(attnc::writing::WriteError),
    /// The kernel cache cannot be read or changed.
    #[error("the kernel cache: {0}")]
    Cache(#[from] attnc::CacheError),
    /// Nothing says where the kernel cache would be.
    #[error(
        "there is no place for the kernel cache: none of ATTNC_CACHE_DIR, XDG_CACHE_HOME and HOME is set"
    )]
    NoCache,
    /// The file has no attention, or none of the name asked for.
    #[error(transparent)]
    Attention(#[from] attnc::AttentionError),
    /// The text of a stage that cannot be run.
    #[error("{file}: {source}")]
    Stage {
        /// The file.
        file: String,
        /// The first mistake.
        source: attnc::SourceError,
    },
    /// A file that is not UTF-8, or too long for the text of a stage.
    #[error("{file}: the text of a stage is UTF-8 of at most {limit} bytes")]
    StageText {
        /// The file.
        file: String,
        /// The limit.
        limit: usize,
    },
    /// The tensors of a run cannot be had.
    #[error(transparent)]
    Input(#[from] attnc::InputError),
    /// A backend refused or failed.
    #[error(transparent)]
    Engine(#[from] attnc::EngineError),
    /// A run failed.
    #[error(transparent)]
    Execute(#[from] attnc::ExecuteError),
    /// The result differs from the oracle's by more than is allowed.
    #[error("verification failed: {bad_rows} of {rows} rows beyond their bound; {worst}")]
    Unverified {
        /// Rows beyond their bound.
        bad_rows: usize,
        /// Rows compared.
        rows: usize,
        /// The worst row, in words.
        worst: String,
    },
    /// A pattern that cannot be counted.
    #[error(transparent)]
    Pattern(#[from] attnc::pattern::PatternError),
    /// A picture could not be drawn.
    #[error(transparent)]
    Draw(#[from] crate::draw::DrawError),
    /// The client of `lsp` left without saying so.
    #[error("the editor left without `shutdown`")]
    Hangup,
    /// `fmt --check` found files to format.
    #[error("{0} not formatted; `attnc fmt` without --check formats in place")]
    NotFormatted(String),
}

impl Failure {
    /// The exit code: 2 for usage, 0 for a closed pipe, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::ClosedPipe => 0,
            Failure::Usage(_)
            | Failure::Pattern(_)
            | Failure::Build(attnc::BuildError::Families(..) | attnc::BuildError::Bundle(_)) => 2,
            Failure::Reported
            | Failure::NotBuiltYet(_)
            | Failure::Lacking { .. }
            | Failure::Compile(_)
            | Failure::Codegen(_)
            | Failure::Build(_)
            | Failure::TuneFile(_)
            | Failure::Tune(_)
            | Failure::Json(_)
            | Failure::Stdout(_)
            | Failure::Write(_)
            | Failure::Attention(_)
            | Failure::Cache(_)
            | Failure::NoCache
            | Failure::Stage { .. }
            | Failure::StageText { .. }
            | Failure::Input(_)
            | Failure::Engine(_)
            | Failure::Execute(_)
            | Failure::Unverified { .. }
            | Failure::Draw(_)
            | Failure::Hangup
            | Failure::NotFormatted(_) => 1,
        }
    }

    /// Whether there is nothing more to print.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Failure::Reported | Failure::ClosedPipe)
    }
}
