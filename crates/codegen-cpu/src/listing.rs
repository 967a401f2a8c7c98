// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A compiled program to read: Cranelift's form, and the disassembly of the very bytes that run.
//!
//! In: a core program or a compiled [`Program`]. Out: text without addresses, the same on every machine. In the disassembly jump
//! targets and constants have labels, calls and tables their names. What control never reaches is data: constants and the padding
//! before them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use attnc_tile::core::Core;
use capstone::Capstone;
use capstone::arch::{BuildsCapstone, arm64};
use cranelift_module::ModuleRelocTarget;
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter, MemorySizeOptions};

use crate::compile::{Part, compile_for};
use crate::detect::Detect;
use crate::program::{CodegenError, Function, Program};
use crate::target::{CpuTarget, Family};

/// Cranelift's form of every function, with the names of what it calls.
///
/// # Errors
/// What Cranelift refuses: a bug of ours.
pub fn clif(core: &Core, target: CpuTarget) -> Result<String, CodegenError> {
    let part = Part::of(core, target);
    let p = compile_for(&[part], &target.linux(), Detect::Machine, true)?;
    let mut s = format!("; {} for {}\n", core.name, target.name());
    for d in &p.data {
        let _ = writeln!(s, "; data {} ({} bytes)", d.name, d.bytes.len());
    }
    for f in &p.functions {
        let _ = writeln!(s);
        if f.clif.is_empty() {
            let _ = writeln!(s, "; {} is assembled: see the stage asm", f.name);
        }
        s.push_str(&f.clif);
    }
    Ok(s)
}

/// An instruction of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decoded {
    len: usize,
    mnemonic: String,
    operands: String,
}

/// A function taken apart: instructions by offset, and what is none.
struct Parts {
    code: BTreeMap<usize, Decoded>,
    /// Jump targets.
    targets: BTreeSet<usize>,
}

/// The disassembly of every function and table.
///
/// # Errors
/// When the disassembler fails: a bug of ours.
pub fn asm(p: &Program) -> Result<String, CodegenError> {
    let mut reader = Reader::of(p.target.family())?;
    let mut s = format!("; {}\n", p.target.name());
    for d in &p.data {
        let _ = writeln!(s, "\n{}:", d.name);
        for x in d.bytes.chunks(8) {
            let x = x.iter().rev().fold(0i64, |n, b| n << 8 | i64::from(*b));
            let _ = writeln!(s, "    .quad {x}");
        }
    }
    for f in &p.functions {
        let parts = take_apart(&mut reader, p.target, f)?;
        print(&mut s, p, f, &parts);
    }
    Ok(s)
}

/// How many of a program's bytes are instructions, constants (named by an instruction) and padding (zero).
///
/// # Errors
/// When the disassembler fails: a bug of ours.
pub fn census(p: &Program) -> Result<[usize; 3], CodegenError> {
    let mut reader = Reader::of(p.target.family())?;
    let mut n = [0; 3];
    for f in &p.functions {
        let parts = take_apart(&mut reader, p.target, f)?;
        let first = constants(p.target, f, &parts).first().copied();
        let mut at = 0;
        while at < f.bytes.len() {
            match parts.code.get(&at) {
                Some(i) => {
                    n[0] += i.len;
                    at += i.len;
                }
                None => {
                    let named = first.is_some_and(|c| at >= c);
                    n[if named { 1 } else { 2 }] += 1;
                    at += 1;
                }
            }
        }
    }
    Ok(n)
}

/// What knows the instructions of a family.
enum Reader {
    X86(Box<IntelFormatter>),
    Arm(Capstone),
}

impl Reader {
    fn of(family: Family) -> Result<Reader, CodegenError> {
        Ok(match family {
            Family::X86_64 => {
                let mut words = IntelFormatter::new();
                let o = words.options_mut();
                o.set_hex_prefix("0x");
                o.set_hex_suffix("");
                o.set_uppercase_hex(false);
                o.set_space_after_operand_separator(true);
                o.set_space_between_memory_add_operators(true);
                o.set_memory_size_options(MemorySizeOptions::Always);
                o.set_rip_relative_addresses(true);
                o.set_show_branch_size(false);
                o.set_branch_leading_zeros(false);
                o.set_signed_immediate_operands(true);
                Reader::X86(Box::new(words))
            }
            Family::Aarch64 => {
                Reader::Arm(Capstone::new().arm64().mode(arm64::ArchMode::Arm).build()?)
            }
        })
    }

    /// The instruction that begins at `at`; none where there is none.
    fn read(&mut self, bytes: &[u8], at: usize) -> Result<Option<Decoded>, CodegenError> {
        match self {
            Reader::X86(words) => {
                let mut decoder =
                    Decoder::with_ip(64, &bytes[at..], at as u64, DecoderOptions::NONE);
                let i = decoder.decode();
                if i.is_invalid() {
                    return Ok(None);
                }
                let (mut mnemonic, mut operands) = (String::new(), String::new());
                words.format_mnemonic(&i, &mut mnemonic);
                words.format_all_operands(&i, &mut operands);
                let len = i.len();
                Ok(Some(Decoded {
                    len,
                    mnemonic,
                    operands,
                }))
            }
            Reader::Arm(words) => {
                let found = words.disasm_count(&bytes[at..], at as u64, 1)?;
                Ok(found.first().map(|i| Decoded {
                    len: i.len(),
                    mnemonic: i.mnemonic().unwrap_or_default().to_string(),
                    operands: i.op_str().unwrap_or_default().to_string(),
                }))
            }
        }
    }
}

/// Follows control from the entry through every jump.
fn take_apart(reader: &mut Reader, target: CpuTarget, f: &Function) -> Result<Parts, CodegenError> {
    let mut parts = Parts {
        code: BTreeMap::new(),
        targets: BTreeSet::new(),
    };
    let mut todo = vec![0];
    while let Some(mut at) = todo.pop() {
        while at < f.bytes.len() && !parts.code.contains_key(&at) {
            let Some(i) = reader.read(&f.bytes, at)? else {
                break;
            };
            let (len, jump, ends) = (i.len, jump(target, &i), ends(target, &i.mnemonic));
            parts.code.insert(at, i);
            if let Some(to) = jump {
                parts.targets.insert(to);
                todo.push(to);
            }
            if ends {
                break;
            }
            at += len;
        }
    }
    Ok(parts)
}

/// Whether control does not go on behind an instruction.
fn ends(target: CpuTarget, mnemonic: &str) -> bool {
    match target.family() {
        Family::X86_64 => matches!(mnemonic, "ret" | "jmp" | "ud2"),
        Family::Aarch64 => matches!(mnemonic, "ret" | "b" | "br" | "udf" | "brk"),
    }
}

/// The last operand as a number.
fn last_number(operands: &str) -> Option<usize> {
    let last = operands.rsplit(',').next()?.trim().trim_start_matches('#');
    match last.strip_prefix("0x") {
        Some(hex) => usize::from_str_radix(hex, 16).ok(),
        None => last.parse().ok(),
    }
}

/// Where a jump within the function goes.
fn jump(target: CpuTarget, i: &Decoded) -> Option<usize> {
    let is = match target.family() {
        Family::X86_64 => i.mnemonic.starts_with('j'),
        Family::Aarch64 => {
            i.mnemonic == "b"
                || i.mnemonic.starts_with("b.")
                || matches!(i.mnemonic.as_str(), "cbz" | "cbnz" | "tbz" | "tbnz")
        }
    };
    if is { last_number(&i.operands) } else { None }
}

/// The part of an x86-64 operand that is relative to the next instruction, with its distance.
fn relative(operands: &str) -> Option<(&str, i64)> {
    let from = operands.find("[rip")?;
    let part = &operands[from..from + operands[from..].find(']')? + 1];
    let far = part["[rip".len()..part.len() - 1].replace(' ', "");
    let (sign, digits) = match far.strip_prefix('-') {
        Some(x) => (-1, x),
        None => (1, far.trim_start_matches('+')),
    };
    let far = match digits.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok()?,
        None if digits.is_empty() => 0,
        None => digits.parse().ok()?,
    };
    Some((part, sign * far))
}

/// The constant of its own function that an instruction names, and the words that stand for it.
fn constant<'i>(
    target: CpuTarget,
    f: &Function,
    at: usize,
    i: &'i Decoded,
) -> Option<(&'i str, usize)> {
    if reloc(f, at, i.len).is_some() {
        return None;
    }
    match target.family() {
        Family::X86_64 => {
            let (part, far) = relative(&i.operands)?;
            let to = (at + i.len) as i64 + far;
            Some((part, usize::try_from(to).ok()?))
        }
        Family::Aarch64 => {
            let literal = i.mnemonic.starts_with("ldr") && !i.operands.contains('[');
            if !literal && i.mnemonic != "adr" {
                return None;
            }
            let part = i.operands.rsplit(',').next()?.trim();
            Some((part, last_number(part)?))
        }
    }
}

fn constants(target: CpuTarget, f: &Function, parts: &Parts) -> BTreeSet<usize> {
    let of = |(at, i): (&usize, &Decoded)| constant(target, f, *at, i).map(|c| c.1);
    parts.code.iter().filter_map(of).collect()
}

fn reloc(f: &Function, at: usize, len: usize) -> Option<&ModuleRelocTarget> {
    let inside = at..at + len;
    f.relocs
        .iter()
        .find(|r| inside.contains(&(r.offset as usize)))
        .map(|r| &r.name)
}

fn symbol<'p>(p: &'p Program, r: &ModuleRelocTarget) -> Option<&'p str> {
    match r {
        ModuleRelocTarget::User { namespace, index } => {
            let i = *index as usize;
            if *namespace == 0 {
                p.functions.get(i).map(|f| f.name.as_str())
            } else {
                p.data.get(i).map(|d| d.name.as_str())
            }
        }
        ModuleRelocTarget::LibCall(_)
        | ModuleRelocTarget::KnownSymbol(_)
        | ModuleRelocTarget::FunctionOffset(..) => None,
    }
}

/// An instruction's operands with names for numbers.
fn operands(
    p: &Program,
    f: &Function,
    at: usize,
    i: &Decoded,
    label: &dyn Fn(usize) -> String,
) -> String {
    if let Some(name) = reloc(f, at, i.len).and_then(|r| symbol(p, r)) {
        return match p.target.family() {
            Family::X86_64 => match relative(&i.operands) {
                Some((part, _)) => i.operands.replace(part, &format!("[rip + {name}]")),
                None => name.to_string(),
            },
            Family::Aarch64 => match i.operands.rsplit_once(", ") {
                Some((head, _)) if i.mnemonic == "add" => format!("{head}, :lo12:{name}"),
                Some((head, _)) => format!("{head}, {name}"),
                None => name.to_string(),
            },
        };
    }
    if let Some((part, to)) = constant(p.target, f, at, i) {
        let label = label(to);
        let name = match p.target.family() {
            Family::X86_64 => format!("[rip + {label}]"),
            Family::Aarch64 => label,
        };
        return i.operands.replace(part, &name);
    }
    if let Some(to) = jump(p.target, i) {
        return match i.operands.rsplit_once(", ") {
            Some((head, _)) => format!("{head}, {}", label(to)),
            None => label(to),
        };
    }
    i.operands.clone()
}

fn print(s: &mut String, p: &Program, f: &Function, parts: &Parts) {
    let data = constants(p.target, f, parts);
    let number = |set: &BTreeSet<usize>, at: usize| set.range(..at).count();
    let label = |at: usize| {
        if parts.targets.contains(&at) {
            format!(".L{}", number(&parts.targets, at))
        } else {
            format!(".C{}", number(&data, at))
        }
    };
    let global = if f.export { " ; global" } else { "" };
    let _ = writeln!(s, "\n{}:{global}", f.name);
    let mut at = 0;
    while at < f.bytes.len() {
        if parts.targets.contains(&at) || data.contains(&at) {
            let _ = writeln!(s, "{}:", label(at));
        }
        if let Some(i) = parts.code.get(&at) {
            let text = operands(p, f, at, i, &label);
            let line = format!("    {:<12} {text}", i.mnemonic);
            let _ = writeln!(s, "{}", line.trim_end());
            at += i.len;
        } else {
            // Data up to the next label or instruction, at most 16 bytes a line.
            let stop = |x: &usize| data.contains(x) || parts.code.contains_key(x);
            let end = (at + 1..f.bytes.len())
                .find(stop)
                .unwrap_or(f.bytes.len())
                .min(at + 16);
            let bytes: Vec<String> = f.bytes[at..end]
                .iter()
                .map(|b| format!("0x{b:02x}"))
                .collect();
            let _ = writeln!(s, "    .byte {}", bytes.join(", "));
            at = end;
        }
    }
}
