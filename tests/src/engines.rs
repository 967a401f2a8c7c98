// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every engine, and one way to judge any of them by the oracle.
//!
//! In: a [`Case`]. Out: nothing if each row and lse obeys its bound, else the worst of them in words.

use attnc::pipeline::{self, Choices, Plan};
use attnc::{
    Amount, Backend, Compiler, Inputs, Outcome, Signature, Source, Verified, VerifyOptions,
    execute, madds_formula, verify,
};

use attnc_codegen_cpu::{CpuTarget, Detect, Family, Part, Program, compile_parts};
use attnc_tensor::View;

use crate::bochs::{self, Processor};
use crate::random::Case;

/// An engine with how it is to compile.
#[derive(Clone, Debug)]
pub struct Engine {
    /// What runs.
    pub backend: Backend,
    /// Grouping of branches; none: the unfused graph, as lowered (graph interpreter only).
    pub plan: Option<Plan>,
    /// Rules to leave out.
    pub without: Vec<String>,
    /// Whose schedule the tile program follows.
    pub target: &'static str,
    /// Workers.
    pub threads: usize,
    /// The processor of a guest that is to run the machine code; none: this machine.
    pub guest: Option<&'static Processor>,
}

/// The targets that this machine runs; the others of its family are named once as skipped.
pub fn targets() -> Vec<CpuTarget> {
    static TOLD: std::sync::Once = std::sync::Once::new();
    let (here, lacking): (Vec<_>, Vec<_>) = CpuTarget::ALL
        .into_iter()
        .filter(|t| Family::here() == Some(t.family()))
        .partition(|t| t.runs_here());
    TOLD.call_once(|| {
        for t in lacking {
            println!("skipped: this machine does not run {}", t.name());
        }
    });
    here
}

impl Engine {
    /// A backend under a plan, for the portable target of this machine.
    pub fn new(backend: Backend, plan: Option<Plan>, threads: usize) -> Engine {
        Engine {
            backend,
            plan,
            without: Vec::new(),
            target: std::env::consts::ARCH,
            threads,
            guest: None,
        }
    }

    /// Every engine that computes: the graph interpreter unfused and fused, the tile interpreter under the schedules of the narrowest and
    /// the widest CPU and of a GPU, and machine code; all shared and branch by branch, but the widest CPU's shared only.
    pub fn all() -> Vec<Engine> {
        let mut all = vec![Engine::new(Backend::InterpGraph, None, 1)];
        for plan in [Plan::Share, Plan::Each] {
            all.push(Engine::new(Backend::InterpGraph, Some(plan), 1));
            all.push(Engine::new(Backend::InterpTile, Some(plan), 3));
            all.push(Engine {
                target: "sm_80",
                ..Engine::new(Backend::InterpTile, Some(plan), 2)
            });
            all.extend(Engine::machine_code(Some(plan), 2));
        }
        all.push(Engine {
            target: "x86_64-amx",
            ..Engine::new(Backend::InterpTile, Some(Plan::Share), 2)
        });
        all
    }

    /// Machine code for every target that this machine runs.
    pub fn machine_code(plan: Option<Plan>, threads: usize) -> Vec<Engine> {
        targets()
            .into_iter()
            .map(|t| Engine {
                target: t.name(),
                ..Engine::new(Backend::Cpu, plan, threads)
            })
            .collect()
    }

    /// Machine code for a target on the processors that it is for, emulated: a hundred times slower than they would be.
    pub fn emulated(target: CpuTarget, plan: Option<Plan>) -> Vec<Engine> {
        let guest = |p| Engine {
            target: target.name(),
            guest: Some(p),
            ..Engine::new(Backend::Cpu, plan, 1)
        };
        bochs::processors(target)
            .iter()
            .map(|p| guest(*p))
            .collect()
    }

    /// Why this engine does not run a case; none: it runs it.
    pub fn skips(&self, c: &Case) -> Option<&'static str> {
        let once = self.backend == Backend::Cpu && self.guest.is_none();
        if c.op.branches.len() > 100 && !once {
            return Some("compiling a thousand branches takes seconds; once for each plan will do");
        }
        let work = madds_formula(&c.op, c.batch as u64, c.seq_len as u64);
        let most = match self.backend {
            Backend::Cpu if self.guest.is_some() => 1 << 21,
            Backend::InterpGraph | Backend::InterpTile => 1 << 22,
            Backend::Cpu | Backend::Oracle | Backend::PtxEmulator | Backend::Cuda => 1 << 27,
        };
        (work > most).then_some(
            "an unoptimised engine or the oracle would take minutes for so many products",
        )
    }

    /// Runs a case.
    ///
    /// # Errors
    /// What the compiler or the engine says.
    pub fn run(&self, c: &Case, x: &Inputs) -> Result<Outcome, String> {
        let mut source = Source::from(&c.op);
        if self.plan.is_none() {
            // As if the lowered graph were the fused one: nothing rewrites it.
            let text = attnc_graph::lower(&c.op).map_err(|e| e.to_string())?;
            let text = attnc_graph::print(&text).replacen("graph", "fused", 1);
            source = Source::Graph(attnc_graph::parse(&text).map_err(|e| e.to_string())?);
        }
        if let Some(processor) = self.guest {
            let program = self.program(c, Detect::Machine)?;
            let done = bochs::forward(&program, &c.op, x, processor);
            return done.map(|d| d.outcome).map_err(|e| e.to_string());
        }
        let engine = Compiler::with(self.choices()).engine(&source, self.backend);
        let engine = engine.map_err(|e| e.to_string())?;
        let signature = Signature::from(&c.op);
        execute(&*engine, &signature, x, self.threads, 1, &|_| ()).map_err(|e| e.to_string())
    }

    /// The program that an object file for the target holds.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn program(&self, c: &Case, detect: Detect) -> Result<Program, String> {
        let target = CpuTarget::of_name(self.target).ok_or("no machine code for this target")?;
        let choices = self.choices();
        let graph = pipeline::graph(&c.op).map_err(|e| e.to_string())?;
        let fused = pipeline::fuse(&graph, &choices).map_err(|e| e.to_string())?;
        let cores = pipeline::tiles(&fused.graph, &choices).map_err(|e| e.to_string())?;
        let parts: Vec<Part<'_>> = cores.iter().map(|c| Part::of(c, target)).collect();
        compile_parts(&parts, detect).map_err(|e| e.to_string())
    }

    fn choices(&self) -> Choices {
        Choices {
            plan: self.plan.unwrap_or(Plan::Auto),
            without: self.without.clone(),
            ..Choices::new(self.target)
        }
    }

    /// Runs a case and judges every row of it by the oracle.
    ///
    /// # Errors
    /// A failure of the engine, or the worst row.
    pub fn check(&self, c: &Case) -> Result<Outcome, String> {
        let s = Signature::from(&c.op);
        let x = Inputs::generate(&s, c.batch as u64, c.seq_len as u64, c.seed)
            .map_err(|e| e.to_string())?;
        let got = self.run(c, &x).map_err(|e| format!("{self:?}: {e}"))?;
        self.judge(c, &x, &got)?;
        Ok(got)
    }

    /// Judges every row of a result.
    ///
    /// # Errors
    /// The worst row.
    pub fn judge(&self, c: &Case, x: &Inputs, got: &Outcome) -> Result<Verified, String> {
        let v = self.compare(c, x, &got.out.view(), &got.lse.view())?;
        if v.verdict.passed {
            Ok(v)
        } else {
            Err(format!("{self:?}: {:?}, {:?}", v.verdict, v.worst))
        }
    }

    /// Compares every row of `out` and `lse` with the oracle.
    ///
    /// # Errors
    /// Shapes that do not belong to the case.
    pub fn compare(
        &self,
        c: &Case,
        x: &Inputs,
        out: &View<'_>,
        lse: &View<'_>,
    ) -> Result<Verified, String> {
        let options = VerifyOptions {
            amount: Amount::All,
            seed: 0,
            boundaries: &[],
            place: self.backend.place(),
            threads: 1,
        };
        verify(&c.op, x, out, lse, &options, &|_| ()).map_err(|e| e.to_string())
    }
}
