// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Text to tree: statements, instructions, operands (declarations: `parse_decl`).
//! In: PTX text. Out: a [`Module`], or the first error with its line and token.

use crate::error::{ParseError, ParseErrorKind as K, Pos};
use crate::isa::{self, FormId, NoForm, What};
use crate::lex::{Tok, Token, lex};
use crate::module::{Address, At, Guard, Imm, Instr, Module, Name, Operand, Stmt};
use std::sync::Arc;

type R<T> = Result<T, ParseError>;

/// Reads a module.
pub fn parse(src: &str) -> R<Module> {
    let toks = lex(src)?;
    let mut p = Parser {
        toks: &toks,
        at: 0,
        depth: 0,
    };
    p.module()
}

/// How deeply blocks and expressions may nest.
const MAX_DEPTH: u32 = 64;

pub(crate) struct Parser<'a> {
    toks: &'a [Token<'a>],
    at: usize,
    depth: u32,
}

impl<'a> Parser<'a> {
    pub(crate) fn tok(&self) -> &Tok<'a> {
        &self.toks[self.at].tok
    }

    pub(crate) fn ahead(&self, n: usize) -> &Tok<'a> {
        &self.toks[(self.at + n).min(self.toks.len() - 1)].tok
    }

    pub(crate) fn pos(&self) -> Pos {
        self.toks[self.at].pos
    }

    pub(crate) fn text(&self) -> &'a str {
        self.toks[self.at].text
    }

    pub(crate) fn bump(&mut self) {
        if self.at + 1 < self.toks.len() {
            self.at += 1;
        }
    }

    pub(crate) fn fail<T>(&self, expected: &'static str) -> R<T> {
        Err(ParseError::new(
            self.pos(),
            K::Expected {
                expected,
                found: self.text().to_string(),
            },
        ))
    }

    pub(crate) fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> R<T>) -> R<T> {
        if self.depth >= MAX_DEPTH {
            return Err(ParseError::new(self.pos(), K::Depth));
        }
        self.depth += 1;
        let r = f(self);
        self.depth -= 1;
        r
    }

    pub(crate) fn is(&self, c: char) -> bool {
        *self.tok() == Tok::Punct(c)
    }

    pub(crate) fn eat(&mut self, c: char) -> bool {
        let yes = self.is(c);
        if yes {
            self.bump();
        }
        yes
    }

    pub(crate) fn want(&mut self, c: char, name: &'static str) -> R<()> {
        if self.eat(c) { Ok(()) } else { self.fail(name) }
    }

    pub(crate) fn eat_dot(&mut self, w: &str) -> bool {
        let yes = matches!(self.tok(), Tok::Dot(d) if *d == w);
        if yes {
            self.bump();
        }
        yes
    }

    pub(crate) fn name(&mut self) -> R<Name> {
        match self.tok() {
            Tok::Ident(s) => {
                let n: Name = Arc::from(*s);
                self.bump();
                Ok(n)
            }
            Tok::Dot(_) | Tok::Num(_) | Tok::Str(_) | Tok::Punct(_) | Tok::Shift(_) | Tok::End => {
                self.fail("a name")
            }
        }
    }

    pub(crate) fn strings(&mut self) -> R<Vec<String>> {
        let mut out = Vec::new();
        loop {
            match self.tok() {
                Tok::Str(s) => out.push((*s).to_string()),
                _ => return self.fail("a string"),
            }
            self.bump();
            if !self.eat(',') {
                return Ok(out);
            }
        }
    }

    /// An integer constant expression.
    pub(crate) fn int(&mut self) -> R<i128> {
        let pos = self.pos();
        match self.expr(0)? {
            Imm::Int(v) => Ok(v),
            Imm::F32(_) | Imm::F64(_) => Err(ParseError::new(
                pos,
                K::Expected {
                    expected: "an integer",
                    found: "a float".into(),
                },
            )),
        }
    }

    pub(crate) fn uint32(&mut self) -> R<u32> {
        let pos = self.pos();
        let v = self.int()?;
        u32::try_from(v).map_err(|_| {
            ParseError::new(
                pos,
                K::Expected {
                    expected: "a small non-negative integer",
                    found: v.to_string(),
                },
            )
        })
    }

    /// A constant expression by precedence climbing.
    pub(crate) fn expr(&mut self, min: u8) -> R<Imm> {
        self.deeper(|p| {
            let mut left = p.unary()?;
            loop {
                let (prec, op) = match p.tok() {
                    Tok::Punct('|') => (1, '|'),
                    Tok::Punct('^') => (2, '^'),
                    Tok::Punct('&') => (3, '&'),
                    Tok::Shift(true) => (4, '<'),
                    Tok::Shift(false) => (4, '>'),
                    Tok::Punct('+') => (5, '+'),
                    Tok::Punct('-') => (5, '-'),
                    Tok::Punct('*') => (6, '*'),
                    Tok::Punct('/') => (6, '/'),
                    Tok::Punct('%') => (6, '%'),
                    _ => return Ok(left),
                };
                if prec < min {
                    return Ok(left);
                }
                let pos = p.pos();
                p.bump();
                let right = p.expr(prec + 1)?;
                let bad = |what: &str| Err(ParseError::new(pos, K::Number(what.to_string())));
                left = match (left, right) {
                    (Imm::Int(a), Imm::Int(b)) => {
                        let v = match op {
                            '|' => Some(a | b),
                            '^' => Some(a ^ b),
                            '&' => Some(a & b),
                            '<' => u32::try_from(b)
                                .ok()
                                .filter(|b| *b < 64)
                                .and_then(|b| a.checked_shl(b)),
                            '>' => u32::try_from(b)
                                .ok()
                                .filter(|b| *b < 64)
                                .and_then(|b| a.checked_shr(b)),
                            '+' => a.checked_add(b),
                            '-' => a.checked_sub(b),
                            '*' => a.checked_mul(b),
                            '/' => a.checked_div(b),
                            _ => a.checked_rem(b),
                        };
                        match v {
                            Some(v) => Imm::Int(v),
                            None => return bad("overflow in constant expression"),
                        }
                    }
                    (a, b) => {
                        let (a, b) = (imm_f64(a), imm_f64(b));
                        let v = match op {
                            '+' => a + b,
                            '-' => a - b,
                            '*' => a * b,
                            '/' => a / b,
                            _ => return bad("operator of integers on floats"),
                        };
                        Imm::F64(v.to_bits())
                    }
                };
            }
        })
    }

    fn unary(&mut self) -> R<Imm> {
        match self.tok().clone() {
            Tok::Num(n) => {
                self.bump();
                Ok(n)
            }
            Tok::Punct('-') => {
                self.bump();
                Ok(match self.deeper(Self::unary)? {
                    Imm::Int(v) => Imm::Int(-v),
                    Imm::F32(b) => Imm::F32(b ^ 0x8000_0000),
                    Imm::F64(b) => Imm::F64(b ^ (1 << 63)),
                })
            }
            Tok::Punct('+') => {
                self.bump();
                self.deeper(Self::unary)
            }
            Tok::Punct(c @ ('~' | '!')) => {
                self.bump();
                let pos = self.pos();
                match self.deeper(Self::unary)? {
                    Imm::Int(v) if c == '~' => Ok(Imm::Int(!v)),
                    Imm::Int(v) => Ok(Imm::Int(i128::from(v == 0))),
                    Imm::F32(_) | Imm::F64(_) => Err(ParseError::new(
                        pos,
                        K::Number("operator of integers on floats".into()),
                    )),
                }
            }
            Tok::Punct('(') => {
                self.bump();
                // A cast such as `(.u64) 5`.
                if let Tok::Dot("s64" | "u64") = self.tok() {
                    self.bump();
                    self.want(')', "`)`")?;
                    return self.deeper(Self::unary);
                }
                let v = self.expr(0)?;
                self.want(')', "`)`")?;
                Ok(v)
            }
            Tok::Ident("WARP_SZ") => {
                self.bump();
                Ok(Imm::Int(32))
            }
            Tok::Ident(_)
            | Tok::Dot(_)
            | Tok::Str(_)
            | Tok::Punct(_)
            | Tok::Shift(_)
            | Tok::End => self.fail("a number"),
        }
    }

    /// An instruction with its guard, up to and with its `;`.
    pub(crate) fn instr(&mut self) -> R<Instr> {
        let at = At(self.pos());
        let guard = if self.eat('@') {
            let negated = self.eat('!');
            Some(Guard {
                pred: self.name()?,
                negated,
            })
        } else {
            None
        };
        let pos = self.pos();
        let opcode = match self.tok() {
            Tok::Ident(s) => *s,
            _ => return self.fail("an instruction"),
        };
        self.bump();
        let mut mods: Vec<&str> = Vec::new();
        let mut mod_pos = Vec::new();
        while let Tok::Dot(d) = self.tok() {
            mods.push(d);
            mod_pos.push(self.pos());
            self.bump();
        }
        let found = isa::select(opcode, &mods).map_err(|e| match e {
            NoForm::Opcode => ParseError::new(pos, K::UnknownOpcode(opcode.to_string())),
            NoForm::Modifier(k) => ParseError::new(
                mod_pos[k],
                K::UnknownModifier {
                    opcode: opcode.to_string(),
                    modifier: mods[k].to_string(),
                },
            ),
            NoForm::Combination => {
                let mut s = opcode.to_string();
                for m in &mods {
                    s.push('.');
                    s.push_str(m);
                }
                ParseError::new(pos, K::Combination(s))
            }
        })?;
        let args = if opcode == "call" {
            self.call_args()?
        } else {
            self.args()?
        };
        self.want(';', "`;`")?;
        let pick = found
            .iter()
            .position(|(id, _)| shape_fits(*id, &args))
            .unwrap_or(0);
        let (form, mods) = found
            .into_iter()
            .nth(pick)
            .unwrap_or((isa::forms(opcode)[0], Vec::new()));
        Ok(Instr {
            pos: if guard.is_some() { at } else { At(pos) },
            guard,
            form,
            mods,
            args,
        })
    }

    fn args(&mut self) -> R<Vec<Operand>> {
        let mut out = Vec::new();
        if self.is(';') {
            return Ok(out);
        }
        loop {
            out.push(self.operand()?);
            if !self.eat(',') {
                return Ok(out);
            }
        }
    }

    fn list(&mut self, open: char, close: char, what: &'static str) -> R<Vec<Operand>> {
        self.want(open, what)?;
        let mut v = Vec::new();
        while !self.eat(close) {
            if !v.is_empty() {
                self.want(',', "`,`")?;
            }
            v.push(self.operand()?);
        }
        Ok(v)
    }

    /// `[(returns),] target [, (params)] [, prototype]`, always as four operands:
    /// list, name, list, and the prototype if there is one.
    fn call_args(&mut self) -> R<Vec<Operand>> {
        let returns = if self.is('(') {
            let l = self.list('(', ')', "`(`")?;
            self.want(',', "`,`")?;
            l
        } else {
            Vec::new()
        };
        let target = Operand::Name(self.name()?);
        let mut params = Vec::new();
        let mut proto = None;
        if self.eat(',') {
            if self.is('(') {
                params = self.list('(', ')', "`(`")?;
                if self.eat(',') {
                    proto = Some(Operand::Name(self.name()?));
                }
            } else {
                proto = Some(Operand::Name(self.name()?));
            }
        }
        let mut out = vec![Operand::List(returns), target, Operand::List(params)];
        out.extend(proto);
        Ok(out)
    }

    fn operand(&mut self) -> R<Operand> {
        self.deeper(Self::operand_inner)
    }

    fn operand_inner(&mut self) -> R<Operand> {
        match self.tok().clone() {
            Tok::Punct('{') => Ok(Operand::Vector(self.list('{', '}', "`{`")?)),
            Tok::Punct('[') => {
                self.bump();
                let mut a = Address {
                    base: None,
                    offset: 0,
                    parts: Vec::new(),
                };
                if let Tok::Ident(_) = self.tok() {
                    a.base = Some(self.name()?);
                    a.offset = self.offset()?;
                } else {
                    a.offset = self.int()?;
                }
                while self.eat(',') {
                    a.parts.push(self.operand()?);
                }
                self.want(']', "`]`")?;
                Ok(Operand::Address(a))
            }
            Tok::Punct('!') if matches!(self.ahead(1), Tok::Ident(_)) => {
                self.bump();
                Ok(Operand::Not(self.name()?))
            }
            Tok::Ident(s) if s != "WARP_SZ" => {
                self.bump();
                let first = if s == "_" {
                    Operand::Sink
                } else if matches!(self.tok(), Tok::Punct('+' | '-')) {
                    let n: Name = Arc::from(s);
                    return Ok(Operand::Offset(n, self.offset()?));
                } else {
                    Operand::Name(Arc::from(s))
                };
                if self.eat('|') {
                    let second = if matches!(self.tok(), Tok::Ident("_")) {
                        self.bump();
                        Operand::Sink
                    } else {
                        Operand::Name(self.name()?)
                    };
                    return Ok(Operand::Pair(Box::new(first), Box::new(second)));
                }
                Ok(first)
            }
            Tok::Num(_) | Tok::Punct(_) | Tok::Ident(_) => Ok(Operand::Imm(self.expr(0)?)),
            Tok::Dot(_) | Tok::Str(_) | Tok::Shift(_) | Tok::End => self.fail("an operand"),
        }
    }

    /// `+ N` or `- N` behind a name, or nothing.
    pub(crate) fn offset(&mut self) -> R<i128> {
        if self.eat('+') || self.is('-') {
            self.int()
        } else {
            Ok(0)
        }
    }

    /// The statements of a body, behind its `{`, up to and with its `}`.
    pub(crate) fn body(&mut self) -> R<Vec<Stmt>> {
        self.deeper(|p| {
            let mut out = Vec::new();
            while !p.eat('}') {
                if p.eat(';') {
                    continue;
                }
                p.stmt(&mut out)?;
            }
            Ok(out)
        })
    }
}

/// A number as f64.
pub(crate) fn imm_f64(i: Imm) -> f64 {
    match i {
        Imm::Int(v) => v as f64,
        Imm::F32(b) => f64::from(f32::from_bits(b)),
        Imm::F64(b) => f64::from_bits(b),
    }
}

/// Whether the number and the rough shape of operands fit a form.
fn shape_fits(id: FormId, args: &[Operand]) -> bool {
    let specs = &isa::form(id).operands;
    let needed = specs.iter().filter(|s| !s.optional).count();
    if args.len() < needed || args.len() > specs.len() {
        return false;
    }
    args.iter().zip(specs).all(|(a, s)| {
        let addr = matches!(a, Operand::Address(_));
        match s.what {
            What::Address => addr,
            What::Any => true,
            What::SlotType(_)
            | What::Double(_)
            | What::Type(_)
            | What::Pred
            | What::Const
            | What::Label => !addr,
        }
    })
}
