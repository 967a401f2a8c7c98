// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Reads tile functions.
//!
//! In: the tokens behind `fn`. Out: a [`TileFn`] whose tiles and scalars exist; nothing else of it has been checked.

use crate::core::{
    Accuracy, Axis, Core, Elem, Expr, Guard, Layout, OpKind, Red, Scalar, Tile, TileFn, TileOp,
    TileTy,
};
use crate::print::names;

use super::lex::Token;
use super::{MAX_DEPTH, MAX_NAMES, ParseErrorKind, Parsed, Parser, function_of};

/// `name(tiles; scalars) mq M nk K { temp ... operations }`
pub(super) fn function(p: &mut Parser, core: &Core) -> Parsed<TileFn> {
    let at = p.at;
    let name = p.name("a function's name")?;
    if function_of(core, &name).is_some() {
        return p.fail_at(at, ParseErrorKind::Taken(name));
    }
    if core.fns.len() >= MAX_NAMES {
        return p.fail_at(at, ParseErrorKind::TooMany("functions"));
    }
    let mut f = TileFn {
        name,
        mq: 0,
        nk: 0,
        head_dim: core.head_dim,
        tiles: Vec::new(),
        scalars: Vec::new(),
        temps: Vec::new(),
        body: Vec::new(),
    };
    p.expect("(")?;
    while !p.is(";") {
        let tile = declaration(p, &f)?;
        f.tiles.push(tile);
        if !p.eat(",") {
            break;
        }
    }
    p.expect(";")?;
    while !p.is(")") {
        let at = p.at;
        let name = p.name("a scalar's name")?;
        if f.scalars.contains(&name) || f.scalars.len() >= MAX_NAMES {
            return p.fail_at(at, ParseErrorKind::Taken(name));
        }
        f.scalars.push(name);
        if !p.eat(",") {
            break;
        }
    }
    p.expect(")")?;
    p.expect("mq")?;
    f.mq = p.number("extent")?;
    p.expect("nk")?;
    f.nk = p.number("extent")?;
    if p.eat("dim") {
        f.head_dim = p.number("head dimension")?;
    }
    p.expect("{")?;
    if p.eat("temp") {
        loop {
            let temp = declaration(p, &f)?;
            f.temps.push(temp);
            if !p.eat(",") {
                break;
            }
        }
    }
    while !p.eat("}") {
        let guard = guard(p, &f)?;
        let kind = operation(p, &f)?;
        f.body.push(TileOp { guard, kind });
    }
    Ok(f)
}

/// `name[rows,cols]`, perhaps with an element type before it and a packed layout behind it.
fn declaration(p: &mut Parser, f: &TileFn) -> Parsed<(String, TileTy)> {
    // A tile may be called `i64`; then `[` follows.
    let elem = match p.second() {
        Token::Sign("[") => Elem::F32,
        _ => p.one_of("a tile", names::elem_of)?,
    };
    let at = p.at;
    let name = p.name("a tile's name")?;
    if f.tiles.len() + f.temps.len() >= MAX_NAMES {
        return p.fail_at(at, ParseErrorKind::TooMany("tiles"));
    }
    if find(f, &name).is_some() {
        return p.fail_at(at, ParseErrorKind::Taken(name));
    }
    p.expect("[")?;
    let rows = axis(p)?;
    p.expect(",")?;
    let cols = axis(p)?;
    p.expect("]")?;
    let layout = if p.is("padded") || p.is("transposed") {
        p.layout()?
    } else {
        Layout::Row
    };
    let ty = TileTy {
        elem,
        rows,
        cols,
        layout,
    };
    Ok((name, ty))
}

fn axis(p: &mut Parser) -> Parsed<Axis> {
    if let Token::Number(n) = p.peek()
        && n == "1"
    {
        p.bump();
        return Ok(Axis::One);
    }
    if p.eat("q") {
        return Ok(Axis::Query);
    }
    if p.eat("d") {
        return Ok(Axis::Dim);
    }
    if !p.eat("k") {
        return p.expected("an axis: `1`, `q`, `k` or `d`");
    }
    let order = if p.eat(":") {
        p.number("order tag")?
    } else {
        0
    };
    Ok(Axis::Key { order })
}

fn find(f: &TileFn, name: &str) -> Option<Tile> {
    let mut all = f.tiles.iter().chain(&f.temps);
    all.position(|(n, _)| n == name).map(|i| Tile(i as u32))
}

/// A tile by name.
fn tile(p: &mut Parser, f: &TileFn) -> Parsed<Tile> {
    let at = p.at;
    let name = p.word("a tile")?;
    match find(f, &name) {
        Some(t) => Ok(t),
        None => p.fail_at(at, ParseErrorKind::Unknown { what: "tile", name }),
    }
}

/// `when flag: ` or `when not flag: `
fn guard(p: &mut Parser, f: &TileFn) -> Parsed<Option<Guard>> {
    if !p.eat("when") {
        return Ok(None);
    }
    let when = !p.eat("not");
    let at = p.at;
    let name = p.word("a scalar")?;
    let Some(i) = f.scalars.iter().position(|s| *s == name) else {
        let what = "scalar";
        return p.fail_at(at, ParseErrorKind::Unknown { what, name });
    };
    p.expect(":")?;
    let scalar = Scalar(i as u32);
    Ok(Some(Guard { scalar, when }))
}

fn causal(p: &mut Parser, f: &TileFn) -> Parsed<Option<(Tile, Tile)>> {
    if !p.eat("causal") {
        return Ok(None);
    }
    let k = tile(p, f)?;
    p.expect("<=")?;
    Ok(Some((k, tile(p, f)?)))
}

fn only(p: &mut Parser, f: &TileFn) -> Parsed<Option<Tile>> {
    if p.eat("only") {
        tile(p, f).map(Some)
    } else {
        Ok(None)
    }
}

fn operation(p: &mut Parser, f: &TileFn) -> Parsed<OpKind> {
    if p.eat("mask") {
        let dst = tile(p, f)?;
        let causal = causal(p, f)?;
        let only = only(p, f)?;
        return Ok(OpKind::Mask { dst, causal, only });
    }
    let dst = tile(p, f)?;
    p.expect("=")?;
    // Operations are words that a word follows; a tile may have the same name.
    let op = match (p.peek(), p.second()) {
        (Token::Word(op), Token::Word(_)) => op.clone(),
        _ => String::new(),
    };
    let pair = |p: &mut Parser| {
        p.bump();
        let a = tile(p, f)?;
        p.expect(",")?;
        Ok((a, tile(p, f)?))
    };
    let reduce = |p: &mut Parser, op| {
        p.bump();
        let src = tile(p, f)?;
        Ok(OpKind::Reduce { dst, op, src })
    };
    match op.as_str() {
        "dot_keys" => {
            let (a, b) = pair(p)?;
            Ok(OpKind::DotKeys { dst, a, b })
        }
        "dot_values" => {
            let (a, b) = pair(p)?;
            let only = only(p, f)?;
            Ok(OpKind::DotValues { dst, a, b, only })
        }
        "reduce_max" => reduce(p, Red::Max),
        "reduce_sum" => reduce(p, Red::Sum),
        "visible" => {
            p.bump();
            let weight = tile(p, f)?;
            let causal = causal(p, f)?;
            Ok(OpKind::Visible {
                dst,
                weight,
                causal,
            })
        }
        _ => {
            let (expr, _) = expression(p, f)?;
            Ok(OpKind::Map { dst, expr })
        }
    }
}

/// An expression and its height.
fn expression(p: &mut Parser, f: &TileFn) -> Parsed<(Expr, u32)> {
    p.nested(|p| {
        let (mut a, mut height) = product(p, f)?;
        loop {
            let make = if p.eat("+") {
                Expr::Add
            } else if p.eat("-") {
                Expr::Sub
            } else {
                return Ok((a, height));
            };
            let (b, other) = product(p, f)?;
            height = higher(p, height, other)?;
            a = make(Box::new(a), Box::new(b));
        }
    })
}

fn product(p: &mut Parser, f: &TileFn) -> Parsed<(Expr, u32)> {
    let (mut a, mut height) = atom(p, f)?;
    loop {
        let make = if p.eat("*") {
            Expr::Mul
        } else if p.eat("/") {
            Expr::Div
        } else {
            return Ok((a, height));
        };
        let (b, other) = atom(p, f)?;
        height = higher(p, height, other)?;
        a = make(Box::new(a), Box::new(b));
    }
}

fn higher(p: &Parser, a: u32, b: u32) -> Parsed<u32> {
    let height = 1 + a.max(b);
    if height > MAX_DEPTH {
        return p.fail(ParseErrorKind::TooMany("levels of nesting"));
    }
    Ok(height)
}

fn atom(p: &mut Parser, f: &TileFn) -> Parsed<(Expr, u32)> {
    let word = match p.peek().clone() {
        Token::Number(_) | Token::Sign("-") => return Ok((Expr::Const(p.number("float")?), 0)),
        Token::Word(w) if w == "inf" || w == "NaN" => {
            return Ok((Expr::Const(p.number("float")?), 0));
        }
        Token::Sign("(") => {
            p.bump();
            let e = expression(p, f)?;
            p.expect(")")?;
            return Ok(e);
        }
        Token::Word(w) => w,
        Token::Value(_) | Token::Sign(_) | Token::End => return p.expected("a tile or a float"),
    };
    if *p.second() != Token::Sign("(") {
        return Ok((Expr::Tile(tile(p, f)?), 0));
    }
    let at = p.at;
    p.bump();
    p.bump();
    let (a, mut height) = expression(p, f)?;
    let a = Box::new(a);
    let mut next = |p: &mut Parser| {
        let (x, other) = expression(p, f)?;
        height = height.max(other);
        Ok(Box::new(x))
    };
    let e = match word.as_str() {
        "exp2" => Expr::Exp2(a, Accuracy::Full),
        "exp2_13" => Expr::Exp2(a, Accuracy::Bits13),
        "exp2_9" => Expr::Exp2(a, Accuracy::Bits9),
        "exp" => Expr::Exp(a, Accuracy::Full),
        "exp_13" => Expr::Exp(a, Accuracy::Bits13),
        "exp_9" => Expr::Exp(a, Accuracy::Bits9),
        "log2" => Expr::Log2(a),
        "ln" => Expr::Ln(a),
        "data" => Expr::Data(a),
        "max" => {
            p.expect(",")?;
            Expr::Max(a, next(p)?)
        }
        "fma" => {
            p.expect(",")?;
            let b = next(p)?;
            p.expect(",")?;
            Expr::Fma(a, b, next(p)?)
        }
        "select" => {
            let make = if p.eat("==") {
                Expr::IfEq
            } else {
                p.expect("<")?;
                Expr::IfLt
            };
            let b = next(p)?;
            p.expect(",")?;
            let c = next(p)?;
            p.expect(",")?;
            make(a, b, c, next(p)?)
        }
        _ => {
            let what = "function of floats";
            return p.fail_at(at, ParseErrorKind::Unknown { what, name: word });
        }
    };
    p.expect(")")?;
    let height = higher(p, height, 0)?;
    Ok((e, height))
}
