// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Files: what they `use`, each read once, and the operators that come out of them.
//!
//! In: the named files and a [`Loader`]. Out: [`Resolution`]. A file is resolved after all that it uses. Warnings are for the named files.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use attnc_diag::{Code, Diagnostic, FileId, Sink, SourceMap, Span};
use attnc_syntax::ast::{self, Item};
use attnc_syntax::parse;

use crate::Operator;
use crate::attention::Built;
use crate::index::{Index, Meaning, Notes};
use crate::loader::{LoadError, Loaded, Loader, STD_FILES, std_file};
use crate::lower::ImportedName;
use crate::program::{Declared, resolve_file};
use crate::suggest::Suggester;

/// Deepest chain of `use`, and of `with`.
pub(crate) const MAX_CHAIN: u32 = 64;

/// What a set of files means.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// The named files, in their order.
    pub files: Vec<ResolvedFile>,
    /// Every mistake and warning, by file and place.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts of all files, used ones included.
    pub sources: SourceMap,
}

impl Resolution {
    /// Whether a mistake was found; operators that have none of their own are there all the same.
    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|d| d.severity() == attnc_diag::Severity::Error)
    }

    /// The operators of the named files: of each its own, then the imported ones.
    pub fn operators(&self) -> impl Iterator<Item = &Arc<Operator>> {
        self.files
            .iter()
            .flat_map(|file| file.own.iter().chain(&file.imported))
    }
}

/// What a named file holds.
#[derive(Clone, Debug)]
pub struct ResolvedFile {
    /// The file.
    pub file: FileId,
    /// Its attentions, in their order, without those that have mistakes.
    pub own: Vec<Arc<Operator>>,
    /// The imported ones, in their order.
    pub imported: Vec<Arc<Operator>>,
}

/// A file to resolve: its text, or its name and why it could not be read.
pub type Named = Result<Loaded, (String, LoadError)>;

/// Resolves files. A file that could not be read is given by its name and the reason.
pub fn resolve(files: Vec<Named>, loader: &mut dyn Loader) -> Resolution {
    run(files, loader, Notes::off()).0
}

/// [`resolve`], and what every word of the files means, for editors.
pub fn inspect(files: Vec<Named>, loader: &mut dyn Loader) -> (Resolution, Index) {
    let (resolution, notes, keys) = run(files, loader, Notes::on());
    (resolution, Index::new(notes, keys))
}

fn run(
    files: Vec<Named>,
    loader: &mut dyn Loader,
    notes: Notes,
) -> (Resolution, Notes, HashMap<FileId, String>) {
    let mut set = Files {
        loader,
        sources: SourceMap::new(),
        by_key: HashMap::new(),
        states: Vec::new(),
        sink: Sink::new(),
        notes,
    };
    let mut named = Vec::new();
    for file in files {
        match file {
            Ok(loaded) => named.push(set.add(loaded, true)),
            Err((name, error)) => {
                let id = set.sources.add(name.clone(), Vec::new());
                let span = Span::new(id, 0, 0);
                let (code, label) = match error {
                    LoadError::NotFound => (Code::FileNotFound, "no such file"),
                    LoadError::Unreadable { .. } => {
                        (Code::FileUnreadable, "this file cannot be read")
                    }
                };
                let message = format!("cannot read `{name}`: {error}");
                set.sink.push(
                    Diagnostic::new(code, span, message, label)
                        .with_help("check the path and its permissions"),
                );
            }
        }
    }
    let mut resolved = Vec::new();
    for index in named {
        set.visit(index, 0);
        let state = &set.states[index];
        let good = |built: &Built| built.operator.clone();
        resolved.push(ResolvedFile {
            file: state.id,
            own: state
                .own
                .iter()
                .filter_map(|declared| good(&declared.built))
                .collect(),
            imported: state.imported.iter().filter_map(good).collect(),
        });
    }
    let keys = set.states.iter().map(|s| (s.id, s.key.clone())).collect();
    let resolution = Resolution {
        files: resolved,
        diagnostics: set.sink.into_sorted(),
        sources: set.sources,
    };
    (resolution, set.notes, keys)
}

#[derive(Clone, Copy, PartialEq)]
enum Progress {
    Waiting,
    Busy,
    Done,
}

struct State {
    id: FileId,
    key: String,
    named: bool,
    progress: Progress,
    /// Its attentions, in their order.
    own: Vec<Declared>,
    imported: Vec<Built>,
}

struct Files<'a> {
    loader: &'a mut dyn Loader,
    sources: SourceMap,
    by_key: HashMap<String, usize>,
    states: Vec<State>,
    sink: Sink,
    notes: Notes,
}

impl Files<'_> {
    fn add(&mut self, loaded: Loaded, named: bool) -> usize {
        if let Some(index) = self.by_key.get(&loaded.key) {
            self.states[*index].named |= named;
            return *index;
        }
        let id = self.sources.add(loaded.name, loaded.bytes);
        let index = self.states.len();
        self.by_key.insert(loaded.key.clone(), index);
        self.states.push(State {
            id,
            key: loaded.key,
            named,
            progress: Progress::Waiting,
            own: Vec::new(),
            imported: Vec::new(),
        });
        index
    }

    /// Resolves a file after what it uses; `depth`: how many `use` lead to it.
    fn visit(&mut self, index: usize, depth: u32) {
        if self.states[index].progress != Progress::Waiting {
            return;
        }
        self.states[index].progress = Progress::Busy;
        let id = self.states[index].id;
        let parsed = match self.sources.get(id) {
            Some(source) => parse(id, source),
            None => return,
        };
        self.sink.extend(parsed.diagnostics.iter().cloned());
        let mut used: Vec<(usize, Span)> = Vec::new();
        let mut complete = true;
        for item in &parsed.file.items {
            let Item::Use(item) = item else { continue };
            match self.follow(item, index, depth) {
                Some(other) if used.iter().all(|(seen, _)| *seen != other) => {
                    used.push((other, item.span))
                }
                Some(_) => {}
                None => complete = false,
            }
        }
        let (names, imported) = self.imports(&used);
        let resolved = resolve_file(
            &parsed,
            &names,
            &imported,
            complete,
            self.states[index].named,
            &mut self.sink,
            &mut self.notes,
        );
        for declared in &resolved {
            let built = &declared.built;
            self.notes
                .attention(declared.span, &built.operator, &built.branches);
        }
        let state = &mut self.states[index];
        state.own = resolved;
        state.imported = imported;
        state.progress = Progress::Done;
    }

    /// What a file imports; names that clash are reported and the first one stays.
    fn imports(&mut self, used: &[(usize, Span)]) -> (Vec<ImportedName>, Vec<Built>) {
        let mut names: Vec<ImportedName> = Vec::new();
        let mut imported = Vec::new();
        let mut first: BTreeMap<String, Span> = BTreeMap::new();
        for (other, span) in used {
            for declared in &self.states[*other].own {
                let name = &declared.name;
                if let Some(before) = first.get(name) {
                    let message = format!("`{name}` is imported twice, from two files");
                    self.sink.push(
                        Diagnostic::new(Code::NameClash, *span, message, format!("this file has a `{name}` too"))
                            .with_secondary(*before, format!("`{name}` is imported here"))
                            .with_help("copy the one you need into a file of its own with `with { }`, and import that"),
                    );
                    continue;
                }
                first.insert(name.clone(), *span);
                names.push(ImportedName {
                    name: name.clone(),
                    span: *span,
                    declared: declared.span,
                });
                imported.push(declared.built.clone());
            }
        }
        (names, imported)
    }

    /// The file that a `use` names, resolved; `None` with a report if that cannot be.
    fn follow(&mut self, item: &ast::Use, from: usize, depth: u32) -> Option<usize> {
        let (path, span) = (&item.path, item.span);
        let mut fail = |code, message: String, label: &str, help: String| {
            self.sink
                .push(Diagnostic::new(code, span, message, label).with_help(help));
            None
        };
        let drive =
            path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic();
        if path.starts_with(['/', '\\']) || drive {
            let help = "write the path relative to the folder of this file".to_owned();
            return fail(
                Code::AbsolutePath,
                format!("`{path}` is an absolute path"),
                "paths are relative",
                help,
            );
        }
        if depth >= MAX_CHAIN {
            let message = format!("more than {MAX_CHAIN} `use` on top of each other");
            return fail(
                Code::UseTooDeep,
                message,
                "one too many",
                "use the file directly".to_owned(),
            );
        }
        let loaded = if path.starts_with("std/") {
            let Some(file) = std_file(path) else {
                let known = STD_FILES.iter().map(|(name, _)| *name);
                let all: Vec<String> = known.clone().map(|name| format!("`{name}`")).collect();
                let help = Suggester::new().help(
                    path,
                    known,
                    &format!("the library has {}", all.join(", ")),
                );
                return fail(
                    Code::UnknownStd,
                    format!("the library has no file `{path}`"),
                    "no such file",
                    help,
                );
            };
            Ok(file)
        } else {
            self.loader.load(&self.states[from].key, path)
        };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(LoadError::NotFound) => {
                let name = path.rsplit('/').next().unwrap_or(path);
                let help = match STD_FILES
                    .iter()
                    .find(|(file, _)| file.rsplit('/').next() == Some(name))
                {
                    Some((file, _)) => format!("did you mean `{file}`?"),
                    None => {
                        "paths are relative to the folder of this file; the library is `std/...`"
                            .to_owned()
                    }
                };
                return fail(
                    Code::FileNotFound,
                    format!("there is no file `{path}`"),
                    "no such file",
                    help,
                );
            }
            Err(LoadError::Unreadable { reason }) => {
                let message = format!("cannot read `{path}`: {reason}");
                return fail(
                    Code::FileUnreadable,
                    message,
                    "this file cannot be read",
                    "check its permissions".to_owned(),
                );
            }
        };
        let index = self.add(loaded, false);
        if self.states[index].progress == Progress::Busy {
            let message = if index == from {
                "this file uses itself"
            } else {
                "these files use each other"
            };
            let help = "move what both need into a third file";
            self.sink.push(
                Diagnostic::new(Code::UseCycle, span, message, "this closes the circle")
                    .with_help(help),
            );
            return None;
        }
        self.visit(index, depth + 1);
        let id = self.states[index].id;
        self.notes.refer(span, || Meaning::File(id));
        Some(index)
    }
}
