// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Ahead of time: operators as object files with a C header and a manifest.
//!
//! In: checked operators and targets. Out: named files, the same bytes on every machine and day. One processor target makes
//! `OP.TARGET.o`, several of one family one `OP.o` whose `plan` chooses; `OP.h` and `OP.json` stand beside, and neither depends on
//! the targets of the header's objects. A bundle is all operators in one object, header and manifest of its name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use attnc_codegen_cpu::{
    CodegenError, CpuTarget, Declared, Detect, Level, Part, Program, compile_parts,
};
use attnc_spec::Operator;
use attnc_tile::core::Core;

use crate::attention::Attention;
use crate::compiler::{Compiler, notes, refused};
use crate::cost::groups;
use crate::manifest::{self, ManifestError, Object};
use crate::pipeline::{self, Choices, CompileError, Plan};
use crate::tune::{TuneFile, Tuning};
use crate::writing::{WriteError, make_folder, write_all};

/// Why operators cannot be compiled ahead of time.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No operator, or no target.
    #[error("there is nothing to build: no {0}")]
    Nothing(&'static str),
    /// Two operators of one name.
    #[error("two operators are called `{0}`; their symbols and files would be the same")]
    Twice(String),
    /// A bundle whose name cannot be that of a file.
    #[error(
        "`{0}` cannot be the name of a bundle: letters, digits, `_`, `-` and `.`, not beginning with `-` or `.`"
    )]
    Bundle(String),
    /// A precision that no target has for the operator's dtype.
    #[error("`{operator}`: no target compiles {what}; {instead}")]
    Precision {
        /// The operator.
        operator: String,
        /// What it asks for.
        what: &'static str,
        /// What could be done instead.
        instead: &'static str,
    },
    /// Targets that cannot stand in one object.
    #[error(
        "one object cannot hold code for {0} and for {1}; build them one after the other, the header is the same"
    )]
    Families(&'static str, &'static str),
    /// A stage of the compiler refused.
    #[error("`{operator}`: {source}")]
    Compile {
        /// The operator.
        operator: String,
        /// What it said.
        source: Box<CompileError>,
    },
    /// The code generator refused: a bug of ours.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// The manifest could not be written as JSON: a bug of ours.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// A file that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltFile {
    /// Its name within the folder.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// What there is to choose of a build.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuildOptions<'a> {
    /// All operators in one object of that name.
    pub bundle: Option<&'a str>,
    /// How branches are grouped. What cannot be shared runs by itself; [`Built::notes`] tell.
    pub plan: Plan,
    /// Where plans and sizes of schedules are taken from, if it has them; a plan that is forced leaves it nothing to say.
    pub tune: Option<&'a TuneFile>,
}

/// What a tune file had to do with an operator's code for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltTuning {
    /// The operator.
    pub operator: String,
    /// The target.
    pub target: CpuTarget,
    /// What was taken.
    pub tuning: Tuning,
}

/// Where an operator came out otherwise than it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltNote {
    /// The operator.
    pub operator: String,
    /// What to tell, for all targets that it is said of.
    pub note: String,
}

/// The files of a build: for every operator, or for the bundle, object, header, manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    files: Vec<BuiltFile>,
    tuning: Vec<BuiltTuning>,
    notes: Vec<BuiltNote>,
}

impl Built {
    /// Every file, in a fixed order.
    pub fn files(&self) -> &[BuiltFile] {
        &self.files
    }

    /// What a tune file had to do with each operator and target.
    pub fn tuning(&self) -> &[BuiltTuning] {
        &self.tuning
    }

    /// What could not be shared although [`BuildOptions::plan`] or a tune file asks for it; each once.
    pub fn notes(&self) -> &[BuiltNote] {
        &self.notes
    }

    /// Writes all files into `folder`, which is made if it is not there: all of them or none. Yields where they are.
    ///
    /// # Errors
    /// The first file that could not be written.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, WriteError> {
        let places = self.files.iter().map(|f| folder.join(&f.name));
        let places: Vec<PathBuf> = places.collect();
        let bytes = self.files.iter().map(|f| &f.bytes[..]);
        make_folder(folder)?;
        write_all(places.iter().cloned().zip(bytes))?;
        Ok(places)
    }
}

/// Compiles every operator for all of `targets`, one family. What a build script does:
///
/// ```
/// use attnc::{AttentionFile, BuildOptions, CpuTarget};
///
/// let file = AttentionFile::parse("attention local { heads = 2, head_dim = 8, branch { segment = 64 } }")?;
/// let targets = [CpuTarget::X86_64, CpuTarget::X86_64V3];
/// let built = attnc::build(file.attentions(), &targets, &BuildOptions::default())?;
/// let names: Vec<&str> = built.files().iter().map(|f| f.name.as_str()).collect();
/// assert_eq!(names, ["local.o", "local.h", "local.json"]);
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// built.write(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Nothing to build, names or targets that do not go together, what the compiler refuses.
pub fn build(
    attentions: &[Attention],
    targets: &[CpuTarget],
    options: &BuildOptions<'_>,
) -> Result<Built, BuildError> {
    let bundle = options.bundle;
    let mut targets = targets.to_vec();
    targets.sort_by_key(|t| CpuTarget::ALL.iter().position(|other| other == t));
    targets.dedup();
    let first = *targets.first().ok_or(BuildError::Nothing("target"))?;
    let operators: Vec<&Operator> = attentions.iter().map(Attention::operator).collect();
    if operators.is_empty() {
        return Err(BuildError::Nothing("operator"));
    }
    if let Some(other) = targets.iter().find(|t| t.family() != first.family()) {
        return Err(BuildError::Families(first.name(), other.name()));
    }
    if let Some(name) = bundle.filter(|name| !is_file_name(name)) {
        return Err(BuildError::Bundle(name.to_owned()));
    }
    let mut names = BTreeSet::new();
    for op in &operators {
        if !names.insert(&op.name) {
            return Err(BuildError::Twice(op.name.clone()));
        }
    }
    let compiled = operators.iter().map(|op| compile(op, &targets, options));
    let compiled: Vec<Compiled<'_>> = compiled.collect::<Result<_, _>>()?;
    let groups: Vec<(&str, Vec<&Compiled<'_>>)> = match bundle {
        Some(name) => vec![(name, compiled.iter().collect())],
        None => (compiled.iter())
            .map(|c| (c.operator.name.as_str(), vec![c]))
            .collect(),
    };
    let mut files = Vec::new();
    for (name, members) in groups {
        files.extend(group(name, &members, &targets)?);
    }
    let tuning = compiled.iter().flat_map(|c| c.tuning.iter().cloned());
    let notes = compiled.iter().flat_map(|c| c.notes.iter().cloned());
    Ok(Built {
        files,
        tuning: tuning.collect(),
        notes: notes.collect(),
    })
}

/// Object, header and manifest of operators that stand together.
fn group(
    name: &str,
    members: &[&Compiled<'_>],
    targets: &[CpuTarget],
) -> Result<[BuiltFile; 3], BuildError> {
    let file = |name: String, bytes| BuiltFile { name, bytes };
    let object = match targets {
        [one] => format!("{name}.{}.o", one.name()),
        _ => format!("{name}.o"),
    };
    let programs: Vec<Program> = members.iter().map(|m| m.program.clone()).collect();
    let object = file(
        object.clone(),
        attnc_codegen_cpu::object(&object, &programs)?,
    );
    let declared: Vec<Declared> = members.iter().map(|m| m.declared.clone()).collect();
    let header = attnc_codegen_cpu::header(&declared).into_bytes();
    let header = file(format!("{name}.h"), header);
    let operators: Vec<manifest::Entry<'_>> = members.iter().map(|m| m.entry()).collect();
    let levels = targets.iter().map(|t| {
        let all = members.iter().flat_map(|m| &m.levels);
        let mut own: Vec<Level> = (all.filter(|(of, _)| of == t))
            .flat_map(|(_, levels)| levels.iter().copied())
            .collect();
        own.sort();
        own.dedup();
        (*t, own)
    });
    let manifest = manifest::manifest(
        &header,
        &Object {
            file: &object,
            targets: &levels.collect::<Vec<_>>(),
        },
        &operators,
    )?;
    let manifest = file(format!("{name}.json"), manifest.into_bytes());
    Ok([object, header, manifest])
}

/// An operator's code and what is told of it.
struct Compiled<'o> {
    operator: &'o Operator,
    program: Program,
    declared: Declared,
    /// Bytes that a worker needs, by target.
    workspaces: Vec<(CpuTarget, usize)>,
    /// How its branches are grouped, by target.
    plans: Vec<(CpuTarget, Plan)>,
    tuning: Vec<BuiltTuning>,
    notes: Vec<BuiltNote>,
    /// The levels of each of its parts.
    levels: Vec<(CpuTarget, Vec<Level>)>,
}

impl Compiled<'_> {
    fn entry(&self) -> manifest::Entry<'_> {
        manifest::Entry {
            operator: self.operator,
            declared: &self.declared,
            workspaces: &self.workspaces,
            plans: &self.plans,
        }
    }
}

fn compile<'o>(
    op: &'o Operator,
    targets: &[CpuTarget],
    options: &BuildOptions<'_>,
) -> Result<Compiled<'o>, BuildError> {
    if let Some(refused) = refused(op.precision, op.dtype) {
        return Err(BuildError::Precision {
            operator: op.name.clone(),
            what: refused.what,
            instead: refused.instead,
        });
    }
    let hash = op.content_hash().to_string();
    // The plan structure of the header holds the plan of every target, so that the header does not depend on those asked for. Nor does it on
    // how branches are grouped: its tables have a row for every branch that is not another one's twin.
    let mut plan_bytes = 0;
    let mut cores = Vec::new();
    let (mut tunings, mut notes, mut plans) = (Vec::new(), Vec::new(), Vec::new());
    for target in CpuTarget::ALL {
        let asked = targets.contains(&target);
        let tune = options.tune.filter(|_| asked);
        let (made, tuning) = programs(op, target, options.plan, tune)?;
        for core in made.cores {
            plan_bytes = plan_bytes.max(attnc_codegen_cpu::plan_bytes(&core));
            if asked {
                cores.push((target, core));
            }
        }
        if asked {
            let operator = op.name.clone();
            let note = made.note.map(|note| BuiltNote { operator, note });
            notes.extend(note.filter(|note| !notes.contains(note)));
            plans.push((target, made.plan));
            tunings.push(BuiltTuning {
                operator: op.name.clone(),
                target,
                tuning,
            });
        }
    }
    let parts: Vec<Part<'_>> = cores.iter().map(|(t, c)| Part::of(c, *t)).collect();
    let program = compile_parts(&parts, Detect::Machine)?.with_hash(&hash);
    let workspaces = targets.iter().map(|t| {
        let own = cores.iter().filter(|(of, _)| of == t);
        let bytes = own.map(|(_, c)| attnc_codegen_cpu::workspace_bytes(c));
        (*t, bytes.max().unwrap_or(0))
    });
    let declared = match cores.first() {
        Some((_, core)) => Declared {
            plan_bytes,
            ..Declared::of(core, &hash)
        },
        None => return Err(BuildError::Nothing("target")),
    };
    Ok(Compiled {
        operator: op,
        program,
        declared,
        workspaces: workspaces.collect(),
        levels: (parts.iter())
            .map(|p| (p.target, p.levels.to_vec()))
            .collect(),
        plans,
        tuning: tunings,
        notes,
    })
}

/// An operator's programs for a target.
struct Programs {
    cores: Vec<Core>,
    /// `Share` where branches share scores, else `Each`.
    plan: Plan,
    note: Option<String>,
}

/// All stages up to the core programs.
fn programs(
    op: &Operator,
    target: CpuTarget,
    plan: Plan,
    tune: Option<&TuneFile>,
) -> Result<(Programs, Tuning), BuildError> {
    let mut compiler = Compiler::with(Choices::new(target.name())).plan(plan);
    if let Some(file) = tune {
        compiler = compiler.tune_file(file.clone());
    }
    let made = compiler.with_tuning(Some(op), |choices| {
        let fused = pipeline::fuse(&pipeline::graph(op)?, choices)?.graph;
        let shares = groups(&fused).iter().any(|group| group.len() > 1);
        Ok(Programs {
            cores: pipeline::tiles(&fused, choices)?,
            plan: if shares { Plan::Share } else { Plan::Each },
            note: notes(&fused, choices),
        })
    });
    made.map_err(|source| BuildError::Compile {
        operator: op.name.clone(),
        source: Box::new(source),
    })
}

fn is_file_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    !name.is_empty() && name.bytes().all(allowed) && !name.starts_with(['-', '.'])
}
