// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A machine that runs PTX: the library face.
//!
//! [`Program::load`] takes a parsed module and places its variables in a [`Memory`];
//! [`Program::launch`] runs an entry with raw parameter bytes. In: module, memory, launch.
//! Out: changed memory and [`Counters`], or a typed [`LaunchError`].
//!
//! ```
//! use attnc_ptx::emu::{Launch, Memory, Options, Program};
//! let text = ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p)\n\
//!   { .reg .b32 %r<2>; .reg .b64 %d<2>; ld.param.u64 %d1, [p]; mov.u32 %r1, 7; st.global.u32 [%d1], %r1; ret; }";
//! let mut memory = Memory::new();
//! let program = Program::load(attnc_ptx::parse(text)?, &mut memory);
//! let buffer = memory.alloc(4);
//! let launch = Launch { entry: "k", grid: [1; 3], block: [1; 3], dynamic_shared: 0, params: &buffer.to_le_bytes() };
//! program.launch(&memory, &launch, &Options::default())?;
//! assert_eq!(memory.read(buffer, 4)?, [7, 0, 0, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod access;
mod alu;
mod atom;
mod bulk;
mod code;
mod compare;
mod convert;
mod counters;
mod cp_async;
mod ctl;
mod decode;
mod fault;
mod float;
mod flow;
mod grid;
mod half_ops;
mod ldst;
mod logic;
mod lower;
mod math;
mod mbarrier;
mod mem;
mod mma;
mod names;
mod opcodes;
mod operands;
mod partial;
mod race;
mod shadow;
mod state;
mod step;
mod tensor;
mod warp_ops;
mod wgmma;

pub use counters::Counters;
pub use fault::{Fault, FaultKind, LaunchError};
pub use mem::{BadRange, Memory};

use crate::module::{Function, Imm, Init, InitValue, Item, Module, Name, Param, Var};
use crate::ty::{Space, Type};
use code::Code;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// A module with its variables placed in memory.
pub struct Program {
    module: Module,
    addresses: HashMap<Name, u64>,
    /// Entries decoded so far.
    decoded: Mutex<HashMap<String, Arc<Code>>>,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// Name of the entry.
    pub entry: &'a str,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
    /// The parameters' bytes, each at its offset ([`Program::params`]).
    pub params: &'a [u8],
}

/// How to run it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Report accesses that nothing orders, reads of unwritten shared memory, missing waits
    /// and fences.
    pub races: bool,
    /// Count.
    pub counters: bool,
    /// The order in which blocks, warps and copies take turns.
    pub seed: u64,
    /// Host threads for blocks that cannot speak with each other.
    pub threads: usize,
    /// Limit of warp instructions of one block (of all together where they take turns).
    pub budget: u64,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            races: false,
            counters: false,
            seed: 0,
            threads,
            budget: 1 << 40,
        }
    }
}

/// A parameter of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamInfo {
    /// Where its bytes begin.
    pub offset: u32,
    /// How many there are.
    pub size: u32,
    /// Its declared type (of one element).
    pub ty: Type,
}

impl Program {
    /// Places a module's variables in memory and initialises them.
    pub fn load(module: Module, memory: &mut Memory) -> Self {
        let mut addresses = HashMap::new();
        let mut functions: Vec<&str> = Vec::new();
        let vars: Vec<&Var> = module
            .items
            .iter()
            .filter_map(|i| match i {
                Item::Var(v) if matches!(v.space, Space::Global | Space::Const) => Some(v),
                _ => None,
            })
            .collect();
        for v in &vars {
            addresses.insert(v.name.clone(), memory.alloc(v.size().max(1)));
        }
        // Initialisers may hold functions; these have the numbers that the decoder gives them.
        let mut symbols = addresses.clone();
        for f in module.functions() {
            let next = state::CODE_WINDOW + 16 * functions.len() as u64;
            if !functions.contains(&&*f.name) {
                functions.push(&*f.name);
                symbols.entry(f.name.clone()).or_insert(next);
            }
        }
        for v in vars {
            if let Some(init) = &v.init {
                let mut bytes = Vec::new();
                let dims: Vec<u64> = v
                    .dims
                    .iter()
                    .map(|d| d.unwrap_or(0))
                    .chain((v.vector > 1).then_some(v.vector.into()))
                    .collect();
                flatten(init, v.ty, &dims, &symbols, &mut bytes);
                bytes.truncate(v.size() as usize);
                if let Some(a) = addresses.get(&v.name) {
                    // The allocation was made for this size.
                    let _ = memory.write(*a, &bytes);
                }
            }
        }
        Self {
            module,
            addresses,
            decoded: Mutex::default(),
        }
    }

    /// The module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Address and size of a module variable.
    pub fn global(&self, name: &str) -> Option<(u64, u64)> {
        let a = self.addresses.get(name)?;
        let size = self.module.items.iter().find_map(|i| match i {
            Item::Var(v) if &*v.name == name => Some(v.size()),
            _ => None,
        })?;
        Some((*a, size))
    }

    fn entry(&self, name: &str) -> Result<&Function, LaunchError> {
        self.module
            .entry(name)
            .ok_or_else(|| LaunchError::NoEntry(name.to_string()))
    }

    /// Where an entry expects its parameters.
    pub fn params(&self, entry: &str) -> Result<Vec<ParamInfo>, LaunchError> {
        let f = self.entry(entry)?;
        let mut at = 0u32;
        let mut out = Vec::new();
        for p in &f.params {
            if let Param::Var(v) = p {
                let offset = at.next_multiple_of(v.alignment() as u32);
                let size = v.size() as u32;
                at = offset + size;
                out.push(ParamInfo {
                    offset,
                    size,
                    ty: v.ty,
                });
            }
        }
        Ok(out)
    }

    fn code(&self, entry: &str) -> Result<Arc<Code>, LaunchError> {
        let mut cache = self
            .decoded
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(c) = cache.get(entry) {
            return Ok(c.clone());
        }
        let f = self.entry(entry)?;
        // Decoding indexes operands freely: that their number and shape fit the form is the
        // verifier's word (rule 2), and no code is decoded without it.
        if let Some(e) = crate::verify::verify(&self.module).into_iter().next() {
            return Err(LaunchError::Invalid(e));
        }
        let cluster = f.tuning("reqnctapercluster").unwrap_or(&[]);
        if cluster.iter().any(|n| *n > 1) {
            return Err(LaunchError::Fault(Box::new(Fault {
                pos: f.pos.0,
                text: format!(".reqnctapercluster of `{entry}`"),
                block: [0; 3],
                thread: 0,
                kind: FaultKind::Unsupported("clusters of more than one block".into()),
            })));
        }
        let code = decode::decode(&self.module, f, &self.addresses).map_err(|r| {
            LaunchError::Fault(Box::new(Fault {
                pos: r.pos,
                text: r.text,
                block: [0; 3],
                thread: 0,
                kind: r.kind,
            }))
        })?;
        let code = Arc::new(code);
        cache.insert(entry.to_string(), code.clone());
        Ok(code)
    }

    /// Runs an entry to its end.
    pub fn launch(
        &self,
        memory: &Memory,
        l: &Launch<'_>,
        o: &Options,
    ) -> Result<Counters, LaunchError> {
        let code = self.code(l.entry)?;
        let no = |s: String| Err(LaunchError::Contradiction(s));
        if l.grid.contains(&0) || l.block.contains(&0) {
            return no("grid and block have at least one element in each direction".into());
        }
        let threads = l
            .block
            .iter()
            .try_fold(1u32, |a, b| a.checked_mul(*b))
            .unwrap_or(u32::MAX);
        if threads > 1024 {
            return no(format!(
                "a block of {:?} has more than 1024 threads",
                l.block
            ));
        }
        if l.grid
            .iter()
            .try_fold(1u32, |a, b| a.checked_mul(*b))
            .is_none()
        {
            return no(format!("a grid of {:?} has too many blocks", l.grid));
        }
        if let Some(r) = code.reqntid
            && r != l.block
        {
            return no(format!("block {:?} against .reqntid {r:?}", l.block));
        }
        if let Some(r) = code.maxntid
            && threads > r.iter().product::<u32>()
        {
            return no(format!("block {:?} against .maxntid {r:?}", l.block));
        }
        if l.params.len() < code.param_bytes as usize {
            return no(format!(
                "{} bytes of parameters where {} are declared",
                l.params.len(),
                code.param_bytes
            ));
        }
        let start = lower::dynamic_start(&code);
        let Some(shared_bytes) = start
            .checked_add(l.dynamic_shared)
            .filter(|b| *b <= 1 << 24)
        else {
            return no(format!(
                "{} bytes of dynamic shared memory",
                l.dynamic_shared
            ));
        };
        let races = o.races.then(|| race::RaceGrid {
            global: shadow::GridShadow::new(),
            objects: Mutex::default(),
            maps: Mutex::default(),
        });
        let g = state::Grid {
            code: &code,
            memory,
            params: l.params,
            grid: l.grid,
            block: l.block,
            dynamic_shared: l.dynamic_shared,
            shared_bytes,
            seed: o.seed,
            count: o.counters,
            races,
            budget: o.budget,
        };
        grid::run(&g, o.threads).map_err(LaunchError::Fault)
    }
}

/// An initialiser's bytes; missing elements of inner arrays are zero.
fn flatten(i: &Init, ty: Type, dims: &[u64], addresses: &HashMap<Name, u64>, out: &mut Vec<u8>) {
    match i {
        Init::One(v) => {
            let w = ty.bytes() as usize;
            let bits = match v {
                InitValue::Imm(Imm::Int(v)) if ty == Type::F32 || ty == Type::F64 => {
                    decode::Dec::imm_bits(Imm::Int(*v), ty)
                }
                InitValue::Imm(v) => decode::Dec::imm_bits(*v, ty),
                InitValue::Symbol(n, off, _) => addresses
                    .get(n)
                    .copied()
                    .unwrap_or(0)
                    .wrapping_add(*off as u64),
            };
            out.extend_from_slice(&bits.to_le_bytes()[..w.min(8)]);
        }
        Init::List(l) => {
            let start = out.len();
            let inner = dims.get(1..).unwrap_or(&[]);
            for x in l {
                flatten(x, ty, inner, addresses, out);
            }
            let want = dims.iter().product::<u64>() * u64::from(ty.bytes());
            if dims.first().is_some_and(|d| *d > 0) && ((out.len() - start) as u64) < want {
                out.resize(start + want as usize, 0);
            }
        }
    }
}
