// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An object file laid out in memory, as a linker would.
//!
//! In: the bytes of a relocatable ELF file for `x86_64` without undefined symbols, and an address. Out: code and constants at that
//! address in one piece, and where every function stands. Panics with what our object files do not have.

use std::collections::{BTreeMap, HashMap};

use object::{
    Object, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget, SectionFlags,
    SectionIndex, SymbolKind,
};

/// The sections that a process has, one behind the other from `base` on, and the functions' addresses.
pub(super) fn lay_out(elf: &[u8], base: u64) -> (Vec<u8>, BTreeMap<String, u64>) {
    let file = object::File::parse(elf).expect("an object file");
    let loaded = |flags| match flags {
        SectionFlags::Elf { sh_flags, .. } => sh_flags.contains(object::elf::SHF_ALLOC),
        _ => false,
    };
    let mut bytes = Vec::new();
    let mut at: HashMap<SectionIndex, usize> = HashMap::new();
    for s in file.sections().filter(|s| loaded(s.flags())) {
        bytes.resize(bytes.len().next_multiple_of(s.align().max(1) as usize), 0);
        at.insert(s.index(), bytes.len());
        bytes.extend(s.data().expect("readable"));
    }
    let place = |symbol: object::SymbolIndex| {
        let s = file.symbol_by_index(symbol).expect("a symbol");
        let section = s.section_index().expect("a defined symbol");
        base + at[&section] as u64 + s.address()
    };
    for s in file.sections().filter(|s| loaded(s.flags())) {
        for (offset, r) in s.relocations() {
            let RelocationTarget::Symbol(symbol) = r.target() else {
                panic!("a relocation by {:?}", r.target());
            };
            let here = at[&s.index()] + offset as usize;
            let target = place(symbol).wrapping_add(r.addend() as u64);
            match (r.kind(), r.size()) {
                (RelocationKind::Relative | RelocationKind::PltRelative, 32) => {
                    let far = target.wrapping_sub(base + here as u64) as i64;
                    let near = i32::try_from(far).expect("in reach");
                    bytes[here..here + 4].copy_from_slice(&near.to_le_bytes());
                }
                (RelocationKind::Absolute, 64) => {
                    bytes[here..here + 8].copy_from_slice(&target.to_le_bytes());
                }
                other => panic!("a relocation {other:?}"),
            }
        }
    }
    let functions = file.symbols().filter(|s| s.kind() == SymbolKind::Text);
    let functions = functions
        .filter(|s| !s.is_undefined())
        .map(|s| (s.name().expect("a name").to_string(), place(s.index())));
    (bytes, functions.collect())
}
