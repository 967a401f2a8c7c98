// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What decides a kernel, as one name.
//!
//! In: where a compilation starts and its choices. Out: SHA-256 of all that has a part in the result: the operator's content hash (or the
//! text of the stage that stands for it), the target and what of it the machine has, the choices, the compiler's own sources and the
//! form of entries. B, N, strides and threads are no part: one kernel serves them all.

use std::fmt::Write;

use attnc_codegen_cpu::{CpuTarget, Jit, Level};
use attnc_tile::step::Panels;
use sha2::{Digest, Sha256};

use crate::pipeline::Choices;
use crate::source::Source;

/// How the names of entries end.
pub(super) const FILE_ENDING: &str = ".kernel";

/// Form of entries and keys: another number for another form.
const FORM: &str = "attnc kernel 2";

/// SHA-256 over the sources of the compiler (`build.rs`).
const COMPILER: &str = env!("ATTNC_COMPILER");

/// The name of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(super) [u8; 32]);

impl Key {
    /// The key of what `choices` make of `source` on this machine; none where no code would be made here.
    pub(crate) fn of(source: &Source, choices: &Choices) -> Option<Key> {
        Key::by(COMPILER, source, choices)
    }

    /// The same for a compiler of that name.
    pub(super) fn by(compiler: &str, source: &Source, choices: &Choices) -> Option<Key> {
        // What comes to `Choices` must find its place here; whether a proof is kept changes no kernel.
        let Choices {
            target,
            plan,
            without,
            proof: _,
            sizes,
        } = choices;
        let cpu = CpuTarget::of_name(target)?;
        let level = Jit::best_level(cpu, Panels::Float)?;
        // What else the machine can do decides which of the target's programs is compiled.
        let half = Jit::best_level(cpu, Panels::Half).map_or("", Level::name);
        let plan = plan.name();
        let (stage, content) = match source {
            Source::Operator(op) => ("operator", op.content_hash().to_string()),
            Source::Graph(g) => ("graph", attnc_graph::print(g)),
            Source::Tile(core) => ("tile", attnc_tile::print(core)),
        };
        let sizes = sizes.map_or(String::new(), |s| format!("{s:?}"));
        let mut hash = Sha256::new();
        let version = env!("CARGO_PKG_VERSION");
        let os = std::env::consts::OS;
        let fixed = [
            FORM,
            version,
            compiler,
            os,
            target,
            level.name(),
            half,
            plan,
            &sizes,
            stage,
            &content,
        ];
        for part in fixed.into_iter().chain(without.iter().map(String::as_str)) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Some(Key(hash.finalize().into()))
    }

    /// The name of its entry.
    pub(super) fn file_name(&self) -> String {
        let mut name = String::with_capacity(64 + FILE_ENDING.len());
        for b in self.0 {
            // Writing to a string cannot fail.
            let _ = write!(name, "{b:02x}");
        }
        name + FILE_ENDING
    }
}
