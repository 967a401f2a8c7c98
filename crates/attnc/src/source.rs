// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What compilation can start from: a checked operator, or the text of a later stage.
//!
//! In: text whose first word names the stage. Out: a [`Source`], checked by the verifier of its stage.

use attnc_graph::{Form, Header, OpGraph, ParseError};
use attnc_spec::Operator;
use attnc_tile::core::Core;
use attnc_tile::verify::{self, VerifyError};

use crate::attention::Attention;
use crate::signature::Signature;

/// The start of a compilation.
#[derive(Clone, Debug)]
pub enum Source {
    /// A checked operator.
    Operator(Box<Operator>),
    /// A graph, unfused or fused.
    Graph(OpGraph),
    /// A tile program that passed its verifier.
    Tile(Box<Core>),
}

/// Stages whose text can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageName {
    /// `emit --stage graph`.
    Graph,
    /// `emit --stage fused`.
    Fused,
    /// `emit --stage tile`.
    Tile,
}

impl StageName {
    /// Every stage, in the order of the pipeline.
    pub const ALL: [StageName; 3] = [StageName::Graph, StageName::Fused, StageName::Tile];

    /// The first word of its text.
    pub fn name(self) -> &'static str {
        match self {
            StageName::Graph => "graph",
            StageName::Fused => "fused",
            StageName::Tile => "tile",
        }
    }

    /// The stage that `text` is of, by its first line that is not blank or a comment: the name of the stage and a version. No `.attn` file
    /// begins so, whatever word stands for the version. A byte order mark may come before.
    pub fn of(text: &str) -> Option<StageName> {
        let first = text
            .strip_prefix('\u{feff}')
            .unwrap_or(text)
            .lines()
            .map(|l| l.split("//").next().unwrap_or_default().trim())
            .find(|l| !l.is_empty())?;
        let mut words = first.split_whitespace();
        let (stage, version) = (words.next()?, words.next()?);
        let versioned = version.bytes().all(|b| b.is_ascii_alphanumeric());
        StageName::ALL
            .into_iter()
            .find(|s| s.name() == stage && versioned)
    }
}

/// Why the text of a stage cannot be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SourceError {
    /// A mistake in the text of a graph.
    #[error("{0}")]
    Graph(#[from] ParseError),
    /// A mistake in the text of a tile program.
    #[error("{0}")]
    Tile(#[from] attnc_tile::ParseError),
    /// A tile program that breaks rules of its verifier.
    #[error("the program is refused: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Verify(Vec<VerifyError>),
}

impl Source {
    /// The program that `text` of `stage` says.
    ///
    /// # Errors
    /// The first mistake, by line and column; the rules that a tile program breaks, by number.
    pub fn parse(stage: StageName, text: &str) -> Result<Source, SourceError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match stage {
            StageName::Graph | StageName::Fused => Ok(Source::Graph(attnc_graph::parse(text)?)),
            StageName::Tile => {
                let core = attnc_tile::parse(text)?;
                verify::core(&core).map_err(SourceError::Verify)?;
                Ok(Source::Tile(Box::new(core)))
            }
        }
    }

    /// The names of stages whose text stands for less than an operator, for messages; `operator` for one.
    pub fn stage(&self) -> &'static str {
        match self {
            Source::Operator(_) => "operator",
            Source::Graph(g) => match g.header().form {
                Form::Graph => StageName::Graph.name(),
                Form::Fused => StageName::Fused.name(),
            },
            Source::Tile(_) => StageName::Tile.name(),
        }
    }

    /// What a host must know to call it.
    pub fn signature(&self) -> Signature {
        match self {
            Source::Operator(op) => Signature::from(&**op),
            Source::Graph(g) => Signature::from(g.header()),
            Source::Tile(core) => Signature::from(&**core),
        }
    }
}

impl From<&Operator> for Source {
    fn from(op: &Operator) -> Source {
        Source::Operator(Box::new(op.clone()))
    }
}

impl From<&Attention> for Source {
    fn from(attention: &Attention) -> Source {
        Source::from(attention.operator())
    }
}

impl From<&Header> for Signature {
    fn from(h: &Header) -> Signature {
        Signature {
            name: h.name.clone(),
            heads: h.heads,
            kv_heads: h.kv_heads,
            head_dim: h.head_dim,
            dtype: h.dtype,
            causal: h.causal,
        }
    }
}

impl From<&Core> for Signature {
    fn from(c: &Core) -> Signature {
        Signature {
            name: c.name.clone(),
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            dtype: c.dtype,
            causal: c.causal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_tells_the_stage() {
        assert_eq!(StageName::of("graph 1 tiny\n"), Some(StageName::Graph));
        assert_eq!(
            StageName::of("// a comment\n\nfused 7 tiny"),
            Some(StageName::Fused)
        );
        assert_eq!(StageName::of("\u{feff}tile 2 x"), Some(StageName::Tile));
        assert_eq!(StageName::of("tile two x"), Some(StageName::Tile));
        for other in [
            "",
            "graph = 1",
            "attention graph {}",
            "graph",
            "graphs 1 x",
            "let graph = 1",
        ] {
            assert_eq!(StageName::of(other), None, "{other}");
        }
    }
}
