// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Checks for operators that a host builds in code or reads from JSON: the same rules as for `.attn` files, without places.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::fields::is_scale;
use crate::{MAX_BRANCHES, MAX_HEAD_DIM, MAX_HEADS, MAX_LENGTH, Operator, Segment};

/// What is wrong with an operator.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OperatorError {
    /// The name is no IDENT: letters, digits and `_`, not beginning with a digit, none of the language's words.
    #[error("`{0}` is no name")]
    Name(String),
    /// Heads outside 1..=4096.
    #[error("heads must be 1..={MAX_HEADS}, is {0}")]
    Heads(u32),
    /// Key/value heads that do not divide the heads.
    #[error("kv_heads = {kv_heads} does not divide heads = {heads}")]
    KvHeads {
        /// The query heads.
        heads: u32,
        /// The key/value heads.
        kv_heads: u32,
    },
    /// Head dimension outside 1..=256.
    #[error("head_dim must be 1..={MAX_HEAD_DIM}, is {0}")]
    HeadDim(u32),
    /// A scale that is not positive or no normal f32.
    #[error("scale must be a positive normal f32, is {0:?}")]
    Scale(f64),
    /// No branch, or too many.
    #[error("there must be 1..={MAX_BRANCHES} branches, there are {0}")]
    BranchCount(usize),
    /// A segment outside 1..=2^40.
    #[error("branch {branch}: segment must be 1..=2^40, is {segment}")]
    Segment {
        /// Which branch, from 0.
        branch: usize,
        /// Its segment length.
        segment: u64,
    },
    /// A dilation outside 1..=2^40.
    #[error("branch {branch}: dilation must be 1..=2^40, is {dilation}")]
    Dilation {
        /// Which branch, from 0.
        branch: usize,
        /// Its dilation.
        dilation: u64,
    },
}

/// Everything that is wrong with an operator, never nothing.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{}", Listed(.0))]
pub struct InvalidOperator(pub Vec<OperatorError>);

/// Why JSON is no operator.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It is no JSON, or not of the form.
    #[error("not the JSON form of an operator: {0}")]
    Form(#[from] serde_json::Error),
    /// Another format or version.
    #[error("expected format `{FORMAT}`, version {VERSION}; found `{format}`, version {version}")]
    Version {
        /// The format found.
        format: String,
        /// The version found.
        version: u32,
    },
    /// It says something that cannot be.
    #[error(transparent)]
    Invalid(InvalidOperator),
}

struct Listed<'a>(&'a [OperatorError]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&list.join("; "))
    }
}

const FORMAT: &str = "attnc-operator";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<T> {
    format: String,
    version: u32,
    operator: T,
}

impl Operator {
    /// Everything that is wrong with the operator.
    ///
    /// # Errors
    /// The list of mistakes, never empty.
    pub fn validate(&self) -> Result<(), Vec<OperatorError>> {
        let mut list = Vec::new();
        let mut ensure = |good: bool, error: OperatorError| {
            if !good {
                list.push(error);
            }
        };
        ensure(is_name(&self.name), OperatorError::Name(self.name.clone()));
        ensure(
            (1..=MAX_HEADS).contains(&self.heads),
            OperatorError::Heads(self.heads),
        );
        let divides = self.kv_heads >= 1 && self.heads.is_multiple_of(self.kv_heads);
        ensure(
            divides,
            OperatorError::KvHeads {
                heads: self.heads,
                kv_heads: self.kv_heads,
            },
        );
        ensure(
            (1..=MAX_HEAD_DIM).contains(&self.head_dim),
            OperatorError::HeadDim(self.head_dim),
        );
        ensure(is_scale(self.scale), OperatorError::Scale(self.scale));
        ensure(
            (1..=MAX_BRANCHES).contains(&self.branches.len()),
            OperatorError::BranchCount(self.branches.len()),
        );
        for (branch, b) in self.branches.iter().enumerate() {
            if let Segment::Finite(segment) = b.segment {
                ensure(
                    (1..=MAX_LENGTH).contains(&segment),
                    OperatorError::Segment { branch, segment },
                );
            }
            ensure(
                (1..=MAX_LENGTH).contains(&b.dilation),
                OperatorError::Dilation {
                    branch,
                    dilation: b.dilation,
                },
            );
        }
        if list.is_empty() { Ok(()) } else { Err(list) }
    }

    /// The operator as JSON: `{"format": "attnc-operator", "version": 1, "operator": {...}}`.
    pub fn to_json(&self) -> serde_json::Value {
        // Plain data with string keys and finite numbers always serialises.
        serde_json::to_value(Envelope {
            format: FORMAT.to_owned(),
            version: VERSION,
            operator: self,
        })
        .unwrap_or_default()
    }

    /// Reads what [`Operator::to_json`] wrote, and checks it.
    ///
    /// # Errors
    /// [`ReadError`] for other text and for operators that cannot be.
    pub fn from_json(text: &str) -> Result<Operator, ReadError> {
        let envelope: Envelope<Operator> = serde_json::from_str(text)?;
        if envelope.format != FORMAT || envelope.version != VERSION {
            return Err(ReadError::Version {
                format: envelope.format,
                version: envelope.version,
            });
        }
        envelope
            .operator
            .validate()
            .map_err(|list| ReadError::Invalid(InvalidOperator(list)))?;
        Ok(envelope.operator)
    }
}

fn is_name(name: &str) -> bool {
    const KEYWORDS: [&str; 8] = [
        "edition",
        "use",
        "let",
        "attention",
        "branch",
        "for",
        "in",
        "with",
    ];
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !KEYWORDS.contains(&name)
        && crate::words::Word::from_name(name).is_none()
}
