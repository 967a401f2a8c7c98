// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Words of the text form of tile programs.
//!
//! In: text. Out: tokens with their lines and columns (from 1, in characters). `//` starts a comment; line ends mean nothing else.

use super::{ParseError, ParseErrorKind};

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name or keyword.
    Word(String),
    /// `%12`
    Value(u32),
    /// Digits without sign, perhaps with a fraction and an exponent.
    Number(String),
    /// Punctuation.
    Sign(&'static str),
    /// The end of the text.
    End,
}

impl Token {
    /// As it stands in messages.
    pub(super) fn show(&self) -> String {
        match self {
            Token::Word(w) | Token::Number(w) => format!("`{w}`"),
            Token::Value(n) => format!("`%{n}`"),
            Token::Sign(s) => format!("`{s}`"),
            Token::End => "the end of the text".to_string(),
        }
    }
}

/// A token and where it starts.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) token: Token,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// Longest first.
const SIGNS: [&str; 26] = [
    "..=", "..", "<<", ">>", "==", "<=", "<", "=", "+", "-", "*", "/", "%", "&", "|", "^", "(",
    ")", "[", "]", "{", "}", ",", ";", ":", ".",
];

/// Splits text into tokens; the last one is [`Token::End`].
pub(super) fn lex(text: &str) -> Result<Vec<Spot>, ParseError> {
    let mut out = Vec::new();
    let mut rest = text;
    let (mut line, mut column) = (1u32, 1u32);
    loop {
        let Some(c) = rest.chars().next() else {
            out.push(Spot {
                token: Token::End,
                line,
                column,
            });
            return Ok(out);
        };
        let at = |kind| ParseError { line, column, kind };
        let token = if c.is_whitespace() {
            None
        } else if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        } else {
            Some(token(rest, c).map_err(at)?)
        };
        let length = match &token {
            None => c.len_utf8(),
            Some((_, length)) => *length,
        };
        if let Some((token, _)) = token {
            out.push(Spot {
                token,
                line,
                column,
            });
        }
        for c in rest[..length].chars() {
            if c == '\n' {
                (line, column) = (line.saturating_add(1), 1);
            } else {
                column = column.saturating_add(1);
            }
        }
        rest = &rest[length..];
    }
}

/// The token at the start of `rest` and its length in bytes.
fn token(rest: &str, c: char) -> Result<(Token, usize), ParseErrorKind> {
    let run = |s: &str, is: fn(char) -> bool| s.find(|c| !is(c)).unwrap_or(s.len());
    let digit = |c: char| c.is_ascii_digit();
    if c.is_ascii_alphabetic() || c == '_' {
        let n = run(rest, |c| c.is_ascii_alphanumeric() || c == '_');
        return Ok((Token::Word(rest[..n].to_string()), n));
    }
    if c == '%' && rest[1..].starts_with(digit) {
        let n = 1 + run(&rest[1..], |c| c.is_ascii_digit());
        return match rest[1..n].parse() {
            Ok(x) if x < super::MAX_VALUES => Ok((Token::Value(x), n)),
            Ok(_) | Err(_) => Err(ParseErrorKind::TooMany("value numbers")),
        };
    }
    if c.is_ascii_digit() {
        let mut n = run(rest, |c| c.is_ascii_digit());
        if rest[n..].starts_with('.') && rest[n + 1..].starts_with(digit) {
            n += 1 + run(&rest[n + 1..], |c| c.is_ascii_digit());
        }
        if rest[n..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[n + 1..].starts_with(['+', '-']));
            n += 1 + sign + run(&rest[n + 1 + sign..], |c| c.is_ascii_digit());
        }
        return Ok((Token::Number(rest[..n].to_string()), n));
    }
    SIGNS
        .into_iter()
        .find(|s| rest.starts_with(s))
        .map(|s| (Token::Sign(s), s.len()))
        .ok_or(ParseErrorKind::Character(c))
}
