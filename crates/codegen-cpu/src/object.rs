// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compiled programs as an object file.
//!
//! In: [`Program`]s for one processor family, each another operator. Out: the bytes of an ELF object that exports
//! `attnc_OP_{plan,workspace,run,forward}` of each, has no undefined symbol, and is the same on every machine and day.

use cranelift_module::default_libcall_names;
use cranelift_object::{ObjectBuilder, ObjectModule};

use crate::program::{CodegenError, Program};
use crate::target::Level;

/// One object file of all programs. `name` is what it calls itself (its file symbol).
///
/// # Errors
/// Programs of different families; a symbol that two programs define.
pub fn object(name: &str, programs: &[Program]) -> Result<Vec<u8>, CodegenError> {
    let Some(first) = programs.first() else {
        return Err(CodegenError::Empty);
    };
    let target = first.target();
    if let Some(other) = programs.iter().find(|p| p.target() != target) {
        return Err(CodegenError::MixedFamilies(
            target.name(),
            other.target().name(),
        ));
    }
    let isa = target.isa(target.linux(), Level::Base)?;
    let builder = ObjectBuilder::new(isa, name, default_libcall_names())?;
    let mut module = ObjectModule::new(builder);
    for p in programs {
        p.link(&mut module)?;
    }
    Ok(module.finish().emit()?)
}
