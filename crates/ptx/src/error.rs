// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can be wrong with PTX text. In: nothing. Out: positions and typed parse errors.

use std::fmt;

/// A place in the text: line and column, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pos {
    /// Line, from 1.
    pub line: u32,
    /// Column in bytes, from 1.
    pub col: u32,
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.col)
    }
}

/// The text is not PTX that this crate knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pos}: {kind}")]
pub struct ParseError {
    /// Where.
    pub pos: Pos,
    /// What.
    pub kind: ParseErrorKind,
}

/// The kinds of [`ParseError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// A character that begins no token.
    #[error("unexpected character {0:?}")]
    Character(char),
    /// A comment or string without its end.
    #[error("{0} without its end")]
    Unterminated(&'static str),
    /// A malformed number.
    #[error("malformed number `{0}`")]
    Number(String),
    /// A token where another was needed.
    #[error("expected {expected}, found `{found}`")]
    Expected {
        /// What the grammar wants here.
        expected: &'static str,
        /// What stands here.
        found: String,
    },
    /// A directive that this crate does not know.
    #[error("unknown directive `{0}`")]
    UnknownDirective(String),
    /// An opcode that this crate does not know.
    #[error("unknown opcode `{0}`")]
    UnknownOpcode(String),
    /// A modifier that no form of the opcode has.
    #[error("unknown modifier `.{modifier}` of `{opcode}`")]
    UnknownModifier {
        /// The first part of the opcode.
        opcode: String,
        /// The modifier without its dot.
        modifier: String,
    },
    /// Modifiers known one by one, but not together or not in this order.
    #[error("`{0}` is no combination of modifiers that the opcode has")]
    Combination(String),
    /// Text nested deeper than any compiler prints.
    #[error("nested too deeply")]
    Depth,
}

impl ParseError {
    /// An error at a place.
    pub fn new(pos: Pos, kind: ParseErrorKind) -> Self {
        Self { pos, kind }
    }
}
