// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tokens: the words of the text, comments included.

/// A word of the text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// First byte.
    pub(crate) start: u32,
    /// One past the last byte.
    pub(crate) end: u32,
    /// Line ends between the token before and this one: 0, 1, or 2 for more.
    pub(crate) newlines: u8,
}

impl Token {
    pub(crate) fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Kinds of tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Ident,
    Keyword(Keyword),
    /// Up to 2^63.
    Int(u64),
    Float(f64),
    /// A number that the lexer complained about.
    BadNumber,
    Str,
    /// A string that the lexer complained about.
    BadStr,
    /// Characters that the lexer complained about.
    Bad,
    LineComment,
    BlockComment,
    LBrace,
    RBrace,
    LBracket,
    RBracket,
    LParen,
    RParen,
    Comma,
    Eq,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
    Caret,
    DotDot,
    /// `..=`
    DotDotEq,
    Eof,
}

impl Kind {
    pub(crate) fn is_comment(self) -> bool {
        matches!(self, Kind::LineComment | Kind::BlockComment)
    }
}

/// Reserved words of the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Edition,
    Use,
    Let,
    Attention,
    Branch,
    For,
    In,
    With,
}

impl Keyword {
    pub(crate) const ALL: [(&'static str, Keyword); 8] = [
        ("edition", Keyword::Edition),
        ("use", Keyword::Use),
        ("let", Keyword::Let),
        ("attention", Keyword::Attention),
        ("branch", Keyword::Branch),
        ("for", Keyword::For),
        ("in", Keyword::In),
        ("with", Keyword::With),
    ];

    pub(crate) fn from_text(text: &str) -> Option<Keyword> {
        Keyword::ALL
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, keyword)| *keyword)
    }
}
