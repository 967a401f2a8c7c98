// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads scalar code and unfolds its expressions.
//!
//! In: the tokens of the three sections. Out: instructions. An expression is read whole and then emitted, operands before their
//! operation and from left to right; a store's right side comes before its index, a loop's end before its start.

use crate::core::{Arg, Bin, Core, Inst, Lie, Place, Port, Val, View};
use crate::print::names::{self, strength};

use super::lex::Token;
use super::{MAX_VALUES, Named, ParseErrorKind, Parsed, Parser, find, function_of};

/// An expression.
enum Ex {
    Val(Val),
    Const(i64),
    Arg(Arg),
    Bin(Bin, Box<Ex>, Box<Ex>),
    Select(Box<[Ex; 3]>),
    At(Named, Box<Ex>),
    Queued,
}

/// Which numbers values get.
struct Numbers {
    /// Numbers that stand in the text, and those given out.
    taken: Vec<bool>,
    /// The number after the last one.
    next: u32,
    /// One more than the highest defined number.
    highest: u32,
}

impl Numbers {
    fn of(p: &Parser) -> Numbers {
        let mut taken = Vec::new();
        for spot in &p.tokens {
            if let Token::Value(n) = spot.token {
                let n = n as usize;
                if n >= taken.len() {
                    taken.resize(n + 1, false);
                }
                taken[n] = true;
            }
        }
        Numbers {
            taken,
            next: 0,
            highest: 0,
        }
    }

    /// Says that `v` is defined here.
    fn define(&mut self, v: Val) {
        self.next = v.0 + 1;
        self.highest = self.highest.max(self.next);
    }

    /// The number of a value that the text does not name.
    fn fresh(&mut self) -> Val {
        let taken = |n: u32| self.taken.get(n as usize).copied().unwrap_or(false);
        let n = if taken(self.next) {
            // An edit made room for nothing: go on after all of them.
            self.taken.len() as u32
        } else {
            self.next
        };
        if n as usize >= self.taken.len() {
            self.taken.resize(n as usize + 1, false);
        }
        self.taken[n as usize] = true;
        self.define(Val(n));
        Val(n)
    }
}

/// Reads `plan`, `enter` and `body` into `core`; yields one more than the highest value number.
pub(super) fn sections(p: &mut Parser, core: &mut Core) -> Parsed<u32> {
    let mut r = Reader {
        numbers: Numbers::of(p),
        p,
        core,
        code: Vec::new(),
    };
    r.p.expect("plan")?;
    r.p.expect("{")?;
    r.statements()?;
    r.p.expect("tasks")?;
    let tasks = r.expression()?;
    let tasks = r.emit(tasks)?;
    r.p.expect("}")?;
    let plan = std::mem::take(&mut r.code);
    r.p.expect("enter")?;
    let enter = r.block()?;
    r.p.expect("body")?;
    let body = r.block()?;
    let highest = r.numbers.highest;
    core.plan = plan;
    core.tasks = tasks;
    core.enter = enter;
    core.body = body;
    Ok(highest)
}

struct Reader<'a> {
    p: &'a mut Parser,
    core: &'a Core,
    numbers: Numbers,
    /// The block that is being read.
    code: Vec<Inst>,
}

impl Reader<'_> {
    fn push(&mut self, inst: Inst) {
        self.code.push(inst);
    }

    /// `{ code }`
    fn block(&mut self) -> Parsed<Vec<Inst>> {
        self.p.expect("{")?;
        let outer = std::mem::take(&mut self.code);
        self.statements()?;
        self.p.expect("}")?;
        Ok(std::mem::replace(&mut self.code, outer))
    }

    /// Statements up to what ends a block.
    fn statements(&mut self) -> Parsed<()> {
        while !(self.p.is("}") || self.p.is("tasks") || self.p.is("next")) {
            self.statement()?;
        }
        Ok(())
    }

    /// Emits an expression; its value.
    fn emit(&mut self, e: Ex) -> Parsed<Val> {
        match e {
            Ex::Val(v) => Ok(v),
            e => self.emit_as(e, None),
        }
    }

    /// Emits an expression that is an instruction, under `name` or the next number.
    fn emit_as(&mut self, e: Ex, name: Option<Val>) -> Parsed<Val> {
        // Operands first: they take the numbers before.
        let make: Box<dyn FnOnce(Val) -> Inst> = match e {
            Ex::Val(_) => {
                // There is no copy instruction.
                return self.p.expected("an operation before this");
            }
            Ex::Const(x) => Box::new(move |v| Inst::Const(v, x)),
            Ex::Arg(a) => Box::new(move |v| Inst::Arg(v, a)),
            Ex::Queued => Box::new(Inst::Queued),
            Ex::Bin(op, a, b) => {
                let (a, b) = (self.emit(*a)?, self.emit(*b)?);
                Box::new(move |v| Inst::Bin(v, op, a, b))
            }
            Ex::Select(x) => {
                let [c, a, b] = *x;
                let (c, a, b) = (self.emit(c)?, self.emit(a)?, self.emit(b)?);
                Box::new(move |v| Inst::Select(v, c, a, b))
            }
            Ex::At(named, i) => {
                let i = self.emit(*i)?;
                Box::new(move |v| match named {
                    Named::Buf(b) => Inst::Load(v, b, i),
                    Named::Table(t) => Inst::Table(v, t, i),
                    Named::Plan(t) => Inst::Plan(v, t, i),
                })
            }
        };
        let v = match name {
            Some(v) => {
                self.numbers.define(v);
                v
            }
            None => self.numbers.fresh(),
        };
        if self.numbers.highest > MAX_VALUES {
            return self.p.fail(ParseErrorKind::TooMany("values"));
        }
        let inst = make(v);
        self.push(inst);
        Ok(v)
    }

    fn expression(&mut self) -> Parsed<Ex> {
        Ok(expression(self.p, self.core)?.0)
    }

    /// An expression, emitted.
    fn value(&mut self) -> Parsed<Val> {
        let e = self.expression()?;
        self.emit(e)
    }

    /// A value that must be one of the text's: `%n`.
    fn named(&mut self) -> Parsed<Val> {
        match *self.p.peek() {
            Token::Value(n) => {
                self.p.bump();
                Ok(Val(n))
            }
            Token::Word(_) | Token::Number(_) | Token::Sign(_) | Token::End => {
                self.p.expected("a value")
            }
        }
    }

    fn statement(&mut self) -> Parsed<()> {
        let word = match self.p.peek().clone() {
            Token::Value(_) => {
                let v = self.named()?;
                self.p.expect("=")?;
                if self.p.eat("inspect") {
                    return self.inspect(v);
                }
                let e = self.expression()?;
                self.emit_as(e, Some(v))?;
                return Ok(());
            }
            Token::Word(w) => w,
            Token::Number(_) | Token::Sign(_) | Token::End => {
                return self.p.expected("an instruction or `}`");
            }
        };
        if *self.p.second() == Token::Sign("(") {
            return self.call();
        }
        if *self.p.second() == Token::Sign("[") {
            return self.store();
        }
        match word.as_str() {
            "for" => self.for_loop(),
            "walk" => self.walk(),
            "if" => self.conditional(),
            "floats" => self.floats(),
            "gather" => self.gather(false),
            "async" => {
                self.p.bump();
                self.gather(true)
            }
            "scatter" => self.scatter(),
            "fill" => self.fill(),
            "commit" => self.alone(Inst::Commit),
            "release" => self.alone(Inst::Release),
            "barrier" => self.alone(Inst::Barrier),
            "wait" => {
                self.p.bump();
                let ahead = self.p.number("number of stages")?;
                self.push(Inst::Wait(ahead));
                Ok(())
            }
            _ => self.p.expected("an instruction or `}`"),
        }
    }

    fn deeper(&mut self) -> Parsed<Vec<Inst>> {
        if self.p.depth >= super::MAX_DEPTH {
            return self.p.fail(ParseErrorKind::TooMany("levels of nesting"));
        }
        self.p.depth += 1;
        let code = self.block()?;
        self.p.depth -= 1;
        Ok(code)
    }

    /// `lo..hi`, with what comes behind read by `rest`; the end is emitted first.
    fn span(&mut self) -> Parsed<(Val, Val)> {
        let lo = self.expression()?;
        self.p.expect("..")?;
        let hi = self.expression()?;
        let hi = self.emit(hi)?;
        let lo = self.emit(lo)?;
        Ok((lo, hi))
    }

    fn for_loop(&mut self) -> Parsed<()> {
        self.p.expect("for")?;
        let iv = self.named()?;
        self.p.expect("in")?;
        let (lo, hi) = self.span()?;
        let step = if self.p.eat("by") {
            self.value()?
        } else {
            self.emit(Ex::Const(1))?
        };
        self.numbers.define(iv);
        let body = self.deeper()?;
        self.push(Inst::For {
            iv,
            lo,
            hi,
            step,
            body,
        });
        Ok(())
    }

    fn walk(&mut self) -> Parsed<()> {
        self.p.expect("walk")?;
        let cur = self.named()?;
        self.p.expect("in")?;
        let (lo, hi) = self.span()?;
        self.numbers.define(cur);
        self.p.expect("{")?;
        if self.p.depth >= super::MAX_DEPTH {
            return self.p.fail(ParseErrorKind::TooMany("levels of nesting"));
        }
        self.p.depth += 1;
        let outer = std::mem::take(&mut self.code);
        self.statements()?;
        self.p.expect("next")?;
        let next = self.value()?;
        self.p.expect("}")?;
        self.p.depth -= 1;
        let body = std::mem::replace(&mut self.code, outer);
        self.push(Inst::Walk {
            cur,
            lo,
            hi,
            body,
            next,
        });
        Ok(())
    }

    fn conditional(&mut self) -> Parsed<()> {
        self.p.expect("if")?;
        let cond = self.value()?;
        let then = self.deeper()?;
        let els = if self.p.eat("else") {
            self.deeper()?
        } else {
            Vec::new()
        };
        self.push(Inst::If { cond, then, els });
        Ok(())
    }

    /// `name[i] = x`
    fn store(&mut self) -> Parsed<()> {
        let start = self.p.at;
        let named = known(self.p, self.core)?;
        self.p.expect("[")?;
        let i = self.expression()?;
        self.p.expect("]")?;
        self.p.expect("=")?;
        let x = self.value()?;
        let i = self.emit(i)?;
        match named {
            Named::Buf(b) => self.push(Inst::Store(b, i, x)),
            Named::Plan(t) => self.push(Inst::PlanStore(t, i, x)),
            Named::Table(_) => {
                return self.p.fail_at(
                    start,
                    ParseErrorKind::Expected {
                        expected: "a buffer or plan table".to_string(),
                        found: "a table of constants".to_string(),
                    },
                );
            }
        }
        Ok(())
    }

    /// `name[at]`, its position emitted.
    fn place(&mut self) -> Parsed<Place> {
        let start = self.p.at;
        let Named::Buf(buf) = known(self.p, self.core)? else {
            return self.p.fail_at(
                start,
                ParseErrorKind::Expected {
                    expected: "a buffer".to_string(),
                    found: "a table".to_string(),
                },
            );
        };
        self.p.expect("[")?;
        let at = self.value()?;
        self.p.expect("]")?;
        Ok(Place { buf, at })
    }

    /// `q(batch, head)` or `buffer by width`
    fn view(&mut self) -> Parsed<View> {
        if *self.p.second() == Token::Sign("(") {
            let port: Port = self.p.one_of("a tensor", names::port_of)?;
            self.p.expect("(")?;
            let batch = self.value()?;
            self.p.expect(",")?;
            let head = self.value()?;
            self.p.expect(")")?;
            return Ok(View::Tensor { port, batch, head });
        }
        let start = self.p.at;
        let Named::Buf(buf) = known(self.p, self.core)? else {
            return self.p.fail_at(
                start,
                ParseErrorKind::Expected {
                    expected: "a buffer".to_string(),
                    found: "a table".to_string(),
                },
            );
        };
        self.p.expect("by")?;
        let width = self.p.number("width")?;
        Ok(View::Work { buf, width })
    }

    fn lie(&mut self) -> Parsed<Lie> {
        if self.p.eat("rows") {
            return Ok(Lie::Rows);
        }
        self.p.expect("cols")?;
        let stride = self.p.number("stride")?;
        Ok(Lie::Cols { stride })
    }

    /// ` at rows[i] live n`
    fn rows(&mut self) -> Parsed<(Place, Val)> {
        self.p.expect("at")?;
        let idx = self.place()?;
        self.p.expect("live")?;
        Ok((idx, self.value()?))
    }

    fn floats(&mut self) -> Parsed<()> {
        self.p.expect("floats")?;
        let dst = self.place()?;
        self.p.expect("=")?;
        let f = self.p.one_of("a function of counts", names::count_fn_of)?;
        let src = self.place()?;
        self.p.expect("live")?;
        let count = self.value()?;
        self.push(Inst::Floats { dst, src, count, f });
        Ok(())
    }

    /// An instruction of one word.
    fn alone(&mut self, inst: Inst) -> Parsed<()> {
        self.p.bump();
        self.push(inst);
        Ok(())
    }

    /// `buffer[at] by width live n`, what the rows hold going to `v`.
    fn inspect(&mut self, v: Val) -> Parsed<()> {
        let src = self.place()?;
        self.p.expect("by")?;
        let width = self.p.number("width")?;
        self.p.expect("live")?;
        let live = self.value()?;
        self.numbers.define(v);
        self.push(Inst::Inspect(v, src, width, live));
        Ok(())
    }

    fn gather(&mut self, ahead: bool) -> Parsed<()> {
        self.p.expect("gather")?;
        let dst = self.place()?;
        let lie = self.lie()?;
        self.p.expect("=")?;
        let src = self.view()?;
        let (idx, live) = self.rows()?;
        let flag = if self.p.eat("flag") {
            Some(self.place()?)
        } else {
            None
        };
        self.push(Inst::Gather {
            dst,
            lie,
            src,
            idx,
            live,
            flag,
            ahead,
        });
        Ok(())
    }

    fn scatter(&mut self) -> Parsed<()> {
        self.p.expect("scatter")?;
        let dst = self.view()?;
        let (idx, live) = self.rows()?;
        self.p.expect("=")?;
        let src = self.place()?;
        let lie = self.lie()?;
        self.push(Inst::Scatter {
            dst,
            idx,
            live,
            src,
            lie,
        });
        Ok(())
    }

    fn fill(&mut self) -> Parsed<()> {
        self.p.expect("fill")?;
        let dst = self.view()?;
        let (idx, live) = self.rows()?;
        self.p.expect("=")?;
        let value = self.p.number("float")?;
        self.push(Inst::Fill {
            dst,
            idx,
            live,
            value,
        });
        Ok(())
    }

    /// `f(places; values)`
    fn call(&mut self) -> Parsed<()> {
        let start = self.p.at;
        let name = self.p.word("a function")?;
        let Some(f) = function_of(self.core, &name) else {
            let what = "function";
            return self
                .p
                .fail_at(start, ParseErrorKind::Unknown { what, name });
        };
        self.p.expect("(")?;
        let mut tiles = Vec::new();
        while !self.p.is(";") {
            tiles.push(self.place()?);
            if !self.p.eat(",") {
                break;
            }
        }
        self.p.expect(";")?;
        let mut scalars = Vec::new();
        while !self.p.is(")") {
            scalars.push(self.value()?);
            if !self.p.eat(",") {
                break;
            }
        }
        self.p.expect(")")?;
        self.push(Inst::Call { f, tiles, scalars });
        Ok(())
    }
}

/// A buffer or table by name.
fn known(p: &mut Parser, core: &Core) -> Parsed<Named> {
    let start = p.at;
    let name = p.word("a buffer or table")?;
    match find(core, &name) {
        Some(named) => Ok(named),
        None => {
            let what = "buffer or table";
            p.fail_at(start, ParseErrorKind::Unknown { what, name })
        }
    }
}

/// An expression and its height.
fn expression(p: &mut Parser, core: &Core) -> Parsed<(Ex, u32)> {
    p.nested(|p| binary(p, core, 1))
}

/// Operations of at least `least` strength; those of equal strength associate to the left.
fn binary(p: &mut Parser, core: &Core, least: u8) -> Parsed<(Ex, u32)> {
    let (mut a, mut height) = atom(p, core)?;
    loop {
        let op = match p.peek() {
            Token::Sign(s) => names::bin_of(s),
            Token::Word(_) | Token::Value(_) | Token::Number(_) | Token::End => None,
        };
        let Some(op) = op.filter(|op| strength(*op) >= least) else {
            return Ok((a, height));
        };
        p.bump();
        let (b, other) = binary(p, core, strength(op) + 1)?;
        height = 1 + height.max(other);
        if height > super::MAX_DEPTH {
            return p.fail(ParseErrorKind::TooMany("levels of nesting"));
        }
        a = Ex::Bin(op, Box::new(a), Box::new(b));
    }
}

/// The arguments of a call.
fn arguments(p: &mut Parser, core: &Core, n: usize) -> Parsed<(Vec<Ex>, u32)> {
    p.expect("(")?;
    let (mut out, mut height) = (Vec::new(), 0);
    for i in 0..n {
        if i > 0 {
            p.expect(",")?;
        }
        let (x, h) = expression(p, core)?;
        out.push(x);
        height = height.max(h + 1);
    }
    p.expect(")")?;
    Ok((out, height))
}

/// What binds tightest.
fn atom(p: &mut Parser, core: &Core) -> Parsed<(Ex, u32)> {
    let word = match p.peek().clone() {
        Token::Value(n) => {
            p.bump();
            return Ok((Ex::Val(Val(n)), 0));
        }
        Token::Number(_) | Token::Sign("-") => return Ok((Ex::Const(p.number("integer")?), 0)),
        Token::Sign("(") => {
            p.bump();
            let e = expression(p, core)?;
            p.expect(")")?;
            return Ok(e);
        }
        Token::Word(w) => w,
        Token::Sign(_) | Token::End => return p.expected("a value"),
    };
    let arg = match word.as_str() {
        "N" => Some(Arg::SeqLen),
        "B" => Some(Arg::Batch),
        "task" => Some(Arg::Task),
        _ => None,
    };
    if let Some(arg) = arg {
        p.bump();
        return Ok((Ex::Arg(arg), 0));
    }
    if p.eat("queued") {
        return Ok((Ex::Queued, 0));
    }
    if let Some(op) = names::bin_of(&word) {
        p.bump();
        let (mut x, height) = arguments(p, core, 2)?;
        return match (x.pop(), x.pop()) {
            (Some(b), Some(a)) => Ok((Ex::Bin(op, Box::new(a), Box::new(b)), height)),
            (_, _) => p.expected("two operands"),
        };
    }
    if word == "select" {
        p.bump();
        let (x, height) = arguments(p, core, 3)?;
        return match <[Ex; 3]>::try_from(x) {
            Ok(x) => Ok((Ex::Select(Box::new(x)), height)),
            Err(_) => p.expected("three operands"),
        };
    }
    let named = known(p, core)?;
    p.expect("[")?;
    let (i, height) = expression(p, core)?;
    p.expect("]")?;
    Ok((Ex::At(named, Box::new(i)), height + 1))
}
