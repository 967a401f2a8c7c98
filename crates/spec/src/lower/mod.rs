// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names: from the syntax tree to the resolved form, with every mistake that can be seen without computing a value.
//!
//! In: a file's tree and the names it imports. Out: [`Lowered`]. A line that never runs is checked like any other. Scopes: predeclared
//! words (fixed), the top level (independent of order), then block by block; a block's `let` is known from its line to the brace.

mod names;

use std::collections::HashMap;

use attnc_diag::{Code, Diagnostic, Sink, Span};
use attnc_syntax::Parsed;
use attnc_syntax::ast::{self, BlockItem, Ident, Item as AstItem};

use crate::hir::{Attention, Base, Branch, Expr, For, Item, Over};
use crate::index::{Meaning, Notes};
use crate::suggest::Suggester;
use crate::words::{Field, Word};

/// A name that a file imports.
#[derive(Clone, Debug)]
pub(crate) struct ImportedName {
    pub(crate) name: String,
    /// The path in the `use` that brings it.
    pub(crate) span: Span,
    /// Its name where it is declared, in the other file.
    pub(crate) declared: Span,
}

/// A top-level `let`.
#[derive(Clone, Debug)]
pub(crate) struct Global {
    pub(crate) name: String,
    pub(crate) name_span: Span,
    pub(crate) value: Expr,
    /// The other top-level `let`s it reads, with the place of the first reading.
    pub(crate) reads: Vec<(usize, Span)>,
}

/// A file with its names resolved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lowered {
    pub(crate) globals: Vec<Global>,
    pub(crate) attentions: Vec<Attention>,
    /// `let`s that nothing reads: name and place.
    pub(crate) unused: Vec<(String, Span)>,
}

/// What a top-level name stands for.
#[derive(Clone, Copy, PartialEq)]
enum Top {
    Let(usize),
    Attention(usize),
    Import(usize),
}

/// Resolves the names of a file. `imports_complete`: whether every `use` could be followed; if not, unknown attentions may be theirs.
pub(crate) fn lower(
    parsed: &Parsed,
    imports: &[ImportedName],
    imports_complete: bool,
    sink: &mut Sink,
    notes: &mut Notes,
) -> Lowered {
    let mut lowerer = Lowerer {
        parsed,
        sink,
        notes,
        imports,
        suggest: Suggester::new(),
        top: HashMap::new(),
        names: Vec::new(),
        imports_complete,
        scopes: Vec::new(),
        next_slot: 0,
        frame: 0,
        used_globals: Vec::new(),
        global_values: Vec::new(),
        reads: Vec::new(),
        unused: Vec::new(),
        field: None,
        forgiven: Vec::new(),
        broken: parsed
            .diagnostics
            .iter()
            .map(|d| d.primary.span.start)
            .collect(),
    };
    lowerer.run()
}

/// A name of a block.
struct LocalName {
    slot: usize,
    span: Span,
    used: bool,
    /// Loop variables may stay unused.
    is_let: bool,
    /// Where its values are noted.
    value: Span,
}

struct Lowerer<'a> {
    parsed: &'a Parsed,
    sink: &'a mut Sink,
    notes: &'a mut Notes,
    imports: &'a [ImportedName],
    suggest: Suggester,
    top: HashMap<String, (Top, Span)>,
    /// The top-level names in their order, for suggestions.
    names: Vec<String>,
    imports_complete: bool,
    scopes: Vec<HashMap<String, LocalName>>,
    next_slot: usize,
    frame: usize,
    used_globals: Vec<bool>,
    /// Where the value of each top-level `let` is noted.
    global_values: Vec<Span>,
    /// Top-level `let`s read by the expression at hand.
    reads: Vec<(usize, Span)>,
    unused: Vec<(String, Span)>,
    /// The field whose expression is being read.
    field: Option<Field>,
    /// Fields of the attention at hand that seem to be there under a wrong name or in the wrong block.
    forgiven: Vec<Field>,
    /// Where the text has mistakes, ascending.
    broken: Vec<u32>,
}

impl Lowerer<'_> {
    fn report(&mut self, code: Code, span: Span, message: String, label: &str, help: String) {
        self.sink
            .push(Diagnostic::new(code, span, message, label).with_help(help));
    }

    /// Whether the text has a mistake in `start..end`.
    fn is_broken(&self, start: u32, end: u32) -> bool {
        let first = self.broken.partition_point(|at| *at < start);
        self.broken.get(first).is_some_and(|at| *at < end)
    }

    fn run(&mut self) -> Lowered {
        for (index, import) in self.imports.iter().enumerate() {
            self.top
                .insert(import.name.clone(), (Top::Import(index), import.span));
            self.names.push(import.name.clone());
        }
        let parsed = self.parsed;
        let mut lets: Vec<(&ast::Let, bool)> = Vec::new();
        let mut attentions: Vec<(&ast::Attention, u32)> = Vec::new();
        for (n, item) in parsed.file.items.iter().enumerate() {
            match item {
                AstItem::Use(_) => {}
                AstItem::Let(item) => {
                    let fresh = self.declare_top(&item.name, Top::Let(lets.len()));
                    lets.push((item, fresh));
                }
                AstItem::Attention(item) => {
                    self.declare_top(&item.name, Top::Attention(attentions.len()));
                    let next = parsed.file.items.get(n + 1).map_or(u32::MAX, item_start);
                    attentions.push((item, next));
                }
            }
        }
        self.used_globals = vec![false; lets.len()];
        self.global_values = lets.iter().map(|(item, _)| item.value.span).collect();
        let mut globals = Vec::with_capacity(lets.len());
        for (item, _) in &lets {
            self.reads.clear();
            let value = self.expr(&item.value);
            self.notes.refer(item.name.span, || {
                Meaning::constant(item.name.span, value.span)
            });
            let mut reads = std::mem::take(&mut self.reads);
            reads.sort_by_key(|(index, span)| (*index, span.start));
            reads.dedup_by_key(|(index, _)| *index);
            globals.push(Global {
                name: item.name.name.clone(),
                name_span: item.name.span,
                value,
                reads,
            });
        }
        for (item, _) in &attentions {
            let meaning = || Meaning::Attention(item.name.span);
            self.notes.refer(item.name.span, meaning);
        }
        let attentions = attentions
            .iter()
            .map(|(item, end)| self.attention(item, *end))
            .collect();
        let mut unused = std::mem::take(&mut self.unused);
        for (index, (item, fresh)) in lets.iter().enumerate() {
            if *fresh && !self.used_globals[index] {
                unused.push((item.name.name.clone(), item.name.span));
            }
        }
        Lowered {
            globals,
            attentions,
            unused,
        }
    }

    /// Whether the name was free.
    fn declare_top(&mut self, name: &Ident, top: Top) -> bool {
        if !self.may_be_named(name) {
            return false;
        }
        if let Some((other, span)) = self.top.get(&name.name) {
            let (other, span) = (*other, *span);
            let text = &name.name;
            let diagnostic = match other {
                Top::Import(_) => Diagnostic::new(
                    Code::NameClash,
                    name.span,
                    format!("`{text}` is imported already"),
                    "this name is taken by a `use`",
                )
                .with_secondary(span, format!("`{text}` is imported here"))
                .with_help("take another name"),
                Top::Let(_) | Top::Attention(_) => twice(text, name.span, span),
            };
            self.sink.push(diagnostic);
            return false;
        }
        self.top.insert(name.name.clone(), (top, name.span));
        self.names.push(name.name.clone());
        true
    }

    /// Reports names that are words of fields.
    fn may_be_named(&mut self, name: &Ident) -> bool {
        let Some(word) = Word::from_name(&name.name) else {
            return true;
        };
        self.report(
            Code::ReservedWord,
            name.span,
            format!("`{}` cannot be given another meaning", name.name),
            "this word is predeclared",
            format!(
                "it is a value of `{}`; take another name, such as `{}_`",
                word.field().name(),
                name.name
            ),
        );
        false
    }

    fn attention(&mut self, item: &ast::Attention, end: u32) -> Attention {
        let base = item
            .base
            .as_ref()
            .map_or(Base::None, |base| self.base(base));
        self.next_slot = 0;
        self.frame = 0;
        self.scopes.push(HashMap::new());
        let mut fields: Vec<(Field, Expr)> = Vec::new();
        let mut seen: HashMap<Field, Span> = HashMap::new();
        let mut items = Vec::new();
        self.forgiven.clear();
        for block_item in &item.block {
            match block_item {
                BlockItem::Field(field) => {
                    if let Some((kind, value)) = self.field(field, false, &mut seen) {
                        fields.push((kind, value));
                    }
                }
                other => items.extend(self.block_item(other)),
            }
        }
        self.leave_scope();
        Attention {
            name: item.name.name.clone(),
            name_span: item.name.span,
            base,
            fields,
            items,
            writes_branches: writes_branches(&item.block),
            complete: !self.is_broken(item.name.span.start, end),
            forgiven: std::mem::take(&mut self.forgiven),
            frame: self.frame,
        }
    }

    fn base(&mut self, base: &Ident) -> Base {
        let text = &base.name;
        match self.top.get(text).map(|(top, span)| (*top, *span)) {
            Some((Top::Attention(index), span)) => {
                self.notes.refer(base.span, || Meaning::Attention(span));
                Base::Own(index, base.span)
            }
            Some((Top::Import(index), _)) => {
                let declared = self.imports[index].declared;
                self.notes.refer(base.span, || Meaning::Attention(declared));
                Base::Imported(index, base.span)
            }
            Some((Top::Let(index), span)) => {
                self.used_globals[index] = true;
                let diagnostic = Diagnostic::new(
                    Code::NotAnAttention,
                    base.span,
                    format!("`{text}` is a `let` and no attention"),
                    "expected the name of an attention",
                )
                .with_secondary(span, format!("`{text}` is given here"))
                .with_help("`with` copies attentions only");
                self.sink.push(diagnostic);
                Base::Error
            }
            None => {
                if self.imports_complete && !self.parsed.lost_names.contains(text) {
                    let mut attentions: Vec<&str> = Vec::new();
                    for name in self.names.iter().filter(|_| !self.suggest.is_spent()) {
                        if !matches!(self.top.get(name), Some((Top::Let(_), _))) {
                            attentions.push(name);
                        }
                    }
                    let otherwise = match crate::loader::STD_FILES
                        .iter()
                        .find(|(_, file)| declares(file, text))
                    {
                        Some((path, _)) => format!("import it: `use \"{path}\"`"),
                        None => "declare it in this file, or import it with `use`".to_owned(),
                    };
                    let help = self.suggest.help(text, attentions, &otherwise);
                    self.report(
                        Code::UnknownAttention,
                        base.span,
                        format!("unknown attention `{text}`"),
                        "no attention of this name is declared or imported",
                        help,
                    );
                }
                Base::Error
            }
        }
    }

    /// A field of an attention or (`in_branch`) of a branch; `None` where it is unknown or given before.
    fn field(
        &mut self,
        item: &ast::Field,
        in_branch: bool,
        seen: &mut HashMap<Field, Span>,
    ) -> Option<(Field, Expr)> {
        let name = &item.name.name;
        let field = Field::from_name(name);
        let outer = std::mem::replace(&mut self.field, field);
        let value = self.expr(&item.value);
        self.field = outer;
        let place = if in_branch {
            "a branch"
        } else {
            "an attention"
        };
        let Some(field) = field else {
            let own: &[Field] = if in_branch {
                &Field::BRANCH
            } else {
                &Field::ATTENTION
            };
            let all = own.iter().chain(if in_branch {
                &Field::ATTENTION[..]
            } else {
                &Field::BRANCH[..]
            });
            let names: Vec<String> = own.iter().map(|f| format!("`{}`", f.name())).collect();
            let close = self.suggest.closest(name, all.map(|f| f.name()));
            self.forgiven
                .extend(close.as_deref().and_then(Field::from_name));
            let branches = name.starts_with("branch");
            self.forgiven.extend(branches.then_some(Field::Segment));
            let help = match close {
                Some(close) => format!("did you mean `{close}`?"),
                None if branches => {
                    "a branch is written `branch { segment = 2048 }`, without `=`".to_owned()
                }
                None => format!("{place} has the fields {}", names.join(", ")),
            };
            let message = format!("unknown field `{name}`");
            self.report(
                Code::UnknownField,
                item.name.span,
                message,
                "no field has this name",
                help,
            );
            return None;
        };
        if field.is_of_branch() != in_branch {
            self.forgiven.push(field);
            let (message, help) = if in_branch {
                (
                    format!("`{name}` is no field of a branch"),
                    "write it outside the branch; it holds for all of them",
                )
            } else {
                (
                    format!("`{name}` is a field of a branch"),
                    "write it inside `branch { ... }`",
                )
            };
            self.report(
                Code::FieldOfOtherBlock,
                item.name.span,
                message,
                &format!("not in {place}"),
                help.to_owned(),
            );
            return None;
        }
        self.notes.refer(item.name.span, || Meaning::Field {
            field,
            value: value.span,
        });
        if let Some(first) = seen.get(&field) {
            let diagnostic = Diagnostic::new(
                Code::FieldGivenTwice,
                item.name.span,
                format!("the field `{name}` is given twice"),
                "given again here",
            )
            .with_secondary(*first, "given first here")
            .with_help("remove one of them");
            self.sink.push(diagnostic);
            return None;
        }
        seen.insert(field, item.name.span);
        Some((field, value))
    }

    fn block_item(&mut self, item: &BlockItem) -> Option<Item> {
        match item {
            // The parser lets none in where none can stand; those of an attention are taken before.
            BlockItem::Field(_) => None,
            BlockItem::Let(item) => {
                let value = self.expr(&item.value);
                let slot = self.declare(&item.name, true, value.span);
                Some(Item::Let(slot, value))
            }
            BlockItem::Branch(branch) => Some(Item::Branch(self.branch(branch))),
            BlockItem::For(item) => Some(Item::For(self.for_item(item))),
        }
    }

    fn branch(&mut self, branch: &ast::Branch) -> Branch {
        let word = Span {
            end: (branch.span.start + 6).min(branch.span.end),
            ..branch.span
        };
        self.notes.refer(word, || Meaning::Branch);
        let mut seen = HashMap::new();
        let forgiven_before = self.forgiven.len();
        let (mut segment, mut dilation) = (None, None);
        for field in &branch.fields {
            match self.field(field, true, &mut seen) {
                Some((Field::Segment, value)) => segment = Some(value),
                Some((_, value)) => dilation = Some(value),
                None => {}
            }
        }
        let forgiven = self.forgiven[forgiven_before..].contains(&Field::Segment);
        if segment.is_none() && !forgiven && !self.is_broken(branch.span.start, branch.span.end) {
            self.report(
                Code::MissingField,
                word,
                "this branch has no `segment`".to_owned(),
                "`segment` is missing",
                "add for instance `segment = 2048`, or `segment = whole`".to_owned(),
            );
        }
        Branch {
            segment,
            dilation,
            span: word,
        }
    }

    fn for_item(&mut self, item: &ast::For) -> For {
        let over = match &item.over {
            ast::Over::Range(a, b) => Over::Range(self.expr(a), self.expr(b)),
            ast::Over::List(list) => Over::List(self.expr(list)),
        };
        let kept = self.next_slot;
        self.scopes.push(HashMap::new());
        let variable = item.variable.span;
        let slot = self.declare(&item.variable, false, variable);
        self.scopes.push(HashMap::new());
        let body = item
            .body
            .iter()
            .filter_map(|item| self.block_item(item))
            .collect();
        self.leave_scope();
        self.leave_scope();
        self.next_slot = kept;
        For {
            slot,
            variable,
            over,
            span: item.over.span(),
            body,
        }
    }

    fn declare(&mut self, name: &Ident, is_let: bool, value: Span) -> usize {
        self.notes
            .refer(name.span, || Meaning::constant(name.span, value));
        let slot = self.next_slot;
        self.next_slot += 1;
        self.frame = self.frame.max(self.next_slot);
        if !self.may_be_named(name) {
            return slot;
        }
        let Some(scope) = self.scopes.last_mut() else {
            return slot;
        };
        if let Some(first) = scope.get(&name.name) {
            let diagnostic = twice(&name.name, name.span, first.span);
            self.sink.push(diagnostic);
            return slot;
        }
        scope.insert(
            name.name.clone(),
            LocalName {
                slot,
                span: name.span,
                used: false,
                is_let,
                value,
            },
        );
        slot
    }

    fn leave_scope(&mut self) {
        for (name, local) in self.scopes.pop().unwrap_or_default() {
            if local.is_let && !local.used {
                self.unused.push((name, local.span));
            }
        }
    }
}

fn twice(name: &str, again: Span, first: Span) -> Diagnostic {
    Diagnostic::new(
        Code::NameGivenTwice,
        again,
        format!("the name `{name}` is given twice"),
        "given again here",
    )
    .with_secondary(first, "given first here")
    .with_help("take another name for one of them")
}

fn item_start(item: &AstItem) -> u32 {
    match item {
        AstItem::Use(item) => item.span.start,
        AstItem::Let(item) => item.name.span.start,
        AstItem::Attention(item) => item.name.span.start,
    }
}

fn writes_branches(items: &[BlockItem]) -> bool {
    items.iter().any(|item| match item {
        BlockItem::Branch(_) => true,
        BlockItem::For(item) => writes_branches(&item.body),
        BlockItem::Field(_) | BlockItem::Let(_) => false,
    })
}

/// Whether a file of the library declares that attention.
fn declares(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        line.strip_prefix("attention ")
            .is_some_and(|rest| rest.split_whitespace().next() == Some(name))
    })
}
