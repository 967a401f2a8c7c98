// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What every word of a set of files means, for editors: noted while the files are resolved, never by a second look at the text.
//!
//! In: [`Notes`], which name resolution and evaluation fill. Out: [`Index`]: definitions, references, resolved values. `hover` puts them into
//! words, `pages` documents the vocabulary, `complete` proposes what can stand at a place.

mod complete;
mod hover;
mod pages;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use attnc_diag::{FileId, Span};

pub use complete::{Proposal, ProposalKind};
pub use hover::Explanation;
pub use pages::{Vocabulary, vocabulary};

use crate::Operator;
use crate::attention::BuiltBranch;
use crate::hir::Function;
use crate::value::Value;
use crate::words::{Field, Word};

/// Different values of a name that are kept; loops give it many.
const KEPT: usize = 8;

/// What a word of a file means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Meaning {
    /// A `let` or a loop variable: where it is named, and where its values are noted.
    Constant {
        declared: Span,
        value: Span,
    },
    /// An attention: where it is named.
    Attention(Span),
    /// The path of a `use`.
    File(FileId),
    /// A field that is given, and where its value is noted.
    Field {
        field: Field,
        value: Span,
    },
    /// A field that is read.
    Own(Field),
    Word(Word),
    Function(Function),
    /// The word `branch`.
    Branch,
}

impl Meaning {
    pub(crate) fn constant(declared: Span, value: Span) -> Meaning {
        Meaning::Constant { declared, value }
    }
}

/// The values that a place takes.
#[derive(Clone, Debug, Default)]
struct Values {
    /// The first ones that differ, as written.
    first: Vec<String>,
    /// Whether there are more.
    more: bool,
}

/// An attention: what became of it.
#[derive(Clone, Debug)]
struct Noted {
    operator: Option<Arc<Operator>>,
    branches: Option<Rc<[BuiltBranch]>>,
}

/// What resolution notes down for an [`Index`]; nothing unless somebody wants one.
#[derive(Debug)]
pub(crate) struct Notes {
    on: bool,
    words: BTreeMap<Span, Meaning>,
    values: HashMap<Span, Values>,
    attentions: BTreeMap<Span, Noted>,
}

impl Notes {
    fn new(on: bool) -> Notes {
        Notes {
            on,
            words: BTreeMap::new(),
            values: HashMap::new(),
            attentions: BTreeMap::new(),
        }
    }

    /// Notes nothing.
    pub(crate) fn off() -> Notes {
        Notes::new(false)
    }

    /// Notes everything.
    pub(crate) fn on() -> Notes {
        Notes::new(true)
    }

    /// The word at `span` means that.
    pub(crate) fn refer(&mut self, span: Span, meaning: impl FnOnce() -> Meaning) {
        if self.on {
            self.words.insert(span, meaning());
        }
    }

    /// What stands at `span` has that value, perhaps among others.
    pub(crate) fn value(&mut self, span: Span, value: &Value) {
        if !self.on || *value == Value::Poison {
            return;
        }
        let values = self.values.entry(span).or_default();
        if values.more {
            return;
        }
        let text = value.written();
        if values.first.contains(&text) {
            return;
        }
        if values.first.len() == KEPT {
            values.more = true;
        } else {
            values.first.push(text);
        }
    }

    /// The attention named at `span` became that.
    pub(crate) fn attention(
        &mut self,
        span: Span,
        operator: &Option<Arc<Operator>>,
        branches: &Option<Rc<[BuiltBranch]>>,
    ) {
        if self.on {
            let (operator, branches) = (operator.clone(), branches.clone());
            self.attentions.insert(span, Noted { operator, branches });
        }
    }
}

/// Where something is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    /// The name at its declaration.
    Name(Span),
    /// A whole file.
    File(FileId),
}

/// What every word of a set of files means.
#[derive(Debug)]
pub struct Index {
    notes: Notes,
    keys: HashMap<FileId, String>,
}

impl Index {
    pub(crate) fn new(notes: Notes, keys: HashMap<FileId, String>) -> Index {
        Index { notes, keys }
    }

    /// The key under which a file was loaded.
    pub fn key(&self, file: FileId) -> Option<&str> {
        self.keys.get(&file).map(String::as_str)
    }

    /// The file that was loaded under a key.
    pub fn file(&self, key: &str) -> Option<FileId> {
        let found = self.keys.iter().find(|(_, k)| *k == key);
        found.map(|(file, _)| *file)
    }

    /// The word at byte `offset`, its end included: an editor's caret stands between characters.
    fn word(&self, file: FileId, offset: usize) -> Option<(Span, Meaning)> {
        let after = Span::new(file, offset + 1, offset + 1);
        let mut before = self.notes.words.range(..after).rev().map(|(s, m)| (*s, *m));
        let near = |s: &Span| s.file == file && s.range().contains(&offset);
        // Words do not overlap: the one that holds the place, else the one that ends there.
        let last = before.next()?;
        if near(&last.0) {
            return Some(last);
        }
        let ends = |s: &Span| s.file == file && s.end as usize == offset;
        [Some(last), before.next()]
            .into_iter()
            .flatten()
            .find(|(s, _)| ends(s))
    }

    /// Where the name at byte `offset` is declared: of a constant, an attention, a file.
    pub fn definition(&self, file: FileId, offset: usize) -> Option<Definition> {
        match self.word(file, offset)?.1 {
            Meaning::Constant { declared, .. } | Meaning::Attention(declared) => {
                Some(Definition::Name(declared))
            }
            Meaning::File(other) => Some(Definition::File(other)),
            Meaning::Own(field) => self.given(file, offset, field),
            Meaning::Field { .. } | Meaning::Word(_) | Meaning::Function(_) | Meaning::Branch => {
                None
            }
        }
    }

    /// Where the attention around `offset` gives a field.
    fn given(&self, file: FileId, offset: usize, field: Field) -> Option<Definition> {
        let within = self.attention_around(file, offset)?;
        let next = self.notes.attentions.range(within..).nth(1);
        let end = next.filter(|(s, _)| s.file == file).map(|(s, _)| s.start);
        let words = self.notes.words.range(within..);
        let mut words =
            words.take_while(|(s, _)| s.file == file && end.is_none_or(|e| s.start < e));
        let gives = |m: &Meaning| matches!(m, Meaning::Field { field: f, .. } if *f == field);
        words
            .find(|(_, m)| gives(m))
            .map(|(s, _)| Definition::Name(*s))
    }

    /// The name of the attention in which `offset` lies, if any begins before it.
    fn attention_around(&self, file: FileId, offset: usize) -> Option<Span> {
        let after = Span::new(file, offset + 1, offset + 1);
        let last = self.notes.attentions.range(..after).next_back()?.0;
        (last.file == file).then_some(*last)
    }

    /// Every place that names what the word at `offset` names, its declaration first; empty where it names nothing of the file's own.
    pub fn references(&self, file: FileId, offset: usize) -> Vec<Span> {
        let declared = |m: &Meaning| match m {
            Meaning::Constant { declared, .. } | Meaning::Attention(declared) => Some(*declared),
            Meaning::File(_)
            | Meaning::Field { .. }
            | Meaning::Own(_)
            | Meaning::Word(_)
            | Meaning::Function(_)
            | Meaning::Branch => None,
        };
        let Some(wanted) = self.word(file, offset).and_then(|(_, m)| declared(&m)) else {
            return Vec::new();
        };
        let words = self.notes.words.iter();
        let mut all: Vec<Span> = words
            .filter(|(_, m)| declared(m) == Some(wanted))
            .map(|(s, _)| *s)
            .collect();
        all.sort_by_key(|s| (*s != wanted, *s));
        all
    }
}
