// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads the text form of core programs back: `parse(print(x)) == x` for every program that passes its verifier.
//!
//! In: text as [`crate::print`] writes it, perhaps edited. Out: a [`Core`] that nobody has verified yet, or the first mistake with its
//! line and column. Never panics. Scalar code is unfolded (`parse/code.rs`): every operation of an expression becomes an instruction,
//! its operands before it. Value numbers in the text are names; what has none gets the number after the last one, or, where an edit
//! has taken that, one that is free.

mod code;
mod function;
mod lex;

use std::str::FromStr;

use crate::core::{
    Bound, Buf, BufId, Core, FnId, Layout, PlanId, PlanTable, Range, Table, TableId, Val,
};
use crate::print::{VERSION, names};
use lex::{Spot, Token};

/// Values that a program may have; far more than any operator within the language's limits takes.
const MAX_VALUES: u32 = 1 << 22;
/// Buffers and tables, and likewise functions, that a program may have.
const MAX_NAMES: usize = 4096;
/// How deeply blocks and expressions may nest.
const MAX_DEPTH: u32 = 100;

/// A mistake in the text of a tile program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {kind}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
    /// What is wrong.
    pub kind: ParseErrorKind,
}

/// What can be wrong with text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// A character that no token starts with.
    #[error("unexpected character {0:?}")]
    Character(char),
    /// Something else than what may stand here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What may stand here.
        expected: String,
        /// What does.
        found: String,
    },
    /// Another version of the text form.
    #[error("this is version {0} of the text form; this build reads version {VERSION}")]
    Version(String),
    /// A name that nothing has.
    #[error("there is no {what} `{name}`")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A name that two things have, or a keyword.
    #[error("`{0}` cannot be a name here: it has a meaning already")]
    Taken(String),
    /// A number that its type does not hold.
    #[error("`{text}` is no {what}")]
    Number {
        /// What is wanted.
        what: &'static str,
        /// What is there.
        text: String,
    },
    /// Beyond the limits of this reader.
    #[error("too many {0}")]
    TooMany(&'static str),
}

/// Reads a program.
///
/// # Errors
/// The first mistake.
pub fn parse(text: &str) -> Result<Core, ParseError> {
    let mut p = Parser {
        tokens: lex::lex(text)?,
        at: 0,
        depth: 0,
    };
    let mut core = p.header()?;
    let values = p.facts(&mut core)?;
    p.declarations(&mut core)?;
    let highest = code::sections(&mut p, &mut core)?;
    core.vals = values.unwrap_or(highest);
    p.expect_token(&Token::End)?;
    Ok(core)
}

/// A place in the tokens.
struct Parser {
    tokens: Vec<Spot>,
    at: usize,
    depth: u32,
}

type Parsed<T> = Result<T, ParseError>;

impl Parser {
    fn peek(&self) -> &Token {
        // The last token is the end, and nothing goes past it.
        &self.tokens[self.at.min(self.tokens.len() - 1)].token
    }

    fn second(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].token
    }

    fn bump(&mut self) -> Token {
        let t = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        t
    }

    /// A mistake at the next token.
    fn fail<T>(&self, kind: ParseErrorKind) -> Parsed<T> {
        self.fail_at(self.at, kind)
    }

    fn fail_at<T>(&self, at: usize, kind: ParseErrorKind) -> Parsed<T> {
        let spot = &self.tokens[at.min(self.tokens.len() - 1)];
        Err(ParseError {
            line: spot.line,
            column: spot.column,
            kind,
        })
    }

    fn expected<T>(&self, expected: impl Into<String>) -> Parsed<T> {
        self.fail(ParseErrorKind::Expected {
            expected: expected.into(),
            found: self.peek().show(),
        })
    }

    fn expect_token(&mut self, t: &Token) -> Parsed<()> {
        if self.peek() == t {
            self.bump();
            Ok(())
        } else {
            self.expected(t.show())
        }
    }

    fn is(&self, s: &str) -> bool {
        match self.peek() {
            Token::Sign(x) => *x == s,
            Token::Word(x) => x == s,
            Token::Value(_) | Token::Number(_) | Token::End => false,
        }
    }

    /// Takes `s` (a sign or a keyword) if it is next.
    fn eat(&mut self, s: &str) -> bool {
        let is = self.is(s);
        if is {
            self.bump();
        }
        is
    }

    fn expect(&mut self, s: &str) -> Parsed<()> {
        if self.eat(s) {
            Ok(())
        } else {
            self.expected(format!("`{s}`"))
        }
    }

    fn word(&mut self, what: &str) -> Parsed<String> {
        match self.peek().clone() {
            Token::Word(w) => {
                self.bump();
                Ok(w)
            }
            Token::Value(_) | Token::Number(_) | Token::Sign(_) | Token::End => self.expected(what),
        }
    }

    /// A new name.
    fn name(&mut self, what: &str) -> Parsed<String> {
        let at = self.at;
        let w = self.word(what)?;
        if names::is_name(&w) {
            Ok(w)
        } else {
            self.fail_at(at, ParseErrorKind::Taken(w))
        }
    }

    /// One of the words that `of` knows.
    fn one_of<T>(&mut self, what: &str, of: fn(&str) -> Option<T>) -> Parsed<T> {
        let known = match self.peek() {
            Token::Word(w) => of(w),
            Token::Value(_) | Token::Number(_) | Token::Sign(_) | Token::End => None,
        };
        match known {
            Some(x) => {
                self.bump();
                Ok(x)
            }
            None => self.expected(what),
        }
    }

    /// A layout, with its number if it takes one.
    fn layout(&mut self) -> Parsed<Layout> {
        let packed = match self.peek() {
            Token::Word(w) => names::packed_of(w),
            Token::Value(_) | Token::Number(_) | Token::Sign(_) | Token::End => None,
        };
        match packed {
            Some(make) => {
                self.bump();
                Ok(make(self.number("pitch or stride")?))
            }
            None => self.one_of("a layout", names::layout_of),
        }
    }

    /// A number of type `T`, with a sign.
    fn number<T: FromStr>(&mut self, what: &'static str) -> Parsed<T> {
        let at = self.at;
        let sign = if self.eat("-") { "-" } else { "" };
        let digits = match self.peek().clone() {
            Token::Number(n) => n,
            Token::Word(w) if w == "inf" || w == "NaN" => w,
            Token::Word(_) | Token::Value(_) | Token::Sign(_) | Token::End => {
                return self.expected(what);
            }
        };
        self.bump();
        let text = format!("{sign}{digits}");
        match text.parse() {
            Ok(x) => Ok(x),
            Err(_) => self.fail_at(at, ParseErrorKind::Number { what, text }),
        }
    }

    /// One level deeper, while `f` runs.
    fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return self.fail(ParseErrorKind::TooMany("levels of nesting"));
        }
        self.depth += 1;
        let x = f(self);
        self.depth -= 1;
        x
    }

    /// `item, item` up to something that is no comma.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut out = vec![item(self)?];
        while self.eat(",") {
            out.push(item(self)?);
        }
        Ok(out)
    }

    /// `tile VERSION NAME target TARGET`
    fn header(&mut self) -> Parsed<Core> {
        self.expect("tile")?;
        match self.peek() {
            Token::Number(n) if *n == VERSION.to_string() => self.bump(),
            Token::Number(n) => return self.fail(ParseErrorKind::Version(n.clone())),
            Token::Word(_) | Token::Value(_) | Token::Sign(_) | Token::End => {
                return self.expected("the version of the text form");
            }
        };
        let name = self.word("the operator's name")?;
        self.expect("target")?;
        let mut target = self.word("a target")?;
        while self.eat("-") {
            target = format!("{target}-{}", self.word("the rest of the target's name")?);
        }
        Ok(Core {
            name,
            target,
            heads: 0,
            kv_heads: 0,
            head_dim: 0,
            dtype: attnc_tensor::DType::F32,
            causal: false,
            key_step: 0,
            warps: 1,
            stages: 1,
            careful_above: 0.0,
            bufs: Vec::new(),
            tables: Vec::new(),
            plan_tables: Vec::new(),
            fns: Vec::new(),
            vals: 0,
            plan: Vec::new(),
            tasks: Val(0),
            enter: Vec::new(),
            body: Vec::new(),
        })
    }

    /// The line of constants; yields the number of values where it is said.
    fn facts(&mut self, c: &mut Core) -> Parsed<Option<u32>> {
        self.expect("heads")?;
        c.heads = self.number("number of heads")?;
        self.expect(",")?;
        self.expect("kv_heads")?;
        c.kv_heads = self.number("number of heads")?;
        self.expect(",")?;
        self.expect("head_dim")?;
        c.head_dim = self.number("head dimension")?;
        self.expect(",")?;
        self.expect("dtype")?;
        c.dtype = self.one_of("a dtype", |w| w.parse().ok())?;
        self.expect(",")?;
        self.expect("causal")?;
        c.causal = self.one_of("`true` or `false`", |w| w.parse().ok())?;
        self.expect(",")?;
        self.expect("key_step")?;
        c.key_step = self.number("step")?;
        self.expect(",")?;
        self.expect("careful_above")?;
        c.careful_above = self.number("float")?;
        let mut more = self.eat(",");
        if more && self.eat("warps") {
            c.warps = self.number("number of warps")?;
            more = self.eat(",");
        }
        if more && self.eat("stages") {
            c.stages = self.number("number of stages")?;
            more = self.eat(",");
        }
        if !more {
            return Ok(None);
        }
        self.expect("values")?;
        let values = self.number("number of values")?;
        if values > MAX_VALUES {
            return self.fail(ParseErrorKind::TooMany("values"));
        }
        Ok(Some(values))
    }

    fn declarations(&mut self, c: &mut Core) -> Parsed<()> {
        loop {
            if self.eat("alloc") {
                let space = self.one_of("a memory space", names::space_of)?;
                let elem = self.one_of("an element type", names::elem_of)?;
                let layout = self.layout()?;
                let persist = self.eat("persist");
                let staged = self.eat("staged");
                self.expect(":")?;
                self.list(|p| {
                    let (name, len, range) = p.array(c)?;
                    c.bufs.push(Buf {
                        name,
                        elem,
                        len,
                        space,
                        layout,
                        persist,
                        staged,
                        range,
                    });
                    Ok(())
                })?;
            } else if self.eat("table") {
                self.list(|p| {
                    let name = p.new_name(c, "a table's name")?;
                    p.expect("=")?;
                    p.expect("[")?;
                    let data = if p.is("]") {
                        Vec::new()
                    } else {
                        p.list(|p| p.number("integer"))?
                    };
                    p.expect("]")?;
                    c.tables.push(Table { name, data });
                    Ok(())
                })?;
            } else if self.eat("plan_table") {
                self.list(|p| {
                    let (name, len, range) = p.array(c)?;
                    c.plan_tables.push(PlanTable { name, len, range });
                    Ok(())
                })?;
            } else if self.eat("fn") {
                let f = function::function(self, c)?;
                c.fns.push(f);
            } else {
                return Ok(());
            }
        }
    }

    /// `name[length] in range`
    fn array(&mut self, c: &Core) -> Parsed<(String, u64, Option<Range>)> {
        let name = self.new_name(c, "a buffer's name")?;
        self.expect("[")?;
        let len = self.number("length")?;
        self.expect("]")?;
        let range = if self.eat("in") {
            Some(self.range()?)
        } else {
            None
        };
        Ok((name, len, range))
    }

    /// A name that no buffer or table has.
    fn new_name(&mut self, c: &Core, what: &str) -> Parsed<String> {
        let at = self.at;
        let name = self.name(what)?;
        if c.bufs.len() + c.tables.len() + c.plan_tables.len() >= MAX_NAMES {
            return self.fail_at(at, ParseErrorKind::TooMany("buffers and tables"));
        }
        match find(c, &name) {
            Some(_) => self.fail_at(at, ParseErrorKind::Taken(name)),
            None => Ok(name),
        }
    }

    /// `lo..=hi` or `lo..`
    fn range(&mut self) -> Parsed<Range> {
        let lo = self.number("integer")?;
        if self.eat("..") {
            let hi = Bound::Const(i64::MAX);
            return Ok(Range { lo, hi });
        }
        self.expect("..=")?;
        let bound = if self.eat("N") {
            Bound::SeqLen
        } else if self.eat("B") {
            Bound::Batch
        } else {
            let x = self.number("integer")?;
            let hi = Bound::Const(if self.eat("^") { self.power(x)? } else { x });
            return Ok(Range { lo, hi });
        };
        let c = if self.eat("+") || self.is("-") {
            self.number("integer")?
        } else {
            0
        };
        Ok(Range { lo, hi: bound(c) })
    }

    /// The rest of `base^power` or `base^power-1`, in 64 bits.
    fn power(&mut self, base: i64) -> Parsed<i64> {
        let at = self.at;
        let power: u32 = self.number("power")?;
        let less = self.eat("-");
        if less && self.number::<u8>("1")? != 1 {
            return self.expected("1");
        }
        let x = i128::from(base)
            .checked_pow(power)
            .map(|x| x - i128::from(less));
        match x.and_then(|x| i64::try_from(x).ok()) {
            Some(x) => Ok(x),
            None => {
                let text = format!("{base}^{power}");
                let what = "64-bit integer";
                self.fail_at(at, ParseErrorKind::Number { what, text })
            }
        }
    }
}

/// What a name of the program stands for.
#[derive(Clone, Copy)]
enum Named {
    Buf(BufId),
    Table(TableId),
    Plan(PlanId),
}

/// Buffers and tables by name.
fn find(c: &Core, name: &str) -> Option<Named> {
    let buf = c.bufs.iter().position(|b| b.name == name);
    let table = c.tables.iter().position(|t| t.name == name);
    let plan = c.plan_tables.iter().position(|t| t.name == name);
    (buf.map(|i| Named::Buf(BufId(i as u32))))
        .or(table.map(|i| Named::Table(TableId(i as u32))))
        .or(plan.map(|i| Named::Plan(PlanId(i as u32))))
}

/// Functions by name.
fn function_of(c: &Core, name: &str) -> Option<FnId> {
    let i = c.fns.iter().position(|f| f.name == name)?;
    Some(FnId(i as u32))
}
