// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The vocabulary: fields and the predeclared words that stand for their values.

/// Fields of attentions and of branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Field {
    Heads,
    KvHeads,
    HeadDim,
    DType,
    Precision,
    Causal,
    Scale,
    Semantics,
    Offsets,
    Ragged,
    Rows,
    Gradient,
    ZeroLse,
    Segment,
    Dilation,
}

impl Field {
    /// The fields of an attention, in the order of the documentation.
    pub(crate) const ATTENTION: [Field; 13] = [
        Field::Heads,
        Field::KvHeads,
        Field::HeadDim,
        Field::DType,
        Field::Precision,
        Field::Causal,
        Field::Scale,
        Field::Semantics,
        Field::Offsets,
        Field::Ragged,
        Field::Rows,
        Field::Gradient,
        Field::ZeroLse,
    ];

    /// The fields of a branch.
    pub(crate) const BRANCH: [Field; 2] = [Field::Segment, Field::Dilation];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Field::Heads => "heads",
            Field::KvHeads => "kv_heads",
            Field::HeadDim => "head_dim",
            Field::DType => "dtype",
            Field::Precision => "precision",
            Field::Causal => "causal",
            Field::Scale => "scale",
            Field::Semantics => "semantics",
            Field::Offsets => "offsets",
            Field::Ragged => "ragged",
            Field::Rows => "rows",
            Field::Gradient => "gradient",
            Field::ZeroLse => "zero_lse",
            Field::Segment => "segment",
            Field::Dilation => "dilation",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Field> {
        Field::ATTENTION
            .into_iter()
            .chain(Field::BRANCH)
            .find(|field| field.name() == name)
    }

    pub(crate) fn is_of_branch(self) -> bool {
        Field::BRANCH.contains(&self)
    }

    /// Whether expressions of fields can read it.
    pub(crate) fn is_readable(self) -> bool {
        matches!(self, Field::Heads | Field::KvHeads | Field::HeadDim)
    }

    /// The words it takes; none for numbers.
    pub(crate) fn words(self) -> &'static [Word] {
        match self {
            Field::Heads | Field::KvHeads | Field::HeadDim | Field::Scale | Field::Dilation => &[],
            Field::DType => &[Word::F32, Word::Bf16, Word::F16],
            Field::Precision => &[Word::Standard, Word::Fast, Word::Tf32],
            Field::Causal => &[Word::True, Word::False],
            Field::Semantics => &[Word::Paper, Word::Torchscale],
            Field::Offsets => &[Word::Modulo, Word::Blocked],
            Field::Ragged => &[Word::Masked, Word::ZeroKeys],
            Field::Rows => &[Word::Aligned, Word::Displaced],
            Field::Gradient => &[Word::Exact, Word::Detached],
            Field::ZeroLse => &[Word::Covered, Word::Uncovered],
            Field::Segment => &[Word::Whole],
        }
    }
}

/// Predeclared values: words that fields take. They cannot be given another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Word {
    True,
    False,
    F32,
    Bf16,
    F16,
    Standard,
    Fast,
    Tf32,
    Paper,
    Torchscale,
    Modulo,
    Blocked,
    Masked,
    ZeroKeys,
    Aligned,
    Displaced,
    Exact,
    Detached,
    Covered,
    Uncovered,
    Whole,
}

impl Word {
    pub(crate) const ALL: [Word; 21] = [
        Word::True,
        Word::False,
        Word::F32,
        Word::Bf16,
        Word::F16,
        Word::Standard,
        Word::Fast,
        Word::Tf32,
        Word::Paper,
        Word::Torchscale,
        Word::Modulo,
        Word::Blocked,
        Word::Masked,
        Word::ZeroKeys,
        Word::Aligned,
        Word::Displaced,
        Word::Exact,
        Word::Detached,
        Word::Covered,
        Word::Uncovered,
        Word::Whole,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Word::True => "true",
            Word::False => "false",
            Word::F32 => "f32",
            Word::Bf16 => "bf16",
            Word::F16 => "f16",
            Word::Standard => "standard",
            Word::Fast => "fast",
            Word::Tf32 => "tf32",
            Word::Paper => "paper",
            Word::Torchscale => "torchscale",
            Word::Modulo => "modulo",
            Word::Blocked => "blocked",
            Word::Masked => "masked",
            Word::ZeroKeys => "zero_keys",
            Word::Aligned => "aligned",
            Word::Displaced => "displaced",
            Word::Exact => "exact",
            Word::Detached => "detached",
            Word::Covered => "covered",
            Word::Uncovered => "uncovered",
            Word::Whole => "whole",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Word> {
        Word::ALL.into_iter().find(|word| word.name() == name)
    }

    /// The field that takes it.
    pub(crate) fn field(self) -> Field {
        let takes = |field: &Field| field.words().contains(&self);
        Field::ATTENTION
            .into_iter()
            .find(takes)
            .unwrap_or(Field::Segment)
    }
}

/// `a`, `b` or `c`.
pub(crate) fn word_list(words: &[Word]) -> String {
    let names: Vec<String> = words
        .iter()
        .map(|word| format!("`{}`", word.name()))
        .collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.join(""),
    }
}
