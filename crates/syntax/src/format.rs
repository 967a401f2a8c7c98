// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The formatter: spacing, indentation, commas and the alignment of `=`; never a word.
//!
//! In: a text without syntax errors. Out: the same words and comments in the house style. It works on tokens, so literals and comments
//! keep their spelling and no meaning can change: only commas are added or dropped.
//!
//! # Style
//! * Four blanks a level; at most one empty line; none after `{` or before `}`.
//! * A block that stands on one line stays there: `branch { segment = 4, dilation = 2 }`. In any other, an item has a line of its own,
//!   but fields written on one line stay together, with commas. Commas at line ends go.
//! * The `=` of fields on neighbouring lines are aligned.
//! * `a + b`, `2^i`, `0..5`, `-x`, `f(a, b)`, `list[i]`. A list with a line end in it has its brackets on lines of their own, keeps its line
//!   ends and gets a comma behind its last element; other expressions are joined on one line unless a comment forbids it.
//! * A comment stays on the line of what stands before it, or on a line of its own, as it was.
//! * Line ends become those of the file's first line; a byte order mark goes.

use attnc_diag::{FileId, Sink, SourceFile};

use crate::lexer::lex;
use crate::parser::parse;
use crate::token::{Keyword, Kind, Token};

/// The formatted text; `None` for a text with syntax errors, which is best left alone.
pub fn format(text: &str) -> Option<String> {
    let source = SourceFile::new("", text.as_bytes().to_vec());
    if !parse(FileId::new(0), &source).diagnostics.is_empty() {
        return None;
    }
    let crlf = text.find('\n').is_some_and(|at| text[..at].ends_with('\r'));
    let normal = unix_line_ends(text);
    let mut sink = Sink::new();
    let tokens = lex(FileId::new(0), &normal, &mut sink);
    let partner = partners(&tokens);
    let mut printer = Printer {
        text: &normal,
        tokens,
        partner,
        out: String::new(),
        done: 0,
        indent: 0,
        after_open: true,
    };
    printer.file();
    Some(if crlf {
        printer.out.replace('\n', "\r\n")
    } else {
        printer.out
    })
}

/// The text with `\n` at every line end; carriage returns elsewhere stay.
fn unix_line_ends(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => {
                out.push_str(line.trim_end_matches('\r'));
                out.push('\n');
            }
            None => out.push_str(line),
        }
    }
    out
}

/// For every bracket the index of the one that belongs to it; for the others their own.
fn partners(tokens: &[Token]) -> Vec<usize> {
    let mut partner: Vec<usize> = (0..tokens.len()).collect();
    let mut open = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::LBrace | Kind::LBracket | Kind::LParen => open.push(i),
            Kind::RBrace | Kind::RBracket | Kind::RParen => {
                if let Some(start) = open.pop() {
                    partner[start] = i;
                    partner[i] = start;
                }
            }
            _ => {}
        }
    }
    for start in open {
        partner[start] = tokens.len() - 1;
    }
    partner
}

/// What stands before a token where no comment does.
#[derive(Clone, Copy, PartialEq)]
enum Gap {
    None,
    Blanks(usize),
    Line,
}

const SPACE: Gap = Gap::Blanks(1);

/// An item of the file or of a block: its first token and one past its last.
struct ItemRange {
    start: usize,
    end: usize,
    field: bool,
}

struct Printer<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    partner: Vec<usize>,
    out: String,
    /// The first token that is not printed yet.
    done: usize,
    indent: usize,
    /// Whether nothing has been printed since the last `{` or the head of the file.
    after_open: bool,
}

impl Printer<'_> {
    fn kind(&self, i: usize) -> Kind {
        self.tokens.get(i).map_or(Kind::Eof, |t| t.kind)
    }

    /// The first token at or behind `i` that is no comment.
    fn word(&self, mut i: usize) -> usize {
        while self.kind(i).is_comment() {
            i += 1;
        }
        i.min(self.tokens.len() - 1)
    }

    fn line(&mut self, blank: bool, indent: usize) {
        if self.out.is_empty() {
            return;
        }
        self.out.push('\n');
        if blank {
            self.out.push('\n');
        }
        for _ in 0..indent {
            self.out.push_str("    ");
        }
    }

    /// Prints token `i` and the comments before it. Tokens between the last one printed and `i` are dropped (commas).
    /// A closing token (`closing`) stands one level further out than the comments before it.
    fn put(&mut self, i: usize, gap: Gap, closing: bool) {
        // A line end that only a comment forces inside an expression goes on one level further in.
        let inner = if gap == Gap::Line {
            self.indent
        } else {
            self.indent + 1
        };
        let (mut newlines, mut comment) = (0, Kind::Eof);
        for j in self.done..i {
            let token = self.tokens[j];
            newlines = (newlines + token.newlines).min(2);
            if !token.kind.is_comment() {
                continue;
            }
            if newlines > 0 || comment == Kind::LineComment {
                self.line(newlines > 1 && !self.after_open, inner);
            } else if !self.out.is_empty()
                && (token.kind == Kind::LineComment || !self.out.ends_with(['(', '[']))
            {
                self.out.push(' ');
            }
            let text = &self.text[token.range()];
            self.out.push_str(if token.kind == Kind::LineComment {
                text.trim_end()
            } else {
                text
            });
            self.after_open = false;
            comment = token.kind;
            newlines = 0;
        }
        let token = self.tokens[i];
        newlines = (newlines + token.newlines).min(2);
        if closing {
            self.indent -= 1;
        }
        let blank = newlines > 1
            && gap == Gap::Line
            && !self.after_open
            && !closing
            && token.kind != Kind::Eof;
        let tight = matches!(
            token.kind,
            Kind::Comma | Kind::RParen | Kind::RBracket | Kind::Eof
        );
        let outer = if gap == Gap::Line { self.indent } else { inner };
        match (comment, gap) {
            (Kind::LineComment, _) => self.line(blank, outer),
            (Kind::BlockComment, Gap::Line) if newlines > 0 || closing => self.line(blank, outer),
            (Kind::BlockComment, _) if tight => {}
            (Kind::BlockComment, _) => self.out.push(' '),
            (_, Gap::None) => {}
            (_, Gap::Blanks(n)) => self.out.extend(std::iter::repeat_n(' ', n)),
            (_, Gap::Line) => self.line(blank, outer),
        }
        self.out.push_str(&self.text[token.range()]);
        self.after_open = false;
        self.done = i + 1;
    }

    fn file(&mut self) {
        let end = self.tokens.len() - 1;
        let items = self.items(0, end);
        for item in &items {
            self.item(item, Gap::Line, None);
        }
        // Comments behind the last item stand by themselves.
        self.put(end, Gap::Line, false);
        while self.out.ends_with(['\n', ' ']) {
            self.out.pop();
        }
        if !self.out.is_empty() {
            self.out.push('\n');
        }
    }

    /// The items among the tokens `start..end`.
    fn items(&self, start: usize, end: usize) -> Vec<ItemRange> {
        let mut items = Vec::new();
        let mut i = self.word(start);
        while i < end {
            if self.kind(i) == Kind::Comma {
                i = self.word(i + 1);
                continue;
            }
            let stop = self.item_end(i).clamp(i + 1, end);
            items.push(ItemRange {
                start: i,
                end: stop,
                field: self.kind(i) == Kind::Ident,
            });
            i = self.word(stop);
        }
        items
    }

    /// One past the last token of the item that begins at `start`.
    fn item_end(&self, start: usize) -> usize {
        match self.kind(start) {
            Kind::Keyword(Keyword::Branch | Keyword::For | Keyword::Attention) => {
                let mut i = start + 1;
                while !matches!(self.kind(i), Kind::LBrace | Kind::Eof) {
                    i = self.partner[i].max(i) + 1;
                }
                self.partner.get(i).map_or(i, |close| close + 1)
            }
            Kind::Keyword(Keyword::Use | Keyword::Edition) => self.word(start + 1) + 1,
            Kind::Keyword(Keyword::Let) => self.value_end(self.word(self.word(start + 1) + 1) + 1),
            _ => self.value_end(self.word(start + 1) + 1),
        }
    }

    /// One past the last token of the expression that begins at or behind `start`.
    fn value_end(&self, start: usize) -> usize {
        let (mut i, mut end) = (self.word(start), start);
        loop {
            match self.kind(i) {
                Kind::RBrace
                | Kind::RBracket
                | Kind::RParen
                | Kind::LBrace
                | Kind::Comma
                | Kind::Eof
                | Kind::Keyword(_) => return end,
                Kind::Ident if self.kind(self.word(i + 1)) == Kind::Eq => return end,
                Kind::LBracket | Kind::LParen => i = self.partner[i],
                _ => {}
            }
            end = i + 1;
            i = self.word(end);
        }
    }

    /// Whether the source has a line end between the words `a` and `b` (indices, a before b).
    fn line_end_between(&self, a: usize, b: usize) -> bool {
        self.text[self.tokens[a].end as usize..self.tokens[b].start as usize].contains('\n')
    }

    /// Prints an item; `pad`: the width of the name of a field.
    fn item(&mut self, item: &ItemRange, gap: Gap, pad: Option<usize>) {
        self.put(item.start, gap, false);
        let mut i = self.word(item.start + 1);
        if item.field {
            let name = self.tokens[item.start].range().len();
            self.put(
                i,
                Gap::Blanks(pad.unwrap_or(name).saturating_sub(name) + 1),
                false,
            );
            return self.expr(self.word(i + 1), item.end, SPACE);
        }
        match self.kind(item.start) {
            Kind::Keyword(Keyword::Let) => {
                self.put(i, SPACE, false);
                i = self.word(i + 1);
                self.put(i, SPACE, false);
                self.expr(self.word(i + 1), item.end, SPACE);
            }
            Kind::Keyword(Keyword::For) => {
                self.put(i, SPACE, false);
                i = self.word(i + 1);
                self.put(i, SPACE, false);
                let mut open = i;
                while !matches!(self.kind(open), Kind::LBrace | Kind::Eof) {
                    open = self.partner[open].max(open) + 1;
                }
                self.expr(self.word(i + 1), open, SPACE);
                self.block(open);
            }
            _ => {
                while i < item.end {
                    if self.kind(i) == Kind::LBrace {
                        self.block(i);
                        break;
                    }
                    self.put(i, SPACE, false);
                    i = self.word(i + 1);
                }
            }
        }
    }

    fn block(&mut self, open: usize) {
        let close = self.partner[open];
        self.put(open, SPACE, false);
        let items = self.items(open + 1, close);
        let lines = self.line_end_between(open, close);
        self.after_open = lines;
        if !lines {
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    self.out.push(',');
                }
                self.item(item, SPACE, None);
            }
            let empty = items.is_empty() && self.word(open + 1) == open + 1;
            return self.put(close, if empty { Gap::None } else { SPACE }, false);
        }
        self.indent += 1;
        let together: Vec<bool> = (0..items.len())
            .map(|n| {
                n > 0
                    && items[n].field
                    && items[n - 1].field
                    && !self.line_end_between(items[n - 1].end - 1, items[n].start)
            })
            .collect();
        let pads = self.pads(&items, &together);
        for (n, item) in items.iter().enumerate() {
            if together[n] {
                self.out.push(',');
            }
            self.item(item, if together[n] { SPACE } else { Gap::Line }, pads[n]);
        }
        self.put(close, Gap::Line, true);
    }

    /// For each item the width of the longest name among the fields aligned with it.
    fn pads(&self, items: &[ItemRange], together: &[bool]) -> Vec<Option<usize>> {
        let alone = |n: usize| {
            items[n].field && !together[n] && !together.get(n + 1).copied().unwrap_or(false)
        };
        let mut pads = vec![None; items.len()];
        let mut start = 0;
        while start < items.len() {
            let mut end = start + 1;
            if alone(start) {
                while end < items.len()
                    && alone(end)
                    && self.neighbours(items[end - 1].end - 1, items[end].start)
                {
                    end += 1;
                }
                let width = items[start..end]
                    .iter()
                    .map(|item| self.tokens[item.start].range().len())
                    .max();
                pads[start..end].fill(width);
            }
            start = end;
        }
        pads
    }

    /// Whether nothing but one line end and what stands behind the first word separates two words.
    fn neighbours(&self, a: usize, b: usize) -> bool {
        let mut newlines = 0;
        for token in &self.tokens[a + 1..=b] {
            newlines += token.newlines;
            if token.kind.is_comment() && newlines > 0 {
                return false;
            }
        }
        newlines == 1
    }

    /// Prints the tokens `start..end` of an expression.
    fn expr(&mut self, start: usize, end: usize, first: Gap) {
        // Bracket pairs around the present token: whether they are spread over lines.
        let mut spread: Vec<(usize, bool)> = Vec::new();
        let mut before = Kind::Eq;
        let mut i = start;
        while i < end {
            let kind = self.kind(i);
            let gap = self.gap(
                before,
                kind,
                i,
                &spread,
                if i == start { Some(first) } else { None },
            );
            let closes = matches!(kind, Kind::RBracket | Kind::RParen);
            let lines = spread.last().is_some_and(|(_, lines)| *lines);
            if closes && lines {
                if before != Kind::Comma && !matches!(before, Kind::LBracket | Kind::LParen) {
                    self.out.push(',');
                }
                self.put(i, Gap::Line, true);
            } else if kind == Kind::Comma
                && !lines
                && self.word(i + 1) == spread.last().map_or(0, |(close, _)| *close)
            {
                // A comma before the bracket that closes on the same line goes.
                i = self.word(i + 1);
                continue;
            } else {
                self.put(i, gap, false);
            }
            match kind {
                Kind::LBracket | Kind::LParen => {
                    let lines = self.is_spread(i, before);
                    spread.push((self.partner[i], lines));
                    if lines {
                        self.indent += 1;
                        self.after_open = true;
                    }
                }
                Kind::RBracket | Kind::RParen => {
                    spread.pop();
                }
                _ => {}
            }
            // A minus that no operand stands before is unary: the word behind it is glued to it.
            before = if kind == Kind::Minus && !is_operand_end(before) {
                Kind::Caret
            } else {
                kind
            };
            i = self.word(i + 1);
        }
    }

    fn gap(
        &self,
        before: Kind,
        kind: Kind,
        i: usize,
        spread: &[(usize, bool)],
        first: Option<Gap>,
    ) -> Gap {
        let lines = spread.last().is_some_and(|(_, lines)| *lines);
        match (before, kind) {
            _ if first.is_some() => first.unwrap_or(SPACE),
            (_, Kind::Comma | Kind::RBracket | Kind::RParen | Kind::Caret | Kind::DotDot) => {
                Gap::None
            }
            (Kind::LBracket | Kind::LParen, _) => {
                if lines {
                    Gap::Line
                } else {
                    Gap::None
                }
            }
            (Kind::Comma, _) => {
                let newline = (self.done..=i).any(|j| self.tokens[j].newlines > 0);
                if lines && newline { Gap::Line } else { SPACE }
            }
            (Kind::Caret | Kind::DotDot, _) => Gap::None,
            (before, Kind::LBracket | Kind::LParen) if is_operand_end(before) => Gap::None,
            _ => SPACE,
        }
    }

    /// Whether the list or call that opens at `open` has a line end right inside it. Parentheses and indices are never spread.
    fn is_spread(&self, open: usize, before: Kind) -> bool {
        let list = match self.kind(open) {
            Kind::LBracket => !is_operand_end(before),
            _ => before == Kind::Ident,
        };
        let close = self.partner[open];
        let (mut i, mut empty) = (open + 1, true);
        while list && i <= close {
            if self.tokens[i].newlines > 0 && !(empty && i == close) {
                return true;
            }
            empty &= self.kind(i).is_comment();
            i = if matches!(self.kind(i), Kind::LBracket | Kind::LParen) {
                self.partner[i] + 1
            } else {
                i + 1
            };
        }
        false
    }
}

/// Whether an operand can end with such a token: a bracket behind it is a call's or an index's, a minus binary.
fn is_operand_end(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Ident
            | Kind::Int(_)
            | Kind::Float(_)
            | Kind::BadNumber
            | Kind::Str
            | Kind::BadStr
            | Kind::RBracket
            | Kind::RParen
    )
}
