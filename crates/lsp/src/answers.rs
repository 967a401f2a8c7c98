// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One function a question: diagnostics, hover, definition, references, completion, symbols, formatting.
//!
//! In: a file's [`Analysis`] and a place. Out: the protocol's types.

use std::collections::BTreeMap;

use attnc_diag::{Diagnostic, FileId, Severity, Span};
use attnc_oracle::madds_formula;
use attnc_spec::{Branch, Definition, Index, Operator, ProposalKind, Resolution, Segment};
use attnc_syntax::ast::{self, BlockItem, Item};
use lsp_types::{
    CompletionItem, CompletionItemKind, DiagnosticRelatedInformation, DiagnosticSeverity,
    DocumentSymbol, Documentation, Hover, HoverContents, Location, MarkupContent, MarkupKind,
    NumberOrString, Position, Range, SymbolKind, TextEdit, Uri,
};
use similar::{DiffOp, TextDiff};

use crate::documents::Documents;
use crate::position::{Encoding, Places};

/// Lengths at which a hover counts products.
const LENGTHS: [u64; 2] = [32 << 10, 1 << 20];

/// What is known of an open file.
#[derive(Debug)]
pub(crate) struct Analysis {
    /// The file and what it uses.
    pub(crate) resolution: Resolution,
    /// What every word means.
    pub(crate) index: Index,
    /// The file.
    pub(crate) file: FileId,
}

/// What every answer needs: the texts by name, and how columns count.
#[derive(Clone, Copy)]
pub(crate) struct Desk<'a> {
    /// The editor's texts.
    pub(crate) documents: &'a Documents,
    /// Units of columns.
    pub(crate) encoding: Encoding,
}

impl Desk<'_> {
    fn places<'t>(&self, analysis: &'t Analysis, file: FileId) -> Places<'t> {
        Places::new(analysis.resolution.sources.text(file), self.encoding)
    }

    fn offset(&self, analysis: &Analysis, position: Position) -> usize {
        self.places(analysis, analysis.file).offset(position)
    }

    fn uri(&self, analysis: &Analysis, file: FileId) -> Option<Uri> {
        self.documents.uri(analysis.index.key(file)?)
    }

    /// A span as a place; none for what has no file, such as the built-in library.
    fn location(&self, analysis: &Analysis, span: Span) -> Option<Location> {
        let uri = self.uri(analysis, span.file)?;
        let range = self.places(analysis, span.file).range(span.range());
        Some(Location { uri, range })
    }

    /// The diagnostics of a file and of what it uses, by file.
    pub(crate) fn diagnostics(
        &self,
        analysis: &Analysis,
    ) -> BTreeMap<String, Vec<lsp_types::Diagnostic>> {
        let mut all: BTreeMap<String, Vec<lsp_types::Diagnostic>> = BTreeMap::new();
        // Places of a file are made once, however many diagnostics it has.
        let mut places: BTreeMap<FileId, Places<'_>> = BTreeMap::new();
        for d in &analysis.resolution.diagnostics {
            let file = d.primary.span.file;
            let Some(key) = analysis.index.key(file) else {
                continue;
            };
            for label in d.secondary.iter().chain([&d.primary]) {
                let file = label.span.file;
                places
                    .entry(file)
                    .or_insert_with(|| self.places(analysis, file));
            }
            let found = self.diagnostic(analysis, d, &places);
            all.entry(key.to_owned()).or_default().push(found);
        }
        all
    }

    fn diagnostic(
        &self,
        analysis: &Analysis,
        d: &Diagnostic,
        places: &BTreeMap<FileId, Places<'_>>,
    ) -> lsp_types::Diagnostic {
        let range = |span: Span| {
            let places = places.get(&span.file);
            places.map_or(Range::default(), |p| p.range(span.range()))
        };
        let mut message = format!("{}\n{}", d.message, d.primary.text);
        if let Some(help) = &d.help {
            message.push_str(&format!("\nhelp: {help}"));
        }
        let related = d.secondary.iter().filter_map(|label| {
            let uri = self.uri(analysis, label.span.file)?;
            let range = range(label.span);
            Some(DiagnosticRelatedInformation {
                location: Location { uri, range },
                message: label.text.clone(),
            })
        });
        lsp_types::Diagnostic {
            range: range(d.primary.span),
            severity: Some(match d.severity() {
                Severity::Error => DiagnosticSeverity::ERROR,
                Severity::Warning => DiagnosticSeverity::WARNING,
            }),
            code: Some(NumberOrString::String(d.code.id().to_owned())),
            source: Some("attnc".to_owned()),
            message,
            related_information: Some(related.collect()),
            ..lsp_types::Diagnostic::default()
        }
    }

    /// What the word at a place means; where the place has mistakes, their pages too.
    pub(crate) fn hover(&self, analysis: &Analysis, position: Position) -> Option<Hover> {
        let offset = self.offset(analysis, position);
        let sources = &analysis.resolution.sources;
        let word = analysis.index.explain(sources, analysis.file, offset);
        let here = |d: &&Diagnostic| {
            let span = d.primary.span;
            span.file == analysis.file && span.range().contains(&offset)
        };
        let mut parts = Vec::new();
        let mut range = None;
        if let Some(word) = word {
            range = Some(
                self.places(analysis, analysis.file)
                    .range(word.span.range()),
            );
            parts.push(word.markdown);
            parts.extend(word.operator.as_deref().map(products));
        }
        for d in analysis.resolution.diagnostics.iter().filter(here).take(2) {
            let (id, title) = (d.code.id(), d.code.title());
            parts.push(format!("**{id}**: {title}\n\n{}", d.code.page().trim_end()));
        }
        if parts.is_empty() {
            return None;
        }
        let contents = HoverContents::Markup(markdown(parts.join("\n\n---\n\n")));
        Some(Hover { contents, range })
    }

    /// Where the name at a place is declared.
    pub(crate) fn definition(&self, analysis: &Analysis, position: Position) -> Option<Location> {
        let offset = self.offset(analysis, position);
        let span = match analysis.index.definition(analysis.file, offset)? {
            Definition::Name(span) => span,
            Definition::File(file) => Span::new(file, 0, 0),
        };
        self.location(analysis, span)
    }

    /// Every place of the name at a place, in this file and those it uses.
    pub(crate) fn references(
        &self,
        analysis: &Analysis,
        position: Position,
        declaration: bool,
    ) -> Vec<Location> {
        let offset = self.offset(analysis, position);
        let all = analysis.index.references(analysis.file, offset);
        let wanted = all.into_iter().skip(usize::from(!declaration));
        wanted
            .filter_map(|span| self.location(analysis, span))
            .collect()
    }

    /// What can stand at a place.
    pub(crate) fn completion(
        &self,
        analysis: &Analysis,
        position: Position,
    ) -> Vec<CompletionItem> {
        let offset = self.offset(analysis, position);
        let sources = &analysis.resolution.sources;
        let proposals = analysis.index.complete(sources, analysis.file, offset);
        let item = |(i, p): (usize, attnc_spec::Proposal)| CompletionItem {
            kind: Some(match p.kind {
                ProposalKind::Keyword => CompletionItemKind::KEYWORD,
                ProposalKind::Field => CompletionItemKind::FIELD,
                ProposalKind::Word => CompletionItemKind::ENUM_MEMBER,
                ProposalKind::Constant => CompletionItemKind::CONSTANT,
                ProposalKind::Function => CompletionItemKind::FUNCTION,
                ProposalKind::Attention => CompletionItemKind::CLASS,
                ProposalKind::File => CompletionItemKind::FILE,
            }),
            documentation: (!p.page.is_empty())
                .then(|| Documentation::MarkupContent(markdown(p.page.to_owned()))),
            // Editors sort by this; the order is that of the proposals.
            sort_text: Some(format!("{i:04}")),
            label: p.label,
            ..CompletionItem::default()
        };
        proposals.into_iter().enumerate().map(item).collect()
    }

    /// The attentions and constants of a file.
    pub(crate) fn symbols(&self, analysis: &Analysis) -> Vec<DocumentSymbol> {
        let Some(source) = analysis.resolution.sources.get(analysis.file) else {
            return Vec::new();
        };
        let parsed = attnc_syntax::parse(analysis.file, source);
        let places = self.places(analysis, analysis.file);
        let symbol = |item: &Item| match item {
            Item::Use(_) => None,
            Item::Let(item) => Some(constant(item, &places)),
            Item::Attention(item) => Some(attention(item, &places)),
        };
        parsed.file.items.iter().filter_map(symbol).collect()
    }

    /// The edits that format a text, line by line; only those that touch `within`, if given. None for a text with mistakes.
    pub(crate) fn format(&self, text: &str, within: Option<Range>) -> Option<Vec<TextEdit>> {
        let formatted = attnc_syntax::format(text)?;
        let places = Places::new(text, self.encoding);
        let within = within.map(|r| places.offset(r.start)..places.offset(r.end));
        let diff = TextDiff::from_lines(text, &formatted);
        let lines = |side: &[&str]| {
            let mut at = vec![0];
            for line in side {
                at.push(at[at.len() - 1] + line.len());
            }
            at
        };
        let old = lines(&text.split_inclusive('\n').collect::<Vec<_>>());
        let new = lines(&formatted.split_inclusive('\n').collect::<Vec<_>>());
        let mut edits = Vec::new();
        for op in diff.ops() {
            if matches!(op, DiffOp::Equal { .. }) {
                continue;
            }
            let (from, to) = (op.old_range(), op.new_range());
            let from = old[from.start]..old[from.end];
            let outside = |w: &std::ops::Range<usize>| from.end < w.start || from.start > w.end;
            if within.as_ref().is_some_and(outside) {
                continue;
            }
            edits.push(TextEdit {
                range: places.range(from),
                new_text: formatted[new[to.start]..new[to.end]].to_owned(),
            });
        }
        Some(edits)
    }
}

fn markdown(value: String) -> MarkupContent {
    MarkupContent {
        kind: MarkupKind::Markdown,
        value,
    }
}

/// The products of an operator at some lengths, and what dense attention would take.
fn products(op: &Operator) -> String {
    let mut dense = op.clone();
    dense.branches = vec![Branch {
        segment: Segment::Whole,
        dilation: 1,
    }];
    let mut out = String::from("| N | multiply-adds | of dense attention |\n|--:|--:|--:|\n");
    for n in LENGTHS {
        let (own, all) = (madds_formula(op, 1, n), madds_formula(&dense, 1, n));
        let share = own as f64 / all as f64;
        out.push_str(&format!("| {n} | {:.3e} | {share:.2e} |\n", own as f64));
    }
    out
}

/// A symbol; `name` and `whole` are byte ranges.
fn symbol(name: &ast::Ident, whole: Span, kind: SymbolKind, places: &Places<'_>) -> DocumentSymbol {
    // Replacing the deprecated field is what the type asks for.
    #[allow(deprecated)]
    DocumentSymbol {
        name: name.name.clone(),
        detail: None,
        kind,
        tags: None,
        deprecated: None,
        range: places.range(whole.range()),
        selection_range: places.range(name.span.range()),
        children: None,
    }
}

fn constant(item: &ast::Let, places: &Places<'_>) -> DocumentSymbol {
    let whole = item.name.span.to(item.value.span);
    symbol(&item.name, whole, SymbolKind::CONSTANT, places)
}

fn attention(item: &ast::Attention, places: &Places<'_>) -> DocumentSymbol {
    let mut whole = item.name.span;
    whole = item.base.as_ref().map_or(whole, |base| whole.to(base.span));
    let mut children = Vec::new();
    for part in &item.block {
        match part {
            BlockItem::Field(field) => {
                let span = field.name.span.to(field.value.span);
                whole = whole.to(span);
                children.push(symbol(&field.name, span, SymbolKind::FIELD, places));
            }
            BlockItem::Branch(branch) => {
                whole = whole.to(branch.span);
                children.push(block("branch", branch.span, places));
            }
            BlockItem::For(part) => {
                whole = whole.to(part.span);
                children.push(block(
                    &format!("for {}", part.variable.name),
                    part.span,
                    places,
                ));
            }
            BlockItem::Let(part) => {
                whole = whole.to(part.value.span);
                children.push(constant(part, places));
            }
        }
    }
    let mut own = symbol(&item.name, whole, SymbolKind::CLASS, places);
    own.children = Some(children);
    own
}

/// A block that has no name.
fn block(name: &str, whole: Span, places: &Places<'_>) -> DocumentSymbol {
    let start = whole.start as usize;
    let word = name.split(' ').next().unwrap_or_default();
    let name = ast::Ident {
        name: name.to_owned(),
        span: Span::new(whole.file, start, start + word.len()),
    };
    symbol(&name, whole, SymbolKind::ARRAY, places)
}
