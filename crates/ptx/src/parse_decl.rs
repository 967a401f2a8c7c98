// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Text to tree: header, variables, functions, debug directives and statements that begin
//! with a dot or a label. In: the parser's tokens. Out: the tree's parts.

use crate::error::{ParseError, ParseErrorKind as K};
use crate::lex::Tok;
use crate::module::*;
use crate::parse::Parser;
use crate::ty::{Space, Type};
use std::sync::Arc;

type R<T> = Result<T, ParseError>;

/// Directives behind a function's parameters, and whether they have numbers.
const TUNING: &[&str] = &[
    "reqntid",
    "maxntid",
    "minnctapersm",
    "maxnctapersm",
    "maxnreg",
    "noreturn",
    "reqnctapercluster",
    "explicitcluster",
    "maxclusterrank",
    "blocksareclusters",
    "abi_preserve",
    "abi_preserve_control",
];

impl Parser<'_> {
    fn unknown<T>(&self, what: &str) -> R<T> {
        Err(ParseError::new(
            self.pos(),
            K::UnknownDirective(format!(".{what}")),
        ))
    }

    /// The whole text.
    pub(crate) fn module(&mut self) -> R<Module> {
        let mut m = Module {
            version: (0, 0),
            target: Vec::new(),
            address_size: None,
            items: Vec::new(),
        };
        if !self.eat_dot("version") {
            return self.fail("`.version`");
        }
        // `8.8` was read as a decimal fraction; its text has the two numbers.
        let v = self
            .text()
            .split_once('.')
            .and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let Some(v) = v else {
            return self.fail("a version such as `8.0`");
        };
        m.version = v;
        self.bump();
        if !self.eat_dot("target") {
            return self.fail("`.target`");
        }
        loop {
            m.target.push(self.name()?.to_string());
            if !self.eat(',') {
                break;
            }
        }
        if self.eat_dot("address_size") {
            m.address_size = Some(self.uint32()?);
        }
        while *self.tok() != Tok::End {
            let item = self.item()?;
            m.items.extend(item);
        }
        Ok(m)
    }

    fn item(&mut self) -> R<Option<Item>> {
        let at = At(self.pos());
        let Tok::Dot(word) = *self.tok() else {
            if self.eat(';') {
                return Ok(None);
            }
            return self.fail("a directive");
        };
        match word {
            "file" => {
                self.bump();
                let index = self.uint32()?;
                let Tok::Str(s) = *self.tok() else {
                    return self.fail("a string");
                };
                self.bump();
                let mut stamp = None;
                if self.eat(',') {
                    let t = self.int()? as u64;
                    self.want(',', "`,`")?;
                    stamp = Some((t, self.int()? as u64));
                }
                return Ok(Some(Item::File(File {
                    index,
                    name: s.to_string(),
                    stamp,
                })));
            }
            "section" => return Ok(Some(Item::Section(self.section()?))),
            "pragma" => {
                self.bump();
                let s = self.strings()?;
                self.want(';', "`;`")?;
                return Ok(Some(Item::Pragma(s)));
            }
            "loc" => return Ok(Some(Item::Loc(self.loc()?))),
            "alias" => {
                self.bump();
                let a = self.name()?;
                self.want(',', "`,`")?;
                let b = self.name()?;
                self.want(';', "`;`")?;
                return Ok(Some(Item::Alias(a, b)));
            }
            _ => {}
        }
        let linkage = match word {
            "extern" => Linkage::Extern,
            "visible" => Linkage::Visible,
            "weak" => Linkage::Weak,
            "common" => Linkage::Common,
            _ => Linkage::Internal,
        };
        if linkage != Linkage::Internal {
            self.bump();
        }
        let Tok::Dot(word) = *self.tok() else {
            return self.fail("a directive");
        };
        match word {
            "entry" | "func" => {
                self.bump();
                Ok(Some(Item::Function(self.function(
                    at,
                    linkage,
                    word == "entry",
                )?)))
            }
            "const" | "global" | "shared" => Ok(Some(Item::Var(self.var(at, linkage)?))),
            "tex" | "texref" | "samplerref" | "surfref" => self.unknown(word),
            _ => self.unknown(word),
        }
    }

    fn scalar_type(&mut self) -> R<Type> {
        if let Tok::Dot(d) = self.tok()
            && let Some(t) = Type::from_name(d)
            && t.declarable()
        {
            self.bump();
            return Ok(t);
        }
        self.fail("a type")
    }

    fn vector(&mut self) -> u8 {
        if self.eat_dot("v2") {
            2
        } else if self.eat_dot("v4") {
            4
        } else {
            1
        }
    }

    /// `.SPACE [.align N] [.vN] .TYPE [.ptr ...] NAME [dims] [= init] ;`; the `;` only
    /// outside of parameter lists.
    fn var_head(&mut self, at: At, linkage: Linkage) -> R<Var> {
        let space = match self.tok() {
            Tok::Dot(d) => match Space::from_name(d) {
                Some(s) => s,
                None => return self.unknown(d),
            },
            _ => return self.fail("a state space"),
        };
        self.bump();
        let mut align = None;
        let mut ptr = None;
        let mut vector = 1;
        let mut ty = None;
        loop {
            if self.eat_dot("align") {
                align = Some(self.uint32()?);
            } else if self.eat_dot("ptr") {
                let mut p = Ptr {
                    space: None,
                    align: None,
                };
                if let Tok::Dot(d) = self.tok()
                    && let Some(s) = Space::from_name(d)
                {
                    p.space = Some(s);
                    self.bump();
                }
                if self.eat_dot("align") {
                    p.align = Some(self.uint32()?);
                }
                ptr = Some(p);
            } else if matches!(self.tok(), Tok::Dot("v2" | "v4")) {
                vector = self.vector();
            } else if matches!(self.tok(), Tok::Dot(_)) {
                ty = Some(self.scalar_type()?);
            } else {
                break;
            }
        }
        let Some(ty) = ty else {
            return self.fail("a type");
        };
        // A parameter of a declaration may be without a name, or `_`.
        let name = match self.tok() {
            Tok::Ident(_) => self.name()?,
            _ if space == Space::Param => Arc::from("_"),
            _ => return self.fail("a name"),
        };
        let mut dims = Vec::new();
        while self.eat('[') {
            if self.eat(']') {
                dims.push(None);
                continue;
            }
            dims.push(Some(self.int()? as u64));
            self.want(']', "`]`")?;
        }
        Ok(Var {
            pos: at,
            linkage,
            space,
            align,
            vector,
            ty,
            ptr,
            name,
            dims,
            init: None,
        })
    }

    fn var(&mut self, at: At, linkage: Linkage) -> R<Var> {
        let mut v = self.var_head(at, linkage)?;
        if self.eat('=') {
            v.init = Some(self.init()?);
        }
        self.want(';', "`;`")?;
        Ok(v)
    }

    fn init(&mut self) -> R<Init> {
        self.deeper(|p| {
            if p.eat('{') {
                let mut l = Vec::new();
                while !p.eat('}') {
                    if !l.is_empty() {
                        p.want(',', "`,`")?;
                        if p.eat('}') {
                            break;
                        }
                    }
                    l.push(p.init()?);
                }
                return Ok(Init::List(l));
            }
            if let Tok::Ident(s) = *p.tok()
                && s != "WARP_SZ"
            {
                p.bump();
                if s == "generic" && p.eat('(') {
                    let n = p.name()?;
                    let mut off = p.offset()?;
                    p.want(')', "`)`")?;
                    off += p.offset()?;
                    return Ok(Init::One(InitValue::Symbol(n, off, true)));
                }
                let off = p.offset()?;
                return Ok(Init::One(InitValue::Symbol(Arc::from(s), off, false)));
            }
            Ok(Init::One(InitValue::Imm(p.expr(0)?)))
        })
    }

    fn params(&mut self) -> R<Vec<Param>> {
        let mut out = Vec::new();
        if !self.eat('(') {
            return Ok(out);
        }
        while !self.eat(')') {
            if !out.is_empty() {
                self.want(',', "`,`")?;
            }
            let at = At(self.pos());
            if self.eat_dot("reg") {
                let t = self.scalar_type()?;
                let n = match self.tok() {
                    Tok::Ident(_) => self.name()?,
                    _ => Arc::from("_"),
                };
                out.push(Param::Reg(t, n));
            } else {
                out.push(Param::Var(self.var_head(at, Linkage::Internal)?));
            }
        }
        Ok(out)
    }

    fn function(&mut self, pos: At, linkage: Linkage, entry: bool) -> R<Function> {
        let returns = if entry { Vec::new() } else { self.params()? };
        let name = self.name()?;
        let params = self.params()?;
        let mut tuning = Vec::new();
        loop {
            match *self.tok() {
                Tok::Dot(d) if TUNING.contains(&d) => {
                    self.bump();
                    let mut values = Vec::new();
                    while matches!(self.tok(), Tok::Num(_)) {
                        values.push(self.int()? as u64);
                        if !self.eat(',') {
                            break;
                        }
                    }
                    tuning.push(Tuning {
                        name: d.to_string(),
                        values,
                    });
                }
                Tok::Dot("pragma") => {
                    self.bump();
                    for s in self.strings()? {
                        tuning.push(Tuning {
                            name: format!("pragma \"{s}\""),
                            values: Vec::new(),
                        });
                    }
                    self.want(';', "`;`")?;
                }
                _ => break,
            }
        }
        let body = if self.eat('{') {
            Some(self.body()?)
        } else {
            self.want(';', "`{` or `;`")?;
            None
        };
        Ok(Function {
            pos,
            linkage,
            entry,
            returns,
            name,
            params,
            tuning,
            body,
        })
    }

    fn triple(&mut self) -> R<[u32; 3]> {
        let mut v = [0; 3];
        for x in &mut v {
            match *self.tok() {
                Tok::Num(Imm::Int(n)) if u32::try_from(n).is_ok() => *x = n as u32,
                _ => return self.fail("a line number"),
            }
            self.bump();
        }
        Ok(v)
    }

    fn loc(&mut self) -> R<Loc> {
        self.bump();
        let at = self.triple()?;
        let mut inlined = None;
        if self.is(',') && matches!(self.ahead(1), Tok::Ident("function_name")) {
            self.bump();
            self.bump();
            let n = self.name()?;
            let off = self.offset()?;
            self.want(',', "`,`")?;
            if !matches!(self.tok(), Tok::Ident("inlined_at")) {
                return self.fail("`inlined_at`");
            }
            self.bump();
            inlined = Some((n, off, self.triple()?));
        }
        Ok(Loc { at, inlined })
    }

    fn section(&mut self) -> R<Section> {
        self.bump();
        let name = match *self.tok() {
            Tok::Dot(d) => format!(".{d}"),
            Tok::Ident(s) => s.to_string(),
            _ => return self.fail("a section name"),
        };
        self.bump();
        self.want('{', "`{`")?;
        let mut lines = Vec::new();
        while !self.eat('}') {
            if let Tok::Ident(_) = self.tok() {
                let n = self.name()?;
                self.want(':', "`:`")?;
                lines.push(SectionLine::Label(n));
                continue;
            }
            let ty = self.scalar_type()?;
            let mut vals = Vec::new();
            loop {
                vals.push(match *self.tok() {
                    Tok::Dot(d) => {
                        self.bump();
                        SectionValue::Label(Arc::from(format!(".{d}").as_str()), self.offset()?)
                    }
                    Tok::Ident(s) => {
                        self.bump();
                        if self.is('-') && matches!(self.ahead(1), Tok::Ident(_)) {
                            self.bump();
                            SectionValue::Difference(Arc::from(s), self.name()?)
                        } else {
                            SectionValue::Label(Arc::from(s), self.offset()?)
                        }
                    }
                    _ => SectionValue::Int(self.int()?),
                });
                if !self.eat(',') {
                    break;
                }
            }
            lines.push(SectionLine::Data(ty, vals));
        }
        Ok(Section { name, lines })
    }

    fn names(&mut self) -> R<Vec<Name>> {
        let mut v = vec![self.name()?];
        while self.eat(',') {
            v.push(self.name()?);
        }
        Ok(v)
    }

    /// One statement of a body.
    pub(crate) fn stmt(&mut self, out: &mut Vec<Stmt>) -> R<()> {
        let at = At(self.pos());
        match *self.tok() {
            Tok::Punct('{') => {
                self.bump();
                let b = self.body()?;
                out.push(Stmt::Block(b));
            }
            Tok::Ident(_) if *self.ahead(1) == Tok::Punct(':') => {
                let n = self.name()?;
                self.bump();
                if self.eat_dot("branchtargets") {
                    let l = self.names()?;
                    self.want(';', "`;`")?;
                    out.push(Stmt::BranchTargets(n, l));
                } else if self.eat_dot("calltargets") {
                    let l = self.names()?;
                    self.want(';', "`;`")?;
                    out.push(Stmt::CallTargets(n, l));
                } else if self.eat_dot("callprototype") {
                    let r = self.params()?;
                    self.name()?;
                    let p = self.params()?;
                    self.eat_dot("noreturn");
                    self.want(';', "`;`")?;
                    out.push(Stmt::Prototype(n, r, p));
                } else {
                    out.push(Stmt::Label(n));
                }
            }
            Tok::Dot("reg") => {
                self.bump();
                let vector = self.vector();
                let ty = self.scalar_type()?;
                let mut names = Vec::new();
                loop {
                    let n = self.name()?;
                    let mut count = None;
                    if self.eat('<') {
                        count = Some(self.uint32()?);
                        self.want('>', "`>`")?;
                    }
                    names.push((n, count));
                    if !self.eat(',') {
                        break;
                    }
                }
                self.want(';', "`;`")?;
                out.push(Stmt::Reg(RegDecl { ty, vector, names }));
            }
            Tok::Dot("loc") => {
                let l = self.loc()?;
                out.push(Stmt::Loc(l));
            }
            Tok::Dot("pragma") => {
                self.bump();
                let s = self.strings()?;
                self.want(';', "`;`")?;
                out.push(Stmt::Pragma(s));
            }
            Tok::Dot("local" | "shared" | "param" | "const" | "global") => {
                let mut v = self.var(at, Linkage::Internal)?;
                v.pos = at;
                out.push(Stmt::Var(v));
            }
            Tok::Dot(d) => return self.unknown(d),
            Tok::End => return self.fail("`}`"),
            _ => {
                let i = self.instr()?;
                out.push(Stmt::Instr(i));
            }
        }
        Ok(())
    }
}
