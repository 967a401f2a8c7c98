// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From an operator to what runs it: the choices of a compilation, and the one way to a kernel.
//!
//! In: an [`Attention`], or the text of a later stage. Out: a [`Kernel`] for this machine, or the [`Engine`] of another backend.

use attnc_codegen_cpu::{CpuTarget, Jit};
use attnc_graph::{Branch, Form, OpGraph, Precision};
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
use crate::pipeline::{self, Choices, Plan};
use crate::source::Source;
use crate::target::Target;
use crate::tile_engine::TileEngine;

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

    /// Compiles to machine code in this process, which serves every batch, length, layout and number of threads.
    ///
    /// # Errors
    /// What the target cannot do, and what to do instead; a rule that does not exist.
    pub fn compile(&self, attention: &Attention) -> Result<Kernel, EngineError> {
        self.kernel(&Source::from(attention))
    }

    /// The same from any stage.
    pub(crate) fn kernel(&self, source: &Source) -> Result<Kernel, EngineError> {
        let key = Key::of(source, &self.choices);
        let (Some(cache), Some(key)) = (&self.cache, key) else {
            let made = self.artifact(source)?;
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
        let made = self.artifact(source)?;
        let mut how = CacheUse::Off;
        if usable {
            match cache.put(&key, &made) {
                Ok(()) => how = CacheUse::Miss,
                Err(e) => trouble = Some(trouble.unwrap_or(e)),
            }
        }
        Kernel::new(source.signature(), &made, how, trouble)
    }

    /// All stages up to machine code for this machine.
    fn artifact(&self, source: &Source) -> Result<Artifact, EngineError> {
        let (cores, notes) = self.programs(source, Backend::Cpu)?;
        let core = best(cores);
        if core.target != self.choices.target {
            // Only the text of a tile program can name another target.
            return Err(EngineError::Unsupported {
                what: format!("run a program for `{}`", core.target),
                target: self.choices.target.clone(),
                instead: "interpret it (`--backend interp-tile`)".to_string(),
            });
        }
        Ok(Artifact {
            notes,
            chunk: chunk(&core),
            program: Jit::compile(&core)?,
        })
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
                let (mut cores, notes) = self.programs(source, backend)?;
                let core = cores.swap_remove(0);
                Ok(Box::new(TileEngine::new(source.signature(), core, notes)))
            }
            (Backend::InterpGraph, _) => {
                Ok(Box::new(GraphEngine::new(self.fused(source, backend)?)))
            }
            (Backend::PtxEmulator | Backend::Cuda, _) => Err(EngineError::NotBuiltYet(backend)),
        }
    }

    /// All stages up to the fused graph, for `backend`. A graph that comes in fused is taken as it stands.
    fn fused(&self, source: &Source, backend: Backend) -> Result<OpGraph, EngineError> {
        let graph = match source {
            Source::Operator(op) => pipeline::graph(op)?,
            Source::Graph(g) => g.clone(),
            Source::Tile(_) => {
                let stage = source.stage();
                return Err(EngineError::EarlierStage { backend, stage });
            }
        };
        match graph.header().form {
            Form::Graph => Ok(pipeline::fuse(&graph, &self.choices)?.graph),
            Form::Fused => Ok(graph),
        }
    }

    /// All stages up to the tile programs of the target, at least one, for `backend`, and remarks. A tile program is taken as it stands,
    /// for the target that it names.
    fn programs(
        &self,
        source: &Source,
        backend: Backend,
    ) -> Result<(Vec<Core>, Vec<String>), EngineError> {
        if let Source::Tile(core) = source {
            return Ok((vec![(**core).clone()], Vec::new()));
        }
        let graph = self.fused(source, backend)?;
        let refuse = |what: &str| EngineError::Unsupported {
            what: what.to_string(),
            target: self.choices.target.clone(),
            instead: "leave `precision` at `standard`".to_string(),
        };
        match graph.header().precision {
            Precision::Standard => {}
            Precision::Fast => return Err(refuse("compile `precision = fast`")),
            Precision::Tf32 => return Err(refuse("compile `precision = tf32`")),
        }
        let notes = match self.choices.plan {
            Plan::Share => unshared(&graph).into_iter().collect(),
            Plan::Auto | Plan::Each => Vec::new(),
        };
        Ok((pipeline::tiles(&graph, &self.choices)?, notes))
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
