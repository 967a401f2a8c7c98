// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A whole core program to machine code: tables, moves and tile functions (once a level), and the entry points of the C ABI.
//!
//! In: a [`Core`] and a processor family. Out: a [`Program`]: bytes and relocations, the same for memory, object files and listings.

use attnc_tile::core::{Core, Inst, QUERY_STEP, TileFn};
use attnc_tile::step::Panels;
use cranelift_codegen::Context;
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{
    ExtFuncData, ExternalName, FuncRef, GlobalValue, GlobalValueData, InstBuilder,
    UserExternalName, UserFuncName, Value,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, ModuleReloc, ModuleRelocTarget};
use target_lexicon::Triple;

use crate::claims;
use crate::control;
use crate::detect::{self, Detect};
use crate::dots::{Dot, dots};
use crate::entry;
use crate::features::Features;
use crate::fx::Fx;
use crate::kernel::{Names, moves};
use crate::layout::Layout;
use crate::moves::Move;
use crate::panels;
use crate::program::{CodegenError, Data, Entries, Function, Program, Returns, signature};
use crate::target::{CpuTarget, Level};
use crate::tiles;

/// A core program that a program holds, and the levels at which it is compiled there. The parts of one program are one operator under
/// several schedules: each has plan tables and a workspace of its own, and `plan` chooses between all levels of all parts.
#[derive(Clone, Copy, Debug)]
pub struct Part<'c> {
    /// The core program.
    pub core: &'c Core,
    /// What it was scheduled for.
    pub target: CpuTarget,
    /// At least one, lowest first.
    pub levels: &'c [Level],
}

impl<'c> Part<'c> {
    /// `core` at every level that `target` has for it.
    pub fn of(core: &'c Core, target: CpuTarget) -> Part<'c> {
        Part {
            core,
            target,
            levels: target.levels_of(Panels::of(core)),
        }
    }
}

/// A body that `plan` can choose, by its functions' places in the program.
pub(crate) struct Choice {
    pub(crate) level: Level,
    /// Fills the plan tables, yields the number of tasks.
    pub(crate) tables: usize,
    /// Runs a range of tasks.
    pub(crate) tasks: usize,
    pub(crate) workspace_bytes: usize,
}

/// What the entry points must know of the whole program.
pub(crate) struct Choices {
    /// Lowest level first, at least one.
    pub(crate) all: Vec<Choice>,
    /// Whether `plan` asks what the machine has; it takes the last choice otherwise.
    pub(crate) asks: bool,
    /// What a body runs under.
    pub(crate) control: i64,
    /// Size of the plan structure, the largest of the parts'.
    pub(crate) plan_bytes: usize,
}

/// What one program holds while it is filled.
struct Unit {
    op: String,
    pool: FunctionBuilderContext,
    functions: Vec<Function>,
    data: Vec<Data>,
    choices: Choices,
    /// Whether the functions' CLIF is kept.
    clif: bool,
}

/// The functions of one part at one level.
struct Body<'c> {
    core: &'c Core,
    layout: &'c Layout,
    /// The place of the core program's first table in the program.
    first_table: usize,
    target: CpuTarget,
    level: Level,
    isa: OwnedTargetIsa,
    moves: Vec<(Move, usize)>,
    fns: Vec<usize>,
    /// Lanes and keys that each of `fns` computes in multiples of.
    steps: Vec<(u32, u32)>,
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
    /// The bodies of the program; none before all are compiled.
    pub(crate) choices: &'a Choices,
}

/// Compiles `core` for `target` on any Linux.
///
/// # Errors
/// What Cranelift refuses: a bug of ours.
pub fn compile(core: &Core, target: CpuTarget) -> Result<Program, CodegenError> {
    compile_parts(&[Part::of(core, target)], Detect::Machine)
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
    if let Some(b) = core.bufs.iter().find(|b| b.staged) {
        return Some(format!("the staged buffer `{}`", b.name));
    }
    inside(&core.body).map(str::to_string)
}

/// Compiles one operator under several schedules into one program for any Linux, whose `plan` chooses among all their levels the highest
/// that the machine has.
///
/// # Errors
/// Parts of several processor families or operators, or that share a level; what Cranelift refuses: a bug of ours.
pub fn compile_parts(parts: &[Part<'_>], detect: Detect) -> Result<Program, CodegenError> {
    let first = parts.first().ok_or(CodegenError::Empty)?;
    compile_for(parts, &first.target.linux(), detect, false)
}

/// Compiles `parts` under the calling convention of `triple`; `clif`: keep Cranelift's form.
pub(crate) fn compile_for(
    parts: &[Part<'_>],
    triple: &Triple,
    detect: Detect,
    clif: bool,
) -> Result<Program, CodegenError> {
    let mut parts = parts.to_vec();
    parts.sort_by_key(|p| p.levels.first().copied());
    let first = *parts.first().ok_or(CodegenError::Empty)?;
    let mut levels: Vec<Level> = Vec::new();
    for p in &parts {
        if let Some(what) = block_only(p.core) {
            return Err(CodegenError::Block { what });
        }
        if let Some(what) = panels::unknown(p.core) {
            return Err(CodegenError::Panel { what });
        }
        if p.target.family() != first.target.family() {
            let (a, b) = (first.target.name(), p.target.name());
            return Err(CodegenError::MixedFamilies(a, b));
        }
        if p.core.name != first.core.name {
            let names = [&first.core.name, &p.core.name].map(Clone::clone);
            return Err(CodegenError::Operators(names));
        }
        for level in p.levels {
            if levels.contains(level) {
                return Err(CodegenError::Twice(level.name()));
            }
            levels.push(*level);
        }
    }
    let layouts: Vec<Layout> = parts.iter().map(|p| Layout::of(p.core)).collect();
    let mut u = Unit {
        op: first.core.name.clone(),
        pool: FunctionBuilderContext::new(),
        functions: Vec::new(),
        data: Vec::new(),
        choices: Choices {
            all: Vec::new(),
            asks: false,
            control: control::setting(first.target.family()),
            plan_bytes: layouts.iter().map(|l| l.plan_bytes).max().unwrap_or(0),
        },
        clif,
    };
    for (part, layout) in parts.iter().zip(&layouts) {
        u.part(part, layout, triple)?;
    }
    u.choices.all.sort_by_key(|c| c.level);
    let wanted = levels.iter().map(|l| l.needs());
    let wanted = wanted.fold(Features::NONE, Features::with);
    let asking = detect::function(detect, wanted, &u.op)?.map(|f| u.push(f));
    u.choices.asks = asking.is_some();
    let family = first.target.family();
    let conv = CallConv::triple_default(triple);
    let control = u.push(control::function(family, conv, &u.op)?);
    let base = Body {
        core: first.core,
        layout: &layouts[0],
        first_table: 0,
        target: first.target,
        level: Level::Base,
        isa: first.target.isa(triple.clone(), Level::Base)?,
        moves: Vec::new(),
        fns: Vec::new(),
        steps: Vec::new(),
    };
    let entries = u.entries(&base, asking, control)?;
    Ok(Program {
        name: u.op,
        target: first.target,
        layout: Layout {
            plan_bytes: u.choices.plan_bytes,
            workspace_bytes: layouts.iter().map(|l| l.workspace_bytes).max().unwrap_or(0),
            ..layouts[0].clone()
        },
        functions: u.functions,
        data: u.data,
        entries,
    })
}

impl Unit {
    fn push(&mut self, f: Function) -> usize {
        self.functions.push(f);
        self.functions.len() - 1
    }

    /// The tables of a part, and its functions at each of its levels.
    fn part(
        &mut self,
        part: &Part<'_>,
        layout: &Layout,
        triple: &Triple,
    ) -> Result<(), CodegenError> {
        let first_table = self.data.len();
        let lowest = part.levels.first().ok_or(CodegenError::Empty)?;
        for t in &part.core.tables {
            self.data.push(Data {
                name: format!("attnc_{}.{}.{}", self.op, lowest.name(), t.name),
                bytes: t.data.iter().flat_map(|x| x.to_le_bytes()).collect(),
                export: false,
            });
        }
        let mut tables = None;
        for &level in part.levels {
            let mut body = Body {
                core: part.core,
                layout,
                first_table,
                target: part.target,
                level,
                isa: part.target.isa(triple.clone(), level)?,
                moves: Vec::new(),
                fns: Vec::new(),
                steps: Vec::new(),
            };
            let tasks = self.body(&mut body)?;
            let tables = match tables {
                Some(made) => made,
                None => {
                    let name = self.local(&body, "tables");
                    let head = Head {
                        names: true,
                        returns: Returns::Int64,
                        ..Head::local(&name, 1)
                    };
                    // What serves all levels of the part must run wherever any of them does: the lowest level's.
                    *tables.insert(self.function(&body, head, &[], entry::tables)?)
                }
            };
            self.choices.all.push(Choice {
                level,
                tables,
                tasks,
                workspace_bytes: layout.workspace_bytes,
            });
        }
        Ok(())
    }

    /// The name of a function that is not seen from outside.
    fn local(&self, body: &Body<'_>, of: &str) -> String {
        format!("attnc_{}.{}.{of}", self.op, body.level.name())
    }

    /// Moves, tile functions and the task loop of a level; yields the latter.
    fn body(&mut self, body: &mut Body<'_>) -> Result<usize, CodegenError> {
        let core = body.core;
        for kind in moves(core) {
            let name = self.local(body, &kind.name());
            if let Some(bytes) = claims::of_move(body.level, kind, core)? {
                let id = self.push(Function {
                    name: format!("{name}.claim"),
                    export: false,
                    params: kind.params(),
                    returns: Returns::Nothing,
                    align: 64,
                    bytes,
                    relocs: Vec::new(),
                    clif: String::new(),
                });
                body.moves.push((kind, id));
                continue;
            }
            let id = self.function(body, Head::local(&name, kind.params()), &[], |u| {
                crate::moves::lower(&mut u.fx, kind, &u.args, core);
            })?;
            body.moves.push((kind, id));
        }
        let kinds = dots(core);
        let mut made = Vec::new();
        for dot in &kinds {
            let name = self.local(body, &dot.name());
            let head = Head::local(&name, Dot::PARAMS);
            made.push(self.function(body, head, &[], |u| {
                crate::dots::lower(&mut u.fx, *dot, &u.args);
            })?);
        }
        for f in &core.fns {
            let (id, steps) = self.tile_fn(body, f, &kinds, &made)?;
            body.fns.push(id);
            body.steps.push(steps);
        }
        let name = self.local(body, "tasks");
        let head = Head {
            names: true,
            ..Head::local(&name, 4)
        };
        self.function(body, head, &[], entry::tasks)
    }

    /// A tile function: its claim, its portable body, or both where the claim goes on in that; and the lanes and keys that it computes in
    /// multiples of. `kinds` are the dots that it can call, `made` their places.
    fn tile_fn(
        &mut self,
        body: &Body<'_>,
        f: &TileFn,
        kinds: &[Dot],
        made: &[usize],
    ) -> Result<(usize, (u32, u32)), CodegenError> {
        let core = body.core;
        let name = self.local(body, &f.name);
        let params = f.tiles.len() + f.scalars.len() + 1;
        let mut portable = || {
            self.function(body, Head::local(&name, params), made, |u| {
                let dots: Vec<_> = kinds.iter().copied().zip(u.calls.iter().copied()).collect();
                tiles::lower(&mut u.fx, f, core, &dots, &u.args);
            })
        };
        let Some(claim) = claims::of(body.level, f, core)? else {
            return Ok((portable()?, (QUERY_STEP, core.key_step)));
        };
        let mut relocs = Vec::new();
        if let Some(offset) = claim.portable {
            relocs.push(ModuleReloc {
                offset,
                kind: Reloc::X86CallPCRel4,
                name: ModuleRelocTarget::user(0, portable()? as u32),
                addend: -4,
            });
        }
        let id = self.push(Function {
            name: format!("{name}.claim"),
            export: false,
            params,
            returns: Returns::Nothing,
            align: 64,
            bytes: claim.bytes,
            relocs,
            clif: String::new(),
        });
        Ok((id, claim.steps))
    }

    /// The entry points of the C ABI; `asking` tells what the machine has, `control` sets the floating-point environment.
    fn entries(
        &mut self,
        base: &Body<'_>,
        asking: Option<usize>,
        control: usize,
    ) -> Result<Entries, CodegenError> {
        let all = &self.choices.all;
        let tables: Vec<usize> = all.iter().map(|c| c.tables).chain(asking).collect();
        let tasks: Vec<usize> = all.iter().map(|c| c.tasks).chain([control]).collect();
        let mut add = |of: &str, params, returns, calls: &[usize], make: fn(&mut Under<'_, '_>)| {
            let name = format!("attnc_{}_{of}", self.op);
            let head = Head {
                name: &name,
                params,
                returns,
                export: true,
                names: false,
            };
            self.function(base, head, calls, make)
        };
        let plan = add("plan", 2, Returns::Int64, &tables, entry::plan)?;
        let workspace = add("workspace", 1, Returns::Int64, &[], entry::workspace)?;
        let run = add("run", 4, Returns::Int32, &tasks, entry::run)?;
        let both = [plan, run];
        add("forward", 2, Returns::Int32, &both, entry::forward)?;
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
                (i.to_string(), self.data[place].name.clone())
            };
            s = s.replace(&format!("colocated {old}"), &format!("colocated %{name}"));
        }
        s
    }

    /// Builds and compiles one function; a body that has not returned returns zero.
    fn function(
        &mut self,
        body: &Body<'_>,
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
        let count = if head.names {
            body.core.tables.len()
        } else {
            0
        };
        let tables: Vec<GlobalValue> = (body.first_table..body.first_table + count)
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
            steps: &body.steps,
            core: body.core,
            layout: body.layout,
            moves,
            fns,
            tables,
        };
        let mut b = FunctionBuilder::new(&mut ctx.func, &mut self.pool);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let args = b.block_params(entry).to_vec();
        let fma = body.target.fused(body.level);
        let mut under = Under {
            fx: Fx { b, fma },
            args,
            names,
            calls,
            choices: &self.choices,
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
