// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tokens to a tree. Never fails: every mistake is reported, what cannot be read is skipped to the next item.
//!
//! In: a source file. Out: [`Parsed`]. One diagnostic a mistake: after one has been reported at a token, others at the same token are
//! its consequences and stay silent; so do complaints about a token behind characters that the lexer complained about.
//! `items` has the top-level items, `blocks` what stands in braces, `expressions` the expressions; here stand the cursor and the recovery.

mod blocks;
mod expressions;
mod items;

use std::collections::BTreeSet;

use attnc_diag::{Code, Diagnostic, FileId, Sink, SourceFile, Span};

use crate::ast::{self, Ident};
use crate::lexer::lex;
use crate::limits::{MAX_DEPTH, MAX_FILE_BYTES};
use crate::token::{Keyword, Kind, Token};

/// What a text says, as far as it can be read.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The tree; with holes where there are diagnostics.
    pub file: ast::File,
    /// The mistakes of the text, by place.
    pub diagnostics: Vec<Diagnostic>,
    /// Names in the parts that could not be read: whoever misses one of them should not complain.
    pub lost_names: BTreeSet<String>,
}

/// Reads a file. Files over the size limit or not in UTF-8 give an empty tree and one diagnostic.
pub fn parse(file: FileId, source: &SourceFile) -> Parsed {
    let text = source.text();
    let mut sink = Sink::new();
    let empty = ast::File {
        edition: None,
        items: Vec::new(),
    };
    if text.len() > MAX_FILE_BYTES {
        let mut at = MAX_FILE_BYTES;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let message = format!("the file has more than {MAX_FILE_BYTES} bytes");
        let span = Span::new(file, at, at);
        sink.push(
            Diagnostic::new(
                Code::FileTooLarge,
                span,
                message,
                "the limit of 1 MiB is reached here",
            )
            .with_help("is this an `.attn` file? Several files can be joined by `use`"),
        );
        return Parsed {
            file: empty,
            diagnostics: sink.into_sorted(),
            lost_names: BTreeSet::new(),
        };
    }
    if let Some(bytes) = source.invalid_utf8() {
        let span = Span::new(file, bytes.start, bytes.end);
        sink.push(
            Diagnostic::new(
                Code::NotUtf8,
                span,
                "the file is not UTF-8",
                "these bytes are no character",
            )
            .with_help("store the file as UTF-8"),
        );
        return Parsed {
            file: empty,
            diagnostics: sink.into_sorted(),
            lost_names: BTreeSet::new(),
        };
    }
    let tokens: Vec<Token> = lex(file, text, &mut sink);
    let mut parser = Parser {
        file,
        text,
        tokens: Vec::with_capacity(tokens.len()),
        behind_bad: Vec::new(),
        at: 0,
        blamed: None,
        expression_depth: 0,
        block_depth: 0,
        lost_names: BTreeSet::new(),
        sink: &mut sink,
    };
    parser.take_tokens(&tokens);
    let file = parser.file();
    let lost_names = std::mem::take(&mut parser.lost_names);
    Parsed {
        file,
        lost_names,
        diagnostics: sink.into_sorted(),
    }
}

struct Parser<'a> {
    file: FileId,
    text: &'a str,
    /// Without comments and bad characters; the last one is `Eof`.
    tokens: Vec<Token>,
    /// Indices of the tokens that follow bad characters, ascending.
    behind_bad: Vec<usize>,
    at: usize,
    /// The token that a mistake was reported at last.
    blamed: Option<usize>,
    expression_depth: usize,
    block_depth: usize,
    lost_names: BTreeSet<String>,
    sink: &'a mut Sink,
}

impl Parser<'_> {
    /// Drops comments and bad characters; line ends around them count for the token that follows.
    fn take_tokens(&mut self, tokens: &[Token]) {
        let mut newlines = 0u8;
        for token in tokens {
            newlines = (newlines + token.newlines).min(2);
            match token.kind {
                Kind::LineComment => {}
                Kind::BlockComment => {
                    if self.text[token.range()].contains('\n') {
                        newlines = newlines.max(1);
                    }
                }
                Kind::Bad => {
                    if self.behind_bad.last() != Some(&self.tokens.len()) {
                        self.behind_bad.push(self.tokens.len());
                    }
                }
                _ => {
                    self.tokens.push(Token { newlines, ..*token });
                    newlines = 0;
                }
            }
        }
    }

    fn token(&self) -> Token {
        self.tokens[self.at]
    }

    fn kind(&self) -> Kind {
        self.token().kind
    }

    fn kind_after(&self, ahead: usize) -> Kind {
        self.tokens
            .get(self.at + ahead)
            .map_or(Kind::Eof, |t| t.kind)
    }

    fn span(&self) -> Span {
        self.span_of(self.token())
    }

    fn span_of(&self, token: Token) -> Span {
        Span::new(self.file, token.start as usize, token.end as usize)
    }

    /// From `start` to the end of the last token passed.
    fn span_from(&self, start: Span) -> Span {
        let end = self
            .at
            .checked_sub(1)
            .map_or(start.end, |last| self.tokens[last].end);
        Span {
            end: end.max(start.end),
            ..start
        }
    }

    fn text_of(&self, token: Token) -> &str {
        &self.text[token.range()]
    }

    /// Passes the token; the end of the file is never passed.
    fn bump(&mut self) -> Token {
        let token = self.token();
        if token.kind != Kind::Eof {
            self.at += 1;
        }
        token
    }

    /// Passes a token that no part of the tree will hold.
    fn lose(&mut self) {
        let token = self.bump();
        if token.kind == Kind::Ident && token.range().len() <= 64 {
            let name = self.text_of(token).to_owned();
            self.lost_names.insert(name);
        }
    }

    fn eat(&mut self, kind: Kind) -> bool {
        let found = self.kind() == kind;
        if found {
            self.at += 1;
        }
        found
    }

    /// Whether a mistake at the present token is news.
    fn is_news(&self) -> bool {
        self.blamed != Some(self.at) && self.behind_bad.binary_search(&self.at).is_err()
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        if self.is_news() {
            self.sink.push(diagnostic);
        }
        self.blamed = Some(self.at);
    }

    /// Reports that `what` was expected in place of the present token.
    fn unexpected(&mut self, what: &str, help: Option<String>) {
        let found = self.describe(self.token());
        let mut diagnostic = Diagnostic::new(
            Code::UnexpectedToken,
            self.span(),
            format!("expected {what}, found {found}"),
            format!("expected {what}"),
        );
        let otherwise = match self.kind() {
            Kind::Eof => format!("add {what}"),
            _ => format!("write {what} here, or remove {found}"),
        };
        diagnostic.help = Some(help.unwrap_or(otherwise));
        self.report(diagnostic);
    }

    /// The token in words.
    fn describe(&self, token: Token) -> String {
        match token.kind {
            Kind::Eof => "the end of the file".to_owned(),
            Kind::Keyword(_) => format!("the keyword `{}`", self.text_of(token)),
            Kind::Str | Kind::BadStr => "a string".to_owned(),
            _ => {
                let text = self.text_of(token);
                if text.len() <= 40 {
                    format!("`{text}`")
                } else {
                    format!("`{}...`", text.chars().take(37).collect::<String>())
                }
            }
        }
    }

    /// Passes `kind` or reports that it is missing.
    fn expect(&mut self, kind: Kind, what: &str, help: Option<&str>) -> bool {
        let found = self.eat(kind);
        if !found {
            self.unexpected(what, help.map(str::to_owned));
        }
        found
    }

    /// Whether the present token stands on a later line than `before`, and not further in than that line.
    fn is_dedented(&self, before: Token) -> bool {
        // A line that is longer than that has no indentation worth looking for.
        const REACH: usize = 1024;
        let indent = |token: Token| {
            let end = token.start as usize;
            let head = &self.text.as_bytes()[end.saturating_sub(REACH)..end];
            let line = match head.iter().rposition(|b| *b == b'\n') {
                Some(at) => &head[at + 1..],
                None if end <= REACH => head,
                None => return None,
            };
            Some(
                line.iter()
                    .take_while(|b| matches!(b, b' ' | b'\t'))
                    .count(),
            )
        };
        let (here, there) = (indent(self.token()), indent(before));
        self.token().newlines > 0 && here.zip(there).is_some_and(|(here, there)| here <= there)
    }

    /// Passes the closing bracket of `open`, or reports `open` as not closed.
    fn close(&mut self, open: Token, kind: Kind, symbol: &str) -> bool {
        if self.eat(kind) {
            return true;
        }
        let found = self.describe(self.token());
        let label = format!("this `{}` is not closed", self.text_of(open));
        let diagnostic = Diagnostic::new(
            Code::Unclosed,
            self.span_of(open),
            format!("{label}: expected `{symbol}`, found {found}"),
            label,
        )
        .with_secondary(self.span(), format!("`{symbol}` expected before this"))
        .with_help(format!("add `{symbol}`"));
        self.report(diagnostic);
        false
    }

    /// A name, or a report that one is missing. Keywords in its place are reported and taken as the name.
    fn ident(&mut self, what: &str) -> Option<Ident> {
        let token = self.token();
        match token.kind {
            Kind::Ident => {}
            Kind::Keyword(_)
                if matches!(
                    self.kind_after(1),
                    Kind::Eq | Kind::LBrace | Kind::Keyword(Keyword::In)
                ) =>
            {
                let word = self.text_of(token).to_owned();
                self.report(
                    Diagnostic::new(
                        Code::KeywordAsName,
                        self.span(),
                        format!("`{word}` is a keyword and no name"),
                        format!("expected {what}"),
                    )
                    .with_help(format!("take another name, such as `{word}_`")),
                );
            }
            _ => {
                self.unexpected(what, None);
                return None;
            }
        }
        self.bump();
        Some(Ident {
            name: self.text_of(token).to_owned(),
            span: self.span_of(token),
        })
    }

    /// The keyword among `candidates` that the present word is a misspelling of.
    fn near_keyword(&self, candidates: &[&'static str]) -> Option<&'static str> {
        let token = self.token();
        let word = self.text_of(token);
        if token.kind != Kind::Ident || word.len() > 16 {
            return None;
        }
        let word = word.to_ascii_lowercase();
        let alias = match word.as_str() {
            "import" | "include" => "use",
            "const" | "var" | "def" => "let",
            "op" | "operator" | "attn" => "attention",
            _ => "",
        };
        if let Some(name) = candidates.iter().find(|name| **name == alias) {
            return Some(name);
        }
        candidates
            .iter()
            .copied()
            .find(|name| strsim::osa_distance(&word, name) <= if name.len() > 4 { 2 } else { 1 })
    }

    /// Skips to the next token at which a top-level item begins; braces are skipped whole.
    fn skip_to_item(&mut self) {
        let mut depth = 0usize;
        loop {
            match self.kind() {
                Kind::Eof => return,
                Kind::Keyword(Keyword::Attention | Keyword::Use | Keyword::Edition) => return,
                Kind::Keyword(Keyword::Let) if depth == 0 => return,
                Kind::LBrace => depth += 1,
                Kind::RBrace => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.lose();
        }
    }

    /// Skips what is left of a wrong item of a block: to the brace that closes the block or to the next item.
    fn skip_in_block(&mut self) {
        let mut depth = 0usize;
        loop {
            match self.kind() {
                Kind::Eof => return,
                Kind::Keyword(Keyword::Attention | Keyword::Edition) => return,
                Kind::Keyword(Keyword::Branch | Keyword::For | Keyword::Let | Keyword::Use)
                | Kind::Comma
                    if depth == 0 =>
                {
                    return;
                }
                Kind::Ident if depth == 0 && self.kind_after(1) == Kind::Eq => return,
                Kind::LBrace => depth += 1,
                Kind::RBrace if depth == 0 => return,
                Kind::RBrace => depth -= 1,
                _ => {}
            }
            self.lose();
        }
    }

    /// Skips the inside of brackets that nest too deep, up to the closing one that belongs to the level kept, or to an item.
    fn skip_nested(&mut self) {
        let mut depth = 0usize;
        loop {
            match self.kind() {
                Kind::Eof | Kind::Keyword(_) | Kind::LBrace | Kind::RBrace => return,
                Kind::Ident
                    if depth == 0
                        && self.token().newlines > 0
                        && self.kind_after(1) == Kind::Eq =>
                {
                    return;
                }
                Kind::Comma if depth == 0 => return,
                Kind::LBracket | Kind::LParen => depth += 1,
                Kind::RBracket | Kind::RParen if depth == 0 => return,
                Kind::RBracket | Kind::RParen => depth -= 1,
                _ => {}
            }
            self.lose();
        }
    }

    fn too_deep(&mut self, what: &str) {
        let diagnostic = Diagnostic::new(
            Code::NestingTooDeep,
            self.span(),
            format!("{what} nest deeper than {MAX_DEPTH}"),
            "too deep here",
        )
        .with_help("name the inner parts with `let`");
        self.report(diagnostic);
    }
}

#[cfg(test)]
mod tests;
