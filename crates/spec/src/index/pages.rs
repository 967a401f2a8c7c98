// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The vocabulary documented: one paragraph a keyword, field, word and function.

use crate::hir::Function;
use crate::words::{Field, Word};

/// Every word that has a meaning of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    /// Words of the grammar.
    pub keywords: Vec<&'static str>,
    /// Fields of attentions and branches.
    pub fields: Vec<&'static str>,
    /// Predeclared values.
    pub words: Vec<&'static str>,
    /// Functions.
    pub functions: Vec<&'static str>,
}

/// The vocabulary of the language, for tools that colour it.
pub fn vocabulary() -> Vocabulary {
    let fields = Field::ATTENTION.into_iter().chain(Field::BRANCH);
    Vocabulary {
        keywords: attnc_syntax::keywords().collect(),
        fields: fields.map(Field::name).collect(),
        words: Word::ALL.map(Word::name).into(),
        functions: Function::ALL.map(Function::name).into(),
    }
}

/// What a keyword does.
pub(super) fn keyword(name: &str) -> &'static str {
    match name {
        "edition" => {
            "`edition 1` says which edition of the language the file is written in. Optional; if present it stands first."
        }
        "use" => {
            "`use \"file.attn\"` imports the attentions of a file: relative to this one, or from the built-in library `std/...`."
        }
        "let" => {
            "`let name = value` names a value. At the top level the order does not matter; in a block the name is known from its line to the brace."
        }
        "attention" => {
            "`attention name { ... }` declares an operator; `attention name = other with { ... }` copies one and replaces fields."
        }
        "branch" => {
            "`branch { segment = w, dilation = r }`: each head attends within segments of w tokens to every r-th of them, from its own offset on."
        }
        "for" => {
            "`for i in 0..n { ... }` or `for x in list { ... }` repeats branches. The end of a range is excluded."
        }
        "in" => "`for NAME in RANGE-OR-LIST`.",
        "with" => {
            "`attention name = other with { ... }` copies the fields that `other` writes; fields replace, and if the block has any branch it replaces all."
        }
        _ => "A keyword.",
    }
}

/// What a field decides.
pub(super) fn field(field: Field) -> &'static str {
    match field {
        Field::Heads => "Query heads H, 1 to 4096. Required.",
        Field::KvHeads => {
            "Key and value heads, a divisor of `heads` (default `heads`): query head h reads key head h / (heads / kv_heads)."
        }
        Field::HeadDim => "Elements D of a head, 1 to 256. Required.",
        Field::DType => {
            "How q, k, v and out are stored: `f32` (default), `bf16` or `f16`. Sums are always kept in f32."
        }
        Field::Precision => {
            "`standard` (default); opt-ins that trade accuracy: `fast` (a coarser exponential, for 16-bit types) and `tf32` (f32 on tensor cores)."
        }
        Field::Causal => {
            "Whether a query sees only keys at or before its own position. Default `false`."
        }
        Field::Scale => {
            "What scores are multiplied with: positive, within the normal numbers of f32. Default `1 / sqrt(head_dim)`."
        }
        Field::Semantics => {
            "Sets `offsets`, `ragged`, `rows`, `gradient` and `zero_lse` together: `paper` (default) as published, `torchscale` as the original code computes. A switch set alone wins, wherever it is written."
        }
        Field::Offsets => {
            "Where in each dilated segment a head begins: `modulo` (h mod r) or `blocked` (h div ceil(H / r))."
        }
        Field::Ragged => {
            "A last segment that is too short: `masked` (it has fewer keys) or `zero_keys` (it is filled with keys of zeros, which count in the softmax)."
        }
        Field::Rows => {
            "Where results go: `aligned` (each to its own position) or `displaced` (as the original code places them where r does not divide w)."
        }
        Field::Gradient => {
            "The backward pass: `exact`, or `detached` (the weights that mix branches count as constants)."
        }
        Field::ZeroLse => {
            "A branch whose log-sum-exp is exactly 0: `covered` (like any other) or `uncovered` (as the original code treats it)."
        }
        Field::Segment => {
            "Segment length w in tokens, 1 to 2^40, or `whole` for the whole sequence, whatever its length. Required."
        }
        Field::Dilation => {
            "Dilation rate r, 1 to 2^40 (default 1): of each segment a head sees every r-th token."
        }
    }
}

/// What a word stands for.
pub(super) fn word(word: Word) -> &'static str {
    match word {
        Word::True => "Yes.",
        Word::False => "No.",
        Word::F32 => "32-bit floating point.",
        Word::Bf16 => "16 bits with the exponent of f32 and 8 bits of precision.",
        Word::F16 => "16 bits with 11 bits of precision; largest number 65504.",
        Word::Standard => "The full accuracy of f32 sums.",
        Word::Fast => "A coarser exponential (error up to 3.2e-3), for 16-bit types.",
        Word::Tf32 => "f32 products on tensor cores, 11 bits of precision.",
        Word::Paper => {
            "Dilated attention as published: modulo offsets, masked, aligned, exact, covered."
        }
        Word::Torchscale => {
            "Dilated attention as the original code computes it: blocked offsets, zero keys, displaced rows, detached, uncovered."
        }
        Word::Modulo => "Head h has the offset h mod r.",
        Word::Blocked => "Head h has the offset h div ceil(H / r): neighbouring heads share one.",
        Word::Masked => "A short segment has fewer keys.",
        Word::ZeroKeys => "A short segment is filled up with keys of zeros, which count.",
        Word::Aligned => "Each row returns to its own position.",
        Word::Displaced => "Rows return to where the original code puts them.",
        Word::Exact => "The true derivative.",
        Word::Detached => "Mixing weights are constants of the backward pass.",
        Word::Covered => "A branch with lse = 0 counts like any other.",
        Word::Uncovered => "A branch with lse = 0 counts as not covering the row.",
        Word::Whole => "The whole sequence, whatever its length.",
    }
}

/// What a function computes.
pub(super) fn function(function: Function) -> &'static str {
    match function {
        Function::Sqrt => "The square root, a float.",
        Function::Min => "The smallest of one or more numbers.",
        Function::Max => "The largest of one or more numbers.",
        Function::CeilDiv => "a / b rounded up, of integers.",
        Function::Floor => "The largest integer not above x.",
        Function::Round => "The integer nearest to x.",
        Function::Len => "The number of elements of a list.",
        Function::Geom => {
            "`count` integers in geometric progression from `first` to `last`, each rounded down, computed exactly."
        }
    }
}
