// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A compiled program in this process.
//!
//! In: a [`Core`], or the [`Program`] made from it. Out: a [`Jit`] whose entry points are the generated functions of the C ABI. The
//! memory of the code lives as long as the `Jit`.

use attnc_tile::core::Core;
use attnc_tile::step::Panels;
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};
use target_lexicon::Triple;

use crate::compile::{Part, compile_for};
use crate::detect::{self, Detect};
use crate::features::{Feature, Features};
use crate::layout::{Args, Layout};
use crate::program::{CodegenError, Program, signature};
use crate::target::{CpuTarget, Family, Level};

type PlanFn = extern "C" fn(*const Args, *mut u8) -> i64;
type WorkspaceFn = extern "C" fn(*const u8) -> usize;
type RunFn = extern "C" fn(*const u8, i64, i64, *mut u8) -> i32;

/// What the detecting function of generated code finds on this machine, as bits of a set; none where it cannot run.
pub(crate) fn features() -> Option<u32> {
    if Family::here() != Some(Family::X86_64) {
        return None;
    }
    // What a system must be asked for is asked for in the words of Linux.
    let askable = |f: &Feature| cfg!(target_os = "linux") || !f.asked_for();
    let wanted: Vec<Feature> = Feature::ALL.into_iter().filter(askable).collect();
    let f = detect::function(Detect::Machine, Features::of(&wanted), "here").ok()??;
    let isa = CpuTarget::X86_64.isa(Triple::host(), Level::Base).ok()?;
    let mut module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
    let conv = module.target_config().default_call_conv;
    let signature = signature(f.params, f.returns, conv);
    let id = module.declare_function(&f.name, Linkage::Local, &signature);
    let id = id.ok()?;
    module
        .define_function_bytes(id, f.align, &f.bytes, &f.relocs)
        .ok()?;
    module.finalize_definitions().ok()?;
    let at = module.get_finalized_function(id);
    // SAFETY: the function takes no arguments, returns an integer and keeps what callers keep under either convention of this family,
    // whose machine this is; its memory is given back after the only call.
    #[allow(unsafe_code)]
    let found = unsafe {
        let found = std::mem::transmute::<*const u8, extern "C" fn() -> u32>(at)();
        module.free_memory();
        found
    };
    Some(found)
}

/// A program compiled for this machine.
pub struct Jit {
    module: Option<JITModule>,
    plan: PlanFn,
    workspace: WorkspaceFn,
    run: RunFn,
    layout: Layout,
    /// Where every function stands, in the program's order.
    places: Vec<Place>,
}

/// A function in memory.
struct Place {
    name: String,
    at: *const u8,
    len: usize,
}

// SAFETY: the module is not touched again until it is dropped with exclusive access; its code is immutable and reentrant, for all its
// state stands in the plan and the workspace that each call brings.
#[allow(unsafe_code)]
unsafe impl Sync for Jit {}
// SAFETY: as above; nothing in the module belongs to the thread that made it.
#[allow(unsafe_code)]
unsafe impl Send for Jit {}

impl std::fmt::Debug for Jit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jit")
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// Address space for a program's code and tables: one piece, so that 32-bit distances reach.
fn reserve(p: &Program) -> usize {
    let code: usize = p.functions.iter().map(|f| f.bytes.len() + 64).sum();
    let data: usize = p.data.iter().map(|d| d.bytes.len() + 64).sum();
    (code + data + (1 << 20)).next_multiple_of(1 << 16)
}

impl Jit {
    /// Compiles `core` for its target, and of that target's levels only the highest that the machine has: compiling stands before
    /// every first run. Its functions are byte for byte those of the whole program; only `plan` and `run`, which choose, differ.
    ///
    /// # Errors
    /// When this machine does not run the target, or (a bug) Cranelift refuses the code.
    pub fn compile(core: &Core) -> Result<Program, CodegenError> {
        let target = CpuTarget::of_name(&core.target)
            .ok_or_else(|| CodegenError::Foreigner(core.target.clone()))?;
        let level = Jit::best_level(target, Panels::of(core));
        let level = level.ok_or(CodegenError::OtherMachine(target.name()))?;
        let part = Part {
            core,
            target,
            levels: &[level],
        };
        compile_for(&[part], &Triple::host(), Detect::Trusted, false)
    }

    /// The highest level that this machine has of those of `target` for such panels: the one that [`Jit::compile`] makes.
    pub fn best_level(target: CpuTarget, panels: Panels) -> Option<Level> {
        let levels = target.levels_of(panels).iter().filter(|l| l.here()).max();
        levels.copied().filter(|_| target.runs_here())
    }

    /// [`Jit::compile`], put into memory.
    ///
    /// # Errors
    /// As there, and no memory.
    pub fn new(core: &Core) -> Result<Jit, CodegenError> {
        Jit::link(&Jit::compile(core)?)
    }

    /// Puts a program into memory.
    ///
    /// # Errors
    /// A program for another processor; no memory.
    pub fn link(program: &Program) -> Result<Jit, CodegenError> {
        let target = program.target();
        if !target.runs_here() {
            return Err(CodegenError::OtherMachine(target.name()));
        }
        let isa = target.isa(Triple::host(), Level::Base)?;
        let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
        let memory = ArenaMemoryProvider::new_with_size(reserve(program))
            .map_err(|e| CodegenError::Memory(e.to_string()))?;
        builder.memory_provider(Box::new(memory));
        let mut module = JITModule::new(builder);
        let ids = program.link(&mut module)?;
        module.finalize_definitions()?;
        let at = |id: FuncId| module.get_finalized_function(id);
        let e = program.entries;
        let places = ids
            .iter()
            .zip(&program.functions)
            .map(|(id, f)| Place {
                name: f.name.clone(),
                at: at(*id),
                len: f.bytes.len(),
            })
            .collect();
        let [plan, workspace, run] = [e.plan, e.workspace, e.run].map(|i| at(ids[i]));
        // SAFETY: all were compiled with exactly these signatures in this machine's C calling convention (a program for another family is
        // refused above), and the module that owns their memory is kept beside them.
        #[allow(unsafe_code)]
        let (plan, workspace, run) = unsafe {
            (
                std::mem::transmute::<*const u8, PlanFn>(plan),
                std::mem::transmute::<*const u8, WorkspaceFn>(workspace),
                std::mem::transmute::<*const u8, RunFn>(run),
            )
        };
        Ok(Jit {
            module: Some(module),
            plan,
            workspace,
            run,
            layout: program.layout().clone(),
            places,
        })
    }

    /// Sizes and offsets of the structures.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Fills `plan` (of `layout().plan_bytes` bytes, aligned to 8); yields the number of tasks or a negative code.
    pub fn plan(&self, args: &Args, plan: &mut [u64]) -> i64 {
        if plan.len() * 8 < self.layout.plan_bytes {
            return crate::layout::ERROR_ABI;
        }
        (self.plan)(args, plan.as_mut_ptr().cast())
    }

    /// Bytes that one worker needs; 0 for what is no plan of this program.
    pub fn workspace(&self, plan: &[u64]) -> usize {
        if plan.len() * 8 < self.layout.plan_bytes {
            return 0;
        }
        (self.workspace)(plan.as_ptr().cast())
    }

    /// The body that `plan` has chosen; none for what is no plan.
    pub fn level(&self, plan: &[u64]) -> Option<Level> {
        Level::of_plan(plan)
    }

    /// Runs the tasks first..last; 0 or a negative code.
    ///
    /// # Safety
    /// `plan` was filled by [`Jit::plan`] of this object; the tensors its arguments name are alive, as long as their strides reach, and
    /// their outputs not read or written elsewhere except by `run` calls for other tasks; `workspace` points at
    /// [`Jit::workspace`] bytes, aligned to 64, that belong to this call.
    #[allow(unsafe_code)]
    pub unsafe fn run(&self, plan: &[u64], first: i64, last: i64, workspace: *mut u8) -> i32 {
        (self.run)(plan.as_ptr().cast(), first, last, workspace)
    }

    /// The bytes of every function as they stand in memory, in the program's order.
    pub fn code(&self) -> Vec<&[u8]> {
        self.places.iter().map(|p| self.bytes(p)).collect()
    }

    /// The bytes of one function as they stand in memory.
    pub fn function(&self, name: &str) -> Option<&[u8]> {
        let found = self.places.iter().find(|p| p.name == name);
        found.map(|p| self.bytes(p))
    }

    fn bytes(&self, p: &Place) -> &[u8] {
        // SAFETY: the module put a function of this length there and owns its memory, readable and unchanging, as long as `self`.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(p.at, p.len)
        }
    }
}

impl Drop for Jit {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the function pointers die with this object, and `run` and `code` borrow it.
            #[allow(unsafe_code)]
            unsafe {
                module.free_memory();
            }
        }
    }
}
