// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is fuzzed: one function a target, from bytes to nothing; a panic is a bug.
//!
//! cargo-fuzz (`fuzz/`, coverage-guided) and the stable test `fuzz.rs` (a seeded mutator, counts asserted) call the same functions on
//! the same seeds. `text` holds the `.attn` language and its editor, `programs` the text forms of the stages and tensor files,
//! `pipeline` the whole compiler against the oracle on tiny operators, `mutate` the mutator, `seeds` where inputs start from.

mod mutate;
mod pipeline;
mod programs;
mod seeds;
mod text;

pub use mutate::Mutator;
pub use seeds::seeds;

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name: that of the binary under `fuzz/fuzz_targets/` and of the folder under `tests/fuzz/`.
    pub name: &'static str,
    /// Takes any bytes. Panics where a promise is broken. Whether the input was good enough to be read to its end.
    pub run: fn(&[u8]) -> bool,
    /// Executions that the stable test makes and asserts.
    pub executions: u64,
    /// One in how many of them must be good enough to be read to its end: a mutator that makes nothing but garbage tests the first
    /// line of a reader. Texts of later stages say everything twice (types, ranges), so that most changes break them.
    pub good: u64,
    /// Words that a mutation may insert.
    pub words: &'static [&'static str],
}

/// Every target.
pub const TARGETS: [Target; 9] = [
    Target {
        name: "tokens",
        run: text::tokens,
        executions: 100_000,
        good: 2,
        words: text::WORDS,
    },
    Target {
        name: "resolve",
        run: text::resolve,
        executions: 100_000,
        good: 20,
        words: text::WORDS,
    },
    Target {
        name: "format",
        run: text::format,
        executions: 100_000,
        good: 20,
        words: text::WORDS,
    },
    Target {
        name: "editor",
        run: text::editor,
        executions: 100_000,
        good: 8,
        words: text::WORDS,
    },
    Target {
        name: "graph_text",
        run: programs::graph_text,
        executions: 100_000,
        good: 50,
        words: programs::GRAPH_WORDS,
    },
    Target {
        name: "tile_text",
        run: programs::tile_text,
        executions: 100_000,
        good: 100,
        words: programs::TILE_WORDS,
    },
    Target {
        name: "tensors",
        run: programs::tensors,
        executions: 100_000,
        good: 50,
        words: programs::TENSOR_WORDS,
    },
    Target {
        name: "lowered_graph",
        run: programs::lowered_graph,
        executions: 100_000,
        good: 50,
        words: programs::GRAPH_WORDS,
    },
    Target {
        name: "pipeline",
        run: pipeline::pipeline,
        executions: 100_000,
        good: 2,
        words: &[],
    },
];

/// The target of that name. Panics if there is none.
pub fn target(name: &str) -> Target {
    let found = TARGETS.into_iter().find(|t| t.name == name);
    found.unwrap_or_else(|| panic!("no fuzz target {name}"))
}
