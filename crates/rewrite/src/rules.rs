// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rules: named one-line theorems, each with its reason and side condition.
//!
//! All are directed from the unfused towards the fused form, none makes the whole fused form by itself, and conditions read constants
//! and the profile only, so the e-graph is the same for every sequence length.

use std::sync::LazyLock;

use attnc_graph::{Exponential, Once, RowMap, Segment, Term};
use egg::{Applier, ENodeOrVar, Id, PatternAst, Rewrite, Subst, Symbol, Var, rewrite};

use crate::facts::{Fact, Facts, Graph, aligned, map_of};
use crate::lang::{Node, Sink, put_exponential, put_once};

/// A rule as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// Name, as `--without` takes it.
    pub name: &'static str,
    /// What becomes what.
    pub theorem: &'static str,
    /// Why it holds.
    pub reason: &'static str,
    /// When it holds.
    pub condition: &'static str,
}

macro_rules! table {
    ($($name:literal, $theorem:literal, $reason:literal, $condition:literal;)*) => {
        &[$(RuleInfo { name: $name, theorem: $theorem, reason: $reason, condition: $condition }),*]
    };
}

/// Every rule, in the order of the pipeline.
pub fn rules() -> &'static [RuleInfo] {
    table! {
        "flash",         "softmax(mask(c * q k^T)) v => finish(attend(q, k, v))", "a softmax is a state, divided by its sum at the end", "none";
        "base-2",        "attend exp c => attend exp2 (c log2 e)",                "e^x = 2^(x log2 e)", "c log2 e is within f32";
        "gather-fusion", "scatter(finish(attend(gather q, gather k, gather v))) => finish(attend(q, k, v, once{branch}))", "a branch's rows are a strided set", "rows = aligned, or r divides w, or w = whole; otherwise the bag keeps the displaced row map";
        "merge-states",  "merge(finish a, finish b) => finish(join a b)",         "mixing by exp(lse) is the merge of states", "zero_lse = covered (merge occurs only then)";
        "join-bags",     "join(attend A, attend B) => attend(A + B)",             "states are a commutative monoid over multisets of keys", "same q, k, v, exponential and row map";
        "stream",        "join(s, attend A) => fold(s, A)",                       "a second state need not exist", "none";
        "score-once",    "once A + once B => once(A u B)",                        "c = popcount(mask & mask & E)", "one row map, at most 64 branches, periods within 64";
        "duplicates",    "once{a b} + once{c b} => once{(a + c) b}",              "two equal branches are one of their summed weight", "the same lone branch";
        "dense",         "once{w (whole, 1)} => dense w",                         "every key, whatever the head", "ragged = masked or N is one segment (whole)";
        "panels",        "attend(q, k, v) => attend(q, panels k, panels v)",      "rows of one (kv head, phase, segment) see the same keys", "none";
    }
}

/// The variables that appliers read, parsed once.
struct Vars {
    a: Var,
    b: Var,
    bag: Var,
    c: Var,
    e: Var,
    k: Var,
    q: Var,
    v: Var,
    w: Var,
    x: Var,
    y: Var,
}

static VARS: LazyLock<Vars> = LazyLock::new(|| {
    let var = |s: &str| s.parse().unwrap_or_else(|_| Var::from_u32(0));
    Vars {
        a: var("?a"),
        b: var("?b"),
        bag: var("?bag"),
        c: var("?c"),
        e: var("?e"),
        k: var("?k"),
        q: var("?q"),
        v: var("?v"),
        w: var("?w"),
        x: var("?x"),
        y: var("?y"),
    }
});

fn once_of(g: &Graph, id: Id) -> Option<Once> {
    match &g[id].data {
        Fact::Once(o) => Some(o.clone()),
        _ => None,
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The union of two bags, if masks can tell its branches apart.
fn unite(a: &Once, b: &Once, cap: usize) -> Option<Once> {
    if a.map != b.map || a.map == RowMap::Displaced || a.zero_keys != b.zero_keys {
        return None;
    }
    let mut terms = a.terms.clone();
    for t in &b.terms {
        match terms.iter_mut().find(|x| x.branch == t.branch) {
            Some(x) => x.weight = x.weight.checked_add(t.weight)?,
            None => terms.push(*t),
        }
    }
    terms.sort_unstable();
    let period = terms.iter().try_fold(1u64, |l, t| {
        (t.branch.dilation / gcd(l, t.branch.dilation)).checked_mul(l)
    })?;
    (terms.len() == 1 || (terms.len() <= cap && period <= 64)).then_some(Once {
        terms,
        map: a.map,
        zero_keys: a.zero_keys,
    })
}

/// The right side of a rule whose form depends on constants, built for one match.
struct Right(PatternAst<Node>);

impl Sink for Right {
    fn put(&mut self, n: Node) -> Id {
        self.0.add(ENodeOrVar::ENode(n))
    }
}

impl Right {
    fn new() -> Right {
        Right(PatternAst::default())
    }

    fn var(&mut self, v: Var) -> Id {
        self.0.add(ENodeOrVar::Var(v))
    }

    /// Unites it with what the left side matched; between the two instances, so that a proof shows what the rule saw.
    fn unite(self, g: &mut Graph, m: Match<'_>) -> Vec<Id> {
        let changed = match m.left {
            Some(left) => g.union_instantiations(left, &self.0, m.subst, m.rule).1,
            None => {
                let new = g.add_instantiation(&self.0, m.subst);
                g.union(m.class, new)
            }
        };
        if changed { vec![m.class] } else { Vec::new() }
    }
}

/// Where a rule matched.
#[derive(Clone, Copy)]
struct Match<'a> {
    class: Id,
    subst: &'a Subst,
    /// The left side, when proofs are kept.
    left: Option<&'a PatternAst<Node>>,
    rule: Symbol,
}

/// A rule whose right side depends on constants: what it reads, and what it makes of them.
struct Constant {
    vars: fn() -> Vec<Var>,
    /// None where the side condition fails.
    right: fn(&Graph, &Subst, Settings) -> Option<Right>,
    settings: Settings,
}

/// What `Unite` is to do.
#[derive(Clone, Copy, Default)]
struct Settings {
    /// The two bags stand at the end of a longer sum.
    tail: bool,
    /// Two equal branches only (`duplicates`); otherwise all but those.
    lone: bool,
    /// Branches a bag may hold.
    cap: usize,
}

impl Applier<Node, Facts> for Constant {
    fn apply_one(
        &self,
        g: &mut Graph,
        class: Id,
        subst: &Subst,
        left: Option<&PatternAst<Node>>,
        rule: Symbol,
    ) -> Vec<Id> {
        let m = Match {
            class,
            subst,
            left,
            rule,
        };
        match (self.right)(g, subst, self.settings) {
            Some(right) => right.unite(g, m),
            None => Vec::new(),
        }
    }
    fn vars(&self) -> Vec<Var> {
        (self.vars)()
    }
}

/// `score-once` and `duplicates`: the two bags at the end of a sum as one.
fn united(g: &Graph, s: &Subst, set: Settings) -> Option<Right> {
    let (a, b) = (once_of(g, s[VARS.x])?, once_of(g, s[VARS.y])?);
    let same = a.terms.len() == 1
        && b.terms.len() == 1
        && a.terms[0].branch == b.terms[0].branch
        && a.map == b.map;
    if set.lone != same {
        return None;
    }
    let once = if same {
        let weight = a.terms[0].weight.checked_add(b.terms[0].weight)?;
        let branch = a.terms[0].branch;
        Once {
            terms: vec![Term { branch, weight }],
            ..a
        }
    } else {
        unite(&a, &b, set.cap)?
    };
    let mut r = Right::new();
    let rest = set.tail.then(|| r.var(VARS.a));
    let once = put_once(&mut r, &once);
    if let Some(rest) = rest {
        r.put(Node::Sum([rest, once]));
    }
    Some(r)
}

/// `base-2`.
fn base2(g: &Graph, s: &Subst, _: Settings) -> Option<Right> {
    let Fact::Real(c) = g[s[VARS.c]].data else {
        return None;
    };
    let scale = c * std::f64::consts::LOG2_E;
    if !(scale as f32).is_normal() {
        return None;
    }
    let mut r = Right::new();
    let (f, c) = put_exponential(&mut r, Exponential { base2: true, scale });
    let [q, k, v, bag] = [VARS.q, VARS.k, VARS.v, VARS.bag].map(|v| r.var(v));
    r.put(Node::Attend([f, c, q, k, v, bag]));
    Some(r)
}

/// `gather-fusion`.
fn strided(g: &Graph, s: &Subst, _: Settings) -> Option<Right> {
    let Fact::Branch(branch) = g[s[VARS.b]].data else {
        return None;
    };
    let map = if aligned(&g.analysis, branch) {
        RowMap::Aligned
    } else {
        RowMap::Displaced
    };
    let once = Once {
        terms: vec![Term { branch, weight: 1 }],
        map,
        zero_keys: g.analysis.zero_keys,
    };
    let mut r = Right::new();
    let [e, c, q, k, v] = [VARS.e, VARS.c, VARS.q, VARS.k, VARS.v].map(|v| r.var(v));
    let bag = put_once(&mut r, &once);
    let attend = r.put(Node::Attend([e, c, q, k, v, bag]));
    r.put(Node::Finish([attend]));
    Some(r)
}

/// `dense`.
fn dense(g: &Graph, s: &Subst, _: Settings) -> Option<Right> {
    let Fact::Branch(b) = g[s[VARS.b]].data else {
        return None;
    };
    if b.segment != Segment::Whole || b.dilation != 1 {
        return None;
    }
    let mut r = Right::new();
    let w = r.var(VARS.w);
    r.put(Node::Dense([w]));
    Some(r)
}

fn same_map(g: &mut Graph, _: Id, s: &Subst) -> bool {
    let (a, b) = (map_of(&g[s[VARS.x]].data), map_of(&g[s[VARS.y]].data));
    a.is_some() && a == b
}

/// The families, in the order of the pipeline: what one makes, the next takes. Rules of one family feed each other.
const FAMILIES: [&[&str]; 4] = [
    &["flash", "base-2", "gather-fusion"],
    &["merge-states"],
    &["join-bags", "stream"],
    &["score-once", "duplicates", "dense", "panels"],
];

/// The rules for egg, family by family. `cap`: branches a bag may hold; 1 keeps every branch on its own.
pub(crate) fn families(cap: usize, without: &[String]) -> Vec<Vec<Rewrite<Node, Facts>>> {
    FAMILIES
        .iter()
        .map(|family| {
            let mut without = without.to_vec();
            let others = rules().iter().filter(|r| !family.contains(&r.name));
            without.extend(others.map(|r| r.name.to_string()));
            table(cap, &without)
        })
        .collect()
}

/// The rules for egg, all of them.
pub(crate) fn table(cap: usize, without: &[String]) -> Vec<Rewrite<Node, Facts>> {
    let all: Vec<(&str, Rewrite<Node, Facts>)> = vec![
        (
            "flash",
            rewrite!("flash"; "(pv (softmax (mask (scale ?c (qk (gather-query ?b ?q) ?k)))) ?v)" => "(finish (attend exp ?c (gather-query ?b ?q) ?k ?v (local ?b)))"),
        ),
        (
            "base-2",
            rewrite!("base-2"; "(attend exp ?c ?q ?k ?v ?bag)" => { Constant { vars: || vec![VARS.c, VARS.q, VARS.k, VARS.v, VARS.bag], right: base2, settings: Settings::default() } }),
        ),
        (
            "gather-fusion",
            rewrite!("gather-fusion"; "(scatter (finish (attend ?e ?c (gather-query ?b ?q) (gather-key ?b ?k) (gather-key ?b ?v) (local ?b))))" => { Constant { vars: || vec![VARS.b, VARS.e, VARS.c, VARS.q, VARS.k, VARS.v], right: strided, settings: Settings::default() } }),
        ),
        (
            "merge-states",
            rewrite!("merge-states"; "(merge (finish ?a) (finish ?b))" => "(finish (join ?a ?b))"),
        ),
        (
            "join-bags",
            rewrite!("join-bags"; "(join (attend ?e ?c ?q ?k ?v ?x) (attend ?e ?c ?q ?k ?v ?y))" => "(attend ?e ?c ?q ?k ?v (sum ?x ?y))" if same_map),
        ),
        (
            "stream",
            rewrite!("stream"; "(join ?s (attend ?e ?c ?q ?k ?v ?bag))" => "(fold ?e ?c ?s ?q ?k ?v ?bag)"),
        ),
        (
            "score-once",
            rewrite!("score-once"; "(sum ?x ?y)" => { Constant { vars: || vec![VARS.x, VARS.y], right: united, settings: Settings { tail: false, lone: false, cap } } }),
        ),
        (
            "score-once",
            rewrite!("score-once-tail"; "(sum (sum ?a ?x) ?y)" => { Constant { vars: || vec![VARS.x, VARS.y, VARS.a], right: united, settings: Settings { tail: true, lone: false, cap } } }),
        ),
        (
            "duplicates",
            rewrite!("duplicates"; "(sum ?x ?y)" => { Constant { vars: || vec![VARS.x, VARS.y], right: united, settings: Settings { tail: false, lone: true, cap } } }),
        ),
        (
            "duplicates",
            rewrite!("duplicates-tail"; "(sum (sum ?a ?x) ?y)" => { Constant { vars: || vec![VARS.x, VARS.y, VARS.a], right: united, settings: Settings { tail: true, lone: true, cap } } }),
        ),
        (
            "dense",
            rewrite!("dense"; "(once aligned ?z (x ?w ?b))" => { Constant { vars: || vec![VARS.b, VARS.w], right: dense, settings: Settings::default() } }),
        ),
        (
            "panels",
            rewrite!("panels"; "(attend ?e ?c q k v ?bag)" => "(attend ?e ?c q (panels k) (panels v) ?bag)"),
        ),
        (
            "panels",
            rewrite!("panels-fold"; "(fold ?e ?c ?s q k v ?bag)" => "(fold ?e ?c ?s q (panels k) (panels v) ?bag)"),
        ),
    ];
    all.into_iter()
        .filter(|(name, _)| !without.iter().any(|w| w == name))
        .map(|(_, r)| r)
        .collect()
}
