// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The entry points of the C ABI, and the task loop behind them.
//!
//! In: a function under construction. Out: its body. `plan(args, plan) -> tasks`, `workspace(plan) -> bytes`,
//! `run(plan, first, last, workspace) -> 0`, `forward(args, workspace) -> 0`; negative codes of [`crate::layout`] where they refuse.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, StackSlotData, StackSlotKind, Value, types};

use crate::compile::{Choice, Under};
use crate::fx::Fx;
use crate::kernel::Kernel;
use crate::layout;

/// Bytes of the argument structure.
const ARGS: i32 = size_of::<layout::Args>() as i32;

/// Returns `code` where `cond` holds; goes on elsewhere.
fn refuse(fx: &mut Fx<'_>, cond: Value, code: i64, ty: types::Type) {
    let (bad, good) = (fx.b.create_block(), fx.b.create_block());
    fx.b.ins().brif(cond, bad, &[], good, &[]);
    fx.b.switch_to_block(bad);
    let code = fx.b.ins().iconst(ty, code_bits(code, ty));
    fx.b.ins().return_(&[code]);
    fx.b.switch_to_block(good);
}

/// A constant of 32 bits stands zero-extended in Cranelift.
fn code_bits(code: i64, ty: types::Type) -> i64 {
    if ty == types::I32 {
        i64::from(code as i32 as u32)
    } else {
        code
    }
}

fn is(fx: &mut Fx<'_>, cc: IntCC, a: Value, b: i64) -> Value {
    let b = fx.int(b);
    fx.b.ins().icmp(cc, a, b)
}

/// Returns `x` here; what the caller appends afterwards stands in a block that is never reached.
fn finish(fx: &mut Fx<'_>, x: Value) {
    fx.b.ins().return_(&[x]);
    let rest = fx.b.create_block();
    fx.b.switch_to_block(rest);
}

/// `plan`: checks the arguments, copies them, notes the level of the machine, fills the tables.
pub(crate) fn plan(u: &mut Under<'_, '_>) {
    let fx = &mut u.fx;
    let (from, to) = (u.args[0], u.args[1]);
    let ty = types::I64;
    for p in [from, to] {
        let null = is(fx, IntCC::Equal, p, 0);
        refuse(fx, null, layout::ERROR_NULL, ty);
    }
    // Before anything else is read: a caller of another version has another structure.
    let head = fx.load(ty, from, 0);
    let want = i64::from(ARGS) | i64::from(layout::ABI) << 32;
    let other = is(fx, IntCC::NotEqual, head, want);
    refuse(fx, other, layout::ERROR_ABI, ty);
    let (batch, n) = (
        fx.load(ty, from, layout::BATCH),
        fx.load(ty, from, layout::SEQ_LEN),
    );
    let most = 1 << 47;
    for x in [batch, n] {
        let beyond = is(fx, IntCC::UnsignedGreaterThan, x, most);
        refuse(fx, beyond, layout::ERROR_SHAPE, ty);
    }
    // batch * n is below 2^94 here: its high half is not enough to tell, so divide.
    let one = fx.int(1);
    let some = fx.b.ins().umax(n, one);
    let bound = fx.int(most);
    let room = fx.b.ins().udiv(bound, some);
    let beyond = fx.b.ins().icmp(IntCC::UnsignedGreaterThan, batch, room);
    let many = is(fx, IntCC::NotEqual, n, 0);
    let beyond = fx.b.ins().band(beyond, many);
    refuse(fx, beyond, layout::ERROR_SHAPE, ty);
    for off in (0..ARGS).step_by(8) {
        let x = fx.load(ty, from, off);
        fx.store(x, to, off);
    }
    let zero = fx.int(0);
    fx.store(zero, to, layout::TASKS);
    let all = &u.choices.all;
    let level = match u.calls.get(all.len()) {
        Some(asking) => {
            let call = fx.b.ins().call(*asking, &[]);
            let has = fx.b.inst_results(call)[0];
            let mut level = fx.int(NO_LEVEL);
            for c in all {
                // The highest that fits stands last.
                let needs = i64::from(c.level.needs().bits());
                let mask = fx.int(needs);
                let there = fx.b.ins().band(has, mask);
                let fits = is(fx, IntCC::Equal, there, needs);
                let this = fx.int(c.level.number());
                level = fx.b.ins().select(fits, this, level);
            }
            let none = is(fx, IntCC::Equal, level, NO_LEVEL);
            refuse(fx, none, layout::ERROR_MACHINE, ty);
            level
        }
        None => fx.int(all.last().map_or(0, |c| c.level.number())),
    };
    fx.store(level, to, layout::LEVEL);
    for x in [batch, n] {
        let empty = is(fx, IntCC::Equal, x, 0);
        refuse(fx, empty, 0, ty);
    }
    for p in [8, 16, 24, 32, 40] {
        let x = fx.load(ty, from, p);
        let null = is(fx, IntCC::Equal, x, 0);
        refuse(fx, null, layout::ERROR_NULL, ty);
    }
    let calls = &u.calls;
    choose(fx, level, all, |fx, i| {
        let call = fx.b.ins().call(calls[i], &[to]);
        let tasks = fx.b.inst_results(call)[0];
        fx.store(tasks, to, layout::TASKS);
        tasks
    });
}

/// What stands for no level at all.
const NO_LEVEL: i64 = -1;

/// Returns what `make` yields for the choice whose level is `level`. The last choice takes what remains.
fn choose(
    fx: &mut Fx<'_>,
    level: Value,
    all: &[Choice],
    mut make: impl FnMut(&mut Fx<'_>, usize) -> Value,
) {
    let last = all.len().saturating_sub(1);
    for (i, choice) in all.iter().enumerate().take(last) {
        let (this, next) = (fx.b.create_block(), fx.b.create_block());
        let chosen = is(fx, IntCC::Equal, level, choice.level.number());
        fx.b.ins().brif(chosen, this, &[], next, &[]);
        fx.b.switch_to_block(this);
        let x = make(fx, i);
        fx.b.ins().return_(&[x]);
        fx.b.switch_to_block(next);
    }
    let x = make(fx, last);
    finish(fx, x);
}

/// The plan tables of one part: `tables(plan) -> tasks`.
pub(crate) fn tables(u: &mut Under<'_, '_>) {
    let fx = &mut u.fx;
    let plan = u.args[0];
    let zero = fx.int(0);
    let mut k = Kernel::new(&u.names, plan, plan, zero);
    k.block(fx, &u.names.core.plan);
    let tasks = k.get(fx, u.names.core.tasks);
    finish(fx, tasks);
}

/// `workspace`: what the chosen body needs, whatever the shapes are so far; callers may not lean on that.
pub(crate) fn workspace(u: &mut Under<'_, '_>) {
    let fx = &mut u.fx;
    let plan = u.args[0];
    let null = is(fx, IntCC::Equal, plan, 0);
    refuse(fx, null, 0, types::I64);
    let level = fx.load(types::I64, plan, layout::LEVEL);
    let mut all = &u.choices.all[..];
    if all
        .iter()
        .all(|c| c.workspace_bytes == all[0].workspace_bytes)
    {
        all = &all[..1];
    }
    choose(fx, level, all, |fx, i| {
        fx.int(all[i].workspace_bytes as i64)
    });
}

/// `run`: checks the range and the workspace, then goes to the body of the plan's level, in a floating-point environment of its own.
pub(crate) fn run(u: &mut Under<'_, '_>) {
    let fx = &mut u.fx;
    let [plan, first, last, work] = [u.args[0], u.args[1], u.args[2], u.args[3]];
    let ty = types::I32;
    let null = is(fx, IntCC::Equal, plan, 0);
    refuse(fx, null, layout::ERROR_NULL, ty);
    let tasks = fx.load(types::I64, plan, layout::TASKS);
    // Unsigned, so that a negative number is beyond everything.
    for (a, b) in [(last, tasks), (first, last)] {
        let beyond = fx.b.ins().icmp(IntCC::UnsignedGreaterThan, a, b);
        refuse(fx, beyond, layout::ERROR_RANGE, ty);
    }
    let none = fx.b.ins().icmp(IntCC::Equal, first, last);
    refuse(fx, none, 0, ty);
    let null = is(fx, IntCC::Equal, work, 0);
    refuse(fx, null, layout::ERROR_WORKSPACE, ty);
    let low = fx.int(63);
    let low = fx.b.ins().band(work, low);
    let askew = is(fx, IntCC::NotEqual, low, 0);
    refuse(fx, askew, layout::ERROR_WORKSPACE, ty);
    let level = fx.load(types::I64, plan, layout::LEVEL);
    let (calls, all) = (&u.calls, &u.choices.all);
    let (control, own) = (calls[all.len()], fx.int(u.choices.control));
    let swap = |fx: &mut Fx<'_>, to| {
        let call = fx.b.ins().call(control, &[to]);
        fx.b.inst_results(call)[0]
    };
    let host = swap(fx, own);
    choose(fx, level, all, |fx, i| {
        fx.b.ins().call(calls[i], &[plan, first, last, work]);
        swap(fx, host);
        fx.int32(0)
    });
}

/// `forward`: plan on the stack, then all tasks.
pub(crate) fn forward(u: &mut Under<'_, '_>) {
    let fx = &mut u.fx;
    let (args, work) = (u.args[0], u.args[1]);
    let bytes = u.choices.plan_bytes as u32;
    let slot =
        fx.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 3));
    let plan = fx.b.ins().stack_addr(types::I64, slot, 0);
    let call = fx.b.ins().call(u.calls[0], &[args, plan]);
    let tasks = fx.b.inst_results(call)[0];
    let (bad, good) = (fx.b.create_block(), fx.b.create_block());
    let failed = is(fx, IntCC::SignedLessThan, tasks, 0);
    fx.b.ins().brif(failed, bad, &[], good, &[]);
    fx.b.switch_to_block(bad);
    let code = fx.b.ins().ireduce(types::I32, tasks);
    fx.b.ins().return_(&[code]);
    fx.b.switch_to_block(good);
    let zero = fx.int(0);
    let call = fx.b.ins().call(u.calls[1], &[plan, zero, tasks, work]);
    let code = fx.b.inst_results(call)[0];
    finish(fx, code);
}

/// The tasks first..last at one level.
pub(crate) fn tasks(u: &mut Under<'_, '_>) {
    let fx = &mut u.fx;
    let names = &u.names;
    let [plan, first, last, work] = [u.args[0], u.args[1], u.args[2], u.args[3]];
    let zero = fx.int(0);
    fx.store(zero, work, layout::COUNTER);
    let mut k = Kernel::new(names, plan, work, zero);
    k.block(fx, &names.core.enter);
    let one = fx.int(1);
    fx.carry([first, last, one], &[], |fx, t, _| {
        let mut k = Kernel::new(names, plan, work, t);
        k.block(fx, &names.core.body);
        Vec::new()
    });
}
