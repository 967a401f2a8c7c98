// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an instruction may look like, as data.
//!
//! One line per form: `OPCODE SLOT... : OPERAND... [: VERSION ARCH]`.
//!
//! * slots, in textual order: `.word` a modifier that must stand, `.word?` one that may,
//!   `NAME=a,b` one of several, `NAME?=a,b` one of several or none. `$set` abbreviates.
//!   `~` behind the opcode: compilers write this instruction's modifiers in any order.
//! * operands: `=X` is written, `X` read, `?X` optional. `X` is a type, the name of a slot
//!   that holds one, `2T` a type twice as wide, `p` a predicate, `T|p` a value with an
//!   optional second predicate, `[]` an address, `i` an integer constant, `lbl` a label,
//!   `*` checked by code. `~T`: the register may be wider (cvt, ld, st). `V:T`: as many
//!   elements as slot `V` says.
//! * `VERSION ARCH`: lowest `.version` and `.target` that have it.
//!
//! In: nothing. Out: [`Form`]s, found by opcode; matching of modifiers; the closed vocabulary.

mod arith;
mod memory;
mod special;
mod warp;

pub use special::is_special;

use crate::ty::Type;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The number of a form in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FormId(u16);

/// A place for a modifier.
#[derive(Debug)]
pub struct Slot {
    /// Name of the slot; the word itself for fixed words.
    pub name: &'static str,
    /// What may stand there.
    pub words: Vec<&'static str>,
    /// May be absent.
    pub optional: bool,
}

/// What an operand must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A value of the type in the slot of that name.
    SlotType(&'static str),
    /// A value twice as wide as the type in that slot.
    Double(&'static str),
    /// A value of a fixed type.
    Type(Type),
    /// A predicate.
    Pred,
    /// An address in brackets.
    Address,
    /// An integer constant.
    Const,
    /// A label.
    Label,
    /// Checked by code.
    Any,
}

/// An operand of a form.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Written.
    pub dst: bool,
    /// May be absent.
    pub optional: bool,
    /// What it is.
    pub what: What,
    /// May have `|p` behind it.
    pub pair: bool,
    /// Register may be wider than the type.
    pub relaxed: bool,
    /// Name of the slot that holds the vector width.
    pub vector: Option<&'static str>,
}

/// One line of the tables.
#[derive(Debug)]
pub struct Form {
    /// First part of the opcode.
    pub opcode: &'static str,
    /// Modifiers.
    pub slots: Vec<Slot>,
    /// Modifiers in any order.
    pub unordered: bool,
    /// Operands.
    pub operands: Vec<Spec>,
    /// Lowest `.version`.
    pub version: (u32, u32),
    /// Lowest architecture.
    pub arch: u32,
    /// Needs the architecture-specific target (`sm_90a`).
    pub specific: bool,
}

const SETS: &[(&str, &str)] = &[
    ("$int8", "u8,u16,u32,u64,s8,s16,s32,s64"),
    ("$int", "u16,u32,u64,s16,s32,s64"),
    ("$rndi", "rni,rzi,rmi,rpi"),
    ("$rnd", "rn,rz,rm,rp"),
    (
        "$cmp",
        "eq,ne,lt,le,gt,ge,lo,ls,hi,hs,equ,neu,ltu,leu,gtu,geu,num,nan",
    ),
    ("$scope", "cta,cluster,gpu,sys"),
    (
        "$ldst",
        "b8,b16,b32,b64,b128,u8,u16,u32,u64,s8,s16,s32,s64,f32,f64",
    ),
    ("$dims", "1d,2d,3d,4d,5d"),
];

struct Tables {
    forms: Vec<Form>,
    by_opcode: HashMap<&'static str, Vec<FormId>>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut t = Tables {
        forms: Vec::new(),
        by_opcode: HashMap::new(),
    };
    for text in [arith::FORMS, memory::FORMS, warp::FORMS] {
        for line in text.lines().filter(|l| !l.trim().is_empty()) {
            let f = parse_form(line);
            let id = FormId(t.forms.len() as u16);
            t.by_opcode.entry(f.opcode).or_default().push(id);
            t.forms.push(f);
        }
    }
    t
});

fn words(list: &'static str) -> Vec<&'static str> {
    let mut out = Vec::new();
    for w in list.split(',') {
        match w {
            "$wg8" | "$wg16" | "$wg32" => {
                // m64 n8..n256 in steps of 8; leaked once for the life of the program.
                for n in (8..=256).step_by(8) {
                    out.push(&*Box::leak(format!("m64n{n}k{}", &w[3..]).into_boxed_str()));
                }
            }
            _ => match SETS.iter().find(|(n, _)| *n == w) {
                Some((_, l)) => out.extend(l.split(',')),
                None => out.push(w),
            },
        }
    }
    out
}

fn parse_form(line: &'static str) -> Form {
    let mut parts = line.split(" :");
    let mut head = parts.next().unwrap_or_default().split_whitespace();
    let opcode = head.next().unwrap_or_default();
    let mut f = Form {
        opcode,
        slots: Vec::new(),
        unordered: false,
        operands: Vec::new(),
        version: (1, 0),
        arch: 20,
        specific: false,
    };
    for s in head {
        if s == "~" {
            f.unordered = true;
        } else if let Some(w) = s.strip_prefix('.') {
            let (w, optional) = w.strip_suffix('?').map_or((w, false), |w| (w, true));
            f.slots.push(Slot {
                name: w,
                words: vec![w],
                optional,
            });
        } else if let Some((n, l)) = s.split_once('=') {
            let (name, optional) = n.strip_suffix('?').map_or((n, false), |n| (n, true));
            f.slots.push(Slot {
                name,
                words: words(l),
                optional,
            });
        }
    }
    for o in parts.next().unwrap_or_default().split_whitespace() {
        f.operands.push(parse_spec(o));
    }
    let mut req = parts.next().unwrap_or_default().split_whitespace();
    if let Some((a, b)) = req.next().and_then(|v| v.split_once('.')) {
        f.version = (a.parse().unwrap_or(1), b.parse().unwrap_or(0));
    }
    if let Some(a) = req.next() {
        f.specific = a.ends_with('a');
        f.arch = a.trim_end_matches('a').parse().unwrap_or(20);
    }
    f
}

fn parse_spec(o: &'static str) -> Spec {
    let mut s = Spec {
        dst: false,
        optional: false,
        what: What::Any,
        pair: false,
        relaxed: false,
        vector: None,
    };
    let mut r = o;
    if let Some(x) = r.strip_prefix('?') {
        s.optional = true;
        r = x;
    }
    if let Some(x) = r.strip_prefix('=') {
        s.dst = true;
        r = x;
    }
    if let Some((v, x)) = r.split_once(':') {
        s.vector = Some(v);
        r = x;
    }
    if let Some(x) = r.strip_prefix('~') {
        s.relaxed = true;
        r = x;
    }
    if let Some(x) = r.strip_suffix("|p") {
        s.pair = true;
        r = x;
    }
    s.what = match r {
        "*" => What::Any,
        "[]" => What::Address,
        "i" => What::Const,
        "lbl" => What::Label,
        "p" => What::Pred,
        _ => match (r.strip_prefix('2'), Type::from_name(r)) {
            (Some(x), _) => What::Double(x),
            (None, Some(t)) => What::Type(t),
            (None, None) => What::SlotType(r),
        },
    };
    s
}

/// A slot's name and the word that fills it.
pub type Capture = (&'static str, &'static str);

impl Form {
    /// Matches modifiers with the slots: the table's own spelling of each, in the order
    /// written, and what each slot holds; `None` if they do not fit.
    pub fn captures(&self, mods: &[&str]) -> Option<Vec<Capture>> {
        if self.unordered {
            let mut taken = vec![false; self.slots.len()];
            let mut out = Vec::with_capacity(mods.len());
            for m in mods {
                let (k, w) = self.slots.iter().enumerate().find_map(|(k, s)| {
                    if taken[k] {
                        return None;
                    }
                    s.words.iter().find(|w| *w == m).map(|w| (k, *w))
                })?;
                taken[k] = true;
                out.push((self.slots[k].name, w));
            }
            let complete = self.slots.iter().zip(&taken).all(|(s, t)| s.optional || *t);
            return complete.then_some(out);
        }
        let mut out = Vec::with_capacity(mods.len());
        ordered(&self.slots, mods, &mut out).then_some(out)
    }
}

fn ordered(slots: &[Slot], mods: &[&str], out: &mut Vec<Capture>) -> bool {
    let Some((s, rest)) = slots.split_first() else {
        return mods.is_empty();
    };
    if let Some((m, more)) = mods.split_first()
        && let Some(w) = s.words.iter().find(|w| *w == m)
    {
        out.push((s.name, w));
        if ordered(rest, more, out) {
            return true;
        }
        out.pop();
    }
    s.optional && ordered(rest, mods, out)
}

/// The form of that number.
pub fn form(id: FormId) -> &'static Form {
    &TABLES.forms[usize::from(id.0)]
}

/// The forms of an opcode's first part; empty if there is no such opcode.
pub fn forms(opcode: &str) -> &'static [FormId] {
    TABLES.by_opcode.get(opcode).map_or(&[], Vec::as_slice)
}

/// Why modifiers select no form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoForm {
    /// No such opcode.
    Opcode,
    /// The modifier of that index is in no form of the opcode.
    Modifier(usize),
    /// Each is known, but not this combination or order.
    Combination,
}

/// The forms that fit an opcode with modifiers, in table order, with the modifiers in the
/// tables' own spelling. Several fit when they differ in operands only.
pub fn select(opcode: &str, mods: &[&str]) -> Result<Vec<(FormId, Vec<&'static str>)>, NoForm> {
    let all = forms(opcode);
    if all.is_empty() {
        return Err(NoForm::Opcode);
    }
    let fit: Vec<_> = all
        .iter()
        .filter_map(|id| {
            form(*id)
                .captures(mods)
                .map(|c| (*id, c.into_iter().map(|(_, w)| w).collect()))
        })
        .collect();
    if !fit.is_empty() {
        return Ok(fit);
    }
    let known = |m: &str| {
        all.iter()
            .any(|id| form(*id).slots.iter().any(|s| s.words.contains(&m)))
    };
    match mods.iter().position(|m| !known(m)) {
        Some(k) => Err(NoForm::Modifier(k)),
        None => Err(NoForm::Combination),
    }
}

/// Every form, in table order.
pub fn all() -> &'static [Form] {
    &TABLES.forms
}
