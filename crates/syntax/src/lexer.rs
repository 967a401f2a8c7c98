// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Text to tokens. Never fails: what is no word becomes a `Bad...` token and a diagnostic.
//!
//! In: a text of at most 1 MiB. Out: tokens in order, comments included, ending with [`Kind::Eof`]; one pass, no recursion.

use attnc_diag::{Code, Diagnostic, FileId, Sink, Span};

use crate::token::{Keyword, Kind, Token};

/// The tokens of `text`.
pub(crate) fn lex(file: FileId, text: &str, sink: &mut Sink) -> Vec<Token> {
    let mut lexer = Lexer {
        file,
        text,
        bytes: text.as_bytes(),
        at: 0,
        newlines: 0,
        tokens: Vec::new(),
        sink,
    };
    if text.starts_with('\u{feff}') {
        lexer.at = 3;
    }
    lexer.run();
    lexer.tokens
}

/// The bytes of every token of `text`, comments and what is no word included; between them lies white space alone.
pub fn tokens(text: &str) -> Vec<std::ops::Range<usize>> {
    let tokens = lex(FileId::new(0), text, &mut Sink::new());
    let real = tokens.iter().filter(|token| token.kind != Kind::Eof);
    real.map(Token::range).collect()
}

/// The value of a string token: quotes and escapes resolved, unknown escapes kept.
pub(crate) fn unescape(token: &str) -> String {
    let inner = token.strip_prefix('"').unwrap_or(token);
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

struct Lexer<'a> {
    file: FileId,
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    newlines: u8,
    tokens: Vec<Token>,
    sink: &'a mut Sink,
}

fn is_ident_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn is_ident(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn push(&mut self, kind: Kind, start: usize) {
        self.tokens.push(Token {
            kind,
            start: start as u32,
            end: self.at as u32,
            newlines: self.newlines,
        });
        self.newlines = 0;
    }

    fn report(
        &mut self,
        code: Code,
        start: usize,
        end: usize,
        message: String,
        label: &str,
        help: &str,
    ) {
        let span = Span::new(self.file, start, end);
        self.sink
            .push(Diagnostic::new(code, span, message, label).with_help(help));
    }

    fn run(&mut self) {
        while self.at < self.bytes.len() {
            let start = self.at;
            let byte = self.bytes[start];
            match byte {
                b'\n' => {
                    self.newlines = (self.newlines + 1).min(2);
                    self.at += 1;
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                b'/' if self.peek(1) == b'/' => {
                    while self.at < self.bytes.len() && self.bytes[self.at] != b'\n' {
                        self.at += 1;
                    }
                    while self.at > start && self.bytes[self.at - 1] == b'\r' {
                        self.at -= 1;
                    }
                    self.push(Kind::LineComment, start);
                }
                b'/' if self.peek(1) == b'*' => self.block_comment(),
                b'"' => self.string(),
                b'0'..=b'9' => self.number(),
                b'.' if self.peek(1).is_ascii_digit() => self.number_without_integer(),
                b if is_ident_start(b) => {
                    while is_ident(self.peek(0)) {
                        self.at += 1;
                    }
                    let word = &self.text[start..self.at];
                    self.push(
                        Keyword::from_text(word).map_or(Kind::Ident, Kind::Keyword),
                        start,
                    );
                }
                _ => self.symbol(byte, start),
            }
        }
        self.push(Kind::Eof, self.at);
    }

    fn symbol(&mut self, byte: u8, start: usize) {
        let kind = match byte {
            b'{' => Kind::LBrace,
            b'}' => Kind::RBrace,
            b'[' => Kind::LBracket,
            b']' => Kind::RBracket,
            b'(' => Kind::LParen,
            b')' => Kind::RParen,
            b',' => Kind::Comma,
            b'=' => Kind::Eq,
            b'+' => Kind::Plus,
            b'-' => Kind::Minus,
            b'*' => Kind::Star,
            b'/' => Kind::Slash,
            b'%' => Kind::Percent,
            b'^' => Kind::Caret,
            b'.' if self.peek(1) == b'.' => {
                let kind = if self.peek(2) == b'=' {
                    Kind::DotDotEq
                } else {
                    Kind::DotDot
                };
                self.at += if kind == Kind::DotDotEq { 3 } else { 2 };
                return self.push(kind, start);
            }
            _ => return self.unexpected(start),
        };
        self.at += 1;
        self.push(kind, start);
    }

    /// One diagnostic for a run of characters that have no place in the language.
    fn unexpected(&mut self, start: usize) {
        let mut count = 0;
        let mut first = None;
        while let Some(c) = self.text[self.at..].chars().next() {
            let known = c.is_ascii_alphanumeric() || " \t\r\n_\"{}[](),=+-*/%^".contains(c);
            if known || (c == '.' && self.peek(1) == b'.') {
                break;
            }
            first.get_or_insert(c);
            self.at += c.len_utf8();
            count += 1;
        }
        let first = first.unwrap_or(' ');
        let shown = if first.is_control()
            || first.is_whitespace()
            || !first.is_ascii() && !first.is_alphanumeric()
        {
            format!("U+{:04X}", first as u32)
        } else {
            format!("`{first}`")
        };
        let message = match count {
            1 => format!("unexpected character {shown}"),
            more => format!("{more} unexpected characters from {shown} on"),
        };
        let help = match first {
            ';' => "items end at the end of their line; remove it",
            ':' => "a field is given with `=`: `heads = 12`",
            '\'' => "strings stand in double quotes",
            '#' => "comments begin with `//`",
            '“' | '”' => "strings stand in straight double quotes: `\"`",
            '.' => "a number needs digits on both sides of its point; a range is `a..b`",
            c if c.is_alphabetic() => {
                "names are made of the letters A to Z and a to z, digits and `_`"
            }
            c if c.is_whitespace() => "replace it by a common space",
            _ => "remove it",
        };
        self.report(
            Code::UnexpectedCharacter,
            start,
            self.at,
            message,
            "no word of the language has this",
            help,
        );
        self.push(Kind::Bad, start);
    }

    fn block_comment(&mut self) {
        let start = self.at;
        let mut depth = 0usize;
        while self.at < self.bytes.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return self.push(Kind::BlockComment, start);
                    }
                }
                _ => self.at += 1,
            }
        }
        let help = if depth > 1 {
            "comments nest: every `/*` inside needs a `*/` of its own"
        } else {
            "close it with `*/`"
        };
        self.report(
            Code::UnterminatedComment,
            start,
            start + 2,
            "this comment is not closed before the end of the file".to_owned(),
            "the comment begins here",
            help,
        );
        self.push(Kind::BlockComment, start);
    }

    fn string(&mut self) {
        let start = self.at;
        let mut good = true;
        self.at += 1;
        loop {
            match self.peek(0) {
                b'"' => {
                    self.at += 1;
                    return self.push(if good { Kind::Str } else { Kind::BadStr }, start);
                }
                b'\\' if matches!(self.peek(1), b'"' | b'\\') => self.at += 2,
                b'\\'
                    if self.at + 1 < self.bytes.len() && !matches!(self.peek(1), b'\n' | b'\r') =>
                {
                    let from = self.at;
                    let escaped = self.text[from + 1..].chars().next().unwrap_or(' ');
                    self.at += 1 + escaped.len_utf8();
                    good = false;
                    let message = format!("unknown escape `\\{}`", escaped.escape_default());
                    let help =
                        "only `\\\"` and `\\\\` are escapes; a backslash itself is written `\\\\`";
                    self.report(
                        Code::UnknownEscape,
                        from,
                        self.at,
                        message,
                        "not an escape",
                        help,
                    );
                }
                b'\n' | b'\r' | 0 if self.at >= self.bytes.len() || self.bytes[self.at] != 0 => {
                    self.report(
                        Code::UnterminatedString,
                        start,
                        self.at,
                        "this string is not closed on its line".to_owned(),
                        "the string begins here",
                        "close it with `\"`",
                    );
                    return self.push(Kind::BadStr, start);
                }
                _ => self.at += 1,
            }
        }
    }

    /// Digits with single `_` between them; whether they are well-formed.
    fn digits(&mut self) -> bool {
        let start = self.at;
        while self.peek(0).is_ascii_digit() || self.peek(0) == b'_' {
            self.at += 1;
        }
        let digits = &self.bytes[start..self.at];
        !digits.is_empty()
            && !digits.starts_with(b"_")
            && !digits.ends_with(b"_")
            && !digits.windows(2).any(|w| w == b"__")
    }

    fn number_without_integer(&mut self) {
        let start = self.at;
        self.at += 1;
        while is_ident(self.peek(0)) {
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        let (message, help) = (
            format!("malformed number `{text}`"),
            format!("write `0{text}`"),
        );
        self.report(
            Code::MalformedNumber,
            start,
            self.at,
            message,
            "a digit is missing before the point",
            &help,
        );
        self.push(Kind::BadNumber, start);
    }

    fn number(&mut self) {
        let start = self.at;
        let mut good = self.digits();
        let mut label = "`_` stands between two digits only";
        let mut help = "write for instance `1_000`".to_owned();
        let integer_end = self.at;
        let mut float = false;
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            float = true;
            self.at += 1;
            if self.peek(0).is_ascii_digit() {
                good &= self.digits();
            } else {
                help = format!("write `{}.0`", &self.text[start..integer_end]);
                label = "a digit is missing after the point";
                good = false;
            }
        }
        let exponent = matches!(self.peek(0), b'e' | b'E');
        let signed = matches!(self.peek(1), b'+' | b'-');
        if exponent && (self.peek(1).is_ascii_digit() || signed && self.peek(2).is_ascii_digit()) {
            float = true;
            self.at += 1 + usize::from(signed);
            good &= self.digits();
        } else if exponent && !is_ident(self.peek(1)) {
            self.at += 1 + usize::from(signed);
            label = "the exponent has no digits";
            help = "write for instance `1e6`, or `1e-3`".to_owned();
            good = false;
        }
        if !good {
            while is_ident(self.peek(0)) {
                self.at += 1;
            }
            let message = format!("malformed number `{}`", &self.text[start..self.at]);
            self.report(Code::MalformedNumber, start, self.at, message, label, &help);
            return self.push(Kind::BadNumber, start);
        }
        if float {
            self.float(start)
        } else {
            self.integer(start)
        }
    }

    fn float(&mut self, start: usize) {
        let end = self.at;
        if is_ident_start(self.peek(0)) {
            return self.bad_suffix(start, end, true);
        }
        let text: String = self.text[start..end]
            .chars()
            .filter(|c| *c != '_')
            .collect();
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => self.push(Kind::Float(value), start),
            _ => {
                let message = format!("`{}` is larger than any float", short(&text));
                self.report(
                    Code::NonFinite,
                    start,
                    end,
                    message,
                    "not a finite number",
                    "floats go up to about 1.8e308",
                );
                self.push(Kind::BadNumber, start);
            }
        }
    }

    fn integer(&mut self, start: usize) {
        let digits_end = self.at;
        let factor: u64 = match self.peek(0) {
            b'k' => 1 << 10,
            b'M' => 1 << 20,
            b'G' => 1 << 30,
            _ => 1,
        };
        if factor > 1 {
            self.at += 1;
        }
        if is_ident(self.peek(0)) {
            return self.bad_suffix(start, digits_end, false);
        }
        let value = self.bytes[start..digits_end]
            .iter()
            .filter(|b| **b != b'_')
            .try_fold(0u64, |n, b| {
                n.checked_mul(10)?.checked_add(u64::from(b - b'0'))
            });
        match value
            .and_then(|n| n.checked_mul(factor))
            .filter(|n| *n <= 1 << 63)
        {
            Some(value) => self.push(Kind::Int(value), start),
            None => {
                let message = format!(
                    "`{}` does not fit in 64 bits",
                    short(&self.text[start..self.at])
                );
                let help = "integers go up to 9223372036854775807; write a float: `1e20`";
                self.report(
                    Code::NumberTooLarge,
                    start,
                    self.at,
                    message,
                    "too large",
                    help,
                );
                self.push(Kind::BadNumber, start);
            }
        }
    }

    fn bad_suffix(&mut self, start: usize, suffix: usize, float: bool) {
        self.at = suffix;
        while is_ident(self.peek(0)) {
            self.at += 1;
        }
        let text = &self.text[suffix..self.at];
        let number = &self.text[start..suffix];
        let help = match text {
            _ if float => "only integers have suffixes".to_owned(),
            "K" | "ki" | "Ki" | "kb" | "KB" | "KiB" => {
                format!("did you mean `{}k` (x 1024)?", short(number))
            }
            "m" | "Mi" | "MB" | "MiB" => format!("did you mean `{}M` (x 1024^2)?", short(number)),
            "g" | "Gi" | "GB" | "GiB" => format!("did you mean `{}G` (x 1024^3)?", short(number)),
            _ if number == "0" && matches!(text.as_bytes()[0], b'x' | b'b' | b'o') => {
                "integers are written in decimal".to_owned()
            }
            _ => "suffixes are `k`, `M` and `G`; a name does not begin with a digit".to_owned(),
        };
        let message = format!("unknown suffix `{}`", short(text));
        self.report(
            Code::NumberSuffix,
            suffix,
            self.at,
            message,
            "not a suffix",
            &help,
        );
        self.push(Kind::BadNumber, start);
    }
}

/// The text, shortened where it would fill a screen.
fn short(text: &str) -> String {
    if text.len() <= 40 {
        text.to_owned()
    } else {
        format!("{}...", &text[..37])
    }
}
