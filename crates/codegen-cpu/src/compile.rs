// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A whole core program to machine code: tables, moves and tile functions (once a level), and the entry points of the C ABI.
//!
//! In: a [`Core`] and a processor family. Out: a [`Program`]: bytes and relocations, the same for memory, object files and listings.

use attnc_tile::core::{Buf, Core, Elem, Inst, KEY_STEP};
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{
    ExtFuncData, ExternalName, FuncRef, GlobalValue, GlobalValueData, InstBuilder,
    UserExternalName, UserFuncName, Value,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, ModuleReloc, ModuleRelocTarget};
use target_lexicon::Triple;

use crate::detect;
use crate::dots::{Dot, dots};
use crate::entry;
use crate::fx::Fx;
use crate::kernel::{Names, moves};
use crate::layout::Layout;
use crate::moves::Move;
use crate::program::{CodegenError, Data, Entries, Function, Program, Returns, signature};
use crate::target::{CpuTarget, Level};
use crate::tiles;

/// What one program holds while it is filled.
pub(crate) struct Unit<'c> {
    pub(crate) core: &'c Core,
    pub(crate) target: CpuTarget,
    layout: &'c Layout,
    pool: FunctionBuilderContext,
    functions: Vec<Function>,
    /// The levels of the program, lowest first.
    levels: &'c [Level],
    /// Whether the functions' CLIF is kept.
    clif: bool,
}

/// The functions of one level.
struct Body {
    level: Level,
    isa: OwnedTargetIsa,
    moves: Vec<(Move, usize)>,
    fns: Vec<usize>,
}

/// How a function looks from outside.
pub(crate) struct Head<'a> {
    pub(crate) name: &'a str,
    pub(crate) params: usize,
    pub(crate) returns: Returns,
    pub(crate) export: bool,
    /// Whether the body names moves, tile functions and tables.
    pub(crate) names: bool,
}

impl<'a> Head<'a> {
    fn local(name: &'a str, params: usize) -> Head<'a> {
        Head {
            name,
            params,
            returns: Returns::Nothing,
            export: false,
            names: false,
        }
    }
}

/// A function under construction: its builder, what it can name, and how it calls functions of the program.
pub(crate) struct Under<'a, 'f> {
    pub(crate) fx: Fx<'f>,
    pub(crate) args: Vec<Value>,
    pub(crate) names: Names<'a>,
    /// Functions asked for in advance, in that order.
    pub(crate) calls: Vec<FuncRef>,
    /// The levels of the program, lowest first.
    pub(crate) levels: &'a [Level],
}

/// Compiles `core` for `target` on any Linux.
///
/// # Errors
/// What Cranelift refuses: a bug of ours.
pub fn compile(core: &Core, target: CpuTarget) -> Result<Program, CodegenError> {
    compile_for(core, target, &target.linux(), target.levels(), false)
}

/// The first thing in a program that only a block of warps can do.
fn block_only(core: &Core) -> Option<String> {
    fn inside(code: &[Inst]) -> Option<&'static str> {
        code.iter().find_map(|inst| match inst {
            Inst::Gather { ahead: true, .. } => Some("an asynchronous gather"),
            Inst::Inspect(..) => Some("`inspect`"),
            Inst::Queued(_) => Some("`queued`"),
            Inst::Commit => Some("`commit`"),
            Inst::Wait(_) => Some("`wait`"),
            Inst::Release => Some("`release`"),
            Inst::Barrier => Some("`barrier`"),
            Inst::For { .. } | Inst::Walk { .. } | Inst::If { .. } => {
                inst.blocks().into_iter().find_map(inside)
            }
            Inst::Const(..)
            | Inst::Arg(..)
            | Inst::Bin(..)
            | Inst::Select(..)
            | Inst::Table(..)
            | Inst::Plan(..)
            | Inst::PlanStore(..)
            | Inst::Load(..)
            | Inst::Store(..)
            | Inst::Floats { .. }
            | Inst::Gather { ahead: false, .. }
            | Inst::Scatter { .. }
            | Inst::Fill { .. }
            | Inst::Call { .. } => None,
        })
    }
    for (name, x) in [("warps", core.warps), ("stages", core.stages)] {
        if x != 1 {
            return Some(format!("{x} {name}"));
        }
    }
    let strange = |b: &&Buf| b.staged || b.elem == Elem::Data;
    if let Some(b) = core.bufs.iter().find(strange) {
        return Some(format!("the staged or unconverted buffer `{}`", b.name));
    }
    inside(&core.body).map(str::to_string)
}

/// Compiles `core` for some levels of `target`, at least one, under the calling convention of `triple`; `clif`: keep Cranelift's form.
pub(crate) fn compile_for(
    core: &Core,
    target: CpuTarget,
    triple: &Triple,
    levels: &[Level],
    clif: bool,
) -> Result<Program, CodegenError> {
    if core.key_step != KEY_STEP {
        let found = core.key_step;
        return Err(CodegenError::KeyStep { found });
    }
    if let Some(what) = block_only(core) {
        return Err(CodegenError::Block { what });
    }
    let data = core
        .tables
        .iter()
        .map(|t| Data {
            name: format!("attnc_{}.{}", core.name, t.name),
            bytes: t.data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        })
        .collect();
    let layout = Layout::of(core);
    let mut u = Unit {
        core,
        target,
        layout: &layout,
        pool: FunctionBuilderContext::new(),
        functions: Vec::new(),
        levels,
        clif,
    };
    let body = |level| -> Result<_, CodegenError> {
        Ok(Body {
            level,
            isa: target.isa(triple.clone(), level)?,
            moves: Vec::new(),
            fns: Vec::new(),
        })
    };
    let mut runs = Vec::new();
    let mut entries = body(Level::Base)?;
    for &level in levels {
        let mut b = body(level)?;
        runs.push(u.body(&mut b)?);
        if runs.len() == 1 {
            // What `plan` calls must run wherever the program does: the lowest level's.
            (entries.moves, entries.fns) = (b.moves, b.fns);
        }
    }
    let detect = if levels.len() > 1 {
        detect::function(target, &core.name)?.map(|f| u.push(f))
    } else {
        None
    };
    let entries = u.entries(&entries, detect, &runs)?;
    let functions = u.functions;
    Ok(Program {
        target,
        layout,
        functions,
        data,
        entries,
    })
}

impl Unit<'_> {
    fn push(&mut self, f: Function) -> usize {
        self.functions.push(f);
        self.functions.len() - 1
    }

    /// Moves, tile functions and the task loop of a level; yields the latter.
    fn body(&mut self, body: &mut Body) -> Result<usize, CodegenError> {
        let core = self.core;
        // A magnitude of 0 would make every element careful; thresholds are positive.
        let careful = core.careful_above.to_bits().max(1);
        let name = |of: &str| format!("attnc_{}.{}.{of}", core.name, body.level.name());
        for kind in moves(core) {
            let name = name(&kind.name());
            let id = self.function(body, Head::local(&name, kind.params()), &[], |u| {
                crate::moves::lower(&mut u.fx, kind, &u.args, careful);
            })?;
            body.moves.push((kind, id));
        }
        let kinds = dots(core);
        let mut made = Vec::new();
        for dot in &kinds {
            let name = name(&dot.name());
            let head = Head::local(&name, Dot::PARAMS);
            made.push(self.function(body, head, &[], |u| {
                crate::dots::lower(&mut u.fx, *dot, &u.args);
            })?);
        }
        for f in &core.fns {
            let name = name(&f.name);
            let params = f.tiles.len() + f.scalars.len() + 1;
            let id = self.function(body, Head::local(&name, params), &made, |u| {
                let dots: Vec<_> = kinds.iter().copied().zip(u.calls.iter().copied()).collect();
                tiles::lower(&mut u.fx, f, &dots, &u.args);
            })?;
            body.fns.push(id);
        }
        let name = format!("attnc_{}.{}.tasks", core.name, body.level.name());
        let head = Head {
            names: true,
            ..Head::local(&name, 4)
        };
        self.function(body, head, &[], entry::tasks)
    }

    /// The entry points of the C ABI.
    fn entries(
        &mut self,
        base: &Body,
        level: Option<usize>,
        runs: &[usize],
    ) -> Result<Entries, CodegenError> {
        let head = |params, returns| Head {
            name: "",
            params,
            returns,
            export: true,
            names: false,
        };
        let mut add = |of: &str, head: Head<'_>, calls: &[usize], make: fn(&mut Under<'_, '_>)| {
            let name = format!("attnc_{}_{of}", self.core.name);
            let head = Head {
                name: &name,
                ..head
            };
            self.function(base, head, calls, make)
        };
        let plan = Head {
            names: true,
            ..head(2, Returns::Int64)
        };
        let detect: Vec<usize> = level.into_iter().collect();
        let plan = add("plan", plan, &detect, entry::plan)?;
        let workspace = add("workspace", head(1, Returns::Int64), &[], entry::workspace)?;
        let run = add("run", head(4, Returns::Int32), runs, entry::run)?;
        add(
            "forward",
            head(2, Returns::Int32),
            &[plan, run],
            entry::forward,
        )?;
        Ok(Entries {
            plan,
            workspace,
            run,
        })
    }

    /// Cranelift's form with names instead of numbers, in its own notation for names.
    fn named(&self, ctx: &Context, name: &str) -> String {
        let mut s = ctx.func.display().to_string();
        let own = ctx.func.name.to_string();
        s = s.replacen(&own, &format!("%{name}"), 1);
        // Highest first: one number may be the beginning of another.
        for (i, to) in ctx.func.params.user_named_funcs().iter().rev() {
            let place = to.index as usize;
            let (old, name) = if to.namespace == 0 {
                (format!("{to} "), format!("{} ", self.functions[place].name))
            } else {
                let table = &self.core.tables[place].name;
                (i.to_string(), format!("attnc_{}.{table}", self.core.name))
            };
            s = s.replace(&format!("colocated {old}"), &format!("colocated %{name}"));
        }
        s
    }

    /// Builds and compiles one function; a body that has not returned returns zero.
    fn function(
        &mut self,
        body: &Body,
        head: Head<'_>,
        calls: &[usize],
        make: impl FnOnce(&mut Under<'_, '_>),
    ) -> Result<usize, CodegenError> {
        let conv = CallConv::triple_default(body.isa.triple());
        let mut ctx = Context::new();
        ctx.func.signature = signature(head.params, head.returns, conv);
        let place = self.functions.len();
        ctx.func.name = UserFuncName::user(0, place as u32);
        let mut import = |i: usize| {
            let f = &self.functions[i];
            let sig = ctx
                .func
                .import_signature(signature(f.params, f.returns, conv));
            let name = ctx
                .func
                .declare_imported_user_function(UserExternalName::new(0, i as u32));
            ctx.func.import_function(ExtFuncData {
                name: ExternalName::user(name),
                signature: sig,
                colocated: true,
                patchable: false,
            })
        };
        let (moves, fns): (&[_], &[_]) = if head.names {
            (&body.moves, &body.fns)
        } else {
            (&[], &[])
        };
        let moves = moves.iter().map(|(k, i)| (*k, import(*i))).collect();
        let fns = fns.iter().map(|i| import(*i)).collect();
        let calls = calls.iter().map(|i| import(*i)).collect();
        let tables: Vec<GlobalValue> = (0..if head.names {
            self.core.tables.len()
        } else {
            0
        })
            .map(|i| {
                let name = ctx
                    .func
                    .declare_imported_user_function(UserExternalName::new(1, i as u32));
                ctx.func.create_global_value(GlobalValueData::Symbol {
                    name: ExternalName::user(name),
                    offset: 0.into(),
                    colocated: true,
                    tls: false,
                })
            })
            .collect();
        let names = Names {
            core: self.core,
            layout: self.layout,
            moves,
            fns,
            tables,
        };
        let mut b = FunctionBuilder::new(&mut ctx.func, &mut self.pool);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let args = b.block_params(entry).to_vec();
        let fma = self.target.fused(body.level);
        let mut under = Under {
            fx: Fx { b, fma },
            args,
            names,
            calls,
            levels: self.levels,
        };
        make(&mut under);
        let mut fx = under.fx;
        match head.returns {
            Returns::Nothing => {
                fx.b.ins().return_(&[]);
            }
            Returns::Int32 => {
                let zero = fx.int32(0);
                fx.b.ins().return_(&[zero]);
            }
            Returns::Int64 => {
                let zero = fx.int(0);
                fx.b.ins().return_(&[zero]);
            }
        }
        fx.b.seal_all_blocks();
        fx.b.finalize(body.isa.frontend_config());
        let clif = if self.clif {
            self.named(&ctx, head.name)
        } else {
            String::new()
        };
        let code = ctx
            .compile(&*body.isa, &mut ControlPlane::default())
            .map_err(|e| e.inner)?;
        let (bytes, align) = (
            code.code_buffer().to_vec(),
            u64::from(code.buffer.alignment),
        );
        let relocs: Vec<_> = code.buffer.relocs().to_vec();
        let relocs: Vec<ModuleReloc> = relocs
            .iter()
            .map(|r| ModuleReloc::from_mach_reloc(r, &ctx.func, FuncId::from_u32(place as u32)))
            .collect();
        for r in &relocs {
            if let ModuleRelocTarget::LibCall(_) | ModuleRelocTarget::KnownSymbol(_) = &r.name {
                return Err(CodegenError::Foreign {
                    function: head.name.to_string(),
                    symbol: r.name.to_string(),
                });
            }
        }
        Ok(self.push(Function {
            name: head.name.to_string(),
            export: head.export,
            params: head.params,
            returns: head.returns,
            align: align.max(16),
            bytes,
            relocs,
            clif,
        }))
    }
}
