// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a place of a text asks for, also where the text is unfinished: by the tokens before it, for completion.
//!
//! In: a text and a byte. Out: [`Context`]. One pass over the tokens; nothing is parsed.

use std::ops::Range;

use attnc_diag::{FileId, Sink};

use crate::lexer::lex;
use crate::token::{Keyword, Kind, Token};

/// What stands in braces, and the file itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// The top level.
    File,
    /// An attention.
    Attention,
    /// A branch.
    Branch,
    /// A `for`.
    For,
}

/// What a place asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Context<'a> {
    /// Nothing that is known: a name of the author's choice, a comment, an operator.
    Nothing,
    /// An item of a block.
    Item {
        /// Of which.
        block: Block,
        /// Fields given before in the same block.
        given: Vec<&'a str>,
    },
    /// A value; of that field, if it is one's.
    Value {
        /// The field's name.
        field: Option<&'a str>,
    },
    /// The attention that is copied.
    Base,
    /// A path, in the quotes of a `use`.
    Path,
    /// `with`.
    With,
}

/// The words of the grammar.
pub fn keywords() -> impl Iterator<Item = &'static str> {
    Keyword::ALL.into_iter().map(|(name, _)| name)
}

/// The keyword at byte `offset`, and where it stands.
pub fn keyword_at(text: &str, offset: usize) -> Option<(&'static str, Range<usize>)> {
    let tokens = lex(FileId::new(0), text, &mut Sink::new());
    let here = |t: &&Token| t.range().contains(&offset) || t.range().end == offset;
    tokens.iter().filter(here).find_map(|t| match t.kind {
        Kind::Keyword(keyword) => {
            let all = Keyword::ALL.into_iter();
            let mut names = all.filter(|(_, k)| *k == keyword).map(|(name, _)| name);
            names.next().map(|name| (name, t.range()))
        }
        _ => None,
    })
}

/// A block that is open, with the fields given in it so far.
struct Open<'a> {
    block: Block,
    given: Vec<&'a str>,
}

/// What byte `offset` of a text asks for; a word that ends there is being written.
pub fn context_at(text: &str, offset: usize) -> Context<'_> {
    let tokens = lex(FileId::new(0), text, &mut Sink::new());
    let writing = |t: &Token| {
        let word = matches!(
            t.kind,
            Kind::Ident | Kind::Keyword(_) | Kind::BadStr | Kind::LineComment
        );
        (t.start as usize) < offset && (offset < t.end as usize || word && offset == t.end as usize)
    };
    if let Some(t) = tokens.iter().find(|t| writing(t)) {
        match t.kind {
            Kind::Ident | Kind::Keyword(_) => {}
            Kind::Str | Kind::BadStr => {
                let before = tokens
                    .iter()
                    .rfind(|b| b.end <= t.start && !b.kind.is_comment());
                let path = before.is_some_and(|b| b.kind == Kind::Keyword(Keyword::Use));
                return if path {
                    Context::Path
                } else {
                    Context::Nothing
                };
            }
            _ => return Context::Nothing,
        }
    }
    let done = tokens
        .iter()
        .filter(|t| !t.kind.is_comment() && t.kind != Kind::Eof)
        .take_while(|t| t.end as usize <= offset && !writing(t));
    Reader::new(text).read(&done.copied().collect::<Vec<_>>())
}

struct Reader<'a> {
    text: &'a str,
    open: Vec<Open<'a>>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Reader<'a> {
        let file = Open {
            block: Block::File,
            given: Vec::new(),
        };
        Reader {
            text,
            open: vec![file],
        }
    }

    fn word(&self, t: &Token) -> &'a str {
        self.text.get(t.range()).unwrap_or_default()
    }

    fn read(mut self, tokens: &[Token]) -> Context<'a> {
        // The keyword that the next brace belongs to, and the field whose value is being written.
        let mut header: Option<Keyword> = None;
        let mut field: Option<&'a str> = None;
        for (i, t) in tokens.iter().enumerate() {
            match t.kind {
                Kind::Keyword(k @ (Keyword::Attention | Keyword::Branch | Keyword::For)) => {
                    header = Some(k);
                    field = None;
                }
                Kind::Keyword(Keyword::With | Keyword::In) => {}
                Kind::Keyword(_) => {
                    header = None;
                    field = None;
                }
                Kind::LBrace => {
                    let block = match header.take() {
                        Some(Keyword::Branch) => Block::Branch,
                        Some(Keyword::For) => Block::For,
                        _ => Block::Attention,
                    };
                    let given = Vec::new();
                    self.open.push(Open { block, given });
                    field = None;
                }
                Kind::RBrace if self.open.len() > 1 => {
                    self.open.pop();
                    field = None;
                    header = None;
                }
                Kind::Eq if i > 0 && header.is_none() && tokens[i - 1].kind == Kind::Ident => {
                    let before = i.checked_sub(2).map(|j| tokens[j].kind);
                    let name = self.word(&tokens[i - 1]);
                    field = None;
                    if before != Some(Kind::Keyword(Keyword::Let)) {
                        field = Some(name);
                        if let Some(open) = self.open.last_mut() {
                            open.given.push(name);
                        }
                    }
                }
                _ => {}
            }
        }
        let (last, before) = match tokens {
            [.., before, last] => (last.kind, Some(before.kind)),
            [last] => (last.kind, None),
            [] => return self.item(),
        };
        match last {
            Kind::Eq if header == Some(Keyword::Attention) => Context::Base,
            Kind::Ident if header == Some(Keyword::Attention) && before == Some(Kind::Eq) => {
                Context::With
            }
            Kind::Eq
            | Kind::Plus
            | Kind::Minus
            | Kind::Star
            | Kind::Slash
            | Kind::Percent
            | Kind::Caret
            | Kind::DotDot
            | Kind::LBracket
            | Kind::LParen
            | Kind::Keyword(Keyword::In) => Context::Value { field },
            Kind::Comma if self.in_brackets(tokens) => Context::Value { field },
            Kind::LBrace | Kind::RBrace | Kind::Comma => self.item(),
            // The end of a value or of a `use`: an item may follow.
            Kind::Int(_) | Kind::Float(_) | Kind::RParen | Kind::RBracket | Kind::Str => {
                if header.is_none() && !self.in_brackets(tokens) {
                    self.item()
                } else {
                    Context::Nothing
                }
            }
            Kind::Ident if header.is_none() && before == Some(Kind::Eq) => self.item(),
            _ => Context::Nothing,
        }
    }

    /// Whether a bracket is open.
    fn in_brackets(&self, tokens: &[Token]) -> bool {
        let mut depth = 0i64;
        for t in tokens.iter().rev() {
            match t.kind {
                Kind::RBracket | Kind::RParen => depth += 1,
                Kind::LBracket | Kind::LParen if depth == 0 => return true,
                Kind::LBracket | Kind::LParen => depth -= 1,
                Kind::LBrace | Kind::RBrace => return false,
                _ => {}
            }
        }
        false
    }

    fn item(mut self) -> Context<'a> {
        match self.open.pop() {
            Some(Open { block, given }) => Context::Item { block, given },
            None => Context::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The context of the place marked `|`.
    fn at(marked: &'static str) -> Context<'static> {
        let offset = marked.find('|').expect("a mark");
        let text = Box::leak(marked.replacen('|', "", 1).into_boxed_str());
        context_at(text, offset)
    }

    fn item(block: Block, given: &[&'static str]) -> Context<'static> {
        let given = given.to_vec();
        Context::Item { block, given }
    }

    #[test]
    fn places_ask_for_what_the_grammar_lets_in() {
        let value = |field| Context::Value { field };
        for (marked, expected) in [
            ("|", item(Block::File, &[])),
            ("att|", item(Block::File, &[])),
            ("let a = 1\n|", item(Block::File, &[])),
            ("use \"st|\"", Context::Path),
            ("use \"st|", Context::Path),
            ("attention |", Context::Nothing),
            ("attention a = |", Context::Base),
            ("attention a = b|", Context::Base),
            ("attention a = b |", Context::With),
            ("attention a = b with { |", item(Block::Attention, &[])),
            (
                "attention a { heads = 2\n he|",
                item(Block::Attention, &["heads"]),
            ),
            ("attention a { dtype = |", value(Some("dtype"))),
            ("attention a { dtype = b|", value(Some("dtype"))),
            ("attention a { scale = 1 / sqrt(|", value(Some("scale"))),
            ("attention a { branch { |", item(Block::Branch, &[])),
            (
                "attention a { branch { segment = 8, | }",
                item(Block::Branch, &["segment"]),
            ),
            (
                "attention a { branch { segment = [1, |",
                value(Some("segment")),
            ),
            (
                "attention a { heads = 1 branch { segment = 8 } |",
                item(Block::Attention, &["heads"]),
            ),
            ("attention a { for i in |", value(None)),
            ("attention a { for i in 0..|", value(None)),
            ("attention a { for i in 0..4 { |", item(Block::For, &[])),
            ("let x = |", value(None)),
            ("let x = 1 // no|", Context::Nothing),
            ("let |", Context::Nothing),
        ] {
            assert_eq!(at(marked), expected, "{marked}");
        }
    }

    #[test]
    fn keywords_are_found_at_both_ends() {
        for offset in 4..=6 {
            assert_eq!(keyword_at("    in x", offset), Some(("in", 4..6)));
        }
        assert_eq!(keyword_at("inx", 1), None);
        assert_eq!(keyword_at("// in", 4), None);
    }
}
