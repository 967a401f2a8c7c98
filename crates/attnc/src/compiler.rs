// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From an operator to what runs it: the choices of a compilation, and the one way to a kernel.
//!
//! In: an [`Attention`], or the text of a later stage. Out: a [`Kernel`] for this machine, or the [`Engine`] of another backend.

use std::sync::Arc;

use attnc_codegen_cpu::{CpuTarget, Jit};
use attnc_graph::{Branch, Form, OpGraph, Precision};
use attnc_spec::Operator;
use attnc_tensor::DType;
use attnc_tile::core::Core;
use attnc_tile::step::Panels;

use crate::attention::Attention;
use crate::cache::entry::Artifact;
use crate::cache::key::Key;
use crate::cache::{Cache, CacheError};
use crate::cost::groups;
use crate::engine::{Backend, CacheUse, Engine, EngineError};
use crate::graph_engine::GraphEngine;
use crate::kernel::{Kernel, chunk};
use crate::oracle_engine::OracleEngine;
use crate::pipeline::{self, Choices, CompileError, Plan};
use crate::source::Source;
use crate::target::Target;
use crate::tile_engine::TileEngine;
use crate::tune::{Found, TuneFile, Tuning};

/// How operators become kernels.
///
/// ```
/// use attnc::pipeline::Plan;
/// use attnc::{Attention, Compiler, Target};
///
/// let attention = Attention::builtin("std/local.attn")?;
/// let kernel = Compiler::new(&Target::native()?).plan(Plan::Each).compile(&attention)?;
/// assert!(kernel.notes().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Compiler {
    choices: Choices,
    cache: Option<Cache>,
    tuned: Option<Arc<TuneFile>>,
}

impl Compiler {
    /// The default choices for `target`, no cache.
    pub fn new(target: &Target) -> Compiler {
        Compiler::with(Choices::new(target.name()))
    }

    /// These choices, no cache. Their target may be one that this machine does not run: interpreters take the programs of any.
    pub fn with(choices: Choices) -> Compiler {
        Compiler {
            choices,
            cache: None,
            tuned: None,
        }
    }

    /// Forces how branches are grouped. What cannot be shared runs by itself; [`Kernel::notes`] tell.
    #[must_use]
    pub fn plan(mut self, plan: Plan) -> Compiler {
        self.choices.plan = plan;
        self
    }

    /// Leaves out a rewrite rule ([`pipeline::rules`]); results stay right.
    #[must_use]
    pub fn without(mut self, rule: &str) -> Compiler {
        self.choices.without.push(rule.to_owned());
        self
    }

    /// Keeps kernels in a folder, and takes from it what it holds. A cache that cannot be used costs time, never a result:
    /// [`Kernel::cache_trouble`] tells why.
    #[must_use]
    pub fn cache(mut self, cache: Cache) -> Compiler {
        self.cache = Some(cache);
        self
    }

    /// Takes plan and sizes of the schedule from a tune file, where it has an entry for the operator, the target, this machine and this
    /// compiler; [`Kernel::tuning`] tells. Choices of plan, rules or sizes leave it nothing to say.
    ///
    /// ```
    /// use attnc::tune::{TuneFile, Tuning};
    /// use attnc::{Attention, Compiler, Target};
    ///
    /// let attention = Attention::builtin("std/local.attn")?;
    /// // Written by `attnc tune`, and read with `TuneFile::load`.
    /// let file = TuneFile::parse("form = 1")?;
    /// let kernel = Compiler::new(&Target::native()?).tune_file(file).compile(&attention)?;
    /// assert_eq!(kernel.tuning(), &Tuning::Nothing);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tune_file(mut self, file: TuneFile) -> Compiler {
        self.tuned = Some(Arc::new(file));
        self
    }

    /// The choices that `op` is compiled by, the tune file's among them where they fit and the compiler takes them.
    ///
    /// # Errors
    /// What the stages up to the tile program refuse of the default.
    pub fn choices(&self, op: &Operator) -> Result<(Choices, Tuning), CompileError> {
        self.with_tuning(Some(op), |choices| {
            let fused = pipeline::fuse(&pipeline::graph(op)?, choices)?.graph;
            pipeline::tiles(&fused, choices)?;
            Ok(choices.clone())
        })
    }

    /// What `make` makes of the choices of the tune file, or of the default ones where there are no others or those are refused.
    pub(crate) fn with_tuning<T, E: std::fmt::Display>(
        &self,
        op: Option<&Operator>,
        make: impl Fn(&Choices) -> Result<T, E>,
    ) -> Result<(T, Tuning), E> {
        let Choices {
            target,
            plan,
            without,
            proof: _,
            sizes,
        } = &self.choices;
        let own = *plan != Plan::Auto || !without.is_empty() || sizes.is_some();
        let tuning = match (&self.tuned, op) {
            (Some(file), Some(op)) if !own => match file.find(op, target) {
                Found::Nothing => Tuning::Nothing,
                Found::Stale(fields) => Tuning::Stale(fields),
                Found::Fits(entry) => match make(&entry.apply(&self.choices)) {
                    Ok(made) => return Ok((made, Tuning::Used)),
                    Err(e) => Tuning::Refused(e.to_string()),
                },
            },
            _ => Tuning::Off,
        };
        Ok((make(&self.choices)?, tuning))
    }

    /// Compiles to machine code in this process, which serves every batch, length, layout and number of threads.
    ///
    /// # Errors
    /// What the target cannot do, and what to do instead; a rule that does not exist.
    pub fn compile(&self, attention: &Attention) -> Result<Kernel, EngineError> {
        self.kernel(&Source::from(attention))
    }

    /// The same from any stage.
    pub(crate) fn kernel(&self, source: &Source) -> Result<Kernel, EngineError> {
        let (kernel, tuning) =
            self.with_tuning(operator(source), |choices| self.kernel_by(source, choices))?;
        Ok(kernel.tuned(tuning))
    }

    /// By these choices, from the cache or into it.
    fn kernel_by(&self, source: &Source, choices: &Choices) -> Result<Kernel, EngineError> {
        let key = Key::of(source, choices);
        let (Some(cache), Some(key)) = (&self.cache, key) else {
            let made = artifact(source, choices)?;
            return Kernel::new(source.signature(), &made, CacheUse::Off, None);
        };
        let (usable, mut trouble) = match cache.get(&key) {
            Ok(Some(found)) => match Kernel::new(source.signature(), &found, CacheUse::Hit, None) {
                Ok(kernel) => return Ok(kernel),
                Err(e) => (true, Some(cache.reject(&key, e.to_string()))),
            },
            Ok(None) => (true, None),
            Err(e @ CacheError::Corrupt { .. }) => (true, Some(e)),
            Err(
                e @ (CacheError::Untrusted { .. } | CacheError::Io { .. } | CacheError::Store(_)),
            ) => (false, Some(e)),
        };
        let made = artifact(source, choices)?;
        let mut how = CacheUse::Off;
        if usable {
            match cache.put(&key, &made) {
                Ok(()) => how = CacheUse::Miss,
                Err(e) => trouble = Some(trouble.unwrap_or(e)),
            }
        }
        Kernel::new(source.signature(), &made, how, trouble)
    }

    /// What runs `source` on `backend`.
    ///
    /// # Errors
    /// [`EngineError::NotBuiltYet`] for what is to come; [`EngineError::EarlierStage`] where the source carries less than the backend
    /// starts from.
    pub fn engine(
        &self,
        source: &Source,
        backend: Backend,
    ) -> Result<Box<dyn Engine>, EngineError> {
        match (backend, source) {
            (Backend::Oracle, Source::Operator(op)) => {
                Ok(Box::new(OracleEngine::new((**op).clone())))
            }
            (Backend::Oracle, Source::Graph(_) | Source::Tile(_)) => {
                Err(EngineError::EarlierStage {
                    backend,
                    stage: source.stage(),
                })
            }
            (Backend::Cpu, _) => Ok(Box::new(self.kernel(source)?)),
            (Backend::InterpTile, _) => {
                let ((mut cores, notes), tuning) = self
                    .with_tuning(operator(source), |choices| {
                        programs(source, choices, backend)
                    })?;
                let core = cores.swap_remove(0);
                let engine = TileEngine::new(source.signature(), core, notes);
                Ok(Box::new(engine.tuned(tuning)))
            }
            (Backend::InterpGraph, _) => {
                let graph = fused(source, &self.choices, backend)?;
                Ok(Box::new(GraphEngine::new(graph)))
            }
            (Backend::PtxEmulator | Backend::Cuda, _) => Err(EngineError::NotBuiltYet(backend)),
        }
    }
}

/// The operator that a source is, where it is one.
fn operator(source: &Source) -> Option<&Operator> {
    match source {
        Source::Operator(op) => Some(op),
        Source::Graph(_) | Source::Tile(_) => None,
    }
}

/// All stages up to machine code for this machine.
fn artifact(source: &Source, choices: &Choices) -> Result<Artifact, EngineError> {
    let (cores, notes) = programs(source, choices, Backend::Cpu)?;
    let core = best(cores);
    if core.target != choices.target {
        // Only the text of a tile program can name another target.
        return Err(EngineError::Unsupported {
            what: format!("run a program for `{}`", core.target),
            target: choices.target.clone(),
            instead: "interpret it (`--backend interp-tile`)".to_string(),
        });
    }
    Ok(Artifact {
        notes,
        chunk: chunk(&core),
        program: Jit::compile(&core)?,
    })
}

/// All stages up to the fused graph, for `backend`. A graph that comes in fused is taken as it stands.
fn fused(source: &Source, choices: &Choices, backend: Backend) -> Result<OpGraph, EngineError> {
    let graph = match source {
        Source::Operator(op) => pipeline::graph(op)?,
        Source::Graph(g) => g.clone(),
        Source::Tile(_) => {
            let stage = source.stage();
            return Err(EngineError::EarlierStage { backend, stage });
        }
    };
    match graph.header().form {
        Form::Graph => Ok(pipeline::fuse(&graph, choices)?.graph),
        Form::Fused => Ok(graph),
    }
}

/// A precision that no target of machine code has for a dtype.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    /// What was asked for.
    pub(crate) what: &'static str,
    /// What could be done instead.
    pub(crate) instead: &'static str,
}

/// Why operators of a dtype are not compiled at a precision; none: they are.
pub(crate) fn refused(precision: Precision, dtype: DType) -> Option<Refused> {
    match (precision, dtype) {
        (Precision::Standard, _) | (Precision::Fast, DType::Bf16 | DType::F16) => None,
        (Precision::Fast, DType::F32) => Some(Refused {
            what: "`precision = fast` of `dtype = f32`, which no coarser exponential is right for",
            instead: "leave `precision` at `standard`, or let `dtype` be `bf16` or `f16`",
        }),
        (Precision::Tf32, _) => Some(Refused {
            what: "`precision = tf32`",
            instead: "leave `precision` at `standard`",
        }),
    }
}

/// All stages up to the tile programs of the target, at least one, for `backend`, and remarks. A tile program is taken as it stands,
/// for the target that it names.
fn programs(
    source: &Source,
    choices: &Choices,
    backend: Backend,
) -> Result<(Vec<Core>, Vec<String>), EngineError> {
    if let Source::Tile(core) = source {
        return Ok((vec![(**core).clone()], Vec::new()));
    }
    let graph = fused(source, choices, backend)?;
    let header = graph.header();
    if let Some(refused) = refused(header.precision, header.dtype) {
        return Err(EngineError::Unsupported {
            what: format!("compile {}", refused.what),
            target: choices.target.clone(),
            instead: refused.instead.to_string(),
        });
    }
    let notes = notes(&graph, choices).into_iter().collect();
    Ok((pipeline::tiles(&graph, choices)?, notes))
}

/// What to tell of a fused graph that came out otherwise than it was asked for.
pub(crate) fn notes(graph: &OpGraph, choices: &Choices) -> Option<String> {
    match choices.plan {
        Plan::Share => unshared(graph),
        Plan::Auto | Plan::Each => None,
    }
}

/// The last of a target's programs, at least one, that this machine runs: the most preferred. The first where it runs none, which then
/// says why.
fn best(mut cores: Vec<Core>) -> Core {
    let runs = |core: &Core| {
        let target = CpuTarget::of_name(&core.target);
        target.is_some_and(|t| Jit::best_level(t, Panels::of(core)).is_some())
    };
    let best = cores.iter().rposition(runs).unwrap_or(0);
    cores.swap_remove(best)
}

/// What to tell of the branches that stayed by themselves although sharing was asked for.
fn unshared(graph: &OpGraph) -> Option<String> {
    const SHOWN: usize = 4;
    let groups = groups(graph);
    let bags = groups.len();
    let mut alone: Vec<Branch> = groups
        .iter()
        .filter(|g| g.len() == 1)
        .flatten()
        .copied()
        .collect();
    if bags < 2 || alone.is_empty() {
        return None;
    }
    let (count, more) = (alone.len(), if alone.len() > SHOWN { ", ..." } else { "" });
    alone.sort_unstable();
    let alone: Vec<String> = alone
        .iter()
        .take(SHOWN)
        .map(|b| format!("({}, {})", b.segment, b.dilation))
        .collect();
    Some(format!(
        "{count} of the branches cannot share scores and run as `each`: {}{more}",
        alone.join(", ")
    ))
}
