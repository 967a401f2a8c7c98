// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rules 30 to 32: stages are filled, awaited and read in order, and barriers stand between warps that touch the same memory.
//!
//! In: a program that breaks no other rule. Out: every place where some way through the program breaks one of these. A way is followed
//! by the states of [`Queue`] that it can be in, all of them at once, and by the buffers that warps have touched since the last
//! barrier. Loops are followed until nothing new comes in; those of few iterations one by one. A condition that
//! depends on nothing but `queued` and constants is decided state by state. Buffers are taken whole: the interpreter knows elements.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::uses::{Use, uses};
use super::{Rule, VerifyError};
use crate::core::{Bin, BufId, Core, Elem, Inst, Space, Val};
use crate::queue::{Queue, QueueError};

/// Most iterations that are followed one by one.
const ITERATIONS: i64 = 16;

/// Checks the body of a program.
pub(super) fn check(core: &Core) -> Vec<VerifyError> {
    let mut flow = Flow {
        core,
        consts: HashMap::new(),
        bins: HashMap::new(),
        flags: BTreeSet::new(),
        errors: BTreeMap::new(),
        path: vec!["body".to_string()],
        known: HashMap::new(),
    };
    flow.collect(&core.body);
    let start = At {
        queue: Queue::new(core.stages, core.warps),
        seen: None,
    };
    let mut state = State {
        queues: BTreeSet::from([start]),
        ..State::default()
    };
    flow.block(&core.body, &mut state);
    flow.queues(&mut state, |q| q.end());
    flow.errors.into_values().collect()
}

/// One state of the stages, and the last number that `queued` has given, with the value that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    queue: Queue,
    seen: Option<(Val, u32)>,
}

/// What can be the case at a place of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    queues: BTreeSet<At>,
    /// Buffers that warps have written since the last barrier.
    wrote: BTreeSet<u32>,
    /// Buffers that warps have read since the last barrier.
    read: BTreeSet<u32>,
}

impl State {
    fn join(&mut self, other: State) {
        self.queues.extend(other.queues);
        self.wrote.extend(other.wrote);
        self.read.extend(other.read);
    }
}

struct Flow<'a> {
    core: &'a Core,
    consts: HashMap<Val, i64>,
    bins: HashMap<Val, (Bin, Val, Val)>,
    /// Integer buffers that gathers raise flags in.
    flags: BTreeSet<u32>,
    /// By place and rule, so that each is told once.
    errors: BTreeMap<(Vec<String>, Rule, String), VerifyError>,
    path: Vec<String>,
    /// What a loop makes of what comes in: loops inside loops meet the same again and again.
    known: HashMap<usize, (State, State)>,
}

impl Flow<'_> {
    /// Takes note of constants, operations and flags.
    fn collect(&mut self, code: &[Inst]) {
        for inst in code {
            if let Inst::Const(v, x) = inst {
                self.consts.insert(*v, *x);
            }
            if let Inst::Bin(v, op, a, b) = inst {
                self.bins.insert(*v, (*op, *a, *b));
            }
            if let Inst::Gather { flag: Some(f), .. } = inst {
                self.flags.insert(f.buf.0);
            }
            for block in inst.blocks() {
                self.collect(block);
            }
        }
    }

    fn fail(&mut self, rule: Rule, detail: String) {
        let path = self.path.join(".");
        let key = (self.path.clone(), rule, detail.clone());
        let error = VerifyError { rule, path, detail };
        self.errors.entry(key).or_insert(error);
    }

    /// Applies an event to every state of the stages; a state that forbids it stays as it was.
    fn queues(
        &mut self,
        state: &mut State,
        mut event: impl FnMut(&mut Queue) -> Result<(), QueueError>,
    ) {
        let mut out = BTreeSet::new();
        for mut at in std::mem::take(&mut state.queues) {
            if let Err(e) = event(&mut at.queue) {
                self.fail(rule(e), e.to_string());
            }
            out.insert(at);
        }
        state.queues = out;
    }

    fn block(&mut self, code: &[Inst], state: &mut State) {
        for (i, inst) in code.iter().enumerate() {
            self.path.push(i.to_string());
            self.inst(inst, state);
            self.path.pop();
        }
    }

    fn named(&mut self, name: &str, code: &[Inst], state: &mut State) {
        self.path.push(name.to_string());
        self.block(code, state);
        self.path.pop();
    }

    fn inst(&mut self, inst: &Inst, state: &mut State) {
        for (buf, how) in uses(self.core, inst) {
            self.touch(buf, how, state);
        }
        match inst {
            Inst::Commit => self.queues(state, Queue::commit),
            Inst::Wait(ahead) => self.queues(state, |q| q.wait(*ahead)),
            Inst::Release => self.queues(state, Queue::release),
            Inst::Barrier => {
                self.queues(state, |q| {
                    q.barrier();
                    Ok(())
                });
                state.wrote.clear();
                state.read.clear();
            }
            Inst::Queued(v) => {
                let read = |at: &At| At {
                    seen: Some((*v, at.queue.flying())),
                    ..*at
                };
                state.queues = state.queues.iter().map(read).collect();
            }
            Inst::For {
                lo, hi, step, body, ..
            } => {
                let of = |v| self.consts.get(v).copied();
                let times = match (of(lo), self.most(*hi), of(step)) {
                    (Some(lo), Some(hi), Some(step @ 1..)) => {
                        let span = i128::from(hi) - i128::from(lo) + i128::from(step) - 1;
                        Some((span / i128::from(step)).max(0))
                    }
                    _ => None,
                };
                match times {
                    Some(n) if n <= i128::from(ITERATIONS) => {
                        let sure = of(hi).is_some();
                        let mut all = state.clone();
                        for _ in 0..n {
                            self.named("do", body, state);
                            all.join(state.clone());
                        }
                        if !sure {
                            *state = all;
                        }
                    }
                    Some(_) | None => self.any_times(body, state),
                }
            }
            Inst::Walk { body, .. } => self.any_times(body, state),
            Inst::If { cond, then, els } => {
                let (mut yes, mut no) = (state.clone(), state.clone());
                yes.queues
                    .retain(|at| self.eval(*cond, at).is_none_or(|x| x != 0));
                no.queues
                    .retain(|at| self.eval(*cond, at).is_none_or(|x| x == 0));
                // What no state takes is not reached.
                let (taken, left) = (!yes.queues.is_empty(), !no.queues.is_empty());
                if taken {
                    self.named("then", then, &mut yes);
                }
                if left {
                    self.named("else", els, &mut no);
                }
                match (taken, left) {
                    (true, true) => {
                        yes.join(no);
                        *state = yes;
                    }
                    (true, false) => *state = yes,
                    (false, true) => *state = no,
                    (false, false) => {}
                }
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
            | Inst::Gather { .. }
            | Inst::Inspect(..)
            | Inst::Scatter { .. }
            | Inst::Fill { .. }
            | Inst::Call { .. } => {}
        }
    }

    /// A loop that may run any number of times, also none.
    fn any_times(&mut self, body: &[Inst], state: &mut State) {
        let loop_at = body.as_ptr() as usize;
        if let Some((come, gone)) = self.known.get(&loop_at)
            && come == state
        {
            *state = gone.clone();
            return;
        }
        let come = state.clone();
        loop {
            let mut next = state.clone();
            self.named("do", body, &mut next);
            next.join(state.clone());
            if next == *state {
                break;
            }
            *state = next;
        }
        self.known.insert(loop_at, (come, state.clone()));
    }

    /// A constant that `v` does not exceed.
    fn most(&self, v: Val) -> Option<i64> {
        if let Some(x) = self.consts.get(&v) {
            return Some(*x);
        }
        match self.bins.get(&v) {
            Some((Bin::Min, a, b)) => match (self.most(*a), self.most(*b)) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            Some(_) | None => None,
        }
    }

    /// The value of `v` in a state of the stages, where that decides it.
    fn eval(&self, v: Val, at: &At) -> Option<i64> {
        if let Some((seen, n)) = at.seen
            && seen == v
        {
            return Some(i64::from(n));
        }
        if let Some(x) = self.consts.get(&v) {
            return Some(*x);
        }
        let (op, a, b) = *self.bins.get(&v)?;
        let (a, b) = (self.eval(a, at)?, self.eval(b, at)?);
        match op {
            Bin::Add => a.checked_add(b),
            Bin::Sub => a.checked_sub(b),
            Bin::Min => Some(a.min(b)),
            Bin::Max => Some(a.max(b)),
            Bin::Eq => Some(i64::from(a == b)),
            Bin::Lt => Some(i64::from(a < b)),
            Bin::Le => Some(i64::from(a <= b)),
            Bin::Mul | Bin::Div | Bin::Rem | Bin::And | Bin::Or | Bin::Shl | Bin::Shr => None,
        }
    }

    fn touch(&mut self, buf: BufId, how: Use, state: &mut State) {
        let b = &self.core.bufs[buf.0 as usize];
        if b.staged {
            match how {
                Use::Store | Use::Fill => self.queues(state, Queue::fill),
                // Row numbers of a copy come from the stage that it fills.
                Use::FillRows => {}
                // Rule 29 lets nothing else write.
                Use::Load | Use::Read | Use::Write | Use::Raise => {
                    self.queues(state, |q| q.read());
                }
            }
            return;
        }
        let flag = self.flags.contains(&buf.0);
        let common = match b.elem {
            Elem::I64 => flag,
            Elem::F32 | Elem::Data => b.space != Space::Frag,
        };
        if self.core.warps == 1 || !common {
            return;
        }
        let (wrote, read) = (state.wrote.contains(&buf.0), state.read.contains(&buf.0));
        let (clash, writes) = match how {
            // Scalar code is ordered with itself, and everything with what it has stored.
            Use::Store => (wrote, false),
            Use::Load | Use::Read | Use::FillRows => (wrote, false),
            Use::Write | Use::Fill => (wrote || read, true),
            // Raising a raised flag changes nothing.
            Use::Raise => (read, true),
        };
        if clash {
            let detail = format!(
                "{} is {} without a barrier after warps {}",
                b.name,
                if how == Use::Load || how == Use::Read {
                    "read"
                } else {
                    "written"
                },
                if wrote { "wrote it" } else { "read it" },
            );
            self.fail(Rule::Barrier, detail);
        }
        match (writes, how) {
            (true, _) => state.wrote.insert(buf.0),
            (false, Use::Store) => false,
            (false, _) => state.read.insert(buf.0),
        };
    }
}

/// The rule that an event breaks.
fn rule(e: QueueError) -> Rule {
    match e {
        QueueError::Busy => Rule::Refill,
        QueueError::StillRead | QueueError::Unseen => Rule::Barrier,
        QueueError::Empty
        | QueueError::Nothing
        | QueueError::Uncovered { .. }
        | QueueError::Held
        | QueueError::Unawaited
        | QueueError::NotHeld
        | QueueError::Left => Rule::InFlight,
    }
}
