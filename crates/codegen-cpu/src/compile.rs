// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A whole core program into a Cranelift module: data, moves, tile functions, `plan`, `run`.
//!
//! In: a [`Core`] and any module (just in time or object). Out: the ids of the two entry points.

use attnc_tile::core::Core;
use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, InstBuilder, Signature, Value, types};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataDescription, DataId, FuncId, Linkage, Module, ModuleError};

use crate::fx::Fx;
use crate::kernel::{Kernel, Names, moves};
use crate::layout::{self, Layout};
use crate::moves::Move;
use crate::tiles;

/// The entry points of a compiled program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entries {
    pub(crate) plan: FuncId,
    pub(crate) run: FuncId,
}

/// What one module holds while it is filled.
struct Unit<'m, M: Module> {
    m: &'m mut M,
    core: &'m Core,
    layout: Layout,
    fma: bool,
    pool: FunctionBuilderContext,
    moves: Vec<(Move, FuncId)>,
    fns: Vec<FuncId>,
    tables: Vec<DataId>,
}

/// Compiles `core` into `m`. `fma`: the target multiplies and adds in one instruction.
pub(crate) fn compile<M: Module>(
    m: &mut M,
    core: &Core,
    fma: bool,
) -> Result<Entries, Box<ModuleError>> {
    let layout = Layout::of(core);
    let mut u = Unit {
        m,
        core,
        layout,
        fma,
        pool: FunctionBuilderContext::new(),
        moves: Vec::new(),
        fns: Vec::new(),
        tables: Vec::new(),
    };
    for t in &core.tables {
        let id = u.m.declare_data(
            &format!("attnc_{}_{}", core.name, t.name),
            Linkage::Local,
            false,
            false,
        )?;
        let mut d = DataDescription::new();
        d.set_align(8);
        d.define(t.data.iter().flat_map(|x| x.to_le_bytes()).collect());
        u.m.define_data(id, &d)?;
        u.tables.push(id);
    }
    // A magnitude of 0 would make every element careful; thresholds are positive.
    let careful = core.careful_above.to_bits().max(1);
    for kind in moves(core) {
        let id = u.function(
            &kind.name(),
            kind.params(),
            false,
            Linkage::Local,
            |fx, args, _| moves_body(fx, kind, args, careful),
        )?;
        u.moves.push((kind, id));
    }
    for f in &core.fns {
        let params = f.tiles.len() + f.scalars.len() + 1;
        let id = u.function(&f.name, params, false, Linkage::Local, |fx, args, _| {
            tiles::lower(fx, f, args)
        })?;
        u.fns.push(id);
    }
    let plan = u.function("plan", 2, true, Linkage::Export, plan_body)?;
    let run = u.function("run", 4, true, Linkage::Export, run_body)?;
    Ok(Entries { plan, run })
}

fn moves_body(fx: &mut Fx<'_>, kind: Move, args: &[Value], careful: u32) {
    crate::moves::lower(fx, kind, args, careful);
}

impl<M: Module> Unit<'_, M> {
    /// Declares and defines one function of 64-bit parameters; with `result` it returns 64 bits, zero unless the body returned.
    fn function(
        &mut self,
        name: &str,
        params: usize,
        result: bool,
        linkage: Linkage,
        body: impl FnOnce(&mut Fx<'_>, &[Value], &Names<'_>),
    ) -> Result<FuncId, Box<ModuleError>> {
        let mut sig = Signature::new(self.m.target_config().default_call_conv);
        sig.params
            .extend((0..params).map(|_| AbiParam::new(types::I64)));
        if result {
            sig.returns.push(AbiParam::new(types::I64));
        }
        let id =
            self.m
                .declare_function(&format!("attnc_{}_{name}", self.core.name), linkage, &sig)?;
        let mut ctx: Context = self.m.make_context();
        ctx.func.signature = sig;
        let names = Names {
            core: self.core,
            layout: &self.layout,
            moves: self
                .moves
                .iter()
                .map(|(k, id)| (*k, self.m.declare_func_in_func(*id, &mut ctx.func)))
                .collect(),
            fns: self
                .fns
                .iter()
                .map(|id| self.m.declare_func_in_func(*id, &mut ctx.func))
                .collect(),
            tables: self
                .tables
                .iter()
                .map(|id| self.m.declare_data_in_func(*id, &mut ctx.func))
                .collect(),
        };
        let mut b = FunctionBuilder::new(&mut ctx.func, &mut self.pool);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let args = b.block_params(entry).to_vec();
        let mut fx = Fx { b, fma: self.fma };
        body(&mut fx, &args, &names);
        if result {
            let zero = fx.int(0);
            fx.b.ins().return_(&[zero]);
        } else {
            fx.b.ins().return_(&[]);
        }
        fx.b.seal_all_blocks();
        fx.b.finalize(self.m.target_config());
        self.m.define_function(id, &mut ctx)?;
        Ok(id)
    }
}

/// `plan(args, plan) -> tasks`: copies the arguments, checks them, fills the tables.
fn plan_body(fx: &mut Fx<'_>, args: &[Value], names: &Names<'_>) {
    let (from, to) = (args[0], args[1]);
    let bytes = size_of::<layout::Args>() as i32;
    for off in (0..bytes).step_by(8) {
        let x = fx.load(types::I64, from, off);
        fx.store(x, to, off);
    }
    let refuse = |fx: &mut Fx<'_>, cond: Value, code: i64| {
        let (bad, good) = (fx.b.create_block(), fx.b.create_block());
        fx.b.ins().brif(cond, bad, &[], good, &[]);
        fx.b.switch_to_block(bad);
        let code = fx.int(code);
        fx.b.ins().return_(&[code]);
        fx.b.switch_to_block(good);
    };
    let head = fx.load(types::I64, from, 0);
    let want = fx.int(i64::from(bytes) | i64::from(layout::ABI) << 32);
    let other = fx.b.ins().icmp(IntCC::NotEqual, head, want);
    refuse(fx, other, layout::ERROR_ABI);
    let (batch, n) = (
        fx.load(types::I64, from, layout::BATCH),
        fx.load(types::I64, from, layout::SEQ_LEN),
    );
    for x in [batch, n] {
        let most = fx.int(1 << 47);
        let beyond = fx.b.ins().icmp(IntCC::UnsignedGreaterThan, x, most);
        refuse(fx, beyond, layout::ERROR_SHAPE);
    }
    let zero = fx.int(0);
    fx.store(zero, to, bytes);
    for x in [batch, n] {
        let empty = fx.b.ins().icmp(IntCC::Equal, x, zero);
        refuse(fx, empty, 0);
    }
    for p in [8, 16, 24, 32, 40] {
        let x = fx.load(types::I64, from, p);
        let null = fx.b.ins().icmp(IntCC::Equal, x, zero);
        refuse(fx, null, layout::ERROR_NULL);
    }
    let mut k = Kernel::new(names, to, to, zero);
    k.block(fx, &names.core.plan);
    let tasks = k.get(fx, names.core.tasks);
    fx.store(tasks, to, bytes);
    fx.b.ins().return_(&[tasks]);
    // What follows is never reached: it takes the closing return of every function.
    let rest = fx.b.create_block();
    fx.b.switch_to_block(rest);
}

/// `run(plan, first, last, workspace) -> 0`.
fn run_body(fx: &mut Fx<'_>, args: &[Value], names: &Names<'_>) {
    let [plan, first, last, work] = [args[0], args[1], args[2], args[3]];
    let zero = fx.int(0);
    let counter = fx.addc(work, names.layout.counter);
    fx.store(zero, counter, 0);
    let mut k = Kernel::new(names, plan, work, zero);
    k.block(fx, &names.core.enter);
    let one = fx.int(1);
    fx.carry([first, last, one], &[], |fx, t, _| {
        let mut k = Kernel::new(names, plan, work, t);
        k.block(fx, &names.core.body);
        Vec::new()
    });
}
