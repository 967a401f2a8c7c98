// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the benches share: operators by name, engines that can be called over and over, in turns where they are compared, and the machine's
//! ceilings.
//!
//! In: a case. Out: an engine with its tensors made outside the clock.

mod ceiling;
mod table;
mod turns;

pub use ceiling::Fma;
pub use table::{Figure, Goal, Line, machine, table};
pub use turns::{Best, Ceilings, Turns};

use std::sync::Arc;
use std::time::{Duration, Instant};

use attnc::pipeline::{Choices, Plan};
use attnc::{Backend, Call, Compiler, CpuTarget, Engine, Executed, Inputs, Signature, Source};
use attnc_spec::{Loaded, NoFiles, Operator, resolve};
use attnc_tensor::{Storage, Tensor};

/// An operator's text and the sequence length it is measured at.
#[derive(Clone, Debug)]
pub struct Case {
    /// Name in the bench's ids.
    pub name: String,
    /// `.attn` text with one operator.
    pub text: String,
    /// N.
    pub seq_len: u64,
}

impl Case {
    fn new(name: &str, seq_len: u64, fields: &str, branches: &[(u64, u64)]) -> Case {
        let branches: String = branches
            .iter()
            .map(|(w, r)| format!("    branch {{ segment = {w}, dilation = {r} }}\n"))
            .collect();
        Case {
            name: name.to_string(),
            text: format!("edition 1\nattention bench {{\n    {fields}\n{branches}}}\n"),
            seq_len,
        }
    }

    /// C1: three branches, 8 heads of 64, N = 8192; `fields` beside the heads.
    pub fn c1(name: &str, fields: &str) -> Case {
        let branches = [(2048, 1), (4096, 2), (8192, 4)];
        Case::of_heads(name, (8, 64), fields, &branches, 8192)
    }

    /// C2: the paper's five branches, 8 heads of 64, N = 32768.
    pub fn c2(name: &str, fields: &str) -> Case {
        let branches = [(2048, 1), (4096, 2), (8192, 4), (16384, 6), (32768, 12)];
        Case::of_heads(name, (8, 64), fields, &branches, 32768)
    }

    /// Heads (how many, and of which dimension) and branches of one's own.
    pub fn of_heads(
        name: &str,
        (heads, head_dim): (u32, u32),
        fields: &str,
        branches: &[(u64, u64)],
        seq_len: u64,
    ) -> Case {
        let fields = format!("heads = {heads}, head_dim = {head_dim}, {fields}");
        Case::new(name, seq_len, &fields, branches)
    }

    /// Four heads of 64 and branches of one's own.
    pub fn small(name: &str, fields: &str, branches: &[(u64, u64)], seq_len: u64) -> Case {
        Case::of_heads(name, (4, 64), fields, branches, seq_len)
    }

    /// The geometric schedule: w = 1024 * 2^i up to N, r = 2^i, 2 heads of 64; N = 1024 * 2^`last`.
    pub fn geometric(last: u32) -> Case {
        let branches: Vec<(u64, u64)> = (0..=last).map(|i| (1024 << i, 1 << i)).collect();
        let n = 1024u64 << last;
        Case::new(&n.to_string(), n, "heads = 2, head_dim = 64", &branches)
    }

    /// The checked operator.
    ///
    /// # Panics
    /// When the text has a mistake.
    pub fn operator(&self) -> Arc<Operator> {
        let files = vec![Ok(Loaded::text("bench", &self.text))];
        let resolution = resolve(files, &mut NoFiles);
        let Some(operator) = resolution.operators().next() else {
            panic!("the case {} has a mistake", self.name);
        };
        operator.clone()
    }
}

/// From text to a callable kernel.
///
/// # Panics
/// When the compiler refuses.
pub fn compile(case: &Case, target: CpuTarget, plan: Plan) -> Box<dyn Engine> {
    let mut choices = Choices::new(target.name());
    choices.plan = plan;
    Compiler::with(choices)
        .engine(&Source::from(&*case.operator()), Backend::Cpu)
        .expect("the case compiles")
}

/// A compiled case with its tensors.
pub struct Bench {
    engine: Box<dyn Engine>,
    inputs: Inputs,
    out: Tensor,
    lse: Tensor,
    formula: u128,
}

impl Bench {
    /// Compiles, and makes and touches the tensors.
    ///
    /// # Panics
    /// When the compiler refuses, or there is no memory.
    pub fn new(case: &Case, target: CpuTarget, plan: Plan) -> Bench {
        let op = case.operator();
        let s = Signature::from(&*op);
        let n = case.seq_len as usize;
        Bench {
            engine: compile(case, target, plan),
            inputs: Inputs::generate(&s, 1, case.seq_len, 0).expect("memory"),
            out: Tensor::zeros(s.dtype, &s.query_shape(1, n)).expect("memory"),
            lse: Tensor::zeros(Storage::F32, &s.lse_shape(1, n)).expect("memory"),
            formula: attnc::madds_formula(&op, 1, case.seq_len),
        }
    }

    /// Multiply-adds of a call by the operator's formula, which counts a key once for every branch that shows it.
    pub fn formula(&self) -> u128 {
        self.formula
    }

    /// One call by one thread.
    ///
    /// # Panics
    /// When the launch is refused.
    pub fn call(&mut self) -> (Duration, Executed) {
        let start = Instant::now();
        let x = &self.inputs;
        let call = Call::new(x.q.view(), x.k.view(), x.v.view(), self.out.view_mut())
            .lse(self.lse.view_mut())
            .threads(1);
        let executed = self.engine.forward(call).expect("a launch");
        (start.elapsed(), executed)
    }
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").finish_non_exhaustive()
    }
}
