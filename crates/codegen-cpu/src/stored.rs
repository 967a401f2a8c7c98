// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A compiled program as bytes, to be kept and linked again without compiling.
//!
//! In: a [`Program`]. Out: bytes, and from such bytes the same program. What is read is checked to be a whole program of this form, so
//! that bytes which were damaged are refused; it cannot be checked to be good code. Who takes bytes from elsewhere must know that
//! they are his own.

use cranelift_codegen::binemit::Reloc;
use cranelift_module::{ModuleReloc, ModuleRelocTarget};
use serde::{Deserialize, Serialize};

use crate::layout::{Args, Layout};
use crate::program::{Data, Entries, Function, Program, Returns};
use crate::target::CpuTarget;

/// Why bytes are no program, or a program cannot become bytes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// Not the form, or cut off.
    #[error("not a stored program: {0}")]
    Form(#[from] postcard::Error),
    /// The form, but not a program.
    #[error("not a whole program: {0}")]
    Broken(&'static str),
    /// A relocation that the form has no word for.
    #[error("{function} needs a relocation that stored programs do not have: {what}")]
    Relocation {
        /// The function.
        function: String,
        /// The relocation.
        what: String,
    },
}

#[derive(Serialize, Deserialize)]
struct StoredProgram {
    name: String,
    target: String,
    layout: Layout,
    functions: Vec<StoredFunction>,
    data: Vec<StoredData>,
    plan: u32,
    workspace: u32,
    run: u32,
}

#[derive(Serialize, Deserialize)]
struct StoredFunction {
    name: String,
    export: bool,
    params: u32,
    returns: StoredReturns,
    align: u64,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    relocs: Vec<StoredReloc>,
}

#[derive(Serialize, Deserialize)]
enum StoredReturns {
    Nothing,
    Int32,
    Int64,
}

#[derive(Serialize, Deserialize)]
struct StoredReloc {
    offset: u32,
    kind: Kind,
    /// Whether the target is a table, not a function.
    table: bool,
    index: u32,
    addend: i64,
}

#[derive(Serialize, Deserialize)]
struct StoredData {
    name: String,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    export: bool,
}

/// The relocations that our programs have.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Kind {
    Abs8,
    X86PcRel4,
    X86CallPcRel4,
    Arm64Call,
    Aarch64AdrPrelPgHi21,
    Aarch64AddAbsLo12Nc,
}

/// Each kind, Cranelift's word for it and the bytes that linking fills in.
const KINDS: [(Kind, Reloc, usize); 6] = [
    (Kind::Abs8, Reloc::Abs8, 8),
    (Kind::X86PcRel4, Reloc::X86PCRel4, 4),
    (Kind::X86CallPcRel4, Reloc::X86CallPCRel4, 4),
    (Kind::Arm64Call, Reloc::Arm64Call, 4),
    (Kind::Aarch64AdrPrelPgHi21, Reloc::Aarch64AdrPrelPgHi21, 4),
    (Kind::Aarch64AddAbsLo12Nc, Reloc::Aarch64AddAbsLo12Nc, 4),
];

impl Program {
    /// The program as bytes. The same program gives the same bytes.
    ///
    /// # Errors
    /// [`StoreError::Relocation`] for code that the form cannot hold.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StoreError> {
        let functions: Result<Vec<StoredFunction>, StoreError> =
            self.functions.iter().map(store).collect();
        let data = self.data.iter().map(|d| StoredData {
            name: d.name.clone(),
            bytes: d.bytes.clone(),
            export: d.export,
        });
        let stored = StoredProgram {
            name: self.name.clone(),
            target: self.target.name().to_owned(),
            layout: self.layout.clone(),
            functions: functions?,
            data: data.collect(),
            plan: self.entries.plan as u32,
            workspace: self.entries.workspace as u32,
            run: self.entries.run as u32,
        };
        Ok(postcard::to_stdvec(&stored)?)
    }

    /// The program that [`Program::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`StoreError::Form`] and [`StoreError::Broken`] for other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Program, StoreError> {
        let (stored, rest) = postcard::take_from_bytes::<StoredProgram>(bytes)?;
        let ensure = |good: bool, what| {
            if good {
                Ok(())
            } else {
                Err(StoreError::Broken(what))
            }
        };
        ensure(rest.is_empty(), "bytes behind its end")?;
        let target = CpuTarget::of_name(&stored.target)
            .ok_or(StoreError::Broken("a target that is not there"))?;
        let entries = [stored.plan, stored.workspace, stored.run].map(|i| i as usize);
        let count = stored.functions.len();
        ensure(
            entries.iter().all(|i| *i < count),
            "an entry that is not there",
        )?;
        let l = &stored.layout;
        let size = i64::try_from(l.workspace_bytes).unwrap_or(-1);
        let inside = |at: i64| (0..=size).contains(&at);
        ensure(
            l.plan_bytes >= size_of::<Args>() + 16
                && inside(l.counter.saturating_add(8))
                && inside(l.temps)
                && l.bufs.iter().all(|at| inside(*at)),
            "structures that do not hold their parts",
        )?;
        let tables = stored.data.len();
        for f in &stored.functions {
            ensure(
                f.align.is_power_of_two() && f.align <= 4096 && f.params <= 64,
                "a function of no machine",
            )?;
            for r in &f.relocs {
                let size = KINDS.iter().find(|k| k.0 == r.kind).map_or(8, |k| k.2);
                let end = (r.offset as usize).checked_add(size);
                let targets = if r.table { tables } else { count };
                ensure(
                    end.is_some_and(|end| end <= f.bytes.len()) && (r.index as usize) < targets,
                    "a relocation outside of it",
                )?;
            }
        }
        Ok(Program {
            name: stored.name,
            target,
            layout: stored.layout,
            functions: stored.functions.into_iter().map(load).collect(),
            data: (stored.data.into_iter())
                .map(|d| Data {
                    name: d.name,
                    bytes: d.bytes,
                    export: d.export,
                })
                .collect(),
            entries: Entries {
                plan: entries[0],
                workspace: entries[1],
                run: entries[2],
            },
        })
    }
}

fn store(f: &Function) -> Result<StoredFunction, StoreError> {
    let refuse = |what: String| StoreError::Relocation {
        function: f.name.clone(),
        what,
    };
    let reloc = |r: &ModuleReloc| {
        let kind = KINDS.iter().find(|k| k.1 == r.kind);
        let (kind, ..) = kind.ok_or_else(|| refuse(r.kind.to_string()))?;
        let ModuleRelocTarget::User { namespace, index } = r.name else {
            return Err(refuse(format!("{:?}", r.name)));
        };
        Ok(StoredReloc {
            offset: r.offset,
            kind: *kind,
            table: namespace != 0,
            index,
            addend: r.addend,
        })
    };
    Ok(StoredFunction {
        name: f.name.clone(),
        export: f.export,
        params: f.params as u32,
        returns: match f.returns {
            Returns::Nothing => StoredReturns::Nothing,
            Returns::Int32 => StoredReturns::Int32,
            Returns::Int64 => StoredReturns::Int64,
        },
        align: f.align,
        bytes: f.bytes.clone(),
        relocs: f.relocs.iter().map(reloc).collect::<Result<_, _>>()?,
    })
}

fn load(f: StoredFunction) -> Function {
    let reloc = |r: StoredReloc| ModuleReloc {
        offset: r.offset,
        kind: KINDS
            .iter()
            .find(|k| k.0 == r.kind)
            .map_or(Reloc::Abs8, |k| k.1),
        name: ModuleRelocTarget::User {
            namespace: u32::from(r.table),
            index: r.index,
        },
        addend: r.addend,
    };
    Function {
        name: f.name,
        export: f.export,
        params: f.params as usize,
        returns: match f.returns {
            StoredReturns::Nothing => Returns::Nothing,
            StoredReturns::Int32 => Returns::Int32,
            StoredReturns::Int64 => Returns::Int64,
        },
        align: f.align,
        bytes: f.bytes,
        relocs: f.relocs.into_iter().map(reloc).collect(),
        clif: String::new(),
    }
}
