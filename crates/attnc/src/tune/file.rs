// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tune files: what searches found, for people to review and for compilations to read.
//!
//! In: TOML text of at most [`MAX_BYTES`]. Out: entries, one for every operator, target and machine that was tuned, each under everything
//! that it depends on; and the same text again. A file is data: what it names passes the checks of any schedule before it is used.

use std::path::{Path, PathBuf};

use attnc_spec::Operator;
use serde::{Deserialize, Serialize};

use super::machine::MachineId;
use crate::pipeline::{Choices, Plan, Sizes};

/// Bytes that a tune file may have.
const MAX_BYTES: usize = 4 << 20;

/// The form of the file.
const FORM: u32 = 1;

/// SHA-256 over the sources of the compiler (`build.rs`).
const COMPILER: &str = concat!(env!("CARGO_PKG_VERSION"), " ", env!("ATTNC_COMPILER"));

/// Why a file is no tune file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TuneFileError {
    /// It cannot be read.
    #[error("{}: {what}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        what: String,
    },
    /// It is not what `attnc tune` writes.
    #[error("this is no tune file: {0}; `attnc tune` writes one")]
    Text(String),
    /// It is another build's.
    #[error("its form is {0}, this build reads form {FORM}; `attnc tune` writes it anew")]
    Form(u32),
}

/// Plans by name.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(remote = "Plan", rename_all = "lowercase")]
enum PlanName {
    Auto,
    Share,
    Each,
}

/// How a search was made and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// N.
    pub seq_len: u64,
    /// B.
    pub batch: u64,
    /// Worker threads.
    pub threads: u64,
    /// Seed of tensors and candidates.
    pub seed: u64,
    /// Seconds that were allowed.
    pub budget_s: f64,
    /// Seconds that it took.
    pub took_s: f64,
    /// Median of the default schedule, in milliseconds.
    pub default_ms: f64,
    /// Median of the schedule that was chosen.
    pub chosen_ms: f64,
}

/// What came of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Its result is that of the default.
    Right,
    /// Its result is not; it can never be chosen.
    Wrong,
    /// The compiler or the launch refused it.
    Refused,
}

/// A candidate that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// How branches were grouped.
    #[serde(with = "PlanName")]
    pub plan: Plan,
    /// The sizes.
    pub schedule: Sizes,
    /// What came of it.
    pub outcome: Outcome,
    /// Median of its times, in milliseconds; 0 where there are none.
    pub median_ms: f64,
    /// Median distance of its times from that.
    pub spread_ms: f64,
    /// How many times there are.
    pub runs: u64,
}

/// What a search found for one operator, target and machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TuneEntry {
    /// The operator's name.
    pub operator: String,
    /// Its content hash.
    pub hash: String,
    /// Its storage type.
    pub dtype: String,
    /// The target.
    pub target: String,
    /// The machine.
    pub machine: MachineId,
    /// Version and hash of the compiler.
    pub compiler: String,
    /// The plan that was chosen.
    #[serde(with = "PlanName")]
    pub plan: Plan,
    /// The sizes that were chosen.
    pub schedule: Sizes,
    /// How it was measured.
    pub measured: Measured,
    /// Every candidate that was looked at, the default first.
    pub candidates: Vec<Tried>,
}

/// What a file says of an operator on a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'f> {
    /// Nothing.
    Nothing,
    /// Something that was measured under other circumstances, which these fields of its entry tell.
    Stale(Vec<&'static str>),
    /// An entry.
    Fits(&'f TuneEntry),
}

/// Everything that an entry depends on, as it is here.
struct Here<'a> {
    op: &'a Operator,
    hash: String,
    target: &'a str,
    machine: &'a MachineId,
}

impl TuneEntry {
    /// An entry of this compiler about `op`, with nothing measured yet.
    pub(super) fn new(
        op: &Operator,
        target: &str,
        measured: Measured,
        chosen: &Tried,
    ) -> TuneEntry {
        TuneEntry {
            operator: op.name.clone(),
            hash: op.content_hash().to_string(),
            dtype: op.dtype.name().to_owned(),
            target: target.to_owned(),
            machine: MachineId::here(),
            compiler: COMPILER.to_owned(),
            plan: chosen.plan,
            schedule: chosen.schedule,
            measured,
            candidates: Vec::new(),
        }
    }

    /// These choices with what was found.
    pub fn apply(&self, choices: &Choices) -> Choices {
        Choices {
            plan: self.plan,
            sizes: Some(self.schedule),
            ..choices.clone()
        }
    }

    /// The fields that tell of something else than what is here. The dtype is part of the hash and named first.
    fn differs(&self, here: &Here<'_>) -> Vec<&'static str> {
        let MachineId {
            cpu,
            cores,
            features,
        } = here.machine;
        let dtype = self.dtype != here.op.dtype.name();
        [
            ("dtype", dtype),
            ("operator (hash)", !dtype && self.hash != here.hash),
            ("target", self.target != here.target),
            ("machine (cpu)", self.machine.cpu != *cpu),
            ("machine (cores)", self.machine.cores != *cores),
            ("machine (features)", self.machine.features != *features),
            ("compiler", self.compiler != COMPILER),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(name, _)| name)
        .collect()
    }
}

/// The file that is read without being named: `pattern.tune.toml` beside `pattern.attn`.
pub fn beside(file: &Path) -> PathBuf {
    file.with_extension("tune.toml")
}

/// What searches found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TuneFile {
    entries: Vec<TuneEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(rename = "form")]
    _form: u32,
    #[serde(default)]
    tuned: Vec<TuneEntry>,
}

#[derive(Deserialize)]
struct Form {
    form: u32,
}

impl TuneFile {
    /// Reads a text.
    ///
    /// # Errors
    /// [`TuneFileError::Text`], [`TuneFileError::Form`].
    pub fn parse(text: &str) -> Result<TuneFile, TuneFileError> {
        let wrong = |e: toml::de::Error| TuneFileError::Text(e.message().to_owned());
        // The form first: what another form calls its fields is nobody's mistake.
        let Form { form } = toml::from_str(text).map_err(wrong)?;
        if form != FORM {
            return Err(TuneFileError::Form(form));
        }
        let text: Text = toml::from_str(text).map_err(wrong)?;
        Ok(TuneFile {
            entries: text.tuned,
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// See [`TuneFileError`].
    pub fn load(path: &Path) -> Result<TuneFile, TuneFileError> {
        let wrong = |what: String| TuneFileError::Read {
            path: path.to_owned(),
            what,
        };
        let file = std::fs::File::open(path).map_err(|e| wrong(e.to_string()))?;
        let bytes =
            crate::files::read_limited(file, MAX_BYTES).map_err(|e| wrong(e.to_string()))?;
        if bytes.len() > MAX_BYTES {
            return Err(wrong(format!("it has more than {MAX_BYTES} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
        TuneFile::parse(&text).map_err(|e| wrong(e.to_string()))
    }

    /// All entries.
    pub fn entries(&self) -> &[TuneEntry] {
        &self.entries
    }

    /// Adds an entry in the place of one for the same operator, target and machine.
    pub fn put(&mut self, entry: TuneEntry) {
        let same = |e: &TuneEntry| {
            e.operator == entry.operator && e.target == entry.target && e.machine == entry.machine
        };
        match self.entries.iter_mut().find(|e| same(e)) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    /// What the file says of `op` for `target` on this machine: of entries of its name the one that fits, else what the nearest one
    /// differs in.
    pub fn find(&self, op: &Operator, target: &str) -> Found<'_> {
        self.find_on(op, target, &MachineId::here())
    }

    /// The same on a machine.
    pub fn find_on(&self, op: &Operator, target: &str, machine: &MachineId) -> Found<'_> {
        let here = Here {
            op,
            hash: op.content_hash().to_string(),
            target,
            machine,
        };
        let named = self.entries.iter().filter(|e| e.operator == op.name);
        let nearest = named
            .map(|e| (e.differs(&here), e))
            .min_by_key(|(fields, _)| fields.len());
        match nearest {
            None => Found::Nothing,
            Some((fields, entry)) if fields.is_empty() => Found::Fits(entry),
            Some((fields, _)) => Found::Stale(fields),
        }
    }

    /// The text of the file: a line a field, a line a candidate.
    ///
    /// # Errors
    /// A value that TOML cannot say: there is none.
    pub fn text(&self) -> Result<String, TuneFileError> {
        let mut out = format!(
            "# Schedules by measurement, as `attnc tune` found them. `attnc run`, `build`, `bench` and the library read this file.\nform = {FORM}\n"
        );
        for e in &self.entries {
            out.push_str("\n[[tuned]]\n");
            let TuneEntry {
                operator,
                hash,
                dtype,
                target,
                machine,
                compiler,
                plan: _,
                schedule,
                measured,
                candidates,
            } = e;
            for (key, value) in [
                ("operator", inline(operator)?),
                ("hash", inline(hash)?),
                ("dtype", inline(dtype)?),
                ("target", inline(target)?),
                ("machine", inline(machine)?),
                ("compiler", inline(compiler)?),
                ("plan", format!("\"{}\"", e.plan.name())),
                ("schedule", inline(schedule)?),
                ("measured", inline(measured)?),
            ] {
                out.push_str(&format!("{key} = {value}\n"));
            }
            out.push_str("candidates = [\n");
            for c in candidates {
                out.push_str(&format!("    {},\n", inline(c)?));
            }
            out.push_str("]\n");
        }
        Ok(out)
    }
}

/// A value on one line.
fn inline(value: &impl Serialize) -> Result<String, TuneFileError> {
    let value = toml::Value::try_from(value).map_err(|e| TuneFileError::Text(e.to_string()))?;
    Ok(value.to_string())
}
