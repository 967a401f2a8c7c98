// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a guest holds: code, buffers between guard pages, and the calls to make.
//!
//! In: a program or bytes of code, buffers, calls. Out: what the calls returned and what the buffers hold then.

use std::collections::BTreeMap;

use attnc_codegen_cpu::{Program, object};
use serde::{Deserialize, Serialize};

use super::elf::lay_out;
use super::{Amx, Processor, script};

const PAGE: usize = 4096;
/// Where code stands, and buffers from behind it on.
const CODE: u64 = 0x1000_0000;
/// Fills the room between the beginning of a page and a buffer.
const SLACK: u8 = 0xa5;

/// A piece of the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Its address in the guest.
    pub address: u64,
    /// Its length in bytes.
    pub len: usize,
    /// Which segment it is.
    index: usize,
}

/// An argument of a call.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// A number.
    Int(i64),
    /// The address of a buffer.
    At(Buffer),
    /// What an earlier call returned.
    Rax(usize),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value {
    Int(i64),
    Rax { rax: usize },
}

#[derive(Serialize)]
struct Segment {
    address: u64,
    size: usize,
    access: &'static str,
    offset: usize,
    bytes: usize,
    /// The part of the bytes that a buffer is: where it begins, and its length.
    #[serde(skip)]
    buffer: (usize, usize),
}

#[derive(Serialize)]
struct Call {
    entry: u64,
    args: Vec<Value>,
}

#[derive(Serialize)]
struct Range {
    address: u64,
    size: usize,
}

/// What `bochs.py` reads.
#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    xcr0: u32,
    mxcsr: u32,
    cpuid: &'a [[u32; 4]],
    amx: Option<Amx>,
    syscalls: &'a [([u64; 3], i64)],
    segments: &'a [Segment],
    calls: &'a [Call],
    dump: Vec<Range>,
}

/// What a call left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Called {
    /// What it returned.
    pub rax: u64,
    /// MXCSR behind it.
    pub mxcsr: u32,
}

/// What the processor refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Fault {
    /// Which call.
    pub call: usize,
    /// The exception (6: undefined instruction, 13: protection, 14: page), 128 for a system call that has no answer, -1 for a function
    /// that did not keep what it must.
    pub vector: i32,
    /// Its error code.
    pub error: u64,
    /// Of the instruction.
    pub address: u64,
    /// What a page fault was about.
    pub memory: u64,
    /// The bytes at the instruction, or words.
    pub what: String,
}

#[derive(Deserialize)]
struct Answer {
    calls: Vec<Called>,
    fault: Option<Fault>,
}

/// Why a run gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The guest's doing; the name of the function that it happened in, as far as known.
    Fault(Fault, String),
    /// The harness failed, or the guest wrote between its buffers.
    Harness(String),
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stopped::Fault(fault, name) => write!(f, "{fault:x?} in {name}"),
            Stopped::Harness(why) => f.write_str(why),
        }
    }
}

/// A run that came to its end.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What every call left.
    pub calls: Vec<Called>,
    buffers: Vec<Vec<u8>>,
}

impl Ran {
    /// What a buffer holds now.
    pub fn bytes(&self, b: Buffer) -> &[u8] {
        &self.buffers[b.index]
    }
}

/// A guest before it runs.
pub struct Image {
    functions: BTreeMap<String, u64>,
    data: Vec<u8>,
    segments: Vec<Segment>,
    calls: Vec<Call>,
    next: u64,
}

impl Image {
    /// The functions of a program by their names.
    pub fn of(program: &Program) -> Image {
        Image::of_all(std::slice::from_ref(program))
    }

    /// The same of several operators.
    pub fn of_all(programs: &[Program]) -> Image {
        let elf = object("guest.o", programs).expect("an object");
        let (bytes, functions) = lay_out(&elf, CODE);
        Image::new(&bytes, functions)
    }

    /// One function, named `code`.
    pub fn code(bytes: &[u8]) -> Image {
        Image::new(bytes, BTreeMap::from([("code".to_string(), CODE)]))
    }

    fn new(code: &[u8], functions: BTreeMap<String, u64>) -> Image {
        let mut image = Image {
            functions,
            data: Vec::new(),
            segments: Vec::new(),
            calls: Vec::new(),
            next: CODE,
        };
        image.segment(code, "rx", (0, code.len()));
        image
    }

    fn segment(&mut self, bytes: &[u8], access: &'static str, buffer: (usize, usize)) -> u64 {
        let (address, size) = (self.next, bytes.len().next_multiple_of(PAGE).max(PAGE));
        self.segments.push(Segment {
            address,
            size,
            access,
            offset: self.data.len(),
            bytes: bytes.len(),
            buffer,
        });
        self.data.extend(bytes);
        self.next += (size + PAGE) as u64;
        address
    }

    /// A buffer that holds `bytes` at first, aligned to `align` (at most a page), between pages that nobody may touch. It ends as late
    /// in its last page as its alignment allows.
    pub fn buffer(&mut self, bytes: &[u8], align: usize) -> Buffer {
        self.piece(bytes, align, "rw")
    }

    /// The same, not to be written.
    pub fn constant(&mut self, bytes: &[u8], align: usize) -> Buffer {
        self.piece(bytes, align, "r")
    }

    fn piece(&mut self, bytes: &[u8], align: usize, access: &'static str) -> Buffer {
        let whole = bytes.len().next_multiple_of(PAGE).max(PAGE);
        let lead = (whole - bytes.len()) / align * align;
        let mut filled = vec![SLACK; whole];
        filled[lead..lead + bytes.len()].copy_from_slice(bytes);
        Buffer {
            address: self.segment(&filled, access, (lead, bytes.len())) + lead as u64,
            len: bytes.len(),
            index: self.segments.len() - 1,
        }
    }

    /// Where a function stands.
    pub fn function(&self, name: &str) -> u64 {
        let found = self.functions.get(name);
        *found.unwrap_or_else(|| panic!("no {name} among {:?}", self.functions.keys()))
    }

    /// Adds a call; yields its number.
    pub fn call(&mut self, function: &str, args: &[Arg]) -> usize {
        let value = |a: &Arg| match *a {
            Arg::Int(x) => Value::Int(x),
            Arg::At(b) => Value::Int(b.address as i64),
            Arg::Rax(rax) => Value::Rax { rax },
        };
        self.calls.push(Call {
            entry: self.function(function),
            args: args.iter().map(value).collect(),
        });
        self.calls.len() - 1
    }

    /// Runs all calls.
    ///
    /// # Errors
    /// What the processor refused; writes between buffers.
    pub fn run(&self, p: &Processor) -> Result<Ran, Stopped> {
        let harness = |e: &dyn std::fmt::Display| Stopped::Harness(e.to_string());
        let folder = tempfile::tempdir().map_err(|e| harness(&e))?;
        let path = |name: &str| folder.path().join(name);
        let all = |s: &Segment| Range {
            address: s.address,
            size: s.size,
        };
        let request = Request {
            model: p.model,
            xcr0: p.xcr0,
            mxcsr: p.mxcsr,
            cpuid: p.cpuid,
            amx: p.amx,
            syscalls: p.system_calls,
            segments: &self.segments,
            calls: &self.calls,
            dump: self.segments.iter().map(all).collect(),
        };
        let request = serde_json::to_vec(&request).map_err(|e| harness(&e))?;
        std::fs::write(path("image.json"), request).map_err(|e| harness(&e))?;
        std::fs::write(path("image.bin"), &self.data).map_err(|e| harness(&e))?;
        script("bochs.py", &[folder.path()]).map_err(|e| harness(&e))?;
        let answer = std::fs::read(path("out.json")).map_err(|e| harness(&e))?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(|e| harness(&e))?;
        if let Some(fault) = answer.fault {
            let name = self.named(fault.address);
            return Err(Stopped::Fault(fault, name));
        }
        let dump = std::fs::read(path("out.bin")).map_err(|e| harness(&e))?;
        let mut rest = dump.as_slice();
        let mut buffers = Vec::new();
        for s in &self.segments {
            let (now, behind) = rest.split_at(s.size);
            rest = behind;
            let (lead, len) = s.buffer;
            let around = |x: &[u8]| [&x[..lead], &x[lead + len..s.bytes]].concat();
            if around(now) != around(&self.data[s.offset..s.offset + s.bytes]) {
                let at = s.address + lead as u64;
                let what = format!("the guest wrote beside the buffer at {at:#x}");
                return Err(Stopped::Harness(what));
            }
            buffers.push(now[lead..lead + len].to_vec());
        }
        Ok(Ran {
            calls: answer.calls,
            buffers,
        })
    }

    /// The function at or before an address.
    fn named(&self, address: u64) -> String {
        let before = self.functions.iter().filter(|(_, at)| **at <= address);
        match before.max_by_key(|(_, at)| **at) {
            Some((name, at)) => format!("{name}+{:#x}", address - at),
            None => "no function".to_string(),
        }
    }
}
