// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Schedules by measurement: the search, its record, and what a compilation takes from it.
//!
//! In: an operator and a budget. Out: a [`TuneEntry`], kept in a [`TuneFile`] that [`Compiler::tune_file`](crate::Compiler::tune_file)
//! reads: [`candidates`] lists schedules in the order of the time model (`model`), `search` compiles, checks and measures
//! them, [`file`] keeps what was found under everything that it depends on (`machine`). A file decides how fast a kernel is and
//! nothing else: sizes from it pass the same checks and the same verifier as the defaults.

mod candidates;
mod file;
mod machine;
mod model;
mod search;

pub use candidates::{Candidate, candidates};
pub use file::{Found, Measured, Outcome, Tried, TuneEntry, TuneFile, TuneFileError, beside};
pub use machine::MachineId;
pub use model::predict;
pub use search::{Make, TuneError, TuneOptions, TuneStep, tune, tune_by};

/// What a compilation took from a [`TuneFile`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tuning {
    /// There was no file, or choices of the caller's own (plan, rules, sizes) left it nothing to say.
    #[default]
    Off,
    /// The file holds nothing for this operator.
    Nothing,
    /// What stands in the file.
    Used,
    /// The file speaks of something else, which these fields tell: the default.
    Stale(Vec<&'static str>),
    /// The compiler refuses what stands in the file: the default.
    Refused(String),
}

impl Tuning {
    /// What to tell where the file was not used as it should; nothing where all is well.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Tuning::Off | Tuning::Nothing | Tuning::Used => None,
            Tuning::Stale(fields) => Some(format!(
                "it was made for another {}; the default schedule is used, `attnc tune` measures anew",
                fields.join(" and another ")
            )),
            Tuning::Refused(why) => Some(format!(
                "{why}; the default schedule is used, `attnc tune` measures anew"
            )),
        }
    }
}
