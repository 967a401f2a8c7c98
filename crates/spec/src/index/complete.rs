// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Completion: what can stand at a place.
//!
//! In: the syntactic context of a place ([`attnc_syntax::Context`]) and the names of the file. Out: proposals in a fixed order: what the
//! place asks for first.

use attnc_diag::{FileId, SourceMap};
use attnc_syntax::{Block, Context};

use super::{Index, Meaning, pages};
use crate::STD_FILES;
use crate::hir::Function;
use crate::words::{Field, Word};

/// Kinds of proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposalKind {
    /// A word of the grammar.
    Keyword,
    /// A field.
    Field,
    /// A predeclared value.
    Word,
    /// A `let` or a loop variable.
    Constant,
    /// A function.
    Function,
    /// An attention.
    Attention,
    /// A file of the built-in library.
    File,
}

/// Something that can stand at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// What is written.
    pub label: String,
    /// What it is.
    pub kind: ProposalKind,
    /// One paragraph about it; may be empty.
    pub page: &'static str,
}

fn keyword(name: &'static str) -> Proposal {
    Proposal {
        label: name.to_owned(),
        kind: ProposalKind::Keyword,
        page: pages::keyword(name),
    }
}

fn field(field: Field) -> Proposal {
    Proposal {
        label: field.name().to_owned(),
        kind: ProposalKind::Field,
        page: pages::field(field),
    }
}

fn word(word: Word) -> Proposal {
    Proposal {
        label: word.name().to_owned(),
        kind: ProposalKind::Word,
        page: pages::word(word),
    }
}

impl Index {
    /// What can stand at byte `offset`.
    pub fn complete(&self, sources: &SourceMap, file: FileId, offset: usize) -> Vec<Proposal> {
        match attnc_syntax::context_at(sources.text(file), offset) {
            Context::Nothing => Vec::new(),
            Context::Item { block, given } => {
                let free = |f: &Field| !given.contains(&f.name());
                match block {
                    Block::File => ["use", "let", "attention", "edition"].map(keyword).into(),
                    Block::Attention => {
                        let fields = Field::ATTENTION.into_iter().filter(free).map(field);
                        fields
                            .chain(["branch", "for", "let"].map(keyword))
                            .collect()
                    }
                    Block::Branch => Field::BRANCH.into_iter().filter(free).map(field).collect(),
                    Block::For => ["branch", "for", "let"].map(keyword).into(),
                }
            }
            Context::Value { field: name } => {
                let of = name.and_then(Field::from_name);
                let mut list: Vec<Proposal> = Vec::new();
                list.extend(of.into_iter().flat_map(Field::words).map(|w| word(*w)));
                list.extend(self.names(sources, file, ProposalKind::Constant));
                if let Some(of) = of {
                    let read = Field::ATTENTION
                        .into_iter()
                        .filter(|f| f.is_readable() && *f != of);
                    list.extend(read.map(field));
                }
                list.extend(Function::ALL.map(|f| Proposal {
                    label: f.name().to_owned(),
                    kind: ProposalKind::Function,
                    page: pages::function(f),
                }));
                if of.is_none() {
                    list.extend(Word::ALL.map(word));
                }
                list
            }
            Context::Base => {
                let mut list = self.names(sources, file, ProposalKind::Attention);
                list.dedup();
                list
            }
            Context::Path => {
                let file = |(path, _): &(&str, &str)| Proposal {
                    label: (*path).to_owned(),
                    kind: ProposalKind::File,
                    page: "",
                };
                STD_FILES.iter().map(file).collect()
            }
            Context::With => vec![keyword("with")],
        }
    }

    /// The names of a kind that the files declare: constants of this file, attentions of all.
    fn names(&self, sources: &SourceMap, file: FileId, kind: ProposalKind) -> Vec<Proposal> {
        let declared = self
            .notes
            .words
            .iter()
            .filter(|(span, meaning)| match meaning {
                Meaning::Constant { declared, .. } => {
                    kind == ProposalKind::Constant && declared == *span && span.file == file
                }
                Meaning::Attention(declared) => {
                    kind == ProposalKind::Attention && declared == *span
                }
                Meaning::File(_)
                | Meaning::Field { .. }
                | Meaning::Own(_)
                | Meaning::Word(_)
                | Meaning::Function(_)
                | Meaning::Branch => false,
            });
        let mut names: Vec<String> = declared
            .filter_map(|(span, _)| sources.text(span.file).get(span.range()))
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        let proposal = |label| Proposal {
            label,
            kind,
            page: "",
        };
        names.into_iter().map(proposal).collect()
    }
}
