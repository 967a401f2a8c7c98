// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A compiled program in this process.
//!
//! In: a [`Core`]. Out: a [`Jit`] whose `plan` and `run` are the generated functions. The memory of the code lives as long as the `Jit`.

use attnc_tile::core::Core;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::default_libcall_names;

use crate::compile::compile;
use crate::layout::{Args, Layout};

/// Why code could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    /// The machine has no Cranelift back end.
    #[error("this machine's processor is not one that the code generator knows: {0}")]
    Machine(&'static str),
    /// Cranelift refused a setting: a bug of ours.
    #[error(transparent)]
    Setting(#[from] cranelift_codegen::settings::SetError),
    /// Cranelift refused the combination of settings.
    #[error(transparent)]
    Codegen(#[from] cranelift_codegen::CodegenError),
    /// Cranelift refused a function: a bug of ours.
    #[error(transparent)]
    Module(#[from] Box<cranelift_module::ModuleError>),
}

type PlanFn = extern "C" fn(*const Args, *mut u8) -> i64;
type RunFn = extern "C" fn(*const u8, i64, i64, *mut u8) -> i64;

/// A program compiled for this machine.
pub struct Jit {
    module: Option<JITModule>,
    plan: PlanFn,
    run: RunFn,
    layout: Layout,
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

impl Jit {
    /// Compiles `core` for the processor this runs on.
    ///
    /// # Errors
    /// When the processor is unknown, or (a bug) Cranelift refuses the code.
    pub fn new(core: &Core) -> Result<Jit, CodegenError> {
        let mut flags = settings::builder();
        // The instruction scheduling of `speed` undoes the register tile of the dots; `none` keeps the order that is written.
        flags.set("opt_level", "none")?;
        flags.set("is_pic", "false")?;
        flags.set("use_colocated_libcalls", "false")?;
        flags.set(
            "enable_verifier",
            if cfg!(debug_assertions) {
                "true"
            } else {
                "false"
            },
        )?;
        let isa = cranelift_native::builder()
            .map_err(CodegenError::Machine)?
            .finish(settings::Flags::new(flags))?;
        let fma = fma_available();
        let mut module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
        let entries = compile(&mut module, core, fma)?;
        module.finalize_definitions().map_err(Box::new)?;
        let (plan, run) = (
            module.get_finalized_function(entries.plan),
            module.get_finalized_function(entries.run),
        );
        // SAFETY: both were compiled just now with exactly these signatures in the C calling convention, and the module that owns
        // their memory is kept beside them.
        #[allow(unsafe_code)]
        let (plan, run) = unsafe {
            (
                std::mem::transmute::<*const u8, PlanFn>(plan),
                std::mem::transmute::<*const u8, RunFn>(run),
            )
        };
        Ok(Jit {
            module: Some(module),
            plan,
            run,
            layout: Layout::of(core),
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

    /// Runs the tasks first..last.
    ///
    /// # Safety
    /// `plan` was filled by [`Jit::plan`] of this object; the tensors its arguments name are alive, as long as their strides reach, and
    /// their outputs not read or written elsewhere except by `run` calls for other tasks; `workspace` points at
    /// `layout().workspace_bytes` bytes, aligned to 64, that belong to this call.
    #[allow(unsafe_code)]
    pub unsafe fn run(&self, plan: &[u64], first: i64, last: i64, workspace: *mut u8) -> i64 {
        (self.run)(plan.as_ptr().cast(), first, last, workspace)
    }
}

impl Drop for Jit {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the two function pointers die with this object, and `run` borrows it.
            #[allow(unsafe_code)]
            unsafe {
                module.free_memory();
            }
        }
    }
}

/// Whether this machine multiplies and adds in one instruction.
fn fma_available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(target_arch = "x86_64"))]
    true
}
