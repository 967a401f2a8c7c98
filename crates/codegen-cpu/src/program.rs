// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A compiled program before it is linked: the one set of bytes that memory, object files and listings are made of.
//!
//! In (made by [`crate::compile`]): functions with their relocations, tables. Out: the same in any Cranelift module.

use cranelift_codegen::ir::{AbiParam, Signature, types};
use cranelift_codegen::isa::CallConv;
use cranelift_module::{
    DataDescription, DataId, FuncId, Linkage, Module, ModuleError, ModuleReloc, ModuleRelocTarget,
};

use crate::layout::Layout;
use crate::target::CpuTarget;

/// Why code could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CodegenError {
    /// The program was compiled for another processor.
    #[error("the program is for {0}, which this machine does not run")]
    OtherMachine(&'static str),
    /// A target that is no processor family of this code generator.
    #[error("no machine code for the target {0} is made by this back end")]
    Foreigner(String),
    /// A program that says what only blocks of warps do: edited text, or the schedule of another target.
    #[error(
        "a CPU has no meaning for {what}: the program is made for blocks of warps that copy ahead"
    )]
    Block {
        /// What the program says.
        what: String,
    },
    /// Unconverted rows of tensors in a place where no kernel of ours takes them: edited text.
    #[error("no CPU kernel takes {what}")]
    Panel {
        /// What the program says.
        what: String,
    },
    /// Cranelift has no back end for a family that we name: a bug of ours.
    #[error(transparent)]
    Target(cranelift_codegen::isa::LookupError),
    /// Cranelift refused a setting: a bug of ours.
    #[error(transparent)]
    Setting(#[from] cranelift_codegen::settings::SetError),
    /// Cranelift refused the combination of settings, or a function: a bug of ours.
    #[error(transparent)]
    Codegen(#[from] cranelift_codegen::CodegenError),
    /// Cranelift refused a symbol: a bug of ours.
    #[error(transparent)]
    Module(#[from] Box<ModuleError>),
    /// The assembler refused an instruction: a bug of ours.
    #[error(transparent)]
    Assemble(#[from] iced_x86::IcedError),
    /// The disassembler failed: a bug of ours.
    #[error(transparent)]
    Disassemble(#[from] capstone::Error),
    /// A function calls a library that programs do not have: a bug of ours.
    #[error("{function} needs {symbol}, which no program may")]
    Foreign {
        /// The calling function.
        function: String,
        /// What it calls.
        symbol: String,
    },
    /// An object file could not be written: a bug of ours.
    #[error("the object file could not be written: {0}")]
    Object(#[from] cranelift_object::object::write::Error),
    /// An object file of nothing.
    #[error("an object file needs at least one program")]
    Empty,
    /// An object file is for one family.
    #[error("one object file cannot hold code for {0} and for {1}")]
    MixedFamilies(&'static str, &'static str),
    /// A program is one operator.
    #[error("one program cannot hold the operators {} and {}", .0[0], .0[1])]
    Operators([String; 2]),
    /// Two parts of a program for one level.
    #[error("one program cannot hold two bodies for the level {0}")]
    Twice(&'static str),
    /// Memory for code.
    #[error("no room to make code: {0}")]
    Memory(String),
}

impl From<ModuleError> for CodegenError {
    fn from(e: ModuleError) -> CodegenError {
        CodegenError::Module(Box::new(e))
    }
}

/// What a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returns {
    Nothing,
    Int32,
    Int64,
}

/// One compiled function.
#[derive(Clone)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) export: bool,
    /// Parameters, all of 64 bits.
    pub(crate) params: usize,
    pub(crate) returns: Returns,
    /// Alignment in bytes.
    pub(crate) align: u64,
    pub(crate) bytes: Vec<u8>,
    /// Targets are functions (namespace 0) and tables (namespace 1) by their place in this program.
    pub(crate) relocs: Vec<ModuleReloc>,
    /// Cranelift's form, empty where a function is assembled.
    pub(crate) clif: String,
}

/// A constant table.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) export: bool,
}

/// The entry points by their place in [`Program::functions`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entries {
    pub(crate) plan: usize,
    pub(crate) workspace: usize,
    pub(crate) run: usize,
}

/// One operator's code for one processor family, all levels of it.
#[derive(Clone)]
pub struct Program {
    /// The operator's name.
    pub(crate) name: String,
    pub(crate) target: CpuTarget,
    pub(crate) layout: Layout,
    pub(crate) functions: Vec<Function>,
    pub(crate) data: Vec<Data>,
    pub(crate) entries: Entries,
}

/// The signature of a function of this program.
pub(crate) fn signature(params: usize, returns: Returns, conv: CallConv) -> Signature {
    let mut sig = Signature::new(conv);
    sig.params
        .extend((0..params).map(|_| AbiParam::new(types::I64)));
    match returns {
        Returns::Nothing => {}
        Returns::Int32 => sig.returns.push(AbiParam::new(types::I32)),
        Returns::Int64 => sig.returns.push(AbiParam::new(types::I64)),
    }
    sig
}

fn linkage(export: bool) -> Linkage {
    if export {
        Linkage::Export
    } else {
        Linkage::Local
    }
}

/// Ids of a linked program's functions, in the program's order.
pub(crate) type Linked = Vec<FuncId>;

impl Program {
    /// The family that this is code for.
    pub fn target(&self) -> CpuTarget {
        self.target
    }

    /// Sizes and offsets of the structures.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Adds the symbol `attnc_OP_hash`, a string that tells what the code was made from.
    pub fn with_hash(mut self, hash: &str) -> Program {
        let mut bytes = hash.as_bytes().to_vec();
        bytes.push(0);
        self.data.push(Data {
            name: format!("attnc_{}_hash", self.name),
            bytes,
            export: true,
        });
        self
    }

    /// Names and bytes of the functions, before relocation.
    pub fn functions(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.functions
            .iter()
            .map(|f| (f.name.as_str(), f.bytes.as_slice()))
    }

    /// How many places of a function are filled in when it is linked.
    pub fn relocations(&self, function: &str) -> usize {
        let f = self.functions.iter().find(|f| f.name == function);
        f.map_or(0, |f| f.relocs.len())
    }

    /// Defines everything in a module; several programs may stand in one.
    pub(crate) fn link<M: Module>(&self, m: &mut M) -> Result<Linked, CodegenError> {
        let conv = m.target_config().default_call_conv;
        let mut tables: Vec<DataId> = Vec::new();
        for d in &self.data {
            let id = m.declare_data(&d.name, linkage(d.export), false, false)?;
            let mut what = DataDescription::new();
            what.set_align(8);
            what.define(d.bytes.clone().into_boxed_slice());
            m.define_data(id, &what)?;
            tables.push(id);
        }
        let mut ids: Linked = Vec::new();
        for f in &self.functions {
            let signature = signature(f.params, f.returns, conv);
            ids.push(m.declare_function(&f.name, linkage(f.export), &signature)?);
        }
        for (f, id) in self.functions.iter().zip(&ids) {
            let mut relocs = f.relocs.clone();
            for r in &mut relocs {
                if let ModuleRelocTarget::User { namespace, index } = &mut r.name {
                    *index = if *namespace == 0 {
                        ids[*index as usize].as_u32()
                    } else {
                        tables[*index as usize].as_u32()
                    };
                }
            }
            m.define_function_bytes(*id, f.align, &f.bytes, &relocs)?;
        }
        Ok(ids)
    }
}
