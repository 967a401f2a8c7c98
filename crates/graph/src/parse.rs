// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The parser of the text form: what `print` writes, with room for comments, blank lines and other node numbers.
//!
//! In: text. Out: the graph, checked rule by rule as it is built, or the first mistake with its line and column. `parse(print(g)) == g`.

use std::collections::HashMap;

use attnc_spec::{Branch, Gradient, Offsets, Precision, Profile, Ragged, Rows, Segment, ZeroLse};
use attnc_tensor::DType;

use crate::graph::{Form, GraphError, Header, NodeRef, OpGraph};
use crate::op::{Exponential, Once, Op, Port, RowMap, Side, Term};
use crate::text::{VERSION, type_name};

/// A mistake in the text of a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {kind}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub kind: ParseErrorKind,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// Another word or sign was expected.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A version of the form that this build does not read.
    #[error("version {found} of the text form; this build reads version {VERSION}")]
    Version {
        /// What stands there.
        found: String,
    },
    /// A header field given twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// A header field that is missing.
    #[error("the header lacks `{0}`")]
    Missing(&'static str),
    /// A number given to two nodes.
    #[error("%{0} is defined twice")]
    Defined(u64),
    /// An operand that no earlier line defines.
    #[error("G01: operand %{0} is not defined before its use")]
    Undefined(u64),
    /// The type written is not the operation's.
    #[error("G09: the operation gives {want}, the text says {found}")]
    Type {
        /// What the operation gives.
        want: String,
        /// What is written.
        found: String,
    },
    /// A rule of the graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

type Parsed<T> = Result<T, ParseError>;

/// One line, read from left to right.
struct Line<'a> {
    text: &'a str,
    at: usize,
    number: usize,
}

/// Whether `c` goes on a word: names, numbers with signs and exponents.
fn wordy(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '+')
}

impl<'a> Line<'a> {
    fn error_at(&self, at: usize, kind: ParseErrorKind) -> ParseError {
        ParseError {
            line: self.number,
            column: self.text[..at].chars().count() + 1,
            kind,
        }
    }
    fn skip(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }
    fn end(&mut self) -> bool {
        self.skip();
        self.at == self.text.len()
    }
    /// The next word or sign, without taking it.
    fn peek(&mut self) -> &'a str {
        self.skip();
        let rest = &self.text[self.at..];
        let word = rest.find(|c| !wordy(c)).unwrap_or(rest.len());
        let sign = rest.chars().next().map_or(0, char::len_utf8);
        &rest[..if word > 0 { word } else { sign }]
    }
    fn next(&mut self) -> &'a str {
        let token = self.peek();
        self.at += token.len();
        token
    }
    fn expected<T>(&mut self, expected: impl Into<String>) -> Parsed<T> {
        let found = match self.peek() {
            "" => "the end of the line".to_string(),
            token => format!("`{token}`"),
        };
        let expected = expected.into();
        Err(self.error_at(self.at, ParseErrorKind::Expected { expected, found }))
    }
    fn sign(&mut self, sign: &str) -> Parsed<()> {
        if self.peek() == sign {
            self.next();
            Ok(())
        } else {
            self.expected(format!("`{sign}`"))
        }
    }
    fn taken(&mut self, word: &str) -> bool {
        let here = self.peek() == word;
        if here {
            self.next();
        }
        here
    }
    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Parsed<T> {
        match self.peek().parse() {
            Ok(x) => {
                self.next();
                Ok(x)
            }
            Err(_) => self.expected(what),
        }
    }
    fn choice<T: Copy>(&mut self, choices: &[(&str, T)]) -> Parsed<T> {
        let word = self.peek();
        match choices.iter().find(|(name, _)| *name == word) {
            Some((_, x)) => {
                self.next();
                Ok(*x)
            }
            None => {
                let names: Vec<String> = choices.iter().map(|(n, _)| format!("`{n}`")).collect();
                self.expected(names.join(" or "))
            }
        }
    }
    fn node(&mut self) -> Parsed<u64> {
        self.sign("%")?;
        self.number("the number of a node")
    }
    /// `br(w, r)`.
    fn branch(&mut self) -> Parsed<Branch> {
        self.sign("br")?;
        self.sign("(")?;
        let segment = if self.taken("whole") {
            Segment::Whole
        } else {
            Segment::Finite(self.number("a segment length or `whole`")?)
        };
        self.sign(",")?;
        let dilation = self.number("a dilation")?;
        self.sign(")")?;
        Ok(Branch { segment, dilation })
    }
    fn exponential(&mut self) -> Parsed<Exponential> {
        let base2 = self.choice(&[("exp2", true), ("exp", false)])?;
        let scale = self.number("a scale")?;
        Ok(Exponential { base2, scale })
    }
    /// `{ 1 br(w, r), ... } [displaced] [zero_keys]`.
    fn once(&mut self) -> Parsed<Once> {
        self.sign("{")?;
        let mut terms = Vec::new();
        loop {
            let weight = self.number("a weight")?;
            let branch = self.branch()?;
            terms.push(Term { branch, weight });
            if !self.taken(",") {
                break;
            }
        }
        self.sign("}")?;
        let map = if self.taken("displaced") {
            RowMap::Displaced
        } else {
            RowMap::Aligned
        };
        let zero_keys = self.taken("zero_keys");
        Ok(Once {
            terms,
            map,
            zero_keys,
        })
    }
    fn op(&mut self) -> Parsed<Op> {
        let start = self.at;
        Ok(match self.next() {
            "input" => Op::Input(self.choice(&[("q", Port::Q), ("k", Port::K), ("v", Port::V)])?),
            "gather" => {
                let side = self.choice(&[("query", Side::Query), ("key", Side::Key)])?;
                Op::Gather(self.branch()?, side)
            }
            "qk" => Op::Qk,
            "scale" => Op::Scale(self.number("a scale")?),
            "mask" => Op::Mask,
            "softmax" => Op::Softmax,
            "pv" => Op::Pv,
            "scatter" => Op::Scatter,
            "merge" => Op::Merge,
            "mix" => Op::Mix,
            "local" => Op::Local(self.branch()?),
            "once" => Op::Once(self.once()?),
            "dense" => Op::Dense(self.number("a weight")?),
            "sum" => Op::Sum,
            "attend" => Op::Attend(self.exponential()?),
            "join" => Op::Join,
            "fold" => Op::Fold(self.exponential()?),
            "finish" => Op::Finish,
            "panels" => Op::Panels,
            "output" => Op::Output,
            _ => {
                self.at = start;
                return self.expected("an operation");
            }
        })
    }
}

/// The fields of a header as they come.
#[derive(Default)]
struct Fields<'a>(HashMap<&'a str, Line<'a>>);

impl<'a> Fields<'a> {
    /// Reads `key = value, ...` to the end of the line.
    fn line(&mut self, mut line: Line<'a>) -> Parsed<()> {
        while !line.end() {
            line.skip();
            let at = line.at;
            let known = FIELDS.map(|f| (f, f));
            let key = line.choice(&known)?;
            line.sign("=")?;
            line.skip();
            let value = Line {
                at: line.at,
                ..line
            };
            if line.next().is_empty() {
                return line.expected("a value");
            }
            if self.0.insert(key, value).is_some() {
                return Err(line.error_at(at, ParseErrorKind::Twice(key.to_string())));
            }
            if !line.taken(",") && !line.end() {
                return line.expected("`,`");
            }
        }
        Ok(())
    }
    fn take(&mut self, key: &'static str, end: usize) -> Parsed<Line<'a>> {
        self.0.remove(key).ok_or(ParseError {
            line: end,
            column: 1,
            kind: ParseErrorKind::Missing(key),
        })
    }
}

const FIELDS: [&str; 11] = [
    "heads",
    "kv_heads",
    "head_dim",
    "dtype",
    "precision",
    "causal",
    "offsets",
    "ragged",
    "rows",
    "gradient",
    "zero_lse",
];

fn header(form: Form, name: &str, mut f: Fields<'_>, end: usize) -> Parsed<Header> {
    let header = Header {
        form,
        name: name.to_string(),
        heads: f.take("heads", end)?.number("a number of heads")?,
        kv_heads: f.take("kv_heads", end)?.number("a number of heads")?,
        head_dim: f.take("head_dim", end)?.number("a dimension")?,
        dtype: {
            let all = DType::ALL.map(|d| (d.to_string(), d));
            let names: Vec<(&str, DType)> = all.iter().map(|(n, d)| (n.as_str(), *d)).collect();
            f.take("dtype", end)?.choice(&names)?
        },
        precision: f.take("precision", end)?.choice(&[
            ("standard", Precision::Standard),
            ("fast", Precision::Fast),
            ("tf32", Precision::Tf32),
        ])?,
        causal: f
            .take("causal", end)?
            .choice(&[("true", true), ("false", false)])?,
        profile: Profile {
            offsets: f
                .take("offsets", end)?
                .choice(&[("modulo", Offsets::Modulo), ("blocked", Offsets::Blocked)])?,
            ragged: f
                .take("ragged", end)?
                .choice(&[("masked", Ragged::Masked), ("zero_keys", Ragged::ZeroKeys)])?,
            rows: f
                .take("rows", end)?
                .choice(&[("aligned", Rows::Aligned), ("displaced", Rows::Displaced)])?,
            gradient: f
                .take("gradient", end)?
                .choice(&[("exact", Gradient::Exact), ("detached", Gradient::Detached)])?,
            zero_lse: f.take("zero_lse", end)?.choice(&[
                ("covered", ZeroLse::Covered),
                ("uncovered", ZeroLse::Uncovered),
            ])?,
        },
    };
    header.check().map_err(|e| ParseError {
        line: end,
        column: 1,
        kind: e.into(),
    })?;
    Ok(header)
}

/// The graph that `text` says.
///
/// # Errors
/// The first mistake, by line and column.
pub fn parse(text: &str) -> Result<OpGraph, ParseError> {
    let lines = text.lines().enumerate().map(|(i, raw)| Line {
        text: raw.split("//").next().unwrap_or_default(),
        at: 0,
        number: i + 1,
    });
    let last = text.lines().count().max(1);
    let mut lines = lines.filter_map(|mut l| (!l.end()).then_some(l)).peekable();
    let empty = Line {
        text: "",
        at: 0,
        number: 1,
    };
    let mut first = lines.next().unwrap_or(empty);
    let form = first.choice(&[("graph", Form::Graph), ("fused", Form::Fused)])?;
    let version = first.peek();
    if version != VERSION.to_string() {
        let found = version.to_string();
        return Err(first.error_at(first.at, ParseErrorKind::Version { found }));
    }
    first.next();
    let name = first.next();
    let named = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !named {
        first.at -= name.len();
        return first.expected("the operator's name");
    }
    if !first.end() {
        return first.expected("the end of the line");
    }
    let mut fields = Fields::default();
    while let Some(mut line) = lines.next_if(|l| !l.text.trim_start().starts_with('%')) {
        line.at = 0;
        fields.line(line)?;
    }
    let end = lines.peek().map_or(last, |l| l.number);
    let mut g = OpGraph::new(header(form, name, fields, end)?);
    let mut nodes: HashMap<u64, NodeRef> = HashMap::new();
    for mut line in lines {
        node(&mut line, &mut g, &mut nodes)?;
    }
    g.output().map_err(|e| ParseError {
        line: last,
        column: 1,
        kind: e.into(),
    })?;
    Ok(g)
}

/// `%n = op operands : type`.
fn node(line: &mut Line<'_>, g: &mut OpGraph, nodes: &mut HashMap<u64, NodeRef>) -> Parsed<()> {
    line.at = 0;
    line.skip();
    let start = line.at;
    let number = line.node()?;
    line.sign("=")?;
    line.skip();
    let at = line.at;
    let op = line.op()?;
    let mut operands = Vec::new();
    while line.peek() == "%" {
        let at = line.at;
        let o = line.node()?;
        match nodes.get(&o) {
            Some(n) => operands.push(*n),
            None => return Err(line.error_at(at, ParseErrorKind::Undefined(o))),
        }
    }
    line.sign(":")?;
    line.skip();
    let ty = line.text[line.at..].trim_end();
    let n = g
        .add(op, &operands)
        .map_err(|e| line.error_at(at, e.into()))?;
    let want = type_name(g, n);
    let squeezed = |s: &str| s.split_whitespace().collect::<String>();
    if squeezed(&want) != squeezed(ty) {
        let found = ty.to_string();
        return Err(line.error_at(line.at, ParseErrorKind::Type { want, found }));
    }
    if nodes.insert(number, n).is_some() {
        return Err(line.error_at(start, ParseErrorKind::Defined(number)));
    }
    Ok(())
}
