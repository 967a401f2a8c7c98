// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Text to tokens. In: PTX text. Out: tokens with positions, or the first bad character.

use crate::error::{ParseError, ParseErrorKind as K, Pos};
use crate::module::Imm;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tok<'a> {
    /// Identifier, special registers with their `.x`.
    Ident(&'a str),
    /// `.word`, without the dot.
    Dot(&'a str),
    /// A number.
    Num(Imm),
    /// A string, without its quotes, escapes untouched.
    Str(&'a str),
    /// Punctuation; two-character operators as their first character's code below.
    Punct(char),
    /// `<<` and `>>`
    Shift(bool),
    /// The end.
    End,
}

/// A token and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) tok: Tok<'a>,
    pub(crate) pos: Pos,
    pub(crate) text: &'a str,
}

fn ident_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || matches!(b, b'_' | b'$' | b'%')
}

fn ident_part(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$')
}

/// All tokens, the last of them [`Tok::End`].
pub(crate) fn lex(src: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let b = src.as_bytes();
    let mut out = Vec::with_capacity(src.len() / 4 + 1);
    let (mut i, mut line, mut bol) = (0usize, 1u32, 0usize);
    while i < b.len() {
        let c = b[i];
        if c == b'\n' {
            i += 1;
            line += 1;
            bol = i;
            continue;
        }
        if c.is_ascii_whitespace() || c == 0 {
            i += 1;
            continue;
        }
        let pos = Pos {
            line,
            col: (i - bol + 1) as u32,
        };
        if c == b'/' && b.get(i + 1) == Some(&b'/') {
            while i < b.len() && b[i] != b'\n' {
                i += 1;
            }
            continue;
        }
        if c == b'/' && b.get(i + 1) == Some(&b'*') {
            i += 2;
            loop {
                match b.get(i) {
                    None => return Err(ParseError::new(pos, K::Unterminated("comment"))),
                    Some(b'*') if b.get(i + 1) == Some(&b'/') => break,
                    Some(b'\n') => {
                        line += 1;
                        bol = i + 1;
                    }
                    Some(_) => {}
                }
                i += 1;
            }
            i += 2;
            continue;
        }
        let start = i;
        let tok = if ident_start(c) {
            i += 1;
            while i < b.len() && ident_part(b[i]) {
                i += 1;
            }
            // Components: `%tid.x`, and `.x` or `.r` of a vector register.
            if b.get(i) == Some(&b'.') {
                let end = i + 2;
                // Without `%` only those letters that are no modifier of any opcode.
                let comp = match b.get(i + 1) {
                    Some(b'x' | b'y' | b'z' | b'w') => true,
                    Some(b'r' | b'g' | b'b' | b'a') => c == b'%',
                    Some(_) | None => false,
                };
                if comp
                    && !b
                        .get(end)
                        .copied()
                        .is_some_and(|n| ident_part(n) || n == b':')
                {
                    i = end;
                }
            }
            Tok::Ident(&src[start..i])
        } else if c == b'.' {
            i += 1;
            while i < b.len()
                && (ident_part(b[i])
                    || (b[i] == b':'
                        && b.get(i + 1) == Some(&b':')
                        && b.get(i + 2).copied().is_some_and(ident_part))
                    || (b[i] == b':' && b[i - 1] == b':' && b[i - 2] != b':'))
            {
                i += 1;
            }
            if i == start + 1 {
                return Err(ParseError::new(pos, K::Character('.')));
            }
            Tok::Dot(&src[start + 1..i])
        } else if c.is_ascii_digit() {
            i += 1;
            while i < b.len() && b[i].is_ascii_alphanumeric() {
                i += 1;
            }
            let hexish = b[start] == b'0'
                && matches!(
                    b.get(start + 1),
                    Some(b'x' | b'X' | b'f' | b'F' | b'd' | b'D' | b'b' | b'B')
                );
            if !hexish {
                if b.get(i) == Some(&b'.')
                    && b.get(i + 1).copied().is_some_and(|d| d.is_ascii_digit())
                {
                    i += 1;
                    while i < b.len() && b[i].is_ascii_alphanumeric() {
                        i += 1;
                    }
                }
                if matches!(b[i - 1], b'e' | b'E') && matches!(b.get(i), Some(b'+' | b'-')) {
                    i += 1;
                    while i < b.len() && b[i].is_ascii_digit() {
                        i += 1;
                    }
                }
            }
            let text = &src[start..i];
            match number(text) {
                Some(n) => Tok::Num(n),
                None => return Err(ParseError::new(pos, K::Number(text.to_string()))),
            }
        } else if c == b'"' {
            i += 1;
            while i < b.len() && b[i] != b'"' && b[i] != b'\n' {
                i += if b[i] == b'\\' { 2 } else { 1 };
            }
            if b.get(i) != Some(&b'"') || !src.is_char_boundary(i) {
                return Err(ParseError::new(pos, K::Unterminated("string")));
            }
            i += 1;
            Tok::Str(&src[start + 1..i - 1])
        } else if (c == b'<' || c == b'>') && b.get(i + 1) == Some(&c) {
            i += 2;
            Tok::Shift(c == b'<')
        } else if b"{}()[],;:@!|+-*/%<>=&^~?".contains(&c) {
            i += 1;
            Tok::Punct(c as char)
        } else {
            let ch = src[i..].chars().next().unwrap_or('\u{fffd}');
            return Err(ParseError::new(pos, K::Character(ch)));
        };
        out.push(Token {
            tok,
            pos,
            text: &src[start..i],
        });
    }
    let pos = Pos {
        line,
        col: (i.max(bol) - bol + 1) as u32,
    };
    out.push(Token {
        tok: Tok::End,
        pos,
        text: "end of text",
    });
    Ok(out)
}

/// A number token's value.
fn number(t: &str) -> Option<Imm> {
    let hex = |s: &str, n: usize| {
        (s.len() == n)
            .then(|| u64::from_str_radix(s, 16).ok())
            .flatten()
    };
    if let Some(r) = t.strip_prefix("0f").or_else(|| t.strip_prefix("0F")) {
        return hex(r, 8).map(|v| Imm::F32(v as u32));
    }
    if let Some(r) = t.strip_prefix("0d").or_else(|| t.strip_prefix("0D")) {
        return hex(r, 16).map(Imm::F64);
    }
    let (body, hexed) = match t.strip_prefix("0x").or_else(|| t.strip_prefix("0X")) {
        Some(r) => (r, true),
        None => (t, false),
    };
    let body = body.strip_suffix(['U', 'u']).unwrap_or(body);
    let v = if hexed {
        u64::from_str_radix(body, 16).ok()?
    } else if let Some(r) = body.strip_prefix("0b").or_else(|| body.strip_prefix("0B")) {
        u64::from_str_radix(r, 2).ok()?
    } else if body.bytes().all(|c| c.is_ascii_digit()) {
        if body.len() > 1 && body.starts_with('0') {
            u64::from_str_radix(&body[1..], 8).ok()?
        } else {
            body.parse().ok()?
        }
    } else {
        return body.parse::<f64>().ok().map(|f| Imm::F64(f.to_bits()));
    };
    Some(Imm::Int(i128::from(v)))
}
